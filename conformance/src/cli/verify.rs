//! `cnitest verify`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use cni_spec::Version;
use cnitest::suite::subject::{self, Found};
use cnitest_reports::certificate::{Certificate, CertificateSet, Holds, verify, write_human};
use cnitest_reports::human::Style;
use cnitest_reports::model::RunSet;
use miette::{Context as _, IntoDiagnostic as _, miette};
use serde_json::Value;

use super::play::Wanted;

/// Deadline of each execution where the certificate does not say.
const TIMEOUT_MS: u64 = 10_000;

/// Arguments of `cnitest verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A certificate (`--report certificate=FILE`), or a run (`--report json=FILE`).
    report: PathBuf,
    /// The plugin: an executable, a folder of them, or the name of a bundled one.
    plugin: PathBuf,
    /// Accept another executable than the certified one, if it behaves the same.
    #[arg(long)]
    other_build: bool,
    /// Cases played at the same time [default: two for each processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    jobs: Option<u16>,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let certificates = read(&self.report)?;
        let found = subject::find(std::slice::from_ref(&self.plugin)).into_diagnostic()?;
        let pairs = pairs(&certificates, &found, &self.report)?;
        let mut all = Vec::new();
        for (number, (certificate, plugin)) in pairs.into_iter().enumerate() {
            let new = self.repeat(certificate, plugin)?;
            let verification = verify(certificate, &new, self.other_build);
            let mut out = std::io::stdout().lock();
            let style = Style { color: super::colour(), width: super::width(), verbose: false };
            let gap = if number > 0 { "\n\n" } else { "" };
            write!(out, "{gap}")
                .and_then(|()| write_human(certificate, Some(&verification), &style, &mut out))
                .and_then(|()| out.flush())
                .into_diagnostic()
                .wrap_err("cannot write to stdout")?;
            all.push(verification.holds);
        }
        Ok(match () {
            () if all.contains(&Holds::No) => 1,
            () if all.contains(&Holds::Undecided) => super::UNDECIDED,
            () => 0,
        })
    }

    /// Plays again what the certificate tells of.
    fn repeat(&self, certificate: &Certificate, plugin: Found) -> miette::Result<Certificate> {
        let mut options = certificate.options.clone();
        if options.timeout_ms == 0 {
            options.timeout_ms = TIMEOUT_MS;
        }
        let wanted = Wanted {
            options,
            strict: certificate.strict,
            seed: certificate.seed,
            jobs: self.jobs,
            builtin: certificate.subject.target.clone(),
            // A certificate is about one release.
            upgrade_from: None,
        };
        let new = super::report::certificates(&wanted.play(vec![plugin])?)?;
        new.certificates.into_iter().next().ok_or_else(|| miette!("the run has no result"))
    }
}

fn read(path: &Path) -> miette::Result<Vec<Certificate>> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).into_diagnostic().wrap_err_with(|| format!("cannot read {name}"))?;
    let value: Value = serde_json::from_str(&text)
        .into_diagnostic()
        .wrap_err_with(|| format!("{name} is neither a certificate nor a run"))?;
    let set = match CertificateSet::is_meant(&value) {
        true => CertificateSet::parse(&text)
            .into_diagnostic()
            .wrap_err_with(|| format!("{name} is not a certificate"))?,
        false => {
            let runs = RunSet::parse(&text)
                .into_diagnostic()
                .wrap_err_with(|| format!("{name} is neither a certificate nor a run"))?;
            super::report::certificates(&runs).wrap_err_with(|| format!("{name} cannot be verified"))?
        }
    };
    set.certificates.iter().try_for_each(|certificate| require_playable(certificate, &name))?;
    Ok(set.certificates)
}

/// What this release cannot repeat is said before anything runs.
fn require_playable(certificate: &Certificate, file: &str) -> miette::Result<()> {
    let version = |text: &String| text.parse::<Version>().is_err();
    if let Some(unknown) = certificate.options.spec_versions.iter().find(|text| version(text)) {
        return Err(miette!("{file}: this release does not know CNI {unknown}, which was tested"));
    }
    if certificate.options.timeout_ms > 86_400_000 {
        return Err(miette!("{file}: options.timeoutMs must not be above 86400000 (24h)"));
    }
    Ok(())
}

/// Which certificate is about which plugin: by name, or the only one about the only one.
fn pairs<'a>(
    certificates: &'a [Certificate],
    found: &[Found],
    file: &Path,
) -> miette::Result<Vec<(&'a Certificate, Found)>> {
    if let ([certificate], [plugin]) = (certificates, found) {
        return Ok(vec![(certificate, plugin.clone())]);
    }
    let names = || {
        let names: Vec<&str> = certificates.iter().map(|one| one.subject.name.as_str()).collect();
        names.join(", ")
    };
    let file = file.display();
    let plugin_of = |certificate: &Certificate| {
        found.iter().find(|plugin| plugin.name == certificate.subject.name).cloned()
    };
    match found {
        [plugin] => {
            let certificate = certificates.iter().find(|one| one.subject.name == plugin.name);
            let certificate = certificate.ok_or_else(|| {
                miette!("{file} says nothing about {}; it is about {}", plugin.name, names())
            })?;
            Ok(vec![(certificate, plugin.clone())])
        }
        _ => certificates
            .iter()
            .map(|certificate| {
                let plugin = plugin_of(certificate).ok_or_else(|| {
                    miette!("{file} is about {}, but the folder has no {}", names(), certificate.subject.name)
                })?;
                Ok((certificate, plugin))
            })
            .collect(),
    }
}
