//! What a conversion could not carry.

use std::fmt;

use serde_json::Value;

use crate::Version;

/// One piece of a result that the version converted to has no place for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// A JSON pointer into the result in the form of 1.1.0, for example `/ips/2` or `/interfaces/0/mtu`.
    pub path: String,
    /// What is lost.
    pub value: Value,
    /// Why.
    pub reason: LossReason,
}

/// Why something is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReason {
    /// The version does not define the key.
    NotDefined {
        /// The version converted to.
        in_version: Version,
        /// The first version that defines it.
        since: Version,
    },
    /// Before 0.3.0 a result holds one address of each family.
    OneAddressPerFamily,
    /// Before 0.3.0 a route belongs to the address of its family, and there is none.
    NoAddressOfFamily,
    /// The key was not defined where it came from, but means something else in the version converted to.
    OtherMeaning {
        /// The version converted to.
        in_version: Version,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is lost: {}", self.path, self.value, self.reason)
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossReason::NotDefined { in_version, since } => {
                write!(f, "{in_version} does not define the key, which came with {since}")
            }
            LossReason::OneAddressPerFamily => {
                f.write_str("before 0.3.0 a result holds one address of each family")
            }
            LossReason::NoAddressOfFamily => {
                f.write_str("before 0.3.0 a route belongs to the address of its family, and there is none")
            }
            LossReason::OtherMeaning { in_version } => {
                write!(f, "the key is defined in {in_version} and cannot carry this value")
            }
        }
    }
}
