//! Writing the catalogue as Rust statics.

use std::fmt::Write;

use crate::read::{Ambiguity, Catalogue, Requirement};

/// The source that `catalogue` includes.
pub(crate) fn rust(catalogue: &Catalogue) -> String {
    let mut by_id: Vec<usize> = (0..catalogue.requirements.len()).collect();
    by_id.sort_by_key(|index| &catalogue.requirements[*index].id);
    let mut out = String::new();
    list(&mut out, "REQUIREMENTS", "Requirement", catalogue.requirements.iter().map(requirement));
    list(&mut out, "REQUIREMENTS_BY_ID", "usize", by_id.iter().map(usize::to_string));
    list(&mut out, "AMBIGUITIES", "Ambiguity", catalogue.ambiguities.iter().map(ambiguity));
    out
}

fn list(out: &mut String, name: &str, item: &str, items: impl ExactSizeIterator<Item = String>) {
    let _ = writeln!(out, "static {name}: [{item}; {}] = [", items.len());
    for item in items {
        let _ = writeln!(out, "{item},");
    }
    let _ = writeln!(out, "];");
}

// Debug output of a string is a Rust literal, and that of the names' members is their Rust name.
fn requirement(r: &Requirement) -> String {
    let until = r.until.map_or("None".to_owned(), |until| format!("Some(Version::{until:?})"));
    let levels: Vec<String> =
        r.levels.iter().map(|(v, l)| format!("(Version::{v:?}, Level::{l:?})")).collect();
    format!(
        "Requirement {{ id: {:?}, level: Level::{:?}, party: Party::{:?}, since: Version::{:?}, until: {until}, \
         operation: Topic::{:?}, section: {:?}, statement: {:?}, observe: {:?}, note: {:?}, unobservable: {:?}, head: {}, levels: &[{}], \
         ambiguities: &{:?} }}",
        r.id,
        r.level,
        r.party,
        r.since,
        r.operation,
        r.section,
        r.statement,
        r.observe,
        r.note,
        r.unobservable,
        r.head,
        levels.join(", "),
        r.ambiguities
    )
}

fn ambiguity(a: &Ambiguity) -> String {
    format!(
        "Ambiguity {{ id: {:?}, title: {:?}, readings: &{:?}, practice: {:?}, verdict: {:?}, requirements: &{:?} }}",
        a.id, a.title, a.readings, a.practice, a.verdict, a.requirements
    )
}
