//! The formats that the schemas assert, as predicates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Tells whether a text is of a format.
pub type Predicate = fn(&str) -> bool;

/// What a text of the format is called, such as "an IPv4 address".
pub(crate) fn describe(format: &str) -> &'static str {
    match format {
        "ipv4" => "an IPv4 address",
        "ipv6" => "an IPv6 address",
        "ip" => "an IP address",
        "cidr4" => "an IPv4 address with a prefix length",
        "cidr6" => "an IPv6 address with a prefix length",
        "cidr" => "an address with a prefix length",
        "mac" => "a hardware address",
        "semver" => "a SemVer 2.0 version",
        _ => "of the format that is asked for",
    }
}

/// An IPv4 address in dotted decimal, without leading zeros.
pub fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

/// An IPv6 address, without zone.
pub fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// An IPv4 or IPv6 address.
pub fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// An IPv4 address, a slash and a prefix length from 0 to 32; host bits may be set.
pub fn is_cidr4(text: &str) -> bool {
    split(text).is_some_and(|(address, length)| is_ipv4(address) && length <= 32)
}

/// An IPv6 address, a slash and a prefix length from 0 to 128; host bits may be set.
pub fn is_cidr6(text: &str) -> bool {
    split(text).is_some_and(|(address, length)| is_ipv6(address) && length <= 128)
}

/// An address of either family with its prefix length.
pub fn is_cidr(text: &str) -> bool {
    is_cidr4(text) || is_cidr6(text)
}

/// 6, 8 or 20 octets in hexadecimal, separated by colons.
pub fn is_mac(text: &str) -> bool {
    let octets = text.split(':');
    matches!(octets.clone().count(), 6 | 8 | 20)
        && octets.into_iter().all(|octet| octet.len() == 2 && octet.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A version number by Semantic Versioning 2.0.
pub fn is_semver(text: &str) -> bool {
    semver::Version::parse(text).is_ok()
}

/// Splits `<address>/<length>`; the length is decimal, without sign or leading zero.
fn split(text: &str) -> Option<(&str, u8)> {
    let (address, length) = text.split_once('/')?;
    let plain = length.bytes().all(|b| b.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    plain.then(|| length.parse().ok()).flatten().map(|length| (address, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(check: Predicate, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(check(text), "{text:?} is good");
        }
        for text in bad {
            assert!(!check(text), "{text:?} is bad");
        }
    }

    #[test]
    fn addresses() {
        holds(
            is_ipv4,
            &["10.0.0.1", "0.0.0.0"],
            &["", "10.0.0", "10.0.0.256", "010.0.0.1", "::1", "10.0.0.1 "],
        );
        holds(is_ipv6, &["::", "2001:db8::1", "::ffff:10.0.0.1"], &["", ":::", "fe80::1%eth0", "10.0.0.1"]);
        holds(is_ip, &["10.0.0.1", "::1"], &["", "localhost", "10.0.0.1/8", "[::1]"]);
    }

    #[test]
    fn prefixes() {
        holds(is_cidr4, &["10.1.0.5/16", "0.0.0.0/0", "10.0.0.1/32"], &["10.0.0.1/33", "10.0.0.1", "::/0"]);
        holds(
            is_cidr6,
            &["2001:db8::5/64", "::/0", "::1/128"],
            &["::/129", "::1", "10.0.0.1/8", "::1/64/64"],
        );
        holds(
            is_cidr,
            &["10.1.0.5/16", "::/0"],
            &["/8", "10.0.0.1/", "10.0.0.1/08", "10.0.0.1/+8", "default"],
        );
    }

    #[test]
    fn hardware_addresses() {
        let ib = "80:00:00:48:fe:80:00:00:00:00:00:00:00:02:c9:03:00:00:1b:5d";
        holds(
            is_mac,
            &["0a:58:0a:01:00:05", "0A:58:0A:01:00:05", "00:11:22:33:44:55:66:77", ib],
            &[
                "",
                "0a:58:0a:01:00",
                "0a-58-0a-01-00-05",
                "0a:58:0a:01:00:0g",
                "0a58.0a01.0005",
                "a:58:0a:01:00:05",
            ],
        );
    }

    #[test]
    fn versions() {
        holds(
            is_semver,
            &["0.1.0", "1.1.0", "1.0.0-rc1", "1.0.0+build.7"],
            &["", "1", "1.1", "v1.1.0", "01.0.0", "1.0.0-01", "1.0.0-a..b", "1.1.0 "],
        );
    }
}
