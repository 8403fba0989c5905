//! Every constraint that a schema holds, with the place in documents that it speaks of.

use cni_spec::Version;
use serde_json::{Map, Value};

use crate::kind::{Kind, NotDefined, Profile};
use crate::validate::compiled;

/// One thing that a schema demands of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// Where it stands, as a JSON pointer that follows evaluation: a step `$ref` leads into the definition.
    pub schema_path: String,
    /// The keyword, such as `pattern`.
    pub keyword: &'static str,
    /// The one property that it demands, if the keyword is `required`.
    pub property: Option<String>,
    /// The values that it speaks of, as a JSON pointer in which `*` stands for any index or any further key and
    /// `~/RE/` (slashes in it as `~1`) for the keys that a `patternProperties` expression matches.
    pub instance_path: String,
    /// The value of the keyword.
    pub value: Value,
    /// The requirement that it comes from.
    pub requirement: Option<String>,
    /// The error code with which a plugin answers a document that breaks it, if the specification fixes one.
    pub code: Option<u32>,
    /// What the schema says of a value that breaks it; continues the value, as in `is not allowed here`.
    pub message: Option<String>,
    /// Whether it is a plugin's own and none of the protocol; see [`crate::Composed`].
    pub plugin_own: bool,
}

/// The constraints of `kind` in `version` under `profile`, in the order of the schema.
///
/// What stands inside `anyOf`, `not`, `contains` and `if` is part of that one constraint. A `pattern` beside a
/// `format` says the same to validators that do not assert formats, so only the `format` counts.
///
/// # Errors
/// [`NotDefined`] when the version has no such document.
pub fn constraints(
    kind: Kind,
    version: Version,
    profile: Profile,
) -> Result<&'static [Constraint], NotDefined> {
    compiled(kind, version, profile).map(|compiled| compiled.constraints.as_slice())
}

const KEYWORDS: [&str; 17] = [
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
    "additionalProperties",
    "not",
    "anyOf",
    "oneOf",
    "contains",
];

/// Collects the constraints of a bundle.
pub(crate) fn collect(bundle: &Value) -> Vec<Constraint> {
    let mut walk = Walk { defs: &bundle["$defs"], found: Vec::new() };
    walk.schema(bundle, String::new(), String::new(), &[]);
    walk.found
}

struct Walk<'a> {
    defs: &'a Value,
    found: Vec<Constraint>,
}

impl<'a> Walk<'a> {
    /// `outer`: the schemas that hold for the same value and lead here, nearest last.
    fn schema(
        &mut self,
        schema: &'a Value,
        path: String,
        instance: String,
        outer: &[&'a Map<String, Value>],
    ) {
        let Some(object) = schema.as_object() else { return };
        let mut scope = outer.to_vec();
        scope.push(object);
        for (key, value) in object {
            let path = format!("{path}/{}", escape(key));
            match (key.as_str(), value) {
                ("$ref", Value::String(target)) => {
                    let name = target.trim_start_matches("#/$defs/");
                    self.schema(&self.defs[name], path, instance.clone(), &scope);
                }
                ("allOf", Value::Array(members)) => {
                    for (index, member) in members.iter().enumerate() {
                        self.schema(member, format!("{path}/{index}"), instance.clone(), &scope);
                    }
                }
                ("then" | "else", value) => self.schema(value, path, instance.clone(), &scope),
                ("properties", Value::Object(members)) => {
                    for (name, member) in members {
                        let name = escape(name);
                        self.schema(member, format!("{path}/{name}"), format!("{instance}/{name}"), &[]);
                    }
                }
                ("patternProperties", Value::Object(members)) => {
                    for (name, member) in members {
                        let name = escape(name);
                        self.schema(member, format!("{path}/{name}"), format!("{instance}/~/{name}/"), &[]);
                    }
                }
                ("items" | "additionalProperties", Value::Object(_)) => {
                    self.schema(value, path, format!("{instance}/*"), &[]);
                }
                ("required", Value::Array(names)) => {
                    for name in names.iter().filter_map(Value::as_str) {
                        self.add(&scope, "required", Some(name), path.clone(), instance.clone(), value);
                    }
                }
                ("pattern", _) if object.contains_key("format") => {}
                (key, value) => {
                    if let Some(keyword) = KEYWORDS.into_iter().find(|&keyword| keyword == key) {
                        self.add(&scope, keyword, None, path, instance.clone(), value);
                    }
                }
            }
        }
    }

    fn add(
        &mut self,
        scope: &[&Map<String, Value>],
        keyword: &'static str,
        property: Option<&str>,
        schema_path: String,
        instance_path: String,
        value: &Value,
    ) {
        let requirement = annotation(scope, ["x-requirements", "x-requirement"], keyword, property);
        let code = annotation(scope, ["x-error-codes", "x-error-code"], keyword, property);
        let message = annotation(scope, ["x-messages", "x-message"], keyword, property);
        self.found.push(Constraint {
            schema_path,
            keyword,
            property: property.map(str::to_owned),
            instance_path,
            value: value.clone(),
            requirement: requirement.and_then(Value::as_str).map(str::to_owned),
            code: code.and_then(Value::as_u64).and_then(|code| u32::try_from(code).ok()),
            message: message.and_then(Value::as_str).map(str::to_owned),
            plugin_own: false,
        });
    }
}

/// The nearest annotation of a keyword (and property): the map of a schema goes before its plain one.
fn annotation<'a>(
    scope: &[&'a Map<String, Value>],
    [map, plain]: [&str; 2],
    keyword: &str,
    property: Option<&str>,
) -> Option<&'a Value> {
    scope.iter().rev().find_map(|schema| {
        let own = match (schema.get(map).and_then(|map| map.get(keyword)), property) {
            (Some(Value::Object(by_property)), Some(name)) => by_property.get(name),
            (found, _) => found,
        };
        own.or_else(|| schema.get(plain))
    })
}

/// A key as a step of a JSON pointer.
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The key that a step of a JSON pointer names: the opposite of [`escape`].
pub(crate) fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_come_from_the_nearest_schema_of_the_same_value() {
        let found = collect(&json!({
            "x-requirement": "root",
            "type": "object",
            "required": ["a", "b"],
            "x-requirements": {"required": {"a": "needs-a"}},
            "properties": {
                "a": {"$ref": "#/$defs/word", "x-requirement": "site", "x-error-codes": {"pattern": 7}},
                "b": {"items": {"minimum": 0}}
            },
            "$defs": {"word": {"type": "string", "x-requirements": {"pattern": "def"}, "pattern": "^a"}}
        }));
        let seen: Vec<_> = found
            .iter()
            .map(|c| (c.schema_path.as_str(), c.instance_path.as_str(), c.requirement.as_deref(), c.code))
            .collect();
        assert_eq!(
            seen,
            [
                ("/type", "", Some("root"), None),
                ("/required", "", Some("needs-a"), None),
                ("/required", "", Some("root"), None),
                ("/properties/a/$ref/type", "/a", Some("site"), None),
                ("/properties/a/$ref/pattern", "/a", Some("def"), Some(7)),
                ("/properties/b/items/minimum", "/b/*", None, None),
            ]
        );
    }

    #[test]
    fn a_pattern_beside_a_format_is_no_constraint_of_its_own() {
        let found = collect(&json!({"pattern": "^[0-9.]+$", "format": "ipv4"}));
        assert_eq!(found.iter().map(|c| c.keyword).collect::<Vec<_>>(), ["format"]);
    }
}
