//! The rules for names: container IDs, interface names, network names and plugin types.

use crate::Version;

/// The longest interface name in bytes (`param.ifname-validation`).
pub const IFNAME_MAX: usize = 15;

/// A name that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} {problem}: use {rule}")]
pub struct ValueError {
    /// What the name is, for example `container ID`.
    pub what: &'static str,
    /// The name.
    pub value: String,
    /// What is wrong.
    pub problem: Problem,
    /// What is right.
    pub rule: &'static str,
    /// The requirement that says so.
    pub requirement: &'static str,
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It starts with a character that it may only hold later.
    #[error("starts with {0:?}")]
    First(char),
    /// It holds a character that it may not hold.
    #[error("holds {0:?}")]
    Character(char),
    /// It is longer than [`IFNAME_MAX`].
    #[error("has {0} bytes")]
    Long(usize),
    /// It is `.` or `..`.
    #[error("is a directory's name")]
    Directory,
}

const WORD_RULE: &str = "a letter or digit, then letters, digits, underscores, dots and hyphens";

/// The rule that container IDs and network names share from 1.0.0 on.
fn word(text: &str) -> Option<Problem> {
    let mut characters = text.chars();
    match characters.next() {
        None => return Some(Problem::Empty),
        Some(first) if !first.is_ascii_alphanumeric() => return Some(Problem::First(first)),
        Some(_) => {}
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    characters.find(|c| !allowed(c)).map(Problem::Character)
}

fn verdict(
    what: &'static str,
    text: &str,
    problem: Option<Problem>,
    rule: &'static str,
    requirement: &'static str,
) -> Result<(), ValueError> {
    match problem {
        None => Ok(()),
        Some(problem) => Err(ValueError { what, value: text.to_owned(), problem, rule, requirement }),
    }
}

fn empty(text: &str) -> Option<Problem> {
    text.is_empty().then_some(Problem::Empty)
}

/// Checks a container ID: from 1.0.0 on `^[A-Za-z0-9][A-Za-z0-9_.-]*$`, in 0.4.0 not empty, before that anything.
///
/// # Errors
/// Says which rule is broken.
pub fn container_id(text: &str, version: Version) -> Result<(), ValueError> {
    let what = "container ID";
    if version < Version::V0_4_0 {
        return Ok(());
    }
    verdict(what, text, empty(text), "at least one character", "param.containerid-nonempty")?;
    if version < Version::V1_0_0 {
        return Ok(());
    }
    let problem = word(text);
    let requirement = match problem {
        Some(Problem::First(_)) => "param.containerid-first-char",
        _ => "param.containerid-charset",
    };
    verdict(what, text, problem, WORD_RULE, requirement)
}

/// Checks a network name: from 1.0.0 on `^[A-Za-z0-9][A-Za-z0-9_.-]*$`, before that not empty.
///
/// # Errors
/// Says which rule is broken.
pub fn network_name(text: &str, version: Version) -> Result<(), ValueError> {
    let what = "network name";
    verdict(what, text, empty(text), "at least one character", "config.name-required")?;
    if version < Version::V1_0_0 {
        return Ok(());
    }
    let problem = word(text);
    let requirement = match problem {
        Some(Problem::First(_)) => "config.name-first-char",
        _ => "config.name-charset",
    };
    verdict(what, text, problem, WORD_RULE, requirement)
}

/// Checks the name of an interface: 1 to [`IFNAME_MAX`] bytes, neither `.` nor `..`, without `/`, `:` and white space.
///
/// # Errors
/// Says which rule is broken.
pub fn interface_name(text: &str) -> Result<(), ValueError> {
    let wrong = |c: &char| matches!(c, '/' | ':' | '\0') || c.is_whitespace();
    let problem = if text.is_empty() {
        Some(Problem::Empty)
    } else if text.len() > IFNAME_MAX {
        Some(Problem::Long(text.len()))
    } else if is_directory(text) {
        Some(Problem::Directory)
    } else {
        text.chars().find(wrong).map(Problem::Character)
    };
    let rule = "1 to 15 bytes without '/', ':' and white space, neither \".\" nor \"..\"";
    verdict("interface name", text, problem, rule, "param.ifname-validation")
}

/// Checks a plugin's type, also an IPAM plugin's: not empty, and from 1.0.0 on without `/`, `\` and NUL, neither `.` nor `..`.
///
/// # Errors
/// Says which rule is broken.
pub fn plugin_type(text: &str, version: Version) -> Result<(), ValueError> {
    let what = "plugin type";
    let rule = "the file name of an executable, without a directory";
    verdict(what, text, empty(text), rule, "config.type-required")?;
    if version < Version::V1_0_0 {
        return Ok(());
    }
    let separator = text.chars().find(|c| matches!(c, '/' | '\\' | '\0')).map(Problem::Character);
    verdict(what, text, separator, rule, "config.type-no-path-chars")?;
    verdict(what, text, is_directory(text).then_some(Problem::Directory), rule, "config.type-dotdot")
}

fn is_directory(text: &str) -> bool {
    matches!(text, "." | "..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalogue;

    #[test]
    fn words() {
        for good in ["a", "9", "a_b.c-d", "a..b", &"f".repeat(5000)] {
            assert_eq!(container_id(good, Version::V1_0_0), Ok(()), "{good}");
            assert_eq!(network_name(good, Version::V1_1_0), Ok(()), "{good}");
        }
        for bad in [
            "", "-a", ".a", "_a", "a/b", "a b", "a\n", "a;b", "a\u{e9}", "\u{e9}", "../x", "a\\b", "a\0b",
            "a:b",
        ] {
            assert!(container_id(bad, Version::V1_0_0).is_err(), "{bad:?}");
            assert!(network_name(bad, Version::V1_1_0).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn older_versions_ask_less() {
        assert_eq!(container_id("", Version::V0_3_1), Ok(()));
        assert!(container_id("", Version::V0_4_0).is_err());
        assert_eq!(container_id("a b", Version::V0_4_0), Ok(()));
        assert_eq!(network_name("a b", Version::V0_4_0), Ok(()));
        assert!(network_name("", Version::V0_1_0).is_err());
        assert_eq!(plugin_type("a/b", Version::V0_4_0), Ok(()));
    }

    #[test]
    fn interface_names() {
        for good in ["eth0", "a%d", "123456789012345", "-", "..."] {
            assert_eq!(interface_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a:1",
            "a b",
            "a\tb",
            "a\u{2003}b",
            "1234567890123456",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert!(interface_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn plugin_types() {
        for bad in ["", "../p", "a/b", "/bin/p", "a\\b", ".", "..", "a\0"] {
            assert!(plugin_type(bad, Version::V1_0_0).is_err(), "{bad:?}");
        }
        assert_eq!(plugin_type("host-local", Version::LATEST), Ok(()));
    }

    #[test]
    fn errors_cite_requirements_that_exist() {
        let errors = [
            container_id("", Version::LATEST),
            container_id("-", Version::LATEST),
            container_id("a b", Version::LATEST),
            network_name("", Version::LATEST),
            network_name("-", Version::LATEST),
            network_name("a b", Version::LATEST),
            interface_name(""),
            plugin_type("", Version::LATEST),
            plugin_type("/", Version::LATEST),
            plugin_type("..", Version::LATEST),
        ];
        for error in errors {
            let id = error.unwrap_err().requirement;
            assert!(catalogue::requirement(id).is_some(), "{id}");
        }
    }

    proptest! {
        #![proptest_config(crate::testing::fixed())]

        #[test]
        fn what_the_pattern_generates_is_valid(text in "[A-Za-z0-9][A-Za-z0-9_.-]{0,40}") {
            prop_assert_eq!(container_id(&text, Version::V1_0_0), Ok(()));
            prop_assert_eq!(network_name(&text, Version::V1_0_0), Ok(()));
        }

        #[test]
        fn one_foreign_character_makes_it_invalid(head in "[A-Za-z0-9][A-Za-z0-9_.-]{0,10}", foreign in "[^A-Za-z0-9_.-]", tail in "[A-Za-z0-9_.-]{0,10}") {
            let text = format!("{head}{foreign}{tail}");
            prop_assert!(container_id(&text, Version::V1_0_0).is_err());
            prop_assert!(network_name(&text, Version::V1_0_0).is_err());
        }

        #[test]
        fn a_wrong_first_character_makes_it_invalid(text in "[^A-Za-z0-9][A-Za-z0-9_.-]{0,10}") {
            prop_assert!(container_id(&text, Version::V1_0_0).is_err());
        }

        #[test]
        fn interface_names_follow_the_bytes(text in "[a-z0-9%_.@-]{1,20}") {
            let expected = text.len() <= IFNAME_MAX && text != "." && text != "..";
            prop_assert_eq!(interface_name(&text).is_ok(), expected);
        }

        #[test]
        fn checking_never_panics(text in ".*") {
            for version in Version::ALL {
                let _ = (container_id(&text, version), network_name(&text, version), plugin_type(&text, version), interface_name(&text));
            }
        }
    }
}
