//! Deriving the request that a plugin reads from its part of the configuration.

use serde_json::{Map, Value, json};

use super::{NetworkList, PluginConfig};
use crate::version::AnyVersion;
use crate::{Operation, Version, keys};

/// A container's membership in a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment {
    /// The container's ID.
    pub container_id: String,
    /// The name of the interface inside the container.
    pub ifname: String,
}

/// What a request holds besides the plugin's configuration.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The operation.
    pub operation: Operation,
    /// The version selected for the whole list.
    pub version: &'a AnyVersion,
    /// ADD: the result of the plugin before this one, absent for the first. DEL and CHECK: the final result of the ADD.
    pub prev_result: Option<&'a Value>,
    /// What the runtime has to offer for each capability.
    pub capability_args: Option<&'a Map<String, Value>>,
    /// GC: the attachments that are still valid.
    pub valid_attachments: &'a [Attachment],
}

/// Why a request cannot be derived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The version does not have the operation.
    #[error("{operation} does not exist in CNI version {version}: select {} or newer", operation.since())]
    NotDefined {
        /// The operation.
        operation: Operation,
        /// The version.
        version: String,
    },
    /// CHECK needs the result of the ADD.
    #[error(
        "CHECK of network {network:?} has no prevResult: pass the result that ADD returned for this attachment"
    )]
    NoPrevResult {
        /// The network's name.
        network: String,
    },
}

/// The request of VERSION, from 1.0.0 on; earlier versions have no input.
pub fn version_request(version: &AnyVersion) -> Value {
    json!({ keys::CNI_VERSION: version.as_str() })
}

impl<'a> Request<'a> {
    /// A request without a previous result, capability arguments and valid attachments.
    pub fn new(operation: Operation, version: &'a AnyVersion) -> Request<'a> {
        Request { operation, version, prev_result: None, capability_args: None, valid_attachments: &[] }
    }

    /// The document for one plugin of a list.
    ///
    /// Fields that the specification does not define pass unchanged. `name` and `cniVersion` are the list's. What only the
    /// runtime generates never comes from the file: `prevResult`, `runtimeConfig` (from 0.3.0 on), `cni.dev/` keys
    /// (from 1.1.0 on). `capabilities` is left out of ADD, DEL and CHECK. `runtimeConfig` holds the capabilities that the
    /// plugin declares and the runtime offers, and is left out where there are none. GC carries the valid attachments
    /// under both names that the texts of 1.1.0 give the key.
    ///
    /// # Errors
    /// When the version does not have the operation, or CHECK has no previous result.
    pub fn derive(&self, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
        if !self.version.at_least(self.operation.since()) {
            let version = self.version.to_string();
            return Err(RequestError::NotDefined { operation: self.operation, version });
        }
        if self.operation == Operation::Version {
            return Ok(version_request(self.version));
        }
        if self.operation == Operation::Check && self.prev_result.is_none() {
            return Err(RequestError::NoPrevResult { network: list.name().to_owned() });
        }
        let mut out = Map::new();
        out.insert(keys::CNI_VERSION.to_owned(), self.version.as_str().into());
        out.insert(keys::NAME.to_owned(), list.name().into());
        for (key, value) in plugin.fields() {
            if self.passes(key) {
                out.insert(key.clone(), value.clone());
            }
        }
        let chained = self.version.at_least(Version::V0_3_0);
        if chained && self.operation.is_attachment() {
            let offers = self.capability_args.into_iter().flatten();
            let declared: Vec<&str> = plugin.capabilities().collect();
            let matching = offers.filter(|(key, _)| declared.contains(&key.as_str()));
            let runtime_config: Map<String, Value> =
                matching.map(|(key, value)| (key.clone(), value.clone())).collect();
            if !runtime_config.is_empty() {
                out.insert(keys::RUNTIME_CONFIG.to_owned(), runtime_config.into());
            }
        }
        if let Some(result) = self.prev_result.filter(|_| self.carries_prev_result()) {
            out.insert(keys::PREV_RESULT.to_owned(), result.clone());
        }
        if self.operation == Operation::Gc {
            let valid: Vec<Value> = self.valid_attachments.iter().map(Attachment::to_value).collect();
            out.insert(keys::VALID_ATTACHMENTS.to_owned(), valid.clone().into());
            out.insert(keys::VALID_ATTACHMENTS_TAGGED.to_owned(), valid.into());
        }
        Ok(Value::Object(out))
    }

    /// Whether a field of the file goes into the request as it is.
    fn passes(&self, key: &str) -> bool {
        match key {
            keys::CNI_VERSION | keys::NAME => false,
            keys::PREV_RESULT | keys::RUNTIME_CONFIG => !self.version.at_least(Version::V0_3_0),
            keys::CAPABILITIES => !self.operation.is_attachment() || !self.version.at_least(Version::V0_3_0),
            _ => !(key.starts_with(keys::RESERVED_PREFIX) && self.version.at_least(Version::V1_1_0)),
        }
    }

    fn carries_prev_result(&self) -> bool {
        match self.operation {
            Operation::Add => self.version.at_least(Version::V0_3_0),
            Operation::Del | Operation::Check => self.version.at_least(Version::V0_4_0),
            Operation::Gc | Operation::Status | Operation::Version => false,
        }
    }
}

impl Attachment {
    fn to_value(&self) -> Value {
        json!({ keys::CONTAINER_ID: self.container_id, keys::IFNAME: self.ifname })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list() -> NetworkList {
        NetworkList::parse(&json!({
            "cniVersion": "1.1.0", "name": "net", "disableCheck": false, "cniVersions": ["0.3.0"],
            "plugins": [{
                "type": "p", "name": "other", "cniVersion": "0.1.0", "capabilities": {"mac": true, "bandwidth": false, "dns": true},
                "runtimeConfig": {"mac": "static"}, "prevResult": {"static": true}, "cni.dev/foo": 1, "x": {"big": 1}, "args": {}
            }]
        }))
        .unwrap()
    }

    fn derive(request: Request<'_>) -> Value {
        let list = list();
        request.derive(&list, &list.plugins()[0]).unwrap()
    }

    fn version(version: Version) -> AnyVersion {
        version.into()
    }

    #[test]
    fn the_first_add() {
        let offers = json!({"mac": "02:00:00:00:00:01", "bandwidth": {}, "aliases": []});
        let latest = version(Version::LATEST);
        let request =
            Request { capability_args: offers.as_object(), ..Request::new(Operation::Add, &latest) };
        assert_eq!(
            derive(request),
            json!({"cniVersion": "1.1.0", "name": "net", "type": "p", "x": {"big": 1}, "args": {}, "runtimeConfig": {"mac": "02:00:00:00:00:01"}})
        );
    }

    #[test]
    fn without_a_match_there_is_no_runtime_config() {
        let latest = version(Version::LATEST);
        assert_eq!(derive(Request::new(Operation::Add, &latest)).get("runtimeConfig"), None);
    }

    #[test]
    fn prev_result_follows_operation_and_version() {
        let result = json!({"ips": []});
        let carries = |operation, v| {
            let v = version(v);
            let request = Request { prev_result: Some(&result), ..Request::new(operation, &v) };
            derive(request).get("prevResult") == Some(&result)
        };
        assert!(carries(Operation::Add, Version::V0_3_0));
        assert!(!carries(Operation::Add, Version::V0_2_0));
        assert!(!carries(Operation::Del, Version::V0_3_1));
        assert!(carries(Operation::Del, Version::V0_4_0));
        assert!(carries(Operation::Check, Version::V1_1_0));
        assert!(!carries(Operation::Gc, Version::V1_1_0));
        assert!(!carries(Operation::Status, Version::V1_1_0));
    }

    #[test]
    fn check_needs_a_result() {
        let latest = version(Version::LATEST);
        let list = list();
        let error = Request::new(Operation::Check, &latest).derive(&list, &list.plugins()[0]).unwrap_err();
        assert_eq!(error, RequestError::NoPrevResult { network: "net".to_owned() });
    }

    #[test]
    fn gc_lists_attachments_even_when_there_are_none() {
        let latest = version(Version::LATEST);
        assert_eq!(derive(Request::new(Operation::Gc, &latest))["cni.dev/valid-attachments"], json!([]));
        let valid = [Attachment { container_id: "c".to_owned(), ifname: "eth0".to_owned() }];
        let request = derive(Request { valid_attachments: &valid, ..Request::new(Operation::Gc, &latest) });
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            assert_eq!(request[key], json!([{"containerID": "c", "ifname": "eth0"}]));
        }
        assert!(request.get("capabilities").is_some() && request.get("runtimeConfig").is_none());
    }

    #[test]
    fn version_asks_with_the_version_only() {
        let v = version(Version::V1_0_0);
        assert_eq!(derive(Request::new(Operation::Version, &v)), json!({"cniVersion": "1.0.0"}));
    }

    #[test]
    fn operations_begin_with_their_version() {
        let list = list();
        for operation in Operation::ALL {
            for v in Version::ALL {
                let (any, result) = (version(v), json!({}));
                let request = Request { prev_result: Some(&result), ..Request::new(operation, &any) };
                assert_eq!(
                    request.derive(&list, &list.plugins()[0]).is_ok(),
                    v >= operation.since(),
                    "{operation} {v}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(crate::testing::fixed())]

        #[test]
        fn unknown_fields_pass_unchanged_and_in_order(fields in prop::collection::vec(("x[a-z]{1,6}", -9i64..9), 0..6)) {
            let mut plugin = json!({"type": "p"});
            for (key, value) in fields {
                plugin[key] = value.into();
            }
            let config = PluginConfig::parse(&plugin).unwrap();
            for v in Version::ALL {
                let v = version(v);
                let mut request = Request::new(Operation::Add, &v).derive(&list(), &config).unwrap();
                let map = request.as_object_mut().unwrap();
                prop_assert_eq!(map.shift_remove("name"), Some(json!("net")));
                prop_assert_eq!(map.shift_remove("cniVersion"), Some(json!(v.as_str())));
                prop_assert_eq!(request.to_string(), plugin.to_string());
            }
        }
    }
}
