//! Reference plugins that take over what another set of plugins attached, as the Go plugins do: without labels, known by prevResult.

use std::time::Duration;

use cnitest::arena::Arena;
use serde_json::{Value, json};

use super::plugins::{arena_with, extended, of_plugin};
use super::support::run;

const CONTAINER: &str = "c1";
const MAC: &str = "02:66:00:00:00:01";

fn arena(plugin: &str) -> Arena {
    let mut arena = arena_with(&[plugin]);
    arena.create_netns(CONTAINER).expect("namespace");
    arena
}

/// A result with the container's interface.
fn listed(mac: &str) -> Value {
    json!({ "interfaces": [{ "name": "eth0", "mac": mac, "sandbox": format!("/run/netns/{CONTAINER}") }] })
}

#[track_caller]
fn succeeds(arena: &mut Arena, plugin: &str, operation: &str, keys: &Value) {
    let config = json!({ "cniVersion": "1.1.0", "name": "net", "type": plugin });
    let invocation = of_plugin(operation, CONTAINER, &extended(config, keys));
    let execution = arena.execute(&invocation.timeout(Duration::from_secs(60))).expect("the arena answers");
    assert!(execution.outcome.success(), "{operation}: {}", execution.stdout_text());
}

/// Whether a link is there, on the host or in the container.
fn has(arena: &mut Arena, link: &str, contained: bool) -> bool {
    let place = if contained { format!("-n {CONTAINER} ") } else { String::new() };
    let look = format!("ip {place}link show {link} >/dev/null 2>&1 && echo yes || echo no");
    run(arena, &look).stdout_text().trim() == "yes"
}

fn veth(arena: &mut Arena, bridged: bool) {
    let master = if bridged {
        "ip link add br0 type bridge; ip link set br0 up; ip link set vethabc master br0"
    } else {
        ":"
    };
    run(
        arena,
        &format!(
            "ip link add vethabc type veth peer name eth0 address {MAC} netns {CONTAINER}; {master};
             ip link set vethabc up; ip -n {CONTAINER} link set eth0 up"
        ),
    );
}

#[test]
fn pairs_that_another_made_are_healthy_and_removed() {
    for (plugin, bridged) in [("bridge", true), ("ptp", false)] {
        let mut arena = arena(plugin);
        veth(&mut arena, bridged);
        // ptp wants an IPAM plugin, which CHECK would ask.
        if bridged {
            succeeds(&mut arena, plugin, "CHECK", &json!({ "bridge": "br0", "prevResult": listed(MAC) }));
        }
        succeeds(&mut arena, plugin, "DEL", &json!({ "bridge": "br0", "prevResult": listed(MAC) }));
        assert!(!has(&mut arena, "eth0", true), "{plugin}");
        assert!(!has(&mut arena, "vethabc", false), "{plugin}");
    }
}

#[test]
fn what_prev_result_does_not_tell_stays() {
    let mut arena = arena("bridge");
    veth(&mut arena, true);
    let other = listed("02:66:00:00:00:02");
    for keys in [json!({}), json!({ "prevResult": other }), json!({ "prevResult": { "interfaces": [] } })] {
        succeeds(&mut arena, "bridge", "DEL", &keys);
        assert!(has(&mut arena, "eth0", true), "{keys}");
    }
    // Another attachment's is known by its label, on either end.
    for (labelled, other) in [
        (format!("-n {CONTAINER} link set eth0"), "link set vethabc".to_owned()),
        ("link set vethabc".to_owned(), format!("-n {CONTAINER} link set eth0")),
    ] {
        run(&mut arena, &format!("ip {labelled} alias somebody; ip {other} alias ''"));
        succeeds(&mut arena, "bridge", "DEL", &json!({ "prevResult": listed(MAC) }));
        assert!(has(&mut arena, "eth0", true), "{labelled}");
    }
}

#[test]
fn links_of_another_kind_stay() {
    let mut arena = arena("tap");
    veth(&mut arena, false);
    succeeds(&mut arena, "tap", "DEL", &json!({ "prevResult": listed(MAC) }));
    assert!(has(&mut arena, "eth0", true));
}

#[test]
fn links_inside_the_container_that_another_made_are_removed() {
    let mut arena = arena("macvlan");
    run(
        &mut arena,
        &format!(
            "ip link add up0 type veth peer name up1; ip link set up0 up;
             ip link add link up0 name eth0 address {MAC} netns {CONTAINER} type macvlan mode bridge"
        ),
    );
    succeeds(&mut arena, "macvlan", "DEL", &json!({ "prevResult": listed(MAC) }));
    assert!(!has(&mut arena, "eth0", true));
}

#[test]
fn devices_that_another_moved_come_back_under_their_names() {
    let mut arena = arena("host-device");
    run(
        &mut arena,
        &format!(
            "ip link add port7 type veth peer name other; ip link set port7 netns {CONTAINER} name eth0 address {MAC};
             ip -n {CONTAINER} link set eth0 alias port7; ip -n {CONTAINER} link set eth0 up"
        ),
    );
    succeeds(&mut arena, "host-device", "CHECK", &json!({ "device": "port7", "prevResult": listed(MAC) }));
    succeeds(&mut arena, "host-device", "DEL", &json!({ "device": "port7", "prevResult": listed(MAC) }));
    assert!(has(&mut arena, "port7", false));
    assert!(!has(&mut arena, "eth0", true));
}
