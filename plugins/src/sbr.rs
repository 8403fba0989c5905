//! `sbr`: source based routing. What is sent from an address of the container's interface is routed by a table of its own, which
//! gets the interface's routes; the main table keeps none of them.
//!
//! All of it is in the container's namespace. Rules and routes bear marks (`proto`), by which DEL finds them.

use std::net::IpAddr;

use cni_spec::error::INVALID_CONFIGURATION;
use cni_spec::result::{AddResult, Ip};
use ipnet::IpNet;

use crate::fields::{Fields, elements, invalid};
use crate::inside::alone;
use crate::netlink::link::Link;
use crate::netlink::route::{KernelRoute, next_hop};
use crate::netlink::rule::{AnyRule, SourceRule};
use crate::netlink::saved::SavedRoute;
use crate::netlink::{Socket, Step};
use crate::refusal::{DIFFERS, EXISTS, KERNEL, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "sbr",
    about: "a chained plugin that routes by source address: what is sent from an address of the container's interface goes \
            by the interface's routes, in a table of its own; table, gateways, addSourceHints.",
    add,
    del,
    check,
    gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// The first table that an address may get.
const FIRST_TABLE: u32 = 100;
const MAIN: u32 = libc::RT_TABLE_MAIN as u32;
/// The priority of a default route for IPv6 before that which routes have where nobody chose one, 1024.
const BEFORE: u32 = 512;
/// What rules to tables of this plugin are marked with, and routes that were not there before. No routing daemon has it.
const OWN: u8 = 97;
/// What rules to the table of the configuration are marked with: its routes are not this plugin's.
const GIVEN: u8 = 98;

/// The plugin's configuration.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    /// The table that rules lead to, whose routes somebody else makes.
    table: Option<u32>,
    /// The gateways that take the place of those of prevResult, at most one of each family.
    gateways: Vec<IpAddr>,
    /// Whether the main table keeps routes to the subnets, with the addresses as preferred sources.
    source_hints: bool,
}

impl Settings {
    fn read(fields: Fields<'_>) -> Result<Settings, Refusal> {
        let table = fields.u32("table")?;
        if table == Some(0) {
            return Err(invalid("table", "use a number from 1 to 4294967295"));
        }
        let mut gateways: Vec<IpAddr> = Vec::new();
        for (place, value) in
            fields.get("gateways").map_or(Ok(Vec::new()), |list| elements("gateways", list))?
        {
            let gateway = value.as_str().and_then(|text| text.parse().ok());
            let gateway: IpAddr = gateway
                .ok_or_else(|| invalid(&place, format!("found {value}, use an address like 10.1.0.1")))?;
            if gateways.iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
                return Err(invalid(&place, "a second gateway of the same family: name one of each at most"));
            }
            gateways.push(gateway);
        }
        Ok(Settings { table, gateways, source_hints: fields.flag("addSourceHints")? })
    }

    /// The gateway of an address.
    fn gateway(&self, ip: &Ip) -> Option<IpAddr> {
        let is_same_family = |gateway: &&IpAddr| gateway.is_ipv4() == ip.address.addr().is_ipv4();
        self.gateways.iter().find(is_same_family).copied().or(ip.gateway)
    }
}

fn is_default(route: &SavedRoute) -> bool {
    route.dst().is_some_and(|dst| dst.prefix_len() == 0)
}

/// Whether a route is the default route through a gateway.
fn leads_through(route: &SavedRoute, gateway: IpAddr) -> bool {
    is_default(route) && route.is_ipv4() == gateway.is_ipv4() && route.gateway() == next_hop(gateway)
}

/// The addresses of the container's interface that a result lists; those of no interface count too.
fn own_ips<'a>(request: &Request, result: &'a AddResult) -> Vec<&'a Ip> {
    let is_own = |ip: &&Ip| match (ip.interface, result.interface_of(ip)) {
        (None, _) => true,
        (Some(_), interface) => interface.is_some_and(|one| one.name == request.attachment.ifname),
    };
    let mut ips: Vec<&Ip> = Vec::new();
    for ip in result.ips.iter().filter(is_own) {
        if !ips.iter().any(|other| other.address.addr() == ip.address.addr()) {
            ips.push(ip);
        }
    }
    ips
}

/// What the container has.
struct State {
    link: Option<Link>,
    rules: Vec<AnyRule>,
    routes: Vec<SavedRoute>,
}

impl State {
    fn read(socket: &mut Socket, ifname: &str) -> Result<State, Refusal> {
        Ok(State { link: socket.link(ifname)?, rules: socket.rules()?, routes: socket.saved_routes()? })
    }

    fn index(&self) -> Option<u32> {
        self.link.as_ref().map(|link| link.index)
    }

    /// The routes of the interface in a table.
    fn own_routes(&self, table: u32) -> impl Iterator<Item = &SavedRoute> {
        let index = self.index();
        self.routes
            .iter()
            .filter(move |route| route.table() == table && index.is_some() && route.link() == index)
    }

    fn source_rules(&self) -> impl Iterator<Item = &SourceRule> {
        self.rules.iter().filter_map(|rule| rule.by_source.as_ref())
    }

    /// Whether rules lead to a table, or routes stand in it.
    fn is_taken(&self, table: u32) -> bool {
        self.rules.iter().any(|rule| rule.table == table) || !self.is_empty(table)
    }

    /// Tables that are free, as many as asked for.
    fn free_tables(&self, count: usize) -> Vec<u32> {
        (FIRST_TABLE..=u32::MAX).filter(|table| !self.is_taken(*table)).take(count).collect()
    }

    /// The rules that an ADD made: by the addresses, and by the interface's routes in the tables of this plugin.
    fn own_rules(&self, given: Option<u32>, addresses: &[IpAddr]) -> Vec<SourceRule> {
        let is_own = |rule: &&SourceRule| match given {
            Some(table) => rule.protocol == GIVEN && rule.table == table && addresses.contains(&rule.source),
            None => {
                rule.protocol == OWN
                    && (self.own_routes(rule.table).next().is_some()
                        || self.is_empty(rule.table) && addresses.contains(&rule.source))
            }
        };
        self.source_rules().filter(is_own).copied().collect()
    }

    /// The rules to tables of this plugin that have no route: the interface may be gone.
    fn idle_rules(&self) -> impl Iterator<Item = &SourceRule> {
        self.source_rules().filter(|rule| rule.protocol == OWN && self.is_empty(rule.table))
    }

    fn is_empty(&self, table: u32) -> bool {
        !self.routes.iter().any(|route| route.table() == table)
    }
}

/// Whether a route belongs into the tables of an address: by its gateway or source.
fn belongs(route: &SavedRoute, subnet: IpNet) -> bool {
    [route.gateway(), route.source()].into_iter().flatten().any(|address| subnet.contains(&address))
}

/// The interface's routes in the main table that are to move. Link-local ones have to stay: no rule leads from the link-local
/// address to a table. So do those of a family of which the interface has no address.
fn to_move<'a>(state: &'a State, ips: &'a [&Ip]) -> Vec<&'a SavedRoute> {
    let is_link_local = |dst: IpNet| match dst.addr() {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => (v6.is_unicast_link_local() || v6.is_multicast()) && dst.prefix_len() >= 8,
    };
    let is_moved = |route: &&SavedRoute| {
        route.kind() == libc::RTN_UNICAST
            && ips.iter().any(|ip| ip.address.addr().is_ipv4() == route.is_ipv4())
            && route.dst().is_some_and(|dst| !is_link_local(dst))
    };
    state.own_routes(MAIN).filter(is_moved).collect()
}

/// What ADD does, all in one go: whoever kills the plugin finds everything done or nothing.
struct Plan {
    rules: Vec<SourceRule>,
    steps: Vec<Step>,
}

fn plan(settings: &Settings, state: &State, ips: &[&Ip], index: u32) -> Plan {
    if let Some(table) = settings.table {
        let rules: Vec<SourceRule> = ips.iter().map(|ip| rule(ip, table, GIVEN)).collect();
        let steps = rules.iter().map(SourceRule::add).collect();
        return Plan { rules, steps };
    }
    let moved = to_move(state, ips);
    let mut plan = Plan { rules: Vec::new(), steps: Vec::new() };
    for (ip, table) in ips.iter().zip(state.free_tables(ips.len())) {
        let rule = rule(ip, table, OWN);
        plan.steps.push(rule.add());
        plan.rules.push(rule);
        let of_family = moved.iter().filter(|route| route.is_ipv4() == ip.address.addr().is_ipv4());
        // What belongs to no address goes with all of them.
        let copied: Vec<&&SavedRoute> = of_family
            .filter(|route| {
                belongs(route, ip.address) || !ips.iter().any(|other| belongs(route, other.address))
            })
            .collect();
        // First what is on the link, as gateways have to be reached; then what leads through these.
        let (direct, by_gateway): (Vec<&&SavedRoute>, Vec<_>) =
            copied.iter().partition(|route| route.gateway().is_none());
        plan.steps.extend(direct.into_iter().map(|route| route.in_table(table).add()));
        if let Some(gateway) = settings.gateway(ip)
            && !copied.iter().any(|route| leads_through(route, gateway))
        {
            let any = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            // Before the one that the interface had: the first that is added wins for IPv4, while IPv6 would use both.
            let is_beside = gateway.is_ipv6() && copied.iter().any(|route| is_default(route));
            let default = KernelRoute {
                gateway: next_hop(gateway),
                priority: is_beside.then_some(BEFORE),
                table: Some(table),
                protocol: OWN,
                ..KernelRoute::new(any.parse().expect("a prefix"), index)
            };
            plan.steps.push(default.add().or(&[libc::EEXIST]));
        }
        plan.steps.extend(by_gateway.into_iter().map(|route| route.in_table(table).add()));
    }
    let stays =
        |route: &SavedRoute| settings.source_hints && route.is_ipv4() && route.scope() == libc::RT_SCOPE_LINK;
    if settings.source_hints {
        for ip in ips {
            let hint = KernelRoute {
                source: Some(ip.address.addr()),
                scope: Some(libc::RT_SCOPE_LINK),
                protocol: OWN,
                ..KernelRoute::new(ip.address, index)
            };
            plan.steps.push(hint.replace());
        }
    }
    plan.steps.extend(moved.iter().filter(|route| !stays(route)).map(|route| route.remove()));
    plan
}

fn rule(ip: &Ip, table: u32, protocol: u8) -> SourceRule {
    SourceRule { source: ip.address.addr(), table, protocol, priority: None }
}

fn add(request: &Request) -> Outcome {
    let settings = Settings::read(request.fields())?;
    let previous = request.result_of_others()?;
    if previous.ips.is_empty() {
        let problem =
            "prevResult lists no addresses: put the plugin behind one that gives the interface some";
        return Err(Refusal::new(INVALID_CONFIGURATION, problem));
    }
    let ips = own_ips(request, previous);
    alone(request.netns()?, |socket| install(request, &settings, &ips, socket))?;
    Ok(Answer::Result(Box::new(previous.clone())))
}

fn install(request: &Request, settings: &Settings, ips: &[&Ip], socket: &mut Socket) -> Result<(), Refusal> {
    let ifname = &request.attachment.ifname;
    let state = State::read(socket, ifname)?;
    let Some(index) = state.index() else {
        let problem = format!(
            "the container has no interface {ifname} (CNI_IFNAME): put a plugin in front that makes it"
        );
        return Err(Refusal::new(KERNEL, problem));
    };
    let addresses: Vec<IpAddr> = ips.iter().map(|ip| ip.address.addr()).collect();
    let there = state.own_rules(settings.table, &addresses);
    if let Some(rule) = there.iter().find(|rule| addresses.contains(&rule.source)) {
        let problem =
            format!("what comes from {} goes by table {} already: run DEL first", rule.source, rule.table);
        return Err(Refusal::new(EXISTS, problem));
    }
    let plan = plan(settings, &state, ips, index);
    let done = socket.apply(plan.steps);
    if done.is_err()
        && let Err(error) = withdraw(socket, ifname, settings.table, &addresses)
    {
        request.log(format_args!("undoing the ADD: {error}"));
    }
    done.map(drop).map_err(|error| match plan.rules.is_empty() {
        false if error.is(libc::EEXIST) => {
            Refusal::new(EXISTS, format!("{error}: the table has such a rule already"))
        }
        _ => error.into(),
    })
}

/// Takes the rules away, and puts the routes back into the main table.
fn withdraw(socket: &mut Socket, ifname: &str, given: Option<u32>, listed: &[IpAddr]) -> Result<(), Refusal> {
    let state = State::read(socket, ifname)?;
    let mut addresses = listed.to_vec();
    if let Some(index) = state.index() {
        addresses.extend(socket.addresses(index)?.into_iter().map(|one| one.address.addr()));
    }
    let mut rules = state.own_rules(given, &addresses);
    let mut steps = Vec::new();
    if given.is_none() {
        for rule in state.idle_rules() {
            // Nobody has the address any more.
            if !rules.contains(rule) && !socket.way(rule.source)?.is_some_and(|way| way.is_local) {
                rules.push(*rule);
            }
        }
        let mut back: Vec<SavedRoute> = Vec::new();
        for rule in &rules {
            for route in state.own_routes(rule.table) {
                let restored = route.in_table(MAIN);
                if route.protocol() != OWN && !back.contains(&restored) {
                    back.push(restored);
                }
            }
        }
        // Hints stand where the routes were.
        steps.extend(state.own_routes(MAIN).filter(|route| route.protocol() == OWN).map(SavedRoute::remove));
        // What is on the link first, as gateways have to be reached.
        back.sort_by_key(|route| route.gateway().is_some());
        steps.extend(back.iter().map(SavedRoute::add));
        for rule in &rules {
            steps.extend(state.own_routes(rule.table).map(SavedRoute::remove));
        }
    }
    steps.extend(rules.iter().map(SourceRule::remove));
    socket.apply(steps)?;
    Ok(())
}

fn del(request: &Request) -> Outcome {
    // A configuration that ADD refused had nothing done.
    if let (Ok(settings), Some(netns)) = (Settings::read(request.fields()), request.netns_if_any()) {
        let ips = request.prev_result.as_ref().map(|previous| own_ips(request, previous)).unwrap_or_default();
        let addresses: Vec<IpAddr> = ips.iter().map(|ip| ip.address.addr()).collect();
        alone(&netns, |socket| withdraw(socket, &request.attachment.ifname, settings.table, &addresses))?;
    }
    Ok(Answer::Silence)
}

fn check(request: &Request) -> Outcome {
    let settings = Settings::read(request.fields())?;
    let ips = own_ips(request, request.required_prev_result()?);
    let ifname = &request.attachment.ifname;
    let state = alone(request.netns()?, |socket| State::read(socket, ifname))?;
    if state.link.is_none() {
        return Err(Refusal::new(DIFFERS, format!("the container has no interface {ifname}")));
    }
    match ips.iter().find_map(|ip| missing(&settings, &state, ip)) {
        Some(problem) => Err(Refusal::new(DIFFERS, problem)),
        None => Ok(Answer::Silence),
    }
}

/// What an address lacks.
fn missing(settings: &Settings, state: &State, ip: &Ip) -> Option<String> {
    let address = ip.address.addr();
    let mut rules = state.source_rules().filter(|rule| rule.source == address);
    if let Some(table) = settings.table {
        let there = rules.any(|rule| rule.table == table);
        return (!there).then(|| format!("no rule leads from {address} to table {table}"));
    }
    let tables: Vec<u32> = rules.filter(|rule| rule.protocol == OWN).map(|rule| rule.table).collect();
    if tables.is_empty() {
        return Some(format!("no rule leads from {address} to a table of its own"));
    }
    let gateway = settings.gateway(ip)?;
    let found =
        tables.iter().any(|table| state.own_routes(*table).any(|route| leads_through(route, gateway)));
    (!found).then(|| format!("the table of {address} has no default route through {gateway}"))
}

/// All that there is goes with the container's namespace.
fn gc(request: &Request) -> Outcome {
    request.valid_attachments()?;
    Ok(Answer::Silence)
}

fn status(request: &Request) -> Outcome {
    Settings::read(request.fields())?;
    Ok(Answer::Silence)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    Settings::read(request.fields())?;
    if let Some(previous) = &request.prev_result {
        own_ips(request, previous);
    }
    crate::fuzzing::common(request)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(config: serde_json::Value) -> Result<Settings, Refusal> {
        let config = config.as_object().cloned().unwrap_or_default();
        Settings::read(Fields::root(&config))
    }

    #[test]
    fn one_gateway_of_each_family() {
        let read = settings(json!({"gateways": ["10.1.0.1", "fd00::1"], "addSourceHints": true})).unwrap();
        assert_eq!((read.gateways.len(), read.source_hints, read.table), (2, true, None));
        let ip = |address: &str| Ip::new(address.parse().unwrap());
        assert_eq!(read.gateway(&ip("fd00::2/64")), Some("fd00::1".parse().unwrap()));
        let own = Ip { gateway: Some([10, 2, 0, 1].into()), ..ip("10.2.0.2/16") };
        assert_eq!(settings(json!({})).unwrap().gateway(&own), own.gateway);
        let unspecified = settings(json!({"gateways": ["0.0.0.0"]})).unwrap();
        assert_eq!(unspecified.gateway(&own).map(next_hop), Some(None));
        assert_eq!(settings(json!({})).unwrap().gateway(&ip("10.2.0.2/16")), None);
        for config in [
            json!({"gateways": ["10.1.0.1", "10.1.0.2"]}),
            json!({"gateways": ["gate"]}),
            json!({"gateways": "10.1.0.1"}),
            json!({"table": 0}),
            json!({"table": -1}),
            json!({"addSourceHints": "yes"}),
        ] {
            assert!(settings(config.clone()).is_err(), "{config}");
        }
    }

    #[test]
    fn tables_that_are_taken_are_passed_over() {
        let rule = |table| AnyRule { table, by_source: None, to_vrf: false };
        let state = State { link: None, rules: vec![rule(100), rule(102)], routes: Vec::new() };
        assert_eq!(state.free_tables(3), [101, 103, 104]);
    }

    #[test]
    fn rules_of_others_are_left_alone() {
        let rule = |source: [u8; 4], table, protocol| AnyRule {
            table,
            by_source: Some(SourceRule { source: source.into(), table, protocol, priority: Some(1) }),
            to_vrf: false,
        };
        let rules = vec![
            rule([10, 0, 0, 1], 100, OWN),
            rule([10, 0, 0, 1], 7, GIVEN),
            rule([10, 0, 0, 2], 7, GIVEN),
            rule([10, 0, 0, 1], 8, 0),
        ];
        let state = State { link: None, rules, routes: Vec::new() };
        let tables = |given| -> Vec<(IpAddr, u32)> {
            let own = state.own_rules(given, &[[10, 0, 0, 1].into()]);
            own.iter().map(|rule| (rule.source, rule.table)).collect()
        };
        assert_eq!(tables(None), [([10, 0, 0, 1].into(), 100)]);
        assert_eq!(tables(Some(7)), [([10, 0, 0, 1].into(), 7)]);
        assert_eq!(tables(Some(8)), []);
    }
}
