//! Makes one self-contained schema out of a file, the shared definitions and a profile.

use cni_spec::Version;
use serde_json::{Map, Value};

use crate::kind::{Kind, NotDefined, Profile};
use crate::source::{common_source, source};

const EMBEDDED: &str = "the embedded schema files are JSON; a test reads each";

/// The schema of `kind` in `version` under `profile`: standard JSON Schema 2020-12, complete in itself, for any
/// validator. It holds no annotation of ours and no format that the standard does not know; the patterns beside
/// those formats stay.
///
/// # Errors
/// [`NotDefined`] when the version has no such document.
pub fn schema(kind: Kind, version: Version, profile: Profile) -> Result<Value, NotDefined> {
    let mut schema = annotated(kind, version, profile)?;
    strip(&mut schema);
    Ok(schema)
}

/// The text of [`schema`], indented.
///
/// # Errors
/// [`NotDefined`] when the version has no such document.
pub fn schema_text(kind: Kind, version: Version, profile: Profile) -> Result<String, NotDefined> {
    schema(kind, version, profile).map(|schema| format!("{schema:#}\n"))
}

/// As [`schema`], with the annotations and all formats.
pub(crate) fn annotated(kind: Kind, version: Version, profile: Profile) -> Result<Value, NotDefined> {
    let mut root = parse(source(kind, version)?, profile);
    let common = parse(common_source(version), profile);
    if profile == Profile::Strict {
        root["$id"] = format!("urn:cni-conformance:{version}:strict:{kind}").into();
    }

    let mut defs = Map::new();
    let mut wanted = localise(&mut root);
    while let Some(name) = wanted.pop() {
        if defs.contains_key(&name) {
            continue;
        }
        let mut definition = match name.parse::<Kind>() {
            Ok(other) => embedded(parse(source(other, version)?, profile)),
            Err(_) => common["$defs"][&name].clone(),
        };
        assert!(definition.is_object(), "{version}/common.schema.json lacks $defs/{name}");
        wanted.extend(localise(&mut definition));
        defs.insert(name, definition);
    }
    if !defs.is_empty() {
        defs.sort_keys();
        root["$defs"] = Value::Object(defs);
    }
    Ok(root)
}

fn parse(text: &str, profile: Profile) -> Value {
    let mut value = serde_json::from_str(text).expect(EMBEDDED);
    apply(&mut value, profile);
    value
}

/// A whole schema as a definition inside another one.
fn embedded(mut schema: Value) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.shift_remove("$id");
        object.shift_remove("$schema");
    }
    schema
}

/// Removes each `x-strict`, after joining it with its surroundings if `profile` is strict.
fn apply(value: &mut Value, profile: Profile) {
    match value {
        Value::Object(object) => {
            if let Some(strict) = object.shift_remove("x-strict")
                && profile == Profile::Strict
            {
                join(value, strict);
                return apply(value, profile);
            }
            object.values_mut().for_each(|member| apply(member, profile));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| apply(item, profile)),
        _ => {}
    }
}

/// Objects are joined member by member, `required` and `allOf` are appended to, all else is replaced.
fn join(base: &mut Value, extra: Value) {
    match (base, extra) {
        (Value::Object(base), Value::Object(extra)) => {
            for (key, value) in extra {
                match base.get_mut(&key) {
                    Some(Value::Array(list)) if key == "required" || key == "allOf" => {
                        list.extend(value.as_array().into_iter().flatten().cloned());
                    }
                    Some(old) => join(old, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, extra) => *base = extra,
    }
}

/// Points each `$ref` at `#/$defs/...` and returns the names wanted there.
fn localise(value: &mut Value) -> Vec<String> {
    let mut wanted = Vec::new();
    match value {
        Value::Object(object) => {
            for (key, member) in object.iter_mut() {
                match member {
                    Value::String(target) if key == "$ref" => {
                        let name = target.rsplit(['/', ':']).next().unwrap_or_default().to_owned();
                        *target = format!("#/$defs/{name}");
                        wanted.push(name);
                    }
                    member => wanted.extend(localise(member)),
                }
            }
        }
        Value::Array(items) => wanted.extend(items.iter_mut().flat_map(localise)),
        _ => {}
    }
    wanted
}

/// Removes annotations and non-standard formats.
fn strip(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|key, member| {
                let standard = key != "format" || matches!(member.as_str(), None | Some("ipv4" | "ipv6"));
                standard && !key.starts_with("x-")
            });
            object.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strict_is_joined_and_compat_drops_it() {
        let text = r#"{
            "required": ["a"], "properties": {"a": {"type": "integer"}}, "minimum": -1,
            "x-strict": {"required": ["b"], "properties": {"a": {"maximum": 9}, "b": {}}, "minimum": 0}
        }"#;
        assert_eq!(
            parse(text, Profile::Compat),
            json!({"required": ["a"], "properties": {"a": {"type": "integer"}}, "minimum": -1})
        );
        assert_eq!(
            parse(text, Profile::Strict),
            json!({
                "required": ["a", "b"],
                "properties": {"a": {"type": "integer", "maximum": 9}, "b": {}},
                "minimum": 0
            })
        );
    }

    #[test]
    fn bundles_are_plain_and_complete() {
        for version in Version::ALL {
            for kind in Kind::ALL.into_iter().filter(|kind| kind.defined_in(version)) {
                for profile in Profile::ALL {
                    let schema = schema(kind, version, profile).expect("defined");
                    assert!(jsonschema::draft202012::meta::is_valid(&schema), "{kind} {version} {profile}");
                    let text = schema_text(kind, version, profile).expect("defined");
                    assert!(!text.contains("\"x-"), "{kind} {version} {profile}");
                    assert!(!text.contains("\"format\": \"cidr\""), "{kind} {version} {profile}");
                    jsonschema::draft202012::new(&schema).expect("references resolve");
                }
            }
        }
    }

    #[test]
    fn identifiers_tell_the_profile() {
        let id = |profile| schema(Kind::Error, Version::V1_0_0, profile).expect("defined")["$id"].clone();
        assert_eq!(id(Profile::Compat), "urn:cni-conformance:1.0.0:error");
        assert_eq!(id(Profile::Strict), "urn:cni-conformance:1.0.0:strict:error");
    }
}
