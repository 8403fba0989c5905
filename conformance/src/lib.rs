//! cnitest: conformance, fuzzing and comparison suite for the Container Network Interface (CNI).
//!
//! - [`adapter`]: how a runtime is driven.
//! - [`arena`]: throw-away namespaces in which plugins run, and snapshots of what is in them.
//! - [`invoke`]: one execution of a plugin, exactly as asked for, with limits.
//! - [`target`]: what must be known of a plugin to attach containers with it.
//! - [`checks`]: what is asked of a plugin, and how it is decided.
//! - [`churn`]: attaches and detaches many containers, and measures what it costs.
//! - [`certify`]: profiles, and what a run says of a plugin as one of a profile.
//! - [`mutants`]: deliberately broken plugins, which prove the checks.
//! - [`selftest`]: plays the checks on the mutants.
//! - [`coverage`]: which requirements are decided by a check, and which checks are proven by a mutant.
//! - [`hammer`]: plays generated scenarios on a plugin, and makes what it finds small.
//! - [`runtime`]: a runtime of our own, which executes network configurations.
//! - [`cri`]: a client of the Container Runtime Interface, with which adapters operate runtimes.
//! - [`spy`]: plugins that write down how a runtime executes them.
//! - [`suite`]: plays the checks and gathers a run, as [`cnitest_reports`] renders it.
//!
//! The specification itself is data in [`cni_spec`] and [`cni_schemas`]; no fact about CNI is repeated here.

pub mod adapter;
pub mod arena;
pub mod certify;
pub mod checks;
pub mod churn;
pub mod coverage;
pub mod cri;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod hammer;
pub mod invoke;
pub mod mutants;
pub mod runtime;
pub mod selftest;
pub mod spy;
pub mod suite;
pub mod target;
