//! Holding runs against a baseline.

use std::collections::BTreeMap;

use super::{Baseline, Key, covers, key, key_of, what_differs};
use crate::model::{AppliedBaseline, CaseResult, Known, KnownDeviation, Run, RunSet, StaleEntry, Verdict};

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Its case was left out, skipped or undecided, or its plugin not tested: nothing can be said.
    NotPlayed,
    /// It is as the entry says.
    Holds,
    /// Its case passes.
    Passes,
    /// It fits no more, and why.
    Stale(String),
}

impl Baseline {
    /// Marks the results that are known, and notes in each run what came of the baseline. `file` and `sha256` tell
    /// readers of the report which one it was.
    pub fn apply(&self, set: &mut RunSet, file: &str, sha256: &str) {
        let states = judge(self, set);
        let entries: BTreeMap<Key<'_>, &KnownDeviation> =
            self.entries.iter().map(|entry| (key(entry), entry)).collect();
        let mut told: Vec<String> = Vec::new();
        for run in &mut set.runs {
            let plugin = run.subject.name.clone();
            let mut known = 0;
            for result in &mut run.results {
                let entry = entries.get(&key_of_result(&plugin, result));
                result.known = entry
                    .filter(|entry| knows(entry, result))
                    .map(|entry| Known { reason: entry.reason.clone() });
                known += u64::from(result.known.is_some());
            }
            known += self.mark_differences(run);
            let own = || self.entries.iter().zip(&states).filter(|(entry, _)| entry.plugin == plugin);
            let mut applied = AppliedBaseline {
                file: file.to_owned(),
                sha256: sha256.to_owned(),
                entries: (own().count() + self.differences.iter().filter(|one| one.plugin == plugin).count())
                    as u64,
                known,
                unexpected_passes: Vec::new(),
                stale: Vec::new(),
            };
            // Of two plugins of one name, the first tells what concerns both.
            if !told.contains(&plugin) {
                for (entry, state) in own() {
                    match state {
                        State::Passes => applied.unexpected_passes.push(entry.clone()),
                        State::Stale(why) => {
                            applied.stale.push(StaleEntry { entry: entry.clone(), why: why.clone() });
                        }
                        State::Holds | State::NotPlayed => {}
                    }
                }
                told.push(plugin);
            }
            run.baseline = Some(applied);
        }
    }

    /// Marks the differences that are known; how many.
    fn mark_differences(&self, run: &mut Run) -> u64 {
        let plugin = run.subject.name.as_str();
        let against = run.fuzz.as_mut().and_then(|tally| tally.against.as_mut());
        let mut known = 0;
        for one in against.into_iter().flat_map(|against| &mut against.differences) {
            let entry = self.differences.iter().find(|entry| {
                what_differs(entry) == (plugin, one.operation.as_str(), one.kind, one.how.as_str())
            });
            one.known = entry.map(|entry| Known { reason: entry.reason.clone() });
            known += u64::from(one.known.is_some());
        }
        known
    }
}

/// Whether an entry explains all that is broken in a result.
fn knows(entry: &KnownDeviation, result: &CaseResult) -> bool {
    let broken = result.breaks();
    !broken.is_empty()
        && covers(entry.verdict, result.verdict)
        && broken.iter().all(|id| entry.requirements.iter().any(|known| known == id))
}

/// What became of each entry, in their order.
pub(super) fn judge(baseline: &Baseline, set: &RunSet) -> Vec<State> {
    let mut results: BTreeMap<Key<'_>, Vec<&CaseResult>> = BTreeMap::new();
    for run in &set.runs {
        for result in &run.results {
            results.entry(key_of_result(&run.subject.name, result)).or_default().push(result);
        }
    }
    let state = |entry: &KnownDeviation| match results.get(&key(entry)) {
        Some(results) => of_results(entry, results),
        None => without_result(entry, set),
    };
    baseline.entries.iter().map(state).collect()
}

fn of_results(entry: &KnownDeviation, results: &[&CaseResult]) -> State {
    let decided: Vec<&&CaseResult> = results
        .iter()
        .filter(|result| matches!(result.verdict, Verdict::Pass | Verdict::Fail | Verdict::Warn))
        .collect();
    let broken: Vec<&str> = decided.iter().flat_map(|result| result.breaks()).collect();
    if decided.is_empty() {
        return State::NotPlayed;
    }
    if broken.is_empty() {
        return State::Passes;
    }
    let mended: Vec<&str> =
        entry.requirements.iter().map(String::as_str).filter(|id| !broken.contains(id)).collect();
    if !mended.is_empty() {
        return State::Stale(format!("no longer broken: {}; take it out of requirements", mended.join(", ")));
    }
    let gravest =
        decided.iter().map(|result| result.verdict).filter(|verdict| *verdict != Verdict::Pass).min();
    match gravest {
        Some(now) if now != entry.verdict && covers(entry.verdict, now) => {
            State::Stale(format!("now a {now} only; change the verdict"))
        }
        _ => State::Holds,
    }
}

/// An entry whose case has no result: left out, or gone.
fn without_result(entry: &KnownDeviation, set: &RunSet) -> State {
    let runs: Vec<&Run> = set.runs.iter().filter(|run| run.subject.name == entry.plugin).collect();
    let left_out = |run: &&Run| {
        let asked = &run.options.spec_versions;
        let version_left_out =
            entry.spec_version.as_ref().is_some_and(|version| !asked.is_empty() && !asked.contains(version));
        let mut of_check = run.results.iter().filter(|result| result.check == entry.check).peekable();
        // A check that is skipped as a whole, or for a whole configuration, has one result that stands for its cases.
        version_left_out
            || of_check.peek().is_none()
            || of_check.any(|result| {
                result.verdict == Verdict::Skip
                    && result.spec_version.is_none()
                    && stands_for(&result.case, &entry.case)
            })
    };
    if runs.iter().all(left_out) {
        return State::NotPlayed;
    }
    State::Stale("the run has no such case; remove the entry if the case is gone".to_owned())
}

/// Whether a case is the other, or the configuration that the other is a variant of.
fn stands_for(skipped: &str, case: &str) -> bool {
    skipped.is_empty()
        || case.strip_prefix(skipped).is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
}

fn key_of_result<'a>(plugin: &'a str, result: &'a CaseResult) -> Key<'a> {
    key_of(plugin, &result.check, result.spec_version.as_deref(), &result.case)
}
