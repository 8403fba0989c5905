//! Changes of a request that a plugin must not mind: whatever is answered without them is answered with them.

use cni_spec::{Operation, Version};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::checks::{Attachment, Call, parameters, version};
use crate::invoke::Stdin;

/// A change of an ADD that must succeed as it does without the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Harmless {
    /// Variables that other programs use, and one that nobody knows.
    OtherVariables,
    /// CNI_ARGS is there and empty.
    EmptyArgs,
    /// CNI_ARGS with a key that the plugin need not know, and the word that says so.
    UnknownArgs,
    /// CNI_ARGS as Kubernetes sets it.
    KubernetesArgs,
    /// CNI_PATH is not set. For plugins that execute no others.
    NoPath,
    /// The members of the document in the opposite order.
    Reversed,
    /// White space around the document, and none in it.
    Spaced,
    /// Each character of each text as an escape sequence.
    Escaped,
    /// `args` with data for nobody.
    ArgsForOthers,
    /// A container ID with every kind of character.
    EveryCharacter,
    /// A container ID of one digit.
    OneDigit,
    /// A container ID as container engines make them.
    Hexadecimal,
    /// An interface name as long as Linux has them.
    LongInterface,
}

impl Harmless {
    /// Every change.
    pub const ALL: [Harmless; 13] = [
        Harmless::OtherVariables,
        Harmless::EmptyArgs,
        Harmless::UnknownArgs,
        Harmless::KubernetesArgs,
        Harmless::NoPath,
        Harmless::Reversed,
        Harmless::Spaced,
        Harmless::Escaped,
        Harmless::ArgsForOthers,
        Harmless::EveryCharacter,
        Harmless::OneDigit,
        Harmless::Hexadecimal,
        Harmless::LongInterface,
    ];

    /// What says that nobody may mind it.
    pub fn requirement(self) -> &'static str {
        match self {
            Harmless::OtherVariables => "exec.env-inherited",
            Harmless::EmptyArgs => "param.args-optional",
            Harmless::UnknownArgs => "param.args-ignoreunknown",
            Harmless::KubernetesArgs => "param.args-k8s-keys",
            Harmless::NoPath => "param.path-optional",
            Harmless::Reversed | Harmless::Spaced | Harmless::Escaped => "exec.json-encoding",
            Harmless::ArgsForOthers => "config.plugin-ignores-unknown-args",
            Harmless::EveryCharacter | Harmless::OneDigit | Harmless::Hexadecimal => {
                "param.containerid-charset"
            }
            Harmless::LongInterface => "param.ifname-honoured",
        }
    }

    /// What is done, for labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Harmless::OtherVariables => "with variables of other programs",
            Harmless::EmptyArgs => "with empty CNI_ARGS",
            Harmless::UnknownArgs => "with CNI_ARGS that it need not know",
            Harmless::KubernetesArgs => "with CNI_ARGS as of Kubernetes",
            Harmless::NoPath => "without CNI_PATH",
            Harmless::Reversed => "with members in the opposite order",
            Harmless::Spaced => "with white space around the document",
            Harmless::Escaped => "with escape sequences for each character",
            Harmless::ArgsForOthers => "with args for others",
            Harmless::EveryCharacter => "with a container ID of every kind of character",
            Harmless::OneDigit => "with a container ID of one digit",
            Harmless::Hexadecimal => "with a container ID of 64 digits",
            Harmless::LongInterface => "with an interface name of 15 characters",
        }
    }

    /// Whether an attachment has another name by it, which DEL has to use too.
    pub fn names(self) -> bool {
        matches!(
            self,
            Harmless::EveryCharacter | Harmless::OneDigit | Harmless::Hexadecimal | Harmless::LongInterface
        )
    }

    /// Gives an attachment its other name. `number` tells attachments apart; it has one digit.
    pub fn rename(self, attachment: &mut Attachment, number: usize) {
        match self {
            Harmless::EveryCharacter => attachment.container_id = format!("a.b-c.D-{number}"),
            Harmless::OneDigit => attachment.container_id = number.to_string(),
            Harmless::Hexadecimal => {
                attachment.container_id = format!("{}{number}", &"0123456789abcdef".repeat(4)[1..]);
            }
            Harmless::LongInterface => attachment.ifname = format!("cnitest-if-na{number:02}"),
            _ => {}
        }
    }

    /// The request with the change; none where it changes nothing, or means something to this plugin.
    pub fn apply(self, call: Call) -> Option<Call> {
        let label = format!("{} {}", call.label, self.as_str());
        let args = call.environment.contains_key("CNI_ARGS");
        let changed = match self {
            Harmless::OtherVariables => parameters::with_other_variables(call),
            // What the configuration asks for in CNI_ARGS stays.
            Harmless::EmptyArgs | Harmless::UnknownArgs | Harmless::KubernetesArgs if args => return None,
            Harmless::EmptyArgs => call.set("CNI_ARGS", ""),
            Harmless::UnknownArgs => call.set("CNI_ARGS", parameters::UNKNOWN_ARGS),
            Harmless::KubernetesArgs => call.set("CNI_ARGS", parameters::KUBERNETES_ARGS),
            Harmless::NoPath => call.unset("CNI_PATH"),
            Harmless::Reversed => {
                let Value::Object(members) = call.parsed()? else { return None };
                call.document(&Value::Object(members.into_iter().rev().collect()))
            }
            Harmless::Spaced => {
                let document = call.parsed()?;
                call.text(format!("\r\n\t {document} \n\n"))
            }
            Harmless::Escaped => {
                let text = escaped(&call.parsed()?);
                call.text(text)
            }
            Harmless::ArgsForOthers => {
                let mut document = call.parsed()?;
                let data = document.as_object_mut()?.entry("args").or_insert_with(|| json!({}));
                data.as_object_mut()?.insert("cnitest.example/x".to_owned(), json!({ "y": [1] }));
                call.document(&document)
            }
            _ => call,
        };
        Some(changed.label(label))
    }
}

/// A document whose texts are written in escape sequences.
fn escaped(value: &Value) -> String {
    let text = |text: &str| {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{units}\"")
    };
    match value {
        Value::String(one) => text(one),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(escaped).collect::<Vec<_>>().join(","))
        }
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("{}:{}", text(key), escaped(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// A way to ask for VERSION. The answer is the same for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asking {
    /// CNI_COMMAND alone, and the version on stdin.
    #[default]
    Plainly,
    /// Another version on stdin.
    InOtherVersion,
    /// The other variables are there and empty.
    OthersEmpty,
    /// The other variables hold what nobody can use.
    OthersUnusable,
    /// Nothing on stdin.
    EmptyStdin,
    /// No JSON on stdin.
    Garbage,
    /// No stdin.
    NoStdin,
    /// In a folder that nobody knows.
    Elsewhere,
}

/// The folder of [`Asking::Elsewhere`].
const ELSEWHERE: &str = "/tmp";

/// The version of [`Asking::InOtherVersion`].
const OTHER_VERSION: Version = Version::V0_4_0;

impl Asking {
    /// Every way.
    pub const ALL: [Asking; 8] = [
        Asking::Plainly,
        Asking::InOtherVersion,
        Asking::OthersEmpty,
        Asking::OthersUnusable,
        Asking::EmptyStdin,
        Asking::Garbage,
        Asking::NoStdin,
        Asking::Elsewhere,
    ];

    /// Whether it is the plain one.
    pub fn is_plain(&self) -> bool {
        *self == Asking::Plainly
    }

    /// What says that such a request is answered.
    pub fn requirement(self) -> &'static str {
        match self {
            Asking::Plainly | Asking::InOtherVersion | Asking::Elsewhere => "version.since-020",
            Asking::OthersEmpty | Asking::OthersUnusable => "param.version-needs-only-command",
            Asking::EmptyStdin | Asking::Garbage | Asking::NoStdin => "version.no-stdin",
        }
    }

    /// The version that stands on stdin where the plugin is asked in `version`; none where none does.
    pub fn given(self, version: Version) -> Option<Version> {
        match self {
            Asking::EmptyStdin | Asking::Garbage | Asking::NoStdin => None,
            Asking::InOtherVersion => Some(OTHER_VERSION),
            Asking::Plainly | Asking::OthersEmpty | Asking::OthersUnusable | Asking::Elsewhere => {
                Some(version)
            }
        }
    }

    /// The request.
    pub fn apply(self, call: Call) -> Call {
        let verb = Operation::Version;
        match self {
            Asking::Plainly => call,
            Asking::InOtherVersion => call
                .document(&json!({ "cniVersion": OTHER_VERSION.as_str() }))
                .label(format!("{verb} with another version on stdin")),
            Asking::OthersEmpty => {
                version::with_others(call, version::EMPTY).label(format!("{verb} with empty variables"))
            }
            Asking::OthersUnusable => {
                version::with_others(call, version::UNUSABLE).label(format!("{verb} with unusable variables"))
            }
            Asking::EmptyStdin => call.text("").label(format!("{verb} with nothing on stdin")),
            Asking::Garbage => call.text(version::GARBAGE).label(format!("{verb} with no JSON on stdin")),
            Asking::NoStdin => Call { stdin: Stdin::Closed, ..call }.label(format!("{verb} without stdin")),
            Asking::Elsewhere => {
                let directory = ELSEWHERE.into();
                Call { directory, ..call }.label(format!("{verb} in the folder {ELSEWHERE}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_documents_say_the_same() {
        for document in [json!({"a": ["b", 1, null, {"é\u{1F427}": true}]}), json!([]), json!("x/\"\n")] {
            let text = escaped(&document);
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document, "{text}");
            assert!(text.is_ascii() && !text.contains("\"a\""), "{text}");
        }
    }

    #[test]
    fn each_change_names_a_requirement() {
        for harmless in Harmless::ALL {
            assert!(cni_spec::catalogue::requirement(harmless.requirement()).is_some(), "{harmless:?}");
        }
        for asking in Asking::ALL {
            assert!(cni_spec::catalogue::requirement(asking.requirement()).is_some(), "{asking:?}");
        }
    }
}
