//! Parts of a snapshot as lines of text, in the manner of ip(8) and nft(8). Indices, handles and other values
//! that say nothing about what was set up are left out.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::{
    Address, BridgeVlan, FdbEntry, FileKind, FileState, Filter, IptablesTable, Link, NamespaceState,
    Neighbour, NftRule, NftTable, Qdisc, Route, Rule,
};

/// `10.1.0.2/16`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// In the manner of `ip route`, with the table unless it is main.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != "unicast" {
            write!(f, "{} ", self.kind)?;
        }
        if self.is_default() {
            let family = if self.destination.is_ipv6() { " (IPv6)" } else { "" };
            write!(f, "default{family}")?;
        } else {
            write!(f, "{}/{}", self.destination, self.prefix)?;
        }
        if let Some((address, prefix)) = self.from {
            write!(f, " from {address}/{prefix}")?;
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(device) = &self.device {
            write!(f, " dev {device}")?;
        }
        for hop in &self.next_hops {
            f.write_str(" nexthop")?;
            if let Some(gateway) = hop.gateway {
                write!(f, " via {gateway}")?;
            }
            if let Some(device) = &hop.device {
                write!(f, " dev {device}")?;
            }
            write!(f, " weight {}", hop.weight)?;
        }
        if self.table != Self::MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        write!(f, " proto {} scope {}", self.protocol, self.scope)?;
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {}{mtu}", if self.mtu_locked { "lock " } else { "" })?;
        }
        if let Some(advmss) = self.advmss {
            write!(f, " advmss {advmss}")?;
        }
        if self.tos != 0 {
            write!(f, " tos {}", self.tos)?;
        }
        if self.onlink {
            f.write_str(" onlink")?;
        }
        Ok(())
    }
}

/// The properties of a link that a difference shows, by name. The hardware address is not among them.
pub(super) fn link_properties(link: &Link) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        all.insert(name.to_owned(), value);
    };
    let mut flag = |name: &str, on: bool| {
        if on {
            set(name, "on".to_owned());
        }
    };
    flag("promisc", link.promiscuous);
    flag("allmulticast", link.all_multicast);
    flag("noarp", link.no_arp);
    set("state", if link.up { "up" } else { "down" }.to_owned());
    set("mtu", link.mtu.to_string());
    set("txqueuelen", link.tx_queue_len.to_string());
    if let Some(kind) = &link.kind {
        set("kind", kind.clone());
    }
    if let Some(master) = &link.master {
        set("master", master.clone());
    }
    if let Some(alias) = &link.alias {
        set("alias", format!("{alias:?}"));
    }
    if !link.alt_names.is_empty() {
        set("altnames", link.alt_names.join(","));
    }
    if link.group != 0 {
        set("group", link.group.to_string());
    }
    for (name, value) in &link.details {
        set(name, value.clone());
    }
    if let Some(port) = &link.port {
        for (name, on) in [
            ("hairpin", port.hairpin),
            ("isolated", port.isolated),
            ("learning", port.learning),
            ("flood", port.flood),
            ("guard", port.guard),
            ("root_block", port.root_block),
            ("fastleave", port.fast_leave),
            ("proxy_arp", port.proxy_arp),
            ("vlan_tunnel", port.vlan_tunnel),
            ("locked", port.locked),
        ] {
            set(&format!("port {name}"), if on { "on" } else { "off" }.to_owned());
        }
        if let Some(cost) = port.cost {
            set("port cost", cost.to_string());
        }
        if let Some(priority) = port.priority {
            set("port priority", priority.to_string());
        }
    }
    all
}

/// A link in one line.
pub(super) fn link(link: &Link) -> String {
    let mut line = format!("link {}", link.name);
    let properties = link_properties(link);
    // The kind first, the rest as it comes; what a bridge port has by default would drown them.
    if let Some(kind) = properties.get("kind") {
        line += &format!(" {kind}");
    }
    for (name, value) in &properties {
        if name != "kind" && !name.starts_with("port ") {
            line += &format!(" {name} {value}");
        }
    }
    line
}

/// Everything of a namespace but links and sysctls, a line each.
pub(super) fn lines(state: &NamespaceState) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(state.addresses.iter().filter(|address| !is_link_local(address)).map(address));
    lines.extend(
        state
            .routes
            .iter()
            .filter(|route| !follows_from_an_address(route))
            .map(|route| format!("route {route}")),
    );
    lines.extend(state.rules.iter().map(rule));
    lines.extend(state.neighbours.iter().filter(|entry| entry.is_permanent()).map(neighbour));
    lines.extend(state.fdb.iter().filter(|entry| somebody_set(entry, state)).map(fdb));
    lines.extend(state.bridge_vlans.iter().map(vlan));
    lines.extend(state.qdiscs.iter().map(qdisc));
    lines.extend(state.filters.iter().map(filter));
    state.nftables.iter().for_each(|table| nftables(table, &mut lines));
    state.iptables.iter().for_each(|table| iptables(table, &mut lines));
    lines.extend(state.ipsets.iter().map(|name| format!("ipset {name}")));
    lines
}

/// The kernel makes these some time after a link is set up.
fn is_link_local(address: &Address) -> bool {
    address.made_by_kernel && matches!(address.address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// What the kernel itself adds to its local table for an address, and, for IPv6, to the main table too: some time after
/// the address, once duplicate address detection is done. The address itself is shown.
fn follows_from_an_address(route: &Route) -> bool {
    route.protocol == "kernel" && (route.table == Route::LOCAL_TABLE || route.destination.is_ipv6())
}

/// Whether an entry is neither learnt nor what the kernel keeps for a link of its own.
fn somebody_set(entry: &FdbEntry, state: &NamespaceState) -> bool {
    let own = state.links.iter().any(|link| link.mac.as_deref() == Some(&entry.mac));
    let group = entry.master.is_none() && (entry.mac.starts_with("33:33:") || entry.mac.starts_with("01:"));
    entry.permanent && !own && !group
}

fn address(address: &Address) -> String {
    let mut line = format!("address {address} dev {} scope {}", address.link, address.scope);
    if let Some(peer) = address.peer {
        line += &format!(" peer {peer}");
    }
    if let Some(broadcast) = address.broadcast {
        line += &format!(" brd {broadcast}");
    }
    for (word, on) in [
        ("dynamic", !address.permanent && !address.tentative),
        ("dadfailed", address.dad_failed),
        ("deprecated", address.deprecated),
        ("secondary", address.secondary),
        ("nodad", address.no_dad),
        ("noprefixroute", address.no_prefix_route),
    ] {
        if on {
            line += &format!(" {word}");
        }
    }
    line
}

fn rule(rule: &Rule) -> String {
    let mut line = format!("rule {}:", rule.priority);
    if matches!(rule.family, super::Family::V6) {
        line += " (IPv6)";
    }
    if rule.inverted {
        line += " not";
    }
    match rule.from {
        Some((address, prefix)) => line += &format!(" from {address}/{prefix}"),
        None => line += " from all",
    }
    if let Some((address, prefix)) = rule.to {
        line += &format!(" to {address}/{prefix}");
    }
    if let Some(name) = &rule.input {
        line += &format!(" iif {name}");
    }
    if let Some(name) = &rule.output {
        line += &format!(" oif {name}");
    }
    if let Some((mark, mask)) = rule.mark {
        line += &format!(" fwmark {mark:#x}/{mask:#x}");
    }
    for other in &rule.others {
        line += &format!(" {other}");
    }
    line += &format!(" {}", rule.action);
    if rule.action == "lookup" {
        line += &format!(" {}", rule.table);
    }
    line
}

fn neighbour(entry: &Neighbour) -> String {
    let proxy = if entry.proxy { " proxy" } else { "" };
    let mac = entry.mac.as_deref().unwrap_or("none");
    format!("neighbour {} dev {} lladdr {mac} {}{proxy}", entry.address, entry.link, entry.state)
}

fn fdb(entry: &FdbEntry) -> String {
    let mut line = format!("fdb {} dev {}", entry.mac, entry.link);
    if let Some(destination) = entry.destination {
        line += &format!(" dst {destination}");
    }
    if let Some(vlan) = entry.vlan {
        line += &format!(" vlan {vlan}");
    }
    if let Some(master) = &entry.master {
        line += &format!(" master {master}");
    }
    line
}

fn vlan(vlan: &BridgeVlan) -> String {
    let pvid = if vlan.pvid { " pvid" } else { "" };
    let untagged = if vlan.untagged { " untagged" } else { "" };
    format!("bridge vlan {} dev {}{pvid}{untagged}", vlan.id, vlan.link)
}

fn qdisc(qdisc: &Qdisc) -> String {
    let mut line = format!("qdisc {} dev {} parent {}", qdisc.kind, qdisc.link, qdisc.parent);
    // The kernel chooses handles from 8000 up.
    let chosen =
        u32::from_str_radix(qdisc.handle.trim_end_matches(':'), 16).is_ok_and(|major| major < 0x8000);
    if chosen {
        line += &format!(" handle {}", qdisc.handle);
    }
    if let Some(rate) = qdisc.rate {
        line += &format!(" rate {rate}");
    }
    if let Some(burst) = qdisc.burst {
        line += &format!(" burst {burst}");
    }
    if let Some(limit) = qdisc.limit {
        line += &format!(" limit {limit}");
    }
    line
}

fn filter(filter: &Filter) -> String {
    format!(
        "filter {} dev {} parent {} protocol {:#06x} {}",
        filter.kind,
        filter.link,
        filter.parent,
        filter.protocol,
        filter.actions.join(" ")
    )
    .trim_end()
    .to_owned()
}

fn with_comment(line: String, comment: Option<&String>) -> String {
    match comment {
        Some(text) => format!("{line} comment {text:?}"),
        None => line,
    }
}

fn nftables(table: &NftTable, lines: &mut Vec<String>) {
    let prefix = format!("nftables {} {}", table.family, table.name);
    let dormant = if table.dormant { " dormant" } else { "" };
    lines.push(with_comment(format!("{prefix}{dormant}"), table.comment.as_ref()));
    for chain in &table.chains {
        let mut line = format!("{prefix} chain {}", chain.name);
        if let Some(hook) = &chain.hook {
            line += &format!(
                " type {} hook {} priority {} policy {}",
                hook.kind, hook.hook, hook.priority, hook.policy
            );
            if !hook.devices.is_empty() {
                line += &format!(" devices {}", hook.devices.join(","));
            }
        }
        lines.push(with_comment(line, chain.comment.as_ref()));
        for NftRule { text, comment } in &chain.rules {
            lines.push(with_comment(format!("{prefix} chain {} rule {text}", chain.name), comment.as_ref()));
        }
    }
    for set in &table.sets {
        let kind = if set.is_map { "map" } else { "set" };
        lines.push(with_comment(format!("{prefix} {kind} {}", set.name), set.comment.as_ref()));
        lines.extend(
            set.elements.iter().map(|element| format!("{prefix} {kind} {} element {element}", set.name)),
        );
    }
    lines.extend(table.objects.iter().map(|object| format!("{prefix} {object}")));
}

/// A table that only has its built-in chains, empty and accepting, is as good as none.
fn iptables(table: &IptablesTable, lines: &mut Vec<String>) {
    let prefix = format!("iptables {} {}", table.family, table.name);
    for chain in &table.chains {
        match chain.policy.as_deref() {
            Some("ACCEPT") => {}
            Some(policy) => lines.push(format!("{prefix} chain {} policy {policy}", chain.name)),
            None => lines.push(format!("{prefix} chain {}", chain.name)),
        }
        lines.extend(chain.rules.iter().map(|rule| format!("{prefix} chain {} rule {rule}", chain.name)));
    }
}

/// A written file without its path.
pub(super) fn file(state: &FileState) -> String {
    match state.kind {
        FileKind::File => format!("{} bytes, mode {:04o}, {}", state.size, state.mode, state.digest),
        FileKind::Symlink => {
            let target = state.target.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            format!("symlink to {target}")
        }
        FileKind::Removed => "removed".to_owned(),
        kind => format!("{kind}, mode {:04o}", state.mode),
    }
}
