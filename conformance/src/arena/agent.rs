//! The agent: process 1 of an arena. One thread that answers requests until the control socket ends.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{Pid, geteuid};

use super::counters;
use super::error::Refusal;
use super::files::{self, Files};
use super::operate::Network;
use super::protocol::{Reply, Request, encode, receive};
use super::snapshot::Snapshot;
use super::unrest::Disturber;
use super::{ArenaConfig, NETNS_DIR, SEARCH_PATH, root, state};
use crate::invoke::engine::{Asker, Engine};
use crate::invoke::{Outcome, Place};

/// What root's plugins must not have: these reach beyond the namespaces of the arena.
/// The numbers are those of capabilities(7).
const WITHHELD: [(&str, libc::c_ulong); 9] = [
    ("CAP_SYS_MODULE", 16),
    ("CAP_SYS_RAWIO", 17),
    ("CAP_SYS_BOOT", 22),
    ("CAP_SYS_TIME", 25),
    ("CAP_MKNOD", 27),
    ("CAP_AUDIT_CONTROL", 30),
    ("CAP_MAC_OVERRIDE", 32),
    ("CAP_MAC_ADMIN", 33),
    ("CAP_WAKE_ALARM", 35),
];

/// How long the agent sleeps when nobody asks; background programs wake it.
const IDLE: Duration = Duration::from_secs(3600);

struct Agent {
    engine: Engine,
    network: Network,
    files: Files,
    /// What is mounted in a new arena.
    mounts: BTreeSet<PathBuf>,
    /// Bytes that written files may take.
    storage: u64,
    /// Less than that may be written at the moment.
    bounded: bool,
    /// Programs may run containers.
    containers: bool,
    unrest: Option<Disturber>,
}

/// Builds the arena and answers requests. Returns the exit status.
pub(super) fn run(mut socket: UnixStream, config: &ArenaConfig) -> i32 {
    let mut agent = match Agent::new(config) {
        Ok(agent) => agent,
        Err(refusal) => {
            let _ = super::protocol::send(&mut socket, &Reply::Refused(refusal));
            return 1;
        }
    };
    if super::protocol::send(&mut socket, &Reply::Done).is_err() {
        return 0;
    }
    let (mut input, mut output) = (Vec::new(), Vec::new());
    loop {
        match agent.engine.idle(socket.as_fd(), IDLE) {
            Asker::Silent => continue,
            Asker::Gone => return 0,
            Asker::Asks => {}
        }
        let request: Request = match receive(&mut socket, &mut input) {
            Ok(request) => request,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return 0,
            Err(error) => {
                eprintln!("cnitest: the arena ends, it cannot read a request: {error}");
                return 2;
            }
        };
        let Some(reply) = agent.answer(request, &socket) else { return 0 };
        output = match encode(&reply, output) {
            Ok(bytes) => bytes,
            Err(error) => {
                eprintln!("cnitest: the arena ends, it cannot write an answer: {error}");
                return 2;
            }
        };
        if io::Write::write_all(&mut socket, &output).is_err() {
            return 0;
        }
    }
}

impl Agent {
    fn new(config: &ArenaConfig) -> Result<Self, Refusal> {
        reset_signals()?;
        // SAFETY: sets the mask of new files of this process, nothing else.
        unsafe { libc::umask(0o022) };
        let layers = root::build(config)?;
        name_host()?;
        allow_descriptors();
        // In a user namespace they mean nothing beyond it.
        if !in_user_namespace() {
            withhold_capabilities(config.containers)?;
        }
        let network = Network::new()?;
        let files = Files::new(layers).map_err(|error| Refusal::io("read the new root", &error))?;
        Ok(Self {
            engine: Engine::new(),
            network,
            files,
            mounts: root::mounts()?,
            storage: config.storage,
            bounded: false,
            containers: config.containers,
            unrest: None,
        })
    }

    /// Does what is asked; none when the asker has gone.
    fn answer(&mut self, request: Request, socket: &UnixStream) -> Option<Reply> {
        match request {
            Request::Execute(invocations) => {
                self.engine.run(&invocations, &self.network, socket.as_fd()).map(Reply::Executions)
            }
            Request::ExecuteEach(invocations) => {
                let mut executions = Vec::with_capacity(invocations.len());
                // One after another they gain nothing by moving to other processors, and each move costs.
                let _pinned = Pinned::here();
                for invocation in &invocations {
                    let one = std::slice::from_ref(invocation);
                    executions.append(&mut self.engine.run(one, &self.network, socket.as_fd())?);
                    if matches!(executions.last().map(|last| &last.outcome), Some(Outcome::TimedOut { .. })) {
                        break;
                    }
                }
                Some(Reply::Executions(executions))
            }
            Request::Advance(starts, patience) => {
                self.engine.advance(&starts, patience, &self.network, socket.as_fd()).map(Reply::Ended)
            }
            other => Some(self.serve(other).unwrap_or_else(Reply::Refused)),
        }
    }

    fn serve(&mut self, request: Request) -> Result<Reply, Refusal> {
        match request {
            Request::Start(_) | Request::Execute(_) | Request::ExecuteEach(_) | Request::Advance(..) => {
                return Err(Refusal::new("start an arena", "it has been started"));
            }
            Request::StartBackground(invocation) => {
                return match self.engine.start_background(&invocation, &self.network) {
                    Ok(id) => Ok(Reply::Background(id)),
                    Err(failure) => Err(Refusal {
                        what: format!("start {}", invocation.program.display()),
                        reason: failure.message,
                        errno: Some(failure.errno),
                    }),
                };
            }
            Request::StopBackground(id) => {
                let execution = self.engine.stop_background(id).ok_or_else(|| {
                    Refusal::new("stop a background program", "it was stopped before, by a reset perhaps")
                })?;
                return Ok(Reply::Executions(vec![execution]));
            }
            Request::CreateNetns(name, bare) => {
                let path = self.network.create(&name, bare)?;
                self.files.expect(&path).map_err(|error| Refusal::io("list written files", &error))?;
                return Ok(Reply::Path(path));
            }
            Request::DeleteNetns(name) => {
                self.network.delete(&name)?;
                self.files.forget(&Path::new(NETNS_DIR).join(&name));
            }
            Request::Network(place, op) => self.network.apply(&place, &op)?,
            Request::Exchange(exchange) => return self.network.exchange(&exchange).map(Reply::Exchanged),
            Request::Track(place, flow) => self.network.track(&place, &flow)?,
            Request::Tracked(place) => return self.network.tracked(&place).map(Reply::Flows),
            Request::Snapshot(scope) => {
                let mut snapshot = Snapshot::default();
                state::network(&mut self.network, &scope, &mut snapshot)?;
                if scope.files {
                    snapshot.files =
                        self.files.changed().map_err(|error| Refusal::io("list written files", &error))?;
                }
                if scope.processes {
                    snapshot.processes = self.engine.process_names();
                }
                return Ok(Reply::Snapshot(Box::new(snapshot)));
            }
            Request::ReadFile(path) => return files::read(&path).map(Reply::Bytes),
            Request::WriteFile { path, content, mode } => files::write(&path, &content, mode)?,
            Request::RemovePath(path) => files::remove(&path)?,
            Request::MakeDir(path, mode) => files::make_dir(&path, mode)?,
            Request::ListDir(path) => return files::list(&path).map(Reply::Entries),
            Request::MakeSymlink { target, path } => files::make_symlink(&target, &path)?,
            Request::SetSysctl { place, name, value } => {
                let path = sysctl_path(&name)?;
                self.network
                    .inside(&place, || fs::write(&path, &value))?
                    .map_err(|error| Refusal::io(format!("set {name} of {place} to {value:?}"), &error))?;
            }
            Request::GetSysctl { place, name } => {
                let path = sysctl_path(&name)?;
                let text = self
                    .network
                    .inside(&place, || fs::read(&path))?
                    .map_err(|error| Refusal::io(format!("read {name} of {place}"), &error))?;
                return Ok(Reply::Text(String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned()));
            }
            Request::LeaveRoom(blocks) => {
                self.bounded = true;
                root::leave_room(blocks, self.storage)?;
                self.bounded = blocks.is_some();
            }
            Request::StartUnrest(place) => {
                let sockets = self.network.sockets(&place)?;
                self.unrest = Some(Disturber::start(sockets)?);
            }
            Request::StopUnrest => {
                let unrest = self.unrest.take().ok_or_else(|| {
                    Refusal::new("end the unrest", "there is none, it was ended by a reset perhaps")
                })?;
                return unrest.stop().map(Reply::Unrest);
            }
            Request::ProbeLinkKind(kind) => return self.network.probe(&kind).map(Reply::Truth),
            Request::ProbeQdiscKind(kind) => return self.network.probe_qdisc(&kind).map(Reply::Truth),
            Request::ProbeFeature(feature) => return self.network.probe_feature(feature).map(Reply::Truth),
            Request::AddPciDevice { address, link } => root::add_pci_device(&address, &link)?,
            Request::HasProgram(name) => return Ok(Reply::Program(find_program(&name))),
            Request::KillLeftOvers { background_too } => {
                return Ok(Reply::Names(self.engine.kill_left_overs(background_too)));
            }
            Request::TakeCounters => {
                let counted = counters::take();
                return counted
                    .map(Reply::Counted)
                    .map_err(|error| Refusal::io("read the counters of a plugin", &error));
            }
            Request::Reset => self.reset()?,
            Request::Reboot => self.reboot()?,
        }
        Ok(Reply::Done)
    }

    /// Ends every process and removes every namespace that was made.
    fn end_all(&mut self) {
        self.unrest = None;
        self.engine.kill_left_overs(true);
        for name in self.network.delete_all() {
            self.files.forget(&Path::new(NETNS_DIR).join(name));
        }
    }

    /// A fresh namespace is as new in all that a snapshot could show, and in what it could not.
    fn renew_host(&mut self) -> Result<(), Refusal> {
        self.network.renew_host()?;
        root::renew_sysfs(self.containers)?;
        name_host()
    }

    fn reboot(&mut self) -> Result<(), Refusal> {
        self.end_all();
        root::empty_memory(&self.mounts)?;
        self.renew_host()
    }

    fn reset(&mut self) -> Result<(), Refusal> {
        self.end_all();
        if std::mem::take(&mut self.bounded) {
            root::leave_room(None, self.storage)?;
        }
        self.files.restore().map_err(|error| Refusal::io("remove written files", &error))?;
        self.renew_host()
    }
}

fn name_host() -> Result<(), Refusal> {
    nix::unistd::sethostname("cnitest").map_err(|errno| Refusal::io("set the host name", &errno.into()))
}

/// As many descriptors as the system lets this process have: each namespace takes three. Programs get the limit of their
/// invocation.
fn allow_descriptors() {
    // What cannot be raised stays; making one namespace too many says so.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// Default dispositions and an empty mask, whatever cnitest was started with: plugins inherit them. Through the
/// system call, because the C library keeps its own signals to itself.
fn reset_signals() -> Result<(), Refusal> {
    const LAST: libc::c_int = 64;
    // Longer than the kernel's structure on any machine; all zero is the default disposition.
    let default = [0_u64; 8];
    let size_of_set = 8_usize;
    for number in
        (1..=LAST).filter(|number| !matches!(*number, libc::SIGKILL | libc::SIGSTOP | libc::SIGPIPE))
    {
        // SAFETY: no handler is installed, only the default; the structure outlives the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<libc::c_void>(),
                size_of_set,
            )
        };
        if result != 0 {
            return Err(Refusal::io(format!("reset signal {number}"), &io::Error::last_os_error()));
        }
    }
    let failed = |errno: nix::errno::Errno| Refusal::io("reset the signal mask", &errno.into());
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(failed)
}

/// Whether this process is in a user namespace of its own.
fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().nth(2) == Some("1") || !geteuid().is_root()
}

/// Drops capabilities from the bounding set, so that no program gets them when it is executed.
fn withhold_capabilities(containers: bool) -> Result<(), Refusal> {
    for (name, number) in WITHHELD {
        // A runtime of containers makes their /dev.
        if containers && name == "CAP_MKNOD" {
            continue;
        }
        // SAFETY: plain numbers; the call changes the bounding set of this thread, the only one.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            // Older kernels do not know every capability.
            if error.raw_os_error() != Some(libc::EINVAL) {
                return Err(Refusal::io(format!("withhold {name}"), &error));
            }
        }
    }
    Ok(())
}

/// The file of a value below /proc/sys/net.
fn sysctl_path(name: &str) -> Result<PathBuf, Refusal> {
    let inside = name.starts_with("net/") && !name.split('/').any(|part| matches!(part, "" | "." | ".."));
    if inside {
        Ok(Path::new("/proc/sys").join(name))
    } else {
        Err(Refusal::new(format!("use sysctl {name:?}"), "its name must be a path that begins with net/"))
    }
}

/// The first executable of this name in the usual directories.
fn find_program(name: &str) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    SEARCH_PATH.split(':').map(|directory| Path::new(directory).join(name)).find(|path| {
        fs::metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

/// The places that a scope covers.
pub(super) fn places(network: &Network, scope: &super::Scope) -> Vec<Place> {
    std::iter::once(Place::Host)
        .chain(network.containers.keys().cloned().map(Place::Container))
        .filter(|place| scope.covers(place))
        .collect()
}

/// This process, and what it starts, on the processor where it is, until it is dropped.
struct Pinned(CpuSet);

impl Pinned {
    /// None where that cannot be.
    fn here() -> Option<Pinned> {
        let own = Pid::from_raw(0);
        let allowed = sched_getaffinity(own).ok()?;
        let mut here = CpuSet::new();
        here.set(sched_getcpu().ok()?).ok()?;
        sched_setaffinity(own, &here).ok()?;
        Some(Pinned(allowed))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // If it fails, programs share a processor.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0);
    }
}
