//! An IPAM plugin that leases its addresses: right ([`LEASED`]), and with one defect each.
//!
//! A daemon of its own holds the leases and the namespaces that they belong to, so that a lease can be given back when
//! the container is gone. What it leased is put into the configuration of `static`, which does the rest. Leases are not
//! renewed: no case takes that long.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use cni_plugins::netlink::Socket;
use cni_plugins::netns::Netns;
use cni_spec::Operation;
use cni_spec::error::{INVALID_ENVIRONMENT, TRY_AGAIN_LATER, UNAVAILABLE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smoltcp::iface::{Config, Interface, SocketSet, SocketStorage};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RawSocket, wait};
use smoltcp::socket::{dhcpv4, udp};
use smoltcp::time::Instant as Timestamp;
use smoltcp::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, IpCidr,
    Ipv4Cidr,
};

use super::{Defect, Execution, Mutant, kernel, mutant};

/// The argument that makes the plugin its own daemon, and where that listens.
const DAEMON: &str = "daemon";
const SOCKET: &str = "/run/cnitest-lease.sock";

const TARGET: &str = r#"
name = "static"
kind = "ipam"
summary = "addresses leased from a DHCP server by a daemon of the plugin"
daemon = "the plugin started with the argument `daemon`"
expires = true
daemon-start = { command = ["${plugin}", "daemon"], ready = "/run/cnitest-lease.sock" }
dhcp-server = { addresses = 200, lease-seconds = 3600 }

[[configuration]]
name = "lease"
plugin = '{ "type": "static", "ipam": { "type": "static" } }'
"#;

/// How long a server may take to lease an address; one that has none left says nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// After how long a client asks again.
const AGAIN: Duration = Duration::from_millis(500);

/// The plugin without a defect: no reference plugin leases.
pub(super) const LEASED: Mutant =
    mutant("static-leased", "static", &[], "leases an address for each attachment", |run| {
        leased(run, Wrong::Nothing)
    })
    .with_target(TARGET);

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "static-leased-del-keeps",
        "static",
        &[
            "del.releases-resources",
            "del.undoes-modifications",
            "del.ipam-without-netns",
            "del.missing-netns-env-succeeds",
        ],
        "forgets a lease in DEL and does not tell the server",
        |run| leased(run, Wrong::Keeps),
    )
    .with_target(TARGET),
    mutant(
        "static-leased-del-needs-netns",
        "static",
        &["del.ipam-without-netns", "del.missing-netns-env-succeeds"],
        "gives a lease back only while the namespace is there",
        |run| leased(run, Wrong::NeedsNetns),
    )
    .with_target(TARGET),
    mutant(
        "static-leased-del-as-another",
        "static",
        &["del.releases-resources", "del.undoes-modifications"],
        "gives a lease back under another client identifier than it leased with",
        |run| leased(run, Wrong::AnotherClient),
    )
    .with_target(TARGET),
    mutant(
        "static-leased-exhausted-takes-any",
        "static",
        &["add.exhaustion-errors"],
        "takes an address by itself when the server leases none",
        |run| leased(run, Wrong::TakesAny),
    )
    .with_target(TARGET),
    mutant(
        "static-leased-exhausted-leaves-file",
        "static",
        &["add.failure-rolls-back"],
        "leaves a file when the server leases no address",
        |run| leased(run, Wrong::LeavesFile),
    )
    .with_target(TARGET),
    mutant("static-leased-gc-keeps", "static", &["gc.removes-stale"], "gives no lease back in GC", |run| {
        leased(run, Wrong::CollectsNothing)
    })
    .with_target(TARGET),
    mutant(
        "static-leased-gc-takes-all",
        "static",
        &["gc.keeps-valid"],
        "gives the leases of listed attachments back in GC as well",
        |run| leased(run, Wrong::CollectsAll),
    )
    .with_target(TARGET),
    mutant(
        "static-leased-check-leases",
        "static",
        &["check.after-del-errors", "check.no-mutation"],
        "leases an address in CHECK when it has none",
        |run| leased(run, Wrong::ChecksByLeasing),
    )
    .with_target(TARGET),
];

/// The defects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    Keeps,
    NeedsNetns,
    AnotherClient,
    TakesAny,
    LeavesFile,
    CollectsNothing,
    CollectsAll,
    ChecksByLeasing,
}

// ---- the plugin

/// Network, container and interface: what a lease is for.
type Key = (String, String, String);

/// What the plugin asks of the daemon.
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// The lease that there is, or one that is made.
    Lease {
        key: Key,
        netns: String,
    },
    /// The lease that there is.
    Held(Key),
    Release(Key),
    /// Releases all leases of a network but these.
    Keep {
        network: String,
        keys: Vec<Key>,
    },
    /// Whether it is there.
    Nothing,
}

/// What the daemon answers.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Leased { address: String, gateway: Option<Ipv4Addr> },
    None,
    Refused { code: u32, why: String },
}

fn leased(run: &mut Execution, wrong: Wrong) -> Result<(), Defect> {
    if std::env::args_os().nth(1).is_some_and(|word| word == DAEMON) {
        return serve(wrong);
    }
    let key = (run.text("name"), run.variable("CNI_CONTAINERID"), run.variable("CNI_IFNAME"));
    match run.variable("CNI_COMMAND").parse() {
        Ok(Operation::Add) => {
            // Whatever is wrong with the request is found with any address.
            let asked = run.input();
            with_address(run, "192.0.2.1/24", None);
            run.run();
            if !run.succeeded() {
                return Ok(());
            }
            let netns = run.variable("CNI_NETNS");
            match ask(&Ask::Lease { key, netns }) {
                Ok(Told::Leased { address, gateway }) => {
                    run.set_input(asked);
                    with_address(run, &address, gateway);
                    run.run();
                }
                Ok(Told::Refused { code, why }) => run.refuse(code, &why),
                Ok(Told::None) => run.refuse(TRY_AGAIN_LATER, "the daemon leased nothing"),
                Err(error) => run.refuse(TRY_AGAIN_LATER, &format!("the daemon does not answer: {error}")),
            }
        }
        Ok(Operation::Check) => {
            let netns = run.variable("CNI_NETNS");
            let question = match wrong {
                Wrong::ChecksByLeasing => Ask::Lease { key, netns },
                _ => Ask::Held(key),
            };
            match ask(&question) {
                // The lease makes up for what the result says.
                Ok(Told::Leased { .. }) if wrong == Wrong::ChecksByLeasing => run.pretend(),
                Ok(Told::Leased { address, gateway }) => {
                    with_address(run, &address, gateway);
                    run.run();
                }
                // Nobody has this address, so that CHECK fails.
                _ => {
                    with_address(run, "192.0.2.1/24", None);
                    run.run();
                }
            }
        }
        Ok(Operation::Del) => {
            run.run();
            let gone = !std::path::Path::new(&run.variable("CNI_NETNS")).exists();
            if run.succeeded() && !(wrong == Wrong::NeedsNetns && gone) {
                // A lease ends by itself: that the daemon is not there is no reason to fail.
                let _ = ask(&Ask::Release(key));
            }
        }
        Ok(Operation::Gc) => {
            run.run();
            let config = run.config();
            let listed = ["cni.dev/valid-attachments", "cni.dev/attachments"];
            let listed = listed.iter().find_map(|name| config.get(*name)?.as_array());
            if let (true, Some(listed)) = (run.succeeded() && wrong != Wrong::CollectsNothing, listed) {
                let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
                let network = key.0;
                let keys = listed
                    .iter()
                    .map(|one| (network.clone(), text(one, "containerID"), text(one, "ifname")))
                    .filter(|_| wrong != Wrong::CollectsAll)
                    .collect();
                if let Err(error) = ask(&Ask::Keep { network, keys }) {
                    run.refuse(TRY_AGAIN_LATER, &format!("the daemon does not answer: {error}"));
                }
            }
        }
        Ok(Operation::Status) => {
            with_address(run, "192.0.2.1/24", None);
            run.run();
            if run.succeeded()
                && let Err(error) = ask(&Ask::Nothing)
            {
                run.refuse(UNAVAILABLE, &format!("the daemon does not answer: {error}"));
            }
        }
        _ => run.run(),
    }
    Ok(())
}

/// States the address in the configuration of `static`.
fn with_address(run: &mut Execution, address: &str, gateway: Option<Ipv4Addr>) {
    run.edit_config(|config| {
        if let Some(Value::Object(ipam)) = config.get_mut("ipam") {
            let mut entry = json!({ "address": address });
            if let Some(gateway) = gateway {
                entry["gateway"] = json!(gateway);
            }
            ipam.insert("addresses".to_owned(), json!([entry]));
        }
    });
}

fn ask(question: &Ask) -> Result<Told, Defect> {
    let mut stream = UnixStream::connect(SOCKET)?;
    serde_json::to_writer(&stream, question)?;
    stream.write_all(b"\n")?;
    Ok(serde_json::from_reader(stream)?)
}

// ---- the daemon

/// A lease, and the namespace that it is for, which stays as long as it.
struct Lease {
    netns: Netns,
    client: Client,
    address: Ipv4Cidr,
    gateway: Option<Ipv4Addr>,
    server: Ipv4Addr,
}

/// The interface that leases.
#[derive(Debug, Clone)]
struct Client {
    interface: String,
    hardware: EthernetAddress,
}

fn serve(wrong: Wrong) -> Result<(), Defect> {
    let listener = UnixListener::bind(SOCKET)?;
    let mut leases = BTreeMap::new();
    for stream in listener.incoming() {
        let stream = stream?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        // Who asks may be gone, and what it says may be cut off with it.
        let Ok(question) = serde_json::from_str(&line) else { continue };
        // The crate panics when a link goes down under it.
        let answer = catch_unwind(AssertUnwindSafe(|| answer(&mut leases, question, wrong)));
        let answer = answer.unwrap_or_else(|_| refused(TRY_AGAIN_LATER, "the link went down"));
        let _ = serde_json::to_writer(&stream, &answer);
    }
    Ok(())
}

fn refused(code: u32, why: impl std::fmt::Display) -> Told {
    Told::Refused { code, why: why.to_string() }
}

fn answer(leases: &mut BTreeMap<Key, Lease>, question: Ask, wrong: Wrong) -> Told {
    let told = |lease: &Lease| Told::Leased { address: lease.address.to_string(), gateway: lease.gateway };
    match question {
        Ask::Nothing => Told::None,
        Ask::Held(key) => leases.get(&key).map_or(Told::None, told),
        Ask::Lease { key, netns } => {
            if let Some(lease) = leases.get(&key) {
                return told(lease);
            }
            let netns = match Netns::open(&netns) {
                Ok(netns) => netns,
                Err(error) => return refused(INVALID_ENVIRONMENT, format!("CNI_NETNS: {error}")),
            };
            match lease(netns, &key.2) {
                Ok(lease) => {
                    let told = told(&lease);
                    leases.insert(key, lease);
                    told
                }
                Err(_) if wrong == Wrong::TakesAny => {
                    Told::Leased { address: "10.92.0.254/24".to_owned(), gateway: None }
                }
                Err(error) => {
                    if wrong == Wrong::LeavesFile {
                        let _ = kernel::write(&std::path::Path::new(kernel::STATE).join(&key.1), &key.2);
                    }
                    refused(TRY_AGAIN_LATER, error)
                }
            }
        }
        Ask::Release(key) => {
            if let Some(lease) = leases.remove(&key)
                && wrong != Wrong::Keeps
            {
                // It ends by itself in the end.
                let _ = release(&lease, wrong == Wrong::AnotherClient);
            }
            Told::None
        }
        Ask::Keep { network, keys } => {
            let stale: Vec<Key> =
                leases.keys().filter(|key| key.0 == network && !keys.contains(key)).cloned().collect();
            for lease in stale.iter().filter_map(|key| leases.remove(key)) {
                let _ = release(&lease, false);
            }
            Told::None
        }
    }
}

/// Leases an address for an interface in the namespace.
fn lease(netns: Netns, interface: &str) -> Result<Lease, Defect> {
    let (client, given) = netns.run(|| {
        let link =
            Socket::route()?.link(interface)?.ok_or_else(|| format!("there is no interface {interface}"))?;
        let client = Client { interface: interface.to_owned(), hardware: link.mac.parse_mac()? };
        let given = client.discover()?;
        Ok::<_, Defect>((client, given))
    })??;
    let (address, gateway, server) = given.ok_or("no DHCP server leases an address")?;
    Ok(Lease { netns, client, address, gateway, server })
}

/// Tells the server that the address is free.
fn release(lease: &Lease, as_another: bool) -> Result<(), Defect> {
    lease.netns.run(|| lease.client.release(lease, as_another))?
}

trait Mac {
    fn parse_mac(&self) -> Result<EthernetAddress, Defect>;
}

impl Mac for String {
    fn parse_mac(&self) -> Result<EthernetAddress, Defect> {
        let bytes: Vec<u8> =
            self.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
        Ok(EthernetAddress(<[u8; 6]>::try_from(bytes).map_err(|_| "the interface is no Ethernet")?))
    }
}

impl Client {
    fn open(&self) -> Result<(Wire, Interface), Defect> {
        let mut wire = Wire(RawSocket::new(&self.interface, Medium::Ethernet)?);
        let mut config = Config::new(self.hardware.into());
        // Two clients must not take each other's answers for theirs.
        config.random_seed = self.hardware.0.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        let interface = Interface::new(config, &mut wire, Timestamp::now());
        Ok((wire, interface))
    }

    fn discover(&self) -> Result<Option<(Ipv4Cidr, Option<Ipv4Addr>, Ipv4Addr)>, Defect> {
        let (mut wire, mut interface) = self.open()?;
        let mut socket = dhcpv4::Socket::new();
        let mut retry = socket.get_retry_config();
        retry.discover_timeout = AGAIN.into();
        retry.initial_request_timeout = AGAIN.into();
        socket.set_retry_config(retry);
        let mut storage = [SocketStorage::EMPTY];
        let mut sockets = SocketSet::new(&mut storage[..]);
        let handle = sockets.add(socket);
        let clock = Instant::now();
        while clock.elapsed() < PATIENCE {
            interface.poll(Timestamp::now(), &mut wire, &mut sockets);
            if let Some(dhcpv4::Event::Configured(given)) =
                sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll()
            {
                return Ok(Some((given.address, given.router, given.server.identifier)));
            }
            wire.wait()?;
        }
        Ok(None)
    }

    fn release(&self, lease: &Lease, as_another: bool) -> Result<(), Defect> {
        let (mut wire, mut interface) = self.open()?;
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::Ipv4(lease.address));
        });
        let message = DhcpRepr {
            message_type: DhcpMessageType::Release,
            transaction_id: 1,
            secs: 0,
            client_hardware_address: self.hardware,
            client_ip: lease.address.address(),
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: Some(match as_another {
                true => EthernetAddress([0x02, 0, 0, 0, 0, 0xff]),
                false => self.hardware,
            }),
            server_identifier: Some(lease.server),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut DhcpPacket::new_unchecked(bytes.as_mut_slice()))?;
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY], vec![0; 1500]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(DHCP_CLIENT_PORT)?;
        socket.send_slice(&bytes, (lease.server, DHCP_SERVER_PORT))?;
        let mut storage = [SocketStorage::EMPTY];
        let mut sockets = SocketSet::new(&mut storage[..]);
        let handle = sockets.add(socket);
        let clock = Instant::now();
        // It goes out once the server's hardware address is known.
        while sockets.get::<udp::Socket<'_>>(handle).send_queue() > 0 && clock.elapsed() < PATIENCE {
            interface.poll(Timestamp::now(), &mut wire, &mut sockets);
            if sockets.get::<udp::Socket<'_>>(handle).send_queue() > 0 {
                wire.wait()?;
            }
        }
        Ok(())
    }
}

/// A link. The kernel does not finish the checksum of what stays on the machine.
struct Wire(RawSocket);

impl Wire {
    /// Waits for a frame, and no longer than a moment.
    fn wait(&self) -> std::io::Result<()> {
        wait(self.0.as_raw_fd(), Some(smoltcp::time::Duration::from_millis(50)))
    }
}

impl Device for Wire {
    type RxToken<'a> = <RawSocket as Device>::RxToken<'a>;
    type TxToken<'a> = <RawSocket as Device>::TxToken<'a>;

    fn receive(&mut self, now: Timestamp) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.0.receive(now)
    }

    fn transmit(&mut self, now: Timestamp) -> Option<Self::TxToken<'_>> {
        self.0.transmit(now)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.checksum.udp = Checksum::Tx;
        capabilities
    }
}
