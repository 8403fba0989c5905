//! `bridge`: a veth pair whose host end is a port of a bridge.
//!
//! The bridge, its gateway addresses, the gateway's interface in a VLAN and packet forwarding belong to the network, not to
//! an attachment: they stay after the last DEL. Only an ADD that fails removes what it made of these and nobody else uses.

mod device;
mod duplicates;
mod gateway;
mod spoof;
mod vlan;

use cni_spec::error::UNAVAILABLE;
use cni_spec::result::AddResult;

use self::vlan::Tagging;
use crate::delegate::{self, Delegate};
use crate::fields::invalid;
use crate::netlink::Socket;
use crate::netlink::bridge::{PortFlags, set_port};
use crate::netlink::link::{Link, Mac};
use crate::refusal::{DELEGATE, KERNEL, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request};
use crate::veth::{self, Pair, differs};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "bridge",
    about: "a veth pair, its host end on a bridge: bridge, isGateway, isDefaultGateway, forceAddress, ipMasq, mtu, \
            hairpinMode, portIsolation, promiscMode, vlan, vlanTrunk, preserveDefaultVlan, macspoofchk, enabledad, \
            disableContainerInterface, ipam; runtimeConfig.mac, args.cni.mac or the CNI_ARGS key MAC set the \
            hardware address.",
    add,
    del,
    check,
    gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// The bridge of a configuration that names none.
const BRIDGE: &str = "cni0";

/// The plugin's configuration.
struct Settings<'a> {
    bridge: &'a str,
    gateway: bool,
    default_gateway: bool,
    force_address: bool,
    masquerade: bool,
    mtu: Option<u32>,
    port: PortFlags,
    promiscuous: bool,
    tagging: Tagging,
    /// What the container sends has the hardware address of its interface.
    guarded: bool,
    /// IPv6 addresses are used once nobody else is found to have them.
    searching: bool,
    /// The container's interface stays down.
    disabled: bool,
}

impl Settings<'_> {
    fn read(request: &Request) -> Result<Settings<'_>, Refusal> {
        let fields = request.fields();
        let bridge = fields.string("bridge")?.filter(|name| !name.is_empty()).unwrap_or(BRIDGE);
        cni_spec::parameters::interface_name(bridge).map_err(|error| invalid("bridge", error.to_string()))?;
        if bridge.contains('%') {
            return Err(invalid(
                "bridge",
                format!("{bridge:?} holds '%', which the kernel replaces: remove it"),
            ));
        }
        let default_gateway = fields.flag("isDefaultGateway")?;
        let settings = Settings {
            bridge,
            gateway: fields.flag("isGateway")? || default_gateway,
            default_gateway,
            force_address: fields.flag("forceAddress")?,
            masquerade: veth::read_masquerade(fields)?,
            mtu: veth::read_mtu(fields)?,
            port: PortFlags { hairpin: fields.flag("hairpinMode")?, isolated: fields.flag("portIsolation")? },
            promiscuous: fields.flag("promiscMode")?,
            tagging: Tagging::read(fields)?,
            guarded: fields.flag("macspoofchk")?,
            searching: fields.flag("enabledad")?,
            disabled: fields.flag("disableContainerInterface")?,
        };
        if settings.port.hairpin && settings.promiscuous {
            return Err(invalid("promiscMode", "cannot be combined with hairpinMode: choose one"));
        }
        if Delegate::of(request)?.is_some() {
            if settings.disabled {
                let problem =
                    "cannot be combined with ipam, whose addresses need the interface up: choose one";
                return Err(invalid("disableContainerInterface", problem));
            }
            if settings.gateway {
                gateway::check_name(bridge, &settings.tagging)?;
            }
        }
        Ok(settings)
    }
}

/// What an ADD has made beside the pair, and takes back when it fails.
#[derive(Default)]
struct Made<'d> {
    bridge: Option<Link>,
    /// The gateway's interface in a VLAN.
    gateway: Option<Link>,
    /// The delegate that has given out addresses.
    addresses: Option<&'d Delegate>,
}

fn add(request: &Request) -> Outcome {
    let settings = Settings::read(request)?;
    let mac = veth::read_mac(request)?;
    let delegate = Delegate::of(request)?;
    let mut pair = Pair::prepare(request)?;
    let mut made = Made::default();
    let bridge = plug_in(&mut pair, &settings, mac, &mut made.bridge)?;
    let outcome = attach(&mut pair, &settings, &bridge, delegate.as_ref(), &mut made);
    if outcome.is_err() {
        veth::withdraw(request, made.addresses);
        if let Err(error) = unguard(request) {
            request.log(format_args!("undoing the ADD: {error}"));
        }
        if let (Some(link), Some(id)) = (&made.gateway, settings.tagging.native) {
            gateway::remove_unused(&mut pair.host, link, &bridge, id, request);
        }
        if let Some(bridge) = &made.bridge {
            device::remove_unused(&mut pair.host, bridge, request);
        }
    }
    outcome
}

/// Makes the bridge if need be, and the pair with one end on it. When that fails, nothing is left of it.
fn plug_in(
    pair: &mut Pair<'_>,
    settings: &Settings<'_>,
    mac: Option<Mac>,
    made: &mut Option<Link>,
) -> Result<Link, Refusal> {
    // Excludes only the removal of the bridge after an ADD that failed.
    let lock = device::lock(false)?;
    let plugged = device::ensure(&mut pair.host, settings, made).and_then(|bridge| {
        settings.tagging.check_bridge(&bridge)?;
        pair.create(Some(bridge.index), settings.mtu, mac)?;
        // The bridge's MTU follows its ports unless somebody set it: it is what it is with this one.
        Ok(pair.host.link(settings.bridge).ok().flatten().unwrap_or(bridge))
    });
    drop(lock);
    if let (Err(_), Some(bridge)) = (&plugged, &made) {
        device::remove_unused(&mut pair.host, bridge, pair.request);
    }
    plugged
}

/// Everything after the pair is there.
fn attach<'d>(
    pair: &mut Pair<'_>,
    settings: &Settings<'_>,
    bridge: &Link,
    delegate: Option<&'d Delegate>,
    made: &mut Made<'d>,
) -> Outcome {
    let request = pair.request;
    let port = pair.host_link()?;
    veth::take_no_part_in_ipv6(&port.name);
    if settings.guarded {
        let mac = Mac::parse(&pair.container_link()?.mac).ok_or_else(|| {
            Refusal::new(KERNEL, format!("{} has no hardware address", request.attachment.ifname))
        })?;
        spoof::guard(&request.attachment, &port.name, mac)?;
    }
    pair.label()?;
    let mut steps = settings.tagging.steps(&port, bridge);
    if settings.port.hairpin || settings.port.isolated {
        steps.push(set_port(&port.name, port.index, settings.port));
    }
    if settings.disabled {
        steps.push(veth::up(&port));
    }
    pair.host.apply(steps)?;
    let mut ipam = AddResult::default();
    if !settings.disabled {
        pair.set_up(&port)?;
    }
    if let Some(delegate) = delegate {
        ipam = delegate.add(request)?;
        made.addresses = Some(delegate);
        if ipam.ips.is_empty() {
            return Err(Refusal::new(DELEGATE, "the IPAM plugin returned no address"));
        }
    }
    let mut ips = ipam.ips;
    let mut routes = ipam.routes;
    if settings.gateway {
        gateway::choose(&mut ips)?;
    }
    if settings.default_gateway {
        gateway::add_default_routes(&ips, &mut routes);
    }
    let link = pair.container_link()?;
    let searches = settings.searching && ips.iter().any(|ip| ip.address.addr().is_ipv6());
    if searches {
        duplicates::search(request, &link.name)?;
    }
    let assign = if searches { veth::assign_tentatively } else { veth::assign };
    let addresses = ips.iter().map(|ip| assign(ip, link.index, true)).collect();
    let routes = pair.configure(addresses, Vec::new(), &ips, routes)?;
    if searches {
        duplicates::settle(&mut pair.container, &link)?;
    }
    if settings.masquerade && !ips.is_empty() {
        veth::masquerade(request, &ips)?;
    }
    let mut gateway = None;
    if settings.gateway && !ips.is_empty() {
        gateway = gateway::interface(settings.bridge, &settings.tagging)
            .map(|name| gateway::ensure(&mut pair.host, bridge, &name, &settings.tagging, &mut made.gateway))
            .transpose()?;
        let link = gateway.as_ref().map_or(bridge, |(link, _)| link);
        gateway::assign(&mut pair.host, link, settings.force_address, &ips)?;
        veth::enable_forwarding(&ips)?;
    }
    let port = if settings.disabled { pair.host_link()? } else { pair.working_host_link()? };
    let mut interfaces = vec![
        veth::listed(bridge, None),
        veth::listed(&port, None),
        veth::listed(&pair.container_link()?, request.sandbox()),
    ];
    let further = gateway.into_iter().flat_map(|(link, port)| [Some(link), port]).flatten();
    interfaces.extend(further.map(|link| veth::listed(&link, None)));
    let dns = veth::choose_dns(request, ipam.dns)?;
    Ok(veth::merge(request, interfaces, 2, ips, routes, dns))
}

/// DEL. The address is freed last: nobody may get it while the interface is there.
fn del(request: &Request) -> Outcome {
    let removed = veth::remove(request);
    removed.and(unguard(request)).and(delegate::release(request)).map(|()| Answer::Silence)
}

fn unguard(request: &Request) -> Result<(), Refusal> {
    let attachment = &request.attachment;
    Ok(spoof::release(attachment.identity(), &attachment.label())?)
}

/// GC: each part is tried whatever became of the other.
fn gc(request: &Request) -> Outcome {
    let collected = veth::gc(request);
    spoof::collect(request.stale_labels()?)?;
    collected
}

fn check(request: &Request) -> Outcome {
    let settings = Settings::read(request)?;
    let (port, ips) = veth::check(request, settings.masquerade, settings.disabled)?;
    let mut host = Socket::route()?;
    let name = settings.bridge;
    let bridge = match host.link(name)? {
        Some(link) if link.kind == "bridge" && link.up => link,
        Some(_) => return differs(format!("{name} is down or no bridge")),
        None => return differs(format!("the bridge {name} is missing")),
    };
    if port.master != Some(bridge.index) {
        return differs(format!("{} is no port of {name}", port.name));
    }
    if settings.promiscuous && !bridge.promiscuous {
        return differs(format!("{name} is not promiscuous"));
    }
    let flags = port.port_flags();
    for (key, asked, found) in [
        ("hairpinMode", settings.port.hairpin, flags.hairpin),
        ("portIsolation", settings.port.isolated, flags.isolated),
    ] {
        if asked && !found {
            return differs(format!("{} lacks {key}", port.name));
        }
    }
    if let Some(problem) = vlan_difference(&mut host, &settings, &bridge, &port)? {
        return differs(problem);
    }
    if settings.guarded
        && let Some(problem) = spoof::missing(&request.attachment, &port.name)?
    {
        return differs(problem);
    }
    if settings.gateway && !ips.is_empty() {
        check_gateway(&mut host, &settings, bridge, &gateway::addresses(&ips))?;
    }
    Ok(Answer::Silence)
}

/// How the VLANs of the container's port differ, in words.
fn vlan_difference(
    host: &mut Socket,
    settings: &Settings<'_>,
    bridge: &Link,
    port: &Link,
) -> Result<Option<String>, Refusal> {
    let tagging = &settings.tagging;
    if tagging.memberships().is_empty() {
        return Ok(None);
    }
    if bridge.filters_vlans() != Some(true) {
        return Ok(Some(format!("{} has no VLAN filtering", bridge.name)));
    }
    let difference = tagging.difference(&host.port_vlans(port.index)?, bridge);
    Ok(difference.map(|problem| format!("{} {problem}", port.name)))
}

fn check_gateway(
    host: &mut Socket,
    settings: &Settings<'_>,
    bridge: Link,
    wanted: &[ipnet::IpNet],
) -> Result<(), Refusal> {
    let link = match gateway::interface(settings.bridge, &settings.tagging) {
        None => bridge,
        Some(name) => {
            let Some(link) = host.link(&name)? else {
                return differs(format!("{name}, which has the gateway's address, is missing"));
            };
            if let Some(problem) = gateway::difference(host, &link, &bridge, &settings.tagging)? {
                return differs(problem);
            }
            link
        }
    };
    let present = host.addresses(link.index)?;
    match wanted.iter().find(|gateway| !present.iter().any(|found| found.address == **gateway)) {
        Some(gateway) => differs(format!("{} does not have the gateway's address {gateway}", link.name)),
        None => Ok(()),
    }
}

fn status(request: &Request) -> Outcome {
    let settings = Settings::read(request)?;
    let unavailable = |refusal: Refusal| Refusal::new(UNAVAILABLE, refusal.msg.clone());
    if let Some(link) = Socket::route()?.link(settings.bridge)? {
        if link.kind != "bridge" {
            let problem = format!("{} exists on the host and is no bridge: name another", link.name);
            return Err(Refusal::new(UNAVAILABLE, problem));
        }
        settings.tagging.check_bridge(&link).map_err(unavailable)?;
    }
    if settings.guarded {
        spoof::rehearse().map_err(unavailable)?;
    }
    veth::status(request, settings.masquerade).map(|()| Answer::Silence)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    Settings::read(request)?;
    veth::read_mac(request)?;
    request.dns()?;
    Delegate::of(request)?;
    crate::fuzzing::common(request)
}
