//! From what a case saw to a verdict, by the levels of the catalogue.

use cni_spec::Version;
use cni_spec::catalogue::{self, Requirement};
use cnitest_reports::model::Verdict;

use crate::checks::Deviation;

/// How grave it is not to meet a requirement in a version; see [`Verdict::of_breaking`].
pub fn gravity(requirement: &Requirement, version: Version) -> Option<Verdict> {
    Verdict::of_breaking(requirement, version)
}

/// The deviations that count in a version, gravest first, each with its gravity; deviations from requirements that do
/// not hold in the version are left out.
pub fn weigh(deviations: &[Deviation], version: Version) -> Vec<(Verdict, &Deviation)> {
    let mut all: Vec<(Verdict, &Deviation)> = deviations
        .iter()
        .filter_map(|deviation| {
            let requirement = catalogue::requirement(deviation.requirement)?;
            Some((gravity(requirement, version)?, deviation))
        })
        .collect();
    all.sort_by_key(|(verdict, _)| match verdict {
        Verdict::Fail => 0,
        Verdict::Warn => 1,
        _ => 2,
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str, version: Version) -> Option<Verdict> {
        gravity(catalogue::requirement(id).expect("known"), version)
    }

    #[test]
    fn levels_decide_and_change_with_the_version() {
        assert_eq!(of("del.idempotent", Version::V1_0_0), Some(Verdict::Fail));
        assert_eq!(of("del.idempotent", Version::V0_4_0), Some(Verdict::Warn));
        assert_eq!(of("del.missing-netns-succeeds", Version::V1_1_0), Some(Verdict::Warn));
        assert_eq!(of("error.exit-status-one", Version::V1_1_0), Some(Verdict::Pass));
        assert_eq!(of("gc.removes-stale", Version::V1_0_0), None);
    }
}
