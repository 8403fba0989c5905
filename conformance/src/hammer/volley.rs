//! Faulty requests fired one after another, with one look at the kernel before and one after all of them.
//!
//! A plugin refuses such a request in less time than a snapshot takes. Where the two snapshots are equal, none of the
//! requests has changed anything, and each answer is judged by itself. Where they are not, the requests are doubtful: each
//! is to be played alone.

use super::cause::{self, Cause};
use super::play::{dressed, judge_faulty, may_come_of_refusal, wrong_call};
use super::scenario::{At, Scenario, Step};
use super::{fault, rank};
use crate::checks::{Case, Stop, changes};
use crate::suite::verdict;

/// How many requests are fired together at most.
pub(super) const SHOTS: usize = 64;

/// How many the agent is given at once: a cancelled run ends after these.
const ROUND: usize = 16;

/// What came of one request.
pub(super) struct Shot {
    /// The scenario's place among those that were fired.
    pub(super) index: usize,
    /// What it shows of the plugin's behaviour.
    pub(super) behaviour: u64,
    /// What is wrong with the answer: the cause, its gravity as [`rank`] gives it, and what was seen.
    pub(super) deviations: Vec<(Cause, u8, String)>,
    /// The plugin accepted it.
    pub(super) accepted: bool,
}

/// What came of all.
#[derive(Default)]
pub(super) struct Volley {
    /// In the order of the scenarios; those that say nothing here are missing, as are those after a hang.
    pub(super) shots: Vec<Shot>,
    /// Something is different after them that nobody but a plugin can have done.
    pub(super) changed: bool,
    /// The first scenario that was not fired.
    pub(super) fired: usize,
}

/// Whether the scenario is one faulty request and nothing else. `attaches` says that the plugin makes attachments, so that
/// what it accepts may have changed something.
pub(super) fn is_shot(scenario: &Scenario, attaches: bool) -> bool {
    match scenario.steps.as_slice() {
        [Step::Broken { at, fault, .. }] => {
            *at == At::default() && (!attaches || fault::must_be_refused(fault))
        }
        _ => false,
    }
}

/// Fires scenarios of which [`is_shot`] is true, in a case whose arena is as new. Nothing is stated in the case.
///
/// # Errors
/// When cnitest could not go on.
pub(super) fn fire(
    case: &mut Case<'_>,
    scenarios: &[Scenario],
    is_over: &dyn Fn() -> bool,
) -> Result<Volley, Stop> {
    let first = case.attachment()?;
    let before = case.snapshot()?;
    let mut volley = Volley::default();
    while volley.fired < scenarios.len() && !is_over() {
        let end = (volley.fired + ROUND).min(scenarios.len());
        let (mut calls, mut demands) = (Vec::with_capacity(ROUND), Vec::with_capacity(ROUND));
        for (index, scenario) in scenarios.iter().enumerate().take(end).skip(volley.fired) {
            let [Step::Broken { operation, fault, .. }] = scenario.steps.as_slice() else { continue };
            let attachment = dressed(scenario, &first);
            if let Some((call, demand)) = wrong_call(case, *operation, &attachment, fault) {
                calls.push(call);
                demands.push((index, demand));
            }
        }
        volley.fired = end;
        if calls.is_empty() {
            continue;
        }
        let answers = case.run_each(calls)?;
        if let Some((index, _)) = demands.get(answers.len()) {
            volley.fired = *index;
        }
        for ((index, demand), answer) in demands.iter().zip(&answers) {
            let works = scenarios[*index].plugin == case.configuration.plugin;
            judge_faulty(case, demand, answer, works);
            let told = verdict::weigh(case.deviations(), case.version);
            let told = told.into_iter().filter(|(gravity, _)| rank(*gravity) < 2);
            let deviations = told.map(|(gravity, deviation)| {
                (Cause::of(deviation, Some(answer)), rank(gravity), deviation.observed.clone())
            });
            volley.shots.push(Shot {
                index: *index,
                behaviour: cause::behaviour(answer),
                deviations: deviations.collect(),
                accepted: answer.succeeded(),
            });
            case.set_deviations(Vec::new());
        }
    }
    let after = case.snapshot()?;
    let accepted = volley.shots.iter().any(|shot| shot.accepted);
    volley.changed = changes::judged(case, &before, &after)
        .iter()
        .any(|line| accepted && !changes::is_file_content(line) || !may_come_of_refusal(line, false));
    Ok(volley)
}
