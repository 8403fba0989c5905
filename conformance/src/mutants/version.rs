//! Defects of VERSION and of the agreement on a version.

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::kernel::{STATE, write};
use super::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant("static-version-unknown", "static", &["version.since-020"], "does not know VERSION", |run| {
        run.run();
        if run.is(Operation::Version) {
            run.refuse(4, "unknown CNI_COMMAND: VERSION");
        }
        Ok(())
    }),
    mutant(
        "static-version-on-stderr",
        "static",
        &["version.output-on-stdout"],
        "prints the version result on stderr",
        |run| {
            run.run();
            if run.is(Operation::Version) {
                eprintln!("{}", String::from_utf8_lossy(&run.stdout));
                run.stdout.clear();
            }
            Ok(())
        },
    ),
    mutant(
        "static-version-without-cniversion",
        "static",
        &["version.has-cniversion"],
        "leaves cniVersion out of the version result",
        |run| {
            run.edit_result(Operation::Version, |result| drop(result.remove("cniVersion")));
            Ok(())
        },
    ),
    mutant(
        "static-version-in-words",
        "static",
        &["version.cniversion-output-format"],
        "gives a word as the cniVersion of the version result",
        |run| {
            run.edit_result(Operation::Version, |result| {
                drop(result.insert("cniVersion".into(), json!("latest")))
            });
            Ok(())
        },
    ),
    mutant(
        "static-version-with-status-1",
        "static",
        &["exec.exit-zero-on-success"],
        "exits with status 1 after it answered VERSION",
        |run| {
            run.run();
            if run.is(Operation::Version) {
                run.status = 1;
            }
            Ok(())
        },
    ),
    mutant(
        "static-version-without-list",
        "static",
        &["version.has-supportedversions"],
        "gives supportedVersions as one text",
        |run| {
            run.edit_result(Operation::Version, |result| {
                drop(result.insert("supportedVersions".into(), json!("1.1.0")))
            });
            Ok(())
        },
    ),
    mutant(
        "static-version-list-of-words",
        "static",
        &["version.has-supportedversions"],
        "lists something that is no version among supportedVersions",
        |run| {
            run.run();
            if run.is(Operation::Version) {
                run.edit_output(|result| {
                    if let Some(list) = result.get_mut("supportedVersions").and_then(Value::as_array_mut) {
                        list.push(json!("latest"));
                    }
                });
            }
            Ok(())
        },
    ),
    mutant(
        "static-version-fixed",
        "static",
        &["version.cniversion-echo"],
        "answers VERSION with its own newest version instead of the one asked",
        |run| {
            run.edit_result(Operation::Version, |result| {
                drop(result.insert("cniVersion".into(), json!("1.1.0")))
            });
            Ok(())
        },
    ),
    mutant(
        "static-version-list-varies",
        "static",
        &["version.stable"],
        "lists only the versions up to the one asked",
        |run| {
            let asked = run.text("cniVersion").parse::<Version>();
            run.run();
            if let (true, Ok(asked)) = (run.is(Operation::Version), asked) {
                let list: Vec<&str> = Version::ALL
                    .iter()
                    .filter(|version| **version <= asked)
                    .map(|version| version.as_str())
                    .collect();
                run.edit_output(|result| drop(result.insert("supportedVersions".into(), json!(list))));
            }
            Ok(())
        },
    ),
    mutant(
        "static-version-depends-on-folder",
        "static",
        &["version.stable"],
        "lists other versions when it is executed in another folder",
        |run| {
            run.run();
            if run.is(Operation::Version) && std::env::current_dir()? != std::path::Path::new("/") {
                run.edit_output(|result| drop(result.insert("supportedVersions".into(), json!(["1.0.0"]))));
            }
            Ok(())
        },
    ),
    mutant(
        "static-version-needs-stdin",
        "static",
        &["version.no-stdin"],
        "refuses VERSION without a version on stdin",
        |run| {
            let given = run.text("cniVersion");
            run.run();
            if run.is(Operation::Version) && given.is_empty() {
                run.refuse(6, "stdin holds no JSON");
            }
            Ok(())
        },
    ),
    mutant("static-version-list-empty", "static", &["version.lists-nonempty"], "lists no version", |run| {
        run.edit_result(Operation::Version, |result| {
            drop(result.insert("supportedVersions".into(), json!([])))
        });
        Ok(())
    }),
    mutant(
        "static-version-needs-container",
        "static",
        &["param.version-needs-only-command"],
        "refuses VERSION without CNI_CONTAINERID",
        |run| {
            run.run();
            if run.is(Operation::Version) && run.variable("CNI_CONTAINERID").is_empty() {
                run.refuse(4, "CNI_CONTAINERID is missing");
            }
            Ok(())
        },
    ),
    mutant(
        "static-version-panics-on-garbage",
        "static",
        &["error.json-on-stdout-nonzero-exit"],
        "falls over when stdin of VERSION holds no JSON",
        |run| {
            if run.is(Operation::Version) && run.config().is_empty() {
                eprintln!("thread 'main' panicked at src/main.rs:1:1: unwrap of None");
                run.status = 101;
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-version-writes-a-file",
        "static",
        &["version.no-side-effects"],
        "makes its data folder when asked for VERSION",
        |run| {
            run.run();
            if run.is(Operation::Version) {
                write("/var/lib/cni/networks/static/started".as_ref(), "")?;
            }
            Ok(())
        },
    ),
    mutant(
        "static-accepts-any-version",
        "static",
        &["version.plugin-rejects-unsupported"],
        "takes a version that it does not know for its newest one",
        |run| {
            if !run.is(Operation::Version) && run.text("cniVersion").parse::<Version>().is_err() {
                run.edit_config(|config| drop(config.insert("cniVersion".into(), json!("1.1.0"))));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-refuses-version-with-7",
        "static",
        &["error.code-1", "version.plugin-rejects-unsupported"],
        "refuses a version with code 7",
        |run| {
            run.recode(1, 7);
            Ok(())
        },
    ),
    mutant(
        "static-hides-a-version",
        "static",
        &["version.plugin-lists-consistent"],
        "accepts a version that VERSION does not name",
        |run| {
            run.run();
            if run.is(Operation::Version) {
                run.edit_output(|result| {
                    if let Some(list) = result.get_mut("supportedVersions").and_then(Value::as_array_mut) {
                        list.retain(|entry| entry != "0.4.0");
                    }
                });
            }
            Ok(())
        },
    ),
    mutant(
        "static-refuses-a-version",
        "static",
        &["version.plugin-lists-consistent"],
        "refuses a version that VERSION names",
        |run| {
            run.run();
            if !run.is(Operation::Version) && run.text("cniVersion") == "1.0.0" {
                run.refuse(1, "cniVersion 1.0.0 is not supported");
            }
            Ok(())
        },
    ),
    mutant(
        "static-version-by-prefix",
        "static",
        &["version.plugin-exact-match"],
        "compares versions by their beginning",
        |run| {
            let asked = run.text("cniVersion");
            let known = Version::ALL.into_iter().find(|known| asked.starts_with(known.as_str()));
            if let Some(known) = known {
                run.edit_config(|config| drop(config.insert("cniVersion".into(), json!(known.as_str()))));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-version-of-any-type",
        "static",
        &["error.wrong-types"],
        "takes a cniVersion that is a number for its newest version",
        |run| {
            if run.config().get("cniVersion").is_some_and(|version| !version.is_string()) {
                run.edit_config(|config| drop(config.insert("cniVersion".into(), json!("1.1.0"))));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-absent-version-refused-with-7",
        "static",
        &["config.cniversion-absent-default"],
        "refuses a configuration without cniVersion as invalid, with code 7",
        |run| {
            run.run();
            if !run.is(Operation::Version) && run.text("cniVersion").is_empty() {
                run.refuse(7, "cniVersion is missing");
            }
            Ok(())
        },
    ),
    mutant(
        "static-check-in-old-version",
        "static",
        &["check.since-040"],
        "does CHECK in versions that have none",
        |run| {
            if run.is(Operation::Check) && run.text("cniVersion").as_str() < "0.4.0" {
                run.edit_config(|config| drop(config.insert("cniVersion".into(), json!("0.4.0"))));
                run.run();
                run.pretend();
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-gc-in-old-version",
        "static",
        &["gc.since-110"],
        "does GC in versions that have none",
        |run| {
            run.always_succeed(Operation::Gc);
            Ok(())
        },
    ),
    mutant(
        "static-status-in-old-version",
        "static",
        &["status.since-110"],
        "does STATUS in versions that have none",
        |run| {
            run.always_succeed(Operation::Status);
            Ok(())
        },
    ),
    mutant(
        "static-without-check",
        "static",
        &["plugin.supports-operations-040"],
        "does not know CHECK",
        |run| {
            run.run();
            if run.is(Operation::Check) {
                run.refuse(4, "unknown CNI_COMMAND: CHECK");
            }
            Ok(())
        },
    ),
    mutant("static-without-del", "static", &["plugin.supports-operations-010"], "does not know DEL", |run| {
        run.run();
        if run.is(Operation::Del) {
            run.refuse(4, "unknown CNI_COMMAND: DEL");
        }
        Ok(())
    }),
    mutant("static-without-gc", "static", &["plugin.supports-operations-110"], "does not know GC", |run| {
        run.run();
        if run.is(Operation::Gc) {
            run.refuse(4, "unknown CNI_COMMAND: GC");
        }
        Ok(())
    }),
    mutant(
        "static-writes-before-version-check",
        "static",
        &["error.no-partial-side-effects-on-input-error"],
        "writes down the attachment before it looks at the configuration",
        |run| {
            if run.is(Operation::Add) {
                write(std::path::Path::new(STATE).join("attached").as_path(), "")?;
            }
            run.run();
            if run.is(Operation::Del) {
                let _ = std::fs::remove_file(std::path::Path::new(STATE).join("attached"));
            }
            Ok(())
        },
    ),
];
