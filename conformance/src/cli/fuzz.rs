//! `cnitest fuzz`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cnitest::hammer::against::{self, Compared};
use cnitest::hammer::scenario::Scenario;
use cnitest::hammer::{Event, Finding, Hammer, HammerError, Options, Outcome, markdown};
use cnitest::suite::subject::Found;
use cnitest::suite::{Suite, subject};
use cnitest::target::Target;
use cnitest_reports::exit_code;
use cnitest_reports::model::{Difference, FuzzTally, Run, RunSet};
use indicatif::ProgressBar;
use miette::{Context as _, IntoDiagnostic as _};
use serde::{Deserialize, Serialize};

use super::baseline::BaselineFile;
use super::output::Output;
use super::play::{self, How, interruptible};
use super::plugin::duration;
use super::progress::{self, Minutes};

/// What `fuzz` plays when neither a time nor a number is given.
const TIME: Duration = Duration::from_secs(60);

/// Arguments of `cnitest fuzz`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Plugin executables or folders of them; a name without a slash is a bundled reference plugin.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// How long each plugin is hammered, e.g. `10m` [default: 1m without --cases].
    #[arg(long, value_name = "DUR", value_parser = duration)]
    time: Option<Duration>,
    /// How many scenarios are played on each plugin.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cases: Option<u64>,
    /// Play the I-th of N parts of the stream, from 1, so that N machines play all of it.
    #[arg(long, value_name = "I/N", value_parser = shard, default_value = "1/1")]
    shard: (u64, u64),
    /// Keep scenarios that showed something new in this folder, and begin with those that are there.
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Play only generated scenarios, and none that came of others.
    #[arg(long)]
    blind: bool,
    /// Play the same scenarios on this plugin too, and tell how the two differ instead of judging: an executable, a folder
    /// that holds one of the same name, or a bundled plugin.
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    output: Output,
    /// Write each finding into this folder: JSON for `cnitest replay`, a shell script, and Markdown for an issue tracker.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let found = subject::find(&self.paths).into_diagnostic()?;
        let baseline = self.output.prepare()?;
        let others = play::releases(self.against.as_deref(), &found)?;
        let wanted = self.how.wanted()?;
        let target = play::target(&wanted.options)?;
        let suite = Suite::new(wanted.into_options(Vec::new())?);
        let options = Options {
            time: self.time.or(self.cases.is_none().then_some(TIME)),
            cases: self.cases,
            shard: (self.shard.0 - 1, self.shard.1),
            corpus: self.corpus.clone(),
            feedback: !self.blind,
            first: false,
        };
        let hammer = Arc::new(Hammer::new(suite, options));
        if self.against.is_some() {
            return self.compare(found, others, target, &hammer, baseline.as_ref());
        }
        let outcomes: Vec<Outcome> = each(found, target, &hammer, |hammer, plugin, target, on_event| {
            hammer.run(plugin, target, on_event).map(Some)
        })?;
        if let Some(folder) = &self.keep {
            for outcome in &outcomes {
                keep(outcome, folder)?;
            }
        }
        let runs = outcomes.into_iter().map(|outcome| outcome.run).collect();
        let set = self.output.write(RunSet::new(runs), baseline.as_ref())?;
        // The report for a person has it.
        for run in set.runs.iter().filter(|_| self.output.is_json()) {
            if let Some(tally) = &run.fuzz {
                eprintln!("{}: {}", run.subject.name, told(tally));
            }
        }
        Ok(exit_code(&set))
    }

    fn compare(
        &self,
        found: Vec<Found>,
        others: Vec<Found>,
        target: Option<Target>,
        hammer: &Arc<Hammer>,
        baseline: Option<&BaselineFile>,
    ) -> miette::Result<u8> {
        let compared: Vec<Compared> =
            each(found, target, hammer, move |hammer, plugin, target, on_event| {
                let Some(other) = others.iter().find(|other| other.name == plugin.name) else {
                    eprintln!("{}: nothing to compare with", plugin.name);
                    return Ok(None);
                };
                hammer.compare(plugin, other, target, on_event).map(Some)
            })?;
        if let Some(folder) = &self.keep {
            for one in &compared {
                keep_differences(one, folder)?;
            }
        }
        let runs = compared.into_iter().map(|one| one.run).collect();
        let set = self.output.write(RunSet::new(runs), baseline)?;
        Ok(exit_code(&set))
    }
}

/// Does something with each plugin and its target, with progress, until the user interrupts.
fn each<T: Send + 'static>(
    found: Vec<Found>,
    target: Option<Target>,
    hammer: &Arc<Hammer>,
    act: impl Fn(&Hammer, &Found, Option<&Target>, &(dyn Fn(Event<'_>) + Sync)) -> Result<Option<T>, HammerError>
    + Send
    + 'static,
) -> miette::Result<Vec<T>> {
    let player = Arc::clone(hammer);
    interruptible(
        move || {
            let mut all = Vec::new();
            for plugin in &found {
                let target = target.clone().or_else(|| subject::target(plugin));
                let progress = Progress::new(&plugin.name);
                all.extend(act(&player, plugin, target.as_ref(), &|event| progress.on(&event))?);
                progress.end();
            }
            Ok::<_, HammerError>(all)
        },
        || hammer.cancel(),
    )?
    .into_diagnostic()
}

/// A difference as `--keep` writes it and `cnitest replay --against` reads it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeptDifference {
    /// The first plugin, as it was given.
    pub(super) plugin: String,
    /// The second one.
    pub(super) against: String,
    /// The built-in target that was used, if one was.
    pub(super) target: Option<String>,
    /// What differs.
    pub(super) difference: Difference,
    /// What shows it.
    pub(super) scenario: Scenario,
}

fn keep_differences(compared: &Compared, folder: &Path) -> miette::Result<()> {
    let run = &compared.run;
    let folder = folder.join(&run.subject.name);
    let other = run.against().map(|against| against.plugin.path.clone()).unwrap_or_default();
    for (index, differing) in compared.differences.iter().enumerate() {
        let difference = &differing.difference;
        let operation = difference.operation.to_lowercase().replace(' ', "-");
        let stem = folder.join(format!("{:03}-{operation}", index + 1));
        let write = |end: &str, text: String| write_file(&folder, &format!("{}{end}", stem.display()), text);
        let kept = KeptDifference {
            plugin: run.subject.path.clone(),
            against: other.clone(),
            target: run.subject.target.clone(),
            difference: difference.clone(),
            scenario: differing.scenario.clone(),
        };
        write(".json", serde_json::to_string_pretty(&kept).into_diagnostic()? + "\n")?;
        write(".md", against::markdown(run, differing))?;
        write("-first.sh", differing.first.script.clone())?;
        write("-second.sh", differing.second.script.clone())?;
    }
    Ok(())
}

fn write_file(folder: &Path, path: &str, text: String) -> miette::Result<()> {
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot write {path}"))
}

/// A finding as `--keep` writes it and `cnitest replay` reads it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeptFinding {
    /// The plugin, as it was given.
    pub(super) plugin: String,
    /// The built-in target that was used, if one was.
    pub(super) target: Option<String>,
    /// The requirement that is broken.
    pub(super) requirement: String,
    /// How.
    pub(super) how: String,
    /// What shows it.
    pub(super) scenario: Scenario,
}

fn keep(outcome: &Outcome, folder: &Path) -> miette::Result<()> {
    let folder = folder.join(&outcome.run.subject.name);
    for (index, finding) in outcome.findings.iter().enumerate() {
        let stem = folder.join(format!("{:03}-{}", index + 1, finding.cause.requirement));
        let write = |extension: &str, text: String| {
            write_file(&folder, &format!("{}.{extension}", stem.display()), text)
        };
        let kept = kept(&outcome.run, finding);
        write("json", serde_json::to_string_pretty(&kept).into_diagnostic()? + "\n")?;
        write("md", markdown(&outcome.run, finding))?;
        if let Some(script) = &finding.result.reproducer {
            write("sh", script.clone())?;
        }
    }
    Ok(())
}

fn kept(run: &Run, finding: &Finding) -> KeptFinding {
    KeptFinding {
        plugin: run.subject.path.clone(),
        target: run.subject.target.clone(),
        requirement: finding.cause.requirement.to_owned(),
        how: finding.cause.how.clone(),
        scenario: finding.scenario.clone(),
    }
}

/// `12,345 scenarios, ...`
fn told(tally: &FuzzTally) -> String {
    let rate = tally.cases as f64 / (tally.elapsed_ms / 1000.0).max(0.001);
    format!(
        "{} scenarios ({rate:.0}/s), {} executions, {} behaviours, {} of {} constraints broken, {} kept, {} findings{}",
        tally.cases,
        tally.executions,
        tally.behaviours,
        tally.constraints_broken,
        tally.constraints,
        tally.corpus,
        tally.findings,
        tally.coverage.map_or_else(String::new, |counters| format!("; coverage: {counters} counters seen"))
    )
}

/// `I/N` with I from 1 to N.
fn shard(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').and_then(|(this, of)| Some((this.parse().ok()?, of.parse().ok()?)));
    match parts {
        Some((this, of)) if (1..=of).contains(&this) => Ok((this, of)),
        _ => Err("write it as I/N with I from 1 to N, e.g. 2/4".to_owned()),
    }
}

/// One line on a terminal, renewed as the run goes on, and a line a minute elsewhere; findings as they come everywhere.
struct Progress {
    bar: ProgressBar,
    minutes: Minutes,
}

impl Progress {
    fn new(name: &str) -> Progress {
        let bar = progress::bar();
        bar.set_style(progress::style("{prefix}: {wide_msg}"));
        bar.set_prefix(name.to_owned());
        Progress { bar, minutes: Minutes::new() }
    }

    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Progress(tally) => {
                self.bar.set_message(told(tally));
                self.bar.tick();
                self.minutes.tell(&self.bar, || format!("{}: {}", self.bar.prefix(), self.bar.message()));
            }
            Event::Differs(difference) => {
                let line =
                    format!("differs: {} {}: {}", difference.operation, difference.kind, difference.how);
                self.bar.suspend(|| eprintln!("{line}"));
            }
            Event::Found(finding) => {
                let line = format!(
                    "found: {} {}: {}",
                    finding.result.verdict, finding.cause.requirement, finding.result.title
                );
                self.bar.suspend(|| eprintln!("{line}"));
            }
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_count_from_one() {
        assert_eq!(shard("1/1"), Ok((1, 1)));
        assert_eq!(shard("3/4"), Ok((3, 4)));
        for wrong in ["0/4", "5/4", "4", "a/b", "1/0", ""] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
