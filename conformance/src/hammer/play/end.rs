//! The end of a scenario: what is attached is healthy, and after DEL of everything nothing remains.

use cni_spec::{Operation, Version};

use super::{Game, Reason, State};
use crate::arena::snapshot::{NamespaceState, Snapshot};
use crate::checks::cycle;
use crate::checks::protocol::expect_lives;
use crate::checks::{Attachment, Case, Stop, changes, del, kernel};
use crate::hammer::scenario::At;
use crate::target::Kind;

impl Game<'_> {
    /// Everything is detached: the attachments that are there must be healthy before, and nothing may remain after.
    pub(super) fn end(&mut self, case: &mut Case<'_>) -> Result<(), Stop> {
        self.expect_distinct(case);
        let healthy: Vec<At> =
            self.slots.iter().filter(|(_, slot)| slot.state == State::Attached).map(|(at, _)| *at).collect();
        if !healthy.is_empty() {
            let now = case.snapshot()?;
            for at in &healthy {
                self.expect_intact(case, *at, &now);
                if case.version >= Version::V0_4_0 {
                    self.operate(case, Operation::Check, *at, None)?;
                }
            }
        }
        let mut clean = true;
        let touched: Vec<At> =
            self.slots.iter().filter(|(_, slot)| slot.touched).map(|(at, _)| *at).collect();
        for at in touched.iter().rev() {
            let slot = &self.slots[at];
            if slot.state == State::Unsure(Reason::Faulty) {
                // What it was attached as is not known.
                let answer = case.operate(Operation::Del, &slot.attachment)?;
                expect_lives(case, &answer);
                continue;
            }
            for label in ["DEL", "the second DEL"] {
                let attachment = self.slots[at].attachment.clone();
                let call = case.call(Operation::Del, &attachment);
                let answer = case.run(call.label(format!("{label} of {}", self.name(*at, &attachment))))?;
                clean &= answer.succeeded();
                self.deleted(case, *at, &answer);
            }
        }
        let Some(base) = self.base.take().filter(|_| clean && !touched.is_empty()) else { return Ok(()) };
        let after = case.snapshot()?;
        self.note_changes(case, Operation::Del, &base, &after);
        self.expect_nothing_left(case, &base, &after);
        Ok(())
    }

    /// An attachment that nothing was done to is as its ADD left it.
    fn expect_intact(&self, case: &mut Case<'_>, at: At, now: &Snapshot) {
        let slot = &self.slots[&at];
        let (Some(before), Some(after)) = (&slot.added, now.place(&slot.attachment.place())) else { return };
        if !self.is_alone(at) {
            return;
        }
        let name = case.interface(&slot.attachment);
        let look = |state: &NamespaceState| {
            let link = state.link(&name).map(|link| (link.index, link.mac.clone()));
            let mut addresses: Vec<String> =
                kernel::given_addresses(state, &name).iter().map(ToString::to_string).collect();
            addresses.sort();
            (link, addresses)
        };
        let expected = format!("{} keeps its interface and addresses", self.name(at, &slot.attachment));
        let (was, is) = (look(before), look(after));
        let observed = format!("before: {}; after: {}", was.1.join(", "), is.1.join(", "));
        case.expect(was == is, "del.only-own-attachment", expected, observed);
    }

    fn expect_nothing_left(&self, case: &mut Case<'_>, base: &Snapshot, after: &Snapshot) {
        let gone: Vec<&Attachment> = self
            .slots
            .iter()
            .filter(|(at, _)| self.deleted.contains(&at.container))
            .map(|(_, slot)| &slot.attachment)
            .collect();
        let case_is_chained = case.kind() == Kind::Chained;
        let bereft = self
            .slots
            .iter()
            .filter(|(at, _)| [&self.deleted, &self.bereft].iter().any(|set| set.contains(&at.container)));
        let devices: Vec<String> =
            bereft.flat_map(|(_, slot)| changes::devices_of(case, &slot.attachment)).collect();
        let ignore = |line: &str| {
            gone.iter().any(|one| changes::is_in_container(line, one))
                || changes::is_file_content(line)
                || del::front_is_gone(line)
                || changes::is_of_front(line)
                || changes::is_lost_device(line, &devices)
                // The kernel takes IPv6 addresses from an interface whose MTU becomes too small, and gives none back.
                || case_is_chained && line.starts_with("- container ")
        };
        let what = "all that was played, and DEL of every attachment,";
        // What a chained plugin changed in a container it has to know to bring back what was before, and after a DEL that passed
        // it need not any more. What else has happened is not to blame.
        let untold: Vec<&Attachment> = self
            .slots
            .iter()
            .filter(|(at, _)| case_is_chained && self.untold.contains(&at.container))
            .map(|(_, slot)| &slot.attachment)
            .collect();
        let is_of_untold = |line: &str| untold.iter().any(|one| changes::is_in_container(line, one));
        if !untold.is_empty() {
            let what = "DEL that names the namespace, after one that did not,";
            let other = |line: &str| !is_of_untold(line) || ignore(line);
            case.expect_unchanged(base, after, "del.undoes-modifications", what, other);
        }
        let ignore = |line: &str| ignore(line) || is_of_untold(line);
        let delegates = case.target.is_some_and(crate::target::Target::executes_others);
        let requirement = match self.reasons.last() {
            None | Some(Reason::Deleted | Reason::Collected | Reason::Faulty) => {
                cycle::expect_nothing_left(case, base, after, what, ignore);
                return;
            }
            Some(Reason::AddFailed) => "add.failure-leaves-del-able",
            Some(Reason::KilledAdd) => "del.after-killed-add",
            Some(Reason::KilledDel) => "del.releases-resources",
            Some(_) if case.kind() == Kind::Chained => "del.undoes-modifications",
            Some(Reason::NetnsGone) if case.kind() == Kind::Ipam => "del.ipam-without-netns",
            Some(_) if delegates => "del.delegates-when-netns-gone",
            Some(Reason::InterfaceGone) => "del.missing-interface-succeeds",
            Some(Reason::NetnsGone) => "del.missing-netns-succeeds",
        };
        case.expect_unchanged(base, after, requirement, what, ignore);
    }
}
