//! Reads legacy iptables from the kernel: the tables that exist, through getsockopt(2). Asking for a table that
//! does not exist would make it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use super::netlink::text;
use super::snapshot::{IptablesChain, IptablesTable};
use super::sys;

const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
const HOOKS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
/// Bytes of struct xt_get_info: a name, the hooks, two offsets for each, the count and the size.
const INFO: usize = 32 + 4 + 20 + 20 + 4 + 4;
/// Bytes before the entries of struct xt_get_entries.
const ENTRIES_HEAD: usize = 40;
/// Bytes before the data of a match or target: its size, its name and its revision.
const EXTENSION_HEAD: usize = 32;

/// How entries of a family are laid out.
struct Layout {
    family: &'static str,
    domain: libc::c_int,
    level: libc::c_int,
    names: &'static str,
    /// Bytes of one address.
    address: usize,
    /// Where the protocol stands; the flags that invert follow `inverse` bytes later.
    protocol: usize,
    inverse: usize,
    /// Where the offset of the target stands; that of the next entry follows.
    target_offset: usize,
    /// Bytes of an entry before its matches.
    head: usize,
}

const LAYOUTS: [Layout; 2] = [
    Layout {
        family: "ip",
        domain: libc::AF_INET,
        level: libc::IPPROTO_IP,
        names: "/proc/self/net/ip_tables_names",
        address: 4,
        protocol: 80,
        inverse: 3,
        target_offset: 88,
        head: 112,
    },
    Layout {
        family: "ip6",
        domain: libc::AF_INET6,
        level: libc::IPPROTO_IPV6,
        names: "/proc/self/net/ip6_tables_names",
        address: 16,
        protocol: 128,
        inverse: 4,
        target_offset: 140,
        head: 168,
    },
];

/// The tables of the current network namespace.
pub(super) fn tables() -> io::Result<Vec<IptablesTable>> {
    let mut tables = Vec::new();
    for layout in &LAYOUTS {
        // The file exists only where the kernel has legacy tables.
        let Ok(names) = fs::read_to_string(layout.names) else { continue };
        let mut names: Vec<&str> = names.lines().filter(|name| !name.is_empty() && name.len() < 32).collect();
        names.sort_unstable();
        if names.is_empty() {
            continue;
        }
        // SAFETY: plain numbers; the result is checked and owned.
        let socket = sys::owned(unsafe {
            libc::socket(layout.domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW)
        })?;
        for name in names {
            let (info, entries) = fetch(&socket, layout, name)?;
            tables.push(IptablesTable {
                family: layout.family.to_owned(),
                name: name.to_owned(),
                chains: chains(layout, &info, &entries),
            });
        }
    }
    Ok(tables)
}

/// The description of a table and its entries.
fn fetch(socket: &OwnedFd, layout: &Layout, name: &str) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut named = vec![0; INFO];
    named[..name.len()].copy_from_slice(name.as_bytes());
    let info = get(socket, layout.level, GET_INFO, named.clone())?;
    let size = word(&info, INFO - 4).unwrap_or(0);
    let mut request = named;
    request.truncate(32);
    request.extend_from_slice(&size.to_ne_bytes());
    request.resize(ENTRIES_HEAD + size as usize, 0);
    let mut entries = get(socket, layout.level, GET_ENTRIES, request)?;
    entries.drain(..ENTRIES_HEAD.min(entries.len()));
    Ok((info, entries))
}

fn get(
    socket: &OwnedFd,
    level: libc::c_int,
    option: libc::c_int,
    mut buffer: Vec<u8>,
) -> io::Result<Vec<u8>> {
    let mut length = libc::socklen_t::try_from(buffer.len()).map_err(io::Error::other)?;
    // SAFETY: the buffer is valid for `length` bytes; both outlive the call.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, buffer.as_mut_ptr().cast(), &raw mut length)
    };
    if result == 0 { Ok(buffer) } else { Err(io::Error::last_os_error()) }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?)))
}

/// An entry: where it begins, and its bytes.
type Entry<'a> = (usize, &'a [u8]);

fn split<'a>(layout: &Layout, entries: &'a [u8]) -> Vec<Entry<'a>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = entries.get(at..).and_then(|rest| half(rest, layout.target_offset + 2)) {
        let Some(bytes) = entries.get(at..at + next).filter(|_| next >= layout.head) else { break };
        found.push((at, bytes));
        at += next;
    }
    found
}

/// The name and the data of a match or target.
fn extension(bytes: &[u8]) -> Option<(String, &[u8])> {
    let size = half(bytes, 0)?;
    Some((text(bytes.get(2..31)?), bytes.get(EXTENSION_HEAD..size)?))
}

fn target<'a>(layout: &Layout, entry: &'a [u8]) -> Option<(String, &'a [u8])> {
    extension(entry.get(half(entry, layout.target_offset)?..)?)
}

fn chains(layout: &Layout, info: &[u8], entries: &[u8]) -> Vec<IptablesChain> {
    let all = split(layout, entries);
    let hooks = word(info, 32).unwrap_or(0);
    let offset = |at: usize, hook: usize| word(info, at + hook * 4).map(|offset| offset as usize);
    let mut starts: BTreeMap<usize, String> = BTreeMap::new();
    let mut policies = Vec::new();
    for (hook, name) in HOOKS.iter().enumerate().filter(|(hook, _)| hooks & (1 << hook) != 0) {
        starts.extend(offset(36, hook).map(|at| (at, (*name).to_owned())));
        policies.extend(offset(56, hook));
    }
    // A chain of the user begins after an entry whose target is called ERROR and holds its name.
    let errors: Vec<usize> = all
        .iter()
        .filter_map(|(at, entry)| {
            let (name, data) = target(layout, entry)?;
            (name == "ERROR").then(|| {
                let chain = text(data);
                // The last entry of a table is an ERROR called ERROR.
                if chain != "ERROR" {
                    starts.insert(at + entry.len(), chain);
                }
                *at
            })
        })
        .collect();
    let mut chains: Vec<IptablesChain> = Vec::new();
    for (at, entry) in &all {
        if let Some(name) = starts.get(at) {
            chains.push(IptablesChain { name: name.clone(), ..IptablesChain::default() });
        }
        let Some(chain) = chains.last_mut() else { continue };
        if errors.contains(at) {
            continue;
        }
        let verdict =
            target(layout, entry).map(|(name, data)| verdict(&name, data, at + entry.len(), &starts));
        let verdict = verdict.unwrap_or_default();
        let builtin = HOOKS.contains(&chain.name.as_str());
        let ends_user_chain = !builtin && (errors.contains(&(at + entry.len())));
        if builtin && policies.contains(at) {
            chain.policy = Some(verdict);
        } else if !ends_user_chain {
            chain.rules.push(rule(layout, entry, &verdict));
        }
    }
    chains
}

fn verdict(name: &str, data: &[u8], next: usize, starts: &BTreeMap<usize, String>) -> String {
    if !name.is_empty() {
        let end = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let data: String = data[..end].iter().map(|byte| format!("{byte:02x}")).collect();
        return if data.is_empty() { name.to_owned() } else { format!("{name} 0x{data}") };
    }
    let code = word(data, 0).unwrap_or(0).cast_signed();
    match code {
        -1 => "DROP".to_owned(),
        -2 => "ACCEPT".to_owned(),
        -4 => "QUEUE".to_owned(),
        -5 => "RETURN".to_owned(),
        other => match usize::try_from(other) {
            Ok(at) if at == next => String::new(),
            Ok(at) => starts.get(&at).cloned().unwrap_or_else(|| format!("offset {at}")),
            Err(_) => format!("verdict {other}"),
        },
    }
}

/// A rule without its counters.
fn rule(layout: &Layout, entry: &[u8], verdict: &str) -> String {
    let size = layout.address;
    let inverted = entry.get(layout.protocol + layout.inverse).copied().unwrap_or(0);
    let not = |bit: u8| if inverted & bit != 0 { "! " } else { "" };
    let mut words = Vec::new();
    for (flag, bit, at) in [("-s", 0x08, 0), ("-d", 0x10, 1)] {
        let address = entry.get(at * size..(at + 1) * size).unwrap_or_default();
        let mask = entry.get((at + 2) * size..(at + 3) * size).unwrap_or_default();
        if mask.iter().any(|byte| *byte != 0) {
            words.push(format!("{}{flag} {}/{}", not(bit), address_text(address), mask_text(mask)));
        }
    }
    for (flag, bit, at) in [("-i", 0x01, 0), ("-o", 0x02, 1)] {
        let name = entry.get(size * 4 + at * 16..size * 4 + (at + 1) * 16).unwrap_or_default();
        let name = text(name);
        if !name.is_empty() {
            words.push(format!("{}{flag} {name}", not(bit)));
        }
    }
    if let Some(protocol) = half(entry, layout.protocol).filter(|protocol| *protocol != 0) {
        let bit = 0x40;
        words.push(format!("{}-p {protocol}", not(bit)));
    }
    let mut at = layout.head;
    let end = half(entry, layout.target_offset).unwrap_or(0);
    while at < end {
        let Some(bytes) = entry.get(at..end) else { break };
        let (Some(step), Some((name, data))) = (half(bytes, 0).filter(|step| *step > 0), extension(bytes))
        else {
            break;
        };
        if name == "comment" {
            words.push(format!("-m comment --comment {:?}", text(data)));
        } else {
            let end = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let data: String = data[..end].iter().map(|byte| format!("{byte:02x}")).collect();
            words.push(format!("-m {name} 0x{data}"));
        }
        at += step;
    }
    if !verdict.is_empty() {
        words.push(format!("-j {verdict}"));
    }
    words.join(" ")
}

fn address_text(bytes: &[u8]) -> String {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        Ipv4Addr::from(octets).to_string()
    } else if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
        Ipv6Addr::from(octets).to_string()
    } else {
        String::new()
    }
}

fn mask_text(mask: &[u8]) -> String {
    let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let leading = mask.iter().take_while(|byte| **byte == 0xff).count();
    let prefix = mask.get(leading).map_or(0, |byte| byte.leading_ones()) + 8 * leading as u32;
    if prefix == ones { ones.to_string() } else { address_text(mask) }
}

/// Reads a table of either family from its description and its entries.
#[cfg(feature = "fuzzing")]
pub(super) fn read_any(bytes: &[u8]) -> Vec<IptablesTable> {
    let (info, entries) = bytes.split_at(INFO.min(bytes.len()));
    let table = |layout: &Layout| IptablesTable {
        family: layout.family.to_owned(),
        name: text(&info[..info.len().min(32)]),
        chains: chains(layout, info, entries),
    };
    LAYOUTS.iter().map(table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masks_are_written_as_lengths_where_they_are_prefixes() {
        assert_eq!(mask_text(&[255, 255, 255, 0]), "24");
        assert_eq!(mask_text(&[255, 255, 255, 255]), "32");
        assert_eq!(mask_text(&[255, 0, 255, 0]), "255.0.255.0");
    }

    proptest! {
        #[test]
        fn any_table_can_be_read(info in proptest::collection::vec(any::<u8>(), 0..100), entries in proptest::collection::vec(any::<u8>(), 0..600)) {
            for layout in &LAYOUTS {
                let _ = chains(layout, &info, &entries);
                let _ = rule(layout, &entries, "ACCEPT");
            }
        }
    }
}
