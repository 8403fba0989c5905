//! `cnitest report`

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use cnitest_reports::ReportKind;
use cnitest_reports::model::RunSet;
use miette::{Context as _, IntoDiagnostic as _};

use super::ReportFile;

/// Arguments of `cnitest report`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A run saved with `--report json=FILE` or `--format json`.
    run: PathBuf,
    /// What to write where: `human=`, `junit=`, `baseline=FILE`, .... May be repeated.
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
    // Read before the file is emptied: it may be the one to be renewed.
    let baseline = match report.kind {
        ReportKind::Baseline => Some(super::baseline::renewed(set, &report.file)?),
        _ => None,
    };
    let file =
        File::create(&report.file).into_diagnostic().wrap_err_with(|| format!("cannot create {name}"))?;
    let mut out = BufWriter::new(file);
    let written = match baseline {
        Some(baseline) => baseline.write(&mut out),
        None => cnitest_reports::report(report.kind, set, &mut out),
    };
    written.and_then(|()| out.flush()).into_diagnostic().wrap_err_with(|| format!("cannot write {name}"))
}
