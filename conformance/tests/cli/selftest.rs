//! The mutants, as the command plays them. `.ci/run` plays more of them, `cnitest selftest` all.

use crate::common::{refused, run};

fn told(arguments: &[&str]) -> (i32, String) {
    let output = run(&[&["selftest"], arguments].concat());
    (output.status.code().expect("exits"), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn mutants_are_killed_by_the_checks_of_what_they_break() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let (status, text) = told(&["static-version-*", "bridge-del-once", "host-local-gc-does-nothing"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("bridge-del-once"), "{text}");
    assert!(text.contains("killed by del.repeated"), "{text}");
    assert!(text.contains("0 not"), "{text}");
}

#[test]
fn a_mutant_survives_without_the_only_check_of_its_requirement() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    for (mutant, check) in [
        ("bridge-del-once", "del.repeated"),
        ("static-version-fixed", "version.cniversion-echo"),
        ("host-local-gc-does-nothing", "gc.removes-stale"),
        ("bridge-ifname-shortened", "parameters.ifname-longest"),
        ("static-lenient-json", "input.dialect"),
    ] {
        let (status, text) = told(&[mutant, "--skip", check]);
        assert_eq!(status, 1, "{mutant} without {check}: {text}");
        assert!(text.contains("SURVIVED"), "{mutant} without {check}: {text}");
    }
}

#[test]
fn a_mutant_can_be_tested_as_any_plugin() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    let output =
        run(&["plugin", "bridge-del-once", "--only", "del.*", "--spec-version", "1.1.0", "--format", "json"]);
    let run: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(run["subject"]["name"], "bridge");
    assert_eq!(run["subject"]["target"], "bridge");
    let failed: Vec<&str> = run["results"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|result| result["verdict"] == "fail")
        .filter_map(|result| result["broken"][0].as_str())
        .collect();
    assert!(failed.contains(&"del.idempotent"), "{failed:?}");
}

#[test]
fn a_plugin_that_leases_passes_and_one_that_keeps_its_leases_does_not() {
    if let Some(why) = refused() {
        eprintln!("skipped: {why}");
        return;
    }
    for (plugin, status, verdict) in [("static-leased", 0, "pass"), ("static-leased-del-keeps", 0, "warn")] {
        let output =
            run(&["plugin", plugin, "--only", "ipam.*", "--spec-version", "1.1.0", "--format", "json"]);
        let run: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(output.status.code(), Some(status), "{run}");
        let results = run["results"].as_array().expect("a list");
        let frees: Vec<&str> = results
            .iter()
            .filter(|result| result["check"] == "ipam.del-frees")
            .filter_map(|result| result["verdict"].as_str())
            .collect();
        assert_eq!(frees, [verdict; 3], "{plugin}");
        let others = results.iter().filter(|result| result["check"] != "ipam.del-frees");
        let bad: Vec<_> =
            others.filter(|result| result["verdict"] != "pass" && result["verdict"] != "skip").collect();
        assert!(bad.is_empty(), "{plugin}: {bad:?}");
    }
}

#[test]
fn the_dhcp_server_of_arenas_does_not_serve_a_host() {
    let output = run(&["__arena-dhcp-server", "1", "60"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in arenas only"));
}

#[test]
fn mutants_that_do_not_exist_are_an_error() {
    let output = run(&["selftest", "bridge-perfect"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("no mutant is called bridge-perfect"), "{text}");
    assert!(text.contains("cnitest list mutants"), "{text}");
}
