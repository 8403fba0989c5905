//! Certificates: made of sections, judged by their schema, read back, and held against a repetition.

mod common;

use cnitest_reports::certificate::{
    CERTIFICATE_VERSION, Certificate, CertificateError, CertificateResult, CertificateSet, Direction, Holds,
    Limit, Section, Status, certificate_schema, verify, write_human,
};
use cnitest_reports::human::Style;
use cnitest_reports::model::{CaseResult, Run, SkipCause, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

use common::{any_set, case, run};

fn schema() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(certificate_schema()).expect("the schema is JSON");
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::validator_for(&schema).expect("the schema is a schema")
}

/// A certificate of the run's subject: results of checks `gc.*` are a feature, the others the core.
fn certify(run: &Run, profile: Option<&str>, limits: Vec<Limit>) -> Certificate {
    let (gc, core): (Vec<&CaseResult>, Vec<&CaseResult>) =
        run.results.iter().partition(|result| result.check.starts_with("gc."));
    let unsupported = Some("no configuration of the target hands over mac".to_owned());
    let mut certificate = Certificate {
        certificate_version: CERTIFICATE_VERSION.to_owned(),
        tool: run.tool.clone(),
        environment: run.environment.clone(),
        seed: run.seed,
        strict: run.strict,
        options: run.options.clone(),
        started: run.started.clone(),
        subject: run.subject.clone(),
        profile: profile.map(str::to_owned),
        spec_versions: ["1.0.0", "1.1.0"].map(str::to_owned).into(),
        result: CertificateResult::Undecided,
        limits,
        core: Section::of("core", &core, false, run.strict, None),
        features: vec![
            Section::of("gc", &gc, true, run.strict, None),
            Section::of("mac", &[], true, run.strict, unsupported),
        ],
    };
    certificate.finish();
    certificate
}

fn of(results: Vec<CaseResult>) -> Certificate {
    certify(&run("bridge", results), Some("interface"), Vec::new())
}

fn passing() -> Vec<CaseResult> {
    let mut results: Vec<CaseResult> = ["1.0.0", "1.1.0"]
        .into_iter()
        .flat_map(|version| ["add.succeeds", "del.repeated"].map(|check| (version, check)))
        .map(|(version, check)| case(check, "del.idempotent", version, "gateway", Verdict::Pass))
        .collect();
    results.push(case("gc.removes-stale", "gc.removes-stale", "1.1.0", "gateway", Verdict::Pass));
    results
}

fn failed(mut result: CaseResult) -> CaseResult {
    result.verdict = Verdict::Fail;
    result.reason = Some("DEL exit status 1 (del.idempotent)".to_owned());
    result
}

fn warned(mut result: CaseResult) -> CaseResult {
    result.verdict = Verdict::Warn;
    result.level = "SHOULD".to_owned();
    result.reason = Some("the reservation stays (gc.removes-stale)".to_owned());
    result
}

fn skipped(mut result: CaseResult) -> CaseResult {
    result.verdict = Verdict::Skip;
    result.skip_cause = Some(SkipCause::Host);
    result.reason = Some("the kernel cannot make links of kind vlan".to_owned());
    result
}

/// The passing results, one of them changed.
fn changed(index: usize, change: fn(CaseResult) -> CaseResult) -> Vec<CaseResult> {
    let mut results = passing();
    results[index] = change(results[index].clone());
    results
}

const GC: usize = 4;

fn limit() -> Limit {
    Limit {
        reason: "the kernel cannot make links of kind vlan".to_owned(),
        cases: 2,
        checks: vec!["add.succeeds".to_owned()],
    }
}

#[test]
fn a_certificate_is_what_its_sections_are() {
    let result = |results: Vec<CaseResult>| of(results).result;
    assert_eq!(result(passing()), CertificateResult::Conformant);
    assert_eq!(result(changed(0, failed)), CertificateResult::NotConformant, "the core");
    assert_eq!(result(changed(GC, failed)), CertificateResult::NotConformant, "a feature");
    assert_eq!(result(changed(GC, warned)), CertificateResult::Conformant, "a recommendation");
    assert_eq!(result(changed(GC, skipped)), CertificateResult::Conformant, "a feature that was not tested");
    assert_eq!(result(Vec::new()), CertificateResult::Undecided, "nothing was tested");
    let error = |mut result: CaseResult| {
        result.verdict = Verdict::Error;
        result
    };
    assert_eq!(result(changed(0, error)), CertificateResult::Undecided, "the suite could not decide");
    let unplayed = |result: CaseResult| CaseResult { skip_cause: Some(SkipCause::Ended), ..skipped(result) };
    assert_eq!(result(changed(0, unplayed)), CertificateResult::Undecided, "the run ended before");
    let whole = run("bridge", passing());
    assert_eq!(certify(&whole, None, Vec::new()).result, CertificateResult::Undecided, "no profile");
    let limited = certify(&whole, Some("interface"), vec![limit()]);
    assert_eq!(limited.result, CertificateResult::ConformantAsTested);
    let mut strict = run("bridge", changed(GC, warned));
    strict.strict = true;
    assert_eq!(certify(&strict, Some("interface"), Vec::new()).result, CertificateResult::NotConformant);
}

#[test]
fn a_feature_is_more_than_passed_or_failed() {
    let gc = |results: Vec<CaseResult>| of(results).features[0].clone();
    assert_eq!(gc(passing()).status, Status::Passed);
    assert_eq!(gc(changed(GC, failed)).status, Status::Failed);
    assert_eq!(gc(changed(GC, warned)).status, Status::Partial);
    assert_eq!(gc(changed(GC, skipped)).status, Status::Untested);
    assert_eq!(of(passing()).features[1].status, Status::Unsupported);
    let mut partly = passing();
    partly.push(skipped(case("gc.fresh", "gc.empty-list", "1.1.0", "vlan", Verdict::Skip)));
    assert_eq!(gc(partly.clone()).status, Status::PassedAsTested);
    partly[GC + 1].skip_cause = Some(SkipCause::NotApplicable);
    assert_eq!(gc(partly).status, Status::Passed);
    let skipped = gc(changed(GC, skipped));
    assert_eq!(skipped.skipped[0].reason, "the kernel cannot make links of kind vlan");
    assert_eq!(skipped.checks[0].decided, 0);
}

#[test]
fn each_broken_requirement_has_its_own_gravity() {
    let mut result = failed(case("del.repeated", "del.idempotent", "1.1.0", "gateway", Verdict::Fail));
    // The last is common practice: it bears on nothing.
    result.broken = ["del.idempotent", "error.cniversion", "gc.missing-list"].map(str::to_owned).into();
    let section = Section::of("core", &[&result], false, false, None);
    let told: Vec<(Verdict, &str, &str)> = section
        .deviations
        .iter()
        .map(|broken| (broken.verdict, broken.level.as_str(), broken.requirement.as_str()))
        .collect();
    assert_eq!(
        told,
        [(Verdict::Fail, "MUST", "del.idempotent"), (Verdict::Warn, "SHOULD", "error.cniversion")]
    );
}

/// What verifying says: whether it holds, and the changes.
fn verified(old: &Certificate, new: &Certificate) -> (Holds, Vec<(Direction, String)>) {
    let verification = verify(old, new, false);
    let told = |change: &cnitest_reports::certificate::Change| {
        (change.direction, format!("{}: {}", change.section, change.what))
    };
    (verification.holds, verification.changes.iter().map(told).collect())
}

#[test]
fn what_is_found_again_holds() {
    for results in [passing(), changed(0, failed), changed(GC, warned), changed(GC, skipped)] {
        let certificate = of(results);
        assert_eq!(verified(&certificate, &certificate), (Holds::Yes, Vec::new()));
    }
}

#[test]
fn what_got_worse_does_not_hold() {
    let told = |new: Vec<CaseResult>| verified(&of(passing()), &of(new));
    let (holds, changes) = told(changed(1, failed));
    assert_eq!(holds, Holds::No);
    assert!(changes.contains(&(
        Direction::Worse,
        "core: fail of del.idempotent in CNI 1.0.0 (del.repeated)".to_owned()
    )));
    let (holds, changes) = told(changed(GC, warned));
    assert_eq!(holds, Holds::No);
    assert!(changes.contains(&(Direction::Worse, "gc: was passed, now partial".to_owned())), "{changes:?}");
    let mut fewer = of(passing());
    fewer.spec_versions.remove(1);
    let (holds, changes) = verified(&of(passing()), &fewer);
    assert_eq!((holds, &changes[0].1[..]), (Holds::No, "versions: no longer tested: CNI 1.1.0"));
}

#[test]
fn what_got_better_is_told_and_holds() {
    let (holds, changes) = verified(&of(changed(1, failed)), &of(passing()));
    assert_eq!(holds, Holds::Yes);
    assert!(
        changes.contains(&(
            Direction::Better,
            "core: no more fail of del.idempotent in CNI 1.0.0 (del.repeated)".to_owned()
        )),
        "{changes:?}"
    );
}

#[test]
fn what_cannot_be_repeated_here_is_undecided() {
    let (holds, changes) = verified(&of(passing()), &of(changed(GC, skipped)));
    assert_eq!(holds, Holds::Undecided);
    assert_eq!(changes, [(Direction::Unrepeated, "gc: was passed, now untested".to_owned())]);
    let mut results = passing();
    results[1] = skipped(results[1].clone());
    results[3] = skipped(results[3].clone());
    let (holds, changes) = verified(&of(passing()), &of(results));
    assert_eq!(holds, Holds::Undecided);
    assert_eq!(
        changes,
        [(Direction::Unrepeated, "core: could not be tested this time: del.repeated".to_owned())]
    );
}

#[test]
fn another_executable_is_not_the_certified_one() {
    let old = of(passing());
    let mut new = old.clone();
    new.subject.sha256 = "0".repeat(64);
    new.tool.version = "0.2.0".to_owned();
    new.environment.kernel = "7.0".to_owned();
    let strict = verify(&old, &new, false);
    assert_eq!((strict.holds, strict.same_executable), (Holds::No, false));
    assert_eq!(
        strict.circumstances,
        ["suite: was cnitest 0.1.0, now cnitest 0.2.0", "kernel: was 6.18.5 x86_64, now 7.0 x86_64"]
    );
    assert_eq!(verify(&old, &new, true).holds, Holds::Yes);
    let mut unread = old.clone();
    unread.subject.sha256.clear();
    assert_eq!(verify(&unread, &unread, false).holds, Holds::No, "nothing to compare with");
}

#[test]
fn a_person_can_read_it() {
    let shown = |old: &Certificate, new: &Certificate| {
        let mut out = Vec::new();
        let verification = verify(old, new, false);
        write_human(old, Some(&verification), &Style::default(), &mut out).expect("memory");
        String::from_utf8(out).expect("UTF-8")
    };
    let whole = run("bridge", changed(GC, warned));
    let limited = certify(&whole, Some("interface"), vec![limit()]);
    let mut worse = of(changed(1, failed));
    worse.subject.sha256 = "0".repeat(64);
    insta::assert_snapshot!("verify_holds", shown(&limited, &limited));
    insta::assert_snapshot!("verify_does_not_hold", shown(&limited, &worse));
}

#[test]
fn the_schema_refuses_what_is_no_certificate() {
    type Break = fn(&mut Value);
    let breaks: [(&str, Break); 9] = [
        ("an unknown key", |it| it["colour"] = json!(1)),
        ("no digest", |it| drop(it["subject"].as_object_mut().expect("object").remove("sha256"))),
        ("another format", |it| it["certificateVersion"] = json!("2")),
        ("an unknown profile", |it| it["profile"] = json!("teapot")),
        ("an unknown result", |it| it["result"] = json!("fine")),
        ("a limit that is hidden", |it| it["limits"] = json!([limit()])),
        ("a limit that is missing", |it| it["result"] = json!("conformant-as-tested")),
        ("a failed core that is conformant", |it| it["core"]["status"] = json!("failed")),
        ("a verdict that is no deviation", |it| {
            it["features"][0]["deviations"] = json!([{"verdict": "pass", "requirement": "a", "level": "MUST",
                "check": "b", "specVersions": [], "cases": 1}]);
        }),
    ];
    let schema = schema();
    let good = serde_json::to_value(of(passing())).expect("JSON");
    assert_eq!(
        schema.iter_errors(&good).map(|error| error.to_string()).collect::<Vec<_>>(),
        Vec::<String>::new()
    );
    for (what, breaking) in breaks {
        let mut bad = good.clone();
        breaking(&mut bad);
        assert!(!schema.is_valid(&bad), "{what} is accepted");
    }
}

#[test]
fn reading_says_what_is_wrong() {
    let good = serde_json::to_value(of(changed(1, failed))).expect("JSON");
    let read = |value: &Value| CertificateSet::parse(&value.to_string());
    assert!(read(&good).is_ok());
    let mut newer = good.clone();
    newer["certificateVersion"] = json!("2");
    newer["added"] = json!(true);
    let error = read(&newer).expect_err("newer").to_string();
    assert!(error.contains(r#"certificateVersion "2""#) && error.contains(r#"reads "1""#), "{error}");
    let mut embellished = good.clone();
    embellished["result"] = json!("conformant");
    assert!(
        matches!(read(&embellished), Err(CertificateError::Inconsistent { subject }) if subject == "bridge")
    );
    let mut painted = good.clone();
    painted["core"]["status"] = json!("passed");
    painted["result"] = json!("conformant");
    assert!(matches!(read(&painted), Err(CertificateError::Inconsistent { .. })));
    for other in [json!([1]), json!({}), json!({"certificates": 3}), json!(null)] {
        assert!(matches!(read(&other), Err(CertificateError::Shape(_))), "{other}");
    }
}

proptest! {
    #![proptest_config(common::fixed())]

    #[test]
    fn a_certificate_is_valid_and_reads_back_as_itself(set in any_set(), limited: bool, known: bool) {
        thread_local!(static SCHEMA: jsonschema::Validator = schema());
        let limits = || if limited { vec![limit()] } else { Vec::new() };
        let profile = known.then_some("interface");
        let certificates = set.runs.iter().map(|run| certify(run, profile, limits())).collect();
        let set = CertificateSet::new(certificates);
        let mut out = Vec::new();
        set.write(&mut out).expect("memory");
        let text = String::from_utf8(out).expect("UTF-8");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let errors: Vec<String> =
            SCHEMA.with(|schema| schema.iter_errors(&value).map(|error| error.to_string()).collect());
        prop_assert_eq!(errors, Vec::<String>::new());
        prop_assert_eq!(CertificateSet::parse(&text).expect("a certificate"), set.clone());
        for certificate in &set.certificates {
            let verification = verify(certificate, certificate, true);
            prop_assert_eq!(verification.holds, Holds::Yes);
            prop_assert!(verification.changes.is_empty(), "{:?}", verification.changes);
        }
    }

    #[test]
    fn a_certificate_fits_its_page(set in any_set()) {
        for run in &set.runs {
            let certificate = certify(run, None, vec![limit()]);
            let verification = verify(&certificate, &certificate, false);
            let mut out = Vec::new();
            write_human(&certificate, Some(&verification), &Style::default(), &mut out).expect("memory");
            for line in String::from_utf8(out).expect("UTF-8").lines() {
                prop_assert!(line.chars().count() <= 100, "{line:?}");
                prop_assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}
