//! Puts faults into requests, and says what must come of them.

use cni_schemas::generate::Random;
use cni_schemas::mutate::text::{self, Meaning};
use cni_spec::parameters::Variable;
use cni_spec::{Operation, Version, catalogue, error};
use serde_json::{Value, json};

use super::scenario::{Edit, Fault};
use crate::checks::protocol::{NO_SUCH_VERSION, older_version, relabel};
use crate::checks::{Call, Case, negotiation, parameters};
use crate::target::{Kind, Target};

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
    /// What is wrong shows at work, after the request was read: the refusal is that of a failed ADD.
    pub(super) late: bool,
}

impl Demand {
    fn new(
        requirement: Option<&'static str>,
        code: Option<(&'static str, &'static [u32])>,
        why: String,
    ) -> Demand {
        Demand { requirement, code, why, variable: None, late: false }
    }
}

/// What is broken by requests that look right until they are followed.
const LATE: [&str; 2] = [OWN_NETNS, NO_NETNS];
const OWN_NETNS: &str = "exec.netns-not-own";
const NO_NETNS: &str = "param.netns-invalid-add";

/// Puts the request into the call, and the fault into either; none where the fault is not known to this release, or changes
/// nothing here.
pub(super) fn wrong(case: &Case<'_>, call: Call, request: Value, fault: &Fault) -> Option<(Call, Demand)> {
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
            let mut document = request.clone();
            edits.iter().for_each(|edit| edit.apply(&mut document));
            if document == request {
                return None;
            }
            // Where no code is said, whoever reads the key decides; and null is nothing to many readers.
            let code = codes(*code).filter(|_| !sets_null(edits));
            let requirement = requirement.as_deref().and_then(known).filter(|_| code.is_some());
            let places: Vec<String> = edits.iter().map(describe).collect();
            let why = format!("with {}", places.join(", "));
            Some((call.document(&document), Demand::new(requirement, code, why)))
        }
        Fault::Version { value, requirement, code } => {
            let requirement = known(requirement);
            let code = requirement.zip(code.filter(|code| *code == error::INCOMPATIBLE_VERSION));
            let code = code.map(|(requirement, _)| (requirement, &[error::INCOMPATIBLE_VERSION][..]));
            let why = format!("in CNI {value:?}");
            Some((call.document(&relabelled(request, value)), Demand::new(requirement, code, why)))
        }
        Fault::Text { change, seed } => {
            let kind = text_change(change)?;
            let changed = kind.apply(&request, &mut Random::new(*seed))?;
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
            Some((call.text(changed), Demand::new(requirement, code, format!("with {change}"))))
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
            let call = call.document(&request);
            let late = LATE.contains(&requirement.as_str());
            let (requirement, code) = (known(requirement), codes(*code));
            Some((call, Demand { requirement, code, why, variable: Some(variable.clone()), late }))
        }
    }
}

fn relabelled(mut request: Value, version: &str) -> Value {
    if let Some(request) = request.as_object_mut() {
        relabel(request, json!(version));
    }
    request
}

/// The change of a text by its name.
fn text_change(name: &str) -> Option<text::Kind> {
    text::Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
}

fn sets_null(edits: &[Edit]) -> bool {
    edits.iter().any(|edit| edit.value == Some(Value::Null))
}

/// Whether a plugin that follows the specification refuses this fault while it reads the request, whatever else it does with
/// its configuration.
pub(super) fn must_be_refused(fault: &Fault) -> bool {
    match fault {
        Fault::Document { edits, code, .. } => code.is_some() && !sets_null(edits),
        Fault::Text { change, .. } => {
            text_change(change).is_some_and(|kind| kind.meaning() != Meaning::Unclear)
        }
        Fault::Environment { requirement, .. } => !LATE.contains(&requirement.as_str()),
        Fault::Version { .. } => true,
    }
}

/// Requests of an operation in versions that a plugin must refuse. `advertised` is what it says that it supports, `supported`
/// the versions of those that are known here, `version` the one that is asked for otherwise.
pub(super) fn versions(
    advertised: &[String],
    supported: &[Version],
    operation: Operation,
    version: Version,
) -> Vec<Fault> {
    let fault = |value: &str, requirement: &str, code: Option<u32>| Fault::Version {
        value: value.to_owned(),
        requirement: requirement.to_owned(),
        code,
    };
    let mut all = Vec::new();
    let unsupported = Some(error::INCOMPATIBLE_VERSION);
    for value in [NO_SUCH_VERSION].into_iter().chain(negotiation::numbers()) {
        if !advertised.is_empty() && !advertised.iter().any(|named| named == value) {
            all.push(fault(value, "version.plugin-rejects-unsupported", unsupported));
        }
    }
    for nearly in negotiation::INEXACT {
        let value = negotiation::inexact(version, nearly);
        all.push(fault(&value, "version.plugin-exact-match", unsupported));
    }
    if operation.since() > Version::V0_1_0 {
        let older = older_version(supported, operation.since());
        all.push(fault(older.as_str(), negotiation::since(operation), None));
    }
    all
}

/// Parameters of ADD that a plugin must refuse, and that follow from what it does. `args` is what CNI_ARGS holds otherwise.
pub(super) fn parameters(target: &Target, args: Option<&str>) -> Vec<Fault> {
    let fault = |variable: Variable, value: String, requirement: &str| Fault::Environment {
        variable: variable.as_str().to_owned(),
        value: Some(value),
        requirement: requirement.to_owned(),
        code: None,
    };
    let mut all = Vec::new();
    match target.kind {
        // What others make in the arena's own namespace, a DEL of the container does not remove.
        Kind::Ipam => all.push(fault(Variable::Netns, parameters::OWN_NETNS.to_owned(), OWN_NETNS)),
        Kind::Interface => {
            for path in parameters::NO_NETNS {
                all.push(fault(Variable::Netns, path.to_owned(), NO_NETNS));
            }
        }
        _ => {}
    }
    let named = args.is_some_and(|args| args.contains("${"));
    if parameters::reads_args(Some(target)) && !named {
        for malformed in parameters::MALFORMED_ARGS {
            let value = parameters::with_malformed(args, malformed);
            all.push(fault(Variable::Args, value, "param.args-parse-rules"));
        }
    }
    all
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
