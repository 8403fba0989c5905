//! Virtual routing and forwarding: links that give their ports a table of routes of their own.

use super::message::{Message, attribute, to_text, u32_at};
use super::{NetlinkError, Socket, Step};

/// `IFLA_VRF_TABLE`.
const TABLE: u16 = 1;
/// The length of `struct ifinfomsg`.
const HEADER: usize = 16;

/// A VRF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vrf {
    /// The index of its link.
    pub index: u32,
    /// The number of its table.
    pub table: u32,
}

fn header(index: u32, flags: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    for (field, value) in [(4, index), (8, flags), (12, flags)] {
        bytes[field..field + 4].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

fn read(payload: &[u8]) -> Option<Vrf> {
    let info = attribute(payload, HEADER, libc::IFLA_LINKINFO)?;
    if attribute(info, 0, libc::IFLA_INFO_KIND).map(to_text).as_deref() != Some("vrf") {
        return None;
    }
    let data = attribute(info, 0, libc::IFLA_INFO_DATA)?;
    let table = attribute(data, 0, TABLE).and_then(|bytes| u32_at(bytes, 0))?;
    Some(Vrf { index: u32_at(payload, 4)?, table })
}

impl Socket {
    /// All VRFs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn vrfs(&mut self) -> Result<Vec<Vrf>, NetlinkError> {
        self.dump("list VRFs", &Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &header(0, 0)), read)
    }
}

/// Creates a VRF, set up.
pub fn new_vrf(name: &str, table: u32) -> Step {
    let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;
    let message = Message::new(libc::RTM_NEWLINK, create, &header(0, libc::IFF_UP as u32))
        .text(libc::IFLA_IFNAME, name)
        .nest(libc::IFLA_LINKINFO, |m| {
            m.text(libc::IFLA_INFO_KIND, "vrf").nest(libc::IFLA_INFO_DATA, |m| m.u32(TABLE, table))
        });
    Step::new(format!("create VRF {name} (the kernel needs its module vrf)"), message)
}

/// Makes a link a port of another, or of none.
pub fn set_master(name: &str, index: u32, master: Option<u32>) -> Step {
    let message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header(index, 0))
        .u32(libc::IFLA_MASTER, master.unwrap_or(0));
    Step::new(format!("change what {name} is a port of"), message)
}

/// Reads any payload.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(payload: &[u8]) {
    let _ = read(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vrfs_are_read() {
        let link = |kind: &str, data: bool| {
            let message = Message::new(libc::RTM_NEWLINK, 0, &header(7, 0)).nest(libc::IFLA_LINKINFO, |m| {
                let m = m.text(libc::IFLA_INFO_KIND, kind);
                if data { m.nest(libc::IFLA_INFO_DATA, |m| m.u32(TABLE, 1001)) } else { m }
            });
            read(message.payload())
        };
        assert_eq!(link("vrf", true), Some(Vrf { index: 7, table: 1001 }));
        assert_eq!(link("vrf", false), None);
        assert_eq!(link("veth", true), None);
    }
}
