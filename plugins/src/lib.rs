//! The reference plugins: small CNI plugins that follow every requirement of every version of the specification.
//!
//! [`main`] makes a process behave as a plugin, [`run`] executes one in this process. The configuration of each
//! plugin stands in the crate's `README.md`; [`doc`] is the short form.
//!
//! The modules below are what the plugins stand on: [`netlink`] and [`nft`] talk to the kernel, [`netns`] enters
//! namespaces.

mod attachment;
mod bandwidth;
mod bridge;
mod contained;
mod debug;
mod delegate;
mod dummy;
mod fields;
mod firewall;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod host_device;
mod host_local;
mod inside;
mod ipvlan;
mod loopback;
mod macvlan;
mod meta;
pub mod netlink;
pub mod netns;
pub mod nft;
mod portmap;
mod ptp;
mod ranges;
mod refusal;
mod sbr;
mod skel;
mod static_ipam;
mod store;
mod tap;
mod tuning;
mod veth;
mod vlan;
mod vrf;

use std::io::{Read, Write};
use std::process::ExitCode;

pub use self::skel::Environment;
use self::skel::Plugin;

/// The plugins, by name.
const PLUGINS: [Plugin; 19] = [
    bandwidth::PLUGIN,
    bridge::PLUGIN,
    debug::PLUGIN,
    dummy::PLUGIN,
    firewall::PLUGIN,
    host_device::PLUGIN,
    host_local::PLUGIN,
    ipvlan::PLUGIN,
    loopback::PLUGIN,
    macvlan::PLUGIN,
    meta::PLUGIN,
    portmap::PLUGIN,
    ptp::PLUGIN,
    sbr::PLUGIN,
    static_ipam::PLUGIN,
    tap::PLUGIN,
    tuning::PLUGIN,
    vlan::PLUGIN,
    vrf::PLUGIN,
];

/// The names of the plugins, which are the names of their executables and their `type` in a network configuration.
pub const NAMES: &[&str] = &{
    let mut names = [""; PLUGINS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = PLUGINS[index].name;
        index += 1;
    }
    names
};

fn plugin(name: &str) -> Option<&'static Plugin> {
    PLUGINS.iter().find(|plugin| plugin.name == name)
}

/// What a plugin does and reads, in a sentence or two; `None` for an unknown name.
pub fn doc(name: &str) -> Option<&'static str> {
    plugin(name).map(|plugin| plugin.about)
}

/// Behaves as a plugin: environment, standard input, output and error are those of the process.
///
/// An unknown name is reported on standard error, with exit status 2.
pub fn main(name: &str) -> ExitCode {
    if let Some(order) = std::env::var_os(tap::ORDER).filter(|_| name == tap::PLUGIN.name) {
        return tap::carry_out(&order);
    }
    let environment = std::env::vars_os().collect();
    match run(name, environment, Box::new(std::io::stdin()), &mut std::io::stdout()) {
        Some(status) => ExitCode::from(status),
        None => {
            // Nobody may be reading.
            let _ = writeln!(std::io::stderr(), "unknown plugin {name:?}: use one of {}", NAMES.join(", "));
            ExitCode::from(2)
        }
    }
}

/// Executes a plugin with the environment and the input given, and writes its answer to `stdout`. Answers the exit
/// status, or `None` for an unknown name.
///
/// What the plugin does to the system, it does to the namespaces of the calling thread.
pub fn run(
    name: &str,
    environment: Environment,
    stdin: Box<dyn Read + Send>,
    stdout: &mut dyn Write,
) -> Option<u8> {
    plugin(name).map(|plugin| skel::execute(plugin, environment, stdin, stdout))
}
