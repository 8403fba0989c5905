//! Every constraint gets broken alone, or it is known why it cannot.

use cni_schemas::mutate::{Mutator, Stuck};

use crate::generate::all;

#[test]
fn each_site_is_broken_alone_or_says_what_stands_in_the_way() {
    let (mut sites, mut hit, mut together, mut unreached) = (0, 0, 0, Vec::new());
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
                    together += 1;
                }
                Stuck::Unreached => unreached.push(format!("{name}: {}", constraint.schema_path)),
            }
        }
    }
    println!(
        "{hit} of {sites} constraints broken alone, {together} only together with others, {} unreached",
        unreached.len()
    );
    println!("{}", unreached.join("\n"));
    assert!(hit * 100 >= sites * 90, "only {hit} of {sites} broken alone");
    assert!(unreached.len() * 100 <= sites, "{} of {sites}:\n{}", unreached.len(), unreached.join("\n"));
}
