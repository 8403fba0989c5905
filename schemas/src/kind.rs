//! The kinds of documents, the profiles, and which kind exists in which version.

use std::fmt;
use std::str::FromStr;

use cni_spec::Version;

/// A kind of document that CNI or its conventions define.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A network configuration list, as an administrator writes it.
    ConfigList,
    /// A network configuration of a single plugin (versions up to 0.4.0).
    ConfigSingle,
    /// The request configuration of ADD for the first plugin of a chain, or for a single one.
    RequestAddFirst,
    /// The request configuration of ADD for a later plugin of a chain.
    RequestAddChained,
    /// The request configuration of DEL.
    RequestDel,
    /// The request configuration of CHECK.
    RequestCheck,
    /// The request configuration of GC.
    RequestGc,
    /// The request configuration of STATUS.
    RequestStatus,
    /// The input of VERSION (from 1.0.0; earlier versions give it none).
    RequestVersion,
    /// What ADD prints on success.
    ResultAdd,
    /// What the ADD of a delegated IPAM plugin prints on success.
    ResultIpam,
    /// What VERSION prints on success.
    ResultVersion,
    /// What a failing operation prints.
    Error,
    /// The value of `runtimeConfig`, by the conventions (not by the specification itself).
    RuntimeConfig,
    /// The value of `args`, by the conventions.
    Args,
}

/// A document kind was asked for in a version that does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CNI {version} has no {kind} document: {}", .kind.availability())]
pub struct NotDefined {
    /// The kind asked for.
    pub kind: Kind,
    /// The version that lacks it.
    pub version: Version,
}

/// A text that names no [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no document kind; kinds are {list}", list = Kind::ALL.map(Kind::as_str).join(", "))]
pub struct UnknownKind(pub String);

/// A text that names no [`Profile`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no profile; profiles are compat and strict")]
pub struct UnknownProfile(pub String);

impl Kind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Kind; 15] = [
        Kind::ConfigList,
        Kind::ConfigSingle,
        Kind::RequestAddFirst,
        Kind::RequestAddChained,
        Kind::RequestDel,
        Kind::RequestCheck,
        Kind::RequestGc,
        Kind::RequestStatus,
        Kind::RequestVersion,
        Kind::ResultAdd,
        Kind::ResultIpam,
        Kind::ResultVersion,
        Kind::Error,
        Kind::RuntimeConfig,
        Kind::Args,
    ];

    /// The stem of the kind's schema file, such as `request-add-first`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::ConfigList => "config-list",
            Kind::ConfigSingle => "config-single",
            Kind::RequestAddFirst => "request-add-first",
            Kind::RequestAddChained => "request-add-chained",
            Kind::RequestDel => "request-del",
            Kind::RequestCheck => "request-check",
            Kind::RequestGc => "request-gc",
            Kind::RequestStatus => "request-status",
            Kind::RequestVersion => "request-version",
            Kind::ResultAdd => "result-add",
            Kind::ResultIpam => "result-ipam",
            Kind::ResultVersion => "result-version",
            Kind::Error => "error",
            Kind::RuntimeConfig => "runtime-config",
            Kind::Args => "args",
        }
    }

    /// What the document is, in a few words, without article.
    pub const fn describe(self) -> &'static str {
        match self {
            Kind::ConfigList => "network configuration list",
            Kind::ConfigSingle => "network configuration of a single plugin",
            Kind::RequestAddFirst => "request configuration of ADD, first plugin",
            Kind::RequestAddChained => "request configuration of ADD, chained plugin",
            Kind::RequestDel => "request configuration of DEL",
            Kind::RequestCheck => "request configuration of CHECK",
            Kind::RequestGc => "request configuration of GC",
            Kind::RequestStatus => "request configuration of STATUS",
            Kind::RequestVersion => "input of VERSION",
            Kind::ResultAdd => "result of ADD",
            Kind::ResultIpam => "result of a delegated IPAM plugin",
            Kind::ResultVersion => "result of VERSION",
            Kind::Error => "error",
            Kind::RuntimeConfig => "runtimeConfig by the conventions",
            Kind::Args => "args by the conventions",
        }
    }

    /// The first version that has the kind.
    pub const fn since(self) -> Version {
        match self {
            Kind::ConfigSingle
            | Kind::RequestAddFirst
            | Kind::RequestDel
            | Kind::ResultAdd
            | Kind::ResultIpam
            | Kind::Error => Version::V0_1_0,
            Kind::ResultVersion | Kind::Args => Version::V0_2_0,
            Kind::ConfigList | Kind::RequestAddChained | Kind::RuntimeConfig => Version::V0_3_0,
            Kind::RequestCheck => Version::V0_4_0,
            Kind::RequestVersion => Version::V1_0_0,
            Kind::RequestGc | Kind::RequestStatus => Version::V1_1_0,
        }
    }

    /// The last version that has the kind; `None` while the newest still has it.
    pub const fn until(self) -> Option<Version> {
        match self {
            Kind::ConfigSingle => Some(Version::V0_4_0),
            _ => None,
        }
    }

    /// Whether `version` has documents of this kind.
    pub fn defined_in(self, version: Version) -> bool {
        self.since() <= version && self.until().is_none_or(|last| version <= last)
    }

    fn availability(self) -> String {
        match self.until() {
            Some(last) => format!("it exists from {} to {last}", self.since()),
            None => format!("it exists from {} on", self.since()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// How much a schema demands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Only what every reading of the specification needs.
    #[default]
    Compat,
    /// All that the specification and its conventions say, keys of other versions and misspelled ones
    /// included. What only strict rejects is worth a warning, never a failure by itself.
    Strict,
}

impl Profile {
    /// Both profiles.
    pub const ALL: [Profile; 2] = [Profile::Compat, Profile::Strict];

    /// `compat` or `strict`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Profile::Compat => "compat",
            Profile::Strict => "strict",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        Profile::ALL
            .into_iter()
            .find(|profile| profile.as_str() == text)
            .ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for profile in Profile::ALL {
            assert_eq!(profile.as_str().parse(), Ok(profile));
        }
        assert_eq!("request-add".parse::<Kind>(), Err(UnknownKind("request-add".to_owned())));
        assert_eq!("Strict".parse::<Profile>(), Err(UnknownProfile("Strict".to_owned())));
    }

    #[test]
    fn availability_follows_the_operations() {
        let defined =
            |kind: Kind| Version::ALL.into_iter().filter(|&v| kind.defined_in(v)).collect::<Vec<_>>();
        assert_eq!(defined(Kind::ConfigSingle).last(), Some(&Version::V0_4_0));
        assert_eq!(defined(Kind::ConfigList).first(), Some(&Version::V0_3_0));
        assert_eq!(defined(Kind::RequestGc), [Version::V1_1_0]);
        assert_eq!(defined(Kind::ResultAdd), Version::ALL);
    }

    #[test]
    fn not_defined_says_when_it_is() {
        let early = NotDefined { kind: Kind::RequestGc, version: Version::V1_0_0 };
        assert_eq!(early.to_string(), "CNI 1.0.0 has no request-gc document: it exists from 1.1.0 on");
        let late = NotDefined { kind: Kind::ConfigSingle, version: Version::V1_0_0 };
        assert_eq!(
            late.to_string(),
            "CNI 1.0.0 has no config-single document: it exists from 0.1.0 to 0.4.0"
        );
    }
}
