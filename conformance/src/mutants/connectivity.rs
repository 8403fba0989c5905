//! Defects that only packets show.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use cni_plugins::netlink::message::Message;
use cni_plugins::netlink::{Socket, Step};
use cni_plugins::nft;
use cni_spec::Operation;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::{Defect, Execution, Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "bridge-gateway-silent",
        "bridge",
        &["add.interface-connectivity"],
        "leaves the gateway's addresses on a host that answers nobody who asks for them",
        |run| {
            if run.succeeds(Operation::Add) {
                silence()?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-ports-isolated",
        "bridge",
        &["add.interface-connectivity"],
        "keeps containers of a network from reaching each other",
        |run| {
            run.edit_config(|config| drop(config.insert("portIsolation".into(), json!(true))));
            run.run();
            Ok(())
        },
    ),
    mutant(
        "ptp-does-not-forward",
        "ptp",
        &["add.interface-connectivity"],
        "leaves a host that forwards nothing",
        |run| {
            if run.succeeds(Operation::Add) {
                std::fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-del-shuts-the-gateway",
        "bridge",
        &["del.only-own-attachment"],
        "has the host drop all that comes to it after a DEL",
        |run| {
            run.run();
            if run.is(Operation::Del) {
                cut_off()?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-gc-shuts-the-gateway",
        "bridge",
        &["gc.keeps-valid"],
        "has the host drop all that comes to it after GC",
        |run| {
            run.run();
            if run.is(Operation::Gc) {
                cut_off()?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-masquerade-ignored",
        "bridge",
        &["config.wellknown-semantics"],
        "does not masquerade, whatever ipMasq says",
        |run| {
            run.edit_config(|config| drop(config.remove("ipMasq")));
            run.run();
            Ok(())
        },
    ),
    mutant(
        "ptp-masquerades-the-last-address",
        "ptp",
        &["config.wellknown-semantics"],
        "masquerades only the last of several addresses",
        |run| {
            if run.succeeds(Operation::Add) {
                masquerade_last(run)?;
            }
            Ok(())
        },
    ),
    mutant(
        "portmap-tcp-only",
        "portmap",
        &["conv.portmappings-effect"],
        "forwards TCP, whatever a mapping says",
        |run| {
            edit_mappings(run, |mappings| mappings.retain(|mapping| mapping["protocol"] != json!("udp")));
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-host-ip-ignored",
        "portmap",
        &["conv.portmappings-effect"],
        "forwards nothing of a mapping for one address of the host",
        |run| {
            edit_mappings(run, |mappings| mappings.retain(|mapping| mapping.get("hostIP").is_none()));
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-never-masquerades",
        "portmap",
        &["conv.portmappings-effect"],
        "is of no use to localhost and to the container itself",
        |run| {
            run.edit_config(|config| drop(config.insert("snat".into(), json!(false))));
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-conditions-ignored",
        "portmap",
        &["conv.portmappings-effect"],
        "forwards everybody's packets, whatever the conditions",
        |run| {
            run.edit_config(|config| {
                for key in CONDITIONS {
                    config.remove(key);
                }
            });
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-negations-overlooked",
        "portmap",
        &["conv.portmappings-effect"],
        "forwards the packets that a condition is to keep out, and no others",
        |run| {
            run.edit_config(|config| {
                for key in CONDITIONS {
                    if let Some(Value::Array(words)) = config.get_mut(key) {
                        words.retain(|word| !["!", "!="].map(|one| json!(one)).contains(word));
                    }
                }
            });
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-conditions-of-the-newest",
        "portmap",
        &["conv.portmappings-effect"],
        "has the conditions of the newest container hold for all",
        |run| {
            const KEPT: &str = "/run/cnitest-mutant-conditions";
            let config = run.config();
            run.run();
            if run.is(Operation::Add) && run.succeeded() {
                if CONDITIONS.iter().any(|key| config.contains_key(*key)) {
                    std::fs::write(KEPT, Value::Object(config).to_string())?;
                } else if let Ok(kept) = std::fs::read(KEPT) {
                    redirect(&serde_json::from_slice(&kept)?, "")?;
                }
            }
            Ok(())
        },
    ),
    mutant(
        "portmap-del-keeps-forwarding",
        "portmap",
        &["conv.portmappings-effect"],
        "goes on forwarding after DEL",
        |run| {
            if run.is(Operation::Del) {
                run.pretend();
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-catches-forwarded-packets",
        "portmap",
        &["conv.portmappings-effect"],
        "leads every packet for a mapped port to the container, wherever it was sent",
        |run| {
            let config = run.config();
            if run.succeeds(Operation::Add) {
                redirect(&config, "")?;
            }
            Ok(())
        },
    ),
    mutant(
        "portmap-masquerades-own-network",
        "portmap",
        &["conv.portmappings-effect"],
        "masquerades what the container sends to itself, whatever masqAll says",
        |run| {
            run.edit_config(|config| drop(config.remove("masqAll")));
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-keeps-tracked-flows",
        "portmap",
        &["conv.portmappings-effect"],
        "changes where a port leads, and leaves the flows that the kernel tracks as they are",
        |run| {
            let config = run.config();
            edit_mappings(run, Vec::clear);
            run.run();
            match run.succeeded() {
                true if run.is(Operation::Add) => redirect(&config, "fib daddr type local ")?,
                // The kernel translates as long as there is a chain for it.
                true if run.is(Operation::Del) => {
                    nft_program("add table inet cnitest_mutant\nflush table inet cnitest_mutant\n")?
                }
                _ => {}
            }
            Ok(())
        },
    ),
    mutant(
        "portmap-add-forgets-all-flows",
        "portmap",
        &["practice.tracked-flows-kept"],
        "has the kernel forget every flow that it tracks after ADD",
        |run| {
            if run.succeeds(Operation::Add) {
                forget_all_flows()?;
            }
            Ok(())
        },
    ),
    mutant(
        "portmap-del-forgets-all-flows",
        "portmap",
        &["del.only-own-attachment"],
        "has the kernel forget every flow that it tracks after DEL",
        |run| {
            if run.succeeds(Operation::Del) {
                forget_all_flows()?;
            }
            Ok(())
        },
    ),
    mutant(
        "portmap-del-removes-all",
        "portmap",
        &["del.only-own-attachment"],
        "removes every container's mappings at any DEL",
        |run| {
            run.run();
            if run.is(Operation::Del) {
                nft_program("flush ruleset\n")?;
            }
            Ok(())
        },
    ),
];

/// The keys of the conditions of portmap.
const CONDITIONS: [&str; 2] = ["conditionsV4", "conditionsV6"];

/// Nobody who asks for an IPv4 address of the host gets an answer.
fn silence() -> Result<(), Defect> {
    Ok(std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "8")?)
}

/// Drops everything that comes to the host.
fn cut_off() -> Result<(), Defect> {
    nft_program("table ip cnitest_mutant { chain input { type filter hook input priority 0; drop; }; }\n")
}

/// Masquerades the last address of the result only.
fn masquerade_last(run: &Execution) -> Result<(), Defect> {
    let result: Value = serde_json::from_slice(&run.stdout)?;
    let listed = result["ips"].as_array().cloned().unwrap_or_default();
    let addresses: Vec<IpNet> = listed.iter().filter_map(|ip| ip["address"].as_str()?.parse().ok()).collect();
    let Some(last) = addresses.last() else { return Ok(()) };
    for label in nft::labels()? {
        if nft::missing(&label, &[*last])?.is_none() {
            nft::add(&label, &[*last])?;
        }
    }
    Ok(())
}

fn edit_mappings(run: &mut Execution, change: impl FnOnce(&mut Vec<Value>)) {
    run.edit_config(|config| {
        let mappings = config.get_mut("runtimeConfig").and_then(|passed| passed.get_mut("portMappings"));
        if let Some(Value::Array(mappings)) = mappings {
            change(mappings);
        }
    });
}

/// Leads the packets for mapped ports that meet a condition to the container.
fn redirect(config: &Map<String, Value>, condition: &str) -> Result<(), Defect> {
    let list = |outer: &str, inner: &str| -> Vec<Value> {
        let list = config.get(outer).and_then(|value| value.get(inner)).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let (addresses, mappings) = (list("prevResult", "ips"), list("runtimeConfig", "portMappings"));
    let mut rules = String::new();
    for mapping in &mappings {
        for address in addresses.iter().filter_map(|ip| ip["address"].as_str()?.parse::<IpNet>().ok()) {
            let protocol = mapping["protocol"].as_str().unwrap_or("tcp");
            let (from, to) = (&mapping["hostPort"], &mapping["containerPort"]);
            let (family, end) = match address.addr() {
                IpAddr::V4(v4) => ("ip", v4.to_string()),
                IpAddr::V6(v6) => ("ip6", format!("[{v6}]")),
            };
            rules += &format!(
                "  {condition}meta nfproto {} {protocol} dport {from} dnat {family} to {end}:{to}\n",
                if family == "ip" { "ipv4" } else { "ipv6" }
            );
        }
    }
    nft_program(&format!(
        "table inet cnitest_mutant {{ chain prerouting {{ type nat hook prerouting priority -101;\n{rules} }}; }}\n"
    ))
}

/// Has the kernel forget everything that it tracks.
fn forget_all_flows() -> Result<(), Defect> {
    /// Of nfnetlink_conntrack.h: the subsystem, and the deletion of what a message names, or of all.
    const DELETE: u16 = 1 << 8 | 2;
    let message = Message::new(DELETE, libc::NLM_F_ACK, &[0; 4]);
    Socket::netfilter()?.apply(vec![Step::new("forget all flows", message)])?;
    Ok(())
}

/// Has `nft` make a change.
fn nft_program(text: &str) -> Result<(), Defect> {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    match child.wait()?.success() {
        true => Ok(()),
        false => Err(format!("nft refuses {text}").into()),
    }
}
