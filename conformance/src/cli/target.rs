//! `cnitest target`

use std::io::Write as _;
use std::path::PathBuf;

use cnitest::target::TEMPLATE;
use miette::{Context as _, IntoDiagnostic as _};

/// Arguments of `cnitest target`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write a commented target file to start from.
    Init {
        /// Where; an existing file is left alone. Without it, stdout.
        file: Option<PathBuf>,
    },
}

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        let Command::Init { file } = self.command;
        let Some(file) = file else {
            std::io::stdout().write_all(TEMPLATE.as_bytes()).into_diagnostic()?;
            return Ok(0);
        };
        let name = file.display().to_string();
        std::fs::File::create_new(&file)
            .and_then(|mut out| out.write_all(TEMPLATE.as_bytes()))
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot write {name}"))?;
        eprintln!("cnitest: wrote {name}; edit it, then run `cnitest plugin PATH --target {name}`");
        Ok(0)
    }
}
