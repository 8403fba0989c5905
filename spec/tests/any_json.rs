//! No document, however strange, makes a reader panic; and what is read survives.

use cni_spec::config::{NetworkList, PluginConfig, Request};
use cni_spec::error::CniError;
use cni_spec::result::{AddResult, Dns, VersionResult};
use cni_spec::version::AnyVersion;
use cni_spec::{Operation, Version};
use proptest::prelude::*;
use serde_json::Value;

#[path = "../src/testing.rs"]
mod testing;

const KEYS: [&str; 18] = [
    "cniVersion",
    "cniVersions",
    "name",
    "type",
    "plugins",
    "capabilities",
    "ipam",
    "runtimeConfig",
    "prevResult",
    "disableCheck",
    "loadOnlyInlinedPlugins",
    "supportedVersions",
    "code",
    "msg",
    "cni.dev/x",
    "a/b~c",
    "ips",
    "nameservers",
];

fn json() -> impl Strategy<Value = Value> {
    let texts = vec!["net", "bridge", "true", "", "0.4.0", "1.1.0", "9.9.9", "banana", "10.0.0.1/8"];
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(texts).prop_map(Value::from),
    ];
    scalar.prop_recursive(5, 48, 8, |inner| {
        let pair = (prop::sample::select(KEYS.to_vec()), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            prop::collection::vec(pair, 0..8).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

/// A list that is right but for what `json` puts into it.
fn list() -> impl Strategy<Value = Value> {
    let plugin = (prop::sample::select(KEYS.to_vec()), json());
    (prop::sample::select(KEYS.to_vec()), json(), prop::collection::vec(plugin, 1..4)).prop_map(
        |(key, value, plugins)| {
            let plugins: Vec<Value> = plugins
                .into_iter()
                .map(|(key, value)| {
                    let mut plugin = serde_json::json!({"type": "p"});
                    plugin[key] = value;
                    plugin
                })
                .collect();
            let mut list = serde_json::json!({"cniVersion": "1.1.0", "name": "net", "plugins": plugins});
            list[key] = value;
            list
        },
    )
}

proptest! {
    #![proptest_config(testing::fixed())]

    #[test]
    fn readers_never_panic(value in json()) {
        let _ = (NetworkList::parse(&value), NetworkList::parse_list(&value), NetworkList::parse_single(&value));
        let _ = (PluginConfig::parse(&value), Dns::parse(&value));
        for version in Version::ALL {
            let _ = AddResult::parse(&value, version);
        }
        if let Ok(error) = CniError::parse(&value) {
            prop_assert_eq!(CniError::parse(&error.to_value()), Ok(error));
        }
        if let Ok(result) = VersionResult::parse(&value) {
            prop_assert_eq!(VersionResult::parse(&result.to_value()), Ok(result));
        }
    }

    #[test]
    fn a_list_that_is_read_is_kept_and_yields_requests(value in list()) {
        let Ok(list) = NetworkList::parse(&value) else { return Ok(()) };
        prop_assert_eq!(list.to_value().to_string(), value.to_string());
        prop_assert!(!list.versions().is_empty());
        let offers = serde_json::Map::new();
        for operation in Operation::ALL {
            let version = AnyVersion::from(Version::LATEST);
            let request = Request {
                prev_result: Some(&Value::Null),
                capability_args: Some(&offers),
                ..Request::new(operation, &version)
            };
            for plugin in list.plugins() {
                let derived = request.derive(&list, plugin);
                prop_assert_eq!(derived.map(|value| value["cniVersion"].clone()), Ok(Value::from("1.1.0")));
            }
        }
    }

    #[test]
    fn dns_settings_survive(value in json()) {
        if let Ok(dns) = Dns::parse(&value) {
            prop_assert_eq!(Dns::parse(&dns.to_value()), Ok(dns));
        }
    }
}
