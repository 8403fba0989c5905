//! What the alias of a device that is in a container says: whose it is, and what it was like on the host.
//!
//! It goes wherever the device goes, also when the kernel brings the device back because the container's namespace is gone.

use crate::attachment::{Attachment, network_prefix};

/// What the alias begins with. No other plugin's alias begins so: theirs are on links that GC deletes.
const ALIAS: &str = "cni-reference-device:";
/// The longest alias that the kernel takes, in bytes.
const MAX: usize = 255;

/// What there is to know of a device, to bring it back as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// The label of the attachment.
    pub(super) label: String,
    /// Whether the device was up.
    pub(super) up: bool,
    /// Its name on the host.
    pub(super) name: String,
    /// Its alias on the host.
    pub(super) alias: String,
}

impl Mark {
    /// The alias that says this. An alias of the host that does not fit beside it is left out.
    pub(super) fn text(&self) -> String {
        let state = if self.up { "up" } else { "down" };
        let start = format!("{ALIAS}{} {state} {} ", self.label, self.name);
        match start.len() + self.alias.len() <= MAX {
            true => start + &self.alias,
            false => start,
        }
    }

    /// What an alias says; `None` if it is none of this plugin's.
    pub(super) fn parse(alias: &str) -> Option<Mark> {
        let mut parts = alias.strip_prefix(ALIAS)?.splitn(4, ' ');
        let (label, state, name) = (parts.next()?, parts.next()?, parts.next()?);
        // Whoever may change links of the container may write anything into it.
        cni_spec::parameters::interface_name(name).ok()?;
        let up = match state {
            "up" => true,
            "down" => false,
            _ => return None,
        };
        let alias = parts.next()?.to_owned();
        Some(Mark { label: label.to_owned(), up, name: name.to_owned(), alias })
    }

    /// Whether it is that of an attachment.
    pub(super) fn is_of(&self, attachment: &Attachment) -> bool {
        self.label == attachment.label()
    }

    /// Whether it is that of an attachment to a network.
    pub(super) fn is_in(&self, network: &str) -> bool {
        self.label.starts_with(&network_prefix(network))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(alias: &str) -> Mark {
        let attachment =
            Attachment { network: "net".into(), container: "c".repeat(64), ifname: "eth0".into() };
        Mark { label: attachment.label(), up: true, name: "enp1s0f0".into(), alias: alias.into() }
    }

    #[test]
    fn marks_are_read_back() {
        for alias in ["", "the uplink of rack 5", " "] {
            for up in [true, false] {
                let mark = Mark { up, ..mark(alias) };
                assert_eq!(Mark::parse(&mark.text()).as_ref(), Some(&mark));
            }
        }
        assert!(mark("").is_in("net") && !mark("").is_in("ne"));
    }

    #[test]
    fn an_alias_that_does_not_fit_is_left_out() {
        let long = mark(&"x".repeat(200));
        assert!(long.text().len() <= MAX);
        assert_eq!(Mark::parse(&long.text()), Some(mark("")));
        let longest = Attachment {
            network: "n".repeat(300),
            container: "c".repeat(300),
            ifname: "123456789012345".into(),
        };
        let name = "123456789012345".to_owned();
        let longest = Mark { label: longest.label(), up: false, name, alias: "y".repeat(80) };
        assert_eq!(Mark::parse(&longest.text()), Some(longest));
    }

    #[test]
    fn other_aliases_are_no_marks() {
        for alias in [
            "",
            "eth0",
            "cni-reference:n/c/eth0",
            "cni-reference-device:n/c/eth0",
            "cni-reference-device:n/c/eth0 up",
            "cni-reference-device:n/c/eth0 up eth1",
            "cni-reference-device:n/c/eth0 left eth1 ",
            "cni-reference-device:n/c/eth0 up ../eth1 ",
        ] {
            assert_eq!(Mark::parse(alias), None, "{alias}");
        }
    }
}
