//! One-line messages for people.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use crate::constraints::Constraint;
use crate::formats;

/// Values longer than this many characters are cut.
const SHOWN: usize = 60;

/// The message of `error`. A schema's own words (`x-message`) go before ours.
pub(crate) fn of(
    error: &ValidationError<'_>,
    property: Option<&str>,
    constraint: Option<&Constraint>,
) -> String {
    let value = shown(error.instance());
    let own = constraint.and_then(|constraint| constraint.message.as_deref());
    match (error.kind(), own) {
        (ValidationErrorKind::Required { .. }, _) => {
            format!("{:?} is missing", property.unwrap_or_default())
        }
        (ValidationErrorKind::AdditionalProperties { .. }, own) => {
            format!("key {:?} {}", property.unwrap_or_default(), own.unwrap_or("is not defined here"))
        }
        (ValidationErrorKind::Type { kind }, _) => format!("{value} is not {}", types(kind)),
        (ValidationErrorKind::Format { format }, _) => {
            format!("{value} is not {}", formats::describe(format))
        }
        (_, Some(own)) => format!("{value} {own}"),
        (ValidationErrorKind::Not { .. }, None) => format!("{value} is not allowed here"),
        (ValidationErrorKind::Constant { expected_value }, None) => {
            format!("{value} is not {}", shown(expected_value))
        }
        (ValidationErrorKind::Enum { options }, None) => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(shown).collect();
            format!("{value} is not one of {}", options.join(", "))
        }
        (ValidationErrorKind::Pattern { pattern }, None) => format!("{value} does not match {pattern}"),
        (ValidationErrorKind::MinLength { limit: 1 }, None) => format!("{value} is empty"),
        (ValidationErrorKind::MinItems { limit: 1 }, None) => format!("{value} has no members"),
        (ValidationErrorKind::MaxLength { limit }, None) => {
            format!("{value} is longer than {limit} characters")
        }
        (ValidationErrorKind::Minimum { limit }, None) => format!("{value} is less than {limit}"),
        (ValidationErrorKind::Maximum { limit }, None) => format!("{value} is more than {limit}"),
        (ValidationErrorKind::UniqueItems, None) => format!("{value} has a member twice"),
        (kind, None) => format!("{value} breaks {}", kind.keyword()),
    }
}

/// A value as compact JSON, cut if it is long.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn types(kind: &TypeKind) -> String {
    let named: Vec<&str> = match kind {
        TypeKind::Single(name) => vec![name.as_str()],
        TypeKind::Multiple(names) => names.iter().map(|name| name.as_str()).collect(),
    };
    let with_article = |name: &&str| match *name {
        "null" => "null".to_owned(),
        name if name.starts_with(['a', 'i', 'o']) => format!("an {name}"),
        name => format!("a {name}"),
    };
    named.iter().map(with_article).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(shown(&json!([1, "a"])), r#"[1,"a"]"#);
        let long = shown(&json!("ä".repeat(100)));
        assert_eq!(long.chars().count(), SHOWN + 3);
        assert!(long.ends_with("ä..."));
    }
}
