//! Baselines: written, read, and held against runs.

mod common;

use cni_spec::catalogue::requirements;
use cnitest_reports::baseline::{Baseline, Names};
use cnitest_reports::model::{CaseResult, Difference, KnownDeviation, Outcome, Run, RunSet, Verdict};
use cnitest_reports::{ReportKind, exit_code, report, run_schema};
use proptest::prelude::*;

use common::{any_set, case, comparison, difference, run};

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const CHECKS: [&str; 3] = ["add.twice", "del.repeated", "error.version"];

/// Breaks something in a result.
type Change = fn(&mut CaseResult);

fn text_of(baseline: &Baseline) -> String {
    let mut out = Vec::new();
    baseline.write(&mut out).expect("memory");
    String::from_utf8(out).expect("UTF-8")
}

fn parse(text: &str) -> Result<Baseline, String> {
    let ids: Vec<&str> = requirements().iter().map(|known| known.id).collect();
    let names = Names { checks: &CHECKS, requirements: &ids };
    Baseline::parse(text, "known.toml", names).map_err(|error| error.to_string())
}

fn failing(version: &str, configuration: &str) -> CaseResult {
    let mut result = case("del.repeated", "del.idempotent", version, configuration, Verdict::Fail);
    result.requirements.push("error.cniversion".to_owned());
    result.reason = Some("the second DEL exit status 1 (del.idempotent)".to_owned());
    result
}

fn warning() -> CaseResult {
    let mut result = case("error.version", "error.cniversion", "1.1.0", "gateway", Verdict::Warn);
    result.level = "SHOULD".to_owned();
    result.reason = Some("the error object has no cniVersion (error.cniversion)".to_owned());
    result
}

fn bridge() -> Run {
    let passing = case("add.twice", "add.twice-errors", "1.1.0", "gateway", Verdict::Pass);
    run("bridge", vec![failing("1.0.0", "gateway"), failing("1.1.0", "gateway"), warning(), passing])
}

fn with_reason(baseline: Baseline, reason: &str) -> Baseline {
    let entries = baseline.entries().iter().cloned();
    Baseline::new(entries.map(|entry| KnownDeviation { reason: Some(reason.to_owned()), ..entry }))
}

fn applied(run: Run, baseline: &Baseline) -> Run {
    let mut set = RunSet::new(vec![run]);
    baseline.apply(&mut set, "known.toml", DIGEST);
    set.runs.remove(0)
}

fn known(run: &Run) -> Vec<bool> {
    run.results.iter().map(|result| result.known.is_some()).collect()
}

#[test]
fn a_baseline_is_readable() {
    let baseline = with_reason(Baseline::of(&RunSet::new(vec![bridge()])), "upstream issue 1234");
    insta::assert_snapshot!(text_of(&baseline));
}

#[test]
fn known_differences_of_two_plugins_do_not_fail_the_run() {
    let other = Difference { how: "only the first has host link cni#".to_owned(), ..difference() };
    let compared = || comparison(vec![difference(), other.clone()]);
    let both = Baseline::of(&RunSet::new(vec![compared()]));
    assert_eq!(parse(&text_of(&both)).as_ref(), Ok(&both));
    insta::assert_snapshot!("known_differences", text_of(&both));
    let one = Baseline::of(&RunSet::new(vec![comparison(vec![difference()])]));
    let known = |baseline: &Baseline| {
        let run = applied(compared(), baseline);
        let all = run.against().map(|against| against.differences.clone()).unwrap_or_default();
        let known: Vec<bool> = all.iter().map(|one| one.known.is_some()).collect();
        (known, exit_code(&RunSet::new(vec![run])))
    };
    assert_eq!(known(&one), (vec![true, false], 1));
    assert_eq!(known(&both), (vec![true, true], 0));
    assert_eq!(known(&Baseline::default()), (vec![false, false], 1));
    let mut shown = Vec::new();
    let set = RunSet::new(vec![applied(compared(), &one)]);
    report(ReportKind::Human, &set, &mut shown).expect("memory");
    let shown = String::from_utf8(shown).expect("UTF-8");
    assert!(shown.contains("2 differences (1 known)") && shown.contains("known: "), "{shown}");
    // What chance did not show this time is still known.
    let again = Baseline::of(&RunSet::new(vec![comparison(vec![difference()])]));
    assert_eq!(again.continuing(&both, &set), both);
    let wrong = text_of(&both).replace("plugin = \"bridge\"", "plugin = \"\"");
    assert!(parse(&wrong).is_err_and(|error| error.contains("plugin is empty")));
}

#[test]
fn what_is_known_does_not_fail_the_run_and_hides_nothing() {
    let baseline = with_reason(Baseline::of(&RunSet::new(vec![bridge()])), "upstream issue 1234");
    let run = applied(bridge(), &baseline);
    assert_eq!(known(&run), [true, true, true, false]);
    assert!(!run.conformant && run.outcome() == Outcome::NotConformant);
    assert_eq!((run.summary.fail, run.summary.warn), (2, 1));
    let set = RunSet::new(vec![run]);
    assert_eq!((exit_code(&RunSet::new(vec![bridge()])), exit_code(&set)), (1, 0));
    for (kind, words) in [
        (ReportKind::Human, "known (baseline known.toml): upstream issue 1234"),
        (ReportKind::Human, "All of that is known (baseline known.toml)."),
        (ReportKind::Human, "3 known (baseline known.toml)"),
        (ReportKind::Junit, "known fail (baseline known.toml): upstream issue 1234"),
        (ReportKind::Deviations, "bridge fail del.repeated del.idempotent 1.0.0,1.1.0 known\n"),
    ] {
        let mut out = Vec::new();
        report(kind, &set, &mut out).expect("memory");
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.contains(words), "{kind} lacks {words:?}: {text}");
    }
}

#[test]
fn a_strict_run_accepts_known_warnings_only() {
    let strict = |baseline: &Baseline| {
        let mut run = run("bridge", vec![warning()]);
        run.strict = true;
        run.finish();
        exit_code(&RunSet::new(vec![applied(run, baseline)]))
    };
    assert_eq!(strict(&Baseline::default()), 1);
    assert_eq!(strict(&Baseline::of(&RunSet::new(vec![bridge()]))), 0);
}

#[test]
fn what_is_new_fails_the_run() {
    let baseline = Baseline::of(&RunSet::new(vec![bridge()]));
    let changed = |change: Change| {
        let mut other = bridge();
        change(&mut other.results[0]);
        other.finish();
        applied(other, &baseline)
    };
    let breaks: [(&str, Change); 5] = [
        ("another case", |result| result.case = "vlan".to_owned()),
        ("another version", |result| result.spec_version = Some("0.4.0".to_owned())),
        ("another check", |result| result.check = "add.twice".to_owned()),
        ("another requirement", |result| result.requirements.swap(0, 1)),
        ("one more requirement", |result| {
            result.broken = ["del.idempotent", "error.cniversion"].map(str::to_owned).into();
        }),
    ];
    for (what, change) in breaks {
        let run = changed(change);
        assert!(!known(&run)[0], "{what} is known");
        assert_eq!(exit_code(&RunSet::new(vec![run])), 1, "{what} is accepted");
    }
    let mut other = bridge();
    other.results[2].verdict = Verdict::Fail;
    other.finish();
    assert_eq!(
        known(&applied(other, &baseline)),
        [true, true, false, false],
        "a warning that became a failure"
    );
    let other = applied(run("ptp", vec![failing("1.1.0", "gateway")]), &baseline);
    assert_eq!(known(&other), [false], "another plugin");
}

#[test]
fn a_case_that_cnitest_cannot_decide_stays_undecided() {
    let mut other = bridge();
    other.results[3].verdict = Verdict::Error;
    other.finish();
    let run = applied(other, &Baseline::of(&RunSet::new(vec![bridge()])));
    assert_eq!(exit_code(&RunSet::new(vec![run])), 2);
}

#[test]
fn entries_that_have_had_their_day_are_told() {
    let mut before = bridge();
    before.results[1].broken = ["del.idempotent", "error.cniversion"].map(str::to_owned).into();
    let baseline = Baseline::of(&RunSet::new(vec![before]));
    let mut after = bridge();
    after.results[0].verdict = Verdict::Pass;
    after.results[2].case = "other".to_owned();
    after.finish();
    let run = applied(after, &baseline);
    let told = run.baseline.clone().expect("applied");
    assert_eq!((told.entries, told.known), (3, 1));
    let passes: Vec<String> = told.unexpected_passes.iter().map(KnownDeviation::place).collect();
    assert_eq!(passes, ["CNI 1.0.0 gateway"]);
    let whys: Vec<&str> = told.stale.iter().map(|stale| stale.why.as_str()).collect();
    assert_eq!(
        whys,
        [
            "no longer broken: error.cniversion; take it out of requirements",
            "the run has no such case; remove the entry if the case is gone"
        ]
    );
    let mut out = Vec::new();
    let set = RunSet::new(vec![run]);
    cnitest_reports::human::write(&set, &Default::default(), &mut out).expect("memory");
    insta::assert_snapshot!(String::from_utf8(out).expect("UTF-8"));
    let mut out = Vec::new();
    report(ReportKind::Junit, &set, &mut out).expect("memory");
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.contains("del.repeated CNI 1.0.0 gateway: now passes: remove from the baseline"), "{text}");
}

#[test]
fn a_case_that_was_not_played_is_not_judged() {
    let baseline = Baseline::of(&RunSet::new(vec![bridge()]));
    let judged = |run: Run| {
        let told = applied(run, &baseline).baseline.expect("applied");
        (told.unexpected_passes.len(), told.stale.len())
    };
    let left_out = |keep: fn(&CaseResult) -> bool| {
        let mut run = bridge();
        run.results.retain(keep);
        run
    };
    assert_eq!(judged(left_out(|result| result.check != "del.repeated")), (0, 0), "--skip");
    let mut older = left_out(|result| result.spec_version.as_deref() == Some("1.0.0"));
    assert_eq!(judged(older.clone()), (0, 1), "the version is gone");
    older.options.spec_versions = vec!["1.0.0".to_owned()];
    assert_eq!(judged(older), (0, 0), "--spec-version");
    let skipped = |case: &str| {
        let mut run = bridge();
        let mut skip = failing("1.1.0", case);
        (skip.verdict, skip.spec_version) = (Verdict::Skip, None);
        run.results.splice(0..2, [skip]);
        run
    };
    assert_eq!(judged(skipped("")), (0, 0), "a check that is skipped");
    assert_eq!(judged(skipped("gateway")), (0, 0), "a configuration that is skipped");
    assert_eq!(judged(skipped("gate")), (0, 2), "another configuration that is skipped");
    let mut undecided = bridge();
    undecided.results[0].verdict = Verdict::Skip;
    undecided.results[1].verdict = Verdict::Error;
    assert_eq!(judged(undecided), (0, 0), "skipped and undecided cases");
    assert_eq!(judged(run("ptp", Vec::new())), (0, 0), "another plugin");
}

#[test]
fn writing_again_keeps_reasons_and_what_was_not_played() {
    let everything = RunSet::new(vec![bridge(), run("ptp", vec![failing("1.1.0", "plain")])]);
    let earlier = with_reason(Baseline::of(&everything), "as agreed");
    let mut part = bridge();
    part.results[0].verdict = Verdict::Pass;
    let part = RunSet::new(vec![part]);
    let again = Baseline::of(&part).continuing(&earlier, &part);
    let told: Vec<String> = again
        .entries()
        .iter()
        .map(|entry| format!("{} {} {}", entry.plugin, entry.check, entry.place()))
        .collect();
    assert_eq!(
        told,
        [
            "bridge del.repeated CNI 1.1.0 gateway",
            "bridge error.version CNI 1.1.0 gateway",
            "ptp del.repeated CNI 1.1.0 plain"
        ]
    );
    assert!(again.entries().iter().all(|entry| entry.reason.as_deref() == Some("as agreed")));
}

#[test]
fn mistakes_are_named_with_line_and_fix() {
    let entry = |change: fn(String) -> String| {
        let good = "# known\n[[deviation]]\nplugin = \"bridge\"\ncheck = \"del.repeated\"\ncase = \"gateway\"\n\
                    spec-version = \"1.1.0\"\nverdict = \"fail\"\nrequirements = [\"del.idempotent\"]\n";
        change(good.to_owned())
    };
    assert_eq!(parse(&entry(|good| good)).map(|baseline| baseline.entries().len()), Ok(1));
    let mistakes: [fn(String) -> String; 10] = [
        |good| good.replace("del.repeated", "del.repaeted"),
        |good| good.replace("del.repeated", "something.else-entirely"),
        |good| good.replace("del.idempotent", "del.idempotnet"),
        |good| good.replace("1.1.0", "1.2.0"),
        |good| good.replace("\"fail\"", "\"error\""),
        |good| good.replace("[\"del.idempotent\"]", "[]"),
        |good| good.replace("plugin = \"bridge\"", "plugin = \"\""),
        |good| good.replace("case =", "cases ="),
        |good| format!("{good}{good}"),
        |good| good.replace("verdict = ", "verdict: "),
    ];
    let told: Vec<String> =
        mistakes.into_iter().map(|change| parse(&entry(change)).expect_err("a mistake")).collect();
    insta::assert_snapshot!(told.join("\n---\n"));
}

#[test]
fn the_schema_takes_a_run_with_a_baseline() {
    let schema = serde_json::from_str(run_schema()).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let mut run = bridge();
    run.results[0].verdict = Verdict::Pass;
    run.finish();
    let run = applied(run, &with_reason(Baseline::of(&RunSet::new(vec![bridge()])), "why"));
    let value = serde_json::to_value(&run).expect("JSON");
    assert_eq!(
        schema.iter_errors(&value).map(|error| error.to_string()).collect::<Vec<_>>(),
        Vec::<String>::new()
    );
    let mut hidden = value.clone();
    hidden["results"][0]["known"] = serde_json::json!({"reason": null});
    assert!(!schema.is_valid(&hidden), "a known pass is accepted");
    let mut denied = run.clone();
    denied.results[1].known = None;
    let text = serde_json::to_string(&denied).expect("JSON");
    assert!(RunSet::parse(&text).is_err(), "a count that does not follow is accepted");
}

proptest! {
    #![proptest_config(common::fixed())]

    #[test]
    fn a_baseline_applied_to_its_own_run_leaves_nothing(set in any_set()) {
        let baseline = Baseline::of(&set);
        let mut judged = set.clone();
        baseline.apply(&mut judged, "known.toml", DIGEST);
        for (run, before) in judged.runs.iter().zip(&set.runs) {
            let told = run.baseline.as_ref().expect("applied");
            prop_assert!(told.stale.is_empty(), "{:?}", told.stale);
            prop_assert!(told.unexpected_passes.is_empty(), "{:?}", told.unexpected_passes);
            for result in &run.results {
                prop_assert_eq!(result.known.is_some(), matches!(result.verdict, Verdict::Fail | Verdict::Warn));
            }
            prop_assert!(run.accepted_outcome() != Outcome::NotConformant);
            prop_assert_eq!(run.outcome(), before.outcome());
        }
        prop_assert_eq!(Baseline::of(&judged), baseline);
    }

    #[test]
    fn a_baseline_reads_back_as_itself(set in any_set(), reason: Option<String>) {
        let mut baseline = Baseline::of(&set);
        if let Some(reason) = reason {
            baseline = with_reason(baseline, &reason);
        }
        let entries = || baseline.entries().iter();
        let checks: Vec<&str> = entries().map(|entry| entry.check.as_str()).collect();
        let ids: Vec<&str> = entries().flat_map(|entry| &entry.requirements).map(String::as_str).collect();
        let named = entries().all(|entry| !entry.plugin.is_empty());
        let read = Baseline::parse(&text_of(&baseline), "x", Names { checks: &checks, requirements: &ids });
        match named {
            true => prop_assert_eq!(read.expect("a baseline"), baseline),
            false => prop_assert!(read.is_err()),
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in "\\PC*") {
        let _ = parse(&text);
    }
}
