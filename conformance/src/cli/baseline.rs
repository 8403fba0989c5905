//! Baseline files: reading, applying, and writing again.

use std::path::Path;

use cni_spec::catalogue;
use cnitest::{checks, hammer, suite::subject};
use cnitest_reports::baseline::{Baseline, Names};
use cnitest_reports::model::RunSet;
use miette::{Context as _, IntoDiagnostic as _};

/// A baseline and where it came from.
pub(super) struct BaselineFile {
    baseline: Baseline,
    file: String,
    sha256: String,
}

impl BaselineFile {
    /// The runs with what is known marked.
    pub(super) fn applied(&self, mut set: RunSet) -> RunSet {
        self.baseline.apply(&mut set, &self.file, &self.sha256);
        set
    }
}

/// Reads a baseline.
pub(super) fn read(path: &Path) -> miette::Result<BaselineFile> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).into_diagnostic().wrap_err_with(|| {
        format!("cannot read the baseline {file}; `--report baseline={file}` writes one from a run")
    })?;
    let sha256 = subject::digest_of(text.as_bytes());
    Ok(BaselineFile { baseline: parse(&text, &file)?, file, sha256 })
}

/// The baseline of these runs, with what the file at `path` knows beyond them, if there is one.
pub(super) fn renewed(set: &RunSet, path: &Path) -> miette::Result<Baseline> {
    let new = Baseline::of(set);
    let file = path.display().to_string();
    // A pipe or a terminal holds no earlier baseline.
    if !path.is_file() {
        return Ok(new);
    }
    let text =
        std::fs::read_to_string(path).into_diagnostic().wrap_err_with(|| format!("cannot read {file}"))?;
    let earlier = parse(&text, &file).wrap_err_with(|| {
        format!("{file} is not overwritten, since its reasons would be lost; correct or remove it")
    })?;
    Ok(new.continuing(&earlier, set))
}

fn parse(text: &str, file: &str) -> miette::Result<Baseline> {
    let checks: Vec<&str> = checks::all().chain([&hammer::CHECK]).map(|check| check.id).collect();
    let requirements: Vec<&str> = catalogue::requirements().iter().map(|known| known.id).collect();
    let names = Names { checks: &checks, requirements: &requirements };
    Baseline::parse(text, file, names).into_diagnostic()
}
