//! The maps from ports of the host to addresses and ports of containers.

use crate::nft::expression::{Expressions, FIRST, Packet};
use crate::nft::object::{Field, Set};

use Field::{Ipv4, Ipv6, Port, Protocol};

/// The map of the claims of a family, with a host's address or without.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) ipv4: bool,
    /// With a host's address; those without stand behind.
    pub(super) addressed: bool,
    /// From a port of the host to the container's address and port.
    pub(super) map: Set,
}

/// The maps of the claims without conditions; those with conditions have others of the same kinds.
pub(super) const PORTS: [Ports; 4] = [
    Ports {
        ipv4: true,
        addressed: true,
        map: Set { name: "ports_v4_at", key: &[Ipv4, Protocol, Port], value: &[Ipv4, Port] },
    },
    Ports {
        ipv4: true,
        addressed: false,
        map: Set { name: "ports_v4", key: &[Protocol, Port], value: &[Ipv4, Port] },
    },
    Ports {
        ipv4: false,
        addressed: true,
        map: Set { name: "ports_v6_at", key: &[Ipv6, Protocol, Port], value: &[Ipv6, Port] },
    },
    Ports {
        ipv4: false,
        addressed: false,
        map: Set { name: "ports_v6", key: &[Protocol, Port], value: &[Ipv6, Port] },
    },
];

/// The length of an address of a family in bytes.
pub(super) fn length(ipv4: bool) -> u32 {
    if ipv4 { 4 } else { 16 }
}

impl Ports {
    /// The map of a family, with a host's address or without.
    pub(super) fn of(ipv4: bool, addressed: bool) -> Ports {
        let [v4_at, v4, v6_at, v6] = PORTS;
        match (ipv4, addressed) {
            (true, true) => v4_at,
            (true, false) => v4,
            (false, true) => v6_at,
            (false, false) => v6,
        }
    }

    /// Forwards what a map of this kind has a port for.
    pub(super) fn forward(self, expressions: Expressions, map: &str) -> Expressions {
        let Ports { ipv4, addressed, .. } = self;
        let mut e = expressions.family(ipv4);
        let mut to = FIRST;
        if addressed {
            e = e.load(Packet::Destination, ipv4, to);
            to = to.after(length(ipv4));
        }
        e.protocol(to)
            .load(Packet::DestinationPort, ipv4, to.after(4))
            .lookup(map, FIRST, Some(FIRST))
            .redirect(ipv4, FIRST, FIRST.after(length(ipv4)))
    }
}
