//! Each constraint says where it comes from.

use cni_schemas::{Constraint, Kind, Profile, common_source, constraints, source};
use cni_spec::Version;
use cni_spec::catalogue::requirement;
use serde_json::Value;

fn each(mut judge: impl FnMut(Kind, Version, Profile, &Constraint)) {
    for version in Version::ALL {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.defined_in(version)) {
            for profile in Profile::ALL {
                for constraint in constraints(kind, version, profile).expect("defined") {
                    judge(kind, version, profile, constraint);
                }
            }
        }
    }
}

#[test]
fn constraints_name_requirements_that_hold_in_their_version() {
    let mut faults = Vec::new();
    each(|kind, version, profile, constraint| {
        let fault = match constraint.requirement.as_deref() {
            None => "no requirement".to_owned(),
            Some(id) => match requirement(id) {
                None => format!("unknown requirement {id}"),
                Some(found) if found.level_in(version).is_none() => format!("{id} does not hold"),
                Some(_) => return,
            },
        };
        faults.push(format!(
            "{version}/{kind} {profile} {} {:?}: {fault}",
            constraint.schema_path, constraint.property
        ));
    });
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn semantic_rules_name_requirements() {
    for rule in cni_schemas::semantic::RULES {
        assert!(requirement(rule.requirement).is_some(), "{}", rule.name);
    }
}

/// Codes 4 to 7 exist from 1.0.0 on.
#[test]
fn error_codes_exist_in_their_version() {
    let mut seen = 0;
    each(|kind, version, _, constraint| {
        let Some(code) = constraint.code else { return };
        seen += 1;
        assert!(kind.as_str().starts_with("request-"), "{kind}: only plugins answer with codes");
        let from = if code == 1 { Version::V0_1_0 } else { Version::V1_0_0 };
        assert!(version >= from, "{version}/{kind} {}: code {code}", constraint.schema_path);
    });
    assert!(seen > 0);
}

/// A keyword that the constraint walk does not know would go unannotated and untested.
#[test]
fn files_use_known_keywords_only() {
    const KNOWN: [&str; 37] = [
        "$schema",
        "$id",
        "$ref",
        "$defs",
        "$comment",
        "title",
        "type",
        "enum",
        "const",
        "pattern",
        "format",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "uniqueItems",
        "required",
        "properties",
        "patternProperties",
        "additionalProperties",
        "items",
        "contains",
        "allOf",
        "anyOf",
        "not",
        "if",
        "then",
        "else",
        "x-requirement",
        "x-requirements",
        "x-error-code",
        "x-error-codes",
        "x-message",
        "x-messages",
        "x-strict",
    ];
    fn schema(value: &Value, place: &str) {
        let Some(object) = value.as_object() else { return };
        for (key, member) in object {
            assert!(KNOWN.contains(&key.as_str()), "{place}: unknown keyword {key}");
            let place = format!("{place}/{key}");
            match key.as_str() {
                "properties" | "patternProperties" | "$defs" => {
                    member.as_object().expect("a map of schemas").values().for_each(|m| schema(m, &place));
                }
                "allOf" | "anyOf" | "oneOf" => {
                    member.as_array().expect("a list of schemas").iter().for_each(|m| schema(m, &place));
                }
                "items"
                | "contains"
                | "not"
                | "if"
                | "then"
                | "else"
                | "additionalProperties"
                | "x-strict" => {
                    schema(member, &place);
                }
                _ => {}
            }
        }
    }
    for version in Version::ALL {
        let kinds = Kind::ALL
            .into_iter()
            .filter_map(|kind| source(kind, version).ok().map(|text| (kind.as_str(), text)));
        for (name, text) in kinds.chain([("common", common_source(version))]) {
            let value: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(value["$id"], format!("urn:cni-conformance:{version}:{name}"));
            assert_eq!(value["$schema"], "https://json-schema.org/draft/2020-12/schema");
            schema(&value, &format!("{version}/{name}"));
        }
    }
}

/// Two constraints at one place would hide each other.
#[test]
fn constraints_are_told_apart_by_path_and_property() {
    let mut seen = std::collections::HashSet::new();
    each(|kind, version, profile, c| {
        let key = (kind, version, profile, c.schema_path.clone(), c.property.clone());
        assert!(seen.insert(key), "{version}/{kind} {profile} {}", c.schema_path);
    });
}
