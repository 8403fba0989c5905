//! STATUS: whether the plugin can serve ADD, said without changing anything.

use cni_spec::error::{FIRST_PLUGIN_SPECIFIC, UNAVAILABLE, UNAVAILABLE_LIMITED_CONNECTIVITY};
use cni_spec::{Operation, Version};
use serde_json::json;

use super::case::{Answer, Attachment, Case, Stop};
use super::cycle::{self, Behaviour};
use super::{Check, Concerns, Scope};
use crate::target::Kind;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "status.ready",
        title: "STATUS of a plugin whose ADD succeeds exits with status 0 and prints nothing",
        requirements: &["status.ready-exit-zero", "status.success-silent"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: ready,
    },
    Check {
        id: "status.no-mutation",
        title: "STATUS changes nothing",
        requirements: &["status.no-mutation"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: no_mutation,
    },
    Check {
        id: "status.not-relied-on",
        title: "ADD succeeds whether or not STATUS came before",
        requirements: &["status.not-relied-on", "status.not-ready-nonzero"],
        concerns: Concerns::Attaching,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: not_relied_on,
    },
    Check {
        id: "status.delegate-missing",
        title: "STATUS fails when the delegated plugin cannot be found",
        requirements: &["status.forwards-to-delegate", "status.not-ready-error-on-stdout"],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &[],
        run: delegate_missing,
    },
    Check {
        id: "status.delegate-called",
        title: "STATUS executes the delegated plugin",
        requirements: &["status.forwards-to-delegate", "deleg.status-forwarded"],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &[],
        run: delegate_called,
    },
    Check {
        id: "status.delegate-error",
        title: "STATUS fails when the delegated plugin's STATUS fails",
        requirements: &["status.delegate-error-propagates", "status.not-ready-error-on-stdout"],
        concerns: Concerns::Delegating,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &[],
        run: delegate_error,
    },
    Check {
        id: "status.exhausted",
        title: "STATUS fails while no address is free, and other operations go on",
        requirements: &[
            "status.resources-exhausted",
            "status.other-ops-after-error",
            "status.ready-exit-zero",
        ],
        concerns: Concerns::Kinds(&[Kind::Ipam]),
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: exhausted,
    },
    Check {
        id: "status.codes",
        title: "A STATUS that is not ready says so with code 50 or 51, or with one of the plugin's own",
        requirements: &["status.code-50"],
        concerns: Concerns::Attaching,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &["delegate-missing", "exhausted"],
        run: codes,
    },
    Check {
        id: "status.daemon-missing",
        title: "STATUS fails while the daemon that ADD needs does not run",
        requirements: &["status.external-dependency", "status.not-ready-error-on-stdout"],
        concerns: Concerns::Unattended,
        scope: Scope::Attachments,
        since: Version::V1_1_0,
        variants: &[],
        run: daemon_missing,
    },
    Check {
        id: "status.codes-elsewhere",
        title: "Codes 50 and 51 are not used for faulty requests",
        requirements: &["error.code-50-51"],
        concerns: Concerns::Every,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &[],
        run: codes_elsewhere,
    },
];

/// Attachments after which a pool counts as too large to be used up here.
const MANY: usize = 24;

fn ready(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    let answer = case.operate(Operation::Status, &attachment)?;
    // Only a plugin that does serve ADD is able to.
    case.add(&mut attachment)?;
    case.expect_success(&answer, "status.ready-exit-zero");
    cycle::expect_silence(case, &answer, "status.success-silent");
    cycle::expect_no_crash(case, &answer);
    let call = case.call(Operation::Status, &attachment).label("STATUS beside an attachment");
    let again = case.run(call)?;
    let mut next = case.attachment()?;
    if case.operate(Operation::Add, &next)?.succeeded() {
        next.result = None;
        case.expect_success(&again, "status.ready-exit-zero");
    }
    Ok(())
}

fn no_mutation(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = cycle::attached(case)?;
    let before = case.snapshot_with_sysctls()?;
    case.operate(Operation::Status, &attachment)?;
    let after = case.snapshot_with_sysctls()?;
    case.expect_unchanged(&before, &after, "status.no-mutation", "STATUS", |_| false);
    Ok(())
}

fn not_relied_on(case: &mut Case<'_>) -> Result<(), Stop> {
    let first = case.attachment()?;
    let without = case.operate(Operation::Add, &first)?;
    let status = case.operate(Operation::Status, &first)?;
    let second = case.attachment()?;
    let call = case.call(Operation::Add, &second).label("ADD after STATUS");
    let with = case.run(call)?;
    if !without.succeeded() && !with.succeeded() {
        return Err(Stop::unmet(without.summary()));
    }
    case.expect_success(&without, "status.not-relied-on");
    case.expect(
        with.succeeded() || !status.succeeded(),
        "status.not-ready-nonzero",
        "ADD succeeds after STATUS said that the plugin is ready",
        with.summary(),
    );
    Ok(())
}

fn delegate_missing(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = without_delegate(case)?;
    let call = case.call(Operation::Add, &attachment).label("ADD with a delegate that does not exist");
    if case.run(call)?.succeeded() {
        return Err(Stop::skip("ADD does not need the plugin that it delegates to".to_owned()));
    }
    let call = case.call(Operation::Status, &attachment).label("STATUS with a delegate that does not exist");
    let answer = case.run(call)?;
    expect_not_ready(
        case,
        &answer,
        "status.forwards-to-delegate",
        "the plugin to delegate to does not exist",
    );
    Ok(())
}

fn delegate_called(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    cycle::record_delegate(case, &mut attachment, Behaviour::Faithful)?;
    cycle::recorded_add(case, &mut attachment)?;
    let call = cycle::recorded_call(case, Operation::Status, &attachment);
    let requirements = ["status.forwards-to-delegate", "deleg.status-forwarded"];
    cycle::expect_delegated(case, call, Operation::Status, &requirements)?;
    Ok(())
}

fn delegate_error(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    cycle::record_delegate(case, &mut attachment, Behaviour::Fails(Operation::Status))?;
    cycle::recorded_add(case, &mut attachment)?;
    let call = cycle::recorded_call(case, Operation::Status, &attachment)
        .label("STATUS whose delegated plugin fails");
    let answer = case.run(call)?;
    expect_not_ready(
        case,
        &answer,
        "status.delegate-error-propagates",
        "the delegated plugin reported an error",
    );
    Ok(())
}

/// The codes of a STATUS that is not ready; with the delegated plugin missing, or no address left.
fn codes(case: &mut Case<'_>) -> Result<(), Stop> {
    let answer = match case.variant {
        "delegate-missing" => {
            if case.kind() == Kind::Ipam {
                return Err(Stop::skip("the plugin delegates nothing".to_owned()));
            }
            let attachment = without_delegate(case)?;
            let call = case.call(Operation::Status, &attachment);
            case.run(call.label("STATUS with a delegate that does not exist"))?
        }
        _ => {
            let (refused, _) = exhaust(case)?;
            let call = case.call(Operation::Status, &refused).label("STATUS while ADD finds no free address");
            case.run(call)?
        }
    };
    let Some(code) = answer.code().filter(|_| answer.refused()) else {
        return Err(Stop::unmet(answer.summary()));
    };
    let fits =
        [UNAVAILABLE, UNAVAILABLE_LIMITED_CONNECTIVITY].contains(&code) || code >= FIRST_PLUGIN_SPECIFIC;
    let expected = format!(
        "code {UNAVAILABLE}, {UNAVAILABLE_LIMITED_CONNECTIVITY}, or one of the plugin's own from {FIRST_PLUGIN_SPECIFIC} up"
    );
    case.expect(fits, "status.code-50", expected, answer.summary());
    Ok(())
}

fn daemon_missing(case: &mut Case<'_>) -> Result<(), Stop> {
    let daemon = case.target.and_then(|target| target.daemon.clone()).unwrap_or_default();
    let attachment = case.attachment()?;
    let answer = case.operate(Operation::Status, &attachment)?;
    let why = format!("ADD cannot be served: {daemon} does not run");
    expect_not_ready(case, &answer, "status.external-dependency", &why);
    Ok(())
}

/// Codes 50 and 51 speak of ADD that cannot be served; an operation that refuses a faulty request says something else.
fn codes_elsewhere(case: &mut Case<'_>) -> Result<(), Stop> {
    for operation in [Operation::Add, Operation::Del, Operation::Check, Operation::Gc] {
        let attachment = case.attachment()?;
        let call =
            case.call(operation, &attachment).text("{").label(format!("{operation} with malformed JSON"));
        let answer = case.run(call)?;
        let misused =
            answer.code().is_some_and(|code| [UNAVAILABLE, UNAVAILABLE_LIMITED_CONNECTIVITY].contains(&code));
        let expected = format!(
            "codes {UNAVAILABLE} and {UNAVAILABLE_LIMITED_CONNECTIVITY} say that the plugin is not available"
        );
        case.expect(!misused, "error.code-50-51", expected, answer.summary());
    }
    Ok(())
}

/// An attachment whose configuration names a plugin to delegate to that does not exist.
///
/// # Errors
/// Skips the case when the configuration delegates nothing.
fn without_delegate(case: &mut Case<'_>) -> Result<Attachment, Stop> {
    let mut attachment = case.attachment()?;
    let delegate = cycle::delegate_of(case, &mut attachment.plugin)?;
    delegate.insert("type".to_owned(), json!("cnitest-missing"));
    Ok(attachment)
}

/// Attaches containers until ADD fails: the one that failed, and those that did not.
///
/// # Errors
/// Skips the case when the addresses are not used up by [`MANY`] containers, or when there are none.
fn exhaust(case: &mut Case<'_>) -> Result<(Attachment, Vec<Attachment>), Stop> {
    let mut attached: Vec<Attachment> = Vec::new();
    loop {
        if attached.len() == MANY {
            return Err(Stop::skip(format!("{MANY} containers do not use up the addresses")));
        }
        let mut attachment = case.attachment()?;
        match case.add(&mut attachment) {
            Ok(_) => attached.push(attachment),
            Err(Stop::Skip { .. }) if attached.is_empty() => {
                return Err(Stop::unmet("no container could be added".to_owned()));
            }
            Err(Stop::Skip { .. }) => return Ok((attachment, attached)),
            Err(stop) => return Err(stop),
        }
    }
}

fn exhausted(case: &mut Case<'_>) -> Result<(), Stop> {
    let (refused, attached) = exhaust(case)?;
    let first = attached[0].clone();
    let call = case.call(Operation::Status, &refused).label("STATUS while ADD finds no free address");
    let answer = case.run(call)?;
    let not_ready = !answer.succeeded();
    expect_not_ready(case, &answer, "status.resources-exhausted", "no address is free");
    let call = case.call(Operation::Del, &first).label("DEL while no address is free");
    let deleted = case.run(call)?;
    if not_ready {
        case.expect_success(&deleted, "status.other-ops-after-error");
        let call = case.call(Operation::Add, &refused).label("ADD after an address became free");
        if case.run(call)?.succeeded() {
            case.operate(Operation::Del, &refused)?;
            let call = case.call(Operation::Status, &refused).label("STATUS after an address became free");
            let answer = case.run(call)?;
            case.expect_success(&answer, "status.ready-exit-zero");
        }
    }
    Ok(())
}

/// Expects a failing STATUS with an error object on stdout.
fn expect_not_ready(case: &mut Case<'_>, answer: &Answer, requirement: &'static str, why: &str) {
    if case.expect_refusal(answer, requirement, why) {
        case.expect(
            answer.error().is_some(),
            "status.not-ready-error-on-stdout",
            "STATUS that fails prints one error object on stdout",
            answer.summary(),
        );
    }
}
