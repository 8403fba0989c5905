//! `portmap`: forwards ports of the host to the container, with nftables.
//!
//! Everything stands in a table of this plugin, see [`table`]; DEL needs nothing but the attachment's name.

mod claim;
mod conditions;
mod gate;
mod ports;
mod table;
mod tracking;

use std::collections::HashSet;
use std::num::NonZeroU32;

use cni_spec::error::UNAVAILABLE;

use self::claim::{Claim, Mapping};
use self::conditions::Conditions;
use self::table::InstallError;
use crate::fields::{Fields, invalid, unsupported};
use crate::netlink::Socket;
use crate::refusal::{DIFFERS, EXISTS, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request};
use crate::veth::{differs, has_sysctl, sysctl};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "portmap",
    about: "a chained plugin that forwards ports of the host to the container, with nftables: \
            runtimeConfig.portMappings, snat, masqAll, conditionsV4, conditionsV6, backend.",
    add,
    del,
    check,
    gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// The plugin's configuration.
struct Settings {
    snat: bool,
    masquerade_all: bool,
    /// Those of each family that has some.
    conditions: Vec<Conditions>,
}

impl Settings {
    fn read(fields: Fields<'_>) -> Result<Settings, Refusal> {
        let backend = fields.string("backend")?;
        if let (Some(name), Some(value)) = (backend, fields.get("backend"))
            && !["nftables", "iptables"].contains(&name)
        {
            return Err(unsupported("backend", value));
        }
        let mut conditions = Vec::new();
        for ipv4 in [true, false] {
            conditions.extend(Conditions::read(fields, ipv4, backend)?);
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
            conditions,
        })
    }
}

fn add(request: &Request) -> Outcome {
    let settings = Settings::read(request.fields())?;
    let mappings = Mapping::read_all(request)?;
    let previous = request.result_of_others()?;
    let answer = Answer::Result(Box::new(previous.clone()));
    let claims = Claim::all(request, previous, &mappings, &settings);
    if claims.is_empty() {
        if !mappings.is_empty() {
            request.log("prevResult lists no address of the container that a port could be forwarded to");
        }
        return Ok(answer);
    }
    let claims = match table::install(&request.attachment, note_interface(claims)?, &settings.conditions) {
        Ok(claims) => claims,
        Err(InstallError::Exists) => {
            return Err(Refusal::new(EXISTS, "the attachment has forwarded ports already: run DEL first"));
        }
        Err(InstallError::Netlink(error)) => return Err(error.into()),
    };
    if let Err(error) = open(&table::interfaces(&claims)) {
        if let Err(error) = remove(request) {
            request.log(format_args!("undoing the ADD: {error}"));
        }
        return Err(error);
    }
    for claim in claims.iter().filter(|claim| claim.waiting) {
        request.log(format_args!("{claim} waits: another attachment has the port"));
    }
    if let Err(error) = tracking::forget_earlier(&claims, &settings.conditions) {
        request.log(format_args!("stale UDP flows may remain: {error}"));
    }
    Ok(answer)
}

/// The setting that lets packets from 127.0.0.1 out by an interface, or by all.
fn setting(interface: &str) -> String {
    format!("ipv4/conf/{interface}/route_localnet")
}

/// Notes in claims of localhost which interface leads to the container, unless packets from 127.0.0.1 are let out by it
/// already, whoever wanted that.
fn note_interface(mut claims: Vec<Claim>) -> Result<Vec<Claim>, Refusal> {
    let Some(container) =
        claims.iter().find(|claim| claim.masquerading.localhost).map(|claim| claim.container)
    else {
        return Ok(claims);
    };
    let mut route = Socket::route()?;
    let way = route.way(container)?.filter(|way| !way.is_local);
    let Some(interface) = way.and_then(|way| NonZeroU32::new(way.link)) else { return Ok(claims) };
    let Some(link) = route.link_at(interface.get())? else { return Ok(claims) };
    // Asked before and after, as another ADD or DEL may open or shut it between.
    let was_opened = table::is_opened(interface)?;
    let is_open = has_sysctl(&setting("all"), "1") || has_sysctl(&setting(&link.name), "1");
    if was_opened || !is_open || table::is_opened(interface)? {
        for claim in claims.iter_mut().filter(|claim| claim.masquerading.localhost) {
            claim.interface = Some(interface);
        }
    }
    Ok(claims)
}

/// Sets the setting of an interface, if there still is one.
fn set(interface: NonZeroU32, value: &str) -> Result<(), Refusal> {
    match Socket::route()?.link_at(interface.get())? {
        Some(link) => sysctl(&setting(&link.name), value),
        None => Ok(()),
    }
}

/// Lets packets from 127.0.0.1 out by interfaces. A rule of the table keeps out what that would let in.
fn open(interfaces: &HashSet<NonZeroU32>) -> Result<(), Refusal> {
    interfaces.iter().try_for_each(|interface| set(*interface, "1"))
}

/// Takes that back for an interface that nobody needs any more. Whoever needs it anew while this happens notes that
/// first and opens it then, so it is open in the end.
fn shut_unused(interface: NonZeroU32) -> Result<(), Refusal> {
    if table::forget_unused(interface, || set(interface, "0"))? {
        set(interface, "1")?;
    }
    Ok(())
}

/// Takes back what removed claims needed, and the table with the last claim.
fn clean_up(removed: &[Claim]) -> Result<(), Refusal> {
    table::interfaces(removed).into_iter().try_for_each(shut_unused)?;
    let is_idle = table::LEDGER.is_idle()?;
    if !is_idle {
        // Those that a DEL left which was killed: this may be its repetition.
        let left = if removed.is_empty() { gate::all()? } else { Vec::new() };
        for gate in table::gates(removed).into_iter().chain(left) {
            gate::remove_unused(gate)?;
        }
    }
    if is_idle || removed.is_empty() {
        // What a DEL that was killed left open: this may be its repetition.
        for interface in table::opened()? {
            if !table::is_used(interface)? {
                shut_unused(interface)?;
            }
        }
    }
    if is_idle {
        table::LEDGER.remove_if_idle()?;
    }
    Ok(())
}

/// Removes what the attachment has.
fn remove(request: &Request) -> Result<(), Refusal> {
    let removed = table::remove(&request.attachment)?;
    clean_up(&removed)?;
    if let Err(error) = tracking::forget_own(&removed) {
        request.log(format_args!("stale UDP flows may remain: {error}"));
    }
    Ok(())
}

fn del(request: &Request) -> Outcome {
    remove(request).map(|()| Answer::Silence)
}

fn check(request: &Request) -> Outcome {
    let settings = Settings::read(request.fields())?;
    let mappings = Mapping::read_all(request)?;
    let previous = request.required_prev_result()?;
    let claims = Claim::all(request, previous, &mappings, &settings);
    if claims.is_empty() {
        return Ok(Answer::Silence);
    }
    match table::missing(&request.attachment, &claims, &settings.conditions)? {
        Some(problem) => Err(Refusal::new(DIFFERS, problem)),
        None => check_localhost(&claims).map(|()| Answer::Silence),
    }
}

/// Claims of localhost need packets from 127.0.0.1 to be let out.
fn check_localhost(claims: &[Claim]) -> Result<(), Refusal> {
    let mut route = Socket::route()?;
    for claim in claims.iter().filter(|claim| claim.masquerading.localhost) {
        let Some(way) = route.way(claim.container)?.filter(|way| !way.is_local) else { continue };
        let Some(link) = route.link_at(way.link)? else { continue };
        if !["all", &link.name].into_iter().any(|interface| has_sysctl(&setting(interface), "1")) {
            return differs(format!("{claim} does not work from localhost: {} is 0", setting(&link.name)));
        }
    }
    Ok(())
}

fn gc(request: &Request) -> Outcome {
    clean_up(&table::collect(request.stale_labels()?)?)?;
    Ok(Answer::Silence)
}

fn status(request: &Request) -> Outcome {
    Settings::read(request.fields())?;
    Socket::netfilter().map_err(|error| Refusal::new(UNAVAILABLE, error.to_string()))?;
    Ok(Answer::Silence)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    let settings = Settings::read(request.fields())?;
    let mappings = Mapping::read_all(request)?;
    if let Some(previous) = &request.prev_result {
        for claim in Claim::all(request, previous, &mappings, &settings) {
            assert_eq!(Claim::from_note(&claim.note()).map(|read| read.note()), Some(claim.note()));
        }
    }
    crate::fuzzing::common(request)
}

/// Reads what the kernel keeps of a claim, and a tracked flow.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_stored(bytes: &[u8]) {
    if let Some(claim) = Claim::from_note(bytes) {
        let _ = claim.to_string();
        assert_eq!(Claim::from_note(&claim.note()).map(|again| again.note()), Some(claim.note()));
    }
    if let Some(gate) = gate::Gate::from_note(bytes) {
        assert_eq!(gate::Gate::from_note(&gate.note()), Some(gate));
    }
    tracking::read_any(bytes);
}
