//! `cnitest runtime`

use std::path::{Path, PathBuf};

use cnitest::adapter::{Adapter, DEFAULT, TEMPLATE, builtin, builtin_names};
use cnitest::mutants;
use cnitest::suite::subject::{self, Found};
use cnitest_reports::exit_code;
use miette::{Context as _, IntoDiagnostic as _, miette};

use super::files;
use super::output::Output;
use super::play::Playing;

/// Arguments of `cnitest runtime`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Runtimes by name (`cnitest list runtimes`), or files of adapters. None: cnitest's own.
    #[arg(value_name = "NAME|FILE")]
    runtimes: Vec<PathBuf>,
    /// Play only checks whose name matches (`runtime.gc*`). May be repeated.
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// Leave out checks whose name matches. May be repeated.
    #[arg(long, value_name = "GLOB")]
    skip: Vec<String>,
    #[command(flatten)]
    playing: Playing,
    #[command(flatten)]
    output: Output,
    /// Write a commented adapter to start from into this file (`-` for stdout), and do nothing else.
    #[arg(long, value_name = "FILE", exclusive = true)]
    init: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        if let Some(file) = &self.init {
            let file = Some(file.as_path()).filter(|file| *file != Path::new("-"));
            files::begin(file, TEMPLATE, |name| format!("cnitest runtime {name}"))?;
            return Ok(0);
        }
        let names = if self.runtimes.is_empty() { vec![PathBuf::from(DEFAULT)] } else { self.runtimes };
        let found: Vec<Found> = names.iter().map(|name| find(name)).collect::<miette::Result<_>>()?;
        let baseline = self.output.prepare()?;
        let mut wanted = self.playing.wanted(None);
        wanted.options.only = self.only;
        wanted.options.skip = self.skip;
        let set = wanted.play(found)?;
        let set = self.output.write(set, baseline.as_ref())?;
        Ok(exit_code(&set))
    }
}

/// The runtime that a name or a file stands for.
fn find(name: &Path) -> miette::Result<Found> {
    let word = name.to_str().unwrap_or_default();
    if let Some(adapter) = builtin(word) {
        return Ok(subject::runtime(adapter));
    }
    if let Some(mutant) = mutants::find(word).filter(|mutant| mutant.is_runtime()) {
        return Ok(subject::broken(mutant));
    }
    let shown = name.display().to_string();
    let text = match std::fs::read_to_string(name) {
        Ok(text) => text,
        Err(error) => {
            let known = builtin_names().collect::<Vec<_>>().join(", ");
            return Err(miette!(
                help = "`cnitest runtime --init FILE` writes an adapter to start from",
                "{shown}: {error}; name a file with an adapter, or a known runtime ({known})"
            ));
        }
    };
    let adapter =
        Adapter::parse(&text, &shown).into_diagnostic().wrap_err_with(|| format!("{shown} is no adapter"))?;
    Ok(subject::runtime(adapter))
}
