//! How two plugins differ.

use anstyle::AnsiColor;

use crate::model::{Against, Run, Side};
use crate::page::{FAINT, Limit, Page, bold};
use crate::text::{clip, count};

/// Lines of a side that are shown unless verbose.
const LINES: usize = 6;

/// Writes each difference with both sides.
pub(super) fn write(page: &mut Page, run: &Run, verbose: bool) {
    let Some(against) = run.against() else { return };
    for difference in &against.differences {
        page.gap();
        let text = format!("{} {}: {}", difference.operation, difference.kind, difference.how);
        page.field(0, "DIFF", bold(AnsiColor::Cyan), 6, &text);
        let place =
            format!("{}, CNI {}, {}", difference.step, difference.spec_version, difference.configuration);
        page.paragraph(6, FAINT, &place);
        if let Some(known) = &difference.known {
            page.paragraph(
                6,
                FAINT,
                &format!("known: {}", known.reason.as_deref().unwrap_or("no reason is given")),
            );
        }
        side(page, "first", &difference.first, verbose);
        side(page, "second", &difference.second, verbose);
    }
    page.gap();
}

fn side(page: &mut Page, which: &str, side: &Side, verbose: bool) {
    match side.observed.as_slice() {
        [] => page.field(6, which, FAINT, 14, "nothing of that"),
        [one] => page.field(6, which, FAINT, 14, one),
        lines => {
            page.field(6, which, FAINT, 14, &format!("{}:", count(lines.len() as u64, "line")));
            let shown = if verbose { usize::MAX - 1 } else { LINES };
            page.verbatim(14, &lines.join("\n"), Limit { lines: shown, columns: 160 });
        }
    }
    if !side.breaks.is_empty() {
        let text = format!("it alone breaks {} in this scenario", side.breaks.join(", "));
        page.paragraph(14, FAINT, &text);
    }
}

/// What a comparison came to, in one line.
pub(super) fn sentence(run: &Run, against: &Against) -> String {
    let name = clip(&run.subject.name, 40);
    let scenarios = count(run.fuzz.as_ref().map(|tally| tally.cases).unwrap_or_default(), "scenario");
    let other = &against.plugin.path;
    let known = against.differences.iter().filter(|one| one.known.is_some()).count();
    match (against.differences.len(), known) {
        (0, _) => format!("{name} does not differ from {other} in {scenarios}."),
        (all, known) => {
            let known = if known > 0 { format!(" ({known} known)") } else { String::new() };
            format!("{name} differs from {other}: {}{known} in {scenarios}.", count(all as u64, "difference"))
        }
    }
}
