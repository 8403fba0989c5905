//! What every plugin has in common: reading the execution, choosing the operation, printing the answer.

mod request;
mod stdin;

use std::ffi::OsString;
use std::io::{Read, Write};

use cni_spec::error::{
    DECODING_FAILURE, INCOMPATIBLE_VERSION, INVALID_CONFIGURATION, INVALID_ENVIRONMENT, IO_FAILURE,
};
use cni_spec::parameters::{self, Need, Parameters, Variable};
use cni_spec::result::{AddResult, VersionResult};
use cni_spec::{Operation, Version, keys, version};
use serde_json::{Map, Value};

use crate::refusal::Refusal;

pub(crate) use self::request::Request;

/// The longest `msg` in bytes; what is longer goes to `details`.
const MSG_MAX: usize = 180;

/// The environment of an execution.
pub type Environment = Vec<(OsString, OsString)>;

/// What a plugin prints after a success.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing.
    Silence,
    /// A result, in the version of the configuration.
    Result(Box<AddResult>),
    /// This text and exit status, whatever they mean.
    Verbatim(String, u8),
}

/// What an operation ends in.
pub(crate) type Outcome = Result<Answer, Refusal>;

/// A reference plugin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plugin {
    /// The name that it is installed by.
    pub(crate) name: &'static str,
    /// What it does, in a few lines.
    pub(crate) about: &'static str,
    pub(crate) add: fn(&Request) -> Outcome,
    pub(crate) del: fn(&Request) -> Outcome,
    pub(crate) check: fn(&Request) -> Outcome,
    pub(crate) gc: fn(&Request) -> Outcome,
    pub(crate) status: fn(&Request) -> Outcome,
    /// Reads all of its configuration that its operations read, and does nothing.
    #[cfg(feature = "fuzzing")]
    pub(crate) understand: fn(&Request) -> Result<(), Refusal>,
}

/// An error with what the configuration, as far as it could be read, says of the version.
struct Failure {
    error: Refusal,
    version: Option<String>,
}

/// Executes a plugin; answers the exit status.
pub(crate) fn execute(
    plugin: &Plugin,
    environment: Environment,
    stdin: Box<dyn Read + Send>,
    stdout: &mut dyn Write,
) -> u8 {
    let (text, status) = match answer(plugin, environment, stdin) {
        Ok((Answer::Silence, _)) => return 0,
        Ok((Answer::Verbatim(text, status), _)) => (text, status),
        Ok((Answer::Result(result), version)) => (result.to_version(version).0.to_string(), 0),
        Err(failure) => (describe(failure).to_string(), 1),
    };
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        return 1;
    }
    status
}

/// The error object, labelled with the version of the configuration where there is one.
fn describe(failure: Failure) -> Value {
    let mut error = *failure.error.0;
    if error.msg.len() > MSG_MAX {
        let end = error.msg.floor_char_boundary(MSG_MAX);
        error.details = Some(match error.details {
            None => error.msg.clone(),
            Some(details) => format!("{}; {details}", error.msg),
        });
        error.msg.truncate(end);
        error.msg.push_str("...");
    }
    error.with_version(failure.version.unwrap_or_else(|| Version::LATEST.to_string())).to_value()
}

fn answer(
    plugin: &Plugin,
    environment: Environment,
    stdin: Box<dyn Read + Send>,
) -> Result<(Answer, Version), Failure> {
    let (operation, parameters) = match read_environment(&environment) {
        Ok((Operation::Version, _)) => {
            return Ok((version_answer(&stdin::patiently(stdin)), Version::LATEST));
        }
        Ok(read) => read,
        Err(error) => {
            if !environment.iter().any(|(key, _)| key == Variable::Command.as_str()) {
                // Whether anybody reads this does not matter.
                let _ = writeln!(std::io::stderr(), "CNI plugin {}: {}", plugin.name, plugin.about);
            }
            let input = serde_json::from_slice(&stdin::patiently(stdin)).unwrap_or_default();
            return Err(Failure { error, version: label(&input) });
        }
    };
    let unlabelled = |error| Failure { error, version: None };
    let raw = stdin::wholly(stdin).map_err(unlabelled)?;
    let (mut request, requested) = read_request(operation, &parameters, raw, environment)?;
    let labelled = |error| Failure { error, version: Some(requested.clone()) };
    request.open_netns().map_err(labelled)?;
    let version = request.version;
    let function = match operation {
        Operation::Add => plugin.add,
        Operation::Del => plugin.del,
        Operation::Check => plugin.check,
        Operation::Gc => plugin.gc,
        Operation::Status | Operation::Version => plugin.status,
    };
    function(&request).map(|answer| (answer, version)).map_err(labelled)
}

/// The request, whose namespace has not been looked at, and the version as the configuration names it.
fn read_request(
    operation: Operation,
    parameters: &Parameters,
    raw: Vec<u8>,
    environment: Environment,
) -> Result<(Request, String), Failure> {
    let (config, requested) = read_config(&raw).map_err(|error| Failure { error, version: None })?;
    let labelled = |error| Failure { error, version: Some(requested.clone()) };
    let version = supported(&requested, operation).map_err(labelled)?;
    let request = Request::new(operation, version, config, raw, parameters, environment).map_err(labelled)?;
    Ok((request, requested))
}

/// Reads an execution and what the plugin understands of its configuration, without the kernel; the error object if it
/// is refused.
#[cfg(feature = "fuzzing")]
pub(crate) fn understand(
    plugin: &Plugin,
    environment: Environment,
    raw: Vec<u8>,
) -> Result<(Operation, Version), Value> {
    let read = || {
        let (operation, parameters) =
            read_environment(&environment).map_err(|error| Failure { error, version: None })?;
        if operation == Operation::Version {
            return Ok((operation, Version::LATEST));
        }
        let (request, requested) = read_request(operation, &parameters, raw, environment.clone())?;
        (plugin.understand)(&request).map_err(|error| Failure { error, version: Some(requested) })?;
        Ok((operation, request.version))
    };
    read().map_err(describe)
}

/// Checks the variables that the operation uses, and reports all that are missing or wrong at once.
fn read_environment(environment: &Environment) -> Result<(Operation, Parameters), Refusal> {
    let mut pairs = Vec::new();
    let mut problems = Vec::new();
    for (key, value) in environment {
        let Some(variable) = key.to_str().and_then(|key| key.parse::<Variable>().ok()) else { continue };
        match value.to_str() {
            Some(value) => pairs.push((variable.as_str(), value)),
            None => problems.push(format!("{variable} is not UTF-8")),
        }
    }
    let parameters = Parameters::from_pairs(pairs);
    let operation = parameters.operation().map_err(|error| Refusal::from(error.to_cni_error()))?;
    // A container without an ID could not be told from others, so one is required whatever the version.
    let need = |variable: Variable| variable.need(operation, Version::LATEST);
    let absent =
        |variable: &Variable| need(*variable) == Need::Required && parameters.get(*variable).is_none();
    let missing: Vec<&str> = Variable::ALL.iter().filter(|v| absent(v)).map(|v| v.as_str()).collect();
    if !missing.is_empty() {
        problems
            .push(format!("required environment variables are missing or empty: set {}", missing.join(", ")));
    }
    if operation.is_attachment() {
        let mut note = |variable: Variable, check: &dyn Fn(&str) -> Option<String>| {
            if let Some(problem) = parameters.get(variable).and_then(check) {
                problems.push(format!("{variable}: {problem}"));
            }
        };
        note(Variable::ContainerId, &|text| {
            parameters::container_id(text, Version::LATEST).err().map(|error| error.to_string())
        });
        note(Variable::Ifname, &|text| match parameters::interface_name(text) {
            Err(error) => Some(error.to_string()),
            // DEL goes on, as there may have been such an ADD.
            Ok(()) if text.contains('%') && operation != Operation::Del => {
                Some(format!("interface name {text:?} holds '%', which the kernel replaces"))
            }
            Ok(()) => None,
        });
    }
    match problems.is_empty() {
        true => Ok((operation, parameters)),
        false => Err(Refusal::new(INVALID_ENVIRONMENT, problems.join("; "))),
    }
}

/// The version that a document names; `None` where it is no text.
fn label(document: &Value) -> Option<String> {
    document.get(keys::CNI_VERSION)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// VERSION works with any input and repeats the version in it (`version.cniversion-echo`).
fn version_answer(input: &[u8]) -> Answer {
    let document = serde_json::from_slice(input).unwrap_or_default();
    let version = label(&document).unwrap_or_else(|| Version::LATEST.to_string());
    Answer::Verbatim(VersionResult::new(version, &Version::ALL).to_value().to_string(), 0)
}

fn read_config(raw: &[u8]) -> Result<(Map<String, Value>, String), Refusal> {
    let decoding = |problem: String| Refusal::new(DECODING_FAILURE, problem);
    let config = match serde_json::from_slice(raw) {
        Ok(Value::Object(config)) => config,
        Ok(_) => return Err(decoding("the network configuration is no JSON object".to_owned())),
        Err(error) => return Err(decoding(format!("the network configuration is no JSON: {error}"))),
    };
    let requested = match config.get(keys::CNI_VERSION) {
        None => version::requested(None).to_owned(),
        Some(Value::String(text)) => version::requested(Some(text)).to_owned(),
        Some(other) => {
            return Err(decoding(format!("cniVersion: found {other}, use a string like \"1.1.0\"")));
        }
    };
    Ok((config, requested))
}

fn supported(requested: &str, operation: Operation) -> Result<Version, Refusal> {
    let incompatible = |problem: String| Refusal::new(INCOMPATIBLE_VERSION, problem);
    let version: Version = requested.parse().map_err(|_| {
        let known = Version::ALL.map(Version::as_str).join(", ");
        incompatible(format!("cniVersion {requested:?} is not supported: use one of {known}"))
    })?;
    if version < operation.since() {
        let since = operation.since();
        return Err(incompatible(format!("cniVersion {version} has no {operation}: use {since} or newer")));
    }
    Ok(version)
}

/// The error that reading or writing failed.
pub(crate) fn io_failure(what: impl std::fmt::Display, error: &std::io::Error) -> Refusal {
    Refusal::new(IO_FAILURE, format!("{what}: {error}"))
}

/// Whether an error says that there is no such file: its path may be none that a file can have.
pub(crate) fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}

/// The error that a key of the configuration has the wrong form.
pub(crate) fn invalid_document(key: &str, error: &impl std::fmt::Display) -> Refusal {
    Refusal::new(INVALID_CONFIGURATION, format!("{key}: {error}"))
}
