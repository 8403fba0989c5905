//! `cnitest plugin` on plugins whose verdict is known.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::{Folder, cnitest, plugin_json, refused, results, run, signal_group};

/// Whether plugins can run here; prints why not.
pub(crate) fn possible() -> bool {
    match refused() {
        Some(reason) => {
            eprintln!("skipped: {reason}");
            false
        }
        None => true,
    }
}

fn validator() -> jsonschema::Validator {
    let schema = include_str!("../../../schemas/report/run.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is one")
}

#[test]
fn the_bundled_plugins_are_conformant_and_the_run_has_its_schema() {
    if !possible() {
        return;
    }
    for name in ["loopback", "static"] {
        let (run, status) = plugin_json(&[name]);
        let broken = |result: &&Value| !matches!(result["verdict"].as_str(), Some("pass" | "skip"));
        let all = run["results"].as_array().expect("results");
        assert_eq!(all.iter().filter(broken).collect::<Vec<_>>(), Vec::<&Value>::new(), "{name}");
        assert_eq!(status, 0, "{name}");
        assert!(all.len() > 400, "{name}: only {} cases", all.len());
        let reasonless = all.iter().find(|result| result["verdict"] == "skip" && result["reason"].is_null());
        assert_eq!(reasonless, None, "a skip tells why");
        let problems: Vec<String> = validator().iter_errors(&run).map(|error| error.to_string()).collect();
        assert_eq!(problems, Vec::<String>::new(), "{name}");
    }
}

/// A plugin in shell that answers VERSION, and ADD with whatever it is told to print.
pub(crate) fn shell_plugin(folder: &Folder, add: &str) -> String {
    let body = format!(
        "case $CNI_COMMAND in\n\
         VERSION) echo '{{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"1.0.0\"]}}' ;;\n\
         ADD) {add} ;;\n\
         esac"
    );
    folder.plugin("subject", &body).to_str().expect("text").to_owned()
}

#[test]
fn a_reproducer_shows_the_failure_without_cnitest() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    // It accepts anything, and names no variable that is missing.
    let plugin = shell_plugin(&folder, "cat >/dev/null; echo '{\"cniVersion\":\"1.0.0\"}'");
    let kept = folder.path().join("kept");
    let output = cnitest()
        .args(["plugin", &plugin, "--only", "parameters.all-missing", "--keep", kept.to_str().expect("text")])
        .output()
        .expect("cnitest starts");
    assert_eq!(output.status.code(), Some(1));
    let script = kept.join("subject/parameters.all-missing-1.0.0-bare.sh");
    let repeat = |arguments: &[&str]| {
        let output = Command::new("sh").arg(&script).args(arguments).output().expect("sh starts");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    };
    if Command::new("ip").arg("-V").output().is_err() {
        eprintln!("skipped: the script needs ip, which is not installed");
        return;
    }
    let (text, status) = repeat(&[]);
    assert!(text.contains("FAIL: reproduced"), "{text}");
    assert_eq!(status, Some(1));
    let right =
        folder.plugin("right", "cat >/dev/null; echo '{\"code\":4,\"msg\":\"CNI_CONTAINERID\"}'; exit 1");
    let (text, status) = repeat(&[right.to_str().expect("text")]);
    assert!(text.contains("PASS: not reproduced"), "{text}");
    assert_eq!(status, Some(0));
}

#[test]
fn warnings_fail_only_when_strict() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    // Right but for the error object's cniVersion, which it should have.
    let plugin = shell_plugin(&folder, "cat >/dev/null; echo '{\"code\":7,\"msg\":\"no name\"}'; exit 1");
    let arguments = [plugin.as_str(), "--only", "execution.error-version"];
    let (run, status) = plugin_json(&arguments);
    assert_eq!(results(&run, "execution.error-version")[0]["verdict"], "warn", "{run}");
    assert_eq!(status, 0);
    let (_, status) = plugin_json(&[&arguments[..], &["--strict"]].concat());
    assert_eq!(status, 1);
}

#[test]
fn every_kind_of_report_is_written_and_can_be_made_again() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let report = |kind: &str, name: &str| format!("{kind}={}", file(name));
    let first = [report("json", "1.json"), report("junit", "1.xml"), report("deviations", "1.txt")];
    let mut arguments = vec!["plugin", "loopback", "--only", "version.*"];
    first.iter().for_each(|one| arguments.extend(["--report", one]));
    assert_eq!(run(&arguments).status.code(), Some(0));
    let again = [report("json", "2.json"), report("junit", "2.xml"), report("deviations", "2.txt")];
    let saved = file("1.json");
    let mut arguments = vec!["report", saved.as_str()];
    again.iter().for_each(|one| arguments.extend(["--report", one]));
    assert_eq!(run(&arguments).status.code(), Some(0));
    for kind in ["json", "xml", "txt"] {
        let read = |number: u8| std::fs::read_to_string(file(&format!("{number}.{kind}"))).expect("written");
        assert_eq!(read(1), read(2), "{kind}");
    }
}

/// A run of `cnitest plugin`, in a process group of its own, that handles interrupts by now.
fn run_that_can_be_interrupted(plugin: &str) -> Child {
    let child = cnitest()
        .args(["plugin", plugin, "--format", "json", "--jobs", "1"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .process_group(0)
        .spawn()
        .expect("cnitest starts");
    wait_until_interrupts_are_handled(child.id());
    child
}

/// Waits until a process has a handler for SIGINT, as its line in /proc tells: before, the signal would just end it.
fn wait_until_interrupts_are_handled(process: u32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let handles = || {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 2 != 0)
    };
    while !handles() {
        assert!(Instant::now() < deadline, "cnitest handles no interrupt");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ctrl_c_ends_with_a_report_and_leaves_nothing() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let plugin = shell_plugin(&folder, "sleep 0.2");
    let child = run_that_can_be_interrupted(&plugin);
    signal_group(&child, Signal::SIGINT);
    let output = child.wait_with_output().expect("cnitest ends");
    let run: Value = serde_json::from_slice(&output.stdout).expect("a whole report");
    let interrupted =
        |result: &&Value| result["reason"].as_str().is_some_and(|reason| reason.contains("interrupted"));
    let results = run["results"].as_array().expect("results");
    assert!(results.iter().any(|result| interrupted(&result)), "{run}");
    assert!(results.iter().all(|result| result["verdict"] != "error"), "the case under way ends: {run}");
}

#[test]
fn an_interrupted_run_is_undecided_though_nothing_failed() {
    if !possible() {
        return;
    }
    let child = run_that_can_be_interrupted("bridge");
    // Some of the cases, and far from all.
    std::thread::sleep(Duration::from_secs(3));
    signal_group(&child, Signal::SIGTERM);
    let output = child.wait_with_output().expect("cnitest ends");
    let run: Value = serde_json::from_slice(&output.stdout).expect("a whole report");
    assert!(run["summary"]["pass"].as_u64() > Some(0), "{run}");
    assert_eq!((&run["summary"]["fail"], &run["summary"]["error"]), (&json!(0), &json!(0)), "{run}");
    assert_eq!((&run["conformant"], output.status.code()), (&json!(false), Some(2)), "{run}");
}

#[test]
fn what_the_kernel_takes_for_nothing_is_nothing_in_routes() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let mut target = "name = \"ptp\"\nkind = \"interface\"\nsummary = \"routes of nothing\"\n".to_owned();
    for (name, subnet, route) in [
        ("no-gateway", "10.70.0.0/24", r#""dst": "192.0.2.0/24", "gw": "0.0.0.0""#),
        ("no-gateway-v6", "fd00:70::/64", r#""dst": "2001:db8::/32", "gw": "::""#),
        ("main-table", "10.70.0.0/24", r#""dst": "192.0.2.0/24", "table": 0, "priority": 0"#),
        ("main-table-v6", "fd00:70::/64", r#""dst": "2001:db8::/32", "table": 0"#),
        ("kernels-priority", "fd00:70::/64", r#""dst": "2001:db8::/32", "priority": 0"#),
    ] {
        let ipam = format!(r#"{{ "type": "host-local", "subnet": "{subnet}", "routes": [{{ {route} }}] }}"#);
        target.push_str(&format!(
            "[[configuration]]\nname = \"{name}\"\nplugin = '''{{ \"type\": \"ptp\", \"ipam\": {ipam} }}'''\n"
        ));
    }
    let file = folder.path().join("ptp.toml");
    std::fs::write(&file, target).expect("target written");
    let checks = ["add.succeeds", "add.routes", "check.healthy"];
    let mut arguments = vec!["ptp", "--target", file.to_str().expect("UTF-8"), "--spec-version", "1.1.0"];
    arguments.extend(checks.iter().flat_map(|check| ["--only", check]));
    let (run, status) = plugin_json(&arguments);
    for check in checks {
        let verdicts: Vec<&Value> = results(&run, check).iter().map(|result| &result["verdict"]).collect();
        assert_eq!(verdicts, ["pass"; 5], "{check}: {run:#}");
    }
    assert_eq!(status, 0);
}
