//! The catalogue of requirements: every normative statement of the specification as data.
//!
//! The data stand in `requirements/*.toml` and `ambiguities.toml`; the build script checks them and turns
//! them into the statics behind [`requirements`] and [`ambiguities`].

pub(crate) mod party;

use serde::Serialize;

pub use self::party::{Party, Topic};
use crate::{Level, Operation, Version};

include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));

/// One statement that a plugin, a runtime or a document has to fulfil.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// The stable name, for example `add.result-on-success`.
    pub id: &'static str,
    /// The level in the newest version between `since` and `until`.
    pub level: Level,
    /// Who or what has to fulfil it.
    pub party: Party,
    /// The first version in which `level` holds.
    pub since: Version,
    /// The last version in which `level` holds; `None` means up to the latest.
    pub until: Option<Version>,
    /// The operation or other part of the protocol.
    pub operation: Topic,
    /// The heading of the specification that says so; one that starts with `(code)` names a library.
    pub section: &'static str,
    /// What has to hold, in our words.
    pub statement: &'static str,
    /// How a check can observe it.
    pub observe: &'static str,
    /// What else there is to know, such as a contradicting sentence.
    pub note: Option<&'static str>,
    /// Why no check can decide it from outside, where none can.
    pub unobservable: Option<&'static str>,
    /// Whether the text was added after the tag `spec-v1.1.0`, still under the name 1.1.0.
    pub head: bool,
    /// The versions with another level, some of them outside `since` to `until`.
    pub levels: &'static [(Version, Level)],
    /// The ids of the ambiguities that touch it.
    pub ambiguities: &'static [&'static str],
}

impl Requirement {
    /// The level in a version, or `None` where the requirement does not hold.
    pub fn level_in(&self, version: Version) -> Option<Level> {
        let other = self.levels.iter().find(|(v, _)| *v == version).map(|(_, level)| *level);
        let stated = version >= self.since && self.until.is_none_or(|until| version <= until);
        other.or(stated.then_some(self.level))
    }

    /// Whether the requirement holds in a version, at whatever level.
    pub fn holds_in(&self, version: Version) -> bool {
        self.level_in(version).is_some()
    }

    /// The versions in which the requirement holds, oldest first.
    pub fn versions(&self) -> impl Iterator<Item = Version> + '_ {
        Version::ALL.into_iter().filter(|version| self.holds_in(*version))
    }
}

/// A place where the specification leaves more than one reading open, or is contradicted by practice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ambiguity {
    /// The stable name, for example `A1`.
    pub id: &'static str,
    /// The question.
    pub title: &'static str,
    /// The readings that the text leaves open.
    pub readings: &'static [&'static str],
    /// What the Go library and the reference plugins do.
    pub practice: &'static str,
    /// How a check should judge.
    pub verdict: &'static str,
    /// The ids of the requirements that it touches.
    pub requirements: &'static [&'static str],
}

/// Every requirement, grouped by the first part of the id.
pub fn requirements() -> &'static [Requirement] {
    &REQUIREMENTS
}

/// The requirement with an id.
pub fn requirement(id: &str) -> Option<&'static Requirement> {
    let found = REQUIREMENTS_BY_ID.binary_search_by(|index| REQUIREMENTS[*index].id.cmp(id)).ok()?;
    Some(&REQUIREMENTS[REQUIREMENTS_BY_ID[found]])
}

/// Every ambiguity, in the order of the specification's sections.
pub fn ambiguities() -> &'static [Ambiguity] {
    &AMBIGUITIES
}

/// The ambiguity with an id.
pub fn ambiguity(id: &str) -> Option<&'static Ambiguity> {
    AMBIGUITIES.iter().find(|ambiguity| ambiguity.id == id)
}

impl Topic {
    /// The operation that the topic is, if it is one.
    pub const fn operation(self) -> Option<Operation> {
        match self {
            Topic::Add => Some(Operation::Add),
            Topic::Del => Some(Operation::Del),
            Topic::Check => Some(Operation::Check),
            Topic::Gc => Some(Operation::Gc),
            Topic::Status => Some(Operation::Status),
            Topic::Version => Some(Operation::Version),
            Topic::Config | Topic::Exec | Topic::Delegation | Topic::Result | Topic::Error => None,
        }
    }
}
