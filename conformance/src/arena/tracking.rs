//! UDP flows that the kernel tracks in a namespace: it goes on leading their packets where the first one went.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::error::Refusal;
use super::netlink::{
    Dumps, Message, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Netlink, NetlinkError, address, attribute,
};
use super::operate::Network;
use crate::invoke::Place;

// From nfnetlink_conntrack.h.
const SUBSYSTEM: u16 = 1;
const NEW: u16 = SUBSYSTEM << 8;
const GET: u16 = SUBSYSTEM << 8 | 1;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const TIMEOUT: u16 = 7;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// The attributes of the source and the destination of a family.
const IPV4: (u16, u16) = (1, 2);
const IPV6: (u16, u16) = (3, 4);

const UDP: u8 = 17;
/// The length of `struct nfgenmsg`.
const HEADER: usize = 4;
/// How long a flow that is put in lasts, in seconds: longer than any case.
const LASTS: u32 = 3600;

/// A tracked UDP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Where its packets come from.
    pub source: SocketAddr,
    /// Where they are sent.
    pub destination: SocketAddr,
    /// Where they arrive: the destination, unless it is translated.
    pub answerer: SocketAddr,
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the UDP flow from {} to {}", self.source, self.destination)
    }
}

impl Flow {
    /// A flow whose packets are not translated.
    pub fn plain(source: SocketAddr, destination: SocketAddr) -> Flow {
        Flow { source, destination, answerer: destination }
    }

    /// A shell command that puts it in, for a reproducer.
    pub fn shell(&self) -> String {
        let Flow { source, destination, .. } = self;
        format!(
            "conntrack -I -p udp -s {} --sport {} -d {} --dport {} -t {LASTS}",
            source.ip(),
            source.port(),
            destination.ip(),
            destination.port()
        )
    }

    /// A shell command that succeeds when it is there, for a reproducer.
    pub fn shell_is_there(&self) -> String {
        let Flow { source, destination, .. } = self;
        format!(
            "conntrack -L -f {} -p udp -s {} --sport {} -d {} --dport {} 2>/dev/null | grep -q udp",
            if source.is_ipv4() { "ipv4" } else { "ipv6" },
            source.ip(),
            source.port(),
            destination.ip(),
            destination.port()
        )
    }

    fn message(&self) -> Message {
        Message::new(NEW, NLM_F_CREATE | NLM_F_EXCL, &header(self.source.is_ipv4()))
            .nest(ORIGINAL, |m| tuple(m, self.source, self.destination))
            .nest(REPLY, |m| tuple(m, self.answerer, self.source))
            .attribute(TIMEOUT, &LASTS.to_be_bytes())
    }

    /// Reads one of a dump; nothing for what is not UDP.
    fn read(payload: &[u8]) -> Option<Flow> {
        let attributes = payload.get(HEADER..)?;
        let (source, destination) = ends(attribute(attributes, ORIGINAL)?)?;
        let (answerer, _) = ends(attribute(attributes, REPLY)?)?;
        Some(Flow { source, destination, answerer })
    }
}

fn header(ipv4: bool) -> [u8; HEADER] {
    let family = if ipv4 { libc::AF_INET } else { libc::AF_INET6 };
    [u8::try_from(family).unwrap_or(0), 0, 0, 0]
}

fn tuple(message: Message, source: SocketAddr, destination: SocketAddr) -> Message {
    let (from, to) = if source.is_ipv4() { IPV4 } else { IPV6 };
    message.nest(TUPLE_ADDRESSES, |m| m.address(from, &source.ip()).address(to, &destination.ip())).nest(
        TUPLE_PROTOCOL,
        |m| {
            m.attribute(PROTOCOL_NUMBER, &[UDP])
                .attribute(SOURCE_PORT, &source.port().to_be_bytes())
                .attribute(DESTINATION_PORT, &destination.port().to_be_bytes())
        },
    )
}

/// Source and destination of a tuple.
fn ends(tuple: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (addresses, protocol) = (attribute(tuple, TUPLE_ADDRESSES)?, attribute(tuple, TUPLE_PROTOCOL)?);
    if attribute(protocol, PROTOCOL_NUMBER)? != [UDP] {
        return None;
    }
    let ip = |(v4, v6): (u16, u16)| -> Option<IpAddr> {
        address(attribute(addresses, v4).or_else(|| attribute(addresses, v6))?)
    };
    let port = |kind| Some(u16::from_be_bytes(attribute(protocol, kind)?.try_into().ok()?));
    Some((
        SocketAddr::new(ip((IPV4.0, IPV6.0))?, port(SOURCE_PORT)?),
        SocketAddr::new(ip((IPV4.1, IPV6.1))?, port(DESTINATION_PORT)?),
    ))
}

impl Network {
    /// Puts a flow in, as if its packets had come by.
    pub(super) fn track(&mut self, place: &Place, flow: &Flow) -> Result<(), Refusal> {
        self.conntrack(place, &format!("track {flow}"), |socket| socket.request(flow.message()).map(drop))
    }

    /// All flows.
    pub(super) fn tracked(&mut self, place: &Place) -> Result<Vec<Flow>, Refusal> {
        // No family: both of them.
        let message = Message::new(GET, NLM_F_DUMP, &[0; HEADER]);
        let answers = self.conntrack(place, "list tracked flows", |socket| socket.dump(&message))?;
        Ok(answers.iter().filter_map(|answer| Flow::read(&answer.payload)).collect())
    }

    fn conntrack<T>(
        &mut self,
        place: &Place,
        what: &str,
        act: impl FnOnce(&mut Netlink) -> Result<T, NetlinkError>,
    ) -> Result<T, Refusal> {
        let Some(socket) = &mut self.space(place)?.netfilter else {
            return Err(Refusal::new(what, "the kernel has no nfnetlink"));
        };
        act(socket).map_err(|error| Refusal {
            what: what.to_owned(),
            reason: error.to_string(),
            errno: Some(error.errno),
        })
    }
}

/// Reads a message as a tracked flow.
#[cfg(feature = "fuzzing")]
pub(super) fn read_any(payload: &[u8]) {
    if let Some(flow) = Flow::read(payload) {
        assert!(!flow.to_string().contains('\n') && !flow.shell().contains('\n'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_what_is_read() {
        for (source, destination, answerer) in [
            ("192.0.2.9:7777", "192.0.2.1:53", "10.1.0.2:5353"),
            ("[fd00::9]:7777", "[fd00::1]:53", "[fd00:1::2]:5353"),
        ] {
            let [source, destination, answerer] =
                [source, destination, answerer].map(|text| text.parse().unwrap());
            let flow = Flow { source, destination, answerer };
            assert_eq!(Flow::read(flow.message().payload()), Some(flow));
        }
        assert_eq!(Flow::read(&[0; HEADER]), None);
        assert_eq!(Flow::read(&[]), None);
    }

    #[test]
    fn a_reproducer_names_the_flow() {
        let flow = Flow::plain("192.0.2.9:7777".parse().unwrap(), "192.0.2.1:53".parse().unwrap());
        assert_eq!(
            flow.shell(),
            "conntrack -I -p udp -s 192.0.2.9 --sport 7777 -d 192.0.2.1 --dport 53 -t 3600"
        );
        assert!(flow.shell_is_there().starts_with("conntrack -L -f ipv4 -p udp -s 192.0.2.9 --sport 7777 "));
    }
}
