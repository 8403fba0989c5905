//! Runs side by side: a matrix of requirements and subjects, differences first.
//!
//! A row is a requirement, a cell is the gravest of what the cases of one subject decided about it. Rows where decided
//! verdicts differ come first, then those that only some subjects could be asked, then those in which all agree.

mod build;
pub mod html;
pub mod human;
pub mod markdown;

use std::io;

use serde::Serialize;

use crate::model::{CaseResult, Environment, RunSet, Summary, Tool, Verdict};

/// The version of the JSON form.
pub const COMPARISON_VERSION: &str = "1";

/// A saved run, and the name of its file.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file, as reports name it.
    pub file: &'a str,
    /// What is in it.
    pub set: &'a RunSet,
}

/// Subjects side by side.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison<'a> {
    /// [`COMPARISON_VERSION`].
    pub comparison_version: &'static str,
    /// Whether there is a row in which decided verdicts differ.
    pub differs: bool,
    /// All subjects, in the order of files.
    pub subjects: Vec<ComparedSubject<'a>>,
    /// One for each plugin that several files have, where files hold several plugins; otherwise one of all subjects.
    pub matrices: Vec<Matrix<'a>>,
    /// Subjects with nothing to compare them with.
    pub alone: Vec<usize>,
}

/// What was tested.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComparedSubject<'a> {
    /// What reports call it: its name, with its file where several have that name.
    pub label: String,
    /// The file that holds its run.
    pub file: &'a str,
    /// Which run of the file.
    pub run: usize,
    /// `plugin` or `runtime`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// SHA-256 of its executable.
    pub sha256: &'a str,
    /// The versions of CNI that it says it supports.
    pub supported_versions: &'a [String],
    /// What tested it.
    pub tool: &'a Tool,
    /// Where it was tested.
    pub environment: &'a Environment,
    /// How many results have which verdict.
    pub summary: Summary,
    /// Whether it conforms.
    pub conformant: bool,
}

/// Subjects that are compared with each other.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Matrix<'a> {
    /// The plugin that is compared; `None` where there is one matrix of all.
    pub name: Option<&'a str>,
    /// The columns: indices of [`Comparison::subjects`].
    pub subjects: Vec<usize>,
    /// The rows, differences first.
    pub rows: Vec<Row<'a>>,
}

/// How the cells of a row differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contrast {
    /// Decided verdicts differ.
    Verdict,
    /// What was decided is the same, but not of every subject something was.
    Tested,
    /// All is the same.
    Same,
}

/// A requirement.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row<'a> {
    /// Its id.
    pub requirement: &'a str,
    /// Its level in the newest version.
    pub level: String,
    /// What it says; empty where the catalogue does not know it.
    pub statement: &'static str,
    /// How the cells differ.
    pub contrast: Contrast,
    /// One for each column.
    pub cells: Vec<Cell<'a>>,
}

/// What one subject does about one requirement.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell<'a> {
    /// The gravest verdict; `None` where no case was about the requirement.
    pub verdict: Option<Verdict>,
    /// The versions of CNI in which it is that.
    pub versions: Vec<&'a str>,
    /// Why, in a few words; empty when it passes.
    pub reason: String,
    /// Where the cases with this verdict are: `FILE#/runs/0/results/12`, a JSON pointer into a saved set of runs. Empty
    /// when it passes.
    pub evidence: Vec<String>,
    /// The case that stands for all of these.
    #[serde(skip)]
    pub shown: Option<&'a CaseResult>,
}

impl Contrast {
    /// Every contrast, in the order in which they are shown.
    const ALL: [Contrast; 3] = [Contrast::Verdict, Contrast::Tested, Contrast::Same];

    /// What the rows of this contrast are headed with.
    fn title(self) -> &'static str {
        match self {
            Contrast::Verdict => "The verdict differs",
            Contrast::Tested => "Only some could be asked",
            Contrast::Same => "The same everywhere",
        }
    }
}

/// The columns of the table of subjects.
const SUBJECT: [&str; 9] = ["subject", "kind", "CNI", "pass", "fail", "warn", "skip", "error", "run"];

impl Row<'_> {
    /// The cells in which there is something to be seen, with their columns.
    fn deviating(&self) -> impl Iterator<Item = (usize, &Cell<'_>)> {
        self.cells.iter().enumerate().filter(|(_, cell)| cell.deviates())
    }

    /// Whether there is such a cell.
    fn deviates(&self) -> bool {
        self.deviating().next().is_some()
    }
}

impl Cell<'_> {
    /// Whether something was decided.
    pub fn is_decided(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Pass | Verdict::Fail | Verdict::Warn | Verdict::Error))
    }

    /// Whether there is something to be seen.
    fn deviates(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Fail | Verdict::Warn | Verdict::Error))
    }

    /// The verdict as a word.
    fn word(&self) -> &'static str {
        self.verdict.map_or("-", Verdict::as_str)
    }
}

impl Matrix<'_> {
    /// The rows of a contrast.
    fn of(&self, contrast: Contrast) -> impl Iterator<Item = &Row<'_>> {
        self.rows.iter().filter(move |row| row.contrast == contrast)
    }
}

/// Writes the JSON form.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write_json(comparison: &Comparison<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, comparison)?;
    writeln!(out)
}
