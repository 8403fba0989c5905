//! What is there before and after.

use std::collections::BTreeMap;

use cnitest_reports::churn::{Held, Leak, Leaks};

use super::driver::generic;
use super::plan::namespace;
use crate::arena::{Arena, ArenaError, Place, Scope, Snapshot, difference};

/// Kinds of leak that are told.
const KINDS: usize = 50;

/// Containers that are looked at: thousands would take minutes.
pub(super) const CONTAINERS: usize = 32;

/// Looks at the host, at files and processes, and at the namespaces of these slots.
pub(super) fn look<'a>(
    arena: &mut Arena,
    slots: impl IntoIterator<Item = &'a usize>,
) -> Result<Snapshot, ArenaError> {
    let scope = Scope::usual().only(Place::Host);
    let containers = slots.into_iter().map(|slot| Place::container(namespace(*slot)));
    arena.snapshot(containers.fold(scope, Scope::only))
}

/// What was left: what is there after and was not before.
pub(super) fn leaks(before: &Snapshot, after: &Snapshot, left_running: &[String]) -> Leaks {
    // Namespaces that workers made are not the plugins'.
    let mut before = before.clone();
    for (name, state) in &after.containers {
        before.containers.entry(name.clone()).or_insert_with(|| {
            let mut state = state.clone();
            state.links.retain(|link| link.loopback);
            state.addresses.retain(|address| address.link == "lo");
            let lo = |device: &Option<String>| device.as_deref().is_none_or(|device| device == "lo");
            state.routes.retain(|route| lo(&route.device));
            state
        });
    }
    let mut leaks = Leaks::default();
    let mut kinds: BTreeMap<String, Leak> = BTreeMap::new();
    let running = left_running.iter().map(|name| format!("+ process {name}"));
    for line in difference(&before, after).lines.into_iter().chain(running) {
        if !line.starts_with('+') {
            leaks.changed.push(line);
            continue;
        }
        leaks.count += 1;
        let kind = kinds.entry(generic(&line, "")).or_insert(Leak { count: 0, example: line });
        kind.count += 1;
    }
    leaks.kinds = kinds.into_values().collect();
    leaks.kinds.sort_by_key(|leak| std::cmp::Reverse(leak.count));
    leaks.kinds.truncate(KINDS);
    leaks.changed.truncate(KINDS);
    leaks
}

/// How much the host holds.
pub(super) fn held(snapshot: &Snapshot) -> Held {
    let host = &snapshot.host;
    let nft = host.nftables.iter().map(|table| {
        table.chains.iter().map(|chain| chain.rules.len()).sum::<usize>()
            + table.sets.iter().map(|set| set.elements.len()).sum::<usize>()
    });
    let legacy = host.iptables.iter().flat_map(|table| &table.chains).map(|chain| chain.rules.len());
    Held {
        links: host.links.len() as u64,
        routes: host.routes.len() as u64,
        rules: (nft.sum::<usize>() + legacy.sum::<usize>()) as u64,
        files: snapshot.files.len() as u64,
        bytes: snapshot.files.values().map(|file| file.size).sum(),
        processes: snapshot.processes.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::snapshot::Link;

    fn with(links: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let link = |name: &&str| Link { name: (*name).to_owned(), ..Link::default() };
        snapshot.host.links = links.iter().map(link).collect();
        snapshot
    }

    #[test]
    fn what_is_left_is_told_by_kind() {
        let after = with(&["bridge", "veth00001111", "veth00002222", "other"]);
        let leaks = leaks(&with(&["bridge", "gone"]), &after, &["daemon".to_owned()]);
        let counts: Vec<u64> = leaks.kinds.iter().map(|leak| leak.count).collect();
        assert_eq!((leaks.count, counts, leaks.changed.len()), (4, vec![2, 1, 1], 1));
        assert_eq!(held(&after).links, 4);
    }
}
