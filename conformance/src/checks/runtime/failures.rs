//! What a runtime does when a plugin fails.

use std::time::Duration;

use cni_spec::{Operation, Version};

use super::check;
use crate::checks::Check;
use crate::checks::Scope;
use crate::checks::case::Stop;
use crate::checks::stage::{self, CHAIN, Pod, Stage, account, executed, listed, said};
use crate::spy::{Answer, Record, Rule};

pub(super) const CHECKS: &[Check] = &[
    check(
        "runtime.add-error",
        "An ADD that fails ends the list, is told to the caller, and is followed by DEL",
        &[
            "runtime.add-halts-on-error",
            "runtime.del-after-failed-add",
            "runtime.del-after-failed-add-all-plugins",
            "runtime.add-followed-by-del",
            "runtime.error-surfaced",
            "cache.not-written-on-failed-add",
        ],
        Scope::Versions,
        Version::V0_3_0,
        &["first", "middle", "last"],
        |case| stage::play(case, add_error),
    ),
    check(
        "runtime.plugin-dies",
        "A plugin that ends without a result has failed, however it ends, and the runtime tells how",
        &[
            "exec.runtime-treats-nonzero-as-error",
            "exec.signal-death-is-error",
            "runtime.tolerates-unknown-error-fields",
            "runtime.add-halts-on-error",
        ],
        Scope::Once,
        Version::V0_3_0,
        &[
            "exit status",
            "a result and an exit status",
            "signal",
            "not JSON",
            "an odd error",
            "a negative code",
        ],
        |case| stage::play(case, plugin_dies),
    ),
    check(
        "runtime.stderr",
        "What a plugin says on stderr is no failure",
        &["exec.runtime-ignores-stderr"],
        Scope::Once,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, stderr),
    ),
    check(
        "runtime.del-error",
        "A DEL that fails ends the list, is told to the caller, and can be repeated with the same result",
        &[
            "runtime.del-halts-on-error",
            "runtime.error-surfaced",
            "cache.kept-on-failed-del",
            "runtime.add-followed-by-del",
        ],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, del_error),
    ),
    check(
        "runtime.failed-twice",
        "When ADD and the DEL after it fail, a later DEL still reaches every plugin",
        &["runtime.add-followed-by-del", "runtime.del-after-failed-add"],
        Scope::Once,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, failed_twice),
    ),
    check(
        "runtime.check-error",
        "A CHECK that fails ends the list and is told to the caller",
        &["runtime.check-halts-on-error", "runtime.error-surfaced"],
        Scope::Versions,
        Version::V0_4_0,
        &[],
        |case| stage::play(case, check_error),
    ),
    check(
        "runtime.hangs",
        "A plugin that never answers makes the ADD fail at the deadline, and DEL follows",
        &["runtime.cleans-after-kill", "runtime.del-after-failed-add"],
        Scope::Once,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, hangs),
    ),
    check(
        "runtime.killed",
        "What a runtime was adding or deleting when it was killed is deleted later",
        &["runtime.cleans-after-kill", "runtime.add-followed-by-del"],
        Scope::Once,
        Version::V0_3_0,
        &["then DEL", "then GC", "in DEL"],
        |case| stage::play(case, killed),
    ),
];

/// Expects that an error object of a spy is found in what the runtime said.
fn expect_told(stage: &mut Stage<'_, '_>, answer: &crate::checks::Answer, code: u32) {
    stage.case.expect(
        !answer.succeeded(),
        "runtime.error-surfaced",
        format!("{} fails", answer.label),
        answer.summary(),
    );
    let all = format!("{}{}", answer.execution.stdout_text(), answer.execution.stderr_text());
    stage.case.expect(
        all.contains(&format!("spy-refusal-{code}")),
        "runtime.error-surfaced",
        format!("{} tells the plugin's message, spy-refusal-{code}", answer.label),
        format!("it said {}", said(answer)),
    );
}

fn add_error(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let place = match stage.case.variant {
        "first" => 0,
        "middle" => 1,
        _ => 2,
    };
    let pod = stage.join(&CHAIN)?;
    stage.answer(Rule::new(CHAIN[place], "ADD", Answer::fails(117)))?;
    let answer = stage.ask(Operation::Add, &pod)?;
    expect_told(stage, &answer, 117);
    // A runtime may try again: each try ends where the plugin failed.
    let added = stage.seen(Operation::Add)?;
    let beyond = added.iter().any(|record| CHAIN[place + 1..].contains(&record.plugin.as_str()));
    stage.case.expect(
        !beyond,
        "runtime.add-halts-on-error",
        format!("no plugin after {} is executed", CHAIN[place]),
        format!("ADD executed {}", listed(&executed(&added))),
    );
    // The DEL may come with the ADD, or when the container is removed.
    let mut deleted = stage.seen(Operation::Del)?;
    if deleted.is_empty() && stage.has(Operation::Del) && !stage.adapter.can.container_id {
        stage.ask(Operation::Del, &pod)?;
        deleted = stage.seen(Operation::Del)?;
    }
    let all = executed(&deleted);
    for requirement in ["runtime.del-after-failed-add", "runtime.add-followed-by-del"] {
        stage.case.expect(
            CHAIN[..=place].iter().all(|name| all.contains(name)),
            requirement,
            "the plugins that were asked for ADD are asked for DEL",
            format!("DEL executed {}", listed(&all)),
        );
    }
    stage.case.expect(
        CHAIN.iter().all(|name| all.contains(name)),
        "runtime.del-after-failed-add-all-plugins",
        "every plugin of the list is asked for DEL",
        format!("DEL executed {}", listed(&all)),
    );
    let carries = deleted.iter().find(|record| record.request().contains_key("prevResult"));
    stage.case.expect(
        carries.is_none(),
        "cache.not-written-on-failed-add",
        "the DEL after a failed ADD has no prevResult",
        format!("{} has one", carries.map(Record::label).unwrap_or_default()),
    );
    Ok(())
}

fn plugin_dies(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let variant = stage.case.variant;
    let stderr = Some("spy-last-words\n".to_owned());
    let silent = Answer { print: Some(String::new()), stderr, ..Answer::default() };
    let answer = match variant {
        "exit status" => Answer { exit: Some(3), ..silent },
        "a result and an exit status" => Answer { exit: Some(1), stderr: silent.stderr, ..Answer::default() },
        "signal" => Answer { signal: Some(11), print: None, ..silent },
        "not JSON" => Answer { print: Some("it went wrong".to_owned()), exit: Some(1), ..silent },
        "an odd error" => {
            let text = r#"{"cniVersion":1,"code":117,"msg":"spy-odd","details":{"a":[1]},"more":null}"#;
            Answer { print: Some(text.to_owned()), exit: Some(1), ..silent }
        }
        _ => {
            let text = r#"{"cniVersion":"1.0.0","code":-1,"msg":"spy-odd"}"#;
            Answer { print: Some(text.to_owned()), exit: Some(1), ..silent }
        }
    };
    let requirement = match variant {
        "signal" => "exec.signal-death-is-error",
        _ => "exec.runtime-treats-nonzero-as-error",
    };
    let pod = stage.join(&CHAIN)?;
    stage.answer(Rule::new("beta", "ADD", answer))?;
    let answer = stage.ask(Operation::Add, &pod)?;
    stage.case.expect(
        !answer.succeeded(),
        requirement,
        "ADD fails when a plugin ends without success",
        answer.summary(),
    );
    let added = stage.seen(Operation::Add)?;
    let beyond = executed(&added).contains(&"gamma");
    stage.case.expect(
        !beyond,
        "runtime.add-halts-on-error",
        "no plugin after beta is executed",
        format!("ADD executed {}", listed(&executed(&added))),
    );
    let all = format!("{}{}", answer.execution.stdout_text(), answer.execution.stderr_text());
    let told = ["spy-last-words", "spy-odd", "it went wrong", "exit status 3", "signal", "SIG", "beta"];
    stage.case.expect(
        !answer.crashed() && told.iter().any(|word| all.contains(word)),
        "runtime.tolerates-unknown-error-fields",
        "the runtime says which plugin failed, or how",
        format!("it said {:?}", said(&answer)),
    );
    Ok(())
}

fn stderr(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let pod = stage.join(&CHAIN)?;
    let talks = Answer { stderr: Some("error: only a remark\n".to_owned()), ..Answer::default() };
    stage.answer(Rule::new("*", "*", talks))?;
    for operation in [Operation::Add, Operation::Check, Operation::Del] {
        if stage.has(operation) {
            let answer = stage.ask(operation, &pod)?;
            stage.case.expect(
                answer.succeeded(),
                "exec.runtime-ignores-stderr",
                format!("{operation} succeeds although the plugins say something on stderr"),
                account(&answer),
            );
        }
    }
    Ok(())
}

fn del_error(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Del)?;
    let pod = stage.join(&CHAIN)?;
    stage.add(&pod)?;
    let before = stage.count()?;
    stage.answer(Rule::new("beta", "DEL", Answer::fails(117)))?;
    let answer = stage.ask(Operation::Del, &pod)?;
    let first = stage.since(before, Operation::Del)?;
    let all = executed(&first);
    stage.case.expect(
        !all.contains(&"alpha"),
        "runtime.del-halts-on-error",
        "DEL ends at beta, which fails",
        format!("DEL executed {}", listed(&all)),
    );
    // Whoever removes a container all the same has to come back to what is left.
    if answer.succeeded() {
        stage.case.note("the runtime says that the container is removed although a plugin's DEL failed");
    } else {
        expect_told(stage, &answer, 117);
    }
    stage.heal()?;
    let before = stage.count()?;
    let answer = stage.ask(Operation::Del, &pod)?;
    let again = stage.since(before, Operation::Del)?;
    let all = executed(&again);
    stage.case.expect(
        CHAIN.iter().all(|name| all.contains(name)),
        "runtime.add-followed-by-del",
        "DEL can be repeated, and reaches every plugin",
        format!("{}: DEL executed {}", answer.summary(), listed(&all)),
    );
    if stage.at_least(Version::V0_4_0) {
        let lacking = again.iter().find(|record| !record.request().contains_key("prevResult"));
        stage.case.expect(
            lacking.is_none(),
            "cache.kept-on-failed-del",
            "the repeated DEL has the result of the ADD as prevResult",
            format!("{} has none", lacking.map(Record::label).unwrap_or_default()),
        );
    }
    Ok(())
}

fn failed_twice(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Del)?;
    let pod = stage.join(&CHAIN)?;
    stage.answer(Rule::new("gamma", "ADD", Answer::fails(117)))?;
    stage.answer(Rule::new("gamma", "DEL", Answer::fails(118)))?;
    let answer = stage.ask(Operation::Add, &pod)?;
    if answer.succeeded() {
        return Err(Stop::unmet("ADD succeeded although a plugin failed"));
    }
    stage.heal()?;
    let before = stage.count()?;
    let answer = stage.ask(Operation::Del, &pod)?;
    let deleted = stage.since(before, Operation::Del)?;
    let all = executed(&deleted);
    for requirement in ["runtime.add-followed-by-del", "runtime.del-after-failed-add"] {
        stage.case.expect(
            CHAIN.iter().all(|name| all.contains(name)),
            requirement,
            "DEL reaches every plugin once none fails any more",
            format!("{}: DEL executed {}", answer.summary(), listed(&all)),
        );
    }
    Ok(())
}

fn check_error(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Check)?;
    let pod = stage.join(&CHAIN)?;
    stage.add(&pod)?;
    stage.answer(Rule::new("beta", "CHECK", Answer::fails(117)))?;
    let answer = stage.ask(Operation::Check, &pod)?;
    expect_told(stage, &answer, 117);
    let seen = stage.seen(Operation::Check)?;
    stage.case.expect(
        !executed(&seen).contains(&"gamma"),
        "runtime.check-halts-on-error",
        "CHECK ends at beta, which fails",
        format!("CHECK executed {}", listed(&executed(&seen))),
    );
    Ok(())
}

/// Expects that the first two plugins have answered a DEL.
fn expect_cleaned(stage: &mut Stage<'_, '_>, requirements: &[&'static str]) -> Result<(), Stop> {
    let mut deleted = stage.seen(Operation::Del)?;
    deleted.retain(|record| record.ending.is_some());
    let all = executed(&deleted);
    for requirement in requirements {
        stage.case.expect(
            ["alpha", "beta"].iter().all(|name| all.contains(name)),
            requirement,
            "the plugins that were asked for ADD answer a DEL",
            format!("a DEL was answered by {}", listed(&all)),
        );
    }
    Ok(())
}

fn hangs(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let Some(deadline) = stage.adapter.can.deadline else {
        return Err(Stop::skip("the adapter sets no deadline for plugins ([can] deadline)"));
    };
    let pod = stage.join(&CHAIN)?;
    stage.answer(Rule::new("beta", "ADD", Answer::never()))?;
    let answer = stage.ask(Operation::Add, &pod)?;
    let wall = answer.execution.wall;
    let holds = answer.refused() && wall < deadline + Duration::from_secs(5);
    stage.case.expect(
        holds,
        "runtime.cleans-after-kill",
        format!("ADD fails at the deadline of {} s", deadline.as_secs_f64()),
        format!("{} after {:.1} s", answer.summary(), wall.as_secs_f64()),
    );
    let requirements = ["runtime.cleans-after-kill", "runtime.del-after-failed-add"];
    let deleted = stage.seen(Operation::Del)?;
    if deleted.is_empty() && stage.has(Operation::Del) && !stage.adapter.can.container_id {
        stage.ask(Operation::Del, &pod)?;
    }
    expect_cleaned(stage, &requirements)
}

fn killed(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let collects = stage.case.variant == "then GC";
    if collects {
        stage.needs_operation(Operation::Gc)?;
        stage.needs(stage.adapter.can.netns, "netns", "takes a namespace that cnitest can remove")?;
    }
    stage.needs_operation(Operation::Del)?;
    let pod: Pod = stage.join(&CHAIN)?;
    let operation = match stage.case.variant {
        "in DEL" => Operation::Del,
        _ => Operation::Add,
    };
    if operation == Operation::Del {
        stage.add(&pod)?;
    }
    stage.answer(Rule::new("beta", operation.as_str(), Answer::never()))?;
    stage.ask_and_kill(operation, &pod, Duration::from_millis(1200))?;
    // What executes the plugins may be a daemon, or what the command has left running.
    stage.kill()?;
    let reached = stage.seen(operation)?;
    if !executed(&reached).contains(&"beta") {
        return Err(Stop::unmet("the runtime was killed before it had executed the second plugin"));
    }
    stage.heal()?;
    let answer = match collects {
        true => {
            stage.case.arena.delete_netns(&pod.container)?;
            stage.ask(Operation::Gc, &pod)?
        }
        false => stage.ask(Operation::Del, &pod)?,
    };
    stage.case.expect(
        answer.succeeded(),
        "runtime.cleans-after-kill",
        format!("{} succeeds", answer.label),
        account(&answer),
    );
    expect_cleaned(stage, &["runtime.cleans-after-kill", "runtime.add-followed-by-del"])
}
