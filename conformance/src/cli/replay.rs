//! `cnitest replay`

use std::path::{Path, PathBuf};
use std::time::Duration;

use cnitest::hammer::scenario::Scenario;
use cnitest::hammer::{Hammer, Options};
use cnitest::suite::{Suite, subject};
use cnitest::target::builtin;
use cnitest_reports::exit_code;
use cnitest_reports::model::{RunOptions, RunSet};
use miette::{Context as _, IntoDiagnostic as _, miette};

use super::fuzz::{KeptDifference, KeptFinding};
use super::output::Output;
use super::play::{self, Wanted};
use super::plugin::duration;

/// Arguments of `cnitest replay`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A finding that `fuzz --keep` wrote, or a scenario of a corpus.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The plugin, where it is not the one of the finding.
    #[arg(value_name = "PATH")]
    plugin: Option<PathBuf>,
    /// Play it on this plugin too, and tell how the two differ.
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// How to attach with the plugin, for one that cnitest does not know.
    #[arg(long, value_name = "FILE")]
    target: Option<PathBuf>,
    /// Deadline of each execution of a plugin, e.g. `10s` or `500ms`.
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    output: Output,
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let baseline = self.output.prepare()?;
        let (scenario, origin) = read(&self.file)?;
        let plugin = match (&self.plugin, &origin) {
            (Some(plugin), _) => plugin.clone(),
            (None, Some(origin)) => plugin_of(origin),
            (None, None) => {
                return Err(miette!(
                    help = "name the plugin: cnitest replay FILE PATH",
                    "{} is a scenario of a corpus, which does not say of which plugin",
                    self.file.display()
                ));
            }
        };
        let wanted = Wanted {
            options: RunOptions {
                only: Vec::new(),
                skip: Vec::new(),
                spec_versions: Vec::new(),
                timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
                target_file: self.target.as_deref().map(play::target_text).transpose()?,
            },
            strict: false,
            seed: 1,
            jobs: Some(1),
            builtin: None,
            upgrade_from: None,
        };
        let named = origin.and_then(|origin| origin.target);
        let target = play::target(&wanted.options)?;
        let suite = Suite::new(wanted.into_options(Vec::new())?);
        let options = Options {
            time: None,
            cases: Some(1),
            shard: (0, 1),
            corpus: None,
            feedback: false,
            first: false,
        };
        let hammer = Hammer::new(suite, options);
        let mut runs = Vec::new();
        let all = subject::find(std::slice::from_ref(&plugin)).into_diagnostic()?;
        let others = play::releases(self.against.as_deref(), &all)?;
        for found in all {
            let target = target
                .clone()
                .or_else(|| named.as_deref().and_then(builtin))
                .or_else(|| subject::target(&found));
            if let Some(other) = others.iter().find(|other| other.name == found.name) {
                let compared = hammer.replay_against(&found, other, target.as_ref(), &scenario);
                runs.push(compared.into_diagnostic()?.run);
                continue;
            }
            runs.push(hammer.replay(&found, target.as_ref(), &scenario).into_diagnostic()?.run);
        }
        let set = self.output.write(RunSet::new(runs), baseline.as_ref())?;
        Ok(exit_code(&set))
    }
}

/// What a file says of where its scenario was played.
struct Origin {
    plugin: String,
    target: Option<String>,
}

/// A bundled plugin is known by its name, and recorded by where arenas have it.
fn plugin_of(origin: &Origin) -> PathBuf {
    let path = Path::new(&origin.plugin);
    match path.strip_prefix(cnitest::arena::PLUGIN_DIR) {
        Ok(name) if !path.exists() => name.to_owned(),
        _ => path.to_owned(),
    }
}

fn read(path: &Path) -> miette::Result<(Scenario, Option<Origin>)> {
    let file = path.display();
    let text =
        std::fs::read_to_string(path).into_diagnostic().wrap_err_with(|| format!("cannot read {file}"))?;
    if let Ok(scenario) = serde_json::from_str::<Scenario>(&text) {
        return Ok((scenario, None));
    }
    if let Ok(kept) = serde_json::from_str::<KeptDifference>(&text) {
        return Ok((kept.scenario, Some(Origin { plugin: kept.plugin, target: kept.target })));
    }
    let kept: KeptFinding = serde_json::from_str(&text)
        .into_diagnostic()
        .wrap_err_with(|| format!("{file} is neither a finding of `cnitest fuzz --keep` nor a scenario"))?;
    Ok((kept.scenario, Some(Origin { plugin: kept.plugin, target: kept.target })))
}
