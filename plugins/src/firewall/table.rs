//! What containers may, in nftables: one table, which exists only as long as an attachment is in it.
//!
//! Addresses and bridges are elements of sets, so that neither ADD and DEL nor a packet take longer the more there are.
//! The map `attachments` notes what each attachment has: first its bridge, then its addresses.

use std::net::IpAddr;

use crate::attachment::{Attachment, IDENTITY, digest};
use crate::netlink::message::{Message, octets, to_sixteen, to_text, u32_at};
use crate::netlink::{NetlinkError, Socket};
use crate::nft::expression::{Expressions, FIRST, Packet};
use crate::nft::ledger::{ATTEMPTS, Ledger, SharedRule, missing_rule, socket_if_any};
use crate::nft::object::{self, Element, Field, HOOK_FORWARD, Hook, PRIORITY_FILTER, Set, Table, transact};

use Field::{InterfaceName, Ipv4, Ipv6, Mark};

/// The table.
pub(super) const TABLE: Table = Table::inet("cni_reference_firewall");

const FORWARD: &str = "forward";
const CONTAINERS: &str = "containers";
/// The digits of a bridge's name in the name of a set: 100 bits.
const DIGITS: usize = 20;

const ATTACHMENTS: Set = Set { name: "attachments", key: &[Ipv6, Mark], value: &[Ipv6, InterfaceName, Mark] };
const ADDRESSES: [(bool, Set); 2] = [
    (true, Set { name: "containers_v4", key: &[Ipv4], value: &[] }),
    (false, Set { name: "containers_v6", key: &[Ipv6], value: &[] }),
];
/// Bridges whose containers others do not reach.
const GUARDED: Set = Set { name: "guarded", key: &[InterfaceName], value: &[] };
/// The ways from a bridge to itself that are open, and those that are not.
const WITHIN: Set = Set { name: "within", key: &[InterfaceName, InterfaceName], value: &[] };
const ISOLATED: Set = Set { name: "isolated", key: &[InterfaceName, InterfaceName], value: &[] };
/// The attachments on a bridge with a policy; there is one such set for each.
const USERS: Set = Set { name: "users", key: &[Ipv6], value: &[] };

/// The notes of the attachments.
pub(super) const LEDGER: Ledger = Ledger { table: TABLE, map: ATTACHMENTS.name };

/// Who may connect to the containers of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Policy {
    /// Those on the same bridge, but not those on other guarded bridges.
    SameBridge = 1,
    /// Not even those on the same bridge.
    Isolated = 2,
}

impl Policy {
    const ALL: [Policy; 2] = [Policy::SameBridge, Policy::Isolated];

    fn pairs(self) -> Set {
        match self {
            Policy::SameBridge => WITHIN,
            Policy::Isolated => ISOLATED,
        }
    }
}

/// A bridge that is guarded by a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Guard {
    pub(super) bridge: String,
    pub(super) policy: Policy,
}

impl Guard {
    fn name_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let name = self.bridge.as_bytes();
        let length = name.len().min(15);
        bytes[..length].copy_from_slice(&name[..length]);
        bytes
    }

    fn pair(&self) -> Vec<u8> {
        self.name_bytes().repeat(2)
    }

    /// The set of the attachments on this bridge with this policy.
    fn users(&self) -> String {
        let policy = self.policy.pairs().name;
        format!("{}_{policy}_{}", USERS.name, digest(self.bridge.as_bytes(), DIGITS))
    }

    /// The same bridge with the other policy.
    fn other(&self) -> Guard {
        let policy = match self.policy {
            Policy::SameBridge => Policy::Isolated,
            Policy::Isolated => Policy::SameBridge,
        };
        Guard { policy, ..self.clone() }
    }
}

/// What an attachment has in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) guard: Option<Guard>,
    pub(super) addresses: Vec<IpAddr>,
}

const FLAG_IPV4: u32 = 1;
/// Where there is no bridge: the `nft` program cannot read an empty name.
const NO_NAME: [u8; 16] = *b"-\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

impl Share {
    /// The notes of 36 bytes each: an address, a bridge, and what they are.
    fn notes(&self) -> Vec<Vec<u8>> {
        let note = |address: [u8; 16], name: [u8; 16], flags: u32| {
            [&address[..], &name, &flags.to_ne_bytes()].concat()
        };
        let (name, policy) = match &self.guard {
            Some(guard) => (guard.name_bytes(), guard.policy as u32),
            None => (NO_NAME, 0),
        };
        let flags = |address: &IpAddr| if address.is_ipv4() { FLAG_IPV4 } else { 0 };
        let addresses =
            self.addresses.iter().map(|address| note(to_sixteen(*address), NO_NAME, flags(address)));
        std::iter::once(note([0; 16], name, policy)).chain(addresses).collect()
    }

    fn from_notes(notes: &[Vec<u8>]) -> Option<Share> {
        let (head, rest) = notes.split_first()?;
        let number = u32_at(head, 32)?;
        let policy = Policy::ALL.into_iter().find(|policy| *policy as u32 == number);
        let guard = policy.map(|policy| Guard { bridge: to_text(&head[16..32]), policy });
        let address = |note: &Vec<u8>| {
            let address = std::net::Ipv6Addr::from(*note.first_chunk::<16>()?);
            match u32_at(note, 32)? & FLAG_IPV4 {
                0 => Some(IpAddr::V6(address)),
                _ => address.to_ipv4_mapped().map(IpAddr::V4),
            }
        };
        Some(Share { guard, addresses: rest.iter().filter_map(address).collect() })
    }
}

fn address_set(address: IpAddr) -> &'static str {
    if address.is_ipv4() { ADDRESSES[0].1.name } else { ADDRESSES[1].1.name }
}

fn shared_rules() -> Vec<SharedRule> {
    let mut rules: Vec<SharedRule> = Vec::new();
    let mut rule =
        |chain: &'static str, comment: &'static str, write: Box<dyn Fn(Expressions) -> Expressions>| {
            rules.push(SharedRule { chain: chain.into(), comment: comment.into(), write });
        };
    let both = |e: Expressions, set: Set| e.interfaces().lookup(set.name, FIRST, None);
    rule(FORWARD, "between containers that are isolated", Box::new(move |e| both(e, ISOLATED).discard()));
    rule(FORWARD, "between containers of a bridge", Box::new(move |e| both(e, WITHIN).go(CONTAINERS)));
    let between = |e: Expressions| {
        e.input_name()
            .lookup(GUARDED.name, FIRST, None)
            .output_name()
            .lookup(GUARDED.name, FIRST, None)
            .discard()
    };
    rule(FORWARD, "between bridges", Box::new(between));
    rule(FORWARD, "everything else", Box::new(|e| e.go(CONTAINERS)));
    for ((ipv4, set), [to, from]) in ADDRESSES.into_iter().zip([
        ["answers to containers, IPv4", "what containers send, IPv4"],
        ["answers to containers, IPv6", "what containers send, IPv6"],
    ]) {
        let at =
            move |e: Expressions, what| e.family(ipv4).load(what, ipv4, FIRST).lookup(set.name, FIRST, None);
        let answers = move |e: Expressions| at(e, Packet::Destination).established().accept();
        rule(CONTAINERS, to, Box::new(answers));
        rule(CONTAINERS, from, Box::new(move |e| at(e, Packet::Source).accept()));
    }
    rules
}

/// The table with everything that is there for all attachments; refused with `EEXIST` if there is one.
fn structure() -> Vec<Message> {
    let hook = Hook { kind: "filter", number: HOOK_FORWARD, priority: PRIORITY_FILTER };
    let sets =
        [&ATTACHMENTS, &GUARDED, &WITHIN, &ISOLATED].into_iter().chain(ADDRESSES.iter().map(|(_, set)| set));
    let mut messages = vec![
        object::add_table(TABLE, true),
        object::add_chain(TABLE, FORWARD, Some(hook)),
        object::add_chain(TABLE, CONTAINERS, None),
    ];
    messages.extend(sets.zip(1..).map(|(set, id)| object::add_set(TABLE, set.name, set, id)));
    messages.extend(shared_rules().iter().map(|rule| rule.add(TABLE)));
    messages
}

/// Lets an attachment in. An address that another attachment had goes over to this one: the other one is gone, even if
/// its DEL is still to come.
///
/// # Errors
/// `EEXIST` if the attachment is in the table already.
pub(super) fn install(attachment: &Attachment, share: &Share) -> Result<(), NetlinkError> {
    let mut socket = Socket::netfilter()?;
    let (identity, label) = (attachment.identity(), attachment.label());
    // A transaction that fails has the process wait for the kernel.
    let mut is_missing = !object::has_table(&mut socket, TABLE)?;
    let mut taken: Vec<IpAddr> = Vec::new();
    let mut attempt = 1;
    loop {
        let mut changes = if is_missing { structure() } else { Vec::new() };
        changes.extend(LEDGER.add(attachment, &share.notes()));
        let element = |key: &[u8]| Element { key: key.to_vec(), value: Vec::new(), comment: label.clone() };
        for address in &share.addresses {
            let key = octets(*address);
            if taken.contains(address) {
                changes.push(object::delete_element(TABLE, address_set(*address), &key));
            }
            changes.push(object::add_element(TABLE, address_set(*address), &element(&key)));
        }
        if let Some(guard) = &share.guard {
            let users = guard.users();
            // No set of the structure has such a number.
            changes.push(object::add_set(TABLE, &users, &USERS, 1000));
            changes.push(object::add_element(TABLE, &users, &element(&identity)));
            changes.push(object::ensure_element(TABLE, GUARDED.name, &guard.name_bytes()));
            changes.push(object::ensure_element(TABLE, guard.policy.pairs().name, &guard.pair()));
        }
        let error = match transact(&mut socket, "let the container's traffic through", None, changes) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let is_race = [libc::EEXIST, libc::ENOENT].iter().any(|errno| error.is(*errno));
        if attempt == ATTEMPTS || !is_race || LEDGER.knows(&mut socket, identity)? {
            return Err(error);
        }
        attempt += 1;
        is_missing = !object::has_table(&mut socket, TABLE)?;
        taken.clear();
        for address in &share.addresses {
            if object::element(&mut socket, TABLE, address_set(*address), &octets(*address))?.is_some() {
                taken.push(*address);
            }
        }
    }
}

/// Removes what an attachment has, and the table with the last one.
pub(super) fn remove(identity: [u8; IDENTITY], label: &str) -> Result<(), NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(()) };
    let mut attempt = 1;
    loop {
        let notes = LEDGER.read(&mut socket, identity)?;
        let Some(share) = Share::from_notes(&notes) else { break };
        if LEDGER.remove_if_only(&mut socket, label, notes.len())? {
            return Ok(());
        }
        let mut changes = LEDGER.delete(identity, notes.len());
        for address in &share.addresses {
            let (set, key) = (address_set(*address), octets(*address));
            let found = object::element(&mut socket, TABLE, set, &key)?;
            if found.is_some_and(|found| found.comment == label) {
                changes.push(object::delete_element(TABLE, set, &key));
            }
        }
        if let Some(guard) = &share.guard
            && object::element(&mut socket, TABLE, &guard.users(), &identity)?.is_some()
        {
            changes.push(object::delete_element(TABLE, &guard.users(), &identity));
        }
        match transact(&mut socket, "forget the container's traffic", None, changes) {
            // Another DEL of the same attachment was faster.
            Err(error) if error.is(libc::ENOENT) && attempt < ATTEMPTS => attempt += 1,
            other => {
                other?;
                if let Some(guard) = &share.guard {
                    drop_unused(&mut socket, guard)?;
                }
                return LEDGER.remove_if_idle();
            }
        }
    }
    // Whoever removed it may have been killed before it was done.
    drop_all_unused(&mut socket)?;
    LEDGER.remove_if_idle()
}

/// No longer guards a bridge on which nobody is left. The transaction is refused if somebody came meanwhile.
fn drop_unused(socket: &mut Socket, guard: &Guard) -> Result<(), NetlinkError> {
    for _ in 0..ATTEMPTS {
        let generation = object::generation(socket)?;
        if object::has_elements(TABLE, &guard.users())? {
            return Ok(());
        }
        let mut changes = vec![
            object::delete_set(TABLE, &guard.users()),
            object::delete_element(TABLE, guard.policy.pairs().name, &guard.pair()),
        ];
        // Where it is there and nobody is in it, it goes next, and takes that with it.
        if !object::has_set(socket, TABLE, &guard.other().users())? {
            changes.push(object::delete_element(TABLE, GUARDED.name, &guard.name_bytes()));
        }
        match transact(socket, "no longer guard a bridge", generation, changes) {
            Err(error) if error.is(libc::ERESTART) => {}
            // Another DEL was faster.
            Err(error) if error.is(libc::ENOENT) => return Ok(()),
            other => return other,
        }
    }
    Ok(())
}

/// No longer guards any bridge on which nobody is left.
fn drop_all_unused(socket: &mut Socket) -> Result<(), NetlinkError> {
    for element in object::all_elements(socket, TABLE, GUARDED.name)? {
        for policy in Policy::ALL {
            let guard = Guard { bridge: to_text(&element.key), policy };
            if object::has_set(socket, TABLE, &guard.users())? {
                drop_unused(socket, &guard)?;
            }
        }
    }
    Ok(())
}

/// Removes what attachments have whose label is chosen, and what nobody needs.
pub(super) fn collect(chosen: impl Fn(&str) -> bool) -> Result<(), NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(()) };
    let stale = LEDGER.attachments(&mut socket, chosen)?;
    stale.iter().try_for_each(|(identity, label)| remove(*identity, label))?;
    drop_all_unused(&mut socket)?;
    LEDGER.remove_if_idle()
}

/// What an attachment lacks of what it got, in words; `None` if everything is there.
pub(super) fn missing(
    attachment: &Attachment,
    guard: Option<&Guard>,
) -> Result<Option<String>, NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(Some("the kernel has no nftables".to_owned())) };
    let notes = LEDGER.read(&mut socket, attachment.identity())?;
    let Some(share) = Share::from_notes(&notes) else {
        return Ok(Some(format!("table {TABLE} has no entry for {}", attachment.label())));
    };
    if share.guard.as_ref() != guard {
        let label = attachment.label();
        return Ok(Some(format!("table {TABLE} has another ingressPolicy or bridge for {label}")));
    }
    for address in &share.addresses {
        let set = address_set(*address);
        let found = object::element(&mut socket, TABLE, set, &octets(*address))?;
        if found.is_none_or(|found| found.comment != attachment.label()) {
            return Ok(Some(format!("{set} of table {TABLE} lacks {address}")));
        }
    }
    if let Some(guard) = &share.guard {
        let pairs = guard.policy.pairs().name;
        for (set, key) in [(GUARDED.name, guard.name_bytes().to_vec()), (pairs, guard.pair())] {
            if object::element(&mut socket, TABLE, set, &key)?.is_none() {
                return Ok(Some(format!("{set} of table {TABLE} lacks {}", guard.bridge)));
            }
        }
    }
    missing_rule(&mut socket, TABLE, &shared_rules())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_back() {
        let addresses = vec![[10, 1, 0, 2].into(), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 2])];
        let guard = |policy| Some(Guard { bridge: "a-bridge-name15".into(), policy });
        for guard in [None, guard(Policy::SameBridge), guard(Policy::Isolated)] {
            let share = Share { guard, addresses: addresses.clone() };
            assert!(share.notes().iter().all(|note| note.len() == 36));
            assert_eq!(Share::from_notes(&share.notes()), Some(share));
        }
        assert_eq!(Share::from_notes(&[]), None);
    }

    #[test]
    fn shared_rules_are_told_apart_by_their_comments() {
        crate::nft::ledger::expect_distinct(&shared_rules());
    }

    #[test]
    fn policies_of_a_bridge_are_counted_apart() {
        let guard = Guard { bridge: "br0".into(), policy: Policy::Isolated };
        assert_ne!(guard.users(), guard.other().users());
        assert_eq!(guard.other().other(), guard);
    }
}
