//! `cnitest report`

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use cnitest::certify::certificate;
use cnitest::target::builtin;
use cnitest_reports::ReportKind;
use cnitest_reports::baseline::Baseline;
use cnitest_reports::certificate::CertificateSet;
use cnitest_reports::model::{Run, RunSet};
use miette::{Context as _, IntoDiagnostic as _};

use super::{FileKind, ReportFile};

/// Arguments of `cnitest report`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A run saved with `--report json=FILE` or `--format json`.
    run: PathBuf,
    /// What to write where: `human=`, `junit=`, `baseline=`, `certificate=FILE`, .... May be repeated.
    #[arg(long, value_name = "KIND=FILE", required = true)]
    report: Vec<ReportFile>,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let name = self.run.display().to_string();
        let text = std::fs::read_to_string(&self.run)
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot read {name}"))?;
        let set = RunSet::parse(&text).into_diagnostic().wrap_err_with(|| format!("{name} is not a run"))?;
        for report in &self.report {
            write(&set, report)?;
        }
        Ok(0)
    }
}

/// Writes one report file.
pub(super) fn write(set: &RunSet, report: &ReportFile) -> miette::Result<()> {
    let name = report.file.display().to_string();
    // What can fail does so before the file is emptied; a baseline may even be the one to be renewed.
    let content = match report.kind {
        FileKind::Run(ReportKind::Baseline) => {
            Content::Baseline(super::baseline::renewed(set, &report.file)?)
        }
        FileKind::Run(kind) => Content::Run(kind),
        FileKind::Certificate => Content::Certificate(certificates(set)?),
    };
    let file =
        File::create(&report.file).into_diagnostic().wrap_err_with(|| format!("cannot create {name}"))?;
    let mut out = BufWriter::new(file);
    match content {
        Content::Run(kind) => cnitest_reports::report(kind, set, &mut out),
        Content::Baseline(baseline) => baseline.write(&mut out),
        Content::Certificate(certificates) => certificates.write(&mut out),
    }
    .and_then(|()| out.flush())
    .into_diagnostic()
    .wrap_err_with(|| format!("cannot write {name}"))
}

enum Content {
    Run(ReportKind),
    Baseline(Baseline),
    Certificate(CertificateSet),
}

/// The certificates of these runs, each by the target that the run used.
pub(super) fn certificates(set: &RunSet) -> miette::Result<CertificateSet> {
    let one = |run: &Run| {
        let given = super::play::target(&run.options)?;
        let target = given.or_else(|| run.subject.target.as_deref().and_then(builtin));
        certificate(run, target.as_ref()).into_diagnostic()
    };
    Ok(CertificateSet::new(set.runs.iter().map(one).collect::<miette::Result<_>>()?))
}
