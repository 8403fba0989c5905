//! `loopback`: sets the container's `lo` up.

use cni_spec::error::INVALID_ENVIRONMENT;
use cni_spec::result::{AddResult, Interface, Ip};

use crate::netlink::Socket;
use crate::netlink::link::{Change, Link, change};
use crate::netns::Netns;
use crate::refusal::{DIFFERS, KERNEL, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "loopback",
    about: "sets the container's loopback interface up. CNI_IFNAME has to be lo. No configuration of its own.",
    add,
    del,
    check,
    gc: nothing,
    status: nothing,
    #[cfg(feature = "fuzzing")]
    understand,
};

const NAME: &str = "lo";

fn nothing(_: &Request) -> Outcome {
    Ok(Answer::Silence)
}

/// The kernel has but one loopback interface in a namespace, and its name is fixed (`param.ifname-unusable-errors`).
fn require_name(request: &Request) -> Result<(), Refusal> {
    if request.attachment.ifname == NAME {
        return Ok(());
    }
    let found = &request.attachment.ifname;
    Err(Refusal::new(
        INVALID_ENVIRONMENT,
        format!("CNI_IFNAME: found {found:?}, use \"lo\": the loopback interface has no other name"),
    ))
}

fn container(request: &Request) -> Result<(Socket, Link), Refusal> {
    open(request.netns()?)
}

fn open(netns: &Netns) -> Result<(Socket, Link), Refusal> {
    let mut socket = netns.run(Socket::route)??;
    let link = socket.link(NAME)?.ok_or_else(|| Refusal::new(KERNEL, "the container has no interface lo"))?;
    Ok((socket, link))
}

fn add(request: &Request) -> Outcome {
    require_name(request)?;
    let (mut socket, link) = container(request)?;
    set_up(&mut socket, &link, true)?;
    if let Some(previous) = &request.prev_result {
        return Ok(Answer::Result(Box::new(previous.clone())));
    }
    let addresses = socket.addresses(link.index)?;
    let result = AddResult {
        interfaces: vec![Interface {
            name: link.name,
            mac: Some(link.mac),
            mtu: Some(link.mtu),
            sandbox: request.sandbox(),
            ..Interface::default()
        }],
        ips: addresses.iter().map(|found| Ip { interface: Some(0), ..Ip::new(found.address) }).collect(),
        dns: request.dns()?,
        ..AddResult::default()
    };
    Ok(Answer::Result(Box::new(result)))
}

fn set_up(socket: &mut Socket, link: &Link, up: bool) -> Result<(), Refusal> {
    socket.apply(vec![change(NAME, link.index, Change { up: Some(up), ..Change::default() })])?;
    Ok(())
}

fn del(request: &Request) -> Outcome {
    // Under another name nothing was ever added.
    if request.attachment.ifname != NAME {
        return Ok(Answer::Silence);
    }
    if let Some(netns) = request.netns_if_any() {
        let (mut socket, link) = open(&netns)?;
        set_up(&mut socket, &link, false)?;
    }
    Ok(Answer::Silence)
}

fn check(request: &Request) -> Outcome {
    require_name(request)?;
    let expected = request.required_prev_result()?;
    let (mut socket, link) = container(request)?;
    let differs = |problem: String| Err(Refusal::new(DIFFERS, problem));
    if !link.up {
        return differs("lo is down: run ADD again".to_owned());
    }
    let addresses = socket.addresses(link.index)?;
    let own = request.own_interface(expected).map(|(index, _)| index);
    for ip in expected.ips.iter().filter(|ip| own.is_some() && ip.index() == own) {
        if !addresses.iter().any(|found| found.address == ip.address) {
            return differs(format!("lo does not have the address {}", ip.address));
        }
    }
    Ok(Answer::Silence)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    if request.operation.is_attachment() {
        require_name(request)?;
    }
    crate::fuzzing::common(request)
}
