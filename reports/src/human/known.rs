//! What a baseline knows: deviations that are accepted, and entries that have had their day.

use crate::group::by_requirement;
use crate::model::{AppliedBaseline, KnownDeviation, Run, Verdict};
use crate::page::{FAINT, PLAIN, Page, bold};
use crate::text::{clip, count, some_of};

use super::findings::{brief, details, heading};

/// Cases of an entry that are named.
const NAMED: usize = 4;

/// Known deviations in a few lines each, or like new ones when verbose; then the entries to take out.
pub(super) fn write(page: &mut Page, run: &Run, verbose: bool) {
    let Some(baseline) = &run.baseline else { return };
    deviations(page, run, baseline, verbose);
    let style = bold(anstyle::AnsiColor::Cyan);
    page.gap();
    for (check, entries) in by_check(&baseline.unexpected_passes) {
        let text = format!("{check}: now passes in {}; remove it from the baseline", places(&entries));
        page.field(0, "FIXED", style, 6, &text);
    }
    page.gap();
    for stale in &baseline.stale {
        let text = format!("{}, {}: {}", stale.entry.check, stale.entry.place(), stale.why);
        page.field(0, "STALE", style, 6, &text);
    }
}

fn deviations(page: &mut Page, run: &Run, baseline: &AppliedBaseline, verbose: bool) {
    page.gap();
    for verdict in [Verdict::Fail, Verdict::Warn] {
        for group in by_requirement(&run.results, verdict) {
            let Some(known) = &group.shown.known else { continue };
            if verbose {
                page.gap();
            }
            heading(page, group.shown);
            let why = known.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            page.paragraph(6, PLAIN, &format!("known (baseline {}){why}", clip(&baseline.file, 60)));
            match verbose {
                true => details(page, &group, verbose),
                false => {
                    page.paragraph(6, FAINT, &brief(group.shown));
                    let id = group.shown.requirements.first().map_or("", String::as_str);
                    page.paragraph(6, FAINT, &format!("{} {id}, {}", group.shown.level, group.places()));
                }
            }
        }
    }
}

/// What came of the baseline, in one line: `3 known (baseline FILE), 1 now passes, 2 stale`.
pub(super) fn summary(baseline: &AppliedBaseline) -> String {
    let mut text = format!("{} known (baseline {})", baseline.known, baseline.file);
    if !baseline.unexpected_passes.is_empty() {
        let passes = baseline.unexpected_passes.len() as u64;
        let verb = if passes == 1 { "now passes" } else { "now pass" };
        text.push_str(&format!(", {passes} {verb}: remove from the baseline"));
    }
    if !baseline.stale.is_empty() {
        let stale = baseline.stale.len() as u64;
        let noun = if stale == 1 { "entry" } else { "entries" };
        text.push_str(&format!(", {stale} stale {noun}"));
    }
    text
}

/// Entries of one check together, in their order.
fn by_check(entries: &[KnownDeviation]) -> Vec<(&str, Vec<&KnownDeviation>)> {
    let mut groups: Vec<(&str, Vec<&KnownDeviation>)> = Vec::new();
    for entry in entries {
        match groups.last_mut().filter(|(check, _)| *check == entry.check) {
            Some((_, group)) => group.push(entry),
            None => groups.push((&entry.check, vec![entry])),
        }
    }
    groups
}

fn places(entries: &[&KnownDeviation]) -> String {
    let places: Vec<String> = entries.iter().map(|entry| entry.place()).collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    match places.len() {
        number if number > NAMED + 1 => {
            format!("{} ({})", some_of(&places, NAMED, "; "), count(number as u64, "case"))
        }
        _ => some_of(&places, NAMED, "; "),
    }
}
