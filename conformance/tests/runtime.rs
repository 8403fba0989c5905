//! The runtime: what it executes, keeps and survives.

#[path = "arena_support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of arenas")]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cni_spec::config::Attachment;
use cni_spec::parameters::CniArgs;
use cnitest::arena::{Arena, ArenaConfig, PluginAlias, Scope, difference};
use cnitest::invoke::Invocation;
use cnitest::runtime::cache::{Found, Key, State};
use cnitest::runtime::error::RuntimeError;
use cnitest::runtime::{Attach, Runtime, Settings, Valid};
use serde_json::{Value, json};

/// A runtime in a folder, with plugins in shell that write down what they are asked.
struct World {
    folder: tempfile::TempDir,
}

/// Writes its operation to `log`, its input and variables to files of its own, and does what files named after it say:
/// `fail.TYPE.OPERATION`, `hang.TYPE.OPERATION`, `print.TYPE.OPERATION`.
const PLUGIN: &str = r#"#!/bin/sh
me=${0##*/}
cd "${0%/*}/../seen" || exit 9
cat >"$me.$CNI_COMMAND"
env | grep ^CNI_ | sort >"$me.$CNI_COMMAND.env"
echo "$CNI_COMMAND $me $CNI_CONTAINERID" >>log
[ -e "../hang.$me.$CNI_COMMAND" ] && { sleep 1000 & echo $! >hung; wait; }
[ -e "../slow.$me.$CNI_COMMAND" ] && sleep 0.3
[ -e "../fail.$me.$CNI_COMMAND" ] && { echo '{"code":100,"msg":"told to fail"}'; exit 1; }
[ -e "../print.$me.$CNI_COMMAND" ] && { cat "../print.$me.$CNI_COMMAND"; exit 0; }
case $CNI_COMMAND in
ADD) echo "{\"cniVersion\":\"1.1.0\",\"ips\":[{\"address\":\"10.0.0.1/24\"}],\"by\":\"$me\",\"big\":12345678901234567890}" ;;
VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}' ;;
esac
echo done >>log
"#;

impl World {
    fn new() -> World {
        let world = World { folder: tempfile::tempdir().expect("folder") };
        for folder in ["bin", "conf", "seen", "cache"] {
            fs::create_dir(world.path(folder)).expect("folder made");
        }
        fs::write(world.path("netns"), "").expect("written");
        for plugin in ["p1", "p2", "p3"] {
            let path = world.path("bin").join(plugin);
            fs::write(&path, PLUGIN).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<str>) -> &World {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folder made");
        fs::write(path, text.as_ref()).expect("written");
        self
    }

    /// Writes the network `net` with these keys more, and plugins p1 and p2.
    fn network(&self, more: &Value) -> &World {
        let mut list =
            json!({"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "p1"}, {"type": "p2"}]});
        for (key, value) in more.as_object().expect("an object") {
            list[key] = value.clone();
        }
        self.write("conf/10-net.conflist", list.to_string())
    }

    fn settings(&self) -> Settings {
        Settings {
            plugin_path: vec![self.path("empty"), self.path("bin")],
            networks: self.path("conf"),
            cache: self.path("cache"),
            timeout: Duration::from_secs(20),
            wait: Duration::from_secs(20),
        }
    }

    fn runtime(&self) -> Runtime {
        Runtime::new(self.settings())
    }

    fn attach(&self, id: &str) -> Attach {
        Attach::new(key("net", id), self.path("netns").to_str().expect("text"))
    }

    /// What was executed since the last look.
    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("seen/log")).unwrap_or_default();
        let _ = fs::remove_file(self.path("seen/log"));
        text.lines().filter(|line| *line != "done").map(str::to_owned).collect()
    }

    fn seen(&self, name: &str) -> String {
        fs::read_to_string(self.path("seen").join(name)).expect(name)
    }

    fn request(&self, name: &str) -> Value {
        serde_json::from_str(&self.seen(name)).expect("JSON")
    }

    /// The files of the cache, without its folders.
    fn cached(&self) -> Vec<String> {
        let mut names = Vec::new();
        for folder in ["results", "cnitest/locks", "cnitest/pending"] {
            for entry in fs::read_dir(self.path("cache").join(folder)).into_iter().flatten() {
                names.push(format!("{folder}/{}", entry.expect("entry").file_name().to_string_lossy()));
            }
        }
        names.sort();
        names
    }
}

fn key(network: &str, id: &str) -> Key {
    Key::new(network, id, "eth0").expect("good names")
}

#[test]
fn an_attachment_lives_and_dies() {
    let world = World::new();
    world.network(&json!({"plugins": [
        {"type": "p1", "x": {"deep": [1.0, 12345678901234567890_u64]}, "prevResult": {"static": 1}, "cni.dev/x": 1},
        {"type": "p2", "capabilities": {"mac": true, "dns": false}}
    ]}));
    let runtime = world.runtime();
    let mut attach = world.attach("c");
    attach.args = CniArgs::parse("A=B;C=D").expect("args");
    attach.capability_args = json!({"mac": "m", "dns": {}, "other": 1}).as_object().cloned().expect("object");
    let result = runtime.add(&attach).expect("added");
    assert_eq!(world.log(), ["ADD p1 c", "ADD p2 c"]);
    assert_eq!(result["by"], "p2");
    assert_eq!(
        world.seen("p1.ADD"),
        r#"{"cniVersion":"1.1.0","name":"net","type":"p1","x":{"deep":[1.0,12345678901234567890]}}"#
    );
    let second = world.request("p2.ADD");
    assert_eq!(second["prevResult"]["by"], "p1");
    assert!(second.to_string().contains("12345678901234567890"), "{second}");
    assert_eq!(second["runtimeConfig"], json!({"mac": "m"}));
    assert_eq!(second.get("capabilities"), None);
    let netns = world.path("netns");
    let path = world.path("empty").display().to_string() + ":" + &world.path("bin").display().to_string();
    let variables = |operation: &str| {
        format!(
            "CNI_ARGS=A=B;C=D\nCNI_COMMAND={operation}\nCNI_CONTAINERID=c\nCNI_IFNAME=eth0\nCNI_NETNS={}\nCNI_PATH={path}\n",
            netns.display()
        )
    };
    assert_eq!(world.seen("p1.ADD.env"), variables("ADD"));
    assert_eq!(world.cached(), ["results/net-c-eth0"]);
    assert!(matches!(runtime.add(&attach), Err(RuntimeError::AlreadyAttached { .. })));
    assert_eq!(world.log(), [""; 0]);

    // The file changes, the arguments are forgotten: CHECK and DEL are those of the ADD.
    world.network(&json!({"plugins": [{"type": "p3"}]}));
    runtime.check(&world.attach("c")).expect("checked");
    assert_eq!(world.log(), ["CHECK p1 c", "CHECK p2 c"]);
    assert_eq!(world.request("p1.CHECK")["prevResult"], result);
    assert_eq!(world.seen("p2.CHECK.env"), variables("CHECK"));
    runtime.del(&world.attach("c")).expect("deleted");
    assert_eq!(world.log(), ["DEL p2 c", "DEL p1 c"]);
    for plugin in ["p1", "p2"] {
        assert_eq!(world.request(&format!("{plugin}.DEL"))["prevResult"], result);
        assert_eq!(world.seen(&format!("{plugin}.DEL.env")), variables("DEL"));
    }
    assert_eq!(world.request("p2.DEL")["runtimeConfig"], json!({"mac": "m"}));
    assert_eq!(world.cached(), [""; 0]);

    // Once more: by the file.
    runtime.del(&world.attach("c")).expect("deleted again");
    assert_eq!(world.log(), ["DEL p3 c"]);
    assert_eq!(world.request("p3.DEL").get("prevResult"), None);
}

#[test]
fn a_failed_add_is_cleaned_up() {
    let world = World::new();
    world
        .network(&json!({"plugins": [{"type": "p1"}, {"type": "p2"}, {"type": "p3"}]}))
        .write("fail.p2.ADD", "");
    let runtime = world.runtime();
    let error = runtime.add(&world.attach("c")).expect_err("p2 fails").to_string();
    assert_eq!(error, "ADD of plugin \"p2\" in network \"net\" failed: told to fail (code 100)");
    assert_eq!(world.log(), ["ADD p1 c", "ADD p2 c", "DEL p3 c", "DEL p2 c", "DEL p1 c"]);
    assert_eq!(world.request("p1.DEL").get("prevResult"), None);
    assert_eq!(world.cached(), [""; 0]);
    // The clean-up fails too: the attachment is kept, CHECK refuses it, and the next ADD begins with its DEL.
    world.write("fail.p1.DEL", "");
    assert!(matches!(runtime.add(&world.attach("c")), Err(RuntimeError::CleanUp { .. })));
    assert_eq!(world.cached(), ["results/net-c-eth0"]);
    world.log();
    let error = runtime.check(&world.attach("c")).expect_err("unfinished").to_string();
    assert!(error.contains("did not finish"), "{error}");
    assert_eq!(world.log(), [""; 0]);
    for file in ["fail.p1.DEL", "fail.p2.ADD"] {
        fs::remove_file(world.path(file)).expect("removed");
    }
    runtime.add(&world.attach("c")).expect("added");
    assert_eq!(world.log(), ["DEL p3 c", "DEL p2 c", "DEL p1 c", "ADD p1 c", "ADD p2 c", "ADD p3 c"]);
}

#[test]
fn networks_are_joined_one_after_another_and_left_in_reverse() {
    let world = World::new();
    world.network(&json!({"plugins": [{"type": "p1"}]}));
    let other = json!({"cniVersion": "1.1.0", "name": "other", "plugins": [{"type": "p2"}, {"type": "p3"}]});
    world.write("conf/20-other.conflist", other.to_string());
    let runtime = world.runtime();
    let ifname = runtime.next_interface("eth0");
    let second = Attach { key: Key::new("other", "c", &ifname).expect("good names"), ..world.attach("c") };
    let both = [world.attach("c"), second];
    let results = runtime.add_all(&both).expect("added");
    let by: Vec<&str> = results.iter().filter_map(|result| result["by"].as_str()).collect();
    assert_eq!(by, ["p1", "p3"]);
    assert_eq!(world.log(), ["ADD p1 c", "ADD p2 c", "ADD p3 c"]);
    assert!(world.seen("p2.ADD.env").contains("CNI_IFNAME=eth1\n"));
    runtime.check_all(&both).expect("checked");
    assert_eq!(world.log(), ["CHECK p1 c", "CHECK p2 c", "CHECK p3 c"]);
    runtime.del_all(&both).expect("deleted");
    assert_eq!(world.log(), ["DEL p3 c", "DEL p2 c", "DEL p1 c"]);

    world.write("fail.p3.ADD", "");
    let error = runtime.add_all(&both).expect_err("the second fails");
    assert!(error.to_string().contains("told to fail"), "{error}");
    assert_eq!(
        world.log(),
        ["ADD p1 c", "ADD p2 c", "ADD p3 c", "DEL p3 c", "DEL p2 c", "DEL p1 c"],
        "the first is left again"
    );
    assert_eq!(world.cached(), [""; 0]);
    for (before, after) in [("eth0", "eth1"), ("eth9", "eth10"), ("net", "net1"), ("7", "8")] {
        assert_eq!(runtime.next_interface(before), after);
    }
}

#[test]
fn a_failed_del_is_kept_and_repeated() {
    let world = World::new();
    world.network(&json!({})).write("fail.p2.DEL", "");
    let runtime = world.runtime();
    runtime.add(&world.attach("c")).expect("added");
    world.log();
    runtime.del(&world.attach("c")).expect_err("p2 fails");
    assert_eq!(world.log(), ["DEL p2 c"]);
    assert!(
        matches!(runtime.cache().find(&key("net", "c")), Ok(Found::Entry(entry)) if entry.state() == State::Deleting)
    );
    assert!(matches!(
        runtime.check(&world.attach("c")),
        Err(RuntimeError::NotAttached { unfinished: true, .. })
    ));
    fs::remove_file(world.path("fail.p2.DEL")).expect("removed");
    runtime.del(&world.attach("c")).expect("deleted");
    assert!(world.request("p1.DEL").get("prevResult").is_some());
    assert_eq!(world.cached(), [""; 0]);
}

#[test]
fn check_needs_an_add_and_can_be_forbidden() {
    let world = World::new();
    world.network(&json!({}));
    let runtime = world.runtime();
    assert!(matches!(
        runtime.check(&world.attach("c")),
        Err(RuntimeError::NotAttached { unfinished: false, .. })
    ));
    runtime.add(&world.attach("c")).expect("added");
    world.write("fail.p1.CHECK", "").log();
    runtime.check(&world.attach("c")).expect_err("p1 fails");
    assert_eq!(world.log(), ["CHECK p1 c"]);
    world.network(&json!({"disableCheck": true}));
    runtime.check(&world.attach("c")).expect("not played");
    assert_eq!(world.log(), [""; 0]);
    world.network(&json!({"cniVersion": "0.3.1", "name": "old"}));
    let old = Attach::new(key("old", "c"), world.attach("c").netns);
    runtime.add(&old).expect("before 1.0.0 a network of its own is an attachment of its own");
    world.log();
    let error = runtime.check(&old).expect_err("0.3.1 has no CHECK").to_string();
    assert!(error.contains("0.4.0 or newer"), "{error}");
    assert_eq!(world.log(), [""; 0]);
}

#[test]
fn garbage_is_collected() {
    let world = World::new();
    world.network(&json!({}));
    let runtime = world.runtime();
    for id in ["alive", "gone", "kept"] {
        let mut attach = world.attach(id);
        if id == "gone" {
            world.write("netns2", "");
            attach.netns = world.path("netns2").to_str().expect("text").to_owned();
        }
        runtime.add(&attach).expect("added");
    }
    fs::remove_file(world.path("netns2")).expect("removed");
    // What runtimes that were killed left.
    world.write("cache/cnitest/locks/container-dead", "").write("cache/cnitest/pending/dead", "{").log();
    world.write("fail.p1.GC", "").write("fail.p2.GC", "");
    let error = runtime.gc("net", Valid::Alive).expect_err("both plugins fail").to_string();
    assert_eq!(error.lines().count(), 2, "{error}");
    assert_eq!(world.log(), ["DEL p2 gone", "DEL p1 gone", "GC p1 ", "GC p2 "]);
    let valid =
        json!([{"containerID": "alive", "ifname": "eth0"}, {"containerID": "kept", "ifname": "eth0"}]);
    assert_eq!(world.request("p1.GC")["cni.dev/valid-attachments"], valid);
    assert!(!world.seen("p1.GC.env").contains("CNI_CONTAINERID"));
    assert_eq!(world.cached(), ["results/net-alive-eth0", "results/net-kept-eth0"]);
    for file in ["fail.p1.GC", "fail.p2.GC"] {
        fs::remove_file(world.path(file)).expect("removed");
    }
    world.network(&json!({"disableGC": true}));
    runtime.gc("net", Valid::Only(&[])).expect("not played");
    assert_eq!(world.log(), [""; 0]);
    world.network(&json!({"cniVersion": "1.0.0"}));
    let keep = Attachment { container_id: "kept".to_owned(), ifname: "eth0".to_owned() };
    runtime.gc("net", Valid::Only(&[keep])).expect("collected");
    assert_eq!(world.log(), ["DEL p2 alive", "DEL p1 alive"], "1.0.0 has no GC");
    assert_eq!(world.cached(), ["results/net-kept-eth0"]);
}

#[test]
fn status_and_versions_are_asked() {
    let world = World::new();
    world.network(&json!({"cniVersions": ["1.0.0", "9.0.0"]})).write("fail.p1.STATUS", "");
    let runtime = world.runtime();
    runtime.status("net").expect_err("p1 fails");
    assert_eq!(world.log(), ["STATUS p1 "]);
    assert_eq!(world.request("p1.STATUS"), json!({"cniVersion": "1.1.0", "name": "net", "type": "p1"}));
    world.write("print.p2.VERSION", "no JSON");
    let supported = runtime.versions("net").expect("asked");
    assert_eq!(supported.selected.as_str(), "1.1.0");
    assert_eq!(supported.lacking(), ["p2"]);
    assert_eq!(world.seen("p1.VERSION"), r#"{"cniVersion":"1.1.0"}"#);
    world.network(&json!({"cniVersion": "1.0.0"})).log();
    runtime.status("net").expect("1.0.0 has no STATUS");
    assert_eq!(world.log(), [""; 0]);
    world.network(&json!({"cniVersion": "9.0.0"}));
    let error = runtime.add(&world.attach("c")).expect_err("no version").to_string();
    assert!(error.contains("9.0.0") && error.contains("1.1.0"), "{error}");
}

#[test]
fn networks_are_found_in_order_with_their_folders() {
    let world = World::new();
    let runtime = world.runtime();
    let plugins = |name: &str| {
        let network = runtime.load(name).map_err(|error| error.to_string())?;
        Ok::<_, String>(
            network.list.plugins().iter().map(|plugin| plugin.plugin_type().to_owned()).collect::<Vec<_>>(),
        )
    };
    assert!(plugins("net").expect_err("nothing there").contains("NETCONFPATH"));
    world.network(&json!({})).write("conf/05.conflist", r#"{"name": "other", "plugins": 5}"#);
    world.write("conf/00-net.conf", r#"{"cniVersion": "0.4.0", "name": "net", "type": "p3"}"#);
    assert_eq!(plugins("net").expect("a list before a single file"), ["p1", "p2"]);
    world.write("conf/09.conflist", r#"{"name": "net", "plugins": [{"type": "p3"}]}"#);
    assert_eq!(plugins("net").expect("the first counts"), ["p3"]);
    world.write("conf/net/20.conf", r#"{"type": "late"}"#).write("conf/net/10.conf", r#"{"type": "early"}"#);
    world.write("conf/net/30.json", "{").write("conf/net/a/40.conf", "{");
    assert_eq!(plugins("net").expect("with its folder"), ["p3", "early", "late"]);
    world.write("conf/09.conflist", r#"{"cniVersion": "1.1.0", "name": "net"}"#);
    assert_eq!(plugins("net").expect("the folder alone"), ["early", "late"]);
    world.write(
        "conf/09.conflist",
        r#"{"name": "net", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "p3"}]}"#,
    );
    assert_eq!(plugins("net").expect("inlined only"), ["p3"]);
    for (text, part) in [
        ("// x\n{}", "without comments"),
        ("\u{feff}{}", "byte order mark"),
        (r#"{"name": "net", "plugins": [{"type": "../p"}]}"#, "plugin type"),
        (r#"{"name": "net", "plugins": []}"#, "/plugins"),
        (r#"{"plugins": [{"type": "p1"}]}"#, "/name"),
        (r#"{"cniVersion": 1, "name": "net", "plugins": [{"type": "p1"}]}"#, "/cniVersion"),
    ] {
        world.write("conf/01.conflist", text);
        let error = plugins("net").expect_err(text);
        assert!(error.contains("01.conflist") && error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_folder_stays_part_of_the_attachment() {
    let world = World::new();
    world.network(&json!({})).write("conf/net/10.conf", r#"{"type": "p3"}"#);
    let runtime = world.runtime();
    runtime.add(&world.attach("c")).expect("added");
    fs::remove_dir_all(world.path("conf")).expect("removed");
    world.log();
    runtime.del(&world.attach("c")).expect("deleted");
    assert_eq!(world.log(), ["DEL p3 c", "DEL p2 c", "DEL p1 c"]);
}

#[test]
fn what_is_no_result_is_an_error() {
    let world = World::new();
    world.network(&json!({}));
    let runtime = world.runtime();
    for text in [
        "null",
        "[]",
        "",
        "1",
        "{} {}",
        r#"{"cniVersion": null}"#,
        r#"{"cniVersion": "7.0.0"}"#,
        r#"{"ips": [null]}"#,
    ] {
        world.write("print.p1.ADD", text);
        let error = runtime.add(&world.attach("c")).expect_err(text).to_string();
        assert!(error.contains("no valid result"), "{text}: {error}");
        assert_eq!(world.cached(), [""; 0]);
    }
    world.write("print.p1.ADD", r#"{"ips": [{"address": "10.0.0.1/24", "interface": -1}]}"#);
    runtime.add(&world.attach("c")).expect("a result without a label, and with no interface");
    assert_eq!(world.request("p2.ADD")["prevResult"]["cniVersion"], "1.1.0");
    runtime.del(&world.attach("c")).expect("deleted");
    world.write("print.p1.ADD", r#"{"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/24"}}"#);
    runtime.add(&world.attach("c")).expect("a result of another version");
    assert_eq!(world.request("p2.ADD")["prevResult"]["ips"][0]["address"], "10.0.0.1/24");
}

#[test]
fn a_hung_plugin_is_killed_with_its_children() {
    let world = World::new();
    world.network(&json!({})).write("hang.p2.ADD", "");
    let runtime = Runtime::new(Settings { timeout: Duration::from_millis(700), ..world.settings() });
    let began = Instant::now();
    let error = runtime.add(&world.attach("c")).expect_err("p2 hangs").to_string();
    assert!(error.contains("was killed"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(world.log(), ["ADD p1 c", "ADD p2 c", "DEL p2 c", "DEL p1 c"]);
    let child = world.seen("hung");
    let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "the plugin's child lives: {state}");
}

#[test]
fn nothing_is_executed_when_a_plugin_is_missing() {
    let world = World::new();
    world.network(&json!({"plugins": [{"type": "p1"}, {"type": "missing"}]}));
    let error = world.runtime().add(&world.attach("c")).expect_err("missing").to_string();
    assert!(error.contains("no plugin \"missing\"") && error.contains("CNI_PATH"), "{error}");
    assert_eq!((world.log(), world.cached()), (Vec::new(), Vec::new()));
}

#[test]
fn operations_on_one_container_follow_each_other_and_gc_is_alone() {
    let world = World::new();
    world.network(&json!({})).write("slow.p1.ADD", "").write("slow.p1.GC", "");
    std::thread::scope(|scope| {
        for ifname in ["eth0", "eth1", "eth2"] {
            let world = &world;
            scope.spawn(move || {
                let key = Key::new("net", "c", ifname).expect("good names");
                let attach = Attach::new(key, world.attach("c").netns);
                world.runtime().add(&attach).expect("added");
            });
        }
        scope.spawn(|| world.runtime().gc("net", Valid::Alive).expect("collected"));
    });
    let text = fs::read_to_string(world.path("seen/log")).expect("log");
    for pair in text.lines().collect::<Vec<_>>().chunks(2) {
        assert_eq!(pair[1], "done", "{text}");
    }
    assert_eq!(text.lines().count(), 16, "{text}");
    let busy = Runtime::new(Settings { wait: Duration::from_millis(50), ..world.settings() });
    world.write("slow.p1.DEL", "").write("slow.p2.DEL", "");
    let attach = world.attach("c");
    std::thread::scope(|scope| {
        scope.spawn(|| world.runtime().del(&attach).expect("deleted"));
        while !fs::read_to_string(world.path("seen/log")).unwrap_or_default().contains("DEL") {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(matches!(busy.del(&attach), Err(RuntimeError::Lock(_))));
    });
}

#[test]
fn damaged_entries_do_not_block_a_del() {
    let world = World::new();
    world.network(&json!({}));
    let runtime = world.runtime();
    for text in ["", "{", "null", "\u{0}\u{1}", "[]", r#"{"kind": "other"}"#] {
        world.write("cache/results/net-c-eth0", text).log();
        runtime.check(&world.attach("c")).expect_err(text);
        runtime.del(&world.attach("c")).expect(text);
        assert_eq!(world.log(), ["DEL p2 c", "DEL p1 c"], "{text}");
        assert_eq!(world.cached(), [""; 0], "{text}");
    }
}

/// The file that libcni 1.1.2 (`with_netns` false) and later releases write, after their source and a file seen.
fn libcni_file(world: &World, with_netns: bool) {
    // {"cniVersion":"1.0.0","name":"net","plugins":[{"type":"p1"}]}
    let config = "eyJjbmlWZXJzaW9uIjoiMS4wLjAiLCJuYW1lIjoibmV0IiwicGx1Z2lucyI6W3sidHlwZSI6InAxIn1dfQ==";
    let netns =
        if with_netns { format!(r#""netns":"{}","#, world.path("netns").display()) } else { String::new() };
    world.write(
        "cache/results/net-c-eth0",
        format!(
            r#"{{"kind":"cniCacheV1","containerId":"c","config":"{config}","ifName":"eth0","networkName":"net",{netns}"cniArgs":[["A","B"]],"capabilityArgs":{{"mac":"m"}},"result":{{"cniVersion":"1.0.0","dns":{{}},"ips":[{{"address":"10.9.0.2/24"}}]}}}}"#
        ),
    );
}

#[test]
fn what_libcni_added_is_checked_and_deleted() {
    for with_netns in [true, false] {
        let world = World::new();
        world.network(&json!({"cniVersion": "1.0.0"})).write("conf/net/10.conf", r#"{"type": "p3"}"#);
        let runtime = world.runtime();
        libcni_file(&world, with_netns);
        assert!(matches!(runtime.add(&world.attach("c")), Err(RuntimeError::AlreadyAttached { .. })));
        runtime.gc("net", Valid::Alive).expect("it is alive");
        runtime.check(&world.attach("c")).expect("checked");
        assert_eq!(world.log(), ["CHECK p1 c", "CHECK p3 c"], "libcni keeps the list's file alone");
        runtime.del(&world.attach("c")).expect("deleted");
        assert_eq!(world.log(), ["DEL p3 c", "DEL p1 c"]);
        assert_eq!(world.request("p1.DEL")["prevResult"]["ips"][0]["address"], "10.9.0.2/24");
        let variables = world.seen("p1.DEL.env");
        assert!(variables.contains("CNI_ARGS=A=B\n") && variables.contains("/netns\n"), "{variables}");
        assert_eq!(world.cached(), [""; 0]);
    }
}

#[test]
fn bare_results_of_old_releases_are_used() {
    let world = World::new();
    world.network(&json!({})).write(
        "cache/results/net-c-eth0",
        r#"{"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.0.0.9/24"}]}"#,
    );
    let runtime = world.runtime();
    assert!(matches!(runtime.add(&world.attach("c")), Err(RuntimeError::AlreadyAttached { .. })));
    runtime.check(&world.attach("c")).expect("checked");
    runtime.del(&world.attach("c")).expect("deleted");
    assert_eq!(
        world.request("p1.DEL")["prevResult"],
        json!({"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.9/24"}]})
    );
    assert_eq!(world.cached(), [""; 0]);
}

#[test]
fn names_that_share_a_file_do_not_share_a_result() {
    let world = World::new();
    for name in ["a", "a-b"] {
        world.write(
            &format!("conf/{name}.conflist"),
            json!({"cniVersion": "1.1.0", "name": name, "plugins": [{"type": "p1"}]}).to_string(),
        );
    }
    let runtime = world.runtime();
    let netns = world.attach("c").netns;
    let (one, two) =
        (Attach::new(key("a-b", "c"), netns.as_str()), Attach::new(key("a", "b-c"), netns.as_str()));
    for attach in [&one, &two] {
        runtime.add(attach).expect("added");
    }
    assert_eq!(world.cached(), ["results/a,b-c,eth0", "results/a-b-c-eth0"]);
    runtime.del(&one).expect("deleted");
    assert_eq!(world.cached(), ["results/a,b-c,eth0"]);
    runtime.check(&two).expect("checked");
    runtime.del(&two).expect("deleted");
    assert_eq!(world.cached(), [""; 0]);
}

#[test]
fn another_namespace_at_the_path_is_left_alone() {
    let world = World::new();
    world.network(&json!({}));
    let runtime = world.runtime();
    runtime.add(&world.attach("c")).expect("added");
    world.write("netns3", "");
    fs::rename(world.path("netns3"), world.path("netns")).expect("replaced");
    runtime.del(&world.attach("c")).expect("deleted");
    assert!(world.seen("p1.DEL.env").contains("CNI_NETNS=\n"));
}

/// Random numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The folder of a configuration inside an arena.
const NETWORKS: &str = "/etc/cni/net.d";

fn arena() -> Arena {
    let names = ["cnitest", "bridge", "host-local", "portmap"];
    let plugin_aliases =
        names.map(|name| PluginAlias { name: name.into(), executable: "/proc/self/exe".into() }).to_vec();
    Arena::start(&ArenaConfig { plugin_aliases, ..support::config() })
        .unwrap_or_else(|error| panic!("these tests need namespaces: {error}"))
}

/// At least 200 times cnitest is killed somewhere in an ADD, DEL or GC; the plugin that it was executing goes on. A DEL or GC
/// afterwards leaves nothing.
#[test]
fn a_runtime_killed_at_any_moment_loses_no_attachment() {
    let mut arena = arena();
    // 1.0.0 has no GC, in which the plugins could make good what the runtime has lost.
    let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "br0", "isGateway": true, "ipMasq": true,
         "ipam": {"type": "host-local", "subnet": "10.7.0.0/24"}},
        {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
    ]});
    arena.write_file(Path::new(NETWORKS).join("net.conflist"), list.to_string(), 0o644).expect("written");
    arena.create_netns("c1").expect("namespace");
    let script = |body: &str| {
        Invocation::new("/bin/sh")
            .args(["-c", &format!("op() {{ o=$1; shift; /opt/cni/bin/cnitest exec $o net \"$@\"; }}\nN=/run/netns/c1\n{body}")])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CAP_ARGS", r#"{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}"#)
            .timeout(Duration::from_secs(120))
    };
    let run = |arena: &mut Arena, body: &str| {
        let execution = arena.execute(&script(body)).expect("the arena answers");
        let said = format!("{body}\n{}\n{}", execution.stdout_text(), execution.stderr_text());
        assert!(execution.outcome.success(), "{}: {said}", execution.outcome);
        execution
    };
    // The bridge and the folders stay; how long operations take tells when to kill.
    let began = Instant::now();
    run(&mut arena, "op add $N && op check $N && op del $N && op add $N && op gc --all");
    let longest = u64::try_from((began.elapsed() / 6).as_micros()).expect("short");
    let before = arena.snapshot(Scope::usual()).expect("snapshot");
    let (mut random, mut killed) = (Random(0x0020_2611_2521), 0);
    for batch in 0..40 {
        if killed >= 200 {
            break;
        }
        let mut body = "killed=0\n\
            strike() { wait=$1; shift; /opt/cni/bin/cnitest exec \"$@\" >/dev/null 2>&1 & p=$!; sleep $wait; kill -9 $p 2>/dev/null; wait $p; [ $? = 137 ] && killed=$((killed + 1)); }\n"
            .to_owned();
        for _ in 0..20 {
            let moment = random.below(longest) as f64 / 1e6;
            let victim = ["add net $N", "del net $N", "gc net --all"][random.below(3) as usize];
            let prepare = if victim.starts_with("add") { "" } else { "op add $N >/dev/null || exit 8; " };
            let rescue = ["op del $N", "op gc --all"][random.below(2) as usize];
            body += &format!("{prepare}strike {moment:.6} {victim}; {rescue} || exit 9\n");
        }
        let output = run(&mut arena, &format!("{body}echo $killed")).stdout_text();
        killed += output.trim().parse::<u32>().expect("a number");
        let after = arena.snapshot(Scope::usual()).expect("snapshot");
        let left: Vec<String> = difference(&before, &after)
            .lines
            .into_iter()
            // host-local remembers the last address that it gave.
            .filter(|line| !line.contains("last_reserved_ip"))
            .collect();
        assert_eq!(left, [""; 0], "after batch {batch}:\n{body}");
    }
    assert!(killed >= 200, "only {killed} operations were killed before their end");
}
