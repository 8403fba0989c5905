//! ADD: it succeeds, and its result is what the kernel holds.

use std::collections::BTreeSet;

use cni_schemas::{Kind as Document, Profile, validate};
use cni_spec::Version;
use cni_spec::result::{AddResult, Interface, Route as ReportedRoute};
use serde_json::Value;

use super::case::{Case, Documents, Stop};
use super::kernel::{self, Added};
use super::observation;
use super::reproducer::{Assertion, one_document};
use super::{Check, Concerns, Scope};
use crate::arena::Place;
use crate::arena::snapshot::{NamespaceState, Route};
use crate::invoke::Outcome;
use crate::target::Kind;

const INTERFACE: Concerns = Concerns::Kinds(&[Kind::Interface]);
const WITH_INTERFACE: Concerns = Concerns::Kinds(&[Kind::Interface, Kind::Chained]);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "add.succeeds",
        title: "ADD succeeds with exit status 0 and a result on stdout",
        requirements: &[
            "add.result-on-success",
            "exec.exit-zero-on-success",
            "exec.exit-nonzero-on-failure",
            "add.failure-no-result",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: succeeds,
    },
    Check {
        id: "add.single-document",
        title: "ADD prints exactly one JSON document",
        requirements: &["exec.result-on-stdout", "exec.stdout-single-document", "exec.json-encoding"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: single_document,
    },
    Check {
        id: "add.result-schema",
        title: "The result of ADD has the form of its version",
        requirements: &[
            "version.result-format-requested",
            "result.shape-matches-version",
            "add.result-on-success",
            "result.root-object",
            "result.ip4-010",
            "result.ip6-010",
            "result.ip-at-least-one-010",
            "result.routes-010",
            "result.dns-010",
            "result.no-interfaces-010",
            "result.interfaces-all-created",
            "result.interfaces-name",
            "result.interfaces-mac",
            "result.interfaces-mtu",
            "result.interfaces-sandbox",
            "result.interfaces-socketpath",
            "result.interfaces-pciid",
            "result.interfaces-110-fields-gated",
            "result.ips-key",
            "result.ips-key-030",
            "result.ips-version",
            "result.ips-version-consistent",
            "result.ips-version-removed",
            "result.ips-address",
            "result.ips-gateway",
            "result.ips-interface-type",
            "result.routes-top-level",
            "result.routes-dst",
            "result.routes-gw",
            "result.routes-family",
            "result.routes-mtu",
            "result.routes-advmss",
            "result.routes-priority",
            "result.routes-table",
            "result.routes-scope",
            "result.dns-object",
            "result.dns-nameservers",
            "result.dns-domain-search-options",
            "result.null-values",
            "result.key-case",
            "ipam.abbreviated-result",
            "ipam.no-interface-index",
            "ipam.ips-key-030",
            "ipam.result-010",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: result_schema,
    },
    Check {
        id: "add.result-cniversion",
        title: "The result of ADD is labelled with the version of the configuration",
        requirements: &[
            "result.cniversion-matches-input",
            "result.cniversion-present",
            "ipam.version-consistent",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: result_cniversion,
    },
    Check {
        id: "add.creates-interface",
        title: "ADD creates the interface CNI_IFNAME in the container and sets it up",
        requirements: &["add.creates-interface", "add.interface-connectivity"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: creates_interface,
    },
    Check {
        id: "add.interface-listed",
        title: "The result lists CNI_IFNAME with the container's namespace as its sandbox",
        requirements: &[
            "result.interfaces-all-created",
            "result.interfaces-sandbox",
            "result.interfaces-sandbox-value",
        ],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: interface_listed,
    },
    Check {
        id: "add.interfaces-complete",
        title: "The result lists every interface that ADD created, on the host and in the container",
        requirements: &["result.interfaces-all-created"],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: interfaces_complete,
    },
    Check {
        id: "add.interfaces-exist",
        title: "Every interface that the result lists exists where it says",
        requirements: &["result.interfaces-name"],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: interfaces_exist,
    },
    Check {
        id: "add.host-interfaces",
        title: "Host interfaces are listed without a sandbox",
        requirements: &["result.interfaces-sandbox-host-empty"],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: host_interfaces,
    },
    Check {
        id: "add.mac",
        title: "The hardware addresses in the result are those of the interfaces",
        requirements: &["result.interfaces-mac", "result.interfaces-mac-format"],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: mac,
    },
    Check {
        id: "add.mtu",
        title: "The MTUs in the result are those of the interfaces",
        requirements: &["result.interfaces-mtu"],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: mtu,
    },
    Check {
        id: "add.index-in-range",
        title: "Each address names an interface that the result lists",
        requirements: &[
            "result.ips-interface-in-range",
            "result.ips-interface-required-040",
            "deleg.fills-interface-index",
        ],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: index_in_range,
    },
    Check {
        id: "add.addresses",
        title: "Each address in the result is on the interface that it names",
        requirements: &["result.ips-reflect-kernel", "add.assigns-ip"],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: addresses,
    },
    Check {
        id: "add.addresses-reported",
        title: "Each address that ADD gave CNI_IFNAME is in the result",
        requirements: &["result.ips-reflect-kernel"],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: addresses_reported,
    },
    Check {
        id: "add.routes",
        title: "Each route in the result is in the container, with its attributes",
        requirements: &[
            "result.routes-top-level",
            "result.routes-gw",
            "result.routes-table",
            "result.routes-priority",
            "result.routes-mtu",
            "result.routes-advmss",
            "result.routes-scope",
            "result.routes-relevant",
            "add.assigns-ip",
            "add.route-metric-zero",
        ],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: routes,
    },
];

fn succeeds(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = observation::observe(case)?.answer.clone();
    let printed_result = answer.document().is_some_and(looks_like_result);
    match answer.execution.outcome {
        Outcome::Exited(0) => {
            let failed = answer.error().is_some() && !printed_result;
            let expected = "an ADD that fails exits with another status than 0";
            case.expect(!failed, "exec.exit-nonzero-on-failure", expected, answer.summary());
            if !failed {
                let printed = matches!(answer.documents, Documents::One(_) | Documents::Several(_));
                case.expect(
                    printed,
                    "add.result-on-success",
                    "ADD prints its result on stdout",
                    answer.summary(),
                );
            }
            Ok(())
        }
        Outcome::Exited(_) if printed_result => {
            let expected =
                "ADD prints a result and exits with status 0, or an error object and another status";
            case.expect(false, "add.failure-no-result", expected, answer.summary());
            let assertion = Assertion::Succeeds(answer.index);
            case.expect_as(false, "exec.exit-zero-on-success", expected, answer.summary(), assertion);
            Ok(())
        }
        Outcome::Exited(_) | Outcome::Signaled(_) if answer.crashed() => {
            case.expect_refusal(&answer, "exec.exit-nonzero-on-failure", "it cannot be served");
            Ok(())
        }
        _ => Err(Stop::Undecided(format!(
            "the plugin does not accept the configuration of its target, so that nothing can be said about ADD: {}",
            answer.summary()
        ))),
    }
}

fn single_document(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = observation::observe(case)?.answer.clone();
    if !answer.succeeded() {
        return Err(Stop::unmet(answer.summary()));
    }
    // What holds more than one document, or text around it, is no JSON text.
    let holds = matches!(answer.documents, Documents::None | Documents::One(_));
    let expected = "stdout holds one JSON document and nothing else";
    let assertion = one_document(answer.index);
    case.expect_as(holds, "exec.result-on-stdout", expected, answer.summary(), assertion);
    let holds = !matches!(answer.documents, Documents::Several(_));
    case.expect(holds, "exec.stdout-single-document", expected, answer.summary());
    let holds = !matches!(answer.documents, Documents::Garbage(_));
    let expected = "what is on stdout is JSON";
    case.expect_as(holds, "exec.json-encoding", expected, answer.summary(), one_document(answer.index));
    Ok(())
}

fn result_schema(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = observation::observe(case)?.answer.clone();
    if let Some(document) = answer.document().filter(|document| answer.succeeded() && !document.is_object()) {
        let observed = format!("stdout holds {document}");
        case.expect(false, "result.root-object", "the result is a JSON object", observed);
        return Ok(());
    }
    case.require_result(&answer)?;
    let Some(document) = answer.document() else { return Ok(()) };
    let kind = if case.kind() == Kind::Ipam { Document::ResultIpam } else { Document::ResultAdd };
    let judge = |profile| {
        validate(kind, case.version, profile, document).map_err(|error| Stop::Undecided(error.to_string()))
    };
    let (compat, strict) = (judge(Profile::Compat)?, judge(Profile::Strict)?);
    expect_own_shape(case, document);
    expect_plain_keys(case, document);
    for violation in &compat {
        let requirement = violation.requirement.unwrap_or("result.shape-matches-version");
        let place = place_in_document(&violation.instance_path);
        let expected = format!("{} prints a result in the form of {}", answer.label, case.version);
        let observed = format!("{place}: {}", violation.message);
        match violation.message.strip_suffix(" is missing") {
            Some(key) => {
                let assertion = Assertion::StdoutHas(answer.index, format!("{key}:"));
                case.expect_as(false, requirement, expected, observed, assertion);
            }
            None => {
                case.expect(false, requirement, expected, observed);
            }
        }
    }
    let known: BTreeSet<_> =
        compat.iter().map(|violation| (&violation.instance_path, &violation.message)).collect();
    for violation in strict.iter().filter(|one| !known.contains(&(&one.instance_path, &one.message))) {
        let place = place_in_document(&violation.instance_path);
        let observed = format!("{place}: {}", violation.message);
        match violation.requirement {
            Some(requirement @ ("result.ips-version-removed" | "result.no-interfaces-010")) => {
                case.expect(
                    false,
                    requirement,
                    format!("{} prints a result in the form of {}", answer.label, case.version),
                    observed,
                );
            }
            _ => case.note(format!("a strict reading finds in the result: {observed}")),
        }
    }
    Ok(())
}

/// Results name addresses by family up to 0.2.0, and list them from 0.3.0 on.
fn expect_own_shape(case: &mut Case<'_>, document: &Value) {
    let (by_family, listed) = (["ip4", "ip6"], ["ips", "interfaces"]);
    let early = case.version < Version::V0_3_0;
    let (own, other) = if early { (by_family, listed) } else { (listed, by_family) };
    let found = |keys: [&'static str; 2]| keys.into_iter().filter(|key| document.get(key).is_some());
    let holds = found(other).next().is_none() || found(own).next().is_some();
    let expected = format!("a result in the form of {}, with \"{}\"", case.version, own.join("\" or \""));
    let observed = format!("it has {} instead", kernel::list(found(other)));
    let keys: Vec<String> = own.iter().map(|key| format!("-e '\"{key}\"'")).collect();
    let assertion = Assertion::Shell(format!("grep -q {} /run/cnitest/0.out", keys.join(" ")));
    // 0.1.0 has no VERSION by which a version could be found to be supported.
    let requirement = match case.version {
        Version::V0_1_0 => "result.shape-matches-version",
        _ => "version.result-format-requested",
    };
    case.expect_as(holds, requirement, expected.as_str(), observed.as_str(), assertion.clone());
    if case.version == Version::V0_3_0 && case.kind() == Kind::Ipam {
        let named = document.get("ip").is_none() || document.get("ips").is_some();
        case.expect(named, "ipam.ips-key-030", "the addresses under \"ips\"", "they are under \"ip\"");
    }
    if early && case.kind() == Kind::Ipam {
        case.expect_as(holds, "ipam.result-010", expected, observed, assertion.clone());
    }
    let addressed = case.kind() == Kind::Ipam || case.configuration.plugin.contains_key("ipam");
    if early && addressed {
        let there = found(by_family).next().is_some();
        let observed = "the result has neither ip4 nor ip6";
        case.expect_as(there, "result.ip-at-least-one-010", "ip4, ip6 or both", observed, assertion);
    }
}

/// Habits that decoders put up with, and that a plugin cannot rely on: null for what is absent, keys in another case, and
/// keys of a newer version.
fn expect_plain_keys(case: &mut Case<'_>, document: &Value) {
    const KEYS: [&str; 6] = ["cniVersion", "interfaces", "ips", "routes", "dns", "ip4"];
    const NEW: [&str; 8] = ["mtu", "socketPath", "pciID", "advmss", "priority", "table", "scope", "ifname"];
    let Value::Object(object) = document else { return };
    for (key, value) in object {
        let observed = format!("\"{key}\": {value}");
        case.expect(!value.is_null(), "result.null-values", "no null in the result", observed);
        let known = KEYS.iter().find(|known| known.eq_ignore_ascii_case(key));
        let observed = format!("\"{key}\"");
        let holds = known.is_none_or(|known| known == key);
        case.expect(holds, "result.key-case", format!("\"{}\"", known.unwrap_or(&"")), observed);
    }
    if case.version >= Version::V1_1_0 {
        return;
    }
    for list in ["interfaces", "routes"] {
        for entry in object.get(list).and_then(Value::as_array).into_iter().flatten() {
            for key in NEW.into_iter().filter(|key| entry.get(key).is_some()) {
                let expected = format!("no key of 1.1.0 in a result of {}", case.version);
                let observed = format!("{list} has \"{key}\"");
                case.expect(false, "result.interfaces-110-fields-gated", expected, observed);
            }
        }
    }
}

fn result_cniversion(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = observation::observe(case)?.answer.clone();
    case.require_result(&answer)?;
    let label = answer.document().and_then(|result| result.get("cniVersion"));
    let expected = format!("the result has \"cniVersion\": \"{}\", as the configuration", case.version);
    let Some(label) = label.cloned() else {
        match case.kind() {
            // Abbreviated results may leave out what does not matter; the examples leave out the version.
            Kind::Ipam => case.note("the result has no cniVersion, as in the examples of the specification"),
            Kind::Interface | Kind::Chained | Kind::Meta => {
                let assertion = Assertion::StdoutHas(answer.index, "\"cniVersion\"".to_owned());
                let observed = "the result has no cniVersion";
                case.expect_as(false, "result.cniversion-present", expected, observed, assertion);
            }
        }
        return Ok(());
    };
    let holds = label.as_str() == Some(case.version.as_str());
    let requirement = match case.kind() {
        Kind::Ipam if case.version == Version::V0_4_0 => "ipam.version-consistent",
        _ => "result.cniversion-matches-input",
    };
    let text = format!("\"cniVersion\": \"{}\"", case.version);
    let assertion = Assertion::StdoutHas(answer.index, text);
    case.expect_as(holds, requirement, expected, format!("\"cniVersion\": {label}"), assertion);
    Ok(())
}

fn creates_interface(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    let name = case.interface(&added.attachment);
    let link = added.container()?.link(&name);
    let expected = format!("after ADD the container has an interface called {name}, and it is up");
    let Some(link) = link else {
        let there = kernel::list(kernel::links(added.container()?));
        let observed = format!("the container's interfaces besides lo: {there}");
        let assertion =
            Assertion::Shell(format!("ip -n {} link show dev {name} >/dev/null", added.attachment.container));
        case.expect_as(false, "add.creates-interface", expected, observed, assertion);
        return Ok(());
    };
    let container = &added.attachment.container;
    let assertion =
        Assertion::Shell(format!("ip -n {container} -o link show dev {name} | grep -q '<.*UP.*>'"));
    let observed = format!("{name} is there, but down");
    case.expect_as(link.up, "add.interface-connectivity", expected, observed, assertion);
    Ok(())
}

fn interface_listed(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    let name = case.interface(&added.attachment);
    let netns = added.attachment.netns.display().to_string();
    let expected = format!("\"interfaces\" lists {name} with \"sandbox\": \"{netns}\"");
    let named: Vec<&Interface> = added.result.interfaces.iter().filter(|entry| entry.name == name).collect();
    let listed = case.expect(
        !named.is_empty(),
        "result.interfaces-all-created",
        expected.as_str(),
        format!(
            "listed interfaces: {}",
            kernel::list(added.result.interfaces.iter().map(|entry| &entry.name))
        ),
    );
    if !listed {
        return Ok(());
    }
    let sandboxes: Vec<&str> = named.iter().filter_map(|entry| entry.sandbox.as_deref()).collect();
    let given = sandboxes.iter().any(|sandbox| !sandbox.is_empty());
    let observed = format!("{name} is listed without a sandbox");
    if case.expect(given, "result.interfaces-sandbox", expected.as_str(), observed) {
        let equal = sandboxes.contains(&netns.as_str());
        let observed = format!("the sandbox of {name} is {}", kernel::list(sandboxes));
        case.expect(equal, "result.interfaces-sandbox-value", expected, observed);
    }
    Ok(())
}

fn interfaces_complete(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    let container = added.attachment.place();
    let listed = |place: &Place, name: &str| {
        added
            .result
            .interfaces
            .iter()
            .any(|entry| entry.name == name && added.place_of(entry).as_ref() == Some(place))
    };
    for (place, before, after) in [
        (&Place::Host, &added.before.host, &added.after.host),
        (&container, added.container_before()?, added.container()?),
    ] {
        for name in kernel::links(after).difference(&kernel::links(before)) {
            // A container's interface in a sandbox of another name is told by add.interface-listed.
            let elsewhere =
                place == &container && added.result.interfaces.iter().any(|entry| &entry.name == name);
            let holds = listed(place, name) || elsewhere;
            let expected = format!("\"interfaces\" lists {name}, which ADD created in the {place}");
            let names = kernel::list(added.result.interfaces.iter().map(|entry| &entry.name));
            case.expect(
                holds,
                "result.interfaces-all-created",
                expected,
                format!("listed interfaces: {names}"),
            );
        }
    }
    Ok(())
}

fn interfaces_exist(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    for entry in &added.result.interfaces {
        let Some(place) = added.place_of(entry) else { continue };
        let expected = format!("the {place} has an interface called {}, as the result says", entry.name);
        let there = added.after.place(&place).map(kernel::links).unwrap_or_default();
        let holds = added.link_of(entry).is_some();
        let observed = format!("its interfaces besides lo: {}", kernel::list(there));
        let netns =
            if place == Place::Host { String::new() } else { format!(" -n {}", added.attachment.container) };
        let assertion = Assertion::Shell(format!("ip{netns} link show dev {} >/dev/null", entry.name));
        case.expect_as(holds, "result.interfaces-name", expected, observed, assertion);
    }
    Ok(())
}

fn host_interfaces(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    let container = kernel::links(added.container()?);
    for entry in &added.result.interfaces {
        let on_host_only = added.after.host.link(&entry.name).is_some() && !container.contains(&entry.name);
        let sandbox = entry.sandbox.clone().unwrap_or_default();
        let expected = format!("{} is listed without a sandbox, for it is on the host", entry.name);
        let holds = !on_host_only || sandbox.is_empty() || entry.name == "lo";
        let observed = format!("its sandbox is \"{sandbox}\"");
        case.expect(holds, "result.interfaces-sandbox-host-empty", expected, observed);
    }
    Ok(())
}

fn mac(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    for entry in &added.result.interfaces {
        let (Some(reported), Some(link)) = (&entry.mac, added.link_of(entry)) else { continue };
        let actual = link.mac.clone().unwrap_or_default();
        let holds = reported.is_empty() || reported.eq_ignore_ascii_case(&actual);
        let expected = format!("\"mac\" of {} is {actual}, as in the kernel", entry.name);
        case.expect(holds, "result.interfaces-mac", expected, format!("\"mac\": \"{reported}\""));
        let pairs: Vec<&str> = reported.split(':').collect();
        let is_octet = |pair: &&str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
        let formed = reported.is_empty() || matches!(pairs.len(), 6 | 8 | 20) && pairs.iter().all(is_octet);
        let expected = format!("\"mac\" of {} is octets in hexadecimal, joined by colons", entry.name);
        let observed = format!("\"mac\": \"{reported}\"");
        case.expect(formed, "result.interfaces-mac-format", expected, observed);
    }
    Ok(())
}

fn mtu(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    for entry in &added.result.interfaces {
        let (Some(reported), Some(link)) = (entry.mtu, added.link_of(entry)) else { continue };
        let expected = format!("\"mtu\" of {} is {}, as in the kernel", entry.name, link.mtu);
        case.expect(reported == link.mtu, "result.interfaces-mtu", expected, format!("\"mtu\": {reported}"));
    }
    Ok(())
}

fn index_in_range(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    let count = added.result.interfaces.len();
    let delegates = case.target.is_some_and(|target| target.delegates);
    let name = case.interface(&added.attachment);
    for ip in &added.result.ips {
        let address = ip.address;
        let Some(index) = ip.interface else {
            let expected = format!("{address} has \"interface\", the index of {name} in \"interfaces\"");
            let observed = format!("{address} has no \"interface\"");
            case.expect(false, "result.ips-interface-required-040", expected.as_str(), observed.as_str());
            // From 1.0.0 only an example says so.
            if delegates && case.version < Version::V1_0_0 {
                case.expect(false, "deleg.fills-interface-index", expected, observed);
            } else {
                case.note(observed);
            }
            continue;
        };
        let holds = ip.index().is_some_and(|index| index < count);
        let expected =
            format!("\"interface\" of {address} is less than {count}, the number of listed interfaces");
        case.expect(holds, "result.ips-interface-in-range", expected, format!("\"interface\": {index}"));
        if let (true, Some(interface)) = (delegates, added.result.interface_of(ip)) {
            let expected = format!("\"interface\" of {address} is the index of {name}");
            let observed = format!("\"interface\": {index} is {}", interface.name);
            case.expect(interface.name == name, "deleg.fills-interface-index", expected, observed);
        }
    }
    Ok(())
}

fn addresses(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    let container = added.container()?;
    for ip in &added.result.ips {
        let Some(name) = added.container_interface(case, ip) else { continue };
        let there = kernel::addresses(container, &name);
        let holds = there.contains(&ip.address);
        let expected = format!("{name} has the address {}, as the result says", ip.address);
        let observed = format!("addresses of {name}: {}", kernel::list(there));
        let requirement = since_0_3_0(case, "result.ips-reflect-kernel");
        let command = format!(
            "ip -n {} -o addr show dev {name} | grep -Fq ' {} '",
            added.attachment.container, ip.address
        );
        case.expect_as(holds, requirement, expected, observed, Assertion::Shell(command));
    }
    Ok(())
}

fn addresses_reported(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    let name = case.interface(&added.attachment);
    let reported: BTreeSet<_> = added.result.ips.iter().map(|ip| ip.address).collect();
    for address in kernel::given_addresses(added.container()?, &name) {
        let expected = format!("\"ips\" lists {address}, which {name} has");
        let observed = format!("listed addresses: {}", kernel::list(&reported));
        let assertion = Assertion::StdoutHas(0, format!("\"{address}\""));
        case.expect_as(
            reported.contains(&address),
            "result.ips-reflect-kernel",
            expected,
            observed,
            assertion,
        );
    }
    Ok(())
}

fn routes(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    let container = added.container()?;
    let name = case.interface(&added.attachment);
    for reported in &added.result.routes {
        route(case, container, reported, &name);
    }
    note_unreported_default(case, &added, &name)
}

fn route(case: &mut Case<'_>, container: &NamespaceState, reported: &ReportedRoute, ifname: &str) {
    let text = route_text(reported);
    let same_destination: Vec<&Route> =
        container.routes.iter().filter(|route| has_destination(route, reported)).collect();
    let expected = format!("the container has the route {text}, as the result says");
    let observed = match same_destination.is_empty() {
        true => format!("no route to {}", reported.dst),
        false => kernel::list(same_destination.iter().map(|route| kernel_route_text(route))),
    };
    let requirement = since_0_3_0(case, "result.routes-top-level");
    if !case.expect(!same_destination.is_empty(), requirement, expected.as_str(), observed.as_str()) {
        return;
    }
    // To the kernel, the unspecified address is no gateway, and no text says what else it would be.
    let gw = reported.gw.filter(|gw| !gw.is_unspecified());
    let reached_by = |route: &Route| {
        gw.is_none_or(|gw| {
            route.gateway == Some(gw) || route.next_hops.iter().any(|hop| hop.gateway == Some(gw))
        })
    };
    let candidates: Vec<&Route> = same_destination.into_iter().filter(|route| reached_by(route)).collect();
    if !case.expect(!candidates.is_empty(), "result.routes-gw", expected.as_str(), observed.as_str()) {
        return;
    }
    let any = |holds: &dyn Fn(&Route) -> bool| candidates.iter().any(|route| holds(route));
    let v6 = reported.dst.addr().is_ipv6();
    // Zero is what the kernel takes for nothing: it puts its own value in its place, or keeps none.
    let table = reported.table.map(|table| if table == 0 { Route::MAIN_TABLE } else { table });
    let priority = reported.priority.filter(|priority| *priority != 0 || !v6);
    let mtu = reported.mtu.filter(|mtu| *mtu != 0).map(|mtu| mtu.min(Route::LARGEST_MTU));
    let advmss = reported.advmss.filter(|mss| *mss != 0).map(|mss| mss.min(Route::LARGEST_ADVMSS));
    // IPv6 routes have none.
    let scope = reported.scope.filter(|_| !v6);
    for (requirement, holds) in [
        ("result.routes-table", table.is_none_or(|table| any(&|route| route.table == table))),
        ("result.routes-priority", priority.is_none_or(|priority| any(&|route| route.metric == priority))),
        ("result.routes-mtu", mtu.is_none_or(|mtu| any(&|route| route.mtu == Some(mtu)))),
        ("result.routes-advmss", advmss.is_none_or(|mss| any(&|route| route.advmss == Some(mss)))),
        ("result.routes-scope", scope.is_none_or(|scope| any(&|route| scope_number(route) == Some(scope)))),
        ("result.routes-relevant", !case.kind().makes_interface() || any(&|route| leaves_by(route, ifname))),
        // The kernel gives IPv6 routes without a metric 1024.
        ("add.route-metric-zero", v6 || any(&|route| route.metric == 0)),
    ] {
        case.expect(holds, requirement, expected.as_str(), observed.as_str());
    }
}

/// Whether a route may be the one that is reported. The kernel's own are in the local table, unless a route is asked for there.
fn has_destination(route: &Route, reported: &ReportedRoute) -> bool {
    let is_elsewhere = route.table == Route::LOCAL_TABLE && reported.table != Some(Route::LOCAL_TABLE);
    !is_elsewhere && route.destination == reported.dst.network() && route.prefix == reported.dst.prefix_len()
}

/// The text of every version lists routes, but none says that all must be listed.
fn note_unreported_default(case: &mut Case<'_>, added: &Added, ifname: &str) -> Result<(), Stop> {
    let before = &added.container_before()?.routes;
    let container = added.container()?;
    let unreported: Vec<String> = container
        .configured_routes()
        .filter(|route| route.is_default() && leaves_by(route, ifname) && !before.contains(route))
        .filter(|route| !reports_default(&added.result, route.destination.is_ipv6()))
        .map(kernel_route_text)
        .collect();
    for route in unreported {
        case.note(format!("ADD made a default route that the result does not list: {route}"));
    }
    Ok(())
}

fn reports_default(result: &AddResult, v6: bool) -> bool {
    result.routes.iter().any(|route| route.dst.prefix_len() == 0 && route.dst.addr().is_ipv6() == v6)
}

fn leaves_by(route: &Route, ifname: &str) -> bool {
    route.device.as_deref() == Some(ifname)
        || route.next_hops.iter().any(|hop| hop.device.as_deref() == Some(ifname))
}

fn scope_number(route: &Route) -> Option<u32> {
    match route.scope.as_str() {
        "global" => Some(0),
        "site" => Some(200),
        "link" => Some(253),
        "host" => Some(254),
        "nowhere" => Some(255),
        number => number.parse().ok(),
    }
}

fn route_text(route: &ReportedRoute) -> String {
    let mut text = route.dst.to_string();
    for (word, value) in [
        ("via", route.gw.map(|gw| gw.to_string())),
        ("table", route.table.map(|table| table.to_string())),
        ("priority", route.priority.map(|priority| priority.to_string())),
        ("mtu", route.mtu.map(|mtu| mtu.to_string())),
        ("advmss", route.advmss.map(|mss| mss.to_string())),
        ("scope", route.scope.map(|scope| scope.to_string())),
    ] {
        if let Some(value) = value {
            text.push_str(&format!(" {word} {value}"));
        }
    }
    text
}

fn kernel_route_text(route: &Route) -> String {
    let mut text = format!("{}/{}", route.destination, route.prefix);
    for (word, value) in [
        ("via", route.gateway.map(|gateway| gateway.to_string())),
        ("dev", route.device.clone()),
        ("table", (route.table != Route::MAIN_TABLE).then(|| route.table.to_string())),
        ("priority", (route.metric != 0).then(|| route.metric.to_string())),
        ("mtu", route.mtu.map(|mtu| mtu.to_string())),
        ("advmss", route.advmss.map(|mss| mss.to_string())),
        ("scope", (route.scope != "global").then(|| route.scope.clone())),
    ] {
        if let Some(value) = value {
            text.push_str(&format!(" {word} {value}"));
        }
    }
    text
}

/// The requirement that the container holds what the result says: older texts say only that addresses and routes are
/// applied.
fn since_0_3_0(case: &Case<'_>, requirement: &'static str) -> &'static str {
    if case.version >= Version::V0_3_0 { requirement } else { "add.assigns-ip" }
}

/// A document that claims an attachment: it has a list or object that only results have.
fn looks_like_result(document: &Value) -> bool {
    ["interfaces", "ips", "ip4", "ip6"]
        .iter()
        .any(|key| document.get(key).is_some_and(|value| !value.is_null()))
}

fn place_in_document(pointer: &str) -> &str {
    if pointer.is_empty() { "the result" } else { pointer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::snapshot::Family;

    fn found(table: u32) -> Route {
        Route {
            family: Family::V6,
            table,
            kind: "unicast".to_owned(),
            destination: "fd00:1::".parse().unwrap(),
            prefix: 86,
            from: None,
            gateway: None,
            device: Some("eth0".to_owned()),
            device_index: Some(2),
            source: None,
            metric: 1024,
            scope: "global".to_owned(),
            protocol: "boot".to_owned(),
            mtu: None,
            mtu_locked: false,
            advmss: None,
            onlink: false,
            tos: 0,
            next_hops: Vec::new(),
        }
    }

    #[test]
    fn only_a_route_that_is_asked_for_there_is_in_the_local_table() {
        let mut reported = ReportedRoute::new("fd00:1::/86".parse().unwrap());
        assert!(has_destination(&found(Route::MAIN_TABLE), &reported));
        assert!(!has_destination(&found(Route::LOCAL_TABLE), &reported));
        reported.table = Some(Route::LOCAL_TABLE);
        assert!(has_destination(&found(Route::LOCAL_TABLE), &reported));
    }
}
