//! Every constraint gets broken alone, or it is known why it cannot.

use std::collections::BTreeMap;

use cni_schemas::mutate::{Mutator, Stuck};

use crate::generate::all;

#[test]
fn each_site_is_broken_alone_or_says_what_stands_in_the_way() {
    let (mut sites, mut hit, mut forbidden, mut unreached) = (0, 0, 0, Vec::new());
    let mut together = BTreeMap::new();
    for (name, composed) in all() {
        let mutator = Mutator::new(&composed).unwrap_or_else(|error| panic!("{name}: {error}"));
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
        sites += coverage.sites();
        hit += coverage.hit();
        for (&site, stuck) in coverage.stuck() {
            let constraint = &composed.constraints()[site];
            match stuck {
                Stuck::Together(others) => {
                    assert!(!others.is_empty(), "{name}: {}", constraint.schema_path);
                    *together.entry((constraint.keyword, others.clone())).or_insert(0) += 1;
                }
                Stuck::Forbidden(_) => forbidden += 1,
                Stuck::Unreached => unreached.push(format!("{name}: {}", constraint.schema_path)),
            }
        }
    }
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
