//! The kinds of report.

use std::fmt;
use std::io;
use std::str::FromStr;

use crate::baseline::Baseline;
use crate::human::{self, Style};
use crate::model::RunSet;
use crate::summary::{self, SetSummary};
use crate::{deviations, json, junit, markdown};

/// A kind of report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReportKind {
    /// The run itself, for programs.
    Json,
    /// Text for a reader, without colour and with every case.
    Human,
    /// JUnit XML, for CI systems.
    Junit,
    /// One line for each distinct deviation, sorted: to compare two runs with `diff`.
    Deviations,
    /// The deviations as a baseline, for `--baseline`.
    Baseline,
    /// What deviates, for a maintainer, in Markdown.
    Markdown,
    /// What deviates, condensed, for programs.
    Summary,
}

impl ReportKind {
    /// Every kind.
    pub const ALL: [ReportKind; 7] = [
        ReportKind::Json,
        ReportKind::Human,
        ReportKind::Junit,
        ReportKind::Deviations,
        ReportKind::Baseline,
        ReportKind::Markdown,
        ReportKind::Summary,
    ];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReportKind::Json => "json",
            ReportKind::Human => "human",
            ReportKind::Junit => "junit",
            ReportKind::Deviations => "deviations",
            ReportKind::Baseline => "baseline",
            ReportKind::Markdown => "markdown",
            ReportKind::Summary => "summary",
        }
    }
}

impl fmt::Display for ReportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that is no kind of report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of report {given:?}: use {}", ReportKind::ALL.map(ReportKind::as_str).join(", "))]
pub struct UnknownReportKind {
    /// What was given.
    pub given: String,
}

impl FromStr for ReportKind {
    type Err = UnknownReportKind;

    fn from_str(text: &str) -> Result<ReportKind, UnknownReportKind> {
        let known = ReportKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| UnknownReportKind { given: text.to_owned() })
    }
}

/// Writes a report of a kind; human text in the default [`Style`], but verbose, as a file has room.
///
/// # Errors
/// When `out` cannot be written to.
pub fn report(kind: ReportKind, set: &RunSet, out: &mut dyn io::Write) -> io::Result<()> {
    match kind {
        ReportKind::Json => json::write(set, out),
        ReportKind::Human => human::write(set, &Style { verbose: true, ..Style::default() }, out),
        ReportKind::Junit => junit::write(set, out),
        ReportKind::Deviations => deviations::write(set, out),
        ReportKind::Baseline => Baseline::of(set).write(out),
        ReportKind::Markdown => markdown::write(&SetSummary::of(set, None, None), out),
        ReportKind::Summary => summary::write(&SetSummary::of(set, None, None), out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for kind in ReportKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "html".parse::<ReportKind>().expect_err("unknown").to_string();
        assert_eq!(
            error,
            "unknown kind of report \"html\": use json, human, junit, deviations, baseline, markdown, summary"
        );
    }
}
