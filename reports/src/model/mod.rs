//! The run model: everything that a report says, and nothing about how it looks.
//!
//! The JSON form is stable: keys are camelCase, times are milliseconds, absent values are `null`.
//! [`crate::run_schema`] describes it.

mod against;
mod environment;
mod known;
mod options;
mod outcome;
mod read;
mod text;

use serde::{Deserialize, Serialize};

pub use self::against::{Against, Difference, DifferenceKind, Side};
pub use self::known::{AppliedBaseline, Known, KnownDeviation, KnownDifference, StaleEntry};
pub use self::options::{RunOptions, TargetText};
pub use self::outcome::{Outcome, SkipCause, Summary, Verdict, exit_code};
pub use self::read::ReadError;
pub use self::text::text_of;

/// The version of the report format.
pub const REPORT_VERSION: &str = "1";

/// Runs of several subjects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunSet {
    /// [`REPORT_VERSION`].
    pub report_version: String,
    /// One run for each subject, in the order in which they were tested.
    pub runs: Vec<Run>,
}

/// One subject, tested once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// [`REPORT_VERSION`].
    pub report_version: String,
    /// What tested.
    pub tool: Tool,
    /// Where it was tested.
    pub environment: Environment,
    /// The source of everything random.
    pub seed: u64,
    /// Whether warnings make the subject nonconformant.
    pub strict: bool,
    /// What else was asked for; reports of earlier releases do not say.
    #[serde(default)]
    pub options: RunOptions,
    /// When the run began, RFC 3339.
    pub started: String,
    /// How long it took, in milliseconds; finite.
    pub duration_ms: f64,
    /// What was tested.
    pub subject: Subject,
    /// One result for each case of each check, in the order of the checks.
    pub results: Vec<CaseResult>,
    /// The baseline that was applied; `None` without one. Verdicts are the same with and without.
    #[serde(default)]
    pub baseline: Option<AppliedBaseline>,
    /// How much was played, of a run of the hammer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuzz: Option<FuzzTally>,
    /// How many results have which verdict; [`Run::finish`] computes it.
    pub summary: Summary,
    /// Whether the outcome is [`Outcome::Conformant`]; [`Run::finish`] computes it.
    pub conformant: bool,
}

/// The check under which the findings of the hammer are listed.
pub const FUZZ: &str = "fuzz";

/// How much the hammer played.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FuzzTally {
    /// Scenarios.
    pub cases: u64,
    /// Executions of the plugin.
    pub executions: u64,
    /// Answers that differ in more than particulars.
    pub behaviours: u64,
    /// Scenarios kept because they showed something new.
    pub corpus: u64,
    /// What was found.
    pub findings: u64,
    /// Constraints of the schemas in use that were broken.
    pub constraints_broken: u64,
    /// Constraints of the schemas in use.
    pub constraints: u64,
    /// Counters of the plugin's own coverage that counted, of one that was built with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<u64>,
    /// How long it took, in milliseconds; finite.
    pub elapsed_ms: f64,
    /// The comparison with another plugin, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
}

/// The program that made a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The machine on which a subject was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Environment {
    /// Release of the kernel, as `uname -r` prints it.
    pub kernel: String,
    /// Architecture, as `uname -m` prints it.
    pub arch: String,
    /// `root` or `user namespace`.
    pub privilege: String,
    /// Features of the kernel that checks would have used and that are missing.
    pub missing_features: Vec<String>,
}

/// What was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// `plugin`.
    pub kind: String,
    /// The plugin's type: the name of its file.
    pub name: String,
    /// Where the executable is.
    pub path: String,
    /// SHA-256 of the executable in lower-case hexadecimal; empty when it could not be read.
    pub sha256: String,
    /// The versions that the subject says it supports, to the letter.
    pub supported_versions: Vec<String>,
    /// Name of the target that told how to attach with it.
    pub target: Option<String>,
    /// What limits the target here, or what a target would add.
    pub target_note: Option<String>,
    /// The other release of the subject that it had to get on with; absent in reports from before there was such a thing.
    #[serde(default)]
    pub upgrade_from: Option<Release>,
}

/// Another release of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// Where the executable is.
    pub path: String,
    /// SHA-256 of the executable in lower-case hexadecimal; empty when it could not be read.
    pub sha256: String,
    /// The versions that it says it supports, to the letter.
    pub supported_versions: Vec<String>,
}

/// What one case of a check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseResult {
    /// Name of the check, `area.what`.
    pub check: String,
    /// What was checked, in one line.
    pub title: String,
    /// Ids of the requirements that the check decides. In a failure or warning the broken one comes first.
    pub requirements: Vec<String>,
    /// Level of the first requirement in `spec_version`, as [`cni_spec::Level`] writes it.
    pub level: String,
    /// The version of the specification that was used; `None` for a case that belongs to no version.
    pub spec_version: Option<String>,
    /// The configuration and variant that were used; empty when there is but one.
    pub case: String,
    /// The decision.
    pub verdict: Verdict,
    /// Why a skipped case was skipped, for programs; `None` for the other verdicts.
    #[serde(default)]
    pub skip_cause: Option<SkipCause>,
    /// Set on a failure or warning that the baseline knows.
    #[serde(default)]
    pub known: Option<Known>,
    /// Ids of the requirements that are not met, gravest first; those that are but common practice or a permission, which
    /// do not bear on the verdict, included.
    pub broken: Vec<String>,
    /// Why: one statement a line. A line that begins with `note: ` does not bear on the verdict.
    pub reason: Option<String>,
    /// What was seen; for failures, warnings and errors.
    pub evidence: Option<Evidence>,
    /// A shell script that shows the deviation without cnitest.
    pub reproducer: Option<String>,
    /// How long the case took, in milliseconds; finite.
    pub duration_ms: f64,
}

/// What a case saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Evidence {
    /// What should have happened; one statement a line.
    pub expected: String,
    /// What happened instead; one statement a line.
    pub observed: String,
    /// What was executed, in order.
    pub executions: Vec<ExecutionEvidence>,
    /// How the state of kernel and files changed where it should not: lines that begin with `- ` (before), `+ ` (after)
    /// or a blank (a remark).
    pub kernel_difference: Vec<String>,
}

/// One execution of a program. Bytes that are no UTF-8 are shown as U+FFFD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecutionEvidence {
    /// The operation, or what else it was for.
    pub label: String,
    /// The executable.
    pub program: String,
    /// The whole environment; names are unique. A JSON object.
    #[serde(with = "environment")]
    pub environment: Vec<(String, String)>,
    /// What stdin held.
    pub stdin: String,
    /// How it ended, for example `exit status 1`.
    pub exit: String,
    /// What was on stdout.
    pub stdout: String,
    /// What was on stderr.
    pub stderr: String,
    /// Whether there was more on stdout.
    pub stdout_truncated: bool,
    /// Whether there was more on stderr.
    pub stderr_truncated: bool,
    /// Time from start to end, in milliseconds; finite.
    pub wall_ms: f64,
    /// Processor time, user and system, in milliseconds; finite.
    pub cpu_ms: f64,
    /// Largest resident set, in KiB; 0 where nothing but time was measured, as of spies.
    pub peak_rss_kib: u64,
}

impl RunSet {
    /// A set of these runs.
    pub fn new(runs: Vec<Run>) -> RunSet {
        RunSet { report_version: REPORT_VERSION.to_owned(), runs }
    }
}

impl Run {
    /// Computes `summary` and `conformant` from the results.
    pub fn finish(&mut self) {
        self.summary = Summary::of(&self.results);
        self.conformant = self.outcome() == Outcome::Conformant;
    }

    /// What the results amount to.
    pub fn outcome(&self) -> Outcome {
        self.outcome_of(self.summary)
    }

    /// How many cases were not played because the run ended before, by Ctrl-C say: what they would have shown is unknown.
    pub fn unplayed(&self) -> usize {
        self.results.iter().filter(|result| result.skip_cause == Some(SkipCause::Ended)).count()
    }

    fn outcome_of(&self, summary: Summary) -> Outcome {
        match summary.outcome(self.strict) {
            Outcome::Conformant if self.unplayed() > 0 => Outcome::Undecided,
            outcome => outcome,
        }
    }

    /// The comparison with another subject, of a run that was one. Such a run judges nothing.
    pub fn against(&self) -> Option<&Against> {
        self.fuzz.as_ref()?.against.as_ref()
    }

    /// What the run amounts to where deviations that the baseline knows are accepted: the exit status follows it.
    pub fn accepted_outcome(&self) -> Outcome {
        let mut summary = self.summary;
        for result in self.results.iter().filter(|result| result.known.is_some()) {
            summary.accept(result.verdict);
        }
        self.outcome_of(summary)
    }
}

impl CaseResult {
    /// The remarks: lines of the reason that do not bear on the verdict, without their mark.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.reason_lines().filter_map(|line| line.strip_prefix(NOTE))
    }

    /// The lines of the reason that the verdict rests on.
    pub fn grounds(&self) -> impl Iterator<Item = &str> {
        self.reason_lines().filter(|line| !line.starts_with(NOTE))
    }

    /// The requirements that the verdict rests on, the gravest first; none unless the result is a failure or a warning.
    pub fn breaks(&self) -> Vec<&str> {
        if !matches!(self.verdict, Verdict::Fail | Verdict::Warn) {
            return Vec::new();
        }
        let version = self.spec_version.as_deref().and_then(|version| version.parse().ok());
        let counts = |id: &&str| {
            let known = cni_spec::catalogue::requirement(id);
            let version = version.unwrap_or(cni_spec::Version::LATEST);
            known.is_none_or(|known| {
                Verdict::of_breaking(known, version).is_some_and(|one| one != Verdict::Pass)
            })
        };
        let mut breaks: Vec<&str> = self.requirements.first().map(String::as_str).into_iter().collect();
        for id in self.broken.iter().map(String::as_str).filter(counts) {
            if !breaks.contains(&id) {
                breaks.push(id);
            }
        }
        breaks
    }

    fn reason_lines(&self) -> impl Iterator<Item = &str> {
        self.reason.as_deref().unwrap_or_default().lines()
    }
}

const NOTE: &str = "note: ";
