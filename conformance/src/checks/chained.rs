//! ADD of chained plugins: the interface in front stays, and its result is passed on.

use cni_spec::result::AddResult;
use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::case::{Attachment, Case, Stop};
use super::{Check, Concerns, Scope, carried, cycle, front, kernel};
use crate::arena::snapshot::NamespaceState;
use crate::target::Kind;

const CHAINED: Concerns = Concerns::Kinds(&[Kind::Chained]);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "chained.interface-kept",
        title: "ADD of a chained plugin keeps the interface that it is given",
        requirements: &["add.adjusts-interface"],
        concerns: CHAINED,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: interface_kept,
    },
    Check {
        id: "chained.prevresult-passed",
        title: "The result carries on what prevResult lists",
        requirements: &["add.prevresult-echoed", "add.prevresult-handled", "add.prevresult-indexes-kept"],
        concerns: CHAINED,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &["one-interface", "two-interfaces"],
        run: prevresult_passed,
    },
    Check {
        id: "chained.prevresult-equivalent",
        title: "A plugin that changes nothing that a result shows prints a result equivalent to prevResult",
        requirements: &["add.prevresult-unchanged-equivalent", "add.prevresult-handled"],
        concerns: CHAINED,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &["one-interface", "two-interfaces"],
        run: prevresult_equivalent,
    },
    Check {
        id: "chained.prevresult-unknown-keys",
        title: "Keys of prevResult that the specification does not define",
        requirements: &["add.prevresult-unknown-keys", "error.json-on-stdout-nonzero-exit"],
        concerns: CHAINED,
        scope: Scope::Versions,
        since: Version::V0_3_0,
        variants: &["top-level", "interface", "address"],
        run: unknown_keys,
    },
    Check {
        id: "chained.prevresult-missing",
        title: "ADD without prevResult is refused cleanly, or served",
        requirements: &["add.prevresult-missing-chained", "error.json-on-stdout-nonzero-exit"],
        concerns: CHAINED,
        scope: Scope::Versions,
        since: Version::V0_3_0,
        variants: &[],
        run: prevresult_missing,
    },
    Check {
        id: "chained.prevresult-version",
        title: "prevResult without cniVersion is taken to be in the configuration's version",
        requirements: &["add.prevresult-version-match", "error.json-on-stdout-nonzero-exit"],
        concerns: CHAINED,
        scope: Scope::Versions,
        since: Version::V0_3_0,
        variants: &["no-label", "other-label"],
        run: prevresult_version,
    },
];

fn interface_kept(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::observed(case)?;
    let name = &added.attachment.ifname;
    let expected = format!("the container's {name} is the same interface as before ADD");
    let old = added.container_before()?.link(name).map(|link| (link.index, link.kind.clone()));
    let observed = match added.container()?.link(name) {
        None => Some(format!(
            "{name} is gone; interfaces besides lo: {}",
            kernel::list(kernel::links(added.container()?))
        )),
        Some(link) if old != Some((link.index, link.kind.clone())) => {
            Some(format!("{name} is another interface now"))
        }
        Some(link) if !link.up => Some(format!("{name} is down")),
        Some(_) => None,
    };
    case.expect(observed.is_none(), "add.adjusts-interface", expected, observed.unwrap_or_default());
    Ok(())
}

fn prevresult_passed(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = attachment_for_variant(case)?;
    let previous = kernel::read(case, attachment.previous.as_ref())?;
    let added = kernel::add(case, attachment)?;
    expect_handled(case, &added.result);
    carried::expect_carried(case, &previous, &added);
    Ok(())
}

fn prevresult_equivalent(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = attachment_for_variant(case)?;
    let previous = kernel::read(case, attachment.previous.as_ref())?;
    let added = kernel::add(case, attachment)?;
    let same_host = visible(&added.before.host) == visible(&added.after.host);
    let same_container = visible(added.container_before()?) == visible(added.container()?);
    if !(same_host && same_container) {
        return Err(Stop::skip(
            "the plugin changes interfaces, addresses or routes, which a result shows".to_owned(),
        ));
    }
    let (mut given, mut printed) = (carried::canonical(&previous), carried::canonical(&added.result));
    // The name servers that a plugin sets up for the names that it is given show in a result.
    if case
        .target
        .is_some_and(|target| ["aliases", "dns"].iter().any(|name| target.capability(name).is_some()))
    {
        (given["dns"], printed["dns"]) = (Value::Null, Value::Null);
    }
    let observed = first_difference(&given, &printed, "");
    let expected = "the result says what prevResult says, for the plugin changed nothing that a result shows";
    case.expect(
        observed.is_none(),
        "add.prevresult-unchanged-equivalent",
        expected,
        observed.unwrap_or_default(),
    );
    Ok(())
}

fn unknown_keys(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    let pointer = match case.variant {
        "interface" => "/interfaces/1",
        "address" => "/ips/0",
        _ => "",
    };
    let own = attachment.previous.as_mut().and_then(|previous| previous.pointer_mut(pointer));
    if let Some(object) = own.and_then(Value::as_object_mut) {
        object.insert("example.com/extra".to_owned(), json!("kept"));
    }
    let answer = case.operate(Operation::Add, &attachment)?;
    cycle::expect_no_crash(case, &answer);
    if !answer.succeeded() {
        let expected = "ADD succeeds; keys that the specification does not define are no error";
        case.expect(false, "add.prevresult-unknown-keys", expected, answer.summary());
        return Ok(());
    }
    let kept = answer.execution.stdout_text().contains("example.com/extra");
    let expected = "the result still has the key \"example.com/extra\" of prevResult";
    case.expect(kept, "add.prevresult-unknown-keys", expected, "the key is dropped");
    Ok(())
}

fn prevresult_missing(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    attachment.previous = None;
    let before = case.snapshot()?;
    let answer = case.operate(Operation::Add, &attachment)?;
    if answer.succeeded() {
        case.note("ADD without prevResult succeeds");
        return Ok(());
    }
    if case.expect_refusal(&answer, "add.prevresult-missing-chained", "it has no prevResult") {
        let after = case.snapshot()?;
        let what = "an ADD that is refused";
        case.expect_unchanged(&before, &after, "add.prevresult-missing-chained", what, |_| false);
    }
    Ok(())
}

fn prevresult_version(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    let own = case.version;
    let other = Version::ALL.into_iter().rev().find(|one| *one >= Version::V0_3_0 && *one != own);
    let mut expected = "ADD with a prevResult that has no cniVersion succeeds".to_owned();
    if let Some(object) = attachment.previous.as_mut().and_then(Value::as_object_mut) {
        object.remove("cniVersion");
    }
    if let ("other-label", Some(other)) = (case.variant, other) {
        let previous = kernel::read(case, attachment.previous.as_ref())?;
        attachment.previous = Some(previous.to_version(other).0);
        expected = format!(
            "ADD in version {own} accepts a prevResult of version {other}, or fails with an error object"
        );
    }
    let answer = case.operate(Operation::Add, &attachment)?;
    cycle::expect_no_crash(case, &answer);
    let holds = answer.succeeded() || (case.variant == "other-label" && answer.error().is_some());
    case.expect(holds, "add.prevresult-version-match", expected, answer.summary());
    Ok(())
}

/// A container with one interface in front, or two, and DNS settings in prevResult.
fn attachment_for_variant(case: &mut Case<'_>) -> Result<Attachment, Stop> {
    let mut attachment = case.attachment()?;
    let Some(Value::Object(previous)) = &mut attachment.previous else { return Ok(attachment) };
    previous.insert("dns".to_owned(), json!({ "nameservers": ["10.90.0.53"], "search": ["example.net"] }));
    if case.variant == "two-interfaces" {
        let first = kernel::read(case, attachment.previous.as_ref())?;
        let second = front::beside(case, &attachment, "net1", 200)?;
        let second = kernel::read(case, Some(&second))?;
        attachment.previous = Some(joined(first, second).to_version(case.version).0);
    }
    Ok(attachment)
}

/// One result that lists what two list.
fn joined(mut first: AddResult, second: AddResult) -> AddResult {
    let offset = i64::try_from(first.interfaces.len()).unwrap_or_default();
    first.interfaces.extend(second.interfaces);
    for mut ip in second.ips {
        ip.interface = ip.interface.map(|index| index + offset);
        first.ips.push(ip);
    }
    first.routes.extend(second.routes);
    first
}

/// A plugin that is not aware of prevResult prints a result that has nothing of it.
fn expect_handled(case: &mut Case<'_>, result: &AddResult) {
    let empty = result.interfaces.is_empty() && result.ips.is_empty();
    let expected = "the result is made from prevResult, which lists interfaces and addresses";
    case.expect(!empty, "add.prevresult-handled", expected, "the result lists no interface and no address");
}

/// What a result can show of a namespace.
fn visible(state: &NamespaceState) -> Vec<String> {
    let links = state.links.iter().map(|link| format!("link {} {:?} {}", link.name, link.mac, link.mtu));
    let addresses = state
        .addresses
        .iter()
        .filter(|address| !address.made_by_kernel)
        .map(|address| format!("address {} {}/{}", address.link, address.address, address.prefix));
    let routes = state.routes.iter().filter(|route| route.protocol != "kernel").map(|route| {
        format!(
            "route {} {}/{} {:?} {:?}",
            route.table, route.destination, route.prefix, route.gateway, route.device
        )
    });
    let mut all: Vec<String> = links.chain(addresses).chain(routes).collect();
    all.sort();
    all
}

/// Where two documents first differ, in words.
fn first_difference(given: &Value, printed: &Value, pointer: &str) -> Option<String> {
    if given == printed {
        return None;
    }
    match (given, printed) {
        (Value::Object(one), Value::Object(other)) => {
            let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(key.as_str())));
            keys.into_iter().find_map(|key| match (one.get(key), other.get(key)) {
                (Some(given), Some(printed)) => first_difference(given, printed, &format!("{pointer}/{key}")),
                (Some(given), None) => Some(format!("{pointer}/{key} is missing; it was {given}")),
                (None, printed) => {
                    Some(format!("{pointer}/{key} is new: {}", printed.unwrap_or(&Value::Null)))
                }
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).enumerate().find_map(|(index, (given, printed))| {
                first_difference(given, printed, &format!("{pointer}/{index}"))
            })
        }
        _ => Some(format!("{pointer} is {printed}; it was {given}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let given = json!({"ips": [{"address": "a"}], "dns": {"x": 1}});
        assert_eq!(first_difference(&given, &given, ""), None);
        let say = |printed: Value| first_difference(&given, &printed, "").expect("they differ");
        assert_eq!(
            say(json!({"ips": [{"address": "b"}], "dns": {"x": 1}})),
            "/ips/0/address is \"b\"; it was \"a\""
        );
        assert_eq!(say(json!({"ips": [{"address": "a"}]})), "/dns is missing; it was {\"x\":1}");
        assert_eq!(say(json!({"ips": [{"address": "a"}], "dns": {"x": 1}, "y": 2})), "/y is new: 2");
    }

    #[test]
    fn joined_results_keep_their_indexes() {
        let read = |value| AddResult::parse(&value, Version::V1_1_0).expect("a result");
        let one = read(
            json!({"interfaces": [{"name": "a"}, {"name": "b"}], "ips": [{"address": "10.0.0.1/8", "interface": 1}]}),
        );
        let two =
            read(json!({"interfaces": [{"name": "c"}], "ips": [{"address": "10.0.0.2/8", "interface": 0}]}));
        let both = joined(one, two);
        let names: Vec<_> =
            both.ips.iter().filter_map(|ip| both.interface_of(ip)).map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
    }
}
