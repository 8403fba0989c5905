//! Every seed, and everything that once made a target panic, runs on any toolchain.

use std::fs;
use std::path::Path;

use cnitest_fuzz::TARGETS;

fn replay(folder: &str) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut count = 0;
    for target in TARGETS {
        let Ok(entries) = fs::read_dir(folder.join(target.name)) else { continue };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let input = fs::read(&path).expect("a readable file");
            let outcome = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(outcome.is_ok(), "target {} fails on {}", target.name, path.display());
            count += 1;
        }
    }
    count
}

#[test]
fn regressions_stay_mended() {
    replay("regressions");
}

#[test]
fn seeds_run() {
    assert!(replay("corpus") >= TARGETS.len());
}

#[test]
fn every_target_has_seeds_and_an_executable() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    for name in &names {
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
        assert!(root.join("fuzz_targets").join(name).with_extension("rs").exists(), "{name}");
        assert!(fs::read_dir(root.join("corpus").join(name)).is_ok_and(|seeds| seeds.count() > 0), "{name}");
    }
    // A folder of no target would never be run.
    for folder in ["corpus", "regressions"] {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten() {
            let entry = entry.expect("a readable folder");
            let known = names.iter().any(|name| entry.file_name() == **name);
            assert!(known || !entry.path().is_dir(), "{}", entry.path().display());
        }
    }
}
