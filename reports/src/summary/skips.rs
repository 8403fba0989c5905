//! Why cases were skipped.

use std::cmp::Reverse;

use super::Skips;
use super::build::without_folder;
use crate::model::{RunSet, Verdict};
use crate::text::clip;

/// Columns of a reason; what follows a failed precondition can be long.
const COLUMNS: usize = 200;

pub(super) fn skips(set: &RunSet) -> Vec<Skips> {
    let mut all: Vec<Skips> = Vec::new();
    for run in &set.runs {
        for result in run.results.iter().filter(|result| result.verdict == Verdict::Skip) {
            let reason = result.reason.as_deref().unwrap_or("no reason was given");
            let reason = clip(&without_folder(&run.subject, reason), COLUMNS);
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
