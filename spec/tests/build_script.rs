//! The build script refuses a broken catalogue and names the file and the id.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::Path;

#[macro_use]
#[path = "../src/name.rs"]
#[allow(unreachable_pub)]
mod name;
#[path = "../src/known.rs"]
#[allow(dead_code, unreachable_pub)]
mod known;
#[path = "../src/level.rs"]
#[allow(dead_code, unreachable_pub)]
mod level;
#[path = "../src/catalogue/party.rs"]
#[allow(dead_code, unreachable_pub)]
mod party;
#[path = "../build/read.rs"]
#[allow(dead_code)]
mod read;

use known::Version;
use name::UnknownName;

const AMBIGUITY: &str = r#"
[[ambiguity]]
id = "A1"
title = "t"
readings = ["r"]
practice = "p"
verdict = "v"
"#;

const REQUIREMENT: &str = r#"
[[requirement]]
id = "add.one"
level = "MUST"
party = "plugin"
since = "0.4.0"
until = "1.0.0"
levels = [{ versions = "0.1.0-0.3.1", level = "IMPLIED" }]
operation = "ADD"
section = "s"
statement = "s"
observe = "o"
ambiguities = ["A1"]
"#;

fn write(root: &Path, ambiguities: &str, add: &str) {
    fs::create_dir_all(root.join("requirements")).unwrap();
    fs::write(root.join("ambiguities.toml"), ambiguities).unwrap();
    fs::write(root.join("requirements/add.toml"), add).unwrap();
}

fn problems(ambiguities: &str, add: &str) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), ambiguities, add);
    read::catalogue(root.path()).err().unwrap_or_default()
}

#[test]
fn a_right_catalogue_is_read() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), AMBIGUITY, REQUIREMENT);
    let catalogue = read::catalogue(root.path()).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(catalogue.requirements[0].levels.len(), 4);
    assert_eq!(catalogue.ambiguities[0].requirements, ["add.one"]);
}

#[test]
fn one_broken_line_is_named() {
    for (line, broken, expected) in [
        (r#"level = "MUST""#, r#"level = "OUGHT""#, r#"unknown level "OUGHT""#),
        (r#"party = "plugin""#, r#"party = "nobody""#, r#"unknown party "nobody""#),
        (r#"operation = "ADD""#, r#"operation = "add""#, r#"unknown operation "add""#),
        (r#"since = "0.4.0""#, r#"since = "0.4.1""#, r#"unknown CNI version "0.4.1""#),
        (r#"until = "1.0.0""#, r#"until = "9.9.9""#, r#"unknown CNI version "9.9.9""#),
        (r#"until = "1.0.0""#, r#"until = "0.3.1""#, "since is newer than until"),
        (r#"ambiguities = ["A1"]"#, r#"ambiguities = ["A2"]"#, "unknown ambiguity A2"),
        (r#"ambiguities = ["A1"]"#, "ambiguities = [1]", "ambiguities holds no text"),
        (r#"versions = "0.1.0-0.3.1""#, r#"versions = "0.3.1-0.1.0""#, "runs backwards"),
        (r#"versions = "0.1.0-0.3.1""#, r#"versions = "0.1.0-0.3""#, r#"unknown CNI version "0.3""#),
        (r#"observe = "o""#, r#"observ = "o""#, "observe is missing"),
        (r#"observe = "o""#, r#"observe = " ""#, "observe is not a text"),
        (r#"section = "s""#, "section = \"s\"\ncolour = 1", "unknown key colour"),
        (r#"section = "s""#, "section = \"s\"\nhead = false", "head is true or absent"),
    ] {
        assert!(REQUIREMENT.contains(line), "{line}");
        let problems = problems(AMBIGUITY, &REQUIREMENT.replace(line, broken));
        assert_eq!(problems.len(), 1, "{broken}: {problems:?}");
        assert!(problems[0].contains("add.one") && problems[0].contains(expected), "{broken}: {problems:?}");
    }
}

#[test]
fn problems_of_the_whole_are_named() {
    let twice = problems(AMBIGUITY, &REQUIREMENT.repeat(2));
    assert_eq!(twice, ["add.one: requirement id used twice"]);
    let twice = problems(&AMBIGUITY.repeat(2), REQUIREMENT);
    assert_eq!(twice, ["A1: ambiguity id used twice"]);
    let elsewhere = problems(AMBIGUITY, &REQUIREMENT.replace("add.one", "del.one"));
    assert_eq!(elsewhere, ["add.toml: del.one: the id belongs in another file"]);
    let syntax = problems(AMBIGUITY, "[[requirement]\n");
    assert!(syntax.len() == 1 && syntax[0].starts_with("add.toml: "), "{syntax:?}");
    let nothing = problems(&AMBIGUITY.replace(r#"["r"]"#, "[]"), REQUIREMENT);
    assert!(nothing.contains(&"ambiguities.toml: A1: readings is empty".to_owned()), "{nothing:?}");
}
