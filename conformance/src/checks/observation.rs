//! What all checks look at together which do nothing but look: one ADD, one with its DELs, one with CHECKs, ... of each configuration
//! in each version.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cni_spec::{Operation, Version};

use super::case::{Answer, Attachment, Call, Case, Setting, Stop};
use super::cycle;
use super::reproducer::Step;
use crate::arena::snapshot::Snapshot;
use crate::invoke::Invocation;
use crate::target::{Configuration, Kind};

/// An ADD of a fresh container, with all that was seen of it.
#[derive(Debug)]
pub(crate) struct Observation {
    /// What was attached; holds the document that ADD printed, if it was one.
    pub(crate) attachment: Attachment,
    /// What ADD answered.
    pub(crate) answer: Answer,
    /// The state just before ADD, with the settings under `net/`.
    pub(crate) before: Arc<Snapshot>,
    /// The state just after ADD, with the settings under `net/`.
    pub(crate) after: Arc<Snapshot>,
}

/// An ADD beside another container's attachment, and its DELs.
#[derive(Debug)]
pub(super) struct Cycle {
    /// What was attached and detached.
    pub(super) attachment: Attachment,
    /// The state before ADD, with the settings under `net/`.
    pub(super) before: Arc<Snapshot>,
    /// The state after ADD.
    pub(super) added: Arc<Snapshot>,
    /// The state after the first DEL, or after the second where the first failed; with the settings under `net/`.
    pub(super) after: Arc<Snapshot>,
    /// What the DELs answered: four of them.
    pub(super) deletions: Vec<Answer>,
}

/// CHECKs of a healthy attachment.
#[derive(Debug)]
pub(super) struct Checked {
    /// The state before the first CHECK.
    pub(super) before: Snapshot,
    /// The state after the last.
    pub(super) after: Snapshot,
    /// What the CHECKs answered: five of them.
    pub(super) answers: Vec<Answer>,
}

/// An ADD, and a DEL from which something was taken away.
#[derive(Debug)]
pub(super) struct Deprived {
    /// What was attached and detached.
    pub(super) attachment: Attachment,
    /// The state before ADD.
    pub(super) before: Snapshot,
    /// The state after DEL.
    pub(super) after: Snapshot,
    /// What DEL answered.
    pub(super) answer: Answer,
}

/// An ADD with a script as the IPAM plugin, and a variable and a key that nobody knows.
#[derive(Debug)]
pub(super) struct Delegated {
    /// What was attached.
    pub(super) attachment: Attachment,
    /// What the plugin was given.
    pub(super) given: Call,
    /// What ADD answered.
    pub(super) answer: Answer,
    /// The state after ADD.
    pub(super) after: Snapshot,
    /// The environment that the script got, if it was executed.
    pub(super) environment: Option<String>,
    /// The configuration that the script got, if it was executed.
    pub(super) configuration: Option<String>,
}

/// What a case recorded for others, with the steps that a reproducer repeats.
#[derive(Debug)]
struct Recorded<T> {
    seen: Arc<T>,
    steps: Vec<Step>,
    executions: Vec<(Invocation, Answer)>,
}

type Slot<T> = Arc<OnceLock<Option<Recorded<T>>>>;

/// The name of a configuration, a version and a variant.
type Key = (String, Version, &'static str);

/// One record for each key, made by the first case that wants it.
#[derive(Debug)]
struct Shared<T>(Mutex<BTreeMap<Key, Slot<T>>>);

/// The observations of a run.
#[derive(Debug, Default)]
pub struct Observations {
    adds: Shared<Observation>,
    cycles: Shared<Cycle>,
    checked: Shared<Checked>,
    deprived: Shared<Deprived>,
    delegated: Shared<Delegated>,
    faulty: Shared<Answer>,
}

/// The ADD of the case's configuration in the case's version; the case must do nothing of its own.
///
/// # Errors
/// When the arena fails.
pub(super) fn observe(case: &mut Case<'_>) -> Result<Arc<Observation>, Stop> {
    case.observations.adds.get(case, "", add)
}

/// The ADD and DELs of the case's configuration in the case's version; the case must do nothing of its own.
///
/// # Errors
/// Skips the case when ADD fails.
pub(super) fn observe_cycle(case: &mut Case<'_>) -> Result<Arc<Cycle>, Stop> {
    case.observations.cycles.get(case, "", add_and_delete)
}

/// CHECKs of an attachment of the case's configuration in the case's version; the case must do nothing of its own.
///
/// # Errors
/// Skips the case when ADD fails.
pub(super) fn observe_checks(case: &mut Case<'_>) -> Result<Arc<Checked>, Stop> {
    case.observations.checked.get(case, "", add_and_check)
}

/// What `make` does for a variant, in the case's configuration and version; the case must do nothing of its own.
///
/// # Errors
/// As `make`.
pub(super) fn observe_deprived(
    case: &mut Case<'_>,
    variant: &'static str,
    make: fn(&mut Case<'_>, &'static str) -> Result<Deprived, Stop>,
) -> Result<Arc<Deprived>, Stop> {
    case.observations.deprived.get(case, variant, |case| make(case, variant))
}

/// What `make` does in the case's configuration and version; the case must do nothing of its own.
///
/// # Errors
/// As `make`.
pub(super) fn observe_delegated(
    case: &mut Case<'_>,
    make: fn(&mut Case<'_>) -> Result<Delegated, Stop>,
) -> Result<Arc<Delegated>, Stop> {
    case.observations.delegated.get(case, "", make)
}

/// What `make` answers for a variant, in the case's configuration and version; the case must do nothing of its own.
///
/// # Errors
/// As `make`.
pub(super) fn observe_faulty(
    case: &mut Case<'_>,
    make: fn(&mut Case<'_>) -> Result<Answer, Stop>,
) -> Result<Arc<Answer>, Stop> {
    case.observations.faulty.get(case, case.variant, make)
}

/// The ADD that other cases have observed of the case's configuration and version already. The case may go on with its
/// own work.
pub(super) fn known(case: &Case<'_>) -> Option<Arc<Observation>> {
    let slot = case.observations.adds.slot(case, "");
    Some(Arc::clone(&slot.get()?.as_ref()?.seen))
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Shared(Mutex::default())
    }
}

impl<T> Shared<T> {
    fn slot(&self, case: &Case<'_>, variant: &'static str) -> Slot<T> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry((case.configuration.name.clone(), case.version, variant)).or_default())
    }

    fn get(
        &self,
        case: &mut Case<'_>,
        variant: &'static str,
        make: impl Fn(&mut Case<'_>) -> Result<T, Stop>,
    ) -> Result<Arc<T>, Stop> {
        let slot = self.slot(case, variant);
        let mut failed = None;
        let recorded = slot.get_or_init(|| match make(case) {
            Ok(seen) => {
                let (steps, executions) = (case.steps.clone(), case.executions.clone());
                Some(Recorded { seen: Arc::new(seen), steps, executions })
            }
            Err(stop) => {
                failed = Some(stop);
                None
            }
        });
        match (recorded, failed) {
            (Some(recorded), _) => {
                case.steps = recorded.steps.clone();
                case.executions = recorded.executions.clone();
                Ok(Arc::clone(&recorded.seen))
            }
            (None, Some(stop)) => Err(stop),
            // Whoever was to record it failed: each case finds out for itself.
            (None, None) => make(case).map(Arc::new),
        }
    }
}

/// The checks that do nothing but look at one ADD.
const LOOKERS: [&str; 16] = [
    "add.single-document",
    "add.result-schema",
    "add.result-cniversion",
    "add.creates-interface",
    "add.interface-listed",
    "add.interfaces-complete",
    "add.interfaces-exist",
    "add.host-interfaces",
    "add.mac",
    "add.mtu",
    "add.index-in-range",
    "add.addresses",
    "add.addresses-reported",
    "add.routes",
    "chained.interface-kept",
    "ipam.addresses",
];

/// Has every check that does nothing but look at an ADD look at this one, which the case made with `configuration`. What
/// they find is the case's.
///
/// # Errors
/// When the arena fails.
pub(crate) fn look(
    case: &mut Case<'_>,
    configuration: &Configuration,
    observation: Observation,
) -> Result<(), Stop> {
    let seen = Arc::new(observation);
    for check in LOOKERS.into_iter().filter_map(super::find) {
        if check.concerns.excludes(case.target).is_some() || case.version < check.since {
            continue;
        }
        // A chained plugin that is asked for an odd MTU is not to blame for what the kernel then does to the addresses.
        if case.kind() == Kind::Chained && check.id == "add.addresses" {
            continue;
        }
        let observations = Observations::default();
        let recorded = Recorded { seen: Arc::clone(&seen), steps: Vec::new(), executions: Vec::new() };
        let setting = Setting {
            check,
            subject: case.subject,
            target: case.target,
            configuration,
            version: case.version,
            variant: "",
            observations: &observations,
        };
        let mut looker = Case::new(setting, case.arena);
        observations.adds.slot(&looker, "").get_or_init(|| Some(recorded));
        let stop = (check.run)(&mut looker).err();
        let (deviations, difference) = (looker.deviations, looker.kernel_difference);
        case.deviations.extend(deviations);
        case.kernel_difference.extend(difference);
        if let Some(stop @ (Stop::Arena(_) | Stop::Undecided(_))) = stop {
            return Err(stop);
        }
    }
    Ok(())
}

fn add(case: &mut Case<'_>) -> Result<Observation, Stop> {
    let mut attachment = case.attachment()?;
    let before = Arc::new(case.snapshot_with_sysctls()?);
    let answer = case.operate(Operation::Add, &attachment)?;
    let after = Arc::new(case.snapshot_with_sysctls()?);
    attachment.result = answer.document().cloned();
    Ok(Observation { attachment, answer, before, after })
}

fn add_and_delete(case: &mut Case<'_>) -> Result<Cycle, Stop> {
    cycle::settle(case)?;
    let mut attachment = case.attachment()?;
    let before = Arc::new(case.snapshot_with_sysctls()?);
    case.add(&mut attachment)?;
    let added = Arc::new(case.snapshot()?);
    let mut after = None;
    let mut deletions = Vec::new();
    for label in ["DEL", "the second DEL", "the third DEL", "the fourth DEL", "the fifth DEL"] {
        let call = case.call(Operation::Del, &attachment).label(label);
        let answer = case.run(call)?;
        // A runtime repeats a DEL that failed.
        if after.is_none() && (answer.succeeded() || !deletions.is_empty()) {
            after = Some(Arc::new(case.snapshot_with_sysctls()?));
        }
        deletions.push(answer);
    }
    let after = after.ok_or_else(|| Stop::Undecided("no state was taken after DEL".to_owned()))?;
    Ok(Cycle { attachment, before, added, after, deletions })
}

/// How long to wait before each CHECK after one that failed: what ADD began may take its time.
const CHECK_PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(400),
    Duration::from_millis(900),
];

fn add_and_check(case: &mut Case<'_>) -> Result<Checked, Stop> {
    let attachment = cycle::attached(case)?;
    let before = case.snapshot()?;
    let mut answers = Vec::new();
    for (count, pause) in (1..).zip(CHECK_PAUSES) {
        if answers.last().is_some_and(|last: &Answer| !last.succeeded()) {
            std::thread::sleep(pause);
        }
        let call = case.call(Operation::Check, &attachment).label(format!("CHECK number {count}"));
        answers.push(case.run(call)?);
    }
    let after = case.snapshot()?;
    Ok(Checked { before, after, answers })
}
