//! The address ranges of host-local.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::Value;

use crate::fields::{Fields, elements, invalid};
use crate::refusal::Refusal;

/// A range of addresses in a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) subnet: IpNet,
    pub(crate) gateway: IpAddr,
    first: IpAddr,
    last: IpAddr,
}

/// Ranges of one family, of which an attachment gets one address.
pub(crate) type RangeSet = Vec<Range>;

/// An address as a number, which counts within its family.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// The address of the same family as `like` that a number is.
fn address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(number as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

impl Range {
    fn read(fields: Fields<'_>) -> Result<Range, Refusal> {
        let place = fields.place("subnet");
        let subnet = fields.prefix("subnet")?.ok_or_else(|| invalid(&place, "missing: add the subnet"))?;
        if subnet.addr() != subnet.network() {
            return Err(invalid(&place, format!("{subnet} has host bits: use {}", subnet.trunc())));
        }
        let (network, end) = (number(subnet.network()), number(subnet.broadcast()));
        if end - network < 3 {
            return Err(invalid(
                &place,
                format!("{subnet} has no room: use a prefix length of at most 30 (IPv4) or 126 (IPv6)"),
            ));
        }
        let inside = |key: &str| match fields.address(key)? {
            Some(found) if !subnet.contains(&found) => {
                Err(invalid(&fields.place(key), format!("{found} is outside the subnet {subnet}")))
            }
            other => Ok(other),
        };
        let start = inside("rangeStart")?.map(number).unwrap_or(network + 1);
        // The last address of an IPv4 subnet is for broadcasts; IPv6 has none.
        let highest = if subnet.addr().is_ipv4() { end - 1 } else { end };
        let stop = inside("rangeEnd")?.map(number).unwrap_or(highest);
        let like = subnet.addr();
        let range = Range {
            subnet,
            gateway: inside("gateway")?.unwrap_or(address(network + 1, like)),
            first: address(start.max(network + 1), like),
            last: address(stop.min(highest), like),
        };
        if range.first > range.last {
            let problem = format!(
                "the range from {} to {} is empty: swap rangeStart and rangeEnd",
                range.first, range.last
            );
            return Err(invalid(&fields.place("rangeEnd"), problem));
        }
        Ok(range)
    }

    /// Whether the range may give out an address.
    pub(crate) fn offers(&self, candidate: IpAddr) -> bool {
        candidate.is_ipv4() == self.first.is_ipv4()
            && self.first <= candidate
            && candidate <= self.last
            && candidate != self.gateway
    }

    /// How many addresses the range may give out.
    fn size(&self) -> u128 {
        let count = (number(self.last) - number(self.first)).saturating_add(1);
        let gateway = self.first <= self.gateway && self.gateway <= self.last;
        count - u128::from(gateway)
    }

    /// The addresses from one on to the end of the range.
    fn from(&self, start: IpAddr) -> impl Iterator<Item = IpAddr> {
        let like = self.first;
        (number(start)..=number(self.last))
            .map(move |number| address(number, like))
            .filter(|a| self.offers(*a))
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.first.is_ipv4() == other.first.is_ipv4() && self.first <= other.last && other.first <= self.last
    }
}

/// Whether one of the ranges may give out an address, and which.
pub(crate) fn offering(set: &RangeSet, candidate: IpAddr) -> Option<&Range> {
    set.iter().find(|range| range.offers(candidate))
}

/// The addresses of a set in the order to try them: those after the last one given out, then all from the beginning.
pub(crate) fn candidates(set: &RangeSet, last: Option<IpAddr>) -> impl Iterator<Item = (IpAddr, &Range)> {
    let position = last.and_then(|last| {
        let within = |range: &Range| {
            range.first.is_ipv4() == last.is_ipv4() && range.first <= last && last <= range.last
        };
        Some((set.iter().position(within)?, last))
    });
    let after = position.into_iter().flat_map(move |(index, last)| {
        let rest = set[index].from(last).skip_while(move |a| *a == last).map(move |a| (a, &set[index]));
        rest.chain(set[index + 1..].iter().flat_map(|range| range.from(range.first).map(move |a| (a, range))))
    });
    after.chain(set.iter().flat_map(|range| range.from(range.first).map(move |a| (a, range))))
}

/// Whether a set has an address besides the reserved ones.
pub(crate) fn has_free(set: &RangeSet, reserved: &[IpAddr]) -> bool {
    let size = set.iter().fold(0_u128, |sum, range| sum.saturating_add(range.size()));
    let taken = reserved.iter().filter(|address| offering(set, **address).is_some()).count();
    size > taken as u128
}

/// The range sets of a configuration: those that the runtime passes, those of the list `ranges`, and the one that is
/// written without a list.
pub(crate) fn read(passed: Option<&(String, &Value)>, ipam: Fields<'_>) -> Result<Vec<RangeSet>, Refusal> {
    let mut sets = Vec::new();
    if let Some((place, value)) = passed {
        read_list(place, value, &mut sets)?;
    }
    if ipam.get("subnet").is_some() {
        sets.push(vec![Range::read(ipam)?]);
    }
    if let Some(value) = ipam.get("ranges") {
        read_list(&ipam.place("ranges"), value, &mut sets)?;
    }
    for (index, set) in sets.iter().enumerate() {
        let others = sets[index + 1..].iter().flatten();
        for (position, range) in set.iter().enumerate() {
            if set[..position].iter().chain(others.clone()).any(|other| other.overlaps(range)) {
                let problem = format!("{} to {} overlaps another range", range.first, range.last);
                return Err(invalid(&ipam.place("ranges"), problem));
            }
        }
    }
    Ok(sets)
}

fn read_list(place: &str, value: &Value, sets: &mut Vec<RangeSet>) -> Result<(), Refusal> {
    for (place, list) in elements(place, value)? {
        let set = elements(&place, list)?
            .into_iter()
            .map(|(place, item)| Range::read(Fields::at(&place, item)?))
            .collect::<Result<RangeSet, Refusal>>()?;
        let Some(first) = set.first() else {
            return Err(invalid(&place, "no range: add one"));
        };
        if set.iter().any(|range| range.subnet.addr().is_ipv4() != first.subnet.addr().is_ipv4()) {
            return Err(invalid(
                &place,
                "IPv4 and IPv6 in one set: an attachment gets one address of each set, so make two",
            ));
        }
        sets.push(set);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sets(ipam: Value) -> Result<Vec<RangeSet>, Refusal> {
        read(None, Fields::at("ipam", &ipam).unwrap())
    }

    fn texts(set: &RangeSet, last: Option<&str>) -> Vec<String> {
        candidates(set, last.map(|text| text.parse().unwrap()))
            .map(|(address, _)| address.to_string())
            .collect()
    }

    #[test]
    fn reserved_addresses_of_a_subnet_are_not_given_out() {
        let set = &sets(json!({"subnet": "10.0.0.0/29"})).unwrap()[0];
        assert_eq!(texts(set, None), ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        assert_eq!(set[0].gateway.to_string(), "10.0.0.1");
        let set = &sets(json!({"subnet": "fd00::/126"})).unwrap()[0];
        assert_eq!(texts(set, None), ["fd00::2", "fd00::3"]);
    }

    #[test]
    fn the_search_begins_after_the_last_address_and_comes_round() {
        let set = &sets(json!({"ranges": [[
            {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.10", "rangeEnd": "10.0.0.11", "gateway": "10.0.0.254"},
            {"subnet": "10.0.1.0/24", "rangeStart": "10.0.1.1", "rangeEnd": "10.0.1.2"}]]}))
        .unwrap()[0];
        assert_eq!(texts(set, Some("10.0.0.10"))[..3], ["10.0.0.11", "10.0.1.2", "10.0.0.10"]);
        assert_eq!(texts(set, Some("10.0.1.2"))[..2], ["10.0.0.10", "10.0.0.11"]);
        assert_eq!(texts(set, Some("192.0.2.1"))[0], "10.0.0.10");
        assert_eq!(texts(set, Some("::1"))[0], "10.0.0.10");
    }

    #[test]
    fn containerd_spells_the_keys_of_ranges_its_way() {
        let value = json!([[{"Subnet": "10.9.0.0/24", "RangeStart": "10.9.0.5", "RangeEnd": "10.9.0.5", "Gateway": "10.9.0.9"}]]);
        let ipam = json!({});
        let passed = ("runtimeConfig.ipRanges".to_owned(), &value);
        let sets = read(Some(&passed), Fields::at("ipam", &ipam).unwrap()).unwrap();
        assert_eq!(texts(&sets[0], None), ["10.9.0.5"]);
        assert_eq!(sets[0][0].gateway.to_string(), "10.9.0.9");
        // It writes all four, empty where nothing is asked for.
        let value = json!([[{"Subnet": "10.9.0.0/30", "RangeStart": "", "RangeEnd": "", "Gateway": ""}]]);
        let passed = ("runtimeConfig.ipRanges".to_owned(), &value);
        let sets = read(Some(&passed), Fields::at("ipam", &ipam).unwrap()).unwrap();
        assert_eq!(texts(&sets[0], None), ["10.9.0.2"]);
    }

    #[test]
    fn wrong_ranges_say_where() {
        for (ipam, text) in [
            (json!({"ranges": [[null]]}), "ipam.ranges[0][0]: found null"),
            (json!({"ranges": [null]}), "ipam.ranges[0]: found null"),
            (json!({"ranges": [[]]}), "ipam.ranges[0]: no range"),
            (json!({"ranges": [[{}]]}), "ipam.ranges[0][0].subnet: missing"),
            (json!({"subnet": "10.0.0.1/24"}), "ipam.subnet: 10.0.0.1/24 has host bits"),
            (json!({"subnet": "10.0.0.0/31"}), "ipam.subnet: 10.0.0.0/31 has no room"),
            (json!({"subnet": "10.0.0.0/24", "gateway": "10.0.1.1"}), "ipam.gateway: 10.0.1.1 is outside"),
            (
                json!({"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.8"}),
                "ipam.rangeEnd",
            ),
            (
                json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.0.128/25"}]]}),
                "ipam.ranges: 10.0.0.1",
            ),
            (
                json!({"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]]}),
                "ipam.ranges[0]: IPv4 and IPv6",
            ),
        ] {
            let error = sets(ipam).unwrap_err();
            assert!(error.msg.starts_with(text), "{} for {text}", error.msg);
        }
    }

    #[test]
    fn huge_subnets_are_no_trouble() {
        let set = &sets(json!({"subnet": "::/0", "gateway": "::1"})).unwrap()[0];
        assert!(has_free(set, &["::2".parse().unwrap()]));
        assert_eq!(texts_first(set), "::2");
    }

    fn texts_first(set: &RangeSet) -> String {
        candidates(set, None).next().unwrap().0.to_string()
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(2), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_offered_address_comes_up_once_a_round(start in 1u8..=120, length in 0u8..=100, gateway in 1u8..=254, last in 0u8..=255) {
            let end = start + length;
            let set = &sets(json!({"subnet": "10.0.0.0/24", "rangeStart": format!("10.0.0.{start}"),
                "rangeEnd": format!("10.0.0.{end}"), "gateway": format!("10.0.0.{gateway}")})).unwrap()[0];
            let offered: Vec<IpAddr> = (0..=255).map(|n| IpAddr::from([10, 0, 0, n])).filter(|a| offering(set, *a).is_some()).collect();
            let mut tried: Vec<IpAddr> = candidates(set, Some([10, 0, 0, last].into())).map(|(a, _)| a).collect();
            tried.sort();
            tried.dedup();
            prop_assert_eq!(&tried, &offered);
            prop_assert!(!has_free(set, &offered));
            prop_assert_eq!(has_free(set, offered.get(1..).unwrap_or_default()), !offered.is_empty());
        }
    }
}
