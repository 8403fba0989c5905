//! The claims in nftables: one table, which exists only as long as somebody claims a port.
//!
//! Ports are keys of maps, so that neither ADD and DEL nor a packet take longer the more there are. A port that
//! another attachment has already is a rule in the chain `waiting` instead, behind the maps: it takes over when the
//! other goes. The map `attachments` notes what each attachment has, by its identity and a running number, so that
//! DEL needs nothing else. Every element and rule carries the attachment's label as its comment.
//!
//! Claims with conditions are in the maps of a gate instead, see [`gate`].

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU32;

use super::claim::{Claim, port_bytes};
use super::conditions::Conditions;
use super::gate::{self, Gate};
use super::ports::{PORTS, Ports, length};
use crate::attachment::{Attachment, IDENTITY};
use crate::netlink::message::{Message, octets, u32_at};
use crate::netlink::{NetlinkError, Socket};
use crate::nft::expression::{Expressions, FIRST, Operator, Packet};
use crate::nft::ledger::{ATTEMPTS, Ledger, SharedRule, missing_rule, socket_if_any};
use crate::nft::object::{
    self, Element, Field, HOOK_OUTPUT, HOOK_POSTROUTING, HOOK_PREROUTING, Hook, PRIORITY_DESTINATION_NAT,
    PRIORITY_RAW, PRIORITY_SOURCE_NAT, Set, Table, transact,
};
use crate::refusal::Refusal;

/// The table.
pub(super) const TABLE: Table = Table::inet("cni_reference_portmap");

const PREROUTING: &str = "prerouting";
const OUTPUT: &str = "output";
const POSTROUTING: &str = "postrouting";
const MARTIANS: &str = "martians";
/// The chain of the forwarded ports.
pub(super) const MAPPINGS: &str = "mappings";
const MASQUERADING: &str = "masquerading";
/// The chain of the claims to ports that others have.
const WAITING: &str = "waiting";
/// The chain of what these masquerade.
const WAITING_MASQUERADING: &str = "waiting_masquerading";

use Field::{Interface, Ipv4, Ipv6, Mark, Port, Protocol};

/// What each attachment has: its identity and a number, and a note. The `nft` program knows at most five fields.
const ATTACHMENTS: Set =
    Set { name: "attachments", key: &[Ipv6, Mark], value: &[Ipv6, Ipv6, Mark, Mark, Interface] };

/// The notes of the attachments.
pub(super) const LEDGER: Ledger = Ledger { table: TABLE, map: ATTACHMENTS.name };

/// The interfaces that packets from 127.0.0.1 are let out by because somebody claims a port of localhost.
const OPENED: Set = Set { name: "opened", key: &[Interface], value: &[] };

/// The attachments that need an interface to be opened; there is one such set for each that is.
const USERS: Set = Set { name: "users_of_", key: &[Ipv6], value: &[] };

/// The name of the set of those who need an interface.
fn users_of(interface: NonZeroU32) -> String {
    format!("{}{interface}", USERS.name)
}

/// What is masqueraded on the way to the containers of a family, if its connection was redirected.
struct Masqueraded {
    ipv4: bool,
    /// From a source to a container's address and port.
    sources: Set,
    /// From anywhere to a container's address and port.
    all: Set,
}

const MASQUERADED: [Masqueraded; 2] = [
    Masqueraded {
        ipv4: true,
        sources: Set { name: "sources_v4", key: &[Ipv4, Ipv4, Protocol, Port], value: &[] },
        all: Set { name: "all_v4", key: &[Ipv4, Protocol, Port], value: &[] },
    },
    Masqueraded {
        ipv4: false,
        sources: Set { name: "sources_v6", key: &[Ipv6, Ipv6, Protocol, Port], value: &[] },
        all: Set { name: "all_v6", key: &[Ipv6, Protocol, Port], value: &[] },
    },
];

/// The rules that are there for all claims, in their order.
fn shared_rules() -> Vec<SharedRule> {
    let mut rules: Vec<SharedRule> = Vec::new();
    let mut rule =
        |chain: &'static str, comment: &'static str, write: Box<dyn Fn(Expressions) -> Expressions>| {
            rules.push(SharedRule { chain: chain.into(), comment: comment.into(), write });
        };
    for chain in [PREROUTING, OUTPUT] {
        // Only what is for this host: traffic that it forwards has nothing to do with its ports.
        rule(chain, "packets for this host", Box::new(|e| e.for_this_host().jump(MAPPINGS)));
    }
    rule(POSTROUTING, "redirected connections", Box::new(|e| e.redirected().jump(MASQUERADING)));
    // Answers to 127.0.0.1 have another destination this early; nobody else has a reason to send there.
    let loopback = ipnet::IpNet::new([127, 0, 0, 0].into(), 8).expect("the length fits");
    let martians = move |e: Expressions| {
        e.input(FIRST)
            .lookup(OPENED.name, FIRST, None)
            .family(true)
            .subnet(Packet::Destination, Operator::Equal, loopback)
            .discard()
    };
    rule(MARTIANS, "what route_localnet would let in", Box::new(martians));
    for ports in PORTS {
        rule(MAPPINGS, ports.map.name, Box::new(move |e| ports.forward(e, ports.map.name)));
    }
    for Masqueraded { ipv4, sources, all } in &MASQUERADED {
        for (set, with_source) in [(sources, true), (all, false)] {
            let masquerading = move |e: Expressions| {
                let mut e = e.family(*ipv4);
                let mut to = FIRST;
                if with_source {
                    e = e.load(Packet::Source, *ipv4, to);
                    to = to.after(length(*ipv4));
                }
                e = e.load(Packet::Destination, *ipv4, to);
                to = to.after(length(*ipv4));
                e.protocol(to)
                    .load(Packet::DestinationPort, *ipv4, to.after(4))
                    .lookup(set.name, FIRST, None)
                    .masquerade()
            };
            rule(MASQUERADING, set.name, Box::new(masquerading));
        }
    }
    rule(MAPPINGS, "ports that others have", Box::new(|e| e.jump(WAITING)));
    rule(MASQUERADING, "ports that others have", Box::new(|e| e.jump(WAITING_MASQUERADING)));
    rules
}

/// The table with everything that is there for all claims; refused with `EEXIST` if there is one.
fn structure() -> Vec<Message> {
    let nat = |number, priority| Some(Hook { kind: "nat", number, priority });
    let chains = [
        (PREROUTING, nat(HOOK_PREROUTING, PRIORITY_DESTINATION_NAT)),
        (OUTPUT, nat(HOOK_OUTPUT, PRIORITY_DESTINATION_NAT)),
        (POSTROUTING, nat(HOOK_POSTROUTING, PRIORITY_SOURCE_NAT)),
        (MARTIANS, Some(Hook { kind: "filter", number: HOOK_PREROUTING, priority: PRIORITY_RAW })),
        (MAPPINGS, None),
        (MASQUERADING, None),
        (WAITING, None),
        (WAITING_MASQUERADING, None),
    ];
    let ports = PORTS.iter().map(|ports| &ports.map);
    let masqueraded = MASQUERADED.iter().flat_map(|one| [&one.sources, &one.all]);
    let sets = [&ATTACHMENTS, &OPENED].into_iter().chain(ports).chain(masqueraded);
    let mut messages = vec![object::add_table(TABLE, true)];
    messages.extend(chains.map(|(name, hook)| object::add_chain(TABLE, name, hook)));
    messages.extend(sets.zip(1..).map(|(set, id)| object::add_set(TABLE, set.name, set, id)));
    messages.extend(shared_rules().iter().map(|rule| rule.add(TABLE)));
    messages
}

/// An element and the set that it is in.
type Placed = (Cow<'static, str>, Element);

impl Claim {
    /// The element that forwards the port, unless the claim waits.
    fn port(&self, label: &str) -> Placed {
        let address = self.host_ip.map(octets).unwrap_or_default();
        let key = [&address[..], &self.protocol.bytes(), &port_bytes(self.host_port)].concat();
        let value = [&octets(self.container)[..], &port_bytes(self.container_port)].concat();
        let addressed = self.host_ip.is_some();
        let map = match self.gate {
            Some(gate) => gate.map(addressed).into(),
            None => Ports::of(self.ipv4(), addressed).map.name.into(),
        };
        (map, Element { key, value, comment: label.to_owned() })
    }

    /// The sources that are masqueraded on their way to the container.
    fn sources(&self) -> Vec<IpAddr> {
        let localhost = self.masquerading.localhost.then_some([127, 0, 0, 1].into());
        self.masquerading.hairpin.then_some(self.container).into_iter().chain(localhost).collect()
    }

    /// The elements that masquerade, unless the masquerading waits.
    fn masqueraded(&self, label: &str) -> Vec<Placed> {
        let one =
            MASQUERADED.iter().find(|one| one.ipv4 == self.ipv4()).expect("there is one for each family");
        let container = octets(self.container);
        let key = [&container[..], &self.protocol.bytes(), &port_bytes(self.container_port)].concat();
        let element = |key| Element { key, value: Vec::new(), comment: label.to_owned() };
        let of_source = |source| (one.sources.name.into(), element([&octets(source)[..], &key].concat()));
        let mut elements: Vec<Placed> = self.sources().into_iter().map(of_source).collect();
        if self.masquerading.all {
            elements.push((one.all.name.into(), element(key)));
        }
        elements
    }

    /// The chain that the claim waits in.
    fn waiting_chain(&self) -> Cow<'static, str> {
        self.gate.map_or(WAITING.into(), |gate| gate.chain().into())
    }

    /// The rule that forwards the port if the claim waits.
    fn port_rule(&self, label: &str) -> Message {
        object::add_rule(TABLE, &self.waiting_chain(), label, |m| {
            let mut e = self.begin_rule(m);
            if let Some(address) = self.host_ip {
                e = e.subnet(Packet::Destination, Operator::Equal, address.into());
            }
            let port = FIRST.after(16);
            e.load(Packet::DestinationPort, self.ipv4(), FIRST)
                .compare(FIRST, Operator::Equal, &self.host_port.to_be_bytes())
                .value(FIRST, &octets(self.container))
                .value(port, &self.container_port.to_be_bytes())
                .redirect(self.ipv4(), FIRST, port)
                .0
        })
    }

    /// The rules that masquerade if the masquerading waits.
    fn masquerading_rules(&self, label: &str) -> Vec<Message> {
        let rule = |source: Option<IpAddr>| {
            object::add_rule(TABLE, WAITING_MASQUERADING, label, |m| {
                let mut e = self.begin_rule(m);
                if let Some(address) = source {
                    e = e.subnet(Packet::Source, Operator::Equal, address.into());
                }
                e.subnet(Packet::Destination, Operator::Equal, self.container.into())
                    .load(Packet::DestinationPort, self.ipv4(), FIRST)
                    .compare(FIRST, Operator::Equal, &self.container_port.to_be_bytes())
                    .masquerade()
                    .0
            })
        };
        let all = self.masquerading.all.then_some(None);
        self.sources().into_iter().map(Some).chain(all).map(rule).collect()
    }

    fn begin_rule(&self, message: Message) -> Expressions {
        let protocol = [self.protocol as u8];
        Expressions(message).family(self.ipv4()).protocol(FIRST).compare(FIRST, Operator::Equal, &protocol)
    }
}

/// The elements of claims, as far as these do not wait: several may need the same.
fn elements(claims: &[Claim], label: &str) -> Vec<Placed> {
    let mut all: Vec<Placed> = Vec::new();
    for claim in claims {
        let port = (!claim.waiting).then(|| claim.port(label));
        let masqueraded = if claim.masquerading.waiting { Vec::new() } else { claim.masqueraded(label) };
        for placed in port.into_iter().chain(masqueraded) {
            if !all.contains(&placed) {
                all.push(placed);
            }
        }
    }
    all
}

/// The rules of claims, as far as these wait, each with its chain.
fn rules(claims: &[Claim], label: &str) -> Vec<(Cow<'static, str>, Message)> {
    let waiting = claims.iter().filter(|claim| claim.waiting);
    let ports = waiting.map(|claim| (claim.waiting_chain(), claim.port_rule(label)));
    let masquerading = claims.iter().filter(|claim| claim.masquerading.waiting);
    let masquerading = masquerading
        .flat_map(|claim| claim.masquerading_rules(label))
        .map(|rule| (WAITING_MASQUERADING.into(), rule));
    ports.chain(masquerading).collect()
}

/// The chains that claims have rules in, each with how many these are.
fn chains(claims: &[Claim], label: &str) -> HashMap<Cow<'static, str>, usize> {
    let mut counts = HashMap::new();
    for (chain, _) in rules(claims, label) {
        *counts.entry(chain).or_default() += 1;
    }
    counts
}

/// The gates that claims are in.
pub(super) fn gates(claims: &[Claim]) -> HashSet<Gate> {
    claims.iter().filter_map(|claim| claim.gate).collect()
}

/// The interfaces that claims need to be opened.
pub(super) fn interfaces(claims: &[Claim]) -> HashSet<NonZeroU32> {
    claims.iter().filter_map(|claim| claim.interface).collect()
}

/// The first numbers of sets in a transaction that are of no set of the structure.
const GATE_NUMBERS: u32 = 500;
const USER_NUMBERS: u32 = 1000;

/// Notes that an attachment needs interfaces.
fn uses(attachment: &Attachment, claims: &[Claim]) -> Vec<Message> {
    let numbers = USER_NUMBERS..;
    let use_of = |(interface, id): (NonZeroU32, u32)| {
        let name = users_of(interface);
        let key = attachment.identity().to_vec();
        let element = Element { key, value: Vec::new(), comment: attachment.label() };
        [
            object::add_set(TABLE, &name, &USERS, id),
            object::add_element(TABLE, &name, &element),
            object::ensure_element(TABLE, OPENED.name, &interface.get().to_ne_bytes()),
        ]
    };
    interfaces(claims).into_iter().zip(numbers).flat_map(use_of).collect()
}

/// Why claims cannot be installed.
#[derive(Debug)]
pub(super) enum InstallError {
    /// The attachment has claims already.
    Exists,
    Netlink(NetlinkError),
}

impl From<NetlinkError> for InstallError {
    fn from(error: NetlinkError) -> InstallError {
        InstallError::Netlink(error)
    }
}

/// Installs the claims of an attachment, all or none; some may have to wait. Answers them as they are installed.
pub(super) fn install(
    attachment: &Attachment,
    mut claims: Vec<Claim>,
    conditions: &[Conditions],
) -> Result<Vec<Claim>, InstallError> {
    let mut socket = Socket::netfilter()?;
    let label = attachment.label();
    // A transaction that fails has the process wait for the kernel.
    let mut is_missing = !object::has_table(&mut socket, TABLE)?;
    let used = gates(&claims);
    let mut without_gate: Vec<&Conditions> =
        conditions.iter().filter(|one| is_missing && used.contains(&Gate::of(one))).collect();
    let mut attempt = 1;
    loop {
        let mut changes = if is_missing { structure() } else { Vec::new() };
        changes.extend(gate::add(&mut socket, &without_gate, GATE_NUMBERS)?);
        changes.extend(LEDGER.add(attachment, &Claim::notes(&claims)));
        changes.extend(uses(attachment, &claims));
        changes.extend(
            elements(&claims, &label).iter().map(|(set, element)| object::add_element(TABLE, set, element)),
        );
        changes.extend(rules(&claims, &label).into_iter().map(|(_, rule)| rule));
        let error = match transact(&mut socket, "forward ports", None, changes) {
            Ok(()) => return Ok(claims),
            Err(error) => error,
        };
        let taken = [libc::EEXIST, libc::EBUSY].iter().any(|errno| error.is(*errno));
        if attempt == ATTEMPTS || !(taken || error.is(libc::ENOENT)) {
            return Err(error.into());
        }
        attempt += 1;
        is_missing = !object::has_table(&mut socket, TABLE)?;
        without_gate.clear();
        for conditions in conditions.iter().filter(|one| gates(&claims).contains(&Gate::of(one))) {
            if !gate::is_there(&mut socket, conditions)? {
                without_gate.push(conditions);
            }
        }
        if LEDGER.knows(&mut socket, attachment.identity())? {
            return Err(InstallError::Exists);
        }
        let mut is_taken = |(set, element): Placed| {
            Ok::<_, NetlinkError>(object::element(&mut socket, TABLE, &set, &element.key)?.is_some())
        };
        for claim in &mut claims {
            claim.waiting = is_taken(claim.port(&label))?;
            let mut taken = false;
            for placed in claim.masqueraded(&label) {
                taken |= is_taken(placed)?;
            }
            claim.masquerading.waiting = taken;
        }
    }
}

/// Removes what an attachment has, if anything. Answers what was removed.
pub(super) fn remove(attachment: &Attachment) -> Result<Vec<Claim>, NetlinkError> {
    match socket_if_any()? {
        Some(mut socket) => remove_claims(&mut socket, attachment.identity(), &attachment.label()),
        None => Ok(Vec::new()),
    }
}

/// Whether an interface is open because somebody claims a port of localhost.
pub(super) fn is_opened(interface: NonZeroU32) -> Result<bool, NetlinkError> {
    match socket_if_any()? {
        Some(mut socket) => {
            let key = interface.get().to_ne_bytes();
            Ok(object::element(&mut socket, TABLE, OPENED.name, &key)?.is_some())
        }
        None => Ok(false),
    }
}

/// The interfaces that are open.
pub(super) fn opened() -> Result<Vec<NonZeroU32>, NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(Vec::new()) };
    let all = object::all_elements(&mut socket, TABLE, OPENED.name)?;
    Ok(all.iter().filter_map(|element| NonZeroU32::new(u32_at(&element.key, 0)?)).collect())
}

/// Whether somebody needs an interface to be open.
pub(super) fn is_used(interface: NonZeroU32) -> Result<bool, NetlinkError> {
    object::has_elements(TABLE, &users_of(interface))
}

/// Forgets an interface if nobody needs it; `shut` is called right before. Answers whether somebody needs it.
pub(super) fn forget_unused(
    interface: NonZeroU32,
    mut shut: impl FnMut() -> Result<(), Refusal>,
) -> Result<bool, Refusal> {
    let mut attempt = 1;
    loop {
        let mut socket = Socket::netfilter()?;
        let generation = object::generation(&mut socket)?;
        if is_used(interface)? {
            return Ok(true);
        }
        shut()?;
        if !object::has_table(&mut socket, TABLE)? {
            // Whoever came meanwhile noted that before it opened the interface.
            return Ok(is_used(interface)?);
        }
        let key = interface.get().to_ne_bytes();
        let changes = vec![
            object::delete_element(TABLE, OPENED.name, &key),
            object::delete_set(TABLE, &users_of(interface)),
        ];
        match transact(&mut socket, "forget an interface", generation, changes) {
            Err(error) if error.is(libc::ERESTART) && attempt < ATTEMPTS => attempt += 1,
            Err(error) if error.is(libc::ENOENT) => return Ok(false),
            other => return other.map(|()| false).map_err(Refusal::from),
        }
    }
}

fn remove_claims(
    socket: &mut Socket,
    identity: [u8; IDENTITY],
    label: &str,
) -> Result<Vec<Claim>, NetlinkError> {
    let mut attempt = 1;
    loop {
        let notes = LEDGER.read(socket, identity)?;
        if notes.is_empty() {
            return Ok(Vec::new());
        }
        let claims = Claim::from_notes(&notes);
        if LEDGER.remove_if_only(socket, label, notes.len())? {
            return Ok(claims);
        }
        let mut changes = LEDGER.delete(identity, notes.len());
        for (set, element) in elements(&claims, label) {
            // Whoever emptied the set may have let somebody else in.
            let found = object::element(socket, TABLE, &set, &element.key)?;
            if found.is_some_and(|found| found.comment == label) {
                changes.push(object::delete_element(TABLE, &set, &element.key));
            }
        }
        for interface in interfaces(&claims) {
            let users = users_of(interface);
            if object::element(socket, TABLE, &users, &identity)?.is_some() {
                changes.push(object::delete_element(TABLE, &users, &identity));
            }
        }
        for chain in chains(&claims, label).keys() {
            let own = object::rules(socket, TABLE, chain)?.into_iter().filter(|rule| rule.comment == label);
            changes.extend(own.map(|rule| object::delete_rule(TABLE, chain, rule.handle)));
        }
        match transact(socket, "stop forwarding ports", None, changes) {
            // Another DEL of the same attachment was faster.
            Err(error) if error.is(libc::ENOENT) && attempt < ATTEMPTS => attempt += 1,
            other => return other.map(|()| claims),
        }
    }
}

/// Removes what attachments have whose label is chosen. Answers what was removed.
pub(super) fn collect(chosen: impl Fn(&str) -> bool) -> Result<Vec<Claim>, NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(Vec::new()) };
    let mut removed = Vec::new();
    for (identity, label) in LEDGER.attachments(&mut socket, chosen)? {
        removed.extend(remove_claims(&mut socket, identity, &label)?);
    }
    Ok(removed)
}

/// What of an attachment's claims is missing, in words; `None` if everything is there.
pub(super) fn missing(
    attachment: &Attachment,
    claims: &[Claim],
    conditions: &[Conditions],
) -> Result<Option<String>, NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(Some("the kernel has no nftables".to_owned())) };
    let label = attachment.label();
    let noted = Claim::from_notes(&LEDGER.read(&mut socket, attachment.identity())?);
    // A later plugin may have added the first address of the other family.
    let is_expected = |claim: &&Claim| noted.is_empty() || noted.iter().any(|one| one.ipv4() == claim.ipv4());
    let is_noted = |claim: &Claim| noted.iter().any(|noted| noted.alone() == *claim);
    if let Some(claim) = claims.iter().filter(is_expected).find(|claim| !is_noted(claim)) {
        let is_other = noted.iter().any(|noted| Claim { gate: claim.gate, ..noted.alone() } == *claim);
        let problem = if is_other { ", but under other conditions" } else { "" };
        let has = if is_other { "a" } else { "no" };
        return Ok(Some(format!("table {TABLE} has {has} mapping of {claim}{problem}")));
    }
    for (set, element) in elements(&noted, &label) {
        if object::element(&mut socket, TABLE, &set, &element.key)?.as_ref() != Some(&element) {
            return Ok(Some(format!("{set} of table {TABLE} lacks an element of {label}")));
        }
    }
    for (chain, expected) in chains(&noted, &label) {
        let found = object::rules(&mut socket, TABLE, &chain)?;
        if found.iter().filter(|rule| rule.comment == label).count() < expected {
            return Ok(Some(format!("the chain {chain} of table {TABLE} lacks a rule of {label}")));
        }
    }
    for conditions in conditions.iter().filter(|one| gates(&noted).contains(&Gate::of(one))) {
        if let Some(problem) = gate::missing(&mut socket, conditions)? {
            return Ok(Some(problem));
        }
    }
    missing_rule(&mut socket, TABLE, &shared_rules())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_rules_are_told_apart_by_their_comments() {
        crate::nft::ledger::expect_distinct(&shared_rules());
    }

    #[test]
    fn elements_that_several_claims_need_are_there_once() {
        let claim = Claim {
            host_ip: None,
            host_port: 8080,
            protocol: super::super::claim::Protocol::Tcp,
            container: [10, 1, 0, 2].into(),
            container_port: 80,
            masquerading: super::super::claim::Masquerading {
                hairpin: true,
                localhost: true,
                ..Default::default()
            },
            gate: None,
            waiting: false,
            interface: None,
        };
        let second = Claim { host_port: 8081, ..claim };
        let sets =
            |claims: &[Claim]| elements(claims, "l").into_iter().map(|(set, _)| set).collect::<Vec<_>>();
        assert_eq!(sets(&[claim, second]), ["ports_v4", "sources_v4", "sources_v4", "ports_v4"]);
        let waiting = Claim { waiting: true, ..claim };
        assert_eq!(sets(&[waiting]), ["sources_v4", "sources_v4"]);
        assert_eq!(chains(&[waiting], "l"), HashMap::from([(WAITING.into(), 1)]));
        // The keys have the lengths that the sets have.
        for (set, element) in elements(&[claim], "l") {
            let ports = PORTS.iter().map(|ports| ports.map);
            let others = MASQUERADED.iter().flat_map(|one| [one.sources, one.all]);
            let set = ports.chain(others).find(|one| one.name == set).expect("one of the structure");
            assert_eq!(element.key.len(), set.key_length());
        }
    }
}
