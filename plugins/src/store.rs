//! The reservations of one network, as files in its directory.
//!
//! | file | content |
//! | --- | --- |
//! | `<address>` | the owner: container ID, CR LF, interface name, as the Go plugin host-local writes it |
//! | `last_reserved_ip.<n>` | the address that range set n gave out last |
//! | `attachments/<digest>` | the addresses of one attachment, one on a line |
//!
//! A process that dies at any point leaves nothing that the attachment's DEL does not find: the list of addresses is
//! there before the first of them, each file appears whole or not at all, and the lock, which is on the directory,
//! dies with the process. Contents are not forced to the disk, as no attachment outlives the kernel.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::attachment::Attachment;
use crate::skel::is_absent;

/// The directory with the lists of addresses.
const INDEX: &str = "attachments";
/// The file that becomes another one when it is complete.
const NEW: &str = ".new";
/// The mode of files: who is attached where is nobody else's business.
const PRIVATE: u32 = 0o600;
/// The mode of directories, whatever the umask is.
const OTHERS_LOOK: u32 = 0o755;
/// The digits of a list's file name: 160 bits.
const DIGITS: usize = 32;

/// A file of the store that cannot be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub(crate) struct StoreError {
    path: PathBuf,
    source: io::Error,
}

/// A locked store.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    // Holds the lock.
    _lock: File,
}

impl Store {
    /// Opens the store for changes, making its directory if need be, and waits until no other process has it open.
    pub(crate) fn create(directory: &Path) -> Result<Store, StoreError> {
        let index = directory.join(INDEX);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(OTHERS_LOOK);
        builder.create(&index).map_err(|source| StoreError { path: index, source })?;
        match Store::lock(directory, true)? {
            Some(store) => Ok(store),
            None => Err(at(directory)(io::ErrorKind::NotFound.into())),
        }
    }

    /// Opens a store that exists, for changes or shared with other readers.
    pub(crate) fn open(directory: &Path, exclusive: bool) -> Result<Option<Store>, StoreError> {
        Store::lock(directory, exclusive)
    }

    fn lock(directory: &Path, exclusive: bool) -> Result<Option<Store>, StoreError> {
        let locked = File::open(directory).and_then(|file| {
            if exclusive {
                file.lock()?
            } else {
                file.lock_shared()?
            }
            Ok(file)
        });
        match locked {
            Ok(lock) => Ok(Some(Store { directory: directory.to_owned(), _lock: lock })),
            Err(error) if is_absent(&error) => Ok(None),
            Err(source) => Err(StoreError { path: directory.to_owned(), source }),
        }
    }

    fn address_file(&self, address: IpAddr) -> PathBuf {
        self.directory.join(address.to_string())
    }

    fn list_file(&self, attachment: &Attachment) -> PathBuf {
        self.directory.join(INDEX).join(attachment.digest(DIGITS))
    }

    fn last_file(&self, set: usize) -> PathBuf {
        self.directory.join(format!("last_reserved_ip.{set}"))
    }

    /// Whether an address is reserved, by whomever.
    pub(crate) fn is_reserved(&self, address: IpAddr) -> bool {
        self.address_file(address).symlink_metadata().is_ok()
    }

    /// The address that a range set gave out last.
    pub(crate) fn last(&self, set: usize) -> Option<IpAddr> {
        fs::read_to_string(self.last_file(set)).ok()?.trim().parse().ok()
    }

    /// Notes the address that a range set gave out last.
    pub(crate) fn set_last(&self, set: usize, address: IpAddr) -> Result<(), StoreError> {
        self.write(&self.last_file(set), &address.to_string())
    }

    /// Reserves addresses, which have to be free, for an attachment, which must not have any.
    pub(crate) fn reserve(&self, attachment: &Attachment, addresses: &[IpAddr]) -> Result<(), StoreError> {
        let list: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        self.write(&self.list_file(attachment), &list)?;
        let owner = owner(attachment);
        addresses.iter().try_for_each(|address| self.write(&self.address_file(*address), &owner))
    }

    /// The addresses that are reserved for an attachment.
    pub(crate) fn of(&self, attachment: &Attachment) -> Result<Vec<IpAddr>, StoreError> {
        let path = self.list_file(attachment);
        let owner = owner(attachment);
        match fs::read_to_string(&path) {
            Ok(list) => {
                let addresses = list.lines().filter_map(|line| line.parse().ok());
                Ok(addresses.filter(|address| self.owner_of(*address).as_deref() == Some(&owner)).collect())
            }
            // The Go plugin has no lists, and an operator may have removed ours.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let all = self.reservations()?;
                Ok(all.into_iter().filter(|(_, found)| *found == owner).map(|(address, _)| address).collect())
            }
            Err(source) => Err(StoreError { path, source }),
        }
    }

    /// Whether an attachment has a list of addresses; cheaper than [`Store::of`] where it has none.
    pub(crate) fn has_list(&self, attachment: &Attachment) -> bool {
        self.list_file(attachment).exists()
    }

    /// Frees what an attachment has. Goes on after an error and reports the first.
    pub(crate) fn release(&self, attachment: &Attachment) -> Result<(), StoreError> {
        let addresses = self.of(attachment)?;
        let mut outcomes: Vec<Result<(), StoreError>> =
            addresses.into_iter().map(|address| remove(&self.address_file(address))).collect();
        // The list goes last, and stays if an address does.
        if outcomes.iter().all(Result::is_ok) {
            outcomes.push(remove(&self.list_file(attachment)));
        }
        outcomes.push(remove(&self.directory.join(NEW)));
        outcomes.into_iter().collect()
    }

    /// Frees what all attachments have but the valid ones. Goes on after an error and reports the first.
    pub(crate) fn release_others(&self, valid: &HashSet<Attachment>) -> Result<(), StoreError> {
        let owners: HashSet<String> = valid.iter().map(owner).collect();
        let lists: HashSet<PathBuf> = valid.iter().map(|attachment| self.list_file(attachment)).collect();
        let mut outcomes = Vec::new();
        for (address, owner) in self.reservations()? {
            if !owners.contains(&owner) {
                outcomes.push(remove(&self.address_file(address)));
            }
        }
        for path in entries(&self.directory.join(INDEX))? {
            if !lists.contains(&path) {
                outcomes.push(remove(&path));
            }
        }
        outcomes.push(remove(&self.directory.join(NEW)));
        outcomes.into_iter().collect()
    }

    /// Every reserved address.
    pub(crate) fn addresses(&self) -> Result<Vec<IpAddr>, StoreError> {
        let names = entries(&self.directory)?;
        Ok(names.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect())
    }

    fn reservations(&self) -> Result<Vec<(IpAddr, String)>, StoreError> {
        let addresses = self.addresses()?.into_iter();
        Ok(addresses.filter_map(|address| Some((address, self.owner_of(address)?))).collect())
    }

    fn owner_of(&self, address: IpAddr) -> Option<String> {
        let text = fs::read_to_string(self.address_file(address)).ok()?;
        Some(text.trim().to_owned())
    }

    /// Writes a file that appears whole or not at all.
    fn write(&self, path: &Path, text: &str) -> Result<(), StoreError> {
        let new = self.directory.join(NEW);
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(PRIVATE);
        options.open(&new).and_then(|mut file| file.write_all(text.as_bytes())).map_err(at(&new))?;
        fs::rename(&new, path).map_err(at(path))
    }
}

fn owner(attachment: &Attachment) -> String {
    format!("{}\r\n{}", attachment.container, attachment.ifname)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError { path: path.to_owned(), source }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// The paths in a directory; none if there is no directory.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at(directory)(error)),
        Ok(found) => found.map(|entry| entry.map(|entry| entry.path()).map_err(at(directory))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_is_no_store() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [PathBuf::from("x".repeat(300)), file.path().join("below")] {
            assert!(Store::open(&path, true).unwrap().is_none());
            assert!(Store::create(&path).is_err());
        }
    }

    fn attachment(container: &str, ifname: &str) -> Attachment {
        Attachment { network: "n".into(), container: container.into(), ifname: ifname.into() }
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn reservations_belong_to_attachments() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("n")).unwrap();
        let (one, two) = (attachment("c", "eth0"), attachment("c", "eth1"));
        store.reserve(&one, &[ip(1), ip(2)]).unwrap();
        store.reserve(&two, &[ip(3)]).unwrap();
        assert!(store.is_reserved(ip(1)) && !store.is_reserved(ip(4)));
        assert_eq!(store.of(&one).unwrap(), [ip(1), ip(2)]);
        store.release(&one).unwrap();
        store.release(&one).unwrap();
        assert!(!store.has_list(&one) && store.has_list(&two));
        assert_eq!(store.addresses().unwrap(), [ip(3)]);
    }

    #[test]
    fn reservations_without_a_list_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(directory.path()).unwrap();
        fs::write(directory.path().join("10.0.0.9"), "c\r\neth0").unwrap();
        assert_eq!(store.of(&attachment("c", "eth0")).unwrap(), [ip(9)]);
        assert!(store.of(&attachment("c", "eth")).unwrap().is_empty());
        store.release(&attachment("c", "eth0")).unwrap();
        assert!(store.addresses().unwrap().is_empty());
    }

    #[test]
    fn a_list_does_not_reach_the_addresses_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(directory.path()).unwrap();
        let (one, two) = (attachment("c", "eth0"), attachment("d", "eth0"));
        store.reserve(&one, &[ip(1)]).unwrap();
        // As after a process that died between the list and the address.
        fs::write(store.list_file(&two), "10.0.0.1\n").unwrap();
        assert!(store.of(&two).unwrap().is_empty());
        store.release(&two).unwrap();
        assert_eq!(store.of(&one).unwrap(), [ip(1)]);
    }

    #[test]
    fn collection_goes_on_after_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(directory.path()).unwrap();
        let (kept, stale) = (attachment("c", "eth0"), attachment("c", "eth1"));
        store.reserve(&kept, &[ip(1)]).unwrap();
        store.reserve(&stale, &[ip(2)]).unwrap();
        // A directory cannot be removed as a file.
        fs::create_dir(directory.path().join(INDEX).join("x")).unwrap();
        assert!(store.release_others(&HashSet::from([kept.clone()])).is_err());
        assert_eq!(store.addresses().unwrap(), [ip(1)]);
        assert_eq!(store.of(&kept).unwrap(), [ip(1)]);
        assert!(!store.has_list(&stale));
    }

    #[test]
    fn the_last_address_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(directory.path()).unwrap();
        assert_eq!(store.last(0), None);
        store.set_last(0, ip(7)).unwrap();
        assert_eq!((store.last(0), store.last(1)), (Some(ip(7)), None));
        assert!(Store::open(&directory.path().join("absent"), false).unwrap().is_none());
    }
}
