//! ADD where something is there already: an interface of that name, another attachment, another plugin's result.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cni_spec::result::AddResult;
use cni_spec::{Operation, Version};
use serde_json::Value;

use super::case::{Answer, Attachment, Case, Stop};
use super::{Check, Concerns, Scope, carried, changes, cycle, del, front, incidents, kernel};
use crate::arena::NetOp;
use crate::arena::snapshot::{NamespaceState, Route};
use crate::target::Kind;

const INTERFACE: Concerns = Concerns::Kinds(&[Kind::Interface]);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "add.existing-interface",
        title: "ADD fails when the container already has an interface called CNI_IFNAME, and leaves it alone",
        requirements: &[
            "add.existing-ifname-errors",
            "add.failure-leaves-del-able",
            "add.failure-rolls-back",
        ],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V1_0_0,
        variants: &[],
        run: existing_interface,
    },
    Check {
        id: "add.twice",
        title: "A second ADD without DEL fails, and the first attachment goes on working",
        requirements: &["add.twice-errors"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V1_0_0,
        variants: &[],
        run: twice,
    },
    Check {
        id: "add.second-interface",
        title: "The same container can join the network again under another interface name",
        requirements: &["add.second-ifname-same-container", "del.only-own-attachment"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: second_interface,
    },
    Check {
        id: "add.concurrent",
        title: "Containers can be attached at the same moment, and detached at the same moment",
        requirements: &[
            "add.concurrent-containers",
            "del.concurrent-containers",
            "add.host-state-restored-after-cycle",
            "del.removes-interface",
            "del.undoes-modifications",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V1_0_0,
        variants: &[],
        run: concurrent,
    },
    Check {
        id: "del.two-attachments",
        title: "A container on two networks, or twice on one, leaves them one after the other, and nothing is left of either",
        requirements: &[
            "del.only-own-attachment",
            "add.host-state-restored-after-cycle",
            "del.removes-interface",
            "del.undoes-modifications",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Configurations,
        since: Version::V1_0_0,
        variants: &["two networks", "one network twice"],
        run: two_attachments,
    },
    Check {
        id: "add.prevresult-passed",
        title: "An interface plugin adds its own result to the prevResult that it is given",
        requirements: &["add.prevresult-echoed", "add.prevresult-indexes-kept"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: prevresult_passed,
    },
];

fn existing_interface(case: &mut Case<'_>) -> Result<(), Stop> {
    kernel::needs_own_interface(case)?;
    cycle::settle(case)?;
    let attachment = case.attachment()?;
    let name = attachment.ifname.clone();
    let place = attachment.place();
    case.network(
        &place,
        NetOp::AddVeth { a: name.clone(), b: "other0".to_owned(), peer_place: place.clone() },
    )?;
    let before = case.snapshot()?;
    let answer = case.operate(Operation::Add, &attachment)?;
    let after = case.snapshot()?;

    let why = format!("the container already has an interface called {name}");
    case.expect_refusal(&answer, "add.existing-ifname-errors", &why);
    let expected = format!("the interface {name} that was there is left alone");
    let old = kernel::state(&before, &attachment)?.link(&name).cloned();
    let new = kernel::state(&after, &attachment)?.link(&name).cloned();
    if let Some(old) = old {
        let observed = match &new {
            None => format!("{name} is gone"),
            Some(new) if new.index != old.index || new.kind != old.kind => {
                format!("{name} is another interface now")
            }
            Some(new) if new.mac != old.mac => format!("{name} has another hardware address"),
            Some(_) => String::new(),
        };
        case.expect(observed.is_empty(), "add.existing-ifname-errors", expected, observed);
    }
    if answer.succeeded() {
        return Ok(());
    }
    let own = |line: &str| changes::is_in_container(line, &attachment) || changes::is_file_content(line);
    case.expect_unchanged(&before, &after, "add.failure-rolls-back", "an ADD that fails", own);
    let deleted = case.operate(Operation::Del, &attachment)?;
    if case.expect_success(&deleted, "add.failure-leaves-del-able") {
        let end = case.snapshot()?;
        let what = "an ADD that fails, followed by DEL,";
        case.expect_unchanged(&before, &end, "add.failure-leaves-del-able", what, own);
    }
    Ok(())
}

fn twice(case: &mut Case<'_>) -> Result<(), Stop> {
    kernel::needs_own_interface(case)?;
    let mut attachment = case.attachment()?;
    case.add(&mut attachment)?;
    let before = case.snapshot()?;
    let call = case.call(Operation::Add, &attachment).label("second ADD");
    let answer = case.run(call)?;
    let after = case.snapshot()?;
    let why = format!("the container already has the interface {}", attachment.ifname);
    if case.expect_refusal(&answer, "add.twice-errors", &why) {
        let not_reserved = |line: &str| changes::subject_of(line) != changes::Subject::File;
        let what = "a second ADD, which fails,";
        cycle::expect_kept(case, &before, &after, "add.twice-errors", what, not_reserved);
        let (before, after) = (kernel::state(&before, &attachment)?, kernel::state(&after, &attachment)?);
        expect_intact(case, "add.twice-errors", "the second ADD", &attachment.ifname, before, after);
    }
    Ok(())
}

fn second_interface(case: &mut Case<'_>) -> Result<(), Stop> {
    kernel::needs_own_interface(case)?;
    if case.target.is_some_and(|target| target.links.iter().any(|link| link.per_container)) {
        return Err(Stop::skip("the target has one link for each container".to_owned()));
    }
    let first = kernel::added(case)?;
    let alone = first.container()?.clone();
    let mut second = Attachment { ifname: "eth1".to_owned(), result: None, ..first.attachment.clone() };
    let call = case.call(Operation::Add, &second).label("ADD of eth1");
    let answer = case.run(call)?;
    if !case.expect_success(&answer, "add.second-ifname-same-container") {
        return Ok(());
    }
    second.result = answer.document().cloned();
    let result = kernel::read(case, second.result.as_ref())?;
    expect_distinct(case, "add.second-ifname-same-container", &[("eth0", &first.result), ("eth1", &result)]);

    let snapshot = case.snapshot()?;
    let both = kernel::state(&snapshot, &first.attachment)?.clone();
    let there = both.link("eth1").is_some();
    let observed = format!("the container's interfaces: {}", kernel::list(kernel::links(&both)));
    case.expect(there, "add.second-ifname-same-container", "the container has eth0 and eth1", observed);
    expect_intact(case, "add.second-ifname-same-container", "the ADD of eth1", "eth0", &alone, &both);

    let call = case.call(Operation::Del, &second).label("DEL of eth1");
    let answer = case.run(call)?;
    if answer.succeeded() {
        let snapshot = case.snapshot()?;
        let rest = kernel::state(&snapshot, &first.attachment)?.clone();
        expect_intact(case, "del.only-own-attachment", "the DEL of eth1", "eth0", &alone, &rest);
    }
    Ok(())
}

fn two_attachments(case: &mut Case<'_>) -> Result<(), Stop> {
    if kernel::has_fixed_interface(case) {
        return Err(Stop::skip("the plugin configures the same interface whatever CNI_IFNAME says"));
    }
    if case.target.is_some_and(|target| target.links.iter().any(|link| link.per_container)) {
        return Err(Stop::skip("the target has one link for each container"));
    }
    // What belongs to the networks and to no attachment stays there because of the first container.
    let mut settled = case.attachment()?;
    let empty = case.snapshot()?;
    case.add(&mut settled)?;
    let made = cycle::new_host_links(&empty, &case.snapshot()?);
    let mut other = second_attachment(case, &settled, &made, 80)?;
    case.add(&mut other)?;

    let mut first = case.attachment()?;
    let mut second = second_attachment(case, &first, &made, 81)?;
    let before = case.snapshot()?;
    case.add(&mut first)?;
    let alone = case.snapshot()?;
    case.add(&mut second)?;
    let both = case.snapshot()?;
    del::delete_stubbornly(case, &first)?;
    let rest = case.snapshot()?;
    let what = "the DEL of eth0";
    let added = incidents::signless(changes::judged(case, &alone, &both), "+ ");
    case.expect_unchanged(&both, &rest, "del.only-own-attachment", what, |line| {
        changes::is_in_container(line, &first)
            || !line.strip_prefix("- ").is_some_and(|lost| added.contains(lost))
    });
    if case.kind() != Kind::Ipam {
        let (both, rest) = (kernel::state(&both, &first)?, kernel::state(&rest, &first)?);
        expect_intact(case, "del.only-own-attachment", what, &second.ifname, both, rest);
    }
    del::delete_stubbornly(case, &second)?;
    let end = case.snapshot()?;
    let what =
        format!("joining {} and leaving both", case.variant.replace("one network twice", "a network twice"));
    cycle::expect_nothing_left(case, &before, &end, &what, |_| false);
    Ok(())
}

/// Another attachment of the container, `eth1`: to the same network, or to another one that has other addresses and other
/// links on the host (`made` are those that ADD makes).
fn second_attachment(
    case: &mut Case<'_>,
    first: &Attachment,
    made: &[String],
    number: usize,
) -> Result<Attachment, Stop> {
    let mut second = Attachment { ifname: "eth1".to_owned(), result: None, ..first.clone() };
    if case.kind() == Kind::Chained {
        second.previous = Some(front::beside(case, &second, "eth1", number)?);
    }
    for (key, value) in &mut second.plugin {
        // Two attachments cannot have the same port of the host.
        if key == "runtimeConfig" {
            move_ports(value);
        } else if case.variant == "two networks" && key != "type" {
            move_network(value, made);
        }
    }
    if case.variant == "two networks" {
        second.plugin.insert("name".to_owned(), Value::from("cnitest-other-net"));
    }
    Ok(second)
}

/// Moves each port of the host to another one.
pub(crate) fn move_ports(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(move_ports),
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value.as_u64()) {
                    ("hostPort", Some(port)) => *value = Value::from(port + 100),
                    _ => move_ports(value),
                }
            }
        }
        _ => {}
    }
}

/// Moves each address to another network, and gives the links that ADD makes other names.
pub(crate) fn move_network(value: &mut Value, made: &[String]) {
    match value {
        Value::String(text) if made.contains(text) => text.push('b'),
        Value::String(text) => {
            if let Some(moved) = moved(text) {
                *text = moved;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_network(item, made)),
        Value::Object(map) => map.values_mut().for_each(|item| move_network(item, made)),
        _ => {}
    }
}

/// An address or range of another network; nothing for a text that is neither, and for a range that holds both networks.
fn moved(text: &str) -> Option<String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    // The bit that is changed is the one after these.
    let common = if address.is_ipv4() { 8 } else { 16 };
    if prefix.is_some_and(|prefix| prefix.parse().is_ok_and(|length: u8| length <= common)) {
        return None;
    }
    let moved: IpAddr = match address {
        IpAddr::V4(v4) => IpAddr::from((u32::from(v4) ^ 0x0080_0000).to_be_bytes()),
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) ^ (0x8000 << 96)).to_be_bytes()),
    };
    Some(prefix.map_or_else(|| moved.to_string(), |prefix| format!("{moved}/{prefix}")))
}

fn concurrent(case: &mut Case<'_>) -> Result<(), Stop> {
    cycle::settle(case)?;
    // Pools of targets for IPAM plugins are small, so that exhaustion can be tested.
    let count = if case.kind() == Kind::Ipam { 3 } else { 6 };
    let mut attachments = Vec::new();
    for _ in 0..count {
        attachments.push(case.attachment()?);
    }
    let before = case.snapshot()?;
    let answers = together(case, Operation::Add, &attachments)?;
    let mut results = Vec::new();
    for (attachment, answer) in attachments.iter_mut().zip(&answers) {
        if case.expect_success(answer, "add.concurrent-containers") {
            attachment.result = answer.document().cloned();
            if let Ok(result) = kernel::read(case, attachment.result.as_ref()) {
                results.push((attachment.container.clone(), result));
            }
        }
    }
    let named: Vec<(&str, &AddResult)> =
        results.iter().map(|(name, result)| (name.as_str(), result)).collect();
    expect_distinct(case, "add.concurrent-containers", &named);

    let deletions = together(case, Operation::Del, &attachments)?;
    cycle::blame_concurrency(case, &deletions)?;
    let mut deleted = true;
    for answer in deletions {
        deleted &= case.expect_success(&answer, "del.concurrent-containers");
    }
    if deleted {
        let after = case.snapshot()?;
        let what = format!("attaching {count} containers at once and detaching them at once");
        cycle::expect_nothing_left(case, &before, &after, &what, |_| false);
    }
    Ok(())
}

fn prevresult_passed(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    let previous = front::beside(case, &attachment, "other0", 200)?;
    attachment.previous = Some(previous.clone());
    let added = kernel::add(case, attachment)?;
    let previous = kernel::read(case, Some(&previous))?;
    carried::expect_carried(case, &previous, &added);
    Ok(())
}

fn together(
    case: &mut Case<'_>,
    operation: Operation,
    attachments: &[Attachment],
) -> Result<Vec<Answer>, Stop> {
    let calls = attachments
        .iter()
        .map(|one| case.call(operation, one).label(format!("{operation} of {}", one.container)))
        .collect();
    case.run_together(calls)
}

/// Expects that no address was given twice, where the plugin has a choice.
fn expect_distinct(case: &mut Case<'_>, requirement: &'static str, results: &[(&str, &AddResult)]) {
    let mut seen = BTreeSet::new();
    for (name, result) in results {
        if !kernel::addresses_are_chosen(case, result) {
            continue;
        }
        for address in kernel::ips(result) {
            let expected = format!("{name} gets addresses that no other attachment has");
            case.expect(seen.insert(address), requirement, expected, format!("{address} is given twice"));
        }
    }
}

/// Expects the interface to be the same as before, with its addresses and the routes that leave by it.
fn expect_intact(
    case: &mut Case<'_>,
    requirement: &'static str,
    what: &str,
    ifname: &str,
    before: &NamespaceState,
    after: &NamespaceState,
) {
    let lost = |kind: &str, there: BTreeSet<String>, now: BTreeSet<String>| {
        let lost = kernel::list(there.difference(&now));
        (lost != "none").then(|| format!("{kind} lost: {lost}"))
    };
    let observed = match (before.link(ifname), after.link(ifname)) {
        (Some(old), Some(new)) if old.index == new.index && old.up == new.up && old.mac == new.mac => {
            let texts = |state| kernel::addresses(state, ifname).iter().map(ToString::to_string).collect();
            lost("addresses", texts(before), texts(after))
                .or_else(|| lost("routes", destinations(before, ifname), destinations(after, ifname)))
        }
        (Some(_), Some(_)) => {
            Some(format!("{ifname} is another interface, is down or has another hardware address"))
        }
        (Some(_), None) => Some(format!("{ifname} is gone")),
        (None, _) => None,
    };
    let expected = format!("{what} leaves {ifname} with its addresses and routes as they were");
    case.expect(observed.is_none(), requirement, expected, observed.unwrap_or_default());
}

/// Where the routes of the main table lead that leave by an interface; a route may have got other next hops besides.
fn destinations(state: &NamespaceState, ifname: &str) -> BTreeSet<String> {
    let leaves = |route: &&Route| {
        route.table == Route::MAIN_TABLE
            && (route.device.as_deref() == Some(ifname)
                || route.next_hops.iter().any(|hop| hop.device.as_deref() == Some(ifname)))
    };
    state
        .routes
        .iter()
        .filter(leaves)
        .map(|route| format!("{}/{}", route.destination, route.prefix))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_network_has_other_addresses_and_links() {
        let mut plugin = json!({
            "bridge": "cnit0",
            "master": "uplink0",
            "ipam": { "subnet": "10.61.0.0/24", "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0", "gw": "fd00:61::1" }] }
        });
        move_network(&mut plugin, &["cnit0".to_owned()]);
        let expected = json!({
            "bridge": "cnit0b",
            "master": "uplink0",
            "ipam": { "subnet": "10.189.0.0/24", "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0", "gw": "fd00:8061::1" }] }
        });
        assert_eq!(plugin, expected);
    }

    #[test]
    fn a_range_that_holds_both_networks_stays() {
        for (range, other) in [
            ("10.0.0.0/8", None),
            ("10.0.0.0/9", Some("10.128.0.0/9")),
            ("fd00::/16", None),
            ("fd00::/17", Some("fd00:8000::/17")),
            ("::/0", None),
            ("10.1.0.1", Some("10.129.0.1")),
            ("eth0", None),
        ] {
            assert_eq!(moved(range).as_deref(), other, "{range}");
        }
    }

    #[test]
    fn ports_of_the_host_move() {
        let mut asked = json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80 }] });
        move_ports(&mut asked);
        assert_eq!(asked, json!({ "portMappings": [{ "hostPort": 8180, "containerPort": 80 }] }));
    }
}
