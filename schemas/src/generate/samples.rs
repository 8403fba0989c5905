//! Formats and texts: pools of edge cases, and samples.

use std::net::{Ipv4Addr, Ipv6Addr};

use regex_syntax::hir::{Class, Hir, HirKind};

use super::source::Source;
use crate::formats::{self, Predicate};

/// What a generator must know about a `format`.
#[derive(Clone, Copy)]
pub struct Format {
    /// Its name.
    pub name: &'static str,
    /// Tells whether a text is of the format.
    pub holds: Predicate,
    /// Edge cases, the simplest first.
    pub edges: &'static [&'static str],
    /// Makes one up.
    pub sample: fn(&mut dyn Source) -> String,
}

/// The formats of CNI, with their edges.
pub const CNI_FORMATS: [Format; 8] = [
    Format { name: "ipv4", holds: formats::is_ipv4, edges: V4, sample: v4 },
    Format { name: "ipv6", holds: formats::is_ipv6, edges: V6, sample: v6 },
    Format {
        name: "ip",
        holds: formats::is_ip,
        edges: IP,
        sample: |s| if s.below(2) == 0 { v4(s) } else { v6(s) },
    },
    Format { name: "cidr4", holds: formats::is_cidr4, edges: CIDR4, sample: cidr4 },
    Format { name: "cidr6", holds: formats::is_cidr6, edges: CIDR6, sample: cidr6 },
    Format {
        name: "cidr",
        holds: formats::is_cidr,
        edges: CIDR,
        sample: |s| if s.below(2) == 0 { cidr4(s) } else { cidr6(s) },
    },
    Format {
        name: "mac",
        holds: formats::is_mac,
        edges: &[
            "02:00:00:00:00:01",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "AA:bb:CC:dd:EE:ff",
            "00:11:22:33:44:55:66:77",
            "80:00:00:48:fe:80:00:00:00:00:00:00:00:02:c9:03:00:00:1b:5d",
        ],
        sample: |s| (0..6).map(|_| format!("{:02x}", s.below(256))).collect::<Vec<_>>().join(":"),
    },
    Format {
        name: "semver",
        holds: formats::is_semver,
        edges: &[
            "1.0.0",
            "1.1.0",
            "0.4.0",
            "0.3.1",
            "0.3.0",
            "0.2.0",
            "0.1.0",
            "0.0.0",
            "2.0.0",
            "1.0.0-rc1",
            "1.0.0-0.a.1",
            "1.0.0+build.7",
            "1.1.0-alpha+001",
            "18446744073709551615.0.0",
        ],
        sample: |s| format!("{}.{}.{}", s.below(3), s.below(12), s.below(40)),
    },
];

const V4: &[&str] = &[
    "10.1.0.5",
    "0.0.0.0",
    "10.1.0.0",
    "10.1.0.1",
    "10.1.255.255",
    "127.0.0.1",
    "169.254.0.1",
    "224.0.0.1",
    "255.255.255.255",
];
const V6: &[&str] = &[
    "fd00:1::5",
    "::",
    "::1",
    "fd00:1::",
    "fe80::1",
    "ff02::1",
    "::ffff:10.1.0.5",
    "2001:DB8::A",
    "2001:0db8:0000:0000:0000:0000:0000:0001",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];
const IP: &[&str] = &[
    "10.1.0.5",
    "fd00:1::5",
    "0.0.0.0",
    "::",
    "10.1.0.0",
    "10.1.0.1",
    "10.1.255.255",
    "127.0.0.1",
    "::1",
    "fe80::1",
    "ff02::1",
    "224.0.0.1",
    "255.255.255.255",
    "::ffff:10.1.0.5",
    "2001:DB8::A",
];
const CIDR4: &[&str] = &[
    "10.1.0.0/16",
    "10.1.0.5/16",
    "0.0.0.0/0",
    "10.1.0.0/24",
    "10.1.0.128/25",
    "10.1.0.4/30",
    "10.1.0.4/31",
    "10.1.0.5/31",
    "10.1.0.5/32",
    "255.255.255.255/32",
    "10.0.0.0/8",
    "127.0.0.1/8",
];
const CIDR6: &[&str] = &[
    "fd00:1::/64",
    "fd00:1::5/64",
    "::/0",
    "fd00:1::/48",
    "fd00:1::4/126",
    "fd00:1::4/127",
    "fd00:1::5/128",
    "::1/128",
    "fe80::1/64",
    "::ffff:10.1.0.5/112",
];
const CIDR: &[&str] = &[
    "10.1.0.0/16",
    "fd00:1::/64",
    "10.1.0.5/16",
    "fd00:1::5/64",
    "0.0.0.0/0",
    "::/0",
    "10.1.0.128/25",
    "10.1.0.4/30",
    "10.1.0.4/31",
    "10.1.0.5/32",
    "fd00:1::4/126",
    "fd00:1::4/127",
    "fd00:1::5/128",
    "10.0.0.0/8",
    "::ffff:10.1.0.5/112",
];

// Most addresses come from few networks, so that they meet and ranges overlap.
fn v4(s: &mut dyn Source) -> String {
    let low = s.below(65536);
    match s.below(4) {
        0..3 => Ipv4Addr::new(10, 1, (low >> 8) as u8, low as u8),
        _ => Ipv4Addr::from(low << 16 | s.below(65536)),
    }
    .to_string()
}

fn v6(s: &mut dyn Source) -> String {
    let low = s.below(65536) as u16;
    match s.below(4) {
        0..3 => Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, low),
        _ => {
            let mut part = || s.below(65536) as u16;
            Ipv6Addr::new(part(), part(), part(), part(), part(), part(), part(), low)
        }
    }
    .to_string()
}

fn cidr4(s: &mut dyn Source) -> String {
    format!("{}/{}", v4(s), s.below(33))
}

fn cidr6(s: &mut dyn Source) -> String {
    format!("{}/{}", v6(s), s.below(129))
}

/// Texts without any rule, the simplest first.
pub(crate) const TEXTS: &[&str] = &[
    "a",
    "",
    "eth0",
    "A",
    "0",
    "a-b_c.d",
    " ",
    "é",
    "日本語",
    "🐧",
    "a b",
    "\u{202e}x",
    "\u{feff}",
    "\"",
    "\\",
    "\n",
    "\t",
    "\u{7f}",
    "/",
    "..",
    "/var/run/netns/x",
    "%s%n",
    "a%d",
    "null",
    "true",
    "-1",
    "${x}",
    "$(x)",
    "<a>",
    "'",
    "e\u{301}",
    "0123456789abcde",
];

/// Makes up a text that probably matches a pattern; whoever asks has to check.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Hir);

impl Pattern {
    /// `None` for a pattern that cannot be read even without its look-arounds.
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        regex_syntax::parse(&without_lookarounds(pattern)).ok().map(Pattern)
    }

    pub(crate) fn sample(&self, s: &mut dyn Source) -> String {
        let mut text = String::new();
        walk(&self.0, s, &mut text);
        text
    }
}

fn without_lookarounds(pattern: &str) -> String {
    let mut rest = pattern;
    let mut plain = String::new();
    while let Some(start) = rest.find("(?!").or_else(|| rest.find("(?=")) {
        plain.push_str(&rest[..start]);
        let (mut depth, mut end) = (0, rest.len());
        for (index, c) in rest[start..].char_indices() {
            depth += i32::from(c == '(') - i32::from(c == ')');
            if depth == 0 {
                end = start + index + 1;
                break;
            }
        }
        rest = &rest[end..];
    }
    plain + rest
}

fn walk(hir: &Hir, s: &mut dyn Source, text: &mut String) {
    match hir.kind() {
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.ranges();
            if ranges.is_empty() {
                return;
            }
            let range = ranges[s.below(ranges.len() as u32) as usize];
            // Near the start of a range, where the ordinary characters are.
            let (from, to) = (u32::from(range.start()), u32::from(range.end()));
            let width = (to - from + 1).min(if s.below(8) == 7 { u32::MAX } else { 96 });
            text.extend(char::from_u32(from + s.below(width)));
        }
        HirKind::Class(Class::Bytes(class)) => {
            text.extend(class.ranges().first().map(|range| char::from(range.start())));
        }
        HirKind::Repetition(repetition) => {
            let spread = repetition.max.map_or(12, |max| (max - repetition.min).min(12));
            for _ in 0..repetition.min + s.below(spread + 1) {
                walk(&repetition.sub, s, text);
            }
        }
        HirKind::Capture(capture) => walk(&capture.sub, s, text),
        HirKind::Concat(parts) => parts.iter().for_each(|part| walk(part, s, text)),
        HirKind::Alternation(parts) => walk(&parts[s.below(parts.len() as u32) as usize], s, text),
        HirKind::Empty | HirKind::Look(_) => {}
    }
}
