//! Settings below `/proc/sys/net` of the container's namespace: what the configuration asks for, and the files.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use regex_lite::Regex;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::fields::invalid;
use crate::refusal::{KERNEL, Refusal};
use crate::skel::io_failure;

/// The settings that the administrator allows, one pattern a line; without the file, all are allowed.
const ALLOWLIST: &str = "/etc/cni/tuning/allowlist.conf";
/// What stands for the name of the interface.
const PLACEHOLDER: &str = "IFNAME";

/// A setting and the value that it is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sysctl {
    /// As in the configuration.
    pub(super) key: String,
    /// The file, below `/proc/sys`.
    pub(super) file: String,
    pub(super) value: String,
}

/// The members of an object in their order, doubles included.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct Collector;
        impl<'de> Visitor<'de> for Collector {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collector)
    }
}

/// The members of every `sysctl` of a configuration; other keys are passed over.
struct Configured(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Configured {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Configured, D::Error> {
        struct Collector;
        impl<'de> Visitor<'de> for Collector {
            type Value = Configured;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Configured, A::Error> {
                let mut all = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if key.eq_ignore_ascii_case("sysctl") {
                        all.extend(
                            map.next_value::<Option<Members>>()?
                                .map(|members| members.0)
                                .into_iter()
                                .flatten(),
                        );
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Configured(all))
            }
        }
        deserializer.deserialize_map(Collector)
    }
}

/// Reads `sysctl` of the configuration as it came, since a parsed object no longer shows that a key stands twice; which
/// of the two counts would be left to chance.
pub(super) fn configured(raw: &[u8], ifname: &str) -> Result<Vec<Sysctl>, Refusal> {
    let Configured(members) = serde_json::from_slice(raw)
        .map_err(|error| invalid("sysctl", format!("{error}: use an object of strings")))?;
    read("sysctl", members, ifname)
}

/// Reads settings that stand at a place.
pub(super) fn read(
    place: &str,
    members: impl IntoIterator<Item = (String, Value)>,
    ifname: &str,
) -> Result<Vec<Sysctl>, Refusal> {
    let mut all: Vec<Sysctl> = Vec::new();
    for (key, value) in members {
        let Value::String(value) = value else {
            return Err(invalid(
                &format!("{place}.{key}"),
                format!("found {value}, use a string like \"1\""),
            ));
        };
        // The kernel takes nothing for no change, and no setting reads as nothing afterwards.
        if value.trim().is_empty() {
            let problem = format!("found {value:?}, use the value that it is to have, like \"1\"");
            return Err(invalid(&format!("{place}.{key}"), problem));
        }
        let file = file(&key, ifname).map_err(|problem| invalid(&format!("{place}.{key}"), problem))?;
        if let Some(other) = all.iter().find(|other| other.file == file) {
            let problem = format!("sets the same as {}: remove one", other.key);
            return Err(invalid(&format!("{place}.{key}"), problem));
        }
        all.push(Sysctl { key, file, value });
    }
    Ok(all)
}

/// The file of a key, below `/proc/sys`. Dots in the name of the interface stay dots.
fn file(key: &str, ifname: &str) -> Result<String, String> {
    let parts: Vec<&str> = key.split('.').collect();
    if parts[0] != "net" || parts.len() < 2 {
        return Err("use a key that begins with \"net.\": other settings are not the container's".to_owned());
    }
    if key.contains(['/', '\0']) || parts.contains(&"") {
        return Err("use names joined by single dots, like net.ipv4.conf.IFNAME.arp_filter".to_owned());
    }
    let parts: Vec<&str> =
        parts.into_iter().map(|part| if part == PLACEHOLDER { ifname } else { part }).collect();
    Ok(parts.join("/"))
}

/// Refuses settings that the administrator does not allow.
pub(super) fn require_allowed(sysctls: &[Sysctl]) -> Result<(), Refusal> {
    let text = match fs::read_to_string(ALLOWLIST) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_failure(format!("cannot read {ALLOWLIST}"), &error)),
    };
    match not_allowed(&text, sysctls) {
        Ok(None) => Ok(()),
        Ok(Some(key)) => {
            Err(invalid(&format!("sysctl.{key}"), format!("not allowed by {ALLOWLIST}: remove it")))
        }
        Err(problem) => {
            Err(Refusal::new(cni_spec::error::INVALID_CONFIGURATION, format!("{ALLOWLIST}: {problem}")))
        }
    }
}

/// The first key that no pattern is found in.
fn not_allowed<'a>(patterns: &str, sysctls: &'a [Sysctl]) -> Result<Option<&'a str>, String> {
    let lines = patterns.lines().map(str::trim).filter(|line| !line.is_empty());
    let patterns: Result<Vec<Regex>, _> = lines.map(Regex::new).collect();
    let patterns = patterns.map_err(|error| error.to_string())?;
    let refused = |sysctl: &&Sysctl| !patterns.iter().any(|pattern| pattern.is_match(&sysctl.key));
    Ok(sysctls.iter().find(refused).map(|sysctl| sysctl.key.as_str()))
}

fn path(file: &str) -> PathBuf {
    Path::new("/proc/sys").join(file)
}

/// The value of a file, in the calling thread's namespace; `None` if it cannot be read.
pub(super) fn current(file: &str) -> Option<String> {
    fs::read_to_string(path(file)).ok().map(|text| text.trim_end().to_owned())
}

/// Whether two values are the same but for spaces: the kernel puts tabs between numbers.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

/// Writes a value, in the calling thread's namespace.
pub(super) fn write(file: &str, value: &str) -> Result<(), Refusal> {
    fs::write(path(file), value).map_err(|error| {
        let hint = if error.kind() == io::ErrorKind::NotFound { ": there is no such setting" } else { "" };
        Refusal::new(KERNEL, format!("cannot write {value:?} to /proc/sys/{file}: {error}{hint}"))
    })
}

/// Reads a list of allowed settings, and asks it for some.
#[cfg(feature = "fuzzing")]
pub(super) fn read_allowlist(text: &str) {
    let one = |key: &str| Sysctl { key: key.to_owned(), file: String::new(), value: String::new() };
    let _ = not_allowed(text, &[one("net.ipv4.conf.IFNAME.arp_filter"), one("net.core.somaxconn")]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(config: &str, ifname: &str) -> Result<Vec<String>, String> {
        configured(config.as_bytes(), ifname)
            .map(|all| all.into_iter().map(|one| one.file).collect())
            .map_err(|error| error.msg.clone())
    }

    #[test]
    fn keys_become_files() {
        let config =
            r#"{"name":"n","sysctl":{"net.core.somaxconn":"5","net.ipv4.conf.IFNAME.arp_filter":"1"}}"#;
        assert_eq!(
            files(config, "eth0.100").unwrap(),
            ["net/core/somaxconn", "net/ipv4/conf/eth0.100/arp_filter"]
        );
        assert_eq!(files("{}", "eth0").unwrap(), [""; 0]);
        assert_eq!(files(r#"{"sysctl":null}"#, "eth0").unwrap(), [""; 0]);
        assert_eq!(
            files(r#"{"sysCtl":{"net.core.somaxconn":"5"}}"#, "eth0").unwrap(),
            ["net/core/somaxconn"]
        );
    }

    #[test]
    fn keys_that_lead_elsewhere_are_refused() {
        for key in [
            "kernel.panic",
            "net",
            "net/core/somaxconn",
            "net...kernel.panic",
            "net.",
            ".net.core.x",
            "net.ipv4/../../kernel/panic",
            "",
        ] {
            let error = files(&format!(r#"{{"sysctl":{{"{key}":"1"}}}}"#), "eth0").unwrap_err();
            assert!(error.starts_with(&format!("sysctl.{key}: use ")), "{error}");
        }
    }

    #[test]
    fn a_value_that_is_nothing_is_refused() {
        for value in ["", "  "] {
            let config = format!(r#"{{"sysctl":{{"net.core.somaxconn":"{value}"}}}}"#);
            let error = files(&config, "eth0").unwrap_err();
            assert!(error.starts_with("sysctl.net.core.somaxconn: found"), "{error}");
        }
    }

    #[test]
    fn a_setting_may_stand_only_once() {
        for sysctl in [
            r#"{"net.core.somaxconn":"1","net.core.somaxconn":"2"}"#,
            r#"{"net.ipv4.conf.IFNAME.x":"1","net.ipv4.conf.eth0.x":"2"}"#,
            r#"{"net.core.somaxconn":"1"},"sysctl":{"net.core.somaxconn":"2"}"#,
        ] {
            let error = files(&format!(r#"{{"sysctl":{sysctl}}}"#), "eth0").unwrap_err();
            assert!(error.contains("remove one"), "{error}");
        }
    }

    #[test]
    fn other_values_are_refused() {
        for sysctl in [r#"{"net.core.somaxconn":1}"#, "[]", "\"x\""] {
            let error = files(&format!(r#"{{"sysctl":{sysctl}}}"#), "eth0").unwrap_err();
            assert!(error.starts_with("sysctl") && error.contains("string"), "{error}");
        }
    }

    #[test]
    fn the_allowlist_holds_patterns() {
        let sysctls = configured(br#"{"sysctl":{"net.core.somaxconn":"1","net.ipv4.tcp_x":"1"}}"#, "eth0");
        let sysctls = sysctls.unwrap();
        assert_eq!(not_allowed("^net\\.core\\.\n\n  ^net.ipv4.tcp_[a-z]$ ", &sysctls), Ok(None));
        assert_eq!(not_allowed("^net\\.core\\.", &sysctls), Ok(Some("net.ipv4.tcp_x")));
        assert_eq!(not_allowed("", &sysctls), Ok(Some("net.core.somaxconn")));
        assert!(not_allowed("(", &sysctls).is_err());
    }

    #[test]
    fn spaces_make_no_difference() {
        assert!(is_same("32768 60999", "32768\t60999"));
        assert!(!is_same("1", "11"));
    }
}
