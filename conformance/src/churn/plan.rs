//! What is executed: networks, their plugins, and the request of each execution. Derived as our own runtime does it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_spec::config::{NetworkList, PluginConfig, Request};
use cni_spec::version::AnyVersion;
use cni_spec::{Operation, Version};
use cnitest_reports::churn::ChurnPlugin;
use serde_json::{Map, Value, json};

use super::spy::{MEMORY_DIR, SPY_DIR};
use super::{ChurnError, Watched};
use crate::arena::{ArenaConfig, Bind, NETNS_DIR, PLUGIN_DIR, PluginAlias, SEARCH_PATH};
use crate::invoke::Invocation;
use crate::runtime::Attach;
use crate::runtime::cache::Key;
use crate::runtime::load::Network;
use crate::runtime::policy::{Chain, Policy as _, Standard};
use crate::suite::subject;

/// The configuration that is used when none is given.
const BUNDLED: &str = include_str!("bundled.conflist");
/// The most bridges that the bundled chain may have: each has a subnet of its own.
pub const MOST_BRIDGES: u8 = 128;
/// How many attachments a bridge of the bundled chain is given: a bridge of Linux has room for 1,023.
const EACH: usize = 1020;
/// The first port of the host that is mapped; each namespace has one of its own.
const FIRST_PORT: u32 = 20_000;
/// The interface's name in every container.
const IFNAME: &str = "eth0";

/// A network and where its plugins are.
#[derive(Debug)]
pub(super) struct Net {
    list: NetworkList,
    version: AnyVersion,
    pub(super) known: Version,
    programs: Vec<PathBuf>,
    /// For each plugin of the list, its index among all plugins.
    pub(super) indices: Vec<usize>,
    /// One of the plugins is to be given port mappings.
    maps_ports: bool,
}

/// What is executed.
#[derive(Debug)]
pub struct Plan {
    /// What the configuration is called.
    pub(super) title: String,
    pub(super) nets: Vec<Net>,
    /// The types of all plugins of chains, each once.
    pub(super) plugins: Vec<String>,
    /// The types that configurations name below their plugins' own: those that are delegated to.
    pub(super) delegates: Vec<String>,
    folder: Option<PathBuf>,
    executable: PathBuf,
    timeout: Duration,
}

/// A container, and how far it got.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) net: usize,
    /// The number of its namespace.
    pub(super) slot: usize,
    /// What ADD returned.
    pub(super) result: Option<Value>,
}

impl Plan {
    /// What is executed for these configurations, by the plugins of a folder or the bundled ones. Without configurations a
    /// chain of `bridge` with `host-local` and `portmap`, once for each of so many bridges, at most [`MOST_BRIDGES`].
    ///
    /// # Errors
    /// When a configuration cannot be read, or a plugin is missing.
    pub fn new(
        files: &[PathBuf],
        folder: Option<&Path>,
        bridges: u8,
        timeout: Duration,
    ) -> Result<Plan, ChurnError> {
        let folder = match folder {
            Some(folder) => Some(
                folder
                    .canonicalize()
                    .map_err(|source| ChurnError::Folder { path: folder.to_owned(), source })?,
            ),
            None => None,
        };
        let executable = std::env::current_exe().map_err(ChurnError::Executable)?;
        let lists = match files {
            [] => bundled(bridges.clamp(1, MOST_BRIDGES))?,
            files => files.iter().map(|file| read(file)).collect::<Result<_, _>>()?,
        };
        let title = match files {
            [] => "bundled".to_owned(),
            files => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
        };
        let mut plan = Plan {
            title,
            nets: Vec::new(),
            plugins: Vec::new(),
            delegates: Vec::new(),
            folder,
            executable,
            timeout,
        };
        for network in lists {
            plan.take(network)?;
        }
        let mut names: Vec<&str> = plan.nets.iter().map(|net| net.list.name()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(ChurnError::SameName(pair[0].to_owned())),
            None => Ok(plan),
        }
    }

    fn take(&mut self, network: Network) -> Result<(), ChurnError> {
        let list = network.list;
        let unusable = |reason: String| ChurnError::Network { name: list.name().to_owned(), reason };
        Key::new(list.name(), "c", IFNAME).map_err(|error| unusable(error.to_string()))?;
        if list.plugins().is_empty() {
            return Err(unusable("it has no plugins".to_owned()));
        }
        let version = Standard
            .select_version(&list)
            .ok_or_else(|| unusable(format!("none of its versions is known: use {}", Version::LATEST)))?;
        let known = version.known().unwrap_or(Version::LATEST);
        let mut programs = Vec::new();
        let mut indices = Vec::new();
        for plugin in list.plugins() {
            let name = plugin.plugin_type();
            programs.push(self.find(name).ok_or_else(|| ChurnError::Missing {
                plugin: name.to_owned(),
                place: self.folder.as_ref().map_or_else(
                    || format!("bundled plugins ({})", cni_plugins::NAMES.join(", ")),
                    |folder| folder.display().to_string(),
                ),
            })?);
            let known = self.plugins.iter().position(|known| known == name);
            indices.push(known.unwrap_or_else(|| {
                self.plugins.push(name.to_owned());
                self.plugins.len() - 1
            }));
            for name in plugin.fields().values().flat_map(types_below) {
                if !self.delegates.contains(&name) && self.find(&name).is_some() {
                    self.delegates.push(name);
                }
            }
        }
        let maps_ports =
            list.plugins().iter().any(|plugin| plugin.capabilities().any(|name| name == "portMappings"));
        self.nets.push(Net { list, version, known, programs, indices, maps_ports });
        Ok(())
    }

    /// A plugin's executable in the arena.
    fn find(&self, name: &str) -> Option<PathBuf> {
        match &self.folder {
            Some(folder) => Some(folder.join(name)).filter(|path| !name.contains('/') && path.is_file()),
            None => cni_plugins::NAMES.contains(&name).then(|| Path::new(PLUGIN_DIR).join(name)),
        }
    }

    /// How to build its arena.
    pub(super) fn arena(&self) -> ArenaConfig {
        let alias = |name: String| PluginAlias { name, executable: self.executable.clone() };
        let timing = self.delegates.iter().map(|name| format!("{SPY_DIR}/{name}"));
        let weighing = self.plugins.iter().chain(&self.delegates).collect::<BTreeSet<_>>().into_iter();
        let spies = timing.chain(weighing.map(|name| format!("{MEMORY_DIR}/{name}")));
        let bundled = cni_plugins::NAMES.iter().map(|name| (*name).to_owned());
        ArenaConfig {
            agent_executable: self.executable.clone(),
            binds: self.folder.iter().map(Bind::at_own_path).collect(),
            plugin_aliases: bundled.chain(spies).map(alias).collect(),
            process_ids: 1 << 15,
            ..ArenaConfig::default()
        }
    }

    /// The version that the first network is executed in.
    pub(super) fn version(&self) -> String {
        self.nets.first().map(|net| net.version.as_str().to_owned()).unwrap_or_default()
    }

    /// The networks' names.
    pub(super) fn networks(&self) -> Vec<String> {
        self.nets.iter().map(|net| net.list.name().to_owned()).collect()
    }

    /// The folder of the plugins, if they are not the bundled ones.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The plugins as reports name them.
    pub(super) fn described(&self) -> Vec<ChurnPlugin> {
        let described = |name: &String, delegated| {
            let path = self.folder.as_ref().map_or_else(|| self.executable.clone(), |f| f.join(name));
            ChurnPlugin { name: name.clone(), sha256: subject::digest(&path).unwrap_or_default(), delegated }
        };
        let own = self.plugins.iter().map(|name| described(name, false));
        own.chain(self.delegates.iter().map(|name| described(name, true))).collect()
    }

    /// Whether every network has CHECK.
    pub(super) fn can_check(&self) -> bool {
        self.nets
            .iter()
            .all(|net| net.version.at_least(Operation::Check.since()) && !net.list.disable_check())
    }

    /// The plugins of a network in the order of an operation.
    pub(super) fn order(&self, net: usize, operation: Operation) -> Vec<usize> {
        Standard.order(operation, self.nets[net].programs.len())
    }

    /// What is executed for one plugin of a container's network. `previous` is what the plugin before it returned.
    ///
    /// # Errors
    /// When the request cannot be derived.
    pub(super) fn invocation(
        &self,
        container: &Container,
        operation: Operation,
        plugin: usize,
        previous: Option<&Value>,
        watched: Watched,
    ) -> Result<Invocation, ChurnError> {
        let net = &self.nets[container.net];
        let unusable = |reason: String| ChurnError::Network { name: net.list.name().to_owned(), reason };
        let config: &PluginConfig = &net.list.plugins()[plugin];
        let arguments = net.capability_args(container.slot);
        let offers = Standard.offers(operation, config, &arguments);
        let prev_result =
            Standard.prev_result(operation, Chain { previous, cached: container.result.as_ref() });
        let request = Request {
            operation,
            version: &net.version,
            prev_result: prev_result.as_ref(),
            capability_args: Some(&offers),
            valid_attachments: &[],
        };
        let input =
            Standard.request(&request, &net.list, config).map_err(|error| unusable(error.to_string()))?;
        let key =
            Key::new(net.list.name(), &container.id, IFNAME).map_err(|error| unusable(error.to_string()))?;
        let attach = Attach::new(key, format!("{NETNS_DIR}/{}", namespace(container.slot)));
        let own = self.folder.clone().unwrap_or_else(|| PLUGIN_DIR.into());
        let folder = watched.folder().map(|name| Path::new(PLUGIN_DIR).join(name));
        let path: Vec<PathBuf> = folder.iter().cloned().chain([own]).collect();
        let parameters = Standard.parameters(operation, Some(&attach), &path);
        let program = match (watched, folder) {
            (Watched::Memory, Some(folder)) => folder.join(config.plugin_type()),
            _ => net.programs[plugin].clone(),
        };
        let invocation = Invocation::new(program).timeout(self.timeout).env("PATH", SEARCH_PATH);
        let pairs = parameters.to_pairs().into_iter();
        Ok(pairs
            .fold(invocation, |invocation, (name, value)| invocation.env(name, value))
            .input(input.to_string()))
    }
}

impl Net {
    /// What the runtime has for capabilities: a port of the host for each container.
    fn capability_args(&self, slot: usize) -> Map<String, Value> {
        let mut arguments = Map::new();
        if self.maps_ports {
            let port = FIRST_PORT + u32::try_from(slot).unwrap_or(u32::MAX / 2);
            let mapping = json!([{ "hostPort": port, "containerPort": 80, "protocol": "tcp" }]);
            arguments.insert("portMappings".to_owned(), mapping);
        }
        arguments
    }
}

/// The name of a namespace.
pub(super) fn namespace(slot: usize) -> String {
    format!("churn{slot}")
}

/// How many bridges hold so many attachments at a time.
pub fn bridges_for(attachments: usize) -> u8 {
    u8::try_from(attachments.div_ceil(EACH)).unwrap_or(MOST_BRIDGES).clamp(1, MOST_BRIDGES)
}

/// The configuration that is used when none is given, once for each bridge.
fn bundled(bridges: u8) -> Result<Vec<Network>, ChurnError> {
    let each = |number: u8| {
        let text = match number {
            0 => BUNDLED.to_owned(),
            _ => BUNDLED
                .replace("\"churn\"", &format!("\"churn-{number}\""))
                .replace("churn0", &format!("churn{number}"))
                .replace("10.64.", &format!("10.{}.", 64 + number)),
        };
        parse(text.as_bytes(), Path::new("the bundled configuration"))
    };
    (0..bridges).map(each).collect()
}

fn read(file: &Path) -> Result<Network, ChurnError> {
    let text = std::fs::read(file).map_err(|source| ChurnError::Read { path: file.to_owned(), source })?;
    parse(&text, file)
}

fn parse(text: &[u8], file: &Path) -> Result<Network, ChurnError> {
    Ok(Network::from_bytes(text, file)?)
}

/// The plugin types that a value names.
fn types_below(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => {
            let own = map.get("type").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(map.values().flat_map(types_below)).collect()
        }
        Value::Array(items) => items.iter().flat_map(types_below).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_have_room_for_all_attachments() {
        let most: Vec<u8> = [0, 1, 1020, 1021, 4002, 1_000_000].map(bridges_for).into();
        assert_eq!(most, [1, 1, 1, 2, 4, MOST_BRIDGES]);
    }

    #[test]
    fn bundled_networks_share_nothing() {
        let networks = bundled(MOST_BRIDGES).unwrap();
        let distinct = |what: &dyn Fn(&NetworkList) -> Value| {
            networks.iter().map(|network| what(&network.list).to_string()).collect::<BTreeSet<_>>().len()
        };
        for what in [
            &|list: &NetworkList| json!(list.name()),
            &|list: &NetworkList| list.plugins()[0].fields()["bridge"].clone(),
            &|list: &NetworkList| list.plugins()[0].fields()["ipam"].clone(),
        ] as [&dyn Fn(&NetworkList) -> Value; 3]
        {
            assert_eq!(distinct(what), usize::from(MOST_BRIDGES));
        }
    }
}
