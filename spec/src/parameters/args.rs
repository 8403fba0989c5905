//! `CNI_ARGS`: `KEY=VALUE` pairs joined by semicolons.

use std::fmt;

/// The pairs of `CNI_ARGS`, in order. There is no escaping: a key holds no `=` or `;`, and neither does a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CniArgs {
    pairs: Vec<(String, String)>,
}

/// A pair that does not follow the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pair {} is {text:?}: write KEY=VALUE with exactly one '=', pairs joined by ';'", index + 1)]
pub struct ArgsError {
    /// The pair's index.
    pub index: usize,
    /// The pair's text.
    pub text: String,
}

impl CniArgs {
    /// Reads the variable's value; the empty string has no pairs.
    ///
    /// # Errors
    /// When a pair does not have exactly one `=` with a key before it; so a `;` at the end is an error
    /// (`param.args-parse-rules`).
    pub fn parse(text: &str) -> Result<CniArgs, ArgsError> {
        if text.is_empty() {
            return Ok(CniArgs::default());
        }
        let pairs = text.split(';').enumerate().map(|(index, pair)| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.contains('=') => {
                Ok((key.to_owned(), value.to_owned()))
            }
            _ => Err(ArgsError { index, text: pair.to_owned() }),
        });
        Ok(CniArgs { pairs: pairs.collect::<Result<_, _>>()? })
    }

    /// Adds a pair.
    ///
    /// # Errors
    /// When the key is empty or one of the two holds `=` or `;`, which nothing could read back.
    pub fn push(&mut self, key: &str, value: &str) -> Result<(), ArgsError> {
        if key.is_empty() || [key, value].iter().any(|text| text.contains(['=', ';'])) {
            return Err(ArgsError { index: self.pairs.len(), text: format!("{key}={value}") });
        }
        self.pairs.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The pairs, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of a key; keys are case sensitive and the last of several pairs counts.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs().filter(|(k, _)| *k == key).last().map(|(_, value)| value)
    }

    /// Whether `IgnoreUnknown` asks to pass over unknown keys: `1`, or `true` in any case (`param.args-ignoreunknown`).
    pub fn ignores_unknown(&self) -> bool {
        self.get("IgnoreUnknown").is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }

    /// The first key that is not among the known ones, unless `IgnoreUnknown` allows it.
    pub fn unknown(&self, known: &[&str]) -> Option<&str> {
        if self.ignores_unknown() {
            return None;
        }
        self.pairs().map(|(key, _)| key).find(|key| *key != "IgnoreUnknown" && !known.contains(key))
    }
}

impl fmt::Display for CniArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.pairs().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            write!(f, "{separator}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kubernetes_arguments() {
        let args =
            CniArgs::parse("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a-b.c;EMPTY=").unwrap();
        assert_eq!(args.get("K8S_POD_NAME"), Some("a-b.c"));
        assert_eq!(args.get("EMPTY"), Some(""));
        assert_eq!(args.get("k8s_pod_name"), None);
        assert!(args.ignores_unknown());
        assert_eq!(args.unknown(&[]), None);
    }

    #[test]
    fn unknown_keys_need_the_switch() {
        assert_eq!(CniArgs::parse("IP=10.0.0.1;FOO=BAR").unwrap().unknown(&["IP"]), Some("FOO"));
        assert!(CniArgs::parse("IgnoreUnknown=TRUE").unwrap().ignores_unknown());
        assert!(!CniArgs::parse("IgnoreUnknown=yes").unwrap().ignores_unknown());
        assert_eq!(CniArgs::parse("IgnoreUnknown=0").unwrap().unknown(&[]), None);
    }

    #[test]
    fn malformed_pairs_are_refused() {
        for (text, index) in [("A=B;", 1), ("A=B=C", 0), (";", 0), ("A", 0), ("A=B;;C=D", 1), ("=x", 0)] {
            assert_eq!(CniArgs::parse(text).unwrap_err().index, index, "{text}");
        }
        let mut args = CniArgs::default();
        assert!(args.push("A", "x;y=z").is_err());
        assert!(args.push("", "x").is_err());
        assert_eq!(args, CniArgs::default());
    }

    proptest! {
        #![proptest_config(crate::testing::fixed())]

        #[test]
        fn pairs_survive(pairs in prop::collection::vec(("[^=;]{1,8}", "[^=;]{0,8}"), 0..6)) {
            let mut args = CniArgs::default();
            for (key, value) in &pairs {
                args.push(key, value).unwrap();
            }
            prop_assert_eq!(CniArgs::parse(&args.to_string()).unwrap(), args);
        }

        #[test]
        fn what_is_read_prints_the_same(text in "[A-C=;]{0,12}") {
            if let Ok(args) = CniArgs::parse(&text) {
                prop_assert_eq!(args.to_string(), text);
            }
        }
    }
}
