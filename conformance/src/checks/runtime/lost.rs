//! What a runtime does about containers whose namespace has gone, and what it leaves of those that never came up or have gone.

use std::time::{Duration, Instant};

use cni_spec::{Operation, Version};

use super::check;
use crate::adapter::Step;
use crate::arena::Scope as Seen;
use crate::checks::Check;
use crate::checks::Scope;
use crate::checks::case::Stop;
use crate::checks::kernel;
use crate::checks::stage::{self, CHAIN, Pod, Stage, account, executed, listed};
use crate::spy::{Answer, Rule};

pub(super) const CHECKS: &[Check] = &[
    check(
        "runtime.namespace-gone",
        "A container whose namespace has gone is deleted all the same",
        &["runtime.add-followed-by-del", "practice.del-names-no-other-namespace"],
        Scope::Once,
        Version::V0_3_0,
        &["gone", "another in its place"],
        |case| stage::play(case, namespace_gone),
    ),
    check(
        "runtime.reboot",
        "What was attached when the machine stopped is deleted when it runs again",
        &["practice.del-after-reboot"],
        Scope::Once,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, reboot),
    ),
    check(
        "runtime.failed-adds",
        "ADDs that fail leave no process and no namespace",
        &["practice.failed-add-leaves-nothing"],
        Scope::Once,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, failed_adds),
    ),
    check(
        "runtime.namespace-removed",
        "The namespace that a runtime makes for a container goes with it",
        &["runtime.netns-cleanup"],
        Scope::Once,
        Version::V1_1_0,
        &["attached", "ADD failed"],
        |case| stage::play(case, namespace_removed),
    ),
];

/// How long a runtime may take to remove the namespace of a container that it has deleted: processes end in their own time.
const REMOVED_WITHIN: Duration = Duration::from_secs(10);

/// DEL, which must reach every plugin.
fn expect_deleted(
    stage: &mut Stage<'_, '_>,
    pod: &Pod,
    requirement: &'static str,
    when: &str,
) -> Result<(), Stop> {
    let before = stage.count()?;
    let answer = stage.ask(Operation::Del, pod)?;
    let deleted = stage.since(before, Operation::Del)?;
    let names = executed(&deleted);
    stage.case.expect(
        answer.succeeded() && CHAIN.iter().all(|name| names.contains(name)),
        requirement,
        format!("{when}, DEL asks every plugin that was asked for ADD, and succeeds"),
        format!("{}; DEL executed {}", account(&answer), listed(&names)),
    );
    Ok(())
}

fn namespace_gone(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Del)?;
    let replaced = stage.case.variant == "another in its place";
    if replaced {
        stage.needs(stage.adapter.can.netns, "netns", "takes a namespace that cnitest can remove")?;
    }
    let pod = stage.join(&CHAIN)?;
    stage.add(&pod)?;
    let added = stage.seen(Operation::Add)?;
    let path = added.first().and_then(|record| record.variable("CNI_NETNS")).unwrap_or_default().to_owned();
    if stage.adapter.can.netns {
        stage.case.arena.delete_netns(&pod.container)?;
    } else if path.starts_with("/proc/") {
        return Err(Stop::skip("the namespace is named by a process of the container, which it goes with"));
    } else {
        let words = ["sh", "-ec", "umount -l \"$1\"; rm \"$1\"", "sh", path.as_str()];
        let execution = stage.case.arena.run_tool(&words)?;
        if !execution.outcome.success() {
            let told = execution.stderr_text();
            return Err(Stop::unmet(format!("the namespace cannot be removed: {}", told.trim())));
        }
    }
    if replaced {
        stage.case.arena.create_netns(&pod.container)?;
    }
    expect_deleted(stage, &pod, "runtime.add-followed-by-del", "when the namespace has gone")?;
    if replaced {
        let deleted = stage.seen(Operation::Del)?;
        let named = deleted.iter().find(|record| record.variable("CNI_NETNS") == Some(path.as_str()));
        stage.case.expect(
            named.is_none(),
            "practice.del-names-no-other-namespace",
            "DEL does not name the namespace that has taken the path",
            format!("{} has CNI_NETNS={path}", named.map(crate::spy::Record::label).unwrap_or_default()),
        );
    }
    Ok(())
}

fn reboot(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Del)?;
    let pod = stage.join(&CHAIN)?;
    stage.add(&pod)?;
    stage.reboot()?;
    // Some delete when they start, others when the container is removed.
    let before = stage.seen(Operation::Del)?;
    if CHAIN.iter().all(|name| executed(&before).contains(name)) {
        return Ok(());
    }
    expect_deleted(stage, &pod, "practice.del-after-reboot", "after a reboot")
}

/// What is left of containers: processes by name, and how many namespaces are mounted somewhere.
fn left(stage: &mut Stage<'_, '_>) -> Result<(Vec<String>, usize), Stop> {
    let seen = Seen { processes: true, ..Seen::nothing() };
    let processes = stage.case.arena.snapshot(seen)?.processes;
    let namespaces = mounted(stage)?.len();
    Ok((processes, namespaces))
}

/// The namespaces that are mounted somewhere, by name, each with where it is.
fn mounted(stage: &mut Stage<'_, '_>) -> Result<Vec<(String, String)>, Stop> {
    let mounts = stage.case.arena.read_file("/proc/self/mountinfo")?;
    let mounts = String::from_utf8_lossy(&mounts);
    let namespaces = mounts.lines().filter(|line| line.contains(" - nsfs "));
    // The fourth field is what is mounted, the fifth where.
    let read = |line: &str| {
        let mut fields = line.split(' ').skip(3).map(str::to_owned);
        Some((fields.next()?, fields.next()?))
    };
    Ok(namespaces.filter_map(read).collect())
}

fn failed_adds(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Del)?;
    let list = stage.list(&CHAIN);
    stage.network(&list)?;
    let first = stage.pod()?;
    let others = [stage.pod()?, stage.pod()?, stage.pod()?];
    stage.answer(Rule::new("beta", "ADD", Answer::fails(117)))?;
    let fail = |stage: &mut Stage<'_, '_>, pod: &Pod| {
        if stage.ask(Operation::Add, pod)?.succeeded() {
            return Err(Stop::unmet("the runtime's ADD succeeded though a plugin failed"));
        }
        stage.ask(Operation::Del, pod)
    };
    // The first may start what serves the others.
    fail(stage, &first)?;
    let (processes, namespaces) = left(stage)?;
    for pod in &others {
        fail(stage, pod)?;
    }
    let (processes_then, namespaces_then) = left(stage)?;
    stage.case.expect(
        processes_then.len() <= processes.len() && namespaces_then <= namespaces,
        "practice.failed-add-leaves-nothing",
        "three ADDs more that fail, each with its DEL, leave no process and no namespace",
        format!(
            "before them there were {namespaces} namespaces and these processes: {}; after them {namespaces_then} and {}",
            kernel::list(&processes),
            kernel::list(&processes_then)
        ),
    );
    Ok(())
}

/// How the runtime is asked to attach a container whose namespace it makes, and to remove that.
fn steps<'a>(stage: &Stage<'_, 'a>) -> Result<(&'a Step, &'a Step), Stop> {
    if !stage.adapter.can.netns {
        return Ok((stage.needs_operation(Operation::Add)?, stage.needs_operation(Operation::Del)?));
    }
    match (&stage.adapter.operations.run, &stage.adapter.operations.remove) {
        (Some(run), Some(remove)) => Ok((run, remove)),
        _ => Err(Stop::skip(
            "the runtime makes no namespace: the adapter has no [operations.run] and [operations.remove]",
        )),
    }
}

/// Where a namespace is mounted, and the processes in it.
fn holders(stage: &mut Stage<'_, '_>, namespace: u64) -> Result<Vec<String>, Stop> {
    let name = format!("net:[{namespace}]");
    let mounts = mounted(stage)?.into_iter().filter(|(mounted, _)| *mounted == name);
    let mut held: Vec<String> = mounts.map(|(_, path)| format!("a mount at {path}")).collect();
    // Processes come and go while they are looked at.
    let script = "for it in /proc/[0-9]*; do [ \"$(readlink $it/ns/net)\" != \"$1\" ] || cat $it/comm; done 2>/dev/null || true";
    let execution = stage.case.arena.run_tool(&["sh", "-c", script, "sh", name.as_str()])?;
    held.extend(execution.stdout_text().lines().map(|process| format!("a process {process}")));
    Ok(held)
}

fn namespace_removed(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let (run, remove) = steps(stage)?;
    let list = stage.list(&CHAIN);
    stage.network(&list)?;
    let pod = stage.bare_pod();
    let fails = stage.case.variant == "ADD failed";
    if fails {
        stage.answer(Rule::new("beta", "ADD", Answer::fails(117)))?;
    }
    let ran = stage.ask_step("ADD with a namespace of its own", run, &pod)?;
    if ran.succeeded() == fails {
        return Err(Stop::unmet(account(&ran)));
    }
    let added = stage.seen(Operation::Add)?;
    let Some(namespace) = added.first().and_then(|record| record.netns) else {
        return Err(Stop::unmet("no plugin was executed with the container's namespace"));
    };
    let own = added.first().map(|record| record.own_netns);
    if own == Some(namespace) {
        return Err(Stop::skip("the container has the namespace of the runtime"));
    }
    let removed = stage.ask_step("DEL, which removes the namespace too", remove, &pod)?;
    if !fails {
        stage::needed(removed)?;
    }
    let clock = Instant::now();
    let held = loop {
        let held = holders(stage, namespace)?;
        if held.is_empty() || clock.elapsed() >= REMOVED_WITHIN {
            break held;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    stage.case.expect(
        held.is_empty(),
        "runtime.netns-cleanup",
        "the network namespace that the runtime made for the container is gone once the container is removed",
        format!("net:[{namespace}] is held by {}", kernel::list(&held)),
    );
    Ok(())
}
