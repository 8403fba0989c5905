//! What a plugin that was built with coverage counted: the files that it writes when it exits.
//!
//! Go (`go build -cover`) writes `covcounters.*` into the folder that GOCOVERDIR names, Rust and clang (`-C
//! instrument-coverage`, `-fprofile-instr-generate`) write the file that LLVM_PROFILE_FILE names. Both formats are read here
//! as far as it takes to know which counter counted how far; a plugin that is killed writes nothing.
//!
//! The crates that read these formats want all of it, names and source lines included, and much of theirs with them.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where plugins write their counters; no snapshot looks there.
pub(super) const SEEN_AT: &str = "/run/cnitest-coverage";

/// The same folder in the store.
pub(super) const DIRECTORY: &str = "coverage";

/// What has plugins write them: those of one program and process have one file.
pub(super) const VARIABLES: [(&str, &str); 2] =
    [("GOCOVERDIR", SEEN_AT), ("LLVM_PROFILE_FILE", "/run/cnitest-coverage/%p-%m.profraw")];

/// Bytes that are read at most in one go: what a plugin writes there is its own affair.
const MOST: u64 = 128 << 20;

/// A counter that counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hit {
    /// Which: equal for the same place of the same program.
    pub counter: u64,
    /// How far it counted, as the number of bits of its value.
    pub magnitude: u8,
}

/// What was counted since it was last asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The counters that counted, sorted, each as often as executions differ in how far it did.
    pub hits: Vec<Hit>,
    /// Why a file could not be read.
    pub unread: Option<String>,
}

/// Why a file of counters cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Unread {
    #[error("it ends too early")]
    Short,
    #[error("it does not begin as such a file does")]
    Magic,
    #[error("version {0} of the format is not known")]
    Version(u64),
    #[error("counters of kind {0} are not known")]
    Kind(u8),
}

/// Reads the counters that lie in the store, and removes them. The working directory must be the store.
pub(super) fn take() -> io::Result<Counted> {
    take_from(Path::new(DIRECTORY))
}

fn take_from(folder: &Path) -> io::Result<Counted> {
    let mut counted = Counted::default();
    let mut left = MOST;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // What a Go program says of itself is the same each time: it is written once.
        if name.starts_with("covmeta.") {
            continue;
        }
        let read = if name.starts_with("covcounters.") {
            Some(content(&entry.path(), &mut left).map(|bytes| go(&bytes)))
        } else if let Some(stem) = name.strip_suffix(".profraw") {
            let program = stem.split_once('-').map_or("", |(_, program)| program);
            Some(content(&entry.path(), &mut left).map(|bytes| llvm(&bytes, program)))
        } else {
            None
        };
        match read {
            Some(Ok(Ok(hits))) => counted.hits.extend(hits),
            Some(Ok(Err(error))) => counted.unread = Some(format!("{name}: {error}")),
            Some(Err(error)) => counted.unread = Some(format!("{name}: {error}")),
            None => {}
        }
        // A folder is nothing that any coverage makes, and nothing to fail for.
        let _ = fs::remove_file(entry.path());
    }
    counted.hits.sort_unstable();
    counted.hits.dedup();
    Ok(counted)
}

/// A regular file, as far as `left` bytes go.
fn content(path: &Path, left: &mut u64) -> io::Result<Vec<u8>> {
    // A plugin may have put a link or a pipe there.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    *left -= file.take(*left).read_to_end(&mut bytes)? as u64;
    Ok(bytes)
}

fn hit(place: &impl Hash, count: u64) -> Option<Hit> {
    let magnitude = u8::try_from(u64::BITS - count.leading_zeros()).ok().filter(|bits| *bits > 0)?;
    let mut hash = DefaultHasher::new();
    place.hash(&mut hash);
    Some(Hit { counter: hash.finish(), magnitude })
}

/// Bytes that are read one after another.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Unread> {
        let length = usize::try_from(length).map_err(|_| Unread::Short)?;
        let end = self.at.checked_add(length).ok_or(Unread::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Unread::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unread> {
        self.take(N as u64)?.try_into().map_err(|_| Unread::Short)
    }

    fn u32(&mut self) -> Result<u32, Unread> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Unread> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number in groups of seven bits, the lowest first.
    fn uleb(&mut self) -> Result<u32, Unread> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Unread::Short);
            }
        }
        Err(Unread::Short)
    }
}

/// Go's `covcounters.*` (`internal/coverage/defs.go`): a header, segments that each begin with the numbers of functions and of
/// bytes of two tables, and 16 bytes after each segment. A function has a number of counters, its package, its own
/// number, and the counters.
fn go(bytes: &[u8]) -> Result<Vec<Hit>, Unread> {
    const MAGIC: [u8; 4] = *b"\0cwm";
    const FOOTER: u64 = 16;
    let mut file = Cursor::new(bytes);
    if file.array()? != MAGIC {
        return Err(Unread::Magic);
    }
    let version = file.u32()?;
    if version != 1 {
        return Err(Unread::Version(version.into()));
    }
    let program: [u8; 16] = file.array()?;
    let [kind, big_endian, ..] = file.array::<8>()?;
    let number = |file: &mut Cursor<'_>| match (kind, big_endian) {
        (1, 0) => file.u32(),
        (1, _) => file.array().map(u32::from_be_bytes),
        (2, _) => file.uleb(),
        _ => Err(Unread::Kind(kind)),
    };
    let mut hits = Vec::new();
    while file.at < bytes.len() {
        let functions = file.u64()?;
        let tables = u64::from(file.u32()?) + u64::from(file.u32()?);
        file.take(tables)?;
        file.take((file.at.next_multiple_of(4) - file.at) as u64)?;
        for _ in 0..functions {
            let counters = number(&mut file)?;
            let function = (number(&mut file)?, number(&mut file)?);
            for index in 0..counters {
                hits.extend(hit(&(program, function, index), number(&mut file)?.into()));
            }
        }
        file.take(FOOTER)?;
    }
    Ok(hits)
}

/// LLVM's `.profraw` (`InstrProfData.inc`): a header of 64-bit numbers, ids of the program, one record for each function, and
/// the counters of all of them, of eight bytes each. `program` tells one program from another.
fn llvm(bytes: &[u8], program: &str) -> Result<Vec<Hit>, Unread> {
    const MAGIC: u64 = u64::from_be_bytes(*b"\xfflprofr\x81");
    /// Counters are bytes that are 0 when their place was reached, and 255 before.
    const SINGLE_BYTE: u64 = 1 << 60;
    let mut file = Cursor::new(bytes);
    if file.u64()? != MAGIC {
        return Err(Unread::Magic);
    }
    let flags = file.u64()?;
    let version = flags & 0x00ff_ffff_ffff_ffff;
    // The numbers that follow, and the bytes of a record. Since 9 there are bitmaps, since 10 virtual tables.
    let (numbers, record) = match version {
        8 => (9, 48),
        9 => (12, 64),
        10 => (14, 64),
        other => return Err(Unread::Version(other & !(0xff << 56))),
    };
    let mut header = [0; 14];
    for number in header.iter_mut().take(numbers) {
        *number = file.u64()?;
    }
    let [ids, records, before, counters, ..] = header;
    file.take(ids)?;
    file.take(records.checked_mul(record).ok_or(Unread::Short)?)?;
    file.take(before)?;
    let single = flags & SINGLE_BYTE != 0;
    let counters = file.take(counters.checked_mul(if single { 1 } else { 8 }).ok_or(Unread::Short)?)?;
    let hits = if single {
        let reached = counters.iter().enumerate().filter(|(_, byte)| **byte == 0);
        reached.filter_map(|(index, _)| hit(&(program, index), 1)).collect()
    } else {
        let (counters, _) = counters.as_chunks::<8>();
        let values = counters.iter().map(|bytes| u64::from_le_bytes(*bytes)).enumerate();
        values.filter_map(|(index, value)| hit(&(program, index), value)).collect()
    };
    Ok(hits)
}

/// Reads bytes as every kind of file.
#[cfg(feature = "fuzzing")]
pub(super) fn read_any(bytes: &[u8]) {
    for hits in [go(bytes), llvm(bytes, "")].into_iter().flatten() {
        assert!(hits.len() <= bytes.len() && hits.iter().all(|hit| (1..=64).contains(&hit.magnitude)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file as Go 1.20 and later write it: functions with their package, number and counters.
    fn go_file(kind: u8, tables: &[u8], functions: &[(u32, u32, Vec<u32>)]) -> Vec<u8> {
        let mut bytes =
            [&b"\0cwm"[..], &1_u32.to_le_bytes(), &[7; 16], &[kind, 0, 0, 0, 0, 0, 0, 0]].concat();
        bytes.extend((functions.len() as u64).to_le_bytes());
        bytes.extend((tables.len() as u32).to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(tables);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let mut put = |mut value: u32| match kind {
            1 => bytes.extend(value.to_le_bytes()),
            _ => loop {
                let low = (value & 0x7f) as u8;
                value >>= 7;
                bytes.push(if value > 0 { low | 0x80 } else { low });
                if value == 0 {
                    break;
                }
            },
        };
        for (package, function, counters) in functions {
            [counters.len() as u32, *package, *function].into_iter().for_each(&mut put);
            counters.iter().copied().for_each(&mut put);
        }
        bytes.extend(*b"\0cwm\0\0\0\0\x01\0\0\0\0\0\0\0");
        bytes
    }

    /// A file as LLVM writes it.
    fn llvm_file(version: u64, records: u64, counters: &[u64]) -> Vec<u8> {
        let (numbers, record) = match version {
            8 => (9, 48),
            9 => (12, 64),
            _ => (14, 64),
        };
        let mut header = vec![0xff6c_7072_6f66_7281, version, 8, records, 0, counters.len() as u64];
        header.resize(2 + numbers, 0);
        let mut bytes: Vec<u8> = header.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.resize(bytes.len() + 8 + (records * record) as usize, 0xee);
        bytes.extend(counters.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(*b"names");
        bytes
    }

    fn magnitudes(hits: &[Hit]) -> Vec<u8> {
        hits.iter().map(|hit| hit.magnitude).collect()
    }

    #[test]
    fn counters_of_go_are_read() {
        let functions = [(0, 3, vec![1, 0, 300]), (1, 3, vec![1])];
        for kind in [1, 2] {
            let hits = go(&go_file(kind, b"argc\0", &functions)).unwrap();
            assert_eq!(magnitudes(&hits), [1, 9, 1]);
            let names: std::collections::BTreeSet<u64> = hits.iter().map(|hit| hit.counter).collect();
            assert_eq!(names.len(), 3, "each place is one of its own");
        }
        assert_eq!(go(&go_file(3, b"", &functions)), Err(Unread::Kind(3)));
        assert_eq!(go(b"\0cvm"), Err(Unread::Magic));
        assert_eq!(go(b"\0cwm\x02\0\0\0"), Err(Unread::Version(2)));
        assert_eq!(go(b""), Err(Unread::Short));
    }

    #[test]
    fn counters_of_llvm_are_read() {
        for version in [8, 9, 10] {
            let hits = llvm(&llvm_file(version, 2, &[0, 1, 5, u64::MAX]), "a").unwrap();
            assert_eq!(magnitudes(&hits), [1, 3, 64], "version {version}");
            assert_ne!(hits, llvm(&llvm_file(version, 2, &[0, 1, 5, u64::MAX]), "b").unwrap());
        }
        let mut single = llvm_file(10, 1, &[]);
        single[15] = 0x10;
        single[40] = 3;
        let end = single.len() - 5;
        single.splice(end..end, [0, 255, 0]);
        assert_eq!(magnitudes(&llvm(&single, "").unwrap()), [1, 1]);
        assert_eq!(llvm(&llvm_file(77, 1, &[]), ""), Err(Unread::Version(77)));
        assert_eq!(llvm(b"\x81rforpm\xff", ""), Err(Unread::Magic));
    }

    /// What a program of clang 14 wrote, with a build ID in it, after a loop of three rounds.
    const CLANG_14: [u64; 25] = [
        0xff6c_7072_6f66_7281,
        0x8,
        0x20,
        0x1,
        0x0,
        0x2,
        0x0,
        0xe,
        0xffff_ffff_ffff_fff0,
        0x564f_cbf4_2b3d,
        0x1,
        0x14,
        0xc278_d428_a3c3_6774,
        0x0c06_c3b1_00ee_d465,
        0xad0f_2287,
        0xdb95_6436_e78d_d5fa,
        0x046d_161c,
        0xffff_ffff_ffff_fff0,
        0x0,
        0x0,
        0x2,
        0x1,
        0x3,
        0xcccc_4dcb_da78_0c04,
        0xa601_1b04_0003,
    ];

    #[test]
    fn counters_of_clang_14_are_read() {
        let bytes: Vec<u8> = CLANG_14.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(magnitudes(&llvm(&bytes, "small").unwrap()), [1, 2]);
    }

    #[test]
    fn files_are_read_once_and_only_those_that_are_files() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        put("covmeta.07", b"any");
        put("covcounters.07.1.2", &go_file(2, b"", &[(0, 0, vec![1])]));
        put("3-55_0.profraw", &llvm_file(10, 1, &[2]));
        put("4-55_0.profraw", &llvm_file(10, 1, &[2]));
        put("tmp.covmeta", b"half");
        let counted = take_from(folder.path()).unwrap();
        assert_eq!((counted.hits.len(), counted.unread), (2, None), "one program counts as one");
        put("broken.profraw", b"\x81rforpl\xff");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("covcounters.1.2.3")).unwrap();
        let counted = take_from(folder.path()).unwrap();
        assert_eq!(counted.hits, []);
        assert!(counted.unread.is_some());
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
        assert_eq!(left, ["covmeta.07"]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(
            kind in any::<bool>(),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            end in any::<prop::sample::Index>(),
        ) {
            let mut bytes = match kind {
                true => go_file(2, b"abc", &[(0, 3, vec![1, 0, 300]), (1, 3, vec![1])]),
                false => llvm_file(10, 2, &[0, 1, 5]),
            };
            let place = place.index(bytes.len());
            bytes[place] = byte;
            bytes.truncate(end.index(bytes.len() + 1));
            for hits in [go(&bytes), llvm(&bytes, "")].into_iter().flatten() {
                prop_assert!(hits.len() <= bytes.len());
            }
        }

        #[test]
        fn what_go_writes_is_what_is_read(
            kind in 1_u8..=2,
            functions in prop::collection::vec((any::<u32>(), any::<u32>(), prop::collection::vec(any::<u32>(), 0..5)), 0..5),
        ) {
            let hits = go(&go_file(kind, b"x", &functions)).unwrap();
            let values = functions.iter().flat_map(|(_, _, counters)| counters).filter(|value| **value > 0);
            let bits: Vec<u8> = values.map(|value| (32 - value.leading_zeros()) as u8).collect();
            prop_assert_eq!(magnitudes(&hits), bits);
        }
    }
}
