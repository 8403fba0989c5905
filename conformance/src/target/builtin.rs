//! The targets that are built in.

use super::Target;

macro_rules! targets {
    ($($name:literal),* $(,)?) => {
        const TARGETS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../targets/", $name, ".toml")))),*];
    };
}

targets![
    "bandwidth",
    "bridge",
    "debug",
    "dhcp",
    "dnsname",
    "dummy",
    "firewall",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "meta",
    "portmap",
    "ptp",
    "sbr",
    "static",
    "tap",
    "tuning",
    "vlan",
    "vrf",
];

/// A commented target file to start from, as `cnitest target init` writes it.
pub const TEMPLATE: &str = include_str!("../../targets/template.toml");

/// The names of the built-in targets, sorted.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    TARGETS.iter().map(|(name, _)| *name)
}

/// The built-in target for a plugin type.
pub fn builtin(name: &str) -> Option<Target> {
    let (_, text) = TARGETS.iter().find(|(known, _)| *known == name)?;
    Some(
        Target::parse(text, &format!("built-in target {name}"))
            .expect("built-in targets are parsed by a test"),
    )
}
