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
    /// RunPodSandbox; prints the id of the sandbox.
    Run {
        /// The pod's name.
        pod: String,
        /// The pod's namespace.
        #[arg(long, value_name = "NAME", default_value = "default")]
        namespace: String,
        /// Capability arguments of CNI, a JSON object: `portMappings` and `dns`.
        #[arg(long, value_name = "JSON")]
        capability_args: Option<String>,
    },
    /// StopPodSandbox, for every sandbox of the pod.
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
                let config = sandbox(&pod, &namespace, capability_args.as_deref()).into_diagnostic()?;
                client.run(config).map(|id| println!("{id}"))
            }
            Call::Stop { pod } => each(&client, &pod, |id| client.stop(id)),
            Call::Remove { pod } => each(&client, &pod, |id| client.remove(id)),
            Call::Status => {
                let conditions = client.status().into_diagnostic()?;
                for condition in &conditions {
                    println!("{} {} {} {}", condition.r#type, condition.status, condition.reason, condition.message);
                }
                let Some(network) = conditions.iter().find(|condition| condition.r#type == "NetworkReady") else {
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

/// Does something with each sandbox of a pod; a pod without any has nothing left to be done.
fn each(
    client: &Client,
    pod: &str,
    act: impl Fn(&str) -> Result<(), cnitest::cri::CriError>,
) -> Result<(), cnitest::cri::CriError> {
    client.sandboxes_of(pod)?.iter().try_for_each(|sandbox| act(&sandbox.id))
}
