//! `cnitest schema`

use std::io::Write as _;

use cni_schemas::{Kind, Profile, schema_text};
use cni_spec::Version;
use miette::IntoDiagnostic as _;

/// Arguments of `cnitest schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The kind of document, as `cnitest list schemas` names it.
    kind: Kind,
    /// The version of the specification.
    #[arg(default_value_t = Version::LATEST)]
    version: Version,
    /// With the rules that go beyond what every reading of the specification needs.
    #[arg(long)]
    strict: bool,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let profile = if self.strict { Profile::Strict } else { Profile::Compat };
        let text = schema_text(self.kind, self.version, profile).into_diagnostic()?;
        writeln!(std::io::stdout().lock(), "{}", text.trim_end()).into_diagnostic()?;
        Ok(0)
    }
}
