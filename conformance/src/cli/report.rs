//! `cnitest report`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use cnitest_reports::ReportKind;
use cnitest_reports::judgement::Judgements;
use cnitest_reports::model::{RunSet, Verdict};
use cnitest_reports::summary::{Finding, SetSummary};
use miette::{Context as _, IntoDiagnostic as _};

use super::ReportFile;

/// Arguments of `cnitest report`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A run saved with `--report json=FILE` or `--format json`.
    run: PathBuf,
    /// What to write where: `markdown=`, `summary=`, `human=`, `junit=`, `json=` or `deviations=FILE`. May be repeated.
    #[arg(long, value_name = "KIND=FILE", required = true)]
    report: Vec<ReportFile>,
    /// Merge what was judged about deviations into `markdown` and `summary`, and fail when a failure is not judged.
    #[arg(long, value_name = "FILE")]
    judgements: Option<PathBuf>,
    /// The release of the plugins that were tested, for the header; only judgements on it count.
    #[arg(long, value_name = "VERSION")]
    release: Option<String>,
}

/// Exit status when judgements are missing or out of date.
const OUT_OF_DATE: u8 = 1;

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let name = self.run.display().to_string();
        let text = std::fs::read_to_string(&self.run)
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot read {name}"))?;
        let set = RunSet::parse(&text).into_diagnostic().wrap_err_with(|| format!("{name} is not a run"))?;
        let judgements = self.judgements.as_deref().map(judgements).transpose()?;
        let summary = SetSummary::of(&set, self.release.as_deref(), judgements.as_ref());
        for report in &self.report {
            write_to(report, |out| match report.kind {
                ReportKind::Markdown => cnitest_reports::markdown::write(&summary, out),
                ReportKind::Summary => cnitest_reports::summary::write(&summary, out),
                kind => cnitest_reports::report(kind, &set, out),
            })?;
        }
        match &self.judgements {
            Some(file) => Ok(if is_up_to_date(&summary, file) { 0 } else { OUT_OF_DATE }),
            None => Ok(0),
        }
    }
}

fn judgements(file: &Path) -> miette::Result<Judgements> {
    let name = file.display().to_string();
    let text =
        std::fs::read_to_string(file).into_diagnostic().wrap_err_with(|| format!("cannot read {name}"))?;
    Judgements::parse(&name, &text).into_diagnostic()
}

/// Says on stderr what the judgements lack. Warnings without one, and judgements about nothing, are told but allowed.
fn is_up_to_date(summary: &SetSummary, file: &Path) -> bool {
    let file = file.display();
    let tell = |finding: &Finding| {
        let subjects = finding.subjects().join(", ");
        eprintln!(
            "  {} {}: check {}, requirement {} ({})",
            finding.verdict, subjects, finding.check, finding.requirement, finding.level
        );
    };
    let failures: Vec<&Finding> = summary.not_judged(Verdict::Fail).collect();
    let warnings: Vec<&Finding> = summary.not_judged(Verdict::Warn).collect();
    for (findings, what) in [(&failures, "failures"), (&warnings, "warnings")] {
        if !findings.is_empty() {
            eprintln!("cnitest: {file} judges not these {what}; read the source and add a [[judgement]]:");
            findings.iter().for_each(|finding| tell(finding));
        }
    }
    if !summary.unused_judgements.is_empty() {
        let unused = summary.unused_judgements.join(", ");
        eprintln!(
            "cnitest: {file} has judgements about nothing that was found: {unused}; remove them, or say in `releases` where they hold"
        );
    }
    let mut current = failures.is_empty();
    for judgement in summary.fixed_but_seen() {
        let fixed = judgement.fixed.as_ref().map_or("", |fix| fix.release.as_str());
        eprintln!(
            "cnitest: {file} says that {} is fixed in {fixed}, but it shows; correct `fixed`",
            judgement.id
        );
        current = false;
    }
    current
}

/// Writes one report file.
pub(super) fn write(set: &RunSet, report: &ReportFile) -> miette::Result<()> {
    write_to(report, |out| cnitest_reports::report(report.kind, set, out))
}

fn write_to(
    report: &ReportFile,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> miette::Result<()> {
    let name = report.file.display().to_string();
    let file =
        File::create(&report.file).into_diagnostic().wrap_err_with(|| format!("cannot create {name}"))?;
    let mut out = BufWriter::new(file);
    content(&mut out)
        .and_then(|()| out.flush())
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot write {name}"))
}
