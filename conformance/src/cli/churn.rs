//! `cnitest churn`

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use cnitest::churn::plan::{MOST_BRIDGES, Plan, bridges_for};
use cnitest::churn::{Churn, Event, Mode, Options};
use cnitest_reports::churn::compare::Comparison;
use cnitest_reports::churn::{ChurnRun, html, human};
use cnitest_reports::human::Style;
use indicatif::ProgressBar;
use miette::{Context as _, IntoDiagnostic as _};

use super::files;
use super::output::Format;
use super::play::interruptible;
use super::plugin::duration;
use super::progress::{self, Minutes};

/// Containers that come and go when neither a number nor a time is given.
const CONTAINERS: u64 = 1000;
/// How long a soak is when neither is given.
const SOAK: Duration = Duration::from_secs(600);
/// Windows of a soak.
const WINDOWS: usize = 20;

/// Arguments of `cnitest churn`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Network configurations; containers take turns on several. Without one, a bundled chain of bridge, host-local and portmap.
    #[arg(value_name = "CONFLIST")]
    configurations: Vec<PathBuf>,
    /// How many bridges the bundled chain is on [default: as many as have room for all attachments].
    #[arg(
        long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_BRIDGES)),
        conflicts_with = "configurations"
    )]
    bridges: Option<u8>,
    /// The folder of the plugins [default: the bundled ones].
    #[arg(long, value_name = "DIR")]
    plugin_dir: Option<PathBuf>,
    /// How many containers come and go [default: 1000 without --duration].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    containers: Option<u64>,
    /// How many plugins run at a time [default: one for each processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: Option<u16>,
    /// How long containers come, e.g. `10m`.
    #[arg(long, value_name = "DUR", value_parser = duration)]
    duration: Option<Duration>,
    /// Containers come at this rate in a second, whether the plugins keep up or not; what has to wait counts as waiting. Without
    /// it each worker waits for its last container to go.
    #[arg(long, value_name = "R", value_parser = rate, conflicts_with_all = ["growth", "soak"])]
    rate: Option<f64>,
    /// Attachments that stay while others come and go.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["growth", "soak"])]
    attached: u16,
    /// Play CHECK on every attachment too.
    #[arg(long)]
    check: bool,
    /// Instead, measure what one more takes among this many that stay [default sizes: 1,10,100,1000,4000].
    #[arg(
        long, value_name = "SIZES", value_delimiter = ',', num_args = 0..=1, require_equals = true,
        default_missing_value = "1,10,100,1000,4000", value_parser = clap::value_parser!(u16).range(1..=16000),
        conflicts_with_all = ["containers", "duration", "soak", "check"]
    )]
    growth: Vec<u16>,
    /// Instead, look after each of 20 windows of time what is left, and whether anything drifts [default: for 10 minutes].
    #[arg(long)]
    soak: bool,
    /// Deadline of each execution of a plugin.
    #[arg(long, value_name = "DUR", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// Compare with this run, saved as JSON; exit status 1 if anything is worse.
    #[arg(long, value_name = "RUN.json")]
    against: Option<PathBuf>,
    /// Measure nothing: compare this run, saved as JSON, with that of --against.
    #[arg(long, value_name = "RUN.json", requires = "against", conflicts_with_all = ["configurations", "plugin_dir", "bridges", "growth", "soak"])]
    run: Option<PathBuf>,
    /// How much worse a figure may be, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, requires = "against")]
    threshold: f64,
    /// What stdout carries.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Write a report to a file as well: `json=`, `html=` or `human=FILE`. May be repeated.
    #[arg(long, value_name = "KIND=FILE")]
    report: Vec<ReportFile>,
}

/// `KIND=FILE` of `--report`.
#[derive(Debug, Clone)]
struct ReportFile {
    kind: Kind,
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Html,
    Human,
}

impl FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<ReportFile, String> {
        let (kind, file) = files::kind_and_file(text, "html=churn.html")?;
        let kind = match kind {
            "json" => Kind::Json,
            "html" => Kind::Html,
            "human" => Kind::Human,
            other => return Err(format!("unknown kind of report {other:?}: use json, html, human")),
        };
        Ok(ReportFile { kind, file })
    }
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let before = self.against.as_deref().map(read).transpose()?;
        let run = match &self.run {
            Some(file) => read(file)?,
            None => self.measure()?,
        };
        for report in &self.report {
            let name = report.file.display();
            let write = || -> std::io::Result<()> {
                let mut out = BufWriter::new(File::create(&report.file)?);
                match report.kind {
                    Kind::Json => run.write(&mut out)?,
                    Kind::Html => html::write(&run, &mut out)?,
                    Kind::Human => human::write(&run, &Style::default(), &mut out)?,
                }
                out.flush()
            };
            write().into_diagnostic().wrap_err_with(|| format!("cannot write {name}"))?;
        }
        let style = Style { color: super::colour(), width: super::width(), verbose: false };
        let mut out = std::io::stdout().lock();
        let failed = |error: std::io::Error| Err(error).into_diagnostic().wrap_err("cannot write to stdout");
        let mut status = u8::from(!run.clean);
        if let Err(error) = match (self.format, &self.run) {
            (Format::Json, _) => run.write(&mut out),
            (Format::Human, None) => human::write(&run, &style, &mut out),
            (Format::Human, Some(_)) => Ok(()),
        } {
            return failed(error);
        }
        if let Some(before) = before {
            let comparison = Comparison::of(&before, &run, self.threshold / 100.0).into_diagnostic()?;
            // A run that is no cleaner than the one before is no regression.
            status = u8::from(comparison.regressions() > 0);
            let written = match self.format {
                // stdout holds one document.
                Format::Json => human::compare(&comparison, &style, &mut std::io::stderr().lock()),
                Format::Human => {
                    let gap = if self.run.is_none() { writeln!(out) } else { Ok(()) };
                    gap.and_then(|()| human::compare(&comparison, &style, &mut out))
                }
            };
            if let Err(error) = written {
                return failed(error);
            }
        }
        if let Err(error) = out.flush() {
            return failed(error);
        }
        Ok(status)
    }

    fn measure(&self) -> miette::Result<ChurnRun> {
        let most = self.growth.iter().copied().max().unwrap_or(0).max(self.attached);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let concurrency = self.concurrency.map_or(processors, usize::from);
        let bridges = self.bridges.unwrap_or_else(|| bridges_for(usize::from(most) + concurrency));
        let plan = Plan::new(&self.configurations, self.plugin_dir.as_deref(), bridges, self.timeout)
            .into_diagnostic()?;
        let mut sizes: Vec<usize> = self.growth.iter().copied().map(usize::from).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let mode = match (sizes.is_empty(), self.soak) {
            (false, _) => Mode::Growth(sizes),
            (true, true) => Mode::Soak(WINDOWS),
            (true, false) => Mode::Load,
        };
        let endless = self.containers.is_none() && self.duration.is_none();
        let options = Options {
            containers: self.containers.or((endless && mode == Mode::Load).then_some(CONTAINERS)),
            concurrency,
            duration: self.duration.or((endless && self.soak).then_some(SOAK)),
            rate: self.rate,
            attached: self.attached.into(),
            check: self.check,
            mode,
            timeout: self.timeout,
        };
        let churn = Arc::new(Churn::new(plan, options).into_diagnostic()?);
        let player = Arc::clone(&churn);
        let work = move || {
            let progress = Progress::new();
            let run = player.run(&|event| progress.on(event));
            progress.bar.finish_and_clear();
            run
        };
        interruptible(work, || churn.cancel())?.into_diagnostic()
    }
}

fn read(file: &Path) -> miette::Result<ChurnRun> {
    let (name, text) = files::text(file)?;
    ChurnRun::parse(&text).into_diagnostic().wrap_err(name)
}

/// A rate in a second.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("write it as a number of containers in a second, e.g. 20 or 0.5".to_owned()),
    }
}

/// One line on a terminal, renewed as the run goes on, and a line a minute elsewhere.
struct Progress {
    bar: ProgressBar,
    minutes: Minutes,
}

impl Progress {
    fn new() -> Progress {
        let bar = progress::bar();
        bar.set_style(progress::style("{prefix} {wide_bar} {msg} {elapsed}"));
        Progress { bar, minutes: Minutes::new() }
    }

    fn on(&self, event: Event) {
        match event {
            Event::Phase(name) => {
                self.bar.reset();
                self.bar.set_prefix(name);
                self.bar.set_message("");
                self.bar.tick();
            }
            Event::Progress { attachments, of, rate, failed, add_p50_us } => {
                if let Some(of) = of {
                    self.bar.set_length(of);
                }
                self.bar.set_position(attachments);
                let of = of.map_or_else(String::new, |of| format!("/{of}"));
                let failures = if failed == 0 { String::new() } else { format!(", {failed} failed") };
                let add = add_p50_us as f64 / 1000.0;
                self.bar.set_message(format!("{attachments}{of}, {rate:.0}/s, ADD {add:.1} ms{failures}"));
                self.minutes.tell(&self.bar, || format!("{} {}", self.bar.prefix(), self.bar.message()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_reports_are_read() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "x", "inf", "NaN", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!("html=a".parse::<ReportFile>().map(|report| report.kind), Ok(Kind::Html));
        for wrong in ["html", "html=", "pdf=a"] {
            assert!(wrong.parse::<ReportFile>().is_err(), "{wrong}");
        }
    }
}
