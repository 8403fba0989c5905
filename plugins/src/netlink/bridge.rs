//! Bridges, their ports, and the VLANs that the ports are members of.

use std::collections::BTreeMap;

use super::link::{CREATE, Link, Mac, header};
use super::message::{Message, attribute, attributes, u32_at};
use super::{NetlinkError, Socket, Step};

/// `IFLA_BRPORT_MODE`: hairpin.
const PORT_HAIRPIN: u16 = 4;
/// `IFLA_BRPORT_ISOLATED`: no traffic to other isolated ports.
const PORT_ISOLATED: u16 = 33;
/// `IFLA_BR_VLAN_FILTERING`.
const VLAN_FILTERING: u16 = 7;
/// `IFLA_BR_VLAN_DEFAULT_PVID`.
const DEFAULT_VLAN: u16 = 39;
/// `IFLA_BRIDGE_VLAN_INFO`, a `struct bridge_vlan_info`: flags and the VLAN's number.
const VLAN_INFO: u16 = 2;
const VLAN_NATIVE: u16 = 1 << 1;
const VLAN_UNTAGGED: u16 = 1 << 2;
const VLAN_RANGE_BEGIN: u16 = 1 << 3;
const VLAN_RANGE_END: u16 = 1 << 4;
/// `RTM_GETVLAN`, since Linux 5.6.
const GET_VLANS: u16 = 114;
/// `struct br_vlan_msg`: the family, and the index of a link behind four bytes.
const VLAN_HEADER: usize = 8;
/// `BRIDGE_VLANDB_ENTRY` and what is in it.
const ENTRY: u16 = 1;
const ENTRY_INFO: u16 = 1;
const ENTRY_RANGE: u16 = 2;

/// The numbers that a VLAN may have.
pub const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

/// What a port does with the frames of a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// What comes in without a tag belongs to the VLAN; at most one VLAN of a port has this.
    pub native: bool,
    /// Its frames go out without a tag.
    pub untagged: bool,
}

impl Membership {
    /// Frames have a tag, both ways.
    pub const TAGGED: Membership = Membership { native: false, untagged: false };
    /// Frames have no tag, either way.
    pub const NATIVE: Membership = Membership { native: true, untagged: true };

    fn flags(self) -> u16 {
        let flag = |set: bool, bit| if set { bit } else { 0 };
        flag(self.native, VLAN_NATIVE) | flag(self.untagged, VLAN_UNTAGGED)
    }

    fn from_flags(flags: u16) -> Membership {
        Membership { native: flags & VLAN_NATIVE != 0, untagged: flags & VLAN_UNTAGGED != 0 }
    }
}

/// The VLANs of a port, by their numbers.
pub type Memberships = BTreeMap<u16, Membership>;

/// VLANs that follow each other, first and last, of the same membership.
type Range = (u16, u16, Membership);

/// The fewest ranges; the kernel takes no range of native VLANs.
fn ranges(vlans: &Memberships) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (id, membership) in vlans {
        match ranges.last_mut() {
            Some((_, last, same)) if *last + 1 == *id && same == membership && !same.native => *last = *id,
            _ => ranges.push((*id, *id, *membership)),
        }
    }
    ranges
}

fn vlan_info(message: Message, flags: u16, id: u16) -> Message {
    message.bytes(VLAN_INFO, &[flags.to_ne_bytes(), id.to_ne_bytes()].concat())
}

/// Makes a port a member of VLANs, whatever others it is a member of. One that is native takes that from another.
pub fn join_vlans(name: &str, index: u32, vlans: &Memberships) -> Step {
    let message = Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &header(libc::AF_BRIDGE, index, 0, 0))
        .nest(libc::IFLA_AF_SPEC, |m| {
            ranges(vlans).into_iter().fold(m, |m, (first, last, membership)| {
                let flags = membership.flags();
                match first == last {
                    true => vlan_info(m, flags, first),
                    false => {
                        let m = vlan_info(m, flags | VLAN_RANGE_BEGIN, first);
                        vlan_info(m, flags | VLAN_RANGE_END, last)
                    }
                }
            })
        });
    Step::new(format!("make {name} a member of VLANs"), message)
}

/// Ends a port's membership in a VLAN, if there is one.
pub fn leave_vlan(name: &str, index: u32, id: u16) -> Step {
    let message = Message::new(libc::RTM_DELLINK, libc::NLM_F_ACK, &header(libc::AF_BRIDGE, index, 0, 0))
        .nest(libc::IFLA_AF_SPEC, |m| vlan_info(m, 0, id));
    Step::new(format!("end the membership of {name} in VLAN {id}"), message).or(&[libc::ENOENT])
}

/// What a message says of the VLANs of a link.
fn read_vlans(payload: &[u8], index: u32) -> Option<Vec<Range>> {
    if u32_at(payload, 4)? != index {
        return None;
    }
    let pair = |bytes: &[u8], offset: usize| {
        Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
    };
    let entry = |(_, entry): (u16, &[u8])| {
        let info = attribute(entry, 0, ENTRY_INFO)?;
        let first = pair(info, 2)?;
        let last = attribute(entry, 0, ENTRY_RANGE).and_then(|bytes| pair(bytes, 0)).unwrap_or(first);
        Some((first, last.min(*VLANS.end()), Membership::from_flags(pair(info, 0)?)))
    };
    Some(attributes(payload, VLAN_HEADER).filter(|(kind, _)| *kind == ENTRY).filter_map(entry).collect())
}

fn expand(ranges: impl IntoIterator<Item = Range>) -> Memberships {
    let each = |(first, last, membership): Range| (first..=last).map(move |id| (id, membership));
    ranges.into_iter().flat_map(each).collect()
}

impl Socket {
    /// The VLANs of a port.
    ///
    /// # Errors
    /// When the kernel refuses, for example because it has no VLANs on bridges.
    pub fn port_vlans(&mut self, index: u32) -> Result<Memberships, NetlinkError> {
        let mut header = vec![libc::AF_BRIDGE as u8, 0, 0, 0];
        header.extend(index.to_ne_bytes());
        let message = Message::new(GET_VLANS, libc::NLM_F_DUMP, &header);
        let found = self.dump("list the VLANs of a port", &message, |payload| read_vlans(payload, index))?;
        Ok(expand(found.into_iter().flatten()))
    }
}

/// Creates a bridge with a hardware address of its own, so that its ports do not change it, and sets it up. With
/// `filters`, its ports are members of VLANs; a kernel without that refuses with `EOPNOTSUPP`.
pub fn new_bridge(name: &str, mac: Mac, mtu: Option<u32>, filters: bool) -> Step {
    let up = libc::IFF_UP as u32;
    let message = Message::new(libc::RTM_NEWLINK, CREATE, &header(libc::AF_UNSPEC, 0, up, up))
        .text(libc::IFLA_IFNAME, name)
        .bytes(libc::IFLA_ADDRESS, &mac.0)
        .maybe(mtu, |m, mtu| m.u32(libc::IFLA_MTU, mtu))
        .nest(libc::IFLA_LINKINFO, |m| {
            m.text(libc::IFLA_INFO_KIND, "bridge").maybe(filters.then_some(1), |m, on| {
                m.nest(libc::IFLA_INFO_DATA, |m| m.bytes(VLAN_FILTERING, &[on]))
            })
        });
    Step::new(format!("create bridge {name}"), message)
}

/// What a port does with frames, whatever their VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortFlags {
    /// It sends frames back where they came from.
    pub hairpin: bool,
    /// It is kept from other isolated ports.
    pub isolated: bool,
}

/// Sets what a port does with frames.
pub fn set_port(name: &str, index: u32, flags: PortFlags) -> Step {
    let message = Message::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &header(libc::AF_BRIDGE, index, 0, 0))
        .nest(libc::IFLA_PROTINFO, |m| {
            m.bytes(PORT_HAIRPIN, &[flags.hairpin.into()]).bytes(PORT_ISOLATED, &[flags.isolated.into()])
        });
    Step::new(format!("set the bridge port flags of {name}"), message)
}

impl Link {
    /// What it does with frames as the port of a bridge.
    pub fn port_flags(&self) -> PortFlags {
        let flag = |kind| self.port_number(kind).is_some_and(|value| value != 0);
        PortFlags { hairpin: flag(PORT_HAIRPIN), isolated: flag(PORT_ISOLATED) }
    }

    /// Whether a bridge has its ports be members of VLANs; `None` where the kernel has no such bridges.
    pub fn filters_vlans(&self) -> Option<bool> {
        self.number(VLAN_FILTERING).map(|value| value != 0)
    }

    /// The VLAN that new ports of a bridge are members of.
    pub fn default_vlan(&self) -> Option<u16> {
        let id = self.number(DEFAULT_VLAN).and_then(|id| u16::try_from(id).ok());
        id.filter(|id| VLANS.contains(id))
    }
}

/// Reads any payload.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(payload: &[u8]) {
    let _ = u32_at(payload, 4).and_then(|index| read_vlans(payload, index)).map(expand);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::link::HEADER;

    /// What the kernel makes of a request, range by range.
    fn understood(step: &Step) -> Memberships {
        let spec = attribute(step.message.payload(), HEADER, libc::IFLA_AF_SPEC).expect("the VLANs");
        let mut vlans = Memberships::new();
        let mut begin = None;
        for (kind, info) in attributes(spec, 0) {
            assert_eq!((kind, info.len()), (VLAN_INFO, 4));
            let [flags, id] = [0, 2].map(|at| u16::from_ne_bytes([info[at], info[at + 1]]));
            let membership = Membership::from_flags(flags);
            if flags & VLAN_RANGE_BEGIN != 0 {
                assert!(begin.replace((id, membership)).is_none() && !membership.native);
                continue;
            }
            let (first, same) = match flags & VLAN_RANGE_END != 0 {
                true => begin.take().expect("a beginning"),
                false => (id, membership),
            };
            assert!(begin.is_none() && first <= id && same == membership);
            vlans.extend((first..=id).map(|id| (id, membership)));
        }
        assert_eq!(begin, None);
        vlans
    }

    fn memberships() -> impl Strategy<Value = Memberships> {
        let trunk = prop::collection::vec((VLANS, 0_u16..300), 0..20);
        let membership =
            prop_oneof![Just(Membership::TAGGED), Just(Membership { untagged: true, ..Membership::TAGGED })];
        (trunk, membership, prop::option::of(VLANS)).prop_map(|(trunk, membership, native)| {
            let tagged = trunk.into_iter().map(|(first, more)| (first, (first + more).min(4094), membership));
            let mut vlans = expand(tagged);
            vlans.extend(native.map(|id| (id, Membership::NATIVE)));
            vlans
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn requests_name_each_vlan_once(vlans in memberships()) {
            prop_assert_eq!(understood(&join_vlans("v0", 7, &vlans)), vlans);
        }

        #[test]
        fn what_the_kernel_lists_is_read_back(vlans in memberships()) {
            let message = ranges(&vlans).into_iter().fold(
                Message::new(0, 0, &[7, 0, 0, 0, 9, 0, 0, 0]),
                |m, (first, last, membership)| m.nest(ENTRY, |m| {
                    let info = [membership.flags().to_ne_bytes(), first.to_ne_bytes()].concat();
                    m.bytes(ENTRY_INFO, &info)
                        .maybe((first < last).then_some(last), |m, last| m.bytes(ENTRY_RANGE, &last.to_ne_bytes()))
                }),
            );
            let index = u32::from_ne_bytes([9, 0, 0, 0]);
            prop_assert_eq!(read_vlans(message.payload(), index).map(expand), Some(vlans));
            prop_assert_eq!(read_vlans(message.payload(), index + 1), None);
        }
    }

    #[test]
    fn all_vlans_are_two_parts_of_one_request() {
        let all: Memberships = VLANS.map(|id| (id, Membership::TAGGED)).collect();
        let step = join_vlans("v0", 7, &all);
        assert_eq!(step.message.payload().len(), HEADER + 4 + 2 * 8);
        assert_eq!(understood(&step), all);
    }

    #[test]
    fn a_bridge_filters_only_if_asked() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        for filters in [false, true] {
            let step = new_bridge("br0", mac, None, filters);
            let info = attribute(step.message.payload(), HEADER, libc::IFLA_LINKINFO).expect("its kind");
            let data = attribute(info, 0, libc::IFLA_INFO_DATA).map(<[u8]>::to_vec).unwrap_or_default();
            let bridge = Link { data, ..Link::default() };
            assert_eq!(bridge.filters_vlans(), filters.then_some(true));
            assert_eq!(bridge.default_vlan(), None);
        }
    }

    #[test]
    fn what_a_port_does_is_read_back() {
        for (hairpin, isolated) in [(false, false), (true, false), (false, true), (true, true)] {
            let flags = PortFlags { hairpin, isolated };
            let step = set_port("v0", 7, flags);
            let port = attribute(step.message.payload(), HEADER, libc::IFLA_PROTINFO).expect("the flags");
            assert_eq!(Link { port: port.to_vec(), ..Link::default() }.port_flags(), flags);
        }
    }
}
