//! What a set of schemas demands of one value, as a disjunction of conjunctions.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::GenerateError;
use crate::constraints::unescape;

/// Types as a set of bits.
pub(crate) const NULL: u8 = 1;
pub(crate) const BOOLEAN: u8 = 2;
pub(crate) const INTEGER: u8 = 4;
pub(crate) const FRACTION: u8 = 8;
pub(crate) const STRING: u8 = 16;
pub(crate) const ARRAY: u8 = 32;
pub(crate) const OBJECT: u8 = 64;
const ALL: u8 = 127;

/// What one schema says of the members of an object; `additionalProperties` looks at its own schema only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facet {
    pub(crate) properties: Map<String, Value>,
    pub(crate) patterns: Vec<(String, Value)>,
    pub(crate) additional: Option<Value>,
}

/// One conjunction: all of it holds at once.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) types: u8,
    pub(crate) values: Option<Vec<Value>>,
    pub(crate) excludes: bool,
    pub(crate) min_length: u64,
    pub(crate) max_length: Option<u64>,
    pub(crate) patterns: Vec<String>,
    pub(crate) formats: Vec<String>,
    pub(crate) examples: Vec<Value>,
    pub(crate) minimum: Option<i128>,
    pub(crate) maximum: Option<i128>,
    pub(crate) min_items: usize,
    pub(crate) max_items: Option<usize>,
    pub(crate) unique: bool,
    pub(crate) items: Vec<Value>,
    pub(crate) contains: Vec<Value>,
    pub(crate) required: BTreeSet<String>,
    pub(crate) absent: BTreeSet<String>,
    pub(crate) facets: Vec<Facet>,
}

impl Default for Facts {
    fn default() -> Self {
        Facts {
            types: ALL,
            values: None,
            excludes: false,
            min_length: 0,
            max_length: None,
            patterns: Vec::new(),
            formats: Vec::new(),
            examples: Vec::new(),
            minimum: None,
            maximum: None,
            min_items: 0,
            max_items: None,
            unique: false,
            items: Vec::new(),
            contains: Vec::new(),
            required: BTreeSet::new(),
            absent: BTreeSet::new(),
            facets: Vec::new(),
        }
    }
}

/// Keywords that demand nothing.
const SILENT: [&str; 9] =
    ["$schema", "$id", "$comment", "$defs", "title", "description", "default", "deprecated", "examples"];

/// More alternatives than this mean a schema that this way of compiling is not made for.
const ALTERNATIVES: usize = 4096;

pub(crate) struct Expander<'a> {
    pub(crate) defs: &'a Value,
}

type Expanded = Result<Vec<Facts>, GenerateError>;

impl Expander<'_> {
    /// Joins `schema`, or its opposite, with each of `from`.
    pub(crate) fn expand(&self, schema: &Value, opposite: bool, from: Vec<Facts>) -> Expanded {
        let object = match schema {
            Value::Bool(holds) => return Ok(if *holds == opposite { Vec::new() } else { from }),
            Value::Object(object) => object,
            other => {
                return Err(GenerateError::Value { keyword: "a schema".to_owned(), value: other.clone() });
            }
        };
        let mut result = if opposite { Vec::new() } else { from.clone() };
        let mut members: Option<Facet> = None;
        for (keyword, value) in object {
            if keyword == "examples" && !opposite {
                result
                    .iter_mut()
                    .for_each(|f| f.examples.extend(value.as_array().into_iter().flatten().cloned()));
            }
            // A pattern beside a format says the same to those who do not assert formats.
            let implied = keyword == "pattern" && object.contains_key("format");
            if SILENT.contains(&keyword.as_str()) || keyword.starts_with("x-") || implied {
                continue;
            }
            match (keyword.as_str(), value) {
                ("then" | "else", _) => {}
                ("if", condition) if !opposite => {
                    let yes = self.expand(condition, false, result.clone())?;
                    let yes =
                        object.get("then").map_or(Ok(yes.clone()), |then| self.expand(then, false, yes))?;
                    let no = self.expand(condition, true, result)?;
                    let no =
                        object.get("else").map_or(Ok(no.clone()), |other| self.expand(other, false, no))?;
                    result = yes;
                    result.extend(no);
                }
                ("properties" | "patternProperties" | "additionalProperties", value) if !opposite => {
                    let facet = members.get_or_insert_default();
                    match (keyword.as_str(), value) {
                        ("properties", Value::Object(map)) => facet.properties = map.clone(),
                        ("patternProperties", Value::Object(map)) => {
                            facet.patterns = map.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                        }
                        _ => facet.additional = Some(value.clone()),
                    }
                }
                (keyword, value) if opposite => {
                    result.extend(self.keyword(keyword, value, true, from.clone())?)
                }
                (keyword, value) => result = self.keyword(keyword, value, false, result)?,
            }
            if result.len() > ALTERNATIVES {
                return Err(GenerateError::TooManyAlternatives);
            }
        }
        if let Some(facet) = members {
            result.iter_mut().for_each(|facts| facts.facets.push(facet.clone()));
        }
        Ok(result.into_iter().filter(Facts::possible).collect())
    }

    fn keyword(&self, keyword: &str, value: &Value, opposite: bool, mut from: Vec<Facts>) -> Expanded {
        let wrong = || GenerateError::Value { keyword: keyword.to_owned(), value: value.clone() };
        let unknown = || GenerateError::Keyword { keyword: keyword.to_owned(), opposite };
        let number = || integer(value).ok_or_else(wrong);
        let length = || value.as_u64().ok_or_else(wrong);
        let list = || value.as_array().ok_or_else(wrong);
        let each = |mut from: Vec<Facts>, change: &dyn Fn(&mut Facts)| {
            from.iter_mut().for_each(change);
            Ok(from)
        };
        let only = |bit: u8, from: Vec<Facts>, change: &dyn Fn(&mut Facts)| {
            each(from, &|facts| {
                facts.types &= bit;
                change(facts);
            })
        };
        match (keyword, opposite) {
            ("$ref", _) => {
                let target = value.as_str().ok_or_else(wrong)?;
                self.expand(self.resolve(target)?, opposite, from)
            }
            ("allOf", false) | ("anyOf", true) => {
                list()?.iter().try_fold(from, |from, member| self.expand(member, opposite, from))
            }
            ("anyOf", false) | ("allOf", true) => {
                let mut all = Vec::new();
                for member in list()? {
                    all.extend(self.expand(member, opposite, from.clone())?);
                }
                Ok(all)
            }
            ("oneOf", false) => {
                let members = list()?;
                let mut all = Vec::new();
                for (chosen, _) in members.iter().enumerate() {
                    let mut one = from.clone();
                    for (index, member) in members.iter().enumerate() {
                        one = self.expand(member, index != chosen, one)?;
                    }
                    all.extend(one);
                }
                Ok(all)
            }
            ("not", _) => self.expand(value, !opposite, from),
            ("type", _) => {
                let named = match value {
                    Value::Array(names) => names.clone(),
                    name => vec![name.clone()],
                };
                let bits = named.iter().map(|name| bit(name).ok_or_else(wrong)).sum::<Result<u8, _>>()?;
                only(if opposite { !bits & ALL } else { bits }, from, &|_| {})
            }
            ("const" | "enum", true) => each(from, &|facts| facts.excludes = true),
            ("const" | "enum", false) => {
                let options = if keyword == "const" { vec![value.clone()] } else { list()?.clone() };
                each(from, &|facts| {
                    let old = facts.values.take();
                    facts.values = Some(match old {
                        Some(old) => old.into_iter().filter(|v| options.contains(v)).collect(),
                        None => options.clone(),
                    });
                })
            }
            ("minLength", false) => {
                let n = length()?;
                each(from, &|f| f.min_length = f.min_length.max(n))
            }
            ("maxLength", false) => {
                let n = length()?;
                each(from, &|f| f.max_length = Some(f.max_length.map_or(n, |old| old.min(n))))
            }
            ("minLength", true) => match length()?.checked_sub(1) {
                None => Ok(Vec::new()),
                Some(n) => {
                    only(STRING, from, &|f| f.max_length = Some(f.max_length.map_or(n, |old| old.min(n))))
                }
            },
            ("maxLength", true) if length()? == u64::MAX => Ok(from),
            ("maxLength", true) => {
                let n = length()? + 1;
                only(STRING, from, &|f| f.min_length = f.min_length.max(n))
            }
            ("pattern", false) => {
                let text = value.as_str().ok_or_else(wrong)?;
                each(from, &|f| f.patterns.push(text.to_owned()))
            }
            // What it must not be is seen when the pool of texts is judged.
            ("pattern" | "format", true) => only(STRING, from, &|f| f.excludes = true),
            ("format", false) => {
                let name = value.as_str().ok_or_else(wrong)?;
                each(from, &|f| f.formats.push(name.to_owned()))
            }
            ("minimum", false) | ("exclusiveMinimum", false) => {
                let n = number()? + i128::from(keyword != "minimum");
                each(from, &|f| f.minimum = Some(f.minimum.map_or(n, |old| old.max(n))))
            }
            ("maximum", false) | ("exclusiveMaximum", false) => {
                let n = number()? - i128::from(keyword != "maximum");
                each(from, &|f| f.maximum = Some(f.maximum.map_or(n, |old| old.min(n))))
            }
            ("minimum", true) => {
                let n = number()? - 1;
                only(INTEGER | FRACTION, from, &|f| f.maximum = Some(f.maximum.map_or(n, |old| old.min(n))))
            }
            ("maximum", true) => {
                let n = number()? + 1;
                only(INTEGER | FRACTION, from, &|f| f.minimum = Some(f.minimum.map_or(n, |old| old.max(n))))
            }
            ("minItems", false) => {
                let n = length()? as usize;
                each(from, &|f| f.min_items = f.min_items.max(n))
            }
            ("maxItems", false) => {
                let n = length()? as usize;
                each(from, &|f| f.max_items = Some(f.max_items.map_or(n, |old| old.min(n))))
            }
            ("minItems", true) => match (length()? as usize).checked_sub(1) {
                None => Ok(Vec::new()),
                Some(n) => {
                    only(ARRAY, from, &|f| f.max_items = Some(f.max_items.map_or(n, |old| old.min(n))))
                }
            },
            ("maxItems", true) => {
                let n = length()? as usize + 1;
                only(ARRAY, from, &|f| f.min_items = f.min_items.max(n))
            }
            ("uniqueItems", false) => each(from, &|f| f.unique |= value == true),
            ("items", false) => each(from, &|f| f.items.push(value.clone())),
            ("items", true) => only(ARRAY, from, &|f| f.contains.push(json!({"not": value}))),
            ("contains", false) => each(from, &|f| f.contains.push(value.clone())),
            ("contains", true) => only(ARRAY, from, &|f| f.items.push(json!({"not": value}))),
            ("required", false) => {
                let names = names(value).ok_or_else(wrong)?;
                each(from, &|f| f.required.extend(names.iter().cloned()))
            }
            ("required", true) => {
                let mut all = Vec::new();
                for name in names(value).ok_or_else(wrong)? {
                    all.extend(only(OBJECT, from.clone(), &|f| {
                        f.absent.insert(name.clone());
                    })?);
                }
                Ok(all)
            }
            ("dependentRequired", false) => {
                for (name, others) in value.as_object().ok_or_else(wrong)? {
                    let then = json!({"required": others});
                    let schema = json!({"if": {"required": [name]}, "then": then});
                    from = self.expand(&schema, false, from)?;
                }
                Ok(from)
            }
            ("properties", true) => {
                let mut all = Vec::new();
                for (name, member) in value.as_object().ok_or_else(wrong)? {
                    all.extend(only(OBJECT, from.clone(), &|f| {
                        f.required.insert(name.clone());
                        let properties = Map::from_iter([(name.clone(), json!({"not": member}))]);
                        f.facets.push(Facet { properties, ..Facet::default() });
                    })?);
                }
                Ok(all)
            }
            _ => Err(unknown()),
        }
    }

    fn resolve(&self, target: &str) -> Result<&Value, GenerateError> {
        let found = target.strip_prefix("#/$defs/").and_then(|name| self.defs.get(unescape(name)));
        found.ok_or_else(|| GenerateError::Reference(target.to_owned()))
    }
}

impl Facts {
    fn possible(&self) -> bool {
        self.types != 0
            && self.values.as_ref().is_none_or(|values| !values.is_empty())
            && (self.types & OBJECT == 0 || self.types != OBJECT || self.required.is_disjoint(&self.absent))
    }
}

fn bit(name: &Value) -> Option<u8> {
    Some(match name.as_str()? {
        "null" => NULL,
        "boolean" => BOOLEAN,
        "integer" => INTEGER,
        "number" => INTEGER | FRACTION,
        "string" => STRING,
        "array" => ARRAY,
        "object" => OBJECT,
        _ => return None,
    })
}

fn integer(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

fn names(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}
