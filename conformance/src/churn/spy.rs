//! A spy before a plugin: executes the real one with the same descriptors, environment and arguments, and notes how long it
//! took, or how much memory.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cni_spec::parameters::Variable;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::invoke::spawn::{Descriptors, Spawner};
use crate::invoke::{Invocation, Limits};

/// The folder of spies that note times, below that of the plugins.
pub(super) const SPY_DIR: &str = "churn-spy";
/// The folder of spies that note memory, which takes time.
pub(super) const MEMORY_DIR: &str = "churn-memory";
/// Where a spy writes what it saw, a line of JSON for each execution.
pub(super) const NOTES: &str = "/run/cnitest-churn";

/// What was seen of one execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) plugin: String,
    pub(super) operation: String,
    pub(super) wall_us: f64,
    pub(super) cpu_us: f64,
    #[serde(default)]
    pub(super) memory: Memory,
}

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The most that was resident: its own, and pages of files, which all executions of a program share.
    pub(super) peak_kib: u64,
    /// What was its own when it ended, which is the most for those that give nothing back.
    pub(super) private_kib: u64,
}

impl Memory {
    /// The larger of each.
    pub(super) fn max(self, other: Memory) -> Memory {
        Memory {
            peak_kib: self.peak_kib.max(other.peak_kib),
            private_kib: self.private_kib.max(other.private_kib),
        }
    }

    /// Of a process that is there.
    fn of(pid: libc::pid_t) -> Option<Memory> {
        Memory::parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    /// Reads `/proc/PID/status`.
    fn parse(status: &str) -> Option<Memory> {
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix(" kB")?.trim().parse().ok()
        };
        Some(Memory { peak_kib: field("VmHWM")?, private_kib: field("RssAnon")? + field("RssShmem")? })
    }
}

/// A plugin that this process stands before.
#[derive(Debug)]
pub struct Spied {
    plugin: String,
    folder: PathBuf,
    memory: bool,
}

/// The plugin that this process stands before, if it was called as a spy.
pub fn called_as() -> Option<Spied> {
    let called = PathBuf::from(std::env::args_os().next()?);
    let folder = called.parent()?.to_owned();
    let memory = match folder.file_name()?.to_str()? {
        SPY_DIR => false,
        MEMORY_DIR => true,
        _ => return None,
    };
    Some(Spied { plugin: called.file_name()?.to_str()?.to_owned(), folder, memory })
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
        let mut invocation = Invocation::new(program).args(std::env::args_os().skip(1));
        invocation.environment =
            std::env::vars_os().filter(|(name, _)| name != Variable::Path.as_str()).collect();
        // Times are noted of delegated plugins alone; of all memory, those too that the real one executes.
        let rest =
            if self.memory { path } else { std::env::join_paths(&folders).map_err(io::Error::other)? };
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
        let mut memory = Memory::default();
        let (status, usage) = if self.memory { watch(started.pid, &mut memory)? } else { wait(started.pid)? };
        let wall = began.elapsed();
        self.note(wall, &usage, memory)?;
        Ok(if libc::WIFEXITED(status) { u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(1) } else { 1 })
    }

    fn note(&self, wall: Duration, usage: &libc::rusage, memory: Memory) -> io::Result<()> {
        let micros = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
        let note = Note {
            plugin: self.plugin.clone(),
            operation: std::env::var(Variable::Command.as_str()).unwrap_or_default(),
            wall_us: wall.as_secs_f64() * 1e6,
            cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
            memory,
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

/// Waits for the end of a child, and looks at its memory at the last moment: when it has ended, it has none any more. The
/// kernel's own figure, that of rusage, counts the moment before execve(2) too, when the memory is this process's.
fn watch(pid: libc::pid_t, memory: &mut Memory) -> io::Result<(libc::c_int, libc::rusage)> {
    let child = Pid::from_raw(pid);
    // One that has ended already cannot be looked at, and where nobody may look nothing is known: the plugin goes on all the same.
    let _ = ptrace::seize(child, ptrace::Options::PTRACE_O_TRACEEXIT);
    loop {
        let (status, usage) = wait(pid)?;
        if !libc::WIFSTOPPED(status) {
            return Ok((status, usage));
        }
        let event = status >> 16;
        let signal = match event {
            libc::PTRACE_EVENT_EXIT => {
                *memory = memory.max(Memory::of(pid).unwrap_or_default());
                None
            }
            // A signal that is on its way, which goes on.
            0 => Signal::try_from(libc::WSTOPSIG(status)).ok(),
            _ => None,
        };
        match ptrace::cont(child, signal) {
            // Killed meanwhile.
            Ok(()) | Err(nix::Error::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_the_kernel_says() {
        let status = "Name:\tx\nVmHWM:\t    2632 kB\nRssAnon:\t     152 kB\nRssFile:\t    2480 kB\nRssShmem:\t       8 kB\n";
        assert_eq!(Memory::parse(status), Some(Memory { peak_kib: 2632, private_kib: 160 }));
        assert_eq!(Memory::parse("Name:\tzombie\n"), None);
    }
}
