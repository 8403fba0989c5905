//! Which networks and plugins a runtime finds, and which it must not.

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::check;
use crate::checks::Check;
use crate::checks::Scope;
use crate::checks::case::Stop;
use crate::checks::stage::{
    self, CHAIN, MORE_SPIES, NETWORK, NETWORKS, Pod, SPIES, Stage, account, executed, listed, said,
};
use crate::spy::Record;

pub(super) const CHECKS: &[Check] = &[
    check(
        "runtime.version-selection",
        "The newest version that both sides know is used, of cniVersion and cniVersions together",
        &[
            "version.runtime-selects-highest",
            "version.runtime-ignores-unsupported",
            "config.cniversions-optional",
            "version.runtime-none-supported-errors",
        ],
        Scope::Once,
        Version::V1_1_0,
        &[
            "older in cniVersion",
            "newer in cniVersion",
            "unknown ones beside it",
            "unordered",
            "no cniVersions",
            "no known one",
        ],
        |case| stage::play(case, version_selection),
    ),
    check(
        "runtime.relabelled",
        "A configuration of one version is one of the other versions with the same first number too",
        &["config.semver-compat"],
        Scope::Once,
        Version::V1_1_0,
        &["1.0.0 with the keys of 1.1.0", "1.1.0 without them"],
        |case| stage::play(case, relabelled),
    ),
    check(
        "runtime.missing-plugin",
        "A plugin that is nowhere makes an operation fail",
        &["exec.lookup-missing-is-error", "runtime.validate-before-exec"],
        Scope::Once,
        Version::V0_3_0,
        &["ADD", "DEL"],
        |case| stage::play(case, missing_plugin),
    ),
    check(
        "runtime.plugin-folders",
        "Plugins are found in every folder that is searched, the first one first, and only regular files",
        &["exec.lookup-in-path-list", "runtime.plugin-search-path-configured", "exec.lookup-regular-file"],
        Scope::Once,
        Version::V0_3_0,
        &["the second folder", "both folders", "a folder of the plugin's name"],
        |case| stage::play(case, plugin_folders),
    ),
    check(
        "runtime.names",
        "A network or plugin whose name could lead elsewhere is refused, and nothing is executed",
        &[
            "config.type-no-path-chars",
            "config.type-dotdot",
            "config.name-first-char",
            "config.name-charset",
            "config.name-no-path-chars",
            "runtime.validates-input-del-check",
        ],
        Scope::Once,
        Version::V1_0_0,
        &[
            "type ../more-spies/delta",
            "type /opt/cnitest/more-spies/delta",
            "type ..",
            "name -spynet",
            "name spy net",
            "name ../spynet",
        ],
        |case| stage::play(case, names),
    ),
    check(
        "runtime.malformed",
        "A configuration that is none is refused, and nothing is executed",
        &[
            "config.type-required",
            "config.plugins-type",
            "config.root-is-object",
            "config.name-required",
            "config.loadonlyinlined-needs-plugins",
            "config.strict-json",
        ],
        Scope::Once,
        Version::V1_0_0,
        &[
            "no type",
            "an empty type",
            "plugins is an object",
            "a list at the root",
            "no name",
            "loadOnlyInlinedPlugins without plugins",
            "text after the object",
        ],
        |case| stage::play(case, malformed),
    ),
    check(
        "runtime.file-order",
        "Of two files with a network's name, the first by file name counts",
        &["runtime.load-first-by-filename"],
        Scope::Once,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, file_order),
    ),
    check(
        "runtime.folder-of-the-moment",
        "The files count that are in the folder of networks when an operation is asked for",
        &["practice.networks-of-the-moment"],
        Scope::Once,
        Version::V0_3_0,
        &["a network appears", "a network goes", "another file comes first"],
        |case| stage::play(case, folder_of_the_moment),
    ),
    check(
        "runtime.single-file",
        "A single plugin object is a network of the old versions",
        &["config.single-plugin-form"],
        Scope::Versions,
        Version::V0_1_0,
        &[],
        |case| stage::play(case, single_file),
    ),
    check(
        "runtime.single-file-of-today",
        "From 1.0.0 on a single plugin object is no network",
        &["config.single-plugin-form-removed"],
        Scope::Versions,
        Version::V1_0_0,
        &[],
        |case| stage::play(case, single_file_of_today),
    ),
    check(
        "runtime.collected-plugins",
        "Plugin objects in the network's own folder come after those of the list, each in its own network",
        &[
            "runtime.aggregate-invoke-all",
            "runtime.aggregate-appended",
            "runtime.aggregate-unambiguous",
            "runtime.aggregate-dir-layout",
            "runtime.inlined-only-ignores-others",
        ],
        Scope::Once,
        Version::V1_1_0,
        &["collected", "inlined only"],
        |case| stage::play(case, collected),
    ),
    check(
        "runtime.collected-invalid",
        "A broken plugin object in the network's own folder is an error, and nothing is executed",
        &["runtime.aggregate-validate-all"],
        Scope::Once,
        Version::V1_1_0,
        &["no type", "not JSON"],
        |case| stage::play(case, collected_invalid),
    ),
];

fn version_selection(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let newest = stage.case.subject.versions.last().copied().unwrap_or(Version::LATEST);
    if newest < Version::V1_1_0 {
        return Err(Stop::skip("cniVersions came with 1.1.0, which the adapter does not name"));
    }
    let mut list = stage.list(&CHAIN);
    let (single, several) = match stage.case.variant {
        "older in cniVersion" => ("0.4.0", json!(["1.0.0", "1.1.0"])),
        "newer in cniVersion" => ("1.1.0", json!(["0.3.1", "1.0.0"])),
        "unknown ones beside it" => ("1.0.0", json!(["1.1.0", "99.0.0"])),
        "no cniVersions" => ("0.4.0", Value::Null),
        "no known one" => ("99.0.0", json!(["98.0.0"])),
        _ => ("0.3.1", json!(["1.1.0", "0.3.0", "1.0.0"])),
    };
    list["cniVersion"] = single.into();
    let expected = if several.is_null() { single } else { "1.1.0" };
    if !several.is_null() {
        list["cniVersions"] = several;
    }
    stage.network(&list)?;
    let pod = stage.pod()?;
    let answer = stage.ask(Operation::Add, &pod)?;
    let seen = stage.seen(Operation::Add)?;
    let versions: Vec<String> = seen
        .iter()
        .map(|record| {
            record.request().get("cniVersion").and_then(Value::as_str).unwrap_or_default().to_owned()
        })
        .collect();
    if stage.case.variant == "no known one" {
        stage.case.expect(
            !answer.succeeded() && versions.is_empty(),
            "version.runtime-none-supported-errors",
            "ADD fails, and no plugin is executed",
            format!("{}; cniVersion was {}", answer.summary(), versions.join(", ")),
        );
        return Ok(());
    }
    let holds = versions.len() == CHAIN.len() && versions.iter().all(|version| version == expected);
    let requirement = match stage.case.variant {
        "unknown ones beside it" => "version.runtime-ignores-unsupported",
        "no cniVersions" => "config.cniversions-optional",
        _ => "version.runtime-selects-highest",
    };
    stage.case.expect(
        holds,
        requirement,
        format!("the plugins are asked in {expected}"),
        format!(
            "{}; cniVersion was {}",
            answer.summary(),
            if versions.is_empty() { "never sent".to_owned() } else { versions.join(", ") }
        ),
    );
    Ok(())
}

fn relabelled(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let mut list = stage.list(&["alpha", "beta"]);
    if stage.case.variant == "1.1.0 without them" {
        list["cniVersion"] = "1.1.0".into();
    } else {
        list["cniVersion"] = "1.0.0".into();
        list["cniVersions"] = json!(["1.0.0"]);
        list["disableGC"] = true.into();
        list["loadOnlyInlinedPlugins"] = true.into();
    }
    stage.network(&list)?;
    let pod = stage.pod()?;
    let answer = stage.ask(Operation::Add, &pod)?;
    let seen = stage.seen(Operation::Add)?;
    let names = executed(&seen);
    stage.case.expect(
        answer.succeeded() && names == ["alpha", "beta"],
        "config.semver-compat",
        "the network is used as it would be in the other version",
        format!("{}; ADD executed {}", account(&answer), listed(&names)),
    );
    Ok(())
}

fn missing_plugin(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let pod = stage.join(&["alpha", "nowhere"])?;
    let operation = match stage.case.variant {
        "DEL" => {
            stage.needs_operation(Operation::Del)?;
            stage.spy(SPIES, "nowhere")?;
            stage.add(&pod)?;
            stage.case.arena.remove_path(format!("{SPIES}/nowhere"))?;
            Operation::Del
        }
        _ => Operation::Add,
    };
    let before = stage.count()?;
    let answer = stage.ask(operation, &pod)?;
    stage.case.expect(
        !answer.succeeded(),
        "exec.lookup-missing-is-error",
        format!("{operation} fails when a plugin is missing"),
        answer.summary(),
    );
    let seen = stage.since(before, operation)?;
    let names = executed(&seen);
    stage.case.expect(
        names.is_empty(),
        "runtime.validate-before-exec",
        "no plugin is executed when one is missing",
        format!("{operation} executed {}", listed(&names)),
    );
    Ok(())
}

fn plugin_folders(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs(stage.adapter.can.plugin_path, "plugin-path", "can search several folders")?;
    let variant = stage.case.variant;
    let (name, program) = match variant {
        "the second folder" => ("delta", format!("{MORE_SPIES}/delta")),
        "both folders" => {
            stage.spy(MORE_SPIES, "alpha")?;
            ("alpha", format!("{SPIES}/alpha"))
        }
        _ => {
            stage.case.arena.make_dir(format!("{SPIES}/delta"), 0o755)?;
            ("delta", format!("{MORE_SPIES}/delta"))
        }
    };
    let pod = stage.join(&[name])?;
    let answer = stage.ask(Operation::Add, &pod)?;
    let seen = stage.seen(Operation::Add)?;
    let programs: Vec<&str> = seen.iter().map(|record| record.program.as_str()).collect();
    let requirements: &[&'static str] = match variant {
        "a folder of the plugin's name" => &["exec.lookup-regular-file"],
        _ => &["exec.lookup-in-path-list", "runtime.plugin-search-path-configured"],
    };
    for requirement in requirements {
        stage.case.expect(
            programs == [program.as_str()],
            requirement,
            format!("{program} is executed"),
            format!("{}; executed: {}", account(&answer), listed(&programs)),
        );
    }
    Ok(())
}

fn names(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let variant = stage.case.variant;
    let (what, value) = variant.split_once(' ').unwrap_or_default();
    let mut list = stage.list(&["alpha"]);
    let mut network = NETWORK;
    let requirements: &[&'static str] = match (what, value) {
        ("type", "..") => &["config.type-dotdot"],
        ("type", _) => &["config.type-no-path-chars"],
        (_, "-spynet") => &["config.name-first-char", "runtime.validates-input-del-check"],
        (_, "spy net") => &["config.name-charset", "runtime.validates-input-del-check"],
        _ => &["config.name-charset", "config.name-no-path-chars", "runtime.validates-input-del-check"],
    };
    if what == "type" {
        list["plugins"][0]["type"] = value.into();
    } else {
        list["name"] = value.into();
        network = value;
    }
    stage.network(&list)?;
    let pod = stage.pod()?;
    let mut operations = vec![Operation::Add];
    if stage.has(Operation::Del) {
        operations.push(Operation::Del);
    }
    for operation in operations {
        let before = stage.count()?;
        let answer = stage.ask_of(operation, &pod, network, &[])?;
        let seen: Vec<Record> = stage.since(before, operation)?;
        let programs: Vec<&str> = seen.iter().map(|record| record.program.as_str()).collect();
        for requirement in requirements.iter().filter(|id| {
            // What libcni is known to check on ADD alone is told apart.
            (operation == Operation::Del) == (**id == "runtime.validates-input-del-check") || what == "type"
        }) {
            // Where DEL is told the container alone, there is nothing to detach after the refused ADD: it may succeed.
            let told = operation == Operation::Add || stage.adapter.can.netns;
            stage.case.expect(
                seen.is_empty() && !(told && answer.succeeded()),
                requirement,
                format!("{operation} of a network with {what} {value:?} is refused"),
                format!("{}; executed: {}", answer.summary(), listed(&programs)),
            );
        }
    }
    Ok(())
}

fn malformed(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let mut list = stage.list(&["alpha", "beta"]);
    let (text, requirement) = match stage.case.variant {
        "no type" => {
            list["plugins"][1] = json!({ "vendorField": 1 });
            (list.to_string(), "config.type-required")
        }
        "an empty type" => {
            list["plugins"][1]["type"] = "".into();
            (list.to_string(), "config.type-required")
        }
        "plugins is an object" => {
            list["plugins"] = json!({ "type": "alpha" });
            (list.to_string(), "config.plugins-type")
        }
        "a list at the root" => (json!([list]).to_string(), "config.root-is-object"),
        "no name" => {
            drop(list.as_object_mut().and_then(|list| list.remove("name")));
            (list.to_string(), "config.name-required")
        }
        "loadOnlyInlinedPlugins without plugins" => {
            drop(list.as_object_mut().and_then(|list| list.remove("plugins")));
            list["loadOnlyInlinedPlugins"] = true.into();
            stage.file(&format!("{NETWORK}/10-alpha.conf"), json!({ "type": "alpha" }).to_string())?;
            (list.to_string(), "config.loadonlyinlined-needs-plugins")
        }
        _ => (format!("{list}\n{{}}"), "config.strict-json"),
    };
    stage.file("10-spynet.conflist", text)?;
    let pod = stage.pod()?;
    let answer = stage.ask(Operation::Add, &pod)?;
    let seen = stage.seen(Operation::Add)?;
    let names = executed(&seen);
    stage.case.expect(
        !answer.succeeded() && names.is_empty(),
        requirement,
        "the configuration is refused, and no plugin executed",
        format!("{}; ADD executed {}", answer.summary(), listed(&names)),
    );
    Ok(())
}

fn file_order(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    for (file, plugin) in
        [("20-spynet.conflist", "beta"), ("10-spynet.conflist", "alpha"), ("30-spynet.conflist", "gamma")]
    {
        let list = stage.list(&[plugin]);
        stage.file(file, list.to_string())?;
    }
    let pod = stage.pod()?;
    stage.add(&pod)?;
    let seen = stage.seen(Operation::Add)?;
    let names = executed(&seen);
    stage.case.expect(
        names == ["alpha"],
        "runtime.load-first-by-filename",
        "the network of 10-spynet.conflist is used, whose plugin is alpha",
        format!("ADD executed {}", listed(&names)),
    );
    Ok(())
}

/// Asks for STATUS and ADD of a container of its own, which must succeed or reach no plugin.
fn expect_serves(stage: &mut Stage<'_, '_>, serves: bool, when: &str) -> Result<Pod, Stop> {
    let pod = stage.pod()?;
    let before = stage.count()?;
    for operation in [Operation::Status, Operation::Add] {
        if !stage.has(operation) {
            continue;
        }
        let answer = stage.ask(operation, &pod)?;
        let executed = stage.count()? > before;
        let (is, expected) = match serves {
            true => (answer.succeeded(), "succeeds"),
            false => (!answer.succeeded() && !executed, "fails, and executes no plugin"),
        };
        let ran = if executed { "plugins were executed" } else { "no plugin was executed" };
        stage.case.expect(
            is,
            "practice.networks-of-the-moment",
            format!("{when}, {operation} {expected}"),
            format!("{}, and {ran}: {}", answer.summary(), said(&answer)),
        );
    }
    Ok(pod)
}

fn folder_of_the_moment(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let list = stage.list(&["alpha"]);
    let variant = stage.case.variant;
    if variant != "a network appears" {
        stage.network(&list)?;
    }
    match variant {
        "a network appears" => {
            expect_serves(stage, false, "without a network")?;
            stage.network(&list)?;
            expect_serves(stage, true, "with a network")?;
        }
        "a network goes" => {
            let pod = expect_serves(stage, true, "with a network")?;
            if stage.has(Operation::Del) {
                stage.ask(Operation::Del, &pod)?;
            }
            stage.case.arena.remove_path(format!("{NETWORKS}/10-spynet.conflist"))?;
            expect_serves(stage, false, "when the network's file has gone")?;
        }
        _ => {
            let first = stage.pod()?;
            stage.add(&first)?;
            let other = stage.list(&["beta"]);
            stage.file("05-spynet.conflist", other.to_string())?;
            let before = stage.count()?;
            let second = stage.pod()?;
            stage.add(&second)?;
            let seen = stage.since(before, Operation::Add)?;
            let names = executed(&seen);
            stage.case.expect(
                names == ["beta"],
                "practice.networks-of-the-moment",
                "the network of 05-spynet.conflist is used, whose plugin is beta",
                format!("ADD executed {}", listed(&names)),
            );
        }
    }
    Ok(())
}

fn single_file(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let pod = stage.join_single(json!({ "type": "alpha", "vendorField": 7 }))?;
    let answer = stage.ask(Operation::Add, &pod)?;
    let seen = stage.seen(Operation::Add)?;
    let right = seen.iter().filter(|record| record.request().get("vendorField") == Some(&7.into())).count();
    stage.case.expect(
        answer.succeeded() && right == 1 && seen.len() == 1,
        "config.single-plugin-form",
        "the plugin is executed with its object",
        format!("{}; {} executions", account(&answer), seen.len()),
    );
    Ok(())
}

fn single_file_of_today(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let pod = stage.join_single(json!({ "type": "alpha" }))?;
    let answer = stage.ask(Operation::Add, &pod)?;
    let seen = stage.seen(Operation::Add)?;
    stage.case.expect(
        !answer.succeeded() && seen.is_empty(),
        "config.single-plugin-form-removed",
        "the file is refused, and no plugin executed",
        format!("{}; ADD executed {}", answer.summary(), listed(&executed(&seen))),
    );
    Ok(())
}

fn collected(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let inlined = stage.case.variant == "inlined only";
    let mut list = stage.list(&["alpha"]);
    list["loadOnlyInlinedPlugins"] = inlined.into();
    for (file, plugin) in [
        (format!("{NETWORK}/20-last.conf"), "gamma"),
        (format!("{NETWORK}/10-second.conf"), "beta"),
        (format!("{NETWORK}/30-none.conflist"), "gamma"),
        ("othernet/10-other.conf".to_owned(), "gamma"),
    ] {
        stage.file(&file, json!({ "type": plugin, "source": file }).to_string())?;
    }
    // Last, because who watches the folder reads all of it when this file appears.
    stage.network(&list)?;
    let pod = stage.pod()?;
    let answer = stage.ask(Operation::Add, &pod)?;
    let seen = stage.seen(Operation::Add)?;
    let names = executed(&seen);
    let observed = format!("{}; ADD executed {}", answer.summary(), listed(&names));
    if inlined {
        stage.case.expect(
            names == ["alpha"],
            "runtime.inlined-only-ignores-others",
            "the plugin of the list alone is executed",
            observed,
        );
        return Ok(());
    }
    // Collecting is a permission. Who does it does it for all, and after the list's own.
    let source = |record: &Record| record.request().get("source").and_then(Value::as_str).map(str::to_owned);
    if names == ["alpha"] {
        stage.case.note("plugin objects in the network's own folder are not collected, which is permitted");
        return Ok(());
    }
    stage.case.expect(
        names.first() == Some(&"alpha"),
        "runtime.aggregate-appended",
        "the list's own plugins come first",
        &observed,
    );
    let sources: Vec<String> = seen.iter().filter_map(source).collect();
    let has = |file: &str| sources.iter().any(|source| source.ends_with(file));
    stage.case.expect(
        has("10-second.conf") && has("20-last.conf"),
        "runtime.aggregate-invoke-all",
        "every plugin object of the folder is executed",
        &observed,
    );
    stage.case.expect(
        !has("10-other.conf"),
        "runtime.aggregate-unambiguous",
        "no object of another network is executed",
        &observed,
    );
    stage.case.expect(
        names == CHAIN && !has("30-none.conflist"),
        "runtime.aggregate-dir-layout",
        format!("{NETWORKS}/{NETWORK}/*.conf are executed by file name"),
        &observed,
    );
    Ok(())
}

fn collected_invalid(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let text = match stage.case.variant {
        "no type" => json!({ "vendorField": 1 }).to_string(),
        _ => "{\"type\":".to_owned(),
    };
    stage.file(&format!("{NETWORK}/10-broken.conf"), text)?;
    stage.file(&format!("{NETWORK}/20-good.conf"), json!({ "type": "beta" }).to_string())?;
    let list = stage.list(&["alpha"]);
    stage.network(&list)?;
    let pod = stage.pod()?;
    let answer = stage.ask(Operation::Add, &pod)?;
    let seen = stage.seen(Operation::Add)?;
    let names = executed(&seen);
    // Who does not collect never sees it.
    if names == ["alpha"] && answer.succeeded() {
        stage.case.note("plugin objects in the network's own folder are not collected, which is permitted");
        return Ok(());
    }
    stage.case.expect(
        !answer.succeeded() && names.is_empty(),
        "runtime.aggregate-validate-all",
        "the network is refused, and no plugin executed",
        format!("{}; ADD executed {}", answer.summary(), listed(&names)),
    );
    Ok(())
}
