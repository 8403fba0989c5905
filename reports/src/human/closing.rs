//! How a report ends: a table when there are several subjects, and a line that says it all.

use crate::group::by;
use crate::model::{Outcome, Run, RunSet, Verdict};
use crate::page::{BOLD, FAINT, Page};
use crate::text::{clip, columns, count, duration};

use super::{outcome_style, verdict_style};

/// Widest name in the table.
const WIDEST: usize = 20;
const OUTCOME: usize = "NOT CONFORMANT".len();
/// Columns between the name and the time.
const NUMBERS: usize = 6 * Verdict::ALL.len() + 2 + OUTCOME;
/// Columns of the time, for up to five digits before the point.
const TIME: usize = 7;

pub(super) fn write(page: &mut Page, set: &RunSet) {
    match set.runs.as_slice() {
        [] => page.paragraph(0, BOLD, "Nothing was tested."),
        [run] => page.paragraph(0, BOLD, &format!("{}{}", sentence(run), accepted(run))),
        runs => {
            table(page, runs);
            page.gap();
            page.paragraph(0, BOLD, &tally(runs));
        }
    }
}

fn table(page: &mut Page, runs: &[Run]) {
    let widest_name = WIDEST.min(page.width() - NUMBERS - TIME);
    let name = |run: &Run| clip(&run.subject.name, widest_name);
    let widest = runs.iter().map(|run| columns(&name(run))).max().unwrap_or(0).max("subject".len());
    page.rule();
    let heads = Verdict::ALL.map(|verdict| format!("{verdict:>6}")).concat();
    let head = format!("{:widest$}{heads}  {:OUTCOME$}{:>TIME$}", "subject", "verdict", "time");
    let head = page.paint(FAINT, &head);
    page.line(&head);
    for run in runs {
        let counts = Verdict::ALL.map(|verdict| {
            let number = run.summary.count(verdict);
            let style = if number == 0 { FAINT } else { verdict_style(verdict) };
            page.paint(style, &format!("{number:>6}"))
        });
        let outcome = page.paint(outcome_style(run.outcome()), &format!("{:<OUTCOME$}", run.outcome()));
        let time = format!("{:.1}s", run.duration_ms / 1000.0);
        page.line(&format!("{:widest$}{}  {outcome}{time:>TIME$}", name(run), counts.concat()));
    }
}

/// How one subject fared.
fn sentence(run: &Run) -> String {
    if let Some(against) = run.against().filter(|_| run.summary.error == 0) {
        return super::differences::sentence(run, against);
    }
    let name = clip(&run.subject.name, 40);
    let summary = run.summary;
    match run.outcome() {
        Outcome::Conformant => {
            let warnings = if summary.warn > 0 { format!(", {} warn", summary.warn) } else { String::new() };
            let verb = if summary.pass == 1 { "passes" } else { "pass" };
            format!("{name} is conformant: {} {verb}{warnings}.", count(summary.pass, "case"))
        }
        Outcome::NotConformant if summary.fail == 0 => {
            format!("{name} is not conformant: {} in a strict run.", count(summary.warn, "warning"))
        }
        Outcome::NotConformant => {
            let checks = by(&run.results, Verdict::Fail, |result| result.check.as_str()).len() as u64;
            let cases = count(summary.fail, "case");
            let verb = if checks == 1 { "fails" } else { "fail" };
            format!("{name} is not conformant: {} {verb}, in {cases}.", count(checks, "check"))
        }
        Outcome::Undecided if summary.error > 0 => {
            format!(
                "Whether {name} is conformant is undecided: cnitest could not decide {}.",
                count(summary.error, "case")
            )
        }
        Outcome::Undecided if run.unplayed() > 0 => {
            format!(
                "Whether {name} is conformant is undecided: the run ended with {} unplayed.",
                count(run.unplayed() as u64, "case")
            )
        }
        Outcome::Undecided => {
            format!(
                "Whether {name} is conformant is undecided: no case was decided ({} skipped).",
                summary.skip
            )
        }
    }
}

/// What the baseline makes of a subject that is not conformant.
fn accepted(run: &Run) -> String {
    let Some(baseline) = &run.baseline else { return String::new() };
    if run.outcome() != Outcome::NotConformant || baseline.known == 0 {
        return String::new();
    }
    match run.accepted_outcome() {
        Outcome::NotConformant => format!(" {} known.", count(baseline.known, "deviation")),
        _ => format!(" All of that is known (baseline {}).", clip(&baseline.file, 60)),
    }
}

/// How many subjects fared how.
fn tally(runs: &[Run]) -> String {
    let number = |outcome| runs.iter().filter(|run| run.outcome() == outcome).count();
    let time: f64 = runs.iter().map(|run| run.duration_ms).sum();
    let only_known = |run: &&Run| {
        run.outcome() == Outcome::NotConformant && run.accepted_outcome() != Outcome::NotConformant
    };
    let not_conformant = match runs.iter().filter(only_known).count() {
        0 => "not conformant".to_owned(),
        known => format!("not conformant ({known} with known deviations only)"),
    };
    let parts = [
        (number(Outcome::Conformant), "conformant"),
        (number(Outcome::NotConformant), not_conformant.as_str()),
        (number(Outcome::Undecided), "undecided"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    format!("{} tested in {}: {}.", count(runs.len() as u64, "subject"), duration(time), parts.join(", "))
}
