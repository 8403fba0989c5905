//! Validates documents.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use cni_spec::Version;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, ValidationError, Validator};
use serde_json::Value;

use crate::bundle::annotated;
use crate::constraints::{Constraint, collect, escape};
use crate::generate::{CNI_FORMATS, Format};
use crate::kind::{Kind, NotDefined, Profile};
use crate::{message, semantic};

/// One demand that a document does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The offending value, as a JSON pointer into the document; for a missing property, the object lacking it.
    pub instance_path: String,
    /// The broken constraint, as in [`Constraint::schema_path`]; for rules beyond the schema `semantic:<rule>`.
    pub schema_path: String,
    /// The keyword of the constraint; for rules beyond the schema the name of the rule.
    pub keyword: &'static str,
    /// What is wrong, in one line, with the value shortened.
    pub message: String,
    /// The requirement that the constraint comes from.
    pub requirement: Option<&'static str>,
    /// The error code with which a plugin answers such a document, if the specification fixes one.
    pub code: Option<u32>,
}

/// Judges `document` as a `kind` of `version` under `profile`. An empty list means that nothing is wrong.
///
/// The list is sorted by place in the document, then in the schema. Where a value has the wrong type, nothing else
/// is said about it. Duplicate keys are lost when a text is parsed, so they cannot be seen here.
///
/// # Errors
/// [`NotDefined`] when the version has no such document.
pub fn validate(
    kind: Kind,
    version: Version,
    profile: Profile,
    document: &Value,
) -> Result<Vec<Violation>, NotDefined> {
    let compiled = compiled(kind, version, profile)?;
    Ok(judge(compiled, kind, version, profile, document))
}

pub(crate) fn judge(
    compiled: &Compiled,
    kind: Kind,
    version: Version,
    profile: Profile,
    document: &Value,
) -> Vec<Violation> {
    if compiled.validator.is_valid(document) {
        let mut violations = semantic::check(kind, version, profile, document);
        violations.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
        return violations;
    }
    let mut violations = compiled.violations(document);
    let ill_typed: HashSet<String> = violations
        .iter()
        .filter(|violation| violation.keyword == "type")
        .map(|violation| violation.instance_path.clone())
        .collect();
    violations
        .retain(|violation| violation.keyword == "type" || !ill_typed.contains(&violation.instance_path));
    violations.extend(semantic::check(kind, version, profile, document));
    violations.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    violations.dedup();
    violations
}

/// Compares indices by number, not as text, and so "/ips/9" goes before "/ips/10".
fn sort_key(violation: &Violation) -> (Vec<(usize, &str)>, &str, &str) {
    let steps = violation.instance_path.split('/').map(|step| (step.parse().unwrap_or(usize::MAX), step));
    (steps.collect(), &violation.schema_path, &violation.message)
}

/// A schema, ready for use.
pub(crate) struct Compiled {
    validator: Validator,
    pub(crate) constraints: Vec<Constraint>,
    /// Positions in `constraints` by schema path and property.
    index: HashMap<(String, Option<String>), usize>,
}

const VERSIONS: usize = Version::ALL.len();
const KINDS: usize = Kind::ALL.len();
static COMPILED: [[[OnceLock<Compiled>; 2]; KINDS]; VERSIONS] =
    [const { [const { [const { OnceLock::new() }; 2] }; KINDS] }; VERSIONS];

/// The compiled schema; made once in the life of the process.
pub(crate) fn compiled(
    kind: Kind,
    version: Version,
    profile: Profile,
) -> Result<&'static Compiled, NotDefined> {
    if !kind.defined_in(version) {
        return Err(NotDefined { kind, version });
    }
    let cell = &COMPILED[version as usize][kind as usize][profile as usize];
    if let Some(ready) = cell.get() {
        return Ok(ready);
    }
    let schema = annotated(kind, version, profile)?;
    Ok(cell.get_or_init(|| Compiled::new(schema)))
}

impl Compiled {
    fn new(schema: Value) -> Self {
        Compiled::try_new(schema).expect("the embedded schemas compile; a test compiles each")
    }

    /// Why the schema is none, if so.
    pub(crate) fn try_new(schema: Value) -> Result<Self, String> {
        let constraints = collect(&schema);
        let validator = validator(schema, &CNI_FORMATS)?;
        let index = constraints
            .iter()
            .enumerate()
            .map(|(position, c)| ((c.schema_path.clone(), c.property.clone()), position))
            .collect();
        Ok(Compiled { validator, constraints, index })
    }

    fn violations(&self, document: &Value) -> Vec<Violation> {
        self.validator.iter_errors(document).flat_map(|error| self.violation(&error)).collect()
    }

    /// One violation per missing or unexpected property, else one per error.
    fn violation(&self, error: &ValidationError<'_>) -> Vec<Violation> {
        let instance_path = error.instance_path().as_str();
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                vec![self.describe(error, instance_path.to_owned(), Some(name))]
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
                .iter()
                .map(|name| self.describe(error, format!("{instance_path}/{}", escape(name)), Some(name)))
                .collect(),
            _ => vec![self.describe(error, instance_path.to_owned(), None)],
        }
    }

    fn describe(
        &self,
        error: &ValidationError<'_>,
        instance_path: String,
        property: Option<&str>,
    ) -> Violation {
        let schema_path = error.evaluation_path().as_str().to_owned();
        let required = property.filter(|_| matches!(error.kind(), ValidationErrorKind::Required { .. }));
        let constraint = self
            .index
            .get(&(schema_path.clone(), required.map(str::to_owned)))
            .map(|&position| &self.constraints[position]);
        Violation {
            message: message::of(error, property, constraint),
            instance_path,
            schema_path,
            keyword: constraint.map_or("schema", |constraint| constraint.keyword),
            requirement: constraint
                .and_then(|constraint| cni_spec::catalogue::requirement(constraint.requirement.as_deref()?))
                .map(|requirement| requirement.id),
            code: constraint.and_then(|constraint| constraint.code),
        }
    }
}

/// A validator of the schema that asserts these formats. Why the schema is none, if so.
pub(crate) fn validator(mut schema: Value, formats: &[Format]) -> Result<Validator, String> {
    drop_implied_patterns(&mut schema);
    let mut options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
    for format in formats {
        options = options.with_format(format.name, format.holds);
    }
    options.build(&schema).map_err(|error| error.to_string())
}

/// A `pattern` beside a `format` serves other validators; asserting both would report one fault twice.
fn drop_implied_patterns(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.get("format").is_some_and(Value::is_string) {
                object.shift_remove("pattern");
            }
            object.values_mut().for_each(drop_implied_patterns);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_implied_patterns),
        _ => {}
    }
}
