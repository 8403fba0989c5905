//! `macspoofchk`: what a container sends has the hardware address that its interface was made with, in nftables: one table
//! of the family `bridge`, which exists only as long as an attachment is in it.
//!
//! Ports and addresses are elements of sets, so that neither ADD and DEL nor a frame take longer the more there are. The
//! map `attachments` notes what each attachment has.

use crate::attachment::{Attachment, IDENTITY};
use crate::netlink::link::Mac;
use crate::netlink::message::{Message, to_text};
use crate::netlink::{NetlinkError, Socket};
use crate::nft::expression::{Expressions, FIRST, Packet};
use crate::nft::ledger::{ATTEMPTS, Ledger, SharedRule, missing_rule, socket_if_any};
use crate::nft::object::{
    self, Element, Field, HOOK_INPUT, HOOK_PREROUTING, Hook, PRIORITY_BRIDGE_FIRST, Set, Table, transact,
};
use crate::refusal::{KERNEL, Refusal};

use Field::{InterfaceName, Ipv6, Mark};

const TABLE: Table = Table::bridge("cni_reference_spoofing");

/// Frames that are passed on or taken in come by here.
const PREROUTING: &str = "prerouting";
/// Frames to the addresses that bridges keep for themselves only come by here; a bridge learns from them too. Those of LLDP
/// come by nowhere.
const INPUT: &str = "input";
const PORTS: &str = "ports";

/// The bytes of an interface's name.
const NAME: usize = 16;

const ATTACHMENTS: Set = Set { name: "attachments", key: &[Ipv6, Mark], value: &[InterfaceName, Field::Mac] };
/// The ports that may not send what they like.
const GUARDED: Set = Set { name: "guarded", key: &[InterfaceName], value: &[] };
/// What they may send.
const ALLOWED: Set = Set { name: "allowed", key: &[InterfaceName, Field::Mac], value: &[] };

const LEDGER: Ledger = Ledger { table: TABLE, map: ATTACHMENTS.name };

/// A port with the hardware address behind it, in the form of an element: name and address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Port([u8; NAME + 8]);

impl Port {
    fn new(name: &str, mac: Mac) -> Port {
        let mut bytes = [0; NAME + 8];
        let length = name.len().min(NAME - 1);
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        bytes[NAME..NAME + mac.0.len()].copy_from_slice(&mac.0);
        Port(bytes)
    }

    fn from_note(note: &[u8]) -> Option<Port> {
        note.try_into().ok().map(Port)
    }

    /// The elements of the sets that are for it.
    fn keys(&self) -> [(&'static str, &[u8]); 2] {
        [(GUARDED.name, &self.0[..NAME]), (ALLOWED.name, &self.0)]
    }

    fn name(&self) -> String {
        to_text(&self.0[..NAME])
    }
}

fn shared_rules() -> Vec<SharedRule> {
    let rule = |chain: &'static str, comment: &'static str, write: fn(Expressions) -> Expressions| {
        SharedRule { chain: chain.into(), comment: comment.into(), write: Box::new(write) }
    };
    vec![
        rule(PREROUTING, "what passes a bridge", |e| e.jump(PORTS)),
        rule(INPUT, "what is for a bridge", |e| e.jump(PORTS)),
        rule(PORTS, "with the own hardware address", |e| {
            e.input_name()
                .load(Packet::HardwareSource, true, FIRST.after(16))
                .lookup(ALLOWED.name, FIRST, None)
                .accept()
        }),
        rule(PORTS, "with another", |e| e.input_name().lookup(GUARDED.name, FIRST, None).discard()),
    ]
}

/// The table with everything that is there for all attachments; refused with `EEXIST` if there is one.
fn structure() -> Vec<Message> {
    let hook = |number| Some(Hook { kind: "filter", number, priority: PRIORITY_BRIDGE_FIRST });
    let mut messages = vec![
        object::add_table(TABLE, true),
        object::add_chain(TABLE, PREROUTING, hook(HOOK_PREROUTING)),
        object::add_chain(TABLE, INPUT, hook(HOOK_INPUT)),
        object::add_chain(TABLE, PORTS, None),
    ];
    let sets = [&ATTACHMENTS, &GUARDED, &ALLOWED];
    messages.extend(sets.into_iter().zip(1..).map(|(set, id)| object::add_set(TABLE, set.name, set, id)));
    messages.extend(shared_rules().iter().map(|rule| rule.add(TABLE)));
    messages
}

/// The error that nothing can be guarded here.
fn refused(error: &NetlinkError) -> Refusal {
    let lacks_family = [libc::EOPNOTSUPP, libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT, libc::ENOENT]
        .iter()
        .any(|errno| error.is(*errno));
    let problem = match lacks_family {
        true => format!(
            "macspoofchk: this kernel has no nftables for bridges (CONFIG_NF_TABLES_BRIDGE): remove the key; {error}"
        ),
        false => format!("macspoofchk: {error}"),
    };
    Refusal::new(KERNEL, problem)
}

/// Lets a port send with one hardware address only. What is left of an earlier port of the attachment goes.
pub(super) fn guard(attachment: &Attachment, port: &str, mac: Mac) -> Result<(), Refusal> {
    let mut socket = Socket::netfilter().map_err(|error| refused(&error))?;
    let identity = attachment.identity();
    let port = Port::new(port, mac);
    let element = |key: &[u8]| Element { key: key.to_vec(), value: Vec::new(), comment: attachment.label() };
    // A transaction that fails has the process wait for the kernel.
    let mut is_missing = !object::has_table(&mut socket, TABLE)?;
    let mut stale = Vec::new();
    for _ in 0..ATTEMPTS {
        let mut changes = if is_missing { structure() } else { stale };
        changes.extend(LEDGER.add(attachment, &[port.0.to_vec()]));
        let elements = port.keys();
        changes.extend(elements.iter().map(|(set, key)| object::add_element(TABLE, set, &element(key))));
        match transact(&mut socket, "guard the container's port", None, changes) {
            Ok(()) => return Ok(()),
            Err(error) if [libc::EEXIST, libc::EBUSY].iter().any(|errno| error.is(*errno)) => {}
            Err(error) if error.is(libc::ENOENT) && !is_missing => {}
            Err(error) => return Err(refused(&error)),
        }
        is_missing = !object::has_table(&mut socket, TABLE)?;
        stale = deletions(&mut socket, identity, Some(&port))?;
    }
    let problem = "macspoofchk: others change the same in nftables all the time: try again";
    Err(Refusal::new(KERNEL, problem))
}

/// What removes all that an attachment has, and what its port has without a note.
fn deletions(
    socket: &mut Socket,
    identity: [u8; IDENTITY],
    port: Option<&Port>,
) -> Result<Vec<Message>, NetlinkError> {
    let notes = LEDGER.read(socket, identity)?;
    let mut changes = LEDGER.delete(identity, notes.len());
    let noted: Vec<Port> = notes.iter().filter_map(|note| Port::from_note(note)).collect();
    let further = port.filter(|port| !noted.contains(port));
    let mut seen: Vec<(&str, &[u8])> = Vec::new();
    for (set, key) in noted.iter().chain(further).flat_map(Port::keys) {
        if !seen.contains(&(set, key)) && object::element(socket, TABLE, set, key)?.is_some() {
            changes.push(object::delete_element(TABLE, set, key));
        }
        seen.push((set, key));
    }
    Ok(changes)
}

/// No longer guards the port of an attachment; the table goes with the last one.
pub(super) fn release(identity: [u8; IDENTITY], label: &str) -> Result<(), NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(()) };
    if !object::has_table(&mut socket, TABLE)? {
        return Ok(());
    }
    if LEDGER.knows(&mut socket, identity)? && LEDGER.remove_if_only(&mut socket, label, 1)? {
        return Ok(());
    }
    for attempt in 1.. {
        let changes = deletions(&mut socket, identity, None)?;
        if changes.is_empty() {
            break;
        }
        match transact(&mut socket, "no longer guard the container's port", None, changes) {
            // Another DEL of the same attachment was faster.
            Err(error) if error.is(libc::ENOENT) && attempt < ATTEMPTS => {}
            other => {
                other?;
                break;
            }
        }
    }
    LEDGER.remove_if_idle()
}

/// No longer guards the ports of attachments whose label is chosen.
pub(super) fn collect(chosen: impl Fn(&str) -> bool) -> Result<(), NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(()) };
    let stale = LEDGER.attachments(&mut socket, chosen)?;
    stale.iter().try_for_each(|(identity, label)| release(*identity, label))?;
    LEDGER.remove_if_idle()
}

/// What an attachment lacks of its guard, in words; `None` if everything is there.
pub(super) fn missing(attachment: &Attachment, port: &str) -> Result<Option<String>, NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(Some("the kernel has no nftables".to_owned())) };
    let notes = LEDGER.read(&mut socket, attachment.identity())?;
    let Some(noted) = notes.first().and_then(|note| Port::from_note(note)) else {
        return Ok(Some(format!("table {TABLE} has no entry for {}", attachment.label())));
    };
    if noted.name() != port {
        return Ok(Some(format!("table {TABLE} guards another port than {port}")));
    }
    for (set, key) in noted.keys() {
        if object::element(&mut socket, TABLE, set, key)?.is_none() {
            return Ok(Some(format!("{set} of table {TABLE} lacks {port}")));
        }
    }
    missing_rule(&mut socket, TABLE, &shared_rules())
}

/// Whether the kernel can guard ports; nothing changes.
pub(super) fn rehearse() -> Result<(), Refusal> {
    let rehearsed = Socket::netfilter()
        .and_then(|mut socket| object::rehearse(&mut socket, "try to guard a port", structure()));
    match rehearsed {
        // The table is there, so it can be made.
        Err(error) if error.is(libc::EEXIST) => Ok(()),
        other => other.map_err(|error| refused(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_back() {
        let port = Port::new("v12345678901234", Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(Port::from_note(&port.0), Some(port.clone()));
        assert_eq!(port.name(), "v12345678901234");
        assert_eq!(Port::from_note(&[]), None);
        let [(_, name), (_, both)] = port.keys();
        assert_eq!((name.len(), both.len()), (16, ALLOWED.key_length()));
        assert_eq!(both[16..], [2, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn shared_rules_are_told_apart_by_their_comments() {
        crate::nft::ledger::expect_distinct(&shared_rules());
    }

    #[test]
    fn a_kernel_without_bridges_in_nftables_is_named() {
        let error = |errno| NetlinkError {
            what: "guard".into(),
            source: std::io::Error::from_raw_os_error(errno),
            explanation: String::new(),
        };
        for errno in [libc::EOPNOTSUPP, libc::ENOENT, libc::EPROTONOSUPPORT] {
            let refusal = refused(&error(errno));
            assert!(refusal.msg.starts_with("macspoofchk: this kernel has no nftables"), "{refusal}");
        }
        assert!(!refused(&error(libc::EPERM)).msg.contains("CONFIG"));
    }
}
