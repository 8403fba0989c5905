//! The JSON report: read back, and judged by its schema.

mod common;

use cni_spec::Level;
use cnitest_reports::model::{ReadError, Run, RunSet, Verdict};
use cnitest_reports::{ReportKind, report, run_schema};
use proptest::prelude::*;
use serde_json::{Value, json};

use common::{any_set, case, comparison, difference, execution, run};

fn written(set: &RunSet) -> String {
    let mut out = Vec::new();
    report(ReportKind::Json, set, &mut out).expect("memory");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn schema() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(run_schema()).expect("the schema is JSON");
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::validator_for(&schema).expect("the schema is a schema")
}

fn failing() -> Run {
    let mut result = case("del.idempotent", "del.idempotent", "1.1.0", "bridge", Verdict::Fail);
    result.reason = Some("DEL exit status 1".to_owned());
    result.evidence = Some(cnitest_reports::model::Evidence {
        expected: "exit status 0".to_owned(),
        observed: "DEL exit status 1".to_owned(),
        executions: vec![execution("DEL", "exit status 1")],
        kernel_difference: vec!["+ link veth1".to_owned(), "  (3 more lines)".to_owned()],
    });
    run("bridge", vec![result])
}

fn value(run: &Run) -> Value {
    serde_json::from_str(&written(&RunSet::new(vec![run.clone()]))).expect("JSON")
}

#[test]
fn keys_are_the_documented_ones() {
    let value = value(&failing());
    let keys =
        |value: &Value| value.as_object().expect("object").keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(
        keys(&value),
        "reportVersion tool environment seed strict options started durationMs subject results baseline summary conformant"
    );
    assert_eq!(keys(&value["environment"]), "kernel arch privilege missingFeatures");
    assert_eq!(
        keys(&value["subject"]),
        "kind name path sha256 supportedVersions target targetNote upgradeFrom"
    );
    assert_eq!(
        keys(&value["results"][0]),
        "check title requirements level specVersion case verdict skipCause known broken reason evidence reproducer durationMs"
    );
    assert_eq!(keys(&value["results"][0]["evidence"]), "expected observed executions kernelDifference");
    assert_eq!(
        keys(&value["results"][0]["evidence"]["executions"][0]),
        "label program environment stdin exit stdout stderr stdoutTruncated stderrTruncated wallMs cpuMs peakRssKib"
    );
    assert_eq!(value["results"][0]["evidence"]["executions"][0]["environment"]["CNI_COMMAND"], "DEL");
    assert_eq!(value["summary"], json!({"pass": 0, "fail": 1, "warn": 0, "skip": 0, "error": 0}));
}

#[test]
fn the_schema_knows_the_levels_and_verdicts() {
    let schema: Value = serde_json::from_str(run_schema()).expect("JSON");
    let result = &schema["$defs"]["result"]["properties"];
    assert_eq!(result["level"]["enum"], json!(Level::ALL));
    assert_eq!(result["verdict"]["enum"], json!(Verdict::ALL));
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    type Break = fn(&mut Value);
    let breaks: [(&str, Break); 14] = [
        ("an unknown key", |run| run["colour"] = json!(1)),
        ("no seed", |run| drop(run.as_object_mut().expect("object").remove("seed"))),
        ("another format", |run| run["reportVersion"] = json!("2")),
        ("a negative time", |run| run["durationMs"] = json!(-1)),
        ("a day without time", |run| run["started"] = json!("2026-01-02")),
        ("a short digest", |run| run["subject"]["sha256"] = json!("abc")),
        ("another subject", |run| run["subject"]["kind"] = json!("teapot")),
        ("an unknown level", |run| run["results"][0]["level"] = json!("must")),
        ("an unknown verdict", |run| run["results"][0]["verdict"] = json!("ok")),
        ("no requirement", |run| run["results"][0]["requirements"] = json!([])),
        ("a failure without reason", |run| run["results"][0]["reason"] = json!(null)),
        ("a pass with evidence", |run| run["results"][0]["verdict"] = json!("pass")),
        ("an unsigned difference", |run| run["results"][0]["evidence"]["kernelDifference"] = json!(["x"])),
        ("an environment that is no object", |run| {
            run["results"][0]["evidence"]["executions"][0]["environment"] = json!(["A=B"]);
        }),
    ];
    let schema = schema();
    let good = value(&failing());
    assert!(schema.is_valid(&good));
    for (what, breaking) in breaks {
        let mut bad = good.clone();
        breaking(&mut bad);
        assert!(!schema.is_valid(&bad), "{what} is accepted");
        assert!(
            !schema.is_valid(&json!({"reportVersion": "1", "runs": [bad]})),
            "{what} is accepted in a set"
        );
    }
    for bad in
        [json!([]), json!({}), json!({"reportVersion": "1", "runs": [], "more": 1}), json!({"runs": []})]
    {
        assert!(!schema.is_valid(&bad), "{bad} is accepted");
    }
}

#[test]
fn reading_says_what_is_wrong() {
    let good = value(&failing());
    let read = |value: &Value| RunSet::parse(&value.to_string());
    let mut newer = good.clone();
    newer["reportVersion"] = json!("2");
    newer["added"] = json!(true);
    let error = read(&newer).expect_err("newer").to_string();
    assert!(error.contains(r#"reportVersion "2""#) && error.contains(r#"reads "1""#), "{error}");
    let mut embellished = good.clone();
    embellished["conformant"] = json!(true);
    assert!(matches!(read(&embellished), Err(ReadError::Inconsistent { subject }) if subject == "bridge"));
    let mut miscounted = good.clone();
    miscounted["summary"]["pass"] = json!(7);
    assert!(matches!(read(&miscounted), Err(ReadError::Inconsistent { .. })));
    for other in [json!([1]), json!({}), json!({"reportVersion": "1"}), json!({"runs": 3}), json!(null)] {
        assert!(matches!(read(&other), Err(ReadError::Shape(_))), "{other}");
    }
    assert!(matches!(RunSet::parse("pass"), Err(ReadError::Shape(_))));
}

proptest! {
    #![proptest_config(common::fixed())]

    #[test]
    fn a_report_is_valid_and_reads_back_as_itself(set in any_set()) {
        thread_local!(static SCHEMA: jsonschema::Validator = schema());
        let text = written(&set);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let errors: Vec<String> =
            SCHEMA.with(|schema| schema.iter_errors(&value).map(|error| error.to_string()).collect());
        prop_assert_eq!(errors, Vec::<String>::new());
        prop_assert_eq!(RunSet::parse(&text).expect("a report"), set);
    }

    #[test]
    fn no_text_breaks_the_reader(text in "\\PC*") {
        prop_assert!(RunSet::parse(&text).is_err());
    }
}

#[test]
fn a_comparison_is_read_back_and_fits_the_schema() {
    let run = comparison(vec![difference()]);
    let value = value(&run);
    assert!(schema().is_valid(&value), "{value}");
    assert_eq!(value["fuzz"]["against"]["differences"][0]["kind"], "status");
    assert_eq!(serde_json::from_value::<Run>(value.clone()).expect("a run"), run);
    let mut odd = value;
    odd["fuzz"]["against"]["differences"][0]["kind"] = json!("failure");
    assert!(!schema().is_valid(&odd));
}
