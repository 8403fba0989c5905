//! What a runtime keeps of an attachment, and when it asks again.

use cni_spec::{Operation, Version};
use serde_json::{Value, json};

use super::check;
use crate::checks::Check;
use crate::checks::Scope;
use crate::checks::case::Stop;
use crate::checks::stage::{self, CACHE, CHAIN, NETWORK, Stage, account, executed, listed, said};
use crate::spy::{Answer, Record, Rule};

pub(super) const CHECKS: &[Check] = &[
    check(
        "runtime.cache",
        "After the last DEL nothing is kept of an attachment",
        &["cache.del-on-success", "cache.location"],
        Scope::Versions,
        Version::V0_3_0,
        &[],
        |case| stage::play(case, cache),
    ),
    check(
        "runtime.cache-damaged",
        "A damaged file in the cache does not keep DEL from the plugins",
        &["cache.corrupt-entry", "runtime.add-followed-by-del"],
        Scope::Once,
        Version::V0_4_0,
        &["empty", "half", "null", "not JSON"],
        |case| stage::play(case, cache_damaged),
    ),
    check(
        "runtime.cache-names",
        "Attachments whose names have hyphens do not get each other's results",
        &["cache.key-collision", "runtime.prevresult-del"],
        Scope::Once,
        Version::V0_4_0,
        &[],
        |case| stage::play(case, cache_names),
    ),
    check(
        "runtime.double-add",
        "A container is not added twice as the same interface",
        &["runtime.no-double-add", "runtime.no-double-add-040", "runtime.attachment-identity"],
        Scope::Versions,
        Version::V0_4_0,
        &["the same network", "another network"],
        |case| stage::play(case, double_add),
    ),
    check(
        "runtime.configuration-changed",
        "CHECK and DEL use the configuration of the ADD, whatever has become of the file",
        &["runtime.config-stable-add-del"],
        Scope::Once,
        Version::V0_4_0,
        &["a plugin more", "a plugin less", "a field changed"],
        |case| stage::play(case, configuration_changed),
    ),
    check(
        "runtime.result-in-its-version",
        "The result that CHECK and DEL get has the version of their request, though the network has another by then",
        &["runtime.prevresult-version"],
        Scope::Once,
        Version::V1_0_0,
        &[],
        |case| stage::play(case, result_in_its_version),
    ),
    check(
        "runtime.same-for-all",
        "Every container is attached with the same configuration",
        &["runtime.config-stable-attachments"],
        Scope::Versions,
        Version::V1_0_0,
        &[],
        |case| stage::play(case, same_for_all),
    ),
    check(
        "runtime.check-only-between",
        "CHECK is sent between ADD and DEL only",
        &["check.runtime-after-add-only"],
        Scope::Versions,
        Version::V0_4_0,
        &["before ADD", "after DEL", "after a failed ADD"],
        |case| stage::play(case, check_only_between),
    ),
    check(
        "runtime.check-withheld",
        "CHECK is not sent where the network forbids it, and succeeds; it is where nothing is said",
        &[
            "check.runtime-disablecheck",
            "check.runtime-disablecheck-success",
            "config.bool-strings-accepted",
            "config.disablecheck-optional",
        ],
        Scope::Versions,
        Version::V0_4_0,
        &["true", "\"true\"", "absent"],
        |case| stage::play(case, check_withheld),
    ),
    check(
        "runtime.check-unknown",
        "CHECK of a network whose version has none reaches no plugin",
        &["check.runtime-version-gate"],
        Scope::Once,
        Version::V0_4_0,
        &[],
        |case| stage::play(case, check_unknown),
    ),
    check(
        "runtime.odd-versions",
        "A cniVersion with which ADD works does not keep DEL from working",
        &["runtime.add-followed-by-del", "config.cniversion-absent-default"],
        Scope::Once,
        Version::V0_4_0,
        &["absent", "empty", "null", "\"1.0\""],
        |case| stage::play(case, odd_versions),
    ),
];

/// Files below the cache's folder that tell of an attachment: not its locks.
fn kept(stage: &mut Stage<'_, '_>) -> Result<Vec<String>, Stop> {
    let mut found = Vec::new();
    let mut folders = vec![CACHE.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in stage.case.arena.list_dir(&folder).unwrap_or_default() {
            let path = format!("{folder}/{}", entry.name);
            match entry.is_dir {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.retain(|path| path.contains(NETWORK));
    found.sort();
    Ok(found)
}

fn cache(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Del)?;
    let pod = stage.join(&CHAIN)?;
    stage.add(&pod)?;
    let there = kept(stage)?;
    let named = there.iter().any(|path| path.starts_with(&format!("{CACHE}/results/{NETWORK}-")));
    stage.case.expect(
        named || !stage.at_least(Version::V0_4_0),
        "cache.location",
        "the attachment is kept in results/NETWORK-CONTAINERID-IFNAME",
        format!("the cache held {}", if there.is_empty() { "nothing".to_owned() } else { there.join(", ") }),
    );
    stage::needed(stage.ask(Operation::Del, &pod)?)?;
    let left = kept(stage)?;
    stage.case.expect(
        left.is_empty(),
        "cache.del-on-success",
        "nothing is kept after DEL",
        format!("{} is still there", left.join(", ")),
    );
    Ok(())
}

fn cache_damaged(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Del)?;
    let pod = stage.join(&CHAIN)?;
    stage.add(&pod)?;
    let files = kept(stage)?;
    if files.is_empty() {
        return Err(Stop::unmet(format!("nothing in {CACHE} tells of the attachment")));
    }
    for path in files {
        let text = String::from_utf8_lossy(&stage.case.arena.read_file(&path)?).into_owned();
        let damaged = match stage.case.variant {
            "empty" => String::new(),
            "half" => text.chars().take(text.chars().count() / 2).collect(),
            "null" => "null".to_owned(),
            _ => "\u{1}not JSON".to_owned(),
        };
        stage.case.write_file(&path, &damaged, 0o600)?;
    }
    let answer = stage.ask(Operation::Del, &pod)?;
    let seen = stage.seen(Operation::Del)?;
    let names = executed(&seen);
    let observed = format!("{}; DEL executed {}", account(&answer), listed(&names));
    let left = kept(stage)?;
    let reached = CHAIN.iter().all(|name| names.contains(name)) && answer.succeeded();
    stage.case.expect(
        reached,
        "runtime.add-followed-by-del",
        "DEL reaches every plugin and succeeds",
        &observed,
    );
    stage.case.expect(
        reached && left.is_empty(),
        "cache.corrupt-entry",
        "DEL succeeds, and the damaged file goes",
        format!("{observed}; left: {}", left.join(", ")),
    );
    Ok(())
}

fn cache_names(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs(stage.adapter.can.container_id, "container-id", "takes the container's ID")?;
    stage.needs_operation(Operation::Del)?;
    let one = stage.list(&["alpha"]);
    let mut other = one.clone();
    other["name"] = format!("{NETWORK}-a").into();
    stage.network(&one)?;
    stage.file("20-other.conflist", other.to_string())?;
    // `spynet` and `a-b`, and `spynet-a` and `b`, have one name between them.
    let first = stage::Pod { container: "a-b".to_owned(), ..stage.pod()? };
    let second = stage::Pod { container: "b".to_owned(), ..stage.pod()? };
    stage.add(&first)?;
    let answer = stage.ask_of(Operation::Add, &second, &format!("{NETWORK}-a"), &[])?;
    if !answer.succeeded() {
        return Err(Stop::unmet(answer.summary()));
    }
    stage.ask(Operation::Del, &first)?;
    stage.ask_of(Operation::Del, &second, &format!("{NETWORK}-a"), &[])?;
    let records = stage.records()?;
    for record in records.iter().filter(|record| record.command() == "DEL") {
        let id = record.variable("CNI_CONTAINERID");
        let added =
            records.iter().find(|add| add.command() == "ADD" && add.variable("CNI_CONTAINERID") == id);
        let printed = added.and_then(|add| add.ending.as_ref()).map(|ending| ending.stdout.as_str());
        let result: Value = printed.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let got = record.request().get("prevResult").cloned().unwrap_or_default();
        for requirement in ["cache.key-collision", "runtime.prevresult-del"] {
            stage.case.expect(
                got.get("ips") == result.get("ips"),
                requirement,
                format!("{} of {} has the result of its own ADD", record.label(), id.unwrap_or_default()),
                format!("it had {got}"),
            );
        }
    }
    Ok(())
}

fn double_add(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs(stage.adapter.can.container_id, "container-id", "takes the container's ID")?;
    let pod = stage.join(&["alpha"])?;
    stage.add(&pod)?;
    let before = stage.count()?;
    let elsewhere = stage.case.variant == "another network";
    let network = match elsewhere {
        false => NETWORK.to_owned(),
        true => {
            let mut other = stage.list(&["alpha"]);
            other["name"] = "othernet".into();
            stage.file("20-other.conflist", other.to_string())?;
            "othernet".to_owned()
        }
    };
    let answer = stage.ask_of(Operation::Add, &pod, &network, &[])?;
    let seen = stage.records()?.into_iter().skip(before).collect::<Vec<_>>();
    // A DEL in between makes it another attachment.
    let first = seen.iter().find(|record| ["ADD", "DEL"].contains(&record.command()));
    let again = first.is_some_and(|record| record.command() == "ADD");
    let observed = format!("a plugin was asked for ADD again ({})", answer.summary());
    let requirements: &[&'static str] = match elsewhere {
        false => &["runtime.no-double-add", "runtime.no-double-add-040", "runtime.attachment-identity"],
        true => &["runtime.no-double-add", "runtime.attachment-identity"],
    };
    for requirement in requirements {
        stage.case.expect(
            !again,
            requirement,
            "no ADD for an interface of a container that has one, before its DEL",
            &observed,
        );
    }
    Ok(())
}

fn configuration_changed(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Del)?;
    let variant = stage.case.variant;
    let pod = stage.join(&["alpha", "beta"])?;
    stage.add(&pod)?;
    let mut changed = match variant {
        "a plugin more" => stage.list(&CHAIN),
        "a plugin less" => stage.list(&["alpha"]),
        _ => stage.list(&["alpha", "beta"]),
    };
    if variant == "a field changed" {
        changed["plugins"][0]["vendorField"] = json!("changed");
    }
    stage.network(&changed)?;
    for operation in [Operation::Check, Operation::Del] {
        if !stage.has(operation) {
            continue;
        }
        stage.ask(operation, &pod)?;
        let seen = stage.seen(operation)?;
        let mut names = executed(&seen);
        names.sort_unstable();
        stage.case.expect(
            names == ["alpha", "beta"],
            "runtime.config-stable-add-del",
            format!("{operation} executes the plugins of the ADD: alpha, beta"),
            format!("it executed {}", listed(&names)),
        );
        let altered = seen.iter().find(|record| record.request().contains_key("vendorField"));
        stage.case.expect(
            altered.is_none(),
            "runtime.config-stable-add-del",
            format!("{operation} has the configuration of the ADD"),
            format!("{} has a field that was added later", altered.map(Record::label).unwrap_or_default()),
        );
    }
    Ok(())
}

fn result_in_its_version(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Del)?;
    let pod = stage.join_in(Version::V0_4_0, &["alpha"])?;
    stage.add(&pod)?;
    let newer = stage.list(&["alpha"]);
    stage.network(&newer)?;
    for operation in [Operation::Check, Operation::Del] {
        if !stage.has(operation) {
            continue;
        }
        stage.ask(operation, &pod)?;
        for record in stage.seen(operation)? {
            let request = record.request();
            let label = |value: Option<&Value>| value.and_then(|value| value.get("cniVersion")).cloned();
            let (own, of_result) = (request.get("cniVersion").cloned(), label(request.get("prevResult")));
            stage.case.expect(
                of_result.is_none() || of_result == own,
                "runtime.prevresult-version",
                format!("prevResult of {} has the version of the request", record.label()),
                format!("it has {}, the request {}", of_result.unwrap_or_default(), own.unwrap_or_default()),
            );
        }
    }
    Ok(())
}

fn same_for_all(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    let first = stage.join(&["alpha"])?;
    stage.add(&first)?;
    let second = stage.pod()?;
    stage.add(&second)?;
    let configurations: Vec<_> = stage
        .seen(Operation::Add)?
        .iter()
        .map(|record| {
            let mut request = record.request().clone();
            request.remove("runtimeConfig");
            request.remove("prevResult");
            request
        })
        .collect();
    if let [one, other] = configurations.as_slice() {
        stage.case.expect(
            one == other,
            "runtime.config-stable-attachments",
            "both containers are attached with one configuration, apart from runtimeConfig and prevResult",
            format!("the first was {}, the second {}", json!(one), json!(other)),
        );
        return Ok(());
    }
    Err(Stop::unmet(format!("two ADDs executed the plugin {} times", configurations.len())))
}

fn check_only_between(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Check)?;
    let pod = stage.join(&["alpha", "beta"])?;
    match stage.case.variant {
        "after DEL" => {
            stage.add(&pod)?;
            stage.ask(Operation::Del, &pod)?;
        }
        "after a failed ADD" => {
            stage.answer(Rule::new("beta", "ADD", Answer::fails(117)))?;
            stage.ask(Operation::Add, &pod)?;
        }
        _ => {}
    }
    let answer = stage.ask(Operation::Check, &pod)?;
    let seen = stage.seen(Operation::Check)?;
    stage.case.expect(
        seen.is_empty(),
        "check.runtime-after-add-only",
        "no plugin is asked for CHECK of what is not attached",
        format!(
            "{} was executed ({})",
            seen.first().map(Record::label).unwrap_or_default(),
            answer.summary()
        ),
    );
    Ok(())
}

fn check_withheld(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Check)?;
    let text = stage.case.variant == "\"true\"";
    let mut list = stage.list(&["alpha"]);
    let absent = stage.case.variant == "absent";
    if !absent {
        list["disableCheck"] = if text { json!("true") } else { json!(true) };
    }
    stage.network(&list)?;
    let pod = stage.pod()?;
    let added = stage.ask(Operation::Add, &pod)?;
    if text {
        stage.case.expect(
            added.succeeded(),
            "config.bool-strings-accepted",
            "disableCheck may be a text",
            account(&added),
        );
    }
    stage::needed(added)?;
    let answer = stage.ask(Operation::Check, &pod)?;
    let seen = stage.seen(Operation::Check)?;
    if absent {
        stage.case.expect(
            answer.succeeded() && !seen.is_empty(),
            "config.disablecheck-optional",
            "CHECK is permitted where disableCheck is absent",
            format!("{}; CHECK executed {}", answer.summary(), listed(&executed(&seen))),
        );
        return Ok(());
    }
    stage.case.expect(
        seen.is_empty(),
        "check.runtime-disablecheck",
        "no plugin is asked for CHECK",
        format!("{} was executed", seen.first().map(Record::label).unwrap_or_default()),
    );
    stage.case.expect(
        answer.succeeded(),
        "check.runtime-disablecheck-success",
        "CHECK succeeds",
        account(&answer),
    );
    Ok(())
}

fn check_unknown(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Check)?;
    let pod = stage.join_in(Version::V0_3_1, &["alpha"])?;
    stage.add(&pod)?;
    let answer = stage.ask(Operation::Check, &pod)?;
    let seen = stage.seen(Operation::Check)?;
    stage.case.expect(
        seen.is_empty(),
        "check.runtime-version-gate",
        "no plugin of a network of 0.3.1 is asked for CHECK",
        format!("{}; CHECK executed {}", answer.summary(), listed(&executed(&seen))),
    );
    Ok(())
}

fn odd_versions(stage: &mut Stage<'_, '_>) -> Result<(), Stop> {
    stage.needs_operation(Operation::Del)?;
    let mut list = stage.list(&["alpha"]);
    match stage.case.variant {
        "empty" => list["cniVersion"] = "".into(),
        "null" => list["cniVersion"] = Value::Null,
        "\"1.0\"" => list["cniVersion"] = "1.0".into(),
        _ => drop(list.as_object_mut().and_then(|list| list.remove("cniVersion"))),
    }
    stage.network(&list)?;
    let pod = stage.pod()?;
    let added = stage.ask(Operation::Add, &pod)?;
    if ["absent", "empty"].contains(&stage.case.variant) {
        let seen = stage.seen(Operation::Add)?;
        let version =
            seen.first().map(|record| record.request().get("cniVersion").cloned().unwrap_or_default());
        stage.case.expect(
            added.succeeded() && version == Some("0.1.0".into()),
            "config.cniversion-absent-default",
            "a network without cniVersion is one of 0.1.0",
            format!("{}; cniVersion was {}", added.summary(), version.unwrap_or_default()),
        );
    }
    if !added.succeeded() {
        stage.case.note(format!("ADD is refused: {}", said(&added)));
        return Ok(());
    }
    let answer = stage.ask(Operation::Del, &pod)?;
    let seen = stage.seen(Operation::Del)?;
    stage.case.expect(
        answer.succeeded() && !seen.is_empty(),
        "runtime.add-followed-by-del",
        "DEL works as ADD did",
        account(&answer),
    );
    Ok(())
}
