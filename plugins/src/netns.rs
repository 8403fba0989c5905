//! Network namespaces: opening them and doing things inside.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A network namespace that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The path cannot be opened.
    #[error("{}: {source}", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path is something else.
    #[error("{} is no network namespace: name one such as /run/netns/NAME or /proc/PID/ns/net", path.display())]
    NotANetns {
        /// The path.
        path: PathBuf,
    },
    /// The namespace cannot be entered.
    #[error("cannot enter {}: {source}: the plugin needs CAP_SYS_ADMIN there", path.display())]
    Enter {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An open network namespace; it exists as long as this does.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
    file: File,
    identity: (u64, u64),
}

impl Netns {
    /// Opens the namespace at a path.
    ///
    /// # Errors
    /// When there is nothing, or something that is no network namespace.
    pub fn open(path: impl Into<PathBuf>) -> Result<Netns, NetnsError> {
        let path = path.into();
        // Without O_NONBLOCK a named pipe would block the open.
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let described = opened.and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        match described {
            Err(source) => Err(NetnsError::Open { path, source }),
            Ok((file, metadata)) if metadata.is_file() && is_netns(&file) => {
                Ok(Netns { path, file, identity: (metadata.dev(), metadata.ino()) })
            }
            Ok(_) => Err(NetnsError::NotANetns { path }),
        }
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn current() -> Result<Netns, NetnsError> {
        Netns::open("/proc/thread-self/ns/net")
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The device and inode numbers, which no other namespace has as long as it exists.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Whether both are the same namespace.
    pub fn is_same(&self, other: &Netns) -> bool {
        self.identity == other.identity
    }

    /// Keeps other processes that lock the same namespace out until the answer is dropped: exclusively, or shared
    /// with others that ask for a shared lock. Nothing remains of the lock when the process dies.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn lock(&self, exclusive: bool) -> io::Result<File> {
        // A lock belongs to an opening of a file, so each has its own.
        let file = File::open(format!("/proc/self/fd/{}", self.fd()))?;
        if exclusive {
            file.lock()?
        } else {
            file.lock_shared()?
        }
        Ok(file)
    }

    /// Runs `work` inside the namespace, on a thread of its own: the calling thread never leaves its namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let enter = |source| NetnsError::Enter { path: self.path.clone(), source };
        std::thread::scope(|scope| {
            let inside = std::thread::Builder::new().spawn_scoped(scope, || {
                // SAFETY: setns(2) takes no pointers, and the descriptor is open as long as self is.
                match unsafe { libc::setns(self.fd(), libc::CLONE_NEWNET) } {
                    0 => Ok(work()),
                    _ => Err(enter(io::Error::last_os_error())),
                }
            });
            match inside.map_err(enter)?.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

fn is_netns(file: &File) -> bool {
    // SAFETY: the request takes no argument and only answers for namespaces.
    unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) == libc::CLONE_NEWNET }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(Netns::open("/proc/self/ns/nowhere"), Err(NetnsError::Open { .. })));
        for path in ["/", "/dev/null", "/proc/self/status", "/proc/self/ns/mnt"] {
            assert!(matches!(Netns::open(path), Err(NetnsError::NotANetns { .. })), "{path}");
        }
    }

    #[test]
    fn a_thread_knows_its_own() {
        let current = Netns::current().unwrap();
        assert!(current.is_same(&Netns::open("/proc/self/ns/net").unwrap()));
    }

    #[test]
    fn locks_exclude() {
        let current = Netns::current().unwrap();
        let first = current.lock(true).unwrap();
        let second = File::open("/proc/self/ns/net").unwrap();
        assert!(second.try_lock_shared().is_err());
        drop(first);
        second.try_lock_shared().unwrap();
    }
}
