//! Arenas: what is inside, what is seen of it, and that nothing gets out.

#[path = "arena_support/bridge.rs"]
mod bridge;
#[path = "arena_support/chained.rs"]
mod chained;
#[path = "arena_support/exchanged.rs"]
mod exchanged;
#[path = "arena_support/plugins.rs"]
mod plugins;
#[path = "arena_support/mod.rs"]
mod support;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cnitest::arena::dhcp::{self, Pool};
use cnitest::arena::snapshot::{FileKind, Peer, Snapshot};
use cnitest::arena::{
    Arena, ArenaConfig, ArenaError, ArenaPool, Bind, Exchange, Listener, NetOp, Place, PluginAlias, Scope,
    Transport, difference,
};
use cnitest::invoke::Invocation;

use support::{arena, config, is_root, run, shell, until_run};

fn veth(a: &str, b: &str, peer_place: Place) -> NetOp {
    NetOp::AddVeth { a: a.into(), b: b.into(), peer_place }
}

fn up(link: &str) -> NetOp {
    NetOp::SetUp { link: link.into() }
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().expect("an address")
}

#[test]
fn directories_start_empty_and_writes_stay_inside() {
    let mut arena = arena();
    for directory in ["/tmp", "/etc/cni", "/var/lib/cni", "/opt/cni/bin", "/run/netns"] {
        assert_eq!(arena.list_dir(directory).expect(directory), [], "{directory}");
    }
    let name = "written-in-an-arena";
    for directory in ["/etc", "/usr", "/var", "/opt", "/tmp", "/run", "/etc/cni", "/var/lib/cni/deep/er"] {
        let path = Path::new(directory).join(name);
        arena.write_file(&path, "x", 0o600).expect(directory);
        assert!(!path.exists(), "{} is on the host", path.display());
    }
    assert!(
        arena.list_dir("/bin").expect("listed").iter().any(|entry| entry.name == "sh"),
        "the host's files"
    );
    let files = arena.snapshot(Scope::files()).expect("snapshot").files;
    assert_eq!(files[Path::new("/etc/written-in-an-arena")].mode, 0o600);
    assert_eq!(files[Path::new("/var/lib/cni/deep")].kind, FileKind::Directory);
    assert!(files.contains_key(Path::new("/var/lib/cni/deep/er/written-in-an-arena")));
    assert_eq!(files.len(), 10, "{files:?}");
}

#[test]
fn the_kernel_of_the_host_is_out_of_reach() {
    let mut arena = arena();
    for path in ["/proc/sys/kernel/panic", "/proc/sys/vm/swappiness", "/sys/kernel/uevent_seqnum"] {
        let written = arena.execute(&shell(&format!("echo 1 > {path}"))).expect("answer");
        assert!(!written.outcome.success(), "{path} was written");
    }
    let own = run(&mut arena, "readlink /proc/1/exe >/dev/null; echo $$; ls /sys/class/net").stdout_text();
    let mut lines = own.lines();
    assert!(lines.next().and_then(|pid| pid.parse::<u32>().ok()).is_some_and(|pid| pid < 1000), "{own}");
    assert_eq!(lines.collect::<Vec<_>>(), ["lo"], "sysfs shows the arena's links");
    let status = run(&mut arena, "cat /proc/self/status").stdout_text();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("a bounding set");
    let bounding = u64::from_str_radix(bounding, 16).expect("hexadecimal");
    assert!(bounding & 1 << 12 != 0, "plugins administer the network");
    assert_eq!(bounding & 1 << 16 == 0, is_root(), "root's plugins load no modules; others' cannot anyway");
    run(&mut arena, "test -c /dev/null && test -r /dev/urandom && : >/dev/null");
    assert!(!run(&mut arena, "cat /proc/mounts").stdout_text().contains(".host"));
}

#[test]
fn files_that_changed_are_seen() {
    let mut arena = arena();
    let before = arena.snapshot(Scope::files()).expect("snapshot");
    run(&mut arena, "echo abc >/var/lib/cni/a; ln -s a /var/lib/cni/l; mkfifo /run/f; mkdir /tmp/d");
    let between = arena.snapshot(Scope::files()).expect("snapshot");
    let lines = difference(&before, &between).lines;
    assert_eq!(
        lines,
        [
            "+ file /run/f (fifo, mode 0644)",
            "+ file /tmp/d (directory, mode 0755)",
            "+ file /var/lib/cni/a (4 bytes, mode 0644, edeaaff3f1774ad2)",
            "+ file /var/lib/cni/l (symlink to a)",
        ]
    );
    run(&mut arena, "echo abd >/var/lib/cni/a; rm /run/f; chmod 700 /tmp/d");
    let after = arena.snapshot(Scope::files()).expect("snapshot");
    let lines = difference(&between, &after).lines;
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "- file /run/f");
    assert!(
        lines[1].starts_with("~ file /tmp/d (directory, mode 0755) -> (directory, mode 0700)"),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("~ file /var/lib/cni/a (4 bytes, mode 0644, edea"), "{lines:?}");
    arena.remove_path("/var/lib/cni/a").expect("removed");
    arena.remove_path("/var/lib/cni/a").expect("nothing there is no error");
    arena.make_symlink("/none", "/run/deep/link").expect("linked");
    arena.make_dir("/run/deep/dir", 0o711).expect("made");
    let files = arena.snapshot(Scope::files()).expect("snapshot").files;
    assert_eq!(files[Path::new("/run/deep/link")].target.as_deref(), Some(Path::new("/none")));
    assert_eq!(files[Path::new("/run/deep/dir")].mode, 0o711);
    // Names need not be text.
    let odd = Path::new(OsStr::from_bytes(b"/tmp/\xff"));
    arena.write_file(odd, b"\0\xfe", 0o644).expect("written");
    assert_eq!(arena.read_file(odd).expect("read"), b"\0\xfe");
    assert!(arena.snapshot(Scope::files()).expect("snapshot").files.contains_key(odd));
}

#[test]
fn a_removed_host_file_is_seen_and_spoils_the_arena() {
    let mut arena = arena();
    arena.remove_path("/etc/passwd").expect("removed");
    assert!(Path::new("/etc/passwd").exists());
    let now = arena.snapshot(Scope::usual()).expect("snapshot");
    assert_eq!(difference(arena.initial(), &now).lines, ["- file /etc/passwd"]);
    assert!(!arena.reset().expect("reset"), "it cannot be brought back");
}

#[test]
fn plugins_are_bound_and_aliased() {
    let folder = tempfile::tempdir().expect("folder");
    let open = |path: &Path| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, permissions).expect("permissions");
    };
    open(folder.path());
    let plugin = folder.path().join("my-plugin");
    std::fs::write(&plugin, "#!/bin/sh\necho \"$0\"\n").expect("written");
    open(&plugin);
    let config = ArenaConfig {
        binds: vec![
            Bind::at_own_path(folder.path()),
            Bind { source: plugin.clone(), target: "/usr/lib/cni/other/name".into() },
        ],
        plugin_aliases: vec![
            PluginAlias { name: "short".into(), executable: plugin.clone() },
            PluginAlias { name: "agent".into(), executable: "/proc/self/exe".into() },
        ],
        ..config()
    };
    let mut arena = Arena::start(&config).expect("arena");
    for path in [plugin.to_str().expect("text"), "/usr/lib/cni/other/name", "/opt/cni/bin/short"] {
        let execution = arena.execute(&Invocation::new(path)).expect("answer");
        assert_eq!(execution.stdout_text(), format!("{path}\n"), "{}", execution.outcome);
        let written = arena.execute(&shell(&format!("echo x > {path}"))).expect("answer");
        assert!(!written.outcome.success(), "{path} can be written");
    }
    let names: Vec<String> =
        arena.list_dir("/opt/cni/bin").expect("listed").into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["agent", "short"]);
    let size = std::fs::metadata(&config.agent_executable).expect("agent").len();
    assert_eq!(run(&mut arena, "wc -c </opt/cni/bin/agent").stdout_text().trim(), size.to_string());
    assert_eq!(arena.snapshot(Scope::files()).expect("snapshot").files.len(), 0, "none of it was written");

    let wrong = ArenaConfig {
        plugin_aliases: vec![PluginAlias { name: "../b".into(), executable: plugin.clone() }],
        ..support::config()
    };
    let error = Arena::start(&wrong).expect_err("a name that leads out").to_string();
    assert!(error.contains("a path inside the folder of plugins"), "{error}");
    let missing = ArenaConfig { binds: vec![Bind::at_own_path("/none/such")], ..support::config() };
    let error = Arena::start(&missing).expect_err("nothing to bind").to_string();
    assert!(error.contains("/none/such"), "{error}");
}

#[test]
fn plugins_that_are_installed_go_before_aliases() {
    let folder = tempfile::tempdir().expect("folder");
    let plugin = folder.path().join("bridge");
    std::fs::write(&plugin, "#!/bin/sh\necho installed\n").expect("written");
    std::fs::set_permissions(&plugin, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("executable");
    let alias = |name: &str| PluginAlias { name: name.into(), executable: "/proc/self/exe".into() };
    let config = ArenaConfig {
        binds: vec![Bind { source: folder.path().into(), target: "/opt/cni/bin".into() }],
        plugin_aliases: vec![alias("bridge"), alias("other")],
        ..config()
    };
    let mut arena = Arena::start(&config).expect("arena");
    let execution = arena.execute(&Invocation::new("/opt/cni/bin/bridge")).expect("answer");
    assert_eq!(execution.stdout_text(), "installed\n", "{}", execution.outcome);
    let written = arena.execute(&shell("echo x > /opt/cni/bin/bridge")).expect("answer");
    assert!(!written.outcome.success(), "it can be written");
    let names = arena.list_dir("/opt/cni/bin").expect("listed").into_iter().map(|entry| entry.name);
    assert!(names.eq(["bridge", "other"]));
}

#[test]
fn an_agent_that_is_none_is_an_error() {
    let wrong = ArenaConfig { agent_executable: "/bin/true".into(), ..config() };
    let error = Arena::start(&wrong).expect_err("no agent");
    assert!(matches!(error, ArenaError::Died { .. }), "{error}");
    let missing = ArenaConfig { agent_executable: "/none/such".into(), ..config() };
    let error = Arena::start(&missing).expect_err("no agent").to_string();
    assert!(error.contains("/none/such"), "{error}");
}

#[test]
fn the_network_is_seen_as_it_was_made() {
    let mut arena = arena();
    let (host, c1) = (Place::Host, Place::container("c1"));
    assert_eq!(arena.create_netns("c1").expect("namespace"), Path::new("/run/netns/c1"));
    let fresh = arena.snapshot(Scope::network()).expect("snapshot");
    let lo = fresh.containers["c1"].link("lo").expect("lo");
    assert!(!lo.up && lo.loopback, "as the kernel makes it");
    assert!(fresh.host.link("lo").expect("lo").up, "as on any host");

    for (place, op) in [
        (&host, veth("veth1", "eth0", c1.clone())),
        (&host, NetOp::AddBridge { name: "br0".into() }),
        (&host, NetOp::SetMaster { link: "veth1".into(), master: Some("br0".into()) }),
        (&host, up("br0")),
        (&host, up("veth1")),
        (&host, NetOp::SetAlias { link: "veth1".into(), alias: "an alias".into() }),
        (&host, NetOp::SetTxQueueLen { link: "veth1".into(), length: 77 }),
        (&host, NetOp::SetPromiscuous { link: "veth1".into(), on: true }),
        (&c1, NetOp::SetMac { link: "eth0".into(), mac: [2, 0, 0, 0, 0, 9] }),
        (&c1, NetOp::SetMtu { link: "eth0".into(), mtu: 1400 }),
        (&c1, up("eth0")),
        (&c1, NetOp::AddAddress { link: "eth0".into(), address: ip("10.1.0.2"), prefix: 24 }),
        (&c1, NetOp::AddAddress { link: "eth0".into(), address: ip("fd00::2"), prefix: 64 }),
        (&c1, route("0.0.0.0/0", Some("10.1.0.1"), None)),
        (&c1, route("::/0", Some("fd00::1"), None)),
        (&c1, route("10.9.0.0/16", Some("10.1.0.7"), Some(100))),
        (&c1, route("10.8.0.0/16", Some("fd00::1"), None)),
        (&c1, NetOp::AddNeighbour { link: "eth0".into(), address: ip("10.1.0.9"), mac: [2, 0, 0, 0, 0, 1] }),
    ] {
        arena.network(place, &op).unwrap_or_else(|error| panic!("{error}"));
    }
    let now = arena.snapshot(Scope::usual()).expect("snapshot");
    let veth1 = now.host.link("veth1").expect("veth1");
    let eth0 = now.containers["c1"].link("eth0").expect("eth0");
    assert_eq!(veth1.kind.as_deref(), Some("veth"));
    assert_eq!(veth1.peer, Some(Peer { index: eth0.index, place: Some(c1.clone()) }));
    assert_eq!(eth0.peer, Some(Peer { index: veth1.index, place: Some(host.clone()) }));
    assert_eq!(veth1.master.as_deref(), Some("br0"));
    assert!(veth1.port.as_ref().is_some_and(|port| port.learning && !port.hairpin && !port.isolated));
    assert_eq!((veth1.alias.as_deref(), veth1.tx_queue_len, veth1.promiscuous), (Some("an alias"), 77, true));
    assert_eq!((eth0.mac.as_deref(), eth0.mtu, eth0.up), (Some("02:00:00:00:00:09"), 1400, true));
    assert_eq!(now.host.link("br0").expect("br0").kind.as_deref(), Some("bridge"));
    let container = now.place(&c1).expect("c1");
    let v4 =
        container.addresses_of("eth0").find(|address| address.address == ip("10.1.0.2")).expect("address");
    assert_eq!((v4.prefix, v4.scope.as_str(), v4.permanent, v4.made_by_kernel), (24, "global", true, false));
    let v6 =
        container.addresses_of("eth0").find(|address| address.address == ip("fd00::2")).expect("address");
    assert!(!v6.tentative && v6.no_dad && v6.prefix == 64);
    let routes: Vec<String> =
        container.routes.iter().filter(|r| r.protocol == "boot").map(ToString::to_string).collect();
    assert_eq!(
        routes,
        [
            "10.9.0.0/16 via 10.1.0.7 dev eth0 table 100 proto boot scope global",
            "default via 10.1.0.1 dev eth0 proto boot scope global",
            "10.8.0.0/16 via fd00::1 dev eth0 proto boot scope global",
            "default (IPv6) via fd00::1 dev eth0 proto boot scope global metric 1024",
        ]
    );
    assert!(container.configured_routes().all(|route| route.table == 254));
    assert_eq!(container.configured_routes().filter(|route| route.is_default()).count(), 2);
    assert!(
        container
            .neighbours
            .iter()
            .any(|n| n.is_permanent() && n.mac.as_deref() == Some("02:00:00:00:00:01"))
    );

    for (place, op) in [
        (&c1, NetOp::DeleteRoute { destination: ip("0.0.0.0"), prefix: 0, gateway: None, table: None }),
        (
            &c1,
            NetOp::DeleteRoute { destination: ip("10.9.0.0"), prefix: 16, gateway: None, table: Some(100) },
        ),
        (&c1, NetOp::DeleteAddress { link: "eth0".into(), address: ip("fd00::2"), prefix: 64 }),
        (&c1, NetOp::FlushAddresses { link: "eth0".into() }),
        (&c1, NetOp::SetDown { link: "eth0".into() }),
        (&c1, NetOp::RenameLink { link: "eth0".into(), to: "eth9".into() }),
        (&c1, NetOp::MoveLink { link: "eth9".into(), to: host.clone() }),
        (&host, NetOp::SetMaster { link: "veth1".into(), master: None }),
    ] {
        arena.network(place, &op).unwrap_or_else(|error| panic!("{error}"));
    }
    let now = arena.snapshot(Scope::network()).expect("snapshot");
    assert_eq!(now.containers["c1"].addresses, []);
    assert_eq!(now.containers["c1"].links.len(), 1);
    let moved = now.host.link("eth9").expect("moved");
    assert_eq!(
        moved.peer.as_ref().and_then(|peer| peer.place.clone()),
        Some(Place::Host),
        "now beside its peer"
    );
    assert_eq!(now.host.link("veth1").expect("veth1").master, None);

    for name in ["br0", "veth1"] {
        arena.network(&host, &NetOp::DeleteLink { name: name.into() }).expect("deleted");
    }
    arena.delete_netns("c1").expect("removed");
    let after = arena.snapshot(Scope::usual()).expect("snapshot");
    assert_eq!(difference(arena.initial(), &after).lines, Vec::<String>::new());
    assert!(arena.is_pristine().expect("answer"));
}

fn route(destination: &str, gateway: Option<&str>, table: Option<u32>) -> NetOp {
    let (address, prefix) = destination.split_once('/').expect("a prefix");
    NetOp::AddRoute {
        destination: ip(address),
        prefix: prefix.parse().expect("a number"),
        gateway: gateway.map(ip),
        link: None,
        table,
        metric: None,
    }
}

#[test]
fn the_shell_command_of_a_change_does_the_same() {
    let (mut direct, mut by_shell) = (arena(), arena());
    let (host, c1, c2) = (Place::Host, Place::container("c1"), Place::container("c2"));
    let address =
        |link: &str, text: &str, prefix| NetOp::AddAddress { link: link.into(), address: ip(text), prefix };
    let mut steps = vec![
        (host.clone(), veth("v1", "eth0", c1.clone())),
        (c1.clone(), veth("x0", "v2", host.clone())),
        (c1.clone(), veth("y0", "y1", c2.clone())),
        (c1.clone(), veth("z0", "z1", c1.clone())),
        (host.clone(), veth("w0", "w1", host.clone())),
        (host.clone(), NetOp::AddBridge { name: "br0".into() }),
        (host.clone(), NetOp::SetMaster { link: "v1".into(), master: Some("br0".into()) }),
        (host.clone(), NetOp::SetMaster { link: "v2".into(), master: Some("br0".into()) }),
        (host.clone(), NetOp::SetMaster { link: "v2".into(), master: None }),
        (host.clone(), NetOp::SetMtu { link: "v1".into(), mtu: 1300 }),
        (host.clone(), NetOp::SetTxQueueLen { link: "v1".into(), length: 5 }),
        (host.clone(), NetOp::SetAlias { link: "v1".into(), alias: "it's $HOME".into() }),
        (host.clone(), NetOp::SetPromiscuous { link: "v1".into(), on: true }),
        (host.clone(), NetOp::MoveLink { link: "w1".into(), to: c2.clone() }),
        (c1.clone(), NetOp::SetMac { link: "eth0".into(), mac: [2, 0, 0, 0, 0, 5] }),
        (c1.clone(), NetOp::RenameLink { link: "z1".into(), to: "z9".into() }),
        (c1.clone(), up("eth0")),
        (c1.clone(), up("x0")),
        (host.clone(), up("v1")),
        (host.clone(), up("br0")),
        (host.clone(), NetOp::SetDown { link: "br0".into() }),
        (c1.clone(), address("eth0", "10.1.0.2", 24)),
        (c1.clone(), address("eth0", "10.1.0.3", 24)),
        (c1.clone(), address("eth0", "fd00::2", 64)),
        (c1.clone(), address("x0", "10.2.0.2", 24)),
        (c1.clone(), NetOp::DeleteAddress { link: "eth0".into(), address: ip("10.1.0.3"), prefix: 24 }),
        (c1.clone(), route("0.0.0.0/0", Some("10.1.0.1"), None)),
        (c1.clone(), route("10.7.0.0/16", Some("fd00::1"), None)),
        (c1.clone(), route("10.6.0.0/16", Some("10.1.0.1"), Some(1000))),
        (c1.clone(), route("fd01::/64", Some("fd00::1"), None)),
        (
            c1.clone(),
            NetOp::AddRoute {
                destination: ip("10.5.0.0"),
                prefix: 16,
                gateway: None,
                link: Some("eth0".into()),
                table: None,
                metric: Some(7),
            },
        ),
        (
            c1.clone(),
            NetOp::AddNeighbour { link: "eth0".into(), address: ip("10.1.0.9"), mac: [2, 0, 0, 0, 0, 1] },
        ),
        (
            c1.clone(),
            NetOp::AddNeighbour { link: "eth0".into(), address: ip("fd00::9"), mac: [2, 0, 0, 0, 0, 1] },
        ),
        (
            c1.clone(),
            NetOp::DeleteRoute { destination: ip("fd01::"), prefix: 64, gateway: None, table: None },
        ),
        (
            c1.clone(),
            NetOp::DeleteRoute {
                destination: ip("10.6.0.0"),
                prefix: 16,
                gateway: Some(ip("10.1.0.1")),
                table: Some(1000),
            },
        ),
        (c1.clone(), NetOp::FlushAddresses { link: "x0".into() }),
        (host.clone(), NetOp::DeleteLink { name: "w0".into() }),
    ];
    let extra = [
        ("macvlan", NetOp::AddMacvlan { name: "m0".into(), parent: "br0".into() }),
        ("vlan", NetOp::AddVlan { name: "l0".into(), parent: "br0".into(), id: 9 }),
        ("vxlan", NetOp::AddVxlan { name: "vx0".into(), id: 42 }),
        ("ifb", NetOp::AddLinkKind { name: "ifb7".into(), kind: "ifb".into() }),
    ];
    for (kind, op) in extra {
        // What this kernel lacks neither way can make.
        if direct.probe_link_kind(kind).expect("probed") {
            steps.push((host.clone(), op));
        }
    }
    for arena in [&mut direct, &mut by_shell] {
        arena.create_netns("c1").expect("namespace");
        arena.create_netns("c2").expect("namespace");
    }
    for (place, op) in &steps {
        direct.network(place, op).unwrap_or_else(|error| panic!("{error}"));
        run(&mut by_shell, &op.shell(place));
        let scope = Scope::network();
        let (mut a, mut b) =
            (direct.snapshot(scope.clone()).expect("snapshot"), by_shell.snapshot(scope).expect("snapshot"));
        // Each arena has its own random hardware addresses.
        for snapshot in [&mut a, &mut b] {
            let containers = snapshot.containers.values_mut();
            for link in
                std::iter::once(&mut snapshot.host).chain(containers).flat_map(|state| &mut state.links)
            {
                if link.mac.as_deref() != Some("02:00:00:00:00:05") {
                    link.mac = None;
                }
            }
        }
        let lines: Vec<String> = difference(&a, &b).without(&["* fdb *"]).lines;
        assert_eq!(lines, Vec::<String>::new(), "{}", op.shell(place));
    }
}

#[test]
fn bridge_ports_traffic_control_and_rules_are_seen() {
    let mut arena = arena();
    arena.create_netns("c1").expect("namespace");
    let before = arena.snapshot(Scope::usual()).expect("snapshot");
    run(
        &mut arena,
        "set -e
        ip link add br0 type bridge; ip link add v0 type veth peer name v1; ip link set v0 master br0
        bridge link set dev v0 hairpin on isolated on
        tc qdisc add dev v0 root tbf rate 8mbit burst 20kb limit 100kb
        tc qdisc add dev v0 ingress; ip link add ifb0 type ifb
        tc filter add dev v0 parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev ifb0
        ip -n c1 rule add from 10.1.0.2/32 iif lo fwmark 0x2/0xf table 100 priority 50
        ip -n c1 -6 rule add to fd00::/64 prohibit priority 60",
    );
    let after = arena.snapshot(Scope::usual()).expect("snapshot");
    let port = after.host.link("v0").and_then(|link| link.port.clone()).expect("a port");
    assert!(port.hairpin && port.isolated);
    let tbf = after.host.qdiscs.iter().find(|qdisc| qdisc.kind == "tbf").expect("tbf");
    assert_eq!((tbf.rate, tbf.burst, tbf.limit), (Some(1_000_000), Some(20_480), Some(102_400)));
    let lines = difference(&before, &after).lines;
    for line in [
        "+ host qdisc ingress dev v0 parent ingress",
        "+ host qdisc tbf dev v0 parent root rate 1000000 burst 20480 limit 102400",
        "+ host filter u32 dev v0 parent ingress protocol 0x0003 mirred egress redirect ifb0",
        "+ container c1 rule 50: from 10.1.0.2/32 iif lo fwmark 0x2/0xf lookup 100",
        "+ container c1 rule 60: (IPv6) from all to fd00::/64 prohibit",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line} is not in\n{}", lines.join("\n"));
    }
    for by_shell in [false, true] {
        if by_shell {
            run(
                &mut arena,
                "tc qdisc add dev v0 root tbf rate 8mbit burst 20kb limit 100kb; tc qdisc add dev v0 ingress",
            );
        }
        for (ingress, left) in [(false, ["ingress"].as_slice()), (true, &[])] {
            let op = NetOp::DeleteQdisc { link: "v0".into(), ingress };
            match by_shell {
                true => drop(run(&mut arena, &op.shell(&Place::Host))),
                false => arena.network(&Place::Host, &op).expect("deleted"),
            }
            let state = arena.snapshot(Scope::usual()).expect("snapshot").host;
            let kinds: Vec<&str> = state.qdiscs.iter().map(|qdisc| qdisc.kind.as_str()).collect();
            assert_eq!(kinds, left, "{}", op.shell(&Place::Host));
        }
    }
}

#[test]
fn packets_go_there_and_back_and_refusals_are_told() {
    let mut arena = arena();
    let there = Place::Container("there".to_owned());
    arena.create_netns("there").expect("a namespace");
    arena.network(&Place::Host, &veth("a", "b", there.clone())).expect("a pair");
    for (place, link, last) in [(&Place::Host, "a", 1), (&there, "b", 2)] {
        for (address, prefix) in [(format!("10.9.0.{last}"), 24), (format!("fd00:9::{last}"), 64)] {
            let op = NetOp::AddAddress { link: link.into(), address: ip(&address), prefix };
            arena.network(place, &op).expect("an address");
        }
        arena.network(place, &up(link)).expect("up");
    }
    for (transport, own, other) in [
        (Transport::Tcp, "10.9.0.1", "10.9.0.2"),
        (Transport::Udp, "10.9.0.1", "10.9.0.2"),
        (Transport::Tcp, "fd00:9::1", "fd00:9::2"),
        (Transport::Udp, "fd00:9::1", "fd00:9::2"),
    ] {
        let destination = (ip(other), 7000).into();
        let heard = Exchange {
            transport,
            client: Place::Host,
            source: Some((ip(own), 0).into()),
            destination,
            listeners: vec![Listener { place: there.clone(), address: destination }],
            patience: Duration::from_secs(20),
            persistent: true,
            filler: 900,
        };
        let seen = arena.exchange(&heard).expect("an exchange");
        assert!(seen.answered, "{transport} to {other}: {seen:?}");
        assert_eq!(seen.listener, Some(0));
        assert_eq!(seen.seen_source.map(|source| source.ip()), Some(ip(own)));

        let nobody = Exchange { listeners: Vec::new(), persistent: false, ..heard };
        let seen = arena.exchange(&nobody).expect("an exchange");
        assert_eq!((seen.answered, seen.listener), (false, None));
        assert_eq!(seen.problem.as_deref(), Some("Connection refused"), "{transport} to {other}");
    }
}

#[test]
fn nftables_are_read_in_words() {
    let mut arena = arena();
    let before = arena.snapshot(Scope::usual()).expect("snapshot");
    let ruleset = r#"
table ip nat {
 comment "a table"
 set s { type ipv4_addr . inet_proto . inet_service
  elements = { 10.0.0.1 . tcp . 80 }
 }
 chain c {
  ip saddr 10.1.0.2 ip daddr != 224.0.0.0/4 counter masquerade fully-random comment "cni x"
 }
 map m { type inet_service : verdict
  elements = { 80 : jump c, 81 : drop }
 }
 chain post {
  type nat hook postrouting priority 100; policy accept;
  ip saddr 10.1.0.0/24 jump c
  ip saddr 10.1.0.0/20 oifname "eth*" accept
  tcp dport vmap @m
  ip saddr . meta l4proto . th dport @s accept
  ct state established,related accept
  fib daddr type local accept
 }
 chain pre {
  type nat hook prerouting priority -100;
  ip daddr 1.2.3.4 tcp dport 8080 dnat to 10.1.0.2:80
  tcp dport 8081 redirect to :80
  meta mark set 0x2000
  iifname "cni0" meta mark & 0x2000 == 0x2000 drop
 }
}
table ip6 six {
 chain c {
  ip6 saddr fd00::/64 ip6 daddr != fd00::1 drop
 }
}
"#;
    arena.write_file("/tmp/rules", ruleset, 0o644).expect("written");
    run(&mut arena, "nft -f /tmp/rules; rm /tmp/rules");
    let after = arena.snapshot(Scope::usual()).expect("snapshot");
    assert_eq!(
        difference(&before, &after).lines,
        [
            "+ host nftables ip nat comment \"a table\"",
            "+ host nftables ip nat chain c",
            "+ host nftables ip nat chain c rule ip saddr 10.1.0.2 ip daddr != 224.0.0.0/4 counter masquerade \
             fully-random comment \"cni x\"",
            "+ host nftables ip nat chain post type nat hook postrouting priority 100 policy accept",
            "+ host nftables ip nat chain post rule ip saddr 10.1.0.0/24 jump c",
            "+ host nftables ip nat chain post rule ip saddr 10.1.0.0/20 oifname \"eth*\" accept",
            "+ host nftables ip nat chain post rule meta l4proto tcp th dport vmap @m",
            "+ host nftables ip nat chain post rule ip saddr . meta l4proto . th dport @s accept",
            "+ host nftables ip nat chain post rule ct state established,related accept",
            "+ host nftables ip nat chain post rule fib daddr type local accept",
            "+ host nftables ip nat chain pre type nat hook prerouting priority -100 policy accept",
            "+ host nftables ip nat chain pre rule ip daddr 1.2.3.4 meta l4proto tcp th dport 8080 dnat ip to \
             10.1.0.2:80",
            "+ host nftables ip nat chain pre rule meta l4proto tcp th dport 8081 redirect to :80",
            "+ host nftables ip nat chain pre rule meta mark set 0x2000",
            "+ host nftables ip nat chain pre rule iifname \"cni0\" meta mark & 0x2000 0x2000 drop",
            "+ host nftables ip nat set s",
            "+ host nftables ip nat set s element 10.0.0.1 . tcp . 80",
            "+ host nftables ip nat map m",
            "+ host nftables ip nat map m element 80 : jump c",
            "+ host nftables ip nat map m element 81 : drop",
            "+ host nftables ip6 six",
            "+ host nftables ip6 six chain c",
            "+ host nftables ip6 six chain c rule ip6 saddr fd00::/64 ip6 daddr != fd00::1 drop",
        ]
    );
    let nat = &after.host.nftables[0];
    assert_eq!(nat.chain("post").and_then(|chain| chain.hook.clone()).map(|hook| hook.priority), Some(100));
    assert_eq!(nat.set("m").map(|set| set.is_map), Some(true));
    arena.network(&Place::Host, &NetOp::FlushNftables).expect("flushed");
    let flushed = arena.snapshot(Scope::usual()).expect("snapshot");
    assert_eq!(difference(&before, &flushed).lines, Vec::<String>::new());
}

#[test]
fn legacy_iptables_are_read() {
    let mut arena = arena();
    if !arena.has_program("iptables-legacy").expect("answer") {
        let snapshot = arena.snapshot(Scope::usual()).expect("snapshot");
        assert_eq!(snapshot.host.iptables, [], "without the program nothing made a table");
        return;
    }
    let before = arena.snapshot(Scope::usual()).expect("snapshot");
    run(
        &mut arena,
        "set -e; export XTABLES_LOCKFILE=/tmp/lock
        iptables-legacy -t nat -A POSTROUTING -s 10.2.0.0/16 ! -o cni0 -m comment --comment 'a b' -j MASQUERADE
        iptables-legacy -N CNI-X; iptables-legacy -A FORWARD -p tcp -i eth+ -d 1.2.3.4 -j CNI-X
        iptables-legacy -A CNI-X -j RETURN; iptables-legacy -P INPUT DROP
        ip6tables-legacy -A FORWARD -s fd00::/64 -j ACCEPT",
    );
    let after = arena.snapshot(Scope::usual()).expect("snapshot");
    assert_eq!(
        difference(&before, &after).without(&["* file *"]).lines,
        [
            "+ host iptables ip filter chain INPUT policy DROP",
            "+ host iptables ip filter chain FORWARD rule -d 1.2.3.4/32 -i eth+ -p 6 -j CNI-X",
            "+ host iptables ip filter chain CNI-X",
            "+ host iptables ip filter chain CNI-X rule -j RETURN",
            "+ host iptables ip nat chain POSTROUTING rule -s 10.2.0.0/16 ! -o cni0 -m comment --comment \"a b\" \
             -j MASQUERADE 0x01",
            "+ host iptables ip6 filter chain FORWARD rule -s fd00::/64 -j ACCEPT",
        ]
    );
}

#[test]
fn sysctls_belong_to_a_place() {
    let mut arena = arena();
    arena.create_netns("c1").expect("namespace");
    let c1 = Place::container("c1");
    let scope = Scope { sysctls: true, ..Scope::nothing() };
    let before = arena.snapshot(scope.clone()).expect("snapshot");
    assert!(before.host.sysctls.len() > 100);
    arena.set_sysctl(&c1, "net/ipv4/ip_default_ttl", "99").expect("set");
    assert_eq!(arena.sysctl(&c1, "net/ipv4/ip_default_ttl").expect("read"), "99");
    assert_ne!(arena.sysctl(&Place::Host, "net/ipv4/ip_default_ttl").expect("read"), "99");
    let after = arena.snapshot(scope).expect("snapshot");
    let old = &before.containers["c1"].sysctls["net/ipv4/ip_default_ttl"];
    let line = format!("~ container c1 sysctl net/ipv4/ip_default_ttl {old} -> 99");
    assert_eq!(difference(&before, &after).lines, [line]);
    for name in ["kernel/panic", "net/../kernel/panic", "/net/ipv4/ip_forward", "net//x", ""] {
        arena.set_sysctl(&c1, name, "1").expect_err(name);
    }
}

#[test]
fn what_cannot_be_done_says_why_and_leaves_the_arena_usable() {
    let mut arena = arena();
    arena.create_netns("c1").expect("namespace");
    for name in ["", ".", "..", "a/b", "c1"] {
        let error = arena.create_netns(name).expect_err(name);
        assert!(matches!(error, ArenaError::Refused(_)), "{error}");
    }
    arena.delete_netns("none").expect_err("there is none");
    let error = arena.network(&Place::container("none"), &up("eth0")).expect_err("no place").to_string();
    assert!(error.contains("container none"), "{error}");
    let error = arena.network(&Place::Host, &up("eth7")).expect_err("no link");
    assert_eq!(error.errno(), Some(19), "{error}");
    assert!(error.to_string().starts_with("ip link set dev eth7 up: "), "{error}");
    let wrong = NetOp::AddAddress { link: "lo".into(), address: ip("10.0.0.1"), prefix: 99 };
    let error = arena.network(&Place::Host, &wrong).expect_err("a prefix of 99 bits");
    assert_eq!(error.errno(), Some(22), "{error}");
    arena.read_file("relative").expect_err("relative");
    arena.write_file("relative", "", 0o644).expect_err("relative");
    assert_eq!(arena.read_file("/none").expect_err("nothing there").errno(), Some(2));
    let reached = arena.run_tool(&["none-such-tool"]).expect("answer");
    assert!(reached.outcome.to_string().contains("not installed"), "{}", reached.outcome);
    assert!(arena.has_program("sh").expect("answer") && !arena.has_program("none-such").expect("answer"));
    assert!(
        arena.probe_link_kind("veth").expect("answer")
            && !arena.probe_link_kind("none-such").expect("answer")
    );
    assert!(!arena.probe_qdisc_kind("none-such").expect("answer"));
    assert_eq!(run(&mut arena, "echo usable").stdout_text(), "usable\n");
}

#[test]
fn a_queueing_discipline_counts_what_it_sends() {
    let mut arena = arena();
    if !arena.probe_qdisc_kind("tbf").expect("answer") {
        return;
    }
    run(
        &mut arena,
        "set -e; ip link add v0 up type veth peer name v1; ip link set v1 up; ip addr add 10.9.9.1/24 dev v0
        ip neigh add 10.9.9.2 lladdr 02:00:00:00:00:02 dev v0; tc qdisc add dev v0 root tbf rate 8mbit burst 20kb limit 100kb",
    );
    let before = arena.snapshot(Scope::usual()).expect("snapshot");
    let destination = "10.9.9.2:7000".parse().expect("an address");
    let exchange = Exchange {
        transport: Transport::Udp,
        client: Place::Host,
        source: None,
        destination,
        listeners: Vec::new(),
        patience: Duration::from_millis(50),
        persistent: false,
        filler: 900,
    };
    arena.exchange(&exchange).expect("sent");
    let after = arena.snapshot(Scope::usual()).expect("snapshot");
    let sent =
        |state: &Snapshot| state.host.qdiscs.iter().find(|qdisc| qdisc.kind == "tbf").expect("tbf").sent.0;
    assert!(sent(&after) - sent(&before) >= 900, "{} and {}", sent(&before), sent(&after));
    assert_eq!(before.host.qdiscs, after.host.qdiscs, "a count is no state");
}

#[test]
fn what_may_stay_runs_until_a_reset() {
    let mut arena = arena();
    let start = format!(
        "sleep 1000 >/dev/null 2>&1 </dev/null & tail -f /dev/null >/dev/null 2>&1 & {}; {}",
        until_run(1, "sleep 1000"),
        until_run(1, "tail -f /dev/null")
    );
    let execution = arena.execute(&shell(&start).sparing(&["sleep".to_owned()])).expect("executed");
    assert_eq!(execution.left_behind, ["tail"], "what is spared is not named");
    let names = |arena: &mut Arena| arena.snapshot(Scope::all()).expect("snapshot").processes;
    assert_eq!(names(&mut arena), ["sleep"]);
    run(&mut arena, "true");
    assert_eq!(names(&mut arena), ["sleep"], "another execution does not end it");
    assert!(arena.reset().expect("reset"));
    assert_eq!(names(&mut arena), Vec::<String>::new());
}

#[test]
fn a_made_up_pci_device_lasts_until_a_reset() {
    if !Path::new("/sys/bus/pci/devices").is_dir() {
        return;
    }
    let mut arena = arena();
    let list = |arena: &mut Arena| run(arena, "ls /sys/bus/pci/devices").stdout_text();
    let real = list(&mut arena);
    arena.add_pci_device("0000:c7:00.1", "lo").expect("made");
    arena.add_pci_device("0000:c7:00.2", "other").expect("made");
    assert_eq!(list(&mut arena), "0000:c7:00.1\n0000:c7:00.2\n");
    let driver = "basename $(readlink -f /sys/bus/pci/devices/0000:c7:00.1/driver); ls /sys/bus/pci/devices/0000:c7:00.1/net";
    assert_eq!(run(&mut arena, driver).stdout_text(), "cnitest-driver\nlo\n");
    assert!(arena.reset().expect("reset"));
    assert_eq!(list(&mut arena), real);
}

#[test]
fn a_full_disk_takes_files_but_nothing_in_them() {
    let mut arena = arena();
    arena.leave_room(Some(1)).expect("bounded");
    run(&mut arena, "echo one >/var/lib/cni/first && ! echo two >/run/second");
    let files = arena.snapshot(Scope::files()).expect("snapshot").files;
    assert_eq!(files[Path::new("/var/lib/cni/first")].size, 4);
    assert_eq!(files[Path::new("/run/second")].size, 0);
    arena.leave_room(None).expect("as before");
    run(&mut arena, "head -c 100000 /dev/zero >/run/second");
    arena.leave_room(Some(0)).expect("bounded");
    assert!(arena.reset().expect("reset"), "nothing is left");
    run(&mut arena, "head -c 100000 /dev/zero >/etc/third");
}

#[test]
fn unrest_interrupts_lists_until_it_ends() {
    let mut arena = arena();
    let mut seen = cnitest::arena::Unrest::default();
    // Which list a change meets is chance; a second time finds the links of the first.
    for attempt in 0..6 {
        if let Err(error) = arena.start_unrest(&Place::Host) {
            eprintln!("skipped: {error}");
            return;
        }
        std::thread::sleep(Duration::from_millis(500));
        seen = arena.stop_unrest().expect("unrest");
        if attempt > 0 && seen.interrupted > 0 {
            break;
        }
    }
    assert!(arena.reset().expect("reset"), "nothing is left");
    assert!(seen.changes > 3 && seen.interrupted > 0 && seen.interrupted < seen.lists, "{seen:?}");
    let refused = arena.stop_unrest();
    assert!(matches!(&refused, Err(ArenaError::Refused(_))), "{refused:?}");
}

#[test]
fn only_where_containers_may_run_are_devices_made_and_groups_hidden() {
    let own = ArenaConfig { containers: true, ..config() };
    let mut arena = Arena::start(&own).unwrap_or_else(|error| panic!("these tests need namespaces: {error}"));
    let make = "mknod /run/null c 1 3 && echo x >/run/null";
    // In a user namespace the kernel lets nobody make devices.
    if is_root() {
        run(&mut arena, make);
        let refused = support::arena().execute(&shell(make)).expect("the arena answers");
        assert!(!refused.outcome.success(), "a device was made where no containers run");
    }
    for again in [false, true] {
        if again {
            arena.reset().expect("reset");
        }
        let script = "test -z \"$(ls -A /sys/fs/cgroup)\" && test \"$(stat -fc %T /sys/fs/cgroup)\" = tmpfs \
            && ! mkdir /sys/fs/cgroup/group 2>/dev/null";
        if Path::new("/sys/fs/cgroup").is_dir() {
            run(&mut arena, script);
        }
    }
}

#[test]
fn a_reset_arena_is_as_new() {
    let mut arena = arena();
    assert!(arena.reset().expect("reset"), "nothing happened");
    arena.create_netns("c1").expect("namespace");
    arena.network(&Place::Host, &veth("v1", "eth0", Place::container("c1"))).expect("veth");
    arena.start_background(&shell("sleep 1000")).expect("started");
    run(
        &mut arena,
        "ip link add br0 type bridge; ip addr add 10.0.0.1/24 dev lo; nft add table ip left
        sysctl -qw net.ipv4.ip_forward=1; hostname other
        mkdir -p /var/lib/cni/a/b; echo >/var/lib/cni/a/b/c; echo >/etc/cni/d; rmdir /run/netns/none 2>/dev/null; true",
    );
    assert!(!arena.is_pristine().expect("answer"));
    assert!(arena.reset().expect("reset"));
    let state = arena.snapshot(Scope::all()).expect("snapshot");
    assert_eq!(state.host.links.len(), 1);
    assert_eq!(state.host.sysctls["net/ipv4/ip_forward"], fresh_value("net/ipv4/ip_forward"));
    assert_eq!((state.files.len(), state.processes.len(), state.containers.len()), (0, 0, 0));
    assert_eq!(run(&mut arena, "hostname; ls /sys/class/net").stdout_text(), "cnitest\nlo\n");
    arena.create_netns("c1").expect("the name is free again");
    arena.network(&Place::Host, &veth("v1", "eth0", Place::container("c1"))).expect("veth");
    assert_eq!(
        run(&mut arena, "ls /sys/class/net").stdout_text(),
        "lo\nv1\n",
        "sysfs follows the new namespace"
    );
}

#[test]
fn a_reboot_leaves_files_and_nothing_else() {
    let mut arena = arena();
    arena.create_netns("c1").expect("namespace");
    arena.start_background(&shell("sleep 1000")).expect("started");
    run(
        &mut arena,
        "ip link add br0 type bridge; mkdir -p /var/lib/cni/kept/mounted /run/gone/mounted; echo 1 >/run/gone/file
        ln -s /var/lib/cni/kept /run/gone/link; echo 2 >/var/lib/cni/kept/file; echo 3 >/dev/shm/gone
        mount -t tmpfs none /run/gone/mounted; mount -t tmpfs none /var/lib/cni/kept/mounted
        touch /run/netns/other /var/lib/cni/kept/mounted/gone",
    );
    arena.reboot().expect("reboot");
    let state = arena.snapshot(Scope::all()).expect("snapshot");
    assert_eq!((state.host.links.len(), state.processes.len(), state.containers.len()), (1, 0, 0));
    let left =
        run(&mut arena, "find /run /dev/shm /var/lib/cni -mindepth 1 | sort; cat /var/lib/cni/kept/file");
    assert_eq!(
        left.stdout_text(),
        "/run/netns\n/var/lib/cni/kept\n/var/lib/cni/kept/file\n/var/lib/cni/kept/mounted\n2\n"
    );
    arena.create_netns("c1").expect("the name is free again");
    assert!(arena.reset().expect("reset"), "a reset removes what a reboot does not");
}

fn fresh_value(name: &str) -> String {
    arena().sysctl(&Place::Host, name).expect("read")
}

#[test]
fn a_pool_uses_arenas_again() {
    let pool = ArenaPool::new(config(), 1);
    let arena = pool.take().expect("arena");
    let first = arena.process_id();
    pool.give_back(arena);
    let mut arena = pool.take().expect("arena");
    assert_eq!(arena.process_id(), first, "untouched");
    run(&mut arena, "ip link add br0 type bridge; touch /tmp/x");
    pool.give_back(arena);
    let mut arena = pool.take().expect("arena");
    assert_eq!(arena.process_id(), first, "made as new");
    assert!(arena.is_pristine().expect("answer"));
    run(&mut arena, "chmod 700 /etc");
    pool.discard(arena);
    let arena = pool.take().expect("arena");
    assert_ne!(arena.process_id(), first);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.take().expect("arena").process_id());
        std::thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished(), "one at a time");
        let second = arena.process_id();
        pool.give_back(arena);
        assert_eq!(waiting.join().expect("joined"), second);
    });
}

#[test]
fn an_arena_outlives_the_thread_that_started_it() {
    let mut arena = std::thread::spawn(arena).join().expect("started");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(run(&mut arena, "echo alive").stdout_text(), "alive\n");
}

#[test]
fn a_dead_arena_says_so() {
    let mut arena = arena();
    let pid = arena.process_id().to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill").success());
    // The agent dies a moment after the process that was killed.
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        assert!(Instant::now() < deadline, "it lives on");
        if let Err(error) = arena.execute(&Invocation::new("/bin/true")) {
            break error;
        }
    };
    assert!(matches!(error, ArenaError::Died { .. } | ArenaError::Socket { .. }), "{error}");
    assert!(matches!(arena.reset().expect_err("still gone"), ArenaError::Died { .. }));
}

/// Processes of this machine whose command line holds `mark`.
fn with_mark(mark: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.parse::<u32>().is_ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(mark)
        })
        .collect()
}

fn wait_until(what: &str, test: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !test() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A number that no other process has in its command line; `salt` tells the tests of a process apart.
fn mark(salt: u32) -> String {
    format!("1{:07}{salt:03}", std::process::id())
}

#[test]
fn dropping_an_arena_ends_all_that_is_in_it() {
    let mut arena = arena();
    let mark = mark(1);
    arena
        .start_background(&shell(&format!("trap '' TERM; setsid sleep {mark} & sleep {mark}")))
        .expect("started");
    wait_until("it never started", || with_mark(&mark).len() >= 2);
    drop(arena);
    assert_eq!(with_mark(&mark), Vec::<String>::new());
}

#[test]
fn the_dhcp_server_ends_with_a_reset() {
    let mut arena = arena();
    let server = Pool { addresses: 3, lease: Duration::from_secs(60) }.server();
    let listening = "awk '$2 ~ /:0043$/' /proc/net/udp";
    for _ in 0..2 {
        assert_eq!(run(&mut arena, listening).stdout_text(), "");
        arena.start_background(&server).expect("started");
        let clock = Instant::now();
        while arena.read_file(dhcp::LOG).is_err() && clock.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(arena.read_file(dhcp::LOG).expect("it is ready"), b"");
        assert_ne!(run(&mut arena, listening).stdout_text(), "");
        assert!(arena.reset().expect("reset"), "nothing is left");
    }
}

#[test]
fn killing_the_parent_leaves_nothing() {
    const ROLE: &str = "CNITEST_TEST_HOLDS_AN_ARENA";
    if let Ok(mark) = std::env::var(ROLE) {
        let mut arena = arena();
        arena.create_netns("c1").expect("namespace");
        arena.start_background(&shell(&format!("setsid sleep {mark}"))).expect("started");
        println!("holding {}", arena.process_id());
        // A deadline, should the test that kills this process fail.
        arena.execute(&shell("sleep 60").timeout(Duration::from_secs(60))).expect("answer");
        return;
    }
    let mark = mark(2);
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .args(["killing_the_parent_leaves_nothing", "--exact", "--nocapture"])
        .env(ROLE, &mark)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let output = BufReader::new(child.stdout.take().expect("stdout"));
    let outer = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("holding ")?.1.trim().to_owned()))
        .expect("it holds an arena");
    wait_until("the background program never started", || !with_mark(&mark).is_empty());
    child.kill().expect("killed");
    child.wait().expect("ended");
    wait_until("a process in the arena is left", || with_mark(&mark).is_empty());
    wait_until("the outer process is left", || {
        let stat = std::fs::read_to_string(format!("/proc/{outer}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains("cnitest"), "a mount is left:\n{mounts}");
}

#[test]
fn every_test_holds_for_an_ordinary_user() {
    support::repeat_as_ordinary_user("every_test_holds_for_an_ordinary_user");
    let map = run(&mut arena(), "cat /proc/self/uid_map").stdout_text();
    let lengths: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(lengths[2] == "1", !is_root(), "a user namespace only where it is needed: {map}");
}
