//! What needs no action: skipped and passed cases.

use crate::model::{CaseResult, Run, RunSet, Verdict};
use crate::page::{FAINT, Page};
use crate::summary;
use crate::text::{count, duration, some_of};

use super::{verdict_style, word};

/// Checks and subjects of a skip that are named.
const NAMED: usize = 6;

/// Skipped cases, one entry for each reason, with the subjects when there are several in the set.
pub(super) fn skips(page: &mut Page, set: &RunSet) {
    let skips = summary::skips(set, |_, reason| reason.to_owned());
    let several = set.runs.len() > 1;
    match several && !skips.is_empty() {
        true => page.rule(),
        false => page.gap(),
    }
    for skips in skips {
        let text = format!("{}: {}", count(skips.cases, "case"), skips.reason);
        page.field(0, &word(Verdict::Skip), verdict_style(Verdict::Skip), 6, &text);
        let checks = some_of(&skips.checks, NAMED, ", ");
        let text = match several {
            true => format!("{}: {checks}", some_of(&skips.subjects, NAMED, ", ")),
            false => checks,
        };
        page.paragraph(6, FAINT, &text);
    }
    page.gap();
}

/// Every case that passed, with its remarks.
pub(super) fn passes(page: &mut Page, run: &Run) {
    page.gap();
    for result in run.results.iter().filter(|result| result.verdict == Verdict::Pass) {
        let place = [result.spec_version.as_deref().unwrap_or_default(), &result.case].join(" ");
        let text = format!("{} {} ({})", result.check, place.trim(), duration(result.duration_ms));
        page.field(0, &word(Verdict::Pass), verdict_style(Verdict::Pass), 6, &text);
        result.notes().for_each(|note| page.field(6, "note", FAINT, 11, note));
    }
}

/// That there are remarks on cases that passed.
pub(super) fn notes(page: &mut Page, run: &Run) {
    let noted = |result: &&CaseResult| result.verdict == Verdict::Pass && result.notes().next().is_some();
    let number = run.results.iter().filter(noted).count() as u64;
    if number > 0 {
        page.gap();
        let text = format!("{} passed with a note; `--verbose` shows them", count(number, "case"));
        page.field(0, "NOTE", FAINT, 6, &text);
    }
}
