//! A DHCPv4 server for the arena's host: it leases addresses of one pool on every link, and writes down what it does.
//!
//! It is a process of its own, this executable started again, because the agent has no time for it while it runs a
//! plugin.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrIn, recv, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use smoltcp::wire::{
    ArpHardware as Hardware, DhcpMessageType, DhcpOpCode, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress,
    IpProtocol, Ipv4Packet, UdpPacket,
};

use super::network::mac_text;
use super::start::AGENT_ARGUMENT;
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
/// What tells DHCP from what it comes from.
const COOKIE: u32 = 0x6382_5363;

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

    /// A Python program that serves the same leases and writes down the addresses that are given back, for a reproducer.
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
    if kind == 7 and leases.pop(who, None) is not None: print('RELEASE', s.inet_ntoa(d[12:16]), flush=True)
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

/// Serves when this process was started as the server, and then never returns; returns at once otherwise. It answers on
/// every link, so that it serves in an arena only, where process 1 is an agent.
pub(super) fn entry() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(ARGUMENT.as_ref()) {
        return;
    }
    let first = std::fs::read("/proc/1/cmdline").unwrap_or_default();
    if first.split(|byte| *byte == 0).nth(1) != Some(AGENT_ARGUMENT.as_bytes()) {
        eprintln!("cnitest: the DHCP server runs in arenas only");
        std::process::exit(2)
    }
    let mut number = || arguments.next().and_then(|text| text.to_str()?.parse::<u64>().ok());
    let (addresses, seconds) = (number().and_then(|number| u8::try_from(number).ok()), number());
    let (Some(addresses), Some(seconds)) = (addresses, seconds) else { std::process::exit(2) };
    let pool = Pool { addresses, lease: Duration::from_secs(seconds) };
    let Err(error) = serve(pool, Path::new(LOG));
    eprintln!("cnitest: the DHCP server ends: {error}");
    std::process::exit(1)
}

fn serve(pool: Pool, log: &Path) -> io::Result<Infallible> {
    // Not every kernel has such sockets; the server can do without.
    let wire =
        socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).ok();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    socket.set_broadcast(true)?;
    // Which link a message came in on: the answer goes out there.
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    let mut server = Server { pool, leases: BTreeMap::new() };
    std::fs::create_dir_all(log.parent().unwrap_or(log))?;
    let mut log = OpenOptions::new().create(true).append(true).open(log)?;
    if let Some(wire) = wire {
        let heard = log.try_clone()?;
        std::thread::spawn(move || {
            let Err(error) = overhear(&wire, heard);
            eprintln!("cnitest: the DHCP server sees no more of what the kernel drops: {error}");
        });
    }
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

const OPTION_NAME_SERVER: u8 = 6;
const OPTION_REQUESTED: u8 = 50;
const OPTION_TYPE: u8 = 53;
const OPTION_SERVER: u8 = 54;
const OPTION_CLIENT: u8 = 61;

/// Writes down releases that are meant for the server and that the kernel drops on their way to its socket: those that
/// come from no address, as only broadcasts may (RFC 1122, section 3.2.1.3). Without that, who sent one would read that
/// nothing came.
fn overhear(wire: &OwnedFd, mut log: File) -> io::Result<Infallible> {
    let mut buffer = [0; 1500];
    loop {
        let length = recv(wire.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if let Some(released) = unheard(buffer.get(..length).unwrap_or_default()) {
            writeln!(log, "UNHEARD RELEASE of {released} from {}", Ipv4Addr::UNSPECIFIED)?;
        }
    }
}

/// The address that such a packet releases.
fn unheard(packet: &[u8]) -> Option<Ipv4Addr> {
    let packet = Ipv4Packet::new_checked(packet).ok()?;
    let meant = packet.version() == 4 && packet.src_addr().is_unspecified() && packet.dst_addr() == SERVER;
    if !meant || packet.next_header() != IpProtocol::Udp {
        return None;
    }
    let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
    let message = Message::parse(datagram.payload()).filter(|_| datagram.dst_port() == PORT)?;
    message.own.filter(|_| message.kind == DhcpMessageType::Release)
}

/// What a client says, as far as the server heeds it (RFC 2131, section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    kind: DhcpMessageType,
    transaction: u32,
    hardware: EthernetAddress,
    /// What tells the client from others: the identifier that it gives itself, or else its hardware address.
    client: Vec<u8>,
    relay: Ipv4Addr,
    /// The address that the client says it has.
    own: Option<Ipv4Addr>,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
}

impl Message {
    /// Reads the options one by one: the crate's representation of a whole message holds no identifier but a hardware
    /// address.
    fn parse(bytes: &[u8]) -> Option<Message> {
        let packet = DhcpPacket::new_checked(bytes).ok()?;
        let ethernet = packet.hardware_type() == Hardware::Ethernet && packet.hardware_len() == 6;
        if packet.opcode() != DhcpOpCode::Request || packet.magic_number() != COOKIE || !ethernet {
            return None;
        }
        let option = |code: u8| packet.options().find(|option| option.kind == code).map(|option| option.data);
        let hardware = packet.client_hardware_address();
        Some(Message {
            kind: DhcpMessageType::from(*option(OPTION_TYPE)?.first()?),
            transaction: packet.transaction_id(),
            hardware,
            client: option(OPTION_CLIENT).unwrap_or(hardware.as_bytes()).to_vec(),
            relay: packet.relay_agent_ip(),
            own: Some(packet.client_ip()).filter(|own| !own.is_unspecified()),
            requested: option(OPTION_REQUESTED).and_then(address),
            server: option(OPTION_SERVER).and_then(address),
        })
    }

    /// The answer that gives an address and what goes with it, or that refuses.
    fn answer(&self, kind: DhcpMessageType, given: Option<(Ipv4Addr, u32)>) -> Option<Vec<u8>> {
        let names = NAME_SERVER.octets();
        let more = [DhcpOption { kind: OPTION_NAME_SERVER, data: &names }];
        let answer = DhcpRepr {
            message_type: kind,
            transaction_id: self.transaction,
            secs: 0,
            client_hardware_address: self.hardware,
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: given.map_or(Ipv4Addr::UNSPECIFIED, |(address, _)| address),
            server_ip: SERVER,
            router: given.map(|_| SERVER),
            subnet_mask: given.map(|_| MASK),
            relay_agent_ip: self.relay,
            broadcast: true,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(SERVER),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: given.map(|(_, seconds)| seconds),
            renew_duration: None,
            rebind_duration: None,
            additional_options: if given.is_some() { &more } else { &[] },
        };
        let mut bytes = vec![0; answer.buffer_len()];
        answer.emit(&mut DhcpPacket::new_unchecked(bytes.as_mut_slice())).ok()?;
        Some(bytes)
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
        let client = message.client.clone();
        let who = mac_text(message.hardware.as_bytes());
        let seconds = u32::try_from(self.pool.lease.as_secs()).unwrap_or(u32::MAX);
        match message.kind {
            DhcpMessageType::Discover => {
                let Some(chosen) = self.choose(&client, now) else {
                    writeln!(log, "NONE-LEFT - {who}")?;
                    return Ok(None);
                };
                let until = now + OFFERED;
                let lease = self.leases.entry(chosen).or_insert(Lease { client: Some(client), until });
                lease.until = lease.until.max(until);
                writeln!(log, "OFFER {chosen} {who}")?;
                Ok(message.answer(DhcpMessageType::Offer, Some((chosen, seconds))))
            }
            DhcpMessageType::Request if message.server.is_none_or(|server| server == SERVER) => {
                let wanted = message.requested.or(message.own);
                let chosen = self.choose(&client, now).filter(|chosen| Some(*chosen) == wanted);
                let Some(chosen) = chosen else {
                    writeln!(log, "NAK {} {who}", wanted.unwrap_or(Ipv4Addr::UNSPECIFIED))?;
                    return Ok(message.answer(DhcpMessageType::Nak, None));
                };
                self.leases.insert(chosen, Lease { client: Some(client), until: now + self.pool.lease });
                writeln!(log, "ACK {chosen} {who}")?;
                Ok(message.answer(DhcpMessageType::Ack, Some((chosen, seconds))))
            }
            DhcpMessageType::Release => {
                let own = message.own.unwrap_or(Ipv4Addr::UNSPECIFIED);
                let held = self.holds(&client, own);
                if held {
                    self.leases.remove(&own);
                }
                writeln!(log, "{} {own} {who}", if held { "RELEASE" } else { "RELEASE-OF-ANOTHERS" })?;
                Ok(None)
            }
            DhcpMessageType::Decline => {
                if let Some(declined) = message.requested.filter(|declined| self.holds(&client, *declined)) {
                    self.leases.insert(declined, Lease { client: None, until: now + self.pool.lease });
                    writeln!(log, "DECLINE {declined} {who}")?;
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn holds(&self, client: &[u8], address: Ipv4Addr) -> bool {
        self.leases.get(&address).is_some_and(|lease| lease.client.as_deref() == Some(client))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

    fn bytes(kind: u8, client: u8, options: &[(u8, [u8; 4])], own: Ipv4Addr) -> Vec<u8> {
        let mut bytes = vec![0; 240];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[4..8].copy_from_slice(&[0, 0, 0, client]);
        bytes[12..16].copy_from_slice(&own.octets());
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, client]);
        bytes[236..].copy_from_slice(&COOKIE.to_be_bytes());
        // Seven bytes that are no hardware address.
        bytes.extend([0, OPTION_TYPE, 1, kind, OPTION_CLIENT, 7, 0, 0, 0, 0, 0, 0, client]);
        for (code, value) in options {
            bytes.extend([*code, 4]);
            bytes.extend(value);
        }
        bytes.push(255);
        bytes
    }

    fn message(kind: u8, client: u8, options: &[(u8, [u8; 4])], own: Ipv4Addr) -> Message {
        Message::parse(&bytes(kind, client, options, own)).expect("a message")
    }

    /// What a client reads in an answer.
    fn said(answer: &[u8]) -> Option<(DhcpMessageType, Ipv4Addr)> {
        let packet = DhcpPacket::new_checked(answer).ok()?;
        let read = DhcpRepr::parse(&packet).ok()?;
        assert_eq!(read.server_identifier, Some(SERVER));
        Some((read.message_type, read.your_ip))
    }

    #[test]
    fn leases_are_given_kept_and_given_back() {
        use DhcpMessageType::{Ack, Nak, Offer};
        const DISCOVER: u8 = 1;
        const REQUEST: u8 = 3;
        const DECLINE: u8 = 4;
        const RELEASE: u8 = 7;
        let pool = Pool { addresses: 1, lease: Duration::from_secs(60) };
        let mut server = Server { pool, leases: BTreeMap::new() };
        let (now, mut log) = (Instant::now(), Vec::new());
        let mut ask = |message: &Message, later: u64| {
            let now = now + Duration::from_secs(later);
            said(&server.answer(message, now, &mut log).expect("a log in memory")?)
        };
        let wanted = [(OPTION_REQUESTED, FIRST.octets()), (OPTION_SERVER, SERVER.octets())];
        assert_eq!(ask(&message(DISCOVER, 1, &[], NOBODY), 0), Some((Offer, FIRST)));
        assert_eq!(ask(&message(REQUEST, 1, &wanted, NOBODY), 0), Some((Ack, FIRST)));
        assert_eq!(ask(&message(DISCOVER, 2, &[], NOBODY), 1), None, "no address is left");
        assert_eq!(ask(&message(REQUEST, 2, &wanted, NOBODY), 1), Some((Nak, NOBODY)));
        assert_eq!(ask(&message(REQUEST, 1, &[], FIRST), 50), Some((Ack, FIRST)), "renewed");
        assert_eq!(ask(&message(RELEASE, 2, &[], FIRST), 51), None);
        assert_eq!(ask(&message(DECLINE, 2, &wanted, NOBODY), 51), None);
        assert_eq!(ask(&message(DISCOVER, 2, &[], NOBODY), 100), None, "another's release frees nothing");
        assert_eq!(ask(&message(RELEASE, 1, &[], FIRST), 101), None);
        assert_eq!(ask(&message(DISCOVER, 2, &[], NOBODY), 102), Some((Offer, FIRST)));
        assert_eq!(ask(&message(REQUEST, 2, &wanted, NOBODY), 102), Some((Ack, FIRST)));
        assert_eq!(ask(&message(DISCOVER, 1, &[], NOBODY), 200), Some((Offer, FIRST)), "the lease has ended");
        let other = [(OPTION_SERVER, [10, 92, 0, 2])];
        assert_eq!(ask(&message(REQUEST, 1, &other, NOBODY), 200), None, "meant for another server");
        assert_eq!(ask(&message(DECLINE, 1, &wanted, NOBODY), 201), None);
        assert_eq!(ask(&message(DISCOVER, 1, &[], NOBODY), 202), None, "nobody gets what is in use");
        let log = String::from_utf8(log).expect("text");
        assert!(log.contains("RELEASE 10.92.0.10 02:00:00:00:00:01\n"), "{log}");
        assert!(log.contains("RELEASE-OF-ANOTHERS 10.92.0.10 02:00:00:00:00:02\n"), "{log}");
        assert_eq!(log.matches("DECLINE").count(), 1, "{log}");
    }

    #[test]
    fn what_is_no_message_is_passed_over() {
        let right = bytes(1, 1, &[], NOBODY);
        assert!(Message::parse(&right).is_some());
        // Too short, an answer, no Ethernet, no DHCP, without a kind.
        assert_eq!(Message::parse(&right[..239]), None);
        for (place, value) in [(0, 2), (1, 6), (2, 8), (236, 0), (241, 12)] {
            let mut wrong = right.clone();
            wrong[place] = value;
            assert_eq!(Message::parse(&wrong), None, "byte {place}");
        }
    }

    /// A packet of UDP without checksums.
    fn packet(source: Ipv4Addr, destination: Ipv4Addr, port: u8, payload: &[u8]) -> Vec<u8> {
        let length = |more: usize| u16::try_from(payload.len() + more).expect("short").to_be_bytes();
        let mut packet = vec![0x45, 0];
        packet.extend(length(28));
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend([0, 68, 0, port]);
        packet.extend(length(8));
        packet.extend([0, 0]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn what_the_kernel_drops_is_seen() {
        let release = bytes(7, 1, &[], FIRST);
        assert_eq!(unheard(&packet(NOBODY, SERVER, 67, &release)), Some(FIRST));
        assert_eq!(unheard(&packet(FIRST, SERVER, 67, &release)), None, "the socket gets it");
        assert_eq!(unheard(&packet(NOBODY, Ipv4Addr::BROADCAST, 67, &release)), None, "the socket gets it");
        assert_eq!(unheard(&packet(NOBODY, SERVER, 66, &release)), None);
        assert_eq!(unheard(&packet(NOBODY, SERVER, 67, &bytes(3, 1, &[], FIRST))), None);
        assert_eq!(unheard(&packet(NOBODY, SERVER, 67, b"x")), None);
    }

    proptest! {
        #[test]
        fn any_packet_is_read_or_passed_over(
            cut in 0_usize..300, place in 0_usize..300, value: u8, noise in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = unheard(&noise);
            let mut whole = packet(NOBODY, SERVER, 67, &bytes(7, 1, &[], FIRST));
            if let Some(byte) = whole.get_mut(place) {
                *byte = value;
            }
            let _ = unheard(whole.get(..cut).unwrap_or(&whole));
        }

        #[test]
        fn any_bytes_are_read_or_passed_over(
            head in proptest::collection::vec(any::<u8>(), 0..240),
            options in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = Message::parse(&head);
            let mut bytes = bytes(1, 1, &[], NOBODY);
            bytes.truncate(240);
            bytes.extend(options);
            if let Some(message) = Message::parse(&bytes) {
                let pool = Pool { addresses: 2, lease: Duration::from_secs(u64::from(u32::MAX)) };
                let mut server = Server { pool, leases: BTreeMap::new() };
                let answer = server.answer(&message, Instant::now(), &mut io::sink()).expect("no log");
                prop_assert!(answer.is_none_or(|answer| said(&answer).is_some()));
            }
        }

        #[test]
        fn what_is_written_is_read(
            kind in 1_u8..8, client: u8, own: [u8; 4], requested: [u8; 4], server: [u8; 4],
        ) {
            let own = Ipv4Addr::from(own);
            let options = [(OPTION_REQUESTED, requested), (OPTION_SERVER, server)];
            let read = message(kind, client, &options, own);
            prop_assert_eq!(read.kind, DhcpMessageType::from(kind));
            prop_assert_eq!(read.transaction, u32::from(client));
            prop_assert_eq!(read.client, vec![0, 0, 0, 0, 0, 0, client]);
            prop_assert_eq!(read.own, Some(own).filter(|own| !own.is_unspecified()));
            prop_assert_eq!(read.requested, Some(Ipv4Addr::from(requested)));
            prop_assert_eq!(read.server, Some(Ipv4Addr::from(server)));
        }
    }
}
