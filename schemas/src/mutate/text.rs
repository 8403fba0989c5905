//! Changes of the encoded text, below what JSON documents can say.

use serde_json::Value;

use crate::generate::Source;

/// What a text is after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// No JSON text (RFC 8259): decoding fails, code 6 from 1.0.0 on.
    NotJson,
    /// JSON, but readers differ in what it means or whether they take it: it must be refused cleanly or accepted.
    Unclear,
}

/// A way to change a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "Kind::as_str says it")]
pub enum Kind {
    Empty,
    Truncated,
    InvalidUtf8,
    LoneSurrogate,
    DuplicateKey,
    ByteOrderMark,
    TrailingText,
    SecondDocument,
    TrailingComma,
    Comment,
    SingleQuotes,
    RawControl,
    EscapedNul,
    RawNul,
    Deep,
    BigNumber,
    NotANumber,
    LeadingZero,
    Utf16,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 19] = [
        Kind::Empty,
        Kind::Truncated,
        Kind::InvalidUtf8,
        Kind::LoneSurrogate,
        Kind::DuplicateKey,
        Kind::ByteOrderMark,
        Kind::TrailingText,
        Kind::SecondDocument,
        Kind::TrailingComma,
        Kind::Comment,
        Kind::SingleQuotes,
        Kind::RawControl,
        Kind::EscapedNul,
        Kind::RawNul,
        Kind::Deep,
        Kind::BigNumber,
        Kind::NotANumber,
        Kind::LeadingZero,
        Kind::Utf16,
    ];

    /// What is done, in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Empty => "no text at all",
            Kind::Truncated => "cut off",
            Kind::InvalidUtf8 => "a byte that UTF-8 never has",
            Kind::LoneSurrogate => "half a surrogate pair",
            Kind::DuplicateKey => "a key twice, with different values",
            Kind::ByteOrderMark => "a byte order mark in front",
            Kind::TrailingText => "text after the document",
            Kind::SecondDocument => "a second document",
            Kind::TrailingComma => "a comma after the last member",
            Kind::Comment => "a comment",
            Kind::SingleQuotes => "a key in single quotes",
            Kind::RawControl => "a line break inside a text",
            Kind::EscapedNul => "an escaped NUL",
            Kind::RawNul => "a NUL byte at the end",
            Kind::Deep => "100,000 lists inside each other",
            Kind::BigNumber => "a number beyond every type",
            Kind::NotANumber => "NaN",
            Kind::LeadingZero => "a number with a leading zero",
            Kind::Utf16 => "UTF-16",
        }
    }

    /// What the text is then. A reader may pass over a byte order mark; NUL, depth and size are limits of its own.
    pub const fn meaning(self) -> Meaning {
        match self {
            Kind::LoneSurrogate
            | Kind::DuplicateKey
            | Kind::ByteOrderMark
            | Kind::EscapedNul
            | Kind::Deep
            | Kind::BigNumber => Meaning::Unclear,
            _ => Meaning::NotJson,
        }
    }

    /// The error code of the answer, where the text is no JSON.
    pub const fn code(self) -> Option<u32> {
        match self.meaning() {
            Meaning::NotJson => Some(cni_spec::error::DECODING_FAILURE),
            Meaning::Unclear => None,
        }
    }

    /// Changes the text of a document that is an object; `None` for any other.
    ///
    /// ```
    /// use cni_schemas::generate::Random;
    /// use cni_schemas::mutate::text::Kind;
    ///
    /// let text = Kind::TrailingComma.apply(&serde_json::json!({"a": 1}), &mut Random::new(1));
    /// assert_eq!(text.as_deref(), Some(&br#"{"a":1,}"#[..]));
    /// ```
    pub fn apply(self, document: &Value, source: &mut dyn Source) -> Option<Vec<u8>> {
        let object = document.as_object()?;
        let whole = document.to_string();
        let head = whole.strip_suffix('}')?;
        let comma = if object.is_empty() { "" } else { "," };
        let member = |text: &str| format!("{head}{comma}{text}}}").into_bytes();
        Some(match self {
            Kind::Empty => Vec::new(),
            Kind::Truncated => whole.as_bytes()[..1 + source.below(whole.len() as u32 - 1) as usize].to_vec(),
            Kind::InvalidUtf8 => [head.as_bytes(), comma.as_bytes(), b"\"x\":\"\xff\"}"].concat(),
            Kind::LoneSurrogate => member(r#""x":"\ud800""#),
            Kind::DuplicateKey => {
                let (key, value) = object.iter().next()?;
                let other = if value.is_string() { Value::from("other") } else { Value::Null };
                member(&format!("{}:{other}", Value::from(key.as_str())))
            }
            Kind::ByteOrderMark => format!("\u{feff}{whole}").into_bytes(),
            Kind::TrailingText => format!("{whole}x").into_bytes(),
            Kind::SecondDocument => format!("{whole}{whole}").into_bytes(),
            Kind::TrailingComma => format!("{head},}}").into_bytes(),
            Kind::Comment => format!("{whole} // comment").into_bytes(),
            Kind::SingleQuotes => member("'x':1"),
            Kind::RawControl => member("\"x\":\"a\nb\""),
            Kind::EscapedNul => member(r#""x":"\u0000""#),
            Kind::RawNul => format!("{whole}\0").into_bytes(),
            Kind::Deep => member(&format!("\"x\":{}{}", "[".repeat(100_000), "]".repeat(100_000))),
            Kind::BigNumber => {
                let digits = ["1e999999".to_owned(), "9".repeat(400), "-1e-999999".to_owned()];
                member(&format!("\"x\":{}", digits[source.below(3) as usize]))
            }
            Kind::NotANumber => member("\"x\":NaN"),
            Kind::LeadingZero => member("\"x\":01"),
            Kind::Utf16 => whole.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::generate::Random;

    #[test]
    fn what_is_said_to_be_no_json_is_none() {
        for document in [json!({}), json!({"cniVersion": "1.1.0", "name": "n"})] {
            for kind in Kind::ALL {
                let Some(text) = kind.apply(&document, &mut Random::new(3)) else {
                    assert_eq!((kind, document.to_string().as_str()), (Kind::DuplicateKey, "{}"));
                    continue;
                };
                let json = serde_json::from_slice::<Value>(&text).is_ok();
                match kind.meaning() {
                    Meaning::NotJson => assert!(!json, "{kind:?}: {}", String::from_utf8_lossy(&text)),
                    Meaning::Unclear => assert_ne!(text, document.to_string().into_bytes()),
                }
                assert_eq!(kind.code().is_some(), kind.meaning() == Meaning::NotJson);
            }
        }
    }
}
