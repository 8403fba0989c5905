//! A link that is made inside the container's namespace: alone, or on a link of the host or of the container.
//!
//! Nothing of it is on the host. Until it is complete it has a name derived from the attachment, because older kernels refuse
//! a name that a link of the host has. Its alias names the attachment, so DEL takes no link that another made, and finds its
//! own under whatever name.

use cni_spec::error::UNAVAILABLE;
use cni_spec::result::{AddResult, Dns, Ip, Route};

use crate::attachment::Attachment;
use crate::delegate::{self, Delegate};
use crate::fields::{Fields, invalid};
use crate::netlink::link::{self, Kind, Link, Mac, NewLink};
use crate::netlink::{NetlinkError, Socket};
use crate::refusal::{DELEGATE, DIFFERS, EXISTS, KERNEL, Refusal};
use crate::skel::{Answer, Outcome, Request};
use crate::veth;

/// What the alias of such a link begins with; the attachment's label follows. Where a container is itself a host, GC of
/// the plugins that run there must not take the link for theirs.
const ALIAS: &str = "cni-reference-inside:";

/// What the kernel calls such links.
const KINDS: &[&str] = &["macvlan", "ipvlan", "vlan", "dummy", "tun"];

fn alias(attachment: &Attachment) -> String {
    format!("{ALIAS}{}", attachment.label())
}

/// `master`, `mtu` and `linkInContainer`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base<'a> {
    /// The name of the master; without one it is that of the default route.
    pub(crate) master: Option<&'a str>,
    /// Whether the master is in the container.
    pub(crate) in_container: bool,
    pub(crate) mtu: Option<u32>,
}

impl<'a> Base<'a> {
    pub(crate) fn read(fields: Fields<'a>) -> Result<Base<'a>, Refusal> {
        Ok(Base {
            master: fields.string("master")?.filter(|name| !name.is_empty()),
            in_container: fields.flag("linkInContainer")?,
            mtu: veth::read_mtu(fields)?,
        })
    }

    /// The master, in the namespace of the socket.
    pub(crate) fn find(&self, home: &mut Socket) -> Result<Link, Refusal> {
        let place = if self.in_container { "container" } else { "host" };
        let link = match self.master {
            Some(name) => home.link(name)?.ok_or_else(|| {
                invalid("master", format!("the {place} has no link {name}: name one that it has"))
            })?,
            None => default_link(home)?.ok_or_else(|| {
                invalid(
                    "master",
                    format!("missing, and the {place} has no default route that would tell: name a link"),
                )
            })?,
        };
        match self.mtu.filter(|mtu| *mtu > link.mtu) {
            Some(mtu) => {
                let (name, most) = (&link.name, link.mtu);
                Err(invalid("mtu", format!("found {mtu}, use at most {most}, which {name}, the master, has")))
            }
            None => Ok(link),
        }
    }

    /// CHECK: a master that is named is there.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Refusal> {
        let Some(name) = self.master else { return Ok(()) };
        let found = match self.in_container {
            true => request.netns()?.run(Socket::route)??.link(name)?,
            false => Socket::route()?.link(name)?,
        };
        match found {
            Some(_) => Ok(()),
            None => veth::differs(format!("{name}, the master, is missing")),
        }
    }

    /// STATUS: a master on the host is there.
    pub(crate) fn status(&self) -> Result<(), Refusal> {
        if self.in_container {
            return Ok(());
        }
        let unavailable = |error: &Refusal| Refusal::new(UNAVAILABLE, error.msg.clone());
        let mut host = Socket::route().map_err(|error| unavailable(&error.into()))?;
        self.find(&mut host).map(drop).map_err(|error| unavailable(&error))
    }
}

/// The link that the default route of the main table leads through, that of IPv4 first.
fn default_link(home: &mut Socket) -> Result<Option<Link>, NetlinkError> {
    for ipv4 in [true, false] {
        let routes = home.routes(ipv4)?.into_iter().filter(|route| {
            // One with several next hops names no link of its own.
            route.is_default() && route.link != 0 && route.table_number() == u32::from(libc::RT_TABLE_MAIN)
        });
        if let Some(route) = routes.min_by_key(|route| route.priority.unwrap_or(0)) {
            return home.link_at(route.link);
        }
    }
    Ok(None)
}

/// `mac` of the configuration; what the runtime passes takes its place.
pub(crate) fn read_mac(request: &Request) -> Result<Option<Mac>, Refusal> {
    let own = match request.fields().string("mac")?.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(
            Mac::parse(text)
                .filter(|mac| mac.is_unicast())
                .ok_or_else(|| invalid("mac", format!("found {text:?}, use one like 02:00:00:00:00:01")))?,
        ),
    };
    // GC and STATUS have no CNI_ARGS to look at.
    let passed = if request.operation.is_attachment() { veth::read_mac(request)? } else { None };
    Ok(passed.or(own))
}

/// Where the addresses come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// There are none.
    Nowhere,
    /// An IPAM plugin.
    Ipam(&'a Delegate),
    /// An earlier plugin asked for them.
    Previous(&'a AddResult),
}

impl<'a> Source<'a> {
    /// The IPAM plugin, if there is one.
    pub(crate) fn of(delegate: Option<&'a Delegate>) -> Source<'a> {
        delegate.map_or(Source::Nowhere, Source::Ipam)
    }
}

/// The IPAM plugin of a plugin that has to have one.
pub(crate) fn required_delegate(request: &Request, plugin: &str) -> Result<Delegate, Refusal> {
    Delegate::of(request)?
        .ok_or_else(|| invalid("ipam.type", format!("missing: {plugin} needs an IPAM plugin, name one")))
}

/// A link that is being made.
pub(crate) struct Making<'a> {
    request: &'a Request,
    /// In the container's namespace.
    pub(crate) container: Socket,
    /// The link as it was made.
    pub(crate) link: Link,
}

/// ADD: makes a link with `make`, which is given a socket in the container and the link's provisional name, has `shape`
/// change it while it is down, and does all the rest. What was made goes again if anything fails.
pub(crate) fn add(
    request: &Request,
    source: Source<'_>,
    make: impl FnOnce(&mut Socket, &str) -> Result<(), Refusal>,
    shape: impl FnOnce(&mut Making<'_>) -> Result<(), Refusal>,
) -> Outcome {
    let mut container = veth::container_without_interface(request)?;
    let name = request.attachment.provisional_interface();
    make(&mut container, &name)?;
    let link = container
        .link(&name)?
        .ok_or_else(|| Refusal::new(KERNEL, format!("{name} has vanished from the container")))?;
    let index = link.index;
    let mut making = Making { request, container, link };
    let mut asked = None;
    let outcome = shape(&mut making).and_then(|()| making.complete(source, &mut asked));
    if outcome.is_err() {
        // By its index: the name may be that of another.
        if let Err(error) = making.container.delete_link_at(index) {
            request.log(format_args!("undoing the ADD: {error}"));
        }
        if let Some(delegate) = asked {
            delegate.withdraw(request);
        }
    }
    outcome
}

/// Makes a link on a master that `base` names, if there is one. To be used with [`add`].
pub(crate) fn create(
    request: &Request,
    container: &mut Socket,
    name: &str,
    base: Option<Base<'_>>,
    kind: Kind,
    mac: Option<Mac>,
) -> Result<(), Refusal> {
    let new = NewLink { name, kind, netns: None, master: None, mtu: None, mac };
    let Some(base) = base else {
        return applied(container, request, None, new);
    };
    if base.in_container {
        let master = base.find(container)?;
        let new = NewLink { master: Some(master.index), mtu: base.mtu, ..new };
        return applied(container, request, Some(&master), new);
    }
    let mut host = Socket::route()?;
    let master = base.find(&mut host)?;
    let netns = Some(request.netns()?.fd());
    let new = NewLink { netns, master: Some(master.index), mtu: base.mtu, ..new };
    applied(&mut host, request, Some(&master), new)
}

fn applied(
    home: &mut Socket,
    request: &Request,
    master: Option<&Link>,
    new: NewLink<'_>,
) -> Result<(), Refusal> {
    let Err(error) = home.apply(vec![link::new_link(new)]) else { return Ok(()) };
    if error.is(libc::EEXIST) {
        let there = request.netns()?.run(Socket::route)??.link(new.name)?.is_some();
        return Err(match (there, new.kind, master) {
            (false, Kind::Vlan { id }, Some(master)) => {
                let name = &master.name;
                let problem =
                    format!("vlanId: {name} has a link for the VLAN {id} already: remove it or name another");
                Refusal::new(EXISTS, problem)
            }
            _ => left_over(new.name),
        });
    }
    // What the kernel says where it does not know the kind.
    if error.is(libc::EOPNOTSUPP) {
        let (kind, module) = (new.kind.name(), new.kind.module());
        let problem = format!("{error}; if the kernel has no {kind} links, load the module {module}");
        return Err(Refusal::new(KERNEL, problem));
    }
    Err(error.into())
}

/// The error that a killed or a simultaneous ADD has made the link.
pub(crate) fn left_over(name: &str) -> Refusal {
    let problem = format!("another ADD of the attachment has made {name} in the container: run DEL first");
    Refusal::new(EXISTS, problem)
}

impl Making<'_> {
    /// Labels the link, gives it its name and addresses, and sets it up. `asked` is set once the delegate has given out addresses.
    fn complete<'d>(&mut self, source: Source<'d>, asked: &mut Option<&'d Delegate>) -> Outcome {
        let request = self.request;
        let ifname = &request.attachment.ifname;
        // The label first: no link under the final name is without it.
        let steps = vec![
            link::set_alias(&self.link.name, &alias(&request.attachment)),
            link::rename(&self.link, ifname),
        ];
        self.container.apply(steps).map_err(|error| match error.is(libc::EEXIST) {
            true => veth::already_there(ifname),
            false => error.into(),
        })?;
        self.link.name.clone_from(ifname);
        self.container.apply(vec![veth::up(&self.link)]).map_err(|error| match error.is(libc::ENETDOWN) {
            true => Refusal::new(KERNEL, format!("{error}: set its master up")),
            false => error.into(),
        })?;
        let given = obtain(request, source, asked)?;
        let routes = given.configure(request, &mut self.container, &self.link)?;
        let link = self
            .container
            .link_at(self.link.index)?
            .ok_or_else(|| Refusal::new(KERNEL, format!("{ifname} has vanished from the container")))?;
        let interfaces = vec![veth::listed(&link, request.sandbox())];
        Ok(match source {
            Source::Previous(previous) => chained(previous, interfaces, given.ips, routes, given.dns),
            _ => veth::merge(request, interfaces, 0, given.ips, routes, given.dns),
        })
    }
}

/// What the container's interface is given.
pub(crate) struct Given {
    pub(crate) ips: Vec<Ip>,
    pub(crate) routes: Vec<Route>,
    pub(crate) dns: Option<Dns>,
}

impl Given {
    /// Gives the interface the addresses and routes; answers the routes that it has.
    pub(crate) fn configure(
        &self,
        request: &Request,
        container: &mut Socket,
        link: &Link,
    ) -> Result<Vec<Route>, Refusal> {
        if self.ips.is_empty() {
            return Ok(Vec::new());
        }
        let addresses = self.ips.iter().map(|ip| veth::assign(ip, link.index, true)).collect();
        veth::configure(request, container, link, (addresses, Vec::new()), &self.ips, self.routes.clone())
    }
}

/// Asks for the addresses. `asked` is set once the delegate has given some out.
pub(crate) fn obtain<'d>(
    request: &Request,
    source: Source<'d>,
    asked: &mut Option<&'d Delegate>,
) -> Result<Given, Refusal> {
    let AddResult { ips, routes, dns, .. } = match source {
        Source::Nowhere => AddResult::default(),
        Source::Previous(previous) => previous.clone(),
        Source::Ipam(delegate) => {
            let added = delegate.add(request)?;
            *asked = Some(delegate);
            if added.ips.is_empty() {
                return Err(Refusal::new(DELEGATE, "the IPAM plugin returned no address"));
            }
            added
        }
    };
    Ok(Given { ips, routes, dns: veth::choose_dns(request, dns)? })
}

/// prevResult with a further interface, which its addresses are those of.
fn chained(
    previous: &AddResult,
    interfaces: Vec<cni_spec::result::Interface>,
    ips: Vec<Ip>,
    routes: Vec<Route>,
    dns: Option<Dns>,
) -> Answer {
    let mut result = previous.clone();
    let index = i64::try_from(result.interfaces.len()).ok();
    result.interfaces.extend(interfaces);
    result.ips = ips.into_iter().map(|ip| Ip { interface: index, ..ip }).collect();
    result.routes = routes;
    result.dns = dns;
    Answer::Result(Box::new(result))
}

/// DEL. The address is freed last: nobody may get it while the interface is there.
pub(crate) fn del(request: &Request) -> Outcome {
    let removed = remove(request);
    removed.and(delegate::release(request)).map(|()| Answer::Silence)
}

/// Removes the attachment's link, if it is still there.
fn remove(request: &Request) -> Result<(), Refusal> {
    let Some(netns) = request.netns_if_any() else { return Ok(()) };
    let mut container = netns.run(Socket::route)??;
    let provisional = request.attachment.provisional_interface();
    if let Some(link) = container.link(&provisional)? {
        container.delete_link_at(link.index)?;
    }
    match find_labelled(&mut container, &request.attachment.ifname, &alias(&request.attachment))? {
        Some(link) => Ok(container.delete_link_at(link.index)?),
        None => veth::remove_listed(request, &mut container, KINDS),
    }
}

/// The link with an alias: the one of a name, or another, as it may have been renamed.
fn find_labelled(container: &mut Socket, name: &str, alias: &str) -> Result<Option<Link>, NetlinkError> {
    match container.link(name)?.filter(|link| link.alias == alias) {
        Some(link) => Ok(Some(link)),
        None => Ok(container.links(None)?.into_iter().find(|link| link.alias == alias)),
    }
}

/// GC: the links are gone with their namespaces, or are found by DEL alone; the delegate has addresses to free.
pub(crate) fn gc(request: &Request) -> Outcome {
    request.valid_attachments()?;
    delegate::forward(request).map(|()| Answer::Silence)
}

/// CHECK: the interface of prevResult is there and is of this kind; `problem` may find something else wrong with it.
pub(crate) fn check(request: &Request, kind: &str, problem: impl FnOnce(&Link) -> Option<String>) -> Outcome {
    let (link, _) = veth::check_interface(request)?;
    let name = &link.name;
    if link.kind != kind {
        return veth::differs(format!("{name} is no {kind} link any more"));
    }
    if let Some(problem) = problem(&link) {
        return Err(Refusal::new(DIFFERS, format!("{name}: {problem}")));
    }
    delegate::forward(request).map(|()| Answer::Silence)
}

/// A difference between what was asked for and what there is, as CHECK reports it.
pub(crate) fn unlike<T: PartialEq + std::fmt::Display>(
    what: &str,
    asked: T,
    found: Option<T>,
) -> Option<String> {
    match found {
        Some(found) if found == asked => None,
        Some(found) => Some(format!("its {what} is {found}, not {asked}")),
        None => Some(format!("the kernel tells no {what}")),
    }
}

/// STATUS of what is delegated.
pub(crate) fn status(request: &Request) -> Outcome {
    veth::status(request, false).map(|()| Answer::Silence)
}
