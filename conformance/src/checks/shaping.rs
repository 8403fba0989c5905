//! Limits of a container's traffic.
//!
//! Nothing is timed: a datagram is sent each way, and the kernel tells which token bucket filters counted it, with which
//! rate and burst. So it does not matter where a plugin puts them.

use std::sync::Arc;

use cni_spec::{Operation, Version};
use serde_json::Value;

use super::case::{Attachment, Case, Stop};
use super::connectivity::{direct, has_address, patiently, problem, set_up_loopback};
use super::conventions::{ask, values};
use super::kernel::{self, Added};
use super::reproducer::Assertion;
use super::{Check, Concerns, Scope};
use crate::arena::snapshot::{Filter, Place, Qdisc, Scope as SnapshotScope, Snapshot};
use crate::arena::{Exchange, Transport};
use crate::target::Way;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "conventions.bandwidth",
        title: "The traffic that a runtime asks to limit is limited, each way as it asks, and the other way not",
        requirements: &["conv.follow-plugin"],
        concerns: Concerns::Taking(BANDWIDTH),
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &["both directions", INGRESS_ONLY, EGRESS_ONLY],
        run: asked,
    },
    Check {
        id: "conventions.bandwidth-configured",
        title: "The traffic that the configuration asks to limit is limited, each way as it asks, and the other way not",
        requirements: &["conv.follow-plugin"],
        concerns: Concerns::Taking(BANDWIDTH),
        scope: Scope::Configurations,
        since: Version::V0_3_0,
        variants: &[],
        run: configured,
    },
];

/// The capability, and the key of what a runtime asks for.
const BANDWIDTH: &str = "bandwidth";
const INGRESS_ONLY: &str = "ingress only";
const EGRESS_ONLY: &str = "egress only";
/// The size of the datagrams: more than what else goes the same way meanwhile, and less than what any link takes.
const FILLER: u16 = 1150;
/// Kinds of queueing disciplines that limit nothing by themselves.
const UNLIMITED: [&str; 9] =
    ["noqueue", "pfifo", "bfifo", "pfifo_fast", "fq_codel", "mq", "ingress", "clsact", "prio"];

/// A direction of packets, as the container's interface sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn words(self) -> &'static str {
        match self {
            Direction::Ingress => "to the container",
            Direction::Egress => "from the container",
        }
    }

    fn keys(self) -> [&'static str; 2] {
        match self {
            Direction::Ingress => ["ingressRate", "ingressBurst"],
            Direction::Egress => ["egressRate", "egressBurst"],
        }
    }

    /// Bits a second and bits that an object of the convention asks for; nothing without a rate.
    fn limit(self, wanted: &Value) -> Option<(u64, u64)> {
        let [rate, burst] = self.keys().map(|key| wanted[key].as_u64().unwrap_or_default());
        (rate > 0).then_some((rate, burst))
    }
}

fn asked(case: &mut Case<'_>) -> Result<(), Stop> {
    let capability = case.target.and_then(|target| target.capability(BANDWIDTH)).cloned();
    let Some(capability) = capability.filter(|one| one.by.contains(&Way::RuntimeConfig)) else {
        return Err(Stop::skip("the plugin takes no bandwidth through runtimeConfig"));
    };
    let Some((mut wanted, _)) = values(&capability) else { return Ok(()) };
    let left_out = match case.variant {
        INGRESS_ONLY => Direction::Egress.keys().as_slice().to_vec(),
        EGRESS_ONLY => Direction::Ingress.keys().as_slice().to_vec(),
        _ => Vec::new(),
    };
    if let Value::Object(wanted) = &mut wanted {
        wanted.retain(|key, _| !left_out.contains(&key.as_str()));
    }
    limited(case, &wanted, |attachment| ask(attachment, &capability, Way::RuntimeConfig, &wanted))
}

fn configured(case: &mut Case<'_>) -> Result<(), Stop> {
    let plugin = Value::Object(case.configuration.plugin.clone());
    let asks = |wanted: &Value| {
        [Direction::Ingress, Direction::Egress].iter().any(|direction| direction.limit(wanted).is_some())
    };
    let own = asks(&plugin).then_some(&plugin);
    let passed = plugin.get("runtimeConfig").and_then(|passed| passed.get(BANDWIDTH)).filter(|one| asks(one));
    let Some(wanted) = own.or(passed).cloned() else {
        return Err(Stop::skip("the configuration asks for no limit"));
    };
    limited(case, &wanted, |_| ())
}

/// Attaches a container and looks at the way of packets to it and from it.
fn limited(case: &mut Case<'_>, wanted: &Value, change: impl FnOnce(&mut Attachment)) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    change(&mut attachment);
    set_up_loopback(case, &attachment)?;
    let before = Arc::new(case.snapshot()?);
    let answer = case.operate(Operation::Add, &attachment)?;
    let egress = Direction::Egress.limit(wanted).is_some();
    if !answer.succeeded() && egress && !case.arena.probe_link_kind("ifb")? {
        return Err(Stop::lacking("the kernel cannot make links of kind ifb"));
    }
    if !case.expect_success(&answer, "conv.follow-plugin") {
        return Ok(());
    }
    attachment.result = answer.document().cloned();
    let after = Arc::new(case.snapshot()?);
    let result = kernel::read(case, answer.document())?;
    let added = Added { attachment, before, after, result };
    let mut tried = false;
    for ip in added.result.ips.clone() {
        let Some(gateway) = ip.gateway.filter(|gateway| has_address(&added.after.host, *gateway)) else {
            continue;
        };
        tried = true;
        for direction in [Direction::Ingress, Direction::Egress] {
            let (own, container) = (ip.address.addr(), added.attachment.place());
            let (from, source, to, destination) = match direction {
                Direction::Ingress => (Place::Host, gateway, container, own),
                Direction::Egress => (container, own, Place::Host, gateway),
            };
            let exchange = direct(Transport::Udp, &from, Some(source), &to, destination);
            let exchange = Exchange { filler: FILLER, ..exchange };
            let way = format!("{} ({source} to {destination})", direction.words());
            let passed = passed(case, &exchange, &way)?;
            judge(case, &added, &way, direction.limit(wanted), &passed)?;
        }
    }
    match tried {
        true => Ok(()),
        false => Err(Stop::skip("the host has no gateway of the result, to send packets from and to")),
    }
}

/// A queueing discipline, and where it is.
type Found = (Place, Qdisc);

/// The queueing disciplines that count the packets of an exchange on their way there.
fn passed(case: &mut Case<'_>, exchange: &Exchange, way: &str) -> Result<Vec<Found>, Stop> {
    let scope = || SnapshotScope { traffic: true, ..SnapshotScope::nothing() };
    let before = disciplines(&case.arena.snapshot(scope())?);
    let seen = patiently(case, exchange)?;
    if !seen.answered {
        return Err(Stop::unmet(format!("no packets come through {way}{}", problem(&seen))));
    }
    let after = disciplines(&case.arena.snapshot(scope())?);
    let counted = |(place, now): &Found| {
        let then = before.iter().find(|(there, then)| there == place && then == now);
        let sent = now.sent.0.saturating_sub(then.map_or(0, |(_, then)| then.sent.0));
        sent >= FILLER.into()
    };
    Ok(after.into_iter().filter(counted).collect())
}

/// All queueing disciplines that somebody asked for.
fn disciplines(state: &Snapshot) -> Vec<Found> {
    let host = state.host.qdiscs.iter().map(|qdisc| (Place::Host, qdisc.clone()));
    let inside = state.containers.iter().flat_map(|(name, container)| {
        container.qdiscs.iter().map(|qdisc| (Place::Container(name.clone()), qdisc.clone()))
    });
    host.chain(inside).collect()
}

fn judge(
    case: &mut Case<'_>,
    added: &Added,
    way: &str,
    limit: Option<(u64, u64)>,
    passed: &[Found],
) -> Result<(), Stop> {
    let narrowest = passed.iter().filter(|(_, one)| one.rate.is_some()).min_by_key(|(_, one)| one.rate);
    let shown = |(place, one): &Found| {
        let (rate, burst) = (one.rate.unwrap_or_default() * 8, one.burst.unwrap_or_default() * 8);
        format!(
            "they pass {} of {}, {place}, with {rate} bits a second and a burst of {burst}",
            one.kind, one.link
        )
    };
    let Some((rate, burst)) = limit else {
        let expected = format!("packets {way} pass no limit: none is asked for");
        let observed = narrowest.map(shown).unwrap_or_default();
        case.expect(narrowest.is_none(), "conv.follow-plugin", expected, observed);
        return Ok(());
    };
    let expected = format!("packets {way} pass a limit of {rate} bits a second with a burst of {burst} bits");
    let Some(found) = narrowest else {
        if let Some(kind) = other_means(added, passed) {
            return Err(Stop::skip(format!("{kind} may limit the traffic: cnitest reads no rate of it")));
        }
        let elsewhere = disciplines(&added.after).into_iter().find(|(_, one)| one.rate == Some(rate / 8));
        let observed = match elsewhere {
            Some((place, one)) => {
                format!(
                    "they pass none; {} of {}, {place}, which has that rate, counts nothing",
                    one.kind, one.link
                )
            }
            None => "they pass none, and there is none of that rate".to_owned(),
        };
        case.expect_as(false, "conv.follow-plugin", expected, observed, shell(&added.attachment, rate));
        return Ok(());
    };
    let observed = shown(found);
    let (_, one) = found;
    // The kernel keeps the burst as a time, and what sets it may count that in microseconds.
    let bytes = burst / 8;
    let tolerance = bytes / 100 + 3 * one.rate.unwrap_or_default() / 1_000_000 + 1;
    let right =
        one.rate == Some(rate / 8) && one.burst.is_some_and(|found| found.abs_diff(bytes) <= tolerance);
    case.expect_as(right, "conv.follow-plugin", expected, observed, shell(&added.attachment, rate));
    Ok(())
}

/// What may limit traffic, of which no rate is known: a queueing discipline that counts packets, or a filter of ADD's.
fn other_means(added: &Added, passed: &[Found]) -> Option<String> {
    let discipline = passed.iter().find(|(_, one)| !UNLIMITED.contains(&one.kind.as_str()));
    if let Some((_, one)) = discipline {
        return Some(format!("the queueing discipline {} of {}", one.kind, one.link));
    }
    let filters = |state: &Snapshot| -> Vec<Filter> {
        let inside = state.containers.values().flat_map(|container| container.filters.clone());
        state.host.filters.iter().cloned().chain(inside).collect()
    };
    let before = filters(&added.before);
    let opaque = |filter: &Filter| {
        let acts = |action: &String| action.starts_with("police") || action.starts_with("bpf");
        filter.kind == "bpf" || filter.actions.iter().any(acts)
    };
    let new = filters(&added.after).into_iter().find(|filter| !before.contains(filter) && opaque(filter));
    new.map(|filter| format!("the filter {} of {}", filter.kind, filter.link))
}

/// There is a token bucket filter of that rate.
fn shell(attachment: &Attachment, rate: u64) -> Assertion {
    let container = &attachment.container;
    Assertion::Shell(format!(
        "{{ tc -j qdisc show; ip netns exec {container} tc -j qdisc show; }} | tr -d ' ' | grep -q '\"rate\":{}[,}}]'",
        rate / 8
    ))
}
