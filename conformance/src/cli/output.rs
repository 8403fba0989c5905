//! Where a run goes: stdout, and files.

use std::io::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;
use cnitest_reports::ReportKind;
use cnitest_reports::human::Style;
use cnitest_reports::model::RunSet;
use miette::{Context as _, IntoDiagnostic as _};

use super::baseline::{self, BaselineFile};
use super::{FileKind, ReportFile};

/// Arguments of commands that make a run.
#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// What stdout carries.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Accept the deviations that this file knows; `--report baseline=FILE` writes one.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write a report to a file as well: `json=`, `junit=`, `human=`, `baseline=`, `certificate=FILE`, ... May be repeated.
    #[arg(long, value_name = "KIND=FILE")]
    report: Vec<ReportFile>,
    /// Show every case, and the reproducers of failures.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Human,
    Json,
}

impl Output {
    /// Whether stdout carries a document for programs.
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Reads the baseline. What could not be renewed at the end is said before anything runs.
    pub(super) fn prepare(&self) -> miette::Result<Option<BaselineFile>> {
        let baseline = self.baseline.as_deref().map(baseline::read).transpose()?;
        for report in self.report.iter().filter(|report| report.kind == FileKind::Run(ReportKind::Baseline)) {
            baseline::renewed(&RunSet::new(Vec::new()), &report.file)?;
        }
        Ok(baseline)
    }

    /// Writes the run everywhere, with the baseline applied.
    pub(super) fn write(&self, set: RunSet, baseline: Option<&BaselineFile>) -> miette::Result<RunSet> {
        let set = match baseline {
            Some(baseline) => baseline.applied(set),
            None => set,
        };
        for report in &self.report {
            super::report::write(&set, report)?;
        }
        let mut out = std::io::stdout().lock();
        match self.format {
            Format::Json => cnitest_reports::report(ReportKind::Json, &set, &mut out),
            Format::Human => {
                let style = Style { color: super::colour(), width: super::width(), verbose: self.verbose };
                cnitest_reports::human::write(&set, &style, &mut out)
            }
        }
        .and_then(|()| out.flush())
        .into_diagnostic()
        .wrap_err("cannot write to stdout")?;
        Ok(set)
    }
}
