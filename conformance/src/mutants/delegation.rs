//! Defects of delegation.

use cni_spec::Operation;
use serde_json::{Value, json};

use super::{Defect, Execution, Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "bridge-delegate-environment-cut",
        "bridge",
        &["deleg.same-environment"],
        "gives the IPAM plugin only the variables that it thinks it needs",
        cut_environment,
    ),
    mutant(
        "bridge-delegate-gets-ipam-only",
        "bridge",
        &["deleg.same-config"],
        "gives the IPAM plugin the ipam section only",
        |run| {
            run.edit_config(|config| {
                config.retain(|key, _| {
                    matches!(key.as_str(), "cniVersion" | "name" | "ipam" | "prevResult" | "bridge")
                });
            });
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-delegate-gets-ipam-section",
        "bridge",
        &["deleg.complete-config"],
        "gives the IPAM plugin the ipam section and nothing around it",
        |run| {
            let ipam = run.config().get("ipam").cloned().unwrap_or_default();
            with_own_delegate(run, |real, folder| {
                format!("cat >/dev/null\necho '{ipam}' >{folder}/section\nexec {real} <{folder}/section")
            })
        },
    ),
    mutant(
        "bridge-delegate-gets-own-type",
        "bridge",
        &["deleg.type-not-rewritten"],
        "gives the IPAM plugin its own type instead of the upper plugin's",
        |run| {
            run.edit_config(|config| {
                let name = config.get("ipam").and_then(|ipam| ipam.get("type")).cloned();
                if let Some(name) = name {
                    config.insert("type".into(), name);
                }
            });
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-number-reencoded",
        "bridge",
        &["deleg.same-config"],
        "turns large numbers into floating point ones on the way to the IPAM plugin",
        |run| {
            run.edit_config(|config| config.values_mut().for_each(to_float));
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-without-ipam-plugin",
        "bridge",
        &["deleg.upper-invokes-ipam", "deleg.ips-applied"],
        "never executes the IPAM plugin",
        |run| {
            run.edit_config(|config| drop(config.remove("ipam")));
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-delegate-beside-itself",
        "bridge",
        &["deleg.lookup-cni-path"],
        "looks for the IPAM plugin in its own folder only",
        look_beside_itself,
    ),
    mutant(
        "bridge-delegate-by-path",
        "bridge",
        &["deleg.ipam-name-valid", "config.ipam-type-no-path-chars"],
        "executes an IPAM plugin that is named by a path",
        |run| {
            let name = run.config().get("ipam").and_then(|ipam| ipam["type"].as_str().map(str::to_owned));
            if let Some((folder, file)) = name.as_deref().and_then(|name| name.rsplit_once('/')) {
                // What the path leads to, seen from the folders of CNI_PATH.
                let bases = std::env::var("CNI_PATH").unwrap_or_default();
                let found: Vec<String> =
                    bases
                        .split(':')
                        .map(|base| {
                            if folder.starts_with('/') {
                                folder.to_owned()
                            } else {
                                format!("{base}/{folder}")
                            }
                        })
                        .collect();
                run.set("CNI_PATH", &format!("{}:{bases}", found.join(":")));
                let file = file.to_owned();
                run.edit_config(|config| config["ipam"]["type"] = json!(file));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-delegate-missing-ignored",
        "bridge",
        &["deleg.lookup-missing-errors"],
        "goes on without addresses when the IPAM plugin cannot be found",
        without_ipam_on_failure,
    ),
    mutant(
        "bridge-delegate-error-swallowed",
        "bridge",
        &["deleg.add-error-propagates"],
        "goes on without addresses when the IPAM plugin fails",
        without_ipam_on_failure,
    ),
    mutant(
        "bridge-odd-delegate-panics",
        "bridge",
        &["error.json-on-stdout-nonzero-exit"],
        "falls over when the IPAM plugin answers with something odd",
        |run| {
            run.run();
            let text = String::from_utf8_lossy(&run.stdout).into_owned();
            if run.is(Operation::Add) && text.contains("returned a wrong") {
                super::input::panicked(run);
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-no-del-after-failed-delegate",
        "bridge",
        &["deleg.add-failure-del"],
        "does not execute the IPAM plugin with DEL after its ADD failed",
        |run| {
            if !run.is(Operation::Add) {
                run.run();
                return Ok(());
            }
            // The delegate is found for ADD and gone for the DEL that follows.
            with_own_delegate(run, |real, _| format!("rm -f \"$0\"\nexec {real}"))?;
            Ok(())
        },
    ),
    mutant(
        "bridge-cleanup-with-other-variables",
        "bridge",
        &["deleg.cleanup-command-env"],
        "has the IPAM plugin clean up after its failed ADD for no namespace",
        |run| {
            run.input();
            run.run();
            if run.is(Operation::Add) && !run.succeeded() {
                let status = delegate_with(run, Operation::Del, &[("CNI_NETNS", "")]);
                eprintln!("the IPAM plugin's DEL ended with {status:?}");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-delegate-stderr-lost",
        "bridge",
        &["deleg.stderr-forwarded"],
        "throws away what the IPAM plugin writes to stderr",
        lose_stderr,
    ),
    mutant(
        "bridge-delegate-stdout-printed",
        "bridge",
        &["deleg.stdout-not-leaked"],
        "prints what the IPAM plugin printed before its own result",
        |run| {
            if run.succeeds(Operation::Add) {
                let ips = serde_json::from_slice::<Value>(&run.stdout)?["ips"].clone();
                let leaked = json!({ "cniVersion": run.text("cniVersion"), "ips": ips }).to_string();
                run.stdout = [leaked.as_bytes(), run.stdout.as_slice()].concat();
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-other-version-panics",
        "bridge",
        &["error.json-on-stdout-nonzero-exit"],
        "falls over when the IPAM plugin answers in another version",
        |run| {
            run.input();
            run.run();
            let Some(path) = delegate_path(run).filter(|_| run.is(Operation::Add)) else { return Ok(()) };
            let config = Value::Object(run.config());
            let answer = super::meta::answer_of(std::path::Path::new(&path), &config)?;
            let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
            let asked = run.text("cniVersion");
            if answer["cniVersion"].as_str().is_some_and(|label| label != asked) {
                super::input::panicked(run);
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-dns-dropped",
        "bridge",
        &["deleg.result-copies-ipam", "config.wellknown-semantics"],
        "drops the DNS settings",
        |run| {
            run.edit_result(Operation::Add, |result| drop(result.insert("dns".into(), json!({}))));
            Ok(())
        },
    ),
    mutant(
        "bridge-addresses-altered",
        "bridge",
        &["deleg.result-copies-ipam-legacy", "deleg.result-copies-ipam", "deleg.ips-applied"],
        "gives the container another address than the IPAM plugin returned",
        |run| {
            run.edit_result(Operation::Add, |result| {
                if let Some(Value::Object(family)) = result.get_mut("ip4") {
                    family.insert("ip".into(), json!("198.51.100.9/24"));
                }
                if let Some(Value::Array(ips)) = result.get_mut("ips") {
                    ips.iter_mut().for_each(|ip| ip["address"] = json!("198.51.100.9/24"));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-check-not-forwarded",
        "bridge",
        &["deleg.check-forwarded", "check.calls-delegates"],
        "does not execute the IPAM plugin for CHECK",
        |run| {
            if run.is(Operation::Check) {
                run.edit_config(|config| drop(config.remove("ipam")));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-check-error-swallowed",
        "bridge",
        &["check.calls-delegates", "deleg.error-propagates"],
        "passes CHECK although the IPAM plugin's CHECK failed",
        |run| {
            run.always_succeed(Operation::Check);
            Ok(())
        },
    ),
    mutant(
        "bridge-del-not-forwarded",
        "bridge",
        &["deleg.del-forwarded"],
        "does not execute the IPAM plugin for DEL",
        |run| {
            if run.is(Operation::Del) {
                run.edit_config(|config| drop(config.remove("ipam")));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-del-error-swallowed",
        "bridge",
        &["deleg.error-propagates"],
        "says that DEL succeeded although the IPAM plugin's DEL failed",
        |run| {
            run.always_succeed(Operation::Del);
            Ok(())
        },
    ),
    mutant(
        "bridge-del-stops-at-delegate-error",
        "bridge",
        &["del.cleans-despite-delegate-error"],
        "executes the IPAM plugin first, and stops when that fails",
        |run| {
            if run.is(Operation::Del)
                && kernel_interface(run)
                && delegate(run, Operation::Del).is_some_and(|status| status != 0)
            {
                run.refuse(100, "the IPAM plugin failed");
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-gc-not-forwarded",
        "bridge",
        &["deleg.gc-forwarded", "gc.forwards-to-delegate"],
        "does not execute the IPAM plugin for GC",
        |run| {
            if run.is(Operation::Gc) {
                run.edit_config(|config| drop(config.remove("ipam")));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-gc-error-swallowed",
        "bridge",
        &["deleg.error-propagates"],
        "says that GC succeeded although the IPAM plugin's GC failed",
        |run| {
            run.always_succeed(Operation::Gc);
            Ok(())
        },
    ),
    mutant(
        "bridge-status-not-forwarded",
        "bridge",
        &["deleg.status-forwarded", "status.forwards-to-delegate"],
        "does not execute the IPAM plugin for STATUS",
        |run| {
            if run.is(Operation::Status) {
                run.edit_config(|config| drop(config.remove("ipam")));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-status-error-swallowed",
        "bridge",
        &["status.delegate-error-propagates"],
        "says that it is ready although the IPAM plugin is not",
        |run| {
            run.always_succeed(Operation::Status);
            Ok(())
        },
    ),
    mutant(
        "bridge-address-kept-after-late-failure",
        "bridge",
        &["deleg.later-failure-del"],
        "keeps the address when ADD fails after the IPAM plugin succeeded",
        |run| {
            // Kept for the second execution.
            run.input();
            run.run();
            if run.is(Operation::Add) && !run.succeeded() {
                // As the plugin would that returns at once: the address is there, and nobody frees it.
                let status = delegate(run, Operation::Add);
                eprintln!("the IPAM plugin's ADD ended with {status:?}");
            }
            Ok(())
        },
    ),
];

/// Gives the delegate only some of the variables.
pub(super) fn cut_environment(run: &mut Execution) -> Result<(), Defect> {
    for (name, _) in std::env::vars() {
        if !name.starts_with("CNI_") || name == "CNI_ARGS" {
            run.unset(&name);
        }
    }
    run.run();
    Ok(())
}

/// Looks for the delegate in the plugin's own folder only.
pub(super) fn look_beside_itself(run: &mut Execution) -> Result<(), Defect> {
    if !run.variable("CNI_PATH").is_empty() {
        run.set("CNI_PATH", "/opt/cni/bin");
    }
    run.run();
    Ok(())
}

/// Throws away what the delegate writes to stderr.
pub(super) fn lose_stderr(run: &mut Execution) -> Result<(), Defect> {
    // What this process executes inherits its descriptor.
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    nix::unistd::dup2_stderr(&null)?;
    run.run();
    Ok(())
}

/// Executes the plugin with a script in front of its delegate. `script` gets the delegate's path and the script's folder.
fn with_own_delegate(run: &mut Execution, script: impl Fn(&str, &str) -> String) -> Result<(), Defect> {
    use std::os::unix::fs::PermissionsExt as _;
    const FOLDER: &str = "/run/cnitest-mutant-path";
    let Some(real) = delegate_path(run) else {
        run.run();
        return Ok(());
    };
    std::fs::create_dir_all(FOLDER)?;
    let name = real.rsplit('/').next().unwrap_or_default();
    let path = std::path::Path::new(FOLDER).join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{}\n", script(&real, FOLDER)))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    run.set("CNI_PATH", FOLDER);
    run.run();
    Ok(std::fs::remove_dir_all(FOLDER)?)
}

/// Where the IPAM plugin is; nothing when the configuration names none, or CNI_PATH does not have it.
fn delegate_path(run: &mut Execution) -> Option<String> {
    let config = run.config();
    let name = config.get("ipam")?.get("type")?.as_str().filter(|name| !name.contains('/'))?;
    let folders = run.variable("CNI_PATH");
    folders
        .split(':')
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| std::path::Path::new(path).is_file())
}

/// Does ADD again without the `ipam` of the configuration when it failed.
fn without_ipam_on_failure(run: &mut Execution) -> Result<(), Defect> {
    run.run();
    if run.is(Operation::Add) && !run.succeeded() {
        run.edit_config(|config| drop(config.remove("ipam")));
        run.run();
    }
    Ok(())
}

fn kernel_interface(run: &Execution) -> bool {
    super::kernel::interface(run).is_ok_and(|found| found.is_some())
}

/// Executes the IPAM plugin for an operation; answers its exit status.
pub(super) fn delegate(run: &mut Execution, operation: Operation) -> Option<i32> {
    delegate_with(run, operation, &[])
}

/// As [`delegate`], with these variables instead of the plugin's own.
fn delegate_with(run: &mut Execution, operation: Operation, variables: &[(&str, &str)]) -> Option<i32> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(delegate_path(run)?)
        .env("CNI_COMMAND", operation.as_str())
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(&run.input()).ok()?;
    child.wait().ok()?.code()
}

fn to_float(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|number| number > 1 << 53) => {
            *value = json!(number.as_f64());
        }
        Value::Array(items) => items.iter_mut().for_each(to_float),
        Value::Object(map) => map.values_mut().for_each(to_float),
        _ => {}
    }
}
