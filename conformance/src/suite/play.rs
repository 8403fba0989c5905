//! Playing cases on several workers.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use cni_spec::catalogue;
use cnitest_reports::model::{CaseResult, Evidence, ExecutionEvidence, SkipCause, Verdict, text_of};

use super::plan::{Plan, Planned};
use super::{Event, HANGS, Probe, Suite, verdict};
use crate::arena::{Arena, ArenaConfig, ArenaError};
use crate::checks::{Answer, Case, Check, Observations, Setting, Stop, reproducer_script};
use crate::invoke::{Execution, Invocation, Stdin};
use crate::spy::Record;
use crate::target::Target;

/// Bytes of stdin, stdout and stderr that a report keeps, each.
const KEPT: usize = 64 * 1024;

/// Lines of a kernel difference that a report keeps.
const KEPT_LINES: usize = 200;

pub(super) struct Player<'a> {
    pub(super) suite: &'a Suite,
    pub(super) config: &'a ArenaConfig,
    pub(super) probe: &'a Probe,
    pub(super) target: Option<&'a Target>,
    pub(super) hangs: &'a AtomicUsize,
    /// The requirements that a check found broken.
    pub(super) found: Mutex<BTreeSet<(&'static str, String)>>,
    pub(super) observations: Observations,
    pub(super) on_event: &'a (dyn Fn(Event<'_>) + Sync),
}

impl Player<'_> {
    /// Plays the cases; results in the order of the plan. `arena` is used by the first worker.
    pub(super) fn play(&self, plans: &[Plan<'_>], arena: Arena) -> Vec<CaseResult> {
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<CaseResult>>> = Mutex::new(vec![None; plans.len()]);
        let worker = |mut arena: Option<Arena>| {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(plan) = plans.get(index) else { break };
                if self.is_settled(plan) {
                    continue;
                }
                let result = self.decide(plan, &mut arena);
                (self.on_event)(Event::Finished(&result));
                if let Ok(mut results) = results.lock() {
                    results[index] = Some(result);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.suite.options.jobs.max(1) {
                scope.spawn(|| worker(None));
            }
            worker(Some(arena));
        });
        results.into_inner().unwrap_or_default().into_iter().flatten().collect()
    }

    /// Whether a check has found every requirement that is sought and that it decides.
    fn is_settled(&self, plan: &Plan<'_>) -> bool {
        let Plan::Play(Planned { check, .. }) = plan else { return false };
        let mut sought =
            self.suite.options.sought.iter().filter(|id| check.requirements.contains(id)).peekable();
        let Ok(found) = self.found.lock() else { return false };
        sought.peek().is_some() && sought.all(|id| found.contains(&(check.id, (*id).to_owned())))
    }

    fn decide(&self, plan: &Plan<'_>, arena: &mut Option<Arena>) -> CaseResult {
        match plan {
            Plan::Skip { check, configuration, reason, cause } => {
                let verdict = self.skip_verdict(check);
                let case = configuration.clone().unwrap_or_default();
                let mut result = result(check, None, case, verdict, Some(reason.clone()));
                result.skip_cause = (verdict == Verdict::Skip).then_some(*cause);
                result
            }
            Plan::Play(planned) => {
                let clock = Instant::now();
                let mut result = self.attempt(planned, arena);
                result.duration_ms = clock.elapsed().as_secs_f64() * 1000.0;
                if let Ok(mut found) = self.found.lock() {
                    found.extend(result.broken.iter().map(|id| (planned.check.id, id.clone())));
                }
                result
            }
        }
    }

    /// A plugin that cannot be executed fails the one check that says it must be, and skips the others.
    fn skip_verdict(&self, check: &Check) -> Verdict {
        let decides = check.id == "version.answers" && self.probe.unstartable.is_some();
        if decides { Verdict::Fail } else { Verdict::Skip }
    }

    fn attempt(&self, planned: &Planned<'_>, slot: &mut Option<Arena>) -> CaseResult {
        let skip = |reason: &str| {
            let mut result = planned_result(planned, Verdict::Skip, Some(reason.to_owned()));
            result.skip_cause = Some(SkipCause::Ended);
            result
        };
        if self.suite.is_cancelled() {
            return skip("the run was interrupted");
        }
        if self.hangs.load(Ordering::Relaxed) >= HANGS {
            return skip(&format!(
                "gave up after {HANGS} executions ran into their deadline of {} s; --timeout raises it",
                self.suite.options.timeout.as_secs_f64()
            ));
        }
        let mut arena = match slot.take().map_or_else(|| Arena::start(self.config), Ok) {
            Ok(arena) => arena,
            Err(error) => return planned_result(planned, Verdict::Error, Some(error.to_string())),
        };
        let played = catch_unwind(AssertUnwindSafe(|| self.play_case(planned, &mut arena)));
        match played {
            Ok(result) => {
                // Whatever cannot be brought back to its first state is thrown away with the arena.
                if arena.reset().unwrap_or(false) {
                    *slot = Some(arena);
                }
                result
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let reason = format!("a defect of cnitest: the check panicked: {}", text.unwrap_or_default());
                planned_result(planned, Verdict::Error, Some(reason))
            }
        }
    }

    fn play_case(&self, planned: &Planned<'_>, arena: &mut Arena) -> CaseResult {
        let setting = Setting {
            check: planned.check,
            subject: &self.probe.subject,
            target: self.target,
            configuration: planned.configuration,
            version: planned.version,
            variant: planned.variant,
            observations: &self.observations,
        };
        let mut case = Case::new(setting, arena);
        let stop = (planned.check.run)(&mut case).err();
        self.hangs.fetch_add(case.hangs(), Ordering::Relaxed);
        conclude(planned, &case, stop)
    }
}

/// The result of a case that was played.
pub(crate) fn conclude(planned: &Planned<'_>, case: &Case<'_>, stop: Option<Stop>) -> CaseResult {
    let weighed = verdict::weigh(case.deviations(), planned.version);
    let gravest = weighed.first().map(|(gravity, _)| *gravity).unwrap_or(Verdict::Pass);
    let mut reasons: Vec<String> = Vec::new();
    let mut skip_cause = None;
    let verdict = match (gravest, &stop) {
        (Verdict::Fail | Verdict::Warn, _) => gravest,
        (_, Some(Stop::Skip { cause, reason })) => {
            reasons.push(reason.clone());
            skip_cause = Some(*cause);
            Verdict::Skip
        }
        (_, Some(Stop::Undecided(reason))) => {
            reasons.push(reason.clone());
            Verdict::Error
        }
        (_, Some(Stop::Arena(error))) => {
            reasons.push(describe(error));
            Verdict::Error
        }
        (_, None) => Verdict::Pass,
    };
    let broken = matches!(verdict, Verdict::Fail | Verdict::Warn);
    for (gravity, deviation) in &weighed {
        let prefix = if *gravity == Verdict::Pass { "note: " } else { "" };
        reasons.push(format!("{prefix}{} ({})", deviation.observed, deviation.requirement));
    }
    reasons.extend(case.notes().iter().map(|note| format!("note: {note}")));
    let mut result = planned_result(planned, verdict, (!reasons.is_empty()).then(|| reasons.join("\n")));
    result.skip_cause = skip_cause;
    result.requirements = case.decided().iter().map(|id| (*id).to_owned()).collect();
    for (_, deviation) in &weighed {
        if !result.broken.iter().any(|id| id == deviation.requirement) {
            result.broken.push(deviation.requirement.to_owned());
        }
    }
    if broken || verdict == Verdict::Error {
        let lines = |pick: fn(&crate::checks::Deviation) -> &String| {
            let mut all: Vec<String> = Vec::new();
            for (_, deviation) in weighed.iter().filter(|(gravity, _)| *gravity != Verdict::Pass) {
                if !all.contains(pick(deviation)) {
                    all.push(pick(deviation).clone());
                }
            }
            all.join("\n")
        };
        let mut difference: Vec<String> = case.kernel_difference().to_vec();
        if difference.len() > KEPT_LINES {
            let more = difference.len() - KEPT_LINES;
            difference.truncate(KEPT_LINES);
            difference.push(format!("  ({more} more lines)"));
        }
        result.evidence = Some(Evidence {
            expected: lines(|deviation| &deviation.expected),
            observed: lines(|deviation| &deviation.observed),
            executions: case
                .executions()
                .iter()
                .map(|(call, answer)| execution(call, answer))
                .chain(case.spies().iter().map(witnessed))
                .collect(),
            kernel_difference: difference,
        });
    }
    if broken && let Some((_, deviation)) = weighed.first() {
        let requirement = catalogue::requirement(deviation.requirement);
        if let Some(level) = requirement.and_then(|known| known.level_in(planned.version)) {
            result.level = level.to_string();
        }
        // The broken requirement leads, so that a reader sees at once what the verdict rests on.
        result.requirements.retain(|id| id != deviation.requirement);
        result.requirements.insert(0, deviation.requirement.to_owned());
        let statement = requirement.map(|known| known.statement).unwrap_or_default();
        let heading = [
            format!("{} [CNI {}] {}", planned.check.id, planned.version, result.case),
            format!("{} {}: {statement}", result.level, deviation.requirement),
            format!("expected: {}", deviation.expected),
            format!("cnitest saw: {}", deviation.observed),
        ];
        // What a runtime did cannot be repeated without the spies.
        if case.subject.runtime.is_none() {
            result.reproducer = Some(reproducer_script(case, &heading, deviation.assertion.as_ref()));
        }
    }
    result
}

fn describe(error: &ArenaError) -> String {
    format!("cnitest could not decide: {error}")
}

pub(super) fn planned_result(planned: &Planned<'_>, verdict: Verdict, reason: Option<String>) -> CaseResult {
    let mut case = planned.configuration.name.clone();
    if !planned.variant.is_empty() {
        case =
            if case.is_empty() { planned.variant.to_owned() } else { format!("{case}: {}", planned.variant) };
    }
    result(planned.check, Some(planned.version), case, verdict, reason)
}

fn result(
    check: &Check,
    version: Option<cni_spec::Version>,
    case: String,
    verdict: Verdict,
    reason: Option<String>,
) -> CaseResult {
    let version_or_latest = version.unwrap_or(cni_spec::Version::LATEST);
    let level = check
        .requirements
        .iter()
        .filter_map(|id| catalogue::requirement(id))
        .find_map(|known| known.level_in(version_or_latest))
        .unwrap_or(cni_spec::Level::Practice);
    CaseResult {
        check: check.id.to_owned(),
        title: check.title.to_owned(),
        requirements: check.requirements.iter().map(|id| (*id).to_owned()).collect(),
        level: level.to_string(),
        spec_version: version.map(|version| version.to_string()),
        case,
        verdict,
        skip_cause: None,
        known: None,
        broken: Vec::new(),
        reason,
        evidence: None,
        reproducer: None,
        duration_ms: 0.0,
    }
}

/// What a spy saw, as reports show it.
fn witnessed(record: &Record) -> ExecutionEvidence {
    let nanoseconds = record.ending.as_ref().map_or(0, |ending| ending.ended.saturating_sub(record.began));
    let signals = |signals: &[String]| match signals.is_empty() {
        true => String::new(),
        false => format!("; it got {}", signals.join(", ")),
    };
    let (stdin, _) = text_of(record.stdin.as_bytes(), KEPT);
    let stdout = record.ending.as_ref().map(|ending| ending.stdout.as_str()).unwrap_or_default();
    let (stdout, stdout_truncated) = text_of(stdout.as_bytes(), KEPT);
    ExecutionEvidence {
        label: format!("spy {}: {}", record.number, record.label()),
        program: record.program.clone(),
        environment: record.environment.clone(),
        stdin,
        exit: match &record.ending {
            Some(ending) => format!("exit status {}{}", ending.status, signals(&ending.signals)),
            None => "it was killed before it had answered".to_owned(),
        },
        stdout,
        stderr: String::new(),
        stdout_truncated,
        stderr_truncated: false,
        wall_ms: std::time::Duration::from_nanos(nanoseconds).as_secs_f64() * 1000.0,
        cpu_ms: 0.0,
        peak_rss_kib: 0,
    }
}

/// An execution as reports show it.
pub(crate) fn execution(invocation: &Invocation, answer: &Answer) -> ExecutionEvidence {
    evidence(&answer.label, invocation, &answer.execution)
}

/// An execution as reports show it, under a label.
pub(crate) fn evidence(label: &str, invocation: &Invocation, execution: &Execution) -> ExecutionEvidence {
    let stdin = match &invocation.stdin {
        Stdin::Bytes(bytes) | Stdin::OpenForever(bytes) => text_of(bytes, KEPT).0,
        Stdin::Empty => String::new(),
        Stdin::Closed => "(closed)".to_owned(),
        Stdin::Directory => "(a directory)".to_owned(),
    };
    let (stdout, stdout_cut) = text_of(&execution.stdout, KEPT);
    let (stderr, stderr_cut) = text_of(&execution.stderr, KEPT);
    let milliseconds = |duration: std::time::Duration| duration.as_secs_f64() * 1000.0;
    let mut exit = execution.outcome.to_string();
    if !execution.left_behind.is_empty() {
        exit.push_str(&format!("; left running: {}", execution.left_behind.join(", ")));
    }
    ExecutionEvidence {
        label: label.to_owned(),
        program: invocation.program.display().to_string(),
        environment: invocation
            .environment
            .iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect(),
        stdin,
        exit,
        stdout,
        stderr,
        stdout_truncated: execution.stdout_truncated || stdout_cut,
        stderr_truncated: execution.stderr_truncated || stderr_cut,
        wall_ms: milliseconds(execution.wall),
        cpu_ms: milliseconds(execution.user_cpu + execution.system_cpu),
        peak_rss_kib: execution.peak_rss_kib,
    }
}
