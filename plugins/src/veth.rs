//! What bridge and ptp have in common: a veth pair from the host into the container, with the addresses that a
//! delegated IPAM plugin determines.
//!
//! The host's end has a name derived from the attachment and is labelled with it, as are masquerading rules, so DEL
//! and GC need no state.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use cni_spec::Operation;
use cni_spec::error::{INVALID_ENVIRONMENT, UNAVAILABLE};
use cni_spec::result::{Dns, Interface, Ip, Route};

use crate::delegate::{self, Delegate};
use crate::fields::{Fields, invalid, unsupported};
use crate::netlink::link::{self, Change, Link, Mac, Veth};
use crate::netlink::route::{KernelRoute, next_hop};
use crate::netlink::{NetlinkError, Socket, Step, address};
use crate::nft;
use crate::refusal::{DIFFERS, EXISTS, KERNEL, Refusal};
use crate::skel::{Answer, Outcome, Request};

/// What the alias of a host's end begins with; the attachment's label follows.
const ALIAS: &str = "cni-reference:";
/// The smallest and largest MTU in bytes that a veth device takes.
const MTU: std::ops::RangeInclusive<u32> = 68..=65535;

/// How long the kernel may take until a pair passes packets, and how often it is asked.
const CARRIER: Duration = Duration::from_secs(3);
const CARRIER_INTERVAL: Duration = Duration::from_millis(1);

/// The priority behind which a further interface's routes to a gateway stand: the kernel's own for IPv6 is 1024.
const BEHIND: u32 = 1024;

/// `mtu`; 0 means the kernel's default, as in the Go plugins.
pub(crate) fn read_mtu(fields: Fields<'_>) -> Result<Option<u32>, Refusal> {
    match fields.u32("mtu")? {
        None | Some(0) => Ok(None),
        Some(mtu) if MTU.contains(&mtu) => Ok(Some(mtu)),
        Some(mtu) => {
            Err(invalid("mtu", format!("found {mtu}, use a number from {} to {}", MTU.start(), MTU.end())))
        }
    }
}

/// `ipMasq`, which is done with nftables whatever the kernel also has.
pub(crate) fn read_masquerade(fields: Fields<'_>) -> Result<bool, Refusal> {
    match (fields.string("ipMasqBackend")?, fields.get("ipMasqBackend")) {
        (Some(backend), Some(value)) if !["", "nftables", "iptables"].contains(&backend) => {
            Err(unsupported("ipMasqBackend", value))
        }
        _ => fields.flag("ipMasq"),
    }
}

/// `mac` as the runtime passes it; `CNI_ARGS` only counts where nothing newer does.
pub(crate) fn read_mac(request: &Request) -> Result<Option<Mac>, Refusal> {
    let args = request.any_cni_args()?;
    let (place, text) = match request.passed("mac") {
        Some((place, value)) => {
            let text =
                value.as_str().ok_or_else(|| invalid(&place, format!("found {value}, use a string")))?;
            (place, text.to_owned())
        }
        None => match args.get("MAC") {
            None => return Ok(None),
            Some(text) => ("CNI_ARGS: MAC".to_owned(), text.to_owned()),
        },
    };
    match Mac::parse(&text).filter(|mac| mac.is_unicast()) {
        Some(mac) => Ok(Some(mac)),
        None if place.starts_with("CNI_ARGS") => Err(Refusal::new(
            INVALID_ENVIRONMENT,
            format!("{place} is {text:?}: use one like 02:00:00:00:00:01"),
        )),
        None => Err(invalid(&place, format!("found {text:?}, use one like 02:00:00:00:00:01"))),
    }
}

/// A socket in the container, which has no interface of that name (`add.existing-ifname-errors`).
pub(crate) fn container_without_interface(request: &Request) -> Result<Socket, Refusal> {
    let mut container = request.netns()?.run(Socket::route)??;
    let ifname = &request.attachment.ifname;
    if container.link(ifname)?.is_some() {
        return Err(already_there(ifname));
    }
    Ok(container)
}

/// The error that the container's interface is to be made and is there.
pub(crate) fn already_there(ifname: &str) -> Refusal {
    let problem = format!("the container has an interface {ifname} already (CNI_IFNAME): run DEL first");
    Refusal::new(EXISTS, problem)
}

/// An attachment that is being made.
pub(crate) struct Pair<'a> {
    pub(crate) request: &'a Request,
    /// In the host's namespace.
    pub(crate) host: Socket,
    /// In the container's namespace.
    pub(crate) container: Socket,
}

impl<'a> Pair<'a> {
    /// Makes sure that the container has no interface of that name.
    pub(crate) fn prepare(request: &'a Request) -> Result<Pair<'a>, Refusal> {
        let container = container_without_interface(request)?;
        Ok(Pair { request, host: Socket::route()?, container })
    }

    /// Creates the pair, the host's end, if asked for, a port of a bridge. Both ends are down.
    pub(crate) fn create(
        &mut self,
        master: Option<u32>,
        mtu: Option<u32>,
        mac: Option<Mac>,
    ) -> Result<(), Refusal> {
        let attachment = &self.request.attachment;
        let name = attachment.host_interface();
        let veth = Veth {
            name: &name,
            master,
            mtu,
            peer: &attachment.ifname,
            peer_netns: self.request.netns()?.fd(),
            peer_mac: mac,
        };
        let created = self.host.apply(vec![link::new_veth(veth)]);
        match created {
            Err(error) if error.is(libc::EEXIST) => {
                let problem =
                    format!("the attachment's interface {name} exists on the host already: run DEL first");
                Err(Refusal::new(EXISTS, problem))
            }
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }

    /// Notes the owner on the host's end.
    pub(crate) fn label(&mut self) -> Result<(), Refusal> {
        let attachment = &self.request.attachment;
        self.host.apply(vec![link::set_alias(
            &attachment.host_interface(),
            &format!("{ALIAS}{}", attachment.label()),
        )])?;
        Ok(())
    }

    /// The host's end.
    pub(crate) fn host_link(&mut self) -> Result<Link, Refusal> {
        let name = self.request.attachment.host_interface();
        self.host
            .link(&name)?
            .ok_or_else(|| Refusal::new(KERNEL, format!("{name} has vanished from the host")))
    }

    /// The container's end.
    pub(crate) fn container_link(&mut self) -> Result<Link, Refusal> {
        let name = &self.request.attachment.ifname;
        self.container
            .link(name)?
            .ok_or_else(|| Refusal::new(KERNEL, format!("{name} has vanished from the container")))
    }

    /// The host's end once packets can pass it, which is some time after the container's end is up.
    pub(crate) fn working_host_link(&mut self) -> Result<Link, Refusal> {
        let deadline = Instant::now() + CARRIER;
        loop {
            let link = self.host_link()?;
            if link.operational {
                return Ok(link);
            }
            if Instant::now() > deadline {
                let problem =
                    format!("{} passes no packets: set {} up", link.name, self.request.attachment.ifname);
                return Err(Refusal::new(KERNEL, problem));
            }
            std::thread::sleep(CARRIER_INTERVAL);
        }
    }

    /// Sets both ends up, the host's last: while one that is up has no carrier, the kernel looks at all IPv6 routes of the host
    /// with each change of it.
    pub(crate) fn set_up(&mut self, host_link: &Link) -> Result<(), Refusal> {
        let link = self.container_link()?;
        self.container.apply(vec![up(&link)])?;
        self.host.apply(vec![up(host_link)])?;
        Ok(())
    }

    /// Gives the container's end its addresses and routes: [`configure`].
    pub(crate) fn configure(
        &mut self,
        addresses: Vec<Step>,
        own_routes: Vec<KernelRoute>,
        ips: &[Ip],
        routes: Vec<Route>,
    ) -> Result<Vec<Route>, Refusal> {
        let link = self.container_link()?;
        configure(self.request, &mut self.container, &link, (addresses, own_routes), ips, routes)
    }
}

/// Gives the container's interface its addresses, the plugin's own routes, and those of IPAM. Answers the routes that are now
/// there: a default route is left out if the container has one already (`add.default-route-skip`).
pub(crate) fn configure(
    request: &Request,
    container: &mut Socket,
    link: &Link,
    (addresses, own_routes): (Vec<Step>, Vec<KernelRoute>),
    ips: &[Ip],
    routes: Vec<Route>,
) -> Result<Vec<Route>, Refusal> {
    let ipv6 = ips.iter().any(|ip| ip.address.addr().is_ipv6());
    let ifname = &link.name;
    // Neighbours learn at once who has the address now.
    container.apply(vec![link::announce_ipv4(ifname, link.index)])?;
    if ipv6 {
        request.netns()?.run(|| prepare_ipv6(ifname))??;
    }
    container.apply(addresses)?;
    add_own_routes(container, own_routes, link.index)?;
    let mut steps = Vec::new();
    let mut unique: Vec<Route> = Vec::new();
    for route in routes {
        if !unique.contains(&route) {
            unique.push(route);
        }
    }
    for route in &unique {
        let kernel = kernel_route(route, ips, link.index)?;
        let tolerated: &[i32] = if kernel.is_default() { &[libc::EEXIST] } else { &[] };
        steps.push(kernel.add().or(tolerated));
    }
    let outcomes = container.apply(steps)?;
    let made = outcomes.iter().map(Option::is_none);
    Ok(unique.into_iter().zip(made).filter(|(_, made)| *made).map(|(route, _)| route).collect())
}

/// Adds the routes to the gateways. Where another interface of the container leads to the same gateway already, the route
/// stands behind that one and takes over when it goes.
fn add_own_routes(container: &mut Socket, routes: Vec<KernelRoute>, index: u32) -> Result<(), Refusal> {
    // One by one: a route through a gateway needs the one to the gateway.
    for route in routes {
        if container.apply(vec![route.add().or(&[libc::EEXIST])])? != [None] {
            let behind = KernelRoute { priority: Some(BEHIND.saturating_add(index)), ..route };
            container.apply(vec![behind.add()])?;
        }
    }
    Ok(())
}

/// Sets a link up.
pub(crate) fn up(link: &Link) -> Step {
    link::change(&link.name, link.index, Change { up: Some(true), ..Change::default() })
}

/// The route as the kernel takes it: without a next hop it goes through the gateway of its family, if there is one.
fn kernel_route(route: &Route, ips: &[Ip], index: u32) -> Result<KernelRoute, Refusal> {
    let scope = route.scope.map(u8::try_from).transpose();
    let scope = scope.map_err(|_| invalid("routes", format!("{} has a scope above 255", route.dst)))?;
    let same_family = |address: &IpAddr| address.is_ipv4() == route.dst.addr().is_ipv4();
    let on_link = scope == Some(libc::RT_SCOPE_LINK);
    let default = ips.iter().filter_map(|ip| ip.gateway).find(|gateway| same_family(gateway) && !on_link);
    Ok(KernelRoute {
        gateway: route.gw.or(default).and_then(next_hop),
        table: route.table,
        priority: route.priority,
        scope,
        mtu: route.mtu,
        advmss: route.advmss,
        ..KernelRoute::new(route.dst, index)
    })
}

/// Sets what the IPv6 addresses of an interface need; runs in the container's namespace.
fn prepare_ipv6(ifname: &str) -> Result<(), Refusal> {
    sysctl(&format!("ipv6/conf/{ifname}/disable_ipv6"), "0")?;
    // Neighbours learn at once who has the address now. Not having this is no obstacle.
    let _ = sysctl(&format!("ipv6/conf/{ifname}/ndisc_notify"), "1");
    Ok(())
}

/// Has the host take no IPv6 router advertisement by a link: a container could make itself the host's router.
pub(crate) fn ignore_advertisements(link: &str) -> Result<(), Refusal> {
    // Without the folder the link takes no part in IPv6.
    if !std::path::Path::new("/proc/sys/net/ipv6/conf").join(link).exists() {
        return Ok(());
    }
    sysctl(&format!("ipv6/conf/{link}/accept_ra"), "0")
}

/// Gives a port of a bridge no IPv6 addresses of its own, which nobody could reach: the bridge takes what comes in. With them the
/// kernel would look at the routes of all ports whenever one changes.
pub(crate) fn take_no_part_in_ipv6(port: &str) {
    // Not having this is no obstacle.
    let _ = sysctl(&format!("ipv6/conf/{port}/disable_ipv6"), "1");
}

/// Writes a setting below `/proc/sys/net`, unless it has the value already.
pub(crate) fn sysctl(key: &str, value: &str) -> Result<(), Refusal> {
    if has_sysctl(key, value) {
        return Ok(());
    }
    let path = format!("/proc/sys/net/{key}");
    std::fs::write(&path, value)
        .map_err(|error| Refusal::new(KERNEL, format!("cannot write {value} to {path}: {error}")))
}

/// Whether a setting below `/proc/sys/net` has a value.
pub(crate) fn has_sysctl(key: &str, value: &str) -> bool {
    std::fs::read_to_string(format!("/proc/sys/net/{key}")).is_ok_and(|found| found.trim() == value)
}

/// Lets the host pass packets on, for the families of the addresses.
pub(crate) fn enable_forwarding(ips: &[Ip]) -> Result<(), Refusal> {
    for (ipv4, key) in [(true, "ipv4/ip_forward"), (false, "ipv6/conf/all/forwarding")] {
        if ips.iter().any(|ip| ip.address.addr().is_ipv4() == ipv4) {
            sysctl(key, "1")?;
        }
    }
    Ok(())
}

/// Masquerades what the addresses send.
pub(crate) fn masquerade(request: &Request, ips: &[Ip]) -> Result<(), Refusal> {
    let addresses: Vec<_> = ips.iter().map(|ip| ip.address).collect();
    Ok(nft::add(&request.attachment.label(), &addresses)?)
}

/// Undoes what an ADD that failed has made; problems are only logged.
pub(crate) fn withdraw(request: &Request, delegate: Option<&Delegate>) {
    if let Err(error) = remove(request) {
        request.log(format_args!("undoing the ADD: {error}"));
    }
    if let Some(delegate) = delegate {
        delegate.withdraw(request);
    }
}

/// Removes the pair and the masquerading rules.
pub(crate) fn remove(request: &Request) -> Result<(), Refusal> {
    let attachment = &request.attachment;
    let link = Socket::route().and_then(|mut host| host.delete_link(&attachment.host_interface()));
    let label = attachment.label();
    let masquerading = nft::remove(&label);
    if let (false, Some(netns)) = (link?, request.netns_if_any()) {
        remove_listed(request, &mut netns.run(Socket::route)??, &["veth"])?;
    }
    Ok(masquerading?)
}

/// Removes the container's interface if another release of the plugin made it, such as the Go plugin of the same name: neither it
/// nor its other end bears a label, but it is as prevResult says, and of one of these kinds (`del.removes-interface`).
pub(crate) fn remove_listed(
    request: &Request,
    container: &mut Socket,
    kinds: &[&str],
) -> Result<(), Refusal> {
    // The prevResult of ADD is what other plugins made.
    if request.operation != Operation::Del {
        return Ok(());
    }
    let link = container.link(&request.attachment.ifname)?;
    let is_bare = |link: &Link| link.alias.is_empty() && kinds.contains(&link.kind.as_str());
    let Some(link) = link.filter(|link| is_bare(link) && is_listed(request, link)) else { return Ok(()) };
    let other = other_end(&mut Socket::route()?, container, &link.name)?;
    if other.is_none_or(|end| end.alias.is_empty()) {
        container.delete_link_at(link.index)?;
    }
    Ok(())
}

/// Whether prevResult lists the container's interface with the hardware address that it has.
pub(crate) fn is_listed(request: &Request, link: &Link) -> bool {
    let own = request.prev_result.as_ref().and_then(|result| request.own_interface(result));
    let mac = own.and_then(|(_, listed)| listed.mac.as_ref());
    mac.is_some_and(|mac| link.mac.eq_ignore_ascii_case(mac))
}

/// DEL. The address is freed last: nobody may get it while the interface is there.
pub(crate) fn del(request: &Request) -> Outcome {
    let removed = remove(request);
    removed.and(delegate::release(request)).map(|()| Answer::Silence)
}

/// GC: pairs and rules of the network that belong to no valid attachment go, and the delegate is asked to do the
/// same. Each part is tried whatever became of the others.
pub(crate) fn gc(request: &Request) -> Outcome {
    let stale = request.stale_labels()?;
    let mut outcomes = vec![
        remove_links(|link| link.alias.strip_prefix(ALIAS).is_some_and(&stale)),
        nft::collect(&stale).map_err(Refusal::from),
    ];
    outcomes.push(delegate::forward(request));
    outcomes.into_iter().collect::<Result<(), Refusal>>().map(|()| Answer::Silence)
}

/// Removes links of the host; each is tried whatever became of the others.
pub(crate) fn remove_links(chosen: impl Fn(&Link) -> bool) -> Result<(), Refusal> {
    let mut host = Socket::route()?;
    let links = host.links(None)?;
    let gone = links.iter().filter(|link| chosen(link));
    let outcomes: Vec<_> = gone.map(|link| host.delete_link(&link.name)).collect();
    for outcome in outcomes {
        outcome?;
    }
    Ok(())
}

/// The host's end of a veth pair whose other end is a link of the container.
pub(crate) fn other_end(
    host: &mut Socket,
    container: &mut Socket,
    ifname: &str,
) -> Result<Option<Link>, Refusal> {
    let (Some(own), Some((index, true))) = (container.link(ifname)?, container.peer(ifname)?) else {
        return Ok(None);
    };
    let Some(link) = host.link_at(index)? else { return Ok(None) };
    // Another namespace may have a link with that index.
    let is_pair = host.peer(&link.name)? == Some((own.index, true));
    Ok(Some(link).filter(|_| is_pair))
}

/// STATUS: whether the kernel and the delegate can serve ADD.
pub(crate) fn status(request: &Request, masquerade: bool) -> Result<(), Refusal> {
    let unavailable = |error: NetlinkError| Refusal::new(UNAVAILABLE, error.to_string());
    Socket::route().map_err(unavailable)?;
    if masquerade {
        Socket::netfilter().map_err(unavailable)?;
    }
    delegate::forward(request)
}

/// The error that CHECK reports.
pub(crate) fn differs<T>(problem: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(DIFFERS, problem))
}

/// CHECK of what both plugins make; a disabled interface may be down in the container. Answers the host's end and the
/// addresses of the attachment.
pub(crate) fn check(request: &Request, masquerade: bool, disabled: bool) -> Result<(Link, Vec<Ip>), Refusal> {
    let ifname = &request.attachment.ifname;
    let (link, ips) = if disabled { check_made(request) } else { check_interface(request) }?;
    if link.kind != "veth" {
        return differs(format!("{ifname} is no veth device any more"));
    }
    let mut host = Socket::route()?;
    let name = request.attachment.host_interface();
    let mut found = host.link(&name)?;
    if found.is_none() {
        // Another release of the plugin made it, under a name of its own.
        let mut container = request.netns()?.run(Socket::route)??;
        found = other_end(&mut host, &mut container, ifname)?.filter(|link| link.alias.is_empty());
    }
    let host_link = match found {
        Some(link) if link.up => link,
        Some(_) => return differs(format!("{name}, the host's end of {ifname}, is down")),
        None => return differs(format!("{name}, the host's end of {ifname}, is missing")),
    };
    if masquerade {
        let addresses: Vec<_> = ips.iter().map(|ip| ip.address).collect();
        if let Some(problem) = nft::missing(&request.attachment.label(), &addresses)? {
            return differs(format!("masquerading: {problem}"));
        }
    }
    delegate::forward(request)?;
    Ok((host_link, ips))
}

/// CHECK of the container's interface, which is up and has the addresses and routes of prevResult. A changed hardware address
/// or further addresses and routes are the business of later plugins (`check.allows-later-changes`). Answers the interface
/// and its addresses.
pub(crate) fn check_interface(request: &Request) -> Result<(Link, Vec<Ip>), Refusal> {
    let (link, ips) = check_made(request)?;
    match link.up {
        true => Ok((link, ips)),
        false => differs(format!("{} is down", link.name)),
    }
}

/// The same, up or down.
fn check_made(request: &Request) -> Result<(Link, Vec<Ip>), Refusal> {
    let expected = request.required_prev_result()?;
    let ifname = &request.attachment.ifname;
    let Some((own, _)) = request.own_interface(expected) else {
        return differs(format!("prevResult lists no interface {ifname} in a sandbox"));
    };
    let mut container = request.netns()?.run(Socket::route)??;
    let Some(link) = container.link(ifname)? else {
        return differs(format!("the container has no interface {ifname}"));
    };
    let is_own = |ip: &&Ip| ip.index().is_none_or(|index| index == own);
    let ips: Vec<Ip> = expected.ips.iter().filter(is_own).cloned().collect();
    let addresses = container.addresses(link.index)?;
    if let Some(ip) = ips.iter().find(|ip| !addresses.iter().any(|found| found.address == ip.address)) {
        return differs(format!("{ifname} does not have the address {}", ip.address));
    }
    for ipv4 in [true, false] {
        let mut routes = expected.routes.iter().filter(|route| route.dst.addr().is_ipv4() == ipv4).peekable();
        if routes.peek().is_none() {
            continue;
        }
        let found = container.routes(ipv4)?;
        if let Some(route) = routes.find(|route| !found.iter().any(|found| fulfils(found, route))) {
            return differs(format!("the container has no route to {}", route.dst));
        }
    }
    Ok((link, ips))
}

/// Whether a route is the one that is asked for. Zero is no table to the kernel, and for IPv6 no priority: it puts its own there.
fn fulfils(found: &KernelRoute, route: &Route) -> bool {
    let table = route.table.filter(|table| *table != 0).unwrap_or(libc::RT_TABLE_MAIN.into());
    let priority = route.priority.filter(|priority| *priority != 0 || route.dst.addr().is_ipv4());
    found.dst == route.dst.trunc()
        && found.table_number() == table
        && route.gw.is_none_or(|gw| found.gateway == next_hop(gw))
        && priority.is_none_or(|priority| found.priority.unwrap_or(0) == priority)
}

/// A link as a result lists it.
pub(crate) fn listed(link: &Link, sandbox: Option<String>) -> Interface {
    Interface {
        name: link.name.clone(),
        mac: Some(link.mac.clone()).filter(|mac| !mac.is_empty()),
        mtu: Some(link.mtu),
        sandbox,
        ..Interface::default()
    }
}

/// The result of ADD: what earlier plugins returned, with this plugin's part after it. `own` is the index of the
/// container's interface in `interfaces`.
pub(crate) fn merge(
    request: &Request,
    interfaces: Vec<Interface>,
    own: usize,
    ips: Vec<Ip>,
    routes: Vec<Route>,
    dns: Option<Dns>,
) -> Answer {
    let mut result = request.prev_result.clone().unwrap_or_default();
    let index = i64::try_from(result.interfaces.len() + own).ok();
    result.interfaces.extend(interfaces);
    result.ips.extend(ips.into_iter().map(|ip| Ip { interface: index, ..ip }));
    result.routes.extend(routes);
    result.dns = match (result.dns, dns) {
        (Some(mut earlier), Some(own)) => {
            let extend = |list: &mut Vec<String>, more: Vec<String>| {
                for item in more {
                    if !list.contains(&item) {
                        list.push(item);
                    }
                }
            };
            extend(&mut earlier.nameservers, own.nameservers);
            extend(&mut earlier.search, own.search);
            extend(&mut earlier.options, own.options);
            earlier.domain = earlier.domain.or(own.domain);
            Some(earlier)
        }
        (earlier, own) => earlier.or(own),
    };
    Answer::Result(Box::new(result))
}

/// The DNS settings of the result: the configuration's, where it has any, otherwise those of IPAM.
pub(crate) fn choose_dns(request: &Request, ipam: Option<Dns>) -> Result<Option<Dns>, Refusal> {
    Ok(request.dns()?.filter(|dns| *dns != Dns::default()).or(ipam))
}

/// Adds an address to the container's end.
pub(crate) fn assign(ip: &Ip, index: u32, prefix_route: bool) -> Step {
    address::add(ip.address, index, prefix_route)
}

/// Adds an address to the container's end that IPv6 looks for duplicates of.
pub(crate) fn assign_tentatively(ip: &Ip, index: u32, prefix_route: bool) -> Step {
    address::add_tentative(ip.address, index, prefix_route)
}
