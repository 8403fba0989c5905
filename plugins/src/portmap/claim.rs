//! What `portMappings` asks for, and what that is for each address of the container.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;

use cni_spec::result::AddResult;
use serde_json::Value;

use super::Settings;
use super::gate::Gate;
use crate::fields::{Fields, Place, invalid};
use crate::netlink::message::{to_sixteen, u32_at};
use crate::refusal::Refusal;
use crate::skel::Request;

/// The length of a note in bytes.
pub(super) const NOTE: usize = 44;

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    Tcp = 6,
    Udp = 17,
    Sctp = 132,
}

impl Protocol {
    const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// The name in configurations.
    fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// As it stands in the four bytes of a register.
    pub(super) fn bytes(self) -> [u8; 4] {
        [self as u8, 0, 0, 0]
    }
}

/// A port as it stands in the four bytes of a register.
pub(super) fn port_bytes(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// One element of `portMappings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping {
    host_port: u16,
    container_port: u16,
    protocol: Protocol,
    host_ip: Option<IpAddr>,
}

impl Mapping {
    /// Reads `runtimeConfig.portMappings`; none where it is absent.
    pub(super) fn read_all(request: &Request) -> Result<Vec<Mapping>, Refusal> {
        let Some(runtime) = request.fields().get("runtimeConfig") else { return Ok(Vec::new()) };
        let mut all: Vec<Mapping> = Vec::new();
        for (place, item) in Fields::at("runtimeConfig", runtime)?.elements("portMappings")? {
            let mapping = Mapping::read(&place, item)?;
            if let Some(other) = all.iter().find(|other| other.same_port(&mapping)) {
                if *other != mapping {
                    let problem = format!("host port {} is mapped to two ports: remove one", mapping.host());
                    return Err(invalid(&place, problem));
                }
            } else {
                all.push(mapping);
            }
        }
        Ok(all)
    }

    fn read(place: &Place, value: &Value) -> Result<Mapping, Refusal> {
        let fields = Fields::at(place, value)?;
        let port = |key| {
            let number = fields.u32(key)?.and_then(|number| u16::try_from(number).ok());
            number
                .filter(|number| *number > 0)
                .ok_or_else(|| invalid(&fields.place(key), "use a port from 1 to 65535"))
        };
        let (host_port, container_port) = (port("hostPort")?, port("containerPort")?);
        let name = fields.string("protocol")?.unwrap_or_default();
        let protocol = Protocol::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name));
        let protocol = protocol.ok_or_else(|| {
            invalid(&fields.place("protocol"), format!("found {name:?}, use \"tcp\", \"udp\" or \"sctp\""))
        })?;
        Ok(Mapping { host_port, container_port, protocol, host_ip: fields.address("hostIP")? })
    }

    /// Whether both ask for the same port of the host. Without a hostIP, all addresses are asked for.
    fn same_port(&self, other: &Mapping) -> bool {
        (self.host_port, self.protocol, self.host_ip) == (other.host_port, other.protocol, other.host_ip)
    }

    fn host(&self) -> String {
        host_text(self.host_ip, self.host_port, self.protocol)
    }
}

fn host_text(address: Option<IpAddr>, port: u16, protocol: Protocol) -> String {
    let protocol = protocol.as_str();
    match address {
        Some(IpAddr::V6(v6)) => format!("[{v6}]:{port}/{protocol}"),
        Some(address) => format!("{address}:{port}/{protocol}"),
        None => format!("{port}/{protocol}"),
    }
}

/// How sources are changed, so that answers come back through the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Masquerading {
    /// What the container sends to itself by way of the host.
    pub(super) hairpin: bool,
    /// What the host sends from 127.0.0.1.
    pub(super) localhost: bool,
    /// Everything.
    pub(super) all: bool,
    /// Another attachment with the same address masquerades some of this already; this one stands behind it.
    pub(super) waiting: bool,
}

/// A port of the host that an attachment claims for one of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// Only at this address of the host.
    pub(super) host_ip: Option<IpAddr>,
    pub(super) host_port: u16,
    pub(super) protocol: Protocol,
    pub(super) container: IpAddr,
    pub(super) container_port: u16,
    pub(super) masquerading: Masquerading,
    /// Only for packets that meet the conditions of this gate.
    pub(super) gate: Option<Gate>,
    /// Another attachment has the port; this one takes over when it goes.
    pub(super) waiting: bool,
    /// The index of the interface that packets from 127.0.0.1 have to be let out by, if this is what asks for it.
    pub(super) interface: Option<NonZeroU32>,
}

// The lowest byte of the flags is the protocol.
const FLAG_IPV4: u32 = 1 << 8;
const FLAG_ADDRESSED: u32 = 1 << 9;
const FLAG_HAIRPIN: u32 = 1 << 10;
const FLAG_LOCALHOST: u32 = 1 << 11;
const FLAG_ALL: u32 = 1 << 12;
const FLAG_WAITING: u32 = 1 << 13;
const FLAG_MASQUERADING_WAITING: u32 = 1 << 14;

impl Claim {
    /// What mappings are for the addresses of the container: the first of each family on the attachment's interface.
    /// A mapping to an address of the other family is passed over, as the Go plugin does.
    pub(super) fn all(
        request: &Request,
        result: &AddResult,
        mappings: &[Mapping],
        settings: &Settings,
    ) -> Vec<Claim> {
        let own = request.own_interface(result).map(|(index, _)| index);
        let is_own = |index: Option<usize>| {
            index.is_none_or(|index| index >= result.interfaces.len() || Some(index) == own)
        };
        let ips = || result.ips.iter().filter(|ip| is_own(ip.index())).map(|ip| ip.address.addr());
        let containers = [true, false].map(|ipv4| ips().find(|address| address.is_ipv4() == ipv4));
        let mut claims: Vec<Claim> = Vec::new();
        for container in containers.into_iter().flatten() {
            let gate =
                settings.conditions.iter().map(Gate::of).find(|gate| gate.ipv4() == container.is_ipv4());
            for mapping in mappings {
                if mapping.host_ip.is_some_and(|address| address.is_ipv4() != container.is_ipv4()) {
                    continue;
                }
                let host_ip = mapping.host_ip.filter(|address| !address.is_unspecified());
                let claim = Claim {
                    host_ip,
                    host_port: mapping.host_port,
                    protocol: mapping.protocol,
                    container,
                    container_port: mapping.container_port,
                    masquerading: Masquerading {
                        hairpin: settings.snat,
                        localhost: settings.snat
                            && container.is_ipv4()
                            && host_ip.is_none_or(|address| address.is_loopback()),
                        all: settings.masquerade_all,
                        waiting: false,
                    },
                    gate,
                    waiting: false,
                    interface: None,
                };
                // "0.0.0.0" and no address at all ask for the same.
                if !claims.iter().any(|other| other.same_port(&claim)) {
                    claims.push(claim);
                }
            }
        }
        claims
    }

    fn same_port(&self, other: &Claim) -> bool {
        let key = |one: &Claim| (one.container.is_ipv4(), one.host_ip, one.host_port, one.protocol);
        key(self) == key(other)
    }

    pub(super) fn ipv4(&self) -> bool {
        self.container.is_ipv4()
    }

    /// The bytes that note a claim: both addresses, both ports, flags, and the interface. Its gate has a note of its own.
    pub(super) fn note(&self) -> Vec<u8> {
        let any = if self.ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let flags = [
            (self.ipv4(), FLAG_IPV4),
            (self.host_ip.is_some(), FLAG_ADDRESSED),
            (self.masquerading.hairpin, FLAG_HAIRPIN),
            (self.masquerading.localhost, FLAG_LOCALHOST),
            (self.masquerading.all, FLAG_ALL),
            (self.waiting, FLAG_WAITING),
            (self.masquerading.waiting, FLAG_MASQUERADING_WAITING),
        ];
        let protocol = self.protocol as u32;
        let flags = flags.into_iter().filter(|(set, _)| *set).fold(protocol, |sum, (_, flag)| sum | flag);
        [
            &to_sixteen(self.host_ip.unwrap_or(any))[..],
            &to_sixteen(self.container),
            &self.host_port.to_be_bytes(),
            &self.container_port.to_be_bytes(),
            &flags.to_ne_bytes(),
            &self.interface.map_or(0, NonZeroU32::get).to_ne_bytes(),
        ]
        .concat()
    }

    /// The notes of an attachment: those of its claims, then those of their gates.
    pub(super) fn notes(claims: &[Claim]) -> Vec<Vec<u8>> {
        let mut gates: Vec<Gate> = Vec::new();
        for gate in claims.iter().filter_map(|claim| claim.gate) {
            if !gates.contains(&gate) {
                gates.push(gate);
            }
        }
        claims.iter().map(Claim::note).chain(gates.into_iter().map(Gate::note)).collect()
    }

    /// Reads the notes of an attachment.
    pub(super) fn from_notes(notes: &[Vec<u8>]) -> Vec<Claim> {
        let gates: Vec<Gate> = notes.iter().filter_map(|note| Gate::from_note(note)).collect();
        let gate = |ipv4| gates.iter().copied().find(|gate| gate.ipv4() == ipv4);
        let claims = notes.iter().filter_map(|note| Claim::from_note(note));
        claims.map(|claim| Claim { gate: gate(claim.ipv4()), ..claim }).collect()
    }

    /// Reads the note of a claim, which does not tell of its gate.
    pub(super) fn from_note(note: &[u8]) -> Option<Claim> {
        let flags = u32_at(note, 36)?;
        let is = |flag| flags & flag != 0;
        let address = |offset: usize| {
            let address = std::net::Ipv6Addr::from(*note.get(offset..)?.first_chunk()?);
            if is(FLAG_IPV4) { address.to_ipv4_mapped().map(IpAddr::V4) } else { Some(IpAddr::V6(address)) }
        };
        let port = |offset: usize| Some(u16::from_be_bytes(*note.get(offset..)?.first_chunk()?));
        Some(Claim {
            host_ip: if is(FLAG_ADDRESSED) { Some(address(0)?) } else { None },
            host_port: port(32)?,
            protocol: Protocol::ALL.into_iter().find(|known| *known as u32 == flags & 0xff)?,
            container: address(16)?,
            container_port: port(34)?,
            masquerading: Masquerading {
                hairpin: is(FLAG_HAIRPIN),
                localhost: is(FLAG_LOCALHOST),
                all: is(FLAG_ALL),
                waiting: is(FLAG_MASQUERADING_WAITING),
            },
            gate: None,
            waiting: is(FLAG_WAITING),
            interface: NonZeroU32::new(u32_at(note, 40)?),
        })
    }

    /// The same claim as it would be if nobody else claimed anything.
    pub(super) fn alone(&self) -> Claim {
        let masquerading = Masquerading { waiting: false, ..self.masquerading };
        Claim { waiting: false, interface: None, masquerading, ..*self }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = host_text(self.host_ip, self.host_port, self.protocol);
        let container = std::net::SocketAddr::new(self.container, self.container_port);
        write!(f, "{host} to {container}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<Mapping, String> {
        Mapping::read(&"portMappings[0]".to_owned(), value).map_err(|error| error.msg.clone())
    }

    #[test]
    fn mappings_are_read_whatever_the_case_of_their_keys() {
        let usual = json!({"hostPort": 80, "containerPort": 8080, "protocol": "tcp", "hostIP": "10.0.0.1"});
        let other = json!({"HostPort": 80, "ContainerPort": 8080, "Protocol": "TCP", "HostIP": "10.0.0.1"});
        assert_eq!(read(&usual), read(&other));
        assert_eq!(read(&usual).unwrap().host(), "10.0.0.1:80/tcp");
    }

    #[test]
    fn wrong_mappings_are_named() {
        let base = json!({"hostPort": 80, "containerPort": 8080, "protocol": "tcp"});
        for (key, value) in [
            ("hostPort", json!(0)),
            ("hostPort", json!(65536)),
            ("containerPort", json!("80")),
            ("containerPort", Value::Null),
            ("protocol", json!("icmp")),
            ("protocol", json!("")),
            ("hostIP", json!("10.0.0")),
        ] {
            let mut wrong = base.clone();
            wrong[key] = value;
            let error = read(&wrong).unwrap_err();
            assert!(error.starts_with(&format!("portMappings[0].{key}: ")), "{error}");
        }
        assert!(read(&json!([])).unwrap_err().starts_with("portMappings[0]: found []"));
    }

    #[test]
    fn notes_are_read_back() {
        let claim = Claim {
            host_ip: None,
            host_port: 8080,
            protocol: Protocol::Sctp,
            container: [10, 1, 0, 2].into(),
            container_port: 80,
            masquerading: Masquerading { hairpin: true, localhost: true, ..Masquerading::default() },
            gate: None,
            waiting: false,
            interface: NonZeroU32::new(7),
        };
        let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 2]);
        let other = Claim {
            host_ip: Some(v6),
            container: v6,
            masquerading: Masquerading { all: true, waiting: true, ..Masquerading::default() },
            waiting: true,
            interface: None,
            ..claim
        };
        for claim in [claim, other, Claim { host_ip: Some([127, 0, 0, 1].into()), ..claim }] {
            assert_eq!(claim.note().len(), NOTE);
            assert_eq!(Claim::from_note(&claim.note()), Some(claim));
        }
        assert_eq!(Claim::from_note(&claim.note()[..43]), None);
        let gate = Gate::from_note(
            &[&b"0123456789abcdef"[..], &[0; 20], &(1_u32 << 8).to_ne_bytes(), &[0; 4]].concat(),
        );
        let conditional = Claim { gate, ..claim };
        assert!(gate.is_some_and(Gate::ipv4));
        let notes = Claim::notes(&[conditional, other, conditional]);
        assert_eq!((notes.len(), Claim::from_notes(&notes)), (4, vec![conditional, other, conditional]));
        assert_eq!(claim.to_string(), "8080/sctp to 10.1.0.2:80");
        assert_eq!(other.to_string(), "[fd00::2]:8080/sctp to [fd00::2]:80");
    }
}
