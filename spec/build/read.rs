//! Reading and checking `requirements/*.toml` and `ambiguities.toml`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use toml::{Table, Value};

use crate::Version;
use crate::level::Level;
use crate::party::{Party, Topic};

/// The catalogue, checked.
#[derive(Default)]
pub(crate) struct Catalogue {
    pub(crate) requirements: Vec<Requirement>,
    pub(crate) ambiguities: Vec<Ambiguity>,
}

pub(crate) struct Requirement {
    pub(crate) id: String,
    pub(crate) level: Level,
    pub(crate) party: Party,
    pub(crate) since: Version,
    pub(crate) until: Option<Version>,
    pub(crate) operation: Topic,
    pub(crate) section: String,
    pub(crate) statement: String,
    pub(crate) observe: String,
    pub(crate) note: Option<String>,
    pub(crate) unobservable: Option<String>,
    pub(crate) head: bool,
    pub(crate) levels: Vec<(Version, Level)>,
    pub(crate) ambiguities: Vec<String>,
}

pub(crate) struct Ambiguity {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) readings: Vec<String>,
    pub(crate) practice: String,
    pub(crate) verdict: String,
    /// Derived from the requirements, which name their ambiguities.
    pub(crate) requirements: Vec<String>,
}

/// Reads the catalogue; on failure returns every problem, each naming the file and the id.
pub(crate) fn catalogue(root: &Path) -> Result<Catalogue, Vec<String>> {
    let mut problems = Vec::new();
    let mut catalogue = Catalogue::default();
    for (place, entry) in entries(&root.join("ambiguities.toml"), "ambiguity", &mut problems) {
        keep(ambiguity(&place, entry), &mut catalogue.ambiguities, &mut problems);
    }
    for path in requirement_files(root, &mut problems) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for (place, entry) in entries(&path, "requirement", &mut problems) {
            let parsed = requirement(&place, entry);
            if let Ok(requirement) = &parsed
                && !requirement.id.starts_with(&format!("{stem}."))
            {
                problems.push(format!("{place}: the id belongs in another file"));
            }
            keep(parsed, &mut catalogue.requirements, &mut problems);
        }
    }
    duplicates("requirement", catalogue.requirements.iter().map(|r| &r.id), &mut problems);
    duplicates("ambiguity", catalogue.ambiguities.iter().map(|a| &a.id), &mut problems);
    link(&mut catalogue, &mut problems);
    if problems.is_empty() { Ok(catalogue) } else { Err(problems) }
}

fn keep<T>(parsed: Result<T, String>, into: &mut Vec<T>, problems: &mut Vec<String>) {
    match parsed {
        Ok(item) => into.push(item),
        Err(problem) => problems.push(problem),
    }
}

fn requirement_files(root: &Path, problems: &mut Vec<String>) -> Vec<std::path::PathBuf> {
    let folder = root.join("requirements");
    let mut paths = match fs::read_dir(&folder) {
        Ok(found) => found.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
        Err(error) => {
            problems.push(format!("{}: {error}", folder.display()));
            Vec::new()
        }
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

/// The tables of a file, each with its place: file and id.
fn entries(path: &Path, key: &str, problems: &mut Vec<String>) -> Vec<(String, Table)> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parsed = fs::read_to_string(path).map_err(|error| error.to_string());
    let mut table = match parsed.and_then(|text| text.parse::<Table>().map_err(|error| error.to_string())) {
        Ok(table) => table,
        Err(error) => {
            problems.push(format!("{file}: {error}"));
            return Vec::new();
        }
    };
    let Some(Value::Array(items)) = table.remove(key) else {
        problems.push(format!("{file}: no [[{key}]]"));
        return Vec::new();
    };
    if let Some(other) = table.keys().next() {
        problems.push(format!("{file}: unknown key {other}"));
    }
    let mut entries = Vec::new();
    for item in items {
        match item {
            Value::Table(entry) => {
                let id = entry.get("id").and_then(Value::as_str).unwrap_or("(no id)");
                entries.push((format!("{file}: {id}"), entry));
            }
            _ => problems.push(format!("{file}: {key} is not a table")),
        }
    }
    entries
}

fn requirement(place: &str, mut entry: Table) -> Result<Requirement, String> {
    let requirement = Requirement {
        id: text(place, &mut entry, "id")?,
        level: name::<Level>(place, &mut entry, "level")?,
        party: name::<Party>(place, &mut entry, "party")?,
        since: name::<Version>(place, &mut entry, "since")?,
        until: if entry.contains_key("until") { Some(name(place, &mut entry, "until")?) } else { None },
        operation: name::<Topic>(place, &mut entry, "operation")?,
        section: text(place, &mut entry, "section")?,
        statement: text(place, &mut entry, "statement")?,
        observe: text(place, &mut entry, "observe")?,
        note: if entry.contains_key("note") { Some(text(place, &mut entry, "note")?) } else { None },
        unobservable: match entry.contains_key("unobservable") {
            true => Some(text(place, &mut entry, "unobservable")?),
            false => None,
        },
        head: match entry.remove("head") {
            None => false,
            Some(Value::Boolean(true)) => true,
            Some(_) => return Err(format!("{place}: head is true or absent")),
        },
        levels: levels(place, entry.remove("levels"))?,
        ambiguities: texts(place, &mut entry, "ambiguities")?,
    };
    finished(place, &entry)?;
    if requirement.until.is_some_and(|until| until < requirement.since) {
        return Err(format!("{place}: since is newer than until"));
    }
    Ok(requirement)
}

fn ambiguity(place: &str, mut entry: Table) -> Result<Ambiguity, String> {
    let ambiguity = Ambiguity {
        id: text(place, &mut entry, "id")?,
        title: text(place, &mut entry, "title")?,
        readings: texts(place, &mut entry, "readings")?,
        practice: text(place, &mut entry, "practice")?,
        verdict: text(place, &mut entry, "verdict")?,
        requirements: Vec::new(),
    };
    finished(place, &entry)?;
    if ambiguity.readings.is_empty() {
        return Err(format!("{place}: readings is empty"));
    }
    Ok(ambiguity)
}

/// Reads `[{ versions = "0.3.0-0.4.0", level = "SHOULD" }]` into one pair per version.
fn levels(place: &str, value: Option<Value>) -> Result<Vec<(Version, Level)>, String> {
    let items = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(format!("{place}: levels is not an array")),
    };
    let mut levels: Vec<(Version, Level)> = Vec::new();
    for item in items {
        let Value::Table(mut entry) = item else { return Err(format!("{place}: a level is not a table")) };
        let range = text(place, &mut entry, "versions")?;
        let level = name::<Level>(place, &mut entry, "level")?;
        finished(place, &entry)?;
        let (first, last) = range.split_once('-').unwrap_or((&range, &range));
        let (first, last) = (known::<Version>(place, first)?, known::<Version>(place, last)?);
        if first > last {
            return Err(format!("{place}: the range {range} runs backwards"));
        }
        for version in Version::ALL.into_iter().filter(|version| (first..=last).contains(version)) {
            if levels.iter().any(|(seen, _)| *seen == version) {
                return Err(format!("{place}: two levels for {version}"));
            }
            levels.push((version, level));
        }
    }
    Ok(levels)
}

fn text(place: &str, entry: &mut Table, key: &str) -> Result<String, String> {
    match entry.remove(key) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
        Some(_) => Err(format!("{place}: {key} is not a text")),
        None => Err(format!("{place}: {key} is missing")),
    }
}

fn texts(place: &str, entry: &mut Table, key: &str) -> Result<Vec<String>, String> {
    let Some(value) = entry.remove(key) else { return Ok(Vec::new()) };
    let items = value.as_array().ok_or_else(|| format!("{place}: {key} is not an array"))?;
    items
        .iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| format!("{place}: {key} holds no text")))
        .collect()
}

fn name<T: FromStr<Err = crate::UnknownName>>(
    place: &str,
    entry: &mut Table,
    key: &str,
) -> Result<T, String> {
    known(place, &text(place, entry, key)?)
}

fn known<T: FromStr<Err = crate::UnknownName>>(place: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{place}: {error}"))
}

fn finished(place: &str, entry: &Table) -> Result<(), String> {
    match entry.keys().next() {
        None => Ok(()),
        Some(key) => Err(format!("{place}: unknown key {key}")),
    }
}

fn duplicates<'a>(what: &str, ids: impl Iterator<Item = &'a String>, problems: &mut Vec<String>) {
    let mut seen = HashMap::new();
    for id in ids {
        if seen.insert(id, ()).is_some() {
            problems.push(format!("{id}: {what} id used twice"));
        }
    }
}

fn link(catalogue: &mut Catalogue, problems: &mut Vec<String>) {
    for requirement in &catalogue.requirements {
        for id in &requirement.ambiguities {
            match catalogue.ambiguities.iter_mut().find(|ambiguity| ambiguity.id == *id) {
                Some(ambiguity) => ambiguity.requirements.push(requirement.id.clone()),
                None => problems.push(format!(
                    "{}.toml: {}: unknown ambiguity {id}",
                    section(&requirement.id),
                    requirement.id
                )),
            }
        }
    }
}

/// The first part of an id, which is also its file's name.
fn section(id: &str) -> &str {
    id.split('.').next().unwrap_or(id)
}
