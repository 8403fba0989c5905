//! What things were like before ADD changed them, in a file for each attachment, so that DEL can bring it back.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::attachment::Attachment;
use crate::refusal::Refusal;
use crate::skel::{io_failure, is_absent};

/// The digits of a file's name: 160 bits.
const DIGITS: usize = 32;
/// How often a file is written anew because another DEL removed the empty folder meanwhile.
const ATTEMPTS: usize = 1000;

/// Attributes of an interface and settings, as far as they matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) mac: Option<String>,
    pub(super) mtu: Option<u32>,
    pub(super) promiscuous: Option<bool>,
    pub(super) all_multicast: Option<bool>,
    pub(super) tx_queue: Option<u32>,
    /// Files below `/proc/sys` and their values, in the order in which they were changed.
    pub(super) sysctls: Vec<(String, String)>,
}

impl State {
    /// This, and of the later state what this does not say.
    pub(super) fn or(self, later: State) -> State {
        let mut sysctls = self.sysctls;
        for (file, value) in later.sysctls {
            if !sysctls.iter().any(|(known, _)| *known == file) {
                sysctls.push((file, value));
            }
        }
        State {
            mac: self.mac.or(later.mac),
            mtu: self.mtu.or(later.mtu),
            promiscuous: self.promiscuous.or(later.promiscuous),
            all_multicast: self.all_multicast.or(later.all_multicast),
            tx_queue: self.tx_queue.or(later.tx_queue),
            sysctls,
        }
    }

    fn to_value(&self) -> Value {
        let sysctls: Map<String, Value> =
            self.sysctls.iter().map(|(file, value)| (file.clone(), json!(value))).collect();
        json!({
            "mac": self.mac, "mtu": self.mtu, "promisc": self.promiscuous, "allmulti": self.all_multicast,
            "txQLen": self.tx_queue, "sysctl": sysctls,
        })
    }

    fn from_value(value: &Value) -> State {
        let number = |key: &str| value[key].as_u64().and_then(|number| u32::try_from(number).ok());
        let pair = |(file, value): (&String, &Value)| Some((file.clone(), value.as_str()?.to_owned()));
        State {
            mac: value["mac"].as_str().map(str::to_owned),
            mtu: number("mtu"),
            promiscuous: value["promisc"].as_bool(),
            all_multicast: value["allmulti"].as_bool(),
            tx_queue: number("txQLen"),
            sysctls: value["sysctl"].as_object().into_iter().flatten().filter_map(pair).collect(),
        }
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backup {
    pub(super) attachment: Attachment,
    /// Where the namespace was, for GC.
    pub(super) netns_path: String,
    /// The namespace, by device and inode.
    pub(super) netns: (u64, u64),
    /// The index of the interface.
    pub(super) interface: u32,
    pub(super) before: State,
}

impl Backup {
    /// Whether both are of the same interface.
    pub(super) fn is_same_interface(&self, other: &Backup) -> bool {
        (self.netns, self.interface) == (other.netns, other.interface)
    }

    fn to_value(&self) -> Value {
        let Attachment { network, container, ifname } = &self.attachment;
        json!({
            "network": network, "containerID": container, "ifname": ifname, "netnsPath": self.netns_path,
            "netns": [self.netns.0, self.netns.1], "interface": self.interface, "before": self.before.to_value(),
        })
    }

    fn from_value(value: &Value) -> Option<Backup> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        Some(Backup {
            attachment: Attachment {
                network: text("network")?,
                container: text("containerID")?,
                ifname: text("ifname")?,
            },
            netns_path: text("netnsPath")?,
            netns: (value["netns"][0].as_u64()?, value["netns"][1].as_u64()?),
            interface: u32::try_from(value["interface"].as_u64()?).ok()?,
            before: State::from_value(&value["before"]),
        })
    }
}

/// The folder with the files.
#[derive(Debug)]
pub(super) struct Folder<'a>(pub(super) &'a Path);

impl Folder<'_> {
    fn file(&self, attachment: &Attachment) -> PathBuf {
        self.0.join(format!("{}.json", attachment.digest(DIGITS)))
    }

    /// Where a file is written before it takes its place.
    fn new_file(&self, attachment: &Attachment) -> PathBuf {
        self.0.join(format!(".{}.new", attachment.digest(DIGITS)))
    }

    /// What is kept of an attachment. A file that does not say so is none.
    pub(super) fn read(&self, attachment: &Attachment) -> Result<Option<Backup>, Refusal> {
        let path = self.file(attachment);
        let backup = read(&path)?;
        Ok(backup.filter(|backup| backup.attachment == *attachment))
    }

    /// Keeps a backup: readable by the owner alone, whole or not at all.
    pub(super) fn write(&self, backup: &Backup) -> Result<(), Refusal> {
        let failure = |error| io_failure(format!("cannot keep a backup in {}", self.0.display()), &error);
        if let Some(parent) = self.0.parent() {
            fs::create_dir_all(parent).map_err(failure)?;
        }
        let mut attempt = 1;
        loop {
            match self.write_once(backup) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome.map_err(failure),
            }
        }
    }

    fn write_once(&self, backup: &Backup) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(self.0) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let new = self.new_file(&backup.attachment);
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(backup.to_value().to_string().as_bytes())?;
        fs::rename(&new, self.file(&backup.attachment))
    }

    /// Removes what is kept of an attachment, and the folder with the last file.
    pub(super) fn remove(&self, attachment: &Attachment) -> Result<(), Refusal> {
        for path in [self.file(attachment), self.new_file(attachment)] {
            match fs::remove_file(&path) {
                Err(error) if !is_absent(&error) => {
                    return Err(io_failure(format!("cannot remove {}", path.display()), &error));
                }
                _ => {}
            }
        }
        // It stays while there are other files in it.
        let _ = fs::remove_dir(self.0);
        Ok(())
    }

    /// All backups.
    pub(super) fn all(&self) -> Result<Vec<Backup>, Refusal> {
        let failure = |error| io_failure(format!("cannot list {}", self.0.display()), &error);
        let entries = match fs::read_dir(self.0) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failure(error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(failure)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                all.extend(read(&path)?.filter(|backup| self.file(&backup.attachment) == path));
            }
        }
        Ok(all)
    }
}

fn read(path: &Path) -> Result<Option<Backup>, Refusal> {
    match fs::read(path) {
        Ok(bytes) => {
            let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            Ok(Backup::from_value(&value))
        }
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(io_failure(format!("cannot read {}", path.display()), &error)),
    }
}

/// Reads what stands in a file; what is read is written the same.
#[cfg(feature = "fuzzing")]
pub(super) fn read_any(bytes: &[u8]) {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    if let Some(backup) = Backup::from_value(&value) {
        assert_eq!(Backup::from_value(&backup.to_value()), Some(backup));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn backup(container: &str) -> Backup {
        Backup {
            attachment: Attachment {
                network: "n".into(),
                container: container.into(),
                ifname: "eth0".into(),
            },
            netns_path: "/run/netns/x".into(),
            netns: (4, u64::MAX),
            interface: 2,
            before: State {
                mac: Some("02:00:00:00:00:01".into()),
                mtu: Some(1500),
                promiscuous: Some(false),
                sysctls: vec![("net/b".into(), "1\t2".into()), ("net/a".into(), String::new())],
                ..State::default()
            },
        }
    }

    #[test]
    fn backups_are_kept_for_their_owner_alone_and_leave_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/tuning");
        let folder = Folder(&path);
        let (one, two) = (backup("c"), backup("d"));
        assert_eq!(folder.read(&one.attachment).unwrap(), None);
        folder.remove(&one.attachment).unwrap();
        folder.write(&one).unwrap();
        folder.write(&two).unwrap();
        assert_eq!(folder.read(&one.attachment).unwrap(), Some(one.clone()));
        assert_eq!(folder.all().unwrap().len(), 2);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&folder.file(&one.attachment))), (0o700, 0o600));
        folder.remove(&one.attachment).unwrap();
        assert_eq!(folder.all().unwrap(), std::slice::from_ref(&two));
        folder.remove(&two.attachment).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_cannot_be_holds_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [PathBuf::from("x".repeat(300)), file.path().join("below")] {
            let folder = Folder(&path);
            let own = backup("c");
            assert_eq!((folder.read(&own.attachment).unwrap(), folder.all().unwrap()), (None, Vec::new()));
            folder.remove(&own.attachment).unwrap();
            folder.write(&own).unwrap_err();
        }
    }

    #[test]
    fn files_that_are_none_of_ours_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder(folder.path());
        let own = backup("c");
        for text in ["", "{}", "[1]", r#"{"mac": "02:00:00:00:00:01"}"#] {
            fs::write(folder.file(&own.attachment), text).unwrap();
            fs::write(folder.0.join("c_eth0.json"), text).unwrap();
            assert_eq!((folder.read(&own.attachment).unwrap(), folder.all().unwrap()), (None, Vec::new()));
        }
    }

    #[test]
    fn the_earlier_state_counts() {
        let first = State { mtu: Some(1500), sysctls: vec![("a".into(), "1".into())], ..State::default() };
        let second = State {
            mtu: Some(1400),
            mac: Some("m".into()),
            sysctls: vec![("a".into(), "2".into()), ("b".into(), "3".into())],
            ..State::default()
        };
        let both = first.or(second);
        assert_eq!((both.mtu, both.mac.as_deref()), (Some(1500), Some("m")));
        assert_eq!(both.sysctls, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "3".to_owned())]);
    }
}
