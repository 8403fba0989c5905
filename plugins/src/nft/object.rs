//! The parts of a ruleset as netlink messages: batches, tables, chains, rules, sets and their elements.

use std::fmt;

use super::expression::CMP_DATA;
use crate::netlink::message::{Message, attribute, attributes, to_text, u32_at};
use crate::netlink::{NetlinkError, Socket};

/// The longest label in bytes: what the `nft` program takes for a comment.
pub const LABEL_MAX: usize = 127;
/// So many elements of a set fit into the smallest message that the kernel lists them in, whatever their labels.
pub(crate) const FIRST_ELEMENTS: usize = 8;
/// The length of `struct nfgenmsg`.
pub(crate) const HEADER: usize = 4;

// From linux/netfilter/nfnetlink.h and nf_tables.h.
pub(crate) const NFPROTO_IPV4: u8 = 2;
pub(crate) const NFPROTO_IPV6: u8 = 10;
pub(crate) const HOOK_PREROUTING: u32 = 0;
pub(crate) const HOOK_INPUT: u32 = 1;
pub(crate) const HOOK_FORWARD: u32 = 2;
pub(crate) const HOOK_OUTPUT: u32 = 3;
pub(crate) const HOOK_POSTROUTING: u32 = 4;
pub(crate) const PRIORITY_RAW: i32 = -300;
pub(crate) const PRIORITY_DESTINATION_NAT: i32 = -100;
pub(crate) const PRIORITY_FILTER: i32 = 0;
pub(crate) const PRIORITY_SOURCE_NAT: i32 = 100;
/// The same number as [`PRIORITY_RAW`]; bridges call it `dstnat`.
pub(crate) const PRIORITY_BRIDGE_FIRST: i32 = -300;
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
const RULE_POSITION: u16 = 6;
const RULE_USER_DATA: u16 = 7;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LENGTH: u16 = 7;
const SET_ID: u16 = 10;
const SET_USER_DATA: u16 = 13;
const SET_MAP: u32 = 8;
/// Tells the `nft` program that a key is in the host's byte order: kind 0, four bytes, the number 1.
const HOST_ORDER: [u8; 6] = {
    let order = 1_u32.to_ne_bytes();
    [0, 4, order[0], order[1], order[2], order[3]]
};
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_USER_DATA: u16 = 6;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
/// The kind of user data that is a comment, on rules and elements.
const USER_DATA_COMMENT: u8 = 0;
/// The bits of one field's type in the type of a concatenation, as the `nft` program has it.
const TYPE_BITS: u32 = 6;

fn kind(message: i32) -> u16 {
    (libc::NFNL_SUBSYS_NFTABLES << 8 | message) as u16
}

fn header(family: u8, resource: u16) -> Vec<u8> {
    [&[family, 0][..], &resource.to_be_bytes()].concat()
}

/// Which packets the chains of a table see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4 and IPv6, where they come from and go to the host's own addresses and routes.
    Inet = 1,
    /// The frames that pass bridges.
    Bridge = 7,
}

/// A table, which its family and its name tell from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) family: Family,
    pub(crate) name: &'static str,
}

impl Table {
    /// The table of a name that sees IPv4 and IPv6.
    pub(crate) const fn inet(name: &'static str) -> Table {
        Table { family: Family::Inet, name }
    }

    /// The table of a name that sees the frames of bridges.
    pub(crate) const fn bridge(name: &'static str) -> Table {
        Table { family: Family::Bridge, name }
    }

    fn change(self, message: i32, flags: i32) -> Message {
        Message::new(kind(message), flags | libc::NLM_F_ACK, &header(self.family as u8, 0))
    }

    fn query(self, message: i32, flags: i32) -> Message {
        Message::new(kind(message), flags, &header(self.family as u8, 0))
    }
}

/// As the `nft` program names it.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::Inet => "inet",
            Family::Bridge => "bridge",
        };
        write!(f, "{family} {}", self.name)
    }
}

/// Executes changes as one transaction: all happen, or none. With a generation, none happen once the ruleset is no
/// longer of that generation.
///
/// # Errors
/// The kernel's refusal; `ERESTART` for another generation.
pub(crate) fn transact(
    socket: &mut Socket,
    what: &str,
    generation: Option<u32>,
    changes: Vec<Message>,
) -> Result<(), NetlinkError> {
    let end = Message::new(libc::NFNL_MSG_BATCH_END as u16, 0, &batch_header());
    socket.transaction(what, begin(generation), changes, Some(end))
}

/// Has the kernel look at changes as if they were a transaction, and leaves everything as it is.
///
/// # Errors
/// What the kernel would refuse.
pub(crate) fn rehearse(socket: &mut Socket, what: &str, changes: Vec<Message>) -> Result<(), NetlinkError> {
    socket.transaction(what, begin(None), changes, None)
}

fn begin(generation: Option<u32>) -> Message {
    Message::new(libc::NFNL_MSG_BATCH_BEGIN as u16, 0, &batch_header())
        .maybe(generation, |m, generation| m.be32(BATCH_GENERATION, generation))
}

fn batch_header() -> Vec<u8> {
    header(0, libc::NFNL_SUBSYS_NFTABLES as u16)
}

/// The generation of the ruleset: another after each change.
pub(crate) fn generation(socket: &mut Socket) -> Result<Option<u32>, NetlinkError> {
    let message = Message::new(kind(libc::NFT_MSG_GETGEN), 0, &header(libc::AF_UNSPEC as u8, 0));
    socket.get("read the ruleset's generation", message, |payload| {
        attribute(payload, HEADER, GENERATION_ID).and_then(|bytes| u32_at(bytes, 0)).map(u32::from_be)
    })
}

/// Whether an error says that there is nothing of the kind: no nftables, no table, no chain.
pub(crate) fn is_absent(error: &NetlinkError) -> bool {
    [libc::EPROTONOSUPPORT, libc::ENOENT, libc::EOPNOTSUPP, libc::EINVAL]
        .into_iter()
        .any(|errno| error.is(errno))
}

/// Adds a table. With `exclusive`, one that exists is refused with `EEXIST`.
pub(crate) fn add_table(table: Table, exclusive: bool) -> Message {
    let flags = libc::NLM_F_CREATE | if exclusive { libc::NLM_F_EXCL } else { 0 };
    table.change(libc::NFT_MSG_NEWTABLE, flags).text(TABLE_NAME, table.name)
}

/// Deletes a table with all that is in it.
pub(crate) fn delete_table(table: Table) -> Message {
    table.change(libc::NFT_MSG_DELTABLE, 0).text(TABLE_NAME, table.name)
}

/// Whether there is a table of that name.
pub(crate) fn has_table(socket: &mut Socket, table: Table) -> Result<bool, NetlinkError> {
    let message = table.query(libc::NFT_MSG_GETTABLE, 0).text(TABLE_NAME, table.name);
    match socket.get(&format!("look for the table {table}"), message, |_| Some(())) {
        Err(error) if is_absent(&error) => Ok(false),
        other => Ok(other?.is_some()),
    }
}

/// Where packets come into a chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook {
    /// `nat` or `filter`.
    pub(crate) kind: &'static str,
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

/// Adds a chain; without a hook it is one to jump to. One that exists is no error.
pub(crate) fn add_chain(table: Table, chain: &str, hook: Option<Hook>) -> Message {
    table
        .change(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE)
        .text(CHAIN_TABLE, table.name)
        .text(CHAIN_NAME, chain)
        .maybe(hook, |m, hook| {
            m.nest(CHAIN_HOOK, |m| m.be32(HOOK_NUMBER, hook.number).be32(HOOK_PRIORITY, hook.priority as u32))
                .text(CHAIN_TYPE, hook.kind)
        })
}

/// Adds a chain to jump to; one that exists is refused with `EEXIST`.
pub(crate) fn add_new_chain(table: Table, chain: &str) -> Message {
    table
        .change(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
        .text(CHAIN_TABLE, table.name)
        .text(CHAIN_NAME, chain)
}

/// Deletes a chain with its rules; nothing may jump to it any more.
pub(crate) fn delete_chain(table: Table, chain: &str) -> Message {
    table.change(libc::NFT_MSG_DELCHAIN, 0).text(CHAIN_TABLE, table.name).text(CHAIN_NAME, chain)
}

/// Whether there is a chain of that name.
pub(crate) fn has_chain(socket: &mut Socket, table: Table, chain: &str) -> Result<bool, NetlinkError> {
    let message =
        table.query(libc::NFT_MSG_GETCHAIN, 0).text(CHAIN_TABLE, table.name).text(CHAIN_NAME, chain);
    match socket.get(&format!("look for the chain {chain}"), message, |_| Some(())) {
        Err(error) if is_absent(&error) => Ok(false),
        other => Ok(other?.is_some()),
    }
}

/// Adds a rule behind another one of a chain, or before all; `write` adds its expressions.
pub(crate) fn insert_rule(
    table: Table,
    chain: &str,
    behind: Option<u64>,
    comment: &str,
    write: impl FnOnce(Message) -> Message,
) -> Message {
    let append = behind.map_or(0, |_| libc::NLM_F_APPEND);
    table
        .change(libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | append)
        .text(RULE_TABLE, table.name)
        .text(RULE_CHAIN, chain)
        .nest(RULE_EXPRESSIONS, write)
        .maybe(behind, |m, handle| m.bytes(RULE_POSITION, &handle.to_be_bytes()))
        .bytes(RULE_USER_DATA, &user_data(comment))
}

/// Adds a rule at the end of a chain; `write` adds its expressions.
pub(crate) fn add_rule(
    table: Table,
    chain: &str,
    comment: &str,
    write: impl FnOnce(Message) -> Message,
) -> Message {
    table
        .change(libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND)
        .text(RULE_TABLE, table.name)
        .text(RULE_CHAIN, chain)
        .nest(RULE_EXPRESSIONS, write)
        .bytes(RULE_USER_DATA, &user_data(comment))
}

/// Deletes a rule.
pub(crate) fn delete_rule(table: Table, chain: &str, handle: u64) -> Message {
    table
        .change(libc::NFT_MSG_DELRULE, 0)
        .text(RULE_TABLE, table.name)
        .text(RULE_CHAIN, chain)
        .bytes(RULE_HANDLE, &handle.to_be_bytes())
}

/// A rule as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedRule {
    /// Its comment; empty if it has none.
    pub(crate) comment: String,
    pub(crate) handle: u64,
    /// The name and the attributes of each expression.
    pub(crate) expressions: Vec<(String, Vec<u8>)>,
}

impl ListedRule {
    /// The values that expressions of a name hold in an attribute.
    pub(crate) fn values(&self, name: &str, kind: u16) -> Vec<Vec<u8>> {
        let own = self.expressions.iter().filter(|(found, _)| found == name);
        let value = |data: &Vec<u8>| Some(attribute(attribute(data, 0, kind)?, 0, DATA_VALUE)?.to_vec());
        own.filter_map(|(_, data)| value(data)).collect()
    }

    /// Whether it has the comment of another, its kinds of expressions, and its values to compare with.
    pub(crate) fn does_as(&self, other: &ListedRule) -> bool {
        let names =
            |rule: &ListedRule| rule.expressions.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let compared = |rule: &ListedRule| rule.values("cmp", CMP_DATA);
        self.comment == other.comment && names(self) == names(other) && compared(self) == compared(other)
    }
}

/// The rules of a chain in order; none if there is no such chain.
pub(crate) fn rules(socket: &mut Socket, table: Table, chain: &str) -> Result<Vec<ListedRule>, NetlinkError> {
    let message = table
        .query(libc::NFT_MSG_GETRULE, libc::NLM_F_DUMP)
        .text(RULE_TABLE, table.name)
        .text(RULE_CHAIN, chain);
    let read = |payload: &[u8]| {
        let text = |kind| attribute(payload, HEADER, kind).map(to_text);
        if text(RULE_TABLE)? != table.name || text(RULE_CHAIN)? != chain {
            return None;
        }
        let handle = attribute(payload, HEADER, RULE_HANDLE)?;
        let data = attribute(payload, HEADER, RULE_USER_DATA).unwrap_or_default();
        let expressions = attribute(payload, HEADER, RULE_EXPRESSIONS).unwrap_or_default();
        Some(ListedRule {
            comment: comment(data),
            handle: u64::from_be_bytes(handle.try_into().ok()?),
            expressions: expressions_of(expressions).collect(),
        })
    };
    match socket.dump(&format!("list the rules of {chain}"), &message, read) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        other => other,
    }
}

/// The type of a field in the keys and values of sets, with the number that the `nft` program knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Ipv4 = 7,
    Ipv6 = 8,
    Mac = 9,
    Protocol = 12,
    Port = 13,
    Mark = 19,
    Interface = 20,
    InterfaceName = 41,
}

impl Field {
    /// Its length in bytes; each field begins in a register of its own.
    fn length(self) -> u32 {
        match self {
            Field::Ipv6 | Field::InterfaceName => 16,
            Field::Mac => 8,
            _ => 4,
        }
    }
}

/// A named set, or a map when it has a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key: &'static [Field],
    pub(crate) value: &'static [Field],
}

#[cfg(test)]
impl Set {
    /// The length of a key in bytes.
    pub(crate) fn key_length(&self) -> usize {
        length(self.key) as usize
    }
}

fn type_number(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |number, field| number << TYPE_BITS | *field as u32)
}

fn length(fields: &[Field]) -> u32 {
    fields.iter().map(|field| field.length()).sum()
}

/// Adds a set under a name; `id` tells it from the others of the same transaction. One that exists is no error.
pub(crate) fn add_set(table: Table, name: &str, set: &Set, id: u32) -> Message {
    let is_map = !set.value.is_empty();
    table
        .change(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE)
        .text(SET_TABLE, table.name)
        .text(SET_NAME, name)
        .be32(SET_FLAGS, if is_map { SET_MAP } else { 0 })
        .be32(SET_KEY_TYPE, type_number(set.key))
        .be32(SET_KEY_LENGTH, length(set.key))
        .maybe(is_map.then_some(set.value), |m, value| {
            m.be32(SET_DATA_TYPE, type_number(value)).be32(SET_DATA_LENGTH, length(value))
        })
        .be32(SET_ID, id)
        .maybe(
            matches!(set.key, [Field::Interface | Field::InterfaceName]).then_some(HOST_ORDER),
            |m, order| m.bytes(SET_USER_DATA, &order),
        )
}

/// Whether a table has a set of that name.
pub(crate) fn has_set(socket: &mut Socket, table: Table, name: &str) -> Result<bool, NetlinkError> {
    let message = table.query(libc::NFT_MSG_GETSET, 0).text(SET_TABLE, table.name).text(SET_NAME, name);
    match socket.get(&format!("look for the set {name}"), message, |_| Some(())) {
        Err(error) if is_absent(&error) => Ok(false),
        other => Ok(other?.is_some()),
    }
}

/// Deletes a set.
pub(crate) fn delete_set(table: Table, name: &str) -> Message {
    table.change(libc::NFT_MSG_DELSET, 0).text(SET_TABLE, table.name).text(SET_NAME, name)
}

/// An element of a set; the value is empty where the set is no map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) comment: String,
}

fn elements(message: Message, table: Table, set: &str, write: impl FnOnce(Message) -> Message) -> Message {
    message
        .text(ELEMENTS_TABLE, table.name)
        .text(ELEMENTS_SET, set)
        .nest(ELEMENTS, |m| m.nest(LIST_ELEMENT, write))
}

fn datum(message: Message, kind: u16, bytes: &[u8]) -> Message {
    message.nest(kind, |m| m.bytes(DATA_VALUE, bytes))
}

/// Adds an element. One with the same key is refused with `EEXIST`, or `EBUSY` if its value is another.
pub(crate) fn add_element(table: Table, set: &str, element: &Element) -> Message {
    let message = table.change(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
    elements(message, table, set, |m| {
        let m = datum(m, ELEMENT_KEY, &element.key);
        let value = Some(&element.value).filter(|value| !value.is_empty());
        m.maybe(value, |m, value| datum(m, ELEMENT_DATA, value))
            .bytes(ELEMENT_USER_DATA, &user_data(&element.comment))
    })
}

/// Adds an element, which may be there already.
pub(crate) fn ensure_element(table: Table, set: &str, key: &[u8]) -> Message {
    let message = table.change(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE);
    elements(message, table, set, |m| datum(m, ELEMENT_KEY, key))
}

/// Deletes the element with a key; `ENOENT` if there is none.
pub(crate) fn delete_element(table: Table, set: &str, key: &[u8]) -> Message {
    elements(table.change(libc::NFT_MSG_DELSETELEM, 0), table, set, |m| datum(m, ELEMENT_KEY, key))
}

/// The element with a key; `None` also if there is no such set.
pub(crate) fn element(
    socket: &mut Socket,
    table: Table,
    set: &str,
    key: &[u8],
) -> Result<Option<Element>, NetlinkError> {
    let message =
        elements(table.query(libc::NFT_MSG_GETSETELEM, 0), table, set, |m| datum(m, ELEMENT_KEY, key));
    let what = format!("look for an element of {set}");
    match socket.get(&what, message, |payload| read_elements(payload).next()) {
        Err(error) if is_absent(&error) => Ok(None),
        other => other,
    }
}

/// All elements of a set; none if there is no such set.
pub(crate) fn all_elements(
    socket: &mut Socket,
    table: Table,
    set: &str,
) -> Result<Vec<Element>, NetlinkError> {
    let message = table
        .query(libc::NFT_MSG_GETSETELEM, libc::NLM_F_DUMP)
        .text(ELEMENTS_TABLE, table.name)
        .text(ELEMENTS_SET, set);
    let what = format!("list the elements of {set}");
    match socket.dump(&what, &message, |payload| Some(read_elements(payload).collect::<Vec<_>>())) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        other => Ok(other?.into_iter().flatten().collect()),
    }
}

/// Whether a set has elements, however many; `false` also if there is no such set.
pub(crate) fn has_elements(table: Table, set: &str) -> Result<bool, NetlinkError> {
    Ok(!first_elements(table, set)?.is_empty())
}

/// Some of the elements of a set: [`FIRST_ELEMENTS`] or more, unless those are all; none if there is no such set.
pub(crate) fn first_elements(table: Table, set: &str) -> Result<Vec<Element>, NetlinkError> {
    let message = table
        .query(libc::NFT_MSG_GETSETELEM, libc::NLM_F_DUMP)
        .text(ELEMENTS_TABLE, table.name)
        .text(ELEMENTS_SET, set);
    // On a socket of its own, as the rest of the list is never read.
    let socket = Socket::netfilter()?;
    let what = format!("look for elements of {set}");
    match socket.begin_dump(&what, message, |payload| read_elements(payload).collect()) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        other => Ok(other?.unwrap_or_default()),
    }
}

fn read_elements(payload: &[u8]) -> impl Iterator<Item = Element> {
    let list = attribute(payload, HEADER, ELEMENTS).unwrap_or_default();
    attributes(list, 0).filter_map(|(_, element)| {
        let value = |kind| attribute(attribute(element, 0, kind)?, 0, DATA_VALUE).map(<[u8]>::to_vec);
        Some(Element {
            key: value(ELEMENT_KEY)?,
            value: value(ELEMENT_DATA).unwrap_or_default(),
            comment: comment(attribute(element, 0, ELEMENT_USER_DATA).unwrap_or_default()),
        })
    })
}

/// Adds an expression to a rule.
pub(crate) fn expression(message: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    message.nest(LIST_ELEMENT, |m| m.text(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, data))
}

fn user_data(label: &str) -> Vec<u8> {
    debug_assert!(label.len() <= LABEL_MAX);
    let length = u8::try_from(label.len() + 1).unwrap_or(u8::MAX);
    let text = label.bytes().take(usize::from(length) - 1);
    [USER_DATA_COMMENT, length].into_iter().chain(text).chain([0]).collect()
}

fn comment(user_data: &[u8]) -> String {
    match user_data {
        [USER_DATA_COMMENT, length, text @ ..] => {
            text.get(..usize::from(*length)).map(to_text).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// A rule with the expressions that `write` adds, as the kernel would list it.
pub(crate) fn expected_rule(comment: &str, write: impl FnOnce(Message) -> Message) -> ListedRule {
    let expressions = expressions_of(write(Message::new(0, 0, &[])).payload()).collect();
    ListedRule { comment: comment.to_owned(), handle: 0, expressions }
}

/// The name and the attributes of each expression in a list.
fn expressions_of(list: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    attributes(list, 0).filter_map(|(_, element)| {
        let name = attribute(element, 0, EXPRESSION_NAME).map(to_text)?;
        Some((name, attribute(element, 0, EXPRESSION_DATA).unwrap_or_default().to_vec()))
    })
}

/// Reads any payload as elements of a set.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(payload: &[u8]) {
    let _ = read_elements(payload).count();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_fit_into_what_nft_knows() {
        assert_eq!(type_number(&[Field::Ipv4, Field::Port]), 7 << 6 | 13);
        assert_eq!(length(&[Field::Ipv6, Field::InterfaceName, Field::Mark]), 36);
        assert_eq!(type_number(&[Field::InterfaceName, Field::Mac]), 41 << 6 | 9);
        assert_eq!(length(&[Field::InterfaceName, Field::Mac]), 24);
    }

    #[test]
    fn messages_name_the_family_of_their_table() {
        for (table, family) in [(Table::inet("t"), 1), (Table::bridge("t"), 7)] {
            let element = Element { key: vec![1; 4], value: Vec::new(), comment: String::new() };
            let set = Set { name: "s", key: &[Field::Ipv4], value: &[] };
            let hook = Hook { kind: "filter", number: HOOK_INPUT, priority: PRIORITY_FILTER };
            let messages = [
                add_table(table, true),
                delete_table(table),
                add_chain(table, "c", Some(hook)),
                add_rule(table, "c", "comment", |m| m),
                delete_rule(table, "c", 1),
                add_set(table, "s", &set, 1),
                delete_set(table, "s"),
                add_element(table, "s", &element),
                ensure_element(table, "s", &element.key),
                delete_element(table, "s", &element.key),
            ];
            for message in messages {
                assert_eq!(message.payload()[0], family, "{table}");
                // The first attribute of all of them is the table.
                assert_eq!(attribute(message.payload(), HEADER, 1).map(to_text).as_deref(), Some("t"));
            }
        }
        assert_eq!(Table::bridge("t").to_string(), "bridge t");
    }

    #[test]
    fn elements_are_read_back() {
        let element = Element { key: vec![1, 2, 3, 4], value: vec![5; 8], comment: "n/c/eth0".into() };
        let message = add_element(Table::inet("t"), "s", &element);
        assert_eq!(read_elements(message.payload()).collect::<Vec<_>>(), [element]);
        assert_eq!(read_elements(&[]).count(), 0);
    }

    #[test]
    fn comments_end_where_they_say() {
        assert_eq!(comment(&user_data("label")), "label");
        assert_eq!(comment(&[0, 200, b'a']), "");
        assert_eq!(comment(&[1, 2, b'a', 0]), "");
    }
}
