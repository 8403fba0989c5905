//! Checks of VERSION.

use std::collections::BTreeSet;

use cni_schemas::{Kind, Profile};
use cni_spec::Version;
use serde_json::{Value, json};

use super::protocol::{expect_lives, version_call};
use super::reproducer::{Assertion, one_document};
use super::{Answer, Call, Case, Check, Concerns, Documents, Scope, Stop, pretty};
use crate::invoke::Stdin;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "version.answers",
        title: "VERSION exits with status 0 and prints one JSON document on stdout",
        requirements: &[
            "version.since-020",
            "version.output-on-stdout",
            "exec.exit-zero-on-success",
            "exec.result-on-stdout",
        ],
        concerns: Concerns::Every,
        scope: Scope::Versions,
        since: Version::V0_2_0,
        variants: &[],
        run: answers,
    },
    Check {
        id: "version.result",
        title: "The version result has the fields of its schema, and names versions",
        requirements: &[
            "version.has-supportedversions",
            "version.has-cniversion",
            "version.lists-nonempty",
            "version.cniversion-output-format",
        ],
        concerns: Concerns::Every,
        scope: Scope::Versions,
        since: Version::V0_2_0,
        variants: &[],
        run: result,
    },
    Check {
        id: "version.semver-entries",
        title: "Each entry of supportedVersions is a version number, once",
        requirements: &["version.has-supportedversions"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_2_0,
        variants: &[],
        run: semver_entries,
    },
    Check {
        id: "version.cniversion-echo",
        title: "The version result repeats the cniVersion that was given on stdin",
        requirements: &["version.cniversion-echo"],
        concerns: Concerns::Every,
        scope: Scope::Versions,
        since: Version::V1_0_0,
        variants: &[],
        run: cniversion_echo,
    },
    Check {
        id: "version.stable",
        title: "VERSION names the same versions each time, whatever cniVersion it is given",
        requirements: &["version.stable"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_2_0,
        variants: &[],
        run: stable,
    },
    Check {
        id: "version.needs-only-command",
        title: "VERSION needs no variable but CNI_COMMAND",
        requirements: &["param.version-needs-only-command", "param.containerid-plugin-validates"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_2_0,
        variants: &["nothing else", "the others empty", "the others unusable"],
        run: needs_only_command,
    },
    Check {
        id: "version.stdin-free",
        title: "VERSION answers whatever is on stdin",
        requirements: &["version.no-stdin", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_2_0,
        variants: &["empty", "garbage", "closed", "left open"],
        run: stdin_free,
    },
    Check {
        id: "version.no-side-effects",
        title: "VERSION changes nothing",
        requirements: &["version.no-side-effects"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_2_0,
        variants: &[],
        run: no_side_effects,
    },
];

fn answers(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = probe(case)?;
    judge_answer(case, &answer, "version.since-020");
    Ok(())
}

/// What the answer to VERSION must be like. `requirement` says that such a request is answered.
pub(crate) fn judge_answer(case: &mut Case<'_>, answer: &Answer, requirement: &'static str) {
    if answer.refused()
        && answer.document().is_some_and(|document| document.get("supportedVersions").is_some())
    {
        let expected = "VERSION that prints its result exits with status 0";
        let assertion = Assertion::Succeeds(answer.index);
        case.expect_as(false, "exec.exit-zero-on-success", expected, answer.summary(), assertion);
        return;
    }
    if !case.expect_success(answer, requirement) {
        return;
    }
    let expected = "VERSION prints one JSON document on stdout";
    match &answer.documents {
        Documents::One(_) => {}
        Documents::None => {
            let assertion = Assertion::StdoutHas(answer.index, "{".to_owned());
            let observed = "stdout is empty";
            case.expect_as(false, "exec.result-on-stdout", expected, observed, assertion.clone());
            case.expect_as(false, "version.output-on-stdout", expected, observed, assertion);
        }
        // What holds more than one document, or none, is no JSON text.
        Documents::Several(_) | Documents::Garbage(_) => {
            let assertion = one_document(answer.index);
            case.expect_as(false, "exec.result-on-stdout", expected, answer.summary(), assertion);
        }
    }
}

fn result(case: &mut Case<'_>) -> Result<(), Stop> {
    let document = document(case)?;
    judge_document(case, &document)
}

/// What the result of VERSION must be like.
///
/// # Errors
/// Skips the case when the version has no such document.
pub(crate) fn judge_document(case: &mut Case<'_>, document: &Value) -> Result<(), Stop> {
    let violations = cni_schemas::validate(Kind::ResultVersion, case.version, Profile::Compat, document)
        .map_err(|error| Stop::skip(error.to_string()))?;
    for violation in violations {
        let requirement = violation.requirement.unwrap_or("version.output-on-stdout");
        let place = if violation.instance_path.is_empty() { "the result" } else { &violation.instance_path };
        let observed = format!("{place}: {}", violation.message);
        case.expect(false, requirement, "a version result as the specification describes it", observed);
    }
    // From 1.0.0 on it is the version that was asked: version.cniversion-echo.
    if let Some(named) = document.get("cniVersion").and_then(Value::as_str) {
        let expected = "cniVersion is a version of the specification";
        let observed = format!("cniVersion is {named:?}");
        case.expect(is_version_number(named), "version.cniversion-output-format", expected, observed);
    }
    Ok(())
}

fn semver_entries(case: &mut Case<'_>) -> Result<(), Stop> {
    let document = document(case)?;
    judge_entries(case, &document)
}

/// What the list of supported versions must be like.
///
/// # Errors
/// When there is no list.
pub(crate) fn judge_entries(case: &mut Case<'_>, document: &Value) -> Result<(), Stop> {
    let entries = entries(document)?;
    let mut seen = BTreeSet::new();
    for entry in &entries {
        let expected = "each entry of supportedVersions is a version number such as 1.1.0";
        case.expect(
            is_version_number(entry),
            "version.has-supportedversions",
            expected,
            format!("{entry:?}"),
        );
        if !seen.insert(entry) {
            case.note(format!("supportedVersions names {entry:?} more than once"));
        }
    }
    Ok(())
}

fn cniversion_echo(case: &mut Case<'_>) -> Result<(), Stop> {
    let document = document(case)?;
    let given = case.version;
    judge_echo(case, 0, &document, given);
    Ok(())
}

/// What the result of VERSION, printed by the execution of that index, says of the version that was given.
pub(crate) fn judge_echo(case: &mut Case<'_>, index: usize, document: &Value, given: Version) {
    let given = given.as_str();
    let found = document.get("cniVersion").cloned().unwrap_or_default();
    let expected = format!("cniVersion is {given:?}, as on stdin");
    let assertion = Assertion::StdoutHas(index, format!("\"cniVersion\": {given:?}"));
    let observed = format!("cniVersion is {found}");
    case.expect_as(found == json!(given), "version.cniversion-echo", expected, observed, assertion);
}

fn stable(case: &mut Case<'_>) -> Result<(), Stop> {
    let first = sorted(&document(case)?)?;
    for version in [Version::V0_3_1, Version::V1_0_0, Version::LATEST] {
        let call = version_call(case).document(&json!({ "cniVersion": version.as_str() }));
        let answer = case.run(call)?;
        let expected = format!("VERSION names {} as it did before", first.join(", "));
        let observed = match answer.document().map(sorted) {
            Some(Ok(again)) if answer.succeeded() && again == first => continue,
            Some(Ok(again)) if answer.succeeded() => {
                format!("with cniVersion {version} on stdin it names {}", again.join(", "))
            }
            _ => format!("with cniVersion {version} on stdin: {}", answer.summary()),
        };
        case.expect(false, "version.stable", expected, observed);
    }
    Ok(())
}

fn needs_only_command(case: &mut Case<'_>) -> Result<(), Stop> {
    let plain = version_call(case);
    let (call, requirement) = match case.variant {
        "the others empty" => (with_others(plain, EMPTY), "param.version-needs-only-command"),
        "the others unusable" => (with_others(plain, UNUSABLE), "param.containerid-plugin-validates"),
        _ => (plain, "param.version-needs-only-command"),
    };
    let answer = case.run(call)?;
    if expect_lives(case, &answer) {
        case.expect_success(&answer, requirement);
    }
    Ok(())
}

fn stdin_free(case: &mut Case<'_>) -> Result<(), Stop> {
    let plain = version_call(case);
    let stdin = match case.variant {
        "empty" => Stdin::Empty,
        "garbage" => Stdin::Bytes(GARBAGE.to_vec()),
        "closed" => Stdin::Closed,
        _ => Stdin::OpenForever(Vec::new()),
    };
    let open = matches!(stdin, Stdin::OpenForever(_));
    let answer = case.run(Call { stdin, ..plain })?;
    // No runtime leaves stdin open, so that waiting for its end is no fault.
    if open || expect_lives(case, &answer) {
        case.expect_success(&answer, "version.no-stdin");
    }
    Ok(())
}

fn no_side_effects(case: &mut Case<'_>) -> Result<(), Stop> {
    let before = case.snapshot()?;
    let answer = probe(case)?;
    let after = case.snapshot()?;
    case.expect_unchanged(&before, &after, "version.no-side-effects", &answer.label, |_| false);
    Ok(())
}

// ---- helpers

fn probe(case: &mut Case<'_>) -> Result<Answer, Stop> {
    let call = version_call(case);
    case.run(call)
}

/// The version result.
fn document(case: &mut Case<'_>) -> Result<Value, Stop> {
    let answer = probe(case)?;
    match answer.document() {
        Some(document) if answer.succeeded() => Ok(document.clone()),
        _ => Err(Stop::unmet(format!("{}, and no version result", answer.summary()))),
    }
}

/// The entries of supportedVersions; what is no string is shown as JSON.
fn entries(document: &Value) -> Result<Vec<String>, Stop> {
    let Some(entries) = document.get("supportedVersions").and_then(Value::as_array) else {
        return Err(Stop::unmet("the version result has no list supportedVersions".to_owned()));
    };
    let text = |entry: &Value| entry.as_str().map_or_else(|| pretty(entry), str::to_owned);
    Ok(entries.iter().map(text).collect())
}

/// The entries of supportedVersions, sorted.
///
/// # Errors
/// When there is no list.
pub(crate) fn sorted(document: &Value) -> Result<Vec<String>, Stop> {
    let mut entries = entries(document)?;
    entries.sort();
    entries.dedup();
    Ok(entries)
}

/// Whether a text is a version number of Semantic Versioning: three numbers, then perhaps a pre-release or a build.
fn is_version_number(text: &str) -> bool {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = numbers.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    numbers.len() == 3 && numbers.iter().all(is_number)
}

/// Values for [`with_others`] that say nothing.
pub(crate) const EMPTY: [&str; 5] = [""; 5];

/// Values for [`with_others`] that nobody can use.
pub(crate) const UNUSABLE: [&str; 5] =
    ["-/-", "/nonexistent/netns", "no such name / at all", ";=;", "/nonexistent"];

/// No JSON.
pub(crate) const GARBAGE: &[u8] = b"{{{ \x00 no JSON";

/// Sets the variables that VERSION has no need of.
pub(crate) fn with_others(call: Call, values: [&str; 5]) -> Call {
    let names = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"];
    names.iter().zip(values).fold(call, |call, (name, value)| call.set(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_numbers_have_three_numbers() {
        for good in ["0.1.0", "1.1.0", "10.20.30", "1.2.0-rc1", "1.0.0+build"] {
            assert!(is_version_number(good), "{good}");
        }
        for bad in ["", "1", "1.1", "v1.1.0", "1.1.0.0", "1..0", "1.1.x", " 1.1.0", "1.1.0 "] {
            assert!(!is_version_number(bad), "{bad}");
        }
    }
}
