//! The command line.

mod baseline;
mod churn;
mod compare;
mod cri;
mod exec;
mod explain;
mod files;
mod fuzz;
mod list;
mod output;
mod play;
mod plugin;
mod progress;
mod replay;
mod report;
mod runtime;
mod schema;
mod selftest;
mod target;
mod validate;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use cnitest_reports::ReportKind;

/// Exit status when nothing could be decided: usage, missing privilege, internal error.
const UNDECIDED: u8 = 2;

/// Certifies, fuzzes and compares implementations of the Container Network Interface (CNI).
///
/// Plugins run in throw-away namespaces: nothing on this host changes, and root is not needed. `exec` alone runs them in the
/// namespaces of the caller.
///
/// Exit status: 0 conformant, 1 not conformant, 2 it could not be decided.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Test plugins: executables, folders of them, or bundled reference plugins by name.
    Plugin(plugin::Arguments),
    /// Test runtimes: what they execute plugins with, in which order, what they keep, and what they do when a plugin fails.
    Runtime(runtime::Arguments),
    /// Hammer plugins with generated configurations, faulty requests and sequences of operations; what is found is made small.
    Fuzz(fuzz::Arguments),
    /// Attach and detach many containers, and measure what it costs: latency, growth, drift, leaks.
    Churn(churn::Arguments),
    /// Execute a network configuration as cnitool does: attach a container, detach it, check it, ... This changes this host.
    Exec(exec::Arguments),
    /// Play again what `fuzz` found: a file that it wrote, or the scenario of a number.
    Replay(replay::Arguments),
    /// Repeat what a certificate or a saved run says of a plugin, and say whether it still holds.
    Verify(verify::Arguments),
    /// List requirements, checks, targets, runtimes, schemas or profiles.
    List(list::Arguments),
    /// Say all that is known of a requirement, a check or an ambiguity of the specification.
    Explain(explain::Arguments),
    /// Validate a configuration, result or error against the schemas.
    Validate(validate::Arguments),
    /// Print the JSON Schema of a kind of document.
    Schema(schema::Arguments),
    /// Write reports from a run that was saved as JSON.
    Report(report::Arguments),
    /// Test cnitest itself: play its checks on mutants, deliberately broken plugins, each of which must be found.
    Selftest(selftest::Arguments),
    /// Call a runtime of the CRI, as adapters do.
    #[command(hide = true)]
    Cri(cri::Arguments),
    /// Show saved runs side by side, differences first. Exit status 1 when a requirement is decided differently.
    Compare(compare::Arguments),
    /// Work with target files, which tell cnitest how to attach with a plugin.
    Target(target::Arguments),
}

/// `KIND=FILE` of `--report`.
#[derive(Debug, Clone)]
struct ReportFile {
    kind: FileKind,
    file: PathBuf,
}

/// What a file of `--report` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    /// A report of the run.
    Run(ReportKind),
    /// A certificate: it needs to know the checks and targets.
    Certificate,
}

impl FromStr for FileKind {
    type Err = String;

    fn from_str(text: &str) -> Result<FileKind, String> {
        match text {
            "certificate" => Ok(FileKind::Certificate),
            _ => text.parse().map(FileKind::Run).map_err(|error| format!("{error}, certificate")),
        }
    }
}

impl FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<ReportFile, String> {
        let (kind, file) = files::kind_and_file(text, "junit=report.xml")?;
        Ok(ReportFile { kind: kind.parse()?, file })
    }
}

/// Runs the command and says how it ended.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, not errors; clap prints each to the right stream.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { UNDECIDED } else { 0 });
        }
    };
    let ended = match arguments.command {
        Command::Plugin(arguments) => arguments.run(),
        Command::Runtime(arguments) => arguments.run(),
        Command::Fuzz(arguments) => arguments.run(),
        Command::Churn(arguments) => arguments.run(),
        Command::Exec(arguments) => arguments.run(),
        Command::Replay(arguments) => arguments.run(),
        Command::Verify(arguments) => arguments.run(),
        Command::List(arguments) => arguments.run(),
        Command::Explain(arguments) => arguments.run(),
        Command::Validate(arguments) => arguments.run(),
        Command::Schema(arguments) => arguments.run(),
        Command::Report(arguments) => arguments.run(),
        Command::Selftest(arguments) => arguments.run(),
        Command::Compare(arguments) => arguments.run(),
        Command::Cri(arguments) => arguments.run(),
        Command::Target(arguments) => arguments.run(),
    };
    match ended {
        Ok(status) => ExitCode::from(status),
        Err(report) if is_broken_pipe(&report) => ExitCode::from(UNDECIDED),
        Err(report) => {
            let mut said = report.to_string();
            eprintln!("cnitest: {said}");
            for cause in report.chain().skip(1).map(ToString::to_string) {
                // Some errors tell their cause themselves.
                if !said.contains(&cause) {
                    eprintln!("  because: {cause}");
                    said = cause;
                }
            }
            if let Some(help) = report.help() {
                eprintln!("  help: {help}");
            }
            ExitCode::from(UNDECIDED)
        }
    }
}

/// The reader of stdout went away (`cnitest list | head`): nothing to complain about. The error has lost its type on its
/// way, but not its words.
fn is_broken_pipe(report: &miette::Report) -> bool {
    let words = std::io::Error::from(nix::errno::Errno::EPIPE).to_string();
    report.chain().any(|cause| cause.to_string() == words)
}

/// Whether stdout takes colours: a terminal, and nobody asked for none.
fn colour() -> bool {
    use std::io::IsTerminal as _;
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !forbidden
}

/// Columns of the terminal, within what reads well; 100 where there is no terminal.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    columns
        .or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)))
        .unwrap_or(100)
        .clamp(60, 120)
}
