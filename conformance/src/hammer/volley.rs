//! Requests that change nothing, faulty ones and VERSION, fired one after another, with one look at the kernel before and
//! one after all of them.
//!
//! A plugin answers such a request in less time than a snapshot takes. Where the two snapshots are equal, none of the
//! requests has changed anything, and each answer is judged by itself. Where they are not, the requests are doubtful: fewer
//! of them are to be fired together, and the last few each alone.

use std::time::{Duration, Instant};

use super::cause::{self, Cause};
use super::fault::Demand;
use super::harmless::Asking;
use super::judge::{judge_faulty, judge_version, may_come_of_refusal, wrong_call};
use super::play::dressed;
use super::scenario::{At, Scenario, Step};
use super::{fault, rank};
use crate::checks::protocol::version_call;
use crate::checks::{Answer, Attachment, Call, Case, Stop, changes};
use crate::suite::verdict;

/// How many scenarios are played together; that depends on how it went before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(usize);

impl Default for Size {
    fn default() -> Size {
        Size(32)
    }
}

impl Size {
    /// Fewer than this are not worth a volley.
    pub(super) const LEAST: usize = 8;
    const MOST: usize = 1024;
    /// How long a volley takes that grows no more: nobody is told anything meanwhile.
    const LONG: Duration = Duration::from_secs(1);

    /// How many.
    pub(super) fn get(self) -> usize {
        self.0
    }

    /// More the next time, or fewer where something has changed or it took long.
    pub(super) fn learn(&mut self, changed: bool, took: Duration) {
        if changed || took > 2 * Self::LONG {
            self.0 = (self.0 / 2).max(Self::LEAST);
        } else if took < Self::LONG {
            self.0 = (self.0 * 2).min(Self::MOST);
        }
    }
}

/// How many the agent is given at once: a cancelled run ends after these.
const ROUND: usize = 32;

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
    /// In the order of the scenarios; one for each request; those that say nothing here are missing, as are those after a hang.
    pub(super) shots: Vec<Shot>,
    /// Something is different after them that nobody but a plugin can have done.
    pub(super) changed: bool,
    /// How long it took.
    pub(super) took: Duration,
    /// The first scenario that was not fired.
    pub(super) fired: usize,
}

/// Whether the scenario is one faulty request, or asks for VERSION, and nothing else. `attaches` says that the plugin makes
/// attachments, so that what it accepts may have changed something.
pub(super) fn is_shot(scenario: &Scenario, attaches: bool) -> bool {
    match scenario.steps.as_slice() {
        [Step::Broken { at, fault, .. }] => {
            *at == At::default() && (!attaches || fault::must_be_refused(fault))
        }
        steps => !steps.is_empty() && steps.iter().all(|step| matches!(step, Step::Version { .. })),
    }
}

/// How an answer is judged.
enum Judge {
    /// As that to a faulty request.
    Faulty(Demand),
    /// As that to VERSION.
    Version(Asking),
}

impl Judge {
    /// States in the case what is wrong with an answer. `named` is what the scenario's last VERSION named.
    fn apply(
        &self,
        case: &mut Case<'_>,
        scenario: &Scenario,
        answer: &Answer,
        named: &mut Option<Vec<String>>,
    ) -> Result<(), Stop> {
        match self {
            Judge::Faulty(demand) => {
                let works = scenario.plugin == case.configuration.plugin;
                judge_faulty(case, demand, answer, works);
                Ok(())
            }
            Judge::Version(asking) => judge_version(case, answer, *asking, named),
        }
    }
}

/// What a scenario asks; nothing where it makes no sense here.
fn requests(case: &Case<'_>, scenario: &Scenario, first: &Attachment) -> Vec<(Call, Judge)> {
    let request = |step: &Step| match step {
        Step::Broken { operation, fault, .. } => {
            let (call, demand) = wrong_call(case, *operation, &dressed(scenario, first), fault)?;
            Some((call, Judge::Faulty(demand)))
        }
        Step::Version { asking } => Some((asking.apply(version_call(case)), Judge::Version(*asking))),
        _ => None,
    };
    scenario.steps.iter().filter_map(request).collect()
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
    let started = Instant::now();
    let first = case.attachment()?;
    let before = case.snapshot()?;
    let mut volley = Volley::default();
    // What the VERSIONs of a scenario named.
    let mut named: (usize, Option<Vec<String>>) = (0, None);
    while volley.fired < scenarios.len() && !is_over() {
        let end = (volley.fired + ROUND).min(scenarios.len());
        let (mut calls, mut judges) = (Vec::with_capacity(ROUND), Vec::with_capacity(ROUND));
        for (index, scenario) in scenarios.iter().enumerate().take(end).skip(volley.fired) {
            for (call, judge) in requests(case, scenario, &first) {
                calls.push(call);
                judges.push((index, judge));
            }
        }
        if calls.is_empty() {
            volley.fired = end;
            continue;
        }
        let answers = case.run_each(calls)?;
        let asked: Vec<usize> = judges.iter().map(|(index, _)| *index).collect();
        volley.fired = next_unfired(&asked, answers.len()).unwrap_or(end);
        for ((index, judge), answer) in judges.iter().zip(&answers) {
            if named.0 != *index {
                named = (*index, None);
            }
            judge.apply(case, &scenarios[*index], answer, &mut named.1)?;
            let shot = Shot::of(case, *index, answer);
            volley.shots.push(shot);
            case.set_deviations(Vec::new());
        }
    }
    let after = case.snapshot()?;
    let accepted = volley.shots.iter().any(|shot| shot.accepted);
    volley.changed = changes::judged(case, &before, &after)
        .iter()
        .any(|line| accepted && !changes::is_file_content(line) || !may_come_of_refusal(line, false));
    volley.took = started.elapsed();
    Ok(volley)
}

/// The first scenario of which nothing was answered, where `asked` has the scenario of each request and only so many got an
/// answer, because the last of these hung; none where all did. What hangs is not fired again.
fn next_unfired(asked: &[usize], answered: usize) -> Option<usize> {
    let next = *asked.get(answered)?;
    let hung = answered.checked_sub(1).map(|last| asked[last]);
    Some(if hung == Some(next) { next + 1 } else { next })
}

/// A case in which one scenario after another is played, of which [`is_shot`] is true, without a look at the kernel.
pub(super) struct Range {
    first: Attachment,
}

impl Range {
    /// In a case whose arena is as new.
    ///
    /// # Errors
    /// When cnitest could not go on.
    pub(super) fn open(case: &mut Case<'_>) -> Result<Range, Stop> {
        Ok(Range { first: case.attachment()? })
    }

    /// Whether the answers to a scenario show this. Nothing is stated in the case.
    ///
    /// # Errors
    /// When cnitest could not go on.
    pub(super) fn shows(
        &self,
        case: &mut Case<'_>,
        scenario: &Scenario,
        cause: &Cause,
    ) -> Result<bool, Stop> {
        let (calls, judges): (Vec<Call>, Vec<Judge>) =
            requests(case, scenario, &self.first).into_iter().unzip();
        let mut named = None;
        let mut shown = false;
        for (judge, answer) in judges.iter().zip(&case.run_each(calls)?) {
            judge.apply(case, scenario, answer, &mut named)?;
            shown |= Shot::of(case, 0, answer).deviations.iter().any(|(other, ..)| other == cause);
            case.set_deviations(Vec::new());
        }
        Ok(shown)
    }
}

impl Shot {
    /// What the case says of an answer.
    fn of(case: &Case<'_>, index: usize, answer: &Answer) -> Shot {
        let told = verdict::weigh(case.deviations(), case.version);
        let told = told.into_iter().filter(|(gravity, _)| rank(*gravity) < 2);
        let deviations = told.map(|(gravity, deviation)| {
            (Cause::of(deviation, Some(answer)), rank(gravity), deviation.observed.clone())
        });
        Shot {
            index,
            behaviour: cause::behaviour(answer),
            deviations: deviations.collect(),
            accepted: answer.succeeded(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_not_fired_again() {
        let asked = [0, 1, 1, 3];
        assert_eq!(next_unfired(&asked, 4), None);
        assert_eq!(next_unfired(&asked, 3), Some(3));
        // The first of two requests of one scenario.
        assert_eq!(next_unfired(&asked, 2), Some(2));
        assert_eq!(next_unfired(&asked, 1), Some(1));
        assert_eq!(next_unfired(&[5, 5], 1), Some(6));
    }

    #[test]
    fn volleys_grow_while_they_are_quick_and_nothing_changes() {
        let mut size = Size::default();
        let quick = Duration::from_millis(10);
        (0..20).for_each(|_| size.learn(false, quick));
        assert_eq!(size.get(), Size::MOST);
        size.learn(false, Size::LONG * 3);
        assert_eq!(size.get(), Size::MOST / 2);
        size.learn(false, Size::LONG);
        assert_eq!(size.get(), Size::MOST / 2);
        (0..20).for_each(|_| size.learn(true, quick));
        assert_eq!(size.get(), Size::LEAST);
    }
}
