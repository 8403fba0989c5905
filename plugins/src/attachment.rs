//! What identifies an attachment, and names derived from it: they need no state and no two attachments share one.

use sha2::{Digest, Sha256};

/// The longest form of a network's name in a label.
const NETWORK_MAX: usize = 40;
/// The longest form of a container's ID in a label; the usual IDs of 64 digits fit.
const CONTAINER_MAX: usize = 64;
/// The digits that take the place of the rest of a long name.
const DIGEST_DIGITS: usize = 20;
/// The digits of a host interface's name after its letter: 70 bits.
const NAME_DIGITS: usize = 14;

/// The bytes that stand for an attachment.
pub(crate) const IDENTITY: usize = 16;

/// A container's interface in a network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Attachment {
    /// The network's name.
    pub(crate) network: String,
    /// The container's ID.
    pub(crate) container: String,
    /// The interface's name inside the container.
    pub(crate) ifname: String,
}

impl Attachment {
    /// `network/container/ifname`, at most 121 bytes; long names are shortened and end in a digest.
    pub(crate) fn label(&self) -> String {
        let container = shorten(&self.container, CONTAINER_MAX);
        format!("{}{container}/{}", network_prefix(&self.network), self.ifname)
    }

    /// The name of the interface's other end on the host, 15 bytes.
    pub(crate) fn host_interface(&self) -> String {
        format!("v{}", self.digest(NAME_DIGITS))
    }

    /// The name that an interface has inside the container until it is complete, 15 bytes.
    pub(crate) fn provisional_interface(&self) -> String {
        format!("i{}", self.digest(NAME_DIGITS))
    }

    /// Digits that stand for the attachment.
    pub(crate) fn digest(&self, digits: usize) -> String {
        digest(self.text().as_bytes(), digits)
    }

    /// Bytes that stand for the attachment.
    pub(crate) fn identity(&self) -> [u8; IDENTITY] {
        let hash = Sha256::digest(self.text());
        std::array::from_fn(|index| hash[index])
    }

    /// Names hold no zero byte, so no two attachments have the same text.
    fn text(&self) -> String {
        [&self.network, &self.container, &self.ifname].map(|part| format!("{part}\0")).concat()
    }
}

/// What the labels of a network's attachments begin with.
pub(crate) fn network_prefix(network: &str) -> String {
    format!("{}/", shorten(network, NETWORK_MAX))
}

/// The text itself, or its beginning, a `~`, which no name has, and a digest.
fn shorten(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let start: String = text.chars().take(max - DIGEST_DIGITS - 1).collect();
    format!("{start}~{}", digest(text.as_bytes(), DIGEST_DIGITS))
}

/// The first digits, five bits each, of the SHA-256 digest.
pub(crate) fn digest(bytes: &[u8], digits: usize) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let hash = Sha256::digest(bytes);
    let bit = |index: usize| usize::from(hash[index / 8] >> (7 - index % 8) & 1);
    let digit = |index: usize| (0..5).fold(0, |value, offset| value << 1 | bit(index * 5 + offset));
    (0..digits).map(|index| char::from(DIGITS[digit(index)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(network: &str, container: &str, ifname: &str) -> Attachment {
        Attachment { network: network.into(), container: container.into(), ifname: ifname.into() }
    }

    #[test]
    fn labels_fit_and_differ() {
        assert_eq!(attachment("n", "c", "eth0").label(), "n/c/eth0");
        let long = "c".repeat(5000);
        let one = attachment(&"n".repeat(300), &long, "123456789012345");
        let two = attachment(&"n".repeat(300), &format!("{long}x"), "123456789012345");
        assert_ne!(one.label(), two.label());
        assert_eq!(one.label().len(), 121);
        assert!(one.label().starts_with(&network_prefix(&one.network)));
        assert!(one.label().len() <= crate::nft::LABEL_MAX);
    }

    #[test]
    fn host_interfaces_fit_and_differ() {
        let names = [("a-b", "c", "d"), ("a", "b-c", "d"), ("a", "b", "c-d"), ("a", "b", "c")]
            .map(|(network, container, ifname)| attachment(network, container, ifname).host_interface());
        for (index, name) in names.iter().enumerate() {
            assert_eq!(name.len(), 15);
            assert!(!names[..index].contains(name));
        }
    }
}
