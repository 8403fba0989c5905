//! Defects of plugins that execute whole interface plugins.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cni_spec::Operation;
use serde_json::{Value, json};

use super::delegation::{cut_environment, look_beside_itself, lose_stderr};
use super::{Defect, Execution, Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "meta-forgets-before-delegate-del",
        "meta",
        &["deleg.del-forwarded"],
        "forgets what it delegated before the delegate's DEL has succeeded, so that the next DEL does nothing",
        |run| {
            let saved = format!("/run/cnitest-saved-{}", run.variable("CNI_CONTAINERID"));
            if run.is(Operation::Add) {
                std::fs::write(&saved, run.input())?;
            }
            if run.is(Operation::Del) && std::fs::remove_file(&saved).is_err() {
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "meta-delegate-keys-lost",
        "meta",
        &["deleg.same-config", "deleg.nested-delegation"],
        "gives the delegate only the keys that it knows itself",
        |run| {
            run.edit_config(|config| {
                for delegate in delegates(config.get_mut("delegates")) {
                    if let Value::Object(delegate) = delegate {
                        delegate.retain(|key, _| ["type", "ipam", "bridge"].contains(&key.as_str()));
                    }
                }
            });
            run.run();
            Ok(())
        },
    ),
    mutant(
        "meta-delegate-result-altered",
        "meta",
        &["deleg.nested-delegation"],
        "returns other addresses than the delegate",
        |run| {
            run.edit_result(Operation::Add, |result| drop(result.insert("ips".into(), json!([]))));
            Ok(())
        },
    ),
    mutant(
        "meta-only-first-delegate",
        "meta",
        &["deleg.check-forwarded", "deleg.del-forwarded", "deleg.gc-forwarded", "deleg.status-forwarded"],
        "executes all delegates for ADD and only the first for everything else",
        |run| {
            if !run.is(Operation::Add) {
                keep(run, |list| list.truncate(1));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "meta-delegates-not-executed",
        "meta",
        &["deleg.check-forwarded", "deleg.del-forwarded", "deleg.gc-forwarded", "deleg.status-forwarded"],
        "executes its delegates for ADD only",
        |run| {
            if run.is(Operation::Add) || run.is(Operation::Version) {
                run.run();
            }
            Ok(())
        },
    ),
    mutant(
        "meta-stops-at-failing-delegate",
        "meta",
        &["deleg.del-forwarded"],
        "leaves out the other delegates when one fails",
        |run| {
            if run.is(Operation::Del) || run.is(Operation::Gc) {
                let whole = run.input();
                for rest in [true, false] {
                    run.set_input(whole.clone());
                    keep(
                        run,
                        |list| if rest { drop(list.drain(..list.len().min(1))) } else { list.truncate(1) },
                    );
                    let any = run.config().get("delegates").is_some_and(|list| list != &json!([]));
                    if any {
                        run.run();
                    }
                    if !run.succeeded() {
                        break;
                    }
                }
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "meta-delegate-error-swallowed",
        "meta",
        &["deleg.error-propagates"],
        "succeeds although its delegate failed",
        |run| {
            run.run();
            if !run.is(Operation::Add) && !run.succeeded() {
                run.pretend();
            }
            Ok(())
        },
    ),
    mutant(
        "meta-status-error-swallowed",
        "meta",
        &["status.delegate-error-propagates"],
        "says that it is ready although its delegate is not",
        |run| {
            run.always_succeed(Operation::Status);
            Ok(())
        },
    ),
    mutant(
        "meta-first-delegate-kept",
        "meta",
        &["deleg.later-failure-del"],
        "leaves the first delegate's work in place when the second fails",
        |run| {
            run.run();
            if run.is(Operation::Add) && !run.succeeded() {
                let (answer, status) = (run.stdout.clone(), run.status);
                keep(run, |list| list.truncate(list.len().saturating_sub(1)));
                run.run();
                (run.stdout, run.status) = (answer, status);
            }
            Ok(())
        },
    ),
    mutant(
        "meta-delegate-missing-ignored",
        "meta",
        &["deleg.lookup-missing-errors", "deleg.add-error-propagates"],
        "says that ADD succeeded although its delegate is missing or failed",
        |run| {
            run.run();
            if run.is(Operation::Add) && !run.succeeded() {
                let version = run.text("cniVersion");
                run.answer(&json!({ "cniVersion": version, "interfaces": [], "ips": [] }), 0);
            }
            Ok(())
        },
    ),
    mutant(
        "meta-delegate-environment-cut",
        "meta",
        &["deleg.same-environment"],
        "gives the delegate only the variables that it thinks it needs",
        cut_environment,
    ),
    mutant(
        "meta-delegate-beside-itself",
        "meta",
        &["deleg.lookup-cni-path"],
        "looks for the delegate in its own folder only",
        look_beside_itself,
    ),
    mutant(
        "meta-delegate-stderr-lost",
        "meta",
        &["deleg.stderr-forwarded"],
        "throws away what the delegate writes to stderr",
        lose_stderr,
    ),
    mutant(
        "meta-answers-as-its-delegate",
        "meta",
        &["result.cniversion-matches-input", "result.shape-matches-version"],
        "prints what its delegate printed, in whatever version that is",
        |run| {
            if run.succeeds(Operation::Add)
                && let Some(answer) = answer_in_another_version(run)
            {
                run.answer(&answer, 0);
            }
            Ok(())
        },
    ),
    mutant(
        "meta-other-version-read-as-its-own",
        "meta",
        &["deleg.nested-delegation"],
        "finds no addresses in a result that is of another version",
        |run| {
            if run.succeeds(Operation::Add) && answer_in_another_version(run).is_some() {
                run.edit_output(|result| drop(result.insert("ips".into(), json!([]))));
            }
            Ok(())
        },
    ),
    mutant(
        "meta-slow-delegate-not-waited-for",
        "meta",
        &["deleg.nested-delegation"],
        "goes on without a delegate that takes more than a second",
        |run| {
            let begun = Instant::now();
            if run.succeeds(Operation::Add) && begun.elapsed() > PATIENCE {
                run.edit_output(|result| drop(result.insert("ips".into(), json!([]))));
            }
            Ok(())
        },
    ),
    mutant(
        "meta-slow-delegate-error-lost",
        "meta",
        &["deleg.error-propagates"],
        "does not wait for the DEL of a delegate that takes more than a second",
        |run| {
            let begun = Instant::now();
            run.run();
            if run.is(Operation::Del) && begun.elapsed() > PATIENCE {
                run.pretend();
            }
            Ok(())
        },
    ),
    mutant(
        "meta-remembers-after-add",
        "meta",
        &["deleg.del-forwarded"],
        "writes down what it delegated when ADD has succeeded, and deletes nothing else",
        |run| {
            let saved = format!("/run/cnitest-remembered-{}", run.variable("CNI_CONTAINERID"));
            if run.is(Operation::Del) && !Path::new(&saved).exists() {
                return Ok(());
            }
            if run.succeeds(Operation::Add) {
                std::fs::write(&saved, "")?;
            }
            Ok(())
        },
    ),
    mutant("meta-crashed-delegate-panics", "meta", &["error.json-on-stdout-nonzero-exit"], PANICS, |run| {
        run.run();
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        if run.is(Operation::Add) && text.contains("without an error object (signal") {
            super::input::panicked(run);
        }
        Ok(())
    }),
];

/// What the first delegate's ADD answers, if that is in another version than asked.
fn answer_in_another_version(run: &mut Execution) -> Option<Value> {
    let config = run.config();
    let mut own = config.get("delegates")?.get(0)?.as_object()?.clone();
    for key in ["name", "cniVersion"] {
        own.insert(key.to_owned(), config.get(key)?.clone());
    }
    let asked = run.text("cniVersion");
    let kind = own.get("type")?.as_str()?.to_owned();
    let folders = run.variable("CNI_PATH");
    let path = folders.split(':').map(|folder| Path::new(folder).join(&kind)).find(|path| path.is_file())?;
    let answer: Value = serde_json::from_slice(&answer_of(&path, &Value::Object(own)).ok()?).ok()?;
    let label = answer.get("cniVersion")?.as_str()?;
    (label != asked && answer.get("code").is_none()).then_some(answer)
}

/// What a plugin prints that gets this configuration, and the environment of this process.
pub(super) fn answer_of(plugin: &Path, config: &Value) -> Result<Vec<u8>, Defect> {
    let mut child = Command::new(plugin).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().ok_or("no stdin")?;
    stdin.write_all(config.to_string().as_bytes())?;
    drop(stdin);
    Ok(child.wait_with_output()?.stdout)
}

/// How long these mutants wait.
const PATIENCE: Duration = Duration::from_secs(1);

const PANICS: &str = "falls over when its delegate is killed";

fn delegates(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

/// Changes the list of delegates that the plugin gets.
fn keep(run: &mut Execution, change: impl FnOnce(&mut Vec<Value>)) {
    run.edit_config(|config| {
        if let Some(Value::Array(list)) = config.get_mut("delegates") {
            change(list);
        }
    });
}
