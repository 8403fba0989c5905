//! Defects that show when plugins run at the same time.

use std::path::Path;

use cni_spec::Operation;

use super::kernel::{self, STATE};
use super::{Defect, Execution, Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "host-local-without-lock",
        "host-local",
        &["add.concurrent-containers"],
        "gives the same address to containers that come at the same moment",
        |run| {
            let last = Path::new(STATE).join("given");
            let given = std::fs::read(&last).ok();
            let recent = std::fs::metadata(&last).and_then(|found| found.modified()).ok();
            if run.succeeds(Operation::Add) {
                let again = recent.is_some_and(|at| at.elapsed().is_ok_and(|age| age.as_millis() < 200));
                match given.filter(|_| again) {
                    Some(given) => run.stdout = given,
                    None => kernel::write(&last, &String::from_utf8_lossy(&run.stdout))?,
                }
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-add-not-beside-others",
        "bridge",
        &["add.concurrent-containers"],
        "fails ADD while another ADD is under way",
        |run| only_one(run, Operation::Add, "could not set the bridge's address: file exists"),
    ),
    mutant(
        "bridge-del-not-beside-others",
        "bridge",
        &["del.concurrent-containers"],
        "fails DEL while another DEL is under way",
        |run| only_one(run, Operation::Del, "the lock is held"),
    ),
    mutant(
        "host-local-same-address-for-all",
        "host-local",
        &["add.concurrent-containers", "add.exhaustion-errors"],
        "gives every container the first address",
        |run| {
            let first = Path::new(STATE).join("first");
            run.edit_result(Operation::Add, |_| ());
            if run.is(Operation::Add) && run.succeeded() {
                match std::fs::read(&first) {
                    Ok(result) => run.stdout = result,
                    Err(_) => kernel::write(&first, &String::from_utf8_lossy(&run.stdout))?,
                }
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-first-adds-collide",
        "bridge",
        &["add.concurrent-containers"],
        "fails when another ADD makes the bridge between its look and its own attempt",
        |run| {
            let there = || Path::new("/sys/class/net/cnit0").exists();
            if run.is(Operation::Add) && !there() {
                std::thread::sleep(std::time::Duration::from_millis(50));
                if there() {
                    run.refuse(999, "could not add cnit0: file exists");
                    return Ok(());
                }
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-add-not-beside-a-del",
        "bridge",
        &["add.concurrent-containers"],
        "fails ADD while a DEL is under way",
        |run| {
            let busy = Path::new(STATE).join("leaving");
            if run.is(Operation::Add) {
                std::thread::sleep(std::time::Duration::from_millis(20));
                if busy.exists() {
                    run.refuse(999, "the network is changing");
                    return Ok(());
                }
                run.run();
                return Ok(());
            }
            if !run.is(Operation::Del) {
                run.run();
                return Ok(());
            }
            std::fs::create_dir_all(&busy)?;
            run.run();
            std::thread::sleep(std::time::Duration::from_millis(100));
            // Another DEL may have been faster.
            let _ = std::fs::remove_dir(&busy);
            Ok(())
        },
    ),
];

/// Fails an operation while another one of its kind is under way.
fn only_one(run: &mut Execution, operation: Operation, complaint: &str) -> Result<(), Defect> {
    if !run.is(operation) {
        run.run();
        return Ok(());
    }
    let busy = Path::new(STATE).join("busy");
    std::fs::create_dir_all(STATE)?;
    if std::fs::File::options().write(true).create_new(true).open(&busy).is_err() {
        run.refuse(999, complaint);
        return Ok(());
    }
    run.run();
    // Long enough for the others to come.
    std::thread::sleep(std::time::Duration::from_millis(50));
    Ok(std::fs::remove_file(&busy)?)
}
