//! `host-device`: moves a device of the host into the container, and back.
//!
//! Keys: one of `device`, `hwaddr`, `kernelpath` and `pciBusID`, or `runtimeConfig.deviceID`; `ipam`. Without `ipam` the device has no
//! addresses.
//!
//! ```json
//! { "type": "host-device", "device": "enp1s0" }
//! ```
//!
//! What the device was like on the host stands in its alias as long as it is in the container: see [`mark`]. When the
//! namespace goes, the kernel brings a physical device back, under some name; DEL and GC find it by its alias and
//! give it its name again.
//!
//! A device that a driver for programs has (DPDK: vfio-pci, uio_pci_generic, igb_uio) is no link, and nothing is moved. The result
//! names CNI_IFNAME, with what IPAM says.

mod mark;
mod select;

use std::path::Path;

use cni_spec::result::Interface;

use self::mark::Mark;
use self::select::{Device, Settings};
use crate::contained::{self, Source};
use crate::delegate::{self, Delegate};
use crate::netlink::link::{self, Arrival, Change, Link, change};
use crate::netlink::{NetlinkError, Socket};
use crate::netns::Netns;
use crate::refusal::{EXISTS, KERNEL, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request};
use crate::veth;

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "host-device",
    about: "moves a device of the host into the container: device, hwaddr, kernelpath, pciBusID or runtimeConfig.deviceID; \
            ipam.",
    add,
    del,
    check,
    gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// Where the kernel shows devices.
const SYS: &str = "/sys";

fn add(request: &Request) -> Outcome {
    let device = Settings::read(request)?.device(Path::new(SYS))?;
    let delegate = Delegate::of(request)?;
    let source = Source::of(delegate.as_ref());
    let mut asked = None;
    if device == Device::Userspace {
        let given = contained::obtain(request, source, &mut asked)?;
        let interface = Interface {
            name: request.attachment.ifname.clone(),
            sandbox: request.sandbox(),
            ..Interface::default()
        };
        return Ok(veth::merge(request, vec![interface], 0, given.ips, given.routes, given.dns));
    }
    let mut container = veth::container_without_interface(request)?;
    let mut host = Socket::route()?;
    let found = take_out(request, &mut host, &device)?;
    let mark = Mark {
        label: request.attachment.label(),
        up: found.up,
        name: found.name.clone(),
        alias: found.alias.clone(),
    };
    if !mark.text().ends_with(&found.alias) {
        request.log(format_args!("the alias of {} is too long to be kept", found.name));
    }
    let mut link = move_in(request, &mut host, &mut container, &found, &mark)?;
    let outcome = complete(request, &mut container, &mut link, source, &mut asked);
    if outcome.is_err() {
        if let Err(error) = bring_back(request, &mut container, &link, &mark) {
            request.log(format_args!("undoing the ADD: {error}"));
        }
        if let Some(delegate) = asked {
            delegate.withdraw(request);
        }
    }
    outcome
}

/// The device on the host, as it was before it was in any container: the kernel brings it back under another name.
fn take_out(request: &Request, host: &mut Socket, device: &Device) -> Result<Link, Refusal> {
    let mut found = device.find(host)?;
    if found.is_none()
        && let Device::Named(name) = device
    {
        let was = |link: &Link| Mark::parse(&link.alias).is_some_and(|mark| mark.name == *name);
        found = host.links(None)?.into_iter().find(was);
    }
    let link = found.ok_or_else(|| device.missing())?;
    let Some(mark) = Mark::parse(&link.alias) else { return Ok(link) };
    restore(request, host, &link, &mark)?;
    host.link_at(link.index)?.ok_or_else(|| device.missing())
}

/// Moves the device, which gets its name and its mark in the same request.
fn move_in(
    request: &Request,
    host: &mut Socket,
    container: &mut Socket,
    found: &Link,
    mark: &Mark,
) -> Result<Link, Refusal> {
    let ifname = &request.attachment.ifname;
    let netns = Some(request.netns()?.fd());
    let arrival = Arrival { netns, name: ifname, alias: &mark.text(), up: false };
    let moved = host.apply(vec![link::send(found, arrival)]);
    if let Err(error) = moved {
        // It may be in the container under its old name, if another made an interface meanwhile.
        let is_gone = host.link_at(found.index)?.is_none_or(|link| link.name != found.name);
        if is_gone && let Some(link) = find_half_moved(container, ifname, found, mark)? {
            bring_back(request, container, &link, mark)?;
        }
        return Err(match error.is(libc::EEXIST) {
            true => veth::already_there(ifname),
            false => error.into(),
        });
    }
    match container.link(ifname)? {
        Some(link) => Ok(link),
        None => Err(Refusal::new(KERNEL, format!("{ifname} has vanished from the container"))),
    }
}

/// The device in the container after a move that failed on the way.
fn find_half_moved(
    container: &mut Socket,
    ifname: &str,
    found: &Link,
    mark: &Mark,
) -> Result<Option<Link>, NetlinkError> {
    let is_it = |link: &Link| {
        let aliases = [&found.alias, &mark.text()];
        link.mac == found.mac && link.kind == found.kind && aliases.contains(&&link.alias)
    };
    for name in [ifname, &found.name] {
        if let Some(link) = container.link(name)?.filter(is_it) {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

/// Everything after the device is in the container.
fn complete<'d>(
    request: &Request,
    container: &mut Socket,
    link: &mut Link,
    source: Source<'d>,
    asked: &mut Option<&'d Delegate>,
) -> Outcome {
    container.apply(vec![veth::up(link)])?;
    let given = contained::obtain(request, source, asked)?;
    let routes = given.configure(request, container, link)?;
    if let Some(now) = container.link_at(link.index)? {
        *link = now;
    }
    let interfaces = vec![veth::listed(link, request.sandbox())];
    Ok(veth::merge(request, interfaces, 0, given.ips, routes, given.dns))
}

/// Moves the device from the container to the host, where it is what it was.
fn bring_back(request: &Request, container: &mut Socket, link: &Link, mark: &Mark) -> Result<(), Refusal> {
    let Mark { name, alias, up, .. } = mark;
    let mut host = Socket::route()?;
    if host.link(name)?.is_some() {
        let problem = format!(
            "the host has another link {name}, which is the name of the device {}: rename that link",
            link.name
        );
        return Err(Refusal::new(EXISTS, problem));
    }
    let own = Netns::current()?;
    let down = change(&link.name, link.index, Change { up: Some(false), ..Change::default() });
    let steps = vec![
        down,
        // If it can be had: then nobody on the host sees the device under another name.
        link::rename(link, name).or(&[libc::EEXIST]),
        link::send(link, Arrival { netns: Some(own.fd()), name, alias, up: *up }),
    ];
    let Err(error) = container.apply(steps) else { return Ok(()) };
    match container.link_at(link.index)?.filter(|now| Mark::parse(&now.alias).as_ref() == Some(mark)) {
        Some(now) => {
            let back = vec![link::rename(&now, &link.name), veth::up(&now)];
            if let Err(error) = container.apply(back) {
                request.log(format_args!("leaving {} as it was: {error}", link.name));
            }
            Err(error.into())
        }
        // It is on the host, and something else went wrong: it may not have come up.
        None if host.link(name)?.is_some() => {
            request.log(format_args!("{name} is back on the host, but not as it was: {error}"));
            Ok(())
        }
        None => Err(error.into()),
    }
}

/// Makes a device on the host what it was, after the kernel brought it back from a namespace that is gone.
fn restore(request: &Request, host: &mut Socket, link: &Link, mark: &Mark) -> Result<(), Refusal> {
    let taken = host.link(&mark.name)?.is_some_and(|other| other.index != link.index);
    if taken {
        request.log(format_args!("{} keeps its name: the host has another link {}", link.name, mark.name));
    }
    let name = if taken { &link.name } else { &mark.name };
    host.apply(vec![link::send(link, Arrival { netns: None, name, alias: &mark.alias, up: mark.up })])?;
    Ok(())
}

fn del(request: &Request) -> Outcome {
    let returned = give_back(request);
    // The address is freed last: nobody may get it while the device has it.
    returned.and(delegate::release(request)).map(|()| Answer::Silence)
}

/// Brings the attachment's device back, wherever it is.
fn give_back(request: &Request) -> Result<(), Refusal> {
    let own = |link: &Link| Mark::parse(&link.alias).filter(|mark| mark.is_of(&request.attachment));
    let ifname = &request.attachment.ifname;
    let netns = request.netns_if_any();
    if let Some(netns) = &netns {
        let mut container = netns.run(Socket::route)??;
        if let Some((link, mark)) = find(&mut container, Some(ifname), true, own)? {
            return bring_back(request, &mut container, &link, &mark);
        }
        if let Some(link) = container.link(ifname)?
            && let Some(mark) = mark_of_another(request, &link)
        {
            return bring_back(request, &mut container, &link, &mark);
        }
    }
    // With the namespace gone, the device may have any name.
    let mut host = Socket::route()?;
    match find(&mut host, Some(ifname), netns.is_none(), own)? {
        Some((link, mark)) => restore(request, &mut host, &link, &mark),
        None => Ok(()),
    }
}

/// What there is to know of the container's interface if the Go plugin moved it. That notes the device's name on the host in the
/// alias, and not whose it is: that it is the attachment's, prevResult says.
fn mark_of_another(request: &Request, link: &Link) -> Option<Mark> {
    cni_spec::parameters::interface_name(&link.alias).ok()?;
    veth::is_listed(request, link).then(|| Mark {
        label: request.attachment.label(),
        up: link.up,
        name: link.alias.clone(),
        alias: String::new(),
    })
}

/// The link that a mark is on: that of a name, or any.
fn find(
    socket: &mut Socket,
    name: Option<&str>,
    any: bool,
    own: impl Fn(&Link) -> Option<Mark>,
) -> Result<Option<(Link, Mark)>, NetlinkError> {
    let marked = |link: Link| own(&link).map(|mark| (link, mark));
    if let Some(name) = name
        && let Some(found) = socket.link(name)?.and_then(marked)
    {
        return Ok(Some(found));
    }
    if !any {
        return Ok(None);
    }
    Ok(socket.links(None)?.into_iter().find_map(marked))
}

/// GC: devices that the kernel brought back from the namespaces of attachments that are no longer valid.
fn gc(request: &Request) -> Outcome {
    let valid = request.valid_attachments()?;
    let mut host = Socket::route()?;
    let stale = |link: &Link| {
        Mark::parse(&link.alias).filter(|mark| {
            mark.is_in(&request.attachment.network) && !valid.iter().any(|attachment| mark.is_of(attachment))
        })
    };
    let mut outcomes = Vec::new();
    for link in host.links(None)? {
        if let Some(mark) = stale(&link) {
            outcomes.push(restore(request, &mut host, &link, &mark));
        }
    }
    outcomes.push(delegate::forward(request));
    outcomes.into_iter().collect::<Result<(), Refusal>>().map(|()| Answer::Silence)
}

fn check(request: &Request) -> Outcome {
    let settings = Settings::read(request)?;
    request.required_prev_result()?;
    if !settings.is_userspace(Path::new(SYS)) {
        let (link, _) = veth::check_interface(request)?;
        let is_own = Mark::parse(&link.alias).is_some_and(|mark| mark.is_of(&request.attachment));
        if !is_own && mark_of_another(request, &link).is_none() {
            let problem =
                format!("{} is not the device of the host: its alias says nothing of it", link.name);
            return veth::differs(problem);
        }
    }
    delegate::forward(request).map(|()| Answer::Silence)
}

fn status(request: &Request) -> Outcome {
    Settings::read(request)?;
    contained::status(request)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    Settings::read(request)?;
    request.dns()?;
    Delegate::of(request)?;
    crate::fuzzing::common(request)
}

/// Reads an alias.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_stored(bytes: &[u8]) {
    let Some(mark) = std::str::from_utf8(bytes).ok().and_then(Mark::parse) else { return };
    assert_eq!(Mark::parse(&mark.text()).map(|again| again.label), Some(mark.label));
}
