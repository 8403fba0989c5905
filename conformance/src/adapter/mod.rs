//! Adapters: how cnitest drives a runtime.
//!
//! A runtime has a command line of its own, or a daemon with one; what is asked of it is always the same. An adapter says in
//! TOML how it is prepared, how an attachment is added, deleted and checked, how garbage is collected and the status asked
//! for, and what it can be told; `docs/adapter.md` describes each key. An operation that is left out is one that the runtime
//! does not have: a fact that reports tell, and no failure. Adapters of known runtimes are built in, under
//! `conformance/adapters/`.
//!
//! All that an adapter starts runs inside an arena.

mod builtin;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use cni_spec::{Operation, Version};
use serde::Deserialize;

use crate::arena::SEARCH_PATH;

pub use builtin::{DEFAULT, TEMPLATE, builtin, builtin_names, builtin_text};
pub use template::Values;

/// Why a text is no adapter.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {message}")]
pub struct AdapterError {
    /// The file.
    pub origin: String,
    /// Where in it, what is wrong, and what to write instead.
    pub message: String,
}

/// What is executed: a command or a shell script.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// A program and its arguments, in which variables stand in braces.
    #[serde(default)]
    pub command: Vec<String>,
    /// A POSIX shell script, which finds the variables in its environment.
    #[serde(default)]
    pub script: String,
    /// Variables of its environment beside the adapter's.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// What runs beside a runtime's commands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Daemon {
    /// Starts it in the foreground.
    pub command: Vec<String>,
    /// Succeeds once it can be used; tried again and again.
    pub ready: Vec<String>,
    /// How long that may take.
    #[serde(default = "ready_within", deserialize_with = "text_duration")]
    pub ready_within: Duration,
}

fn ready_within() -> Duration {
    Duration::from_secs(20)
}

/// How each operation is asked for; `None` where the runtime has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Operations {
    /// Attaches a container to a network.
    pub add: Option<Step>,
    /// Detaches it.
    #[serde(alias = "delete")]
    pub del: Option<Step>,
    /// Checks an attachment.
    pub check: Option<Step>,
    /// Collects the garbage of a network; attachments whose namespace exists are valid.
    pub gc: Option<Step>,
    /// Asks whether a network can be used.
    pub status: Option<Step>,
    /// Prints which versions the plugins of a network support.
    pub version: Option<Step>,
    /// Attaches a container to two networks at once, where the runtime decides how.
    pub add_two: Option<Step>,
    /// Detaches it from both.
    pub del_two: Option<Step>,
    /// Attaches a container whose namespace the runtime makes, where `add` takes one that exists.
    pub run: Option<Step>,
    /// Detaches it and removes the namespace.
    pub remove: Option<Step>,
}

impl Operations {
    /// How an operation is asked for.
    pub fn get(&self, operation: Operation) -> Option<&Step> {
        match operation {
            Operation::Add => self.add.as_ref(),
            Operation::Del => self.del.as_ref(),
            Operation::Check => self.check.as_ref(),
            Operation::Gc => self.gc.as_ref(),
            Operation::Status => self.status.as_ref(),
            Operation::Version => self.version.as_ref(),
        }
    }
}

/// What a runtime can be told, and does. Cases that need what it cannot are skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Can {
    /// CNI_CONTAINERID is the name that `add` was given.
    pub container_id: bool,
    /// It takes a namespace that exists; otherwise it makes one of its own.
    pub netns: bool,
    /// It takes the interface's name; otherwise it has its own idea.
    pub ifname: bool,
    /// A container can be attached to one network several times.
    pub interfaces: bool,
    /// A container can be attached to several networks, each by an `add`.
    pub networks: bool,
    /// It passes on generic arguments.
    pub args: bool,
    /// It passes on capability arguments.
    pub capability_args: bool,
    /// It can search several folders for plugins.
    pub plugin_path: bool,
    /// It reads single plugin objects, as before CNI 1.0.0.
    pub single_files: bool,
    /// `add` prints the result.
    pub result: bool,
    /// Operations may be asked for at the same time.
    pub parallel: bool,
    /// It ends a plugin that takes longer than this.
    #[serde(deserialize_with = "optional_duration")]
    pub deadline: Option<Duration>,
}

/// How a runtime is driven.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Adapter {
    /// The runtime's name.
    pub name: String,
    /// What it is, in a sentence.
    pub about: String,
    /// Executables that must be found.
    #[serde(default)]
    pub find: Vec<String>,
    /// What installs them.
    #[serde(default)]
    pub install: Option<String>,
    /// Prints its version.
    #[serde(default)]
    pub version: Vec<String>,
    /// The spec versions that it supports; all of them when empty.
    #[serde(default)]
    pub versions: Vec<Version>,
    /// Releases that support others.
    #[serde(default)]
    pub releases: Vec<Release>,
    /// The folder in which it looks for plugins, whatever it is told: `prepare` has links to the spies there.
    #[serde(default)]
    pub plugin_dir: Option<String>,
    /// How long an operation may take, where it is longer than `--timeout`.
    #[serde(default, deserialize_with = "optional_duration")]
    pub takes: Option<Duration>,
    /// Whether it runs containers of its own: it may make device nodes then, and finds an empty `/sys/fs/cgroup`.
    #[serde(default)]
    pub containers: bool,
    /// Command names of processes that stay after an operation.
    #[serde(default)]
    pub leaves_running: Vec<String>,
    /// Runs before everything else.
    #[serde(default)]
    pub prepare: Option<Step>,
    /// Runs at the end.
    #[serde(default)]
    pub teardown: Option<Step>,
    /// What runs beside it.
    #[serde(default)]
    pub daemon: Option<Daemon>,
    /// How each operation is asked for.
    #[serde(default)]
    pub operations: Operations,
    /// What it can be told.
    #[serde(default)]
    pub can: Can,
    /// The capability arguments that `add` can be asked for, where it cannot be asked for any.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Variables of the environment of everything that is executed.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// What holds for some releases of a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Release {
    /// What `version` prints then: a pattern in which `*` stands for anything.
    pub prints: String,
    /// The spec versions that it supports.
    pub versions: Vec<Version>,
}

impl Adapter {
    /// Reads an adapter; `origin` is what errors name.
    ///
    /// # Errors
    /// Says what is wrong, where, and what to write instead.
    pub fn parse(text: &str, origin: &str) -> Result<Adapter, AdapterError> {
        let fail = |message: String| AdapterError { origin: origin.to_owned(), message };
        let adapter: Adapter = toml::from_str(text).map_err(|error| fail(error.to_string()))?;
        adapter.check().map_err(fail)?;
        Ok(adapter)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err(format!(
                "name = {:?}: use letters, digits, hyphens, underscores and dots, since reports name files after it",
                self.name
            ));
        }
        if self.operations.add.is_none() {
            return Err("[operations.add] is missing: without it nothing can be seen".to_owned());
        }
        let known = [
            ("prepare", self.prepare.as_ref()),
            ("teardown", self.teardown.as_ref()),
            ("operations.add", self.operations.add.as_ref()),
            ("operations.del", self.operations.del.as_ref()),
            ("operations.check", self.operations.check.as_ref()),
            ("operations.gc", self.operations.gc.as_ref()),
            ("operations.status", self.operations.status.as_ref()),
            ("operations.version", self.operations.version.as_ref()),
            ("operations.add-two", self.operations.add_two.as_ref()),
            ("operations.del-two", self.operations.del_two.as_ref()),
            ("operations.run", self.operations.run.as_ref()),
            ("operations.remove", self.operations.remove.as_ref()),
        ];
        for (place, step) in known {
            let Some(step) = step else { continue };
            match (step.command.is_empty(), step.script.trim().is_empty()) {
                (true, true) => return Err(format!("[{place}] needs a command or a script")),
                (false, false) => {
                    return Err(format!("[{place}] has a command and a script; leave one of them out"));
                }
                _ => {}
            }
            template::check(place, step.command.iter().chain(step.environment.values()))?;
        }
        if let Some(daemon) = &self.daemon {
            for (key, command) in [("command", &daemon.command), ("ready", &daemon.ready)] {
                if command.is_empty() {
                    return Err(format!("[daemon] {key} is empty: write a program and its arguments"));
                }
                template::check("daemon", command)?;
            }
        }
        for release in &self.releases {
            if let Err(error) = globset::Glob::new(&release.prints) {
                return Err(format!("[[releases]] prints = {:?}: {error}", release.prints));
            }
            if self.version.is_empty() {
                return Err(
                    "[[releases]] needs `version`: the command whose output `prints` is about".to_owned()
                );
            }
        }
        template::check("version", &self.version)?;
        template::check("environment", self.environment.values())
    }

    /// The spec versions that the release which prints this is tried in, oldest first.
    pub fn spec_versions(&self, printed: Option<&str>) -> Vec<Version> {
        let fits = |release: &&Release| {
            let pattern = globset::Glob::new(&release.prints);
            pattern.is_ok_and(|pattern| printed.is_some_and(|line| pattern.compile_matcher().is_match(line)))
        };
        let versions = self.releases.iter().find(fits).map_or(&self.versions, |release| &release.versions);
        let named = |version: &Version| versions.is_empty() || versions.contains(version);
        Version::ALL.into_iter().filter(named).collect()
    }
}

/// The folders in which a runtime's programs are found: those of the caller's `PATH`, by which one of several releases is
/// chosen, and then the usual ones.
pub fn search_path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    let mut folders: Vec<&str> = own.split(':').filter(|folder| folder.starts_with('/')).collect();
    for usual in SEARCH_PATH.split(':') {
        if !folders.contains(&usual) {
            folders.push(usual);
        }
    }
    folders.join(":")
}

/// `2s`, `500ms` or `1m`.
fn read_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => {
            return Err(format!(
                "{text:?} is no duration: write a number and a unit, such as 500ms, 2s or 1m"
            ));
        }
    };
    let seconds = digits.parse::<f64>().ok().map(|number| number * unit);
    match seconds.filter(|seconds| (0.001..=3600.0).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs_f64(seconds)),
        None => Err(format!("{text:?} is no duration between 1ms and 60m")),
    }
}

fn text_duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    read_duration(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

fn optional_duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    text_duration(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "name = 'r'\nabout = 'a'\n[operations.add]\ncommand = ['r', '{container}']\n";

    fn refused(text: &str) -> String {
        Adapter::parse(text, "r.toml").expect_err("refused").to_string()
    }

    #[test]
    fn the_smallest_adapter_can_do_nothing_but_add() {
        let adapter = Adapter::parse(SMALLEST, "r.toml").expect("an adapter");
        assert_eq!(adapter.can, Can::default());
        assert!(adapter.operations.get(Operation::Add).is_some());
        assert!(adapter.operations.get(Operation::Del).is_none());
        assert_eq!(adapter.spec_versions(None), Version::ALL);
    }

    #[test]
    fn a_release_has_versions_of_its_own() {
        let text = format!(
            "version = ['r', '--version']\nversions = ['1.1.0']\n{SMALLEST}[[releases]]\nprints = 'r 1.*'\nversions = ['0.4.0', '1.0.0']\n"
        );
        let adapter = Adapter::parse(&text, "r.toml").expect("an adapter");
        assert_eq!(adapter.spec_versions(Some("r 1.6.20~ds1")), [Version::V0_4_0, Version::V1_0_0]);
        assert_eq!(adapter.spec_versions(Some("r 2.1.9")), [Version::V1_1_0]);
        assert_eq!(adapter.spec_versions(None), [Version::V1_1_0]);
    }

    #[test]
    fn programs_are_looked_for_in_the_usual_folders_too() {
        let path = search_path();
        assert!(path.split(':').any(|folder| folder == "/usr/bin"), "{path}");
        assert!(path.split(':').all(|folder| folder.starts_with('/')), "{path}");
    }

    #[test]
    fn built_in_adapters_can_be_read() {
        for name in builtin_names() {
            assert_eq!(builtin(name).expect("an adapter").name, name);
        }
        assert!(Adapter::parse(TEMPLATE, "template").is_ok());
        assert!(builtin(DEFAULT).expect("the default").find.is_empty(), "it runs with nothing installed");
    }

    #[test]
    fn mistakes_are_named_with_their_place_and_what_to_write() {
        for (text, words) in [
            (
                SMALLEST.replace("{container}", "{contianer}"),
                "[operations.add]: {contianer} is no variable; known are",
            ),
            (SMALLEST.replace("command", "comand"), "unknown field `comand`"),
            (SMALLEST.replace("'r'\nabout", "'a/b'\nabout"), "use letters"),
            (format!("{SMALLEST}script = 'x'"), "leave one of them out"),
            (format!("{SMALLEST}[prepare]\n"), "[prepare] needs a command or a script"),
            (format!("{SMALLEST}[can]\ndeadline = '2'"), "write a number and a unit"),
            (format!("{SMALLEST}[can]\nfly = true"), "unknown field `fly`"),
            (format!("{SMALLEST}[daemon]\ncommand = []\nready = ['x']"), "[daemon] command is empty"),
            ("name = 'r'\nabout = 'a'".to_owned(), "[operations.add] is missing"),
        ] {
            let said = refused(&text);
            assert!(said.starts_with("r.toml: ") && said.contains(words), "{words}: {said}");
        }
    }
}
