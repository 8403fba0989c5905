//! The conventions: what a runtime asks of a plugin for one container, by `runtimeConfig`, `args` and CNI_ARGS.
//!
//! Which plugin follows which convention, and what it can be asked for, is the target's to say.

use std::net::IpAddr;
use std::sync::Arc;

use cni_spec::result::AddResult;
use cni_spec::{Operation, Version};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::case::{Answer, Attachment, Case, Stop};
use super::kernel::{self, Added};
use super::reproducer::Assertion;
use super::{Check, Concerns, Scope, changes, cycle, front};
use crate::arena::NetOp;
use crate::arena::snapshot::Snapshot;
use crate::target::{Capability, Kind, Way};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "conventions.followed",
        title: "What a runtime asks for by the conventions that the plugin follows comes about",
        requirements: &["conv.follow-plugin"],
        concerns: Concerns::Obliging,
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &[],
        run: followed,
    },
    Check {
        id: "conventions.args-before-cni-args",
        title: "What comes through args as well as through CNI_ARGS is taken from args",
        requirements: &["param.args-superseded-by-args"],
        concerns: Concerns::Obliging,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &[],
        run: args_before_cni_args,
    },
    Check {
        id: "conventions.malformed",
        title: "ADD fails when what a runtime asks for by a convention is malformed, and nothing is left after DEL",
        requirements: &[
            "conv.error-if-not-actionable",
            "add.failure-leaves-del-able",
            "add.failure-rolls-back",
        ],
        concerns: Concerns::Obliging,
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &[],
        run: malformed,
    },
    Check {
        id: "conventions.unknown-args",
        title: "Labels and other data under args that a plugin does not understand are ignored",
        requirements: &["conv.args-plugins-ignore"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_2_0,
        variants: &["labels", "others"],
        run: unknown_args,
    },
    Check {
        id: "conventions.dns",
        title: "The dns of the configuration is in the result",
        requirements: &["config.wellknown-semantics"],
        concerns: Concerns::Reading("dns"),
        scope: Scope::Once,
        since: Version::V1_0_0,
        variants: &[],
        run: dns,
    },
    Check {
        id: "conventions.other-link-kind",
        title: "A chained plugin that does not mind the kind of the interface works behind one that is no veth device",
        requirements: &["conv.chained-agnostic"],
        concerns: Concerns::Kinds(&[Kind::Chained]),
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &[],
        run: other_link_kind,
    },
];

// ---- asking

/// What is asked for where the target names nothing.
fn usual(name: &str) -> Option<(Value, Value)> {
    match name {
        "mac" => Some((json!("0a:58:0a:01:02:03"), json!("0a:58:0a:01:02:04"))),
        "bandwidth" => Some((
            json!({ "ingressRate": 16_000_000, "ingressBurst": 1_600_000, "egressRate": 24_000_000, "egressBurst": 1_600_000 }),
            json!({ "ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000 }),
        )),
        "dns" => Some((
            json!({ "servers": ["192.0.2.53"], "searches": ["cnitest.example"], "options": ["ndots:2"] }),
            json!({ "servers": ["192.0.2.54"] }),
        )),
        "ipRanges" => {
            Some((json!([[{ "subnet": "10.75.0.0/24" }]]), json!([[{ "subnet": "10.76.0.0/24" }]])))
        }
        _ => None,
    }
}

/// Two values that the plugin can act on; nothing where there are none, or where packets show the effect.
pub(super) fn values(capability: &Capability) -> Option<(Value, Option<Value>)> {
    let usual = usual(&capability.name);
    let first = capability.value.clone().or(usual.clone().map(|(first, _)| first))?;
    let own_only = capability.value.is_some();
    let second = capability.other.clone().or(usual.filter(|_| !own_only).map(|(_, second)| second));
    Some((first, second))
}

/// As [`values`], without what the kernel does not have.
fn possible_values(
    case: &mut Case<'_>,
    capability: &Capability,
) -> Result<Option<(Value, Option<Value>)>, Stop> {
    let mut found = values(capability);
    // Only the way to the container can be limited without a device that the other way is led through.
    if capability.name == "bandwidth" && !case.arena.probe_link_kind("ifb")? {
        for value in found.iter_mut().flat_map(|(first, second)| std::iter::once(first).chain(second)) {
            if let Value::Object(value) = value {
                value.retain(|key, _| key.starts_with("ingress"));
            }
        }
    }
    Ok(found)
}

/// Asks for a value, beside what is asked for already by other means than this capability.
pub(super) fn ask(attachment: &mut Attachment, capability: &Capability, way: Way, value: &Value) {
    let name = capability.name.as_str();
    attachment.plugin.retain(|key, _| !capability.replaces.contains(key));
    let insert = |at: &mut Value| {
        if let Value::Object(object) = at {
            object.insert(name.to_owned(), value.clone());
        }
    };
    let plugin = &mut attachment.plugin;
    match way {
        Way::RuntimeConfig => insert(plugin.entry("runtimeConfig").or_insert_with(|| json!({}))),
        Way::Args => {
            let args = plugin.entry("args").or_insert_with(|| json!({}));
            if let Value::Object(args) = args {
                insert(args.entry("cni").or_insert_with(|| json!({})));
            }
        }
        Way::CniArgs => {
            let key = if name == "ips" { "IP".to_owned() } else { name.to_uppercase() };
            let text = match value {
                Value::Array(items) => {
                    items.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>().join(",")
                }
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let before = attachment.args.take().unwrap_or_else(|| "IgnoreUnknown=1".to_owned());
            attachment.args = Some(format!("{before};{key}={text}"));
        }
    }
}

/// What is wrong with an attachment that was to have this value; nothing when it has it.
fn lacking(case: &Case<'_>, added: &Added, name: &str, value: &Value) -> Result<Option<String>, Stop> {
    let result = &added.result;
    let listed = || kernel::list(result.ips.iter().map(|ip| ip.address));
    Ok(match name {
        "mac" => wrong_mac(case, added, value)?,
        "ips" => {
            let wanted = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            let given = kernel::ips(result);
            let missing = wanted.filter_map(address_of).find(|address| !given.contains(address));
            missing.map(|_| format!("the addresses are {}", listed()))
        }
        "ipRanges" => {
            let sets = value.as_array().into_iter().flatten();
            let serves = |set: &Value| {
                let subnets =
                    set.as_array().into_iter().flatten().filter_map(|range| range["subnet"].as_str());
                let mut subnets = subnets.filter_map(|text| text.parse::<IpNet>().ok());
                subnets.any(|subnet| result.ips.iter().any(|ip| subnet.contains(&ip.address.addr())))
            };
            (!sets.into_iter().all(serves)).then(|| format!("the addresses are {}", listed()))
        }
        "bandwidth" => {
            let rates = ["ingressRate", "egressRate"].into_iter().filter_map(|key| value[key].as_u64());
            let host = &added.after.host.qdiscs;
            let qdiscs: Vec<_> = host.iter().chain(&added.container()?.qdiscs).collect();
            let is_set = |bits: u64| qdiscs.iter().any(|qdisc| qdisc.rate == Some(bits / 8));
            let missing = rates.into_iter().find(|bits| !is_set(*bits));
            missing.map(|bits| format!("no queueing discipline has the rate of {bits} bits a second"))
        }
        "dns" => {
            let dns = result.dns.clone().unwrap_or_default();
            let lists = [("servers", dns.nameservers), ("searches", dns.search), ("options", dns.options)];
            let missing = lists.into_iter().find_map(|(key, list)| {
                let wanted = value[key].as_array().into_iter().flatten().filter_map(Value::as_str);
                wanted.into_iter().find(|text| !list.iter().any(|one| one == text)).map(str::to_owned)
            });
            missing.map(|text| format!("the dns of the result lacks {text}"))
        }
        _ => None,
    })
}

fn wrong_mac(case: &Case<'_>, added: &Added, value: &Value) -> Result<Option<String>, Stop> {
    let wanted = value.as_str().unwrap_or_default();
    let name = case.interface(&added.attachment);
    let link = added.container()?.link(&name).and_then(|link| link.mac.clone()).unwrap_or_default();
    if !link.eq_ignore_ascii_case(wanted) {
        return Ok(Some(format!("{name} has the address {link}")));
    }
    let listed = added.result.interfaces.iter().find(|interface| {
        interface.name == name && added.place_of(interface) == Some(added.attachment.place())
    });
    let other =
        listed.and_then(|interface| interface.mac.clone()).filter(|mac| !mac.eq_ignore_ascii_case(wanted));
    Ok(other.map(|mac| format!("the result says that {name} has the address {mac}")))
}

fn address_of(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

fn capabilities(case: &Case<'_>) -> Vec<Capability> {
    case.target.map(|target| target.capabilities.clone()).unwrap_or_default()
}

// ---- what comes of it

fn followed(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut tried = false;
    for capability in capabilities(case) {
        // What shows in a file has a check of its own.
        let Some((value, _)) = possible_values(case, &capability)?.filter(|_| capability.name != "aliases")
        else {
            continue;
        };
        for way in &capability.by {
            tried = true;
            let mut attachment = case.attachment()?;
            ask(&mut attachment, &capability, *way, &value);
            let what = format!("{} {value} by {}", capability.name, way.as_str());
            let (before, answer, after) = watched(case, &attachment, &format!("ADD with {what}"))?;
            if !case.expect_success(&answer, "conv.follow-plugin") {
                continue;
            }
            attachment.result = answer.document().cloned();
            let result = kernel::read(case, answer.document())?;
            let added = Added { attachment, before, after, result };
            let wrong = lacking(case, &added, &capability.name, &value)?;
            let expected = format!("the container gets {what}");
            case.expect(wrong.is_none(), "conv.follow-plugin", expected, wrong.unwrap_or_default());
            // So that the same can be asked for again.
            case.operate(Operation::Del, &added.attachment)?;
        }
    }
    match tried {
        true => Ok(()),
        false => Err(Stop::skip("the target names no value that the plugin could be asked for".to_owned())),
    }
}

/// ADD between two looks at the state.
fn watched(
    case: &mut Case<'_>,
    attachment: &Attachment,
    label: &str,
) -> Result<(Arc<Snapshot>, Answer, Arc<Snapshot>), Stop> {
    let before = Arc::new(case.snapshot()?);
    let answer = case.run(case.call(Operation::Add, attachment).label(label))?;
    Ok((before, answer, Arc::new(case.snapshot()?)))
}

fn args_before_cni_args(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut tried = false;
    for capability in capabilities(case) {
        let both = [Way::Args, Way::CniArgs].iter().all(|way| capability.by.contains(way));
        let found = possible_values(case, &capability)?;
        let Some((value, Some(other))) = found.filter(|_| both) else { continue };
        tried = true;
        let mut attachment = case.attachment()?;
        ask(&mut attachment, &capability, Way::Args, &value);
        ask(&mut attachment, &capability, Way::CniArgs, &other);
        let name = &capability.name;
        let expected = format!("the container gets {name} {value} of args, not {other} of CNI_ARGS");
        let requirement = "param.args-superseded-by-args";
        let (before, answer, after) = watched(case, &attachment, "ADD with args and CNI_ARGS")?;
        if !answer.succeeded() {
            // To blame is what came through CNI_ARGS, if args alone are fine.
            let mut alone = case.attachment()?;
            ask(&mut alone, &capability, Way::Args, &value);
            case.add(&mut alone)?;
            let assertion = Assertion::Succeeds(answer.index);
            case.expect_as(false, requirement, expected, answer.summary(), assertion);
            case.operate(Operation::Del, &alone)?;
            continue;
        }
        attachment.result = answer.document().cloned();
        let result = kernel::read(case, answer.document())?;
        let added = Added { attachment, before, after, result };
        let wrong = lacking(case, &added, name, &value)?;
        case.expect(wrong.is_none(), requirement, expected, wrong.unwrap_or_default());
        case.operate(Operation::Del, &added.attachment)?;
    }
    match tried {
        true => Ok(()),
        false => Err(Stop::skip("the plugin takes nothing through both args and CNI_ARGS".to_owned())),
    }
}

/// Values that no plugin can act on.
fn malformed_values(name: &str) -> Vec<Value> {
    match name {
        "mac" => vec![json!("nonsense"), json!("0a:58:0a:01:02"), json!(5)],
        "ips" => vec![json!(["nonsense"]), json!(["10.1.0.300"]), json!(["10.1.0.5/33"]), json!(5)],
        "ipRanges" => {
            vec![
                json!([[{ "subnet": "nonsense" }]]),
                json!([[{ "subnet": "10.1.0.0/33" }]]),
                json!("nonsense"),
            ]
        }
        "portMappings" => {
            let good = json!({ "hostPort": 18080, "containerPort": 8080, "protocol": "tcp" });
            let with = |key: &str, value: Value| {
                let mut mapping = good.clone();
                mapping[key] = value;
                json!([mapping])
            };
            vec![
                with("hostPort", json!(0)),
                with("hostPort", json!(70000)),
                with("containerPort", json!(0)),
                with("containerPort", json!(70000)),
                with("hostPort", json!(-1)),
                with("hostIP", json!("nonsense")),
                json!("nonsense"),
            ]
        }
        "bandwidth" => vec![
            json!({ "ingressRate": -1, "ingressBurst": 800_000 }),
            json!({ "ingressRate": "fast", "ingressBurst": 800_000 }),
        ],
        "dns" => vec![json!({ "servers": 5 }), json!({ "searches": "cnitest.example" }), json!("192.0.2.53")],
        // The last of them are no devices: there is no such address, and no such name of a device.
        "deviceID" => vec![
            json!(5),
            json!(["0000:04:00.5"]),
            json!("nonsense"),
            json!("ffff:ff:1f.7"),
            json!("../../../../etc"),
        ],
        _ => vec![json!(5)],
    }
}

fn malformed(case: &mut Case<'_>) -> Result<(), Stop> {
    let capabilities: Vec<Capability> =
        capabilities(case).into_iter().filter(|one| one.by.contains(&Way::RuntimeConfig)).collect();
    if capabilities.is_empty() {
        return Err(Stop::skip("the plugin takes nothing through runtimeConfig".to_owned()));
    }
    for capability in capabilities {
        // So that what belongs to no attachment, folders and chains, is there already.
        let mut first = case.attachment()?;
        if let Some((value, _)) = possible_values(case, &capability)? {
            ask(&mut first, &capability, Way::RuntimeConfig, &value);
        }
        case.add(&mut first)?;
        for value in malformed_values(&capability.name) {
            let mut attachment = case.attachment()?;
            // What else the configuration asks for stays: a plugin must not fall back on it.
            let kept = Capability { replaces: Vec::new(), ..capability.clone() };
            ask(&mut attachment, &kept, Way::RuntimeConfig, &value);
            let before = case.snapshot()?;
            let name = &capability.name;
            let label = format!("ADD with runtimeConfig.{name} {value}");
            let answer = case.run(case.call(Operation::Add, &attachment).label(label.clone()))?;
            let after = case.snapshot()?;
            let why = format!("nobody can act on {name} {value}");
            let refused = case.expect_refusal(&answer, "conv.error-if-not-actionable", &why);
            if refused {
                let what = format!("{label}, which fails,");
                case.expect_unchanged(
                    &before,
                    &after,
                    "add.failure-rolls-back",
                    &what,
                    changes::is_file_content,
                );
            }
            let mut plain = attachment.clone();
            plain.result = answer.document().filter(|_| answer.succeeded()).cloned();
            let deleted = case.run(case.call(Operation::Del, &plain).label(format!("DEL after {label}")))?;
            // A DEL with the same configuration may well be refused for it.
            if refused && deleted.succeeded() {
                let end = case.snapshot()?;
                let what = format!("{label}, which fails, followed by DEL,");
                case.expect_unchanged(
                    &before,
                    &end,
                    "add.failure-leaves-del-able",
                    &what,
                    changes::is_file_content,
                );
            }
        }
    }
    Ok(())
}

fn unknown_args(case: &mut Case<'_>) -> Result<(), Stop> {
    let attached = cycle::attached(case)?;
    let mut attachment = case.attachment()?;
    let added = match case.variant {
        "labels" => json!({ "labels": [{ "key": "app", "value": "web" }] }),
        _ => json!({ "cnitest": { "list": [1, null, {}] }, "X_Y": true }),
    };
    let args = attachment.plugin.entry("args").or_insert_with(|| json!({}));
    if let Value::Object(args) = args {
        let cni = args.entry("cni").or_insert_with(|| json!({}));
        if let (Value::Object(cni), Value::Object(added)) = (cni, added) {
            cni.extend(added);
        }
    }
    let what = format!("args that nobody has to understand ({})", case.variant);
    let call = case.call(Operation::Add, &attachment).label(format!("ADD with {what}"));
    let answer = case.run(call)?;
    if !case.expect_success(&answer, "conv.args-plugins-ignore") {
        return Ok(());
    }
    attachment.result = answer.document().cloned();
    let count = |document: Option<&Value>| -> Result<(usize, usize), Stop> {
        let result: AddResult = kernel::read(case, document)?;
        Ok((result.interfaces.len(), result.ips.len()))
    };
    let (with, without) = (count(attachment.result.as_ref())?, count(attached.result.as_ref())?);
    let show = |(interfaces, ips): (usize, usize)| format!("{interfaces} interfaces and {ips} addresses");
    let expected = format!("the result lists as much as without {what}: {}", show(without));
    let observed = format!("it lists {}", show(with));
    case.expect(with == without, "conv.args-plugins-ignore", expected, observed);
    let call = case.call(Operation::Del, &attachment).label(format!("DEL with {what}"));
    let deleted = case.run(call)?;
    case.expect_success(&deleted, "conv.args-plugins-ignore");
    Ok(())
}

fn dns(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    let dns = json!({
        "nameservers": ["192.0.2.53", "2001:db8::53"],
        "domain": "cnitest.example",
        "search": ["one.example", "two.example"],
        "options": ["ndots:2"]
    });
    attachment.plugin.insert("dns".to_owned(), dns.clone());
    let added = kernel::add(case, attachment)?;
    let printed = added.attachment.result.as_ref().and_then(|result| result.get("dns")).cloned();
    let printed = printed.unwrap_or(Value::Null);
    let empty = Map::new();
    for (key, value) in dns.as_object().unwrap_or(&empty) {
        let expected = format!("the dns of the result has \"{key}\": {value}, as the configuration");
        let observed = format!("it has {}", printed.get(key).unwrap_or(&Value::Null));
        let has = printed.get(key) == Some(value);
        let text = value.to_string().replace(' ', "");
        let assertion = Assertion::StdoutHas(0, format!("\"{key}\":{text}"));
        case.expect_as(has, "config.wellknown-semantics", expected, observed, assertion);
    }
    Ok(())
}

/// Kinds of links that are no veth devices, in the order in which they are tried.
const KINDS: [&str; 4] = ["dummy", "ifb", "vxlan", "bridge"];

fn other_link_kind(case: &mut Case<'_>) -> Result<(), Stop> {
    if !case.target.is_some_and(|target| target.any_interface) {
        return Err(Stop::skip("the target does not say that any kind of interface will do".to_owned()));
    }
    let mut kind = None;
    for candidate in KINDS {
        if kind.is_none() && case.arena.probe_link_kind(candidate)? {
            kind = Some(candidate);
        }
    }
    let Some(kind) = kind else {
        return Err(Stop::skip(format!("the kernel makes links of none of the kinds {}", KINDS.join(", "))));
    };
    let mut attachment = case.attachment()?;
    let alike = cycle::attached(case)?;
    let (previous, place) = (attachment.previous.clone(), attachment.place());
    let name = attachment.ifname.clone();
    // In the place of the veth device in front, with its addresses.
    case.network(&place, NetOp::DeleteLink { name: name.clone() })?;
    let made = match kind {
        "vxlan" => NetOp::AddVxlan { name: name.clone(), id: 7 },
        kind => NetOp::AddLinkKind { name: name.clone(), kind: kind.to_owned() },
    };
    case.network(&place, made)?;
    attachment.previous = Some(front::dress(case, &attachment, previous)?);
    let call =
        case.call(Operation::Add, &attachment).label(format!("ADD behind an interface of kind {kind}"));
    let answer = case.run(call)?;
    if !case.expect_success(&answer, "conv.chained-agnostic") {
        return Ok(());
    }
    attachment.result = answer.document().cloned();
    let call = case.call(Operation::Check, &attachment);
    let healthy = case.operate(Operation::Check, &alike)?.succeeded();
    if healthy {
        let answer = case.run(call.label(format!("CHECK behind an interface of kind {kind}")))?;
        case.expect_success(&answer, "conv.chained-agnostic");
    }
    let call = case.call(Operation::Del, &attachment);
    let answer = case.run(call.label(format!("DEL behind an interface of kind {kind}")))?;
    case.expect_success(&answer, "conv.chained-agnostic");
    Ok(())
}
