//! The attachments that exist, in the files and the form of libcni (`cache.location`), so that either can delete what the
//! other added.
//!
//! What libcni's form lacks stands under a key of our own, which libcni passes over: how far the attachment got, and which
//! namespace it was. An entry is written before the first plugin runs, with the configuration and without a result, and is
//! only ever replaced as a whole: after a crash each entry is as it was before the last step or after it.
//!
//! Names reach a path only after [`Key::new`] has checked them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cni_spec::parameters::{self, CniArgs, ValueError};
use cni_spec::{Version, keys};
use serde_json::{Map, Value, json};

use super::error::CacheError;

/// The value of `kind` in libcni's files.
const KIND: &str = "cniCacheV1";
/// The key that is ours alone.
const OURS: &str = "cnitest";

/// What identifies an attachment: the network, the container's ID and the interface's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    network: String,
    container_id: String,
    ifname: String,
}

impl Key {
    /// A key of names that are safe in a path, by the rules of the newest version whatever the configuration's is
    /// (`runtime.validates-input-del-check`).
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn new(network: &str, container_id: &str, ifname: &str) -> Result<Key, ValueError> {
        parameters::network_name(network, Version::LATEST)?;
        parameters::container_id(container_id, Version::LATEST)?;
        parameters::interface_name(ifname)?;
        Ok(Key { network: network.into(), container_id: container_id.into(), ifname: ifname.into() })
    }

    /// A key of any names: for a runtime that does not look at them.
    pub(crate) fn unchecked(network: &str, container_id: &str, ifname: &str) -> Key {
        Key { network: network.into(), container_id: container_id.into(), ifname: ifname.into() }
    }

    /// The network's name.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// The container's ID.
    pub fn container_id(&self) -> &str {
        &self.container_id
    }

    /// The interface's name.
    pub fn ifname(&self) -> &str {
        &self.ifname
    }

    /// libcni's file name, which attachments with hyphens in their names can share (`cache.key-collision`), and one that
    /// only this attachment can have: neither a network's name nor a container's ID holds a comma.
    fn file_names(&self) -> [String; 2] {
        let Key { network, container_id, ifname } = self;
        [format!("{network}-{container_id}-{ifname}"), format!("{network},{container_id},{ifname}")]
    }
}

/// How far an attachment got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its ADD was begun and has not succeeded.
    Adding,
    /// Its ADD succeeded.
    Added,
    /// Its DEL was begun and has not succeeded.
    Deleting,
}

impl State {
    const ALL: [(State, &'static str); 3] =
        [(State::Adding, "adding"), (State::Added, "added"), (State::Deleting, "deleting")];

    fn as_str(self) -> &'static str {
        State::ALL.into_iter().find(|(state, _)| *state == self).map_or("", |(_, text)| text)
    }
}

/// A network namespace by what it is, not by its path, which can come to name another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    /// The namespace at a path, if there is one.
    pub fn at(path: &str) -> Option<Namespace> {
        let there = fs::metadata(path).ok()?;
        Some(Namespace(format!("{}:{}", there.dev(), there.ino())))
    }
}

/// An attachment as it is kept. Keeps what it does not know.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    key: Key,
    document: Map<String, Value>,
}

impl Entry {
    /// The entry of an ADD that begins: everything but the result.
    pub fn begun(
        key: Key,
        config: &[u8],
        netns: &str,
        args: &CniArgs,
        capability_args: &Map<String, Value>,
    ) -> Entry {
        let mut document = Map::new();
        document.insert("kind".to_owned(), KIND.into());
        document.insert("containerId".to_owned(), key.container_id.as_str().into());
        document.insert("config".to_owned(), BASE64_STANDARD.encode(config).into());
        document.insert("ifName".to_owned(), key.ifname.as_str().into());
        document.insert("networkName".to_owned(), key.network.as_str().into());
        if !netns.is_empty() {
            document.insert("netns".to_owned(), netns.into());
        }
        let pairs: Vec<Value> = args.pairs().map(|(key, value)| json!([key, value])).collect();
        if !pairs.is_empty() {
            document.insert("cniArgs".to_owned(), pairs.into());
        }
        if !capability_args.is_empty() {
            document.insert("capabilityArgs".to_owned(), capability_args.clone().into());
        }
        let mut ours = json!({ "state": State::Adding.as_str(), "wholeConfig": true });
        if let Some(namespace) = Namespace::at(netns) {
            ours["namespace"] = namespace.0.into();
        }
        document.insert(OURS.to_owned(), ours);
        Entry { key, document }
    }

    /// Reads an entry; `None` for what is none, or has names that are not safe.
    pub fn parse(bytes: &[u8]) -> Option<Entry> {
        let document: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
        let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("kind") != KIND {
            return None;
        }
        let key = Key::new(text("networkName"), text("containerId"), text("ifName")).ok()?;
        Some(Entry { key, document })
    }

    /// The entry as it is written.
    pub fn to_bytes(&self) -> Vec<u8> {
        Value::Object(self.document.clone()).to_string().into_bytes()
    }

    /// What identifies the attachment.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// How far it got. libcni writes no state, and an entry only when the ADD has succeeded.
    pub fn state(&self) -> State {
        let known = self.ours("state").and_then(|text| State::ALL.into_iter().find(|(_, t)| *t == text));
        known.map_or(if self.result().is_some() { State::Added } else { State::Adding }, |(state, _)| state)
    }

    /// The network configuration that the ADD used, as text.
    pub fn config(&self) -> Option<Vec<u8>> {
        let bytes = BASE64_STANDARD.decode(self.text("config")?).ok()?;
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Whether the configuration holds the plugins of the network's folder too; libcni keeps the list's file as it is.
    pub fn has_whole_config(&self) -> bool {
        self.document.get(OURS).and_then(|ours| ours.get("wholeConfig")).and_then(Value::as_bool)
            == Some(true)
    }

    /// The path of the namespace; empty if none was given.
    pub fn netns(&self) -> &str {
        self.text("netns").unwrap_or_default()
    }

    /// Whether the namespace still is at its path. Without an identity of it, the path alone counts.
    pub fn namespace_lives(&self) -> bool {
        let there = Namespace::at(self.netns());
        there.is_some_and(|there| self.ours("namespace").is_none_or(|ours| ours == there.0))
    }

    /// Whether another namespace stands at the path.
    pub fn namespace_replaced(&self) -> bool {
        let there = Namespace::at(self.netns());
        there.is_some_and(|there| self.ours("namespace").is_some_and(|ours| ours != there.0))
    }

    /// The arguments for `CNI_ARGS`; pairs that the variable cannot carry are left out.
    pub fn args(&self) -> CniArgs {
        let mut args = CniArgs::default();
        for pair in self.document.get("cniArgs").and_then(Value::as_array).into_iter().flatten() {
            if let (Some(key), Some(value)) = (pair[0].as_str(), pair[1].as_str()) {
                let _ = args.push(key, value);
            }
        }
        args
    }

    /// The capability arguments.
    pub fn capability_args(&self) -> Map<String, Value> {
        self.document.get("capabilityArgs").and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// The final result of the ADD.
    pub fn result(&self) -> Option<&Value> {
        self.document.get("result").filter(|value| value.is_object())
    }

    /// The entry once its ADD has succeeded.
    #[must_use]
    pub fn added(mut self, result: Value) -> Entry {
        self.document.insert("result".to_owned(), result);
        self.in_state(State::Added)
    }

    /// The entry in another state.
    #[must_use]
    pub fn in_state(mut self, state: State) -> Entry {
        let ours = self.document.entry(OURS).or_insert_with(|| json!({}));
        if !ours.is_object() {
            *ours = json!({});
        }
        ours["state"] = state.as_str().into();
        self
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.document.get(key).and_then(Value::as_str)
    }

    fn ours(&self, key: &str) -> Option<&str> {
        self.document.get(OURS).and_then(|ours| ours.get(key)).and_then(Value::as_str)
    }
}

/// What the cache has of an attachment.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// An entry.
    Entry(Box<Entry>),
    /// A bare result, as libcni wrote it before it had entries.
    Bare(Value),
    /// Something that cannot be read (`cache.corrupt-entry`).
    Damaged,
}

/// The folder of attachments.
#[derive(Debug, Clone)]
pub struct Cache {
    results: PathBuf,
    pending: PathBuf,
}

impl Cache {
    /// The cache below a folder, `/var/lib/cni` as a rule.
    pub fn new(folder: &Path) -> Cache {
        Cache { results: folder.join("results"), pending: folder.join("cnitest/pending") }
    }

    /// What is known of an attachment.
    ///
    /// # Errors
    /// When its file exists and cannot be read.
    pub fn find(&self, key: &Key) -> Result<Found, CacheError> {
        Ok(self.locate(key)?.1)
    }

    /// The file of an attachment, whether it is there or not.
    ///
    /// # Errors
    /// When a file that could be it exists and cannot be read.
    pub fn file(&self, key: &Key) -> Result<PathBuf, CacheError> {
        Ok(self.locate(key)?.0)
    }

    /// The file of an attachment and what it holds.
    fn locate(&self, key: &Key) -> Result<(PathBuf, Found), CacheError> {
        let [first, second] = key.file_names().map(|name| self.results.join(name));
        match self.read(&second, key)? {
            None | Some(Found::Nothing) => {}
            Some(found) => return Ok((second, found)),
        }
        match self.read(&first, key)? {
            None => Ok((second, Found::Nothing)),
            Some(found) => Ok((first, found)),
        }
    }

    /// What a file holds of an attachment; `None` if it belongs to another one.
    fn read(&self, path: &Path, key: &Key) -> Result<Option<Found>, CacheError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Found::Nothing)),
            Err(error) => return Err(CacheError::io("read", path)(error)),
        };
        if let Some(entry) = Entry::parse(&bytes) {
            return Ok((entry.key() == key).then(|| Found::Entry(Box::new(entry))));
        }
        Ok(Some(match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) if value.get("kind").is_none() && value.get(keys::CNI_VERSION).is_some() => {
                Found::Bare(value)
            }
            _ => Found::Damaged,
        }))
    }

    /// Keeps an attachment that had no entry. The entry is on the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written, or both names that its file can have are taken.
    pub fn create(&self, entry: &Entry) -> Result<(), CacheError> {
        let written = self.write(entry)?;
        let [first, second] = entry.key().file_names().map(|name| self.results.join(name));
        let mut linked = fs::hard_link(&written, &first);
        if linked.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            linked = fs::hard_link(&written, &second);
        }
        let _ = fs::remove_file(&written);
        match linked {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(CacheError::Taken { first, second })
            }
            Err(error) => Err(CacheError::io("write", &first)(error)),
        }
    }

    /// Replaces what is kept of an attachment, at once and as a whole; it is on the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn replace(&self, entry: &Entry) -> Result<(), CacheError> {
        let (path, _) = self.locate(entry.key())?;
        let written = self.write(entry)?;
        fs::rename(&written, &path).map_err(CacheError::io("write", &path))?;
        self.sync()
    }

    /// Forgets an attachment; nothing there is no error.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub fn remove(&self, key: &Key) -> Result<(), CacheError> {
        let _ = fs::remove_file(self.pending_file(key));
        let (path, found) = self.locate(key)?;
        if found == Found::Nothing {
            return Ok(());
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CacheError::io("remove", &path)(error))
            }
            _ => self.sync(),
        }
    }

    /// Every entry, in the order of the files' names. What is no entry is passed over.
    ///
    /// # Errors
    /// When the folder exists and cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        let mut entries = Vec::new();
        for path in files(&self.results)? {
            // Removed meanwhile, or not ours to read: no entry.
            let Some(entry) = fs::read(&path).ok().and_then(|bytes| Entry::parse(&bytes)) else { continue };
            if entry
                .key()
                .file_names()
                .iter()
                .any(|name| path.file_name().is_some_and(|file| file == name.as_str()))
            {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// Removes what was being written when a runtime was killed. Nobody may be writing.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn sweep(&self) -> Result<(), CacheError> {
        for path in files(&self.pending)? {
            fs::remove_file(&path).map_err(CacheError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Where an entry is written before it is linked or renamed: the name that no other attachment has.
    fn pending_file(&self, key: &Key) -> PathBuf {
        let [_, own] = key.file_names();
        self.pending.join(own)
    }

    /// Writes an entry outside the folder that everybody reads.
    fn write(&self, entry: &Entry) -> Result<PathBuf, CacheError> {
        for folder in [&self.results, &self.pending] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(CacheError::io("create", folder))?;
        }
        let path = self.pending_file(entry.key());
        // A link to an entry may be left of a runtime that was killed: never write through it.
        let _ = fs::remove_file(&path);
        let write = || {
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
            file.write_all(&entry.to_bytes())?;
            file.sync_all()
        };
        write().map_err(CacheError::io("write", &path))?;
        Ok(path)
    }

    fn sync(&self) -> Result<(), CacheError> {
        let sync = || File::open(&self.results)?.sync_all();
        sync().map_err(CacheError::io("write", &self.results))
    }
}

/// The files in a folder, in order; none if there is no folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok(paths)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        paths => paths.map_err(CacheError::io("read", folder)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        Key::new("net", "c", "eth0").unwrap()
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        (folder, cache)
    }

    #[test]
    fn what_libcni_added_later_stays() {
        let text = r#"{"kind":"cniCacheV1","containerId":"c","config":"","ifName":"eth0","networkName":"net","later":[1.0,12345678901234567890],"result":{"big":12345678901234567890}}"#;
        let entry = Entry::parse(text.as_bytes()).unwrap();
        assert_eq!((entry.state(), entry.config(), entry.has_whole_config()), (State::Added, None, false));
        let changed = String::from_utf8(entry.in_state(State::Deleting).to_bytes()).unwrap();
        assert_eq!(changed, text[..text.len() - 1].to_owned() + r#","cnitest":{"state":"deleting"}}"#);
    }

    #[test]
    fn names_that_leave_the_folder_are_no_entries() {
        for (network, id, ifname) in
            [("../../x", "c", "eth0"), ("net", "../c", "eth0"), ("net", "c", "a/b"), ("net", "c", "..")]
        {
            assert!(Key::new(network, id, ifname).is_err());
            let text = json!({"kind": KIND, "networkName": network, "containerId": id, "ifName": ifname, "result": {}});
            assert_eq!(Entry::parse(text.to_string().as_bytes()), None);
        }
    }

    #[test]
    fn an_entry_is_replaced_as_a_whole_and_nothing_else_stays() {
        let (folder, cache) = cache();
        let entry = Entry::begun(key(), b"{}", "", &CniArgs::default(), &Map::new());
        cache.create(&entry).unwrap();
        let added = entry.added(json!({"cniVersion": "1.1.0"}));
        cache.replace(&added).unwrap();
        assert_eq!(cache.find(&key()).unwrap(), Found::Entry(Box::new(added)));
        let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().mode() & 0o777;
        assert_eq!((mode("results"), mode("results/net-c-eth0")), (0o700, 0o600));
        assert!(files(&cache.pending).unwrap().is_empty());
    }

    #[test]
    fn what_a_killed_writer_left_is_never_written_through() {
        let (_folder, cache) = cache();
        let first = Entry::begun(key(), b"{}", "", &CniArgs::default(), &Map::new());
        cache.create(&first).unwrap();
        // Killed between the two names of the entry.
        fs::hard_link(cache.results.join("net-c-eth0"), cache.pending_file(&key())).unwrap();
        let other =
            Entry::begun(Key::new("net", "c", "eth1").unwrap(), b"[]", "", &CniArgs::default(), &Map::new());
        cache.create(&other).unwrap();
        assert_eq!(cache.find(&key()).unwrap(), Found::Entry(Box::new(first.clone())));
        assert_eq!(cache.entries().unwrap().len(), 2);
        let mut reader = File::open(cache.results.join("net-c-eth0")).unwrap();
        let added = first.clone().added(json!({"cniVersion": "1.1.0"}));
        cache.replace(&added).unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(Entry::parse(&bytes), Some(first), "whoever reads it meanwhile has it whole");
        assert_eq!(cache.find(&key()).unwrap(), Found::Entry(Box::new(added)));
        assert!(files(&cache.pending).unwrap().is_empty());
    }

    #[test]
    fn attachments_of_one_container_are_written_beside_each_other() {
        let (_folder, cache) = cache();
        let entry = |ifname| {
            let key = Key::new("net", "c", ifname).unwrap();
            Entry::begun(key, ifname.as_bytes(), "", &CniArgs::default(), &Map::new())
        };
        let entries = ["eth0", "eth1"].map(entry);
        let written = entries.each_ref().map(|entry| cache.write(entry).unwrap());
        let read = written.map(|path| Entry::parse(&fs::read(path).unwrap()).unwrap());
        assert_eq!(read, entries);
    }

    proptest! {
        #[test]
        fn entries_survive(network in "[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", id in "[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", ifname in "[a-z0-9,%-]{1,15}",
                           config in prop::collection::vec(any::<u8>(), 1..60), value in ".{0,8}", number in any::<u64>()) {
            let capabilities = json!({ value.as_str(): number });
            let args = CniArgs::parse("A=B").unwrap();
            let key = Key::new(&network, &id, &ifname).unwrap();
            let entry = Entry::begun(key.clone(), &config, "/n", &args, capabilities.as_object().unwrap());
            let read = Entry::parse(&entry.to_bytes()).unwrap();
            prop_assert_eq!(read.key(), &key);
            prop_assert_eq!(read.config(), Some(config));
            prop_assert_eq!((read.state(), read.result()), (State::Adding, None));
            prop_assert_eq!(read.args(), args);
            prop_assert_eq!(Value::Object(read.capability_args()), capabilities.clone());
            let added = Entry::parse(&read.added(capabilities.clone()).to_bytes()).unwrap();
            prop_assert_eq!((added.state(), added.result()), (State::Added, Some(&capabilities)));
        }

        #[test]
        fn any_file_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(Entry::parse(&bytes), None);
        }

        #[test]
        fn the_second_file_name_is_nobody_elses(a in "[a-c-]{1,4}", b in "[a-c-]{1,4}", c in "[a-c,-]{1,4}", d in "[a-c-]{1,4}", e in "[a-c-]{1,4}", f in "[a-c,-]{1,4}") {
            let keys = [(a, b, c), (d, e, f)].map(|(network, id, ifname)| Key::new(&network, &id, &ifname));
            if let [Ok(one), Ok(other)] = keys {
                prop_assert_eq!(one.file_names()[1] == other.file_names()[1], one == other);
            }
        }
    }
}
