//! Defects that released plugins had, in the situations of `checks::incidents`.

use std::path::Path;

use cni_spec::Operation;
use serde_json::Value;

use super::{Execution, Mutant, kernel, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "tuning-dot-is-slash",
        "tuning",
        &["add.adjusts-interface"],
        "takes a dot in CNI_IFNAME for a part of the path of a sysctl",
        |run| {
            run.run();
            if run.is(Operation::Add) && run.variable("CNI_IFNAME").contains('.') {
                run.refuse(999, "no such file: /proc/sys/net/ipv4/conf/eth0/100");
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-made-on-host",
        "bridge",
        &["add.creates-interface"],
        "makes the container's interface on the host, under its final name",
        |run| {
            let taken = kernel::host()?.link(&run.variable("CNI_IFNAME"))?.is_some();
            if run.is(Operation::Add) && taken {
                run.refuse(999, "file exists");
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-nothing-asked-crashes",
        "portmap",
        &["check.ok-after-add"],
        "crashes in CHECK when no port is to be mapped",
        |run| {
            run.run();
            if run.is(Operation::Check) && mapped_addresses(run).is_empty() {
                eprintln!("mutant panicked at check.rs: no mappings");
                run.stdout.clear();
                run.status = 101;
            }
            Ok(())
        },
    ),
    mutant(
        "portmap-check-unspecified",
        "portmap",
        &["check.ok-after-add"],
        "misses a rule in CHECK for ports at 0.0.0.0",
        |run| {
            run.run();
            if run.is(Operation::Check) && mapped_addresses(run).iter().any(|address| address == "0.0.0.0") {
                run.refuse(999, "5 rules expected, 4 found");
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-zeros-lost",
        "host-local",
        &["conv.follow-plugin"],
        "loses the zeros in front of an address",
        |run| {
            run.edit_result(|result| {
                for ip in result.get_mut("ips").and_then(Value::as_array_mut).into_iter().flatten() {
                    let short =
                        ip["address"].as_str().and_then(|text| text.strip_prefix("0.")).map(str::to_owned);
                    if let Some(short) = short {
                        ip["address"] = Value::from(short);
                    }
                }
            });
            Ok(())
        },
    ),
    mutant(
        "static-section-missing-crashes",
        "static",
        &["error.json-on-stdout-nonzero-exit"],
        "looks into its section for what CNI_ARGS says before it knows that there is one",
        |run| {
            run.run();
            let asked = run.variable("CNI_ARGS").contains("IP=");
            if run.is(Operation::Add) && asked && !run.config().contains_key("ipam") {
                eprintln!("mutant panicked at args.rs: no ipam");
                run.stdout.clear();
                run.status = 101;
            }
            Ok(())
        },
    ),
    mutant(
        "loopback-check-wants-ipv6",
        "loopback",
        &["check.ok-after-add"],
        "wants ::1 in CHECK, whether there is IPv6 or not",
        |run| {
            run.run();
            if run.is(Operation::Check)
                && let Some((mut socket, link)) = kernel::interface(run)?
                && !socket.addresses(link.index)?.iter().any(|found| found.address.addr().is_ipv6())
            {
                run.refuse(999, "lo lacks ::1");
            }
            Ok(())
        },
    ),
    mutant(
        "host-local-keyed-by-pod",
        "host-local",
        &["del.only-own-attachment"],
        "frees in DEL what the latest container of the same pod has",
        |run| {
            let args = run.variable("CNI_ARGS");
            let pod = args.split(';').find_map(|pair| pair.strip_prefix("K8S_POD_NAME="));
            let file = Path::new(kernel::STATE).join(pod.unwrap_or_default());
            match pod {
                Some(_) if run.is(Operation::Add) => kernel::write(&file, &run.variable("CNI_CONTAINERID"))?,
                Some(_) if run.is(Operation::Del) => {
                    run.set("CNI_CONTAINERID", &std::fs::read_to_string(file)?)
                }
                _ => {}
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-del-needs-rules",
        "bridge",
        &["del.best-effort"],
        "fails in DEL when the rules are gone",
        |run| {
            let masquerades = run.config().get("ipMasq") == Some(&Value::Bool(true));
            let there = kernel::interface(run).is_ok_and(|found| found.is_some());
            let gone = cni_plugins::nft::rules().is_ok_and(|rules| rules.is_empty());
            run.run();
            if run.is(Operation::Del) && masquerades && there && gone {
                run.refuse(999, "the chain CNI-1 does not exist");
            }
            Ok(())
        },
    ),
];

/// The addresses of the host that ports are mapped at; an empty text for all of them.
fn mapped_addresses(run: &mut Execution) -> Vec<String> {
    let config = run.config();
    let mappings = config.get("runtimeConfig").and_then(|runtime| runtime["portMappings"].as_array());
    let address = |mapping: &Value| mapping["hostIP"].as_str().unwrap_or_default().to_owned();
    mappings.into_iter().flatten().map(address).collect()
}
