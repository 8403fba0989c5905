//! What a run was asked to do, so that it can be repeated.

use serde::{Deserialize, Serialize};

/// The options that decide which cases are played and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunOptions {
    /// Patterns of checks that were played; all when empty.
    pub only: Vec<String>,
    /// Patterns of checks that were left out.
    pub skip: Vec<String>,
    /// Versions that were played; all that the subject supports when empty.
    pub spec_versions: Vec<String>,
    /// Deadline of each execution, in milliseconds; 0 when the report does not say.
    pub timeout_ms: u64,
    /// The target file, for a target that is not built in.
    pub target_file: Option<TargetText>,
}

/// A target file, whole: a report that is read elsewhere needs nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetText {
    /// The file's name as it was given.
    pub file: String,
    /// What is in it.
    pub text: String,
}
