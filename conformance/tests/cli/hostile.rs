//! Programs that are no plugins, or behave badly: each gets a clear verdict, quickly, and leaves nothing.

use crate::common::{Folder, plugin_json, refused, results, run};
use serde_json::Value;

/// Plays one check on a shell plugin, with a short deadline.
fn play(body: &str, check: &str) -> Option<(Value, i32)> {
    if let Some(reason) = refused() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let folder = Folder::new();
    let plugin = folder.plugin("subject", body);
    Some(plugin_json(&[plugin.to_str().expect("text"), "--only", check, "--timeout", "700ms"]))
}

fn verdicts(run: &Value, check: &str) -> Vec<String> {
    results(run, check).iter().map(|result| result["verdict"].as_str().expect("text").to_owned()).collect()
}

fn reason(run: &Value, check: &str) -> String {
    results(run, check)[0]["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_plugin_that_hangs_fails_and_the_rest_is_skipped_with_the_reason() {
    let Some((run, status)) = play("sleep 1000", "*") else { return };
    assert_eq!(status, 1);
    assert_eq!(verdicts(&run, "version.answers"), ["fail"]);
    assert!(reason(&run, "version.answers").contains("deadline"), "{run}");
    let others =
        run["results"].as_array().expect("results").iter().filter(|r| r["check"] != "version.answers");
    for result in others {
        assert_eq!(result["verdict"], "skip", "{result}");
        assert_ne!(result["reason"], Value::Null);
    }
}

#[test]
fn a_plugin_that_stops_itself_fails() {
    let Some((run, status)) = play("kill -STOP $$", "version.answers") else { return };
    assert_eq!((verdicts(&run, "version.answers"), status), (vec!["fail".to_owned()], 1));
    assert!(reason(&run, "version.answers").contains("stopped itself"), "{run}");
}

#[test]
fn a_flood_is_cut_and_fails() {
    let Some((run, status)) =
        play("while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done", "version.answers")
    else {
        return;
    };
    assert_eq!((verdicts(&run, "version.answers"), status), (vec!["fail".to_owned()], 1));
    assert!(run.to_string().len() < 1_000_000, "the report holds the whole flood");
}

#[test]
fn garbage_on_stdout_fails_and_is_shown() {
    let Some((run, status)) = play("echo hello", "version.answers") else { return };
    assert_eq!(
        (verdicts(&run, "version.answers"), status),
        (vec!["fail".to_owned(); verdicts(&run, "version.answers").len()], 1)
    );
    assert!(run.to_string().contains("hello"), "{run}");
}

#[test]
fn two_documents_fail() {
    let body = r#"echo '{"cniVersion":"1.1.0","supportedVersions":["1.1.0"]}'; echo '{}'"#;
    let Some((run, status)) = play(body, "version.answers") else { return };
    assert!(verdicts(&run, "version.answers").contains(&"fail".to_owned()), "{run}");
    assert_eq!(status, 1);
}

#[test]
fn death_by_signal_fails_and_names_the_signal() {
    let Some((run, status)) = play("kill -SEGV $$", "version.answers") else { return };
    assert!(verdicts(&run, "version.answers").contains(&"fail".to_owned()), "{run}");
    assert!(run.to_string().contains("SIGSEGV"), "{run}");
    assert_eq!(status, 1);
}

#[test]
fn a_daemon_left_behind_is_seen_and_killed() {
    let body = r#"sleep 1000 & echo '{"cniVersion":"1.1.0","supportedVersions":["1.1.0"]}'"#;
    let Some((run, _)) = play(body, "execution.*") else { return };
    assert!(run.to_string().contains("sleep"), "{run}");
}

#[test]
fn what_cannot_be_executed_fails_with_the_reason() {
    if let Some(reason) = refused() {
        eprintln!("skipped: {reason}");
        return;
    }
    let folder = Folder::new();
    let cases = [
        ("plain", "#!/bin/sh\n", 0o644, "ermission"),
        ("lost", "#!/nonexistent/interpreter\n", 0o755, "/nonexistent/interpreter"),
        ("text", "just text\n", 0o755, "neither a program"),
    ];
    for (name, text, mode, said) in cases {
        let path = folder.plugin_with_mode(name, text, mode);
        let (run, status) = plugin_json(&[path.to_str().expect("text"), "--timeout", "700ms"]);
        assert_eq!(verdicts(&run, "version.answers"), ["fail"], "{name}");
        assert!(
            reason(&run, "version.answers").contains(said),
            "{name}: {}",
            reason(&run, "version.answers")
        );
        assert_eq!(status, 1, "{name}");
    }
}

#[test]
fn what_is_not_there_cannot_be_decided() {
    let folder = Folder::new();
    for path in [folder.path().join("missing"), folder.path().to_owned()] {
        let output = run(&["plugin", path.to_str().expect("text")]);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(path.to_str().expect("text")), "{text}");
    }
}
