//! JUnit XML for CI systems: a suite for each subject, a test case for each case of a check.

use std::io;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite, XmlString};

use crate::evidence;
use crate::model::{CaseResult, Run, RunSet, Verdict};
use crate::text::visible;

/// Writes the report. JUnit knows no warnings: one is a failure in a strict run and a success with output in any other.
/// Nor does it know accepted failures: one is a skipped test, as expected failures of other tools are.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(set: &RunSet, out: &mut dyn io::Write) -> io::Result<()> {
    let mut report = Report::new("cnitest");
    report.set_time(time(set.runs.iter().map(|run| run.duration_ms).sum()));
    report.add_test_suites(set.runs.iter().map(suite));
    report.serialize(out).map_err(io::Error::other)
}

fn suite(run: &Run) -> TestSuite {
    let mut suite = TestSuite::new(xml(&run.subject.name));
    suite.set_time(time(run.duration_ms));
    suite.extra.insert(xml("timestamp"), xml(&run.started));
    for (name, value) in properties(run) {
        suite.add_property((xml(name), xml(&value)));
    }
    suite.add_test_cases(run.results.iter().map(|result| case(run, result)));
    suite
}

fn properties(run: &Run) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("tool", format!("{} {}", run.tool.name, run.tool.version)),
        ("seed", run.seed.to_string()),
        ("strict", run.strict.to_string()),
        ("kernel", run.environment.kernel.clone()),
        ("arch", run.environment.arch.clone()),
        ("privilege", run.environment.privilege.clone()),
        ("missingFeatures", run.environment.missing_features.join(", ")),
        ("path", run.subject.path.clone()),
        ("sha256", run.subject.sha256.clone()),
        ("supportedVersions", run.subject.supported_versions.join(", ")),
        ("target", run.subject.target.clone().unwrap_or_default()),
        ("conformant", run.conformant.to_string()),
    ];
    if let Some(baseline) = &run.baseline {
        all.push(("baseline", baseline.file.clone()));
        all.push(("baselineSha256", baseline.sha256.clone()));
        all.push(("known", baseline.known.to_string()));
        for entry in &baseline.unexpected_passes {
            let text = format!("{} {}: now passes: remove from the baseline", entry.check, entry.place());
            all.push(("unexpectedPass", text));
        }
        for stale in &baseline.stale {
            let text = format!("{} {}: {}", stale.entry.check, stale.entry.place(), stale.why);
            all.push(("staleEntry", text));
        }
    }
    all
}

fn case(run: &Run, result: &CaseResult) -> TestCase {
    let version = result.spec_version.as_ref().map(|version| format!(" [{version}]")).unwrap_or_default();
    let name = format!("{}{version} {}", result.check, result.case);
    let mut case = TestCase::new(xml(name.trim_end()), status(run, result));
    case.set_classname(xml(&run.subject.name));
    case.set_time(time(result.duration_ms));
    // Where there is no element to hold it, what there is to say is output.
    let unsaid = matches!(case.status, TestCaseStatus::Success { .. });
    let said = match result.verdict {
        Verdict::Warn => {
            let known = if result.known.is_some() { "known " } else { "" };
            format!("{known}warning: {} {}\n{}", result.level, requirement(result), evidence::text(result))
        }
        _ => evidence::text(result),
    };
    if unsaid && !said.is_empty() {
        case.set_system_out(xml(&said));
    }
    case
}

fn status(run: &Run, result: &CaseResult) -> TestCaseStatus {
    let mut status = match result.verdict {
        Verdict::Pass => return TestCaseStatus::success(),
        Verdict::Warn if !run.strict => return TestCaseStatus::success(),
        Verdict::Fail | Verdict::Warn if result.known.is_some() => return known(run, result),
        Verdict::Fail | Verdict::Warn => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Skip => TestCaseStatus::skipped(),
    };
    let reason = result.reason.as_deref().unwrap_or_default();
    status.set_message(xml(reason.lines().next().unwrap_or_default()));
    if result.verdict != Verdict::Skip {
        status.set_type(xml(&format!("{} {}", result.level, requirement(result))));
        status.set_description(xml(&format!("{}\n{}", result.title, evidence::text(result))));
    }
    status
}

/// A deviation that the baseline accepts.
fn known(run: &Run, result: &CaseResult) -> TestCaseStatus {
    let file = run.baseline.as_ref().map_or("", |baseline| baseline.file.as_str());
    let why = result.known.as_ref().and_then(|known| known.reason.as_ref());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let mut status = TestCaseStatus::skipped();
    status.set_message(xml(&format!("known {} (baseline {file}){why}", result.verdict)));
    status.set_type(xml(&format!("{} {}", result.level, requirement(result))));
    status.set_description(xml(&format!("{}\n{}", result.title, evidence::text(result))));
    status
}

fn requirement(result: &CaseResult) -> &str {
    result.requirements.first().map_or("", String::as_str)
}

fn xml(text: &str) -> XmlString {
    XmlString::new(visible(text))
}

fn time(milliseconds: f64) -> Duration {
    Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default()
}
