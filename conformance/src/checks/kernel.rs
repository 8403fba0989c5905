//! An ADD, what its result says, and what the kernel holds before and after it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use cni_spec::result::{AddResult, Interface, Ip};
use ipnet::IpNet;
use serde_json::Value;

use super::case::{Attachment, Case, Stop};
use super::observation;
use crate::arena::Place;
use crate::arena::snapshot::{Link, NamespaceState, Snapshot};

/// A successful ADD with the state around it.
pub(super) struct Added {
    /// What was attached; holds the result as a document too.
    pub(super) attachment: Attachment,
    /// The state just before ADD.
    pub(super) before: Arc<Snapshot>,
    /// The state just after ADD.
    pub(super) after: Arc<Snapshot>,
    /// What ADD printed.
    pub(super) result: AddResult,
}

/// The ADD that cases which do nothing but look share.
///
/// # Errors
/// As [`added`].
pub(super) fn observed(case: &mut Case<'_>) -> Result<Added, Stop> {
    let seen = observation::observe(case)?;
    case.require_result(&seen.answer)?;
    let result = read(case, seen.attachment.result.as_ref())?;
    let (before, after) = (Arc::clone(&seen.before), Arc::clone(&seen.after));
    Ok(Added { attachment: seen.attachment.clone(), before, after, result })
}

/// Attaches a fresh container.
///
/// # Errors
/// Skips when ADD fails or prints what is no result; `add.succeeds` and `add.result-schema` report that.
pub(super) fn added(case: &mut Case<'_>) -> Result<Added, Stop> {
    let attachment = case.attachment()?;
    add(case, attachment)
}

/// As [`added`], for an attachment that is ready.
///
/// # Errors
/// As [`added`].
pub(super) fn add(case: &mut Case<'_>, mut attachment: Attachment) -> Result<Added, Stop> {
    let before = Arc::new(case.snapshot()?);
    case.add(&mut attachment)?;
    let after = Arc::new(case.snapshot()?);
    let result = read(case, attachment.result.as_ref())?;
    Ok(Added { attachment, before, after, result })
}

/// Reads what ADD printed.
///
/// # Errors
/// Skips when it is no result.
pub(crate) fn read(case: &Case<'_>, document: Option<&Value>) -> Result<AddResult, Stop> {
    let document = document.unwrap_or(&Value::Null);
    AddResult::parse(document, case.version)
        .map_err(|error| Stop::unmet(format!("the result of ADD cannot be read: {error}")))
}

impl Added {
    /// What the container held before ADD.
    pub(super) fn container_before(&self) -> Result<&NamespaceState, Stop> {
        state(&self.before, &self.attachment)
    }

    /// What the container holds after ADD.
    pub(super) fn container(&self) -> Result<&NamespaceState, Stop> {
        state(&self.after, &self.attachment)
    }

    /// Where a listed interface is: the host, or this container. Nothing for another sandbox.
    pub(super) fn place_of(&self, interface: &Interface) -> Option<Place> {
        match interface.sandbox.as_deref() {
            None | Some("") => Some(Place::Host),
            Some(sandbox) if same_path(sandbox, &self.attachment.netns) => Some(self.attachment.place()),
            Some(_) => None,
        }
    }

    /// The link that a listed interface names, where it says that it is.
    pub(super) fn link_of(&self, interface: &Interface) -> Option<&Link> {
        self.after.place(&self.place_of(interface)?)?.link(&interface.name)
    }

    /// The name of the container's interface that an address belongs to: the one that it names, or else the one that
    /// ADD was asked for. Nothing for an address outside the container.
    pub(super) fn container_interface(&self, case: &Case<'_>, ip: &Ip) -> Option<String> {
        if ip.index().is_none() {
            return Some(case.interface(&self.attachment));
        }
        let interface = self.result.interface_of(ip)?;
        (self.place_of(interface)? == self.attachment.place()).then(|| interface.name.clone())
    }
}

/// What the attachment's container holds.
///
/// # Errors
/// When the arena does not know the container: an error of cnitest.
pub(crate) fn state<'s>(snapshot: &'s Snapshot, attachment: &Attachment) -> Result<&'s NamespaceState, Stop> {
    snapshot.place(&attachment.place()).ok_or_else(|| {
        Stop::Undecided(format!("the arena lost the namespace {}", attachment.netns.display()))
    })
}

/// Whether two texts name the same namespace; `/var/run` is the old name of `/run`.
pub(super) fn same_path(text: &str, path: &Path) -> bool {
    let strip = |text: &str| {
        text.strip_prefix("/var/run/").map_or_else(|| text.to_owned(), |rest| format!("/run/{rest}"))
    };
    strip(text) == strip(&path.display().to_string())
}

/// The addresses of a link, with prefix lengths.
pub(super) fn addresses(state: &NamespaceState, link: &str) -> BTreeSet<IpNet> {
    state.addresses_of(link).filter_map(|address| IpNet::new(address.address, address.prefix).ok()).collect()
}

/// The addresses of a link that somebody gave it for talking to others: no link-local or loopback ones.
pub(crate) fn given_addresses(state: &NamespaceState, link: &str) -> BTreeSet<IpNet> {
    let given =
        state.addresses_of(link).filter(|address| address.scope == "global" && !address.made_by_kernel);
    given.filter_map(|address| IpNet::new(address.address, address.prefix).ok()).collect()
}

/// The addresses of a result, without prefix lengths.
pub(super) fn ips(result: &AddResult) -> BTreeSet<IpAddr> {
    result.ips.iter().map(|ip| ip.address.addr()).collect()
}

/// `10.1.0.5/16, fd00::5/64`, or `none`.
pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

/// Names of the links of a state, without the loopback device.
pub(super) fn links(state: &NamespaceState) -> BTreeSet<String> {
    state.links.iter().filter(|link| !link.loopback).map(|link| link.name.clone()).collect()
}

/// Whether an IPAM plugin chooses the addresses of each container: not so where there is none, where the configuration
/// states the very addresses that were given, and on an interface that has the same address in every namespace.
pub(super) fn addresses_are_chosen(case: &Case<'_>, result: &AddResult) -> bool {
    let text = Value::Object(case.configuration.plugin.clone()).to_string();
    let stated = |ip: &Ip| {
        text.contains(&format!("\"{}/", ip.address.addr()))
            || text.contains(&format!("\"{}\"", ip.address.addr()))
    };
    !has_fixed_interface(case) && !result.ips.is_empty() && !result.ips.iter().all(stated)
}

/// Whether the plugin configures a fixed interface (such as `lo`) whatever CNI_IFNAME says.
pub(crate) fn has_fixed_interface(case: &Case<'_>) -> bool {
    case.target.is_some_and(|target| target.fixed_interface.is_some())
}

/// Skips plugins that make no interface of the name that CNI_IFNAME gives.
///
/// # Errors
/// The reason.
pub(super) fn needs_own_interface(case: &Case<'_>) -> Result<(), Stop> {
    if has_fixed_interface(case) || !case.kind().makes_interface() {
        return Err(Stop::skip("the plugin makes no interface called CNI_IFNAME".to_owned()));
    }
    Ok(())
}
