//! A netlink socket, and messages for it.

use std::fmt;
use std::io;
use std::net::IpAddr;

use netlink_sys::Socket;

use super::sys;

pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;

/// How often an interrupted dump is begun again before what it gave is taken as it is.
const DUMP_TRIES: usize = 64;

/// What the kernel said no to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetlinkError {
    pub(crate) errno: i32,
    /// The kernel's explanation, if it gave one.
    pub(crate) explanation: Option<String>,
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        match &self.explanation {
            Some(text) => write!(f, "{error}: {text}"),
            None => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for NetlinkError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self { errno, explanation: None },
            None => Self { errno: libc::EIO, explanation: Some(error.to_string()) },
        }
    }
}

/// A message being built: a netlink header, a fixed body and attributes.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of this type with a fixed body, which is padded to four bytes.
    pub(crate) fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(body);
        let mut message = Self { bytes };
        message.pad();
        message
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Appends an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&value[..usize::from(length) - 4]);
        self.pad();
        self
    }

    /// Appends a number.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends text with its final zero.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends an address in network byte order.
    pub(crate) fn address(self, kind: u16, value: &IpAddr) -> Self {
        match value {
            IpAddr::V4(v4) => self.attribute(kind, &v4.octets()),
            IpAddr::V6(v6) => self.attribute(kind, &v6.octets()),
        }
    }

    /// Appends an attribute that holds what `inside` appends.
    pub(crate) fn nest(mut self, kind: u16, inside: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let mut message = inside(self);
        let length = u16::try_from(message.bytes.len() - start).unwrap_or(u16::MAX);
        message.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        message.bytes[start + 2..start + 4].copy_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        message
    }

    /// Appends bytes as they are, padded: a fixed structure inside a nested attribute.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Everything after the netlink header.
    #[cfg(test)]
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    /// The finished bytes.
    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A message that the kernel sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) kind: u16,
    /// Everything after the netlink header.
    pub(crate) payload: Vec<u8>,
}

/// What answers dump requests: the kernel, or somebody who plays it.
pub(crate) trait Dumps {
    /// Every message of the answer.
    fn dump(&mut self, message: &Message) -> Result<Vec<Answer>, NetlinkError>;
}

/// A dump that the kernel says was interrupted by a change is begun again.
impl Dumps for Netlink {
    fn dump(&mut self, message: &Message) -> Result<Vec<Answer>, NetlinkError> {
        let mut last = Vec::new();
        for _ in 0..DUMP_TRIES {
            let (answers, interrupted) = self.exchange(message.clone())?;
            if !interrupted {
                return Ok(answers);
            }
            last = answers;
        }
        Ok(last)
    }
}

/// A netlink socket of one network namespace: the one that was current when it was opened.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in the current network namespace.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(64 << 10) })
    }

    /// The same socket, [set aside](sys::set_aside) for long use.
    pub(crate) fn aside(self) -> Self {
        Self { socket: sys::set_socket_aside(self.socket), ..self }
    }

    /// Has the kernel check and honour filters of dumps.
    pub(crate) fn strict(self) -> io::Result<Self> {
        self.socket.set_netlink_get_strict_chk(true)?;
        Ok(self)
    }

    /// Sends a request and waits for its acknowledgement; returns what came before it.
    pub(crate) fn request(&mut self, message: Message) -> Result<Vec<Answer>, NetlinkError> {
        let mut bytes = message;
        let flags = u16::from_ne_bytes([bytes.bytes[6], bytes.bytes[7]]) | NLM_F_ACK;
        bytes.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.exchange(bytes).map(|(answers, _)| answers)
    }

    /// Sends messages as one datagram and waits for `acknowledgements` of them: a batch of nfnetlink.
    pub(crate) fn batch(
        &mut self,
        messages: Vec<Message>,
        acknowledgements: usize,
    ) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let sequence = self.sequence;
        let bytes: Vec<u8> = messages.into_iter().flat_map(|message| message.finish(sequence)).collect();
        self.socket.send(&bytes, 0)?;
        for _ in 0..acknowledgements {
            self.collect(sequence)?;
        }
        Ok(())
    }

    /// Sends a dump request once, and tells whether a change interrupted the dump.
    pub(crate) fn dump_is_interrupted(&mut self, message: &Message) -> Result<bool, NetlinkError> {
        self.exchange(message.clone()).map(|(_, interrupted)| interrupted)
    }

    fn exchange(&mut self, message: Message) -> Result<(Vec<Answer>, bool), NetlinkError> {
        self.sequence += 1;
        let sequence = self.sequence;
        self.socket.send(&message.finish(sequence), 0)?;
        self.collect(sequence)
    }

    /// Reads messages up to the one that ends the answer to `sequence`.
    fn collect(&mut self, sequence: u32) -> Result<(Vec<Answer>, bool), NetlinkError> {
        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            if read_datagram(&self.buffer, sequence, &mut answers, &mut interrupted)? {
                return Ok((answers, interrupted));
            }
        }
    }
}

/// Takes the answers to `sequence` out of a datagram; whether it ended them.
pub(super) fn read_datagram(
    mut rest: &[u8],
    sequence: u32,
    answers: &mut Vec<Answer>,
    interrupted: &mut bool,
) -> Result<bool, NetlinkError> {
    while rest.len() >= HEADER {
        let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let kind = u16::from_ne_bytes([rest[4], rest[5]]);
        let flags = u16::from_ne_bytes([rest[6], rest[7]]);
        let answered = u32::from_ne_bytes([rest[8], rest[9], rest[10], rest[11]]);
        if length < HEADER || length > rest.len() {
            return Err(io::Error::other("the kernel's message is cut short").into());
        }
        let payload = &rest[HEADER..length];
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        // What an earlier, failed exchange left unread.
        if answered != sequence {
            continue;
        }
        *interrupted |= flags & NLM_F_DUMP_INTR != 0;
        match kind {
            NLMSG_ERROR | NLMSG_DONE => {
                return match error_of(kind, flags, payload) {
                    Some(error) => Err(error),
                    None => Ok(true),
                };
            }
            _ => answers.push(Answer { kind, payload: payload.to_vec() }),
        }
    }
    Ok(false)
}

/// The error that an NLMSG_ERROR or NLMSG_DONE message carries, if it does.
fn error_of(kind: u16, flags: u16, payload: &[u8]) -> Option<NetlinkError> {
    let code = payload.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    if code == 0 {
        return None;
    }
    let mut explanation = None;
    if flags & NLM_F_ACK_TLVS != 0 {
        // An acknowledgement repeats the request's header, and its payload too unless it is capped.
        let skip = match kind {
            NLMSG_DONE => 4,
            _ if flags & NLM_F_CAPPED != 0 => 4 + HEADER,
            _ => {
                let inner = payload.get(4..8).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                4 + (inner as usize).next_multiple_of(4)
            }
        };
        explanation = attributes(payload.get(skip..).unwrap_or_default())
            .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
            .map(|(_, value)| text(value));
    }
    Some(NetlinkError { errno: code.saturating_neg(), explanation })
}

/// The attributes of a payload, by type without flags. Ends at the first one that does not fit.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this type.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// Text up to its first zero, invalid UTF-8 replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A number in the byte order of the machine.
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// A number in network byte order.
pub(crate) fn network_number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// An address by its length.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_has_its_length_and_nested_attributes() {
        let message = Message::new(16, NLM_F_CREATE, &[1, 2, 3])
            .text(3, "ab")
            .nest(18, |inner| inner.number(1, 7).nest(2, |deep| deep.attribute(5, &[9])));
        let bytes = message.finish(5);
        assert_eq!(number(&bytes), Some(bytes.len() as u32));
        assert_eq!(number(&bytes[8..]), Some(5));
        let body = &bytes[HEADER + 4..];
        assert_eq!(attribute(body, 3).map(text).as_deref(), Some("ab"));
        let nested = attribute(body, 18).unwrap();
        assert_eq!(attribute(nested, 1).and_then(number), Some(7));
        assert_eq!(attribute(attribute(nested, 2).unwrap(), 5), Some(&[9][..]));
    }

    #[test]
    fn an_acknowledgement_is_no_error_and_an_error_keeps_its_explanation() {
        assert_eq!(error_of(NLMSG_ERROR, NLM_F_CAPPED, &[0; 20]), None);
        let mut payload = (-libc::EPERM).to_ne_bytes().to_vec();
        payload.extend_from_slice(&[0; HEADER]);
        payload.extend_from_slice(&[8, 0, 1, 0, b'n', b'o', 0, 0]);
        let error = error_of(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, &payload).unwrap();
        assert_eq!(error, NetlinkError { errno: libc::EPERM, explanation: Some("no".to_owned()) });
    }

    proptest! {
        #[test]
        fn reading_attributes_of_anything_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(attributes(&bytes).count() <= bytes.len() / 4 + 1);
            let _ = error_of(NLMSG_ERROR, NLM_F_ACK_TLVS, &bytes);
        }

        #[test]
        fn attributes_come_back(values in proptest::collection::vec((0u16..0x3fff, proptest::collection::vec(any::<u8>(), 0..40)), 0..8)) {
            let mut message = Message::new(1, 0, &[]);
            for (kind, value) in &values {
                message = message.attribute(*kind, value);
            }
            let bytes = message.finish(1);
            let read: Vec<(u16, Vec<u8>)> = attributes(&bytes[HEADER..]).map(|(k, v)| (k, v.to_vec())).collect();
            prop_assert_eq!(read, values);
        }
    }
}
