//! The report for a person: each subject's summary, then what failed and how, then everything else, shorter. What was not
//! tested stands at the end, for all subjects together: most of it is the same for several.

mod closing;
mod differences;
mod findings;
mod known;
mod remainder;
mod summary;

use std::io;

use anstyle::{AnsiColor, Style as Ansi};

use crate::model::{Outcome, Run, RunSet, Verdict};
use crate::page::{Page, bold};

/// The least width that is laid out for.
const NARROWEST: usize = 60;

/// How the report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Use terminal colours.
    pub color: bool,
    /// Columns; at least 60 are used. Only what programs printed is wider.
    pub width: usize,
    /// Show every case, all evidence and the reproducers.
    pub verbose: bool,
}

impl Default for Style {
    /// For a file: no colour, 100 columns, not verbose.
    fn default() -> Style {
        Style { color: false, width: 100, verbose: false }
    }
}

/// Writes the report.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(set: &RunSet, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Page::new(style.width.max(NARROWEST), style.color);
    for (index, run) in set.runs.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| &set.runs[index]);
        if before.is_some() {
            page.rule();
        }
        summary::write(&mut page, run, before);
        subject(&mut page, run, style.verbose);
    }
    remainder::skips(&mut page, set);
    closing::write(&mut page, set);
    out.write_all(page.into_text().as_bytes())
}

fn subject(page: &mut Page, run: &Run, verbose: bool) {
    findings::failures(page, run, verbose);
    findings::warnings(page, run, verbose);
    known::write(page, run, verbose);
    differences::write(page, run, verbose);
    match verbose {
        true => remainder::passes(page, run),
        false => remainder::notes(page, run),
    }
    page.gap();
}

/// The word for a verdict, as wide as the widest.
fn word(verdict: Verdict) -> String {
    format!("{verdict:<5}").to_uppercase()
}

fn verdict_style(verdict: Verdict) -> Ansi {
    bold(match verdict {
        Verdict::Pass => AnsiColor::Green,
        Verdict::Fail => AnsiColor::Red,
        Verdict::Warn => AnsiColor::Yellow,
        Verdict::Skip => AnsiColor::Blue,
        Verdict::Error => AnsiColor::Magenta,
    })
}

fn outcome_style(outcome: Outcome) -> Ansi {
    bold(match outcome {
        Outcome::Conformant => AnsiColor::Green,
        Outcome::NotConformant => AnsiColor::Red,
        Outcome::Undecided => AnsiColor::Magenta,
    })
}
