//! Making the matrix.

use std::collections::BTreeMap;
use std::path::Path;

use cni_spec::catalogue::{requirement, requirements};
use cni_spec::{Level, Version};

use super::{COMPARISON_VERSION, Cell, ComparedSubject, Comparison, Contrast, Matrix, Row, Source};
use crate::model::{CaseResult, Run, Verdict};

impl<'a> Comparison<'a> {
    /// Compares the subjects of saved runs.
    pub fn of(sources: &[Source<'a>]) -> Comparison<'a> {
        let runs: Vec<Place<'a>> = sources.iter().flat_map(Place::all).collect();
        let (groups, alone) = groups(&runs, sources);
        let matrices: Vec<Matrix<'a>> = groups
            .into_iter()
            .map(|(name, subjects)| Matrix { name, rows: rows(&runs, &subjects), subjects })
            .collect();
        Comparison {
            comparison_version: COMPARISON_VERSION,
            differs: matrices.iter().any(|matrix| matrix.of(Contrast::Verdict).next().is_some()),
            subjects: runs.iter().map(|place| place.subject(&runs)).collect(),
            matrices,
            alone,
        }
    }
}

/// A run, and where it is.
struct Place<'a> {
    file: &'a str,
    index: usize,
    run: &'a Run,
}

impl<'a> Place<'a> {
    fn all(source: &Source<'a>) -> impl Iterator<Item = Place<'a>> + use<'a> {
        let file = source.file;
        source.set.runs.iter().enumerate().map(move |(index, run)| Place { file, index, run })
    }

    fn name(&self) -> &'a str {
        &self.run.subject.name
    }

    fn subject(&self, all: &[Place<'a>]) -> ComparedSubject<'a> {
        let subject = &self.run.subject;
        ComparedSubject {
            label: self.label(all),
            file: self.file,
            run: self.index,
            kind: &subject.kind,
            name: &subject.name,
            sha256: &subject.sha256,
            supported_versions: &subject.supported_versions,
            tool: &self.run.tool,
            environment: &self.run.environment,
            summary: self.run.summary,
            conformant: self.run.conformant,
        }
    }

    /// The name, with the file's where several have that name, and with the place in the file where that is not enough.
    fn label(&self, all: &[Place<'a>]) -> String {
        let namesakes = || all.iter().filter(|other| other.name() == self.name());
        if namesakes().count() == 1 {
            return self.name().to_owned();
        }
        let stem = |file: &str| {
            Path::new(file)
                .file_stem()
                .map_or_else(|| file.to_owned(), |stem| stem.to_string_lossy().into_owned())
        };
        if namesakes().filter(|other| stem(other.file) == stem(self.file)).count() == 1 {
            let stem = stem(self.file);
            // A file that is named after its subject says more than the subject's name.
            return if stem.contains(self.name()) { stem } else { format!("{} ({stem})", self.name()) };
        }
        format!("{} ({}#{})", self.name(), self.file, self.index)
    }
}

type Groups<'a> = Vec<(Option<&'a str>, Vec<usize>)>;

/// Which subjects are compared with which. Files with several plugins are compared plugin by plugin; runtimes, and files
/// of one plugin each, all with each other.
fn groups<'a>(runs: &[Place<'a>], sources: &[Source<'a>]) -> (Groups<'a>, Vec<usize>) {
    let plugins = runs.iter().all(|place| place.run.subject.kind == "plugin");
    let several = sources.iter().any(|source| source.set.runs.len() > 1);
    if sources.len() < 2 || !plugins || !several {
        return (vec![(None, (0..runs.len()).collect())], Vec::new());
    }
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, place) in runs.iter().enumerate() {
        by_name.entry(place.name()).or_default().push(index);
    }
    let alone = by_name.values().filter(|all| all.len() == 1).flatten().copied().collect();
    let groups = by_name.into_iter().filter(|(_, all)| all.len() > 1);
    (groups.map(|(name, all)| (Some(name), all)).collect(), alone)
}

/// The rows of these subjects: differences first, each part in the order of the catalogue.
fn rows<'a>(runs: &[Place<'a>], subjects: &[usize]) -> Vec<Row<'a>> {
    let columns: Vec<BTreeMap<&'a str, Cell<'a>>> =
        subjects.iter().filter_map(|index| runs.get(*index)).map(column).collect();
    let mut ids: Vec<&'a str> = columns.iter().flat_map(BTreeMap::keys).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut rows: Vec<Row<'a>> = ids
        .into_iter()
        .map(|id| {
            let cells: Vec<Cell<'a>> =
                columns.iter().map(|column| column.get(id).cloned().unwrap_or_default()).collect();
            let known = requirement(id);
            let level = known.map_or_else(String::new, |known| known.level.to_string());
            let statement = known.map_or("", |known| known.statement);
            Row { requirement: id, level, statement, contrast: contrast(&cells), cells }
        })
        .collect();
    let order = |id: &str| requirements().iter().position(|known| known.id == id).unwrap_or(usize::MAX);
    rows.sort_by_cached_key(|row| (row.contrast, order(row.requirement), row.requirement));
    rows
}

fn contrast(cells: &[Cell<'_>]) -> Contrast {
    let mut decided = cells.iter().filter(|cell| cell.is_decided()).map(|cell| cell.verdict);
    match decided.next() {
        Some(first) if decided.any(|other| other != first) => Contrast::Verdict,
        Some(_) if cells.iter().any(|cell| !cell.is_decided()) => Contrast::Tested,
        _ => Contrast::Same,
    }
}

/// What one subject does about every requirement that a case was about.
fn column<'a>(place: &Place<'a>) -> BTreeMap<&'a str, Cell<'a>> {
    let mut column: BTreeMap<&'a str, Cell<'a>> = BTreeMap::new();
    for (index, result) in place.run.results.iter().enumerate() {
        let ids = result.requirements.iter().chain(&result.broken).map(String::as_str);
        let mut seen = Vec::new();
        for id in ids {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            if let Some(verdict) = verdict_on(result, id) {
                let pointer = format!("{}#/runs/{}/results/{index}", place.file, place.index);
                add(column.entry(id).or_default(), verdict, result, pointer);
            }
        }
    }
    column
}

/// What a case decided about a requirement; `None` where it says nothing: it broke another.
fn verdict_on(result: &CaseResult, id: &str) -> Option<Verdict> {
    if !matches!(result.verdict, Verdict::Fail | Verdict::Warn) {
        return result.requirements.iter().any(|own| own == id).then_some(result.verdict);
    }
    if !result.breaks().contains(&id) {
        return None;
    }
    let Some(known) = requirement(id) else { return Some(result.verdict) };
    let version = result.spec_version.as_deref().and_then(|version| version.parse().ok());
    match Verdict::of_breaking(known, version.unwrap_or(Version::LATEST)) {
        Some(verdict @ (Verdict::Fail | Verdict::Warn)) => Some(verdict),
        // A case of no version broke a requirement that holds in none of the newest: the run's verdict stands.
        _ if !matches!(known.level, Level::May | Level::Practice) => Some(result.verdict),
        _ => None,
    }
}

/// How much a verdict weighs in a cell.
fn weight(verdict: Option<Verdict>) -> u8 {
    match verdict {
        None => 0,
        Some(Verdict::Skip) => 1,
        Some(Verdict::Pass) => 2,
        Some(Verdict::Warn) => 3,
        Some(Verdict::Error) => 4,
        Some(Verdict::Fail) => 5,
    }
}

fn add<'a>(cell: &mut Cell<'a>, verdict: Verdict, result: &'a CaseResult, pointer: String) {
    if weight(Some(verdict)) < weight(cell.verdict) {
        return;
    }
    if cell.verdict != Some(verdict) {
        *cell = Cell { verdict: Some(verdict), ..Cell::default() };
    }
    if let Some(version) = result.spec_version.as_deref()
        && !cell.versions.contains(&version)
    {
        cell.versions.push(version);
    }
    if verdict == Verdict::Pass {
        return;
    }
    cell.evidence.push(pointer);
    // The newest version stands for all, as everywhere in reports.
    let version = |result: &CaseResult| {
        result.spec_version.as_deref().and_then(|version| version.parse::<Version>().ok())
    };
    if cell.shown.is_none_or(|shown| version(result) > version(shown)) {
        cell.shown = Some(result);
        cell.reason = why(result);
    }
}

/// The first thing that was seen, or the first ground.
fn why(result: &CaseResult) -> String {
    let seen = result.evidence.as_ref().and_then(|evidence| evidence.observed.lines().next());
    seen.filter(|line| !line.is_empty()).or_else(|| result.grounds().next()).unwrap_or_default().to_owned()
}
