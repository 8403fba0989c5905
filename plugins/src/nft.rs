//! Masquerading with nftables: one table of this crate's own, which exists only as long as it has rules.
//!
//! Each rule carries a label in its comment, so that it can be found again without any other state.

pub(crate) mod expression;
pub(crate) mod ledger;
pub(crate) mod object;

use std::net::IpAddr;

use ipnet::IpNet;

use self::expression::{CMP_DATA, Expressions, Operator, Packet};
pub use self::object::LABEL_MAX;
use self::object::{HOOK_POSTROUTING, Hook, ListedRule, PRIORITY_SOURCE_NAT, Table, is_absent, transact};
use crate::netlink::message::{Message, octets};
use crate::netlink::{NetlinkError, Socket};

/// The table.
pub(crate) const TABLE: Table = Table::inet("cni_reference");
/// The name of its chain.
pub const CHAIN: &str = "postrouting";

/// How often a removal is begun anew because others changed the ruleset meanwhile.
const ATTEMPTS: usize = 1000;

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

impl From<ListedRule> for Rule {
    fn from(listed: ListedRule) -> Rule {
        Rule {
            masquerades: listed.has("masq"),
            compared: listed.values("cmp", CMP_DATA),
            label: listed.comment,
            handle: listed.handle,
        }
    }
}

/// Masquerades what addresses send to anything but their own subnet and multicast groups.
///
/// # Errors
/// When the kernel refuses; nothing has changed then.
pub fn add(label: &str, addresses: &[IpNet]) -> Result<(), NetlinkError> {
    let hook = Hook { kind: "nat", number: HOOK_POSTROUTING, priority: PRIORITY_SOURCE_NAT };
    let mut messages = vec![object::add_table(TABLE, false), object::add_chain(TABLE, CHAIN, Some(hook))];
    messages.extend(addresses.iter().map(|address| new_rule(label, *address)));
    transact(&mut Socket::netfilter()?, "add a masquerading rule", None, messages)
}

fn new_rule(label: &str, address: IpNet) -> Message {
    let ipv4 = address.addr().is_ipv4();
    let multicast = if ipv4 {
        IpNet::new([224, 0, 0, 0].into(), 4)
    } else {
        IpNet::new([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8)
    };
    let multicast = multicast.expect("both prefix lengths fit their family");
    object::add_rule(TABLE, CHAIN, label, |m| {
        Expressions(m)
            .family(ipv4)
            .subnet(Packet::Source, Operator::Equal, address.addr().into())
            .subnet(Packet::Destination, Operator::NotEqual, address)
            .subnet(Packet::Destination, Operator::NotEqual, multicast)
            .masquerade()
            .0
    })
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

fn list(socket: &mut Socket) -> Result<Vec<Rule>, NetlinkError> {
    Ok(object::rules(socket, TABLE, CHAIN)?.into_iter().map(Rule::from).collect())
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
        let generation = object::generation(&mut socket)?;
        let (gone, kept): (Vec<Rule>, Vec<Rule>) =
            list(&mut socket)?.into_iter().partition(|rule| chosen(&rule.label));
        let is_done = gone.is_empty() && (!kept.is_empty() || !object::has_table(&mut socket, TABLE)?);
        if is_done {
            return Ok(());
        }
        let messages = if kept.is_empty() {
            vec![object::delete_table(TABLE)]
        } else {
            gone.iter().map(|rule| object::delete_rule(TABLE, CHAIN, rule.handle)).collect()
        };
        match transact(&mut socket, "remove a masquerading rule", generation, messages) {
            Err(error) if error.is(libc::ERESTART) && attempt < ATTEMPTS => attempt += 1,
            Err(error) if error.is(libc::ENOENT) && attempt < ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}
