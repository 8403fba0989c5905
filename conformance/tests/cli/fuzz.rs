//! The hammer, as the command plays it: what it finds, keeps and plays again.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::{Folder, refused, run, signal_group};

/// What `cnitest fuzz` reports: the exit status, the report and what it says on stderr.
pub(crate) fn fuzz(arguments: &[&str]) -> (i32, Value, String) {
    let output = run(&[&["fuzz", "--format", "json"], arguments].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{stderr}"));
    (output.status.code().expect("exits"), report, stderr)
}

fn files(folder: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("folder");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

#[test]
fn unbroken_plugins_are_clean() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    for plugin in ["static", "host-local", "ptp"] {
        let (status, report, stderr) = fuzz(&[plugin, "--cases", "80", "--seed", "3"]);
        assert_eq!(status, 0, "{plugin}: {stderr}");
        assert_eq!(report["fuzz"]["findings"], 0, "{plugin}: {stderr}");
        assert_eq!(report["fuzz"]["cases"], 80, "{plugin}");
        assert!(report["fuzz"]["constraintsBroken"].as_u64().expect("a number") > 2, "{plugin}");
        assert_eq!(report["results"][0]["verdict"], "pass", "{plugin}");
    }
}

#[test]
fn a_broken_plugin_is_found_and_the_finding_is_small_and_repeatable() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let folder = Folder::new();
    let kept = folder.path().join("kept");
    let (status, report, stderr) = fuzz(&[
        "bridge-del-once",
        "--cases",
        "40",
        "--jobs",
        "1",
        "--spec-version",
        "1.1.0",
        "--keep",
        kept.to_str().expect("UTF-8"),
    ]);
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.contains("found: fail del."), "{stderr}");
    let finding = &report["results"][0];
    assert_eq!(finding["check"], "fuzz");
    let broken = finding["broken"][0].as_str().expect("a requirement").to_owned();
    assert!(broken.starts_with("del."), "{broken}");

    let kept = kept.join("bridge");
    let file = files(&kept, "json").remove(0);
    let text = std::fs::read_to_string(&file).expect("finding");
    let one: Value = serde_json::from_str(&text).expect("JSON");
    let steps = one["scenario"]["steps"].as_array().expect("steps");
    assert!(steps.len() <= 2, "{text}");
    assert_eq!(one["scenario"]["settle"], false, "one container is enough: {text}");

    let issue = std::fs::read_to_string(file.with_extension("md")).expect("issue");
    assert!(issue.contains("CNI 1.1.0 (MUST)") && issue.contains("```sh\n#!/bin/sh"), "{issue}");
    let script = std::fs::read_to_string(file.with_extension("sh")).expect("script");
    assert!(script.lines().count() <= 60, "{script}");

    let again = run(&["replay", file.to_str().expect("UTF-8"), "bridge-del-once"]);
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert_eq!(again.status.code(), Some(1), "{said}");
    assert!(said.contains(&broken), "{said}");
    let mended = run(&["replay", file.to_str().expect("UTF-8"), "bridge"]);
    assert_eq!(mended.status.code(), Some(0), "{}", String::from_utf8_lossy(&mended.stdout));
}

/// What came of playing steps by `replay`.
struct Replayed {
    status: Option<i32>,
    results: Vec<Value>,
    /// The plugin that they were played on.
    plugin: String,
    folder: Folder,
}

/// Plays steps of tuning by `replay`, with a shell script in front that may do something else first.
fn replay_tuning(first: &str, steps: &Value) -> Replayed {
    let plugin = json!({ "type": "tuning", "allmulti": true });
    let scenario = json!({ "configuration": "sysctl", "plugin": plugin, "steps": steps });
    replay("tuning", first, &scenario)
}

/// Plays a scenario of 1.1.0 on a bundled plugin, as [`replay_tuning`] does.
fn replay(name: &str, first: &str, scenario: &Value) -> Replayed {
    let folder = Folder::new();
    let real = folder.path().join("real");
    std::fs::create_dir(&real).expect("folder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cnitest"), real.join(name)).expect("link");
    let body = format!("text=$(cat)\n{first}\nprintf %s \"$text\" | {}/{name}", real.display());
    let plugin = folder.plugin(name, &body).to_str().expect("UTF-8").to_owned();
    let mut scenario = scenario.clone();
    scenario["version"] = json!("1.1.0");
    let file = folder.path().join("scenario.json");
    std::fs::write(&file, scenario.to_string()).expect("scenario written");
    let output = run(&["replay", file.to_str().expect("UTF-8"), &plugin, "--format", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let results = report["results"].as_array().expect("results").clone();
    Replayed { status: output.status.code(), results, plugin, folder }
}

#[test]
fn a_chained_plugin_that_del_did_not_tell_the_namespace_gets_a_warning_whatever_else_happened() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    // What was before is forgotten, though the namespace may still be there.
    let forgets = "[ \"$CNI_COMMAND\" != DEL ] || [ -n \"${CNI_NETNS-}\" ] || \
                   rm -f $(grep -l \"$CNI_CONTAINERID\" /run/cni/tuning/*)";
    let fault = json!({
        "kind": "environment", "variable": "CNI_NETNS", "value": "", "requirement": "param.required-empty-equals-missing"
    });
    let steps = json!([
        { "do": "operate", "operation": "ADD", "at": { "container": 0 } },
        { "do": "broken", "operation": "DEL", "at": { "container": 0 }, "fault": fault },
        { "do": "kill", "operation": "ADD", "at": { "container": 1 }, "after": 200 },
    ]);
    let told = |first: &str| {
        let played = replay_tuning(first, &steps);
        let of = |one: &Value| (one["verdict"].clone(), one["broken"].clone());
        (played.status, played.results.iter().map(of).collect::<Vec<_>>())
    };
    assert_eq!(told(forgets), (Some(0), vec![(json!("warn"), json!(["del.undoes-modifications"]))]));
    assert_eq!(told(""), (Some(0), vec![(json!("pass"), json!([]))]));
}

#[test]
fn more_than_one_refusal_can_be_compared_with_what_another_container_gets() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let refuses =
        r#"case $text in *\\u0063*) echo '{"cniVersion":"1.1.0","code":6,"msg":"no JSON"}'; exit 1;; esac"#;
    let add = |container: u8| {
        let at = json!({ "container": container, "network": 1 });
        json!({ "do": "operate", "operation": "ADD", "at": at, "harmless": "escaped" })
    };
    let Replayed { status, results, .. } = replay_tuning(refuses, &json!([add(0), add(1), add(2)]));
    assert_eq!(status, Some(0), "a warning, and nothing undecided: {results:#?}");
    let broken = |one: &Value| one["broken"] == json!(["exec.json-encoding"]);
    assert_eq!(results.iter().filter(|one| broken(one)).count(), 1, "{results:#?}");
}

#[test]
fn a_device_that_was_taken_away_no_later_add_has_to_find() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    // It refuses white space around the document, which no plugin may.
    let refuses = "cr=$(printf '\\r')\n\
                   case $text in $cr*) echo '{\"cniVersion\":\"1.1.0\",\"code\":6,\"msg\":\"no JSON\"}'; exit 1;; esac";
    let at = json!({ "container": 0 });
    let taken = [
        json!({ "do": "operate", "operation": "ADD", "at": at }),
        json!({ "do": "remove-interface", "at": at }),
        json!({ "do": "operate", "operation": "DEL", "at": at }),
    ];
    let spaced = json!({ "do": "operate", "operation": "ADD", "at": at, "harmless": "spaced" });
    let broken = |first: &str, configuration: &str, plugin: &Value, before: &[Value]| {
        let steps: Vec<&Value> = before.iter().chain([&spaced]).collect();
        let scenario = json!({ "configuration": configuration, "plugin": plugin, "steps": steps });
        let played = replay(plugin["type"].as_str().expect("a type"), first, &scenario);
        played.results.iter().map(|one| one["broken"].clone()).collect::<Vec<_>>()
    };
    let device = json!({ "type": "host-device", "device": "dev-${container}" });
    assert_eq!(broken(refuses, "by-name", &device, &[]), [json!(["exec.json-encoding"])]);
    assert_eq!(broken("", "by-name", &device, &taken), [json!([])]);
    // An interface that the plugin made itself it can make again.
    let made = json!({ "type": "ptp", "ipam": { "type": "host-local", "subnet": "10.64.0.0/24" } });
    assert_eq!(broken(refuses, "routed", &made, &taken), [json!(["exec.json-encoding"])]);
}

#[test]
fn a_script_of_requests_at_once_shows_the_failure() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    if Command::new("ip").arg("-V").output().is_err() {
        eprintln!("skipped: the script needs ip, which is not installed");
        return;
    }
    let scenario = json!({
        "configuration": "by-name",
        "plugin": { "type": "host-device", "device": "dev-${container}" },
        "settle": false,
        "steps": [
            { "do": "operate", "operation": "ADD", "at": { "container": 0 } },
            { "do": "together", "operation": "DEL", "at": [{ "container": 0 }] },
        ],
    });
    // It fails in DEL, if it is told what ADD printed.
    let fails = r#"case $CNI_COMMAND,$text in DEL,*prevResult*)
        echo '{"cniVersion":"1.1.0","code":100,"msg":"no"}'; exit 1;; esac"#;
    let played = replay("host-device", fails, &scenario);
    let script = played.results[0]["reproducer"].as_str();
    let script = script.unwrap_or_else(|| panic!("no script: {:#?}", played.results));
    assert!(script.contains("| call 1 'DEL of eth0 of c1, all at once'"), "{script}");
    let file = played.folder.path().join("script.sh");
    std::fs::write(&file, script).expect("script written");
    let output = Command::new("sh").arg(&file).arg(&played.plugin).output().expect("sh starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("FAIL: reproduced") && !said.contains("not found"), "{said}");
}

#[test]
fn known_findings_do_not_fail_the_run() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let folder = Folder::new();
    let baseline = folder.path().join("known.toml");
    let asked = ["bridge-del-once", "--cases", "30", "--jobs", "1", "--spec-version", "1.1.0"];
    let report = format!("baseline={}", baseline.display());
    let (status, _, stderr) = fuzz(&[&asked[..], &["--report", &report]].concat());
    assert_eq!(status, 1, "{stderr}");
    let known = baseline.to_str().expect("UTF-8");
    let (status, _, stderr) = fuzz(&[&asked[..], &["--baseline", known]].concat());
    assert_eq!(status, 0, "{stderr}");
}

#[test]
fn one_worker_and_one_seed_make_one_run() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let play = || {
        let (_, report, _) = fuzz(&["static", "--cases", "25", "--jobs", "1", "--seed", "11"]);
        ["cases", "behaviours", "corpus", "constraintsBroken"].map(|key| report["fuzz"][key].clone())
    };
    assert_eq!(play(), play());
}

#[test]
fn a_corpus_is_kept_and_gone_on_with() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let folder = Folder::new();
    let corpus = folder.path().to_str().expect("UTF-8").to_owned();
    let (_, first, _) = fuzz(&["loopback", "--cases", "20", "--corpus", &corpus]);
    let kept = files(&folder.path().join("loopback"), "json").len() as u64;
    assert_eq!(first["fuzz"]["corpus"], kept);
    assert!(kept > 0);
    let (status, second, stderr) = fuzz(&["loopback", "--cases", "20", "--seed", "2", "--corpus", &corpus]);
    assert_eq!(status, 0, "{stderr}");
    assert!(second["fuzz"]["corpus"].as_u64() >= Some(kept), "{second}");

    let broken = folder.path().join("loopback/broken.json");
    std::fs::write(&broken, "{}").expect("written");
    let output = run(&["fuzz", "loopback", "--cases", "1", "--corpus", &corpus]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("broken.json") && said.contains("remove the file"), "{said}");
}

#[test]
fn shards_play_different_parts() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let part = |shard: &str| {
        let (_, report, _) = fuzz(&["static", "--cases", "6", "--jobs", "1", "--blind", "--shard", shard]);
        (report["fuzz"]["cases"].clone(), report["fuzz"]["executions"].clone())
    };
    let (first, second) = (part("1/2"), part("2/2"));
    assert_eq!((&first.0, &second.0), (&json!(6), &json!(6)));
    assert_ne!(first.1, second.1, "the parts are the same");
}

#[test]
fn an_interrupted_run_ends_with_its_report() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let child = Command::new(env!("CARGO_BIN_EXE_cnitest"))
        .args(["fuzz", "static", "--time", "10m", "--format", "json"])
        .env("NO_COLOR", "1")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("cnitest starts");
    std::thread::sleep(std::time::Duration::from_secs(2));
    signal_group(&child, Signal::SIGINT);
    let output = child.wait_with_output().expect("ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(report["fuzz"]["elapsedMs"].as_f64().expect("a number") < 60_000.0);
}

#[test]
fn a_plugin_does_not_differ_from_itself() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    for plugin in ["bridge", "host-local"] {
        let (status, report, stderr) = fuzz(&[plugin, "--against", plugin, "--cases", "25", "--seed", "5"]);
        assert_eq!(status, 0, "{plugin}: {stderr}");
        assert_eq!(report["fuzz"]["against"]["differences"], json!([]), "{plugin}: {stderr}");
        assert_eq!(report["results"][0]["verdict"], "skip", "nothing is judged: {report}");
    }
}

#[test]
fn a_difference_is_found_made_small_and_shows_again() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let folder = Folder::new();
    let kept = folder.path().join("kept");
    let report = folder.path().join("run.json");
    let output = run(&[
        "fuzz",
        "bridge",
        "--against",
        "bridge-del-once",
        "--cases",
        "15",
        "--jobs",
        "1",
        "--spec-version",
        "1.1.0",
        "--keep",
        kept.to_str().expect("UTF-8"),
        "--report",
        &format!("json={}", report.display()),
    ]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let from = said.find("DIFF").unwrap_or_else(|| panic!("{said}"));
    let shown = &said[from..said.find("SKIP").expect("what was not asked")];
    insta::assert_snapshot!("fuzz_against", shown.trim_end());

    let text = std::fs::read_to_string(report).expect("report");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let schema: Value = serde_json::from_str(cnitest_reports::run_schema()).expect("schema");
    assert!(jsonschema::is_valid(&schema, &value), "{text}");
    assert_eq!((&value["summary"]["fail"], &value["summary"]["warn"]), (&json!(0), &json!(0)));

    let kept = kept.join("bridge");
    let file = files(&kept, "json").remove(0);
    let text = std::fs::read_to_string(&file).expect("difference");
    let one: Value = serde_json::from_str(&text).expect("JSON");
    assert!(one["scenario"]["steps"].as_array().expect("steps").len() <= 2, "{text}");
    let issue = std::fs::read_to_string(file.with_extension("md")).expect("text");
    assert!(issue.contains("### The first") && issue.contains("breaks no requirement by itself"), "{issue}");
    assert_eq!(files(&kept, "sh").len(), 2 * files(&kept, "json").len());

    let file = file.to_str().expect("UTF-8");
    let again = run(&["replay", file, "bridge", "--against", "bridge-del-once"]);
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert_eq!(again.status.code(), Some(1), "{said}");
    let alike = run(&["replay", file, "bridge", "--against", "bridge"]);
    assert_eq!(alike.status.code(), Some(0), "{}", String::from_utf8_lossy(&alike.stdout));
}

#[test]
fn mistakes_are_told_with_their_place() {
    let folder = Folder::new();
    let file = folder.path().join("odd.json");
    std::fs::write(&file, "{\"plugin\": 1}").expect("written");
    let file = file.to_str().expect("UTF-8");
    for (arguments, word) in [
        (vec!["fuzz"], "required"),
        (vec!["fuzz", "static", "--shard", "3/2"], "I from 1 to N"),
        (vec!["fuzz", "/nowhere/plugin"], "/nowhere/plugin"),
        (vec!["fuzz", "static", "--against", "/nowhere/plugin"], "/nowhere/plugin"),
        (
            vec!["fuzz", "static", "--against", "static", "--baseline", "x.toml"],
            "cannot read the baseline x.toml",
        ),
        (vec!["replay", file], "odd.json"),
        (vec!["replay", "/nowhere/finding.json"], "/nowhere/finding.json"),
    ] {
        let output = run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}
