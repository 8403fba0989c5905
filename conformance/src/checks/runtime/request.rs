//! The request that a plugin reads on stdin.

use cni_spec::{Operation, Version};
use serde_json::{Map, Value, json};

use super::check;
use crate::checks::Check;
use crate::checks::Scope;
use crate::checks::case::Stop;
use crate::checks::stage::{self, CHAIN, NETWORK, Stage};
use crate::spy::Record;

pub(super) const CHECKS: &[Check] = &[
    check(
        "runtime.request",
        "A plugin reads its own object with the network's name and version, and nothing of the list's",
        &[
            "runtime.inject-cniversion",
            "runtime.inject-name",
            "runtime.name-cniversion-replaced",
            "runtime.list-level-keys-not-sent",
            "runtime.type-kept",
            "runtime.no-valid-attachments-elsewhere",
            "runtime.no-prevresult-gc-status",
            "runtime.cnidev-not-forwarded",
            "config.cniversion-covers-all-plugins",
            "version.runtime-single-version-per-run",
            "version.runtime-requests-version",
            "exec.stdin-carries-config",
            "exec.stdin-eof",
            "status.input-config",
        ],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, request),
    ),
    check(
        "runtime.varying-data",
        "What differs from container to container is in args, runtimeConfig and prevResult",
        &["config.args-holds-varying-data"],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, varying_data),
    ),
    check(
        "runtime.unknown-fields",
        "Fields that the specification does not define reach the plugin unchanged, large integers too",
        &[
            "runtime.passthrough-unknown",
            "runtime.other-fields-unaltered",
            "runtime.passthrough-number-precision",
        ],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, unknown_fields),
    ),
    check(
        "runtime.capabilities",
        "Each plugin gets the capability arguments that it declares, in ADD, CHECK and DEL, and no other",
        &[
            "runtime.inject-runtimeconfig",
            "runtime.runtimeconfig-intersection",
            "runtime.runtimeconfig-per-plugin",
            "runtime.runtimeconfig-attachment-ops-only",
            "runtime.check-same-attachment-params",
            "conv.unknown-capability",
        ],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, capabilities),
    ),
    check(
        "runtime.capabilities-removed",
        "The capabilities that a plugin declares are not part of its request",
        &["runtime.capabilities-removed", "runtime.runtimeconfig-empty"],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, capabilities_removed),
    ),
];

/// Keys of the list, which are no part of a plugin's object.
const OF_LIST: [&str; 5] = ["plugins", "cniVersions", "disableCheck", "disableGC", "loadOnlyInlinedPlugins"];

/// The operations of a life, those that the runtime has.
fn live(stage: &mut Stage<'_, '_>, pod: &stage::Pod) -> Result<Vec<Record>, Stop> {
    stage.add(pod)?;
    for operation in [Operation::Check, Operation::Status, Operation::Gc, Operation::Del] {
        if stage.has(operation) {
            stage.ask(operation, pod)?;
        }
    }
    let known = |record: &Record| ["ADD", "CHECK", "STATUS", "GC", "DEL"].contains(&record.command());
    Ok(stage.records()?.into_iter().filter(known).collect())
}

fn varying_data(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let requirement = "config.args-holds-varying-data";
    if stage.case.level(requirement).is_none() {
        return Err(Stop::skip(format!("CNI {} says nothing of it", stage.case.version)));
    }
    let first = stage.join(&CHAIN)?;
    let second = stage.pod()?;
    stage.add(&first)?;
    stage.add(&second)?;
    let seen = stage.seen(Operation::Add)?;
    let fixed = |record: &Record| -> Map<String, Value> {
        let varying = ["args", "runtimeConfig", "prevResult"];
        record.request().into_iter().filter(|(key, _)| !varying.contains(&key.as_str())).collect()
    };
    for plugin in CHAIN {
        let requests: Vec<_> = seen.iter().filter(|record| record.plugin == plugin).map(fixed).collect();
        let [one, other] = requests.as_slice() else {
            return Err(Stop::unmet(format!("{plugin} was executed {} times for two ADDs", requests.len())));
        };
        stage.case.expect(
            one == other,
            requirement,
            format!("{plugin} reads the same for two containers, but for args, runtimeConfig and prevResult"),
            format!("{} and {}", Value::Object(one.clone()), Value::Object(other.clone())),
        );
    }
    Ok(())
}

fn request(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let mut list = stage.list(&CHAIN);
    let version = stage.case.version.as_str();
    list["disableCheck"] = false.into();
    if stage.at_least(Version::V1_1_0) {
        list["cniVersions"] = json!([version]);
        list["disableGC"] = false.into();
        list["loadOnlyInlinedPlugins"] = true.into();
    }
    list["plugins"][1]["name"] = "of-the-plugin".into();
    list["plugins"][1]["cniVersion"] = "0.2.0".into();
    list["plugins"][1]["cni.dev/valid-attachments"] = json!([{ "containerID": "static", "ifname": "eth0" }]);
    stage.network(&list)?;
    let pod = stage.pod()?;
    for record in live(stage, &pod)? {
        let label = record.label();
        let request = record.request();
        stage.case.expect(
            !request.is_empty(),
            "exec.stdin-carries-config",
            format!("{label} reads one JSON object"),
            format!("stdin held {:?}", record.stdin.chars().take(200).collect::<String>()),
        );
        stage.case.expect(
            record.stdin_ended,
            "exec.stdin-eof",
            format!("{label} reads to the end"),
            "stdin stayed open",
        );
        let text = |key: &str| request.get(key).map(Value::to_string).unwrap_or_else(|| "nothing".to_owned());
        let is = |key: &str, value: &str| request.get(key).and_then(Value::as_str) == Some(value);
        let mut state = |key: &str, value: &str, requirements: &[&'static str]| {
            for requirement in requirements {
                stage.case.expect(
                    is(key, value),
                    requirement,
                    format!("{label} has {key} {value:?}"),
                    format!("{key} was {}", text(key)),
                );
            }
        };
        state("name", NETWORK, &["runtime.inject-name", "runtime.name-cniversion-replaced"]);
        state(
            "cniVersion",
            version,
            &[
                "runtime.inject-cniversion",
                "runtime.name-cniversion-replaced",
                "config.cniversion-covers-all-plugins",
                "version.runtime-single-version-per-run",
                "version.runtime-requests-version",
            ],
        );
        state("type", &record.plugin, &["runtime.type-kept"]);
        if record.command() == "STATUS" {
            state("name", NETWORK, &["status.input-config"]);
            state("cniVersion", version, &["status.input-config"]);
        }
        let sent: Vec<&str> = OF_LIST.into_iter().filter(|key| request.contains_key(*key)).collect();
        stage.case.expect(
            sent.is_empty(),
            "runtime.list-level-keys-not-sent",
            format!("{label} has no keys of the list"),
            format!("it had {}", sent.join(", ")),
        );
        let static_key = request.get("cni.dev/valid-attachments");
        if record.command() != "GC" {
            for requirement in ["runtime.no-valid-attachments-elsewhere", "runtime.cnidev-not-forwarded"] {
                stage.case.expect(
                    static_key.is_none(),
                    requirement,
                    format!("{label} has no cni.dev/valid-attachments"),
                    "the one of the file was passed on",
                );
            }
        }
        if ["GC", "STATUS"].contains(&record.command()) {
            stage.case.expect(
                !request.contains_key("prevResult"),
                "runtime.no-prevresult-gc-status",
                format!("{label} has no prevResult"),
                "it had one",
            );
        }
    }
    Ok(())
}

fn unknown_fields(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let text =
        r#"{"nested":{"a":[1,{"b":null},true,"<&>"],"":"empty key"},"text":"caf\u00e9 \u0000","float":1.5}"#;
    let fields: Value = serde_json::from_str(text)
        .map_err(|error| Stop::Undecided(format!("the fields are not JSON: {error}")))?;
    let numbers: Value =
        serde_json::from_str(r#"{"big":12345678901234567890,"above":9007199254740993,"one":1.0}"#)
            .map_err(|error| Stop::Undecided(format!("the numbers are not JSON: {error}")))?;
    let mut list = stage.list(&CHAIN);
    for place in 0..CHAIN.len() {
        list["plugins"][place]["vendorExtension"] = fields.clone();
        list["plugins"][place]["vendorNumbers"] = numbers.clone();
        list["plugins"][place]["ipMasq"] = true.into();
        list["plugins"][place]["dns"] = json!({ "nameservers": ["192.0.2.53"] });
    }
    stage.network(&list)?;
    let pod = stage.pod()?;
    for record in live(stage, &pod)? {
        let request = record.request();
        let mut state = |key: &str, value: &Value, requirement: &'static str| {
            let got = request.get(key).cloned().unwrap_or_default();
            stage.case.expect(
                got == *value,
                requirement,
                format!("{} has {key} {value}", record.label()),
                format!("it had {got}"),
            );
        };
        state("vendorExtension", &fields, "runtime.passthrough-unknown");
        state("vendorNumbers", &numbers, "runtime.passthrough-number-precision");
        state("ipMasq", &true.into(), "runtime.other-fields-unaltered");
        state("dns", &json!({ "nameservers": ["192.0.2.53"] }), "runtime.other-fields-unaltered");
    }
    Ok(())
}

/// What is offered: two conventions, and one that nobody knows.
fn offered() -> Map<String, Value> {
    let all = json!({
        "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }],
        "mac": "02:00:00:00:00:07",
        "vendorCapability": { "any": ["value", 1] },
    });
    all.as_object().cloned().unwrap_or_default()
}

fn capabilities(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs(stage.adapter.can.capability_args, "capability-args", "is given capability arguments")?;
    let declared = [
        json!({ "portMappings": true, "bandwidth": true }),
        json!({ "mac": true, "portMappings": false, "vendorCapability": true }),
        json!({}),
    ];
    let wanted: [&[&str]; 3] = [&["portMappings"], &["mac", "vendorCapability"], &[]];
    let mut list = stage.list(&CHAIN);
    for (place, capabilities) in declared.into_iter().enumerate() {
        list["plugins"][place]["capabilities"] = capabilities;
    }
    stage.network(&list)?;
    let pod = stage::Pod { capability_args: offered(), ..stage.pod()? };
    for record in live(stage, &pod)? {
        let label = record.label();
        let request = record.request();
        let got = request.get("runtimeConfig").and_then(Value::as_object).cloned().unwrap_or_default();
        if ["GC", "STATUS"].contains(&record.command()) {
            stage.case.expect(
                got.is_empty(),
                "runtime.runtimeconfig-attachment-ops-only",
                format!("{label} has no runtimeConfig"),
                format!("it had {}", Value::Object(got)),
            );
            continue;
        }
        let place = CHAIN.iter().position(|name| *name == record.plugin).unwrap_or_default();
        let missing: Vec<&str> =
            wanted[place].iter().copied().filter(|key| got.get(*key) != offered().get(*key)).collect();
        let strange: Vec<&str> =
            got.keys().map(String::as_str).filter(|key| !wanted[place].contains(key)).collect();
        let shown = Value::Object(got.clone()).to_string();
        let mut requirements = vec!["runtime.inject-runtimeconfig"];
        if record.command() == "CHECK" {
            requirements.push("runtime.check-same-attachment-params");
        }
        if missing.contains(&"vendorCapability") {
            requirements.push("conv.unknown-capability");
        }
        for requirement in requirements {
            stage.case.expect(
                missing.is_empty(),
                requirement,
                format!("{label} has {} in its runtimeConfig", wanted[place].join(" and ")),
                format!("it had {shown}"),
            );
        }
        for requirement in ["runtime.runtimeconfig-intersection", "runtime.runtimeconfig-per-plugin"] {
            stage.case.expect(
                strange.is_empty(),
                requirement,
                format!("{label} has nothing in its runtimeConfig that it does not declare"),
                format!("it had {}", strange.join(", ")),
            );
        }
    }
    Ok(())
}

fn capabilities_removed(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let mut list = stage.list(&["alpha"]);
    list["plugins"][0]["capabilities"] = json!({ "vendorCapability": true });
    stage.network(&list)?;
    let pod = stage.pod()?;
    for record in live(stage, &pod)? {
        let request = record.request();
        if ["GC", "STATUS"].contains(&record.command()) {
            continue;
        }
        stage.case.expect(
            !request.contains_key("capabilities"),
            "runtime.capabilities-removed",
            format!("{} has no capabilities", record.label()),
            "the key was passed on",
        );
        if let Some(config) = request.get("runtimeConfig") {
            stage.case.expect(
                config.as_object().is_some_and(Map::is_empty),
                "runtime.runtimeconfig-empty",
                "runtimeConfig is left out or empty where nothing is offered",
                format!("it was {config}"),
            );
        }
    }
    Ok(())
}
