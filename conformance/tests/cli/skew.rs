//! `cnitest plugin NEW --upgrade-from OLD`.

use crate::common::{Folder, plugin_json, refused, results, run};

/// Plays the skew checks in the newest version.
fn upgrade(new: &str, old: &str) -> Option<(serde_json::Value, i32)> {
    if let Some(reason) = refused() {
        eprintln!("skipped: {reason}");
        return None;
    }
    Some(plugin_json(&[new, "--upgrade-from", old, "--only", "skew.*", "--spec-version", "1.1.0"]))
}

#[test]
fn a_plugin_gets_on_with_itself_and_the_report_names_both() {
    let Some((run, status)) = upgrade("host-local", "host-local") else { return };
    assert_eq!(status, 0, "{run}");
    for check in ["skew.check", "skew.del", "skew.gc"] {
        let results = results(&run, check);
        assert!(results.iter().any(|one| one["verdict"] == "pass"), "{check}: {run}");
        assert!(results.iter().all(|one| one["verdict"] == "pass"), "{check}: {run}");
    }
    assert_eq!(run["subject"]["upgradeFrom"]["sha256"], run["subject"]["sha256"]);
    assert_eq!(run["subject"]["upgradeFrom"]["path"], "/opt/cni/bin/host-local");
    assert_eq!(run["subject"]["upgradeFrom"]["supportedVersions"], run["subject"]["supportedVersions"]);
}

#[test]
fn what_a_new_release_does_not_know_fails() {
    let Some((run, status)) = upgrade("bridge-skew-check", "bridge") else { return };
    assert_eq!(status, 1);
    let of = |variant: &str| -> Vec<String> {
        let checks = results(&run, "skew.check");
        let chosen = checks.iter().filter(|one| one["case"].as_str().unwrap_or_default().ends_with(variant));
        chosen.map(|one| one["verdict"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert!(of("upgrade").iter().all(|verdict| verdict == "fail"), "{run}");
    assert!(of("downgrade").iter().all(|verdict| verdict == "pass"), "{run}");
}

#[test]
fn what_an_old_release_does_not_know_is_a_remark() {
    let Some((run, status)) = upgrade("bridge", "bridge-skew-gc") else { return };
    let results = results(&run, "skew.gc");
    let downgrades: Vec<_> = results
        .iter()
        .filter(|one| one["case"].as_str().unwrap_or_default().ends_with("downgrade"))
        .collect();
    assert!(!downgrades.is_empty(), "{run}");
    for one in downgrades {
        assert_eq!((&one["verdict"], &one["broken"][0]), (&"pass".into(), &"practice.other-release".into()));
    }
    // The file that the old release keeps is nothing that the new one knows.
    assert_eq!(status, 1, "{run}");
}

#[test]
fn releases_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    folder.plugin("unrelated", "exit 1");
    let path = folder.path().to_str().expect("text");
    let output = run(&["plugin", "bridge", "static", "--upgrade-from", path]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("holds none of the plugins to test (bridge, static)"), "{said}");
    let output = run(&["plugin", "bridge", "--only", "skew.*"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("--upgrade-from"), "{said}");
}

#[test]
fn a_version_that_is_lost_is_a_remark() {
    let Some((run, status)) = upgrade("bridge-version-lost", "bridge") else { return };
    let lost = results(&run, "skew.versions");
    assert_eq!(lost.len(), 1, "{run}");
    assert_eq!(
        (&lost[0]["verdict"], &lost[0]["broken"][0]),
        (&"pass".into(), &"practice.versions-kept".into())
    );
    assert_eq!(status, 0, "{run}");
}
