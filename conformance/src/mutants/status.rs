//! Defects of STATUS.

use cni_spec::Operation;

use super::kernel;
use super::{Mutant, mutant};

/// A plugin whose addresses are leased by a daemon.
pub(super) const UNATTENDED: &str = r#"
name = "static"
kind = "ipam"
summary = "addresses that a daemon leases"
no-attachments = "leases need the daemon"
daemon = "the leasing daemon"
expires = true

[[configuration]]
name = "lease"
plugin = '{ "type": "static", "ipam": { "type": "static", "addresses": [{ "address": "10.74.0.5/24" }] } }'
"#;

pub(super) const MUTANTS: &[Mutant] = &[
    mutant("bridge-status-fails", "bridge", &["status.ready-exit-zero"], "is never ready", |run| {
        run.run();
        if run.is(Operation::Status) {
            run.refuse(50, "not ready");
        }
        Ok(())
    }),
    mutant(
        "host-local-status-always-ready",
        "host-local",
        &["status.resources-exhausted"],
        "is ready although no address is left",
        |run| {
            run.always_succeed(Operation::Status);
            Ok(())
        },
    ),
    mutant(
        "bridge-status-prints",
        "bridge",
        &["status.success-silent"],
        "prints a line when it is ready",
        |run| {
            if run.succeeds(Operation::Status) {
                run.stdout = br#"{"ready":true}"#.to_vec();
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-status-makes-a-file",
        "bridge",
        &["status.no-mutation"],
        "makes a file in STATUS",
        |run| {
            run.run();
            if run.is(Operation::Status) {
                kernel::write("/var/lib/cni/ready".as_ref(), "")?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-needs-status",
        "bridge",
        &["status.not-relied-on"],
        "does ADD only after STATUS was asked",
        |run| {
            let asked = std::path::Path::new(kernel::STATE).join("asked");
            if run.is(Operation::Status) {
                kernel::write(&asked, "")?;
            }
            if run.is(Operation::Add) && !asked.exists() && run.text("cniVersion") == "1.1.0" {
                run.refuse(50, "not ready");
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-ready-but-fails",
        "bridge",
        &["status.not-ready-nonzero"],
        "goes out of order when it is asked for STATUS, and says that it is ready",
        |run| {
            let broken = std::path::Path::new(kernel::STATE).join("broken");
            if run.is(Operation::Add) && broken.exists() {
                run.refuse(11, "the daemon does not answer");
                return Ok(());
            }
            run.run();
            if run.is(Operation::Status) {
                kernel::write(&broken, "")?;
            }
            Ok(())
        },
    ),
    mutant(
        "static-ready-without-daemon",
        "static",
        &["status.external-dependency"],
        "is ready although its daemon does not run",
        |run| {
            run.run();
            Ok(())
        },
    )
    .with_target(UNATTENDED),
    mutant(
        "bridge-not-ready-on-stderr",
        "bridge",
        &["status.not-ready-error-on-stdout"],
        "prints the error of STATUS on stderr",
        |run| {
            run.run();
            if run.is(Operation::Status) && !run.succeeded() {
                eprintln!("{}", String::from_utf8_lossy(&run.stdout));
                run.stdout.clear();
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-status-code-of-its-own",
        "host-local",
        &["status.code-50"],
        "says with code 60 that no address is left",
        |run| {
            run.run();
            if run.is(Operation::Status) && !run.succeeded() {
                run.edit_output(|error| drop(error.insert("code".into(), 60.into())));
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-refuses-all-after-status",
        "host-local",
        &["status.other-ops-after-error"],
        "refuses DEL after a STATUS that failed",
        |run| {
            let failed = std::path::Path::new(kernel::STATE).join("failed");
            run.run();
            if run.is(Operation::Status) && !run.succeeded() {
                kernel::write(&failed, "")?;
            }
            if run.is(Operation::Del) && failed.exists() {
                run.refuse(50, "not ready");
            }
            Ok(())
        },
    ),
];
