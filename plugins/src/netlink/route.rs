//! Routes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address::family;
use super::message::{Message, attribute, attributes, to_address, u32_at};
use super::{NetlinkError, Socket, Step};

/// The length of `struct rtmsg`.
const HEADER: usize = 12;
/// `RTAX_MTU` and `RTAX_ADVMSS`: metrics of a route.
const METRIC_MTU: u16 = 2;
const METRIC_ADVMSS: u16 = 8;

/// A unicast route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelRoute {
    /// The destination.
    pub dst: IpNet,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The link's index.
    pub link: u32,
    /// The table's number; `None` is the main one.
    pub table: Option<u32>,
    /// The priority; lower wins. The kernel chooses where there is none.
    pub priority: Option<u32>,
    /// The scope: 0 global, 253 link, 254 host. Link where there is neither this nor a gateway.
    pub scope: Option<u8>,
    /// The path MTU in bytes.
    pub mtu: Option<u32>,
    /// The TCP segment size to advertise, in bytes.
    pub advmss: Option<u32>,
    /// The source address that it prefers.
    pub source: Option<IpAddr>,
    /// Who made it.
    pub protocol: u8,
}

impl KernelRoute {
    /// A route through a link, with nothing set.
    pub fn new(dst: IpNet, link: u32) -> KernelRoute {
        KernelRoute {
            dst: dst.trunc(),
            gateway: None,
            link,
            table: None,
            priority: None,
            scope: None,
            mtu: None,
            advmss: None,
            source: None,
            protocol: libc::RTPROT_BOOT,
        }
    }

    /// The number of the table that it is in.
    pub fn table_number(&self) -> u32 {
        self.table.unwrap_or(libc::RT_TABLE_MAIN.into())
    }

    /// Whether it is a default route.
    pub fn is_default(&self) -> bool {
        self.dst.prefix_len() == 0
    }

    fn message(&self, kind: u16, flags: i32) -> Message {
        let scope = self.scope.unwrap_or(if self.gateway.is_none() && self.dst.addr().is_ipv4() {
            libc::RT_SCOPE_LINK
        } else {
            libc::RT_SCOPE_UNIVERSE
        });
        let header = [
            family(self.dst.addr()),
            self.dst.prefix_len(),
            0,
            0,
            // A table above 255 is in its attribute only.
            self.table
                .map_or(libc::RT_TABLE_MAIN, |table| u8::try_from(table).unwrap_or(libc::RT_TABLE_UNSPEC)),
            self.protocol,
            scope,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        Message::new(kind, flags | libc::NLM_F_ACK, &header)
            .maybe((!self.is_default()).then(|| self.dst.addr()), |m, dst| m.address(libc::RTA_DST, dst))
            .u32(libc::RTA_OIF, self.link)
            .maybe(self.gateway, |m, gateway| m.address(libc::RTA_GATEWAY, gateway))
            .maybe(self.source, |m, source| m.address(libc::RTA_PREFSRC, source))
            .maybe(self.table, |m, table| m.u32(libc::RTA_TABLE, table))
            .maybe(self.priority, |m, priority| m.u32(libc::RTA_PRIORITY, priority))
            .maybe((self.mtu.is_some() || self.advmss.is_some()).then_some(()), |m, ()| {
                m.nest(libc::RTA_METRICS, |m| {
                    m.maybe(self.mtu, |m, mtu| m.u32(METRIC_MTU, mtu))
                        .maybe(self.advmss, |m, advmss| m.u32(METRIC_ADVMSS, advmss))
                })
            })
    }

    /// Adds the route; one to the same destination with the same priority is an error (`EEXIST`).
    pub fn add(&self) -> Step {
        self.new_with(libc::NLM_F_EXCL)
    }

    /// Adds the route, or puts it into the place of one to the same destination with the same priority.
    pub fn replace(&self) -> Step {
        self.new_with(libc::NLM_F_REPLACE)
    }

    fn new_with(&self, flag: i32) -> Step {
        let message = self.message(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | flag);
        let via = self.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        Step::new(format!("add route {}{via}", self.dst), message)
    }
}

/// The next hop that an address names: to the kernel, the unspecified one of IPv4 is none, and so it is here for IPv6.
pub fn next_hop(address: IpAddr) -> Option<IpAddr> {
    Some(address).filter(|address| !address.is_unspecified())
}

fn read(payload: &[u8]) -> Option<KernelRoute> {
    if *payload.get(7)? != libc::RTN_UNICAST {
        return None;
    }
    let is_v4 = i32::from(*payload.first()?) == libc::AF_INET;
    let any: IpAddr = if is_v4 { [0; 4].into() } else { [0; 16].into() };
    let dst = attribute(payload, HEADER, libc::RTA_DST).and_then(to_address).unwrap_or(any);
    let mut route = KernelRoute::new(IpNet::new(dst, *payload.get(1)?).ok()?, 0);
    route.table = Some((*payload.get(4)?).into());
    route.protocol = *payload.get(5)?;
    route.scope = Some(*payload.get(6)?);
    for (kind, value) in attributes(payload, HEADER) {
        match kind {
            libc::RTA_OIF => route.link = u32_at(value, 0)?,
            libc::RTA_GATEWAY => route.gateway = to_address(value),
            libc::RTA_PREFSRC => route.source = to_address(value),
            libc::RTA_TABLE => route.table = u32_at(value, 0),
            libc::RTA_PRIORITY => route.priority = u32_at(value, 0),
            libc::RTA_METRICS => {
                route.mtu = attribute(value, 0, METRIC_MTU).and_then(|bytes| u32_at(bytes, 0));
                route.advmss = attribute(value, 0, METRIC_ADVMSS).and_then(|bytes| u32_at(bytes, 0));
            }
            _ => {}
        }
    }
    Some(route)
}

/// Where the kernel would send a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The index of the link that it would go out by.
    pub link: u32,
    /// Whether the destination is this host itself.
    pub is_local: bool,
}

impl Socket {
    /// The way to a destination; `None` if there is none.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that there is no way.
    pub fn way(&mut self, destination: IpAddr) -> Result<Option<Way>, NetlinkError> {
        let full = IpNet::from(destination).prefix_len();
        let mut header = [0; HEADER];
        header[0] = family(destination);
        header[1] = full;
        let message = Message::new(libc::RTM_GETROUTE, 0, &header).address(libc::RTA_DST, destination);
        let read = |payload: &[u8]| {
            let link = attribute(payload, HEADER, libc::RTA_OIF).and_then(|bytes| u32_at(bytes, 0))?;
            Some(Way { link, is_local: *payload.get(7)? == libc::RTN_LOCAL })
        };
        match self.get(&format!("look for the way to {destination}"), message, read) {
            Err(error)
                if [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EINVAL, libc::EACCES]
                    .iter()
                    .any(|e| error.is(*e)) =>
            {
                Ok(None)
            }
            other => other,
        }
    }

    /// The unicast routes of a family in every table.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn routes(&mut self, ipv4: bool) -> Result<Vec<KernelRoute>, NetlinkError> {
        let family = if ipv4 { libc::AF_INET } else { libc::AF_INET6 } as u8;
        let mut header = [0; HEADER];
        header[0] = family;
        self.dump("list routes", &Message::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &header), read)
    }
}

/// Reads any payload.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(payload: &[u8]) {
    let _ = read(payload);
}
