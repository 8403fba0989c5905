//! The error object on its way up, boxed because it is large.

use std::ops::Deref;

use cni_spec::error::{CniError, INVALID_ENVIRONMENT};

use crate::netlink::NetlinkError;
use crate::netns::NetnsError;

/// The kernel refused something.
pub(crate) const KERNEL: u32 = 100;
/// What ADD is to create is there already.
pub(crate) const EXISTS: u32 = 101;
/// No address is left.
pub(crate) const EXHAUSTED: u32 = 102;
/// A delegated plugin cannot be executed, or does not answer as the specification says.
pub(crate) const DELEGATE: u32 = 103;
/// CHECK found something missing or different.
pub(crate) const DIFFERS: u32 = 104;

/// Why a plugin does not do what it is asked to.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refusal(pub(crate) Box<CniError>);

impl Refusal {
    /// A refusal with one of the specification's codes or one of the above.
    pub(crate) fn new(code: u32, msg: impl Into<String>) -> Refusal {
        Refusal(Box::new(CniError::new(code, msg)))
    }
}

impl Deref for Refusal {
    type Target = CniError;

    fn deref(&self) -> &CniError {
        &self.0
    }
}

impl From<CniError> for Refusal {
    fn from(error: CniError) -> Refusal {
        Refusal(Box::new(error))
    }
}

impl From<NetlinkError> for Refusal {
    fn from(error: NetlinkError) -> Refusal {
        Refusal::new(KERNEL, error.to_string())
    }
}

impl From<NetnsError> for Refusal {
    fn from(error: NetnsError) -> Refusal {
        Refusal::new(INVALID_ENVIRONMENT, format!("CNI_NETNS: {error}"))
    }
}
