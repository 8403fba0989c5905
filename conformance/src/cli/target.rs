//! `cnitest target`

use std::path::PathBuf;

use cnitest::target::TEMPLATE;

use super::files;

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
        files::begin(file.as_deref(), TEMPLATE, |name| format!("cnitest plugin PATH --target {name}"))?;
        Ok(0)
    }
}
