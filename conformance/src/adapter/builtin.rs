//! The adapters that are built in.

use super::Adapter;

macro_rules! adapters {
    ($($name:literal),* $(,)?) => {
        const ADAPTERS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../adapters/", $name, ".toml")))),*];
    };
}

adapters!["buildah", "cnitest", "cnitool", "containerd-cri", "containerd-ctr", "crio", "nerdctl", "podman",];

/// The runtime that is tested when none is named: cnitest's own.
pub const DEFAULT: &str = "cnitest";

/// A commented adapter to start from, as `cnitest runtime --init` writes it.
pub const TEMPLATE: &str = include_str!("../../adapters/template.toml");

/// The names of the built-in adapters, sorted.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    ADAPTERS.iter().map(|(name, _)| *name)
}

/// The text of a built-in adapter.
pub fn builtin_text(name: &str) -> Option<&'static str> {
    ADAPTERS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The built-in adapter of a runtime.
pub fn builtin(name: &str) -> Option<Adapter> {
    let text = builtin_text(name)?;
    let adapter = Adapter::parse(text, &format!("built-in adapter {name}"));
    Some(adapter.expect("built-in adapters are parsed by a test"))
}
