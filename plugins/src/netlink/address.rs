//! The addresses of links.

use std::net::IpAddr;

use ipnet::IpNet;

use super::message::{Message, attribute, octets, to_address, u32_at};
use super::{NetlinkError, Socket, Step};

/// `IFA_F_NOPREFIXROUTE`: no route to the subnet comes with the address.
const NO_PREFIX_ROUTE: u32 = 0x200;
/// `IFA_FLAGS`: the flags that do not fit into the header.
const IFA_FLAGS: u16 = 8;
/// The length of `struct ifaddrmsg`.
const HEADER: usize = 8;

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkAddress {
    /// The address with the length of its prefix.
    pub address: IpNet,
    /// The scope: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// Whether duplicate address detection has not finished, or has found a duplicate.
    pub tentative: bool,
    /// Whether it has found a duplicate.
    pub duplicate: bool,
    /// Whether it stays until somebody removes it.
    pub permanent: bool,
    /// Whether a route to the subnet came with it.
    pub prefix_route: bool,
}

/// The family's number in the kernel's headers.
pub fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn header(family: u8, prefix: u8, flags: u8, index: u32) -> Vec<u8> {
    let mut bytes = vec![family, prefix, flags, 0];
    bytes.extend(index.to_ne_bytes());
    bytes
}

fn read(payload: &[u8], index: u32) -> Option<LinkAddress> {
    // An old kernel ignores the filter of the request.
    if u32_at(payload, 4)? != index {
        return None;
    }
    let local =
        attribute(payload, HEADER, libc::IFA_LOCAL).or(attribute(payload, HEADER, libc::IFA_ADDRESS))?;
    let flags = attribute(payload, HEADER, IFA_FLAGS).and_then(|bytes| u32_at(bytes, 0));
    let flags = flags.unwrap_or_else(|| payload[2].into());
    Some(LinkAddress {
        address: IpNet::new(to_address(local)?, *payload.get(1)?).ok()?,
        scope: *payload.get(3)?,
        tentative: flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) != 0,
        duplicate: flags & libc::IFA_F_DADFAILED != 0,
        permanent: flags & libc::IFA_F_PERMANENT != 0,
        prefix_route: flags & NO_PREFIX_ROUTE == 0,
    })
}

impl Socket {
    /// The addresses of a link.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<LinkAddress>, NetlinkError> {
        let message =
            Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &header(libc::AF_UNSPEC as u8, 0, 0, index));
        let outcome = self.dump("list addresses", &message, |payload| read(payload, index));
        match outcome {
            Err(error) if error.is(libc::ENODEV) => Ok(Vec::new()),
            other => other,
        }
    }
}

/// Adds an address, usable at once: IPv6 does not look for duplicates, since IPAM vouches for the address.
pub fn add(address: IpNet, index: u32, prefix_route: bool) -> Step {
    let at_once = if address.addr().is_ipv6() { libc::IFA_F_NODAD } else { 0 };
    add_with(address, index, prefix_route, at_once)
}

/// Adds an address. IPv6 looks for duplicates first, as far as the settings of the link ask for it; the address is tentative
/// meanwhile.
pub fn add_tentative(address: IpNet, index: u32, prefix_route: bool) -> Step {
    add_with(address, index, prefix_route, 0)
}

fn add_with(address: IpNet, index: u32, prefix_route: bool, flags: u32) -> Step {
    let flags = flags | if prefix_route { 0 } else { NO_PREFIX_ROUTE };
    let flag_byte = (flags & 0xff) as u8;
    let local = octets(address.addr());
    let message = Message::new(
        libc::RTM_NEWADDR,
        libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK,
        &header(family(address.addr()), address.prefix_len(), flag_byte, index),
    )
    .bytes(libc::IFA_LOCAL, &local)
    .bytes(libc::IFA_ADDRESS, &local)
    .u32(IFA_FLAGS, flags)
    .maybe(broadcast(address), |m, address| m.address(libc::IFA_BROADCAST, address));
    Step::new(format!("add address {address}"), message)
}

/// The broadcast address of an IPv4 subnet that has one.
fn broadcast(address: IpNet) -> Option<IpAddr> {
    (address.addr().is_ipv4() && address.prefix_len() < 31).then(|| address.broadcast())
}

/// Removes an address; one that is not there is no error.
pub fn remove(address: IpNet, index: u32) -> Step {
    let message = Message::new(
        libc::RTM_DELADDR,
        libc::NLM_F_ACK,
        &header(family(address.addr()), address.prefix_len(), 0, index),
    )
    .address(libc::IFA_LOCAL, address.addr());
    Step::new(format!("remove address {address}"), message).or(&[libc::EADDRNOTAVAIL, libc::ENODEV])
}

/// Reads any payload, as of the link that it names.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(payload: &[u8]) {
    let index =
        payload.get(4..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let _ = read(payload, index);
}
