//! Runs programs to their end: feeds and reads their pipes, keeps deadlines, and finds and kills what they
//! leave behind. The process that owns an engine must be process 1 of its PID namespace, so that every orphan
//! becomes its child, and must have one thread.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use super::explain::exec_failure;
use super::spawn::{Descriptors, SpawnError, Spawner, Step};
use super::{Execution, Invocation, Outcome, Place, Stdin};
use crate::arena::sys;

/// How long a process may outlive the program before it counts as left behind.
const GRACE: Duration = Duration::from_millis(50);
/// How long the processes that may stay have to be the same to count as settled.
const SETTLED: Duration = Duration::from_millis(40);

/// How often it is looked whether a program has stopped itself; twice in a row ends it.
const STOP_CHECK: Duration = Duration::from_millis(250);

/// How long a background program may take to end after SIGTERM.
const TERM: Duration = Duration::from_secs(1);

/// How long killed processes are given to be gone before it is looked again.
const KILL_PAUSE: Duration = Duration::from_micros(200);

/// Bytes read from a pipe in one go.
const CHUNK: usize = 64 << 10;

/// Bytes read at most from a pipe after the program ended: a process that it left may still be writing.
const LAST_READ: usize = 4 << 20;

/// What happened to the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The descriptor is readable.
    Asks,
    /// The other end is closed.
    Gone,
    /// Neither.
    Silent,
}

/// Gives the network namespace of a place; none is the current one.
pub(crate) trait Namespaces {
    /// The descriptor, or `Err` when there is no such place.
    fn descriptor(&self, place: &Place) -> Result<Option<BorrowedFd<'_>>, String>;
}

/// Runs programs.
#[derive(Debug)]
pub(crate) struct Engine {
    spawner: Spawner,
    background: BTreeMap<u64, Running>,
    next_background: u64,
    /// Executions that began and whose end nobody has been told, by the number that the asker gave them.
    flight: BTreeMap<u64, Running>,
    /// Processes that were there before the executions under way began: no business of theirs.
    bystanders: Vec<libc::pid_t>,
    /// Command names of processes that executions may leave running.
    spared: Vec<String>,
    chunk: Vec<u8>,
    polled: Vec<libc::pollfd>,
}

/// One end of a pipe that is read into memory.
#[derive(Debug)]
struct Capture {
    pipe: Option<OwnedFd>,
    kept: Vec<u8>,
    cap: usize,
    truncated: bool,
}

/// What is still to be written to stdin.
#[derive(Debug)]
struct Feed {
    pipe: Option<OwnedFd>,
    content: Vec<u8>,
    written: usize,
    /// The pipe stays open after the content until the program has exited.
    keep_open: bool,
    /// The read end, to count what was not read.
    read_end: Option<OwnedFd>,
}

/// How the main process ended.
#[derive(Clone, Copy, Debug)]
struct End {
    status: libc::c_int,
    user: Duration,
    system: Duration,
    peak: u64,
    wall: Duration,
}

#[derive(Debug)]
struct Running {
    pid: libc::pid_t,
    descriptor: OwnedFd,
    environment: Vec<Vec<u8>>,
    started: Instant,
    deadline: Option<Instant>,
    /// Killed at its deadline; whether it had stopped itself.
    timed_out: Option<bool>,
    /// It had stopped itself when last looked at.
    was_stopped: bool,
    feed: Feed,
    stdout: Capture,
    stderr: Capture,
    end: Option<End>,
    left_behind: Vec<String>,
    holds_output: bool,
}

/// Why there is no process: the parts of [`Outcome::NotStarted`].
#[derive(Clone, Debug)]
pub(crate) struct NotStarted {
    pub(crate) errno: i32,
    pub(crate) message: String,
}

/// A process as /proc shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: libc::pid_t,
    parent: libc::pid_t,
    group: libc::pid_t,
    name: String,
    zombie: bool,
}

impl Engine {
    /// An engine for this process.
    pub(crate) fn new() -> Self {
        Self {
            spawner: Spawner::new(),
            background: BTreeMap::new(),
            next_background: 1,
            flight: BTreeMap::new(),
            bystanders: Vec::new(),
            spared: Vec::new(),
            chunk: vec![0; CHUNK],
            polled: Vec::new(),
        }
    }

    /// Runs all of them at the same time, each to its end; `None` when the asker has gone meanwhile.
    pub(crate) fn run(
        &mut self,
        invocations: &[Invocation],
        namespaces: &impl Namespaces,
        asker: BorrowedFd<'_>,
    ) -> Option<Vec<Execution>> {
        self.bystanders.clear();
        self.spared.extend(invocations.iter().flat_map(|invocation| invocation.spares.iter().cloned()));
        self.spared.dedup();
        if !self.background.is_empty() || !self.flight.is_empty() {
            self.bystanders.extend(processes().iter().map(|process| process.pid));
        }
        // With several, stdin is the gate: none gets its input before all have started.
        let feed_early = invocations.len() == 1;
        let mut slots: Vec<Result<Running, NotStarted>> =
            invocations.iter().map(|invocation| self.start(invocation, namespaces, feed_early)).collect();
        if !feed_early {
            for running in slots.iter_mut().flatten() {
                running.feed.push();
            }
        }
        let mut next_stop_check = Instant::now() + STOP_CHECK;
        while slots.iter().flatten().any(|running| running.end.is_none()) {
            let now = Instant::now();
            if now >= next_stop_check {
                next_stop_check = now + STOP_CHECK;
                for running in slots.iter_mut().flatten() {
                    running.check_stopped();
                }
            }
            let mut wake = next_stop_check;
            for running in slots.iter_mut().flatten().filter(|running| running.end.is_none()) {
                if let Some(deadline) = running.deadline {
                    if now >= deadline && running.timed_out.is_none() {
                        running.expire();
                    }
                    if running.timed_out.is_none() {
                        wake = wake.min(deadline);
                    }
                }
            }
            if self.step(&mut slots, asker, wake.saturating_duration_since(now)) == Asker::Gone {
                return None;
            }
        }
        self.settle(&mut slots);
        Some(
            slots
                .into_iter()
                .map(|slot| {
                    slot.map_or_else(
                        |failure| Execution::not_started(failure.errno, failure.message),
                        Running::execution,
                    )
                })
                .collect(),
        )
    }

    /// Starts these programs beside those under way, and waits until one of them all has ended, at most `patience`. Answers
    /// all that have ended, each under its number; `None` when the asker has gone meanwhile.
    ///
    /// What a program leaves running is not looked for: others are running. [`Self::kill_left_overs`] finds it afterwards.
    pub(crate) fn advance(
        &mut self,
        starts: &[(u64, Invocation)],
        patience: Duration,
        namespaces: &impl Namespaces,
        asker: BorrowedFd<'_>,
    ) -> Option<Vec<(u64, Execution)>> {
        let mut ended = Vec::new();
        for (number, invocation) in starts {
            match self.start(invocation, namespaces, true) {
                Ok(running) => {
                    self.flight.insert(*number, running);
                }
                Err(failure) => {
                    ended.push((*number, Execution::not_started(failure.errno, failure.message)));
                }
            }
        }
        let until = Instant::now() + patience;
        let mut next_stop_check = Instant::now() + STOP_CHECK;
        loop {
            let over = self.flight.extract_if(.., |_, running| running.end.is_some());
            let over: Vec<(u64, Running)> = over.collect();
            for (number, mut running) in over {
                running.stdout.finish(&mut self.chunk);
                running.stderr.finish(&mut self.chunk);
                ended.push((number, running.execution()));
            }
            let now = Instant::now();
            if !ended.is_empty() || self.flight.is_empty() || now >= until {
                break;
            }
            if now >= next_stop_check {
                next_stop_check = now + STOP_CHECK;
                self.flight.values_mut().for_each(Running::check_stopped);
            }
            let mut wake = next_stop_check.min(until);
            for running in self.flight.values_mut().filter(|running| running.timed_out.is_none()) {
                match running.deadline {
                    Some(deadline) if now >= deadline => running.expire(),
                    Some(deadline) => wake = wake.min(deadline),
                    None => {}
                }
            }
            match self.step(&mut [], asker, wake.saturating_duration_since(now)) {
                Asker::Silent => {}
                Asker::Gone => return None,
                // It waits for this answer: if anything is to be read, it is the end.
                Asker::Asks => break,
            }
        }
        // Orphans of programs that have ended are this process's children.
        self.reap(&mut []);
        Some(ended)
    }

    /// Starts a program that runs until it is stopped.
    pub(crate) fn start_background(
        &mut self,
        invocation: &Invocation,
        namespaces: &impl Namespaces,
    ) -> Result<u64, NotStarted> {
        let mut running = self.start(invocation, namespaces, true)?;
        running.deadline = None;
        let id = self.next_background;
        self.next_background += 1;
        self.background.insert(id, running);
        Ok(id)
    }

    /// Ends a background program and its descendants; none if there is no such program.
    pub(crate) fn stop_background(&mut self, id: u64) -> Option<Execution> {
        let mut running = self.background.remove(&id)?;
        let mut family = family_of(&processes(), &[running.pid]);
        running.collect();
        if running.end.is_none() {
            signal(-running.pid, libc::SIGTERM);
            let _ = sys::wait_readable(running.descriptor.as_fd(), TERM);
            running.collect();
        }
        if running.end.is_none() {
            signal(running.pid, libc::SIGKILL);
            running.wait();
        }
        family.extend(family_of(&processes(), &[running.pid]));
        let members: Vec<libc::pid_t> =
            family.iter().map(|process| process.pid).filter(|pid| *pid != running.pid).collect();
        for pid in &members {
            signal(*pid, libc::SIGKILL);
        }
        // They end when they are next scheduled.
        while processes().iter().any(|process| !process.zombie && members.contains(&process.pid)) {
            std::thread::sleep(KILL_PAUSE);
        }
        self.reap(&mut []);
        running.stdout.finish(&mut self.chunk);
        running.stderr.finish(&mut self.chunk);
        Some(running.execution())
    }

    /// Reads what background programs print, so that they never wait for it; for at most `timeout`, or until
    /// the asker has something to say.
    pub(crate) fn idle(&mut self, asker: BorrowedFd<'_>, timeout: Duration) -> Asker {
        self.step(&mut [], asker, timeout)
    }

    /// Kills every process, or every one that does not belong to a background program; returns the names of
    /// those that were there.
    pub(crate) fn kill_left_overs(&mut self, background_too: bool) -> Vec<String> {
        if background_too {
            self.background.clear();
            self.flight.clear();
        }
        self.bystanders.clear();
        self.spared.clear();
        let mut names = Vec::new();
        loop {
            self.reap(&mut []);
            let strangers = self.strangers(&[]);
            if strangers.is_empty() {
                break;
            }
            names.extend(strangers.iter().map(|process| process.name.clone()));
            self.kill(&strangers);
        }
        names.sort();
        names
    }

    /// Command names of all processes but this one, sorted.
    pub(crate) fn process_names(&mut self) -> Vec<String> {
        self.reap(&mut []);
        let mut names: Vec<String> =
            processes().into_iter().filter(|process| !process.zombie).map(|process| process.name).collect();
        names.sort();
        names
    }

    fn start(
        &mut self,
        invocation: &Invocation,
        namespaces: &impl Namespaces,
        feed_early: bool,
    ) -> Result<Running, NotStarted> {
        let not_started = |errno: i32, what: &str| {
            let error = io::Error::from_raw_os_error(errno);
            NotStarted { errno, message: format!("{what}: {error}") }
        };
        let io_failed =
            |error: io::Error| not_started(error.raw_os_error().unwrap_or(libc::EIO), "no pipe for it");
        let namespace = namespaces
            .descriptor(&invocation.netns)
            .map_err(|message| NotStarted { errno: libc::ENOENT, message })?;
        let (mut feed, stdin) = Feed::new(&invocation.stdin).map_err(io_failed)?;
        if feed_early {
            feed.push();
        }
        let (out_read, out_write) = pipe(OurEnd::Read).map_err(io_failed)?;
        let (err_read, err_write) = pipe(OurEnd::Read).map_err(io_failed)?;
        let descriptors = Descriptors {
            stdin: stdin.as_ref().or(feed.read_end.as_ref()).map(|descriptor| descriptor.as_fd()),
            stdout: out_write.as_fd(),
            stderr: err_write.as_fd(),
        };
        let started = Instant::now();
        let spawned = self.spawner.spawn(invocation, namespace, &descriptors);
        let spawned = spawned.map_err(|SpawnError { step, errno }| match step {
            Step::Execute if errno == libc::EINVAL => NotStarted {
                errno,
                message: "its path, arguments or environment hold a zero byte".to_owned(),
            },
            Step::Execute => NotStarted { errno, message: exec_failure(&invocation.program, errno) },
            Step::Directory => not_started(
                errno,
                &format!("cannot enter its working directory {}", invocation.working_directory.display()),
            ),
            Step::Namespace => {
                not_started(errno, &format!("cannot enter the network of {}", invocation.netns))
            }
            Step::Limits => not_started(errno, "cannot set its resource limits"),
            Step::Descriptors => not_started(errno, "cannot give it its descriptors"),
            Step::Clone => not_started(errno, "cannot make a process for it"),
        })?;
        Ok(Running {
            pid: spawned.pid,
            descriptor: spawned.descriptor,
            environment: environment_entries(&invocation.environment),
            started,
            deadline: started.checked_add(invocation.timeout),
            timed_out: None,
            was_stopped: false,
            feed,
            stdout: Capture::new(out_read, invocation.output_cap),
            stderr: Capture::new(err_read, invocation.output_cap),
            end: None,
            left_behind: Vec::new(),
            holds_output: false,
        })
    }

    /// Waits for the next thing to happen, at most `timeout`, and handles all that did.
    fn step(
        &mut self,
        slots: &mut [Result<Running, NotStarted>],
        asker: BorrowedFd<'_>,
        timeout: Duration,
    ) -> Asker {
        let mut polled = std::mem::take(&mut self.polled);
        polled.clear();
        // While programs run the asker can only go away; it speaks when it has its answer.
        let asker_events = if slots.is_empty() { libc::POLLIN | libc::POLLRDHUP } else { libc::POLLRDHUP };
        polled.push(entry(asker.as_raw_fd(), asker_events));
        for running in slots.iter().flatten().chain(self.background.values()).chain(self.flight.values()) {
            running.watch(&mut polled);
        }
        let spec = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: the vector's entries are valid pollfds and `spec` a valid timespec, all of which outlive the call.
        let count = unsafe {
            libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &raw const spec, std::ptr::null())
        };
        let mut asks = Asker::Silent;
        if count > 0 {
            asks = match polled[0].revents {
                0 => Asker::Silent,
                // Its end can be read too: whoever reads next sees it.
                revents if revents & libc::POLLIN != 0 => Asker::Asks,
                _ => Asker::Gone,
            };
            let others = self.background.values_mut().chain(self.flight.values_mut());
            for running in slots.iter_mut().flatten().chain(others) {
                running.serve(&polled, &mut self.chunk);
            }
        }
        self.polled = polled;
        asks
    }

    /// After all main processes have ended: gives what they left a moment, then names and kills it, and reads
    /// what is left in the pipes.
    fn settle(&mut self, slots: &mut [Result<Running, NotStarted>]) {
        if !self.reap(slots) {
            let left = self.left_after_grace(slots);
            if !left.is_empty() {
                self.name_and_kill(left, slots);
            }
        }
        for running in slots.iter_mut().flatten() {
            running.stdout.finish(&mut self.chunk);
            running.stderr.finish(&mut self.chunk);
        }
        self.wait_for_spared();
    }

    /// Waits until the processes that may stay are the same for a while: a daemon is made by others, which end.
    fn wait_for_spared(&mut self) {
        if self.spared.is_empty() {
            return;
        }
        let deadline = Instant::now() + SETTLED * 20;
        let mut before = self.spared_processes();
        while !before.is_empty() && Instant::now() < deadline {
            std::thread::sleep(SETTLED);
            self.reap(&mut []);
            let after = self.spared_processes();
            if after == before {
                break;
            }
            before = after;
        }
    }

    fn spared_processes(&self) -> Vec<libc::pid_t> {
        let spared = |process: &Process| !process.zombie && self.spared.contains(&process.name);
        processes().into_iter().filter(spared).map(|process| process.pid).collect()
    }

    /// Processes that are still there after the grace period.
    fn left_after_grace(&mut self, slots: &mut [Result<Running, NotStarted>]) -> Vec<Process> {
        let deadline = Instant::now() + GRACE;
        loop {
            let left = self.strangers(slots);
            if left.is_empty() || Instant::now() >= deadline {
                return left;
            }
            // They may need their output read to come to their end.
            for running in slots.iter_mut().flatten() {
                running.stdout.read(&mut self.chunk);
                running.stderr.read(&mut self.chunk);
            }
            std::thread::sleep(Duration::from_millis(2));
            if self.reap(slots) {
                return Vec::new();
            }
        }
    }

    fn name_and_kill(&mut self, left: Vec<Process>, slots: &mut [Result<Running, NotStarted>]) {
        for process in &left {
            let slot = owner(process, slots);
            if let Some(Ok(running)) = slots.get_mut(slot) {
                running.left_behind.push(process.name.clone());
            }
        }
        for running in slots.iter_mut().flatten() {
            running.left_behind.sort();
            running.stdout.read(&mut self.chunk);
            running.stderr.read(&mut self.chunk);
            // All that could hold it open is what was left behind.
            running.holds_output = !running.left_behind.is_empty() && running.stdout.pipe.is_some();
        }
        // A fork bomb is named by those of its processes that were seen first; all must go.
        let mut round = left;
        while !round.is_empty() {
            self.kill(&round);
            self.reap(slots);
            round = self.strangers(slots);
        }
    }

    /// Waits for every child that has ended; whether none is left.
    fn reap(&mut self, slots: &mut [Result<Running, NotStarted>]) -> bool {
        loop {
            // SAFETY: an all-zero siginfo is a valid one for the kernel to overwrite; it outlives the call.
            let (result, pid) = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let result = libc::waitid(
                    libc::P_ALL,
                    0,
                    &raw mut info,
                    libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
                );
                (result, info.si_pid())
            };
            if result != 0 {
                match io::Error::last_os_error().raw_os_error() {
                    Some(libc::EINTR) => continue,
                    _ => return true,
                }
            }
            if pid == 0 {
                return false;
            }
            let known = slots
                .iter_mut()
                .flatten()
                .chain(self.background.values_mut())
                .chain(self.flight.values_mut())
                .find(|running| running.pid == pid && running.end.is_none());
            match known {
                Some(running) => running.collect(),
                None => {
                    let mut status = 0;
                    // SAFETY: a plain wait; `status` outlives the call.
                    unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
                }
            }
        }
    }

    /// Living processes that belong neither to a main process that still runs nor to a background program.
    fn strangers(&self, slots: &[Result<Running, NotStarted>]) -> Vec<Process> {
        let all = processes();
        let known: Vec<libc::pid_t> = slots
            .iter()
            .flatten()
            .filter(|running| running.end.is_none())
            .chain(self.background.values())
            .chain(self.flight.values())
            .map(|running| running.pid)
            .collect();
        let family = family_of(&all, &known);
        all.into_iter()
            .filter(|process| !process.zombie && !family.contains(process))
            .filter(|process| !self.bystanders.contains(&process.pid) && !self.spared.contains(&process.name))
            .collect()
    }

    fn kill(&self, all: &[Process]) {
        if self.background.is_empty() && self.flight.is_empty() && self.spared.is_empty() {
            // One call reaches every process at once, those that are being made too.
            signal(-1, libc::SIGKILL);
        } else {
            for process in all {
                signal(process.pid, libc::SIGKILL);
            }
        }
        std::thread::sleep(KILL_PAUSE);
    }
}

impl Running {
    fn watch(&self, polled: &mut Vec<libc::pollfd>) {
        if self.end.is_none() {
            polled.push(entry(self.descriptor.as_raw_fd(), libc::POLLIN));
        }
        for capture in [&self.stdout, &self.stderr] {
            if let Some(pipe) = &capture.pipe {
                polled.push(entry(pipe.as_raw_fd(), libc::POLLIN));
            }
        }
        if self.feed.wants_to_write()
            && let Some(pipe) = &self.feed.pipe
        {
            polled.push(entry(pipe.as_raw_fd(), libc::POLLOUT));
        }
    }

    fn serve(&mut self, polled: &[libc::pollfd], chunk: &mut [u8]) {
        let ready =
            |descriptor: RawFd| polled.iter().any(|entry| entry.fd == descriptor && entry.revents != 0);
        for capture in [&mut self.stdout, &mut self.stderr] {
            if capture.pipe.as_ref().is_some_and(|pipe| ready(pipe.as_raw_fd())) {
                capture.read_some(chunk);
            }
        }
        if self.feed.wants_to_write() && self.feed.pipe.as_ref().is_some_and(|pipe| ready(pipe.as_raw_fd())) {
            self.feed.push();
        }
        if self.end.is_none() && ready(self.descriptor.as_raw_fd()) {
            self.collect();
        }
    }

    /// Notes the end of the main process if it has come.
    fn collect(&mut self) {
        self.wait4(libc::WNOHANG);
    }

    /// Waits for the end of the main process.
    fn wait(&mut self) {
        self.wait4(0);
    }

    fn wait4(&mut self, options: libc::c_int) {
        if self.end.is_some() {
            return;
        }
        let mut status = 0;
        // SAFETY: an all-zero rusage is valid; both out parameters outlive the call.
        let (pid, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(self.pid, &raw mut status, options, &raw mut usage), usage)
        };
        if pid != self.pid {
            return;
        }
        let time = |value: libc::timeval| {
            Duration::new(
                u64::try_from(value.tv_sec).unwrap_or(0),
                u32::try_from(value.tv_usec).unwrap_or(0).saturating_mul(1000),
            )
        };
        self.end = Some(End {
            status,
            user: time(usage.ru_utime),
            system: time(usage.ru_stime),
            peak: u64::try_from(usage.ru_maxrss).unwrap_or(0),
            wall: self.started.elapsed(),
        });
    }

    fn is_stopped(&self) -> bool {
        // SAFETY: an all-zero siginfo is a valid one for the kernel to overwrite; it outlives the call.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
            libc::waitid(libc::P_PID, self.pid.cast_unsigned(), &raw mut info, options) == 0
                && info.si_pid() != 0
        }
    }

    fn check_stopped(&mut self) {
        if self.end.is_some() || self.timed_out.is_some() {
            return;
        }
        let stopped = self.is_stopped();
        if stopped && self.was_stopped {
            self.expire();
        }
        self.was_stopped = stopped;
    }

    /// Kills the program and its process group.
    fn expire(&mut self) {
        self.collect();
        if self.end.is_some() {
            return;
        }
        self.timed_out = Some(self.is_stopped());
        signal(-self.pid, libc::SIGKILL);
        signal(self.pid, libc::SIGKILL);
    }

    /// What was seen of it; its main process has ended.
    fn execution(self) -> Execution {
        let end = self.end.unwrap_or(End {
            status: 0,
            user: Duration::ZERO,
            system: Duration::ZERO,
            peak: 0,
            wall: self.started.elapsed(),
        });
        let outcome = match self.timed_out {
            Some(stopped) => Outcome::TimedOut { stopped },
            None if libc::WIFSIGNALED(end.status) => Outcome::Signaled(libc::WTERMSIG(end.status)),
            None => Outcome::Exited(libc::WEXITSTATUS(end.status)),
        };
        Execution {
            outcome,
            stdin_unread: self.feed.unread(),
            stdout: self.stdout.kept,
            stderr: self.stderr.kept,
            stdout_truncated: self.stdout.truncated,
            stderr_truncated: self.stderr.truncated,
            wall: end.wall,
            user_cpu: end.user,
            system_cpu: end.system,
            peak_rss_kib: end.peak,
            left_behind: self.left_behind,
            holds_output: self.holds_output,
        }
    }
}

impl Capture {
    fn new(pipe: OwnedFd, cap: usize) -> Self {
        Self { pipe: Some(pipe), kept: Vec::new(), cap, truncated: false }
    }

    /// Reads once; the count, or none when there is nothing now or will never be.
    fn read_some(&mut self, chunk: &mut [u8]) -> Option<usize> {
        let pipe = self.pipe.as_ref()?;
        loop {
            // SAFETY: the buffer is valid for its length, the descriptor is open; both outlive the call.
            let count = unsafe { libc::read(pipe.as_raw_fd(), chunk.as_mut_ptr().cast(), chunk.len()) };
            match usize::try_from(count) {
                Ok(0) => {
                    self.pipe = None;
                    return None;
                }
                Ok(count) => {
                    let wanted = count.min(self.cap - self.kept.len());
                    self.kept.extend_from_slice(&chunk[..wanted]);
                    self.truncated |= wanted < count;
                    return Some(count);
                }
                Err(_) => match io::Error::last_os_error().kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return None,
                    _ => {
                        self.pipe = None;
                        return None;
                    }
                },
            }
        }
    }

    /// Reads what is there.
    fn read(&mut self, chunk: &mut [u8]) {
        let mut total = 0;
        while total < LAST_READ
            && let Some(count) = self.read_some(chunk)
        {
            total += count;
        }
    }

    /// Reads what is there and closes the pipe.
    fn finish(&mut self, chunk: &mut [u8]) {
        self.read(chunk);
        self.pipe = None;
    }
}

impl Feed {
    /// The feed, and a descriptor for the program where it is not the feed's own read end; with neither,
    /// descriptor 0 is to be closed.
    fn new(stdin: &Stdin) -> io::Result<(Self, Option<OwnedFd>)> {
        let (content, keep_open) = match stdin {
            Stdin::Bytes(content) => (content.clone(), false),
            Stdin::OpenForever(content) => (content.clone(), true),
            Stdin::Empty => (Vec::new(), false),
            Stdin::Closed => return Ok((Self::nothing(), None)),
            Stdin::Directory => return Ok((Self::nothing(), Some(File::open("/")?.into()))),
        };
        let (read_end, write_end) = pipe(OurEnd::Write)?;
        let mut feed =
            Self { pipe: Some(write_end), content, written: 0, keep_open, read_end: Some(read_end) };
        feed.close_when_done();
        Ok((feed, None))
    }

    fn nothing() -> Self {
        Self { pipe: None, content: Vec::new(), written: 0, keep_open: false, read_end: None }
    }

    fn wants_to_write(&self) -> bool {
        self.pipe.is_some() && self.written < self.content.len()
    }

    fn close_when_done(&mut self) {
        if self.written == self.content.len() && !self.keep_open {
            self.pipe = None;
        }
    }

    /// Writes what the pipe takes now.
    fn push(&mut self) {
        while self.wants_to_write() {
            let Some(pipe) = &self.pipe else { return };
            let rest = &self.content[self.written..];
            // SAFETY: the buffer is valid for its length, the descriptor is open; both outlive the call.
            let count = unsafe { libc::write(pipe.as_raw_fd(), rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(count) {
                Ok(count) => self.written += count,
                Err(_) => match io::Error::last_os_error().kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return,
                    _ => {
                        self.pipe = None;
                        return;
                    }
                },
            }
        }
        self.close_when_done();
    }

    /// Bytes that nobody read.
    fn unread(&self) -> usize {
        let mut in_pipe: libc::c_int = 0;
        if let Some(read_end) = &self.read_end {
            // SAFETY: FIONREAD writes one int, which outlives the call.
            unsafe { libc::ioctl(read_end.as_raw_fd(), libc::FIONREAD, &raw mut in_pipe) };
        }
        usize::try_from(in_pipe).unwrap_or(0) + (self.content.len() - self.written)
    }
}

/// Which end of a pipe stays with the engine, and must never block it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OurEnd {
    Read,
    Write,
}

/// A pipe, closed on exec, as (read end, write end).
fn pipe(ours: OurEnd) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors into an array of two.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (read_end, write_end) = (sys::owned(ends[0])?, sys::owned(ends[1])?);
    let our_end = if ours == OurEnd::Read { &read_end } else { &write_end };
    // SAFETY: plain numbers on an open descriptor. Each end has its own flags.
    if unsafe { libc::fcntl(our_end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((read_end, write_end))
}

fn entry(descriptor: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd: descriptor, events, revents: 0 }
}

fn signal(pid: libc::pid_t, signal: libc::c_int) {
    // SAFETY: plain numbers. As process 1 of a PID namespace the engine can reach that namespace only, and
    // never itself.
    unsafe { libc::kill(pid, signal) };
}

/// The entries of an environment as /proc/PID/environ has them.
fn environment_entries(environment: &[(OsString, OsString)]) -> Vec<Vec<u8>> {
    environment.iter().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()).collect()
}

/// The index of the execution that a process belongs to: by its process group; else the one whose environment it
/// holds most of, since a shell adds to its environment and reorders it; else the first one that ran.
fn owner(process: &Process, slots: &[Result<Running, NotStarted>]) -> usize {
    let by_group =
        slots.iter().position(|slot| slot.as_ref().is_ok_and(|running| running.pid == process.group));
    if let Some(index) = by_group {
        return index;
    }
    let found = std::fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
    let found: Vec<&[u8]> = found.split(|byte| *byte == 0).collect();
    let mut best: Option<(usize, usize)> = None;
    for (index, slot) in slots.iter().enumerate() {
        let Ok(running) = slot else { continue };
        let held = running.environment.iter().filter(|entry| found.contains(&entry.as_slice())).count();
        let score = if held == running.environment.len() { held + 1 } else { 0 };
        if best.is_none_or(|(_, most)| score > most) {
            best = Some((index, score));
        }
    }
    best.map_or(0, |(index, _)| index)
}

/// Every process but process 1. Empty where /proc cannot be read.
fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut all: Vec<Process> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<libc::pid_t>().ok())
        .filter(|pid| *pid != 1)
        .filter_map(|pid| process(&std::fs::read(format!("/proc/{pid}/stat")).ok()?))
        .collect();
    all.sort_by_key(|process| process.pid);
    all
}

/// Reads a line of /proc/PID/stat. The name is in parentheses and may hold anything, parentheses too.
fn process(stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let pid = std::str::from_utf8(stat.get(..open)?).ok()?.trim().parse().ok()?;
    let mut rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace();
    let state = rest.next()?;
    let parent = rest.next()?.parse().ok()?;
    let group = rest.next()?.parse().ok()?;
    Some(Process { pid, parent, group, name, zombie: matches!(state, "Z" | "X") })
}

/// The processes of `all` that are one of `roots`, descend from one, or are in the process group of one.
fn family_of(all: &[Process], roots: &[libc::pid_t]) -> Vec<Process> {
    let mut family: Vec<Process> = Vec::new();
    loop {
        let before = family.len();
        for process in all {
            let belongs = roots.contains(&process.pid)
                || roots.contains(&process.group)
                || family.iter().any(|member| member.pid == process.parent);
            if belongs && !family.contains(process) {
                family.push(process.clone());
            }
        }
        if family.len() == before {
            return family;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(pid: i32, parent: i32, group: i32) -> Process {
        Process { pid, parent, group, name: format!("p{pid}"), zombie: false }
    }

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let found = process(b"12 (a) b (c) S 3 12 7 0 -1 4194560").unwrap();
        assert_eq!(
            found,
            Process { pid: 12, parent: 3, group: 12, name: "a) b (c".to_owned(), zombie: false }
        );
        assert!(process(b"12 (x) Z 3 12 7 0").unwrap().zombie);
        assert_eq!(process(b"12 x S"), None);
        assert_eq!(process(b""), None);
    }

    #[test]
    fn a_family_is_descendants_and_process_groups() {
        let all = [of(2, 1, 2), of(3, 2, 2), of(4, 3, 4), of(5, 1, 2), of(6, 1, 6), of(7, 6, 6)];
        let pids = |roots: &[i32]| family_of(&all, roots).iter().map(|p| p.pid).collect::<Vec<_>>();
        assert_eq!(pids(&[2]), [2, 3, 4, 5]);
        assert_eq!(pids(&[6]), [6, 7]);
        assert_eq!(pids(&[9]), Vec::<i32>::new());
    }

    #[test]
    fn a_capture_keeps_what_fits() {
        let (read_end, write_end) = pipe(OurEnd::Read).unwrap();
        let mut capture = Capture::new(read_end, 3);
        let mut chunk = vec![0; 16];
        assert_eq!(capture.read_some(&mut chunk), None, "nothing there yet");
        assert!(capture.pipe.is_some());
        // SAFETY: a plain write of a valid buffer.
        unsafe { libc::write(write_end.as_raw_fd(), b"hello".as_ptr().cast(), 5) };
        drop(write_end);
        capture.finish(&mut chunk);
        assert_eq!((capture.kept.as_slice(), capture.truncated), (&b"hel"[..], true));
    }

    #[test]
    fn a_feed_counts_what_nobody_read() {
        let (mut feed, other) = Feed::new(&Stdin::Bytes(vec![7; 200_000])).unwrap();
        assert!(other.is_none());
        feed.push();
        assert!(feed.wants_to_write(), "a pipe holds less");
        assert_eq!(feed.unread(), 200_000);
        let (feed, _) = Feed::new(&Stdin::Empty).unwrap();
        assert!(feed.pipe.is_none() && feed.read_end.is_some());
        let (feed, directory) = Feed::new(&Stdin::Directory).unwrap();
        assert!(feed.read_end.is_none() && directory.is_some());
    }

    proptest! {
        #[test]
        fn any_stat_line_can_be_read(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = process(&line);
        }
    }
}
