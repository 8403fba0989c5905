//! A DHCPv4 server for the arena's host: it leases addresses of one pool on every link, and writes down what it does.
//!
//! It is a process of its own, this executable started again, because the agent has no time for it while it runs a
//! plugin. The crates for DHCP bring dozens of others for names and domains; the few fields that matter here are read
//! below.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};

use super::network::mac_text;
use crate::invoke::Invocation;

/// The first argument that makes an executable the server.
const ARGUMENT: &str = "__arena-dhcp-server";

/// The server's own address, which each link of the host that it serves has to have.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 92, 0, 1);

/// The first address that it leases.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(10, 92, 0, 10);

/// Most addresses that it can lease.
pub const MOST: u8 = 240;

/// Where it writes what it does, a line for each message: what it is, the address, and who is concerned. The file is
/// there once the server is ready.
pub const LOG: &str = "/run/cnitest-dhcp/log";

const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 92, 0, 53);
const PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// What the server leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// How many addresses, at most [`MOST`].
    pub addresses: u8,
    /// How long a lease lasts.
    pub lease: Duration,
}

impl Pool {
    /// The execution that is the server, to be [started in the background](super::Arena::start_background).
    pub fn server(&self) -> Invocation {
        Invocation::new("/proc/self/exe").args([
            ARGUMENT.to_owned(),
            self.addresses.to_string(),
            self.lease.as_secs().to_string(),
        ])
    }

    /// A Python program that serves the same leases, for a reproducer.
    pub fn python(&self) -> String {
        let seconds = self.lease.as_secs();
        format!(
            r#"import socket as s, struct
a, c = s.inet_aton, s.socket(s.AF_INET, s.SOCK_DGRAM)
c.setsockopt(s.SOL_SOCKET, s.SO_BROADCAST, 1); c.setsockopt(0, 8, 1); c.bind(('', {PORT}))
leases = {{}}
while True:
    d, control, _, _ = c.recvmsg(1500, 256)
    link = struct.unpack_from('i', control[0][2])[0]
    o, i = {{}}, 240
    while i < len(d) and d[i] != 255:
        if d[i]: o[d[i]] = d[i+2:i+2+d[i+1]]; i += 2 + d[i+1]
        else: i += 1
    who, kind = o.get(61, d[28:34]), o.get(53, b'\0')[0]
    if kind == 7: leases.pop(who, None)
    if kind not in (1, 3): continue
    taken = set(leases.values())
    free = [n for n in range({addresses}) if n not in taken]
    if who not in leases and not free: continue
    n = leases.setdefault(who, (free or [0])[0])
    r = b'\2\1\6\0' + d[4:8] + b'\0\0\x80\0' + d[12:16] + a('10.92.0.%d' % (n + {first})) + a('{SERVER}') + bytes(4) + d[28:44] + bytes(192)
    r += b'\x63\x82\x53\x63\x35\1' + (b'\2' if kind == 1 else b'\5') + b'\x36\4' + a('{SERVER}') + b'\x33\4' + struct.pack('!I', {seconds})
    r += b'\1\4' + a('{MASK}') + b'\3\4' + a('{SERVER}') + b'\6\4' + a('{NAME_SERVER}') + b'\xff'
    c.sendmsg([r], [(0, 8, struct.pack('iii', link, 0, 0))], 0, ('255.255.255.255', {CLIENT_PORT}))
"#,
            addresses = self.addresses,
            first = FIRST.octets()[3],
        )
    }
}

/// Serves when this process was started as the server, and then never returns; returns at once otherwise.
pub(super) fn entry() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(ARGUMENT.as_ref()) {
        return;
    }
    let mut number = || arguments.next().and_then(|text| text.to_str()?.parse::<u64>().ok());
    let (addresses, seconds) = (number().and_then(|number| u8::try_from(number).ok()), number());
    let (Some(addresses), Some(seconds)) = (addresses, seconds) else { std::process::exit(2) };
    let pool = Pool { addresses, lease: Duration::from_secs(seconds) };
    let Err(error) = serve(pool, Path::new(LOG));
    eprintln!("cnitest: the DHCP server ends: {error}");
    std::process::exit(1)
}

fn serve(pool: Pool, log: &Path) -> io::Result<std::convert::Infallible> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    socket.set_broadcast(true)?;
    // Which link a message came in on: the answer goes out there.
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    let mut server = Server { pool, leases: BTreeMap::new() };
    std::fs::create_dir_all(log.parent().unwrap_or(log))?;
    let mut log = OpenOptions::new().create(true).append(true).open(log)?;
    let mut buffer = [0; 1500];
    let mut control = nix::cmsg_space!(libc::in_pktinfo);
    loop {
        let (length, link) = {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let received =
                recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
            let link = received.cmsgs()?.find_map(|one| match one {
                ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_ifindex),
                _ => None,
            });
            (received.bytes, link)
        };
        let Some(message) = Message::parse(buffer.get(..length).unwrap_or_default()) else { continue };
        let answer = server.answer(&message, Instant::now(), &mut log)?;
        if let (Some(answer), Some(link)) = (answer, link) {
            let info = libc::in_pktinfo {
                ipi_ifindex: link,
                ipi_spec_dst: libc::in_addr { s_addr: 0 },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            // A client has no address yet, and its kernel never gets the one that an IPAM plugin leases: all hear it.
            let everybody = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT));
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            let parts = [IoSlice::new(&answer)];
            let sent = sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), Some(&everybody));
            // The link may be gone with its container.
            if let Err(errno) = sent {
                writeln!(log, "LOST {errno}")?;
            }
        }
    }
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;
const NAK: u8 = 6;
const RELEASE: u8 = 7;

const OPTION_MASK: u8 = 1;
const OPTION_ROUTER: u8 = 3;
const OPTION_NAME_SERVER: u8 = 6;
const OPTION_REQUESTED: u8 = 50;
const OPTION_LEASE: u8 = 51;
const OPTION_TYPE: u8 = 53;
const OPTION_SERVER: u8 = 54;
const OPTION_CLIENT: u8 = 61;
const OPTION_END: u8 = 255;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
/// Where the options begin, behind the fixed fields and the cookie.
const OPTIONS: usize = 240;

/// What a client says, as far as the server heeds it (RFC 2131, section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    head: Vec<u8>,
    options: BTreeMap<u8, Vec<u8>>,
}

impl Message {
    fn parse(bytes: &[u8]) -> Option<Message> {
        let head = bytes.get(..OPTIONS)?;
        if head[0] != 1 || head[OPTIONS - 4..] != COOKIE {
            return None;
        }
        let mut options = BTreeMap::new();
        let mut rest = bytes.get(OPTIONS..)?;
        loop {
            rest = match rest {
                [] | [OPTION_END, ..] => break,
                [0, more @ ..] => more,
                [code, length, more @ ..] => {
                    let (value, more) = more.split_at_checked(usize::from(*length))?;
                    options.entry(*code).or_insert_with(Vec::new).extend(value);
                    more
                }
                [_] => return None,
            };
        }
        Some(Message { head: head.to_vec(), options })
    }

    fn kind(&self) -> Option<u8> {
        self.options.get(&OPTION_TYPE)?.first().copied()
    }

    /// The address that the client says it has.
    fn own(&self) -> Option<Ipv4Addr> {
        address(&self.head[12..16]).filter(|own| !own.is_unspecified())
    }

    fn option(&self, code: u8) -> Option<Ipv4Addr> {
        address(self.options.get(&code)?)
    }

    fn hardware(&self) -> &[u8] {
        &self.head[28..34]
    }

    /// What tells the client from others.
    fn client(&self) -> &[u8] {
        self.options.get(&OPTION_CLIENT).map_or(self.hardware(), Vec::as_slice)
    }

    fn answer(&self, kind: u8, yours: Ipv4Addr, options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut answer = self.head.clone();
        answer[0] = 2;
        answer[3] = 0;
        answer[8..10].fill(0);
        answer[10..12].copy_from_slice(&0x8000_u16.to_be_bytes());
        answer[16..20].copy_from_slice(&yours.octets());
        answer[20..24].copy_from_slice(&SERVER.octets());
        answer[44..OPTIONS - 4].fill(0);
        let (kind, server) = ([kind], SERVER.octets());
        let first: [(u8, &[u8]); 2] = [(OPTION_TYPE, &kind), (OPTION_SERVER, &server)];
        for (code, value) in first.iter().chain(options) {
            answer.extend([*code, u8::try_from(value.len()).unwrap_or_default()]);
            answer.extend(*value);
        }
        answer.push(OPTION_END);
        answer
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

#[derive(Debug)]
struct Lease {
    /// Nobody when a client found the address in use.
    client: Option<Vec<u8>>,
    until: Instant,
}

#[derive(Debug)]
struct Server {
    pool: Pool,
    leases: BTreeMap<Ipv4Addr, Lease>,
}

/// How long an address is kept for a client that it was offered to.
const OFFERED: Duration = Duration::from_secs(10);

impl Server {
    /// The address that the client has, or else one that is free.
    fn choose(&mut self, client: &[u8], now: Instant) -> Option<Ipv4Addr> {
        self.leases.retain(|_, lease| lease.until > now);
        let own = self.leases.iter().find(|(_, lease)| lease.client.as_deref() == Some(client));
        if let Some((own, _)) = own {
            return Some(*own);
        }
        let mut pool =
            (0..self.pool.addresses.min(MOST)).map(|n| Ipv4Addr::from(u32::from(FIRST) + u32::from(n)));
        pool.find(|one| !self.leases.contains_key(one))
    }

    /// Does what the message asks for, and tells the log. Nothing is answered when no address is left, as the protocol
    /// has it.
    fn answer(
        &mut self,
        message: &Message,
        now: Instant,
        log: &mut impl Write,
    ) -> io::Result<Option<Vec<u8>>> {
        let client = message.client().to_vec();
        let who = mac_text(message.hardware());
        let seconds = u32::try_from(self.pool.lease.as_secs()).unwrap_or(u32::MAX).to_be_bytes();
        let (mask, router, names) = (MASK.octets(), SERVER.octets(), NAME_SERVER.octets());
        let given: [(u8, &[u8]); 4] = [
            (OPTION_LEASE, &seconds),
            (OPTION_MASK, &mask),
            (OPTION_ROUTER, &router),
            (OPTION_NAME_SERVER, &names),
        ];
        match message.kind() {
            Some(DISCOVER) => {
                let Some(chosen) = self.choose(&client, now) else {
                    writeln!(log, "NONE-LEFT - {who}")?;
                    return Ok(None);
                };
                let until = now + OFFERED;
                let lease = self.leases.entry(chosen).or_insert(Lease { client: Some(client), until });
                lease.until = lease.until.max(until);
                writeln!(log, "OFFER {chosen} {who}")?;
                Ok(Some(message.answer(OFFER, chosen, &given)))
            }
            Some(REQUEST) if message.option(OPTION_SERVER).is_none_or(|server| server == SERVER) => {
                let wanted = message.option(OPTION_REQUESTED).or(message.own());
                let chosen = self.choose(&client, now).filter(|chosen| Some(*chosen) == wanted);
                let Some(chosen) = chosen else {
                    writeln!(log, "NAK {} {who}", wanted.unwrap_or(Ipv4Addr::UNSPECIFIED))?;
                    return Ok(Some(message.answer(NAK, Ipv4Addr::UNSPECIFIED, &[])));
                };
                self.leases.insert(chosen, Lease { client: Some(client), until: now + self.pool.lease });
                writeln!(log, "ACK {chosen} {who}")?;
                Ok(Some(message.answer(ACK, chosen, &given)))
            }
            Some(RELEASE) => {
                let own = message.own().unwrap_or(Ipv4Addr::UNSPECIFIED);
                let held = self.leases.get(&own).is_some_and(|lease| lease.client.as_ref() == Some(&client));
                if held {
                    self.leases.remove(&own);
                }
                writeln!(log, "{} {own} {who}", if held { "RELEASE" } else { "RELEASE-OF-ANOTHERS" })?;
                Ok(None)
            }
            Some(DECLINE) => {
                if let Some(declined) = message.option(OPTION_REQUESTED) {
                    self.leases.insert(declined, Lease { client: None, until: now + self.pool.lease });
                    writeln!(log, "DECLINE {declined} {who}")?;
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, client: u8, options: &[(u8, [u8; 4])], own: Ipv4Addr) -> Message {
        let mut bytes = vec![0; OPTIONS];
        bytes[0] = 1;
        bytes[12..16].copy_from_slice(&own.octets());
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, client]);
        bytes[OPTIONS - 4..].copy_from_slice(&COOKIE);
        bytes.extend([0, OPTION_TYPE, 1, kind, OPTION_CLIENT, 2, 0, client]);
        for (code, value) in options {
            bytes.extend([*code, 4]);
            bytes.extend(value);
        }
        bytes.push(OPTION_END);
        Message::parse(&bytes).expect("a message")
    }

    fn said(answer: Option<Vec<u8>>) -> Option<(u8, Ipv4Addr)> {
        let mut answer = answer?;
        answer[0] = 1;
        let read = Message::parse(&answer)?;
        Some((read.kind()?, address(&read.head[16..20])?))
    }

    #[test]
    fn leases_are_given_kept_and_given_back() {
        let pool = Pool { addresses: 1, lease: Duration::from_secs(60) };
        let mut server = Server { pool, leases: BTreeMap::new() };
        let (now, none, mut log) = (Instant::now(), Ipv4Addr::UNSPECIFIED, Vec::new());
        let mut ask = |message: &Message, later: u64| {
            said(server.answer(message, now + Duration::from_secs(later), &mut log).expect("a log in memory"))
        };
        let wanted = [(OPTION_REQUESTED, FIRST.octets()), (OPTION_SERVER, SERVER.octets())];
        assert_eq!(ask(&message(DISCOVER, 1, &[], none), 0), Some((OFFER, FIRST)));
        assert_eq!(ask(&message(REQUEST, 1, &wanted, none), 0), Some((ACK, FIRST)));
        assert_eq!(ask(&message(DISCOVER, 2, &[], none), 1), None, "no address is left");
        assert_eq!(ask(&message(REQUEST, 2, &wanted, none), 1), Some((NAK, none)));
        assert_eq!(ask(&message(REQUEST, 1, &[], FIRST), 50), Some((ACK, FIRST)), "renewed");
        assert_eq!(ask(&message(RELEASE, 2, &[], FIRST), 51), None);
        assert_eq!(ask(&message(DISCOVER, 2, &[], none), 100), None, "another's release frees nothing");
        assert_eq!(ask(&message(RELEASE, 1, &[], FIRST), 101), None);
        assert_eq!(ask(&message(DISCOVER, 2, &[], none), 102), Some((OFFER, FIRST)));
        assert_eq!(ask(&message(REQUEST, 2, &wanted, none), 102), Some((ACK, FIRST)));
        assert_eq!(ask(&message(DISCOVER, 1, &[], none), 200), Some((OFFER, FIRST)), "the lease has ended");
        let other = [(OPTION_SERVER, [10, 92, 0, 2])];
        assert_eq!(ask(&message(REQUEST, 1, &other, none), 200), None, "meant for another server");
        let log = String::from_utf8(log).expect("text");
        assert!(log.contains("RELEASE 10.92.0.10 02:00:00:00:00:01\n"), "{log}");
        assert!(log.contains("RELEASE-OF-ANOTHERS 10.92.0.10 02:00:00:00:00:02\n"), "{log}");
    }

    #[test]
    fn what_is_no_message_is_passed_over() {
        assert_eq!(Message::parse(&[1; 100]), None);
        let mut cut = vec![0; OPTIONS];
        cut[0] = 1;
        cut[OPTIONS - 4..].copy_from_slice(&COOKIE);
        cut.extend([OPTION_TYPE, 9, 1]);
        assert_eq!(Message::parse(&cut), None);
    }
}
