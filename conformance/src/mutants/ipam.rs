//! Defects of IPAM plugins.

use cni_spec::Operation;
use serde_json::{Value, json};

use super::kernel;
use super::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "host-local-no-address",
        "host-local",
        &["ipam.determines-addressing"],
        "returns a result without an address",
        |run| {
            run.edit_result(Operation::Add, |result| {
                result.insert("ips".into(), json!([]));
                result.remove("ip4");
                result.remove("ip6");
            });
            Ok(())
        },
    ),
    mutant(
        "static-lists-interfaces",
        "static",
        &["ipam.abbreviated-result"],
        "lists the container's interface",
        |run| {
            let netns = run.variable("CNI_NETNS");
            run.edit_result(Operation::Add, |result| {
                result.insert("interfaces".into(), json!([{ "name": "eth0", "sandbox": netns }]));
            });
            Ok(())
        },
    ),
    mutant(
        "static-names-an-interface",
        "static",
        &["ipam.no-interface-index"],
        "says which interface an address belongs to",
        |run| {
            run.edit_result(Operation::Add, |result| {
                if let Some(Value::Array(ips)) = result.get_mut("ips") {
                    ips.iter_mut().for_each(|ip| ip["interface"] = json!(0));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "static-ip-key",
        "static",
        &["ipam.ips-key-030"],
        "calls the list of addresses ip, as the text of 0.3.0 does for plugins",
        |run| {
            run.edit_result(Operation::Add, |result| {
                if let Some(ips) = result.remove("ips") {
                    result.insert("ip".into(), ips);
                }
            });
            Ok(())
        },
    ),
    mutant(
        "static-sets-the-loopback-up",
        "static",
        &["ipam.interface-unaware"],
        "sets an interface of the container up",
        |run| {
            if run.succeeds(Operation::Add) {
                let mut socket = kernel::container(run)?;
                if let Some(link) = socket.link("lo")? {
                    use cni_plugins::netlink::link::{Change, change};
                    socket.apply(vec![change(
                        "lo",
                        link.index,
                        Change { up: Some(true), ..Change::default() },
                    )])?;
                }
            }
            Ok(())
        },
    ),
    mutant(
        "static-gateway-elsewhere",
        "static",
        &["result.ips-gateway-same-subnet"],
        "returns gateways that are not in the subnet",
        |run| {
            run.edit_result(Operation::Add, |result| {
                if let Some(Value::Array(ips)) = result.get_mut("ips") {
                    for ip in
                        ips.iter_mut().filter(|ip| ip["address"].as_str().is_some_and(|a| a.contains('.')))
                    {
                        ip["gateway"] = json!("192.0.2.1");
                    }
                }
            });
            Ok(())
        },
    ),
    mutant(
        "host-local-exhausted-reuses",
        "host-local",
        &["add.exhaustion-errors"],
        "gives out an address a second time when none is left",
        |run| {
            let last = std::path::Path::new(kernel::STATE).join("last");
            run.run();
            if run.is(Operation::Add) {
                if run.succeeded() {
                    kernel::write(&last, &String::from_utf8_lossy(&run.stdout))?;
                } else if String::from_utf8_lossy(&run.stdout).contains("no free address") {
                    run.stdout = std::fs::read(&last)?;
                    run.status = 0;
                }
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-result-when-exhausted",
        "host-local",
        &["add.failure-no-result"],
        "prints an empty result when no address is left",
        |run| {
            run.run();
            if run.is(Operation::Add) && !run.succeeded() {
                let version = run.text("cniVersion");
                run.answer(&json!({ "cniVersion": version, "ips": [] }), 1);
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-del-keeps-address",
        "host-local",
        &["del.releases-resources", "del.undoes-modifications", "add.host-state-restored-after-cycle"],
        "keeps the address in DEL",
        |run| {
            if run.is(Operation::Del) {
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-del-needs-netns",
        "host-local",
        &["del.ipam-without-netns", "del.missing-netns-env-succeeds"],
        "frees the address only while the namespace is there",
        |run| {
            if run.is(Operation::Del) && !std::path::Path::new(&run.variable("CNI_NETNS")).exists() {
                run.refuse(3, "the namespace is gone");
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-del-without-netns-keeps-address",
        "host-local",
        &["del.ipam-without-netns", "del.missing-netns-env-succeeds"],
        "does nothing in DEL when the namespace is gone",
        |run| {
            if run.is(Operation::Del) && !std::path::Path::new(&run.variable("CNI_NETNS")).exists() {
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-adds-twice",
        "host-local",
        &["add.not-idempotent-ipam"],
        "gives an attachment a second address",
        |run| {
            if run.is(Operation::Add) {
                let again = kernel::state_file(run);
                if again.exists() {
                    let other = format!("{}-again", run.variable("CNI_CONTAINERID"));
                    run.set("CNI_CONTAINERID", &other);
                } else {
                    kernel::write(&again, "")?;
                }
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "host-local-version-refused-with-100",
        "host-local",
        &["ipam.unsupported-version-code1"],
        "refuses a version with code 100",
        |run| {
            run.recode(1, 100);
            Ok(())
        },
    ),
    mutant(
        "host-local-never-again",
        "host-local",
        &["error.code-11"],
        "says that addresses are used up for now, and gives none when one is free",
        |run| {
            let full = std::path::Path::new(kernel::STATE).join("full");
            if run.is(Operation::Add) && full.exists() {
                run.refuse(11, "no address for now");
                return Ok(());
            }
            run.run();
            if run.is(Operation::Add) && !run.succeeded() {
                kernel::write(&full, "")?;
                run.refuse(11, "no address for now");
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-args-win",
        "host-local",
        &["param.args-superseded-by-args"],
        "prefers the address in CNI_ARGS to the one in args.cni.ips",
        |run| {
            let args = run.variable("CNI_ARGS");
            if run.is(Operation::Add) && args.split(';').any(|pair| pair.starts_with("IP=")) {
                run.edit_config(|config| drop(config.remove("args")));
            }
            run.run();
            Ok(())
        },
    ),
];
