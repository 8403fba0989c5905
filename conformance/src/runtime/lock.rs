//! Locks between processes: no two operations on one container (`runtime.no-parallel-same-container`), and GC alone
//! (`gc.runtime-exclusive`).
//!
//! A lock is a flock(2) on a file. The plugins inherit its descriptor: when the runtime dies, the lock stays until the
//! plugin that it was executing has ended too, so that a DEL never runs beside an ADD that nobody waits for.
//! A runtime that lives gives the lock back itself, whatever a plugin has left running.
//! The file is removed with the lock by the last who holds it; one that a killed runtime left is taken over or swept.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};

use super::error::LockError;

/// Who may hold a lock beside us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Others who share it.
    Shared,
    /// Nobody.
    Exclusive,
}

/// The folder of the locks.
#[derive(Debug, Clone)]
pub(super) struct Locks {
    folder: PathBuf,
}

/// A lock that is held. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Held {
    lock: Option<Flock<File>>,
    path: PathBuf,
}

/// The longest pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

impl Locks {
    pub(super) fn new(folder: PathBuf) -> Locks {
        Locks { folder }
    }

    /// The lock of one container, for any network.
    pub(super) fn container(&self, container_id: &str, deadline: Instant) -> Result<Held, LockError> {
        let what = format!("container {container_id}");
        self.take(&format!("container-{container_id}"), &what, Sharing::Exclusive, deadline)
    }

    /// The lock of all operations of this cache, which GC holds alone.
    pub(super) fn operations(&self, sharing: Sharing, deadline: Instant) -> Result<Held, LockError> {
        // Whoever waits to be alone keeps the gate shut, so that newcomers cannot starve it.
        let gate = self.take("gate", "the runtime", Sharing::Exclusive, deadline)?;
        let held = self.take("operations", "the runtime", sharing, deadline);
        drop(gate);
        held
    }

    fn take(&self, name: &str, what: &str, sharing: Sharing, deadline: Instant) -> Result<Held, LockError> {
        let path = self.folder.join(name);
        let failed = |source: io::Error| LockError::Io { path: path.clone(), source };
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(lock) = attempt(&self.folder, &path, sharing).map_err(failed)? {
                fcntl(&*lock, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|errno| failed(errno.into()))?;
                return Ok(Held { lock: Some(lock), path });
            }
            if Instant::now() >= deadline {
                return Err(LockError::Busy { what: what.to_owned(), path, waited: began.elapsed() });
            }
            std::thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now())));
            pause = (pause * 2).min(PAUSE);
        }
    }

    /// Removes the lock files that killed runtimes left and nobody holds.
    pub(super) fn sweep(&self) -> Result<(), LockError> {
        self.remove_unheld().map_err(|source| LockError::Io { path: self.folder.clone(), source })
    }

    fn remove_unheld(&self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if let Some(lock) = attempt(&self.folder, &path, Sharing::Exclusive)? {
                drop(Held { lock: Some(lock), path });
            }
        }
        Ok(())
    }
}

/// One attempt at a lock. `None` when somebody else holds it, or removed its file meanwhile.
fn attempt(folder: &Path, path: &Path, sharing: Sharing) -> io::Result<Option<Flock<File>>> {
    let open = || OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            open()?
        }
        file => file?,
    };
    let kind = match sharing {
        Sharing::Shared => FlockArg::LockSharedNonblock,
        Sharing::Exclusive => FlockArg::LockExclusiveNonblock,
    };
    match Flock::lock(file, kind) {
        Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
        Ok(lock) => Ok(is_at(&lock, path)?.then_some(lock)),
    }
}

/// Whether a file is still the one at a path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        // Alone: nobody holds the lock, and whoever gets this file later sees that it is no longer at its path.
        let alone = lock.relock(FlockArg::LockExclusiveNonblock).is_ok();
        if alone && is_at(&lock, &self.path).unwrap_or(false) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = lock.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(60)
    }

    fn locks() -> (tempfile::TempDir, Locks) {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::new(folder.path().join("a/locks"));
        (folder, locks)
    }

    #[test]
    fn a_container_has_one_operation_and_others_go_on() {
        let (_folder, locks) = locks();
        let held = locks.container("c", soon()).unwrap();
        let error = locks.container("c", soon()).unwrap_err();
        assert!(
            matches!(&error, LockError::Busy { .. }) && error.to_string().contains("container c"),
            "{error}"
        );
        drop(locks.container("d", soon()).unwrap());
        drop(held);
        drop(locks.container("c", soon()).unwrap());
        assert_eq!(fs::read_dir(&locks.folder).unwrap().count(), 0, "lock files go with the locks");
    }

    #[test]
    fn gc_is_alone() {
        let (_folder, locks) = locks();
        let first = locks.operations(Sharing::Shared, soon()).unwrap();
        let second = locks.operations(Sharing::Shared, soon()).unwrap();
        locks.operations(Sharing::Exclusive, soon()).unwrap_err();
        drop(first);
        locks.operations(Sharing::Exclusive, soon()).unwrap_err();
        drop(second);
        let alone = locks.operations(Sharing::Exclusive, soon()).unwrap();
        locks.operations(Sharing::Shared, soon()).unwrap_err();
        drop(alone);
        assert_eq!(fs::read_dir(&locks.folder).unwrap().count(), 0);
    }

    fn child() -> std::process::Child {
        Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_plugin_keeps_the_lock_of_a_runtime_that_died() {
        let (_folder, locks) = locks();
        let held = locks.container("c", soon()).unwrap();
        let mut child = child();
        // What the kernel does when a process dies: it closes the descriptor and unlocks nothing.
        let descriptor = held.lock.as_ref().unwrap().as_raw_fd();
        std::mem::forget(held);
        nix::unistd::close(descriptor).unwrap();
        locks.container("c", soon()).unwrap_err();
        child.kill().unwrap();
        child.wait().unwrap();
        drop(locks.container("c", Instant::now() + Duration::from_secs(10)).unwrap());
    }

    #[test]
    fn a_runtime_that_lives_gives_the_lock_back() {
        let (_folder, locks) = locks();
        let held = locks.container("c", soon()).unwrap();
        let mut child = child();
        drop(held);
        drop(locks.container("c", soon()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_killed_runtimes_left_is_swept() {
        let (_folder, locks) = locks();
        let held = locks.container("alive", soon()).unwrap();
        fs::write(locks.folder.join("container-dead"), "").unwrap();
        locks.sweep().unwrap();
        let left: Vec<_> =
            fs::read_dir(&locks.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["container-alive"]);
        drop(held);
    }
}
