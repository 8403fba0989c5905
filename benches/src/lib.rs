//! Shared set-up of the criterion benchmarks in this package.
//!
//! Each benchmark executable is also the agent of its arenas and the bundled plugins, as `cnitest` itself is, so that
//! `cargo bench` needs nothing built beside it.

pub mod crowd;
pub mod kernel;

use std::path::{Path, PathBuf};

use cnitest::arena::{Arena, ArenaConfig, Bind, PluginAlias};
use criterion::Criterion;

/// Whatever keeps a measurement from being made.
pub type Failed = Box<dyn std::error::Error>;

/// Runs the benchmarks, unless this process was started as an arena's agent or as a bundled plugin.
pub fn main(benchmarks: &[fn(&mut Criterion)]) {
    cnitest::arena::agent_entry();
    if let Some(name) = cnitest::suite::subject::called_as() {
        // ExitCode cannot be read back; a plugin that failed says so on stdout, where the benchmarks look.
        let _ = cni_plugins::main(name);
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    for benchmark in benchmarks {
        benchmark(&mut criterion);
    }
    criterion.final_summary();
}

/// An arena with the bundled plugins, and with a folder of other plugins where one is given.
///
/// # Panics
/// When this user may make no namespaces: there is nothing to measure then.
pub fn arena(plugins: Option<&Path>) -> Arena {
    let executable = std::env::current_exe().expect("this executable has a path");
    let alias = |name: &&str| PluginAlias { name: (*name).to_owned(), executable: executable.clone() };
    let config = ArenaConfig {
        agent_executable: executable.clone(),
        binds: plugins.into_iter().map(Bind::at_own_path).collect(),
        plugin_aliases: cni_plugins::NAMES.iter().map(alias).collect(),
        ..ArenaConfig::default()
    };
    Arena::start(&config).unwrap_or_else(|error| panic!("{error}"))
}

/// The folder of Go plugins that `.ci/go-plugins` unpacked, newest release first, if there is one.
pub fn go_plugins() -> Option<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join(".cache/go-plugins");
    ["sid", "bookworm"]
        .iter()
        .map(|release| cache.join(release).join("usr/lib/cni"))
        .find(|folder| folder.is_dir())
}
