//! The schema of a kind of document joined with the schemas of plugins' own keys.

use std::sync::Arc;

use cni_spec::Version;
use serde_json::{Map, Value, json};

use crate::bundle::annotated;
use crate::constraints::Constraint;
use crate::generate::{CNI_FORMATS, GenerateError, Generator};
use crate::kind::{Kind, NotDefined, Profile};
use crate::validate::{Compiled, Violation, judge};

/// The schema of a plugin's own keys, which is none of the protocol: of a known plugin type, or a third party's.
///
/// It describes the plugin object, or for an IPAM plugin the object around `ipam`, in one file: `$ref` leads to its own `$defs`.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSchema {
    /// The plugin's type.
    pub name: String,
    /// The schema.
    pub schema: Value,
}

/// Why schemas cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// The version has no such document.
    #[error(transparent)]
    NotDefined(#[from] NotDefined),
    /// A document of this kind is not the configuration of a plugin.
    #[error("a {0} document holds no plugin's keys")]
    NoPlugin(Kind),
    /// The plugin's schema is no JSON Schema.
    #[error("the schema of {name} is not valid: {reason}")]
    Schema {
        /// The plugin.
        name: String,
        /// Why.
        reason: String,
    },
}

macro_rules! plugins {
    ($($name:literal),* $(,)?) => {
        const PLUGINS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../plugins/", $name, ".schema.json")))),*];
    };
}

plugins![
    "bandwidth",
    "bridge",
    "debug",
    "dhcp",
    "dummy",
    "firewall",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "sbr",
    "static",
    "tap",
    "tuning",
    "vlan",
    "vrf",
];

impl PluginSchema {
    /// The known plugin types, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PLUGINS.iter().map(|(name, _)| *name)
    }

    /// The text of the file of a known plugin type.
    pub fn source(name: &str) -> Option<&'static str> {
        PLUGINS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// The schema of a known plugin type.
    pub fn known(name: &str) -> Option<Self> {
        let schema = serde_json::from_str(Self::source(name)?).expect("embedded; a test reads each");
        Some(PluginSchema { name: name.to_owned(), schema })
    }
}

/// A schema, ready to validate, to generate and to mutate.
#[derive(Clone)]
pub struct Composed {
    kind: Kind,
    version: Version,
    profile: Profile,
    bundle: Arc<Value>,
    compiled: Arc<Compiled>,
}

impl std::fmt::Debug for Composed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Composed({} {} {})", self.kind, self.version, self.profile)
    }
}

impl Composed {
    /// The protocol's schema alone.
    ///
    /// # Errors
    /// When the version has no such document.
    pub fn base(kind: Kind, version: Version, profile: Profile) -> Result<Self, ComposeError> {
        Self::compose(kind, version, profile, &[])
    }

    /// Joined with plugins' schemas: that of an interface plugin, say, and that of the IPAM plugin it delegates to.
    ///
    /// # Errors
    /// When the version has no such document, the document has no place for plugins' keys, or a schema is none.
    pub fn compose(
        kind: Kind,
        version: Version,
        profile: Profile,
        plugins: &[PluginSchema],
    ) -> Result<Self, ComposeError> {
        let mut bundle = annotated(kind, version, profile)?;
        let mut parts = Vec::new();
        let mut defs =
            bundle.as_object_mut().and_then(|o| o.shift_remove("$defs")).unwrap_or_else(|| json!({}));
        for plugin in plugins {
            parts.push(own_definitions(plugin, &mut defs));
        }
        let names: Vec<&str> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        if !parts.is_empty() {
            let parts = match kind {
                Kind::ConfigSingle
                | Kind::RequestAddFirst
                | Kind::RequestAddChained
                | Kind::RequestDel
                | Kind::RequestCheck
                | Kind::RequestGc
                | Kind::RequestStatus => parts,
                Kind::ConfigList => vec![json!({"properties": {"plugins": {"items": {"allOf": parts}}}})],
                _ => return Err(ComposeError::NoPlugin(kind)),
            };
            bundle.as_object_mut().map(|o| o.shift_remove("$id"));
            bundle = json!({"allOf": [bundle, {"allOf": parts}]});
        }
        bundle["$defs"] = defs;
        let mut compiled = Compiled::try_new(bundle.clone())
            .map_err(|reason| ComposeError::Schema { name: names.join(" and "), reason })?;
        if !plugins.is_empty() {
            let own = |c: &mut Constraint| c.plugin_own = c.schema_path.starts_with("/allOf/1/");
            compiled.constraints.iter_mut().for_each(own);
        }
        Ok(Composed { kind, version, profile, bundle: Arc::new(bundle), compiled: Arc::new(compiled) })
    }

    /// The kind of document.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The version of CNI.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The schema, complete in itself, with annotations and all formats.
    pub fn schema(&self) -> &Value {
        &self.bundle
    }

    /// What it demands.
    pub fn constraints(&self) -> &[Constraint] {
        &self.compiled.constraints
    }

    /// As [`crate::validate()`].
    pub fn validate(&self, document: &Value) -> Vec<Violation> {
        judge(&self.compiled, self.kind, self.version, self.profile, document)
    }

    /// A generator of valid documents, the rules beyond the schema included.
    ///
    /// # Errors
    /// When a plugin's schema has something that is not understood.
    pub fn generator(&self) -> Result<Generator, GenerateError> {
        let (kind, version) = (self.kind, self.version);
        let generator = Generator::new(&self.bundle, &CNI_FORMATS)?;
        Ok(generator.finish(Arc::new(move |document| crate::semantic::mend(kind, version, document))))
    }
}

/// Moves a plugin's definitions to the others, under names of its own.
fn own_definitions(plugin: &PluginSchema, defs: &mut Value) -> Value {
    fn rename(value: &mut Value, name: &str) {
        match value {
            Value::Object(object) => {
                for (key, member) in object.iter_mut() {
                    match member {
                        Value::String(target) if key == "$ref" => {
                            *target = target.replacen("#/$defs/", &format!("#/$defs/{name}."), 1);
                        }
                        member => rename(member, name),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| rename(item, name)),
            _ => {}
        }
    }
    let mut schema = plugin.schema.clone();
    rename(&mut schema, &plugin.name);
    if let Some(object) = schema.as_object_mut() {
        object.shift_remove("$id");
        object.shift_remove("$schema");
        let own = object.shift_remove("$defs");
        for (name, definition) in own.and_then(|own| own.as_object().cloned()).unwrap_or_else(Map::new) {
            defs[format!("{}.{name}", plugin.name)] = definition;
        }
    }
    schema
}
