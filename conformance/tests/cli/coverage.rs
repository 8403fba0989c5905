//! Plugins that were built with coverage: their counters tell scenarios apart where answers do not.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::{Folder, refused};
use crate::fuzz::fuzz;

/// `static` for a configuration that states one address. What it reaches depends on keys that no configuration of its target
/// has, and nothing that it says tells of it, until three come together.
const PLUGIN: &str = r#"
use std::io::Read;

fn holds(text: &str, key: &str) -> bool {
    text.contains(&format!("\"{key}\""))
}

fn main() {
    let command = std::env::var("CNI_COMMAND").unwrap_or_default();
    let mut text = String::new();
    let _ = std::io::stdin().read_to_string(&mut text);
    let version = text.split("\"cniVersion\"").nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap_or("1.1.0");
    if command == "VERSION" {
        println!("{{\"cniVersion\": \"{version}\", \"supportedVersions\": [\"1.0.0\", \"1.1.0\"]}}");
        return;
    }
    if command != "ADD" {
        return;
    }
    if holds(&text, "ipMasq") {
        if holds(&text, "advmss") {
            if holds(&text, "options") {
                panic!("three keys at once");
            }
        }
    }
    println!("{{\"cniVersion\": \"{version}\", \"ips\": [{{\"address\": \"10.74.0.5/24\"}}], \"dns\": {{}}}}");
}
"#;

const TARGET: &str = r#"
name = "static"
kind = "ipam"
summary = "one address, whatever it is asked"

[[configuration]]
name = "one address"
plugin = '{"type": "static", "ipam": {"type": "static", "addresses": [{"address": "10.74.0.5/24"}]}}'
"#;

/// The plugin built with `flags`; none where there is no rustc that can.
fn build(folder: &Path, name: &str, flags: &[&str]) -> Option<PathBuf> {
    let source = folder.join("static.rs");
    std::fs::write(&source, PLUGIN).expect("source written");
    let program = folder.join(name).join("static");
    std::fs::create_dir_all(folder.join(name)).expect("folder made");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(flags).arg("-o").arg(&program).arg(&source).output();
    match output {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => {
            eprintln!("skipped: no plugin with coverage: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            eprintln!("skipped: no rustc: {error}");
            None
        }
    }
}

fn hammered(program: &Path, target: &Path, more: &[&str]) -> (Value, String) {
    let (program, target) = (program.to_str().expect("UTF-8"), target.to_str().expect("UTF-8"));
    let (_, report, stderr) = fuzz(&[&[program, "--target", target, "--jobs", "1"], more].concat());
    (report, stderr)
}

#[test]
fn counters_keep_scenarios_that_answers_do_not_tell_apart() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let folder = Folder::new();
    let target = folder.path().join("target.toml");
    std::fs::write(&target, TARGET).expect("target written");
    let Some(counted) = build(folder.path(), "counted", &["-C", "instrument-coverage"]) else { return };
    let Some(plain) = build(folder.path(), "plain", &[]) else { return };

    // Without feedback both are given the same scenarios.
    let asked = ["--cases", "60", "--seed", "1", "--blind"];
    let (with, said) = hammered(&counted, &target, &asked);
    let (without, _) = hammered(&plain, &target, &asked);
    let counters = with["fuzz"]["coverage"].as_u64().expect("counters");
    assert!(counters > 3, "{counters}");
    assert!(said.contains(&format!("; coverage: {counters} counters seen")), "{said}");
    assert_eq!(without["fuzz"].get("coverage"), None);
    let kept = |report: &Value| report["fuzz"]["corpus"].as_u64().expect("a number");
    assert!(kept(&with) > kept(&without), "{} and {}", with["fuzz"], without["fuzz"]);
    let left = with["results"].to_string();
    assert!(!left.contains("cnitest-coverage"), "its counters are nothing that it left: {left}");
}
