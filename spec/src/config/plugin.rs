//! One plugin's part of a network configuration.

use serde_json::{Map, Value};

use crate::document::{Fields, text};
use crate::{DocumentError, keys};

/// A plugin configuration object. Keeps what it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginConfig {
    plugin_type: String,
    capabilities: Vec<(String, bool)>,
    ipam_type: Option<String>,
    fields: Map<String, Value>,
}

impl PluginConfig {
    /// Reads a plugin configuration object, in a file or as a request.
    ///
    /// # Errors
    /// When it is no object; when `type` is missing, empty or no string; when `capabilities` is no object of booleans;
    /// when `ipam` is no object or its `type` no string.
    pub fn parse(value: &Value) -> Result<PluginConfig, DocumentError> {
        PluginConfig::read(Fields::root("plugin configuration", value)?)
    }

    pub(super) fn read(mut fields: Fields) -> Result<PluginConfig, DocumentError> {
        let all = fields.clone_rest();
        let plugin_type = fields
            .require(keys::TYPE, "the name of a plugin", |value| text(value).filter(|t| !t.is_empty()))?;
        let mut capabilities = Vec::new();
        if let Some(mut object) = fields.object(keys::CAPABILITIES)? {
            for key in object.clone_rest().keys() {
                capabilities.push((key.clone(), object.require(key, "true or false", Value::as_bool)?));
            }
        }
        let ipam_type = match fields.object(keys::IPAM)? {
            Some(mut ipam) => ipam.string(keys::TYPE)?.filter(|text| !text.is_empty()),
            None => None,
        };
        Ok(PluginConfig { plugin_type, capabilities, ipam_type, fields: all })
    }

    /// The plugin's type: the name of its executable.
    pub fn plugin_type(&self) -> &str {
        &self.plugin_type
    }

    /// The capabilities that the plugin declares to support, in order.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        self.capabilities.iter().filter(|(_, supported)| *supported).map(|(name, _)| name.as_str())
    }

    /// The IPAM plugin to delegate to.
    pub fn ipam_type(&self) -> Option<&str> {
        self.ipam_type.as_deref()
    }

    /// All fields, in order.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The object, as it was written.
    pub fn to_value(&self) -> Value {
        Value::Object(self.fields.clone())
    }
}
