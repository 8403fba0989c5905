//! Masquerading with nftables: one table of this crate's own, which exists only as long as somebody is masqueraded.
//!
//! Each subnet has a set of the addresses that are masqueraded and one rule, which exist as long as an address is in the set.
//! So ADD and DEL do as much however many attachments there are, and a packet meets a rule for each subnet. The map `attachments`
//! notes the addresses of each attachment, which is known by its label: no other state is needed.

pub(crate) mod expression;
pub(crate) mod ledger;
pub(crate) mod object;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use self::expression::{Expressions, FIRST, Operator, Packet};
use self::ledger::{ATTEMPTS, Ledger, all_of, socket_if_any};
pub use self::object::LABEL_MAX;
use self::object::{
    Element, Field, HOOK_POSTROUTING, Hook, ListedRule, PRIORITY_SOURCE_NAT, Set, Table, transact,
};
use crate::attachment::{IDENTITY, digest};
use crate::netlink::message::{Message, octets, to_sixteen, u32_at};
use crate::netlink::{NetlinkError, Socket};

/// The table.
pub(crate) const TABLE: Table = Table::inet("cni_reference");
/// The name of its chain.
pub const CHAIN: &str = "postrouting";

const ATTACHMENTS: Set =
    Set { name: "attachments", key: &[Field::Ipv6, Field::Mark], value: &[Field::Ipv6, Field::Mark] };
const LEDGER: Ledger = Ledger { table: TABLE, map: ATTACHMENTS.name };
/// The addresses of a subnet that are masqueraded; there is one such set for each.
const MEMBERS: &str = "members";
/// The digits of a subnet in the name of a set: 100 bits.
const DIGITS: usize = 20;
/// In a note: the address is one of IPv4. The length of the subnet's prefix stands below.
const FLAG_IPV4: u32 = 1 << 8;

/// The name of the set of a subnet.
fn members(subnet: IpNet) -> String {
    format!("{MEMBERS}_{}", digest(subnet.to_string().as_bytes(), DIGITS))
}

/// What stands for a label in the map.
fn identity(label: &str) -> [u8; IDENTITY] {
    let hash = Sha256::digest(label);
    std::array::from_fn(|index| hash[index])
}

fn note(address: IpNet) -> Vec<u8> {
    let family = if address.addr().is_ipv4() { FLAG_IPV4 } else { 0 };
    let flags = family | u32::from(address.prefix_len());
    [&to_sixteen(address.addr())[..], &flags.to_ne_bytes()].concat()
}

fn from_note(note: &[u8]) -> Option<IpNet> {
    let address = Ipv6Addr::from(*note.first_chunk::<16>()?);
    let flags = u32_at(note, 16)?;
    let address = match flags & FLAG_IPV4 {
        0 => IpAddr::V6(address),
        _ => IpAddr::V4(address.to_ipv4_mapped()?),
    };
    IpNet::new(address, u8::try_from(flags & !FLAG_IPV4).ok()?).ok()
}

/// The table without anybody in it; refused with `EEXIST` if there is one.
fn structure() -> Vec<Message> {
    let hook = Hook { kind: "nat", number: HOOK_POSTROUTING, priority: PRIORITY_SOURCE_NAT };
    vec![
        object::add_table(TABLE, true),
        object::add_chain(TABLE, CHAIN, Some(hook)),
        object::add_set(TABLE, ATTACHMENTS.name, &ATTACHMENTS, 1),
    ]
}

/// The set and the rule of a subnet; `id` tells the set from the others of the same transaction.
fn new_subnet(subnet: IpNet, id: u32) -> [Message; 2] {
    let key = if subnet.addr().is_ipv4() { &[Field::Ipv4] } else { &[Field::Ipv6] };
    let set = Set { name: MEMBERS, key, value: &[] };
    [
        object::add_set(TABLE, &members(subnet), &set, id),
        object::add_rule(TABLE, CHAIN, &subnet.to_string(), |m| rule(subnet, Expressions(m)).0),
    ]
}

/// Masquerades what members send to anything but their own subnet and multicast groups.
fn rule(subnet: IpNet, expressions: Expressions) -> Expressions {
    let ipv4 = subnet.addr().is_ipv4();
    let multicast = match ipv4 {
        true => IpNet::new([224, 0, 0, 0].into(), 4),
        false => IpNet::new([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8),
    };
    let multicast = multicast.expect("both prefix lengths fit their family");
    expressions
        .family(ipv4)
        .load(Packet::Source, ipv4, FIRST)
        .lookup(&members(subnet), FIRST, None)
        .subnet(Packet::Destination, Operator::NotEqual, subnet)
        .subnet(Packet::Destination, Operator::NotEqual, multicast)
        .masquerade()
}

/// The rules of a subnet that are as they should be.
fn rules_of(listed: &[ListedRule], subnet: IpNet) -> impl Iterator<Item = &ListedRule> {
    let expected = object::expected_rule(&subnet.to_string(), |m| rule(subnet, Expressions(m)).0);
    listed.iter().filter(move |found| found.does_as(&expected))
}

fn subnets(addresses: &[IpNet]) -> BTreeSet<IpNet> {
    addresses.iter().map(IpNet::trunc).collect()
}

/// Masquerades what addresses send to anything but their own subnet and multicast groups. What the label had before goes. An
/// address that another label had goes over to this one: the other attachment is gone, even if its DEL is still to come.
///
/// # Errors
/// When the kernel refuses; nothing has changed then.
pub fn add(label: &str, addresses: &[IpNet]) -> Result<(), NetlinkError> {
    if addresses.is_empty() {
        return Ok(());
    }
    let mut socket = Socket::netfilter()?;
    let notes: Vec<Vec<u8>> = addresses.iter().copied().map(note).collect();
    let mut attempt = 1;
    loop {
        // Looked at first: a transaction that fails has the process wait for the kernel.
        let generation = object::generation(&mut socket)?;
        if LEDGER.knows(&mut socket, identity(label))? {
            remove(label)?;
            continue;
        }
        let mut changes = Vec::new();
        if !object::has_table(&mut socket, TABLE)? {
            changes.extend(structure());
        }
        let listed = object::rules(&mut socket, TABLE, CHAIN)?;
        for (subnet, id) in subnets(addresses).into_iter().zip(2..) {
            if rules_of(&listed, subnet).next().is_none() {
                changes.extend(new_subnet(subnet, id));
            }
        }
        let is_new = !changes.is_empty();
        changes.extend(LEDGER.add_as(identity(label), label, &notes));
        for address in addresses {
            let (set, key) = (members(address.trunc()), octets(address.addr()));
            if object::element(&mut socket, TABLE, &set, &key)?.is_some() {
                changes.push(object::delete_element(TABLE, &set, &key));
            }
            let element = Element { key, value: Vec::new(), comment: label.to_owned() };
            changes.push(object::add_element(TABLE, &set, &element));
        }
        // Two of what is there for all would be one too many.
        let generation = generation.filter(|_| is_new);
        match transact(&mut socket, "add masquerading", generation, changes) {
            Err(error) if attempt < ATTEMPTS && is_race(&error, generation) => attempt += 1,
            other => return other,
        }
    }
}

/// Whether others changed the same meanwhile. Of a ruleset that was still the one that was looked at, other errors say what the
/// kernel cannot do.
fn is_race(error: &NetlinkError, generation: Option<u32>) -> bool {
    let looked_at = [libc::EEXIST, libc::ENOENT, libc::EBUSY].iter().any(|errno| error.is(*errno));
    error.is(libc::ERESTART) || (generation.is_none() && looked_at)
}

/// What a label lacks of the masquerading of addresses, in words; `None` if everything is there.
///
/// # Errors
/// When the kernel refuses.
pub fn missing(label: &str, addresses: &[IpNet]) -> Result<Option<String>, NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(Some("the kernel has no nftables".to_owned())) };
    let listed = object::rules(&mut socket, TABLE, CHAIN)?;
    for address in addresses {
        let subnet = address.trunc();
        let found = object::element(&mut socket, TABLE, &members(subnet), &octets(address.addr()))?;
        if found.is_none_or(|found| found.comment != label) {
            return Ok(Some(format!(
                "the set {} of table {TABLE} lacks {}",
                members(subnet),
                address.addr()
            )));
        }
        if rules_of(&listed, subnet).next().is_none() {
            return Ok(Some(format!("the chain {CHAIN} of table {TABLE} lacks the rule of {subnet}")));
        }
    }
    Ok(None)
}

/// The labels that are masqueraded; none if nftables or the table is not there.
///
/// # Errors
/// When the kernel refuses.
pub fn labels() -> Result<BTreeSet<String>, NetlinkError> {
    match socket_if_any()? {
        Some(mut socket) => {
            let all = LEDGER.attachments(&mut socket, |_| true)?;
            Ok(all.into_iter().map(|(_, label)| label).collect())
        }
        None => Ok(BTreeSet::new()),
    }
}

/// Removes what a label has; with the last address of a subnet its set and rule, with the last one of all the table.
///
/// # Errors
/// When the kernel refuses, or others changed the ruleset at every attempt.
pub fn remove(label: &str) -> Result<(), NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(()) };
    let mut attempt = 1;
    loop {
        let generation = object::generation(&mut socket)?;
        let notes = LEDGER.read(&mut socket, identity(label))?;
        if notes.is_empty() {
            return LEDGER.remove_if_idle();
        }
        if LEDGER.remove_if_only(&mut socket, label, notes.len())? {
            return Ok(());
        }
        let mut is_exclusive = false;
        let mut changes = LEDGER.delete(identity(label), notes.len());
        let addresses: Vec<IpNet> = notes.iter().filter_map(|note| from_note(note)).collect();
        for subnet in subnets(&addresses) {
            let set = members(subnet);
            if all_of(&mut socket, TABLE, &set, label, notes.len())? {
                is_exclusive = true;
                changes.extend(delete_subnet(&mut socket, subnet)?);
                continue;
            }
            for address in addresses.iter().filter(|address| address.trunc() == subnet) {
                let key = octets(address.addr());
                let found = object::element(&mut socket, TABLE, &set, &key)?;
                if found.is_some_and(|found| found.comment == label) {
                    changes.push(object::delete_element(TABLE, &set, &key));
                }
            }
        }
        // What goes as a whole must not go together with somebody who came in between.
        let generation = generation.filter(|_| is_exclusive);
        match transact(&mut socket, "remove masquerading", generation, changes) {
            Err(error) if attempt < ATTEMPTS && is_race(&error, generation) => attempt += 1,
            other => return other,
        }
    }
}

/// Deletes the set of a subnet and whatever rule looks into it; the set may have gone.
fn delete_subnet(socket: &mut Socket, subnet: IpNet) -> Result<Vec<Message>, NetlinkError> {
    let comment = subnet.to_string();
    let rules = object::rules(socket, TABLE, CHAIN)?;
    let own = rules.iter().filter(|rule| rule.comment == comment);
    let mut changes: Vec<Message> = own.map(|rule| object::delete_rule(TABLE, CHAIN, rule.handle)).collect();
    if object::has_set(socket, TABLE, &members(subnet))? {
        changes.push(object::delete_set(TABLE, &members(subnet)));
    }
    Ok(changes)
}

/// Removes what labels have that are chosen.
///
/// # Errors
/// See [`remove`].
pub fn collect(chosen: impl Fn(&str) -> bool) -> Result<(), NetlinkError> {
    labels()?.iter().filter(|label| chosen(label)).try_for_each(|label| remove(label))?;
    LEDGER.remove_if_idle()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_back() {
        for text in ["10.1.0.2/16", "0.0.0.0/0", "10.1.2.3/32", "fd00::2/64", "::/0", "fd00::3/128"] {
            let address: IpNet = text.parse().expect("an address");
            assert_eq!(note(address).len(), 20);
            assert_eq!(from_note(&note(address)), Some(address));
        }
        assert_eq!(from_note(&[0; 19]), None);
        assert_eq!(from_note(&[255; 20]), None);
    }

    #[test]
    fn subnets_have_sets_of_their_own() {
        let of = |text: &str| members(text.parse().expect("a subnet"));
        assert_ne!(of("10.1.0.0/16"), of("10.1.0.0/17"));
        // What the kernel takes for the name of a set.
        assert!(of("fd00:1:2:3:4:5:6:0/112").len() < 32);
    }
}
