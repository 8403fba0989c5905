//! The hammer: plays generated scenarios on a plugin until the time is over, and makes what it finds small.
//!
//! - [`scenario`]: what is played, as data.
//! - `make`: makes scenarios from the target's configurations and the schemas.
//! - `play`: plays one in an arena and judges every step.
//! - `volley`: plays many faulty requests in one go.
//! - [`harmless`]: changes that a plugin must not mind.
//! - `fault`: puts faults into requests, and says what must come of them.
//! - `deck`: deals what was played least before.
//! - `sources`: where scenarios come from, and what each source yields.
//! - `cause`: tells findings, and behaviours, apart.
//! - `minimise`: the shortest scenario that still shows a finding.
//! - `instrumented`: the counters of plugins that were built with coverage.
//! - `corpus`: scenarios that showed something new, kept for more.
//! - `issue`: a finding as text for an issue tracker.
//! - `trace`: what a plugin did in a scenario, without what chance decides.
//! - [`against`]: the same scenarios on two plugins.

pub mod against;
mod cause;
mod corpus;
mod deck;
mod fault;
pub mod harmless;
mod instrumented;
mod issue;
mod judge;
mod make;
mod minimise;
mod play;
pub mod scenario;
mod sources;
mod trace;
mod volley;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use cni_schemas::generate::Random;
use cni_spec::Version;
use cnitest_reports::model::{CaseResult, Difference, FUZZ, FuzzTally, Run, Verdict};
use serde_json::{Map, Value};

use cause::Family;
pub use cause::{Cause, without_particulars};
pub use corpus::CorpusError;
pub use issue::markdown;
use scenario::{Origin, Scenario};

use crate::arena::{Arena, ArenaConfig, ArenaError, Counted};
use crate::checks::{Case, Check, Concerns, Observations, Scope, Setting, Stop};
use crate::suite::subject::Found;
use crate::suite::{Planned, Probe, Suite, conclude, verdict};
use crate::target::{Configuration, Target};
use corpus::Corpus;
use instrumented::Counters;
use make::Maker;
use play::Shown;
use sources::Sources;
use trace::Trace;
use volley::Volley;

/// What results of the hammer are listed under.
pub static CHECK: Check = Check {
    id: FUZZ,
    title: "Generated configurations, faulty requests and sequences of operations are answered as the specification asks",
    requirements: &[],
    concerns: Concerns::Every,
    scope: Scope::Once,
    since: Version::V0_1_0,
    variants: &[],
    run: |_| Err(Stop::skip("played by `cnitest fuzz` only")),
};

/// How often a finding is tried again before it counts as one that does not show again.
const REPEATS: usize = 5;

/// Findings beyond which nothing new is looked for: a plugin that fails in so many ways needs no more of them.
const FINDINGS: usize = 200;

/// Bytes of what was seen that a title holds.
const TITLE: usize = 120;

/// How often progress is told at most: a tally counts every constraint.
const TOLD: Duration = Duration::from_millis(200);

/// How much is played, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ends after this time.
    pub time: Option<Duration>,
    /// Ends after so many scenarios.
    pub cases: Option<u64>,
    /// Plays every scenario of the stream whose number leaves the first number when divided by the second.
    pub shard: (u64, u64),
    /// Where scenarios are kept that showed something new, and taken from.
    pub corpus: Option<PathBuf>,
    /// Whether scenarios that showed something new give rise to others.
    pub feedback: bool,
    /// Ends with the first finding that shows again, which is not made smaller: to know whether there is one.
    pub first: bool,
}

/// Why nothing could be played.
#[derive(Debug, thiserror::Error)]
pub enum HammerError {
    /// No arena could be made.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// The corpus could not be used.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The plugin cannot be tested.
    #[error("{0}")]
    Unstartable(String),
}

/// Something that the plugin does and should not do.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What tells it from others.
    pub cause: Cause,
    /// The smallest scenario that shows it.
    pub scenario: Scenario,
    /// The result that reports hold: verdict, evidence, reproducer.
    pub result: CaseResult,
    /// It was seen, and did not show again.
    pub once: bool,
}

/// What happens during a run, for progress displays.
#[derive(Debug)]
pub enum Event<'a> {
    /// So far.
    Progress(&'a FuzzTally),
    /// Something was found.
    Found(&'a Finding),
    /// Two plugins differ.
    Differs(&'a Difference),
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// As reports show it.
    pub run: Run,
    /// What was found, gravest first.
    pub findings: Vec<Finding>,
}

/// What one scenario came to.
#[derive(Debug)]
pub struct Replayed {
    /// As reports show it.
    pub run: Run,
    /// What was found.
    pub findings: Vec<Finding>,
    /// How many executions were killed on purpose, before they had come to their end.
    pub killed: usize,
    /// How many ADDs succeeded.
    pub attached: usize,
}

/// Hammers plugins.
#[derive(Debug)]
pub struct Hammer {
    suite: Suite,
    options: Options,
    cancelled: AtomicBool,
}

impl Hammer {
    /// A hammer; `suite` says how plugins are executed, and with which seed.
    pub fn new(suite: Suite, options: Options) -> Hammer {
        Hammer { suite, options, cancelled: AtomicBool::new(false) }
    }

    /// Asks the run to end soon.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Hammers one plugin.
    ///
    /// # Errors
    /// When no arena can be made, the plugin does not start, or the corpus cannot be used.
    pub fn run(
        &self,
        found: &Found,
        target: Option<&Target>,
        on_event: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Outcome, HammerError> {
        let (ready, arena) = self.prepare(found, target)?;
        let swing = Swing::new(self, &ready, target, on_event)?;
        swing.play(arena);
        let tally = swing.tally();
        let mut findings = swing.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        findings.sort_by_key(|finding| (rank(finding.result.verdict), finding.cause.clone()));
        let problems = swing.problems.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut run = ready.report(&self.suite, &findings, problems, tally.cases);
        run.fuzz = Some(tally);
        Ok(Outcome { run, findings })
    }

    /// Plays one scenario once and tells what it found.
    ///
    /// # Errors
    /// When no arena can be made, or the plugin does not start.
    pub fn replay(
        &self,
        found: &Found,
        target: Option<&Target>,
        scenario: &Scenario,
    ) -> Result<Replayed, HammerError> {
        let (ready, arena) = self.prepare(found, target)?;
        let played = ready.play(scenario, &mut Some(arena), None);
        let finding = |(cause, result)| Finding { cause, scenario: scenario.clone(), result, once: false };
        let findings: Vec<Finding> = played.found.into_iter().map(finding).collect();
        let problems = played.problem.into_iter().collect();
        let run = ready.report(&self.suite, &findings, problems, 1);
        Ok(Replayed { run, findings, killed: played.shown.killed, attached: played.shown.attached })
    }

    fn prepare<'a>(
        &self,
        found: &'a Found,
        target: Option<&'a Target>,
    ) -> Result<(Ready<'a>, Arena), HammerError> {
        let (clock, started) = (Instant::now(), SystemTime::now());
        let mut config = self.suite.arena_config(found);
        config.coverage = instrumented::counts(&found.host_path);
        let mut arena = Arena::start(&config)?;
        let mut probe = self.suite.probe(&mut arena, found, target)?;
        if let Some(reason) = probe.unstartable {
            return Err(HammerError::Unstartable(reason));
        }
        let asked = &self.suite.options().versions;
        probe.subject.versions.retain(|version| asked.is_empty() || asked.contains(version));
        let Some(newest) = probe.subject.versions.last().copied() else {
            let reason = "the plugin supports none of the versions asked for".to_owned();
            return Err(HammerError::Unstartable(reason));
        };
        if probe.configurations.is_empty() {
            probe.configurations.append(&mut probe.spare);
        }
        if probe.configurations.is_empty() {
            let reasons = probe.unusable.iter().map(|one| format!("{}: {}", one.name, one.reason));
            let reasons: Vec<String> = reasons.collect();
            return Err(HammerError::Unstartable(format!(
                "no configuration of the target can work here ({})",
                reasons.join("; ")
            )));
        }
        Ok((Ready { found, target, config, probe, newest, clock, started }, arena))
    }

    fn is_over(&self, clock: Instant) -> bool {
        self.cancelled.load(Ordering::Relaxed)
            || self.options.time.is_some_and(|time| clock.elapsed() >= time)
    }
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fail => 0,
        Verdict::Warn => 1,
        _ => 2,
    }
}

/// A plugin that can be hammered.
struct Ready<'a> {
    found: &'a Found,
    target: Option<&'a Target>,
    config: ArenaConfig,
    probe: Probe,
    /// The newest version that is played.
    newest: Version,
    clock: Instant,
    started: SystemTime,
}

/// What came of a scenario.
#[derive(Default)]
struct Played {
    found: Vec<(Cause, CaseResult)>,
    shown: Shown,
    counted: Counted,
    executions: usize,
    /// cnitest could not decide.
    problem: Option<CaseResult>,
}

impl Ready<'_> {
    /// What a run found, or that so many scenarios found nothing.
    fn report(&self, suite: &Suite, findings: &[Finding], problems: Vec<CaseResult>, cases: u64) -> Run {
        let mut results: Vec<CaseResult> = findings.iter().map(|finding| finding.result.clone()).collect();
        results.extend(problems);
        if results.is_empty() {
            let configuration = Configuration::bare(&self.found.name);
            let planned =
                Planned { check: &CHECK, configuration: &configuration, version: self.newest, variant: "" };
            let case = format!("{cases} scenario{}", if cases == 1 { "" } else { "s" });
            results.push(CaseResult { case, ..planned.result(Verdict::Pass) });
        }
        let mut run = suite.report(self.found, self.target, &self.probe, self.started, results);
        run.duration_ms = self.clock.elapsed().as_secs_f64() * 1000.0;
        run.finish();
        run
    }

    /// Plays a scenario in the arena of the slot, or a new one, which stays there while it is as new.
    /// What it did goes into `trace`, if there is one.
    fn play(&self, scenario: &Scenario, slot: &mut Option<Arena>, trace: Option<&mut Trace>) -> Played {
        match self.within(scenario, slot, |planned, case| self.play_in(planned, scenario, case, trace)) {
            Ok((played, counted)) => Played { counted, ..played },
            Err(problem) => Played { problem: Some(*problem), ..Played::default() },
        }
    }

    /// Fires scenarios that are one faulty request each, of one version and configuration.
    fn fire(
        &self,
        scenarios: &[Scenario],
        is_over: &dyn Fn() -> bool,
        slot: &mut Option<Arena>,
    ) -> Result<Volley, Box<CaseResult>> {
        let Some(any) = scenarios.first() else { return Ok(Volley::default()) };
        self.within(any, slot, |planned, case| match volley::fire(case, scenarios, is_over) {
            Ok(volley) => Ok(volley),
            // What cannot be prepared here has shown nothing.
            Err(Stop::Skip { .. }) => Ok(Volley { fired: scenarios.len(), ..Volley::default() }),
            Err(stop) => {
                case.set_deviations(Vec::new());
                Err(Box::new(undecided(&planned, case, stop)))
            }
        })?
        .0
    }

    /// Does something in a case of the scenario's version and configuration, in the arena of the slot or a new one, which
    /// stays there while it is as new. Answers what the plugin counted too, and fails with what reports say of it.
    fn within<T>(
        &self,
        scenario: &Scenario,
        slot: &mut Option<Arena>,
        act: impl FnOnce(Planned<'_>, &mut Case<'_>) -> T,
    ) -> Result<(T, Counted), Box<CaseResult>> {
        let fallback = Configuration::bare(&self.probe.subject.name);
        let named = |one: &&Configuration| one.name == scenario.configuration;
        let configuration = self.probe.configurations.iter().find(named).unwrap_or(&fallback);
        let planned = Planned { check: &CHECK, configuration, version: scenario.version, variant: "" };
        let problem =
            |reason: String| Box::new(CaseResult { reason: Some(reason), ..planned.result(Verdict::Error) });
        let mut arena = slot
            .take()
            .map_or_else(|| Arena::start(&self.config), Ok)
            .map_err(|error| problem(error.to_string()))?;
        let observations = Observations::default();
        let setting = Setting {
            check: planned.check,
            subject: &self.probe.subject,
            target: self.target,
            configuration: planned.configuration,
            version: planned.version,
            variant: planned.variant,
            observations: &observations,
        };
        let done = catch_unwind(AssertUnwindSafe(|| act(planned, &mut Case::new(setting, &mut arena))));
        match done {
            Ok(done) => {
                let counted = arena.take_counters().unwrap_or_else(|error| Counted {
                    unread: Some(error.to_string()),
                    ..Counted::default()
                });
                if arena.reset().unwrap_or(false) {
                    *slot = Some(arena);
                }
                Ok((done, counted))
            }
            Err(_) => Err(problem(format!(
                "a defect of cnitest: it panicked on {}",
                serde_json::to_string(scenario).unwrap_or_default()
            ))),
        }
    }

    fn play_in(
        &self,
        planned: Planned<'_>,
        scenario: &Scenario,
        case: &mut Case<'_>,
        mut trace: Option<&mut Trace>,
    ) -> Played {
        let outcome = play::play(case, scenario, trace.as_deref_mut());
        if let Some(trace) = trace {
            trace.keep_evidence(case);
        }
        let mut played = Played { executions: case.executions().len(), ..Played::default() };
        let stop = match outcome {
            Ok(shown) => {
                played.shown = shown;
                None
            }
            // A scenario that makes no sense here has shown nothing.
            Err(Stop::Skip { .. }) => None,
            Err(stop) => Some(stop),
        };
        let all = case.deviations().to_vec();
        let weighed = verdict::weigh(&all, planned.version);
        let mut causes: BTreeMap<Cause, usize> = BTreeMap::new();
        for (gravity, deviation) in weighed {
            if gravity == Verdict::Pass {
                continue;
            }
            let told = case.executions().iter().map(|(_, answer)| answer);
            let told = told.filter(|answer| deviation.observed.starts_with(&answer.label));
            let cause = Cause::of(deviation, told.max_by_key(|answer| (answer.label.len(), answer.index)));
            let index = all.iter().position(|one| std::ptr::eq(one, deviation)).unwrap_or(0);
            causes.entry(cause).or_insert(index);
        }
        for (cause, index) in causes {
            case.set_deviations(vec![all[index].clone()]);
            let mut result = conclude(&planned, case, None);
            result.title = one_line(&all[index].observed);
            result.case.clone_from(&cause.how);
            played.found.push((cause, result));
        }
        if let Some(stop) = stop {
            case.set_deviations(Vec::new());
            played.problem = Some(undecided(&planned, case, stop));
        }
        played
    }
}

/// What was seen, as a title.
fn one_line(observed: &str) -> String {
    let line = observed.lines().next().unwrap_or_default();
    let short = &line[..line.floor_char_boundary(TITLE)];
    if short.len() == line.len() { line.to_owned() } else { format!("{short}...") }
}

fn undecided(planned: &Planned<'_>, case: &Case<'_>, stop: Stop) -> CaseResult {
    let mut result = conclude(planned, case, Some(stop));
    result.case = "a scenario that could not be decided".to_owned();
    result
}

/// One run.
struct Swing<'a> {
    hammer: &'a Hammer,
    ready: &'a Ready<'a>,
    maker: Maker,
    corpus: Corpus,
    sources: Sources,
    /// The number of the next scenario.
    next: AtomicU64,
    cases: AtomicU64,
    executions: AtomicUsize,
    /// The families of what was found.
    seen: Mutex<BTreeSet<Family>>,
    /// How many executions or scenarios showed each behaviour.
    behaviours: Mutex<BTreeMap<u64, u32>>,
    counters: Mutex<Counters>,
    /// It was told that counters cannot be read.
    unread: AtomicBool,
    findings: Mutex<Vec<Finding>>,
    problems: Mutex<Vec<CaseResult>>,
    /// When progress was last told.
    told: Mutex<Instant>,
    ended: AtomicBool,
    on_event: &'a (dyn Fn(Event<'_>) + Sync),
}

impl<'a> Swing<'a> {
    fn new(
        hammer: &'a Hammer,
        ready: &'a Ready<'a>,
        target: Option<&Target>,
        on_event: &'a (dyn Fn(Event<'_>) + Sync),
    ) -> Result<Swing<'a>, HammerError> {
        Ok(Swing {
            hammer,
            ready,
            maker: Maker::new(
                &ready.probe.subject.versions,
                &ready.probe.subject.advertised,
                &ready.probe.configurations,
                target,
            ),
            corpus: Corpus::open(hammer.options.corpus.as_deref(), &ready.found.name)?,
            sources: Sources::default(),
            next: AtomicU64::new(0),
            cases: AtomicU64::new(0),
            executions: AtomicUsize::new(0),
            seen: Mutex::default(),
            behaviours: Mutex::default(),
            counters: Mutex::default(),
            unread: AtomicBool::new(false),
            findings: Mutex::default(),
            problems: Mutex::default(),
            told: Mutex::new(ready.clock),
            ended: AtomicBool::new(false),
            on_event,
        })
    }

    fn play(&self, arena: Arena) {
        let jobs = self.hammer.suite.options().jobs.max(1);
        let worker = |mut slot: Option<Arena>| {
            // Requests that change nothing wait for others of their kind.
            let mut waiting: BTreeMap<(Version, String), (volley::Size, Vec<Scenario>)> = BTreeMap::new();
            while let Some(scenario) = self.next_scenario() {
                // Counters tell scenarios apart only where each is played alone.
                let alone = self.ready.config.coverage;
                if !alone && volley::is_shot(&scenario, self.maker.attaches()) {
                    let kind = (scenario.version, scenario.configuration.clone());
                    let (size, kin) = waiting.entry(kind).or_default();
                    kin.push(scenario);
                    if kin.len() >= size.get() {
                        self.fire(std::mem::take(kin), size, &mut slot);
                    }
                } else {
                    self.cases.fetch_add(1, Ordering::Relaxed);
                    self.try_out(&scenario, &mut slot);
                    self.tell();
                }
            }
            for (mut size, kin) in waiting.into_values() {
                self.fire(kin, &mut size, &mut slot);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..jobs {
                scope.spawn(|| worker(None));
            }
            worker(Some(arena));
        });
    }

    fn next_scenario(&self) -> Option<Scenario> {
        let options = &self.hammer.options;
        let (this, of) = options.shard;
        loop {
            if self.is_over() {
                return None;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if options.cases.is_some_and(|cases| number / of.max(1) >= cases) {
                return None;
            }
            if number % of.max(1) != this {
                continue;
            }
            if let Some(kept) = self.corpus.unplayed() {
                return Some(kept);
            }
            let mut random =
                Random::new(self.hammer.suite.options().seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            random.bits();
            if options.feedback && self.sources.draw(&mut random) == Origin::Bred {
                let behaviours = lock(&self.behaviours);
                let parent = self
                    .corpus
                    .pick(&mut random, &|behaviour| behaviours.get(&behaviour).copied().unwrap_or(0));
                drop(behaviours);
                if let Some(parent) = parent {
                    return Some(self.maker.breed(&parent, &mut random));
                }
            }
            return Some(self.maker.make(&mut random));
        }
    }

    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed) || self.hammer.is_over(self.ready.clock)
    }

    /// Plays scenarios that change nothing in one go: in several where that leaves a doubt, and the last few each alone.
    fn fire(&self, scenarios: Vec<Scenario>, size: &mut volley::Size, slot: &mut Option<Arena>) {
        let mut volleys = vec![scenarios];
        while let Some(mut scenarios) = volleys.pop() {
            if scenarios.is_empty() || self.is_over() {
                continue;
            }
            let volley = match self.ready.fire(&scenarios, &|| self.is_over(), slot) {
                Ok(volley) => volley,
                Err(problem) => return self.problem(Some(*problem)),
            };
            self.executions.fetch_add(volley.shots.len(), Ordering::Relaxed);
            size.learn(volley.changed, volley.took);
            volleys.push(scenarios.split_off(volley.fired.min(scenarios.len())));
            if volley.changed && scenarios.len() > volley::Size::LEAST {
                volleys.push(scenarios.split_off(scenarios.len() / 2));
                volleys.push(scenarios);
                continue;
            }
            self.cases.fetch_add(scenarios.len() as u64, Ordering::Relaxed);
            let (mut alone, mut causes) = (BTreeSet::new(), BTreeSet::new());
            for shot in &volley.shots {
                let (first, new) = self.count(std::iter::once(shot.behaviour));
                if first.is_some() {
                    self.corpus.keep(&scenarios[shot.index], first);
                }
                self.sources.learn(scenarios[shot.index].origin, 1, new);
                let unknown = shot.deviations.iter().filter(|(cause, gravity, _)| {
                    let family = cause.family(*gravity);
                    !lock(&self.seen).contains(&family) && causes.insert(family)
                });
                let unknown = unknown.count() > 0;
                if unknown || volley.changed {
                    alone.insert(shot.index);
                }
            }
            for index in alone {
                if self.is_over() {
                    break;
                }
                self.try_out(&scenarios[index], slot);
            }
            self.note_what_does_not_show(&volley, &scenarios);
            self.tell();
        }
    }

    /// What an answer among others showed and the request alone did not: a note, told once.
    fn note_what_does_not_show(&self, volley: &Volley, scenarios: &[Scenario]) {
        if self.is_over() {
            return;
        }
        for shot in &volley.shots {
            for (cause, gravity, observed) in &shot.deviations {
                if !lock(&self.seen).insert(cause.family(*gravity)) {
                    continue;
                }
                let scenario = &scenarios[shot.index];
                let configuration = Configuration::bare(&scenario.configuration);
                let planned = Planned {
                    check: &CHECK,
                    configuration: &configuration,
                    version: scenario.version,
                    variant: "",
                };
                let result = CaseResult {
                    title: one_line(observed),
                    case: cause.how.clone(),
                    reason: Some(format!(
                        "note: seen once among other requests and not when made alone: {observed}"
                    )),
                    ..planned.result(Verdict::Pass)
                };
                let finding =
                    Finding { cause: cause.clone(), scenario: scenario.clone(), result, once: true };
                (self.on_event)(Event::Found(&finding));
                lock(&self.findings).push(finding);
            }
        }
    }

    /// Counts behaviours; answers one that was not seen before, and how many were not.
    fn count(&self, shown: impl IntoIterator<Item = u64>) -> (Option<u64>, usize) {
        let mut behaviours = lock(&self.behaviours);
        let (mut first, mut new) = (None, 0);
        for behaviour in shown {
            let count = behaviours.entry(behaviour).or_insert(0);
            if *count == 0 {
                first = first.or(Some(behaviour));
                new += 1;
            }
            *count = count.saturating_add(1);
        }
        (first, new)
    }

    fn tell(&self) {
        let mut told = lock(&self.told);
        if told.elapsed() >= TOLD {
            *told = Instant::now();
            (self.on_event)(Event::Progress(&self.tally()));
        }
    }

    fn try_out(&self, scenario: &Scenario, slot: &mut Option<Arena>) {
        let played = self.ready.play(scenario, slot, None);
        self.executions.fetch_add(played.executions, Ordering::Relaxed);
        self.problem(played.problem);
        if let Some(reason) = &played.counted.unread
            && !self.unread.swap(true, Ordering::Relaxed)
        {
            eprintln!("cnitest: counters of the plugin's coverage cannot be read and are left out: {reason}");
        }
        let reaches = lock(&self.counters).add(&played.counted);
        // What the moment decides must not decide what comes next: equal seeds play equal scenarios.
        let (first, new) = match scenario.depends_on_time() {
            true => (None, 0),
            false => self.count(played.shown.behaviour),
        };
        if first.is_some() || reaches {
            self.corpus.keep(scenario, first);
        }
        if !scenario.depends_on_time() {
            self.sources.learn(scenario.origin, played.executions, new + usize::from(reaches));
        }
        for (cause, result) in played.found {
            let fresh = lock(&self.seen).insert(cause.family(rank(result.verdict)));
            if fresh && lock(&self.findings).len() < FINDINGS {
                self.found(cause, result, scenario, slot);
            }
        }
    }

    fn found(&self, cause: Cause, result: CaseResult, scenario: &Scenario, slot: &mut Option<Arena>) {
        let valid = self.maker.is_valid(scenario);
        // What a plugin does with a configuration that nobody may write is another matter.
        let counts = |candidate: &Scenario| !valid || self.maker.is_valid(candidate);
        let show_in = |candidate: &Scenario, slot: &mut Option<Arena>| -> Option<CaseResult> {
            if !counts(candidate) {
                return None;
            }
            // What the moment decides does not show every time.
            let tries = if candidate.depends_on_time() { REPEATS } else { 1 };
            (0..tries).find_map(|_| {
                let played = self.ready.play(candidate, slot, None);
                self.executions.fetch_add(played.executions, Ordering::Relaxed);
                played.found.into_iter().find(|(other, _)| *other == cause).map(|(_, result)| result)
            })
        };
        let again = (0..REPEATS).find_map(|_| show_in(scenario, slot));
        let is_shot = !self.ready.config.coverage && volley::is_shot(scenario, self.maker.attaches());
        let finding = match again {
            Some(result) if self.hammer.options.first => {
                Finding { cause, scenario: scenario.clone(), result, once: false }
            }
            Some(result) => {
                let configurations = &self.ready.probe.configurations;
                let own = configurations.iter().find(|one| one.name == scenario.configuration);
                let own = own.map(|one| &one.plugin);
                let small =
                    if is_shot { self.shoot_small(&cause, scenario, own, &counts, slot) } else { None };
                let mut show = |candidate: &Scenario| show_in(candidate, slot);
                let shown = small.and_then(|small| show(&small).map(|result| (small, result)));
                let (scenario, result) = match shown {
                    Some((small, result)) => {
                        minimise::settle(small, result, own, self.ready.newest, &mut show)
                    }
                    None => minimise::minimise(
                        scenario.clone(),
                        result,
                        own,
                        self.ready.newest,
                        &mut show,
                        &|| self.hammer.cancelled.load(Ordering::Relaxed),
                    ),
                };
                Finding { cause, scenario, result, once: false }
            }
            None => {
                let mut result = result;
                let verdict = result.verdict;
                result.verdict = Verdict::Pass;
                let reason = result.reason.unwrap_or_default();
                result.reason = Some(format!(
                    "note: seen once and not in {REPEATS} repetitions, so that it is no {verdict}: {reason}"
                ));
                Finding { cause, scenario: scenario.clone(), result, once: true }
            }
        };
        self.corpus.keep(&finding.scenario, None);
        (self.on_event)(Event::Found(&finding));
        if self.hammer.options.first && !finding.once {
            self.ended.store(true, Ordering::Relaxed);
        }
        lock(&self.findings).push(finding);
    }

    /// The smallest scenario that shows a cause by its answers alone: tried in one case, which takes less time than a case for
    /// each try. `own` is the plugin object of the configuration that the scenario began as, `counts` says which scenarios do.
    fn shoot_small(
        &self,
        cause: &Cause,
        scenario: &Scenario,
        own: Option<&Map<String, Value>>,
        counts: &dyn Fn(&Scenario) -> bool,
        slot: &mut Option<Arena>,
    ) -> Option<Scenario> {
        let act = |_: Planned<'_>, case: &mut Case<'_>| {
            let range = volley::Range::open(case).ok()?;
            let mut shows = |candidate: &Scenario| -> Option<()> {
                let fits = candidate.version == scenario.version
                    && volley::is_shot(candidate, self.maker.attaches())
                    && counts(candidate);
                if !fits {
                    return None;
                }
                self.executions.fetch_add(candidate.steps.len(), Ordering::Relaxed);
                range.shows(case, candidate, cause).ok().filter(|shown| *shown).map(drop)
            };
            // Not everything shows among others.
            shows(scenario)?;
            let is_cancelled = || self.hammer.cancelled.load(Ordering::Relaxed);
            let (newest, whole) = (scenario.version, scenario.clone());
            Some(minimise::minimise(whole, (), own, newest, &mut shows, &is_cancelled).0)
        };
        self.ready.within(scenario, slot, act).ok().and_then(|(small, _)| small)
    }

    fn problem(&self, problem: Option<CaseResult>) {
        let mut problems = lock(&self.problems);
        // One is enough to know that there is a problem; a flood hides it.
        if problems.len() < 10 {
            problems.extend(problem);
        }
    }

    fn tally(&self) -> FuzzTally {
        let (constraints, of_constraints) = self.maker.coverage();
        FuzzTally {
            cases: self.cases.load(Ordering::Relaxed),
            executions: self.executions.load(Ordering::Relaxed) as u64,
            behaviours: lock(&self.behaviours).len() as u64,
            corpus: self.corpus.len() as u64,
            findings: lock(&self.findings).len() as u64,
            constraints_broken: constraints as u64,
            constraints: of_constraints as u64,
            coverage: self.ready.config.coverage.then(|| lock(&self.counters).len() as u64),
            elapsed_ms: self.ready.clock.elapsed().as_secs_f64() * 1000.0,
            against: None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
