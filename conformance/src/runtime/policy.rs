//! The decisions of the runtime, one a method.
//!
//! Each default method follows the specification; [`Standard`] has them all. A runtime with one deliberate defect
//! overrides one method, which is how the checks of runtimes are proven.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_spec::config::{NetworkList, PluginConfig, Request, RequestError, version_request};
use cni_spec::parameters::{self, Parameters, ValueError, Variable};
use cni_spec::result::{AddResult, VersionResult};
use cni_spec::version::{AnyVersion, negotiate};
use cni_spec::{Operation, Version, keys};
use serde_json::{Map, Value};

use super::cache::{Entry, Key, State};
use super::error::{FindError, Problem};
use super::execute::{Ended, Start};
use super::lock::Sharing;
use super::{Attach, shown};

/// What one run over the plugins of a list has to go on.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// ADD: what the plugin before this one returned; `None` for the first.
    pub previous: Option<&'a Value>,
    /// DEL and CHECK: the final result of the ADD.
    pub cached: Option<&'a Value>,
}

/// How a runtime decides.
pub trait Policy: Send + Sync {
    /// Reads a file as JSON: one document and nothing after it (`config.strict-json`).
    ///
    /// # Errors
    /// When it is no JSON.
    fn read_json(&self, text: &[u8]) -> serde_json::Result<Value> {
        serde_json::from_slice(text)
    }

    /// Names an attachment by names that are safe in a path (`runtime.validates-input-del-check`).
    ///
    /// # Errors
    /// Says which rule is broken.
    fn key(&self, network: &str, container_id: &str, ifname: &str) -> Result<Key, ValueError> {
        Key::new(network, container_id, ifname)
    }

    /// Whether a network may have this name (`config.name-charset`), by the rules of the newest version whatever its own.
    ///
    /// # Errors
    /// Says which rule is broken.
    fn check_network_name(&self, name: &str) -> Result<(), ValueError> {
        parameters::network_name(name, Version::LATEST)
    }

    /// Whether a plugin may have this type: one with a directory in it may not (`config.type-no-path-chars`).
    ///
    /// # Errors
    /// Says which rule is broken.
    fn check_type(&self, plugin_type: &str) -> Result<(), ValueError> {
        parameters::plugin_type(plugin_type, Version::LATEST)
    }

    /// Puts the files of a folder in the order in which they count: by name (`runtime.load-first-by-filename`,
    /// `runtime.aggregate-dir-layout`).
    fn files(&self, mut files: Vec<PathBuf>) -> Vec<PathBuf> {
        files.sort();
        files
    }

    /// Whether plugins of the network's folder belong to a list (`runtime.inlined-only-ignores-others`).
    fn takes_folder(&self, list: &NetworkList) -> bool {
        !list.load_only_inlined_plugins()
    }

    /// Appends the folder's plugins, after the inlined ones (`runtime.aggregate-appended`).
    fn append(&self, list: &mut NetworkList, plugins: Vec<PluginConfig>) {
        list.append(plugins);
    }

    /// Selects the version of a run: the highest that the runtime knows of those that the configuration offers
    /// (`version.runtime-selects-highest`, `version.runtime-ignores-unsupported`).
    fn select_version(&self, list: &NetworkList) -> Option<AnyVersion> {
        negotiate(list.versions(), &Version::ALL.map(AnyVersion::from))
    }

    /// What a plugin reads at VERSION (`version.input-object`).
    fn version_input(&self, version: &AnyVersion) -> Value {
        version_request(version)
    }

    /// The versions that a plugin supports by its answer to VERSION; one without an answer is taken for 0.1.0
    /// (`version.runtime-version-probe-fallback`).
    fn supported(&self, answer: Option<VersionResult>) -> Vec<String> {
        answer.map_or_else(|| vec![Version::V0_1_0.to_string()], |result| result.supported_versions)
    }

    /// Finds a plugin's executable: the first regular file of the type's name in the folders (`exec.lookup-by-type`,
    /// `exec.lookup-regular-file`). A type with a directory in it names none (`config.type-no-path-chars`).
    ///
    /// # Errors
    /// When the type is no file's name, or no folder has the file.
    fn find(&self, plugin_type: &str, path: &[PathBuf]) -> Result<PathBuf, FindError> {
        self.check_type(plugin_type)?;
        let candidates = path.iter().map(|folder| folder.join(plugin_type));
        candidates
            .into_iter()
            .find(|file| file.is_file())
            .ok_or_else(|| FindError::Missing { plugin: plugin_type.to_owned(), path: shown(path) })
    }

    /// The indices of the plugins in the order of execution: reversed for DEL (`runtime.del-reverse-order`), as listed
    /// otherwise (`runtime.add-order`, `runtime.check-order`, `runtime.gc-order`).
    fn order(&self, operation: Operation, plugins: usize) -> Vec<usize> {
        reversed_for_del(operation, plugins)
    }

    /// The networks that a container joins, of so many that it is to join, in the order in which it does: all of them, and
    /// reversed for DEL (`runtime.determine-networks`, `runtime.networks-del-reverse`).
    fn networks(&self, operation: Operation, networks: usize) -> Vec<usize> {
        reversed_for_del(operation, networks)
    }

    /// Whether a container is added to several networks at the same time (`runtime.networks-sequential`).
    fn networks_beside(&self) -> bool {
        false
    }

    /// The interface of the network after one whose interface is `before`: with the next number
    /// (`runtime.distinct-ifname-per-attachment`).
    fn next_interface(&self, before: &str) -> String {
        let stem = before.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = before[stem.len()..].parse::<u32>().ok().and_then(|number| number.checked_add(1));
        format!("{stem}{}", number.unwrap_or(1))
    }

    /// Whether a plugin's error ends the run: not that of GC (`runtime.add-halts-on-error`,
    /// `runtime.del-halts-on-error`, `runtime.check-halts-on-error`, `runtime.gc-continues-on-error`).
    fn halts_at_error(&self, operation: Operation) -> bool {
        operation != Operation::Gc
    }

    /// The capability arguments offered to a plugin; deriving the request leaves of them what the plugin declares
    /// (`runtime.runtimeconfig-intersection`).
    fn offers(
        &self,
        _operation: Operation,
        _plugin: &PluginConfig,
        arguments: &Map<String, Value>,
    ) -> Map<String, Value> {
        arguments.clone()
    }

    /// The `prevResult` of a plugin: for ADD that of the plugin before it, for DEL and CHECK that of the whole ADD
    /// (`runtime.inject-prevresult-add`, `runtime.prevresult-del`, `runtime.prevresult-check`).
    fn prev_result(&self, operation: Operation, chain: Chain<'_>) -> Option<Value> {
        match operation {
            Operation::Add => chain.previous.cloned(),
            _ => chain.cached.cloned(),
        }
    }

    /// What a plugin reads on stdin: see [`Request::derive`].
    ///
    /// # Errors
    /// When the version does not have the operation, or CHECK has no previous result.
    fn request(
        &self,
        request: &Request<'_>,
        list: &NetworkList,
        plugin: &PluginConfig,
    ) -> Result<Value, RequestError> {
        request.derive(list, plugin)
    }

    /// The variables of an execution; all others are inherited, and none of the protocol is (`exec.env-inherited`).
    /// Attachment parameters only go with ADD, DEL and CHECK (`runtime.gc-no-attachment-params`).
    fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.set(Variable::Command, operation.as_str());
        if let Some(attach) = attach.filter(|_| operation.is_attachment()) {
            parameters.set(Variable::ContainerId, attach.key.container_id());
            parameters.set(Variable::Netns, attach.netns.as_str());
            parameters.set(Variable::Ifname, attach.key.ifname());
            parameters.set(Variable::Args, attach.args.to_string());
        }
        if operation != Operation::Version {
            parameters.set(Variable::Path, shown(path));
        }
        parameters
    }

    /// What an execution is started with besides its parameters.
    fn start(&self, _parameters: &Parameters) -> Start {
        Start::default()
    }

    /// How long an execution may take (`exec.no-timeout-defined`).
    fn deadline(&self, given: Duration) -> Duration {
        given
    }

    /// What is told of an execution that failed (`runtime.error-surfaced`).
    fn problem(&self, ended: &Ended) -> Problem {
        ended.problem()
    }

    /// Whether an execution succeeded: its exit status alone says so (`exec.runtime-treats-nonzero-as-error`,
    /// `exec.runtime-ignores-stderr`, `exec.signal-death-is-error`).
    fn succeeded(&self, ended: &Ended) -> bool {
        ended.success()
    }

    /// Reads what ADD printed: the result, labelled with the selected version. A missing label is taken for that version,
    /// a result of another version is converted, one of an unknown version is refused (`runtime.result-version-mismatch`).
    /// A result of the selected version stays as it is (`runtime.prevresult-verbatim`).
    ///
    /// # Errors
    /// Says in a few words why it is no result (`runtime.invalid-result-is-error`).
    fn read_result(&self, stdout: &[u8], version: Version) -> Result<Value, String> {
        let mut value: Value =
            serde_json::from_slice(stdout).map_err(|error| format!("not JSON: {error}"))?;
        let result = AddResult::parse(&value, version).map_err(|error| error.to_string())?;
        match result.cni_version.as_deref() {
            Some(label) if label == version.as_str() => Ok(value),
            None | Some("") => {
                value[keys::CNI_VERSION] = version.as_str().into();
                Ok(value)
            }
            Some(_) => Ok(result.to_version(version).0),
        }
    }

    /// The folder of the cache: the `given` one (`cache.location`).
    fn cache(&self, given: &Path) -> PathBuf {
        given.to_owned()
    }

    /// Whether an entry is written before the first plugin runs, so that a crash loses nothing (`runtime.cleans-after-kill`).
    fn records_intent(&self) -> bool {
        true
    }

    /// The result that is kept of an ADD: that of the last plugin (`runtime.add-returns-final-result`, `runtime.store-result`).
    /// `first` is that of the first.
    fn kept_result(&self, _first: &Value, last: &Value) -> Option<Value> {
        Some(last.clone())
    }

    /// Whether a failed ADD is followed by a DEL (`runtime.del-after-failed-add`).
    fn cleans_up(&self) -> bool {
        true
    }

    /// Whether DEL goes to the plugins: whatever the attachment's state (`runtime.del-after-failed-add`).
    fn deletes(&self, _entry: &Entry) -> bool {
        true
    }

    /// Whether DEL uses the configuration of the ADD (`runtime.config-stable-add-del`).
    fn keeps_config(&self) -> bool {
        true
    }

    /// Whether DEL goes on where what is kept of the attachment cannot be read (`cache.corrupt-entry`).
    fn overlooks_damage(&self) -> bool {
        true
    }

    /// Whether an attachment is forgotten once its DEL has ended: only after success (`cache.del-on-success`,
    /// `cache.kept-on-failed-del`).
    fn forgets(&self, deleted: bool) -> bool {
        deleted
    }

    /// Whether another attachment stands in the way of an ADD: the same interface of the same container, from 1.0.0 on in
    /// any network (`runtime.attachment-identity`, `runtime.no-double-add`).
    fn stands_in_the_way(&self, other: &Entry, attach: &Attach, version: &AnyVersion) -> bool {
        let (theirs, ours) = (other.key(), &attach.key);
        let same = (theirs.container_id(), theirs.ifname()) == (ours.container_id(), ours.ifname());
        same && (version.at_least(Version::V1_0_0) || theirs.network() == ours.network())
    }

    /// Whether CHECK is to be played at all: not where the configuration forbids it (`check.runtime-disablecheck`).
    fn checks(&self, list: &NetworkList) -> bool {
        !list.disable_check()
    }

    /// Whether an attachment can be checked: only after its ADD, and before its DEL (`check.runtime-after-add-only`).
    fn checkable(&self, state: Option<State>) -> bool {
        state == Some(State::Added)
    }

    /// Whether garbage is collected at all: not where the configuration forbids it (`gc.runtime-disablegc`).
    fn collects(&self, list: &NetworkList) -> bool {
        !list.disable_gc()
    }

    /// Whether a version has an operation, so that plugins are asked (`runtime.gc-not-below-110`, `status.version-gate`).
    fn asks(&self, operation: Operation, version: &AnyVersion) -> bool {
        version.at_least(operation.since())
    }

    /// Whether an attachment is garbage: its ADD or DEL was never finished, or its namespace has gone
    /// (`gc.runtime-del-stale-first`). One whose namespace nobody recorded is none.
    fn is_stale(&self, entry: &Entry) -> bool {
        entry.state() != State::Added || !(entry.netns().is_empty() || entry.namespace_lives())
    }

    /// The `CNI_NETNS` of a DEL: that of the ADD, and none when another namespace has taken its path
    /// (`del.same-params-as-add`, `param.netns-optional-del`). Where the ADD's is not recorded, the `given` one.
    fn netns_for_del(&self, entry: &Entry, given: &str) -> String {
        match entry.netns() {
            "" => given.to_owned(),
            _ if entry.namespace_replaced() => String::new(),
            recorded => recorded.to_owned(),
        }
    }

    /// The `CNI_NETNS` of a CHECK: that of the ADD (`check.same-params-as-add`). Where that is not recorded, the `given` one.
    fn netns_for_check(&self, entry: &Entry, given: &str) -> String {
        let recorded = entry.netns();
        if recorded.is_empty() { given } else { recorded }.to_owned()
    }

    /// Whether the namespace that was made for a container goes with it (`runtime.netns-cleanup`).
    fn removes_namespace(&self) -> bool {
        true
    }

    /// How an operation shares the runtime with others: GC not at all (`gc.runtime-exclusive`). STATUS and VERSION change
    /// nothing and need no lock.
    fn sharing(&self, operation: Operation) -> Option<Sharing> {
        match operation {
            Operation::Gc => Some(Sharing::Exclusive),
            Operation::Add | Operation::Del | Operation::Check => Some(Sharing::Shared),
            Operation::Status | Operation::Version => None,
        }
    }

    /// Whether an operation has its container to itself (`runtime.no-parallel-same-container`).
    fn locks_container(&self, operation: Operation) -> bool {
        operation.is_attachment()
    }

    /// Whether the namespace of an ADD is there (`runtime.netns-created-first`).
    fn namespace_exists(&self, netns: &str) -> bool {
        Path::new(netns).exists()
    }
}

/// The indices of so many, the last one first for DEL.
fn reversed_for_del(operation: Operation, count: usize) -> Vec<usize> {
    match operation {
        Operation::Del => (0..count).rev().collect(),
        _ => (0..count).collect(),
    }
}

/// The runtime as the specification wants it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standard;

impl Policy for Standard {}
