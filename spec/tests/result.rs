//! Results in every version: reading, printing and converting.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use cni_spec::Version;
use cni_spec::result::{AddResult, Dns, Interface, Ip, LossReason, Route};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

#[path = "../src/testing.rs"]
mod testing;

fn parse(value: &Value) -> AddResult {
    AddResult::parse(value, Version::LATEST).unwrap()
}

fn lossless(result: &AddResult, version: Version) -> Value {
    let (value, losses) = result.to_version(version);
    assert_eq!(losses, []);
    value
}

fn old() -> Value {
    json!({
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.1.0.9"}]},
        "ip6": {"ip": "2001:db8::5/64", "routes": [{"dst": "::/0", "gw": "2001:db8::1"}]},
        "dns": {"nameservers": ["10.1.0.1"], "domain": "example", "search": ["a", "b"], "options": ["ndots:5"]},
        "vendor": {"n": 12345678901234567890_u64}
    })
}

#[test]
fn an_old_result_in_the_newer_forms() {
    let result = parse(&old());
    assert_eq!(
        lossless(&result, Version::V0_4_0),
        json!({
            "cniVersion": "0.4.0",
            "ips": [
                {"version": "4", "address": "10.1.0.5/16", "gateway": "10.1.0.1"},
                {"version": "6", "address": "2001:db8::5/64"}
            ],
            "routes": [
                {"dst": "0.0.0.0/0"},
                {"dst": "10.9.0.0/16", "gw": "10.1.0.9"},
                {"dst": "::/0", "gw": "2001:db8::1"}
            ],
            "dns": {"nameservers": ["10.1.0.1"], "domain": "example", "search": ["a", "b"], "options": ["ndots:5"]},
            "vendor": {"n": 12345678901234567890_u64}
        })
    );
    assert_eq!(
        lossless(&result, Version::V1_0_0)["ips"][0],
        json!({"address": "10.1.0.5/16", "gateway": "10.1.0.1"})
    );
    assert_eq!(lossless(&result, Version::V0_2_0), old());
}

#[test]
fn what_an_old_form_cannot_carry_is_named() {
    let result = parse(&json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0", "mtu": 1500, "sandbox": "/ns"}],
        "ips": [{"address": "10.0.0.2/24", "interface": 0}, {"address": "10.0.0.3/24"}],
        "routes": [{"dst": "0.0.0.0/0", "mtu": 1400, "table": 254}, {"dst": "::/0"}]
    }));
    let (value, losses) = result.to_version(Version::V0_2_0);
    assert_eq!(
        value,
        json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/24", "routes": [{"dst": "0.0.0.0/0"}]}})
    );
    let lost: Vec<(&str, &Value)> = losses.iter().map(|loss| (loss.path.as_str(), &loss.value)).collect();
    assert_eq!(
        lost,
        [
            ("/interfaces/0", &json!({"name": "eth0", "mtu": 1500, "sandbox": "/ns"})),
            ("/routes/0/mtu", &json!(1400)),
            ("/routes/0/table", &json!(254)),
            ("/ips/0/interface", &json!(0)),
            ("/ips/1", &json!({"address": "10.0.0.3/24"})),
            ("/routes/1", &json!({"dst": "::/0"})),
        ]
    );
    assert_eq!(losses[4].reason, LossReason::OneAddressPerFamily);
    assert_eq!(losses[5].reason, LossReason::NoAddressOfFamily);
    let (value, losses) = result.to_version(Version::V1_0_0);
    assert_eq!(losses.len(), 3);
    assert!(losses[0].to_string().contains("1.1.0"), "{}", losses[0]);
    assert_eq!(value["interfaces"][0], json!({"name": "eth0", "sandbox": "/ns"}));
}

#[test]
fn undefined_keys_that_become_defined_are_carried_if_they_fit() {
    let result = parse(&json!({
        "cniVersion": "0.4.0",
        "ips": [],
        "ip4": {"ip": "10.0.0.1/8"},
        "routes": [{"dst": "0.0.0.0/0", "mtu": 1400, "table": "main"}]
    }));
    let (value, losses) = result.to_version(Version::V1_1_0);
    assert_eq!(value["routes"], json!([{"dst": "0.0.0.0/0", "mtu": 1400}]));
    assert_eq!(losses.len(), 1);
    assert_eq!(
        (losses[0].path.as_str(), losses[0].reason),
        ("/routes/0/table", LossReason::OtherMeaning { in_version: Version::V1_1_0 })
    );
    let (_, losses) = result.to_version(Version::V0_1_0);
    assert!(losses.iter().any(|loss| loss.path == "/ip4"), "{losses:?}");
    let same = lossless(&result, Version::V0_4_0);
    assert_eq!(same["routes"][0], json!({"dst": "0.0.0.0/0", "mtu": 1400, "table": "main"}));
}

#[test]
fn every_attribute_of_1_1_0_is_checked_on_the_way_in() {
    for (list, key, right) in [
        ("interfaces", "mtu", json!(1500)),
        ("interfaces", "socketPath", json!("/run/s")),
        ("interfaces", "pciID", json!("0000:00:1f.6")),
        ("routes", "mtu", json!(1400)),
        ("routes", "advmss", json!(1300)),
        ("routes", "priority", json!(0)),
        ("routes", "table", json!(4294967295_u32)),
        ("routes", "scope", json!(253)),
    ] {
        for (value, fits) in [(right, true), (json!({}), false)] {
            let item = json!({"name": "eth0", "dst": "0.0.0.0/0", key: value});
            let result = parse(&json!({"cniVersion": "1.0.0", list: [item]}));
            let (printed, losses) = result.to_version(Version::V1_1_0);
            assert_eq!(losses.len(), usize::from(!fits), "{list} {key}");
            assert_eq!(printed[list][0].get(key), fits.then_some(&value), "{list} {key}");
            assert_eq!(
                parse(&printed).to_version(Version::V1_0_0).1.len(),
                usize::from(fits),
                "{list} {key}"
            );
        }
    }
}

#[test]
fn the_misspelt_list_of_0_3_0() {
    let entry = json!([{"version": "4", "address": "10.0.0.1/8"}]);
    for key in ["ip", "ips"] {
        let result = parse(&json!({"cniVersion": "0.3.0", key: entry}));
        assert_eq!(lossless(&result, Version::V0_3_0), json!({"cniVersion": "0.3.0", "ips": entry}));
    }
    assert!(parse(&json!({"cniVersion": "0.3.1", "ip": entry})).ips.is_empty());
}

#[test]
fn what_widespread_plugins_print_is_read() {
    let result = parse(&json!({
        "cniVersion": "0.4.0",
        "interfaces": [{"name": "lo", "mac": "", "sandbox": ""}],
        "ips": [{"address": "127.0.0.1/8", "interface": -1, "gateway": ""}],
        "dns": {}
    }));
    assert_eq!(result.ips[0].index(), None);
    assert_eq!(result.interface_of(&result.ips[0]), None);
    assert_eq!(result.dns, Some(Dns::default()));
    assert_eq!(
        lossless(&result, Version::V0_4_0)["ips"],
        json!([{"version": "4", "interface": -1, "address": "127.0.0.1/8"}])
    );
}

#[test]
fn the_fallback_counts_only_without_a_label() {
    let value = json!({"ip4": {"ip": "10.0.0.1/8"}});
    assert_eq!(AddResult::parse(&value, Version::V0_1_0).unwrap().ips.len(), 1);
    assert_eq!(AddResult::parse(&value, Version::V1_0_0).unwrap().ips.len(), 0);
    let labelled = json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/8"}});
    assert_eq!(AddResult::parse(&labelled, Version::V1_0_0).unwrap().ips.len(), 1);
}

#[test]
fn malformed_results_say_where() {
    for (value, path) in [
        (json!(null), ""),
        (json!([]), ""),
        (json!({"cniVersion": "9.9.9"}), "/cniVersion"),
        (json!({"cniVersion": 1}), "/cniVersion"),
        (json!({"ips": null}), "/ips"),
        (json!({"ips": [null]}), "/ips/0"),
        (json!({"ips": [{}]}), "/ips/0/address"),
        (json!({"ips": [{"address": "10.0.0.1"}]}), "/ips/0/address"),
        (json!({"ips": [{"address": "10.0.0.1/8", "gateway": "x"}]}), "/ips/0/gateway"),
        (json!({"ips": [{"address": "10.0.0.1/8", "interface": "0"}]}), "/ips/0/interface"),
        (json!({"ips": [{"address": "10.0.0.1/8", "interface": 1.5}]}), "/ips/0/interface"),
        (
            json!({"cniVersion": "0.4.0", "ips": [{"address": "10.0.0.1/8", "version": "6"}]}),
            "/ips/0/version",
        ),
        (json!({"cniVersion": "0.4.0", "ips": [{"address": "10.0.0.1/8", "version": 4}]}), "/ips/0/version"),
        (json!({"cniVersion": "0.2.0", "ip4": {"ip": "::1/128"}}), "/ip4/ip"),
        (json!({"cniVersion": "0.2.0", "ip4": {}}), "/ip4/ip"),
        (
            json!({"cniVersion": "0.2.0", "ip6": {"ip": "::1/128", "routes": [{"dst": "0.0.0.0/0"}]}}),
            "/ip6/routes/0/dst",
        ),
        (json!({"interfaces": [{"mac": "x"}]}), "/interfaces/0/name"),
        (json!({"interfaces": [{"name": "x", "mtu": "1500"}]}), "/interfaces/0/mtu"),
        (json!({"interfaces": [{"name": "x", "mtu": -1}]}), "/interfaces/0/mtu"),
        (json!({"routes": [{"dst": "default"}]}), "/routes/0/dst"),
        (json!({"routes": [{"dst": "0.0.0.0/0", "scope": 4294967296_u64}]}), "/routes/0/scope"),
        (json!({"dns": []}), "/dns"),
        (json!({"dns": {"search": ["a", 1]}}), "/dns/search/1"),
    ] {
        let error = AddResult::parse(&value, Version::LATEST).unwrap_err();
        assert_eq!(error.path, path, "{value}");
    }
}

fn extra() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec(("x-[a-z/~]{1,4}", any::<u64>()), 0..3)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key, json!({"v": value}))).collect())
}

fn prefix(v6: bool) -> impl Strategy<Value = ipnet::IpNet> {
    (any::<u128>(), 0u8..=128).prop_map(move |(bits, length)| {
        if v6 {
            ipnet::Ipv6Net::new(bits.into(), length).unwrap().into()
        } else {
            ipnet::Ipv4Net::new((bits as u32).into(), length % 33).unwrap().into()
        }
    })
}

fn ip(v6: bool) -> impl Strategy<Value = Ip> {
    (prefix(v6), prop::option::of(prefix(v6)), extra()).prop_map(|(address, gateway, extra)| Ip {
        gateway: gateway.map(|net| net.addr()),
        extra,
        ..Ip::new(address)
    })
}

fn route(v6: bool) -> impl Strategy<Value = Route> {
    (prefix(v6), prop::option::of(prefix(v6)), extra()).prop_map(|(dst, gw, extra)| Route {
        gw: gw.map(|net| net.addr()),
        extra,
        ..Route::new(dst)
    })
}

fn dns() -> impl Strategy<Value = Dns> {
    let texts = || prop::collection::vec("[a-z.]{0,6}", 0..3);
    (texts(), prop::option::of("[a-z]{0,5}"), texts(), texts(), extra()).prop_map(
        |(nameservers, domain, search, options, extra)| Dns { nameservers, domain, search, options, extra },
    )
}

/// What every version can hold: at most one address of each family, IPv4 first, with its routes.
fn simple() -> impl Strategy<Value = AddResult> {
    let family = |v6| prop::option::of((ip(v6), prop::collection::vec(route(v6), 0..3)));
    (family(false), family(true), prop::option::of(dns()), extra()).prop_map(|(four, six, dns, extra)| {
        let mut result = AddResult { dns, extra, ..AddResult::default() };
        for (ip, routes) in four.into_iter().chain(six) {
            result.ips.push(ip);
            result.routes.extend(routes);
        }
        result
    })
}

fn interface() -> impl Strategy<Value = Interface> {
    let text = || prop::option::of("[a-z0-9:/]{0,8}");
    ("[a-z]{1,8}", text(), prop::option::of(any::<u32>()), text(), text(), text(), extra()).prop_map(
        |(name, mac, mtu, sandbox, socket_path, pci_id, extra)| Interface {
            name,
            mac,
            mtu,
            sandbox,
            socket_path,
            pci_id,
            extra,
        },
    )
}

/// Everything that the latest version can hold.
fn full() -> impl Strategy<Value = AddResult> {
    let ips = prop::collection::vec((any::<bool>().prop_flat_map(ip), prop::option::of(-1i64..5)), 0..4);
    let numbers = prop::array::uniform5(prop::option::of(any::<u32>()));
    let routes = prop::collection::vec((any::<bool>().prop_flat_map(route), numbers), 0..4);
    (prop::collection::vec(interface(), 0..3), ips, routes, prop::option::of(dns()), extra()).prop_map(
        |(interfaces, ips, routes, dns, extra)| AddResult {
            cni_version: None,
            interfaces,
            ips: ips.into_iter().map(|(ip, interface)| Ip { interface, ..ip }).collect(),
            routes: routes
                .into_iter()
                .map(|(route, [mtu, advmss, priority, table, scope])| Route {
                    mtu,
                    advmss,
                    priority,
                    table,
                    scope,
                    ..route
                })
                .collect(),
            dns,
            extra,
        },
    )
}

const KEYS: [&str; 22] = [
    "cniVersion",
    "interfaces",
    "ips",
    "ip",
    "ip4",
    "ip6",
    "routes",
    "dns",
    "name",
    "mac",
    "mtu",
    "address",
    "gateway",
    "interface",
    "version",
    "dst",
    "gw",
    "table",
    "nameservers",
    "socketPath",
    "scope",
    "x",
];

/// A document that looks like a result, right or wrong.
fn document() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "10.0.0.1/8",
            "::1/64",
            "10.0.0.1",
            "4",
            "",
            "eth0",
            "0.2.0",
            "0.3.0",
            "0.4.0",
            "1.1.0"
        ])
        .prop_map(Value::from),
    ];
    scalar.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(KEYS.to_vec()), inner), 0..6).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(testing::fixed())]

    #[test]
    fn the_latest_version_holds_everything(result in full()) {
        let (value, losses) = result.to_version(Version::LATEST);
        prop_assert_eq!(losses, []);
        let label = Some(Version::LATEST.to_string());
        prop_assert_eq!(parse(&value), AddResult { cni_version: label, ..result });
    }

    #[test]
    fn simple_results_go_to_any_version_and_back(result in simple(), from in 0usize..7, to in 0usize..7) {
        let (from, to) = (Version::ALL[from], Version::ALL[to]);
        let (first, losses) = result.to_version(from);
        prop_assert_eq!(losses, []);
        let (second, losses) = parse(&first).to_version(to);
        prop_assert_eq!(losses, []);
        let (third, losses) = parse(&second).to_version(from);
        prop_assert_eq!(losses, []);
        prop_assert_eq!(third.to_string(), first.to_string());
    }

    #[test]
    fn going_to_a_newer_version_and_back_loses_nothing(result in full(), from in 0usize..7, to in 0usize..7) {
        let (from, to) = (Version::ALL[from.min(to)], Version::ALL[from.max(to)]);
        let (first, _) = result.to_version(from);
        let (second, losses) = parse(&first).to_version(to);
        prop_assert_eq!(losses, []);
        let (third, losses) = parse(&second).to_version(from);
        prop_assert_eq!(losses, []);
        prop_assert_eq!(third, first);
    }

    #[test]
    fn without_losses_everything_is_still_there(result in full(), to in 0usize..7) {
        let (value, losses) = result.to_version(Version::ALL[to]);
        let back = parse(&value);
        if losses.is_empty() {
            prop_assert_eq!((back.interfaces, back.ips.len(), back.routes.len(), back.dns, back.extra),
                            (result.interfaces, result.ips.len(), result.routes.len(), result.dns, result.extra));
        }
    }

    #[test]
    fn one_strange_value_never_panics(result in full(), from in 0usize..7, to in 0usize..7, list in 0usize..5,
                                      key in prop::sample::select(KEYS.to_vec()), strange in document()) {
        let (mut value, _) = result.to_version(Version::ALL[from]);
        let place = ["", "/interfaces/0", "/ips/0", "/routes/0", "/ip4"][list];
        if let Some(map) = value.pointer_mut(place).and_then(Value::as_object_mut) {
            map.insert(key.to_owned(), strange);
        }
        if let Ok(read) = AddResult::parse(&value, Version::ALL[to]) {
            let (printed, _) = read.to_version(Version::ALL[to]);
            let (again, losses) = parse(&printed).to_version(Version::ALL[to]);
            prop_assert_eq!(losses, []);
            prop_assert_eq!(again, printed);
        }
    }

    #[test]
    fn whatever_is_read_prints_and_reads_again(value in document(), fallback in 0usize..7, to in 0usize..7) {
        if let Ok(result) = AddResult::parse(&value, Version::ALL[fallback]) {
            let (printed, _) = result.to_version(Version::ALL[to]);
            let again = AddResult::parse(&printed, Version::ALL[fallback]);
            prop_assert!(again.is_ok(), "{printed} {again:?}");
            let again = again.unwrap();
            let (twice, losses) = again.to_version(Version::ALL[to]);
            prop_assert_eq!(losses, []);
            prop_assert_eq!(twice, printed);
        }
    }
}
