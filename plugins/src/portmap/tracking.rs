//! UDP has no connections, but the kernel tracks what looks like one: such a flow keeps going where it went when it
//! began. Flows of a port that was mapped or unmapped since have to be forgotten.

use std::net::IpAddr;

use super::claim::{Claim, Protocol};
use crate::netlink::message::{Message, attribute, to_address};
use crate::netlink::{NetlinkError, Socket, Step};

/// The length of `struct nfgenmsg`.
const HEADER: usize = 4;

// From nfnetlink_conntrack.h.
const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const FILTER_BY_PROTOCOL: u32 = 1 << 3;
const FILTER_BY_DESTINATION_PORT: u32 = 1 << 5;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IPV4_SOURCE: u16 = 1;
const IPV4_DESTINATION: u16 = 2;
const IPV6_SOURCE: u16 = 3;
const IPV6_DESTINATION: u16 = 4;
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

/// A tracked flow to a port.
struct Flow {
    /// The original direction, as the kernel wrote it.
    original: Vec<u8>,
    /// Where it was sent.
    destination: IpAddr,
    /// Where answers come from.
    answers: (IpAddr, u16),
}

fn header(ipv4: bool) -> [u8; HEADER] {
    [(if ipv4 { libc::AF_INET } else { libc::AF_INET6 }) as u8, 0, 0, 0]
}

/// The flows of UDP that were sent to a port.
fn flows(socket: &mut Socket, ipv4: bool, port: u16) -> Result<Vec<Flow>, NetlinkError> {
    let by = FILTER_BY_PROTOCOL | FILTER_BY_DESTINATION_PORT;
    let message = Message::new(GET, libc::NLM_F_DUMP, &header(ipv4))
        .nest(ORIGINAL, |m| {
            m.nest(TUPLE_PROTOCOL, |m| {
                m.bytes(NUMBER, &[Protocol::Udp as u8]).bytes(DESTINATION_PORT, &port.to_be_bytes())
            })
        })
        .nest(FILTER, |m| m.u32(FILTER_ORIGINAL, by).u32(FILTER_REPLY, 0));
    // An old kernel ignores the filter.
    socket.dump("list tracked flows", &message, |payload| read(payload, port))
}

fn read(payload: &[u8], port: u16) -> Option<Flow> {
    let part = |direction, kind| attribute(attribute(payload, HEADER, direction)?, 0, kind);
    let address = |direction, v4, v6| {
        let addresses = part(direction, TUPLE_ADDRESSES)?;
        attribute(addresses, 0, v4).or(attribute(addresses, 0, v6)).and_then(to_address)
    };
    let field = |direction, kind| attribute(part(direction, TUPLE_PROTOCOL)?, 0, kind);
    let number = |direction, kind| Some(u16::from_be_bytes(field(direction, kind)?.try_into().ok()?));
    if field(ORIGINAL, NUMBER)? != [Protocol::Udp as u8] || number(ORIGINAL, DESTINATION_PORT)? != port {
        return None;
    }
    Some(Flow {
        original: attribute(payload, HEADER, ORIGINAL)?.to_vec(),
        destination: address(ORIGINAL, IPV4_DESTINATION, IPV6_DESTINATION)?,
        answers: (address(REPLY, IPV4_SOURCE, IPV6_SOURCE)?, number(REPLY, SOURCE_PORT)?),
    })
}

/// Forgets the flows to claimed ports that `is_stale` chooses, and no others.
fn forget(
    claims: &[Claim],
    mut is_stale: impl FnMut(&Claim, &Flow) -> Result<bool, NetlinkError>,
) -> Result<(), NetlinkError> {
    let mut udp = claims.iter().filter(|claim| claim.protocol == Protocol::Udp && !claim.waiting).peekable();
    if udp.peek().is_none() {
        return Ok(());
    }
    let mut socket = Socket::netfilter()?;
    for claim in udp {
        let mut steps = Vec::new();
        for flow in flows(&mut socket, claim.ipv4(), claim.host_port)? {
            if claim.host_ip.is_none_or(|address| address == flow.destination) && is_stale(claim, &flow)? {
                let message = Message::new(DELETE, libc::NLM_F_ACK, &header(claim.ipv4()))
                    .nest(ORIGINAL, |m| m.raw(&flow.original));
                steps.push(Step::new("forget a tracked flow", message).or(&[libc::ENOENT]));
            }
        }
        socket.apply(steps)?;
    }
    Ok(())
}

/// Forgets the flows that were sent to this host's ports before these went to the container.
pub(super) fn forget_earlier(claims: &[Claim]) -> Result<(), NetlinkError> {
    let mut route = Socket::route()?;
    forget(claims, |claim, flow| {
        let elsewhere = flow.answers != (claim.container, claim.container_port);
        Ok(elsewhere && route.way(flow.destination)?.is_some_and(|way| way.is_local))
    })
}

/// Forgets the flows that go to the container by ports that it no longer has.
pub(super) fn forget_own(claims: &[Claim]) -> Result<(), NetlinkError> {
    forget(claims, |claim, flow| Ok(flow.answers == (claim.container, claim.container_port)))
}

/// Reads a message as a flow to whatever port it names.
#[cfg(feature = "fuzzing")]
pub(super) fn read_any(payload: &[u8]) {
    let number = |at: usize| Some(u16::from_be_bytes(*payload.get(at..)?.first_chunk()?));
    for port in [number(0), number(payload.len().saturating_sub(2)), Some(53)].into_iter().flatten() {
        let _ = read(payload, port);
    }
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
    fn only_flows_of_udp_to_the_port_are_read() {
        let udp = Protocol::Udp as u8;
        let flow = read(tracked(udp, 5353).payload(), 5353).unwrap();
        assert_eq!(flow.destination, IpAddr::from([192, 0, 2, 1]));
        assert_eq!(flow.answers, (IpAddr::from([10, 1, 0, 2]), 53));
        assert!(read(tracked(udp, 5354).payload(), 5353).is_none());
        assert!(read(tracked(Protocol::Tcp as u8, 5353).payload(), 5353).is_none());
        assert!(read(&[0; 4], 5353).is_none());
    }
}
