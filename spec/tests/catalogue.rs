//! Checks the catalogue from the outside: the files as they stand, against what the library offers.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cni_spec::catalogue::{ambiguities, ambiguity, requirement, requirements};
use cni_spec::{Level, Version};
use toml::{Table, Value};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tables(path: &Path, key: &str) -> Vec<Table> {
    let text = fs::read_to_string(path).unwrap();
    let mut file: Table = text.parse().unwrap();
    let Some(Value::Array(items)) = file.remove(key) else { panic!("{}: no {key}", path.display()) };
    items.into_iter().map(|item| item.as_table().unwrap().clone()).collect()
}

fn requirement_tables() -> Vec<(String, Table)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root().join("requirements")).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        all.extend(tables(&path, "requirement").into_iter().map(|table| (stem.clone(), table)));
    }
    all
}

fn text<'a>(table: &'a Table, key: &str) -> &'a str {
    table[key].as_str().unwrap()
}

#[test]
fn the_files_and_the_library_hold_the_same_requirements() {
    let tables = requirement_tables();
    assert!(tables.len() >= 526, "{}", tables.len());
    assert_eq!(tables.len(), requirements().len());
    for (file, table) in tables {
        let id = text(&table, "id");
        assert!(id.starts_with(&format!("{file}.")), "{id} stands in {file}.toml");
        let found = requirement(id).unwrap();
        let until = table.get("until").map(|until| until.as_str().unwrap());
        assert_eq!(found.id, id);
        assert_eq!(found.level.as_str(), text(&table, "level"), "{id}");
        assert_eq!(found.party.as_str(), text(&table, "party"), "{id}");
        assert_eq!(found.operation.as_str(), text(&table, "operation"), "{id}");
        assert_eq!(found.since.as_str(), text(&table, "since"), "{id}");
        assert_eq!(found.until.map(Version::as_str), until, "{id}");
        assert_eq!(found.section, text(&table, "section"), "{id}");
        assert_eq!(found.statement, text(&table, "statement"), "{id}");
        assert_eq!(found.observe, text(&table, "observe"), "{id}");
        let unobservable = table.get("unobservable").map(|reason| reason.as_str().unwrap());
        assert_eq!(found.unobservable, unobservable, "{id}");
        assert_eq!(found.note, table.get("note").map(|note| note.as_str().unwrap()), "{id}");
        assert_eq!(found.head, table.contains_key("head"), "{id}");
        assert_eq!(
            found.ambiguities.len(),
            table.get("ambiguities").map_or(0, |list| list.as_array().unwrap().len())
        );
    }
}

#[test]
fn ids_are_unique() {
    let ids: BTreeSet<String> =
        requirement_tables().iter().map(|(_, table)| text(table, "id").to_owned()).collect();
    assert_eq!(ids.len(), requirement_tables().len());
    let ids: BTreeSet<&str> = ambiguities().iter().map(|ambiguity| ambiguity.id).collect();
    assert_eq!(ids.len(), ambiguities().len());
    assert_eq!(ids.len(), tables(&root().join("ambiguities.toml"), "ambiguity").len());
}

#[test]
fn versions_exist_and_run_forwards() {
    for (_, table) in requirement_tables() {
        let id = text(&table, "id");
        let since: Version = text(&table, "since").parse().unwrap();
        let until = table.get("until").map(|until| until.as_str().unwrap().parse::<Version>().unwrap());
        assert!(until.is_none_or(|until| since <= until), "{id}");
        for entry in table.get("levels").into_iter().flat_map(|levels| levels.as_array().unwrap()) {
            let entry = entry.as_table().unwrap();
            let range = text(entry, "versions");
            let level: Level = text(entry, "level").parse().unwrap();
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (Version, Version) = (first.parse().unwrap(), last.parse().unwrap());
            for version in Version::ALL.into_iter().filter(|version| (first..=last).contains(version)) {
                assert_eq!(requirement(id).unwrap().level_in(version), Some(level), "{id} in {version}");
            }
        }
    }
}

#[test]
fn an_exception_differs_from_the_rule() {
    for requirement in requirements() {
        for (version, level) in requirement.levels {
            let stated =
                *version >= requirement.since && requirement.until.is_none_or(|until| *version <= until);
            assert!(
                !stated || *level != requirement.level,
                "{} repeats its level for {version}",
                requirement.id
            );
        }
    }
}

#[test]
fn links_lead_both_ways() {
    for requirement in requirements() {
        for id in requirement.ambiguities {
            let found = ambiguity(id).unwrap_or_else(|| panic!("{} names ambiguity {id}", requirement.id));
            assert!(found.requirements.contains(&requirement.id), "{id} and {}", requirement.id);
        }
    }
    for ambiguity in ambiguities() {
        assert!(!ambiguity.requirements.is_empty(), "{} touches no requirement", ambiguity.id);
        for id in ambiguity.requirements {
            let found = requirement(id).unwrap_or_else(|| panic!("{} names requirement {id}", ambiguity.id));
            assert!(found.ambiguities.contains(&ambiguity.id), "{id} and {}", ambiguity.id);
        }
    }
}

#[test]
fn ids_mentioned_in_texts_exist() {
    let mut sections: BTreeMap<&str, ()> = BTreeMap::new();
    for requirement in requirements() {
        sections.insert(requirement.id.split_once('.').unwrap().0, ());
    }
    let mentioned = |texts: &str| -> Vec<String> {
        let words = texts.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')));
        let ids = words.map(|word| word.trim_matches('.')).filter(|word| {
            word.split_once('.')
                .is_some_and(|(section, rest)| sections.contains_key(section) && rest.contains('-'))
        });
        ids.map(str::to_owned).collect()
    };
    let mut checked = 0;
    for found in requirements() {
        for id in
            mentioned(&format!("{} {} {}", found.statement, found.observe, found.note.unwrap_or_default()))
        {
            assert!(requirement(&id).is_some(), "{} mentions {id}", found.id);
            checked += 1;
        }
    }
    for found in ambiguities() {
        for id in mentioned(&format!("{} {} {}", found.readings.join(" "), found.practice, found.verdict)) {
            assert!(requirement(&id).is_some(), "{} mentions {id}", found.id);
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn texts_are_one_line_of_words() {
    for found in requirements() {
        for text in [found.id, found.section, found.statement, found.observe, found.note.unwrap_or("-")] {
            assert!(
                !text.is_empty() && text.trim() == text && !text.contains(['\n', '\t']),
                "{}: {text:?}",
                found.id
            );
        }
    }
    for found in ambiguities() {
        let mut texts = vec![found.id, found.title, found.practice, found.verdict];
        texts.extend(found.readings);
        for text in texts {
            assert!(
                !text.is_empty() && text.trim() == text && !text.contains(['\n', '\t']),
                "{}: {text:?}",
                found.id
            );
        }
    }
}

#[test]
fn levels_follow_the_version() {
    let echo = requirement("add.prevresult-echoed").unwrap();
    assert_eq!(echo.level_in(Version::V0_2_0), None);
    assert_eq!(echo.level_in(Version::V0_3_0), Some(Level::Should));
    assert_eq!(echo.level_in(Version::V0_4_0), Some(Level::Should));
    assert_eq!(echo.level_in(Version::V1_0_0), Some(Level::Must));
    let required = requirement("config.cniversion-required").unwrap();
    assert_eq!(required.versions().count(), 7);
    assert_eq!(required.level_in(Version::V0_4_0), Some(Level::Must));
    assert_eq!(required.level_in(Version::V1_1_0), Some(Level::Implied));
    assert!(requirement("no.such-thing").is_none() && ambiguity("Z9").is_none());
}

#[test]
fn every_requirement_holds_in_some_version() {
    for found in requirements() {
        assert!(found.versions().next().is_some(), "{}", found.id);
        if let Some(operation) = found.operation.operation() {
            assert!(found.versions().last().unwrap() >= operation.since(), "{}", found.id);
        }
    }
}
