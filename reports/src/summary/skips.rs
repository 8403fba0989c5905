//! Why cases were skipped.

use std::cmp::Reverse;

use super::Skips;
use crate::model::{RunSet, Subject, Verdict};

/// Every reason once, with what it kept from being tested; the most frequent first. `told` is how a reason is put.
pub(crate) fn skips(set: &RunSet, told: impl Fn(&Subject, &str) -> String) -> Vec<Skips> {
    let mut all: Vec<Skips> = Vec::new();
    for run in &set.runs {
        for result in run.results.iter().filter(|result| result.verdict == Verdict::Skip) {
            let reason = told(&run.subject, result.reason.as_deref().unwrap_or("no reason was given"));
            let known = all.iter().position(|skips| skips.reason == reason).unwrap_or_else(|| {
                all.push(Skips { reason, cases: 0, subjects: Vec::new(), checks: Vec::new() });
                all.len() - 1
            });
            let skips = &mut all[known];
            skips.cases += 1;
            remember(&mut skips.subjects, &run.subject.name);
            remember(&mut skips.checks, &result.check);
        }
    }
    all.sort_by_key(|skips| Reverse(skips.cases));
    all
}

fn remember(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}
