//! Building and reading netlink messages: headers and attributes, in native byte order unless a name says otherwise.

use std::net::IpAddr;

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The bits of an attribute's kind that are no flags.
const KIND_MASK: u16 = 0x3fff;
/// The flag of an attribute that holds attributes.
const NESTED: u16 = 0x8000;

/// One request, with its header but without sequence number, which the socket fills in.
#[derive(Debug, Clone)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of a kind (`RTM_...`), with flags (`NLM_F_...`; `NLM_F_REQUEST` is implied) and the family's header.
    pub fn new(kind: u16, flags: i32, header: &[u8]) -> Message {
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(header);
        pad(&mut bytes);
        Message { bytes }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn bytes(mut self, kind: u16, payload: &[u8]) -> Message {
        let start = self.open(kind);
        self.bytes.extend_from_slice(payload);
        self.close(start);
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn u32(self, kind: u16, value: u32) -> Message {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds a number in network byte order.
    #[must_use]
    pub fn be32(self, kind: u16, value: u32) -> Message {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a text with the zero byte after it.
    #[must_use]
    pub fn text(self, kind: u16, text: &str) -> Message {
        self.bytes(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Adds an address.
    #[must_use]
    pub fn address(self, kind: u16, address: IpAddr) -> Message {
        self.bytes(kind, &octets(address))
    }

    /// Adds an attribute that holds what `fill` adds.
    #[must_use]
    pub fn nest(mut self, kind: u16, fill: impl FnOnce(Message) -> Message) -> Message {
        let start = self.open(kind | NESTED);
        self = fill(self);
        self.close(start);
        self
    }

    /// Adds an attribute only where there is a value.
    #[must_use]
    pub fn maybe<T>(self, value: Option<T>, add: impl FnOnce(Message, T) -> Message) -> Message {
        match value {
            Some(value) => add(self, value),
            None => self,
        }
    }

    /// Adds a fixed header inside a nested attribute.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Message {
        self.bytes.extend_from_slice(bytes);
        pad(&mut self.bytes);
        self
    }

    /// What is in it after netlink's own header.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length =
            u16::try_from(self.bytes.len() - start).expect("callers pass names, addresses and labels");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        pad(&mut self.bytes);
    }

    /// The request as it goes to the kernel.
    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The bytes of an address.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The address that 4 or 16 bytes are.
pub fn to_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// An address as 16 bytes: IPv4 addresses are mapped.
pub fn to_sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The number at an offset.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let field = bytes.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_ne_bytes(field.try_into().ok()?))
}

/// One message from the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply<'a> {
    pub(super) kind: u16,
    pub(super) flags: i32,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

/// The messages in what one read returned; ends at the first that is cut off.
pub(super) fn replies(mut bytes: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let payload = bytes.get(HEADER..length)?;
        let reply = Reply {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?.into(),
            sequence: u32_at(bytes, 8)?,
            payload,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(reply)
    })
}

/// The attributes in a payload, from an offset on; ends at the first that is cut off.
pub fn attributes(payload: &[u8], offset: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut bytes = payload.get(offset..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & KIND_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of a kind.
pub fn attribute(payload: &[u8], offset: usize, kind: u16) -> Option<&[u8]> {
    attributes(payload, offset).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// The text up to the first zero byte.
pub fn to_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Reads what one read from a socket may return.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    for reply in replies(bytes) {
        let _ = (reply.kind, reply.flags, reply.sequence);
        for (_, value) in attributes(reply.payload, 4) {
            let _ = (to_text(value), to_address(value), attributes(value, 0).count());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nested_attributes_are_read_back() {
        let message = Message::new(16, libc::NLM_F_ACK, &[0; 4])
            .text(3, "eth0")
            .nest(18, |m| {
                m.text(1, "veth").maybe(Some(7), |m, v| m.u32(2, v)).maybe(None::<u32>, |m, v| m.u32(3, v))
            })
            .be32(4, 1);
        let bytes = message.finish(9);
        let all: Vec<Reply<'_>> = replies(&bytes).collect();
        assert_eq!((all.len(), all[0].kind, all[0].sequence), (1, 16, 9));
        assert_eq!(all[0].flags, libc::NLM_F_ACK | libc::NLM_F_REQUEST);
        let payload = all[0].payload;
        assert_eq!(attribute(payload, 4, 3).map(to_text).as_deref(), Some("eth0"));
        let nested = attribute(payload, 4, 18).unwrap();
        assert_eq!(attribute(nested, 0, 1).map(to_text).as_deref(), Some("veth"));
        assert_eq!(attribute(nested, 0, 2), Some(&7_u32.to_ne_bytes()[..]));
        assert_eq!(attribute(nested, 0, 3), None);
        assert_eq!(attribute(payload, 4, 4), Some(&[0, 0, 0, 1][..]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn reading_ends_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for reply in replies(&bytes) {
                prop_assert!(attributes(reply.payload, 16).count() <= bytes.len());
            }
            prop_assert!(attributes(&bytes, 0).count() <= bytes.len());
        }

        #[test]
        fn attributes_survive(pairs in prop::collection::vec((0_u16..0x3fff, prop::collection::vec(any::<u8>(), 0..40)), 0..8)) {
            let message = pairs.iter().fold(Message::new(1, 0, &[]), |m, (kind, bytes)| m.bytes(*kind, bytes));
            let bytes = message.finish(1);
            let reply = replies(&bytes).next().unwrap();
            let read: Vec<(u16, Vec<u8>)> = attributes(reply.payload, 0).map(|(kind, value)| (kind, value.to_vec())).collect();
            prop_assert_eq!(read, pairs);
        }
    }
}
