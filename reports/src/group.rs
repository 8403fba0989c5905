//! Results that belong together in a report.

use cni_spec::Version;

use crate::model::{CaseResult, Verdict};
use crate::text::some_of;

/// Results of one verdict that have something in common.
pub(crate) struct Group<'a> {
    /// The one that stands for all: the first in the newest version.
    pub(crate) shown: &'a CaseResult,
    /// All of them, in their order; never empty.
    pub(crate) all: Vec<&'a CaseResult>,
}

/// Results of a verdict, grouped by check and its title, by the requirement that leads, and by what the baseline says of
/// them. Titles tell the findings of the hammer apart.
pub(crate) fn by_requirement(results: &[CaseResult], verdict: Verdict) -> Vec<Group<'_>> {
    by(results, verdict, |result| {
        (result.check.as_str(), result.title.as_str(), result.requirements.first(), &result.known)
    })
}

/// Results of a verdict, grouped by what `key` says.
pub(crate) fn by<'a, K: PartialEq>(
    results: &'a [CaseResult],
    verdict: Verdict,
    key: impl Fn(&'a CaseResult) -> K,
) -> Vec<Group<'a>> {
    let mut groups: Vec<(K, Group<'a>)> = Vec::new();
    for result in results.iter().filter(|result| result.verdict == verdict) {
        let own = key(result);
        match groups.iter_mut().find(|(known, _)| *known == own) {
            Some((_, group)) => group.add(result),
            None => groups.push((own, Group { shown: result, all: vec![result] })),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

impl<'a> Group<'a> {
    fn add(&mut self, result: &'a CaseResult) {
        if version(result) > version(self.shown) {
            self.shown = result;
        }
        self.all.push(result);
    }

    /// Whether no baseline knows it.
    pub(crate) fn is_new(&self) -> bool {
        self.shown.known.is_none()
    }

    /// The versions and cases: `CNI 0.4.0, 1.0.0 (vlan; trunk)`. Versions with the same cases stand together.
    pub(crate) fn places(&self) -> String {
        let versions = distinct(self.all.iter().map(|result| result.spec_version.as_deref()));
        let mut places: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
        for version in versions {
            let here = self.all.iter().filter(|result| result.spec_version.as_deref() == version);
            let told = here.filter(|result| result.case != result.title);
            let cases = distinct(told.map(|result| result.case.as_str()).filter(|case| !case.is_empty()));
            let name = version.unwrap_or("any version");
            match places.iter_mut().find(|(_, known)| *known == cases) {
                Some((versions, _)) => versions.push(name),
                None => places.push((vec![name], cases)),
            }
        }
        let show = |(versions, cases): &(Vec<&str>, Vec<&str>)| match cases.is_empty() {
            true => versions.join(", "),
            false => format!("{} ({})", versions.join(", "), some_of(cases, 4, "; ")),
        };
        format!("CNI {}", places.iter().map(show).collect::<Vec<_>>().join(", "))
    }
}

fn version(result: &CaseResult) -> Option<Version> {
    result.spec_version.as_deref().and_then(|version| version.parse().ok())
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}
