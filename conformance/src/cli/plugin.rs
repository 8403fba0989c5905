//! `cnitest plugin`

use std::path::{Path, PathBuf};
use std::time::Duration;

use cnitest::suite::subject;
use cnitest_reports::exit_code;
use cnitest_reports::model::{CaseResult, RunSet};
use miette::{Context as _, IntoDiagnostic as _};

use super::output::Output;
use super::play::How;

/// Arguments of `cnitest plugin`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Plugin executables or folders of them; a name without a slash is a bundled reference plugin. None: all of these.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Play only checks whose name matches (`del.*`). May be repeated.
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// Leave out checks whose name matches. May be repeated.
    #[arg(long, value_name = "GLOB")]
    skip: Vec<String>,
    /// Another release of the plugins, an executable or a folder of them: attachments that one release added are checked,
    /// deleted and collected by the other (`skew.*`).
    #[arg(long, value_name = "PATH")]
    upgrade_from: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    output: Output,
    /// Write the reproducer of each failure and warning into this folder.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let found = subject::find(&self.paths).into_diagnostic()?;
        let baseline = self.output.prepare()?;
        let mut wanted = self.how.wanted()?;
        wanted.options.only = self.only;
        wanted.options.skip = self.skip;
        wanted.upgrade_from = self.upgrade_from;
        let set = wanted.play(found)?;
        let set = self.output.write(set, baseline.as_ref())?;
        if let Some(folder) = &self.keep {
            keep(&set, folder)?;
        }
        Ok(exit_code(&set))
    }
}

/// Writes each reproducer as `SUBJECT/CHECK-VERSION-CASE.sh`.
fn keep(set: &RunSet, folder: &Path) -> miette::Result<()> {
    for run in &set.runs {
        for result in run.results.iter().filter(|result| result.reproducer.is_some()) {
            let path = folder.join(&run.subject.name).join(format!("{}.sh", file_name(result)));
            let text = result.reproducer.as_deref().unwrap_or_default();
            std::fs::create_dir_all(path.parent().unwrap_or(folder))
                .and_then(|()| std::fs::write(&path, text))
                .into_diagnostic()
                .wrap_err_with(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn file_name(result: &CaseResult) -> String {
    let version = result.spec_version.as_deref().unwrap_or("any");
    let text = format!("{}-{version}-{}", result.check, result.case);
    let mut name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    name.truncate(120);
    name
}

/// `10s`, `500ms`, `2m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| "write a number and a unit: 10s, 500ms, 2m".to_owned())?;
    let seconds = match &text[digits.len()..] {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "" => return Err(format!("the unit is missing: write {text}s for seconds")),
        unit => return Err(format!("unknown unit {unit}: use ms, s, m or h")),
    };
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err("must lie between 1ms and 24h".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "10", "s", "-1s", "1d", "0s", "25h", "1e9h", "NaNs"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
