//! `cnitest validate`

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use cni_schemas::{Kind, Profile, Violation, infer, validate};
use cni_spec::{Version, catalogue};
use miette::{Context as _, IntoDiagnostic as _, miette};
use serde_json::Value;

/// Arguments of `cnitest validate`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The document; `-` is stdin.
    file: PathBuf,
    /// What it is, as `cnitest list schemas` names it [default: guessed from its keys].
    #[arg(long)]
    kind: Option<Kind>,
    /// The version to judge it by [default: its cniVersion].
    #[arg(long)]
    spec_version: Option<Version>,
    /// Apply also the rules that go beyond what every reading of the specification needs.
    #[arg(long)]
    strict: bool,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let name = self.file.display().to_string();
        let mut text = String::new();
        match name.as_str() {
            "-" => std::io::stdin().read_to_string(&mut text).map(drop),
            _ => std::fs::read_to_string(&self.file).map(|read| text = read),
        }
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read {name}"))?;
        let document: Value =
            serde_json::from_str(&text).into_diagnostic().wrap_err_with(|| format!("{name} is not JSON"))?;
        let guess = infer(&document);
        let kind = self.kind.or(guess.map(|(kind, _)| kind)).ok_or_else(|| {
            miette!(
                help = "say it with --kind; `cnitest list schemas` names the kinds",
                "cannot tell what {name} is"
            )
        })?;
        let version = self.spec_version.or(guess.map(|(_, version)| version)).unwrap_or(Version::LATEST);
        let profile = if self.strict { Profile::Strict } else { Profile::Compat };
        let violations = validate(kind, version, profile, &document).into_diagnostic()?;
        let mut out = std::io::stdout().lock();
        if violations.is_empty() {
            writeln!(out, "{name}: a valid {kind} of CNI {version}").into_diagnostic()?;
            return Ok(0);
        }
        writeln!(out, "{name}: not a valid {kind} of CNI {version}").into_diagnostic()?;
        for violation in &violations {
            writeln!(out, "{}", line(violation)).into_diagnostic()?;
        }
        Ok(1)
    }
}

fn line(violation: &Violation) -> String {
    let place = match violation.instance_path.as_str() {
        "" => "the document",
        path => path,
    };
    let mut text = format!("  {place}: {}", violation.message);
    if let Some(known) = violation.requirement.and_then(catalogue::requirement) {
        text.push_str(&format!("\n    {} {}: {}", known.level, known.id, known.statement));
    }
    if let Some(code) = violation.code {
        text.push_str(&format!("\n    a plugin answers this with error code {code}"));
    }
    text
}
