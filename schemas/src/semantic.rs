//! Rules that JSON Schema cannot express.

use cni_spec::Version;
use serde_json::Value;

use crate::kind::{Kind, Profile};
use crate::message::shown;
use crate::validate::Violation;

/// A rule beyond the schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which is the keyword of its violations.
    pub name: &'static str,
    /// The requirement that it comes from.
    pub requirement: &'static str,
    /// Whether only [`Profile::Strict`] asserts it.
    pub strict: bool,
    /// What it demands.
    pub statement: &'static str,
}

const INTERFACE_IN_RANGE: Rule = Rule {
    name: "interface-in-range",
    requirement: "result.ips-interface-in-range",
    strict: false,
    statement: "The interface of an address is an index into interfaces.",
};

const IFNAME_BYTES: Rule = Rule {
    name: "ifname-bytes",
    requirement: "param.ifname-validation",
    strict: true,
    statement: "An interface name has at most 15 bytes.",
};

const ATTACHMENTS_ALIAS: Rule = Rule {
    name: "attachments-alias",
    requirement: "gc.runtime-attachments-alias",
    strict: false,
    statement: "cni.dev/attachments, where present, equals cni.dev/valid-attachments.",
};

/// All rules.
pub const RULES: [Rule; 3] = [INTERFACE_IN_RANGE, IFNAME_BYTES, ATTACHMENTS_ALIAS];

/// The longest interface name that Linux takes, in bytes.
const IFNAME_MAX: usize = 15;

/// The violations of the rules in `document`, which may be of any shape.
pub(crate) fn check(kind: Kind, version: Version, profile: Profile, document: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    match kind {
        Kind::ResultAdd => interfaces(version, "", document, &mut found),
        Kind::RequestAddChained | Kind::RequestDel | Kind::RequestCheck => {
            interfaces(version, "/prevResult", &document["prevResult"], &mut found);
        }
        Kind::RequestGc => attachments(document, &mut found),
        _ => {}
    }
    found.retain(|(rule, _)| profile == Profile::Strict || !rule.strict);
    found.into_iter().map(|(_, violation)| violation).collect()
}

type Found = Vec<(Rule, Violation)>;

fn report(rule: Rule, instance_path: String, message: String, found: &mut Found) {
    let violation = Violation {
        instance_path,
        schema_path: format!("semantic:{}", rule.name),
        keyword: rule.name,
        message,
        requirement: Some(rule.requirement),
        code: None,
    };
    found.push((rule, violation));
}

/// Indices of addresses. A negative one is the schema's affair.
fn interfaces(version: Version, path: &str, result: &Value, found: &mut Found) {
    if version < Version::V0_3_0 {
        return;
    }
    let count = result["interfaces"].as_array().map_or(0, Vec::len);
    // 0.3.0 calls the list "ip" in one place.
    for list in ["ips", "ip"].into_iter().take(if version == Version::V0_3_0 { 2 } else { 1 }) {
        for (position, entry) in result[list].as_array().into_iter().flatten().enumerate() {
            let index = &entry["interface"];
            let Some(number) = index.as_f64().filter(|number| number.fract() == 0.0) else { continue };
            if number >= count as f64 {
                let message =
                    format!("{} is no index into interfaces, which has {count} members", shown(index));
                report(INTERFACE_IN_RANGE, format!("{path}/{list}/{position}/interface"), message, found);
            }
        }
    }
}

fn attachments(request: &Value, found: &mut Found) {
    let (list, alias) = (request.get("cni.dev/valid-attachments"), request.get("cni.dev/attachments"));
    if alias.is_some() && alias != list {
        let message = "cni.dev/attachments differs from cni.dev/valid-attachments".to_owned();
        report(ATTACHMENTS_ALIAS, "/cni.dev~1attachments".to_owned(), message, found);
    }
    for (key, list) in [("valid-attachments", list), ("attachments", alias)] {
        for (position, entry) in list.and_then(Value::as_array).into_iter().flatten().enumerate() {
            let Some(name) = entry["ifname"].as_str() else { continue };
            // Longer in characters too: the schema says so.
            if name.len() > IFNAME_MAX && name.chars().count() <= IFNAME_MAX {
                let message = format!("{name:?} has {} bytes, more than {IFNAME_MAX}", name.len());
                report(IFNAME_BYTES, format!("/cni.dev~1{key}/{position}/ifname"), message, found);
            }
        }
    }
}

/// Makes a document that satisfies its schema satisfy the rules too, without breaking the schema.
pub(crate) fn mend(kind: Kind, version: Version, document: &mut Value) {
    match kind {
        Kind::ResultAdd => mend_interfaces(version, document),
        Kind::RequestAddChained | Kind::RequestDel | Kind::RequestCheck => {
            if let Some(result) = document.get_mut("prevResult") {
                mend_interfaces(version, result);
            }
        }
        Kind::RequestGc => {
            let list = document.get("cni.dev/valid-attachments").cloned();
            if let (Some(list), Some(alias)) = (list, document.get_mut("cni.dev/attachments")) {
                *alias = list;
            }
            for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
                let entries = document.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
                for (position, entry) in entries.enumerate() {
                    if entry["ifname"].as_str().is_some_and(|name| name.len() > IFNAME_MAX) {
                        entry["ifname"] = format!("eth{position}").into();
                    }
                }
            }
        }
        _ => {}
    }
}

/// Points each index into the list; where the list is empty, drops the addresses with an index.
fn mend_interfaces(version: Version, result: &mut Value) {
    if version < Version::V0_3_0 {
        return;
    }
    let count = result["interfaces"].as_array().map_or(0, Vec::len) as u64;
    for list in ["ips", "ip"].into_iter().take(if version == Version::V0_3_0 { 2 } else { 1 }) {
        let Some(entries) = result.get_mut(list).and_then(Value::as_array_mut) else { continue };
        if count == 0 {
            entries.retain(|entry| entry.get("interface").is_none_or(|index| index.as_i64() == Some(-1)));
            continue;
        }
        for index in entries.iter_mut().filter_map(|entry| entry.get_mut("interface")) {
            if index.as_i64() != Some(-1) {
                *index = (index.as_u64().unwrap_or(u64::MAX) % count).into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(
        kind: Kind,
        version: Version,
        profile: Profile,
        document: &Value,
    ) -> Vec<(String, &'static str)> {
        check(kind, version, profile, document).into_iter().map(|v| (v.instance_path, v.keyword)).collect()
    }

    #[test]
    fn interface_indices() {
        let result = json!({"interfaces": [{}, {}], "ips": [{"interface": 1}, {"interface": 2}, {"interface": -1}, {}]});
        let expected = [("/ips/1/interface".to_owned(), "interface-in-range")];
        assert_eq!(names(Kind::ResultAdd, Version::V1_0_0, Profile::Compat, &result), expected);
        assert_eq!(names(Kind::ResultIpam, Version::V1_0_0, Profile::Compat, &result), []);
        assert_eq!(names(Kind::ResultAdd, Version::V0_2_0, Profile::Compat, &result), []);
        let request = json!({"prevResult": {"ips": [{"interface": 0}]}});
        let expected = [("/prevResult/ips/0/interface".to_owned(), "interface-in-range")];
        assert_eq!(names(Kind::RequestCheck, Version::V0_4_0, Profile::Compat, &request), expected);
        let huge: Value = serde_json::from_str(r#"{"ip": [{"interface": 1e400}]}"#).expect("JSON");
        let _ = names(Kind::ResultAdd, Version::V0_3_0, Profile::Compat, &huge);
    }

    #[test]
    fn attachment_lists() {
        let long = "ä".repeat(8);
        let list = json!([{"containerID": "a", "ifname": long}]);
        let request = json!({"cni.dev/valid-attachments": list, "cni.dev/attachments": []});
        let alias = ("/cni.dev~1attachments".to_owned(), "attachments-alias");
        let bytes = ("/cni.dev~1valid-attachments/0/ifname".to_owned(), "ifname-bytes");
        assert_eq!(
            names(Kind::RequestGc, Version::V1_1_0, Profile::Compat, &request),
            std::slice::from_ref(&alias)
        );
        assert_eq!(names(Kind::RequestGc, Version::V1_1_0, Profile::Strict, &request), [alias, bytes]);
    }
}
