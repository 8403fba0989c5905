//! Generates documents that satisfy a JSON Schema, by construction.
//!
//! A schema is compiled once. [`Generator::generate`] then makes documents from a stream of decisions ([`Source`]): at
//! random, or repeated from a record. Every stream yields a valid document, and smaller decisions yield a simpler one, so
//! that shrinking a stream shrinks the document and keeps it valid. Nothing here knows CNI: formats come as a list.
//!
//! ```
//! use cni_schemas::generate::{CNI_FORMATS, Generator, Random};
//! use serde_json::json;
//!
//! let schema = json!({
//!     "type": "object",
//!     "required": ["address"],
//!     "properties": {"address": {"type": "string", "format": "cidr"}, "mtu": {"type": "integer", "minimum": 68}},
//!     "additionalProperties": false
//! });
//! let generator = Generator::new(&schema, &CNI_FORMATS)?;
//! assert_eq!(generator.simplest(), json!({"address": "::/0"}));
//! let document = generator.generate(&mut Random::new(1), 8);
//! assert!(document["address"].as_str().is_some_and(cni_schemas::formats::is_cidr));
//! # Ok::<(), cni_schemas::generate::GenerateError>(())
//! ```

mod facts;
mod plan;
mod samples;
mod source;
mod strategy;

use serde_json::{Map, Value};

use self::plan::{Alternative, Id, Node, Planner};
pub use self::samples::{CNI_FORMATS, Format};
pub use self::source::{Random, Recorder, Replay, Source};
pub use self::strategy::{Documents, Shrinking};

/// Why no generator can be made of a schema.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GenerateError {
    /// A keyword that is not understood is never passed over.
    #[error("the keyword {keyword} is not understood{}", if *.opposite { " under not or if" } else { "" })]
    Keyword {
        /// The keyword.
        keyword: String,
        /// Whether its opposite was asked for.
        opposite: bool,
    },
    /// The value of a keyword is not what the keyword takes here.
    #[error("{keyword} cannot be {value}")]
    Value {
        /// The keyword.
        keyword: String,
        /// Its value.
        value: Value,
    },
    /// A format that no list of formats names.
    #[error("the format {0} is not known")]
    Format(String),
    /// A pattern of keys that cannot be read.
    #[error("the pattern {0} cannot be read")]
    Pattern(String),
    /// A reference that does not lead to a definition of the schema itself.
    #[error("{0} leads to no definition under $defs")]
    Reference(String),
    /// The alternatives multiply.
    #[error("the schema has too many alternatives")]
    TooManyAlternatives,
    /// The validator cannot use the schema.
    #[error("the schema is not valid: {0}")]
    Schema(String),
    /// No document satisfies the schema, or none was found.
    #[error("no document was found that satisfies the schema")]
    Unsatisfiable,
}

/// A change of a finished document, for rules that no schema expresses. What is valid has to stay valid.
pub type Finish = std::sync::Arc<dyn Fn(&mut Value) + Send + Sync>;

/// A compiled schema.
#[derive(Clone)]
pub struct Generator {
    nodes: std::sync::Arc<Vec<Node>>,
    root: Id,
    finish: Option<Finish>,
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl Generator {
    /// Compiles a schema whose references lead to its own `$defs`.
    ///
    /// # Errors
    /// When a keyword, format or pattern is not understood, or nothing satisfies the schema.
    pub fn new(schema: &Value, formats: &[Format]) -> Result<Self, GenerateError> {
        let (nodes, root) = Planner::compile(schema, formats)?;
        Ok(Generator { nodes: std::sync::Arc::new(nodes), root, finish: None })
    }

    /// With a last change of each document.
    #[must_use]
    pub fn finish(mut self, finish: Finish) -> Self {
        self.finish = Some(finish);
        self
    }

    /// A document. `size` limits the length of lists and, loosely, the depth.
    pub fn generate(&self, source: &mut dyn Source, size: usize) -> Value {
        let mut document = self.value(self.root, source, size, 0);
        if let Some(finish) = &self.finish {
            finish(&mut document);
        }
        document
    }

    /// The document of nothing but zeros.
    pub fn simplest(&self) -> Value {
        self.generate(&mut Replay::new(&[]), 0)
    }

    fn value(&self, id: Id, source: &mut dyn Source, size: usize, depth: usize) -> Value {
        let alternatives = &self.nodes[id].alternatives;
        let deep = depth > size + 6;
        let chosen = if deep || alternatives.len() == 1 {
            0
        } else {
            source.below(alternatives.len() as u32) as usize
        };
        match &alternatives[chosen] {
            Alternative::Pool(values) => {
                values[if values.len() == 1 { 0 } else { source.below(values.len() as u32) as usize }].clone()
            }
            Alternative::Array { min, max, unique, items, contains } => {
                let most = max.unwrap_or(usize::MAX).min(size.max(min + contains.len()));
                let mut list: Vec<Value> =
                    contains.iter().map(|&one| self.value(one, source, size, depth + 1)).collect();
                let possible = self.nodes[*items].depth.is_some() && !deep;
                let least = (*min).max(list.len());
                let length = if possible && most > least {
                    // Mostly short: the cost of a document grows with each level.
                    let room = (most - least) as u32;
                    let spread = if source.below(4) == 3 { room } else { room.min(2) };
                    least + source.below(spread + 1) as usize
                } else {
                    least
                };
                let mut tries = 4 * length;
                while list.len() < length && tries > 0 {
                    let item = self.value(*items, source, size / 2, depth + 1);
                    if !*unique || !list.contains(&item) {
                        list.push(item);
                    }
                    tries -= 1;
                }
                // Enough different ones, from a source that may repeat itself.
                let mut random = Random::new(5);
                while list.len() < *min {
                    let item = self.value(*items, &mut random, size / 2, depth + 1);
                    if !*unique || !list.contains(&item) {
                        list.push(item);
                    }
                }
                Value::Array(list)
            }
            Alternative::Object { members, others } => {
                let mut object = Map::with_capacity(members.len());
                // Nothing optional; some; all.
                let (of, all) =
                    if deep { (0, 1) } else { [(0, 1), (1, 4), (1, 2), (15, 16)][source.below(4) as usize] };
                for member in members {
                    if member.required || (of > 0 && source.chance(of, all)) {
                        object.insert(member.name.clone(), self.value(member.node, source, size, depth + 1));
                    }
                }
                if !others.is_empty() && !deep && source.chance(1, 16) {
                    let member = &others[source.below(others.len() as u32) as usize];
                    object.insert(member.name.clone(), self.value(member.node, source, size / 4, depth + 5));
                }
                Value::Object(object)
            }
        }
    }
}

/// Names that match a pattern of keys, look-arounds included.
pub(crate) fn names_like(pattern: &str) -> Vec<String> {
    let Some(sampler) = samples::Pattern::new(pattern) else { return Vec::new() };
    let Ok(judge) = jsonschema::draft202012::new(&serde_json::json!({"pattern": pattern})) else {
        return Vec::new();
    };
    let mut random = Random::new(13);
    // Patterns without an end take any.
    let names = (0..8).map(|index| sampler.sample(&mut random) + if index < 4 { "" } else { "unheard-of" });
    names.filter(|name| judge.is_valid(&Value::from(name.as_str()))).collect()
}
