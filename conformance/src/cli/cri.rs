//! `cnitest cri`: what adapters operate runtimes of the CRI with.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueHint};
use cnitest::cri::{Client, sandbox};
use miette::{IntoDiagnostic as _, bail};

use super::plugin::duration;

/// Arguments of `cnitest cri`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Socket of the runtime.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    socket: PathBuf,
    /// How long a call may take.
    #[arg(long, value_name = "DUR", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    #[command(subcommand)]
    call: Call,
}

#[derive(Debug, Subcommand)]
enum Call {
    /// RunPodSandbox; prints the id of the sandbox. Where the pod has sandboxes already, it is another attempt.
    Run {
        /// The pod's name.
        pod: String,
        /// The pod's namespace.
        #[arg(long, value_name = "NAME", default_value = "default")]
        namespace: String,
        /// Capability arguments of CNI, a JSON object: `portMappings`, `dns`, `cgroupPath`, and `bandwidth` without bursts.
        #[arg(long, value_name = "JSON")]
        capability_args: Option<String>,
    },
    /// StopPodSandbox, for the pod's newest sandbox. A pod without one has nothing left to be done.
    Stop {
        /// The pod's name.
        pod: String,
    },
    /// RemovePodSandbox, for every sandbox of the pod.
    Remove {
        /// The pod's name.
        pod: String,
    },
    /// Status; exit status 1 when the network is not ready.
    Status,
    /// Version.
    Version,
}

impl Arguments {
    /// Makes the call. Exit status 1 when the runtime says no.
    pub(super) fn run(self) -> miette::Result<u8> {
        let client = Client::connect(&self.socket, self.timeout).into_diagnostic()?;
        let done = match self.call {
            Call::Run { pod, namespace, capability_args } => {
                let before = client.sandboxes_of(&pod).into_diagnostic()?;
                let newest = before.first().and_then(|sandbox| sandbox.metadata.as_ref());
                let attempt = newest.map_or(0, |data| data.attempt + 1);
                let config =
                    sandbox(&pod, &namespace, attempt, capability_args.as_deref()).into_diagnostic()?;
                client.run(config).map(|id| println!("{id}"))
            }
            Call::Stop { pod } => client
                .sandboxes_of(&pod)
                .and_then(|found| found.first().map_or(Ok(()), |newest| client.stop(&newest.id))),
            Call::Remove { pod } => client
                .sandboxes_of(&pod)
                .and_then(|found| found.iter().try_for_each(|sandbox| client.remove(&sandbox.id))),
            Call::Status => {
                let conditions = client.status().into_diagnostic()?;
                for condition in &conditions {
                    println!(
                        "{} {} {} {}",
                        condition.r#type, condition.status, condition.reason, condition.message
                    );
                }
                let Some(network) = conditions.iter().find(|condition| condition.r#type == "NetworkReady")
                else {
                    bail!("the runtime's status says nothing of NetworkReady");
                };
                return Ok(u8::from(!network.status));
            }
            Call::Version => client.version().map(|(name, version)| println!("{name} {version}")),
        };
        match done {
            Ok(()) => Ok(0),
            Err(error) => {
                eprintln!("cnitest: {error}");
                Ok(1)
            }
        }
    }
}
