//! What a result promises, tried with packets: to the gateway, between containers, out through masquerading, in through
//! forwarded ports.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cni_spec::result::AddResult;
use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::case::{Attachment, Case, Stop};
use super::kernel::{self, Added};
use super::reproducer::{Assertion, Step};
use super::{Check, Concerns, Scope, cycle, gc};
use crate::arena::snapshot::NamespaceState;
use crate::arena::{Exchange, Exchanged, Listener, NetOp, Place, Transport};
use crate::target::Kind;

const INTERFACE: Concerns = Concerns::Kinds(&[Kind::Interface]);
pub(super) const FORWARDING: Concerns = Concerns::Taking("portMappings");

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "connectivity.gateway",
        title: "Container and host reach each other through the gateway that the result names",
        requirements: &["add.interface-connectivity"],
        concerns: INTERFACE,
        scope: Scope::Configurations,
        since: Version::V1_0_0,
        variants: &[],
        run: gateway,
    },
    Check {
        id: "connectivity.containers",
        title: "Containers of one network reach each other",
        requirements: &["add.interface-connectivity"],
        concerns: INTERFACE,
        scope: Scope::Configurations,
        since: Version::V1_0_0,
        variants: &[],
        run: containers,
    },
    Check {
        id: "connectivity.lasting",
        title: "A container's traffic goes on through GC and through another container's DEL",
        requirements: &["gc.keeps-valid", "del.only-own-attachment"],
        concerns: INTERFACE,
        scope: Scope::Configurations,
        since: Version::V0_4_0,
        variants: &[],
        run: lasting,
    },
    Check {
        id: "connectivity.masquerade",
        title: "With ipMasq, what leaves the network comes from the host, whichever address of the container sends it",
        requirements: &["config.wellknown-semantics"],
        concerns: Concerns::Reading("ipMasq"),
        scope: Scope::Configurations,
        since: Version::V1_0_0,
        variants: &["as-configured", "dual-stack"],
        run: masquerade,
    },
    Check {
        id: "connectivity.port-mappings",
        title: "A port of the host leads to the container, until DEL",
        requirements: &["conv.portmappings-effect"],
        concerns: FORWARDING,
        scope: Scope::Configurations,
        since: Version::V0_3_0,
        variants: &["from-outside", "to-one-address", "localhost", "hairpin"],
        run: port_mappings,
    },
    Check {
        id: "connectivity.port-mappings-forwarded",
        title: "A packet that the host only forwards is not led astray by a port mapping",
        requirements: &["conv.portmappings-effect"],
        concerns: FORWARDING,
        scope: Scope::Configurations,
        since: Version::V0_3_0,
        variants: &[],
        run: forwarded,
    },
    Check {
        id: "connectivity.port-mappings-lasting",
        title: "A forwarded port stays through GC and through another container's DEL",
        requirements: &["gc.keeps-valid", "del.only-own-attachment"],
        concerns: FORWARDING,
        scope: Scope::Configurations,
        since: Version::V0_4_0,
        variants: &[],
        run: port_mappings_lasting,
    },
];

/// How long packets that have to arrive may take; IPv6 addresses may not be used at first.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// How long packets that must not arrive are waited for.
pub(super) const SILENCE: Duration = Duration::from_millis(300);
/// Where listeners wait that no mapping leads to.
const PORT: u16 = 7000;
/// What a reproducer's listener writes.
pub(super) const SEEN: &str = "/run/cnitest/seen";

// ---- from the result

fn gateway(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = attached(case)?;
    let mut tried = false;
    for ip in &added.result.ips {
        let Some(gateway) = ip.gateway.filter(|gateway| has_address(&added.after.host, *gateway)) else {
            continue;
        };
        tried = true;
        let (own, container) = (ip.address.addr(), added.attachment.place());
        for (from, source, to, destination) in
            [(container.clone(), own, Place::Host, gateway), (Place::Host, gateway, container, own)]
        {
            let names = if from == Place::Host {
                format!("the host, as {gateway}, reaches the container's address {own}")
            } else {
                format!("the container, as {own}, reaches its gateway {gateway}, which the host has")
            };
            for transport in [Transport::Udp, Transport::Tcp] {
                let exchange = direct(transport, &from, Some(source), &to, destination);
                let expected = format!("{names} by {transport}");
                expect_reached(case, &exchange, "add.interface-connectivity", &expected)?;
            }
        }
    }
    if !tried {
        return Err(Stop::skip("the host has no gateway of the result".to_owned()));
    }
    Ok(())
}

fn containers(case: &mut Case<'_>) -> Result<(), Stop> {
    if !case.target.is_some_and(|target| target.connects_containers) {
        return Err(Stop::skip(
            "the target does not say that containers of one network reach each other".to_owned(),
        ));
    }
    let (first, second) = (attached(case)?, attached(case)?);
    let pairs = pairs(&first, &second);
    if pairs.is_empty() {
        return Err(Stop::skip("the containers got no addresses".to_owned()));
    }
    for (own, other) in pairs {
        for transport in [Transport::Udp, Transport::Tcp] {
            let exchange =
                direct(transport, &first.attachment.place(), Some(own), &second.attachment.place(), other);
            let expected = format!("{own} reaches {other}, another container of the network, by {transport}");
            let seen = expect_reached(case, &exchange, "add.interface-connectivity", &expected)?;
            if let Some(source) = seen.seen_source.map(|source| source.ip()).filter(|source| *source != own) {
                case.note(format!("{other} sees {own} as {source}"));
            }
        }
    }
    Ok(())
}

fn lasting(case: &mut Case<'_>) -> Result<(), Stop> {
    let (first, second, third) = (attached(case)?, attached(case)?, attached(case)?);
    // To the other container where the network connects them, otherwise to the gateway.
    let connects = case.target.is_some_and(|target| target.connects_containers);
    let mut exchanges = Vec::new();
    if connects {
        let (one, other) = (first.attachment.place(), second.attachment.place());
        exchanges.extend(
            pairs(&first, &second)
                .into_iter()
                .map(|(own, to)| direct(Transport::Tcp, &one, Some(own), &other, to)),
        );
    }
    for ip in &first.result.ips {
        let gateway = ip.gateway.filter(|gateway| has_address(&first.after.host, *gateway));
        exchanges.extend(gateway.map(|gateway| {
            let own = Some(ip.address.addr());
            direct(Transport::Udp, &first.attachment.place(), own, &Place::Host, gateway)
        }));
    }
    let keep = [&first.attachment, &second.attachment];
    goes_on(case, &exchanges, &keep, &third.attachment)
}

/// Expects what works to work after GC that lists all attachments, after another one's DEL and after GC without it.
fn goes_on(
    case: &mut Case<'_>,
    exchanges: &[Exchange],
    keep: &[&Attachment],
    leaves: &Attachment,
) -> Result<(), Stop> {
    let mut working = Vec::new();
    for exchange in exchanges {
        if case.exchange(exchange)?.answered {
            working.push(exchange);
        }
    }
    if working.is_empty() {
        return Err(Stop::unmet("there is no traffic that could go on".to_owned()));
    }
    let collects = case.version >= Version::V1_1_0;
    let expect_all = |case: &mut Case<'_>, requirement: &'static str, when: &str| -> Result<(), Stop> {
        for exchange in &working {
            let expected = format!("{} still reaches {} {when}", exchange.client, exchange.destination);
            expect_reached(case, exchange, requirement, &expected)?;
        }
        Ok(())
    };
    let all: Vec<&Attachment> = keep.iter().copied().chain([leaves]).collect();
    if collects {
        let call = gc::listing(case.call(Operation::Gc, keep[0]), &all);
        case.run(call.label("GC that lists every container"))?;
        expect_all(case, "gc.keeps-valid", "after GC that lists it")?;
    }
    let call = case.call(Operation::Del, leaves).label("DEL of another container");
    let deleted = case.run(call)?;
    if deleted.succeeded() {
        expect_all(case, "del.only-own-attachment", "after another container's DEL")?;
    }
    if collects {
        let call = gc::listing(case.call(Operation::Gc, keep[0]), keep);
        case.run(call.label("GC that lists the others"))?;
        expect_all(case, "gc.keeps-valid", "after GC that lists it and not the one that is gone")?;
    }
    Ok(())
}

// ---- masquerading

fn masquerade(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    attachment.plugin.insert("ipMasq".to_owned(), json!(true));
    if case.variant == "dual-stack" {
        if !attachment.plugin.contains_key("ipam") {
            return Err(Stop::skip("the configuration has no ipam".to_owned()));
        }
        cycle::find_plugin(case, "static")?;
        let ipam = json!({
            "type": "static",
            "addresses": [
                { "address": "10.98.0.5/24", "gateway": "10.98.0.1" },
                { "address": "fd00:98::5/64", "gateway": "fd00:98::1" }
            ],
            "routes": [{ "dst": "0.0.0.0/0", "gw": "10.98.0.1" }, { "dst": "::/0", "gw": "fd00:98::1" }]
        });
        attachment.plugin.insert("ipam".to_owned(), ipam);
    }
    let outside = outside(case, "outside", OUTSIDE)?;
    set_up_loopback(case, &attachment)?;
    let added = kernel::add(case, attachment)?;
    let container = added.attachment.place();
    let mut tried = false;
    for ip in &added.result.ips {
        let own = ip.address.addr();
        // What cannot leave the container is no matter of masquerading.
        let leaves = added
            .container()?
            .routes
            .iter()
            .any(|route| route.prefix == 0 && route.destination.is_ipv4() == own.is_ipv4());
        if !leaves {
            continue;
        }
        let (host, server) = outside.of_family(own);
        for transport in [Transport::Udp, Transport::Tcp] {
            tried = true;
            let exchange = direct(transport, &container, Some(own), &outside.place, server);
            let seen = patiently(case, &exchange)?;
            let source = seen.seen_source.map(|source| source.ip());
            let expected = format!(
                "a server beyond the host sees {transport} packets of the container's address {own} come from the host's address {host}"
            );
            let observed = match source {
                Some(source) => format!("it sees them come from {source}"),
                None => format!("none arrives{}", problem(&seen)),
            };
            let assertion =
                Assertion::Shell(format!("{{ {}; }}; grep -qx {host} {SEEN}", exchange.shell(Some(0), SEEN)));
            case.expect_as(source == Some(host), "config.wellknown-semantics", expected, observed, assertion);
        }
    }
    if !tried {
        return Err(Stop::skip("no address of the container has a default route to leave by".to_owned()));
    }
    Ok(())
}

// ---- forwarded ports

fn port_mappings(case: &mut Case<'_>) -> Result<(), Stop> {
    let promised = match case.variant {
        "localhost" | "hairpin" => {
            let capability = case.target.and_then(|target| target.capability("portMappings"));
            capability.is_some_and(|one| one.promises.iter().any(|promise| promise == case.variant))
        }
        _ => true,
    };
    if !promised {
        return Err(Stop::skip(format!("the target does not promise {}", case.variant)));
    }
    let outside = outside(case, "outside", OUTSIDE)?;
    let host_ip = (case.variant == "to-one-address").then_some(OUTSIDE);
    let (attachment, addresses) = forward(case, host_ip)?;
    let container = attachment.place();
    let mut exchanges = Vec::new();
    for address in addresses {
        let (host, _) = outside.of_family(address);
        let (client, to) = match case.variant {
            // ::1 is never forwarded: packets from it do not leave the host.
            "localhost" if address.is_ipv6() => continue,
            "localhost" => (Place::Host, IpAddr::from([127, 0, 0, 1])),
            "hairpin" => (container.clone(), host),
            _ => (outside.place.clone(), host),
        };
        for transport in [Transport::Tcp, Transport::Udp] {
            exchanges.push(through_port(transport, &client, to, &container, address));
        }
    }
    for exchange in &exchanges {
        let expected = format!(
            "{} reaches port {CONTAINER_PORT} of the container through {}, by {}",
            exchange.client, exchange.destination, exchange.transport
        );
        expect_reached(case, exchange, "conv.portmappings-effect", &expected)?;
    }
    cycle::detach(case, &attachment)?;
    for exchange in &exchanges {
        let exchange = Exchange { patience: SILENCE, persistent: false, ..exchange.clone() };
        let seen = case.exchange(&exchange)?;
        let expected = format!(
            "{} does not reach the container through {}, by {}, after DEL",
            exchange.client, exchange.destination, exchange.transport
        );
        let assertion = not_seen(&exchange, 0);
        let observed = "the container gets the packets";
        case.expect_as(seen.listener.is_none(), "conv.portmappings-effect", expected, observed, assertion);
    }
    Ok(())
}

fn forwarded(case: &mut Case<'_>) -> Result<(), Stop> {
    let outside = outside(case, "outside", OUTSIDE)?;
    let beyond = self::outside(case, "beyond", BEYOND)?;
    let (attachment, addresses) = forward(case, None)?;
    for address in addresses {
        let (_, server) = beyond.of_family(address);
        for transport in [Transport::Tcp, Transport::Udp] {
            let exchange = Exchange {
                transport,
                client: outside.place.clone(),
                source: None,
                destination: SocketAddr::new(server, HOST_PORT),
                listeners: vec![
                    Listener { place: beyond.place.clone(), address: SocketAddr::new(server, HOST_PORT) },
                    Listener { place: attachment.place(), address: SocketAddr::new(address, CONTAINER_PORT) },
                ],
                patience: PATIENCE,
                persistent: true,
                filler: 0,
            };
            let seen = case.exchange(&exchange)?;
            let expected = format!(
                "a packet for port {HOST_PORT} of {server}, which is not the host, gets there by {transport}"
            );
            let observed = match seen.listener {
                Some(0) => String::new(),
                Some(_) => "the container gets it".to_owned(),
                None => format!("nobody gets it{}", problem(&seen)),
            };
            let assertion = not_seen(&exchange, 1);
            let holds = seen.listener == Some(0);
            case.expect_as(holds, "conv.portmappings-effect", expected, observed, assertion);
        }
    }
    Ok(())
}

fn port_mappings_lasting(case: &mut Case<'_>) -> Result<(), Stop> {
    let outside = outside(case, "outside", OUTSIDE)?;
    let (first, addresses) = forward(case, None)?;
    let mut second = made_at_once(case, |case| case.attachment())?;
    set_mappings(&mut second, HOST_PORT + 1, None);
    case.add(&mut second)?;
    let exchanges: Vec<Exchange> = addresses
        .into_iter()
        .map(|address| {
            let host = outside.of_family(address).0;
            through_port(Transport::Tcp, &outside.place, host, &first.place(), address)
        })
        .collect();
    goes_on(case, &exchanges, &[&first], &second)
}

/// Where mappings begin and end.
pub(super) const HOST_PORT: u16 = 18080;
pub(super) const CONTAINER_PORT: u16 = 8080;

/// A container with a forwarded port for TCP and UDP, from all addresses of the host or from these. Also answers the
/// addresses of the container that it is forwarded to.
pub(super) fn forward(case: &mut Case<'_>, host_ips: Option<Net>) -> Result<(Attachment, Vec<IpAddr>), Stop> {
    let mut attachment = made_at_once(case, |case| case.attachment())?;
    set_mappings(&mut attachment, HOST_PORT, host_ips);
    set_up_loopback(case, &attachment)?;
    // As the plugin in front does that makes the host a gateway.
    for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        set_sysctl(case, name, "1")?;
    }
    case.add(&mut attachment)?;
    let result = kernel::read(case, attachment.result.as_ref())?;
    let addresses: Vec<IpAddr> = result.ips.iter().map(|ip| ip.address.addr()).collect();
    lead_back(case, &attachment, &result)?;
    Ok((attachment, addresses))
}

/// Has the container send answers to other hosts, by IPv6 too.
pub(super) fn lead_back(
    case: &mut Case<'_>,
    attachment: &Attachment,
    result: &AddResult,
) -> Result<(), Stop> {
    if let Some(gateway) = result.ips.iter().filter_map(|ip| ip.gateway).find(IpAddr::is_ipv6) {
        let op = NetOp::AddRoute {
            destination: IpAddr::from([0_u16; 8]),
            prefix: 0,
            gateway: Some(gateway),
            link: None,
            table: None,
            metric: None,
        };
        // The front has a route for IPv4 only.
        if !kernel::state(&case.snapshot()?, attachment)?
            .routes
            .iter()
            .any(|route| route.prefix == 0 && route.destination.is_ipv6())
        {
            case.network(&attachment.place(), op)?;
        }
    }
    Ok(())
}

pub(super) fn set_mappings(attachment: &mut Attachment, port: u16, host_ips: Option<Net>) {
    let mut mappings = Vec::new();
    for protocol in ["tcp", "udp"] {
        let mapping = json!({ "hostPort": port, "containerPort": CONTAINER_PORT, "protocol": protocol });
        match host_ips {
            None => mappings.push(mapping),
            Some(net) => {
                for address in [net.v4(1), net.v6(1)] {
                    let mut one = mapping.clone();
                    one["hostIP"] = json!(address.to_string());
                    mappings.push(one);
                }
            }
        }
    }
    let config = attachment.plugin.entry("runtimeConfig").or_insert_with(|| json!({}));
    if let Value::Object(config) = config {
        config.insert("portMappings".to_owned(), Value::Array(mappings));
    }
}

// ---- hosts beside

/// The networks of hosts beside this one: the third number of the IPv4 address.
#[derive(Clone, Copy)]
pub(super) struct Net(u8);

pub(super) const OUTSIDE: Net = Net(1);
pub(super) const BEYOND: Net = Net(2);

impl Net {
    pub(super) fn v4(self, last: u8) -> IpAddr {
        IpAddr::from([172, 31, self.0, last])
    }

    pub(super) fn v6(self, last: u8) -> IpAddr {
        IpAddr::from([0xfd00, 0x172, 0x31, self.0.into(), 0, 0, 0, last.into()])
    }
}

/// A host beside this one, which reaches everything through it.
pub(super) struct Outside {
    pub(super) place: Place,
    net: Net,
}

impl Outside {
    /// The address of this host and that of the other, of the family of an address.
    pub(super) fn of_family(&self, like: IpAddr) -> (IpAddr, IpAddr) {
        let net = self.net;
        if like.is_ipv4() { (net.v4(1), net.v4(2)) } else { (net.v6(1), net.v6(2)) }
    }
}

/// Makes a host beside this one.
pub(super) fn outside(case: &mut Case<'_>, name: &str, net: Net) -> Result<Outside, Stop> {
    case.steps.push(Step::AddNetns(name.to_owned()));
    case.arena.create_netns(name)?;
    let place = Place::Container(name.to_owned());
    let link = format!("to-{name}");
    made_at_once(case, |case| {
        let pair = NetOp::AddVeth { a: link.clone(), b: "up0".to_owned(), peer_place: place.clone() };
        case.network(&Place::Host, pair)?;
        for (at, link, last) in [(&Place::Host, link.as_str(), 1), (&place, "up0", 2)] {
            for (address, prefix) in [(net.v4(last), 24), (net.v6(last), 64)] {
                case.network(at, NetOp::AddAddress { link: link.to_owned(), address, prefix })?;
            }
            case.network(at, NetOp::SetUp { link: link.to_owned() })?;
        }
        Ok(())
    })?;
    for (gateway, destination) in [(net.v4(1), IpAddr::from([0; 4])), (net.v6(1), IpAddr::from([0_u16; 8]))] {
        let op = NetOp::AddRoute {
            destination,
            prefix: 0,
            gateway: Some(gateway),
            link: None,
            table: None,
            metric: None,
        };
        case.network(&place, op)?;
    }
    Ok(Outside { place, net })
}

/// Makes links of cnitest's own, which can be used at once: the kernel does not look whether the host's end has an IPv6
/// address that others have, for which it takes seconds.
pub(super) fn made_at_once<T>(
    case: &mut Case<'_>,
    make: impl FnOnce(&mut Case<'_>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let setting = "net/ipv6/conf/default/accept_dad";
    set_sysctl(case, setting, "0")?;
    let made = make(case)?;
    set_sysctl(case, setting, "1")?;
    Ok(made)
}

pub(super) fn set_sysctl(case: &mut Case<'_>, name: &str, value: &str) -> Result<(), Stop> {
    case.steps.push(Step::Shell(format!("echo {value} >/proc/sys/{name}")));
    Ok(case.arena.set_sysctl(&Place::Host, name, value)?)
}

// ---- shared

/// Attaches a container whose loopback device is up, as a runtime does.
fn attached(case: &mut Case<'_>) -> Result<Added, Stop> {
    let attachment = case.attachment()?;
    set_up_loopback(case, &attachment)?;
    kernel::add(case, attachment)
}

pub(super) fn set_up_loopback(case: &mut Case<'_>, attachment: &Attachment) -> Result<(), Stop> {
    case.network(&attachment.place(), NetOp::SetUp { link: "lo".to_owned() })
}

/// Addresses of two containers, a pair for each family.
fn pairs(first: &Added, second: &Added) -> Vec<(IpAddr, IpAddr)> {
    let other = |own: IpAddr| {
        second.result.ips.iter().map(|ip| ip.address.addr()).find(|other| other.is_ipv4() == own.is_ipv4())
    };
    first.result.ips.iter().map(|ip| ip.address.addr()).filter_map(|own| Some((own, other(own)?))).collect()
}

pub(super) fn has_address(state: &NamespaceState, address: IpAddr) -> bool {
    state.addresses.iter().any(|found| found.address == address)
}

/// An exchange with the one that has the destination's address.
pub(super) fn direct(
    transport: Transport,
    client: &Place,
    source: Option<IpAddr>,
    server: &Place,
    destination: IpAddr,
) -> Exchange {
    let destination = SocketAddr::new(destination, PORT);
    Exchange {
        transport,
        client: client.clone(),
        source: source.map(|address| SocketAddr::new(address, 0)),
        destination,
        listeners: vec![Listener { place: server.clone(), address: destination }],
        patience: PATIENCE,
        persistent: true,
        filler: 0,
    }
}

/// An exchange with a container through the port of the host that is forwarded to it.
pub(super) fn through_port(
    transport: Transport,
    client: &Place,
    host: IpAddr,
    container: &Place,
    address: IpAddr,
) -> Exchange {
    Exchange {
        transport,
        client: client.clone(),
        source: None,
        destination: SocketAddr::new(host, HOST_PORT),
        listeners: vec![Listener {
            place: container.clone(),
            address: SocketAddr::new(address, CONTAINER_PORT),
        }],
        patience: PATIENCE,
        persistent: true,
        filler: 0,
    }
}

/// Expects the first listener to get the packets, and the client the answer.
pub(super) fn expect_reached(
    case: &mut Case<'_>,
    exchange: &Exchange,
    requirement: &'static str,
    expected: &str,
) -> Result<Exchanged, Stop> {
    let seen = patiently(case, exchange)?;
    let observed = match seen.listener {
        None => format!("no packet arrives{}", problem(&seen)),
        Some(_) => format!("packets arrive, answers do not come back{}", problem(&seen)),
    };
    let assertion = Assertion::Shell(exchange.shell(Some(0), SEEN));
    case.expect_as(seen.answered, requirement, expected, observed, assertion);
    Ok(seen)
}

/// Exchanges what has to arrive. A network that has just been made may lose packets, and a busy machine may be late: only
/// what fails each time is lost.
pub(super) fn patiently(case: &mut Case<'_>, exchange: &Exchange) -> Result<Exchanged, Stop> {
    let mut seen = case.exchange(exchange)?;
    for _ in 1..ATTEMPTS {
        if seen.answered {
            break;
        }
        seen = case.exchange(exchange)?;
    }
    Ok(seen)
}

/// How often packets that have to arrive are sent before they count as lost.
const ATTEMPTS: usize = 3;

pub(super) fn problem(seen: &Exchanged) -> String {
    seen.problem.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}

pub(super) fn not_seen(exchange: &Exchange, listener: usize) -> Assertion {
    Assertion::Shell(format!("{{ {}; }}; ! [ -s {SEEN} ]", exchange.shell(Some(listener), SEEN)))
}
