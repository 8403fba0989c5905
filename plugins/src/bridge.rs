//! `bridge`: a veth pair whose host end is a port of a bridge.
//!
//! The bridge, its gateway addresses and packet forwarding belong to the network, not to an attachment: they stay
//! after the last DEL. Only an ADD that fails removes a bridge, if it made it and nobody else uses it.

use cni_spec::result::{AddResult, Ip, Route, parse_prefix};
use ipnet::IpNet;
use serde_json::Value;

use crate::delegate::Delegate;
use crate::fields::{Fields, invalid, unsupported};
use crate::netlink::link::{Change, Link, Mac, bridge_port, change, new_bridge};
use crate::netlink::{Socket, address};
use crate::netns::Netns;
use crate::refusal::{DELEGATE, EXISTS, KERNEL, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request, io_failure};
use crate::veth::{self, Pair, differs};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "bridge",
    about: "a veth pair, its host end on a bridge: bridge, isGateway, isDefaultGateway, forceAddress, ipMasq, mtu, \
            hairpinMode, portIsolation, promiscMode, ipam; runtimeConfig.mac, args.cni.mac or the CNI_ARGS key MAC \
            set the hardware address.",
    add,
    del: veth::del,
    check,
    gc: veth::gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// The bridge of a configuration that names none.
const BRIDGE: &str = "cni0";
/// How often an ADD looks again for a bridge that others make or remove at the same time.
const ATTEMPTS: usize = 16;

/// The plugin's configuration.
struct Settings<'a> {
    bridge: &'a str,
    gateway: bool,
    default_gateway: bool,
    force_address: bool,
    masquerade: bool,
    mtu: Option<u32>,
    hairpin: bool,
    isolated: bool,
    promiscuous: bool,
}

impl Settings<'_> {
    fn read(request: &Request) -> Result<Settings<'_>, Refusal> {
        let fields = request.fields();
        refuse_unsupported(fields)?;
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
            hairpin: fields.flag("hairpinMode")?,
            isolated: fields.flag("portIsolation")?,
            promiscuous: fields.flag("promiscMode")?,
        };
        if settings.hairpin && settings.promiscuous {
            return Err(invalid("promiscMode", "cannot be combined with hairpinMode: choose one"));
        }
        Ok(settings)
    }
}

/// Keys of the Go plugin that ask for something that this one does not do; a value that asks for nothing is fine.
fn refuse_unsupported(fields: Fields<'_>) -> Result<(), Refusal> {
    for key in ["macspoofchk", "enabledad", "disableContainerInterface"] {
        if let Some(value) = fields.get(key).filter(|_| fields.flag(key).unwrap_or(true)) {
            return Err(unsupported(key, value));
        }
    }
    let asks_for_nothing =
        |value: &Value| value.as_u64() == Some(0) || value.as_array().is_some_and(Vec::is_empty);
    for key in ["vlan", "vlanTrunk"] {
        if let Some(value) = fields.get(key).filter(|value| !asks_for_nothing(value)) {
            return Err(unsupported(key, value));
        }
    }
    Ok(())
}

fn add(request: &Request) -> Outcome {
    let settings = Settings::read(request)?;
    let mac = veth::read_mac(request)?;
    let delegate = Delegate::of(request)?;
    let mut pair = Pair::prepare(request)?;
    let (bridge, made_bridge) = plug_in(&mut pair, &settings, mac)?;
    let mut asked = None;
    let outcome = attach(&mut pair, &settings, &bridge, delegate.as_ref(), &mut asked);
    if outcome.is_err() {
        veth::withdraw(request, asked);
        if made_bridge {
            remove_unused(&mut pair.host, &bridge, request);
        }
    }
    outcome
}

/// Makes the bridge if need be, and the pair with one end on it. Answers the bridge and whether this ADD made it.
fn plug_in(pair: &mut Pair<'_>, settings: &Settings<'_>, mac: Option<Mac>) -> Result<(Link, bool), Refusal> {
    let netns = Netns::current()?;
    // Shared with other ADDs; excludes only the removal of the bridge after an ADD that failed.
    let lock =
        netns.lock(false).map_err(|error| io_failure("cannot lock the host's network namespace", &error))?;
    let (bridge, made) = ensure(&mut pair.host, settings)?;
    match pair.create(Some(bridge.index), settings.mtu, mac) {
        // The bridge's MTU follows its ports unless somebody set it: it is what it is with this one.
        Ok(()) => Ok((pair.host.link(settings.bridge).ok().flatten().unwrap_or(bridge), made)),
        Err(error) => {
            drop(lock);
            if made {
                remove_unused(&mut pair.host, &bridge, pair.request);
            }
            Err(error)
        }
    }
}

/// The bridge, set up; several ADDs may make it at the same time.
fn ensure(host: &mut Socket, settings: &Settings<'_>) -> Result<(Link, bool), Refusal> {
    let name = settings.bridge;
    let mut made = false;
    for _ in 0..ATTEMPTS {
        match host.link(name)? {
            Some(link) if link.kind != "bridge" => {
                let problem = format!("{name} exists on the host and is no bridge: name another");
                return Err(invalid("bridge", problem));
            }
            Some(link) => {
                let wanted = Change {
                    up: (!link.up).then_some(true),
                    promiscuous: (settings.promiscuous && !link.promiscuous).then_some(true),
                    ..Change::default()
                };
                if wanted.up.is_some() || wanted.promiscuous.is_some() {
                    host.apply(vec![change(name, link.index, wanted)])?;
                }
                return Ok((link, made));
            }
            None => {
                let outcome =
                    host.apply(vec![new_bridge(name, random_mac()?, settings.mtu).or(&[libc::EEXIST])])?;
                made = outcome == [None];
                if made {
                    veth::ignore_advertisements(name)?;
                }
            }
        }
    }
    Err(Refusal::new(KERNEL, format!("bridge {name} keeps vanishing: something else removes it")))
}

/// A random hardware address of the locally administered range.
fn random_mac() -> Result<Mac, Refusal> {
    let mut octets = [0; 6];
    let source = "/dev/urandom";
    let read =
        std::fs::File::open(source).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut octets));
    read.map_err(|error| io_failure(format!("cannot read {source}"), &error))?;
    octets[0] = octets[0] & 0xfc | 0x02;
    Ok(Mac(octets))
}

/// Removes the bridge that an ADD made and that nobody uses.
fn remove_unused(host: &mut Socket, bridge: &Link, request: &Request) {
    let mut remove = || -> Result<(), Refusal> {
        let netns = Netns::current()?;
        let _lock = netns
            .lock(true)
            .map_err(|error| io_failure("cannot lock the host's network namespace", &error))?;
        let same = host.link(&bridge.name)?.is_some_and(|link| link.index == bridge.index);
        if same && host.links(Some(bridge.index))?.is_empty() {
            host.delete_link(&bridge.name)?;
        }
        Ok(())
    };
    if let Err(error) = remove() {
        request.log(format_args!("undoing the ADD: {error}"));
    }
}

/// Everything after the pair is there. `asked` is set once the delegate has given out addresses.
fn attach<'d>(
    pair: &mut Pair<'_>,
    settings: &Settings<'_>,
    bridge: &Link,
    delegate: Option<&'d Delegate>,
    asked: &mut Option<&'d Delegate>,
) -> Outcome {
    let request = pair.request;
    pair.label()?;
    let host_link = pair.host_link()?;
    if settings.hairpin || settings.isolated {
        pair.host.apply(vec![bridge_port(
            &host_link.name,
            host_link.index,
            settings.hairpin,
            settings.isolated,
        )])?;
    }
    pair.set_up()?;
    let mut ipam = AddResult::default();
    if let Some(delegate) = delegate {
        ipam = delegate.add(request)?;
        *asked = Some(delegate);
        if ipam.ips.is_empty() {
            return Err(Refusal::new(DELEGATE, "the IPAM plugin returned no address"));
        }
    }
    let mut ips = ipam.ips;
    let mut routes = ipam.routes;
    if settings.gateway {
        for ip in ips.iter_mut().filter(|ip| ip.gateway.is_none()) {
            // The first address of the subnet, as the Go plugin has it.
            let first = ip.address.hosts().find(|host| *host != ip.address.network());
            ip.gateway = first.filter(|gateway| *gateway != ip.address.addr());
            if ip.gateway.is_none() {
                let problem = format!("{} leaves no address for the gateway: name one in ipam", ip.address);
                return Err(Refusal::new(DELEGATE, problem));
            }
        }
    }
    if settings.default_gateway {
        add_default_routes(&ips, &mut routes);
    }
    let link = pair.container_link()?;
    let addresses = ips.iter().map(|ip| veth::assign(ip, link.index, true)).collect();
    let routes = pair.configure(addresses, Vec::new(), &ips, routes)?;
    if settings.masquerade && !ips.is_empty() {
        veth::masquerade(request, &ips)?;
    }
    if settings.gateway && !ips.is_empty() {
        add_gateways(&mut pair.host, settings, bridge, &ips)?;
        veth::enable_forwarding(&ips)?;
    }
    let interfaces = vec![
        veth::listed(bridge, None),
        veth::listed(&pair.host_link()?, None),
        veth::listed(&pair.container_link()?, request.sandbox()),
    ];
    let dns = veth::choose_dns(request, ipam.dns)?;
    Ok(veth::merge(request, interfaces, 2, ips, routes, dns))
}

/// A default route through each family's gateway, unless IPAM has one.
fn add_default_routes(ips: &[Ip], routes: &mut Vec<Route>) {
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

/// The gateways of the addresses, as addresses of the bridge.
fn gateways(ips: &[Ip]) -> Vec<IpNet> {
    let all = ips.iter().filter_map(|ip| IpNet::new(ip.gateway?, ip.address.prefix_len()).ok());
    all.collect()
}

/// Gives the bridge the gateways' addresses. An address of another network configuration is in the way if it is an
/// IPv4 address, or of an overlapping subnet; `forceAddress` removes it.
fn add_gateways(
    host: &mut Socket,
    settings: &Settings<'_>,
    bridge: &Link,
    ips: &[Ip],
) -> Result<(), Refusal> {
    let wanted = gateways(ips);
    let present = host.addresses(bridge.index)?;
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
        if !settings.force_address {
            let (name, address) = (settings.bridge, found.address);
            let problem = format!(
                "{name} has the address {address}, which is no gateway here: remove it or set forceAddress"
            );
            return Err(Refusal::new(EXISTS, problem));
        }
        steps.push(address::remove(found.address, bridge.index));
    }
    for gateway in wanted {
        if !present.iter().any(|found| found.address == gateway) {
            steps.push(address::add(gateway, bridge.index, true).or(&[libc::EEXIST]));
        }
    }
    host.apply(steps)?;
    Ok(())
}

fn check(request: &Request) -> Outcome {
    let settings = Settings::read(request)?;
    let (host_link, ips) = veth::check(request, settings.masquerade)?;
    let mut host = Socket::route()?;
    let name = settings.bridge;
    let bridge = match host.link(name)? {
        Some(link) if link.kind == "bridge" && link.up => link,
        Some(_) => return differs(format!("{name} is down or no bridge")),
        None => return differs(format!("the bridge {name} is missing")),
    };
    if host_link.master != Some(bridge.index) {
        return differs(format!("{} is no port of {name}", host_link.name));
    }
    if settings.gateway {
        let present = host.addresses(bridge.index)?;
        let missing =
            gateways(&ips).into_iter().find(|gateway| !present.iter().any(|found| found.address == *gateway));
        if let Some(gateway) = missing {
            return differs(format!("{name} does not have the gateway's address {gateway}"));
        }
    }
    Ok(Answer::Silence)
}

fn status(request: &Request) -> Outcome {
    let settings = Settings::read(request)?;
    if let Some(link) = Socket::route()?.link(settings.bridge)?.filter(|link| link.kind != "bridge") {
        let problem = format!("{} exists on the host and is no bridge: name another", link.name);
        return Err(Refusal::new(cni_spec::error::UNAVAILABLE, problem));
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
