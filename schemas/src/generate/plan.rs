//! Compiles facts into nodes that only hold what can be generated.

use std::collections::HashMap;

use jsonschema::Validator;
use serde_json::{Number, Value, json};

use super::GenerateError;
use super::facts::{ARRAY, BOOLEAN, Expander, FRACTION, Facet, Facts, INTEGER, NULL, OBJECT, STRING};
use super::samples::{Format, Pattern, TEXTS};
use super::source::{Random, Source};
use crate::validate::validator;

pub(crate) type Id = usize;

#[derive(Debug, Default)]
pub(crate) struct Node {
    /// The alternatives, the simplest first; none when nothing satisfies the schema.
    pub(crate) alternatives: Vec<Alternative>,
    pub(crate) depth: Option<usize>,
}

#[derive(Debug)]
pub(crate) enum Alternative {
    /// One of these, the simplest first.
    Pool(Vec<Value>),
    Array {
        min: usize,
        max: Option<usize>,
        unique: bool,
        items: Id,
        contains: Vec<Id>,
    },
    Object {
        members: Vec<Member>,
        others: Vec<Member>,
    },
}

/// A member of an object.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) node: Id,
    pub(crate) required: bool,
}

/// Values of each text pool; the pool is judged once, when the schema is compiled.
const POOL: usize = 96;
/// Names of members that no schema knows.
const UNHEARD_OF: [&str; 5] = ["x-unheard-of", "", "ключ", "a.b/c~d", "__proto__"];

pub(crate) struct Planner<'a> {
    expander: Expander<'a>,
    formats: &'a [Format],
    pub(crate) nodes: Vec<Node>,
    ids: HashMap<String, Id>,
    open: Vec<(Id, Vec<Value>)>,
}

impl<'a> Planner<'a> {
    pub(crate) fn compile(
        schema: &'a Value,
        formats: &'a [Format],
    ) -> Result<(Vec<Node>, Id), GenerateError> {
        let mut planner = Planner {
            expander: Expander { defs: &schema["$defs"] },
            formats,
            nodes: Vec::new(),
            ids: HashMap::new(),
            open: Vec::new(),
        };
        let root = planner.node(vec![schema.clone()]);
        while let Some((id, schemas)) = planner.open.pop() {
            planner.nodes[id].alternatives = planner.alternatives(&schemas)?;
        }
        planner.prune();
        if planner.nodes[root].depth.is_none() {
            return Err(GenerateError::Unsatisfiable);
        }
        Ok((planner.nodes, root))
    }

    fn node(&mut self, mut schemas: Vec<Value>) -> Id {
        schemas.iter_mut().for_each(|s| {
            if let Some(object) = s.as_object_mut() {
                object.shift_remove("$defs");
            }
        });
        let key = Value::Array(schemas.clone()).to_string();
        if let Some(&id) = self.ids.get(&key) {
            return id;
        }
        let id = self.nodes.len();
        self.nodes.push(Node::default());
        self.ids.insert(key, id);
        self.open.push((id, schemas));
        id
    }

    fn alternatives(&mut self, schemas: &[Value]) -> Result<Vec<Alternative>, GenerateError> {
        let mut all = vec![Facts::default()];
        for schema in schemas {
            all = self.expander.expand(schema, false, all)?;
        }
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let judge = self.judge(schemas)?;
        let mut alternatives = Vec::new();
        for facts in all {
            if let Some(values) = &facts.values {
                pool(values.iter().filter(|v| judge.is_valid(v)).cloned().collect(), &mut alternatives);
                continue;
            }
            if facts.types & STRING != 0 {
                let texts = self.texts(&facts)?;
                pool(texts.into_iter().filter(|v| judge.is_valid(v)).collect(), &mut alternatives);
            }
            if facts.types & (INTEGER | FRACTION) != 0 {
                pool(numbers(&facts).into_iter().filter(|v| judge.is_valid(v)).collect(), &mut alternatives);
            }
            if facts.types & OBJECT != 0 && facts.required.is_disjoint(&facts.absent) {
                alternatives.push(self.object(&facts)?);
            }
            if facts.types & ARRAY != 0 {
                let items = self.node(facts.items.clone());
                let contains = facts
                    .contains
                    .iter()
                    .map(|one| self.node(facts.items.iter().chain([one]).cloned().collect()))
                    .collect();
                let (min, max, unique) = (facts.min_items, facts.max_items, facts.unique);
                if max.is_none_or(|max| min <= max) {
                    alternatives.push(Alternative::Array { min, max, unique, items, contains });
                }
            }
            let mut simple = Vec::new();
            if facts.types & BOOLEAN != 0 {
                simple.extend([json!(false), json!(true)]);
            }
            if facts.types & NULL != 0 {
                simple.push(Value::Null);
            }
            pool(simple.into_iter().filter(|v| judge.is_valid(v)).collect(), &mut alternatives);
        }
        Ok(alternatives)
    }

    fn judge(&self, schemas: &[Value]) -> Result<Validator, GenerateError> {
        let mut schema = json!({});
        if !schemas.is_empty() {
            schema["allOf"] = schemas.into();
        }
        if !self.expander.defs.is_null() {
            schema["$defs"] = self.expander.defs.clone();
        }
        strip_ids(&mut schema);
        validator(schema, self.formats).map_err(GenerateError::Schema)
    }

    fn texts(&self, facts: &Facts) -> Result<Vec<Value>, GenerateError> {
        let mut texts: Vec<String> =
            facts.examples.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let mut random = Random::new(7);
        for name in &facts.formats {
            let format = self.formats.iter().find(|format| format.name == name);
            let format = format.ok_or_else(|| GenerateError::Format(name.clone()))?;
            texts.extend(format.edges.iter().map(|&edge| edge.to_owned()));
            texts.extend((0..POOL).map(|_| (format.sample)(&mut random)));
        }
        for pattern in &facts.patterns {
            // An unreadable one may still be matched by what the others and the edges offer.
            let Some(pattern) = Pattern::new(pattern) else { continue };
            texts.push(pattern.sample(&mut super::source::Replay::new(&[])));
            texts.extend((0..POOL).map(|_| pattern.sample(&mut random)));
        }
        if facts.formats.is_empty() {
            texts.extend(TEXTS.iter().map(|&text| text.to_owned()));
            texts.extend([16, 64, 255, 256, 4096].map(|length| "x".repeat(length)));
        }
        let limits = [Some(facts.min_length), facts.max_length].into_iter().flatten();
        for limit in limits.filter(|&limit| limit < 100_000) {
            texts.extend(["x", "é"].map(|c| c.repeat(limit as usize)));
        }
        texts.sort_by_cached_key(|text| (text.is_empty(), !text.is_ascii(), text.chars().count()));
        texts.dedup();
        Ok(texts.into_iter().map(Value::String).collect())
    }

    fn object(&mut self, facts: &Facts) -> Result<Alternative, GenerateError> {
        let mut names: Vec<String> = facts.facets.iter().flat_map(|f| f.properties.keys().cloned()).collect();
        names.extend(facts.required.iter().cloned());
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()) && !facts.absent.contains(name));
        let mut members = Vec::new();
        for name in names {
            let schemas = self.applying(&facts.facets, &name)?;
            let required = facts.required.contains(&name);
            members.push(Member { node: self.node(schemas), name, required });
        }
        let mut others: Vec<String> = UNHEARD_OF.map(str::to_owned).to_vec();
        let mut random = Random::new(11);
        for (pattern, schema) in facts.facets.iter().flat_map(|facet| &facet.patterns) {
            if *schema != json!(false) && schema["not"] != json!({}) {
                let sampler = Pattern::new(pattern).ok_or_else(|| GenerateError::Pattern(pattern.clone()))?;
                others.extend((0..8).map(|_| sampler.sample(&mut random)));
            }
        }
        others.retain(|name| seen.insert(name.clone()) && !facts.absent.contains(name));
        let mut more = Vec::new();
        for name in others {
            let schemas = self.applying(&facts.facets, &name)?;
            more.push(Member { node: self.node(schemas), name, required: false });
        }
        Ok(Alternative::Object { members, others: more })
    }

    /// The schemas that apply to the member `name`.
    fn applying(&self, facets: &[Facet], name: &str) -> Result<Vec<Value>, GenerateError> {
        let mut schemas = Vec::new();
        for facet in facets {
            let before = schemas.len();
            schemas.extend(facet.properties.get(name).cloned());
            for (pattern, schema) in &facet.patterns {
                let judge = jsonschema::draft202012::new(&json!({"pattern": pattern}));
                let judge = judge.map_err(|_| GenerateError::Pattern(pattern.clone()))?;
                if judge.is_valid(&json!(name)) {
                    schemas.push(schema.clone());
                }
            }
            if schemas.len() == before {
                schemas.extend(facet.additional.clone());
            }
        }
        schemas.retain(|schema| *schema != json!(true));
        Ok(schemas)
    }

    /// Finds how deep each node must go, and removes what cannot be satisfied.
    fn prune(&mut self) {
        loop {
            let depths: Vec<_> = self.nodes.iter().map(|node| node.depth).collect();
            let mut changed = false;
            for node in &mut self.nodes {
                let depth = node.alternatives.iter().filter_map(|a| depth(a, &depths)).min();
                changed |= depth != node.depth;
                node.depth = depth;
            }
            if !changed {
                break;
            }
        }
        let depths: Vec<_> = self.nodes.iter().map(|node| node.depth).collect();
        for node in &mut self.nodes {
            node.alternatives.retain(|a| depth(a, &depths).is_some());
            node.alternatives.sort_by_key(|a| depth(a, &depths));
            for alternative in &mut node.alternatives {
                if let Alternative::Object { members, others } = alternative {
                    members.retain(|member| depths[member.node].is_some());
                    others.retain(|member| depths[member.node].is_some());
                }
            }
        }
    }
}

fn depth(alternative: &Alternative, depths: &[Option<usize>]) -> Option<usize> {
    match alternative {
        Alternative::Pool(_) => Some(0),
        Alternative::Array { min, items, contains, .. } => {
            let mut most = 0;
            for &id in contains.iter().chain((*min > 0).then_some(items)) {
                most = most.max(depths[id]? + 1);
            }
            Some(most)
        }
        Alternative::Object { members, .. } => {
            let mut most = 0;
            for member in members.iter().filter(|member| member.required) {
                most = most.max(depths[member.node]? + 1);
            }
            Some(most)
        }
    }
}

fn pool(mut values: Vec<Value>, alternatives: &mut Vec<Alternative>) {
    let mut seen = std::collections::HashSet::new();
    values.retain(|value| seen.insert(value.to_string()));
    if !values.is_empty() {
        alternatives.push(Alternative::Pool(values));
    }
}

fn numbers(facts: &Facts) -> Vec<Value> {
    let (min, max) = (facts.minimum.unwrap_or(i128::MIN), facts.maximum.unwrap_or(i128::MAX));
    let mut edges: Vec<i128> =
        vec![0, 1, 2, -1, 10, 100, 127, 255, 1500, 9000, 65535, -129, 1 << 31, (1 << 31) - 1];
    edges.extend([
        (1 << 32) - 1,
        1 << 32,
        (1 << 53) + 1,
        i128::from(i64::MAX),
        i128::from(u64::MAX),
        -(1 << 31),
    ]);
    edges.extend([min, max].into_iter().filter(|n| *n != i128::MIN && *n != i128::MAX));
    edges.extend(facts.minimum.map(|n| n + 1));
    edges.extend(facts.maximum.map(|n| n - 1));
    let mut random = Random::new(3);
    for _ in 0..24 {
        let bits = random.below(31) + 1;
        edges.push(i128::from(random.below(1 << bits)));
    }
    edges.retain(|n| min <= *n && *n <= max);
    edges.sort_by_key(|n| (n.unsigned_abs(), *n < 0));
    let mut values: Vec<Value> = Vec::new();
    if facts.types & INTEGER != 0 {
        values.extend(edges.iter().filter_map(|n| Number::from_i128(*n)).map(Value::Number));
    }
    if facts.types & FRACTION != 0 {
        values.extend([json!(0.5), json!(-1.5), json!(1e-9), json!(1e300)]);
    }
    values
}

fn strip_ids(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.get("$id").is_some_and(Value::is_string) {
                object.shift_remove("$id");
                object.shift_remove("$schema");
            }
            object.values_mut().for_each(strip_ids);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_ids),
        _ => {}
    }
}
