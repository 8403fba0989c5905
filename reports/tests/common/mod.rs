//! Runs for tests: by hand, and at random.

#![allow(dead_code, reason = "each test binary uses its own part")]

use cni_spec::catalogue::requirements;
use cni_spec::{Level, Version};
use cnitest_reports::model::{
    Against, CaseResult, Difference, DifferenceKind, Environment, Evidence, ExecutionEvidence, FuzzTally,
    REPORT_VERSION, Release, Run, RunOptions, RunSet, Side, SkipCause, Subject, Summary, TargetText, Tool,
    Verdict,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// The configuration of every property test: the same cases every time, and no file left behind.
pub(crate) fn fixed() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(20_250_923);
    ProptestConfig { cases: 128, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

/// A run of a plugin with these results, finished.
pub(crate) fn run(name: &str, results: Vec<CaseResult>) -> Run {
    let mut run = Run {
        report_version: REPORT_VERSION.to_owned(),
        tool: Tool { name: "cnitest".to_owned(), version: "0.1.0".to_owned() },
        environment: Environment {
            kernel: "6.18.5".to_owned(),
            arch: "x86_64".to_owned(),
            privilege: "root".to_owned(),
            missing_features: vec!["ipvlan".to_owned(), "vlan".to_owned()],
        },
        seed: 1,
        strict: false,
        options: RunOptions::default(),
        started: "2026-01-02T03:04:05Z".to_owned(),
        duration_ms: 12_345.6,
        subject: Subject {
            kind: "plugin".to_owned(),
            name: name.to_owned(),
            path: format!("/opt/cni/bin/{name}"),
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
            supported_versions: ["0.4.0", "1.0.0", "1.1.0"].map(str::to_owned).into(),
            target: Some(name.to_owned()),
            target_note: None,
            upgrade_from: None,
        },
        results,
        baseline: None,
        fuzz: None,
        summary: Summary::default(),
        conformant: false,
    };
    run.finish();
    run
}

/// A comparison of two plugins that differ in this.
pub(crate) fn comparison(differences: Vec<Difference>) -> Run {
    let mut result = case("fuzz", "exec.result-on-stdout", "1.1.0", "comparison", Verdict::Skip);
    result.reason = Some("two plugins were compared, and neither was judged".to_owned());
    let mut run = run("bridge", vec![result]);
    let plugin = Release {
        path: "/opt/other/bridge".to_owned(),
        sha256: "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752".to_owned(),
        supported_versions: vec!["1.1.0".to_owned()],
    };
    run.fuzz = Some(FuzzTally {
        cases: 120,
        executions: 900,
        behaviours: 30,
        corpus: 12,
        findings: 0,
        constraints_broken: 40,
        constraints: 400,
        coverage: None,
        elapsed_ms: 60_000.0,
        against: Some(Against { plugin, differences }),
    });
    run
}

/// A difference in how DEL ends.
pub(crate) fn difference() -> Difference {
    let side = |observed: &[&str], breaks: &[&str]| Side {
        observed: observed.iter().map(|line| (*line).to_owned()).collect(),
        breaks: breaks.iter().map(|id| (*id).to_owned()).collect(),
    };
    Difference {
        operation: "DEL".to_owned(),
        kind: DifferenceKind::Status,
        how: "the second DEL: succeeds / fails".to_owned(),
        step: "the second DEL of eth0 of c1".to_owned(),
        spec_version: "1.1.0".to_owned(),
        configuration: "gateway".to_owned(),
        first: side(&["the second DEL of eth0 of c1 exit status 0"], &[]),
        second: side(
            &["the second DEL of eth0 of c1 exit status 1 with code 999: gone"],
            &["del.idempotent"],
        ),
        known: None,
    }
}

/// A result without reason or evidence.
pub(crate) fn case(
    check: &str,
    requirement: &str,
    version: &str,
    case: &str,
    verdict: Verdict,
) -> CaseResult {
    CaseResult {
        check: check.to_owned(),
        title: format!("What {check} asks for holds"),
        requirements: vec![requirement.to_owned()],
        level: "MUST".to_owned(),
        spec_version: Some(version.to_owned()),
        case: case.to_owned(),
        verdict,
        skip_cause: None,
        known: None,
        broken: Vec::new(),
        reason: None,
        evidence: None,
        reproducer: None,
        duration_ms: 12.3,
    }
}

/// An execution that printed nothing.
pub(crate) fn execution(label: &str, exit: &str) -> ExecutionEvidence {
    let variables = [
        ("CNI_COMMAND", label),
        ("CNI_CONTAINERID", "cnitest-1"),
        ("CNI_NETNS", "/run/netns/a"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
    ];
    ExecutionEvidence {
        label: label.to_owned(),
        program: "/opt/cni/bin/bridge".to_owned(),
        environment: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        stdin: r#"{"cniVersion":"1.1.0","name":"cnitest-net","type":"bridge","ipam":{"type":"host-local","subnet":"10.1.0.0/16"}}"#.to_owned(),
        exit: exit.to_owned(),
        stdout: String::new(),
        stderr: String::new(),
        stdout_truncated: false,
        stderr_truncated: false,
        wall_ms: 61.5,
        cpu_ms: 20.25,
        peak_rss_kib: 9000,
    }
}

fn text() -> impl Strategy<Value = String> {
    let odd = prop_oneof![
        6 => proptest::char::range(' ', '~'),
        1 => Just('\n'),
        1 => Just('\u{1b}'),
        1 => any::<char>(),
    ];
    vec(odd, 0..80).prop_map(|chars| chars.into_iter().collect())
}

fn name() -> impl Strategy<Value = String> {
    "[a-z]{1,12}(\\.[a-z-]{1,30})?"
}

fn milliseconds() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..1e7, 0.0..10.0]
}

fn an_execution() -> impl Strategy<Value = ExecutionEvidence> {
    let streams = (text(), text(), text(), any::<bool>(), any::<bool>());
    let variables = proptest::collection::btree_map("[A-Z_]{1,9}", text(), 0..4);
    (name(), text(), variables, streams, (milliseconds(), milliseconds(), any::<u64>())).prop_map(
        |(
            label,
            program,
            environment,
            (stdin, stdout, stderr, out_cut, err_cut),
            (wall_ms, cpu_ms, peak_rss_kib),
        )| {
            ExecutionEvidence {
                label,
                program,
                environment: environment.into_iter().collect(),
                stdin,
                exit: "exit status 1".to_owned(),
                stdout,
                stderr,
                stdout_truncated: out_cut,
                stderr_truncated: err_cut,
                wall_ms,
                cpu_ms,
                peak_rss_kib,
            }
        },
    )
}

fn an_evidence() -> impl Strategy<Value = Evidence> {
    let lines = vec(("[-+ ]", text()).prop_map(|(sign, text)| format!("{sign} {text}")), 0..3);
    (text(), text(), vec(an_execution(), 0..3), lines).prop_map(
        |(expected, observed, executions, kernel_difference)| Evidence {
            expected,
            observed,
            executions,
            kernel_difference,
        },
    )
}

fn a_result() -> impl Strategy<Value = CaseResult> {
    let ids: Vec<&'static str> = requirements().iter().map(|requirement| requirement.id).collect();
    let known = prop_oneof![proptest::sample::select(ids).prop_map(str::to_owned), name()];
    let versions = option::of(proptest::sample::select(&Version::ALL[..]));
    let verdict = proptest::sample::select(&Verdict::ALL[..]);
    let what =
        (name(), text(), vec(known, 1..4), proptest::sample::select(&Level::ALL[..]), versions, text());
    (what, verdict, option::of(text()), option::of(an_evidence()), option::of(text()), milliseconds())
        .prop_map(
            |(
                (check, title, requirements, level, version, case),
                verdict,
                reason,
                evidence,
                reproducer,
                duration_ms,
            )| {
                let passes = verdict == Verdict::Pass;
                CaseResult {
                    check,
                    title,
                    requirements,
                    level: level.to_string(),
                    spec_version: version.map(|version| version.to_string()),
                    case,
                    verdict,
                    skip_cause: (verdict == Verdict::Skip).then_some(SkipCause::Host),
                    known: None,
                    broken: if passes { Vec::new() } else { vec!["a.broken".to_owned()] },
                    reason: if passes {
                        reason
                    } else {
                        Some(format!("because {}", reason.unwrap_or_default()))
                    },
                    evidence: evidence.filter(|_| !passes),
                    reproducer: reproducer.filter(|_| !passes),
                    duration_ms,
                }
            },
        )
}

fn a_run() -> impl Strategy<Value = Run> {
    let subject = (text(), text(), vec(text(), 0..4), option::of(text()), option::of(text()));
    let rest = (any::<u64>(), any::<bool>(), any::<bool>(), milliseconds(), vec(text(), 0..3));
    (subject, rest, vec(a_result(), 0..6)).prop_map(
        |((name, path, supported, target, note), (seed, strict, read, duration_ms, missing), results)| {
            let mut run = run("x", results);
            run.environment.missing_features = missing;
            run.seed = seed;
            run.strict = strict;
            run.duration_ms = duration_ms;
            run.subject.name = name;
            run.subject.path = path;
            run.subject.supported_versions = supported;
            run.subject.target = target;
            run.subject.target_note = note;
            run.options.only = run.subject.supported_versions.clone();
            run.options.timeout_ms = seed;
            run.options.target_file =
                run.subject.target.clone().map(|text| TargetText { file: text.clone(), text });
            if !read {
                run.subject.sha256.clear();
            }
            run.finish();
            run
        },
    )
}

/// Any set of runs, with texts of all sorts.
pub(crate) fn any_set() -> impl Strategy<Value = RunSet> {
    vec(a_run(), 0..4).prop_map(RunSet::new)
}
