//! The checks: what cnitest asks of a plugin, and how it decides.
//!
//! A [`Check`] names the requirements that it decides and a function that plays one case of it in an arena.
//! The checks of `runtime` ask a runtime instead, on the `stage` of spies.
//! Checks state what they saw through [`Case::expect`]; the verdict follows from the level that the catalogue gives
//! the requirement in the case's spec version, never from the check.

mod add;
mod aliases;
pub(crate) mod attachments;
mod carried;
mod case;
mod chained;
pub(crate) mod changes;
mod check;
mod concurrency;
mod connectivity;
mod conventions;
pub(crate) mod cycle;
pub(crate) mod del;
mod delegation;
mod devices;
mod disturbed;
pub(crate) mod execution;
mod faults;
mod forwarding;
pub(crate) mod front;
pub(crate) mod gc;
mod incidents;
mod input;
mod ipam;
pub(crate) mod kernel;
mod legacy;
mod meta;
pub(crate) mod negotiation;
pub(crate) mod observation;
pub(crate) mod parameters;
pub(crate) mod protocol;
mod reproducer;
mod returned;
mod runtime;
mod security;
mod shaping;
mod skew;
pub(crate) mod stage;
mod status;
mod surroundings;
pub(crate) mod version;
pub mod wild;

use cni_spec::Version;

pub use case::{
    Answer, Attachment, Call, Case, Deviation, Documents, NETWORK, Other, Setting, Stop, Subject, pretty,
};
pub use observation::Observations;
pub use reproducer::{Assertion, script as reproducer_script};

use crate::target::{Kind, Target};

/// Which cases of a check are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Once per variant, in the newest version that the plugin supports: nothing in it depends on the version.
    Once,
    /// Once per variant in each version: protocol rules, for which the first configuration serves.
    Versions,
    /// Once per variant in each version with the first configuration, and in the newest version with the others.
    Attachments,
    /// Once per variant with each configuration, in the newest version: what depends on what the configuration asks for.
    Configurations,
}

/// The targets that a check concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concerns {
    /// Every plugin, target or not; nothing but the protocol is used.
    Every,
    /// Every plugin with a target that can attach.
    Attaching,
    /// Targets of the kinds named.
    Kinds(&'static [Kind]),
    /// Targets that execute another plugin: the `ipam` of their configuration, or whole interface plugins.
    Delegating,
    /// Targets that execute the `ipam` of their configuration.
    Addressing,
    /// Targets that need a daemon, which is not started.
    Unattended,
    /// Targets whose addresses come from the DHCP server.
    Leasing,
    /// Targets that follow the convention of this name.
    Taking(&'static str),
    /// Targets that follow some convention.
    Obliging,
    /// Targets that read this well-known key of the configuration.
    Reading(&'static str),
    /// Every plugin with a target that can attach, where another release of it is given.
    Upgrading,
    /// Every plugin, target or not, where another release of it is given; nothing but the protocol is used.
    Succeeding,
    /// Every runtime, and no plugin.
    Runtime,
}

/// Why a check is not played on a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// The check asks nothing of such a plugin; reports leave it out.
    NotConcerned,
    /// The check would concern the plugin, but something is missing; reports say what.
    Skip(String),
}

impl Concerns {
    /// Whether it takes another release of the plugin.
    pub fn needs_other_release(self) -> bool {
        matches!(self, Concerns::Upgrading | Concerns::Succeeding)
    }

    /// Why a target is excluded, or nothing when the check concerns it.
    pub fn excludes(self, target: Option<&Target>) -> Option<Exclusion> {
        if matches!(self, Concerns::Every | Concerns::Succeeding) {
            return None;
        }
        if self == Concerns::Runtime {
            return Some(Exclusion::NotConcerned);
        }
        let Some(target) = target else {
            let hint = "no target describes this plugin; `cnitest target init` writes one to start from";
            return Some(Exclusion::Skip(hint.to_owned()));
        };
        if self == Concerns::Unattended {
            return target.daemon.is_none().then_some(Exclusion::NotConcerned);
        }
        let concerned = match self {
            Concerns::Kinds(kinds) => concern(kinds, target.kind),
            Concerns::Delegating => target.executes_others(),
            Concerns::Addressing => target.delegates,
            Concerns::Taking(name) => target.capability(name).is_some(),
            Concerns::Obliging => !target.capabilities.is_empty(),
            Concerns::Reading(key) => target.reads(key),
            Concerns::Leasing => target.dhcp_server.is_some(),
            Concerns::Every
            | Concerns::Succeeding
            | Concerns::Unattended
            | Concerns::Attaching
            | Concerns::Upgrading => true,
            Concerns::Runtime => false,
        };
        if !concerned {
            return Some(Exclusion::NotConcerned);
        }
        target.no_attachments.clone().map(Exclusion::Skip)
    }
}

/// Whether what is asked of these kinds is asked of this one: a meta plugin does through others what an interface plugin
/// does.
pub fn concern(kinds: &[Kind], kind: Kind) -> bool {
    kinds.contains(&kind) || kind == Kind::Meta && kinds.contains(&Kind::Interface)
}

/// One check.
pub struct Check {
    /// Stable name, `area.what`; used by `--only`, `--skip` and baselines.
    pub id: &'static str,
    /// What is checked, in one line.
    pub title: &'static str,
    /// The requirements that it decides; the first is the one that names its level in a passing result.
    pub requirements: &'static [&'static str],
    /// Whom it concerns.
    pub concerns: Concerns,
    /// Which cases are played.
    pub scope: Scope,
    /// The oldest version in which it is played.
    pub since: Version,
    /// Named variations, each a case; empty for a single one.
    pub variants: &'static [&'static str],
    /// Plays one case.
    pub run: fn(&mut Case<'_>) -> Result<(), Stop>,
}

/// Requirements that any check may find broken, whatever it is for: how an execution may end.
pub const ANY: [&str; 2] = ["error.json-on-stdout-nonzero-exit", "exec.exit-nonzero-on-failure"];

/// Every check, in the order in which they are reported.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [
        version::CHECKS,
        negotiation::CHECKS,
        parameters::CHECKS,
        input::CHECKS,
        execution::CHECKS,
        surroundings::CHECKS,
        add::CHECKS,
        attachments::CHECKS,
        delegation::CHECKS,
        chained::CHECKS,
        ipam::CHECKS,
        check::CHECKS,
        del::CHECKS,
        disturbed::CHECKS,
        status::CHECKS,
        gc::CHECKS,
        returned::CHECKS,
        meta::CHECKS,
        legacy::CHECKS,
        connectivity::CHECKS,
        forwarding::CHECKS,
        conventions::CHECKS,
        shaping::CHECKS,
        devices::CHECKS,
        aliases::CHECKS,
        concurrency::CHECKS,
        security::CHECKS,
        incidents::CHECKS,
        faults::CHECKS,
        skew::CHECKS,
    ]
    .into_iter()
    .chain(runtime::ALL)
    .flatten()
}

/// The check of that id.
pub fn find(id: &str) -> Option<&'static Check> {
    all().find(|check| check.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_requirements_exist() {
        let mut seen = std::collections::BTreeSet::new();
        for check in all() {
            assert!(seen.insert(check.id), "{} is there twice", check.id);
            assert!(!check.requirements.is_empty(), "{} decides nothing", check.id);
            for id in check.requirements {
                assert!(cni_spec::catalogue::requirement(id).is_some(), "{}: no requirement {id}", check.id);
            }
        }
        assert!(seen.len() >= 60, "{} checks", seen.len());
    }
}
