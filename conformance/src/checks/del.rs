//! DEL: it succeeds whatever is missing, leaves nothing of the attachment, and touches nothing else.

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::case::{Answer, Attachment, Call, Case, Stop};
use super::changes::Subject;
use super::cycle::{self, Behaviour};
use super::front;
use super::kernel;
use super::observation::{self, Deprived};
use super::reproducer::Assertion;
use super::{Check, Concerns, Scope, changes};
use crate::arena::NetOp;
use crate::arena::snapshot::Snapshot;
use crate::target::{Kind, Target};

const INTERFACE: Concerns = Concerns::Kinds(&[Kind::Interface]);
const WITH_INTERFACE: Concerns = Concerns::Kinds(&[Kind::Interface, Kind::Chained]);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "del.succeeds",
        title: "The first DEL after ADD succeeds",
        requirements: &["del.best-effort", "exec.exit-zero-on-success"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: succeeds,
    },
    Check {
        id: "del.silent",
        title: "DEL prints nothing",
        requirements: &["del.result-empty"],
        concerns: Concerns::Attaching,
        scope: Scope::Versions,
        since: Version::V0_1_0,
        variants: &[],
        run: silent,
    },
    Check {
        id: "del.removes-interface",
        title: "DEL removes the interface from the container, and what belongs to it from the host",
        requirements: &["del.removes-interface"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: removes_interface,
    },
    Check {
        id: "del.nothing-left",
        title: "ADD followed by DEL leaves network, firewall, settings and files as they were",
        requirements: &[
            "add.host-state-restored-after-cycle",
            "del.removes-interface",
            "del.undoes-modifications",
            "del.releases-resources",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: nothing_left,
    },
    Check {
        id: "del.repeated",
        title: "Further DELs of the same attachment succeed",
        requirements: &["del.idempotent"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_1_0,
        variants: &[],
        run: repeated,
    },
    Check {
        id: "del.without-prevresult",
        title: "DEL without prevResult succeeds",
        requirements: &["del.missing-prevresult-succeeds"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: without_prevresult,
    },
    Check {
        id: "del.prevresult-odd",
        title: "DEL survives a prevResult that is no result",
        requirements: &["del.prevresult-invalid", "error.json-on-stdout-nonzero-exit"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &["null", "empty", "string", "ips-string", "ips-null-entry", "unknown-version"],
        run: prevresult_odd,
    },
    Check {
        id: "del.netns-gone",
        title: "DEL succeeds when the namespace no longer exists",
        requirements: &["del.missing-netns-succeeds", "del.ipam-without-netns"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: netns_gone,
    },
    Check {
        id: "del.netns-unset",
        title: "DEL succeeds without CNI_NETNS",
        requirements: &["del.missing-netns-env-succeeds"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &["unset", "empty"],
        run: netns_unset,
    },
    Check {
        id: "del.interface-gone",
        title: "DEL succeeds when the interface is gone from the container",
        requirements: &["del.missing-interface-succeeds"],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: interface_gone,
    },
    Check {
        id: "del.addresses-gone",
        title: "DEL succeeds when the addresses are gone from the interface",
        requirements: &["del.missing-interface-succeeds"],
        concerns: INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: addresses_gone,
    },
    Check {
        id: "del.state-released",
        title: "DEL releases what the host holds for the attachment, whatever is missing",
        requirements: &[
            "del.missing-netns-succeeds",
            "del.missing-netns-env-succeeds",
            "del.missing-prevresult-succeeds",
            "del.missing-interface-succeeds",
            "del.delegates-when-netns-gone",
            "del.ipam-without-netns",
            "del.undoes-modifications",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &["netns-gone", "netns-unset", "netns-empty", "without-prevresult", "interface-gone"],
        run: state_released,
    },
    Check {
        id: "del.release-not-critical",
        title: "DEL succeeds although what expires by itself could not be given back",
        requirements: &["del.noncritical-release-failure"],
        concerns: Concerns::Unattended,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &[],
        run: release_not_critical,
    },
    Check {
        id: "del.delegate-called",
        title: "DEL executes the delegated plugin, whatever is missing",
        requirements: &["deleg.del-forwarded", "del.delegates-when-netns-gone"],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &[
            "attached",
            "netns-gone",
            "netns-unset",
            "netns-empty",
            "without-prevresult",
            "interface-gone",
            "repeated",
            "never-added",
        ],
        run: delegate_called,
    },
    Check {
        id: "del.delegate-error",
        title: "DEL passes the delegated plugin's error on, and removes the interface all the same",
        requirements: &["deleg.error-propagates", "del.cleans-despite-delegate-error", "deleg.del-forwarded"],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &[],
        run: delegate_error,
    },
    Check {
        id: "del.never-added",
        title: "DEL of a container that was never added succeeds and touches nothing",
        requirements: &["del.never-added-succeeds", "del.only-own-attachment"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: never_added,
    },
    Check {
        id: "del.after-failed-add",
        title: "DEL after an ADD that failed succeeds and removes what it left",
        requirements: &[
            "del.after-failed-add-succeeds",
            "del.missing-netns-succeeds",
            "add.failure-leaves-del-able",
        ],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: &["netns-missing", "delegate-fails"],
        run: after_failed_add,
    },
    Check {
        id: "del.after-killed-add",
        title: "DEL after an ADD that was killed midway succeeds and removes what it left",
        requirements: &["del.after-killed-add"],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V0_3_0,
        variants: &[],
        run: after_killed_add,
    },
    Check {
        id: "del.only-own",
        title: "DEL of one container leaves the other as it was",
        requirements: &["del.only-own-attachment"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: only_own,
    },
    Check {
        id: "del.state-key",
        title: "DEL tells networks, containers and interface names apart",
        requirements: &["add.state-key", "del.only-own-attachment"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &["other-network", "other-container", "other-interface"],
        run: state_key,
    },
    Check {
        id: "del.other-ifname",
        title: "DEL of another interface name leaves the container's attachment as it was",
        requirements: &["del.only-own-attachment", "del.never-added-succeeds"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: other_ifname,
    },
    Check {
        id: "del.foreign-interface",
        title: "DEL leaves the container's other interfaces as they were",
        requirements: &["del.foreign-interface-untouched"],
        concerns: WITH_INTERFACE,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: &[],
        run: foreign_interface,
    },
    Check {
        id: "del.concurrent",
        title: "DELs of several containers at the same moment succeed and leave nothing",
        requirements: &[
            "del.concurrent-containers",
            "add.host-state-restored-after-cycle",
            "del.removes-interface",
            "del.undoes-modifications",
        ],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V0_4_0,
        variants: &[],
        run: concurrent,
    },
];

// ---- after a good ADD

fn succeeds(case: &mut Case<'_>) -> Result<(), Stop> {
    let seen = observation::observe_cycle(case)?;
    let answer = &seen.deletions[0];
    case.expect_success(answer, "del.best-effort");
    cycle::expect_no_crash(case, answer);
    case.expect(
        !(answer.succeeded() && answer.error().is_some()),
        "exec.exit-nonzero-on-failure",
        "exit status 0 only without an error object",
        answer.summary(),
    );
    Ok(())
}

fn silent(case: &mut Case<'_>) -> Result<(), Stop> {
    let seen = observation::observe_cycle(case)?;
    for answer in &seen.deletions {
        cycle::expect_silence(case, answer, "del.result-empty");
    }
    Ok(())
}

fn removes_interface(case: &mut Case<'_>) -> Result<(), Stop> {
    let seen = observation::observe_cycle(case)?;
    let attachment = &seen.attachment;
    let name = case.interface(attachment);
    let made = cycle::new_host_links(&seen.before, &seen.added);
    if kernel::has_fixed_interface(case) {
        let before = kernel::state(&seen.before, attachment)?.link(&name).map(|link| link.up);
        let now = kernel::state(&seen.after, attachment)?.link(&name).map(|link| link.up);
        case.expect(
            now == before,
            "del.removes-interface",
            format!("DEL leaves {name} up or down as it was before ADD"),
            format!("after DEL {name} is {}", if now == Some(true) { "up" } else { "down" }),
        );
        return Ok(());
    }
    let there = kernel::state(&seen.after, attachment)?.link(&name).is_some();
    let container = &attachment.container;
    case.expect_as(
        !there,
        "del.removes-interface",
        format!("after DEL the container has no interface {name}"),
        format!("{}; {name} is still in the container", seen.deletions[0].summary()),
        Assertion::Shell(format!("! ip -n {container} link show dev {name} >/dev/null 2>&1")),
    );
    let left: Vec<&String> = made.iter().filter(|link| seen.after.host.link(link).is_some()).collect();
    case.expect(
        left.is_empty(),
        "del.removes-interface",
        format!("after DEL the host interfaces made for the container are gone ({})", kernel::list(&made)),
        format!("{}; the host still has {}", seen.deletions[0].summary(), kernel::list(left)),
    );
    Ok(())
}

fn nothing_left(case: &mut Case<'_>) -> Result<(), Stop> {
    let seen = observation::observe_cycle(case)?;
    cycle::expect_nothing_left(case, &seen.before, &seen.after, "ADD followed by DEL", |_| false);
    Ok(())
}

fn repeated(case: &mut Case<'_>) -> Result<(), Stop> {
    let seen = observation::observe_cycle(case)?;
    for answer in &seen.deletions[1..] {
        case.expect_success(answer, "del.idempotent");
    }
    Ok(())
}

// ---- when something is missing

fn without_prevresult(case: &mut Case<'_>) -> Result<(), Stop> {
    expect_deprived_success(case, "without-prevresult", "del.missing-prevresult-succeeds")
}

fn prevresult_odd(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = cycle::attached(case)?;
    let previous = match case.variant {
        "null" => Value::Null,
        "empty" => json!({}),
        "string" => json!("junk"),
        "ips-string" => json!({ "cniVersion": case.version.as_str(), "ips": "junk" }),
        "ips-null-entry" => {
            json!({ "cniVersion": case.version.as_str(), "ips": [null], "interfaces": [null] })
        }
        _ => json!({ "cniVersion": "99.0.0" }),
    };
    let label = format!("DEL with prevResult {previous}");
    let call = case.call(Operation::Del, &attachment).edit(|request| {
        request.insert("prevResult".to_owned(), previous);
    });
    let answer = case.run(call.label(label))?;
    case.expect_success(&answer, "del.prevresult-invalid");
    cycle::expect_no_crash(case, &answer);
    Ok(())
}

fn netns_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    let ipam = case.kind() == Kind::Ipam;
    let requirement = if ipam { "del.ipam-without-netns" } else { "del.missing-netns-succeeds" };
    expect_deprived_success(case, "netns-gone", requirement)
}

fn netns_unset(case: &mut Case<'_>) -> Result<(), Stop> {
    let variant = if case.variant == "unset" { "netns-unset" } else { "netns-empty" };
    expect_deprived_success(case, variant, "del.missing-netns-env-succeeds")
}

fn interface_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    expect_deprived_success(case, "interface-gone", "del.missing-interface-succeeds")
}

/// States that the DEL of a variant of `del.state-released` succeeds.
fn expect_deprived_success(
    case: &mut Case<'_>,
    variant: &'static str,
    requirement: &'static str,
) -> Result<(), Stop> {
    let seen = observation::observe_deprived(case, variant, deprive)?;
    case.expect_success(&seen.answer, requirement);
    cycle::expect_no_crash(case, &seen.answer);
    Ok(())
}

/// An ADD beside another container's attachment, and the DEL of a variant.
fn deprive(case: &mut Case<'_>, variant: &'static str) -> Result<Deprived, Stop> {
    cycle::settle(case)?;
    let mut attachment = case.attachment()?;
    let before = case.snapshot()?;
    case.add(&mut attachment)?;
    let call = deprived_call(case, &attachment, variant)?;
    let answer = case.run(call)?;
    let after = case.snapshot()?;
    Ok(Deprived { attachment, before, after, answer })
}

fn release_not_critical(case: &mut Case<'_>) -> Result<(), Stop> {
    let Some(target) = case.target.filter(|target| target.expires) else {
        return Err(Stop::skip("what the plugin holds does not end by itself".to_owned()));
    };
    let daemon = target.daemon.clone().unwrap_or_default();
    let attachment = case.attachment()?;
    let call = case.call(Operation::Del, &attachment).label(format!("DEL while {daemon} does not run"));
    let answer = case.run(call)?;
    case.expect_success(&answer, "del.noncritical-release-failure");
    Ok(())
}

fn addresses_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = cycle::attached(case)?;
    let link = case.interface(&attachment);
    case.network(&attachment.place(), NetOp::FlushAddresses { link })?;
    let call = case.call(Operation::Del, &attachment).label("DEL after the addresses were removed");
    let answer = case.run(call)?;
    case.expect_success(&answer, "del.missing-interface-succeeds");
    cycle::expect_no_crash(case, &answer);
    Ok(())
}

fn state_released(case: &mut Case<'_>) -> Result<(), Stop> {
    let seen = observation::observe_deprived(case, case.variant, deprive)?;
    let Deprived { attachment, before, after, answer } = seen.as_ref();
    if !answer.succeeded() {
        return Err(Stop::unmet(answer.summary()));
    }
    let requirement = release_requirement(case);
    let judged = judged_subjects(case);
    let what = format!("{} after ADD", answer.label);
    let devices = match case.variant {
        "netns-gone" | "interface-gone" => changes::devices_of(case, attachment),
        _ => Vec::new(),
    };
    let gone = |line: &str| {
        changes::is_in_container(line, attachment)
            || changes::is_file_content(line)
            || front_is_gone(line)
            || changes::is_lost_device(line, &devices)
    };
    case.expect_unchanged(before, after, requirement, &what, |line| {
        gone(line) || !judged.contains(&changes::subject_of(line))
    });
    let tolerated = changes::between(case, before, after)
        .into_iter()
        .filter(|line| !gone(line) && !judged.contains(&changes::subject_of(line)));
    for line in tolerated.collect::<Vec<_>>() {
        case.note(format!("{} leaves: {line}", answer.label));
    }
    Ok(())
}

/// What says that state is released in this variant.
fn release_requirement(case: &Case<'_>) -> &'static str {
    let delegates = case.target.is_some_and(Target::executes_others);
    match (case.variant, case.kind()) {
        ("netns-unset" | "netns-empty", _) => "del.missing-netns-env-succeeds",
        ("without-prevresult", _) => "del.missing-prevresult-succeeds",
        ("netns-gone", Kind::Ipam) => "del.ipam-without-netns",
        (_, Kind::Chained) => "del.undoes-modifications",
        _ if delegates => "del.delegates-when-netns-gone",
        ("interface-gone", _) => "del.missing-interface-succeeds",
        _ => "del.missing-netns-succeeds",
    }
}

/// What a plugin can find without what this variant takes away: files always, by container and interface; links and
/// settings of the host not without the namespace or the prevResult that lead to them.
fn judged_subjects(case: &Case<'_>) -> &'static [Subject] {
    match case.variant {
        "netns-gone" | "interface-gone" => &[Subject::File, Subject::Link, Subject::Setting],
        _ => &[Subject::File],
    }
}

// ---- delegated plugins

fn delegate_called(case: &mut Case<'_>) -> Result<(), Stop> {
    if case.kind() == Kind::Meta && ["repeated", "never-added"].contains(&case.variant) {
        let reason = "a meta plugin may know what it delegated from ADD until a DEL that succeeds only";
        return Err(Stop::skip(reason));
    }
    let mut attachment = case.attachment()?;
    cycle::record_delegate(case, &mut attachment, Behaviour::Faithful)?;
    cycle::recorded_add(case, &mut attachment)?;
    let requirement = match case.variant {
        "netns-gone" | "interface-gone" => "del.delegates-when-netns-gone",
        _ => "deleg.del-forwarded",
    };
    let call = match case.variant {
        "repeated" => {
            let first = cycle::recorded_call(case, Operation::Del, &attachment);
            case.run(first)?;
            cycle::take_log(case)?;
            cycle::recorded_call(case, Operation::Del, &attachment).label("the second DEL")
        }
        "never-added" => {
            let mut other = case.attachment()?;
            other.plugin = attachment.plugin.clone();
            cycle::recorded_call(case, Operation::Del, &other)
                .label("DEL of a container that was never added")
        }
        "attached" => cycle::recorded_call(case, Operation::Del, &attachment),
        variant => {
            let path = cycle::recorded_call(case, Operation::Del, &attachment);
            let path = path.environment.get("CNI_PATH").cloned().unwrap_or_default();
            deprived_call(case, &attachment, variant)?.set("CNI_PATH", &path)
        }
    };
    cycle::expect_delegated(case, call, Operation::Del, &[requirement])?;
    Ok(())
}

fn delegate_error(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    cycle::record_delegate(case, &mut attachment, Behaviour::Fails(Operation::Del))?;
    cycle::recorded_add(case, &mut attachment)?;
    let call =
        cycle::recorded_call(case, Operation::Del, &attachment).label("DEL whose delegated plugin fails");
    let answer = case.run(call)?;
    if !cycle::take_log(case)?.iter().any(|line| line == "DEL") {
        return Err(Stop::unmet("DEL did not execute the delegated plugin".to_owned()));
    }
    let refused =
        case.expect_refusal(&answer, "deleg.error-propagates", "the delegated plugin reported an error");
    let name = case.interface(&attachment);
    let after = case.snapshot()?;
    let there =
        !kernel::has_fixed_interface(case) && kernel::state(&after, &attachment)?.link(&name).is_some();
    // The interface of a meta plugin is the delegate's.
    let own = case.kind() != Kind::Meta;
    case.expect(
        !(there && own),
        "del.cleans-despite-delegate-error",
        format!("{name} is removed although the delegated plugin failed"),
        format!("{}; {name} is still in the container", answer.summary()),
    );
    if refused {
        let call = cycle::recorded_call(case, Operation::Del, &attachment)
            .label("DEL again, after the delegated plugin failed");
        cycle::expect_delegated(case, call, Operation::Del, &["deleg.del-forwarded"])?;
    }
    Ok(())
}

// ---- containers that were not, or not wholly, added

fn never_added(case: &mut Case<'_>) -> Result<(), Stop> {
    let _attached = cycle::attached(case)?;
    let other = case.attachment()?;
    let before = case.snapshot()?;
    let call =
        forget_prevresult(case.call(Operation::Del, &other)).label("DEL of a container that was never added");
    let answer = case.run(call)?;
    let after = case.snapshot()?;
    case.expect_success(&answer, "del.never-added-succeeds");
    cycle::expect_no_crash(case, &answer);
    expect_untouched(case, &before, &after, "del.never-added-succeeds", &answer);
    Ok(())
}

fn after_failed_add(case: &mut Case<'_>) -> Result<(), Stop> {
    cycle::settle(case)?;
    let mut attachment = case.attachment()?;
    if case.variant == "delegate-fails" {
        if !case.target.is_some_and(Target::executes_others) {
            return Err(Stop::skip("the plugin delegates nothing".to_owned()));
        }
        cycle::record_delegate(case, &mut attachment, Behaviour::Fails(Operation::Add))?;
    }
    let before = case.snapshot()?;
    let change = |call: Call, variant: &str| match variant {
        "netns-missing" => call.set("CNI_NETNS", "/run/netns/cnitest-missing"),
        _ => call,
    };
    let add = change(cycle::recorded_call(case, Operation::Add, &attachment), case.variant);
    let added = case.run(add)?;
    if added.succeeded() {
        return Err(Stop::unmet("ADD succeeded although it was meant to fail".to_owned()));
    }
    // A runtime has no result to give after a failed ADD.
    let del = change(cycle::recorded_call(case, Operation::Del, &attachment), case.variant);
    let answer = case.run(del.label("DEL after a failed ADD"))?;
    cycle::take_log(case)?;
    let after = case.snapshot()?;
    // Where the namespace is essential to a plugin, its absence may be an error.
    let requirement = match case.variant {
        "netns-missing" => "del.missing-netns-succeeds",
        _ => "del.after-failed-add-succeeds",
    };
    case.expect_success(&answer, requirement);
    cycle::expect_no_crash(case, &answer);
    let what = "ADD that fails, followed by DEL,";
    case.expect_unchanged(&before, &after, "add.failure-leaves-del-able", what, is_of_no_interest);
    Ok(())
}

fn after_killed_add(case: &mut Case<'_>) -> Result<(), Stop> {
    cycle::settle(case)?;
    let mut attachment = case.attachment()?;
    cycle::record_delegate(case, &mut attachment, Behaviour::Kills)?;
    let before = case.snapshot()?;
    let call =
        cycle::recorded_call(case, Operation::Add, &attachment).label("ADD, killed after its delegate's ADD");
    let killed = case.run(call)?;
    if !matches!(killed.execution.outcome, crate::invoke::Outcome::Signaled(_)) {
        return Err(Stop::unmet(format!("the plugin was not killed: {}", killed.summary())));
    }
    let call = cycle::recorded_call(case, Operation::Del, &attachment).label("DEL after a killed ADD");
    let answer = case.run(call)?;
    cycle::take_log(case)?;
    let after = case.snapshot()?;
    case.expect_success(&answer, "del.after-killed-add");
    cycle::expect_no_crash(case, &answer);
    let what = "ADD that is killed, followed by DEL,";
    case.expect_unchanged(&before, &after, "del.after-killed-add", what, is_of_no_interest);
    Ok(())
}

// ---- other attachments

fn only_own(case: &mut Case<'_>) -> Result<(), Stop> {
    let kept = cycle::attached(case)?;
    let passes = check_passes(case, &kept)?;
    let mut other = case.attachment()?;
    let before = case.snapshot()?;
    case.add(&mut other)?;
    delete_stubbornly(case, &other)?;
    let after = case.snapshot()?;
    let what = "ADD and DEL of another container";
    let devices = changes::devices_of(case, &other);
    cycle::expect_kept(case, &before, &after, "del.only-own-attachment", what, |line| {
        changes::is_in_container(line, &other) || changes::names_any(line, &devices)
    });
    if passes {
        let call = case.call(Operation::Check, &kept).label("CHECK of the container that stays");
        let answer = case.run(call)?;
        case.expect_success(&answer, "del.only-own-attachment");
    }
    Ok(())
}

/// Two attachments that differ in one part of their identity only: DEL of one leaves the other's state in place.
fn state_key(case: &mut Case<'_>) -> Result<(), Stop> {
    if kernel::has_fixed_interface(case) {
        return Err(Stop::skip(
            "the plugin configures the same interface whatever CNI_IFNAME says".to_owned(),
        ));
    }
    let kept = cycle::attached(case)?;
    let before = case.snapshot()?;
    let mut other = match case.variant {
        // IDs of which one begins with the other.
        "other-container" => {
            let mut other = case.attachment()?;
            other.container_id = format!("{}0", kept.container_id);
            other
        }
        "other-interface" => Attachment { ifname: "eth1".to_owned(), result: None, ..kept.clone() },
        _ if case.version > Version::V0_4_0 => {
            return Err(Stop::skip(
                "from 1.0.0 on an attachment is identified by container ID and interface name".to_owned(),
            ));
        }
        _ => {
            let mut other = case.attachment()?;
            other.container_id = kept.container_id.clone();
            other.plugin.insert("name".to_owned(), json!("cnitest-other-net"));
            other
        }
    };
    if case.kind() == Kind::Chained && case.variant == "other-interface" {
        other.previous = Some(front::beside(case, &other, "eth1", 77)?);
    }
    let call = case.call(Operation::Add, &other).label("ADD of the other attachment");
    let added = case.run(call)?;
    other.result = added.document().cloned();
    if !added.succeeded() {
        return Err(Stop::unmet(added.summary()));
    }
    delete_stubbornly(case, &other)?;
    let after = case.snapshot()?;
    let what = "ADD and DEL of an attachment that differs in one name";
    // 0.4.0 names the parts of the key; later texts say whose the resources are.
    let requirement = match case.version {
        Version::V0_4_0 => "add.state-key",
        _ => "del.only-own-attachment",
    };
    let devices = changes::devices_of(case, &other);
    let own_namespace = other.container != kept.container;
    cycle::expect_kept(case, &before, &after, requirement, what, |line| {
        own_namespace && changes::is_in_container(line, &other)
            || changes::names_any(line, &devices)
            || line.contains("eth1")
    });
    Ok(())
}

fn other_ifname(case: &mut Case<'_>) -> Result<(), Stop> {
    if kernel::has_fixed_interface(case) {
        return Err(Stop::skip(
            "the plugin configures the same interface whatever CNI_IFNAME says".to_owned(),
        ));
    }
    let attachment = cycle::attached(case)?;
    let before = case.snapshot()?;
    let call = forget_prevresult(case.call(Operation::Del, &attachment)).set("CNI_IFNAME", "eth9");
    let answer = case.run(call.label("DEL with CNI_IFNAME=eth9"))?;
    let after = case.snapshot()?;
    case.expect_success(&answer, "del.never-added-succeeds");
    expect_untouched(case, &before, &after, "del.only-own-attachment", &answer);
    Ok(())
}

fn foreign_interface(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    let place = attachment.place();
    let pair =
        NetOp::AddVeth { a: "foreign0".to_owned(), b: "foreign1".to_owned(), peer_place: place.clone() };
    case.network(&place, pair)?;
    for (link, last) in [("foreign0", 1), ("foreign1", 2)] {
        let address = [198, 51, 100, last].into();
        case.network(&place, NetOp::AddAddress { link: link.to_owned(), address, prefix: 25 })?;
        case.network(&place, NetOp::SetUp { link: link.to_owned() })?;
    }
    case.add(&mut attachment)?;
    let before = case.snapshot()?;
    cycle::detach(case, &attachment)?;
    let after = case.snapshot()?;
    cycle::expect_kept(case, &before, &after, "del.foreign-interface-untouched", "DEL", |line| {
        !line.contains("foreign0") && !line.contains("foreign1")
    });
    Ok(())
}

fn concurrent(case: &mut Case<'_>) -> Result<(), Stop> {
    cycle::settle(case)?;
    let mut containers = Vec::new();
    for _ in 0..6 {
        containers.push(case.attachment()?);
    }
    let before = case.snapshot()?;
    let mut attached = Vec::new();
    for mut attachment in containers {
        match case.add(&mut attachment) {
            Ok(_) => attached.push(attachment),
            // A small pool of addresses serves as many as it holds.
            Err(Stop::Skip { .. }) => break,
            Err(stop) => return Err(stop),
        }
    }
    if attached.len() < 2 {
        return Err(Stop::unmet(format!("{} containers could be attached", attached.len())));
    }
    let label = |attachment: &Attachment| format!("DEL of {} beside others", attachment.container_id);
    let calls = attached.iter().map(|each| case.call(Operation::Del, each).label(label(each))).collect();
    let deletions = case.run_together(calls)?;
    cycle::blame_concurrency(case, &deletions)?;
    for answer in deletions {
        case.expect_success(&answer, "del.concurrent-containers");
    }
    let after = case.snapshot()?;
    let what = "ADD of several containers, and their DEL at the same moment,";
    cycle::expect_nothing_left(case, &before, &after, what, |_| false);
    Ok(())
}

// ---- shared

/// DEL; once more if it fails, as runtimes do. That it failed is reported by `del.succeeds`.
pub(super) fn delete_stubbornly(case: &mut Case<'_>, attachment: &Attachment) -> Result<(), Stop> {
    if !case.operate(Operation::Del, attachment)?.succeeded() {
        let call = case.call(Operation::Del, attachment).label("DEL again");
        case.run(call)?;
    }
    Ok(())
}

/// The DEL of a variant, after taking away what the variant takes away.
fn deprived_call(case: &mut Case<'_>, attachment: &Attachment, variant: &str) -> Result<Call, Stop> {
    let call = case.call(Operation::Del, attachment);
    Ok(match variant {
        "netns-gone" => {
            cycle::delete_netns(case, attachment)?;
            call.label("DEL after the namespace was deleted")
        }
        "netns-unset" => call.unset("CNI_NETNS").label("DEL without CNI_NETNS"),
        "netns-empty" => call.set("CNI_NETNS", "").label("DEL with an empty CNI_NETNS"),
        "without-prevresult" => forget_prevresult(call).label("DEL without prevResult"),
        "interface-gone" => {
            delete_interface(case, attachment)?;
            call.label("DEL after the interface was deleted")
        }
        other => return Err(Stop::Undecided(format!("no variant {other}"))),
    })
}

fn delete_interface(case: &mut Case<'_>, attachment: &Attachment) -> Result<(), Stop> {
    if kernel::has_fixed_interface(case) || case.kind() == Kind::Ipam {
        return Err(Stop::skip("the plugin makes no interface that could be deleted".to_owned()));
    }
    case.network(&attachment.place(), NetOp::DeleteLink { name: attachment.ifname.clone() })
}

fn forget_prevresult(call: Call) -> Call {
    call.edit(|request| {
        request.remove("prevResult");
    })
}

/// Whether CHECK passes; never below 0.4.0, which has none.
fn check_passes(case: &mut Case<'_>, attachment: &Attachment) -> Result<bool, Stop> {
    Ok(case.version >= Version::V0_4_0 && case.operate(Operation::Check, attachment)?.succeeded())
}

/// States that an execution changed nothing but what files hold.
fn expect_untouched(
    case: &mut Case<'_>,
    before: &Snapshot,
    after: &Snapshot,
    requirement: &'static str,
    answer: &Answer,
) {
    case.expect_unchanged(before, after, requirement, &answer.label, is_of_no_interest);
}

/// The recorder's own files, and what files that were there hold.
fn is_of_no_interest(line: &str) -> bool {
    changes::is_file_content(line) || line.contains(cycle::RECORDER_DIR)
}

/// Whether a line tells that the host's end of a front link went with its peer, and its addresses and routes with it.
pub(crate) fn front_is_gone(line: &str) -> bool {
    line.starts_with("- host ") && line.split_whitespace().any(front::is_of_front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_links_that_went_do_not_count() {
        assert!(front_is_gone("- host link front2 kind veth"));
        assert!(front_is_gone("- host route 10.90.2.0/24"));
        assert!(!front_is_gone("+ host link front2"));
        assert!(!front_is_gone("- host link cnit0"));
    }
}
