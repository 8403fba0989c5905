//! The checks of runtimes: what they execute plugins with, in which order, what they keep, and what they do when a plugin
//! fails. All is decided by what spies saw, and by how the runtime's own command ended.

mod chain;
mod collecting;
mod conventions;
mod failures;
mod joining;
mod keeping;
mod loading;
mod lost;
mod parameters;
mod request;
mod versions;

use cni_spec::Version;

use super::case::{Case, Stop};
use super::{Check, Concerns, Scope};

/// Every check of runtimes.
pub(super) const ALL: [&[Check]; 11] = [
    versions::CHECKS,
    chain::CHECKS,
    request::CHECKS,
    parameters::CHECKS,
    conventions::CHECKS,
    failures::CHECKS,
    lost::CHECKS,
    collecting::CHECKS,
    keeping::CHECKS,
    joining::CHECKS,
    loading::CHECKS,
];

/// A check; the order is that of the fields.
const fn check(
    id: &'static str,
    title: &'static str,
    requirements: &'static [&'static str],
    scope: Scope,
    since: Version,
    variants: &'static [&'static str],
    run: fn(&mut Case<'_>) -> Result<(), Stop>,
) -> Check {
    Check { id, title, requirements, concerns: Concerns::Runtime, scope, since, variants, run }
}
