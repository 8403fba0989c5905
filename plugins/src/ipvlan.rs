//! `ipvlan`: an interface that shares the hardware address of a link of the host.
//!
//! Keys: `master`, `mode`, `mtu`, `linkInContainer`, `ipam`. Without `ipam` the plugin stands behind one that asked for addresses
//! and makes them those of its interface; without `master` the one interface of that plugin is the master.
//!
//! ```json
//! { "type": "ipvlan", "master": "eth0", "mode": "l3", "ipam": { "type": "host-local", "subnet": "10.1.0.0/16" } }
//! ```

use cni_spec::result::AddResult;

use crate::contained::{self, Base, Source, unlike};
use crate::delegate::Delegate;
use crate::fields::invalid;
use crate::netlink::link::{IPVLAN_MODE, Kind};
use crate::refusal::Refusal;
use crate::skel::{Outcome, Plugin, Request};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "ipvlan",
    about: "an interface that shares the hardware address of a link of the host: master, mode, mtu, linkInContainer, ipam; \
            chained without ipam, it takes the addresses of prevResult.",
    add,
    del: contained::del,
    check,
    gc: contained::gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// The names of the modes, with `IPVLAN_MODE_...`.
const MODES: [(&str, u16); 3] = [("l2", 0), ("l3", 1), ("l3s", 2)];

fn mode(request: &Request) -> Result<u16, Refusal> {
    let name = request.fields().string("mode")?.filter(|name| !name.is_empty()).unwrap_or(MODES[0].0);
    MODES.into_iter().find(|(known, _)| *known == name).map(|(_, mode)| mode).ok_or_else(|| {
        let known = MODES.map(|(known, _)| known).join(", ");
        invalid("mode", format!("found {name:?}, use one of {known}"))
    })
}

/// `master`, `mtu` and `linkInContainer`; behind another plugin the master may be that one's interface.
fn base<'a>(request: &'a Request, previous: Option<&'a AddResult>) -> Result<Base<'a>, Refusal> {
    let base = Base::read(request.fields())?;
    let Some(previous) = previous.filter(|_| base.master.is_none()) else { return Ok(base) };
    match &previous.interfaces[..] {
        [only] if !only.name.is_empty() => Ok(Base { master: Some(&only.name), ..base }),
        _ => Err(invalid("master", "missing, and prevResult lists not just one interface: name a link")),
    }
}

/// Where the addresses come from: IPAM, or where there is none an earlier plugin.
fn source<'a>(
    delegate: Option<&'a Delegate>,
    previous: Option<&'a AddResult>,
) -> Result<Source<'a>, Refusal> {
    match (delegate, previous.filter(|previous| !previous.ips.is_empty())) {
        (Some(delegate), _) => Ok(Source::Ipam(delegate)),
        (None, Some(previous)) => Ok(Source::Previous(previous)),
        (None, None) => {
            let problem =
                "missing, and there are no addresses of an earlier plugin (prevResult): name an IPAM plugin";
            Err(invalid("ipam.type", problem))
        }
    }
}

fn add(request: &Request) -> Outcome {
    let mode = mode(request)?;
    let previous = request.prev_result.as_ref();
    let base = base(request, previous)?;
    let delegate = Delegate::of(request)?;
    contained::add(
        request,
        source(delegate.as_ref(), previous)?,
        |container, name| {
            contained::create(request, container, name, Some(base), Kind::Ipvlan { mode }, None)
        },
        |_| Ok(()),
    )
}

fn check(request: &Request) -> Outcome {
    let mode = mode(request)?;
    request.required_prev_result()?;
    // prevResult lists the plugin's own interface too, so it tells no master.
    base(request, None)?.check(request)?;
    contained::check(request, "ipvlan", |link| {
        let name =
            |mode| MODES.into_iter().find(|(_, known)| *known == mode).map_or("unknown", |(name, _)| name);
        let found = link.number(IPVLAN_MODE).and_then(|mode| u16::try_from(mode).ok());
        unlike("mode", name(mode), found.map(name))
    })
}

fn status(request: &Request) -> Outcome {
    mode(request)?;
    let base = base(request, None)?;
    // Without IPAM, the plugin before this one makes the master.
    if base.master.is_some() || Delegate::of(request)?.is_some() {
        base.status()?;
    }
    contained::status(request)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    mode(request)?;
    let previous = request.prev_result.as_ref();
    base(request, previous)?;
    request.dns()?;
    if request.operation == cni_spec::Operation::Add {
        source(Delegate::of(request)?.as_ref(), previous)?;
    }
    crate::fuzzing::common(request)
}

#[cfg(test)]
mod tests {
    use cni_spec::Version;
    use serde_json::json;

    use super::*;

    fn previous(interfaces: &serde_json::Value, ips: &serde_json::Value) -> AddResult {
        let document = json!({ "cniVersion": "1.1.0", "interfaces": interfaces, "ips": ips });
        AddResult::parse(&document, Version::V1_1_0).expect("a result")
    }

    #[test]
    fn the_master_is_named_or_the_one_interface_of_the_plugin_before() {
        let one = previous(&json!([{ "name": "bond0" }]), &json!([]));
        let two = previous(&json!([{ "name": "bond0" }, { "name": "bond1" }]), &json!([]));
        let unnamed = Request::sample(&json!({ "type": "ipvlan" }));
        assert_eq!(base(&unnamed, Some(&one)).expect("chained").master, Some("bond0"));
        assert!(base(&unnamed, Some(&two)).is_err_and(|error| error.msg.starts_with("master: missing")));
        assert_eq!(base(&unnamed, None).expect("the default route's").master, None);
        let named = Request::sample(&json!({ "type": "ipvlan", "master": "eth1" }));
        assert_eq!(base(&named, Some(&two)).expect("named").master, Some("eth1"));
    }

    #[test]
    fn addresses_come_from_ipam_or_from_the_plugin_before() {
        let with = previous(&json!([{ "name": "bond0" }]), &json!([{ "address": "10.1.0.2/16" }]));
        let without = previous(&json!([{ "name": "bond0" }]), &json!([]));
        let request = Request::sample(&json!({ "type": "ipvlan", "ipam": { "type": "static" } }));
        let delegate = Delegate::of(&request).expect("a name");
        assert!(matches!(source(delegate.as_ref(), Some(&with)), Ok(Source::Ipam(_))));
        assert!(matches!(source(None, Some(&with)), Ok(Source::Previous(_))));
        for none in [None, Some(&without)] {
            assert!(source(None, none).is_err_and(|error| error.msg.starts_with("ipam.type: missing")));
        }
    }

    #[test]
    fn modes_have_names() {
        for (text, number) in
            [(json!(null), Some(0)), (json!(""), Some(0)), (json!("l3s"), Some(2)), (json!(2), None)]
        {
            let request = Request::sample(&json!({ "type": "ipvlan", "mode": text }));
            assert_eq!(mode(&request).ok(), number, "{text}");
        }
        let odd = Request::sample(&json!({ "mode": "L2" }));
        assert!(mode(&odd).is_err_and(|error| error.msg == "mode: found \"L2\", use one of l2, l3, l3s"));
    }
}
