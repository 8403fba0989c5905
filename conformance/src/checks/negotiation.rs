//! Checks of the version that a request names, and of how a plugin answers one that it does not support.

use cni_spec::error::{DECODING_FAILURE, INCOMPATIBLE_VERSION, INVALID_CONFIGURATION, INVALID_ENVIRONMENT};
use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::protocol::{
    NO_SUCH_VERSION, expect_fitting_code, expect_lives, older_version, operation, refused, relabel,
};
use super::reproducer::Assertion;
use super::{Case, Check, Concerns, Scope, Stop};
use crate::target::Kind;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "negotiation.operations-known",
        title: "A plugin knows every operation of a version that it supports",
        requirements: &[
            "plugin.supports-operations-040",
            "plugin.supports-operations-010",
            "plugin.supports-operations-110",
            "error.code-1",
        ],
        concerns: Concerns::Every,
        scope: Scope::Versions,
        since: Version::V0_1_0,
        variants: &[],
        run: operations_known,
    },
    Check {
        id: "negotiation.unsupported-version",
        title: "A request in a version that does not exist is refused with code 1, and changes nothing",
        requirements: &[
            "version.plugin-rejects-unsupported",
            "ipam.unsupported-version-code1",
            "exec.exit-nonzero-on-failure",
            "error.json-on-stdout-nonzero-exit",
            "error.no-partial-side-effects-on-input-error",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["ADD", "DEL", "CHECK", "GC", "STATUS"],
        run: unsupported_version,
    },
    Check {
        id: "negotiation.unadvertised-version",
        title: "ADD in a version that VERSION does not name is refused with code 1",
        requirements: &["version.plugin-lists-consistent", "version.plugin-rejects-unsupported"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_2_0,
        variants: &[],
        run: unadvertised_version,
    },
    Check {
        id: "negotiation.advertised-version",
        title: "ADD and DEL in a version that VERSION names are not refused for their version",
        requirements: &["version.plugin-lists-consistent"],
        concerns: Concerns::Every,
        scope: Scope::Versions,
        since: Version::V0_2_0,
        variants: &[],
        run: advertised_version,
    },
    Check {
        id: "negotiation.inexact-version",
        title: "A cniVersion that is only nearly a supported one is refused with code 1",
        requirements: &["version.plugin-exact-match", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_2_0,
        variants: INEXACT,
        run: inexact_version,
    },
    Check {
        id: "negotiation.version-type",
        title: "A cniVersion that is no string is refused, and nothing changes",
        requirements: &[
            "error.wrong-types",
            "config.cniversion-absent-default",
            "error.reserved-range",
            "error.no-partial-side-effects-on-input-error",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["number", "boolean", "array", "object", "null"],
        run: version_type,
    },
    Check {
        id: "negotiation.absent-version",
        title: "ADD without cniVersion is read as 0.1.0 or 0.2.0, or refused with code 1",
        requirements: &["config.cniversion-absent-default", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["absent", "empty"],
        run: absent_version,
    },
    Check {
        id: "negotiation.older-than-operation",
        title: "An operation is refused in versions older than the operation, and changes nothing",
        requirements: &[
            "check.since-040",
            "gc.since-110",
            "status.since-110",
            "error.reserved-range",
            "error.no-partial-side-effects-on-input-error",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &["CHECK", "GC", "STATUS"],
        run: older_than_operation,
    },
];

/// How a version can be nearly another one.
pub(crate) const INEXACT: &[&str] =
    &["without patch number", "with leading v", "with trailing space", "with build number"];

/// What is nearly a version, in a way of [`INEXACT`].
pub(crate) fn inexact(exact: Version, how: &str) -> String {
    let exact = exact.as_str();
    match how {
        "without patch number" => exact.rsplit_once('.').map_or(exact, |(start, _)| start).to_owned(),
        "with leading v" => format!("v{exact}"),
        "with trailing space" => format!("{exact} "),
        _ => format!("{exact}+build"),
    }
}

/// Every published version, and two numbers between and after them, which mean something for plugins that support all.
pub(crate) fn numbers() -> impl Iterator<Item = &'static str> {
    Version::ALL.iter().map(|version| version.as_str()).chain(["0.9.0", "1.99.0"])
}

/// What says since when there is an operation.
pub(crate) fn since(operation: Operation) -> &'static str {
    match operation {
        Operation::Check => "check.since-040",
        Operation::Gc => "gc.since-110",
        _ => "status.since-110",
    }
}

fn unsupported_version(case: &mut Case<'_>) -> Result<(), Stop> {
    let operation = operation(case, case.variant)?;
    let attachment = case.attachment()?;
    let call = case.call(operation, &attachment).edit(|request| relabel(request, json!(NO_SUCH_VERSION)));
    let why = format!("no plugin supports CNI {NO_SUCH_VERSION}");
    if let Some(answer) = refused(case, call, "version.plugin-rejects-unsupported", &why)? {
        let requirement = match case.kind() {
            Kind::Ipam => "ipam.unsupported-version-code1",
            Kind::Interface | Kind::Chained | Kind::Meta => "version.plugin-rejects-unsupported",
        };
        case.expect_code(&answer, requirement, &[INCOMPATIBLE_VERSION]);
    }
    Ok(())
}

/// Each operation of the version is known to a plugin that names the version. What else a request may lack does not
/// matter here: only the answer that the operation or the version is not known counts.
fn operations_known(case: &mut Case<'_>) -> Result<(), Stop> {
    needs_advertisement(case)?;
    let attachment = case.attachment()?;
    let version = case.version;
    for operation in Operation::ALL.into_iter().filter(|operation| operation.since() <= version) {
        let requirement = match operation {
            Operation::Gc | Operation::Status => "plugin.supports-operations-110",
            _ if case.version >= Version::V0_4_0 => "plugin.supports-operations-040",
            _ => "plugin.supports-operations-010",
        };
        let answer = case.operate(operation, &attachment)?;
        let Some(error) = answer.error().filter(|_| answer.refused()) else { continue };
        let text = format!("{} {}", error.msg, error.details.unwrap_or_default());
        let of_version = error.code == INCOMPATIBLE_VERSION;
        let unknown = of_version || error.code == INVALID_ENVIRONMENT && text.contains("CNI_COMMAND");
        let expected = format!("the plugin knows {operation}, which CNI {} has", case.version);
        let assertion = Assertion::StdoutLacks(answer.index, format!("\"code\": {}", error.code));
        case.expect_as(!unknown, requirement, expected, answer.summary(), assertion.clone());
        let expected = "code 1 only where the version is not supported";
        case.expect_as(!of_version, "error.code-1", expected, answer.summary(), assertion);
    }
    Ok(())
}

fn unadvertised_version(case: &mut Case<'_>) -> Result<(), Stop> {
    needs_advertisement(case)?;
    for version in numbers() {
        if case.subject.advertised.iter().any(|named| named == version) {
            continue;
        }
        let attachment = case.attachment()?;
        let call = case
            .call(Operation::Add, &attachment)
            .edit(|request| relabel(request, json!(version)))
            .label(format!("ADD in CNI {version}"));
        let why = "VERSION does not name it as supported";
        if let Some(answer) = refused(case, call, "version.plugin-lists-consistent", why)? {
            case.expect_code(&answer, "version.plugin-rejects-unsupported", &[INCOMPATIBLE_VERSION]);
        }
    }
    Ok(())
}

fn advertised_version(case: &mut Case<'_>) -> Result<(), Stop> {
    needs_advertisement(case)?;
    let attachment = case.attachment()?;
    for operation in [Operation::Add, Operation::Del] {
        let answer = case.operate(operation, &attachment)?;
        let accepted = answer.succeeded() || answer.code() != Some(INCOMPATIBLE_VERSION);
        let expected = format!("{operation} accepts CNI {}, which VERSION names", case.version);
        case.expect(accepted, "version.plugin-lists-consistent", expected, answer.summary());
    }
    Ok(())
}

fn inexact_version(case: &mut Case<'_>) -> Result<(), Stop> {
    let inexact = inexact(case.version, case.variant);
    let attachment = case.attachment()?;
    let call = case.call(Operation::Add, &attachment).edit(|request| relabel(request, json!(inexact)));
    let answer = case.run(call)?;
    if expect_lives(case, &answer) {
        let holds = answer.code() == Some(INCOMPATIBLE_VERSION) && !answer.succeeded();
        let expected = format!("ADD with cniVersion {inexact:?} fails with code {INCOMPATIBLE_VERSION}");
        case.expect(holds, "version.plugin-exact-match", expected, answer.summary());
    }
    Ok(())
}

fn version_type(case: &mut Case<'_>) -> Result<(), Stop> {
    let value = match case.variant {
        "number" => json!(1.1),
        "boolean" => json!(true),
        "array" => json!([case.version.as_str()]),
        "object" => json!({ "version": case.version.as_str() }),
        _ => Value::Null,
    };
    let attachment = case.attachment()?;
    let call = case.call(Operation::Add, &attachment).edit(|request| {
        request.insert("cniVersion".to_owned(), value.clone());
    });
    if value.is_null() {
        // Many decoders take null for an absent key.
        let answer = case.run(call)?;
        if expect_lives(case, &answer) {
            let expected = "ADD with cniVersion null fails";
            case.expect(answer.refused(), "config.cniversion-absent-default", expected, answer.summary());
        }
        return Ok(());
    }
    if let Some(answer) = refused(case, call, "error.wrong-types", "cniVersion is no string")? {
        let codes = [INCOMPATIBLE_VERSION, DECODING_FAILURE, INVALID_CONFIGURATION];
        expect_fitting_code(case, &answer, &codes);
    }
    Ok(())
}

fn absent_version(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let call = case.call(Operation::Add, &attachment).edit(|request| match case.variant {
        "absent" => {
            request.shift_remove("cniVersion");
            request.shift_remove("prevResult");
        }
        _ => {
            request.insert("cniVersion".to_owned(), json!(""));
            request.shift_remove("prevResult");
        }
    });
    let answer = case.run(call)?;
    if !expect_lives(case, &answer) {
        return Ok(());
    }
    let old = |version: &Value| version == "0.1.0" || version == "0.2.0";
    let observed = match answer.document() {
        Some(Value::Object(result)) if answer.succeeded() => match result.get("cniVersion") {
            Some(version) if !old(version) => format!("ADD succeeds with a result of CNI {version}"),
            _ => return Ok(()),
        },
        _ if answer.code() == Some(INCOMPATIBLE_VERSION) => return Ok(()),
        _ => answer.summary(),
    };
    let expected = "a result in CNI 0.1.0 or 0.2.0, or a refusal with code 1";
    case.expect(false, "config.cniversion-absent-default", expected, observed);
    Ok(())
}

fn older_than_operation(case: &mut Case<'_>) -> Result<(), Stop> {
    let operation = operation(case, case.variant)?;
    let requirement = since(operation);
    let version = older_version(&case.subject.versions, operation.since());
    let attachment = case.attachment()?;
    let call = case
        .call(operation, &attachment)
        .edit(|request| relabel(request, json!(version.as_str())))
        .label(format!("{operation} in CNI {version}"));
    let why = format!("{operation} exists from CNI {}", operation.since());
    if let Some(answer) = refused(case, call, requirement, &why)? {
        // The version does not fit the operation, and the operation is unknown in the version: both are true.
        expect_fitting_code(case, &answer, &[INCOMPATIBLE_VERSION, INVALID_ENVIRONMENT]);
    }
    Ok(())
}

// ---- helpers

/// Skips the case of a plugin that does not say what it supports: `version.answers` reports that.
fn needs_advertisement(case: &Case<'_>) -> Result<(), Stop> {
    if case.subject.advertised.is_empty() {
        return Err(Stop::unmet("VERSION names no supported version".to_owned()));
    }
    Ok(())
}
