//! What the kernel and the file system of an arena hold at one moment, as typed values, and how two such
//! moments differ.

mod difference;
mod render;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::codec;
pub use crate::invoke::Place;
pub use difference::{Difference, difference};

/// What a snapshot looks at. What is left out is empty in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Links, addresses, routes of all tables, rules, neighbours, forwarding databases and bridge VLANs.
    pub network: bool,
    /// Queueing disciplines and traffic filters.
    pub traffic: bool,
    /// nftables, legacy iptables and ipsets.
    pub firewall: bool,
    /// Every readable value under `/proc/sys/net`. By far the slowest part.
    pub sysctls: bool,
    /// Files written since the arena started, and removed ones.
    pub files: bool,
    /// Processes other than the agent.
    pub processes: bool,
    /// Only these places; `None` means the host and every container.
    pub places: Option<Vec<Place>>,
}

impl Scope {
    /// Everything, everywhere.
    pub fn all() -> Self {
        Self {
            network: true,
            traffic: true,
            firewall: true,
            sysctls: true,
            files: true,
            processes: true,
            places: None,
        }
    }

    /// Everything but sysctls: what a plugin leaks in practice, at a fraction of the cost.
    pub fn usual() -> Self {
        Self { sysctls: false, ..Self::all() }
    }

    /// Links, addresses, routes, rules, neighbours, forwarding databases; nothing else.
    pub fn network() -> Self {
        Self { network: true, ..Self::nothing() }
    }

    /// Files only.
    pub fn files() -> Self {
        Self { files: true, ..Self::nothing() }
    }

    /// Nothing: to build a scope from.
    pub fn nothing() -> Self {
        Self {
            network: false,
            traffic: false,
            firewall: false,
            sysctls: false,
            files: false,
            processes: false,
            places: None,
        }
    }

    /// The same, of this place alone.
    #[must_use]
    pub fn only(mut self, place: Place) -> Self {
        self.places.get_or_insert_default().push(place);
        self
    }

    /// Whether this place is looked at.
    pub fn covers(&self, place: &Place) -> bool {
        self.places.as_ref().is_none_or(|places| places.contains(place))
    }
}

/// The state of an arena at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The host's network namespace.
    pub host: NamespaceState,
    /// Each container's network namespace, by name.
    pub containers: BTreeMap<String, NamespaceState>,
    /// Files that were written or removed since the arena was built, by path inside the arena.
    #[serde(with = "codec::path_map")]
    pub files: BTreeMap<PathBuf, FileState>,
    /// Command names of the processes in the arena, background ones included, sorted.
    pub processes: Vec<String>,
    /// How many snapshots of its arena were taken before it. No part of the state.
    #[serde(skip)]
    pub number: usize,
}

impl Snapshot {
    /// The state of one place, if the arena has it.
    pub fn place(&self, place: &Place) -> Option<&NamespaceState> {
        match place {
            Place::Host => Some(&self.host),
            Place::Container(name) => self.containers.get(name),
        }
    }
}

/// What one network namespace holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceState {
    /// Interfaces, by index.
    pub links: Vec<Link>,
    /// Addresses of both families.
    pub addresses: Vec<Address>,
    /// Routes of every table and both families.
    pub routes: Vec<Route>,
    /// Policy routing rules of both families.
    pub rules: Vec<Rule>,
    /// Neighbour entries of both families, dynamic ones included.
    pub neighbours: Vec<Neighbour>,
    /// Forwarding database entries of bridges and of other links that have one.
    pub fdb: Vec<FdbEntry>,
    /// VLANs of bridge ports; none where the kernel lacks VLAN filtering.
    pub bridge_vlans: Vec<BridgeVlan>,
    /// Queueing disciplines that somebody asked for (not the kernel's defaults).
    pub qdiscs: Vec<Qdisc>,
    /// Traffic filters.
    pub filters: Vec<Filter>,
    /// nftables tables, by family and name.
    pub nftables: Vec<NftTable>,
    /// Legacy iptables tables that the kernel holds; iptables-nft tables stand in `nftables`.
    pub iptables: Vec<IptablesTable>,
    /// Names of ipsets.
    pub ipsets: Vec<String>,
    /// Values under `/proc/sys/net`, by name relative to `/proc/sys`, e.g. `net/ipv4/ip_forward`.
    pub sysctls: BTreeMap<String, String>,
}

impl NamespaceState {
    /// The link of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The link of this index.
    pub fn link_by_index(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// Addresses of the link of this name.
    pub fn addresses_of<'a>(&'a self, link: &'a str) -> impl Iterator<Item = &'a Address> + 'a {
        self.addresses.iter().filter(move |address| address.link == link)
    }

    /// Routes of the main table that somebody asked for: neither made by the kernel nor learnt.
    pub fn configured_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|route| route.table == Route::MAIN_TABLE && route.protocol != "kernel")
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its name; bytes that are not UTF-8 are shown as `?`.
    pub name: String,
    /// Its index, unique in its namespace. Not part of a difference.
    pub index: u32,
    /// Kind (`veth`, `bridge`, ...), none for physical devices and loopback.
    pub kind: Option<String>,
    /// Hardware address in lower case, bytes separated by colons; none when it has no bytes.
    pub mac: Option<String>,
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Operationally running. Not part of a difference: it follows the peer, later.
    pub running: bool,
    /// It is a loopback device.
    pub loopback: bool,
    /// Somebody set it promiscuous.
    pub promiscuous: bool,
    /// It receives all multicast.
    pub all_multicast: bool,
    /// It does no ARP.
    pub no_arp: bool,
    /// Name of the link that it is a port of.
    pub master: Option<String>,
    /// Index of the link that it is a port of.
    pub master_index: Option<u32>,
    /// The other end of a veth pair, or the link that a macvlan, VLAN, ... is made on.
    pub peer: Option<Peer>,
    /// Transmit queue length in packets.
    pub tx_queue_len: u32,
    /// Alias (`ip link set alias`).
    pub alias: Option<String>,
    /// Alternative names, sorted.
    pub alt_names: Vec<String>,
    /// Group number.
    pub group: u32,
    /// Attributes as a bridge port, if it is one.
    pub port: Option<BridgePort>,
    /// What its kind sets, by the name that ip(8) uses: `mode` of a macvlan, `id` of a VLAN,
    /// `vlan_filtering` of a bridge, ... Only values that somebody chooses, no timers or counters.
    pub details: BTreeMap<String, String>,
}

/// The link at the other end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its index in its own namespace.
    pub index: u32,
    /// The place where it is; none when it is in a namespace that the arena does not know.
    pub place: Option<Place>,
}

/// What a bridge port has set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePort {
    /// Hairpin mode: frames may leave by the port they came in on.
    pub hairpin: bool,
    /// Isolated from the other isolated ports.
    pub isolated: bool,
    /// Learns addresses.
    pub learning: bool,
    /// Unknown unicast is flooded to it.
    pub flood: bool,
    /// BPDU guard.
    pub guard: bool,
    /// Root block.
    pub root_block: bool,
    /// Fast leave of multicast groups.
    pub fast_leave: bool,
    /// Proxy ARP.
    pub proxy_arp: bool,
    /// VLAN tunnel mapping.
    pub vlan_tunnel: bool,
    /// Locked: unknown sources are dropped.
    pub locked: bool,
    /// Spanning tree cost.
    pub cost: Option<u32>,
    /// Spanning tree priority.
    pub priority: Option<u16>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// Name of its link.
    pub link: String,
    /// Index of its link.
    pub link_index: u32,
    /// The address itself (IFA_LOCAL where there is one).
    pub address: IpAddr,
    /// Length of its prefix in bits.
    pub prefix: u8,
    /// The far end of a point-to-point address.
    pub peer: Option<IpAddr>,
    /// Broadcast address.
    pub broadcast: Option<IpAddr>,
    /// Scope: `global`, `link`, `host`, `site`, `nowhere` or a number.
    pub scope: String,
    /// Label, IPv4 only.
    pub label: Option<String>,
    /// It does not expire.
    pub permanent: bool,
    /// Duplicate address detection is under way. Not part of a difference.
    pub tentative: bool,
    /// Duplicate address detection failed.
    pub dad_failed: bool,
    /// It is past its preferred lifetime.
    pub deprecated: bool,
    /// It is a secondary address of its subnet (IPv4) or a temporary one (IPv6).
    pub secondary: bool,
    /// Duplicate address detection was turned off for it.
    pub no_dad: bool,
    /// It brought no prefix route with it.
    pub no_prefix_route: bool,
    /// The kernel made it by itself: an IPv6 link-local or loopback address.
    pub made_by_kernel: bool,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Family.
    pub family: Family,
    /// Table number; 254 is main, 255 local.
    pub table: u32,
    /// Type: `unicast`, `local`, `broadcast`, `multicast`, `blackhole`, `unreachable`, `prohibit`, ...
    pub kind: String,
    /// Destination; the unspecified address with prefix 0 for a default route.
    pub destination: IpAddr,
    /// Length of the destination's prefix in bits.
    pub prefix: u8,
    /// Source prefix that it is for (`from`).
    pub from: Option<(IpAddr, u8)>,
    /// Next hop; of the other family too (`via inet6`).
    pub gateway: Option<IpAddr>,
    /// Name of the outgoing link.
    pub device: Option<String>,
    /// Index of the outgoing link.
    pub device_index: Option<u32>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Priority; 0 when none is set, which the kernel turns into 1024 for IPv6.
    pub metric: u32,
    /// Scope: `global`, `link`, `host`, `site`, `nowhere` or a number.
    pub scope: String,
    /// Who made it: `kernel`, `boot`, `static`, `ra`, ... or a number.
    pub protocol: String,
    /// MTU in bytes, if set.
    pub mtu: Option<u32>,
    /// The MTU is locked: no path MTU discovery.
    pub mtu_locked: bool,
    /// Advertised maximum segment size, if set.
    pub advmss: Option<u32>,
    /// The gateway is treated as directly reachable.
    pub onlink: bool,
    /// Type of service.
    pub tos: u8,
    /// Next hops of a multipath route.
    pub next_hops: Vec<NextHop>,
}

impl Route {
    /// The number of the main table.
    pub const MAIN_TABLE: u32 = 254;
    /// The number of the local table, which the kernel fills.
    pub const LOCAL_TABLE: u32 = 255;
    /// The largest MTU of a route, in bytes: the kernel takes a greater one for it.
    pub const LARGEST_MTU: u32 = 65_520;
    /// The largest segment size of a route, in bytes: the kernel takes a greater one for it.
    pub const LARGEST_ADVMSS: u32 = 65_495;

    /// Whether it is a default route.
    pub fn is_default(&self) -> bool {
        self.prefix == 0
    }
}

/// One next hop of a multipath route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NextHop {
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// Name of the outgoing link.
    pub device: Option<String>,
    /// Weight, from 1.
    pub weight: u32,
}

/// A policy routing rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// Family.
    pub family: Family,
    /// Priority; lower is looked at first.
    pub priority: u32,
    /// Source prefix.
    pub from: Option<(IpAddr, u8)>,
    /// Destination prefix.
    pub to: Option<(IpAddr, u8)>,
    /// Incoming link.
    pub input: Option<String>,
    /// Outgoing link.
    pub output: Option<String>,
    /// Firewall mark and mask.
    pub mark: Option<(u32, u32)>,
    /// Table that it looks up.
    pub table: u32,
    /// Action: `lookup`, `goto`, `blackhole`, `unreachable`, `prohibit`, `nop` or a number.
    pub action: String,
    /// It holds for what does not match.
    pub inverted: bool,
    /// Other selectors, readable.
    pub others: Vec<String>,
}

/// A neighbour (ARP or NDP) entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Neighbour {
    /// Name of its link.
    pub link: String,
    /// Network address.
    pub address: IpAddr,
    /// Hardware address.
    pub mac: Option<String>,
    /// State: `permanent`, `reachable`, `stale`, `noarp`, ...
    pub state: String,
    /// It is a proxy entry.
    pub proxy: bool,
}

impl Neighbour {
    /// Whether somebody put it there: permanent and proxy entries, the ones that a difference counts.
    pub fn is_permanent(&self) -> bool {
        self.proxy || self.state == "permanent"
    }
}

/// A forwarding database entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FdbEntry {
    /// Name of the link that it points at.
    pub link: String,
    /// Hardware address.
    pub mac: String,
    /// VLAN.
    pub vlan: Option<u16>,
    /// Bridge that holds it; none when the link itself does.
    pub master: Option<String>,
    /// It was not learnt.
    pub permanent: bool,
    /// Remote address of a tunnel.
    pub destination: Option<IpAddr>,
}

/// A VLAN of a bridge or bridge port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BridgeVlan {
    /// Name of the port.
    pub link: String,
    /// VLAN identifier.
    pub id: u16,
    /// Untagged frames that come in belong to it.
    pub pvid: bool,
    /// Frames go out untagged.
    pub untagged: bool,
}

/// A count that goes up by itself: no two of them differ when states are compared.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Count(pub u64);

impl PartialEq for Count {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Count {}

impl PartialOrd for Count {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Count {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// A queueing discipline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Qdisc {
    /// Name of its link.
    pub link: String,
    /// Kind: `tbf`, `ingress`, `clsact`, ...
    pub kind: String,
    /// Parent: `root`, `ingress` or `MAJOR:MINOR`.
    pub parent: String,
    /// Its own handle, `MAJOR:`. Not part of a difference when the kernel chose it.
    pub handle: String,
    /// Rate in bytes per second (tbf).
    pub rate: Option<u64>,
    /// Burst in bytes (tbf), as the kernel keeps it: rounded to its clock.
    pub burst: Option<u64>,
    /// Limit in bytes (tbf).
    pub limit: Option<u32>,
    /// Bytes that it has sent.
    pub sent: Count,
}

/// A traffic filter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Filter {
    /// Name of its link.
    pub link: String,
    /// Kind: `u32`, `matchall`, `bpf`, ...
    pub kind: String,
    /// Parent: `root`, `ingress`, `egress` or `MAJOR:MINOR`.
    pub parent: String,
    /// Ethernet protocol number that it is for; 3 is all.
    pub protocol: u16,
    /// Priority.
    pub priority: u16,
    /// Its actions, readable: `mirred egress redirect ifb0`, ...
    pub actions: Vec<String>,
}

/// An nftables table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftTable {
    /// Family: `ip`, `ip6`, `inet`, `arp`, `bridge`, `netdev` or a number.
    pub family: String,
    /// Its name.
    pub name: String,
    /// It is dormant.
    pub dormant: bool,
    /// Its comment.
    pub comment: Option<String>,
    /// Its chains, in the kernel's order.
    pub chains: Vec<NftChain>,
    /// Its sets and maps, in the kernel's order.
    pub sets: Vec<NftSet>,
    /// Its other objects (counters, quotas, flowtables), readable.
    pub objects: Vec<String>,
}

impl NftTable {
    /// The chain of this name.
    pub fn chain(&self, name: &str) -> Option<&NftChain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// The set or map of this name.
    pub fn set(&self, name: &str) -> Option<&NftSet> {
        self.sets.iter().find(|set| set.name == name)
    }
}

/// An nftables chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftChain {
    /// Its name.
    pub name: String,
    /// The hook of a base chain.
    pub hook: Option<NftHook>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its rules, in order.
    pub rules: Vec<NftRule>,
}

/// Where a base chain is hooked in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftHook {
    /// Type: `filter`, `nat` or `route`.
    pub kind: String,
    /// Hook: `prerouting`, `input`, `forward`, `output`, `postrouting`, `ingress`, `egress` or a number.
    pub hook: String,
    /// Priority.
    pub priority: i32,
    /// Policy: `accept` or `drop`.
    pub policy: String,
    /// Devices of a netdev chain.
    pub devices: Vec<String>,
}

/// An nftables rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftRule {
    /// Its expressions in the manner of nft(8), without counters' values.
    pub text: String,
    /// Its comment.
    pub comment: Option<String>,
}

/// An nftables set or map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftSet {
    /// Its name.
    pub name: String,
    /// It maps keys to data.
    pub is_map: bool,
    /// It was made by a rule and has no lasting name.
    pub anonymous: bool,
    /// Its comment.
    pub comment: Option<String>,
    /// Its elements, readable, sorted.
    pub elements: Vec<String>,
}

/// A legacy iptables table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IptablesTable {
    /// Family.
    pub family: String,
    /// Its name: `filter`, `nat`, ...
    pub name: String,
    /// Its chains in order.
    pub chains: Vec<IptablesChain>,
}

/// A chain of a legacy iptables table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IptablesChain {
    /// Its name.
    pub name: String,
    /// Policy of a built-in chain.
    pub policy: Option<String>,
    /// Its rules in order, in the manner of iptables-save(8); the data of matches and targets in hexadecimal.
    pub rules: Vec<String>,
}

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A file of the host that was removed.
    Removed,
    /// A socket.
    Socket,
    /// A FIFO.
    Fifo,
    /// A device.
    Device,
}

/// `file`, `directory`, ...
impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Removed => "removed",
            Self::Socket => "socket",
            Self::Fifo => "fifo",
            Self::Device => "device",
        })
    }
}

/// A file that was written or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Its kind.
    pub kind: FileKind,
    /// Its size in bytes; 0 for anything but files and symbolic links.
    pub size: u64,
    /// Permission bits, with set-user-id and its like.
    pub mode: u32,
    /// The first 16 hexadecimal digits of the SHA-256 of its content; empty for anything but files.
    pub digest: String,
    /// Where a symbolic link points.
    #[serde(with = "codec::optional_path")]
    pub target: Option<PathBuf>,
}
