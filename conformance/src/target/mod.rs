//! Targets: what cnitest must know about a plugin to attach containers with it.
//!
//! The protocol (environment, stdin, stdout, exit status, error codes) is the same for every plugin and is tested
//! without a target. What ADD *does* needs a configuration that works, the links that must exist before it, and the
//! kernel features and programs without which it cannot work here. A target says that, in TOML; `docs/target.md`
//! describes each key. Targets of well-known plugins are built in, under `conformance/targets/`.

mod builtin;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::arena::Feature;
use crate::arena::dhcp::{self, Pool};

pub use builtin::{TEMPLATE, builtin, builtin_names};

/// What a plugin is, which decides the requirements that concern it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Creates the interface CNI_IFNAME in the container.
    Interface,
    /// Adjusts an interface that an earlier plugin of the chain made; needs a prevResult.
    Chained,
    /// Is delegated to by interface plugins and only determines addresses.
    Ipam,
    /// Has other plugins, which it executes, create the interface CNI_IFNAME in the container.
    Meta,
}

impl Kind {
    /// The word used in target files and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Interface => "interface",
            Kind::Chained => "chained",
            Kind::Ipam => "ipam",
            Kind::Meta => "meta",
        }
    }

    /// Whether ADD makes the interface CNI_IFNAME, itself or through a plugin that it executes.
    pub fn makes_interface(self) -> bool {
        matches!(self, Kind::Interface | Kind::Meta)
    }
}

/// What must be there for a target, or one of its configurations, to work at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Requires {
    /// Link kinds that the kernel must be able to make, as `ip link add type KIND` names them.
    pub links: Vec<String>,
    /// Kinds of queueing disciplines that the kernel must know, as `tc qdisc add dev LINK root KIND` names them.
    pub qdiscs: Vec<String>,
    /// Features that the kernel must have.
    pub kernel: Vec<Feature>,
    /// Programs that must be found in the arena's PATH.
    pub programs: Vec<String>,
    /// Delegated plugins that must be found in CNI_PATH.
    pub plugins: Vec<String>,
    /// Newest release marks: the plugin must support this spec version.
    pub spec_version: Option<String>,
    /// Fields of the configuration that not every such plugin has: one that refuses ADD with code 2 for one of them has
    /// no such configuration.
    pub fields: Vec<String>,
}

/// A link that must exist on the host before the plugin runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Link {
    /// Interface name; `${container}` is replaced by the container's name when `per-container` is set.
    pub name: String,
    /// Link kind; a `veth` gets a peer named `NAME-p`, truncated to fit.
    #[serde(default = "veth")]
    pub kind: String,
    /// Make one for each container instead of one for the arena.
    #[serde(default)]
    pub per_container: bool,
}

fn veth() -> String {
    "veth".to_owned()
}

/// How a value reaches a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Way {
    /// `runtimeConfig.NAME`.
    #[serde(rename = "runtimeConfig")]
    RuntimeConfig,
    /// `args.cni.NAME`.
    #[serde(rename = "args")]
    Args,
    /// A key of CNI_ARGS: `IP` for `ips`, otherwise the name in capitals.
    #[serde(rename = "CNI_ARGS")]
    CniArgs,
}

impl Way {
    /// The word used in target files and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Way::RuntimeConfig => "runtimeConfig",
            Way::Args => "args",
            Way::CniArgs => "CNI_ARGS",
        }
    }
}

/// A convention that the plugin follows: what a runtime can ask of it for one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Capability {
    /// The name in CONVENTIONS.md: `portMappings`, `ipRanges`, `ips`, `mac`, `bandwidth`, `dns`, `aliases`, `deviceID`.
    pub name: String,
    /// How the plugin takes it.
    pub by: Vec<Way>,
    /// A value that the first configuration can act on, where it depends on the plugin or the configuration.
    pub value: Option<Value>,
    /// Another such value.
    pub other: Option<Value>,
    /// For `portMappings`, what is reached besides other hosts: `localhost`, `hairpin`.
    pub promises: Vec<String>,
    /// Keys of the configuration that ask for the same, and are left out when a runtime asks.
    pub replaces: Vec<String>,
    /// For `aliases`, the file in the format of hosts(5) that holds the names.
    pub hosts_file: Option<String>,
}

/// One configuration that the plugin is tested with.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// Short name, part of the case's name in reports.
    pub name: String,
    /// The plugin object, without `cniVersion`, `name` and `prevResult`, which cnitest fills in.
    pub plugin: Map<String, Value>,
    /// CNI_ARGS for every execution, if any.
    pub args: Option<String>,
    /// It asks for a default route, whatever the delegated plugin returns.
    pub default_route: bool,
    /// For `portMappings`, what comes to the container through a forwarded port comes from an address of the host.
    pub masquerades: bool,
    /// Needed beyond what the target needs.
    pub requires: Requires,
}

impl Configuration {
    /// Nothing but the plugin's type: what can be asked without a target.
    pub(crate) fn bare(plugin: &str) -> Configuration {
        Configuration {
            name: "bare".to_owned(),
            plugin: Map::from_iter([("type".to_owned(), Value::from(plugin))]),
            args: None,
            default_route: false,
            masquerades: false,
            requires: Requires::default(),
        }
    }
}

/// What stands for the plugin's executable in the command of a daemon.
pub const PLUGIN: &str = "${plugin}";

/// How the daemon of a plugin is started.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DaemonStart {
    /// The program and its arguments; `${plugin}` is the plugin's executable.
    pub command: Vec<String>,
    /// The absolute path of what is there once the daemon is ready, such as its socket.
    pub ready: PathBuf,
}

impl DaemonStart {
    fn check(&self, named: bool) -> Result<(), String> {
        let started = |word: &String| word.starts_with('/') || word == PLUGIN;
        if !named {
            return Err("daemon-start: say what the daemon is in daemon".to_owned());
        }
        if !self.command.first().is_some_and(started) {
            return Err(format!("daemon-start: command must begin with an absolute path or {PLUGIN}"));
        }
        if !self.ready.is_absolute() || self.ready.file_name().is_none() {
            return Err("daemon-start: ready must be the absolute path of a file".to_owned());
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DhcpServer {
    addresses: i64,
    lease_seconds: i64,
}

impl DhcpServer {
    fn read(self) -> Result<Pool, String> {
        let within = |key: &str, number: i64, most: u32| {
            let fits = u32::try_from(number).ok().filter(|number| (1..=most).contains(number));
            fits.ok_or_else(|| format!("dhcp-server: {key} must be 1 to {most}, not {number}"))
        };
        let addresses = within("addresses", self.addresses, dhcp::MOST.into())?;
        let seconds = within("lease-seconds", self.lease_seconds, u32::MAX)?;
        let addresses = u8::try_from(addresses).unwrap_or(dhcp::MOST);
        Ok(Pool { addresses, lease: Duration::from_secs(seconds.into()) })
    }
}

/// What cnitest knows about a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The plugin's type.
    pub name: String,
    /// What the plugin is.
    pub kind: Kind,
    /// One line for `cnitest list targets`.
    pub summary: String,
    /// The interface that the plugin configures whatever CNI_IFNAME says (loopback: `lo`).
    pub fixed_interface: Option<String>,
    /// Why ADD, CHECK and DEL cannot be exercised, where they cannot: only protocol checks run then.
    pub no_attachments: Option<String>,
    /// What must run beside the plugin for its ADD to work.
    pub daemon: Option<String>,
    /// How that is started; without it, it does not run in an arena.
    pub daemon_start: Option<DaemonStart>,
    /// What a DHCP server leases on the link that each container of an IPAM plugin has then.
    pub dhcp_server: Option<Pool>,
    /// What the plugin holds ends by itself when it is not given back, as a lease does.
    pub expires: bool,
    /// The `ipam` key of the configurations is executed as a delegated plugin.
    pub delegates: bool,
    /// Where in the configurations of a meta plugin the first plugin that it executes is configured, as a JSON pointer.
    pub delegate_at: Option<String>,
    /// Command names of processes that the plugin leaves running for its attachments.
    pub leaves_running: Vec<String>,
    /// Containers of one network reach each other.
    pub connects_containers: bool,
    /// A chained plugin that does not mind the kind of the interface that it is given.
    pub any_interface: bool,
    /// Well-known keys of the configuration that the plugin reads: `ipMasq`, `dns`.
    pub reads: Vec<String>,
    /// Numbers of its own that the plugin reads from the top of its configuration, besides those that are there.
    pub numbers: Vec<String>,
    /// Keys of the configuration that `fuzz` leaves alone: they make the plugin do what the specification forbids.
    pub unvaried: Vec<String>,
    /// What has the plugin look whether somebody else on the link has an IPv6 address, where it does not without being asked.
    pub duplicate_search: Map<String, Value>,
    /// Conventions that it follows.
    pub capabilities: Vec<Capability>,
    /// Needed by every configuration.
    pub requires: Requires,
    /// Links to make first.
    pub links: Vec<Link>,
    /// The configurations, the first of which is used in every spec version.
    pub configurations: Vec<Configuration>,
}

/// Why a target file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The file could not be read.
    #[error("target file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not a target.
    #[error("target file {origin}: {message}")]
    Parse {
        /// File name, or `built-in target NAME`.
        origin: String,
        /// Where and what, with the offending lines.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TargetFile {
    name: String,
    kind: Kind,
    summary: String,
    fixed_interface: Option<String>,
    no_attachments: Option<String>,
    daemon: Option<String>,
    daemon_start: Option<DaemonStart>,
    dhcp_server: Option<DhcpServer>,
    #[serde(default)]
    expires: bool,
    #[serde(default)]
    delegates: bool,
    delegate_at: Option<String>,
    #[serde(default)]
    leaves_running: Vec<String>,
    #[serde(default)]
    connects_containers: bool,
    #[serde(default)]
    any_interface: bool,
    #[serde(default)]
    reads: Vec<WellKnown>,
    #[serde(default)]
    numbers: Vec<String>,
    #[serde(default)]
    unvaried: Vec<String>,
    duplicate_search: Option<String>,
    #[serde(default)]
    requires: Requires,
    #[serde(default, rename = "capability")]
    capabilities: Vec<CapabilityFile>,
    #[serde(default, rename = "link")]
    links: Vec<Link>,
    #[serde(default, rename = "configuration")]
    configurations: Vec<ConfigurationFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ConfigurationFile {
    name: String,
    plugin: String,
    args: Option<String>,
    #[serde(default)]
    default_route: bool,
    #[serde(default)]
    promises: Vec<ConfigurationPromise>,
    #[serde(default)]
    requires: Requires,
}

#[derive(Clone, Copy, Deserialize)]
enum WellKnown {
    #[serde(rename = "ipMasq")]
    IpMasq,
    #[serde(rename = "dns")]
    Dns,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Promise {
    Localhost,
    Hairpin,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ConfigurationPromise {
    Masquerade,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CapabilityFile {
    name: String,
    by: Vec<Way>,
    value: Option<String>,
    other: Option<String>,
    #[serde(default)]
    promises: Vec<Promise>,
    #[serde(default)]
    replaces: Vec<String>,
    hosts_file: Option<String>,
}

impl CapabilityFile {
    fn read(self) -> Result<Capability, String> {
        let place = format!("capability \"{}\"", self.name);
        if !CONVENTIONS.contains(&self.name.as_str()) {
            return Err(format!("{place}: no convention; use one of {}", CONVENTIONS.join(", ")));
        }
        if self.by.is_empty() {
            return Err(format!("{place}: by is empty; name \"runtimeConfig\", \"args\" or \"CNI_ARGS\""));
        }
        let json = |key: &str, text: Option<String>| -> Result<Option<Value>, String> {
            let read = |text: String| serde_json::from_str(&text);
            text.map(read).transpose().map_err(|error| format!("{place}: {key} is not JSON: {error}"))
        };
        let promise = |one: Promise| match one {
            Promise::Localhost => "localhost".to_owned(),
            Promise::Hairpin => "hairpin".to_owned(),
        };
        Ok(Capability {
            value: json("value", self.value)?,
            other: json("other", self.other)?,
            name: self.name,
            by: self.by,
            promises: self.promises.into_iter().map(promise).collect(),
            replaces: self.replaces,
            hosts_file: self.hosts_file,
        })
    }
}

/// The names that CONVENTIONS.md gives to what a runtime can ask for.
pub const CONVENTIONS: [&str; 8] =
    ["portMappings", "ipRanges", "ips", "mac", "bandwidth", "dns", "aliases", "deviceID"];

impl Target {
    /// Whether the plugin executes others: that of `ipam`, or whole interface plugins.
    pub fn executes_others(&self) -> bool {
        self.delegates || self.kind == Kind::Meta
    }

    /// Where the configuration names the plugin that is executed, as a JSON pointer: that of `ipam`, or the first of a
    /// meta plugin's.
    pub fn delegate_pointer(&self) -> &str {
        self.delegate_at.as_deref().unwrap_or("/ipam")
    }

    /// What the target says of a convention, if the plugin follows it.
    pub fn capability(&self, name: &str) -> Option<&Capability> {
        self.capabilities.iter().find(|capability| capability.name == name)
    }

    /// Whether the plugin reads a well-known key of the configuration.
    pub fn reads(&self, key: &str) -> bool {
        self.reads.iter().any(|one| one == key)
    }

    /// Reads a target file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a target; the message names the line and the key.
    pub fn load(path: &Path) -> Result<Target, TargetError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TargetError::Read { path: path.to_owned(), source })?;
        Target::parse(&text, &path.display().to_string())
    }

    /// Parses the text of a target file; `origin` names it in errors.
    ///
    /// # Errors
    /// When the text is not a target; the message names the line and the key.
    pub fn parse(text: &str, origin: &str) -> Result<Target, TargetError> {
        let fail = |message: String| TargetError::Parse { origin: origin.to_owned(), message };
        let file: TargetFile = toml::from_str(text).map_err(|error| fail(error.to_string()))?;
        if file.configurations.is_empty() {
            return Err(fail("has no [[configuration]]; add at least one that works".to_owned()));
        }
        let mut seen = BTreeMap::new();
        let mut configurations = Vec::new();
        for (index, entry) in file.configurations.into_iter().enumerate() {
            let place = format!("configuration {} (\"{}\")", index + 1, entry.name);
            if let Some(first) = seen.insert(entry.name.clone(), index + 1) {
                return Err(fail(format!("{place} has the same name as configuration {first}; rename one")));
            }
            let value: Value = serde_json::from_str(&entry.plugin)
                .map_err(|error| fail(format!("{place}: plugin is not JSON: {error}")))?;
            let Value::Object(plugin) = value else {
                return Err(fail(format!("{place}: plugin must be a JSON object")));
            };
            for key in ["cniVersion", "name", "prevResult"] {
                if plugin.contains_key(key) {
                    return Err(fail(format!("{place}: remove \"{key}\" from plugin; cnitest sets it")));
                }
            }
            if plugin.get("type").and_then(Value::as_str).is_none_or(str::is_empty) {
                return Err(fail(format!("{place}: plugin needs a \"type\"")));
            }
            configurations.push(Configuration {
                name: entry.name,
                plugin,
                args: entry.args,
                default_route: entry.default_route,
                masquerades: entry.promises.contains(&ConfigurationPromise::Masquerade),
                requires: entry.requires,
            });
        }
        match (&file.delegate_at, file.kind) {
            (None, Kind::Meta) => {
                let example = "\"/delegate\" or \"/delegates/0\"";
                return Err(fail(format!("a meta plugin needs delegate-at, such as {example}")));
            }
            (Some(_), kind) if kind != Kind::Meta => {
                return Err(fail("delegate-at is for kind = \"meta\" only".to_owned()));
            }
            _ => {}
        }
        if file.kind == Kind::Meta && file.delegates {
            return Err(fail(
                "delegates is about \"ipam\"; a meta plugin has delegate-at instead".to_owned(),
            ));
        }
        if let Some(pointer) = &file.delegate_at {
            if !pointer.starts_with('/') {
                return Err(fail("delegate-at is a JSON pointer, such as \"/delegate\"".to_owned()));
            }
            for one in &configurations {
                let kind = Value::Object(one.plugin.clone()).pointer(&format!("{pointer}/type")).cloned();
                if kind.as_ref().and_then(Value::as_str).is_none_or(str::is_empty) {
                    let name = &one.name;
                    return Err(fail(format!(
                        "configuration \"{name}\": no plugin with a \"type\" at {pointer}"
                    )));
                }
            }
        }
        let capabilities: Result<Vec<Capability>, String> =
            file.capabilities.into_iter().map(CapabilityFile::read).collect();
        let duplicate_search = match file.duplicate_search {
            None => Map::new(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| fail(format!("duplicate-search is no JSON object: {error}")))?,
        };
        if let Some(start) = &file.daemon_start {
            start.check(file.daemon.is_some()).map_err(fail)?;
        }
        if file.dhcp_server.is_some() && file.kind != Kind::Ipam {
            return Err(fail("dhcp-server is for the kind ipam".to_owned()));
        }
        let well_known = |one: WellKnown| match one {
            WellKnown::IpMasq => "ipMasq".to_owned(),
            WellKnown::Dns => "dns".to_owned(),
        };
        Ok(Target {
            leaves_running: file.leaves_running,
            connects_containers: file.connects_containers,
            any_interface: file.any_interface,
            reads: file.reads.into_iter().map(well_known).collect(),
            numbers: file.numbers,
            unvaried: file.unvaried,
            duplicate_search,
            capabilities: capabilities.map_err(fail)?,
            name: file.name,
            kind: file.kind,
            summary: file.summary,
            fixed_interface: file.fixed_interface,
            no_attachments: file.no_attachments,
            daemon: file.daemon,
            daemon_start: file.daemon_start,
            dhcp_server: file.dhcp_server.map(DhcpServer::read).transpose().map_err(fail)?,
            expires: file.expires,
            delegates: file.delegates,
            delegate_at: file.delegate_at,
            requires: file.requires,
            links: file.links,
            configurations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_target_parses_and_carries_its_file_name() {
        for name in builtin_names() {
            let target = builtin(name).expect("listed");
            assert_eq!(target.name, name);
            assert!(target.configurations.iter().all(|c| c.plugin["type"] == Value::String(name.to_owned())));
        }
    }

    #[test]
    fn the_template_is_a_target() {
        let target = Target::parse(TEMPLATE, "template").expect("template parses");
        assert_eq!(target.kind, Kind::Interface);
    }

    #[test]
    fn meta_plugins_say_where_their_delegate_is() {
        let parse = |keys: &str, plugin: &str| {
            let text = format!(
                "name = 'x'\nsummary = ''\n{keys}\n[[configuration]]\nname = 'a'\nplugin = '''{plugin}'''\n"
            );
            Target::parse(&text, "t.toml").map_err(|error| error.to_string())
        };
        let plugin = r#"{ "type": "x", "delegate": { "type": "ptp" } }"#;
        let target = parse("kind = 'meta'\ndelegate-at = '/delegate'", plugin).expect("a target");
        assert!(target.executes_others() && target.kind.makes_interface());
        assert_eq!(target.delegate_pointer(), "/delegate");
        let wrong = |keys: &str| parse(keys, plugin).unwrap_err();
        assert!(wrong("kind = 'meta'").contains("needs delegate-at"));
        assert!(wrong("kind = 'meta'\ndelegate-at = '/delegates/0'").contains("at /delegates/0"));
        assert!(wrong("kind = 'meta'\ndelegate-at = ''").contains("JSON pointer"));
        assert!(wrong("kind = 'interface'\ndelegate-at = '/delegate'").contains("for kind"));
        assert!(wrong("kind = 'meta'\ndelegate-at = '/delegate'\ndelegates = true").contains("instead"));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let message = |text: &str| Target::parse(text, "t.toml").unwrap_err().to_string();
        let head = "name = 'x'\nkind = 'interface'\nsummary = ''\n";
        assert!(message("kind = 'nope'").contains("line 1"));
        assert!(message(head).contains("no [[configuration]]"));
        let one = |plugin: &str| format!("{head}[[configuration]]\nname = 'a'\nplugin = '''{plugin}'''\n");
        assert!(message(&one("{")).contains("configuration 1 (\"a\"): plugin is not JSON"));
        assert!(message(&one("[]")).contains("must be a JSON object"));
        assert!(message(&one("{}")).contains("needs a \"type\""));
        assert!(message(&one(r#"{"type":"x","name":"n"}"#)).contains("remove \"name\""));
        let capability = |text: &str| format!("{}[[capability]]\n{text}\n", one(r#"{"type":"x"}"#));
        assert!(message(&capability("name = 'mac'\nby = []")).contains("capability \"mac\": by is empty"));
        assert!(message(&capability("name = 'fame'\nby = ['args']")).contains("\"fame\": no convention"));
        assert!(
            message(&capability("name = 'mac'\nby = ['args']\nvalue = '{'")).contains("value is not JSON")
        );
        assert!(
            message(&format!("duplicate-search = '[]'\n{}", one(r#"{"type":"x"}"#)))
                .contains("duplicate-search is no JSON object")
        );
        let beside = |text: &str| message(&format!("{text}\n{}", one(r#"{"type":"x"}"#)));
        let daemon = |text: &str| beside(&format!("daemon = 'd'\ndaemon-start = {{ {text} }}"));
        assert!(
            beside("daemon-start = { command = ['/x'], ready = '/run/x' }")
                .contains("say what the daemon is")
        );
        for command in ["[]", "['']", "['x']", "['x/${plugin}']"] {
            let said = daemon(&format!("command = {command}, ready = '/run/x'"));
            assert!(said.contains("begin with an absolute path or ${plugin}"), "{said}");
        }
        assert!(daemon("command = ['/x'], ready = 'run/x'").contains("absolute path of a file"));
        assert!(daemon("command = ['/x']").contains("ready"));
        let server = |text: &str| {
            let one = one(r#"{"type":"x"}"#).replacen("interface", "ipam", 1);
            message(&format!("dhcp-server = {{ {text} }}\n{one}"))
        };
        assert!(
            beside("dhcp-server = { addresses = 3, lease-seconds = 60 }").contains("is for the kind ipam")
        );
        for addresses in [-1, 0, 241, 256] {
            let said = server(&format!("addresses = {addresses}, lease-seconds = 60"));
            assert!(said.contains("addresses must be 1 to 240"), "{said}");
        }
        assert!(server("addresses = 1, lease-seconds = 0").contains("lease-seconds must be 1 to 4294967295"));
        assert!(server("addresses = 1, lease-seconds = 4294967296").contains("lease-seconds must be"));
        assert!(message(&format!("reads = ['ipmasq']\n{}", one(r#"{"type":"x"}"#))).contains("line 1"));
    }
}
