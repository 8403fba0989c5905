//! Profiles and features: which checks belong together in a certificate.
//!
//! Nothing here lists checks. A profile follows from the kind of a target, and a feature from the area of a check, from
//! the operation of the requirement that leads it, from whom it concerns, and from the capabilities that the schema of
//! `runtimeConfig` names.

use std::fmt;
use std::sync::OnceLock;

use cni_schemas::{Kind as Document, source};
use cni_spec::{Operation, Version, catalogue};

use crate::checks::{self, Check, Concerns};
use crate::target::{Configuration, Kind};

/// What a plugin is certified as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Creates the interface CNI_IFNAME in the container.
    Interface,
    /// Adjusts what an earlier plugin of the chain made.
    Chained,
    /// Determines addresses for the plugin that delegates to it.
    Ipam,
    /// Does its work through plugins that it delegates to.
    Meta,
}

/// A part of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// What every plugin of the profile must do: the protocol, ADD, CHECK, DEL.
    Core,
    /// Executing the IPAM plugin of the configuration.
    Delegation,
    /// An operation that came with a later version and that not every plugin has anything to do for.
    Operation(Operation),
    /// A capability: what a runtime hands over in `runtimeConfig`.
    Capability(&'static str),
}

/// The operations that are features of their own.
const OPTIONAL: [Operation; 2] = [Operation::Gc, Operation::Status];

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 4] = [Profile::Interface, Profile::Chained, Profile::Ipam, Profile::Meta];

    /// The profile of a kind of target.
    pub const fn of(kind: Kind) -> Profile {
        match kind {
            Kind::Interface => Profile::Interface,
            Kind::Chained => Profile::Chained,
            Kind::Ipam => Profile::Ipam,
            Kind::Meta => Profile::Meta,
        }
    }

    /// The kind of target that is certified as it.
    const fn kind(self) -> Kind {
        match self {
            Profile::Interface => Kind::Interface,
            Profile::Chained => Kind::Chained,
            Profile::Ipam => Kind::Ipam,
            Profile::Meta => Kind::Meta,
        }
    }

    /// The word that certificates use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Profile::Interface => "interface",
            Profile::Chained => "chained",
            Profile::Ipam => "ipam",
            Profile::Meta => "meta",
        }
    }

    /// Which plugins it is for, in one line.
    pub const fn describe(self) -> &'static str {
        match self {
            Profile::Interface => "creates the interface CNI_IFNAME in the container",
            Profile::Chained => "adjusts what an earlier plugin of the chain made",
            Profile::Ipam => "determines addresses for the plugin that delegates to it",
            Profile::Meta => "has other plugins, which it executes, create the interface CNI_IFNAME",
        }
    }

    /// The features that plugins of the profile may have, the core first.
    pub fn features(self) -> Vec<Feature> {
        let delegation = match self {
            Profile::Interface | Profile::Chained => Some(Feature::Delegation),
            Profile::Ipam | Profile::Meta => None,
        };
        let operations = OPTIONAL.map(Feature::Operation);
        let capabilities = capabilities().iter().copied().map(Feature::Capability);
        [Feature::Core].into_iter().chain(delegation).chain(operations).chain(capabilities).collect()
    }

    /// The checks of a feature in this profile, in the order of all checks.
    pub fn checks(self, feature: Feature) -> Vec<&'static Check> {
        checks::all().filter(|check| self.concerns(check) && self.feature(check) == feature).collect()
    }

    /// The feature that a check belongs to.
    pub fn feature(self, check: &Check) -> Feature {
        match feature(check) {
            // Delegating is what makes a plugin a meta plugin.
            Feature::Delegation if self == Profile::Meta => Feature::Core,
            other => other,
        }
    }

    fn concerns(self, check: &Check) -> bool {
        match check.concerns {
            Concerns::Every
            | Concerns::Unattended
            | Concerns::Attaching
            | Concerns::Taking(_)
            | Concerns::Obliging
            | Concerns::Reading(_) => true,
            Concerns::Delegating => self != Profile::Ipam,
            Concerns::Leasing => self == Profile::Ipam,
            Concerns::Addressing => matches!(self, Profile::Interface | Profile::Chained),
            // A certificate is about one release.
            Concerns::Upgrading | Concerns::Succeeding => false,
            // Profiles are of plugins.
            Concerns::Runtime => false,
            Concerns::Kinds(kinds) => checks::concern(kinds, self.kind()),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Feature {
    /// The name that certificates use.
    pub fn name(self) -> String {
        match self {
            Feature::Core => "core".to_owned(),
            Feature::Delegation => "delegation".to_owned(),
            Feature::Operation(operation) => operation.as_str().to_lowercase(),
            Feature::Capability(name) => name.to_owned(),
        }
    }
}

fn feature(check: &Check) -> Feature {
    let leading = check.requirements.first().and_then(|id| catalogue::requirement(id));
    let area = check.id.split('.').next().unwrap_or_default();
    let is = |operation: &Operation| {
        area == operation.as_str().to_lowercase()
            || leading.is_some_and(|known| known.operation.operation() == Some(*operation))
    };
    if let Some(operation) = OPTIONAL.into_iter().find(is) {
        return Feature::Operation(operation);
    }
    if let Some(name) = check.requirements.iter().find_map(|id| capability_of(id)) {
        return Feature::Capability(name);
    }
    match check.concerns {
        Concerns::Delegating | Concerns::Addressing => Feature::Delegation,
        _ => Feature::Core,
    }
}

/// The capability that a requirement is about: `conv.portmappings-effect` is about `portMappings`.
fn capability_of(requirement: &str) -> Option<&'static str> {
    let rest = requirement.strip_prefix("conv.")?;
    let is = |name: &&&str| {
        rest.strip_prefix(name.to_lowercase().as_str())
            .is_some_and(|tail| tail.is_empty() || tail.starts_with('-'))
    };
    capabilities().iter().find(is).copied()
}

/// The capabilities, as the schema of `runtimeConfig` spells and orders them.
pub fn capabilities() -> &'static [&'static str] {
    static NAMES: OnceLock<Vec<&'static str>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let schema = source(Document::RuntimeConfig, Version::LATEST).expect("defined in the newest version");
        let schema: serde_json::Value = serde_json::from_str(schema).expect("schemas are JSON");
        let names = schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys());
        // Once for the life of the process.
        names.map(|name| &*name.clone().leak()).collect()
    })
}

/// The capabilities that a configuration hands over.
pub fn handed_over(configuration: &Configuration) -> Vec<&'static str> {
    let given = configuration.plugin.get("runtimeConfig").and_then(serde_json::Value::as_object);
    capabilities()
        .iter()
        .copied()
        .filter(|name| given.is_some_and(|given| given.contains_key(*name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_belongs_to_one_feature_of_a_profile() {
        let mut homeless: Vec<&str> = checks::all().map(|check| check.id).collect();
        for profile in Profile::ALL {
            let mut seen: Vec<&str> = Vec::new();
            for feature in profile.features() {
                seen.extend(profile.checks(feature).iter().map(|check| check.id));
            }
            homeless.retain(|id| !seen.contains(id));
            let number = seen.len();
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), number, "{profile} has a check twice");
            assert!(profile.checks(Feature::Core).len() > 20, "{profile}");
        }
        // Two releases of a plugin are no matter of a certificate, which is about one; runtimes have no profile.
        homeless.retain(|id| {
            checks::find(id).is_some_and(|check| {
                !check.concerns.needs_other_release() && check.concerns != Concerns::Runtime
            })
        });
        assert_eq!(homeless, Vec::<&str>::new());
    }

    #[test]
    fn features_follow_from_area_requirement_and_concern() {
        let of = |id: &str| feature(checks::find(id).expect("a check")).name();
        assert_eq!(of("gc.removes-stale"), "gc");
        assert_eq!(of("gc.delegate-error"), "gc");
        assert_eq!(of("status.exhausted"), "status");
        assert_eq!(of("del.delegate-called"), "delegation");
        assert_eq!(of("check.healthy"), "core");
        assert_eq!(of("add.succeeds"), "core");
    }

    #[test]
    fn a_meta_plugin_does_what_an_interface_plugin_does_and_delegates() {
        assert_eq!(Profile::of(Kind::Meta), Profile::Meta);
        let core: Vec<&str> = Profile::Meta.checks(Feature::Core).iter().map(|check| check.id).collect();
        for id in [
            "add.creates-interface",
            "delegation.environment",
            "delegation.second-fails",
            "del.delegate-error",
        ] {
            assert!(core.contains(&id), "{id}");
        }
        // What a delegate returns, the delegate itself has applied.
        assert!(!core.contains(&"delegation.addresses-applied"));
        assert!(
            Profile::Interface
                .checks(Feature::Delegation)
                .iter()
                .all(|check| check.id != "delegation.result")
        );
    }

    #[test]
    fn capabilities_are_those_of_the_schema_and_of_the_conventions() {
        assert!(capabilities().contains(&"portMappings") && capabilities().contains(&"deviceID"));
        assert_eq!(capability_of("conv.portmappings-effect"), Some("portMappings"));
        assert_eq!(capability_of("conv.ips"), Some("ips"));
        assert_eq!(capability_of("conv.ipranges"), Some("ipRanges"));
        assert_eq!(capability_of("conv.error-if-not-actionable"), None);
        assert_eq!(capability_of("del.idempotent"), None);
    }
}
