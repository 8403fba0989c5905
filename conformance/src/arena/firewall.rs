//! Reads nftables and the names of ipsets over nfnetlink.

use std::collections::BTreeMap;
use std::path::Path;

use super::netlink::{
    Answer, Dumps, Message, NLM_F_DUMP, NetlinkError, attribute, attributes, network_number, text,
};
use super::nft;
use super::snapshot::{NftChain, NftHook, NftRule, NftSet, NftTable};

const SUBSYS_NFTABLES: u16 = 10;
const SUBSYS_IPSET: u16 = 6;
const GET_TABLE: u16 = 1;
const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
const GET_SET: u16 = 10;
const GET_ELEMENTS: u16 = 13;
const GET_OBJECT: u16 = 19;
const GET_FLOWTABLE: u16 = 23;
const IPSET_LIST: u16 = 7;
const IPSET_PROTOCOL: u8 = 7;
/// The fixed part of a message: family, version and resource.
const FIXED: usize = 4;
const TABLE_DORMANT: u32 = 1;
const SET_ANONYMOUS: u32 = 1;
const SET_MAP: u32 = 8;
const SET_OBJECT: u32 = 0x40;
const ELEMENT_INTERVAL_END: u32 = 1;

/// A table is known by its family and its name.
type Key = (u8, String);

/// The whole ruleset of the namespace of the socket, sorted by family and name.
pub(super) fn tables(netfilter: &mut impl Dumps) -> Result<Vec<NftTable>, NetlinkError> {
    let answers = match list(netfilter, GET_TABLE) {
        // A kernel without nftables.
        Err(error) if matches!(error.errno, libc::EINVAL | libc::EOPNOTSUPP | libc::ENOENT) => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let mut tables: BTreeMap<Key, NftTable> = BTreeMap::new();
    for (family, bytes) in answers.iter().filter_map(split) {
        let name = attribute(bytes, 1).map(text).unwrap_or_default();
        let table = NftTable {
            family: family_text(family),
            name: name.clone(),
            dormant: flags(bytes, 2) & TABLE_DORMANT != 0,
            comment: attribute(bytes, 6).and_then(|data| user_data(data, 0)),
            ..NftTable::default()
        };
        tables.insert((family, name), table);
    }
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    for answer in list(netfilter, GET_CHAIN)? {
        let Some((key, bytes)) = of_table(&answer) else { continue };
        if let Some(table) = tables.get_mut(&key) {
            table.chains.push(chain(key.0, bytes));
        }
    }
    for answer in list(netfilter, GET_RULE)? {
        let Some((key, bytes)) = of_table(&answer) else { continue };
        let chain = attribute(bytes, 2).map(text).unwrap_or_default();
        let rule = NftRule {
            text: attribute(bytes, 4).map(|list| nft::expressions(key.0, list)).unwrap_or_default(),
            comment: attribute(bytes, 7).and_then(|data| user_data(data, 0)),
        };
        if let Some(chain) =
            tables.get_mut(&key).and_then(|table| table.chains.iter_mut().find(|found| found.name == chain))
        {
            chain.rules.push(rule);
        }
    }
    for answer in list(netfilter, GET_SET)? {
        let Some((key, bytes)) = of_table(&answer) else { continue };
        let set = set(netfilter, &key, bytes)?;
        if let Some(table) = tables.get_mut(&key) {
            table.sets.push(set);
        }
    }
    for (kind, what) in [(GET_OBJECT, None), (GET_FLOWTABLE, Some("flowtable"))] {
        let answers = match list(netfilter, kind) {
            Err(error) if matches!(error.errno, libc::EINVAL | libc::EOPNOTSUPP) => continue,
            other => other?,
        };
        for answer in &answers {
            let Some((key, bytes)) = of_table(answer) else { continue };
            let what = what.map_or_else(|| nft::object_kind(flags(bytes, 3)), str::to_owned);
            let name = attribute(bytes, 2).map(text).unwrap_or_default();
            if let Some(table) = tables.get_mut(&key) {
                table.objects.push(format!("{what} {name}"));
            }
        }
    }
    for table in tables.values_mut() {
        table.objects.sort();
    }
    Ok(tables.into_values().collect())
}

/// Names of the ipsets of the namespace of the socket, sorted.
pub(super) fn ipsets(netfilter: &mut impl Dumps) -> Result<Vec<String>, NetlinkError> {
    // Asking would have the kernel load the module: without it there are none.
    if !Path::new("/sys/module/ip_set").exists() {
        return Ok(Vec::new());
    }
    let request =
        Message::new(SUBSYS_IPSET << 8 | IPSET_LIST, NLM_F_DUMP, &[0; FIXED]).attribute(1, &[IPSET_PROTOCOL]);
    let answers = match netfilter.dump(&request) {
        Err(error) if matches!(error.errno, libc::EINVAL | libc::EOPNOTSUPP | libc::ENOENT) => Vec::new(),
        other => other?,
    };
    Ok(ipset_names(&answers))
}

pub(super) fn ipset_names(answers: &[Answer]) -> Vec<String> {
    let mut names: Vec<String> =
        answers.iter().filter_map(split).filter_map(|(_, bytes)| attribute(bytes, 2).map(text)).collect();
    names.sort();
    // A set of many entries comes in several messages.
    names.dedup();
    names
}

fn list(netfilter: &mut impl Dumps, kind: u16) -> Result<Vec<Answer>, NetlinkError> {
    netfilter.dump(&Message::new(SUBSYS_NFTABLES << 8 | kind, NLM_F_DUMP, &[0; FIXED]))
}

/// The family and the attributes of a message.
fn split(answer: &Answer) -> Option<(u8, &[u8])> {
    Some((*answer.payload.first()?, answer.payload.get(FIXED..)?))
}

/// The table that a message belongs to, and its attributes. The first attribute of all these is the table.
fn of_table(answer: &Answer) -> Option<(Key, &[u8])> {
    let (family, bytes) = split(answer)?;
    Some(((family, text(attribute(bytes, 1)?)), bytes))
}

fn flags(bytes: &[u8], kind: u16) -> u32 {
    attribute(bytes, kind).and_then(network_number).unwrap_or(0)
}

/// An entry of user data, by its type: text without its final zero.
fn user_data(mut data: &[u8], wanted: u8) -> Option<String> {
    loop {
        let (kind, length) = (*data.first()?, usize::from(*data.get(1)?));
        let value = data.get(2..2 + length)?;
        if kind == wanted {
            return Some(text(value));
        }
        data = &data[2 + length..];
    }
}

fn chain(family: u8, bytes: &[u8]) -> NftChain {
    let hook = attribute(bytes, 4).map(|hook| {
        let number = flags(hook, 1);
        let mut devices: Vec<String> = attribute(hook, 3).map(text).into_iter().collect();
        devices.extend(attribute(hook, 4).into_iter().flat_map(attributes).map(|(_, name)| text(name)));
        devices.sort();
        devices.dedup();
        NftHook {
            kind: attribute(bytes, 7).map(text).unwrap_or_default(),
            hook: hook_text(family, number),
            priority: flags(hook, 2).cast_signed(),
            policy: match attribute(bytes, 5).and_then(network_number) {
                Some(0) => "drop".to_owned(),
                _ => "accept".to_owned(),
            },
            devices,
        }
    });
    NftChain {
        name: attribute(bytes, 3).map(text).unwrap_or_default(),
        hook,
        comment: attribute(bytes, 12).and_then(|data| user_data(data, 0)),
        rules: Vec::new(),
    }
}

fn set(netfilter: &mut impl Dumps, key: &Key, bytes: &[u8]) -> Result<NftSet, NetlinkError> {
    let name = attribute(bytes, 2).map(text).unwrap_or_default();
    let set_flags = flags(bytes, 3);
    let types = nft::SetTypes { key: flags(bytes, 4), data: flags(bytes, 6) };
    let request = Message::new(SUBSYS_NFTABLES << 8 | GET_ELEMENTS, NLM_F_DUMP, &[key.0, 0, 0, 0])
        .text(1, &key.1)
        .text(2, &name);
    let mut elements = Vec::new();
    for answer in netfilter.dump(&request)? {
        let Some(list) = split(&answer).and_then(|(_, bytes)| attribute(bytes, 3)) else { continue };
        for (_, element) in attributes(list) {
            elements.push(element_text(element, &types));
        }
    }
    elements.sort();
    Ok(NftSet {
        name,
        is_map: set_flags & (SET_MAP | SET_OBJECT) != 0,
        anonymous: set_flags & SET_ANONYMOUS != 0,
        comment: attribute(bytes, 13).and_then(|data| user_data(data, 7)),
        elements,
    })
}

fn element_text(element: &[u8], types: &nft::SetTypes) -> String {
    let mut line = attribute(element, 1).map_or_else(|| "*".to_owned(), |key| nft::data(key, types.key));
    if let Some(end) = attribute(element, 10) {
        line += &format!("-{}", nft::data(end, types.key));
    }
    if flags(element, 3) & ELEMENT_INTERVAL_END != 0 {
        line = format!("end before {line}");
    }
    if let Some(comment) = attribute(element, 6).and_then(|data| user_data(data, 0)) {
        line += &format!(" comment {comment:?}");
    }
    if let Some(value) = attribute(element, 2) {
        line += &format!(" : {}", nft::data(value, types.data));
    }
    if let Some(object) = attribute(element, 9) {
        line += &format!(" : {}", text(object));
    }
    line
}

fn family_text(family: u8) -> String {
    let name = match family {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        other => return other.to_string(),
    };
    name.to_owned()
}

fn hook_text(family: u8, hook: u32) -> String {
    let name = match (family, hook) {
        (5, 0) | (1, 5) => "ingress",
        (5, 1) => "egress",
        (3, 0) => "input",
        (3, 1) => "output",
        (3, 2) => "forward",
        (_, 0) => "prerouting",
        (_, 1) => "input",
        (_, 2) => "forward",
        (_, 3) => "output",
        (_, 4) => "postrouting",
        (_, other) => return other.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn user_data_is_found_by_its_type() {
        let data = [1, 2, b'x', 0, 0, 3, b'h', b'i', 0];
        assert_eq!(user_data(&data, 0).as_deref(), Some("hi"));
        assert_eq!(user_data(&data, 1).as_deref(), Some("x"));
        assert_eq!(user_data(&data, 7), None);
        assert_eq!(user_data(&[0, 9, 1], 0), None);
    }

    proptest! {
        #[test]
        fn anything_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..120), types in any::<(u32, u32)>()) {
            let _ = chain(2, &bytes);
            let _ = element_text(&bytes, &nft::SetTypes { key: types.0, data: types.1 });
            let _ = user_data(&bytes, 0);
        }
    }
}
