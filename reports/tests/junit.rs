//! The JUnit report.

mod common;

use cnitest_reports::model::{Run, RunSet, Verdict};
use cnitest_reports::{ReportKind, report};
use proptest::prelude::*;
use quick_junit::{NonSuccessKind, Report, TestCaseStatus};

use common::{any_set, case, execution, run};

fn written(set: &RunSet) -> String {
    let mut out = Vec::new();
    report(ReportKind::Junit, set, &mut out).expect("memory");
    String::from_utf8(out).expect("XML is UTF-8")
}

fn read(xml: &str) -> Report {
    Report::deserialize_from_str(xml).expect("well-formed JUnit")
}

fn mixed() -> Run {
    let verdicts = Verdict::ALL.map(|verdict| {
        let mut result = case(&format!("area.{verdict}"), "del.idempotent", "1.1.0", "vlan: tagged", verdict);
        result.reason =
            (verdict != Verdict::Pass).then(|| format!("because \u{1b}[31mof\u{0} <{verdict}> & ]]>"));
        result
    });
    run("bridge", verdicts.into())
}

#[test]
fn each_verdict_has_its_element() {
    let report = read(&written(&RunSet::new(vec![mixed()])));
    let [suite] = report.test_suites.as_slice() else { panic!("one suite") };
    assert_eq!((suite.name.as_str(), suite.tests, suite.failures), ("bridge", 5, 1));
    assert_eq!((suite.errors, suite.skipped), (1, 1));
    let names: Vec<&str> = suite.test_cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names[1], "area.fail [1.1.0] vlan: tagged");
    let kind = |index: usize| match &suite.test_cases[index].status {
        TestCaseStatus::Success { .. } => "success",
        TestCaseStatus::Skipped { .. } => "skipped",
        TestCaseStatus::NonSuccess { kind: NonSuccessKind::Failure, .. } => "failure",
        TestCaseStatus::NonSuccess { kind: NonSuccessKind::Error, .. } => "error",
    };
    assert_eq!([0, 1, 2, 3, 4].map(kind), ["success", "failure", "success", "skipped", "error"]);
    let warning = suite.test_cases[2].system_out.as_ref().expect("a warning is output");
    assert!(warning.starts_with("warning: MUST del.idempotent"), "{}", warning.as_str());
    let TestCaseStatus::NonSuccess { message: Some(message), ty: Some(kind), .. } =
        &suite.test_cases[1].status
    else {
        panic!("a failure has a message and a type")
    };
    assert_eq!(message.as_str(), "because \\x1b[31mof\\x00 <fail> & ]]>");
    assert_eq!(kind.as_str(), "MUST del.idempotent");
}

#[test]
fn warnings_fail_a_strict_run() {
    let mut run = mixed();
    run.strict = true;
    run.finish();
    assert_eq!(read(&written(&RunSet::new(vec![run]))).failures, 2);
}

#[test]
fn a_failure_carries_its_evidence() {
    let mut run = mixed();
    let mut del = execution("DEL", "exit status 1");
    del.stdout = "{\"code\":999}".to_owned();
    run.results[1].evidence = Some(cnitest_reports::model::Evidence {
        expected: "exit status 0".to_owned(),
        observed: "DEL exit status 1".to_owned(),
        executions: vec![del],
        kernel_difference: vec!["+ link veth1".to_owned()],
    });
    let report = read(&written(&RunSet::new(vec![run])));
    let TestCaseStatus::NonSuccess { description: Some(text), .. } =
        &report.test_suites[0].test_cases[1].status
    else {
        panic!("a failure has a description")
    };
    for part in
        ["exit status 0", "CNI_COMMAND=DEL", "\"subnet\": \"10.1.0.0/16\"", "\"code\": 999", "+ link veth1"]
    {
        assert!(text.contains(part), "{part} is missing in {}", text.as_str());
    }
}

proptest! {
    #![proptest_config(common::fixed())]

    #[test]
    fn any_run_is_well_formed_xml(set in any_set()) {
        let xml = written(&set);
        let allowed = |c: char| matches!(c, '\n' | '\t') || (!c.is_control() && c != '\u{fffe}' && c != '\u{ffff}');
        prop_assert!(xml.chars().all(allowed));
        let report = read(&xml);
        let results: usize = set.runs.iter().map(|run| run.results.len()).sum();
        prop_assert_eq!(report.tests, results);
        prop_assert_eq!(report.test_suites.len(), set.runs.len());
    }
}
