//! Whether a certificate still holds.

use std::collections::BTreeMap;

use super::{Certificate, CertificateResult, Section, Status};
use crate::model::Verdict;

/// What repeating a certified run showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The verdict.
    pub holds: Holds,
    /// Whether the executable is the one that the certificate names.
    pub same_executable: bool,
    /// What else is not as it was: the suite, the machine, the versions; one statement each.
    pub circumstances: Vec<String>,
    /// The result before and now.
    pub result: (CertificateResult, CertificateResult),
    /// What differs, by section, the worst first.
    pub changes: Vec<Change>,
}

/// Whether a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holds {
    /// Everything that it says was found again, or better.
    Yes,
    /// Something is worse, or the executable is another one.
    No,
    /// Nothing is worse, but not everything could be repeated here.
    Undecided,
}

/// One difference between a certificate and its repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `core`, or the feature.
    pub section: String,
    /// For better or worse.
    pub direction: Direction,
    /// What differs.
    pub what: String,
}

/// What a difference means for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What was certified is no longer so.
    Worse,
    /// What was certified could not be tested this time.
    Unrepeated,
    /// More than what was certified.
    Better,
}

/// Holds a certificate against a newer one of the same plugin. With `any_executable`, another executable that behaves
/// the same will do.
pub fn verify(old: &Certificate, new: &Certificate, any_executable: bool) -> Verification {
    let tested = Tested { before: &old.spec_versions, now: &new.spec_versions };
    let mut changes = versions(old, new);
    for before in old.sections() {
        match new.sections().find(|now| now.name == before.name) {
            Some(now) => section(before, now, &tested, &mut changes),
            None if before.status == Status::Unsupported => {}
            None => changes.push(Change {
                section: before.name.clone(),
                direction: Direction::Unrepeated,
                what: "this suite knows no such feature".to_owned(),
            }),
        }
    }
    for now in new.sections() {
        if old.sections().all(|before| before.name != now.name) && now.status != Status::Unsupported {
            changes.push(status_change(&now.name, Status::Untested, now.status));
        }
    }
    if old.profile != new.profile {
        let name = |profile: &Option<String>| profile.clone().unwrap_or("none".to_owned());
        changes.push(Change {
            section: "profile".to_owned(),
            direction: Direction::Worse,
            what: format!("was {}, now {}", name(&old.profile), name(&new.profile)),
        });
    }
    // A case can tell of the core and of a capability; once is enough.
    let of_core: Vec<Change> =
        changes.iter().filter(|change| change.section == old.core.name).cloned().collect();
    changes.retain(|change| {
        change.section == old.core.name
            || of_core.iter().all(|core| (core.direction, &core.what) != (change.direction, &change.what))
    });
    changes.sort_by_key(|change| change.direction);
    let same_executable = !old.subject.sha256.is_empty() && old.subject.sha256 == new.subject.sha256;
    let any = |direction| changes.iter().any(|change| change.direction == direction);
    let holds = match () {
        () if any(Direction::Worse) || !(same_executable || any_executable) => Holds::No,
        () if any(Direction::Unrepeated) => Holds::Undecided,
        () => Holds::Yes,
    };
    Verification {
        holds,
        same_executable,
        circumstances: circumstances(old, new),
        result: (old.result, new.result),
        changes,
    }
}

fn versions(old: &Certificate, new: &Certificate) -> Vec<Change> {
    let change = |direction, what: String| Change { section: "versions".to_owned(), direction, what };
    let missing = |from: &[String], in_: &[String]| -> Vec<String> {
        from.iter().filter(|version| !in_.contains(version)).cloned().collect()
    };
    let gone = missing(&old.spec_versions, &new.spec_versions);
    let new_ones = missing(&new.spec_versions, &old.spec_versions);
    let mut changes = Vec::new();
    if !gone.is_empty() {
        changes.push(change(Direction::Worse, format!("no longer tested: CNI {}", gone.join(", "))));
    }
    if !new_ones.is_empty() {
        changes.push(change(Direction::Better, format!("tested too: CNI {}", new_ones.join(", "))));
    }
    changes
}

/// The versions that were tested before and now.
struct Tested<'a> {
    before: &'a [String],
    now: &'a [String],
}

impl Tested<'_> {
    fn both(&self, version: &str) -> bool {
        let among = |versions: &[String]| version.is_empty() || versions.iter().any(|known| known == version);
        among(self.before) && among(self.now)
    }
}

fn section(old: &Section, new: &Section, tested: &Tested<'_>, changes: &mut Vec<Change>) {
    if old.status != new.status {
        changes.push(status_change(&old.name, old.status, new.status));
    }
    // What became of a feature as a whole says enough.
    if matches!(new.status, Status::Unsupported | Status::Untested) && old.status != new.status {
        return;
    }
    let mut change =
        |direction, what: String| changes.push(Change { section: old.name.clone(), direction, what });
    let (before, now) = (broken(old), broken(new));
    for (place, versions) in &now {
        let Some(earlier) = before.get(place) else {
            let new = if was_decided(old, place.1) { "" } else { "; not tested before" };
            change(Direction::Worse, format!("{}{new}", told(place, versions)));
            continue;
        };
        // Some checks are played in the newest version only: where that is another one, nothing is worse.
        let moved = earlier.iter().any(|version| !tested.both(version));
        let more: Vec<&str> = versions.iter().copied().filter(|version| !earlier.contains(version)).collect();
        if !moved && !more.is_empty() {
            change(Direction::Worse, told(place, &more));
        }
    }
    for (place, versions) in &before {
        let later = now.get(place);
        let moved = later.is_some_and(|later| later.iter().any(|version| !tested.both(version)));
        let gone =
            versions.iter().copied().filter(|version| later.is_none_or(|later| !later.contains(version)));
        let (compared, lost): (Vec<&str>, Vec<&str>) = gone.partition(|version| tested.both(version));
        if !compared.is_empty() && !moved {
            match was_decided(new, place.1) {
                true => change(Direction::Better, format!("no more {}", told(place, &compared))),
                false => change(Direction::Unrepeated, told(place, &compared)),
            }
        } else if !lost.is_empty() && later.is_none() {
            change(Direction::Unrepeated, told(place, &lost));
        }
    }
    let undecided = only_in(old, new);
    if !undecided.is_empty() {
        change(Direction::Unrepeated, format!("could not be tested this time: {}", undecided.join(", ")));
    }
    let added = only_in(new, old);
    if !added.is_empty() {
        change(Direction::Better, format!("tested for the first time: {}", added.join(", ")));
    }
}

/// Verdict, check and requirement of a deviation.
type Place<'a> = (Verdict, &'a str, &'a str);

/// The versions of each deviation; an empty one where it belongs to none.
fn broken(section: &Section) -> BTreeMap<Place<'_>, Vec<&str>> {
    let mut all: BTreeMap<Place<'_>, Vec<&str>> = BTreeMap::new();
    for broken in &section.deviations {
        let place = (broken.verdict, broken.check.as_str(), broken.requirement.as_str());
        let versions = all.entry(place).or_default();
        match broken.spec_versions.as_slice() {
            [] => versions.push(""),
            known => versions.extend(known.iter().map(String::as_str)),
        }
    }
    all
}

fn told((verdict, check, requirement): &Place<'_>, versions: &[&str]) -> String {
    let versions: Vec<&str> = versions.iter().copied().filter(|version| !version.is_empty()).collect();
    let versions =
        if versions.is_empty() { String::new() } else { format!(" in CNI {}", versions.join(", ")) };
    format!("{verdict} of {requirement}{versions} ({check})")
}

fn was_decided(section: &Section, check: &str) -> bool {
    section.checks.iter().any(|known| known.check == check && known.decided > 0)
}

/// Checks without a deviation that were decided in one section and not in the other.
fn only_in<'a>(one: &'a Section, other: &Section) -> Vec<&'a str> {
    let passed = one.checks.iter().filter(|known| known.decided > 0 && known.verdict == Verdict::Pass);
    passed.map(|known| known.check.as_str()).filter(|check| !was_decided(other, check)).collect()
}

fn status_change(name: &str, old: Status, new: Status) -> Change {
    // What was claimed and is claimed no more is worse; what could only not be tested is not.
    let rank = |status| match status {
        Status::Failed => 0,
        Status::Unsupported => 1,
        Status::Untested | Status::Undecided => 2,
        Status::Partial => 3,
        Status::PassedAsTested => 4,
        Status::Passed => 5,
    };
    let direction = match new {
        Status::Undecided => Direction::Unrepeated,
        Status::PassedAsTested if old == Status::Passed => Direction::Unrepeated,
        Status::Untested if old != Status::Unsupported => Direction::Unrepeated,
        _ if rank(new) < rank(old) => Direction::Worse,
        _ => Direction::Better,
    };
    Change { section: name.to_owned(), direction, what: format!("was {old}, now {new}") }
}

fn circumstances(old: &Certificate, new: &Certificate) -> Vec<String> {
    let mut told = Vec::new();
    let mut compare = |what: &str, before: String, now: String| {
        if before != now {
            told.push(format!("{what}: was {before}, now {now}"));
        }
    };
    let suite = |one: &Certificate| format!("{} {}", one.tool.name, one.tool.version);
    compare("suite", suite(old), suite(new));
    let kernel = |one: &Certificate| format!("{} {}", one.environment.kernel, one.environment.arch);
    compare("kernel", kernel(old), kernel(new));
    compare("privilege", old.environment.privilege.clone(), new.environment.privilege.clone());
    let lacks = |one: &Certificate| match one.environment.missing_features.as_slice() {
        [] => "nothing".to_owned(),
        missing => missing.join(", "),
    };
    compare("lacking", lacks(old), lacks(new));
    let supported = |one: &Certificate| one.subject.supported_versions.join(", ");
    compare("versions that the plugin names", supported(old), supported(new));
    told
}
