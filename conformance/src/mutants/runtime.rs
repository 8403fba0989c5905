//! Runtimes with one defect each: cnitest's own, which decides one thing otherwise.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_spec::config::{NetworkList, PluginConfig, Request, RequestError};
use cni_spec::parameters::{Parameters, ValueError, Variable};
use cni_spec::result::{AddResult, VersionResult};
use cni_spec::version::AnyVersion;
use cni_spec::{Operation, Version, keys};
use serde_json::{Map, Value, json};

use super::{Mutant, Play};
use crate::runtime::Attach;
use crate::runtime::cache::{Entry, Key, State};
use crate::runtime::error::{FindError, Problem};
use crate::runtime::execute::{Ended, Start};
use crate::runtime::lock::Sharing;
use crate::runtime::policy::{Chain, Policy, Standard};

/// A runtime that decides otherwise; `base` is the adapter's name.
const fn runtime(
    name: &'static str,
    breaks: &'static [&'static str],
    about: &'static str,
    policy: fn() -> Box<dyn Policy>,
) -> Mutant {
    Mutant {
        name,
        base: "cnitest",
        breaks,
        about,
        target: None,
        bare: false,
        also_in: None,
        play: Play::Runtime(policy),
    }
}

/// The mutants, each with what it decides otherwise.
macro_rules! runtimes {
    ($($name:literal, $breaks:expr, $about:literal { $($method:item)* })*) => {
        pub(super) const MUTANTS: &[Mutant] = &[$(
            runtime($name, &$breaks, $about, || {
                struct Broken;
                impl Policy for Broken { $($method)* }
                Box::new(Broken)
            }),
        )*];
    };
}

/// The operations in order, or reversed for one of them.
fn reversed(which: Operation, operation: Operation, plugins: usize) -> Vec<usize> {
    let mut order = Standard.order(operation, plugins);
    if operation == which {
        order.reverse();
    }
    order
}

/// A request that is changed afterwards.
fn changed(
    request: &Request<'_>,
    list: &NetworkList,
    plugin: &PluginConfig,
    change: impl FnOnce(&mut Map<String, Value>),
) -> Result<Value, RequestError> {
    let mut derived = Standard.request(request, list, plugin)?;
    if let Some(object) = derived.as_object_mut() {
        change(object);
    }
    Ok(derived)
}

/// Parameters with one of another value.
fn with(
    variable: Variable,
    value: &str,
    operation: Operation,
    attach: Option<&Attach>,
    path: &[PathBuf],
) -> Parameters {
    let mut parameters = Standard.parameters(operation, attach, path);
    parameters.set(variable, value);
    parameters
}

/// A result without what the caller reads first.
fn without_dns(mut result: Value) -> Value {
    if let Some(object) = result.as_object_mut() {
        object.remove("dns");
    }
    result
}

/// Numbers as floating point holds them.
fn as_floating_point(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(rounded) = number.as_f64().and_then(serde_json::Number::from_f64) {
                *number = rounded;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(as_floating_point),
        Value::Object(object) => object.values_mut().for_each(as_floating_point),
        _ => {}
    }
}

/// The members of an object whose names are to stay.
fn only(object: &Map<String, Value>, stays: impl Fn(&str) -> bool) -> Map<String, Value> {
    object.iter().filter(|(name, _)| stays(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// An object with other values.
fn each(object: &Map<String, Value>, change: impl Fn(&Value) -> Value) -> Map<String, Value> {
    object.iter().map(|(name, value)| (name.clone(), change(value))).collect()
}

/// A value with keys that begin with a capital.
fn with_capitals(value: &Value) -> Value {
    let capital = |key: &str| {
        let mut rest = key.chars();
        rest.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + rest.as_str())
    };
    match value {
        Value::Object(object) => {
            object.iter().map(|(key, value)| (capital(key), with_capitals(value))).collect()
        }
        Value::Array(items) => items.iter().map(with_capitals).collect(),
        value => value.clone(),
    }
}

/// The list with other plugins, and open to more.
fn reopened(list: &NetworkList, plugins: Vec<PluginConfig>) -> Option<NetworkList> {
    let mut value = list.to_value();
    value[keys::LOAD_ONLY_INLINED_PLUGINS] = false.into();
    value[keys::PLUGINS] = plugins.into_iter().map(|plugin| Value::Object(plugin.fields().clone())).collect();
    NetworkList::parse(&value).ok()
}

runtimes! {
    "runtime-add-reversed", ["runtime.add-order", "config.plugins-order-significant"], "executes ADD from the last plugin to the first" {
        fn order(&self, operation: Operation, plugins: usize) -> Vec<usize> {
            reversed(Operation::Add, operation, plugins)
        }
    }
    "runtime-del-forward", ["runtime.del-reverse-order"], "executes DEL in the order of the list" {
        fn order(&self, operation: Operation, plugins: usize) -> Vec<usize> {
            reversed(Operation::Del, operation, plugins)
        }
    }
    "runtime-leaves-del-to-gc", ["gc.runtime-not-del-substitute"], "executes no plugin at DEL: the next GC will find what is left" {
        fn order(&self, operation: Operation, plugins: usize) -> Vec<usize> {
            let count = if operation == Operation::Del { 0 } else { plugins };
            Standard.order(operation, count)
        }
    }
    "runtime-strict-keys", ["config.semver-compat"], "refuses keys that came after the version of a network" {
        fn read_json(&self, text: &[u8]) -> serde_json::Result<Value> {
            let value: Value = serde_json::from_slice(text)?;
            if value[keys::CNI_VERSION] == "1.0.0" && value.get(keys::DISABLE_GC).is_some() {
                return Err(serde::de::Error::unknown_field(keys::DISABLE_GC, &[]));
            }
            Ok(value)
        }
    }
    "runtime-names-the-container-anywhere", ["config.args-holds-varying-data", "runtime.config-stable-attachments"], "writes the time of the request into the plugin's object" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            changed(request, list, plugin, |object| {
                object.insert("askedAt".to_owned(), clock.as_nanos().to_string().into());
            })
        }
    }
    "runtime-passes-over-nameless-types", ["config.type-required"], "passes over plugin objects without a type" {
        fn read_json(&self, text: &[u8]) -> serde_json::Result<Value> {
            let mut value: Value = serde_json::from_slice(text)?;
            if let Some(plugins) = value.get_mut(keys::PLUGINS).and_then(Value::as_array_mut) {
                plugins.retain(|plugin| plugin[keys::TYPE].as_str().is_some_and(|name| !name.is_empty()));
            }
            Ok(value)
        }
    }
    "runtime-takes-one-plugin-for-a-list", ["config.plugins-type"], "takes a single plugin object for a list of one" {
        fn read_json(&self, text: &[u8]) -> serde_json::Result<Value> {
            let mut value: Value = serde_json::from_slice(text)?;
            if let Some(plugins) = value.get_mut(keys::PLUGINS).filter(|plugins| plugins.is_object()) {
                *plugins = json!([plugins.take()]);
            }
            Ok(value)
        }
    }
    "runtime-takes-a-list-of-one", ["config.root-is-object"], "takes the first item of a list for the network" {
        fn read_json(&self, text: &[u8]) -> serde_json::Result<Value> {
            let value: Value = serde_json::from_slice(text)?;
            Ok(value.get(0).cloned().unwrap_or(value))
        }
    }
    "runtime-names-the-nameless", ["config.name-required"], "gives a network without a name the one that is looked for" {
        fn read_json(&self, text: &[u8]) -> serde_json::Result<Value> {
            let mut value: Value = serde_json::from_slice(text)?;
            if let Some(object) = value.as_object_mut().filter(|object| object.contains_key(keys::PLUGINS)) {
                object.entry(keys::NAME).or_insert_with(|| "spynet".into());
            }
            Ok(value)
        }
    }
    "runtime-collects-for-nobody", ["config.loadonlyinlined-needs-plugins"], "collects plugins for a network that has none and wants no others" {
        fn read_json(&self, text: &[u8]) -> serde_json::Result<Value> {
            let mut value: Value = serde_json::from_slice(text)?;
            if value.get(keys::PLUGINS).is_none() && value.get(keys::LOAD_ONLY_INLINED_PLUGINS).is_some() {
                value[keys::LOAD_ONLY_INLINED_PLUGINS] = false.into();
            }
            Ok(value)
        }
    }
    "runtime-version-of-the-plugin", ["config.cniversion-covers-all-plugins"], "leaves a plugin the version that its object names" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                if let Some(version) = plugin.fields().get(keys::CNI_VERSION) {
                    object.insert(keys::CNI_VERSION.to_owned(), version.clone());
                }
            })
        }
    }
    "runtime-check-reversed", ["runtime.check-order"], "executes CHECK in reverse" {
        fn order(&self, operation: Operation, plugins: usize) -> Vec<usize> {
            reversed(Operation::Check, operation, plugins)
        }
    }
    "runtime-gc-reversed", ["runtime.gc-order"], "executes GC in reverse" {
        fn order(&self, operation: Operation, plugins: usize) -> Vec<usize> {
            reversed(Operation::Gc, operation, plugins)
        }
    }
    "runtime-status-reversed", ["status.version-gate"], "executes STATUS in reverse" {
        fn order(&self, operation: Operation, plugins: usize) -> Vec<usize> {
            reversed(Operation::Status, operation, plugins)
        }
    }
    "runtime-del-not-all", ["runtime.del-reverse-order"], "leaves out the first plugin at DEL" {
        fn order(&self, operation: Operation, plugins: usize) -> Vec<usize> {
            let skipped = usize::from(operation == Operation::Del && plugins > 1);
            Standard.order(operation, plugins).into_iter().filter(|index| *index >= skipped).collect()
        }
    }
    "runtime-add-goes-on", ["runtime.add-halts-on-error"], "goes on with ADD after a plugin has failed" {
        fn halts_at_error(&self, operation: Operation) -> bool {
            !matches!(operation, Operation::Add | Operation::Gc)
        }
    }
    "runtime-del-goes-on", ["runtime.del-halts-on-error"], "goes on with DEL after a plugin has failed" {
        fn halts_at_error(&self, operation: Operation) -> bool {
            !matches!(operation, Operation::Del | Operation::Gc)
        }
    }
    "runtime-check-goes-on", ["runtime.check-halts-on-error"], "goes on with CHECK after a plugin has failed" {
        fn halts_at_error(&self, operation: Operation) -> bool {
            !matches!(operation, Operation::Check | Operation::Gc)
        }
    }
    "runtime-gc-stops", ["runtime.gc-continues-on-error"], "ends GC at the first plugin that fails" {
        fn halts_at_error(&self, _operation: Operation) -> bool {
            true
        }
    }
    "runtime-no-clean-up", ["runtime.del-after-failed-add", "runtime.del-after-failed-add-all-plugins"], "executes no DEL after an ADD that failed" {
        fn cleans_up(&self) -> bool {
            false
        }
    }
    "runtime-deletes-whole-only", ["runtime.add-followed-by-del"], "forgets an attachment whose ADD was never finished instead of deleting it" {
        fn deletes(&self, entry: &Entry) -> bool {
            entry.state() == State::Added
        }
    }
    "runtime-forgets-the-lost", ["runtime.add-followed-by-del"], "forgets an attachment whose namespace has gone instead of deleting it" {
        fn deletes(&self, entry: &Entry) -> bool {
            entry.namespace_lives()
        }
    }
    "runtime-forgets-at-boot", ["practice.del-after-reboot"], "forgets at a reboot what was attached" {
        fn namespace_exists(&self, netns: &str) -> bool {
            let _ = fs::write("/run/booted", netns);
            Standard.namespace_exists(netns)
        }
        fn deletes(&self, _entry: &Entry) -> bool {
            Path::new("/run/booted").exists()
        }
    }
    "runtime-names-the-replaced", ["practice.del-names-no-other-namespace"], "names at DEL whatever namespace has the path" {
        fn netns_for_del(&self, entry: &Entry, _given: &str) -> String {
            entry.netns().to_owned()
        }
    }
    "runtime-keeps-namespaces", ["runtime.netns-cleanup"], "leaves the namespace that it made for a container" {
        fn removes_namespace(&self) -> bool {
            false
        }
    }
    "runtime-holds-namespaces", ["practice.failed-add-leaves-nothing"], "keeps a mount of each namespace that it has added" {
        fn namespace_exists(&self, netns: &str) -> bool {
            let held = format!("{netns}-held");
            let _ = fs::write(&held, "");
            let _ = nix::mount::mount(Some(netns), held.as_str(), None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>);
            Standard.namespace_exists(netns)
        }
    }
    "runtime-del-begun-is-done", ["runtime.cleans-after-kill"], "takes a DEL that was begun for one that is done" {
        fn deletes(&self, entry: &Entry) -> bool {
            entry.state() != State::Deleting
        }
    }
    "runtime-checks-old-networks", ["check.runtime-version-gate"], "takes a network of a version before 0.4.0 for one of 0.4.0" {
        fn select_version(&self, list: &NetworkList) -> Option<AnyVersion> {
            let selected = Standard.select_version(list)?;
            Some(if selected.at_least(Version::V0_4_0) { selected } else { Version::V0_4_0.into() })
        }
    }
    "runtime-knows-every-version", ["version.runtime-none-supported-errors"], "takes a network of versions that it does not know for one of its newest" {
        fn select_version(&self, list: &NetworkList) -> Option<AnyVersion> {
            Standard.select_version(list).or(Some(Version::LATEST.into()))
        }
    }
    "runtime-checks-on-demand", ["config.disablecheck-optional"], "sends CHECK only where the network says that it may" {
        fn checks(&self, list: &NetworkList) -> bool {
            list.to_value().get(keys::DISABLE_CHECK).is_some() && Standard.checks(list)
        }
    }
    "runtime-needs-versions", ["config.cniversions-optional"], "takes a network without cniVersions for one of 0.3.0" {
        fn select_version(&self, list: &NetworkList) -> Option<AnyVersion> {
            match list.to_value().get(keys::CNI_VERSIONS) {
                Some(_) => Standard.select_version(list),
                None => Some(Version::V0_3_0.into()),
            }
        }
    }
    "runtime-conventions-in-capitals", [
        "conv.portmappings", "conv.ipranges", "conv.bandwidth", "conv.dns",
    ], "writes the keys of capability arguments with a capital" {
        fn offers(&self, _operation: Operation, _plugin: &PluginConfig, arguments: &Map<String, Value>) -> Map<String, Value> {
            each(arguments, with_capitals)
        }
    }
    "runtime-conventions-in-other-forms", [
        "conv.ips", "conv.mac", "conv.infinibandguid", "conv.deviceid", "conv.aliases", "conv.cgrouppath",
    ], "passes texts and lists of texts in another form" {
        fn offers(&self, _operation: Operation, _plugin: &PluginConfig, arguments: &Map<String, Value>) -> Map<String, Value> {
            let other = |value: &Value| match value {
                Value::String(text) => json!([text]),
                Value::Array(items) if items.iter().all(Value::is_string) => json!({ "items": items }),
                value => value.clone(),
            };
            each(arguments, other)
        }
    }
    "runtime-host-address-a-list", ["conv.portmappings-hostip"], "sends the address of a mapping as a list" {
        fn offers(&self, _operation: Operation, _plugin: &PluginConfig, arguments: &Map<String, Value>) -> Map<String, Value> {
            let mut arguments = arguments.clone();
            for mapping in arguments.get_mut("portMappings").and_then(Value::as_array_mut).into_iter().flatten() {
                mapping["hostIP"] = json!([mapping["hostIP"]]);
            }
            arguments
        }
    }
    "runtime-conventions-unheard-of", ["conv.follow-runtime", "conv.runtimeconfig-for-dynamic"], "passes on no capability argument of the conventions" {
        fn offers(&self, _operation: Operation, _plugin: &PluginConfig, arguments: &Map<String, Value>) -> Map<String, Value> {
            only(arguments, |name| name.contains("vendor"))
        }
    }
    "runtime-mac-in-args", ["param.args-deprecated"], "passes on the hardware address in CNI_ARGS" {
        fn offers(&self, _operation: Operation, _plugin: &PluginConfig, arguments: &Map<String, Value>) -> Map<String, Value> {
            only(arguments, |name| name != "mac")
        }
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            let mac = attach.and_then(|attach| attach.capability_args.get("mac")).and_then(Value::as_str);
            match mac {
                Some(mac) => with(Variable::Args, &format!("MAC={mac}"), operation, attach, path),
                None => Standard.parameters(operation, attach, path),
            }
        }
    }
    "runtime-commands-in-full", [
        "param.command-values-010", "param.command-values-020", "param.command-values-040", "param.command-values-110",
    ], "says DELETE for DEL" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            match operation {
                Operation::Del => with(Variable::Command, "DELETE", operation, attach, path),
                _ => Standard.parameters(operation, attach, path),
            }
        }
    }
    "runtime-of-yesterday", ["version.runtime-multi"], "refuses networks of 1.1.0" {
        fn select_version(&self, list: &NetworkList) -> Option<AnyVersion> {
            Standard.select_version(list).filter(|version| !version.at_least(Version::V1_1_0))
        }
    }
    "runtime-falls-over-indices", ["runtime.interface-index-range"], "dies of an address whose interface is not there" {
        fn read_result(&self, stdout: &[u8], version: Version) -> Result<Value, String> {
            let result = Standard.read_result(stdout, version)?;
            let interfaces = result["interfaces"].as_array().map_or(0, Vec::len);
            let beyond = |address: &Value| address["interface"].as_u64().is_some_and(|index| index as usize >= interfaces);
            if interfaces > 0 && result["ips"].as_array().into_iter().flatten().any(beyond) {
                std::process::abort();
            }
            Ok(result)
        }
    }
    "runtime-converts-nothing", ["result.conversion-up"], "refuses results in the form of another version" {
        fn read_result(&self, stdout: &[u8], version: Version) -> Result<Value, String> {
            let value: Value = serde_json::from_slice(stdout).map_err(|error| error.to_string())?;
            match value.get(keys::CNI_VERSION).and_then(Value::as_str) {
                Some(label) if label != version.as_str() => Err(format!("a result of {label}")),
                _ => Standard.read_result(stdout, version),
            }
        }
    }
    "runtime-result-relabelled", ["runtime.prevresult-version"], "gives CHECK and DEL the result with the label of 0.3.0" {
        fn prev_result(&self, operation: Operation, chain: Chain<'_>) -> Option<Value> {
            let mut result = Standard.prev_result(operation, chain)?;
            if operation != Operation::Add {
                result[keys::CNI_VERSION] = Version::V0_3_0.as_str().into();
            }
            Some(result)
        }
    }
    "runtime-silent-at-version", ["version.input-object"], "asks for VERSION with an empty object" {
        fn version_input(&self, _version: &AnyVersion) -> Value {
            json!({})
        }
    }
    "runtime-trusts-the-silent", ["version.runtime-version-probe-fallback"], "takes a plugin that cannot tell its versions for one of all" {
        fn supported(&self, answer: Option<VersionResult>) -> Vec<String> {
            answer.map_or_else(|| Version::ALL.iter().map(Version::to_string).collect(), |result| result.supported_versions)
        }
    }
    "runtime-makes-lists", ["config.single-plugin-form-removed"], "makes a list of a single plugin object, whatever its version" {
        fn read_json(&self, text: &[u8]) -> serde_json::Result<Value> {
            let value = Standard.read_json(text)?;
            let single = value.get(keys::PLUGINS).is_none() && value.get(keys::TYPE).is_some() && value.get(keys::NAME).is_some();
            Ok(match single {
                true => json!({ "cniVersion": value[keys::CNI_VERSION], "name": value[keys::NAME], "plugins": [value] }),
                false => value,
            })
        }
    }
    "runtime-args-flat", ["conv.args-cni-namespace", "conv.args-labels", "conv.args-ips"], "takes what stands below args.cni out of it" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                if let Some(args) = object.get_mut("args")
                    && let Some(cni) = args.get("cni").cloned()
                {
                    *args = cni;
                }
            })
        }
    }
    "runtime-remembers-networks", ["practice.networks-of-the-moment"], "goes on with networks whose files have gone" {
        fn files(&self, files: Vec<PathBuf>) -> Vec<PathBuf> {
            let memory = Path::new("/run/networks");
            let _ = fs::create_dir_all(memory);
            for file in &files {
                let _ = fs::copy(file, memory.join(file.file_name().unwrap_or_default()));
            }
            let known = |path: &PathBuf| files.iter().any(|file| file.file_name() == path.file_name());
            let kept = fs::read_dir(memory).into_iter().flatten().flatten().map(|entry| entry.path());
            let gone: Vec<PathBuf> = kept.filter(|path| !known(path)).collect();
            Standard.files(files).into_iter().chain(gone).collect()
        }
    }
    "runtime-forgets-at-once", ["cache.kept-on-failed-del"], "forgets an attachment though its DEL has failed" {
        fn forgets(&self, _deleted: bool) -> bool {
            true
        }
    }
    "runtime-never-forgets", ["cache.del-on-success"], "keeps an attachment after its DEL" {
        fn forgets(&self, _deleted: bool) -> bool {
            false
        }
    }
    "runtime-keeps-first-result", ["runtime.prevresult-check", "check.runtime-prevresult", "runtime.prevresult-del"], "keeps the result of the first plugin" {
        fn kept_result(&self, first: &Value, _last: &Value) -> Option<Value> {
            Some(first.clone())
        }
    }
    "runtime-keeps-no-result", ["runtime.store-result", "runtime.prevresult-del"], "keeps no result" {
        fn kept_result(&self, _first: &Value, _last: &Value) -> Option<Value> {
            None
        }
    }
    "runtime-result-of-anybody", ["cache.key-collision"], "takes the result of whatever attachment it finds first" {
        fn prev_result(&self, operation: Operation, chain: Chain<'_>) -> Option<Value> {
            let own = Standard.prev_result(operation, chain)?;
            if operation == Operation::Add {
                return Some(own);
            }
            let mut files: Vec<PathBuf> =
                fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            files.sort();
            let read = |file: &PathBuf| serde_json::from_slice::<Value>(&fs::read(file).ok()?).ok();
            files.iter().find_map(read).and_then(|entry| entry.get("result").cloned()).or(Some(own))
        }
    }
    "runtime-no-chain", ["runtime.inject-prevresult-add"], "gives no ADD the result before it" {
        fn prev_result(&self, operation: Operation, chain: Chain<'_>) -> Option<Value> {
            Standard.prev_result(operation, chain).filter(|_| operation != Operation::Add)
        }
    }
    "runtime-no-result-at-del", ["runtime.prevresult-del"], "gives no DEL the result" {
        fn prev_result(&self, operation: Operation, chain: Chain<'_>) -> Option<Value> {
            Standard.prev_result(operation, chain).filter(|_| operation != Operation::Del)
        }
    }
    "runtime-result-reduced", ["runtime.prevresult-verbatim"], "passes on of a result only what it knows" {
        fn prev_result(&self, operation: Operation, chain: Chain<'_>) -> Option<Value> {
            let own = Standard.prev_result(operation, chain)?;
            let known = ["cniVersion", "interfaces", "ips", "routes", "dns"];
            let kept = own.as_object()?.iter().filter(|(key, _)| known.contains(&key.as_str()));
            Some(Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect()))
        }
    }
    "runtime-result-in-old-lists", ["runtime.no-prevresult-del-legacy"], "gives DEL the result in versions that have none" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                if let Some(result) = request.prev_result {
                    object.insert(keys::PREV_RESULT.to_owned(), result.clone());
                }
            })
        }
    }
    "runtime-static-result", ["runtime.no-prevresult-first-add"], "passes the file's prevResult to the first plugin" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                if let Some(result) = plugin.fields().get(keys::PREV_RESULT) {
                    object.entry(keys::PREV_RESULT).or_insert(result.clone());
                }
            })
        }
    }
    "runtime-result-for-gc", ["runtime.no-prevresult-gc-status"], "gives GC and STATUS a result" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                if matches!(request.operation, Operation::Gc | Operation::Status) {
                    object.insert(keys::PREV_RESULT.to_owned(), json!({}));
                }
            })
        }
    }
    "runtime-other-final-result", ["runtime.add-returns-final-result"], "loses what the last plugin returned" {
        fn read_result(&self, stdout: &[u8], version: Version) -> Result<Value, String> {
            Standard.read_result(stdout, version).map(without_dns)
        }
    }
    "runtime-capabilities-passed", ["runtime.capabilities-removed"], "leaves the capabilities in the request" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                if let Some(declared) = plugin.fields().get(keys::CAPABILITIES) {
                    object.insert(keys::CAPABILITIES.to_owned(), declared.clone());
                }
            })
        }
    }
    "runtime-capabilities-for-all", ["runtime.runtimeconfig-intersection", "runtime.runtimeconfig-per-plugin"], "gives every plugin all capability arguments" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                if let Some(all) = request.capability_args.filter(|all| !all.is_empty()) {
                    object.insert(keys::RUNTIME_CONFIG.to_owned(), all.clone().into());
                }
            })
        }
    }
    "runtime-capabilities-for-gc", ["runtime.runtimeconfig-attachment-ops-only"], "gives GC a runtimeConfig" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                if request.operation == Operation::Gc {
                    object.insert(keys::RUNTIME_CONFIG.to_owned(), json!({ "mac": "02:00:00:00:00:01" }));
                }
            })
        }
    }
    "runtime-capabilities-empty", ["runtime.runtimeconfig-empty"], "sends a runtimeConfig with nothing but null where nothing is offered" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                object.entry(keys::RUNTIME_CONFIG).or_insert(Value::Null);
            })
        }
    }
    "runtime-capabilities-ignored", ["runtime.inject-runtimeconfig"], "passes on no capability arguments" {
        fn offers(&self, _operation: Operation, _plugin: &PluginConfig, _arguments: &Map<String, Value>) -> Map<String, Value> {
            Map::new()
        }
    }
    "runtime-capabilities-known", ["conv.unknown-capability"], "passes on the capabilities that it has heard of" {
        fn offers(&self, _operation: Operation, _plugin: &PluginConfig, arguments: &Map<String, Value>) -> Map<String, Value> {
            let known = ["portMappings", "mac", "bandwidth"];
            only(arguments, |name| known.contains(&name))
        }
    }
    "runtime-capabilities-at-add", ["runtime.check-same-attachment-params", "runtime.inject-runtimeconfig"], "passes on capability arguments at ADD alone" {
        fn offers(&self, operation: Operation, _plugin: &PluginConfig, arguments: &Map<String, Value>) -> Map<String, Value> {
            if operation == Operation::Add { arguments.clone() } else { Map::new() }
        }
    }
    "runtime-unknown-dropped", ["runtime.passthrough-unknown"], "passes on of a configuration only what it knows" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| object.retain(|key, _| key != "vendorExtension"))
        }
    }
    "runtime-known-dropped", ["runtime.other-fields-unaltered"], "loses the dns of a plugin" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| object.retain(|key, _| key != "dns"))
        }
    }
    "runtime-floating-point", ["runtime.passthrough-number-precision"], "reads every number as floating point" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                let own = object.iter_mut().filter(|(key, _)| *key != keys::PREV_RESULT);
                own.for_each(|(_, value)| as_floating_point(value));
            })
        }
    }
    "runtime-name-of-plugin", ["runtime.name-cniversion-replaced", "version.runtime-single-version-per-run"], "leaves name and version of a plugin's object as they are" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                for key in [keys::NAME, keys::CNI_VERSION] {
                    if let Some(own) = plugin.fields().get(key) {
                        object.insert(key.to_owned(), own.clone());
                    }
                }
            })
        }
    }
    "runtime-no-version", ["runtime.inject-cniversion", "version.runtime-requests-version"], "sends no cniVersion" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| object.retain(|key, _| key != keys::CNI_VERSION))
        }
    }
    "runtime-no-name", ["runtime.inject-name"], "sends no name" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| object.retain(|key, _| key != keys::NAME))
        }
    }
    "runtime-no-type", ["runtime.type-kept"], "sends no type" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| object.retain(|key, _| key != keys::TYPE))
        }
    }
    "runtime-status-bare", ["status.input-config"], "sends STATUS an object without name and version" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                object.retain(|key, _| request.operation != Operation::Status || key == keys::TYPE);
            })
        }
    }
    "runtime-whole-list", ["runtime.list-level-keys-not-sent"], "sends the keys of the list too" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                object.insert(keys::DISABLE_CHECK.to_owned(), list.disable_check().into());
            })
        }
    }
    "runtime-reserved-passed", ["runtime.cnidev-not-forwarded", "runtime.no-valid-attachments-elsewhere"], "passes on the cni.dev/ keys of the file" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                for (key, value) in plugin.fields().iter().filter(|(key, _)| key.starts_with(keys::RESERVED_PREFIX)) {
                    object.entry(key.clone()).or_insert(value.clone());
                }
            })
        }
    }
    "runtime-no-configuration", ["exec.stdin-carries-config"], "sends a list where the configuration should be" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            Standard.request(request, list, plugin).map(|object| json!([object]))
        }
    }
    "runtime-gc-key-of-old", ["gc.runtime-valid-attachments"], "names the valid attachments as libcni 1.2.0 did" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| object.retain(|key, _| key != keys::VALID_ATTACHMENTS))
        }
    }
    "runtime-gc-one-key", ["gc.runtime-attachments-alias"], "sends the valid attachments under one name" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| object.retain(|key, _| key != keys::VALID_ATTACHMENTS_TAGGED))
        }
    }
    "runtime-gc-other-spelling", ["gc.attachment-containerid", "gc.attachment-ifname"], "spells the keys of a valid attachment otherwise" {
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            changed(request, list, plugin, |object| {
                for key in [keys::VALID_ATTACHMENTS, keys::VALID_ATTACHMENTS_TAGGED] {
                    for entry in object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
                        *entry = json!({ "containerId": entry[keys::CONTAINER_ID], "ifName": entry[keys::IFNAME] });
                    }
                }
            })
        }
    }
    "runtime-no-command", ["param.command-required"], "does not say the operation" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            with(Variable::Command, "", operation, attach, path)
        }
    }
    "runtime-no-container-id", ["runtime.containerid-set", "param.containerid-nonempty"], "does not say the container's ID" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            with(Variable::ContainerId, "", operation, attach, path)
        }
    }
    "runtime-one-container-id", ["param.containerid-unique"], "gives every container the same ID" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            with(Variable::ContainerId, "container", operation, attach, path)
        }
    }
    "runtime-odd-container-id", ["param.containerid-first-char", "param.containerid-charset"], "puts a character before the container's ID that none may have" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            let id = attach.map(|attach| format!("/{}", attach.key.container_id())).unwrap_or_default();
            with(Variable::ContainerId, &id, operation, attach, path)
        }
    }
    "runtime-no-ifname", ["runtime.ifname-set", "param.ifname-required", "param.ifname-linux-rules"], "does not say the interface's name" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            with(Variable::Ifname, "", operation, attach, path)
        }
    }
    "runtime-no-netns", ["runtime.netns-set", "param.netns-required-add-check"], "does not say the namespace" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            with(Variable::Netns, "", operation, attach, path)
        }
    }
    "runtime-netns-elsewhere", ["runtime.netns-created-first", "param.netns-reference"], "names a namespace that does not exist yet" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            with(Variable::Netns, "/run/netns/later", operation, attach, path)
        }
    }
    "runtime-netns-gone", ["runtime.netns-outlives-del"], "names a namespace at DEL that is gone" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            match operation {
                Operation::Del => with(Variable::Netns, "/run/netns/gone", operation, attach, path),
                _ => Standard.parameters(operation, attach, path),
            }
        }
    }
    "runtime-inside", ["exec.host-network-domain"], "executes the plugins in the container's namespace" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            // The plugin is executed by this thread.
            if let Some(file) = attach.and_then(|attach| fs::File::open(&attach.netns).ok()) {
                let _ = nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET);
            }
            Standard.parameters(operation, attach, path)
        }
    }
    "runtime-no-arguments", ["runtime.args-set"], "passes on no generic arguments" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            with(Variable::Args, "", operation, attach, path)
        }
    }
    "runtime-odd-arguments", ["param.args-format"], "separates generic arguments by commas" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            let args = attach.map(|attach| format!("{};loose", attach.args)).unwrap_or_default();
            with(Variable::Args, &args, operation, attach, path)
        }
    }
    "runtime-arguments-vary", ["exec.same-env-for-list"], "gives each plugin of a list another environment" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            static CALLS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
            let call = CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            with(Variable::Args, &format!("CALL={call}"), operation, attach, path)
        }
    }
    "runtime-gc-for-one", ["runtime.gc-no-attachment-params"], "names a container at GC" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            match operation {
                Operation::Gc => with(Variable::ContainerId, "any", operation, attach, path),
                _ => Standard.parameters(operation, attach, path),
            }
        }
    }
    "runtime-no-path", ["exec.path-list-to-plugins", "param.path-required-gc"], "does not say where plugins are" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            with(Variable::Path, "", operation, attach, path)
        }
    }
    "runtime-odd-path", ["param.path-format"], "separates the folders of plugins by commas" {
        fn parameters(&self, operation: Operation, attach: Option<&Attach>, path: &[PathBuf]) -> Parameters {
            let folders: Vec<String> = path.iter().map(|folder| folder.display().to_string()).collect();
            with(Variable::Path, &folders.join(","), operation, attach, path)
        }
    }
    "runtime-check-elsewhere", ["check.same-params-as-add"], "checks in another namespace than it added to" {
        fn netns_for_check(&self, _entry: &Entry, _given: &str) -> String {
            "/proc/self/ns/net".to_owned()
        }
    }
    "runtime-del-elsewhere", ["del.same-params-as-add"], "leaves the namespace out at DEL" {
        fn netns_for_del(&self, _entry: &Entry, _given: &str) -> String {
            String::new()
        }
    }
    "runtime-variables-leak", ["runtime.gc-no-attachment-params"], "lets variables of its caller reach the plugins" {
        fn start(&self, _parameters: &Parameters) -> Start {
            Start { hides_variables: false, ..Start::default() }
        }
    }
    "runtime-no-environment", ["exec.env-inherited"], "executes plugins with the variables of the protocol and no others" {
        fn start(&self, _parameters: &Parameters) -> Start {
            Start { inherits: false, ..Start::default() }
        }
    }
    "runtime-arguments", ["exec.env-carries-parameters"], "gives the operation as an argument too" {
        fn start(&self, parameters: &Parameters) -> Start {
            let operation = parameters.get(Variable::Command).unwrap_or_default();
            Start { arguments: vec![operation.to_owned()], ..Start::default() }
        }
    }
    "runtime-stdin-stays-open", ["exec.stdin-eof"], "leaves the stdin of plugins open" {
        fn start(&self, _parameters: &Parameters) -> Start {
            Start { ends_stdin: false, ..Start::default() }
        }
    }
    "runtime-cache-elsewhere", ["cache.location"], "keeps attachments where libcni does not look" {
        fn cache(&self, given: &Path) -> PathBuf {
            given.join("elsewhere")
        }
    }
    "runtime-output-decides", ["exec.runtime-treats-nonzero-as-error"], "takes what is printed for success, whatever the exit status" {
        fn succeeded(&self, ended: &Ended) -> bool {
            ended.success() || ended.status.is_some_and(|status| status.code().is_some())
        }
        fn read_result(&self, stdout: &[u8], version: Version) -> Result<Value, String> {
            Standard.read_result(stdout, version).or_else(|_| Ok(json!({ "cniVersion": version.as_str() })))
        }
    }
    "runtime-signal-succeeds", ["exec.signal-death-is-error"], "takes death by a signal for success" {
        fn succeeded(&self, ended: &Ended) -> bool {
            ended.success() || ended.status.is_some_and(|status| status.code().is_none())
        }
    }
    "runtime-stderr-fails", ["exec.runtime-ignores-stderr"], "takes whatever is said on stderr for a failure" {
        fn succeeded(&self, ended: &Ended) -> bool {
            ended.success() && ended.stderr.is_empty()
        }
    }
    "runtime-error-untold", ["runtime.error-surfaced"], "does not tell what a plugin says" {
        fn problem(&self, _ended: &Ended) -> Problem {
            Problem::Unexplained { status: "a failure".to_owned(), output: "something".to_owned() }
        }
    }
    "runtime-falls-over-errors", ["runtime.tolerates-unknown-error-fields"], "falls over an error object that it cannot read" {
        fn problem(&self, ended: &Ended) -> Problem {
            match ended.problem() {
                Problem::Unexplained { output, .. } => panic!("no error object: {}", output.len()),
                known => known,
            }
        }
    }
    "runtime-takes-any-result", ["runtime.invalid-result-is-error"], "takes whatever is printed for an empty result" {
        fn read_result(&self, stdout: &[u8], version: Version) -> Result<Value, String> {
            Standard.read_result(stdout, version).or_else(|_| Ok(json!({ "cniVersion": version.as_str() })))
        }
    }
    "runtime-wants-interfaces", ["runtime.tolerates-missing-interfaces"], "refuses a result without interfaces" {
        fn read_result(&self, stdout: &[u8], version: Version) -> Result<Value, String> {
            let result = Standard.read_result(stdout, version)?;
            if result.get("interfaces").is_some() { Ok(result) } else { Err("no interfaces".to_owned()) }
        }
    }
    "runtime-takes-any-version", ["runtime.result-version-mismatch"], "takes a result for one of the network's version whatever it says" {
        fn read_result(&self, stdout: &[u8], version: Version) -> Result<Value, String> {
            let mut value: Value = serde_json::from_slice(stdout).map_err(|error| error.to_string())?;
            let object = value.as_object_mut().ok_or("no object")?;
            object.insert(keys::CNI_VERSION.to_owned(), version.as_str().into());
            AddResult::parse(&value, version).map(|_| value.clone()).map_err(|error| error.to_string())
        }
    }
    "runtime-sees-errors-only", ["exec.runtime-error-json-exit0"], "takes what looks like an error for one, though the exit status is 0" {
        fn read_result(&self, stdout: &[u8], version: Version) -> Result<Value, String> {
            let result = Standard.read_result(stdout, version)?;
            if result.get("code").is_some() { Err("an error object".to_owned()) } else { Ok(result) }
        }
    }
    "runtime-oldest-version", ["version.runtime-selects-highest"], "selects the oldest version that both sides know" {
        fn select_version(&self, list: &NetworkList) -> Option<AnyVersion> {
            let known = Version::ALL.map(AnyVersion::from);
            known.into_iter().find(|known| list.versions().iter().any(|offered| offered.as_str() == known.as_str()))
        }
    }
    "runtime-newest-version", ["version.runtime-ignores-unsupported"], "selects the newest version that is offered, known or not" {
        fn select_version(&self, list: &NetworkList) -> Option<AnyVersion> {
            let strange = list.versions().iter().find(|version| version.known().is_none());
            strange.cloned().or_else(|| Standard.select_version(list))
        }
    }
    "runtime-latest-by-default", ["config.cniversion-absent-default"], "takes a network without cniVersion for one of the newest version" {
        fn select_version(&self, list: &NetworkList) -> Option<AnyVersion> {
            let selected = Standard.select_version(list)?;
            let default = selected.as_str() == Version::V0_1_0.as_str();
            Some(if default { Version::LATEST.into() } else { selected })
        }
    }
    "runtime-files-unsorted", ["runtime.load-first-by-filename"], "takes the last file of a network" {
        fn files(&self, files: Vec<PathBuf>) -> Vec<PathBuf> {
            let mut files = Standard.files(files);
            files.reverse();
            files
        }
    }
    "runtime-lists-only", ["config.single-plugin-form"], "reads no single plugin objects" {
        fn files(&self, files: Vec<PathBuf>) -> Vec<PathBuf> {
            let list = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "conflist");
            Standard.files(files).into_iter().filter(list).collect()
        }
    }
    "runtime-skips-broken", ["runtime.aggregate-validate-all"], "passes over plugin objects that it cannot read" {
        fn files(&self, files: Vec<PathBuf>) -> Vec<PathBuf> {
            let reads = |file: &PathBuf| {
                fs::read(file).is_ok_and(|text| serde_json::from_slice::<Value>(&text).is_ok())
            };
            Standard.files(files).into_iter().filter(reads).collect()
        }
    }
    "runtime-reads-the-first", ["config.strict-json"], "reads the first document of a file and passes over the rest" {
        fn read_json(&self, text: &[u8]) -> serde_json::Result<Value> {
            match serde_json::Deserializer::from_slice(text).into_iter().next() {
                Some(first) => first,
                None => serde_json::from_slice(text),
            }
        }
    }
    "runtime-folder-forced", ["runtime.inlined-only-ignores-others"], "collects plugin objects that a network has forbidden" {
        fn takes_folder(&self, _list: &NetworkList) -> bool {
            true
        }
        fn append(&self, list: &mut NetworkList, plugins: Vec<PluginConfig>) {
            let all = list.plugins().iter().cloned().chain(plugins).collect();
            if let Some(open) = reopened(list, all) {
                *list = open;
            }
        }
    }
    "runtime-folder-first", ["runtime.aggregate-appended"], "puts collected plugins before those of the list" {
        fn append(&self, list: &mut NetworkList, plugins: Vec<PluginConfig>) {
            let all = plugins.into_iter().chain(list.plugins().iter().cloned()).collect();
            if let Some(open) = reopened(list, all) {
                *list = open;
            }
        }
    }
    "runtime-folder-partly", ["runtime.aggregate-invoke-all", "runtime.aggregate-dir-layout"], "collects one plugin object and no more" {
        fn append(&self, list: &mut NetworkList, plugins: Vec<PluginConfig>) {
            list.append(plugins.into_iter().take(1));
        }
    }
    "runtime-folder-of-others", ["runtime.aggregate-unambiguous"], "collects the plugin objects of other networks too" {
        fn append(&self, list: &mut NetworkList, plugins: Vec<PluginConfig>) {
            let others = fs::read(Path::new("/etc/cni/net.d/othernet/10-other.conf")).ok();
            let other = others.and_then(|text| serde_json::from_slice(&text).ok());
            let other = other.and_then(|value| PluginConfig::parse(&value).ok());
            list.append(plugins.into_iter().chain(other));
        }
    }
    "runtime-type-leads-out", ["config.type-no-path-chars", "config.type-dotdot"], "joins a plugin's type to the folder whatever it holds" {
        fn check_type(&self, _plugin_type: &str) -> Result<(), ValueError> {
            Ok(())
        }
        fn find(&self, plugin_type: &str, path: &[PathBuf]) -> Result<PathBuf, FindError> {
            match plugin_type {
                // Folders execute nothing, but they are no plugins either.
                ".." => Ok("/bin/true".into()),
                _ => Standard.find("alpha", path).map(|_| path[0].join(plugin_type)),
            }
        }
        fn read_result(&self, stdout: &[u8], version: Version) -> Result<Value, String> {
            Standard.read_result(stdout, version).or_else(|_| Ok(json!({ "cniVersion": version.as_str() })))
        }
    }
    "runtime-name-leads-out", ["config.name-first-char", "config.name-charset", "config.name-no-path-chars", "runtime.validates-input-del-check"], "looks at no name" {
        fn check_network_name(&self, _name: &str) -> Result<(), ValueError> {
            Ok(())
        }
        fn key(&self, network: &str, container_id: &str, ifname: &str) -> Result<Key, ValueError> {
            Ok(Key::unchecked(network, container_id, ifname))
        }
    }
    "runtime-wrong-plugin", ["exec.lookup-by-type", "config.type-names-binary"], "executes the same file whatever the type" {
        fn find(&self, _plugin_type: &str, path: &[PathBuf]) -> Result<PathBuf, FindError> {
            Standard.find("alpha", path)
        }
    }
    "runtime-missing-overlooked", ["exec.lookup-missing-is-error", "runtime.validate-before-exec"], "passes over a plugin that it does not find" {
        fn find(&self, plugin_type: &str, path: &[PathBuf]) -> Result<PathBuf, FindError> {
            Standard.find(plugin_type, path).or_else(|_| Ok("/bin/true".into()))
        }
        fn read_result(&self, stdout: &[u8], version: Version) -> Result<Value, String> {
            Standard.read_result(stdout, version).or_else(|_| Ok(json!({ "cniVersion": version.as_str() })))
        }
    }
    "runtime-one-folder", ["exec.lookup-in-path-list", "runtime.plugin-search-path-configured"], "searches the first folder only" {
        fn find(&self, plugin_type: &str, path: &[PathBuf]) -> Result<PathBuf, FindError> {
            Standard.find(plugin_type, &path[..path.len().min(1)])
        }
    }
    "runtime-takes-folders", ["exec.lookup-regular-file"], "takes a folder of a plugin's name for the plugin" {
        fn find(&self, plugin_type: &str, path: &[PathBuf]) -> Result<PathBuf, FindError> {
            let there = path.iter().map(|folder| folder.join(plugin_type)).find(|file| file.exists());
            there.map_or_else(|| Standard.find(plugin_type, path), Ok)
        }
    }
    "runtime-adds-twice", ["runtime.no-double-add", "runtime.no-double-add-040", "runtime.attachment-identity"], "adds a container again that is attached" {
        fn stands_in_the_way(&self, _other: &Entry, _attach: &Attach, _version: &AnyVersion) -> bool {
            false
        }
    }
    "runtime-identity-with-network", ["runtime.attachment-identity"], "takes an interface for another one when the network is another" {
        fn stands_in_the_way(&self, other: &Entry, attach: &Attach, version: &AnyVersion) -> bool {
            other.key().network() == attach.key.network() && Standard.stands_in_the_way(other, attach, version)
        }
    }
    "runtime-checks-all-the-same", ["check.runtime-disablecheck"], "checks a network that forbids it" {
        fn checks(&self, _list: &NetworkList) -> bool {
            true
        }
    }
    "runtime-checks-anything", ["check.runtime-after-add-only"], "checks what is not attached" {
        fn checkable(&self, _state: Option<State>) -> bool {
            true
        }
        fn prev_result(&self, operation: Operation, chain: Chain<'_>) -> Option<Value> {
            Standard.prev_result(operation, chain).or_else(|| (operation == Operation::Check).then(|| json!({})))
        }
    }
    "runtime-strict-booleans", ["config.bool-strings-accepted", "check.runtime-disablecheck-success"], "refuses a text for a boolean, and CHECK where it is forbidden" {
        fn read_json(&self, text: &[u8]) -> serde_json::Result<Value> {
            let value: Value = serde_json::from_slice(text)?;
            match value.get(keys::DISABLE_CHECK) {
                Some(Value::String(_)) => serde_json::from_str::<bool>("\"text\"").map(Value::from),
                _ => Ok(value),
            }
        }
        fn checks(&self, _list: &NetworkList) -> bool {
            true
        }
        fn checkable(&self, _state: Option<State>) -> bool {
            false
        }
    }
    "runtime-collects-all-the-same", ["gc.runtime-disablegc"], "collects the garbage of a network that forbids it" {
        fn collects(&self, _list: &NetworkList) -> bool {
            true
        }
    }
    "runtime-gc-in-old-versions", ["runtime.gc-not-below-110"], "sends GC in versions that do not have it" {
        fn asks(&self, _operation: Operation, _version: &AnyVersion) -> bool {
            true
        }
        fn request(&self, request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) -> Result<Value, RequestError> {
            Standard.request(request, list, plugin).or_else(|_| Ok(Value::Object(plugin.fields().clone())))
        }
    }
    "runtime-keeps-the-lost", ["gc.runtime-del-stale-first", "gc.runtime-valid-attachments"], "takes what is lost for valid" {
        fn is_stale(&self, _entry: &Entry) -> bool {
            false
        }
    }
    "runtime-collects-the-living", ["gc.runtime-valid-attachments"], "takes what is attached for garbage" {
        fn is_stale(&self, _entry: &Entry) -> bool {
            true
        }
    }
    "runtime-gc-beside", ["gc.runtime-exclusive"], "collects garbage beside other operations" {
        fn sharing(&self, operation: Operation) -> Option<Sharing> {
            Standard.sharing(operation).map(|_| Sharing::Shared)
        }
    }
    "runtime-container-shared", ["runtime.no-parallel-same-container"], "runs operations on one container beside each other" {
        fn locks_container(&self, _operation: Operation) -> bool {
            false
        }
    }
    "runtime-one-network-only", ["runtime.determine-networks"], "joins the first of two networks only" {
        fn networks(&self, operation: Operation, networks: usize) -> Vec<usize> {
            Standard.networks(operation, networks.min(1))
        }
    }
    "runtime-networks-beside", ["runtime.networks-sequential", "runtime.no-parallel-same-container"], "adds a container to two networks at the same time" {
        fn networks_beside(&self) -> bool {
            true
        }
        fn locks_container(&self, _operation: Operation) -> bool {
            false
        }
    }
    "runtime-networks-del-forward", ["runtime.networks-del-reverse"], "leaves two networks in the order in which it joined them" {
        fn networks(&self, _operation: Operation, networks: usize) -> Vec<usize> {
            (0..networks).collect()
        }
    }
    "runtime-same-interface-again", ["runtime.distinct-ifname-per-attachment", "runtime.attachment-identity"], "names the interfaces of two networks alike" {
        fn next_interface(&self, before: &str) -> String {
            before.to_owned()
        }
        fn stands_in_the_way(&self, _other: &Entry, _attach: &Attach, _version: &AnyVersion) -> bool {
            false
        }
    }
    "runtime-configuration-of-today", ["runtime.config-stable-add-del"], "deletes by the file as it is" {
        fn keeps_config(&self) -> bool {
            false
        }
    }
    "runtime-damage-blocks", ["cache.corrupt-entry"], "cannot delete what it cannot read" {
        fn overlooks_damage(&self) -> bool {
            false
        }
    }
    "runtime-records-late", ["runtime.cleans-after-kill"], "writes an attachment down after its ADD" {
        fn records_intent(&self) -> bool {
            false
        }
    }
    "runtime-no-deadline", ["runtime.cleans-after-kill"], "waits for a plugin as long as it takes" {
        fn deadline(&self, _given: Duration) -> Duration {
            Duration::from_secs(3600)
        }
    }
    "runtime-del-fails-in-the-end", ["runtime.del-success-when-all-succeed", "runtime.gc-success-when-all-succeed"], "takes a DEL or GC without output for a failure" {
        fn succeeded(&self, ended: &Ended) -> bool {
            ended.success() && !ended.stdout.is_empty()
        }
    }
    "runtime-result-after-failure", ["cache.not-written-on-failed-add"], "gives the DEL after a failed ADD a result" {
        fn prev_result(&self, operation: Operation, chain: Chain<'_>) -> Option<Value> {
            Standard.prev_result(operation, chain).or_else(|| (operation == Operation::Del).then(|| json!({ "ips": [] })))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_decides_for_the_own_runtime() {
        let names: BTreeMap<&str, &str> = MUTANTS.iter().map(|mutant| (mutant.name, mutant.base)).collect();
        assert_eq!(names.len(), MUTANTS.len());
        assert!(names.len() >= 30, "{}", names.len());
        assert!(MUTANTS.iter().all(|mutant| mutant.policy().is_some()));
    }
}
