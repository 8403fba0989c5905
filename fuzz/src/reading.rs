//! The typed protocol, target files, and what the hammer keeps: what is read prints to something that reads the same.

use cni_spec::config::{Attachment, NetworkList, PluginConfig, Request, RequestError};
use cni_spec::error::CniError;
use cni_spec::parameters::{CniArgs, Need, ParameterError, Parameters, Variable};
use cni_spec::result::{AddResult, VersionResult, parse_prefix, print_prefix};
use cni_spec::version::{AnyVersion, negotiate};
use cni_spec::{Operation, Version, keys};
use cnitest::hammer::scenario::{Fault, Scenario, Step};
use cnitest::target::Target;
use serde::Deserialize as _;
use serde_json::Value;

use crate::Bytes;

/// Network configurations, and the requests that are derived from them.
pub fn config(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let Ok(list) = NetworkList::parse(&value) else { return };
    let printed = list.to_value();
    let again = NetworkList::parse(&printed).expect("what we print parses");
    assert_eq!(again.to_value(), printed);
    assert_eq!(
        (again.name(), again.versions(), again.plugins()),
        (list.name(), list.versions(), list.plugins())
    );
    let result = Value::Object(serde_json::Map::new());
    let offers = value.get(keys::RUNTIME_CONFIG).and_then(Value::as_object);
    let valid = [Attachment { container_id: list.name().to_owned(), ifname: "eth0".to_owned() }];
    let known = Version::ALL.map(AnyVersion::from);
    for version in list.versions().iter().chain(&known) {
        for operation in Operation::ALL {
            let request = Request {
                prev_result: Some(&result),
                capability_args: offers,
                valid_attachments: &valid,
                ..Request::new(operation, version)
            };
            for plugin in list.plugins() {
                derived(&request, &list, plugin);
            }
        }
    }
}

fn derived(request: &Request<'_>, list: &NetworkList, plugin: &PluginConfig) {
    let document = match request.derive(list, plugin) {
        Ok(document) => document,
        Err(RequestError::NotDefined { .. }) => {
            return assert!(!request.version.at_least(request.operation.since()));
        }
        Err(error) => panic!("there is a result: {error}"),
    };
    assert_eq!(document[keys::CNI_VERSION], request.version.as_str());
    if request.operation == Operation::Version {
        return;
    }
    assert_eq!(document[keys::NAME], list.name());
    let read = PluginConfig::parse(&document).expect("a request is a plugin's configuration");
    assert_eq!(read.plugin_type(), plugin.plugin_type());
    assert_eq!(read.ipam_type(), plugin.ipam_type());
    if request.operation == Operation::Gc {
        assert_eq!(document[keys::VALID_ATTACHMENTS], document[keys::VALID_ATTACHMENTS_TAGGED]);
    }
}

/// Results of ADD of every version, and conversions between versions. The first byte chooses the version.
pub fn result(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let version = bytes.version();
    let Ok(value) = serde_json::from_slice::<Value>(bytes.rest()) else { return };
    let Ok(result) = AddResult::parse(&value, version) else { return };
    for ip in &result.ips {
        let _ = result.interface_of(ip);
        assert_eq!(parse_prefix(&print_prefix(&ip.address)), Some(ip.address));
    }
    for wanted in Version::ALL {
        let (printed, losses) = result.to_version(wanted);
        assert_eq!(printed[keys::CNI_VERSION], wanted.as_str());
        losses.iter().for_each(|loss| assert!(!loss.to_string().is_empty()));
        let again = AddResult::parse(&printed, wanted).expect("what we print parses");
        assert_eq!(again.to_version(wanted), (printed, Vec::new()), "printing is stable");
        // Nothing was lost, so it is still all there.
        if losses.is_empty() {
            assert_eq!(whole(&again), whole(&result), "to {wanted} without a loss");
        }
    }
}

/// All that a result says, in the newest version. Old results sort by family, and up to 0.4.0 an address states its family.
fn whole(result: &AddResult) -> Value {
    let (mut printed, losses) = result.to_version(Version::LATEST);
    let none = Vec::new();
    printed["lost"] = losses.iter().map(ToString::to_string).collect::<Vec<_>>().into();
    for list in ["ips", "routes"] {
        let mut entries = printed[list].as_array().unwrap_or(&none).clone();
        for entry in &mut entries {
            let family =
                if entry["address"].as_str().is_some_and(|text| text.contains(':')) { "6" } else { "4" };
            if entry["version"] == family {
                entry.as_object_mut().map(|entry| entry.shift_remove("version"));
            }
        }
        entries.sort_by_key(Value::to_string);
        printed[list] = entries.into();
    }
    printed
}

/// Results of VERSION, and version numbers.
pub fn version(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Ok(result) = VersionResult::parse(&value)
    {
        let printed = result.to_value();
        assert_eq!(VersionResult::parse(&printed).as_ref(), Ok(&result));
        assert_eq!(
            result.supported_versions.iter().any(|text| text == "1.1.0"),
            result.supports(Version::V1_1_0)
        );
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let versions: Vec<AnyVersion> = text.lines().filter_map(|line| AnyVersion::parse(line).ok()).collect();
    for one in &versions {
        assert_eq!(AnyVersion::parse(one.as_str()).as_ref(), Ok(one));
        assert!(one.precedence(one).is_eq());
        assert!(one.known().is_none_or(|known| one.at_least(known)));
    }
    let (config, plugin) = versions.split_at(versions.len() / 2);
    if let Some(chosen) = negotiate(config, plugin) {
        assert!([config, plugin].iter().all(|side| side.iter().any(|one| one.as_str() == chosen.as_str())));
    }
}

/// Error objects.
pub fn error(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let Ok(error) = CniError::parse(&value) else { return };
    let _ = error.to_string();
    let again = CniError::parse(&error.to_value()).expect("what we print parses");
    assert_eq!(again, error);
}

/// Parameters: lines of `NAME=VALUE`.
pub fn environment(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let pairs = text.split('\n').filter_map(|line| line.split_once('='));
    let parameters = Parameters::from_pairs(pairs);
    assert_eq!(Parameters::from_pairs(parameters.to_pairs()), parameters);
    for version in Version::ALL {
        match parameters.validate(version) {
            Ok(operation) => {
                assert!(operation.since() <= version);
                let needed = |v: &Variable| v.need(operation, version) == Need::Required;
                assert!(Variable::ALL.iter().filter(|v| needed(v)).all(|v| parameters.get(*v).is_some()));
            }
            Err(error) => {
                let object = error.to_cni_error();
                assert_eq!(object.code, error.code());
                if let ParameterError::Missing { variables, .. } = &error {
                    assert!(variables.iter().all(|variable| object.msg.contains(variable.as_str())));
                }
            }
        }
    }
}

/// `CNI_ARGS`.
pub fn args(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(args) = CniArgs::parse(text) else { return };
    assert_eq!(args.to_string(), text, "what is read prints the same");
    let mut pushed = CniArgs::default();
    for (key, value) in args.pairs() {
        assert!(!key.contains(['=', ';']) && !value.contains(['=', ';']));
        assert!(args.get(key).is_some());
        pushed.push(key, value).expect("what is read can be written");
    }
    assert_eq!(pushed, args);
    let known: Vec<&str> = args.pairs().map(|(key, _)| key).collect();
    assert_eq!(args.unknown(&known), None);
}

/// Target files.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Target::parse(text, "fuzz") {
        Err(error) => assert!(error.to_string().starts_with("target file fuzz: ")),
        Ok(target) => {
            assert!(!target.configurations.is_empty());
            let _ = (target.executes_others(), target.reads("dns"), target.capability("mac"));
            for configuration in &target.configurations {
                let plugin = Value::Object(configuration.plugin.clone());
                if target.delegate_at.is_some() {
                    assert!(plugin.pointer(target.delegate_pointer()).is_some());
                }
            }
        }
    }
}

/// Scenarios of a corpus, and those in findings that were kept: what `cnitest replay` reads.
pub fn scenario(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let finding = || Scenario::deserialize(serde_json::from_str::<Value>(text).ok()?.get("scenario")?).ok();
    let Some(scenario) = serde_json::from_str::<Scenario>(text).ok().or_else(finding) else { return };
    for printed in [serde_json::to_string(&scenario), serde_json::to_string_pretty(&scenario)] {
        let printed = printed.expect("a scenario prints");
        let again: Scenario = serde_json::from_str(&printed).expect("what we print parses");
        assert_eq!(again, scenario, "what is read prints to the same");
    }
    let mut document = Value::Object(scenario.plugin.clone());
    for step in &scenario.steps {
        assert_eq!(step.moved(|at| at), *step);
        assert!(step.attachments().iter().all(|at| !at.to_string().is_empty()));
        if let Step::Broken { fault: Fault::Document { edits, .. }, .. } = step {
            edits.iter().for_each(|edit| edit.apply(&mut document));
        }
    }
}
