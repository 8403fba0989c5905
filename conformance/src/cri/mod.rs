//! A small client of the Container Runtime Interface (CRI), with which adapters operate containerd and CRI-O: run, stop and
//! remove the sandbox of a pod, and ask for the runtime's status. No other module is asynchronous on its behalf: every
//! method of [`Client`] blocks.

pub mod messages;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use serde_json::Value;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use messages::{
    DnsConfig, Empty, LinuxPodSandboxConfig, ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox,
    PodSandboxConfig, PodSandboxMetadata, PodSandboxRequest, PortMapping, Protocol, RunPodSandboxRequest,
    RunPodSandboxResponse, RuntimeCondition, StatusRequest, StatusResponse, VersionRequest, VersionResponse,
};

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// The socket cannot be reached.
    #[error("cannot connect to {}: {reason}; is the runtime running, and is it its CRI socket?", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the transport says.
        reason: String,
    },
    /// The runtime refused, or did not answer in time.
    #[error("{call}: {} (code {})", status.message(), code_name(status.code()))]
    Call {
        /// The method.
        call: &'static str,
        /// What it answered.
        status: Box<Status>,
    },
    /// There is nothing with which to wait for an answer.
    #[error("cannot make an event loop: {0}")]
    Loop(#[from] std::io::Error),
    /// The CRI has no place for such an argument.
    #[error("{0}")]
    Argument(String),
}

/// As `crictl` and the Go libraries write it.
fn code_name(code: Code) -> String {
    format!("{code:?}")
}

/// A connection to a runtime.
#[derive(Debug)]
pub struct Client {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    patience: Duration,
}

impl Client {
    /// Connects to a Unix socket. Each call may take `patience`.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Self, CriError> {
        let failed = |reason: String| CriError::Connect { socket: socket.to_owned(), reason };
        let name = socket.to_str().ok_or_else(|| failed("its path is not UTF-8".to_owned()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint =
            Endpoint::from_shared(format!("unix:{name}")).map_err(|error| failed(with_causes(&error)))?;
        let channel = runtime
            .block_on(async { tokio::time::timeout(patience, endpoint.connect()).await })
            .map_err(|_| failed(format!("it did not answer within {patience:?}")))?
            .map_err(|error| failed(with_causes(&error)))?;
        Ok(Self { runtime, channel, patience })
    }

    /// RunPodSandbox: the id of the sandbox that was made.
    pub fn run(&self, config: PodSandboxConfig) -> Result<String, CriError> {
        let request = RunPodSandboxRequest { config: Some(config) };
        let answer: RunPodSandboxResponse = self.call("RunPodSandbox", request)?;
        Ok(answer.pod_sandbox_id)
    }

    /// StopPodSandbox.
    pub fn stop(&self, id: &str) -> Result<(), CriError> {
        self.call::<_, Empty>("StopPodSandbox", PodSandboxRequest { pod_sandbox_id: id.to_owned() }).map(drop)
    }

    /// RemovePodSandbox.
    pub fn remove(&self, id: &str) -> Result<(), CriError> {
        self.call::<_, Empty>("RemovePodSandbox", PodSandboxRequest { pod_sandbox_id: id.to_owned() })
            .map(drop)
    }

    /// ListPodSandbox: those of the pods of this name, whatever their namespace, the newest attempt first.
    pub fn sandboxes_of(&self, pod: &str) -> Result<Vec<PodSandbox>, CriError> {
        let answer: ListPodSandboxResponse = self.call("ListPodSandbox", ListPodSandboxRequest {})?;
        let is_of = |sandbox: &PodSandbox| sandbox.metadata.as_ref().is_some_and(|data| data.name == pod);
        let mut found: Vec<PodSandbox> = answer.items.into_iter().filter(is_of).collect();
        found.sort_by_key(|sandbox| {
            std::cmp::Reverse(sandbox.metadata.as_ref().map_or(0, |data| data.attempt))
        });
        Ok(found)
    }

    /// Status: the runtime's conditions.
    pub fn status(&self) -> Result<Vec<RuntimeCondition>, CriError> {
        let answer: StatusResponse = self.call("Status", StatusRequest {})?;
        Ok(answer.status.unwrap_or_default().conditions)
    }

    /// Version: the runtime's name and version.
    pub fn version(&self) -> Result<(String, String), CriError> {
        let answer: VersionResponse = self.call("Version", VersionRequest {})?;
        Ok((answer.runtime_name, answer.runtime_version))
    }

    fn call<Q, A>(&self, call: &'static str, request: Q) -> Result<A, CriError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.wait(async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready().await.map_err(|error| Status::unavailable(with_causes(&error)))?;
            let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{call}"))
                .map_err(|error| Status::internal(error.to_string()))?;
            let answer = grpc.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await?;
            Ok(answer.into_inner())
        })
        .map_err(|status| CriError::Call { call, status: Box::new(status) })
    }

    fn wait<A>(&self, answer: impl Future<Output = Result<A, Status>>) -> Result<A, Status> {
        self.runtime.block_on(async {
            tokio::time::timeout(self.patience, answer).await.unwrap_or_else(|_| {
                Err(Status::deadline_exceeded(format!("no answer within {:?}", self.patience)))
            })
        })
    }
}

/// An error with all that caused it: the transport's own says little.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// What is asked of the sandbox of a pod, of which there were `attempt` others. `capability_args` is what CNI calls so, a JSON
/// object: the CRI has places for `portMappings`, `dns` and `cgroupPath`, and Kubernetes annotations for the rates of `bandwidth`.
pub fn sandbox(
    pod: &str,
    namespace: &str,
    attempt: u32,
    capability_args: Option<&str>,
) -> Result<PodSandboxConfig, CriError> {
    let mut config = PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod.to_owned(),
            uid: format!("uid-of-{pod}"),
            namespace: namespace.to_owned(),
            attempt,
        }),
        hostname: pod.to_owned(),
        linux: Some(LinuxPodSandboxConfig::default()),
        ..PodSandboxConfig::default()
    };
    let Some(text) = capability_args.filter(|text| !text.is_empty()) else { return Ok(config) };
    let wrong = |what: String| CriError::Argument(format!("capability arguments: {what}"));
    let arguments: serde_json::Map<String, Value> =
        serde_json::from_str(text).map_err(|error| wrong(format!("not a JSON object: {error}")))?;
    for (name, value) in arguments {
        match name.as_str() {
            "portMappings" => {
                let mappings: Vec<Mapping> =
                    serde_json::from_value(value).map_err(|error| wrong(format!("portMappings: {error}")))?;
                config.port_mappings =
                    mappings.into_iter().map(Mapping::sent).collect::<Result<_, _>>().map_err(wrong)?;
            }
            "dns" => {
                let dns: Dns =
                    serde_json::from_value(value).map_err(|error| wrong(format!("dns: {error}")))?;
                config.dns_config =
                    Some(DnsConfig { servers: dns.servers, searches: dns.searches, options: dns.options });
            }
            "cgroupPath" => {
                let path =
                    serde_json::from_value(value).map_err(|error| wrong(format!("cgroupPath: {error}")))?;
                config.linux = Some(LinuxPodSandboxConfig { cgroup_parent: path });
            }
            "bandwidth" => {
                let rates: Rates =
                    serde_json::from_value(value).map_err(|error| wrong(format!("bandwidth: {error}")))?;
                let annotated = [("ingress", rates.ingress_rate), ("egress", rates.egress_rate)];
                config.annotations.extend(annotated.into_iter().filter_map(|(direction, rate)| {
                    Some((format!("kubernetes.io/{direction}-bandwidth"), rate?.to_string()))
                }));
            }
            _ => {
                return Err(wrong(format!(
                    "the CRI has no place for {name:?}; use portMappings, dns, cgroupPath or bandwidth"
                )));
            }
        }
    }
    Ok(config)
}

/// An entry of `portMappings`, as the conventions of CNI write it.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mapping {
    host_port: u16,
    container_port: u16,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default, rename = "hostIP")]
    host_ip: String,
}

impl Mapping {
    fn sent(self) -> Result<PortMapping, String> {
        let protocol = match self.protocol.as_deref() {
            None | Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            Some("sctp") => Protocol::Sctp,
            Some(other) => return Err(format!("portMappings: protocol {other:?} is not tcp, udp or sctp")),
        };
        Ok(PortMapping {
            protocol: protocol.into(),
            container_port: self.container_port.into(),
            host_port: self.host_port.into(),
            host_ip: self.host_ip,
        })
    }
}

/// The capability `bandwidth`, without bursts: no annotation is about them.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rates {
    #[serde(default)]
    ingress_rate: Option<u64>,
    #[serde(default)]
    egress_rate: Option<u64>,
}

/// The capability `dns`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Dns {
    #[serde(default)]
    servers: Vec<String>,
    #[serde(default)]
    searches: Vec<String>,
    #[serde(default)]
    options: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_arguments_find_their_places() {
        let text = r#"{"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "::1"}],
                       "dns": {"servers": ["10.0.0.1"]}, "cgroupPath": "/pods", "bandwidth": {"egressRate": 2000}}"#;
        let config = sandbox("pod", "default", 0, Some(text)).expect("arguments that the CRI has places for");
        let mapping = &config.port_mappings[0];
        assert_eq!((mapping.host_port, mapping.container_port), (8080, 80));
        assert_eq!((mapping.protocol(), mapping.host_ip.as_str()), (Protocol::Udp, "::1"));
        assert_eq!(config.linux.map(|linux| linux.cgroup_parent), Some("/pods".to_owned()));
        assert_eq!(config.annotations["kubernetes.io/egress-bandwidth"], "2000");
        assert_eq!(config.dns_config.map(|dns| dns.servers), Some(vec!["10.0.0.1".to_owned()]));
    }

    #[test]
    fn capability_arguments_without_a_place_are_refused() {
        for (text, part) in [
            (r#"{"mac": "02:00:00:00:00:01"}"#, "no place for \"mac\""),
            (r#"{"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "icmp"}]}"#, "icmp"),
            (r#"{"portMappings": [{"hostPort": 70000, "containerPort": 1}]}"#, "portMappings"),
            ("[]", "not a JSON object"),
        ] {
            let error = sandbox("pod", "default", 0, Some(text)).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(sandbox("pod", "default", 0, Some("")).is_ok());
    }

    #[test]
    fn messages_are_those_of_the_wire() {
        let config = sandbox("p", "n", 0, Some(r#"{"portMappings": [{"hostPort": 2, "containerPort": 1}]}"#))
            .expect("a configuration");
        let bytes = RunPodSandboxRequest { config: Some(config) }.encode_to_vec();
        // Written down from api.proto: config = 1 {metadata = 1 {name, uid, namespace}, hostname = 2, port_mappings = 5, linux = 8}.
        let expected =
            b"\x0a\x1d\x0a\x10\x0a\x01p\x12\x08uid-of-p\x1a\x01n\x12\x01p\x2a\x04\x10\x01\x18\x02\x42\x00";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_socket_that_is_not_there_is_named() {
        let error = Client::connect(Path::new("/nonexistent/cri.sock"), Duration::from_secs(1))
            .expect_err("no such socket")
            .to_string();
        assert!(error.contains("/nonexistent/cri.sock"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }
}
