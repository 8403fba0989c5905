//! Starting an arena: from cnitest's side, and from the side of the process that becomes its agent.
//!
//! Three processes: cnitest; the outer process, which makes the namespaces and only waits; and the agent,
//! which is process 1 inside them. The agent ends when the control socket ends or the outer process dies; the
//! outer process dies with cnitest.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, getegid, geteuid, getppid, setsid};

use super::protocol::{Reply, Request, receive, send};
use super::{ArenaConfig, ArenaError, agent, dhcp, sys};

/// The first argument that makes an executable the agent of an arena.
pub(super) const AGENT_ARGUMENT: &str = "__arena-agent";

/// How long an arena may take to end by itself.
const END: Duration = Duration::from_secs(5);

/// The outer process of an arena.
#[derive(Debug)]
pub(super) struct AgentProcess {
    child: Child,
}

impl AgentProcess {
    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until everything in the arena has ended; kills it when that takes too long. The control socket
    /// must have been shut down.
    pub(super) fn end(&mut self) {
        let ended = sys::process_descriptor(self.child.id())
            .and_then(|descriptor| sys::wait_readable(descriptor.as_fd(), END));
        if !matches!(ended, Ok(true)) {
            // It is our own child and not yet waited for: its id is still its own.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

type Job = (Command, Sender<io::Result<Child>>);

/// The thread that starts outer processes. The kernel sends a parent-death signal when the *thread* that made
/// the child ends, so that a thread which lasts as long as cnitest makes them all.
fn starter() -> Result<Sender<Job>, ArenaError> {
    static STARTER: OnceLock<Mutex<Option<Sender<Job>>>> = OnceLock::new();
    let cell = STARTER.get_or_init(|| Mutex::new(None));
    let mut guard = cell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(sender) = guard.as_ref() {
        return Ok(sender.clone());
    }
    let (sender, jobs): (Sender<Job>, Receiver<Job>) = channel();
    std::thread::Builder::new()
        .name("arena-starter".to_owned())
        .spawn(move || {
            for (mut command, answer) in jobs {
                // The asker may be gone only if it panicked; then the child sees its socket end.
                let _ = answer.send(command.spawn());
            }
        })
        .map_err(|error| ArenaError::Start { what: format!("no thread to start it from: {error}") })?;
    *guard = Some(sender.clone());
    Ok(sender)
}

/// Starts the outer process; the socket speaks to it and then to the agent.
pub(super) fn spawn(executable: &Path) -> Result<(AgentProcess, UnixStream), ArenaError> {
    let failed = |what: &str, error: &io::Error| ArenaError::Start { what: format!("{what}: {error}") };
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed("no socket pair", &error))?;
    let mut command = Command::new(executable);
    command
        .arg(AGENT_ARGUMENT)
        .arg(std::process::id().to_string())
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        // The keys of a terminal reach cnitest only, which then ends what is under way.
        .process_group(0);
    let (answer, child) = channel();
    starter()?
        .send((command, answer))
        .map_err(|_| ArenaError::Start { what: "the thread that starts arenas has ended".to_owned() })?;
    let child = child
        .recv()
        .map_err(|_| ArenaError::Start { what: "the thread that starts arenas has ended".to_owned() })?
        .map_err(|error| failed(&format!("cannot start {}", executable.display()), &error))?;
    Ok((AgentProcess { child }, ours))
}

/// Becomes the agent of an arena, or a server in one, when this process was started as one, and then never returns;
/// returns at once otherwise. To be called first thing in `main`, while there is one thread.
pub fn agent_entry() {
    dhcp::entry();
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(AGENT_ARGUMENT)) {
        return;
    }
    let parent = arguments.next().and_then(|text| text.to_str()?.parse::<i32>().ok());
    std::process::exit(outer(parent))
}

/// The outer process. Its exit status is for nobody: what goes wrong is said over the socket.
fn outer(parent: Option<i32>) -> i32 {
    let Ok(mut socket) = take_control_socket() else { return 2 };
    if set_pdeathsig(Signal::SIGKILL).is_err() || parent != Some(getppid().as_raw()) {
        return 2;
    }
    let Ok(Request::Start(config)) = receive::<Request>(&mut socket, &mut Vec::new()) else { return 2 };
    match enter_namespaces() {
        Ok(()) => {}
        Err((setting, fix)) => {
            let _ = send(&mut socket, &Reply::NamespacesRefused { setting, fix });
            return 1;
        }
    }
    // Making a user namespace may have cleared it.
    if set_pdeathsig(Signal::SIGKILL).is_err() {
        return 2;
    }
    start_agent(socket, &config)
}

/// Moves the control socket from descriptor 0 to one that is closed on exec; 0 becomes /dev/null.
fn take_control_socket() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: both descriptors are open; descriptor 0 is not owned by any Rust object.
    if unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    sys::close_all_on_exec()?;
    Ok(UnixStream::from(socket))
}

/// Forks; the child is the agent, the parent waits for it.
fn start_agent(socket: UnixStream, config: &ArenaConfig) -> i32 {
    // SAFETY: this process has one thread, so that the child may do anything.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            // As process 1 it cannot see whether its parent still lives; the socket's end covers the rest.
            let _ = set_pdeathsig(Signal::SIGKILL);
            // Programs have no terminal: neither its keys reach them, nor do they reach it.
            let _ = setsid();
            agent::run(socket, config)
        }
        Ok(ForkResult::Parent { child }) => {
            drop(socket);
            loop {
                match waitpid(child, None) {
                    Ok(WaitStatus::Exited(_, status)) => return status,
                    Ok(WaitStatus::Signaled(..)) => return 2,
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(_) => return 2,
                }
            }
        }
        Err(_) => 2,
    }
}

/// A refusal: the setting that forbids namespaces, and the fix.
type Forbidden = (String, String);

fn enter_namespaces() -> Result<(), Forbidden> {
    let all = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    if geteuid().is_root() {
        match unshare(all) {
            Ok(()) => return Ok(()),
            // Root without CAP_SYS_ADMIN, as in most containers: a user namespace may still be allowed.
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(diagnose("unshare(2)", errno)),
        }
    }
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| diagnose("unshare(CLONE_NEWUSER)", errno))?;
    // Kernels before 3.19 lack the file; all others need `deny` before an ordinary user writes gid_map.
    match std::fs::write("/proc/self/setgroups", "deny") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(diagnose("/proc/self/setgroups", errno_of(&error)));
        }
        _ => {}
    }
    for (file, id) in [("uid_map", user.as_raw()), ("gid_map", group.as_raw())] {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, format!("0 {id} 1")).map_err(|error| diagnose(&path, errno_of(&error)))?;
    }
    unshare(all).map_err(|errno| diagnose("unshare(2) in a user namespace", errno))
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Says which setting refused `step`, and what to do.
fn diagnose(step: &str, errno: Errno) -> Forbidden {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).ok();
    explain_refusal(step, errno, geteuid().is_root(), &read)
}

/// [`diagnose`], with the values of sysctls given.
fn explain_refusal(
    step: &str,
    errno: Errno,
    root: bool,
    sysctl: &dyn Fn(&str) -> Option<String>,
) -> Forbidden {
    let is = |name: &str, value: &str| sysctl(name).is_some_and(|text| text.trim() == value);
    if errno == Errno::ENOSPC || is("user/max_user_namespaces", "0") {
        for kind in ["user", "net", "mnt", "pid", "ipc", "uts", "cgroup"] {
            if is(&format!("user/max_{kind}_namespaces"), "0") {
                return (
                    format!("the sysctl user.max_{kind}_namespaces is 0"),
                    format!(
                        "run `sysctl -w user.max_{kind}_namespaces=10000` as root, or run cnitest as root"
                    ),
                );
            }
        }
        if errno == Errno::ENOSPC {
            return (
                format!("{step}: the limit on the number of namespaces is reached"),
                "raise the sysctls user.max_*_namespaces, or use fewer jobs".to_owned(),
            );
        }
    }
    if !root && is("kernel/unprivileged_userns_clone", "0") {
        return (
            "the sysctl kernel.unprivileged_userns_clone is 0".to_owned(),
            "run `sysctl -w kernel.unprivileged_userns_clone=1` as root, or run cnitest as root".to_owned(),
        );
    }
    if !root && is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        return (
            "the sysctl kernel.apparmor_restrict_unprivileged_userns is 1".to_owned(),
            "run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root, give cnitest an AppArmor \
             profile that allows `userns`, or run cnitest as root"
                .to_owned(),
        );
    }
    if errno == Errno::EINVAL {
        return (
            format!("{step}: the kernel was built without a kind of namespace"),
            "use a kernel with user, PID, network, mount, IPC, UTS and cgroup namespaces".to_owned(),
        );
    }
    (
        format!("{step}: {}", errno.desc()),
        "in a container, give it CAP_SYS_ADMIN and a seccomp profile that allows unshare(2) and mount(2), such as \
         `--privileged`; elsewhere, run cnitest as root"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(errno: Errno, root: bool, values: &[(&str, &str)]) -> Forbidden {
        let values: Vec<(String, String)> =
            values.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        explain_refusal("unshare(2)", errno, root, &move |name| {
            values.iter().find(|(n, _)| n == name).map(|(_, v)| format!("{v}\n"))
        })
    }

    #[test]
    fn each_setting_is_named() {
        let (setting, fix) = explain(Errno::ENOSPC, false, &[("user/max_user_namespaces", "0")]);
        assert!(setting.contains("user.max_user_namespaces"), "{setting}");
        assert!(fix.contains("sysctl -w user.max_user_namespaces="), "{fix}");
        let (setting, _) = explain(Errno::ENOSPC, false, &[("user/max_net_namespaces", "0")]);
        assert!(setting.contains("user.max_net_namespaces"), "{setting}");
        let (setting, _) = explain(Errno::ENOSPC, false, &[("user/max_user_namespaces", "100")]);
        assert!(setting.contains("limit"), "{setting}");
        let (setting, _) = explain(Errno::EPERM, false, &[("kernel/unprivileged_userns_clone", "0")]);
        assert!(setting.contains("unprivileged_userns_clone"), "{setting}");
        let (setting, _) =
            explain(Errno::EACCES, false, &[("kernel/apparmor_restrict_unprivileged_userns", "1")]);
        assert!(setting.contains("apparmor"), "{setting}");
        let (setting, fix) = explain(Errno::EPERM, true, &[("kernel/unprivileged_userns_clone", "0")]);
        assert!(!setting.contains("unprivileged_userns_clone"), "root is not bound by it: {setting}");
        assert!(fix.contains("CAP_SYS_ADMIN"), "{fix}");
    }

    #[test]
    fn an_ordinary_process_is_not_the_agent() {
        agent_entry();
    }
}
