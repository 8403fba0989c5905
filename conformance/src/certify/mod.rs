//! Certificates from runs.

mod profile;

use cnitest_reports::certificate::{CERTIFICATE_VERSION, Certificate, CertificateResult, Limit, Section};
use cnitest_reports::model::{CaseResult, Run, Verdict};

use crate::checks::{self, Check, Concerns};
use crate::target::Target;

pub use profile::{Feature, Profile, capabilities, handed_over};

/// Why a run cannot be certified.
#[derive(Debug, thiserror::Error)]
#[error(
    "the run of {subject} has the check {check}, which this release does not know; use cnitest {version}, which made the run"
)]
pub struct CertifyError {
    /// The subject.
    pub subject: String,
    /// The check.
    pub check: String,
    /// The version of the suite that made the run.
    pub version: String,
}

/// What a run says of its subject as a plugin of the target's profile. `target` is the one that the run used.
///
/// # Errors
/// When another release made the run, with a check that this one does not have.
pub fn certificate(run: &Run, target: Option<&Target>) -> Result<Certificate, CertifyError> {
    let profile = target.map(|target| Profile::of(target.kind));
    // Without a target nothing but the protocol is tested, which is core in every profile.
    let sorting = profile.unwrap_or(Profile::Interface);
    let mut core: Vec<&CaseResult> = Vec::new();
    let mut features: Vec<(Feature, Vec<&CaseResult>)> =
        sorting.features().into_iter().skip(1).map(|feature| (feature, Vec::new())).collect();
    for result in &run.results {
        let check = checks::find(&result.check).ok_or_else(|| CertifyError {
            subject: run.subject.name.clone(),
            check: result.check.clone(),
            version: run.tool.version.clone(),
        })?;
        for feature in features_of(check, result, sorting, target) {
            match features.iter_mut().find(|(known, _)| *known == feature) {
                _ if feature == Feature::Core => core.push(result),
                Some((_, results)) => results.push(result),
                None => features.push((feature, vec![result])),
            }
        }
    }
    let section = |(feature, results): &(Feature, Vec<&CaseResult>)| {
        let unsupported = unsupported(*feature, run, target);
        Section::of(&feature.name(), results, true, run.strict, unsupported)
    };
    let core = Section::of("core", &core, false, run.strict, None);
    let features: Vec<Section> = features.iter().map(section).collect();
    let mut certificate = Certificate {
        certificate_version: CERTIFICATE_VERSION.to_owned(),
        tool: run.tool.clone(),
        environment: run.environment.clone(),
        seed: run.seed,
        strict: run.strict,
        options: run.options.clone(),
        started: run.started.clone(),
        subject: run.subject.clone(),
        profile: profile.map(|profile| profile.as_str().to_owned()),
        spec_versions: spec_versions(run),
        result: CertificateResult::Undecided,
        limits: limits(run, &core, sorting, target),
        core,
        features,
    };
    certificate.finish();
    Ok(certificate)
}

/// The features that a result tells of: that of its check, and the capabilities that its configuration hands over.
fn features_of(
    check: &Check,
    result: &CaseResult,
    profile: Profile,
    target: Option<&Target>,
) -> Vec<Feature> {
    let own = profile.feature(check);
    let mut all = vec![own];
    if own == Feature::Core && check.concerns != Concerns::Every {
        let name = result.case.split(": ").next().unwrap_or_default();
        let configurations = target.iter().flat_map(|target| &target.configurations);
        let configuration = configurations.into_iter().find(|configuration| configuration.name == name);
        let given = configuration.map(handed_over).unwrap_or_default();
        all.extend(given.into_iter().map(Feature::Capability));
    }
    all
}

/// Why the plugin does not have a feature.
fn unsupported(feature: Feature, run: &Run, target: Option<&Target>) -> Option<String> {
    match feature {
        Feature::Core => None,
        Feature::Delegation => {
            let delegates = target.is_some_and(|target| target.delegates);
            (!delegates).then(|| "the target does not say that the plugin delegates".to_owned())
        }
        Feature::Operation(operation) => {
            let supports =
                |text: &String| text.parse::<cni_spec::Version>().is_ok_and(|one| one >= operation.since());
            let any = run.subject.supported_versions.iter().any(supports);
            let reason = || {
                format!(
                    "{operation} exists from CNI {}, which the plugin does not support",
                    operation.since()
                )
            };
            (!any).then(reason)
        }
        Feature::Capability(name) => {
            let mut configurations = target.iter().flat_map(|target| &target.configurations);
            let any = configurations.any(|configuration| handed_over(configuration).contains(&name));
            (!any).then(|| format!("no configuration of the target hands over {name}"))
        }
    }
}

/// The versions in which something was decided, oldest first.
fn spec_versions(run: &Run) -> Vec<String> {
    let decided =
        |result: &&CaseResult| matches!(result.verdict, Verdict::Pass | Verdict::Fail | Verdict::Warn);
    let versions = run.results.iter().filter(decided).filter_map(|result| result.spec_version.as_deref());
    let mut versions: Vec<cni_spec::Version> = versions.filter_map(|text| text.parse().ok()).collect();
    versions.sort();
    versions.dedup();
    versions.into_iter().map(|version| version.to_string()).collect()
}

/// What of the core was not tested although it concerns the plugin.
fn limits(run: &Run, core: &Section, profile: Profile, target: Option<&Target>) -> Vec<Limit> {
    let mut limits = left_out(run, profile, target);
    limits.extend(core.untested().map(|skipped| Limit {
        reason: skipped.reason.clone(),
        cases: skipped.cases,
        checks: skipped.checks.clone(),
    }));
    limits
}

/// What the options left out.
fn left_out(run: &Run, profile: Profile, target: Option<&Target>) -> Vec<Limit> {
    let mut limits = Vec::new();
    let missing = profile.checks(Feature::Core).into_iter().filter(|check| {
        check.concerns.excludes(target).is_none() && run.results.iter().all(|result| result.check != check.id)
    });
    let checks: Vec<String> = missing.map(|check| check.id.to_owned()).collect();
    if !checks.is_empty() {
        let patterns = |option: &'static str, all: &[String]| {
            all.iter().map(|pattern| format!("{option} {pattern}")).collect::<Vec<_>>()
        };
        let options = [patterns("--only", &run.options.only), patterns("--skip", &run.options.skip)].concat();
        let reason = match options.is_empty() {
            true => "not part of the run".to_owned(),
            false => format!("left out by {}", options.join(" ")),
        };
        limits.push(Limit { reason, cases: 0, checks });
    }
    let asked = &run.options.spec_versions;
    let known = |version: &&String| version.parse::<cni_spec::Version>().is_ok() && !asked.contains(version);
    let versions: Vec<&str> =
        run.subject.supported_versions.iter().filter(known).map(String::as_str).collect();
    if !asked.is_empty() && !versions.is_empty() {
        let reason = format!("left out by --spec-version: CNI {}", versions.join(", "));
        limits.push(Limit { reason, cases: 0, checks: Vec::new() });
    }
    limits
}
