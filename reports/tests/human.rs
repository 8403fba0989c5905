//! The report for a person.

mod common;

use cnitest_reports::exit_code;
use cnitest_reports::human::{Style, write};
use cnitest_reports::model::{
    CaseResult, DifferenceKind, Evidence, Outcome, Run, RunSet, SkipCause, Verdict,
};
use proptest::prelude::*;

use common::{any_set, case, comparison, difference, execution, run};

const PLAIN: Style = Style { color: false, width: 100, verbose: false };

fn shown(runs: Vec<Run>, style: Style) -> String {
    let mut out = Vec::new();
    write(&RunSet::new(runs), &style, &mut out).expect("memory");
    String::from_utf8(out).expect("UTF-8")
}

fn passing() -> Run {
    let mut results: Vec<CaseResult> = ["0.4.0", "1.0.0", "1.1.0"]
        .into_iter()
        .flat_map(|version| ["add.succeeds", "del.idempotent"].map(|check| (version, check)))
        .map(|(version, check)| case(check, "del.idempotent", version, "layer-2", Verdict::Pass))
        .collect();
    results[1].reason = Some("note: the error object has a key that CNI does not define: `hint`".to_owned());
    run("loopback", results)
}

fn skip(check: &str, reason: &str) -> CaseResult {
    let mut result = case(check, "gc.removes-stale", "1.1.0", "bridge", Verdict::Skip);
    result.reason = Some(reason.to_owned());
    result
}

fn second_del_fails(version: &str, configuration: &str) -> CaseResult {
    let mut result = case("del.twice", "del.idempotent", version, configuration, Verdict::Fail);
    result.title = "A second DEL of the same attachment succeeds".to_owned();
    let observed = "the second DEL exit status 1 with code 999: could not delete chain CNI-7f: No such file or directory";
    result.reason = Some(format!(
        "{observed} (del.idempotent)\nstderr is not empty (exec.result-on-stdout)\nnote: the first DEL took 2.1 s"
    ));
    result.requirements.push("exec.result-on-stdout".to_owned());
    result.broken = result.requirements.clone();
    let mut add = execution("ADD", "exit status 0");
    add.stdout = "{\"cniVersion\":\"1.1.0\"}".to_owned();
    let del = execution("DEL", "exit status 0");
    let mut second = execution("the second DEL", "exit status 1");
    second.environment[0].1 = "DEL".to_owned();
    second.stdout =
        r#"{"code":999,"msg":"could not delete chain CNI-7f: No such file or directory"}"#.to_owned();
    second.stderr = "iptables: \u{1b}[31mNo chain/target/match by that name.\u{1b}[0m\n".to_owned();
    result.evidence = Some(Evidence {
        expected: "DEL exits with status 0".to_owned(),
        observed: observed.to_owned(),
        executions: vec![add, del, second],
        kernel_difference: vec![
            "+ host: link veth5f2c, master cni0".to_owned(),
            "- host: chain CNI-7f in ip nat".to_owned(),
        ],
    });
    result.reproducer = Some("#!/bin/sh\nset -u\nexit 1\n".to_owned());
    result
}

fn no_version(version: &str) -> CaseResult {
    let mut result = case("error.version", "error.cniversion", version, "bridge", Verdict::Warn);
    result.level = "SHOULD".to_owned();
    result.title = "An error object names its version".to_owned();
    result.reason = Some("the error object has no cniVersion (error.cniversion)".to_owned());
    result.evidence = Some(Evidence {
        expected: format!("cniVersion {version}"),
        observed: "the error object has no cniVersion".to_owned(),
        executions: vec![execution("ADD", "exit status 1")],
        kernel_difference: Vec::new(),
    });
    result
}

fn mixed() -> Run {
    let mut otherwise = second_del_fails("1.0.0", "vlan");
    if let Some(evidence) = &mut otherwise.evidence {
        evidence.observed = "the second DEL still running at its deadline and killed".to_owned();
    }
    run(
        "bridge",
        vec![
            case("add.succeeds", "del.idempotent", "1.0.0", "bridge", Verdict::Pass),
            case("add.succeeds", "del.idempotent", "1.1.0", "bridge", Verdict::Pass),
            second_del_fails("1.0.0", "bridge"),
            otherwise,
            second_del_fails("1.1.0", "bridge"),
            second_del_fails("1.1.0", "vlan"),
            no_version("1.0.0"),
            no_version("1.1.0"),
            skip("gc.forwards", "the kernel lacks ipvlan"),
            skip("gc.keeps-valid", "the plugin does not answer GC with success"),
            skip("gc.removes-stale", "the plugin does not answer GC with success"),
        ],
    )
}

fn undecided() -> Run {
    let mut error = case("add.succeeds", "del.idempotent", "1.1.0", "bridge", Verdict::Error);
    error.reason = Some(
        "cnitest could not decide: the arena's agent ended: broken pipe; start cnitest again".to_owned(),
    );
    run("portmap", vec![case("version.answers", "del.idempotent", "1.1.0", "", Verdict::Pass), error])
}

fn skipped() -> Run {
    run(
        "mystery",
        vec![skip(
            "add.succeeds",
            "no target describes this plugin; `cnitest target init` writes one to start from",
        )],
    )
}

/// A run that Ctrl-C ended.
fn cut_short() -> Run {
    let mut rest = skip("add.succeeds", "the run was interrupted");
    rest.skip_cause = Some(SkipCause::Ended);
    run("bridge", vec![case("version.answers", "del.idempotent", "1.1.0", "", Verdict::Pass), rest])
}

#[test]
fn what_was_not_played_is_undecided() {
    let run = cut_short();
    assert_eq!((run.outcome(), run.accepted_outcome()), (Outcome::Undecided, Outcome::Undecided));
    assert_eq!((run.conformant, exit_code(&RunSet::new(vec![run.clone()]))), (false, 2));
    insta::assert_snapshot!(shown(vec![run], PLAIN));
}

#[test]
fn all_pass() {
    insta::assert_snapshot!(shown(vec![passing()], PLAIN));
}

#[test]
fn failures_warnings_and_skips() {
    insta::assert_snapshot!(shown(vec![mixed()], PLAIN));
}

#[test]
fn failures_warnings_and_skips_verbose() {
    insta::assert_snapshot!(shown(vec![mixed()], Style { verbose: true, ..PLAIN }));
}

#[test]
fn failures_warnings_and_skips_in_colour() {
    insta::assert_snapshot!(shown(vec![mixed()], Style { color: true, ..PLAIN }).replace('\u{1b}', "␛"));
}

#[test]
fn failures_in_a_narrow_terminal() {
    insta::assert_snapshot!(shown(vec![mixed()], Style { width: 10, ..PLAIN }));
}

#[test]
fn several_subjects() {
    insta::assert_snapshot!(shown(vec![passing(), undecided(), skipped()], PLAIN));
}

#[test]
fn what_several_subjects_skip_for_one_reason_is_told_once() {
    let text = shown(vec![skipped(), mixed(), skipped()], PLAIN);
    let told: Vec<&str> = text.lines().filter(|line| line.starts_with("SKIP")).collect();
    assert_eq!(told.len(), 3, "{text}");
    let place = text.find(told[0]).expect("it is there");
    assert!(text[place..].lines().take(3).any(|line| line == "      mystery: add.succeeds"), "{text}");
    assert!(
        told.iter().any(|line| line.starts_with("SKIP  2 cases: no target describes this plugin")),
        "{text}"
    );
}

#[test]
fn headings_tell_of_the_host_what_those_before_did_not() {
    let (mut lacking, mut plain) = (passing(), passing());
    plain.environment.missing_features.clear();
    lacking.environment.missing_features = vec!["a feature".to_owned()];
    let text = shown(vec![plain.clone(), plain.clone(), lacking.clone(), lacking, plain], PLAIN);
    let told: Vec<&str> = text.lines().filter(|line| line.starts_with("  host ")).collect();
    assert_eq!(told.len(), 2, "{text}");
    assert!(told[0].starts_with("  host      Linux "), "{text}");
    assert_eq!(told[1], "  host      lacks a feature");
}

#[test]
fn several_subjects_in_colour() {
    insta::assert_snapshot!(
        shown(vec![passing(), skipped()], Style { color: true, ..PLAIN }).replace('\u{1b}', "␛")
    );
}

#[test]
fn cases_that_could_not_be_decided() {
    insta::assert_snapshot!(shown(vec![undecided()], PLAIN));
}

#[test]
fn nothing_decided() {
    insta::assert_snapshot!(shown(vec![skipped()], PLAIN));
}

#[test]
fn nothing_tested() {
    assert_eq!(shown(Vec::new(), PLAIN), "Nothing was tested.\n");
}

#[test]
fn a_strict_run_with_warnings_is_not_conformant() {
    let mut run = run("bridge", vec![no_version("1.1.0")]);
    run.strict = true;
    run.finish();
    let text = shown(vec![run], PLAIN);
    assert!(text.starts_with("bridge  NOT CONFORMANT\n"), "{text}");
    assert!(text.ends_with("bridge is not conformant: 1 warning in a strict run.\n"), "{text}");
}

#[test]
fn long_output_is_cut_with_a_note() {
    let mut result = second_del_fails("1.1.0", "bridge");
    let evidence = result.evidence.as_mut().expect("evidence");
    evidence.executions[2].stderr = "goroutine\n".repeat(100) + "last";
    evidence.executions[2].stdin = "[".repeat(5000);
    evidence.executions[2].stdout_truncated = true;
    let run = run("bridge", vec![result]);
    let brief = shown(vec![run.clone()], PLAIN);
    assert!(brief.contains("… 61 more lines; the JSON report has all\n"), "{brief}");
    assert!(brief.contains(&format!("│ {}… 4600 more characters\n", "[".repeat(400))), "{brief}");
    assert!(brief.contains("[cnitest kept no more than this]"), "{brief}");
    let all = shown(vec![run], Style { verbose: true, ..PLAIN });
    assert!(all.contains("│ last\n") && all.contains(&"[".repeat(5000)));
}

proptest! {
    #![proptest_config(common::fixed())]

    #[test]
    fn only_what_programs_printed_is_wider_than_the_page(set in any_set(), width in 60usize..140, verbose: bool) {
        let text = shown(set.runs, Style { color: false, width, verbose });
        for line in text.lines() {
            prop_assert!(line.chars().count() <= width || line.trim_start().starts_with('│'), "{line:?}");
            prop_assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
        }
    }

    #[test]
    fn colour_changes_nothing_but_colour(set in any_set()) {
        let plain = shown(set.runs.clone(), PLAIN);
        let coloured = shown(set.runs, Style { color: true, ..PLAIN });
        let mut bare = String::new();
        for (index, part) in coloured.split("\u{1b}[").enumerate() {
            bare.push_str(if index == 0 { part } else { part.split_once('m').expect("a whole escape").1 });
        }
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        prop_assert_eq!(trimmed(&bare), trimmed(&plain));
    }
}

#[test]
fn differences_of_two_plugins() {
    let mut state = difference();
    state.kind = DifferenceKind::State;
    state.how = "only the first has host link cni# mtu #".to_owned();
    state.first.observed = (0..9).map(|number| format!("host link cni{number} mtu 1500")).collect();
    state.second.observed.clear();
    insta::assert_snapshot!(shown(vec![comparison(vec![difference(), state])], PLAIN));
    let alike = shown(vec![comparison(Vec::new())], PLAIN);
    assert!(alike.contains("bridge does not differ from /opt/other/bridge in 120 scenarios."), "{alike}");
    for word in ["CONFORMANT", "UNDECIDED"] {
        assert!(!alike.contains(word), "{alike}");
    }
}

#[test]
fn a_difference_is_told_by_the_exit_status_and_is_no_deviation() {
    let status = |differences| exit_code(&RunSet::new(vec![comparison(differences)]));
    assert_eq!((status(Vec::new()), status(vec![difference()])), (0, 1));
    let mut undecided = comparison(Vec::new());
    undecided.results.push(case("fuzz", "del.idempotent", "1.1.0", "x", Verdict::Error));
    undecided.finish();
    assert_eq!(exit_code(&RunSet::new(vec![undecided])), 2);
    let run = comparison(vec![difference()]);
    assert_eq!((run.summary.fail, run.summary.warn, run.conformant), (0, 0, false));
}
