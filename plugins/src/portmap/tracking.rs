//! UDP has no connections, but the kernel tracks what looks like one: such a flow keeps going where it went when it
//! began. Flows of a port that was mapped or unmapped since have to be forgotten.

use std::net::IpAddr;

use super::claim::{Claim, Protocol};
use super::conditions::Conditions;
use crate::netlink::message::{Message, attribute, to_address};
use crate::netlink::{NetlinkError, Socket, Step};

/// The length of `struct nfgenmsg`.
const HEADER: usize = 4;

// From nfnetlink_conntrack.h.
const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const COUNT: u16 = SUBSYSTEM << 8 | 5;
const ENTRIES: u16 = 1;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const FILTER_BY_PROTOCOL: u32 = 1 << 3;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IPV4_SOURCE: u16 = 1;
const IPV4_DESTINATION: u16 = 2;
const IPV6_SOURCE: u16 = 3;
const IPV6_DESTINATION: u16 = 4;
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

/// A tracked flow.
struct Flow {
    /// The original direction, as the kernel wrote it.
    original: Vec<u8>,
    /// Where it came from.
    source: IpAddr,
    /// Where it was sent.
    destination: IpAddr,
    /// The port there.
    port: u16,
    /// Where answers come from.
    answers: (IpAddr, u16),
}

fn header(ipv4: bool) -> [u8; HEADER] {
    [(if ipv4 { libc::AF_INET } else { libc::AF_INET6 }) as u8, 0, 0, 0]
}

/// Whether the kernel tracks anything in this namespace. A listing takes it milliseconds whatever there is to list.
fn tracks_any(socket: &mut Socket) -> Result<bool, NetlinkError> {
    let entries = socket.get("count tracked flows", Message::new(COUNT, 0, &header(true)), |payload| {
        Some(u32::from_be_bytes(attribute(payload, HEADER, ENTRIES)?.try_into().ok()?))
    })?;
    Ok(entries != Some(0))
}

/// The flows of UDP.
fn flows(socket: &mut Socket, ipv4: bool) -> Result<Vec<Flow>, NetlinkError> {
    let message = Message::new(GET, libc::NLM_F_DUMP, &header(ipv4))
        .nest(ORIGINAL, |m| m.nest(TUPLE_PROTOCOL, |m| m.bytes(NUMBER, &[Protocol::Udp as u8])))
        .nest(FILTER, |m| m.u32(FILTER_ORIGINAL, FILTER_BY_PROTOCOL).u32(FILTER_REPLY, 0));
    // An old kernel ignores the filter.
    socket.dump("list tracked flows", &message, read)
}

fn read(payload: &[u8]) -> Option<Flow> {
    let part = |direction, kind| attribute(attribute(payload, HEADER, direction)?, 0, kind);
    let address = |direction, v4, v6| {
        let addresses = part(direction, TUPLE_ADDRESSES)?;
        attribute(addresses, 0, v4).or(attribute(addresses, 0, v6)).and_then(to_address)
    };
    let field = |direction, kind| attribute(part(direction, TUPLE_PROTOCOL)?, 0, kind);
    let number = |direction, kind| Some(u16::from_be_bytes(field(direction, kind)?.try_into().ok()?));
    if field(ORIGINAL, NUMBER)? != [Protocol::Udp as u8] {
        return None;
    }
    Some(Flow {
        original: attribute(payload, HEADER, ORIGINAL)?.to_vec(),
        source: address(ORIGINAL, IPV4_SOURCE, IPV6_SOURCE)?,
        destination: address(ORIGINAL, IPV4_DESTINATION, IPV6_DESTINATION)?,
        port: number(ORIGINAL, DESTINATION_PORT)?,
        answers: (address(REPLY, IPV4_SOURCE, IPV6_SOURCE)?, number(REPLY, SOURCE_PORT)?),
    })
}

/// Forgets the flows to claimed ports that `is_stale` chooses, and no others.
fn forget(
    claims: &[Claim],
    mut is_stale: impl FnMut(&Claim, &Flow) -> Result<bool, NetlinkError>,
) -> Result<(), NetlinkError> {
    let udp = claims.iter().filter(|claim| claim.protocol == Protocol::Udp && !claim.waiting);
    let (ipv4, ipv6): (Vec<&Claim>, Vec<&Claim>) = udp.partition(|claim| claim.ipv4());
    if ipv4.is_empty() && ipv6.is_empty() {
        return Ok(());
    }
    let mut socket = Socket::netfilter()?;
    if !tracks_any(&mut socket)? {
        return Ok(());
    }
    for (claims, is_ipv4) in [(ipv4, true), (ipv6, false)] {
        let found = if claims.is_empty() { Vec::new() } else { flows(&mut socket, is_ipv4)? };
        let mut steps = Vec::new();
        for flow in found {
            let mut stale = false;
            for claim in claims.iter().filter(|claim| claim.host_port == flow.port) {
                let is_sent_here = claim.host_ip.is_none_or(|address| address == flow.destination);
                stale |= is_sent_here && is_stale(claim, &flow)?;
            }
            if stale {
                let message = Message::new(DELETE, libc::NLM_F_ACK, &header(is_ipv4))
                    .nest(ORIGINAL, |m| m.raw(&flow.original));
                steps.push(Step::new("forget a tracked flow", message).or(&[libc::ENOENT]));
            }
        }
        socket.apply(steps)?;
    }
    Ok(())
}

/// Forgets the flows that were sent to this host's ports before these went to the container, unless conditions keep
/// them out.
pub(super) fn forget_earlier(claims: &[Claim], conditions: &[Conditions]) -> Result<(), NetlinkError> {
    let mut route = Socket::route()?;
    forget(claims, |claim, flow| {
        let elsewhere = flow.answers != (claim.container, claim.container_port);
        let mut of_family = conditions.iter().filter(|one| one.ipv4() == claim.ipv4());
        let is_let_in = of_family.all(|one| one.may_be_met(flow.source, flow.destination));
        Ok(elsewhere && is_let_in && route.way(flow.destination)?.is_some_and(|way| way.is_local))
    })
}

/// Forgets the flows that go to the container by ports that it no longer has.
pub(super) fn forget_own(claims: &[Claim]) -> Result<(), NetlinkError> {
    forget(claims, |claim, flow| Ok(flow.answers == (claim.container, claim.container_port)))
}

/// Reads a message as a flow.
#[cfg(feature = "fuzzing")]
pub(super) fn read_any(payload: &[u8]) {
    let _ = read(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracked(protocol: u8, port: u16) -> Message {
        let tuple = |m: Message, source: [u8; 4], destination: [u8; 4], ports: (u16, u16)| {
            m.nest(TUPLE_ADDRESSES, |m| m.bytes(IPV4_SOURCE, &source).bytes(IPV4_DESTINATION, &destination))
                .nest(TUPLE_PROTOCOL, |m| {
                    m.bytes(NUMBER, &[protocol])
                        .bytes(SOURCE_PORT, &ports.0.to_be_bytes())
                        .bytes(DESTINATION_PORT, &ports.1.to_be_bytes())
                })
        };
        Message::new(GET, 0, &header(true))
            .nest(ORIGINAL, |m| tuple(m, [192, 0, 2, 9], [192, 0, 2, 1], (7777, port)))
            .nest(REPLY, |m| tuple(m, [10, 1, 0, 2], [192, 0, 2, 9], (53, 7777)))
    }

    #[test]
    fn only_flows_of_udp_are_read() {
        let flow = read(tracked(Protocol::Udp as u8, 5353).payload()).unwrap();
        assert_eq!(flow.source, IpAddr::from([192, 0, 2, 9]));
        assert_eq!((flow.destination, flow.port), (IpAddr::from([192, 0, 2, 1]), 5353));
        assert_eq!(flow.answers, (IpAddr::from([10, 1, 0, 2]), 53));
        assert!(read(tracked(Protocol::Tcp as u8, 5353).payload()).is_none());
        assert!(read(&[0; 4]).is_none());
    }
}
