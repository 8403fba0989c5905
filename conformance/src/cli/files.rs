//! Files that several commands read and write.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use cnitest_reports::model::RunSet;
use miette::{Context as _, IntoDiagnostic as _};

/// The parts of `KIND=FILE`; `example` is what the error shows.
pub(super) fn kind_and_file<'a>(text: &'a str, example: &str) -> Result<(&'a str, PathBuf), String> {
    match text.split_once('=') {
        None => Err(format!("write it as KIND=FILE, e.g. {example}")),
        Some((_, "")) => Err("the file's name is missing after `=`".to_owned()),
        Some((kind, file)) => Ok((kind, file.into())),
    }
}

/// A file's name as messages show it, and its text.
pub(super) fn text(file: &Path) -> miette::Result<(String, String)> {
    let name = file.display().to_string();
    let text =
        std::fs::read_to_string(file).into_diagnostic().wrap_err_with(|| format!("cannot read {name}"))?;
    Ok((name, text))
}

/// A saved run, with the file's name as messages show it.
pub(super) fn run(file: &Path) -> miette::Result<(String, RunSet)> {
    let (name, text) = text(file)?;
    let set = RunSet::parse(&text).into_diagnostic().wrap_err_with(|| format!("{name} is not a run"))?;
    Ok((name, set))
}

/// Writes a file to start from where there is none, on stdout without a file. `then` says what to do with a file of that name.
pub(super) fn begin(file: Option<&Path>, text: &str, then: impl Fn(&str) -> String) -> miette::Result<()> {
    let Some(file) = file else {
        return std::io::stdout().write_all(text.as_bytes()).into_diagnostic();
    };
    let name = file.display().to_string();
    std::fs::File::create_new(file)
        .and_then(|mut out| out.write_all(text.as_bytes()))
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot write {name}"))?;
    eprintln!("cnitest: wrote {name}; edit it, then run `{}`", then(&name));
    Ok(())
}
