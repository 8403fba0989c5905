//! Which keys a result has in which version.

use serde_json::Value;

use crate::Version;
use crate::document::uint;

/// The three forms that results have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Up to 0.2.0: `ip4` and `ip6`, each with its routes.
    Families,
    /// 0.3.0 to 0.4.0: `ips` whose entries have a `version`.
    Versioned,
    /// From 1.0.0: `ips` without `version`.
    Plain,
}

impl Shape {
    pub(super) fn of(version: Version) -> Shape {
        match version {
            Version::V0_1_0 | Version::V0_2_0 => Shape::Families,
            Version::V0_3_0 | Version::V0_3_1 | Version::V0_4_0 => Shape::Versioned,
            Version::V1_0_0 | Version::V1_1_0 => Shape::Plain,
        }
    }
}

/// Whether interfaces and routes have the attributes that 1.1.0 added.
pub(super) fn has_attributes(version: Version) -> bool {
    version >= Version::V1_1_0
}

/// The objects that a result consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Root,
    Interface,
    Ip,
    Route,
    Dns,
}

/// What a key means in an object of a version.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meaning {
    /// Not defined.
    Free,
    /// Defined, and every value that the function accepts is one of it.
    Attribute(fn(&Value) -> bool),
    /// Defined, and part of the result's structure.
    Structure,
}

/// What a key means in `part` of a result of `version`.
pub(super) fn meaning(part: Part, key: &str, version: Version) -> Meaning {
    let attributes = has_attributes(version);
    match (part, Shape::of(version), key) {
        (Part::Root, _, "cniVersion" | "dns") => Meaning::Structure,
        (Part::Root, Shape::Families, "ip4" | "ip6") => Meaning::Structure,
        (Part::Root, Shape::Versioned | Shape::Plain, "interfaces" | "ips" | "routes") => Meaning::Structure,
        // The misspelling of 0.3.0 is read as the list.
        (Part::Root, Shape::Versioned, "ip") if version == Version::V0_3_0 => Meaning::Structure,
        (Part::Interface, _, "name" | "mac" | "sandbox") => Meaning::Structure,
        (Part::Interface, _, "mtu") if attributes => Meaning::Attribute(is_uint),
        (Part::Interface, _, "socketPath" | "pciID") if attributes => Meaning::Attribute(Value::is_string),
        (Part::Ip, Shape::Families, "ip" | "gateway" | "routes") => Meaning::Structure,
        (Part::Ip, Shape::Versioned | Shape::Plain, "address" | "gateway" | "interface") => {
            Meaning::Structure
        }
        (Part::Ip, Shape::Versioned, "version") => Meaning::Structure,
        (Part::Route, _, "dst" | "gw") => Meaning::Structure,
        (Part::Route, _, "mtu" | "advmss" | "priority" | "table" | "scope") if attributes => {
            Meaning::Attribute(is_uint)
        }
        (Part::Dns, _, "nameservers" | "domain" | "search" | "options") => Meaning::Structure,
        _ => Meaning::Free,
    }
}

fn is_uint(value: &Value) -> bool {
    uint(value).is_some()
}
