//! What the tables of several plugins have in common: rules that are there for all attachments, and a map that notes
//! what each attachment has, under its identity and a running number. A table exists only as long as there are notes.

use std::borrow::Cow;
use std::collections::HashSet;

use super::expression::Expressions;
use super::object::{self, FIRST_ELEMENTS, ListedRule, Table, is_absent, transact};
use crate::attachment::{Attachment, IDENTITY};
use crate::netlink::message::Message;
use crate::netlink::{NetlinkError, Socket};

/// How often a change is begun anew because others changed the same at the same time.
pub(crate) const ATTEMPTS: usize = 1000;

/// A rule that is there for all attachments.
pub(crate) struct SharedRule {
    pub(crate) chain: Cow<'static, str>,
    pub(crate) comment: Cow<'static, str>,
    pub(crate) write: Box<dyn Fn(Expressions) -> Expressions>,
}

impl SharedRule {
    /// Adds it to a table.
    pub(crate) fn add(&self, table: Table) -> Message {
        object::add_rule(table, &self.chain, &self.comment, |m| (self.write)(Expressions(m)).0)
    }
}

/// The first of the shared rules that a table lacks, in words.
pub(crate) fn missing_rule(
    socket: &mut Socket,
    table: Table,
    rules: &[SharedRule],
) -> Result<Option<String>, NetlinkError> {
    let mut listed: Vec<(&str, Vec<ListedRule>)> = Vec::new();
    for rule in rules {
        if !listed.iter().any(|(chain, _)| *chain == rule.chain) {
            listed.push((&rule.chain, object::rules(socket, table, &rule.chain)?));
        }
        let expected = object::expected_rule(&rule.comment, |m| (rule.write)(Expressions(m)).0);
        let is_same = |found: &ListedRule| found.does_as(&expected);
        let mut in_chain = listed.iter().filter(|(chain, _)| *chain == rule.chain);
        if !in_chain.any(|(_, found)| found.iter().any(is_same)) {
            let SharedRule { chain, comment, .. } = rule;
            return Ok(Some(format!("the chain {chain} of table {table} lacks its rule {comment:?}")));
        }
    }
    Ok(None)
}

/// Whether all elements of a set have one label, which has so many or fewer of them.
pub(crate) fn all_of(
    socket: &mut Socket,
    table: Table,
    set: &str,
    label: &str,
    count: usize,
) -> Result<bool, NetlinkError> {
    let elements = match count < FIRST_ELEMENTS {
        true => object::first_elements(table, set)?,
        false => object::all_elements(socket, table, set)?,
    };
    Ok(elements.iter().all(|element| element.comment == label))
}

/// The socket for changes; `None` if the kernel has no nftables.
pub(crate) fn socket_if_any() -> Result<Option<Socket>, NetlinkError> {
    match Socket::netfilter() {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A map of notes in a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ledger {
    pub(crate) table: Table,
    pub(crate) map: &'static str,
}

fn key(identity: [u8; IDENTITY], number: usize) -> Vec<u8> {
    [&identity[..], &(number as u32).to_ne_bytes()].concat()
}

impl Ledger {
    /// Notes what an attachment has; refused with `EEXIST` if something is noted.
    pub(crate) fn add(&self, attachment: &Attachment, notes: &[Vec<u8>]) -> Vec<Message> {
        self.add_as(attachment.identity(), &attachment.label(), notes)
    }

    /// Notes what something has that is known by an identity and a label; refused with `EEXIST` if something is noted.
    pub(crate) fn add_as(&self, identity: [u8; IDENTITY], label: &str, notes: &[Vec<u8>]) -> Vec<Message> {
        let add = |(number, note): (usize, &Vec<u8>)| {
            let element = object::Element {
                key: key(identity, number),
                value: note.clone(),
                comment: label.to_owned(),
            };
            object::add_element(self.table, self.map, &element)
        };
        notes.iter().enumerate().map(add).collect()
    }

    /// Removes so many notes.
    pub(crate) fn delete(&self, identity: [u8; IDENTITY], count: usize) -> Vec<Message> {
        (0..count)
            .map(|number| object::delete_element(self.table, self.map, &key(identity, number)))
            .collect()
    }

    /// What is noted of an attachment, in order.
    pub(crate) fn read(
        &self,
        socket: &mut Socket,
        identity: [u8; IDENTITY],
    ) -> Result<Vec<Vec<u8>>, NetlinkError> {
        let mut notes = Vec::new();
        while let Some(element) = object::element(socket, self.table, self.map, &key(identity, notes.len()))?
        {
            notes.push(element.value);
        }
        Ok(notes)
    }

    /// Whether something is noted of an attachment.
    pub(crate) fn knows(&self, socket: &mut Socket, identity: [u8; IDENTITY]) -> Result<bool, NetlinkError> {
        Ok(object::element(socket, self.table, self.map, &key(identity, 0))?.is_some())
    }

    /// The attachments whose label is chosen, each by its identity and label.
    pub(crate) fn attachments(
        &self,
        socket: &mut Socket,
        chosen: impl Fn(&str) -> bool,
    ) -> Result<HashSet<([u8; IDENTITY], String)>, NetlinkError> {
        let all = object::all_elements(socket, self.table, self.map)?;
        let chosen = all.into_iter().filter(|element| chosen(&element.comment));
        Ok(chosen.filter_map(|element| Some((*element.key.first_chunk()?, element.comment))).collect())
    }

    /// Removes the table if nothing is noted but what one label has, of so many notes, or nothing at all. Answers whether the
    /// table has gone. The transaction is refused unless the ruleset is still the one that was looked at: otherwise the table
    /// might go together with a note that came in between. One transaction rather than several, as each that removes something
    /// has the process wait for the kernel.
    pub(crate) fn remove_if_only(
        &self,
        socket: &mut Socket,
        label: &str,
        count: usize,
    ) -> Result<bool, NetlinkError> {
        for _ in 0..ATTEMPTS {
            let generation = object::generation(socket)?;
            if !all_of(socket, self.table, self.map, label, count)? {
                return Ok(false);
            }
            let changes = vec![object::delete_table(self.table)];
            match transact(socket, &format!("remove the table {}", self.table), generation, changes) {
                Err(error) if error.is(libc::ERESTART) => {}
                Err(error) if error.is(libc::ENOENT) => return Ok(true),
                other => return other.map(|()| true),
            }
        }
        // Others are so busy here that one of them will remove it.
        Ok(false)
    }

    /// Whether the table is there though nothing is noted.
    pub(crate) fn is_idle(&self) -> Result<bool, NetlinkError> {
        match socket_if_any()? {
            Some(mut socket) => {
                Ok(!object::has_elements(self.table, self.map)?
                    && object::has_table(&mut socket, self.table)?)
            }
            None => Ok(false),
        }
    }

    /// Removes the table unless something is noted.
    pub(crate) fn remove_if_idle(&self) -> Result<(), NetlinkError> {
        let Some(mut socket) = socket_if_any()? else { return Ok(()) };
        if object::has_table(&mut socket, self.table)? {
            // No label is empty.
            self.remove_if_only(&mut socket, "", 0)?;
        }
        Ok(())
    }
}

/// Panics if two rules cannot be told apart by chain and comment.
#[cfg(test)]
pub(crate) fn expect_distinct(rules: &[SharedRule]) {
    let names: HashSet<(&str, &str)> = rules.iter().map(|rule| (&*rule.chain, &*rule.comment)).collect();
    assert_eq!(names.len(), rules.len());
    for rule in rules {
        let written = object::expected_rule(&rule.comment, |m| (rule.write)(Expressions(m)).0);
        assert!(!written.expressions.is_empty());
        assert!(rule.comment.len() <= object::LABEL_MAX);
    }
}
