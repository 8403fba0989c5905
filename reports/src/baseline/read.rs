//! Reading a baseline, with errors that name the line and the fix.

use serde::Deserialize;
use toml::Spanned;

use super::{Baseline, key};
use crate::model::{DifferenceKind, KnownDeviation, KnownDifference, Verdict};
use crate::nearest::nearest;

/// The names that an entry may use.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Every check.
    pub checks: &'a [&'a str],
    /// Every requirement.
    pub requirements: &'a [&'a str],
}

const NO_PLUGIN: &str = "plugin is empty; write the name of its file";

/// Why a text is not a baseline.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Not TOML, or TOML of another shape.
    #[error("baseline {origin}: {message}")]
    Shape {
        /// The file.
        origin: String,
        /// Where and what, with the offending lines.
        message: String,
    },
    /// An entry that cannot be.
    #[error("baseline {origin}, line {line}: {message}")]
    Entry {
        /// The file.
        origin: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and the fix.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    deviation: Vec<Spanned<Item>>,
    #[serde(default)]
    difference: Vec<Differing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Differing {
    plugin: Spanned<String>,
    operation: String,
    kind: DifferenceKind,
    how: String,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Item {
    plugin: Spanned<String>,
    check: Spanned<String>,
    case: String,
    spec_version: Option<Spanned<String>>,
    verdict: Spanned<String>,
    requirements: Spanned<Vec<Spanned<String>>>,
    reason: Option<String>,
}

impl Baseline {
    /// Parses a baseline; `origin` names the file in errors.
    ///
    /// # Errors
    /// When the text is no baseline, or an entry names what does not exist or is there twice.
    pub fn parse(text: &str, origin: &str, names: Names<'_>) -> Result<Baseline, BaselineError> {
        let shape = |error: toml::de::Error| BaselineError::Shape {
            origin: origin.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        };
        let file: File = toml::from_str(text).map_err(shape)?;
        let place = Place { text, origin };
        let mut entries: Vec<(KnownDeviation, usize)> = Vec::new();
        for item in file.deviation {
            let line = place.line(item.span().start);
            entries.push((place.entry(item.into_inner(), names)?, line));
        }
        entries.sort_by(|(a, _), (b, _)| key(a).cmp(&key(b)));
        for pair in entries.windows(2) {
            let [(first, a), (second, b)] = pair else { continue };
            if key(first) == key(second) {
                let (earlier, later) = (a.min(b), a.max(b));
                return Err(place
                    .wrong(*later, format!("the same case as in line {earlier}; make one entry of them")));
            }
        }
        let differences: Vec<KnownDifference> =
            file.difference.into_iter().map(|item| place.difference(item)).collect::<Result<_, _>>()?;
        Ok(Baseline::new(entries.into_iter().map(|(entry, _)| entry)).with_differences(differences))
    }
}

struct Place<'a> {
    text: &'a str,
    origin: &'a str,
}

impl Place<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
    }

    fn wrong(&self, line: usize, message: String) -> BaselineError {
        BaselineError::Entry { origin: self.origin.to_owned(), line, message }
    }

    fn difference(&self, item: Differing) -> Result<KnownDifference, BaselineError> {
        if item.plugin.get_ref().is_empty() {
            return Err(self.wrong(self.line(item.plugin.span().start), NO_PLUGIN.to_owned()));
        }
        Ok(KnownDifference {
            plugin: item.plugin.into_inner(),
            operation: item.operation,
            kind: item.kind,
            how: item.how,
            reason: item.reason,
        })
    }

    fn entry(&self, item: Item, names: Names<'_>) -> Result<KnownDeviation, BaselineError> {
        let at =
            |span: std::ops::Range<usize>, message: String| Err(self.wrong(self.line(span.start), message));
        if item.plugin.get_ref().is_empty() {
            return at(item.plugin.span(), NO_PLUGIN.to_owned());
        }
        if !names.checks.contains(&item.check.get_ref().as_str()) {
            let hint = unknown("check", item.check.get_ref(), names.checks, "checks");
            return at(item.check.span(), hint);
        }
        if let Some(version) = &item.spec_version
            && version.get_ref().parse::<cni_spec::Version>().is_err()
        {
            let known = cni_spec::Version::ALL.map(|version| version.to_string()).join(", ");
            return at(
                version.span(),
                format!("no version {:?} of CNI; use one of {known}", version.get_ref()),
            );
        }
        let verdict = match item.verdict.get_ref().as_str() {
            "fail" => Verdict::Fail,
            "warn" => Verdict::Warn,
            other => {
                let message = format!("verdict {other:?} is no deviation; write \"fail\" or \"warn\"");
                return at(item.verdict.span(), message);
            }
        };
        if item.requirements.get_ref().is_empty() {
            let message = "requirements is empty; name what is broken, as the report does".to_owned();
            return at(item.requirements.span(), message);
        }
        let mut requirements = Vec::new();
        for id in item.requirements.into_inner() {
            if !names.requirements.contains(&id.get_ref().as_str()) {
                let hint = unknown("requirement", id.get_ref(), names.requirements, "requirements");
                return at(id.span(), hint);
            }
            requirements.push(id.into_inner());
        }
        Ok(KnownDeviation {
            plugin: item.plugin.into_inner(),
            check: item.check.into_inner(),
            case: item.case,
            spec_version: item.spec_version.map(Spanned::into_inner),
            verdict,
            requirements,
            reason: item.reason,
        })
    }
}

fn unknown(what: &str, given: &str, known: &[&str], topic: &str) -> String {
    let meant = match nearest(given, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("`cnitest list {topic}` names them; remove the entry if the {what} is gone"),
    };
    format!("there is no {what} {given:?}; {meant}")
}
