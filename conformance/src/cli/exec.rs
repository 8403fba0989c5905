//! `cnitest exec`

use std::env;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueHint};
use cni_spec::config::Attachment;
use cni_spec::parameters::{CniArgs, Variable};
use cnitest::runtime::error::RuntimeError;
use cnitest::runtime::policy::Standard;
use cnitest::runtime::{Attach, Runtime, Settings, Valid};
use miette::{Context as _, IntoDiagnostic as _, miette};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha512};

use super::plugin::duration;

/// Arguments of `cnitest exec`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    operation: Operation,
}

/// The operations. Plugins run in the namespaces of the caller, as with cnitool: this changes the host's network.
#[derive(Debug, Subcommand)]
enum Operation {
    /// Attach a container to a network, and print the result; a list of results where several networks are named.
    Add(Add),
    /// Detach a container from a network. Succeeds also where it is not attached.
    Del(Del),
    /// Check that an attachment is as its ADD left it.
    Check(OnAttachment),
    /// Delete the attachments of a network that were never finished or whose namespace has gone, and let its plugins clean up.
    Gc(Gc),
    /// Ask the plugins of a network whether they can serve.
    Status(OnNetwork),
    /// Print the versions that the plugins of a network support.
    Version(OnNetwork),
}

/// What every operation takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// Folder of attachments, shared with libcni.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "/var/lib/cni")]
    cache_dir: PathBuf,
    /// Deadline of each execution of a plugin, e.g. `10s` or `2m`.
    #[arg(long, value_name = "DUR", default_value = "2m", value_parser = duration)]
    timeout: Duration,
    /// How long to wait for other operations on the container, and for a garbage collection.
    #[arg(long, value_name = "DUR", default_value = "5m", value_parser = duration)]
    wait: Duration,
}

#[derive(Debug, clap::Args)]
struct OnNetwork {
    /// The network's name; it is looked for in NETCONFPATH [default: /etc/cni/net.d].
    network: String,
    /// Taken and ignored, as cnitool takes it.
    #[arg(hide = true)]
    netns: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct OnAttachment {
    /// The network's name; it is looked for in NETCONFPATH [default: /etc/cni/net.d]. Several, with commas between them, are
    /// added one after another and deleted in the reverse order.
    #[arg(value_name = "NETWORK", value_parser = networks)]
    networks: Networks,
    /// The path of the container's network namespace.
    #[arg(required_unless_present = "container_id")]
    netns: Option<PathBuf>,
    /// The container's ID [default: made from NETNS as cnitool makes it].
    #[arg(long, value_name = "ID")]
    container_id: Option<String>,
    /// The interface's name [default: CNI_IFNAME, or eth0]. Further networks get the next ones: eth1, eth2, ...
    #[arg(long, short, value_name = "NAME")]
    ifname: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    on: OnAttachment,
    /// Make the network namespace NETNS first. It goes again when the container cannot be attached.
    #[arg(long, requires = "netns")]
    make_netns: bool,
}

#[derive(Debug, clap::Args)]
struct Del {
    #[command(flatten)]
    on: OnAttachment,
    /// Remove the network namespace NETNS once the container is detached.
    #[arg(long, requires = "netns")]
    remove_netns: bool,
}

#[derive(Debug, clap::Args)]
struct Gc {
    #[command(flatten)]
    on: OnNetwork,
    /// The only attachments that are still valid. May be repeated.
    #[arg(long, value_name = "CONTAINERID/IFNAME", value_parser = attachment)]
    keep: Vec<Attachment>,
    /// No attachment is valid but those of --keep: delete all others, also those that are in use. cnitool does so.
    #[arg(long)]
    all: bool,
}

/// The names of networks, at least one.
#[derive(Debug, Clone)]
struct Networks(Vec<String>);

fn networks(text: &str) -> Result<Networks, String> {
    let names: Vec<String> = text.split(',').map(str::to_owned).collect();
    match names.iter().any(String::is_empty) {
        true => Err("write the name of a network, or several with a comma between two".to_owned()),
        false => Ok(Networks(names)),
    }
}

fn attachment(text: &str) -> Result<Attachment, String> {
    match text.split_once('/') {
        Some((container_id, ifname)) if !container_id.is_empty() && !ifname.is_empty() => {
            Ok(Attachment { container_id: container_id.to_owned(), ifname: ifname.to_owned() })
        }
        _ => Err("write it as CONTAINERID/IFNAME".to_owned()),
    }
}

/// Exit status when the operation failed.
const FAILED: u8 = 1;

impl Arguments {
    pub(super) fn run(self) -> miette::Result<u8> {
        match self.operation {
            Operation::Add(Add { on, make_netns }) => {
                let (runtime, attachments) = on.open()?;
                let netns = on.netns.as_deref().filter(|_| make_netns);
                if let Some(error) = netns.and_then(|path| runtime.make_namespace(path).err()) {
                    return Ok(failed(&error));
                }
                let added = runtime.add_all(&attachments);
                if let (Err(_), Some(path)) = (&added, netns)
                    && let Err(error) = runtime.remove_namespace(path)
                {
                    failed(&error);
                }
                match added {
                    Ok(mut results) if on.networks.0.len() == 1 => print(&results.pop().unwrap_or_default()),
                    Ok(results) => print(&Value::Array(results)),
                    Err(error) => Ok(failed(&error)),
                }
            }
            Operation::Del(Del { on, remove_netns }) => {
                let (runtime, attachments) = on.open()?;
                let netns = on.netns.as_deref().filter(|_| remove_netns);
                // What plugins could not take back may need the namespace.
                let deleted = runtime.del_all(&attachments);
                Ok(ended(deleted.and_then(|()| netns.map_or(Ok(()), |path| runtime.remove_namespace(path)))))
            }
            Operation::Check(on) => {
                let (runtime, attachments) = on.open()?;
                Ok(ended(runtime.check_all(&attachments)))
            }
            Operation::Gc(Gc { on, keep, all }) => {
                let valid = if all || !keep.is_empty() { Valid::Only(&keep) } else { Valid::Alive };
                Ok(ended(on.common.runtime().gc(&on.network, valid)))
            }
            Operation::Status(on) => Ok(ended(on.common.runtime().status(&on.network))),
            Operation::Version(on) => match on.common.runtime().versions(&on.network) {
                Err(error) => Ok(failed(&error)),
                Ok(supported) => {
                    let plugins: Vec<Value> = supported
                        .plugins
                        .iter()
                        .map(|(plugin, versions)| json!({ "type": plugin, "supportedVersions": versions }))
                        .collect();
                    print(&json!({ "cniVersion": supported.selected.as_str(), "plugins": plugins }))?;
                    let lacking = supported.lacking();
                    if lacking.is_empty() {
                        return Ok(0);
                    }
                    eprintln!(
                        "cnitest: {} does not support CNI {}, which network {} selects: name an older version in it",
                        lacking.join(", "),
                        supported.selected,
                        on.network
                    );
                    Ok(FAILED)
                }
            },
        }
    }
}

impl Common {
    fn runtime(&self) -> Runtime {
        let usual = Settings::default();
        let path = variable("CNI_PATH").map(|path| env::split_paths(&path).collect());
        let mutant = cnitest::mutants::called_as().and_then(|mutant| mutant.policy());
        let settings = Settings {
            plugin_path: path.unwrap_or(usual.plugin_path),
            networks: variable("NETCONFPATH").map_or(usual.networks, PathBuf::from),
            cache: self.cache_dir.clone(),
            timeout: self.timeout,
            wait: self.wait,
        };
        Runtime::with_policy(settings, mutant.unwrap_or_else(|| Box::new(Standard)))
    }
}

impl OnAttachment {
    fn open(&self) -> miette::Result<(Runtime, Vec<Attach>)> {
        let netns = match &self.netns {
            Some(path) => Some(absolute(path)?),
            None => None,
        };
        let container_id = match (&self.container_id, &netns) {
            (Some(id), _) => id.clone(),
            (None, Some(netns)) => container_id_of(netns),
            (None, None) => return Err(miette!("name the container with NETNS or --container-id")),
        };
        let ifname = self.ifname.clone().or_else(|| variable(Variable::Ifname.as_str()));
        let runtime = self.common.runtime();
        let args = CniArgs::parse(&variable(Variable::Args.as_str()).unwrap_or_default())
            .into_diagnostic()
            .wrap_err("CNI_ARGS cannot be read")?;
        let capability_args: Map<String, Value> =
            serde_json::from_str(&variable("CAP_ARGS").unwrap_or_else(|| "{}".to_owned()))
                .into_diagnostic()
                .wrap_err("CAP_ARGS is no JSON object: write one with a key for each capability")?;
        let netns = netns.unwrap_or_default();
        let mut ifname = ifname.unwrap_or_else(|| "eth0".to_owned());
        let mut attachments = Vec::new();
        for (index, network) in self.networks.0.iter().enumerate() {
            if index > 0 {
                ifname = runtime.next_interface(&ifname);
            }
            attachments.push(Attach {
                key: runtime.key(network, &container_id, &ifname).into_diagnostic()?,
                netns: netns.clone(),
                args: args.clone(),
                capability_args: capability_args.clone(),
            });
        }
        Ok((runtime, attachments))
    }
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

/// A path from the root, without `.` and `..`, as cnitool has it: its text decides the container's ID.
fn absolute(path: &std::path::Path) -> miette::Result<String> {
    use std::path::Component;
    let mut clean = PathBuf::from("/");
    for component in std::path::absolute(path).into_diagnostic()?.components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean.into_os_string().into_string().map_err(|path| miette!("the path {path:?} is no text"))
}

/// The container ID that cnitool makes of a namespace's path.
fn container_id_of(netns: &str) -> String {
    let hash = Sha512::digest(netns.as_bytes());
    hash.iter().take(10).fold("cnitool-".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

fn print(value: &Value) -> miette::Result<u8> {
    let text = serde_json::to_string_pretty(value).into_diagnostic()?;
    writeln!(std::io::stdout().lock(), "{text}").into_diagnostic()?;
    Ok(0)
}

fn ended(result: Result<(), RuntimeError>) -> u8 {
    result.map_or_else(|error| failed(&error), |()| 0)
}

fn failed(error: &RuntimeError) -> u8 {
    eprintln!("cnitest: {error}");
    FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_are_those_of_cnitool() {
        // sha512sum of the path, its first ten bytes.
        assert_eq!(container_id_of("/var/run/netns/testing"), "cnitool-77383ca0a0715733ca6f");
        assert_eq!(absolute(std::path::Path::new("/a/./b/../c")).unwrap(), "/a/c");
    }

    #[test]
    fn networks_stand_between_commas() {
        assert_eq!(networks("a").unwrap().0, ["a"]);
        assert_eq!(networks("a,b,a").unwrap().0, ["a", "b", "a"]);
        for wrong in ["", ",", "a,", "a,,b"] {
            assert!(networks(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn attachments_to_keep_have_two_parts() {
        assert_eq!(attachment("c/eth0").unwrap().ifname, "eth0");
        for wrong in ["c", "/eth0", "c/", ""] {
            assert!(attachment(wrong).is_err(), "{wrong}");
        }
    }
}
