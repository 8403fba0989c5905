//! Checks of how a plugin ends: exit status, the error object, and what it leaves running.

use std::path::PathBuf;
use std::sync::Arc;

use cni_schemas::{Kind as Document, Profile};
use cni_spec::error::{
    DECODING_FAILURE, FIRST_PLUGIN_SPECIFIC, INCOMPATIBLE_VERSION, INVALID_CONFIGURATION,
    INVALID_ENVIRONMENT, INVALID_NETNS, is_defined,
};
use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::observation::observe_faulty;
use super::protocol::{NO_SUCH_VERSION, expect_refused, relabel, version_call};
use super::reproducer::Assertion;
use super::{Answer, Call, Case, Check, Concerns, Documents, Scope, Stop};
use crate::target::Kind;

/// The faults by which the checks provoke a failure of ADD.
const FAULTS: &[&str] = &[
    "CNI_IFNAME missing",
    "unknown CNI_COMMAND",
    "malformed JSON",
    "name missing",
    "cniVersion not supported",
];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "execution.exit-status",
        title: "A failing ADD exits with a non-zero status",
        requirements: &["exec.exit-nonzero-on-failure", "error.exit-status-one"],
        concerns: Concerns::Every,
        scope: Scope::Versions,
        since: Version::V0_1_0,
        variants: FAULTS,
        run: exit_status,
    },
    Check {
        id: "execution.error-object",
        title: "A failing ADD prints one error object with a number as code and a text as msg",
        requirements: &[
            "error.json-on-stdout-nonzero-exit",
            "error.code",
            "error.msg",
            "error.details-optional",
            "error.code-nonzero",
            "error.msg-short",
            "error.reserved-range",
            "ipam.errors-like-plugins",
        ],
        concerns: Concerns::Every,
        scope: Scope::Versions,
        since: Version::V0_1_0,
        variants: FAULTS,
        run: error_object,
    },
    Check {
        id: "execution.error-version",
        title: "An error object has the cniVersion of the request",
        requirements: &["error.cniversion", "error.cniversion-unreadable-input"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["name missing", "malformed JSON"],
        run: error_version,
    },
    Check {
        id: "execution.error-code",
        title: "A failing ADD uses reserved codes only as they are defined",
        requirements: &[
            "error.reserved-range",
            "error.reserved-no-reuse",
            "error.codes-4-7-legacy",
            "error.code-8",
        ],
        concerns: Concerns::Every,
        scope: Scope::Versions,
        since: Version::V0_1_0,
        variants: FAULTS,
        run: error_code,
    },
    Check {
        id: "execution.error-channel",
        title: "A failing ADD prints the error object on stdout, not on stderr",
        requirements: &["error.json-on-stdout-nonzero-exit", "error.not-on-stderr"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: FAULTS,
        run: error_channel,
    },
    Check {
        id: "execution.same-error-again",
        title: "The same faulty request fails each time, with the same code",
        requirements: &["exec.exit-nonzero-on-failure", "error.idempotent-report"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: FAULTS,
        run: same_error_again,
    },
    Check {
        id: "execution.surroundings",
        title: "VERSION answers the same in any working directory",
        requirements: &["version.stable"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_2_0,
        variants: &["/tmp", "/proc", "/sys"],
        run: surroundings,
    },
    Check {
        id: "execution.nothing-left-running",
        title: "No process outlives an execution and holds its stdout",
        requirements: &["exec.no-lingering-stdout"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["a refused ADD", "ADD and DEL"],
        run: nothing_left_running,
    },
];

/// The characters beyond which nobody would call a message short; the specification gives no number.
const MSG_MAX: usize = 1000;

fn exit_status(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = observe_faulty(case, provoke)?;
    if expect_refused(case, &answer, "exec.exit-nonzero-on-failure", "the request is faulty") {
        let status = answer.execution.outcome.to_string();
        case.expect(status == "exit status 1", "error.exit-status-one", "exit status 1", status);
    }
    Ok(())
}

fn error_object(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = refusal(case)?;
    let document = match &answer.documents {
        Documents::One(document) => document.clone(),
        _ => {
            let expected = "one error object on stdout";
            case.expect(false, "error.json-on-stdout-nonzero-exit", expected, answer.summary());
            if case.kind() == Kind::Ipam {
                let expected = "an IPAM plugin reports errors as every plugin does";
                case.expect(false, "ipam.errors-like-plugins", expected, answer.summary());
            }
            return Ok(());
        }
    };
    judge_error_object(case, &answer, &document)?;
    if let Some(error) = answer.error() {
        let length = error.msg.chars().count();
        let expected =
            format!("msg is short, at most {MSG_MAX} characters; the long text belongs into details");
        case.expect(length <= MSG_MAX, "error.msg-short", expected, format!("msg has {length} characters"));
    }
    Ok(())
}

/// What an error object must be like.
///
/// # Errors
/// Skips the case when the version has no such document.
pub(crate) fn judge_error_object(case: &mut Case<'_>, answer: &Answer, document: &Value) -> Result<(), Stop> {
    let violations = cni_schemas::validate(Document::Error, case.version, Profile::Compat, document)
        .map_err(|error| Stop::skip(error.to_string()))?;
    for violation in violations {
        let requirement = violation.requirement.unwrap_or("error.json-on-stdout-nonzero-exit");
        // Its own check judges which versions may stand there.
        if requirement != "error.cniversion" {
            let place =
                if violation.instance_path.is_empty() { "the object" } else { &violation.instance_path };
            let observed = format!("{place}: {}", violation.message);
            case.expect(false, requirement, "an error object as the specification describes it", observed);
        }
    }
    if let Some(error) = answer.error() {
        let observed = "code is 0";
        case.expect(error.code != 0, "error.code-nonzero", "a code greater than 0", observed);
        let expected = "msg says what is wrong";
        case.expect(!error.msg.trim().is_empty(), "error.msg", expected, format!("msg is {:?}", error.msg));
    }
    Ok(())
}

fn error_version(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = refusal(case)?;
    let error = answer.error().ok_or_else(|| no_error_object(&answer))?;
    if case.variant == "malformed JSON" {
        // Which version to name is open; a text that is no version is of no use to anybody.
        let known = error.cni_version.as_ref().is_none_or(|named| named.parse::<Version>().is_ok());
        let expected = "cniVersion is absent, or a version that the plugin supports";
        let observed = format!("cniVersion is {:?}", error.cni_version.unwrap_or_default());
        case.expect(known, "error.cniversion-unreadable-input", expected, observed);
        return Ok(());
    }
    let expected = format!("cniVersion is {:?}, as in the request", case.version.as_str());
    let (holds, observed) = match &error.cni_version {
        None => (false, "the error object has no cniVersion".to_owned()),
        // Up to 0.4.0 it is the version that the plugin uses.
        Some(named) if case.version < Version::V1_0_0 => {
            (case.subject.advertised.contains(named), format!("cniVersion is {named:?}"))
        }
        Some(named) => (named == case.version.as_str(), format!("cniVersion is {named:?}")),
    };
    let assertion =
        Assertion::StdoutHas(answer.index, format!("\"cniVersion\": {:?}", case.version.as_str()));
    case.expect_as(holds, "error.cniversion", expected, observed, assertion);
    Ok(())
}

fn error_code(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = refusal(case)?;
    let code = answer.code().ok_or_else(|| no_error_object(&answer))?;
    if (4..=7).contains(&code) && case.version < Version::V1_0_0 {
        let meant = match case.variant {
            "CNI_IFNAME missing" | "unknown CNI_COMMAND" => INVALID_ENVIRONMENT,
            "malformed JSON" => DECODING_FAILURE,
            "name missing" => INVALID_CONFIGURATION,
            _ => INCOMPATIBLE_VERSION,
        };
        let expected = format!("code {code} only for what it means from CNI {} on", Version::V1_0_0);
        case.expect(code == meant, "error.codes-4-7-legacy", expected, answer.summary());
        return Ok(());
    }
    let requirement = match code {
        INVALID_NETNS => "error.code-8",
        _ if case.version == Version::V0_4_0 => "error.reserved-no-reuse",
        _ => "error.reserved-range",
    };
    let expected = format!(
        "a code that CNI {} defines, or one of the plugin's own from {FIRST_PLUGIN_SPECIFIC} up",
        case.version
    );
    // Code 0 is judged as such elsewhere.
    let holds = code == 0 || is_defined(code, case.version);
    case.expect(holds, requirement, expected, answer.summary());
    Ok(())
}

fn error_channel(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = refusal(case)?;
    let stderr = Documents::parse(&answer.execution.stderr);
    let on_stderr = matches!(&stderr, Documents::One(Value::Object(object)) if object.contains_key("code"));
    if answer.documents == Documents::None {
        let requirement = match on_stderr {
            true => "error.not-on-stderr",
            false => "error.json-on-stdout-nonzero-exit",
        };
        let observed = match on_stderr {
            true => "stdout is empty, and the error object is on stderr",
            false => "stdout is empty, and there is no error object on stderr either",
        };
        case.expect(false, requirement, "the error object on stdout", observed);
    } else {
        case.expect(
            answer.error().is_some(),
            "error.json-on-stdout-nonzero-exit",
            "one error object on stdout",
            answer.summary(),
        );
    }
    Ok(())
}

fn same_error_again(case: &mut Case<'_>) -> Result<(), Stop> {
    let first = provoke(case)?;
    if !first.refused() {
        return Err(Stop::unmet(first.summary()));
    }
    for _ in 0..2 {
        let again = provoke(case)?;
        let expected = format!("it fails as before: {}", first.summary());
        if case.expect(again.refused(), "exec.exit-nonzero-on-failure", expected.clone(), again.summary()) {
            case.expect(again.code() == first.code(), "error.idempotent-report", expected, again.summary());
        }
    }
    Ok(())
}

fn surroundings(case: &mut Case<'_>) -> Result<(), Stop> {
    let plain = version_call(case);
    let first = case.run(plain.clone())?;
    if !first.succeeded() {
        return Err(Stop::unmet(first.summary()));
    }
    let call = Call { directory: PathBuf::from(case.variant), ..plain.clone() };
    let elsewhere = case.run(call.label(format!("VERSION in {}", case.variant)))?;
    let same = elsewhere.succeeded() && elsewhere.document() == first.document();
    case.expect(same, "version.stable", "the same version result as in /", elsewhere.summary());
    let call = Call { arguments: vec!["unexpected".to_owned()], ..plain };
    let with_argument = case.run(call.label("VERSION with an argument"))?;
    if with_argument.document() != first.document() {
        case.note(format!("runtimes give no arguments; with one, {}", with_argument.summary()));
    }
    Ok(())
}

fn nothing_left_running(case: &mut Case<'_>) -> Result<(), Stop> {
    if case.variant == "a refused ADD" {
        let attachment = case.attachment()?;
        let call = case.call(Operation::Add, &attachment).unset("CNI_IFNAME").label("a refused ADD");
        let answer = case.run(call)?;
        expect_alone(case, &answer);
        return Ok(());
    }
    if case.target.is_none_or(|target| target.no_attachments.is_some()) {
        return Err(Stop::skip("it is not known how to attach containers with this plugin".to_owned()));
    }
    let mut attachment = case.attachment()?;
    let answer = case.add(&mut attachment)?;
    expect_alone(case, &answer);
    let answer = case.operate(Operation::Del, &attachment)?;
    expect_alone(case, &answer);
    Ok(())
}

// ---- helpers

/// ADD with the fault that the variant names.
fn provoke(case: &mut Case<'_>) -> Result<Answer, Stop> {
    let attachment = case.attachment()?;
    let call = case.call(Operation::Add, &attachment);
    let call = match case.variant {
        "CNI_IFNAME missing" => call.unset("CNI_IFNAME"),
        "unknown CNI_COMMAND" => call.set("CNI_COMMAND", "CNITEST"),
        "malformed JSON" => call.text("{ \"cniVersion\": "),
        "name missing" => call.edit(|request| drop(request.shift_remove("name"))),
        _ => call.edit(|request| relabel(request, json!(NO_SUCH_VERSION))),
    };
    case.run(call.label(format!("ADD with a fault ({})", case.variant)))
}

/// As [`provoke`], for checks that do nothing but look at the refusal.
fn refusal(case: &mut Case<'_>) -> Result<Arc<Answer>, Stop> {
    let answer = observe_faulty(case, provoke)?;
    match answer.refused() {
        true => Ok(answer),
        false => Err(Stop::unmet(answer.summary())),
    }
}

fn no_error_object(answer: &Answer) -> Stop {
    Stop::unmet(answer.summary())
}

/// Expects that no process outlived the execution.
fn expect_alone(case: &mut Case<'_>, answer: &Answer) {
    let left = answer.execution.left_behind.join(", ");
    let expected = format!("stdout of {} closes when the plugin exits", answer.label);
    let observed = format!("{left} still run and hold it");
    case.expect(!answer.execution.holds_output, "exec.no-lingering-stdout", expected, observed);
    if !answer.execution.holds_output && !left.is_empty() {
        case.note(format!("{} leaves processes behind: {left}", answer.label));
    }
}
