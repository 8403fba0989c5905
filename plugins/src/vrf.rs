//! `vrf`: puts the container's interface into a VRF of the container, which it makes if there is none.
//!
//! All of it is in the container's namespace. A VRF that this plugin made bears its mark, and goes with the last interface.

use cni_spec::parameters::interface_name;
use cni_spec::result::Interface;

use crate::fields::{Fields, invalid};
use crate::inside::alone;
use crate::netlink::link::{self, Link};
use crate::netlink::vrf::{new_vrf, set_master};
use crate::netlink::{Socket, Step, address};
use crate::refusal::{DIFFERS, EXISTS, KERNEL, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request};
use crate::veth::listed;

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "vrf",
    about: "a chained plugin that puts the container's interface into a VRF of the container: vrfname, table. It makes \
            the VRF if there is none.",
    add,
    del,
    check,
    gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// The alias of a VRF that this plugin made.
const MARK: &str = "cni-reference-vrf";
/// The tables that no VRF gets by itself: unspecified, compatibility, default, main and local.
const RESERVED: [u32; 5] = [0, 252, 253, 254, 255];

/// The plugin's configuration.
struct Settings<'a> {
    name: &'a str,
    /// The number of the VRF's table, if it matters.
    table: Option<u32>,
}

impl<'a> Settings<'a> {
    fn read(fields: Fields<'a>) -> Result<Settings<'a>, Refusal> {
        let name = fields.string("vrfname")?.unwrap_or_default();
        if name.is_empty() {
            return Err(invalid("vrfname", "missing: name the VRF"));
        }
        interface_name(name).map_err(|error| invalid("vrfname", error.to_string()))?;
        if name.contains('%') {
            return Err(invalid("vrfname", format!("{name:?} holds '%', which the kernel replaces")));
        }
        Ok(Settings { name, table: fields.u32("table")?.filter(|table| *table != 0) })
    }

    fn of(request: &'a Request) -> Result<Settings<'a>, Refusal> {
        let settings = Settings::read(request.fields())?;
        if request.operation.is_attachment() && settings.name == request.attachment.ifname {
            return Err(invalid("vrfname", "the interface (CNI_IFNAME) has the same name: choose another"));
        }
        Ok(settings)
    }
}

/// A VRF that is there.
struct Found {
    link: Link,
    table: u32,
}

/// The VRF of a name; another link with that name is an error.
fn find(socket: &mut Socket, name: &str) -> Result<Option<Found>, Refusal> {
    let Some(link) = socket.link(name)? else { return Ok(None) };
    let vrf = socket.vrfs()?.into_iter().find(|vrf| vrf.index == link.index);
    match vrf {
        Some(vrf) => Ok(Some(Found { link, table: vrf.table })),
        None => {
            let problem =
                format!("the container has an interface {name} that is no VRF (vrfname): choose another");
            Err(Refusal::new(EXISTS, problem))
        }
    }
}

/// Makes the VRF with its mark. Both at once, so that whoever kills the plugin cannot part them.
fn create(socket: &mut Socket, settings: &Settings<'_>) -> Result<Found, Refusal> {
    let table = match settings.table {
        Some(table) => table,
        None => {
            let routes = socket.saved_routes()?.into_iter().map(|route| route.table());
            let taken: Vec<u32> =
                socket.vrfs()?.into_iter().map(|vrf| vrf.table).chain(routes).chain(RESERVED).collect();
            free_table(&taken)
        }
    };
    socket.apply(vec![new_vrf(settings.name, table), link::set_alias(settings.name, MARK)])?;
    find(socket, settings.name)?
        .ok_or_else(|| Refusal::new(KERNEL, format!("the VRF {} has vanished", settings.name)))
}

/// The lowest number that is not taken.
fn free_table(taken: &[u32]) -> u32 {
    (1..=u32::MAX).find(|table| !taken.contains(table)).unwrap_or(u32::MAX)
}

/// Makes the interface a port of a VRF, or of none. The kernel sets it down and up for that, so the IPv6 addresses and the
/// routes that this loses are put back in the same breath, the routes into the table that holds for the interface then.
fn carry(
    socket: &mut Socket,
    link: &Link,
    master: Option<u32>,
    (from, to): (u32, u32),
) -> Result<(), Refusal> {
    let addresses = socket.addresses(link.index)?.into_iter();
    let lost = addresses.filter(|one| one.address.addr().is_ipv6() && one.scope == libc::RT_SCOPE_UNIVERSE);
    let mut steps: Vec<Step> = vec![set_master(&link.name, link.index, master)];
    for one in lost.filter(|one| one.permanent) {
        steps.push(address::add(one.address, link.index, one.prefix_route).or(&[libc::EEXIST]));
    }
    for route in socket.saved_routes()? {
        // The kernel's own follow from the addresses.
        if route.link() == Some(link.index)
            && route.table() == from
            && route.protocol() != libc::RTPROT_KERNEL
        {
            steps.push(route.in_table(to).add());
        }
    }
    socket.apply(steps)?;
    Ok(())
}

const MAIN: u32 = libc::RT_TABLE_MAIN as u32;

fn add(request: &Request) -> Outcome {
    let settings = Settings::of(request)?;
    let previous = request.result_of_others()?;
    let vrf = alone(request.netns()?, |socket| enter(request, &settings, socket))?;
    let mut result = previous.clone();
    let is_listed = |one: &Interface| one.name == vrf.name && one.sandbox == request.sandbox();
    if !result.interfaces.iter().any(is_listed) {
        result.interfaces.push(listed(&vrf, request.sandbox()));
    }
    Ok(Answer::Result(Box::new(result)))
}

/// Puts the interface into the VRF, and answers that.
fn enter(request: &Request, settings: &Settings<'_>, socket: &mut Socket) -> Result<Link, Refusal> {
    let ifname = &request.attachment.ifname;
    let link = socket.link(ifname)?.ok_or_else(|| {
        let problem = format!(
            "the container has no interface {ifname} (CNI_IFNAME): put a plugin in front that makes it"
        );
        Refusal::new(KERNEL, problem)
    })?;
    if let Some(master) = link.master {
        let name = socket.link_at(master)?.map_or_else(|| master.to_string(), |master| master.name);
        return Err(Refusal::new(EXISTS, format!("{ifname} belongs to {name} already: run DEL first")));
    }
    let found = find(socket, settings.name)?;
    if let (Some(found), Some(table)) = (&found, settings.table)
        && found.table != table
    {
        let problem = format!("the VRF {} is there with the table {}", settings.name, found.table);
        return Err(invalid("table", format!("{problem}: use that, or another vrfname")));
    }
    let vrf = match found {
        Some(vrf) => vrf,
        None => create(socket, settings)?,
    };
    let entered = carry(socket, &link, Some(vrf.link.index), (MAIN, vrf.table));
    if entered.is_err()
        && let Err(error) = leave(socket, ifname, &vrf)
    {
        request.log(format_args!("undoing the ADD: {error}"));
    }
    entered.map(|()| vrf.link)
}

/// Takes the interface out of the VRF, and removes the VRF if this plugin made it and nothing is in it.
fn leave(socket: &mut Socket, ifname: &str, vrf: &Found) -> Result<(), Refusal> {
    let link = socket.link(ifname)?.filter(|link| link.master == Some(vrf.link.index));
    let left = link.map_or(Ok(()), |link| carry(socket, &link, None, (vrf.table, MAIN)));
    let ports = socket.links(Some(vrf.link.index))?;
    if vrf.link.alias == MARK && !ports.iter().any(|port| port.master == Some(vrf.link.index)) {
        socket.delete_link(&vrf.link.name)?;
    }
    left
}

fn del(request: &Request) -> Outcome {
    // A configuration that ADD refused had nothing done.
    if let (Ok(settings), Some(netns)) = (Settings::of(request), request.netns_if_any()) {
        alone(&netns, |socket| match find(socket, settings.name) {
            Ok(Some(vrf)) => leave(socket, &request.attachment.ifname, &vrf),
            Ok(None) => Ok(()),
            Err(error) if error.code == EXISTS => Ok(()),
            Err(error) => Err(error),
        })?;
    }
    Ok(Answer::Silence)
}

fn check(request: &Request) -> Outcome {
    let settings = Settings::of(request)?;
    request.required_prev_result()?;
    let ifname = &request.attachment.ifname;
    let problem = alone(request.netns()?, |socket| {
        let Some(vrf) = find(socket, settings.name)? else {
            return Ok(Some(format!("the container has no VRF {}", settings.name)));
        };
        if settings.table.is_some_and(|table| table != vrf.table) {
            return Ok(Some(format!("the VRF {} has the table {}", settings.name, vrf.table)));
        }
        if !vrf.link.up {
            return Ok(Some(format!("the VRF {} is down", settings.name)));
        }
        // The kernel makes the rules with the first VRF of a namespace, and only then.
        if !socket.rules()?.iter().any(|rule| rule.to_vrf) {
            return Ok(Some(
                "the container has no rule that leads to the tables of VRFs (l3mdev)".to_owned(),
            ));
        }
        Ok(match socket.link(ifname)? {
            None => Some(format!("the container has no interface {ifname}")),
            Some(link) if link.master == Some(vrf.link.index) => None,
            Some(_) => Some(format!("{ifname} does not belong to the VRF {}", settings.name)),
        })
    })?;
    problem.map_or(Ok(Answer::Silence), |problem| Err(Refusal::new(DIFFERS, problem)))
}

/// All that there is goes with the container's namespace.
fn gc(request: &Request) -> Outcome {
    request.valid_attachments()?;
    Ok(Answer::Silence)
}

fn status(request: &Request) -> Outcome {
    Settings::of(request)?;
    Ok(Answer::Silence)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    Settings::of(request)?;
    crate::fuzzing::common(request)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_that_are_taken_are_passed_over() {
        assert_eq!(free_table(&RESERVED), 1);
        assert_eq!(free_table(&[1, 3, 2]), 4);
        let taken: Vec<u32> = (0..=256).collect();
        assert_eq!(free_table(&taken), 257);
    }

    #[test]
    fn the_name_has_to_be_one_of_a_link() {
        let read = |config: serde_json::Value| {
            let config = config.as_object().cloned().unwrap_or_default();
            Settings::read(Fields::root(&config)).map(|settings| (settings.name.to_owned(), settings.table))
        };
        assert_eq!(read(json!({"vrfname": "blue", "table": 7})).unwrap(), ("blue".to_owned(), Some(7)));
        assert_eq!(read(json!({"vrfname": "blue", "table": 0})).unwrap().1, None);
        for config in [
            json!({}),
            json!({"vrfname": ""}),
            json!({"vrfname": "a b"}),
            json!({"vrfname": "blue%d"}),
            json!({"vrfname": "sixteen-letters!"}),
            json!({"vrfname": "blue", "table": -1}),
            json!({"vrfname": "blue", "table": 4_294_967_296_u64}),
        ] {
            assert!(read(config.clone()).is_err(), "{config}");
        }
    }
}
