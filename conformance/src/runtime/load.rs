//! Loading network configurations from a folder, `/etc/cni/net.d` as a rule.
//!
//! Lists are looked for in `*.conflist`, then, as before 1.0.0, single plugin objects in `*.conf` and `*.json`; the first
//! file in the order of names that holds the network counts (`runtime.load-first-by-filename`). A file that is broken
//! stops the search unless its name says that it is another network's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cni_spec::config::{NetworkList, PluginConfig};
use cni_spec::keys;
use serde_json::Value;

use super::error::LoadError;
use super::policy::{Policy, Standard};

/// A network as it was loaded.
#[derive(Debug, Clone)]
pub struct Network {
    /// The configuration, with the plugins of its folder.
    pub list: NetworkList,
    /// The configuration as text: the file as it is, or with the folder's plugins where there are any.
    pub text: Vec<u8>,
}

impl Network {
    /// Reads a configuration that does not come from a folder (`config.source-agnostic`).
    ///
    /// # Errors
    /// When it is no network configuration; `path` is what the error names.
    pub fn from_bytes(text: &[u8], path: &Path) -> Result<Network, LoadError> {
        Network::of(&json(text, path, &Standard)?, text, path)
    }

    fn of(value: &Value, text: &[u8], path: &Path) -> Result<Network, LoadError> {
        let list =
            NetworkList::parse(value).map_err(|source| LoadError::Form { path: path.to_owned(), source })?;
        Ok(Network { list, text: text.to_vec() })
    }

    /// Checks every name in it by the rules of the newest version, whatever its own.
    fn check_names(&self, path: &Path, policy: &dyn Policy) -> Result<(), LoadError> {
        let named = |source| LoadError::Name { path: path.to_owned(), source };
        policy.check_network_name(self.list.name()).map_err(named)?;
        for plugin in self.list.plugins() {
            policy.check_type(plugin.plugin_type()).map_err(named)?;
        }
        Ok(())
    }

    /// Appends the plugins of the network's folder (`runtime.aggregate-dir-layout`).
    pub(super) fn append_folder(&mut self, folder: &Path, policy: &dyn Policy) -> Result<(), LoadError> {
        if !policy.takes_folder(&self.list) {
            return Ok(());
        }
        let mut plugins = Vec::new();
        for path in policy.files(folder_files(&folder.join(self.list.name()), &["conf"])?) {
            let plugin = PluginConfig::parse(&json(&read(&path)?, &path, policy)?)
                .map_err(|source| LoadError::Form { path: path.clone(), source })?;
            policy.check_type(plugin.plugin_type()).map_err(|source| LoadError::Name { path, source })?;
            plugins.push(plugin);
        }
        if !plugins.is_empty() {
            policy.append(&mut self.list, plugins);
            self.text = self.list.to_value().to_string().into_bytes();
        }
        Ok(())
    }
}

/// Loads the network of a name from a folder.
///
/// # Errors
/// When no file holds it, or the file that does is broken, or one before it whose network cannot be told.
pub fn load(folder: &Path, name: &str, policy: &dyn Policy) -> Result<Network, LoadError> {
    let mut seen = Vec::new();
    for extensions in [&["conflist"][..], &["conf", "json"]] {
        for path in policy.files(folder_files(folder, extensions)?) {
            let text = read(&path)?;
            let value = json(&text, &path, policy)?;
            // Tells the network of a file that is broken elsewhere.
            match value.get(keys::NAME).and_then(Value::as_str) {
                Some(other) if other != name => {
                    seen.push(other.to_owned());
                    continue;
                }
                _ => {}
            }
            let mut network = Network::of(&value, &text, &path)?;
            network.check_names(&path, policy)?;
            network.append_folder(folder, policy)?;
            if network.list.plugins().is_empty() {
                return Err(LoadError::NoPlugins { path, folder: folder.join(name) });
            }
            return Ok(network);
        }
    }
    Err(LoadError::NotFound { name: name.to_owned(), folder: folder.to_owned(), seen })
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

fn json(text: &[u8], path: &Path, policy: &dyn Policy) -> Result<Value, LoadError> {
    policy.read_json(text).map_err(|source| LoadError::Json { path: path.to_owned(), source })
}

/// The files with one of the extensions, in no order; none if there is no such folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn folder_files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, LoadError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        let wanted = |path: &PathBuf| {
            path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension))
                && !path.is_dir()
        };
        paths.filter(|path| path.as_ref().map_or(true, wanted)).collect()
    };
    match list() {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => Ok(Vec::new()),
        paths => paths.map_err(|source| LoadError::Read { path: folder.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use cni_spec::Operation;
    use cni_spec::config::Request;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::runtime::policy::Standard;

    /// Any JSON, numbers beyond what floating point holds among it.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            "-?[1-9][0-9]{0,30}(\\.[0-9]{1,5})?".prop_map(|text| serde_json::from_str(&text).unwrap()),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..3)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_is_loaded_is_derived_unchanged(inlined in any_json(), late in any_json()) {
            let folder = tempfile::tempdir().unwrap();
            let list = json!({"cniVersion": "1.1.0", "name": "net", "plugins": [{"x": inlined, "type": "p"}]});
            fs::write(folder.path().join("a.conflist"), list.to_string()).unwrap();
            fs::create_dir(folder.path().join("net")).unwrap();
            fs::write(folder.path().join("net/a.conf"), json!({"type": "q", "x": late}).to_string()).unwrap();
            let network = load(folder.path(), "net", &Standard).unwrap();
            let version = Standard.select_version(&network.list).unwrap();
            let request = Request::new(Operation::Add, &version);
            let derived: Vec<String> = network.list.plugins().iter()
                .map(|plugin| request.derive(&network.list, plugin).unwrap()["x"].to_string())
                .collect();
            prop_assert_eq!(derived, [inlined.to_string(), late.to_string()]);
            let again = Network::from_bytes(&network.text, Path::new("cached")).unwrap();
            prop_assert_eq!(again.list.plugins(), network.list.plugins());
        }
    }
}
