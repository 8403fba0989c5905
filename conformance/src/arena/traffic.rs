//! Reads queueing disciplines and traffic filters.

use std::collections::BTreeMap;

use super::netlink::{Dumps, Message, NLM_F_DUMP, NetlinkError, attribute, attributes, number, text};
use super::snapshot::{Count, Filter, Qdisc};

pub(super) const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
const TCA_STATS_BASIC: u16 = 1;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
const TC_H_ROOT: u32 = 0xffff_ffff;
const TC_H_INGRESS: u32 = 0xffff_fff1;
const TC_H_INGRESS_MAJOR: u32 = 0xffff_0000;
const TC_H_MIN_INGRESS: u32 = 0xffff_fff2;
const TC_H_MIN_EGRESS: u32 = 0xffff_fff3;
/// Ticks of the traffic clock: the kernel keeps times in units of 64 ns.
const TICK_NS: u64 = 64;

/// The fixed part of a message.
const FIXED: usize = 20;

/// Reads both from the namespace of the socket; `names` are the names of its links by index.
pub(super) fn read(
    route: &mut impl Dumps,
    names: &BTreeMap<u32, String>,
) -> Result<(Vec<Qdisc>, Vec<Filter>), NetlinkError> {
    let (mut qdiscs, mut filters) = (Vec::new(), Vec::new());
    for answer in route.dump(&Message::new(libc::RTM_GETQDISC, NLM_F_DUMP, &[0; FIXED]))? {
        let Some((index, handle, parent)) = head(&answer.payload) else { continue };
        // Handle 0 is what a link has when nobody asked for anything.
        if handle == 0 {
            continue;
        }
        let qdisc = qdisc(&answer.payload, name(names, index), handle, parent);
        let hooks: &[u32] = match qdisc.kind.as_str() {
            "clsact" => &[TC_H_MIN_INGRESS, TC_H_MIN_EGRESS],
            "ingress" => &[TC_H_MIN_INGRESS],
            _ => &[handle],
        };
        for hook in hooks {
            filters.extend(self::filters(route, names, index, *hook)?);
        }
        qdiscs.push(qdisc);
    }
    qdiscs.sort();
    filters.sort();
    Ok((qdiscs, filters))
}

/// A request about the queueing discipline of what a link sends, or of what comes in.
pub(super) fn of_qdisc(kind: u16, flags: u16, link: u32, ingress: bool) -> Message {
    let parent = if ingress { TC_H_INGRESS } else { TC_H_ROOT };
    let mut body = [0; FIXED];
    body[4..8].copy_from_slice(&link.to_ne_bytes());
    body[12..16].copy_from_slice(&parent.to_ne_bytes());
    Message::new(kind, flags, &body)
}

/// Link index, handle and parent.
fn head(payload: &[u8]) -> Option<(u32, u32, u32)> {
    Some((number(payload.get(4..)?)?, number(payload.get(8..)?)?, number(payload.get(12..)?)?))
}

fn name(names: &BTreeMap<u32, String>, index: u32) -> String {
    names.get(&index).cloned().unwrap_or_else(|| format!("if{index}"))
}

fn parent_text(parent: u32) -> String {
    match parent {
        TC_H_ROOT => "root".to_owned(),
        TC_H_INGRESS | TC_H_INGRESS_MAJOR | TC_H_MIN_INGRESS => "ingress".to_owned(),
        TC_H_MIN_EGRESS => "egress".to_owned(),
        other => format!("{:x}:{:x}", other >> 16, other & 0xffff),
    }
}

fn qdisc(payload: &[u8], link: String, handle: u32, parent: u32) -> Qdisc {
    let attributes = payload.get(FIXED..).unwrap_or_default();
    let kind = attribute(attributes, TCA_KIND).map(text).unwrap_or_default();
    let mut qdisc = Qdisc {
        link,
        parent: parent_text(parent),
        handle: format!("{:x}:", handle >> 16),
        rate: None,
        burst: None,
        limit: None,
        sent: Count(sent(attributes).unwrap_or_default()),
        kind,
    };
    if qdisc.kind == "tbf"
        && let Some(options) = attribute(attributes, TCA_OPTIONS)
        && let Some(parameters) = attribute(options, TCA_TBF_PARMS)
    {
        // struct tc_tbf_qopt: two rates of 12 bytes with the number last, the limit, the burst as a time.
        let at = |offset: usize| parameters.get(offset..).and_then(number);
        let rate = attribute(options, TCA_TBF_RATE64)
            .and_then(|bytes| Some(u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?)))
            .or_else(|| at(8).map(u64::from));
        qdisc.rate = rate;
        qdisc.limit = at(24);
        qdisc.burst = rate.zip(at(28)).map(|(rate, ticks)| {
            let bytes = u128::from(rate) * u128::from(ticks) * u128::from(TICK_NS) / 1_000_000_000;
            u64::try_from(bytes).unwrap_or(u64::MAX)
        });
    }
    qdisc
}

/// The bytes of `struct gnet_stats_basic`.
fn sent(attributes: &[u8]) -> Option<u64> {
    let basic = attribute(attribute(attributes, TCA_STATS2)?, TCA_STATS_BASIC)?;
    Some(u64::from_ne_bytes(basic.get(..8)?.try_into().ok()?))
}

fn filters(
    route: &mut impl Dumps,
    names: &BTreeMap<u32, String>,
    index: u32,
    parent: u32,
) -> Result<Vec<Filter>, NetlinkError> {
    let mut body = [0; FIXED];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[12..16].copy_from_slice(&parent.to_ne_bytes());
    let answers = match route.dump(&Message::new(libc::RTM_GETTFILTER, NLM_F_DUMP, &body)) {
        // A qdisc that takes no filters.
        Err(error) if error.errno == libc::EOPNOTSUPP || error.errno == libc::EINVAL => Vec::new(),
        other => other?,
    };
    Ok(answers.iter().filter_map(|answer| filter(&answer.payload, names)).collect())
}

fn filter(payload: &[u8], names: &BTreeMap<u32, String>) -> Option<Filter> {
    let (index, handle, parent) = head(payload)?;
    let info = number(payload.get(16..)?)?;
    let attributes = payload.get(FIXED..)?;
    let kind = attribute(attributes, TCA_KIND).map(text)?;
    let options = attribute(attributes, TCA_OPTIONS);
    // The head of a priority, and the hash tables of u32, are no filters themselves.
    let no_filter = handle == 0 || options.is_none() || kind == "u32" && handle & 0xfff == 0;
    if no_filter {
        return None;
    }
    let actions_at = match kind.as_str() {
        "u32" => 7,
        "fw" => 4,
        "flower" | "basic" => 3,
        "matchall" => 2,
        "bpf" => 1,
        _ => 0,
    };
    let actions = attribute(options?, actions_at)
        .map(|list| self::attributes(list).map(|(_, one)| action(one, names)).collect())
        .unwrap_or_default();
    Some(Filter {
        link: name(names, index),
        kind,
        parent: parent_text(parent),
        protocol: u16::from_be((info & 0xffff) as u16),
        priority: (info >> 16) as u16,
        actions,
    })
}

fn action(bytes: &[u8], names: &BTreeMap<u32, String>) -> String {
    let kind = attribute(bytes, TCA_ACT_KIND).map(text).unwrap_or_default();
    let parameters =
        attribute(bytes, TCA_ACT_OPTIONS).and_then(|options| attribute(options, TCA_MIRRED_PARMS));
    if kind == "mirred"
        && let Some(parameters) = parameters
        && let Some(what) = parameters.get(20..).and_then(number)
        && let Some(index) = parameters.get(24..).and_then(number)
    {
        let what = match what {
            1 => "egress redirect",
            2 => "egress mirror",
            3 => "ingress redirect",
            4 => "ingress mirror",
            _ => "unknown",
        };
        return format!("mirred {what} {}", name(names, index));
    }
    kind
}
