//! The stage on which a runtime is watched: spies in its folder of plugins, a network that names them, and the adapter's
//! commands.

use std::path::Path;
use std::time::{Duration, Instant};

use cni_spec::{Operation, Version};
use serde_json::{Map, Value, json};

use super::case::{Answer, Case, Stop};
use crate::adapter::{self, Adapter, Step, Values};
use crate::arena::{NETNS_DIR, PLUGIN_DIR};
use crate::invoke::Invocation;
use crate::spy::{self, Record, Rule, Script};

/// The folder of the spies.
pub(super) const SPIES: &str = "/opt/cnitest/spies";
/// Another folder of spies, which is searched after the first.
pub(super) const MORE_SPIES: &str = "/opt/cnitest/more-spies";
/// The folder of network configurations.
pub(super) const NETWORKS: &str = "/etc/cni/net.d";
/// The folder of the runtime's cache: libcni's own.
pub(super) const CACHE: &str = "/var/lib/cni";
/// The folder for whatever the adapter keeps.
const WORK: &str = "/var/lib/cnitest";
/// The network that containers join.
pub(super) const NETWORK: &str = "spynet";
/// The spies that are always there, in the order of [`Stage::join`].
pub(super) const CHAIN: [&str; 3] = ["alpha", "beta", "gamma"];

/// What a container is attached with.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    /// The container's name, its ID where the runtime takes one.
    pub(super) container: String,
    /// The path of its namespace, where the runtime takes one.
    pub(super) netns: String,
    /// The interface's name.
    pub(super) ifname: String,
    /// Generic arguments.
    pub(super) args: String,
    /// Capability arguments.
    pub(super) capability_args: Map<String, Value>,
}

impl Pod {
    /// The same container with another interface.
    pub(super) fn second_interface(&self, ifname: &str) -> Pod {
        Pod { ifname: ifname.to_owned(), ..self.clone() }
    }
}

/// A runtime among spies.
pub(super) struct Stage<'c, 'a> {
    /// The case.
    pub(super) case: &'c mut Case<'a>,
    /// How the runtime is driven.
    pub(super) adapter: &'a Adapter,
    script: Script,
    pods: usize,
}

/// Sets the stage, plays on it, and keeps what the spies saw.
pub(super) fn play<'a>(
    case: &mut Case<'a>,
    act: fn(&mut Stage<'_, 'a>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let Some(adapter) = &case.subject.runtime else {
        return Err(Stop::Undecided("there is no runtime to be watched".to_owned()));
    };
    let mut stage = Stage { case, adapter, script: Script::default(), pods: 0 };
    stage.set()?;
    let acted = act(&mut stage);
    stage.records()?;
    if let Some(step) = &stage.adapter.teardown {
        stage.step("teardown", step, &stage.values(None, NETWORK), &[])?;
    }
    acted
}

/// An execution that an adapter asks for.
pub(crate) fn invocation(
    command: &[String],
    values: &Values,
    adapter: &Adapter,
    timeout: Duration,
) -> Invocation {
    let words = command.iter().map(|word| values.fill(word));
    // Searches the PATH where the command has no path.
    let mut made = Invocation::new("/usr/bin/env")
        .args(words)
        .env("PATH", adapter::search_path())
        .env("HOME", "/root")
        .timeout(timeout)
        .sparing(&adapter.leaves_running);
    for (name, value) in &adapter.environment {
        made = made.env(name, values.fill(value));
    }
    made
}

impl<'c, 'a> Stage<'c, 'a> {
    fn set(&mut self) -> Result<(), Stop> {
        for (folder, names) in [(SPIES, &CHAIN[..]), (MORE_SPIES, &["delta"][..])] {
            for name in names {
                self.spy(folder, name)?;
            }
        }
        let own = Path::new(SPIES).join(spy::FOLDER);
        self.case.arena.make_dir(own.join(spy::RECORDS), 0o777)?;
        self.case.arena.make_symlink(own, Path::new(MORE_SPIES).join(spy::FOLDER))?;
        for folder in [NETWORKS, WORK] {
            self.case.arena.make_dir(folder, 0o755)?;
        }
        self.write_script()?;
        if let Some(step) = &self.adapter.prepare {
            needed(self.step("prepare", step, &self.values(None, NETWORK), &[])?)?;
        }
        self.start_daemon()
    }

    fn start_daemon(&mut self) -> Result<(), Stop> {
        let Some(daemon) = &self.adapter.daemon else { return Ok(()) };
        let values = self.values(None, NETWORK);
        let long = Duration::from_secs(24 * 3600);
        self.case.arena.start_background(&invocation(&daemon.command, &values, self.adapter, long))?;
        let clock = Instant::now();
        loop {
            let ready = invocation(&daemon.ready, &values, self.adapter, daemon.ready_within);
            let execution = self.case.arena.execute(&ready)?;
            if execution.outcome.success() {
                return Ok(());
            }
            if clock.elapsed() >= daemon.ready_within {
                let answer = self.case.record("ready".to_owned(), ready, execution);
                return Err(Stop::unmet(format!("the daemon is not ready: {}", said(&answer))));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Places a spy of this name in a folder.
    pub(super) fn spy(&mut self, folder: &str, name: &str) -> Result<(), Stop> {
        let own = Path::new(PLUGIN_DIR).join(adapter::DEFAULT);
        Ok(self.case.arena.make_symlink(own, Path::new(folder).join(name))?)
    }

    fn write_script(&mut self) -> Result<(), Stop> {
        let text = serde_json::to_vec(&self.script)
            .map_err(|error| Stop::Undecided(format!("the script cannot be written: {error}")))?;
        Ok(self.case.arena.write_file(Path::new(SPIES).join(spy::FOLDER).join(spy::SCRIPT), text, 0o644)?)
    }

    /// Has a spy answer so from here on; an earlier rule that fits comes first.
    pub(super) fn answer(&mut self, rule: Rule) -> Result<(), Stop> {
        self.script.rules.push(rule);
        self.write_script()
    }

    /// Has all spies answer as plugins without a defect.
    pub(super) fn heal(&mut self) -> Result<(), Stop> {
        self.script.rules.clear();
        self.write_script()
    }

    // ---- networks

    /// A network of these plugins, in the case's version.
    pub(super) fn list(&self, plugins: &[&str]) -> Value {
        list_in(self.case.version, plugins)
    }

    /// Writes a file into the folder of networks.
    pub(super) fn file(&mut self, name: &str, text: impl AsRef<str>) -> Result<(), Stop> {
        let path = format!("{NETWORKS}/{name}");
        self.case.write_file(&path, text.as_ref(), 0o644)
    }

    /// Makes this the network.
    pub(super) fn network(&mut self, list: &Value) -> Result<(), Stop> {
        self.file("10-spynet.conflist", super::pretty(list))
    }

    /// Makes these spies the network, and a container that can join it.
    pub(super) fn join(&mut self, plugins: &[&str]) -> Result<Pod, Stop> {
        self.join_in(self.case.version, plugins)
    }

    /// The same with a network of this version.
    pub(super) fn join_in(&mut self, version: Version, plugins: &[&str]) -> Result<Pod, Stop> {
        self.network(&list_in(version, plugins))?;
        self.pod()
    }

    /// Makes a single plugin object the network, and a container that can join it.
    pub(super) fn join_single(&mut self, mut plugin: Value) -> Result<Pod, Stop> {
        self.needs(self.adapter.can.single_files, "single-files", "reads single plugin objects")?;
        plugin["cniVersion"] = self.case.version.as_str().into();
        plugin["name"] = NETWORK.into();
        self.file("10-spynet.conf", plugin.to_string())?;
        self.pod()
    }

    // ---- containers

    /// A container that is attached to nothing.
    pub(super) fn pod(&mut self) -> Result<Pod, Stop> {
        let pod = self.bare_pod();
        if self.adapter.can.netns {
            self.case.arena.create_netns(&pod.container)?;
        }
        Ok(pod)
    }

    /// A container whose namespace the runtime makes; where it is told where, at a path where there is nothing.
    pub(super) fn bare_pod(&mut self) -> Pod {
        self.pods += 1;
        let container = format!("pod{}", self.pods);
        let netns = match self.adapter.can.netns {
            true => format!("{NETNS_DIR}/{container}"),
            false => String::new(),
        };
        let ifname = if self.adapter.can.ifname { "net7" } else { "eth0" }.to_owned();
        Pod { container, netns, ifname, args: String::new(), capability_args: Map::new() }
    }

    /// Skips the case unless the adapter says that the runtime can do this.
    pub(super) fn needs(&self, able: bool, key: &str, what: &str) -> Result<(), Stop> {
        match able {
            true => Ok(()),
            false => Err(Stop::skip(format!("needs a runtime that {what} ([can] {key} of the adapter)"))),
        }
    }

    /// How the runtime is asked for the operation; skips the case unless it has it, in this version.
    pub(super) fn needs_operation(&self, operation: Operation) -> Result<&'a Step, Stop> {
        let step = self.adapter.operations.get(operation).filter(|_| self.case.version >= operation.since());
        step.ok_or_else(|| {
            Stop::skip(format!(
                "the runtime has no {operation}: the adapter has no [operations.{}]",
                operation.as_str().to_lowercase()
            ))
        })
    }

    /// Whether the runtime has the operation, in this version.
    pub(super) fn has(&self, operation: Operation) -> bool {
        self.needs_operation(operation).is_ok()
    }

    // ---- operations

    fn values(&self, pod: Option<&Pod>, network: &str) -> Values {
        let path = match self.adapter.can.plugin_path {
            true => format!("{SPIES}:{MORE_SPIES}"),
            false => SPIES.to_owned(),
        };
        let values = Values::default()
            .with("network", network)
            .with("conf_dir", NETWORKS)
            .with("plugin_dir", SPIES)
            .with("plugin_path", path)
            .with("cache_dir", CACHE)
            .with("work_dir", WORK)
            .with("cnitest", self.case.subject.program.display().to_string())
            .with("ifname", "eth0")
            .with("capability_args", "{}");
        let Some(pod) = pod else { return values };
        values
            .with("container", &pod.container)
            .with("netns", &pod.netns)
            .with("ifname", &pod.ifname)
            .with("args", &pod.args)
            .with("capability_args", Value::Object(pod.capability_args.clone()).to_string())
    }

    fn prepared(&self, step: &Step, values: &Values, more: &[(&str, &str)]) -> Invocation {
        let mut made = invocation(&step.command, values, self.adapter, self.case.subject.timeout);
        if step.command.is_empty() {
            made = made.args(["/bin/sh", "-ec", step.script.as_str()]);
            for (name, value) in values.environment() {
                made = made.env(name, value);
            }
        }
        for (name, value) in &step.environment {
            made = made.env(name, values.fill(value));
        }
        more.iter().fold(made, |made, (name, value)| made.env(name, value))
    }

    fn step(
        &mut self,
        label: &str,
        step: &Step,
        values: &Values,
        more: &[(&str, &str)],
    ) -> Result<Answer, Stop> {
        self.execute(label.to_owned(), self.prepared(step, values, more))
    }

    fn execute(&mut self, label: String, invocation: Invocation) -> Result<Answer, Stop> {
        let execution = self.case.arena.execute(&invocation)?;
        Ok(self.case.record(label, invocation, execution))
    }

    /// The execution that asks the runtime for an operation.
    fn asking(
        &self,
        operation: Operation,
        pod: &Pod,
        network: &str,
        more: &[(&str, &str)],
    ) -> Result<Invocation, Stop> {
        let step = self.needs_operation(operation)?;
        Ok(self.prepared(step, &self.values(Some(pod), network), more))
    }

    /// Asks the runtime for an operation on the network.
    pub(super) fn ask(&mut self, operation: Operation, pod: &Pod) -> Result<Answer, Stop> {
        self.ask_of(operation, pod, NETWORK, &[])
    }

    /// Asks the runtime for an operation on a network, with these variables in its environment too.
    pub(super) fn ask_of(
        &mut self,
        operation: Operation,
        pod: &Pod,
        network: &str,
        more: &[(&str, &str)],
    ) -> Result<Answer, Stop> {
        let invocation = self.asking(operation, pod, network, more)?;
        self.execute(format!("the runtime's {operation}"), invocation)
    }

    /// Asks for a step about the network.
    pub(super) fn ask_step(&mut self, what: &str, step: &Step, pod: &Pod) -> Result<Answer, Stop> {
        self.step(&format!("the runtime's {what}"), step, &self.values(Some(pod), NETWORK), &[])
    }

    /// Asks for a step about the network and another one.
    pub(super) fn ask_of_two(
        &mut self,
        what: &str,
        step: &Step,
        pod: &Pod,
        other: &str,
    ) -> Result<Answer, Stop> {
        let values = self.values(Some(pod), NETWORK).with("other_network", other);
        self.step(&format!("the runtime's {what}"), step, &values, &[])
    }

    /// Asks for several operations at the same moment; answers in their order.
    pub(super) fn ask_together(&mut self, asked: &[(Operation, &Pod)]) -> Result<Vec<Answer>, Stop> {
        let made: Vec<Invocation> = asked
            .iter()
            .map(|(operation, pod)| self.asking(*operation, pod, NETWORK, &[]))
            .collect::<Result<_, _>>()?;
        let executions = self.case.arena.execute_all(&made)?;
        let done = asked.iter().zip(made).zip(executions);
        Ok(done
            .map(|(((operation, _), invocation), execution)| {
                self.case.record(format!("the runtime's {operation}"), invocation, execution)
            })
            .collect())
    }

    /// Asks for an operation, and kills the runtime after this time.
    pub(super) fn ask_and_kill(
        &mut self,
        operation: Operation,
        pod: &Pod,
        after: Duration,
    ) -> Result<Answer, Stop> {
        let invocation = self.asking(operation, pod, NETWORK, &[])?.timeout(after);
        self.execute(format!("the runtime's {operation}, killed"), invocation)
    }

    /// Kills the runtime with all that it has started, containers too, and starts its daemon again.
    pub(super) fn kill(&mut self) -> Result<(), Stop> {
        self.case.arena.kill_all()?;
        self.start_daemon()
    }

    /// Has the machine stop without notice and start again, and the daemon with it.
    pub(super) fn reboot(&mut self) -> Result<(), Stop> {
        self.case.arena.reboot()?;
        self.start_daemon()
    }

    /// ADD that must succeed for the check to make sense.
    pub(super) fn add(&mut self, pod: &Pod) -> Result<Answer, Stop> {
        needed(self.ask(Operation::Add, pod)?)
    }

    // ---- what the spies saw

    /// Every execution of a spy, in the order in which they began.
    pub(super) fn records(&mut self) -> Result<Vec<Record>, Stop> {
        let folder = spy::records_of(Path::new(SPIES));
        let mut records = Vec::new();
        for entry in self.case.arena.list_dir(&folder)? {
            let Some(ending) = spy::complete(&entry.name) else { continue };
            let ending = self.case.arena.read_file(folder.join(ending)).ok();
            let text = self.case.arena.read_file(folder.join(&entry.name))?;
            let record = spy::read(&text, ending.as_deref()).map_err(|error| {
                Stop::Undecided(format!("the record {} cannot be read: {error}", entry.name))
            })?;
            records.push(record);
        }
        records.sort_by_key(|record| record.number);
        self.case.spies.clone_from(&records);
        Ok(records)
    }

    /// The executions with an operation that began after the `known` first ones.
    pub(super) fn since(&mut self, known: usize, operation: Operation) -> Result<Vec<Record>, Stop> {
        let later = self.records()?.into_iter().skip(known);
        Ok(later.filter(|record| record.command() == operation.as_str()).collect())
    }

    /// The executions with an operation.
    pub(super) fn seen(&mut self, operation: Operation) -> Result<Vec<Record>, Stop> {
        self.since(0, operation)
    }

    /// How many executions there were.
    pub(super) fn count(&mut self) -> Result<usize, Stop> {
        Ok(self.records()?.len())
    }

    /// Expects executions of these plugins, in this order, and one at a time.
    pub(super) fn expect_order(
        &mut self,
        seen: &[Record],
        plugins: &[&str],
        requirement: &'static str,
        what: &str,
    ) {
        let names = executed(seen);
        let expected = format!("{what} executes {}, one after another", plugins.join(", "));
        if !self.case.expect(
            names == plugins,
            requirement,
            &expected,
            format!("it executed {}", listed(&names)),
        ) {
            return;
        }
        if let Some((one, other)) = beside(seen) {
            let observed = format!("{} began before {} had ended", other.label(), one.label());
            self.case.expect(false, requirement, expected, observed);
        }
    }

    /// Whether the case's version is at least this one.
    pub(super) fn at_least(&self, version: Version) -> bool {
        self.case.version >= version
    }
}

/// A network of these plugins, in this version.
fn list_in(version: Version, plugins: &[&str]) -> Value {
    let plugins: Vec<Value> = plugins.iter().map(|name| json!({ "type": name })).collect();
    json!({ "cniVersion": version.as_str(), "name": NETWORK, "plugins": plugins })
}

/// Whether two executions ran at the same time at some moment.
pub(super) fn overlap(one: &Record, other: &Record) -> bool {
    let ended = |record: &Record| record.ending.as_ref().map_or(u64::MAX, |ending| ending.ended);
    one.began < ended(other) && other.began < ended(one)
}

/// The first two executions that ran at the same time.
pub(super) fn beside(records: &[Record]) -> Option<(&Record, &Record)> {
    records.iter().enumerate().find_map(|(index, one)| {
        let other = records[index + 1..].iter().find(|other| overlap(one, other))?;
        Some((one, other))
    })
}

/// The plugins that were executed.
pub(super) fn executed(seen: &[Record]) -> Vec<&str> {
    seen.iter().map(|record| record.plugin.as_str()).collect()
}

/// Names in a list; words for none.
pub(super) fn listed(names: &[&str]) -> String {
    match names.is_empty() {
        true => "no spy".to_owned(),
        false => names.join(", "),
    }
}

/// An answer that must be a success for the check to make sense.
pub(super) fn needed(answer: Answer) -> Result<Answer, Stop> {
    match answer.succeeded() {
        true => Ok(answer),
        false => Err(Stop::unmet(account(&answer))),
    }
}

/// How an execution ended, and what it said if it said something.
pub(super) fn account(answer: &Answer) -> String {
    match said(answer) {
        nothing if nothing.is_empty() => answer.summary(),
        words => format!("{}: {words}", answer.summary()),
    }
}

/// What an execution said: the end of stderr, or of stdout.
pub(super) fn said(answer: &Answer) -> String {
    let text = match answer.execution.stderr_text() {
        text if text.trim().is_empty() => answer.execution.stdout_text(),
        text => text,
    };
    let trimmed = text.trim();
    let start = trimmed.char_indices().rev().nth(399).map_or(0, |(index, _)| index);
    trimmed[start..].to_owned()
}
