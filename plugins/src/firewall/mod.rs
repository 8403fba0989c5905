//! `firewall`: lets the container's traffic through the host, and keeps bridges apart if asked to, with nftables.
//!
//! Everything stands in a table of this plugin, see [`table`]; DEL needs nothing but the attachment's name.

mod table;

use cni_spec::error::UNAVAILABLE;
use cni_spec::result::AddResult;

use self::table::{Guard, Policy, Share};
use crate::fields::{Fields, invalid, unsupported};
use crate::netlink::Socket;
use crate::refusal::{DIFFERS, EXISTS, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "firewall",
    about: "a chained plugin that lets the container's traffic through the host, and keeps bridges apart, with \
            nftables: backend, ingressPolicy.",
    add,
    del,
    check,
    gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// `ingressPolicy`; `None` for `open`.
fn read_policy(fields: Fields<'_>) -> Result<Option<Policy>, Refusal> {
    if let (Some(backend), Some(value)) = (fields.string("backend")?, fields.get("backend"))
        && !["", "nftables", "iptables"].contains(&backend)
    {
        return Err(unsupported("backend", value));
    }
    for key in ["iptablesAdminChainName", "firewalldZone"] {
        if let (Some(1..), Some(value)) = (fields.string(key)?.map(str::len), fields.get(key)) {
            return Err(unsupported(key, value));
        }
    }
    match fields.string("ingressPolicy")?.unwrap_or_default() {
        "" | "open" => Ok(None),
        "same-bridge" => Ok(Some(Policy::SameBridge)),
        "isolated" => Ok(Some(Policy::Isolated)),
        other => {
            let problem = format!("found {other:?}, use \"open\", \"same-bridge\" or \"isolated\"");
            Err(invalid("ingressPolicy", problem))
        }
    }
}

/// What the attachment is to have.
fn share(result: &AddResult, policy: Option<Policy>) -> Result<Share, Refusal> {
    let guard = match policy {
        None => None,
        Some(policy) => {
            // As the bridge plugin lists it: the bridge comes first, on the host.
            let first =
                result.interfaces.first().filter(|one| one.sandbox.as_deref().unwrap_or_default().is_empty());
            let bridge = first.map(|interface| interface.name.clone()).ok_or_else(|| {
                let problem = "prevResult lists no bridge first: put the plugin behind bridge";
                invalid("ingressPolicy", problem)
            })?;
            cni_spec::parameters::interface_name(&bridge)
                .map_err(|error| invalid("prevResult.interfaces[0].name", error.to_string()))?;
            Some(Guard { bridge, policy })
        }
    };
    let mut addresses = Vec::new();
    for ip in &result.ips {
        let address = ip.address.addr();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(Share { guard, addresses })
}

fn add(request: &Request) -> Outcome {
    let policy = read_policy(request.fields())?;
    let previous = request.result_of_others()?;
    match table::install(&request.attachment, &share(previous, policy)?) {
        Ok(()) => Ok(Answer::Result(Box::new(previous.clone()))),
        Err(error) if error.is(libc::EEXIST) => {
            Err(Refusal::new(EXISTS, "the attachment is in the firewall already: run DEL first"))
        }
        Err(error) => Err(error.into()),
    }
}

fn del(request: &Request) -> Outcome {
    table::remove(request.attachment.identity(), &request.attachment.label())?;
    Ok(Answer::Silence)
}

fn check(request: &Request) -> Outcome {
    let policy = read_policy(request.fields())?;
    // Which addresses there were is noted: later plugins may have added some.
    let share = share(request.required_prev_result()?, policy)?;
    match table::missing(&request.attachment, share.guard.as_ref())? {
        Some(problem) => Err(Refusal::new(DIFFERS, problem)),
        None => Ok(Answer::Silence),
    }
}

fn gc(request: &Request) -> Outcome {
    table::collect(request.stale_labels()?)?;
    Ok(Answer::Silence)
}

fn status(request: &Request) -> Outcome {
    read_policy(request.fields())?;
    Socket::netfilter().map_err(|error| Refusal::new(UNAVAILABLE, error.to_string()))?;
    Ok(Answer::Silence)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    let policy = read_policy(request.fields())?;
    if let Some(previous) = &request.prev_result {
        share(previous, policy)?;
    }
    crate::fuzzing::common(request)
}
