//! What rules are made of.

use ipnet::IpNet;

use super::object::{NFPROTO_IPV4, NFPROTO_IPV6, expression};
use crate::netlink::message::{Message, octets};

/// A register of four bytes; longer values continue in those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Register(u32);

/// The first register.
pub(crate) const FIRST: Register = Register(8);

impl Register {
    /// The register behind a value of so many bytes.
    pub(crate) fn after(self, bytes: u32) -> Register {
        Register(self.0 + bytes.div_ceil(4))
    }
}

/// What a packet's headers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packet {
    /// The source address.
    Source,
    /// The destination address.
    Destination,
    /// The destination port.
    DestinationPort,
    /// The hardware address of the sender.
    HardwareSource,
}

/// Which packets of a connection, or what else, a comparison is with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal = 0,
    NotEqual = 1,
}

/// A rule's expressions on their way into a message. `ipv4` tells the family where it matters.
pub(crate) struct Expressions(pub(crate) Message);

// From nf_tables.h.
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const JUMP: i32 = -3;
const GOTO: i32 = -4;
const RETURN: i32 = -5;
/// The attribute of `cmp` with the value.
pub(crate) const CMP_DATA: u16 = 3;
const META_INPUT: u32 = 6;
const META_OUTPUT: u32 = 7;
const META_INPUT_INDEX: u32 = 4;
const META_PROTOCOL_FAMILY: u32 = 15;
const META_TRANSPORT_PROTOCOL: u32 = 16;
const BASE_LINK: u32 = 0;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 2;
/// `RTN_LOCAL`.
const LOCAL: u32 = 2;
/// `IPS_DST_NAT`.
const DESTINATION_CHANGED: u32 = 1 << 5;
/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED)`.
const ESTABLISHED_OR_RELATED: u32 = 1 << 1 | 1 << 2;
const NAT_DESTINATION: u32 = 1;

impl Expressions {
    fn add(self, name: &str, data: impl FnOnce(Message) -> Message) -> Expressions {
        Expressions(expression(self.0, name, data))
    }

    fn meta(self, key: u32, to: Register) -> Expressions {
        self.add("meta", |m| m.be32(1, to.0).be32(2, key))
    }

    /// Goes on only for packets of a family.
    pub(crate) fn family(self, ipv4: bool) -> Expressions {
        // One byte, at the start of the register.
        let protocol = if ipv4 { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
        self.meta(META_PROTOCOL_FAMILY, FIRST).compare(FIRST, Operator::Equal, &[protocol])
    }

    /// Loads the number of the transport protocol.
    pub(crate) fn protocol(self, to: Register) -> Expressions {
        self.meta(META_TRANSPORT_PROTOCOL, to)
    }

    /// Loads the index of the interface by which a packet came in.
    pub(crate) fn input(self, to: Register) -> Expressions {
        self.meta(META_INPUT_INDEX, to)
    }

    /// Loads the names of the interfaces that a packet comes in and goes out by, 16 bytes each.
    pub(crate) fn interfaces(self) -> Expressions {
        self.meta(META_INPUT, FIRST).meta(META_OUTPUT, FIRST.after(16))
    }

    /// Loads the name of the interface that a packet comes in by, 16 bytes.
    pub(crate) fn input_name(self) -> Expressions {
        self.meta(META_INPUT, FIRST)
    }

    /// Loads the name of the interface that a packet goes out by, 16 bytes.
    pub(crate) fn output_name(self) -> Expressions {
        self.meta(META_OUTPUT, FIRST)
    }

    /// Loads from the packet's headers.
    pub(crate) fn load(self, what: Packet, ipv4: bool, to: Register) -> Expressions {
        let (base, offset, length) = match (what, ipv4) {
            (Packet::Source, true) => (BASE_NETWORK, 12, 4),
            (Packet::Source, false) => (BASE_NETWORK, 8, 16),
            (Packet::Destination, true) => (BASE_NETWORK, 16, 4),
            (Packet::Destination, false) => (BASE_NETWORK, 24, 16),
            (Packet::DestinationPort, _) => (BASE_TRANSPORT, 2, 2),
            (Packet::HardwareSource, _) => (BASE_LINK, 6, 6),
        };
        self.add("payload", |m| m.be32(1, to.0).be32(2, base).be32(3, offset).be32(4, length))
    }

    fn tracked(self, key: u32) -> Expressions {
        self.add("ct", |m| m.be32(1, FIRST.0).be32(2, key))
    }

    /// Goes on only for connections whose destination was changed.
    pub(crate) fn redirected(self) -> Expressions {
        self.tracked(CT_STATUS).mask(FIRST, &DESTINATION_CHANGED.to_ne_bytes()).compare(
            FIRST,
            Operator::NotEqual,
            &[0; 4],
        )
    }

    /// Goes on only for packets of connections that are established, or related to such.
    pub(crate) fn established(self) -> Expressions {
        self.tracked(CT_STATE).mask(FIRST, &ESTABLISHED_OR_RELATED.to_ne_bytes()).compare(
            FIRST,
            Operator::NotEqual,
            &[0; 4],
        )
    }

    /// Goes on only for packets whose destination is an address of this host.
    pub(crate) fn for_this_host(self) -> Expressions {
        self.add("fib", |m| m.be32(1, FIRST.0).be32(2, FIB_ADDRESS_TYPE).be32(3, FIB_DESTINATION)).compare(
            FIRST,
            Operator::Equal,
            &LOCAL.to_ne_bytes(),
        )
    }

    /// Compares a register with bytes.
    pub(crate) fn compare(self, register: Register, operator: Operator, value: &[u8]) -> Expressions {
        self.add("cmp", |m| {
            m.be32(1, register.0).be32(2, operator as u32).nest(CMP_DATA, |m| m.bytes(DATA_VALUE, value))
        })
    }

    /// Clears the bits of a register that are not in the mask.
    pub(crate) fn mask(self, register: Register, mask: &[u8]) -> Expressions {
        self.add("bitwise", |m| {
            m.be32(1, register.0)
                .be32(2, register.0)
                .be32(3, mask.len() as u32)
                .nest(4, |m| m.bytes(DATA_VALUE, mask))
                .nest(5, |m| m.bytes(DATA_VALUE, &vec![0; mask.len()]))
        })
    }

    /// Compares an address of the packet with a subnet.
    pub(crate) fn subnet(self, what: Packet, operator: Operator, subnet: IpNet) -> Expressions {
        let mask = octets(subnet.netmask());
        let loaded = self.load(what, subnet.addr().is_ipv4(), FIRST);
        let masked =
            if subnet.prefix_len() == subnet.max_prefix_len() { loaded } else { loaded.mask(FIRST, &mask) };
        masked.compare(FIRST, operator, &octets(subnet.network()))
    }

    /// Goes on only if the value from a register on is in a set; loads what a map has for it.
    pub(crate) fn lookup(self, set: &str, from: Register, to: Option<Register>) -> Expressions {
        self.add("lookup", |m| m.text(1, set).be32(2, from.0).maybe(to, |m, register| m.be32(3, register.0)))
    }

    /// Loads bytes.
    pub(crate) fn value(self, to: Register, bytes: &[u8]) -> Expressions {
        self.add("immediate", |m| m.be32(1, to.0).nest(2, |m| m.bytes(DATA_VALUE, bytes)))
    }

    /// Changes the destination to the address and the port in registers.
    pub(crate) fn redirect(self, ipv4: bool, address: Register, port: Register) -> Expressions {
        let family = u32::from(if ipv4 { NFPROTO_IPV4 } else { NFPROTO_IPV6 });
        self.add("nat", |m| m.be32(1, NAT_DESTINATION).be32(2, family).be32(3, address.0).be32(5, port.0))
    }

    /// Changes the source to this host.
    pub(crate) fn masquerade(self) -> Expressions {
        self.add("masq", |m| m)
    }

    fn verdict(self, code: i32, chain: Option<&str>) -> Expressions {
        self.add("immediate", |m| {
            m.be32(1, 0).nest(2, |m| {
                m.nest(DATA_VERDICT, |m| {
                    m.be32(VERDICT_CODE, code as u32).maybe(chain, |m, chain| m.text(VERDICT_CHAIN, chain))
                })
            })
        })
    }

    /// Goes on in another chain, and comes back.
    pub(crate) fn jump(self, chain: &str) -> Expressions {
        self.verdict(JUMP, Some(chain))
    }

    /// Goes on in another chain for good.
    pub(crate) fn go(self, chain: &str) -> Expressions {
        self.verdict(GOTO, Some(chain))
    }

    /// Goes on where the chain was jumped to from.
    pub(crate) fn back(self) -> Expressions {
        self.verdict(RETURN, None)
    }

    /// Lets the packet through.
    pub(crate) fn accept(self) -> Expressions {
        self.verdict(libc::NF_ACCEPT, None)
    }

    /// Throws the packet away.
    pub(crate) fn discard(self) -> Expressions {
        self.verdict(libc::NF_DROP, None)
    }
}
