//! What a report says of a subject before anything else.

use crate::model::{FuzzTally, Run, Verdict};
use crate::page::{BOLD, FAINT, Page};
use crate::text::{clip, count, duration};

use super::{outcome_style, verdict_style};

const COLUMN: usize = 12;
/// Digits of a SHA-256 that tell executables apart.
const DIGITS: usize = 12;

/// Writes it. What `before`, the run shown before this one, said of the circumstances already is not said again.
pub(super) fn write(page: &mut Page, run: &Run, before: Option<&Run>) {
    let name = page.paint(BOLD, &clip(&run.subject.name, 40));
    // Whether a plugin is conformant is not what a comparison asks.
    let outcome = match run.against() {
        Some(_) => page.paint(BOLD, "COMPARED"),
        None => page.paint(outcome_style(run.outcome()), &run.outcome().to_string()),
    };
    page.line(&format!("{name}  {outcome}"));
    page.line(&format!("  {}  in {}", counts(page, run), duration(run.duration_ms)));
    let mut field = |label: &str, text: &str| page.field(2, label, FAINT, COLUMN, text);
    field("versions", &versions(&run.subject.supported_versions));
    field(&run.subject.kind, &executable(&run.subject.path, &run.subject.sha256));
    if let Some(release) = &run.subject.upgrade_from {
        let executable = executable(&release.path, &release.sha256);
        field("from", &format!("{executable}, {}", versions(&release.supported_versions)));
    }
    if let Some(against) = run.against() {
        let other = &against.plugin;
        let executable = executable(&other.path, &other.sha256);
        field("against", &format!("{executable}, {}", versions(&other.supported_versions)));
    }
    if let Some(target) = &run.subject.target {
        field("target", target);
    }
    if let Some(note) = &run.subject.target_note {
        field("note", note);
    }
    if let Some(tally) = &run.fuzz {
        field("played", &played(tally));
    }
    if let Some(baseline) = &run.baseline {
        field("baseline", &super::known::summary(baseline));
    }
    // What the headings of two runs have in common is said by the first.
    let same = before.filter(|before| host(before) == host(run));
    let new_host = same.is_none().then(|| host(run));
    let new_lacks = lacks(run).filter(|text| same.and_then(lacks).as_ref() != Some(text));
    let told: Vec<String> = new_host.into_iter().chain(new_lacks).collect();
    if !told.is_empty() {
        field("host", &told.join("; "));
    }
    if before.is_none_or(|before| circumstances(before) != circumstances(run)) {
        field("run", &format!("{}, {}", circumstances(run), run.started));
    }
}

/// How much the hammer played.
fn played(tally: &FuzzTally) -> String {
    let (scenarios, executions) = (count(tally.cases, "scenario"), count(tally.executions, "execution"));
    let broken = match tally.constraints {
        0 => String::new(),
        all => format!("; broke {} of {}", tally.constraints_broken, count(all, "constraint")),
    };
    let behaviours = count(tally.behaviours, "behaviour");
    let counters = match tally.coverage {
        Some(counters) => format!(" and {} of coverage", count(counters, "counter")),
        None => String::new(),
    };
    format!("{scenarios}, {executions}{broken}; saw {behaviours}{counters}")
}

/// With what it ran.
fn circumstances(run: &Run) -> String {
    let strict = if run.strict { ", strict" } else { "" };
    format!("{} {}, seed {}{strict}", run.tool.name, run.tool.version, run.seed)
}

/// Every count, those that are not zero in colour.
fn counts(page: &Page, run: &Run) -> String {
    let one = |verdict: Verdict| {
        let number = run.summary.count(verdict);
        let style = if number == 0 { FAINT } else { verdict_style(verdict) };
        page.paint(style, &format!("{number} {verdict}"))
    };
    Verdict::ALL.map(one).join("  ")
}

fn versions(supported: &[String]) -> String {
    match supported {
        [] => "none that it told".to_owned(),
        versions => format!("CNI {}", versions.join(", ")),
    }
}

fn executable(path: &str, sha256: &str) -> String {
    match sha256.get(..DIGITS) {
        Some(digest) => format!("{path} (sha256 {digest}…)"),
        None => path.to_owned(),
    }
}

fn host(run: &Run) -> String {
    let environment = &run.environment;
    format!("Linux {} {}, as {}", environment.kernel, environment.arch, privilege(run))
}

/// What cases wanted and the kernel lacks.
fn lacks(run: &Run) -> Option<String> {
    let missing = &run.environment.missing_features;
    (!missing.is_empty()).then(|| format!("lacks {}", missing.join(", ")))
}

fn privilege(run: &Run) -> &str {
    match run.environment.privilege.as_str() {
        "user namespace" => "an ordinary user (in a user namespace)",
        other => other,
    }
}
