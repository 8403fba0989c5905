//! What only the older versions say.

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::case::{Case, Stop};
use super::kernel;
use super::reproducer::Assertion;
use super::{Check, Concerns, Scope, cycle};
use crate::arena::snapshot::{NamespaceState, Route};
use crate::arena::{NetOp, Place};
use crate::target::Kind;

const INTERFACE: Concerns = Concerns::Kinds(&[Kind::Interface]);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "add.host-side",
        title: "The host has the interfaces that the result lists for it, set up",
        requirements: &["add.host-side-changes"],
        concerns: INTERFACE,
        scope: Scope::Configurations,
        since: Version::V0_3_0,
        variants: &[],
        run: host_side,
    },
    Check {
        id: "add.default-route-taken",
        title: "ADD copes with a default route of another network, and leaves it there",
        requirements: &["add.default-route-skip"],
        concerns: INTERFACE,
        scope: Scope::Configurations,
        since: Version::V0_1_0,
        variants: &[],
        run: default_route_taken,
    },
    Check {
        id: "ipam.one-address-a-family",
        title: "Up to 0.2.0 a result has one address of each family, or ADD fails",
        requirements: &["result.conversion-down-lossy"],
        concerns: Concerns::Kinds(&[Kind::Ipam]),
        scope: Scope::Once,
        since: Version::V0_1_0,
        variants: &[],
        run: one_address_a_family,
    },
];

fn host_side(case: &mut Case<'_>) -> Result<(), Stop> {
    let added = kernel::added(case)?;
    for interface in &added.result.interfaces {
        if added.place_of(interface) != Some(Place::Host) {
            continue;
        }
        let name = &interface.name;
        let observed = match added.after.host.link(name) {
            None => {
                Some(format!("the host's interfaces: {}", kernel::list(kernel::links(&added.after.host))))
            }
            Some(link) if !link.up => Some(format!("{name} is down")),
            Some(_) => None,
        };
        let expected = format!("the host has {name}, which the result lists, and it is up");
        let assertion = Assertion::Shell(format!("ip link show dev {name} up | grep -q ."));
        case.expect_as(
            observed.is_none(),
            "add.host-side-changes",
            expected,
            observed.unwrap_or_default(),
            assertion,
        );
    }
    Ok(())
}

fn default_route_taken(case: &mut Case<'_>) -> Result<(), Stop> {
    let alone = cycle::attached(case)?;
    if !has_default(kernel::state(&case.snapshot()?, &alone)?, None) {
        return Err(Stop::skip("ADD makes no IPv4 default route".to_owned()));
    }
    let attachment = case.attachment()?;
    let place = attachment.place();
    let link = "other0".to_owned();
    let pair = NetOp::AddVeth { a: link.clone(), b: "other-peer".to_owned(), peer_place: Place::Host };
    case.network(&place, pair)?;
    let (address, gateway) = ([10, 250, 0, 2].into(), [10, 250, 0, 1].into());
    case.network(&place, NetOp::AddAddress { link: link.clone(), address, prefix: 24 })?;
    case.network(&place, NetOp::SetUp { link: link.clone() })?;
    let route = NetOp::AddRoute {
        destination: [0, 0, 0, 0].into(),
        prefix: 0,
        gateway: Some(gateway),
        link: Some(link.clone()),
        table: None,
        metric: None,
    };
    case.network(&place, route)?;
    let call =
        case.call(Operation::Add, &attachment).label("ADD where another network has the default route");
    let answer = case.run(call)?;
    if !case.expect_success(&answer, "add.default-route-skip") {
        return Ok(());
    }
    let holds = has_default(kernel::state(&case.snapshot()?, &attachment)?, Some(&link));
    let expected = format!("the container's default route through {link} is still there");
    let name = &attachment.container;
    let assertion = Assertion::Shell(format!("ip -n {name} route show default | grep -q {link}"));
    case.expect_as(holds, "add.default-route-skip", expected, "it is gone", assertion);
    Ok(())
}

/// Whether there is an IPv4 default route, through a certain link if one is named; it may have other next hops besides.
fn has_default(state: &NamespaceState, link: Option<&str>) -> bool {
    let leaves = |route: &Route| {
        link.is_none()
            || route.device.as_deref() == link
            || route.next_hops.iter().any(|hop| hop.device.as_deref() == link)
    };
    state.routes.iter().any(|route| {
        route.prefix == 0
            && route.destination.is_ipv4()
            && route.table == Route::MAIN_TABLE
            && route.kind == "unicast"
            && leaves(route)
    })
}

fn one_address_a_family(case: &mut Case<'_>) -> Result<(), Stop> {
    let mut attachment = case.attachment()?;
    let target = case.target;
    let ranges = target.and_then(|target| target.capability("ipRanges")).is_some();
    let ips = target.and_then(|target| target.capability("ips"));
    let (key, value) = match ips {
        _ if ranges => ("ipRanges", json!([[{ "subnet": "10.75.0.0/24" }], [{ "subnet": "10.76.0.0/24" }]])),
        Some(capability) => {
            let lists = [capability.value.as_ref(), capability.other.as_ref()];
            let all: Vec<Value> =
                lists.into_iter().flatten().filter_map(Value::as_array).flatten().cloned().collect();
            ("ips", Value::Array(all))
        }
        None => {
            return Err(Stop::skip("the plugin cannot be asked for two addresses of a family".to_owned()));
        }
    };
    attachment.plugin.insert("runtimeConfig".to_owned(), json!({ key: value }));
    let call = case.call(Operation::Add, &attachment).label("ADD for which two IPv4 addresses are due");
    let answer = case.run(call)?;
    if !answer.succeeded() {
        cycle::expect_no_crash(case, &answer);
        case.note(answer.summary());
        return Ok(());
    }
    let document = answer.document().cloned().unwrap_or_default();
    let newer: Vec<&str> =
        ["ips", "interfaces"].into_iter().filter(|key| document.get(key).is_some()).collect();
    let one = document["ip4"]["ip"].is_string();
    let expected = "the result has the first IPv4 address in \"ip4\", and neither \"ips\" nor \"interfaces\"";
    let observed = format!("\"ip4\": {}; newer keys: {}", document["ip4"], kernel::list(&newer));
    case.expect(one && newer.is_empty(), "result.conversion-down-lossy", expected, observed);
    Ok(())
}
