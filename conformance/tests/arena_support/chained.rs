//! What the chained reference plugins do to real packets and interfaces, in an arena.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cnitest::arena::snapshot::Family;
use cnitest::arena::{Arena, Exchange, Listener, NetOp, Place, Scope, Transport, difference};
use cnitest::invoke::{Execution, Invocation};
use serde_json::{Value, json};

use super::plugins::{arena_with, extended, of_plugin};
use super::support::run;

const PERL: &str = "/usr/bin/perl";

/// An arena with a container `c1` behind a veth pair, its address ending in .2 and the host's in .1, and the plugin.
fn arena(plugin: &str) -> Arena {
    let mut arena = arena_with(&[plugin]);
    connect(&mut arena, "c1", 1);
    arena
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn connect(arena: &mut Arena, name: &str, number: u8) {
    arena.create_netns(name).expect("namespace");
    let place = Place::container(name);
    let host_link = format!("front{number}");
    let pair = NetOp::AddVeth { a: host_link.clone(), b: "eth0".into(), peer_place: place.clone() };
    arena.network(&Place::Host, &pair).expect("a pair");
    for (place, link, last) in [(&Place::Host, host_link.as_str(), 1), (&place, "eth0", 2)] {
        for (address, prefix) in
            [(format!("10.90.{number}.{last}"), 24), (format!("fd00:90:{number}::{last}"), 64)]
        {
            let op = NetOp::AddAddress { link: link.into(), address: ip(&address), prefix };
            arena.network(place, &op).expect("an address");
        }
        arena.network(place, &NetOp::SetUp { link: link.into() }).expect("up");
    }
    for (any, gateway) in [("0.0.0.0", format!("10.90.{number}.1")), ("::", format!("fd00:90:{number}::1"))] {
        let route = NetOp::AddRoute {
            destination: ip(any),
            prefix: 0,
            gateway: Some(ip(&gateway)),
            link: None,
            table: None,
            metric: None,
        };
        arena.network(&place, &route).expect("a route");
    }
}

/// Executes the plugin for the container `name`, whose addresses are those of [`connect`].
fn operate(arena: &mut Arena, operation: &str, name: &str, number: u8, plugin: &Value) -> Execution {
    arena.execute(&request(operation, name, number, plugin)).expect("the arena answers")
}

fn request(operation: &str, name: &str, number: u8, plugin: &Value) -> Invocation {
    let mut config = plugin.clone();
    config["cniVersion"] = json!("1.1.0");
    config["name"] = json!("net");
    config["prevResult"] = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{ "name": format!("front{number}") }, { "name": "eth0", "sandbox": format!("/run/netns/{name}") }],
        "ips": [
            { "address": format!("10.90.{number}.2/24"), "interface": 1 },
            { "address": format!("fd00:90:{number}::2/64"), "interface": 1 }
        ]
    });
    of_plugin(operation, name, &config)
}

#[track_caller]
fn succeeds(execution: &Execution) {
    assert!(execution.outcome.success(), "{}\n{}", execution.stdout_text(), execution.stderr_text());
}

/// Starts a server at port 80 of a place, which tells each client the client's address and its own name.
fn serve(arena: &mut Arena, place: &Place, name: &str, address: &str) {
    let script = format!(
        "use IO::Socket::IP; $| = 1;
         my $s = IO::Socket::IP->new(LocalHost => '{address}', LocalPort => 80, Listen => 9, V6Only => 1) or die $@;
         open my $f, '>', '/run/ready-{name}'; close $f;
         while (my $c = $s->accept) {{ print $c '{name} ' . $c->peerhost; close $c }}"
    );
    let server = Invocation::new(PERL).args(["-e", &script]).netns(place.clone());
    arena.start_background(&server).expect("the server starts");
    run(
        arena,
        &format!("for i in $(seq 500); do test -e /run/ready-{name} && exit; sleep 0.02; done; exit 1"),
    );
}

/// What a client at a place reads from a port; empty if nobody answers there.
fn ask(arena: &mut Arena, place: &Place, address: &str, port: u16) -> String {
    let script = format!(
        "use IO::Socket::IP;
         my $s = IO::Socket::IP->new(PeerHost => '{address}', PeerPort => {port}, Timeout => 5) or exit; print <$s>"
    );
    let client =
        Invocation::new(PERL).args(["-e", &script]).netns(place.clone()).timeout(Duration::from_secs(20));
    arena.execute(&client).expect("the arena answers").stdout_text()
}

#[test]
fn connections_go_through_mapped_ports_and_through_no_others() {
    let mut arena = arena("portmap");
    if !arena.has_program("perl").expect("answer") {
        eprintln!("skipped: the server and the client are written in Perl, which is not installed");
        return;
    }
    connect(&mut arena, "c2", 2);
    let (host, c1, c2) = (Place::Host, Place::container("c1"), Place::container("c2"));
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        arena.set_sysctl(&host, key, "1").expect("forwarding");
    }
    for (place, name, address) in [(&c1, "c1", "0.0.0.0"), (&c1, "c1-6", "::"), (&c2, "c2", "0.0.0.0")] {
        serve(&mut arena, place, name, address);
    }
    let plugin = json!({ "type": "portmap", "runtimeConfig": { "portMappings": [
        { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" },
        { "hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "10.90.2.1" }
    ] } });
    succeeds(&operate(&mut arena, "ADD", "c1", 1, &plugin));
    for (place, address, port, answer) in [
        (&c2, "10.90.2.1", 8080, "c1 10.90.2.2"),
        (&c2, "fd00:90:2::1", 8080, "c1-6 fd00:90:2::2"),
        (&c2, "10.90.2.1", 8081, "c1 10.90.2.2"),
        (&c2, "10.90.1.1", 8081, ""),
        (&host, "127.0.0.1", 8080, "c1 10.90.1.1"),
        (&host, "10.90.1.1", 8080, "c1 10.90.1.1"),
        // By way of the host back to itself.
        (&c1, "10.90.2.1", 8080, "c1 10.90.1.1"),
        (&c1, "fd00:90:2::1", 8080, "c1-6 fd00:90:1::1"),
        // What the host only forwards is left alone.
        (&c1, "10.90.2.2", 8080, ""),
        (&c2, "10.90.2.1", 80, ""),
    ] {
        assert_eq!(ask(&mut arena, place, address, port), answer, "{place:?} to {address} port {port}");
    }

    // A second claim waits, and takes over when the first goes.
    succeeds(&operate(&mut arena, "ADD", "c2", 2, &plugin));
    assert_eq!(ask(&mut arena, &host, "127.0.0.1", 8080), "c1 10.90.1.1");
    succeeds(&operate(&mut arena, "CHECK", "c2", 2, &plugin));
    succeeds(&operate(&mut arena, "DEL", "c1", 1, &plugin));
    succeeds(&operate(&mut arena, "CHECK", "c2", 2, &plugin));
    assert_eq!(ask(&mut arena, &host, "127.0.0.1", 8080), "c2 10.90.2.1");
    assert_eq!(ask(&mut arena, &c1, "10.90.1.1", 8080), "c2 10.90.1.2");

    // DEL needs neither the mappings nor the namespace.
    arena.delete_netns("c2").expect("deleted");
    succeeds(&operate(&mut arena, "DEL", "c2", 2, &json!({ "type": "portmap" })));
    assert_eq!(ask(&mut arena, &host, "127.0.0.1", 8080), "");
    assert_eq!(run(&mut arena, "cat /proc/sys/net/ipv4/conf/front1/route_localnet").stdout_text(), "0\n");
}

#[test]
fn bridges_that_are_guarded_do_not_reach_each_other() {
    let mut arena = arena("firewall");
    if !arena.has_program("perl").expect("answer") {
        eprintln!("skipped: the server and the client are written in Perl, which is not installed");
        return;
    }
    connect(&mut arena, "c2", 2);
    let (host, c1, c2) = (Place::Host, Place::container("c1"), Place::container("c2"));
    arena.set_sysctl(&host, "net/ipv4/ip_forward", "1").expect("forwarding");
    serve(&mut arena, &c1, "c1", "0.0.0.0");
    let plugin = json!({ "type": "firewall", "ingressPolicy": "same-bridge" });
    succeeds(&operate(&mut arena, "ADD", "c1", 1, &plugin));
    assert_eq!(ask(&mut arena, &c2, "10.90.1.2", 80), "c1 10.90.2.2", "c2 is guarded by nobody");
    succeeds(&operate(&mut arena, "ADD", "c2", 2, &plugin));
    assert_eq!(ask(&mut arena, &c2, "10.90.1.2", 80), "");
    assert_eq!(ask(&mut arena, &host, "10.90.1.2", 80), "c1 10.90.1.1");
    succeeds(&operate(&mut arena, "DEL", "c2", 2, &json!({ "type": "firewall" })));
    assert_eq!(ask(&mut arena, &c2, "10.90.1.2", 80), "c1 10.90.2.2");
}

#[test]
fn a_bridge_that_a_killed_del_left_guarded_is_no_longer_with_the_next_del_or_gc() {
    let mut arena = arena("firewall");
    if !arena.has_program("nft").expect("answer") {
        eprintln!("skipped: nft, which is to take away what a killed DEL has taken away, is not installed");
        return;
    }
    connect(&mut arena, "c2", 2);
    for operation in ["DEL", "GC"] {
        let plugin = json!({ "type": "firewall", "ingressPolicy": "same-bridge" });
        succeeds(&operate(&mut arena, "ADD", "c2", 2, &plugin));
        // What the first transaction of DEL removes.
        let of_c2 = "nft flush map inet cni_reference_firewall attachments && \
                     for set in containers_v4 containers_v6 $(nft list sets | grep -o 'users_[a-z0-9_]*'); do \
                     nft flush set inet cni_reference_firewall $set || exit 1; done";
        run(&mut arena, of_c2);
        succeeds(&operate(&mut arena, "ADD", "c1", 1, &plugin));
        let guarded = |arena: &mut Arena| {
            let listed = run(arena, "nft list set inet cni_reference_firewall guarded").stdout_text();
            ["front1", "front2"].map(|name| listed.contains(name))
        };
        assert_eq!(guarded(&mut arena), [true, true]);
        let valid = json!([{ "containerID": "c1", "ifname": "eth0" }]);
        succeeds(&operate(
            &mut arena,
            operation,
            "c2",
            2,
            &extended(plugin.clone(), &json!({ "cni.dev/valid-attachments": valid })),
        ));
        assert_eq!(guarded(&mut arena), [true, false], "{operation}");
        succeeds(&operate(&mut arena, "DEL", "c1", 1, &plugin));
        assert_eq!(run(&mut arena, "nft list tables").stdout_text(), "");
    }
}

#[test]
fn two_tunings_in_a_chain_bring_back_what_was_before_both() {
    let mut arena = arena("tuning");
    let c1 = Place::container("c1");
    let read = |arena: &mut Arena| {
        let state = arena.snapshot(Scope::network()).expect("snapshot");
        let link = state.containers["c1"].link("eth0").expect("eth0");
        (link.mtu, link.mac.clone())
    };
    let sysctl = |arena: &mut Arena, key: &str| arena.sysctl(&c1, key).expect("a setting");
    let first =
        json!({ "type": "tuning", "mtu": 1400, "sysctl": { "net.ipv4.conf.IFNAME.arp_filter": "1" } });
    let second = json!({ "type": "tuning", "mtu": 1300, "mac": "02:00:00:00:00:77" });
    let before = read(&mut arena);
    let added = operate(&mut arena, "ADD", "c1", 1, &first);
    succeeds(&added);
    let result: Value = serde_json::from_str(&added.stdout_text()).expect("a result");
    assert_eq!(result["interfaces"][1]["mtu"], 1400);
    succeeds(&operate(&mut arena, "ADD", "c1", 1, &second));
    assert_eq!(sysctl(&mut arena, "net/ipv4/conf/eth0/arp_filter"), "1");
    succeeds(&operate(&mut arena, "CHECK", "c1", 1, &second));
    assert!(!operate(&mut arena, "CHECK", "c1", 1, &first).outcome.success(), "its MTU was changed since");
    // One that fails takes back its own part only.
    let failing = json!({ "type": "tuning", "mtu": 1200, "sysctl": { "net.no.such": "1" } });
    assert!(!operate(&mut arena, "ADD", "c1", 1, &failing).outcome.success());
    succeeds(&operate(&mut arena, "CHECK", "c1", 1, &second));
    assert_ne!(read(&mut arena), before);
    succeeds(&operate(&mut arena, "DEL", "c1", 1, &second));
    succeeds(&operate(&mut arena, "DEL", "c1", 1, &first));
    assert_eq!(read(&mut arena), before);
    assert_eq!(sysctl(&mut arena, "net/ipv4/conf/eth0/arp_filter"), "0");
}

#[test]
fn tuning_brings_back_what_was_before_where_del_does_not_name_the_namespace() {
    let mut arena = arena("tuning");
    let all_multicast = |arena: &mut Arena| {
        let state = arena.snapshot(Scope::network()).expect("snapshot");
        state.containers["c1"].link("eth0").expect("eth0").all_multicast
    };
    let plugin = json!({ "type": "tuning", "allmulti": true });
    succeeds(&operate(&mut arena, "ADD", "c1", 1, &plugin));
    assert!(all_multicast(&mut arena));
    let mut del = request("DEL", "c1", 1, &plugin);
    del.environment.retain(|(name, _)| name != "CNI_NETNS");
    succeeds(&arena.execute(&del).expect("the arena answers"));
    assert!(!all_multicast(&mut arena));
}

#[test]
fn the_unspecified_address_as_a_gateway_is_none_to_sbr() {
    for (gateway, family) in [("0.0.0.0", Family::V4), ("::", Family::V6)] {
        let mut arena = arena("sbr");
        let plugin = json!({ "type": "sbr", "gateways": [gateway] });
        let before = arena.snapshot(Scope::network()).expect("snapshot");
        succeeds(&operate(&mut arena, "ADD", "c1", 1, &plugin));
        let added = arena.snapshot(Scope::network()).expect("snapshot");
        let on_link = added.containers["c1"].routes.iter().filter(|route| {
            route.prefix == 0 && route.family == family && route.gateway.is_none() && route.table >= 100
        });
        assert_eq!(on_link.count(), 1, "{gateway}: {:?}", added.containers["c1"].routes);
        succeeds(&operate(&mut arena, "CHECK", "c1", 1, &plugin));
        succeeds(&operate(&mut arena, "DEL", "c1", 1, &plugin));
        let after = arena.snapshot(Scope::network()).expect("snapshot");
        assert!(difference(&before, &after).is_empty(), "{gateway}: {}", difference(&before, &after));
    }
}

/// What was sent to a container's address, and what it sent back, each in a datagram of 1000 bytes: the bytes that passed a limit each way.
fn limited_bytes(arena: &mut Arena, from: &str, to: &str) -> [u64; 2] {
    [(Place::Host, from, Place::container("c1"), to), (Place::container("c1"), to, Place::Host, from)].map(
        |(client, source, place, destination)| {
            let before = class_bytes(arena);
            let exchange = Exchange {
                transport: Transport::Udp,
                client,
                source: Some(SocketAddr::new(ip(source), 0)),
                destination: SocketAddr::new(ip(destination), 7007),
                listeners: vec![Listener { place, address: SocketAddr::new(ip(destination), 7007) }],
                patience: Duration::from_secs(30),
                persistent: true,
                filler: 1000,
            };
            let seen = arena.exchange(&exchange).expect("the arena answers");
            assert!(seen.answered, "{source} to {destination}: {seen:?}");
            class_bytes(arena) - before
        },
    )
}

/// What the classes with a rate sent, on all links of the host.
fn class_bytes(arena: &mut Arena) -> u64 {
    let shown = run(arena, "for link in $(ls /sys/class/net); do tc -s class show dev $link; done");
    let sent = |line: &str| line.trim().strip_prefix("Sent ")?.split(' ').next()?.parse::<u64>().ok();
    shown.stdout_text().lines().filter_map(sent).sum()
}

#[test]
fn only_what_goes_to_the_subnets_named_is_limited_or_all_else() {
    let rates = json!({
        "type": "bandwidth", "ingressRate": 80_000_000, "ingressBurst": 80_000_000, "egressRate": 80_000_000, "egressBurst": 80_000_000
    });
    for (key, subnets, of_v4) in [
        ("shapedSubnets", ["10.90.1.0/24"], true),
        ("shapedSubnets", ["fd00:90::/32"], false),
        ("unshapedSubnets", ["fd00:90::/32"], true),
        ("unshapedSubnets", ["10.90.1.0/24"], false),
    ] {
        let mut arena = arena("bandwidth");
        let plugin = extended(rates.clone(), &json!({ key: subnets }));
        succeeds(&operate(&mut arena, "ADD", "c1", 1, &plugin));
        let v4 = limited_bytes(&mut arena, "10.90.1.1", "10.90.1.2");
        let v6 = limited_bytes(&mut arena, "fd00:90:1::1", "fd00:90:1::2");
        let (limited, free) = if of_v4 { (v4, v6) } else { (v6, v4) };
        assert!(limited.iter().all(|bytes| *bytes >= 1000), "{key} {subnets:?}: {limited:?}");
        assert!(free.iter().all(|bytes| *bytes < 1000), "{key} {subnets:?}: {free:?}");
        succeeds(&operate(&mut arena, "CHECK", "c1", 1, &plugin));
        succeeds(&operate(&mut arena, "DEL", "c1", 1, &plugin));
    }
}
