//! `portmap`: forwards ports of the host to the container, with nftables.
//!
//! Everything stands in a table of this plugin, see [`table`]; DEL needs nothing but the attachment's name.

mod claim;
mod table;
mod tracking;

use std::collections::HashSet;
use std::net::IpAddr;

use cni_spec::error::{INVALID_CONFIGURATION, UNAVAILABLE};
use cni_spec::result::AddResult;

use self::claim::{Claim, Mapping};
use self::table::InstallError;
use crate::attachment::network_prefix;
use crate::fields::{Fields, invalid, unsupported};
use crate::netlink::Socket;
use crate::netns::Netns;
use crate::refusal::{DIFFERS, EXISTS, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request, io_failure};
use crate::veth::{has_sysctl, sysctl};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "portmap",
    about: "a chained plugin that forwards ports of the host to the container, with nftables: \
            runtimeConfig.portMappings, snat, masqAll, backend.",
    add,
    del,
    check,
    gc,
    status,
};

/// The plugin's configuration.
struct Settings {
    snat: bool,
    masquerade_all: bool,
}

impl Settings {
    fn read(fields: Fields<'_>) -> Result<Settings, Refusal> {
        if let (Some(backend), Some(value)) = (fields.string("backend")?, fields.get("backend"))
            && !["nftables", "iptables"].contains(&backend)
        {
            return Err(unsupported("backend", value));
        }
        for key in ["conditionsV4", "conditionsV6"] {
            let conditions = fields.elements(key)?;
            if let Some(value) = fields.get(key).filter(|_| !conditions.is_empty()) {
                return Err(unsupported(key, value));
            }
        }
        // An attachment's own rules name what they masquerade, so no mark is needed.
        let bit = fields.u32("markMasqBit")?;
        if bit.is_some_and(|bit| bit > 31) {
            return Err(invalid("markMasqBit", "use a number from 0 to 31"));
        }
        if let (Some(_), Some(value)) =
            (fields.string("externalSetMarkChain")?, fields.get("externalSetMarkChain"))
        {
            return Err(unsupported("externalSetMarkChain", value));
        }
        Ok(Settings {
            snat: fields.get("snat").is_none() || fields.flag("snat")?,
            masquerade_all: fields.flag("masqAll")?,
        })
    }
}

fn required_prev_result(request: &Request) -> Result<&AddResult, Refusal> {
    request.prev_result.as_ref().ok_or_else(|| {
        let problem = "prevResult is missing: put the plugin behind one that makes the interface";
        Refusal::new(INVALID_CONFIGURATION, problem)
    })
}

fn add(request: &Request) -> Outcome {
    let settings = Settings::read(request.fields())?;
    let mappings = Mapping::read_all(request)?;
    let previous = required_prev_result(request)?;
    let answer = Answer::Result(Box::new(previous.clone()));
    let claims = Claim::all(request, previous, &mappings, settings.snat, settings.masquerade_all);
    if claims.is_empty() {
        if !mappings.is_empty() {
            request.log("prevResult lists no address of the container that a port could be forwarded to");
        }
        return Ok(answer);
    }
    let netns = Netns::current()?;
    // Shared with other ADDs; keeps the table and the settings that go with it from being removed meanwhile.
    let lock = netns.lock(false).map_err(|error| lock_failure(&error))?;
    let claims = match table::install(&request.attachment, claims) {
        Ok(claims) => claims,
        Err(InstallError::Exists) => {
            return Err(Refusal::new(EXISTS, "the attachment has forwarded ports already: run DEL first"));
        }
        Err(InstallError::Netlink(error)) => return Err(error.into()),
    };
    let opened = open_localhost(&claims);
    drop(lock);
    if let Err(error) = opened {
        let undone = table::remove(&request.attachment).map_err(Refusal::from).and_then(|_| clean_up());
        if let Err(error) = undone {
            request.log(format_args!("undoing the ADD: {error}"));
        }
        return Err(error);
    }
    for claim in claims.iter().filter(|claim| claim.waiting) {
        request.log(format_args!("{claim} waits: another attachment has the port"));
    }
    if let Err(error) = tracking::forget_earlier(&claims) {
        request.log(format_args!("stale UDP flows may remain: {error}"));
    }
    Ok(answer)
}

fn lock_failure(error: &std::io::Error) -> Refusal {
    io_failure("cannot lock the host's network namespace", error)
}

/// The setting that lets packets from 127.0.0.1 out by an interface, or by all.
fn setting(interface: &str) -> String {
    format!("ipv4/conf/{interface}/route_localnet")
}

/// Lets packets from 127.0.0.1 out to containers that are reached through localhost. A rule keeps out what the setting
/// would let in.
fn open_localhost(claims: &[Claim]) -> Result<(), Refusal> {
    let local = claims.iter().filter(|claim| claim.masquerading.localhost).map(|claim| claim.container);
    let containers: HashSet<IpAddr> = local.collect();
    if containers.is_empty() || has_sysctl(&setting("all"), "1") {
        return Ok(());
    }
    let mut route = Socket::route()?;
    for container in containers {
        let link = match route.way(container)?.filter(|way| !way.is_local) {
            Some(way) => route.link_at(way.link)?,
            None => None,
        };
        if let Some(link) = link.filter(|link| !has_sysctl(&setting(&link.name), "1")) {
            table::note_opened(link.index)?;
            sysctl(&setting(&link.name), "1")?;
        }
    }
    Ok(())
}

/// Removes the table if nobody claims a port any more, and takes the settings back that went with it.
fn clean_up() -> Result<(), Refusal> {
    if !table::is_idle()? {
        return Ok(());
    }
    let netns = Netns::current()?;
    let _lock = netns.lock(true).map_err(|error| lock_failure(&error))?;
    let mut route = Socket::route()?;
    for index in table::remove_if_empty()? {
        if let Some(link) = route.link_at(index)? {
            sysctl(&setting(&link.name), "0")?;
        }
    }
    Ok(())
}

fn del(request: &Request) -> Outcome {
    let removed = table::remove(&request.attachment)?;
    clean_up()?;
    if let Err(error) = tracking::forget_own(&removed) {
        request.log(format_args!("stale UDP flows may remain: {error}"));
    }
    Ok(Answer::Silence)
}

fn check(request: &Request) -> Outcome {
    let settings = Settings::read(request.fields())?;
    let mappings = Mapping::read_all(request)?;
    let previous = request.required_prev_result()?;
    let claims = Claim::all(request, previous, &mappings, settings.snat, settings.masquerade_all);
    if claims.is_empty() {
        return Ok(Answer::Silence);
    }
    match table::missing(&request.attachment, &claims)? {
        Some(problem) => Err(Refusal::new(DIFFERS, problem)),
        None => Ok(Answer::Silence),
    }
}

fn gc(request: &Request) -> Outcome {
    let valid = request.valid_attachments()?;
    let prefix = network_prefix(&request.attachment.network);
    let labels: HashSet<String> = valid.iter().map(|attachment| attachment.label()).collect();
    table::collect(|label| label.starts_with(&prefix) && !labels.contains(label))?;
    clean_up()?;
    Ok(Answer::Silence)
}

fn status(request: &Request) -> Outcome {
    Settings::read(request.fields())?;
    Socket::netfilter().map_err(|error| Refusal::new(UNAVAILABLE, error.to_string()))?;
    Ok(Answer::Silence)
}
