//! Error objects and the well-known codes.

use serde_json::{Map, Value};

use crate::document::{Fields, text, uint};
use crate::{DocumentError, Version, keys};

/// A code with a meaning of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    /// The number.
    pub code: u32,
    /// What it says.
    pub meaning: &'static str,
    /// The first version whose text has it; `None` for a code that only libraries use.
    pub since: Option<Version>,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $since:expr, $meaning:literal;)+) => {
        $(#[doc = $meaning] $(#[$meta])* pub const $name: u32 = $code;)+

        /// The codes with a meaning of their own, in order.
        pub const WELL_KNOWN: &[ErrorCode] = &[$(ErrorCode { code: $code, meaning: $meaning, since: $since }),+];
    };
}

codes! {
    INCOMPATIBLE_VERSION = 1, Some(Version::V0_1_0), "The CNI version is incompatible.";
    UNSUPPORTED_FIELD = 2, Some(Version::V0_2_0), "The network configuration has an unsupported field; the message contains its key and value.";
    UNKNOWN_CONTAINER = 3, Some(Version::V0_4_0), "The container is unknown or does not exist; the runtime need not clean up.";
    INVALID_ENVIRONMENT = 4, Some(Version::V1_0_0), "A necessary environment variable is missing or invalid; the message contains its name.";
    IO_FAILURE = 5, Some(Version::V1_0_0), "Input or output failed, such as reading the configuration.";
    DECODING_FAILURE = 6, Some(Version::V1_0_0), "Content could not be decoded, such as broken JSON.";
    INVALID_CONFIGURATION = 7, Some(Version::V1_0_0), "The network configuration fails a validation.";
    INVALID_NETNS = 8, None, "The network namespace is invalid or the plugin's own; a code of the Go library only.";
    TRY_AGAIN_LATER = 11, Some(Version::V0_4_0), "A transient condition; the runtime should try again later.";
    UNAVAILABLE = 50, Some(Version::V1_1_0), "The plugin cannot serve ADD.";
    UNAVAILABLE_LIMITED_CONNECTIVITY = 51, Some(Version::V1_1_0), "The plugin cannot serve ADD, and existing containers may have limited connectivity.";
}

/// The first code that a plugin may define for itself; the ones below are reserved.
pub const FIRST_PLUGIN_SPECIFIC: u32 = 100;

/// The meaning of a code, if it has one.
pub fn well_known(code: u32) -> Option<&'static ErrorCode> {
    WELL_KNOWN.iter().find(|known| known.code == code)
}

/// Whether the text of a version lets a plugin use a code: defined in it, or specific to the plugin.
pub fn is_defined(code: u32, version: Version) -> bool {
    code >= FIRST_PLUGIN_SPECIFIC
        || well_known(code).and_then(|known| known.since).is_some_and(|since| since <= version)
}

/// The object that a failing plugin prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{msg} (code {code}){}{}", if details.is_some() { ": " } else { "" }, details.as_deref().unwrap_or(""))]
pub struct CniError {
    /// The version in use.
    pub cni_version: Option<String>,
    /// The code: see [`WELL_KNOWN`] and [`FIRST_PLUGIN_SPECIFIC`].
    pub code: u32,
    /// A short text.
    pub msg: String,
    /// A longer text.
    pub details: Option<String>,
    /// The keys that the specification does not define.
    pub extra: Map<String, Value>,
}

impl CniError {
    /// An error with a code and a short text.
    pub fn new(code: u32, msg: impl Into<String>) -> CniError {
        CniError { cni_version: None, code, msg: msg.into(), details: None, extra: Map::new() }
    }

    /// The same error with a longer text.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> CniError {
        CniError { details: Some(details.into()), ..self }
    }

    /// The same error labelled with the version in use.
    #[must_use]
    pub fn with_version(self, cni_version: impl Into<String>) -> CniError {
        CniError { cni_version: Some(cni_version.into()), ..self }
    }

    /// Reads an error object.
    ///
    /// # Errors
    /// When it is no object, `code` is no integer from 0 to 2^32-1, or a text is no string. `code` and `msg` are required.
    pub fn parse(value: &Value) -> Result<CniError, DocumentError> {
        let mut fields = Fields::root("error", value)?;
        Ok(CniError {
            cni_version: fields.string(keys::CNI_VERSION)?,
            code: fields.require("code", "an integer from 0 to 4294967295", uint)?,
            msg: fields.require("msg", "a string", text)?,
            details: fields.string("details")?,
            extra: fields.rest(),
        })
    }

    /// The error object. A key in `extra` never replaces one that the specification defines.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        if let Some(version) = &self.cni_version {
            map.insert(keys::CNI_VERSION.to_owned(), version.as_str().into());
        }
        map.insert("code".to_owned(), self.code.into());
        map.insert("msg".to_owned(), self.msg.as_str().into());
        if let Some(details) = &self.details {
            map.insert("details".to_owned(), details.as_str().into());
        }
        for (key, value) in &self.extra {
            map.entry(key).or_insert_with(|| value.clone());
        }
        Value::Object(map)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn codes_are_distinct_and_reserved() {
        assert!(WELL_KNOWN.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(WELL_KNOWN.iter().all(|known| known.code > 0 && known.code < FIRST_PLUGIN_SPECIFIC));
    }

    #[test]
    fn codes_belong_to_versions() {
        let defined = |version| {
            (0..FIRST_PLUGIN_SPECIFIC).filter(|code| is_defined(*code, version)).collect::<Vec<_>>()
        };
        assert_eq!(defined(Version::V0_1_0), [1]);
        assert_eq!(defined(Version::V0_3_1), [1, 2]);
        assert_eq!(defined(Version::V0_4_0), [1, 2, 3, 11]);
        assert_eq!(defined(Version::V1_0_0), [1, 2, 3, 4, 5, 6, 7, 11]);
        assert_eq!(defined(Version::V1_1_0), [1, 2, 3, 4, 5, 6, 7, 11, 50, 51]);
        assert!(is_defined(999, Version::V0_1_0));
    }

    #[test]
    fn unknown_keys_and_order_survive() {
        let value = json!({"cniVersion": "1.1.0", "code": 7, "msg": "m", "details": "d", "x": {"b": 1, "a": 18446744073709551616_f64}});
        assert_eq!(CniError::parse(&value).unwrap().to_value().to_string(), value.to_string());
    }

    #[test]
    fn wrong_types_say_where() {
        for (value, path) in [
            (json!([]), ""),
            (json!({"msg": "m"}), "/code"),
            (json!({"code": -1, "msg": "m"}), "/code"),
            (json!({"code": "7", "msg": "m"}), "/code"),
            (json!({"code": 7}), "/msg"),
            (json!({"code": 7, "msg": "m", "details": {}}), "/details"),
        ] {
            assert_eq!(CniError::parse(&value).unwrap_err().path, path, "{value}");
        }
    }

    #[test]
    fn an_error_reads_well() {
        let error = CniError::new(TRY_AGAIN_LATER, "busy").with_details("lock held").with_version("1.1.0");
        assert_eq!(error.to_string(), "busy (code 11): lock held");
        assert_eq!(
            error.to_value(),
            json!({"cniVersion": "1.1.0", "code": 11, "msg": "busy", "details": "lock held"})
        );
    }

    proptest! {
        #![proptest_config(crate::testing::fixed())]

        #[test]
        fn printing_and_reading_agree(code: u32, msg: String, details: Option<String>, version: Option<String>) {
            let error = CniError { cni_version: version, details, ..CniError::new(code, msg) };
            prop_assert_eq!(CniError::parse(&error.to_value()).unwrap(), error);
        }
    }
}
