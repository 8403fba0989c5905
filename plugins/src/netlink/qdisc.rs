//! Traffic control: what shapes the packets that a link sends, what redirects those that it gets, and the links that these are
//! redirected to.

use super::htb;
use super::message::{Message, attribute, attributes, to_text, u32_at};
use super::{NetlinkError, Socket, Step};

/// The length of `struct tcmsg`.
pub(super) const HEADER: usize = 20;
// include/uapi/linux/rtnetlink.h and pkt_sched.h.
pub(super) const TCA_KIND: u16 = 1;
pub(super) const TCA_OPTIONS: u16 = 2;
/// Where a link's own qdisc, and that of what it gets, are attached.
pub(super) const ROOT: u32 = 0xffff_ffff;
const INGRESS: u32 = 0xffff_fff1;
/// The handle of the qdisc of what a link gets; there is no other.
const INGRESS_HANDLE: u32 = 0xffff_0000;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// Where `struct tc_tbf_qopt` has rate, limit and buffer.
const TBF_RATE: usize = 8;
const TBF_LIMIT: usize = 24;
const TBF_BUFFER: usize = 28;
const TBF_PARMS: usize = 36;
// pkt_cls.h, tc_act/tc_mirred.h.
const TCA_U32_CLASSID: u16 = 1;
/// Only the table of filters of the kind u32 has it.
pub(super) const U32_DIVISOR: u16 = 4;
pub(super) const U32_SELECTOR: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_ACT_COOKIE: u16 = 6;
const TCA_MIRRED_PARMS: u16 = 2;
const TC_ACT_STOLEN: u32 = 4;
const TCA_EGRESS_REDIR: u32 = 1;
/// Where `struct tc_mirred` has the link.
const MIRRED_LINK: usize = 24;
/// The priority of the filter, and the packets that it sees, which is all.
const FILTER_INFO: u32 = 1 << 16 | (libc::ETH_P_ALL as u16).to_be() as u32;
/// A tick of the kernel's packet scheduler, in nanoseconds.
const TICK: u64 = 64;
/// How long a packet may wait to be sent, in microseconds.
const LATENCY: u64 = 25_000;

/// What makes the kernel answer a question after a qdisc to whom it may concern, which is else those who watch; and always.
const ANSWERED: i32 = libc::NLM_F_ECHO | libc::NLM_F_ACK;

/// A token bucket: how much a link sends in a second, and how much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The bytes of a second.
    pub rate: u64,
    /// The bytes that may be sent at once.
    pub burst: u32,
}

impl Bucket {
    /// How many bytes may wait: those of 25 ms, behind a burst.
    pub(super) fn limit(&self) -> u32 {
        let waiting = u128::from(self.rate) * u128::from(LATENCY) / 1_000_000;
        u32::try_from(waiting + u128::from(self.burst)).unwrap_or(u32::MAX)
    }

    /// How long the burst takes at that rate, in ticks.
    pub(super) fn buffer(&self) -> u32 {
        let microseconds = u64::from(self.burst) * 1_000_000 / self.rate.max(1);
        u32::try_from(microseconds.saturating_mul(1000) / TICK).unwrap_or(u32::MAX)
    }

    /// Whether this is what the kernel made of it: it counts a burst in time, so bytes become fewer by rounding.
    pub fn is_served_by(&self, found: &TokenBucket) -> bool {
        found.rate == self.rate && found.limit == self.limit() && self.is_buffered_by(found.buffer)
    }

    /// Whether so many ticks are what the kernel made of the burst.
    pub(super) fn is_buffered_by(&self, ticks: u32) -> bool {
        // A buffer of more than the kernel can tell in ticks is not compared.
        ticks.abs_diff(self.buffer()) <= self.buffer() / 100 + 1_000_000 / TICK as u32
            || self.buffer() == u32::MAX
    }
}

/// What the kernel says of a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// The bytes of a second.
    pub rate: u64,
    /// How many bytes may wait.
    pub limit: u32,
    /// How long a burst takes, in ticks.
    pub buffer: u32,
}

/// What shapes a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qdisc {
    /// Its handle; 0 if the kernel chose it.
    pub handle: u32,
    /// What it does.
    pub shaper: Shaper,
}

/// How a link is shaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shaper {
    /// By a token bucket.
    Bucket(TokenBucket),
    /// By classes, of which this one is for packets that no filter is for.
    Classes(u32),
    /// Otherwise.
    Other,
}

/// A filter that redirects what a link gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The filter's handle.
    handle: u32,
    /// The filter's priority and protocol.
    info: u32,
    /// The link that it redirects to.
    pub to: u32,
    /// Who made it.
    pub cookie: Vec<u8>,
}

pub(super) fn header(link: u32, handle: u32, parent: u32, info: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    for (field, value) in [(4, link), (8, handle), (12, parent), (16, info)] {
        bytes[field..field + 4].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

pub(super) const CREATE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;

/// Has a token bucket shape what a link sends; another qdisc that somebody chose is an error (`EEXIST`).
pub fn add_bucket(name: &str, link: u32, handle: u32, bucket: Bucket) -> Step {
    let mut parms = [0; TBF_PARMS];
    let low = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
    for (field, value) in [(TBF_RATE, low), (TBF_LIMIT, bucket.limit()), (TBF_BUFFER, bucket.buffer())] {
        parms[field..field + 4].copy_from_slice(&value.to_ne_bytes());
    }
    let message = Message::new(libc::RTM_NEWQDISC, CREATE, &header(link, handle, ROOT, 0))
        .text(TCA_KIND, "tbf")
        .nest(TCA_OPTIONS, |m| {
            m.bytes(TCA_TBF_PARMS, &parms)
                // In bytes as well, as the time of a long burst does not fit.
                .u32(TCA_TBF_BURST, bucket.burst)
                .maybe((low == u32::MAX).then_some(bucket.rate), |m, rate| {
                    m.bytes(TCA_TBF_RATE64, &rate.to_ne_bytes())
                })
        });
    Step::new(format!("limit what {name} sends (the kernel needs its module sch_tbf)"), message)
}

/// Removes what shapes a link, if it has that handle.
pub fn remove_shaper(name: &str, link: u32, handle: u32) -> Step {
    let message = Message::new(libc::RTM_DELQDISC, libc::NLM_F_ACK, &header(link, handle, ROOT, 0));
    Step::new(format!("remove the limit of {name}"), message).or(&[libc::ENOENT, libc::EINVAL, libc::ENODEV])
}

/// Lets filters see what a link gets.
pub fn add_ingress(name: &str, link: u32) -> Step {
    let message = Message::new(libc::RTM_NEWQDISC, CREATE, &header(link, INGRESS_HANDLE, INGRESS, 0))
        .text(TCA_KIND, "ingress");
    Step::new(format!("filter what {name} gets (the kernel needs its module sch_ingress)"), message)
}

/// Takes that back.
pub fn remove_ingress(name: &str, link: u32) -> Step {
    let message =
        Message::new(libc::RTM_DELQDISC, libc::NLM_F_ACK, &header(link, INGRESS_HANDLE, INGRESS, 0));
    Step::new(format!("stop filtering what {name} gets"), message).or(&[
        libc::ENOENT,
        libc::EINVAL,
        libc::ENODEV,
    ])
}

/// Redirects all that a link gets to another. The cookie says who made it.
pub fn add_redirect(name: &str, link: u32, to: u32, cookie: &[u8]) -> Step {
    // A selector of one key that every packet has: none of its bits count.
    let mut selector = [0; 32];
    selector[..3].copy_from_slice(&[1, 0, 1]);
    let mut mirred = [0; 28];
    for (field, value) in [(8, TC_ACT_STOLEN), (20, TCA_EGRESS_REDIR), (MIRRED_LINK, to)] {
        mirred[field..field + 4].copy_from_slice(&value.to_ne_bytes());
    }
    let message = Message::new(libc::RTM_NEWTFILTER, CREATE, &header(link, 0, INGRESS_HANDLE, FILTER_INFO))
        .text(TCA_KIND, "u32")
        .nest(TCA_OPTIONS, |m| {
            m.u32(TCA_U32_CLASSID, 0x0001_0001).bytes(U32_SELECTOR, &selector).nest(TCA_U32_ACT, |m| {
                m.nest(1, |m| {
                    m.text(TCA_ACT_KIND, "mirred")
                        .nest(TCA_ACT_OPTIONS, |m| m.bytes(TCA_MIRRED_PARMS, &mirred))
                        .bytes(TCA_ACT_COOKIE, cookie)
                })
            })
        });
    Step::new(
        format!("redirect what {name} gets (the kernel needs its modules cls_u32 and act_mirred)"),
        message,
    )
}

/// Removes a filter.
pub fn remove_redirect(name: &str, link: u32, redirect: &Redirect) -> Step {
    let message = Message::new(
        libc::RTM_DELTFILTER,
        libc::NLM_F_ACK,
        &header(link, redirect.handle, INGRESS_HANDLE, redirect.info),
    )
    .text(TCA_KIND, "u32");
    Step::new(format!("stop redirecting what {name} gets"), message).or(&[
        libc::ENOENT,
        libc::EINVAL,
        libc::ENODEV,
    ])
}

/// Creates a link that packets can be redirected to, set up.
pub fn new_ifb(name: &str, mtu: u32) -> Step {
    let mut header = [0; 16];
    for field in [8, 12] {
        header[field..field + 4].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
    }
    let message = Message::new(libc::RTM_NEWLINK, CREATE, &header)
        .text(libc::IFLA_IFNAME, name)
        .u32(libc::IFLA_MTU, mtu)
        .nest(libc::IFLA_LINKINFO, |m| m.text(libc::IFLA_INFO_KIND, "ifb"));
    Step::new(format!("create {name} (the kernel needs its module ifb)"), message)
}

fn read_qdisc(payload: &[u8]) -> Option<Qdisc> {
    let handle = u32_at(payload, 8)?;
    let kind = attribute(payload, HEADER, TCA_KIND).map(to_text);
    let options = attribute(payload, HEADER, TCA_OPTIONS).unwrap_or_default();
    let bucket = || {
        let parms = attribute(options, 0, TCA_TBF_PARMS)?;
        let wide = attribute(options, 0, TCA_TBF_RATE64).and_then(|bytes| bytes.first_chunk());
        Some(TokenBucket {
            rate: match wide {
                Some(bytes) => u64::from_ne_bytes(*bytes),
                None => u32_at(parms, TBF_RATE)?.into(),
            },
            limit: u32_at(parms, TBF_LIMIT)?,
            buffer: u32_at(parms, TBF_BUFFER)?,
        })
    };
    let shaper = match kind.as_deref() {
        Some("tbf") => bucket().map(Shaper::Bucket),
        Some("htb") => htb::read_default(options).map(Shaper::Classes),
        _ => None,
    };
    Some(Qdisc { handle, shaper: shaper.unwrap_or(Shaper::Other) })
}

/// The first action of a filter, if that redirects.
fn read_redirect(payload: &[u8]) -> Option<Redirect> {
    let options = attribute(payload, HEADER, TCA_OPTIONS)?;
    let (_, action) = attributes(attribute(options, 0, TCA_U32_ACT)?, 0).next()?;
    let mirred = attribute(attribute(action, 0, TCA_ACT_OPTIONS)?, 0, TCA_MIRRED_PARMS)?;
    Some(Redirect {
        handle: u32_at(payload, 8)?,
        info: u32_at(payload, 16)?,
        to: u32_at(mirred, MIRRED_LINK)?,
        cookie: attribute(action, 0, TCA_ACT_COOKIE).unwrap_or_default().to_vec(),
    })
}

/// The filters of what a link gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    /// Those that redirect it.
    pub redirects: Vec<Redirect>,
    /// How many others there are.
    pub others: usize,
}

impl Socket {
    /// What shapes a link; `None` if nothing does that somebody chose.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn qdisc(&mut self, link: u32) -> Result<Option<Qdisc>, NetlinkError> {
        let message = Message::new(libc::RTM_GETQDISC, ANSWERED, &header(link, 0, ROOT, 0));
        match self.get("look up what shapes a link", message, read_qdisc) {
            // What a link has by itself is not told: there is but the acknowledgement, or this error.
            Err(error) if error.is(libc::EINVAL) => Ok(None),
            other => Ok(other?.filter(|qdisc| qdisc.handle != 0)),
        }
    }

    /// Whether what a link gets can be filtered.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn has_ingress(&mut self, link: u32) -> Result<bool, NetlinkError> {
        let message = Message::new(libc::RTM_GETQDISC, ANSWERED, &header(link, 0, INGRESS, 0));
        match self.get("look up what filters a link", message, read_qdisc) {
            Err(error) if error.is(libc::EINVAL) => Ok(false),
            other => Ok(other?.is_some()),
        }
    }

    /// The filters of what a link gets.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn filters(&mut self, link: u32) -> Result<Filters, NetlinkError> {
        let message =
            Message::new(libc::RTM_GETTFILTER, libc::NLM_F_DUMP, &header(link, 0, INGRESS_HANDLE, 0));
        let read = |payload: &[u8]| {
            let options = attribute(payload, HEADER, TCA_OPTIONS)?;
            // The table that filters of the kind u32 stand in is listed too.
            attribute(options, 0, U32_DIVISOR).is_none().then(|| read_redirect(payload))
        };
        match self.dump("list filters", &message, read) {
            Err(error) if [libc::EINVAL, libc::ENODEV, libc::ENOENT].iter().any(|one| error.is(*one)) => {
                Ok(Filters::default())
            }
            Err(error) => Err(error),
            Ok(found) => {
                let count = found.len();
                let redirects: Vec<Redirect> = found.into_iter().flatten().collect();
                Ok(Filters { others: count - redirects.len(), redirects })
            }
        }
    }

    /// The index of the other end of a veth device, and whether that is in another namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn peer(&mut self, name: &str) -> Result<Option<(u32, bool)>, NetlinkError> {
        /// `IFLA_LINK_NETNSID`.
        const NETNS: u16 = 37;
        let message = Message::new(libc::RTM_GETLINK, 0, &[0; 16]).text(libc::IFLA_IFNAME, name);
        self.get(&format!("look up link {name}"), message, |payload| {
            let info = attribute(payload, 16, libc::IFLA_LINKINFO)?;
            if attribute(info, 0, libc::IFLA_INFO_KIND).map(to_text).as_deref() != Some("veth") {
                return None;
            }
            let peer = attribute(payload, 16, libc::IFLA_LINK).and_then(|bytes| u32_at(bytes, 0))?;
            Some((peer, attribute(payload, 16, NETNS).is_some()))
        })
    }
}

/// Reads any payload.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(payload: &[u8]) {
    let _ = (read_qdisc(payload), read_redirect(payload));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_go_plugin() {
        // 8 Mbit/s with 800 kbit at once, as `ingressRate` 8000000 and `ingressBurst` 800000 say.
        let bucket = Bucket { rate: 1_000_000, burst: 100_000 };
        assert_eq!((bucket.limit(), bucket.buffer()), (125_000, 1_562_500));
        let wide = Bucket { rate: u64::MAX, burst: u32::MAX };
        assert_eq!((wide.limit(), wide.buffer()), (u32::MAX, 0));
        assert_eq!(Bucket { rate: 1, burst: u32::MAX }.buffer(), u32::MAX);
    }

    #[test]
    fn buckets_are_read_back() {
        for rate in [1_000_000, u64::from(u32::MAX), 5_000_000_000] {
            let bucket = Bucket { rate, burst: 100_000 };
            let step = add_bucket("v", 7, 0x1234_0000, bucket);
            let found = read_qdisc(step.message.payload()).unwrap();
            assert_eq!(found.handle, 0x1234_0000);
            let Shaper::Bucket(found) = found.shaper else { panic!("no bucket: {found:?}") };
            assert!(bucket.is_served_by(&found));
            assert!(!Bucket { rate: rate + 1, ..bucket }.is_served_by(&found));
            assert!(!Bucket { burst: 200_000, ..bucket }.is_served_by(&found));
        }
        let ingress = read_qdisc(add_ingress("v", 7).message.payload()).unwrap();
        assert_eq!(ingress.shaper, Shaper::Other);
        let classes = htb::add_classes("v", 7, 0x1234_0000, &htb::Shaped::AllBut(Vec::new()));
        assert_eq!(read_qdisc(classes.message.payload()).unwrap().shaper, Shaper::Classes(48));
    }

    #[test]
    fn redirects_are_read_back() {
        let step = add_redirect("v", 7, 9, b"cookie");
        let read = read_redirect(step.message.payload()).unwrap();
        assert_eq!((read.to, &read.cookie[..], read.info), (9, &b"cookie"[..], FILTER_INFO));
        assert_eq!(read_redirect(add_ingress("v", 7).message.payload()), None);
    }
}
