//! DEL of an attachment that somebody has meddled with since its ADD.

use cni_spec::{Operation, Version};
use serde_json::json;

use super::case::{Attachment, Case, Stop};
use super::reproducer::Step;
use super::{Check, Concerns, Scope, changes, cycle, kernel};
use crate::arena::NetOp;
use crate::arena::snapshot::FileKind;
use crate::target::Kind;

pub(super) const CHECKS: &[Check] = &[Check {
    id: "del.disturbed",
    title: "DEL succeeds when its interface was renamed, its files are gone, or it is given other data than ADD was",
    requirements: &["del.missing-interface-succeeds", "del.best-effort", "del.only-own-attachment"],
    concerns: Concerns::Attaching,
    scope: Scope::Once,
    since: Version::V0_4_0,
    variants: &["interface-renamed", "files-gone", "prevresult-of-another", "configuration-changed"],
    run: disturbed,
}];

fn disturbed(case: &mut Case<'_>) -> Result<(), Stop> {
    match case.variant {
        "interface-renamed" => interface_renamed(case),
        "files-gone" => files_gone(case),
        "prevresult-of-another" => prevresult_of_another(case),
        _ => configuration_changed(case),
    }
}

/// An interface of another name is not the attachment's any more.
fn interface_renamed(case: &mut Case<'_>) -> Result<(), Stop> {
    if kernel::has_fixed_interface(case) || case.kind() == Kind::Ipam {
        return Err(Stop::skip("the plugin makes no interface that could be renamed".to_owned()));
    }
    let attachment = cycle::attached(case)?;
    let (place, link) = (attachment.place(), attachment.ifname.clone());
    case.network(&place, NetOp::SetDown { link: link.clone() })?;
    case.network(&place, NetOp::RenameLink { link, to: "renamed0".to_owned() })?;
    let call = case.call(Operation::Del, &attachment).label("DEL after the interface was renamed");
    let answer = case.run(call)?;
    case.expect_success(&answer, "del.missing-interface-succeeds");
    cycle::expect_no_crash(case, &answer);
    Ok(())
}

fn files_gone(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    let before = case.snapshot()?;
    case.add(&mut attachment)?;
    let after = case.snapshot()?;
    let made = after
        .files
        .iter()
        .filter(|(path, state)| state.kind == FileKind::File && !before.files.contains_key(*path));
    let made: Vec<_> = made.map(|(path, _)| path.clone()).collect();
    if made.is_empty() {
        return Err(Stop::skip("ADD writes no file".to_owned()));
    }
    for path in made {
        case.steps.push(Step::Shell(format!("rm -f '{}'", path.display())));
        case.arena.remove_path(&path)?;
    }
    let call = case.call(Operation::Del, &attachment).label("DEL after its files were removed");
    let answer = case.run(call)?;
    case.expect_success(&answer, "del.best-effort");
    cycle::expect_no_crash(case, &answer);
    Ok(())
}

/// What identifies an attachment are its container and interface; a result that is another's takes nothing from that one. A
/// chained plugin has nothing but prevResult to tell it what it acted on, so of it this is only noted.
fn prevresult_of_another(case: &mut Case<'_>) -> Result<(), Stop> {
    let kept = cycle::attached(case)?;
    let mut other = case.attachment()?;
    let before = case.snapshot()?;
    case.add(&mut other)?;
    let call = case.call(Operation::Del, &Attachment { result: kept.result.clone(), ..other.clone() });
    let answer = case.run(call.label("DEL with the prevResult of another container"))?;
    let after = case.snapshot()?;
    cycle::expect_no_crash(case, &answer);
    let devices = changes::devices_of(case, &other);
    let what = "DEL with the prevResult of another container";
    let is_own = |line: &str| changes::is_in_container(line, &other) || changes::names_any(line, &devices);
    if case.kind() == Kind::Chained {
        let lost = changes::between(case, &before, &after);
        let lost = lost.iter().filter(|line| !line.starts_with("+ ") && !is_own(line)).count();
        if lost > 0 {
            case.note(format!("{what} changes {lost} things that are not its own"));
        }
        return Ok(());
    }
    cycle::expect_kept(case, &before, &after, "del.only-own-attachment", what, is_own);
    Ok(())
}

fn configuration_changed(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = cycle::attached(case)?;
    let call = case.call(Operation::Del, &attachment).edit(|request| {
        request.insert("mtu".to_owned(), json!(1300));
        request.insert("example.com/added-since".to_owned(), json!({ "by": "the administrator" }));
    });
    let answer = case.run(call.label("DEL after the configuration was changed"))?;
    case.expect_success(&answer, "del.best-effort");
    cycle::expect_no_crash(case, &answer);
    Ok(())
}
