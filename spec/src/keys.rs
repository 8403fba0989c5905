//! The names of the keys in CNI documents.

/// The version of the specification that a document follows.
pub const CNI_VERSION: &str = "cniVersion";
/// Every version that a network configuration supports (1.1.0).
pub const CNI_VERSIONS: &str = "cniVersions";
/// The name of the network.
pub const NAME: &str = "name";
/// The plugin to execute.
pub const TYPE: &str = "type";
/// The plugins of a list.
pub const PLUGINS: &str = "plugins";
/// Forbids CHECK (0.4.0).
pub const DISABLE_CHECK: &str = "disableCheck";
/// Forbids GC (1.1.0).
pub const DISABLE_GC: &str = "disableGC";
/// Ignores plugin objects outside the list (1.1.0).
pub const LOAD_ONLY_INLINED_PLUGINS: &str = "loadOnlyInlinedPlugins";
/// The capabilities that a plugin declares (0.3.0).
pub const CAPABILITIES: &str = "capabilities";
/// What the runtime supplies for the declared capabilities (0.3.0).
pub const RUNTIME_CONFIG: &str = "runtimeConfig";
/// The result of an earlier plugin or of the attachment's ADD (0.3.0).
pub const PREV_RESULT: &str = "prevResult";
/// Settings of the delegated IPAM plugin.
pub const IPAM: &str = "ipam";
/// The prefix of the keys that only a runtime generates (1.0.0).
pub const RESERVED_PREFIX: &str = "cni.dev/";
/// The attachments that GC leaves alone (1.1.0).
pub const VALID_ATTACHMENTS: &str = "cni.dev/valid-attachments";
/// The name of [`VALID_ATTACHMENTS`] in the text tagged `spec-v1.1.0`.
pub const VALID_ATTACHMENTS_TAGGED: &str = "cni.dev/attachments";
/// The container ID of an attachment in [`VALID_ATTACHMENTS`].
pub const CONTAINER_ID: &str = "containerID";
/// The interface name of an attachment in [`VALID_ATTACHMENTS`].
pub const IFNAME: &str = "ifname";
/// The versions that a plugin supports.
pub const SUPPORTED_VERSIONS: &str = "supportedVersions";
