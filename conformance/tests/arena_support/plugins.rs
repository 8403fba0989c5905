//! Bundled plugins in an arena.

use cnitest::arena::{Arena, ArenaConfig, PluginAlias};
use cnitest::invoke::Invocation;
use serde_json::Value;

use super::support::config;

/// A new arena with bundled plugins.
pub(crate) fn arena_with(plugins: &[&str]) -> Arena {
    let alias = |name: &&str| PluginAlias { name: (*name).into(), executable: "/proc/self/exe".into() };
    let plugin_aliases = plugins.iter().map(alias).collect();
    Arena::start(&ArenaConfig { plugin_aliases, ..config() })
        .unwrap_or_else(|error| panic!("these tests need namespaces: {error}"))
}

/// The execution of a bundled plugin for the interface `eth0` of a container, whose ID is the name of its namespace.
pub(crate) fn of_plugin(operation: &str, container: &str, config: &Value) -> Invocation {
    let plugin = config["type"].as_str().expect("a type");
    Invocation::new(format!("/opt/cni/bin/{plugin}"))
        .env("CNI_COMMAND", operation)
        .env("CNI_CONTAINERID", container)
        .env("CNI_NETNS", format!("/run/netns/{container}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/opt/cni/bin")
        .input(config.to_string())
}

/// An object with further keys.
pub(crate) fn extended(mut object: Value, keys: &Value) -> Value {
    for (key, value) in keys.as_object().expect("an object") {
        object[key] = value.clone();
    }
    object
}
