//! Defects that released plugins had, in the situations of `checks::incidents`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use cni_spec::Operation;
use serde_json::{Value, json};

use super::{Defect, Execution, Mutant, kernel, mutant};

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
            run.edit_result(Operation::Add, |result| {
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
        "bridge-del-needs-master",
        "bridge",
        &["del.best-effort"],
        "looks for the master in DEL, for which it has no use",
        |run| {
            let master = run.text("master");
            if run.is(Operation::Del) && !master.is_empty() && kernel::host()?.link(&master)?.is_none() {
                run.refuse(999, "link not found");
                return Ok(());
            }
            run.run();
            Ok(())
        },
    )
    .with_target(WITH_MASTER),
    mutant(
        "bridge-device-renamed-late",
        "bridge",
        &["add.creates-interface", "add.host-state-restored-after-cycle"],
        "takes a device of the host instead, moves it under its own name, and forgets one that it could not move",
        |run| {
            let (device, ifname) = (run.text("device"), run.variable("CNI_IFNAME"));
            let path = run.variable("CNI_NETNS");
            let container = Path::new(&path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let own = std::process::id().to_string();
            if run.is(Operation::Add) {
                let moved = ip(&["link", "set", &device, "netns", container])?
                    && ip(&["-n", container, "link", "set", &device, "name", &ifname])?;
                let version = run.text("cniVersion");
                match moved {
                    true => run.answer(
                        &json!({ "cniVersion": version, "interfaces": [{ "name": ifname, "sandbox": path }] }),
                        0,
                    ),
                    false => run.refuse(999, "file exists"),
                }
            } else if run.is(Operation::Del) {
                let found = ip(&["-n", container, "link", "set", &ifname, "name", &device])?;
                if found && !ip(&["-n", container, "link", "set", &device, "netns", &own])? {
                    run.refuse(999, "file exists");
                }
            } else {
                run.run();
            }
            Ok(())
        },
    )
    .with_target(WITH_DEVICE),
    mutant(
        "bridge-second-add-frees",
        "bridge",
        &["add.twice-errors"],
        "frees the address of the first ADD when a second one fails",
        |run| {
            let folder = Path::new("/var/lib/cni/networks").join(run.text("name"));
            run.run();
            if run.is(Operation::Add) && !run.succeeded() && folder.exists() {
                std::fs::remove_dir_all(folder)?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-forgets-delegation",
        "bridge",
        &["deleg.del-forwarded"],
        "does nothing in the DEL after one that failed",
        |run| {
            let file = kernel::state_file(run);
            if run.is(Operation::Del) && file.exists() {
                run.pretend();
                return Ok(());
            }
            run.run();
            if run.is(Operation::Del) && !run.succeeded() {
                kernel::write(&file, "")?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-address-released-first",
        "bridge",
        &["practice.address-released-last"],
        "gives the address back, and then removes the interface",
        |run| {
            if run.is(Operation::Del) {
                let kind = run.config().get("ipam").and_then(|ipam| ipam["type"].as_str().map(str::to_owned));
                let path = run.variable("CNI_PATH");
                let mut programs =
                    path.split(':').map(|folder| Path::new(folder).join(kind.as_deref().unwrap_or_default()));
                if let Some(program) = programs.find(|program| program.is_file()) {
                    let input = run.input();
                    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
                    if let Some(mut stdin) = child.stdin.take() {
                        stdin.write_all(&input)?;
                    }
                    child.wait()?;
                }
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-del-without-tools",
        "portmap",
        &["add.host-state-restored-after-cycle"],
        "takes it for a success of DEL when iptables is not installed",
        |run| {
            let path = run.variable("PATH");
            let installed = path.split(':').any(|folder| Path::new(folder).join("iptables").exists());
            if run.is(Operation::Del) && !installed {
                run.pretend();
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-del-fails-without-a-word",
        "portmap",
        &["error.msg"],
        "does not say why DEL fails when iptables is not installed",
        |run| {
            let path = run.variable("PATH");
            let installed = path.split(':').any(|folder| Path::new(folder).join("iptables").exists());
            match run.is(Operation::Del) && !installed {
                true => run.refuse(999, ""),
                false => run.run(),
            }
            Ok(())
        },
    ),
    mutant(
        "portmap-del-always-asks",
        "portmap",
        &["practice.firewall-let-be"],
        "asks iptables in DEL whether there is something to remove, when nothing was asked for as well",
        |run| {
            if run.is(Operation::Del) {
                let asked = Command::new("iptables").args(["-t", "nat", "-S"]).stdout(Stdio::null()).status();
                // It is not installed.
                drop(asked);
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-negation-misread",
        "portmap",
        &["conv.portmappings-effect"],
        "takes conditions in the syntax of iptables for those of nftables when the first is a negation",
        |run| {
            let config = run.config();
            let conditions = config.get("conditionsV4").and_then(Value::as_array);
            let first = conditions.and_then(|all| all.first()).and_then(Value::as_str).unwrap_or_default();
            let misread = first.starts_with('!') && !config.contains_key("backend");
            match run.is(Operation::Add) && misread {
                true => run.refuse(999, "backend iptables, but conditionsV4 are for nftables"),
                false => run.run(),
            }
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
            let gone = cni_plugins::nft::labels().is_ok_and(|labels| labels.is_empty());
            run.run();
            if run.is(Operation::Del) && masquerades && there && gone {
                run.refuse(999, "the chain CNI-1 does not exist");
            }
            Ok(())
        },
    ),
];

/// A bridge whose configuration names an interface of the host.
const WITH_MASTER: &str = r#"
name = "bridge"
kind = "interface"
summary = "a bridge that names an interface of the host"

[[link]]
name = "uplink0"

[[configuration]]
name = "with-master"
plugin = '{ "type": "bridge", "bridge": "cnit0", "master": "uplink0" }'
"#;

/// A bridge that gets a device of the host for each container.
const WITH_DEVICE: &str = r#"
name = "bridge"
kind = "interface"
summary = "a bridge that gets a device of the host"

[[link]]
name = "dev-${container}"
per-container = true

[[configuration]]
name = "with-device"
plugin = '{ "type": "bridge", "bridge": "cnit0", "device": "dev-${container}" }'
"#;

/// Whether `ip` can do it.
pub(super) fn ip(arguments: &[&str]) -> Result<bool, Defect> {
    Ok(Command::new("ip").args(arguments).stderr(Stdio::null()).status()?.success())
}

/// The addresses of the host that ports are mapped at; an empty text for all of them.
fn mapped_addresses(run: &mut Execution) -> Vec<String> {
    let config = run.config();
    let mappings = config.get("runtimeConfig").and_then(|runtime| runtime["portMappings"].as_array());
    let address = |mapping: &Value| mapping["hostIP"].as_str().unwrap_or_default().to_owned();
    mappings.into_iter().flatten().map(address).collect()
}
