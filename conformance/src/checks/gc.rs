//! GC: what belongs to attachments that are no longer valid goes, everything else stays.

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::case::{Answer, Attachment, Call, Case, Stop};
use super::cycle::{self, Behaviour};
use super::front;
use super::kernel;
use super::{Check, Concerns, Scope, changes};
use crate::arena::snapshot::Snapshot;
use crate::target::Kind;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "gc.keeps-valid",
        title: "GC leaves the attachments that it is told are valid as they are",
        requirements: &["gc.keeps-valid", "gc.no-error-normally"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: keeps_valid,
    },
    Check {
        id: "gc.silent",
        title: "GC prints nothing",
        requirements: &["gc.output-empty"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &[],
        run: silent,
    },
    Check {
        id: "gc.fresh",
        title: "GC succeeds where nothing was ever added, and makes nothing",
        requirements: &["gc.no-error-normally", "gc.empty-list"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: fresh,
    },
    Check {
        id: "gc.idempotent",
        title: "GC with the same list again changes nothing",
        requirements: &["gc.idempotent", "gc.no-error-normally"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: idempotent,
    },
    Check {
        id: "gc.removes-stale",
        title: "GC removes what is left of an attachment that is not listed",
        requirements: &["gc.removes-stale", "gc.keeps-valid", "gc.no-error-normally", "gc.empty-list"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &["one-of-two", "empty-list"],
        run: removes_stale,
    },
    Check {
        id: "gc.missing-list",
        title: "GC without a list of valid attachments removes nothing, or is refused",
        requirements: &["gc.missing-list", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &["absent", "null"],
        run: missing_list,
    },
    Check {
        id: "gc.other-network",
        title: "GC of one network leaves another network's attachments as they are",
        requirements: &["gc.keeps-other-networks"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: other_network,
    },
    Check {
        id: "gc.ifname-significant",
        title: "GC tells the interfaces of one container apart",
        requirements: &["gc.ifname-significant"],
        concerns: Concerns::Kinds(&[Kind::Interface, Kind::Ipam]),
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: ifname_significant,
    },
    Check {
        id: "gc.delegate-called",
        title: "GC executes the delegated plugin",
        requirements: &["gc.forwards-to-delegate", "deleg.gc-forwarded"],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &[],
        run: delegate_called,
    },
    Check {
        id: "gc.delegate-error",
        title: "GC fails when the delegated plugin's GC fails",
        requirements: &["deleg.error-propagates"],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &[],
        run: delegate_error,
    },
    Check {
        id: "gc.continues",
        title: "GC goes on removing what it can when the delegated plugin fails",
        requirements: &["gc.continue-on-error"],
        concerns: Concerns::Addressing,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: continues,
    },
];

fn keeps_valid(case: &mut Case<'_>) -> Result<(), Stop> {
    let attached = [cycle::attached(case)?, cycle::attached(case)?];
    let mut passing = Vec::new();
    for attachment in &attached {
        if case.operate(Operation::Check, attachment)?.succeeded() {
            passing.push(attachment);
        }
    }
    let before = case.snapshot()?;
    let call = listing(case.call(Operation::Gc, &attached[0]), &[&attached[0], &attached[1]]);
    let answer = case.run(call.label("GC that lists both containers"))?;
    let after = case.snapshot()?;
    case.expect_success(&answer, "gc.no-error-normally");
    cycle::expect_no_crash(case, &answer);
    let what = "GC that lists every attachment";
    case.expect_unchanged(&before, &after, "gc.keeps-valid", what, changes::is_file_content);
    for attachment in passing {
        let call = case.call(Operation::Check, attachment).label("CHECK of a listed container after GC");
        let answer = case.run(call)?;
        case.expect_success(&answer, "gc.keeps-valid");
    }
    Ok(())
}

fn silent(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = cycle::attached(case)?;
    let call = listing(case.call(Operation::Gc, &attachment), &[&attachment]);
    let answer = case.run(call)?;
    if !answer.succeeded() {
        return Err(Stop::unmet(answer.summary()));
    }
    cycle::expect_silence(case, &answer, "gc.output-empty");
    Ok(())
}

fn fresh(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let before = case.snapshot()?;
    let call = listing(case.call(Operation::Gc, &attachment), &[]).label("GC where nothing was ever added");
    let answer = case.run(call)?;
    let after = case.snapshot()?;
    case.expect_success(&answer, "gc.no-error-normally");
    cycle::expect_no_crash(case, &answer);
    // A folder or a lock for the plugin's state may be made at any time; network and firewall are not to be touched.
    case.expect_unchanged(&before, &after, "gc.empty-list", "GC where nothing was ever added", |line| {
        changes::subject_of(line) == changes::Subject::File
    });
    Ok(())
}

fn idempotent(case: &mut Case<'_>) -> Result<(), Stop> {
    let valid = cycle::attached(case)?;
    let stale = cycle::attached(case)?;
    cycle::delete_netns(case, &stale)?;
    let call = listing(case.call(Operation::Gc, &valid), &[&valid]);
    let first = case.run(call.clone())?;
    case.expect_success(&first, "gc.no-error-normally");
    let before = case.snapshot()?;
    let second = case.run(call.label("the second GC"))?;
    let after = case.snapshot()?;
    case.expect_success(&second, "gc.idempotent");
    case.expect_unchanged(&before, &after, "gc.idempotent", "the second GC", changes::is_file_content);
    Ok(())
}

fn removes_stale(case: &mut Case<'_>) -> Result<(), Stop> {
    let first = cycle::settle(case)?;
    let valid = match case.variant {
        "one-of-two" => Some(first),
        _ => {
            cycle::detach(case, &first)?;
            None
        }
    };
    let mut stale = case.attachment()?;
    let before = case.snapshot()?;
    case.add(&mut stale)?;
    cycle::delete_netns(case, &stale)?;
    let left = case.snapshot()?;
    let is_stale = |line: &str| {
        line.starts_with("+ ") && !changes::is_in_container(line, &stale) && !changes::is_file_content(line)
    };
    let held = changes::between(case, &before, &left).iter().filter(|line| is_stale(line)).count();
    if held == 0 {
        return Err(Stop::skip("nothing of an attachment outlives its namespace".to_owned()));
    }
    let list: Vec<&Attachment> = valid.iter().collect();
    let call = listing(case.call(Operation::Gc, &stale), &list);
    let answer = case.run(call.label("GC after a container's namespace was deleted"))?;
    let after = case.snapshot()?;
    case.expect_success(&answer, "gc.no-error-normally");
    let what = "a container that came, lost its namespace and was collected by GC";
    case.expect_unchanged(&before, &after, "gc.removes-stale", what, |line| !is_stale(line));
    let gone: Vec<String> = changes::between(case, &before, &after)
        .into_iter()
        .filter(|line| went_with_netns(case, line))
        .collect();
    let own = |line: &str| changes::is_in_container(line, &stale) || gone.iter().any(|known| known == line);
    cycle::expect_kept(case, &before, &after, "gc.keeps-valid", what, own);
    if case.variant == "empty-list" {
        return empty_means_none(case, &stale, &after, is_stale);
    }
    Ok(())
}

/// What GC leaves with an empty list and removes with a list of nothing that exists, it left because it took the empty list
/// for no list.
fn empty_means_none(
    case: &mut Case<'_>,
    stale: &Attachment,
    left: &Snapshot,
    is_stale: impl Fn(&str) -> bool,
) -> Result<(), Stop> {
    let unknown = Attachment { container_id: "cnitest-unknown".to_owned(), ..stale.clone() };
    let call = listing(case.call(Operation::Gc, stale), &[&unknown]);
    case.run(call.label("GC that lists a container which does not exist"))?;
    let after = case.snapshot()?;
    let removed: Vec<String> =
        changes::between(case, &after, left).into_iter().filter(|line| is_stale(line)).collect();
    case.expect(
        removed.is_empty(),
        "gc.empty-list",
        "GC with an empty list removes what belongs to no listed attachment",
        format!("only GC with another list removes: {}", removed.join("; ")),
    );
    Ok(())
}

fn missing_list(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = cycle::attached(case)?;
    let before = case.snapshot()?;
    let null = case.variant == "null";
    let call = case.call(Operation::Gc, &attachment).edit(|request| {
        for key in LIST_KEYS {
            request.remove(key);
            if null {
                request.insert(key.to_owned(), Value::Null);
            }
        }
    });
    let call = call.label(if null { "GC whose list is null" } else { "GC without a list" });
    let what = call.label.clone();
    let answer = case.run(call)?;
    let after = case.snapshot()?;
    cycle::expect_no_crash(case, &answer);
    cycle::expect_kept(case, &before, &after, "gc.missing-list", &what, |_| false);
    case.note(answer.summary());
    Ok(())
}

fn other_network(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = cycle::attached(case)?;
    let before = case.snapshot()?;
    let call = listing(case.call(Operation::Gc, &attachment), &[]).edit(|request| {
        request.insert("name".to_owned(), json!("cnitest-other-net"));
    });
    let answer = case.run(call.label("GC of another network"))?;
    let after = case.snapshot()?;
    cycle::expect_no_crash(case, &answer);
    cycle::expect_kept(case, &before, &after, "gc.keeps-other-networks", "GC of another network", |_| false);
    Ok(())
}

fn ifname_significant(case: &mut Case<'_>) -> Result<(), Stop> {
    if kernel::has_fixed_interface(case) {
        return Err(Stop::skip(
            "the plugin configures the same interface whatever CNI_IFNAME says".to_owned(),
        ));
    }
    let valid = cycle::attached(case)?;
    let before = case.snapshot()?;
    let mut second = valid.clone();
    second.ifname = "eth1".to_owned();
    second.result = None;
    case.add(&mut second)?;
    // What the second ADD itself replaced, such as the default route, is no matter of GC.
    let both = case.snapshot()?;
    let replaced = changes::between(case, &before, &both);
    let call = listing(case.call(Operation::Gc, &valid), &[&valid]);
    let answer = case.run(call.label("GC that lists eth0 of a container that has eth1 too"))?;
    let after = case.snapshot()?;
    cycle::expect_no_crash(case, &answer);
    let what = "GC that lists eth0 of a container that has eth1 too";
    cycle::expect_kept(case, &before, &after, "gc.ifname-significant", what, |line| {
        replaced.iter().any(|known| known == line)
    });
    Ok(())
}

fn delegate_called(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    cycle::record_delegate(case, &mut attachment, Behaviour::Faithful)?;
    cycle::recorded_add(case, &mut attachment)?;
    let call = listing(cycle::recorded_call(case, Operation::Gc, &attachment), &[&attachment]);
    let requirements = ["gc.forwards-to-delegate", "deleg.gc-forwarded"];
    cycle::expect_delegated(case, call, Operation::Gc, &requirements)?;
    Ok(())
}

fn delegate_error(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    cycle::record_delegate(case, &mut attachment, Behaviour::Fails(Operation::Gc))?;
    cycle::recorded_add(case, &mut attachment)?;
    let call = listing(cycle::recorded_call(case, Operation::Gc, &attachment), &[&attachment]);
    let answer = case.run(call.label("GC whose delegated plugin fails"))?;
    if !cycle::take_log(case)?.iter().any(|line| line == "GC") {
        return Err(Stop::unmet("GC did not execute the delegated plugin".to_owned()));
    }
    case.expect_refusal(&answer, "deleg.error-propagates", "the delegated plugin reported an error");
    Ok(())
}

/// What the plugin itself holds is collected although the delegated plugin fails. Whether it is collected at all is
/// decided by gc.removes-stale.
fn continues(case: &mut Case<'_>) -> Result<(), Stop> {
    cycle::settle(case)?;
    let (left, answer) = collect(case, Behaviour::Faithful)?;
    if !answer.succeeded() || !left.is_empty() {
        return Err(Stop::unmet("GC does not remove what a stale attachment left".to_owned()));
    }
    let (left, answer) = collect(case, Behaviour::Fails(Operation::Gc))?;
    let expected =
        "GC removes what the plugin itself holds for a stale attachment, although the delegated plugin fails";
    let observed = format!("{}; still there: {}", answer.summary(), left.join("; "));
    case.evidence(left.clone());
    case.expect(left.is_empty(), "gc.continue-on-error", expected, observed);
    case.expect_refusal(&answer, "gc.continue-on-error", "the delegated plugin reported an error");
    Ok(())
}

/// Attaches a container with a recorder, deletes its namespace and calls GC with nothing valid. Answers what is left of
/// what the plugin itself held.
fn collect(case: &mut Case<'_>, behaviour: Behaviour) -> Result<(Vec<String>, Answer), Stop> {
    let mut stale = case.attachment()?;
    let before = case.snapshot()?;
    cycle::record_delegate(case, &mut stale, behaviour)?;
    cycle::recorded_add(case, &mut stale)?;
    cycle::delete_netns(case, &stale)?;
    let is_own = |line: &str| {
        line.starts_with("+ ")
            && changes::subject_of(line) != changes::Subject::File
            && !changes::is_in_container(line, &stale)
    };
    let without = case.snapshot()?;
    let held = changes::between(case, &before, &without);
    if !held.iter().any(|line| is_own(line)) {
        return Err(Stop::skip("the plugin itself holds nothing that outlives the namespace".to_owned()));
    }
    let call = listing(cycle::recorded_call(case, Operation::Gc, &stale), &[]);
    let answer = case.run(call.label("GC with nothing valid"))?;
    cycle::take_log(case)?;
    let after = case.snapshot()?;
    let left = changes::between(case, &before, &after).into_iter().filter(|line| is_own(line)).collect();
    Ok((left, answer))
}

// ---- shared

/// The key of the valid attachments, and the name that it had in the text tagged 1.1.0.
const LIST_KEYS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// The request with these attachments as the valid ones, under both names of the key.
pub(crate) fn listing(call: Call, valid: &[&Attachment]) -> Call {
    let entry = |one: &&Attachment| json!({ "containerID": one.container_id, "ifname": one.ifname });
    let entries: Vec<Value> = valid.iter().map(entry).collect();
    call.edit(|request| {
        for key in LIST_KEYS {
            request.insert(key.to_owned(), Value::Array(entries.clone()));
        }
    })
}

/// Whether a line tells that the host's end of a link that cnitest made went with the namespace of its peer.
fn went_with_netns(case: &Case<'_>, line: &str) -> bool {
    let ours = |word: &str| front::is_of_front(word) || changes::is_device(case, word);
    line.starts_with("- host ") && line.split_whitespace().any(ours)
}
