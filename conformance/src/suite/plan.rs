//! Which cases are played.

use cni_spec::{Version, catalogue};

use cnitest_reports::model::{CaseResult, SkipCause, Verdict};

use super::play::planned_result;
use super::{Options, Probe, Unusable};
use crate::checks::{self, Check, Concerns, Exclusion, Scope};
use crate::target::{Configuration, Target};

/// One case to play.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// The check.
    pub check: &'static Check,
    /// The configuration.
    pub configuration: &'a Configuration,
    /// The version.
    pub version: Version,
    /// The variant, or empty.
    pub variant: &'static str,
}

impl Planned<'_> {
    /// The case's result with this verdict and nothing else.
    pub(crate) fn result(&self, verdict: Verdict) -> CaseResult {
        planned_result(self, verdict, None)
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What to do about one check: play these, or report this skip.
#[derive(Debug)]
pub enum Plan<'a> {
    /// Cases to play.
    Play(Planned<'a>),
    /// A check that is skipped as a whole.
    Skip {
        /// The check.
        check: &'static Check,
        /// The configuration concerned, if not all.
        configuration: Option<String>,
        /// Why.
        reason: String,
        /// What kind of reason that is.
        cause: SkipCause,
    },
}

/// The cases for a plugin, in the order of the checks.
pub fn plan<'a>(probe: &'a Probe, target: Option<&Target>, options: &Options) -> Vec<Plan<'a>> {
    let chosen = checks::all()
        .filter(|check| options.only.is_empty() || options.only.is_match(check.id))
        .filter(|check| !options.skip.is_match(check.id));
    let versions: Vec<Version> = probe
        .subject
        .versions
        .iter()
        .copied()
        .filter(|version| options.versions.is_empty() || options.versions.contains(version))
        .collect();
    let chosen =
        chosen.filter(|check| !check.concerns.needs_other_release() || !options.upgrade_from.is_empty());
    chosen.flat_map(|check| plan_check(check, probe, target, &versions)).collect()
}

fn plan_check<'a>(
    check: &'static Check,
    probe: &'a Probe,
    target: Option<&Target>,
    versions: &[Version],
) -> Vec<Plan<'a>> {
    let skip = |configuration: Option<String>, reason: String, cause: SkipCause| Plan::Skip {
        check,
        configuration,
        reason,
        cause,
    };
    let exclusion = match (&probe.subject.runtime, check.concerns == Concerns::Runtime) {
        (Some(_), true) => None,
        (Some(_), false) => Some(Exclusion::NotConcerned),
        (None, _) => check.concerns.excludes(target),
    };
    match exclusion {
        Some(Exclusion::NotConcerned) => return Vec::new(),
        Some(Exclusion::Skip(reason)) => return vec![skip(None, reason, SkipCause::Host)],
        None => {}
    }
    if let Some(reason) = &probe.unstartable {
        let cause = if probe.subject.runtime.is_some() { SkipCause::Host } else { SkipCause::Precondition };
        return vec![skip(None, reason.clone(), cause)];
    }
    let mut versions = versions.to_vec();
    let mut unusable = probe.unusable.clone();
    let mut usable: Vec<&Configuration> = probe.configurations.iter().collect();
    if check.concerns.needs_other_release() && probe.subject.other.is_none() {
        let reason = "no other release of this plugin is given".to_owned();
        return vec![skip(None, reason, SkipCause::Precondition)];
    }
    if let (Concerns::Upgrading, Some(other)) = (check.concerns, &probe.subject.other) {
        versions.retain(|version| other.versions.contains(version));
        // What stands for a newer release does not work with the other one.
        usable.retain(|configuration| {
            let mark = configuration.requires.spec_version.as_ref();
            let lacking = mark.filter(|mark| !other.versions.iter().any(|known| known.as_str() == *mark));
            if let Some(mark) = lacking {
                let reason = format!("the other release does not support CNI {mark}");
                unusable.push(Unusable {
                    name: configuration.name.clone(),
                    reason,
                    cause: SkipCause::NotApplicable,
                });
            }
            lacking.is_none()
        });
    }
    let mut plans = Vec::new();
    if matches!(check.scope, Scope::Attachments | Scope::Configurations) {
        plans.extend(unusable.iter().map(|one| skip(Some(one.name.clone()), one.reason.clone(), one.cause)));
    }
    // The rules of the protocol are the same whether or not the configuration can work here.
    if matches!(check.concerns, Concerns::Every | Concerns::Unattended | Concerns::Succeeding)
        && usable.is_empty()
    {
        usable.extend(&probe.spare);
    }
    let Some((first, others)) = usable.split_first() else {
        if plans.is_empty() {
            let first = unusable.first();
            let cause = first.map_or(SkipCause::Host, |one| one.cause);
            plans.push(skip(None, first.map(|one| one.reason.clone()).unwrap_or_default(), cause));
        }
        return plans;
    };
    let fitting: Vec<Version> = versions
        .iter()
        .copied()
        .filter(|version| *version >= check.since && binds(check, *version))
        .collect();
    let Some(newest) = fitting.last().copied() else {
        let reason = format!("concerns CNI {} and later; none of these is tested", check.since);
        plans.push(skip(None, reason, SkipCause::NotApplicable));
        return plans;
    };
    let variants: &[&'static str] = if check.variants.is_empty() { &[""] } else { check.variants };
    let mut add = |configuration: &'a Configuration, version| {
        for variant in variants {
            plans.push(Plan::Play(Planned { check, configuration, version, variant }));
        }
    };
    match check.scope {
        Scope::Once => add(first, newest),
        Scope::Versions => fitting.iter().for_each(|version| add(first, *version)),
        Scope::Attachments => {
            fitting.iter().for_each(|version| add(first, *version));
            others.iter().for_each(|configuration| add(configuration, newest));
        }
        Scope::Configurations => usable.iter().for_each(|configuration| add(configuration, newest)),
    }
    plans
}

/// Whether any requirement of the check holds in a version.
fn binds(check: &Check, version: Version) -> bool {
    check.requirements.iter().filter_map(|id| catalogue::requirement(id)).any(|known| known.holds_in(version))
}
