//! The report in Markdown, for a maintainer: counts, then each distinct deviation in the order of gravity, with what was
//! judged about it, then what was skipped and what exactly was tested.

pub(crate) mod escape;
mod finding;

use std::io;

use self::escape::{cell, code, prose};
use crate::model::Verdict;
use crate::summary::{Finding, SetSummary};
use crate::text::{count, some_of};

/// Names of plugins or checks in a cell.
const NAMED: usize = 4;

/// Writes the report.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(summary: &SetSummary, out: &mut dyn io::Write) -> io::Result<()> {
    let mut text = String::new();
    head(&mut text, summary);
    counts(&mut text, summary);
    judging(&mut text, summary);
    for (verdict, title) in [
        (Verdict::Fail, "Failures: what the specification requires"),
        (Verdict::Error, "Undecided: where cnitest should have decided"),
        (Verdict::Warn, "Warnings: what the specification recommends or implies"),
    ] {
        let mut findings = summary.findings.iter().filter(|finding| finding.verdict == verdict).peekable();
        if findings.peek().is_some() {
            text.push_str(&format!("\n## {title}\n"));
            findings.for_each(|finding| finding::write(&mut text, summary, finding));
        }
    }
    by_plugin(&mut text, summary);
    skips(&mut text, summary);
    subjects(&mut text, summary);
    out.write_all(text.as_bytes())
}

fn head(text: &mut String, summary: &SetSummary) {
    let what = match summary.subjects.as_slice() {
        [subject] => prose(&subject.name),
        subjects => count(subjects.len() as u64, "plugin"),
    };
    let release = summary.release.as_ref().map(|release| format!(", release {}", prose(release)));
    text.push_str(&format!("# Conformance to CNI: {what}{}\n\n", release.unwrap_or_default()));
    let with = distinct(summary.subjects.iter().map(|subject| {
        let environment = &subject.environment;
        let strict = if subject.strict { ", strict" } else { "" };
        let privilege = match environment.privilege.as_str() {
            "user namespace" => "an ordinary user (in a user namespace)",
            other => other,
        };
        format!(
            "{} {}, seed {}{strict}, on Linux {} {}, as {privilege}",
            subject.tool.name, subject.tool.version, subject.seed, environment.kernel, environment.arch
        )
    }));
    let days = distinct(summary.subjects.iter().map(|subject| subject.started.chars().take(10).collect()));
    let lacks = distinct(
        summary.subjects.iter().flat_map(|subject| subject.environment.missing_features.iter().cloned()),
    );
    let lacks = match lacks.as_slice() {
        [] => String::new(),
        lacks => format!(" This kernel lacks {}; what needs that was skipped.", prose(&lacks.join(", "))),
    };
    text.push_str(&format!("Tested {} with {}.{lacks}\n", prose(&days.join(", ")), prose(&with.join("; "))));
}

/// Each text once, in the order in which they first come.
fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for text in texts {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

fn counts(text: &mut String, summary: &SetSummary) {
    text.push_str("\n| plugin | conformant | pass | fail | warn | skip | error | deviations |\n");
    text.push_str("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for subject in &summary.subjects {
        let conformant = if subject.conformant { "yes" } else { "**no**" };
        let numbers = Verdict::ALL.map(|verdict| subject.counts.count(verdict).to_string()).join(" | ");
        let deviations =
            summary.findings.iter().filter(|finding| finding.subjects().contains(&subject.name.as_str()));
        let deviations = deviations.count();
        text.push_str(&format!(
            "| {} | {conformant} | {numbers} | {deviations} |\n",
            cell(&prose(&subject.name))
        ));
    }
    text.push_str(
        "\nThe numbers are cases; a deviation is one check and one requirement in all cases and versions that show it.\n",
    );
}

/// What is left to judge, and which judgements are out of date.
fn judging(text: &mut String, summary: &SetSummary) {
    if summary.judgements.is_empty() && summary.unused_judgements.is_empty() {
        return;
    }
    let names = |findings: Vec<&Finding>| {
        let name = |finding: &&Finding| {
            format!("{} ({})", code(&finding.check), prose(&finding.subjects().join(", ")))
        };
        findings.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    for (verdict, what) in [(Verdict::Fail, "Failures"), (Verdict::Warn, "Warnings")] {
        let findings: Vec<&Finding> = summary.not_judged(verdict).collect();
        if !findings.is_empty() {
            text.push_str(&format!("\n**{what} that nobody has judged yet**: {}.\n", names(findings)));
        }
    }
    let unused: Vec<String> = summary.unused_judgements.iter().map(|id| code(id)).collect();
    if !unused.is_empty() {
        text.push_str(&format!(
            "\n**Judgements about nothing that was found**: {}. Remove them, or say in `releases` where they hold.\n",
            unused.join(", ")
        ));
    }
    for judgement in summary.fixed_but_seen() {
        let fixed = judgement.fixed.as_ref().map_or("", |fix| fix.release.as_str());
        text.push_str(&format!(
            "\n**The judgement {} says fixed in {}, but it shows here**.\n",
            code(&judgement.id),
            prose(fixed)
        ));
    }
}

/// Which findings concern which plugin; of no use where there is but one.
fn by_plugin(text: &mut String, summary: &SetSummary) {
    if summary.subjects.len() < 2 {
        return;
    }
    text.push_str("\n## By plugin\n\n");
    for subject in &summary.subjects {
        let name = subject.name.as_str();
        let findings = summary.findings.iter().filter(|finding| finding.subjects().contains(&name));
        let mut checks: Vec<String> = Vec::new();
        for finding in findings {
            let check = match finding.verdict {
                Verdict::Fail => format!("**{}**", prose(&finding.check)),
                _ => prose(&finding.check),
            };
            if !checks.contains(&check) {
                checks.push(check);
            }
        }
        let checks = if checks.is_empty() { "nothing".to_owned() } else { checks.join(", ") };
        text.push_str(&format!("- {}: {checks}\n", prose(name)));
    }
    text.push_str("\nFailures are bold.\n");
}

fn skips(text: &mut String, summary: &SetSummary) {
    if summary.skips.is_empty() {
        return;
    }
    text.push_str("\n## Skipped: what could not be decided here\n\n| cases | reason | plugins | checks |\n| ---: | --- | --- | --- |\n");
    for skips in &summary.skips {
        let names = |names: &[String]| cell(&prose(&some_of(names, NAMED, ", ")));
        text.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            skips.cases,
            cell(&prose(&skips.reason)),
            names(&skips.subjects),
            names(&skips.checks)
        ));
    }
}

fn subjects(text: &mut String, summary: &SetSummary) {
    text.push_str("\n## What was tested\n\n| plugin | SHA-256 | versions it supports | began | target |\n| --- | --- | --- | --- | --- |\n");
    for subject in &summary.subjects {
        let digest =
            if subject.sha256.is_empty() { "not readable".to_owned() } else { code(&subject.sha256) };
        let target = subject.target.as_deref().unwrap_or("none");
        let note = subject.target_note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        text.push_str(&format!(
            "| {} | {digest} | {} | {} | {} |\n",
            cell(&prose(&subject.name)),
            cell(&prose(&subject.supported_versions.join(", "))),
            cell(&prose(&subject.started)),
            cell(&prose(&format!("{target}{note}")))
        ));
    }
}
