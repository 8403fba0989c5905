//! Documents under `fixtures/`: accepted ones, and rejected ones with all that is wrong with them.

use std::fs;
use std::path::{Path, PathBuf};

use cni_schemas::{Kind, Profile, Violation, infer, validate};
use cni_spec::Version;
use serde_json::Value;

/// A fixture file.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) version: Version,
    pub(crate) value: Value,
}

impl Fixture {
    /// Whether only the compat profile accepts the document.
    pub(crate) fn compat_only(&self) -> bool {
        self.name.ends_with(".compat.json")
    }

    pub(crate) fn violations(&self, profile: Profile, document: &Value) -> Vec<Violation> {
        validate(self.kind, self.version, profile, document)
            .expect("a fixture of a kind that the version has")
    }
}

/// The fixtures under `fixtures/<set>/<kind>/<version>/`, sorted.
pub(crate) fn load(set: &str) -> Vec<Fixture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(set);
    let mut fixtures = Vec::new();
    for kind in entries(&root) {
        for version in entries(&kind) {
            for file in entries(&version) {
                let text = fs::read_to_string(&file).expect("fixture");
                fixtures.push(Fixture {
                    name: file.strip_prefix(&root).expect("under the root").display().to_string(),
                    kind: file_name(&kind).parse().expect("a directory for each kind"),
                    version: file_name(&version).parse().expect("a directory for each version"),
                    value: serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display())),
                });
            }
        }
    }
    assert!(!fixtures.is_empty(), "no fixtures under {}", root.display());
    fixtures
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(directory).expect("fixtures").map(|entry| entry.expect("fixtures").path()).collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("plain names")
}

#[test]
fn accepted() {
    for fixture in load("accept") {
        let compat = fixture.violations(Profile::Compat, &fixture.value);
        assert_eq!(compat, [], "{}", fixture.name);
        let strict = fixture.violations(Profile::Strict, &fixture.value);
        assert_eq!(!strict.is_empty(), fixture.compat_only(), "{}: {strict:#?}", fixture.name);
    }
}

#[test]
fn rejected() {
    for fixture in load("reject") {
        let profile =
            fixture.value["profile"].as_str().map_or(Profile::Compat, |p| p.parse().expect("profile"));
        let found: Vec<_> = fixture
            .violations(profile, &fixture.value["document"])
            .into_iter()
            .map(|v| (v.instance_path, v.keyword.to_owned(), v.requirement.map(str::to_owned), v.code))
            .collect();
        let text = |entry: &Value, key: &str| entry[key].as_str().map(str::to_owned);
        let expected: Vec<_> = fixture.value["violates"]
            .as_array()
            .expect("violates is a list")
            .iter()
            .map(|entry| {
                (
                    text(entry, "pointer").expect("pointer"),
                    text(entry, "keyword").expect("keyword"),
                    text(entry, "requirement"),
                    entry["code"].as_u64().map(|code| code as u32),
                )
            })
            .collect();
        let sorted = |mut list: Vec<(String, String, Option<String>, Option<u32>)>| {
            list.sort();
            list
        };
        assert_eq!(sorted(found), sorted(expected), "{}", fixture.name);
    }
}

#[test]
fn every_kind_and_version_has_an_accepted_document() {
    let fixtures = load("accept");
    for version in Version::ALL {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.defined_in(version)) {
            assert!(
                fixtures.iter().any(|f| (f.kind, f.version) == (kind, version) && !f.compat_only()),
                "{kind} {version}"
            );
        }
    }
}

/// Documents that carry their version and a key by which to tell them are recognised.
#[test]
fn full_documents_are_recognised() {
    for fixture in load("accept").iter().filter(|f| f.name.ends_with("/full.json")) {
        // The first plugin's requests look alike, and so do the two kinds of results.
        let expected = match fixture.kind {
            Kind::RuntimeConfig | Kind::Args => continue,
            Kind::RequestDel | Kind::RequestCheck if fixture.version >= Version::V0_3_0 => {
                Kind::RequestAddChained
            }
            Kind::RequestAddFirst | Kind::RequestDel if fixture.version <= Version::V0_4_0 => {
                Kind::ConfigSingle
            }
            Kind::RequestStatus => Kind::RequestAddFirst,
            Kind::ResultIpam => Kind::ResultAdd,
            kind => kind,
        };
        assert_eq!(infer(&fixture.value), Some((expected, fixture.version)), "{}", fixture.name);
    }
}
