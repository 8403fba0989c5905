//! Defects that show with attachments of another release only.

use std::fs;
use std::path::Path;

use cni_spec::Operation;
use serde_json::Value;

use super::{Defect, Execution, Mutant, kernel, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "bridge-skew-check",
        "bridge",
        &["check.ok-after-add"],
        "fails CHECK of an attachment for which it has no file, as of one that an older release made",
        |run| {
            let marked = kernel::state_file(run).exists();
            run_marked(run)?;
            if run.is(Operation::Check) && run.succeeded() && !marked {
                run.refuse(999, "the attachment is not known");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-skew-del",
        "bridge",
        &["del.removes-interface"],
        "leaves in DEL what it has no file of, as of an attachment that an older release made",
        |run| {
            if run.is(Operation::Del) && !kernel::state_file(run).exists() {
                run.pretend();
                return Ok(());
            }
            run_marked(run)
        },
    ),
    mutant(
        "bridge-skew-gc",
        "bridge",
        &["gc.keeps-valid"],
        "collects attachments for which it has no file although they are listed",
        |run| {
            if run.is(Operation::Gc) {
                run.edit_config(|config| {
                    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
                        if let Some(Value::Array(valid)) = config.get_mut(key) {
                            valid.retain(is_marked);
                        }
                    }
                });
            }
            run_marked(run)
        },
    ),
    mutant(
        "bridge-skew-unknown-to-others",
        "bridge",
        &["practice.other-release"],
        "keeps a file for each attachment that no other release knows and removes",
        run_marked,
    ),
];

/// Executes the plugin, and keeps a file for each attachment.
fn run_marked(run: &mut Execution) -> Result<(), Defect> {
    let mark = kernel::state_file(run);
    if run.succeeds(Operation::Add) {
        kernel::write(&mark, "")?;
    } else if run.is(Operation::Del) && mark.exists() {
        fs::remove_file(mark)?;
    }
    Ok(())
}

/// Whether there is a file for an entry of the list of valid attachments.
fn is_marked(entry: &Value) -> bool {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    Path::new(kernel::STATE).join(format!("{}-{}", text("containerID"), text("ifname"))).exists()
}
