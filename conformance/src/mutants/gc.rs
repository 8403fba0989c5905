//! Defects of GC.

use cni_spec::Operation;
use serde_json::{Value, json};

use super::{Mutant, mutant};

const LISTS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "bridge-gc-removes-valid",
        "bridge",
        &["gc.keeps-valid"],
        "removes valid attachments too",
        |run| {
            if run.is(Operation::Gc) {
                run.edit_config(|config| {
                    LISTS.into_iter().for_each(|key| drop(config.remove(key)));
                    config.insert(LISTS[0].into(), json!([]));
                });
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-gc-removes-valid",
        "host-local",
        &["gc.keeps-valid"],
        "frees the addresses of valid attachments too",
        |run| {
            if run.is(Operation::Gc) {
                run.edit_config(|config| drop(config.insert(LISTS[0].into(), json!([]))));
            }
            run.run();
            Ok(())
        },
    ),
    mutant("host-local-gc-does-nothing", "host-local", &["gc.removes-stale"], "does nothing in GC", |run| {
        if !run.is(Operation::Gc) {
            run.run();
        }
        Ok(())
    }),
    mutant("host-local-gc-prints", "host-local", &["gc.output-empty"], "prints what GC removed", |run| {
        run.run();
        if run.is(Operation::Gc) && run.succeeded() {
            run.stdout = br#"{"removed":[]}"#.to_vec();
        }
        Ok(())
    }),
    mutant(
        "host-local-gc-fails-where-nothing-is",
        "host-local",
        &["gc.no-error-normally", "gc.empty-list"],
        "fails GC with an empty list",
        |run| {
            let empty = run.config().get(LISTS[0]).is_some_and(|list| *list == json!([]));
            run.run();
            if run.is(Operation::Gc) && empty {
                run.refuse(100, "nothing to do");
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-gc-goes-on-removing",
        "host-local",
        &["gc.idempotent"],
        "removes one more valid attachment each time",
        |run| {
            if run.is(Operation::Gc) {
                let before = std::path::Path::new("/run/cnitest-mutant/collected");
                if before.exists() {
                    run.edit_config(|config| drop(config.insert(LISTS[0].into(), json!([]))));
                }
                super::kernel::write(before, "")?;
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-gc-missing-list-is-empty",
        "host-local",
        &["gc.missing-list"],
        "takes a missing list for an empty one",
        |run| {
            if run.is(Operation::Gc) {
                run.edit_config(|config| {
                    if config.get(LISTS[0]).is_none_or(Value::is_null) {
                        config.insert(LISTS[0].into(), json!([]));
                    }
                });
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-gc-missing-list-panics",
        "host-local",
        &["error.json-on-stdout-nonzero-exit"],
        "falls over when the list is missing",
        |run| {
            if run.is(Operation::Gc) && run.config().get(LISTS[0]).is_none_or(Value::is_null) {
                super::input::panicked(run);
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-gc-other-networks",
        "host-local",
        &["gc.keeps-other-networks"],
        "frees the addresses of every network",
        |run| {
            run.run();
            if run.is(Operation::Gc) {
                for entry in std::fs::read_dir("/var/lib/cni/networks")?.flatten() {
                    if entry.file_name().to_str() != Some(run.text("name").as_str()) {
                        let _ = std::fs::remove_dir_all(entry.path());
                    }
                }
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-gc-by-container",
        "host-local",
        &["gc.ifname-significant"],
        "looks at the container's ID only",
        |run| {
            if run.is(Operation::Gc) {
                run.edit_config(|config| {
                    if let Some(Value::Array(list)) = config.get_mut(LISTS[0]) {
                        let more: Vec<Value> = list
                            .iter()
                            .flat_map(|one| {
                                ["eth0", "eth1", "eth2", "eth9", "net0", "net1"].map(
                                    |ifname| json!({ "containerID": one["containerID"], "ifname": ifname }),
                                )
                            })
                            .collect();
                        list.extend(more);
                    }
                });
            }
            run.run();
            Ok(())
        },
    ),
];
