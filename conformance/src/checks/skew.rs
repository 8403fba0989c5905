//! Two releases of a plugin: what one added, the other checks, deletes and collects.
//!
//! An upgrade finds attachments of the release before it. What the plugin under test does with these is judged by what the
//! specification asks of CHECK, DEL and GC. What the other release does with attachments of the plugin under test (after a
//! downgrade, or beside it on a host that is half upgraded) is no fault of it, but worth knowing: common practice.
//! Whatever a release does not do with its own attachments either has nothing to do with the other one: such cases are
//! skipped.

use std::collections::BTreeSet;

use cni_spec::{Operation, Version};

use super::case::{Answer, Attachment, Call, Case, Stop};
use super::changes::{self, Subject, is_file_content, is_of_front, subject_of};
use super::gc::listing;
use super::protocol::version_call;
use super::reproducer::Assertion;
use super::{Check, Concerns, Other, Scope, cycle, kernel};
use crate::arena::snapshot::Snapshot;

/// ADD by the other release and the rest by the plugin under test, and the other way round.
const DIRECTIONS: &[&str] = &["upgrade", "downgrade"];

/// What the other release is judged by.
const OF_OTHER: &str = "practice.other-release";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "skew.check",
        title: "CHECK by one release succeeds on a healthy attachment of another, and changes nothing",
        requirements: &["check.ok-after-add", "check.no-mutation", OF_OTHER],
        concerns: Concerns::Upgrading,
        scope: Scope::Attachments,
        since: Version::V0_4_0,
        variants: DIRECTIONS,
        run: check,
    },
    Check {
        id: "skew.del",
        title: "DEL by one release removes everything that another release added, and can be repeated",
        requirements: &[
            "del.best-effort",
            "del.idempotent",
            "del.removes-interface",
            "del.undoes-modifications",
            "add.host-state-restored-after-cycle",
            OF_OTHER,
        ],
        concerns: Concerns::Upgrading,
        scope: Scope::Attachments,
        since: Version::V0_3_0,
        variants: DIRECTIONS,
        run: del,
    },
    Check {
        id: "skew.gc",
        title: "GC by one release keeps the listed attachments of another, and removes those that are not listed",
        requirements: &["gc.keeps-valid", "gc.removes-stale", "gc.no-error-normally", OF_OTHER],
        concerns: Concerns::Upgrading,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: DIRECTIONS,
        run: gc,
    },
    Check {
        id: "skew.versions",
        title: "A release supports every version of the specification that the other one supports",
        requirements: &["practice.versions-kept"],
        concerns: Concerns::Succeeding,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[],
        run: versions,
    },
];

fn versions(case: &mut Case<'_>) -> Result<(), Stop> {
    let call = version_call(case);
    let answer = case.run(by(case, Release::Other, call.clone())?)?;
    let held = supported(&answer);
    if held.is_empty() {
        return Err(Stop::unmet(answer.summary()));
    }
    let answer = case.run(by(case, Release::Tested, call)?)?;
    let holds = supported(&answer);
    let lost: Vec<&String> = held.difference(&holds).collect();
    let expected = format!("the tested release supports what the other one does: {}", kernel::list(&held));
    let observed = format!("it lost {}", kernel::list(&lost));
    if let Some(first) = lost.first() {
        let assertion = Assertion::StdoutHas(answer.index, format!("\"{first}\""));
        case.expect_as(false, "practice.versions-kept", expected, observed, assertion);
    }
    Ok(())
}

/// The versions that VERSION names.
fn supported(answer: &Answer) -> BTreeSet<String> {
    match answer.succeeded() {
        true => answer.documents.supported_versions().into_iter().collect(),
        false => BTreeSet::new(),
    }
}

/// Who adds, and who comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    /// The plugin under test.
    Tested,
    /// The other release.
    Other,
}

/// The releases of a case: who adds, and who acts on what was added.
fn releases(case: &Case<'_>) -> (Release, Release) {
    match case.variant {
        "upgrade" => (Release::Other, Release::Tested),
        _ => (Release::Tested, Release::Other),
    }
}

/// By what the acting release is judged.
fn judged_by(case: &Case<'_>, requirement: &'static str) -> &'static str {
    if case.variant == "upgrade" { requirement } else { OF_OTHER }
}

fn check(case: &mut Case<'_>) -> Result<(), Stop> {
    let (adding, acting) = releases(case);
    settle(case)?;
    let own = added(case, acting)?;
    let answer = operate(case, acting, Operation::Check, &own)?;
    own_precondition(&answer)?;
    let attachment = added(case, adding)?;
    let before = case.snapshot()?;
    for _ in 0..2 {
        let answer = operate(case, acting, Operation::Check, &attachment)?;
        if !case.expect_success(&answer, judged_by(case, "check.ok-after-add")) {
            break;
        }
    }
    let after = case.snapshot()?;
    let requirement = judged_by(case, "check.no-mutation");
    case.expect_unchanged(&before, &after, requirement, "CHECK by another release", is_file_content);
    Ok(())
}

fn del(case: &mut Case<'_>) -> Result<(), Stop> {
    let (adding, acting) = releases(case);
    settle(case)?;
    // What a release leaves of its own attachments, the other one cannot know.
    let mut own_left = BTreeSet::new();
    let mut repeatable = true;
    for release in [acting, adding] {
        let container = case.attachment()?;
        let before = case.snapshot()?;
        let own = add(case, release, container)?;
        let answer = operate(case, release, Operation::Del, &own)?;
        own_precondition(&answer)?;
        repeatable &= operate(case, release, Operation::Del, &own)?.succeeded();
        let after = case.snapshot()?;
        own_left.extend(changes::judged(case, &before, &after).iter().map(|line| unnumbered(line)));
    }
    let container = case.attachment()?;
    let before = case.snapshot()?;
    let attachment = add(case, adding, container)?;
    let answer = operate(case, acting, Operation::Del, &attachment)?;
    case.expect_success(&answer, judged_by(case, "del.best-effort"));
    if repeatable {
        let again = operate(case, acting, Operation::Del, &attachment)?;
        case.expect_success(&again, judged_by(case, "del.idempotent"));
    }
    let after = case.snapshot()?;
    for (subject, requirement) in cycle::removal_requirements(case) {
        let requirement = judged_by(case, requirement);
        let what = "ADD by one release and DEL by another";
        case.expect_unchanged(&before, &after, requirement, what, |line| {
            subject_of(line) != subject
                || is_file_content(line)
                || is_of_front(line)
                || own_left.contains(&unnumbered(line))
        });
    }
    Ok(())
}

fn gc(case: &mut Case<'_>) -> Result<(), Stop> {
    let (adding, acting) = releases(case);
    let kept = added(case, adding)?;
    let before = case.snapshot()?;
    let own = added(case, acting)?;
    let collected = collect(case, acting, &[&kept])?;
    own_precondition(&collected)?;
    let collects_own = own_is_gone(case, &before)?;

    let stale = added(case, adding)?;
    let whole = case.snapshot()?;
    let answer = collect(case, acting, &[&kept, &stale])?;
    case.expect_success(&answer, judged_by(case, "gc.no-error-normally"));
    let after = case.snapshot()?;
    let what = "GC that lists every attachment of another release";
    let requirement = judged_by(case, "gc.keeps-valid");
    cycle::expect_kept(case, &whole, &after, requirement, what, |line| {
        changes::is_in_container(line, &own) && line.contains(" neighbour ")
    });
    if !collects_own {
        case.note(format!("{} removes nothing of its own attachments either", collected.label));
        return Ok(());
    }
    let answer = collect(case, acting, &[&kept])?;
    case.expect_success(&answer, judged_by(case, "gc.no-error-normally"));
    let end = case.snapshot()?;
    let freed = files_of(case, &before, &end);
    let observed = freed.first().cloned().unwrap_or_default();
    let expected = format!("{} removes what is not listed, whoever added it", answer.label);
    case.evidence(freed.iter().cloned());
    case.expect(freed.is_empty(), judged_by(case, "gc.removes-stale"), expected, observed);
    Ok(())
}

// ---- shared

/// A container of each release, which stay: what belongs to the network and not to an attachment is there then.
fn settle(case: &mut Case<'_>) -> Result<(), Stop> {
    added(case, Release::Other)?;
    added(case, Release::Tested)?;
    Ok(())
}

/// A fresh container that a release attached.
fn added(case: &mut Case<'_>, release: Release) -> Result<Attachment, Stop> {
    let container = case.attachment()?;
    add(case, release, container)
}

fn add(case: &mut Case<'_>, release: Release, mut attachment: Attachment) -> Result<Attachment, Stop> {
    let answer = operate(case, release, Operation::Add, &attachment)?;
    case.require_result(&answer)?;
    attachment.result = answer.document().cloned();
    Ok(attachment)
}

fn operate(
    case: &mut Case<'_>,
    release: Release,
    operation: Operation,
    attachment: &Attachment,
) -> Result<Answer, Stop> {
    let call = case.call(operation, attachment);
    let call = by(case, release, call)?;
    let label = format!("{} of {}", call.label, attachment.container);
    case.run(call.label(label))
}

fn collect(case: &mut Case<'_>, release: Release, valid: &[&Attachment]) -> Result<Answer, Stop> {
    let Some(first) = valid.first() else {
        return Err(Stop::Undecided("GC with an empty list".to_owned()));
    };
    let call = listing(case.call(Operation::Gc, first), valid);
    let call = by(case, release, call)?;
    case.run(call)
}

/// Has a release execute the call, with the delegated plugins that it is installed with.
fn by(case: &Case<'_>, release: Release, call: Call) -> Result<Call, Stop> {
    let Some(Other { program, cni_path, .. }) = &case.subject.other else {
        return Err(Stop::Undecided("no other release is given".to_owned()));
    };
    let label = call.label.clone();
    if release == Release::Tested {
        return Ok(call.label(format!("{label} by the tested release")));
    }
    let folders: Vec<String> = cni_path.iter().map(|folder| folder.display().to_string()).collect();
    let call = call.set("CNI_PATH", &folders.join(":")).label(format!("{label} by the other release"));
    Ok(Call { program: Some(program.clone()), ..call })
}

/// Skips the case when a release fails with what is its own.
fn own_precondition(answer: &Answer) -> Result<(), Stop> {
    match answer.succeeded() {
        true => Ok(()),
        false => Err(Stop::unmet(format!("{}, with its own attachment", answer.summary()))),
    }
}

/// A line of a difference without its digits, by which the lines of two containers are alike.
fn unnumbered(line: &str) -> String {
    line.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Whether GC removed the files of an attachment that came after `before`; false where there are none to remove.
fn own_is_gone(case: &mut Case<'_>, before: &Snapshot) -> Result<bool, Stop> {
    let after = case.snapshot()?;
    Ok(files_of(case, before, &after).is_empty())
}

/// The files that came between two snapshots.
fn files_of(case: &Case<'_>, before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let lines = changes::judged(case, before, after).into_iter();
    lines.filter(|line| line.starts_with("+ ") && subject_of(line) == Subject::File).collect()
}
