//! Running one plugin execution: exactly what was asked for, with limits.
//!
//! An [`Invocation`] says everything about one execution and nothing is inherited; an [`Execution`] says
//! everything that was seen of it. Executions happen inside an [`Arena`](crate::arena::Arena).

pub(crate) mod engine;
mod explain;
pub(crate) mod spawn;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arena::codec;

/// Where something happens: the arena's host network namespace, or one that the arena made.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// The network namespace in which plugins run, the "host" of the specification.
    #[default]
    Host,
    /// A network namespace made with [`Arena::create_netns`](crate::arena::Arena::create_netns), by its name.
    Container(String),
}

impl Place {
    /// The namespace called `name`.
    pub fn container(name: impl Into<String>) -> Self {
        Self::Container(name.into())
    }
}

/// `host`, or `container NAME`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Container(name) => write!(f, "container {name}"),
        }
    }
}

/// What the program finds on descriptor 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// A pipe that holds these bytes and then ends.
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A pipe that ends at once.
    #[default]
    Empty,
    /// Descriptor 0 is closed.
    Closed,
    /// A pipe that holds these bytes and ends only after the program has exited.
    OpenForever(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A directory opened for reading: every read fails with EISDIR.
    Directory,
}

/// Resource limits of the program and each of its descendants; `None` leaves a limit as the arena has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of address space (`RLIMIT_AS`). Go reserves far more than it uses: not below 2 GiB for such plugins.
    pub address_space: Option<u64>,
    /// Open descriptors (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// Processes and threads (`RLIMIT_NPROC`). The kernel applies it only where cnitest is not root;
    /// the arena's own bound on process ids holds for all.
    pub processes: Option<u64>,
    /// Bytes of a written file (`RLIMIT_FSIZE`).
    pub file_size: Option<u64>,
    /// Bytes of a core dump (`RLIMIT_CORE`).
    pub core: Option<u64>,
}

impl Default for Limits {
    /// 1024 descriptors, 512 processes, 64 MiB files, no core dump, address space unbounded.
    fn default() -> Self {
        Self {
            address_space: None,
            open_files: Some(1024),
            processes: Some(512),
            file_size: Some(64 << 20),
            core: Some(0),
        }
    }
}

/// One execution to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// Path of the program inside the arena; also its `argv[0]`.
    #[serde(with = "codec::path")]
    pub program: PathBuf,
    /// Arguments after `argv[0]`.
    pub args: Vec<OsString>,
    /// The exact environment, in order, duplicates kept; nothing is inherited.
    pub environment: Vec<(OsString, OsString)>,
    /// What descriptor 0 is.
    pub stdin: Stdin,
    /// Directory in which the program starts.
    #[serde(with = "codec::path")]
    pub working_directory: PathBuf,
    /// Network namespace in which the program starts.
    pub netns: Place,
    /// Deadline, from the start; its whole process group is killed when it has passed.
    pub timeout: Duration,
    /// Bytes kept of stdout and of stderr, each; more is read and discarded.
    pub output_cap: usize,
    /// Resource limits.
    pub limits: Limits,
    /// Command names of processes that may go on running afterwards, and do until the arena is reset.
    pub spares: Vec<String>,
}

impl Invocation {
    /// Bytes of output kept when nothing else is asked for.
    pub const OUTPUT_CAP: usize = 1 << 20;
    /// Deadline when nothing else is asked for.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// An execution of `program` with no arguments, no environment and empty stdin.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            environment: Vec::new(),
            stdin: Stdin::Empty,
            working_directory: PathBuf::from("/"),
            netns: Place::Host,
            timeout: Self::TIMEOUT,
            output_cap: Self::OUTPUT_CAP,
            limits: Limits::default(),
            spares: Vec::new(),
        }
    }

    /// Lets processes of these command names go on running afterwards.
    #[must_use]
    pub fn sparing(mut self, names: &[String]) -> Self {
        self.spares.extend_from_slice(names);
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Adds an environment variable; an earlier one of the same name stays.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets stdin to these bytes and then its end.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Sets stdin.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Sets the network namespace in which the program starts.
    #[must_use]
    pub fn netns(mut self, place: Place) -> Self {
        self.netns = place;
        self
    }

    /// Sets the deadline.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn working_directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.working_directory = directory.as_ref().to_owned();
        self
    }
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It exited with this status, 0 to 255.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It was killed at its deadline, or earlier if it had stopped itself and nobody continued it.
    TimedOut {
        /// It was stopped (SIGSTOP, SIGTTIN, ...) rather than running or sleeping.
        stopped: bool,
    },
    /// It never ran.
    NotStarted {
        /// The error of the step that failed, of execve(2) in most cases.
        errno: i32,
        /// What failed and, where it can be known, why: a missing interpreter, no execute permission, ...
        message: String,
    },
}

impl Outcome {
    /// Whether the program exited with status 0.
    pub fn success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }
}

/// One line, for a report: `exit status 1`, `killed by signal 11 (SIGSEGV)`, ...
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Signaled(signal) => match explain::signal_name(*signal) {
                Some(name) => write!(f, "killed by signal {signal} ({name})"),
                None => write!(f, "killed by signal {signal}"),
            },
            Self::TimedOut { stopped: true } => f.write_str("stopped itself and was killed"),
            Self::TimedOut { stopped: false } => f.write_str("still running at its deadline and killed"),
            Self::NotStarted { message, .. } => write!(f, "not started: {message}"),
        }
    }
}

/// What was seen of one execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// How it ended.
    pub outcome: Outcome,
    /// The first bytes of stdout, at most `output_cap`.
    #[serde(with = "serde_bytes")]
    pub stdout: Vec<u8>,
    /// The first bytes of stderr, at most `output_cap`.
    #[serde(with = "serde_bytes")]
    pub stderr: Vec<u8>,
    /// There was more stdout than was kept.
    pub stdout_truncated: bool,
    /// There was more stderr than was kept.
    pub stderr_truncated: bool,
    /// Bytes of stdin that the program never read, whether or not they reached the pipe.
    pub stdin_unread: usize,
    /// From just before the start until the exit was seen.
    pub wall: Duration,
    /// CPU time in user mode, of the program and the children that it waited for.
    pub user_cpu: Duration,
    /// CPU time in the kernel, of the program and the children that it waited for.
    pub system_cpu: Duration,
    /// Largest resident set in KiB, of the program and the children that it waited for. The kernel counts the moment
    /// before execve(2), so that it is never below the resident set of the arena's agent (a few MiB).
    pub peak_rss_kib: u64,
    /// Command names of processes that outlived the program by more than a moment, sorted; all were killed.
    pub left_behind: Vec<String>,
    /// A process that outlived the program held its stdout open.
    pub holds_output: bool,
}

impl Execution {
    /// An execution that never ran.
    pub(crate) fn not_started(errno: i32, message: String) -> Self {
        Self {
            outcome: Outcome::NotStarted { errno, message },
            stdout: Vec::new(),
            stderr: Vec::new(),
            stdout_truncated: false,
            stderr_truncated: false,
            stdin_unread: 0,
            wall: Duration::ZERO,
            user_cpu: Duration::ZERO,
            system_cpu: Duration::ZERO,
            peak_rss_kib: 0,
            left_behind: Vec::new(),
            holds_output: false,
        }
    }

    /// stdout as text, invalid UTF-8 replaced.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stderr as text, invalid UTF-8 replaced.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}
