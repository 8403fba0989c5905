//! How strongly the specification asks for something.

named! {
    /// The level of a requirement.
    Level("level") {
        /// An absolute requirement.
        Must = "MUST",
        /// An absolute prohibition.
        MustNot = "MUST NOT",
        /// A requirement that may be set aside for a good reason.
        Should = "SHOULD",
        /// A prohibition that may be set aside for a good reason.
        ShouldNot = "SHOULD NOT",
        /// A permission.
        May = "MAY",
        /// Stated without a keyword, or following from what is stated.
        Implied = "IMPLIED",
        /// Not in the specification: what the widespread implementations do.
        Practice = "PRACTICE",
    }
}

impl Level {
    /// Whether breaking a requirement of this level makes a plugin or runtime nonconformant.
    pub const fn is_binding(self) -> bool {
        matches!(self, Level::Must | Level::MustNot)
    }
}
