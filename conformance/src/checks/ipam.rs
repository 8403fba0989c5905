//! ADD of IPAM plugins: addresses and nothing but addresses, each given once, and given back by DEL.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use cni_spec::error::TRY_AGAIN_LATER;
use cni_spec::result::AddResult;
use cni_spec::{Operation, Version};
use serde_json::Value;

use super::case::{Answer, Attachment, Case, Stop};
use super::reproducer::Assertion;
use super::{Check, Concerns, Scope, changes, cycle, gc, kernel, observation};
use crate::arena::dhcp;
use crate::invoke::Outcome;
use crate::target::Kind;

const IPAM: Concerns = Concerns::Kinds(&[Kind::Ipam]);
/// Pools with more addresses than this count as endless.
const MANY: usize = 16;

/// How long a message to the DHCP server may take.
const RELEASED: Duration = Duration::from_secs(2);

/// How long ADD may go on asking a DHCP server that has no address left. The protocol sets no end to it.
const ASKING: Duration = Duration::from_secs(10);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "ipam.addresses",
        title: "ADD of an IPAM plugin returns at least one address",
        requirements: &["ipam.determines-addressing", "deleg.success-signal"],
        concerns: IPAM,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: addresses,
    },
    Check {
        id: "ipam.no-interfaces",
        title: "The result of an IPAM plugin names no interfaces",
        requirements: &["ipam.abbreviated-result", "ipam.no-interface-index"],
        concerns: IPAM,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: no_interfaces,
    },
    Check {
        id: "ipam.links-untouched",
        title: "ADD and DEL of an IPAM plugin change no interface, address or route",
        requirements: &["ipam.interface-unaware"],
        concerns: IPAM,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: links_untouched,
    },
    Check {
        id: "ipam.gateway-in-subnet",
        title: "The gateway of an address is in its subnet",
        requirements: &["result.ips-gateway-same-subnet"],
        concerns: IPAM,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: gateway_in_subnet,
    },
    Check {
        id: "ipam.exhaustion",
        title: "No address is given twice, and ADD fails when none is left",
        requirements: &["add.exhaustion-errors", "add.failure-no-result"],
        concerns: IPAM,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: exhaustion,
    },
    Check {
        id: "ipam.retried",
        title: "An ADD that was refused with code 11 succeeds later",
        requirements: &["error.code-11"],
        concerns: IPAM,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &[],
        run: retried,
    },
    Check {
        id: "ipam.del-frees",
        title: "After DEL another container can have the address",
        requirements: &[
            "del.releases-resources",
            "del.undoes-modifications",
            "del.ipam-without-netns",
            "del.missing-netns-env-succeeds",
        ],
        concerns: IPAM,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &["plain", "namespace-gone", "CNI_NETNS-unset"],
        run: del_frees,
    },
    Check {
        id: "ipam.leases-exhausted",
        title: "ADD fails and leaves nothing when the DHCP server has no address left",
        requirements: &["add.exhaustion-errors", "add.failure-no-result", "add.failure-rolls-back"],
        concerns: Concerns::Leasing,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[],
        run: leases_exhausted,
    },
    Check {
        id: "ipam.gc-releases",
        title: "GC gives the lease of an attachment that is not listed back to the DHCP server, and no other",
        requirements: &["gc.removes-stale", "gc.keeps-valid"],
        concerns: Concerns::Leasing,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &[],
        run: gc_releases,
    },
    Check {
        id: "ipam.check-leases-nothing",
        title: "CHECK after DEL fails, and asks the DHCP server for no lease",
        requirements: &["check.after-del-errors", "check.no-mutation"],
        concerns: Concerns::Leasing,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &[],
        run: check_leases_nothing,
    },
    Check {
        id: "ipam.add-twice",
        title: "A second ADD without DEL, and what one DEL then frees",
        requirements: &["add.not-idempotent-ipam"],
        concerns: IPAM,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: add_twice,
    },
];

fn addresses(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = observation::observe(case)?.answer.clone();
    if answer.succeeded() && !answer.document().is_some_and(Value::is_object) {
        let expected = "an ADD that succeeds prints its result on stdout";
        let assertion = Assertion::StdoutHas(answer.index, "{".to_owned());
        case.expect_as(false, "deleg.success-signal", expected, answer.summary(), assertion);
        return Ok(());
    }
    case.require_result(&answer)?;
    let result = kernel::read(case, answer.document())?;
    let expected = match case.version < Version::V0_3_0 {
        true => "the result has \"ip4\" or \"ip6\"",
        false => "\"ips\" lists at least one address",
    };
    case.expect(!result.ips.is_empty(), "ipam.determines-addressing", expected, "the result has no address");
    Ok(())
}

fn no_interfaces(case: &mut Case<'_>) -> Result<(), Stop> {
    let (attachment, result) = allocate(case)?;
    let listed = kernel::list(result.interfaces.iter().map(|interface| &interface.name));
    let expected = "the result has no \"interfaces\"";
    case.expect(
        result.interfaces.is_empty(),
        "ipam.abbreviated-result",
        expected,
        format!("it lists {listed}"),
    );
    let printed = attachment.result.as_ref().and_then(|document| document.get("interfaces"));
    if result.interfaces.is_empty() && printed.is_some() {
        case.note("the result has an empty list of interfaces, where the key would be left out");
    }
    let entries = attachment.result.as_ref().and_then(|document| document["ips"].as_array()).cloned();
    for entry in entries.unwrap_or_default() {
        let expected = format!("{} has no \"interface\"", entry["address"]);
        let observed = format!("\"interface\": {}", entry["interface"]);
        case.expect(entry.get("interface").is_none(), "ipam.no-interface-index", expected, observed);
    }
    Ok(())
}

fn links_untouched(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let added = kernel::add(case, attachment)?;
    let not_network = |line: &str| line.contains(" file ") || line.contains(" directory ");
    let what = "ADD of an IPAM plugin";
    case.expect_unchanged(&added.before, &added.after, "ipam.interface-unaware", what, not_network);
    Ok(())
}

fn gateway_in_subnet(case: &mut Case<'_>) -> Result<(), Stop> {
    let (_, result) = allocate(case)?;
    for ip in &result.ips {
        let Some(gateway) = ip.gateway else { continue };
        let single = ip.address.prefix_len() == ip.address.max_prefix_len();
        let expected = format!("the gateway of {} is in {}", ip.address, ip.address.trunc());
        let holds = single || ip.address.contains(&gateway);
        case.expect(holds, "result.ips-gateway-same-subnet", expected, format!("\"gateway\": \"{gateway}\""));
    }
    Ok(())
}

fn exhaustion(case: &mut Case<'_>) -> Result<(), Stop> {
    let Some(refused) = fill(case)?.refused else {
        case.note(format!("{MANY} containers got addresses; the pool was not exhausted"));
        return Ok(());
    };
    case.expect_refusal(&refused, "add.exhaustion-errors", "no address is left");
    expect_no_addresses(case, &refused);
    Ok(())
}

fn expect_no_addresses(case: &mut Case<'_>, refused: &Answer) {
    let printed =
        ["ips", "ip4", "ip6"].iter().any(|key| refused.document().is_some_and(|it| it.get(key).is_some()));
    let expected = "an ADD that fails prints an error object and no result";
    case.expect(!printed, "add.failure-no-result", expected, refused.summary());
}

/// Code 11 says that the operation will succeed later: once an address is free.
fn retried(case: &mut Case<'_>) -> Result<(), Stop> {
    let filled = fill(case)?;
    let (Some(refused), Some(first)) = (&filled.refused, filled.attachments.first()) else {
        return Err(Stop::skip(format!("the pool has more than {MANY} addresses")));
    };
    if refused.code() != Some(TRY_AGAIN_LATER) {
        return Ok(());
    }
    if !case.operate(Operation::Del, first)?.succeeded() {
        return Err(Stop::unmet("DEL of another container fails".to_owned()));
    }
    let next = case.attachment()?;
    let answer = case.run(case.call(Operation::Add, &next).label("ADD again, when an address is free"))?;
    case.expect_success(&answer, "error.code-11");
    Ok(())
}

fn del_frees(case: &mut Case<'_>) -> Result<(), Stop> {
    if case.pool().is_some() {
        return del_releases(case);
    }
    let filled = fill(case)?;
    let (Some(refused), Some(first)) = (&filled.refused, filled.attachments.first()) else {
        return Err(Stop::skip(format!("the pool has more than {MANY} addresses")));
    };
    if !refused.refused() {
        return Err(Stop::unmet(refused.summary()));
    }
    let (requirement, call) = match case.variant {
        "namespace-gone" => {
            case.delete_netns(first)?;
            ("del.ipam-without-netns", case.call(Operation::Del, first))
        }
        "CNI_NETNS-unset" => {
            ("del.missing-netns-env-succeeds", case.call(Operation::Del, first).unset("CNI_NETNS"))
        }
        _ => ("del.undoes-modifications", case.call(Operation::Del, first)),
    };
    let deleted = case.run(call)?;
    if !case.expect_success(&deleted, requirement) {
        return Ok(());
    }
    let next = case.attachment()?;
    let answer = case.run(case.call(Operation::Add, &next).label("ADD of another container"))?;
    // 0.4.0 has its own words for it.
    let plain = case.variant == "plain" && case.version <= Version::V0_4_0;
    let requirement = if plain { "del.releases-resources" } else { requirement };
    let expected = format!("after DEL of {} another container gets its address", first.container);
    case.expect(answer.succeeded(), requirement, expected, answer.summary());
    Ok(())
}

/// As [`del_frees`], for a lease of the DHCP server, which tells what it was asked for.
fn del_releases(case: &mut Case<'_>) -> Result<(), Stop> {
    let (attachment, given) = leased(case)?;
    let (requirement, call) = match case.variant {
        "namespace-gone" => {
            case.delete_netns(&attachment)?;
            ("del.ipam-without-netns", case.call(Operation::Del, &attachment))
        }
        "CNI_NETNS-unset" => {
            ("del.missing-netns-env-succeeds", case.call(Operation::Del, &attachment).unset("CNI_NETNS"))
        }
        // 0.4.0 has its own words for it.
        _ if case.version <= Version::V0_4_0 => {
            ("del.releases-resources", case.call(Operation::Del, &attachment))
        }
        _ => ("del.undoes-modifications", case.call(Operation::Del, &attachment)),
    };
    let deleted = case.run(call)?;
    if case.expect_success(&deleted, requirement) {
        expect_released(case, &given, requirement, "DEL")?;
    }
    Ok(())
}

/// A container whose addresses the DHCP server says it leased, and these.
///
/// # Errors
/// Skips the case when ADD fails, and when the addresses come from elsewhere.
fn leased(case: &mut Case<'_>) -> Result<(Attachment, BTreeSet<IpAddr>), Stop> {
    let (attachment, result) = allocate(case)?;
    let given = kernel::ips(&result);
    if given.is_empty() {
        return Err(Stop::unmet("the result has no address".to_owned()));
    }
    if !given.is_subset(&told(&case.leases()?, "ACK ")) {
        return Err(Stop::skip("the addresses are not those that the DHCP server leased".to_owned()));
    }
    Ok((attachment, given))
}

/// The addresses in those lines of the DHCP server that begin with this word.
fn told(lines: &[String], word: &str) -> BTreeSet<IpAddr> {
    let told = lines.iter().filter_map(|line| line.strip_prefix(word)?.split_whitespace().next());
    told.filter_map(|text| text.parse().ok()).collect()
}

/// Expects the DHCP server to be told, soon, that these addresses are free.
fn expect_released(
    case: &mut Case<'_>,
    given: &BTreeSet<IpAddr>,
    requirement: &'static str,
    operation: &str,
) -> Result<(), Stop> {
    // The message need not have arrived when the plugin ends.
    let clock = Instant::now();
    let mut lines = case.leases()?;
    while !given.is_subset(&told(&lines, "RELEASE ")) && clock.elapsed() < RELEASED {
        std::thread::sleep(Duration::from_millis(5));
        lines = case.leases()?;
    }
    let released = told(&lines, "RELEASE ");
    let expected = format!("{operation} gives {} back to the DHCP server", kernel::list(given));
    let observed = format!("given back: {}; the server saw: {}", kernel::list(&released), lines.join("; "));
    let lines = given.iter().map(|address| format!("grep -Fq 'RELEASE {address}' {}", dhcp::LOG));
    let script = format!("sleep {} && {}", RELEASED.as_secs(), lines.collect::<Vec<_>>().join(" && "));
    let holds = given.is_subset(&released);
    case.expect_as(holds, requirement, expected, observed, Assertion::Shell(script));
    Ok(())
}

/// What [`exhaustion`] asks, of a server that has two addresses. A client that goes on asking is within its rights.
fn leases_exhausted(case: &mut Case<'_>) -> Result<(), Stop> {
    case.lease_only(2);
    let (_, first) = leased(case)?;
    let (_, second) = leased(case)?;
    let expected = "the second container gets an address that the first does not have";
    let observed = format!("both get {}", kernel::list(&second));
    if !case.expect(first.is_disjoint(&second), "add.exhaustion-errors", expected, observed) {
        return Ok(());
    }
    let attachment = case.attachment()?;
    let before = case.snapshot()?;
    let call = case.call(Operation::Add, &attachment).label("ADD while the DHCP server has no address left");
    let refused = case.run_for(call, ASKING)?;
    if let Outcome::TimedOut { .. } = refused.execution.outcome {
        let seconds = ASKING.min(case.subject.timeout).as_secs();
        return Err(Stop::skip(format!(
            "ADD goes on asking the DHCP server that has no address left; it had not given up after {seconds} s"
        )));
    }
    let why = "the DHCP server has no address left";
    if !case.expect_refusal(&refused, "add.exhaustion-errors", why) {
        return Ok(());
    }
    expect_no_addresses(case, &refused);
    let after = case.snapshot()?;
    let what = "an ADD that finds no address";
    case.expect_unchanged(&before, &after, "add.failure-rolls-back", what, changes::is_file_content);
    Ok(())
}

fn gc_releases(case: &mut Case<'_>) -> Result<(), Stop> {
    let (valid, kept) = leased(case)?;
    let (stale, given) = leased(case)?;
    cycle::delete_netns(case, &stale)?;
    let call = gc::listing(case.call(Operation::Gc, &stale), &[&valid]);
    let answer = case.run(call.label("GC after a container's namespace was deleted"))?;
    if !answer.succeeded() {
        return Err(Stop::unmet(answer.summary()));
    }
    expect_released(case, &given, "gc.removes-stale", "GC")?;
    let lines = case.leases()?;
    let lost = kept.intersection(&told(&lines, "RELEASE ")).copied().collect::<Vec<_>>();
    let expected = format!("GC that lists {} leaves its lease alone", valid.container);
    let observed = format!("given back: {}", kernel::list(&lost));
    case.expect(lost.is_empty(), "gc.keeps-valid", expected, observed);
    Ok(())
}

fn check_leases_nothing(case: &mut Case<'_>) -> Result<(), Stop> {
    let (attachment, _) = leased(case)?;
    if !case.operate(Operation::Check, &attachment)?.succeeded() {
        return Err(Stop::unmet("CHECK of an attachment fails".to_owned()));
    }
    if !case.operate(Operation::Del, &attachment)?.succeeded() {
        return Err(Stop::unmet("DEL fails".to_owned()));
    }
    let leases = |lines: &[String]| lines.iter().filter(|line| line.starts_with("ACK ")).count();
    let before = leases(&case.leases()?);
    let answer = case.run(case.call(Operation::Check, &attachment).label("CHECK after DEL"))?;
    let lines = case.leases()?;
    case.expect_refusal(&answer, "check.after-del-errors", "the lease was given back");
    let expected = "CHECK after DEL asks for no lease";
    case.expect(leases(&lines) == before, "check.no-mutation", expected, lines.join("; "));
    Ok(())
}

fn add_twice(case: &mut Case<'_>) -> Result<(), Stop> {
    // The folders of the plugin's state come with the first ADD.
    let (attachment, _) = allocate(case)?;
    case.operate(Operation::Del, &attachment)?;
    let before = case.snapshot()?;
    let (attachment, first) = allocate_in(case, attachment)?;
    let call = case.call(Operation::Add, &attachment).label("second ADD");
    let second = case.run(call)?;
    let expected = "a second ADD for the same container and interface fails, or returns the same address";
    match second.document().filter(|_| second.succeeded()) {
        None => case.note(format!("refused: {}", second.summary())),
        Some(document) => {
            let again = kernel::ips(&kernel::read(case, Some(document))?);
            let observed =
                format!("it returns {} after {}", kernel::list(&again), kernel::list(kernel::ips(&first)));
            case.expect(again == kernel::ips(&first), "add.not-idempotent-ipam", expected, observed);
        }
    }
    case.operate(Operation::Del, &attachment)?;
    let after = case.snapshot()?;
    let what = "ADD twice, then DEL,";
    case.expect_unchanged(&before, &after, "add.not-idempotent-ipam", what, changes::is_file_content);
    Ok(())
}

/// Containers that have all the addresses of a pool.
struct Filled {
    /// Those whose ADD succeeded.
    attachments: Vec<Attachment>,
    /// The ADD that failed for want of addresses; nothing when the pool has more than [`MANY`].
    refused: Option<Answer>,
}

/// Attaches containers until ADD fails, expecting no address to be given twice.
fn fill(case: &mut Case<'_>) -> Result<Filled, Stop> {
    let (attachment, result) = allocate(case)?;
    if !kernel::addresses_are_chosen(case, &result) {
        return Err(Stop::skip("the configuration states the addresses; there is no pool".to_owned()));
    }
    let mut given: BTreeSet<IpAddr> = kernel::ips(&result);
    let mut attachments = vec![attachment];
    while attachments.len() < MANY {
        let mut attachment = case.attachment()?;
        let call = case.call(Operation::Add, &attachment).label(format!("ADD of {}", attachment.container));
        let answer = case.run(call)?;
        if !answer.succeeded() {
            return Ok(Filled { attachments, refused: Some(answer) });
        }
        attachment.result = answer.document().cloned();
        for address in kernel::ips(&kernel::read(case, attachment.result.as_ref())?) {
            let expected = format!("{} gets an address that no other container has", attachment.container);
            let observed = format!("{address} is given a second time");
            if !case.expect(given.insert(address), "add.exhaustion-errors", expected, observed) {
                return Ok(Filled { attachments, refused: None });
            }
        }
        attachments.push(attachment);
    }
    Ok(Filled { attachments, refused: None })
}

fn allocate(case: &mut Case<'_>) -> Result<(Attachment, AddResult), Stop> {
    let attachment = case.attachment()?;
    allocate_in(case, attachment)
}

fn allocate_in(case: &mut Case<'_>, mut attachment: Attachment) -> Result<(Attachment, AddResult), Stop> {
    case.add(&mut attachment)?;
    let result = kernel::read(case, attachment.result.as_ref())?;
    Ok((attachment, result))
}
