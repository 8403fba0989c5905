//! Files of an arena: what was written, and reading and writing them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::DirEntry;
use super::error::Refusal;
use super::root::Layer;
use super::snapshot::{FileKind, FileState};

/// The layers of the store, and what they held when the arena was new.
#[derive(Debug)]
pub(super) struct Files {
    layers: Vec<Layer>,
    /// By the path inside the arena. Not by [`Path`], whose comparison takes each name apart.
    baseline: HashMap<OsString, Known>,
    listings: Listings,
    /// How often all was looked at.
    walks: u64,
}

/// What was there when the arena was new.
#[derive(Debug)]
struct Known {
    state: FileState,
    /// The last walk that came by.
    seen: u64,
}

impl Files {
    /// Remembers how the layers look now. The working directory must be the store.
    pub(super) fn new(layers: Vec<Layer>) -> io::Result<Self> {
        let mut files = Self { layers, baseline: HashMap::new(), listings: Listings::default(), walks: 0 };
        for (path, state) in files.changed()? {
            files.baseline.insert(path.into(), Known { state, seen: 0 });
        }
        Ok(files)
    }

    /// Takes `path` for something that was always there: a file that the harness itself made.
    pub(super) fn expect(&mut self, path: &Path) -> io::Result<()> {
        let holds = |layer: &&Layer| path.starts_with(&layer.seen_at);
        let layer = self.layers.iter().filter(holds).max_by_key(|layer| layer.seen_at.components().count());
        if let Some(layer) = layer
            && let Ok(below) = path.strip_prefix(&layer.seen_at)
        {
            let at = layer.directory.join(below);
            let state = state(&at, &fs::symlink_metadata(&at)?, layer.overlay)?;
            self.baseline.insert(path.into(), Known { state, seen: 0 });
        }
        Ok(())
    }

    /// Takes `path` for something that was never there.
    pub(super) fn forget(&mut self, path: &Path) {
        self.baseline.remove(path.as_os_str());
    }

    /// What was written or removed since.
    pub(super) fn changed(&mut self) -> io::Result<BTreeMap<PathBuf, FileState>> {
        self.walks += 1;
        let mut walk = Walk {
            number: self.walks,
            baseline: &mut self.baseline,
            listings: &mut self.listings,
            changed: BTreeMap::new(),
        };
        for Layer { seen_at, directory, overlay } in &self.layers {
            walk.below(directory, &fs::symlink_metadata(directory)?, seen_at, *overlay)?;
        }
        let mut changed = walk.changed;
        for (path, _) in self.baseline.iter().filter(|(_, known)| known.seen != self.walks) {
            let removed =
                FileState { kind: FileKind::Removed, size: 0, mode: 0, digest: String::new(), target: None };
            changed.insert(path.into(), removed);
        }
        Ok(changed)
    }

    /// Removes what was written since, as far as that is possible; what remains is changed still.
    pub(super) fn restore(&mut self) -> io::Result<()> {
        for (path, state) in self.changed()?.iter().rev() {
            if self.baseline.contains_key(path.as_os_str()) || state.kind == FileKind::Removed {
                continue;
            }
            let _ =
                if state.kind == FileKind::Directory { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
        Ok(())
    }
}

/// One look at everything.
struct Walk<'a> {
    number: u64,
    baseline: &'a mut HashMap<OsString, Known>,
    listings: &'a mut Listings,
    changed: BTreeMap<PathBuf, FileState>,
}

impl Walk<'_> {
    /// Looks at everything below `directory`, which is seen at `seen_at`.
    fn below(
        &mut self,
        directory: &Path,
        metadata: &Metadata,
        seen_at: &Path,
        overlay: bool,
    ) -> io::Result<()> {
        for name in &*self.listings.of(directory, metadata)? {
            let path = directory.join(name);
            // A file may vanish between being listed and being read.
            let found = unless_vanished(
                fs::symlink_metadata(&path)
                    .and_then(|metadata| Ok((state(&path, &metadata, overlay)?, metadata))),
            )?;
            let Some((state, metadata)) = found else { continue };
            let is_directory = state.kind == FileKind::Directory;
            let seen = seen_at.join(name);
            self.note(&seen, state);
            if is_directory {
                unless_vanished(self.below(&path, &metadata, &seen, overlay))?;
            }
        }
        Ok(())
    }

    fn note(&mut self, path: &Path, state: FileState) {
        if let Some(known) = self.baseline.get_mut(path.as_os_str()) {
            known.seen = self.number;
            if known.state == state {
                // One layer may lie upon another: what the upper one holds is seen.
                self.changed.remove(path);
                return;
            }
        }
        self.changed.insert(path.to_owned(), state);
    }
}

fn unless_vanished<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// The names in directories: most stay as they are as long as an arena lives.
#[derive(Debug, Default)]
struct Listings(HashMap<OsString, (Stamp, Arc<[OsString]>)>);

/// Tells whether a directory is the one that was read, and nothing came or went: its inode, and when that last changed.
type Stamp = (u64, i64, i64);

impl Listings {
    /// How long a directory must have been as it is before what it holds is kept: what changes it again in the same tick of the
    /// kernel's clock (10 ms at most) leaves it with the same time.
    const SETTLED: Duration = Duration::from_millis(50);

    /// How many listings are kept.
    const MOST: usize = 4096;

    /// The names in `directory`, whose metadata were read before.
    fn of(&mut self, directory: &Path, metadata: &Metadata) -> io::Result<Arc<[OsString]>> {
        let stamp = (metadata.ino(), metadata.ctime(), metadata.ctime_nsec());
        if let Some((known, names)) = self.0.get(directory.as_os_str())
            && *known == stamp
        {
            return Ok(names.clone());
        }
        let read = SystemTime::now();
        let names: Arc<[OsString]> =
            fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        let changed = SystemTime::UNIX_EPOCH
            + Duration::new(
                metadata.ctime().try_into().unwrap_or_default(),
                metadata.ctime_nsec().try_into().unwrap_or_default(),
            );
        if read.duration_since(changed).is_ok_and(|age| age > Self::SETTLED) {
            if self.0.len() >= Self::MOST {
                self.0.clear();
            }
            self.0.insert(directory.into(), (stamp, names.clone()));
        }
        Ok(names)
    }
}

fn state(path: &Path, metadata: &Metadata, overlay: bool) -> io::Result<FileState> {
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
        let metadata = fs::symlink_metadata(file.path()).unwrap();
        assert_eq!(state(file.path(), &metadata, false).unwrap().digest, EMPTY);
    }

    #[test]
    fn what_comes_and_goes_shows_whether_listings_are_kept_or_not() {
        let store = tempfile::tempdir().unwrap();
        let inner = store.path().join("folder/inner");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("old"), "1").unwrap();
        let seen_at = PathBuf::from("/seen");
        let layer = Layer { seen_at: seen_at.clone(), directory: store.path().to_owned(), overlay: false };
        let mut files = Files::new(vec![layer]).unwrap();
        let kinds = |files: &mut Files| {
            let changed = files.changed().unwrap().into_iter();
            changed
                .map(|(path, state)| (path.strip_prefix(&seen_at).unwrap().to_owned(), state.kind))
                .collect::<Vec<_>>()
        };
        let named = |name: &str, kind: FileKind| vec![(Path::new("folder/inner").join(name), kind)];
        for kept in [false, true] {
            if kept {
                std::thread::sleep(Listings::SETTLED * 2);
                assert_eq!(kinds(&mut files), []);
                assert!(files.listings.0.contains_key(inner.as_os_str()), "{:?}", files.listings);
            }
            fs::write(inner.join("new"), "").unwrap();
            assert_eq!(kinds(&mut files), named("new", FileKind::File));
            fs::remove_file(inner.join("new")).unwrap();
            assert_eq!(kinds(&mut files), []);
            fs::write(inner.join("old"), "2").unwrap();
            assert_eq!(kinds(&mut files), named("old", FileKind::File));
            fs::remove_file(inner.join("old")).unwrap();
            assert_eq!(kinds(&mut files), named("old", FileKind::Removed));
            fs::write(inner.join("old"), "1").unwrap();
            assert_eq!(kinds(&mut files), []);
        }
        // Another directory of the same name.
        fs::rename(&inner, store.path().join("folder/away")).unwrap();
        fs::create_dir(&inner).unwrap();
        let expected =
            ["away", "away/old", "inner/old"].map(|name| Path::new("folder").join(name)).into_iter();
        assert!(kinds(&mut files).into_iter().map(|(path, _)| path).eq(expected));
    }
}
