//! Running the real binary, and plugins made of a few lines of shell.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

/// The `cnitest` command, with nothing of this environment that could change its answers.
pub(crate) fn cnitest() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnitest"));
    command.env_remove("COLUMNS").env("NO_COLOR", "1");
    command
}

/// Runs `cnitest` with these arguments.
pub(crate) fn run(arguments: &[&str]) -> Output {
    cnitest().args(arguments).output().expect("cnitest starts")
}

/// Sends a signal to a process that leads its process group and to all that is in the group, as the keys of a terminal do.
pub(crate) fn signal_group(leader: &Child, signal: Signal) {
    let group = Pid::from_raw(i32::try_from(leader.id()).expect("a process id"));
    killpg(group, signal).expect("signalled");
}

/// Why plugins cannot run here, when this user may not make namespaces. Tests print it and end.
pub(crate) fn refused() -> Option<String> {
    let output = run(&["plugin", "loopback", "--only", "version.answers"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.contains("does not allow the namespaces").then_some(text)
}

/// A folder for plugins that every user can enter.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// A new empty folder.
    pub(crate) fn new() -> Folder {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
        Folder(folder)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a plugin, with permission bits.
    pub(crate) fn plugin_with_mode(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("plugin written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("permissions");
        path
    }

    /// Writes a plugin in shell.
    pub(crate) fn plugin(&self, name: &str, body: &str) -> PathBuf {
        self.plugin_with_mode(name, &format!("#!/bin/sh\n{body}\n"), 0o755)
    }
}

/// The run that `cnitest plugin ... --format json` prints, and its exit status.
pub(crate) fn plugin_json(arguments: &[&str]) -> (Value, i32) {
    let mut all = vec!["plugin", "--format", "json"];
    all.extend(arguments);
    let output = run(&all);
    let run = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}\nstdout: {}\nstderr: {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (run, output.status.code().expect("exits"))
}

/// The results of one check in a run.
pub(crate) fn results<'a>(run: &'a Value, check: &str) -> Vec<&'a Value> {
    let all = run["results"].as_array().expect("results");
    all.iter().filter(|result| result["check"] == check).collect()
}
