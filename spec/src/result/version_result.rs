//! The result of VERSION.

use serde_json::{Map, Value};

use crate::document::{Fields, text};
use crate::{DocumentError, Version, keys};

/// What a plugin answers to VERSION.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionResult {
    /// From 1.0.0 on the version of the request, before that the version of this output.
    pub cni_version: String,
    /// The versions that the plugin supports, whatever they are.
    pub supported_versions: Vec<String>,
    /// The keys that the specification does not define.
    pub extra: Map<String, Value>,
}

impl VersionResult {
    /// The answer of a plugin that supports some released versions.
    pub fn new(cni_version: impl Into<String>, supported: &[Version]) -> VersionResult {
        VersionResult {
            cni_version: cni_version.into(),
            supported_versions: supported.iter().map(Version::to_string).collect(),
            extra: Map::new(),
        }
    }

    /// Reads a version result. With `cniVersion` 0.2.0, missing or empty `supportedVersions` mean 0.1.0 and 0.2.0
    /// (`version.lists-nonempty`).
    ///
    /// # Errors
    /// When it is no object, `cniVersion` is no string, or `supportedVersions` is no array of at least one string.
    pub fn parse(value: &Value) -> Result<VersionResult, DocumentError> {
        let mut fields = Fields::root("version result", value)?;
        let cni_version = fields.require(keys::CNI_VERSION, "a string", text)?;
        let mut supported_versions = fields.strings(keys::SUPPORTED_VERSIONS)?;
        if supported_versions.is_empty() {
            if cni_version != Version::V0_2_0.as_str() {
                return Err(fields.missing(keys::SUPPORTED_VERSIONS, "an array of at least one version"));
            }
            supported_versions =
                [Version::V0_1_0, Version::V0_2_0].map(|version| version.to_string()).to_vec();
        }
        Ok(VersionResult { cni_version, supported_versions, extra: fields.rest() })
    }

    /// Whether the plugin supports a version.
    pub fn supports(&self, version: Version) -> bool {
        self.supported_versions.iter().any(|text| text == version.as_str())
    }

    /// The version result. A key in `extra` never replaces one that the specification defines.
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        out.insert(keys::CNI_VERSION.to_owned(), self.cni_version.as_str().into());
        out.insert(keys::SUPPORTED_VERSIONS.to_owned(), Value::from(self.supported_versions.as_slice()));
        for (key, value) in &self.extra {
            out.entry(key).or_insert_with(|| value.clone());
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_result_survives() {
        let value = json!({"cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "9.9.9"], "x": 1});
        let result = VersionResult::parse(&value).unwrap();
        assert_eq!(result.to_value(), value);
        assert!(result.supports(Version::V0_4_0) && !result.supports(Version::V1_1_0));
        assert_eq!(
            VersionResult::parse(&VersionResult::new("1.0.0", &Version::ALL).to_value())
                .unwrap()
                .supported_versions
                .len(),
            7
        );
    }

    #[test]
    fn only_0_2_0_may_leave_the_list_out() {
        let old = VersionResult::parse(&json!({"cniVersion": "0.2.0"})).unwrap();
        assert_eq!(old.supported_versions, ["0.1.0", "0.2.0"]);
        for value in [
            json!({"cniVersion": "1.0.0"}),
            json!({"cniVersion": "1.0.0", "supportedVersions": []}),
            json!({"supportedVersions": ["1.0.0"]}),
            json!(null),
            json!({"cniVersion": "1.0.0", "supportedVersions": [1]}),
        ] {
            assert!(VersionResult::parse(&value).is_err(), "{value}");
        }
    }
}
