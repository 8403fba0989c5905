//! Network namespaces that the runtime makes for containers, and removes (`runtime.netns-created-first`,
//! `runtime.netns-cleanup`).

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::error::NamespaceError;

/// Makes a network namespace that lives for as long as the file at the path does.
///
/// # Errors
/// When there is something at the path already, or the caller may not make namespaces or mount them. Nothing is left then.
pub fn make(path: &Path) -> Result<(), NamespaceError> {
    let fail = |source: io::Error| NamespaceError::Make { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    File::create_new(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => NamespaceError::Exists(path.to_owned()),
        _ => fail(error),
    })?;
    // A thread has a namespace of its own, and ends with it: this process stays where it is.
    let made = thread::scope(|scope| scope.spawn(|| fill(path)).join());
    let made = made.unwrap_or_else(|_| Err(io::Error::other("the thread that makes it panicked")));
    made.map_err(|source| {
        // Nothing is mounted there: the file is ours alone.
        let _ = std::fs::remove_file(path);
        fail(source)
    })
}

/// Mounts the namespace of the calling thread, a new one, on the file.
fn fill(path: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    Ok(mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

/// Removes the network namespace at the path. One that is not there is removed.
///
/// # Errors
/// When there is something else at the path, which stays, or the caller may not unmount it.
pub fn remove(path: &Path) -> Result<(), NamespaceError> {
    let fail = |source: io::Error| NamespaceError::Remove { path: path.to_owned(), source };
    let kind = match statfs(path) {
        Err(nix::Error::ENOENT) => return Ok(()),
        kind => kind.map_err(|error| fail(error.into()))?.filesystem_type(),
    };
    if kind != NSFS_MAGIC {
        return Err(NamespaceError::Other(path.to_owned()));
    }
    // A process in it keeps the namespace, and not the file.
    umount2(path, MntFlags::MNT_DETACH).map_err(|error| fail(error.into()))?;
    std::fs::remove_file(path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_neither_overwritten_nor_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("letter");
        std::fs::write(&file, "dear").expect("a file");
        assert!(matches!(make(&file), Err(NamespaceError::Exists(_))));
        assert!(matches!(remove(&file), Err(NamespaceError::Other(_))));
        assert_eq!(std::fs::read(&file).expect("the file"), b"dear");
        remove(&folder.path().join("nothing")).expect("what is not there is removed");
    }
}
