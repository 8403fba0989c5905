//! What stands in front of a chained plugin: an interface as an interface plugin would have left it.

use std::time::{Duration, Instant};

use cni_spec::Version;
use cni_spec::result::AddResult;
use serde_json::{Value, json};

use super::case::{Attachment, Case, Stop};
use super::connectivity::set_sysctl;
use crate::arena::snapshot::Scope as SnapshotScope;
use crate::arena::{NetOp, Place, dhcp};

/// Connects the attachment's container by a veth pair: `frontN` on the host, CNI_IFNAME in the container, both up and
/// addressed, with a default route. Returns the result that describes it, in the case's version.
///
/// # Errors
/// Skips where there is no prevResult: chaining exists from 0.3.0.
pub(super) fn make(case: &mut Case<'_>, attachment: &Attachment, index: usize) -> Result<Value, Stop> {
    connect(case, attachment, &attachment.ifname.clone(), index, "0.0.0.0/0")
}

/// As [`make`], for an interface beside CNI_IFNAME, with a route that gets in nobody's way.
///
/// # Errors
/// Skips where there is no prevResult.
pub(crate) fn beside(
    case: &mut Case<'_>,
    attachment: &Attachment,
    ifname: &str,
    index: usize,
) -> Result<Value, Stop> {
    // Each its own, as several may stand side by side.
    connect(case, attachment, ifname, index, &format!("198.51.{}.0/24", index % 256))
}

/// Prepares the host for links of [`plug`].
///
/// # Errors
/// When the arena fails.
pub(super) fn open(case: &mut Case<'_>) -> Result<(), Stop> {
    // The kernel takes its time, up to a second, over a link whose number is that of its other end. This pair moves the
    // numbers of the host's links on.
    let (a, b, peer_place) = ("front0".to_owned(), "front0-p".to_owned(), Place::Host);
    case.network(&Place::Host, NetOp::AddVeth { a, b, peer_place })?;
    // No route leads back to the addresses that are leased: a host that looks for one, as some are set up to, drops
    // what comes from there.
    set_sysctl(case, "net/ipv4/conf/all/rp_filter", "0")?;
    set_sysctl(case, "net/ipv4/conf/default/rp_filter", "0")
}

/// Connects the container of an IPAM plugin as an interface plugin does before it delegates: `frontN` on the host, where
/// the DHCP server answers, and CNI_IFNAME in the container, both up, the latter without addresses.
///
/// # Errors
/// When the arena fails.
pub(super) fn plug(case: &mut Case<'_>, attachment: &Attachment, index: usize) -> Result<(), Stop> {
    let number = u8::try_from(index)
        .map_err(|_| Stop::Undecided(format!("{index} interfaces in front; there is room for 255")))?;
    let (name, container) = (format!("front{number}"), attachment.place());
    let (a, b) = (name.clone(), attachment.ifname.clone());
    case.network(&Place::Host, NetOp::AddVeth { a, b, peer_place: container.clone() })?;
    let address = NetOp::AddAddress { link: name.clone(), address: dhcp::SERVER.into(), prefix: 32 };
    case.network(&Place::Host, address)?;
    case.network(&Place::Host, NetOp::SetUp { link: name })?;
    let link = attachment.ifname.clone();
    case.network(&container, NetOp::SetMac { link: link.clone(), mac: [0x02, 0x92, 0, 0, 0, number] })?;
    case.network(&container, NetOp::SetUp { link: link.clone() })?;
    // The kernel drops what is sent on a link until it has told itself that the other end is up: a client whose first
    // message is lost waits long before it sends another.
    let clock = Instant::now();
    while clock.elapsed() < CARRIER {
        let state = case.arena.snapshot(SnapshotScope::network().only(container.clone()))?;
        if state.place(&container).and_then(|state| Some(state.link(&link)?.running)) == Some(true) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(Stop::Undecided(format!("{link} of {container} has no carrier after {} s", CARRIER.as_secs())))
}

/// How long a link may take until it carries packets.
const CARRIER: Duration = Duration::from_secs(5);

/// Whether a word of a difference names the host's end of such a pair, or one of the addresses that [`connect`] gives.
pub(super) fn is_of_front(word: &str) -> bool {
    word.contains("front") || word.starts_with("10.90.") || word.starts_with("fd00:90:")
}

/// Sets up another interface in the place of the one in front, alone in its container and without a peer: with the
/// addresses and routes of the result `previous`. Returns the result that describes it.
///
/// # Errors
/// When the arena fails.
pub(super) fn dress(
    case: &mut Case<'_>,
    attachment: &Attachment,
    previous: Option<Value>,
) -> Result<Value, Stop> {
    let previous = previous.unwrap_or_default();
    let mut result = AddResult::parse(&previous, case.version)
        .map_err(|error| Stop::Undecided(format!("the result in front cannot be read: {error}")))?;
    let (place, link) = (attachment.place(), attachment.ifname.clone());
    result.interfaces.retain(|interface| interface.name == link);
    for ip in &mut result.ips {
        ip.interface = Some(0);
        let (address, prefix) = (ip.address.addr(), ip.address.prefix_len());
        case.network(&place, NetOp::AddAddress { link: link.clone(), address, prefix })?;
    }
    case.network(&place, NetOp::SetUp { link: link.clone() })?;
    for route in &result.routes {
        let op = NetOp::AddRoute {
            destination: route.dst.network(),
            prefix: route.dst.prefix_len(),
            gateway: route.gw,
            link: Some(link.clone()),
            table: None,
            metric: None,
        };
        case.network(&place, op)?;
    }
    let state = case.snapshot()?;
    let mac = state.place(&place).and_then(|container| container.link(&link)?.mac.clone());
    result.interfaces.iter_mut().for_each(|interface| interface.mac = mac.clone());
    Ok(result.to_version(case.version).0)
}

fn connect(
    case: &mut Case<'_>,
    attachment: &Attachment,
    ifname: &str,
    index: usize,
    route: &str,
) -> Result<Value, Stop> {
    if case.version < Version::V0_3_0 {
        return Err(Stop::skip("chaining exists from 0.3.0".to_owned()));
    }
    let number = u8::try_from(index)
        .map_err(|_| Stop::Undecided(format!("{index} interfaces in front; there is room for 255")))?;
    let host_name = format!("front{number}");
    let host_mac = format!("02:90:00:00:01:{number:02x}");
    let container_mac = format!("02:90:00:00:00:{number:02x}");
    let document = json!({
        "cniVersion": Version::V1_1_0.as_str(),
        "interfaces": [
            { "name": host_name, "mac": host_mac },
            { "name": ifname, "mac": container_mac, "sandbox": attachment.netns.display().to_string() }
        ],
        "ips": [
            { "address": format!("10.90.{number}.2/24"), "gateway": format!("10.90.{number}.1"), "interface": 1 },
            { "address": format!("fd00:90:{number:x}::2/64"), "gateway": format!("fd00:90:{number:x}::1"), "interface": 1 }
        ],
        "routes": [{ "dst": route, "gw": format!("10.90.{number}.1") }],
        "dns": {}
    });
    let result =
        AddResult::parse(&document, Version::V1_1_0).map_err(|error| Stop::Undecided(error.to_string()))?;

    let container = attachment.place();
    let pair = NetOp::AddVeth { a: host_name.clone(), b: ifname.to_owned(), peer_place: container.clone() };
    case.network(&Place::Host, pair)?;
    for (place, link, last) in [(&Place::Host, host_name.as_str(), 1), (&container, ifname, 2)] {
        let mac = [0x02, 0x90, 0, 0, u8::from(last == 1), number];
        case.network(place, NetOp::SetMac { link: link.to_owned(), mac })?;
        for (address, prefix) in [
            ([10, 90, number, last].into(), 24),
            ([0xfd00, 0x90, number.into(), 0, 0, 0, 0, last.into()].into(), 64),
        ] {
            case.network(place, NetOp::AddAddress { link: link.to_owned(), address, prefix })?;
        }
        case.network(place, NetOp::SetUp { link: link.to_owned() })?;
    }
    for route in &result.routes {
        let op = NetOp::AddRoute {
            destination: route.dst.network(),
            prefix: route.dst.prefix_len(),
            gateway: route.gw,
            link: Some(ifname.to_owned()),
            table: None,
            metric: None,
        };
        case.network(&container, op)?;
    }
    Ok(result.to_version(case.version).0)
}
