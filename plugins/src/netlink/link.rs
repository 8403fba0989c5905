//! Links: reading, creating, changing and deleting them.

use std::fmt;
use std::os::fd::RawFd;

use super::message::{Message, attribute, attributes, to_text, u32_at};
use super::{NetlinkError, Socket, Step};

/// `VETH_INFO_PEER`: the other end of a veth pair, after a link header.
const VETH_INFO_PEER: u16 = 1;
/// `IF_OPER_UP`.
const OPERATIONAL: u8 = 6;
/// The length of `struct ifinfomsg`.
pub(super) const HEADER: usize = 16;
/// `NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK`.
pub(super) const CREATE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;

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
    /// The index of the link that it stands on, or of the other end of a veth pair, where that is in the same namespace.
    pub peer: Option<u32>,
    /// The free text of the administrator; this crate notes the owner in it.
    pub alias: String,
    /// Whether it is set up.
    pub up: bool,
    /// Whether packets can pass it.
    pub operational: bool,
    /// Whether a promiscuous mode was asked for.
    pub promiscuous: bool,
    /// Whether all multicast packets were asked for.
    pub all_multicast: bool,
    /// The length of the transmit queue in packets.
    pub tx_queue: u32,
    /// The attributes of its kind.
    pub data: Vec<u8>,
    /// The attributes that it has as a port.
    pub port: Vec<u8>,
}

impl Link {
    /// The number that an attribute of its kind is, of up to four bytes; `None` if it does not have it.
    pub fn number(&self, attribute: u16) -> Option<u32> {
        number(&self.data, attribute)
    }

    /// The number that an attribute of a port is, likewise.
    pub fn port_number(&self, attribute: u16) -> Option<u32> {
        number(&self.port, attribute)
    }
}

fn number(data: &[u8], kind: u16) -> Option<u32> {
    match *attribute(data, 0, kind)? {
        [one] => Some(one.into()),
        [one, two] => Some(u16::from_ne_bytes([one, two]).into()),
        [one, two, three, four] => Some(u32::from_ne_bytes([one, two, three, four])),
        _ => None,
    }
}

/// A link that is to be made, and that stands on another or alone.
#[derive(Debug, Clone, Copy)]
pub struct NewLink<'a> {
    /// The name.
    pub name: &'a str,
    /// Its kind.
    pub kind: Kind,
    /// The namespace, if it is another than the socket's.
    pub netns: Option<RawFd>,
    /// The link in the socket's namespace that it stands on.
    pub master: Option<u32>,
    /// The MTU in bytes.
    pub mtu: Option<u32>,
    /// The hardware address.
    pub mac: Option<Mac>,
}

/// The kinds of links that [`new_link`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A link with a hardware address of its own.
    Macvlan {
        /// `MACVLAN_MODE_...`.
        mode: u32,
        /// How many broadcast packets may wait.
        queue: Option<u32>,
    },
    /// A link that shares the hardware address of its master.
    Ipvlan {
        /// `IPVLAN_MODE_...`.
        mode: u16,
    },
    /// A VLAN of its master.
    Vlan {
        /// The VLAN's number.
        id: u16,
    },
    /// A link that leads nowhere.
    Dummy,
}

/// `IFLA_MACVLAN_MODE`.
pub const MACVLAN_MODE: u16 = 1;
/// `IFLA_MACVLAN_BC_QUEUE_LEN`: how many broadcast packets may wait.
pub const MACVLAN_QUEUE: u16 = 7;
/// `IFLA_IPVLAN_MODE`.
pub const IPVLAN_MODE: u16 = 1;
/// `IFLA_VLAN_ID`.
pub const VLAN_ID: u16 = 1;

impl Kind {
    /// The name that the kernel knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Macvlan { .. } => "macvlan",
            Kind::Ipvlan { .. } => "ipvlan",
            Kind::Vlan { .. } => "vlan",
            Kind::Dummy => "dummy",
        }
    }

    /// The kernel's module that makes such links.
    pub fn module(self) -> &'static str {
        match self {
            Kind::Vlan { .. } => "8021q",
            other => other.name(),
        }
    }

    fn fill(self, data: Message) -> Message {
        match self {
            Kind::Macvlan { mode, queue } => {
                data.u32(MACVLAN_MODE, mode).maybe(queue, |m, queue| m.u32(MACVLAN_QUEUE, queue))
            }
            Kind::Ipvlan { mode } => data.bytes(IPVLAN_MODE, &mode.to_ne_bytes()),
            Kind::Vlan { id } => data.bytes(VLAN_ID, &id.to_ne_bytes()),
            Kind::Dummy => data,
        }
    }
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

pub(super) fn header(family: i32, index: u32, flags: u32, mask: u32) -> Vec<u8> {
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
    let mut is_peer_elsewhere = false;
    for (kind, value) in attributes(payload, HEADER) {
        match kind {
            libc::IFLA_IFNAME => link.name = to_text(value),
            libc::IFLA_ADDRESS => link.mac = mac_text(value),
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            libc::IFLA_TXQLEN => link.tx_queue = u32_at(value, 0)?,
            libc::IFLA_MASTER => link.master = u32_at(value, 0),
            libc::IFLA_LINK => link.peer = u32_at(value, 0),
            libc::IFLA_LINK_NETNSID => is_peer_elsewhere = true,
            libc::IFLA_OPERSTATE => link.operational = value == [OPERATIONAL],
            libc::IFLA_IFALIAS => link.alias = to_text(value),
            libc::IFLA_LINKINFO => {
                link.kind = attribute(value, 0, libc::IFLA_INFO_KIND).map(to_text).unwrap_or_default();
                let bytes = |kind| attribute(value, 0, kind).map(<[u8]>::to_vec).unwrap_or_default();
                link.data = bytes(libc::IFLA_INFO_DATA);
                link.port = bytes(libc::IFLA_INFO_SLAVE_DATA);
            }
            _ => {}
        }
    }
    if is_peer_elsewhere {
        link.peer = None;
    }
    Some(link)
}

/// The attribute by which a link is looked up; `None` for what cannot be the name of any.
fn name_attribute(name: &str) -> Option<u16> {
    /// `IFNAMSIZ` and `ALTIFNAMSIZ`, without the zero byte at the end.
    const NAME: usize = 15;
    const FURTHER_NAME: usize = 127;
    match name.len() {
        _ if name.contains('\0') => None,
        1..=NAME => Some(libc::IFLA_IFNAME),
        16..=FURTHER_NAME => Some(libc::IFLA_ALT_IFNAME),
        _ => None,
    }
}

impl Socket {
    /// The link of a name, which may be a further name that it has (`altname`).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let Some(kind) = name_attribute(name) else { return Ok(None) };
        let message = Message::new(libc::RTM_GETLINK, 0, &header(libc::AF_UNSPEC, 0, 0, 0)).text(kind, name);
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

    /// Deletes the link of an index; one that is not there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_link_at(&mut self, index: u32) -> Result<(), NetlinkError> {
        let message = Message::new(libc::RTM_DELLINK, libc::NLM_F_ACK, &header(libc::AF_UNSPEC, index, 0, 0));
        self.apply(vec![Step::new(format!("delete link {index}"), message).or(&[libc::ENODEV])])?;
        Ok(())
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

/// Creates a link, which is down.
pub fn new_link(link: NewLink<'_>) -> Step {
    let message = Message::new(libc::RTM_NEWLINK, CREATE, &header(libc::AF_UNSPEC, 0, 0, 0))
        .text(libc::IFLA_IFNAME, link.name)
        .maybe(link.netns, |m, netns| m.u32(libc::IFLA_NET_NS_FD, netns as u32))
        .maybe(link.master, |m, master| m.u32(libc::IFLA_LINK, master))
        .maybe(link.mtu, |m, mtu| m.u32(libc::IFLA_MTU, mtu))
        .maybe(link.mac, |m, mac| m.bytes(libc::IFLA_ADDRESS, &mac.0))
        .nest(libc::IFLA_LINKINFO, |m| {
            m.text(libc::IFLA_INFO_KIND, link.kind.name())
                .nest(libc::IFLA_INFO_DATA, |data| link.kind.fill(data))
        });
    Step::new(format!("create the {} link {}", link.kind.name(), link.name), message)
}

/// Gives a link, which has to be down, another name.
pub fn rename(link: &Link, name: &str) -> Step {
    let message =
        Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &header(libc::AF_UNSPEC, link.index, 0, 0))
            .text(libc::IFLA_IFNAME, name);
    Step::new(format!("rename {} to {name}", link.name), message)
}

/// Makes a link a port of another, for example of a bridge.
pub fn make_port(link: &Link, master: u32) -> Step {
    let message =
        Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &header(libc::AF_UNSPEC, link.index, 0, 0))
            .u32(libc::IFLA_MASTER, master);
    Step::new(format!("make {} a port of link {master}", link.name), message)
}

/// What a link is like where it goes: [`send`].
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The namespace; `None` for the one where it is.
    pub netns: Option<RawFd>,
    /// The name.
    pub name: &'a str,
    /// The free text.
    pub alias: &'a str,
    /// Whether it is set up.
    pub up: bool,
}

/// Moves a link to another namespace, where it gets a name and a free text, all in one request: a process that is killed
/// leaves it in one state or the other. The link is down unless it is to be up.
pub fn send(link: &Link, arrival: Arrival<'_>) -> Step {
    let up = libc::IFF_UP as u32;
    let flags = if arrival.up { up } else { 0 };
    let message =
        Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &header(libc::AF_UNSPEC, link.index, flags, up))
            .maybe(arrival.netns, |m, netns| m.u32(libc::IFLA_NET_NS_FD, netns as u32))
            .text(libc::IFLA_IFNAME, arrival.name)
            .bytes(libc::IFLA_IFALIAS, arrival.alias.as_bytes());
    let what = match arrival.netns {
        Some(_) => format!("move {}, as {}, to another namespace", link.name, arrival.name),
        None => format!("rename {} to {}", link.name, arrival.name),
    };
    Step::new(what, message)
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

/// Creates a veth pair, both ends of which are down.
pub fn new_veth(veth: Veth<'_>) -> Step {
    let message = Message::new(libc::RTM_NEWLINK, CREATE, &header(libc::AF_UNSPEC, 0, 0, 0))
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
    Step::new(format!("create the veth pair {} and {}", veth.name, veth.peer), message)
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

    /// The attribute of a request that is nested in others.
    fn nested<'a>(payload: &'a [u8], path: &[u16]) -> Option<&'a [u8]> {
        let (first, rest) = path.split_first()?;
        let start = attribute(payload, HEADER, *first)?;
        rest.iter().try_fold(start, |inner, kind| attribute(inner, 0, *kind))
    }

    #[test]
    fn links_are_made_as_the_kernel_takes_them() {
        let data = |kind| [libc::IFLA_LINKINFO, libc::IFLA_INFO_DATA, kind];
        let cases = [
            (
                Kind::Macvlan { mode: 4, queue: Some(1000) },
                vec![(1, 4_u32.to_ne_bytes().to_vec()), (7, 1000_u32.to_ne_bytes().to_vec())],
            ),
            (Kind::Ipvlan { mode: 2 }, vec![(1, 2_u16.to_ne_bytes().to_vec())]),
            (Kind::Vlan { id: 61 }, vec![(1, 61_u16.to_ne_bytes().to_vec())]),
            (Kind::Dummy, vec![]),
        ];
        for (kind, attributes) in cases {
            let mac = Mac::parse("02:00:00:00:00:01");
            let new = NewLink { name: "i0", kind, netns: Some(7), master: Some(3), mtu: Some(1400), mac };
            let step = new_link(new);
            let payload = step.message.payload();
            let name = nested(payload, &[libc::IFLA_LINKINFO, libc::IFLA_INFO_KIND]).map(to_text);
            assert_eq!(name.as_deref(), Some(kind.name()));
            for (number, value) in attributes {
                assert_eq!(nested(payload, &data(number)), Some(&value[..]), "{kind:?}");
            }
            for (number, value) in
                [(libc::IFLA_NET_NS_FD, 7_u32), (libc::IFLA_LINK, 3), (libc::IFLA_MTU, 1400)]
            {
                assert_eq!(attribute(payload, HEADER, number), Some(&value.to_ne_bytes()[..]));
            }
            assert_eq!(attribute(payload, HEADER, libc::IFLA_ADDRESS), Some(&[2, 0, 0, 0, 0, 1][..]));
            // It comes up when it is complete.
            assert_eq!(u32_at(payload, 8), Some(0));
        }
    }

    #[test]
    fn names_are_looked_up_by_their_length() {
        assert_eq!(name_attribute("eth0"), Some(libc::IFLA_IFNAME));
        assert_eq!(name_attribute("123456789012345"), Some(libc::IFLA_IFNAME));
        assert_eq!(name_attribute("enx1234567890123"), Some(libc::IFLA_ALT_IFNAME));
        for name in ["", "eth0\0x", &"x".repeat(128)] {
            assert_eq!(name_attribute(name), None, "{name:?}");
        }
    }

    #[test]
    fn what_is_not_asked_for_is_not_in_the_request() {
        let kind = Kind::Macvlan { mode: 1, queue: None };
        let step = new_link(NewLink { name: "i0", kind, netns: None, master: None, mtu: None, mac: None });
        let payload = step.message.payload();
        let kinds: Vec<u16> = attributes(payload, HEADER).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [libc::IFLA_IFNAME, libc::IFLA_LINKINFO]);
        assert_eq!(nested(payload, &[libc::IFLA_LINKINFO, libc::IFLA_INFO_DATA, MACVLAN_QUEUE]), None);
    }

    #[test]
    fn the_data_of_a_kind_are_read() {
        let message = Message::new(0, 0, &header(0, 5, 0, 0)).text(libc::IFLA_IFNAME, "eth0").nest(
            libc::IFLA_LINKINFO,
            |m| {
                m.text(libc::IFLA_INFO_KIND, "vlan").nest(libc::IFLA_INFO_DATA, |m| {
                    m.bytes(1, &61_u16.to_ne_bytes()).bytes(2, &[3]).u32(3, 70_000).bytes(4, &[0; 8])
                })
            },
        );
        let link = read(message.payload()).expect("a link");
        let numbers: Vec<Option<u32>> = (1..=5).map(|kind| link.number(kind)).collect();
        assert_eq!(numbers, [Some(61), Some(3), Some(70_000), None, None]);
    }
}
