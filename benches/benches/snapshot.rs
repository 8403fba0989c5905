//! What it costs to look at an arena.

use cnitest::arena::Scope;
use criterion::Criterion;

fn snapshot(criterion: &mut Criterion) {
    let mut arena = cnitest_benches::arena(None);
    for name in ["c1", "c2"] {
        arena.create_netns(name).expect("namespace");
    }
    let mut group = criterion.benchmark_group("snapshot of a host and two containers");
    for (name, scope) in [("network", Scope::network()), ("usual", Scope::usual()), ("all", Scope::all())] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert_eq!(arena.snapshot(scope.clone()).expect("snapshot").containers.len(), 2));
        });
    }
    group.finish();
}

fn main() {
    cnitest_benches::main(&[snapshot]);
}
