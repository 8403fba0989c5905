//! A set of runs, condensed: what deviates, once, where it shows, and what was judged about it.
//!
//! The JSON form is small enough to keep in a repository and names no path of the machine. [`crate::summary_schema`]
//! describes it.

mod build;
mod skips;

use std::io;

pub(crate) use skips::skips;

use serde::Serialize;

use crate::judgement::{Judgement, Judgements};
use crate::model::{Environment, RunSet, Summary, Tool, Verdict};

/// The version of the format.
pub const SUMMARY_VERSION: &str = "1";

/// Runs, condensed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SetSummary {
    /// [`SUMMARY_VERSION`].
    pub summary_version: &'static str,
    /// The release of the subjects, when it was told.
    pub release: Option<String>,
    /// One for each run, in their order.
    pub subjects: Vec<SubjectSummary>,
    /// What deviates, the gravest first.
    pub findings: Vec<Finding>,
    /// Why cases were skipped, the most frequent first.
    pub skips: Vec<Skips>,
    /// The judgements that findings name, in the order of their file.
    pub judgements: Vec<Judgement>,
    /// Ids of the judgements on this release that are about nothing that was found, though cases were decided and none was skipped
    /// for what the host lacks.
    pub unused_judgements: Vec<String>,
}

/// What was tested, with what, and how it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectSummary {
    /// The plugin's type.
    pub name: String,
    /// SHA-256 of the executable in lower-case hexadecimal; empty when it could not be read.
    pub sha256: String,
    /// The versions of CNI that it says it supports.
    pub supported_versions: Vec<String>,
    /// Name of the target that told how to attach with it.
    pub target: Option<String>,
    /// What limits the target here, or what a target would add.
    pub target_note: Option<String>,
    /// When the run began, RFC 3339.
    pub started: String,
    /// What tested.
    pub tool: Tool,
    /// Where it was tested.
    pub environment: Environment,
    /// The source of everything random.
    pub seed: u64,
    /// Whether warnings make the subject nonconformant.
    pub strict: bool,
    /// How many cases ended with which verdict.
    pub counts: Summary,
    /// Whether it conforms.
    pub conformant: bool,
}

/// A distinct deviation: one check, one requirement, one judgement. What is not judged is told together where it looks
/// the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Name of the check.
    pub check: String,
    /// What the check asks for, in one line.
    pub title: String,
    /// Id of the requirement that is broken.
    pub requirement: String,
    /// Level of the requirement where the verdict is gravest.
    pub level: String,
    /// The gravest verdict.
    pub verdict: Verdict,
    /// Id of the judgement.
    pub judgement: Option<String>,
    /// Where it shows.
    pub shows: Vec<Place>,
    /// One case of it.
    pub example: Example,
}

/// Where a finding shows in one subject and version.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Name of the subject.
    pub subject: String,
    /// The version of CNI; `None` for cases that belong to none.
    pub spec_version: Option<String>,
    /// The verdict there.
    pub verdict: Verdict,
    /// The cases; empty when there is but one without a name.
    pub cases: Vec<String>,
}

/// One case that shows a finding: the first of the gravest in the newest version.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// Name of the subject.
    pub subject: String,
    /// The version of CNI.
    pub spec_version: Option<String>,
    /// The case.
    pub case: String,
    /// What should have happened.
    pub expected: String,
    /// What happened, cut to what a reader needs.
    pub observed: String,
    /// How the state changed where it should not, cut likewise.
    pub difference: Vec<String>,
}

/// Cases that were skipped for one reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Skips {
    /// The reason.
    pub reason: String,
    /// How many cases.
    pub cases: u64,
    /// The subjects.
    pub subjects: Vec<String>,
    /// The checks.
    pub checks: Vec<String>,
}

impl SetSummary {
    /// Condenses runs. `release` is the release of the subjects; with it, only judgements on that release count.
    pub fn of(set: &RunSet, release: Option<&str>, judgements: Option<&Judgements>) -> SetSummary {
        build::summary(set, release, judgements)
    }

    /// The judgement of a finding.
    pub fn judgement(&self, finding: &Finding) -> Option<&Judgement> {
        let id = finding.judgement.as_ref()?;
        self.judgements.iter().find(|judgement| judgement.id == *id)
    }

    /// The findings with this verdict that nobody judged.
    pub fn not_judged(&self, verdict: Verdict) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.verdict == verdict && finding.judgement.is_none())
    }

    /// The judgements that claim a fix in a release in which the deviation still shows.
    pub fn fixed_but_seen(&self) -> impl Iterator<Item = &Judgement> {
        let release = self.release.as_deref();
        self.judgements
            .iter()
            .filter(move |judgement| release.is_some_and(|release| judgement.is_fixed_before(release)))
    }
}

impl Finding {
    /// The subjects in which it shows, each once.
    pub fn subjects(&self) -> Vec<&str> {
        let mut subjects: Vec<&str> = self.shows.iter().map(|place| place.subject.as_str()).collect();
        subjects.dedup();
        subjects
    }
}

/// Writes the JSON form, indented, with a newline at the end.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(summary: &SetSummary, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, summary)?;
    out.write_all(b"\n")
}
