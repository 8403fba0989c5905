//! What a baseline said about a run.

use serde::{Deserialize, Serialize};

use super::{DifferenceKind, Verdict};

/// One deviation that is known: an entry of a baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KnownDeviation {
    /// The plugin's type.
    pub plugin: String,
    /// The check.
    pub check: String,
    /// The case, as results name it.
    pub case: String,
    /// The version of the specification; `None` for a case that belongs to no version.
    pub spec_version: Option<String>,
    /// [`Verdict::Fail`] or [`Verdict::Warn`].
    pub verdict: Verdict,
    /// The requirements that are broken, each once, sorted; never empty.
    pub requirements: Vec<String>,
    /// Why it is accepted, in somebody's words.
    pub reason: Option<String>,
}

/// One difference between two plugins that is known: an entry of a baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDifference {
    /// The type of the plugin that is compared.
    pub plugin: String,
    /// The operation that shows it.
    pub operation: String,
    /// What differs.
    pub kind: DifferenceKind,
    /// How, as the report says it.
    pub how: String,
    /// Why it is accepted, in somebody's words.
    pub reason: Option<String>,
}

/// The mark on a result whose deviation the baseline knows, or on a difference that it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Known {
    /// The `reason` of the baseline's entry.
    pub reason: Option<String>,
}

/// An entry that describes the run no longer, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaleEntry {
    /// The entry.
    pub entry: KnownDeviation,
    /// What does not fit, and what to do.
    pub why: String,
}

/// The baseline that was applied to a run, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppliedBaseline {
    /// The file's name as it was given.
    pub file: String,
    /// SHA-256 of the file in lower-case hexadecimal.
    pub sha256: String,
    /// Entries that name this subject.
    pub entries: u64,
    /// Results that are known.
    pub known: u64,
    /// Entries whose case passes now.
    pub unexpected_passes: Vec<KnownDeviation>,
    /// Entries that describe the run no longer.
    pub stale: Vec<StaleEntry>,
}

impl KnownDeviation {
    /// The case in one line: `CNI 1.1.0 gateway`.
    pub fn place(&self) -> String {
        let version = self.spec_version.as_deref().unwrap_or("any version");
        format!("CNI {version} {}", self.case).trim_end().to_owned()
    }
}
