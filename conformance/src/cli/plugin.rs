//! `cnitest plugin`

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use cni_spec::Version;
use cnitest::checks::Concerns;
use cnitest::suite::subject::{self, Found};
use cnitest::suite::{Options, Suite};
use cnitest::target::{Target, builtin};
use cnitest_reports::human::Style;
use cnitest_reports::model::{CaseResult, Run, RunSet};
use cnitest_reports::{ReportKind, exit_code};
use globset::{Glob, GlobSet, GlobSetBuilder};
use miette::{Context as _, IntoDiagnostic as _, miette};

use super::{ReportFile, progress::Progress};

/// Arguments of `cnitest plugin`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Plugin executables or folders of them; a name without a slash is a bundled reference plugin. None: all of these.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How to attach with the plugin, for one that cnitest does not know.
    #[arg(long, value_name = "FILE")]
    target: Option<PathBuf>,
    /// Play only checks whose name matches (`del.*`). May be repeated.
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// Leave out checks whose name matches. May be repeated.
    #[arg(long, value_name = "GLOB")]
    skip: Vec<String>,
    /// Play only in this version of the specification. May be repeated.
    #[arg(long, value_name = "VERSION")]
    spec_version: Vec<Version>,
    /// Another release of the plugins, an executable or a folder of them: attachments that one release added are checked,
    /// deleted and collected by the other (`skew.*`).
    #[arg(long, value_name = "PATH")]
    upgrade_from: Option<PathBuf>,
    /// Let warnings (a SHOULD that is not met) fail the run too.
    #[arg(long)]
    strict: bool,
    /// Source of everything random; printed with the report.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Cases played at the same time [default: two for each processor, since the kernel often lets them wait].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    jobs: Option<u16>,
    /// Deadline of each execution of a plugin, e.g. `10s` or `500ms`.
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// What stdout carries.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Write a report to a file as well: `json=`, `junit=` or `human=FILE`. May be repeated.
    #[arg(long, value_name = "KIND=FILE")]
    report: Vec<ReportFile>,
    /// Write the reproducer of each failure and warning into this folder.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Show every case, and the reproducers of failures.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Human,
    Json,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let found = subject::find(&self.paths).into_diagnostic()?;
        let target = self.target.as_deref().map(Target::load).transpose().into_diagnostic()?;
        let executable = std::env::current_exe().into_diagnostic().wrap_err("cannot find this executable")?;
        let jobs = self.jobs.map(usize::from);
        let options = Options {
            only: globs(&self.only)?,
            skip: globs(&self.skip)?,
            versions: self.spec_version.clone(),
            strict: self.strict,
            upgrade_from: releases(self.upgrade_from.as_deref(), &found)?,
            seed: self.seed,
            jobs: jobs.unwrap_or_else(|| 2 * std::thread::available_parallelism().map_or(1, usize::from)),
            timeout: self.timeout,
            executable,
        };
        require_a_check(&options)?;
        let runs = play(options, found, target)?;
        let set = RunSet::new(runs);
        self.write(&set)?;
        Ok(exit_code(&set))
    }

    fn write(&self, set: &RunSet) -> miette::Result<()> {
        for report in &self.report {
            super::report::write(set, report)?;
        }
        if let Some(folder) = &self.keep {
            keep(set, folder)?;
        }
        let mut out = std::io::stdout().lock();
        match self.format {
            Format::Json => cnitest_reports::report(ReportKind::Json, set, &mut out),
            Format::Human => {
                let style = Style { color: super::colour(), width: super::width(), verbose: self.verbose };
                cnitest_reports::human::write(set, &style, &mut out)
            }
        }
        .and_then(|()| out.flush())
        .into_diagnostic()
        .wrap_err("cannot write to stdout")
    }
}

/// Plays all plugins while watching for Ctrl-C.
fn play(options: Options, found: Vec<Found>, target: Option<Target>) -> miette::Result<Vec<Run>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().into_diagnostic()?;
    let suite = Arc::new(Suite::new(options));
    let player = Arc::clone(&suite);
    let mut playing = runtime.spawn_blocking(move || {
        let progress = Progress::new(found.len());
        let mut runs = Vec::new();
        for plugin in &found {
            let target = target.clone().or_else(|| builtin(&plugin.name));
            runs.push(player.run(plugin, target.as_ref(), &|event| progress.on(&event))?);
        }
        Ok::<_, cnitest::arena::ArenaError>(runs)
    });
    runtime.block_on(async {
        loop {
            tokio::select! {
                done = &mut playing => break done.into_diagnostic()?.into_diagnostic(),
                _ = tokio::signal::ctrl_c() => {
                    eprintln!("cnitest: interrupted; ending the cases under way");
                    suite.cancel();
                }
            }
        }
    })
}

/// The other releases, each under the name of the plugin that it belongs to.
fn releases(path: Option<&Path>, found: &[Found]) -> miette::Result<Vec<Found>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let mut others = subject::find(&[path.to_owned()]).into_diagnostic()?;
    if let ([plugin], [other]) = (found, others.as_mut_slice()) {
        // Two executables belong together, whatever they are called.
        other.name.clone_from(&plugin.name);
    }
    match others.iter().any(|other| found.iter().any(|plugin| plugin.name == other.name)) {
        true => Ok(others),
        false => Err(miette!(
            help = "name a release of the same plugins, or a folder of them",
            "{} holds none of the plugins to test ({})",
            path.display(),
            found.iter().map(|plugin| plugin.name.as_str()).collect::<Vec<_>>().join(", ")
        )),
    }
}

fn require_a_check(options: &Options) -> miette::Result<()> {
    let chosen = cnitest::checks::all().any(|check| {
        (options.only.is_empty() || options.only.is_match(check.id))
            && !options.skip.is_match(check.id)
            && (check.concerns != Concerns::Upgrading || !options.upgrade_from.is_empty())
    });
    match chosen {
        true => Ok(()),
        false if options.only.is_match("skew.del") && options.upgrade_from.is_empty() => Err(miette!(
            help = "name the other release with --upgrade-from PATH",
            "the skew checks need another release of the plugin"
        )),
        false => Err(miette!(
            help = "`cnitest list checks` prints the names",
            "--only and --skip leave no check to play"
        )),
    }
}

pub(super) fn globs(patterns: &[String]) -> miette::Result<GlobSet> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        builder.add(Glob::new(pattern).into_diagnostic()?);
    }
    builder.build().into_diagnostic()
}

/// Writes each reproducer as `SUBJECT/CHECK-VERSION-CASE.sh`.
fn keep(set: &RunSet, folder: &Path) -> miette::Result<()> {
    for run in &set.runs {
        for result in run.results.iter().filter(|result| result.reproducer.is_some()) {
            let path = folder.join(&run.subject.name).join(format!("{}.sh", file_name(result)));
            let text = result.reproducer.as_deref().unwrap_or_default();
            std::fs::create_dir_all(path.parent().unwrap_or(folder))
                .and_then(|()| std::fs::write(&path, text))
                .into_diagnostic()
                .wrap_err_with(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn file_name(result: &CaseResult) -> String {
    let version = result.spec_version.as_deref().unwrap_or("any");
    let text = format!("{}-{version}-{}", result.check, result.case);
    let mut name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    name.truncate(120);
    name
}

/// `10s`, `500ms`, `2m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| "write a number and a unit: 10s, 500ms, 2m".to_owned())?;
    let seconds = match &text[digits.len()..] {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "" => return Err(format!("the unit is missing: write {text}s for seconds")),
        unit => return Err(format!("unknown unit {unit}: use ms, s, m or h")),
    };
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err("must lie between 1ms and 24h".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "10", "s", "-1s", "1d", "0s", "25h", "1e9h", "NaNs"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
