//! Networks of each version of the specification.

use cni_spec::{Operation, Version};
use serde_json::json;

use super::check;
use crate::checks::Check;
use crate::checks::Scope;
use crate::checks::case::Stop;
use crate::checks::stage::{self, Stage, account, said};
use crate::spy::{Answer, Rule};

pub(super) const CHECKS: &[Check] = &[VERSIONS, PROBE];

const PROBE: Check = check(
    "runtime.version-probe",
    "A plugin is asked for its versions with an object on stdin, and taken for one of 0.1.0 when it cannot tell",
    &["version.input-object", "version.runtime-version-probe-fallback"],
    Scope::Once,
    Version::V1_0_0,
    &["it answers", "it fails"],
    |case| stage::play(case, probe),
);

const VERSIONS: Check = check(
    "runtime.versions",
    "A network of each version works, and its plugins are asked for the operations of that version only",
    &[
        "version.runtime-multi",
        "param.command-values-010",
        "param.command-values-020",
        "param.command-values-040",
        "param.command-values-110",
    ],
    Scope::Versions,
    Version::V0_1_0,
    &[],
    |case| stage::play(case, versions),
);

fn probe(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Version)?;
    let fails = stage.case.variant == "it fails";
    let pod = stage.join_in(Version::V0_4_0, &["alpha"])?;
    if fails {
        stage.answer(Rule::new("alpha", "VERSION", Answer::fails(4)))?;
    }
    let answer = stage.ask(Operation::Version, &pod)?;
    let asked = stage.seen(Operation::Version)?;
    let Some(record) = asked.first() else {
        return Err(Stop::unmet(format!("no plugin was asked for VERSION: {}", said(&answer))));
    };
    if fails {
        let told = answer.execution.stdout_text();
        stage.case.expect(
            // Whether the network can be used with such a plugin is another question.
            told.contains("0.1.0") && !told.contains("1.0.0"),
            "version.runtime-version-probe-fallback",
            "the plugin is taken for one of 0.1.0",
            format!("{}: {told}", answer.summary()),
        );
    } else {
        stage.case.expect(
            record.request().get("cniVersion").is_some_and(serde_json::Value::is_string),
            "version.input-object",
            "stdin is an object with cniVersion",
            format!("it was {:?}", record.stdin),
        );
    }
    Ok(())
}

fn versions(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let version = stage.case.version;
    let commands = match version {
        version if version >= Version::V1_1_0 => "param.command-values-110",
        version if version >= Version::V0_4_0 => "param.command-values-040",
        version if version >= Version::V0_2_0 => "param.command-values-020",
        _ => "param.command-values-010",
    };
    let pod = if stage.at_least(Version::V0_3_0) {
        stage.case.decides(&[commands, "version.runtime-multi"]);
        stage.join(&["alpha"])?
    } else {
        stage.case.decides(&[commands]);
        stage.join_single(json!({ "type": "alpha" }))?
    };
    let answer = stage.ask(Operation::Add, &pod)?;
    if stage.at_least(Version::V0_3_0) {
        let added = stage.seen(Operation::Add)?;
        let asked = added.first().and_then(|record| record.request().get("cniVersion").cloned());
        stage.case.expect(
            answer.succeeded() && asked == Some(version.as_str().into()),
            "version.runtime-multi",
            format!("a network of {version} works"),
            account(&answer),
        );
    }
    for operation in [Operation::Check, Operation::Status, Operation::Gc, Operation::Del] {
        if stage.has(operation) {
            stage.ask(operation, &pod)?;
        }
    }
    let known: Vec<&str> = Operation::ALL
        .into_iter()
        .filter(|operation| version >= operation.since())
        .map(Operation::as_str)
        .collect();
    let records = stage.records()?;
    let other = records.iter().find(|record| !known.contains(&record.command()));
    stage.case.expect(
        other.is_none(),
        commands,
        format!("CNI_COMMAND is one of {}", known.join(", ")),
        format!("it was {:?}", other.map(|record| record.command()).unwrap_or_default()),
    );
    Ok(())
}
