//! The gateway on the host: its addresses, and in a VLAN the interface that has them.
//!
//! Without a VLAN that is the bridge. For the containers of a VLAN it is a veth device, named by bridge and VLAN, whose other
//! end is a port of the bridge in that VLAN. Like the bridge it belongs to the network and stays after the last DEL.

use cni_spec::parameters::interface_name;
use cni_spec::result::{Ip, Route, parse_prefix};
use ipnet::IpNet;

use super::device::{ATTEMPTS, lock};
use super::vlan::Tagging;
use crate::attachment::digest;
use crate::fields::invalid;
use crate::netlink::link::{Change, Link, Mac, Veth, change, make_port, new_veth};
use crate::netlink::{Socket, address};
use crate::netns::Netns;
use crate::refusal::{DELEGATE, EXISTS, KERNEL, Refusal};
use crate::skel::Request;
use crate::veth;

/// The digits of a port's name after its letter: 70 bits.
const DIGITS: usize = 14;

/// The name of the interface that has the gateway's addresses in a VLAN.
pub(super) fn interface(bridge: &str, tagging: &Tagging) -> Option<String> {
    tagging.native.map(|id| format!("{bridge}.{id}"))
}

/// Refuses a bridge with whose name that interface could have none.
pub(super) fn check_name(bridge: &str, tagging: &Tagging) -> Result<(), Refusal> {
    let name = interface(bridge, tagging).filter(|name| interface_name(name).is_err());
    name.map_or(Ok(()), |name| {
        let problem = format!(
            "found {bridge:?}, with which the gateway's interface in the VLAN would be {name}: use a shorter name"
        );
        Err(invalid("bridge", problem))
    })
}

/// The name of its other end, the port.
fn port_name(interface: &str) -> String {
    format!("g{}", digest(interface.as_bytes(), DIGITS))
}

/// Chooses the gateway of addresses that IPAM names none for: the first address of the subnet, as the Go plugin has it.
pub(super) fn choose(ips: &mut [Ip]) -> Result<(), Refusal> {
    for ip in ips.iter_mut().filter(|ip| ip.gateway.is_none()) {
        let first = ip.address.hosts().find(|host| *host != ip.address.network());
        ip.gateway = first.filter(|gateway| *gateway != ip.address.addr());
        if ip.gateway.is_none() {
            let problem = format!("{} leaves no address for the gateway: name one in ipam", ip.address);
            return Err(Refusal::new(DELEGATE, problem));
        }
    }
    Ok(())
}

/// A default route through each family's gateway, unless IPAM has one.
pub(super) fn add_default_routes(ips: &[Ip], routes: &mut Vec<Route>) {
    for (ipv4, text) in [(true, "0.0.0.0/0"), (false, "::/0")] {
        let gateway = ips.iter().filter_map(|ip| ip.gateway).find(|gateway| gateway.is_ipv4() == ipv4);
        let default: Option<IpNet> = parse_prefix(text);
        if let (Some(gateway), Some(dst)) = (gateway, default)
            && !routes.iter().any(|route| route.dst == dst)
        {
            routes.push(Route { gw: Some(gateway), ..Route::new(dst) });
        }
    }
}

/// The gateways of the addresses, as addresses of an interface.
pub(super) fn addresses(ips: &[Ip]) -> Vec<IpNet> {
    let all = ips.iter().filter_map(|ip| IpNet::new(ip.gateway?, ip.address.prefix_len()).ok());
    all.collect()
}

/// Gives an interface the gateways' addresses. An address of another network configuration is in the way if it is an
/// IPv4 address, or of an overlapping subnet; `force` removes it.
pub(super) fn assign(host: &mut Socket, link: &Link, force: bool, ips: &[Ip]) -> Result<(), Refusal> {
    let wanted = addresses(ips);
    let present = host.addresses(link.index)?;
    let mut steps = Vec::new();
    for found in present.iter().filter(|found| found.scope == libc::RT_SCOPE_UNIVERSE) {
        let overlaps = |gateway: &IpNet| {
            gateway.contains(&found.address.addr()) || found.address.contains(&gateway.addr())
        };
        let is_v4 = found.address.addr().is_ipv4();
        let in_the_way =
            wanted.iter().any(|gateway| gateway.addr().is_ipv4() == is_v4 && (is_v4 || overlaps(gateway)));
        if wanted.contains(&found.address) || !in_the_way {
            continue;
        }
        if !force {
            let (name, address) = (&link.name, found.address);
            let problem = format!(
                "{name} has the address {address}, which is no gateway here: remove it or set forceAddress"
            );
            return Err(Refusal::new(EXISTS, problem));
        }
        steps.push(address::remove(found.address, link.index));
    }
    let missing: Vec<IpNet> =
        wanted.into_iter().filter(|gateway| !present.iter().any(|found| found.address == *gateway)).collect();
    if !missing.is_empty() {
        // A bridge that somebody else made would change its hardware address with its ports, and neighbours would lose the
        // gateway: one that was set stays.
        let mac = Mac::parse(&link.mac).filter(|_| link.kind == "bridge");
        steps.extend(
            mac.map(|mac| change(&link.name, link.index, Change { mac: Some(mac), ..Change::default() })),
        );
    }
    steps.extend(
        missing.into_iter().map(|gateway| address::add(gateway, link.index, true).or(&[libc::EEXIST])),
    );
    host.apply(steps)?;
    Ok(())
}

/// The interface in the VLAN, set up, and the port that it leads to. `made` is set if it was not there.
pub(super) fn ensure(
    host: &mut Socket,
    bridge: &Link,
    name: &str,
    tagging: &Tagging,
    made: &mut Option<Link>,
) -> Result<(Link, Option<Link>), Refusal> {
    // Who removes what an ADD made looks for ports in the VLAN; the container's is in it by now.
    let _lock = lock(false)?;
    let netns = Netns::current()?;
    let port = port_name(name);
    let mut is_new = false;
    for _ in 0..ATTEMPTS {
        let Some(link) = host.link(name)? else {
            let veth = Veth {
                name: &port,
                master: Some(bridge.index),
                mtu: Some(bridge.mtu),
                peer: name,
                peer_netns: netns.fd(),
                peer_mac: None,
            };
            is_new = host.apply(vec![new_veth(veth).or(&[libc::EEXIST])])? == [None];
            continue;
        };
        if is_new {
            *made = Some(link.clone());
        }
        let leads_to = plug(host, &link, bridge, tagging)?;
        if !link.up {
            host.apply(vec![veth::up(&link)])?;
        }
        veth::ignore_advertisements(name)?;
        return Ok((link, leads_to));
    }
    let problem =
        format!("{name} cannot be made: remove {port}, which is to be its other end, from the host");
    Err(Refusal::new(KERNEL, problem))
}

/// The port that a veth device leads to; `None` where it is of another kind, which leads wherever whoever made it wants.
fn port_of(host: &mut Socket, link: &Link, bridge: &Link) -> Result<Option<Link>, Refusal> {
    if link.kind != "veth" {
        return Ok(None);
    }
    let port = link.peer.map(|index| host.link_at(index)).transpose()?.flatten();
    match port.filter(|port| port.master.is_none_or(|master| master == bridge.index)) {
        Some(port) => Ok(Some(port)),
        None => {
            let (name, bridge) = (&link.name, &bridge.name);
            let problem = format!("{name} exists on the host and leads to no port of {bridge}: remove it");
            Err(invalid("bridge", problem))
        }
    }
}

/// Makes sure that the other end is a port in the VLAN. It is none when the bridge went and came back meanwhile.
fn plug(host: &mut Socket, link: &Link, bridge: &Link, tagging: &Tagging) -> Result<Option<Link>, Refusal> {
    let Some(port) = port_of(host, link, bridge)? else { return Ok(None) };
    let mut steps = Vec::new();
    if port.master.is_none() {
        steps.push(make_port(&port, bridge.index));
    }
    if !port.up {
        steps.push(veth::up(&port));
    }
    steps.extend(tagging.of_gateway().steps(&port, bridge));
    host.apply(steps)?;
    Ok(Some(port))
}

/// What the interface in the VLAN lacks, in words; `None` if it is as ADD leaves it.
pub(super) fn difference(
    host: &mut Socket,
    link: &Link,
    bridge: &Link,
    tagging: &Tagging,
) -> Result<Option<String>, Refusal> {
    if !link.up {
        return Ok(Some(format!("{} is down", link.name)));
    }
    let Some(port) = port_of(host, link, bridge)? else { return Ok(None) };
    if port.master.is_none() {
        return Ok(Some(format!("{} leads to no port of {}", link.name, bridge.name)));
    }
    let found = host.port_vlans(port.index)?;
    let difference = tagging.of_gateway().difference(&found, bridge);
    Ok(difference.map(|problem| format!("{}, the other end of {}, {problem}", port.name, link.name)))
}

/// Removes the interface that an ADD made, unless another port is in its VLAN.
pub(super) fn remove_unused(host: &mut Socket, made: &Link, bridge: &Link, id: u16, request: &Request) {
    let mut remove = || -> Result<(), Refusal> {
        let _lock = lock(true)?;
        let same = host.link(&made.name)?.is_some_and(|link| link.index == made.index);
        for port in host.links(Some(bridge.index))? {
            if Some(port.index) != made.peer && host.port_vlans(port.index)?.contains_key(&id) {
                return Ok(());
            }
        }
        if same {
            host.delete_link(&made.name)?;
        }
        Ok(())
    };
    if let Err(error) = remove() {
        request.log(format_args!("undoing the ADD: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fields::Fields;

    #[test]
    fn the_interface_is_named_by_bridge_and_vlan() {
        let read = |config: serde_json::Value| {
            Tagging::read(Fields::root(config.as_object().expect("an object"))).expect("VLANs")
        };
        let vlan = read(json!({"vlan": 4094}));
        assert_eq!(interface("cni0", &vlan).as_deref(), Some("cni0.4094"));
        assert_eq!(interface("cni0", &read(json!({"vlanTrunk": [{"id": 5}]}))), None);
        check_name("tenletters", &vlan).expect("15 bytes");
        let refusal = check_name("elevenbytes", &vlan).unwrap_err();
        assert!(refusal.msg.starts_with("bridge: found \"elevenbytes\""), "{refusal}");
        check_name("elevenbytes", &Tagging::default()).expect("no such interface");
    }

    #[test]
    fn ports_of_different_interfaces_differ() {
        let names = ["cni0.1", "cni0.11", "cni1.1"].map(port_name);
        assert!(names.iter().all(|name| name.len() == 15));
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2]);
    }
}
