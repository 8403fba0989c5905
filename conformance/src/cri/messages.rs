//! The messages of the CRI that we send and read, as `runtime/v1/api.proto` of `kubernetes/cri-api` numbers them. Fields
//! that we neither set nor read are left out: on the wire they are absent, and what a server sends of them is passed over.

use std::collections::BTreeMap;

use prost::{Enumeration, Message};

/// Identifies a pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandboxMetadata {
    /// `metadata.name` of the pod.
    #[prost(string, tag = "1")]
    pub name: String,
    /// `metadata.uid` of the pod.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// `metadata.namespace` of the pod.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// How many sandboxes of this pod there were before.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// Name servers of a pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DnsConfig {
    /// Their addresses.
    #[prost(string, repeated, tag = "1")]
    pub servers: Vec<String>,
    /// Domains to search.
    #[prost(string, repeated, tag = "2")]
    pub searches: Vec<String>,
    /// Options of the resolver.
    #[prost(string, repeated, tag = "3")]
    pub options: Vec<String>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum Protocol {
    /// TCP.
    Tcp = 0,
    /// UDP.
    Udp = 1,
    /// SCTP.
    Sctp = 2,
}

/// A port of the host that leads to one of the pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PortMapping {
    /// The protocol.
    #[prost(enumeration = "Protocol", tag = "1")]
    pub protocol: i32,
    /// The port of the pod.
    #[prost(int32, tag = "2")]
    pub container_port: i32,
    /// The port of the host.
    #[prost(int32, tag = "3")]
    pub host_port: i32,
    /// The address of the host; any when empty.
    #[prost(string, tag = "4")]
    pub host_ip: String,
}

/// What is asked of a Linux sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxPodSandboxConfig {
    /// The control group above its own.
    #[prost(string, tag = "1")]
    pub cgroup_parent: String,
}

/// What is asked of a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandboxConfig {
    /// Which pod it is of.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<PodSandboxMetadata>,
    /// Its host name.
    #[prost(string, tag = "2")]
    pub hostname: String,
    /// Its name servers.
    #[prost(message, optional, tag = "4")]
    pub dns_config: Option<DnsConfig>,
    /// Its ports.
    #[prost(message, repeated, tag = "5")]
    pub port_mappings: Vec<PortMapping>,
    /// Its labels.
    #[prost(btree_map = "string, string", tag = "6")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[prost(btree_map = "string, string", tag = "7")]
    pub annotations: BTreeMap<String, String>,
    /// What is asked of it on Linux.
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPodSandboxConfig>,
}

/// RunPodSandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RunPodSandboxRequest {
    /// What is asked of the sandbox.
    #[prost(message, optional, tag = "1")]
    pub config: Option<PodSandboxConfig>,
}

/// The answer to RunPodSandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RunPodSandboxResponse {
    /// The sandbox that was made.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// StopPodSandbox, RemovePodSandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandboxRequest {
    /// The sandbox.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// An answer without content, or one that is not read.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Empty {}

/// ListPodSandbox, of all.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListPodSandboxRequest {}

/// A sandbox that exists.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandbox {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Which pod it is of.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
}

/// The answer to ListPodSandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListPodSandboxResponse {
    /// All sandboxes.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PodSandbox>,
}

/// Status.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatusRequest {}

/// A condition such as `NetworkReady`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeCondition {
    /// Its name.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Whether it holds.
    #[prost(bool, tag = "2")]
    pub status: bool,
    /// Why not, in a word.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// Why not.
    #[prost(string, tag = "4")]
    pub message: String,
}

/// How the runtime is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeStatus {
    /// Its conditions.
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<RuntimeCondition>,
}

/// The answer to Status.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatusResponse {
    /// How the runtime is.
    #[prost(message, optional, tag = "1")]
    pub status: Option<RuntimeStatus>,
}

/// Version.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VersionRequest {}

/// The answer to Version.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VersionResponse {
    /// The runtime's name.
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// The runtime's version.
    #[prost(string, tag = "3")]
    pub runtime_version: String,
}
