//! The network namespaces of an arena as the agent holds them, and changes to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::NETNS_DIR;
use super::error::Refusal;
use super::feature::Feature;
use super::netlink::{
    Answer, Dumps, Message, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Netlink, NetlinkError, address, attribute,
    number,
};
use super::network::NetOp;
use super::sys;
use super::traffic::{self, TCA_KIND};
use crate::invoke::Place;
use crate::invoke::engine::Namespaces;

const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const MACVLAN_MODE_BRIDGE: u32 = 4;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_PORT: u16 = 15;
const VXLAN_PORT: u16 = 4789;
const RTPROT_BOOT: u8 = 3;
const RTA_VIA: u16 = 18;
const NUD_PERMANENT: u16 = 0x80;
const NFNL_BATCH_BEGIN: u16 = 0x10;
const NFNL_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_DELTABLE: u16 = 2;

/// A network namespace, with sockets in it that stay open.
#[derive(Debug)]
pub(super) struct Space {
    file: File,
    pub(super) route: Netlink,
    /// None where the kernel has no nfnetlink.
    pub(super) netfilter: Option<Netlink>,
}

impl Space {
    /// The current network namespace.
    fn current() -> io::Result<Self> {
        Ok(Self {
            file: sys::set_aside(File::open("/proc/self/ns/net")?.into()).into(),
            route: Netlink::open(NETLINK_ROUTE)?.strict()?.aside(),
            netfilter: Netlink::open(NETLINK_NETFILTER).ok().map(Netlink::aside),
        })
    }

    /// Its descriptor.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// All network namespaces of an arena.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) host: Space,
    pub(super) containers: BTreeMap<String, Space>,
    /// Namespaces that are a file and nothing else, by name.
    bare: BTreeSet<String>,
    /// Namespaces that nobody uses any more, kept until they are [`RETIRED`] many.
    retired: Vec<File>,
}

/// The kernel takes namespaces down in the background, one batch after another, and holds the lock of all network
/// changes for long while it does. A large batch costs little more than a small one.
const RETIRED: usize = 64;

impl Namespaces for Network {
    fn descriptor(&self, place: &Place) -> Result<Option<BorrowedFd<'_>>, String> {
        match place {
            Place::Host => Ok(None),
            Place::Container(name) => match self.containers.get(name) {
                Some(space) => Ok(Some(space.descriptor())),
                None => Err(format!("the arena has no network namespace {name}")),
            },
        }
    }
}

impl Network {
    /// Takes the current namespace as the host's, with its loopback link up as on any host.
    pub(super) fn new() -> Result<Self, Refusal> {
        Ok(Self {
            host: new_host()?,
            containers: BTreeMap::new(),
            bare: BTreeSet::new(),
            retired: Vec::new(),
        })
    }

    /// Replaces the host's namespace by a fresh one.
    pub(super) fn renew_host(&mut self) -> Result<(), Refusal> {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Refusal::io("make a network namespace", &errno.into()))?;
        let old = std::mem::replace(&mut self.host, new_host()?);
        self.retire(old);
        Ok(())
    }

    fn retire(&mut self, space: Space) {
        if self.retired.len() >= RETIRED {
            self.retired.clear();
        }
        self.retired.push(space.file);
    }

    pub(super) fn space(&mut self, place: &Place) -> Result<&mut Space, Refusal> {
        match place {
            Place::Host => Ok(&mut self.host),
            Place::Container(name) => self.containers.get_mut(name).ok_or_else(|| {
                Refusal::new(format!("use {place}"), "the arena has no network namespace of this name")
            }),
        }
    }

    /// Makes a namespace and its file. A bare one is held by its file alone: thousands of them take no descriptors.
    pub(super) fn create(&mut self, name: &str, bare: bool) -> Result<PathBuf, Refusal> {
        let what = format!("make namespace {name:?}");
        if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
            return Err(Refusal::new(what, "its name must be one path component"));
        }
        let path = Path::new(NETNS_DIR).join(name);
        if self.containers.contains_key(name) || self.bare.contains(name) {
            return Err(Refusal::new(what, "there is one of this name"));
        }
        // It was there from the start, but a plugin may have removed it.
        fs::create_dir_all(NETNS_DIR).map_err(|error| Refusal::io(&what, &error))?;
        File::create_new(&path).map_err(|error| Refusal::io(&what, &error))?;
        let made = in_new_namespace(&self.host.file, || {
            let from = Some("/proc/self/ns/net");
            mount(from, &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            if bare { Ok(None) } else { Space::current().map(Some) }
        });
        match made {
            Ok(space) => {
                match space {
                    Some(space) => drop(self.containers.insert(name.to_owned(), space)),
                    None => drop(self.bare.insert(name.to_owned())),
                }
                Ok(path)
            }
            Err(error) => {
                let _ = umount2(&path, MntFlags::MNT_DETACH);
                let _ = fs::remove_file(&path);
                Err(Refusal::io(what, &error))
            }
        }
    }

    /// Removes a namespace and its file.
    pub(super) fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        let what = format!("remove namespace {name:?}");
        let path = Path::new(NETNS_DIR).join(name);
        let known = self.containers.remove(name).is_some() | self.bare.remove(name);
        if !known && !path.exists() {
            return Err(Refusal::new(what, "the arena has no network namespace of this name"));
        }
        // The plugin may have done either itself.
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Refusal::io(what, &error)),
            _ => Ok(()),
        }
    }

    /// Removes every namespace; returns their names.
    pub(super) fn delete_all(&mut self) -> Vec<String> {
        let names: Vec<String> = self.containers.keys().chain(&self.bare).cloned().collect();
        for (_, space) in std::mem::take(&mut self.containers) {
            self.retire(space);
        }
        for name in &names {
            // What cannot be removed is seen by the snapshot that follows.
            let _ = self.delete(name);
        }
        names
    }

    /// Does something while in the namespace of `place`.
    pub(super) fn inside<T>(&mut self, place: &Place, act: impl FnOnce() -> T) -> Result<T, Refusal> {
        if *place == Place::Host {
            return Ok(act());
        }
        let what = format!("enter {place}");
        let space = self.space(place)?;
        setns(space.descriptor(), CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Refusal::io(&what, &errno.into()))?;
        let result = act();
        return_to(&self.host.file);
        Ok(result)
    }

    /// Fresh sockets in the namespace of `place`, for use beside those that are there.
    pub(super) fn sockets(&mut self, place: &Place) -> Result<[Netlink; 2], Refusal> {
        self.inside(place, || Ok([Netlink::open(NETLINK_ROUTE)?, Netlink::open(NETLINK_ROUTE)?]))?
            .map_err(|error: io::Error| Refusal::io("open netlink sockets", &error))
    }

    /// Makes a change.
    pub(super) fn apply(&mut self, place: &Place, op: &NetOp) -> Result<(), Refusal> {
        let what = op.shell(place);
        let refused = |error: NetlinkError| Refusal {
            what: what.clone(),
            reason: error.to_string(),
            errno: Some(error.errno),
        };
        // The descriptor of another place, duplicated so that both spaces can be used at once.
        let other = |network: &Self, place: &Place| -> Result<File, Refusal> {
            let space = match place {
                Place::Host => Some(&network.host),
                Place::Container(name) => network.containers.get(name),
            };
            space
                .ok_or_else(|| Refusal::new(&what, format!("the arena has no {place}")))?
                .file
                .try_clone()
                .map_err(|error| Refusal::io(&what, &error))
        };
        let target = match op {
            NetOp::AddVeth { peer_place, .. } => Some(other(self, peer_place)?),
            NetOp::MoveLink { to, .. } => Some(other(self, to)?),
            _ => None,
        };
        let space = self.space(place)?;
        if *op == NetOp::FlushNftables {
            let Some(netfilter) = &mut space.netfilter else {
                return Err(Refusal::new(&what, "the kernel has no nfnetlink"));
            };
            return flush_nftables(netfilter).map_err(refused);
        }
        change(&mut space.route, op, target.as_ref()).map_err(refused)
    }

    /// Whether the kernel makes a link of this kind.
    pub(super) fn probe(&mut self, kind: &str) -> Result<bool, Refusal> {
        let kind = kind.to_owned();
        in_new_namespace(&self.host.file, || {
            if let "tun" | "tap" = kind.as_str() {
                return Ok(sys::make_tun("probe0", kind == "tap").is_ok());
            }
            let mut route = Netlink::open(NETLINK_ROUTE)?;
            Ok(probe_kind(&mut route, &kind).is_ok())
        })
        .map_err(|error| Refusal::io("probe a kind of link", &error))
    }

    /// Whether the kernel knows queueing disciplines of this kind.
    pub(super) fn probe_qdisc(&mut self, kind: &str) -> Result<bool, Refusal> {
        in_new_namespace(&self.host.file, || Ok(knows_qdisc(&mut Netlink::open(NETLINK_ROUTE)?, kind)))
            .map_err(|error| Refusal::io("probe a kind of queueing discipline", &error))
    }

    /// Whether the kernel has a feature.
    pub(super) fn probe_feature(&mut self, feature: Feature) -> Result<bool, Refusal> {
        in_new_namespace(&self.host.file, || feature.probe())
            .map_err(|error| Refusal::io("probe a feature of the kernel", &error))
    }
}

/// Whether the kernel knows queueing disciplines of a kind: it refuses to make one that it does not know with ENOENT,
/// and may refuse others for want of parameters.
fn knows_qdisc(route: &mut Netlink, kind: &str) -> bool {
    let Ok(loopback) = index_of(route, "lo") else { return false };
    let ingress = matches!(kind, "ingress" | "clsact");
    let message = traffic::of_qdisc(libc::RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, loopback, ingress)
        .text(TCA_KIND, kind);
    !route.request(message).is_err_and(|error| error.errno == libc::ENOENT)
}

fn new_host() -> Result<Space, Refusal> {
    let mut space = Space::current().map_err(|error| Refusal::io("open netlink sockets", &error))?;
    change(&mut space.route, &NetOp::SetUp { link: "lo".to_owned() }, None).map_err(|error| Refusal {
        what: "set lo up".to_owned(),
        reason: error.to_string(),
        errno: Some(error.errno),
    })?;
    Ok(space)
}

/// Does something in a network namespace of its own, and comes back to `home`.
fn in_new_namespace<T>(home: &File, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let result = act();
    return_to(home);
    result
}

/// Goes back to the host's namespace. Staying in another one would have plugins run in the wrong place: then
/// the arena ends.
fn return_to(home: &File) {
    if let Err(errno) = setns(home, CloneFlags::CLONE_NEWNET) {
        eprintln!("cnitest: the arena ends, it cannot go back to its own network namespace: {errno}");
        std::process::exit(2);
    }
}

pub(super) fn link_body(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}

/// The index of a link.
fn index_of(route: &mut Netlink, name: &str) -> Result<u32, NetlinkError> {
    let answers = route
        .request(Message::new(libc::RTM_GETLINK, 0, &link_body(0, 0, 0)).text(libc::IFLA_IFNAME, name))?;
    answers
        .iter()
        .find(|answer| answer.kind == libc::RTM_NEWLINK)
        .and_then(|answer| number(answer.payload.get(4..)?))
        .ok_or(NetlinkError { errno: libc::ENODEV, explanation: None })
}

pub(super) fn new_link(name: &str) -> Message {
    Message::new(libc::RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_body(0, 0, 0))
        .text(libc::IFLA_IFNAME, name)
}

pub(super) fn of_kind(message: Message, kind: &str, data: impl FnOnce(Message) -> Message) -> Message {
    message.nest(libc::IFLA_LINKINFO, |info| data(info.attribute(IFLA_INFO_KIND, kind.as_bytes())))
}

fn probe_kind(route: &mut Netlink, kind: &str) -> Result<(), NetlinkError> {
    let with_parent = |route: &mut Netlink, data: &dyn Fn(Message) -> Message| {
        route.request(of_kind(new_link("parent0"), "bridge", |info| info))?;
        let parent = index_of(route, "parent0")?;
        route.request(of_kind(new_link("probe0").number(libc::IFLA_LINK, parent), kind, data))
    };
    match kind {
        "macvlan" | "macvtap" | "ipvlan" | "ipvtap" => with_parent(route, &|info| info)?,
        "vlan" => with_parent(route, &|info| {
            info.nest(IFLA_INFO_DATA, |data| data.attribute(IFLA_VLAN_ID, &5_u16.to_ne_bytes()))
        })?,
        // VRF_TABLE is attribute 1, a number.
        "vrf" => route.request(of_kind(new_link("probe0"), kind, |info| {
            info.nest(IFLA_INFO_DATA, |data| data.number(1, 100))
        }))?,
        "vxlan" => route.request(of_kind(new_link("probe0"), kind, |info| {
            info.nest(IFLA_INFO_DATA, |data| data.number(IFLA_VXLAN_ID, 5))
        }))?,
        _ => route.request(of_kind(new_link("probe0"), kind, |info| info))?,
    };
    Ok(())
}

pub(super) fn change(route: &mut Netlink, op: &NetOp, target: Option<&File>) -> Result<(), NetlinkError> {
    let target = target.map_or(0, |file| file.as_raw_fd().cast_unsigned());
    let message = match op {
        NetOp::AddVeth { a, b, .. } => of_kind(new_link(a), "veth", |info| {
            info.nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&link_body(0, 0, 0))
                        .text(libc::IFLA_IFNAME, b)
                        .number(libc::IFLA_NET_NS_FD, target)
                })
            })
        }),
        NetOp::AddBridge { name } => of_kind(new_link(name), "bridge", |info| info),
        NetOp::AddLinkKind { name, kind } => of_kind(new_link(name), kind, |info| info),
        NetOp::AddMacvlan { name, parent } => {
            let parent = index_of(route, parent)?;
            of_kind(new_link(name).number(libc::IFLA_LINK, parent), "macvlan", |info| {
                info.nest(IFLA_INFO_DATA, |data| data.number(IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE))
            })
        }
        NetOp::AddVlan { name, parent, id } => {
            let parent = index_of(route, parent)?;
            of_kind(new_link(name).number(libc::IFLA_LINK, parent), "vlan", |info| {
                info.nest(IFLA_INFO_DATA, |data| data.attribute(IFLA_VLAN_ID, &id.to_ne_bytes()))
            })
        }
        NetOp::AddVxlan { name, id } => of_kind(new_link(name), "vxlan", |info| {
            info.nest(IFLA_INFO_DATA, |data| {
                data.number(IFLA_VXLAN_ID, *id).attribute(IFLA_VXLAN_PORT, &VXLAN_PORT.to_be_bytes())
            })
        }),
        NetOp::DeleteLink { name } => {
            let index = index_of(route, name)?;
            Message::new(libc::RTM_DELLINK, 0, &link_body(index, 0, 0))
        }
        NetOp::SetUp { link } => set_flag(route, link, libc::IFF_UP, true)?,
        NetOp::SetDown { link } => set_flag(route, link, libc::IFF_UP, false)?,
        NetOp::SetPromiscuous { link, on } => set_flag(route, link, libc::IFF_PROMISC, *on)?,
        NetOp::SetMtu { link, mtu } => set_link(route, link)?.number(libc::IFLA_MTU, *mtu),
        NetOp::SetMac { link, mac } => set_link(route, link)?.attribute(libc::IFLA_ADDRESS, mac),
        NetOp::SetMaster { link, master } => {
            let master = match master {
                Some(name) => index_of(route, name)?,
                None => 0,
            };
            set_link(route, link)?.number(libc::IFLA_MASTER, master)
        }
        NetOp::SetTxQueueLen { link, length } => set_link(route, link)?.number(libc::IFLA_TXQLEN, *length),
        NetOp::SetAlias { link, alias } => {
            set_link(route, link)?.attribute(libc::IFLA_IFALIAS, alias.as_bytes())
        }
        NetOp::RenameLink { link, to } => set_link(route, link)?.text(libc::IFLA_IFNAME, to),
        NetOp::MoveLink { link, .. } => set_link(route, link)?.number(libc::IFLA_NET_NS_FD, target),
        NetOp::AddAddress { link, address, prefix } => {
            let index = index_of(route, link)?;
            address_message(libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address, *prefix)
        }
        NetOp::DeleteAddress { link, address, prefix } => {
            let index = index_of(route, link)?;
            address_message(libc::RTM_DELADDR, 0, index, address, *prefix)
        }
        NetOp::FlushAddresses { link } => {
            let index = index_of(route, link)?;
            return flush_addresses(route, index);
        }
        NetOp::AddRoute { destination, prefix, gateway, link, table, metric } => {
            let device = match link {
                Some(name) => Some(index_of(route, name)?),
                None => None,
            };
            let scope = if destination.is_ipv4() && gateway.is_none() {
                libc::RT_SCOPE_LINK
            } else {
                libc::RT_SCOPE_UNIVERSE
            };
            let head = [RTPROT_BOOT, scope, libc::RTN_UNICAST];
            let mut message = route_message(
                libc::RTM_NEWROUTE,
                NLM_F_CREATE | NLM_F_EXCL,
                destination,
                *prefix,
                *table,
                head,
            );
            message = with_gateway(message, destination, gateway.as_ref());
            if let Some(device) = device {
                message = message.number(libc::RTA_OIF, device);
            }
            if let Some(metric) = metric {
                message = message.number(libc::RTA_PRIORITY, *metric);
            }
            message
        }
        NetOp::DeleteRoute { destination, prefix, gateway, table } => {
            let head = [0, libc::RT_SCOPE_NOWHERE, 0];
            let message = route_message(libc::RTM_DELROUTE, 0, destination, *prefix, *table, head);
            with_gateway(message, destination, gateway.as_ref())
        }
        NetOp::AddNeighbour { link, address, mac } => {
            let index = index_of(route, link)?;
            let mut body = [0; 12];
            body[0] = family_number(address);
            body[4..8].copy_from_slice(&index.to_ne_bytes());
            body[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
            Message::new(libc::RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_EXCL, &body)
                .address(libc::NDA_DST, address)
                .attribute(libc::NDA_LLADDR, mac)
        }
        NetOp::DeleteQdisc { link, ingress } => {
            traffic::of_qdisc(libc::RTM_DELQDISC, 0, index_of(route, link)?, *ingress)
        }
        // Not a change of rtnetlink: the caller makes it.
        NetOp::FlushNftables => return Ok(()),
    };
    route.request(message).map(|_| ())
}

fn set_link(route: &mut Netlink, name: &str) -> Result<Message, NetlinkError> {
    let index = index_of(route, name)?;
    Ok(Message::new(libc::RTM_NEWLINK, 0, &link_body(index, 0, 0)))
}

fn set_flag(route: &mut Netlink, name: &str, flag: libc::c_int, on: bool) -> Result<Message, NetlinkError> {
    let index = index_of(route, name)?;
    let flag = flag.cast_unsigned();
    Ok(Message::new(libc::RTM_NEWLINK, 0, &link_body(index, if on { flag } else { 0 }, flag)))
}

fn family_number(address: &IpAddr) -> u8 {
    let number = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(number).unwrap_or(0)
}

fn address_message(kind: u16, flags: u16, index: u32, address: &IpAddr, prefix: u8) -> Message {
    let no_dad = u8::try_from(libc::IFA_F_NODAD).unwrap_or(0);
    let mut body = [family_number(address), prefix, 0, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    if address.is_ipv6() {
        body[2] = no_dad;
    } else if address.is_loopback() {
        body[3] = libc::RT_SCOPE_HOST;
    }
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    Message::new(kind, flags, &body).address(libc::IFA_LOCAL, address).address(libc::IFA_ADDRESS, address)
}

/// `head` is the protocol, the scope and the type.
fn route_message(
    kind: u16,
    flags: u16,
    destination: &IpAddr,
    prefix: u8,
    table: Option<u32>,
    head: [u8; 3],
) -> Message {
    let table = table.unwrap_or(u32::from(libc::RT_TABLE_MAIN));
    let [protocol, scope, route_type] = head;
    let short = u8::try_from(table).unwrap_or(libc::RT_TABLE_UNSPEC);
    let body = [family_number(destination), prefix, 0, 0, short, protocol, scope, route_type, 0, 0, 0, 0];
    let message = Message::new(kind, flags, &body).number(libc::RTA_TABLE, table);
    if prefix == 0 { message } else { message.address(libc::RTA_DST, destination) }
}

fn with_gateway(message: Message, destination: &IpAddr, gateway: Option<&IpAddr>) -> Message {
    match gateway {
        None => message,
        Some(gateway) if gateway.is_ipv4() == destination.is_ipv4() => {
            message.address(libc::RTA_GATEWAY, gateway)
        }
        Some(gateway) => {
            let mut via = u16::from(family_number(gateway)).to_ne_bytes().to_vec();
            match gateway {
                IpAddr::V4(v4) => via.extend(v4.octets()),
                IpAddr::V6(v6) => via.extend(v6.octets()),
            }
            message.attribute(RTA_VIA, &via)
        }
    }
}

fn flush_addresses(route: &mut Netlink, index: u32) -> Result<(), NetlinkError> {
    let all = route.dump(&Message::new(libc::RTM_GETADDR, NLM_F_DUMP, &[0; 8]))?;
    for Answer { payload, .. } in &all {
        if payload.get(4..).and_then(number) != Some(index) {
            continue;
        }
        let attributes = &payload[8..];
        let local =
            attribute(attributes, libc::IFA_LOCAL).or_else(|| attribute(attributes, libc::IFA_ADDRESS));
        if let Some(local) = local.and_then(address) {
            match route.request(address_message(libc::RTM_DELADDR, 0, index, &local, payload[1])) {
                // Removing a primary address takes its secondary ones with it.
                Err(error) if error.errno != libc::EADDRNOTAVAIL => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn flush_nftables(netfilter: &mut Netlink) -> Result<(), NetlinkError> {
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    let begin = Message::new(NFNL_BATCH_BEGIN, 0, &[0, 0, high, low]);
    let flush =
        Message::new(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE, super::netlink::NLM_F_ACK, &[0, 0, 0, 0]);
    let end = Message::new(NFNL_BATCH_END, 0, &[0, 0, high, low]);
    netfilter.batch(vec![begin, flush, end], 1)
}
