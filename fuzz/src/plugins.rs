//! The reference plugins: how they read what they are executed with, and what lies on the disk.

use std::ffi::OsString;

use cni_plugins::fuzzing;
use cni_schemas::generate::Source;
use cni_schemas::{Kind, Profile, validate};
use cni_spec::parameters::Variable;
use cni_spec::{Operation, Version, error, keys, version};
use serde_json::Value;

use crate::Bytes;
use crate::documents::schema;

/// The plugins whose own keys have a schema that says what they read.
fn own_schema(name: &'static str) -> &'static [&'static str] {
    match name {
        "bridge" => &["bridge", "host-local"],
        "ptp" => &["ptp", "static"],
        "macvlan" => &["macvlan", "host-local"],
        "ipvlan" => &["ipvlan", "host-local"],
        "vlan" => &["vlan", "host-local"],
        "tap" => &["tap", "host-local"],
        "host-device" => &["host-device", "host-local"],
        "dummy" => &["dummy", "host-local"],
        "host-local" => &["host-local"],
        "static" => &["static"],
        "portmap" => &["portmap"],
        "tuning" => &["tuning"],
        "bandwidth" => &["bandwidth"],
        "sbr" => &["sbr"],
        "vrf" => &["vrf"],
        "firewall" => &["firewall"],
        "loopback" => &["loopback"],
        "debug" => &["debug"],
        _ => &[],
    }
}

fn request(operation: Operation, chained: bool) -> Option<Kind> {
    Some(match operation {
        Operation::Add if chained => Kind::RequestAddChained,
        Operation::Add => Kind::RequestAddFirst,
        Operation::Del => Kind::RequestDel,
        Operation::Check => Kind::RequestCheck,
        Operation::Gc => Kind::RequestGc,
        Operation::Status => Kind::RequestStatus,
        Operation::Version => return None,
    })
}

/// A plugin, an operation, `CNI_ARGS`, and a configuration that is made by the generator or is the text that follows: it is
/// refused with an error object that the schema accepts, or understood. What breaks the protocol is refused with the code
/// that the schema states.
pub fn plugins(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let (name, operation) = (bytes.choose(cni_plugins::NAMES), bytes.choose(&Operation::ALL));
    let (version, chained) = (bytes.version(), bytes.chance(1, 2));
    let ifname = bytes.choose(&["eth0", "lo", "a%d", "123456789012345"]);
    let args = bytes.choose(&[
        "",
        "IgnoreUnknown=1;K8S_POD_NAME=p",
        "IP=10.1.0.9/16;GATEWAY=10.1.0.1",
        "MAC=02:00:00:00:00:01",
        "IP",
        "X=1",
    ]);
    let document = if bytes.chance(1, 2) {
        bytes.rest().to_vec()
    } else {
        let Some(kind) = request(operation, chained) else { return };
        let Some(schema) = schema(kind, version, Profile::Compat, own_schema(name)) else { return };
        let size = bytes.below(9) as usize;
        schema.generator.generate(&mut bytes, size).to_string().into_bytes()
    };
    let environment = [
        (Variable::Command, operation.as_str()),
        (Variable::ContainerId, "c1"),
        (Variable::Netns, "/run/netns/c1"),
        (Variable::Ifname, ifname),
        (Variable::Path, "/opt/cni/bin"),
        (Variable::Args, args),
    ];
    let environment = environment.map(|(name, value)| (OsString::from(name.as_str()), OsString::from(value)));
    let outcome = fuzzing::understand(name, environment.to_vec(), &document).expect("a plugin of ours");
    let value = serde_json::from_slice::<Value>(&document);
    match outcome {
        Err(object) => refused(&object),
        Ok((Operation::Version, _)) => {}
        Ok((_, version)) => {
            let value = value.expect("what is understood is JSON");
            assert_eq!(
                version::requested(value.get(keys::CNI_VERSION).and_then(Value::as_str)),
                version.as_str()
            );
            accepted(name, operation, version, chained, &value);
        }
    }
}

fn refused(object: &Value) {
    let version: Version =
        object[keys::CNI_VERSION].as_str().and_then(|text| text.parse().ok()).unwrap_or(Version::LATEST);
    let violations =
        validate(Kind::Error, version, Profile::Compat, object).expect("every version has errors");
    assert!(
        violations.iter().all(|violation| violation.instance_path == "/cniVersion"),
        "{object}: {violations:?}"
    );
    let code = object["code"].as_u64().expect("a code") as u32;
    assert!(error::is_defined(code, Version::LATEST), "{object}");
}

/// No constraint whose breach the schema gives a code to is broken.
fn accepted(name: &str, operation: Operation, version: Version, chained: bool, document: &Value) {
    // DEL has to succeed after an ADD that failed because of the configuration.
    if operation == Operation::Del {
        return;
    }
    let Some(kind) = request(operation, chained) else { return };
    let Ok(violations) = validate(kind, version, Profile::Compat, document) else { return };
    let coded: Vec<_> = violations.iter().filter(|violation| violation.code.is_some()).collect();
    assert!(coded.is_empty(), "{name} {operation} {version} accepts {document}: {coded:?}");
}

/// Files and elements of sets that plugins left earlier, and messages of the kernel.
pub fn stored(bytes: &[u8]) {
    fuzzing::stored(bytes);
}
