//! Runtimes with one defect each: cnitest's own, which decides one thing otherwise.

use super::Mutant;

pub(super) const MUTANTS: &[Mutant] = &[];
