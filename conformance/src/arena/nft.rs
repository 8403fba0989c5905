//! Text of nftables rules and values, in the manner of nft(8): enough to recognise a rule and to compare two,
//! with every value that tells rules apart, and without counters.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::netlink::{attribute, attributes, network_number, number, text};

/// Data types of nft(8), by number.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_ETHER: u32 = 9;
const TYPE_PROTO: u32 = 12;
const TYPE_SERVICE: u32 = 13;
const TYPE_MARK: u32 = 19;
const TYPE_IFINDEX: u32 = 20;
const TYPE_IFNAME: u32 = 41;
/// Bits of one type in the number of a concatenation.
const TYPE_BITS: u32 = 6;
const TYPE_VERDICT: u32 = 0xffff_ff00;

/// What the keys and the data of a set are.
pub(super) struct SetTypes {
    pub(super) key: u32,
    pub(super) data: u32,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Ipv4,
    Ipv6,
    Ether,
    Port,
    Name,
    /// A number in the machine's byte order.
    Number,
    /// Flags in the machine's byte order.
    Mark,
    Byte,
    Protocol,
    State,
    /// What kind of address: the numbers of route types.
    AddressType,
    Hex,
}

/// What a register holds.
#[derive(Clone, Debug)]
struct Loaded {
    text: String,
    form: Form,
    /// Bits that are looked at, where not all are.
    mask: Option<Vec<u8>>,
    /// A constant, which stands for itself.
    value: Option<Vec<u8>>,
}

/// The text of a rule's expressions; `family` is that of its table.
pub(super) fn expressions(family: u8, list: &[u8]) -> String {
    let mut registers: BTreeMap<u32, Loaded> = BTreeMap::new();
    let mut words: Vec<String> = Vec::new();
    for (_, one) in attributes(list) {
        let name = attribute(one, 1).map(text).unwrap_or_default();
        let data = attribute(one, 2).unwrap_or_default();
        words.extend(expression(family, &name, data, &mut registers));
    }
    words.join(" ")
}

/// A value of a set: `nested` is a verdict or bytes of the type of number `kind`.
pub(super) fn data(nested: &[u8], kind: u32) -> String {
    if let Some(verdict) = attribute(nested, 2) {
        return self::verdict(verdict);
    }
    let bytes = attribute(nested, 1).unwrap_or_default();
    if kind == TYPE_VERDICT {
        return hex(bytes);
    }
    let mut types = Vec::new();
    let mut rest = kind;
    while rest != 0 {
        types.push(rest & ((1 << TYPE_BITS) - 1));
        rest >>= TYPE_BITS;
    }
    types.reverse();
    let [one] = types.as_slice() else {
        let mut parts = Vec::new();
        let mut left = bytes;
        for kind in &types {
            let (form, size) = type_form(*kind);
            let size = size.unwrap_or(left.len()).min(left.len());
            parts.push(value(&left[..size], form));
            left = left.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
        return if parts.is_empty() { hex(bytes) } else { parts.join(" . ") };
    };
    value(bytes, type_form(*one).0)
}

/// How a type is written, and its size in bytes where that is fixed.
fn type_form(kind: u32) -> (Form, Option<usize>) {
    match kind {
        TYPE_IPV4 => (Form::Ipv4, Some(4)),
        TYPE_IPV6 => (Form::Ipv6, Some(16)),
        TYPE_ETHER => (Form::Ether, Some(6)),
        TYPE_PROTO => (Form::Protocol, Some(1)),
        TYPE_SERVICE => (Form::Port, Some(2)),
        TYPE_MARK => (Form::Mark, Some(4)),
        TYPE_IFINDEX => (Form::Number, Some(4)),
        TYPE_IFNAME => (Form::Name, Some(16)),
        _ => (Form::Hex, Some(4)),
    }
}

/// The name of a kind of object.
pub(super) fn object_kind(kind: u32) -> String {
    let name = match kind {
        1 => "counter",
        2 => "quota",
        3 => "ct helper",
        4 => "limit",
        5 => "ct count",
        6 => "tunnel",
        7 => "ct timeout",
        8 => "secmark",
        9 => "ct expectation",
        10 => "synproxy",
        other => return format!("object {other}"),
    };
    name.to_owned()
}

/// A register by the number of its first four bytes: the registers of 16 bytes are 1 to 4, those of 4 are 8 to 23.
fn register(bytes: &[u8], kind: u16) -> Option<u32> {
    let found = attribute(bytes, kind).and_then(network_number)?;
    Some(if (1..=4).contains(&found) { 8 + (found - 1) * 4 } else { found })
}

fn be(bytes: &[u8], kind: u16) -> u32 {
    attribute(bytes, kind).and_then(network_number).unwrap_or(0)
}

fn name_at(bytes: &[u8], kind: u16) -> String {
    attribute(bytes, kind).map(text).unwrap_or_default()
}

/// The words of one expression; loads go to `registers` and have none.
fn expression(family: u8, name: &str, bytes: &[u8], registers: &mut BTreeMap<u32, Loaded>) -> Option<String> {
    let held = |registers: &BTreeMap<u32, Loaded>, kind: u16| {
        register(bytes, kind).and_then(|number| registers.get(&number).cloned())
    };
    match name {
        "meta" => {
            let (what, form) = meta_key(be(bytes, 2));
            if let Some(source) = held(registers, 3) {
                return Some(format!("{what} set {}", constant(&source, form)));
            }
            load(registers, register(bytes, 1)?, what, form);
            None
        }
        "ct" => {
            let (what, form) = ct_key(be(bytes, 2));
            let direction = match attribute(bytes, 3).and_then(|bytes| bytes.first()) {
                Some(0) => "original ",
                Some(1) => "reply ",
                _ => "",
            };
            if let Some(source) = held(registers, 4) {
                return Some(format!("ct {what} set {}", constant(&source, form)));
            }
            load(registers, register(bytes, 1)?, format!("ct {direction}{what}"), form);
            None
        }
        "payload" => {
            let (base, offset, length) = (be(bytes, 2), be(bytes, 3), be(bytes, 4));
            let (what, form) = payload_field(family, base, offset, length);
            if let Some(source) = held(registers, 5) {
                return Some(format!("{what} set {}", constant(&source, form)));
            }
            load(registers, register(bytes, 1)?, what, form);
            None
        }
        "fib" => {
            let result = ["", "oif", "oifname", "type"].get(be(bytes, 2) as usize).copied().unwrap_or("");
            let flags = be(bytes, 3);
            let parts: Vec<&str> = ["saddr", "daddr", "mark", "iif", "oif"]
                .into_iter()
                .enumerate()
                .filter(|(bit, _)| flags & (1 << bit) != 0)
                .map(|(_, part)| part)
                .collect();
            let form = match result {
                "oifname" => Form::Name,
                "type" => Form::AddressType,
                _ => Form::Number,
            };
            load(registers, register(bytes, 1)?, format!("fib {} {result}", parts.join(" . ")), form);
            None
        }
        "bitwise" => {
            let mut loaded = held(registers, 1)?;
            let mask = attribute(bytes, 4).and_then(|data| attribute(data, 1)).unwrap_or_default().to_vec();
            let xor = attribute(bytes, 5).and_then(|data| attribute(data, 1)).unwrap_or_default();
            if xor.iter().any(|byte| *byte != 0) {
                loaded.text = format!("{} & {} ^ {}", loaded.text, hex(&mask), hex(xor));
            } else if be(bytes, 6) != 0 {
                let by = attribute(bytes, 7).and_then(|data| attribute(data, 1)).unwrap_or_default();
                let sign = if be(bytes, 6) == 1 { "<<" } else { ">>" };
                loaded.text = format!("{} {sign} {}", loaded.text, hex(by));
            } else {
                loaded.mask = Some(mask);
            }
            registers.insert(register(bytes, 2)?, loaded);
            None
        }
        "cmp" => {
            let loaded = held(registers, 1)?;
            let wanted = attribute(bytes, 3).and_then(|data| attribute(data, 1)).unwrap_or_default();
            Some(comparison(&loaded, be(bytes, 2), wanted))
        }
        "range" => {
            let loaded = held(registers, 1)?;
            let bound = |kind: u16| {
                attribute(bytes, kind)
                    .and_then(|data| attribute(data, 1))
                    .map(|bytes| value(bytes, loaded.form))
            };
            let sign = if be(bytes, 2) == 0 { "" } else { "!= " };
            Some(format!("{} {sign}{}-{}", loaded.text, bound(3)?, bound(4)?))
        }
        "immediate" => {
            let data = attribute(bytes, 2)?;
            if let Some(verdict) = attribute(data, 2) {
                return Some(self::verdict(verdict));
            }
            let value = attribute(data, 1)?.to_vec();
            let loaded = Loaded { text: hex(&value), form: Form::Hex, mask: None, value: Some(value) };
            registers.insert(register(bytes, 1)?, loaded);
            None
        }
        "lookup" => {
            let source = concatenation(registers, register(bytes, 2)?);
            let set = name_at(bytes, 1);
            if let Some(target) = register(bytes, 3) {
                if target == 0 {
                    return Some(format!("{source} vmap @{set}"));
                }
                load(registers, target, format!("{source} map @{set}"), Form::Hex);
                return None;
            }
            let sign = if be(bytes, 5) & 1 != 0 { "!= " } else { "" };
            Some(format!("{source} {sign}@{set}"))
        }
        "dynset" => {
            let verb = if be(bytes, 3) == 1 { "update" } else { "add" };
            let key = register(bytes, 4).map(|number| concatenation(registers, number)).unwrap_or_default();
            Some(format!("{verb} @{} {{ {key} }}", name_at(bytes, 1)))
        }
        "nat" => {
            let verb = if be(bytes, 1) == 0 { "snat" } else { "dnat" };
            let form = if be(bytes, 2) == 10 { Form::Ipv6 } else { Form::Ipv4 };
            let address = bounds(registers, bytes, (3, 4), form);
            let port = bounds(registers, bytes, (5, 6), Form::Port)
                .map(|port| format!(":{port}"))
                .unwrap_or_default();
            let ip = if form == Form::Ipv6 { "ip6" } else { "ip" };
            let flags = nat_flags(be(bytes, 7));
            Some(format!("{verb} {ip} to {}{port}{flags}", address.unwrap_or_default()))
        }
        "masq" => {
            let port = bounds(registers, bytes, (2, 3), Form::Port).map(|port| format!(" to :{port}"));
            Some(format!("masquerade{}{}", port.unwrap_or_default(), nat_flags(be(bytes, 1))))
        }
        "redir" => {
            let port = bounds(registers, bytes, (1, 2), Form::Port).map(|port| format!(" to :{port}"));
            Some(format!("redirect{}{}", port.unwrap_or_default(), nat_flags(be(bytes, 3))))
        }
        // Their values change by themselves.
        "counter" | "last" => Some(name.to_owned()),
        "quota" => Some("quota".to_owned()),
        "notrack" => Some("notrack".to_owned()),
        "log" => {
            let prefix =
                attribute(bytes, 2).map(|bytes| format!(" prefix {:?}", text(bytes))).unwrap_or_default();
            let group = attribute(bytes, 1)
                .and_then(|bytes| Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?)))
                .map(|group| format!(" group {group}"))
                .unwrap_or_default();
            Some(format!("log{prefix}{group}"))
        }
        "reject" => {
            let kind = ["icmp", "tcp reset", "icmpx"].get(be(bytes, 1) as usize).copied().unwrap_or("?");
            let code = attribute(bytes, 2).and_then(|bytes| bytes.first()).copied().unwrap_or(0);
            Some(format!("reject with {kind} {code}"))
        }
        "limit" => {
            let long = |kind: u16| {
                attribute(bytes, kind)
                    .and_then(|bytes| Some(u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?)))
                    .unwrap_or(0)
            };
            let over = if be(bytes, 5) & 1 != 0 { "over " } else { "" };
            let unit = if be(bytes, 4) == 1 { "bytes " } else { "" };
            Some(format!("limit rate {over}{} {unit}per {} s burst {}", long(1), long(2), be(bytes, 3)))
        }
        "objref" => Some(match attribute(bytes, 2) {
            Some(object) => format!("{} name {}", object_kind(be(bytes, 1)), text(object)),
            None => format!("object map @{}", name_at(bytes, 4)),
        }),
        "match" | "target" => {
            let info = attribute(bytes, 3).unwrap_or_default();
            let extension = name_at(bytes, 1);
            Some(match extension.as_str() {
                "comment" => format!("xt match comment {:?}", text(info)),
                _ => format!("xt {name} {extension} {}", hex(trimmed(info))),
            })
        }
        other => {
            let all: Vec<String> =
                attributes(bytes).map(|(kind, bytes)| format!("{kind}={}", hex(bytes))).collect();
            if let Some(target) = register(bytes, 1).filter(|number| (8..24).contains(number)) {
                load(registers, target, format!("{other} {}", all.join(" ")), Form::Hex);
                return None;
            }
            Some(format!("{other} {}", all.join(" ")).trim_end().to_owned())
        }
    }
}

fn load(registers: &mut BTreeMap<u32, Loaded>, number: u32, text: impl Into<String>, form: Form) {
    registers.insert(number, Loaded { text: text.into(), form, mask: None, value: None });
}

/// What a register holds, with the registers that were loaded right after it as a concatenation has them.
fn concatenation(registers: &BTreeMap<u32, Loaded>, first: u32) -> String {
    let Some(loaded) = registers.get(&first) else { return "?".to_owned() };
    let mut text = masked(loaded);
    let mut next = first + words_of(loaded.form);
    while let Some(more) = registers.get(&next).filter(|more| more.value.is_none()) {
        text += &format!(" . {}", masked(more));
        next += words_of(more.form);
    }
    text
}

/// Registers of four bytes that a value of this form takes.
fn words_of(form: Form) -> u32 {
    match form {
        Form::Ipv6 | Form::Name => 4,
        Form::Ether => 2,
        _ => 1,
    }
}

fn masked(loaded: &Loaded) -> String {
    match &loaded.mask {
        Some(mask) => format!("{} & {}", loaded.text, hex(mask)),
        None => loaded.text.clone(),
    }
}

/// What a register holds, a constant in the form of what it is given to.
fn constant(loaded: &Loaded, form: Form) -> String {
    match &loaded.value {
        Some(bytes) => value(bytes, form),
        None => masked(loaded),
    }
}

/// An address or port from one register, or a range from two.
fn bounds(registers: &BTreeMap<u32, Loaded>, bytes: &[u8], kinds: (u16, u16), form: Form) -> Option<String> {
    let one = |kind: u16| {
        let loaded = registers.get(&register(bytes, kind)?)?;
        Some(match &loaded.value {
            Some(bytes) => value(bytes, form),
            None => masked(loaded),
        })
    };
    let low = one(kinds.0)?;
    Some(match one(kinds.1) {
        Some(high) if high != low => format!("{low}-{high}"),
        _ => low,
    })
}

fn nat_flags(flags: u32) -> String {
    [(4, " random"), (8, " persistent"), (16, " fully-random"), (64, " netmap")]
        .into_iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, word)| word)
        .collect()
}

fn comparison(loaded: &Loaded, operation: u32, wanted: &[u8]) -> String {
    let sign = ["", "!= ", "< ", "<= ", "> ", ">= "].get(operation as usize).copied().unwrap_or("? ");
    let text = &loaded.text;
    let Some(mask) = &loaded.mask else {
        // Prefixes on a byte boundary are compared as fewer bytes of the address.
        if loaded.form == Form::Ipv4 && wanted.len() < 4 || loaded.form == Form::Ipv6 && wanted.len() < 16 {
            let mut all = wanted.to_vec();
            all.resize(if loaded.form == Form::Ipv4 { 4 } else { 16 }, 0);
            return format!("{text} {sign}{}/{}", value(&all, loaded.form), wanted.len() * 8);
        }
        return format!("{text} {sign}{}", value(wanted, loaded.form));
    };
    if matches!(loaded.form, Form::Ipv4 | Form::Ipv6)
        && let Some(length) = prefix_length(mask)
    {
        return format!("{text} {sign}{}/{length}", value(wanted, loaded.form));
    }
    // `ct state established,related` is compiled to "some of these bits".
    if loaded.form == Form::State && operation == 1 && wanted.iter().all(|byte| *byte == 0) {
        return format!("{text} {}", value(mask, Form::State));
    }
    format!("{text} & {} {sign}{}", value(mask, loaded.form), value(wanted, loaded.form))
}

/// The length of a mask that is a prefix.
fn prefix_length(mask: &[u8]) -> Option<u32> {
    let ones: u32 = mask.iter().map(|byte| byte.leading_ones()).sum();
    let total: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let contiguous = mask.iter().skip_while(|byte| **byte == 0xff).skip(1).all(|byte| *byte == 0);
    (ones == total && contiguous).then_some(ones)
}

fn verdict(bytes: &[u8]) -> String {
    let chain = attribute(bytes, 2).map(text).unwrap_or_default();
    match be(bytes, 1).cast_signed() {
        0 => "drop".to_owned(),
        1 => "accept".to_owned(),
        -1 => "continue".to_owned(),
        -2 => "break".to_owned(),
        -3 => format!("jump {chain}"),
        -4 => format!("goto {chain}"),
        -5 => "return".to_owned(),
        other => format!("verdict {other}"),
    }
}

fn meta_key(key: u32) -> (&'static str, Form) {
    match key {
        0 => ("meta length", Form::Number),
        1 => ("meta protocol", Form::Hex),
        2 => ("meta priority", Form::Number),
        3 => ("meta mark", Form::Mark),
        4 => ("iif", Form::Number),
        5 => ("oif", Form::Number),
        6 => ("iifname", Form::Name),
        7 => ("oifname", Form::Name),
        8 => ("iiftype", Form::Hex),
        9 => ("oiftype", Form::Hex),
        10 => ("skuid", Form::Number),
        11 => ("skgid", Form::Number),
        15 => ("meta nfproto", Form::Byte),
        16 => ("meta l4proto", Form::Protocol),
        17 => ("ibrname", Form::Name),
        18 => ("obrname", Form::Name),
        19 => ("pkttype", Form::Byte),
        21 => ("iifgroup", Form::Number),
        22 => ("oifgroup", Form::Number),
        26 => ("iifkind", Form::Name),
        27 => ("oifkind", Form::Name),
        _ => ("meta", Form::Hex),
    }
}

fn ct_key(key: u32) -> (&'static str, Form) {
    match key {
        0 => ("state", Form::State),
        1 => ("direction", Form::Byte),
        2 => ("status", Form::Mark),
        3 => ("mark", Form::Mark),
        6 => ("helper", Form::Name),
        7 => ("l3proto", Form::Byte),
        8 => ("saddr", Form::Hex),
        9 => ("daddr", Form::Hex),
        10 => ("protocol", Form::Protocol),
        11 => ("proto-src", Form::Port),
        12 => ("proto-dst", Form::Port),
        19 => ("ip saddr", Form::Ipv4),
        20 => ("ip daddr", Form::Ipv4),
        21 => ("ip6 saddr", Form::Ipv6),
        22 => ("ip6 daddr", Form::Ipv6),
        _ => ("key", Form::Hex),
    }
}

fn payload_field(family: u8, base: u32, offset: u32, length: u32) -> (String, Form) {
    let name = match (base, offset, length) {
        (0, 0, 6) => ("ether daddr", Form::Ether),
        (0, 6, 6) => ("ether saddr", Form::Ether),
        (0, 12, 2) => ("ether type", Form::Hex),
        (1, 8, 16) => ("ip6 saddr", Form::Ipv6),
        (1, 24, 16) => ("ip6 daddr", Form::Ipv6),
        // Fewer bytes of an address in a table of its family.
        (1, 8, 1..16) if family == 10 => ("ip6 saddr", Form::Ipv6),
        (1, 24, 1..16) if family == 10 => ("ip6 daddr", Form::Ipv6),
        (1, 9, 1) => ("ip protocol", Form::Protocol),
        (1, 6, 1) if family == 10 => ("ip6 nexthdr", Form::Protocol),
        (1, 12, 1..=4) => ("ip saddr", Form::Ipv4),
        (1, 16, 1..=4) => ("ip daddr", Form::Ipv4),
        (2, 0, 2) => ("th sport", Form::Port),
        (2, 2, 2) => ("th dport", Form::Port),
        _ => {
            let base = ["ll", "nh", "th", "ih"].get(base as usize).copied().unwrap_or("?");
            return (format!("@{base},{},{}", u64::from(offset) * 8, u64::from(length) * 8), Form::Hex);
        }
    };
    (name.0.to_owned(), name.1)
}

fn value(bytes: &[u8], form: Form) -> String {
    let short = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?).to_string());
    let written = match form {
        Form::Ipv4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).to_string()),
        Form::Ipv6 => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).to_string()),
        Form::Ether => Some(super::network::mac_text(bytes)),
        Form::Port => short(bytes),
        // A name that is compared without its final zero is a prefix of names.
        Form::Name => {
            let star = if bytes.contains(&0) || bytes.len() >= 16 { "" } else { "*" };
            Some(format!("\"{}{star}\"", text(bytes)))
        }
        Form::Number => number(bytes).map(|number| number.to_string()),
        Form::Mark => number(bytes).map(|number| format!("{number:#x}")),
        Form::Byte => bytes.first().map(u8::to_string),
        Form::Protocol => bytes.first().map(|number| match number {
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            58 => "ipv6-icmp".to_owned(),
            132 => "sctp".to_owned(),
            other => other.to_string(),
        }),
        Form::State => number(bytes).map(states),
        Form::AddressType => number(bytes).map(|kind| {
            let name = match kind {
                1 => "unicast",
                2 => "local",
                3 => "broadcast",
                4 => "anycast",
                5 => "multicast",
                6 => "blackhole",
                7 => "unreachable",
                8 => "prohibit",
                other => return other.to_string(),
            };
            name.to_owned()
        }),
        Form::Hex => None,
    };
    written.unwrap_or_else(|| hex(bytes))
}

fn states(bits: u32) -> String {
    let names: Vec<&str> =
        [(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked")]
            .into_iter()
            .filter(|(bit, _)| bits & bit != 0)
            .map(|(_, name)| name)
            .collect();
    if names.is_empty() { format!("{bits:#x}") } else { names.join(",") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masks_are_prefixes_or_not() {
        assert_eq!(prefix_length(&[255, 255, 0, 0]), Some(16));
        assert_eq!(prefix_length(&[255, 240, 0, 0]), Some(12));
        assert_eq!(prefix_length(&[0, 0, 0, 0]), Some(0));
        assert_eq!(prefix_length(&[255, 0, 255, 0]), None);
        assert_eq!(prefix_length(&[0x0f, 0, 0, 0]), None);
    }

    #[test]
    fn values_are_written_by_their_form() {
        assert_eq!(value(&[10, 1, 0, 2], Form::Ipv4), "10.1.0.2");
        assert_eq!(value(&[0, 80], Form::Port), "80");
        assert_eq!(value(b"cni0\0\0", Form::Name), "\"cni0\"");
        assert_eq!(value(b"veth", Form::Name), "\"veth*\"");
        assert_eq!(value(&6_u32.to_ne_bytes(), Form::State), "established,related");
        assert_eq!(value(&[1, 2], Form::Ipv4), "0x0102");
    }

    #[test]
    fn concatenated_elements_have_their_parts() {
        // struct: an attribute of type 1 that holds an address, a protocol and a port.
        let mut nested = vec![16, 0, 1, 0];
        nested.extend([10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0]);
        let kind = (TYPE_IPV4 << 12) | (TYPE_PROTO << 6) | TYPE_SERVICE;
        assert_eq!(data(&nested, kind), "10.0.0.1 . tcp . 80");
    }

    proptest! {
        #[test]
        fn any_expressions_can_be_written(list in proptest::collection::vec(any::<u8>(), 0..200), kind in any::<u32>()) {
            let _ = expressions(2, &list);
            let _ = data(&list, kind);
        }

        #[test]
        fn any_body_can_be_written(
            name in prop::sample::select(vec!["meta", "ct", "payload", "fib", "bitwise", "cmp", "range", "immediate",
                "lookup", "dynset", "nat", "masq", "redir", "log", "reject", "limit", "objref", "match", "other"]),
            body in proptest::collection::vec((1u16..8, proptest::collection::vec(any::<u8>(), 0..12)), 0..6),
        ) {
            let mut bytes = Vec::new();
            for (kind, value) in body {
                bytes.extend((value.len() as u16 + 4).to_ne_bytes());
                bytes.extend(kind.to_ne_bytes());
                bytes.extend(&value);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            let mut registers = BTreeMap::new();
            load(&mut registers, 8, "x", Form::Ipv4);
            let _ = expression(2, name, &bytes, &mut registers);
        }
    }
}
