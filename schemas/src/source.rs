//! The schema files, embedded.

use cni_spec::Version;

use crate::kind::{Kind, NotDefined};

/// One version's files: the shared definitions, then each kind's schema.
struct Files {
    common: &'static str,
    kinds: &'static [(Kind, &'static str)],
}

macro_rules! file {
    ($version:literal, $stem:literal) => {
        include_str!(concat!("../", $version, "/", $stem, ".schema.json"))
    };
}

macro_rules! files {
    ($version:literal: $($kind:ident = $stem:literal),+ $(,)?) => {
        Files {
            common: file!($version, "common"),
            kinds: &[$((Kind::$kind, file!($version, $stem))),+],
        }
    };
}

static V0_1_0: Files = files!("0.1.0":
    ConfigSingle = "config-single", RequestAddFirst = "request-add-first", RequestDel = "request-del",
    ResultAdd = "result-add", ResultIpam = "result-ipam", Error = "error");
static V0_2_0: Files = files!("0.2.0":
    ConfigSingle = "config-single", RequestAddFirst = "request-add-first", RequestDel = "request-del",
    ResultAdd = "result-add", ResultIpam = "result-ipam", ResultVersion = "result-version",
    Error = "error", Args = "args");
static V0_3_0: Files = files!("0.3.0":
    ConfigList = "config-list", ConfigSingle = "config-single", RequestAddFirst = "request-add-first",
    RequestAddChained = "request-add-chained", RequestDel = "request-del", ResultAdd = "result-add",
    ResultIpam = "result-ipam", ResultVersion = "result-version", Error = "error",
    RuntimeConfig = "runtime-config", Args = "args");
static V0_3_1: Files = files!("0.3.1":
    ConfigList = "config-list", ConfigSingle = "config-single", RequestAddFirst = "request-add-first",
    RequestAddChained = "request-add-chained", RequestDel = "request-del", ResultAdd = "result-add",
    ResultIpam = "result-ipam", ResultVersion = "result-version", Error = "error",
    RuntimeConfig = "runtime-config", Args = "args");
static V0_4_0: Files = files!("0.4.0":
    ConfigList = "config-list", ConfigSingle = "config-single", RequestAddFirst = "request-add-first",
    RequestAddChained = "request-add-chained", RequestDel = "request-del", RequestCheck = "request-check",
    ResultAdd = "result-add", ResultIpam = "result-ipam", ResultVersion = "result-version",
    Error = "error", RuntimeConfig = "runtime-config", Args = "args");
static V1_0_0: Files = files!("1.0.0":
    ConfigList = "config-list", RequestAddFirst = "request-add-first",
    RequestAddChained = "request-add-chained", RequestDel = "request-del", RequestCheck = "request-check",
    RequestVersion = "request-version", ResultAdd = "result-add", ResultIpam = "result-ipam",
    ResultVersion = "result-version", Error = "error", RuntimeConfig = "runtime-config", Args = "args");
static V1_1_0: Files = files!("1.1.0":
    ConfigList = "config-list", RequestAddFirst = "request-add-first",
    RequestAddChained = "request-add-chained", RequestDel = "request-del", RequestCheck = "request-check",
    RequestGc = "request-gc", RequestStatus = "request-status", RequestVersion = "request-version",
    ResultAdd = "result-add", ResultIpam = "result-ipam", ResultVersion = "result-version",
    Error = "error", RuntimeConfig = "runtime-config", Args = "args");

fn files(version: Version) -> &'static Files {
    match version {
        Version::V0_1_0 => &V0_1_0,
        Version::V0_2_0 => &V0_2_0,
        Version::V0_3_0 => &V0_3_0,
        Version::V0_3_1 => &V0_3_1,
        Version::V0_4_0 => &V0_4_0,
        Version::V1_0_0 => &V1_0_0,
        Version::V1_1_0 => &V1_1_0,
    }
}

/// The text of the file `<version>/<kind>.schema.json`: both profiles, with annotations.
///
/// # Errors
/// [`NotDefined`] when the version has no such document.
pub fn source(kind: Kind, version: Version) -> Result<&'static str, NotDefined> {
    files(version)
        .kinds
        .iter()
        .find_map(|&(k, text)| (k == kind).then_some(text))
        .ok_or(NotDefined { kind, version })
}

/// The text of the file `<version>/common.schema.json`: the definitions that the version's schemas share.
pub fn common_source(version: Version) -> &'static str {
    files(version).common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_for_exactly_the_defined_kinds() {
        for version in Version::ALL {
            for kind in Kind::ALL {
                assert_eq!(source(kind, version).is_ok(), kind.defined_in(version), "{kind} {version}");
            }
        }
    }
}
