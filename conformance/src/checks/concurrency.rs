//! Many containers at the same moment, where nothing was there before, and coming while others go.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use cni_spec::result::Ip;
use cni_spec::{Operation, Version};

use super::case::{Answer, Attachment, Call, Case, Stop};
use super::{Check, Concerns, Scope, cycle, kernel};
use crate::arena::Unrest;
use crate::target::Kind;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "concurrency.first-use",
        title: "Sixteen containers can be the first of a network, all at the same moment",
        requirements: &["add.concurrent-containers"],
        concerns: Concerns::Attaching,
        scope: Scope::Configurations,
        since: Version::V1_0_0,
        variants: &[],
        run: first_use,
    },
    Check {
        id: "concurrency.interleaved",
        title: "Containers can come at the moment at which others go",
        requirements: &[
            "add.concurrent-containers",
            "del.concurrent-containers",
            "del.removes-interface",
            "del.undoes-modifications",
            "add.host-state-restored-after-cycle",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V1_0_0,
        variants: &[],
        run: interleaved,
    },
    Check {
        id: "concurrency.unrest",
        title: "ADD, CHECK and DEL succeed while links and addresses of others come and go, which interrupts lists of them",
        requirements: &["add.concurrent-containers", "check.ok-after-add", "del.concurrent-containers"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V1_0_0,
        variants: &[],
        run: unrest,
    },
];

/// How many come at once.
const MANY: usize = 16;
/// How many come while as many go.
const SOME: usize = 4;

fn first_use(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachments = Vec::new();
    for _ in 0..MANY {
        attachments.push(case.attachment()?);
    }
    let calls = attachments.iter().map(|one| named(case, Operation::Add, one)).collect();
    let answers = case.run_together(calls)?;
    // Pools of targets for IPAM plugins are small, so that exhaustion can be tested: who comes too late is refused.
    let may_refuse = case.kind() == Kind::Ipam;
    let mut came = 0;
    for answer in &answers {
        cycle::expect_no_crash(case, answer);
        came += usize::from(answer.succeeded());
        if !may_refuse {
            case.expect_success(answer, "add.concurrent-containers");
        }
    }
    if came == 0 {
        return Err(Stop::unmet(answers[0].summary()));
    }
    keep_results(&mut attachments, &answers);
    expect_own_addresses(case, &attachments)
}

fn interleaved(case: &mut Case<'_>) -> Result<(), Stop> {
    // An IPAM plugin's pool is small.
    let count = if case.kind() == Kind::Ipam { 2 } else { SOME };
    cycle::settle(case)?;
    let (mut leaving, mut coming) = (Vec::new(), Vec::new());
    for _ in 0..count {
        leaving.push(case.attachment()?);
        coming.push(case.attachment()?);
    }
    let before = case.snapshot()?;
    for attachment in &mut leaving {
        case.add(attachment)?;
    }
    let mut calls = Vec::new();
    for (old, new) in leaving.iter().zip(&coming) {
        calls.push(named(case, Operation::Del, old));
        calls.push(named(case, Operation::Add, new));
    }
    let answers = case.run_together(calls)?;
    let (deletions, additions): (Vec<Answer>, Vec<Answer>) =
        answers.into_iter().partition(|answer| answer.label.starts_with("DEL"));
    cycle::blame_concurrency(case, &deletions)?;
    let mut clean = true;
    for answer in &deletions {
        clean &= case.expect_success(answer, "del.concurrent-containers");
    }
    for answer in &additions {
        clean &= case.expect_success(answer, "add.concurrent-containers");
    }
    keep_results(&mut coming, &additions);
    expect_own_addresses(case, &coming)?;
    if !clean {
        return Ok(());
    }
    for attachment in &coming {
        let call = named(case, Operation::Del, attachment);
        clean &= case.run(call)?.succeeded();
    }
    if clean {
        let after = case.snapshot()?;
        let what = format!("{count} containers that came while {count} others went, and then went as well,");
        cycle::expect_nothing_left(case, &before, &after, &what, |_| false);
    }
    Ok(())
}

/// How long operations are tried while others come and go.
const UNREST: Duration = Duration::from_millis(1500);
/// How long at least, so that some lists are interrupted.
const AT_LEAST: Duration = Duration::from_millis(500);
/// How often, where that takes longer.
const ROUNDS: usize = 12;
/// How often that is tried until a list is interrupted.
const TRIES: usize = 3;
/// One in so many lists may be interrupted.
const TOO_OFTEN: u64 = 3;

fn unrest(case: &mut Case<'_>) -> Result<(), Stop> {
    const OPERATIONS: [(Operation, &str); 3] = [
        (Operation::Add, "add.concurrent-containers"),
        (Operation::Check, "check.ok-after-add"),
        (Operation::Del, "del.concurrent-containers"),
    ];
    let operations: Vec<_> = OPERATIONS.into_iter().filter(|(one, _)| one.since() <= case.version).collect();
    let mut attachment = case.attachment()?;
    // What fails without unrest, and what fails once and is repaired then, is not the unrest's fault.
    let mut works = Vec::new();
    for round in 0..2 {
        for &(operation, requirement) in &operations {
            let answer = case.operate(operation, &attachment)?;
            match operation {
                Operation::Add => {
                    case.require_result(&answer)?;
                    attachment.result = answer.document().cloned();
                }
                Operation::Del if !answer.succeeded() => return Err(Stop::unmet(answer.summary())),
                _ => {}
            }
            if round > 0 && answer.succeeded() {
                works.push((operation, requirement));
            }
        }
    }
    for _ in 0..TRIES {
        let (seen, failures, rounds) = amid_unrest(case, &works, &mut attachment)?;
        let told = format!(
            "{} changes interrupted {} of {} lists that cnitest made meanwhile, the longest of which took {} us",
            seen.changes, seen.interrupted, seen.lists, seen.longest_us
        );
        // Where more are interrupted, no plugin could begin anew often enough.
        if !failures.is_empty() && seen.interrupted * TOO_OFTEN > seen.lists {
            return Err(Stop::unmet(format!("the machine is too busy to tell: {told}")));
        }
        let failed = !failures.is_empty();
        for (answer, requirement) in failures {
            case.expect_success(&answer, requirement);
        }
        if failed || seen.interrupted > 0 {
            case.note(format!("{rounds} rounds; {told}"));
            return Ok(());
        }
    }
    Err(Stop::unmet(format!("no list was interrupted in {TRIES} tries, so nothing is proven")))
}

/// An operation that failed, and the requirement that says that it succeeds.
type Failure = (Answer, &'static str);

/// Operates on an attachment time and again while links and addresses come and go. What came of that, the operations that
/// failed with what they break, and the number of rounds.
fn amid_unrest(
    case: &mut Case<'_>,
    operations: &[(Operation, &'static str)],
    attachment: &mut Attachment,
) -> Result<(Unrest, Vec<Failure>, usize), Stop> {
    case.start_unrest()?;
    let clock = Instant::now();
    let mut failures = Vec::new();
    let mut rounds = 0;
    while failures.is_empty() && clock.elapsed() < UNREST && (rounds < ROUNDS || clock.elapsed() < AT_LEAST) {
        rounds += 1;
        for &(operation, requirement) in operations {
            let label = format!("{operation} amid changes, round {rounds}");
            let call = case.call(operation, attachment).label(label);
            let answer = case.run(call)?;
            cycle::expect_no_crash(case, &answer);
            if operation == Operation::Add && answer.succeeded() {
                attachment.result = answer.document().cloned();
            }
            if !answer.succeeded() {
                failures.push((answer, requirement));
            }
        }
    }
    Ok((case.stop_unrest()?, failures, rounds))
}

fn named(case: &Case<'_>, operation: Operation, attachment: &Attachment) -> Call {
    let label = format!("{} of {}", operation.as_str(), attachment.container);
    case.call(operation, attachment).label(label)
}

fn keep_results(attachments: &mut [Attachment], answers: &[Answer]) {
    for (attachment, answer) in attachments.iter_mut().zip(answers) {
        attachment.result = answer.document().filter(|_| answer.succeeded()).cloned();
    }
}

/// Expects each attached container to have addresses that no other has, in the result and in the kernel.
fn expect_own_addresses(case: &mut Case<'_>, attachments: &[Attachment]) -> Result<(), Stop> {
    let snapshot = case.snapshot()?;
    let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
    for attachment in attachments.iter().filter(|one| one.result.is_some()) {
        let Ok(result) = kernel::read(case, attachment.result.as_ref()) else { continue };
        let name = &attachment.container;
        let addresses = kernel::ips(&result);
        if kernel::addresses_are_chosen(case, &result) {
            for address in &addresses {
                let expected = format!("{name} gets addresses that no other container has");
                let observed = format!("{address} is given twice");
                case.expect(seen.insert(*address), "add.concurrent-containers", expected, observed);
            }
        }
        if case.kind() != Kind::Ipam && !kernel::has_fixed_interface(case) {
            let there: BTreeSet<IpAddr> =
                kernel::addresses(kernel::state(&snapshot, attachment)?, &case.interface(attachment))
                    .into_iter()
                    .map(|address| address.addr())
                    .collect();
            // An address may name another interface than CNI_IFNAME.
            let elsewhere =
                |ip: &&Ip| result.interface_of(ip).is_some_and(|one| one.name != case.interface(attachment));
            let other: BTreeSet<IpAddr> =
                result.ips.iter().filter(elsewhere).map(|ip| ip.address.addr()).collect();
            let missing: Vec<&IpAddr> =
                addresses.difference(&there).filter(|address| !other.contains(address)).collect();
            let expected = format!("{name} has the addresses of its result");
            let observed = format!("it lacks {}", kernel::list(&missing));
            case.expect(missing.is_empty(), "add.concurrent-containers", expected, observed);
        }
    }
    Ok(())
}
