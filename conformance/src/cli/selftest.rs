//! `cnitest selftest`

use std::io::Write as _;
use std::time::Duration;

use cnitest::mutants;
use cnitest::selftest::{Fate, Hammered, Options, Outcome, Trial, hammer, is_spotless, run};
use indicatif::ProgressBar;
use miette::{Context as _, IntoDiagnostic as _, miette};
use serde_json::{Value, json};

use super::output::Format;
use super::play::{globs, jobs};
use super::plugin::duration;
use super::progress::{self, Minutes};

/// Arguments of `cnitest selftest`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Mutants to try, by name or pattern (`bridge-del-*`). None: all of them, and the unbroken plugins.
    #[arg(value_name = "GLOB")]
    mutants: Vec<String>,
    /// Leave out checks whose name matches: the mutants that only they find survive. May be repeated.
    #[arg(long, value_name = "GLOB")]
    skip: Vec<String>,
    /// Mutants tried at the same time [default: two for each processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    jobs: Option<u16>,
    /// Deadline of each execution of a mutant.
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// Hammer each mutant with up to so many generated scenarios instead, and play no check: what does `fuzz` find alone?
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "skip")]
    fuzz: Option<u64>,
    /// With --fuzz: no scenario comes of another that showed something new.
    #[arg(long, requires = "fuzz")]
    blind: bool,
    /// What stdout carries.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let only = globs(&self.mutants)?;
        if !only.is_empty() && !mutants::all().any(|mutant| only.is_match(mutant.name)) {
            return Err(miette!(
                help = "`cnitest list mutants` prints the names",
                "no mutant is called {}",
                self.mutants.join(" or ")
            ));
        }
        let executable = std::env::current_exe().into_diagnostic().wrap_err("cannot find this executable")?;
        let options = Options {
            only,
            skip: globs(&self.skip)?,
            jobs: jobs(self.jobs),
            timeout: self.timeout,
            executable,
        };
        let bar = bar(&options);
        if let Some(cases) = self.fuzz {
            return self.hammer(&options, cases, &bar);
        }
        let minutes = Minutes::new();
        let outcome = run(&options, &|trial| {
            bar.set_message(trial.mutant.name);
            bar.inc(1);
            minutes.tell(&bar, || progress::position(&bar));
        });
        bar.finish_and_clear();
        let outcome = outcome.into_diagnostic()?;
        let text = match self.format {
            Format::Human => human(&outcome),
            Format::Json => format!("{:#}\n", document(&outcome)),
        };
        std::io::stdout().lock().write_all(text.as_bytes()).into_diagnostic()?;
        Ok(u8::from(!outcome.holds()))
    }

    fn hammer(&self, options: &Options, cases: u64, bar: &ProgressBar) -> miette::Result<u8> {
        let trials = hammer(options, cases, !self.blind, &|trial| {
            // It takes long: whoever keeps stderr in a file can see how far it is.
            if bar.is_hidden() {
                eprintln!("{}  {}", trial.mutant.name, told_of(trial));
            }
            bar.set_message(trial.mutant.name);
            bar.inc(1);
        });
        bar.finish_and_clear();
        let trials = trials.into_diagnostic()?;
        let text = match self.format {
            Format::Human => hammered(&trials),
            Format::Json => {
                let mutants: Vec<Value> = trials.iter().map(hammered_one).collect();
                format!("{:#}\n", json!({ "mutants": mutants, "summary": Effort::of(&trials).document() }))
            }
        };
        std::io::stdout().lock().write_all(text.as_bytes()).into_diagnostic()?;
        Ok(0)
    }
}

fn hammered(trials: &[Hammered]) -> String {
    let width = trials.iter().map(|trial| trial.mutant.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for trial in trials {
        text.push_str(&format!("{:width$}  {}\n", trial.mutant.name, told_of(trial)));
    }
    text.push_str(&format!("\n{}\n", Effort::of(trials)));
    text
}

fn told_of(trial: &Hammered) -> String {
    match &trial.cause {
        Some(cause) => format!("found by scenario {}: {}: {}", trial.cases, cause.requirement, cause.how),
        None => format!("not found in {} scenarios", trial.cases),
    }
}

/// What it took to find mutants, for comparing a run with another one.
struct Effort {
    mutants: usize,
    /// After how many scenarios each that was found was found, in ascending order.
    found: Vec<u64>,
    /// Scenarios that were played, those on mutants that were not found included.
    scenarios: u64,
}

impl Effort {
    fn of(trials: &[Hammered]) -> Effort {
        let found = trials.iter().filter(|trial| trial.cause.is_some());
        let mut found: Vec<u64> = found.map(|trial| trial.cases).collect();
        found.sort_unstable();
        Effort { mutants: trials.len(), found, scenarios: trials.iter().map(|trial| trial.cases).sum() }
    }

    /// The scenarios after which this share of the mutants that were found was found.
    fn after(&self, share: f64) -> Option<u64> {
        let count = (self.found.len() as f64 * share).ceil() as usize;
        self.found.get(count.saturating_sub(1)).copied()
    }

    fn document(&self) -> Value {
        json!({
            "mutants": self.mutants,
            "found": self.found.len(),
            "scenarios": self.scenarios,
            "scenariosUntilFound": {
                "median": self.after(0.5),
                "ninetieth": self.after(0.9),
                "total": self.found.iter().sum::<u64>(),
            },
        })
    }
}

impl std::fmt::Display for Effort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = 100.0 * self.found.len() as f64 / self.mutants.max(1) as f64;
        write!(f, "{} mutants: {} found by the hammer alone ({share:.0} %)", self.mutants, self.found.len())?;
        if let (Some(half), Some(most)) = (self.after(0.5), self.after(0.9)) {
            let total: u64 = self.found.iter().sum();
            write!(
                f,
                "; half of them by scenario {half}, nine of ten by {most}, {total} scenarios for all of them"
            )?;
        }
        write!(f, "; {} scenarios played", self.scenarios)
    }
}

fn hammered_one(trial: &Hammered) -> Value {
    json!({
        "mutant": trial.mutant.name,
        "found": trial.cause.as_ref().map(|cause| json!({ "requirement": cause.requirement, "how": cause.how })),
        "scenarios": trial.cases,
    })
}

/// A bar that counts mutants.
fn bar(options: &Options) -> ProgressBar {
    let chosen =
        mutants::all().filter(|mutant| options.only.is_empty() || options.only.is_match(mutant.name));
    let bar = progress::bar();
    bar.set_length(chosen.count() as u64);
    bar.set_prefix("mutants");
    bar.set_style(progress::style("{wide_bar} {pos}/{len} {elapsed} {msg:40!}"));
    bar
}

fn human(outcome: &Outcome) -> String {
    let width = outcome.trials.iter().map(|trial| trial.mutant.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for trial in &outcome.trials {
        text.push_str(&format!("{:width$}  {}\n", trial.mutant.name, told(trial)));
        for line in &trial.undecided {
            text.push_str(&format!("{:width$}  could not decide {line}\n", ""));
        }
    }
    if !outcome.idle.is_empty() {
        text.push_str("\nchecks that found no mutant:\n");
        outcome.idle.iter().for_each(|id| text.push_str(&format!("  {id}\n")));
    }
    if !outcome.unproven.is_empty() {
        text.push_str("\nrequirements that mutants break and no check found broken:\n");
        outcome.unproven.iter().for_each(|id| text.push_str(&format!("  {id}\n")));
    }
    for run in outcome.unbroken.iter().filter(|run| !is_spotless(run)) {
        text.push_str(&format!("\nthe unbroken plugin {} does not pass everything:\n", run.subject.name));
        let bad = run.results.iter().filter(|result| !matches!(result.verdict.as_str(), "pass" | "skip"));
        for result in bad {
            let reason = result.reason.as_deref().unwrap_or_default();
            text.push_str(&format!("  {} {} {}: {reason}\n", result.verdict, result.check, result.case));
        }
    }
    let killed = outcome.trials.iter().filter(|trial| matches!(trial.fate, Fate::Killed(_))).count();
    text.push_str(&format!(
        "\n{} mutants: {killed} killed, {} not",
        outcome.trials.len(),
        outcome.trials.len() - killed
    ));
    if !outcome.unbroken.is_empty() {
        let passed: u64 = outcome.unbroken.iter().map(|run| run.summary.pass).sum();
        let checks = cnitest::checks::all().count();
        text.push_str(&format!(
            "; {checks} checks: {} found none; {} unbroken plugins: {passed} cases pass",
            outcome.idle.len(),
            outcome.unbroken.len()
        ));
    }
    text.push_str(if outcome.holds() { "\nSELFTEST PASSED\n" } else { "\nSELFTEST FAILED\n" });
    text
}

fn told(trial: &Trial) -> String {
    match &trial.fate {
        Fate::Killed(caught) => {
            let mut checks: Vec<&str> = caught.iter().map(|one| one.check.as_str()).collect();
            checks.dedup();
            format!("killed by {}", checks.join(" "))
        }
        Fate::Survived { played } if played.is_empty() => {
            "SURVIVED: no check decides what it breaks".to_owned()
        }
        Fate::Survived { played } => {
            let played: Vec<&str> = played.iter().map(String::as_str).collect();
            format!("SURVIVED {}", played.join(" "))
        }
        Fate::Unplayed { reasons } => {
            let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
            format!("NOT PLAYED: {}", reasons.join("; "))
        }
    }
}

fn document(outcome: &Outcome) -> Value {
    let trial = |trial: &Trial| {
        let caught: Vec<Value> = match &trial.fate {
            Fate::Killed(all) => {
                all.iter().map(|one| json!({ "check": one.check, "requirement": one.requirement })).collect()
            }
            _ => Vec::new(),
        };
        json!({
            "mutant": trial.mutant.name,
            "plugin": trial.mutant.base,
            "about": trial.mutant.about,
            "breaks": trial.mutant.breaks,
            "killed": !caught.is_empty(),
            "caughtBy": caught,
            "undecided": trial.undecided,
        })
    };
    let unbroken =
        outcome.unbroken.iter().map(|run| json!({ "plugin": run.subject.name, "summary": run.summary }));
    json!({
        "mutants": outcome.trials.iter().map(trial).collect::<Vec<_>>(),
        "idleChecks": outcome.idle,
        "unprovenRequirements": outcome.unproven,
        "unbroken": unbroken.collect::<Vec<_>>(),
        "holds": outcome.holds(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effort_is_told_of_what_was_found() {
        let effort = |found: &[u64]| Effort { mutants: 4, found: found.to_vec(), scenarios: 70 };
        assert_eq!(
            effort(&[1, 4, 15]).to_string(),
            "4 mutants: 3 found by the hammer alone (75 %); half of them by scenario 4, nine of ten by 15, 20 scenarios \
             for all of them; 70 scenarios played"
        );
        assert_eq!(
            effort(&[]).to_string(),
            "4 mutants: 0 found by the hammer alone (0 %); 70 scenarios played"
        );
        assert_eq!(effort(&[2, 3]).document()["scenariosUntilFound"]["median"], 2);
        assert_eq!(effort(&[]).document()["scenariosUntilFound"]["median"], Value::Null);
    }
}
