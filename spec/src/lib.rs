//! CNI, the Container Network Interface, as types and data.
//!
//! - [`catalogue`]: every requirement of the specification, with level, versions and section.
//! - [`Version`], [`Operation`], [`Level`]: the vocabulary; [`version`]: reading and negotiating versions.
//! - [`parameters`]: the `CNI_` environment variables and the rules for their values.
//! - [`config`]: network configurations, and deriving the request that a plugin reads on standard input.
//! - [`result`]: the results of ADD and VERSION in every version, and converting between versions.
//! - [`error`]: error objects and the well-known codes.
//!
//! Nothing here does input or output. Documents are [`serde_json::Value`]s: keys that the specification does not
//! define, key order and every digit of a number survive.

#[macro_use]
mod name;
pub mod catalogue;
pub mod config;
mod document;
pub mod error;
pub mod keys;
mod known;
mod level;
mod operation;
pub mod parameters;
pub mod result;
#[cfg(test)]
mod testing;
mod text_serde;
pub mod version;

pub use self::document::DocumentError;
pub use self::known::Version;
pub use self::level::Level;
pub use self::name::UnknownName;
pub use self::operation::Operation;
