//! Unrest: links and addresses that come and go while plugins work, as on a host where containers do.
//!
//! The kernel lists links, addresses and routes in pieces. A change between two pieces interrupts the list: the kernel marks
//! it, and a program has to begin anew. Pauses between changes are much longer than a list takes, so that the second
//! attempt is not interrupted again.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::Refusal;
use super::netlink::{Message, NLM_F_DUMP, Netlink, NetlinkError};
use super::network::NetOp;
use super::operate::change;

/// Links beside those that come and go: a list of links takes several reads.
const LINKS: usize = 24;
/// Addresses beside those that come and go: a list of addresses takes several reads.
const ADDRESSES: usize = 1500;
/// The names of these links begin with it.
const STEM: &str = "unrest";
/// Kinds of links that are on no other link. A kernel may lack the first one.
const KINDS: [&str; 2] = ["dummy", "bridge"];
/// The shortest pause between two changes.
const PAUSE: Duration = Duration::from_millis(4);
/// A pause lasts at least as long as this many lists.
const LISTS: u32 = 6;

/// What came of unrest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrest {
    /// How often something came or went.
    pub changes: u64,
    /// How many lists were asked for to see whether changes interrupt them.
    pub lists: u64,
    /// How many of these were.
    pub interrupted: u64,
    /// The longest of them, in microseconds.
    pub longest_us: u64,
}

/// Two threads: one changes, the other lists. Dropping it ends both.
#[derive(Debug)]
pub(super) struct Disturber {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Unrest, NetlinkError>>>,
}

fn failed(error: NetlinkError) -> Refusal {
    Refusal { what: "bring unrest".to_owned(), reason: error.to_string(), errno: Some(error.errno) }
}

impl Disturber {
    /// Makes what makes lists long, and begins.
    pub(super) fn start(sockets: [Netlink; 2]) -> Result<Self, Refusal> {
        let [mut changing, mut listing] = sockets;
        let kind = populate(&mut changing).map_err(failed)?;
        // The shortest tells what a list takes; the others tell what else the machine has to do.
        let shortest = (0..5).try_fold(Duration::MAX, |shortest, _| {
            let clock = Instant::now();
            for list in lists() {
                listing.dump_is_interrupted(&list)?;
            }
            Ok(shortest.min(clock.elapsed()))
        });
        let pause = PAUSE.max(shortest.map_err(failed)? * LISTS);
        let over = Arc::new(AtomicBool::new(false));
        let mut disturber = Self { over: Arc::clone(&over), threads: Vec::new() };
        let ends = Arc::clone(&over);
        disturber.spawn(move || disturb(&mut changing, kind, pause, &ends))?;
        disturber.spawn(move || watch(&mut listing, &over))?;
        Ok(disturber)
    }

    fn spawn(
        &mut self,
        work: impl FnOnce() -> Result<Unrest, NetlinkError> + Send + 'static,
    ) -> Result<(), Refusal> {
        let thread = std::thread::Builder::new().name("unrest".to_owned()).spawn(work);
        self.threads.push(thread.map_err(|error| Refusal::io("start a thread", &error))?);
        Ok(())
    }

    /// Ends it and tells what came of it.
    pub(super) fn stop(mut self) -> Result<Unrest, Refusal> {
        self.over.store(true, Ordering::Relaxed);
        let mut sum = Unrest::default();
        for thread in std::mem::take(&mut self.threads) {
            let part = thread.join().map_err(|_| Refusal::new("end the unrest", "a thread panicked"))?;
            let part = part.map_err(failed)?;
            sum.changes += part.changes;
            sum.lists += part.lists;
            sum.interrupted += part.interrupted;
            sum.longest_us = sum.longest_us.max(part.longest_us);
        }
        Ok(sum)
    }
}

impl Drop for Disturber {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Whoever drops it does not want to know what came of it.
            let _ = thread.join();
        }
    }
}

/// Makes what makes lists long; returns the kind of the links, the first one that the kernel can make.
fn populate(socket: &mut Netlink) -> Result<&'static str, NetlinkError> {
    let link = |number: usize, kind: &str| NetOp::AddLinkKind {
        name: format!("{STEM}{number}"),
        kind: kind.to_owned(),
    };
    // With a name that is free: where links are left from an earlier time, every kind is said to be there already.
    let guest = format!("{STEM}-guest");
    let [first, second] = KINDS;
    // There is nothing to remove where no unrest was before.
    let _ = change(socket, &NetOp::DeleteLink { name: guest.clone() }, None);
    let trial = |kind: &str| NetOp::AddLinkKind { name: guest.clone(), kind: kind.to_owned() };
    let kind = if change(socket, &trial(first), None).is_ok() {
        first
    } else {
        change(socket, &trial(second), None)?;
        second
    };
    change(socket, &NetOp::DeleteLink { name: guest }, None)?;
    let mut make = |op: &NetOp| match change(socket, op, None) {
        // It is there from an earlier time.
        Err(error) if error.errno == libc::EEXIST => Ok(()),
        other => other,
    };
    for number in 0..LINKS {
        make(&link(number, kind))?;
    }
    for number in 0..ADDRESSES {
        make(&NetOp::AddAddress { link: format!("{STEM}0"), address: address(number), prefix: 32 })?;
    }
    Ok(kind)
}

/// An address of a network that is for benchmarks (RFC 2544).
fn address(number: usize) -> IpAddr {
    let [low, high, ..] = number.to_le_bytes();
    [198, 19, high, low].into()
}

/// Requests for lists of links, and of addresses.
pub(crate) fn lists() -> [Message; 2] {
    [
        Message::new(libc::RTM_GETLINK, NLM_F_DUMP, &[0; 16]),
        Message::new(libc::RTM_GETADDR, NLM_F_DUMP, &[0; 8]),
    ]
}

/// Has a link and an address come and go in turn.
fn disturb(
    socket: &mut Netlink,
    kind: &str,
    pause: Duration,
    over: &AtomicBool,
) -> Result<Unrest, NetlinkError> {
    let link = format!("{STEM}-guest");
    let (host, guest) = (format!("{STEM}0"), address(ADDRESSES));
    let steps = [
        NetOp::AddLinkKind { name: link.clone(), kind: kind.to_owned() },
        NetOp::AddAddress { link: host.clone(), address: guest, prefix: 32 },
        NetOp::DeleteLink { name: link },
        NetOp::DeleteAddress { link: host, address: guest, prefix: 32 },
    ];
    let mut unrest = Unrest::default();
    for step in steps.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        change(socket, step, None)?;
        unrest.changes += 1;
        // Uneven pauses, so that nobody keeps step with the changes.
        let uneven = u32::try_from(unrest.changes * 7 % 5).unwrap_or(0);
        std::thread::sleep(pause + pause / 8 * uneven);
    }
    for removal in &steps[2..] {
        // The one that came last is there, the other one is not.
        let _ = change(socket, removal, None);
    }
    Ok(unrest)
}

/// Lists links and addresses time and again, as plugins do, and counts how often that is interrupted.
fn watch(socket: &mut Netlink, over: &AtomicBool) -> Result<Unrest, NetlinkError> {
    let lists = lists();
    let mut unrest = Unrest::default();
    while !over.load(Ordering::Relaxed) {
        for list in &lists {
            let clock = Instant::now();
            match socket.dump_is_interrupted(list) {
                Ok(interrupted) => unrest.interrupted += u64::from(interrupted),
                // What the kernel says where it cannot go on at all.
                Err(error) if error.errno == libc::EINTR => unrest.interrupted += 1,
                Err(error) => return Err(error),
            }
            unrest.lists += 1;
            let took = u64::try_from(clock.elapsed().as_micros()).unwrap_or(u64::MAX);
            unrest.longest_us = unrest.longest_us.max(took);
        }
        std::thread::sleep(Duration::from_micros(700));
    }
    Ok(unrest)
}
