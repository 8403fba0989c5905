//! The plugins of a network: their order, and the result that goes through them.

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::check;
use crate::checks::Check;
use crate::checks::case::Stop;
use crate::checks::stage::{self, CHAIN, SPIES, Stage, account, executed, said};
use crate::checks::{Scope, pretty};
use crate::spy::{Answer, Record, Rule};

pub(super) const CHECKS: &[Check] = &[
    check(
        "runtime.order",
        "The plugins of a network are executed in its order, DEL in reverse, one at a time",
        &[
            "runtime.add-order",
            "runtime.del-reverse-order",
            "runtime.check-order",
            "runtime.del-success-when-all-succeed",
            "config.plugins-order-significant",
            "config.type-names-binary",
            "exec.lookup-by-type",
        ],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, order),
    ),
    check(
        "runtime.previous-result",
        "Each ADD but the first gets the result before it, CHECK and DEL the result of the whole ADD",
        &[
            "runtime.inject-prevresult-add",
            "runtime.no-prevresult-first-add",
            "runtime.prevresult-del",
            "runtime.no-prevresult-del-legacy",
            "runtime.prevresult-check",
            "check.runtime-prevresult",
            "runtime.store-result",
        ],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, previous_result),
    ),
    check(
        "runtime.previous-result-unchanged",
        "A result reaches the next plugin as it was returned, and unknown keys and large numbers with it",
        &["runtime.prevresult-verbatim"],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, unchanged),
    ),
    check(
        "runtime.final-result",
        "The result of a network is that of its last plugin",
        &["runtime.add-returns-final-result"],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, final_result),
    ),
    check(
        "runtime.static-previous-result",
        "A prevResult in the configuration does not reach the first ADD",
        &["runtime.no-prevresult-first-add"],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, static_previous),
    ),
    check(
        "runtime.result-forms",
        "Results without interfaces are taken, and those that are none refused",
        &[
            "runtime.tolerates-missing-interfaces",
            "runtime.invalid-result-is-error",
            "runtime.result-version-mismatch",
            "exec.runtime-error-json-exit0",
            "runtime.interface-index-range",
            "result.conversion-up",
        ],
        Scope::Versions,
        Version::V0_3_0,
        &[
            "without interfaces",
            "without cniVersion",
            "null",
            "a list",
            "a number",
            "nothing",
            "not JSON",
            "an unknown version",
            "an error object",
            "an interface that is not there",
            "an older form",
        ],
        |case| stage::play(case, result_forms),
    ),
];

fn order(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let pod = stage.join(&CHAIN)?;
    stage.add(&pod)?;
    let seen = stage.seen(Operation::Add)?;
    stage.expect_order(&seen, &CHAIN, "runtime.add-order", "ADD");
    let listed = executed(&seen) == CHAIN;
    stage.case.expect(
        listed,
        "config.plugins-order-significant",
        "plugins are executed in the order of the list",
        "the order was another",
    );
    let folder = stage.adapter.plugin_dir.as_deref().unwrap_or(SPIES);
    for record in &seen {
        let type_of = record.request().get("type").cloned().unwrap_or_default();
        let same =
            type_of == record.plugin.as_str() && record.program == format!("{folder}/{}", record.plugin);
        for requirement in ["exec.lookup-by-type", "config.type-names-binary"] {
            stage.case.expect(
                same,
                requirement,
                "the file that the plugin's type names is executed",
                format!("{} was executed for type {type_of}", record.program),
            );
        }
    }
    let asks = stage.has(Operation::Check);
    let checked = asks.then(|| stage.ask(Operation::Check, &pod)).transpose()?.map(stage::needed);
    if let Some(Ok(_)) = checked {
        let seen = stage.seen(Operation::Check)?;
        stage.expect_order(&seen, &CHAIN, "runtime.check-order", "CHECK");
    }
    if stage.has(Operation::Del) {
        let answer = stage.ask(Operation::Del, &pod)?;
        let holds = answer.succeeded();
        stage.case.expect(
            holds,
            "runtime.del-success-when-all-succeed",
            "DEL succeeds when every plugin's does",
            account(&answer),
        );
        let seen = stage.seen(Operation::Del)?;
        let reverse: Vec<&str> = CHAIN.into_iter().rev().collect();
        stage.expect_order(&seen, &reverse, "runtime.del-reverse-order", "DEL");
    }
    // A CHECK that failed has not shown its order; what DEL does is judged all the same.
    checked.transpose().map(|_| ())
}

/// The spies that a result has gone through.
fn passed(result: Option<&Value>) -> Vec<&str> {
    let search = result.and_then(|result| result.pointer("/dns/search")).and_then(Value::as_array);
    search.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn expect_passed(stage: &mut Stage<'_, '_>, record: &Record, spies: &[&str], requirements: &[&'static str]) {
    let request = record.request();
    let previous = request.get("prevResult");
    let seen = passed(previous);
    let whole = previous.is_some() && seen == spies;
    let observed = match previous {
        None => format!("{} had no prevResult", record.label()),
        Some(_) => format!("{} had a result of {}", record.label(), stage::listed(&seen)),
    };
    for requirement in requirements {
        stage.case.expect(
            whole,
            requirement,
            format!("{} gets the result of {} as prevResult", record.label(), spies.join(", ")),
            &observed,
        );
    }
}

fn previous_result(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let pod = stage.join(&CHAIN)?;
    stage.add(&pod)?;
    for record in stage.seen(Operation::Add)? {
        let place = CHAIN.iter().position(|name| *name == record.plugin).unwrap_or_default();
        if place == 0 {
            let none = !record.request().contains_key("prevResult");
            stage.case.expect(
                none,
                "runtime.no-prevresult-first-add",
                "the first ADD has no prevResult",
                "it has one",
            );
        } else {
            expect_passed(stage, &record, &CHAIN[..place], &["runtime.inject-prevresult-add"]);
        }
    }
    if stage.has(Operation::Check) {
        stage.ask(Operation::Check, &pod)?;
        for record in stage.seen(Operation::Check)? {
            let requirements =
                ["runtime.prevresult-check", "check.runtime-prevresult", "runtime.store-result"];
            expect_passed(stage, &record, &CHAIN, &requirements);
        }
    }
    stage.ask(Operation::Del, &pod)?;
    for record in stage.seen(Operation::Del)? {
        if stage.at_least(Version::V0_4_0) {
            expect_passed(stage, &record, &CHAIN, &["runtime.prevresult-del", "runtime.store-result"]);
        } else {
            let none = !record.request().contains_key("prevResult");
            stage.case.expect(
                none,
                "runtime.no-prevresult-del-legacy",
                "before 0.4.0 DEL has no prevResult",
                format!("{} has one", record.label()),
            );
        }
    }
    Ok(())
}

fn unchanged(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let mut result = json!({
        "cniVersion": stage.case.version.as_str(),
        "interfaces": [{ "name": "net7", "sandbox": "/run/netns/pod1" }],
        "ips": [{ "address": "10.77.3.4/16", "interface": 0 }],
        "routes": [{ "dst": "192.0.2.0/24" }],
        "dns": { "nameservers": ["192.0.2.53"] },
        "vendor.example/extension": { "large": 1, "list": [{ "deep": true }, null] },
    });
    if !stage.at_least(Version::V1_0_0) {
        result["ips"][0]["version"] = "4".into();
    }
    let text = result.to_string().replace("\"large\":1", "\"large\":12345678901234567890");
    let result: Value = serde_json::from_str(&text)
        .map_err(|error| Stop::Undecided(format!("the result is not JSON: {error}")))?;
    let pod = stage.join(&CHAIN)?;
    stage.answer(Rule::new("alpha", "ADD", Answer::prints(text)))?;
    stage.add(&pod)?;
    let Some(second) = stage.seen(Operation::Add)?.into_iter().find(|record| record.plugin == "beta") else {
        return Err(Stop::unmet("the second plugin was never executed"));
    };
    let got = second.request().get("prevResult").cloned().unwrap_or_default();
    stage.case.expect(
        got == result,
        "runtime.prevresult-verbatim",
        format!("prevResult is {result}"),
        format!("it was {got}"),
    );
    Ok(())
}

fn final_result(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs(stage.adapter.can.result, "result", "prints the result of ADD")?;
    let pod = stage.join(&CHAIN)?;
    let answer = stage.add(&pod)?;
    let seen = passed(answer.document());
    let observed = match answer.document() {
        Some(document) => format!("it printed {document}"),
        None => answer.summary(),
    };
    stage.case.expect(
        seen == CHAIN,
        "runtime.add-returns-final-result",
        "ADD returns the result of the last plugin",
        observed,
    );
    Ok(())
}

fn static_previous(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let mut list = stage.list(&["alpha"]);
    list["plugins"][0]["prevResult"] =
        json!({ "cniVersion": stage.case.version.as_str(), "dns": { "search": ["static"] } });
    stage.network(&list)?;
    let pod = stage.pod()?;
    let answer = stage.ask(Operation::Add, &pod)?;
    let Some(first) = stage.seen(Operation::Add)?.into_iter().next() else {
        // Refusing such a configuration keeps it from the plugin too.
        stage.case.note(format!("the configuration was refused: {}", said(&answer)));
        return Ok(());
    };
    let request = first.request();
    let observed = format!("it got {}", request.get("prevResult").map(pretty).unwrap_or_default());
    stage.case.expect(
        !request.contains_key("prevResult"),
        "runtime.no-prevresult-first-add",
        "the first ADD has no prevResult, whatever the file says",
        observed,
    );
    Ok(())
}

fn result_forms(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let variant = stage.case.variant;
    let version = stage.case.version.as_str();
    let ips = match stage.at_least(Version::V1_0_0) {
        true => json!([{ "address": "10.77.3.4/16" }]),
        false => json!([{ "address": "10.77.3.4/16", "version": "4" }]),
    };
    let text = match variant {
        "without interfaces" => json!({ "cniVersion": version, "ips": ips }).to_string(),
        "without cniVersion" => json!({ "ips": ips }).to_string(),
        "null" => "null".to_owned(),
        "a list" => "[]".to_owned(),
        "a number" => "1".to_owned(),
        "not JSON" => "all went well".to_owned(),
        "an unknown version" => json!({ "cniVersion": "99.0.0", "ips": ips }).to_string(),
        "an interface that is not there" => {
            let mut ips = ips;
            ips[0]["interface"] = 7.into();
            json!({ "cniVersion": version, "interfaces": [{ "name": "net7" }], "ips": ips }).to_string()
        }
        "an older form" => json!({ "cniVersion": "0.2.0", "ip4": { "ip": "10.77.3.4/16" } }).to_string(),
        "an error object" => json!({ "cniVersion": version, "code": 7, "msg": "spy-refusal-7" }).to_string(),
        _ => String::new(),
    };
    let pod = stage.join(&["alpha"])?;
    stage.answer(Rule::new("alpha", "ADD", Answer::prints(text)))?;
    let answer = stage.ask(Operation::Add, &pod)?;
    let observed = account(&answer);
    let taken = answer.succeeded();
    let mut state = |holds: bool, requirement, expected: &str| {
        stage.case.expect(holds, requirement, expected, &observed);
    };
    match variant {
        "without interfaces" => {
            state(taken, "runtime.tolerates-missing-interfaces", "a result without interfaces is taken");
        }
        "without cniVersion" => {
            state(taken, "runtime.result-version-mismatch", "a result without cniVersion has the network's");
        }
        "an unknown version" => {
            state(!taken, "runtime.result-version-mismatch", "a result of an unknown version is refused");
        }
        "an error object" => {
            state(
                taken,
                "exec.runtime-error-json-exit0",
                "the exit status decides, not what stdout looks like",
            );
        }
        "an interface that is not there" => state(
            !answer.crashed(),
            "runtime.interface-index-range",
            "the runtime takes the result or refuses it, and does not fall over it",
        ),
        "an older form" => {
            state(
                taken,
                "result.conversion-up",
                "a result in the form of 0.2.0 is taken for one of the network's version",
            );
        }
        _ => state(
            !taken,
            "runtime.invalid-result-is-error",
            "what is no result is an error, though the exit status is 0",
        ),
    }
    // Whatever it makes of a result, it must not fall over it.
    stage.case.expect(
        !answer.crashed(),
        "runtime.invalid-result-is-error",
        "the runtime reports an error and exits",
        observed.clone(),
    );
    Ok(())
}
