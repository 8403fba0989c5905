//! What goes wrong around a plugin, and values that it cannot use: a full disk, numbers out of range, a key that is there
//! twice, an address that somebody else has, a link that is down.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cni_spec::{Operation, Version};
use serde_json::{Map, Value, json};

use super::case::{Answer, Attachment, Call, Case, Stop, pretty};
use super::changes::{self, Subject, subject_of};
use super::delegation::{FOLDER, SCRIPT, delegating, install_answer};
use super::protocol::expect_lives;
use super::reproducer::Assertion;
use super::{Check, Concerns, Scope, cycle, kernel};
use crate::arena::snapshot::{Scope as SnapshotScope, Snapshot};
use crate::arena::{NetOp, Place};
use crate::invoke::{Outcome, Stdin};
use crate::target::Kind;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "add.disk-full",
        title: "An ADD for which the disk has no room fails, and nothing is reserved for ever",
        requirements: &[
            "add.failure-leaves-del-able",
            "practice.full-disk",
            "add.failure-rolls-back",
            "add.host-state-restored-after-cycle",
            "del.removes-interface",
            "del.undoes-modifications",
            "error.json-on-stdout-nonzero-exit",
            "exec.exit-nonzero-on-failure",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &[],
        run: disk_full,
    },
    Check {
        id: "add.out-of-range",
        title: "ADD with a number out of range is refused before anything is changed, or works",
        requirements: &[
            "practice.out-of-range",
            "add.failure-leaves-del-able",
            "add.host-state-restored-after-cycle",
            "del.removes-interface",
            "del.undoes-modifications",
            "error.json-on-stdout-nonzero-exit",
            "exec.exit-nonzero-on-failure",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &["-1", "4095", "65536", "2147483648"],
        run: out_of_range,
    },
    Check {
        id: "add.address-conflict",
        title: "ADD does not promise an IPv6 address that another container on the link has",
        requirements: &[
            "practice.address-conflict",
            "error.json-on-stdout-nonzero-exit",
            "exec.exit-nonzero-on-failure",
        ],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &[],
        run: address_conflict,
    },
    Check {
        id: "add.link-down",
        title: "ADD does not wait for an IPv6 address to settle on a link that is down",
        requirements: &[
            "practice.link-down-no-wait",
            "error.json-on-stdout-nonzero-exit",
            "exec.exit-nonzero-on-failure",
        ],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &[],
        run: link_down,
    },
    Check {
        id: "input.nested-key-twice",
        title: "A key that is twice in an object of the plugin's own, with two values, is not taken without a word",
        requirements: &["practice.keys-contradict"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &[],
        run: nested_key_twice,
    },
];

// ---- a full disk

/// How many blocks there is room for at most: ADD of a plugin that writes more is not tried at each of its writes.
const MOST_BLOCKS: u64 = 6;
/// Larger pools are not counted.
const MOST_ADDRESSES: usize = 24;

fn disk_full(case: &mut Case<'_>) -> Result<(), Stop> {
    let settled = cycle::settle(case)?;
    let mut usual = case.attachment()?;
    let before = case.snapshot()?;
    case.add(&mut usual)?;
    let after = case.snapshot()?;
    cycle::detach(case, &usual)?;
    let is_file = |line: &String| subject_of(line) == Subject::File && !changes::is_folder(line);
    if !changes::judged(case, &before, &after).iter().any(is_file) {
        return Err(Stop::skip("ADD writes no file"));
    }
    let is_ipam = case.kind() == Kind::Ipam;
    let pool = is_ipam.then(|| count_free(case, &settled)).transpose()?;

    for blocks in 0..=MOST_BLOCKS {
        let mut attachment = case.attachment()?;
        let before = case.snapshot()?;
        let label = match blocks {
            0 => "ADD on a full disk".to_owned(),
            1 => "ADD on a disk with room for 1 small file".to_owned(),
            _ => format!("ADD on a disk with room for {blocks} small files"),
        };
        case.leave_room(Some(blocks))?;
        let call = case.call(Operation::Add, &attachment).label(&label);
        let answer = case.run(call)?;
        case.leave_room(None)?;
        let after = case.snapshot()?;
        if !expect_lives(case, &answer) {
            break;
        }
        if answer.succeeded() {
            attachment.result = answer.document().cloned();
            expect_cycle_clean(case, &attachment, &before, &label, |_| false)?;
            break;
        }
        let ignored = |line: &str| changes::is_file_content(line) || changes::is_of_front(line);
        case.expect_unchanged(
            &before,
            &after,
            "add.failure-rolls-back",
            &format!("{label}, which fails,"),
            |line| subject_of(line) != Subject::File || changes::is_folder(line) || ignored(line),
        );
        let call = case.call(Operation::Del, &attachment).label("DEL when there is room again");
        let deleted = case.run(call)?;
        if case.expect_success(&deleted, "add.failure-leaves-del-able") {
            let end = case.snapshot()?;
            let what = format!("{label}, which fails, followed by DEL,");
            case.expect_unchanged(&before, &end, "add.failure-leaves-del-able", &what, ignored);
        }
    }

    let next = case.attachment()?;
    let call = case.call(Operation::Add, &next).label("ADD when there is room again");
    let answer = case.run(call)?;
    if case.expect_success(&answer, "practice.full-disk")
        && let Some(pool) = pool
    {
        let after = Attachment { result: answer.document().cloned(), ..next };
        cycle::detach(case, &after)?;
        let left = count_free(case, &settled)?;
        let expected = format!("{pool} addresses can be given when there is room again, as many as before");
        case.expect(left >= pool, "practice.full-disk", expected, format!("{left} can"));
    }
    Ok(())
}

/// How many more containers an IPAM plugin gives addresses to, before it refuses one. They are given back.
fn count_free(case: &mut Case<'_>, like: &Attachment) -> Result<usize, Stop> {
    let mut given = Vec::new();
    while given.len() < MOST_ADDRESSES {
        let container_id = format!("{}-{}", like.container_id, given.len());
        let mut one = Attachment { container_id, result: None, ..like.clone() };
        let call = case.call(Operation::Add, &one).label(format!("ADD of one more, after {}", given.len()));
        let answer = case.run(call)?;
        if !answer.succeeded() {
            break;
        }
        one.result = answer.document().cloned();
        given.push(one);
    }
    for one in &given {
        cycle::detach(case, one)?;
    }
    Ok(given.len())
}

/// Deletes what an odd ADD has attached, and expects nothing to be left.
fn expect_cycle_clean(
    case: &mut Case<'_>,
    attachment: &Attachment,
    before: &Snapshot,
    label: &str,
    ignore: impl Fn(&str) -> bool,
) -> Result<(), Stop> {
    let deleted = case.operate(Operation::Del, attachment)?;
    if !deleted.succeeded() {
        return Err(Stop::unmet(deleted.summary()));
    }
    let end = case.snapshot()?;
    let what = format!("{label}, which succeeds, followed by DEL,");
    cycle::expect_nothing_left(case, before, &end, &what, ignore);
    Ok(())
}

// ---- numbers

fn out_of_range(case: &mut Case<'_>) -> Result<(), Stop> {
    let own = case.configuration.plugin.iter().filter(|(_, value)| value.is_number());
    let mut keys: BTreeSet<String> = own.map(|(key, _)| key.clone()).collect();
    keys.extend(case.target.map(|target| target.numbers.clone()).unwrap_or_default());
    if keys.is_empty() {
        return Err(Stop::skip("the target names no number that the plugin reads"));
    }
    let number: i64 =
        case.variant.parse().map_err(|_| Stop::Undecided(format!("{} is no number", case.variant)))?;
    cycle::settle(case)?;
    let usual = cycle::attached(case)?;
    cycle::detach(case, &usual)?;
    for key in keys {
        let mut attachment = case.attachment()?;
        attachment.plugin.insert(key.clone(), json!(number));
        let before = case.snapshot()?;
        let label = format!("ADD with {key} {number}");
        let call = case.call(Operation::Add, &attachment).label(&label);
        let answer = case.run(call)?;
        if !expect_lives(case, &answer) {
            continue;
        }
        if answer.succeeded() {
            attachment.result = answer.document().cloned();
            expect_cycle_clean(case, &attachment, &before, &label, changes::is_folder)?;
            continue;
        }
        let after = case.snapshot()?;
        let ignored = |line: &str| {
            // Folders are the network's: there was no such configuration before.
            changes::is_file_content(line) || changes::is_folder(line) || changes::is_of_front(line)
        };
        let what = format!("{label}, which is refused,");
        case.expect_unchanged(&before, &after, "practice.out-of-range", &what, ignored);
        let call = case.call(Operation::Del, &attachment).label(format!("DEL after {label}"));
        let deleted = case.run(call)?;
        // A configuration that is refused may be refused by DEL too, as long as there is nothing to delete.
        if deleted.succeeded() {
            let end = case.snapshot()?;
            let what = format!("{label}, which is refused, followed by DEL,");
            case.expect_unchanged(&before, &end, "add.failure-leaves-del-able", &what, ignored);
        }
    }
    Ok(())
}

// ---- IPv6 addresses

/// The IPv6 address that two containers are given.
const SHARED: &str = "fd00:98::5";
/// How long the kernel may take to look for duplicates of an address.
const SEARCH: Duration = Duration::from_secs(5);
/// How long ADD may take on a link that is down. A search for duplicates takes 2 s at most where there is a link.
const WAIT: Duration = Duration::from_secs(6);

/// Has the IPAM plugin give everybody the same IPv6 address.
fn share_address(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = json!({
        "cniVersion": case.version.as_str(),
        "ips": [{ "version": "6", "address": format!("{SHARED}/64"), "gateway": "fd00:98::1" }]
    });
    install_answer(case, FOLDER, &pretty(&answer), 0)
}

/// What the kernel has found out about the shared address of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// The address is not there.
    Absent,
    /// It has not ended.
    Open,
    /// Nobody else has it.
    Alone,
    /// Somebody else has it.
    Taken,
}

fn search(case: &mut Case<'_>, attachment: &Attachment) -> Result<Search, Stop> {
    let scope = SnapshotScope::network().only(attachment.place());
    let snapshot = case.arena.snapshot(scope)?;
    let state = kernel::state(&snapshot, attachment)?;
    let interface = case.interface(attachment);
    let mut addresses = state.addresses_of(&interface);
    Ok(match addresses.find(|one| one.address.to_string() == SHARED) {
        None => Search::Absent,
        Some(found) if found.dad_failed => Search::Taken,
        Some(found) if found.tentative => Search::Open,
        Some(_) => Search::Alone,
    })
}

/// Waits until the kernel has searched.
fn searched(case: &mut Case<'_>, attachment: &Attachment) -> Result<Search, Stop> {
    let clock = Instant::now();
    loop {
        let found = search(case, attachment)?;
        if found != Search::Open || clock.elapsed() > SEARCH {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn address_conflict(case: &mut Case<'_>) -> Result<(), Stop> {
    if case.target.is_none_or(|target| !target.connects_containers) {
        return Err(Stop::skip("the target does not say that containers reach each other"));
    }
    share_address(case)?;
    let add = |case: &mut Case<'_>, keys: &Map<String, Value>, label: String| {
        let mut attachment = case.attachment()?;
        attachment.plugin.extend(keys.clone());
        let call = delegating(case, Operation::Add, &attachment, SCRIPT).label(label);
        Ok::<_, Stop>((case.run(call)?, attachment))
    };
    let mut keys = case.target.map(|target| target.duplicate_search.clone()).unwrap_or_default();
    let (mut answer, mut first) = add(case, &keys, format!("ADD with {SHARED}"))?;
    if answer.refused() && !keys.is_empty() {
        // Not every plugin of this type knows them.
        keys.clear();
        (answer, first) = add(case, &keys, format!("ADD with {SHARED}, unasked for a search"))?;
    }
    case.require_result(&answer)?;
    if searched(case, &first)? != Search::Alone {
        return Err(Stop::unmet(format!("{SHARED} is not usable in the first container")));
    }
    let label = format!("ADD with {SHARED}, which another container has,");
    let (answer, second) = add(case, &keys, label)?;
    let waits = matches!(answer.execution.outcome, Outcome::TimedOut { .. });
    if !waits && (!expect_lives(case, &answer) || !answer.succeeded()) {
        return Ok(());
    }
    let found = searched(case, &second)?;
    if waits && found != Search::Taken {
        expect_lives(case, &answer);
        return Ok(());
    }
    if found == Search::Alone {
        return Err(Stop::skip(
            "the plugin has the kernel search for no duplicates (IFA_F_NODAD), or the containers share no link",
        ));
    }
    let container = &second.container;
    let expected = format!("{} fails, or the kernel lets the container have {SHARED}", answer.label);
    let observed = match found {
        Search::Taken if waits => {
            format!("it waits on although the kernel flags {SHARED} dadfailed: {}", answer.summary())
        }
        Search::Taken => format!("it succeeds, and the kernel flags {SHARED} dadfailed"),
        Search::Absent => format!("it succeeds, and {container} does not have {SHARED}"),
        _ => format!("it succeeds, and {SHARED} is tentative still after {} s", SEARCH.as_secs()),
    };
    let assertion = Assertion::Shell(format!(
        "sleep 3; ! ip -n {container} -6 addr show | grep -F {SHARED} | grep -qE 'dadfailed|tentative'"
    ));
    case.expect_as(false, "practice.address-conflict", expected, observed, assertion);
    Ok(())
}

fn link_down(case: &mut Case<'_>) -> Result<(), Stop> {
    let shared: Vec<String> = case
        .target
        .iter()
        .flat_map(|target| &target.links)
        .filter(|link| !link.per_container)
        .map(|link| link.name.clone())
        .collect();
    if shared.is_empty() {
        return Err(Stop::skip("the containers' interfaces are on no link of the host that could be down"));
    }
    let usual = case.attachment()?;
    share_address(case)?;
    let call = delegating(case, Operation::Add, &usual, SCRIPT).label("ADD with the link up");
    let answer = case.run(call)?;
    case.require_result(&answer)?;
    let call = delegating(case, Operation::Del, &usual, SCRIPT);
    let deleted = case.run(call)?;
    if !deleted.succeeded() {
        return Err(Stop::unmet(deleted.summary()));
    }
    for link in &shared {
        case.network(&Place::Host, NetOp::SetDown { link: link.clone() })?;
    }
    let attachment = case.attachment()?;
    let label = format!("ADD with {} down", kernel::list(&shared));
    let call = delegating(case, Operation::Add, &attachment, SCRIPT).label(label);
    let answer = case.run(call)?;
    let took = answer.execution.wall;
    let expected = format!("{} ends within {} s, however it ends", answer.label, WAIT.as_secs());
    let observed = format!("it took {:.1} s: {}", took.as_secs_f64(), answer.summary());
    case.expect(took < WAIT, "practice.link-down-no-wait", expected, observed);
    if took < WAIT {
        expect_lives(case, &answer);
    }
    Ok(())
}

// ---- keys

/// How many keys are tried at most.
const MOST_KEYS: usize = 6;

/// What is not the plugin's own in its configuration; IPAM plugins own the section `ipam`.
const FOREIGN: [&str; 5] = ["ipam", "runtimeConfig", "args", "dns", "capabilities"];

fn nested_key_twice(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut places = Vec::new();
    for (key, value) in &case.configuration.plugin {
        let owned = !FOREIGN.contains(&key.as_str()) || case.kind() == Kind::Ipam && key == "ipam";
        if let (true, Value::Object(map)) = (owned, value) {
            let fields = map.iter().filter_map(|(field, value)| Some((field, value, another(field, value)?)));
            places.extend(
                fields.map(|(field, value, other)| (key.clone(), field.clone(), value.clone(), other)),
            );
        }
    }
    if places.is_empty() {
        return Err(Stop::skip("the configuration has no object of the plugin's own"));
    }
    cycle::settle(case)?;
    for (section, field, value, other) in places.into_iter().take(MOST_KEYS) {
        let shown = format!("{section}.{field} {value}");
        let (one, _) = changed(case, &section, &field, &[&value], &format!("ADD with {shown}"))?;
        if !one.succeeded() {
            return Err(Stop::unmet(one.summary()));
        }
        let label = format!("ADD with {shown} and {other}");
        let (twice, made) = changed(case, &section, &field, &[&value, &other], &label)?;
        if !expect_lives(case, &twice) || !twice.succeeded() {
            continue;
        }
        // Which of them counted is told by what the other one makes, alone.
        let label = format!("ADD with {section}.{field} {other}");
        let (last, with_other) = changed(case, &section, &field, &[&other], &label)?;
        let (_, with_value) =
            changed(case, &section, &field, &[&value], &format!("ADD with {shown}, again"))?;
        let won = match (last.succeeded(), made == with_other, made == with_value) {
            (true, true, false) => format!("; the last one, {other}, counted"),
            (true, false, true) => format!("; the first one, {value}, counted"),
            _ => String::new(),
        };
        let expected = format!("{} is refused: the values contradict each other", twice.label);
        let observed = format!("{}{won}", twice.summary());
        let assertion = Assertion::Fails(twice.index);
        case.expect_as(false, "practice.keys-contradict", expected, observed, assertion);
    }
    Ok(())
}

/// A value of the same type that contradicts this one, where one is plain: no address is made up.
fn another(field: &str, value: &Value) -> Option<Value> {
    Some(match value {
        _ if field == "type" => return None,
        Value::Bool(on) => json!(!on),
        Value::Number(number) => json!(number.as_u64()?.checked_add(1)?),
        Value::String(text) => match text.as_str() {
            "0" => json!("1"),
            "1" => json!("0"),
            text => json!((text.parse::<u32>().ok()?.checked_add(1)?).to_string()),
        },
        _ => return None,
    })
}

/// ADD and DEL of a fresh container with these values of a field, all of them; and what ADD changed.
fn changed(
    case: &mut Case<'_>,
    section: &str,
    field: &str,
    values: &[&Value],
    label: &str,
) -> Result<(Answer, BTreeSet<String>), Stop> {
    let attachment = case.attachment()?;
    let before = case.snapshot_with_sysctls()?;
    let given = |call: Call| repeated(call, section, field, values);
    let call = given(case.call(Operation::Add, &attachment)).label(label);
    let answer = case.run(call)?;
    let after = case.snapshot_with_sysctls()?;
    let own = format!("container {}", attachment.container);
    let lines = changes::judged(case, &before, &after).into_iter();
    let made = lines.filter(|line| line.contains(&own)).map(|line| line.replace(&own, "container")).collect();
    let call = given(case.call(Operation::Del, &attachment)).label("DEL");
    case.run(call)?;
    Ok((answer, made))
}

/// Puts these values of a field into a section of the request, each with the field's key.
fn repeated(call: Call, section: &str, field: &str, values: &[&Value]) -> Call {
    const MARK: &str = "cnitest-repeated";
    let marked = call.edit(|request| {
        if let Some(section) = request.get_mut(section).and_then(Value::as_object_mut) {
            let rest: Map<String, Value> = std::mem::take(section);
            section.extend(rest.into_iter().map(|(key, value)| match key == field {
                true => (key, json!(MARK)),
                false => (key, value),
            }));
        }
    });
    let Stdin::Bytes(bytes) = &marked.stdin else { return marked };
    let key = Value::from(field).to_string();
    let all: Vec<String> = values.iter().map(|value| value.to_string()).collect();
    let text =
        String::from_utf8_lossy(bytes).replace(&format!("\"{MARK}\""), &all.join(&format!(", {key}: ")));
    marked.text(text)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_key_is_there_as_often_as_it_has_values() {
        let call = Call {
            label: String::new(),
            environment: Default::default(),
            stdin: Stdin::Bytes(b"{\"sysctl\":{\"a.b\":\"1\",\"c\":\"2\"}}".to_vec()),
            arguments: Vec::new(),
            directory: PathBuf::from("/"),
            program: None,
            shell: None,
            killed_after: None,
        };
        let call = repeated(call, "sysctl", "a.b", &[&json!("1"), &json!("0")]);
        let Stdin::Bytes(bytes) = call.stdin else { panic!("stdin holds bytes") };
        let text: String = String::from_utf8_lossy(&bytes).split_whitespace().collect();
        assert_eq!(text, r#"{"sysctl":{"a.b":"1","a.b":"0","c":"2"}}"#);
    }

    #[test]
    fn contradictions_have_the_type_of_what_they_contradict() {
        assert_eq!(another("x", &json!(true)), Some(json!(false)));
        assert_eq!(another("x", &json!(7)), Some(json!(8)));
        assert_eq!(another("x", &json!("1")), Some(json!("0")));
        assert_eq!(another("x", &json!("10.1.0.0/16")), None);
        assert_eq!(another("type", &json!("1")), None);
    }
}
