//! Links: reading, creating, changing and deleting them.

use std::fmt;
use std::os::fd::RawFd;

use super::message::{Message, attribute, attributes, to_text, u32_at};
use super::{NetlinkError, Socket, Step};

/// `VETH_INFO_PEER`: the other end of a veth pair, after a link header.
const VETH_INFO_PEER: u16 = 1;
/// `IFLA_BRPORT_MODE`: hairpin.
const BRPORT_HAIRPIN: u16 = 4;
/// `IFLA_BRPORT_ISOLATED`: no traffic to other isolated ports.
const BRPORT_ISOLATED: u16 = 33;
/// The length of `struct ifinfomsg`.
const HEADER: usize = 16;
/// `NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK`.
const CREATE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;

/// A hardware address of an Ethernet link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Reads six octets joined by colons.
    pub fn parse(text: &str) -> Option<Mac> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2)?;
            if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            *octet = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(Mac(octets))
    }

    /// Whether a link may have it: neither a group address nor zero.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mac_text(&self.0))
    }
}

fn mac_text(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}

/// What the kernel says of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The index.
    pub index: u32,
    /// The name.
    pub name: String,
    /// The hardware address, empty if it has none.
    pub mac: String,
    /// The MTU in bytes.
    pub mtu: u32,
    /// The kind, for example `veth`; empty for a physical device and for the loopback.
    pub kind: String,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// The free text of the administrator; this crate notes the owner in it.
    pub alias: String,
    /// Whether it is set up.
    pub up: bool,
    /// Whether a promiscuous mode was asked for.
    pub promiscuous: bool,
    /// Whether all multicast packets were asked for.
    pub all_multicast: bool,
    /// The length of the transmit queue in packets.
    pub tx_queue: u32,
}

/// A change of a link; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// Set up or down.
    pub up: Option<bool>,
    /// The promiscuous mode.
    pub promiscuous: Option<bool>,
    /// Whether all multicast packets are taken.
    pub all_multicast: Option<bool>,
    /// The hardware address.
    pub mac: Option<Mac>,
    /// The MTU in bytes.
    pub mtu: Option<u32>,
    /// The length of the transmit queue in packets.
    pub tx_queue: Option<u32>,
}

/// The two ends of a veth pair that is to be.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    /// The name of this end.
    pub name: &'a str,
    /// The bridge that this end becomes a port of.
    pub master: Option<u32>,
    /// The MTU of both ends, in bytes.
    pub mtu: Option<u32>,
    /// The name of the other end.
    pub peer: &'a str,
    /// The namespace of the other end.
    pub peer_netns: RawFd,
    /// The hardware address of the other end.
    pub peer_mac: Option<Mac>,
}

fn header(family: i32, index: u32, flags: u32, mask: u32) -> Vec<u8> {
    let mut bytes = vec![family as u8, 0, 0, 0];
    for field in [index, flags, mask] {
        bytes.extend(field.to_ne_bytes());
    }
    bytes
}

fn read(payload: &[u8]) -> Option<Link> {
    let flags = u32_at(payload, 8)?;
    let mut link = Link {
        index: u32_at(payload, 4)?,
        up: flags & libc::IFF_UP as u32 != 0,
        promiscuous: flags & libc::IFF_PROMISC as u32 != 0,
        all_multicast: flags & libc::IFF_ALLMULTI as u32 != 0,
        ..Link::default()
    };
    for (kind, value) in attributes(payload, HEADER) {
        match kind {
            libc::IFLA_IFNAME => link.name = to_text(value),
            libc::IFLA_ADDRESS => link.mac = mac_text(value),
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            libc::IFLA_TXQLEN => link.tx_queue = u32_at(value, 0)?,
            libc::IFLA_MASTER => link.master = u32_at(value, 0),
            libc::IFLA_IFALIAS => link.alias = to_text(value),
            libc::IFLA_LINKINFO => {
                link.kind = attribute(value, 0, libc::IFLA_INFO_KIND).map(to_text).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

impl Socket {
    /// The link of a name.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let message = Message::new(libc::RTM_GETLINK, 0, &header(libc::AF_UNSPEC, 0, 0, 0))
            .text(libc::IFLA_IFNAME, name);
        self.get(&format!("look up link {name}"), message, read)
    }

    /// The link of an index.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn link_at(&mut self, index: u32) -> Result<Option<Link>, NetlinkError> {
        let message = Message::new(libc::RTM_GETLINK, 0, &header(libc::AF_UNSPEC, index, 0, 0));
        self.get(&format!("look up link {index}"), message, read)
    }

    /// All links, or those that are ports of a bridge.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn links(&mut self, master: Option<u32>) -> Result<Vec<Link>, NetlinkError> {
        let message = Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &header(libc::AF_UNSPEC, 0, 0, 0))
            .maybe(master, |m, index| m.u32(libc::IFLA_MASTER, index));
        self.dump("list links", &message, read)
    }

    /// Deletes a link; answers whether there was one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_link(&mut self, name: &str) -> Result<bool, NetlinkError> {
        let message = Message::new(libc::RTM_DELLINK, libc::NLM_F_ACK, &header(libc::AF_UNSPEC, 0, 0, 0))
            .text(libc::IFLA_IFNAME, name);
        let outcome =
            self.apply(vec![Step::new(format!("delete link {name}"), message).or(&[libc::ENODEV])])?;
        Ok(outcome == [None])
    }
}

/// Changes a link.
pub fn change(name: &str, index: u32, change: Change) -> Step {
    let mut flags = 0;
    let mut mask = 0;
    for (value, bit) in [
        (change.up, libc::IFF_UP),
        (change.promiscuous, libc::IFF_PROMISC),
        (change.all_multicast, libc::IFF_ALLMULTI),
    ] {
        if let Some(value) = value {
            mask |= bit as u32;
            flags |= if value { bit as u32 } else { 0 };
        }
    }
    let message =
        Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header(libc::AF_UNSPEC, index, flags, mask))
            .maybe(change.mac, |m, mac| m.bytes(libc::IFLA_ADDRESS, &mac.0))
            .maybe(change.mtu, |m, mtu| m.u32(libc::IFLA_MTU, mtu))
            .maybe(change.tx_queue, |m, length| m.u32(libc::IFLA_TXQLEN, length));
    Step::new(format!("change link {name}"), message)
}

/// Has a link tell its neighbours of IPv4 addresses that it gets: the setting `arp_notify`. Not through `/proc/sys`, where
/// every namespace in which a setting was looked up makes the same look-up slower in all others, for as long as the kernel
/// remembers it. A kernel that does not take it, or has no IPv4, is no obstacle.
pub fn announce_ipv4(name: &str, index: u32) -> Step {
    // include/uapi/linux/if_link.h and ip.h.
    const IFLA_INET_CONF: u16 = 1;
    const IPV4_DEVCONF_ARP_NOTIFY: u16 = 22;
    let message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header(libc::AF_UNSPEC, index, 0, 0))
        .nest(libc::IFLA_AF_SPEC, |families| {
            families.nest(libc::AF_INET as u16, |inet| {
                inet.nest(IFLA_INET_CONF, |settings| settings.u32(IPV4_DEVCONF_ARP_NOTIFY, 1))
            })
        });
    Step::new(format!("have link {name} announce its addresses"), message).or(&[
        libc::EOPNOTSUPP,
        libc::EAFNOSUPPORT,
        libc::EINVAL,
    ])
}

/// Notes a free text on a link.
pub fn set_alias(name: &str, alias: &str) -> Step {
    let message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header(libc::AF_UNSPEC, 0, 0, 0))
        .text(libc::IFLA_IFNAME, name)
        .bytes(libc::IFLA_IFALIAS, alias.as_bytes());
    Step::new(format!("set the alias of {name}"), message)
}

/// Makes a port answer on itself (hairpin) or keeps it from other isolated ports.
pub fn bridge_port(name: &str, index: u32, hairpin: bool, isolated: bool) -> Step {
    let message = Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &header(libc::AF_BRIDGE, index, 0, 0))
        .nest(libc::IFLA_PROTINFO, |m| {
            m.bytes(BRPORT_HAIRPIN, &[hairpin.into()]).bytes(BRPORT_ISOLATED, &[isolated.into()])
        });
    Step::new(format!("set the bridge port flags of {name}"), message)
}

/// Creates a bridge with a hardware address of its own, so that its ports do not change it, and sets it up.
pub fn new_bridge(name: &str, mac: Mac, mtu: Option<u32>) -> Step {
    let up = libc::IFF_UP as u32;
    let message = Message::new(libc::RTM_NEWLINK, CREATE, &header(libc::AF_UNSPEC, 0, up, up))
        .text(libc::IFLA_IFNAME, name)
        .bytes(libc::IFLA_ADDRESS, &mac.0)
        .maybe(mtu, |m, mtu| m.u32(libc::IFLA_MTU, mtu))
        .nest(libc::IFLA_LINKINFO, |m| m.text(libc::IFLA_INFO_KIND, "bridge"));
    Step::new(format!("create bridge {name}"), message)
}

/// Creates a veth pair, this end set up.
pub fn new_veth(veth: Veth<'_>) -> Step {
    let up = libc::IFF_UP as u32;
    let message = Message::new(libc::RTM_NEWLINK, CREATE, &header(libc::AF_UNSPEC, 0, up, up))
        .text(libc::IFLA_IFNAME, veth.name)
        .maybe(veth.mtu, |m, mtu| m.u32(libc::IFLA_MTU, mtu))
        .maybe(veth.master, |m, master| m.u32(libc::IFLA_MASTER, master))
        .nest(libc::IFLA_LINKINFO, |m| {
            m.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |m| {
                m.nest(VETH_INFO_PEER, |m| {
                    m.raw(&header(libc::AF_UNSPEC, 0, 0, 0))
                        .text(libc::IFLA_IFNAME, veth.peer)
                        .u32(libc::IFLA_NET_NS_FD, veth.peer_netns as u32)
                        .maybe(veth.mtu, |m, mtu| m.u32(libc::IFLA_MTU, mtu))
                        .maybe(veth.peer_mac, |m, mac| m.bytes(libc::IFLA_ADDRESS, &mac.0))
                })
            })
        });
    Step::new(format!("create the veth pair {} and, in the container, {}", veth.name, veth.peer), message)
}

/// Reads any payload.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(payload: &[u8]) {
    let _ = read(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_read_and_printed() {
        let mac = Mac::parse("02:00:0A:ff:00:01").unwrap();
        assert_eq!(mac.to_string(), "02:00:0a:ff:00:01");
        assert!(mac.is_unicast());
        assert!(!Mac::parse("01:00:5e:00:00:01").unwrap().is_unicast());
        assert!(!Mac::parse("00:00:00:00:00:00").unwrap().is_unicast());
        for text in [
            "",
            "02:00:0a:ff:00",
            "02:00:0a:ff:00:01:02",
            "2:0:a:f:0:1",
            "+2:00:0a:ff:00:01",
            "02-00-0a-ff-00-01",
        ] {
            assert_eq!(Mac::parse(text), None, "{text}");
        }
    }
}
