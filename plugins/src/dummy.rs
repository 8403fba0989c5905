//! `dummy`: an interface that leads nowhere and holds addresses.
//!
//! Keys: `ipam` (required).
//!
//! ```json
//! { "type": "dummy", "ipam": { "type": "host-local", "subnet": "10.1.0.0/16" } }
//! ```

use crate::contained::{self, Source};
use crate::netlink::link::Kind;
use crate::skel::{Outcome, Plugin, Request};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "dummy",
    about: "an interface that leads nowhere and holds addresses: ipam (required).",
    add,
    del: contained::del,
    check,
    gc: contained::gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

fn add(request: &Request) -> Outcome {
    let delegate = contained::required_delegate(request, PLUGIN.name)?;
    contained::add(
        request,
        Source::Ipam(&delegate),
        |container, name| contained::create(request, container, name, None, Kind::Dummy, None),
        |_| Ok(()),
    )
}

fn check(request: &Request) -> Outcome {
    contained::required_delegate(request, PLUGIN.name)?;
    contained::check(request, "dummy", |_| None)
}

fn status(request: &Request) -> Outcome {
    contained::required_delegate(request, PLUGIN.name)?;
    contained::status(request)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), crate::refusal::Refusal> {
    contained::required_delegate(request, PLUGIN.name)?;
    request.dns()?;
    crate::fuzzing::common(request)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_required() {
        for config in [json!({}), json!({ "ipam": {} }), json!({ "ipam": { "type": "" } })] {
            let refused = add(&Request::sample(&config));
            assert!(refused.is_err_and(|error| error.msg.starts_with("ipam.type: missing")), "{config}");
        }
    }
}
