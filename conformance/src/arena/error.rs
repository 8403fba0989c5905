//! What can go wrong with an arena.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why an arena could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// This system does not let cnitest make namespaces.
    #[error("this system does not allow the namespaces that cnitest needs: {setting}; {fix}")]
    NamespacesRefused {
        /// What forbids it.
        setting: String,
        /// What to do about it.
        fix: String,
    },
    /// The arena could not be built.
    #[error("cannot build the arena: {what}")]
    Start {
        /// The step that failed, and why.
        what: String,
    },
    /// The arena's agent is gone; nothing more can be done with this arena.
    #[error("the arena ended while it was asked to {what}; start another one")]
    Died {
        /// What it was asked to do.
        what: String,
    },
    /// The arena's agent did not answer in time; nothing more can be done with this arena.
    #[error("the arena did not answer within {} s when asked to {what}; start another one", .after.as_secs())]
    Unresponsive {
        /// What it was asked to do.
        what: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The arena was asked for something that failed inside it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The control socket failed.
    #[error("the arena's control socket failed when asked to {what}: {source}")]
    Socket {
        /// What the arena was asked to do.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A message between cnitest and the agent could not be encoded or decoded: an error in cnitest.
    #[error("cannot {what} a message of the arena: {reason}")]
    Message {
        /// `encode` or `decode`.
        what: &'static str,
        /// The cause.
        reason: String,
    },
}

impl ArenaError {
    /// The errno of what failed inside the arena, if that is what failed and it had one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(refusal) => refusal.errno,
            _ => None,
        }
    }
}

/// Something that failed inside an arena, which is still usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{what}: {reason}")]
pub struct Refusal {
    /// What was asked for.
    pub what: String,
    /// Why it failed; the kernel's own explanation where it gives one.
    pub reason: String,
    /// The errno, if the kernel refused it.
    pub errno: Option<i32>,
}

impl Refusal {
    /// A refusal without an errno.
    pub(crate) fn new(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { what: what.into(), reason: reason.into(), errno: None }
    }

    /// A refusal by the kernel.
    pub(crate) fn io(what: impl Into<String>, error: &io::Error) -> Self {
        Self { what: what.into(), reason: error.to_string(), errno: error.raw_os_error() }
    }
}
