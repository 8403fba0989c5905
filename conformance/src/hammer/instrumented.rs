//! Plugins that were built with coverage, and what their counters show of a run.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use object::{Object as _, ObjectSection as _, ReadCache};

use crate::arena::Counted;

/// What `go build -cover` states of itself in a program.
const GO: &[u8] = b"build\t-cover=true\n";

/// Whether an executable writes counters when it exits: the sections of Rust's and clang's, the build settings of Go's.
/// What is no such executable, a script for instance, does not.
pub(super) fn counts(executable: &Path) -> bool {
    let Ok(file) = File::open(executable) else { return false };
    let cache = ReadCache::new(file);
    let Ok(file) = object::File::parse(&cache) else { return false };
    file.section_by_name("__llvm_prf_cnts").is_some()
        || file.section_by_name(".go.buildinfo").is_some_and(|section| {
            section.data().is_ok_and(|data| data.windows(GO.len()).any(|window| window == GO))
        })
}

/// Which counters counted in a run, and how far each: a bit for each number of bits.
#[derive(Debug, Default)]
pub(super) struct Counters(BTreeMap<u64, u128>);

impl Counters {
    /// Adds what a scenario counted; whether anything of it is new.
    pub(super) fn add(&mut self, counted: &Counted) -> bool {
        let mut new = false;
        for hit in &counted.hits {
            let seen = self.0.entry(hit.counter).or_default();
            let all = *seen | 1 << (hit.magnitude % 128);
            new |= *seen != all;
            *seen = all;
        }
        new
    }

    /// How many counters counted.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Hit;

    #[test]
    fn a_counter_is_new_for_each_magnitude() {
        let hits = |all: &[(u64, u8)]| Counted {
            hits: all.iter().map(|&(counter, magnitude)| Hit { counter, magnitude }).collect(),
            unread: None,
        };
        let mut counters = Counters::default();
        assert!(!counters.add(&hits(&[])));
        assert!(counters.add(&hits(&[(1, 1), (2, 64)])));
        assert!(!counters.add(&hits(&[(1, 1)])));
        assert!(counters.add(&hits(&[(1, 2)])));
        assert_eq!(counters.len(), 2);
    }

    #[test]
    fn what_is_no_program_counts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n# build\t-cover=true\n").unwrap();
        assert!(!counts(&script) && !counts(folder.path()) && !counts(Path::new("/nowhere")));
    }
}
