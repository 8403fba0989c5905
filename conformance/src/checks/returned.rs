//! What the IPAM plugin returned, and what the plugin that executed it makes of it: routes, gateways, its stdout.
//!
//! The script of [`delegation`] takes the part of the IPAM plugin.

use std::net::IpAddr;

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::case::{Case, Documents, Stop, pretty};
use super::delegation::{self, FOLDER, SCRIPT};
use super::kernel::{self, Added};
use super::reproducer::{Assertion, one_document};
use super::{Check, Concerns, Scope};
use crate::arena::snapshot::Route;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "delegation.gateway-alone",
        title: "A gateway that comes without routes makes no default route",
        requirements: &["deleg.gateway-not-route"],
        concerns: Concerns::Addressing,
        scope: Scope::Configurations,
        since: Version::V0_1_0,
        variants: &[],
        run: gateway_alone,
    },
    Check {
        id: "delegation.stdout",
        title: "What the IPAM plugin prints is not passed on to stdout",
        requirements: &["deleg.stdout-not-leaked"],
        concerns: Concerns::Addressing,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[],
        run: stdout,
    },
    Check {
        id: "delegation.late-failure",
        title: "When ADD fails after the IPAM plugin succeeded, the plugin executes it again with DEL",
        requirements: &["deleg.later-failure-del"],
        concerns: Concerns::Addressing,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[],
        run: late_failure,
    },
    Check {
        id: "delegation.route-gateway",
        title: "A route without gateway goes through the gateway of its family, or through none",
        requirements: &["result.routes-gw-default", "check.ok-after-add"],
        concerns: Concerns::Addressing,
        scope: Scope::Once,
        since: Version::V1_0_0,
        variants: &[],
        run: route_gateway,
    },
    Check {
        id: "delegation.legacy-route-gateway",
        title: "Up to 0.2.0 a route without gateway goes through the gateway that the IPAM plugin returned",
        requirements: &["config.ipam-routes-gw-default"],
        concerns: Concerns::Addressing,
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[],
        run: legacy_route_gateway,
    },
    Check {
        id: "delegation.route-attributes",
        title: "The attributes of routes that the result lists are those that the kernel has, and CHECK finds them",
        requirements: &["result.routes-ignored-attrs", "check.ok-after-add"],
        concerns: Concerns::Addressing,
        scope: Scope::Once,
        since: Version::V1_1_0,
        variants: &[],
        run: route_attributes,
    },
];

/// Destinations of routes that name no gateway.
const WITHOUT_GATEWAY: [&str; 2] = ["198.51.100.0/24", "2001:db8:99::/48"];

fn without_gateway() -> Value {
    WITHOUT_GATEWAY.iter().map(|dst| json!({ "dst": dst })).collect()
}

/// What the script returns, with these routes.
fn answer(case: &Case<'_>, routes: Value) -> Result<Value, Stop> {
    let mut result = delegation::answer_of_script(case.version)?;
    let document = json!({ "cniVersion": Version::V1_1_0.as_str(), "routes": routes });
    let with = cni_spec::result::AddResult::parse(&document, Version::V1_1_0)
        .map_err(|error| Stop::Undecided(error.to_string()))?;
    result.routes = with.routes;
    Ok(result.to_version(case.version).0)
}

/// ADD with the script, which returns these routes.
fn add(case: &mut Case<'_>, routes: Value) -> Result<Added, Stop> {
    let mut attachment = case.attachment()?;
    let text = pretty(&answer(case, routes)?);
    delegation::install_answer(case, FOLDER, &text, 0)?;
    let before = std::sync::Arc::new(case.snapshot()?);
    let answer = case.run(delegation::delegating(case, Operation::Add, &attachment, SCRIPT))?;
    case.require_result(&answer)?;
    attachment.result = answer.document().cloned();
    let result = kernel::read(case, answer.document())?;
    let after = std::sync::Arc::new(case.snapshot()?);
    Ok(Added { attachment, before, after, result })
}

fn gateway_alone(case: &mut Case<'_>) -> Result<(), Stop> {
    if case.configuration.default_route {
        return Err(Stop::skip("the configuration itself asks for a default route".to_owned()));
    }
    let added = add(case, json!([]))?;
    let routes = &added.container()?.routes;
    let found = routes.iter().find(|route| route.prefix == 0 && route.kind == "unicast");
    let expected = "the container has no default route: the IPAM plugin returned gateways and no routes";
    let observed = found.map(describe).unwrap_or_default();
    let name = &added.attachment.container;
    let assertion = Assertion::Shell(format!("! ip -n {name} route | grep -q ^default"));
    case.expect_as(found.is_none(), "deleg.gateway-not-route", expected, observed, assertion);
    Ok(())
}

fn stdout(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    // Among white space that nobody writes by chance.
    let text = format!("\n \t{}\n\n", pretty(&answer(case, json!([]))?));
    delegation::install_answer(case, FOLDER, &text, 0)?;
    let answer = case.run(delegation::delegating(case, Operation::Add, &attachment, SCRIPT))?;
    if !answer.succeeded() {
        return Err(Stop::unmet(answer.summary()));
    }
    let printed = answer.execution.stdout_text();
    let holds = matches!(answer.documents, Documents::One(_)) && !printed.contains(text.trim_end());
    let expected = "stdout holds the plugin's own result, and not what the IPAM plugin printed";
    let observed = match &answer.documents {
        Documents::One(_) => "it holds what the IPAM plugin printed".to_owned(),
        _ => answer.summary(),
    };
    let assertion = one_document(answer.index);
    case.expect_as(holds, "deleg.stdout-not-leaked", expected, observed, assertion);
    Ok(())
}

fn late_failure(case: &mut Case<'_>) -> Result<(), Stop> {
    let attachment = case.attachment()?;
    let version = case.version.as_str();
    let nothing = if case.version < Version::V0_3_0 {
        json!({ "cniVersion": version })
    } else {
        json!({ "cniVersion": version, "ips": [] })
    };
    delegation::install_answer(case, FOLDER, &pretty(&nothing), 0)?;
    let answer = case.run(delegation::delegating(case, Operation::Add, &attachment, SCRIPT))?;
    if answer.succeeded() {
        return Err(Stop::skip("the plugin takes a result without addresses".to_owned()));
    }
    let executions = delegation::recorded(case, "executions")?.unwrap_or_default();
    let commands: Vec<&str> = executions.lines().collect();
    let Some(last) = commands.iter().rposition(|command| *command == "ADD") else {
        return Err(Stop::unmet(answer.summary()));
    };
    let holds = commands.iter().skip(last).any(|command| *command == "DEL");
    let expected =
        "after ADD failed, the IPAM plugin, whose ADD had succeeded, is executed with CNI_COMMAND=DEL";
    let observed = format!("it was executed for {}", kernel::list(&commands));
    let assertion = Assertion::FileHas(format!("{FOLDER}/executions"), "DEL".to_owned());
    case.expect_as(holds, "deleg.later-failure-del", expected, observed, assertion);
    Ok(())
}

fn route_gateway(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = add(case, without_gateway())?;
    for route in &added.result.routes {
        let dst = route.dst;
        let ipv4 = dst.addr().is_ipv4();
        let gateways: Vec<IpAddr> = added.result.ips.iter().filter_map(|ip| ip.gateway).collect();
        let Some(found) = kernel_route(&added, dst.network(), dst.prefix_len(), None)? else { continue };
        let holds =
            found.gateway.is_none_or(|gateway| gateways.contains(&gateway) || route.gw == Some(gateway));
        let own: Vec<&IpAddr> = gateways.iter().filter(|gateway| gateway.is_ipv4() == ipv4).collect();
        let expected = format!(
            "the route to {dst}, which names no gateway, goes through {}, or none",
            kernel::list(own)
        );
        case.expect(holds, "result.routes-gw-default", expected, describe(&found));
    }
    expect_check(case, &added, "CHECK of routes without gateway")
}

/// What was just added passes CHECK.
fn expect_check(case: &mut Case<'_>, added: &Added, label: &str) -> Result<(), Stop> {
    let call = delegation::delegating(case, Operation::Check, &added.attachment, SCRIPT);
    let answer = case.run(call.label(label))?;
    case.expect_success(&answer, "check.ok-after-add");
    Ok(())
}

fn legacy_route_gateway(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = add(case, without_gateway())?;
    for route in &added.result.routes {
        let dst = route.dst;
        let own = |gateway: &IpAddr| gateway.is_ipv4() == dst.addr().is_ipv4();
        let Some(gateway) = added.result.ips.iter().filter_map(|ip| ip.gateway).find(own) else { continue };
        // One that the plugin adds of its own accord is no route of the IPAM plugin.
        if !WITHOUT_GATEWAY.contains(&dst.to_string().as_str()) {
            continue;
        }
        let found = kernel_route(&added, dst.network(), dst.prefix_len(), None)?;
        let holds = found.as_ref().is_some_and(|found| found.gateway == Some(gateway));
        let expected = format!("the route to {dst}, which names no gateway, goes through {gateway}");
        let observed = found.as_ref().map_or_else(|| "there is no such route".to_owned(), describe);
        let name = &added.attachment.container;
        let family = if dst.addr().is_ipv4() { "-4" } else { "-6" };
        let shown = format!("ip -n {name} {family} route show {dst} | grep -q 'via {gateway}'");
        case.expect_as(holds, "config.ipam-routes-gw-default", expected, observed, Assertion::Shell(shown));
    }
    Ok(())
}

fn route_attributes(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = add(
        case,
        json!([
            { "dst": "198.51.100.0/24", "gw": "10.99.0.1", "mtu": 1280, "advmss": 1200, "priority": 77 },
            { "dst": "203.0.113.0/24", "gw": "10.99.0.1", "table": 4242 },
            { "dst": "192.0.2.0/24", "gw": "10.99.0.1", "scope": 0 }
        ]),
    )?;
    for route in &added.result.routes {
        let dst = route.dst;
        let found = kernel_route(&added, dst.network(), dst.prefix_len(), route.table)?;
        let Some(found) = found else {
            let expected = format!("the container has a route to {dst} in the table that the result says");
            case.expect(false, "result.routes-ignored-attrs", expected, "it has none");
            continue;
        };
        let scope = route.scope.map(scope_name);
        let pairs = [
            ("mtu", route.mtu.map(|n| n.to_string()), found.mtu.unwrap_or_default().to_string()),
            ("advmss", route.advmss.map(|n| n.to_string()), found.advmss.unwrap_or_default().to_string()),
            ("priority", route.priority.map(|n| n.to_string()), found.metric.to_string()),
            ("scope", scope, found.scope.clone()),
        ];
        for (key, listed, real) in pairs {
            let Some(listed) = listed else { continue };
            let expected = format!("the route to {dst} has the {key} {listed} that the result says");
            let observed = format!("the {key} is {real}");
            case.expect(listed == real, "result.routes-ignored-attrs", expected, observed);
        }
    }
    expect_check(case, &added, "CHECK of routes with attributes, one of them in a table of its own")
}

/// The name of a scope as a snapshot has it.
fn scope_name(number: u32) -> String {
    match number {
        0 => "global".to_owned(),
        200 => "site".to_owned(),
        253 => "link".to_owned(),
        254 => "host".to_owned(),
        255 => "nowhere".to_owned(),
        other => other.to_string(),
    }
}

fn kernel_route(
    added: &Added,
    destination: IpAddr,
    prefix: u8,
    table: Option<u32>,
) -> Result<Option<Route>, Stop> {
    let table = table.unwrap_or(Route::MAIN_TABLE);
    let mut routes = added.container()?.routes.iter();
    let is_it =
        |route: &&Route| route.destination == destination && route.prefix == prefix && route.table == table;
    Ok(routes.find(is_it).cloned())
}

fn describe(route: &Route) -> String {
    let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
    let device = route.device.as_ref().map(|device| format!(" dev {device}")).unwrap_or_default();
    format!("there is a route to {}/{}{via}{device}", route.destination, route.prefix)
}
