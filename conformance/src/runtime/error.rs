//! What can go wrong, with the file or plugin, the place in it and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_spec::config::RequestError;
use cni_spec::error::CniError;
use cni_spec::parameters::ValueError;
use cni_spec::{DocumentError, Operation};

/// An operation that the runtime did not bring to its end.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The configuration cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A name breaks a rule; nothing was read, written or executed under it.
    #[error(transparent)]
    Name(#[from] ValueError),
    /// The container's namespace does not exist (`runtime.netns-created-first`).
    #[error(
        "the network namespace {0:?} does not exist: have it made with --make-netns, or make it with `ip netns add`"
    )]
    NoNamespace(String),
    /// The container's namespace cannot be made or removed.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The configuration offers no version that this runtime knows.
    #[error(
        "network {network:?} offers CNI versions {offered}, none of which this runtime knows: add one of {known}"
    )]
    NoCommonVersion {
        /// The network's name.
        network: String,
        /// What the configuration offers.
        offered: String,
        /// What the runtime knows.
        known: String,
    },
    /// A plugin's executable is missing.
    #[error(transparent)]
    Find(#[from] FindError),
    /// There is such an attachment already (`runtime.no-double-add`).
    #[error(
        "container {container_id} is attached to network {network:?} as {ifname}: delete that attachment first, or choose another interface name"
    )]
    AlreadyAttached {
        /// The network of the attachment that exists.
        network: String,
        /// The container's ID.
        container_id: String,
        /// The interface's name.
        ifname: String,
    },
    /// There is no such attachment (`check.runtime-after-add-only`).
    #[error("container {container_id} is not attached to network {network:?} as {ifname}{}: add it first", if *.unfinished { " (an operation on it did not finish; delete it)" } else { "" })]
    NotAttached {
        /// The network's name.
        network: String,
        /// The container's ID.
        container_id: String,
        /// The interface's name.
        ifname: String,
        /// Whether an ADD or DEL of the attachment was begun and not finished.
        unfinished: bool,
    },
    /// A request cannot be derived from the configuration.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A plugin failed.
    #[error(transparent)]
    Plugin(#[from] Box<PluginError>),
    /// The ADD failed, and so did the clean-up after it: the attachment is kept for a later DEL or GC.
    #[error("{add}; cleaning up failed too, so delete the attachment once more: {cleanup}")]
    CleanUp {
        /// Why the ADD failed.
        #[source]
        add: Box<RuntimeError>,
        /// Why the clean-up failed.
        cleanup: Box<RuntimeError>,
    },
    /// GC met errors, all of which are told (`runtime.gc-continues-on-error`).
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<RuntimeError>),
    /// The cache of attachments failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A lock was not to be had.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl RuntimeError {
    /// Why an ADD failed, and so did the clean-up after it, if it did.
    pub(super) fn cleaned_up(self, cleanup: Result<(), RuntimeError>) -> RuntimeError {
        match cleanup {
            Ok(()) => self,
            Err(cleanup) => RuntimeError::CleanUp { add: Box::new(self), cleanup: Box::new(cleanup) },
        }
    }
}

/// A network configuration that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not JSON (`config.strict-json`).
    #[error("{}: not JSON: {source}; write one object, without comments or a byte order mark", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file does not have the form of a network configuration.
    #[error("{}: {source}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: DocumentError,
    },
    /// A name in a file breaks a rule.
    #[error("{}: {source}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Which and why.
        source: ValueError,
    },
    /// The list has no plugins, neither inlined nor in its folder.
    #[error("{}: no plugins: write them into \"plugins\" or, one object a file, into {}/*.conf", path.display(), folder.display())]
    NoPlugins {
        /// The file of the list.
        path: PathBuf,
        /// The folder of its plugins.
        folder: PathBuf,
    },
    /// No file holds the network.
    #[error(
        "no network {name:?} in {}: write it into a .conflist file there, or name the folder with NETCONFPATH{}",
        folder.display(),
        if seen.is_empty() { String::new() } else { format!(" (networks there: {})", seen.join(", ")) }
    )]
    NotFound {
        /// The network's name.
        name: String,
        /// The folder of configurations.
        folder: PathBuf,
        /// The networks that are there.
        seen: Vec<String>,
    },
}

/// A plugin whose executable is missing.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The type names no file (`config.type-no-path-chars`).
    #[error(transparent)]
    Name(#[from] ValueError),
    /// No folder has it (`exec.lookup-missing-is-error`).
    #[error("no plugin {plugin:?} in {path}: install it there, or name its folder with CNI_PATH")]
    Missing {
        /// The plugin's type.
        plugin: String,
        /// The folders that were searched.
        path: String,
    },
}

/// A plugin that failed.
#[derive(Debug, thiserror::Error)]
#[error("{} of plugin {plugin:?} in network {network:?} {problem}", operation.as_str())]
pub struct PluginError {
    /// The plugin's type.
    pub plugin: String,
    /// The network's name.
    pub network: String,
    /// The operation.
    pub operation: Operation,
    /// What went wrong.
    pub problem: Problem,
}

/// How a plugin failed.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It printed an error object (`runtime.error-surfaced`).
    #[error("failed: {0}")]
    Answered(Box<CniError>),
    /// It failed without a readable error object (`runtime.tolerates-unknown-error-fields`).
    #[error("failed ({status}) without an error object; it printed {output}")]
    Unexplained {
        /// How it ended.
        status: String,
        /// What it said, on stdout or else on stderr, shortened.
        output: String,
    },
    /// It did not end in time and was killed with its children.
    #[error("did not end within {:?} and was killed: allow more with --timeout", .0)]
    TimedOut(Duration),
    /// It printed more than the runtime keeps.
    #[error("printed more than {0} bytes")]
    Flooded(usize),
    /// It could not be executed.
    #[error("could not be executed: {}: {source}", path.display())]
    NotStarted {
        /// The executable.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It exited with 0, and what it printed is no result (`runtime.invalid-result-is-error`).
    #[error("exited with status 0 but printed no valid result ({reason}): {output}")]
    NoResult {
        /// What is wrong.
        reason: String,
        /// What it printed, shortened.
        output: String,
    },
}

/// The cache of attachments failed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Both file names that an attachment can have belong to others.
    #[error("{} and {} hold other attachments: choose another network, container ID or interface name", first.display(), second.display())]
    Taken {
        /// The name that libcni gives.
        first: PathBuf,
        /// The name without ambiguity.
        second: PathBuf,
    },
    /// The result in an entry cannot be used.
    #[error("{}: {source}; delete the attachment and add it again", path.display())]
    Result {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: DocumentError,
    },
    /// An entry that CHECK needs cannot be read.
    #[error("{} is damaged: delete the attachment, which removes the file, and add it again", .0.display())]
    Damaged(PathBuf),
}

impl CacheError {
    pub(super) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CacheError + 'a {
        move |source| CacheError::Io { action, path: path.to_owned(), source }
    }
}

/// A network namespace that cannot be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// There is something at its path.
    #[error("{} exists already: choose another path for the network namespace, or leave out --make-netns to use what is there", .0.display())]
    Exists(PathBuf),
    /// What is at its path is something else.
    #[error("{} is no network namespace: nothing was removed; remove it yourself, or leave out --remove-netns", .0.display())]
    Other(PathBuf),
    /// It cannot be made.
    #[error("cannot make the network namespace {}: {source}", path.display())]
    Make {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be removed.
    #[error("cannot remove the network namespace {}: {source}", path.display())]
    Remove {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A lock that was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Its file cannot be used.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another operation held it all the time.
    #[error("{what} is busy: another operation, or a plugin of a runtime that was killed, held {} for more than {waited:?}; wait longer with --wait", path.display())]
    Busy {
        /// What the lock protects.
        what: String,
        /// The file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
}
