//! The bodies of the fuzz targets: each takes bytes and panics when something is wrong.
//!
//! libFuzzer runs them (`fuzz_targets/`), and on any toolchain the tests run them on `corpus/TARGET`, the seeds, and on
//! `regressions/TARGET`, whatever once made them panic. `fuzz/README.md` says how to make seeds, and how to add a target.

mod bytes;
mod documents;
mod kernel;
mod plugins;
mod reading;
mod reports;

pub use self::bytes::{Bytes, Written};
pub use self::documents::{agreement, generate, mutate, schemas, text};
pub use self::kernel::{control, counters, iptables, namespace, nftables};
pub use self::plugins::{plugins, stored};
pub use self::reading::{args, config, environment, error, result, scenario, target, version};
pub use self::reports::{certificate, report};

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its executable, of its corpus and of its regressions.
    pub name: &'static str,
    /// Runs one input.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        /// Every target, sorted by name.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), run: $name }),*];
    };
}

targets![
    agreement,
    args,
    certificate,
    config,
    control,
    counters,
    environment,
    error,
    generate,
    iptables,
    mutate,
    namespace,
    nftables,
    plugins,
    report,
    result,
    scenario,
    schemas,
    stored,
    target,
    text,
    version,
];
