//! Defects of the result of ADD.

use cni_spec::Operation;
use serde_json::{Map, Value, json};

use super::{Execution, Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "static-no-result",
        "static",
        &["add.result-on-success", "deleg.success-signal"],
        "prints no result",
        |run| {
            if run.succeeds(Operation::Add) {
                run.stdout.clear();
            }
            Ok(())
        },
    ),
    mutant(
        "static-result-with-status-1",
        "static",
        &["exec.exit-zero-on-success"],
        "prints a result and exits with status 1",
        |run| {
            run.run();
            if run.is(Operation::Add) {
                run.status = 1;
            }
            Ok(())
        },
    ),
    mutant(
        "static-logs-to-stdout",
        "static",
        &["exec.result-on-stdout", "exec.json-encoding"],
        "writes a line of its log to stdout before the result",
        |run| {
            run.run();
            if run.is(Operation::Add) {
                let mut text = b"level=info msg=\"assigning an address\"\n".to_vec();
                text.extend(&run.stdout);
                run.stdout = text;
            }
            Ok(())
        },
    ),
    mutant(
        "static-two-results",
        "static",
        &["exec.result-on-stdout", "exec.stdout-single-document"],
        "prints the result twice",
        |run| {
            run.run();
            if run.is(Operation::Add) {
                run.stdout = [run.stdout.clone(), run.stdout.clone()].concat();
            }
            Ok(())
        },
    ),
    mutant(
        "static-result-of-newest-version",
        "static",
        &["version.result-format-requested", "result.shape-matches-version", "ipam.result-010"],
        "answers in the newest version's form whatever version was asked",
        |run| {
            if !run.is(Operation::Add) {
                run.run();
                return Ok(());
            }
            let asked = run.text("cniVersion");
            run.edit_config(|config| drop(config.insert("cniVersion".into(), json!("1.1.0"))));
            run.edit_result(Operation::Add, |result| drop(result.insert("cniVersion".into(), json!(asked))));
            Ok(())
        },
    ),
    mutant(
        "bridge-result-of-oldest-version",
        "bridge",
        &["version.result-format-requested", "result.shape-matches-version", "result.ips-key"],
        "answers ADD with ip4 instead of ips",
        |run| {
            run.edit_result(Operation::Add, |result| {
                let first = result.remove("ips").and_then(|ips| ips.get(0).cloned()).unwrap_or_default();
                result.remove("interfaces");
                result.insert("ip4".into(), json!({ "ip": first["address"], "gateway": first["gateway"] }));
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-result-without-cniversion",
        "bridge",
        &["result.cniversion-present"],
        "leaves cniVersion out of the result",
        |run| {
            run.edit_result(Operation::Add, |result| drop(result.remove("cniVersion")));
            Ok(())
        },
    ),
    mutant(
        "bridge-result-cniversion-fixed",
        "bridge",
        &["result.cniversion-matches-input"],
        "labels its result with its own newest version",
        |run| {
            run.edit_result(Operation::Add, |result| {
                drop(result.insert("cniVersion".into(), json!("1.1.0")))
            });
            Ok(())
        },
    ),
    mutant(
        "static-result-cniversion-fixed",
        "static",
        &["ipam.version-consistent", "result.cniversion-matches-input"],
        "labels its result with its own newest version",
        |run| {
            run.edit_result(Operation::Add, |result| {
                drop(result.insert("cniVersion".into(), json!("1.1.0")))
            });
            Ok(())
        },
    ),
    mutant("static-result-is-a-list", "static", &["result.root-object"], "prints a list", |run| {
        if run.succeeds(Operation::Add) {
            run.stdout = [b"[", run.stdout.as_slice(), b"]"].concat();
        }
        Ok(())
    }),
    mutant("static-ips-is-an-object", "static", &["result.ips-key"], "gives ips as an object", |run| {
        run.edit_result(Operation::Add, |result| {
            let first = result.get("ips").and_then(|ips| ips.get(0)).cloned().unwrap_or_default();
            result.insert("ips".into(), first);
        });
        Ok(())
    }),
    mutant(
        "static-address-without-prefix",
        "static",
        &["result.ips-address", "result.ip4-010"],
        "gives addresses without a prefix length",
        |run| {
            edit_addresses(run, |entry| {
                let text =
                    entry.get("address").or(entry.get("ip")).and_then(Value::as_str).unwrap_or_default();
                let plain = json!(text.split('/').next());
                let key = if entry.contains_key("ip") { "ip" } else { "address" };
                entry.insert(key.into(), plain);
            });
            Ok(())
        },
    ),
    mutant(
        "static-gateway-with-prefix",
        "static",
        &["result.ips-gateway", "result.ip6-010"],
        "gives gateways with a prefix length",
        |run| {
            edit_addresses(run, |entry| {
                let text = entry.get("gateway").and_then(Value::as_str).unwrap_or_default();
                entry.insert("gateway".into(), json!(format!("{text}/24")));
            });
            Ok(())
        },
    ),
    mutant(
        "static-ips-version-number",
        "static",
        &["result.ips-version"],
        "gives the version of an address as a number",
        |run| {
            edit_addresses(run, |entry| {
                if entry.contains_key("version") {
                    entry.insert("version".into(), json!(4));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "static-ips-version-of-other-family",
        "static",
        &["result.ips-version-consistent"],
        "says that every address is an IPv4 one",
        |run| {
            edit_addresses(run, |entry| {
                if entry.contains_key("version") {
                    entry.insert("version".into(), json!("4"));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-ips-interface-text",
        "bridge",
        &["result.ips-interface-type"],
        "gives the interface of an address by its name",
        |run| {
            edit_addresses(run, |entry| drop(entry.insert("interface".into(), json!("eth0"))));
            Ok(())
        },
    ),
    mutant(
        "bridge-ips-interface-beyond",
        "bridge",
        &["result.ips-interface-in-range"],
        "counts interfaces from one",
        |run| {
            edit_addresses(run, |entry| {
                let index = entry.get("interface").and_then(Value::as_u64).unwrap_or_default();
                entry.insert("interface".into(), json!(index + 1));
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-ips-without-interface",
        "bridge",
        &["result.ips-interface-required-040", "deleg.fills-interface-index"],
        "hands on the addresses as the IPAM plugin gave them, without the interface",
        |run| {
            edit_addresses(run, |entry| drop(entry.remove("interface")));
            Ok(())
        },
    ),
    mutant(
        "bridge-gateway-not-reported",
        "bridge",
        &["result.ips-all-known"],
        "leaves the gateway of an address out",
        |run| {
            edit_addresses(run, |entry| drop(entry.remove("gateway")));
            Ok(())
        },
    ),
    mutant(
        "bridge-interface-name-number",
        "bridge",
        &["result.interfaces-name"],
        "gives the index of an interface as its name",
        |run| {
            edit_interfaces(run, |entry| drop(entry.insert("name".into(), json!(7))));
            Ok(())
        },
    ),
    mutant(
        "bridge-interfaces-of-others",
        "bridge",
        &["result.interfaces-name"],
        "lists an interface that does not exist",
        |run| {
            run.edit_result(Operation::Add, |result| {
                if let Some(Value::Array(all)) = result.get_mut("interfaces") {
                    all.push(json!({ "name": "ghost0" }));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-interfaces-incomplete",
        "bridge",
        &["result.interfaces-all-created"],
        "leaves the host's end out of the result",
        |run| {
            run.edit_result(Operation::Add, |result| {
                if let Some(Value::Array(all)) = result.get_mut("interfaces") {
                    let host =
                        all.iter().position(|one| one["name"].as_str().is_some_and(|n| n.starts_with('v')));
                    if let Some(index) = host {
                        all.remove(index);
                    }
                }
                if let Some(Value::Array(ips)) = result.get_mut("ips") {
                    ips.iter_mut().for_each(|ip| ip["interface"] = json!(1));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-interfaces-without-sandbox",
        "bridge",
        &["result.interfaces-sandbox"],
        "leaves the sandbox of the container's interface out",
        |run| {
            edit_interfaces(run, |entry| drop(entry.remove("sandbox")));
            Ok(())
        },
    ),
    mutant(
        "bridge-sandbox-is-the-container",
        "bridge",
        &["result.interfaces-sandbox-value"],
        "gives the container's ID as the sandbox",
        |run| {
            let id = run.variable("CNI_CONTAINERID");
            edit_interfaces(run, |entry| {
                if entry.get("sandbox").is_some() {
                    entry.insert("sandbox".into(), json!(id));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-sandbox-for-host-interfaces",
        "bridge",
        &["result.interfaces-sandbox-host-empty"],
        "says that the host's interfaces are in the container",
        |run| {
            let netns = run.variable("CNI_NETNS");
            edit_interfaces(run, |entry| drop(entry.insert("sandbox".into(), json!(netns))));
            Ok(())
        },
    ),
    mutant(
        "bridge-mac-of-another",
        "bridge",
        &["result.interfaces-mac"],
        "reports a hardware address that the interface does not have",
        |run| {
            edit_interfaces(run, |entry| drop(entry.insert("mac".into(), json!("02:00:00:00:00:01"))));
            Ok(())
        },
    ),
    mutant(
        "bridge-mac-without-colons",
        "bridge",
        &["result.interfaces-mac-format"],
        "writes hardware addresses with hyphens",
        |run| {
            edit_interfaces(run, |entry| {
                let mac = entry.get("mac").and_then(Value::as_str).unwrap_or_default().replace(':', "-");
                entry.insert("mac".into(), json!(mac));
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-mtu-of-another",
        "bridge",
        &["result.interfaces-mtu"],
        "reports an MTU that the interface does not have",
        |run| {
            edit_interfaces(run, |entry| {
                if entry.contains_key("mtu") {
                    entry.insert("mtu".into(), json!(9000));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-socketpath-a-list",
        "bridge",
        &["result.interfaces-socketpath"],
        "gives socketPath as a list",
        |run| {
            edit_interfaces(run, |entry| drop(entry.insert("socketPath".into(), json!([]))));
            Ok(())
        },
    ),
    mutant(
        "static-null-for-routes",
        "static",
        &["result.null-values"],
        "gives null for empty lists",
        |run| {
            run.edit_result(Operation::Add, |result| drop(result.insert("interfaces".into(), Value::Null)));
            Ok(())
        },
    ),
    mutant("static-keys-capitalised", "static", &["result.key-case"], "writes IPS for ips", |run| {
        run.edit_result(Operation::Add, |result| {
            if let Some(ips) = result.get("ips").cloned() {
                result.insert("IPS".into(), ips);
            }
        });
        Ok(())
    }),
    mutant(
        "bridge-new-keys-in-old-results",
        "bridge",
        &["result.interfaces-110-fields-gated"],
        "gives the MTU in every version",
        |run| {
            edit_interfaces(run, |entry| drop(entry.insert("mtu".into(), json!(1400))));
            Ok(())
        },
    ),
    mutant(
        "static-ips-version-kept",
        "static",
        &["result.ips-version-removed"],
        "goes on saying the version of an address in 1.0.0",
        |run| {
            edit_addresses(run, |entry| {
                if entry.contains_key("address") {
                    entry.insert("version".into(), json!("4"));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "static-new-keys-in-oldest-results",
        "static",
        &["result.no-interfaces-010"],
        "lists addresses beside ip4 and ip6",
        |run| {
            run.edit_result(Operation::Add, |result| {
                if let Some(first) = result.get("ip4").cloned() {
                    result.insert("ips".into(), json!([{ "version": "4", "address": first["ip"] }]));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "static-no-family",
        "static",
        &["result.ip-at-least-one-010"],
        "leaves both families out",
        |run| {
            run.edit_result(Operation::Add, |result| {
                result.remove("ip4");
                result.remove("ip6");
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-ip-and-ips",
        "bridge",
        &["result.ips-key-030"],
        "lists addresses as ip and as ips in 0.3.0",
        |run| {
            run.edit_result(Operation::Add, |result| {
                if let Some(ips) = result.get("ips").cloned() {
                    result.insert("ip".into(), ips);
                }
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-pciid-a-number",
        "bridge",
        &["result.interfaces-pciid"],
        "gives pciID as a number",
        |run| {
            edit_interfaces(run, |entry| drop(entry.insert("pciID".into(), json!(3))));
            Ok(())
        },
    ),
    mutant(
        "static-routes-in-words",
        "static",
        &["result.routes-dst", "result.routes-010"],
        "writes `default` for the default route",
        |run| {
            edit_routes(run, |route| drop(route.insert("dst".into(), json!("default"))));
            Ok(())
        },
    ),
    mutant(
        "static-routes-an-object",
        "static",
        &["result.routes-top-level"],
        "gives routes as an object",
        |run| {
            run.edit_result(Operation::Add, |result| {
                if result.contains_key("routes") {
                    result.insert("routes".into(), json!({ "dst": "0.0.0.0/0" }));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "static-route-gw-a-prefix",
        "static",
        &["result.routes-gw"],
        "gives gw with a prefix length",
        |run| {
            edit_routes(run, |route| {
                if route.contains_key("gw") {
                    route.insert("gw".into(), json!("10.74.0.9/24"));
                }
            });
            Ok(())
        },
    ),
    mutant(
        "static-route-of-two-families",
        "static",
        &["result.routes-family"],
        "gives an IPv6 next hop for IPv4 routes",
        |run| {
            edit_routes(run, |route| drop(route.insert("gw".into(), json!("fd00::1"))));
            Ok(())
        },
    ),
    mutant(
        "static-route-mtu-text",
        "static",
        &["result.routes-mtu"],
        "gives a route's mtu as a text",
        |run| {
            edit_routes(run, |route| drop(route.insert("mtu".into(), json!("1400"))));
            Ok(())
        },
    ),
    mutant(
        "static-route-advmss-text",
        "static",
        &["result.routes-advmss"],
        "gives advmss as a text",
        |run| {
            edit_routes(run, |route| drop(route.insert("advmss".into(), json!("1400"))));
            Ok(())
        },
    ),
    mutant(
        "static-route-priority-text",
        "static",
        &["result.routes-priority"],
        "gives a route's priority as a text",
        |run| {
            edit_routes(run, |route| drop(route.insert("priority".into(), json!("low"))));
            Ok(())
        },
    ),
    mutant(
        "static-route-table-text",
        "static",
        &["result.routes-table"],
        "gives a route's table by name",
        |run| {
            edit_routes(run, |route| drop(route.insert("table".into(), json!("main"))));
            Ok(())
        },
    ),
    mutant(
        "static-route-scope-text",
        "static",
        &["result.routes-scope"],
        "gives a route's scope by name",
        |run| {
            edit_routes(run, |route| drop(route.insert("scope".into(), json!("link"))));
            Ok(())
        },
    ),
    mutant(
        "static-dns-a-list",
        "static",
        &["result.dns-object", "result.dns-010"],
        "gives dns as a list",
        |run| {
            run.edit_result(Operation::Add, |result| {
                drop(result.insert("dns".into(), json!(["10.74.0.53"])))
            });
            Ok(())
        },
    ),
    mutant(
        "static-dns-nameservers-text",
        "static",
        &["result.dns-nameservers"],
        "gives nameservers as one text",
        |run| {
            edit_dns(run, |dns| drop(dns.insert("nameservers".into(), json!("10.74.0.53"))));
            Ok(())
        },
    ),
    mutant(
        "static-dns-search-text",
        "static",
        &["result.dns-domain-search-options"],
        "gives search as one text",
        |run| {
            edit_dns(run, |dns| drop(dns.insert("search".into(), json!("example.net"))));
            Ok(())
        },
    ),
];

/// Changes each object of a list in the result of ADD.
fn edit_each(run: &mut Execution, key: &str, mut change: impl FnMut(&mut Map<String, Value>)) {
    run.edit_result(Operation::Add, |result| {
        if let Some(Value::Array(all)) = result.get_mut(key) {
            all.iter_mut().filter_map(Value::as_object_mut).for_each(&mut change);
        }
    });
}

/// Changes each address in the result of ADD, whatever the version.
fn edit_addresses(run: &mut Execution, mut change: impl FnMut(&mut Map<String, Value>)) {
    run.edit_result(Operation::Add, |result| {
        for key in ["ip4", "ip6"] {
            if let Some(Value::Object(family)) = result.get_mut(key) {
                change(family);
            }
        }
        if let Some(Value::Array(all)) = result.get_mut("ips") {
            all.iter_mut().filter_map(Value::as_object_mut).for_each(&mut change);
        }
    });
}

fn edit_interfaces(run: &mut Execution, change: impl FnMut(&mut Map<String, Value>)) {
    edit_each(run, "interfaces", change);
}

fn edit_routes(run: &mut Execution, mut change: impl FnMut(&mut Map<String, Value>)) {
    run.edit_result(Operation::Add, |result| {
        for key in ["ip4", "ip6"] {
            if let Some(Value::Array(all)) = result.get_mut(key).and_then(|family| family.get_mut("routes")) {
                all.iter_mut().filter_map(Value::as_object_mut).for_each(&mut change);
            }
        }
        if let Some(Value::Array(all)) = result.get_mut("routes") {
            all.iter_mut().filter_map(Value::as_object_mut).for_each(&mut change);
        }
    });
}

fn edit_dns(run: &mut Execution, change: impl FnOnce(&mut Map<String, Value>)) {
    run.edit_result(Operation::Add, |result| {
        if let Some(Value::Object(dns)) = result.get_mut("dns") {
            change(dns);
        }
    });
}
