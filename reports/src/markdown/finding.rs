//! One finding.

use cni_spec::catalogue;

use super::escape::{block, code, prose};
use crate::judgement::{Judgement, Source};
use crate::model::{FUZZ, Verdict};
use crate::summary::{Example, Finding, Place, SetSummary};
use crate::text::some_of;

/// Subjects up to which cases are told.
const FEW: usize = 3;
/// Cases of a subject that are told.
const CASES: usize = 4;

pub(super) fn write(text: &mut String, summary: &SetSummary, finding: &Finding) {
    let subjects = finding.subjects();
    let who = match subjects.len() == summary.subjects.len() && subjects.len() > FEW {
        true => "every plugin".to_owned(),
        false => prose(&subjects.join(", ")),
    };
    text.push_str(&format!("\n### {}: {who}\n\n{}\n\n", code(&finding.check), prose(&finding.title)));
    // What could not be decided says nothing about the requirement.
    if finding.verdict != Verdict::Error {
        requirement(text, finding);
    }
    places(text, finding, &subjects);
    example(text, &finding.example);
    reproduce(text, finding);
    match summary.judgement(finding) {
        Some(judgement) => judged(text, judgement),
        None if finding.verdict != Verdict::Error && !summary.judgements.is_empty() => {
            text.push_str("- **Not judged yet**\n");
        }
        None => {}
    }
}

fn requirement(text: &mut String, finding: &Finding) {
    let (level, id) = (&finding.level, code(&finding.requirement));
    let known = catalogue::requirement(&finding.requirement);
    let says = known.map(|known| format!(" (\"{}\"): {}", prose(known.section), prose(known.statement)));
    text.push_str(&format!("- **{}** {id}{}\n", prose(level), says.unwrap_or_default()));
}

/// Where it shows; subjects with the same versions stand together unless their cases are told.
fn places(text: &mut String, finding: &Finding, subjects: &[&str]) {
    let few = subjects.len() <= FEW;
    let mut told: Vec<(Vec<&str>, String)> = Vec::new();
    for subject in subjects {
        let places: Vec<&Place> = finding.shows.iter().filter(|place| place.subject == *subject).collect();
        let mut where_ = versions(&places, finding.verdict);
        let mut cases: Vec<&str> = places.iter().flat_map(|place| &place.cases).map(String::as_str).collect();
        cases.sort_unstable();
        cases.dedup();
        if few && !cases.is_empty() {
            where_.push_str(&format!(" ({})", prose(&some_of(&cases, CASES, "; "))));
        }
        match told.iter_mut().find(|(_, known)| *known == where_) {
            Some((names, _)) => names.push(subject),
            None => told.push((vec![subject], where_)),
        }
    }
    let alone = told.len() == 1;
    let shown: Vec<String> = told
        .iter()
        .map(|(names, where_)| match alone {
            true => where_.clone(),
            false => format!("{} {where_}", prose(&names.join(", "))),
        })
        .collect();
    text.push_str(&format!("- in {}\n", shown.join("; ")));
}

/// `CNI 1.0.0, 1.1.0; a warning in 0.4.0`.
fn versions(places: &[&Place], gravest: Verdict) -> String {
    let mut parts: Vec<String> = Vec::new();
    for verdict in [Verdict::Fail, Verdict::Error, Verdict::Warn] {
        let mut versions: Vec<&str> = Vec::new();
        for place in places.iter().filter(|place| place.verdict == verdict) {
            let version = place.spec_version.as_deref().unwrap_or("any version");
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        let versions = prose(&versions.join(", "));
        match versions.is_empty() {
            true => {}
            false if verdict == gravest => parts.push(format!("CNI {versions}")),
            false => parts.push(format!("a warning in {versions}")),
        }
    }
    parts.join(", ")
}

fn example(text: &mut String, example: &Example) {
    if !example.expected.is_empty() {
        text.push_str(&format!("- expected: {}\n", prose(&lines(&example.expected))));
    }
    let of = [Some(example.subject.as_str()), example.spec_version.as_deref(), Some(&example.case)];
    let of: Vec<&str> = of.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    text.push_str(&format!("- happened ({}): {}\n", prose(&of.join(", ")), prose(&lines(&example.observed))));
    if !example.difference.is_empty() {
        let indented: Vec<String> =
            block(&example.difference.join("\n")).lines().map(|line| format!("  {line}\n")).collect();
        text.push_str(&indented.concat());
    }
}

fn lines(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

fn reproduce(text: &mut String, finding: &Finding) {
    let example = &finding.example;
    let version =
        example.spec_version.as_ref().map(|version| format!(" --spec-version {version}")).unwrap_or_default();
    let command = match finding.check.as_str() {
        FUZZ => format!("cnitest fuzz ./{} --keep DIR", example.subject),
        check if check.starts_with("runtime.") => {
            format!("cnitest runtime {} --only {check}{version}", example.subject)
        }
        check => format!("cnitest plugin ./{} --only {check}{version} --keep DIR", example.subject),
    };
    text.push_str(&format!("- reproduce: {}\n", code(&command)));
}

fn judged(text: &mut String, judgement: &Judgement) {
    text.push_str(&format!("- **judgement** ({}): {}\n", judgement.verdict, judgement.text));
    text.push_str(&format!("- source: {}\n", sources(&judgement.source)));
    let fixed = match &judgement.fixed {
        None => "no".to_owned(),
        Some(fix) => {
            let commit = fix.commit.as_ref().map(|commit| format!(" ({})", code(commit))).unwrap_or_default();
            format!("in {}{commit}", prose(&fix.release))
        }
    };
    text.push_str(&format!("- fixed: {fixed}"));
    let known: Vec<String> =
        judgement.upstream.iter().chain(&judgement.bugs).map(|name| prose(name)).collect();
    if !known.is_empty() {
        text.push_str(&format!("; known as {}", known.join(", ")));
    }
    text.push('\n');
}

/// Places, with their repository and tag said once.
fn sources(places: &[Source]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut before: Option<(&str, &str)> = None;
    for Source { repository, path, tag, function, lines } in places {
        let anchor =
            lines.as_ref().map(|lines| format!("#L{}", lines.replace('-', "-L"))).unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or(path);
        let place = lines.as_ref().map(|lines| format!(":{lines}")).unwrap_or_default();
        let link = format!(
            "[{}](https://github.com/{repository}/blob/{tag}/{path}{anchor})",
            prose(&format!("{name}{place}"))
        );
        let part = format!("{link} {}", code(function));
        let here = (repository.as_str(), tag.as_str());
        match before == Some(here) {
            true => parts.push(part),
            false => parts.push(format!("{} {}: {part}", prose(repository), prose(tag))),
        }
        before = Some(here);
    }
    parts.join(", ")
}
