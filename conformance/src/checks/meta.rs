//! Meta plugins, which execute whole interface plugins: what comes of their answers, and what several of them have to do
//! with each other.
//!
//! Shell scripts take the parts of the delegates; each writes down what it is executed for.

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::case::{Attachment, Call, Case, Stop, pretty};
use super::delegation::{self, FOLDER, SCRIPT};
use super::reproducer::Assertion;
use super::{Check, Concerns, Scope, cycle, gc, kernel};
use crate::target::{Kind, Target};

const META: Concerns = Concerns::Kinds(&[Kind::Meta]);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "delegation.result",
        title: "ADD of a meta plugin returns the addresses and routes that its delegate returned",
        requirements: &["deleg.nested-delegation"],
        concerns: META,
        scope: Scope::Versions,
        since: Version::V1_0_0,
        variants: &[],
        run: result,
    },
    Check {
        id: "delegation.every-delegate",
        title: "Each of several delegates is executed for every operation",
        requirements: &[
            "deleg.check-forwarded",
            "deleg.del-forwarded",
            "deleg.gc-forwarded",
            "deleg.status-forwarded",
        ],
        concerns: META,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &["CHECK", "DEL", "GC", "STATUS"],
        run: every_delegate,
    },
    Check {
        id: "delegation.one-of-two-fails",
        title: "When one of two delegates fails, the other is executed all the same, and the error is passed on",
        requirements: &["deleg.del-forwarded", "deleg.gc-forwarded", "deleg.error-propagates"],
        concerns: META,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &["DEL first", "DEL second", "GC first", "GC second"],
        run: one_of_two_fails,
    },
    Check {
        id: "delegation.second-fails",
        title: "When the second delegate fails an ADD, the first one's work is undone, however often that is tried",
        requirements: &["deleg.later-failure-del", "deleg.add-failure-del", "deleg.add-error-propagates"],
        concerns: META,
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &["commands", "ten tries"],
        run: second_fails,
    },
];

/// The scripts that take the parts of two delegates.
const PARTS: [&str; 2] = ["cnitest-first", "cnitest-second"];
/// Where they write down what they are executed for.
const LOG: &str = "/run/cnitest-delegate/parts";
/// How often a runtime tries again.
const TRIES: usize = 10;

fn result(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let given = delegation::answer_of_script(case.version)?;
    delegation::install_answer(case, FOLDER, &pretty(&given.to_version(case.version).0), 0)?;
    let answer = case.run(delegation::delegating(case, Operation::Add, &attachment, SCRIPT))?;
    case.require_result(&answer)?;
    let returned = kernel::read(case, answer.document())?;
    for ip in &given.ips {
        let holds = returned.ips.iter().any(|one| one.address == ip.address && one.gateway == ip.gateway);
        let expected = format!("the result has the address {} with its gateway", ip.address);
        let observed = format!("its addresses: {}", kernel::list(returned.ips.iter().map(|one| one.address)));
        let assertion = Assertion::StdoutHas(answer.index, format!("\"{}\"", ip.address));
        case.expect_as(holds, "deleg.nested-delegation", expected, observed, assertion);
    }
    for route in &given.routes {
        let holds = returned.routes.iter().any(|one| one.dst == route.dst && one.gw == route.gw);
        let expected = format!("the result has the route to {}, as the delegate's", route.dst);
        let observed = format!("its routes: {}", kernel::list(returned.routes.iter().map(|one| one.dst)));
        case.expect(holds, "deleg.nested-delegation", expected, observed);
    }
    Ok(())
}

fn every_delegate(case: &mut Case<'_>) -> Result<(), Stop> {
    let (operation, requirement) = operation(case, case.variant)?;
    let attachment = attached(case, [None, None])?;
    let answer = case.run(of_both(case, operation, &attachment)?)?;
    for part in PARTS {
        expect_executed(case, part, operation, requirement, &answer.summary())?;
    }
    case.expect_success(&answer, requirement);
    Ok(())
}

fn one_of_two_fails(case: &mut Case<'_>) -> Result<(), Stop> {
    let (word, which) = case.variant.split_once(' ').unwrap_or((case.variant, ""));
    let (operation, requirement) = operation(case, word)?;
    let (failing, other) = if which == "first" { (0, 1) } else { (1, 0) };
    let mut fails = [None, None];
    fails[failing] = Some(operation);
    let attachment = attached(case, fails)?;
    let label = format!("{word}, which the {which} delegate fails");
    let answer = case.run(of_both(case, operation, &attachment)?.label(label))?;
    expect_executed(case, PARTS[other], operation, requirement, &answer.summary())?;
    if executed(case, PARTS[failing], operation)? {
        case.expect_refusal(&answer, "deleg.error-propagates", "a delegate reported an error");
    }
    Ok(())
}

fn second_fails(case: &mut Case<'_>) -> Result<(), Stop> {
    let fails = [None, Some(Operation::Add)];
    if case.variant == "commands" {
        let attachment = case.attachment()?;
        install(case, fails)?;
        let answer = case.run(of_both(case, Operation::Add, &attachment)?)?;
        if !executed(case, PARTS[1], Operation::Add)? {
            return Err(Stop::unmet("ADD did not execute the second delegate"));
        }
        case.expect_refusal(&answer, "deleg.add-error-propagates", "the second delegate fails");
        let summary = answer.summary();
        expect_executed(case, PARTS[0], Operation::Del, "deleg.later-failure-del", &summary)?;
        return expect_executed(case, PARTS[1], Operation::Del, "deleg.add-failure-del", &summary);
    }
    cycle::settle(case)?;
    let mut attachment = case.attachment()?;
    install(case, fails)?;
    let second = part(1);
    delegates_of(case, &mut attachment)?.splice(1.., [second]);
    let before = case.snapshot()?;
    for count in 1..=TRIES {
        let call = delegation::found(case.call(Operation::Add, &attachment));
        let answer = case.run(call.label(format!("ADD number {count}, which the second delegate fails")))?;
        if !case.expect_refusal(&answer, "deleg.add-error-propagates", "the second delegate fails") {
            return Ok(());
        }
    }
    let after = case.snapshot()?;
    let what = format!("ADD, which the second delegate failed {TRIES} times,");
    case.expect_unchanged(&before, &after, "deleg.later-failure-del", &what, |line| {
        line.contains(FOLDER) || super::changes::is_file_content(line)
    });
    Ok(())
}

// ---- two delegates

/// The operation of a variant, and what says that delegates are executed for it.
fn operation(case: &Case<'_>, word: &str) -> Result<(Operation, &'static str), Stop> {
    let (operation, requirement) = match word {
        "CHECK" => (Operation::Check, "deleg.check-forwarded"),
        "DEL" => (Operation::Del, "deleg.del-forwarded"),
        "GC" => (Operation::Gc, "deleg.gc-forwarded"),
        _ => (Operation::Status, "deleg.status-forwarded"),
    };
    match case.version >= operation.since() {
        true => Ok((operation, requirement)),
        false => Err(Stop::skip(format!("CNI {} has no {operation}", case.version))),
    }
}

/// The list that holds the delegates of a configuration.
fn delegates_of<'m>(case: &Case<'_>, attachment: &'m mut Attachment) -> Result<&'m mut Vec<Value>, Stop> {
    let pointer = case.target.map_or("", Target::delegate_pointer);
    pointer
        .strip_suffix("/0")
        .and_then(|list| cycle::value_at(&mut attachment.plugin, list))
        .and_then(Value::as_array_mut)
        .ok_or_else(|| Stop::skip("the plugin takes one delegate only"))
}

/// The configuration of a script.
fn part(index: usize) -> Value {
    json!({ "type": PARTS[index] })
}

/// Writes both scripts. Each fails for its operation, if there is one.
fn install(case: &mut Case<'_>, fails: [Option<Operation>; 2]) -> Result<(), Stop> {
    let versions: Vec<&str> = Version::ALL.iter().map(|one| one.as_str()).collect();
    let version = case.version.as_str();
    let about = json!({ "cniVersion": version, "supportedVersions": versions });
    let result = delegation::answer_of_script(case.version)?.to_version(case.version).0;
    let error = json!({ "cniVersion": version, "code": 120, "msg": "cnitest: told to fail" });
    for (name, fails) in PARTS.into_iter().zip(fails) {
        let fails = fails.map_or("none", |operation| operation.as_str());
        let script = format!(
            "#!/bin/sh\ncat >/dev/null\necho \"{name} $CNI_COMMAND\" >>{LOG}\n\
             if [ \"$CNI_COMMAND\" = {fails} ]; then echo '{error}'; exit 1; fi\n\
             case $CNI_COMMAND in\nVERSION) echo '{about}' ;;\nADD) echo '{result}' ;;\nesac\n"
        );
        case.write_file(&format!("{FOLDER}/{name}"), &script, 0o755)?;
    }
    Ok(())
}

/// An execution with both scripts as the delegates.
fn of_both(case: &Case<'_>, operation: Operation, attachment: &Attachment) -> Result<Call, Stop> {
    let mut attachment = attachment.clone();
    *delegates_of(case, &mut attachment)? = vec![part(0), part(1)];
    let call = delegation::found(case.call(operation, &attachment));
    Ok(if operation == Operation::Gc { gc::listing(call, &[&attachment]) } else { call })
}

/// A container with a successful ADD of both scripts.
fn attached(case: &mut Case<'_>, fails: [Option<Operation>; 2]) -> Result<Attachment, Stop> {
    let mut attachment = case.attachment()?;
    install(case, fails)?;
    let answer = case.run(of_both(case, Operation::Add, &attachment)?)?;
    case.require_result(&answer)?;
    attachment.result = answer.document().cloned();
    for part in PARTS {
        if !executed(case, part, Operation::Add)? {
            return Err(Stop::unmet(format!("ADD did not execute {part}")));
        }
    }
    Ok(attachment)
}

fn executed(case: &mut Case<'_>, part: &str, operation: Operation) -> Result<bool, Stop> {
    let log = delegation::recorded(case, "parts")?.unwrap_or_default();
    Ok(log.lines().any(|line| line == format!("{part} {operation}")))
}

fn expect_executed(
    case: &mut Case<'_>,
    part: &str,
    operation: Operation,
    requirement: &'static str,
    summary: &str,
) -> Result<(), Stop> {
    let holds = executed(case, part, operation)?;
    let expected = format!("the delegate {part} is executed with CNI_COMMAND={operation}");
    let assertion = Assertion::FileHas(LOG.to_owned(), format!("{part} {operation}"));
    case.expect_as(holds, requirement, expected, format!("it was not; {summary}"), assertion);
    Ok(())
}
