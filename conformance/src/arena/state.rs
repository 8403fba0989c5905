//! Reads the state of network namespaces over rtnetlink, decoded by netlink-packet-route: an oracle that shares
//! no code with the reference plugins.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::FileExt;
use std::path::Path;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol, AddressScope};
use netlink_packet_route::link::{
    AfSpecBridge, BridgeVlanInfoFlags, InfoBridge, InfoBridgePort, InfoData, InfoIpVlan, InfoMacVlan,
    InfoMacVtap, InfoPortData, InfoVlan, InfoVrf, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    Prop,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHopFlags, RouteVia,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::agent::places;
use super::error::Refusal;
use super::netlink::{Answer, Dumps, Message, NLM_F_DUMP, NetlinkError, attribute, number};
use super::network::mac_text;
use super::operate::Network;
use super::snapshot::{
    Address, BridgePort, BridgeVlan, Family, FdbEntry, Link, NamespaceState, Neighbour, NextHop, Peer, Place,
    Route, Rule, Snapshot,
};
use super::{Scope, firewall, traffic, xtables};

const RTEXT_FILTER_BRVLAN: u32 = 1 << 1;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const NTF_PROXY: u8 = 1 << 3;
const FRA_IIFNAME: u16 = 3;
const FRA_OIFNAME: u16 = 17;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// RTAX_LOCK is a set of bits numbered by metric; RTAX_MTU is metric 2.
const MTU_LOCK: u32 = 1 << 2;

type Result<T> = std::result::Result<T, Refusal>;

/// Fills in what the scope asks for of each place.
pub(super) fn network(network: &mut Network, scope: &Scope, snapshot: &mut Snapshot) -> Result<()> {
    let all = places(network, &Scope { places: None, ..scope.clone() });
    for place in places(network, scope) {
        let mut state = NamespaceState::default();
        read(network, &place, &all, scope, &mut state).map_err(|(what, error)| Refusal {
            what: format!("read the {what} of {place}"),
            reason: error.to_string(),
            errno: Some(error.errno),
        })?;
        if scope.firewall {
            state.iptables = network
                .inside(&place, xtables::tables)?
                .map_err(|error| Refusal::io(format!("read the legacy iptables of {place}"), &error))?;
        }
        if scope.sysctls {
            state.sysctls = network.inside(&place, sysctls)?;
        }
        match place {
            Place::Host => snapshot.host = state,
            Place::Container(name) => {
                snapshot.containers.insert(name, state);
            }
        }
    }
    Ok(())
}

type Failed = (&'static str, NetlinkError);

fn read(
    network: &mut Network,
    place: &Place,
    all: &[Place],
    scope: &Scope,
    state: &mut NamespaceState,
) -> std::result::Result<(), Failed> {
    let failed = |what: &'static str| move |error: NetlinkError| (what, error);
    if !(scope.network || scope.traffic || scope.firewall) {
        return Ok(());
    }
    let Ok(space) = network.space(place) else { return Ok(()) };
    let found = links(&mut space.route).map_err(failed("links"))?;
    let known = if found.iter().any(|(_, id)| id.is_some()) {
        known_ids(network, place, all).map_err(failed("namespace ids"))?
    } else {
        BTreeMap::new()
    };
    let Ok(space) = network.space(place) else { return Ok(()) };
    // Everything else names links by what this says.
    let names = Names(found.iter().map(|(link, _)| (link.index, link.name.clone())).collect());
    for (mut link, id) in found {
        link.master = link.master_index.map(|index| names.of(index));
        if let Some(peer) = &mut link.peer {
            peer.place = match id {
                None => Some(place.clone()),
                Some(id) => known.get(&id).cloned(),
            };
        }
        state.links.push(link);
    }
    contents(&mut space.route, space.netfilter.as_mut(), &names, scope, state)
}

/// Everything but the links.
fn contents(
    route: &mut impl Dumps,
    netfilter: Option<&mut impl Dumps>,
    names: &Names,
    scope: &Scope,
    state: &mut NamespaceState,
) -> std::result::Result<(), Failed> {
    let failed = |what: &'static str| move |error: NetlinkError| (what, error);
    if scope.network {
        state.addresses = addresses(route, names).map_err(failed("addresses"))?;
        state.routes = routes(route, names).map_err(failed("routes"))?;
        state.rules = rules(route).map_err(failed("rules"))?;
        state.neighbours = neighbours(route, names).map_err(failed("neighbours"))?;
        state.fdb = fdb(route, names).map_err(failed("forwarding database"))?;
        if state.links.iter().any(|link| link.kind.as_deref() == Some("bridge")) {
            state.bridge_vlans = bridge_vlans(route).map_err(failed("bridge VLANs"))?;
        }
    }
    if scope.traffic {
        (state.qdiscs, state.filters) = traffic::read(route, &names.0).map_err(failed("traffic control"))?;
    }
    if scope.firewall
        && let Some(netfilter) = netfilter
    {
        state.nftables = firewall::tables(netfilter).map_err(failed("nftables"))?;
        state.ipsets = firewall::ipsets(netfilter).map_err(failed("ipsets"))?;
    }
    if !scope.network {
        state.links.clear();
    }
    Ok(())
}

/// Names of links by index.
struct Names(BTreeMap<u32, String>);

impl Names {
    fn of(&self, index: u32) -> String {
        self.0.get(&index).cloned().unwrap_or_else(|| format!("if{index}"))
    }
}

/// Dumps and decodes; `names` are the attributes that hold names, after a fixed part of `fixed` bytes.
fn dump(
    route: &mut impl Dumps,
    message: &Message,
    fixed: usize,
    names: &[u16],
) -> std::result::Result<Vec<RouteNetlinkMessage>, NetlinkError> {
    route.dump(message)?.into_iter().map(|answer| decode(answer, fixed, names)).collect()
}

fn decode(
    mut answer: Answer,
    fixed: usize,
    names: &[u16],
) -> std::result::Result<RouteNetlinkMessage, NetlinkError> {
    make_text(answer.payload.get_mut(fixed..).unwrap_or_default(), names);
    let mut header = NetlinkHeader::default();
    header.message_type = answer.kind;
    RouteNetlinkMessage::deserialize(&header, &answer.payload).map_err(|error| NetlinkError {
        errno: libc::EBADMSG,
        explanation: Some(format!("cannot decode message {}: {error}", answer.kind)),
    })
}

/// Puts `?` for bytes of names that are not UTF-8: the kernel takes any, the decoder does not.
fn make_text(mut bytes: &mut [u8], names: &[u16]) {
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]) & 0x3fff;
        if length < 4 || length > bytes.len() {
            return;
        }
        let (value, rest) = {
            let end = length.next_multiple_of(4).min(bytes.len());
            let (this, rest) = bytes.split_at_mut(end);
            (&mut this[4..length], rest)
        };
        if kind == libc::IFLA_PROP_LIST && names.contains(&kind) {
            make_text(value, &[libc::IFLA_ALT_IFNAME]);
        } else if names.contains(&kind) && std::str::from_utf8(value).is_err() {
            value.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
        }
        bytes = rest;
    }
}

/// The links, each with the id of the namespace of its peer if that is another one.
fn links(route: &mut impl Dumps) -> std::result::Result<Vec<(Link, Option<i32>)>, NetlinkError> {
    let request = Message::new(libc::RTM_GETLINK, NLM_F_DUMP, &[0; 16])
        .number(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    let names = [libc::IFLA_IFNAME, libc::IFLA_IFALIAS, libc::IFLA_PROP_LIST];
    let mut links: Vec<(Link, Option<i32>)> = dump(route, &request, 16, &names)?
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(message) => Some(link(message)),
            _ => None,
        })
        .collect();
    links.sort_by_key(|(link, _)| link.index);
    Ok(links)
}

fn link(message: LinkMessage) -> (Link, Option<i32>) {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Running),
        loopback: flags.contains(LinkFlags::Loopback),
        all_multicast: flags.contains(LinkFlags::Allmulti),
        no_arp: flags.contains(LinkFlags::Noarp),
        promiscuous: flags.contains(LinkFlags::Promisc),
        ..Link::default()
    };
    let mut netns_id = None;
    let mut peer = None;
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(mac) if !mac.is_empty() => link.mac = Some(mac_text(&mac)),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) if index != 0 => link.master_index = Some(index),
            LinkAttribute::Link(index) if index != 0 => peer = Some(index),
            LinkAttribute::LinkNetNsId(id) => netns_id = Some(id),
            LinkAttribute::TxQueueLen(length) => link.tx_queue_len = length,
            LinkAttribute::IfAlias(alias) if !alias.is_empty() => link.alias = Some(alias),
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::PropList(all) => {
                link.alt_names = all
                    .into_iter()
                    .filter_map(|prop| match prop {
                        Prop::AltIfName(name) => Some(name),
                        _ => None,
                    })
                    .collect();
                link.alt_names.sort();
            }
            LinkAttribute::LinkInfo(all) => all.into_iter().for_each(|info| link_info(&mut link, info)),
            _ => {}
        }
    }
    // A device that is made on nothing names itself.
    link.peer = peer
        .filter(|index| *index != link.index || netns_id.is_some())
        .map(|index| Peer { index, place: None });
    (link, netns_id)
}

fn link_info(link: &mut Link, info: LinkInfo) {
    let mut set = |name: &str, value: String| {
        link.details.insert(name.to_owned(), value);
    };
    match info {
        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
        LinkInfo::Data(InfoData::Bridge(all)) => {
            for info in all {
                match info {
                    InfoBridge::VlanFiltering(on) => set("vlan_filtering", u8::from(on).to_string()),
                    InfoBridge::VlanDefaultPvid(id) => set("vlan_default_pvid", id.to_string()),
                    InfoBridge::MulticastSnooping(on) => set("mcast_snooping", u8::from(on).to_string()),
                    InfoBridge::StpState(state) => set("stp_state", u32::from(state).to_string()),
                    _ => {}
                }
            }
        }
        LinkInfo::Data(InfoData::MacVlan(all)) => {
            for info in all {
                if let InfoMacVlan::Mode(mode) = info {
                    set("mode", mode.to_string());
                }
            }
        }
        LinkInfo::Data(InfoData::MacVtap(all)) => {
            for info in all {
                if let InfoMacVtap::Mode(mode) = info {
                    set("mode", mode.to_string());
                }
            }
        }
        LinkInfo::Data(InfoData::IpVlan(all)) => {
            for info in all {
                if let InfoIpVlan::Mode(mode) = info {
                    set("mode", mode.to_string());
                }
            }
        }
        LinkInfo::Data(InfoData::Vlan(all)) => {
            for info in all {
                match info {
                    InfoVlan::Id(id) => set("id", id.to_string()),
                    InfoVlan::Protocol(protocol) => set("protocol", protocol.to_string()),
                    _ => {}
                }
            }
        }
        LinkInfo::Data(InfoData::Vxlan(all)) => {
            for info in all {
                match info {
                    InfoVxlan::Id(id) => set("id", id.to_string()),
                    InfoVxlan::Port(port) => set("dstport", port.to_string()),
                    InfoVxlan::Group(address) => set("remote", address.to_string()),
                    InfoVxlan::Group6(address) => set("remote", address.to_string()),
                    InfoVxlan::Local(address) => set("local", address.to_string()),
                    InfoVxlan::Local6(address) => set("local", address.to_string()),
                    InfoVxlan::Learning(on) => set("learning", on.to_string()),
                    _ => {}
                }
            }
        }
        LinkInfo::Data(InfoData::Vrf(all)) => {
            for info in all {
                if let InfoVrf::TableId(table) = info {
                    set("table", table.to_string());
                }
            }
        }
        LinkInfo::PortData(InfoPortData::BridgePort(all)) => link.port = Some(bridge_port(&all)),
        _ => {}
    }
}

fn bridge_port(all: &[InfoBridgePort]) -> BridgePort {
    let mut port = BridgePort::default();
    for info in all {
        match info {
            InfoBridgePort::HairpinMode(on) => port.hairpin = *on,
            InfoBridgePort::Isolated(on) => port.isolated = *on,
            InfoBridgePort::Learning(on) => port.learning = *on,
            InfoBridgePort::UnicastFlood(on) => port.flood = *on,
            InfoBridgePort::Guard(on) => port.guard = *on,
            InfoBridgePort::Protect(on) => port.root_block = *on,
            InfoBridgePort::FastLeave(on) => port.fast_leave = *on,
            InfoBridgePort::ProxyARP(on) => port.proxy_arp = *on,
            InfoBridgePort::VlanTunnel(on) => port.vlan_tunnel = *on,
            InfoBridgePort::Locked(on) => port.locked = *on,
            InfoBridgePort::Cost(cost) => port.cost = Some(*cost),
            InfoBridgePort::Priority(priority) => port.priority = Some(*priority),
            _ => {}
        }
    }
    port
}

/// The ids by which the namespace of `place` knows those of the other places.
fn known_ids(
    network: &mut Network,
    place: &Place,
    all: &[Place],
) -> std::result::Result<BTreeMap<i32, Place>, NetlinkError> {
    use std::os::fd::AsRawFd;
    let mut known = BTreeMap::new();
    for other in all {
        let Ok(descriptor) = network.space(other).map(|space| space.descriptor().as_raw_fd()) else {
            continue;
        };
        let Ok(space) = network.space(place) else { continue };
        let request =
            Message::new(libc::RTM_GETNSID, 0, &[0; 4]).number(NETNSA_FD, descriptor.cast_unsigned());
        let id = space
            .route
            .request(request)?
            .iter()
            .find_map(|answer| number(attribute(answer.payload.get(4..)?, NETNSA_NSID)?))
            .map(u32::cast_signed);
        if let Some(id) = id.filter(|id| *id >= 0) {
            known.insert(id, other.clone());
        }
    }
    Ok(known)
}

fn addresses(route: &mut impl Dumps, names: &Names) -> std::result::Result<Vec<Address>, NetlinkError> {
    let request = Message::new(libc::RTM_GETADDR, NLM_F_DUMP, &[0; 8]);
    let mut addresses: Vec<Address> = dump(route, &request, 8, &[libc::IFA_LABEL])?
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => address(message, names),
            _ => None,
        })
        .collect();
    addresses.sort_by(|a, b| (a.link_index, &a.address, a.prefix).cmp(&(b.link_index, &b.address, b.prefix)));
    Ok(addresses)
}

fn address(message: AddressMessage, names: &Names) -> Option<Address> {
    let header = message.header;
    let mut flags = u32::from(header.flags.bits());
    let (mut local, mut remote, mut broadcast, mut label, mut protocol) = (None, None, None, None, None);
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(address),
            AddressAttribute::Address(address) => remote = Some(address),
            AddressAttribute::Broadcast(address) => broadcast = Some(IpAddr::V4(address)),
            AddressAttribute::Label(text) => label = Some(text),
            AddressAttribute::Flags(all) => flags = all.bits(),
            AddressAttribute::Protocol(by) => protocol = Some(by),
            _ => {}
        }
    }
    let address = local.or(remote)?;
    let peer = remote.filter(|remote| *remote != address);
    let has = |flag: u32| flags & flag != 0;
    // Kernels before 5.18 do not say who made an address.
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let made_by_kernel = match protocol {
        Some(by) => matches!(by, AddressProtocol::Loopback | AddressProtocol::LinkLocal),
        None => address.is_loopback() && header.index == 1 || link_local && header.prefix_len == 64,
    };
    Some(Address {
        link: names.of(header.index),
        link_index: header.index,
        address,
        prefix: header.prefix_len,
        peer,
        broadcast,
        scope: address_scope(header.scope),
        label,
        permanent: has(libc::IFA_F_PERMANENT),
        tentative: has(libc::IFA_F_TENTATIVE),
        dad_failed: has(libc::IFA_F_DADFAILED),
        deprecated: has(libc::IFA_F_DEPRECATED),
        secondary: has(libc::IFA_F_SECONDARY),
        no_dad: has(libc::IFA_F_NODAD),
        no_prefix_route: has(0x200),
        made_by_kernel,
    })
}

fn address_scope(scope: AddressScope) -> String {
    scope_text(scope.into())
}

fn scope_text(scope: u8) -> String {
    match scope {
        libc::RT_SCOPE_UNIVERSE => "global".to_owned(),
        libc::RT_SCOPE_SITE => "site".to_owned(),
        libc::RT_SCOPE_LINK => "link".to_owned(),
        libc::RT_SCOPE_HOST => "host".to_owned(),
        libc::RT_SCOPE_NOWHERE => "nowhere".to_owned(),
        other => other.to_string(),
    }
}

fn routes(route: &mut impl Dumps, names: &Names) -> std::result::Result<Vec<Route>, NetlinkError> {
    let mut routes = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut body = [0; 12];
        body[0] = u8::try_from(family).unwrap_or(0);
        let request = Message::new(libc::RTM_GETROUTE, NLM_F_DUMP, &body);
        for message in dump(route, &request, 12, &[])? {
            if let RouteNetlinkMessage::NewRoute(message) = message
                && !message.header.flags.contains(RouteFlags::Cloned)
            {
                routes.push(one_route(message, names));
            }
        }
    }
    routes.sort();
    Ok(routes)
}

fn one_route(message: RouteMessage, names: &Names) -> Route {
    let header = message.header;
    let family = if header.address_family == netlink_packet_route::AddressFamily::Inet6 {
        Family::V6
    } else {
        Family::V4
    };
    let any = any_address(family);
    let mut route = Route {
        family,
        table: u32::from(header.table),
        kind: route_kind(u8::from(header.kind)),
        destination: any,
        prefix: header.destination_prefix_length,
        from: None,
        gateway: None,
        device: None,
        device_index: None,
        source: None,
        metric: 0,
        scope: scope_text(u8::from(header.scope)),
        protocol: protocol_text(u8::from(header.protocol)),
        mtu: None,
        mtu_locked: false,
        advmss: None,
        onlink: header.flags.contains(RouteFlags::Onlink),
        tos: header.tos,
        next_hops: Vec::new(),
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => route.destination = ip(&address).unwrap_or(any),
            RouteAttribute::Source(address) => {
                route.from = ip(&address).map(|address| (address, header.source_prefix_length));
            }
            RouteAttribute::Gateway(address) => route.gateway = ip(&address),
            RouteAttribute::Via(via) => route.gateway = via_address(&via),
            RouteAttribute::PrefSource(address) => route.source = ip(&address),
            RouteAttribute::Oif(index) => {
                route.device_index = Some(index);
                route.device = Some(names.of(index));
            }
            RouteAttribute::Priority(metric) => route.metric = metric,
            RouteAttribute::Table(table) => route.table = table,
            RouteAttribute::Metrics(all) => {
                for metric in all {
                    match metric {
                        RouteMetric::Mtu(mtu) => route.mtu = Some(mtu),
                        RouteMetric::Advmss(advmss) => route.advmss = Some(advmss),
                        RouteMetric::Lock(bits) => route.mtu_locked = bits & MTU_LOCK != 0,
                        _ => {}
                    }
                }
            }
            RouteAttribute::MultiPath(hops) => {
                route.next_hops = hops
                    .into_iter()
                    .map(|hop| {
                        route.onlink |= hop.flags.contains(RouteNextHopFlags::Onlink);
                        NextHop {
                            gateway: hop.attributes.iter().find_map(|attribute| match attribute {
                                RouteAttribute::Gateway(address) => ip(address),
                                RouteAttribute::Via(via) => via_address(via),
                                _ => None,
                            }),
                            device: Some(names.of(hop.interface_index)),
                            weight: u32::from(hop.hops) + 1,
                        }
                    })
                    .collect();
            }
            _ => {}
        }
    }
    route
}

fn any_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn via_address(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteVia::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn route_kind(kind: u8) -> String {
    let name = match kind {
        libc::RTN_UNICAST => "unicast",
        libc::RTN_LOCAL => "local",
        libc::RTN_BROADCAST => "broadcast",
        libc::RTN_ANYCAST => "anycast",
        libc::RTN_MULTICAST => "multicast",
        libc::RTN_BLACKHOLE => "blackhole",
        libc::RTN_UNREACHABLE => "unreachable",
        libc::RTN_PROHIBIT => "prohibit",
        libc::RTN_THROW => "throw",
        libc::RTN_NAT => "nat",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// The names are those of rt_protos in iproute2.
fn protocol_text(protocol: u8) -> String {
    let name = match protocol {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        9 => "ra",
        16 => "dhcp",
        other => return other.to_string(),
    };
    name.to_owned()
}

fn rules(route: &mut impl Dumps) -> std::result::Result<Vec<Rule>, NetlinkError> {
    let mut rules = Vec::new();
    for (number, family) in [(libc::AF_INET, Family::V4), (libc::AF_INET6, Family::V6)] {
        let mut body = [0; 12];
        body[0] = u8::try_from(number).unwrap_or(0);
        let request = Message::new(libc::RTM_GETRULE, NLM_F_DUMP, &body);
        let messages = match dump(route, &request, 12, &[FRA_IIFNAME, FRA_OIFNAME]) {
            // A kernel without policy routing of this family.
            Err(error) if error.errno == libc::EAFNOSUPPORT || error.errno == libc::EOPNOTSUPP => continue,
            other => other?,
        };
        rules.extend(messages.into_iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewRule(message) => Some(rule(message, family)),
            _ => None,
        }));
    }
    rules.sort_by_key(|rule| (rule.family, rule.priority));
    Ok(rules)
}

fn rule(message: RuleMessage, family: Family) -> Rule {
    let header = message.header;
    let mut rule = Rule {
        family,
        priority: 0,
        from: None,
        to: None,
        input: None,
        output: None,
        mark: None,
        table: u32::from(header.table),
        action: match header.action {
            RuleAction::ToTable => "lookup".to_owned(),
            RuleAction::Goto => "goto".to_owned(),
            RuleAction::Nop => "nop".to_owned(),
            RuleAction::Blackhole => "blackhole".to_owned(),
            RuleAction::Unreachable => "unreachable".to_owned(),
            RuleAction::Prohibit => "prohibit".to_owned(),
            other => u8::from(other).to_string(),
        },
        inverted: header.flags.contains(RuleFlags::Invert),
        others: Vec::new(),
    };
    if header.tos != 0 {
        rule.others.push(format!("tos {}", header.tos));
    }
    let (mut mark, mut mask) = (None, None);
    for attribute in message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = priority,
            RuleAttribute::Source(address) => rule.from = Some((address, header.src_len)),
            RuleAttribute::Destination(address) => rule.to = Some((address, header.dst_len)),
            RuleAttribute::Iifname(name) => rule.input = Some(name),
            RuleAttribute::Oifname(name) => rule.output = Some(name),
            RuleAttribute::FwMark(value) => mark = Some(value),
            RuleAttribute::FwMask(value) => mask = Some(value),
            RuleAttribute::Table(table) => rule.table = table,
            RuleAttribute::Goto(target) => rule.others.push(format!("goto {target}")),
            RuleAttribute::UidRange(range) => {
                rule.others.push(format!("uidrange {}-{}", range.start, range.end));
            }
            RuleAttribute::SourcePortRange(range) => {
                rule.others.push(format!("sport {}-{}", range.start, range.end));
            }
            RuleAttribute::DestinationPortRange(range) => {
                rule.others.push(format!("dport {}-{}", range.start, range.end));
            }
            RuleAttribute::IpProtocol(protocol) => rule.others.push(format!("ipproto {protocol:?}")),
            RuleAttribute::SuppressPrefixLen(length) if length != u32::MAX => {
                rule.others.push(format!("suppress_prefixlength {length}"));
            }
            RuleAttribute::SuppressIfGroup(group) if group != u32::MAX => {
                rule.others.push(format!("suppress_ifgroup {group}"));
            }
            RuleAttribute::L3MDev(true) => rule.others.push("l3mdev".to_owned()),
            RuleAttribute::TunId(id) => rule.others.push(format!("tun_id {id}")),
            _ => {}
        }
    }
    rule.mark = mark
        .filter(|_| mark != Some(0) || mask.is_some_and(|mask| mask != 0))
        .map(|mark| (mark, mask.unwrap_or(u32::MAX)));
    rule
}

fn neighbours(route: &mut impl Dumps, names: &Names) -> std::result::Result<Vec<Neighbour>, NetlinkError> {
    let mut neighbours = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for flags in [0, NTF_PROXY] {
            let mut body = [0; 12];
            body[0] = u8::try_from(family).unwrap_or(0);
            body[10] = flags;
            for message in dump(route, &Message::new(libc::RTM_GETNEIGH, NLM_F_DUMP, &body), 12, &[])? {
                if let RouteNetlinkMessage::NewNeighbour(message) = message {
                    neighbours.extend(neighbour(message, names));
                }
            }
        }
    }
    neighbours.sort();
    Ok(neighbours)
}

fn neighbour(message: NeighbourMessage, names: &Names) -> Option<Neighbour> {
    let mut mac = None;
    let mut address = None;
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Some(mac_text(&bytes)),
            _ => {}
        }
    }
    Some(Neighbour {
        link: names.of(message.header.ifindex),
        address: address?,
        mac,
        state: message.header.state.to_string(),
        proxy: message.header.flags.contains(NeighbourFlags::Proxy),
    })
}

fn fdb(route: &mut impl Dumps, names: &Names) -> std::result::Result<Vec<FdbEntry>, NetlinkError> {
    let mut body = [0; 12];
    body[0] = u8::try_from(libc::AF_BRIDGE).unwrap_or(0);
    let mut entries = Vec::new();
    for message in dump(route, &Message::new(libc::RTM_GETNEIGH, NLM_F_DUMP, &body), 12, &[])? {
        let RouteNetlinkMessage::NewNeighbour(message) = message else { continue };
        let permanent = matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp);
        let mut entry = FdbEntry {
            link: names.of(message.header.ifindex),
            mac: String::new(),
            vlan: None,
            master: None,
            permanent,
            destination: None,
        };
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => entry.mac = mac_text(&bytes),
                NeighbourAttribute::Vlan(id) => entry.vlan = Some(id),
                NeighbourAttribute::Controller(index) => entry.master = Some(names.of(index)),
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    entry.destination = Some(IpAddr::V4(v4));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    entry.destination = Some(IpAddr::V6(v6));
                }
                _ => {}
            }
        }
        entries.push(entry);
    }
    entries.sort();
    Ok(entries)
}

fn bridge_vlans(route: &mut impl Dumps) -> std::result::Result<Vec<BridgeVlan>, NetlinkError> {
    let mut body = [0; 16];
    body[0] = u8::try_from(libc::AF_BRIDGE).unwrap_or(0);
    let request =
        Message::new(libc::RTM_GETLINK, NLM_F_DUMP, &body).number(libc::IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN);
    let mut vlans = Vec::new();
    for message in dump(route, &request, 16, &[libc::IFLA_IFNAME])? {
        let RouteNetlinkMessage::NewLink(message) = message else { continue };
        let name = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        for attribute in message.attributes {
            let LinkAttribute::AfSpecBridge(all) = attribute else { continue };
            for spec in all {
                let AfSpecBridge::VlanInfo(info) = spec else { continue };
                vlans.push(BridgeVlan {
                    link: name.clone().unwrap_or_default(),
                    id: info.vid,
                    pvid: info.flags.contains(BridgeVlanInfoFlags::Pvid),
                    untagged: info.flags.contains(BridgeVlanInfoFlags::Untagged),
                });
            }
        }
    }
    vlans.sort();
    Ok(vlans)
}

/// Every readable value below /proc/sys/net, as the current network namespace has it.
fn sysctls() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect_sysctls(Path::new("/proc/sys/net"), "net", &mut vec![0; 16 << 10], &mut found);
    found
}

fn collect_sysctls(directory: &Path, name: &str, buffer: &mut [u8], found: &mut BTreeMap<String, String>) {
    // Links come and go, and with them their directories.
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_sysctls(&entry.path(), &name, buffer, found);
        } else if let Ok(count) = File::open(entry.path()).and_then(|file| read_sysctl(&file, buffer)) {
            found.insert(name, String::from_utf8_lossy(&buffer[..count]).trim_end().to_owned());
        }
    }
}

/// Reads a value, which one read gives whole. Most are short, and the kernel clears as much memory as is asked for.
fn read_sysctl(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    const SHORT: usize = 128;
    match file.read_at(&mut buffer[..SHORT], 0)? {
        SHORT => file.read_at(buffer, 0),
        count => Ok(count),
    }
}

/// Reads a namespace from whoever answers; every link's peer is in it.
#[cfg(feature = "fuzzing")]
pub(super) fn read_any(
    route: &mut impl Dumps,
    netfilter: &mut impl Dumps,
) -> std::result::Result<NamespaceState, NetlinkError> {
    let links = links(route)?.into_iter().map(|(link, _)| link).collect();
    let mut state = NamespaceState { links, ..NamespaceState::default() };
    let names = Names(state.links.iter().map(|link| (link.index, link.name.clone())).collect());
    contents(route, Some(netfilter), &names, &Scope::all(), &mut state).map_err(|(_, error)| error)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_are_not_text_can_be_read() {
        let mut bytes = vec![8, 0, 3, 0, b'a', 0xff, b'b', 0, 8, 0, 20, 0, 0xfe, b'c', 0, 0];
        make_text(&mut bytes, &[3]);
        assert_eq!(bytes, [8, 0, 3, 0, b'a', b'?', b'b', 0, 8, 0, 20, 0, 0xfe, b'c', 0, 0]);
        let mut good = vec![8, 0, 3, 0, 0xc3, 0xa4, 0, 0];
        let before = good.clone();
        make_text(&mut good, &[3]);
        assert_eq!(good, before);
    }

    proptest! {
        #[test]
        fn any_message_can_be_decoded(kind in 16u16..60, payload in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode(Answer { kind, payload }, 16, &[3, 20, 52]);
        }
    }
}
