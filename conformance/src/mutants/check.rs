//! Defects of CHECK.

use cni_spec::Operation;
use serde_json::{Value, json};

use super::kernel;
use super::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "bridge-check-always-succeeds",
        "bridge",
        &[
            "check.missing-interface-errors",
            "check.missing-address-errors",
            "check.missing-route-errors",
            "check.untracked-resource-errors",
            "check.netns-missing-errors",
            "check.after-del-errors",
            "check.consults-prevresult",
        ],
        "passes CHECK whatever is there",
        |run| {
            run.always_succeed(Operation::Check);
            Ok(())
        },
    ),
    mutant(
        "host-local-check-always-succeeds",
        "host-local",
        &["check.untracked-resource-errors"],
        "passes CHECK although the address is not reserved any more",
        |run| {
            run.always_succeed(Operation::Check);
            Ok(())
        },
    ),
    mutant(
        "bridge-check-fails",
        "bridge",
        &["check.ok-after-add"],
        "fails CHECK of a healthy attachment",
        |run| {
            run.run();
            if run.is(Operation::Check) {
                run.refuse(100, "the chain CNI-1 is missing");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-check-main-table-only",
        "bridge",
        &["check.ok-after-add"],
        "looks for routes in the main table only when it checks",
        |run| {
            run.run();
            let previous = run.config().get("prevResult").cloned().unwrap_or_default();
            let mut routes = previous["routes"].as_array().into_iter().flatten();
            if run.is(Operation::Check) && routes.any(|route| route["table"].is_number()) {
                run.refuse(999, "a route is missing");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-check-fails-the-second-time",
        "bridge",
        &["check.ok-after-add"],
        "fails the second CHECK",
        |run| {
            run.run();
            let checked = kernel::state_file(run);
            if run.is(Operation::Check) && run.succeeded() {
                if checked.exists() {
                    run.refuse(100, "the attachment is checked already");
                } else {
                    kernel::write(&checked, "")?;
                }
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-check-prints-a-result",
        "bridge",
        &["check.success-silent"],
        "prints prevResult when CHECK passes",
        |run| {
            let previous = run.config().get("prevResult").cloned().unwrap_or_default();
            if run.succeeds(Operation::Check) {
                run.answer(&previous, 0);
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-check-repairs",
        "bridge",
        &["check.no-mutation"],
        "sets the interface up in CHECK",
        |run| {
            run.run();
            if run.is(Operation::Check)
                && let Some((mut socket, link)) = kernel::interface(run)?
            {
                use cni_plugins::netlink::link::{Change, change};
                socket.apply(vec![change(
                    &link.name,
                    link.index,
                    Change { up: Some(true), ..Change::default() },
                )])?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-check-interface-only",
        "bridge",
        &["check.missing-address-errors", "check.missing-route-errors", "check.consults-prevresult"],
        "looks at the interface in CHECK and not at its addresses and routes",
        |run| {
            if run.is(Operation::Check) {
                run.edit_config(|config| {
                    if let Some(Value::Object(previous)) = config.get_mut("prevResult") {
                        previous.insert("ips".into(), json!([]));
                        previous.insert("routes".into(), json!([]));
                    }
                    config.remove("ipam");
                });
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-check-forbids-more",
        "bridge",
        &["check.allows-later-changes"],
        "fails CHECK when the interface has an address that is not in prevResult",
        |run| {
            let expected = run.config().get("prevResult").map(|p| p["ips"].as_array().map_or(0, Vec::len));
            if run.succeeds(Operation::Check)
                && let Some((mut socket, link)) = kernel::interface(run)?
            {
                let all = socket.addresses(link.index)?;
                let global = all.iter().filter(|one| one.scope == libc::RT_SCOPE_UNIVERSE).count();
                if Some(global) != expected {
                    run.refuse(100, "the interface has other addresses");
                }
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-check-forbids-other-mac",
        "bridge",
        &["check.allows-later-changes"],
        "fails CHECK when the hardware address is not the one that ADD set",
        |run| {
            run.run();
            let noted = kernel::state_file(run);
            let Some((_, link)) = kernel::interface(run)? else { return Ok(()) };
            if run.is(Operation::Add) {
                kernel::write(&noted, &link.mac)?;
            } else if run.is(Operation::Check)
                && std::fs::read_to_string(&noted).is_ok_and(|mac| mac != link.mac)
            {
                run.refuse(100, "the hardware address has changed");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-check-without-prevresult-panics",
        "bridge",
        &["error.json-on-stdout-nonzero-exit"],
        "falls over in CHECK without prevResult",
        |run| {
            if run.is(Operation::Check) && !run.config().contains_key("prevResult") {
                super::input::panicked(run);
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-check-without-prevresult-passes",
        "bridge",
        &["check.missing-prevresult"],
        "passes CHECK without prevResult",
        |run| {
            let given = run.config().contains_key("prevResult");
            run.run();
            if run.is(Operation::Check) && !given {
                run.pretend();
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-check-panics-when-down",
        "bridge",
        &["error.json-on-stdout-nonzero-exit"],
        "falls over in CHECK when the interface is down",
        |run| {
            if run.is(Operation::Check) && kernel::interface(run)?.is_some_and(|(_, link)| !link.up) {
                super::input::panicked(run);
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-check-waits-for-nothing",
        "bridge",
        &["check.convergence-delay"],
        "fails CHECK in the first second after ADD",
        |run| {
            run.run();
            let added = kernel::state_file(run);
            if run.is(Operation::Add) && run.succeeded() {
                kernel::write(&added, "")?;
            }
            if run.is(Operation::Check)
                && let Ok(made) = std::fs::metadata(&added)
                && made.modified()?.elapsed().unwrap_or_default().as_secs() < 1
            {
                run.refuse(100, "the address is tentative");
            }
            Ok(())
        },
    ),
];
