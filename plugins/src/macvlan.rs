//! `macvlan`: an interface with a hardware address of its own on a link of the host.
//!
//! Keys: `master`, `mode`, `mtu`, `mac`, `bcqueuelen`, `linkInContainer`, `ipam`. Without `ipam` the interface has no addresses.
//!
//! ```json
//! { "type": "macvlan", "master": "eth0", "mode": "bridge", "ipam": { "type": "host-local", "subnet": "10.1.0.0/16" } }
//! ```

use crate::contained::{self, Base, Source, unlike};
use crate::delegate::Delegate;
use crate::fields::invalid;
use crate::netlink::link::{Kind, MACVLAN_MODE};
use crate::refusal::Refusal;
use crate::skel::{Outcome, Plugin, Request};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "macvlan",
    about: "an interface with a hardware address of its own on a link of the host: master, mode, mtu, mac, bcqueuelen, \
            linkInContainer, ipam; runtimeConfig.mac, args.cni.mac or the CNI_ARGS key MAC set the hardware address.",
    add,
    del: contained::del,
    check,
    gc: contained::gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// The names of the modes, with `MACVLAN_MODE_...`.
const MODES: [(&str, u32); 4] = [("bridge", 4), ("private", 1), ("vepa", 2), ("passthru", 8)];

struct Settings<'a> {
    base: Base<'a>,
    mode: u32,
    queue: Option<u32>,
}

impl Settings<'_> {
    fn read(request: &Request) -> Result<Settings<'_>, Refusal> {
        let fields = request.fields();
        let name = fields.string("mode")?.filter(|name| !name.is_empty()).unwrap_or(MODES[0].0);
        let (_, mode) = MODES.into_iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let known = MODES.map(|(known, _)| known).join(", ");
            invalid("mode", format!("found {name:?}, use one of {known}"))
        })?;
        Ok(Settings {
            base: Base::read(fields)?,
            mode,
            queue: fields.u32("bcqueuelen")?.filter(|length| *length > 0),
        })
    }
}

fn add(request: &Request) -> Outcome {
    let Settings { base, mode, queue } = Settings::read(request)?;
    let mac = contained::read_mac(request)?;
    let delegate = Delegate::of(request)?;
    contained::add(
        request,
        Source::of(delegate.as_ref()),
        |container, name| {
            contained::create(request, container, name, Some(base), Kind::Macvlan { mode, queue }, mac)
        },
        |_| Ok(()),
    )
}

fn check(request: &Request) -> Outcome {
    let settings = Settings::read(request)?;
    request.required_prev_result()?;
    settings.base.check(request)?;
    contained::check(request, "macvlan", |link| {
        let name =
            |mode| MODES.into_iter().find(|(_, known)| *known == mode).map_or("unknown", |(name, _)| name);
        unlike("mode", name(settings.mode), link.number(MACVLAN_MODE).map(name))
    })
}

fn status(request: &Request) -> Outcome {
    Settings::read(request)?.base.status()?;
    contained::read_mac(request)?;
    contained::status(request)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    Settings::read(request)?;
    contained::read_mac(request)?;
    request.dns()?;
    Delegate::of(request)?;
    crate::fuzzing::common(request)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_have_defaults() {
        let request = Request::sample(&json!({ "mode": "", "master": "", "mtu": 0, "bcqueuelen": 0 }));
        let settings = Settings::read(&request).expect("defaults");
        assert_eq!((settings.mode, settings.queue), (4, None));
        let Base { master, in_container, mtu } = settings.base;
        assert_eq!((master, in_container, mtu), (None, false, None));
    }

    #[test]
    fn settings_are_read() {
        let config = json!({
            "mode": "passthru", "master": "eth1", "mtu": 1400, "bcqueuelen": 5, "linkInContainer": true
        });
        let request = Request::sample(&config);
        let settings = Settings::read(&request).expect("settings");
        assert_eq!((settings.mode, settings.queue), (8, Some(5)));
        let Base { master, in_container, mtu } = settings.base;
        assert_eq!((master, in_container, mtu), (Some("eth1"), true, Some(1400)));
        for (config, place) in [(json!({ "mode": "Bridge" }), "mode: "), (json!({ "mtu": 67 }), "mtu: ")] {
            let request = Request::sample(&config);
            assert!(Settings::read(&request).is_err_and(|error| error.msg.starts_with(place)), "{config}");
        }
    }

    #[test]
    fn what_the_runtime_passes_wins() {
        let mac =
            |config| contained::read_mac(&Request::sample(&config)).map(|mac| mac.map(|m| m.to_string()));
        assert_eq!(mac(json!({ "mac": "" })).expect("none"), None);
        let own = json!({ "mac": "02:00:00:00:00:01" });
        assert_eq!(mac(own).expect("its own").as_deref(), Some("02:00:00:00:00:01"));
        let both = json!({ "mac": "02:00:00:00:00:01", "runtimeConfig": { "mac": "02:00:00:00:00:02" } });
        assert_eq!(mac(both).expect("the runtime's").as_deref(), Some("02:00:00:00:00:02"));
        assert!(
            mac(json!({ "mac": "01:00:5e:00:00:01" })).is_err_and(|error| error.msg.starts_with("mac: "))
        );
    }
}
