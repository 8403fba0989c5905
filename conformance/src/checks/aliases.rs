//! Names that a runtime asks for, by which other containers of the network reach the container.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::case::{Attachment, Case, Stop};
use super::conventions::ask;
use super::kernel;
use super::reproducer::Assertion;
use super::{Check, Concerns, Scope};
use crate::target::{Capability, Way};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "conventions.aliases-list",
        title: "The aliases of a container are a list of names, as the conventions have it",
        requirements: &["conv.follow-plugin"],
        concerns: Concerns::Taking(ALIASES),
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &[],
        run: list,
    },
    Check {
        id: "conventions.aliases",
        title: "The aliases of a container stand for its addresses until DEL, and those of another one stay",
        requirements: &["conv.follow-plugin", "del.only-own-attachment"],
        concerns: Concerns::Taking(ALIASES),
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &[],
        run: aliases,
    },
];

/// The capability.
const ALIASES: &str = "aliases";
const FOLLOWS: &str = "conv.follow-plugin";

/// What the target says of aliases.
fn capability(case: &Case<'_>) -> Result<Capability, Stop> {
    let found = case.target.and_then(|target| target.capability(ALIASES)).cloned();
    found
        .filter(|one| one.by.contains(&Way::RuntimeConfig))
        .ok_or_else(|| Stop::skip("the plugin takes no aliases through runtimeConfig"))
}

fn list(case: &mut Case<'_>) -> Result<(), Stop> {
    let capability = capability(case)?;
    let mut attachment = case.attachment()?;
    ask(&mut attachment, &capability, Way::RuntimeConfig, &json!(["cnitest-web", "cnitest-db"]));
    let answer = case.run(case.call(Operation::Add, &attachment).label("ADD with a list of aliases"))?;
    case.expect_success(&answer, FOLLOWS);
    Ok(())
}

fn aliases(case: &mut Case<'_>) -> Result<(), Stop> {
    let capability = capability(case)?;
    let Some(path) = capability.hosts_file.clone() else {
        return Err(Stop::skip("the target names no hosts-file in which aliases could be looked for"));
    };
    let value = capability.value.clone().unwrap_or_else(|| json!(["cnitest-web", "cnitest-db"]));
    let mut names = BTreeSet::new();
    collect(&value, &mut names);
    let mut own = case.attachment()?;
    ask(&mut own, &capability, Way::RuntimeConfig, &value);
    let answer = case.operate(Operation::Add, &own)?;
    if !case.expect_success(&answer, FOLLOWS) {
        return Ok(());
    }
    own.result = answer.document().cloned();
    expect_names(case, &own, &names, &path, FOLLOWS, "after ADD")?;
    let mut other = case.attachment()?;
    let other_names: BTreeSet<String> = names.iter().map(|name| format!("{name}-2")).collect();
    ask(&mut other, &capability, Way::RuntimeConfig, &renamed(&value));
    case.add(&mut other)?;
    expect_names(case, &own, &names, &path, FOLLOWS, "after another container's ADD")?;
    expect_names(case, &other, &other_names, &path, FOLLOWS, "after ADD")?;
    let answer = case.operate(Operation::Del, &own)?;
    if !answer.succeeded() {
        return Err(Stop::unmet(answer.summary()));
    }
    let left = hosts(case, &path)?;
    for name in &names {
        let expected = format!("{path} does not have {name} after DEL");
        let assertion = Assertion::Shell(format!("! grep -qw {name} {path} 2>/dev/null"));
        let holds = !left.iter().any(|(_, held)| held.contains(name));
        case.expect_as(holds, FOLLOWS, expected, "it still has", assertion);
    }
    expect_names(
        case,
        &other,
        &other_names,
        &path,
        "del.only-own-attachment",
        "after another container's DEL",
    )
}

/// The texts of a value that are in lists: the names, whatever they are listed under.
fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| match item {
            Value::String(name) => drop(names.insert(name.clone())),
            other => collect(other, names),
        }),
        Value::Object(map) => map.values().for_each(|value| collect(value, names)),
        _ => {}
    }
}

/// The value with other names.
fn renamed(value: &Value) -> Value {
    match value {
        Value::String(name) => json!(format!("{name}-2")),
        Value::Array(items) => items.iter().map(renamed).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), renamed(value))).collect(),
        other => other.clone(),
    }
}

/// What a file in the format of hosts(5) holds; nothing where there is no file.
fn hosts(case: &mut Case<'_>, path: &str) -> Result<Vec<(IpAddr, BTreeSet<String>)>, Stop> {
    let bytes = match case.arena.read_file(path) {
        Ok(bytes) => bytes,
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let read = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.parse().ok()?;
        Some((address, words.map(str::to_owned).collect()))
    };
    Ok(text.lines().filter_map(read).collect())
}

fn expect_names(
    case: &mut Case<'_>,
    attachment: &Attachment,
    names: &BTreeSet<String>,
    path: &str,
    requirement: &'static str,
    when: &str,
) -> Result<(), Stop> {
    let result = kernel::read(case, attachment.result.as_ref())?;
    let found = hosts(case, path)?;
    for address in result.ips.iter().map(|ip| ip.address.addr()) {
        for name in names {
            let holds = found.iter().any(|(one, held)| *one == address && held.contains(name));
            let listed = found.iter().filter(|(_, held)| held.contains(name)).map(|(one, _)| one);
            let observed = format!("the addresses of {name}: {}", kernel::list(listed));
            let expected = format!("{path} has {name} for the container's address {address} {when}");
            let assertion =
                Assertion::Shell(format!("grep -w {name} {path} | grep -q '^{address}[[:space:]]'"));
            case.expect_as(holds, requirement, expected, observed, assertion);
        }
    }
    Ok(())
}
