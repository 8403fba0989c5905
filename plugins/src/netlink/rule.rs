//! Rules that choose the table of routes by the source address.

use std::net::IpAddr;

use super::address::family;
use super::message::{Message, attributes, to_address, u32_at};
use super::{NetlinkError, Socket, Step};

/// The length of `struct fib_rule_hdr`.
const HEADER: usize = 12;
// include/uapi/linux/fib_rules.h.
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;
const FRA_L3MDEV: u16 = 19;
const FRA_PROTOCOL: u16 = 21;
const TO_TABLE: u8 = 1;

/// A rule: what is sent from one address is routed by one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRule {
    /// The source address.
    pub source: IpAddr,
    /// The table's number.
    pub table: u32,
    /// Who made it; 0 for nobody in particular.
    pub protocol: u8,
    /// Where it stands among the rules; the kernel chooses where there is none.
    pub priority: Option<u32>,
}

/// What the kernel says of any rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnyRule {
    /// The table's number.
    pub table: u32,
    /// The rule itself, if it goes by the source address alone.
    pub by_source: Option<SourceRule>,
    /// Whether it leads to the table of the VRF that an interface is in.
    pub to_vrf: bool,
}

impl SourceRule {
    fn message(&self, kind: u16, flags: i32) -> Message {
        let bits = if self.source.is_ipv4() { 32 } else { 128 };
        // A table above 255 is in its attribute only.
        let table = u8::try_from(self.table).unwrap_or(libc::RT_TABLE_UNSPEC);
        let header = [family(self.source), 0, bits, 0, table, 0, 0, TO_TABLE, 0, 0, 0, 0];
        Message::new(kind, flags | libc::NLM_F_ACK, &header)
            .address(FRA_SRC, self.source)
            .maybe(self.priority, |m, priority| m.u32(FRA_PRIORITY, priority))
            .u32(FRA_TABLE, self.table)
            .maybe((self.protocol != 0).then_some(self.protocol), |m, one| m.bytes(FRA_PROTOCOL, &[one]))
    }

    /// Adds the rule; one that is there already is an error (`EEXIST`).
    pub fn add(&self) -> Step {
        let message = self.message(libc::RTM_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        Step::new(format!("add a rule for what comes from {}", self.source), message)
    }

    /// Removes the rule; one that is not there is no error.
    pub fn remove(&self) -> Step {
        let message = self.message(libc::RTM_DELRULE, 0);
        Step::new(format!("remove the rule for what comes from {}", self.source), message)
            .or(&[libc::ENOENT, libc::ESRCH])
    }
}

fn read(payload: &[u8]) -> Option<AnyRule> {
    let mut table: u32 = (*payload.get(4)?).into();
    let bits: usize = (*payload.get(2)?).into();
    let mut source = None;
    let (mut priority, mut protocol, mut others, mut to_vrf) = (None, 0, payload.get(1) != Some(&0), false);
    for (kind, value) in attributes(payload, HEADER) {
        match kind {
            FRA_SRC => source = to_address(value).filter(|_| bits == value.len() * 8),
            FRA_TABLE => table = u32_at(value, 0)?,
            FRA_PRIORITY => priority = u32_at(value, 0),
            FRA_PROTOCOL => protocol = *value.first()?,
            FRA_L3MDEV => to_vrf = value != [0],
            // Interfaces and marks.
            3 | 10 | 17 => others = true,
            _ => {}
        }
    }
    if *payload.get(7)? != TO_TABLE {
        return None;
    }
    let source = source.filter(|_| !others && !to_vrf);
    let by_source = source.map(|source| SourceRule { source, table, protocol, priority });
    Some(AnyRule { table, by_source, to_vrf })
}

impl Socket {
    /// The rules of both families that lead to a table.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn rules(&mut self) -> Result<Vec<AnyRule>, NetlinkError> {
        self.dump_families("list rules", libc::RTM_GETRULE, HEADER, read)
    }
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
    fn rules_are_read_back() {
        for (source, table, protocol) in [("10.1.0.2", 100, 99), ("fd00::2", 70_000, 0)] {
            let rule =
                SourceRule { source: source.parse().unwrap(), table, protocol, priority: Some(32_765) };
            let read = read(rule.message(libc::RTM_NEWRULE, 0).payload()).unwrap();
            assert_eq!(read, AnyRule { table, by_source: Some(rule), to_vrf: false });
        }
    }

    #[test]
    fn rules_that_look_at_more_are_told_apart() {
        let rule = SourceRule { source: [10, 1, 0, 2].into(), table: 100, protocol: 0, priority: None };
        let marked = rule.message(libc::RTM_NEWRULE, 0).u32(10, 1);
        assert_eq!(read(marked.payload()).unwrap().by_source, None);
        let of_vrf = rule.message(libc::RTM_NEWRULE, 0).bytes(FRA_L3MDEV, &[1]);
        assert!(read(of_vrf.payload()).is_some_and(|rule| rule.to_vrf && rule.by_source.is_none()));
        let mut subnet = rule.message(libc::RTM_NEWRULE, 0).payload().to_vec();
        subnet[2] = 24;
        assert_eq!(read(&subnet).unwrap(), AnyRule { table: 100, by_source: None, to_vrf: false });
        let mut unreachable = subnet;
        unreachable[7] = 7;
        assert_eq!(read(&unreachable), None);
    }
}
