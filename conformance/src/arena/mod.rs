//! Throw-away namespaces in which plugins run.
//!
//! An [`Arena`] is a process of our own, the agent, that is process 1 of fresh PID, network, mount, IPC, UTS and
//! cgroup namespaces, and of a user namespace when cnitest is not root. Its root file system shows the host's
//! files; whatever is written goes to memory and is thrown away. Killing the agent kills everything in it, and
//! the agent dies with cnitest, however cnitest dies.
//!
//! Paths are paths inside the arena. `/run`, `/tmp`, `/var/lib/cni` and `/etc/cni` start empty.

mod agent;
pub(crate) mod codec;
mod counters;
pub mod dhcp;
mod error;
mod feature;
mod files;
mod firewall;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub(crate) mod netlink;
mod network;
mod nft;
mod operate;
mod packets;
mod pool;
mod protocol;
mod root;
pub mod snapshot;
mod start;
mod state;
pub(crate) mod sys;
mod tracking;
mod traffic;
pub(crate) mod unrest;
mod xtables;

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::invoke::Place;
pub use counters::{Counted, Hit};
pub use error::{ArenaError, Refusal};
pub use feature::Feature;
pub use network::NetOp;
pub(crate) use network::quote;
pub use packets::{Exchange, Exchanged, Listener, Transport};
pub use pool::ArenaPool;
pub use snapshot::{Difference, Scope, Snapshot, difference};
pub use start::agent_entry;
pub use tracking::Flow;
pub use unrest::Unrest;

use crate::invoke::{Execution, Invocation};
use protocol::{Reply, Request, receive};

/// A read-only view of a host directory or file inside an arena.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The directory or file on the host.
    #[serde(with = "codec::path")]
    pub source: PathBuf,
    /// Where it is seen inside the arena; absolute.
    #[serde(with = "codec::path")]
    pub target: PathBuf,
}

impl Bind {
    /// A directory or file seen at its own path.
    pub fn at_own_path(path: impl Into<PathBuf>) -> Self {
        let source = path.into();
        Self { target: source.clone(), source }
    }
}

/// A plugin that is found in `/opt/cni/bin` inside an arena.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginAlias {
    /// Its name there, or its path below that folder.
    pub name: String,
    /// The executable on the host. `/proc/self/exe` is cnitest itself.
    #[serde(with = "codec::path")]
    pub executable: PathBuf,
}

/// How to build an arena.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArenaConfig {
    /// The executable whose `main` calls [`agent_entry`]; `/proc/self/exe` when cnitest itself does.
    #[serde(with = "codec::path")]
    pub agent_executable: PathBuf,
    /// Read-only views of host directories: of those under `/tmp` or `/run`, which start empty, and of any
    /// that is to be seen elsewhere.
    pub binds: Vec<Bind>,
    /// Executables placed in [`PLUGIN_DIR`]; an alias hides a host plugin of the same name, unless a bind shows that.
    pub plugin_aliases: Vec<PluginAlias>,
    /// Bytes of memory that written files may take.
    pub storage: u64,
    /// Process ids that the arena may use at once, where the kernel can bound them (6.14 and later).
    pub process_ids: u32,
    /// Whether programs that were built with coverage are asked for their counters.
    pub coverage: bool,
    /// Whether programs may run containers of their own, as container runtimes do: root may make device nodes, and
    /// `/sys/fs/cgroup` is an empty file system, so that they find no hierarchy in which they would leave groups behind.
    pub containers: bool,
}

impl Default for ArenaConfig {
    /// cnitest itself as the agent, no binds, no aliases, 256 MiB of files, 4096 process ids, no coverage, no containers.
    fn default() -> Self {
        Self {
            agent_executable: PathBuf::from("/proc/self/exe"),
            binds: Vec::new(),
            plugin_aliases: Vec::new(),
            storage: 256 << 20,
            process_ids: 4096,
            coverage: false,
            containers: false,
        }
    }
}

/// Where [`ArenaConfig::plugin_aliases`] are found inside an arena.
pub const PLUGIN_DIR: &str = "/opt/cni/bin";

/// Where network namespaces are found inside an arena, one file each.
pub const NETNS_DIR: &str = "/run/netns";

/// An entry of a directory inside an arena.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DirEntry {
    /// Its name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// It is a directory.
    pub is_dir: bool,
}

/// Names a program started with [`Arena::start_background`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Background(u64);

/// A running arena. Dropping it ends everything in it.
///
/// Every method blocks until the agent has answered. [`ArenaError::Refused`] leaves the arena usable;
/// after any other error it is to be dropped.
#[derive(Debug)]
pub struct Arena {
    process: start::AgentProcess,
    socket: UnixStream,
    buffer: Vec<u8>,
    /// How the arena looked when it was new.
    initial: Snapshot,
    /// Nothing was asked of it since it was new that could have changed it.
    untouched: bool,
    dead: bool,
    /// The time that the socket waits for an answer.
    patience: Option<Duration>,
    /// How many snapshots were taken.
    snapshots: usize,
    /// Programs are asked for their counters.
    coverage: bool,
}

/// How long the agent may take beyond what it is asked to wait for.
const PATIENCE: Duration = Duration::from_secs(60);

impl Arena {
    /// Builds an arena.
    ///
    /// # Errors
    /// [`ArenaError::NamespacesRefused`] where the system forbids it, with what to do; [`ArenaError::Start`]
    /// where it fails for another reason.
    pub fn start(config: &ArenaConfig) -> Result<Self, ArenaError> {
        let (process, socket) = start::spawn(&config.agent_executable)?;
        let mut arena = Self {
            process,
            socket,
            buffer: Vec::new(),
            initial: Snapshot::default(),
            untouched: true,
            dead: false,
            patience: None,
            snapshots: 0,
            coverage: config.coverage,
        };
        match arena.ask(&Request::Start(config.clone()), || "build itself".to_owned(), PATIENCE) {
            Ok(Reply::Done) => {}
            Ok(Reply::NamespacesRefused { setting, fix }) => {
                return Err(ArenaError::NamespacesRefused { setting, fix });
            }
            Ok(other) => return Err(unexpected(&other)),
            Err(ArenaError::Refused(refusal)) => return Err(ArenaError::Start { what: refusal.to_string() }),
            Err(error) => return Err(error),
        }
        arena.initial = arena.take_snapshot(Scope::usual())?;
        Ok(arena)
    }

    /// How the arena looked when it was new, but for sysctls.
    pub fn initial(&self) -> &Snapshot {
        &self.initial
    }

    /// Process id of the outermost process of the arena, as the host sees it.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Makes a network namespace; its loopback link is down, as the kernel makes it. Returns its path.
    pub fn create_netns(&mut self, name: &str) -> Result<PathBuf, ArenaError> {
        self.make_netns(name, false)
    }

    /// Makes a network namespace that is a file and nothing else: for thousands of them. It is no [`Place`], so that snapshots
    /// do not show it and nothing can be changed in it but by plugins.
    pub fn create_bare_netns(&mut self, name: &str) -> Result<PathBuf, ArenaError> {
        self.make_netns(name, true)
    }

    fn make_netns(&mut self, name: &str, bare: bool) -> Result<PathBuf, ArenaError> {
        let request = Request::CreateNetns(name.to_owned(), bare);
        match self.change(&request, || format!("make namespace {name}"))? {
            Reply::Path(path) => Ok(path),
            other => Err(unexpected(&other)),
        }
    }

    /// Removes a network namespace made with [`Self::create_netns`], whether or not its file is still there.
    pub fn delete_netns(&mut self, name: &str) -> Result<(), ArenaError> {
        self.change_only(&Request::DeleteNetns(name.to_owned()), || format!("remove namespace {name}"))
    }

    /// Runs one program to its end.
    pub fn execute(&mut self, invocation: &Invocation) -> Result<Execution, ArenaError> {
        let mut executions = self.execute_all(std::slice::from_ref(invocation))?;
        executions.pop().ok_or_else(|| ArenaError::Message {
            what: "decode",
            reason: "the agent answered an execution without its result".to_owned(),
        })
    }

    /// Runs these programs at the same time, each to its end; results in the order of `invocations`.
    ///
    /// With more than one, all are started before any is given its stdin.
    pub fn execute_all(&mut self, invocations: &[Invocation]) -> Result<Vec<Execution>, ArenaError> {
        self.untouched = false;
        let what = || match invocations {
            [one] => format!("run {}", one.program.display()),
            all => format!("run {} programs", all.len()),
        };
        let longest = invocations.iter().map(|i| i.timeout).max().unwrap_or_default();
        let mut asked = invocations.to_vec();
        if self.coverage {
            let variables = || counters::VARIABLES.map(|(name, value)| (name.into(), value.into()));
            asked.iter_mut().for_each(|invocation| invocation.environment.extend(variables()));
        }
        match self.ask(&Request::Execute(asked), what, longest.saturating_add(PATIENCE))? {
            Reply::Executions(executions) if executions.len() == invocations.len() => Ok(executions),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs these programs one after another, each to its end, without a word between them. Those after one that ran into
    /// its deadline are not run: there are fewer results than `invocations` then, and at least one.
    pub fn execute_each(&mut self, invocations: Vec<Invocation>) -> Result<Vec<Execution>, ArenaError> {
        self.untouched = false;
        let count = invocations.len();
        // All but the last end in time, or the last is not run.
        let longest: Duration = invocations.iter().map(|invocation| invocation.timeout).sum();
        let what = || format!("run {count} programs one after another");
        let request = Request::ExecuteEach(invocations);
        match self.ask(&request, what, longest.saturating_add(PATIENCE))? {
            Reply::Executions(executions)
                if executions.len() <= count && executions.is_empty() == (count == 0) =>
            {
                Ok(executions)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Starts these programs beside those that earlier calls started, and waits until any of them all has ended, at most
    /// `patience`. Returns every one that has ended since the last call, under the number that it was given; numbers of
    /// programs under way must differ.
    ///
    /// [`Execution::left_behind`] stays empty, since other programs are running: [`Self::kill_left_overs`] tells afterwards.
    pub fn advance(
        &mut self,
        starts: Vec<(u64, Invocation)>,
        patience: Duration,
    ) -> Result<Vec<(u64, Execution)>, ArenaError> {
        self.untouched = false;
        let what = || "run programs side by side".to_owned();
        match self.ask(&Request::Advance(starts, patience), what, patience.saturating_add(PATIENCE))? {
            Reply::Ended(ended) => Ok(ended),
            other => Err(unexpected(&other)),
        }
    }

    /// What programs that were built with coverage counted since this was last asked for: nothing, where
    /// [`ArenaConfig::coverage`] does not ask for it. Programs that were killed count nothing.
    pub fn take_counters(&mut self) -> Result<Counted, ArenaError> {
        if !self.coverage {
            return Ok(Counted::default());
        }
        match self
            .observe(&Request::TakeCounters, || "read the counters of a plugin's coverage".to_owned())?
        {
            Reply::Counted(counted) => Ok(counted),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a program that keeps running beside later executions, such as a DHCP server. It has no deadline.
    pub fn start_background(&mut self, invocation: &Invocation) -> Result<Background, ArenaError> {
        let request = Request::StartBackground(Box::new(invocation.clone()));
        match self.change(&request, || format!("start {}", invocation.program.display()))? {
            Reply::Background(id) => Ok(Background(id)),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a program started with [`Self::start_background`] and everything that it started: SIGTERM first,
    /// SIGKILL after a moment. The outcome is how it had ended by itself, if it had.
    pub fn stop_background(&mut self, background: Background) -> Result<Execution, ArenaError> {
        match self
            .change(&Request::StopBackground(background.0), || "stop a background program".to_owned())?
        {
            Reply::Executions(mut executions) if executions.len() == 1 => Ok(executions.remove(0)),
            other => Err(unexpected(&other)),
        }
    }

    /// Looks at the arena.
    pub fn snapshot(&mut self, scope: Scope) -> Result<Snapshot, ArenaError> {
        self.take_snapshot(scope)
    }

    /// Changes the network of a place.
    pub fn network(&mut self, place: &Place, op: &NetOp) -> Result<(), ArenaError> {
        self.change_only(&Request::Network(place.clone(), op.clone()), || op.shell(place))
    }

    /// Has a message sent from one place to another, and tells what came of it.
    pub fn exchange(&mut self, exchange: &Exchange) -> Result<Exchanged, ArenaError> {
        let what = || format!("send {} packets to {}", exchange.transport, exchange.destination);
        match self.change(&Request::Exchange(exchange.clone()), what)? {
            Reply::Exchanged(exchanged) => Ok(exchanged),
            other => Err(unexpected(&other)),
        }
    }

    /// Leaves room for this many blocks (of 4 KiB, on most machines) wherever files can be written, or the usual room
    /// again: a full disk.
    ///
    /// # Errors
    /// [`ArenaError::Refused`] where the kernel cannot bound a file system that is in use.
    pub fn leave_room(&mut self, blocks: Option<u64>) -> Result<(), ArenaError> {
        self.change_only(&Request::LeaveRoom(blocks), || "bound what can be written".to_owned())
    }

    /// Has links and addresses of a place come and go until [`Self::stop_unrest`], among so many others that a netlink
    /// dump takes several reads.
    pub fn start_unrest(&mut self, place: &Place) -> Result<(), ArenaError> {
        self.change_only(&Request::StartUnrest(place.clone()), || format!("bring unrest to {place}"))
    }

    /// Ends it, and tells what came of it. Links and addresses are left.
    pub fn stop_unrest(&mut self) -> Result<Unrest, ArenaError> {
        match self.change(&Request::StopUnrest, || "end the unrest".to_owned())? {
            Reply::Unrest(unrest) => Ok(unrest),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the kernel track a UDP flow in a place, as if its packets had come by.
    pub fn track(&mut self, place: &Place, flow: &Flow) -> Result<(), ArenaError> {
        self.change_only(&Request::Track(place.clone(), *flow), || format!("track {flow}"))
    }

    /// The UDP flows that the kernel tracks in a place.
    pub fn tracked(&mut self, place: &Place) -> Result<Vec<Flow>, ArenaError> {
        match self.observe(&Request::Tracked(place.clone()), || format!("list the flows of {place}"))? {
            Reply::Flows(flows) => Ok(flows),
            other => Err(unexpected(&other)),
        }
    }

    /// Reads a whole file.
    pub fn read_file(&mut self, path: impl AsRef<Path>) -> Result<Vec<u8>, ArenaError> {
        let path = path.as_ref();
        match self.observe(&Request::ReadFile(path.to_owned()), || format!("read {}", path.display()))? {
            Reply::Bytes(bytes) => Ok(bytes),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes a file with these permission bits, making missing directories; an existing file is replaced.
    pub fn write_file(
        &mut self,
        path: impl AsRef<Path>,
        content: impl AsRef<[u8]>,
        mode: u32,
    ) -> Result<(), ArenaError> {
        let path = path.as_ref();
        let request = Request::WriteFile { path: path.to_owned(), content: content.as_ref().to_vec(), mode };
        self.change_only(&request, || format!("write {}", path.display()))
    }

    /// Removes a file, or a directory with all that is in it; nothing there is not an error.
    pub fn remove_path(&mut self, path: impl AsRef<Path>) -> Result<(), ArenaError> {
        let path = path.as_ref();
        self.change_only(&Request::RemovePath(path.to_owned()), || format!("remove {}", path.display()))
    }

    /// Entries of a directory, sorted by name.
    pub fn list_dir(&mut self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>, ArenaError> {
        let path = path.as_ref();
        match self.observe(&Request::ListDir(path.to_owned()), || format!("list {}", path.display()))? {
            Reply::Entries(entries) => Ok(entries),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a directory with these permission bits, and its parents; one that exists is given the bits.
    pub fn make_dir(&mut self, path: impl AsRef<Path>, mode: u32) -> Result<(), ArenaError> {
        let path = path.as_ref();
        self.change_only(&Request::MakeDir(path.to_owned(), mode), || {
            format!("make directory {}", path.display())
        })
    }

    /// Makes a symbolic link at `path` that points at `target`, making missing directories.
    pub fn make_symlink(
        &mut self,
        target: impl AsRef<Path>,
        path: impl AsRef<Path>,
    ) -> Result<(), ArenaError> {
        let (target, path) = (target.as_ref().to_owned(), path.as_ref().to_owned());
        let what = format!("link {}", path.display());
        self.change_only(&Request::MakeSymlink { target, path }, || what.clone())
    }

    /// Sets a value under `/proc/sys/net` of a place: `name` relative to `/proc/sys`, e.g. `net/ipv4/ip_forward`.
    pub fn set_sysctl(&mut self, place: &Place, name: &str, value: &str) -> Result<(), ArenaError> {
        let request =
            Request::SetSysctl { place: place.clone(), name: name.to_owned(), value: value.to_owned() };
        self.change_only(&request, || format!("set {name} of {place}"))
    }

    /// Reads a value under `/proc/sys/net` of a place, without its final newline.
    pub fn sysctl(&mut self, place: &Place, name: &str) -> Result<String, ArenaError> {
        let request = Request::GetSysctl { place: place.clone(), name: name.to_owned() };
        match self.observe(&request, || format!("read {name} of {place}"))? {
            Reply::Text(text) => Ok(text),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a host program such as `["nft", "flush", "ruleset"]`, found through the usual directories.
    pub fn run_tool(&mut self, argv: &[&str]) -> Result<Execution, ArenaError> {
        let (name, args) = argv
            .split_first()
            .ok_or_else(|| ArenaError::Refused(Refusal::new("run a program", "no program is named")))?;
        let Some(program) = self.find_program(name)? else {
            return Ok(Execution::not_started(libc::ENOENT, format!("{name} is not installed")));
        };
        let invocation = Invocation::new(program).args(args).env("PATH", SEARCH_PATH);
        self.execute(&invocation)
    }

    /// Whether the kernel can make a link of this kind, found out by making one in a scratch namespace.
    pub fn probe_link_kind(&mut self, kind: &str) -> Result<bool, ArenaError> {
        match self.observe(&Request::ProbeLinkKind(kind.to_owned()), || format!("probe {kind}"))? {
            Reply::Truth(truth) => Ok(truth),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether the kernel knows queueing disciplines of this kind, found out in a scratch namespace.
    pub fn probe_qdisc_kind(&mut self, kind: &str) -> Result<bool, ArenaError> {
        match self.observe(&Request::ProbeQdiscKind(kind.to_owned()), || format!("probe {kind}"))? {
            Reply::Truth(truth) => Ok(truth),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether the kernel has a feature, found out in a scratch namespace.
    pub fn probe_feature(&mut self, feature: Feature) -> Result<bool, ArenaError> {
        match self.observe(&Request::ProbeFeature(feature), || format!("probe {}", feature.describe()))? {
            Reply::Truth(truth) => Ok(truth),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the PCI bus hold a device of this address, to which a link belongs, until the next [`Self::reset`]. The real
    /// devices are not seen meanwhile.
    ///
    /// # Errors
    /// [`ArenaError::Refused`] where the kernel has no PCI bus.
    pub fn add_pci_device(&mut self, address: &str, link: &str) -> Result<(), ArenaError> {
        let request = Request::AddPciDevice { address: address.to_owned(), link: link.to_owned() };
        self.change_only(&request, || format!("have {link} be the PCI device {address}"))
    }

    /// Whether a program of this name is installed in one of the usual directories.
    pub fn has_program(&mut self, name: &str) -> Result<bool, ArenaError> {
        Ok(self.find_program(name)?.is_some())
    }

    /// The path of an installed program.
    pub fn find_program(&mut self, name: &str) -> Result<Option<PathBuf>, ArenaError> {
        match self.observe(&Request::HasProgram(name.to_owned()), || format!("look for {name}"))? {
            Reply::Program(path) => Ok(path),
            other => Err(unexpected(&other)),
        }
    }

    /// Kills every process but background ones; returns the command names of those that were there, sorted.
    pub fn kill_left_overs(&mut self) -> Result<Vec<String>, ArenaError> {
        self.kill(false)
    }

    /// Kills every process, background ones too; returns the command names of those that were there, sorted.
    pub fn kill_all(&mut self) -> Result<Vec<String>, ArenaError> {
        self.kill(true)
    }

    fn kill(&mut self, background_too: bool) -> Result<Vec<String>, ArenaError> {
        let request = Request::KillLeftOvers { background_too };
        match self.change(&request, || "kill what is left".to_owned())? {
            Reply::Names(names) => Ok(names),
            other => Err(unexpected(&other)),
        }
    }

    /// Does what a machine that stops without notice and starts again does: every process ends, background ones too, all
    /// namespaces and mounts have gone, the host's namespace is fresh, and `/run` and `/dev/shm` are empty. Other files stay.
    pub fn reboot(&mut self) -> Result<(), ArenaError> {
        self.change_only(&Request::Reboot, || "reboot".to_owned())
    }

    /// Brings the arena back to how it was when new: ends every process, background ones too, removes the
    /// namespaces and files that were made, and gives the host a fresh network namespace. Returns whether it is
    /// as new; it is not where files of the host were changed or removed. Costs nothing when nothing happened.
    pub fn reset(&mut self) -> Result<bool, ArenaError> {
        if self.untouched {
            return Ok(true);
        }
        self.change_only(&Request::Reset, || "reset".to_owned())?;
        self.untouched = self.is_pristine()?;
        Ok(self.untouched)
    }

    /// Whether the arena looks as it did when it was new: network, firewall, files and processes, not sysctls.
    pub fn is_pristine(&mut self) -> Result<bool, ArenaError> {
        if self.untouched {
            return Ok(true);
        }
        let now = self.take_snapshot(Scope::usual())?;
        Ok(difference(&self.initial, &now).is_empty())
    }

    fn take_snapshot(&mut self, scope: Scope) -> Result<Snapshot, ArenaError> {
        match self.observe(&Request::Snapshot(scope), || "take a snapshot".to_owned())? {
            Reply::Snapshot(snapshot) => {
                self.snapshots += 1;
                Ok(Snapshot { number: self.snapshots - 1, ..*snapshot })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// A request that changes nothing.
    fn observe(&mut self, request: &Request, what: impl Fn() -> String) -> Result<Reply, ArenaError> {
        self.ask(request, what, PATIENCE)
    }

    fn change(&mut self, request: &Request, what: impl Fn() -> String) -> Result<Reply, ArenaError> {
        self.untouched = false;
        self.ask(request, what, PATIENCE)
    }

    fn change_only(&mut self, request: &Request, what: impl Fn() -> String) -> Result<(), ArenaError> {
        match self.change(request, what)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(
        &mut self,
        request: &Request,
        what: impl Fn() -> String,
        patience: Duration,
    ) -> Result<Reply, ArenaError> {
        if self.dead {
            return Err(ArenaError::Died { what: what() });
        }
        let answer = self.converse(request, &what, patience);
        match answer {
            Ok(Reply::Refused(refusal)) => Err(ArenaError::Refused(refusal)),
            Ok(reply) => Ok(reply),
            Err(error) => {
                self.dead = true;
                Err(error)
            }
        }
    }

    fn converse(
        &mut self,
        request: &Request,
        what: &impl Fn() -> String,
        patience: Duration,
    ) -> Result<Reply, ArenaError> {
        let socket_failed = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                ArenaError::Died { what: what() }
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ArenaError::Unresponsive { what: what(), after: patience }
            }
            io::ErrorKind::InvalidData => ArenaError::Message { what: "decode", reason: error.to_string() },
            _ => ArenaError::Socket { what: what(), source: error },
        };
        let bytes = protocol::encode(request, std::mem::take(&mut self.buffer))
            .map_err(|error| ArenaError::Message { what: "encode", reason: error.to_string() })?;
        let sent = self.socket.write_all(&bytes);
        self.buffer = bytes;
        sent.map_err(socket_failed)?;
        if self.patience != Some(patience) {
            self.socket.set_read_timeout(Some(patience)).map_err(socket_failed)?;
            self.patience = Some(patience);
        }
        receive(&mut self.socket, &mut self.buffer).map_err(socket_failed)
    }
}

/// Ends the arena, and waits until everything in it has ended.
impl Drop for Arena {
    fn drop(&mut self) {
        // The agent may be gone already.
        let _ = self.socket.shutdown(Shutdown::Both);
        self.process.end();
    }
}

/// The `PATH` of tools, and where programs are looked for.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn unexpected(reply: &Reply) -> ArenaError {
    let mut text = format!("{reply:?}");
    text.truncate(text.floor_char_boundary(80));
    ArenaError::Message { what: "decode", reason: format!("the agent's answer does not fit: {text}") }
}
