//! Files of an arena: what was written, and reading and writing them.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::DirEntry;
use super::error::Refusal;
use super::root::Layer;
use super::snapshot::{FileKind, FileState};

/// The layers of the store, and what they held when the arena was new.
#[derive(Debug)]
pub(super) struct Files {
    layers: Vec<Layer>,
    baseline: BTreeMap<PathBuf, FileState>,
}

impl Files {
    /// Remembers how the layers look now. The working directory must be the store.
    pub(super) fn new(layers: Vec<Layer>) -> io::Result<Self> {
        let mut files = Self { layers, baseline: BTreeMap::new() };
        files.baseline = files.now()?;
        Ok(files)
    }

    /// Takes `path` for something that was always there: a file that the harness itself made.
    pub(super) fn expect(&mut self, path: &Path) -> io::Result<()> {
        let holds = |layer: &&Layer| path.starts_with(&layer.seen_at);
        let layer = self.layers.iter().filter(holds).max_by_key(|layer| layer.seen_at.components().count());
        if let Some(layer) = layer
            && let Ok(below) = path.strip_prefix(&layer.seen_at)
        {
            let state = state(&layer.directory.join(below), layer.overlay)?;
            self.baseline.insert(path.to_owned(), state);
        }
        Ok(())
    }

    /// Takes `path` for something that was never there.
    pub(super) fn forget(&mut self, path: &Path) {
        self.baseline.remove(path);
    }

    /// What was written or removed since.
    pub(super) fn changed(&self) -> io::Result<BTreeMap<PathBuf, FileState>> {
        let mut now = self.now()?;
        for (path, state) in &self.baseline {
            match now.get(path) {
                Some(same) if same == state => {
                    now.remove(path);
                }
                Some(_) => {}
                None => {
                    let removed = FileState {
                        kind: FileKind::Removed,
                        size: 0,
                        mode: 0,
                        digest: String::new(),
                        target: None,
                    };
                    now.insert(path.clone(), removed);
                }
            }
        }
        Ok(now)
    }

    /// Removes what was written since, as far as that is possible; what remains is changed still.
    pub(super) fn restore(&self) -> io::Result<()> {
        for (path, state) in self.changed()?.iter().rev() {
            if self.baseline.contains_key(path) || state.kind == FileKind::Removed {
                continue;
            }
            let _ =
                if state.kind == FileKind::Directory { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
        Ok(())
    }

    fn now(&self) -> io::Result<BTreeMap<PathBuf, FileState>> {
        let mut found = BTreeMap::new();
        for layer in &self.layers {
            walk(&layer.directory, &layer.seen_at, layer.overlay, &mut found)?;
        }
        Ok(found)
    }
}

/// Adds everything below `directory`, which is seen at `seen_at`, to `found`.
fn walk(
    directory: &Path,
    seen_at: &Path,
    overlay: bool,
    found: &mut BTreeMap<PathBuf, FileState>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, seen) = (entry.path(), seen_at.join(entry.file_name()));
        // A file may vanish between being listed and being read.
        let Some(state) = (match state(&path, overlay) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        }) else {
            continue;
        };
        let directory = state.kind == FileKind::Directory;
        found.insert(seen.clone(), state);
        if directory {
            match walk(&path, &seen, overlay, found) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

fn state(path: &Path, overlay: bool) -> io::Result<FileState> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    let mut state = FileState {
        kind: FileKind::File,
        size: 0,
        mode: metadata.permissions().mode() & 0o7777,
        digest: String::new(),
        target: None,
    };
    if kind.is_dir() {
        state.kind = FileKind::Directory;
    } else if kind.is_symlink() {
        state.kind = FileKind::Symlink;
        state.target = Some(fs::read_link(path)?);
        state.size = metadata.size();
    } else if kind.is_char_device() && overlay && metadata.rdev() == 0 {
        state.kind = FileKind::Removed;
        state.mode = 0;
    } else if kind.is_char_device() || kind.is_block_device() {
        state.kind = FileKind::Device;
    } else if kind.is_fifo() {
        state.kind = FileKind::Fifo;
    } else if kind.is_socket() {
        state.kind = FileKind::Socket;
    } else {
        state.size = metadata.size();
        state.digest = if state.size == 0 { EMPTY.to_owned() } else { digest(path)? };
    }
    Ok(state)
}

/// The [`digest`] of an empty file: most of those that an arena makes are.
const EMPTY: &str = "e3b0c44298fc1c14";

/// The first 16 hexadecimal digits of the SHA-256 of a file.
fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = [0; 16 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn failed<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Refusal + 'a {
    move |error| Refusal::io(format!("{what} {}", path.display()), &error)
}

/// Refuses a path that does not say where it starts: the agent's working directory is its own affair.
fn absolute(path: &Path) -> Result<(), Refusal> {
    if path.is_absolute() {
        Ok(())
    } else {
        Err(Refusal::new(format!("use {}", path.display()), "a path inside an arena must be absolute"))
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    absolute(path)?;
    fs::read(path).map_err(failed("read", path))
}

pub(super) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Refusal> {
    absolute(path)?;
    make_parents(path)?;
    // A new file rather than the old one's content: it may be a link, or being executed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replace", path)(error)),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed("write", path))?;
    file.write_all(content).map_err(failed("write", path))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set the mode of", path))
}

pub(super) fn remove(path: &Path) -> Result<(), Refusal> {
    absolute(path)?;
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(()),
        other => other.map_err(failed("remove", path)),
    }
}

pub(super) fn make_dir(path: &Path, mode: u32) -> Result<(), Refusal> {
    absolute(path)?;
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed("make directory", path))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set the mode of", path))
}

pub(super) fn make_symlink(target: &Path, path: &Path) -> Result<(), Refusal> {
    absolute(path)?;
    make_parents(path)?;
    std::os::unix::fs::symlink(target, path).map_err(failed("link", path))
}

pub(super) fn list(path: &Path) -> Result<Vec<DirEntry>, Refusal> {
    absolute(path)?;
    let mut entries = fs::read_dir(path)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(failed("list", path))?
        .into_iter()
        .map(|entry| DirEntry {
            name: entry.file_name().to_string_lossy().into_owned(),
            is_dir: entry.file_type().is_ok_and(|kind| kind.is_dir()),
        })
        .collect::<Vec<_>>();
    entries.sort();
    Ok(entries)
}

fn make_parents(path: &Path) -> Result<(), Refusal> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(failed("make directory", parent)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_the_digest_of_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(digest(file.path()).unwrap(), EMPTY);
        assert_eq!(state(file.path(), false).unwrap().digest, EMPTY);
    }
}
