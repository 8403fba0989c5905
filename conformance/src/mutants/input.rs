//! Defects in how the environment and stdin are read, and how errors are reported.

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::{Execution, Mutant, kernel, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "static-command-missing-ignored",
        "static",
        &["param.command-missing-rejected"],
        "takes a missing CNI_COMMAND for VERSION",
        |run| {
            if run.variable("CNI_COMMAND").is_empty() {
                run.set("CNI_COMMAND", "VERSION");
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-command-unknown-ignored",
        "static",
        &["param.command-unknown-rejected"],
        "ignores an unknown CNI_COMMAND and exits with status 0",
        |run| {
            run.run();
            if !known(run) {
                run.pretend();
            }
            Ok(())
        },
    ),
    mutant(
        "static-command-in-any-case",
        "static",
        &["param.command-case-sensitive"],
        "takes `add` for ADD",
        |run| {
            let command = run.variable("CNI_COMMAND").to_uppercase();
            run.set("CNI_COMMAND", &command);
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-add-without-container",
        "static",
        &["add.required-env"],
        "does ADD without CNI_CONTAINERID",
        |run| {
            if run.is(Operation::Add) && run.variable("CNI_CONTAINERID").is_empty() {
                run.set("CNI_CONTAINERID", "unknown");
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-del-without-container",
        "static",
        &["del.required-env"],
        "does DEL without CNI_CONTAINERID",
        |run| {
            run.always_succeed(Operation::Del);
            Ok(())
        },
    ),
    mutant(
        "static-check-without-container",
        "static",
        &["check.required-env"],
        "does CHECK without CNI_IFNAME",
        |run| {
            if run.is(Operation::Check) && run.variable("CNI_IFNAME").is_empty() {
                run.set("CNI_IFNAME", "eth0");
                run.run();
                run.pretend();
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-missing-variable-with-6",
        "static",
        &["error.code-4"],
        "refuses missing variables with code 6",
        |run| {
            run.recode(4, 6);
            Ok(())
        },
    ),
    mutant(
        "static-missing-variable-unnamed",
        "static",
        &["error.code-4-names-vars"],
        "does not say which variable is missing or wrong",
        |run| {
            run.edit_error(|error| {
                if error.get("code") == Some(&json!(4)) {
                    error.insert("msg".into(), json!("the environment is wrong"));
                    error.remove("details");
                }
            });
            Ok(())
        },
    ),
    mutant("static-needs-args", "static", &["param.args-optional"], "refuses ADD without CNI_ARGS", |run| {
        run.run();
        if run.is(Operation::Add) && run.variable("CNI_ARGS").is_empty() {
            run.refuse(4, "CNI_ARGS is missing");
        }
        Ok(())
    }),
    mutant("static-needs-path", "static", &["param.path-optional"], "refuses ADD without CNI_PATH", |run| {
        run.run();
        if run.is(Operation::Add) && run.variable("CNI_PATH").is_empty() {
            run.refuse(4, "CNI_PATH is missing");
        }
        Ok(())
    }),
    mutant(
        "static-gc-needs-container",
        "static",
        &["gc.required-env", "param.no-attachment-params-gc-status"],
        "refuses GC and STATUS without CNI_CONTAINERID",
        |run| {
            run.run();
            let concerned = run.is(Operation::Gc) || run.is(Operation::Status);
            if concerned && run.variable("CNI_CONTAINERID").is_empty() {
                run.refuse(4, "CNI_CONTAINERID is missing");
            }
            Ok(())
        },
    ),
    mutant(
        "static-accepts-any-containerid",
        "static",
        &["param.containerid-plugin-validates"],
        "accepts container IDs with path separators",
        |run| {
            if run.is(Operation::Add) && !run.variable("CNI_CONTAINERID").is_empty() {
                run.set("CNI_CONTAINERID", "some-container");
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-containerid-without-hyphens",
        "static",
        &["param.containerid-charset"],
        "refuses container IDs with hyphens",
        |run| {
            let id = run.variable("CNI_CONTAINERID");
            if run.succeeds(Operation::Add) && id.contains("b-c") {
                run.refuse(4, "CNI_CONTAINERID: invalid characters");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-ifname-shortened",
        "bridge",
        &["param.ifname-honoured"],
        "cuts CNI_IFNAME after eight bytes",
        |run| {
            let name: String = run.variable("CNI_IFNAME").chars().take(8).collect();
            run.set("CNI_IFNAME", &name);
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-ifname-mended",
        "bridge",
        &["param.ifname-unusable-errors"],
        "gives the interface another name when CNI_IFNAME cannot be one",
        |run| {
            let name = run.variable("CNI_IFNAME");
            let mended: String = name.chars().filter(char::is_ascii_alphanumeric).take(15).collect();
            if !name.is_empty() {
                run.set("CNI_IFNAME", if mended.is_empty() { "eth9" } else { &mended });
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-netns-not-opened",
        "bridge",
        &["param.netns-invalid-add"],
        "takes the next namespace when CNI_NETNS is none",
        |run| {
            run.run();
            if run.is(Operation::Add) && !run.succeeded() {
                for entry in std::fs::read_dir("/run/netns")?.flatten() {
                    run.set("CNI_NETNS", &entry.path().display().to_string());
                    run.run();
                }
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-netns-unknown-leaves-a-file",
        "bridge",
        &["error.code-3"],
        "says with code 3 that nothing has to be cleaned up, and leaves a file",
        |run| {
            run.run();
            if run.is(Operation::Add) && !std::path::Path::new(&run.variable("CNI_NETNS")).exists() {
                kernel::write(&kernel::state_file(run), "")?;
                run.refuse(3, "the container is unknown");
            }
            Ok(())
        },
    ),
    mutant(
        "static-netns-own-accepted",
        "static",
        &["exec.netns-not-own"],
        "does not mind that CNI_NETNS is its own namespace",
        |run| {
            use std::os::unix::fs::MetadataExt as _;
            let own = std::fs::metadata("/proc/self/ns/net")?;
            let given = std::fs::metadata(run.variable("CNI_NETNS"));
            if given.is_ok_and(|given| given.ino() == own.ino()) {
                let other = std::fs::read_dir("/run/netns")?.next().ok_or("there is no container")??;
                run.set("CNI_NETNS", &other.path().to_string_lossy());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-netns-own-two-documents",
        "static",
        &["error.result-and-error-together", "exec.stdout-single-document"],
        "prints a result and then an error for ADD into its own namespace",
        |run| {
            let own = std::fs::metadata("/proc/self/ns/net")?;
            let given = std::fs::metadata(run.variable("CNI_NETNS"));
            run.run();
            use std::os::unix::fs::MetadataExt as _;
            if run.is(Operation::Add) && given.is_ok_and(|given| given.ino() == own.ino()) {
                let mut both = br#"{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.2/24"}]}"#.to_vec();
                both.extend(&run.stdout);
                run.stdout = both;
            }
            Ok(())
        },
    ),
    mutant(
        "static-args-unknown-refused",
        "static",
        &["param.args-ignoreunknown"],
        "refuses unknown keys in CNI_ARGS although IgnoreUnknown is set",
        |run| {
            run.run();
            if run.is(Operation::Add) && run.variable("CNI_ARGS").contains("IgnoreUnknown") {
                run.refuse(100, "CNI_ARGS: unknown key");
            }
            Ok(())
        },
    ),
    mutant(
        "static-args-of-kubernetes-refused",
        "static",
        &["param.args-k8s-keys"],
        "refuses ADD with the keys that Kubernetes puts into CNI_ARGS",
        |run| {
            run.run();
            if run.is(Operation::Add) && run.variable("CNI_ARGS").contains("K8S_POD_NAME=") {
                run.refuse(100, "CNI_ARGS: unknown key K8S_POD_NAME");
            }
            Ok(())
        },
    ),
    mutant(
        "static-args-read-leniently",
        "static",
        &["param.args-parse-rules"],
        "leaves out the pairs of CNI_ARGS that are none",
        |run| {
            let args = run.variable("CNI_ARGS");
            let good: Vec<&str> = args.split(';').filter(|pair| pair.matches('=').count() == 1).collect();
            run.set(
                "CNI_ARGS",
                &good.into_iter().filter(|pair| !pair.starts_with('=')).collect::<Vec<_>>().join(";"),
            );
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-args-panic",
        "static",
        &["error.json-on-stdout-nonzero-exit"],
        "falls over on CNI_ARGS without an equals sign",
        |run| {
            if run.variable("CNI_ARGS").split(';').any(|pair| !pair.is_empty() && !pair.contains('=')) {
                panicked(run);
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-variables-of-others-refused",
        "static",
        &["exec.env-inherited"],
        "refuses to run with a CNI_ variable that it does not know",
        |run| {
            let known = ["COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS", "PATH"];
            let unknown = std::env::vars()
                .any(|(key, _)| key.strip_prefix("CNI_").is_some_and(|rest| !known.contains(&rest)));
            run.run();
            if unknown && run.is(Operation::Add) {
                run.refuse(4, "unknown variable");
            }
            Ok(())
        },
    ),
    mutant(
        "static-empty-stdin-accepted",
        "static",
        &["error.empty-stdin"],
        "takes an empty stdin for an empty request and exits with status 0",
        |run| {
            let empty = run.input().is_empty();
            run.run();
            if empty && !run.is(Operation::Version) && known(run) {
                run.pretend();
            }
            Ok(())
        },
    ),
    mutant(
        "static-unreadable-stdin-with-6",
        "static",
        &["error.code-5"],
        "reports a stdin that cannot be read with code 6",
        |run| {
            run.recode(5, 6);
            Ok(())
        },
    ),
    mutant(
        "static-malformed-json-with-100",
        "static",
        &["error.code-6"],
        "refuses malformed JSON with code 100",
        |run| {
            run.recode(6, 100);
            Ok(())
        },
    ),
    mutant(
        "static-malformed-json-panics",
        "static",
        &["error.malformed-json", "error.json-on-stdout-nonzero-exit"],
        "falls over on malformed JSON",
        |run| {
            let input = run.input();
            if !input.is_empty() && serde_json::from_slice::<Value>(&input).is_err() {
                panicked(run);
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-lenient-json",
        "static",
        &["config.strict-json"],
        "reads JSON with comments and whatever follows the object",
        |run| {
            let input = String::from_utf8_lossy(&run.input()).into_owned();
            let plain: String = input
                .trim_start_matches('\u{feff}')
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect();
            let first = serde_json::Deserializer::from_str(&plain).into_iter::<Value>().next();
            if let Some(Ok(first)) = first {
                run.set_input(first.to_string());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-any-root",
        "static",
        &["config.root-is-object"],
        "takes a document that is no object for an empty configuration and exits with status 0",
        |run| {
            let input = serde_json::from_slice::<Value>(&run.input());
            run.run();
            if input.is_ok_and(|value| !value.is_object()) {
                run.pretend();
            }
            Ok(())
        },
    ),
    mutant(
        "static-wrong-types-ignored",
        "static",
        &["error.wrong-types"],
        "ignores name when it is no text",
        |run| {
            if run.config().get("name").is_some_and(|name| !name.is_string()) {
                run.edit_config(|config| drop(config.insert("name".into(), json!("unnamed"))));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-wrong-types-panic",
        "static",
        &["error.json-on-stdout-nonzero-exit"],
        "falls over when dns is no object",
        |run| {
            if run.config().get("dns").is_some_and(|dns| !dns.is_object()) {
                panicked(run);
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "debug-null-in-prevresult-panics",
        "debug",
        &["error.json-on-stdout-nonzero-exit"],
        "falls over when prevResult.ips holds null",
        |run| {
            let previous = run.config().get("prevResult").cloned().unwrap_or_default();
            let null =
                previous.get("ips").and_then(Value::as_array).is_some_and(|ips| ips.contains(&Value::Null));
            if null {
                panicked(run);
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-name-missing-accepted",
        "static",
        &["config.name-required"],
        "accepts a configuration without a name",
        |run| {
            if run.text("name").is_empty() {
                run.edit_config(|config| drop(config.insert("name".into(), json!("default"))));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-name-unchecked",
        "static",
        &["config.name-charset", "config.name-first-char"],
        "accepts any name",
        |run| {
            if !run.text("name").is_empty() {
                run.edit_config(|config| drop(config.insert("name".into(), json!("any"))));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-name-of-letters-only",
        "static",
        &["config.name-charset"],
        "refuses names with dots, hyphens and underscores",
        |run| {
            let name = run.text("name");
            if run.succeeds(Operation::Add) && name.contains(['.', '_']) {
                run.refuse(7, "name: invalid characters");
            }
            Ok(())
        },
    ),
    mutant(
        "static-name-free-before-1-0",
        "static",
        &["config.name-charset-legacy"],
        "accepts any name in the versions that have no rule for it",
        |run| {
            let old =
                matches!(run.text("cniVersion").as_str(), "0.1.0" | "0.2.0" | "0.3.0" | "0.3.1" | "0.4.0");
            if old && !run.text("name").is_empty() {
                run.edit_config(|config| drop(config.insert("name".into(), json!("any"))));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-missing-name-with-5",
        "static",
        &["error.codes-4-7-legacy"],
        "reports a missing name as a failure to read the configuration",
        |run| {
            run.recode(7, 5);
            Ok(())
        },
    ),
    mutant(
        "static-unknown-command-on-empty-stdin",
        "static",
        &["param.command-unknown-stdin-first"],
        "says that the configuration is wrong when there is none and the operation is unknown",
        |run| {
            let unknown = Operation::ALL.iter().all(|operation| !run.is(*operation));
            match unknown && run.input().is_empty() {
                true => run.refuse(7, "the configuration has no name"),
                false => run.run(),
            }
            Ok(())
        },
    ),
    mutant(
        "static-missing-variable-with-7-untargeted",
        "static",
        &["param.validation-order"],
        "reports missing variables with code 7, and is tested without a target",
        |run| {
            run.recode(4, 7);
            Ok(())
        },
    )
    .without_target(),
    mutant(
        "static-name-refused-with-4",
        "static",
        &["error.code-7"],
        "refuses an invalid name with code 4",
        |run| {
            run.recode(7, 4);
            Ok(())
        },
    ),
    mutant(
        "static-unknown-key-with-7",
        "static",
        &["error.code-2"],
        "refuses keys that it does not know with code 7",
        |run| {
            refuse_unknown(run, 7);
            Ok(())
        },
    ),
    mutant(
        "static-unknown-key-unnamed",
        "static",
        &["error.code-2-names-field"],
        "refuses keys that it does not know with code 2 and does not name them",
        |run| {
            refuse_unknown(run, 2);
            Ok(())
        },
    ),
    mutant(
        "static-unknown-args-refused",
        "static",
        &["config.plugin-ignores-unknown-args", "conv.args-plugins-ignore"],
        "refuses keys below args.cni that it does not know",
        |run| {
            let args = run.config().get("args").cloned();
            run.run();
            if run.is(Operation::Add) && args.is_some_and(|args| args != json!({})) {
                run.refuse(100, "args: unknown key");
            }
            Ok(())
        },
    ),
    mutant(
        "static-deep-documents-panic",
        "static",
        &["error.json-on-stdout-nonzero-exit"],
        "falls over on deeply nested documents",
        |run| {
            if run.input().windows(64).any(|window| window.iter().all(|byte| *byte == b'[')) {
                panicked(run);
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-fails-with-status-0",
        "static",
        &["exec.exit-nonzero-on-failure"],
        "prints its error object and exits with status 0",
        |run| {
            run.run();
            run.status = 0;
            Ok(())
        },
    ),
    mutant(
        "static-error-without-code",
        "static",
        &["error.code"],
        "leaves code out of its error objects",
        |run| {
            run.edit_error(|error| drop(error.remove("code")));
            Ok(())
        },
    ),
    mutant("static-error-code-text", "static", &["error.code"], "gives code as a text", |run| {
        run.edit_error(|error| {
            let code = error.get("code").map(Value::to_string).unwrap_or_default();
            error.insert("code".into(), json!(code));
        });
        Ok(())
    }),
    mutant(
        "static-error-without-msg",
        "static",
        &["error.msg"],
        "leaves msg out of its error objects",
        |run| {
            run.edit_error(|error| drop(error.remove("msg")));
            Ok(())
        },
    ),
    mutant("static-error-code-0", "static", &["error.code-nonzero"], "reports errors with code 0", |run| {
        run.edit_error(|error| drop(error.insert("code".into(), json!(0))));
        Ok(())
    }),
    mutant(
        "static-error-code-8",
        "static",
        &["error.code-8"],
        "reports errors with code 8, which only the Go library knows",
        |run| {
            run.edit_error(|error| drop(error.insert("code".into(), json!(8))));
            Ok(())
        },
    ),
    mutant(
        "static-error-version-in-words",
        "static",
        &["error.cniversion-unreadable-input"],
        "labels errors with a word when it could not read the version",
        |run| {
            let version = run.text("cniVersion");
            run.edit_error(|error| {
                if version.is_empty() {
                    error.insert("cniVersion".into(), json!("unknown"));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "static-details-a-list",
        "static",
        &["error.details-optional"],
        "gives details as a list",
        |run| {
            run.edit_error(|error| drop(error.insert("details".into(), json!(["why"]))));
            Ok(())
        },
    ),
    mutant(
        "static-first-missing-variable-only",
        "static",
        &["param.missing-all-reported"],
        "names the first missing variable only",
        |run| {
            run.edit_error(|error| {
                if error.get("code") == Some(&json!(4)) {
                    error.insert("msg".into(), json!("CNI_CONTAINERID is missing"));
                    error.remove("details");
                }
            });
            Ok(())
        },
    ),
    mutant(
        "static-empty-variables-accepted",
        "static",
        &["param.required-empty-equals-missing"],
        "takes an empty variable for a given one",
        |run| {
            for name in ["CNI_CONTAINERID", "CNI_IFNAME"] {
                let given = std::env::var(name).is_ok();
                if given && run.variable(name).is_empty() {
                    run.set(name, "empty");
                }
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-long-containerids-stay",
        "static",
        &["param.containerid-length"],
        "attaches containers with a long ID and refuses to detach them",
        |run| {
            run.run();
            if run.is(Operation::Del) && run.variable("CNI_CONTAINERID").len() > 255 {
                run.refuse(100, "the container ID is too long");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-ifname-refused-with-100",
        "bridge",
        &["param.ifname-validation"],
        "refuses interface names with another code than 4",
        |run| {
            run.recode(4, 100);
            Ok(())
        },
    ),
    mutant(
        "static-code-1-for-everything",
        "static",
        &["error.code-1"],
        "reports whatever goes wrong with code 1, and finds everything wrong",
        |run| {
            run.run();
            if !run.is(Operation::Version) {
                run.refuse(1, "it did not work");
            }
            Ok(())
        },
    ),
    mutant(
        "static-code-50-for-everything",
        "static",
        &["error.code-50-51"],
        "reports whatever goes wrong with code 50",
        |run| {
            run.edit_error(|error| drop(error.insert("code".into(), json!(50))));
            Ok(())
        },
    ),
    mutant(
        "static-error-as-text",
        "static",
        &["ipam.errors-like-plugins", "error.json-on-stdout-nonzero-exit"],
        "reports errors as lines of text",
        |run| {
            run.run();
            if !run.succeeded() {
                run.stdout = b"error: it did not work\n".to_vec();
            }
            Ok(())
        },
    ),
    mutant(
        "static-error-msg-of-a-page",
        "static",
        &["error.msg-short"],
        "writes a page of text into msg",
        |run| {
            run.edit_error(|error| drop(error.insert("msg".into(), json!("it went wrong\n".repeat(100)))));
            Ok(())
        },
    ),
    mutant(
        "static-error-without-version",
        "static",
        &["error.cniversion"],
        "leaves cniVersion out of its error objects",
        |run| {
            run.edit_error(|error| drop(error.remove("cniVersion")));
            Ok(())
        },
    ),
    mutant(
        "static-error-code-reserved",
        "static",
        &["error.reserved-range", "error.reserved-no-reuse"],
        "uses the code 42 for whatever goes wrong",
        |run| {
            run.edit_error(|error| drop(error.insert("code".into(), json!(42))));
            Ok(())
        },
    )
    .also_in(Version::V0_4_0),
    mutant(
        "static-error-on-stderr",
        "static",
        &["error.json-on-stdout-nonzero-exit", "error.not-on-stderr"],
        "prints its error object on stderr",
        |run| {
            run.run();
            if !run.succeeded() {
                eprintln!("{}", String::from_utf8_lossy(&run.stdout));
                run.stdout.clear();
            }
            Ok(())
        },
    ),
    mutant(
        "static-error-code-random",
        "static",
        &["error.idempotent-report"],
        "reports the same error with a code that changes",
        |run| {
            let code = 100 + u64::from(std::process::id() % 800);
            run.edit_error(|error| drop(error.insert("code".into(), json!(code))));
            Ok(())
        },
    ),
    mutant(
        "static-exits-with-status-3",
        "static",
        &["error.exit-status-one"],
        "exits with a status of its own for each error",
        |run| {
            run.run();
            if !run.succeeded() {
                run.status = 3;
            }
            Ok(())
        },
    ),
    mutant(
        "static-leaves-a-child",
        "static",
        &["exec.no-lingering-stdout"],
        "starts a process that goes on and holds stdout",
        |run| {
            run.run();
            if run.is(Operation::Add) {
                std::process::Command::new("sleep").arg("600").stdin(std::process::Stdio::null()).spawn()?;
            }
            Ok(())
        },
    ),
];

/// Whether CNI_COMMAND names an operation.
fn known(run: &Execution) -> bool {
    run.variable("CNI_COMMAND").parse::<Operation>().is_ok()
}

/// Ends as a program does that fell over.
pub(super) fn panicked(run: &mut Execution) {
    eprintln!("thread 'main' panicked at src/main.rs:1:1: called `Option::unwrap()` on a `None` value");
    run.stdout.clear();
    run.status = 101;
}

/// Refuses ADD when the configuration has a key that is not known.
fn refuse_unknown(run: &mut Execution, code: u32) {
    const KNOWN: [&str; 10] = [
        "cniVersion",
        "name",
        "type",
        "ipam",
        "dns",
        "prevResult",
        "runtimeConfig",
        "args",
        "capabilities",
        "ipMasq",
    ];
    let unknown =
        run.config().into_iter().find(|(key, _)| !KNOWN.contains(&key.as_str()) && !key.contains('/'));
    run.run();
    if run.is(Operation::Add) && unknown.is_some() {
        run.refuse(code, "a key is not known");
    }
}
