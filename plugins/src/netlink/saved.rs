//! Routes as the kernel told them, with all that they have, to be put back or into another table.

use std::net::IpAddr;

use ipnet::IpNet;

use super::message::{Message, attribute, attributes, to_address, u32_at};
use super::{NetlinkError, Socket, Step};

/// The length of `struct rtmsg`.
const HEADER: usize = 12;
/// Where the header has the table, who made the route, and its flags.
const TABLE: usize = 4;
const PROTOCOL: usize = 5;
const FLAGS: std::ops::Range<usize> = 8..12;
/// `RTNH_F_ONLINK`: the next hop is on the link whatever the addresses say. The other flags are the kernel's.
const ON_LINK: u32 = 4;
/// Attributes that are not taken back: the table, which is written anew; `RTA_CACHEINFO`; `RTA_EXPIRES`; `RTA_NH_ID`, of which
/// gateway and link are there too.
const LEFT_OUT: [u16; 4] = [libc::RTA_TABLE, libc::RTA_CACHEINFO, 23, 30];

/// A route of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedRoute {
    header: [u8; HEADER],
    /// The kinds and values of its attributes.
    attributes: Vec<(u16, Vec<u8>)>,
    table: u32,
}

impl SavedRoute {
    fn read(payload: &[u8]) -> Option<SavedRoute> {
        let mut header: [u8; HEADER] = payload.get(..HEADER)?.try_into().ok()?;
        let flags = u32_at(&header, FLAGS.start)?;
        // A route that the kernel derived from another.
        if flags & libc::RTM_F_CLONED != 0 {
            return None;
        }
        header[FLAGS].copy_from_slice(&(flags & ON_LINK).to_ne_bytes());
        let table = attribute(payload, HEADER, libc::RTA_TABLE).and_then(|bytes| u32_at(bytes, 0));
        let kept = attributes(payload, HEADER).filter(|(kind, _)| !LEFT_OUT.contains(kind));
        Some(SavedRoute {
            header,
            table: table.unwrap_or(header[TABLE].into()),
            attributes: kept.map(|(kind, value)| (kind, value.to_vec())).collect(),
        })
    }

    fn value(&self, kind: u16) -> Option<&[u8]> {
        self.attributes.iter().find(|(found, _)| *found == kind).map(|(_, value)| &value[..])
    }

    /// Whether it is one of IPv4.
    pub fn is_ipv4(&self) -> bool {
        i32::from(self.header[0]) == libc::AF_INET
    }

    /// The number of its table.
    pub fn table(&self) -> u32 {
        self.table
    }

    /// Who made it.
    pub fn protocol(&self) -> u8 {
        self.header[PROTOCOL]
    }

    /// Its scope.
    pub fn scope(&self) -> u8 {
        self.header[6]
    }

    /// Its kind, for example `RTN_UNICAST`.
    pub fn kind(&self) -> u8 {
        self.header[7]
    }

    /// The index of its link, if it has but one.
    pub fn link(&self) -> Option<u32> {
        u32_at(self.value(libc::RTA_OIF)?, 0)
    }

    /// The destination.
    pub fn dst(&self) -> Option<IpNet> {
        let any: IpAddr = if self.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        IpNet::new(self.value(libc::RTA_DST).and_then(to_address).unwrap_or(any), self.header[1]).ok()
    }

    /// The next hop.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.value(libc::RTA_GATEWAY).and_then(to_address)
    }

    /// The source address that it prefers.
    pub fn source(&self) -> Option<IpAddr> {
        self.value(libc::RTA_PREFSRC).and_then(to_address)
    }

    /// The same route in another table.
    #[must_use]
    pub fn in_table(&self, table: u32) -> SavedRoute {
        SavedRoute { table, ..self.clone() }
    }

    fn message(&self, kind: u16, flags: i32) -> Message {
        let mut header = self.header;
        // A table above 255 is in its attribute only.
        header[TABLE] = u8::try_from(self.table).unwrap_or(libc::RT_TABLE_UNSPEC);
        let message = Message::new(kind, flags | libc::NLM_F_ACK, &header).u32(libc::RTA_TABLE, self.table);
        self.attributes.iter().fold(message, |m, (kind, value)| m.bytes(*kind, value))
    }

    fn describe(&self) -> String {
        let dst = self.dst().map(|dst| dst.to_string()).unwrap_or_default();
        let via = self.gateway().map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        format!("{dst}{via} in table {}", self.table)
    }

    /// Adds the route, behind others with the same destination and priority; one that is there already is no error.
    pub fn add(&self) -> Step {
        let message = self.message(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_APPEND);
        Step::new(format!("add route {}", self.describe()), message).or(&[libc::EEXIST])
    }

    /// Removes the route; one that is not there is no error.
    pub fn remove(&self) -> Step {
        let message = self.message(libc::RTM_DELROUTE, 0);
        Step::new(format!("remove route {}", self.describe()), message).or(&[
            libc::ESRCH,
            libc::ENODEV,
            libc::ENETDOWN,
        ])
    }
}

impl Socket {
    /// The routes of both families and all tables.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn saved_routes(&mut self) -> Result<Vec<SavedRoute>, NetlinkError> {
        self.dump_families("list routes", libc::RTM_GETROUTE, HEADER, SavedRoute::read)
    }
}

/// Reads any payload.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(payload: &[u8]) {
    if let Some(route) = SavedRoute::read(payload) {
        let _ =
            (route.describe(), route.link(), route.source(), route.protocol(), route.scope(), route.kind());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> SavedRoute {
        let header = [libc::AF_INET as u8, 24, 0, 0, 254, 3, 0, libc::RTN_UNICAST, 5, 0, 0, 0];
        let message = Message::new(libc::RTM_NEWROUTE, 0, &header)
            .u32(libc::RTA_TABLE, 254)
            .address(libc::RTA_DST, [10, 9, 0, 0].into())
            .address(libc::RTA_GATEWAY, [10, 1, 0, 1].into())
            .u32(libc::RTA_OIF, 7)
            .u32(libc::RTA_PRIORITY, 5)
            .u32(libc::RTA_CACHEINFO, 0);
        SavedRoute::read(message.payload()).unwrap()
    }

    #[test]
    fn a_route_keeps_what_it_has_in_another_table() {
        let moved = route().in_table(1000);
        let again = SavedRoute::read(moved.message(libc::RTM_NEWROUTE, 0).payload()).unwrap();
        assert_eq!(again.table(), 1000);
        assert_eq!(again.dst(), Some("10.9.0.0/24".parse().unwrap()));
        assert_eq!(again.gateway(), Some([10, 1, 0, 1].into()));
        assert_eq!((again.link(), again.protocol(), again.source()), (Some(7), 3, None));
        assert_eq!(again.value(libc::RTA_PRIORITY), Some(&5_u32.to_ne_bytes()[..]));
        assert_eq!(again.value(libc::RTA_CACHEINFO), None);
        // The flag that the link is dead is the kernel's, that the next hop is on the link is not.
        assert_eq!(again.header[FLAGS.start], 4);
    }

    #[test]
    fn derived_routes_are_none() {
        let mut header = [0; HEADER];
        header[FLAGS].copy_from_slice(&libc::RTM_F_CLONED.to_ne_bytes());
        assert_eq!(SavedRoute::read(&header), None);
        assert_eq!(SavedRoute::read(&[]), None);
    }
}
