//! `cnitest runtime`: the own runtime, a broken one, adapters in files.

use serde_json::Value;

use crate::common::{Folder, refused, run};

/// The run that `cnitest runtime ... --format json` prints, and its exit status.
fn played(arguments: &[&str]) -> (Value, i32) {
    let output = run(&[&["runtime", "--format", "json"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let run = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"));
    (run, output.status.code().expect("exits"))
}

#[test]
fn the_own_runtime_is_conformant() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let (run, status) = played(&[]);
    assert_eq!(status, 0, "{run:#}");
    assert_eq!(run["subject"]["kind"], "runtime");
    assert_eq!(run["subject"]["name"], "cnitest");
    let summary = &run["summary"];
    for verdict in ["fail", "warn", "skip", "error"] {
        assert_eq!(summary[verdict], 0, "{summary}");
    }
    assert!(summary["pass"].as_u64().is_some_and(|pass| pass >= 200), "{summary}");
}

#[test]
fn a_broken_runtime_is_found_with_what_the_spies_saw() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let (run, status) =
        played(&["runtime-del-forward", "--only", "runtime.order", "--spec-version", "1.1.0"]);
    assert_eq!(status, 1, "{run:#}");
    let result = &run["results"][0];
    assert_eq!(result["broken"][0], "runtime.del-reverse-order");
    let executions = result["evidence"]["executions"].as_array().expect("a list");
    let labels: Vec<&str> = executions.iter().filter_map(|one| one["label"].as_str()).collect();
    assert!(labels.contains(&"the runtime's DEL") && labels.contains(&"spy 1: alpha ADD"), "{labels:?}");
    let spy = executions.iter().find(|one| one["label"] == "spy 1: alpha ADD").expect("a spy");
    assert!(spy["stdin"].as_str().is_some_and(|text| text.contains("spynet")), "{spy}");
}

#[test]
fn a_vendor_drives_a_runtime_with_a_file() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let folder = Folder::new();
    let text = r#"
name = "shell"
about = "Executes one plugin, and passes on what it must not."
leaves-running = []
[operations.add]
script = """
export CNI_COMMAND=ADD CNI_CONTAINERID="$CNITEST_CONTAINER" CNI_NETNS="$CNITEST_NETNS" CNI_IFNAME="$CNITEST_IFNAME"
export CNI_PATH="$CNITEST_PLUGIN_PATH"
for plugin in alpha beta gamma; do "$CNITEST_PLUGIN_DIR/$plugin" <"$CNITEST_CONF_DIR/10-spynet.conflist"; done
"""
[can]
container-id = true
netns = true
ifname = true
"#;
    let file = folder.plugin_with_mode("shell.toml", text, 0o644);
    let name = file.display().to_string();
    let (run, status) = played(&[&name, "--spec-version", "1.1.0"]);
    assert_eq!(status, 1);
    assert_eq!(run["subject"]["name"], "shell");
    let of = |check: &str| -> Vec<&Value> {
        run["results"].as_array().expect("a list").iter().filter(|result| result["check"] == check).collect()
    };
    assert!(of("runtime.previous-result").iter().any(|result| result["verdict"] == "fail"));
    let gc = of("runtime.gc")[0];
    assert_eq!(gc["verdict"], "skip");
    assert_eq!(gc["reason"], "the runtime has no GC: the adapter has no [operations.gc]");
    assert!(of("runtime.container-ids").iter().all(|result| result["verdict"] != "error"), "{run:#}");
}

#[test]
fn a_runtime_that_is_not_here_is_a_skip_that_says_what_to_install() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let folder = Folder::new();
    let text = "name = 'absent'\nabout = 'a'\nfind = ['cnitest-absent']\ninstall = 'fetch it'\n\
                [operations.add]\ncommand = ['cnitest-absent']\n";
    let file = folder.plugin_with_mode("absent.toml", text, 0o644).display().to_string();
    let (run, status) = played(&[&file]);
    assert_eq!(status, 2, "nothing was decided");
    for result in run["results"].as_array().expect("a list") {
        assert_eq!(result["verdict"], "skip");
        assert_eq!(result["skipCause"], "host");
        assert_eq!(result["reason"], "absent is not here: program cnitest-absent; install it: fetch it");
    }
}

#[test]
fn runtimes_have_no_certificate() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let folder = Folder::new();
    let saved = folder.path().join("run.json").display().to_string();
    let keep = format!("json={saved}");
    let played = run(&["runtime", "--only", "runtime.stderr", "--report", &keep]);
    assert_eq!(played.status.code(), Some(0));
    let wanted = format!("certificate={}", folder.path().join("certificate.json").display());
    for arguments in [&["report", &saved, "--report", &wanted][..], &["verify", &saved, "bridge"]] {
        let output = run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("cnitest is a runtime, and certificates are of plugins"), "{text}");
    }
}

#[test]
fn runtimes_are_listed() {
    let output = run(&["list", "runtimes"]);
    insta::assert_snapshot!("list_runtimes", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_is_no_runtime_is_said() {
    let folder = Folder::new();
    let broken = folder.plugin_with_mode("broken.toml", "name = 'x'\nabot = 'y'\n", 0o644);
    for (name, words) in [
        ("no-such-runtime", "name a file with an adapter, or a known runtime (buildah, cnitest"),
        (broken.to_str().expect("text"), "unknown field `abot`"),
        ("bridge-del-once", "name a file with an adapter"),
    ] {
        let output = run(&["runtime", name]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(words), "{name}: {text}");
    }
}

#[test]
fn an_adapter_to_start_from_is_written_and_can_be_read() {
    let folder = Folder::new();
    let file = folder.path().join("mine.toml");
    let name = file.to_str().expect("text");
    assert_eq!(run(&["runtime", "--init", name]).status.code(), Some(0));
    let text = std::fs::read_to_string(&file).expect("written");
    assert!(cnitest::adapter::Adapter::parse(&text, name).is_ok());
    assert_eq!(
        run(&["runtime", "--init", name]).status.code(),
        Some(2),
        "a file that is there is left alone"
    );
}

#[test]
fn broken_runtimes_are_killed() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let output = run(&["selftest", "runtime-*"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("runtime-records-late") && text.contains(" 0 not"), "{text}");
}
