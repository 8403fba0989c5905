//! How two snapshots differ.

use std::collections::BTreeMap;
use std::fmt;

use super::{FileKind, NamespaceState, Place, Snapshot, render};

/// Values below /proc/sys/net that change by themselves.
const VOLATILE: [&str; 2] = ["net/netfilter/nf_conntrack_count", "net/ipv4/tcp_fastopen_key"];

/// How two snapshots differ: readable lines, in a fixed order, without what changes by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// `+ host link veth1 ...`, `- container c1 route ...`, `~ host link eth0 mtu 1500 -> 1400`.
    pub lines: Vec<String>,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Without the lines that match one of these patterns, in which `*` stands for any text.
    #[must_use]
    pub fn without(&self, patterns: &[&str]) -> Self {
        let kept = |line: &&String| !patterns.iter().any(|pattern| matches(pattern, line));
        Self { lines: self.lines.iter().filter(kept).cloned().collect() }
    }
}

/// One line each.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

/// How `after` differs from `before`. Both must have been taken with the same scope.
///
/// Not part of it: indices, counters, handles that the kernel chose, hardware addresses of links that came or
/// went, neighbours and forwarding entries that were learnt, routes that the kernel makes for an address, and what it
/// makes some time after a link is set up (IPv6 link-local addresses, duplicate address detection, carrier).
pub fn difference(before: &Snapshot, after: &Snapshot) -> Difference {
    let mut lines = Vec::new();
    namespace(&Place::Host, &before.host, &after.host, &mut lines);
    let names: BTreeMap<&String, ()> =
        before.containers.keys().chain(after.containers.keys()).map(|name| (name, ())).collect();
    for name in names.into_keys() {
        let place = Place::Container(name.clone());
        match (before.containers.get(name), after.containers.get(name)) {
            (Some(before), Some(after)) => namespace(&place, before, after, &mut lines),
            (None, _) => lines.push(format!("+ {place}")),
            (Some(_), None) => lines.push(format!("- {place}")),
        }
    }
    files(before, after, &mut lines);
    changes(&before.processes, &after.processes, "process ", &mut lines);
    // Names of files, aliases and comments are whatever a plugin made them: each stays in its line.
    Difference { lines: lines.into_iter().map(printable).collect() }
}

/// The text with its control characters escaped.
fn printable(line: String) -> String {
    if !line.contains(char::is_control) {
        return line;
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    line.chars().map(escaped).collect()
}

fn namespace(place: &Place, before: &NamespaceState, after: &NamespaceState, lines: &mut Vec<String>) {
    links(place, before, after, lines);
    changes(&render::lines(before), &render::lines(after), &format!("{place} "), lines);
    sysctls(place, before, after, lines);
}

fn links(place: &Place, before: &NamespaceState, after: &NamespaceState, lines: &mut Vec<String>) {
    for old in &before.links {
        if after.link(&old.name).is_none() {
            lines.push(format!("- {place} {}", render::link(old)));
        }
    }
    for new in &after.links {
        let Some(old) = before.link(&new.name) else {
            lines.push(format!("+ {place} {}", render::link(new)));
            continue;
        };
        let (mut had, mut has) = (render::link_properties(old), render::link_properties(new));
        // A link of the same name and index is the same link; another one has its own address.
        if old.index == new.index {
            had.extend(old.mac.clone().map(|mac| ("address".to_owned(), mac)));
            has.extend(new.mac.clone().map(|mac| ("address".to_owned(), mac)));
        }
        map_changes(&had, &has, &format!("{place} link {}", new.name), lines);
    }
}

/// Lines for the keys whose values differ: `~ PREFIX KEY OLD -> NEW`.
fn map_changes(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    prefix: &str,
    lines: &mut Vec<String>,
) {
    let keys: BTreeMap<&String, ()> = before.keys().chain(after.keys()).map(|key| (key, ())).collect();
    for key in keys.into_keys() {
        let (old, new) = (before.get(key), after.get(key));
        if old != new {
            let shown = |value: Option<&String>| value.map_or("none", String::as_str).to_owned();
            lines.push(format!("~ {prefix} {key} {} -> {}", shown(old), shown(new)));
        }
    }
}

/// Lines of one list that the other lacks, each as often as it is there.
fn changes(before: &[String], after: &[String], prefix: &str, lines: &mut Vec<String>) {
    let mut counts: BTreeMap<&String, i64> = BTreeMap::new();
    for line in before {
        *counts.entry(line).or_default() -= 1;
    }
    for line in after {
        *counts.entry(line).or_default() += 1;
    }
    for (sign, wanted) in [("-", -1), ("+", 1)] {
        // In the order of the list that has them.
        for line in if wanted < 0 { before } else { after } {
            if let Some(count) = counts.get_mut(line)
                && count.signum() == wanted
            {
                *count -= wanted;
                lines.push(format!("{sign} {prefix}{line}"));
            }
        }
    }
}

fn sysctls(place: &Place, before: &NamespaceState, after: &NamespaceState, lines: &mut Vec<String>) {
    let relevant = |state: &NamespaceState| -> BTreeMap<String, String> {
        state
            .sysctls
            .iter()
            .filter(|(name, _)| !VOLATILE.contains(&name.as_str()))
            .filter(|(name, _)| match interface(name) {
                // The link itself is what came or went.
                Some(link) => [before, after]
                    .iter()
                    .all(|state| state.sysctls.keys().any(|other| interface(other) == Some(link))),
                None => true,
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    // Two walks over a thousand names are dear; most often nothing changed.
    if before.sysctls != after.sysctls {
        map_changes(&relevant(before), &relevant(after), &format!("{place} sysctl"), lines);
    }
}

/// The interface that a value belongs to: `net/ipv4/conf/eth0/rp_filter`, `net/ipv6/neigh/eth0/...`.
fn interface(sysctl: &str) -> Option<&str> {
    let mut parts = sysctl.split('/');
    let family = parts.nth(1)?;
    let group = parts.next()?;
    let name = parts.next()?;
    parts.next()?;
    let per_interface = matches!(family, "ipv4" | "ipv6" | "mpls") && matches!(group, "conf" | "neigh");
    (per_interface && !matches!(name, "all" | "default")).then_some(name)
}

fn files(before: &Snapshot, after: &Snapshot, lines: &mut Vec<String>) {
    for (path, old) in &before.files {
        if !after.files.contains_key(path) {
            let sign = if old.kind == FileKind::Removed { "+" } else { "-" };
            lines.push(format!("{sign} file {}", path.display()));
        }
    }
    for (path, new) in &after.files {
        let path_text = path.display();
        match before.files.get(path) {
            None if new.kind == FileKind::Removed => lines.push(format!("- file {path_text}")),
            None => lines.push(format!("+ file {path_text} ({})", render::file(new))),
            Some(old) if old != new => {
                lines.push(format!("~ file {path_text} ({}) -> ({})", render::file(old), render::file(new)));
            }
            Some(_) => {}
        }
    }
}

/// Whether the whole text matches a pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::super::{FileState, Link};
    use super::*;

    fn link(name: &str, index: u32, mtu: u32) -> Link {
        Link {
            name: name.to_owned(),
            index,
            mtu,
            mac: Some(format!("02:00:00:00:00:{index:02x}")),
            ..Link::default()
        }
    }

    #[test]
    fn links_come_go_and_change() {
        let mut before = Snapshot::default();
        before.host.links = vec![link("a", 1, 1500), link("b", 2, 1500), link("d", 4, 1500)];
        let mut after = before.clone();
        after.host.links = vec![link("a", 1, 1400), link("c", 3, 1500), link("d", 9, 1500)];
        let lines = difference(&before, &after).lines;
        assert_eq!(
            lines,
            [
                "- host link b mtu 1500 state down txqueuelen 0",
                "~ host link a mtu 1500 -> 1400",
                "+ host link c mtu 1500 state down txqueuelen 0",
            ],
            "an index is no difference"
        );
    }

    #[test]
    fn sysctls_of_links_that_came_are_left_out() {
        let mut before = Snapshot::default();
        let mut after = Snapshot::default();
        let set = |snapshot: &mut Snapshot, name: &str, value: &str| {
            snapshot.host.sysctls.insert(name.to_owned(), value.to_owned());
        };
        set(&mut before, "net/ipv4/ip_forward", "0");
        set(&mut after, "net/ipv4/ip_forward", "1");
        set(&mut after, "net/ipv4/conf/veth0/forwarding", "1");
        set(&mut before, "net/ipv4/conf/eth0/forwarding", "0");
        set(&mut after, "net/ipv4/conf/eth0/forwarding", "1");
        assert_eq!(
            difference(&before, &after).lines,
            [
                "~ host sysctl net/ipv4/conf/eth0/forwarding 0 -> 1",
                "~ host sysctl net/ipv4/ip_forward 0 -> 1"
            ]
        );
        assert_eq!(interface("net/ipv4/conf/all/forwarding"), None);
        assert_eq!(interface("net/ipv4/neigh/eth0.5/gc"), Some("eth0.5"));
        assert_eq!(interface("net/core/somaxconn"), None);
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let state = FileState {
            kind: FileKind::Directory,
            size: 0,
            mode: 0o755,
            digest: String::new(),
            target: None,
        };
        let mut after = Snapshot::default();
        after.files.insert(PathBuf::from("/run/x\n- host link eth0\u{1b}[2J"), state);
        assert_eq!(
            difference(&Snapshot::default(), &after).lines,
            ["+ file /run/x\\n- host link eth0\\u{1b}[2J (directory, mode 0755)"]
        );
    }

    #[test]
    fn files_are_written_removed_and_restored() {
        let file = |kind, size| FileState { kind, size, mode: 0o644, digest: "d".to_owned(), target: None };
        let mut before = Snapshot::default();
        before.files.insert(PathBuf::from("/gone"), file(FileKind::Removed, 0));
        before.files.insert(PathBuf::from("/x"), file(FileKind::File, 1));
        let mut after = Snapshot::default();
        after.files.insert(PathBuf::from("/x"), file(FileKind::File, 2));
        after.files.insert(PathBuf::from("/etc/y"), file(FileKind::Removed, 0));
        assert_eq!(
            difference(&before, &after).lines,
            ["+ file /gone", "- file /etc/y", "~ file /x (1 bytes, mode 0644, d) -> (2 bytes, mode 0644, d)"]
        );
    }

    #[test]
    fn lines_are_counted() {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        let mut lines = Vec::new();
        changes(&list(&["a", "b", "b"]), &list(&["b", "c", "c"]), "", &mut lines);
        assert_eq!(lines, ["- a", "- b", "+ c", "+ c"]);
    }

    #[test]
    fn patterns_leave_lines_out() {
        let all = Difference { lines: vec!["+ host link x".to_owned(), "+ file /run/lock".to_owned()] };
        assert_eq!(all.without(&["+ file /run/*"]).lines, ["+ host link x"]);
        assert_eq!(all.without(&["* link *", "*"]).lines, Vec::<String>::new());
        assert!(matches("a*b*c", "axxbyyc") && !matches("a*b*c", "axxbyy") && matches("", ""));
        assert!(!matches("ab*ba", "aba"), "the ends must not overlap");
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_what_covers_it(text in "[a-c]{0,8}", start in 0usize..8) {
            prop_assert!(matches(&text, &text));
            prop_assert!(matches("*", &text));
            let start = start.min(text.len());
            let pattern = format!("{}*", &text[..start]);
            prop_assert!(matches(&pattern, &text));
        }

        #[test]
        fn nothing_differs_from_itself(names in proptest::collection::vec("[a-d]{1,3}", 0..6)) {
            let mut snapshot = Snapshot::default();
            snapshot.host.links = names.iter().enumerate().map(|(i, n)| link(n, i as u32, 1500)).collect();
            snapshot.host.links.dedup_by(|a, b| a.name == b.name);
            snapshot.processes = names;
            let difference = difference(&snapshot, &snapshot.clone());
            // Links of one name twice cannot be: the kernel does not allow it.
            let mut seen = std::collections::BTreeSet::new();
            if snapshot.host.links.iter().all(|link| seen.insert(link.name.clone())) {
                prop_assert_eq!(difference.lines, Vec::<String>::new());
            }
        }
    }
}
