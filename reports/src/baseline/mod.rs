//! Baselines: known deviations, kept in a file, that do not fail a run.
//!
//! A baseline hides nothing: a known failure stays a failure, marked as known, and the plugin stays nonconformant. Only
//! the exit status changes, so that a pipeline fails when something new breaks. An entry holds for one case of one
//! check in one version, and only while no other requirement is broken there; or for one way in which two plugins differ.

mod apply;
mod read;
mod write;

use std::collections::BTreeMap;

use crate::model::{CaseResult, DifferenceKind, KnownDeviation, KnownDifference, RunSet, Verdict};

pub use read::{BaselineError, Names};

/// Known deviations, sorted; no two of the same case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    entries: Vec<KnownDeviation>,
    differences: Vec<KnownDifference>,
}

/// What an entry is about: plugin, check, version (in the order of versions), case.
type Key<'a> = (&'a str, &'a str, Option<Vec<u64>>, Option<&'a str>, &'a str);

impl Baseline {
    /// The failures and warnings of these runs, and the differences of comparisons. The reasons of those that were known
    /// already are kept.
    pub fn of(set: &RunSet) -> Baseline {
        let results =
            set.runs.iter().flat_map(|run| run.results.iter().map(|result| (&run.subject.name, result)));
        let deviations = results.filter(|(_, result)| !result.breaks().is_empty());
        let differences = set.runs.iter().flat_map(|run| {
            let all = run.against().into_iter().flat_map(|against| &against.differences);
            all.map(|one| KnownDifference {
                plugin: run.subject.name.clone(),
                operation: one.operation.clone(),
                kind: one.kind,
                how: one.how.clone(),
                reason: one.known.as_ref().and_then(|known| known.reason.clone()),
            })
        });
        Baseline::new(deviations.map(|(plugin, result)| deviation(plugin, result)))
            .with_differences(differences)
    }

    /// The baseline of these entries. What is said of one case more than once is joined.
    pub fn new(entries: impl IntoIterator<Item = KnownDeviation>) -> Baseline {
        let mut joined: Vec<KnownDeviation> = Vec::new();
        let mut all: Vec<KnownDeviation> = entries.into_iter().collect();
        all.sort_by(|a, b| key(a).cmp(&key(b)));
        for entry in all {
            match joined.last_mut().filter(|last| key(last) == key(&entry)) {
                Some(last) => {
                    last.requirements.extend(entry.requirements);
                    last.verdict = last.verdict.min(entry.verdict);
                    last.reason = last.reason.take().or(entry.reason);
                }
                None => joined.push(entry),
            }
        }
        for entry in &mut joined {
            entry.requirements.sort();
            entry.requirements.dedup();
        }
        Baseline { entries: joined, differences: Vec::new() }
    }

    /// This baseline, which knows these differences between two plugins too. What is there more than once is joined.
    #[must_use]
    pub fn with_differences(mut self, more: impl IntoIterator<Item = KnownDifference>) -> Baseline {
        self.differences.extend(more);
        self.differences.sort_by(|a, b| what_differs(a).cmp(&what_differs(b)));
        self.differences.dedup_by(|later, earlier| {
            let same = what_differs(later) == what_differs(earlier);
            if same && earlier.reason.is_none() {
                earlier.reason = later.reason.take();
            }
            same
        });
        self
    }

    /// The differences, sorted by plugin, operation and kind.
    pub fn differences(&self) -> &[KnownDifference] {
        &self.differences
    }

    /// The entries, sorted by plugin, check, version and case.
    pub fn entries(&self) -> &[KnownDeviation] {
        &self.entries
    }

    /// This baseline, made from `set`, with what an `earlier` one knows beyond it: the reasons, and the entries that
    /// `set` says nothing about.
    pub fn continuing(self, earlier: &Baseline, set: &RunSet) -> Baseline {
        let judged = apply::judge(earlier, set);
        let reasons: BTreeMap<_, _> =
            earlier.entries.iter().map(|entry| (key(entry), entry.reason.clone())).collect();
        let mut entries = self.entries;
        for entry in &mut entries {
            if entry.reason.is_none() {
                entry.reason = reasons.get(&key(entry)).cloned().flatten();
            }
        }
        let unplayed =
            earlier.entries.iter().zip(judged).filter(|(_, state)| *state == apply::State::NotPlayed);
        entries.extend(unplayed.map(|(entry, _)| entry.clone()));
        // That a difference was not seen says nothing: chance decides what is played.
        Baseline::new(entries)
            .with_differences(self.differences.into_iter().chain(earlier.differences.clone()))
    }
}

fn deviation(plugin: &str, result: &CaseResult) -> KnownDeviation {
    KnownDeviation {
        plugin: plugin.to_owned(),
        check: result.check.clone(),
        case: result.case.clone(),
        spec_version: result.spec_version.clone(),
        verdict: result.verdict,
        requirements: result.breaks().into_iter().map(str::to_owned).collect(),
        reason: result.known.as_ref().and_then(|known| known.reason.clone()),
    }
}

/// What a difference is about: two of one kind that say the same are one.
fn what_differs(one: &KnownDifference) -> (&str, &str, DifferenceKind, &str) {
    (&one.plugin, &one.operation, one.kind, &one.how)
}

fn key(entry: &KnownDeviation) -> Key<'_> {
    key_of(&entry.plugin, &entry.check, entry.spec_version.as_deref(), &entry.case)
}

fn key_of<'a>(plugin: &'a str, check: &'a str, version: Option<&'a str>, case: &'a str) -> Key<'a> {
    let numbers = version.map(|text| text.split('.').map(|part| part.parse().unwrap_or(u64::MAX)).collect());
    (plugin, check, numbers, version, case)
}

/// Whether an entry of one verdict covers a result of another: who accepts a failure accepts a warning.
fn covers(entry: Verdict, result: Verdict) -> bool {
    entry == result || (entry == Verdict::Fail && result == Verdict::Warn)
}
