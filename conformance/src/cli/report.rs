//! `cnitest report`

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use cnitest::certify::certificate;
use cnitest::target::builtin;
use cnitest_reports::ReportKind;
use cnitest_reports::baseline::Baseline;
use cnitest_reports::certificate::CertificateSet;
use cnitest_reports::judgement::Judgements;
use cnitest_reports::model::{Run, RunSet, Verdict};
use cnitest_reports::summary::{Finding, SetSummary};
use miette::{Context as _, IntoDiagnostic as _, miette};

use super::{FileKind, ReportFile, files};

/// Arguments of `cnitest report`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A run saved with `--report json=FILE` or `--format json`.
    run: PathBuf,
    /// What to write where: `markdown=`, `summary=`, `human=`, `junit=`, `baseline=`, `certificate=FILE`, .... May be repeated.
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
        let (_, set) = files::run(&self.run)?;
        let judgements = self.judgements.as_deref().map(judgements).transpose()?;
        let summary = SetSummary::of(&set, self.release.as_deref(), judgements.as_ref());
        for report in &self.report {
            write_content(report, content(&set, report, &summary)?)?;
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
    let summary = SetSummary::of(set, None, None);
    write_content(report, content(set, report, &summary)?)
}

/// What a report file is to hold.
enum Content<'a> {
    Run(ReportKind, &'a RunSet),
    Condensed(ReportKind, &'a SetSummary),
    Baseline(Baseline),
    Certificate(CertificateSet),
}

/// What can fail does so here, before the file is emptied; a baseline may even be the one to be renewed.
fn content<'a>(set: &'a RunSet, report: &ReportFile, summary: &'a SetSummary) -> miette::Result<Content<'a>> {
    Ok(match report.kind {
        FileKind::Run(ReportKind::Baseline) => {
            Content::Baseline(super::baseline::renewed(set, &report.file)?)
        }
        FileKind::Run(kind @ (ReportKind::Markdown | ReportKind::Summary)) => {
            Content::Condensed(kind, summary)
        }
        FileKind::Run(kind) => Content::Run(kind, set),
        FileKind::Certificate => Content::Certificate(certificates(set)?),
    })
}

fn write_content(report: &ReportFile, content: Content<'_>) -> miette::Result<()> {
    let name = report.file.display().to_string();
    let file =
        File::create(&report.file).into_diagnostic().wrap_err_with(|| format!("cannot create {name}"))?;
    let mut out = BufWriter::new(file);
    match content {
        Content::Run(kind, set) => cnitest_reports::report(kind, set, &mut out),
        Content::Condensed(ReportKind::Markdown, summary) => {
            cnitest_reports::markdown::write(summary, &mut out)
        }
        Content::Condensed(_, summary) => cnitest_reports::summary::write(summary, &mut out),
        Content::Baseline(baseline) => baseline.write(&mut out),
        Content::Certificate(certificates) => certificates.write(&mut out),
    }
    .and_then(|()| out.flush())
    .into_diagnostic()
    .wrap_err_with(|| format!("cannot write {name}"))
}

/// The certificates of these runs, each by the target that the run used.
pub(super) fn certificates(set: &RunSet) -> miette::Result<CertificateSet> {
    let one = |run: &Run| {
        if run.subject.kind == "runtime" {
            return Err(miette!(
                help = "compare two runs of it instead, or keep the run itself",
                "{} is a runtime, and certificates are of plugins",
                run.subject.name
            ));
        }
        let given = super::play::target(&run.options)?;
        let target = given.or_else(|| run.subject.target.as_deref().and_then(builtin));
        certificate(run, target.as_ref()).into_diagnostic()
    };
    Ok(CertificateSet::new(set.runs.iter().map(one).collect::<miette::Result<_>>()?))
}
