//! What cnitest and the agent say to each other: requests and replies, each a length and a body.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::codec;
use super::counters::Counted;
use super::error::Refusal;
use super::feature::Feature;
use super::network::NetOp;
use super::packets::{Exchange, Exchanged};
use super::snapshot::{Scope, Snapshot};
use super::tracking::Flow;
use super::unrest::Unrest;
use super::{ArenaConfig, DirEntry};
use crate::invoke::{Execution, Invocation, Place};

/// A message longer than this is an error in cnitest; it bounds what a broken length can make us allocate.
const LONGEST: usize = 1 << 30;

/// What the agent is asked to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first message: how to build the arena.
    Start(ArenaConfig),
    /// At the same time.
    Execute(Vec<Invocation>),
    /// One after another, until one runs into its deadline.
    ExecuteEach(Vec<Invocation>),
    /// Beside those under way, until one of them all ends.
    Advance(Vec<(u64, Invocation)>, Duration),
    StartBackground(Box<Invocation>),
    StopBackground(u64),
    /// Bare or not.
    CreateNetns(String, bool),
    DeleteNetns(String),
    Network(Place, NetOp),
    Exchange(Exchange),
    Track(Place, Flow),
    Tracked(Place),
    Snapshot(Scope),
    ReadFile(#[serde(with = "codec::path")] PathBuf),
    WriteFile {
        #[serde(with = "codec::path")]
        path: PathBuf,
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
        mode: u32,
    },
    RemovePath(#[serde(with = "codec::path")] PathBuf),
    MakeDir(#[serde(with = "codec::path")] PathBuf, u32),
    ListDir(#[serde(with = "codec::path")] PathBuf),
    MakeSymlink {
        #[serde(with = "codec::path")]
        target: PathBuf,
        #[serde(with = "codec::path")]
        path: PathBuf,
    },
    SetSysctl {
        place: Place,
        name: String,
        value: String,
    },
    GetSysctl {
        place: Place,
        name: String,
    },
    ProbeLinkKind(String),
    ProbeQdiscKind(String),
    ProbeFeature(Feature),
    AddPciDevice {
        address: String,
        link: String,
    },
    LeaveRoom(Option<u64>),
    StartUnrest(Place),
    StopUnrest,
    HasProgram(String),
    Reset,
    Reboot,
    KillLeftOvers {
        background_too: bool,
    },
    TakeCounters,
}

/// What the agent answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    Executions(Vec<Execution>),
    Ended(Vec<(u64, Execution)>),
    Background(u64),
    Snapshot(Box<Snapshot>),
    Exchanged(Exchanged),
    Unrest(Unrest),
    Flows(Vec<Flow>),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Path(#[serde(with = "codec::path")] PathBuf),
    Entries(Vec<DirEntry>),
    Text(String),
    Truth(bool),
    Program(#[serde(with = "codec::optional_path")] Option<PathBuf>),
    Names(Vec<String>),
    Refused(Refusal),
    /// The arena could not be built because namespaces are refused.
    NamespacesRefused {
        setting: String,
        fix: String,
    },
    Counted(Counted),
}

/// Appends `message` as a length and a body to an empty `buffer`.
pub(crate) fn encode<T: Serialize>(message: &T, mut buffer: Vec<u8>) -> Result<Vec<u8>, postcard::Error> {
    buffer.clear();
    buffer.extend_from_slice(&[0; 4]);
    let mut buffer = postcard::to_extend(message, buffer)?;
    let length = u32::try_from(buffer.len() - 4).map_err(|_| postcard::Error::SerializeBufferFull)?;
    buffer[..4].copy_from_slice(&length.to_le_bytes());
    Ok(buffer)
}

/// Writes one message.
pub(crate) fn send<T: Serialize>(writer: &mut impl Write, message: &T) -> io::Result<()> {
    let bytes = encode(message, Vec::new()).map_err(io::Error::other)?;
    writer.write_all(&bytes)
}

/// Reads one message into `buffer` and decodes it; `UnexpectedEof` when the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(reader: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<T> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    // Grows with what comes, not with what a broken length promises.
    buffer.clear();
    if reader.by_ref().take(length as u64).read_to_end(buffer)? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(buffer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
