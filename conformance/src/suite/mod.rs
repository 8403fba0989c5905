//! The suite: plays every check on a plugin and gathers the results.
//!
//! A run has three steps. [`Probe`] starts the plugin once with VERSION and finds out which configurations of its
//! target can work here. [`plan`] lists the cases. [`Suite::run`] plays them on several workers, each with an arena
//! of its own that is used again only while it is pristine.

mod plan;
mod play;
mod probe;
pub mod subject;
pub mod verdict;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use cnitest_reports::model::{
    CaseResult, Environment, Release, Run, RunOptions, Subject as ReportSubject, Tool,
};
use globset::GlobSet;

use crate::adapter;
use crate::arena::{Arena, ArenaConfig, ArenaError, Bind, PLUGIN_DIR, PluginAlias};
use crate::checks::Observations;
use crate::target::Target;

pub use plan::{Plan, Planned, plan};
pub(crate) use play::{conclude, evidence, execution as evidence_of};
pub use probe::{Probe, Unusable};
use subject::Found;

/// How often a plugin may run into its deadline before the rest of its cases is skipped.
const HANGS: usize = 3;

/// What to do and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Play only checks that match one of these.
    pub only: GlobSet,
    /// Leave out checks that match one of these.
    pub skip: GlobSet,
    /// Play only in these versions; all that the plugin supports when empty.
    pub versions: Vec<cni_spec::Version>,
    /// Requirements that are known to be broken: a check that found all of these that it decides is not played any more.
    pub sought: &'static [&'static str],
    /// Let warnings fail the run.
    pub strict: bool,
    /// Other releases of the plugins, paired by name, which have to get on with their attachments.
    pub upgrade_from: Vec<Found>,
    /// Written into the report, and the source of everything random.
    pub seed: u64,
    /// Workers.
    pub jobs: usize,
    /// Deadline of each execution.
    pub timeout: Duration,
    /// The executable that becomes the arenas' agent and the bundled plugins.
    pub executable: PathBuf,
    /// The same in words, for the report.
    pub recorded: RunOptions,
}

/// What happens during a run, for progress displays.
#[derive(Debug)]
pub enum Event<'a> {
    /// A plugin's cases are about to be played.
    Started {
        /// The plugin.
        name: &'a str,
        /// How many cases.
        cases: usize,
    },
    /// A case has its result.
    Finished(&'a CaseResult),
}

/// Plays checks on plugins.
#[derive(Debug)]
pub struct Suite {
    options: Options,
    cancelled: AtomicBool,
}

impl Suite {
    /// A suite with these options.
    pub fn new(options: Options) -> Suite {
        Suite { options, cancelled: AtomicBool::new(false) }
    }

    /// Asks the run to end soon: cases that have not begun are skipped.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Tests one plugin. `target` says how to attach with it.
    ///
    /// # Errors
    /// When no arena can be made. What goes wrong later is an `error` result of the case.
    pub fn run(
        &self,
        found: &Found,
        target: Option<&Target>,
        on_event: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Run, ArenaError> {
        let clock = Instant::now();
        let started = SystemTime::now();
        let config = self.arena_config(found);
        let mut arena = Arena::start(&config)?;
        let probe = self.probe(&mut arena, found, target)?;
        let planned = plan(&probe, target, &self.options);
        on_event(Event::Started { name: &found.name, cases: planned.len() });
        let hangs = AtomicUsize::new(0);
        let player = play::Player {
            suite: self,
            config: &config,
            probe: &probe,
            target,
            hangs: &hangs,
            found: Mutex::default(),
            observations: Observations::default(),
            on_event,
        };
        let results = player.play(&planned, arena);
        let mut run = self.report(found, target, &probe, started, results);
        run.duration_ms = clock.elapsed().as_secs_f64() * 1000.0;
        run.finish();
        Ok(run)
    }

    /// A run with these results; its duration and summary are still to be filled in.
    pub(crate) fn report(
        &self,
        found: &Found,
        target: Option<&Target>,
        probe: &Probe,
        started: SystemTime,
        results: Vec<CaseResult>,
    ) -> Run {
        Run {
            report_version: cnitest_reports::model::REPORT_VERSION.to_owned(),
            tool: Tool { name: "cnitest".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            environment: environment(probe.missing.clone()),
            seed: self.options.seed,
            strict: self.options.strict,
            options: self.options.recorded.clone(),
            started: rfc3339(started),
            duration_ms: 0.0,
            subject: ReportSubject {
                kind: if found.runtime.is_some() { "runtime" } else { "plugin" }.to_owned(),
                name: found.name.clone(),
                path: found.program.display().to_string(),
                sha256: subject::digest(&found.host_path).unwrap_or_default(),
                supported_versions: probe.subject.advertised.clone(),
                target: target.map(|target| target.name.clone()),
                target_note: probe.note.clone(),
                upgrade_from: self.other_of(found).map(|other| Release {
                    path: other.program.display().to_string(),
                    sha256: subject::digest(&other.host_path).unwrap_or_default(),
                    supported_versions: probe.other_advertised.clone(),
                }),
            },
            results,
            baseline: None,
            fuzz: None,
            summary: Default::default(),
            conformant: false,
        }
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What must be known of a plugin first.
    ///
    /// # Errors
    /// When the arena fails.
    pub(crate) fn probe(
        &self,
        arena: &mut Arena,
        found: &Found,
        target: Option<&Target>,
    ) -> Result<Probe, ArenaError> {
        Probe::new(arena, found, self.other_of(found), target, &self.options)
    }

    /// The other release of a plugin, if one was given.
    fn other_of(&self, found: &Found) -> Option<&Found> {
        self.options.upgrade_from.iter().find(|other| other.name == found.name)
    }

    pub(crate) fn arena_config(&self, found: &Found) -> ArenaConfig {
        let both = || [Some(found), self.other_of(found)].into_iter().flatten();
        let alias =
            |name: &str| PluginAlias { name: name.to_owned(), executable: self.options.executable.clone() };
        let mutant = |found: &Found| -> Option<PluginAlias> {
            let below =
                found.program.strip_prefix(PLUGIN_DIR).ok().filter(|below| below.components().count() > 1)?;
            let name = below.display().to_string();
            Some(PluginAlias { name, executable: self.options.executable.clone() })
        };
        // A runtime meets spies, and the bundled plugins are none of its business.
        let names =
            if found.runtime.is_some() { vec![adapter::DEFAULT] } else { cni_plugins::NAMES.to_vec() };
        let mut folders: Vec<&PathBuf> = both().filter_map(|found| found.folder.as_ref()).collect();
        folders.sort();
        folders.dedup();
        let mut mutants: Vec<PluginAlias> = both().filter_map(mutant).collect();
        mutants.dedup_by(|a, b| a.name == b.name);
        ArenaConfig {
            agent_executable: self.options.executable.clone(),
            binds: folders.into_iter().map(Bind::at_own_path).collect(),
            plugin_aliases: names.into_iter().map(alias).chain(mutants).collect(),
            containers: found.runtime.as_ref().is_some_and(|adapter| adapter.containers),
            ..ArenaConfig::default()
        }
    }
}

/// The folders of CNI_PATH: the plugin's own first, so that it meets the delegated plugins that it is installed with.
fn cni_path(found: &Found) -> Vec<PathBuf> {
    found.folder.iter().cloned().chain([PathBuf::from(PLUGIN_DIR)]).collect()
}

/// Where this runs; `missing` is what was found to be lacking.
pub(crate) fn environment(missing: Vec<String>) -> Environment {
    let system = nix::sys::utsname::uname();
    let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
    Environment {
        kernel: system.as_ref().map(|name| text(name.release())).unwrap_or_default(),
        arch: system.as_ref().map(|name| text(name.machine())).unwrap_or_default(),
        privilege: match nix::unistd::geteuid().is_root() {
            true => "root".to_owned(),
            false => "user namespace".to_owned(),
        },
        missing_features: missing,
    }
}

/// A moment as RFC 3339 in UTC, to the second.
pub(crate) fn rfc3339(moment: SystemTime) -> String {
    let seconds = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date from the day number, by eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
