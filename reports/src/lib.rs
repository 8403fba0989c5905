//! Reports: what a run of cnitest found, and how it is shown.
//!
//! - [`model`]: the run itself, written and read as JSON after [`run_schema`].
//! - [`human`]: for a terminal; [`junit`]: for CI systems; [`json`]: for programs; [`deviations`]: for `diff`.
//! - [`summary`]: a set of runs, condensed to what deviates; [`markdown`]: the same for a maintainer.
//! - [`judgement`]: what people judged about deviations after reading the source.
//! - [`evidence`]: what was executed and seen, as text; the terminal and JUnit share it.
//! - [`baseline`]: known deviations, which do not fail a run.
//! - [`certificate`]: what a run says of a plugin as one of a profile.
//! - [`churn`]: what attaching and detaching many containers costs.
//! - [`compare`]: runs side by side.
//! - [`report`]: any kind, by name.

pub mod baseline;
pub mod certificate;
pub mod churn;
pub mod compare;
pub mod deviations;
pub mod evidence;
mod group;
pub mod human;
pub mod json;
pub mod judgement;
pub mod junit;
mod kind;
pub mod markdown;
pub mod model;
pub mod nearest;
mod page;
pub mod summary;
#[cfg(test)]
mod testing;
mod text;

pub use self::kind::{ReportKind, UnknownReportKind, report};
pub use self::model::exit_code;

/// The JSON Schema (2020-12) of a report: one run, or several under `runs`.
pub fn run_schema() -> &'static str {
    include_str!("../../schemas/report/run.schema.json")
}

/// The JSON Schema (2020-12) of a condensed set of runs, as the report `summary` has it.
pub fn summary_schema() -> &'static str {
    include_str!("../../schemas/report/summary.schema.json")
}
