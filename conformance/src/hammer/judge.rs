//! What scenarios and volleys judge alike: requests that something is wrong with, and VERSION.

use cni_spec::parameters::Variable;
use cni_spec::{Operation, Version, error};

use super::fault::{Demand, wrong};
use super::harmless::Asking;
use super::scenario::Fault;
use crate::checks::changes::{self, Subject};
use crate::checks::protocol::{code_requirement, expect_lives, expect_named};
use crate::checks::{Answer, Attachment, Call, Case, Stop, execution, version};

/// The request of an operation with the fault, labelled; none where the fault changes nothing here.
pub(super) fn wrong_call(
    case: &Case<'_>,
    operation: Operation,
    attachment: &Attachment,
    fault: &Fault,
) -> Option<(Call, Demand)> {
    let call = case.call_without_request(operation, attachment);
    let (call, demand) = wrong(case, call, case.request(operation, attachment), fault)?;
    let asked = match fault {
        Fault::Environment { variable, .. } if variable == Variable::Command.as_str() => {
            "a request".to_owned()
        }
        _ => operation.to_string(),
    };
    let label = format!("{asked} {}", demand.why);
    Some((call.label(label), demand))
}

/// What the answer of a faulty request must be. `works` says that the plugin takes the request without the fault: otherwise
/// it may have looked at something else first, and no order is prescribed.
pub(super) fn judge_faulty(case: &mut Case<'_>, demand: &Demand, answer: &Answer, works: bool) {
    if let Some(requirement) = demand.requirement
        && case.level(requirement).is_some()
        && case.expect_refusal(answer, requirement, &demand.why)
        && let Some((code_of, codes)) = demand.code
    {
        let code_of = if works { code_requirement(case, code_of) } else { "param.validation-order" };
        case.expect_code(answer, code_of, codes);
        if let (Some(variable), Some(error::INVALID_ENVIRONMENT)) = (&demand.variable, answer.code()) {
            expect_named(case, answer, "error.code-4-names-vars", variable);
        }
    }
    expect_lives(case, answer);
    if let (Some(document), true) = (answer.document(), answer.refused()) {
        // Versions that have no such document are not judged by it.
        let _ = execution::judge_error_object(case, answer, document);
    }
}

/// Judges an answer to VERSION. `named` is what the last one named, if there was one.
///
/// # Errors
/// When cnitest could not go on.
pub(super) fn judge_version(
    case: &mut Case<'_>,
    answer: &Answer,
    asking: Asking,
    named: &mut Option<Vec<String>>,
) -> Result<(), Stop> {
    // 0.1.0 has no VERSION.
    if !expect_lives(case, answer) || case.version < Version::V0_2_0 {
        return Ok(());
    }
    version::judge_answer(case, answer, asking.requirement());
    let Some(document) = answer.document().filter(|_| answer.succeeded()) else { return Ok(()) };
    version::judge_document(case, document)?;
    let Ok(versions) = version::sorted(document) else { return Ok(()) };
    version::judge_entries(case, document)?;
    if let Some(given) = asking.given(case.version).filter(|given| *given >= Version::V1_0_0) {
        version::judge_echo(case, answer.index, document, given);
    }
    let before = named.get_or_insert_with(|| versions.clone());
    let expected = format!("{} names {} as it did before", answer.label, before.join(", "));
    let same = *before == versions;
    case.expect(same, "version.stable", expected, format!("it names {}", versions.join(", ")));
    Ok(())
}

/// Whether nobody has to answer for this line of a difference after a refusal. Folders and locks come with the first
/// attachment; `settled` says that there was one.
pub(super) fn may_come_of_refusal(line: &str, settled: bool) -> bool {
    changes::is_file_content(line) || !settled && changes::subject_of(line) == Subject::File
}
