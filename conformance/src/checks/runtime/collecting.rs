//! GC, STATUS, and what must not run beside each other.

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::check;
use crate::checks::Check;
use crate::checks::Scope;
use crate::checks::case::Stop;
use crate::checks::stage::{self, CHAIN, Stage, account, executed, listed};
use crate::spy::{Answer, Record, Rule};

pub(super) const CHECKS: &[Check] = &[
    check(
        "runtime.gc",
        "GC tells every plugin, in the order of the list, which attachments are still valid",
        &[
            "gc.runtime-valid-attachments",
            "gc.attachment-containerid",
            "gc.attachment-ifname",
            "gc.runtime-attachments-alias",
            "gc.runtime-del-stale-first",
            "runtime.gc-order",
            "runtime.gc-success-when-all-succeed",
        ],
        Scope::Versions,
        Version::V1_1_0,
        &["nothing attached", "one attached", "one attached and one lost"],
        |case| stage::play(case, gc),
    ),
    check(
        "runtime.gc-error",
        "GC goes on when a plugin fails, and tells so at the end",
        &["runtime.gc-continues-on-error", "runtime.error-surfaced"],
        Scope::Versions,
        Version::V1_1_0,
        &[],
        |case| stage::play(case, gc_error),
    ),
    check(
        "runtime.gc-withheld",
        "GC is not sent where the network forbids it, nor in a version that does not have it",
        &["gc.runtime-disablegc", "runtime.gc-not-below-110"],
        Scope::Versions,
        Version::V1_1_0,
        &["disableGC", "an older version"],
        |case| stage::play(case, gc_withheld),
    ),
    check(
        "runtime.gc-and-del",
        "An attachment is deleted by DEL, whether or not GC was asked for before",
        &["gc.runtime-not-del-substitute"],
        Scope::Once,
        Version::V1_1_0,
        &[],
        |case| stage::play(case, gc_and_del),
    ),
    check(
        "runtime.gc-alone",
        "No ADD or DEL runs beside GC",
        &["gc.runtime-exclusive"],
        Scope::Once,
        Version::V1_1_0,
        &["ADD", "DEL"],
        |case| stage::play(case, gc_alone),
    ),
    check(
        "runtime.one-at-a-time",
        "No two operations run on one container at the same time",
        &["runtime.no-parallel-same-container", "runtime.add-followed-by-del"],
        Scope::Once,
        Version::V0_4_0,
        &["ADD and DEL", "two interfaces"],
        |case| stage::play(case, one_at_a_time),
    ),
    check(
        "runtime.status",
        "STATUS asks the plugins in order and tells the first that is not ready",
        &["status.version-gate", "runtime.error-surfaced"],
        Scope::Once,
        Version::V1_1_0,
        &["ready", "not ready", "an older version"],
        |case| stage::play(case, status),
    ),
];

fn gc(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Gc)?;
    let variant = stage.case.variant;
    let kept = stage.join(&CHAIN)?;
    if variant != "nothing attached" {
        stage.add(&kept)?;
    }
    let lost = stage.pod()?;
    if variant == "one attached and one lost" {
        stage.needs(stage.adapter.can.netns, "netns", "takes a namespace that cnitest can remove")?;
        stage.add(&lost)?;
        stage.case.arena.delete_netns(&lost.container)?;
    }
    let added = stage.seen(Operation::Add)?;
    let identity = |record: &Record| {
        let value = |name| record.variable(name).unwrap_or_default().to_owned();
        (value("CNI_CONTAINERID"), value("CNI_IFNAME"))
    };
    let valid: Vec<(String, String)> = added.first().map(identity).into_iter().collect();
    let before = stage.count()?;
    let answer = stage.ask(Operation::Gc, &kept)?;
    stage.case.expect(
        answer.succeeded(),
        "runtime.gc-success-when-all-succeed",
        "GC succeeds when every plugin's does",
        account(&answer),
    );
    let collected = stage.since(before, Operation::Gc)?;
    stage.expect_order(&collected, &CHAIN, "runtime.gc-order", "GC");
    for record in &collected {
        let request = record.request();
        let list = request.get("cni.dev/valid-attachments");
        let entries = list.and_then(Value::as_array);
        let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        let (mut ids, mut ifnames) = (true, true);
        let mut told = Vec::new();
        for entry in entries.into_iter().flatten() {
            let pair = (text(entry, "containerID"), text(entry, "ifname"));
            ids &= pair.0.is_some();
            ifnames &= pair.1.is_some();
            told.push((pair.0.unwrap_or_default(), pair.1.unwrap_or_default()));
        }
        let shown = list.map_or_else(|| "nothing".to_owned(), Value::to_string);
        let label = record.label();
        stage.case.expect(
            entries.is_some() && told == valid,
            "gc.runtime-valid-attachments",
            format!("{label} has in cni.dev/valid-attachments what is attached: {valid:?}"),
            format!("it had {shown}"),
        );
        stage.case.expect(
            ids,
            "gc.attachment-containerid",
            "each entry has a containerID",
            format!("it had {shown}"),
        );
        stage.case.expect(
            ifnames,
            "gc.attachment-ifname",
            "each entry has an ifname",
            format!("it had {shown}"),
        );
        stage.case.expect(
            request.get("cni.dev/attachments") == list,
            "gc.runtime-attachments-alias",
            "cni.dev/attachments holds the same",
            format!("it had {}", request.get("cni.dev/attachments").cloned().unwrap_or_default()),
        );
    }
    let deleted = stage.since(before, Operation::Del)?;
    let kept_id = added.first().and_then(|record| record.variable("CNI_CONTAINERID")).unwrap_or_default();
    let wrong = deleted.iter().find(|record| record.variable("CNI_CONTAINERID") == Some(kept_id));
    stage.case.expect(
        wrong.is_none(),
        "gc.runtime-valid-attachments",
        "what is attached is not deleted",
        format!("{} was executed for it", wrong.map(Record::label).unwrap_or_default()),
    );
    if variant == "one attached and one lost" {
        let names = executed(&deleted);
        let first = collected.first().map_or(u64::MAX, |record| record.began);
        let early = deleted.iter().all(|record| record.began < first);
        stage.case.expect(
            CHAIN.iter().all(|name| names.contains(name)) && early,
            "gc.runtime-del-stale-first",
            "what is lost is deleted before the plugins are asked for GC",
            format!("DEL executed {}", listed(&names)),
        );
    }
    Ok(())
}

fn gc_and_del(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Gc)?;
    stage.needs_operation(Operation::Del)?;
    let pod = stage.join(&CHAIN)?;
    stage.add(&pod)?;
    stage.ask(Operation::Gc, &pod)?;
    let before = stage.count()?;
    let answer = stage.ask(Operation::Del, &pod)?;
    let seen = stage.since(before, Operation::Del)?;
    let mut names = executed(&seen);
    names.sort_unstable();
    stage.case.expect(
        names == CHAIN,
        "gc.runtime-not-del-substitute",
        "after GC, the container's DEL executes every plugin with DEL",
        format!("{}; it executed {}", answer.summary(), listed(&names)),
    );
    Ok(())
}

fn gc_error(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Gc)?;
    let pod = stage.join(&CHAIN)?;
    stage.answer(Rule::new("alpha", "GC", Answer::fails(117)))?;
    stage.answer(Rule::new("beta", "GC", Answer::fails(118)))?;
    let answer = stage.ask(Operation::Gc, &pod)?;
    let seen = stage.seen(Operation::Gc)?;
    let names = executed(&seen);
    stage.case.expect(
        names == CHAIN,
        "runtime.gc-continues-on-error",
        "GC asks every plugin, whichever fail",
        format!("it executed {}", listed(&names)),
    );
    let all = format!("{}{}", answer.execution.stdout_text(), answer.execution.stderr_text());
    let told = ["spy-refusal-117", "spy-refusal-118"].iter().all(|word| all.contains(word));
    for (holds, requirement) in
        [(!answer.succeeded(), "runtime.gc-continues-on-error"), (told, "runtime.error-surfaced")]
    {
        stage.case.expect(holds, requirement, "GC fails and tells every error", account(&answer));
    }
    Ok(())
}

fn gc_withheld(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Gc)?;
    let mut list = stage.list(&CHAIN);
    let requirement = match stage.case.variant {
        "disableGC" => {
            list["disableGC"] = true.into();
            "gc.runtime-disablegc"
        }
        _ => {
            list["cniVersion"] = "1.0.0".into();
            "runtime.gc-not-below-110"
        }
    };
    stage.network(&list)?;
    let pod = stage.pod()?;
    stage.add(&pod)?;
    stage.ask(Operation::Gc, &pod)?;
    let seen = stage.seen(Operation::Gc)?;
    let names = executed(&seen);
    stage.case.expect(
        seen.is_empty(),
        requirement,
        "no plugin is asked for GC",
        format!("GC executed {}", listed(&names)),
    );
    Ok(())
}

fn gc_alone(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Gc)?;
    stage.needs(stage.adapter.can.parallel, "parallel", "can be asked for several operations at once")?;
    let pod = stage.join(&["alpha"])?;
    let operation = if stage.case.variant == "ADD" { Operation::Add } else { Operation::Del };
    if operation == Operation::Del {
        stage.add(&pod)?;
    }
    let before = stage.count()?;
    stage.answer(Rule::new("*", "*", Answer::after(700)))?;
    stage.ask_together(&[(operation, &pod), (Operation::Gc, &pod)])?;
    let seen: Vec<Record> = stage.records()?.into_iter().skip(before).collect();
    let of = |command: &str| seen.iter().filter(|record| record.command() == command).count();
    if of("GC") == 0 || of(operation.as_str()) == 0 {
        return Err(Stop::unmet("the two operations did not both execute a plugin"));
    }
    // The only container is the one that the other operation is about: a DEL that GC executes is part of GC.
    let pair = stage::beside(&seen).map(|(one, other)| format!("{} and {}", one.label(), other.label()));
    stage.case.expect(
        pair.is_none(),
        "gc.runtime-exclusive",
        format!("GC and {operation} run one after the other"),
        format!("{} ran at the same time", pair.unwrap_or_default()),
    );
    Ok(())
}

fn one_at_a_time(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs(stage.adapter.can.parallel, "parallel", "can be asked for several operations at once")?;
    stage.needs_operation(Operation::Del)?;
    let pod = stage.join(&["alpha"])?;
    stage.answer(Rule::new("*", "*", Answer::after(700)))?;
    match stage.case.variant {
        "two interfaces" => {
            stage.needs(stage.adapter.can.interfaces, "interfaces", "attaches a container several times")?;
            let second = pod.second_interface("net8");
            stage.ask_together(&[(Operation::Add, &pod), (Operation::Add, &second)])?;
        }
        _ => {
            let answers = stage.ask_together(&[(Operation::Add, &pod), (Operation::Del, &pod)])?;
            let deleted = !stage.seen(Operation::Del)?.is_empty();
            let refused = answers.last().is_some_and(|answer| !answer.succeeded());
            // A runtime that makes the container itself knows of none when DEL is asked for first: that is no DEL of it.
            stage.case.expect(
                deleted || refused || !stage.adapter.can.netns,
                "runtime.add-followed-by-del",
                "DEL reaches the plugin, or fails, though ADD is under way",
                "it succeeded, and no plugin was asked",
            );
        }
    }
    let seen = stage.records()?;
    if seen.len() < 2 {
        return Err(Stop::unmet("the two operations did not both execute a plugin"));
    }
    let pair = stage::beside(&seen).map(|(one, other)| format!("{} and {}", one.label(), other.label()));
    stage.case.expect(
        pair.is_none(),
        "runtime.no-parallel-same-container",
        "operations on one container run one after the other",
        format!("{} ran at the same time", pair.unwrap_or_default()),
    );
    Ok(())
}

fn status(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Status)?;
    let mut list = stage.list(&CHAIN);
    let variant = stage.case.variant;
    if variant == "an older version" {
        list["cniVersion"] = json!("1.0.0");
    }
    stage.network(&list)?;
    let pod = stage.pod()?;
    if variant != "ready" {
        stage.answer(Rule::new("beta", "STATUS", Answer::fails(50)))?;
    }
    let answer = stage.ask(Operation::Status, &pod)?;
    let seen = stage.seen(Operation::Status)?;
    let names = executed(&seen);
    let observed = format!("{}; STATUS executed {}", answer.summary(), listed(&names));
    match variant {
        "not ready" => {
            let told = answer.execution.stderr_text() + &answer.execution.stdout_text();
            stage.case.expect(
                !answer.succeeded() && told.contains("spy-refusal-50"),
                "runtime.error-surfaced",
                "STATUS tells that beta is not ready",
                account(&answer),
            );
            stage.case.expect(
                names == ["alpha", "beta"],
                "status.version-gate",
                "STATUS ends at beta",
                observed,
            );
        }
        "ready" => {
            stage.case.expect(
                names == CHAIN && answer.succeeded(),
                "status.version-gate",
                "STATUS asks every plugin",
                observed,
            );
        }
        _ => {
            stage.case.expect(
                names.is_empty() && answer.succeeded(),
                "status.version-gate",
                "before 1.1.0 no plugin is asked for STATUS, which succeeds",
                observed,
            );
        }
    }
    Ok(())
}
