//! How two subjects differ that the hammer played the same scenarios on.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Known, Release};

/// A comparison. A difference breaks no requirement by itself: it bears neither on verdicts nor on whether the subject is
/// conformant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Against {
    /// The other subject.
    pub plugin: Release,
    /// How the two differ; each cause once.
    pub differences: Vec<Difference>,
}

/// One difference, in the smallest scenario that shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Difference {
    /// The operation.
    pub operation: String,
    /// What differs.
    pub kind: DifferenceKind,
    /// How, without names and numbers; what the first one does comes first.
    pub how: String,
    /// The execution that shows it.
    pub step: String,
    /// The version of the specification that was played.
    pub spec_version: String,
    /// The configuration of the target that the scenario began as.
    pub configuration: String,
    /// The subject.
    pub first: Side,
    /// The one that it is compared with.
    pub second: Side,
    /// Set when the baseline knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Known>,
}

/// What one of the two did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Side {
    /// What it did, a line for each fact that the other does not share.
    pub observed: Vec<String>,
    /// Ids of requirements that it alone breaks in the scenario, of those that the hammer judges.
    pub breaks: Vec<String>,
}

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// Whether the execution succeeds.
    Status,
    /// The code of the error.
    Code,
    /// What a success prints.
    Result,
    /// The state of the kernel afterwards.
    State,
}

impl DifferenceKind {
    /// As files name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            DifferenceKind::Status => "status",
            DifferenceKind::Code => "code",
            DifferenceKind::Result => "result",
            DifferenceKind::State => "state",
        }
    }
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DifferenceKind::Status => "ends differently",
            DifferenceKind::Code => "fails with different codes",
            DifferenceKind::Result => "prints different results",
            DifferenceKind::State => "leaves the kernel in different states",
        })
    }
}
