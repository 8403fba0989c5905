//! Printing an ADD result in any version.

use serde_json::{Map, Value};

use super::address::print_prefix;
use super::loss::{Loss, LossReason};
use super::parse::family_name;
use super::shape::{Meaning, Part, Shape, has_attributes, meaning};
use super::{AddResult, Dns, Interface, Ip, Route};
use crate::document::escape;
use crate::{Version, keys};

impl AddResult {
    /// The result in a version, and what that version has no place for.
    ///
    /// Converting to a version that is not older loses nothing but keys that were undefined and mean something
    /// else there. A result without addresses converts to 0.1.0 and 0.2.0 as one without `ip4` and `ip6`.
    pub fn to_version(&self, version: Version) -> (Value, Vec<Loss>) {
        let mut printer = Printer { version, losses: Vec::new() };
        let value = printer.result(self);
        (value, printer.losses)
    }
}

struct Printer {
    version: Version,
    losses: Vec<Loss>,
}

impl Printer {
    fn result(&mut self, result: &AddResult) -> Value {
        let mut out = Map::new();
        out.insert(keys::CNI_VERSION.to_owned(), self.version.as_str().into());
        match Shape::of(self.version) {
            Shape::Families => self.families(result, &mut out),
            Shape::Versioned | Shape::Plain => {
                let lists = [
                    ("interfaces", self.each("interfaces", &result.interfaces, Printer::interface)),
                    ("ips", self.each("ips", &result.ips, Printer::ip)),
                    ("routes", self.each("routes", &result.routes, Printer::route)),
                ];
                for (key, list) in lists {
                    if !list.is_empty() {
                        out.insert(key.to_owned(), list.into());
                    }
                }
            }
        }
        if let Some(dns) = &result.dns {
            out.insert("dns".to_owned(), self.dns("/dns", dns));
        }
        self.extra(Part::Root, "", &result.extra, &mut out);
        Value::Object(out)
    }

    fn each<T>(&mut self, list: &str, items: &[T], print: fn(&mut Printer, &str, &T) -> Value) -> Vec<Value> {
        items.iter().enumerate().map(|(index, item)| print(self, &format!("/{list}/{index}"), item)).collect()
    }

    fn families(&mut self, result: &AddResult, out: &mut Map<String, Value>) {
        let lists = LossReason::NotDefined { in_version: self.version, since: Version::V0_3_0 };
        for (index, interface) in result.interfaces.iter().enumerate() {
            self.lose(format!("/interfaces/{index}"), whole(interface, Printer::interface), lists);
        }
        let mut routes_left: Vec<(usize, &Route)> = result.routes.iter().enumerate().collect();
        for (index, ip) in result.ips.iter().enumerate() {
            let is_v4 = ip.address.addr().is_ipv4();
            let key = if is_v4 { "ip4" } else { "ip6" };
            if out.contains_key(key) {
                self.lose(format!("/ips/{index}"), whole(ip, Printer::ip), LossReason::OneAddressPerFamily);
                continue;
            }
            let (mine, others) =
                routes_left.into_iter().partition(|(_, route)| route.dst.addr().is_ipv4() == is_v4);
            routes_left = others;
            let family = self.family(index, ip, mine);
            out.insert(key.to_owned(), family);
        }
        for (index, route) in routes_left {
            self.lose(
                format!("/routes/{index}"),
                whole(route, Printer::route),
                LossReason::NoAddressOfFamily,
            );
        }
    }

    fn family(&mut self, index: usize, ip: &Ip, routes: Vec<(usize, &Route)>) -> Value {
        let path = format!("/ips/{index}");
        let mut out = Map::new();
        out.insert("ip".to_owned(), print_prefix(&ip.address).into());
        put(&mut out, "gateway", ip.gateway.map(|gateway| gateway.to_string()));
        if !routes.is_empty() {
            let routes: Vec<Value> = routes
                .into_iter()
                .map(|(index, route)| self.route(&format!("/routes/{index}"), route))
                .collect();
            out.insert("routes".to_owned(), routes.into());
        }
        if let Some(interface) = ip.interface {
            let reason = LossReason::NotDefined { in_version: self.version, since: Version::V0_3_0 };
            self.lose(format!("{path}/interface"), interface.into(), reason);
        }
        self.extra(Part::Ip, &path, &ip.extra, &mut out);
        Value::Object(out)
    }

    fn interface(&mut self, path: &str, interface: &Interface) -> Value {
        let mut out = Map::new();
        out.insert("name".to_owned(), interface.name.as_str().into());
        put(&mut out, "mac", interface.mac.clone());
        self.attribute(path, &mut out, "mtu", interface.mtu);
        put(&mut out, "sandbox", interface.sandbox.clone());
        self.attribute(path, &mut out, "socketPath", interface.socket_path.clone());
        self.attribute(path, &mut out, "pciID", interface.pci_id.clone());
        self.extra(Part::Interface, path, &interface.extra, &mut out);
        Value::Object(out)
    }

    fn ip(&mut self, path: &str, ip: &Ip) -> Value {
        let mut out = Map::new();
        if Shape::of(self.version) == Shape::Versioned {
            out.insert("version".to_owned(), family_name(&ip.address).into());
        }
        put(&mut out, "interface", ip.interface);
        out.insert("address".to_owned(), print_prefix(&ip.address).into());
        put(&mut out, "gateway", ip.gateway.map(|gateway| gateway.to_string()));
        self.extra(Part::Ip, path, &ip.extra, &mut out);
        Value::Object(out)
    }

    fn route(&mut self, path: &str, route: &Route) -> Value {
        let mut out = Map::new();
        out.insert("dst".to_owned(), print_prefix(&route.dst).into());
        put(&mut out, "gw", route.gw.map(|gw| gw.to_string()));
        let attributes = [
            ("mtu", route.mtu),
            ("advmss", route.advmss),
            ("priority", route.priority),
            ("table", route.table),
            ("scope", route.scope),
        ];
        for (key, value) in attributes {
            self.attribute(path, &mut out, key, value);
        }
        self.extra(Part::Route, path, &route.extra, &mut out);
        Value::Object(out)
    }

    fn dns(&mut self, path: &str, dns: &Dns) -> Value {
        let mut out = dns.known();
        self.extra(Part::Dns, path, &dns.extra, &mut out);
        Value::Object(out)
    }

    /// Prints an attribute of 1.1.0 where the version has it.
    fn attribute(
        &mut self,
        path: &str,
        out: &mut Map<String, Value>,
        key: &str,
        value: Option<impl Into<Value>>,
    ) {
        let Some(value) = value else { return };
        if has_attributes(self.version) {
            out.insert(key.to_owned(), value.into());
        } else {
            let reason = LossReason::NotDefined { in_version: self.version, since: Version::V1_1_0 };
            self.lose(format!("{path}/{key}"), value.into(), reason);
        }
    }

    /// Adds the undefined keys, except where the version gives them a meaning that the value does not fit.
    fn extra(&mut self, part: Part, path: &str, extra: &Map<String, Value>, out: &mut Map<String, Value>) {
        for (key, value) in extra {
            if out.get(key) == Some(value) {
                continue;
            }
            let fits = !out.contains_key(key)
                && match meaning(part, key, self.version) {
                    Meaning::Free => true,
                    Meaning::Attribute(accepts) => accepts(value),
                    Meaning::Structure => false,
                };
            if fits {
                out.insert(key.clone(), value.clone());
            } else {
                let reason = LossReason::OtherMeaning { in_version: self.version };
                self.lose(format!("{path}/{}", escape(key)), value.clone(), reason);
            }
        }
    }

    fn lose(&mut self, path: String, value: Value, reason: LossReason) {
        self.losses.push(Loss { path, value, reason });
    }
}

impl Dns {
    /// The settings as an object. A key in `extra` never replaces one that the specification defines.
    pub fn to_value(&self) -> Value {
        let mut out = self.known();
        for (key, value) in &self.extra {
            out.entry(key).or_insert_with(|| value.clone());
        }
        Value::Object(out)
    }

    fn known(&self) -> Map<String, Value> {
        let mut out = Map::new();
        let list = |items: &[String]| (!items.is_empty()).then(|| Value::from(items));
        put(&mut out, "nameservers", list(&self.nameservers));
        put(&mut out, "domain", self.domain.clone());
        put(&mut out, "search", list(&self.search));
        put(&mut out, "options", list(&self.options));
        out
    }
}

/// An item in the form of the latest version, to show what is lost.
fn whole<T>(item: &T, print: fn(&mut Printer, &str, &T) -> Value) -> Value {
    print(&mut Printer { version: Version::LATEST, losses: Vec::new() }, "", item)
}

fn put(out: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        out.insert(key.to_owned(), value.into());
    }
}
