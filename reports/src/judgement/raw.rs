//! The file as it is written, and what it must say.

use std::collections::BTreeSet;
use std::ops::Range;

use cni_spec::catalogue;
use serde::Deserialize;
use toml::Spanned;

use super::{Entry, Fix, Judgement, JudgementError, Opinion, Source, globs, line, numbers};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    judgement: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: Spanned<String>,
    plugins: Spanned<Vec<String>>,
    requirements: Spanned<Vec<String>>,
    checks: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    releases: Vec<String>,
    verdict: Opinion,
    text: Spanned<String>,
    source: Spanned<Vec<Source>>,
    fixed: Spanned<RawFix>,
    #[serde(default)]
    bugs: Vec<String>,
    #[serde(default)]
    upstream: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawFix {
    Word(String),
    Release { release: String, commit: Option<String> },
}

/// What is wrong, and where in the text.
type Problem = (Range<usize>, String);

pub(super) fn read(name: &str, text: &str) -> Result<Vec<Entry>, JudgementError> {
    let fail =
        |(span, problem): Problem| JudgementError { file: name.to_owned(), line: line(text, &span), problem };
    let file: File = toml::from_str(text).map_err(|error| {
        let problem = format!("{}; docs/judgements.md describes the file", error.message().trim_end());
        fail((error.span().unwrap_or(0..0), problem))
    })?;
    let mut ids = BTreeSet::new();
    let mut entries = Vec::new();
    for raw in file.judgement {
        let id = raw.id.get_ref().clone();
        if !ids.insert(id.clone()) {
            return Err(fail((
                raw.id.span(),
                format!("there are two judgements {id:?}; give each an id of its own"),
            )));
        }
        let entry =
            entry(raw).map_err(|(span, problem)| fail((span, format!("judgement {id:?}: {problem}"))))?;
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(raw: Raw) -> Result<Entry, Problem> {
    let plugins = patterns(&raw.plugins, "plugins")?;
    let requirements = patterns(&raw.requirements, "requirements")?;
    for pattern in raw.requirements.get_ref() {
        let one = globs(std::slice::from_ref(pattern)).map_err(|_| no_glob(&raw.requirements, pattern))?;
        if !catalogue::requirements().iter().any(|requirement| one.is_match(requirement.id)) {
            let problem = format!("{pattern:?} is no requirement; `cnitest list requirements` prints them");
            return Err((raw.requirements.span(), problem));
        }
    }
    let checks = raw.checks.as_ref().map(|checks| patterns(checks, "checks")).transpose()?;
    if raw.text.get_ref().trim().is_empty() {
        let problem = "`text` is empty; say in a sentence or two what was judged and why".to_owned();
        return Err((raw.text.span(), problem));
    }
    if raw.source.get_ref().is_empty() {
        return Err((
            raw.source.span(),
            "`source` is empty; name the place upstream that was read".to_owned(),
        ));
    }
    let fixed = fix(&raw.fixed)?;
    let judgement = Judgement {
        id: raw.id.into_inner(),
        plugins: raw.plugins.into_inner(),
        requirements: raw.requirements.into_inner(),
        checks: raw.checks.map(Spanned::into_inner).unwrap_or_default(),
        releases: raw.releases,
        verdict: raw.verdict,
        text: raw.text.into_inner().split_whitespace().collect::<Vec<_>>().join(" "),
        source: raw.source.into_inner(),
        fixed,
        bugs: raw.bugs,
        upstream: raw.upstream,
    };
    Ok(Entry { judgement, plugins, requirements, checks })
}

fn patterns(list: &Spanned<Vec<String>>, key: &str) -> Result<globset::GlobSet, Problem> {
    if list.get_ref().is_empty() {
        return Err((list.span(), format!("`{key}` is empty; name at least one, or `*` for any")));
    }
    globs(list.get_ref()).map_err(|pattern| no_glob(list, &pattern))
}

fn no_glob(list: &Spanned<Vec<String>>, pattern: &str) -> Problem {
    (list.span(), format!("{pattern:?} is no glob; write names with `*` for any characters"))
}

fn fix(raw: &Spanned<RawFix>) -> Result<Option<Fix>, Problem> {
    let (said, fix) = match raw.get_ref() {
        RawFix::Word(word) if word == "no" => return Ok(None),
        RawFix::Word(word) => (word, None),
        RawFix::Release { release, commit } => {
            (release, Some(Fix { release: release.clone(), commit: commit.clone() }))
        }
    };
    match fix {
        Some(fix) if numbers(&fix.release).is_some() => Ok(Some(fix)),
        _ => {
            let how = r#"write "no" or { release = "v1.2.3", commit = "abc1234" }"#;
            Err((raw.span(), format!("`fixed` is {said:?}; {how}")))
        }
    }
}
