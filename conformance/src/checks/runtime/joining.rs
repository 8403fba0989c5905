//! A container that joins two networks by one request, of runtimes that know such requests.

use cni_spec::{Operation, Version};

use super::check;
use crate::adapter::Step;
use crate::checks::case::Stop;
use crate::checks::stage::{self, NETWORK, Stage, executed, listed, said};
use crate::checks::{Check, Scope};
use crate::spy::{Answer, Record, Rule};

pub(super) const CHECKS: &[Check] = &[
    check(
        "runtime.two-networks",
        "A container joins both networks that it is to join, one after the other, and leaves them in the reverse order",
        &[
            "runtime.determine-networks",
            "runtime.networks-sequential",
            "runtime.networks-del-reverse",
            "runtime.no-parallel-same-container",
            "runtime.attachment-identity",
        ],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, two_networks),
    ),
    check(
        "runtime.one-network-twice",
        "A container that joins a network twice has two interfaces in it",
        &["runtime.distinct-ifname-per-attachment", "runtime.attachment-identity"],
        Scope::Versions,
        Version::V0_4_0,
        &[],
        |case| stage::play(case, one_network_twice),
    ),
];

/// The other network.
const OTHER: &str = "spynet2";
/// The plugins of the networks.
const PLUGINS: [(&str, [&str; 1]); 2] = [(NETWORK, ["alpha"]), (OTHER, ["beta"])];
/// How often it is played: a runtime that leaves the order to chance has the right one now and then.
const TIMES: usize = 4;
/// How long an ADD takes, so that another beside it is seen.
const SLOW: u64 = 150;

fn steps<'a>(stage: &Stage<'_, 'a>) -> Result<(&'a Step, &'a Step), Stop> {
    let operations = &stage.adapter.operations;
    match (&operations.add_two, &operations.del_two) {
        (Some(add), Some(del)) => Ok((add, del)),
        _ => Err(Stop::skip(
            "the runtime knows no request for two networks: the adapter has no [operations.add-two] and [operations.del-two]"
                .to_owned(),
        )),
    }
}

fn two_networks(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let (add, del) = steps(stage)?;
    for (name, plugins) in PLUGINS {
        let mut list = stage.list(&plugins);
        list["name"] = name.into();
        stage.file(&format!("10-{name}.conflist"), list.to_string())?;
    }
    stage.answer(Rule::new("*", "ADD", Answer::after(SLOW)))?;
    for _ in 0..TIMES {
        let pod = stage.pod()?;
        let known = stage.count()?;
        let answer = stage.ask_of_two("ADD to two networks", add, &pod, OTHER)?;
        let added = stage.since(known, Operation::Add)?;
        // Two at the same time can make each other fail.
        expect_apart(stage, &added);
        stage::needed(answer)?;
        expect_both(stage, &added);
        stage::needed(stage.ask_of_two("DEL from two networks", del, &pod, OTHER)?)?;
        let deleted = stage.since(known, Operation::Del)?;
        expect_reverse(stage, &added, &deleted);
    }
    Ok(())
}

/// Every network was joined, as an interface of its own.
fn expect_both(stage: &mut Stage<'_, '_>, added: &[Record]) {
    let mut names = executed(added);
    names.sort_unstable();
    let expected = format!("ADD executes the plugins of {NETWORK} and of {OTHER}, alpha and beta");
    let observed = format!("it executed {}", listed(&names));
    let both = names == ["alpha", "beta"];
    expect(stage, both, "runtime.determine-networks", &expected, &observed);
    if both {
        expect_two_interfaces(stage, added, "runtime.attachment-identity");
    }
}

fn expect_two_interfaces(stage: &mut Stage<'_, '_>, added: &[Record], requirement: &'static str) {
    let names: Vec<&str> = added.iter().filter_map(|record| record.variable("CNI_IFNAME")).collect();
    let [one, other] = names.as_slice() else { return };
    let observed = format!("the interfaces are {one} and {other}");
    expect(stage, one != other, requirement, "two attachments of a container have two interfaces", &observed);
}

/// No two of these executions ran at the same time.
fn expect_apart(stage: &mut Stage<'_, '_>, seen: &[Record]) {
    let pair = stage::beside(seen);
    let observed = pair
        .map(|(one, other)| format!("{} and {} ran at the same time", one.label(), other.label()))
        .unwrap_or_default();
    for requirement in ["runtime.networks-sequential", "runtime.no-parallel-same-container"] {
        expect(
            stage,
            pair.is_none(),
            requirement,
            "a container joins one network after the other",
            &observed,
        );
    }
}

/// Each network is left in the reverse of the order in which they were joined.
fn expect_reverse(stage: &mut Stage<'_, '_>, added: &[Record], deleted: &[Record]) {
    let joined = executed(added);
    let mut left: Vec<&str> = Vec::new();
    // A runtime may repeat a DEL.
    for name in executed(deleted) {
        if !left.contains(&name) {
            left.push(name);
        }
    }
    if joined.len() != 2 {
        return;
    }
    let expected = format!("DEL executes {} and then {}, since ADD did the reverse", joined[1], joined[0]);
    let holds = left.iter().rev().eq(joined.iter());
    expect(
        stage,
        holds,
        "runtime.networks-del-reverse",
        &expected,
        &format!("it executed {}", listed(&left)),
    );
}

fn one_network_twice(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let (add, del) = steps(stage)?;
    let list = stage.list(&["alpha"]);
    stage.network(&list)?;
    let pod = stage.pod()?;
    let answer = stage.ask_of_two("ADD to a network twice", add, &pod, NETWORK)?;
    let added = stage.seen(Operation::Add)?;
    if !answer.succeeded() || added.len() != 2 {
        return Err(Stop::unmet(format!(
            "{}, {} executions: {}",
            answer.summary(),
            added.len(),
            said(&answer)
        )));
    }
    for requirement in ["runtime.distinct-ifname-per-attachment", "runtime.attachment-identity"] {
        expect_two_interfaces(stage, &added, requirement);
    }
    stage.ask_of_two("DEL from a network twice", del, &pod, NETWORK)?;
    Ok(())
}

/// States what a requirement says, in the versions in which it says something.
fn expect(stage: &mut Stage<'_, '_>, holds: bool, requirement: &'static str, expected: &str, observed: &str) {
    if stage.case.level(requirement).is_some() {
        stage.case.expect(holds, requirement, expected, observed);
    }
}
