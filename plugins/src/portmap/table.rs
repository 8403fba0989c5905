//! The claims in nftables: one table, which exists only as long as somebody claims a port.
//!
//! Ports are keys of maps, so that neither ADD and DEL nor a packet take longer the more there are. A port that
//! another attachment has already is a rule in the chain `waiting` instead, behind the maps: it takes over when the
//! other goes. The map `attachments` notes what each attachment has, by its identity and a running number, so that
//! DEL needs nothing else. Every element and rule carries the attachment's label as its comment.

use std::collections::HashSet;
use std::net::IpAddr;

use super::claim::{Claim, port_bytes};
use crate::attachment::{Attachment, IDENTITY};
use crate::netlink::message::{Message, octets, u32_at};
use crate::netlink::{NetlinkError, Socket};
use crate::nft::expression::{Expressions, FIRST, Operator, Packet};
use crate::nft::object::{
    self, Element, Field, HOOK_OUTPUT, HOOK_POSTROUTING, HOOK_PREROUTING, Hook, PRIORITY_DESTINATION_NAT,
    PRIORITY_RAW, PRIORITY_SOURCE_NAT, Set, is_absent, transact,
};

/// The table's name, of family `inet`.
pub(super) const TABLE: &str = "cni_reference_portmap";

const PREROUTING: &str = "prerouting";
const OUTPUT: &str = "output";
const POSTROUTING: &str = "postrouting";
const MARTIANS: &str = "martians";
const MAPPINGS: &str = "mappings";
const MASQUERADING: &str = "masquerading";
/// The chain of the claims to ports that others have.
const WAITING: &str = "waiting";
/// The chain of what these masquerade.
const WAITING_MASQUERADING: &str = "waiting_masquerading";

/// How often a change is begun anew because others changed the same at the same time.
const ATTEMPTS: usize = 1000;

use Field::{Interface, Ipv4, Ipv6, Mark, Port, Protocol};

/// What each attachment has: its identity and a number, and a note. The `nft` program knows at most five fields.
const ATTACHMENTS: Set =
    Set { name: "attachments", key: &[Ipv6, Mark], value: &[Ipv6, Ipv6, Port, Port, Mark] };

/// The interfaces that packets from 127.0.0.1 were let out by, which is undone when the table goes.
const OPENED: Set = Set { name: "opened", key: &[Interface], value: &[] };

/// The map of the claims of a family, with a host's address or without.
struct Ports {
    ipv4: bool,
    /// With a host's address; those without stand behind.
    addressed: bool,
    /// From a port of the host to the container's address and port.
    map: Set,
}

const PORTS: [Ports; 4] = [
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

/// A rule that is there for all claims.
struct SharedRule {
    chain: &'static str,
    comment: &'static str,
    write: Box<dyn Fn(Expressions) -> Expressions>,
}

/// The rules that are there for all claims, in their order.
fn shared_rules() -> Vec<SharedRule> {
    let mut rules: Vec<SharedRule> = Vec::new();
    let mut rule = |chain, comment, write: Box<dyn Fn(Expressions) -> Expressions>| {
        rules.push(SharedRule { chain, comment, write });
    };
    for chain in [PREROUTING, OUTPUT] {
        // Only what is for this host: traffic that it forwards has nothing to do with its ports.
        rule(chain, "packets for this host", Box::new(|e| e.to_this_host().jump(MAPPINGS)));
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
    let length = |ipv4| if ipv4 { 4 } else { 16 };
    for Ports { ipv4, addressed, map } in &PORTS {
        let mapping = move |e: Expressions| {
            let mut e = e.family(*ipv4);
            let mut to = FIRST;
            if *addressed {
                e = e.load(Packet::Destination, *ipv4, to);
                to = to.after(length(*ipv4));
            }
            e.protocol(to)
                .load(Packet::DestinationPort, *ipv4, to.after(4))
                .lookup(map.name, FIRST, Some(FIRST))
                .redirect(*ipv4, FIRST, FIRST.after(length(*ipv4)))
        };
        rule(MAPPINGS, map.name, Box::new(mapping));
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
    messages.extend(sets.zip(1..).map(|(set, id)| object::add_set(TABLE, set, id)));
    messages.extend(
        shared_rules().iter().map(|rule| {
            object::add_rule(TABLE, rule.chain, rule.comment, |m| (rule.write)(Expressions(m)).0)
        }),
    );
    messages
}

/// An element and the set that it is in.
type Placed = (&'static str, Element);

impl Claim {
    /// The element that forwards the port, unless the claim waits.
    fn port(&self, label: &str) -> Placed {
        let is_own = |ports: &&Ports| ports.ipv4 == self.ipv4() && ports.addressed == self.host_ip.is_some();
        let ports =
            PORTS.iter().find(is_own).expect("there is one for each family, with and without an address");
        let address = self.host_ip.map(octets).unwrap_or_default();
        let key = [&address[..], &self.protocol.bytes(), &port_bytes(self.host_port)].concat();
        let value = [&octets(self.container)[..], &port_bytes(self.container_port)].concat();
        (ports.map.name, Element { key, value, comment: label.to_owned() })
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
        let of_source = |source| (one.sources.name, element([&octets(source)[..], &key].concat()));
        let mut elements: Vec<Placed> = self.sources().into_iter().map(of_source).collect();
        if self.masquerading.all {
            elements.push((one.all.name, element(key)));
        }
        elements
    }

    /// The rule that forwards the port if the claim waits.
    fn port_rule(&self, label: &str) -> Message {
        object::add_rule(TABLE, WAITING, label, |m| {
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

/// The rules of claims, as far as these wait: forwarding and masquerading ones.
fn rules(claims: &[Claim], label: &str) -> (Vec<Message>, Vec<Message>) {
    let ports = claims.iter().filter(|claim| claim.waiting).map(|claim| claim.port_rule(label));
    let masquerading = claims.iter().filter(|claim| claim.masquerading.waiting);
    (ports.collect(), masquerading.flat_map(|claim| claim.masquerading_rules(label)).collect())
}

/// The key of an attachment's note.
fn note_key(identity: [u8; IDENTITY], number: usize) -> Vec<u8> {
    [&identity[..], &(number as u32).to_ne_bytes()].concat()
}

fn notes(attachment: &Attachment, claims: &[Claim]) -> Vec<Message> {
    let (identity, label) = (attachment.identity(), attachment.label());
    let note = |(number, claim): (usize, &Claim)| {
        let element =
            Element { key: note_key(identity, number), value: claim.note(), comment: label.clone() };
        object::add_element(TABLE, ATTACHMENTS.name, &element)
    };
    claims.iter().enumerate().map(note).collect()
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
pub(super) fn install(attachment: &Attachment, mut claims: Vec<Claim>) -> Result<Vec<Claim>, InstallError> {
    let mut socket = Socket::netfilter()?;
    let label = attachment.label();
    let mut is_missing = false;
    let mut attempt = 1;
    loop {
        let mut changes = if is_missing { structure() } else { Vec::new() };
        changes.extend(notes(attachment, &claims));
        changes.extend(
            elements(&claims, &label).iter().map(|(set, element)| object::add_element(TABLE, set, element)),
        );
        let (forwarding, masquerading) = rules(&claims, &label);
        changes.extend(forwarding);
        changes.extend(masquerading);
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
        if object::element(&mut socket, TABLE, ATTACHMENTS.name, &note_key(attachment.identity(), 0))?
            .is_some()
        {
            return Err(InstallError::Exists);
        }
        let mut is_taken = |(set, element): Placed| {
            Ok::<_, NetlinkError>(object::element(&mut socket, TABLE, set, &element.key)?.is_some())
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

/// What is noted of an attachment.
fn noted(socket: &mut Socket, identity: [u8; IDENTITY]) -> Result<Vec<Claim>, NetlinkError> {
    let mut found = Vec::new();
    loop {
        let key = note_key(identity, found.len());
        let element = object::element(socket, TABLE, ATTACHMENTS.name, &key)?;
        match element.and_then(|element| Claim::from_note(&element.value)) {
            Some(claim) => found.push(claim),
            None => return Ok(found),
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

/// Notes an interface, by its index, as one that packets from 127.0.0.1 are let out by.
pub(super) fn note_opened(interface: u32) -> Result<(), NetlinkError> {
    let changes = vec![object::ensure_element(TABLE, OPENED.name, &interface.to_ne_bytes())];
    transact(&mut Socket::netfilter()?, "note an interface", None, changes)
}

/// Whether the table is there though nobody claims a port.
pub(super) fn is_idle() -> Result<bool, NetlinkError> {
    match socket_if_any()? {
        Some(mut socket) => {
            Ok(!object::has_elements(TABLE, ATTACHMENTS.name)? && object::has_table(&mut socket, TABLE)?)
        }
        None => Ok(false),
    }
}

fn socket_if_any() -> Result<Option<Socket>, NetlinkError> {
    match Socket::netfilter() {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_claims(
    socket: &mut Socket,
    identity: [u8; IDENTITY],
    label: &str,
) -> Result<Vec<Claim>, NetlinkError> {
    let mut attempt = 1;
    loop {
        let claims = noted(socket, identity)?;
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let keys = (0..claims.len()).map(|number| note_key(identity, number));
        let mut changes: Vec<Message> =
            keys.map(|key| object::delete_element(TABLE, ATTACHMENTS.name, &key)).collect();
        for (set, element) in elements(&claims, label) {
            // Whoever emptied the set may have let somebody else in.
            let found = object::element(socket, TABLE, set, &element.key)?;
            if found.is_some_and(|found| found.comment == label) {
                changes.push(object::delete_element(TABLE, set, &element.key));
            }
        }
        for (chain, is_needed) in [
            (WAITING, claims.iter().any(|claim| claim.waiting)),
            (WAITING_MASQUERADING, claims.iter().any(|claim| claim.masquerading.waiting)),
        ] {
            if is_needed {
                let own =
                    object::rules(socket, TABLE, chain)?.into_iter().filter(|rule| rule.comment == label);
                changes.extend(own.map(|rule| object::delete_rule(TABLE, chain, rule.handle)));
            }
        }
        match transact(socket, "stop forwarding ports", None, changes) {
            // Another DEL of the same attachment was faster.
            Err(error) if error.is(libc::ENOENT) && attempt < ATTEMPTS => attempt += 1,
            other => return other.map(|()| claims),
        }
    }
}

/// Removes the table unless somebody claims a port; answers the interfaces that were noted. The transaction is refused
/// unless the ruleset is still the one that was looked at: otherwise the table might go together with a claim that
/// came in between.
pub(super) fn remove_if_empty() -> Result<Vec<u32>, NetlinkError> {
    for _ in 0..ATTEMPTS {
        let Some(mut socket) = socket_if_any()? else { break };
        let generation = object::generation(&mut socket)?;
        if !is_idle()? {
            break;
        }
        let opened = object::all_elements(&mut socket, TABLE, OPENED.name)?;
        let changes = vec![object::delete_table(TABLE)];
        match transact(&mut socket, "remove the table of forwarded ports", generation, changes) {
            Err(error) if [libc::ERESTART, libc::ENOENT].iter().any(|errno| error.is(*errno)) => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(opened.iter().filter_map(|element| u32_at(&element.key, 0)).collect()),
        }
    }
    // Others are so busy here that one of them will remove it.
    Ok(Vec::new())
}

/// Removes what attachments have whose label is chosen.
pub(super) fn collect(chosen: impl Fn(&str) -> bool) -> Result<(), NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(()) };
    let all = object::all_elements(&mut socket, TABLE, ATTACHMENTS.name)?;
    let stale: HashSet<([u8; IDENTITY], String)> = all
        .into_iter()
        .filter(|element| chosen(&element.comment))
        .filter_map(|element| Some((*element.key.first_chunk()?, element.comment)))
        .collect();
    for (identity, label) in stale {
        remove_claims(&mut socket, identity, &label)?;
    }
    Ok(())
}

/// What of an attachment's claims is missing, in words; `None` if everything is there.
pub(super) fn missing(attachment: &Attachment, claims: &[Claim]) -> Result<Option<String>, NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(Some("the kernel has no nftables".to_owned())) };
    let label = attachment.label();
    let noted = noted(&mut socket, attachment.identity())?;
    if let Some(claim) = claims.iter().find(|claim| !noted.iter().any(|noted| noted.alone() == **claim)) {
        return Ok(Some(format!("table inet {TABLE} has no mapping of {claim}")));
    }
    for (set, element) in elements(&noted, &label) {
        if object::element(&mut socket, TABLE, set, &element.key)?.as_ref() != Some(&element) {
            return Ok(Some(format!("{set} of table inet {TABLE} lacks an element of {label}")));
        }
    }
    let (forwarding, masquerading) = rules(&noted, &label);
    for (chain, expected) in [(WAITING, forwarding.len()), (WAITING_MASQUERADING, masquerading.len())] {
        if expected > 0 {
            let found = object::rules(&mut socket, TABLE, chain)?;
            if found.iter().filter(|rule| rule.comment == label).count() < expected {
                return Ok(Some(format!("the chain {chain} of table inet {TABLE} lacks a rule of {label}")));
            }
        }
    }
    for chain in [PREROUTING, OUTPUT, POSTROUTING, MARTIANS, MAPPINGS, MASQUERADING] {
        let found = object::rules(&mut socket, TABLE, chain)?;
        for rule in shared_rules().iter().filter(|rule| rule.chain == chain) {
            let names = object::expression_names(|m| (rule.write)(Expressions(m)).0);
            let is_same = |found: &object::ListedRule| {
                found.comment == rule.comment
                    && found.expressions.iter().map(|(name, _)| name).eq(names.iter())
            };
            if !found.iter().any(is_same) {
                let comment = rule.comment;
                return Ok(Some(format!(
                    "the chain {chain} of table inet {TABLE} lacks its rule {comment:?}"
                )));
            }
        }
    }
    Ok(None)
}
