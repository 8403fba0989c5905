//! Attach-and-detach cycles: what they leave, and delegated plugins that write down how they were executed.

use std::path::Path;
use std::time::{Duration, Instant};

use cni_spec::Operation;
use serde_json::{Map, Value, json};

use super::case::{Answer, Attachment, Call, Case, Stop, crash_summary};
use super::changes::{Subject, is_file_content, is_of_front, subject_of};
use super::reproducer::{Assertion, Step};
use crate::arena::Place;
use crate::arena::snapshot::{Link, Scope as SnapshotScope, Snapshot};
use crate::target::{Kind, Target};

// ---- executing

/// DEL that must succeed for the check to make sense.
///
/// # Errors
/// Skips the case when DEL fails: `del.succeeds` reports that.
pub(super) fn detach(case: &mut Case<'_>, attachment: &Attachment) -> Result<Answer, Stop> {
    let answer = case.operate(Operation::Del, attachment)?;
    if answer.succeeded() { Ok(answer) } else { Err(Stop::unmet(answer.summary())) }
}

/// After DELs at the same moment of which some failed: skips the case when a DEL alone fails as well, since then what ran
/// beside it is not to blame.
///
/// # Errors
/// The reason.
pub(super) fn blame_concurrency(case: &mut Case<'_>, deletions: &[Answer]) -> Result<(), Stop> {
    if deletions.iter().all(Answer::succeeded) {
        return Ok(());
    }
    let alone = attached(case)?;
    detach(case, &alone).map(drop)
}

/// A container with a successful ADD.
///
/// # Errors
/// Skips the case when ADD fails.
pub(super) fn attached(case: &mut Case<'_>) -> Result<Attachment, Stop> {
    let mut attachment = case.attachment()?;
    case.add(&mut attachment)?;
    Ok(attachment)
}

/// Attaches a first container, which stays, so that what belongs to the network and not to an attachment (a bridge,
/// base chains, folders, locks) is there before the one that is looked at comes.
///
/// # Errors
/// Skips the case when ADD fails.
pub(super) fn settle(case: &mut Case<'_>) -> Result<Attachment, Stop> {
    attached(case)
}

/// Deletes the container's namespace and waits until the host holds no link that ended in it, and no forwarding entry
/// of what was inside: the kernel removes them some time later.
///
/// # Errors
/// When the arena fails.
pub(crate) fn delete_netns(case: &mut Case<'_>, attachment: &Attachment) -> Result<(), Stop> {
    let state = case.arena.snapshot(SnapshotScope::network())?;
    let inner = state.place(&attachment.place()).map(|container| container.links.clone()).unwrap_or_default();
    let inner: Vec<String> =
        inner.into_iter().filter(|link| !link.loopback).filter_map(|link| link.mac).collect();
    let ends_there =
        |link: &Link| link.peer.as_ref().is_some_and(|peer| peer.place == Some(attachment.place()));
    let outer: Vec<String> =
        state.host.links.iter().filter(|link| ends_there(link)).map(|link| link.name.clone()).collect();
    case.delete_netns(attachment)?;
    // A daemon that is in it keeps it until it is told to give up what it holds.
    let kept = case.target.is_some_and(|target| target.daemon_start.is_some());
    let patience = if kept { KEPT_PATIENCE } else { NETNS_PATIENCE };
    let clock = Instant::now();
    while clock.elapsed() < patience {
        let host = case.arena.snapshot(SnapshotScope::network().only(Place::Host))?.host;
        let linked = outer.iter().any(|name| host.link(name).is_some());
        // A bridge and a macvlan's parent know the hardware addresses of what is inside.
        if !linked && !host.fdb.iter().any(|entry| inner.contains(&entry.mac)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// How long the kernel may take to remove links after their namespace.
const NETNS_PATIENCE: Duration = Duration::from_secs(5);

/// As [`NETNS_PATIENCE`], where the namespace may well live on.
const KEPT_PATIENCE: Duration = Duration::from_millis(200);

/// States that an execution did not fall over.
pub(crate) fn expect_no_crash(case: &mut Case<'_>, answer: &Answer) {
    let expected = format!("{} succeeds, or fails with an error object", answer.label);
    let requirement = "error.json-on-stdout-nonzero-exit";
    let assertion = Assertion::Lives(answer.index);
    case.expect_as(!answer.crashed(), requirement, expected, crash_summary(answer), assertion);
}

/// States that a successful execution printed nothing.
pub(crate) fn expect_silence(case: &mut Case<'_>, answer: &Answer, requirement: &'static str) {
    let text = String::from_utf8_lossy(&answer.execution.stdout);
    let shown: String = text.trim().chars().take(80).collect();
    case.expect_as(
        shown.is_empty() || !answer.succeeded(),
        requirement,
        format!("a successful {} prints nothing on stdout", answer.label),
        format!("{} printed {shown}", answer.label),
        Assertion::Silent(answer.index),
    );
}

// ---- differences

/// What says that DEL removes what ADD made, for each kind of thing.
pub(super) fn removal_requirements(case: &Case<'_>) -> [(Subject, &'static str); 3] {
    let (link, setting) = match case.kind() {
        Kind::Chained => ("del.undoes-modifications", "del.undoes-modifications"),
        Kind::Interface | Kind::Ipam | Kind::Meta => {
            ("del.removes-interface", "add.host-state-restored-after-cycle")
        }
    };
    [
        (Subject::Link, link),
        (Subject::Setting, setting),
        (Subject::File, "add.host-state-restored-after-cycle"),
    ]
}

/// States that two snapshots around a whole cycle are equal, and names what is left by its requirement. Lines for which
/// `ignore` holds do not count.
pub(crate) fn expect_nothing_left(
    case: &mut Case<'_>,
    before: &Snapshot,
    after: &Snapshot,
    what: &str,
    ignore: impl Fn(&str) -> bool,
) -> bool {
    let mut clean = true;
    for (subject, requirement) in removal_requirements(case) {
        clean &= case.expect_unchanged(before, after, requirement, what, |line| {
            subject_of(line) != subject || ignore(line) || is_file_content(line) || is_of_front(line)
        });
    }
    clean
}

/// States that nothing of the first snapshot is missing or different in the second; what came anew does not count.
pub(super) fn expect_kept(
    case: &mut Case<'_>,
    before: &Snapshot,
    after: &Snapshot,
    requirement: &'static str,
    what: &str,
    ignore: impl Fn(&str) -> bool,
) -> bool {
    case.expect_unchanged(before, after, requirement, what, |line| {
        line.starts_with("+ ") || is_file_content(line) || ignore(line)
    })
}

/// Links of the host that ADD made.
pub(crate) fn new_host_links(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let is_new = |name: &str| before.place(&Place::Host).is_some_and(|host| host.link(name).is_none());
    after.host.links.iter().map(|link| link.name.clone()).filter(|name| is_new(name)).collect()
}

// ---- delegated plugins

/// The name of the delegated plugin that writes down how it is executed.
const RECORDER: &str = "cnitest-recorder";
/// Where the recorder is, and what it writes.
pub(super) const RECORDER_DIR: &str = "/run/cnitest-recorder";
pub(super) const RECORDER_LOG: &str = "/run/cnitest-recorder/log";
/// Where a reproducer keeps what the recorder wrote until it was last looked at.
pub(super) const TAKEN_LOG: &str = "/run/cnitest-recorder/log.taken";

/// What the recorder does besides writing down the operation and executing the real delegated plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Nothing.
    Faithful,
    /// Fails with code 120 when asked for this operation.
    Fails(Operation),
    /// Kills the plugin that executes it after the real delegated plugin's ADD.
    Kills,
    /// Writes down, too, that it was asked for DEL while the container still had the interface.
    Looks,
}

/// What the recorder writes when it [looks](Behaviour::Looks).
pub(super) const WHILE_THERE: &str = "the interface is there";

/// The object of the configuration that names the delegated plugin: `ipam`, or the first delegate of a meta plugin.
///
/// # Errors
/// Skips the case when the configuration has none.
pub(super) fn delegate_of<'m>(
    case: &Case<'_>,
    plugin: &'m mut Map<String, Value>,
) -> Result<&'m mut Map<String, Value>, Stop> {
    let pointer = case.target.map_or("/ipam", Target::delegate_pointer);
    value_at(plugin, pointer)
        .and_then(Value::as_object_mut)
        .ok_or_else(|| Stop::skip(format!("the configuration has no {}", pointer[1..].replace('/', "."))))
}

/// What stands at a JSON pointer of one step or more.
pub(super) fn value_at<'m>(plugin: &'m mut Map<String, Value>, pointer: &str) -> Option<&'m mut Value> {
    let steps = pointer.strip_prefix('/')?;
    let (first, rest) = steps.split_at(steps.find('/').unwrap_or(steps.len()));
    plugin.get_mut(first)?.pointer_mut(rest)
}

/// Puts a recorder between the plugin and the delegated plugin that its configuration names.
///
/// # Errors
/// Skips the case when the configuration names none, or it is not found.
pub(super) fn record_delegate(
    case: &mut Case<'_>,
    attachment: &mut Attachment,
    behaviour: Behaviour,
) -> Result<(), Stop> {
    let name = delegate_of(case, &mut attachment.plugin)?.insert("type".to_owned(), json!(RECORDER));
    let name = name.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    let real = find_plugin(case, &name)?;
    let extra = match behaviour {
        Behaviour::Faithful => String::new(),
        Behaviour::Fails(operation) => format!(
            "if [ \"$CNI_COMMAND\" = {operation} ]; then\n  cat >/dev/null\n  \
             echo '{{\"cniVersion\":\"{}\",\"code\":120,\"msg\":\"cnitest: told to fail\"}}'\n  exit 1\nfi\n",
            case.version,
            operation = operation.as_str()
        ),
        Behaviour::Kills => {
            format!("if [ \"$CNI_COMMAND\" = ADD ]; then\n  {real}\n  kill -9 $PPID\n  exit 1\nfi\n")
        }
        Behaviour::Looks => format!(
            "if [ \"$CNI_COMMAND\" = DEL ] && \
             nsenter --net=\"$CNI_NETNS\" grep -q \"^ *$CNI_IFNAME:\" /proc/self/net/dev; then\n  \
             echo '{WHILE_THERE}' >>{RECORDER_LOG}\nfi\n"
        ),
    };
    let script = format!("#!/bin/sh\necho \"$CNI_COMMAND\" >>{RECORDER_LOG}\n{extra}exec {real}\n");
    case.write_file(&format!("{RECORDER_DIR}/{RECORDER}"), &script, 0o755)
}

/// An execution in which the recorder is found.
pub(super) fn recorded_call(case: &Case<'_>, operation: Operation, attachment: &Attachment) -> Call {
    let call = case.call(operation, attachment);
    let path = call.environment.get("CNI_PATH").cloned().unwrap_or_default();
    call.set("CNI_PATH", &format!("{RECORDER_DIR}:{path}"))
}

/// ADD in which the recorder is found; its result is kept.
///
/// # Errors
/// Skips the case when ADD fails or did not execute the delegated plugin.
pub(super) fn recorded_add(case: &mut Case<'_>, attachment: &mut Attachment) -> Result<(), Stop> {
    let call = recorded_call(case, Operation::Add, attachment);
    let answer = case.run(call)?;
    if !answer.succeeded() {
        return Err(Stop::unmet(answer.summary()));
    }
    attachment.result = answer.document().cloned();
    if take_log(case)?.iter().any(|line| line == Operation::Add.as_str()) {
        return Ok(());
    }
    Err(Stop::skip("ADD did not execute the plugin that the configuration delegates to".to_owned()))
}

/// The operations that the recorder was executed for since the last look.
///
/// # Errors
/// When the arena fails.
pub(super) fn take_log(case: &mut Case<'_>) -> Result<Vec<String>, Stop> {
    case.steps.push(Step::Shell(format!("rm -f {TAKEN_LOG}; mv {RECORDER_LOG} {TAKEN_LOG} 2>/dev/null")));
    let bytes = match case.arena.read_file(RECORDER_LOG) {
        Ok(bytes) => bytes,
        // A log that is not there means that the recorder was not executed.
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    case.arena.remove_path(RECORDER_LOG)?;
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}

/// Executes the operation and states that the delegated plugin was executed for it.
///
/// # Errors
/// When the arena fails.
pub(super) fn expect_delegated(
    case: &mut Case<'_>,
    call: Call,
    operation: Operation,
    requirements: &[&'static str],
) -> Result<Answer, Stop> {
    let answer = case.run(call)?;
    let log = take_log(case)?;
    let called = log.iter().any(|line| line == operation.as_str());
    let seen = if log.is_empty() {
        "was not executed".to_owned()
    } else {
        format!("was executed with {}", log.join(", "))
    };
    let word = operation.as_str();
    let expected = format!("{} executes the delegated plugin with CNI_COMMAND={word}", answer.label);
    let observed = format!("{}; the delegated plugin {seen}", answer.summary());
    for requirement in requirements {
        let assertion = Assertion::FileHas(TAKEN_LOG.to_owned(), word.to_owned());
        case.expect_as(called, requirement, expected.as_str(), observed.as_str(), assertion);
    }
    Ok(answer)
}

/// The executable of a delegated plugin.
///
/// # Errors
/// Skips the case when CNI_PATH has none of that name.
pub(super) fn find_plugin(case: &mut Case<'_>, name: &str) -> Result<String, Stop> {
    for folder in case.subject.cni_path.clone() {
        if has_entry(case, &folder, name) {
            return Ok(folder.join(name).display().to_string());
        }
    }
    Err(Stop::lacking(format!("the delegated plugin {name} is not in CNI_PATH")))
}

fn has_entry(case: &mut Case<'_>, folder: &Path, name: &str) -> bool {
    // A folder of CNI_PATH that does not exist holds nothing.
    case.arena.list_dir(folder).is_ok_and(|entries| entries.iter().any(|entry| entry.name == name))
}
