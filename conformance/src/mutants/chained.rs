//! Defects of chained plugins.

use cni_spec::Operation;
use serde_json::{Value, json};

use super::kernel;
use super::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "debug-drops-prevresult",
        "debug",
        &["add.prevresult-echoed", "add.prevresult-handled", "add.prevresult-unchanged-equivalent"],
        "answers with an empty result instead of prevResult",
        |run| {
            if run.is(Operation::Add) {
                run.edit_config(|config| drop(config.remove("prevResult")));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "tuning-prevresult-missing-half-done",
        "tuning",
        &["add.prevresult-missing-chained"],
        "writes down an attachment before it finds that there is no prevResult, and leaves that",
        |run| {
            if run.is(Operation::Add) && !run.config().contains_key("prevResult") {
                kernel::write(&kernel::state_file(run), "")?;
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "debug-drops-dns",
        "debug",
        &["add.prevresult-unchanged-equivalent", "add.prevresult-echoed"],
        "leaves dns of prevResult out of the result",
        |run| {
            run.edit_result(Operation::Add, |result| drop(result.insert("dns".into(), json!({}))));
            Ok(())
        },
    ),
    mutant(
        "debug-reorders-interfaces",
        "debug",
        &["add.prevresult-indexes-kept"],
        "turns the order of interfaces round and leaves the indices",
        |run| {
            run.edit_result(Operation::Add, |result| {
                if let Some(Value::Array(all)) = result.get_mut("interfaces") {
                    all.reverse();
                }
            });
            Ok(())
        },
    ),
    mutant(
        "debug-drops-routes",
        "debug",
        &["add.prevresult-unchanged-equivalent", "add.prevresult-handled"],
        "leaves routes of prevResult out of the result",
        |run| {
            run.edit_result(Operation::Add, |result| drop(result.remove("routes")));
            Ok(())
        },
    ),
    mutant(
        "debug-takes-the-interface-away",
        "debug",
        &["add.adjusts-interface"],
        "deletes the interface that the plugin in front made",
        |run| {
            if run.succeeds(Operation::Add)
                && let Some((mut socket, link)) = kernel::interface(run)?
            {
                socket.delete_link(&link.name)?;
            }
            Ok(())
        },
    ),
    mutant(
        "debug-needs-a-veth",
        "debug",
        &["conv.chained-agnostic"],
        "refuses an interface that is no veth device",
        |run| {
            if run.is(Operation::Add) && kernel::interface(run)?.is_some_and(|(_, link)| link.kind != "veth")
            {
                run.refuse(100, "the interface is no veth device");
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "debug-without-prevresult-panics",
        "debug",
        &["error.json-on-stdout-nonzero-exit"],
        "falls over without prevResult",
        |run| {
            if run.is(Operation::Add) && !run.config().contains_key("prevResult") {
                super::input::panicked(run);
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "debug-drops-unknown-keys",
        "debug",
        &["add.prevresult-unknown-keys"],
        "leaves keys of prevResult that it does not know out of the result",
        |run| {
            run.edit_result(Operation::Add, |result| {
                const KNOWN: [&str; 7] = ["cniVersion", "interfaces", "ips", "routes", "dns", "ip4", "ip6"];
                result.retain(|key, _| KNOWN.contains(&key.as_str()));
                for list in ["interfaces", "ips"] {
                    for entry in result.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                        if let Value::Object(entry) = entry {
                            entry.retain(|key, _| !key.contains(['.', '/']) && !key.starts_with("x-"));
                        }
                    }
                }
            });
            Ok(())
        },
    ),
    mutant(
        "debug-needs-labelled-prevresult",
        "debug",
        &["add.prevresult-version-match"],
        "refuses a prevResult without cniVersion",
        |run| {
            let previous = run.config().get("prevResult").cloned().unwrap_or_default();
            run.run();
            if run.is(Operation::Add) && previous.is_object() && previous.get("cniVersion").is_none() {
                run.refuse(7, "prevResult has no cniVersion");
            }
            Ok(())
        },
    ),
    mutant(
        "debug-setting-left",
        "debug",
        &["del.undoes-modifications"],
        "changes a setting of the host in ADD and does not change it back in DEL",
        |run| {
            if run.succeeds(Operation::Add) {
                let path = "/proc/sys/net/ipv4/tcp_keepalive_time";
                let value: u32 = std::fs::read_to_string(path)?.trim().parse()?;
                std::fs::write(path, (value + 1).to_string())?;
            }
            Ok(())
        },
    ),
];
