//! Requests that something is wrong with, within a scenario.

use cni_spec::Operation;

use super::{Game, OTHERS, Reason, State};
use crate::arena::snapshot::Snapshot;
use crate::checks::{Answer, Case, Documents, Stop, changes};
use crate::hammer::judge::{judge_faulty, may_come_of_refusal, wrong_call};
use crate::hammer::scenario::{At, CONTAINERS, Fault};

impl Game<'_> {
    pub(super) fn broken(
        &mut self,
        case: &mut Case<'_>,
        operation: Operation,
        at: At,
        fault: &Fault,
    ) -> Result<(), Stop> {
        let Some(slot) = self.slots.get(&at) else { return Ok(()) };
        if operation == Operation::Add
            && (slot.state != State::Absent || self.deleted.contains(&at.container))
        {
            return Ok(());
        }
        let attachment = slot.attachment.clone();
        let Some((call, demand)) = wrong_call(case, operation, &attachment, fault) else { return Ok(()) };
        let requirement = demand.requirement;
        let before = case.snapshot()?;
        let answer = case.run(call)?;
        let after = case.snapshot()?;
        self.note(&answer);
        self.note_changes(case, operation, &before, &after);
        let own = at.network == 0 && self.scenario.plugin == case.configuration.plugin;
        let works = self.works.contains(&at.network) || own;
        judge_faulty(case, &demand, &answer, works);
        if answer.succeeded() {
            if operation == Operation::Del && fault.hides_namespace() {
                self.untold.insert(at.container);
            }
            self.accepted(case, operation, at, &answer);
        } else if operation == Operation::Gc && requirement.is_none() {
            // It goes on after an error, and lists nothing as valid.
            self.collected();
        } else if operation == Operation::Check
            || requirement.is_some()
                && !demand.late
                && self.is_refused_for_the_fault(case, at.network, &before, &after)?
        {
            let settled = self.settled;
            let ignore = |line: &str| may_come_of_refusal(line, settled);
            let requirement = match operation {
                Operation::Check => "check.no-mutation",
                _ => "error.no-partial-side-effects-on-input-error",
            };
            let what = format!("a refused {}", answer.label);
            case.expect_unchanged(&before, &after, requirement, &what, ignore);
        } else if operation == Operation::Add {
            self.reasons.insert(Reason::AddFailed);
            if let Some(slot) = self.slots.get_mut(&at) {
                slot.touched = true;
                slot.state = State::Unsure(Reason::AddFailed);
            }
        } else if let Some(slot) = self.slots.get_mut(&at)
            && operation == Operation::Del
            && slot.state == State::Attached
        {
            slot.state = State::Unsure(Reason::Deleted);
        }
        Ok(())
    }

    /// Whether a refusal, with the states before and after it, can be held against the plugin: one that changed something
    /// may have come later than from reading the request, of a configuration that the plugin cannot work with at all.
    /// Where no ADD of it has worked yet, another container's tells.
    fn is_refused_for_the_fault(
        &mut self,
        case: &mut Case<'_>,
        network: u8,
        before: &Snapshot,
        after: &Snapshot,
    ) -> Result<bool, Stop> {
        let changes = changes::judged(case, before, after);
        if self.works.contains(&network)
            || !changes.iter().any(|line| !may_come_of_refusal(line, self.settled))
        {
            return Ok(true);
        }
        self.is_taken_from_others(case, network)
    }

    /// Whether an ADD of another container, with nothing odd about it, succeeds. Not, too, where there is no room for one more.
    pub(super) fn is_taken_from_others(&mut self, case: &mut Case<'_>, network: u8) -> Result<bool, Stop> {
        if self.others == OTHERS {
            return Ok(false);
        }
        self.others += 1;
        let number = CONTAINERS + self.others;
        let at = At { container: number - 1, network, ..At::default() };
        let first = case.attachment()?;
        let attachment = self.attachment(case, at, &first, &[], number.into())?;
        let mut works = false;
        for operation in [Operation::Add, Operation::Del] {
            let label = format!("{operation} of another container, with nothing wrong");
            let answer = case.run(case.call(operation, &attachment).label(label))?;
            works |= operation == Operation::Add && answer.succeeded();
        }
        if works {
            self.works.insert(network);
        }
        // There is a container more than there was.
        self.base = None;
        Ok(works)
    }

    /// A request with a fault was accepted: whatever it did has to go away by a good DEL.
    fn accepted(&mut self, case: &mut Case<'_>, operation: Operation, at: At, answer: &Answer) {
        match operation {
            Operation::Add => {
                let single = !matches!(answer.documents, Documents::Several(_) | Documents::Garbage(_));
                let expected = format!("{} prints one document", answer.label);
                case.expect(single, "exec.stdout-single-document", expected, answer.summary());
                // Another network, interface or address may be in it than the model knows.
                self.base = None;
                self.reasons.insert(Reason::Faulty);
                if let Some(slot) = self.slots.get_mut(&at) {
                    slot.touched = true;
                    slot.state = State::Unsure(Reason::Faulty);
                }
            }
            Operation::Del => {
                if let Some(slot) = self.slots.get_mut(&at)
                    && slot.state != State::Absent
                {
                    slot.state = State::Unsure(Reason::Deleted);
                }
            }
            Operation::Gc => self.collected(),
            _ => {}
        }
    }
}
