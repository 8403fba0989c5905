//! Defects of what ADD does.

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::kernel;
use super::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "bridge-interface-left-down",
        "bridge",
        &["add.interface-connectivity"],
        "leaves the container's interface down",
        |run| {
            if run.succeeds(Operation::Add) {
                kernel::set_down(run)?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-makes-no-interface",
        "bridge",
        &["add.creates-interface"],
        "reports success although the interface is not there",
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
        "bridge-address-not-set",
        "bridge",
        &["result.ips-reflect-kernel", "add.assigns-ip", "deleg.ips-applied"],
        "reports an address that the interface does not have",
        |run| {
            if run.succeeds(Operation::Add) {
                kernel::remove_address(run, true)?;
            }
            Ok(())
        },
    )
    .also_in(Version::V0_2_0),
    mutant(
        "bridge-address-not-reported",
        "bridge",
        &["result.ips-reflect-kernel"],
        "gives the interface an address that it does not report",
        |run| {
            if run.succeeds(Operation::Add) {
                kernel::add_address(run, "198.51.100.77/24")?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-route-not-set",
        "bridge",
        &["result.routes-top-level", "add.assigns-ip", "deleg.ips-applied"],
        "reports a route that the container does not have",
        |run| {
            run.edit_result(Operation::Add, |result| {
                let routes = result.entry("routes").or_insert_with(|| json!([]));
                if let Value::Array(routes) = routes {
                    routes.push(json!({ "dst": "203.0.113.0/24", "gw": "10.61.0.1" }));
                }
                if let Some(Value::Object(family)) = result.get_mut("ip4") {
                    family.insert("routes".into(), json!([{ "dst": "203.0.113.0/24", "gw": "10.61.0.1" }]));
                }
            });
            Ok(())
        },
    )
    .also_in(Version::V0_2_0),
    mutant(
        "bridge-route-of-another-interface",
        "bridge",
        &["result.routes-relevant"],
        "lists a route that leaves by the loopback interface",
        |run| {
            if run.succeeds(Operation::Add) {
                let mut socket = kernel::container(run)?;
                let lo = socket.link("lo")?.ok_or("no lo")?;
                use cni_plugins::netlink::link::{Change, change};
                use cni_plugins::netlink::route::KernelRoute;
                socket.apply(vec![change("lo", lo.index, Change { up: Some(true), ..Change::default() })])?;
                socket.apply(vec![KernelRoute::new("203.0.113.0/24".parse()?, lo.index).add()])?;
                run.edit_output(|result| {
                    if let Value::Array(routes) = result.entry("routes").or_insert_with(|| json!([])) {
                        routes.push(json!({ "dst": "203.0.113.0/24" }));
                    }
                });
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-route-with-a-metric",
        "bridge",
        &["add.route-metric-zero"],
        "gives routes a metric that nobody asked for",
        |run| {
            if run.succeeds(Operation::Add)
                && let Some((mut socket, link)) = kernel::interface(run)?
            {
                use cni_plugins::netlink::route::KernelRoute;
                let route = KernelRoute {
                    priority: Some(100),
                    ..KernelRoute::new("203.0.113.0/24".parse()?, link.index)
                };
                socket.apply(vec![route.add()])?;
                run.edit_output(|result| {
                    if let Some(Value::Object(family)) = result.get_mut("ip4") {
                        family.insert("routes".into(), json!([{ "dst": "203.0.113.0/24" }]));
                    } else if let Value::Array(routes) = result.entry("routes").or_insert_with(|| json!([])) {
                        routes.push(json!({ "dst": "203.0.113.0/24" }));
                    }
                });
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-takes-existing-interface",
        "bridge",
        &["add.existing-ifname-errors"],
        "reuses an interface of the requested name",
        |run| {
            run.run();
            if run.is(Operation::Add) && !run.succeeded() && kernel::interface(run)?.is_some() {
                let version = run.text("cniVersion");
                run.answer(&json!({ "cniVersion": version, "interfaces": [], "ips": [] }), 0);
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-adds-twice",
        "bridge",
        &["add.twice-errors"],
        "answers a second ADD as if it were the first",
        |run| {
            let added = kernel::state_file(run);
            if run.is(Operation::Add)
                && let Ok(result) = std::fs::read(&added)
            {
                run.stdout = result;
                return Ok(());
            }
            if run.succeeds(Operation::Add) {
                kernel::write(&added, &String::from_utf8_lossy(&run.stdout))?;
            }
            if run.is(Operation::Del) {
                let _ = std::fs::remove_file(&added);
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-one-interface-per-container",
        "bridge",
        &["add.second-ifname-same-container"],
        "refuses a container that it has attached already",
        |run| {
            let added = std::path::Path::new(kernel::STATE).join(run.variable("CNI_CONTAINERID"));
            if run.is(Operation::Add) && added.exists() {
                run.refuse(100, "the container is attached already");
                return Ok(());
            }
            if run.succeeds(Operation::Add) {
                kernel::write(&added, "")?;
            }
            if run.is(Operation::Del) {
                let _ = std::fs::remove_file(&added);
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-failed-add-not-undone",
        "bridge",
        &["add.failure-rolls-back"],
        "leaves a link behind when ADD fails",
        |run| {
            run.run();
            if run.is(Operation::Add) && !run.succeeded() {
                leave_link()?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-failed-add-leaks",
        "bridge",
        &["add.failure-leaves-del-able"],
        "leaves a file behind when ADD fails, which DEL does not remove",
        |run| {
            run.run();
            if run.is(Operation::Add) && !run.succeeded() {
                kernel::write(&kernel::state_file(run), "")?;
            }
            Ok(())
        },
    ),
    mutant(
        "bridge-result-of-failed-add",
        "bridge",
        &["add.failure-no-result"],
        "prints a result when the IPAM plugin failed",
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
        "bridge-drops-prevresult",
        "bridge",
        &["add.prevresult-echoed"],
        "leaves what prevResult lists out of its result",
        |run| {
            if run.is(Operation::Add) {
                run.edit_config(|config| drop(config.remove("prevResult")));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-prevresult-indices-stay",
        "bridge",
        &["add.prevresult-indexes-kept"],
        "puts its interfaces before those of prevResult and leaves the indices",
        |run| {
            let previous =
                run.config().get("prevResult").and_then(|p| p["interfaces"].as_array().map(Vec::len));
            run.edit_result(Operation::Add, |result| {
                if let (Some(count), Some(Value::Array(all))) = (previous, result.get_mut("interfaces")) {
                    all.rotate_left(count);
                }
            });
            Ok(())
        },
    ),
    mutant(
        "bridge-default-route-unasked",
        "bridge",
        &["deleg.gateway-not-route"],
        "installs a default route through every gateway",
        |run| {
            if run.is(Operation::Add) {
                run.edit_config(|config| drop(config.insert("isDefaultGateway".into(), json!(true))));
            }
            run.run();
            Ok(())
        },
    ),
    mutant(
        "bridge-default-route-replaced",
        "bridge",
        &["add.default-route-skip"],
        "fails when another network has set a default route",
        |run| {
            if run.is(Operation::Add) {
                let taken = match kernel::container(run) {
                    Ok(mut socket) => socket.routes(true)?.iter().any(|route| route.is_default()),
                    Err(_) => false,
                };
                if taken {
                    run.refuse(100, "there is a default route already");
                    return Ok(());
                }
            }
            run.run();
            Ok(())
        },
    ),
];

/// Makes a link on the host that nobody asked for.
fn leave_link() -> Result<(), super::Defect> {
    use cni_plugins::netlink::bridge::new_bridge;
    use cni_plugins::netlink::link::Mac;
    let new = new_bridge("leftover0", Mac([2, 0, 0, 0, 0, 9]), None, false);
    kernel::host()?.apply(vec![new.or(&[libc::EEXIST])])?;
    Ok(())
}
