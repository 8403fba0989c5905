//! What deviates: failures and errors with all that shows them, warnings in brief.

use cni_spec::catalogue;

use crate::evidence::{self, Detail, field};
use crate::group::{Group, by_requirement};
use crate::model::{CaseResult, FUZZ, Run, Verdict};
use crate::page::{FAINT, Limit, PLAIN, Page};
use crate::text::{clip, visible};

use super::{verdict_style, word};

/// Other observations of a group that are told.
const OTHERS: usize = 3;
/// Columns that an observation in brief may take.
const BRIEF: usize = 160;

/// New failures, then cases that could not be decided; a check that fails in several cases is told once.
pub(super) fn failures(page: &mut Page, run: &Run, verbose: bool) {
    for verdict in [Verdict::Fail, Verdict::Error] {
        for group in by_requirement(&run.results, verdict).into_iter().filter(Group::is_new) {
            page.gap();
            heading(page, group.shown);
            details(page, &group, verbose);
        }
    }
}

/// New warnings in a few lines each, or like failures when verbose.
pub(super) fn warnings(page: &mut Page, run: &Run, verbose: bool) {
    page.gap();
    for group in by_requirement(&run.results, Verdict::Warn).into_iter().filter(Group::is_new) {
        if verbose {
            page.gap();
        }
        heading(page, group.shown);
        match verbose {
            true => details(page, &group, verbose),
            false => {
                page.paragraph(6, PLAIN, &brief(group.shown));
                let id = group.shown.requirements.first().map_or("", String::as_str);
                page.paragraph(6, FAINT, &format!("{} {id}, {}", group.shown.level, group.places()));
            }
        }
    }
}

pub(super) fn heading(page: &mut Page, result: &CaseResult) {
    let style = verdict_style(result.verdict);
    page.field(0, &word(result.verdict), style, 6, &format!("{}: {}", result.check, result.title));
}

pub(super) fn details(page: &mut Page, group: &Group<'_>, verbose: bool) {
    let result = group.shown;
    field(page, "in", &group.places());
    // An error says nothing about the requirement.
    if result.verdict != Verdict::Error {
        requirements(page, result);
    }
    let detail = if verbose { Detail::Everything } else { Detail::Decisive };
    evidence::render(page, result, detail);
    others(page, group);
    reproducer(page, result, verbose);
}

/// The requirement that is broken, and the others.
fn requirements(page: &mut Page, result: &CaseResult) {
    let broken = result.breaks();
    let Some((broken, rest)) = broken.split_first() else { return };
    match catalogue::requirement(broken) {
        Some(known) => {
            field(page, "broken", &format!("{} {broken}, in \"{}\"", result.level, known.section));
            field(page, "", known.statement);
        }
        None => field(page, "broken", &format!("{} {broken}", result.level)),
    }
    for id in rest {
        let version = result.spec_version.as_deref().and_then(|version| version.parse().ok());
        let level =
            catalogue::requirement(id).zip(version).and_then(|(known, version)| known.level_in(version));
        let level = level.map(|level| format!("{level} ")).unwrap_or_default();
        field(page, "and", &format!("{level}{id}"));
    }
}

/// What other cases of the group observed, where that differs.
fn others(page: &mut Page, group: &Group<'_>) {
    let mut told = vec![brief(group.shown)];
    let mut untold = 0;
    for result in &group.all {
        let seen = brief(result);
        if told.contains(&seen) {
            continue;
        }
        if told.len() > OTHERS {
            untold += 1;
            continue;
        }
        let version = result.spec_version.as_deref().unwrap_or("any version");
        field(page, "elsewhere", &format!("CNI {version} {}: {seen}", result.case));
        told.push(seen);
    }
    if untold > 0 {
        field(page, "", &format!("and otherwise in {untold} more of these cases; the JSON report has all"));
    }
}

/// What a case observed, on one line.
pub(super) fn brief(result: &CaseResult) -> String {
    let observed = result.evidence.as_ref().map(|evidence| evidence.observed.as_str()).unwrap_or_default();
    let told = if observed.is_empty() { result.reason.as_deref().unwrap_or_default() } else { observed };
    clip(&told.lines().collect::<Vec<_>>().join("; "), BRIEF)
}

fn reproducer(page: &mut Page, result: &CaseResult, verbose: bool) {
    let Some(script) = &result.reproducer else { return };
    match verbose {
        true => {
            field(page, "reproduce", "without cnitest, by this script:");
            page.verbatim(8, script, Limit { lines: usize::MAX, columns: usize::MAX });
        }
        false if result.check == FUZZ => {
            let text = "with `--keep DIR`, which writes it for `cnitest replay` and as a script that needs no cnitest";
            field(page, "reproduce", text);
        }
        false => {
            let version = result.spec_version.as_ref().map(|version| format!(" --spec-version {version}"));
            let only = format!("--only {}{}", visible(&result.check), version.unwrap_or_default());
            field(
                page,
                "reproduce",
                &format!("with `{only} --keep DIR`, which writes a script that needs no cnitest"),
            );
        }
    }
}
