//! Reading a plugin's own configuration, with errors that name the key.

use std::net::IpAddr;

use crate::refusal::Refusal;
use cni_spec::error::{INVALID_CONFIGURATION, UNSUPPORTED_FIELD};
use cni_spec::result::{Route, parse_prefix};
use ipnet::IpNet;
use serde_json::{Map, Value};

/// One object of the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    parent: Option<&'a str>,
}

/// Where an object stands, for example `ipam.ranges[0][1]`.
pub(crate) type Place = String;

/// The error that a value is not what its key needs.
pub(crate) fn invalid(place: &str, problem: impl AsRef<str>) -> Refusal {
    Refusal::new(INVALID_CONFIGURATION, format!("{place}: {}", problem.as_ref()))
}

fn wrong(place: &str, found: &Value, expected: &str) -> Refusal {
    invalid(place, format!("found {found}, use {expected}"))
}

/// The error that a key asks for something that the plugin does not do (`error.code-2-names-field`).
pub(crate) fn unsupported(key: &str, value: &Value) -> Refusal {
    Refusal::new(UNSUPPORTED_FIELD, format!("unsupported field: {key} with the value {value}: remove it"))
}

/// The value of a key of an object, as [`Fields::get`] has it; none where the value is no object.
pub(crate) fn member<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    lookup(value.as_object()?, key)
}

/// The value of a key as the Go plugins look for it: `null` is none, and where nothing has this name, one that differs in upper
/// and lower case does. containerd writes `HostPort` and `Subnet`.
fn lookup<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let otherwise = || map.iter().find(|(other, _)| other.eq_ignore_ascii_case(key)).map(|(_, value)| value);
    map.get(key).or_else(otherwise).filter(|value| !value.is_null())
}

impl<'a> Fields<'a> {
    /// The configuration itself.
    pub(crate) fn root(map: &'a Map<String, Value>) -> Fields<'a> {
        Fields { map, parent: None }
    }

    /// An object that stands at a place.
    pub(crate) fn at(place: &'a str, value: &'a Value) -> Result<Fields<'a>, Refusal> {
        match value {
            Value::Object(map) => Ok(Fields { map, parent: Some(place) }),
            other => Err(wrong(place, other, "an object")),
        }
    }

    /// Where a key of this object stands.
    pub(crate) fn place(&self, key: &str) -> Place {
        self.parent.map_or_else(|| key.to_owned(), |parent| format!("{parent}.{key}"))
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        lookup(self.map, key)
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        self.get(key)
            .map(|value| read(value).ok_or_else(|| wrong(&self.place(key), value, expected)))
            .transpose()
    }

    /// A boolean, `false` where it is absent.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, Refusal> {
        Ok(self.read(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<&'a str>, Refusal> {
        self.read(key, "a string", Value::as_str)
    }

    pub(crate) fn u32(&self, key: &str) -> Result<Option<u32>, Refusal> {
        self.read(key, "an integer from 0 to 4294967295", |value| u32::try_from(value.as_u64()?).ok())
    }

    /// An address; the empty string stands for none, as in the Go plugins.
    pub(crate) fn address(&self, key: &str) -> Result<Option<IpAddr>, Refusal> {
        let read = |value: &Value| match value.as_str()? {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        };
        Ok(self.read(key, "an IP address like 10.1.0.1", read)?.flatten())
    }

    /// An address with the length of its prefix.
    pub(crate) fn prefix(&self, key: &str) -> Result<Option<IpNet>, Refusal> {
        self.read(key, "an address with prefix length like 10.1.0.0/16", |value| {
            parse_prefix(value.as_str()?)
        })
    }

    pub(crate) fn object(&self, key: &str) -> Result<Option<&'a Map<String, Value>>, Refusal> {
        self.read(key, "an object", Value::as_object)
    }

    /// The elements of an array, none where it is absent, and where each stands.
    pub(crate) fn elements(&self, key: &str) -> Result<Vec<(Place, &'a Value)>, Refusal> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(value) => elements(&self.place(key), value),
        }
    }

    /// The routes of an IPAM plugin's configuration.
    pub(crate) fn routes(&self, key: &str) -> Result<Vec<Route>, Refusal> {
        let read = |(place, value): (Place, &Value)| {
            let fields = Fields::at(&place, value)?;
            let dst = fields
                .prefix("dst")?
                .ok_or_else(|| invalid(&fields.place("dst"), "missing: add a destination"))?;
            let route = Route {
                gw: fields.address("gw")?,
                mtu: fields.u32("mtu")?,
                advmss: fields.u32("advmss")?,
                priority: fields.u32("priority")?,
                table: fields.u32("table")?,
                scope: fields.u32("scope")?,
                ..Route::new(dst.trunc())
            };
            if route.gw.is_some_and(|gw| gw.is_ipv4() != dst.addr().is_ipv4()) {
                return Err(invalid(
                    &fields.place("gw"),
                    format!("use an address of the same family as {dst}"),
                ));
            }
            if route.scope.is_some_and(|scope| scope > 255) {
                return Err(invalid(&fields.place("scope"), "use a number from 0 to 255"));
            }
            Ok(route)
        };
        self.elements(key)?.into_iter().map(read).collect()
    }
}

/// The elements of an array that stands at a place.
pub(crate) fn elements<'a>(place: &str, value: &'a Value) -> Result<Vec<(Place, &'a Value)>, Refusal> {
    match value {
        Value::Array(items) => {
            Ok(items.iter().enumerate().map(|(index, item)| (format!("{place}[{index}]"), item)).collect())
        }
        other => Err(wrong(place, other, "an array")),
    }
}

/// The addresses that a list holds, each with or without a prefix length.
pub(crate) fn requested(place: &str, value: &Value) -> Result<Vec<RequestedIp>, Refusal> {
    let read = |(place, item): (Place, &Value)| {
        let text = item.as_str().ok_or_else(|| wrong(&place, item, "a string"))?;
        RequestedIp::parse(text).ok_or_else(|| wrong(&place, item, "an address like 10.1.0.5 or 10.1.0.5/16"))
    };
    elements(place, value)?.into_iter().map(read).collect()
}

/// An address that the runtime asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestedIp {
    pub(crate) address: IpAddr,
    pub(crate) prefix: Option<IpNet>,
}

impl RequestedIp {
    pub(crate) fn parse(text: &str) -> Option<RequestedIp> {
        match text.parse() {
            Ok(address) => Some(RequestedIp { address, prefix: None }),
            Err(_) => {
                parse_prefix(text).map(|prefix| RequestedIp { address: prefix.addr(), prefix: Some(prefix) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_name_the_place() {
        let config = json!({"flag": "yes", "list": [[{"subnet": 5}], null], "routes": [{"dst": "10.0.0.0/8", "gw": "::1"}]});
        let fields = Fields::root(config.as_object().unwrap());
        assert!(fields.flag("flag").unwrap_err().msg.starts_with("flag: found \"yes\""));
        let lists = fields.elements("list").unwrap();
        let inner = elements(&lists[0].0, lists[0].1).unwrap();
        let error = Fields::at(&inner[0].0, inner[0].1).unwrap().prefix("subnet").unwrap_err();
        assert!(error.msg.starts_with("list[0][0].subnet: found 5"), "{error}");
        assert!(elements(&lists[1].0, lists[1].1).unwrap_err().msg.starts_with("list[1]: found null"));
        assert!(fields.routes("routes").unwrap_err().msg.starts_with("routes[0].gw"));
        assert_eq!(fields.string("absent").unwrap(), None);
    }

    #[test]
    fn null_is_no_value() {
        let config =
            json!({"flag": null, "list": null, "routes": [{"dst": "10.0.0.0/8", "gw": null, "mtu": null}]});
        let fields = Fields::root(config.as_object().unwrap());
        assert!(fields.get("flag").is_none() && !fields.flag("flag").unwrap());
        assert!(fields.elements("list").unwrap().is_empty());
        let routes = fields.routes("routes").unwrap();
        assert_eq!((routes[0].gw, routes[0].mtu), (None, None));
        let missing = json!({"routes": [{"dst": null}]});
        let error = Fields::root(missing.as_object().unwrap()).routes("routes").unwrap_err();
        assert!(error.msg.starts_with("routes[0].dst: missing"), "{error}");
    }

    #[test]
    fn keys_may_differ_in_case() {
        let config = json!({"ISGATEWAY": true, "mtu": 1400, "MTU": 1300, "Routes": [{"Dst": "10.0.0.0/8"}]});
        let fields = Fields::root(config.as_object().unwrap());
        assert!(fields.flag("isGateway").unwrap());
        assert_eq!(fields.u32("mtu").unwrap(), Some(1400), "the one that is spelled so");
        assert_eq!(fields.routes("routes").unwrap().len(), 1);
        assert!(fields.get("isGateways").is_none());
    }

    #[test]
    fn requested_addresses_may_lack_the_prefix() {
        assert_eq!(RequestedIp::parse("10.0.0.1").unwrap().prefix, None);
        assert_eq!(RequestedIp::parse("fd00::1/64").unwrap().prefix, parse_prefix("fd00::1/64"));
        assert_eq!(RequestedIp::parse("10.0.0"), None);
        assert!(requested("ips", &json!(["10.0.0.1", 7])).unwrap_err().msg.starts_with("ips[1]: found 7"));
    }
}
