//! Network configurations, and the requests derived from them.
//!
//! [`NetworkList`] is what an administrator writes; [`PluginConfig`] is one plugin's part of it; [`Request`]
//! derives the document that the plugin reads on standard input for an operation.

mod plugin;
mod request;

use serde_json::{Map, Value};

pub use self::plugin::PluginConfig;
pub use self::request::{Attachment, Request, RequestError, version_request};
use crate::document::{Fields, text};
use crate::version::{AnyVersion, offered};
use crate::{DocumentError, Version, keys};

/// A network configuration: a name and the plugins to execute, in order. Keeps what it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkList {
    name: String,
    versions: Vec<AnyVersion>,
    disable_check: bool,
    disable_gc: bool,
    load_only_inlined: bool,
    plugins: Vec<PluginConfig>,
    document: Map<String, Value>,
}

const KIND: &str = "network configuration";

impl NetworkList {
    /// Reads a configuration of either form: a list, or up to 0.4.0 a single plugin object.
    ///
    /// # Errors
    /// See [`NetworkList::parse_list`] and [`NetworkList::parse_single`].
    pub fn parse(value: &Value) -> Result<NetworkList, DocumentError> {
        let single = value
            .as_object()
            .is_some_and(|map| map.contains_key(keys::TYPE) && !map.contains_key(keys::PLUGINS));
        if single { NetworkList::parse_single(value) } else { NetworkList::parse_list(value) }
    }

    /// Reads a list.
    ///
    /// Checks the types of the keys that the specification defines, not the characters of names: for those see
    /// [`crate::parameters::network_name`]. A boolean may also be the string `true` or `false` in any case
    /// (`config.bool-strings-accepted`).
    ///
    /// # Errors
    /// When it is no object; when `name` is missing; when a key has another type; when `plugins` is empty, or is
    /// missing although the versions are all before 1.1.0 or `loadOnlyInlinedPlugins` is true.
    pub fn parse_list(value: &Value) -> Result<NetworkList, DocumentError> {
        let mut fields = Fields::root(KIND, value)?;
        let document = value.as_object().cloned().unwrap_or_default();
        let versions = offered(&document)?;
        let name = fields.require(keys::NAME, "a string of at least one character", name)?;
        let disable_check = flag(&mut fields, keys::DISABLE_CHECK)?;
        let disable_gc = flag(&mut fields, keys::DISABLE_GC)?;
        let load_only_inlined = flag(&mut fields, keys::LOAD_ONLY_INLINED_PLUGINS)?;
        let optional = versions.iter().any(|version| version.at_least(Version::V1_1_0)) && !load_only_inlined;
        let expected = "an array of at least one plugin object";
        if !fields.has(keys::PLUGINS) && !optional {
            return Err(fields.missing(keys::PLUGINS, expected));
        }
        if let Some(empty) =
            fields.get(keys::PLUGINS).filter(|value| value.as_array().is_some_and(Vec::is_empty))
        {
            let mut error = fields.wrong(keys::PLUGINS, empty, expected);
            error.found = "an empty array".to_owned();
            return Err(error);
        }
        let plugins = fields.objects(keys::PLUGINS, PluginConfig::read)?;
        Ok(NetworkList { name, versions, disable_check, disable_gc, load_only_inlined, plugins, document })
    }

    /// Reads a single plugin object as a list of one (`config.single-plugin-form`).
    ///
    /// # Errors
    /// When `name` or `type` is missing, a key has another type, or `cniVersion` is 1.0.0 or newer, which only have lists
    /// (`config.single-plugin-form-removed`).
    pub fn parse_single(value: &Value) -> Result<NetworkList, DocumentError> {
        let plugin = PluginConfig::parse(value)?;
        let mut fields = Fields::root(KIND, value)?;
        let versions = offered(plugin.fields())?;
        if versions.iter().any(|version| version.at_least(Version::V1_0_0)) {
            return Err(
                fields.missing(keys::PLUGINS, "an array: from 1.0.0 on put the plugin object into plugins")
            );
        }
        let name = fields.require(keys::NAME, "a string of at least one character", name)?;
        let mut document = Map::new();
        for key in [keys::CNI_VERSION, keys::NAME] {
            if let Some(value) = plugin.fields().get(key) {
                document.insert(key.to_owned(), value.clone());
            }
        }
        document.insert(keys::PLUGINS.to_owned(), Value::Array(vec![plugin.to_value()]));
        Ok(NetworkList {
            name,
            versions,
            disable_check: false,
            disable_gc: false,
            load_only_inlined: false,
            plugins: vec![plugin],
            document,
        })
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The versions that the configuration offers; never empty.
    pub fn versions(&self) -> &[AnyVersion] {
        &self.versions
    }

    /// Whether the configuration forbids CHECK.
    pub fn disable_check(&self) -> bool {
        self.disable_check
    }

    /// Whether the configuration forbids GC.
    pub fn disable_gc(&self) -> bool {
        self.disable_gc
    }

    /// Whether plugin objects from other sources are to be ignored.
    pub fn load_only_inlined_plugins(&self) -> bool {
        self.load_only_inlined
    }

    /// The plugins, in the order of execution.
    pub fn plugins(&self) -> &[PluginConfig] {
        &self.plugins
    }

    /// Appends plugin objects from another source, which come after the inlined ones (`runtime.aggregate-appended`).
    /// Does nothing if the list is to hold only the inlined ones.
    pub fn append(&mut self, plugins: impl IntoIterator<Item = PluginConfig>) {
        if self.load_only_inlined {
            return;
        }
        self.plugins.extend(plugins);
        let values = self.plugins.iter().map(PluginConfig::to_value).collect();
        self.document.insert(keys::PLUGINS.to_owned(), Value::Array(values));
    }

    /// The configuration in the list form, as it was written.
    pub fn to_value(&self) -> Value {
        Value::Object(self.document.clone())
    }
}

fn name(value: &Value) -> Option<String> {
    text(value).filter(|text| !text.is_empty())
}

fn flag(fields: &mut Fields, key: &str) -> Result<bool, DocumentError> {
    let read = |value: &Value| match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    };
    Ok(fields.read(key, "true or false", read)?.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn list(value: Value) -> Result<NetworkList, DocumentError> {
        NetworkList::parse(&value)
    }

    #[test]
    fn a_list_keeps_what_it_does_not_know() {
        let text = r#"{"z":1,"cniVersion":"1.1.0","name":"net","plugins":[{"mtu":12345678901234567890,"type":"p","a":1.50}],"disableGC":"TRUE"}"#;
        let list = NetworkList::parse(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(list.to_value().to_string(), text);
        assert_eq!(list.name(), "net");
        assert!(list.disable_gc() && !list.disable_check());
        assert_eq!(
            list.plugins()[0].to_value().to_string(),
            r#"{"mtu":12345678901234567890,"type":"p","a":1.50}"#
        );
    }

    #[test]
    fn malformed_lists_say_where() {
        for (value, path) in [
            (json!([]), ""),
            (json!({"plugins": [{"type": "p"}]}), "/name"),
            (json!({"name": 1, "plugins": [{"type": "p"}]}), "/name"),
            (json!({"name": "", "plugins": [{"type": "p"}]}), "/name"),
            (json!({"name": "n"}), "/plugins"),
            (json!({"name": "n", "plugins": []}), "/plugins"),
            (json!({"name": "n", "plugins": {}}), "/plugins"),
            (json!({"name": "n", "plugins": [1]}), "/plugins/0"),
            (json!({"name": "n", "plugins": [{"type": "p"}, {}]}), "/plugins/1/type"),
            (json!({"name": "n", "plugins": [{"type": "p", "capabilities": []}]}), "/plugins/0/capabilities"),
            (
                json!({"name": "n", "plugins": [{"type": "p", "capabilities": {"a/b": "yes"}}]}),
                "/plugins/0/capabilities/a~1b",
            ),
            (json!({"name": "n", "plugins": [{"type": "p", "ipam": 1}]}), "/plugins/0/ipam"),
            (json!({"name": "n", "plugins": [{"type": "p"}], "disableCheck": "yes"}), "/disableCheck"),
            (json!({"cniVersion": "1.1.0", "name": "n", "loadOnlyInlinedPlugins": true}), "/plugins"),
            (json!({"cniVersion": "1.0.0", "name": "n", "type": "p"}), "/plugins"),
        ] {
            assert_eq!(list(value.clone()).unwrap_err().path, path, "{value}");
        }
    }

    #[test]
    fn plugins_may_come_from_elsewhere_from_1_1_0_on() {
        let extra = PluginConfig::parse(&json!({"type": "late"})).unwrap();
        let mut empty = list(json!({"cniVersion": "1.1.0", "name": "n"})).unwrap();
        empty.append([extra.clone()]);
        assert_eq!(empty.to_value()["plugins"], json!([{"type": "late"}]));
        let mut closed = list(json!({"cniVersion": "1.1.0", "name": "n", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "p"}]})).unwrap();
        closed.append([extra]);
        assert_eq!(closed.plugins().len(), 1);
    }

    #[test]
    fn a_single_plugin_object_is_a_list_of_one() {
        let single = json!({"cniVersion": "0.3.1", "name": "n", "type": "p", "x": 1});
        let list = list(single.clone()).unwrap();
        assert_eq!(list.name(), "n");
        assert_eq!(list.to_value(), json!({"cniVersion": "0.3.1", "name": "n", "plugins": [single]}));
        assert_eq!(NetworkList::parse(&list.to_value()).unwrap().plugins(), list.plugins());
    }

    proptest! {
        #![proptest_config(crate::testing::fixed())]

        #[test]
        fn flags_read_booleans_and_words(word in "(?i)true|false|yes|1|") {
            let parsed = list(json!({"name": "n", "plugins": [{"type": "p"}], "disableCheck": word}));
            match word.to_ascii_lowercase().as_str() {
                "true" => prop_assert!(parsed.unwrap().disable_check()),
                "false" => prop_assert!(!parsed.unwrap().disable_check()),
                _ => prop_assert!(parsed.is_err()),
            }
        }
    }
}
