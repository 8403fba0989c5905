//! What the hammer plays: a configuration, and what happens to containers under it.

use cni_spec::parameters::Variable;
use cni_spec::{Operation, Version};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::harmless::{Asking, Harmless};

/// How many containers a scenario may have.
pub const CONTAINERS: u8 = 3;

/// A configuration and the steps played under it.
///
/// It is data, so that it can be kept, replayed and made smaller: any sequence of steps can be played, those that make no
/// sense after the ones before are passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// The spec version.
    pub version: Version,
    /// The configuration of the target that it began as.
    pub configuration: String,
    /// The plugin object, without `cniVersion`, `name` and `prevResult`.
    pub plugin: Map<String, Value>,
    /// CNI_ARGS of every execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// Whether another container is attached first and stays, so that what belongs to the network is there.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub settle: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Where it comes from; that is not kept.
    #[serde(skip)]
    pub origin: Origin,
}

/// Where a scenario comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// It was made anew, or somebody wrote it.
    #[default]
    Made,
    /// It was bred of another one.
    Bred,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// Which attachment is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct At {
    /// The container, from 0.
    pub container: u8,
    /// `eth` and this number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interface: u8,
    /// 0: the network of the configuration; 1: another one beside it, with other addresses and links.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub network: u8,
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "eth{} of c{}", self.interface, self.container + 1)?;
        if self.network > 0 { write!(f, " in the other network") } else { Ok(()) }
    }
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// ADD, DEL or CHECK as a runtime makes it.
    Operate {
        /// The operation.
        operation: Operation,
        /// The attachment.
        at: At,
        /// What is different from usual, and must make no difference. With ADD only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        harmless: Option<Harmless>,
    },
    /// The operation on several attachments at the same moment.
    Together {
        /// The operation.
        operation: Operation,
        /// The attachments, of different containers.
        at: Vec<At>,
    },
    /// The operation, and the plugin is killed.
    Kill {
        /// The operation.
        operation: Operation,
        /// The attachment.
        at: At,
        /// After this many microseconds.
        after: u64,
    },
    /// The operation with a request that something is wrong with.
    Broken {
        /// The operation.
        operation: Operation,
        /// The attachment.
        at: At,
        /// What is wrong.
        fault: Fault,
    },
    /// GC with the attachments that exist.
    Collect {
        /// The network.
        network: u8,
        /// Whether they are listed as valid; none is otherwise.
        valid: bool,
    },
    /// STATUS.
    Status {
        /// The network.
        network: u8,
    },
    /// VERSION.
    Version {
        /// How it is asked for.
        #[serde(default, skip_serializing_if = "Asking::is_plain")]
        asking: Asking,
    },
    /// The container's namespace goes away, as in a crash.
    DeleteNetns {
        /// The container.
        container: u8,
    },
    /// The attachment's interface is removed behind the plugin's back.
    RemoveInterface {
        /// The attachment.
        at: At,
    },
}

impl Scenario {
    /// Whether it may show one thing now and another then: plugins are killed, or run beside each other.
    pub fn depends_on_time(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Kill { .. } | Step::Together { .. }))
    }
}

impl Step {
    /// The attachments that it speaks of.
    pub fn attachments(&self) -> Vec<At> {
        match self {
            Step::Operate { at, .. }
            | Step::Kill { at, .. }
            | Step::Broken { at, .. }
            | Step::RemoveInterface { at } => vec![*at],
            Step::Together { at, .. } => at.clone(),
            _ => Vec::new(),
        }
    }

    /// The same with other attachments in their place.
    #[must_use]
    pub fn moved(&self, to: impl Fn(At) -> At) -> Step {
        let mut step = self.clone();
        match &mut step {
            Step::Operate { at, .. }
            | Step::Kill { at, .. }
            | Step::Broken { at, .. }
            | Step::RemoveInterface { at } => *at = to(*at),
            Step::Together { at, .. } => at.iter_mut().for_each(|at| *at = to(*at)),
            _ => {}
        }
        step
    }
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The document breaks a constraint of its schema.
    Document {
        /// How it is changed.
        edits: Vec<Edit>,
        /// The requirement that is broken; none for a plugin's own constraint.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requirement: Option<String>,
        /// The error code that the answer must have, if the specification fixes one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u32>,
    },
    /// The request names another version.
    Version {
        /// The version.
        value: String,
        /// The requirement that is broken.
        requirement: String,
        /// The error code that the answer must have, if the specification fixes one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u32>,
    },
    /// The text on stdin is changed below what documents can say.
    Text {
        /// How: a kind of [`cni_schemas::mutate::text`], in its words.
        change: String,
        /// What the change draws from.
        seed: u64,
    },
    /// The parameters break a rule.
    Environment {
        /// The variable.
        variable: String,
        /// Its value; none: it is not set.
        value: Option<String>,
        /// The requirement that is broken.
        requirement: String,
        /// The error code that the answer must have, if the specification fixes one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u32>,
    },
}

impl Fault {
    /// Whether the plugin is not told the container's namespace.
    pub fn hides_namespace(&self) -> bool {
        matches!(self, Fault::Environment { variable, .. } if variable == Variable::Netns.as_str())
    }
}

/// One change of a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Edit {
    /// The place, as a JSON pointer.
    pub at: String,
    /// What stands there then; nothing when it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub value: Option<Value>,
}

/// `null` is a value, not the absence of one.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Edit {
    /// The edits that lead from one document to another.
    pub fn between(old: &Value, new: &Value) -> Vec<Edit> {
        let mut edits = Vec::new();
        compare(old, new, &mut String::new(), &mut edits);
        edits
    }

    /// Makes the change. Does nothing where the document has no such place.
    pub fn apply(&self, document: &mut Value) {
        let Some((parent, last)) = self.at.rsplit_once('/') else {
            if let Some(value) = &self.value {
                *document = value.clone();
            }
            return;
        };
        let name = last.replace("~1", "/").replace("~0", "~");
        match (document.pointer_mut(parent), &self.value) {
            (Some(Value::Object(members)), Some(value)) => {
                members.insert(name, value.clone());
            }
            (Some(Value::Object(members)), None) => {
                members.shift_remove(&name);
            }
            (Some(Value::Array(items)), Some(value)) => {
                if let Some(item) = name.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                    *item = value.clone();
                }
            }
            (Some(Value::Array(items)), None) => {
                if let Some(item) = name.parse().ok().filter(|item| *item < items.len()) {
                    items.remove(item);
                }
            }
            _ => {}
        }
    }
}

/// A key as a step of a JSON pointer.
pub(super) fn step_to(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn compare(old: &Value, new: &Value, at: &mut String, edits: &mut Vec<Edit>) {
    let mut below = |step: &str, old: Option<&Value>, new: Option<&Value>, edits: &mut Vec<Edit>| {
        let length = at.len();
        at.push_str(&step_to(step));
        match (old, new) {
            (Some(old), Some(new)) => compare(old, new, at, edits),
            (_, new) => edits.push(Edit { at: at.clone(), value: new.cloned() }),
        }
        at.truncate(length);
    };
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                below(key, Some(value), b.get(key), edits);
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                below(key, None, Some(value), edits);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                below(&index.to_string(), Some(a), Some(b), edits);
            }
        }
        (a, b) if a == b => {}
        (_, b) => edits.push(Edit { at: at.clone(), value: Some(b.clone()) }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z~/]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z~/]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn edits_lead_from_one_document_to_the_other(old in documents(), new in documents()) {
            let edits = Edit::between(&old, &new);
            let text = serde_json::to_string(&edits).unwrap();
            let edits: Vec<Edit> = serde_json::from_str(&text).unwrap();
            let mut changed = old;
            edits.iter().for_each(|edit| edit.apply(&mut changed));
            prop_assert_eq!(changed, new);
        }
    }

    #[test]
    fn a_scenario_is_read_as_it_is_written() {
        let at = At { container: 1, interface: 1, network: 0 };
        let scenario = Scenario {
            origin: Default::default(),
            version: Version::V1_1_0,
            configuration: "gateway".to_owned(),
            plugin: json!({"type": "bridge"}).as_object().cloned().unwrap(),
            args: None,
            settle: true,
            steps: vec![
                Step::Operate { operation: Operation::Add, at, harmless: Some(Harmless::OneDigit) },
                Step::Broken {
                    operation: Operation::Del,
                    at,
                    fault: Fault::Document {
                        edits: vec![Edit { at: "/name".to_owned(), value: None }],
                        requirement: None,
                        code: Some(7),
                    },
                },
                Step::Version { asking: Asking::Garbage },
            ],
        };
        let text = serde_json::to_string(&scenario).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&text).unwrap(), scenario);
        assert!(
            text.contains(r#"{"do":"operate","operation":"ADD","at":{"container":1,"interface":1},"harmless":"one-digit"}"#),
            "{text}"
        );
    }
}
