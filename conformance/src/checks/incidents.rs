//! Situations in which released plugins have failed, and which no other check plays: see `wild.toml`.

use std::collections::BTreeSet;

use cni_spec::{Operation, Version};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::case::{Attachment, Call, Case, Stop};
use super::changes::{self, Subject};
use super::cycle::{Behaviour, RECORDER_DIR, RECORDER_LOG, TAKEN_LOG, WHILE_THERE};
use super::protocol::{changed_add, expect_lives};
use super::reproducer::{Assertion, Step};
use super::security::TOOLS;
use super::{Check, Concerns, Scope, check, cycle, front, kernel};
use crate::arena::snapshot::Snapshot;
use crate::arena::{NetOp, Place};
use crate::target::Kind;

const INTERFACE: Concerns = Concerns::Kinds(&[Kind::Interface]);
const WITH_INTERFACE: Concerns = Concerns::Kinds(&[Kind::Interface, Kind::Chained]);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "add.dotted-name",
        title: "ADD works on an interface with a dot in its name",
        requirements: &["add.creates-interface", "add.adjusts-interface"],
        concerns: WITH_INTERFACE,
        scope: Scope::Configurations,
        since: Version::V1_0_0,
        variants: &[],
        run: dotted_name,
    },
    Check {
        id: "add.host-has-name",
        title: "ADD and DEL do not mind an interface of the host that is called CNI_IFNAME",
        requirements: &["add.creates-interface", "del.foreign-interface-untouched"],
        concerns: INTERFACE,
        scope: Scope::Configurations,
        since: Version::V1_0_0,
        variants: &[],
        run: host_has_name,
    },
    Check {
        id: "add.device-name-taken",
        title: "A device of the host can go into a container that has an interface of its name",
        requirements: &["add.creates-interface"],
        concerns: INTERFACE,
        scope: Scope::Configurations,
        since: Version::V1_0_0,
        variants: &[],
        run: device_name_taken,
    },
    Check {
        id: "conventions.nothing-asked",
        title: "A plugin of which nothing is asked at run time works, or refuses ADD cleanly",
        requirements: &["check.ok-after-add", "del.best-effort", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Obliging,
        scope: Scope::Configurations,
        since: Version::V0_4_0,
        variants: &[],
        run: nothing_asked,
    },
    Check {
        id: "ipam.odd-ranges",
        title: "Addresses from ranges with zeros in front are in these ranges",
        requirements: &["conv.follow-plugin", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Taking("ipRanges"),
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &["0.5.0.0/24", "::5:0/120", "ff:0:0:5::/64"],
        run: odd_ranges,
    },
    Check {
        id: "ipam.section-missing",
        title: "An IPAM plugin lives through a configuration without its section",
        requirements: &["error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Kinds(&[Kind::Ipam]),
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &["plain", "IP in CNI_ARGS"],
        run: section_missing,
    },
    Check {
        id: "check.ipv6-off",
        title: "CHECK right after ADD succeeds in a container without IPv6",
        requirements: &["check.ok-after-add"],
        concerns: INTERFACE,
        scope: Scope::Configurations,
        since: Version::V0_4_0,
        variants: &[],
        run: ipv6_off,
    },
    Check {
        id: "check.port-mappings",
        title: "CHECK right after ADD succeeds, whichever addresses of the host the mapped ports are at",
        requirements: &["check.ok-after-add"],
        concerns: Concerns::Taking("portMappings"),
        scope: Scope::Configurations,
        since: Version::V0_4_0,
        variants: &["no address", "empty", "0.0.0.0", "::", "one of each family"],
        run: port_mappings,
    },
    Check {
        id: "del.late",
        title: "A late DEL of an old container leaves alone the one that came in its place",
        requirements: &["del.only-own-attachment"],
        concerns: Concerns::Attaching,
        scope: Scope::Configurations,
        since: Version::V0_4_0,
        variants: &["beside", "after"],
        run: late,
    },
    Check {
        id: "del.firewall-gone",
        title: "DEL succeeds when the firewall was flushed",
        requirements: &["del.best-effort", "error.json-on-stdout-nonzero-exit"],
        concerns: WITH_INTERFACE,
        scope: Scope::Configurations,
        since: Version::V0_3_0,
        variants: &[],
        run: firewall_gone,
    },
    Check {
        id: "del.nothing-to-undo",
        title: "DEL of a container for which nothing was asked executes no firewall tool",
        requirements: &["practice.firewall-let-be"],
        concerns: Concerns::Taking("portMappings"),
        scope: Scope::Configurations,
        since: Version::V0_3_0,
        variants: &[],
        run: nothing_to_undo,
    },
    Check {
        id: "del.master-gone",
        title: "DEL succeeds and releases the address when the host's interface under the container's is gone",
        requirements: &["del.best-effort", "add.host-state-restored-after-cycle"],
        concerns: INTERFACE,
        scope: Scope::Configurations,
        since: Version::V0_4_0,
        variants: &[],
        run: master_gone,
    },
    Check {
        id: "del.released-last",
        title: "DEL gives the addresses back when the interface is gone, and not before",
        requirements: &["practice.address-released-last"],
        concerns: Concerns::Addressing,
        scope: Scope::Configurations,
        since: Version::V0_4_0,
        variants: &[],
        run: released_last,
    },
    Check {
        id: "del.obstructed",
        title: "A DEL that could not bring the device back to the host does so when it is repeated",
        requirements: &["add.host-state-restored-after-cycle"],
        concerns: INTERFACE,
        scope: Scope::Configurations,
        since: Version::V0_4_0,
        variants: &[],
        run: obstructed,
    },
];

// ---- names

fn dotted_name(case: &mut Case<'_>) -> Result<(), Stop> {
    if kernel::has_fixed_interface(case) {
        return Err(Stop::skip(
            "the plugin configures the same interface whatever CNI_IFNAME says".to_owned(),
        ));
    }
    let usual = cycle::attached(case)?;
    cycle::detach(case, &usual)?;
    let mut attachment = case.attachment()?;
    attachment.ifname = "eth0.100".to_owned();
    let requirement = match case.kind() {
        Kind::Chained => {
            attachment.previous = Some(front::beside(case, &attachment, "eth0.100", 78)?);
            "add.adjusts-interface"
        }
        _ => "add.creates-interface",
    };
    let call = case.call(Operation::Add, &attachment).label("ADD with CNI_IFNAME=eth0.100");
    let answer = case.run(call)?;
    case.expect_success(&answer, requirement);
    Ok(())
}

fn host_has_name(case: &mut Case<'_>) -> Result<(), Stop> {
    kernel::needs_own_interface(case)?;
    let mut attachment = case.attachment()?;
    let name = attachment.ifname.clone();
    let pair = NetOp::AddVeth { a: name.clone(), b: "other-peer".to_owned(), peer_place: Place::Host };
    case.network(&Place::Host, pair)?;
    let address = [198, 51, 100, 1].into();
    case.network(&Place::Host, NetOp::AddAddress { link: name.clone(), address, prefix: 25 })?;
    case.network(&Place::Host, NetOp::SetUp { link: name.clone() })?;
    let before = case.snapshot()?;
    let label = format!("ADD while the host has an interface {name}");
    let answer = case.run(case.call(Operation::Add, &attachment).label(label))?;
    case.expect_success(&answer, "add.creates-interface");
    attachment.result = answer.document().filter(|_| answer.succeeded()).cloned();
    case.operate(Operation::Del, &attachment)?;
    let after = case.snapshot()?;
    let is_of_host = |line: &str| line.contains(" host ") && line.split([' ', '/']).any(|word| word == name);
    cycle::expect_kept(case, &before, &after, "del.foreign-interface-untouched", "ADD and DEL", |line| {
        !is_of_host(line)
    });
    Ok(())
}

fn device_name_taken(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let device = device(case, &attachment)?;
    let place = attachment.place();
    let pair = NetOp::AddVeth { a: device.clone(), b: "other-peer".to_owned(), peer_place: Place::Host };
    case.network(&place, pair)?;
    let label = format!("ADD into a container that has an interface {device}");
    let answer = case.run(case.call(Operation::Add, &attachment).label(label))?;
    case.expect_success(&answer, "add.creates-interface");
    Ok(())
}

/// The device of the host that the target provides for this attachment.
fn device(case: &Case<'_>, attachment: &Attachment) -> Result<String, Stop> {
    let found = changes::devices_of(case, attachment).pop();
    found.ok_or_else(|| Stop::skip("the plugin takes no device of the host".to_owned()))
}

// ---- what is asked for

fn nothing_asked(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    if attachment.plugin.remove("runtimeConfig").is_none() {
        return Err(Stop::skip("the configuration asks for nothing at run time".to_owned()));
    }
    let label = |operation| format!("{operation} without runtimeConfig");
    let answer = case.run(case.call(Operation::Add, &attachment).label(label("ADD")))?;
    if !expect_lives(case, &answer) || !answer.succeeded() {
        return Ok(());
    }
    attachment.result = answer.document().cloned();
    for (operation, requirement) in
        [(Operation::Check, "check.ok-after-add"), (Operation::Del, "del.best-effort")]
    {
        let call = case.call(operation, &attachment).label(label(operation.as_str()));
        let answer = case.run(call)?;
        case.expect_success(&answer, requirement);
        cycle::expect_no_crash(case, &answer);
    }
    Ok(())
}

fn odd_ranges(case: &mut Case<'_>) -> Result<(), Stop> {
    let range: IpNet =
        case.variant.parse().map_err(|_| Stop::Undecided(format!("{} is no range", case.variant)))?;
    for count in ["first", "second"] {
        let mut attachment = case.attachment()?;
        let asked = json!({ "ipRanges": [[{ "subnet": case.variant }]] });
        attachment.plugin.insert("runtimeConfig".to_owned(), asked);
        let label = format!("the {count} ADD with a range {range}");
        let answer = case.run(case.call(Operation::Add, &attachment).label(label))?;
        // Some of these ranges have no place in a network: a plugin may say so.
        if !expect_lives(case, &answer) || !answer.succeeded() {
            return Ok(());
        }
        let printed = answer.document().map(Value::to_string).unwrap_or_default();
        let given = kernel::read(case, answer.document()).map(|result| kernel::ips(&result));
        let holds = given.is_ok_and(|given| given.iter().any(|address| range.contains(address)));
        let expected = format!("{} gives an address in {range}", answer.label);
        case.expect(holds, "conv.follow-plugin", expected, printed);
    }
    Ok(())
}

fn section_missing(case: &mut Case<'_>) -> Result<(), Stop> {
    let args = match case.variant {
        "plain" => "IgnoreUnknown=1",
        _ => "IgnoreUnknown=1;IP=10.74.0.77/24",
    };
    let change = |call: Call| {
        call.set("CNI_ARGS", args).label("ADD without ipam").edit(|request| drop(request.remove("ipam")))
    };
    let (answer, _) = changed_add(case, change)?;
    expect_lives(case, &answer);
    Ok(())
}

// ---- CHECK

fn ipv6_off(case: &mut Case<'_>) -> Result<(), Stop> {
    let usual = cycle::attached(case)?;
    let checked = case.operate(Operation::Check, &usual)?;
    if !checked.succeeded() {
        return Err(Stop::unmet(checked.summary()));
    }
    let mut attachment = case.attachment()?;
    let name = "net/ipv6/conf/all/disable_ipv6";
    let container = attachment.container.clone();
    case.steps.push(Step::Shell(format!("ip netns exec {container} sh -c 'echo 1 >/proc/sys/{name}'")));
    case.arena.set_sysctl(&attachment.place(), name, "1")?;
    case.add(&mut attachment)?;
    let call = case.call(Operation::Check, &attachment).label("CHECK in a container without IPv6");
    let answer = case.run(call)?;
    case.expect_success(&answer, "check.ok-after-add");
    Ok(())
}

fn port_mappings(case: &mut Case<'_>) -> Result<(), Stop> {
    let addresses: &[Option<&str>] = match case.variant {
        "no address" => &[None],
        "empty" => &[Some("")],
        "one of each family" => &[Some("127.0.0.1"), Some("::1")],
        address => &[Some(address)],
    };
    let mut mappings = Vec::new();
    for address in addresses {
        for (port, protocol) in [(18080, "tcp"), (18053, "udp")] {
            let mut mapping = json!({ "hostPort": port, "containerPort": 8080, "protocol": protocol });
            if let Some(address) = address {
                mapping["hostIP"] = json!(address);
            }
            mappings.push(mapping);
        }
    }
    let mut attachment = case.attachment()?;
    attachment.plugin.insert("runtimeConfig".to_owned(), json!({ "portMappings": mappings }));
    case.add(&mut attachment)?;
    let label = format!("CHECK of mappings at {}", case.variant);
    let answer = case.run(case.call(Operation::Check, &attachment).label(label))?;
    case.expect_success(&answer, "check.ok-after-add");
    Ok(())
}

// ---- DEL

fn late(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut old = case.attachment()?;
    name_pod(&mut old);
    case.add(&mut old)?;
    let mut new = case.attachment()?;
    name_pod(&mut new);
    if case.variant == "after" {
        cycle::detach(case, &old)?;
        // What the old one had is free for the new one.
        new.plugin = old.plugin.clone();
    }
    let alone = case.snapshot()?;
    case.add(&mut new)?;
    let passes = case.operate(Operation::Check, &new)?.succeeded();
    let before = case.snapshot()?;
    for label in ["DEL of the old container", "another DEL of the old container"] {
        let call = case.call(Operation::Del, &old).label(label);
        case.run(call)?;
    }
    let after = case.snapshot()?;
    let made: BTreeSet<String> = signless(changes::judged(case, &alone, &before), "+ ");
    let taken = |line: &str| line.strip_prefix("- ").is_some_and(|rest| made.contains(rest));
    let changed = |line: &str| line.starts_with("~ ") && changes::is_in_container(line, &new);
    let what = "a late DEL of another container of the same pod";
    case.expect_unchanged(&before, &after, "del.only-own-attachment", what, |line| {
        !taken(line) && !changed(line)
    });
    if passes {
        let call = case.call(Operation::Check, &new).label("CHECK of the new container");
        let answer = case.run(call)?;
        case.expect_success(&answer, "del.only-own-attachment");
    }
    Ok(())
}

/// What follows this sign in the lines of a difference that begin with it.
pub(super) fn signless(lines: Vec<String>, sign: &str) -> BTreeSet<String> {
    lines.iter().filter_map(|line| line.strip_prefix(sign)).map(str::to_owned).collect()
}

/// Says that the container is that of a certain pod.
fn name_pod(attachment: &mut Attachment) {
    let own = attachment.args.take().map(|args| format!("{args};")).unwrap_or_default();
    let ignore = if own.contains("IgnoreUnknown") { "" } else { "IgnoreUnknown=1;" };
    let id = &attachment.container_id;
    attachment.args = Some(format!(
        "{own}{ignore}K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID={id}"
    ));
}

fn firewall_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::added(case)?;
    let what = check::flush_firewall(case, &added)?;
    let call = case.call(Operation::Del, &added.attachment).label(format!("DEL after {what}"));
    let answer = case.run(call)?;
    case.expect_success(&answer, "del.best-effort");
    cycle::expect_no_crash(case, &answer);
    Ok(())
}

fn nothing_to_undo(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    if attachment.plugin.remove("runtimeConfig").is_none() {
        return Err(Stop::skip("the configuration asks for nothing at run time"));
    }
    let before = case.snapshot()?;
    case.add(&mut attachment)?;
    let after = case.snapshot()?;
    // Then there is something for DEL to do.
    let of_firewall = |line: &String| line.contains(" nftables ") || line.contains(" iptables ");
    if changes::judged(case, &before, &after).iter().any(of_firewall) {
        return Err(Stop::skip("ADD changes the firewall although nothing is asked of it at run time"));
    }
    let mut recorded = 0;
    for tool in TOOLS {
        let Some(real) = case.arena.find_program(tool)? else { continue };
        // Who asks for the version takes no lock.
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in --version | -V | -v) ;; *) echo \"{tool} $*\" >>{RECORDER_LOG} ;; esac\nexec {} \"$@\"\n",
            real.display()
        );
        case.write_file(&format!("{RECORDER_DIR}/{tool}"), &script, 0o755)?;
        recorded += 1;
    }
    if recorded == 0 {
        return Err(Stop::lacking("no firewall tool is installed"));
    }
    let call = case.call(Operation::Del, &attachment);
    let path = call.environment.get("PATH").cloned().unwrap_or_default();
    let call = call.set("PATH", &format!("{RECORDER_DIR}:{path}")).label("DEL without runtimeConfig");
    let answer = case.run(call)?;
    if !answer.succeeded() {
        return Err(Stop::unmet(answer.summary()));
    }
    let log = cycle::take_log(case)?;
    let observed = format!("it executes {}", log.join("; "));
    let assertion = Assertion::Shell(format!("[ ! -s {TAKEN_LOG} ]"));
    let expected = format!("{} executes no firewall tool", answer.label);
    case.expect_as(log.is_empty(), "practice.firewall-let-be", expected, observed, assertion);
    Ok(())
}

fn master_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    let Some(master) = attachment.plugin.get("master").and_then(Value::as_str).map(str::to_owned) else {
        return Err(Stop::skip("the configuration names no master".to_owned()));
    };
    // What belongs to the network is there already.
    let first = cycle::attached(case)?;
    cycle::detach(case, &first)?;
    let before = case.snapshot()?;
    case.add(&mut attachment)?;
    case.network(&Place::Host, NetOp::DeleteLink { name: master.clone() })?;
    let call = case.call(Operation::Del, &attachment).label(format!("DEL after {master} was deleted"));
    let answer = case.run(call)?;
    let after = case.snapshot()?;
    if case.expect_success(&answer, "del.best-effort") {
        expect_no_files(case, &before, &after, &answer.label);
    }
    Ok(())
}

/// States that no file is left that was not there before.
fn expect_no_files(case: &mut Case<'_>, before: &Snapshot, after: &Snapshot, what: &str) {
    case.expect_unchanged(before, after, "add.host-state-restored-after-cycle", what, |line| {
        changes::subject_of(line) != Subject::File || changes::is_file_content(line)
    });
}

fn released_last(case: &mut Case<'_>) -> Result<(), Stop> {
    kernel::needs_own_interface(case)?;
    if !case.arena.has_program("nsenter")? {
        return Err(Stop::lacking("the program nsenter is not installed".to_owned()));
    }
    let mut attachment = case.attachment()?;
    cycle::record_delegate(case, &mut attachment, Behaviour::Looks)?;
    cycle::recorded_add(case, &mut attachment)?;
    let answer = case.run(cycle::recorded_call(case, Operation::Del, &attachment))?;
    let log = cycle::take_log(case)?;
    if !log.iter().any(|line| line == Operation::Del.as_str()) {
        return Err(Stop::unmet(format!("{}; the delegated plugin was not executed", answer.summary())));
    }
    let name = case.interface(&attachment);
    let holds = !log.iter().any(|line| line == WHILE_THERE);
    let expected = format!("{name} is gone when the delegated plugin is executed with DEL");
    let assertion = Assertion::Shell(format!("! grep -q '{WHILE_THERE}' {TAKEN_LOG}"));
    let observed = format!("{name} is still in the container");
    case.expect_as(holds, "practice.address-released-last", expected, observed, assertion);
    Ok(())
}

fn obstructed(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    let device = device(case, &attachment)?;
    let mac = case.snapshot()?.host.link(&device).and_then(|link| link.mac.clone());
    case.add(&mut attachment)?;
    if case.snapshot()?.host.link(&device).is_some() {
        return Err(Stop::skip(format!("ADD leaves {device} on the host")));
    }
    let obstacle = "obstacle-peer".to_owned();
    let pair = NetOp::AddVeth { a: device.clone(), b: obstacle.clone(), peer_place: Place::Host };
    case.network(&Place::Host, pair)?;
    let label = format!("DEL while the host has another interface {device}");
    let first = case.run(case.call(Operation::Del, &attachment).label(label))?;
    // The other end goes with it, whatever it is called by now.
    case.network(&Place::Host, NetOp::DeleteLink { name: obstacle })?;
    let second = case.run(case.call(Operation::Del, &attachment).label("DEL when it is gone"))?;
    let end = case.snapshot()?;
    let back = end.host.links.iter().any(|link| link.mac.is_some() && link.mac == mac);
    let expected = format!("{device} is back on the host after a DEL that succeeds");
    let observed = format!("{}; {}; it is not there", first.summary(), second.summary());
    let holds = back || !second.succeeded();
    case.expect(holds, "add.host-state-restored-after-cycle", expected, observed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_taken_off() {
        let lines =
            vec!["+ host link a".to_owned(), "- host link b".to_owned(), "~ host link + c".to_owned()];
        assert_eq!(signless(lines, "+ "), BTreeSet::from(["host link a".to_owned()]));
    }
}
