//! Addresses and prefixes as text.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

/// Reads an address with a prefix length, such as `10.1.0.5/16`; host bits are kept.
///
/// Answers `None` for anything else: no prefix, a zone, leading zeros, surrounding space, `default`.
pub fn parse_prefix(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    if length.is_empty() || length.len() > 3 || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if length.len() > 1 && length.starts_with('0') {
        return None;
    }
    IpNet::new(address.parse().ok()?, length.parse().ok()?).ok()
}

/// Prints an address with its prefix length.
pub fn print_prefix(prefix: &IpNet) -> String {
    prefix.to_string()
}

/// The prefix that a value is.
pub(super) fn prefix(value: &Value) -> Option<IpNet> {
    value.as_str().and_then(parse_prefix)
}

/// The address that a value is; the empty string stands for none, as in the Go library.
pub(super) fn address(value: &Value) -> Option<Option<IpAddr>> {
    match value.as_str()? {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_bits_stay() {
        assert_eq!(print_prefix(&parse_prefix("10.1.0.5/16").unwrap()), "10.1.0.5/16");
        assert_eq!(print_prefix(&parse_prefix("2001:DB8:0::1/64").unwrap()), "2001:db8::1/64");
        assert_eq!(print_prefix(&parse_prefix("0.0.0.0/0").unwrap()), "0.0.0.0/0");
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1/",
            "10.0.0.1/33",
            "10.0.0.1/+8",
            "10.0.0.1/08",
            "010.0.0.1/8",
            "fe80::1%eth0/64",
            "::/129",
            "default",
            " 10.0.0.1/8",
            "10.0.0.1/8 ",
            "10.0.0.1/8/8",
            "10.0.0.1/0x8",
            "1.2.3/8",
        ] {
            assert_eq!(parse_prefix(text), None, "{text:?}");
        }
        assert_eq!(address(&Value::from("")), Some(None));
        assert_eq!(address(&Value::from("10.0.0.1/8")), None);
        assert_eq!(address(&Value::from(1)), None);
    }

    proptest! {
        #![proptest_config(crate::testing::fixed())]

        #[test]
        fn every_prefix_survives(v4: [u8; 4], v6: [u8; 16], short in 0u8..=32, long in 0u8..=128) {
            for prefix in [IpNet::new(v4.into(), short).unwrap(), IpNet::new(v6.into(), long).unwrap()] {
                prop_assert_eq!(parse_prefix(&print_prefix(&prefix)), Some(prefix));
            }
        }

        #[test]
        fn reading_never_panics(text in "[0-9a-f:./% -]{0,40}") {
            let _ = parse_prefix(&text);
        }
    }
}
