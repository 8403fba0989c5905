//! What the commands print that need no plugin to run.

use crate::common::{Folder, run};

/// Exit status, stdout and stderr as a user sees them.
fn transcript(arguments: &[&str]) -> String {
    let output = run(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let mut all = format!("$ cnitest {}\n", arguments.join(" "));
    for part in [text(&output.stdout), text(&output.stderr)] {
        if !part.is_empty() {
            all += &format!("{part}\n");
        }
    }
    all + &format!("exit status {}", output.status.code().expect("exits"))
}

#[test]
fn requirements_checks_and_ambiguities_are_explained() {
    insta::assert_snapshot!("explain_requirement", transcript(&["explain", "del.idempotent"]));
    insta::assert_snapshot!("explain_check", transcript(&["explain", "add.existing-interface"]));
    insta::assert_snapshot!("explain_ambiguity", transcript(&["explain", "E11"]));
    insta::assert_snapshot!("explain_check_with_bugs", transcript(&["explain", "parameters.netns-own"]));
    insta::assert_snapshot!("explain_fuzz", transcript(&["explain", "fuzz"]));
    insta::assert_snapshot!("explain_bug", transcript(&["explain", "B098"]));
    insta::assert_snapshot!("explain_bug_of_runtimes", transcript(&["explain", "B116"]));
    insta::assert_snapshot!("explain_unknown_bug", transcript(&["explain", "B0444"]));
    insta::assert_snapshot!("explain_unknown", transcript(&["explain", "del.idempotnet"]));
}

#[test]
fn targets_and_schemas_are_listed() {
    insta::assert_snapshot!("list_targets", transcript(&["list", "targets"]));
    insta::assert_snapshot!("list_schemas", transcript(&["list", "schemas"]));
}

#[test]
fn lists_are_complete_and_name_each_other() {
    let json = |topic: &str| -> Vec<serde_json::Value> {
        serde_json::from_slice(&run(&["list", topic, "--format", "json"]).stdout).expect("JSON")
    };
    let (checks, requirements) = (json("checks"), json("requirements"));
    assert_eq!(requirements.len(), cni_spec::catalogue::requirements().len());
    assert_eq!(checks.len(), cnitest::checks::all().count());
    for check in &checks {
        for id in check["requirements"].as_array().expect("a list") {
            let found = requirements.iter().find(|known| known["id"] == *id).expect("a known requirement");
            assert!(found["checks"].as_array().expect("a list").contains(&check["id"]), "{id}");
        }
    }
}

#[test]
fn bugs_are_listed_with_their_checks() {
    let bugs: Vec<serde_json::Value> =
        serde_json::from_slice(&run(&["list", "bugs", "--format", "json"]).stdout).expect("JSON");
    assert_eq!(bugs.len(), cnitest::checks::wild::all().len());
    let text = String::from_utf8_lossy(&run(&["list", "bugs"]).stdout).into_owned();
    assert_eq!(text.lines().count(), bugs.len());
    for (bug, line) in bugs.iter().zip(text.lines()) {
        assert!(line.starts_with(bug["id"].as_str().expect("text")), "{line}");
        let checks = bug["checks"].as_array().expect("a list");
        assert!(checks.iter().all(|id| line.contains(id.as_str().expect("text"))), "{line}");
        let told = !checks.is_empty() || bug["needs"].is_string() || bug["open"].is_string();
        assert!(told, "{bug}");
    }
}

#[test]
fn mistakes_on_the_command_line_are_explained() {
    let commands: &[&[&str]] = &[
        &["plugin", "/nonexistent/plugin"],
        &["plugin", "no-such-plugin"],
        &["plugin", "bridge", "--only", "nothing-like-it"],
        &["plugin", "bridge", "--spec-version", "2.0.0"],
        &["plugin", "bridge", "--report", "html=x"],
        &["plugin", "bridge", "--timeout", "10"],
        &["plugin", "bridge", "--target", "/nonexistent/target.toml"],
        &["validate", "/nonexistent/result.json"],
        &["report", "/nonexistent/run.json", "--report", "human=/dev/null"],
    ];
    let all: Vec<String> = commands.iter().map(|command| transcript(command)).collect();
    insta::assert_snapshot!("mistakes", all.join("\n\n"));
}

#[test]
fn a_target_with_a_mistake_names_the_line() {
    let folder = Folder::new();
    let file = folder.path().join("target.toml");
    std::fs::write(&file, "name = 'x'\nkind = 'interfaces'\n").expect("written");
    let output = run(&["plugin", "bridge", "--target", file.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["target.toml", "line 2", "interface", "chained", "ipam"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn a_folder_is_validated_with_the_names_in_it() {
    let folder = Folder::new();
    let network =
        |name: &str| format!(r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{{"type":"p"}}]}}"#);
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("file");
    file("10-a.conflist", &network("a"));
    file("20-b.conflist", &network("b"));
    file("notes.txt", "no network");
    let path = folder.path().to_str().expect("text");
    assert_eq!(run(&["validate", path]).status.code(), Some(0));
    file("30-again.conflist", &network("a"));
    insta::assert_snapshot!("validate_folder", transcript(&["validate", path]).replace(path, "FOLDER"));
}

#[test]
fn documents_are_validated() {
    let folder = Folder::new();
    let check = |name: &str, text: &str, arguments: &[&str]| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("written");
        let mut all = vec!["validate", file.to_str().expect("text")];
        all.extend(arguments);
        transcript(&all).replace(folder.path().to_str().expect("text"), "DIR")
    };
    let all = [
        check("good.json", r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.3/8"}]}"#, &[]),
        check("bad.json", r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.300/8"}]}"#, &[]),
        check("list.json", r#"{"cniVersion":"1.1.0","name":"a/b","plugins":[{"type":"x"}]}"#, &[]),
        check("what.json", r#"{"some":"thing"}"#, &[]),
        check("broken.json", "{\n  \"cniVersion\": 1,\n}", &[]),
    ];
    insta::assert_snapshot!("validate", all.join("\n\n"));
}

#[test]
fn a_target_file_is_never_overwritten() {
    let folder = Folder::new();
    let file = folder.path().join("mine.toml");
    let path = file.to_str().expect("text");
    assert_eq!(run(&["target", "init", path]).status.code(), Some(0));
    let written = std::fs::read_to_string(&file).expect("written");
    assert_eq!(written, cnitest::target::TEMPLATE);
    std::fs::write(&file, "precious").expect("written");
    assert_eq!(run(&["target", "init", path]).status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "precious");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let command = format!("'{}' list requirements | head -n 1", env!("CARGO_BIN_EXE_cnitest"));
    let output = std::process::Command::new("sh").args(["-c", &command]).output().expect("sh starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
