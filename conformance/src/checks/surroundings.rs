//! Checks of what surrounds an execution and must not matter: the working directory, arguments, stderr, and the size of
//! the request.

use cni_spec::{Operation, Version};
use serde_json::{Map, Value, json};

use super::case::{Call, Case, Stop};
use super::cycle;
use super::protocol::{changed_add, expect_lives, version_call};
use super::{Check, Concerns, Scope};
use crate::invoke::Outcome;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "execution.executable",
        title: "The plugin is a program that the kernel starts, with no shell and no search path",
        requirements: &["exec.plugin-is-executable"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[],
        run: executable,
    },
    Check {
        id: "execution.directory",
        title: "ADD and DEL succeed in any working directory",
        requirements: &["exec.cwd-independent"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["/proc", "without rights", "deleted"],
        run: directory,
    },
    Check {
        id: "execution.arguments",
        title: "ADD and DEL do not heed command-line arguments",
        requirements: &["exec.argv-ignored"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["word", "--help"],
        run: arguments,
    },
    Check {
        id: "execution.stderr",
        title: "ADD and DEL succeed whatever stderr is",
        requirements: &["exec.stderr-free-form"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["/dev/null", "/dev/full", "closed"],
        run: stderr,
    },
    Check {
        id: "execution.large-input",
        title: "ADD reads a large request to its end, or refuses it cleanly",
        requirements: &["exec.large-input", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &["1 MiB of unknown keys", "prevResult with 2000 routes", "16 MiB in one key"],
        run: large_input,
    },
];

fn executable(case: &mut Case<'_>) -> Result<(), Stop> {
    let call = version_call(case).label("VERSION without PATH");
    let answer = case.run(call)?;
    let holds = match &answer.execution.outcome {
        Outcome::NotStarted { .. } => false,
        // What shells and env(1) say of a program that they do not find.
        Outcome::Exited(126 | 127) => !answer.execution.stdout.is_empty(),
        _ => true,
    };
    case.expect(holds, "exec.plugin-is-executable", "the program starts by itself", answer.summary());
    Ok(())
}

fn directory(case: &mut Case<'_>) -> Result<(), Stop> {
    let variant = case.variant;
    let place = move |call: Call| match variant {
        "/proc" => Call { directory: "/proc".into(), ..call },
        "without rights" => call.after("mkdir -p /run/cnitest-closed && cd /run/cnitest-closed && chmod 0 ."),
        _ => call.after("mkdir /run/cnitest-gone && cd /run/cnitest-gone && rmdir /run/cnitest-gone"),
    };
    cycle_with(case, "exec.cwd-independent", &format!("in a directory ({variant})"), place)
}

fn arguments(case: &mut Case<'_>) -> Result<(), Stop> {
    let argument = if case.variant == "word" { "cnitest" } else { case.variant };
    let with = |call: Call| Call { arguments: vec![argument.to_owned()], ..call };
    cycle_with(case, "exec.argv-ignored", &format!("with the argument {argument}"), with)
}

fn stderr(case: &mut Case<'_>) -> Result<(), Stop> {
    let variant = case.variant;
    let redirection = if variant == "closed" { "exec 2>&-".to_owned() } else { format!("exec 2>{variant}") };
    let with = |call: Call| call.after(&redirection);
    cycle_with(case, "exec.stderr-free-form", &format!("with stderr {variant}"), with)
}

/// ADD and DEL of a second container with a change, which must succeed as they did without it for the first.
fn cycle_with(
    case: &mut Case<'_>,
    requirement: &'static str,
    how: &str,
    change: impl Fn(Call) -> Call,
) -> Result<(), Stop> {
    let first = cycle::attached(case)?;
    cycle::detach(case, &first)?;
    let mut attachment = case.attachment()?;
    let call = change(case.call(Operation::Add, &attachment));
    let answer = case.run(call.label(format!("ADD {how}")))?;
    if case.expect_success(&answer, requirement) {
        let expected = format!("{} prints its result", answer.label);
        let printed = answer.document().is_some_and(Value::is_object);
        case.expect(printed, requirement, expected, answer.summary());
        attachment.result = answer.document().cloned();
    }
    let call = change(case.call(Operation::Del, &attachment));
    let answer = case.run(call.label(format!("DEL {how}")))?;
    case.expect_success(&answer, requirement);
    Ok(())
}

fn large_input(case: &mut Case<'_>) -> Result<(), Stop> {
    let version = case.version;
    let enlarge: fn(&mut Map<String, Value>, Version) = match case.variant {
        "1 MiB of unknown keys" => |request, _| {
            let text = "a".repeat(1000);
            request.extend((0..1050).map(|index| (format!("x-cnitest-{index}"), json!(text))));
        },
        "16 MiB in one key" => |request, _| {
            request.insert("x-cnitest".to_owned(), json!("a".repeat(16 << 20)));
        },
        _ => |request, version| {
            let empty = json!({ "cniVersion": version.as_str(), "interfaces": [], "ips": [], "routes": [] });
            let previous = request.entry("prevResult").or_insert(empty);
            let routes = (0..2000)
                .map(|index| json!({ "dst": format!("10.{}.{}.0/24", 100 + index / 256, index % 256) }));
            previous["routes"] = routes.collect();
        },
    };
    let label = format!("ADD with {}", case.variant);
    let (answer, _) = changed_add(case, |call| call.label(label).edit(|request| enlarge(request, version)))?;
    expect_lives(case, &answer);
    if answer.succeeded() {
        let unread = answer.execution.stdin_unread;
        let observed = format!("{} succeeds with {unread} bytes of the request unread", answer.label);
        let expected = format!("{} reads the request to its end", answer.label);
        case.expect(unread == 0, "exec.large-input", expected, observed);
    }
    let ended = matches!(answer.execution.outcome, Outcome::Exited(_));
    let expected = format!("{} ends in time", answer.label);
    case.expect(ended, "exec.large-input", expected, answer.summary());
    Ok(())
}
