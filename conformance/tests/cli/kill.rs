//! When cnitest is killed in the middle of a run, nothing of it remains on the host.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::{Folder, cnitest, refused, signal_group};

/// What a run could leave on the host: interfaces, network namespaces in use, mounts, and processes of ours.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    interfaces: BTreeSet<String>,
    mounts: BTreeSet<String>,
    named_namespaces: BTreeSet<String>,
    processes: BTreeSet<u32>,
}

fn host(marker: &str) -> Host {
    let names = |path: &str| {
        let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    Host {
        interfaces: names("/sys/class/net"),
        mounts: mounts.lines().map(str::to_owned).collect(),
        named_namespaces: names("/run/netns"),
        processes: processes(marker),
    }
}

/// Processes whose command line or environment holds the marker.
fn processes(marker: &str) -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            ["cmdline", "environ"].iter().any(|file| {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                bytes.windows(marker.len()).any(|window| window == marker.as_bytes())
            })
        })
        .collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a run whose plugin never ends, ends cnitest by `kill`, and looks at what remains.
fn ended_by(kill: impl FnOnce(&mut Child) -> Option<i32>) {
    if let Some(reason) = refused() {
        eprintln!("skipped: {reason}");
        return;
    }
    // The plugin's folder is the marker: it stands in the command line of cnitest and of the plugin, and the arena's
    // agent and the daemon inherit it in their environment.
    let folder = Folder::new();
    let marker = folder.path().to_str().expect("text").to_owned();
    let plugin = folder.plugin(
        "subject",
        &format!("export MARKER={marker}\n(sleep 1000 &)\nip link add leaked0 type bridge\ntouch /etc/leaked-by-cnitest\nsleep 1000"),
    );
    let before = host(&marker);
    let mut child = cnitest()
        .args(["plugin", plugin.to_str().expect("text"), "--timeout", "60s"])
        .env("MARKER", &marker)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("cnitest starts");
    // cnitest itself, its arena's processes, the plugin and its sleeps.
    wait_until("the plugin's start", || processes(&marker).len() >= 4);
    let status = kill(&mut child);
    assert_eq!(child.wait().expect("cnitest ended").code(), status);
    wait_until("the end of every process", || processes(&marker).is_empty());
    assert_eq!(host(&marker), before);
    assert!(!fs::exists("/etc/leaked-by-cnitest").expect("readable"), "the plugin wrote to the host");
}

#[test]
fn sigkill_leaves_nothing() {
    ended_by(|child| {
        child.kill().expect("killed");
        None
    });
}

/// Sends the signal, and once more when cnitest says that it goes on with what is under way, which never ends here.
fn twice(child: &mut Child, signal: Signal) {
    signal_group(child, signal);
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let goes_on = |line: &String| line.contains("interrupted") && line.contains("once more ends at once");
    assert!(said.any(|line| goes_on(&line.expect("text"))), "cnitest ends without a word");
    signal_group(child, signal);
}

#[test]
fn ctrl_c_twice_ends_at_once_and_leaves_nothing() {
    ended_by(|child| {
        twice(child, Signal::SIGINT);
        Some(130)
    });
}

#[test]
fn sigterm_twice_ends_at_once_and_leaves_nothing() {
    ended_by(|child| {
        twice(child, Signal::SIGTERM);
        Some(143)
    });
}
