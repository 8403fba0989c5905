//! The VLANs of a port: `vlan`, `vlanTrunk` and `preserveDefaultVlan`.

use std::collections::BTreeSet;

use crate::fields::{Fields, invalid};
use crate::netlink::Step;
use crate::netlink::bridge::{Membership, Memberships, VLANS, join_vlans, leave_vlan};
use crate::netlink::link::Link;
use crate::refusal::{KERNEL, Refusal};

const NATIVE: &str = "vlan";
const TRUNK: &str = "vlanTrunk";
/// The VLAN of frames without a tag on a trunk that names none.
const USUAL: u16 = 1;

/// The VLANs that a port is to be a member of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tagging {
    /// The VLAN of frames without a tag.
    pub(super) native: Option<u16>,
    /// The VLANs of frames with a tag.
    trunk: Option<BTreeSet<u16>>,
    /// Whether the port stays in the VLAN that the bridge puts new ports into.
    preserve: bool,
}

impl Tagging {
    pub(super) fn read(fields: Fields<'_>) -> Result<Tagging, Refusal> {
        let native = read_id(fields, NATIVE, 0, "a number from 1 to 4094, or 0 for none")?;
        Ok(Tagging {
            native: native.filter(|id| *id != 0),
            trunk: read_trunk(fields)?,
            preserve: fields.flag("preserveDefaultVlan")?,
        })
    }

    /// The VLANs of the gateway's port in the same network.
    pub(super) fn of_gateway(&self) -> Tagging {
        Tagging { trunk: None, ..self.clone() }
    }

    /// Whether a new bridge is made to know VLANs: also for an empty trunk, as the Go plugin has it.
    pub(super) fn wants_filtering(&self) -> bool {
        self.native.is_some() || self.trunk.is_some()
    }

    /// What the port is a member of; nothing where the bridge decides. A VLAN that is native and in the trunk is native.
    pub(super) fn memberships(&self) -> Memberships {
        let trunk = self.trunk.iter().flatten();
        let mut vlans: Memberships = trunk.map(|id| (*id, Membership::TAGGED)).collect();
        let native = self.native.or((!vlans.is_empty()).then_some(USUAL));
        vlans.extend(native.map(|id| (id, Membership::NATIVE)));
        vlans
    }

    /// Refuses a bridge on which the VLANs would separate nothing.
    pub(super) fn check_bridge(&self, bridge: &Link) -> Result<(), Refusal> {
        let (key, name) = (self.key(), &bridge.name);
        match bridge.filters_vlans() {
            _ if self.memberships().is_empty() => Ok(()),
            Some(true) => Ok(()),
            Some(false) => Err(invalid(
                key,
                format!(
                    "the bridge {name} is there and has no VLAN filtering: set its vlan_filtering to 1 or name \
                     another bridge"
                ),
            )),
            None => self.check_kernel(false),
        }
    }

    /// Refuses a kernel whose bridges know no VLANs, where the port is to be in any.
    pub(super) fn check_kernel(&self, knows_vlans: bool) -> Result<(), Refusal> {
        if knows_vlans || self.memberships().is_empty() {
            return Ok(());
        }
        let key = self.key();
        let problem = format!(
            "{key}: this kernel's bridges know no VLANs (CONFIG_BRIDGE_VLAN_FILTERING): remove the key"
        );
        Err(Refusal::new(KERNEL, problem))
    }

    /// The key that errors name.
    fn key(&self) -> &'static str {
        if self.native.is_some() { NATIVE } else { TRUNK }
    }

    /// Makes a port a member of these VLANs, and of no other.
    pub(super) fn steps(&self, port: &Link, bridge: &Link) -> Vec<Step> {
        let vlans = self.memberships();
        if vlans.is_empty() {
            return Vec::new();
        }
        let leaves = bridge.default_vlan().filter(|id| !self.preserve && !vlans.contains_key(id));
        let mut steps: Vec<Step> =
            leaves.into_iter().map(|id| leave_vlan(&port.name, port.index, id)).collect();
        steps.push(join_vlans(&port.name, port.index, &vlans));
        steps
    }

    /// How the VLANs of a port differ, in words; `None` where they do not.
    pub(super) fn difference(&self, found: &Memberships, bridge: &Link) -> Option<String> {
        let wanted = self.memberships();
        if wanted.is_empty() {
            return None;
        }
        let kept = bridge.default_vlan().filter(|_| self.preserve);
        let ids: BTreeSet<u16> = wanted.keys().chain(found.keys()).copied().collect();
        ids.into_iter().find_map(|id| match (wanted.get(&id), found.get(&id)) {
            (Some(_), None) => Some(format!("is no member of VLAN {id}")),
            (None, Some(_)) if kept != Some(id) => Some(format!("is a member of VLAN {id} too")),
            (Some(one), Some(other)) if one != other => {
                Some(format!("treats the tags of VLAN {id} otherwise"))
            }
            _ => None,
        })
    }
}

/// The number of a VLAN from `least` on.
fn read_id(fields: Fields<'_>, key: &str, least: u16, expected: &str) -> Result<Option<u16>, Refusal> {
    let Some(value) = fields.get(key) else { return Ok(None) };
    let id = value.as_u64().and_then(|id| u16::try_from(id).ok());
    match id.filter(|id| (least..=*VLANS.end()).contains(id)) {
        Some(id) => Ok(Some(id)),
        None => Err(invalid(&fields.place(key), format!("found {value}, use {expected}"))),
    }
}

/// The VLANs of all members of `vlanTrunk`; one that names none asks for nothing, as the Go plugin has it.
fn read_trunk(fields: Fields<'_>) -> Result<Option<BTreeSet<u16>>, Refusal> {
    if fields.get(TRUNK).is_none() {
        return Ok(None);
    }
    let mut ids = BTreeSet::new();
    for (place, item) in fields.elements(TRUNK)? {
        let one = Fields::at(&place, item)?;
        let read = |key| read_id(one, key, *VLANS.start(), "a number from 1 to 4094");
        let missing = |key, other| Err(invalid(&one.place(key), format!("missing: {other} needs it")));
        match (read("minID")?, read("maxID")?) {
            (Some(first), Some(last)) if first > last => {
                let problem = format!("found {first}, which is above maxID {last}: exchange them");
                return Err(invalid(&one.place("minID"), problem));
            }
            (Some(first), Some(last)) => ids.extend(first..=last),
            (Some(_), None) => return missing("maxID", "minID"),
            (None, Some(_)) => return missing("minID", "maxID"),
            (None, None) => {}
        }
        ids.extend(read("id")?);
    }
    Ok(Some(ids))
}

#[cfg(test)]
mod tests {
    use cni_spec::error::INVALID_CONFIGURATION;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(config: &Value) -> Result<Tagging, Refusal> {
        Tagging::read(Fields::root(config.as_object().expect("an object")))
    }

    fn memberships(config: &Value) -> Vec<(u16, bool)> {
        let vlans = read(config).expect("VLANs").memberships();
        vlans.into_iter().map(|(id, membership)| (id, membership == Membership::NATIVE)).collect()
    }

    /// The attributes of a bridge's kind.
    fn bridge(filtering: Option<u8>, default: u16) -> Link {
        use crate::netlink::message::Message;
        let data = Message::new(0, 0, &[])
            .maybe(filtering, |m, on| m.bytes(7, &[on]))
            .bytes(39, &default.to_ne_bytes())
            .payload()
            .to_vec();
        Link { name: "br0".to_owned(), index: 5, data, ..Link::default() }
    }

    #[test]
    fn keys_become_memberships() {
        assert_eq!(memberships(&json!({})), []);
        assert_eq!(memberships(&json!({"vlan": 0, "vlanTrunk": []})), []);
        assert_eq!(memberships(&json!({"vlanTrunk": [{}]})), []);
        assert_eq!(memberships(&json!({"vlan": 4094})), [(4094, true)]);
        let both = json!({"vlan": 100, "vlanTrunk": [{"id": 7, "minID": 9, "maxID": 10}, {"id": 4094}]});
        assert_eq!(memberships(&both), [(7, false), (9, false), (10, false), (100, true), (4094, false)]);
        // A trunk alone leaves frames without a tag in VLAN 1, and what is both is native.
        assert_eq!(memberships(&json!({"vlanTrunk": [{"id": 7}]})), [(1, true), (7, false)]);
        assert_eq!(memberships(&json!({"vlan": 7, "vlanTrunk": [{"id": 7}]})), [(7, true)]);
        assert_eq!(memberships(&json!({"vlanTrunk": [{"minID": 1, "maxID": 2}]})), [(1, true), (2, false)]);
    }

    #[test]
    fn only_what_asks_for_vlans_has_the_bridge_filter() {
        for (config, filters) in [
            (json!({}), false),
            (json!({"vlan": 0, "preserveDefaultVlan": true}), false),
            (json!({"vlanTrunk": []}), true),
            (json!({"vlan": 5}), true),
        ] {
            assert_eq!(read(&config).expect("VLANs").wants_filtering(), filters, "{config}");
        }
    }

    #[test]
    fn errors_name_key_value_and_fix() {
        for (config, message) in [
            (json!({"vlan": 4095}), "vlan: found 4095, use a number from 1 to 4094, or 0 for none"),
            (json!({"vlan": -1}), "vlan: found -1, use a number from 1 to 4094, or 0 for none"),
            (json!({"vlan": 65541}), "vlan: found 65541, use a number from 1 to 4094, or 0 for none"),
            (json!({"vlan": "5"}), "vlan: found \"5\", use a number from 1 to 4094, or 0 for none"),
            (json!({"vlanTrunk": {}}), "vlanTrunk: found {}, use an array"),
            (json!({"vlanTrunk": [5]}), "vlanTrunk[0]: found 5, use an object"),
            (json!({"vlanTrunk": [{"id": 0}]}), "vlanTrunk[0].id: found 0, use a number from 1 to 4094"),
            (json!({"vlanTrunk": [{"id": 1}, {"minID": 2}]}), "vlanTrunk[1].maxID: missing: minID needs it"),
            (json!({"vlanTrunk": [{"maxID": 2}]}), "vlanTrunk[0].minID: missing: maxID needs it"),
            (
                json!({"vlanTrunk": [{"minID": 9, "maxID": 8}]}),
                "vlanTrunk[0].minID: found 9, which is above maxID 8: exchange them",
            ),
            (
                json!({"vlanTrunk": [{"minID": 1, "maxID": 4095}]}),
                "vlanTrunk[0].maxID: found 4095, use a number from 1 to 4094",
            ),
            (json!({"preserveDefaultVlan": 1}), "preserveDefaultVlan: found 1, use true or false"),
        ] {
            let refusal = read(&config).expect_err("a refusal");
            assert_eq!((refusal.code, refusal.msg.as_str()), (INVALID_CONFIGURATION, message), "{config}");
        }
    }

    #[test]
    fn a_bridge_without_filtering_is_refused_by_whom_it_matters_to() {
        let vlan = read(&json!({"vlan": 5})).expect("VLANs");
        let trunk = read(&json!({"vlanTrunk": [{"id": 5}]})).expect("VLANs");
        vlan.check_bridge(&bridge(Some(1), 1)).expect("a bridge with VLANs");
        assert!(vlan.check_bridge(&bridge(Some(0), 1)).unwrap_err().msg.starts_with("vlan: the bridge br0"));
        let refusal = trunk.check_bridge(&bridge(None, 1)).unwrap_err();
        assert!(refusal.code == KERNEL && refusal.msg.starts_with("vlanTrunk: this kernel"), "{refusal}");
        for filtering in [None, Some(0)] {
            let empty = read(&json!({"vlanTrunk": []})).expect("VLANs");
            empty.check_bridge(&bridge(filtering, 1)).expect("no VLAN is wanted");
        }
    }

    #[test]
    fn the_default_vlan_goes_unless_it_is_wanted_or_preserved() {
        let port = Link { name: "v0".to_owned(), index: 9, ..Link::default() };
        for (config, default, count) in [
            (json!({}), 1, 0),
            (json!({"vlan": 5}), 1, 2),
            (json!({"vlan": 5}), 0, 1),
            (json!({"vlan": 1}), 1, 1),
            (json!({"vlan": 5, "preserveDefaultVlan": true}), 1, 1),
        ] {
            let steps = read(&config).expect("VLANs").steps(&port, &bridge(Some(1), default));
            assert_eq!(steps.len(), count, "{config}");
        }
    }

    #[test]
    fn differences_are_seen() {
        let untagged = Membership { native: false, untagged: true };
        let found = |more: &[(u16, Membership)]| -> Memberships {
            [(5, Membership::NATIVE)].into_iter().chain(more.iter().copied()).collect()
        };
        let plain = read(&json!({"vlan": 5})).expect("VLANs");
        let preserving = read(&json!({"vlan": 5, "preserveDefaultVlan": true})).expect("VLANs");
        let bridge = bridge(Some(1), 1);
        assert_eq!(plain.difference(&found(&[]), &bridge), None);
        assert_eq!(preserving.difference(&found(&[]), &bridge), None);
        assert_eq!(preserving.difference(&found(&[(1, untagged)]), &bridge), None);
        for (tagging, vlans, problem) in [
            (&plain, Memberships::new(), "is no member of VLAN 5"),
            (&plain, found(&[(1, untagged)]), "is a member of VLAN 1 too"),
            (&preserving, found(&[(7, Membership::TAGGED)]), "is a member of VLAN 7 too"),
            (&plain, [(5, Membership::TAGGED)].into(), "treats the tags of VLAN 5 otherwise"),
        ] {
            assert_eq!(tagging.difference(&vlans, &bridge).as_deref(), Some(problem));
        }
        assert_eq!(read(&json!({})).expect("VLANs").difference(&found(&[]), &bridge), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        /// One native VLAN wherever any VLAN is asked for, and every VLAN of the trunk.
        #[test]
        fn a_trunk_is_what_its_parts_say(
            native in 0_u16..=4094,
            parts in prop::collection::vec((VLANS, VLANS, prop::option::of(VLANS)), 0..6),
        ) {
            let item = |(one, other, id): &(u16, u16, Option<u16>)| {
                let mut item = json!({"minID": one.min(other), "maxID": one.max(other)});
                if let Some(id) = id {
                    item["id"] = json!(id);
                }
                item
            };
            let config = json!({"vlan": native, "vlanTrunk": parts.iter().map(item).collect::<Vec<_>>()});
            let vlans = read(&config).expect("VLANs").memberships();
            let of_trunk = |vlan: u16| parts.iter().any(|(one, other, id)| {
                (*one.min(other)..=*one.max(other)).contains(&vlan) || *id == Some(vlan)
            });
            let native = match native {
                0 if parts.is_empty() => None,
                0 => Some(1),
                id => Some(id),
            };
            for vlan in VLANS {
                let expected = match () {
                    () if native == Some(vlan) => Some(Membership::NATIVE),
                    () => of_trunk(vlan).then_some(Membership::TAGGED),
                };
                prop_assert_eq!(vlans.get(&vlan).copied(), expected, "VLAN {}", vlan);
            }
        }
    }
}
