//! Traffic control by destination: of what a link sends, only what goes to some subnets is limited, or all but that.
//!
//! One class is limited and has a queue of its own; all else passes by the classes.

use ipnet::IpNet;

use super::message::{Message, attribute, to_text, u32_at};
use super::qdisc::{Bucket, CREATE, HEADER, ROOT, TCA_KIND, TCA_OPTIONS, U32_DIVISOR, U32_SELECTOR, header};
use super::{NetlinkError, Socket, Step};
use crate::netlink::message::octets;

// pkt_sched.h.
const TCA_HTB_PARMS: u16 = 1;
const TCA_HTB_INIT: u16 = 2;
const TCA_HTB_DIRECT_QLEN: u16 = 5;
const TCA_HTB_RATE64: u16 = 6;
const TCA_HTB_CEIL64: u16 = 7;
/// The version of `struct tc_htb_glob`, and where it has the default class.
const HTB_VERSION: u32 = 3;
const GLOB_RATE_TO_QUANTUM: usize = 4;
const GLOB_DEFAULT: usize = 8;
const GLOB: usize = 20;
/// Where `struct tc_htb_opt` has its numbers.
const OPT_RATE: usize = 8;
const OPT_CEIL: usize = 20;
const OPT_BUFFER: usize = 24;
const OPT_CEIL_BUFFER: usize = 28;
const OPT_QUANTUM: usize = 32;
const OPT: usize = 44;
/// The class that is limited, as the Go plugin numbers it, and what passes by the classes.
const LIMITED: u32 = 48;
const DIRECT: u32 = 0;
/// How many packets that are not limited may wait: the link's own number may be small.
const DIRECT_LENGTH: u32 = 1000;
const TCA_U32_CLASSID: u16 = 1;
/// A selector without keys, a key, and that no other filter is asked after a match.
const SELECTOR: usize = 16;
const KEY: usize = 16;
const TERMINAL: u8 = 1;
/// The priorities of the filters of each family, as the Go plugin numbers them.
const PRIORITY_V4: u32 = 16;
const PRIORITY_V6: u32 = 15;
/// Where the headers have the destination.
const DESTINATION_V4: u32 = 16;
const DESTINATION_V6: u32 = 24;

/// Which destinations are limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shaped {
    /// All.
    All,
    /// Those in these subnets.
    Only(Vec<IpNet>),
    /// Those in no such subnet.
    AllBut(Vec<IpNet>),
}

impl Shaped {
    fn subnets(&self) -> &[IpNet] {
        match self {
            Shaped::All => &[],
            Shaped::Only(subnets) | Shaped::AllBut(subnets) => subnets,
        }
    }

    /// The classes of what goes to the subnets, and of all else.
    fn classes(&self) -> (u32, u32) {
        match self {
            Shaped::All | Shaped::AllBut(_) => (DIRECT, LIMITED),
            Shaped::Only(_) => (LIMITED, DIRECT),
        }
    }

    /// The filters below a qdisc.
    fn filters(&self, handle: u32) -> Vec<Filter> {
        let (class, _) = self.classes();
        self.subnets().iter().map(|subnet| Filter::new(handle | class, *subnet)).collect()
    }
}

/// A filter: where it sends packets, which protocol they have, and what their headers are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Filter {
    class: u32,
    /// The priority and the protocol.
    info: u32,
    keys: Vec<[u8; KEY]>,
}

impl Filter {
    fn new(class: u32, subnet: IpNet) -> Filter {
        let (priority, protocol, offset) = match subnet {
            IpNet::V4(_) => (PRIORITY_V4, libc::ETH_P_IP, DESTINATION_V4),
            IpNet::V6(_) => (PRIORITY_V6, libc::ETH_P_IPV6, DESTINATION_V6),
        };
        let (mask, value) = (octets(subnet.netmask()), octets(subnet.network()));
        let words = mask.chunks_exact(4).zip(value.chunks_exact(4)).zip((offset..).step_by(4));
        let key = |((mask, value), offset): ((&[u8], &[u8]), u32)| {
            let mut key = [0; KEY];
            key[..4].copy_from_slice(mask);
            key[4..8].copy_from_slice(value);
            key[8..12].copy_from_slice(&offset.to_ne_bytes());
            key
        };
        // The first is there in any case: a selector has at least one.
        let keys = words.map(key).enumerate().filter(|(index, key)| *index == 0 || key[..4] != [0; 4]);
        let info = priority << 16 | u32::from((protocol as u16).to_be());
        Filter { class, info, keys: keys.map(|(_, key)| key).collect() }
    }

    fn add(&self, name: &str, link: u32, handle: u32) -> Step {
        let mut selector = vec![0; SELECTOR];
        selector[0] = TERMINAL;
        selector[2] = self.keys.len() as u8;
        selector.extend(self.keys.concat());
        let message = Message::new(libc::RTM_NEWTFILTER, CREATE, &header(link, 0, handle, self.info))
            .text(TCA_KIND, "u32")
            .nest(TCA_OPTIONS, |m| m.u32(TCA_U32_CLASSID, self.class).bytes(U32_SELECTOR, &selector));
        Step::new(
            format!("tell the subnets that {name} sends to apart (the kernel needs its module cls_u32)"),
            message,
        )
    }

    /// `None` for the table that filters stand in, which is listed too, and for filters of another kind.
    fn read(payload: &[u8]) -> Option<Filter> {
        let options = attribute(payload, HEADER, TCA_OPTIONS)?;
        if attribute(options, 0, U32_DIVISOR).is_some() {
            return None;
        }
        let selector = attribute(options, 0, U32_SELECTOR)?;
        let count = usize::from(*selector.get(2)?);
        let keys = selector.get(SELECTOR..)?.chunks_exact(KEY).take(count);
        Some(Filter {
            class: u32_at(attribute(options, 0, TCA_U32_CLASSID)?, 0)?,
            info: u32_at(payload, 16)?,
            keys: keys.filter_map(|key| key.try_into().ok()).collect(),
        })
    }
}

/// Has a link tell what it sends apart by classes; another qdisc that somebody chose is an error (`EEXIST`).
pub fn add_classes(name: &str, link: u32, handle: u32, shaped: &Shaped) -> Step {
    let (_, default) = shaped.classes();
    let mut glob = [0; GLOB];
    for (field, value) in [(0, HTB_VERSION), (GLOB_RATE_TO_QUANTUM, 10), (GLOB_DEFAULT, default)] {
        glob[field..field + 4].copy_from_slice(&value.to_ne_bytes());
    }
    let message = Message::new(libc::RTM_NEWQDISC, CREATE, &header(link, handle, ROOT, 0))
        .text(TCA_KIND, "htb")
        .nest(TCA_OPTIONS, |m| m.bytes(TCA_HTB_INIT, &glob).u32(TCA_HTB_DIRECT_QLEN, DIRECT_LENGTH));
    Step::new(format!("limit some of what {name} sends (the kernel needs its module sch_htb)"), message)
}

/// Limits the class of such a link that is to be limited, and sends packets into it.
pub fn fill_classes(name: &str, link: u32, handle: u32, bucket: Bucket, shaped: &Shaped) -> Vec<Step> {
    let mut opt = [0; OPT];
    let low = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
    let numbers = [
        (OPT_RATE, low),
        (OPT_CEIL, low),
        (OPT_BUFFER, bucket.buffer()),
        (OPT_CEIL_BUFFER, bucket.buffer()),
        // It has no sibling to share with, and the kernel complains of what it makes itself of a very small or large rate.
        (OPT_QUANTUM, (low / 10).clamp(1000, 200_000)),
    ];
    for (field, value) in numbers {
        opt[field..field + 4].copy_from_slice(&value.to_ne_bytes());
    }
    let wide = (low == u32::MAX).then(|| bucket.rate.to_ne_bytes());
    let class = Message::new(libc::RTM_NEWTCLASS, CREATE, &header(link, handle | LIMITED, handle, 0))
        .text(TCA_KIND, "htb")
        .nest(TCA_OPTIONS, |m| {
            m.bytes(TCA_HTB_PARMS, &opt)
                .maybe(wide, |m, rate| m.bytes(TCA_HTB_RATE64, &rate).bytes(TCA_HTB_CEIL64, &rate))
        });
    // As many bytes may wait as in a token bucket.
    let queue = Message::new(libc::RTM_NEWQDISC, CREATE, &header(link, 0, handle | LIMITED, 0))
        .text(TCA_KIND, "bfifo")
        .u32(TCA_OPTIONS, bucket.limit());
    let mut steps = vec![
        Step::new(format!("limit a class of what {name} sends"), class),
        Step::new(format!("limit the queue of {name}"), queue),
    ];
    steps.extend(shaped.filters(handle).iter().map(|filter| filter.add(name, link, handle)));
    steps
}

/// The default class that a message about such a qdisc names.
pub(super) fn read_default(options: &[u8]) -> Option<u32> {
    u32_at(attribute(options, 0, TCA_HTB_INIT)?, GLOB_DEFAULT)
}

/// The rate in bytes a second and the buffer in ticks of a class, with its handle.
fn read_class(payload: &[u8]) -> Option<(u32, u64, u32)> {
    if attribute(payload, HEADER, TCA_KIND).map(to_text).as_deref() != Some("htb") {
        return None;
    }
    let options = attribute(payload, HEADER, TCA_OPTIONS)?;
    let opt = attribute(options, 0, TCA_HTB_PARMS)?;
    let wide = attribute(options, 0, TCA_HTB_RATE64).and_then(|bytes| bytes.first_chunk());
    let rate = match wide {
        Some(bytes) => u64::from_ne_bytes(*bytes),
        None => u32_at(opt, OPT_RATE)?.into(),
    };
    Some((u32_at(payload, 8)?, rate, u32_at(opt, OPT_BUFFER)?))
}

impl Socket {
    /// What of such a limit is missing on a link whose qdisc has this handle and this default class, in words.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn missing_class(
        &mut self,
        link: u32,
        (handle, default): (u32, u32),
        bucket: Bucket,
        shaped: &Shaped,
    ) -> Result<Option<String>, NetlinkError> {
        if default != shaped.classes().1 {
            return Ok(Some("limits other destinations".to_owned()));
        }
        let message = Message::new(libc::RTM_GETTCLASS, libc::NLM_F_DUMP, &header(link, 0, handle, 0));
        let classes = self.dump("list classes", &message, read_class)?;
        let Some((_, rate, buffer)) = classes.into_iter().find(|(found, ..)| *found == handle | LIMITED)
        else {
            return Ok(Some("has no class that is limited".to_owned()));
        };
        if rate != bucket.rate || !bucket.is_buffered_by(buffer) {
            let (found, wanted) = (rate.saturating_mul(8), bucket.rate.saturating_mul(8));
            return Ok(Some(format!("sends up to {found} bit/s, not {wanted}, or another burst")));
        }
        let message = Message::new(libc::RTM_GETTFILTER, libc::NLM_F_DUMP, &header(link, 0, handle, 0));
        let found = self.dump("list filters", &message, Filter::read)?;
        let expected = shaped.filters(handle);
        let lacks = expected.iter().any(|filter| !found.contains(filter));
        Ok((lacks || found.len() != expected.len()).then(|| "limits other subnets".to_owned()))
    }
}

/// Reads any payload.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(payload: &[u8]) {
    let _ = (Filter::read(payload), read_class(payload), read_default(payload));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_look_at_the_destination() {
        let keys = |subnet: &str| {
            let all = Filter::new(0x1_0030, subnet.parse().unwrap()).keys;
            let number = |key: &[u8; KEY], at: usize| u32::from_be_bytes(*key[at..].first_chunk().unwrap());
            let offset = |key: &[u8; KEY]| u32_at(key, 8).unwrap();
            all.iter().map(|key| (number(key, 0), number(key, 4), offset(key))).collect::<Vec<_>>()
        };
        assert_eq!(keys("10.0.0.0/8"), [(0xff00_0000, 0x0a00_0000, 16)]);
        assert_eq!(keys("0.0.0.0/0"), [(0, 0, 16)]);
        assert_eq!(keys("::/0"), [(0, 0, 24)]);
        assert_eq!(
            keys("fd00:db8:abcd:1234:e000::/68"),
            [(u32::MAX, 0xfd00_0db8, 24), (u32::MAX, 0xabcd_1234, 28), (0xf000_0000, 0xe000_0000, 32)]
        );
    }

    #[test]
    fn classes_are_read_back() {
        for rate in [1, 1_000_000, 5_000_000_000] {
            let bucket = Bucket { rate, burst: 100_000 };
            let steps = fill_classes("v", 7, 0x1234_0000, bucket, &Shaped::AllBut(Vec::new()));
            let read = read_class(steps[0].message.payload());
            assert_eq!(read, Some((0x1234_0030, rate, bucket.buffer())));
        }
    }

    #[test]
    fn the_default_is_what_no_subnet_is_for() {
        let subnets = vec!["10.0.0.0/8".parse().unwrap()];
        for (shaped, default, class) in
            [(Shaped::Only(subnets.clone()), 0, 0x1_0030), (Shaped::AllBut(subnets), 48, 0x1_0000)]
        {
            let step = add_classes("v", 7, 0x1_0000, &shaped);
            let options = attribute(step.message.payload(), HEADER, TCA_OPTIONS).unwrap();
            assert_eq!(read_default(options), Some(default));
            assert_eq!(shaped.filters(0x1_0000)[0].class, class);
        }
    }

    fn subnet() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(bytes, length)| (bytes.into(), length));
        let v6 = (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(bytes, length)| (bytes.into(), length));
        prop_oneof![v4, v6].prop_map(|(address, length)| IpNet::new(address, length).expect("it fits"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn filters_are_read_back(subnet in subnet(), class: u32) {
            let filter = Filter::new(class, subnet);
            let step = filter.add("v", 7, 0x1_0000);
            prop_assert_eq!(Filter::read(step.message.payload()), Some(filter.clone()));
            prop_assert_eq!(filter, Filter::new(class, subnet.trunc()));
        }

        #[test]
        fn reading_ends_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = (Filter::read(&bytes), read_class(&bytes), read_default(&bytes));
        }
    }
}
