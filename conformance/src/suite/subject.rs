//! Finding plugins: what a PATH on the command line means.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::adapter::{self, Adapter, Values};
use crate::arena::PLUGIN_DIR;
use crate::mutants::{self, Mutant};
use crate::target::{Target, builtin};

/// The bundled plugin that this process was called as, if it was. In an arena the bundled plugins are this executable
/// under their names.
pub fn called_as() -> Option<&'static str> {
    let called = std::env::args_os().next()?;
    let name = Path::new(&called).file_name()?;
    cni_plugins::NAMES.iter().copied().find(|known| name == *known)
}

/// A plugin to test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The plugin's type: the file's name.
    pub name: String,
    /// The executable as seen in the arena.
    pub program: PathBuf,
    /// The executable on the host.
    pub host_path: PathBuf,
    /// Folder on the host that the arena must show; none for bundled plugins.
    pub folder: Option<PathBuf>,
    /// How it is driven, when it is a runtime.
    pub runtime: Option<Adapter>,
}

impl Found {
    /// What an adapter's variables stand for before there is a case.
    pub(crate) fn values(&self) -> Values {
        Values::default().with("cnitest", self.program.display().to_string())
    }
}

/// A runtime, driven as the adapter says. Its `program` is what `{cnitest}` stands for.
pub fn runtime(adapter: Adapter) -> Found {
    let program = Path::new(PLUGIN_DIR).join(adapter::DEFAULT);
    Found { program, name: adapter.name.clone(), runtime: Some(adapter), ..bundled(adapter::DEFAULT) }
}

/// Why a PATH names no plugin.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing is there.
    #[error("{}: {source}; name a plugin executable, a folder of them, or a bundled plugin ({bundled})", path.display())]
    Unreadable {
        /// What was asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// The names that need no path.
        bundled: String,
    },
    /// A folder without an executable file.
    #[error("{}: the folder holds no executable file; build or install the plugins there first", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

/// The plugins that `paths` name; all bundled ones if `paths` is empty.
///
/// A path without a slash names a bundled plugin or a mutant if there is one, otherwise a file of the working directory. A
/// folder stands for the executable files in it, in the order of their names.
///
/// # Errors
/// When a path is not there or a folder holds no executable.
pub fn find(paths: &[PathBuf]) -> Result<Vec<Found>, FindError> {
    if paths.is_empty() {
        return Ok(cni_plugins::NAMES.iter().map(|name| bundled(name)).collect());
    }
    let mut all = Vec::new();
    for path in paths {
        if let Some(name) = path.to_str().filter(|name| cni_plugins::NAMES.contains(name)) {
            all.push(bundled(name));
            continue;
        }
        if let Some(mutant) = path.to_str().and_then(mutants::find) {
            all.push(broken(mutant));
            continue;
        }
        let unreadable = |source| FindError::Unreadable {
            path: path.clone(),
            source,
            bundled: cni_plugins::NAMES.join(", "),
        };
        let real = path.canonicalize().map_err(unreadable)?;
        if !real.is_dir() {
            // The name is the one asked for, even where it is a link to something called differently.
            all.push(file(path, &real));
            continue;
        }
        let mut entries: Vec<PathBuf> = std::fs::read_dir(&real)
            .map_err(unreadable)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|entry| is_executable(entry))
            .collect();
        entries.sort();
        if entries.is_empty() {
            return Err(FindError::Empty { path: path.clone() });
        }
        all.extend(entries.iter().map(|entry| file(entry, entry)));
    }
    Ok(all)
}

fn bundled(name: &str) -> Found {
    Found {
        name: name.to_owned(),
        program: Path::new(PLUGIN_DIR).join(name),
        host_path: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
        folder: None,
        runtime: None,
    }
}

/// A mutant, under the name of the plugin that it is but for its defect.
pub fn broken(mutant: &Mutant) -> Found {
    let runtime = adapter::builtin(mutant.base).filter(|_| mutant.is_runtime());
    Found { program: Path::new(PLUGIN_DIR).join(mutant.path()), runtime, ..bundled(mutant.base) }
}

/// The target that comes with a plugin: a mutant's own where it has one, otherwise the one for the plugin's type.
pub fn target(found: &Found) -> Option<Target> {
    let mutants = mutants::all().chain(mutants::unbroken());
    let mutant = mutants.into_iter().find(|mutant| broken(mutant).program == found.program);
    let own = mutant.and_then(|mutant| Target::parse(mutant.target?, mutant.name).ok());
    let bare = mutant.is_some_and(|mutant| mutant.bare);
    own.or_else(|| builtin(&found.name)).filter(|_| !bare)
}

fn file(asked: &Path, real: &Path) -> Found {
    let absolute = std::path::absolute(asked).unwrap_or_else(|_| real.to_owned());
    let name = asked.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parent = absolute.parent().and_then(|parent| parent.canonicalize().ok());
    let folder = parent.unwrap_or_else(|| PathBuf::from("/"));
    Found {
        program: folder.join(&name),
        host_path: real.to_owned(),
        folder: Some(folder),
        name,
        runtime: None,
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The SHA-256 of a file in hexadecimal, or nothing when it cannot be read. A file that is still the same is read once: a
/// self-test is about hundreds of subjects in one executable.
pub fn digest(path: &Path) -> Option<String> {
    /// Device, inode, length, and when it changed.
    type State = (u64, u64, u64, i64, i64);
    static KNOWN: Mutex<BTreeMap<State, String>> = Mutex::new(BTreeMap::new());
    let mut file = std::fs::File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    let state = (meta.dev(), meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = known.get(&state) {
        return Some(digest.clone());
    }
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block).ok()? {
            0 => break,
            length => hash.update(&block[..length]),
        }
    }
    let digest = hexadecimal(&hash.finalize());
    known.insert(state, digest.clone());
    Some(digest)
}

/// The SHA-256 of bytes in hexadecimal.
pub fn digest_of(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_has_another_digest() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for text in ["a", "bc"] {
            std::fs::write(file.path(), text).expect("written");
            for _ in 0..2 {
                assert_eq!(digest(file.path()), Some(digest_of(text.as_bytes())));
            }
        }
        assert_eq!(digest(Path::new("/nowhere")), None);
    }

    #[test]
    fn no_path_means_every_bundled_plugin() {
        let names: Vec<String> = find(&[]).expect("bundled").into_iter().map(|found| found.name).collect();
        assert_eq!(names, cni_plugins::NAMES);
    }

    #[test]
    fn a_folder_means_its_executables_in_order() {
        let folder = tempfile::tempdir().expect("folder");
        for (name, mode) in [("b", 0o755), ("a", 0o755), ("notes.txt", 0o644)] {
            let path = folder.path().join(name);
            std::fs::write(&path, "#!/bin/sh\n").expect("write");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
        }
        let names: Vec<String> =
            find(&[folder.path().to_owned()]).expect("found").into_iter().map(|found| found.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_mutant_brings_its_own_target() {
        let target = |name: &str| target(&find(&[name.into()]).expect("a mutant")[0]).expect("a target");
        assert!(target("static-leased").dhcp_server.is_some());
        assert!(target("static-version-fixed").dhcp_server.is_none());
        assert_eq!(target("bridge-del-once").name, "bridge");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let empty = tempfile::tempdir().expect("folder");
        assert!(matches!(find(&[empty.path().to_owned()]), Err(FindError::Empty { .. })));
        let error = find(&["/nonexistent/plugin".into()]).expect_err("missing").to_string();
        assert!(error.starts_with("/nonexistent/plugin: No such file"), "{error}");
        assert!(error.contains("host-local"), "{error}");
    }
}
