//! A runtime of our own: executes network configurations as section 3 of the specification says.
//!
//! - [`load`]: networks from a folder of files.
//! - [`policy`]: every decision, one a method.
//! - [`cache`]: the attachments that exist, in libcni's files.
//! - [`lock`]: what keeps operations apart.
//! - [`execute`]: one execution of a plugin.
//! - [`netns`]: namespaces for containers.
//! - [`error`]: what can go wrong.
//! - `joint`: one container and several networks.
//!
//! What it adds to what the specification asks:
//! an ADD is recorded before its first plugin runs, so that a runtime that is killed at any point loses no attachment;
//! a DEL uses the configuration and the arguments of the ADD, whatever has become of the file;
//! an attachment that a crash left half added is deleted before it is added again.

pub mod cache;
pub mod error;
pub mod execute;
mod joint;
pub mod load;
pub mod lock;
pub mod netns;
pub mod policy;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cni_spec::config::{Attachment, PluginConfig, Request};
use cni_spec::parameters::{CniArgs, ValueError};
use cni_spec::result::{AddResult, VersionResult};
use cni_spec::version::AnyVersion;
use cni_spec::{Operation, Version};
use serde_json::{Map, Value};

use self::cache::{Cache, Entry, Found, Key, State};
use self::error::{CacheError, PluginError, Problem, RuntimeError};
use self::execute::{Ended, excerpt, execute};
use self::load::Network;
use self::lock::{Held, Locks};
use self::policy::{Chain, Policy, Standard};

/// Where things are and how long they may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folders of plugins (`runtime.plugin-search-path-configured`).
    pub plugin_path: Vec<PathBuf>,
    /// The folder of network configurations.
    pub networks: PathBuf,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// The deadline of each execution.
    pub timeout: Duration,
    /// How long to wait for other operations.
    pub wait: Duration,
}

impl Default for Settings {
    /// The usual folders; two minutes for a plugin and five for other operations.
    fn default() -> Settings {
        Settings {
            plugin_path: vec!["/opt/cni/bin".into()],
            networks: "/etc/cni/net.d".into(),
            cache: "/var/lib/cni".into(),
            timeout: Duration::from_secs(120),
            wait: Duration::from_secs(300),
        }
    }
}

/// The parameters of an attachment.
#[derive(Debug, Clone, PartialEq)]
pub struct Attach {
    /// What identifies it.
    pub key: Key,
    /// The path of the container's network namespace; may be empty for DEL.
    pub netns: String,
    /// The arguments for `CNI_ARGS`.
    pub args: CniArgs,
    /// What the runtime supplies for capabilities.
    pub capability_args: Map<String, Value>,
}

impl Attach {
    /// An attachment without arguments.
    pub fn new(key: Key, netns: impl Into<String>) -> Attach {
        Attach { key, netns: netns.into(), args: CniArgs::default(), capability_args: Map::new() }
    }

    /// The parameters that an ADD used.
    fn of(entry: &Entry, netns: String) -> Attach {
        Attach {
            key: entry.key().clone(),
            netns,
            args: entry.args(),
            capability_args: entry.capability_args(),
        }
    }
}

/// What plugins of a network support.
#[derive(Debug, Clone)]
pub struct Supported {
    /// The version that is selected for the network.
    pub selected: AnyVersion,
    /// Each plugin's type and versions, in the order of the list.
    pub plugins: Vec<(String, Vec<String>)>,
}

impl Supported {
    /// The plugins that do not support the selected version.
    pub fn lacking(&self) -> Vec<&str> {
        let lacks = |(_, versions): &&(String, Vec<String>)| {
            !versions.iter().any(|text| text == self.selected.as_str())
        };
        self.plugins.iter().filter(lacks).map(|(plugin, _)| plugin.as_str()).collect()
    }
}

/// The runtime.
pub struct Runtime {
    settings: Settings,
    policy: Box<dyn Policy>,
    cache: Cache,
    locks: Locks,
}

impl Runtime {
    /// A runtime that decides as the specification says.
    pub fn new(settings: Settings) -> Runtime {
        Runtime::with_policy(settings, Box::new(Standard))
    }

    /// A runtime that decides otherwise.
    pub fn with_policy(settings: Settings, policy: Box<dyn Policy>) -> Runtime {
        let cache = Cache::new(&policy.cache(&settings.cache));
        let locks = Locks::new(settings.cache.join("cnitest/locks"));
        Runtime { settings, policy, cache, locks }
    }

    /// Names an attachment.
    ///
    /// # Errors
    /// When a name could lead elsewhere.
    pub fn key(&self, network: &str, container_id: &str, ifname: &str) -> Result<Key, ValueError> {
        self.policy.key(network, container_id, ifname)
    }

    /// The name of the interface after this one, for a container's next network.
    pub fn next_interface(&self, before: &str) -> String {
        self.policy.next_interface(before)
    }

    /// The attachments that exist.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Makes the network namespace of a container (`runtime.netns-created-first`).
    ///
    /// # Errors
    /// See [`netns::make`].
    pub fn make_namespace(&self, path: &Path) -> Result<(), RuntimeError> {
        Ok(netns::make(path)?)
    }

    /// Removes the network namespace of a container that was deleted (`runtime.netns-cleanup`).
    ///
    /// # Errors
    /// See [`netns::remove`].
    pub fn remove_namespace(&self, path: &Path) -> Result<(), RuntimeError> {
        match self.policy.removes_namespace() {
            true => Ok(netns::remove(path)?),
            false => Ok(()),
        }
    }

    /// Loads a network.
    ///
    /// # Errors
    /// See [`load::load`].
    pub fn load(&self, name: &str) -> Result<Network, RuntimeError> {
        Ok(load::load(&self.settings.networks, name, &*self.policy)?)
    }

    /// Adds a container to a network and answers the result (section "Adding an attachment").
    ///
    /// # Errors
    /// When the attachment exists, a plugin is missing or fails, or the cache cannot be written. What the plugins did is
    /// deleted then (`runtime.del-after-failed-add`).
    pub fn add(&self, attach: &Attach) -> Result<Value, RuntimeError> {
        let network = self.load(attach.key.network())?;
        if !self.policy.namespace_exists(&attach.netns) {
            return Err(RuntimeError::NoNamespace(attach.netns.clone()));
        }
        let run = self.run(&network, Operation::Add)?;
        let _locks = self.lock(Operation::Add, Some(&attach.key))?;
        self.clear_the_way(&run, attach)?;
        let intent = Entry::begun(
            attach.key.clone(),
            &network.text,
            &attach.netns,
            &attach.args,
            &attach.capability_args,
        );
        if self.policy.records_intent() {
            self.cache.create(&intent)?;
        }
        match self.add_and_keep(&run, attach, intent) {
            Ok(result) => Ok(result),
            Err(error) if !self.policy.cleans_up() => Err(error),
            Err(error) => Err(error.cleaned_up(self.clean_up(&network, attach))),
        }
    }

    fn add_and_keep(&self, run: &Run<'_>, attach: &Attach, intent: Entry) -> Result<Value, RuntimeError> {
        let mut results: Vec<Value> = Vec::new();
        for index in self.policy.order(Operation::Add, run.plugins()) {
            let chain = Chain { previous: results.last(), cached: None };
            let added = self
                .play(run, index, Some(attach), chain, &[])
                .and_then(|ended| self.result(run, index, &ended));
            match added {
                Ok(result) => results.push(result),
                Err(error) if self.policy.halts_at_error(Operation::Add) => return Err(error),
                Err(_) => {}
            }
        }
        let (Some(first), Some(last)) = (results.first(), results.last()) else { return Ok(Value::Null) };
        if let Some(kept) = self.policy.kept_result(first, last) {
            self.cache.replace(&intent.added(kept))?;
        }
        Ok(last.clone())
    }

    /// The DEL after a failed ADD: with the ADD's parameters, and no result.
    fn clean_up(&self, network: &Network, attach: &Attach) -> Result<(), RuntimeError> {
        let run = self.run(network, Operation::Del)?;
        self.delete(&run, attach, None)
    }

    /// Sees that nothing stands in the way of an ADD: an attachment that exists is refused, one that was never finished is
    /// deleted.
    fn clear_the_way(&self, run: &Run<'_>, attach: &Attach) -> Result<(), RuntimeError> {
        match self.cache.find(&attach.key)? {
            Found::Damaged => self.clean_up(run.network, attach)?,
            Found::Bare(_) => return Err(exists(&attach.key)),
            Found::Nothing | Found::Entry(_) => {}
        }
        for entry in self.cache.entries()? {
            if !self.policy.stands_in_the_way(&entry, attach, &run.version) {
                continue;
            }
            if entry.state() == State::Added {
                return Err(exists(entry.key()));
            }
            self.delete_entry(&entry, &attach.netns)?;
        }
        Ok(())
    }

    /// Removes a container from a network (section "Deleting an attachment"). Also where nothing is known of the attachment,
    /// by the network's file alone (`runtime.repeated-del`).
    ///
    /// # Errors
    /// When a plugin is missing or fails; the attachment is kept then, and DEL can be repeated.
    pub fn del(&self, attach: &Attach) -> Result<(), RuntimeError> {
        let _locks = self.lock(Operation::Del, Some(&attach.key))?;
        match self.cache.find(&attach.key)? {
            Found::Entry(entry) => self.delete_entry(&entry, &attach.netns),
            Found::Bare(result) => self.delete_by_file(attach, Some(&result)),
            Found::Damaged if !self.policy.overlooks_damage() => {
                Err(CacheError::Damaged(self.cache.file(&attach.key)?).into())
            }
            Found::Nothing | Found::Damaged => self.delete_by_file(attach, None),
        }
    }

    fn delete_by_file(&self, attach: &Attach, result: Option<&Value>) -> Result<(), RuntimeError> {
        let network = self.load(attach.key.network())?;
        let run = self.run(&network, Operation::Del)?;
        self.delete(&run, attach, result)
    }

    fn delete_entry(&self, entry: &Entry, given: &str) -> Result<(), RuntimeError> {
        if !self.policy.deletes(entry) {
            return Ok(self.cache.remove(entry.key())?);
        }
        let network = self.network_of(entry)?;
        let run = self.run(&network, Operation::Del)?;
        if entry.state() == State::Added {
            self.cache.replace(&entry.clone().in_state(State::Deleting))?;
        }
        let attach = Attach::of(entry, self.policy.netns_for_del(entry, given));
        self.delete(&run, &attach, entry.result())
    }

    fn delete(&self, run: &Run<'_>, attach: &Attach, result: Option<&Value>) -> Result<(), RuntimeError> {
        // A result that cannot be used never blocks a DEL (`cache.corrupt-entry`).
        let result = result.and_then(|value| in_version(value, run.known).ok());
        let played = self.play_all(run, Some(attach), result.as_ref(), &[]);
        if self.policy.forgets(played.is_ok()) {
            self.cache.remove(&attach.key)?;
        }
        played
    }

    /// The configuration of an attachment: that of its ADD (`runtime.config-stable-add-del`), or the network's file.
    fn network_of(&self, entry: &Entry) -> Result<Network, RuntimeError> {
        let name = entry.key().network();
        if !self.policy.keeps_config() {
            return self.load(name);
        }
        let origin = Path::new("the cached configuration");
        let cached = entry.config().and_then(|text| Network::from_bytes(&text, origin).ok());
        let Some(mut network) = cached.filter(|network| network.list.name() == name) else {
            return self.load(name);
        };
        if !entry.has_whole_config() {
            network.append_folder(&self.settings.networks, &*self.policy)?;
        }
        if network.list.plugins().is_empty() { self.load(name) } else { Ok(network) }
    }

    /// Checks an attachment (section "Checking an attachment").
    ///
    /// # Errors
    /// When there is no such attachment, a plugin is missing or fails, or the version has no CHECK
    /// (`check.runtime-version-gate`).
    pub fn check(&self, attach: &Attach) -> Result<(), RuntimeError> {
        let _locks = self.lock(Operation::Check, Some(&attach.key))?;
        let found = self.cache.find(&attach.key)?;
        let entry = match &found {
            Found::Entry(entry) => Some(entry),
            _ => None,
        };
        let network = match entry {
            Some(entry) => self.network_of(entry)?,
            None => self.load(attach.key.network())?,
        };
        // Whoever forbids CHECK after the ADD is heard too.
        let forbidden = self.load(attach.key.network()).is_ok_and(|now| !self.policy.checks(&now.list));
        if forbidden || !self.policy.checks(&network.list) {
            return Ok(());
        }
        let bare = match &found {
            Found::Bare(result) => Some(result),
            Found::Damaged => return Err(CacheError::Damaged(self.cache.file(&attach.key)?).into()),
            _ => None,
        };
        let state = entry.map(|entry| entry.state()).or(bare.map(|_| State::Added));
        if !self.policy.checkable(state) {
            return Err(RuntimeError::NotAttached {
                network: attach.key.network().to_owned(),
                container_id: attach.key.container_id().to_owned(),
                ifname: attach.key.ifname().to_owned(),
                unfinished: state.is_some(),
            });
        }
        let run = self.run(&network, Operation::Check)?;
        let kept = entry.and_then(|entry| entry.result()).or(bare);
        let result = match kept.map(|value| in_version(value, run.known)).transpose() {
            Ok(result) => result,
            Err(source) => {
                return Err(CacheError::Result { path: self.cache.file(&attach.key)?, source }.into());
            }
        };
        let attach = entry.map_or_else(
            || attach.clone(),
            |entry| Attach::of(entry, self.policy.netns_for_check(entry, &attach.netns)),
        );
        self.play_all(&run, Some(&attach), result.as_ref(), &[])
    }

    /// Collects the garbage of a network (section "Garbage-collecting a network"): deletes the attachments that are not
    /// valid, then asks the plugins.
    ///
    /// # Errors
    /// All that went wrong (`runtime.gc-continues-on-error`).
    pub fn gc(&self, name: &str, valid: Valid<'_>) -> Result<(), RuntimeError> {
        let network = self.load(name)?;
        if !self.policy.collects(&network.list) {
            return Ok(());
        }
        let run = self.run(&network, Operation::Gc)?;
        let _locks = self.lock(Operation::Gc, None)?;
        let (mut kept, mut errors) = (Vec::new(), Vec::new());
        for entry in self.cache.entries()?.into_iter().filter(|entry| entry.key().network() == name) {
            let attachment = Attachment {
                container_id: entry.key().container_id().to_owned(),
                ifname: entry.key().ifname().to_owned(),
            };
            let keeps = match valid {
                Valid::Alive => !self.policy.is_stale(&entry),
                Valid::Only(attachments) => attachments.contains(&attachment),
            };
            if keeps {
                kept.push(attachment);
            } else if let Err(error) = self.delete_entry(&entry, "") {
                errors.push(error);
            }
        }
        if let Valid::Only(attachments) = valid {
            kept = attachments.to_vec();
        }
        if self.policy.asks(Operation::Gc, &run.version)
            && let Err(error) = self.play_all(&run, None, None, &kept)
        {
            match error {
                RuntimeError::Several(all) => errors.extend(all),
                one => errors.push(one),
            }
        }
        self.cache.sweep()?;
        self.locks.sweep()?;
        one_or_several(errors)
    }

    /// Asks the plugins of a network whether they can serve (section "Getting the status of a network").
    ///
    /// # Errors
    /// The first plugin's that cannot, or is missing. Versions before 1.1.0 have no STATUS and always succeed
    /// (`status.version-gate`).
    pub fn status(&self, name: &str) -> Result<(), RuntimeError> {
        let network = self.load(name)?;
        let run = self.run(&network, Operation::Status)?;
        if !self.policy.asks(Operation::Status, &run.version) {
            return Ok(());
        }
        self.play_all(&run, None, None, &[])
    }

    /// Asks the plugins of a network which versions they support. One that cannot answer is taken for 0.1.0
    /// (`version.runtime-version-probe-fallback`).
    ///
    /// # Errors
    /// When a plugin is missing or cannot be executed.
    pub fn versions(&self, name: &str) -> Result<Supported, RuntimeError> {
        let network = self.load(name)?;
        let run = self.run(&network, Operation::Version)?;
        let mut plugins = Vec::new();
        for index in self.policy.order(Operation::Version, run.plugins()) {
            let input = self.policy.version_input(&run.version).to_string();
            let ended = self.execute(&run, index, None, input.as_bytes())?;
            let answer = serde_json::from_slice::<Value>(&ended.stdout).ok().filter(|_| ended.success());
            let supported = self.policy.supported(answer.and_then(|value| VersionResult::parse(&value).ok()));
            plugins.push((run.plugin(index).plugin_type().to_owned(), supported));
        }
        Ok(Supported { selected: run.version, plugins })
    }

    /// Prepares a run: the version, and every plugin's executable, so that nothing is executed when one is missing.
    fn run<'a>(&self, network: &'a Network, operation: Operation) -> Result<Run<'a>, RuntimeError> {
        let list = &network.list;
        let version = self.policy.select_version(list).ok_or_else(|| RuntimeError::NoCommonVersion {
            network: list.name().to_owned(),
            offered: list.versions().iter().map(AnyVersion::as_str).collect::<Vec<_>>().join(", "),
            known: Version::ALL.map(Version::as_str).join(", "),
        })?;
        let find = |plugin: &PluginConfig| self.policy.find(plugin.plugin_type(), &self.settings.plugin_path);
        let programs = list.plugins().iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let known = version.known().unwrap_or(Version::LATEST);
        Ok(Run { network, operation, version, known, programs })
    }

    fn lock(&self, operation: Operation, key: Option<&Key>) -> Result<Vec<Held>, RuntimeError> {
        let deadline = Instant::now() + self.settings.wait;
        let mut held = Vec::new();
        if let Some(key) = key.filter(|_| self.policy.locks_container(operation)) {
            held.push(self.locks.container(key.container_id(), deadline)?);
        }
        if let Some(sharing) = self.policy.sharing(operation) {
            held.push(self.locks.operations(sharing, deadline)?);
        }
        Ok(held)
    }

    /// Plays an operation without a result on every plugin.
    fn play_all(
        &self,
        run: &Run<'_>,
        attach: Option<&Attach>,
        cached: Option<&Value>,
        valid: &[Attachment],
    ) -> Result<(), RuntimeError> {
        let mut errors = Vec::new();
        for index in self.policy.order(run.operation, run.plugins()) {
            match self.play(run, index, attach, Chain { previous: None, cached }, valid) {
                Ok(_) => {}
                Err(error) if self.policy.halts_at_error(run.operation) => return Err(error),
                Err(error) => errors.push(error),
            }
        }
        one_or_several(errors)
    }

    /// Plays an operation on one plugin.
    fn play(
        &self,
        run: &Run<'_>,
        index: usize,
        attach: Option<&Attach>,
        chain: Chain<'_>,
        valid: &[Attachment],
    ) -> Result<Ended, RuntimeError> {
        let plugin = run.plugin(index);
        let offers = attach.map(|attach| self.policy.offers(run.operation, plugin, &attach.capability_args));
        let prev_result = self.policy.prev_result(run.operation, chain);
        let request = Request {
            operation: run.operation,
            version: &run.version,
            prev_result: prev_result.as_ref(),
            capability_args: offers.as_ref(),
            valid_attachments: valid,
        };
        let input = self.policy.request(&request, &run.network.list, plugin)?.to_string();
        let ended = self.execute(run, index, attach, input.as_bytes())?;
        if self.policy.succeeded(&ended) {
            Ok(ended)
        } else {
            Err(run.failed(index, self.policy.problem(&ended)))
        }
    }

    fn execute(
        &self,
        run: &Run<'_>,
        index: usize,
        attach: Option<&Attach>,
        input: &[u8],
    ) -> Result<Ended, RuntimeError> {
        let parameters = self.policy.parameters(run.operation, attach, &self.settings.plugin_path);
        let deadline = self.policy.deadline(self.settings.timeout);
        execute(&run.programs[index], &parameters, input, deadline, &self.policy.start(&parameters))
            .map_err(|problem| run.failed(index, problem))
    }

    fn result(&self, run: &Run<'_>, index: usize, ended: &Ended) -> Result<Value, RuntimeError> {
        self.policy
            .read_result(&ended.stdout, run.known)
            .map_err(|reason| run.failed(index, Problem::NoResult { reason, output: excerpt(&ended.stdout) }))
    }
}

/// Which attachments of a network GC leaves alone.
#[derive(Debug, Clone, Copy)]
pub enum Valid<'a> {
    /// Those in the cache that were added and whose namespace is still there.
    Alive,
    /// These and no others, as libcni has it.
    Only(&'a [Attachment]),
}

/// One operation on the plugins of a network.
struct Run<'a> {
    network: &'a Network,
    operation: Operation,
    version: AnyVersion,
    known: Version,
    programs: Vec<PathBuf>,
}

impl Run<'_> {
    fn plugins(&self) -> usize {
        self.programs.len()
    }

    fn plugin(&self, index: usize) -> &PluginConfig {
        &self.network.list.plugins()[index]
    }

    fn failed(&self, index: usize, problem: Problem) -> RuntimeError {
        let plugin = self.plugin(index).plugin_type().to_owned();
        let network = self.network.list.name().to_owned();
        Box::new(PluginError { plugin, network, operation: self.operation, problem }).into()
    }
}

/// A kept result in the version of a run (`runtime.prevresult-version`); as it is where it has that version.
fn in_version(value: &Value, version: Version) -> Result<Value, cni_spec::DocumentError> {
    let result = AddResult::parse(value, version)?;
    let same = result.cni_version.as_deref() == Some(version.as_str());
    Ok(if same { value.clone() } else { result.to_version(version).0 })
}

fn exists(key: &Key) -> RuntimeError {
    RuntimeError::AlreadyAttached {
        network: key.network().to_owned(),
        container_id: key.container_id().to_owned(),
        ifname: key.ifname().to_owned(),
    }
}

fn one_or_several(mut errors: Vec<RuntimeError>) -> Result<(), RuntimeError> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(RuntimeError::Several(errors)),
    }
}

/// Folders as `CNI_PATH` lists them (`param.path-format`).
fn shown(path: &[PathBuf]) -> String {
    path.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(":")
}
