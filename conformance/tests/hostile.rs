//! Hostile plugins and files against cnitest itself: it never panics, never hangs, and leaves nothing on the host.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cni_schemas::{Kind, Profile};
use cni_spec::Version;
use cni_spec::error::CniError;
use cni_spec::result::{AddResult, VersionResult};
use cnitest::arena::{Arena, ArenaConfig, PluginAlias, Scope, snapshot::difference};
use cnitest::checks::Documents;
use cnitest::invoke::Invocation;
use cnitest::mutants::hostile::{Random, garble, plugin, spoil};
use cnitest::suite::{Options, Suite};
use cnitest::target::{Target, builtin};
use cnitest_reports::model::{RunSet, Verdict};
use cnitest_reports::{ReportKind, report};
use globset::GlobSet;
use serde_json::{Value, json};

/// The executable that becomes the arenas' agent and the plugins.
fn executable() -> PathBuf {
    std::env::var_os("CNITEST_TEST_AGENT")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_cnitest")), PathBuf::from)
}

fn config() -> ArenaConfig {
    ArenaConfig { agent_executable: executable(), ..ArenaConfig::default() }
}

/// Held by each test that starts processes: one of them tells what is left from what was there before by all children of this
/// process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stands in the environment of every hostile execution of this run of the tests, and so in that of all it starts.
fn marker() -> String {
    format!("CNITEST_HOSTILE_{}", std::process::id())
}

/// How many invocations are executed one by one; those of whole runs come on top.
const DIRECT: usize = 9_800;
/// The plugins that are spoiled.
const BASES: [&str; 4] = ["static", "host-local", "debug", "loopback"];
/// Seeds of the stream.
const SEEDS: u64 = 6;

#[test]
fn ten_thousand_hostile_invocations_do_no_harm() {
    let _alone = alone();
    if let Err(error) = Arena::start(&config()) {
        eprintln!("skipped: {error}");
        return;
    }
    let before = host();
    let next = AtomicUsize::new(0);
    let lost = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| one_by_one(&next, &lost));
        }
    });
    let direct = next.load(Ordering::Relaxed).min(DIRECT);
    let cases = whole_runs();
    let total = direct + cases;
    let told = format!(
        "{total} hostile invocations: {direct} one by one ({} arenas lost), at least {cases} in whole runs\n",
        lost.load(Ordering::Relaxed)
    );
    // Past the harness, which hides what a test that passes prints.
    let _ = std::io::stderr().write_all(told.as_bytes());
    assert!(total >= 10_000, "{total} hostile invocations");
    assert_eq!(before, host(), "something is left on the host");
}

/// Executes hostile plugins and reads what they print with everything that reads plugins.
fn one_by_one(next: &AtomicUsize, lost: &AtomicUsize) {
    let mut arena = hostile_arena();
    let mut since_reset = 0;
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= DIRECT {
            break;
        }
        let mut random = Random(index as u64);
        let invocation = invocation(index, &mut random);
        let Ok(execution) = arena.execute(&invocation) else {
            // A plugin that takes its arena down with it costs the arena, no more.
            lost.fetch_add(1, Ordering::Relaxed);
            arena = hostile_arena();
            continue;
        };
        read(&execution.stdout);
        since_reset += 1;
        if since_reset == 100 {
            since_reset = 0;
            let state = arena.snapshot(Scope::all());
            if let Ok(state) = &state {
                let lines = difference(arena.initial(), state).lines;
                assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
            }
            if state.is_err() || !arena.reset().unwrap_or(false) {
                arena = hostile_arena();
            }
        }
    }
}

fn hostile_arena() -> Arena {
    let agent = executable();
    let mut plugin_aliases = Vec::new();
    for seed in 0..SEEDS {
        for base in BASES {
            let below = plugin(seed, base).program;
            let name = below.strip_prefix("/opt/cni/bin").expect("a bundled plugin").display().to_string();
            plugin_aliases.push(PluginAlias { name, executable: agent.clone() });
        }
    }
    let config = ArenaConfig { plugin_aliases, storage: 64 << 20, ..config() };
    Arena::start(&config).expect("an arena starts whatever happened to the one before")
}

/// A request that is spoiled itself now and then.
fn invocation(index: usize, random: &mut Random) -> Invocation {
    let base = *random.pick(&BASES);
    let mut request = json!({
        "cniVersion": *random.pick(&["0.1.0", "0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]),
        "name": "hostile",
        "type": base,
        "ipam": {
            "type": base,
            "addresses": [{ "address": "10.0.0.2/24", "gateway": "10.0.0.1" }],
            "subnet": "10.1.0.0/16",
            "routes": [{ "dst": "0.0.0.0/0" }]
        },
        "prevResult": { "cniVersion": "1.1.0", "interfaces": [], "ips": [], "routes": [], "dns": {} },
        "dns": { "nameservers": ["10.0.0.53"] }
    });
    if random.below(4) == 0 {
        spoil(&mut request, random);
    }
    let mut text = request.to_string().into_bytes();
    if random.below(10) == 0 {
        text = garble(&text, random);
    }
    let command = *random.pick(&["ADD", "ADD", "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "", "FOO"]);
    let id = format!("hostile-{index}");
    Invocation::new(plugin(random.number() % SEEDS, base).program)
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", random.pick(&[id.as_str(), "../x", "", "a b"]))
        .env("CNI_NETNS", random.pick(&["/run/netns/none", "/proc/self/ns/net", "", "/dev/zero"]))
        .env("CNI_IFNAME", random.pick(&["eth0", "lo", "../x", ""]))
        .env("CNI_PATH", "/opt/cni/bin")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env(marker(), "1")
        .input(text)
        // Some hang on purpose; the others need a hundredth of it.
        .timeout(Duration::from_millis(500))
}

/// Everything that reads what a plugin prints. Whether it is taken or refused does not matter here.
fn read(stdout: &[u8]) {
    let all = match Documents::parse(stdout) {
        Documents::None | Documents::Garbage(_) => return,
        Documents::One(document) => vec![document],
        Documents::Several(documents) => documents,
    };
    for document in all {
        let _ = CniError::parse(&document).map(|error| error.to_string());
        let _ = VersionResult::parse(&document);
        for version in [Version::V0_2_0, Version::V0_4_0, Version::V1_1_0] {
            if let Ok(result) = AddResult::parse(&document, version) {
                for target in Version::ALL {
                    let _ = result.to_version(target).0.to_string();
                }
            }
        }
        for kind in [Kind::ResultAdd, Kind::ResultIpam, Kind::Error] {
            let _ = cni_schemas::validate(kind, Version::V1_1_0, Profile::Compat, &document);
        }
    }
}

/// Plays all checks on hostile plugins, and writes every kind of report of it. Answers how many cases were played; each
/// executes the plugin at least once.
fn whole_runs() -> usize {
    let options = Options {
        only: GlobSet::empty(),
        skip: GlobSet::empty(),
        versions: vec![Version::V1_1_0],
        upgrade_from: Vec::new(),
        sought: &[],
        strict: false,
        seed: 1,
        jobs: 2,
        timeout: Duration::from_millis(1500),
        executable: executable(),
        recorded: Default::default(),
    };
    let suite = Suite::new(options);
    let mut cases = 0;
    for (seed, base) in [(1, "static"), (2, "host-local")] {
        let run = suite.run(&plugin(seed, base), builtin(base).as_ref(), &|_| ()).expect("the run ends");
        for result in &run.results {
            let reason = result.reason.as_deref().unwrap_or_default();
            assert!(!reason.contains("a defect of cnitest"), "{}: {reason}", result.check);
        }
        cases += run.results.iter().filter(|result| result.verdict != Verdict::Skip).count();
        let set = RunSet::new(vec![run]);
        for kind in [ReportKind::Json, ReportKind::Human, ReportKind::Junit] {
            let mut text = Vec::new();
            report(kind, &set, &mut text).expect("written");
            assert!(!text.contains(&0x1b), "{kind:?} holds escape sequences of the plugin");
        }
    }
    cases
}

/// What could be left on the host.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    interfaces: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    mounts: usize,
    children: Vec<u32>,
    marked: Vec<u32>,
}

fn host() -> Host {
    let names = |path: &str| {
        let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let own = std::process::id();
    let pids: Vec<u32> = fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .collect();
    let is_child = |pid: &&u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit(") ").next().unwrap_or_default().to_owned();
        after.split(' ').nth(1) == Some(own.to_string().as_str())
    };
    let marker = marker();
    let is_marked = |pid: &&u32| {
        let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        bytes.windows(marker.len()).any(|window| window == marker.as_bytes())
    };
    Host {
        interfaces: names("/sys/class/net"),
        namespaces: names("/run/netns"),
        mounts: fs::read_to_string("/proc/self/mounts").expect("mounts").lines().count(),
        children: pids.iter().filter(is_child).copied().collect(),
        marked: pids.iter().filter(is_marked).copied().collect(),
    }
}

/// Documents that people hand to cnitest: none of them makes it panic, whatever became of them.
#[test]
fn spoiled_files_are_refused_or_read() {
    let targets = [include_str!("../targets/bridge.toml"), include_str!("../targets/portmap.toml")];
    let mut random = Random(3);
    for _ in 0..4000 {
        for text in targets {
            let spoiled = garble(text.as_bytes(), &mut random);
            let _ = Target::parse(&String::from_utf8_lossy(&spoiled), "spoiled");
        }
    }
    let report = a_report();
    for _ in 0..1500 {
        let mut spoiled = report.clone();
        spoil(&mut spoiled, &mut random);
        let _ = RunSet::parse(&spoiled.to_string());
        let text = garble(report.to_string().as_bytes(), &mut random);
        let _ = RunSet::parse(&String::from_utf8_lossy(&text));
    }
}

/// The same through the command: it says what is wrong and ends with one of its statuses.
#[test]
fn the_command_survives_spoiled_files() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("input");
    let name = file.to_str().expect("text");
    let report = a_report();
    let config = json!({ "cniVersion": "1.1.0", "name": "n", "plugins": [{ "type": "bridge" }] });
    let mut random = Random(5);
    for round in 0..40 {
        let (document, arguments): (&Value, &[&str]) = match round % 2 {
            0 => (&config, &["validate", name]),
            _ => (&report, &["report", name, "--report", "human=/dev/null"]),
        };
        let mut spoiled = document.clone();
        spoil(&mut spoiled, &mut random);
        let mut text = spoiled.to_string().into_bytes();
        if random.below(2) == 0 {
            text = garble(&text, &mut random);
        }
        fs::write(&file, text).expect("written");
        let output = Command::new(executable())
            .args(arguments)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("cnitest starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0..=2)), "{}: {said}", output.status);
        assert!(!said.contains("panicked"), "{said}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).expect("read").filter_map(Result::ok).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// A small report with one of everything.
fn a_report() -> Value {
    let evidence = json!({
        "expected": "a", "observed": "b", "kernelDifference": ["+ x"],
        "executions": [{
            "label": "ADD", "program": "/p", "environment": { "A": "b" }, "stdin": "{}", "exit": "exit status 1",
            "stdout": "", "stderr": "", "stdoutTruncated": false, "stderrTruncated": false,
            "wallMs": 1.0, "cpuMs": 1.0, "peakRssKib": 5
        }]
    });
    json!({
        "reportVersion": "1",
        "tool": { "name": "cnitest", "version": "0.1.0" },
        "environment": { "kernel": "6", "arch": "x", "privilege": "root", "missingFeatures": [] },
        "seed": 1, "strict": false, "started": "2026-01-01T00:00:00Z", "durationMs": 1.0,
        "subject": {
            "kind": "plugin", "name": "p", "path": "/p", "sha256": "", "supportedVersions": ["1.1.0"],
            "target": null, "targetNote": null
        },
        "results": [{
            "check": "add.x", "title": "t", "requirements": ["add.twice-errors"], "level": "MUST",
            "specVersion": "1.1.0", "case": "c", "verdict": "fail", "broken": ["add.twice-errors"],
            "reason": "r", "evidence": evidence, "reproducer": "#!/bin/sh\n", "durationMs": 1.0
        }],
        "summary": { "pass": 0, "fail": 1, "warn": 0, "skip": 0, "error": 0 },
        "conformant": false
    })
}
