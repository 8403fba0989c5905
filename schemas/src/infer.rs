//! Guesses what a document is.

use cni_spec::Version;
use serde_json::Value;

use crate::kind::{Kind, Profile};
use crate::validate::validate;

/// The most likely kind and version of a document, for a user who names neither. `None` if nothing fits: the root is
/// no object, or it has no key by which to tell.
///
/// The version is `cniVersion` (for a list, else the newest of `cniVersions`) where that names a known one and the
/// kind exists in it. Otherwise it is the version, newest first, in which the document has the fewest violations.
/// A request without `prevResult` or attachments is told from a configuration of a single plugin only by its version.
pub fn infer(document: &Value) -> Option<(Kind, Version)> {
    let kinds = kinds(document)?;
    let named = named_version(document);
    if let Some(version) = named
        && let Some(&kind) = kinds.iter().find(|kind| kind.defined_in(version))
    {
        return Some((kind, version));
    }
    let candidates = Version::ALL.into_iter().rev().flat_map(|version| {
        kinds.iter().filter(move |kind| kind.defined_in(version)).map(move |&kind| (kind, version))
    });
    candidates.min_by_key(|&(kind, version)| {
        validate(kind, version, Profile::Strict, document).map_or(usize::MAX, |violations| violations.len())
    })
}

/// The kinds that a document may be, the likeliest first.
fn kinds(document: &Value) -> Option<&'static [Kind]> {
    let object = document.as_object()?;
    let has = |key: &str| object.contains_key(key);
    let any = |keys: &[&str]| keys.iter().any(|key| has(key));
    Some(if any(&["cni.dev/valid-attachments", "cni.dev/attachments"]) {
        &[Kind::RequestGc]
    } else if has("plugins") || any(&["cniVersions", "disableCheck", "disableGC", "loadOnlyInlinedPlugins"]) {
        &[Kind::ConfigList]
    } else if has("supportedVersions") {
        &[Kind::ResultVersion]
    } else if has("prevResult") {
        &[Kind::RequestAddChained, Kind::RequestAddFirst]
    } else if has("type") && has("cniVersion") {
        &[Kind::ConfigSingle, Kind::RequestAddFirst]
    } else if has("type") {
        &[Kind::ConfigSingle]
    } else if has("code") && any(&["msg", "details"]) {
        &[Kind::Error]
    } else if any(&["ips", "ip", "ip4", "ip6", "interfaces", "routes", "dns"]) {
        &[Kind::ResultAdd]
    } else if any(&["code", "msg"]) {
        &[Kind::Error]
    } else if has("name") {
        &[Kind::ConfigList]
    } else if has("cniVersion") {
        if object.len() == 1 { &[Kind::RequestVersion, Kind::ResultAdd] } else { &[Kind::ResultAdd] }
    } else {
        return None;
    })
}

fn named_version(document: &Value) -> Option<Version> {
    let known = |value: &Value| value.as_str()?.parse::<Version>().ok();
    let listed = document["cniVersions"].as_array().into_iter().flatten().filter_map(known).max();
    listed.max(known(&document["cniVersion"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_told_apart() {
        let cases = [
            (json!({"cniVersion": "1.0.0", "name": "n", "plugins": []}), Kind::ConfigList, Version::V1_0_0),
            (
                json!({"cniVersion": "0.3.1", "name": "n", "type": "bridge"}),
                Kind::ConfigSingle,
                Version::V0_3_1,
            ),
            (
                json!({"cniVersion": "1.1.0", "name": "n", "type": "p"}),
                Kind::RequestAddFirst,
                Version::V1_1_0,
            ),
            (
                json!({"cniVersion": "0.4.0", "name": "n", "type": "p", "prevResult": {}}),
                Kind::RequestAddChained,
                Version::V0_4_0,
            ),
            (
                json!({"cniVersion": "1.1.0", "name": "n", "type": "p", "cni.dev/valid-attachments": []}),
                Kind::RequestGc,
                Version::V1_1_0,
            ),
            (json!({"cniVersions": ["1.0.0", "1.1.0"], "name": "n"}), Kind::ConfigList, Version::V1_1_0),
            (json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/8"}}), Kind::ResultAdd, Version::V0_2_0),
            (json!({"cniVersion": "1.1.0", "supportedVersions": []}), Kind::ResultVersion, Version::V1_1_0),
            (json!({"cniVersion": "1.0.0", "code": 7, "msg": "m"}), Kind::Error, Version::V1_0_0),
            (json!({"cniVersion": "1.0.0"}), Kind::RequestVersion, Version::V1_0_0),
            (json!({"cniVersion": "0.3.1"}), Kind::ResultAdd, Version::V0_3_1),
        ];
        for (document, kind, version) in cases {
            assert_eq!(infer(&document), Some((kind, version)), "{document}");
        }
    }

    #[test]
    fn the_shape_tells_a_missing_version() {
        let old = json!({"ip4": {"ip": "10.0.0.2/8"}});
        assert!(matches!(infer(&old), Some((Kind::ResultAdd, Version::V0_1_0 | Version::V0_2_0))));
        let newer = json!({"interfaces": [{"name": "eth0", "mtu": 1500}]});
        assert_eq!(infer(&newer), Some((Kind::ResultAdd, Version::V1_1_0)));
    }

    #[test]
    fn what_is_nothing_of_cni_stays_unknown() {
        for document in [json!(null), json!([]), json!({}), json!({"a": 1}), json!("cniVersion")] {
            assert_eq!(infer(&document), None, "{document}");
        }
    }
}
