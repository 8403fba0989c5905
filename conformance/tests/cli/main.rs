//! The `cnitest` command as users run it.

mod adapters;
mod baseline;
mod certificate;
mod churn;
mod common;
mod compare;
mod coverage;
mod exec;
mod fuzz;
mod hostile;
mod kill;
mod plugin;
mod report;
mod runtime;
mod selftest;
mod skew;
mod text;
