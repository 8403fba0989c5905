//! `cnitest schema`

use std::io::Write as _;

use cni_schemas::{Kind, PluginSchema, Profile, schema_text};
use cni_spec::Version;
use miette::IntoDiagnostic as _;

/// Arguments of `cnitest schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The kind of document, as `cnitest list schemas` names it, or `plugin:NAME` for the keys of a plugin.
    kind: String,
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
        let text = match self.kind.strip_prefix("plugin:") {
            Some(name) => PluginSchema::source(name).map(str::to_owned).ok_or_else(|| {
                let names: Vec<&str> = PluginSchema::names().collect();
                miette::miette!("no schema for the plugin {name:?}; there is one for {}", names.join(", "))
            })?,
            None => {
                let kind: Kind = self.kind.parse().into_diagnostic()?;
                schema_text(kind, self.version, profile).into_diagnostic()?
            }
        };
        writeln!(std::io::stdout().lock(), "{}", text.trim_end()).into_diagnostic()?;
        Ok(0)
    }
}
