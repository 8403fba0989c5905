//! `ptp`: a veth pair between host and container, routed.
//!
//! The host's end has the gateway's address, and a route to each address of the container. In the container all
//! traffic, that to the own subnet included, goes through the gateway.

use std::net::IpAddr;

use cni_spec::result::{AddResult, Ip};
use ipnet::IpNet;

use crate::delegate::Delegate;
use crate::fields::invalid;
use crate::netlink::route::KernelRoute;
use crate::netlink::{Socket, Step, address};
use crate::refusal::{DELEGATE, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request};
use crate::veth::{self, Pair, differs};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "ptp",
    about: "a veth pair between host and container, routed: ipam (required), ipMasq, mtu.",
    add,
    del: veth::del,
    check,
    gc: veth::gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

fn delegate(request: &Request) -> Result<Delegate, Refusal> {
    Delegate::of(request)?.ok_or_else(|| invalid("ipam.type", "missing: ptp needs an IPAM plugin"))
}

/// An address alone.
fn host_prefix(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

fn add(request: &Request) -> Outcome {
    let delegate = delegate(request)?;
    let mtu = veth::read_mtu(request.fields())?;
    let masquerade = veth::read_masquerade(request.fields())?;
    let mut pair = Pair::prepare(request)?;
    pair.create(None, mtu, None)?;
    let mut asked = false;
    let outcome = attach(&mut pair, &delegate, masquerade, &mut asked);
    if outcome.is_err() {
        veth::withdraw(request, asked.then_some(&delegate));
    }
    outcome
}

/// Everything after the pair is there. `asked` is set once the delegate has given out addresses.
fn attach(pair: &mut Pair<'_>, delegate: &Delegate, masquerade: bool, asked: &mut bool) -> Outcome {
    let request = pair.request;
    pair.label()?;
    let host_link = pair.host_link()?;
    veth::ignore_advertisements(&host_link.name)?;
    pair.set_up(&host_link)?;
    let AddResult { ips, routes, dns, .. } = delegate.add(request)?;
    *asked = true;
    if ips.is_empty() {
        return Err(Refusal::new(DELEGATE, "the IPAM plugin returned no address"));
    }
    if let Some(ip) = ips.iter().find(|ip| ip.gateway.is_none()) {
        let problem =
            format!("the IPAM plugin returned no gateway for {}, which ptp needs: configure one", ip.address);
        return Err(Refusal::new(DELEGATE, problem));
    }
    // The host's side first, so that the container can be reached as soon as it answers.
    let mut steps: Vec<Step> = Vec::new();
    let mut gateways: Vec<IpAddr> = ips.iter().filter_map(|ip| ip.gateway).collect();
    gateways.sort();
    gateways.dedup();
    steps.extend(gateways.iter().map(|gateway| address::add(host_prefix(*gateway), host_link.index, true)));
    steps
        .extend(ips.iter().map(|ip| KernelRoute::new(host_prefix(ip.address.addr()), host_link.index).add()));
    pair.host.apply(steps)?;

    let link = pair.container_link()?;
    let addresses = ips.iter().map(|ip| veth::assign(ip, link.index, false)).collect();
    let routes = pair.configure(addresses, own_routes(&ips, link.index), &ips, routes)?;
    veth::enable_forwarding(&ips)?;
    if masquerade {
        veth::masquerade(request, &ips)?;
    }
    let interfaces = vec![
        veth::listed(&pair.host_link()?, None),
        veth::listed(&pair.container_link()?, request.sandbox()),
    ];
    let dns = veth::choose_dns(request, dns)?;
    Ok(veth::merge(request, interfaces, 1, ips, routes, dns))
}

/// The container's routes to each gateway and, through it, to the gateway's subnet.
fn own_routes(ips: &[Ip], index: u32) -> Vec<KernelRoute> {
    let mut routes: Vec<KernelRoute> = Vec::new();
    for ip in ips {
        let Some(gateway) = ip.gateway else { continue };
        let source = Some(ip.address.addr());
        let to_gateway = KernelRoute { source, ..KernelRoute::new(host_prefix(gateway), index) };
        let to_subnet = KernelRoute { source, gateway: Some(gateway), ..KernelRoute::new(ip.address, index) };
        for route in [to_gateway, to_subnet] {
            // Addresses may share a gateway or a subnet, and a subnet may be one address.
            let is_own = route.dst == host_prefix(ip.address.addr());
            if !is_own && !routes.iter().any(|other| other.dst == route.dst) {
                routes.push(route);
            }
        }
    }
    routes
}

fn check(request: &Request) -> Outcome {
    let (host_link, ips) = veth::check(request, veth::read_masquerade(request.fields())?, false)?;
    let mut host = Socket::route()?;
    let name = &host_link.name;
    let present = host.addresses(host_link.index)?;
    for ip in &ips {
        if let Some(gateway) =
            ip.gateway.filter(|gateway| !present.iter().any(|found| found.address.addr() == *gateway))
        {
            return differs(format!("{name} does not have the gateway's address {gateway}"));
        }
    }
    for ipv4 in [true, false] {
        let mut own = ips.iter().filter(|ip| ip.address.addr().is_ipv4() == ipv4).peekable();
        if own.peek().is_none() {
            continue;
        }
        let routes = host.routes(ipv4)?;
        let leads = |ip: &Ip| {
            routes.iter().any(|r| r.link == host_link.index && r.dst == host_prefix(ip.address.addr()))
        };
        if let Some(ip) = own.find(|ip| !leads(ip)) {
            return differs(format!("the host has no route to {} through {name}", ip.address.addr()));
        }
    }
    Ok(Answer::Silence)
}

fn status(request: &Request) -> Outcome {
    delegate(request)?;
    veth::read_mtu(request.fields())?;
    let masquerade = veth::read_masquerade(request.fields())?;
    veth::status(request, masquerade).map(|()| Answer::Silence)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    delegate(request)?;
    veth::read_mtu(request.fields())?;
    veth::read_masquerade(request.fields())?;
    request.dns()?;
    crate::fuzzing::common(request)
}
