//! `cnitest explain`

use std::fmt::Write as _;
use std::io::Write as _;

use cni_spec::catalogue::{self, Ambiguity, Requirement};
use cnitest::checks::wild::{self, Bug, Shown};
use cnitest::checks::{self, Check};
use cnitest::hammer;
use miette::{IntoDiagnostic as _, miette};

use super::list::{checks_of, range};

/// Arguments of `cnitest explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A requirement (`del.idempotent`), a check (`del.repeated`), an ambiguity (`E3`) or a bug found in the wild (`B044`).
    id: String,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let id = self.id.as_str();
        let parts: Vec<String> = [
            catalogue::requirement(id).map(requirement),
            checks::find(id).map(check),
            hammers(id),
            catalogue::ambiguity(id).map(ambiguity),
            wild::find(id).map(bug),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() {
            let near = nearest(id).map_or(String::new(), |near| format!(" Did you mean {near}?"));
            let help =
                "`cnitest list requirements`, `cnitest list checks` and `cnitest list bugs` print all ids";
            return Err(miette!(
                help = help,
                "there is no requirement, check, ambiguity or bug \"{id}\".{near}"
            ));
        }
        std::io::stdout().lock().write_all(parts.join("\n").as_bytes()).into_diagnostic()?;
        Ok(0)
    }
}

fn requirement(known: &Requirement) -> String {
    let mut text = format!("Requirement {}\n", known.id);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{}", wrapped(name, value));
    };
    line("level", &levels(known));
    line("party", &known.party.to_string());
    line("operation", &known.operation.to_string());
    line("versions", &range(known.since, known.until));
    line("section", known.section);
    line("states", known.statement);
    line("observed by", known.observe);
    if let Some(note) = known.note {
        line("note", note);
    }
    if known.head {
        line("text", "added to the specification after the tag spec-v1.1.0");
    }
    for id in known.ambiguities {
        line("ambiguous", &format!("{id}: {}", catalogue::ambiguity(id).map_or("", |found| found.title)));
    }
    match checks_of(known.id) {
        none if none.is_empty() => line("decided by", "no check yet"),
        all => all.iter().for_each(|id| {
            line("decided by", &format!("{id}: {}", checks::find(id).map_or("", |check| check.title)));
        }),
    }
    text
}

/// `MUST`, or `MUST (0.4.0: SHOULD)` where the level changed.
fn levels(known: &Requirement) -> String {
    let others: Vec<String> =
        known.levels.iter().map(|(version, level)| format!("{version}: {level}")).collect();
    match others.is_empty() {
        true => known.level.to_string(),
        false => format!("{} ({})", known.level, others.join(", ")),
    }
}

fn check(check: &Check) -> String {
    let mut text = format!("Check {}\n", check.id);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{}", wrapped(name, value));
    };
    line("checks that", check.title);
    line("since", &format!("CNI {}", check.since));
    if !check.variants.is_empty() {
        line("cases", &check.variants.join("; "));
    }
    for id in check.requirements {
        let known = catalogue::requirement(id);
        let level = known.map_or(String::new(), |known| known.level.to_string());
        line("decides", &format!("{id} ({level}): {}", known.map_or("", |known| known.statement)));
    }
    for bug in wild::of_check(check.id) {
        line("bug", &format!("{}, found in the wild in {}: {}", bug.id, bug.place(), bug.what));
    }
    text
}

/// The check of the hammer, which stands beside those of `cnitest plugin`.
fn hammers(id: &str) -> Option<String> {
    if id != hammer::CHECK.id {
        return None;
    }
    let mut text = check(&hammer::CHECK);
    for (name, value) in [
        ("decides", "whatever requirement a finding names; `cnitest explain` tells of each"),
        (
            "played by",
            "`cnitest fuzz`, `cnitest replay` and `cnitest selftest --fuzz`, and not by `cnitest plugin`",
        ),
        ("passes", "when no scenario showed anything"),
    ] {
        let _ = writeln!(text, "{}", wrapped(name, value));
    }
    Some(text)
}

fn bug(bug: &Bug) -> String {
    let mut text = format!("Bug {}, found in the wild in {}\n", bug.id, bug.place());
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{}", wrapped(name, value));
    };
    line("happened", &bug.what);
    match bug.fixed.as_deref() {
        Some("no") => line("fixed in", "no release yet"),
        Some(release) => line("fixed in", release),
        None => {}
    }
    line("source", &bug.source);
    match &bug.shown {
        Shown::By(all) => all.iter().for_each(|id| {
            line("shown by", &format!("{id}: {}", checks::find(id).map_or("", |check| check.title)));
        }),
        Shown::Needs(what) => {
            line("not shown", &format!("a plugin's executable is not enough: it takes {what}"))
        }
        Shown::Open(why) => line("not shown", &format!("by any check yet: {why}")),
    }
    text
}

fn ambiguity(found: &Ambiguity) -> String {
    let mut text = format!("Ambiguity {}: {}\n", found.id, found.title);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{}", wrapped(name, value));
    };
    found.readings.iter().for_each(|reading| line("reading", reading));
    line("practice", found.practice);
    line("verdict", found.verdict);
    found.requirements.iter().for_each(|id| line("concerns", id));
    text
}

/// `  name         text`, wrapped and indented.
fn wrapped(name: &str, value: &str) -> String {
    const INDENT: usize = 16;
    let room = super::width() - INDENT;
    let mut lines = vec![String::new()];
    for word in value.split_whitespace() {
        let last = lines.last_mut().expect("never empty");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > room {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    format!("  {name:<width$}{}", lines.join(&format!("\n{}", " ".repeat(INDENT))), width = INDENT - 2)
}

/// The known id that is near enough to be what was meant.
fn nearest(id: &str) -> Option<&'static str> {
    let requirements = catalogue::requirements().iter().map(|known| known.id);
    let checks = checks::all().map(|check| check.id);
    let bugs = wild::all().iter().map(|bug| bug.id.as_str());
    cnitest_reports::nearest::nearest(id, requirements.chain(checks).chain(bugs).chain([hammer::CHECK.id]))
}
