//! `cnitest validate`

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use cni_schemas::{Kind, Profile, Violation, infer, validate};
use cni_spec::{Version, catalogue};
use miette::{Context as _, IntoDiagnostic as _, miette};
use serde_json::Value;

use cnitest::runtime::load::folder_files;

/// Arguments of `cnitest validate`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The document; `-` is stdin. Of a folder, every network configuration, and whether their names differ.
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
        if self.file.is_dir() {
            return self.folder();
        }
        let (valid, _) = self.judge(&self.file)?;
        Ok(u8::from(!valid))
    }

    /// Every network configuration of a folder, and whether their names differ (`config.name-unique`).
    fn folder(&self) -> miette::Result<u8> {
        let mut files = folder_files(&self.file, &["conflist", "conf", "json"]).into_diagnostic()?;
        files.sort();
        if files.is_empty() {
            return Err(miette!("{} has no *.conflist, *.conf or *.json", self.file.display()));
        }
        let mut wrong = false;
        let mut names: BTreeMap<String, &Path> = BTreeMap::new();
        for file in &files {
            let (valid, network) = self.judge(file)?;
            wrong |= !valid;
            let Some(network) = network else { continue };
            if let Some(before) = names.get(&network) {
                wrong = true;
                let known = catalogue::requirement("config.name-unique");
                let rule = known.map(|known| format!("{} {}: {}", known.level, known.id, known.statement));
                writeln!(
                    std::io::stdout(),
                    "{}: network {network:?} is in {} too\n    {}",
                    file.display(),
                    before.display(),
                    rule.unwrap_or_default()
                )
                .into_diagnostic()?;
            } else {
                names.insert(network, file);
            }
        }
        Ok(u8::from(wrong))
    }

    /// Says whether a document is valid, and what is wrong with it; returns the name of the network as well.
    fn judge(&self, file: &Path) -> miette::Result<(bool, Option<String>)> {
        let name = file.display();
        let mut text = String::new();
        match file.to_str() {
            Some("-") => std::io::stdin().read_to_string(&mut text).map(drop),
            _ => std::fs::read_to_string(file).map(|read| text = read),
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
        let is_network = matches!(kind, Kind::ConfigList | Kind::ConfigSingle);
        let network = document.get("name").and_then(Value::as_str).filter(|_| is_network).map(str::to_owned);
        let mut out = std::io::stdout().lock();
        if violations.is_empty() {
            writeln!(out, "{name}: a valid {kind} of CNI {version}").into_diagnostic()?;
            return Ok((true, network));
        }
        writeln!(out, "{name}: not a valid {kind} of CNI {version}").into_diagnostic()?;
        for violation in &violations {
            writeln!(out, "{}", line(violation)).into_diagnostic()?;
        }
        Ok((false, network))
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
