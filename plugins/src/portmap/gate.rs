//! Claims with conditions: each distinct set of conditions has a gate, a chain that turns back the packets that do not
//! meet them, with maps of its own behind that. A gate exists only as long as somebody claims a port in it.
//!
//! Gates stand before the maps of the claims without conditions, the older before the newer.

use std::fmt;

use super::claim::NOTE;
use super::conditions::{Allowed, Condition, Conditions};
use super::ports::Ports;
use super::table::{MAPPINGS, TABLE};
use crate::attachment::digest;
use crate::netlink::message::{Message, u32_at};
use crate::netlink::{NetlinkError, Socket};
use crate::nft::expression::{Expressions, FIRST, Operator, Packet};
use crate::nft::ledger::{ATTEMPTS, SharedRule, missing_rule, socket_if_any};
use crate::nft::object::{self, transact};

/// The digits that stand for conditions: 80 bits.
const DIGITS: usize = 16;
/// Where a note has the flags of a claim, and that of IPv4. A claim's protocol is never 0.
const NOTE_FLAGS: usize = 36;
const NOTE_IPV4: u32 = 1 << 8;

/// What a gate is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Gate {
    ipv4: bool,
    digits: [u8; DIGITS],
}

impl Gate {
    /// The gate of conditions.
    pub(super) fn of(conditions: &Conditions) -> Gate {
        let digits = digest(conditions.to_string().as_bytes(), DIGITS);
        let digits = *digits.as_bytes().first_chunk().expect("there are as many digits as were asked for");
        Gate { ipv4: conditions.ipv4(), digits }
    }

    pub(super) fn ipv4(self) -> bool {
        self.ipv4
    }

    fn digits(&self) -> &str {
        std::str::from_utf8(&self.digits).unwrap_or_default()
    }

    /// Its chain, which is the comment of the jump to it, too.
    pub(super) fn chain(self) -> String {
        self.to_string()
    }

    fn from_chain(chain: &str) -> Option<Gate> {
        let (family, digits) = chain.strip_prefix("conditions_v")?.split_once('_')?;
        let ipv4 = match family {
            "4" => true,
            "6" => false,
            _ => return None,
        };
        Some(Gate { ipv4, digits: digits.as_bytes().try_into().ok()? })
    }

    /// The map of its claims, with a host's address or without.
    pub(super) fn map(self, addressed: bool) -> String {
        format!("{}_{}", Ports::of(self.ipv4, addressed).map.name, self.digits())
    }

    /// A note of the gate among those of an attachment, as long as that of a claim.
    pub(super) fn note(self) -> Vec<u8> {
        let mut note = vec![0; NOTE];
        note[..DIGITS].copy_from_slice(&self.digits);
        let flags = if self.ipv4 { NOTE_IPV4 } else { 0 };
        note[NOTE_FLAGS..NOTE_FLAGS + 4].copy_from_slice(&flags.to_ne_bytes());
        note
    }

    /// Reads such a note.
    pub(super) fn from_note(note: &[u8]) -> Option<Gate> {
        let flags = u32_at(note, NOTE_FLAGS)?;
        let digits = *note.first_chunk::<DIGITS>()?;
        let is_gate = flags & !NOTE_IPV4 == 0 && digits.iter().all(u8::is_ascii_alphanumeric);
        is_gate.then_some(Gate { ipv4: flags == NOTE_IPV4, digits })
    }

    fn jump(self) -> impl Fn(Expressions) -> Expressions {
        move |e| e.family(self.ipv4).jump(&self.chain())
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conditions_v{}_{}", if self.ipv4 { 4 } else { 6 }, self.digits())
    }
}

/// What a rule compares a packet with.
#[derive(Debug, Clone)]
enum Comparison {
    Address(Packet, ipnet::IpNet),
    /// The name of the interface by which it comes in: all sixteen bytes, or the first of them.
    Interface(Vec<u8>),
}

impl Comparison {
    fn all(condition: &Condition) -> Vec<Comparison> {
        let of_addresses = |packet, prefixes: &[ipnet::IpNet]| {
            prefixes.iter().map(|prefix| Comparison::Address(packet, *prefix)).collect()
        };
        match &condition.allowed {
            Allowed::Sources(prefixes) => of_addresses(Packet::Source, prefixes),
            Allowed::Destinations(prefixes) => of_addresses(Packet::Destination, prefixes),
            Allowed::Interfaces(interfaces) => {
                let bytes = |interface: &super::conditions::Interface| {
                    let mut bytes = interface.name.as_bytes().to_vec();
                    if !interface.is_beginning {
                        bytes.resize(16, 0);
                    }
                    Comparison::Interface(bytes)
                };
                interfaces.iter().map(bytes).collect()
            }
        }
    }

    fn write(&self, expressions: Expressions, operator: Operator) -> Expressions {
        match self {
            Comparison::Address(packet, prefix) => expressions.subnet(*packet, operator, *prefix),
            Comparison::Interface(name) => expressions.input_name().compare(FIRST, operator, name),
        }
    }
}

/// The rules of a gate that turn packets back.
fn guards(conditions: &Conditions) -> Vec<Box<dyn Fn(Expressions) -> Expressions>> {
    let ipv4 = conditions.ipv4();
    let guard = |comparisons: Vec<Comparison>, operator| -> Box<dyn Fn(Expressions) -> Expressions> {
        Box::new(move |e| {
            comparisons.iter().fold(e.family(ipv4), |e, comparison| comparison.write(e, operator)).back()
        })
    };
    let of_condition = |condition: &Condition| {
        let comparisons = Comparison::all(condition);
        match condition.negated {
            false => vec![guard(comparisons, Operator::NotEqual)],
            true => comparisons.into_iter().map(|one| guard(vec![one], Operator::Equal)).collect(),
        }
    };
    conditions.iter().flat_map(of_condition).collect()
}

/// The rules of a gate that are there for all of its claims, in their order.
fn rules(conditions: &Conditions) -> Vec<SharedRule> {
    let gate = Gate::of(conditions);
    let chain = gate.chain();
    let guards = guards(conditions).into_iter().enumerate().map(|(number, write)| SharedRule {
        chain: chain.clone().into(),
        comment: format!("condition {}", number + 1).into(),
        write,
    });
    let maps = [true, false].map(|addressed| SharedRule {
        chain: chain.clone().into(),
        comment: gate.map(addressed).into(),
        write: Box::new(move |e| Ports::of(gate.ipv4, addressed).forward(e, &gate.map(addressed))),
    });
    guards.chain(maps).collect()
}

/// Makes gates that are missing; refused with `EEXIST` if there is one by now. `first_id` and those behind it are of no
/// other set of the transaction.
pub(super) fn add(
    socket: &mut Socket,
    missing: &[&Conditions],
    first_id: u32,
) -> Result<Vec<Message>, NetlinkError> {
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let before = jumps(socket)?.last().map(|(_, handle)| *handle);
    let mut ids = first_id..;
    let mut messages = Vec::new();
    // Each comes right behind the older ones, so the last of these first.
    for conditions in missing.iter().rev() {
        let gate = Gate::of(conditions);
        messages.push(object::add_new_chain(TABLE, &gate.chain()));
        for (addressed, id) in [true, false].into_iter().zip(&mut ids) {
            let set = Ports::of(gate.ipv4, addressed).map;
            messages.push(object::add_set(TABLE, &gate.map(addressed), &set, id));
        }
        messages.extend(rules(conditions).iter().map(|rule| rule.add(TABLE)));
        let jump = gate.jump();
        messages
            .push(object::insert_rule(TABLE, MAPPINGS, before, &gate.chain(), |m| jump(Expressions(m)).0));
    }
    Ok(messages)
}

/// The gates that are jumped to, each with the handle of the jump.
fn jumps(socket: &mut Socket) -> Result<Vec<(Gate, u64)>, NetlinkError> {
    let listed = object::rules(socket, TABLE, MAPPINGS)?;
    Ok(listed.iter().filter_map(|rule| Some((Gate::from_chain(&rule.comment)?, rule.handle))).collect())
}

/// The gates that there are.
pub(super) fn all() -> Result<Vec<Gate>, NetlinkError> {
    match socket_if_any()? {
        Some(mut socket) => Ok(jumps(&mut socket)?.into_iter().map(|(gate, _)| gate).collect()),
        None => Ok(Vec::new()),
    }
}

/// Whether there is a gate for conditions.
pub(super) fn is_there(socket: &mut Socket, conditions: &Conditions) -> Result<bool, NetlinkError> {
    object::has_chain(socket, TABLE, &Gate::of(conditions).chain())
}

/// Removes a gate unless somebody claims a port in it. The transaction is refused if somebody came meanwhile.
pub(super) fn remove_unused(gate: Gate) -> Result<(), NetlinkError> {
    let Some(mut socket) = socket_if_any()? else { return Ok(()) };
    for _ in 0..ATTEMPTS {
        let generation = object::generation(&mut socket)?;
        if !object::has_chain(&mut socket, TABLE, &gate.chain())? {
            return Ok(());
        }
        for addressed in [true, false] {
            if object::has_elements(TABLE, &gate.map(addressed))? {
                return Ok(());
            }
        }
        // Only labels have slashes.
        let waits = |rule: &object::ListedRule| rule.comment.contains('/');
        if object::rules(&mut socket, TABLE, &gate.chain())?.iter().any(waits) {
            return Ok(());
        }
        let jumps = jumps(&mut socket)?.into_iter().filter(|(found, _)| *found == gate);
        let mut changes: Vec<Message> =
            jumps.map(|(_, handle)| object::delete_rule(TABLE, MAPPINGS, handle)).collect();
        changes.push(object::delete_chain(TABLE, &gate.chain()));
        changes.extend([true, false].map(|addressed| object::delete_set(TABLE, &gate.map(addressed))));
        match transact(&mut socket, "remove conditions", generation, changes) {
            Err(error) if error.is(libc::ERESTART) => {}
            // Another DEL was faster.
            Err(error) if error.is(libc::ENOENT) => return Ok(()),
            other => return other,
        }
    }
    // Others are so busy here that one of them will remove it.
    Ok(())
}

/// What of the gate for conditions is missing, in words.
pub(super) fn missing(socket: &mut Socket, conditions: &Conditions) -> Result<Option<String>, NetlinkError> {
    let gate = Gate::of(conditions);
    let jump =
        SharedRule { chain: MAPPINGS.into(), comment: gate.chain().into(), write: Box::new(gate.jump()) };
    let mut rules = rules(conditions);
    rules.push(jump);
    missing_rule(socket, TABLE, &rules)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fields::Fields;

    fn conditions(words: &[&str], ipv4: bool) -> Conditions {
        let config = json!({ if ipv4 { "conditionsV4" } else { "conditionsV6" }: words });
        let fields = Fields::root(config.as_object().unwrap());
        Conditions::read(fields, ipv4, None).unwrap().unwrap()
    }

    #[test]
    fn gates_follow_from_what_conditions_say() {
        let [one, same, other] = [
            conditions(&["!", "-s", "192.0.2.1", "-i", "eth+"], true),
            conditions(&["iifname eth* ip saddr != 192.0.2.1/32"], true),
            conditions(&["iifname eth* ip saddr 192.0.2.1/32"], true),
        ]
        .map(|conditions| Gate::of(&conditions));
        assert_eq!(one, same);
        assert_ne!(one, other);
        let by_name = ["iifname", "eth0"];
        assert_ne!(Gate::of(&conditions(&by_name, true)), Gate::of(&conditions(&by_name, false)));
        for gate in [one, other, Gate::of(&conditions(&by_name, false))] {
            assert_eq!(Gate::from_chain(&gate.chain()), Some(gate));
            assert_eq!(gate.note().len(), NOTE);
            assert_eq!(Gate::from_note(&gate.note()), Some(gate));
            assert_eq!(super::super::claim::Claim::from_note(&gate.note()), None);
        }
        assert_eq!(Gate::from_chain("ports_v4"), None);
        assert_eq!(Gate::from_note(&[0; NOTE]), None);
    }

    #[test]
    fn a_gate_has_a_rule_for_each_reason_to_turn_back() {
        let counted = |words: &[&str]| guards(&conditions(words, true)).len();
        assert_eq!(counted(&["ip saddr { 10.0.0.0/8, 192.0.2.1 }"]), 1);
        assert_eq!(counted(&["ip saddr != { 10.0.0.0/8, 192.0.2.1 } iifname eth0"]), 3);
        let rules = rules(&conditions(&["ip saddr != { 10.0.0.0/8, 192.0.2.1 } iifname eth0"], true));
        crate::nft::ledger::expect_distinct(&rules);
        assert!(rules.iter().all(|rule| !rule.comment.contains('/')));
    }
}
