//! Many containers at the same moment, where nothing was there before, and coming while others go.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cni_spec::result::Ip;
use cni_spec::{Operation, Version};

use super::case::{Answer, Attachment, Call, Case, Stop};
use super::{Check, Concerns, Scope, cycle, kernel};
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
