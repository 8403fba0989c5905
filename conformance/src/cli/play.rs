//! Playing checks on plugins, as `cnitest plugin` and `cnitest verify` do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cni_spec::Version;
use cnitest::checks::Concerns;
use cnitest::suite::subject::{self, Found};
use cnitest::suite::{Options, Suite};
use cnitest::target::{Target, builtin};
use cnitest_reports::model::{RunOptions, RunSet, TargetText};
use globset::{Glob, GlobSet, GlobSetBuilder};
use miette::{Context as _, IntoDiagnostic as _, miette};
use tokio::signal::unix::{SignalKind, signal};

use super::plugin::duration;
use super::progress::Progress;

/// How plugins are executed: arguments of commands that play something on plugins.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// How to attach with the plugin, for one that cnitest does not know.
    #[arg(long, value_name = "FILE")]
    target: Option<PathBuf>,
    #[command(flatten)]
    playing: Playing,
}

/// How cases are played: arguments of commands that play something.
#[derive(Debug, clap::Args)]
pub(super) struct Playing {
    /// Play only in this version of the specification. May be repeated.
    #[arg(long, value_name = "VERSION")]
    spec_version: Vec<Version>,
    /// Let warnings (a SHOULD that is not met) fail the run too.
    #[arg(long)]
    strict: bool,
    /// Source of everything random; printed with the report.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Cases played at the same time [default: two for each processor, since the kernel often lets them wait].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    jobs: Option<u16>,
    /// Deadline of each execution, e.g. `10s` or `500ms`.
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration)]
    timeout: Duration,
}

impl How {
    /// What is to be played, but for which checks and against what.
    pub(super) fn wanted(&self) -> miette::Result<Wanted> {
        Ok(self.playing.wanted(self.target.as_deref().map(target_text).transpose()?))
    }
}

impl Playing {
    /// What is to be played, with this file for a target, but for which checks and against what.
    pub(super) fn wanted(&self, target_file: Option<TargetText>) -> Wanted {
        Wanted {
            options: RunOptions {
                only: Vec::new(),
                skip: Vec::new(),
                spec_versions: self.spec_version.iter().map(Version::to_string).collect(),
                timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
                target_file,
            },
            strict: self.strict,
            seed: self.seed,
            jobs: self.jobs,
            builtin: None,
            upgrade_from: None,
        }
    }
}

/// What is to be played, in words, as a report holds it.
pub(super) struct Wanted {
    /// What the report says of it.
    pub(super) options: RunOptions,
    /// Whether warnings fail the run.
    pub(super) strict: bool,
    /// The source of everything random.
    pub(super) seed: u64,
    /// Workers; two for each processor without a number.
    pub(super) jobs: Option<u16>,
    /// The built-in target to use, for a plugin that is not called by its name.
    pub(super) builtin: Option<String>,
    /// Another release of the plugins, for the skew checks.
    pub(super) upgrade_from: Option<PathBuf>,
}

impl Wanted {
    /// Plays it on all these plugins while watching for Ctrl-C.
    pub(super) fn play(self, found: Vec<Found>) -> miette::Result<RunSet> {
        let target = target(&self.options)?.or_else(|| self.builtin.as_deref().and_then(builtin));
        let others = releases(self.upgrade_from.as_deref(), &found)?;
        let options = self.into_options(others)?;
        require_a_check(&options, found.iter().any(|found| found.runtime.is_some()))?;
        let suite = Arc::new(Suite::new(options));
        let player = Arc::clone(&suite);
        let set = interruptible(
            move || {
                let progress = Progress::new(found.len());
                let mut runs = Vec::new();
                for plugin in &found {
                    let target = target.clone().or_else(|| subject::target(plugin));
                    runs.push(player.run(plugin, target.as_ref(), &|event| progress.on(&event))?);
                }
                Ok::<_, cnitest::arena::ArenaError>(RunSet::new(runs))
            },
            || suite.cancel(),
        )?;
        set.into_diagnostic()
    }

    pub(super) fn into_options(self, upgrade_from: Vec<Found>) -> miette::Result<Options> {
        let versions = self.options.spec_versions.iter().map(|text| text.parse::<Version>());
        Ok(Options {
            only: globs(&self.options.only)?,
            skip: globs(&self.options.skip)?,
            versions: versions.collect::<Result<_, _>>().into_diagnostic()?,
            sought: &[],
            strict: self.strict,
            upgrade_from,
            seed: self.seed,
            jobs: jobs(self.jobs),
            timeout: Duration::from_millis(self.options.timeout_ms),
            executable: std::env::current_exe().into_diagnostic().wrap_err("cannot find this executable")?,
            recorded: self.options,
        })
    }
}

/// Does the work on another thread. Ctrl-C or SIGTERM calls `cancel`, a second one ends cnitest at once.
pub(super) fn interruptible<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    cancel: impl Fn(),
) -> miette::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().into_diagnostic()?;
    let mut working = runtime.spawn_blocking(work);
    runtime.block_on(async {
        let mut interrupts = signal(SignalKind::interrupt()).into_diagnostic()?;
        let mut terminations = signal(SignalKind::terminate()).into_diagnostic()?;
        let mut cancelled = false;
        loop {
            let kind = tokio::select! {
                done = &mut working => break done.into_diagnostic(),
                _ = interrupts.recv() => SignalKind::interrupt(),
                _ = terminations.recv() => SignalKind::terminate(),
            };
            if cancelled {
                // As a shell tells of what a signal ended. The arenas end with this process.
                std::process::exit(128 + kind.as_raw_value());
            }
            eprintln!(
                "cnitest: interrupted; ending the cases under way; once more ends at once, without a report"
            );
            cancel();
            cancelled = true;
        }
    })
}

/// How many workers: as many as were asked for, or two for each processor, since most of the time goes by waiting for the
/// kernel.
pub(super) fn jobs(asked: Option<u16>) -> usize {
    asked.map_or_else(|| 2 * std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// A target file as reports hold it.
pub(super) fn target_text(path: &Path) -> miette::Result<TargetText> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the target file {file}"))?;
    Ok(TargetText { file, text })
}

/// The target that a run was told to use, unless it was a built-in one.
pub(super) fn target(options: &RunOptions) -> miette::Result<Option<Target>> {
    let parse = |given: &TargetText| Target::parse(&given.text, &given.file);
    options.target_file.as_ref().map(parse).transpose().into_diagnostic()
}

/// The other releases, each under the name of the plugin that it belongs to.
pub(super) fn releases(path: Option<&Path>, found: &[Found]) -> miette::Result<Vec<Found>> {
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

fn require_a_check(options: &Options, runtimes: bool) -> miette::Result<()> {
    let chosen = cnitest::checks::all().any(|check| {
        (options.only.is_empty() || options.only.is_match(check.id))
            && !options.skip.is_match(check.id)
            && (check.concerns == Concerns::Runtime) == runtimes
            && (!check.concerns.needs_other_release() || !options.upgrade_from.is_empty())
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

/// Patterns of names.
pub(super) fn globs(patterns: &[String]) -> miette::Result<GlobSet> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        builder.add(Glob::new(pattern).into_diagnostic()?);
    }
    builder.build().into_diagnostic()
}
