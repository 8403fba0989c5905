//! Plays the checks on the mutants: each mutant must be found by a check that decides a requirement which it breaks, and
//! each check must find a mutant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cni_spec::{Version, catalogue};
use cnitest_reports::model::{CaseResult, Run, Verdict};
use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::adapter;
use crate::arena::ArenaError;
use crate::checks::{self, Check, Concerns};
use crate::hammer::{self, Cause, Hammer, HammerError};
use crate::mutants::{self, Mutant};
use crate::suite::{self, Suite, subject};

/// What to play.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only mutants whose name matches; all of them when empty.
    pub only: GlobSet,
    /// Checks that are not played, to see that they are missed.
    pub skip: GlobSet,
    /// Trials at the same time.
    pub jobs: usize,
    /// Deadline of each execution.
    pub timeout: Duration,
    /// The executable that becomes the arenas' agent, the mutants and the plugins.
    pub executable: PathBuf,
}

/// A check found a mutant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Catch {
    /// The check.
    pub check: String,
    /// The requirement that it found broken.
    pub requirement: String,
}

/// What came of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was found, by these checks.
    Killed(BTreeSet<Catch>),
    /// It was played and not found.
    Survived {
        /// The checks that were played.
        played: BTreeSet<String>,
    },
    /// No check could be played on it.
    Unplayed {
        /// Why.
        reasons: BTreeSet<String>,
    },
}

/// One mutant, tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The mutant.
    pub mutant: &'static Mutant,
    /// What came of it.
    pub fate: Fate,
    /// Cases that cnitest could not decide, which must not happen.
    pub undecided: Vec<String>,
}

/// What all trials came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// One for each mutant chosen, in the order of the mutants.
    pub trials: Vec<Trial>,
    /// The checks that found no mutant; empty when not all mutants were tried.
    pub idle: Vec<&'static str>,
    /// The requirements that no check found broken, though all mutants that break them were tried.
    pub unproven: Vec<&'static str>,
    /// The runs of the unbroken plugins; empty when not all mutants were tried.
    pub unbroken: Vec<Run>,
}

impl Outcome {
    /// Every mutant was found, every check found one, every requirement that a mutant breaks was found broken, and the
    /// unbroken plugins pass everything.
    pub fn holds(&self) -> bool {
        let killed = |trial: &Trial| matches!(trial.fate, Fate::Killed(_)) && trial.undecided.is_empty();
        self.trials.iter().all(killed)
            && self.idle.is_empty()
            && self.unproven.is_empty()
            && self.unbroken.iter().all(is_spotless)
    }
}

/// Nothing failed, warned or could not be decided.
pub fn is_spotless(run: &Run) -> bool {
    run.summary.fail + run.summary.warn + run.summary.error == 0 && run.summary.pass > 0
}

/// Tries the mutants, and, when all of them are chosen, the unbroken plugins. `on_trial` hears of each trial as it ends.
///
/// # Errors
/// When no arena can be made.
pub fn run(options: &Options, on_trial: &(dyn Fn(&Trial) + Sync)) -> Result<Outcome, ArenaError> {
    let trials = in_parallel(&chosen(options), options.jobs, |mutant| {
        let trial = attempt(mutant, options)?;
        on_trial(&trial);
        Ok::<_, ArenaError>(trial)
    })?;
    let catches = catches(&trials);
    let unproven = unproven(&trials, &catches);
    if !options.only.is_empty() {
        return Ok(Outcome { trials, idle: Vec::new(), unproven, unbroken: Vec::new() });
    }
    let idle = idle(&catches, options);
    let bundled = subject::find(&[]).unwrap_or_default();
    let mut chosen = suite_options(options, GlobSet::empty(), Vec::new(), options.jobs);
    chosen.upgrade_from = bundled.clone();
    let suite = Suite::new(chosen);
    let mut unbroken = bundled
        .iter()
        .map(|found| suite.run(found, subject::target(found).as_ref(), &|_| ()))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(own) = adapter::builtin(adapter::DEFAULT) {
        unbroken.push(suite.run(&subject::runtime(own), None, &|_| ())?);
    }
    for plugin in mutants::unbroken() {
        unbroken.push(play_unbroken(plugin, options)?);
    }
    Ok(Outcome { trials, idle, unproven, unbroken })
}

/// A mutant that was hammered.
#[derive(Debug, Clone)]
pub struct Hammered {
    /// The mutant.
    pub mutant: &'static Mutant,
    /// What was found, if something was.
    pub cause: Option<Cause>,
    /// How many scenarios were played.
    pub cases: u64,
}

/// Hammers the mutants with up to `cases` scenarios each, without any check: how many does the hammer find by itself?
/// With `feedback`, scenarios that showed something new give rise to others.
///
/// # Errors
/// When no arena can be made.
pub fn hammer(
    options: &Options,
    cases: u64,
    feedback: bool,
    on_trial: &(dyn Fn(&Hammered) + Sync),
) -> Result<Vec<Hammered>, HammerError> {
    in_parallel(&chosen_plugins(options), options.jobs, |mutant| {
        let trial = hammer_one(mutant, options, cases, feedback)?;
        on_trial(&trial);
        Ok(trial)
    })
}

/// Does the work for each mutant, several at a time; results in the order of the mutants, or the first error in that order.
fn in_parallel<T: Send, E: Send>(
    mutants: &[&'static Mutant],
    jobs: usize,
    work: impl Fn(&'static Mutant) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Result<T, E>>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mutant) = mutants.get(index) else { break };
                    let outcome = work(mutant);
                    if let Ok(mut done) = done.lock() {
                        done.insert(index, outcome);
                    }
                }
            });
        }
    });
    done.into_inner().unwrap_or_default().into_values().collect()
}

fn hammer_one(
    mutant: &'static Mutant,
    options: &Options,
    cases: u64,
    feedback: bool,
) -> Result<Hammered, HammerError> {
    let suite = Suite::new(suite_options(options, GlobSet::empty(), Vec::new(), 1));
    let how = hammer::Options {
        time: None,
        cases: Some(cases),
        shard: (0, 1),
        corpus: None,
        feedback,
        first: true,
    };
    let found = subject::broken(mutant);
    let outcome = Hammer::new(suite, how).run(&found, subject::target(&found).as_ref(), &|_| ());
    match outcome {
        Ok(outcome) => {
            let cause =
                outcome.findings.into_iter().find(|finding| !finding.once).map(|finding| finding.cause);
            let cases = outcome.run.fuzz.map(|tally| tally.cases).unwrap_or_default();
            Ok(Hammered { mutant, cause, cases })
        }
        // That it does not even start is what is wrong with it.
        Err(HammerError::Unstartable(reason)) => {
            let cause = Cause { requirement: "exec.plugin-is-executable", how: reason };
            Ok(Hammered { mutant, cause: Some(cause), cases: 0 })
        }
        Err(error) => Err(error),
    }
}

fn chosen(options: &Options) -> Vec<&'static Mutant> {
    mutants::all().filter(|mutant| options.only.is_empty() || options.only.is_match(mutant.name)).collect()
}

/// The mutants chosen that are plugins.
fn chosen_plugins(options: &Options) -> Vec<&'static Mutant> {
    chosen(options).into_iter().filter(|mutant| !mutant.is_runtime()).collect()
}

/// Plays everything on a plugin that is made as mutants are, and has no defect.
///
/// # Errors
/// When no arena can be made.
fn play_unbroken(plugin: &'static Mutant, options: &Options) -> Result<Run, ArenaError> {
    let suite = Suite::new(suite_options(options, GlobSet::empty(), Vec::new(), options.jobs));
    let found = subject::broken(plugin);
    let mut run = suite.run(&found, subject::target(&found).as_ref(), &|_| ())?;
    plugin.name.clone_into(&mut run.subject.name);
    Ok(run)
}

fn attempt(mutant: &'static Mutant, options: &Options) -> Result<Trial, ArenaError> {
    let deciding: Vec<&Check> = checks::all()
        .filter(|check| check.requirements.iter().any(|id| mutant.breaks.contains(id)))
        .filter(|check| (check.concerns == Concerns::Runtime) == mutant.is_runtime())
        .filter(|check| !options.skip.is_match(check.id))
        .collect();
    if deciding.is_empty() {
        let fate = Fate::Survived { played: BTreeSet::new() };
        return Ok(Trial { mutant, fate, undecided: Vec::new() });
    }
    let mut chosen = suite_options(options, exactly(&deciding), versions(mutant), 1);
    chosen.sought = mutant.breaks;
    if !mutant.is_runtime() {
        chosen.upgrade_from = subject::find(&[PathBuf::from(mutant.base)]).unwrap_or_default();
    }
    let suite = Suite::new(chosen);
    let found = subject::broken(mutant);
    let run = suite.run(&found, subject::target(&found).as_ref(), &|_| ())?;
    Ok(Trial { mutant, fate: fate(mutant, &run), undecided: undecided(&run) })
}

/// The two newest versions in which each requirement holds, since one and the same answer cannot be right in both, and
/// the one that the mutant asks for.
fn versions(mutant: &Mutant) -> Vec<Version> {
    let known = mutant.breaks.iter().filter_map(|id| catalogue::requirement(id));
    let newest = known.flat_map(|requirement| {
        Version::ALL.into_iter().rev().filter(|version| requirement.holds_in(*version)).take(2)
    });
    newest.chain(mutant.also_in).collect::<BTreeSet<_>>().into_iter().collect()
}

fn fate(mutant: &Mutant, run: &Run) -> Fate {
    let finds = |result: &CaseResult| -> Vec<Catch> {
        let own = result.broken.iter().filter(|id| mutant.breaks.contains(&id.as_str()));
        own.map(|id| Catch { check: result.check.clone(), requirement: id.clone() }).collect()
    };
    let caught: BTreeSet<Catch> = run.results.iter().flat_map(finds).collect();
    if !caught.is_empty() {
        return Fate::Killed(caught);
    }
    let (skipped, played): (Vec<_>, Vec<_>) =
        run.results.iter().partition(|result| result.verdict == Verdict::Skip);
    if played.is_empty() {
        return Fate::Unplayed {
            reasons: skipped.iter().filter_map(|result| result.reason.clone()).collect(),
        };
    }
    Fate::Survived { played: played.iter().map(|result| result.check.clone()).collect() }
}

/// What must not happen: cases that could not be decided, and verdicts on requirements that the check does not name.
fn undecided(run: &Run) -> Vec<String> {
    let stray = run.results.iter().flat_map(|result| {
        let named = |id: &String| {
            checks::ANY.contains(&id.as_str())
                || checks::find(&result.check).is_some_and(|check| check.requirements.contains(&id.as_str()))
        };
        let stray = result.broken.iter().filter(move |id| !named(id));
        stray.map(|id| format!("{}: it judges {id}, which it does not name", result.check))
    });
    let errors = run.results.iter().filter(|result| result.verdict == Verdict::Error).map(|result| {
        format!("{} {}: {}", result.check, result.case, result.reason.clone().unwrap_or_default())
    });
    errors.chain(stray).collect::<BTreeSet<_>>().into_iter().collect()
}

fn catches(trials: &[Trial]) -> BTreeSet<Catch> {
    let caught = trials.iter().filter_map(|trial| match &trial.fate {
        Fate::Killed(caught) => Some(caught),
        _ => None,
    });
    caught.flatten().cloned().collect()
}

fn idle(catches: &BTreeSet<Catch>, options: &Options) -> Vec<&'static str> {
    let busy: BTreeSet<&str> = catches.iter().map(|one| one.check.as_str()).collect();
    let played = checks::all().filter(|check| !options.skip.is_match(check.id));
    played.map(|check| check.id).filter(|id| !busy.contains(id)).collect()
}

fn unproven(trials: &[Trial], catches: &BTreeSet<Catch>) -> Vec<&'static str> {
    let tried: BTreeSet<&str> = trials.iter().map(|trial| trial.mutant.name).collect();
    let proven: BTreeSet<&str> = catches.iter().map(|one| one.requirement.as_str()).collect();
    let elsewhere: BTreeSet<&str> = mutants::all()
        .filter(|mutant| !tried.contains(mutant.name))
        .flat_map(|mutant| mutant.breaks.iter().copied())
        .collect();
    let claimed: BTreeSet<&'static str> =
        trials.iter().flat_map(|trial| trial.mutant.breaks.iter().copied()).collect();
    claimed.into_iter().filter(|id| !proven.contains(id) && !elsewhere.contains(id)).collect()
}

fn suite_options(options: &Options, only: GlobSet, versions: Vec<Version>, jobs: usize) -> suite::Options {
    suite::Options {
        only,
        skip: options.skip.clone(),
        versions,
        sought: &[],
        strict: false,
        upgrade_from: Vec::new(),
        seed: 1,
        jobs,
        timeout: options.timeout,
        executable: options.executable.clone(),
        recorded: Default::default(),
    }
}

/// The set that matches these checks and no others.
fn exactly(checks: &[&Check]) -> GlobSet {
    let mut builder = GlobSetBuilder::new();
    for check in checks {
        // Ids hold letters, digits, dots and hyphens: none of these means anything in a pattern.
        if let Ok(glob) = Glob::new(check.id) {
            builder.add(glob);
        }
    }
    builder.build().unwrap_or_default()
}
