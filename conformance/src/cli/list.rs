//! `cnitest list`

use std::io::Write as _;

use clap::ValueEnum;
use cni_schemas::{Kind, PluginSchema};
use cni_spec::{Version, catalogue};
use cnitest::adapter::{self, Adapter};
use cnitest::certify::{Feature, Profile};
use cnitest::checks::{self, wild};
use cnitest::coverage::{self, State};
use cnitest::mutants::{self, Mutant};
use cnitest::target::{builtin, builtin_names};
use miette::{IntoDiagnostic as _, miette};
use serde_json::{Value, json};

/// Arguments of `cnitest list`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to list.
    #[arg(value_enum, default_value_t = Topic::Checks)]
    topic: Topic,
    /// With `requirements`: each with its checks and the mutants that prove them.
    #[arg(long)]
    coverage: bool,
    /// How.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Topic {
    /// Every requirement of the specification, with the checks that decide it.
    Requirements,
    /// Every check, with the requirements that it decides.
    Checks,
    /// Plugin types that cnitest knows how to attach with.
    Targets,
    /// Runtimes that cnitest knows how to drive.
    Runtimes,
    /// Deliberately broken plugins and runtimes, with the requirements that they break.
    Mutants,
    /// Kinds of documents, with the versions that have a schema.
    Schemas,
    /// Certification profiles, with their features and the checks of each.
    Profiles,
    /// Bugs found in the wild, with the checks that would have shown them.
    Bugs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        if self.coverage && self.topic != Topic::Requirements {
            return Err(miette!(
                help = "write `cnitest list requirements --coverage`",
                "--coverage goes with requirements only"
            ));
        }
        let rows = match self.topic {
            Topic::Requirements if self.coverage => coverage_rows(),
            Topic::Mutants => mutant_rows(),
            Topic::Requirements => requirements(),
            Topic::Checks => check_rows(),
            Topic::Targets => targets(),
            Topic::Runtimes => runtimes(),
            Topic::Schemas => schemas(),
            Topic::Profiles if self.format == Format::Human => return profiles_in_words(),
            Topic::Profiles => profiles(),
            Topic::Bugs => bugs(),
        };
        let mut out = std::io::stdout().lock();
        match self.format {
            Format::Json => {
                let rows: Vec<Value> = rows.into_iter().map(|row| row.json).collect();
                serde_json::to_writer_pretty(&mut out, &rows).into_diagnostic()?;
                writeln!(out).into_diagnostic()?;
            }
            Format::Human => {
                let columns = rows.first().map_or(0, |row| row.cells.len());
                let width = |column: usize| rows.iter().map(|row| row.cells[column].len()).max().unwrap_or(0);
                let widths: Vec<usize> = (0..columns).map(width).collect();
                for row in &rows {
                    let mut line = String::new();
                    for (cell, width) in row.cells.iter().zip(&widths) {
                        line.push_str(&format!("{cell:<width$}  "));
                    }
                    writeln!(out, "{}", line.trim_end()).into_diagnostic()?;
                }
            }
        }
        Ok(0)
    }
}

/// One thing that is listed.
struct Row {
    cells: Vec<String>,
    json: Value,
}

/// The ids of the checks that decide a requirement.
pub(super) fn checks_of(requirement: &str) -> Vec<&'static str> {
    checks::all().filter(|check| check.requirements.contains(&requirement)).map(|check| check.id).collect()
}

/// `1.0.0`, `0.4.0-1.0.0` or `1.1.0-`.
pub(super) fn range(since: Version, until: Option<Version>) -> String {
    match until {
        Some(until) if until == since => since.to_string(),
        Some(until) => format!("{since}-{until}"),
        None => format!("{since}-"),
    }
}

fn runtimes() -> Vec<Row> {
    let row = |adapter: Adapter| Row {
        cells: vec![adapter.name.clone(), adapter.about.clone()],
        json: json!({
            "name": adapter.name,
            "about": adapter.about,
            "find": adapter.find,
            "install": adapter.install,
            "specVersions": adapter.spec_versions(None).iter().map(Version::to_string).collect::<Vec<_>>(),
        }),
    };
    adapter::builtin_names().filter_map(adapter::builtin).map(row).collect()
}

fn requirements() -> Vec<Row> {
    let row = |known: &'static catalogue::Requirement| {
        let deciding = checks_of(known.id);
        Row {
            cells: vec![
                known.id.to_owned(),
                known.level.to_string(),
                known.party.to_string(),
                range(known.since, known.until),
                match deciding.len() {
                    0 => "no check".to_owned(),
                    _ => deciding.join(" "),
                },
            ],
            json: json!({
                "id": known.id,
                "level": known.level.to_string(),
                "party": known.party.to_string(),
                "since": known.since.to_string(),
                "until": known.until.map(|version| version.to_string()),
                "operation": known.operation.to_string(),
                "section": known.section,
                "statement": known.statement,
                "observe": known.observe,
                "ambiguities": known.ambiguities,
                "checks": deciding,
            }),
        }
    };
    catalogue::requirements().iter().map(row).collect()
}

fn check_rows() -> Vec<Row> {
    let row = |check: &'static checks::Check| Row {
        cells: vec![check.id.to_owned(), check.title.to_owned()],
        json: json!({
            "id": check.id,
            "title": check.title,
            "since": check.since.to_string(),
            "variants": check.variants,
            "requirements": check.requirements,
        }),
    };
    checks::all().map(row).collect()
}

fn coverage_rows() -> Vec<Row> {
    let row = |one: coverage::Coverage| {
        let known = one.requirement;
        let state = match one.state() {
            State::Proven => "proven".to_owned(),
            State::Unproven => "not proven by a mutant".to_owned(),
            State::Validated(command) => format!("decided by `{command}`"),
            State::Permission => "a permission, which nothing can break".to_owned(),
            State::Unobservable(why) => format!("cannot be observed: {why}"),
            State::Missing => "NO CHECK".to_owned(),
        };
        Row {
            cells: vec![
                known.id.to_owned(),
                known.party.to_string(),
                known.level.to_string(),
                range(known.since, known.until),
                one.checks.len().to_string(),
                one.mutants.len().to_string(),
                match one.checks.is_empty() {
                    true => state.clone(),
                    false => one.checks.join(" "),
                },
            ],
            json: json!({
                "id": known.id,
                "level": known.level.to_string(),
                "party": known.party.to_string(),
                "checks": one.checks,
                "mutants": one.mutants,
                "state": state,
            }),
        }
    };
    coverage::matrix().into_iter().map(row).collect()
}

fn mutant_rows() -> Vec<Row> {
    let row = |mutant: &'static Mutant| Row {
        cells: vec![mutant.name.to_owned(), mutant.about.to_owned(), mutant.breaks.join(" ")],
        json: json!({
            "name": mutant.name,
            "plugin": mutant.base,
            "about": mutant.about,
            "breaks": mutant.breaks,
        }),
    };
    mutants::all().map(row).collect()
}

fn bugs() -> Vec<Row> {
    let row = |bug: &wild::Bug| {
        let (needs, open) = match &bug.shown {
            wild::Shown::By(_) => (None, None),
            wild::Shown::Needs(what) => (Some(what), None),
            wild::Shown::Open(why) => (None, Some(why)),
        };
        Row {
            cells: vec![
                bug.id.clone(),
                bug.place(),
                match &bug.shown {
                    wild::Shown::By(checks) => checks.join(" "),
                    wild::Shown::Needs(what) => format!("takes {what}"),
                    wild::Shown::Open(why) => format!("NO CHECK: {why}"),
                },
            ],
            json: json!({
                "id": bug.id,
                "project": bug.project,
                "year": bug.year,
                "what": bug.what,
                "fixed": bug.fixed,
                "source": bug.source,
                "checks": bug.checks(),
                "needs": needs,
                "open": open,
            }),
        }
    };
    wild::all().iter().map(row).collect()
}

fn targets() -> Vec<Row> {
    let row = |name: &str| {
        let target = builtin(name)?;
        let bundled = cni_plugins::NAMES.contains(&name);
        let configurations: Vec<&str> =
            target.configurations.iter().map(|entry| entry.name.as_str()).collect();
        Some(Row {
            cells: vec![
                name.to_owned(),
                target.kind.as_str().to_owned(),
                if bundled { "bundled" } else { "" }.to_owned(),
                target.summary.clone(),
            ],
            json: json!({
                "name": name,
                "kind": target.kind.as_str(),
                "bundled": bundled,
                "summary": target.summary,
                "configurations": configurations,
            }),
        })
    };
    builtin_names().filter_map(row).collect()
}

fn schemas() -> Vec<Row> {
    let row = |kind: &Kind| {
        let versions: Vec<&str> = Version::ALL
            .iter()
            .filter(|version| kind.defined_in(**version))
            .map(|version| version.as_str())
            .collect();
        Row {
            cells: vec![kind.to_string(), versions.join(" "), kind.describe().to_owned()],
            json: json!({ "kind": kind.to_string(), "versions": versions }),
        }
    };
    let plugin = |name: &str| {
        let schema = PluginSchema::known(name).map(|plugin| plugin.schema);
        let title = schema.as_ref().and_then(|schema| schema["title"].as_str()).unwrap_or_default();
        Row {
            cells: vec![format!("plugin:{name}"), "all".to_owned(), title.to_owned()],
            json: json!({ "kind": format!("plugin:{name}"), "versions": Version::ALL.map(Version::as_str) }),
        }
    };
    Kind::ALL.iter().map(row).chain(PluginSchema::names().map(plugin)).collect()
}

fn profiles() -> Vec<Row> {
    let feature = |profile: Profile, feature: Feature| {
        let checks: Vec<&str> = profile.checks(feature).iter().map(|check| check.id).collect();
        json!({ "name": feature.name(), "checks": checks })
    };
    let row = |profile: Profile| {
        let features: Vec<Value> = profile.features().into_iter().map(|one| feature(profile, one)).collect();
        Row {
            cells: Vec::new(),
            json: json!({ "name": profile.as_str(), "summary": profile.describe(), "features": features }),
        }
    };
    Profile::ALL.into_iter().map(row).collect()
}

/// Too many checks for a table.
fn profiles_in_words() -> miette::Result<u8> {
    let mut out = std::io::stdout().lock();
    for profile in Profile::ALL {
        writeln!(out, "{profile}: {}", profile.describe()).into_diagnostic()?;
        for feature in profile.features() {
            let checks: Vec<&str> = profile.checks(feature).iter().map(|check| check.id).collect();
            let how = match (feature, checks.len()) {
                (Feature::Capability(_), 0) => "every case whose configuration hands it over".to_owned(),
                (_, 1) => "1 check".to_owned(),
                (_, number) => format!("{number} checks"),
            };
            writeln!(out, "  {}: {how}", feature.name()).into_diagnostic()?;
            for line in lines_of(&checks, super::width() - 6) {
                writeln!(out, "      {line}").into_diagnostic()?;
            }
        }
        writeln!(out).into_diagnostic()?;
    }
    Ok(0)
}

/// Words in lines of a width.
fn lines_of(words: &[&str], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut().filter(|line| line.len() + 1 + word.len() <= width) {
            Some(line) => line.push_str(&format!(" {word}")),
            None => lines.push((*word).to_owned()),
        }
    }
    lines
}
