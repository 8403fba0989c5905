//! Telling one finding, and one behaviour, from another.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use cni_spec::Operation;

use crate::checks::{Answer, Deviation};
use crate::invoke::Outcome;

/// Characters of an observation that tell findings apart.
const TOLD: usize = 160;

/// What makes findings one and the same: the requirement that is broken, and how, without what differs from one scenario
/// to the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    /// The requirement.
    pub requirement: &'static str,
    /// What was seen, without names and numbers.
    pub how: String,
}

/// The requirement or operation, how it shows, and the gravity.
pub(super) type Family = (&'static str, String, u8);

impl Cause {
    /// What findings have in common that need telling once: a DEL that fails does so for the same reason whatever was
    /// done before. `gravity` is how grave this one is.
    pub(super) fn family(&self, gravity: u8) -> Family {
        let whatever = self.how.starts_with("DEL: exit status");
        (if whatever { "del" } else { self.requirement }, self.how.clone(), gravity)
    }

    /// The cause of a deviation. `answer` is the execution that it speaks of, if it speaks of one.
    pub fn of(deviation: &Deviation, answer: Option<&Answer>) -> Cause {
        let observed = deviation.observed.as_str();
        // Which variable the message lacks tells more than what it says instead.
        if deviation.requirement == "error.code-4-names-vars" {
            return Cause { requirement: deviation.requirement, how: deviation.expected.clone() };
        }
        let how = match answer {
            Some(answer) => {
                let verb =
                    answer.label.split(' ').find(|word| word.parse::<Operation>().is_ok()).unwrap_or("");
                let stderr = String::from_utf8_lossy(&answer.execution.stderr);
                match place_of_crash(&stderr).filter(|_| answer.crashed()) {
                    Some(place) => format!("{verb} crashes in {place}"),
                    None => {
                        let rest = observed.strip_prefix(&answer.label).unwrap_or(observed);
                        let verb = if verb.is_empty() { "a request" } else { verb };
                        format!("{verb}: {}", without_particulars(rest))
                    }
                }
            }
            None => without_particulars(observed),
        };
        Cause { requirement: deviation.requirement, how }
    }
}

/// The function in which a Go or Rust program fell over: the first of its own on the stack.
fn place_of_crash(stderr: &str) -> Option<String> {
    let go = stderr.lines().find(|line| {
        let named = line.starts_with("main.") || line.starts_with("github.com/");
        named && line.ends_with(')')
    });
    let go = go.and_then(|line| line.rsplit_once('(')).map(|(name, _)| name.to_owned());
    go.or_else(|| {
        let line = stderr.lines().find(|line| line.contains("panicked at "))?;
        let place = line.split("panicked at ").nth(1)?;
        let parts: Vec<&str> = place.trim_end_matches(':').rsplitn(3, ':').collect();
        parts.last().map(|file| (*file).to_owned())
    })
}

/// A text in which whatever differs between scenarios is replaced: numbers, addresses, names in quotes, paths.
pub fn without_particulars(text: &str) -> String {
    let mut told = String::new();
    let mut quoted = None;
    for word in text.split_inclusive([' ', ',', ';', '(', ')', '\n']) {
        let (core, end) = word.split_at(word.trim_end_matches([' ', ',', ';', '(', ')', '\n']).len());
        // What stands between quotes is a value of this scenario.
        if quoted.is_some() {
            if core.contains('"') {
                quoted = None;
                told.push_str(end);
            }
            continue;
        }
        if core.contains('"') {
            if core.matches('"').count() % 2 == 1 {
                quoted = Some(());
            }
            told.push_str("\"…\"");
            told.push_str(if quoted.is_some() { "" } else { end });
            continue;
        }
        let particular = core.contains('/') && core.len() > 1
            || core.chars().any(|c| c.is_ascii_digit())
            || core.len() > 40;
        // Codes and statuses are few, and say much.
        let number = told.ends_with("code ") || told.ends_with("status ");
        if particular && !number {
            if !told.ends_with("… ") {
                told.push('…');
            } else {
                continue;
            }
        } else {
            told.push_str(core);
        }
        told.push_str(end);
    }
    told.truncate(told.floor_char_boundary(TOLD));
    told.trim().to_owned()
}

/// What an answer shows of the plugin's behaviour, as a number: equal for answers that differ in particulars only.
pub(super) fn behaviour(answer: &Answer) -> u64 {
    let mut hash = DefaultHasher::new();
    answer.label.split(' ').next().hash(&mut hash);
    match &answer.execution.outcome {
        Outcome::Exited(status) => (0, *status).hash(&mut hash),
        Outcome::Signaled(signal) => (1, *signal).hash(&mut hash),
        Outcome::TimedOut { .. } => 2.hash(&mut hash),
        Outcome::NotStarted { errno, .. } => (3, *errno).hash(&mut hash),
    }
    if let Some(error) = answer.error() {
        error.code.hash(&mut hash);
        without_particulars(&error.msg).hash(&mut hash);
        without_particulars(error.details.as_deref().unwrap_or_default()).hash(&mut hash);
    } else if let Some(document) = answer.document().and_then(|document| document.as_object()) {
        for (key, value) in document {
            (key, value.as_array().map(Vec::len)).hash(&mut hash);
        }
    }
    let stderr = String::from_utf8_lossy(&answer.execution.stderr);
    stderr.lines().take(4).map(without_particulars).for_each(|line| line.hash(&mut hash));
    hash.finish()
}

/// What a line of a difference shows of the plugin's behaviour: kinds of object and of change, without names and numbers.
pub(super) fn touched(operation: Operation, line: &str) -> u64 {
    let mut hash = DefaultHasher::new();
    (operation.as_str(), kind_of_change(line)).hash(&mut hash);
    hash.finish()
}

/// Words before a name.
const NAMING: [&str; 13] = [
    "dev",
    "iif",
    "oif",
    "table",
    "lookup",
    "chain",
    "set",
    "map",
    "flowtable",
    "master",
    "comment",
    "link",
    "ipset",
];

/// Words that are kept of a change at most.
const KINDS: usize = 12;

fn kind_of_change(line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut kept: Vec<String> = words.by_ref().take(2).map(str::to_owned).collect();
    match kept.get(1).map(String::as_str) {
        Some("file") => {
            // Folders may be named after networks: how deep it lies says enough.
            let path = words.next().unwrap_or_default();
            kept.push(path.split('/').nth(1).unwrap_or_default().to_owned());
            kept.push(path.matches('/').count().to_string());
            let kind = ["(directory", "(symlink"].into_iter().find(|kind| line.contains(*kind));
            kept.extend(kind.map(str::to_owned));
            return kept.join(" ");
        }
        Some("process") => return kept.join(" "),
        Some("container") => drop(words.next()),
        _ => {}
    }
    let Some(object) = words.next() else { return kept.join(" ") };
    kept.push(object.to_owned());
    match object {
        "sysctl" => {
            let mut parts: Vec<&str> = words.next().unwrap_or_default().split('/').collect();
            if let [_, _, "conf" | "neigh", name, ..] = parts.as_mut_slice()
                && !matches!(*name, "all" | "default")
            {
                *name = "…";
            }
            kept.push(parts.join("/"));
            return kept.join(" ");
        }
        // A family, and the name of a table.
        "nftables" | "iptables" => {
            kept.extend(words.next().map(str::to_owned));
            words.next();
        }
        "link" | "ipset" => drop(words.next()),
        _ => {}
    }
    let mut named = false;
    for word in words {
        let plain = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-' || byte == b'_');
        if plain && !named && kept.len() < KINDS {
            kept.push(word.to_owned());
        }
        named = NAMING.contains(&word);
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_one_scenario_to_the_next_does_not_tell_findings_apart() {
        let one = "ADD of eth0 of c2 exit status 1 with code 999: failed to find \"cnit0\" in /run/netns/c2";
        let other = "ADD of eth1 of c4 exit status 1 with code 999: failed to find \"x y\" in /run/netns/c4";
        assert_eq!(without_particulars(one), without_particulars(other));
        assert_eq!(
            without_particulars(one),
            "ADD of … of … exit status 1 with code 999: failed to find \"…\" in …"
        );
        assert_ne!(without_particulars("link is left"), without_particulars("route is left"));
    }

    #[test]
    fn changes_are_kinds_without_names_and_numbers() {
        for (line, kind) in [
            (
                "+ host link veth1 veth mtu 1500 state up txqueuelen 0",
                "+ host link veth mtu state up txqueuelen",
            ),
            ("~ container c1 link eth0 mtu 1500 -> 1400", "~ container link mtu"),
            ("- container c1", "- container"),
            (
                "+ container c1 address 10.1.0.2/24 dev eth0 scope global",
                "+ container address dev scope global",
            ),
            (
                "~ host sysctl net/ipv4/conf/eth0/forwarding 0 -> 1",
                "~ host sysctl net/ipv4/conf/…/forwarding",
            ),
            ("~ host sysctl net/ipv4/ip_forward 0 -> 1", "~ host sysctl net/ipv4/ip_forward"),
            (
                "+ host nftables ip nat chain CNI-1 rule ip saddr 10.1.0.2 masquerade comment \"n\"",
                "+ host nftables ip chain rule ip saddr masquerade comment",
            ),
            ("+ file /var/lib/cni/networks/n/10.1.0.2 (12 bytes, mode 0644, ab)", "+ file var 6"),
            ("+ file /run/cni (directory, mode 0755)", "+ file run 2 (directory"),
            ("+ process sleep", "+ process"),
            ("", ""),
        ] {
            assert_eq!(kind_of_change(line), kind);
        }
        let one = touched(Operation::Add, "+ host link veth1 veth mtu 1500");
        assert_eq!(one, touched(Operation::Add, "+ host link vethab veth mtu 1400"));
        assert_ne!(one, touched(Operation::Del, "+ host link veth1 veth mtu 1500"));
    }

    #[test]
    fn crashes_are_told_apart_by_the_function_that_fell_over() {
        let stderr = "panic: runtime error: invalid memory address\n\ngoroutine 1 [running]:\nruntime.gopanic(...)\n\
                      main.cmdAdd(0xc000012345)\n\t/build/main.go:99 +0x1d\n";
        assert_eq!(place_of_crash(stderr).as_deref(), Some("main.cmdAdd"));
        let rust = "thread 'main' panicked at plugins/src/bridge.rs:10:5:\nindex out of bounds\n";
        assert_eq!(place_of_crash(rust).as_deref(), Some("plugins/src/bridge.rs"));
        assert_eq!(place_of_crash("nothing of the kind"), None);
    }
}
