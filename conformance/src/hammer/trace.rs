//! What a plugin did in a scenario, without what differs from one execution to the next: two plugins that behave alike
//! leave equal traces.

use std::collections::{BTreeMap, BTreeSet};

use cni_spec::Operation;
use cnitest_reports::model::ExecutionEvidence;
use serde_json::Value;

use crate::arena::snapshot::{Link, NamespaceState, Place, Snapshot, difference};
use crate::checks::{Answer, Case, Documents, Stop, reproducer_script};
use crate::invoke::{Invocation, Outcome, Stdin};
use crate::suite::evidence_of;

/// Settings that the kernel counts or draws by itself.
const VOLATILE: [&str; 4] = [
    "net/netfilter/nf_conntrack_count",
    "net/ipv4/tcp_fastopen_key",
    "stable_secret",
    "net/core/netdev_rss_key",
];

/// What a code says that the specification leaves to plugins.
pub(super) const OWN_CODE: &str = "of the plugin's own (100 or more)";

/// What was done, part by part.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// What has to be there first, each step, and the end in which everything is detached.
    pub(super) parts: Vec<Part>,
    /// What was executed, in order.
    pub(super) executions: Vec<ExecutionEvidence>,
    /// All of it as a script.
    pub(super) script: String,
    /// How many executions the parts hold.
    seen: usize,
    /// What requests have asked for, without the results of earlier operations.
    asked: String,
}

/// What one part of a scenario did.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Part {
    /// The executions, in order.
    pub(super) answers: Vec<Told>,
    /// The state of the kernel afterwards, a line for each fact.
    pub(super) state: BTreeSet<String>,
}

/// What one execution answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    /// The operation, or `a request` where the request names none.
    pub(super) operation: String,
    /// What the execution was for: equal for both plugins.
    pub(super) label: String,
    /// How it ended.
    pub(super) ending: Ending,
    /// The error code of a failure, or what stands in its place.
    pub(super) code: Option<String>,
    /// What a success printed, by place in the document.
    pub(super) result: BTreeMap<String, String>,
    /// What happened in one line, with the plugin's own words.
    pub(super) summary: String,
}

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Exit status 0.
    Succeeds,
    /// Another exit status. Which one is the plugin's choice: the specification only has zero and others.
    Fails,
    /// By a signal, or with a trace of its stack.
    Crashes,
    /// By the deadline.
    Hangs,
}

impl Ending {
    /// As sentences have it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Ending::Succeeds => "succeeds",
            Ending::Fails => "fails",
            Ending::Crashes => "crashes",
            Ending::Hangs => "does not end",
        }
    }
}

impl Trace {
    /// Writes down what has happened since the last look.
    ///
    /// # Errors
    /// When the arena fails.
    pub(super) fn look(&mut self, case: &mut Case<'_>) -> Result<(), Stop> {
        let snapshot = case.snapshot_with_sysctls()?;
        let fresh = &case.executions()[self.seen..];
        for (invocation, _) in fresh {
            self.asked.push_str(&asked(invocation));
        }
        let roles = Roles::of(&snapshot, &self.asked);
        let answers = fresh.iter().map(|(_, answer)| told(answer, &roles)).collect();
        self.seen += fresh.len();
        self.parts.push(Part { answers, state: roles.state(&snapshot) });
        Ok(())
    }

    /// Keeps what a reader needs to see it.
    pub(super) fn keep_evidence(&mut self, case: &Case<'_>) {
        self.executions =
            case.executions().iter().map(|(invocation, answer)| evidence_of(invocation, answer)).collect();
        let heading =
            ["One of two plugins that differ: what is to be compared is what this prints.".to_owned()];
        self.script = reproducer_script(case, &heading, None);
    }
}

/// The text of a request but for the result of an earlier ADD, which is full of the plugin's own names and addresses.
fn asked(invocation: &Invocation) -> String {
    let (Stdin::Bytes(bytes) | Stdin::OpenForever(bytes)) = &invocation.stdin else { return String::new() };
    let args = invocation.environment.iter().find(|(name, _)| *name == "CNI_ARGS");
    let args = args.map(|(_, value)| value.to_string_lossy().to_lowercase()).unwrap_or_default();
    match serde_json::from_slice::<Value>(bytes) {
        Ok(mut request) => {
            if let Some(request) = request.as_object_mut() {
                request.remove("prevResult");
            }
            format!("{} {args}\n", request.to_string().to_lowercase())
        }
        Err(_) => format!("{args}\n"),
    }
}

fn told(answer: &Answer, roles: &Roles<'_>) -> Told {
    let ending = match answer.execution.outcome {
        Outcome::TimedOut { .. } => Ending::Hangs,
        Outcome::Exited(0) => Ending::Succeeds,
        _ if answer.crashed() => Ending::Crashes,
        Outcome::Exited(_) => Ending::Fails,
        _ => Ending::Crashes,
    };
    let operation = answer.label.split(' ').find(|word| word.parse::<Operation>().is_ok());
    let mut result = BTreeMap::new();
    if ending == Ending::Succeeds {
        match &answer.documents {
            Documents::None => {}
            Documents::One(document) => flatten(&roles.result(document), String::new(), &mut result),
            Documents::Several(all) => {
                result.insert("stdout".to_owned(), format!("{} documents", all.len()));
            }
            Documents::Garbage(_) => {
                result.insert("stdout".to_owned(), "text that is not JSON".to_owned());
            }
        }
    }
    Told {
        operation: operation.unwrap_or("a request").to_owned(),
        label: answer.label.clone(),
        ending,
        code: (ending == Ending::Fails).then(|| code(answer)),
        result,
        summary: answer.summary(),
    }
}

/// The code of a failure. Codes from 100 up are each plugin's own, so that two plugins that choose different ones do not
/// differ; messages are for people.
fn code(answer: &Answer) -> String {
    match answer.code() {
        Some(100..) => OWN_CODE.to_owned(),
        Some(code) => code.to_string(),
        None => "none: no error object".to_owned(),
    }
}

/// The places of a document and what stands there. What is empty is as good as absent: a reader of the document cannot
/// tell what the two mean apart, and languages differ in which of them they write.
fn flatten(value: &Value, place: String, all: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::Object(members) => {
            for (key, value) in members {
                flatten(value, if place.is_empty() { key.clone() } else { format!("{place}.{key}") }, all);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flatten(item, format!("{place}[{index}]"), all);
            }
        }
        Value::String(text) => drop(all.insert(place, text.clone())),
        other => drop(all.insert(place, other.to_string())),
    }
}

/// What links are, instead of what they are called where the name was drawn at random.
struct Roles<'a> {
    snapshot: &'a Snapshot,
    asked: &'a str,
    /// Names on the host that stand for something else.
    host: BTreeMap<String, String>,
    /// Hardware addresses that nobody asked for, and whose they are.
    macs: BTreeMap<String, String>,
}

impl<'a> Roles<'a> {
    fn of(snapshot: &'a Snapshot, asked: &'a str) -> Roles<'a> {
        let named = |name: &str| asked.contains(&format!("\"{}\"", name.to_lowercase()));
        let mut host = BTreeMap::new();
        let mut loose = 0;
        for link in &snapshot.host.links {
            // Hosts' ends of pairs, and devices beside them, are named by chance or by a hash of the plugin's own choice.
            let kind = link.kind.as_deref().unwrap_or_default();
            if !["veth", "ifb"].contains(&kind) || named(&link.name) {
                continue;
            }
            let other = link.peer.as_ref().and_then(|peer| match peer.place.as_ref()? {
                Place::Host => {
                    let other = snapshot.host.link_by_index(peer.index)?;
                    // Of a pair on the host one end has a name by chance: the one that looks like it.
                    (looks_drawn(&link.name) && !looks_drawn(&other.name))
                        .then(|| format!("peer-of-{}", other.name))
                }
                Place::Container(container) => {
                    let other = snapshot.containers.get(container)?.link_by_index(peer.index)?;
                    Some(format!("peer-of-{}-in-{container}", other.name))
                }
            });
            let local = link.peer.as_ref().is_some_and(|peer| peer.place == Some(Place::Host));
            let role = match other {
                Some(role) => role,
                None if local && !looks_drawn(&link.name) => continue,
                None => {
                    loose += 1;
                    format!("{kind}-{loose}")
                }
            };
            host.insert(link.name.clone(), role);
        }
        let mut roles = Roles { snapshot, asked, host, macs: BTreeMap::new() };
        let places = snapshot.containers.iter().map(|(name, state)| (name.as_str(), state));
        for (place, state) in std::iter::once(("the host", &snapshot.host)).chain(places) {
            for link in &state.links {
                let name = if place == "the host" { roles.name(&link.name) } else { link.name.clone() };
                if let Some(mac) = link.mac.as_ref().filter(|mac| !asked.contains(mac.as_str())) {
                    roles
                        .macs
                        .entry(mac.clone())
                        .or_insert(format!("of-{name}-on-{place}").replace(' ', "-"));
                }
            }
        }
        roles
    }

    /// What a link of the host is called.
    fn name(&self, name: &str) -> String {
        self.host.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    /// A hardware address, or whose it is where it came by chance.
    fn mac(&self, mac: &str) -> String {
        let mac = mac.to_lowercase();
        match self.macs.get(&mac) {
            Some(role) => role.clone(),
            None if self.asked.contains(&mac) => mac,
            None => "of-nobody".to_owned(),
        }
    }

    /// A result, with links by what they are and in a fixed order: the specification gives the order of interfaces no
    /// meaning, and addresses refer to them by index.
    fn result(&self, document: &Value) -> Value {
        let mut document = document.clone();
        if let Some(versions) = document.get_mut("supportedVersions").and_then(Value::as_array_mut) {
            // A set.
            versions.sort_by_key(Value::to_string);
        }
        let Some(interfaces) = document.get("interfaces").and_then(Value::as_array).cloned() else {
            return document;
        };
        let canonical: Vec<Value> = interfaces.iter().map(|one| self.interface(one)).collect();
        let name = |one: &Value| {
            let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            match text("sandbox") {
                sandbox if sandbox.is_empty() => text("name"),
                sandbox => format!("{} in {sandbox}", text("name")),
            }
        };
        if let Some(ips) = document.get_mut("ips").and_then(Value::as_array_mut) {
            for ip in ips {
                let index = ip.get("interface").and_then(Value::as_u64);
                let meant = index.and_then(|index| canonical.get(usize::try_from(index).ok()?));
                if let (Some(meant), Some(ip)) = (meant, ip.as_object_mut()) {
                    ip.insert("interface".to_owned(), Value::from(name(meant)));
                }
            }
        }
        // By name instead of by index.
        let by_name = canonical.into_iter().map(|mut one| {
            let name = name(&one);
            if let Some(members) = one.as_object_mut() {
                members.remove("name");
                members.remove("sandbox");
                members.insert("listed".to_owned(), Value::from(true));
            }
            (name, one)
        });
        document["interfaces"] = Value::Object(by_name.collect());
        document
    }

    fn interface(&self, interface: &Value) -> Value {
        let mut interface = interface.clone();
        let sandbox = interface["sandbox"].as_str().unwrap_or_default().to_owned();
        let own = interface["name"].as_str().unwrap_or_default().to_owned();
        if sandbox.is_empty() {
            interface["name"] = Value::from(self.name(&own));
        }
        let state = match sandbox.rsplit('/').next() {
            Some(name) if !name.is_empty() => self.snapshot.containers.get(name),
            _ => Some(&self.snapshot.host),
        };
        let kernel = state.and_then(|state| state.link(&own)).and_then(|link| link.mac.clone());
        if let Some(mac) = interface["mac"].as_str().map(str::to_lowercase)
            && !mac.is_empty()
            && !self.asked.contains(&mac)
        {
            // Drawn by the kernel or by the plugin: what counts is whether it is the link's.
            let whose = if kernel.as_ref() == Some(&mac) { "the link's" } else { "not the link's" };
            interface["mac"] = Value::from(whose);
        }
        interface
    }

    /// The state of the kernel, a line for each fact.
    ///
    /// Left out are firewall rules, files and processes: their form is each plugin's own.
    fn state(&self, snapshot: &Snapshot) -> BTreeSet<String> {
        let mut canonical = snapshot.clone();
        canonical.files.clear();
        canonical.processes.clear();
        let mut lines = BTreeSet::new();
        self.rename(&mut canonical.host, &|name| self.name(name));
        canonical.containers.values_mut().for_each(|state| self.rename(state, &str::to_owned));
        let mut bare = Snapshot::default();
        bare.host.links = bare_links(&canonical.host);
        settings(&Place::Host, &mut canonical.host, &mut lines);
        for (name, state) in &mut canonical.containers {
            settings(&Place::Container(name.clone()), state, &mut lines);
            let links = bare_links(state);
            bare.containers.insert(name.clone(), NamespaceState { links, ..NamespaceState::default() });
        }
        lines.extend(difference(&bare, &canonical).lines.iter().map(|line| fact(line)));
        let all = |place: String, state: &NamespaceState| {
            let asked = state.links.iter().filter_map(|link| {
                let mac = link.mac.as_ref().filter(|mac| self.asked.contains(mac.as_str()))?;
                Some(format!("{place} link {} address {mac}", link.name))
            });
            asked.collect::<Vec<String>>()
        };
        lines.extend(all(Place::Host.to_string(), &canonical.host));
        for (name, state) in &canonical.containers {
            lines.extend(all(Place::Container(name.clone()).to_string(), state));
        }
        lines
    }

    fn rename(&self, state: &mut NamespaceState, name: &dyn Fn(&str) -> String) {
        let set = |text: &mut String| *text = name(text);
        let set_any = |text: &mut Option<String>| *text = text.as_deref().map(name);
        for link in &mut state.links {
            set(&mut link.name);
            set_any(&mut link.master);
            // A note of the plugin to itself, which nothing reads but the plugin; what was asked for is another matter.
            link.alias.take_if(|alias| !self.asked.contains(&alias.to_lowercase()));
        }
        state.addresses.iter_mut().for_each(|address| set(&mut address.link));
        for route in &mut state.routes {
            set_any(&mut route.device);
            route.next_hops.iter_mut().for_each(|hop| set_any(&mut hop.device));
        }
        for rule in &mut state.rules {
            set_any(&mut rule.input);
            set_any(&mut rule.output);
        }
        for entry in &mut state.neighbours {
            set(&mut entry.link);
            entry.mac = entry.mac.as_deref().map(|mac| self.mac(mac));
        }
        // What the kernel keeps for a link of its own: known by the address of a link, so before that is replaced.
        let own: BTreeSet<String> = state.links.iter().filter_map(|link| link.mac.clone()).collect();
        state.fdb.retain(|entry| !own.contains(&entry.mac));
        for entry in &mut state.fdb {
            set(&mut entry.link);
            set_any(&mut entry.master);
            if self.macs.contains_key(&entry.mac) {
                entry.mac = self.mac(&entry.mac);
            }
        }
        state.bridge_vlans.iter_mut().for_each(|vlan| set(&mut vlan.link));
        state.qdiscs.iter_mut().for_each(|qdisc| set(&mut qdisc.link));
        for filter in &mut state.filters {
            set(&mut filter.link);
            for action in &mut filter.actions {
                let words: Vec<String> = action.split(' ').map(name).collect();
                *action = words.join(" ");
            }
        }
        state.nftables.clear();
        state.iptables.clear();
        state.ipsets.clear();
        let sysctls = std::mem::take(&mut state.sysctls);
        state.sysctls = sysctls
            .into_iter()
            .filter(|(key, _)| !VOLATILE.iter().any(|volatile| key.ends_with(volatile)))
            // It follows the link's MTU, which has a line of its own.
            .filter(|(key, _)| !(key.starts_with("net/ipv6/conf/") && key.ends_with("/mtu")))
            .map(|(key, value)| (key.split('/').map(name).collect::<Vec<String>>().join("/"), value))
            .collect();
    }
}

/// Whether a name was drawn by chance: letters, and then hexadecimal digits that say nothing.
fn looks_drawn(name: &str) -> bool {
    let rest = name.trim_start_matches("veth");
    rest.len() >= 6 && rest.len() < name.len() && rest.chars().all(|c| c.is_ascii_hexdigit())
}

/// Links of the same names that nothing was set on: what differs from them is what is set.
fn bare_links(state: &NamespaceState) -> Vec<Link> {
    let bare = |link: &Link| Link { name: link.name.clone(), index: u32::MAX, ..Link::default() };
    state.links.iter().map(bare).collect()
}

/// Takes the settings out and tells each in a line.
fn settings(place: &Place, state: &mut NamespaceState, lines: &mut BTreeSet<String>) {
    let all = std::mem::take(&mut state.sysctls);
    lines.extend(all.into_iter().map(|(key, value)| format!("{place} sysctl {key} {}", value.trim())));
}

/// `~ host link x mtu 0 -> 1500` and `+ host route ...` as what is there.
fn fact(line: &str) -> String {
    let (sign, rest) = line.split_at(line.len().min(2));
    match rest.rsplit_once(" -> ") {
        Some((before, after)) if sign == "~ " => {
            let place = before.rsplit_once(' ').map_or(before, |(place, _)| place);
            format!("{place} {after}")
        }
        _ => rest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::arena::snapshot::{Address, FdbEntry, Neighbour, Peer};

    fn link(name: &str, index: u32, kind: &str, mac: &str) -> Link {
        Link {
            name: name.to_owned(),
            index,
            kind: Some(kind.to_owned()),
            mac: Some(mac.to_owned()),
            mtu: 1500,
            up: true,
            ..Link::default()
        }
    }

    /// A bridge, a veth of that name into c1, and what belongs to them.
    fn attached(veth: &str, mac: &str, shift: u32) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut outside = link(veth, 7 + shift, "veth", mac);
        outside.master = Some("cni0".to_owned());
        outside.peer = Some(Peer { index: 2 + shift, place: Some(Place::container("c1")) });
        snapshot.host.links = vec![link("cni0", 5, "bridge", mac), outside];
        snapshot.host.sysctls.insert(format!("net/ipv4/conf/{veth}/forwarding"), "1".to_owned());
        snapshot.host.sysctls.insert(format!("net/ipv6/conf/{veth}/stable_secret"), mac.to_owned());
        let mut container =
            NamespaceState { links: vec![link("eth0", 2 + shift, "veth", mac)], ..Default::default() };
        container.addresses.push(Address {
            link: "eth0".to_owned(),
            link_index: 2 + shift,
            address: "10.1.0.2".parse().unwrap(),
            prefix: 16,
            peer: None,
            broadcast: None,
            scope: "global".to_owned(),
            label: None,
            permanent: true,
            tentative: false,
            dad_failed: false,
            deprecated: false,
            secondary: false,
            no_dad: false,
            no_prefix_route: false,
            made_by_kernel: false,
        });
        container.neighbours.push(Neighbour {
            link: "eth0".to_owned(),
            address: "10.1.0.1".parse().unwrap(),
            mac: Some(mac.to_owned()),
            state: "permanent".to_owned(),
            proxy: false,
        });
        snapshot.host.fdb.push(FdbEntry {
            link: veth.to_owned(),
            mac: mac.to_owned(),
            vlan: None,
            master: Some("cni0".to_owned()),
            permanent: true,
            destination: None,
        });
        snapshot.containers.insert("c1".to_owned(), container);
        snapshot
    }

    fn state(snapshot: &Snapshot, asked: &str) -> BTreeSet<String> {
        Roles::of(snapshot, asked).state(snapshot)
    }

    #[test]
    fn names_indices_and_addresses_drawn_by_chance_are_no_difference() {
        let one = attached("veth0a1b2c3d", "0a:00:00:00:00:01", 0);
        let other = attached("veth99999999", "0a:00:00:00:00:02", 5);
        assert_eq!(state(&one, ""), state(&other, ""));
        let lines = state(&one, "");
        assert!(lines.contains("host link peer-of-eth0-in-c1 master cni0"), "{lines:#?}");
        assert!(lines.contains("host sysctl net/ipv4/conf/peer-of-eth0-in-c1/forwarding 1"), "{lines:#?}");
    }

    #[test]
    fn what_was_asked_for_is_a_difference() {
        let one = attached("host0", "0a:00:00:00:00:01", 0);
        let other = attached("host1", "0a:00:00:00:00:02", 0);
        assert_ne!(state(&one, r#"{"hostName":"host0"}"#), state(&other, r#"{"hostName":"host0"}"#));
        let mac = r#"{"mac":"0a:00:00:00:00:01"}"#;
        assert_ne!(state(&one, mac), state(&other, mac));
        let mut smaller = one.clone();
        smaller.host.links[1].mtu = 1400;
        let (one, smaller) = (state(&one, ""), state(&smaller, ""));
        assert_eq!(smaller.difference(&one).collect::<Vec<_>>(), ["host link peer-of-eth0-in-c1 mtu 1400"]);
    }

    #[test]
    fn rules_of_the_firewall_files_and_processes_are_left_out() {
        let one = Snapshot::default();
        let mut other = one.clone();
        other.processes.push("dhcp".to_owned());
        other.host.ipsets.push("set".to_owned());
        other.host.nftables.push(Default::default());
        assert_eq!(state(&one, ""), state(&other, ""));
    }

    #[test]
    fn a_result_is_compared_by_what_it_means() {
        let one = attached("veth0a1b2c3d", "0a:00:00:00:00:01", 0);
        let told = |veth: &str, turned: bool| {
            let mut interfaces = vec![
                json!({"name": "cni0", "mac": "0A:00:00:00:00:01"}),
                json!({"name": veth, "mac": "0a:00:00:00:00:01", "sandbox": ""}),
                json!({"name": "eth0", "mac": "0a:00:00:00:00:01", "sandbox": "/run/netns/c1"}),
            ];
            let mut index = 2;
            if turned {
                interfaces.reverse();
                index = 0;
            }
            json!({"interfaces": interfaces, "ips": [{"address": "10.1.0.2/16", "interface": index}],
                   "dns": {}, "routes": if turned { json!([]) } else { Value::Null }})
        };
        let flat = |document: &Value| {
            let mut all = BTreeMap::new();
            flatten(&Roles::of(&one, "").result(document), String::new(), &mut all);
            all
        };
        let first = flat(&told("veth0a1b2c3d", false));
        assert_eq!(first, flat(&told("veth0a1b2c3d", true)));
        assert_eq!(first["ips[0].interface"], "eth0 in /run/netns/c1");
        assert_eq!(first["interfaces.eth0 in /run/netns/c1.mac"], "the link's");
        assert_ne!(first, flat(&told("vethffffffff", false)), "no such link");
        assert_eq!(
            flat(&json!({"supportedVersions": ["1.0.0", "0.4.0"]})),
            flat(&json!({"supportedVersions": ["0.4.0", "1.0.0"]}))
        );
    }

    #[test]
    fn an_end_of_a_pair_on_the_host_is_known_by_the_other() {
        assert!(looks_drawn("veth0a1b2c3d") && !looks_drawn("cni0.100") && !looks_drawn("deadbeef"));
        let state_of = |drawn: &str| {
            let mut snapshot = Snapshot::default();
            let mut one = link("cni0.100", 4, "veth", "0a:00:00:00:00:01");
            one.peer = Some(Peer { index: 5, place: Some(Place::Host) });
            let mut other = link(drawn, 5, "veth", "0a:00:00:00:00:02");
            other.peer = Some(Peer { index: 4, place: Some(Place::Host) });
            snapshot.host.links = vec![one, other];
            state(&snapshot, "")
        };
        assert_eq!(state_of("veth11111111"), state_of("veth22222222"));
        assert!(state_of("veth11111111").contains("host link cni0.100 mtu 1500"));
    }
}
