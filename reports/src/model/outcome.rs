//! Verdicts of cases, and what they amount to.

use std::fmt;

use cni_spec::catalogue::Requirement;
use cni_spec::{Level, Version};
use serde::{Deserialize, Serialize};

use super::{CaseResult, Run, RunSet};

/// What a case decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The requirement is met.
    Pass,
    /// A requirement that binds is broken.
    Fail,
    /// A recommendation is not followed.
    Warn,
    /// Could not be decided for a reason that lies outside cnitest; the reason says which.
    Skip,
    /// cnitest could not decide, and should have.
    Error,
}

impl Verdict {
    /// Every verdict, in the order in which reports list them.
    pub const ALL: [Verdict; 5] =
        [Verdict::Pass, Verdict::Fail, Verdict::Warn, Verdict::Skip, Verdict::Error];

    /// The word that reports use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Warn => "warn",
            Verdict::Skip => "skip",
            Verdict::Error => "error",
        }
    }

    /// How grave it is not to meet a requirement in a version; `None` where it does not hold.
    ///
    /// A MUST fails and a SHOULD warns. What is stated without a keyword fails unless the catalogue links an ambiguity:
    /// then both readings are allowed and the deviation is a warning. What is mere practice, or optional, is a remark.
    pub fn of_breaking(requirement: &Requirement, version: Version) -> Option<Verdict> {
        Some(match requirement.level_in(version)? {
            Level::Must | Level::MustNot => Verdict::Fail,
            Level::Should | Level::ShouldNot => Verdict::Warn,
            Level::Implied if requirement.ambiguities.is_empty() => Verdict::Fail,
            Level::Implied => Verdict::Warn,
            Level::May | Level::Practice => Verdict::Pass,
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a case was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipCause {
    /// The check asks nothing of this plugin, configuration or version.
    NotApplicable,
    /// Something that has to work first did not; the check of that reports it.
    Precondition,
    /// What is needed is not here: a feature of the kernel, a program, a delegated plugin, a target.
    Host,
    /// The run ended before.
    Ended,
}

/// How many results have which verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Results that pass.
    pub pass: u64,
    /// Results that fail.
    pub fail: u64,
    /// Warnings.
    pub warn: u64,
    /// Skipped cases.
    pub skip: u64,
    /// Cases that cnitest could not decide.
    pub error: u64,
}

impl Summary {
    /// Counts results.
    pub fn of<'a>(results: impl IntoIterator<Item = &'a CaseResult>) -> Summary {
        let mut summary = Summary::default();
        for result in results {
            *summary.slot(result.verdict) += 1;
        }
        summary
    }

    /// How many results have this verdict.
    pub fn count(mut self, verdict: Verdict) -> u64 {
        *self.slot(verdict)
    }

    /// How many results there are.
    pub fn total(self) -> u64 {
        Verdict::ALL.into_iter().map(|verdict| self.count(verdict)).fold(0, u64::saturating_add)
    }

    /// What the counts amount to. A failure outweighs an error: it is known whatever else is not.
    pub fn outcome(self, strict: bool) -> Outcome {
        if self.fail > 0 || (strict && self.warn > 0) {
            Outcome::NotConformant
        } else if self.error > 0 || (self.pass == 0 && self.warn == 0) {
            Outcome::Undecided
        } else {
            Outcome::Conformant
        }
    }

    /// Counts a deviation that is known as if it were none.
    pub(super) fn accept(&mut self, verdict: Verdict) {
        let slot = self.slot(verdict);
        *slot = slot.saturating_sub(1);
        self.pass += 1;
    }

    fn slot(&mut self, verdict: Verdict) -> &mut u64 {
        match verdict {
            Verdict::Pass => &mut self.pass,
            Verdict::Fail => &mut self.fail,
            Verdict::Warn => &mut self.warn,
            Verdict::Skip => &mut self.skip,
            Verdict::Error => &mut self.error,
        }
    }
}

/// What a run says of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Something was decided, and nothing failed.
    Conformant,
    /// At least one case failed; in a strict run, or warned.
    NotConformant,
    /// No case failed, but some could not be decided, the run ended before all were played, or nothing was decided at all.
    Undecided,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Conformant => "CONFORMANT",
            Outcome::NotConformant => "NOT CONFORMANT",
            Outcome::Undecided => "UNDECIDED",
        })
    }
}

/// The exit status for a set of runs: 0 all conformant, 1 at least one not conformant, 2 undecided (so is an empty set).
/// Deviations that the baseline knows do not count.
///
/// A comparison judges nothing: it is 0 where the two do not differ, or in what the baseline knows only, 1 where they do.
pub fn exit_code(set: &RunSet) -> u8 {
    let outcome = |run: &Run| match run.against() {
        Some(against) if against.differences.iter().any(|one| one.known.is_none()) => Outcome::NotConformant,
        Some(_) if run.summary.error == 0 => Outcome::Conformant,
        _ => run.accepted_outcome(),
    };
    let any = |wanted| set.runs.iter().any(|run| outcome(run) == wanted);
    if any(Outcome::NotConformant) {
        1
    } else if any(Outcome::Undecided) || set.runs.is_empty() {
        2
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(pass: u64, fail: u64, warn: u64, skip: u64, error: u64) -> Summary {
        Summary { pass, fail, warn, skip, error }
    }

    #[test]
    fn outcomes_follow_the_gravest_verdict() {
        assert_eq!(summary(3, 0, 1, 2, 0).outcome(false), Outcome::Conformant);
        assert_eq!(summary(3, 0, 1, 2, 0).outcome(true), Outcome::NotConformant);
        assert_eq!(summary(0, 0, 1, 0, 0).outcome(false), Outcome::Conformant);
        assert_eq!(summary(3, 1, 0, 0, 1).outcome(false), Outcome::NotConformant);
        assert_eq!(summary(3, 0, 0, 0, 1).outcome(false), Outcome::Undecided);
        assert_eq!(summary(0, 0, 0, 9, 0).outcome(false), Outcome::Undecided);
        assert_eq!(summary(0, 0, 0, 0, 0).outcome(true), Outcome::Undecided);
    }

    #[test]
    fn nothing_tested_is_undecided() {
        assert_eq!(exit_code(&RunSet::new(Vec::new())), 2);
    }

    #[test]
    fn every_verdict_is_counted() {
        let counts = summary(1, 2, 3, 4, 5);
        assert_eq!(Verdict::ALL.map(|verdict| counts.count(verdict)), [1, 2, 3, 4, 5]);
        assert_eq!(counts.total(), 15);
    }
}
