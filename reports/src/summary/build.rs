//! Condensing runs.

use std::cmp::Reverse;

use cni_spec::{Level, Version};

use super::skips::skips;
use super::{Example, Finding, Place, SUMMARY_VERSION, SetSummary, SubjectSummary};
use crate::judgement::{Judgement, Judgements, Opinion};
use crate::model::{CaseResult, Run, RunSet, Subject, Verdict};
use crate::text::clip;

/// Verdicts that deviate, the gravest first.
const GRAVITY: [Verdict; 3] = [Verdict::Fail, Verdict::Error, Verdict::Warn];
/// Lines of an example's text.
const LINES: usize = 8;
/// Columns of such a line.
const COLUMNS: usize = 240;
/// Columns of a skip's reason; what follows a failed precondition can be long.
const REASON: usize = 200;

/// Results of several runs that are one finding.
struct Gathered<'a> {
    check: &'a str,
    requirement: &'a str,
    judgement: Option<&'a Judgement>,
    results: Vec<(&'a Run, &'a CaseResult)>,
}

pub(super) fn summary(set: &RunSet, release: Option<&str>, judgements: Option<&Judgements>) -> SetSummary {
    let gathered = gather(set, release, judgements);
    let mut findings: Vec<(Option<Opinion>, Finding)> = gathered
        .iter()
        .filter_map(|one| Some((one.judgement.map(|judgement| judgement.verdict), one.finding()?)))
        .collect();
    join_alike(&mut findings);
    // Of the same gravity, what nobody judged comes first.
    findings.sort_by_cached_key(|(opinion, finding)| {
        let gravity = (rank(finding.verdict), level_rank(&finding.level), *opinion);
        (gravity, Reverse(finding.subjects().len()), finding.check.clone())
    });
    let is_used = |judgement: &&Judgement| gathered.iter().any(|one| one.judgement == Some(*judgement));
    let known = || judgements.into_iter();
    let used = known().flat_map(Judgements::all).filter(is_used);
    let unused =
        known().flat_map(|known| known.expected(release, set)).filter(|judgement| !is_used(judgement));
    SetSummary {
        summary_version: SUMMARY_VERSION,
        release: release.map(str::to_owned),
        subjects: set.runs.iter().map(subject).collect(),
        skips: skips(set, |subject, reason| clip(&without_folder(subject, reason), REASON)),
        judgements: used.cloned().collect(),
        unused_judgements: unused.map(|judgement| judgement.id.clone()).collect(),
        findings: findings.into_iter().map(|(_, finding)| finding).collect(),
    }
}

fn gather<'a>(
    set: &'a RunSet,
    release: Option<&str>,
    judgements: Option<&'a Judgements>,
) -> Vec<Gathered<'a>> {
    let mut all: Vec<Gathered<'a>> = Vec::new();
    for run in &set.runs {
        for result in run.results.iter().filter(|result| GRAVITY.contains(&result.verdict)) {
            let requirement = result.requirements.first().map_or("", String::as_str);
            // What cnitest could not decide says nothing about the plugin: nobody can have judged it.
            let judgement = judgements
                .filter(|_| result.verdict != Verdict::Error)
                .and_then(|known| known.find(release, &run.subject.name, &result.check, requirement));
            let same = |one: &&mut Gathered<'a>| {
                one.check == result.check
                    && one.requirement == requirement
                    && one.results[0].1.title == result.title
                    && one.judgement == judgement
                    && (judgement.is_some() || std::ptr::eq(one.results[0].0, run))
            };
            match all.iter_mut().find(same) {
                Some(one) => one.results.push((run, result)),
                None => all.push(Gathered {
                    check: &result.check,
                    requirement,
                    judgement,
                    results: vec![(run, result)],
                }),
            }
        }
    }
    all
}

/// Joins what nobody judged and what looks the same in several subjects.
fn join_alike(findings: &mut Vec<(Option<Opinion>, Finding)>) {
    let mut joined: Vec<(Option<Opinion>, Finding)> = Vec::new();
    for (opinion, finding) in findings.drain(..) {
        match joined.iter_mut().find(|(_, known)| alike(known, &finding)) {
            Some((_, known)) => known.shows.extend(finding.shows),
            None => joined.push((opinion, finding)),
        }
    }
    *findings = joined;
}

fn alike(one: &Finding, other: &Finding) -> bool {
    let shown = |finding: &Finding| {
        let Example { expected, observed, difference, .. } = finding.example.clone();
        (finding.check.clone(), finding.requirement.clone(), finding.verdict, expected, observed, difference)
    };
    one.judgement.is_none() && other.judgement.is_none() && shown(one) == shown(other)
}

impl Gathered<'_> {
    fn finding(&self) -> Option<Finding> {
        let verdict = self.results.iter().map(|(_, result)| result.verdict).min_by_key(|v| rank(*v))?;
        let gravest = self.results.iter().filter(|(_, result)| result.verdict == verdict);
        // The last of equals would be taken by `max_by_key`; the first is wanted.
        let (run, shown) = gravest.rev().max_by_key(|(_, result)| version(result))?;
        Some(Finding {
            check: self.check.to_owned(),
            title: shown.title.clone(),
            requirement: self.requirement.to_owned(),
            level: shown.level.clone(),
            verdict,
            judgement: self.judgement.map(|judgement| judgement.id.clone()),
            shows: self.places(),
            example: example(run, shown),
        })
    }

    fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        for (run, result) in &self.results {
            let same = |place: &&mut Place| {
                place.subject == run.subject.name
                    && place.spec_version == result.spec_version
                    && place.verdict == result.verdict
            };
            let case = Some(result.case.clone()).filter(|case| !case.is_empty());
            match places.iter_mut().find(same) {
                Some(place) => place.cases.extend(case.filter(|case| !place.cases.contains(case))),
                None => places.push(Place {
                    subject: run.subject.name.clone(),
                    spec_version: result.spec_version.clone(),
                    verdict: result.verdict,
                    cases: case.into_iter().collect(),
                }),
            }
        }
        places
    }
}

fn example(run: &Run, result: &CaseResult) -> Example {
    let evidence = result.evidence.as_ref();
    let observed =
        evidence.map(|evidence| evidence.observed.as_str()).filter(|observed| !observed.is_empty());
    let observed = observed.or(result.reason.as_deref()).unwrap_or_default();
    let expected = evidence.map(|evidence| evidence.expected.as_str()).unwrap_or_default();
    let difference = evidence.map(|evidence| evidence.kernel_difference.join("\n")).unwrap_or_default();
    let subject = &run.subject;
    Example {
        subject: subject.name.clone(),
        spec_version: result.spec_version.clone(),
        case: result.case.clone(),
        expected: lines(subject, expected).join("\n"),
        observed: lines(subject, observed).join("\n"),
        difference: lines(subject, &difference),
    }
}

/// The first lines of a text, each cut, and without the folder of the subject.
fn lines(subject: &Subject, text: &str) -> Vec<String> {
    let text = without_folder(subject, text);
    let number = text.lines().count();
    let kept = if number <= LINES + 1 { number } else { LINES };
    let mut lines: Vec<String> = text.lines().take(kept).map(|line| clip(line, COLUMNS)).collect();
    if number > kept {
        lines.push(format!("  (and {} more)", number - kept));
    }
    lines
}

/// A text in which the subject is called by the name of its file, and its folder `FOLDER`.
fn without_folder(subject: &Subject, text: &str) -> String {
    match subject.path.rsplit_once('/') {
        Some((folder, name)) if folder.len() > 1 => {
            text.replace(&subject.path, name).replace(folder, "FOLDER")
        }
        _ => text.to_owned(),
    }
}

fn subject(run: &Run) -> SubjectSummary {
    let subject = &run.subject;
    SubjectSummary {
        name: subject.name.clone(),
        sha256: subject.sha256.clone(),
        supported_versions: subject.supported_versions.clone(),
        target: subject.target.clone(),
        target_note: subject.target_note.as_deref().map(|note| without_folder(subject, note)),
        started: run.started.clone(),
        tool: run.tool.clone(),
        environment: run.environment.clone(),
        seed: run.seed,
        strict: run.strict,
        counts: run.summary,
        conformant: run.conformant,
    }
}

fn rank(verdict: Verdict) -> usize {
    GRAVITY.iter().position(|known| *known == verdict).unwrap_or(GRAVITY.len())
}

/// Levels as the catalogue orders them, the strongest first; MUST and MUST NOT weigh the same, as SHOULD and SHOULD NOT do.
fn level_rank(level: &str) -> usize {
    Level::ALL
        .iter()
        .position(|known| known.as_str() == level.trim_end_matches(" NOT"))
        .unwrap_or(Level::ALL.len())
}

fn version(result: &CaseResult) -> Option<Version> {
    result.spec_version.as_deref().and_then(|version| version.parse().ok())
}
