//! The device that a runtime names for a container.
//!
//! A PCI bus of cnitest's own holds the devices, so that none of the machine's is touched and none is needed.

use cni_spec::{Operation, Version};
use serde_json::json;

use super::case::{Case, Stop};
use super::conventions::ask;
use super::kernel;
use super::{Check, Concerns, Scope};
use crate::arena::{NetOp, Place};
use crate::target::Way;

pub(super) const CHECKS: &[Check] = &[Check {
    id: "conventions.device-id",
    title: "The device that a runtime names is the one that the container gets, or gets its interface on",
    requirements: &["conv.follow-plugin"],
    concerns: Concerns::Taking(DEVICE_ID),
    scope: Scope::Once,
    since: Version::V0_3_0,
    variants: &["first", "second"],
    run: device,
}];

/// The capability.
const DEVICE_ID: &str = "deviceID";
/// The PCI devices, and the links that belong to them. Neither order of the names is that of the other.
const DEVICES: [(&str, &str); 2] = [("0000:c7:00.1", "pcidev-b"), ("0000:c7:00.2", "pcidev-a")];

fn device(case: &mut Case<'_>) -> Result<(), Stop> {
    let capability = case.target.and_then(|target| target.capability(DEVICE_ID)).cloned();
    let Some(capability) = capability.filter(|one| one.by.contains(&Way::RuntimeConfig)) else {
        return Err(Stop::skip("the plugin takes no device through runtimeConfig"));
    };
    let mut attachment = case.attachment()?;
    for (address, link) in DEVICES {
        let pair = NetOp::AddVeth { a: link.to_owned(), b: format!("{link}-p"), peer_place: Place::Host };
        case.network(&Place::Host, pair)?;
        case.add_pci_device(address, link)?;
    }
    let (address, link) = DEVICES[usize::from(case.variant == "second")];
    ask(&mut attachment, &capability, Way::RuntimeConfig, &json!(address));
    let before = case.snapshot()?;
    let there = before.host.link(link).cloned();
    let Some(there) = there else { return Err(Stop::Undecided(format!("{link} is not there"))) };
    let call =
        case.call(Operation::Add, &attachment).label(format!("ADD with runtimeConfig.deviceID {address}"));
    let answer = case.run(call)?;
    if !case.expect_success(&answer, "conv.follow-plugin") {
        return Ok(());
    }
    let after = case.snapshot()?;
    let container = kernel::state(&after, &attachment)?;
    let name = case.interface(&attachment);
    let found = container.link(&name);
    // Moved, it keeps its hardware address and its peer; or the interface is made on it.
    let is_it = found.is_some_and(|found| {
        let on_it = found
            .peer
            .as_ref()
            .is_some_and(|peer| peer.place == Some(Place::Host) && peer.index == there.index);
        found.mac == there.mac && after.host.link(link).is_none() || on_it
    });
    let expected =
        format!("{name} of the container is the device {address}, {link} of the host, or made on it");
    let observed = match found {
        None => format!("the container has no {name}"),
        Some(found) => {
            let mac = found.mac.as_deref().unwrap_or("no address");
            let other = DEVICES
                .iter()
                .find(|(_, other)| before.host.link(other).is_some_and(|link| link.mac == found.mac));
            match other {
                Some((other, _)) => format!("it is the device {other}"),
                None => format!("it is another interface, {mac}"),
            }
        }
    };
    case.expect(is_it, "conv.follow-plugin", expected, observed);
    Ok(())
}
