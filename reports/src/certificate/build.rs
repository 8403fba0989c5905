//! Adding up the results of a section, and the sections of a certificate.

use super::{Broken, Certificate, CertificateResult, CheckOutcome, Section, Skipped, Status};
use crate::model::{CaseResult, SkipCause, Summary, Verdict};

impl Section {
    /// The section of that name with these results.
    ///
    /// `optional` is false for the core; `strict` makes recommendations count. `unsupported` says why the plugin does
    /// not have the feature: then nothing is judged that was not decided anyway.
    pub fn of(
        name: &str,
        results: &[&CaseResult],
        optional: bool,
        strict: bool,
        unsupported: Option<String>,
    ) -> Section {
        let mut section = Section {
            name: name.to_owned(),
            status: Status::Untested,
            note: unsupported,
            summary: Summary::of(results.iter().copied()),
            deviations: Vec::new(),
            skipped: Vec::new(),
            checks: Vec::new(),
        };
        results.iter().for_each(|result| section.add(result));
        section.deviations.sort_by_key(|broken| broken.verdict);
        section.status = section.status(optional, strict);
        section
    }

    /// What the counts amount to.
    pub(super) fn status(&self, optional: bool, strict: bool) -> Status {
        let summary = self.summary;
        match () {
            () if summary.fail > 0 || (strict && summary.warn > 0) => Status::Failed,
            () if self.note.is_some() => Status::Unsupported,
            () if summary.error > 0 || self.is_cut_short() => Status::Undecided,
            () if summary.pass == 0 && summary.warn == 0 => Status::Untested,
            () if optional && summary.warn > 0 => Status::Partial,
            // What of the core was not tested is said by the certificate's limits.
            () if optional && self.untested().next().is_some() => Status::PassedAsTested,
            () => Status::Passed,
        }
    }

    /// Whether the run ended before all of it was played.
    fn is_cut_short(&self) -> bool {
        self.skipped.iter().any(|skipped| skipped.cause == Some(SkipCause::Ended))
    }

    /// What was skipped although it concerns the plugin.
    pub fn untested(&self) -> impl Iterator<Item = &Skipped> {
        self.skipped.iter().filter(|skipped| skipped.cause != Some(SkipCause::NotApplicable))
    }

    fn add(&mut self, result: &CaseResult) {
        self.count(result);
        match result.verdict {
            Verdict::Fail | Verdict::Warn => self.deviate(result),
            Verdict::Skip => self.skip(result),
            Verdict::Pass | Verdict::Error => {}
        }
    }

    fn count(&mut self, result: &CaseResult) {
        let decided = u64::from(matches!(result.verdict, Verdict::Pass | Verdict::Fail | Verdict::Warn));
        match self.checks.iter_mut().find(|known| known.check == result.check) {
            Some(known) => {
                known.decided += decided;
                if gravity(result.verdict) > gravity(known.verdict) {
                    known.verdict = result.verdict;
                }
            }
            None => {
                let (check, verdict) = (result.check.clone(), result.verdict);
                self.checks.push(CheckOutcome { check, verdict, decided });
            }
        }
    }

    fn deviate(&mut self, result: &CaseResult) {
        for (index, id) in result.breaks().into_iter().enumerate() {
            // The first is what the verdict rests on; the others may be less grave.
            let (verdict, level) = match index {
                0 => (result.verdict, result.level.clone()),
                _ => weigh(id, result).unwrap_or_else(|| (result.verdict, result.level.clone())),
            };
            let version = result.spec_version.iter().cloned();
            let known = self.deviations.iter_mut().find(|known| {
                (known.requirement.as_str(), &known.check) == (id, &result.check)
                    && (known.verdict, &known.level) == (verdict, &level)
            });
            match known {
                Some(known) => {
                    known.cases += 1;
                    let new: Vec<String> =
                        version.filter(|version| !known.spec_versions.contains(version)).collect();
                    known.spec_versions.extend(new);
                }
                None => self.deviations.push(Broken {
                    verdict,
                    requirement: id.to_owned(),
                    level,
                    check: result.check.clone(),
                    spec_versions: version.collect(),
                    cases: 1,
                }),
            }
        }
    }

    fn skip(&mut self, result: &CaseResult) {
        let reason = result.grounds().find(|ground| !ground.is_empty()).unwrap_or("no reason was given");
        match self.skipped.iter_mut().find(|known| known.reason == reason && known.cause == result.skip_cause)
        {
            Some(known) => {
                known.cases += 1;
                if !known.checks.contains(&result.check) {
                    known.checks.push(result.check.clone());
                }
            }
            None => self.skipped.push(Skipped {
                cause: result.skip_cause,
                reason: reason.to_owned(),
                cases: 1,
                checks: vec![result.check.clone()],
            }),
        }
    }
}

/// How grave it is that a requirement is broken in the version of a result, and its level there.
fn weigh(id: &str, result: &CaseResult) -> Option<(Verdict, String)> {
    let version = result.spec_version.as_deref()?.parse().ok()?;
    let known = cni_spec::catalogue::requirement(id)?;
    let verdict = Verdict::of_breaking(known, version).filter(|verdict| *verdict != Verdict::Pass)?;
    Some((verdict, known.level_in(version)?.to_string()))
}

fn gravity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Skip => 0,
        Verdict::Pass => 1,
        Verdict::Warn => 2,
        Verdict::Error => 3,
        Verdict::Fail => 4,
    }
}

impl Certificate {
    /// Computes `result` from the sections.
    pub fn finish(&mut self) {
        self.result = self.amounts_to();
    }

    /// What the sections amount to.
    pub(super) fn amounts_to(&self) -> CertificateResult {
        let any = |status: Status| self.sections().any(|section| section.status == status);
        if any(Status::Failed) {
            return CertificateResult::NotConformant;
        }
        if self.profile.is_none() || any(Status::Undecided) || self.core.status != Status::Passed {
            return CertificateResult::Undecided;
        }
        match self.limits.is_empty() {
            true => CertificateResult::Conformant,
            false => CertificateResult::ConformantAsTested,
        }
    }
}
