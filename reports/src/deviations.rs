//! Distinct deviations, one a line: what two runs are compared by.

use std::collections::BTreeSet;
use std::io;

use crate::group::by_requirement;
use crate::model::{Run, RunSet, Verdict};
use crate::text::visible;

/// Writes a line `SUBJECT VERDICT CHECK REQUIREMENT VERSIONS` for each check and requirement that is not a pass, sorted;
/// `known` follows where the baseline knows it.
///
/// Cases and texts are left out: they hold what differs from run to run, such as names that a plugin derives.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(set: &RunSet, out: &mut dyn io::Write) -> io::Result<()> {
    let lines: BTreeSet<String> = set.runs.iter().flat_map(lines).collect();
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}

fn lines(run: &Run) -> impl Iterator<Item = String> + '_ {
    [Verdict::Fail, Verdict::Warn, Verdict::Error].into_iter().flat_map(move |verdict| {
        by_requirement(&run.results, verdict).into_iter().map(move |group| {
            let versions: BTreeSet<&str> =
                group.all.iter().filter_map(|result| result.spec_version.as_deref()).collect();
            let versions: Vec<&str> = versions.into_iter().collect();
            let versions = if versions.is_empty() { "-".to_owned() } else { versions.join(",") };
            let requirement = group.shown.requirements.first().map_or("-", String::as_str);
            let (name, check) = (&run.subject.name, &group.shown.check);
            let known = if group.is_new() { "" } else { " known" };
            visible(&format!("{name} {verdict} {check} {requirement} {versions}{known}")).replace('\n', " ")
        })
    })
}
