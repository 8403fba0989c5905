//! What differs between two snapshots, and what of it counts.

use serde_json::Value;

use super::case::{Attachment, Case, peer_of};
use crate::arena::snapshot::{Snapshot, difference};

/// The lines of the difference of two snapshots, but for what happens by itself.
pub(super) fn between(case: &Case<'_>, before: &Snapshot, after: &Snapshot) -> Vec<String> {
    difference(before, after).lines.into_iter().filter(|line| !happens_by_itself(case, line)).collect()
}

/// Whether a line tells of what the kernel does without being asked by the plugin.
fn happens_by_itself(case: &Case<'_>, line: &str) -> bool {
    is_of_server(line)
        || (case.pool().is_some() && is_end_of_plug(line))
        || is_loopback_address(case, line)
        || is_state_of_device(case, line)
        || is_table_of_iptables(line)
        || is_rule_of_vrfs(line)
}

/// Whether a line tells of the rule that leads to the tables of VRFs. The kernel makes it with the first VRF of a namespace, and
/// never again: who removed it would spoil every later VRF there.
fn is_rule_of_vrfs(line: &str) -> bool {
    line.starts_with("+ ") && line.contains(" rule ") && line.contains(" from all l3mdev ")
}

/// Whether a line tells of what the DHCP server writes down.
fn is_of_server(line: &str) -> bool {
    line.contains(" /run/cnitest-dhcp")
}

/// Whether a line tells that the host's end of the link to the DHCP server is gone: the kernel removes it some time after the
/// container's namespace, which a daemon may have kept until a moment ago. Who removes the link itself is found in the
/// container.
fn is_end_of_plug(line: &str) -> bool {
    line.starts_with("- host ") && line.split([' ', '/']).any(|word| word.starts_with("front"))
}

/// Whether a line tells of a new, empty table of iptables: where iptables works on nftables, it makes the table that it
/// is asked about, even to delete a rule that is not there, and no attachment owns it. Chains and rules have lines of
/// their own.
fn is_table_of_iptables(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["+", _, "nftables", "ip" | "ip6", table] = words.as_slice() else { return false };
    ["filter", "mangle", "nat", "raw", "security"].contains(table)
}

/// Addresses that the kernel gives the loopback interface when it is set up, and leaves when it is set down.
fn is_loopback_address(case: &Case<'_>, line: &str) -> bool {
    let fixed = case.target.and_then(|target| target.fixed_interface.as_deref()) == Some("lo");
    let loopback = |word: &str| word.starts_with("127.") || word.starts_with("::1/");
    fixed && line.split_whitespace().any(loopback)
}

/// Whether a device that the target provides for a container is up: the kernel sets a link down when it moves between
/// namespaces.
fn is_state_of_device(case: &Case<'_>, line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["~", "host", "link", name, "state", ..] = words.as_slice() else { return false };
    is_device(case, name)
}

/// The devices that the target provides for an attachment's container, their peers included.
pub(crate) fn devices_of(case: &Case<'_>, attachment: &Attachment) -> Vec<String> {
    let links = case.target.map(|target| target.links.as_slice()).unwrap_or_default();
    let own = links.iter().filter(|link| link.per_container);
    own.flat_map(|link| {
        let name = link.name.replace("${container}", &attachment.container);
        [peer_of(&name), name]
    })
    .collect()
}

/// Whether a line has one of these names as a word.
pub(crate) fn names_any(line: &str, names: &[String]) -> bool {
    line.split([' ', '/', ',']).any(|word| names.iter().any(|name| name == word))
}

/// Whether a line says that one of these devices has gone from the host: they were made for the test, and are destroyed with
/// the namespace, or the interface, where a physical device would come back.
pub(crate) fn is_lost_device(line: &str, devices: &[String]) -> bool {
    line.starts_with("- host ") && names_any(line, devices)
}

/// Whether the target provides a link of this name, or its peer, for a container.
pub(super) fn is_device(case: &Case<'_>, name: &str) -> bool {
    let links = case.target.map(|target| target.links.as_slice()).unwrap_or_default();
    let mut stems =
        links.iter().filter(|link| link.per_container).filter_map(|link| link.name.split("${").next());
    stems.any(|stem| !stem.is_empty() && name.starts_with(stem))
}

/// The lines of the difference of two snapshots that somebody has to answer for: neither what happens by itself, nor
/// logs.
pub(crate) fn judged(case: &Case<'_>, before: &Snapshot, after: &Snapshot) -> Vec<String> {
    between(case, before, after).into_iter().filter(|line| !is_log(case, line)).collect()
}

/// What a line of a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A file.
    File,
    /// A link, and what only exists on a link.
    Link,
    /// A firewall rule, a queueing discipline, a route, a setting.
    Setting,
}

/// What a line of a difference is about.
pub(crate) fn subject_of(line: &str) -> Subject {
    let mut words = line.split_whitespace().skip(1);
    match (words.next(), words.next(), words.next()) {
        (Some("file"), ..) => Subject::File,
        (Some("host"), Some("link"), _) | (Some("container"), _, Some("link")) => Subject::Link,
        _ => Subject::Setting,
    }
}

/// Whether a line tells of something in the attachment's container.
pub(crate) fn is_in_container(line: &str, attachment: &Attachment) -> bool {
    let mut words = line.split_whitespace().skip(1);
    words.next() == Some("container")
        && words.next().is_some_and(|name| name.trim_end_matches(':') == attachment.container)
}

/// Whether a line tells of a file that stays but holds something else: counters, locks and logs do not count as left.
pub(crate) fn is_file_content(line: &str) -> bool {
    line.starts_with("~ ") && subject_of(line) == Subject::File
}

/// Whether a line tells of a folder; what it holds has lines of its own.
pub(super) fn is_folder(line: &str) -> bool {
    subject_of(line) == Subject::File && line.contains(" (directory, ")
}

/// Whether a line tells of a file that nobody expects to go away: a log, or what the configuration names.
fn is_log(case: &Case<'_>, line: &str) -> bool {
    let path = line.split_whitespace().nth(2).unwrap_or_default();
    subject_of(line) == Subject::File
        && (path.starts_with("/var/log/") || path.ends_with(".log") || is_configured_file(case, line))
}

/// Whether a line tells of a file that the configuration names, such as a log.
pub(super) fn is_configured_file(case: &Case<'_>, line: &str) -> bool {
    let named =
        |value: &Value| value.as_str().is_some_and(|text| text.starts_with('/') && line.contains(text));
    subject_of(line) == Subject::File && case.configuration.plugin.values().any(named)
}

/// Whether a line tells of a setting of the host's end of the link that cnitest put in front of a chained plugin. It
/// goes away with the DEL of the plugin in front.
pub(crate) fn is_of_front(line: &str) -> bool {
    line.contains(" host ") && line.contains("/front")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_words_only() {
        let names = ["dev-c2".to_owned()];
        assert!(names_any("~ host link dev-c2 alias none -> x", &names));
        assert!(names_any("+ host sysctl net/ipv4/conf/dev-c2/forwarding 1", &names));
        assert!(!names_any("~ host link dev-c21 alias none -> x", &names));
    }

    #[test]
    fn the_rule_of_vrfs_comes_by_itself_and_no_other() {
        assert!(is_rule_of_vrfs("+ container c2 rule 1000: from all l3mdev lookup 0"));
        for line in [
            "- container c2 rule 1000: from all l3mdev lookup 0",
            "+ container c2 rule 32765: from 10.0.0.2 lookup 100",
            "+ container c2 link l3mdev",
        ] {
            assert!(!is_rule_of_vrfs(line), "{line}");
        }
    }

    #[test]
    fn only_an_empty_table_of_iptables_comes_by_itself() {
        assert!(is_table_of_iptables("+ host nftables ip nat"));
        assert!(is_table_of_iptables("+ host nftables ip6 filter"));
        for line in [
            "- host nftables ip nat",
            "+ host nftables ip nat chain CNI-1",
            "+ host nftables ip cni_hostport",
            "+ host nftables inet nat",
        ] {
            assert!(!is_table_of_iptables(line), "{line}");
        }
    }

    #[test]
    fn only_the_hosts_end_of_a_plug_goes_by_itself() {
        assert!(is_end_of_plug("- host link front2 veth mtu 1500 state up txqueuelen 1000"));
        assert!(is_end_of_plug("- host sysctl net/ipv4/conf/front2/forwarding 1"));
        for line in
            ["+ host link front2", "- container c1 link eth0", "- host link veth2", "~ host link front2 mtu"]
        {
            assert!(!is_end_of_plug(line), "{line}");
        }
    }

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(subject_of("+ file /var/lib/cni/networks/n/10.1.0.2"), Subject::File);
        assert_eq!(subject_of("- host link veth1 kind veth"), Subject::Link);
        assert_eq!(subject_of("~ container c1 link eth0 mtu 1500 -> 1400"), Subject::Link);
        assert_eq!(subject_of("+ host nftables table ip nat"), Subject::Setting);
        assert_eq!(subject_of("+ container c1 route 0.0.0.0/0"), Subject::Setting);
        assert!(
            is_folder("+ file /run/cni (directory, mode 0755)") && !is_folder("+ file /run/cni (1 bytes)")
        );
        assert!(is_file_content("~ file /run/x/last_reserved_ip.0 digest 1 -> 2"));
        assert!(!is_file_content("+ file /run/x/last_reserved_ip.0"));
    }
}
