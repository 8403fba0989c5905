//! What the kernel takes for a veth pair by itself, whose end may be a port of a bridge: no plugin that makes and removes one can be faster.

use std::time::{Duration, Instant};

use cni_plugins::netlink::link::{self, Change, Mac, Veth};
use cni_plugins::netlink::{NetlinkError, Socket, bridge};
use cni_plugins::netns::Netns;
use cnitest::arena::{Arena, ArenaConfig, Bind};
use cnitest::invoke::Invocation;

use crate::Failed;

/// What this executable is called with to be timed in an arena.
const BARE_PAIRS: &str = "bare-pairs";

/// The two ends of the pair.
const ENDS: [&str; 2] = ["bare0", "bare1"];

/// How long to wait between making and removing a pair, so that the one does not pay for the other.
const PAUSE: Duration = Duration::from_millis(5);

/// How long the process that measures may take: the kernel needs some seconds for a thousand ports.
const PATIENCE: Duration = Duration::from_secs(300);

/// Bytes of memory that are used between two pairs that are made among ports: more than the caches of one processor hold. The
/// kernel walks through the ports, and finds them no longer there after other programs have run.
const USED: usize = 4 << 20;

/// What one pair took, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct BarePair {
    /// To create it and to set it up.
    pub create: f64,
    /// To delete it.
    pub delete: f64,
}

/// What is to be measured.
#[derive(Debug, Clone, Copy)]
pub struct Bare {
    /// How often a pair is created and deleted.
    pub rounds: usize,
    /// One end is a port of a bridge that has so many others, and much memory is used between one pair and the next; of none
    /// otherwise.
    pub ports: Option<usize>,
}

/// Creates and deletes a veth pair so often in an arena, with nothing else.
///
/// # Errors
/// When there can be no arena, or the kernel refuses.
pub fn bare_pairs(bare: Bare) -> Result<Vec<BarePair>, Failed> {
    let executable = std::env::current_exe()?;
    let config = ArenaConfig {
        agent_executable: executable.clone(),
        binds: vec![Bind::at_own_path(&executable)],
        ..ArenaConfig::default()
    };
    let mut arena = Arena::start(&config)?;
    let mut arguments = vec![BARE_PAIRS.to_owned(), bare.rounds.to_string()];
    arguments.extend(bare.ports.map(|ports| ports.to_string()));
    let execution = arena.execute(&Invocation::new(executable).args(arguments).timeout(PATIENCE))?;
    let text = String::from_utf8_lossy(&execution.stdout);
    let pairs: Vec<BarePair> = text.lines().filter_map(read).collect();
    if pairs.len() != bare.rounds {
        return Err(format!("no veth pair by itself: {}", String::from_utf8_lossy(&execution.stderr)).into());
    }
    Ok(pairs)
}

fn read(line: &str) -> Option<BarePair> {
    let (create, delete) = line.split_once(' ')?;
    Some(BarePair { create: create.parse().ok()?, delete: delete.parse().ok()? })
}

/// What this process shall measure, if it was started for that, in an arena.
pub fn called_for() -> Option<Bare> {
    let mut arguments = std::env::args_os().skip(1);
    let is_asked = arguments.next()? == BARE_PAIRS;
    let mut number = || arguments.next()?.to_str()?.parse().ok();
    let rounds = number().filter(|_| is_asked)?;
    Some(Bare { rounds, ports: number() })
}

/// Measures here, and prints what each pair took, for [`bare_pairs`].
///
/// # Errors
/// When the kernel refuses.
pub fn measure(bare: Bare) -> Result<(), Failed> {
    let own = Netns::open("/proc/self/ns/net")?;
    let mut socket = Socket::route()?;
    let master = bare.ports.map(|ports| bridge_with(&mut socket, &own, ports)).transpose()?;
    let mut memory = vec![0_u8; if master.is_some() { USED } else { 0 }];
    for _ in 0..bare.rounds {
        memory.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        std::hint::black_box(&memory);
        let (create, delete) = pair(&mut socket, &own, master)?;
        println!("{create} {delete}");
    }
    Ok(())
}

/// A bridge with ports.
fn bridge_with(socket: &mut Socket, own: &Netns, ports: usize) -> Result<u32, Failed> {
    const NAME: &str = "bare";
    let mac = Mac::parse("02:00:00:00:00:01").ok_or("no hardware address")?;
    socket.apply(vec![bridge::new_bridge(NAME, mac, None, false)])?;
    let master = socket.link(NAME)?.ok_or("the bridge has vanished")?.index;
    for number in 0..ports {
        let (name, peer) = (format!("port{number}"), format!("peer{number}"));
        socket.apply(vec![link::new_veth(veth(&name, &peer, own, Some(master)))])?;
    }
    Ok(master)
}

fn veth<'a>(name: &'a str, peer: &'a str, own: &Netns, master: Option<u32>) -> Veth<'a> {
    Veth { name, master, mtu: None, peer, peer_netns: own.fd(), peer_mac: None }
}

fn pair(socket: &mut Socket, own: &Netns, master: Option<u32>) -> Result<(f64, f64), NetlinkError> {
    let [name, peer] = ENDS;
    let started = Instant::now();
    socket.apply(vec![link::new_veth(veth(name, peer, own, master))])?;
    let up = Change { up: Some(true), ..Change::default() };
    for end in ENDS {
        let index = socket.link(end)?.map_or(0, |link| link.index);
        socket.apply(vec![link::change(end, index, up)])?;
    }
    let created = started.elapsed();
    std::thread::sleep(PAUSE);
    let started = Instant::now();
    socket.delete_link(name)?;
    let deleted = started.elapsed();
    std::thread::sleep(PAUSE);
    Ok((micros(created), micros(deleted)))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
