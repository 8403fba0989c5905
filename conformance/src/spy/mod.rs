//! Spies: plugins that write down how they are executed, and answer what a script says.
//!
//! A spy is this executable under a plugin's name, in a folder that holds a folder [`FOLDER`]: there is its [`Script`], and
//! there it leaves a [`Record`] of each execution. It finds both from its own path, so that a runtime need pass nothing on.
//! The record is written before the answer, and completed afterwards: whatever becomes of the spy, what came in is known.

mod record;
mod script;
mod watch;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use cni_spec::Version;
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};

pub use record::{Ending, RECORDS, Record, complete, file_name, read, records_of};
pub use script::{Answer, Rule, Script};

/// The folder, beside the spies, of their script and records.
pub const FOLDER: &str = ".cnitest-spy";

/// The script's name in [`FOLDER`].
pub const SCRIPT: &str = "script.json";

/// The spy that this process was called as, if it was: its folder, and its name.
pub fn called_as() -> Option<(PathBuf, String)> {
    let called = PathBuf::from(std::env::args_os().next()?);
    let folder = called.parent().filter(|folder| !folder.as_os_str().is_empty())?.join(FOLDER);
    let name = called.file_name()?.to_str()?.to_owned();
    folder.join(SCRIPT).is_file().then_some((folder, name))
}

/// Behaves as the spy.
pub fn main(folder: &Path, name: &str) -> ExitCode {
    let watch = watch::Watch::begin();
    match play(folder, name, watch) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("spy {name}: {error}");
            ExitCode::from(99)
        }
    }
}

fn play(folder: &Path, name: &str, mut watch: watch::Watch) -> io::Result<u8> {
    let record = Record::of_process(name);
    let number = record.write(folder)?;
    let script: Script = serde_json::from_slice(&std::fs::read(folder.join(SCRIPT))?)?;
    let calls = record::calls_before(folder, number, name, record.command());
    let answer = script.answer(&record, calls + 1);
    let mut ending = Ending::default();
    let pause = match answer.hang {
        true => Duration::MAX,
        false => Duration::from_millis(answer.delay_ms),
    };
    if let Some(signal) = watch.wait(pause, answer.stubborn) {
        ending.signals.extend(watch.seen());
        ending.end(folder, number)?;
        watch.die_of(signal);
    }
    let stdout = answer.stdout(&record);
    ending.status = answer.status();
    ending.stdout.clone_from(&stdout);
    ending.signals.extend(watch.seen());
    ending.end(folder, number)?;
    if let Some(text) = &answer.stderr {
        io::stderr().write_all(text.as_bytes())?;
    }
    // Whoever does not read what a plugin prints has his reasons: that is no failure of the spy.
    let _ = io::stdout().write_all(stdout.as_bytes()).and_then(|()| io::stdout().flush());
    if let Some(number) = answer.signal
        && let Ok(signal) = Signal::try_from(number)
    {
        watch.die_of(signal);
    }
    Ok(ending.status)
}

/// What an ADD returns when the script has nothing else: the result of the plugin before it, with the spy's name added to
/// `dns.search`, or for the first one an interface with an address of its own.
pub fn result_of(record: &Record) -> Value {
    let request = record.request();
    let text = request.get("cniVersion").and_then(Value::as_str).unwrap_or("0.1.0");
    let version = text.parse::<Version>().unwrap_or(Version::LATEST);
    let mut result = match request.get("prevResult") {
        Some(Value::Object(previous)) => previous.clone(),
        _ => first_result(record, version),
    };
    result.insert("cniVersion".to_owned(), text.into());
    let dns = result.entry("dns").or_insert_with(|| json!({}));
    if let Some(dns) = dns.as_object_mut() {
        let search = dns.entry("search").or_insert_with(|| json!([]));
        if let Some(search) = search.as_array_mut() {
            search.push(record.plugin.as_str().into());
        }
    }
    Value::Object(result)
}

fn first_result(record: &Record, version: Version) -> Map<String, Value> {
    let ifname = record.variable("CNI_IFNAME").unwrap_or("eth0");
    // The same container and interface get the same address again.
    let seed = format!("{}/{ifname}", record.variable("CNI_CONTAINERID").unwrap_or_default());
    let hash = seed.bytes().fold(5381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
    let address = format!("10.77.{}.{}/16", hash >> 8 & 0xff, hash & 0x7f | 2);
    let gateway = "10.77.0.1";
    let result = if version < Version::V0_3_0 {
        json!({ "ip4": { "ip": address, "gateway": gateway } })
    } else {
        let mut ip = json!({ "address": address, "gateway": gateway, "interface": 0 });
        if version < Version::V1_0_0 {
            ip["version"] = "4".into();
        }
        json!({
            "interfaces": [{
                "name": ifname,
                "mac": "02:00:0a:4d:00:02",
                "sandbox": record.variable("CNI_NETNS").unwrap_or_default(),
            }],
            "ips": [ip],
        })
    };
    result.as_object().cloned().unwrap_or_default()
}

/// Text of variables, for a look-up.
type Variables = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use super::*;

    fn add(version: &str, previous: Option<Value>) -> Record {
        let mut request = json!({ "cniVersion": version, "name": "net", "type": "alpha" });
        if let Some(previous) = previous {
            request["prevResult"] = previous;
        }
        let environment =
            [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "/n")];
        Record {
            plugin: "alpha".to_owned(),
            environment: environment.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            stdin: request.to_string(),
            ..Record::default()
        }
    }

    #[test]
    fn results_fit_the_version_and_carry_the_chain() {
        for version in Version::ALL {
            let first = result_of(&add(version.as_str(), None));
            assert!(cni_spec::result::AddResult::parse(&first, version).is_ok(), "{version}: {first}");
            let second = result_of(&Record {
                plugin: "beta".to_owned(),
                ..add(version.as_str(), Some(first.clone()))
            });
            assert_eq!(second["dns"]["search"], json!(["alpha", "beta"]), "{version}");
            assert_eq!(second.get("ips"), first.get("ips"));
        }
    }

    #[test]
    fn scripts_choose_by_plugin_command_and_call() {
        let script = Script {
            rules: vec![
                Rule::new("alpha", "ADD", Answer::fails(11)).on_call(2),
                Rule::new("beta", "ADD", Answer::fails(7)),
                Rule::new("*", "*", Answer { stderr: Some("all".to_owned()), ..Answer::default() }),
            ],
        };
        let record = add("1.1.0", None);
        assert_eq!(script.answer(&record, 1).status(), 0);
        assert_eq!(script.answer(&record, 1).stderr.as_deref(), Some("all"));
        assert_eq!(script.answer(&record, 2).status(), 1);
        assert!(script.answer(&record, 2).stdout(&record).contains("\"code\":11"));
        let text = serde_json::to_string(&script).expect("JSON");
        assert_eq!(serde_json::from_str::<Script>(&text).expect("a script"), script);
    }

    #[test]
    fn records_are_numbered_and_completed() {
        let folder = tempfile::tempdir().expect("folder");
        let record = add("1.1.0", None);
        let first = record.write(folder.path()).expect("written");
        let second = record.write(folder.path()).expect("written");
        assert_eq!((first, second), (1, 2));
        assert_eq!(record::calls_before(folder.path(), second, "alpha", "ADD"), 1);
        assert_eq!(record::calls_before(folder.path(), second, "alpha", "DEL"), 0);
        Ending { status: 3, ..Ending::default() }.end(folder.path(), first).expect("written");
        let load = |number: u32| {
            let file = |suffix| {
                std::fs::read(folder.path().join(RECORDS).join(file_name(number, "alpha", "ADD", suffix)))
            };
            let ending = std::fs::read(folder.path().join(RECORDS).join(record::ending_name(number))).ok();
            read(&file("json").expect("a record"), ending.as_deref()).expect("a record")
        };
        assert_eq!(load(first).ending.expect("ended").status, 3);
        assert_eq!(load(second).ending, None);
        assert_eq!(load(second).stdin, record.stdin);
    }
}
