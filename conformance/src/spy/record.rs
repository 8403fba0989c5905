//! What spies write down.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{FOLDER, Variables};

/// The folder of the records, below [`FOLDER`].
pub const RECORDS: &str = "records";

/// How long a spy waits for the end of its input: a runtime that leaves it open longer leaves it open.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes kept of the input.
const KEPT: usize = 1 << 20;

/// An open descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Its number.
    pub number: u32,
    /// What it is, as the kernel says it: `pipe:[1]` or a path.
    pub target: String,
}

/// One execution of a spy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place among all executions, by when they began.
    pub number: u32,
    /// The spy's name.
    pub plugin: String,
    /// The path that it was executed by.
    pub program: String,
    /// Arguments after that.
    pub arguments: Vec<String>,
    /// Nanoseconds since the kernel started, when it began.
    pub began: u64,
    /// The environment in its order, duplicates kept.
    pub environment: Vec<(String, String)>,
    /// What stood on stdin.
    pub stdin: String,
    /// Whether stdin ended.
    pub stdin_ended: bool,
    /// The working directory.
    pub directory: String,
    /// The descriptors beyond the first three.
    pub descriptors: Vec<Descriptor>,
    /// The network namespace that it was executed in, by inode.
    pub own_netns: u64,
    /// The namespace that CNI_NETNS names, by inode; `None` when there is none at that path.
    pub netns: Option<u64>,
    /// How it ended; `None` while it has not, and for ever when it was killed.
    #[serde(skip)]
    pub ending: Option<Ending>,
}

/// How an execution ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Nanoseconds since the kernel started.
    pub ended: u64,
    /// The exit status.
    pub status: u8,
    /// What was printed.
    pub stdout: String,
    /// The signals that came, by name.
    pub signals: Vec<String>,
}

impl Record {
    /// What this process was executed with.
    pub(super) fn of_process(name: &str) -> Record {
        let began = now();
        let descriptors = descriptors();
        let lossy = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        let mut arguments = std::env::args_os();
        let program = arguments.next().unwrap_or_default();
        let (stdin, stdin_ended) = stdin();
        let mut record = Record {
            number: 0,
            plugin: name.to_owned(),
            program: lossy(&program),
            arguments: arguments.map(|text| lossy(&text)).collect(),
            began,
            environment: std::env::vars_os().map(|(key, value)| (lossy(&key), lossy(&value))).collect(),
            stdin,
            stdin_ended,
            directory: std::env::current_dir().map(|path| lossy(path.as_os_str())).unwrap_or_default(),
            descriptors,
            own_netns: inode("/proc/self/ns/net").unwrap_or_default(),
            netns: None,
            ending: None,
        };
        record.netns = record.variable("CNI_NETNS").and_then(inode);
        record
    }

    /// Writes it down and answers its number.
    pub(super) fn write(&self, folder: &Path) -> io::Result<u32> {
        let records = folder.join(RECORDS);
        fs::create_dir_all(&records)?;
        for number in 1.. {
            // Whoever makes the file has the number.
            match fs::File::create_new(records.join(format!("{number:06}"))) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    let record = Record { number, ..self.clone() };
                    let text = serde_json::to_vec(&record)?;
                    let name = |suffix| records.join(file_name(number, &self.plugin, self.command(), suffix));
                    fs::write(name("part"), text)?;
                    fs::rename(name("part"), name("json"))?;
                    return Ok(number);
                }
            }
        }
        Err(io::Error::other("no number is free"))
    }

    /// The value of a variable: that of the last one of the name.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// CNI_COMMAND, or nothing.
    pub fn command(&self) -> &str {
        self.variable("CNI_COMMAND").unwrap_or_default()
    }

    /// The variables of the protocol.
    pub fn parameters(&self) -> Variables {
        let own = self.environment.iter().filter(|(key, _)| key.starts_with("CNI_"));
        own.cloned().collect()
    }

    /// The object on stdin; an empty one when there is none.
    pub fn request(&self) -> Map<String, Value> {
        match serde_json::from_str(&self.stdin) {
            Ok(Value::Object(object)) => object,
            _ => Map::new(),
        }
    }

    /// `alpha ADD`
    pub fn label(&self) -> String {
        format!("{} {}", self.plugin, self.command())
    }
}

impl Ending {
    /// Writes it down, with this moment as its end.
    pub(super) fn end(&mut self, folder: &Path, number: u32) -> io::Result<()> {
        self.ended = now();
        let text = serde_json::to_vec(self)?;
        fs::write(folder.join(RECORDS).join(ending_name(number)), text)
    }
}

/// The name of a record's file.
pub fn file_name(number: u32, plugin: &str, command: &str, suffix: &str) -> String {
    let word = command.chars().all(|c| c.is_ascii_uppercase()) && !command.is_empty();
    format!("{number:06}.{plugin}.{}.{suffix}", if word { command } else { "-" })
}

/// The name of the file that completes a record.
pub(super) fn ending_name(number: u32) -> String {
    format!("{number:06}.end")
}

/// The name of the file that completes the record of this file name; `None` when it is no record.
pub fn complete(name: &str) -> Option<String> {
    let number = name.strip_suffix(".json")?.split('.').next()?;
    number.parse().ok().map(ending_name)
}

/// A record from its file, and the one that completes it.
///
/// # Errors
/// When it is no record.
pub fn read(record: &[u8], ending: Option<&[u8]>) -> serde_json::Result<Record> {
    let record: Record = serde_json::from_slice(record)?;
    // An ending that is half written is none yet.
    let ending = ending.and_then(|text| serde_json::from_slice(text).ok());
    Ok(Record { ending, ..record })
}

/// How many executions of a spy with an operation began before.
pub(super) fn calls_before(folder: &Path, number: u32, plugin: &str, command: &str) -> u32 {
    let wanted = file_name(0, plugin, command, "json");
    let wanted = wanted.trim_start_matches('0');
    let names = fs::read_dir(folder.join(RECORDS)).into_iter().flatten().flatten();
    let earlier = names.filter(|entry| {
        let name = entry.file_name();
        let Some((own, rest)) = name.to_str().and_then(|name| name.split_at_checked(6)) else { return false };
        rest == wanted && own.parse::<u32>().is_ok_and(|own| own < number)
    });
    u32::try_from(earlier.count()).unwrap_or(u32::MAX)
}

/// Nanoseconds since the kernel started: one clock for all processes, which nobody sets.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn inode(path: impl AsRef<Path>) -> Option<u64> {
    // A file that is no namespace has an inode too.
    let file = fs::File::open(path.as_ref()).ok()?;
    let kind = fstatfs(file.as_fd()).ok()?.filesystem_type();
    if kind == NSFS_MAGIC { file.metadata().ok().map(|meta| meta.ino()) } else { None }
}

fn descriptors() -> Vec<Descriptor> {
    let folder = PathBuf::from("/proc/self/fd");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut all: Vec<Descriptor> = entries
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            Some(Descriptor { number, target })
        })
        // The folder itself is open while it is read, and the descriptor that watches for signals is the spy's own.
        .filter(|one| {
            one.number > 2 && !one.target.starts_with("/proc/") && !one.target.contains("[signalfd]")
        })
        .collect();
    all.sort_by_key(|one| one.number);
    all
}

/// What stdin holds, and whether it ended.
fn stdin() -> (String, bool) {
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut chunk = vec![0; 64 << 10];
        loop {
            match stdin.read(&mut chunk) {
                Ok(0) => break drop(tell.send(None)),
                Ok(count) => drop(tell.send(Some(chunk[..count].to_vec()))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break drop(tell.send(None)),
            }
        }
    });
    let mut read = Vec::new();
    let ended = loop {
        match told.recv_timeout(PATIENCE) {
            Ok(Some(chunk)) => {
                read.extend_from_slice(&chunk[..chunk.len().min(KEPT.saturating_sub(read.len()))])
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    (String::from_utf8_lossy(&read).into_owned(), ended)
}

/// The folder of records of the spies in a folder.
pub fn records_of(folder: &Path) -> PathBuf {
    folder.join(FOLDER).join(RECORDS)
}
