//! `vlan`: an interface that is in a VLAN of a link of the host.
//!
//! Keys: `master` (required), `vlanId`, `mtu`, `linkInContainer`, `ipam` (required). A link has one interface in a VLAN, whatever
//! the namespace.
//!
//! ```json
//! { "type": "vlan", "master": "eth0", "vlanId": 5, "ipam": { "type": "host-local", "subnet": "10.1.0.0/16" } }
//! ```

use crate::contained::{self, Base, Source, unlike};
use crate::fields::invalid;
use crate::netlink::link::{Kind, VLAN_ID};
use crate::refusal::Refusal;
use crate::skel::{Outcome, Plugin, Request};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "vlan",
    about: "an interface in a VLAN of a link of the host: master (required), vlanId, mtu, linkInContainer, ipam (required).",
    add,
    del: contained::del,
    check,
    gc: contained::gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// The highest number of a VLAN; 4095 is reserved.
const MAX: u16 = 4094;

struct Settings<'a> {
    base: Base<'a>,
    id: u16,
}

impl Settings<'_> {
    fn read(request: &Request) -> Result<Settings<'_>, Refusal> {
        let fields = request.fields();
        let base = Base::read(fields)?;
        if base.master.is_none() {
            return Err(invalid("master", "missing: name the link whose VLAN it is"));
        }
        let asked = fields.u32("vlanId")?.unwrap_or(0);
        let id = u16::try_from(asked)
            .ok()
            .filter(|id| *id <= MAX)
            .ok_or_else(|| invalid("vlanId", format!("found {asked}, use a number from 0 to {MAX}")))?;
        Ok(Settings { base, id })
    }
}

fn add(request: &Request) -> Outcome {
    let Settings { base, id } = Settings::read(request)?;
    let delegate = contained::required_delegate(request, PLUGIN.name)?;
    contained::add(
        request,
        Source::Ipam(&delegate),
        |container, name| contained::create(request, container, name, Some(base), Kind::Vlan { id }, None),
        |_| Ok(()),
    )
}

fn check(request: &Request) -> Outcome {
    let Settings { base, id } = Settings::read(request)?;
    request.required_prev_result()?;
    base.check(request)?;
    contained::check(request, "vlan", |link| {
        unlike("VLAN", u32::from(id), link.number(VLAN_ID))
            .or_else(|| base.mtu.and_then(|mtu| unlike("MTU", mtu, Some(link.mtu))))
    })
}

fn status(request: &Request) -> Outcome {
    contained::required_delegate(request, PLUGIN.name)?;
    Settings::read(request)?.base.status()?;
    contained::status(request)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    Settings::read(request)?;
    contained::required_delegate(request, PLUGIN.name)?;
    request.dns()?;
    crate::fuzzing::common(request)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_number_has_bounds() {
        for (value, id) in
            [(json!(0), Some(0)), (json!(4094), Some(4094)), (json!(4095), None), (json!(-1), None)]
        {
            let request = Request::sample(&json!({ "master": "eth0", "vlanId": value }));
            assert_eq!(Settings::read(&request).ok().map(|settings| settings.id), id, "{value}");
        }
        assert_eq!(Settings::read(&Request::sample(&json!({ "master": "eth0" }))).expect("0").id, 0);
    }

    #[test]
    fn a_master_is_required() {
        for config in [json!({}), json!({ "master": "" })] {
            let request = Request::sample(&config);
            assert!(Settings::read(&request).is_err_and(|error| error.msg.starts_with("master: missing")));
        }
    }
}
