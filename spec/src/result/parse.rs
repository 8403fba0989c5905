//! Reading an ADD result of any version.

use serde_json::Value;

use super::address::{address, prefix};
use super::shape::{Shape, has_attributes};
use super::{AddResult, Dns, Interface, Ip, Route};
use crate::document::{Fields, text};
use crate::{DocumentError, Version, keys};

const PREFIX: &str = "an address with prefix length like 10.1.0.5/16";
const ADDRESS: &str = "an IP address like 10.1.0.1";

impl AddResult {
    /// Reads a result in the version that its `cniVersion` names, or in `fallback` where it names none.
    ///
    /// Tolerated, because widespread plugins print it: an empty `gateway` or `gw` for none, a missing
    /// `ips[].version`, an interface index of -1, and under 0.3.0 the address list as `ip` or `ips`.
    ///
    /// # Errors
    /// When the label is no released version, or a key that the version defines has a value of another type.
    pub fn parse(value: &Value, fallback: Version) -> Result<AddResult, DocumentError> {
        let mut fields = Fields::root("result", value)?;
        let label = fields.string(keys::CNI_VERSION)?;
        let version = match label.as_deref().filter(|label| !label.is_empty()) {
            None => fallback,
            Some(text) => text.parse().map_err(|_| {
                fields.wrong(
                    keys::CNI_VERSION,
                    &text.into(),
                    &format!("one of {}", Version::ALL.map(Version::as_str).join(", ")),
                )
            })?,
        };
        let mut result = AddResult { cni_version: label, ..AddResult::default() };
        match Shape::of(version) {
            Shape::Families => {
                for key in ["ip4", "ip6"] {
                    if let Some(family) = fields.object(key)? {
                        read_family(family, key == "ip4", version, &mut result)?;
                    }
                }
            }
            Shape::Versioned | Shape::Plain => {
                result.interfaces = fields.objects("interfaces", |fields| read_interface(fields, version))?;
                let misspelt = version == Version::V0_3_0 && !fields.has("ips");
                let list = if misspelt { "ip" } else { "ips" };
                result.ips = fields.objects(list, |fields| read_ip(fields, version))?;
                result.routes = fields.objects("routes", |fields| read_route(fields, version))?;
            }
        }
        result.dns = fields.object("dns")?.map(Dns::read).transpose()?;
        result.extra = fields.rest();
        Ok(result)
    }
}

fn read_family(
    mut fields: Fields,
    is_v4: bool,
    version: Version,
    result: &mut AddResult,
) -> Result<(), DocumentError> {
    let family = |value: &Value| prefix(value).filter(|prefix| prefix.addr().is_ipv4() == is_v4);
    let expected =
        if is_v4 { "an IPv4 address with prefix length" } else { "an IPv6 address with prefix length" };
    let ip = fields.require("ip", expected, family)?;
    let gateway = fields.read("gateway", ADDRESS, address)?.flatten();
    let routes = fields.objects("routes", |mut route| {
        let dst = route.require("dst", expected, family)?;
        read_route_to(route, dst, version)
    })?;
    result.routes.extend(routes);
    result.ips.push(Ip { gateway, extra: fields.rest(), ..Ip::new(ip) });
    Ok(())
}

fn read_interface(mut fields: Fields, version: Version) -> Result<Interface, DocumentError> {
    let mut interface = Interface {
        name: fields.require("name", "a string", text)?,
        mac: fields.string("mac")?,
        sandbox: fields.string("sandbox")?,
        ..Interface::default()
    };
    if has_attributes(version) {
        interface.mtu = fields.uint("mtu")?;
        interface.socket_path = fields.string("socketPath")?;
        interface.pci_id = fields.string("pciID")?;
    }
    interface.extra = fields.rest();
    Ok(interface)
}

fn read_ip(mut fields: Fields, version: Version) -> Result<Ip, DocumentError> {
    let prefix = fields.require("address", PREFIX, prefix)?;
    let gateway = fields.read("gateway", ADDRESS, address)?.flatten();
    let interface = fields.read("interface", "an index into interfaces", Value::as_i64)?;
    if Shape::of(version) == Shape::Versioned {
        let family = family_name(&prefix);
        fields.read("version", &format!("{family:?}, the family of the address"), |value| {
            (value == family).then_some(())
        })?;
    }
    Ok(Ip { address: prefix, gateway, interface, extra: fields.rest() })
}

/// What `ips[].version` says of an address.
pub(super) fn family_name(address: &ipnet::IpNet) -> &'static str {
    if address.addr().is_ipv4() { "4" } else { "6" }
}

fn read_route(mut fields: Fields, version: Version) -> Result<Route, DocumentError> {
    let dst = fields.require("dst", PREFIX, prefix)?;
    read_route_to(fields, dst, version)
}

fn read_route_to(mut fields: Fields, dst: ipnet::IpNet, version: Version) -> Result<Route, DocumentError> {
    let mut route = Route { gw: fields.read("gw", ADDRESS, address)?.flatten(), ..Route::new(dst) };
    if has_attributes(version) {
        route.mtu = fields.uint("mtu")?;
        route.advmss = fields.uint("advmss")?;
        route.priority = fields.uint("priority")?;
        route.table = fields.uint("table")?;
        route.scope = fields.uint("scope")?;
    }
    route.extra = fields.rest();
    Ok(route)
}

impl Dns {
    /// Reads DNS settings.
    ///
    /// # Errors
    /// When it is no object or a member has another type than the specification says.
    pub fn parse(value: &Value) -> Result<Dns, DocumentError> {
        Dns::read(Fields::root("dns", value)?)
    }

    fn read(mut fields: Fields) -> Result<Dns, DocumentError> {
        Ok(Dns {
            nameservers: fields.strings("nameservers")?,
            domain: fields.string("domain")?,
            search: fields.strings("search")?,
            options: fields.strings("options")?,
            extra: fields.rest(),
        })
    }
}
