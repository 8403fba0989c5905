//! Plays a scenario in an arena and judges every step.
//!
//! A model says of each attachment what it is: absent, attached, or unsure after something went wrong on purpose. Each
//! answer must be clean, each ADD that succeeds must have done what it says, and in the end, when everything is detached,
//! the arena must look as it did before.

mod end;
mod faulty;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cni_spec::{Operation, Version};
use serde_json::Value;

use super::cause;
use super::harmless::{Asking, Harmless};
use super::judge::judge_version;
use super::scenario::{At, Scenario, Step};
use super::trace::Trace;
use crate::arena::NetOp;
use crate::arena::snapshot::{NamespaceState, Snapshot};
use crate::checks::cycle::{self, expect_no_crash, expect_silence};
use crate::checks::protocol::{expect_lives, version_call};
use crate::checks::{
    Answer, Attachment, Call, Case, Documents, NETWORK, Stop, attachments, changes, front, gc, kernel,
    observation,
};
use crate::invoke::Outcome;
use crate::target::{Configuration, Kind};

/// What a scenario showed.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The plugin's behaviour, for telling scenarios that show something new.
    pub(super) behaviour: BTreeSet<u64>,
    /// How many executions were killed before their end.
    pub(super) killed: usize,
    /// How many ADDs succeeded.
    pub(super) attached: usize,
}

/// Plays a scenario in a case whose arena is as new. What is found is stated in the case. `trace` is written after each part.
///
/// # Errors
/// When cnitest could not go on.
pub(super) fn play(
    case: &mut Case<'_>,
    scenario: &Scenario,
    mut trace: Option<&mut Trace>,
) -> Result<Shown, Stop> {
    let mut look = |case: &mut Case<'_>| trace.as_mut().map_or(Ok(()), |trace| trace.look(case));
    let mut game = Game::begin(case, scenario)?;
    look(case)?;
    for step in &scenario.steps {
        game.step(case, step)?;
        look(case)?;
    }
    game.end(case)?;
    look(case)?;
    Ok(game.shown)
}

/// What the model says of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has asked for it, or it was detached.
    Absent,
    /// ADD succeeded, and nothing has happened to it since.
    Attached,
    /// It may hold something: what has happened says what DEL must do.
    Unsure(Reason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// A request that something was wrong with was accepted.
    Faulty,
    /// Nothing but another attempt of DEL may be needed.
    Deleted,
    /// ADD failed.
    AddFailed,
    /// GC was told that it is not valid.
    Collected,
    /// Its interface was removed.
    InterfaceGone,
    /// Its namespace was deleted.
    NetnsGone,
    /// DEL was killed.
    KilledDel,
    /// ADD was killed.
    KilledAdd,
}

/// How many containers a scenario may need beside its own: the links in front of them have numbers below 256.
const OTHERS: u8 = 12;

struct Slot {
    attachment: Attachment,
    state: State,
    /// ADD was asked for at some time.
    touched: bool,
    /// How the container was right after ADD.
    added: Option<NamespaceState>,
}

struct Game<'s> {
    scenario: &'s Scenario,
    configuration: Configuration,
    slots: BTreeMap<At, Slot>,
    /// Containers whose namespace was deleted.
    deleted: BTreeSet<u8>,
    /// Containers whose interface was removed where the target provides links: it may have been one of them, which is gone then.
    bereft: BTreeSet<u8>,
    /// The state that the arena must come back to; none where nothing can be said.
    base: Option<Snapshot>,
    /// The first container is attached, so that what belongs to a network is there.
    settled: bool,
    /// The attachment that was made by the last step that could change anything.
    latest: Option<At>,
    /// Networks of which some ADD succeeded. A plugin that does not take a configuration may refuse DEL with it too.
    works: BTreeSet<u8>,
    /// What has happened that decides which requirement a left-over breaks.
    reasons: BTreeSet<Reason>,
    shown: Shown,
    /// The versions that VERSION named.
    versions: Option<Vec<String>>,
    /// How many containers were made beside those of the scenario.
    others: u8,
    /// Containers of which a DEL passed that was told another namespace or none.
    untold: BTreeSet<u8>,
}

impl<'s> Game<'s> {
    fn begin(case: &mut Case<'_>, scenario: &'s Scenario) -> Result<Self, Stop> {
        let configuration = Configuration {
            plugin: scenario.plugin.clone(),
            args: scenario.args.clone(),
            ..case.configuration.clone()
        };
        let mut game = Game {
            scenario,
            configuration,
            slots: BTreeMap::new(),
            deleted: BTreeSet::new(),
            bereft: BTreeSet::new(),
            base: None,
            settled: false,
            latest: None,
            works: BTreeSet::new(),
            reasons: BTreeSet::new(),
            shown: Shown::default(),
            versions: None,
            others: 0,
            untold: BTreeSet::new(),
        };
        let attaches = scenario.settle
            && scenario.steps.iter().any(|step| {
                matches!(
                    step,
                    Step::Operate { .. } | Step::Together { .. } | Step::Kill { .. } | Step::Collect { .. }
                )
            });
        let mut wanted: BTreeSet<At> = scenario.steps.iter().flat_map(Step::attachments).collect();
        // Even VERSION is asked for in some arena, beside some container.
        if wanted.is_empty() {
            wanted.insert(At::default());
        }
        let networks: BTreeSet<u8> = wanted.iter().map(|at| at.network).collect();
        // What belongs to a network and to no attachment comes with the first container, which stays.
        let mut made = Vec::new();
        if attaches {
            let first = case.attachment()?;
            let empty = case.snapshot()?;
            game.settled = true;
            for network in &networks {
                let at = At { container: 0, interface: 0, network: *network };
                let mut one = game.attachment(case, at, &first, &made, 0)?;
                let call = case.call(Operation::Add, &one).label("ADD of the first container");
                let answer = case.run(call)?;
                one.result = answer.succeeded().then(|| answer.document().cloned()).flatten();
                game.settled &= one.result.is_some();
                if one.result.is_some() {
                    game.works.insert(*network);
                }
                expect_no_crash(case, &answer);
                if !answer.succeeded() {
                    let call = case.call(Operation::Del, &one).label("DEL of the first container");
                    case.run(call)?;
                }
                if *network == 0 {
                    made = cycle::new_host_links(&empty, &case.snapshot()?);
                }
            }
        }
        let containers: BTreeSet<u8> = wanted.iter().map(|at| at.container).collect();
        for container in containers {
            let first = case.attachment()?;
            for at in wanted.iter().filter(|at| at.container == container) {
                let attachment = game.attachment(case, *at, &first, &made, usize::from(container) + 1)?;
                let slot = Slot { attachment, state: State::Absent, touched: false, added: None };
                game.slots.insert(*at, slot);
            }
        }
        if game.settled {
            game.base = Some(case.snapshot()?);
        }
        Ok(game)
    }

    /// An attachment of a container whose first one is given. `number` tells containers apart.
    fn attachment(
        &self,
        case: &mut Case<'_>,
        at: At,
        first: &Attachment,
        made: &[String],
        number: usize,
    ) -> Result<Attachment, Stop> {
        let mut attachment = dressed(self.scenario, first);
        // Two attachments cannot have the same port of the host.
        if let Some(asked) = attachment.plugin.get_mut("runtimeConfig") {
            for _ in 0..4 * number + usize::from(2 * at.interface + at.network) {
                attachments::move_ports(asked);
            }
        }
        if at.network > 0 {
            for (key, value) in &mut attachment.plugin {
                if !["type", "name", "cniVersion"].contains(&key.as_str()) {
                    attachments::move_network(value, made);
                }
            }
            attachment.plugin.insert("name".to_owned(), Value::from(format!("{NETWORK}-{}", at.network)));
        }
        // A container ID and an interface name are one attachment, whatever the network.
        let interface = at.interface + 2 * at.network;
        if interface > 0 {
            attachment.ifname = format!("eth{interface}");
            if case.kind() == Kind::Chained {
                let index = 100 + 10 * number + usize::from(interface);
                attachment.previous =
                    Some(front::beside(case, &attachment, &attachment.ifname.clone(), index)?);
            }
        }
        Ok(attachment)
    }

    fn step(&mut self, case: &mut Case<'_>, step: &Step) -> Result<(), Stop> {
        if !matches!(
            step,
            Step::Operate { operation: Operation::Check, .. } | Step::Status { .. } | Step::Version { .. }
        ) {
            self.latest = None;
        }
        match step {
            Step::Operate { operation, at, harmless } => self.operate(case, *operation, *at, *harmless),
            Step::Together { operation, at } => self.together(case, *operation, at),
            Step::Kill { operation, at, after } => self.kill(case, *operation, *at, *after),
            Step::Broken { operation, at, fault } => self.broken(case, *operation, *at, fault),
            Step::Collect { network, valid } => self.collect(case, *network, *valid),
            Step::Status { network } => self.status(case, *network),
            Step::Version { asking } => self.version(case, *asking),
            Step::DeleteNetns { container } => {
                let of = |at: &At| at.container == *container;
                let Some(attachment) =
                    self.slots.iter().find(|(at, _)| of(at)).map(|(_, slot)| slot.attachment.clone())
                else {
                    return Ok(());
                };
                if self.deleted.insert(*container) {
                    cycle::delete_netns(case, &attachment)?;
                    for (_, slot) in self.slots.iter_mut().filter(|(at, slot)| of(at) && slot.touched) {
                        slot.state = State::Unsure(Reason::NetnsGone);
                        self.reasons.insert(Reason::NetnsGone);
                    }
                }
                Ok(())
            }
            Step::RemoveInterface { at } => {
                let Some(slot) = self.slots.get_mut(at) else { return Ok(()) };
                // A fixed interface cannot be removed, one in front of a chained plugin is not the plugin's.
                let own = case.kind().makes_interface() && !kernel::has_fixed_interface(case);
                if slot.state == State::Attached && own && !self.deleted.contains(&at.container) {
                    let link = NetOp::DeleteLink { name: slot.attachment.ifname.clone() };
                    case.network(&slot.attachment.place(), link)?;
                    slot.state = State::Unsure(Reason::InterfaceGone);
                    if case.target.is_some_and(|target| !target.links.is_empty()) {
                        self.bereft.insert(at.container);
                    }
                    self.reasons.insert(Reason::InterfaceGone);
                }
                Ok(())
            }
        }
    }

    fn version(&mut self, case: &mut Case<'_>, asking: Asking) -> Result<(), Stop> {
        let answer = case.run(asking.apply(version_call(case)))?;
        self.note(&answer);
        judge_version(case, &answer, asking, &mut self.versions)
    }

    fn operate(
        &mut self,
        case: &mut Case<'_>,
        operation: Operation,
        at: At,
        harmless: Option<Harmless>,
    ) -> Result<(), Stop> {
        let number = self.slots.keys().take_while(|one| **one != at).count() + 1;
        let Some(slot) = self.slots.get_mut(&at) else { return Ok(()) };
        let harmless = harmless.filter(|_| operation == Operation::Add);
        if let Some(harmless) = harmless.filter(|_| slot.state == State::Absent && !slot.touched) {
            harmless.rename(&mut slot.attachment, number);
        }
        let (attachment, state, touched) = (slot.attachment.clone(), slot.state, slot.touched);
        let mut call =
            case.call(operation, &attachment).label(format!("{operation} of {}", self.name(at, &attachment)));
        if let Some(harmless) = harmless {
            // A name that DEL is to use cannot be changed any more.
            if harmless.names() && touched {
                return Ok(());
            }
            let Some(changed) = harmless.apply(call) else { return Ok(()) };
            call = changed;
        }
        match operation {
            // A runtime does not add what is there, nor anything to a namespace that is gone.
            Operation::Add if state != State::Absent || self.deleted.contains(&at.container) => Ok(()),
            Operation::Add => {
                let before = Arc::new(case.snapshot()?);
                let answer = case.run(call)?;
                let after = Arc::new(case.snapshot()?);
                self.note_changes(case, operation, &before, &after);
                self.added(case, at, &answer, &after);
                if let Some(harmless) = harmless
                    && !answer.succeeded()
                    && self.is_alone(at)
                    // What it is to move may have been removed.
                    && !self.bereft.contains(&at.container)
                    && self.is_taken_from_others(case, at.network)?
                {
                    case.expect_success(&answer, harmless.requirement());
                }
                let mut attachment = attachment;
                attachment.result = answer.document().cloned();
                if self.slots[&at].state == State::Attached {
                    let seen = observation::Observation { attachment, answer, before, after };
                    observation::look(case, &self.configuration, seen)?;
                }
                Ok(())
            }
            Operation::Check => {
                if state == State::Attached && case.version >= Version::V0_4_0 {
                    let answer = case.run(call)?;
                    self.note(&answer);
                    self.expect_check(case, at, &answer);
                }
                Ok(())
            }
            Operation::Del => {
                let answer = case.run(call)?;
                self.deleted(case, at, &answer);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn name(&self, at: At, attachment: &Attachment) -> String {
        let place = format!("{} of {}", attachment.ifname, attachment.container);
        if at.network > 0 { format!("{place} in the other network") } else { place }
    }

    /// What an ADD of a valid request came to; `after` is the state after it.
    fn added(&mut self, case: &mut Case<'_>, at: At, answer: &Answer, after: &Snapshot) {
        self.note(answer);
        expect_lives(case, answer);
        let good = answer.succeeded() && matches!(answer.documents, Documents::One(Value::Object(_)));
        if answer.succeeded() && !good {
            let expected = format!("{} prints its result", answer.label);
            let requirement = match answer.documents {
                Documents::None => "add.result-on-success",
                Documents::One(_) => "result.root-object",
                Documents::Several(_) | Documents::Garbage(_) => "exec.stdout-single-document",
            };
            case.expect(false, requirement, expected, answer.summary());
        }
        let Some(slot) = self.slots.get_mut(&at) else { return };
        slot.touched = true;
        if good {
            self.shown.attached += 1;
            self.works.insert(at.network);
            slot.attachment.result = answer.document().cloned();
            slot.state = State::Attached;
            self.latest = Some(at);
            slot.added = after.place(&slot.attachment.place()).cloned();
        } else {
            slot.state = State::Unsure(Reason::AddFailed);
            self.reasons.insert(Reason::AddFailed);
        }
    }

    /// What a DEL came to.
    fn deleted(&mut self, case: &mut Case<'_>, at: At, answer: &Answer) {
        self.note(answer);
        let works = self.works.contains(&at.network);
        let Some(slot) = self.slots.get_mut(&at) else { return };
        let requirement = match slot.state {
            State::Attached => "del.best-effort",
            State::Absent if slot.touched => "del.idempotent",
            State::Absent => "del.never-added-succeeds",
            State::Unsure(Reason::AddFailed) => "del.after-failed-add-succeeds",
            State::Unsure(Reason::KilledAdd) => "del.after-killed-add",
            State::Unsure(Reason::KilledDel) => "del.best-effort",
            State::Unsure(Reason::NetnsGone) if case.kind() == Kind::Ipam => "del.ipam-without-netns",
            State::Unsure(Reason::NetnsGone) => "del.missing-netns-succeeds",
            State::Unsure(Reason::InterfaceGone) => "del.missing-interface-succeeds",
            State::Unsure(Reason::Collected | Reason::Deleted | Reason::Faulty) => "del.idempotent",
        };
        let requirement = if self.deleted.contains(&at.container) && requirement == "del.never-added-succeeds"
        {
            "del.missing-netns-succeeds"
        } else {
            requirement
        };
        if works {
            case.expect_success(answer, requirement);
        }
        expect_no_crash(case, answer);
        expect_silence(case, answer, "del.result-empty");
        slot.state = match (answer.succeeded(), slot.state) {
            (true, _) => State::Absent,
            (false, State::Attached) => State::Unsure(Reason::Deleted),
            (false, state) => state,
        };
    }

    fn expect_check(&self, case: &mut Case<'_>, at: At, answer: &Answer) {
        expect_lives(case, answer);
        // Interfaces of one container may take each other's routes. After others have come or gone no text speaks of CHECK.
        if self.is_alone(at) && self.latest == Some(at) {
            case.expect_success(answer, "check.ok-after-add");
        }
        expect_silence(case, answer, "check.success-silent");
    }

    /// Whether nothing else in its container was ever asked for.
    fn is_alone(&self, at: At) -> bool {
        self.slots.iter().filter(|(other, slot)| other.container == at.container && slot.touched).count() == 1
    }

    fn together(&mut self, case: &mut Case<'_>, operation: Operation, all: &[At]) -> Result<(), Stop> {
        let mut containers = BTreeSet::new();
        let chosen: Vec<At> = all
            .iter()
            .copied()
            .filter(|at| {
                self.slots.get(at).is_some_and(|slot| {
                    operation != Operation::Add
                        || slot.state == State::Absent && !self.deleted.contains(&at.container)
                }) && containers.insert(at.container)
            })
            .collect();
        if chosen.is_empty() || !matches!(operation, Operation::Add | Operation::Del) {
            return Ok(());
        }
        let calls = chosen.iter().map(|at| {
            let attachment = &self.slots[at].attachment;
            let label = format!("{operation} of {}, all at once", self.name(*at, attachment));
            case.call(operation, attachment).label(label)
        });
        let calls: Vec<Call> = calls.collect();
        let answers = case.run_together(calls)?;
        let after = case.snapshot()?;
        for (at, answer) in chosen.iter().zip(&answers) {
            match operation {
                Operation::Add => self.added(case, *at, answer, &after),
                _ => self.deleted(case, *at, answer),
            }
        }
        self.expect_distinct(case);
        Ok(())
    }

    /// Whoever chooses addresses gives each once.
    fn expect_distinct(&self, case: &mut Case<'_>) {
        let mut seen = BTreeSet::new();
        for (at, slot) in self.slots.iter().filter(|(_, slot)| slot.state == State::Attached) {
            let Ok(result) = kernel::read(case, slot.attachment.result.as_ref()) else { continue };
            let ipam = case.kind() == Kind::Ipam || self.scenario.plugin.contains_key("ipam");
            let plugin = Value::Object(slot.attachment.plugin.clone()).to_string();
            let stated = format!("{plugin} {}", self.scenario.args.as_deref().unwrap_or_default());
            for ip in result.ips.iter().map(|ip| ip.address.addr()) {
                if !ipam || kernel::has_fixed_interface(case) || stated.contains(&ip.to_string()) {
                    continue;
                }
                let holds = seen.insert((at.network, ip));
                let expected = "each attachment gets addresses that no other has";
                case.expect(holds, "add.concurrent-containers", expected, format!("{ip} is given twice"));
            }
        }
    }

    fn kill(&mut self, case: &mut Case<'_>, operation: Operation, at: At, after: u64) -> Result<(), Stop> {
        let Some(slot) = self.slots.get(&at) else { return Ok(()) };
        let fits = match operation {
            Operation::Add => slot.state == State::Absent && !self.deleted.contains(&at.container),
            Operation::Del => slot.touched,
            _ => false,
        };
        if !fits {
            return Ok(());
        }
        let label = format!("{operation} of {}, killed", self.name(at, &slot.attachment));
        let mut call = case.call(operation, &slot.attachment).label(label);
        call.killed_after = Some(Duration::from_micros(after));
        let answer = case.run(call)?;
        let slot =
            self.slots.get_mut(&at).ok_or_else(|| Stop::Undecided("an attachment is lost".to_owned()))?;
        match answer.execution.outcome {
            // It was faster.
            Outcome::Exited(_) if operation == Operation::Add => {
                let after = case.snapshot()?;
                self.added(case, at, &answer, &after);
            }
            Outcome::Exited(_) => self.deleted(case, at, &answer),
            _ => {
                self.shown.killed += 1;
                slot.touched = true;
                let reason = if operation == Operation::Add { Reason::KilledAdd } else { Reason::KilledDel };
                if !matches!(slot.state, State::Unsure(Reason::NetnsGone | Reason::InterfaceGone)) {
                    slot.state = State::Unsure(reason);
                }
                self.reasons.insert(reason);
            }
        }
        Ok(())
    }

    fn collect(&mut self, case: &mut Case<'_>, network: u8, valid: bool) -> Result<(), Stop> {
        if case.version < Version::V1_1_0 {
            return Ok(());
        }
        let of: Vec<At> = self.slots.keys().copied().filter(|at| at.network == network).collect();
        let Some(any) = of.first().map(|at| self.slots[at].attachment.clone()) else { return Ok(()) };
        // The first container is never listed: it has to stay, so it must be valid.
        let mut listed: Vec<Attachment> = Vec::new();
        let mut first = any.clone();
        first.container_id = "cnitest-c1".to_owned();
        first.ifname = match network {
            0 => "eth0".to_owned(),
            other => format!("eth{}", 2 * other),
        };
        if let Some(fixed) = case.target.and_then(|target| target.fixed_interface.clone()) {
            first.ifname = fixed;
        }
        listed.push(first);
        if valid {
            let attached = of.iter().filter(|at| self.slots[*at].state == State::Attached);
            listed.extend(attached.map(|at| self.slots[at].attachment.clone()));
        }
        let names: Vec<&Attachment> = listed.iter().collect();
        let what = if valid { "GC that lists every attachment" } else { "GC that lists no attachment" };
        let call = gc::listing(case.call(Operation::Gc, &any), &names).label(what);
        let before = case.snapshot()?;
        let answer = case.run(call)?;
        let after = case.snapshot()?;
        self.note(&answer);
        self.note_changes(case, Operation::Gc, &before, &after);
        expect_lives(case, &answer);
        // A configuration that no ADD takes may be one that GC cannot work with either.
        if self.works.contains(&network) {
            case.expect_success(&answer, "gc.no-error-normally");
        }
        let quiet = self.slots.values().all(|slot| matches!(slot.state, State::Attached | State::Absent));
        if valid && quiet {
            case.expect_unchanged(&before, &after, "gc.keeps-valid", what, changes::is_file_content);
        }
        for at in of {
            let Some(slot) = self.slots.get_mut(&at) else { continue };
            if !valid && slot.state == State::Attached {
                slot.state = State::Unsure(Reason::Collected);
            }
        }
        Ok(())
    }

    fn status(&mut self, case: &mut Case<'_>, network: u8) -> Result<(), Stop> {
        let of = self.slots.iter().find(|(at, _)| at.network == network);
        let Some(attachment) = of.map(|(_, slot)| slot.attachment.clone()) else { return Ok(()) };
        if case.version < Version::V1_1_0 {
            return Ok(());
        }
        let before = case.snapshot()?;
        let answer = case.operate(Operation::Status, &attachment)?;
        let after = case.snapshot()?;
        self.note(&answer);
        self.note_changes(case, Operation::Status, &before, &after);
        expect_lives(case, &answer);
        expect_silence(case, &answer, "status.success-silent");
        case.expect_unchanged(&before, &after, "status.no-mutation", "STATUS", changes::is_file_content);
        Ok(())
    }

    /// GC was told of no valid attachment: each may be gone, the first one that stays included.
    fn collected(&mut self) {
        self.base = None;
        for slot in self.slots.values_mut().filter(|slot| slot.state == State::Attached) {
            slot.state = State::Unsure(Reason::Collected);
        }
    }

    fn note(&mut self, answer: &Answer) {
        self.shown.behaviour.insert(cause::behaviour(answer));
    }

    /// What an operation changed is behaviour too.
    fn note_changes(&mut self, case: &Case<'_>, operation: Operation, before: &Snapshot, after: &Snapshot) {
        let changes = changes::judged(case, before, after);
        self.shown.behaviour.extend(changes.iter().map(|line| cause::touched(operation, line)));
    }
}

/// The attachment with the scenario's plugin object in place of the configuration's.
pub(super) fn dressed(scenario: &Scenario, first: &Attachment) -> Attachment {
    let mut attachment = first.clone();
    if let (Some(name), Some(version)) =
        (first.plugin.get("name").cloned(), first.plugin.get("cniVersion").cloned())
    {
        attachment.plugin = scenario.plugin.clone();
        attachment.plugin.insert("cniVersion".to_owned(), version);
        attachment.plugin.insert("name".to_owned(), name);
    }
    let args = scenario.args.as_ref();
    attachment.args = args.map(|args| args.replace("${container}", &first.container));
    for value in attachment.plugin.values_mut() {
        name_container(value, &first.container);
    }
    attachment
}

/// Puts the container's name where a configuration asks for it.
fn name_container(value: &mut Value, container: &str) {
    match value {
        Value::String(text) if text.contains("${container}") => {
            *text = text.replace("${container}", container)
        }
        Value::Array(items) => items.iter_mut().for_each(|item| name_container(item, container)),
        Value::Object(members) => members.values_mut().for_each(|item| name_container(item, container)),
        _ => {}
    }
}
