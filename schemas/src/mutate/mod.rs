//! Breaks exactly one constraint of a valid document, and says which.
//!
//! A [`Site`] is one constraint of a schema. [`Mutator::mutate`] changes a document at the place that a site speaks of until
//! the validator reports that constraint and nothing else. [`Coverage`] counts the sites that were hit.

pub mod environment;
pub mod text;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::compose::Composed;
use crate::constraints::{Constraint, escape, unescape};
use crate::generate::{GenerateError, Generator, Random, Source};
use crate::validate::Violation;

/// The number of a constraint in [`Composed::constraints`].
pub type Site = usize;

/// A document that breaks one constraint.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutation {
    /// The constraint's number.
    pub site: Site,
    /// Its keyword.
    pub keyword: &'static str,
    /// The offending value, as a JSON pointer; for a missing property, the object lacking it.
    pub instance_path: String,
    /// Where the constraint stands.
    pub schema_path: String,
    /// The requirement that is broken; none for a plugin's own constraint.
    pub requirement: Option<&'static str>,
    /// The error code of the answer, if the specification fixes one.
    pub code: Option<u32>,
    /// Whether the constraint is a plugin's own, which may be broken as the plugin likes.
    pub plugin_own: bool,
    /// The broken document.
    pub document: Value,
}

/// Why a site could not be broken alone, as far as the attempts showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// No document had the place, or none of the values tried broke the constraint there.
    Unreached,
    /// No valid document has the place: the constraint at this schema path forbids a value around it.
    Forbidden(String),
    /// Whatever broke it broke these as well: the smallest set seen, as schema paths.
    Together(Vec<String>),
}

/// Which sites were hit, and why others could not be.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    hits: Vec<u64>,
    stuck: BTreeMap<Site, Stuck>,
}

impl Coverage {
    /// Counts a mutation.
    pub fn record(&mut self, site: Site) {
        self.hits[site] += 1;
        self.stuck.remove(&site);
    }

    /// How often a site was hit.
    pub fn hits(&self, site: Site) -> u64 {
        self.hits[site]
    }

    /// How many sites were hit.
    pub fn hit(&self) -> usize {
        self.hits.iter().filter(|hits| **hits > 0).count()
    }

    /// How many sites there are.
    pub fn sites(&self) -> usize {
        self.hits.len()
    }

    /// The sites that could not be broken alone, with the reason.
    pub fn stuck(&self) -> &BTreeMap<Site, Stuck> {
        &self.stuck
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} constraints", self.hit(), self.sites())
    }
}

/// Breaks the constraints of one schema.
#[derive(Clone, Debug)]
pub struct Mutator {
    schema: Composed,
    generator: Generator,
}

/// Documents tried for a site before it counts as stuck.
const DOCUMENTS: usize = 3000;
/// Documents tried where the constraint broke, but never alone.
const FEW: usize = 60;

impl Mutator {
    /// A mutator with the schema's own generator.
    ///
    /// # Errors
    /// When the schema has something that is not understood.
    pub fn new(schema: &Composed) -> Result<Self, GenerateError> {
        Ok(Mutator { schema: schema.clone(), generator: schema.generator()? })
    }

    /// A coverage in which no site is hit.
    pub fn coverage(&self) -> Coverage {
        Coverage { hits: vec![0; self.schema.constraints().len()], stuck: BTreeMap::new() }
    }

    /// Breaks `site` in `document`, or says what stood in the way.
    ///
    /// # Errors
    /// When no attempt broke it alone: the document may lack the place.
    pub fn mutate(&self, document: &Value, site: Site, source: &mut dyn Source) -> Result<Mutation, Stuck> {
        let constraint = &self.schema.constraints()[site];
        let mut stuck = Stuck::Unreached;
        let mut places = places(document, &constraint.instance_path);
        if !places.is_empty() {
            let turn = source.below(places.len() as u32) as usize;
            places.rotate_left(turn);
        }
        for place in places.into_iter().take(4) {
            let mut variants = variants(constraint, document.pointer(&place));
            // Another value each time, yet each is tried.
            let turn = source.below(variants.len().max(1) as u32) as usize;
            variants.rotate_left(turn);
            for variant in variants {
                let Some(changed) = set(document, &place, variant) else { continue };
                let violations = self.schema.validate(&changed);
                if !violations.iter().any(|violation| same(violation, constraint)) {
                    continue;
                }
                if let [only] = violations.as_slice() {
                    return Ok(Mutation {
                        site,
                        keyword: constraint.keyword,
                        instance_path: only.instance_path.clone(),
                        schema_path: only.schema_path.clone(),
                        requirement: only.requirement,
                        code: only.code,
                        plugin_own: constraint.plugin_own,
                        document: changed,
                    });
                }
                let mut others: Vec<String> = violations
                    .iter()
                    .filter(|v| !same(v, constraint))
                    .map(|v| v.schema_path.clone())
                    .collect();
                others.dedup();
                match &stuck {
                    Stuck::Together(old) if old.len() <= others.len() => {}
                    _ => stuck = Stuck::Together(others),
                }
            }
        }
        Err(stuck)
    }

    /// Makes documents until `site` can be broken in one.
    ///
    /// # Errors
    /// When it could be broken alone in none of them.
    pub fn reach(&self, site: Site, source: &mut dyn Source) -> Result<Mutation, Stuck> {
        let mut stuck = Stuck::Unreached;
        let constraints = self.schema.constraints();
        let place = constraints.get(site).map_or("", |constraint| &constraint.instance_path);
        let forbids = |c: &&Constraint| {
            let around = place.strip_prefix(&c.instance_path).is_some_and(|rest| rest.starts_with('/'));
            c.keyword == "not" && c.value == json!({}) && around
        };
        if let Some(found) = constraints.iter().find(forbids) {
            return Err(Stuck::Forbidden(found.schema_path.clone()));
        }
        for index in 0..DOCUMENTS {
            if index == FEW && matches!(stuck, Stuck::Together(_)) {
                break;
            }
            let document = self.generator.generate(source, 1 + index % 6);
            match self.mutate(&document, site, source) {
                Ok(mutation) => return Ok(mutation),
                Err(Stuck::Unreached) => {}
                Err(together) => stuck = together,
            }
        }
        Err(stuck)
    }

    /// Breaks every site once, and says which could not be broken alone.
    pub fn sweep(&self, seed: u64) -> (Vec<Mutation>, Coverage) {
        let (mut random, mut coverage, mut mutations) = (Random::new(seed), self.coverage(), Vec::new());
        for site in 0..coverage.sites() {
            match self.reach(site, &mut random) {
                Ok(mutation) => {
                    coverage.record(site);
                    mutations.push(mutation);
                }
                Err(stuck) => {
                    coverage.stuck.insert(site, stuck);
                }
            }
        }
        (mutations, coverage)
    }
}

fn same(violation: &Violation, constraint: &Constraint) -> bool {
    violation.schema_path == constraint.schema_path
        && constraint.property.as_ref().is_none_or(|name| violation.message == format!("{name:?} is missing"))
}

/// The places in `document` that a constraint's instance path speaks of, as JSON pointers. The last step need not exist.
fn places(document: &Value, path: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut steps = path.split('/').skip(1).peekable();
    while let Some(step) = steps.next() {
        let pattern = (step == "~").then(|| steps.next().unwrap_or_default());
        if pattern.is_some() {
            steps.next();
        }
        let last = steps.peek().is_none();
        let mut next = Vec::new();
        for place in found {
            match (document.pointer(&place), step) {
                (Some(Value::Array(items)), "*") => {
                    next.extend((0..items.len()).map(|i| format!("{place}/{i}")))
                }
                (Some(Value::Object(members)), "*") => {
                    let keys = members.keys().map(|key| escape(key));
                    next.extend(keys.map(|key| format!("{place}/{key}")));
                    if last {
                        next.push(format!("{place}/x-unheard-of"));
                    }
                }
                (Some(Value::Object(_)), "~") => {
                    // Names that may match the expression; the validator decides.
                    let text = unescape(pattern.unwrap_or_default());
                    let names = crate::generate::names_like(&text);
                    next.extend(names.iter().map(|name| format!("{place}/{}", escape(name))));
                }
                (Some(Value::Object(members)), step) => {
                    let name = unescape(step);
                    if last || members.contains_key(&name) {
                        next.push(format!("{place}/{step}"));
                    }
                }
                _ => {}
            }
        }
        found = next;
    }
    found
}

fn set(document: &Value, place: &str, value: Value) -> Option<Value> {
    let mut changed = document.clone();
    if let Some(target) = changed.pointer_mut(place) {
        *target = value;
        return Some(changed);
    }
    let (parent, name) = place.rsplit_once('/')?;
    changed.pointer_mut(parent)?.as_object_mut()?.insert(unescape(name), value);
    Some(changed)
}

/// Values to put in the place of `old`, the likeliest to break the constraint alone first.
fn variants(constraint: &Constraint, old: Option<&Value>) -> Vec<Value> {
    let limit = constraint.value.as_i64();
    let number = |n: i128| serde_json::Number::from_i128(n).map(Value::Number);
    let mut variants = Vec::new();
    let text = old.and_then(Value::as_str).unwrap_or("a");
    match (constraint.keyword, limit) {
        ("minimum", Some(n)) => {
            variants.extend([1, 2, 1000].iter().filter_map(|d| number(i128::from(n) - d)))
        }
        ("maximum", _) => {
            let n = constraint.value.as_u64().map_or(0, i128::from);
            variants.extend([1, 2, 1 << 20].iter().filter_map(|d| number(n + d)));
        }
        ("maxLength", Some(n)) => {
            let long = n.max(0) as usize + 1;
            variants.extend(["x", "0"].map(|c| json!(c.repeat(long))));
            variants.push(json!(text.chars().cycle().take(long).collect::<String>()));
        }
        ("minLength" | "maxLength", _) => variants.push(json!("")),
        ("minItems", _) => variants.push(json!([])),
        ("maxItems" | "uniqueItems", _) => {
            if let Some(Value::Array(items)) = old {
                let long = limit.map_or(items.len() + 1, |n| n.max(0) as usize + 1);
                variants.push(items.iter().cycle().take(long.min(items.len() * 4096)).cloned().collect());
            }
        }
        ("required", _) => {
            if let (Some(Value::Object(members)), Some(name)) = (old, &constraint.property) {
                variants.push(without(members, name));
            }
            return variants;
        }
        ("enum" | "const", _) => {
            let options = match &constraint.value {
                Value::Array(options) if constraint.keyword == "enum" => options.clone(),
                one => vec![one.clone()],
            };
            for option in options {
                match option {
                    Value::String(option) => {
                        variants.extend([format!("{option}x"), option.to_uppercase()].map(Value::from))
                    }
                    Value::Bool(option) => variants.push(json!(!option)),
                    Value::Number(n) => variants.extend(n.as_i64().map(|n| json!(n + 1))),
                    _ => {}
                }
            }
        }
        ("pattern" | "format", _) => {
            for c in ["/", ":", " ", "é", "\\", "\u{0}", "\n", "%"] {
                variants.extend([format!("{text}{c}"), format!("{c}{text}")].map(Value::from));
            }
            variants.extend(["-a", ".a", "999"].map(Value::from));
        }
        ("not", _) => {
            variants.extend(constraint.value["enum"].as_array().into_iter().flatten().cloned());
            if let (Some(Value::Object(members)), Some(names)) =
                (old, constraint.value["required"].as_array())
            {
                let list = names.iter().filter_map(Value::as_str).find_map(|name| members.get(name)).cloned();
                for value in [list.unwrap_or_else(|| json!([])), json!(1), json!("a"), json!({})] {
                    let (mut one, mut other) = (members.clone(), members.clone());
                    for (index, name) in names.iter().filter_map(Value::as_str).enumerate() {
                        one.entry(name.to_owned()).or_insert_with(|| value.clone());
                        other.insert(name.to_owned(), if index == 0 { json!(1) } else { json!("a") });
                    }
                    variants.extend([one, other].map(Value::Object));
                }
            }
        }
        _ => {}
    }
    if let Some(Value::Object(members)) = old {
        variants.extend(members.keys().map(|name| without(members, name)));
        if constraint.keyword != "type" {
            let mut more = members.clone();
            more.insert("x-unheard-of".to_owned(), Value::Null);
            variants.push(Value::Object(more));
            // Without what each branch of an anyOf asks for.
            let branches = constraint.value.as_array().into_iter().flatten();
            let asked: Vec<&str> = branches
                .filter_map(|branch| branch["required"].as_array())
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let rest = members.iter().filter(|(key, _)| !asked.contains(&key.as_str()));
            variants.push(Value::Object(rest.map(|(k, v)| (k.clone(), v.clone())).collect()));
            for (name, value) in [("cniVersion", json!("9.9.9")), ("cniVersions", json!(["9.9.9"]))] {
                if let (Some(_), Some(old)) = (members.get(name), old) {
                    variants.extend(set(old, &format!("/{name}"), value));
                }
            }
            if members.contains_key("cniVersions") {
                let mut both = members.clone();
                both.insert("cniVersions".to_owned(), json!(["9.9.9"]));
                both.insert("cniVersion".to_owned(), json!("9.9.9"));
                variants.push(Value::Object(both));
            }
        }
    }
    variants.extend(
        [
            "",
            "unheard-of",
            "a/b",
            "..",
            "10.0.0.1/8",
            "::1/64",
            "10.0.0.1/31",
            "fd00::/127",
            "10.0.0.1",
            "::1",
        ]
        .map(Value::from),
    );
    variants.extend([
        Value::Null,
        json!(true),
        json!(-2),
        json!(0),
        json!(9),
        json!(10),
        json!(99),
        json!(1.5),
        json!(70000),
        json!([]),
        json!({}),
    ]);
    variants
}

fn without(members: &Map<String, Value>, name: &str) -> Value {
    Value::Object(
        members.iter().filter(|(key, _)| *key != name).map(|(k, v)| (k.clone(), v.clone())).collect(),
    )
}
