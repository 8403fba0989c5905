//! The condensed report and its Markdown form, with and without judgements.

mod common;

use cnitest_reports::judgement::Judgements;
use cnitest_reports::model::{CaseResult, Evidence, RunSet, SkipCause, Verdict};
use cnitest_reports::summary::{self, SetSummary};
use cnitest_reports::{ReportKind, markdown, report, summary_schema};
use proptest::prelude::*;
use serde_json::{Value, json};

use common::{any_set, case, fixed, run};

const JUDGEMENTS: &str = r#"
[[judgement]]
id = "second-del"
plugins = ["br*"]
requirements = ["del.idempotent"]
checks = ["del.*"]
releases = ["1.9.1"]
verdict = "deviation"
text = """
DEL looks for the chain
and fails without it, see `isNotExist`."""
source = [
    { repository = "o/plugins", path = "pkg/ip/ipmasq.go", tag = "v1.9.1", function = "TeardownIPMasq", lines = "10-20" },
    { repository = "o/plugins", path = "main.go", tag = "v1.9.1", function = "main" },
    { repository = "o/library", path = "skel.go", tag = "v1.3.0", function = "pluginMain", lines = "7" },
]
fixed = { release = "v1.10.0", commit = "abc1234" }
bugs = ["B001"]
upstream = ["o/plugins#1"]

[[judgement]]
id = "about-nothing"
plugins = ["*"]
requirements = ["add.*"]
verdict = "spec-open"
text = "Nobody sees this."
source = [{ repository = "o/plugins", path = "main.go", tag = "v1.9.1", function = "main" }]
fixed = "no"

[[judgement]]
id = "of-an-older-release"
plugins = ["*"]
requirements = ["add.*"]
releases = ["1.1.1"]
verdict = "known-limitation"
text = "Not of this release."
source = [{ repository = "o/plugins", path = "main.go", tag = "v1.1.1", function = "main" }]
fixed = "no"
"#;

fn judgements() -> Judgements {
    Judgements::parse("judgements.toml", JUDGEMENTS).expect("valid")
}

/// A result that deviates, with evidence that names the folder of the plugin.
fn deviates(check: &str, requirement: &str, version: &str, name: &str, verdict: Verdict) -> CaseResult {
    let mut result = case(check, requirement, version, name, verdict);
    result.level = if verdict == Verdict::Fail { "MUST" } else { "SHOULD" }.to_owned();
    result.reason = Some("it deviates".to_owned());
    result.evidence = Some(Evidence {
        expected: "DEL exits with status 0".to_owned(),
        observed: "no plugin in /opt/cni/bin|<none>".to_owned(),
        executions: Vec::new(),
        kernel_difference: vec!["+ host: chain CNI-7f in ip nat".to_owned()],
    });
    result
}

fn skip(reason: &str) -> CaseResult {
    let mut result = case("gc.removes-stale", "gc.removes-stale", "1.1.0", "plain", Verdict::Skip);
    result.reason = Some(reason.to_owned());
    result
}

fn two_plugins() -> RunSet {
    let mut undecided = case("add.succeeds", "add.creates-interface", "1.1.0", "", Verdict::Error);
    undecided.reason = Some("cnitest could not decide: the arena's agent ended".to_owned());
    let bridge = run(
        "bridge",
        vec![
            case("add.succeeds", "add.creates-interface", "1.1.0", "plain", Verdict::Pass),
            deviates("execution.error-version", "error.cniversion", "1.1.0", "plain", Verdict::Warn),
            deviates("del.repeated", "del.idempotent", "0.4.0", "plain", Verdict::Warn),
            deviates("del.repeated", "del.idempotent", "1.0.0", "plain", Verdict::Fail),
            deviates("del.repeated", "del.idempotent", "1.1.0", "plain", Verdict::Fail),
            deviates("del.repeated", "del.idempotent", "1.1.0", "vlan", Verdict::Fail),
            undecided,
            skip("the kernel lacks vlan"),
        ],
    );
    let ptp = run(
        "ptp",
        vec![
            deviates("execution.error-version", "error.cniversion", "1.1.0", "plain", Verdict::Warn),
            deviates("del.repeated", "del.idempotent", "1.1.0", "plain", Verdict::Fail),
            skip("the kernel lacks vlan"),
        ],
    );
    let passes = run("tap", vec![case("add.succeeds", "add.creates-interface", "1.1.0", "", Verdict::Pass)]);
    RunSet::new(vec![bridge, ptp, passes])
}

fn in_markdown(summary: &SetSummary) -> String {
    let mut out = Vec::new();
    markdown::write(summary, &mut out).expect("memory");
    String::from_utf8(out).expect("UTF-8")
}

fn in_json(summary: &SetSummary) -> Value {
    let mut out = Vec::new();
    summary::write(summary, &mut out).expect("memory");
    serde_json::from_slice(&out).expect("JSON")
}

fn problems(value: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(summary_schema()).expect("the schema is JSON");
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).expect("the schema is a schema");
    validator.iter_errors(value).map(|error| error.to_string()).collect()
}

#[test]
fn a_set_with_judgements() {
    let summary = SetSummary::of(&two_plugins(), Some("1.9.1+ds1"), Some(&judgements()));
    insta::assert_snapshot!("judged", in_markdown(&summary));
    let value = in_json(&summary);
    assert_eq!(problems(&value), Vec::<String>::new());
    assert_eq!(value["judgements"][0]["fixed"], json!({"release": "v1.10.0", "commit": "abc1234"}));
    assert_eq!(value["unusedJudgements"], json!(["about-nothing"]));
}

#[test]
fn one_plugin_without_judgements() {
    let mut set = two_plugins();
    set.runs.truncate(1);
    insta::assert_snapshot!("not_judged", in_markdown(&SetSummary::of(&set, None, None)));
}

#[test]
fn the_gravest_comes_first_then_what_nobody_judged_and_all_versions_of_a_finding_stand_together() {
    let summary = SetSummary::of(&two_plugins(), Some("1.9.1"), Some(&judgements()));
    let found: Vec<_> = summary
        .findings
        .iter()
        .map(|finding| {
            (finding.verdict, finding.judgement.as_deref(), finding.subjects(), finding.shows.len())
        })
        .collect();
    assert_eq!(
        found,
        [
            (Verdict::Fail, None, vec!["ptp"], 1),
            (Verdict::Fail, Some("second-del"), vec!["bridge"], 3),
            (Verdict::Error, None, vec!["bridge"], 1),
            (Verdict::Warn, None, vec!["bridge", "ptp"], 2),
        ]
    );
    let first = &summary.findings[1];
    assert_eq!((first.level.as_str(), first.example.spec_version.as_deref()), ("MUST", Some("1.1.0")));
    assert_eq!(first.shows[2].cases, ["plain", "vlan"]);
    assert_eq!(summary.not_judged(Verdict::Fail).count(), 1);
    assert_eq!(summary.skips[0].subjects, ["bridge", "ptp"]);
}

#[test]
fn no_path_of_the_machine_is_told() {
    let value = in_json(&SetSummary::of(&two_plugins(), None, None)).to_string();
    assert!(!value.contains("/opt"), "{value}");
    assert!(value.contains("no plugin in FOLDER|<none>"), "{value}");
}

#[test]
fn a_fix_that_still_shows_is_told() {
    let early = JUDGEMENTS.replace("v1.10.0", "v1.9.0");
    let early = Judgements::parse("judgements.toml", &early).expect("valid");
    let seen = |judgements| {
        let summary = SetSummary::of(&two_plugins(), Some("1.9.1"), Some(judgements));
        summary.fixed_but_seen().map(|judgement| judgement.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(seen(&early), ["second-del"]);
    assert_eq!(seen(&judgements()), Vec::<String>::new());
}

#[test]
fn judgements_on_other_releases_are_left_aside() {
    let summary = SetSummary::of(&two_plugins(), Some("1.1.1"), Some(&judgements()));
    let not_judged: Vec<_> = summary.not_judged(Verdict::Fail).map(|finding| finding.subjects()).collect();
    assert_eq!(not_judged, [["bridge", "ptp"]]);
    assert_eq!(summary.unused_judgements, ["about-nothing", "of-an-older-release"]);
}

#[test]
fn a_judgement_about_what_no_case_decided_is_not_called_unused() {
    let elsewhere = JUDGEMENTS.replace("\"add.*\"", "\"gc.*\"");
    let elsewhere = Judgements::parse("judgements.toml", &elsewhere).expect("valid");
    let summary = SetSummary::of(&two_plugins(), Some("1.1.1"), Some(&elsewhere));
    assert_eq!(summary.unused_judgements, Vec::<String>::new());
}

#[test]
fn a_judgement_about_what_the_host_lacks_is_not_called_unused() {
    let mut set = two_plugins();
    let mut vlan = case("add.succeeds", "add.creates-interface", "1.1.0", "vlan", Verdict::Skip);
    vlan.skip_cause = Some(SkipCause::NotApplicable);
    set.runs[0].results.push(vlan);
    let unused = |set: &RunSet| SetSummary::of(set, Some("1.9.1"), Some(&judgements())).unused_judgements;
    assert_eq!(unused(&set), ["about-nothing"]);
    for cause in [SkipCause::Host, SkipCause::Ended] {
        let last = set.runs[0].results.last_mut().expect("pushed");
        last.skip_cause = Some(cause);
        assert_eq!(unused(&set), Vec::<String>::new());
    }
}

#[test]
fn what_is_judged_is_told_though_the_host_lacks_something_of_it() {
    let mut set = two_plugins();
    let mut vlan = case("del.repeated", "del.idempotent", "1.1.0", "vlan", Verdict::Skip);
    vlan.skip_cause = Some(SkipCause::Host);
    set.runs[0].results.push(vlan);
    let summary = SetSummary::of(&set, Some("1.9.1"), Some(&judgements()));
    let told: Vec<&str> = summary.judgements.iter().map(|judgement| judgement.id.as_str()).collect();
    assert_eq!(told, ["second-del"]);
}

#[test]
fn the_kept_reports_have_their_schema_and_every_failure_is_judged() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/ecosystem");
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).expect("kept file");
    Judgements::parse("judgements.toml", &read("judgements.toml")).expect("valid");
    for release in ["1.1.1", "1.9.1"] {
        let value: Value = serde_json::from_str(&read(&format!("go-plugins-{release}.json"))).expect("JSON");
        assert_eq!(problems(&value), Vec::<String>::new(), "{release}");
        let findings = value["findings"].as_array().expect("findings");
        let judgements = value["judgements"].as_array().expect("judgements");
        let lacks = |finding: &&Value| {
            let known = judgements.iter().any(|judgement| judgement["id"] == finding["judgement"]);
            !known && (finding["verdict"] == "fail" || !finding["judgement"].is_null())
        };
        assert!(!findings.is_empty() && !findings.iter().any(|finding| lacks(&finding)), "{release}");
    }
}

proptest! {
    #![proptest_config(fixed())]

    #[test]
    fn every_summary_has_its_schema_and_counts_every_deviation(set in any_set(), judged: bool) {
        let judgements = judgements();
        let summary = SetSummary::of(&set, None, judged.then_some(&judgements));
        prop_assert_eq!(problems(&in_json(&summary)), Vec::<String>::new());
        let deviates = |verdict| matches!(verdict, Verdict::Fail | Verdict::Warn | Verdict::Error);
        let all = set.runs.iter().flat_map(|run| &run.results);
        prop_assert_eq!(all.clone().any(|result| deviates(result.verdict)), !summary.findings.is_empty());
        let skipped = all.filter(|result| result.verdict == Verdict::Skip).count() as u64;
        prop_assert_eq!(summary.skips.iter().map(|skips| skips.cases).sum::<u64>(), skipped);
    }

    #[test]
    fn markdown_has_a_heading_for_each_finding_and_nothing_that_disturbs_a_reader(set in any_set()) {
        let mut out = Vec::new();
        report(ReportKind::Markdown, &set, &mut out).expect("memory");
        let text = String::from_utf8(out).expect("UTF-8");
        let headings = text.lines().filter(|line| line.starts_with("### ")).count();
        prop_assert_eq!(headings, SetSummary::of(&set, None, None).findings.len());
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    }
}
