//! What the fuzz targets call.

use std::io::{self, Cursor};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::netlink::{Answer, Dumps, Message, Netlink, NetlinkError, read_datagram};
use super::protocol::{Reply, Request, encode, receive};
use super::snapshot::{NamespaceState, Snapshot, difference};
use super::{firewall, nft, state, tracking, xtables};

/// A kernel that answers what stands in a record: for each dump a length of two bytes and the messages.
struct Played<'a> {
    record: &'a [u8],
}

impl Played<'_> {
    fn next(&mut self) -> Result<Vec<Answer>, NetlinkError> {
        let Some((length, rest)) = self.record.split_first_chunk() else { return Ok(Vec::new()) };
        let (datagram, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        self.record = rest;
        let sequence = datagram.get(8..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        let mut answers = Vec::new();
        read_datagram(datagram, u32::from_ne_bytes(sequence), &mut answers, &mut false)?;
        Ok(answers)
    }
}

impl Dumps for &std::cell::RefCell<Played<'_>> {
    fn dump(&mut self, _: &Message) -> Result<Vec<Answer>, NetlinkError> {
        self.borrow_mut().next()
    }
}

/// Reads a namespace from what [`record`] wrote, or what might have been, and shows it.
pub fn namespace(bytes: &[u8]) {
    let played = std::cell::RefCell::new(Played { record: bytes });
    let read = state::read_any(&mut &played, &mut &played);
    if let Ok(rest) = played.borrow_mut().next() {
        let _ = firewall::ipset_names(&rest);
        rest.iter().for_each(|answer| tracking::read_any(&answer.payload));
    }
    if let Ok(host) = read {
        show(host);
    }
}

/// Reads legacy iptables: the description of a table, then its entries.
pub fn iptables(bytes: &[u8]) {
    show(NamespaceState { iptables: xtables::read_any(bytes), ..NamespaceState::default() });
}

/// Reads the expressions of a rule of nftables, and the same as a value of a set: first the family and the type.
pub fn rule(bytes: &[u8]) {
    let Some((head, list)) = bytes.split_first_chunk::<5>() else { return };
    let [family, kind @ ..] = *head;
    let _ = nft::expressions(family, list);
    let _ = nft::data(list, u32::from_le_bytes(kind));
}

/// Whatever was read can be compared, shown in single lines, and sent to cnitest.
fn show(host: NamespaceState) {
    let (none, some) = (Snapshot::default(), Snapshot { host, ..Snapshot::default() });
    for difference in [difference(&none, &some), difference(&some, &none)] {
        assert!(difference.lines.iter().all(|line| !line.contains('\n')), "{difference}");
    }
    assert!(difference(&some, &some.clone()).is_empty());
    again::<Reply>(&Reply::Snapshot(Box::new(some)));
}

/// Reads what a plugin that was built with coverage wrote.
pub fn counters(bytes: &[u8]) {
    super::counters::read_any(bytes);
}

/// Reads a message of the control socket, in both directions.
pub fn control(bytes: &[u8]) {
    read::<Request>(bytes);
    read::<Reply>(bytes);
}

fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(message) = receive::<T>(&mut Cursor::new(bytes), &mut Vec::new()) {
        again(&message);
    }
}

/// A message means the same after it was sent.
fn again<T: Serialize + DeserializeOwned>(message: &T) {
    let sent = encode(message, Vec::new()).expect("what was read can be sent");
    let received: T = receive(&mut Cursor::new(&sent), &mut Vec::new()).expect("what was sent can be read");
    assert!(encode(&received, Vec::new()).expect("twice") == sent);
}

/// The kernel, and what it answered so far.
struct Recorded {
    kernel: Netlink,
    record: std::rc::Rc<std::cell::RefCell<Vec<u8>>>,
}

impl Dumps for Recorded {
    fn dump(&mut self, message: &Message) -> Result<Vec<Answer>, NetlinkError> {
        let answers = self.kernel.dump(message).or_else(|error| match error.errno {
            libc::EOPNOTSUPP | libc::EINVAL | libc::ENOENT => Ok(Vec::new()),
            _ => Err(error),
        })?;
        let mut datagram = Vec::new();
        for answer in &answers {
            let message = [
                &(answer.payload.len() as u32 + 16).to_ne_bytes()[..],
                &answer.kind.to_ne_bytes(),
                &[0; 10],
                &answer.payload,
            ]
            .concat();
            if datagram.len() + message.len() < usize::from(u16::MAX) {
                datagram.extend(message);
                datagram.resize(datagram.len().next_multiple_of(4), 0);
            }
        }
        let mut record = self.record.borrow_mut();
        record.extend(u16::try_from(datagram.len()).unwrap_or(u16::MAX).to_le_bytes());
        record.extend(datagram);
        Ok(answers)
    }
}

/// What the kernel says of the calling thread's namespace, for [`namespace`]: seeds are made of it.
///
/// # Errors
/// When a socket cannot be opened, or the kernel refuses a dump.
pub fn record() -> io::Result<Vec<u8>> {
    let record = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let open = |protocol| -> io::Result<Recorded> {
        Ok(Recorded { kernel: Netlink::open(protocol)?, record: std::rc::Rc::clone(&record) })
    };
    let (mut route, mut netfilter) =
        (open(netlink_sys::protocols::NETLINK_ROUTE)?, open(netlink_sys::protocols::NETLINK_NETFILTER)?);
    state::read_any(&mut route, &mut netfilter).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(record.take())
}

/// The rules in a record, each as [`rule`] reads it.
pub fn rules(mut record: &[u8]) -> Vec<Vec<u8>> {
    const NEW_RULE: u16 = 10 << 8 | 6;
    let mut found = Vec::new();
    while !record.is_empty() {
        let mut played = Played { record };
        let answers = played.next().unwrap_or_default();
        record = played.record;
        for answer in answers.iter().filter(|answer| answer.kind == NEW_RULE) {
            let family = answer.payload.first().copied().unwrap_or_default();
            let list = answer.payload.get(4..).and_then(|rest| super::netlink::attribute(rest, 4));
            found.extend(list.map(|list| [&[family, 7, 0, 0, 0], list].concat()));
        }
    }
    found
}

/// The payloads of the messages in a record.
pub fn payloads(mut record: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !record.is_empty() {
        let mut played = Played { record };
        found.extend(played.next().unwrap_or_default().into_iter().map(|answer| answer.payload));
        record = played.record;
    }
    found
}

/// Messages of the control socket of several kinds.
pub fn messages() -> Vec<Vec<u8>> {
    let requests = [
        Request::Start(super::ArenaConfig::default()),
        Request::CreateNetns("c1".to_owned(), false),
        Request::CreateNetns("c2".to_owned(), true),
        Request::Snapshot(super::Scope::all()),
        Request::ReadFile("/etc/cni/net.d".into()),
        Request::WriteFile { path: "/tmp/x".into(), content: b"{}".to_vec(), mode: 0o600 },
        Request::SetSysctl {
            place: super::Place::Host,
            name: "net/ipv4/ip_forward".to_owned(),
            value: "1".to_owned(),
        },
    ];
    let replies = [
        Reply::Done,
        Reply::Snapshot(Box::default()),
        Reply::Bytes(b"{}".to_vec()),
        Reply::Program(Some("/bin/sh".into())),
        Reply::Names(vec!["c1".to_owned()]),
        Reply::Truth(true),
    ];
    let requests = requests.iter().map(|one| encode(one, Vec::new()));
    requests.chain(replies.iter().map(|one| encode(one, Vec::new()))).map(|one| one.expect("small")).collect()
}
