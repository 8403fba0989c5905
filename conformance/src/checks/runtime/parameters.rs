//! The parameters of an execution, and where it takes place.

use std::collections::BTreeSet;

use cni_spec::{Operation, Version, parameters};

use super::check;
use crate::checks::Check;
use crate::checks::Scope;
use crate::checks::case::Stop;
use crate::checks::stage::{self, CHAIN, MORE_SPIES, Pod, SPIES, Stage};
use crate::spy::Record;

pub(super) const CHECKS: &[Check] = &[
    check(
        "runtime.parameters",
        "Each execution has the variables of its operation, and DEL and CHECK those of the ADD",
        &[
            "param.command-required",
            "runtime.containerid-set",
            "runtime.netns-set",
            "runtime.ifname-set",
            "param.containerid-nonempty",
            "param.containerid-first-char",
            "param.containerid-charset",
            "param.ifname-linux-rules",
            "param.ifname-required",
            "param.netns-required-add-check",
            "param.netns-reference",
            "param.path-required-gc",
            "param.path-format",
            "exec.path-list-to-plugins",
            "exec.env-carries-parameters",
            "exec.same-env-for-list",
            "check.same-params-as-add",
            "del.same-params-as-add",
            "runtime.gc-no-attachment-params",
        ],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, all_parameters),
    ),
    check(
        "runtime.arguments",
        "Generic arguments reach every plugin as CNI_ARGS",
        &["runtime.args-set", "param.args-format"],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, arguments),
    ),
    check(
        "runtime.container-ids",
        "Two containers have two IDs",
        &["param.containerid-unique"],
        Scope::Once,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, container_ids),
    ),
    check(
        "runtime.namespaces",
        "Plugins run in the host's network namespace, while the container's exists",
        &["exec.host-network-domain", "runtime.netns-created-first", "runtime.netns-outlives-del"],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, namespaces),
    ),
    check(
        "runtime.caller-variables",
        "Variables of the protocol in the runtime's own environment do not reach the plugins",
        &[
            "exec.env-inherited",
            "runtime.gc-no-attachment-params",
            "param.command-required",
            "runtime.containerid-set",
        ],
        Scope::Once,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, caller_variables),
    ),
];

const ATTACHMENT: [&str; 4] = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"];

fn live(stage: &mut Stage<'_, '_>, pod: &Pod) -> Result<Vec<Record>, Stop> {
    stage.add(pod)?;
    for operation in [Operation::Check, Operation::Gc, Operation::Del] {
        if stage.has(operation) {
            stage.ask(operation, pod)?;
        }
    }
    stage.records()
}

fn all_parameters(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let version = stage.case.version;
    let can = stage.adapter.can;
    let pod = stage.join(&CHAIN)?;
    // What is wrong with the variables may well make the plugins fail.
    for operation in [Operation::Add, Operation::Check, Operation::Gc, Operation::Del] {
        if stage.has(operation) {
            stage.ask(operation, &pod)?;
        }
    }
    let records = stage.records()?;
    for record in &records {
        let command = record.command();
        let known = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"].contains(&command);
        stage.case.expect(
            known,
            "param.command-required",
            "CNI_COMMAND names an operation",
            format!("it was {command:?} for {}", record.plugin),
        );
    }
    let Some(first) = records.iter().find(|record| record.command() == "ADD") else {
        return Err(Stop::unmet("no plugin was executed for ADD"));
    };
    for record in &records {
        let label = record.label();
        let value = |name: &str| record.variable(name).unwrap_or_default().to_owned();
        let command = record.command();
        stage.case.expect(
            record.arguments.is_empty(),
            "exec.env-carries-parameters",
            format!("{label} has no arguments"),
            format!("it had {:?}", record.arguments),
        );
        if command == "GC" {
            let set: Vec<&str> = ATTACHMENT.into_iter().filter(|name| !value(name).is_empty()).collect();
            stage.case.expect(
                set.is_empty(),
                "runtime.gc-no-attachment-params",
                format!("{label} has no attachment parameters"),
                format!("{} had a value", set.join(", ")),
            );
        }
        let path = value("CNI_PATH");
        if command != "VERSION" {
            let wanted: Vec<&str> = match can.plugin_path {
                true => vec![SPIES, MORE_SPIES],
                false => vec![stage.adapter.plugin_dir.as_deref().unwrap_or(SPIES)],
            };
            let folders: Vec<&str> = path.split(':').collect();
            let holds = wanted.iter().all(|folder| folders.contains(folder));
            let mut requirements = vec!["exec.path-list-to-plugins", "param.path-format"];
            if command == "GC" {
                requirements.push("param.path-required-gc");
            }
            for requirement in requirements {
                stage.case.expect(
                    holds,
                    requirement,
                    format!("{label} has CNI_PATH with {}", wanted.join(" and ")),
                    format!("it was {path:?}"),
                );
            }
        }
        if !["ADD", "CHECK", "DEL"].contains(&command) {
            continue;
        }
        let id = value("CNI_CONTAINERID");
        let given = !can.container_id || id == pod.container;
        stage.case.expect(
            !id.is_empty() && given,
            "runtime.containerid-set",
            format!("{label} has the container's ID in CNI_CONTAINERID"),
            format!("it was {id:?}"),
        );
        stage.case.expect(
            !id.is_empty(),
            "param.containerid-nonempty",
            format!("{label} has a container ID"),
            "it was empty",
        );
        if !id.is_empty() {
            let problem = parameters::container_id(&id, Version::LATEST).err().map(|error| error.to_string());
            for requirement in ["param.containerid-first-char", "param.containerid-charset"] {
                stage.case.expect(
                    problem.is_none(),
                    requirement,
                    format!("{label} has a container ID of allowed characters"),
                    format!("{id:?}: {}", problem.clone().unwrap_or_default()),
                );
            }
        }
        let ifname = value("CNI_IFNAME");
        let given = !can.ifname || ifname == pod.ifname;
        for requirement in ["runtime.ifname-set", "param.ifname-required"] {
            stage.case.expect(
                !ifname.is_empty() && given,
                requirement,
                format!("{label} has the interface's name in CNI_IFNAME"),
                format!("it was {ifname:?}"),
            );
        }
        let formed = parameters::interface_name(&ifname);
        stage.case.expect(
            formed.is_ok(),
            "param.ifname-linux-rules",
            format!("{label} has the name of an interface"),
            format!("{ifname:?}: {}", formed.err().map(|error| error.to_string()).unwrap_or_default()),
        );
        let netns = value("CNI_NETNS");
        let given = !can.netns || netns == pod.netns;
        if command != "DEL" {
            for requirement in ["runtime.netns-set", "param.netns-required-add-check"] {
                stage.case.expect(
                    !netns.is_empty() && given,
                    requirement,
                    format!("{label} has the container's namespace in CNI_NETNS"),
                    format!("it was {netns:?}"),
                );
            }
            stage.case.expect(
                record.netns.is_some(),
                "param.netns-reference",
                format!("{label} has the path of a namespace in CNI_NETNS"),
                format!("there is none at {netns:?}"),
            );
        }
        // Later executions repeat the first one's parameters, plugin by plugin.
        let (requirement, needed): (&'static str, &[&str]) = match command {
            "CHECK" => ("check.same-params-as-add", &ATTACHMENT),
            "DEL" => ("del.same-params-as-add", &ATTACHMENT),
            _ => ("exec.same-env-for-list", &ATTACHMENT),
        };
        for name in needed {
            let (was, is) = (first.variable(name).unwrap_or_default(), value(name));
            // Generic arguments are pairs, and no order is given to them.
            let pairs = |text: &str| text.split(';').map(str::to_owned).collect::<BTreeSet<_>>();
            let same = was == is || (*name == "CNI_ARGS" && pairs(was) == pairs(&is));
            stage.case.expect(
                same,
                requirement,
                format!("{label} has {name} {was:?} as {} had", first.label()),
                format!("it was {is:?}"),
            );
        }
        if version < Version::V1_0_0 && command == "ADD" {
            let strip = |record: &Record| -> BTreeSet<(String, String)> {
                record.environment.iter().cloned().collect()
            };
            let (was, is) = (strip(first), strip(record));
            let different: Vec<String> =
                was.symmetric_difference(&is).map(|(name, value)| format!("{name}={value}")).collect();
            stage.case.expect(
                different.is_empty(),
                "exec.same-env-for-list",
                format!("{label} has the environment of {}", first.label()),
                format!("they differ in {}", different.join(", ")),
            );
        }
    }
    Ok(())
}

fn arguments(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs(stage.adapter.can.args, "args", "is given generic arguments")?;
    let pod = Pod { args: "IgnoreUnknown=1;FOO=bar;K8S_POD_NAME=web".to_owned(), ..stage.join(&CHAIN)? };
    for record in live(stage, &pod)? {
        if !["ADD", "CHECK", "DEL"].contains(&record.command()) {
            continue;
        }
        let args = record.variable("CNI_ARGS").unwrap_or_default().to_owned();
        let pairs: Vec<&str> = args.split(';').collect();
        let holds = pod.args.split(';').all(|pair| pairs.contains(&pair));
        stage.case.expect(
            holds,
            "runtime.args-set",
            format!("{} has CNI_ARGS with {}", record.label(), pod.args),
            format!("it was {args:?}"),
        );
        stage.case.expect(
            args.is_empty() || pairs.iter().all(|pair| pair.contains('=')),
            "param.args-format",
            "CNI_ARGS holds pairs of KEY=VALUE",
            format!("it was {args:?}"),
        );
    }
    Ok(())
}

fn container_ids(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let first = stage.join(&["alpha"])?;
    let second = stage.pod()?;
    stage.add(&first)?;
    stage.add(&second)?;
    let seen = stage.seen(Operation::Add)?;
    let ids: Vec<&str> = seen.iter().filter_map(|record| record.variable("CNI_CONTAINERID")).collect();
    let distinct: BTreeSet<&&str> = ids.iter().collect();
    let observed = format!("the IDs were {}", ids.join(", "));
    stage.case.expect(
        distinct.len() == 2,
        "param.containerid-unique",
        "two containers have two IDs",
        observed,
    );
    Ok(())
}

fn namespaces(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let pod = stage.join(&CHAIN)?;
    for record in live(stage, &pod)? {
        let label = record.label();
        if record.command() == "ADD" {
            stage.case.expect(
                record.netns.is_some(),
                "runtime.netns-created-first",
                "the container's namespace exists before the first plugin runs",
                format!("{label}: there is none at {:?}", record.variable("CNI_NETNS").unwrap_or_default()),
            );
        }
        if record.command() == "DEL" && record.variable("CNI_NETNS").is_some_and(|path| !path.is_empty()) {
            stage.case.expect(
                record.netns.is_some(),
                "runtime.netns-outlives-del",
                "the container's namespace exists until DEL has ended",
                format!("{label}: there is none at {:?}", record.variable("CNI_NETNS").unwrap_or_default()),
            );
        }
        stage.case.expect(
            record.netns.is_none() || record.netns != Some(record.own_netns),
            "exec.host-network-domain",
            format!("{label} runs outside of the container's network namespace"),
            "it ran inside",
        );
    }
    Ok(())
}

fn caller_variables(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    if stage.adapter.daemon.is_some() {
        return Err(Stop::skip("the daemon has the environment, and not the command that asks it"));
    }
    let pod = stage.join(&["alpha"])?;
    let poison = [
        ("CNI_COMMAND", "POISON"),
        ("CNI_CONTAINERID", "poison"),
        ("CNI_NETNS", "/poison"),
        ("CNITEST_HARMLESS", "yes"),
    ];
    for operation in [Operation::Add, Operation::Gc, Operation::Del] {
        if stage.has(operation) {
            stage::needed(stage.ask_of(operation, &pod, stage::NETWORK, &poison)?)?;
        }
    }
    for record in stage.records()? {
        let label = record.label();
        let got = |name: &str, value: &str| {
            record.environment.iter().any(|(key, other)| key == name && other == value)
        };
        stage.case.expect(
            !got("CNI_COMMAND", "POISON"),
            "param.command-required",
            "CNI_COMMAND is the runtime's own",
            format!("{} had that of the runtime's caller", record.plugin),
        );
        stage.case.expect(
            !got("CNI_CONTAINERID", "poison") || record.command() == "GC",
            "runtime.containerid-set",
            "CNI_CONTAINERID is the runtime's own",
            format!("{label} had that of the runtime's caller"),
        );
        stage.case.expect(
            record.command() != "GC" || !(got("CNI_CONTAINERID", "poison") || got("CNI_NETNS", "/poison")),
            "runtime.gc-no-attachment-params",
            "GC has no attachment parameters",
            format!("{label} had those of the runtime's caller"),
        );
        stage.case.expect(
            got("CNITEST_HARMLESS", "yes"),
            "exec.env-inherited",
            "plugins have the environment of the runtime",
            format!("{label} lacks a variable of it"),
        );
    }
    Ok(())
}
