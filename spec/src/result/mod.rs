//! Results: what ADD and VERSION print.
//!
//! [`AddResult`] is one model for every version. [`AddResult::parse`] reads any version into it and
//! [`AddResult::to_version`] prints any version from it, naming each [`Loss`].
//!
//! - Keys that a version does not define are kept in `extra`, at every level.
//! - Addresses keep their meaning, host bits included, and print in the usual form.
//! - An absent list and an empty one are the same, and print as absent.

mod address;
mod loss;
mod parse;
mod print;
mod shape;
mod version_result;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

pub use self::address::{parse_prefix, print_prefix};
pub use self::loss::{Loss, LossReason};
pub use self::version_result::VersionResult;

/// A success result of ADD, or a `prevResult`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddResult {
    /// The label that was read; printing replaces it.
    pub cni_version: Option<String>,
    /// The interfaces that the attachment created (0.3.0).
    pub interfaces: Vec<Interface>,
    /// The addresses. Before 0.3.0: the one of `ip4`, then the one of `ip6`.
    pub ips: Vec<Ip>,
    /// The routes. Before 0.3.0: those of `ip4`, then those of `ip6`.
    pub routes: Vec<Route>,
    /// The DNS settings.
    pub dns: Option<Dns>,
    /// The keys that the version does not define.
    pub extra: Map<String, Value>,
}

/// One member of `interfaces`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// The hardware address.
    pub mac: Option<String>,
    /// The MTU in bytes (1.1.0).
    pub mtu: Option<u32>,
    /// The namespace that the interface is in; absent or empty for one on the host.
    pub sandbox: Option<String>,
    /// The absolute path of the interface's socket (1.1.0).
    pub socket_path: Option<String>,
    /// The platform's identifier of the PCI device (1.1.0).
    pub pci_id: Option<String>,
    /// The keys that the version does not define.
    pub extra: Map<String, Value>,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// The address with the length of its subnet's prefix.
    pub address: IpNet,
    /// The subnet's default gateway.
    pub gateway: Option<IpAddr>,
    /// The index in `interfaces`; -1 is tolerated for "none" (see [`Ip::index`]).
    pub interface: Option<i64>,
    /// The keys that the version does not define.
    pub extra: Map<String, Value>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub dst: IpNet,
    /// The next hop.
    pub gw: Option<IpAddr>,
    /// The path MTU in bytes (1.1.0).
    pub mtu: Option<u32>,
    /// The TCP segment size to advertise, in bytes (1.1.0).
    pub advmss: Option<u32>,
    /// The priority; lower wins (1.1.0).
    pub priority: Option<u32>,
    /// The routing table's number (1.1.0).
    pub table: Option<u32>,
    /// The scope: 0 global, 253 link, 254 host (1.1.0).
    pub scope: Option<u32>,
    /// The keys that the version does not define.
    pub extra: Map<String, Value>,
}

/// DNS settings, in a result or in a network configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// The servers' addresses, first choice first.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: Option<String>,
    /// The search domains, first choice first.
    pub search: Vec<String>,
    /// The resolver's options.
    pub options: Vec<String>,
    /// The keys that the specification does not define.
    pub extra: Map<String, Value>,
}

impl Ip {
    /// An address without gateway or interface.
    pub fn new(address: IpNet) -> Ip {
        Ip { address, gateway: None, interface: None, extra: Map::new() }
    }

    /// The index in `interfaces`, or `None` where there is none or it is negative.
    pub fn index(&self) -> Option<usize> {
        self.interface.and_then(|index| usize::try_from(index).ok())
    }
}

impl Route {
    /// A route without next hop or attributes.
    pub fn new(dst: IpNet) -> Route {
        Route {
            dst,
            gw: None,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
            extra: Map::new(),
        }
    }
}

impl AddResult {
    /// The interface that an address belongs to, if the address names one that exists.
    pub fn interface_of(&self, ip: &Ip) -> Option<&Interface> {
        ip.index().and_then(|index| self.interfaces.get(index))
    }
}
