//! Enumerations whose members are names: one table gives the text in both directions.
//!
//! The build script compiles this file too, so that it accepts exactly the names that the library knows.

/// A text that names no member of an enumeration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {given:?}: use one of {}", allowed.join(", "))]
pub struct UnknownName {
    /// What was to be named, for example `operation`.
    pub what: &'static str,
    /// The text that was given.
    pub given: String,
    /// The texts that are known.
    pub allowed: &'static [&'static str],
}

macro_rules! named {
    ($(#[$meta:meta])* $name:ident ($what:literal) { $($(#[$member_meta:meta])* $member:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$member_meta])* $member,)+ }

        impl $name {
            /// Every member, in order.
            pub const ALL: [$name; [$($text),+].len()] = [$($name::$member),+];

            /// The name as CNI writes it.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$member => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::UnknownName;

            /// Reads the exact name; case and white space count.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok($name::$member),)+
                    _ => Err(crate::UnknownName { what: $what, given: text.to_owned(), allowed: &[$($text),+] }),
                }
            }
        }
    };
}
