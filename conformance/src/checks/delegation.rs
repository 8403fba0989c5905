//! Plugins that execute others, that of `ipam` or whole interface plugins: what the delegated plugin gets, and what becomes
//! of its answer.
//!
//! A shell script takes the part of the delegated plugin: it writes down how it was executed and gives a fixed answer.

use std::collections::{BTreeMap, BTreeSet};

use cni_spec::result::AddResult;
use cni_spec::{Operation, Version};
use serde_json::{Map, Value, json};

use super::case::{Answer, Attachment, Call, Case, Stop, pretty};
use super::observation::{self, Delegated};
use super::reproducer::Assertion;
use super::{Check, Concerns, Scope, changes, cycle, kernel, protocol};
use crate::target::{Kind, Target};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "delegation.environment",
        title: "The delegated plugin gets every variable that the plugin got",
        requirements: &["deleg.same-environment", "deleg.upper-invokes-ipam"],
        concerns: Concerns::Delegating,
        scope: Scope::Versions,
        since: Version::V0_1_0,
        variants: &[],
        run: environment,
    },
    Check {
        id: "delegation.configuration",
        title: "The delegated plugin gets the whole configuration that the plugin got, unchanged",
        requirements: &[
            "deleg.same-config",
            "deleg.complete-config",
            "deleg.type-not-rewritten",
            "deleg.upper-invokes-ipam",
            "deleg.nested-delegation",
        ],
        concerns: Concerns::Delegating,
        scope: Scope::Versions,
        since: Version::V0_1_0,
        variants: &[],
        run: configuration,
    },
    Check {
        id: "delegation.addresses-applied",
        title: "The addresses and routes that the IPAM plugin returns are in the container and in the result",
        requirements: &[
            "deleg.ips-applied",
            "deleg.result-copies-ipam",
            "deleg.result-copies-ipam-legacy",
            "result.ips-all-known",
            "deleg.upper-invokes-ipam",
        ],
        concerns: Concerns::Addressing,
        scope: Scope::Versions,
        since: Version::V0_1_0,
        variants: &[],
        run: addresses_applied,
    },
    Check {
        id: "delegation.lookup",
        title: "The delegated plugin is looked up in the folders of CNI_PATH, in order",
        requirements: &["deleg.lookup-cni-path"],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &["second-folder", "first-of-two", "not-in-PATH"],
        run: lookup,
    },
    Check {
        id: "delegation.name",
        title: "A delegated plugin whose name has path characters is not executed",
        requirements: &[
            "deleg.ipam-name-valid",
            "config.ipam-type-no-path-chars",
            "deleg.lookup-missing-errors",
        ],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V1_0_0,
        variants: &["absolute-path", "relative-path"],
        run: name,
    },
    Check {
        id: "delegation.missing",
        title: "ADD fails when the delegated plugin cannot be found",
        requirements: &["deleg.lookup-missing-errors", "add.failure-no-result"],
        concerns: Concerns::Delegating,
        scope: Scope::Versions,
        since: Version::V0_1_0,
        variants: &[],
        run: missing,
    },
    Check {
        id: "delegation.add-fails",
        title: "ADD fails when the delegated plugin fails, and nothing is left after DEL",
        requirements: &[
            "deleg.add-error-propagates",
            "add.failure-no-result",
            "add.failure-leaves-del-able",
            "add.failure-rolls-back",
        ],
        concerns: Concerns::Delegating,
        scope: Scope::Versions,
        since: Version::V0_1_0,
        variants: &[],
        run: add_fails,
    },
    Check {
        id: "delegation.odd-answer",
        title: "ADD fails cleanly when what the delegated plugin prints is no result",
        requirements: &[
            "deleg.add-error-propagates",
            "error.json-on-stdout-nonzero-exit",
            "exec.exit-nonzero-on-failure",
            "add.failure-no-result",
        ],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V1_0_0,
        variants: &[
            "nothing",
            "text",
            "two documents",
            "list",
            "ips text",
            "ips null entry",
            "routes null entry",
            "crash",
        ],
        run: odd_answer,
    },
    Check {
        id: "delegation.other-version",
        title: "ADD whose delegate answers in the form of another version fails, or takes its addresses and answers in its own",
        requirements: &[
            "result.cniversion-matches-input",
            "result.shape-matches-version",
            "deleg.ips-applied",
            "deleg.nested-delegation",
            "error.json-on-stdout-nonzero-exit",
            "add.failure-no-result",
            "deleg.upper-invokes-ipam",
        ],
        concerns: Concerns::Delegating,
        scope: Scope::Versions,
        since: Version::V0_2_0,
        variants: &["older", "newer"],
        run: other_version,
    },
    Check {
        id: "delegation.slow",
        title: "What a delegate that takes its time answers counts, and DEL reaches one that hung when ADD was killed",
        requirements: &[
            "deleg.upper-invokes-ipam",
            "deleg.ips-applied",
            "deleg.nested-delegation",
            "deleg.error-propagates",
            "deleg.del-forwarded",
            "del.after-killed-add",
            "error.json-on-stdout-nonzero-exit",
            "add.failure-no-result",
        ],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &["ADD", "DEL fails", "ADD killed"],
        run: slow,
    },
    Check {
        id: "delegation.del-after-failed-add",
        title: "When the delegated plugin fails an ADD, the plugin executes it again with DEL",
        requirements: &["deleg.add-failure-del", "deleg.cleanup-command-env"],
        concerns: Concerns::Delegating,
        scope: Scope::Versions,
        since: Version::V1_0_0,
        variants: &[],
        run: del_after_failed_add,
    },
    Check {
        id: "delegation.stderr",
        title: "What the delegated plugin writes to stderr is passed on",
        requirements: &["deleg.stderr-forwarded"],
        concerns: Concerns::Delegating,
        scope: Scope::Versions,
        since: Version::V1_0_0,
        variants: &["success", "failure"],
        run: stderr,
    },
];

/// The type of the script.
pub(super) const SCRIPT: &str = "cnitest-delegate";
/// The folder of the script, and of what it writes.
pub(super) const FOLDER: &str = "/run/cnitest-delegate";
/// What the script says when it fails.
const COMPLAINT: &str = "cnitest's delegate refuses";
/// A key of a delegate's configuration with a number that a floating point number of 64 bits cannot hold.
const LARGE: &str = "example.com/large";
/// What the script writes to stderr.
const MURMUR: &str = "cnitest's delegate was here";

fn delegate(case: &mut Case<'_>) -> Result<Delegated, Stop> {
    let attachment = case.attachment()?;
    install(case, FOLDER, false)?;
    let given = delegating(case, Operation::Add, &attachment, SCRIPT)
        .set("CNI_ARGS", "IgnoreUnknown=1;CNITEST=1")
        .set("CNITEST_MARK", "marked")
        .edit(|request| {
            // The last number is not one that a floating point number of 64 bits can hold.
            let unknown = json!({ "list": [1, 2.5, "x", null, 9_007_199_254_740_993_u64] });
            if let (Kind::Meta, Ok(own)) = (case.kind(), cycle::delegate_of(case, request)) {
                own.insert("example.com/unknown".to_owned(), json!({ "list": [1, 2.5, "x", null] }));
                own.insert(LARGE.to_owned(), json!(9_007_199_254_740_993_u64));
            }
            request.insert("example.com/unknown".to_owned(), unknown);
        });
    let answer = case.run(given.clone())?;
    let after = case.snapshot()?;
    let (environment, configuration) = (recorded(case, "ADD.environment")?, recorded(case, "ADD.stdin")?);
    Ok(Delegated { attachment, given, answer, after, environment, configuration })
}

fn environment(case: &mut Case<'_>) -> Result<(), Stop> {
    let seen = observation::observe_delegated(case, delegate)?;
    let Some(got) = &seen.environment else {
        return not_executed(case, &seen.answer);
    };
    let got: BTreeMap<&str, &str> = got.split('\0').filter_map(|entry| entry.split_once('=')).collect();
    for (variable, value) in &seen.given.environment {
        let found = got.get(variable.as_str());
        let expected = format!("the delegated plugin is executed with {variable}={value}");
        let observed = match found {
            Some(other) => format!("{variable}={other}"),
            None => format!("{variable} is not set"),
        };
        let holds = found == Some(&value.as_str());
        case.expect(holds, "deleg.same-environment", expected, observed);
    }
    Ok(())
}

fn configuration(case: &mut Case<'_>) -> Result<(), Stop> {
    let seen = observation::observe_delegated(case, delegate)?;
    let given = document(&seen.given);
    let Some(got) = seen.configuration.clone() else {
        return not_executed(case, &seen.answer);
    };
    let got: Value = serde_json::from_str(&got).unwrap_or(Value::String(got));
    if case.kind() == Kind::Meta {
        return own_configuration(case, &given, &got);
    }
    for key in ["cniVersion", "name", "ipam"] {
        let expected = format!("the delegated plugin's configuration has \"{key}\", as the plugin's own");
        let observed = format!("its keys: {}", keys(&got));
        case.expect(got.get(key).is_some(), "deleg.complete-config", expected, observed);
    }
    let observed = format!("\"type\": {}", got.get("type").unwrap_or(&Value::Null));
    let expected =
        format!("the delegated plugin's configuration has \"type\": {}, as the plugin's own", given["type"]);
    case.expect(got.get("type") == given.get("type"), "deleg.type-not-rewritten", expected, observed);
    let changed: Vec<String> = given
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| got.get(key.as_str()) != Some(value))
        .map(|(key, _)| key.clone())
        .collect();
    let added: Vec<String> = got
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| given.get(key.as_str()).is_none())
        .map(|(key, _)| key.clone())
        .collect();
    let expected = "the delegated plugin reads the same configuration as the plugin";
    let observed =
        format!("changed or missing keys: {}; added keys: {}", kernel::list(&changed), kernel::list(&added));
    case.expect(changed.is_empty() && added.is_empty(), "deleg.same-config", expected, observed);
    Ok(())
}

/// A plugin that is executed as a whole reads what the configuration holds for it, as part of the same network.
fn own_configuration(case: &mut Case<'_>, given: &Value, got: &Value) -> Result<(), Stop> {
    for key in ["cniVersion", "name"] {
        let expected = format!("the delegated plugin's configuration has \"{key}\"");
        let observed = format!("its keys: {}", keys(got));
        let held = got.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        case.expect(held, "deleg.complete-config", expected, observed);
    }
    let pointer = case.target.map_or("/ipam", Target::delegate_pointer);
    let own = given.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut changed: Vec<&String> =
        own.iter().filter(|(key, value)| got.get(key.as_str()) != Some(value)).map(|(key, _)| key).collect();
    // A plugin that composes its delegate's configuration reads and writes JSON, of which only integers below 2^53 are
    // the same everywhere.
    if changed.iter().any(|key| *key == LARGE) && got.get(LARGE).is_some_and(Value::is_number) {
        case.note(format!("the delegated plugin reads {} for {}", got[LARGE], own[LARGE]));
        changed.retain(|key| *key != LARGE);
    }
    let expected = format!("the delegated plugin reads what stands at {pointer}, unchanged");
    let observed = format!("changed or missing keys: {}", kernel::list(&changed));
    case.expect(changed.is_empty(), "deleg.same-config", expected.as_str(), observed.as_str());
    case.expect(changed.is_empty(), "deleg.nested-delegation", expected, observed);
    Ok(())
}

fn addresses_applied(case: &mut Case<'_>) -> Result<(), Stop> {
    let seen = observation::observe_delegated(case, delegate)?;
    let (answer, attachment) = (&seen.answer, &seen.attachment);
    if seen.configuration.is_none() {
        return not_executed(case, answer);
    }
    case.require_result(answer)?;
    let result = kernel::read(case, answer.document())?;
    let given = answer_of_script(case.version)?;
    let container = kernel::state(&seen.after, attachment)?;

    let there = kernel::addresses(container, &attachment.ifname);
    let listed: BTreeSet<_> = result.ips.iter().map(|ip| ip.address).collect();
    let copies = if case.version < Version::V0_3_0 {
        "deleg.result-copies-ipam-legacy"
    } else {
        "deleg.result-copies-ipam"
    };
    for ip in &given.ips {
        let expected =
            format!("{} has the address {} that the IPAM plugin returned", attachment.ifname, ip.address);
        let observed = format!("addresses of {}: {}", attachment.ifname, kernel::list(&there));
        case.expect(there.contains(&ip.address), "deleg.ips-applied", expected, observed);
        let observed = format!("listed addresses: {}", kernel::list(&listed));
        let expected = format!("the result lists the address {} that the IPAM plugin returned", ip.address);
        // Later texts do not ask for a copy, but for what is true.
        let requirement = if case.version < Version::V1_0_0 { copies } else { "deleg.ips-applied" };
        case.expect(listed.contains(&ip.address), requirement, expected, observed);
        if case.version >= Version::V0_3_0 {
            let gateway = result.ips.iter().find(|one| one.address == ip.address).and_then(|one| one.gateway);
            let expected =
                format!("the result gives the gateway of {}, which the IPAM plugin returned", ip.address);
            let observed = "the address is listed without its gateway";
            let known = ip.gateway.is_none() || !listed.contains(&ip.address) || gateway.is_some();
            case.expect(known, "result.ips-all-known", expected, observed);
        }
    }
    // The configuration has no DNS settings of its own, so those of the IPAM plugin are all there are.
    if case.version < Version::V1_0_0
        && let Some(dns) = &given.dns
        && !case.configuration.plugin.contains_key("dns")
    {
        let found = result.dns.clone().unwrap_or_default();
        let expected = format!("the result has the name servers {}", kernel::list(&dns.nameservers));
        let observed = format!("listed name servers: {}", kernel::list(&found.nameservers));
        case.expect(found.nameservers == dns.nameservers, copies, expected, observed);
    }
    for route in &given.routes {
        let found = container
            .routes
            .iter()
            .any(|one| one.destination == route.dst.network() && one.prefix == route.dst.prefix_len());
        let expected = format!("the container has a route to {}, as the IPAM plugin returned", route.dst);
        let observed = format!("no route to {}", route.dst);
        case.expect(found, "deleg.ips-applied", expected, observed);
    }
    Ok(())
}

fn lookup(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let other = format!("{FOLDER}/other");
    let call = delegating(case, Operation::Add, &attachment, SCRIPT);
    let folders = call.environment.get("CNI_PATH").cloned().unwrap_or_default();
    let own: Vec<&str> = folders.split(':').filter(|folder| *folder != FOLDER).collect();
    let own = own.join(":");
    let executed = "the delegated plugin is executed";
    match case.variant {
        "second-folder" => {
            install(case, &other, false)?;
            let answer = case.run(call.set("CNI_PATH", &format!("/run/cnitest-nothing:{other}:{own}")))?;
            let holds = recorded(case, "ADD.stdin")?.is_some();
            let expected = format!("{executed}: it is in the second folder of CNI_PATH");
            case.expect(
                holds,
                "deleg.lookup-cni-path",
                expected,
                format!("it was not; {}", answer.summary()),
            );
        }
        "first-of-two" => {
            install(case, FOLDER, false)?;
            let wrong = format!("#!/bin/sh\necho wrong >{FOLDER}/wrong\nexit 1\n");
            case.write_file(&format!("{other}/{SCRIPT}"), &wrong, 0o755)?;
            let answer = case.run(call.set("CNI_PATH", &format!("{FOLDER}:{other}:{own}")))?;
            let holds = recorded(case, "wrong")?.is_none() && recorded(case, "ADD.stdin")?.is_some();
            let expected = format!("{executed} from {FOLDER}, the first folder of CNI_PATH that has it");
            let observed = format!("it was not, or the one in {other} was; {}", answer.summary());
            case.expect(holds, "deleg.lookup-cni-path", expected, observed);
        }
        _ => {
            install(case, FOLDER, false)?;
            let path = call.environment.get("PATH").cloned().unwrap_or_default();
            let answer = case.run(call.set("CNI_PATH", &own).set("PATH", &format!("{FOLDER}:{path}")))?;
            let holds = recorded(case, "ADD.stdin")?.is_none();
            let expected = "a delegated plugin that is in PATH but not in CNI_PATH is not executed";
            case.expect(holds, "deleg.lookup-cni-path", expected, format!("it was; {}", answer.summary()));
        }
    }
    Ok(())
}

fn name(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    install(case, FOLDER, false)?;
    let kind = match case.variant {
        "absolute-path" => format!("{FOLDER}/{SCRIPT}"),
        _ => format!("../cnitest-delegate/{SCRIPT}"),
    };
    let answer = case.run(delegating(case, Operation::Add, &attachment, &kind))?;
    let executed = recorded(case, "ADD.stdin")?.is_some();
    let expected = format!("a delegated plugin with \"type\": \"{kind}\" is not executed");
    let assertion = Assertion::FileLacks(format!("{FOLDER}/executions"), "ADD".to_owned());
    let observed = format!("it was; {}", answer.summary());
    let of_configuration = (case.kind() != Kind::Meta).then_some("config.ipam-type-no-path-chars");
    for requirement in ["deleg.ipam-name-valid"].into_iter().chain(of_configuration) {
        case.expect_as(!executed, requirement, expected.as_str(), observed.as_str(), assertion.clone());
    }
    if !executed {
        case.expect_refusal(&answer, "deleg.lookup-missing-errors", "the delegated plugin has no valid name");
    }
    Ok(())
}

fn missing(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let answer = case.run(delegating(case, Operation::Add, &attachment, "cnitest-nothing"))?;
    case.expect_refusal(
        &answer,
        "deleg.lookup-missing-errors",
        "no folder of CNI_PATH has the delegated plugin",
    );
    expect_no_result(case, &answer);
    Ok(())
}

fn add_fails(case: &mut Case<'_>) -> Result<(), Stop> {
    cycle::settle(case)?;
    let attachment = case.attachment()?;
    install(case, FOLDER, true)?;
    let before = case.snapshot()?;
    let answer = case.run(delegating(case, Operation::Add, &attachment, SCRIPT))?;
    if recorded(case, "ADD.stdin")?.is_none() {
        return not_executed(case, &answer);
    }
    if !case.expect_refusal(&answer, "deleg.add-error-propagates", "the delegated plugin fails with code 120")
    {
        return Ok(());
    }
    expect_no_result(case, &answer);
    if let Some(error) = answer.error() {
        let text = format!("{} {}", error.msg, error.details.clone().unwrap_or_default());
        if error.code != 120 || !text.contains(COMPLAINT) {
            case.note(format!(
                "the delegated plugin's error (code 120, \"{COMPLAINT}\") is reported as {error}"
            ));
        }
    }
    let own = |line: &str| changes::is_file_content(line) || line.contains(FOLDER);
    let after = case.snapshot()?;
    case.expect_unchanged(&before, &after, "add.failure-rolls-back", "an ADD that fails", own);
    let deleted = case.run(delegating(case, Operation::Del, &attachment, SCRIPT))?;
    if case.expect_success(&deleted, "add.failure-leaves-del-able") {
        let end = case.snapshot()?;
        let what = "an ADD that fails, followed by DEL,";
        case.expect_unchanged(&before, &end, "add.failure-leaves-del-able", what, own);
    }
    Ok(())
}

fn odd_answer(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let version = case.version.as_str();
    let result = answer_of_script(case.version)?.to_version(case.version).0;
    let with = |key: &str, value: Value| {
        let mut odd = result.clone();
        odd[key] = value;
        pretty(&odd)
    };
    let text = match case.variant {
        "nothing" | "crash" => String::new(),
        "text" => "10.99.0.5/24\n".to_owned(),
        "two documents" => format!("{}\n{}\n", pretty(&result), pretty(&result)),
        "list" => pretty(&json!([result])),
        "ips text" => pretty(&json!({ "cniVersion": version, "ips": "10.99.0.5/24" })),
        "ips null entry" => with("ips", json!([null])),
        _ => with("routes", json!([null])),
    };
    match case.variant {
        "crash" => install_script(case, FOLDER, &text, "kill -9 $$")?,
        _ => install_answer(case, FOLDER, &text, 0)?,
    }
    let answer = case.run(delegating(case, Operation::Add, &attachment, SCRIPT))?;
    if recorded(case, "ADD.stdin")?.is_none() {
        return not_executed(case, &answer);
    }
    // Whether an entry that is null makes a result none is left open; it is no reason to fall over.
    if case.variant.ends_with("null entry") {
        protocol::expect_lives(case, &answer);
        return Ok(());
    }
    let why = format!("the delegated plugin's answer is no result ({})", case.variant);
    protocol::expect_refused(case, &answer, "deleg.add-error-propagates", &why);
    expect_no_result(case, &answer);
    Ok(())
}

/// The nearest older or newer version whose results have another form.
fn other_form(version: Version, newer: bool) -> Option<Version> {
    let form = |version: Version| (version >= Version::V0_3_0, version >= Version::V1_0_0);
    let differs = |other: &Version| form(*other) != form(version) && (*other > version) == newer;
    if newer { Version::ALL.into_iter().find(differs) } else { Version::ALL.into_iter().rev().find(differs) }
}

fn other_version(case: &mut Case<'_>) -> Result<(), Stop> {
    let Some(other) = other_form(case.version, case.variant == "newer") else {
        let reason = format!("no {} version than {} has results of another form", case.variant, case.version);
        return Err(Stop::skip(reason));
    };
    let attachment = case.attachment()?;
    let given = answer_of_script(case.version)?;
    install_answer(case, FOLDER, &pretty(&given.to_version(other).0), 0)?;
    let label = format!("ADD whose delegate answers in the form of {other}");
    let Some(answer) = add_or_failure(case, &attachment, label)? else { return Ok(()) };
    let document = answer.document().cloned().unwrap_or_default();
    let label = document.get("cniVersion").and_then(Value::as_str).unwrap_or_default();
    let expected = format!("the result has \"cniVersion\": \"{}\", as the configuration", case.version);
    let assertion = Assertion::StdoutHas(answer.index, format!("\"cniVersion\": \"{}\"", case.version));
    let observed = format!("\"cniVersion\": \"{label}\"");
    let own = label == case.version.as_str();
    case.expect_as(own, "result.cniversion-matches-input", expected, observed, assertion);
    let violations = cni_schemas::validate(
        cni_schemas::Kind::ResultAdd,
        case.version,
        cni_schemas::Profile::Compat,
        &document,
    )
    .map_err(|error| Stop::Undecided(error.to_string()))?;
    let by_family = document.get("ip4").or(document.get("ip6")).is_some();
    let of_form = violations.is_empty() && by_family <= (case.version < Version::V0_3_0);
    let first = violations.first().map(|one| format!("{}: {}", one.instance_path, one.message));
    let observed = first.unwrap_or_else(|| "it has ip4 or ip6".to_owned());
    let expected = format!("a result in the form of {}", case.version);
    if !case.expect(of_form, "result.shape-matches-version", expected, observed) {
        return Ok(());
    }
    expect_addresses(case, &answer, &given)
}

/// ADD that may fail because of its delegate, cleanly: what it answers if it succeeds with a result.
fn add_or_failure(
    case: &mut Case<'_>,
    attachment: &Attachment,
    label: String,
) -> Result<Option<Answer>, Stop> {
    let call = delegating(case, Operation::Add, attachment, SCRIPT);
    let answer = case.run(call.label(label))?;
    if recorded(case, "ADD.stdin")?.is_none() {
        not_executed(case, &answer)?;
        return Ok(None);
    }
    if !protocol::expect_lives(case, &answer) {
        return Ok(None);
    }
    if !answer.succeeded() {
        expect_no_result(case, &answer);
        return Ok(None);
    }
    case.require_result(&answer)?;
    Ok(Some(answer))
}

/// States that a result has the addresses that the delegate returned.
fn expect_addresses(case: &mut Case<'_>, answer: &Answer, given: &AddResult) -> Result<(), Stop> {
    let listed: BTreeSet<_> =
        kernel::read(case, answer.document())?.ips.into_iter().map(|ip| ip.address).collect();
    let requirement = match case.kind() {
        Kind::Meta => "deleg.nested-delegation",
        _ => "deleg.ips-applied",
    };
    for ip in &given.ips {
        let expected =
            format!("ADD fails, or its result has the address {} that the delegate returned", ip.address);
        let observed = format!("it succeeds with the addresses {}", kernel::list(&listed));
        case.expect(listed.contains(&ip.address), requirement, expected, observed);
    }
    Ok(())
}

/// How many seconds a slow delegate takes. Nothing in the specification says how long one may take: a plugin may give up
/// on it, and then has failed.
const SLOW: u8 = 2;

fn slow(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    match case.variant {
        "ADD" => {
            let given = answer_of_script(case.version)?;
            install_slow(case, Operation::Add, SLOW.into(), None)?;
            let label = format!("ADD whose delegate takes {SLOW} seconds");
            let Some(answer) = add_or_failure(case, &attachment, label)? else { return Ok(()) };
            expect_addresses(case, &answer, &given)
        }
        "DEL fails" => {
            install_slow(case, Operation::Del, SLOW.into(), Some(COMPLAINT))?;
            let answer = case.run(delegating(case, Operation::Add, &attachment, SCRIPT))?;
            case.require_result(&answer)?;
            attachment.result = answer.document().cloned();
            let call = delegating(case, Operation::Del, &attachment, SCRIPT);
            let answer = case.run(call.label(format!("DEL whose delegate fails after {SLOW} seconds")))?;
            let executed = recorded(case, "DEL.stdin")?.is_some();
            let observed = format!("it was not; {}", answer.summary());
            let expected = "the delegate is executed with CNI_COMMAND=DEL";
            if case.expect(executed, "deleg.del-forwarded", expected, observed) {
                case.expect_refusal(&answer, "deleg.error-propagates", "its delegate reported an error");
            }
            Ok(())
        }
        _ => {
            install_slow(case, Operation::Add, 1000, None)?;
            let mut call = delegating(case, Operation::Add, &attachment, SCRIPT)
                .label("ADD, killed while its delegate hangs");
            call.shell = Some("timeout -s KILL 1 \"$0\" \"$@\"".to_owned());
            let killed = case.run(call)?;
            if killed.succeeded() || recorded(case, "ADD.stdin")?.is_none() {
                return Err(Stop::unmet(format!("no delegate hung: {}", killed.summary())));
            }
            let call = delegating(case, Operation::Del, &attachment, SCRIPT);
            let answer = case.run(call.label("DEL after the killed ADD"))?;
            case.expect_success(&answer, "del.after-killed-add");
            let executed = recorded(case, "DEL.stdin")?.is_some();
            let expected = "DEL executes the delegate, which may have done anything before ADD was killed";
            let assertion = Assertion::FileHas(format!("{FOLDER}/executions"), "DEL".to_owned());
            let observed = format!("it did not; {}", answer.summary());
            case.expect_as(executed, "deleg.del-forwarded", expected, observed, assertion);
            Ok(())
        }
    }
}

/// Writes the script, which takes its time for one operation; it fails then, if there is a complaint.
fn install_slow(
    case: &mut Case<'_>,
    operation: Operation,
    seconds: u16,
    complaint: Option<&str>,
) -> Result<(), Stop> {
    install(case, FOLDER, false)?;
    let end = match complaint {
        Some(msg) => {
            let error = json!({ "cniVersion": case.version.as_str(), "code": 120, "msg": msg });
            case.write_file(&format!("{FOLDER}/error.json"), &pretty(&error), 0o644)?;
            format!("cat {FOLDER}/error.json; exit 1")
        }
        None => String::new(),
    };
    let script = format!(
        "#!/bin/sh\n\
         echo \"$CNI_COMMAND\" >>{FOLDER}/executions\n\
         cat >{FOLDER}/$CNI_COMMAND.stdin\n\
         if [ \"$CNI_COMMAND\" = {operation} ]; then sleep {seconds}; {end}\nfi\n\
         case $CNI_COMMAND in\n\
         VERSION) cat {FOLDER}/about.json ;;\n\
         ADD) cat {FOLDER}/answer.json ;;\n\
         esac\n"
    );
    case.write_file(&format!("{FOLDER}/{SCRIPT}"), &script, 0o755)
}

fn del_after_failed_add(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    install(case, FOLDER, true)?;
    let answer = case.run(delegating(case, Operation::Add, &attachment, SCRIPT))?;
    let executions = recorded(case, "executions")?.unwrap_or_default();
    let commands: Vec<&str> = executions.lines().collect();
    if !commands.contains(&"ADD") {
        return not_executed(case, &answer);
    }
    let last = commands.iter().rposition(|command| *command == "ADD").unwrap_or_default();
    let holds = commands.iter().skip(last).any(|command| *command == "DEL");
    let expected = "after its ADD failed, the delegated plugin is executed with CNI_COMMAND=DEL";
    let observed = format!("it was executed for {}", kernel::list(&commands));
    let assertion = Assertion::FileHas(format!("{FOLDER}/executions"), "DEL".to_owned());
    if !case.expect_as(holds, "deleg.add-failure-del", expected, observed, assertion) {
        return Ok(());
    }
    let (add, del) = (recorded(case, "ADD.environment")?, recorded(case, "DEL.environment")?);
    let others = |text: Option<String>| -> BTreeSet<String> {
        let text = text.unwrap_or_default();
        text.split('\0').filter(|entry| !entry.starts_with("CNI_COMMAND=")).map(str::to_owned).collect()
    };
    let (add, del) = (others(add), others(del));
    let observed = format!("differing: {}", kernel::list(add.symmetric_difference(&del)));
    let expected = "for that DEL the delegated plugin gets the variables of the ADD, but for CNI_COMMAND";
    case.expect(add == del, "deleg.cleanup-command-env", expected, observed);
    Ok(())
}

fn stderr(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    install(case, FOLDER, case.variant == "failure")?;
    let answer = case.run(delegating(case, Operation::Add, &attachment, SCRIPT))?;
    if recorded(case, "ADD.stdin")?.is_none() {
        return not_executed(case, &answer);
    }
    let text = answer.execution.stderr_text();
    let expected =
        format!("the plugin's stderr has \"{MURMUR}\", which the delegated plugin wrote to its own");
    let observed = match text.lines().next() {
        None => "stderr is empty".to_owned(),
        Some(line) => format!("stderr begins with \"{line}\""),
    };
    let assertion = Assertion::StderrHas(answer.index, MURMUR.to_owned());
    case.expect_as(text.contains(MURMUR), "deleg.stderr-forwarded", expected, observed, assertion);
    Ok(())
}

/// An execution with the script, or something else, as the delegated plugin.
pub(super) fn delegating(case: &Case<'_>, operation: Operation, attachment: &Attachment, kind: &str) -> Call {
    found(case.call(operation, attachment)).edit(|request| {
        let own = json!({ "type": kind, "example.com/own": true });
        match case.kind() {
            Kind::Meta => set_delegate(case, request, own),
            _ => drop(request.insert("ipam".to_owned(), own)),
        }
    })
}

/// An execution in which the scripts are found.
pub(super) fn found(call: Call) -> Call {
    let folders = call.environment.get("CNI_PATH").cloned().unwrap_or_default();
    call.set("CNI_PATH", &format!("{FOLDER}:{folders}"))
}

/// Puts a configuration in the place of the meta plugin's first delegate; the others, if any, stay.
pub(super) fn set_delegate(case: &Case<'_>, request: &mut Map<String, Value>, own: Value) {
    if let (Ok(delegate), Value::Object(own)) = (cycle::delegate_of(case, request), own) {
        *delegate = own;
    }
}

/// Writes the script into a folder. Its ADD returns [`answer_of_script`], or fails.
fn install(case: &mut Case<'_>, folder: &str, fails: bool) -> Result<(), Stop> {
    let (answer, status) = match fails {
        true => (json!({ "cniVersion": case.version.as_str(), "code": 120, "msg": COMPLAINT }), 1),
        false => (answer_of_script(case.version)?.to_version(case.version).0, 0),
    };
    install_answer(case, folder, &format!("\n \t{}\n\n", pretty(&answer)), status)
}

/// Writes the script into a folder. It writes its commands, environment and stdin below [`FOLDER`]; its ADD prints
/// `answer` and exits with `status`.
pub(super) fn install_answer(
    case: &mut Case<'_>,
    folder: &str,
    answer: &str,
    status: u8,
) -> Result<(), Stop> {
    install_script(case, folder, answer, &format!("exit {status}"))
}

/// As [`install_answer`], with a command in which the script's ADD ends.
fn install_script(case: &mut Case<'_>, folder: &str, answer: &str, end: &str) -> Result<(), Stop> {
    let versions: Vec<&str> = Version::ALL.iter().map(|one| one.as_str()).collect();
    let about = json!({ "cniVersion": case.version.as_str(), "supportedVersions": versions });
    case.write_file(&format!("{FOLDER}/about.json"), &pretty(&about), 0o644)?;
    case.write_file(&format!("{FOLDER}/answer.json"), answer, 0o644)?;
    let script = format!(
        "#!/bin/sh\n\
         echo \"$CNI_COMMAND\" >>{FOLDER}/executions\n\
         cat /proc/$$/environ >{FOLDER}/$CNI_COMMAND.environment\n\
         cat >{FOLDER}/$CNI_COMMAND.stdin\n\
         echo \"{MURMUR}\" >&2\n\
         case $CNI_COMMAND in\n\
         VERSION) cat {FOLDER}/about.json ;;\n\
         ADD) cat {FOLDER}/answer.json; {end} ;;\n\
         esac\n\
         exit 0\n"
    );
    case.write_file(&format!("{folder}/{SCRIPT}"), &script, 0o755)
}

/// What the script's ADD returns: an address of each family, and a route for each.
pub(super) fn answer_of_script(version: Version) -> Result<AddResult, Stop> {
    let document = json!({
        "cniVersion": Version::V1_1_0.as_str(),
        "ips": [
            { "address": "10.99.0.5/24", "gateway": "10.99.0.1" },
            { "address": "fd00:99::5/64", "gateway": "fd00:99::1" }
        ],
        "routes": [
            { "dst": "198.51.100.0/24", "gw": "10.99.0.1" },
            { "dst": "2001:db8:99::/48", "gw": "fd00:99::1" }
        ],
        "dns": { "nameservers": ["10.99.0.53"] }
    });
    let result = AddResult::parse(&document, version).map_err(|error| Stop::Undecided(error.to_string()))?;
    Ok(result)
}

/// What the script wrote, if it was executed.
pub(super) fn recorded(case: &mut Case<'_>, file: &str) -> Result<Option<String>, Stop> {
    let there = case.arena.list_dir(FOLDER)?.iter().any(|entry| entry.name == file);
    match there {
        true => {
            Ok(Some(String::from_utf8_lossy(&case.arena.read_file(format!("{FOLDER}/{file}"))?).into_owned()))
        }
        false => Ok(None),
    }
}

fn not_executed(case: &mut Case<'_>, answer: &Answer) -> Result<(), Stop> {
    let expected = "ADD executes the delegated plugin that the configuration names";
    let assertion = Assertion::FileHas(format!("{FOLDER}/executions"), "ADD".to_owned());
    let observed = format!("it was not; {}", answer.summary());
    case.expect_as(false, "deleg.upper-invokes-ipam", expected, observed, assertion);
    Ok(())
}

fn expect_no_result(case: &mut Case<'_>, answer: &Answer) {
    let printed = answer.document().is_some_and(|document| {
        ["interfaces", "ips", "ip4", "ip6"].iter().any(|key| document.get(key).is_some())
    });
    let expected = "a failing ADD prints an error object and no result";
    case.expect(!printed, "add.failure-no-result", expected, answer.summary());
}

fn document(call: &Call) -> Value {
    match &call.stdin {
        crate::invoke::Stdin::Bytes(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
        _ => Value::Null,
    }
}

fn keys(value: &Value) -> String {
    kernel::list(value.as_object().into_iter().flatten().map(|(key, _)| key))
}
