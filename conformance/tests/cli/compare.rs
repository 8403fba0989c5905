//! `cnitest compare`

use cnitest_reports::model::{RunSet, Verdict};
use serde_json::Value;

use crate::common::{Folder, run};
use crate::report::saved;

/// The files of two runs of bridge, the second of which has no failure.
fn two(folder: &Folder) -> [String; 2] {
    let bad = saved(folder);
    let mut set = RunSet::parse(&std::fs::read_to_string(&bad).expect("readable")).expect("a run");
    for run in &mut set.runs {
        for result in &mut run.results {
            result.verdict = Verdict::Pass;
            result.reason = None;
            result.broken.clear();
        }
        run.finish();
    }
    let good = folder.path().join("good.json");
    std::fs::write(&good, serde_json::to_string(&set).expect("JSON")).expect("written");
    [bad, good.display().to_string()]
}

#[test]
fn differences_are_the_exit_status_and_every_kind_is_written() {
    let folder = Folder::new();
    let [bad, good] = two(&folder);
    let (page, table) = (folder.path().join("page.html"), folder.path().join("table.md"));
    let output = run(&[
        "compare",
        &bad,
        &good,
        "--format",
        "json",
        "--report",
        &format!("html={}", page.display()),
        "--report",
        &format!("markdown={}", table.display()),
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let comparison: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(comparison["differs"], true);
    assert_eq!(comparison["matrices"][0]["rows"][0]["requirement"], "del.idempotent");
    let html = std::fs::read_to_string(page).expect("written");
    assert!(html.contains("href=\"#m0-del-idempotent-s0\"") && html.contains("id=\"m0-del-idempotent-s0\""));
    assert!(
        std::fs::read_to_string(table).expect("written").contains("[**fail**](#m0-del-idempotent-s0) | pass")
    );
}

#[test]
fn like_runs_do_not_differ() {
    let folder = Folder::new();
    let [bad, _] = two(&folder);
    let output = run(&["compare", &bad, &bad]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("No requirement is decided differently."));
}

#[test]
fn what_cannot_be_compared_is_said() {
    let folder = Folder::new();
    let [bad, _] = two(&folder);
    let broken = folder.path().join("broken.json");
    std::fs::write(&broken, "{}").expect("written");
    let broken = broken.display().to_string();
    for (arguments, words) in [
        (vec!["compare", &bad, "/nonexistent/run.json"], "/nonexistent/run.json"),
        (vec!["compare", &bad, &broken], "is not a run"),
        (vec!["compare", &bad], "nothing to compare it with"),
        (vec!["compare", &bad, &bad, "--report", "pdf=x"], "human, json, markdown, html"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).replace("\n  ", " ");
        assert!(said.contains(words), "{said}");
    }
}
