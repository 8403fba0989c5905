//! Masquerading with nftables: one table of this crate's own, which exists only as long as it has rules.
//!
//! Each rule carries a label in its comment, so that it can be found again without any other state.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::netlink::message::{Message, attribute, attributes, octets, to_text, u32_at};
use crate::netlink::{NetlinkError, Socket};

/// The name of the table, of family `inet`.
pub const TABLE: &str = "cni_reference";
/// The name of its chain.
pub const CHAIN: &str = "postrouting";
/// The longest label in bytes: what the `nft` program takes for a comment.
pub const LABEL_MAX: usize = 127;

/// The length of `struct nfgenmsg`.
const HEADER: usize = 4;
/// How often a removal is begun anew because others changed the ruleset meanwhile.
const ATTEMPTS: usize = 1000;

// From linux/netfilter/nfnetlink.h and nf_tables.h.
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u32 = 2;
const NFPROTO_IPV6: u32 = 10;
const HOOK_POSTROUTING: u32 = 4;
const PRIORITY_SOURCE_NAT: u32 = 100;
const BATCH_GENERATION: u16 = 1;
const GENERATION_ID: u16 = 1;
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USER_DATA: u16 = 7;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const META_REGISTER: u16 = 1;
const META_KEY: u16 = 2;
const META_KEY_NFPROTO: u32 = 15;
const PAYLOAD_REGISTER: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_BASE_NETWORK: u32 = 1;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LENGTH: u16 = 4;
const BITWISE_SOURCE: u16 = 1;
const BITWISE_TARGET: u16 = 2;
const BITWISE_LENGTH: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const CMP_REGISTER: u16 = 1;
const CMP_OPERATOR: u16 = 2;
const CMP_DATA: u16 = 3;
const CMP_EQUAL: u32 = 0;
const CMP_NOT_EQUAL: u32 = 1;
const DATA_VALUE: u16 = 1;
const REGISTER: u32 = 1;
/// The kind of user data that is a comment.
const USER_DATA_COMMENT: u8 = 0;

/// A masquerading rule of this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its label.
    pub label: String,
    /// Whether it masquerades at all.
    pub masquerades: bool,
    /// What it compares packets with: the masqueraded address is among it.
    compared: Vec<Vec<u8>>,
    handle: u64,
}

impl Rule {
    /// Whether it masquerades what an address sends.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.masquerades && self.compared.contains(&octets(address))
    }
}

fn kind(message: i32) -> u16 {
    (libc::NFNL_SUBSYS_NFTABLES << 8 | message) as u16
}

fn header(family: u8, resource: u16) -> Vec<u8> {
    [&[family, 0][..], &resource.to_be_bytes()].concat()
}

fn change(message: i32, flags: i32) -> Message {
    Message::new(kind(message), flags | libc::NLM_F_ACK, &header(NFPROTO_INET, 0))
}

fn begin(generation: Option<u32>) -> Message {
    let header = header(libc::AF_UNSPEC as u8, libc::NFNL_SUBSYS_NFTABLES as u16);
    Message::new(libc::NFNL_MSG_BATCH_BEGIN as u16, 0, &header)
        .maybe(generation, |m, generation| m.be32(BATCH_GENERATION, generation))
}

fn end() -> Message {
    Message::new(libc::NFNL_MSG_BATCH_END as u16, 0, &header(0, libc::NFNL_SUBSYS_NFTABLES as u16))
}

/// Masquerades what addresses send to anything but their own subnet and multicast groups.
///
/// # Errors
/// When the kernel refuses; nothing has changed then.
pub fn add(label: &str, addresses: &[IpNet]) -> Result<(), NetlinkError> {
    let mut messages = vec![
        change(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE).text(TABLE_NAME, TABLE),
        change(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE)
            .text(CHAIN_TABLE, TABLE)
            .text(CHAIN_NAME, CHAIN)
            .nest(CHAIN_HOOK, |m| {
                m.be32(HOOK_NUMBER, HOOK_POSTROUTING).be32(HOOK_PRIORITY, PRIORITY_SOURCE_NAT)
            })
            .text(CHAIN_TYPE, "nat"),
    ];
    messages.extend(addresses.iter().map(|address| new_rule(label, *address)));
    Socket::netfilter()?.transaction("add a masquerading rule", begin(None), messages, end())
}

fn new_rule(label: &str, address: IpNet) -> Message {
    let (protocol, multicast, source, destination) = if address.addr().is_ipv4() {
        (NFPROTO_IPV4, IpNet::new([224, 0, 0, 0].into(), 4), 12, 16)
    } else {
        (NFPROTO_IPV6, IpNet::new([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8), 8, 24)
    };
    let multicast = multicast.expect("both prefix lengths fit their family");
    change(libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND)
        .text(RULE_TABLE, TABLE)
        .text(RULE_CHAIN, CHAIN)
        .nest(RULE_EXPRESSIONS, |m| {
            let m =
                expression(m, "meta", |m| m.be32(META_REGISTER, REGISTER).be32(META_KEY, META_KEY_NFPROTO));
            // The protocol is one byte, at the start of the register.
            let m = compare(m, CMP_EQUAL, &[protocol as u8]);
            let m = load(m, source, address.addr());
            let m = compare(m, CMP_EQUAL, &octets(address.addr()));
            let m = outside(m, destination, address);
            let m = outside(m, destination, multicast);
            expression(m, "masq", |m| m)
        })
        .bytes(RULE_USER_DATA, &user_data(label))
}

fn expression(message: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    message.nest(LIST_ELEMENT, |m| m.text(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, data))
}

/// Loads an address of the packet, as long as `like`.
fn load(message: Message, offset: u32, like: IpAddr) -> Message {
    expression(message, "payload", |m| {
        m.be32(PAYLOAD_REGISTER, REGISTER)
            .be32(PAYLOAD_BASE, PAYLOAD_BASE_NETWORK)
            .be32(PAYLOAD_OFFSET, offset)
            .be32(PAYLOAD_LENGTH, octets(like).len() as u32)
    })
}

fn compare(message: Message, operator: u32, value: &[u8]) -> Message {
    expression(message, "cmp", |m| {
        m.be32(CMP_REGISTER, REGISTER)
            .be32(CMP_OPERATOR, operator)
            .nest(CMP_DATA, |m| m.bytes(DATA_VALUE, value))
    })
}

/// Goes on only if an address of the packet is outside a subnet.
fn outside(message: Message, offset: u32, subnet: IpNet) -> Message {
    let mask = octets(subnet.netmask());
    let message = load(message, offset, subnet.addr());
    let message = expression(message, "bitwise", |m| {
        m.be32(BITWISE_SOURCE, REGISTER)
            .be32(BITWISE_TARGET, REGISTER)
            .be32(BITWISE_LENGTH, mask.len() as u32)
            .nest(BITWISE_MASK, |m| m.bytes(DATA_VALUE, &mask))
            .nest(BITWISE_XOR, |m| m.bytes(DATA_VALUE, &vec![0; mask.len()]))
    });
    compare(message, CMP_NOT_EQUAL, &octets(subnet.network()))
}

fn user_data(label: &str) -> Vec<u8> {
    debug_assert!(label.len() <= LABEL_MAX);
    let length = u8::try_from(label.len() + 1).unwrap_or(u8::MAX);
    let text = label.bytes().take(usize::from(length) - 1);
    [USER_DATA_COMMENT, length].into_iter().chain(text).chain([0]).collect()
}

/// The rules of this crate; none if nftables or the table is not there.
///
/// # Errors
/// When the kernel refuses.
pub fn rules() -> Result<Vec<Rule>, NetlinkError> {
    match Socket::netfilter() {
        Ok(mut socket) => list(&mut socket),
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &NetlinkError) -> bool {
    [libc::EPROTONOSUPPORT, libc::ENOENT, libc::EOPNOTSUPP, libc::EINVAL]
        .into_iter()
        .any(|errno| error.is(errno))
}

fn list(socket: &mut Socket) -> Result<Vec<Rule>, NetlinkError> {
    let message = Message::new(kind(libc::NFT_MSG_GETRULE), libc::NLM_F_DUMP, &header(NFPROTO_INET, 0))
        .text(RULE_TABLE, TABLE)
        .text(RULE_CHAIN, CHAIN);
    match socket.dump("list masquerading rules", &message, read) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        other => other,
    }
}

fn read(payload: &[u8]) -> Option<Rule> {
    let text = |kind| attribute(payload, HEADER, kind).map(to_text);
    if text(RULE_TABLE)? != TABLE || text(RULE_CHAIN)? != CHAIN {
        return None;
    }
    let handle = attribute(payload, HEADER, RULE_HANDLE)?;
    let data = attribute(payload, HEADER, RULE_USER_DATA).unwrap_or_default();
    let label = match data {
        [USER_DATA_COMMENT, length, text @ ..] => {
            text.get(..usize::from(*length)).map(to_text).unwrap_or_default()
        }
        _ => String::new(),
    };
    let mut rule = Rule {
        label,
        masquerades: false,
        compared: Vec::new(),
        handle: u64::from_be_bytes(handle.try_into().ok()?),
    };
    let expressions = attribute(payload, HEADER, RULE_EXPRESSIONS).unwrap_or_default();
    for (_, element) in attributes(expressions, 0) {
        let data = attribute(element, 0, EXPRESSION_DATA).unwrap_or_default();
        match attribute(element, 0, EXPRESSION_NAME).map(to_text).as_deref() {
            Some("masq") => rule.masquerades = true,
            Some("cmp") => {
                let value = attribute(data, 0, CMP_DATA).and_then(|value| attribute(value, 0, DATA_VALUE));
                rule.compared.extend(value.map(<[u8]>::to_vec));
            }
            _ => {}
        }
    }
    Some(rule)
}

/// Removes the rules whose label is chosen, and the table with the last rule.
///
/// # Errors
/// When the kernel refuses, or others changed the ruleset at every attempt.
pub fn remove(chosen: impl Fn(&str) -> bool) -> Result<(), NetlinkError> {
    let mut socket = match Socket::netfilter() {
        Ok(socket) => socket,
        Err(error) if is_absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut attempt = 1;
    loop {
        // The transaction is refused unless the ruleset is still the one that was listed: otherwise the table might
        // go together with a rule that came in between.
        let generation = generation(&mut socket)?;
        let (gone, kept): (Vec<Rule>, Vec<Rule>) =
            list(&mut socket)?.into_iter().partition(|rule| chosen(&rule.label));
        let is_done = gone.is_empty() && (!kept.is_empty() || !exists(&mut socket)?);
        if is_done {
            return Ok(());
        }
        let messages = if kept.is_empty() {
            vec![change(libc::NFT_MSG_DELTABLE, 0).text(TABLE_NAME, TABLE)]
        } else {
            gone.iter().map(delete).collect()
        };
        match socket.transaction("remove a masquerading rule", begin(generation), messages, end()) {
            Err(error) if error.is(libc::ERESTART) && attempt < ATTEMPTS => attempt += 1,
            Err(error) if error.is(libc::ENOENT) && attempt < ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

/// Whether the table is there.
fn exists(socket: &mut Socket) -> Result<bool, NetlinkError> {
    let message =
        Message::new(kind(libc::NFT_MSG_GETTABLE), 0, &header(NFPROTO_INET, 0)).text(TABLE_NAME, TABLE);
    match socket.get("look for the masquerading table", message, |_| Some(())) {
        Err(error) if is_absent(&error) => Ok(false),
        other => Ok(other?.is_some()),
    }
}

fn delete(rule: &Rule) -> Message {
    change(libc::NFT_MSG_DELRULE, 0)
        .text(RULE_TABLE, TABLE)
        .text(RULE_CHAIN, CHAIN)
        .bytes(RULE_HANDLE, &rule.handle.to_be_bytes())
}

fn generation(socket: &mut Socket) -> Result<Option<u32>, NetlinkError> {
    let message = Message::new(kind(libc::NFT_MSG_GETGEN), 0, &header(libc::AF_UNSPEC as u8, 0));
    socket.get("read the ruleset's generation", message, |payload| {
        attribute(payload, HEADER, GENERATION_ID).and_then(|bytes| u32_at(bytes, 0)).map(u32::from_be)
    })
}
