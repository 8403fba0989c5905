//! `cnitest compare`

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ValueEnum, ValueHint};
use cnitest_reports::compare::{self, Comparison, Source};
use cnitest_reports::human::Style;
use cnitest_reports::model::RunSet;
use miette::{Context as _, IntoDiagnostic as _, bail};

use super::files;

/// Arguments of `cnitest compare`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Runs saved with `--report json=FILE` or `--format json`. Files of several plugins are compared plugin by plugin.
    #[arg(required = true, value_name = "RUN", value_hint = ValueHint::FilePath)]
    runs: Vec<PathBuf>,
    /// What stdout carries.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Write the comparison to a file as well: `human=`, `json=`, `markdown=` or `html=FILE`. May be repeated.
    #[arg(long, value_name = "KIND=FILE")]
    report: Vec<Report>,
    /// Show the requirements about which all agree, too.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
    Markdown,
    Html,
}

/// `KIND=FILE`.
#[derive(Debug, Clone)]
struct Report {
    kind: Format,
    file: PathBuf,
}

impl FromStr for Report {
    type Err = String;

    fn from_str(text: &str) -> Result<Report, String> {
        let (kind, file) = files::kind_and_file(text, "html=comparison.html")?;
        let kind = Format::from_str(kind, false)
            .map_err(|_| format!("unknown kind of report {kind:?}: use human, json, markdown, html"))?;
        Ok(Report { kind, file })
    }
}

/// Exit status when a requirement is decided differently.
const DIFFERENT: u8 = 1;

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let sets = self
            .runs
            .iter()
            .map(|file| files::run(file))
            .collect::<miette::Result<Vec<(String, RunSet)>>>()?;
        if sets.iter().map(|(_, set)| set.runs.len()).sum::<usize>() < 2 {
            bail!("there is one subject, and nothing to compare it with: name the run of another");
        }
        let sources: Vec<Source<'_>> = sets.iter().map(|(file, set)| Source { file, set }).collect();
        let comparison = Comparison::of(&sources);
        for report in &self.report {
            let name = report.file.display().to_string();
            let file = File::create(&report.file)
                .into_diagnostic()
                .wrap_err_with(|| format!("cannot create {name}"))?;
            let mut out = BufWriter::new(file);
            let style = Style { verbose: true, ..Style::default() };
            write(&comparison, report.kind, &style, &mut out)
                .and_then(|()| out.flush())
                .into_diagnostic()
                .wrap_err_with(|| format!("cannot write {name}"))?;
        }
        let style = Style { color: super::colour(), width: super::width(), verbose: self.verbose };
        let mut out = io::stdout().lock();
        write(&comparison, self.format, &style, &mut out)
            .and_then(|()| out.flush())
            .into_diagnostic()
            .wrap_err("cannot write to stdout")?;
        Ok(if comparison.differs { DIFFERENT } else { 0 })
    }
}

fn write(
    comparison: &Comparison<'_>,
    kind: Format,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    match kind {
        Format::Human => compare::human::write(comparison, style, out),
        Format::Json => compare::write_json(comparison, out),
        Format::Markdown => compare::markdown::write(comparison, out),
        Format::Html => compare::html::write(comparison, out),
    }
}
