//! Forwarded ports beyond whether they lead to the container: whom the container sees, and the flows that the kernel tracks.

use std::net::{IpAddr, SocketAddr};

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::case::{Case, Stop};
use super::connectivity::{
    BEYOND, CONTAINER_PORT, FORWARDING, HOST_PORT, OUTSIDE, PATIENCE, SEEN, SILENCE, expect_reached, forward,
    has_address, lead_back, made_at_once, not_seen, outside, patiently, problem, set_mappings, set_sysctl,
    set_up_loopback, through_port,
};
use super::reproducer::{Assertion, Step};
use super::{Check, Scope, cycle, kernel};
use crate::arena::{Exchange, Flow, Listener, Place, Transport};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "connectivity.port-mappings-masqueraded",
        title: "Where masquerading is promised, what comes through a forwarded port comes from the host",
        requirements: &["conv.portmappings-effect"],
        concerns: FORWARDING,
        scope: Scope::Configurations,
        since: Version::V0_3_0,
        variants: &[],
        run: masqueraded,
    },
    Check {
        id: "connectivity.port-mappings-conditional",
        title: "A condition that keeps somebody out is understood, and decides whose packets are forwarded",
        requirements: &["conv.portmappings-effect"],
        concerns: FORWARDING,
        scope: Scope::Configurations,
        since: Version::V0_3_0,
        variants: &["others excluded", "client excluded", LOCALHOST_EXCLUDED, ANOTHER_WITHOUT],
        run: conditional,
    },
    Check {
        id: "connectivity.port-mappings-replaced",
        title: "A UDP client that keeps its port gets to the container that has the mapping, and to none after DEL",
        requirements: &["conv.portmappings-effect"],
        concerns: FORWARDING,
        scope: Scope::Configurations,
        since: Version::V0_3_0,
        variants: &["after DEL", "another container", "another container, sent between"],
        run: replaced,
    },
    Check {
        id: "connectivity.tracked-others",
        title: "ADD and DEL of a mapping leave tracked flows alone that have nothing to do with it",
        requirements: &["practice.tracked-flows-kept", "del.only-own-attachment"],
        concerns: FORWARDING,
        scope: Scope::Configurations,
        since: Version::V0_4_0,
        variants: &["another port", "another host"],
        run: tracked_others,
    },
];

/// The keys of conditions on packets of IPv4 and of IPv6.
const CONDITIONS: &str = "conditionsV4";
const CONDITIONS_V6: &str = "conditionsV6";
const LOCALHOST_EXCLUDED: &str = "localhost excluded";
/// The client is kept out, and a container of another network comes later, whose ports have no conditions.
const ANOTHER_WITHOUT: &str = "client excluded, another network without conditions";
/// The port that a client keeps.
const CLIENT_PORT: u16 = 40_053;

fn masqueraded(case: &mut Case<'_>) -> Result<(), Stop> {
    if !case.configuration.masquerades {
        return Err(Stop::skip("the target does not promise that this configuration masquerades"));
    }
    let outside = outside(case, "outside", OUTSIDE)?;
    let (attachment, addresses) = forward(case, None)?;
    let host = case.snapshot()?.host;
    for address in addresses {
        for transport in [Transport::Tcp, Transport::Udp] {
            let host_end = outside.of_family(address).0;
            let exchange = through_port(transport, &outside.place, host_end, &attachment.place(), address);
            let seen = patiently(case, &exchange)?;
            let Some(source) = seen.seen_source.map(|source| source.ip()) else {
                return Err(Stop::unmet(format!(
                    "nothing reaches the container by {transport}{}",
                    problem(&seen)
                )));
            };
            let own: Vec<String> = host
                .addresses
                .iter()
                .map(|found| found.address)
                .filter(|found| found.is_ipv4() == address.is_ipv4())
                .map(|found| format!("-e {found}"))
                .collect();
            let assertion = Assertion::Shell(format!(
                "{{ {}; }}; grep -Fqx {} {SEEN}",
                exchange.shell(Some(0), SEEN),
                own.join(" ")
            ));
            let expected = format!(
                "{address} sees {transport} packets of another host come from an address of this one"
            );
            let observed = format!("it sees them come from {source}");
            let holds = has_address(&host, source);
            case.expect_as(holds, "conv.portmappings-effect", expected, observed, assertion);
        }
    }
    Ok(())
}

/// Whose words the configuration's conditions are in.
#[derive(Clone, Copy)]
enum Words {
    Iptables,
    Nft,
}

impl Words {
    /// A condition that keeps out what comes from a range.
    fn excluding(self, range: &str, ipv4: bool) -> Value {
        match self {
            Words::Iptables => json!(["!", "-s", range]),
            Words::Nft => json!([if ipv4 { "ip" } else { "ip6" }, "saddr", "!=", range]),
        }
    }
}

/// The range that a variant keeps out.
fn excluded(variant: &str, ipv4: bool) -> String {
    match (variant, ipv4) {
        ("client excluded" | ANOTHER_WITHOUT, true) => format!("{}/32", OUTSIDE.v4(2)),
        ("client excluded" | ANOTHER_WITHOUT, false) => format!("{}/128", OUTSIDE.v6(2)),
        (LOCALHOST_EXCLUDED, true) => "127.0.0.0/8".to_owned(),
        (_, true) => "192.0.2.0/24".to_owned(),
        (_, false) => "2001:db8::/32".to_owned(),
    }
}

fn conditional(case: &mut Case<'_>) -> Result<(), Stop> {
    let configured = |key: &str| case.configuration.plugin.get(key).and_then(Value::as_array);
    let first = configured(CONDITIONS).and_then(|all| all.first()).and_then(Value::as_str);
    let words = match first {
        None => return Err(Stop::skip(format!("the configuration has no {CONDITIONS}"))),
        Some(word) if word.starts_with('-') => Words::Iptables,
        Some(_) => Words::Nft,
    };
    let has_v6 = configured(CONDITIONS_V6).is_some_and(|all| !all.is_empty());
    let families: Vec<bool> = [true, false].into_iter().filter(|ipv4| *ipv4 || has_v6).collect();
    let capability = case.target.and_then(|target| target.capability("portMappings"));
    let localhost = capability.is_some_and(|one| one.promises.iter().any(|promise| promise == "localhost"));
    if case.variant == LOCALHOST_EXCLUDED && !localhost {
        return Err(Stop::skip("the target does not promise localhost"));
    }
    // The plugin has such conditions, and takes those without a negation.
    let plain = cycle::attached(case)?;
    cycle::detach(case, &plain)?;
    let outside = outside(case, "outside", OUTSIDE)?;
    let mut attachment = made_at_once(case, |case| case.attachment())?;
    set_mappings(&mut attachment, HOST_PORT, None);
    for ipv4 in &families {
        let key = if *ipv4 { CONDITIONS } else { CONDITIONS_V6 };
        attachment.plugin.insert(key.to_owned(), words.excluding(&excluded(case.variant, *ipv4), *ipv4));
    }
    set_up_loopback(case, &attachment)?;
    for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        set_sysctl(case, name, "1")?;
    }
    let label = format!("ADD with the condition that {} is kept out", excluded(case.variant, true));
    let answer = case.run(case.call(Operation::Add, &attachment).label(label))?;
    if !case.expect_success(&answer, "conv.portmappings-effect") {
        return Ok(());
    }
    attachment.result = answer.document().cloned();
    let result = kernel::read(case, answer.document())?;
    lead_back(case, &attachment, &result)?;
    if case.variant == ANOTHER_WITHOUT {
        let mut another = made_at_once(case, |case| case.attachment())?;
        set_mappings(&mut another, HOST_PORT + 1, None);
        for key in [CONDITIONS, CONDITIONS_V6] {
            another.plugin.remove(key);
        }
        another.plugin.insert(cni_spec::keys::NAME.to_owned(), json!("without-conditions"));
        case.add(&mut another)?;
    }
    for address in result.ips.iter().map(|ip| ip.address.addr()) {
        let ipv4 = address.is_ipv4();
        if !families.contains(&ipv4) {
            continue;
        }
        let range = excluded(case.variant, ipv4);
        for transport in [Transport::Tcp, Transport::Udp] {
            let through = |client: &Place, host: IpAddr| {
                through_port(transport, client, host, &attachment.place(), address)
            };
            let from_outside = through(&outside.place, outside.of_family(address).0);
            match case.variant {
                "client excluded" | ANOTHER_WITHOUT => expect_kept_out(case, &from_outside, &range)?,
                LOCALHOST_EXCLUDED if ipv4 => {
                    let from_localhost = through(&Place::Host, IpAddr::from([127, 0, 0, 1]));
                    expect_let_in(case, &from_outside, &range)?;
                    expect_kept_out(case, &from_localhost, &range)?;
                }
                _ => expect_let_in(case, &from_outside, &range)?,
            }
        }
    }
    Ok(())
}

fn expect_let_in(case: &mut Case<'_>, exchange: &Exchange, range: &str) -> Result<(), Stop> {
    let expected = format!(
        "{} through {}, by {}, which {range} does not contain, reaches the container",
        exchange.client, exchange.destination, exchange.transport
    );
    expect_reached(case, exchange, "conv.portmappings-effect", &expected).map(drop)
}

fn expect_kept_out(case: &mut Case<'_>, exchange: &Exchange, range: &str) -> Result<(), Stop> {
    let exchange = Exchange { patience: SILENCE, persistent: false, ..exchange.clone() };
    let seen = case.exchange(&exchange)?;
    let expected = format!(
        "{} through {}, by {}, which {range} contains, does not reach the container",
        exchange.client, exchange.destination, exchange.transport
    );
    let assertion = not_seen(&exchange, 0);
    let observed = "the container gets the packets";
    case.expect_as(seen.listener.is_none(), "conv.portmappings-effect", expected, observed, assertion);
    Ok(())
}

fn replaced(case: &mut Case<'_>) -> Result<(), Stop> {
    let outside = outside(case, "outside", OUTSIDE)?;
    let (first, addresses) = forward(case, None)?;
    let unspecified = |like: IpAddr| match like {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0_u16; 8]),
    };
    let sent = |address: IpAddr, listeners: Vec<Listener>| Exchange {
        transport: Transport::Udp,
        client: outside.place.clone(),
        source: Some(SocketAddr::new(unspecified(address), CLIENT_PORT)),
        destination: SocketAddr::new(outside.of_family(address).0, HOST_PORT),
        listeners,
        patience: PATIENCE,
        persistent: true,
        filler: 0,
    };
    let at = |place: &Place, address: IpAddr| Listener {
        place: place.clone(),
        address: SocketAddr::new(address, CONTAINER_PORT),
    };
    let old: Vec<(IpAddr, Listener)> =
        addresses.iter().map(|address| (*address, at(&first.place(), *address))).collect();
    for (address, listener) in &old {
        let exchange = sent(*address, vec![listener.clone()]);
        let seen = patiently(case, &exchange)?;
        if !seen.answered {
            return Err(Stop::unmet(format!(
                "{} is not reached through {}{}",
                address,
                exchange.destination,
                problem(&seen)
            )));
        }
        case.steps.push(Step::Shell(exchange.shell(Some(0), SEEN)));
    }
    cycle::detach(case, &first)?;
    if case.variant == "after DEL" {
        for (address, listener) in &old {
            let exchange =
                Exchange { patience: SILENCE, persistent: false, ..sent(*address, vec![listener.clone()]) };
            let seen = case.exchange(&exchange)?;
            let expected = format!(
                "{} from the port that it had before DEL does not reach the container through {}",
                exchange.client, exchange.destination
            );
            let observed = format!("the container gets the packet{}", tracked_way(case, *address));
            let assertion = not_seen(&exchange, 0);
            case.expect_as(
                seen.listener.is_none(),
                "conv.portmappings-effect",
                expected,
                observed,
                assertion,
            );
        }
        return Ok(());
    }
    if case.variant == "another container, sent between" {
        for (address, _) in &old {
            let exchange = Exchange { patience: SILENCE, persistent: false, ..sent(*address, Vec::new()) };
            case.exchange(&exchange)?;
            case.steps.push(Step::Shell(format!("{{ {}; }} || true", exchange.shell(None, SEEN))));
        }
    }
    let (second, addresses) = forward(case, None)?;
    for address in addresses {
        let before = old.iter().find(|(old, _)| old.is_ipv4() == address.is_ipv4());
        let listeners = [at(&second.place(), address)]
            .into_iter()
            .chain(before.map(|(_, listener)| listener.clone()))
            .collect();
        let exchange = sent(address, listeners);
        let seen = patiently(case, &exchange)?;
        let expected = format!(
            "{} from the port that it had before reaches the container that has {} by now",
            exchange.client, exchange.destination
        );
        let observed = match seen.listener {
            Some(0) => format!("packets arrive, answers do not come back{}", problem(&seen)),
            Some(_) => {
                format!("the container that had it before gets the packet{}", tracked_way(case, address))
            }
            None => format!("nobody gets the packet{}{}", problem(&seen), tracked_way(case, address)),
        };
        let assertion = Assertion::Shell(exchange.shell(Some(0), SEEN));
        let holds = seen.answered && seen.listener == Some(0);
        case.expect_as(holds, "conv.portmappings-effect", expected, observed, assertion);
    }
    Ok(())
}

/// Where the kernel leads the flow of the client that keeps its port, where it tells.
fn tracked_way(case: &mut Case<'_>, like: IpAddr) -> String {
    let flows = case.arena.tracked(&Place::Host).unwrap_or_default();
    let is_ours = |flow: &&Flow| {
        flow.source.port() == CLIENT_PORT
            && flow.destination.port() == HOST_PORT
            && flow.source.is_ipv4() == like.is_ipv4()
    };
    flows
        .iter()
        .find(is_ours)
        .map(|flow| format!("; its flow leads to {}", flow.answerer))
        .unwrap_or_default()
}

fn tracked_others(case: &mut Case<'_>) -> Result<(), Stop> {
    let (net, port) = match case.variant {
        "another port" => (OUTSIDE, HOST_PORT + 53),
        _ => (BEYOND, HOST_PORT),
    };
    let ends = [(OUTSIDE.v4(2), net.v4(1)), (OUTSIDE.v6(2), net.v6(1))];
    let flows = ends.map(|(source, destination)| {
        Flow::plain(SocketAddr::new(source, CLIENT_PORT), SocketAddr::new(destination, port))
    });
    if let Err(error) = case.arena.tracked(&Place::Host) {
        return Err(Stop::lacking(format!("the kernel does not tell which flows it tracks: {error}")));
    }
    // The host has the address of the one net, and forwards to the other.
    outside(case, "outside", OUTSIDE)?;
    let mut attachment = made_at_once(case, |case| case.attachment())?;
    set_mappings(&mut attachment, HOST_PORT, None);
    put_in(case, &flows)?;
    case.add(&mut attachment)?;
    expect_tracked(case, &flows, "practice.tracked-flows-kept", "ADD")?;
    put_in(case, &flows)?;
    cycle::detach(case, &attachment)?;
    expect_tracked(case, &flows, "del.only-own-attachment", "DEL")
}

/// Has the kernel track those of the flows that it does not.
fn put_in(case: &mut Case<'_>, flows: &[Flow]) -> Result<(), Stop> {
    let there = case.arena.tracked(&Place::Host)?;
    for flow in flows.iter().filter(|flow| !there.contains(flow)) {
        case.arena.track(&Place::Host, flow)?;
        case.steps.push(Step::Shell(flow.shell()));
    }
    let there = case.arena.tracked(&Place::Host)?;
    match flows.iter().find(|flow| !there.contains(flow)) {
        Some(flow) => Err(Stop::Undecided(format!("the kernel does not keep {flow}"))),
        None => Ok(()),
    }
}

fn expect_tracked(
    case: &mut Case<'_>,
    flows: &[Flow],
    requirement: &'static str,
    operation: &str,
) -> Result<(), Stop> {
    let there = case.arena.tracked(&Place::Host)?;
    for flow in flows {
        let expected = format!("{operation} of a mapping of port {HOST_PORT} leaves {flow} alone");
        let assertion = Assertion::Shell(flow.shell_is_there());
        case.expect_as(there.contains(flow), requirement, expected, "it is no longer tracked", assertion);
    }
    Ok(())
}
