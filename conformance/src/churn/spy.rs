//! A spy between a plugin and the one that it delegates to: executes the real one with the same descriptors, environment and
//! arguments, and notes how long it took.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cni_spec::parameters::Variable;
use serde::{Deserialize, Serialize};

use crate::invoke::spawn::{Descriptors, Spawner};
use crate::invoke::{Invocation, Limits};

/// The folder of spies, below that of the plugins.
pub(super) const SPY_DIR: &str = "churn-spy";
/// Where a spy writes what it saw, a line of JSON for each execution.
pub(super) const NOTES: &str = "/run/cnitest-churn";

/// What was seen of one execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) plugin: String,
    pub(super) operation: String,
    pub(super) wall_us: f64,
    pub(super) cpu_us: f64,
    pub(super) peak_kib: u64,
}

/// A plugin that this process stands before.
#[derive(Debug)]
pub struct Spied {
    plugin: String,
    folder: PathBuf,
}

/// The plugin that this process stands before, if it was called as a spy.
pub fn called_as() -> Option<Spied> {
    let called = PathBuf::from(std::env::args_os().next()?);
    let folder = called.parent()?.to_owned();
    if folder.file_name()? != SPY_DIR {
        return None;
    }
    Some(Spied { plugin: called.file_name()?.to_str()?.to_owned(), folder })
}

impl Spied {
    /// Executes the real plugin; returns its exit status.
    pub fn main(&self) -> ExitCode {
        match self.execute() {
            Ok(status) => ExitCode::from(status),
            Err(error) => {
                eprintln!("cnitest: cannot watch {}: {error}", self.plugin);
                ExitCode::from(1)
            }
        }
    }

    fn execute(&self) -> io::Result<u8> {
        let path = std::env::var_os(Variable::Path.as_str()).unwrap_or_default();
        let folders: Vec<PathBuf> =
            std::env::split_paths(&path).filter(|folder| *folder != self.folder).collect();
        let found = folders.iter().map(|folder| folder.join(&self.plugin)).find(|file| file.is_file());
        let program = found.ok_or(io::ErrorKind::NotFound)?;
        let mut invocation = Invocation::new(program).args(std::env::args_os().skip(1)).in_own_memory();
        invocation.environment =
            std::env::vars_os().filter(|(name, _)| name != Variable::Path.as_str()).collect();
        let rest = std::env::join_paths(&folders).map_err(io::Error::other)?;
        invocation.environment.push((OsString::from(Variable::Path.as_str()), rest));
        invocation.working_directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        invocation.limits =
            Limits { address_space: None, open_files: None, processes: None, file_size: None, core: None };
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let descriptors =
            Descriptors { stdin: Some(stdin.as_fd()), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
        let began = Instant::now();
        let started = Spawner::new()
            .spawn(&invocation, None, &descriptors)
            .map_err(|error| io::Error::from_raw_os_error(error.errno))?;
        let (status, usage) = wait(started.pid)?;
        let wall = began.elapsed();
        self.note(wall, &usage)?;
        Ok(if libc::WIFEXITED(status) { u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(1) } else { 1 })
    }

    fn note(&self, wall: Duration, usage: &libc::rusage) -> io::Result<()> {
        let micros = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
        let note = Note {
            plugin: self.plugin.clone(),
            operation: std::env::var(Variable::Command.as_str()).unwrap_or_default(),
            wall_us: wall.as_secs_f64() * 1e6,
            cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
            peak_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        };
        let mut line = serde_json::to_vec(&note)?;
        line.push(b'\n');
        OpenOptions::new().append(true).create(true).open(NOTES)?.write_all(&line)
    }
}

/// What spies wrote.
pub(super) fn read(text: &[u8]) -> Vec<Note> {
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// The path of the notes.
pub(super) fn notes() -> &'static Path {
    Path::new(NOTES)
}

fn wait(pid: libc::pid_t) -> io::Result<(libc::c_int, libc::rusage)> {
    loop {
        let mut status = 0;
        // SAFETY: an all-zero rusage is valid; both out parameters outlive the call, and the child is ours.
        let (waited, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid, &raw mut status, 0, &raw mut usage), usage)
        };
        match waited {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            _ => return Ok((status, usage)),
        }
    }
}
