//! The forms in which a runtime passes on what it knows: CONVENTIONS.md of CNI.

use cni_schemas::{Kind, Profile, validate};
use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::check;
use crate::checks::Check;
use crate::checks::Scope;
use crate::checks::case::Stop;
use crate::checks::stage::{self, Pod, Stage};

pub(super) const CHECKS: &[Check] = &[
    check(
        "runtime.conventions",
        "What a container is asked for reaches the plugins by the conventions of CNI",
        &[
            "conv.follow-runtime",
            "conv.runtimeconfig-for-dynamic",
            "conv.portmappings",
            "conv.portmappings-hostip",
            "conv.ipranges",
            "conv.bandwidth",
            "conv.dns",
            "conv.ips",
            "conv.mac",
            "conv.infinibandguid",
            "conv.deviceid",
            "conv.aliases",
            "conv.cgrouppath",
            "param.args-deprecated",
        ],
        Scope::Once,
        Version::V1_0_0,
        &[
            "portMappings",
            "ipRanges",
            "bandwidth",
            "dns",
            "ips",
            "mac",
            "infinibandGUID",
            "deviceID",
            "aliases",
            "cgroupPath",
        ],
        |case| stage::play(case, conventions),
    ),
    check(
        "runtime.conventional-args",
        "Labels and addresses below args reach the plugins by the conventions of CNI",
        &["conv.args-cni-namespace", "conv.args-labels", "conv.args-ips"],
        Scope::Once,
        Version::V0_4_0,
        &[],
        |case| stage::play(case, conventional_args),
    ),
];

/// What a container is asked for, and the requirement of its form.
fn asked(capability: &str) -> (Value, &'static str) {
    match capability {
        "portMappings" => (
            json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1" }]),
            "conv.portmappings",
        ),
        "ipRanges" => (
            json!([[{ "subnet": "10.77.0.0/16", "rangeStart": "10.77.1.1", "rangeEnd": "10.77.1.9", "gateway": "10.77.0.1" }]]),
            "conv.ipranges",
        ),
        "bandwidth" => (json!({ "ingressRate": 1_000_000, "egressRate": 2_000_000 }), "conv.bandwidth"),
        "dns" => (
            json!({ "servers": ["192.0.2.53"], "searches": ["example.test"], "options": ["ndots:2"] }),
            "conv.dns",
        ),
        "ips" => (json!(["10.77.0.23"]), "conv.ips"),
        "mac" => (json!("02:00:00:00:00:17"), "conv.mac"),
        "infinibandGUID" => (json!("c2:11:22:33:44:55:66:77"), "conv.infinibandguid"),
        "deviceID" => (json!("0000:04:00.5"), "conv.deviceid"),
        "aliases" => (json!(["web"]), "conv.aliases"),
        _ => (json!("/kubelet/pod17"), "conv.cgrouppath"),
    }
}

/// Whether a value holds all of another; addresses may come with the length of their prefix.
fn holds(given: &Value, asked: &Value) -> bool {
    match (given, asked) {
        (Value::Object(given), Value::Object(asked)) => {
            asked.iter().all(|(key, value)| given.get(key).is_some_and(|given| holds(given, value)))
        }
        (Value::Array(given), Value::Array(asked)) => {
            asked.iter().all(|value| given.iter().any(|given| holds(given, value)))
        }
        (Value::String(given), Value::String(asked)) => {
            given.eq_ignore_ascii_case(asked) || given.split('/').next() == Some(asked)
        }
        _ => given == asked,
    }
}

fn conventions(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let capability = stage.case.variant;
    let (value, form) = asked(capability);
    let mut decided = vec![form, "conv.follow-runtime", "conv.runtimeconfig-for-dynamic"];
    if capability == "portMappings" {
        decided.push("conv.portmappings-hostip");
    }
    if capability == "mac" {
        decided.push("param.args-deprecated");
    }
    stage.case.decides(&decided);
    let can_all = stage.adapter.can.capability_args;
    if !can_all && !stage.adapter.capabilities.iter().any(|name| name == capability) {
        return Err(Stop::skip(format!(
            "needs a runtime that can be asked for {capability} ([can] capability-args or `capabilities` of the adapter)"
        )));
    }
    if capability == "cgroupPath" && !stage.at_least(Version::V1_1_0) {
        return Err(Stop::skip("cgroupPath came with CNI 1.1.0"));
    }
    let mut list = stage.list(&["alpha"]);
    list["plugins"][0]["capabilities"] = json!({ capability: true });
    stage.network(&list)?;
    let mut pod: Pod = stage.pod()?;
    pod.capability_args.insert(capability.to_owned(), value.clone());
    stage.add(&pod)?;
    let added = stage.seen(Operation::Add)?;
    let Some(record) = added.first() else {
        return Err(Stop::unmet("no plugin was executed"));
    };
    let config = record.request().get("runtimeConfig").cloned().unwrap_or_default();
    let Some(given) = config.get(capability) else {
        let args = record.variable("CNI_ARGS").unwrap_or_default();
        if value.as_str().is_some_and(|text| args.contains(text)) {
            stage.case.expect(
                false,
                "param.args-deprecated",
                format!("what is asked for as {capability} goes to plugins as runtimeConfig.{capability}"),
                format!("{} has CNI_ARGS={args}, and no runtimeConfig.{capability}", record.label()),
            );
            return Ok(());
        }
        // No runtime has to know of all of them.
        if !can_all {
            return Err(Stop::skip(format!("the runtime passes on no runtimeConfig.{capability}")));
        }
        for requirement in ["conv.follow-runtime", "conv.runtimeconfig-for-dynamic"] {
            stage.case.expect(
                false,
                requirement,
                format!("a plugin with the capability {capability} gets runtimeConfig.{capability}"),
                format!("{} has no such key; it was asked for {value}", record.label()),
            );
        }
        return Ok(());
    };
    let document = json!({ capability: given });
    let broken = validate(Kind::RuntimeConfig, stage.case.version, Profile::Compat, &document)
        .map_err(|error| Stop::Undecided(error.to_string()))?;
    for violation in &broken {
        stage.case.expect(
            false,
            violation.requirement.unwrap_or(form),
            format!("runtimeConfig.{capability} has the form of the conventions"),
            format!("{}: {} in {given}", violation.instance_path, violation.message),
        );
    }
    if broken.is_empty() {
        stage.case.expect(
            holds(given, &value),
            form,
            format!("runtimeConfig.{capability} holds {value}"),
            format!("{} has {given}", record.label()),
        );
    }
    Ok(())
}

fn conventional_args(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let args = json!({ "cni": { "labels": [{ "key": "app", "value": "web" }], "ips": ["10.77.0.23"] } });
    let mut list = stage.list(&["alpha"]);
    list["plugins"][0]["args"] = args.clone();
    stage.network(&list)?;
    let pod = stage.pod()?;
    stage.add(&pod)?;
    let added = stage.seen(Operation::Add)?;
    let request = added.first().map(|record| record.request().clone()).unwrap_or_default();
    let below = request.get("args").and_then(|args| args.get("cni")).cloned().unwrap_or_default();
    stage.case.expect(
        below.is_object(),
        "conv.args-cni-namespace",
        "args.cni of the configuration reaches the plugin",
        format!("args was {}", request.get("args").cloned().unwrap_or_default()),
    );
    for (key, requirement) in [("labels", "conv.args-labels"), ("ips", "conv.args-ips")] {
        stage.case.expect(
            below.get(key) == args["cni"].get(key),
            requirement,
            format!("args.cni.{key} is {}", args["cni"][key]),
            format!("it was {}", below.get(key).cloned().unwrap_or_default()),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_has_the_form_of_the_conventions_and_holds_itself() {
        for capability in CHECKS[0].variants {
            let (value, requirement) = asked(capability);
            let document = json!({ *capability: value });
            let broken = validate(Kind::RuntimeConfig, Version::LATEST, Profile::Strict, &document);
            assert_eq!(broken.expect("1.1.0 has conventions"), [], "{capability}");
            assert!(CHECKS[0].requirements.contains(&requirement), "{requirement}");
            assert!(holds(&value, &value));
        }
        assert!(holds(&json!(["10.77.0.23/16"]), &json!(["10.77.0.23"])));
        assert!(!holds(&json!([{ "HostPort": 8080 }]), &json!([{ "hostPort": 8080 }])));
    }
}
