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
use super::{Check, Concerns, Scope, changes, kernel, observation};
use crate::target::Kind;

const IPAM: Concerns = Concerns::Kinds(&[Kind::Ipam]);
/// Pools with more addresses than this count as endless.
const MANY: usize = 16;

/// How long a message to the DHCP server may take.
const RELEASED: Duration = Duration::from_secs(1);

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
    let printed =
        ["ips", "ip4", "ip6"].iter().any(|key| refused.document().is_some_and(|it| it.get(key).is_some()));
    let expected = "an ADD that fails prints an error object and no result";
    case.expect(!printed, "add.failure-no-result", expected, refused.summary());
    Ok(())
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
    let (attachment, result) = allocate(case)?;
    let given = kernel::ips(&result);
    let told = |lines: &[String], word: &str| -> BTreeSet<IpAddr> {
        let told = lines.iter().filter_map(|line| line.strip_prefix(word)?.split_whitespace().next());
        told.filter_map(|text| text.parse().ok()).collect()
    };
    if !given.is_subset(&told(&case.leases()?, "ACK ")) {
        return Err(Stop::skip("the addresses are not those that the DHCP server leased".to_owned()));
    }
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
    if !case.expect_success(&deleted, requirement) {
        return Ok(());
    }
    // The message need not have arrived when DEL returns.
    let clock = Instant::now();
    let mut lines = case.leases()?;
    while !given.is_subset(&told(&lines, "RELEASE ")) && clock.elapsed() < RELEASED {
        std::thread::sleep(Duration::from_millis(5));
        lines = case.leases()?;
    }
    let released = told(&lines, "RELEASE ");
    let expected = format!("DEL gives {} back to the DHCP server", kernel::list(&given));
    let observed = format!("given back: {}; the server saw: {}", kernel::list(&released), lines.join("; "));
    case.expect(given.is_subset(&released), requirement, expected, observed);
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
