//! CHECK: it passes while the attachment is as ADD left it, fails when something of it is gone, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use cni_spec::{Operation, Version};
use serde_json::{Map, Value, json};

use super::case::{Answer, Attachment, Case, Stop};
use super::cycle::{self, Behaviour};
use super::kernel::{self, Added};
use super::observation::{self, Observation};
use super::reproducer::Step;
use super::{Check, Concerns, Scope, changes};
use crate::arena::snapshot::{Family, NamespaceState, Rule, Snapshot};
use crate::arena::{NetOp, Place};
use crate::target::Kind;

const INTERFACE: Concerns = Concerns::Kinds(&[Kind::Interface]);
const WITH_INTERFACE: Concerns = Concerns::Kinds(&[Kind::Interface, Kind::Chained]);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "check.healthy",
        title: "CHECK right after ADD succeeds and prints nothing",
        requirements: &["check.ok-after-add", "check.success-silent", "check.convergence-delay"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: healthy,
    },
    Check {
        id: "check.repeated",
        title: "CHECK succeeds again and again",
        requirements: &["check.ok-after-add"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: repeated,
    },
    Check {
        id: "check.no-mutation",
        title: "CHECK changes nothing, whether it passes or fails",
        requirements: &["check.no-mutation"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &["healthy", "interface-down"],
        run: no_mutation,
    },
    Check {
        id: "check.interface-gone",
        title: "CHECK fails when the interface is gone from the container",
        requirements: &["check.missing-interface-errors"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: interface_gone,
    },
    Check {
        id: "check.host-interface-gone",
        title: "CHECK fails when the attachment's interface on the host is gone",
        requirements: &["check.missing-interface-errors"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: host_interface_gone,
    },
    Check {
        id: "check.address-gone",
        title: "CHECK fails when an address is gone from the interface",
        requirements: &["check.missing-address-errors"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: address_gone,
    },
    Check {
        id: "check.route-gone",
        title: "CHECK fails when a route is gone from the container",
        requirements: &["check.missing-route-errors"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: route_gone,
    },
    Check {
        id: "check.link-weakened",
        title: "CHECK of an interface that is there but cannot be reached answers cleanly",
        requirements: &["error.json-on-stdout-nonzero-exit"],
        concerns: WITH_INTERFACE,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &["container-link-down", "host-link-down", "host-link-detached"],
        run: link_weakened,
    },
    Check {
        id: "check.netns-gone",
        title: "CHECK fails when the namespace no longer exists",
        requirements: &["check.netns-missing-errors"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: netns_gone,
    },
    Check {
        id: "check.after-del",
        title: "CHECK after DEL fails",
        requirements: &["check.after-del-errors"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: after_del,
    },
    Check {
        id: "check.missing-prevresult",
        title: "CHECK without prevResult answers cleanly",
        requirements: &["check.missing-prevresult", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: missing_prevresult,
    },
    Check {
        id: "check.extra-tolerated",
        title: "CHECK succeeds when a later plugin added an address and a route",
        requirements: &["check.allows-later-changes"],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: extra_tolerated,
    },
    Check {
        id: "check.mac-changed-by-later-plugin",
        title: "CHECK succeeds when a later plugin changed the hardware address and prevResult says so",
        requirements: &["check.allows-later-changes"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: mac_changed,
    },
    Check {
        id: "check.prevresult-altered",
        title: "CHECK fails when prevResult lists an address that is not configured",
        requirements: &["check.consults-prevresult"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: prevresult_altered,
    },
    Check {
        id: "check.resources-gone",
        title: "CHECK fails when what ADD made beside the interface is gone",
        requirements: &["check.untracked-resource-errors"],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &["firewall", "shaping", "links", "rules", "settings"],
        run: resources_gone,
    },
    Check {
        id: "check.reservation-gone",
        title: "CHECK fails when the reservation of the address is gone",
        requirements: &["check.untracked-resource-errors"],
        concerns: Concerns::Kinds(&[Kind::Ipam]),
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: reservation_gone,
    },
    Check {
        id: "check.delegate-called",
        title: "CHECK executes the delegated plugin",
        requirements: &["deleg.check-forwarded", "check.calls-delegates"],
        concerns: Concerns::Delegating,
        scope: Scope::Versions,
        since: Version::V0_4_0,
        variants: &[],
        run: delegate_called,
    },
    Check {
        id: "check.delegate-error",
        title: "CHECK fails when the delegated plugin's CHECK fails",
        requirements: &["check.calls-delegates", "deleg.error-propagates"],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &[],
        run: delegate_error,
    },
];

// ---- while all is well

fn healthy(case: &mut Case<'_>) -> Result<(), Stop> {
    let seen = observation::observe_checks(case)?;
    let answer = &seen.answers[0];
    case.expect_success(answer, "check.ok-after-add");
    cycle::expect_silence(case, answer, "check.success-silent");
    cycle::expect_no_crash(case, answer);
    // One that fails at once and passes later has not waited for what was under way.
    let later = seen.answers.iter().any(Answer::succeeded);
    let expected = "CHECK waits until what ADD began has come to its end";
    let observed = format!("{}; a later CHECK passes", answer.summary());
    case.expect(answer.succeeded() || !later, "check.convergence-delay", expected, observed);
    Ok(())
}

fn repeated(case: &mut Case<'_>) -> Result<(), Stop> {
    let seen = observation::observe_checks(case)?;
    if !seen.answers[0].succeeded() {
        return Err(Stop::unmet(seen.answers[0].summary()));
    }
    for answer in &seen.answers[1..] {
        case.expect_success(answer, "check.ok-after-add");
    }
    Ok(())
}

fn no_mutation(case: &mut Case<'_>) -> Result<(), Stop> {
    if case.variant == "healthy" {
        let seen = observation::observe_checks(case)?;
        case.expect_unchanged(&seen.before, &seen.after, "check.no-mutation", "CHECK", |_| false);
        return Ok(());
    }
    if case.kind() == Kind::Ipam {
        return Err(Stop::skip("the plugin has no interface".to_owned()));
    }
    let attachment = cycle::attached(case)?;
    let link = case.interface(&attachment);
    case.network(&attachment.place(), NetOp::SetDown { link })?;
    let before = case.snapshot()?;
    let answer = case.operate(Operation::Check, &attachment)?;
    let after = case.snapshot()?;
    let what = if answer.succeeded() { "CHECK" } else { "CHECK that fails" };
    case.expect_unchanged(&before, &after, "check.no-mutation", what, |_| false);
    Ok(())
}

fn extra_tolerated(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = healthy_attachment(case)?;
    let (place, link) = (added.attachment.place(), case.interface(&added.attachment));
    let address = IpAddr::from([198, 51, 100, 7]);
    case.network(&place, NetOp::AddAddress { link: link.clone(), address, prefix: 32 })?;
    let route = NetOp::AddRoute {
        destination: IpAddr::from([203, 0, 113, 0]),
        prefix: 24,
        gateway: None,
        link: Some(link),
        table: None,
        metric: None,
    };
    case.network(&place, route)?;
    let call = case.call(Operation::Check, &added.attachment).label("CHECK beside another address and route");
    let answer = case.run(call)?;
    case.expect_success(&answer, "check.allows-later-changes");
    Ok(())
}

fn mac_changed(case: &mut Case<'_>) -> Result<(), Stop> {
    kernel::needs_own_interface(case)?;
    let mut added = healthy_attachment(case)?;
    let link = case.interface(&added.attachment);
    let kind = added.container()?.link(&link).and_then(|link| link.kind.clone());
    if kind.as_deref() == Some("ipvlan") {
        return Err(Stop::skip("an ipvlan interface has the hardware address of its parent".to_owned()));
    }
    let mac = [0x02, 0xc0, 0xff, 0xee, 0x00, 0x07];
    let listed = listed_interface(&mut added.attachment, &link);
    let Some(entry) = listed.filter(|entry| entry.contains_key("mac")) else {
        return Err(Stop::skip("the result lists no hardware address of the interface".to_owned()));
    };
    entry.insert("mac".to_owned(), json!("02:c0:ff:ee:00:07"));
    case.network(&added.attachment.place(), NetOp::SetMac { link, mac })?;
    let call = case.call(Operation::Check, &added.attachment);
    let answer = case.run(call.label("CHECK after the hardware address was changed, in prevResult too"))?;
    case.expect_success(&answer, "check.allows-later-changes");
    Ok(())
}

// ---- when something is gone

fn interface_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    kernel::needs_own_interface(case)?;
    let added = healthy_attachment(case)?;
    let name = case.interface(&added.attachment);
    case.network(&added.attachment.place(), NetOp::DeleteLink { name: name.clone() })?;
    expect_failing_check(
        case,
        &added.attachment,
        "CHECK after the interface was deleted",
        "check.missing-interface-errors",
        &format!("the interface {name} is gone from the container"),
    )
}

fn host_interface_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    cycle::settle(case)?;
    let added = healthy_attachment(case)?;
    let name = own_host_link(&added)?;
    case.network(&Place::Host, NetOp::DeleteLink { name: name.clone() })?;
    expect_failing_check(
        case,
        &added.attachment,
        "CHECK after the host's interface was deleted",
        "check.missing-interface-errors",
        &format!("the interface {name}, which prevResult lists, is gone from the host"),
    )
}

fn address_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    needs_own_addresses(case)?;
    let added = healthy_attachment(case)?;
    let (link, address, prefix) = first_address(case, &added)?;
    case.network(&added.attachment.place(), NetOp::DeleteAddress { link: link.clone(), address, prefix })?;
    expect_failing_check(
        case,
        &added.attachment,
        "CHECK after an address was removed",
        "check.missing-address-errors",
        &format!("{address}/{prefix} is gone from {link}"),
    )
}

fn route_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    needs_own_addresses(case)?;
    let added = healthy_attachment(case)?;
    let Some((destination, prefix, gateway)) = first_route(&added)? else {
        return Err(Stop::skip("the result lists no route that the container has".to_owned()));
    };
    case.network(
        &added.attachment.place(),
        NetOp::DeleteRoute { destination, prefix, gateway, table: None },
    )?;
    expect_failing_check(
        case,
        &added.attachment,
        "CHECK after a route was removed",
        "check.missing-route-errors",
        &format!("the route to {destination}/{prefix} is gone from the container"),
    )
}

fn netns_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = healthy_attachment(case)?;
    cycle::delete_netns(case, &added.attachment)?;
    expect_failing_check(
        case,
        &added.attachment,
        "CHECK after the namespace was deleted",
        "check.netns-missing-errors",
        "the namespace no longer exists",
    )
}

fn after_del(case: &mut Case<'_>) -> Result<(), Stop> {
    // What belongs to the network stays after DEL; it is there before.
    cycle::settle(case)?;
    let added = healthy_attachment_with_settings(case)?;
    let made = changes::between(case, &added.before, &added.after);
    if made.iter().all(|line| changes::is_file_content(line) || changes::is_configured_file(case, line)) {
        return Err(Stop::skip("ADD makes nothing that DEL could remove".to_owned()));
    }
    cycle::detach(case, &added.attachment)?;
    let after = case.snapshot_with_sysctls()?;
    let left = changes::between(case, &added.before, &after);
    let would_be_missed =
        |line: &&String| !changes::is_file_content(line) && !changes::is_folder(line) && made.contains(line);
    if let Some(line) = left.iter().find(would_be_missed) {
        return Err(Stop::skip(format!(
            "DEL leaves what CHECK would miss, as del.nothing-left reports: {line}"
        )));
    }
    expect_failing_check(
        case,
        &added.attachment,
        "CHECK after DEL",
        "check.after-del-errors",
        "the container was removed from the network",
    )
}

fn link_weakened(case: &mut Case<'_>) -> Result<(), Stop> {
    cycle::settle(case)?;
    let added = healthy_attachment(case)?;
    let link = case.interface(&added.attachment);
    let (place, op, what) = match case.variant {
        "container-link-down" => {
            let what = format!("{link} is down");
            (added.attachment.place(), NetOp::SetDown { link }, what)
        }
        "host-link-down" => {
            let link = own_host_link(&added)?;
            let what = format!("{link} is down on the host");
            (Place::Host, NetOp::SetDown { link }, what)
        }
        _ => {
            let link = own_host_link(&added)?;
            if added.after.host.link(&link).is_none_or(|link| link.master.is_none()) {
                return Err(Stop::skip("the host's interface is not a port of another".to_owned()));
            }
            let what = format!("{link} is no port any more");
            (Place::Host, NetOp::SetMaster { link, master: None }, what)
        }
    };
    case.network(&place, op)?;
    let call = case.call(Operation::Check, &added.attachment).label(format!("CHECK while {what}"));
    let answer = case.run(call)?;
    cycle::expect_no_crash(case, &answer);
    if answer.succeeded() {
        cycle::expect_silence(case, &answer, "check.success-silent");
        case.note(format!("CHECK succeeds although {what}"));
    } else {
        case.expect_refusal(&answer, "error.json-on-stdout-nonzero-exit", &what);
    }
    Ok(())
}

fn resources_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    if let Some(seen) = observation::known(case)
        && makes_none(case.variant, &seen)?
    {
        return Err(Stop::skip(nothing_to_take(case.variant).to_owned()));
    }
    cycle::settle(case)?;
    let added = healthy_attachment_with_settings(case)?;
    let what = match case.variant {
        "firewall" => flush_firewall(case, &added)?,
        "shaping" => delete_qdiscs(case, &added)?,
        "links" => delete_other_links(case, &added)?,
        "rules" => delete_rules(case, &added)?,
        _ => restore_settings(case, &added)?,
    };
    expect_failing_check(
        case,
        &added.attachment,
        &format!("CHECK after {what}"),
        "check.untracked-resource-errors",
        "what ADD made is gone",
    )
}

fn reservation_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = healthy_attachment(case)?;
    let made: Vec<String> = changes::between(case, &added.before, &added.after)
        .iter()
        .filter(|line| line.starts_with("+ file ") && !line.contains("(directory"))
        .filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned))
        .collect();
    if made.is_empty() {
        return Err(Stop::skip("ADD writes no file; its reservations, if any, are elsewhere".to_owned()));
    }
    for path in &made {
        case.steps.push(Step::Shell(format!("rm -f '{path}'")));
        case.arena.remove_path(path)?;
    }
    expect_failing_check(
        case,
        &added.attachment,
        "CHECK after the plugin's files were deleted",
        "check.untracked-resource-errors",
        &format!("its reservation ({}) is gone", kernel::list(&made)),
    )
}

// ---- prevResult

fn missing_prevresult(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = cycle::attached(case)?;
    let call = case.call(Operation::Check, &attachment).edit(|request| {
        request.remove("prevResult");
    });
    let answer = case.run(call.label("CHECK without prevResult"))?;
    cycle::expect_no_crash(case, &answer);
    if case.expect_refusal(&answer, "check.missing-prevresult", "prevResult is missing") {
        case.note(answer.summary());
    }
    Ok(())
}

fn prevresult_altered(case: &mut Case<'_>) -> Result<(), Stop> {
    needs_own_addresses(case)?;
    let mut added = healthy_attachment(case)?;
    let (link, address, prefix) = first_address(case, &added)?;
    let other = match address {
        IpAddr::V4(_) => format!("{}/{prefix}", Ipv4Addr::new(198, 51, 100, 200)),
        IpAddr::V6(_) => format!("{}/{prefix}", Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xc8)),
    };
    let entries = added.attachment.result.as_mut().and_then(|result| result.get_mut("ips"));
    let entries = entries.and_then(Value::as_array_mut).into_iter().flatten();
    let mut replaced = false;
    for entry in entries {
        let text = entry.get("address").and_then(Value::as_str).unwrap_or_default();
        if cni_spec::result::parse_prefix(text).is_some_and(|own| own.addr() == address) {
            entry["address"] = json!(other);
            replaced = true;
        }
    }
    if !replaced {
        return Err(Stop::Undecided(format!("the address {address} is not found in the result again")));
    }
    expect_failing_check(
        case,
        &added.attachment,
        &format!("CHECK with {other} in place of {address} in prevResult"),
        "check.consults-prevresult",
        &format!("prevResult lists {other}, which {link} does not have"),
    )
}

// ---- delegated plugins

fn delegate_called(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    cycle::record_delegate(case, &mut attachment, Behaviour::Faithful)?;
    cycle::recorded_add(case, &mut attachment)?;
    let call = cycle::recorded_call(case, Operation::Check, &attachment);
    cycle::expect_delegated(case, call, Operation::Check, &["deleg.check-forwarded"])?;
    Ok(())
}

fn delegate_error(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    cycle::record_delegate(case, &mut attachment, Behaviour::Fails(Operation::Check))?;
    cycle::recorded_add(case, &mut attachment)?;
    let call =
        cycle::recorded_call(case, Operation::Check, &attachment).label("CHECK whose delegated plugin fails");
    let answer = case.run(call)?;
    case.expect_refusal(&answer, "check.calls-delegates", "the delegated plugin reported an error");
    Ok(())
}

// ---- shared

/// An attachment whose CHECK passes: only then does a failing CHECK tell anything.
fn healthy_attachment(case: &mut Case<'_>) -> Result<Added, Stop> {
    let added = kernel::added(case)?;
    require_healthy(case, &added)?;
    Ok(added)
}

/// As [`healthy_attachment`], with the settings under `net/` in the snapshots too.
fn healthy_attachment_with_settings(case: &mut Case<'_>) -> Result<Added, Stop> {
    let mut attachment = case.attachment()?;
    let before = Arc::new(case.snapshot_with_sysctls()?);
    case.add(&mut attachment)?;
    let after = Arc::new(case.snapshot_with_sysctls()?);
    let result = kernel::read(case, attachment.result.as_ref())?;
    let added = Added { attachment, before, after, result };
    require_healthy(case, &added)?;
    Ok(added)
}

fn require_healthy(case: &mut Case<'_>, added: &Added) -> Result<(), Stop> {
    let answer = case.operate(Operation::Check, &added.attachment)?;
    if answer.succeeded() {
        return Ok(());
    }
    Err(Stop::unmet(format!("CHECK of a healthy attachment: {}", answer.summary())))
}

fn expect_failing_check(
    case: &mut Case<'_>,
    attachment: &Attachment,
    label: &str,
    requirement: &'static str,
    why: &str,
) -> Result<(), Stop> {
    let call = case.call(Operation::Check, attachment).label(label);
    let answer: Answer = case.run(call)?;
    case.expect_refusal(&answer, requirement, why);
    Ok(())
}

/// Skips plugins whose interface has addresses that the kernel gives it.
fn needs_own_addresses(case: &Case<'_>) -> Result<(), Stop> {
    if kernel::has_fixed_interface(case) {
        return Err(Stop::skip("the kernel, not the plugin, gives the interface its addresses".to_owned()));
    }
    Ok(())
}

/// The first address of the result that the container has: link, address, length of the prefix.
fn first_address(case: &Case<'_>, added: &Added) -> Result<(String, IpAddr, u8), Stop> {
    let state = added.container()?;
    for ip in &added.result.ips {
        let Some(link) = added.container_interface(case, ip) else { continue };
        if kernel::addresses(state, &link).contains(&ip.address) {
            return Ok((link, ip.address.addr(), ip.address.prefix_len()));
        }
    }
    Err(Stop::skip("the result lists no address that the container has".to_owned()))
}

/// The first route of the result that the container has in its main table: destination, length of the prefix, next hop.
fn first_route(added: &Added) -> Result<Option<(IpAddr, u8, Option<IpAddr>)>, Stop> {
    let state = added.container()?;
    let has = |destination: IpAddr, prefix: u8, gateway: Option<IpAddr>| {
        state.configured_routes().any(|route| {
            (route.destination, route.prefix) == (destination, prefix)
                && (gateway.is_none() || route.gateway == gateway)
        })
    };
    let routes = added.result.routes.iter().filter(|route| route.table.is_none());
    let mut found = routes.map(|route| (route.dst.network(), route.dst.prefix_len(), route.gw));
    Ok(found.find(|(destination, prefix, gateway)| has(*destination, *prefix, *gateway)))
}

/// The link of the host that ADD made for this attachment and the result lists.
fn own_host_link(added: &Added) -> Result<String, Stop> {
    let made = cycle::new_host_links(&added.before, &added.after);
    let listed = |name: &String| {
        let same = |interface: &&cni_spec::result::Interface| interface.name == *name;
        added.result.interfaces.iter().find(same).is_some_and(|own| added.place_of(own) == Some(Place::Host))
    };
    let found = made.into_iter().find(listed);
    found.ok_or_else(|| Stop::skip("the result lists no interface that ADD made on the host".to_owned()))
}

/// The entry of the container's interface in the result that CHECK gets.
fn listed_interface<'v>(attachment: &'v mut Attachment, name: &str) -> Option<&'v mut Map<String, Value>> {
    let interfaces = attachment.result.as_mut()?.get_mut("interfaces")?.as_array_mut()?;
    interfaces.iter_mut().filter_map(Value::as_object_mut).find(|entry| {
        let sandboxed =
            entry.get("sandbox").and_then(Value::as_str).is_some_and(|sandbox| !sandbox.is_empty());
        sandboxed && entry.get("name").and_then(Value::as_str) == Some(name)
    })
}

// ---- taking away what ADD made; each says in words what it did

/// Whether an ADD made nothing of the kind that a variant takes away.
fn makes_none(variant: &str, seen: &Observation) -> Result<bool, Stop> {
    let (before, after) = (&seen.before, &seen.after);
    Ok(match variant {
        "firewall" => {
            before.host.nftables == after.host.nftables && before.host.iptables == after.host.iptables
        }
        "shaping" => before.host.qdiscs == after.host.qdiscs,
        "links" => cycle::new_host_links(before, after).is_empty(),
        "rules" => {
            let rules = |snapshot| kernel::state(snapshot, &seen.attachment).map(|state| &state.rules);
            rules(before)? == rules(after)?
        }
        _ => changed_settings(before, after, &seen.attachment)?.is_empty(),
    })
}

fn nothing_to_take(variant: &str) -> &'static str {
    match variant {
        "firewall" => "ADD makes no firewall rule on the host",
        "shaping" => "ADD makes no queueing discipline on the host",
        "links" => "ADD makes no further link on the host",
        "rules" => "ADD makes no routing rule in the container",
        _ => "ADD changes no setting of the container",
    }
}

/// Removes the rules that ADD made, and all others; says so in words.
///
/// # Errors
/// Skips the case when ADD made no rule.
pub(super) fn flush_firewall(case: &mut Case<'_>, added: &Added) -> Result<String, Stop> {
    let (before, after) = (&added.before.host, &added.after.host);
    if before.nftables != after.nftables {
        case.network(&Place::Host, NetOp::FlushNftables)?;
        return Ok("the firewall was flushed".to_owned());
    }
    if before.iptables != after.iptables {
        for table in &after.iptables {
            let program = if table.family.contains('6') { "ip6tables-legacy" } else { "iptables-legacy" };
            run_tool(case, &[program, "-t", &table.name, "-F"])?;
        }
        return Ok("the firewall was flushed".to_owned());
    }
    Err(Stop::skip(nothing_to_take("firewall").to_owned()))
}

fn delete_qdiscs(case: &mut Case<'_>, added: &Added) -> Result<String, Stop> {
    let new = added.after.host.qdiscs.iter().filter(|qdisc| !added.before.host.qdiscs.contains(qdisc));
    // Those below another go with it.
    let new: BTreeSet<(String, bool)> =
        new.map(|qdisc| (qdisc.link.clone(), qdisc.parent == "ingress")).collect();
    if new.is_empty() {
        return Err(Stop::skip(nothing_to_take(case.variant).to_owned()));
    }
    for (link, ingress) in new {
        case.network(&Place::Host, NetOp::DeleteQdisc { link, ingress })?;
    }
    Ok("its queueing disciplines were deleted".to_owned())
}

fn delete_other_links(case: &mut Case<'_>, added: &Added) -> Result<String, Stop> {
    // What belongs to the interface itself is the matter of `check.host-interface-gone`.
    let container = added.container()?;
    let is_own_peer = |name: &str| {
        let index = added.after.host.link(name).map(|link| link.index);
        container.links.iter().any(|link| {
            link.peer
                .as_ref()
                .is_some_and(|peer| peer.place == Some(Place::Host) && Some(peer.index) == index)
        })
    };
    let made = cycle::new_host_links(&added.before, &added.after);
    let made: Vec<String> = made.into_iter().filter(|name| !is_own_peer(name)).collect();
    if made.is_empty() {
        return Err(Stop::skip(nothing_to_take(case.variant).to_owned()));
    }
    for name in &made {
        case.network(&Place::Host, NetOp::DeleteLink { name: name.clone() })?;
    }
    Ok(format!("{} was deleted", kernel::list(&made)))
}

fn delete_rules(case: &mut Case<'_>, added: &Added) -> Result<String, Stop> {
    let (before, after) = (added.container_before()?, added.container()?);
    let new: Vec<Rule> = after.rules.iter().filter(|rule| !before.rules.contains(rule)).cloned().collect();
    if new.is_empty() {
        return Err(Stop::skip(nothing_to_take(case.variant).to_owned()));
    }
    for rule in &new {
        let family = if rule.family == Family::V6 { "-6" } else { "-4" };
        let priority = rule.priority.to_string();
        let container = added.attachment.container.clone();
        run_tool(case, &["ip", "-n", &container, family, "rule", "del", "priority", &priority])?;
    }
    Ok("its routing rules were deleted".to_owned())
}

fn restore_settings(case: &mut Case<'_>, added: &Added) -> Result<String, Stop> {
    let changed = changed_settings(&added.before, &added.after, &added.attachment)?;
    if changed.is_empty() {
        return Err(Stop::skip(nothing_to_take(case.variant).to_owned()));
    }
    let place = added.attachment.place();
    for (name, value) in &changed {
        let container = &added.attachment.container;
        case.steps.push(Step::Shell(format!(
            "ip netns exec {container} sh -c 'echo \"{value}\" >/proc/sys/{name}'"
        )));
        case.arena.set_sysctl(&place, name, value)?;
    }
    Ok(format!("{} was set back", kernel::list(changed.keys())))
}

/// The settings of the container that ADD changed, with the values that they had.
fn changed_settings(
    before: &Snapshot,
    after: &Snapshot,
    attachment: &Attachment,
) -> Result<BTreeMap<String, String>, Stop> {
    let lost = || Stop::Undecided("the arena lost the container's namespace".to_owned());
    let (before, after): (&NamespaceState, &NamespaceState) = (
        before.place(&attachment.place()).ok_or_else(lost)?,
        after.place(&attachment.place()).ok_or_else(lost)?,
    );
    let differs = |name: &String, value: &String| after.sysctls.get(name).is_some_and(|new| new != value);
    // The IPv6 MTU of a link follows the MTU of the link.
    let follows = |name: &String| name.starts_with("net/ipv6/") && name.ends_with("/mtu");
    let changed = before.sysctls.iter().filter(|(name, value)| differs(name, value) && !follows(name));
    Ok(changed.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// Runs a program of the host in the arena.
fn run_tool(case: &mut Case<'_>, argv: &[&str]) -> Result<(), Stop> {
    if !case.arena.has_program(argv[0])? {
        return Err(Stop::lacking(format!("{} is not installed", argv[0])));
    }
    case.steps.push(Step::Shell(argv.join(" ")));
    let execution = case.arena.run_tool(argv)?;
    if execution.outcome.success() {
        return Ok(());
    }
    Err(Stop::Undecided(format!(
        "{}: {}; {}",
        argv.join(" "),
        execution.outcome,
        execution.stderr_text().trim()
    )))
}
