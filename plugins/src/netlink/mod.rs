//! Netlink without helpers: sockets, requests and dumps.
//!
//! A socket belongs to the network namespace of the thread that opened it, wherever it is used afterwards.

pub mod address;
pub mod bridge;
pub mod htb;
pub mod link;
pub mod message;
pub mod qdisc;
pub mod route;
pub mod rule;
pub mod saved;
pub mod tun;
pub mod vrf;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};

use self::message::{Message, Reply, attribute, replies, to_text, u32_at};

/// The size of the read buffer in bytes; more than the kernel puts into one datagram.
const BUFFER: usize = 64 * 1024;
/// How often an interrupted dump is begun anew.
const DUMP_ATTEMPTS: usize = 64;
/// `NLMSGERR_ATTR_MSG`: the kernel's explanation.
const ATTR_EXPLANATION: u16 = 1;
/// The bytes of a capped error message before its attributes: the error and the request's header.
const CAPPED_ERROR: usize = 20;

/// A request that the kernel refused, or a socket that does not work.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}{}{}", if explanation.is_empty() { "" } else { ": " }, explanation)]
pub struct NetlinkError {
    /// What was to be done.
    pub what: String,
    /// What the kernel answered.
    pub source: io::Error,
    /// The kernel's explanation; mostly empty.
    pub explanation: String,
}

impl NetlinkError {
    fn new(what: &str, source: io::Error) -> NetlinkError {
        NetlinkError { what: what.to_owned(), source, explanation: String::new() }
    }

    /// Whether the kernel answered with this error number.
    pub fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }
}

/// The answer to one request.
#[derive(Debug)]
struct Answer {
    errno: i32,
    explanation: String,
}

impl Answer {
    fn into_result(self, what: &str) -> Result<(), NetlinkError> {
        if self.errno == 0 {
            return Ok(());
        }
        let source = io::Error::from_raw_os_error(self.errno);
        Err(NetlinkError { what: what.to_owned(), source, explanation: self.explanation })
    }
}

/// A request in a batch: the message, and what it does, for the error text.
#[derive(Debug)]
pub struct Step {
    message: Message,
    what: String,
    tolerated: &'static [i32],
}

impl Step {
    /// A step that has to succeed.
    pub fn new(what: impl Into<String>, message: Message) -> Step {
        Step { message, what: what.into(), tolerated: &[] }
    }

    /// The same step, which may fail with these error numbers.
    #[must_use]
    pub fn or(self, tolerated: &'static [i32]) -> Step {
        Step { tolerated, ..self }
    }
}

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    file: File,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket for links, addresses and routes in the thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn route() -> Result<Socket, NetlinkError> {
        Socket::open(libc::NETLINK_ROUTE, "open a route netlink socket")
    }

    /// Opens a socket for nftables in the thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses, for example because it has no nfnetlink.
    pub fn netfilter() -> Result<Socket, NetlinkError> {
        Socket::open(libc::NETLINK_NETFILTER, "open a netfilter netlink socket")
    }

    fn open(protocol: i32, what: &str) -> Result<Socket, NetlinkError> {
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(NetlinkError::new(what, io::Error::last_os_error()));
        }
        // SAFETY: fd is a new descriptor that nothing else owns.
        let file = unsafe { File::from_raw_fd(fd) };
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
            enable(&file, option).map_err(|source| NetlinkError::new(what, source))?;
        }
        Ok(Socket { file, sequence: 0, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Executes requests in order with one write; each goes ahead even if an earlier one failed.
    /// The answer says which ones failed with a tolerated error.
    ///
    /// # Errors
    /// The first failure that is not tolerated.
    pub fn apply(&mut self, steps: Vec<Step>) -> Result<Vec<Option<i32>>, NetlinkError> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        let mut expected = Vec::with_capacity(steps.len());
        for step in steps {
            self.sequence += 1;
            bytes.extend(step.message.finish(self.sequence));
            expected.push((step.what, step.tolerated));
        }
        if expected.is_empty() {
            return Ok(Vec::new());
        }
        let whole = &expected[0].0;
        self.file.write_all(&bytes).map_err(|source| NetlinkError::new(whole, source))?;
        let mut answers: Vec<Option<Answer>> = expected.iter().map(|_| None).collect();
        while answers.iter().any(Option::is_none) {
            self.receive(whole, |reply| {
                let slot =
                    reply.sequence.checked_sub(first).and_then(|index| answers.get_mut(index as usize));
                if let Some(slot) = slot
                    && i32::from(reply.kind) == libc::NLMSG_ERROR
                {
                    *slot = Some(answer(&reply));
                }
            })?;
        }
        let judged = answers.into_iter().zip(&expected).map(|(answer, (what, tolerated))| match answer {
            Some(answer) if tolerated.contains(&answer.errno) => Ok(Some(answer.errno)),
            Some(answer) => answer.into_result(what).map(|()| None),
            None => Ok(None),
        });
        judged.collect()
    }

    /// Asks for one object and hands its payload to `read`; `None` if the kernel knows none (`ENODEV`, `ENOENT`).
    ///
    /// # Errors
    /// When the kernel refuses for another reason.
    pub fn get<T>(
        &mut self,
        what: &str,
        message: Message,
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, NetlinkError> {
        self.send(what, message)?;
        let sequence = self.sequence;
        loop {
            let mut outcome = None;
            self.receive(what, |reply| {
                if reply.sequence != sequence || outcome.is_some() {
                } else if i32::from(reply.kind) == libc::NLMSG_ERROR {
                    outcome = Some(Err(answer(&reply)));
                } else {
                    outcome = Some(Ok(read(reply.payload)));
                }
            })?;
            match outcome {
                None => {}
                Some(Ok(value)) => return Ok(value),
                Some(Err(answer)) if [libc::ENODEV, libc::ENOENT].contains(&answer.errno) => return Ok(None),
                Some(Err(answer)) => return answer.into_result(what).map(|()| None),
            }
        }
    }

    /// Lists objects, keeping those for which `read` answers something. A dump that changes disturbed is begun anew.
    ///
    /// # Errors
    /// When the kernel refuses, or disturbs every attempt.
    pub fn dump<T>(
        &mut self,
        what: &str,
        message: &Message,
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(items) = self.dump_once(what, message.clone(), &mut read)? {
                return Ok(items);
            }
        }
        Err(NetlinkError::new(what, io::Error::from_raw_os_error(libc::EINTR)))
    }

    /// Lists the objects of both families of addresses. `header` is the length of the request's header, which begins with the
    /// family. A kernel without IPv6 has none of that.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn dump_families<T>(
        &mut self,
        what: &str,
        kind: u16,
        header: usize,
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut items = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut header = vec![0; header];
            header[0] = family as u8;
            items.extend(match self.dump(what, &Message::new(kind, libc::NLM_F_DUMP, &header), &mut read) {
                Err(error) if error.is(libc::EAFNOSUPPORT) || error.is(libc::EOPNOTSUPP) => Vec::new(),
                other => other?,
            });
        }
        Ok(items)
    }

    /// Begins to list objects and hands the first to `read`; `None` if there is none. The rest is never read, so the
    /// socket goes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn begin_dump<T>(
        mut self,
        what: &str,
        message: Message,
        mut read: impl FnMut(&[u8]) -> T,
    ) -> Result<Option<T>, NetlinkError> {
        self.send(what, message)?;
        let mut first = None;
        self.receive(what, |reply| {
            if first.is_none() {
                first = Some(match i32::from(reply.kind) {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => answer(&reply).into_result(what).map(|()| None),
                    _ => Ok(Some(read(reply.payload))),
                });
            }
        })?;
        first.unwrap_or(Ok(None))
    }

    /// One attempt; `None` if it was disturbed.
    fn dump_once<T>(
        &mut self,
        what: &str,
        message: Message,
        read: &mut impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, NetlinkError> {
        self.send(what, message)?;
        let sequence = self.sequence;
        let mut items = Vec::new();
        let mut disturbed = false;
        loop {
            let mut end = None;
            self.receive(what, |reply| {
                if reply.sequence != sequence || end.is_some() {
                    return;
                }
                disturbed |= reply.flags & libc::NLM_F_DUMP_INTR != 0;
                match i32::from(reply.kind) {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => end = Some(answer(&reply)),
                    _ => items.extend(read(reply.payload)),
                }
            })?;
            match end {
                None => {}
                Some(answer) if answer.errno == libc::EINTR => return Ok(None),
                Some(answer) => {
                    answer.into_result(what)?;
                    return Ok((!disturbed).then_some(items));
                }
            }
        }
    }

    fn send(&mut self, what: &str, message: Message) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let bytes = message.finish(self.sequence);
        self.file.write_all(&bytes).map_err(|source| NetlinkError::new(what, source))
    }

    fn receive(&mut self, what: &str, mut each: impl FnMut(Reply<'_>)) -> Result<(), NetlinkError> {
        loop {
            self.buffer.clear();
            // Not zeroed first: most of it is never touched, and takes no memory then.
            let room = self.buffer.spare_capacity_mut();
            // SAFETY: the pointer and length describe memory that belongs to the buffer, which outlives the call.
            let length =
                unsafe { libc::recv(self.file.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), 0) };
            let Ok(length) = usize::try_from(length) else {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(NetlinkError::new(what, error));
            };
            // SAFETY: the kernel has written so many bytes, which is no more than there was room for.
            unsafe { self.buffer.set_len(length) };
            replies(&self.buffer).for_each(&mut each);
            return Ok(());
        }
    }

    /// Sends messages as one nftables transaction: all happen, or none. Without an end the kernel only says whether it would
    /// take them.
    ///
    /// # Errors
    /// The first refusal; `ERESTART` when the ruleset is no longer the one that `begin` names.
    pub fn transaction(
        &mut self,
        what: &str,
        begin: Message,
        steps: Vec<Message>,
        end: Option<Message>,
    ) -> Result<(), NetlinkError> {
        let first = self.sequence + 1;
        let last = first + steps.len() as u32;
        let mut bytes = begin.finish(first);
        for (message, sequence) in steps.into_iter().zip(first + 1..) {
            bytes.extend(message.finish(sequence));
        }
        if let Some(end) = end {
            bytes.extend(end.finish(last + 1));
        }
        self.sequence = last + 1;
        self.file.write_all(&bytes).map_err(|source| NetlinkError::new(what, source))?;
        let mut missing: Vec<u32> = (first + 1..=last).collect();
        while !missing.is_empty() {
            let mut failure = None;
            self.receive(what, |reply| {
                if i32::from(reply.kind) != libc::NLMSG_ERROR || reply.sequence < first {
                    return;
                }
                let answer = answer(&reply);
                missing.retain(|sequence| *sequence != reply.sequence);
                if answer.errno != 0 && failure.is_none() {
                    failure = Some(answer);
                }
            })?;
            if let Some(failure) = failure {
                return failure.into_result(what);
            }
        }
        Ok(())
    }
}

/// Reads an `NLMSG_ERROR` or `NLMSG_DONE`: both begin with a negated error number.
fn answer(reply: &Reply<'_>) -> Answer {
    let errno = u32_at(reply.payload, 0).map_or(0, |value| (value as i32).wrapping_neg());
    let offset = if i32::from(reply.kind) == libc::NLMSG_DONE { 4 } else { CAPPED_ERROR };
    let explanation = if reply.flags & libc::NLM_F_ACK_TLVS != 0 {
        attribute(reply.payload, offset, ATTR_EXPLANATION).map(to_text).unwrap_or_default()
    } else {
        String::new()
    };
    Answer { errno, explanation }
}

fn enable(file: &File, option: i32) -> io::Result<()> {
    let on: i32 = 1;
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointer and size describe `on`, which outlives the call.
    let status = unsafe {
        libc::setsockopt(file.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), size)
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
