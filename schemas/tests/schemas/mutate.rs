//! Every constraint gets broken alone, or it is known why it cannot.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cni_schemas::Composed;
use cni_schemas::mutate::{Mutator, Stuck};

use crate::generate::all;

/// What became of constraints.
#[derive(Default)]
struct Tally {
    sites: usize,
    hit: usize,
    forbidden: usize,
    unreached: Vec<String>,
    /// The keyword, what is broken with it, and how often.
    together: BTreeMap<(&'static str, Vec<String>), usize>,
}

impl Tally {
    /// Breaks each constraint of a schema, and counts what became of them.
    fn count(tally: &Mutex<Tally>, name: &str, composed: &Composed) {
        let mutator = Mutator::new(composed).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (mutations, coverage) = mutator.sweep(1);
        for mutation in &mutations {
            let violations = composed.validate(&mutation.document);
            assert_eq!(violations.len(), 1, "{name}: {mutation:?}");
            assert_eq!(violations[0].schema_path, mutation.schema_path, "{name}");
            let constraint = &composed.constraints()[mutation.site];
            assert_eq!((constraint.keyword, constraint.code), (mutation.keyword, mutation.code), "{name}");
            assert_eq!(mutation.requirement, constraint.requirement.as_deref(), "{name}: {mutation:?}");
            assert_eq!(constraint.plugin_own, mutation.requirement.is_none(), "{name}: {mutation:?}");
        }
        assert_eq!(coverage.hit() + coverage.stuck().len(), coverage.sites(), "{name}");
        let mut tally = tally.lock().expect("no other schema failed");
        tally.sites += coverage.sites();
        tally.hit += coverage.hit();
        for (&site, stuck) in coverage.stuck() {
            let constraint = &composed.constraints()[site];
            match stuck {
                Stuck::Together(others) => {
                    assert!(!others.is_empty(), "{name}: {}", constraint.schema_path);
                    *tally.together.entry((constraint.keyword, others.clone())).or_insert(0) += 1;
                }
                Stuck::Forbidden(_) => tally.forbidden += 1,
                Stuck::Unreached => tally.unreached.push(format!("{name}: {}", constraint.schema_path)),
            }
        }
    }
}

#[test]
fn each_site_is_broken_alone_or_says_what_stands_in_the_way() {
    let (all, next, tally) = (all(), AtomicUsize::new(0), Mutex::<Tally>::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((name, composed)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    Tally::count(&tally, name, composed);
                }
            });
        }
    });
    let Tally { sites, hit, forbidden, mut unreached, together } =
        tally.into_inner().expect("every schema was counted");
    unreached.sort();
    let companions: usize = together.values().sum();
    println!(
        "{hit} of {sites} constraints broken alone; {companions} only together with others, {forbidden} where nothing can be"
    );
    for ((keyword, others), count) in &together {
        println!("{count} {keyword} with {others:?}");
    }
    assert!(hit * 100 >= sites * 90, "only {hit} of {sites} broken alone");
    assert!(unreached.is_empty(), "{} of {sites}:\n{}", unreached.len(), unreached.join("\n"));
}
