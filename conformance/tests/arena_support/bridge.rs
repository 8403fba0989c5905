//! What the reference plugin bridge does with frames, duplicates of addresses and VLANs, in an arena.

use std::net::IpAddr;
use std::time::Duration;

use cnitest::arena::snapshot::{FdbEntry, NamespaceState};
use cnitest::arena::{Arena, Feature, NetOp, Place, Scope};
use cnitest::invoke::{Execution, Invocation};
use serde_json::{Value, json};

use super::plugins::{arena_with, extended, of_plugin};
use super::support::run;

const PERL: &str = "/usr/bin/perl";
const BROADCAST: &str = "ff:ff:ff:ff:ff:ff";
/// A bridge keeps frames to this address for itself, and learns from them.
const RESERVED: &str = "01:80:c2:00:00:03";
const FORGED: &str = "02:66:00:00:00:66";

/// An arena with containers and the plugin.
fn arena(containers: &[&str]) -> Arena {
    let mut arena = arena_with(&["bridge", "static"]);
    for name in containers {
        arena.create_netns(name).expect("namespace");
    }
    arena
}

/// Executes the plugin for a container, with further keys of the configuration.
fn operate(arena: &mut Arena, operation: &str, container: &str, keys: &Value) -> Execution {
    let config = json!({ "cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0" });
    let invocation = of_plugin(operation, container, &extended(config, keys));
    arena.execute(&invocation.timeout(Duration::from_secs(60))).expect("the arena answers")
}

fn answer(execution: &Execution) -> Value {
    serde_json::from_slice(&execution.stdout).unwrap_or_default()
}

/// What ADD, CHECK, DEL or GC that has to succeed answers.
#[track_caller]
fn succeeds(arena: &mut Arena, operation: &str, container: &str, keys: &Value) -> Value {
    let execution = operate(arena, operation, container, keys);
    assert!(
        execution.outcome.success(),
        "{operation}: {}\n{}",
        execution.stdout_text(),
        execution.stderr_text()
    );
    answer(&execution)
}

/// The code and the message of one that has to fail.
#[track_caller]
fn fails(arena: &mut Arena, operation: &str, container: &str, keys: &Value) -> (u64, String) {
    let execution = operate(arena, operation, container, keys);
    assert!(!execution.outcome.success(), "{operation} succeeds");
    let error = answer(&execution);
    (error["code"].as_u64().unwrap_or_default(), error["msg"].as_str().unwrap_or_default().to_owned())
}

fn with(keys: &Value, key: &str, value: Value) -> Value {
    let mut keys = keys.clone();
    keys[key] = value;
    keys
}

fn scope() -> Scope {
    Scope { firewall: true, ..Scope::network() }
}

fn host(arena: &mut Arena) -> NamespaceState {
    arena.snapshot(scope()).expect("snapshot").host
}

/// Writes down what a container hears of the tests' own kind of frame, until it hears `end`.
fn listen(arena: &mut Arena, container: &str) {
    let script = format!(
        "socket(my $s, 17, 3, unpack('S', pack('n', 0x88b5))) or die $!;
         open my $heard, '>', '/run/heard-{container}'; $heard->autoflush(1);
         while (defined(recv($s, my $frame, 2000, 0))) {{
             my $text = unpack('x14 Z*', $frame); print $heard \"$text\\n\"; last if $text eq 'end'
         }}"
    );
    let script = format!("use IO::Handle; {script}");
    let listener = Invocation::new(PERL).args(["-e", &script]).netns(Place::container(container));
    arena.start_background(&listener).expect("the listener starts");
    run(
        arena,
        &format!("for i in $(seq 500); do test -e /run/heard-{container} && exit; sleep 0.02; done; exit 1"),
    );
}

/// What the container heard.
fn heard(arena: &mut Arena, container: &str) -> String {
    let wait = format!(
        "for i in $(seq 500); do grep -qx end /run/heard-{container} && break; sleep 0.02; done; cat /run/heard-{container}; rm /run/heard-{container}"
    );
    run(arena, &wait).stdout_text().lines().collect::<Vec<_>>().join(" ")
}

/// Sends frames from a container's interface: to whom, from whom, and a text.
fn send(arena: &mut Arena, container: &str, frames: &[(&str, &str, &str)]) {
    let mac = |text: &str| format!("pack('H12', '{}')", text.replace(':', ""));
    let one = |(to, from, text): &(&str, &str, &str)| {
        format!(
            "send($s, {to} . {from} . pack('n Z60', 0x88b5, '{text}'), 0, pack('S n i S C C a8', 17, 0x88b5, $i, 0, 0, 6, {to})) or die $!;",
            to = mac(to),
            from = mac(from)
        )
    };
    let script = format!(
        "socket(my $s, 17, 3, 0) or die $!; my $r = pack('a16 x24', 'eth0');
         ioctl($s, 0x8933, $r) or die $!; my $i = unpack('x16 i', $r); {}",
        frames.iter().map(one).collect::<String>()
    );
    let sender = Invocation::new(PERL).args(["-e", &script]).netns(Place::container(container));
    let sent = arena.execute(&sender).expect("the arena answers");
    assert!(sent.outcome.success(), "{}", sent.stderr_text());
}

fn has_learnt(fdb: &[FdbEntry], mac: &str) -> bool {
    fdb.iter().any(|entry| entry.mac == mac)
}

fn own_mac(result: &Value) -> String {
    result["interfaces"][2]["mac"].as_str().expect("a hardware address").to_owned()
}

#[test]
fn a_guarded_port_sends_with_its_own_address_only() {
    let mut arena = arena(&["c1", "c2"]);
    if !arena.has_program("perl").expect("answer") {
        eprintln!("skipped: frames are sent in Perl, which is not installed");
        return;
    }
    if !arena.probe_feature(Feature::BridgeNftables).expect("answer") {
        let (code, msg) = fails(&mut arena, "ADD", "c1", &json!({ "macspoofchk": true }));
        assert!(code == 100 && msg.contains("no nftables for bridges"), "{code}: {msg}");
        return;
    }
    succeeds(&mut arena, "ADD", "c2", &json!({}));
    for guarded in [false, true] {
        let keys = json!({ "macspoofchk": guarded });
        let own = own_mac(&succeeds(&mut arena, "ADD", "c1", &keys));
        listen(&mut arena, "c2");
        send(
            &mut arena,
            "c1",
            &[
                (RESERVED, FORGED, "unheard"),
                (BROADCAST, &own, "own"),
                (BROADCAST, FORGED, "forged"),
                (BROADCAST, &own, "end"),
            ],
        );
        let expected = if guarded { "own end" } else { "own forged end" };
        assert_eq!(heard(&mut arena, "c2"), expected, "guarded: {guarded}");
        assert_eq!(has_learnt(&host(&mut arena).fdb, FORGED), !guarded, "guarded: {guarded}");
        succeeds(&mut arena, "DEL", "c1", &keys);
    }
    // A bridge keeps what it learns from frames for itself, though nobody hears them.
    for guarded in [false, true] {
        let keys = json!({ "macspoofchk": guarded });
        succeeds(&mut arena, "ADD", "c1", &keys);
        send(&mut arena, "c1", &[(RESERVED, FORGED, "unheard")]);
        assert_eq!(has_learnt(&host(&mut arena).fdb, FORGED), !guarded, "guarded: {guarded}");
        succeeds(&mut arena, "DEL", "c1", &keys);
    }
    assert_eq!(host(&mut arena).nftables, []);
}

#[test]
fn a_guard_is_missed_by_check_and_goes_with_its_attachment() {
    let mut arena = arena(&["c1", "c2"]);
    if !arena.probe_feature(Feature::BridgeNftables).expect("answer") {
        eprintln!("skipped: the kernel has no nftables for bridges");
        return;
    }
    let keys = json!({ "macspoofchk": true });
    let elements = |arena: &mut Arena| {
        let tables = host(arena).nftables;
        tables.iter().flat_map(|table| &table.sets).map(|set| set.elements.len()).sum::<usize>()
    };
    succeeds(&mut arena, "STATUS", "c1", &keys);
    assert_eq!(host(&mut arena).nftables, [], "STATUS changes nothing");
    let first = succeeds(&mut arena, "ADD", "c1", &keys);
    let second = succeeds(&mut arena, "ADD", "c2", &keys);
    succeeds(&mut arena, "STATUS", "c1", &keys);
    assert_eq!(elements(&mut arena), 6);
    succeeds(&mut arena, "CHECK", "c1", &with(&keys, "prevResult", first.clone()));
    succeeds(&mut arena, "DEL", "c1", &json!({}));
    assert_eq!(elements(&mut arena), 3);
    succeeds(&mut arena, "CHECK", "c2", &with(&keys, "prevResult", second.clone()));
    // Without the table CHECK says so, and DEL does not mind.
    arena.network(&Place::Host, &NetOp::FlushNftables).expect("flushed");
    let (code, msg) = fails(&mut arena, "CHECK", "c2", &with(&keys, "prevResult", second));
    assert!(code == 104 && msg.contains("bridge cni_reference_spoofing"), "{code}: {msg}");
    succeeds(&mut arena, "DEL", "c2", &keys);
    // An attachment whose interface went with the namespace is found by GC, and by the next ADD.
    succeeds(&mut arena, "ADD", "c1", &keys);
    arena.delete_netns("c1").expect("deleted");
    // The kernel removes the pair some time later.
    let port = first["interfaces"][1]["name"].as_str().expect("the port");
    while host(&mut arena).link(port).is_some() {
        std::thread::sleep(Duration::from_millis(20));
    }
    arena.create_netns("c1").expect("namespace");
    assert_eq!(elements(&mut arena), 3);
    succeeds(&mut arena, "ADD", "c1", &keys);
    assert_eq!(elements(&mut arena), 3);
    arena.delete_netns("c1").expect("deleted");
    succeeds(&mut arena, "GC", "c1", &json!({ "cni.dev/valid-attachments": [] }));
    assert_eq!(host(&mut arena).nftables, []);
    // An ADD that fails leaves no guard.
    arena.create_netns("c1").expect("namespace");
    fails(&mut arena, "ADD", "c1", &with(&keys, "ipam", json!({ "type": "absent" })));
    let left = host(&mut arena);
    assert!(left.nftables.is_empty() && left.link("br0").is_some(), "{left:?}");
}

#[test]
fn an_address_that_somebody_has_is_refused_if_asked_to() {
    let mut arena = arena(&["c1", "c2"]);
    let keys = json!({
        "enabledad": true, "isGateway": true, "hairpinMode": true,
        "ipam": { "type": "static", "addresses": [{ "address": "fd00:9::5/64", "gateway": "fd00:9::1" }] }
    });
    let address: IpAddr = "fd00:9::5".parse().expect("an address");
    succeeds(&mut arena, "ADD", "c1", &keys);
    let state = arena.snapshot(scope()).expect("snapshot");
    let own = state.containers["c1"].addresses.iter().find(|found| found.address == address).expect("there");
    assert!(!own.tentative && !own.dad_failed, "ADD waits");
    let before = state.host.links.len();
    let (code, msg) = fails(&mut arena, "ADD", "c2", &keys);
    assert!(code == 101 && msg.starts_with("enabledad: another node of the network has fd00:9::5"), "{msg}");
    let state = arena.snapshot(scope()).expect("snapshot");
    assert_eq!(state.host.links.len(), before);
    assert!(state.containers["c2"].link("eth0").is_none());
    // Nobody looks where nobody asked.
    succeeds(&mut arena, "ADD", "c2", &with(&keys, "enabledad", json!(false)));
}

#[test]
fn a_disabled_interface_stays_down() {
    let mut arena = arena(&["c1"]);
    let keys = json!({ "disableContainerInterface": true });
    let ipam = json!({ "type": "static", "addresses": [{ "address": "10.9.0.5/24" }] });
    let (code, msg) = fails(&mut arena, "ADD", "c1", &with(&keys, "ipam", ipam));
    assert!(code == 7 && msg.starts_with("disableContainerInterface: cannot be combined with ipam"), "{msg}");
    assert!(host(&mut arena).link("br0").is_none());
    let result = succeeds(&mut arena, "ADD", "c1", &keys);
    let state = arena.snapshot(scope()).expect("snapshot");
    assert!(!state.containers["c1"].link("eth0").expect("the interface").up);
    let enabled = with(&json!({}), "prevResult", result.clone());
    succeeds(&mut arena, "CHECK", "c1", &with(&keys, "prevResult", result));
    assert_eq!(fails(&mut arena, "CHECK", "c1", &enabled), (104, "eth0 is down".to_owned()));
    succeeds(&mut arena, "DEL", "c1", &keys);
}

#[test]
fn ports_are_members_of_their_vlans_or_add_says_why_not() {
    let mut arena = arena(&["c1"]);
    let keys = json!({
        "vlan": 100, "vlanTrunk": [{ "minID": 200, "maxID": 202 }, { "id": 300 }], "isGateway": true,
        "ipam": { "type": "static", "addresses": [{ "address": "10.9.0.5/24", "gateway": "10.9.0.1" }] }
    });
    let before = host(&mut arena);
    if !arena.probe_feature(Feature::BridgeVlans).expect("answer") {
        let (code, msg) = fails(&mut arena, "ADD", "c1", &keys);
        assert!(code == 100 && msg.starts_with("vlan: this kernel's bridges know no VLANs"), "{code}: {msg}");
        assert_eq!(host(&mut arena).links, before.links);
        return;
    }
    let result = succeeds(&mut arena, "ADD", "c1", &keys);
    let state = host(&mut arena);
    let port = result["interfaces"][1]["name"].as_str().expect("the port");
    let vlans: Vec<(u16, bool)> = state
        .bridge_vlans
        .iter()
        .filter(|vlan| vlan.link == port)
        .map(|vlan| (vlan.id, vlan.pvid && vlan.untagged))
        .collect();
    assert_eq!(vlans, [(100, true), (200, false), (201, false), (202, false), (300, false)]);
    assert_eq!(result["interfaces"][3]["name"], json!("br0.100"));
    let gateway = result["interfaces"][4]["name"].as_str().expect("the gateway's port");
    assert!(state.bridge_vlans.iter().any(|vlan| vlan.link == gateway && vlan.id == 100));
    assert!(state.addresses_of("br0.100").any(|found| found.address.to_string() == "10.9.0.1"));
    succeeds(&mut arena, "CHECK", "c1", &with(&keys, "prevResult", result.clone()));
    let other = with(&keys, "vlan", json!(101));
    let (code, _) = fails(&mut arena, "CHECK", "c1", &with(&other, "prevResult", result));
    assert_eq!(code, 104);
    succeeds(&mut arena, "DEL", "c1", &keys);
    assert!(host(&mut arena).link("br0.100").is_some(), "it belongs to the network");
}
