//! What the checks of the protocol share: asking for an operation, and judging how a faulty request ends.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cni_spec::error::FIRST_PLUGIN_SPECIFIC;
use cni_spec::{Operation, Version};
use serde_json::{Map, Value, json};

use super::case::crash_summary;
use super::cycle;
use super::reproducer::Assertion;
use super::{Answer, Attachment, Call, Case, Stop, pretty};
use crate::arena::snapshot::Snapshot;
use crate::invoke::{Outcome, Stdin};

/// A spec version that does not exist.
pub(crate) const NO_SUCH_VERSION: &str = "99.0.0";

/// The operation of that name.
///
/// # Errors
/// Skips the case when the operation is newer than the case's version.
pub(super) fn operation(case: &Case<'_>, name: &str) -> Result<Operation, Stop> {
    let operation: Operation =
        name.parse().map_err(|_| Stop::Undecided(format!("the check names the operation {name}")))?;
    if operation.since() > case.version {
        return Err(Stop::skip(format!(
            "{name} exists from CNI {}; the newest version tested is {}",
            operation.since(),
            case.version
        )));
    }
    Ok(operation)
}

/// Skips the case when a requirement says nothing in the case's version.
pub(super) fn must_hold(case: &Case<'_>, requirement: &'static str) -> Result<(), Stop> {
    match case.level(requirement) {
        Some(_) => Ok(()),
        None => Err(Stop::skip(format!("CNI {} does not say it; see {requirement}", case.version))),
    }
}

/// VERSION with nothing but CNI_COMMAND, and the case's version on stdin.
pub(crate) fn version_call(case: &Case<'_>) -> Call {
    let variables = [("CNI_COMMAND".to_owned(), Operation::Version.as_str().to_owned())];
    let request = json!({ "cniVersion": case.version.as_str() });
    Call {
        label: Operation::Version.as_str().to_owned(),
        environment: BTreeMap::from(variables),
        stdin: Stdin::Bytes(pretty(&request).into_bytes()),
        arguments: Vec::new(),
        directory: PathBuf::from("/"),
        program: None,
        shell: None,
        killed_after: None,
    }
}

/// Labels a request with another version, its prevResult too, as a runtime of that version would.
pub(crate) fn relabel(request: &mut Map<String, Value>, version: Value) {
    if let Some(Value::Object(previous)) = request.get_mut("prevResult") {
        previous.insert("cniVersion".to_owned(), version.clone());
    }
    request.insert("cniVersion".to_owned(), version);
}

/// Executes a faulty request that the plugin must refuse while it reads its input: cleanly, and before it changes
/// anything. Returns the answer when it was refused.
pub(super) fn refused(
    case: &mut Case<'_>,
    call: Call,
    requirement: &'static str,
    why: &str,
) -> Result<Option<Answer>, Stop> {
    let before = case.snapshot()?;
    let answer = case.run(call)?;
    if !expect_refused(case, &answer, requirement, why) {
        return Ok(None);
    }
    let after = case.snapshot()?;
    expect_unchanged(case, &before, &after, &answer);
    Ok(Some(answer))
}

/// As [`Case::expect_refusal`]; a plugin that a signal killed has no exit status, which is a deviation of its own.
pub(super) fn expect_refused(
    case: &mut Case<'_>,
    answer: &Answer,
    requirement: &'static str,
    why: &str,
) -> bool {
    let refused = case.expect_refusal(answer, requirement, why);
    expect_exit(case, answer);
    refused
}

/// Expects of a request that may be refused or not that the plugin lives through it: it exits in time, and with an
/// error object if it fails. True when it does.
pub(crate) fn expect_lives(case: &mut Case<'_>, answer: &Answer) -> bool {
    if answer.succeeded() {
        return true;
    }
    if !expect_exit(case, answer) {
        return false;
    }
    let observed = if answer.crashed() { crash_summary(answer) } else { answer.summary() };
    let expected = format!("{} succeeds, or fails with one error object on stdout", answer.label);
    let holds = answer.error().is_some();
    let assertion = Assertion::Lives(answer.index);
    case.expect_as(holds, "error.json-on-stdout-nonzero-exit", expected, observed, assertion)
}

/// Expects an exit status: neither a signal nor the deadline ended the plugin.
fn expect_exit(case: &mut Case<'_>, answer: &Answer) -> bool {
    let ended = matches!(answer.execution.outcome, Outcome::Exited(_));
    let expected = format!("{} ends by itself with an exit status", answer.label);
    case.expect(ended, "exec.exit-nonzero-on-failure", expected, answer.summary())
}

/// Expects a refusal to have changed nothing.
pub(super) fn expect_unchanged(
    case: &mut Case<'_>,
    before: &Snapshot,
    after: &Snapshot,
    answer: &Answer,
) -> bool {
    let what = format!("a refused {}", answer.label);
    case.expect_unchanged(before, after, "error.no-partial-side-effects-on-input-error", &what, |_| false)
}

/// Expects the code of a refusal to be one of these or the plugin's own, not one that is reserved for another fault.
pub(super) fn expect_fitting_code(case: &mut Case<'_>, answer: &Answer, codes: &[u32]) {
    let Some(code) = answer.code() else { return };
    let mut allowed = codes.to_vec();
    if code >= FIRST_PLUGIN_SPECIFIC {
        allowed.push(code);
    }
    case.expect_code(answer, "error.reserved-range", &allowed);
}

/// Expects the message of a code-4 error to name a variable.
pub(crate) fn expect_named(case: &mut Case<'_>, answer: &Answer, requirement: &'static str, variable: &str) {
    let Some(error) = answer.error() else { return };
    let text = format!("{} {}", error.msg, error.details.unwrap_or_default());
    let expected = format!("the error message names {variable}");
    let assertion = Assertion::StdoutHas(answer.index, variable.to_owned());
    case.expect_as(text.contains(variable), requirement, expected, answer.summary(), assertion);
}

/// The requirement by which the code of a fault is judged: without a target the plugin may lack other things that its
/// configuration needs, and no order of checking is prescribed.
pub(crate) fn code_requirement(case: &Case<'_>, requirement: &'static str) -> &'static str {
    if case.target.is_some() { requirement } else { "param.validation-order" }
}

/// ADD of a fresh attachment, changed by `change`, after one without the change has worked.
///
/// # Errors
/// Skips the case when ADD fails without the change.
pub(super) fn changed_add(
    case: &mut Case<'_>,
    change: impl FnOnce(Call) -> Call,
) -> Result<(Answer, Attachment), Stop> {
    cycle::settle(case)?;
    let attachment = case.attachment()?;
    let call = change(case.call(Operation::Add, &attachment));
    Ok((case.run(call)?, attachment))
}

/// The newest of `versions` that is older than `since`, or the one just before it among all known.
pub(crate) fn older_version(versions: &[Version], since: Version) -> Version {
    let older = |candidates: &[Version]| candidates.iter().copied().filter(|version| *version < since).max();
    older(versions).or_else(|| older(&Version::ALL)).unwrap_or(Version::V0_1_0)
}
