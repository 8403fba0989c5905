//! What the kernel takes for a veth pair by itself: no plugin that makes and removes one can be faster.

use std::time::{Duration, Instant};

use cni_plugins::netlink::link::{self, Change, Veth};
use cni_plugins::netlink::{NetlinkError, Socket};
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

/// What one pair took, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct BarePair {
    /// To create it and to set it up.
    pub create: f64,
    /// To delete it.
    pub delete: f64,
}

/// Creates and deletes a veth pair so often in an arena, with nothing else.
///
/// # Errors
/// When there can be no arena, or the kernel refuses.
pub fn bare_pairs(rounds: usize) -> Result<Vec<BarePair>, Failed> {
    let executable = std::env::current_exe()?;
    let config = ArenaConfig {
        agent_executable: executable.clone(),
        binds: vec![Bind::at_own_path(&executable)],
        ..ArenaConfig::default()
    };
    let mut arena = Arena::start(&config)?;
    let execution = arena.execute(&Invocation::new(executable).args([BARE_PAIRS, &rounds.to_string()]))?;
    let text = String::from_utf8_lossy(&execution.stdout);
    let pairs: Vec<BarePair> = text.lines().filter_map(read).collect();
    if pairs.len() != rounds {
        return Err(format!("no veth pair by itself: {}", String::from_utf8_lossy(&execution.stderr)).into());
    }
    Ok(pairs)
}

fn read(line: &str) -> Option<BarePair> {
    let (create, delete) = line.split_once(' ')?;
    Some(BarePair { create: create.parse().ok()?, delete: delete.parse().ok()? })
}

/// How often this process shall measure, if it was started for that, in an arena.
pub fn called_for() -> Option<usize> {
    let mut arguments = std::env::args_os().skip(1);
    let is_asked = arguments.next()? == BARE_PAIRS;
    arguments.next()?.to_str()?.parse().ok().filter(|_| is_asked)
}

/// Measures here, and prints what each pair took, for [`bare_pairs`].
///
/// # Errors
/// When the kernel refuses.
pub fn measure(rounds: usize) -> Result<(), Failed> {
    let own = Netns::open("/proc/self/ns/net")?;
    let mut socket = Socket::route()?;
    for _ in 0..rounds {
        let (create, delete) = pair(&mut socket, &own)?;
        println!("{create} {delete}");
    }
    Ok(())
}

fn pair(socket: &mut Socket, own: &Netns) -> Result<(f64, f64), NetlinkError> {
    let [name, peer] = ENDS;
    let veth = Veth { name, master: None, mtu: None, peer, peer_netns: own.fd(), peer_mac: None };
    let started = Instant::now();
    socket.apply(vec![link::new_veth(veth)])?;
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
