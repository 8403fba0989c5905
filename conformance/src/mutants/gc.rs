//! Defects of GC.

use cni_spec::Operation;
use serde_json::{Map, Value, json};

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
                run.edit_config(nothing_valid);
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
        if run.succeeds(Operation::Gc) {
            run.stdout = br#"{"removed":[]}"#.to_vec();
        }
        Ok(())
    }),
    mutant(
        "host-local-gc-fails-where-nothing-is",
        "host-local",
        &["gc.no-error-normally"],
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
        "host-local-gc-empty-list-is-none",
        "host-local",
        &["gc.empty-list"],
        "takes an empty list for a missing one and does nothing",
        |run| {
            if run.is(Operation::Gc) && run.config().get(LISTS[0]) == Some(&json!([])) {
                return Ok(());
            }
            run.run();
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
                    run.edit_config(nothing_valid);
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
        "bridge-gc-stops-at-first-error",
        "bridge",
        &["gc.continue-on-error"],
        "does nothing of its own in GC when the IPAM plugin fails",
        |run| {
            if run.is(Operation::Gc)
                && super::delegation::delegate(run, Operation::Gc).is_some_and(|code| code != 0)
            {
                run.refuse(100, "the IPAM plugin failed");
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-gc-by-network",
        "host-local",
        &["gc.ifname-significant"],
        "keeps only attachments whose interface is eth1",
        |run| {
            if run.is(Operation::Gc) {
                run.edit_config(|config| {
                    for key in LISTS {
                        if let Some(Value::Array(list)) = config.get_mut(key) {
                            list.iter_mut().for_each(|one| one["ifname"] = json!("eth1"));
                        }
                    }
                });
            }
            run.run();
            Ok(())
        },
    ),
];

/// Replaces the list of valid attachments, under both its names, by an empty one.
fn nothing_valid(config: &mut Map<String, Value>) {
    LISTS.into_iter().for_each(|key| drop(config.insert(key.into(), json!([]))));
}
