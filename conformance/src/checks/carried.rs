//! Whether a result carries on what the prevResult said.

use cni_spec::result::{AddResult, Interface, Ip, Route};
use serde_json::{Map, Value};

use super::case::Case;
use super::kernel::{self, Added};
use super::reproducer::Assertion;

/// Expects everything in prevResult that still holds in the kernel to be in the result, and each address to name the
/// interface that it named before.
pub(super) fn expect_carried(case: &mut Case<'_>, previous: &AddResult, added: &Added) {
    let result = &added.result;
    for interface in &previous.interfaces {
        if added.link_of(interface).is_none() {
            continue;
        }
        let expected = format!("the result still lists the interface {} of prevResult", interface.name);
        let observed =
            format!("listed interfaces: {}", kernel::list(result.interfaces.iter().map(|one| &one.name)));
        let holds = result.interfaces.iter().any(|one| same_interface(one, interface));
        let assertion = printed(case, format!("\"name\": \"{}\"", interface.name));
        case.expect_as(holds, "add.prevresult-echoed", expected, observed, assertion);
    }
    for ip in &previous.ips {
        if still_there(previous, ip, added) {
            expect_ip(case, previous, ip, result);
        }
    }
    for route in &previous.routes {
        let there = added.container().is_ok_and(|state| {
            state
                .routes
                .iter()
                .any(|one| one.destination == route.dst.network() && one.prefix == route.dst.prefix_len())
        });
        let expected = format!("the result still lists the route to {} of prevResult", route.dst);
        let observed = format!("listed routes: {}", kernel::list(result.routes.iter().map(|one| one.dst)));
        let holds = !there || result.routes.iter().any(|one| one.dst == route.dst && one.gw == route.gw);
        case.expect(holds, "add.prevresult-echoed", expected, observed);
    }
    expect_dns(case, previous, result);
}

fn expect_ip(case: &mut Case<'_>, previous: &AddResult, ip: &Ip, result: &AddResult) {
    let same: Vec<&Ip> = result.ips.iter().filter(|one| one.address == ip.address).collect();
    let expected = format!("the result still lists the address {} of prevResult", ip.address);
    let observed = format!("listed addresses: {}", kernel::list(result.ips.iter().map(|one| one.address)));
    let assertion = printed(case, format!("\"{}\"", ip.address));
    if !case.expect_as(!same.is_empty(), "add.prevresult-echoed", expected, observed, assertion) {
        return;
    }
    let Some(interface) = previous.interface_of(ip) else { return };
    let holds =
        same.iter().any(|one| result.interface_of(one).is_some_and(|now| same_interface(now, interface)));
    let named = same.iter().map(|one| match (one.interface, result.interface_of(one)) {
        (None, _) => "no interface".to_owned(),
        (Some(index), Some(now)) => format!("index {index}, which is {}", now.name),
        (Some(index), None) => format!("index {index}, which is none"),
    });
    let observed = format!("{} names {}", ip.address, kernel::list(named));
    let expected = format!("{} names the index of {}, as in prevResult", ip.address, interface.name);
    case.expect(holds, "add.prevresult-indexes-kept", expected, observed);
}

/// The last execution, an ADD, printed this.
fn printed(case: &Case<'_>, text: String) -> Assertion {
    Assertion::StdoutHas(case.executions().len().saturating_sub(1), text)
}

fn expect_dns(case: &mut Case<'_>, previous: &AddResult, result: &AddResult) {
    let Some(dns) = previous.dns.as_ref().map(|dns| dns.to_value()).filter(|dns| !is_empty(dns)) else {
        return;
    };
    let now = result.dns.as_ref().map_or(Value::Null, |dns| dns.to_value());
    let holds = dns["nameservers"]
        .as_array()
        .into_iter()
        .flatten()
        .all(|server| now["nameservers"].as_array().is_some_and(|servers| servers.contains(server)));
    let expected = format!("the result still lists the nameservers of prevResult: {}", dns["nameservers"]);
    case.expect(holds, "add.prevresult-echoed", expected, format!("\"dns\": {now}"));
}

/// Whether the address is still on the container's interface that prevResult names for it.
fn still_there(previous: &AddResult, ip: &Ip, added: &Added) -> bool {
    let Some(interface) = previous.interface_of(ip) else { return false };
    let Some(place) = added.place_of(interface) else { return false };
    added
        .after
        .place(&place)
        .is_some_and(|state| kernel::addresses(state, &interface.name).contains(&ip.address))
}

fn same_interface(one: &Interface, other: &Interface) -> bool {
    let sandbox = |interface: &Interface| interface.sandbox.clone().unwrap_or_default();
    one.name == other.name && sandbox(one) == sandbox(other)
}

/// A result in the one form in which equal results are equal: no label, nothing empty, addresses in their usual form,
/// MACs in lower case, routes in order.
pub(super) fn canonical(result: &AddResult) -> Value {
    let mut plain = AddResult { cni_version: None, ..result.clone() };
    for interface in &mut plain.interfaces {
        interface.mac = interface.mac.take().map(|mac| mac.to_lowercase());
    }
    plain.routes.sort_by_key(|route: &Route| (route.dst, route.gw));
    let (mut value, _) = plain.to_version(cni_spec::Version::LATEST);
    if let Some(object) = value.as_object_mut() {
        object.remove("cniVersion");
    }
    without_empty(value)
}

fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map
                .into_iter()
                .map(|(key, item)| (key, without_empty(item)))
                .filter(|(_, item)| !is_empty(item))
                .collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(Map::from_iter(entries))
        }
        Value::Array(items) => items.into_iter().map(without_empty).collect(),
        other => other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use cni_spec::Version;
    use serde_json::json;

    use super::*;

    fn parse(value: Value) -> AddResult {
        AddResult::parse(&value, Version::V1_1_0).expect("a result")
    }

    #[test]
    fn equivalent_results_are_canonically_equal() {
        let one = json!({
            "cniVersion": "1.1.0", "dns": {}, "routes": [{"dst": "::/0"}, {"dst": "10.0.0.0/8", "gw": "10.1.0.1"}],
            "interfaces": [{"name": "eth0", "mac": "AA:BB:CC:DD:EE:FF", "sandbox": "/n"}],
            "ips": [{"address": "FD00:0::5/64", "interface": 0}]
        });
        let other = json!({
            "ips": [{"interface": 0, "address": "fd00::5/64"}],
            "interfaces": [{"sandbox": "/n", "name": "eth0", "mac": "aa:bb:cc:dd:ee:ff"}],
            "routes": [{"gw": "10.1.0.1", "dst": "10.0.0.0/8"}, {"dst": "::/0"}]
        });
        assert_eq!(canonical(&parse(one)), canonical(&parse(other)));
    }

    #[test]
    fn other_results_are_not() {
        let base =
            json!({"ips": [{"address": "10.1.0.5/16", "interface": 0}], "interfaces": [{"name": "eth0"}]});
        for (pointer, value) in [
            ("/ips/0/address", json!("10.1.0.5/24")),
            ("/ips/0/interface", json!(1)),
            ("/interfaces/0/name", json!("e")),
        ] {
            let mut changed = base.clone();
            *changed.pointer_mut(pointer).expect("there") = value;
            assert_ne!(canonical(&parse(base.clone())), canonical(&parse(changed)), "{pointer}");
        }
    }
}
