//! Puts faults into requests, and says what must come of them.

use cni_schemas::generate::Random;
use cni_schemas::mutate::text::{self, Meaning};
use cni_spec::{Version, catalogue, error};
use serde_json::Value;

use super::scenario::{Edit, Fault};
use crate::checks::{Call, Case};

/// What must come of a call with a fault.
pub(super) struct Demand {
    /// What says that it must be refused; none where it may be accepted.
    pub(super) requirement: Option<&'static str>,
    /// What says which codes the answer has.
    pub(super) code: Option<(&'static str, &'static [u32])>,
    /// What is wrong, for labels.
    pub(super) why: String,
    /// The variable that is wrong, which the message has to name.
    pub(super) variable: Option<String>,
}

/// Puts the fault into the call; none where the fault is not known to this release, or changes nothing here.
pub(super) fn wrong(case: &Case<'_>, call: Call, fault: &Fault) -> Option<(Call, Demand)> {
    let known = |id: &str| catalogue::requirement(id).map(|requirement| requirement.id);
    let codes = |code: Option<u32>| -> Option<(&'static str, &'static [u32])> {
        match code? {
            error::INVALID_ENVIRONMENT => Some(("error.code-4", &[error::INVALID_ENVIRONMENT])),
            error::DECODING_FAILURE => Some(("error.code-6", &[error::DECODING_FAILURE])),
            error::INVALID_CONFIGURATION => Some(("error.code-7", &[error::INVALID_CONFIGURATION])),
            _ => None,
        }
    };
    match fault {
        Fault::Document { edits, requirement, code } => {
            let whole = call.parsed()?;
            let mut document = whole.clone();
            edits.iter().for_each(|edit| edit.apply(&mut document));
            if document == whole {
                return None;
            }
            // Where no code is said, whoever reads the key decides; and null is nothing to many readers.
            let code = codes(*code).filter(|_| !sets_null(edits));
            let requirement = requirement.as_deref().and_then(known).filter(|_| code.is_some());
            let places: Vec<String> = edits.iter().map(describe).collect();
            let why = format!("with {}", places.join(", "));
            Some((call.document(&document), Demand { requirement, code, why, variable: None }))
        }
        Fault::Text { change, seed } => {
            let kind = text_change(change)?;
            let whole = call.parsed()?;
            let changed = kind.apply(&whole, &mut Random::new(*seed))?;
            let (requirement, code) = match kind {
                _ if kind.meaning() == Meaning::Unclear => (None, None),
                text::Kind::Empty => (Some("error.empty-stdin"), None),
                text::Kind::Truncated
                | text::Kind::SingleQuotes
                | text::Kind::NotANumber
                | text::Kind::LeadingZero
                | text::Kind::Utf16 => (Some("error.malformed-json"), codes(kind.code())),
                _ => (Some("config.strict-json"), None),
            };
            let code = code.filter(|_| case.version >= Version::V1_0_0);
            Some((
                call.text(changed),
                Demand { requirement, code, why: format!("with {change}"), variable: None },
            ))
        }
        Fault::Environment { variable, value, requirement, code } => {
            let why = match value {
                Some(value) => format!("with {variable}={value:?}"),
                None => format!("without {variable}"),
            };
            let call = match value {
                Some(value) => call.set(variable, value),
                None => call.unset(variable),
            };
            let (requirement, code) = (known(requirement), codes(*code));
            Some((call, Demand { requirement, code, why, variable: Some(variable.clone()) }))
        }
    }
}

/// The change of a text by its name.
fn text_change(name: &str) -> Option<text::Kind> {
    text::Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
}

fn sets_null(edits: &[Edit]) -> bool {
    edits.iter().any(|edit| edit.value == Some(Value::Null))
}

/// Whether a plugin that follows the specification refuses this fault, whatever else it does with its configuration.
pub(super) fn must_be_refused(fault: &Fault) -> bool {
    match fault {
        Fault::Document { edits, code, .. } => code.is_some() && !sets_null(edits),
        Fault::Text { change, .. } => {
            text_change(change).is_some_and(|kind| kind.meaning() != Meaning::Unclear)
        }
        Fault::Environment { .. } => true,
    }
}

fn describe(edit: &Edit) -> String {
    let place = if edit.at.is_empty() { "the document" } else { &edit.at };
    match &edit.value {
        None => format!("no {place}"),
        Some(value) => {
            let mut text = value.to_string();
            if text.len() > 60 {
                text.truncate(text.floor_char_boundary(57));
                text.push_str("...");
            }
            format!("{place} = {text}")
        }
    }
}
