//! Certificates: what a run says of a plugin as one of a profile, and all that is needed to repeat it.
//!
//! A certificate names what passed, what failed, what the plugin does not support and what could not be tested where it
//! was made. [`verify()`] holds one against another of the same plugin, made by repeating the run.

mod build;
mod human;
mod read;
mod verify;

use std::io;

use serde::{Deserialize, Serialize};

use crate::model::{Environment, RunOptions, SkipCause, Subject, Summary, Tool, Verdict};

pub use human::write_human;
pub use read::CertificateError;
pub use verify::{Change, Direction, Holds, Verification, verify};

/// The version of the certificate format.
pub const CERTIFICATE_VERSION: &str = "1";

/// Certificates of several subjects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateSet {
    /// [`CERTIFICATE_VERSION`].
    pub certificate_version: String,
    /// One for each subject, in the order in which they were tested.
    pub certificates: Vec<Certificate>,
}

/// What is certified of one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// [`CERTIFICATE_VERSION`].
    pub certificate_version: String,
    /// The suite that tested.
    pub tool: Tool,
    /// Where it was tested.
    pub environment: Environment,
    /// The source of everything random.
    pub seed: u64,
    /// Whether a recommendation that is not followed counts as a failure.
    pub strict: bool,
    /// What else was asked for.
    pub options: RunOptions,
    /// When the run began, RFC 3339.
    pub started: String,
    /// What was tested.
    pub subject: Subject,
    /// `interface`, `chained`, `ipam` or `meta`; `None` where no target says what the plugin is.
    pub profile: Option<String>,
    /// The versions of the specification in which something was decided, oldest first.
    pub spec_versions: Vec<String>,
    /// What it amounts to; [`Certificate::finish`] computes it.
    pub result: CertificateResult,
    /// What of the core could not be tested.
    pub limits: Vec<Limit>,
    /// What every plugin of the profile must do.
    pub core: Section,
    /// What a plugin of the profile may do.
    pub features: Vec<Section>,
}

/// What a certificate amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateResult {
    /// The core was tested wholly, and neither it nor a feature failed.
    Conformant,
    /// The same, but part of the core could not be tested; the limits say what.
    ConformantAsTested,
    /// The core or a feature failed.
    NotConformant,
    /// The suite could not decide, the run ended early, or it is not known what the plugin is.
    Undecided,
}

/// Something of the core that could not be tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// Why.
    pub reason: String,
    /// How many cases; 0 where they were not counted.
    pub cases: u64,
    /// The checks concerned; empty when all are.
    pub checks: Vec<String>,
}

/// The core, or a feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Section {
    /// `core`, or the feature's name.
    pub name: String,
    /// How it fared.
    pub status: Status,
    /// Why it is not supported.
    pub note: Option<String>,
    /// How many cases have which verdict.
    pub summary: Summary,
    /// What is broken, failures first.
    pub deviations: Vec<Broken>,
    /// What was skipped.
    pub skipped: Vec<Skipped>,
    /// Every check, with its gravest verdict.
    pub checks: Vec<CheckOutcome>,
}

/// How the core or a feature fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Everything that was decided passes; in the core also where recommendations are not followed.
    Passed,
    /// Everything of a feature that was decided passes, but part of it could not be tested.
    PassedAsTested,
    /// No requirement of a feature is broken, but recommendations are not followed.
    Partial,
    /// A requirement is broken.
    Failed,
    /// The plugin does not claim it.
    Unsupported,
    /// Nothing of it was decided.
    Untested,
    /// The suite could not decide a case, or the run ended before it.
    Undecided,
}

/// A requirement that a check found broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Broken {
    /// `fail` or `warn`.
    pub verdict: Verdict,
    /// The requirement.
    pub requirement: String,
    /// Its level.
    pub level: String,
    /// The check.
    pub check: String,
    /// The versions; empty for what belongs to no version.
    pub spec_versions: Vec<String>,
    /// How many cases.
    pub cases: u64,
}

/// Cases that were skipped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Skipped {
    /// What kind of reason.
    pub cause: Option<SkipCause>,
    /// The reason.
    pub reason: String,
    /// How many cases.
    pub cases: u64,
    /// The checks.
    pub checks: Vec<String>,
}

/// A check in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckOutcome {
    /// Its name.
    pub check: String,
    /// Its gravest verdict: `fail`, `error`, `warn`, `pass`, and `skip` only if all of its cases were.
    pub verdict: Verdict,
    /// Cases that were decided.
    pub decided: u64,
}

impl CertificateSet {
    /// A set of these certificates.
    pub fn new(certificates: Vec<Certificate>) -> CertificateSet {
        CertificateSet { certificate_version: CERTIFICATE_VERSION.to_owned(), certificates }
    }

    /// Writes JSON: one certificate as an object of its own, any other number as the set.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        match self.certificates.as_slice() {
            [one] => serde_json::to_writer_pretty(&mut *out, one)?,
            _ => serde_json::to_writer_pretty(&mut *out, self)?,
        }
        out.write_all(b"\n")
    }
}

impl Certificate {
    /// The core and the features.
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        std::iter::once(&self.core).chain(&self.features)
    }
}

/// The JSON Schema (2020-12) of a certificate, or of several.
pub fn certificate_schema() -> &'static str {
    include_str!("../../../schemas/report/certificate.schema.json")
}
