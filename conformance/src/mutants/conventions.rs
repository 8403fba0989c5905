//! Defects of what a runtime may ask for, and of what the IPAM plugin's answer means.

use std::process::Command;

use cni_plugins::netlink::link::Mac;
use cni_plugins::netns::Netns;
use cni_spec::result::AddResult;
use cni_spec::{Operation, Version};
use serde_json::{Map, Value, json};

use super::{Defect, Execution, Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant("bridge-mac-ignored", "bridge", &["conv.follow-plugin"], "ignores runtimeConfig.mac", |run| {
        edit_passed(run, |passed| drop(passed.remove("mac")));
        run.run();
        Ok(())
    }),
    mutant(
        "tuning-mac-not-in-the-result",
        "tuning",
        &["conv.follow-plugin"],
        "sets the hardware address and reports the old one",
        |run| {
            let before = run.config().get("prevResult").and_then(|result| result.get("interfaces")).cloned();
            run.edit_result(Operation::Add, |result| {
                if let Some(before) = before {
                    result.insert("interfaces".into(), before);
                }
            });
            Ok(())
        },
    ),
    mutant(
        "host-local-ip-ranges-ignored",
        "host-local",
        &["conv.follow-plugin"],
        "ignores runtimeConfig.ipRanges",
        |run| {
            edit_passed(run, |passed| drop(passed.remove("ipRanges")));
            run.run();
            Ok(())
        },
    ),
    mutant(
        "static-ip-in-cni-args-ignored",
        "static",
        &["conv.follow-plugin"],
        "ignores the key IP of CNI_ARGS",
        |run| {
            run.unset("CNI_ARGS");
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-malformed-mac-ignored",
        "bridge",
        &["conv.error-if-not-actionable"],
        "takes a hardware address that is none for no wish",
        |run| {
            edit_passed(run, |passed| {
                let good = passed.get("mac").and_then(Value::as_str).and_then(Mac::parse).is_some();
                if !good {
                    passed.remove("mac");
                }
            });
            run.run();
            Ok(())
        },
    ),
    mutant(
        "portmap-malformed-ports-ignored",
        "portmap",
        &["conv.error-if-not-actionable"],
        "leaves out mappings whose ports are no ports",
        |run| {
            edit_passed(run, |passed| {
                let is_port = |mapping: &Value, key: &str| {
                    mapping[key].as_u64().is_some_and(|port| (1..=65535).contains(&port))
                };
                if let Some(Value::Array(mappings)) = passed.get_mut("portMappings") {
                    mappings.retain(|one| is_port(one, "hostPort") && is_port(one, "containerPort"));
                }
            });
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-route-through-another-gateway",
        "bridge",
        &["result.routes-gw-default", "config.ipam-routes-gw-default"],
        "sends routes that name no gateway through the last address of the network",
        |run| {
            if run.succeeds(Operation::Add) {
                reroute(run)?;
            }
            Ok(())
        },
    )
    .also_in(Version::V0_2_0),
    mutant(
        "bridge-route-attributes-only-reported",
        "bridge",
        &["result.routes-ignored-attrs"],
        "reports attributes of routes that the kernel does not have",
        |run| {
            run.edit_result(Operation::Add, |result| {
                for route in result.get_mut("routes").and_then(Value::as_array_mut).into_iter().flatten() {
                    route["mtu"] = json!(1111);
                }
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-host-interface-imagined",
        "bridge",
        &["add.host-side-changes"],
        "lists an interface of the host that is not there",
        |run| {
            run.edit_result(Operation::Add, |result| {
                if let Some(Value::Array(all)) = result.get_mut("interfaces") {
                    all.push(json!({ "name": "veth00imagined", "mac": "0a:00:00:00:00:01" }));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "static-list-in-an-old-result",
        "static",
        &["result.conversion-down-lossy"],
        "answers versions that know one address of each family with a list",
        |run| {
            let asked = run.config();
            if run.is(Operation::Add) && matches!(run.text("cniVersion").as_str(), "0.1.0" | "0.2.0") {
                let ips = asked.get("runtimeConfig").and_then(|passed| passed.get("ips")).cloned();
                run.edit_config(|config| drop(config.remove("runtimeConfig")));
                run.edit_result(Operation::Add, |result| {
                    drop(result.insert("ips".into(), ips.unwrap_or_else(|| json!([]))))
                });
                return Ok(());
            }
            run.run();
            Ok(())
        },
    ),
];

/// Changes what the runtime passes for the container.
fn edit_passed(run: &mut Execution, change: impl FnOnce(&mut Map<String, Value>)) {
    run.edit_config(|config| {
        if let Some(Value::Object(passed)) = config.get_mut("runtimeConfig") {
            change(passed);
        }
    });
}

/// Gives the first IPv4 route of the result that is no default route another gateway: one more address of the network.
fn reroute(run: &Execution) -> Result<(), Defect> {
    let result: Value = serde_json::from_slice(&run.stdout)?;
    // A document of an older version says so itself.
    let result = AddResult::parse(&result, Version::LATEST)?;
    let address = result.ips.iter().map(|ip| ip.address).next();
    let wanted = result.routes.iter().map(|route| route.dst).find(|dst| dst.prefix_len() > 0);
    let (Some(address), Some(dst)) = (address, wanted) else { return Ok(()) };
    let Some(gateway) = address.hosts().last() else { return Ok(()) };
    let (dst, gateway) = (dst.to_string(), gateway.to_string());
    let replace = || Command::new("ip").args(["route", "replace", &dst, "via", &gateway]).status();
    match Netns::open(run.variable("CNI_NETNS"))?.run(replace)??.success() {
        true => Ok(()),
        false => Err(format!("ip cannot lead {dst} through {gateway}").into()),
    }
}
