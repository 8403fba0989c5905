//! JSON Schemas (2020-12) of every document of the Container Network Interface, in every version, and a
//! validator that says which requirement a bad document breaks.
//!
//! The schemas are the files `<version>/<kind>.schema.json` beside this crate; `README.md` there describes
//! their annotations. Each constraint names a requirement of [`cni_spec::catalogue`] and, where the
//! specification fixes it, the error code that a plugin answers with.
//!
//! ```
//! use cni_schemas::{Kind, Profile, validate};
//! use cni_spec::Version;
//! use serde_json::json;
//!
//! let result = json!({
//!     "cniVersion": "1.1.0",
//!     "interfaces": [{"name": "eth0", "sandbox": "/var/run/netns/blue"}],
//!     "ips": [{"address": "10.1.0.5", "interface": 0}]
//! });
//! let violations = validate(Kind::ResultAdd, Version::V1_1_0, Profile::Compat, &result)?;
//! assert_eq!(violations.len(), 1);
//! assert_eq!(violations[0].instance_path, "/ips/0/address");
//! assert_eq!(violations[0].requirement, Some("result.ips-address"));
//! assert_eq!(violations[0].message, r#""10.1.0.5" is not an address with a prefix length"#);
//! # Ok::<(), cni_schemas::NotDefined>(())
//! ```
//!
//! Two profiles exist: [`Profile::Compat`] holds only what every reading of the specification needs,
//! [`Profile::Strict`] adds the rest. Some rules are beyond JSON Schema; those are in [`semantic`].

mod bundle;
mod compose;
mod constraints;
pub mod formats;
pub mod generate;
mod infer;
mod kind;
mod message;
pub mod mutate;
pub mod semantic;
mod source;
mod validate;

pub use bundle::{schema, schema_text};
pub use compose::{ComposeError, Composed, PluginSchema};
pub use constraints::{Constraint, constraints};
pub use infer::infer;
pub use kind::{Kind, NotDefined, Profile, UnknownKind, UnknownProfile};
pub use source::{common_source, source};
pub use validate::{Violation, validate};
