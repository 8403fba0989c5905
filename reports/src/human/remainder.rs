//! What needs no action: skipped and passed cases.

use crate::group::by;
use crate::model::{CaseResult, Run, Verdict};
use crate::page::{FAINT, Page};
use crate::text::{count, duration, some_of};

use super::{verdict_style, word};

/// Checks of a skip that are named.
const NAMED: usize = 6;

/// Skipped cases, one entry for each reason.
pub(super) fn skips(page: &mut Page, run: &Run) {
    page.gap();
    for group in by(&run.results, Verdict::Skip, |result| result.reason.as_deref()) {
        let reason = group.shown.reason.as_deref().unwrap_or("no reason was given");
        let cases = count(group.all.len() as u64, "case");
        page.field(0, &word(Verdict::Skip), verdict_style(Verdict::Skip), 6, &format!("{cases}: {reason}"));
        page.paragraph(6, FAINT, &some_of(&group.checks(), NAMED, ", "));
    }
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
