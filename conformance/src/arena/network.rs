//! Changes to an arena's network, and the `ip` command that makes each.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::invoke::Place;

/// A change to the network of one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetOp {
    /// Makes a veth pair: `a` here, `b` at `peer_place`.
    AddVeth {
        /// Name of the end that is here.
        a: String,
        /// Name of the other end.
        b: String,
        /// Where the other end is.
        peer_place: Place,
    },
    /// Makes a bridge.
    AddBridge {
        /// Its name.
        name: String,
    },
    /// Makes a macvlan in mode `bridge`.
    AddMacvlan {
        /// Its name.
        name: String,
        /// The link that it is made on.
        parent: String,
    },
    /// Makes an 802.1Q VLAN link.
    AddVlan {
        /// Its name.
        name: String,
        /// The link that it is made on.
        parent: String,
        /// VLAN identifier.
        id: u16,
    },
    /// Makes a VXLAN link without remote.
    AddVxlan {
        /// Its name.
        name: String,
        /// Network identifier.
        id: u32,
    },
    /// Makes a link of a kind that needs no other parameter: `dummy`, `ifb`, `bridge`, ...
    AddLinkKind {
        /// Its name.
        name: String,
        /// Its kind.
        kind: String,
    },
    /// Removes a link.
    DeleteLink {
        /// Its name.
        name: String,
    },
    /// Sets a link up.
    SetUp {
        /// Its name.
        link: String,
    },
    /// Sets a link down.
    SetDown {
        /// Its name.
        link: String,
    },
    /// Sets the MTU.
    SetMtu {
        /// Name of the link.
        link: String,
        /// Bytes.
        mtu: u32,
    },
    /// Sets the hardware address.
    SetMac {
        /// Name of the link.
        link: String,
        /// The six bytes.
        mac: [u8; 6],
    },
    /// Makes a link a port of another, or of none.
    SetMaster {
        /// Name of the link.
        link: String,
        /// Name of the master.
        master: Option<String>,
    },
    /// Sets the transmit queue length.
    SetTxQueueLen {
        /// Name of the link.
        link: String,
        /// Packets.
        length: u32,
    },
    /// Sets promiscuous mode.
    SetPromiscuous {
        /// Name of the link.
        link: String,
        /// On or off.
        on: bool,
    },
    /// Sets the alias.
    SetAlias {
        /// Name of the link.
        link: String,
        /// The alias.
        alias: String,
    },
    /// Renames a link.
    RenameLink {
        /// Its name.
        link: String,
        /// Its new name.
        to: String,
    },
    /// Moves a link to another place.
    MoveLink {
        /// Its name.
        link: String,
        /// Where to.
        to: Place,
    },
    /// Adds an address; IPv6 without duplicate address detection, so that it can be used at once.
    AddAddress {
        /// Name of the link.
        link: String,
        /// The address.
        address: IpAddr,
        /// Length of its prefix in bits.
        prefix: u8,
    },
    /// Removes an address.
    DeleteAddress {
        /// Name of the link.
        link: String,
        /// The address.
        address: IpAddr,
        /// Length of its prefix in bits.
        prefix: u8,
    },
    /// Removes every address of a link.
    FlushAddresses {
        /// Name of the link.
        link: String,
    },
    /// Adds a route.
    AddRoute {
        /// Destination; the unspecified address for a default route.
        destination: IpAddr,
        /// Length of its prefix in bits.
        prefix: u8,
        /// Next hop.
        gateway: Option<IpAddr>,
        /// Outgoing link.
        link: Option<String>,
        /// Table; none means main.
        table: Option<u32>,
        /// Priority.
        metric: Option<u32>,
    },
    /// Removes a route.
    DeleteRoute {
        /// Destination; the unspecified address for a default route.
        destination: IpAddr,
        /// Length of its prefix in bits.
        prefix: u8,
        /// Next hop, when only a route with it is meant.
        gateway: Option<IpAddr>,
        /// Table; none means main.
        table: Option<u32>,
    },
    /// Adds a permanent neighbour entry.
    AddNeighbour {
        /// Name of the link.
        link: String,
        /// Network address.
        address: IpAddr,
        /// Hardware address.
        mac: [u8; 6],
    },
    /// Removes a queueing discipline, with all that is below it.
    DeleteQdisc {
        /// Name of the link.
        link: String,
        /// The one of what comes in, not the one of what is sent.
        ingress: bool,
    },
    /// Removes every nftables table.
    FlushNftables,
}

impl NetOp {
    /// The command that makes this change at `place`, for a reproducer: `ip -n c1 link set eth0 up`.
    ///
    /// Names of containers are used as `ip netns` names.
    pub fn shell(&self, place: &Place) -> String {
        let ip = match place {
            Place::Host => "ip".to_owned(),
            Place::Container(name) => format!("ip -n {}", quote(name)),
        };
        let link = |name: &str| quote(name);
        match self {
            Self::AddVeth { a, b, peer_place } => {
                // Without `netns` the peer would be made beside its sibling; a peer on the host of a link in a
                // container is made from the host's side, because `ip` has no name for the host.
                match (place, peer_place) {
                    (a_place, b_place) if a_place == b_place => {
                        format!("{ip} link add {} type veth peer name {}", link(a), link(b))
                    }
                    (Place::Container(here), Place::Host) => format!(
                        "ip link add {} type veth peer name {} netns {}",
                        link(b),
                        link(a),
                        quote(here)
                    ),
                    (_, Place::Container(there)) => {
                        format!(
                            "{ip} link add {} type veth peer name {} netns {}",
                            link(a),
                            link(b),
                            quote(there)
                        )
                    }
                    (Place::Host, Place::Host) => String::new(),
                }
            }
            Self::AddBridge { name } => format!("{ip} link add {} type bridge", link(name)),
            Self::AddMacvlan { name, parent } => {
                format!("{ip} link add link {} name {} type macvlan mode bridge", link(parent), link(name))
            }
            Self::AddVlan { name, parent, id } => {
                format!("{ip} link add link {} name {} type vlan id {id}", link(parent), link(name))
            }
            Self::AddVxlan { name, id } => {
                format!("{ip} link add {} type vxlan id {id} dstport 4789", link(name))
            }
            Self::AddLinkKind { name, kind } => {
                format!("{ip} link add {} type {}", link(name), quote(kind))
            }
            Self::DeleteLink { name } => format!("{ip} link delete dev {}", link(name)),
            Self::SetUp { link: l } => format!("{ip} link set dev {} up", link(l)),
            Self::SetDown { link: l } => format!("{ip} link set dev {} down", link(l)),
            Self::SetMtu { link: l, mtu } => format!("{ip} link set dev {} mtu {mtu}", link(l)),
            Self::SetMac { link: l, mac } => {
                format!("{ip} link set dev {} address {}", link(l), mac_text(mac))
            }
            Self::SetMaster { link: l, master: Some(master) } => {
                format!("{ip} link set dev {} master {}", link(l), link(master))
            }
            Self::SetMaster { link: l, master: None } => format!("{ip} link set dev {} nomaster", link(l)),
            Self::SetTxQueueLen { link: l, length } => {
                format!("{ip} link set dev {} txqueuelen {length}", link(l))
            }
            Self::SetPromiscuous { link: l, on } => {
                format!("{ip} link set dev {} promisc {}", link(l), if *on { "on" } else { "off" })
            }
            Self::SetAlias { link: l, alias } => {
                format!("{ip} link set dev {} alias {}", link(l), quote(alias))
            }
            Self::RenameLink { link: l, to } => format!("{ip} link set dev {} name {}", link(l), link(to)),
            Self::MoveLink { link: l, to: Place::Container(to) } => {
                format!("{ip} link set dev {} netns {}", link(l), quote(to))
            }
            // `ip` takes a process in place of a name; process 1 of the reproducer's namespaces is on the host.
            Self::MoveLink { link: l, to: Place::Host } => format!("{ip} link set dev {} netns 1", link(l)),
            Self::AddAddress { link: l, address, prefix } => {
                let no_dad = if address.is_ipv6() { " nodad" } else { "" };
                format!("{ip} address add {address}/{prefix} dev {}{no_dad}", link(l))
            }
            Self::DeleteAddress { link: l, address, prefix } => {
                format!("{ip} address delete {address}/{prefix} dev {}", link(l))
            }
            Self::FlushAddresses { link: l } => format!("{ip} address flush dev {}", link(l)),
            Self::AddRoute { destination, prefix, gateway, link: l, table, metric } => {
                let mut text = format!("{ip} {}route add {destination}/{prefix}", family(destination));
                if let Some(gateway) = gateway {
                    text += &match (destination, gateway) {
                        (IpAddr::V4(_), IpAddr::V6(_)) => format!(" via inet6 {gateway}"),
                        _ => format!(" via {gateway}"),
                    };
                }
                if let Some(l) = l {
                    text += &format!(" dev {}", link(l));
                }
                if let Some(table) = table {
                    text += &format!(" table {table}");
                }
                if let Some(metric) = metric {
                    text += &format!(" metric {metric}");
                }
                text
            }
            Self::DeleteRoute { destination, prefix, gateway, table } => {
                let mut text = format!("{ip} {}route delete {destination}/{prefix}", family(destination));
                if let Some(gateway) = gateway {
                    text += &format!(" via {gateway}");
                }
                if let Some(table) = table {
                    text += &format!(" table {table}");
                }
                text
            }
            Self::AddNeighbour { link: l, address, mac } => {
                format!("{ip} neighbour add {address} lladdr {} dev {} nud permanent", mac_text(mac), link(l))
            }
            Self::DeleteQdisc { link: l, ingress } => {
                let tc = match place {
                    Place::Host => "tc".to_owned(),
                    Place::Container(name) => format!("tc -n {}", quote(name)),
                };
                format!("{tc} qdisc delete dev {} {}", link(l), if *ingress { "ingress" } else { "root" })
            }
            Self::FlushNftables => match place {
                Place::Host => "nft flush ruleset".to_owned(),
                Place::Container(name) => format!("ip netns exec {} nft flush ruleset", quote(name)),
            },
        }
    }
}

fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv6() { "-6 " } else { "" }
}

/// A hardware address in lower case.
pub(crate) fn mac_text(mac: &[u8]) -> String {
    let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

/// A word of a POSIX shell command, quoted only when it needs to be.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
