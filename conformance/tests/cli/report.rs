//! `cnitest report` with judgements.

use cnitest_reports::model::{
    CaseResult, Environment, REPORT_VERSION, Run, RunSet, Subject, Summary, Tool, Verdict,
};

use crate::common::{Folder, run};

const JUDGEMENT: &str = r#"
[[judgement]]
id = "second-del"
plugins = ["bridge"]
requirements = ["del.idempotent"]
verdict = "deviation"
text = "DEL fails without its chain."
source = [{ repository = "o/plugins", path = "bridge.go", tag = "v1.9.1", function = "cmdDel" }]
fixed = "no"
"#;

/// A run of bridge whose second DEL fails.
pub(crate) fn saved(folder: &Folder) -> String {
    let result = CaseResult {
        check: "del.repeated".to_owned(),
        title: "DEL succeeds again and again".to_owned(),
        requirements: ["del.idempotent", "del.best-effort"].map(str::to_owned).into(),
        level: "MUST".to_owned(),
        spec_version: Some("1.1.0".to_owned()),
        case: "plain".to_owned(),
        verdict: Verdict::Fail,
        skip_cause: None,
        known: None,
        broken: vec!["del.idempotent".to_owned()],
        reason: Some("the second DEL exit status 1".to_owned()),
        evidence: None,
        reproducer: None,
        duration_ms: 1.0,
    };
    let mut run = Run {
        report_version: REPORT_VERSION.to_owned(),
        tool: Tool { name: "cnitest".to_owned(), version: "0.1.0".to_owned() },
        environment: Environment {
            kernel: "6.18.5".to_owned(),
            arch: "x86_64".to_owned(),
            privilege: "root".to_owned(),
            missing_features: Vec::new(),
        },
        seed: 1,
        strict: false,
        options: Default::default(),
        started: "2026-01-02T03:04:05Z".to_owned(),
        duration_ms: 1.0,
        subject: Subject {
            kind: "plugin".to_owned(),
            name: "bridge".to_owned(),
            path: "/opt/cni/bin/bridge".to_owned(),
            sha256: String::new(),
            supported_versions: vec!["1.1.0".to_owned()],
            target: None,
            target_note: None,
            upgrade_from: None,
        },
        results: vec![result],
        baseline: None,
        fuzz: None,
        summary: Summary::default(),
        conformant: false,
    };
    run.finish();
    let file = folder.path().join("run.json");
    let mut out = Vec::new();
    cnitest_reports::json::write(&RunSet::new(vec![run]), &mut out).expect("memory");
    std::fs::write(&file, out).expect("written");
    file.to_str().expect("text").to_owned()
}

/// Exit status and stderr of `cnitest report` with this file of judgements, and the Markdown that it wrote.
fn report(judgements: &str, more: &[&str]) -> (i32, String, String) {
    let folder = Folder::new();
    let run_file = saved(&folder);
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    std::fs::write(path("judgements.toml"), judgements).expect("written");
    let (given, wanted) = (path("judgements.toml"), format!("markdown={}", path("out.md")));
    let mut arguments = vec!["report", &run_file, "--judgements", &given, "--report", &wanted];
    arguments.extend(more);
    let output = run(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).replace(folder.path().to_str().expect("text"), "DIR");
    let written = std::fs::read_to_string(path("out.md")).unwrap_or_default();
    (output.status.code().expect("exits"), said, written)
}

#[test]
fn a_judged_failure_is_told_with_its_judgement() {
    let (status, said, written) = report(JUDGEMENT, &["--release", "1.9.1"]);
    assert_eq!((status, said.as_str()), (0, ""));
    assert!(written.starts_with("# Conformance to CNI: bridge, release 1.9.1\n"), "{written}");
    assert!(written.contains("- **judgement** (deviation): DEL fails without its chain.\n"), "{written}");
}

#[test]
fn a_failure_that_nobody_judged_fails_the_command() {
    let other = JUDGEMENT.replace("del.idempotent", "del.best-effort");
    let (status, said, written) = report(&other, &[]);
    assert_eq!(status, 1);
    insta::assert_snapshot!("report_not_judged", said);
    assert!(
        written.contains("**Failures that nobody has judged yet**: `del.repeated` (bridge)."),
        "{written}"
    );
}

#[test]
fn a_judgement_that_claims_a_fix_too_early_fails_the_command() {
    let fixed = JUDGEMENT.replace("\"no\"", "{ release = \"v1.3.0\" }");
    let (status, said, _) = report(&fixed, &["--release", "1.9.1+ds1"]);
    assert_eq!(status, 1);
    insta::assert_snapshot!("report_fixed_too_early", said);
}

#[test]
fn a_mistake_in_the_file_is_explained_and_nothing_is_written() {
    let mistake = JUDGEMENT.replace("del.idempotent", "del.idempotnet");
    let (status, said, written) = report(&mistake, &[]);
    assert_eq!((status, written.as_str()), (2, ""));
    insta::assert_snapshot!("report_mistake", said);
}
