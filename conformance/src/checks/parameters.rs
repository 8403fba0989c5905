//! Checks of the CNI_* variables.

use cni_spec::error::{DECODING_FAILURE, INVALID_ENVIRONMENT, UNKNOWN_CONTAINER};
use cni_spec::parameters::required_by;
use cni_spec::{Operation, Version};

use super::protocol::{
    changed_add, code_requirement, expect_lives, expect_named, expect_refused, must_hold, operation, refused,
};
use super::reproducer::Assertion;
use super::{Attachment, Call, Case, Check, Concerns, Documents, Scope, Stop};
use crate::arena::snapshot::Snapshot;
use crate::target::{Kind, Target, Way};

/// The operations with the variables that they require.
const REQUIRED: &[&str] = &[
    "ADD CNI_CONTAINERID",
    "ADD CNI_NETNS",
    "ADD CNI_IFNAME",
    "DEL CNI_CONTAINERID",
    "DEL CNI_IFNAME",
    "CHECK CNI_CONTAINERID",
    "CHECK CNI_NETNS",
    "CHECK CNI_IFNAME",
    "GC CNI_PATH",
];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "parameters.command-missing",
        title: "An execution without CNI_COMMAND is refused with code 4",
        requirements: &["param.command-missing-rejected", "param.required-empty-equals-missing"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["unset", "empty"],
        run: command_missing,
    },
    Check {
        id: "parameters.command-unknown",
        title: "An unknown CNI_COMMAND is refused with code 4, and changes nothing",
        requirements: &[
            "param.command-unknown-rejected",
            "param.command-case-sensitive",
            "param.command-unknown-stdin-first",
            "param.validation-order",
            "error.code-4-names-vars",
            "error.no-partial-side-effects-on-input-error",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["FOO", "VALIDATE", "add", "ADD "],
        run: command_unknown,
    },
    Check {
        id: "parameters.required-missing",
        title: "An operation without a variable that it requires is refused with code 4, and changes nothing",
        requirements: &[
            "add.required-env",
            "del.required-env",
            "check.required-env",
            "param.validation-order",
            "error.code-4",
            "error.code-4-names-vars",
            "error.no-partial-side-effects-on-input-error",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: REQUIRED,
        run: required_missing,
    },
    Check {
        id: "parameters.required-empty",
        title: "A required variable set to nothing counts as missing",
        requirements: &["param.required-empty-equals-missing", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: REQUIRED,
        run: required_empty,
    },
    Check {
        id: "parameters.all-missing",
        title: "ADD with nothing but CNI_COMMAND is refused, and the message names every missing variable",
        requirements: &[
            "add.required-env",
            "error.code-4",
            "param.missing-all-reported",
            "param.validation-order",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V1_0_0,
        variants: &[],
        run: all_missing,
    },
    Check {
        id: "parameters.code-4-names",
        title: "The message of a code-4 error names the variable that is at fault",
        requirements: &["error.code-4-names-vars"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V1_0_0,
        variants: &["invalid CNI_CONTAINERID", "invalid CNI_IFNAME", "invalid CNI_NETNS"],
        run: code_4_names,
    },
    Check {
        id: "parameters.optional",
        title: "ADD needs neither CNI_ARGS nor, where nothing is delegated, CNI_PATH",
        requirements: &["add.required-env", "param.args-optional", "param.path-optional"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V1_0_0,
        variants: &["CNI_ARGS unset", "CNI_ARGS empty", "CNI_PATH unset"],
        run: optional,
    },
    Check {
        id: "parameters.gc-status",
        title: "GC and STATUS do not look at the variables of attachments",
        requirements: &[
            "gc.required-env",
            "param.no-attachment-params-gc-status",
            "error.json-on-stdout-nonzero-exit",
        ],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &["GC empty", "GC unusable", "STATUS empty", "STATUS unusable"],
        run: gc_status,
    },
    Check {
        id: "parameters.containerid-invalid",
        title: "ADD with an invalid CNI_CONTAINERID is refused with code 4",
        requirements: &["param.containerid-plugin-validates", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &["-x", ".x", "_x", "a/b", "../x", "a b", "a:b", "é", "final newline"],
        run: containerid_invalid,
    },
    Check {
        id: "parameters.containerid-valid",
        title: "ADD accepts every valid CNI_CONTAINERID",
        requirements: &[
            "param.containerid-charset",
            "param.containerid-plugin-validates",
            "param.containerid-length",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V1_0_0,
        variants: &["one digit", "dots and hyphens", "64 hexadecimal digits", "underscores", "300 bytes"],
        run: containerid_valid,
    },
    Check {
        id: "parameters.ifname-unusable",
        title: "ADD with a CNI_IFNAME that cannot name an interface is refused, and no interface is left",
        requirements: &["param.ifname-unusable-errors", "param.ifname-validation", "add.failure-rolls-back"],
        concerns: Concerns::Kinds(&[Kind::Interface]),
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &[".", "..", "a/b", "a b", "a:b", "16 bytes", "a%d"],
        run: ifname_unusable,
    },
    Check {
        id: "parameters.ifname-longest",
        title: "ADD gives the interface a CNI_IFNAME of 15 bytes unchanged",
        requirements: &["param.ifname-honoured"],
        concerns: Concerns::Kinds(&[Kind::Interface]),
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[],
        run: ifname_longest,
    },
    Check {
        id: "parameters.netns-invalid",
        title: "ADD with a CNI_NETNS that is no network namespace is refused",
        requirements: &["param.netns-invalid-add", "error.code-3", "add.failure-rolls-back"],
        concerns: Concerns::Kinds(&[Kind::Interface]),
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["missing path", "regular file", "directory"],
        run: netns_invalid,
    },
    Check {
        id: "parameters.netns-own",
        title: "ADD into the plugin's own namespace prints a result or an error, not both",
        requirements: &[
            "error.json-on-stdout-nonzero-exit",
            "error.result-and-error-together",
            "exec.stdout-single-document",
            "exec.netns-not-own",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[],
        run: netns_own,
    },
    Check {
        id: "parameters.args",
        title: "ADD copes with any CNI_ARGS",
        requirements: &[
            "param.args-ignoreunknown",
            "param.args-k8s-keys",
            "param.args-parse-rules",
            "error.json-on-stdout-nonzero-exit",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["IgnoreUnknown", "Kubernetes", "A=B;", "A=B=C", "A", "=", ";;"],
        run: args,
    },
    Check {
        id: "parameters.other-variables",
        title: "ADD ignores variables that the specification does not define",
        requirements: &["exec.env-inherited", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[],
        run: other_variables,
    },
];

fn command_missing(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let call = case.call(Operation::Add, &attachment).label("an execution without CNI_COMMAND");
    let (call, requirement) = match case.variant {
        "unset" => (call.unset("CNI_COMMAND"), "param.command-missing-rejected"),
        _ => (call.set("CNI_COMMAND", ""), "param.required-empty-equals-missing"),
    };
    let answer = case.run(call)?;
    if expect_refused(case, &answer, requirement, "CNI_COMMAND is required") {
        case.expect_code(&answer, requirement, &[INVALID_ENVIRONMENT]);
        expect_named(case, &answer, requirement, "CNI_COMMAND");
    }
    Ok(())
}

fn command_unknown(case: &mut Case<'_>) -> Result<(), Stop> {
    let command = case.variant;
    let requirement = match command {
        "add" | "ADD " => "param.command-case-sensitive",
        _ => "param.command-unknown-rejected",
    };
    let attachment = case.attachment()?;
    let call = case
        .call(Operation::Add, &attachment)
        .set("CNI_COMMAND", command)
        .label(format!("an execution with CNI_COMMAND={command:?}"));
    if let Some(answer) = refused(case, call, requirement, "there is no such operation")? {
        case.expect_code(&answer, code_requirement(case, requirement), &[INVALID_ENVIRONMENT]);
        if answer.code() == Some(INVALID_ENVIRONMENT) {
            expect_named(case, &answer, "error.code-4-names-vars", "CNI_COMMAND");
        }
    }
    if case.variant == "FOO" {
        let call = case
            .call(Operation::Add, &attachment)
            .set("CNI_COMMAND", command)
            .text("")
            .label("an unknown operation with empty stdin");
        let answer = case.run(call)?;
        if expect_refused(case, &answer, requirement, "there is no such operation") {
            let codes = [INVALID_ENVIRONMENT, DECODING_FAILURE];
            case.expect_code(&answer, "param.command-unknown-stdin-first", &codes);
        }
    }
    Ok(())
}

fn required_missing(case: &mut Case<'_>) -> Result<(), Stop> {
    let (operation, variable) = operation_and_variable(case)?;
    let requirement = required_by(operation);
    must_hold(case, requirement)?;
    let attachment = case.attachment()?;
    let call =
        case.call(operation, &attachment).unset(variable).label(format!("{operation} without {variable}"));
    if let Some(answer) = refused(case, call, requirement, &format!("{variable} is required"))? {
        case.expect_code(&answer, code_requirement(case, "error.code-4"), &[INVALID_ENVIRONMENT]);
        if answer.code() == Some(INVALID_ENVIRONMENT) {
            expect_named(case, &answer, "error.code-4-names-vars", variable);
        }
    }
    Ok(())
}

fn required_empty(case: &mut Case<'_>) -> Result<(), Stop> {
    let (operation, variable) = operation_and_variable(case)?;
    let attachment = case.attachment()?;
    let call = case
        .call(operation, &attachment)
        .set(variable, "")
        .label(format!("{operation} with an empty {variable}"));
    let answer = case.run(call)?;
    if expect_lives(case, &answer) {
        let requirement = "param.required-empty-equals-missing";
        let expected = format!("{} fails, as without {variable}", answer.label);
        case.expect(answer.refused(), requirement, expected, answer.summary());
        case.expect_code(&answer, requirement, &[INVALID_ENVIRONMENT]);
    }
    Ok(())
}

fn all_missing(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let missing = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"];
    let call = missing.iter().fold(case.call(Operation::Add, &attachment), |call, name| call.unset(name));
    let call = call.unset("CNI_PATH").unset("CNI_ARGS").label("ADD with nothing but CNI_COMMAND");
    let why = "CNI_CONTAINERID, CNI_NETNS and CNI_IFNAME are required";
    if let Some(answer) = refused(case, call, "add.required-env", why)? {
        case.expect_code(&answer, code_requirement(case, "error.code-4"), &[INVALID_ENVIRONMENT]);
        for variable in missing {
            expect_named(case, &answer, "param.missing-all-reported", variable);
        }
    }
    Ok(())
}

fn code_4_names(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let (variable, value) = match case.variant {
        "invalid CNI_CONTAINERID" => ("CNI_CONTAINERID", "no/container id"),
        "invalid CNI_IFNAME" => ("CNI_IFNAME", "no/interface"),
        _ => ("CNI_NETNS", "/run/netns/nonexistent"),
    };
    let call = case
        .call(Operation::Add, &attachment)
        .set(variable, value)
        .label(format!("ADD with {variable}={value:?}"));
    let answer = case.run(call)?;
    match answer.code() {
        Some(INVALID_ENVIRONMENT) if answer.refused() => {
            expect_named(case, &answer, "error.code-4-names-vars", variable);
            Ok(())
        }
        _ => Err(Stop::skip(format!("no code {INVALID_ENVIRONMENT} to look at: {}", answer.summary()))),
    }
}

fn optional(case: &mut Case<'_>) -> Result<(), Stop> {
    let (variable, requirement) = match case.variant {
        "CNI_ARGS unset" => ("CNI_ARGS", "add.required-env"),
        "CNI_ARGS empty" => ("CNI_ARGS", "param.args-optional"),
        _ => ("CNI_PATH", "param.path-optional"),
    };
    if variable == "CNI_ARGS" && case.configuration.args.is_some() {
        return Err(Stop::skip("the target sets CNI_ARGS for this configuration".to_owned()));
    }
    if variable == "CNI_PATH" && case.target.is_some_and(Target::executes_others) {
        return Err(Stop::skip("the plugin finds the plugins that it delegates to in CNI_PATH".to_owned()));
    }
    let mut attachment = case.attachment()?;
    // A value that says nothing serves as the counterpart of none.
    attachment.args = Some("IgnoreUnknown=1".to_owned());
    case.add(&mut attachment)?;
    let attachment = case.attachment()?;
    let call = case.call(Operation::Add, &attachment);
    let call = match case.variant {
        "CNI_ARGS empty" => call.set("CNI_ARGS", ""),
        _ => call.unset(variable),
    };
    let answer = case.run(call.label(format!("ADD with {}", case.variant)))?;
    case.expect_success(&answer, requirement);
    Ok(())
}

fn gc_status(case: &mut Case<'_>) -> Result<(), Stop> {
    let (name, setting) = case.variant.split_once(' ').unwrap_or((case.variant, ""));
    let operation = operation(case, name)?;
    let requirement = "param.no-attachment-params-gc-status";
    let attachment = case.attachment()?;
    let without = case.operate(operation, &attachment)?;
    if !expect_lives(case, &without) {
        return Ok(());
    }
    let expected = format!("{operation} needs no variable of an attachment");
    let accepted = without.succeeded() || without.code() != Some(INVALID_ENVIRONMENT);
    let without_any = if operation == Operation::Gc { "gc.required-env" } else { requirement };
    case.expect(accepted, without_any, expected, without.summary());
    let values = match setting {
        "empty" => ["", "", "", ""],
        _ => ["-/-", "/nonexistent/netns", "no such name / at all", ";=;"],
    };
    let names = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"];
    let call = names
        .iter()
        .zip(values)
        .fold(case.call(operation, &attachment), |call, (name, value)| call.set(name, value));
    let with = case.run(call.label(format!("{operation} with {setting} variables of an attachment")))?;
    let same = with.succeeded() == without.succeeded() && with.code() == without.code();
    let expected = format!("the same as without them: {}", without.summary());
    case.expect(same, requirement, expected, with.summary());
    Ok(())
}

fn containerid_invalid(case: &mut Case<'_>) -> Result<(), Stop> {
    let id = if case.variant == "final newline" { "a\n" } else { case.variant };
    let attachment = case.attachment()?;
    let call = case
        .call(Operation::Add, &attachment)
        .set("CNI_CONTAINERID", id)
        .label(format!("ADD with CNI_CONTAINERID={id:?}"));
    let answer = case.run(call)?;
    if expect_lives(case, &answer) {
        let requirement = "param.containerid-plugin-validates";
        let expected = format!("{} fails: it is no valid container ID", answer.label);
        case.expect(answer.refused(), requirement, expected, answer.summary());
        if answer.refused() {
            case.expect_code(&answer, requirement, &[INVALID_ENVIRONMENT]);
        }
    }
    Ok(())
}

fn containerid_valid(case: &mut Case<'_>) -> Result<(), Stop> {
    let (id, requirement) = match case.variant {
        "one digit" => ("9".to_owned(), "param.containerid-charset"),
        "dots and hyphens" => ("a.b-c.D-9".to_owned(), "param.containerid-charset"),
        "64 hexadecimal digits" => ("0123456789abcdef".repeat(4), "param.containerid-charset"),
        // The text of the specification lost its underscore where it allows one.
        "underscores" => ("a_b__c".to_owned(), "param.containerid-plugin-validates"),
        _ => ("c".repeat(300), "param.containerid-length"),
    };
    let label = format!("ADD with CNI_CONTAINERID of {}", case.variant);
    let (answer, mut attachment) = changed_add(case, |call| call.set("CNI_CONTAINERID", &id).label(label))?;
    if requirement == "param.containerid-length" && !answer.succeeded() {
        expect_lives(case, &answer);
        return Ok(());
    }
    if case.expect_success(&answer, requirement) {
        attachment.container_id = id;
        attachment.result = answer.document().cloned();
        let answer = case.operate(Operation::Del, &attachment)?;
        case.expect_success(&answer, requirement);
    }
    Ok(())
}

fn ifname_unusable(case: &mut Case<'_>) -> Result<(), Stop> {
    needs_free_name(case)?;
    let name = if case.variant == "16 bytes" { "cnitest-too-long" } else { case.variant };
    let attachment = case.attachment()?;
    let before = case.snapshot()?;
    let call = case
        .call(Operation::Add, &attachment)
        .set("CNI_IFNAME", name)
        .label(format!("ADD with CNI_IFNAME={name:?}"));
    let answer = case.run(call)?;
    let after = case.snapshot()?;
    let requirement = "param.ifname-unusable-errors";
    if !expect_refused(case, &answer, requirement, "no interface can have this name") {
        return Ok(());
    }
    // The kernel takes `a%d` for a pattern, which libraries do not know.
    if name != "a%d" {
        case.expect_code(&answer, "param.ifname-validation", &[INVALID_ENVIRONMENT]);
    }
    let known = links(&before, &attachment);
    let left: Vec<String> =
        links(&after, &attachment).into_iter().filter(|link| !known.contains(link)).collect();
    let observed = format!("left in the container: {}", left.join(", "));
    let lines = left.iter().map(|link| format!("+ container {} link {link}", attachment.container)).collect();
    let assertion = Assertion::Unchanged { before: before.number, after: after.number, lines };
    let expected = "no interface is left in the container";
    if case.expect_as(left.is_empty(), requirement, expected, observed, assertion) {
        let what = format!("a refused {}", answer.label);
        case.expect_unchanged(&before, &after, "add.failure-rolls-back", &what, |_| false);
    }
    Ok(())
}

fn ifname_longest(case: &mut Case<'_>) -> Result<(), Stop> {
    needs_free_name(case)?;
    let name = "cnitest-if-name";
    let label = format!("ADD with CNI_IFNAME={name}");
    let (answer, attachment) = changed_add(case, |call| call.set("CNI_IFNAME", name).label(label))?;
    if case.expect_success(&answer, "param.ifname-honoured") {
        let state = case.snapshot()?;
        let links = links(&state, &attachment);
        let holds = links.iter().any(|link| link == name);
        let observed = format!("the container has {}", links.join(", "));
        let expected = format!("the container has an interface {name}");
        case.expect(holds, "param.ifname-honoured", expected, observed);
    }
    Ok(())
}

fn netns_invalid(case: &mut Case<'_>) -> Result<(), Stop> {
    let path = match case.variant {
        "missing path" => MISSING,
        "regular file" => "/run/no-namespace",
        _ => FOLDER,
    };
    if case.variant == "regular file" {
        case.write_file(path, "no namespace\n", 0o644)?;
    }
    let attachment = case.attachment()?;
    let before = case.snapshot()?;
    let call = case
        .call(Operation::Add, &attachment)
        .set("CNI_NETNS", path)
        .label(format!("ADD with CNI_NETNS={path}"));
    let answer = case.run(call)?;
    if expect_refused(case, &answer, "param.netns-invalid-add", "the path is no network namespace") {
        let after = case.snapshot()?;
        let what = format!("a refused {}", answer.label);
        case.expect_unchanged(&before, &after, "add.failure-rolls-back", &what, |_| false);
        // A runtime does not clean up after this code.
        if answer.code() == Some(UNKNOWN_CONTAINER) {
            case.expect_unchanged(&before, &after, "error.code-3", &what, |_| false);
        }
    }
    Ok(())
}

fn netns_own(case: &mut Case<'_>) -> Result<(), Stop> {
    let label = "ADD into the plugin's own namespace";
    let (answer, _) = changed_add(case, |call| call.set("CNI_NETNS", OWN_NETNS).label(label))?;
    if let Documents::Several(documents) = &answer.documents {
        let observed = format!("{}, {} JSON documents on stdout", answer.execution.outcome, documents.len());
        let expected = "a result with exit status 0, or an error object without a result";
        let requirements: &[_] = match answer.succeeded() {
            true => &["exec.result-on-stdout", "exec.stdout-single-document"],
            // The namespace is looked at when the result is printed already: the specification does not address it.
            false => &["error.json-on-stdout-nonzero-exit", "error.result-and-error-together"],
        };
        for requirement in requirements {
            let assertion = Assertion::StdoutLacks(answer.index, "}{".to_owned());
            case.expect_as(false, requirement, expected, observed.clone(), assertion);
        }
        return Ok(());
    }
    if expect_lives(case, &answer) {
        let expected = "ADD into the plugin's own namespace fails";
        case.expect(answer.refused(), "exec.netns-not-own", expected, answer.summary());
    }
    Ok(())
}

fn args(case: &mut Case<'_>) -> Result<(), Stop> {
    let (value, requirement) = match case.variant {
        "IgnoreUnknown" => (UNKNOWN_ARGS, "param.args-ignoreunknown"),
        "Kubernetes" => (KUBERNETES_ARGS, "param.args-k8s-keys"),
        malformed => (malformed, "param.args-parse-rules"),
    };
    let is_malformed = requirement == "param.args-parse-rules";
    let args = case.configuration.args.as_deref();
    let value = match args {
        None if !is_malformed => value.to_owned(),
        _ => with_malformed(args, value),
    };
    let label = format!("ADD with CNI_ARGS={value:?}");
    let (answer, _) = changed_add(case, |call| call.set("CNI_ARGS", &value).label(label))?;
    if !expect_lives(case, &answer) {
        return Ok(());
    }
    if !is_malformed {
        case.expect_success(&answer, requirement);
    } else if reads_args(case.target) {
        let expected = format!("{} fails: a pair is KEY=VALUE, and pairs are joined by ';'", answer.label);
        case.expect(answer.refused(), requirement, expected, answer.summary());
    }
    Ok(())
}

fn other_variables(case: &mut Case<'_>) -> Result<(), Stop> {
    let (answer, _) = changed_add(case, |call| with_other_variables(call).label("ADD with other variables"))?;
    if expect_lives(case, &answer) {
        case.expect_success(&answer, "exec.env-inherited");
    }
    Ok(())
}

/// CNI_ARGS with a key that a plugin need not know, and the word that says so.
pub(crate) const UNKNOWN_ARGS: &str = "IgnoreUnknown=1;FOO=BAR";

/// CNI_ARGS as Kubernetes sets it.
pub(crate) const KUBERNETES_ARGS: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;\
    K8S_POD_INFRA_CONTAINER_ID=cnitest-c2;K8S_POD_UID=3f2b8c1e-0d6a-4a53-9a58-2a2d53a9a6f1";

/// Sets variables of other programs, and one that nobody knows.
pub(crate) fn with_other_variables(call: Call) -> Call {
    let others = [
        ("HOME", "/nonexistent"),
        ("LANG", "C.UTF-8"),
        ("TMPDIR", "/tmp"),
        ("EMPTY", ""),
        ("CNI_UNKNOWN", "a=b;c"),
        ("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("BAGGAGE", "key=value"),
    ];
    others.iter().fold(call, |call, (name, value)| call.set(name, value))
}

/// A CNI_NETNS that is the plugin's own network namespace.
pub(crate) const OWN_NETNS: &str = "/proc/self/ns/net";

const MISSING: &str = "/run/netns/nonexistent";
const FOLDER: &str = "/tmp";

/// Values of CNI_NETNS that are no network namespace.
pub(crate) const NO_NETNS: [&str; 2] = [MISSING, FOLDER];

/// What is no list of pairs, behind a pair.
pub(crate) const MALFORMED_ARGS: [&str; 5] = ["A=B;", "A=B=C", "A", "=", ";;"];

/// CNI_ARGS that end in what is no pair. `args` is what they hold otherwise.
pub(crate) fn with_malformed(args: Option<&str>, malformed: &str) -> String {
    // A key that is unknown is no reason to refuse it.
    format!("{};{malformed}", args.unwrap_or("IgnoreUnknown=1"))
}

/// Whether the target says that the plugin reads CNI_ARGS.
pub(crate) fn reads_args(target: Option<&Target>) -> bool {
    let capabilities = target.into_iter().flat_map(|target| &target.capabilities);
    capabilities.flat_map(|one| &one.by).any(|way| *way == Way::CniArgs)
}

// ---- helpers

/// What a variant such as `ADD CNI_NETNS` names.
fn operation_and_variable(case: &Case<'_>) -> Result<(Operation, &'static str), Stop> {
    let (name, variable) = case.variant.split_once(' ').unwrap_or((case.variant, ""));
    Ok((operation(case, name)?, variable))
}

/// Skips the case of a plugin that configures the same interface whatever CNI_IFNAME says.
fn needs_free_name(case: &Case<'_>) -> Result<(), Stop> {
    match case.target.and_then(|target| target.fixed_interface.as_ref()) {
        Some(fixed) => Err(Stop::skip(format!("the plugin configures {fixed} whatever CNI_IFNAME says"))),
        None => Ok(()),
    }
}

fn links(snapshot: &Snapshot, attachment: &Attachment) -> Vec<String> {
    let place = snapshot.place(&attachment.place());
    place.into_iter().flat_map(|state| state.links.iter().map(|link| link.name.clone())).collect()
}
