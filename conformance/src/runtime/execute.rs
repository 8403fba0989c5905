//! Executing one plugin in the caller's namespaces, with a deadline.
//!
//! The plugin is the leader of a process group of its own: at its deadline the group is killed, so that a hung delegate goes
//! with it. It is not tied to the life of the runtime: when that is killed, the plugin ends what it has begun, and the
//! locks that it inherited keep others waiting meanwhile (see [`super::lock`]).

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cni_spec::error::CniError;
use cni_spec::parameters::{Parameters, Variable};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde_json::Value;

use super::error::Problem;

/// Bytes kept of stdout and of stderr.
const CAP: usize = 4 << 20;
/// How long output may go on after the plugin has ended: whatever holds its pipes then is not waited for.
const GRACE: Duration = Duration::from_millis(500);
/// Attempts to execute a file that somebody is writing (`exec.text-busy-retry`).
const BUSY_ATTEMPTS: u32 = 20;

/// What a plugin is started with besides its parameters.
#[derive(Debug, Clone)]
pub struct Start {
    /// Arguments: none, since parameters are variables (`exec.env-carries-parameters`).
    pub arguments: Vec<String>,
    /// Whether it inherits the environment (`exec.env-inherited`).
    pub inherits: bool,
    /// Whether the caller's own variables of the protocol are kept from it.
    pub hides_variables: bool,
    /// Whether its stdin ends after the document (`exec.stdin-eof`).
    pub ends_stdin: bool,
}

impl Default for Start {
    fn default() -> Start {
        Start { arguments: Vec::new(), inherits: true, hides_variables: true, ends_stdin: true }
    }
}

/// What was seen of an execution.
#[derive(Debug)]
pub struct Ended {
    /// How it ended; `None` if it was killed at its deadline.
    pub status: Option<ExitStatus>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it said besides.
    pub stderr: Vec<u8>,
    /// The deadline.
    pub timeout: Duration,
}

impl Ended {
    /// Whether it exited with status 0 in time.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Why it failed: the error object that it printed, or else what can be told.
    pub fn problem(&self) -> Problem {
        let Some(status) = self.status else { return Problem::TimedOut(self.timeout) };
        let printed = serde_json::from_slice::<Value>(&self.stdout).ok();
        if let Some(error) = printed.and_then(|value| CniError::parse(&value).ok()) {
            return Problem::Answered(Box::new(error));
        }
        let status = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(signal) => format!("killed by {signal}"),
                Err(_) => format!("killed by signal {signal}"),
            },
            (None, None) => status.to_string(),
        };
        let said = if self.stdout.is_empty() { &self.stderr } else { &self.stdout };
        Problem::Unexplained { status, output: excerpt(said) }
    }
}

/// Output in a few words.
pub(super) fn excerpt(output: &[u8]) -> String {
    const LONG: usize = 400;
    if output.is_empty() {
        return "nothing".to_owned();
    }
    let text = String::from_utf8_lossy(output);
    match text.char_indices().nth(LONG) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{:?}", text.trim_end()),
    }
}

/// Executes a plugin with these parameters and this input.
///
/// # Errors
/// When it cannot be executed, or prints more than [`CAP`].
pub(super) fn execute(
    program: &Path,
    parameters: &Parameters,
    input: &[u8],
    timeout: Duration,
    start: &Start,
) -> Result<Ended, Problem> {
    let deadline = Instant::now() + timeout;
    let mut command = Command::new(program);
    if !start.inherits {
        command.env_clear();
    }
    for variable in Variable::ALL.into_iter().filter(|_| start.hides_variables) {
        command.env_remove(variable.as_str());
    }
    command
        .args(&start.arguments)
        .envs(parameters.to_pairs().into_iter().map(|(key, value)| (key, OsStr::new(value))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let failed = |source| Problem::NotStarted { path: program.to_owned(), source };
    let mut child = spawn(&mut command).map_err(failed)?;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let (alive, end_of_plugin) = channel::<()>();
    if let Some(mut stdin) = child.stdin.take() {
        let (input, ends) = (input.to_vec(), start.ends_stdin);
        thread::spawn(move || {
            // A plugin need not read its input: an error says nothing.
            drop(stdin.write_all(&input));
            if !ends {
                let _: Result<(), RecvError> = end_of_plugin.recv();
            }
        });
    }
    let stdout = child.stdout.take().map(Capture::of);
    let stderr = child.stderr.take().map(Capture::of);
    let in_time = wait_until(group, deadline);
    if !in_time {
        let _ = killpg(group, Signal::SIGKILL);
    }
    let status = child.wait().map_err(failed)?;
    drop(alive);
    let end = Instant::now() + GRACE;
    let output = |capture: Option<Capture>| capture.map_or_else(Vec::new, |capture| capture.finish(end));
    let ended =
        Ended { status: in_time.then_some(status), stdout: output(stdout), stderr: output(stderr), timeout };
    if ended.stdout.len() > CAP {
        return Err(Problem::Flooded(CAP));
    }
    Ok(ended)
}

fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut attempts = 0;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts < BUSY_ATTEMPTS => {
                attempts += 1;
                thread::sleep(Duration::from_millis(50));
            }
            started => return started,
        }
    }
}

/// Waits for the end of a child without reaping it, so that its number stays its own; whether it came in time.
fn wait_until(child: Pid, deadline: Instant) -> bool {
    let (tell, told) = channel();
    thread::spawn(move || {
        let _ = waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let _ = tell.send(());
    });
    told.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
}

/// What a thread reads of a pipe.
struct Capture {
    kept: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Capture {
    fn of(mut pipe: impl Read + Send + 'static) -> Capture {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (tell, ended) = channel();
        let shared = Arc::clone(&kept);
        thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                // One byte more than allowed tells that there was more; the rest is read and thrown away.
                let room = (CAP + 1).saturating_sub(kept.len());
                kept.extend_from_slice(&chunk[..count.min(room)]);
            }
            let _ = tell.send(());
        });
        Capture { kept, ended }
    }

    fn finish(self, deadline: Instant) -> Vec<u8> {
        // A reader whose thread is gone has read all there was.
        let _: Result<(), RecvTimeoutError> =
            self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
