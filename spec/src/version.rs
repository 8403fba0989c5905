//! Reading version numbers and agreeing on one.
//!
//! A version that was never released is data: [`AnyVersion`] holds whatever is a version number, and
//! [`AnyVersion::known`] says whether it is one of ours.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

use crate::document::Fields;
use crate::{DocumentError, Version, keys};

/// What a configuration without `cniVersion` is taken for (`config.cniversion-absent-default`).
pub const ABSENT: Version = Version::V0_1_0;

/// A version number, released or not, with the text that it came as.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AnyVersion {
    text: String,
    number: semver::Version,
}

/// A text that is no version number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no version number ({problem}): write it like 1.1.0")]
pub struct VersionError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

impl AnyVersion {
    /// Reads a semantic version. As in the Go library one or two parts are enough: `1.0` means `1.0.0`.
    ///
    /// # Errors
    /// When the text is no semantic version, for example `v1.1.0` or `1.1.0` with a space after it.
    pub fn parse(text: &str) -> Result<AnyVersion, VersionError> {
        let core_end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, suffix) = text.split_at(core_end);
        let missing = ["", ".0.0", ".0", ""];
        let parts = core.split('.').count().min(3);
        let full = format!("{core}{}{suffix}", missing[parts]);
        match semver::Version::parse(&full) {
            Ok(number) => Ok(AnyVersion { text: text.to_owned(), number }),
            Err(error) => Err(VersionError { text: text.to_owned(), problem: error.to_string() }),
        }
    }

    /// The text that was read.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The released version that this is. Versions are compared as exact text (`version.plugin-exact-match`), so `1.0` is none.
    pub fn known(&self) -> Option<Version> {
        self.text.parse().ok()
    }

    /// Compares by the precedence rules of semantic versioning: build metadata does not count.
    pub fn precedence(&self, other: &AnyVersion) -> Ordering {
        self.number.cmp_precedence(&other.number)
    }

    /// Whether this is at least a released version, by precedence.
    pub fn at_least(&self, version: Version) -> bool {
        self.precedence(&version.into()).is_ge()
    }
}

impl From<Version> for AnyVersion {
    fn from(version: Version) -> AnyVersion {
        AnyVersion::parse(version.as_str()).expect("released versions are semantic versions")
    }
}

impl fmt::Display for AnyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// The versions that a network configuration offers: `cniVersion` and `cniVersions` together, without repetition.
///
/// Where it names none, or an empty `cniVersion` only, that is [`ABSENT`].
///
/// # Errors
/// When a key has another type than the specification says or holds a text that is no version number.
pub fn offered(config: &Map<String, Value>) -> Result<Vec<AnyVersion>, DocumentError> {
    let mut fields = Fields::root("network configuration", &Value::Object(config.clone()))?;
    let single = fields.get(keys::CNI_VERSION).cloned();
    let several = fields.get(keys::CNI_VERSIONS).cloned();
    let mut texts = Vec::new();
    if let Some(text) = fields.string(keys::CNI_VERSION)?.filter(|text| !text.is_empty()) {
        texts.push((keys::CNI_VERSION, single, text));
    }
    for text in fields.strings(keys::CNI_VERSIONS)? {
        texts.push((keys::CNI_VERSIONS, several.clone(), text));
    }
    let mut versions: Vec<AnyVersion> = Vec::new();
    for (key, value, text) in texts {
        let version = AnyVersion::parse(&text).map_err(|error| {
            let mut wrong = fields.wrong(key, &value.unwrap_or_default(), "version numbers like 1.1.0");
            wrong.found = error.text;
            wrong
        })?;
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    if versions.is_empty() {
        versions.push(ABSENT.into());
    }
    Ok(versions)
}

/// The highest version that both sides name (`version.runtime-selects-highest`), or `None` where they have none in common.
///
/// `config` is what the configuration offers, `plugin` what the other side supports: a plugin or a runtime.
pub fn negotiate(config: &[AnyVersion], plugin: &[AnyVersion]) -> Option<AnyVersion> {
    let common = config.iter().filter(|offer| plugin.iter().any(|supported| supported.text == offer.text));
    common.max_by(|a, b| a.precedence(b)).cloned()
}

/// The version that a `cniVersion` field asks for: absent and empty mean [`ABSENT`].
pub fn requested(cni_version: Option<&str>) -> &str {
    cni_version.filter(|text| !text.is_empty()).unwrap_or(ABSENT.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn all(texts: &[&str]) -> Vec<AnyVersion> {
        texts.iter().map(|text| AnyVersion::parse(text).unwrap()).collect()
    }

    #[test]
    fn short_and_suffixed_numbers_are_data() {
        assert_eq!(AnyVersion::parse("1").unwrap().precedence(&Version::V1_0_0.into()), Ordering::Equal);
        assert!(AnyVersion::parse("1.1").unwrap().known().is_none());
        assert!(AnyVersion::parse("1.0.0-rc1").unwrap().precedence(&Version::V1_0_0.into()).is_lt());
        assert!(AnyVersion::parse("9.9.9+build").unwrap().at_least(Version::LATEST));
        assert_eq!(AnyVersion::parse("0.3.1").unwrap().known(), Some(Version::V0_3_1));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "v1.1.0",
            "1.1.0 ",
            "banana",
            "1.1.0.0",
            "1..0",
            "01.1.0",
            "-1.0.0",
            "1.0.0-",
            "99999999999999999999",
        ] {
            assert!(AnyVersion::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_highest_common_version_wins_wherever_it_stands() {
        let config = all(&["0.4.0", "0.3.1", "1.0.0", "9.9.9"]);
        let supported: Vec<AnyVersion> = Version::ALL.into_iter().map(AnyVersion::from).collect();
        assert_eq!(negotiate(&config, &supported).unwrap().as_str(), "1.0.0");
        assert_eq!(negotiate(&config, &all(&["0.3.1", "0.4.0"])).unwrap().as_str(), "0.4.0");
        assert_eq!(negotiate(&config, &all(&["0.2.0"])), None);
    }

    #[test]
    fn a_configuration_offers_the_union() {
        let config = json!({"cniVersion": "0.4.0", "cniVersions": ["1.0.0", "0.4.0"]});
        assert_eq!(offered(config.as_object().unwrap()).unwrap(), all(&["0.4.0", "1.0.0"]));
        for absent in [json!({}), json!({"cniVersion": ""})] {
            assert_eq!(offered(absent.as_object().unwrap()).unwrap(), all(&["0.1.0"]));
        }
        assert_eq!(requested(Some("")), "0.1.0");
    }

    #[test]
    fn wrong_version_fields_say_where() {
        for (config, path) in [
            (json!({"cniVersion": 1.1}), "/cniVersion"),
            (json!({"cniVersion": "banana"}), "/cniVersion"),
            (json!({"cniVersions": "1.0.0"}), "/cniVersions"),
            (json!({"cniVersions": ["1.0.0", 1]}), "/cniVersions/1"),
        ] {
            assert_eq!(offered(config.as_object().unwrap()).unwrap_err().path, path);
        }
    }

    proptest! {
        #![proptest_config(crate::testing::fixed())]

        #[test]
        fn reading_never_panics(text in ".*") {
            if let Ok(version) = AnyVersion::parse(&text) {
                prop_assert_eq!(version.as_str(), text.as_str());
            }
        }

        #[test]
        fn a_negotiated_version_is_common_and_highest(config in prop::collection::vec("[01]\\.[0-3]\\.[0-2]", 0..6),
                                                       plugin in prop::collection::vec("[01]\\.[0-3]\\.[0-2]", 0..6)) {
            let read = |texts: &[String]| texts.iter().map(|text| AnyVersion::parse(text).unwrap()).collect::<Vec<_>>();
            let (config, plugin) = (read(&config), read(&plugin));
            let common: Vec<&AnyVersion> = config.iter().filter(|version| plugin.contains(version)).collect();
            match negotiate(&config, &plugin) {
                None => prop_assert!(common.is_empty()),
                Some(chosen) => {
                    prop_assert!(common.contains(&&chosen));
                    prop_assert!(common.iter().all(|other| other.precedence(&chosen).is_le()));
                }
            }
        }
    }
}
