//! Runs of churn: JSON and its schema, the table, the page, and two runs side by side.

use cnitest_reports::churn::compare::Comparison;
use cnitest_reports::churn::statistics::Estimate;
use cnitest_reports::churn::{
    ChurnOptions, ChurnPlugin, ChurnRun, ChurnSubject, Cost, Distribution, Drift, Duplicates, Failure, Fit,
    Growth, GrowthPoint, Held, Leak, Leaks, Load, Machine, Quiet, Soak, Timing, Window, encode, histogram,
    html, human, record, schema,
};
use cnitest_reports::human::Style;
use cnitest_reports::model::{ExecutionEvidence, Tool};
use serde_json::Value;

/// Times from 100 % to 120 % of `base` microseconds.
fn times(base: f64) -> impl Iterator<Item = f64> {
    (0..200).map(move |step| base * (1.0 + f64::from(step) / 1000.0))
}

fn timing(plugin: Option<&str>, operation: &str, base: f64) -> Timing {
    let slice = || {
        let mut slice = histogram();
        times(base).for_each(|time| record(&mut slice, time));
        encode(&slice)
    };
    Timing {
        plugin: plugin.map(str::to_owned),
        operation: operation.to_owned(),
        failed: 0,
        latency: Distribution::of_samples(times(base)),
        response: None,
        cpu: Distribution::of_samples(times(base / 2.0)),
        slices: (0..20).map(|_| slice()).collect(),
    }
}

/// A run whose plugins take so many times as long as usual.
fn run(slower: f64) -> ChurnRun {
    let timings =
        |plugin| vec![timing(plugin, "ADD", 8000.0 * slower), timing(plugin, "DEL", 5000.0 * slower)];
    let quiet = |plugin: &str, delegated| Quiet {
        plugin: plugin.to_owned(),
        operation: "ADD".to_owned(),
        delegated,
        latency: Distribution::of_samples(times(4000.0 * slower)),
        cpu: Distribution::of_samples(times(2000.0 * slower)),
        peak_kib: 2400,
        private_kib: 300,
    };
    let plugin =
        |name: &str, delegated| ChurnPlugin { name: name.to_owned(), sha256: "0".repeat(64), delegated };
    let mut run = ChurnRun {
        churn_version: "1".to_owned(),
        tool: Tool { name: "cnitest".to_owned(), version: "0.1.0".to_owned() },
        environment: Machine {
            kernel: "6.18".to_owned(),
            arch: "x86_64".to_owned(),
            privilege: "root".to_owned(),
            processors: 2,
            load_average: Some(0.1),
        },
        started: "2026-01-01T00:00:00Z".to_owned(),
        duration_ms: 1000.0,
        subject: ChurnSubject {
            configuration: "bundled".to_owned(),
            networks: vec!["churn".to_owned()],
            spec_version: "1.0.0".to_owned(),
            plugin_dir: None,
            plugins: vec![plugin("bridge", false), plugin("host-local", true)],
        },
        options: ChurnOptions {
            containers: Some(200),
            concurrency: 2,
            duration_ms: None,
            rate: None,
            attached: 0,
            check: false,
            timeout_ms: 60_000,
        },
        quiet: vec![quiet("bridge", false), quiet("host-local", true)],
        load: Some(Load {
            attachments: 200,
            executions: 400,
            elapsed_ms: 2000.0 * slower,
            throughput: 100.0 / slower,
            most_at_once: 2,
            most_attached: 2,
            operations: timings(None),
            plugins: timings(Some("bridge")),
        }),
        growth: None,
        soak: None,
        failures: Vec::new(),
        leaks: Leaks::default(),
        duplicates: Duplicates::default(),
        clean: false,
    };
    run.finish();
    run
}

/// A run with everything that can be in one.
fn troubled() -> ChurnRun {
    let mut run = run(1.0);
    let estimate = |value: f64| Estimate { value, low: value - 0.1, high: value + 0.1 };
    run.load.as_mut().expect("load").operations[0].response = Some(Distribution::of_samples(times(90_000.0)));
    let point = |attachments: u64, us: f64| GrowthPoint {
        attachments,
        operation: "ADD".to_owned(),
        latency: Distribution::of_samples(times(us)),
        cpu: Distribution::of_samples(times(us)),
        latency_ratio: estimate(us / 4000.0),
        cpu_ratio: estimate(us / 4000.0),
    };
    run.growth = Some(Growth {
        points: vec![point(1, 4000.0), point(1000, 9000.0)],
        fits: vec![Fit { operation: "ADD".to_owned(), cost: Cost::Latency, exponent: estimate(0.2) }],
        ended: Some("at 1023 attachments: bridge ADD: code 100: Exchange full".to_owned()),
    });
    let window = |index: u32| Window {
        start_ms: f64::from(index) * 1000.0,
        attachments: 100,
        add_p50_us: 8000,
        add_p99_us: 9000,
        del_p50_us: 5000,
        del_p99_us: 6000,
        cpu_us: 4000.0,
        peak_kib: 2400,
        held: Held { links: 2, routes: 10, rules: 3, files: u64::from(index) + 1, bytes: 30, processes: 0 },
    };
    run.soak = Some(Soak {
        windows: (0..4).map(window).collect(),
        drifts: vec![Drift { figure: "files".to_owned(), change: estimate(1.2), grows: true }],
    });
    run.failures = vec![Failure {
        operation: "DEL".to_owned(),
        plugin: "bridge".to_owned(),
        what: "code 999: running [iptables -t nat -D #]".to_owned(),
        count: 17,
        first: ExecutionEvidence {
            label: "DEL".to_owned(),
            program: "/opt/cni/bin/bridge".to_owned(),
            environment: vec![("CNI_COMMAND".to_owned(), "DEL".to_owned())],
            stdin: "{}".to_owned(),
            exit: "exit status 1".to_owned(),
            stdout: "{\"code\":999}".to_owned(),
            stderr: "<script>alert(1)</script>".to_owned(),
            stdout_truncated: false,
            stderr_truncated: false,
            wall_ms: 1.5,
            cpu_ms: 1.0,
            peak_rss_kib: 2400,
        },
    }];
    run.leaks = Leaks {
        count: 3,
        kinds: vec![Leak { count: 3, example: "+ host link veth1234".to_owned() }],
        changed: vec!["~ file /var/lib/cni/networks/churn/last_reserved_ip.0".to_owned()],
    };
    run.duplicates =
        Duplicates { count: 1, examples: vec!["10.64.0.2 went to c2 while c1 had it".to_owned()] };
    run.finish();
    run
}

fn text(write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("memory");
    String::from_utf8(out).expect("text")
}

#[test]
fn runs_fit_their_schema_and_are_read_back() {
    let document: Value = serde_json::from_str(schema()).expect("the schema is JSON");
    assert!(jsonschema::meta::is_valid(&document));
    let validator = jsonschema::validator_for(&document).expect("a schema");
    for run in [run(1.0), troubled()] {
        let written = text(|out| run.write(out));
        let value: Value = serde_json::from_str(&written).expect("JSON");
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(ChurnRun::parse(&written).expect("a run"), run);
    }
    let other = text(|out| run(1.0).write(out)).replace("\"churnVersion\": \"1\"", "\"churnVersion\": \"9\"");
    assert!(ChurnRun::parse(&other).expect_err("version").to_string().contains("version 9"));
}

#[test]
fn a_run_is_clean_when_nothing_went_wrong() {
    assert!(run(1.0).clean);
    let troubled = troubled();
    assert!(!troubled.clean);
    let only = |change: &dyn Fn(&mut ChurnRun)| {
        let mut run = run(1.0);
        change(&mut run);
        run.finish();
        run.clean
    };
    assert!(!only(&|run| run.failures.clone_from(&troubled.failures)));
    assert!(!only(&|run| run.leaks.clone_from(&troubled.leaks)));
    assert!(!only(&|run| run.duplicates.clone_from(&troubled.duplicates)));
    assert!(!only(&|run| run.soak.clone_from(&troubled.soak)), "files that become ever more are a leak");
}

#[test]
fn the_table_tells_everything() {
    insta::assert_snapshot!("churn_clean", text(|out| human::write(&run(1.0), &Style::default(), out)));
    insta::assert_snapshot!("churn_troubled", text(|out| human::write(&troubled(), &Style::default(), out)));
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = text(|out| html::write(&troubled(), out));
    assert_eq!(page.matches("<svg ").count(), 5);
    assert_eq!(page.matches("http").count(), 5, "the name of SVG's vocabulary, once for each plot");
    assert!(!page.contains("<script"), "what plugins print is text");
}

#[test]
fn slower_runs_are_told_from_equal_ones() {
    let compared = |after: &ChurnRun| Comparison::of(&run(1.0), after, 0.1).expect("histograms");
    assert_eq!(compared(&run(1.0)).regressions(), 0);
    assert_eq!(compared(&run(1.05)).regressions(), 0, "within the threshold");
    let slower = compared(&run(1.3));
    assert_eq!(slower.regressions(), 12, "median, 99 % and CPU time of four");
    assert_eq!(compared(&troubled()).regressions(), 3, "failures, leaks, duplicates");
    insta::assert_snapshot!("churn_compared", text(|out| human::compare(&slower, &Style::default(), out)));
}
