//! Baselines: known deviations, kept in a file, that do not fail a run.
//!
//! A baseline hides nothing: a known failure stays a failure, marked as known, and the plugin stays nonconformant. Only
//! the exit status changes, so that a pipeline fails when something new breaks. An entry holds for one case of one
//! check in one version, and only while no other requirement is broken there.

mod apply;
mod read;
mod write;

use std::collections::BTreeMap;

use crate::model::{CaseResult, KnownDeviation, RunSet, Verdict};

pub use read::{BaselineError, Names};

/// Known deviations, sorted; no two of the same case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    entries: Vec<KnownDeviation>,
}

/// What an entry is about: plugin, check, version (in the order of versions), case.
type Key<'a> = (&'a str, &'a str, Option<Vec<u64>>, Option<&'a str>, &'a str);

impl Baseline {
    /// The failures and warnings of these runs. The reasons of those that were known already are kept.
    pub fn of(set: &RunSet) -> Baseline {
        let results =
            set.runs.iter().flat_map(|run| run.results.iter().map(|result| (&run.subject.name, result)));
        let deviations = results.filter(|(_, result)| !result.breaks().is_empty());
        Baseline::new(deviations.map(|(plugin, result)| deviation(plugin, result)))
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
        Baseline { entries: joined }
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
        Baseline::new(entries)
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
