//! Starting a program without copying the starter: clone(2) with `CLONE_VM` and `CLONE_VFORK`, as posix_spawn(3)
//! does it, and with what posix_spawn cannot do: a process group, resource limits, a network namespace.

use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use super::{Invocation, Limits};
use crate::arena::sys;

/// Bytes of stack of the child until it executes the program: it calls a dozen system calls and nothing else.
const STACK: usize = 64 << 10;

/// How far the child got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Clone,
    Descriptors,
    Namespace,
    Directory,
    Limits,
    Execute,
}

/// Why no program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpawnError {
    pub(crate) step: Step,
    pub(crate) errno: c_int,
}

/// A started program.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: libc::pid_t,
    pub(crate) descriptor: OwnedFd,
}

/// The descriptors that become 0, 1 and 2 of a program.
pub(crate) struct Descriptors<'a> {
    /// None closes descriptor 0.
    pub(crate) stdin: Option<BorrowedFd<'a>>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
}

/// Starts programs. Every descriptor of this process above 2 must be closed on exec; those that last are best
/// [set aside](sys::set_aside).
#[derive(Debug)]
pub(crate) struct Spawner {
    stack: Vec<u128>,
    /// What this process may raise its limits to.
    hard: Vec<(c_int, libc::rlim_t)>,
}

/// What failed.
#[derive(Clone, Copy, Debug)]
struct Failure {
    step: Step,
    errno: c_int,
}

/// What the child reads; it runs in the parent's memory while the parent waits.
struct Child {
    program: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    directory: *const c_char,
    limits: *const (c_int, libc::rlim_t),
    limit_count: usize,
    namespace: RawFd,
    descriptors: [RawFd; 3],
    /// No descriptor from here on is of any use to the program.
    beyond: RawFd,
    failure: *mut Failure,
}

impl Spawner {
    pub(crate) fn new() -> Self {
        let hard =
            [libc::RLIMIT_AS, libc::RLIMIT_NOFILE, libc::RLIMIT_NPROC, libc::RLIMIT_FSIZE, libc::RLIMIT_CORE]
                .into_iter()
                .map(|resource| {
                    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
                    // SAFETY: `limit` is a valid rlimit that outlives the call.
                    unsafe { libc::getrlimit(resource as _, &raw mut limit) };
                    (resource as c_int, limit.rlim_max)
                })
                .collect();
        Self { stack: vec![0; STACK / size_of::<u128>()], hard }
    }

    /// Starts the program of `invocation` in the network namespace `namespace` (the current one if none).
    /// Returns once the program runs, or could not be run.
    pub(crate) fn spawn(
        &mut self,
        invocation: &Invocation,
        namespace: Option<BorrowedFd<'_>>,
        descriptors: &Descriptors<'_>,
    ) -> Result<Started, SpawnError> {
        let text = |text: &OsStr| {
            CString::new(text.as_bytes()).map_err(|_| SpawnError { step: Step::Execute, errno: libc::EINVAL })
        };
        let program = text(invocation.program.as_os_str())?;
        let directory = text(invocation.working_directory.as_os_str())?;
        let arguments = invocation.args.iter().map(|arg| text(arg)).collect::<Result<Vec<_>, _>>()?;
        let environment = invocation
            .environment
            .iter()
            .map(|(name, value)| {
                let mut all = name.clone();
                all.push("=");
                all.push(value);
                text(&all)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let argument_pointers: Vec<*const c_char> = std::iter::once(program.as_ptr())
            .chain(arguments.iter().map(|arg| arg.as_ptr()))
            .chain([std::ptr::null()])
            .collect();
        let environment_pointers: Vec<*const c_char> =
            environment.iter().map(|entry| entry.as_ptr()).chain([std::ptr::null()]).collect();
        let limits = self.limits(&invocation.limits);
        let descriptors = [
            descriptors.stdin.map_or(-1, |descriptor| descriptor.as_raw_fd()),
            descriptors.stdout.as_raw_fd(),
            descriptors.stderr.as_raw_fd(),
        ];
        let mut failure = Failure { step: Step::Clone, errno: 0 };
        let mut child = Child {
            program: program.as_ptr(),
            arguments: argument_pointers.as_ptr(),
            environment: environment_pointers.as_ptr(),
            directory: directory.as_ptr(),
            limits: limits.as_ptr(),
            limit_count: limits.len(),
            namespace: namespace.map_or(-1, |descriptor| descriptor.as_raw_fd()),
            beyond: descriptors.into_iter().fold(sys::ASIDE, |beyond, descriptor| beyond.max(descriptor + 1)),
            descriptors,
            failure: &raw mut failure,
        };
        let mut process_descriptor: c_int = -1;
        let flags =
            libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: the stack is as long as its vector and grows down from its end; the kernel keeps this thread,
        // the only user of the memory that the child touches, waiting until the child has executed the program
        // or exited. `child` and what it points to live until then. The process has no signal handlers that could run in
        // the child.
        let pid = unsafe {
            libc::clone(
                run_child,
                self.stack.as_mut_ptr().add(self.stack.len()).cast::<c_void>(),
                flags,
                (&raw mut child).cast::<c_void>(),
                &raw mut process_descriptor,
            )
        };
        if pid < 0 {
            let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EAGAIN);
            return Err(SpawnError { step: Step::Clone, errno });
        }
        // SAFETY: the child, which has written to it or not, has gone or executed the program.
        let Failure { step, errno } = unsafe { (&raw const failure).read_volatile() };
        let descriptor = sys::owned(process_descriptor)
            .map_err(|_| SpawnError { step: Step::Clone, errno: libc::EMFILE })?;
        if errno != 0 {
            let mut status = 0;
            // SAFETY: a plain wait for our own child, which has exited; `status` outlives the call.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            return Err(SpawnError { step, errno });
        }
        Ok(Started { pid, descriptor })
    }

    fn limits(&self, limits: &Limits) -> Vec<(c_int, libc::rlim_t)> {
        [limits.address_space, limits.open_files, limits.processes, limits.file_size, limits.core]
            .into_iter()
            .zip(&self.hard)
            .filter_map(|(wanted, (resource, hard))| Some((*resource, wanted?.min(*hard))))
            .collect()
    }
}

/// The child until it executes the program: system calls only, no allocation, no unwinding.
extern "C" fn run_child(argument: *mut c_void) -> c_int {
    let child = argument.cast::<Child>();
    // SAFETY: the argument is the `Child` of the waiting parent, which nothing else touches meanwhile; every
    // pointer in it is valid, every call below is async-signal-safe and changes this process only.
    unsafe {
        let fail = |step: Step| {
            (*child).failure.write_volatile(Failure { step, errno: *libc::__errno_location() });
            libc::_exit(127)
        };
        libc::setpgid(0, 0);
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        if (*child).namespace >= 0 && libc::setns((*child).namespace, libc::CLONE_NEWNET) < 0 {
            fail(Step::Namespace);
        }
        // The descriptors are the parent's until here: from now on this process has its own. Kernels before 5.9 copy all.
        let beyond = (*child).beyond;
        if libc::syscall(libc::SYS_close_range, beyond, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) < 0
            && libc::unshare(libc::CLONE_FILES) < 0
        {
            fail(Step::Descriptors);
        }
        for (number, descriptor) in (0..).zip((*child).descriptors) {
            if descriptor < 0 {
                libc::close(number);
            } else if libc::dup2(descriptor, number) < 0 {
                fail(Step::Descriptors);
            }
        }
        if libc::chdir((*child).directory) < 0 {
            fail(Step::Directory);
        }
        for index in 0..(*child).limit_count {
            let (resource, value) = *(*child).limits.add(index);
            let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
            if libc::setrlimit(resource as _, &raw const limit) < 0 {
                fail(Step::Limits);
            }
        }
        libc::execve((*child).program, (*child).arguments, (*child).environment);
        fail(Step::Execute);
    }
    127
}
