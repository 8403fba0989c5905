//! Which requirements are decided by a check, and which checks are proven by a mutant.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use cni_schemas::{Kind, Profile};
use cni_spec::catalogue::{self, Party, Requirement};
use cni_spec::{Level, Version};

use crate::{checks, mutants};

/// A requirement with what decides it.
#[derive(Debug, Clone)]
pub struct Coverage {
    /// The requirement.
    pub requirement: &'static Requirement,
    /// The checks that decide it.
    pub checks: Vec<&'static str>,
    /// The mutants that break it, which these checks have to find.
    pub mutants: Vec<&'static str>,
}

/// How far a requirement is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A check decides it, and a mutant proves that.
    Proven,
    /// A check decides it, and nothing proves that it can.
    Unproven,
    /// It binds whoever writes configurations, and this command decides it.
    Validated(&'static str),
    /// It permits something: nobody can break it.
    Permission,
    /// It cannot be decided from outside; the text says why.
    Unobservable(&'static str),
    /// It could be decided, and no check does.
    Missing,
}

impl Coverage {
    /// The coverage of a requirement.
    pub fn of(requirement: &'static Requirement) -> Coverage {
        let decides = |check: &&checks::Check| check.requirements.contains(&requirement.id);
        let breaks = |mutant: &&mutants::Mutant| mutant.breaks.contains(&requirement.id);
        Coverage {
            requirement,
            checks: checks::all().filter(decides).map(|check| check.id).collect(),
            mutants: mutants::all().filter(breaks).map(|mutant| mutant.name).collect(),
        }
    }

    /// How far it is covered.
    pub fn state(&self) -> State {
        match (self.checks.is_empty(), self.mutants.is_empty(), self.requirement.unobservable) {
            (false, false, _) => State::Proven,
            (false, true, _) => State::Unproven,
            (true, _, Some(why)) => State::Unobservable(why),
            (true, ..) => match validated_by(self.requirement) {
                Some(command) => State::Validated(command),
                None if self.requirement.level == Level::May => State::Permission,
                None => State::Missing,
            },
        }
    }
}

/// The command that decides a requirement, if it is one of configurations.
fn validated_by(requirement: &Requirement) -> Option<&'static str> {
    match requirement.id {
        _ if requirement.party != Party::Config => None,
        "config.name-unique" => Some("cnitest validate FOLDER"),
        "version.config-lowest-common" => Some("cnitest exec version NETWORK"),
        id => IN_SCHEMAS.contains(id).then_some("cnitest validate"),
    }
}

/// The requirements that constraints of network configurations name.
static IN_SCHEMAS: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let mut named = BTreeSet::new();
    for kind in [Kind::ConfigList, Kind::ConfigSingle] {
        for version in Version::ALL {
            for profile in [Profile::Compat, Profile::Strict] {
                let constraints = cni_schemas::constraints(kind, version, profile).unwrap_or_default();
                named.extend(constraints.iter().filter_map(|constraint| constraint.requirement.as_deref()));
            }
        }
    }
    named
});

/// Whether a requirement is one that a plugin has to fulfil, or a document that it prints.
pub fn concerns_plugins(requirement: &Requirement) -> bool {
    matches!(
        requirement.party,
        Party::Plugin
            | Party::InterfacePlugin
            | Party::ChainedPlugin
            | Party::IpamPlugin
            | Party::DelegatingPlugin
            | Party::Result
    )
}

/// The coverage of every requirement, in the order of the catalogue.
pub fn matrix() -> Vec<Coverage> {
    catalogue::requirements().iter().map(Coverage::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_must_is_proven() {
        let is_must = |one: &&Coverage| matches!(one.requirement.level, Level::Must | Level::MustNot);
        let all = matrix();
        let open: Vec<String> = all
            .iter()
            .filter(is_must)
            .filter(|one| {
                !matches!(one.state(), State::Proven | State::Validated(_) | State::Unobservable(_))
            })
            .map(|one| format!("{}: {:?}", one.requirement.id, one.state()))
            .collect();
        assert!(open.is_empty(), "{open:#?}");
        assert!(all.iter().filter(is_must).count() > 50);
    }

    #[test]
    fn nearly_every_should_is_proven() {
        let is_should = |one: &&Coverage| matches!(one.requirement.level, Level::Should | Level::ShouldNot);
        let all = matrix();
        let shoulds: Vec<&Coverage> = all
            .iter()
            .filter(|one| concerns_plugins(one.requirement))
            .filter(is_should)
            .filter(|one| !matches!(one.state(), State::Unobservable(_)))
            .collect();
        let proven = shoulds.iter().filter(|one| one.state() == State::Proven).count();
        let open: Vec<&str> =
            shoulds.iter().filter(|one| one.state() != State::Proven).map(|one| one.requirement.id).collect();
        assert!(proven * 100 >= shoulds.len() * 95, "{proven} of {}: {open:?}", shoulds.len());
    }

    #[test]
    fn what_a_check_claims_is_proven() {
        let unproven: Vec<&str> = matrix()
            .iter()
            .filter(|one| one.state() == State::Unproven)
            .map(|one| one.requirement.id)
            .collect();
        assert!(unproven.is_empty(), "{unproven:#?}");
    }

    #[test]
    fn what_can_be_observed_has_a_check() {
        let missing: Vec<&str> = matrix()
            .iter()
            .filter(|one| one.state() == State::Missing)
            .map(|one| one.requirement.id)
            .collect();
        assert!(missing.is_empty(), "{missing:#?}");
    }
}
