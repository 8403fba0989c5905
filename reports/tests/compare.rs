//! Runs side by side.

mod common;

use cnitest_reports::compare::{self, Comparison, Contrast, Source};
use cnitest_reports::human::Style;
use cnitest_reports::model::{CaseResult, Evidence, Run, RunSet, SkipCause, Verdict};
use proptest::prelude::*;
use serde_json::Value;

use common::{any_set, case, execution, fixed, run};

fn failing(check: &str, requirement: &str, version: &str, observed: &str) -> CaseResult {
    CaseResult {
        broken: vec![requirement.to_owned()],
        reason: Some(observed.to_owned()),
        evidence: Some(Evidence {
            expected: "DEL succeeds".to_owned(),
            observed: observed.to_owned(),
            executions: vec![execution("DEL", "exit status 1")],
            kernel_difference: Vec::new(),
        }),
        ..case(check, requirement, version, "", Verdict::Fail)
    }
}

fn skipped(check: &str, requirement: &str, reason: &str) -> CaseResult {
    CaseResult {
        skip_cause: Some(SkipCause::NotApplicable),
        reason: Some(reason.to_owned()),
        ..case(check, requirement, "1.1.0", "", Verdict::Skip)
    }
}

fn runtime(name: &str, results: Vec<CaseResult>) -> Run {
    let mut run = run(name, results);
    run.subject.kind = "runtime".to_owned();
    run
}

/// Two runtimes that differ in one requirement, of which one has no GC, and which both break a third.
fn two() -> (RunSet, RunSet) {
    let first = runtime(
        "podman",
        vec![
            case("del.again", "del.idempotent", "1.0.0", "", Verdict::Pass),
            failing("del.again", "del.idempotent", "1.1.0", "the second DEL <exits> with 1 & \"code\" 999"),
            skipped("gc.calls", "gc.removes-stale", "podman has no garbage collection"),
            failing("add.fails", "add.existing-ifname-errors", "1.1.0", "nothing"),
        ],
    );
    let second = runtime(
        "containerd",
        vec![
            case("del.again", "del.idempotent", "1.1.0", "", Verdict::Pass),
            case("gc.calls", "gc.removes-stale", "1.1.0", "", Verdict::Pass),
            failing("add.fails", "add.existing-ifname-errors", "1.1.0", "nothing"),
        ],
    );
    (RunSet::new(vec![first]), RunSet::new(vec![second]))
}

fn text(write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("written to memory");
    String::from_utf8(out).expect("UTF-8")
}

fn with_two<T>(see: impl FnOnce(&Comparison<'_>) -> T) -> T {
    let (first, second) = two();
    let sources = [
        Source { file: "runs/podman.json", set: &first },
        Source { file: "runs/containerd.json", set: &second },
    ];
    see(&Comparison::of(&sources))
}

#[test]
fn differences_come_first() {
    with_two(|comparison| {
        assert!(comparison.differs);
        let rows: Vec<(&str, Contrast)> =
            comparison.matrices[0].rows.iter().map(|row| (row.requirement, row.contrast)).collect();
        assert_eq!(
            rows,
            [
                ("del.idempotent", Contrast::Verdict),
                ("gc.removes-stale", Contrast::Tested),
                ("add.existing-ifname-errors", Contrast::Same),
            ]
        );
        let cell = &comparison.matrices[0].rows[0].cells[0];
        assert_eq!((cell.verdict, cell.versions.as_slice()), (Some(Verdict::Fail), ["1.1.0"].as_slice()));
        assert_eq!(cell.evidence, ["runs/podman.json#/runs/0/results/1"]);
    });
}

#[test]
fn evidence_is_found_where_pointers_say() {
    let (first, _) = two();
    let json: Value = serde_json::to_value(&first).expect("JSON");
    with_two(|comparison| {
        let pointer =
            comparison.matrices[0].rows[0].cells[0].evidence[0].split_once('#').expect("a pointer").1;
        assert_eq!(json.pointer(pointer).expect("a result")["check"], "del.again");
    });
}

#[test]
fn the_terminal_shows_the_matrix() {
    with_two(|comparison| {
        insta::assert_snapshot!(text(|out| compare::human::write(comparison, &Style::default(), out)));
    });
}

#[test]
fn markdown_links_into_the_evidence() {
    with_two(|comparison| {
        insta::assert_snapshot!(text(|out| compare::markdown::write(comparison, out)));
    });
}

#[test]
fn html_links_into_the_evidence() {
    with_two(|comparison| {
        insta::assert_snapshot!(text(|out| compare::html::write(comparison, out)));
    });
}

#[test]
fn files_of_several_plugins_are_compared_plugin_by_plugin() {
    let of = |verdict: Verdict| case("del.again", "del.idempotent", "1.1.0", "", verdict);
    let old = RunSet::new(vec![
        run("bridge", vec![failing("del.again", "del.idempotent", "1.1.0", "no")]),
        run("ptp", vec![of(Verdict::Pass)]),
        run("vlan", vec![]),
    ]);
    let new = RunSet::new(vec![run("bridge", vec![of(Verdict::Pass)]), run("ptp", vec![of(Verdict::Pass)])]);
    let comparison =
        Comparison::of(&[Source { file: "old.json", set: &old }, Source { file: "new.json", set: &new }]);
    let names: Vec<_> =
        comparison.matrices.iter().map(|matrix| (matrix.name, matrix.subjects.as_slice())).collect();
    assert_eq!(names, [(Some("bridge"), [0, 3].as_slice()), (Some("ptp"), [1, 4].as_slice())]);
    assert_eq!(comparison.alone, [2]);
    let labels: Vec<&str> = comparison.subjects.iter().map(|subject| subject.label.as_str()).collect();
    assert_eq!(labels, ["bridge (old)", "ptp (old)", "vlan", "bridge (new)", "ptp (new)"]);
    insta::assert_snapshot!(text(|out| compare::human::write(&comparison, &Style::default(), out)));
}

proptest! {
    #![proptest_config(fixed())]

    /// Whatever runs hold: a run does not differ from itself, pages can be written, and no text in them is mark-up.
    #[test]
    fn any_run_is_like_itself(set in any_set()) {
        let comparison =
            Comparison::of(&[Source { file: "a.json", set: &set }, Source { file: "b.json", set: &set }]);
        if set.runs.len() == 1 {
            prop_assert!(!comparison.differs);
        }
        for matrix in &comparison.matrices {
            for row in &matrix.rows {
                prop_assert_eq!(row.cells.len(), matrix.subjects.len());
            }
        }
        text(|out| compare::human::write(&comparison, &Style::default(), out));
        text(|out| compare::markdown::write(&comparison, out));
        let html = text(|out| compare::html::write(&comparison, out));
        prop_assert_eq!(html.matches("<script").count(), 0);
        prop_assert_eq!(html.matches("<details").count(), html.matches("</details>").count());
        let json = text(|out| compare::write_json(&comparison, out));
        prop_assert!(serde_json::from_str::<Value>(&json).is_ok());
    }
}
