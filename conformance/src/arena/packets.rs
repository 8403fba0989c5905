//! Packets between the places of an arena: a client sends, listeners wait, and what arrives where is told.
//!
//! A socket belongs to the network namespace in which it was made, so one thread serves both ends.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, connect, setsockopt, socket,
    sockopt,
};
use serde::{Deserialize, Serialize};

use super::Refusal;
use super::network::quote;
use super::operate::Network;
use super::sys::wait_readable;
use crate::invoke::Place;

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// A connection is made, and a message goes there and back.
    Tcp,
    /// A datagram goes there, and its like comes back.
    Udp,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
        })
    }
}

/// Where somebody waits for packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Where.
    pub place: Place,
    /// At which of its addresses, and at which port.
    pub address: SocketAddr,
}

/// A message that a client sends, which the listener that gets it sends back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// How.
    pub transport: Transport,
    /// Where the client is.
    pub client: Place,
    /// The client's own address and port, where the kernel is not to choose; it chooses a port for 0.
    pub source: Option<SocketAddr>,
    /// Where it sends to.
    pub destination: SocketAddr,
    /// Who waits. The first that gets the message answers it.
    pub listeners: Vec<Listener>,
    /// How long to go on trying until an answer comes.
    pub patience: Duration,
    /// Whether to go on when the packets are refused; nothing may be ready at first.
    pub persistent: bool,
    /// How many bytes follow the message on its way there, and not on its way back. Datagrams only.
    pub filler: u16,
}

/// What came of an [`Exchange`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanged {
    /// Which listener got the message.
    pub listener: Option<usize>,
    /// Where the message came from, as that listener saw it.
    pub seen_source: Option<SocketAddr>,
    /// The client got the answer.
    pub answered: bool,
    /// What kept the client or a listener from it, where the kernel said so.
    pub problem: Option<String>,
}

/// How long to wait before another attempt, and between looks at the sockets.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a datagram, or the first packet of a connection, is waited for before it is sent again.
const ATTEMPT: Duration = Duration::from_millis(250);
const MESSAGE: &[u8] = b"cnitest";

enum Server {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Network {
    /// Has packets exchanged.
    pub(super) fn exchange(&mut self, exchange: &Exchange) -> Result<Exchanged, Refusal> {
        let end = Instant::now() + exchange.patience;
        let mut seen = Exchanged::default();
        let mut servers = Vec::new();
        for (index, listener) in exchange.listeners.iter().enumerate() {
            let server =
                self.inside(&listener.place, || listen(exchange.transport, listener.address, end))?;
            match server {
                Ok(server) => servers.push((index, server)),
                Err(error) => {
                    let what = format!("listen at {} of {}", listener.address, listener.place);
                    return Err(Refusal::io(what, &error));
                }
            }
        }
        loop {
            let client = self.inside(&exchange.client, || dial(exchange))?;
            let tried = client.and_then(|client| {
                let pause = ATTEMPT.min(end.saturating_duration_since(Instant::now()));
                match exchange.transport {
                    Transport::Tcp => over_tcp(client, &servers, pause, &mut seen),
                    Transport::Udp => over_udp(client.into(), exchange.filler, &servers, pause, &mut seen),
                }
            });
            match tried {
                Ok(true) => {
                    seen.problem = None;
                    return Ok(seen);
                }
                Ok(false) => {}
                Err(error) => {
                    seen.problem = Some(text_of(&error));
                    if !exchange.persistent {
                        return Ok(seen);
                    }
                }
            }
            if Instant::now() >= end {
                return Ok(seen);
            }
            sleep(PAUSE.min(end.saturating_duration_since(Instant::now())));
        }
    }
}

/// What the system calls the error, without its number.
fn text_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

/// Waits for packets at an address, which may become usable only by and by.
fn listen(transport: Transport, address: SocketAddr, end: Instant) -> io::Result<Server> {
    let made = open(transport, address.ip())?;
    setsockopt(&made, sockopt::ReuseAddr, &true)?;
    while let Err(errno) = bind_to(&made, address) {
        if errno != Errno::EADDRNOTAVAIL || Instant::now() >= end {
            return Err(errno.into());
        }
        sleep(PAUSE);
    }
    Ok(match transport {
        Transport::Tcp => {
            nix::sys::socket::listen(&made, Backlog::new(8)?)?;
            Server::Tcp(made.into())
        }
        Transport::Udp => Server::Udp(made.into()),
    })
}

/// A socket that does not block.
fn open(transport: Transport, family: IpAddr) -> io::Result<OwnedFd> {
    let kind = match transport {
        Transport::Tcp => SockType::Stream,
        Transport::Udp => SockType::Datagram,
    };
    let family = if family.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    Ok(socket(family, kind, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?)
}

fn bind_to(made: &OwnedFd, address: SocketAddr) -> nix::Result<()> {
    match address {
        SocketAddr::V4(v4) => bind(made.as_raw_fd(), &SockaddrIn::from(v4)),
        SocketAddr::V6(v6) => bind(made.as_raw_fd(), &SockaddrIn6::from(v6)),
    }
}

/// A socket on its way to the destination.
fn dial(exchange: &Exchange) -> io::Result<OwnedFd> {
    let made = open(exchange.transport, exchange.destination.ip())?;
    if let Some(source) = exchange.source {
        bind_to(&made, source)?;
    }
    let begun = match exchange.destination {
        SocketAddr::V4(v4) => connect(made.as_raw_fd(), &SockaddrIn::from(v4)),
        SocketAddr::V6(v6) => connect(made.as_raw_fd(), &SockaddrIn6::from(v6)),
    };
    match begun {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(made),
        Err(errno) => Err(errno.into()),
    }
}

/// True when the answer came.
fn over_tcp(
    client: OwnedFd,
    servers: &[(usize, Server)],
    pause: Duration,
    seen: &mut Exchanged,
) -> io::Result<bool> {
    let mut client = TcpStream::from(client);
    let end = Instant::now() + pause;
    let mut accepted: Option<TcpStream> = None;
    let mut sent = false;
    loop {
        if let Some(error) = client.take_error()? {
            return Err(error);
        }
        for (index, server) in servers {
            let Server::Tcp(server) = server else { continue };
            if let Ok((stream, from)) = server.accept() {
                (seen.listener, seen.seen_source) = (Some(*index), Some(from));
                stream.set_nonblocking(true)?;
                accepted = Some(stream);
            }
        }
        if !sent {
            sent = match client.write(MESSAGE) {
                Ok(_) => true,
                Err(error) if is_not_yet(&error) => false,
                Err(error) => return Err(error),
            };
        }
        let mut buffer = [0; 64];
        if let Some(stream) = &mut accepted
            && let Ok(count) = stream.read(&mut buffer)
        {
            stream.write_all(buffer.get(..count).unwrap_or_default())?;
        }
        if sent {
            match client.read(&mut buffer) {
                Ok(count) if buffer.get(..count) == Some(MESSAGE) => {
                    seen.answered = true;
                    return Ok(true);
                }
                Ok(_) => return Err(io::ErrorKind::ConnectionReset.into()),
                Err(error) if is_not_yet(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        sleep(Duration::from_micros(200));
    }
}

/// True when the answer came.
fn over_udp(
    client: UdpSocket,
    filler: u16,
    servers: &[(usize, Server)],
    pause: Duration,
    seen: &mut Exchanged,
) -> io::Result<bool> {
    let mut sent = MESSAGE.to_vec();
    sent.resize(MESSAGE.len() + usize::from(filler), 0);
    client.send(&sent)?;
    let end = Instant::now() + pause;
    let mut buffer = vec![0; sent.len().max(64)];
    while Instant::now() < end {
        for (index, server) in servers {
            let Server::Udp(server) = server else { continue };
            if let Ok((count, from)) = server.recv_from(&mut buffer)
                && let Some(message) = buffer.get(..count)
                && message == sent
            {
                (seen.listener, seen.seen_source) = (Some(*index), Some(from));
                server.send_to(MESSAGE, from)?;
            }
        }
        if wait_readable(client.as_fd(), Duration::from_millis(1))? {
            let count = client.recv(&mut buffer)?;
            if buffer.get(..count) == Some(MESSAGE) {
                seen.answered = true;
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
        || error.raw_os_error() == Some(libc::EINPROGRESS)
}

impl Exchange {
    /// A shell command that repeats it with Python, for a reproducer. It succeeds when the client gets an answer, and
    /// writes the address that the listener at `index` saw to the file `seen`.
    pub fn shell(&self, index: Option<usize>, seen: &str) -> String {
        let family = if self.destination.is_ipv4() { "s.AF_INET" } else { "s.AF_INET6" };
        let inside = |place: &Place| match place {
            Place::Host => String::new(),
            Place::Container(name) => format!("ip netns exec {} ", quote(name)),
        };
        let address = |address: SocketAddr| format!("('{}',{})", address.ip(), address.port());
        let seconds = self.patience.as_secs().max(1);
        let mut text = format!("rm -f {seen}; ");
        if let Some(listener) = index.and_then(|index| self.listeners.get(index)) {
            let at = address(listener.address);
            let serve = match self.transport {
                Transport::Tcp => format!(
                    "l=s.socket({family}); l.setsockopt(s.SOL_SOCKET,s.SO_REUSEADDR,1); l.bind({at}); l.listen(); c,a=l.accept(); print(a[0],flush=True); c.send(c.recv(64))"
                ),
                Transport::Udp => format!(
                    "l=s.socket({family},s.SOCK_DGRAM); l.bind({at}); d,a=l.recvfrom(64); print(a[0],flush=True); l.sendto(d,a)"
                ),
            };
            text += &format!(
                "{}timeout {} python3 -c \"import socket as s; {serve}\" >{seen} & sleep 1; ",
                inside(&listener.place),
                seconds + 1
            );
        }
        let kind = match self.transport {
            Transport::Tcp => "s.SOCK_STREAM",
            Transport::Udp => "s.SOCK_DGRAM",
        };
        let bind = self.source.map(|source| format!("c.bind({}); ", address(source))).unwrap_or_default();
        text + &format!(
            "{}timeout {seconds} python3 -c \"import socket as s; c=s.socket({family},{kind}); {bind}c.connect({}); c.send(b'x'); c.recv(64)\"",
            inside(&self.client),
            address(self.destination)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reproducer_repeats_it_with_tools_that_are_everywhere() {
        let place = Place::Container("c1".to_owned());
        let exchange = Exchange {
            transport: Transport::Udp,
            client: Place::Host,
            source: None,
            destination: "10.0.0.1:53".parse().unwrap(),
            listeners: vec![Listener { place, address: "10.0.0.2:5353".parse().unwrap() }],
            patience: Duration::from_secs(2),
            persistent: true,
            filler: 0,
        };
        let text = exchange.shell(Some(0), "/run/seen");
        assert!(text.starts_with("rm -f /run/seen; ip netns exec c1 timeout 3 python3 -c "), "{text}");
        assert!(text.contains("l.bind(('10.0.0.2',5353))"), "{text}");
        assert!(text.ends_with("c.connect(('10.0.0.1',53)); c.send(b'x'); c.recv(64)\""), "{text}");
    }
}
