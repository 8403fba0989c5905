//! `static`: IPAM with the addresses that the configuration states.

use cni_spec::error::{INVALID_CONFIGURATION, INVALID_ENVIRONMENT};
use cni_spec::parameters::CniArgs;
use cni_spec::result::{AddResult, Dns, Ip};
use ipnet::IpNet;

use crate::fields::{Fields, invalid, requested};
use crate::refusal::{DIFFERS, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request, invalid_document};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "static",
    about: "IPAM with fixed addresses: ipam.addresses [{address, gateway}], ipam.routes, ipam.dns; runtimeConfig.ips, \
            args.cni.ips or the CNI_ARGS keys IP and GATEWAY take the place of the addresses.",
    add,
    del: nothing,
    check,
    gc: nothing,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

fn nothing(_: &Request) -> Outcome {
    Ok(Answer::Silence)
}

fn add(request: &Request) -> Outcome {
    Ok(Answer::Result(Box::new(determine(request)?)))
}

/// The result that the configuration states.
fn determine(request: &Request) -> Result<AddResult, Refusal> {
    let value = request.fields().get("ipam").ok_or_else(|| invalid("ipam", "missing: add the addresses"))?;
    let ipam = Fields::at("ipam", value)?;
    let mut ips = match request.passed("ips") {
        Some((place, value)) => {
            let asked = requested(&place, value)?;
            let prefixes = asked.iter().map(|ip| {
                ip.prefix.ok_or_else(|| {
                    invalid(&place, format!("{} needs a prefix length, such as /24", ip.address))
                })
            });
            prefixes.map(|prefix| prefix.map(Ip::new)).collect::<Result<Vec<Ip>, Refusal>>()?
        }
        None => from_args(&request.cni_args(&["IP", "GATEWAY"])?)?,
    };
    let configured = configured(ipam)?;
    if ips.is_empty() {
        ips = configured;
    } else {
        // A gateway stays the gateway of its subnet, whatever address of the subnet is asked for.
        for ip in ips.iter_mut().filter(|ip| ip.gateway.is_none()) {
            ip.gateway =
                configured.iter().filter_map(|other| other.gateway).find(|gw| ip.address.contains(gw));
        }
    }
    if ips.is_empty() {
        return Err(invalid("ipam.addresses", "no address: add at least one"));
    }
    one_per_family(request, &ips)?;
    let dns = match ipam.get("dns") {
        None => None,
        Some(value) => Some(Dns::parse(value).map_err(|error| invalid_document("ipam.dns", &error))?),
    };
    Ok(AddResult { ips, routes: ipam.routes("routes")?, dns, ..AddResult::default() })
}

/// Up to 0.2.0 a result has place for one address of each family only.
pub(crate) fn one_per_family(request: &Request, ips: &[Ip]) -> Result<(), Refusal> {
    let count = |v4: bool| ips.iter().filter(|ip| ip.address.addr().is_ipv4() == v4).count();
    if request.version < cni_spec::Version::V0_3_0 && (count(true) > 1 || count(false) > 1) {
        let version = request.version;
        let problem = format!("cniVersion {version} allows one address of each family: use 0.3.0 or newer");
        return Err(Refusal::new(INVALID_CONFIGURATION, problem));
    }
    Ok(())
}

fn configured(ipam: Fields<'_>) -> Result<Vec<Ip>, Refusal> {
    let read = |(place, value): (String, &serde_json::Value)| {
        let fields = Fields::at(&place, value)?;
        let address =
            fields.prefix("address")?.ok_or_else(|| invalid(&fields.place("address"), "missing: add it"))?;
        let gateway = fields.address("gateway")?;
        if gateway.is_some_and(|gateway| gateway.is_ipv4() != address.addr().is_ipv4()) {
            return Err(invalid(
                &fields.place("gateway"),
                format!("use an address of the same family as {address}"),
            ));
        }
        Ok(Ip { gateway, ..Ip::new(address) })
    };
    ipam.elements("addresses")?.into_iter().map(read).collect()
}

/// The addresses in `CNI_ARGS`: `IP` holds some with prefix length, `GATEWAY` some without, joined by commas.
fn from_args(args: &CniArgs) -> Result<Vec<Ip>, Refusal> {
    let list = |key: &str| {
        args.get(key)
            .unwrap_or_default()
            .split(',')
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let wrong = |key: &str, text: &str, use_: &str| {
        Refusal::new(INVALID_ENVIRONMENT, format!("CNI_ARGS: {key} holds {text:?}: use {use_}"))
    };
    let mut ips = Vec::new();
    for text in list("IP") {
        let prefix: IpNet = cni_spec::result::parse_prefix(&text)
            .ok_or_else(|| wrong("IP", &text, "an address like 10.1.0.5/16"))?;
        ips.push(Ip::new(prefix));
    }
    for text in list("GATEWAY") {
        let gateway: std::net::IpAddr =
            text.parse().map_err(|_| wrong("GATEWAY", &text, "an address like 10.1.0.1"))?;
        for ip in ips.iter_mut().filter(|ip| ip.address.contains(&gateway)) {
            ip.gateway = Some(gateway);
        }
    }
    Ok(ips)
}

fn check(request: &Request) -> Outcome {
    let expected = request.required_prev_result()?;
    for ip in determine(request)?.ips {
        if !expected.ips.iter().any(|other| other.address == ip.address) {
            let problem = format!("prevResult does not have the address {} of the configuration", ip.address);
            return Err(Refusal::new(DIFFERS, problem));
        }
    }
    Ok(Answer::Silence)
}

/// STATUS has no `runtimeConfig`, so a configuration without addresses may well be complete later.
fn status(request: &Request) -> Outcome {
    if let Some(value) = request.fields().get("ipam") {
        let ipam = Fields::at("ipam", value)?;
        configured(ipam)?;
        ipam.routes("routes")?;
    }
    Ok(Answer::Silence)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    determine(request)?;
    crate::fuzzing::common(request)
}
