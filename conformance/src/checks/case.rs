//! One case of a check: the arena, what was done in it, and what was found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cni_spec::error::CniError;
use cni_spec::{Level, Operation, Version, catalogue};
use cnitest_reports::model::SkipCause;
use serde_json::{Map, Value, json};

use super::changes;
use super::front;
use super::observation::Observations;
use super::reproducer::{Assertion, Step};
use super::{Check, Concerns};
use crate::adapter::Adapter;
use crate::arena::dhcp::{self, Pool};
use crate::arena::snapshot::{Scope as SnapshotScope, Snapshot};
use crate::arena::{Arena, ArenaError, Exchange, Exchanged, NetOp, SEARCH_PATH, Unrest, quote};
use crate::invoke::{Execution, Invocation, Outcome, Place, Stdin};
use crate::spy::Record;
use crate::target::{Configuration, Kind, PLUGIN, Target};

/// The shell of [`Call::shell`].
pub(super) const SHELL: &str = "/bin/sh";

/// How long what runs beside a plugin may take until it is ready.
const READY: Duration = Duration::from_secs(5);

/// The name of the network that cases attach containers to.
pub const NETWORK: &str = "cnitest-net";

/// The plugin under test.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The executable, as seen in the arena.
    pub program: PathBuf,
    /// The plugin's type: its file name.
    pub name: String,
    /// Folders that CNI_PATH names.
    pub cni_path: Vec<PathBuf>,
    /// Spec versions that it said it supports, among those that cnitest knows, oldest first.
    pub versions: Vec<Version>,
    /// What it said it supports, to the letter.
    pub advertised: Vec<String>,
    /// Time limit for each execution.
    pub timeout: Duration,
    /// Another release of the same plugin, which has to get on with its attachments.
    pub other: Option<Other>,
    /// How it is driven, when it is a runtime. Nothing but the checks of runtimes is asked of it then.
    pub runtime: Option<Adapter>,
}

/// Another release of the plugin under test.
#[derive(Debug, Clone)]
pub struct Other {
    /// The executable, as seen in the arena.
    pub program: PathBuf,
    /// Folders that CNI_PATH names when it is executed.
    pub cni_path: Vec<PathBuf>,
    /// Spec versions that it said it supports, among those that cnitest knows, oldest first.
    pub versions: Vec<Version>,
}

/// Why a case ended before its end.
#[derive(Debug)]
pub enum Stop {
    /// Could not be decided for a reason that is no fault of the plugin in this check.
    Skip {
        /// What kind of reason that is.
        cause: SkipCause,
        /// Why.
        reason: String,
    },
    /// Could not be decided, and should have been: reported as an error.
    Undecided(String),
    /// cnitest's own machinery failed.
    Arena(ArenaError),
}

impl Stop {
    /// The check asks nothing of this plugin, configuration or version.
    pub fn skip(reason: impl Into<String>) -> Stop {
        Stop::Skip { cause: SkipCause::NotApplicable, reason: reason.into() }
    }

    /// Something that has to work first did not; the check of that reports it.
    pub fn unmet(reason: impl std::fmt::Display) -> Stop {
        Stop::Skip { cause: SkipCause::Precondition, reason: format!("precondition: {reason}") }
    }

    /// What is needed is not here: a program, a delegated plugin.
    pub fn lacking(reason: impl Into<String>) -> Stop {
        Stop::Skip { cause: SkipCause::Host, reason: reason.into() }
    }
}

impl From<ArenaError> for Stop {
    fn from(error: ArenaError) -> Stop {
        Stop::Arena(error)
    }
}

/// A container's connection to the network: what the runtime knows of it.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Short name of the container and of its namespace.
    pub container: String,
    /// CNI_CONTAINERID.
    pub container_id: String,
    /// CNI_NETNS.
    pub netns: PathBuf,
    /// CNI_IFNAME.
    pub ifname: String,
    /// The plugin object, with `cniVersion` and `name`.
    pub plugin: Map<String, Value>,
    /// CNI_ARGS.
    pub args: Option<String>,
    /// The result of the plugin in front (chained plugins), given to ADD as prevResult.
    pub previous: Option<Value>,
    /// The result of the last successful ADD, given to CHECK and DEL as prevResult.
    pub result: Option<Value>,
}

impl Attachment {
    /// Where its interfaces are.
    pub fn place(&self) -> Place {
        Place::Container(self.container.clone())
    }

    /// The request configuration of an operation: the plugin object with the prevResult that the operation gets.
    pub fn request(&self, operation: Operation) -> Map<String, Value> {
        let mut request = self.plugin.clone();
        let previous = match operation {
            Operation::Add => self.previous.as_ref(),
            Operation::Check => self.result.as_ref().or(self.previous.as_ref()),
            Operation::Del if self.version_at_least(Version::V0_4_0) => {
                self.result.as_ref().or(self.previous.as_ref())
            }
            _ => None,
        };
        if let Some(previous) = previous {
            request.insert("prevResult".to_owned(), previous.clone());
        }
        request
    }

    fn version_at_least(&self, version: Version) -> bool {
        let text = self.plugin.get("cniVersion").and_then(Value::as_str).unwrap_or_default();
        text.parse::<Version>().is_ok_and(|own| own >= version)
    }
}

/// One execution to be made: everything can be changed before it runs.
#[derive(Debug, Clone)]
pub struct Call {
    /// What reports call it: usually the operation.
    pub label: String,
    /// The exact environment.
    pub environment: BTreeMap<String, String>,
    /// What stdin holds.
    pub stdin: Stdin,
    /// Arguments, normally none.
    pub arguments: Vec<String>,
    /// Working directory, normally `/`.
    pub directory: PathBuf,
    /// Another program than the plugin under test.
    pub program: Option<PathBuf>,
    /// A shell command that executes the plugin as `"$0" "$@"`, for what an execution alone cannot set up: a umask,
    /// bytes that are no text, other descriptors.
    pub shell: Option<String>,
    /// Kills it after this time instead of the usual deadline; no hang then.
    pub killed_after: Option<Duration>,
}

impl Call {
    /// Sets a variable.
    pub fn set(mut self, variable: &str, value: &str) -> Call {
        self.environment.insert(variable.to_owned(), value.to_owned());
        self
    }

    /// Removes a variable.
    pub fn unset(mut self, variable: &str) -> Call {
        self.environment.remove(variable);
        self
    }

    /// The document on stdin, if it holds one.
    pub(crate) fn parsed(&self) -> Option<Value> {
        let Stdin::Bytes(bytes) = &self.stdin else { return None };
        serde_json::from_slice(bytes).ok()
    }

    /// Replaces stdin by this text.
    pub fn text(mut self, text: impl Into<Vec<u8>>) -> Call {
        self.stdin = Stdin::Bytes(text.into());
        self
    }

    /// Replaces stdin by this document.
    pub fn document(self, document: &Value) -> Call {
        self.text(pretty(document))
    }

    /// Changes the object on stdin. Does nothing when stdin holds no object.
    pub fn edit(self, change: impl FnOnce(&mut Map<String, Value>)) -> Call {
        let Some(Value::Object(mut object)) = self.parsed() else { return self };
        change(&mut object);
        self.document(&Value::Object(object))
    }

    /// Has a shell execute the plugin, after these commands.
    pub fn after(mut self, commands: &str) -> Call {
        self.shell = Some(format!("{commands}; exec \"$0\" \"$@\""));
        self
    }

    /// Renames it in reports.
    pub fn label(mut self, label: impl Into<String>) -> Call {
        self.label = label.into();
        self
    }
}

/// What stdout holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Documents {
    /// Nothing but white space.
    None,
    /// Exactly one JSON document.
    One(Value),
    /// Several JSON documents one after another.
    Several(Vec<Value>),
    /// Something that is not JSON, with the parser's message.
    Garbage(String),
}

/// What an execution answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its place among the executions of the case.
    pub index: usize,
    /// What reports call the execution.
    pub label: String,
    /// How it went.
    pub execution: Execution,
    /// What was on stdout.
    pub documents: Documents,
}

impl Answer {
    pub(crate) fn new(index: usize, label: String, execution: Execution) -> Answer {
        let documents = Documents::parse(&execution.stdout);
        Answer { index, label, execution, documents }
    }

    /// Exit status 0.
    pub fn succeeded(&self) -> bool {
        self.execution.outcome == Outcome::Exited(0)
    }

    /// A non-zero exit status: neither success, nor a signal, nor the deadline.
    pub fn refused(&self) -> bool {
        matches!(self.execution.outcome, Outcome::Exited(status) if status != 0)
    }

    /// The one document on stdout.
    pub fn document(&self) -> Option<&Value> {
        match &self.documents {
            Documents::One(value) => Some(value),
            _ => None,
        }
    }

    /// The error object on stdout, if the one document is one.
    pub fn error(&self) -> Option<CniError> {
        CniError::parse(self.document()?).ok()
    }

    /// The code of the error object.
    pub fn code(&self) -> Option<u32> {
        self.error().map(|error| error.code)
    }

    /// What happened, in one line.
    pub fn summary(&self) -> String {
        let said = match &self.documents {
            Documents::None if self.succeeded() => String::new(),
            Documents::None => " with nothing on stdout".to_owned(),
            Documents::One(_) => match self.error() {
                Some(error) if !self.succeeded() => format!(" with code {}: {}", error.code, error.msg),
                Some(error) => format!(" with an error object (code {}: {})", error.code, error.msg),
                None if self.succeeded() => String::new(),
                None => " with a document that is no error object".to_owned(),
            },
            Documents::Several(all) => format!(" with {} JSON documents on stdout", all.len()),
            Documents::Garbage(problem) => format!(" with text on stdout that is not JSON ({problem})"),
        };
        format!("{} {}{said}", self.label, self.execution.outcome)
    }

    /// Whether stdout or stderr shows that the program fell over instead of refusing.
    pub fn crashed(&self) -> bool {
        if matches!(self.execution.outcome, Outcome::Signaled(_)) {
            return true;
        }
        let text = String::from_utf8_lossy(&self.execution.stderr);
        self.document().is_none()
            && [
                "panic:",
                "goroutine ",
                "panicked at",
                "Traceback (most recent call last)",
                "AddressSanitizer",
            ]
            .iter()
            .any(|mark| text.contains(mark))
    }
}

impl Documents {
    /// The entries of `supportedVersions` of a version result, those that are texts; none where it is no such result.
    pub fn supported_versions(&self) -> Vec<String> {
        let Documents::One(document) = self else { return Vec::new() };
        let list = document.get("supportedVersions").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|entry| entry.as_str().map(str::to_owned)).collect()
    }

    /// What these bytes hold.
    pub fn parse(stdout: &[u8]) -> Documents {
        let mut values = Vec::new();
        for value in serde_json::Deserializer::from_slice(stdout).into_iter::<Value>() {
            match value {
                Ok(value) => values.push(value),
                Err(error) => return Documents::Garbage(error.to_string()),
            }
        }
        match values.len() {
            0 => Documents::None,
            1 => Documents::One(values.remove(0)),
            _ => Documents::Several(values),
        }
    }
}

/// A deviation that a check stated.
#[derive(Debug, Clone)]
pub struct Deviation {
    /// The requirement that is not met.
    pub requirement: &'static str,
    /// What it asks for here.
    pub expected: String,
    /// What was seen.
    pub observed: String,
    /// How a reproducer can tell, where that can be said in shell.
    pub assertion: Option<Assertion>,
}

/// What a case is played with.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The check.
    pub check: &'static Check,
    /// The plugin under test.
    pub subject: &'a Subject,
    /// What is known of it.
    pub target: Option<&'a Target>,
    /// The configuration to use; without a target, a bare one.
    pub configuration: &'a Configuration,
    /// The spec version to use.
    pub version: Version,
    /// The variant, empty when the check has none.
    pub variant: &'static str,
    /// What cases of the same run have observed.
    pub observations: &'a Observations,
}

/// One case being played.
pub struct Case<'a> {
    /// The check.
    pub check: &'static Check,
    /// The plugin under test.
    pub subject: &'a Subject,
    /// What is known of it.
    pub target: Option<&'a Target>,
    /// The configuration in use; without a target, a bare one.
    pub configuration: &'a Configuration,
    /// The spec version in use.
    pub version: Version,
    /// The variant, empty when the check has none.
    pub variant: &'static str,
    pub(super) arena: &'a mut Arena,
    pub(super) observations: &'a Observations,
    pub(super) steps: Vec<Step>,
    pub(super) executions: Vec<(Invocation, Answer)>,
    pub(super) deviations: Vec<Deviation>,
    pub(super) notes: Vec<String>,
    pub(super) kernel_difference: Vec<String>,
    /// What spies saw of a runtime.
    pub(super) spies: Vec<Record>,
    /// What the case decides, where that is not all that the check does.
    decided: Vec<&'static str>,
    containers: usize,
    hangs: usize,
    /// The DHCP server has no more addresses than that.
    scarce: Option<u8>,
}

impl<'a> Case<'a> {
    /// Prepares a case in a pristine arena.
    pub fn new(setting: Setting<'a>, arena: &'a mut Arena) -> Case<'a> {
        let Setting { check, subject, target, configuration, version, variant, observations } = setting;
        Case {
            check,
            subject,
            target,
            configuration,
            version,
            variant,
            arena,
            observations,
            steps: Vec::new(),
            executions: Vec::new(),
            deviations: Vec::new(),
            notes: Vec::new(),
            kernel_difference: Vec::new(),
            spies: Vec::new(),
            decided: Vec::new(),
            containers: 0,
            hangs: 0,
            scarce: None,
        }
    }

    /// Says that the case decides these requirements of the check only.
    pub(super) fn decides(&mut self, requirements: &[&'static str]) {
        self.decided = requirements.to_vec();
    }

    /// The requirements that the case decides.
    pub(crate) fn decided(&self) -> &[&'static str] {
        if self.decided.is_empty() { self.check.requirements } else { &self.decided }
    }

    /// What the target is; a plugin without one counts as an interface plugin.
    pub fn kind(&self) -> Kind {
        self.target.map_or(Kind::Interface, |target| target.kind)
    }

    /// The interface that ADD configures for this attachment: CNI_IFNAME, but for plugins with a fixed one.
    pub fn interface(&self, attachment: &Attachment) -> String {
        let fixed = self.target.and_then(|target| target.fixed_interface.clone());
        fixed.unwrap_or_else(|| attachment.ifname.clone())
    }

    // ---- stating what was seen

    /// States what a requirement asks for. When `holds` is false the case deviates from the requirement; its level in
    /// this version decides how grave that is. A requirement that does not hold in this version is passed over.
    pub fn expect(
        &mut self,
        holds: bool,
        requirement: &'static str,
        expected: impl Into<String>,
        observed: impl Into<String>,
    ) -> bool {
        if !holds {
            let (expected, observed) = (expected.into(), observed.into());
            self.deviations.push(Deviation { requirement, expected, observed, assertion: None });
        }
        holds
    }

    /// As [`Case::expect`], with how a reproducer can tell.
    pub fn expect_as(
        &mut self,
        holds: bool,
        requirement: &'static str,
        expected: impl Into<String>,
        observed: impl Into<String>,
        assertion: Assertion,
    ) -> bool {
        self.expect(holds, requirement, expected, observed);
        self.assert(holds, |_| assertion)
    }

    /// Says in shell what the last stated deviation looks like, for the reproducer.
    fn assert(&mut self, holds: bool, assertion: impl FnOnce(&Self) -> Assertion) -> bool {
        if !holds {
            let assertion = assertion(self);
            if let Some(last) = self.deviations.last_mut() {
                last.assertion = Some(assertion);
            }
        }
        holds
    }

    /// Adds a remark to the result, whatever the verdict.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Keeps lines of a kernel or file difference as evidence.
    pub fn evidence(&mut self, lines: impl IntoIterator<Item = String>) {
        self.kernel_difference.extend(lines);
    }

    /// Expects exit status 0, no crash, and at most one document; true when so.
    pub fn expect_success(&mut self, answer: &Answer, requirement: &'static str) -> bool {
        let expected = format!("{} succeeds with exit status 0", answer.label);
        let index = answer.index;
        self.expect(answer.succeeded(), requirement, expected, answer.summary());
        self.assert(answer.succeeded(), |_| Assertion::Succeeds(index))
    }

    /// Expects a clean refusal: non-zero exit status and one error object on stdout. True when refused at all.
    pub fn expect_refusal(&mut self, answer: &Answer, requirement: &'static str, why: &str) -> bool {
        let expected = format!("{} fails: {why}", answer.label);
        let index = answer.index;
        let refused = answer.refused() || answer.crashed();
        self.expect(refused, requirement, expected, answer.summary());
        if !self.assert(refused, |_| Assertion::Fails(index)) {
            return false;
        }
        if answer.error().is_none() {
            let (expected, observed) = match answer.crashed() {
                true => {
                    (format!("{} reports an error object and exits", answer.label), crash_summary(answer))
                }
                false => (format!("{} prints one error object on stdout", answer.label), answer.summary()),
            };
            self.expect(false, "error.json-on-stdout-nonzero-exit", expected, observed);
            self.assert(false, |_| Assertion::Lives(index));
        }
        true
    }

    /// Expects one of these codes in the error object, if there is an error object.
    pub fn expect_code(&mut self, answer: &Answer, requirement: &'static str, codes: &[u32]) {
        let Some(code) = answer.code() else { return };
        let wanted: Vec<String> = codes.iter().map(u32::to_string).collect();
        let expected = format!("{} fails with code {}", answer.label, wanted.join(" or "));
        let holds = codes.contains(&code);
        self.expect(holds, requirement, expected, answer.summary());
        let index = answer.index;
        self.assert(holds, |_| Assertion::Code(index, codes.to_vec()));
    }

    /// Takes two snapshots to be equal, but for what happens by itself, logs, and `ignore`d lines; keeps the difference
    /// as evidence if they are not.
    pub fn expect_unchanged(
        &mut self,
        before: &Snapshot,
        after: &Snapshot,
        requirement: &'static str,
        what: &str,
        ignore: impl Fn(&str) -> bool,
    ) -> bool {
        let lines: Vec<String> =
            changes::judged(self, before, after).into_iter().filter(|line| !ignore(line)).collect();
        let holds = lines.is_empty();
        let count = lines.len();
        let first = lines.first().cloned().unwrap_or_default();
        self.kernel_difference.extend(lines.iter().cloned());
        let observed = match count {
            1 => first,
            _ => format!("{first}, and {} more; see the difference", count.saturating_sub(1)),
        };
        self.expect(holds, requirement, format!("{what} changes nothing"), observed);
        self.assert(holds, |_| Assertion::Unchanged { before: before.number, after: after.number, lines })
    }

    // ---- containers

    /// Makes a container: a fresh namespace, the links that the target wants for it, and for chained plugins an
    /// interface in front. The attachment is ready for ADD.
    pub fn attachment(&mut self) -> Result<Attachment, Stop> {
        self.containers += 1;
        let container = format!("c{}", self.containers);
        if self.containers == 1 {
            self.start_surroundings()?;
            self.make_links(false, &container)?;
        }
        self.steps.push(Step::AddNetns(container.clone()));
        let netns = self.arena.create_netns(&container)?;
        self.make_links(true, &container)?;
        let mut attachment = Attachment {
            container_id: format!("cnitest-{container}"),
            netns,
            ifname: self
                .target
                .and_then(|target| target.fixed_interface.clone())
                .unwrap_or_else(|| "eth0".to_owned()),
            plugin: self.plugin_object(&container),
            args: self.configuration.args.as_ref().map(|args| args.replace("${container}", &container)),
            previous: None,
            result: None,
            container,
        };
        let index = self.containers;
        if self.kind() == Kind::Chained {
            attachment.previous = Some(front::make(self, &attachment, index)?);
        }
        if self.pool().is_some() {
            front::plug(self, &attachment, index)?;
        }
        Ok(attachment)
    }

    /// What the DHCP server leases, where the target wants one.
    pub(super) fn pool(&self) -> Option<Pool> {
        let pool = self.target.and_then(|target| target.dhcp_server)?;
        Some(Pool { addresses: self.scarce.map_or(pool.addresses, |few| few.min(pool.addresses)), ..pool })
    }

    /// Has the DHCP server lease this many addresses at most. To be called before there is a container.
    pub(super) fn lease_only(&mut self, addresses: u8) {
        self.scarce = Some(addresses);
    }

    /// What the DHCP server has written down, a line for each message.
    pub(super) fn leases(&mut self) -> Result<Vec<String>, Stop> {
        let bytes = self.arena.read_file(dhcp::LOG)?;
        Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
    }

    /// Starts what has to run beside the plugin: it ends with the case, when the arena is reset.
    fn start_surroundings(&mut self) -> Result<(), Stop> {
        let Some(target) = self.target else { return Ok(()) };
        if self.check.concerns == Concerns::Unattended {
            return Ok(());
        }
        if let Some(pool) = self.pool() {
            front::open(self)?;
            let (path, text) = ("/run/cnitest-dhcp/server.py".to_owned(), pool.python());
            self.steps.push(Step::File { path: path.clone(), text, mode: 0o644 });
            self.steps.push(Step::Shell(format!("python3 {path} >{} & sleep 1", dhcp::LOG)));
            self.arena.start_background(&pool.server())?;
            self.await_path(Path::new(dhcp::LOG), "the DHCP server")?;
        }
        if let Some(start) = &target.daemon_start {
            let plugin = self.subject.program.display().to_string();
            let words: Vec<String> = start.command.iter().map(|word| word.replace(PLUGIN, &plugin)).collect();
            let Some((program, arguments)) = words.split_first() else { return Ok(()) };
            let invocation = Invocation::new(program).args(arguments).env("PATH", SEARCH_PATH);
            let shown = |word: &String| match word.as_str() {
                PLUGIN => "\"$plugin\"".to_owned(),
                word => quote(word),
            };
            let shown: Vec<String> = start.command.iter().map(shown).collect();
            self.steps.push(Step::Shell(format!(
                "{} & until [ -e {} ]; do sleep 0.1; done; sleep 0.1",
                shown.join(" "),
                quote(&start.ready.display().to_string())
            )));
            self.arena.start_background(&invocation)?;
            let what = target.daemon.clone().unwrap_or_default();
            self.await_path(&start.ready, &what)?;
        }
        Ok(())
    }

    fn await_path(&mut self, path: &Path, what: &str) -> Result<(), Stop> {
        let (folder, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        let clock = Instant::now();
        while clock.elapsed() < READY {
            // The folder comes with what it holds.
            let entries = self.arena.list_dir(folder).unwrap_or_default();
            if entries.iter().any(|entry| name == entry.name.as_str()) {
                let sockets = self.arena.read_file("/proc/net/unix").unwrap_or_default();
                if is_listened_on(&String::from_utf8_lossy(&sockets), &name.to_string_lossy()) {
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let seconds = READY.as_secs();
        Err(Stop::unmet(format!("{what} is not ready at {} after {seconds} s", path.display())))
    }

    /// The plugin object with `cniVersion` and `name`, for a container.
    pub fn plugin_object(&self, container: &str) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("cniVersion".to_owned(), json!(self.version.as_str()));
        object.insert("name".to_owned(), json!(NETWORK));
        for (key, value) in &self.configuration.plugin {
            object.insert(key.clone(), substitute(value, container));
        }
        object
    }

    fn make_links(&mut self, per_container: bool, container: &str) -> Result<(), Stop> {
        let Some(target) = self.target else { return Ok(()) };
        for link in target.links.iter().filter(|link| link.per_container == per_container) {
            let name = link.name.replace("${container}", container);
            let op = match link.kind.as_str() {
                "veth" => NetOp::AddVeth { a: name.clone(), b: peer_of(&name), peer_place: Place::Host },
                kind => NetOp::AddLinkKind { name: name.clone(), kind: kind.to_owned() },
            };
            self.network(&Place::Host, op)?;
            self.network(&Place::Host, NetOp::SetUp { link: name.clone() })?;
            if link.kind == "veth" {
                self.network(&Place::Host, NetOp::SetUp { link: peer_of(&name) })?;
            }
        }
        Ok(())
    }

    /// Deletes the container's namespace, as a runtime or a crash does.
    pub fn delete_netns(&mut self, attachment: &Attachment) -> Result<(), Stop> {
        self.steps.push(Step::DeleteNetns(attachment.container.clone()));
        Ok(self.arena.delete_netns(&attachment.container)?)
    }

    /// Changes links, addresses or routes behind the plugin's back.
    pub fn network(&mut self, place: &Place, op: NetOp) -> Result<(), Stop> {
        self.steps.push(Step::Shell(op.shell(place)));
        Ok(self.arena.network(place, &op)?)
    }

    /// Has packets sent. No step of a reproducer: its assertion repeats the exchange that matters.
    pub fn exchange(&mut self, exchange: &Exchange) -> Result<Exchanged, Stop> {
        match self.arena.exchange(exchange) {
            // An address that is gone is one that nothing reaches.
            Err(error) if error.errno() == Some(libc::EADDRNOTAVAIL) => {
                Ok(Exchanged { problem: Some(error.to_string()), ..Exchanged::default() })
            }
            other => Ok(other?),
        }
    }

    /// Writes a file in the arena.
    pub fn write_file(&mut self, path: &str, text: &str, mode: u32) -> Result<(), Stop> {
        self.steps.push(Step::File { path: path.to_owned(), text: text.to_owned(), mode });
        Ok(self.arena.write_file(path, text.as_bytes(), mode)?)
    }

    /// Leaves room for this many blocks wherever files are written, or the usual room again: a full disk.
    ///
    /// # Errors
    /// Skips the case where the kernel cannot bound a file system that is in use.
    pub(super) fn leave_room(&mut self, blocks: Option<u64>) -> Result<(), Stop> {
        let folder = "full=/var/lib/cni; mountpoint -q $full || full=/var/lib";
        self.steps.push(Step::Shell(match blocks {
            Some(blocks) => format!(
                "{folder}; echo >$full/.full; used=$(stat -f -c '%b %f' $full | {{ read all free; echo $((all-free)); }})\n\
                 mount -o remount,size=$(((used+{blocks})*4))k $full"
            ),
            None => "mount -o remount,size=64m $full; rm -f $full/.full".to_owned(),
        }));
        match self.arena.leave_room(blocks) {
            Err(ArenaError::Refused(refusal)) => {
                Err(Stop::lacking(format!("no disk can be made full here: {refusal}")))
            }
            other => Ok(other?),
        }
    }

    /// Has a link of the host be a device of the PCI bus.
    ///
    /// # Errors
    /// Skips the case where the kernel has no PCI bus.
    pub(super) fn add_pci_device(&mut self, address: &str, link: &str) -> Result<(), Stop> {
        let bus = "/sys/bus/pci/devices";
        self.steps.push(Step::Shell(format!(
            "mountpoint -q {bus} || mount -t tmpfs tmpfs {bus}; d={bus}/{address}; mkdir -p $d/net $d/cnitest-driver; \
             ln -s cnitest-driver $d/driver; ln -s /sys/class/net/{link} $d/net/{link}"
        )));
        match self.arena.add_pci_device(address, link) {
            Err(ArenaError::Refused(refusal)) => {
                Err(Stop::lacking(format!("no PCI device can be made up here: {refusal}")))
            }
            other => Ok(other?),
        }
    }

    /// Has links and addresses of the host come and go until [`Case::stop_unrest`].
    pub(super) fn start_unrest(&mut self) -> Result<(), Stop> {
        self.steps.push(Step::Shell(
            "kind=dummy; ip link add unrest0 type dummy 2>/dev/null || { kind=bridge; ip link add unrest0 type bridge; }\n\
             for n in $(seq 1 23); do ip link add unrest$n type $kind; done\n\
             for n in $(seq 0 1499); do echo \"addr add 198.19.$((n/256)).$((n%256))/32 dev unrest0\"; done | ip -b -\n\
             while sleep 0.005; do ip link add unrest-guest type $kind; sleep 0.005; ip link del unrest-guest; done & unrest=$!"
                .to_owned(),
        ));
        match self.arena.start_unrest(&Place::Host) {
            Err(ArenaError::Refused(refusal)) => {
                Err(Stop::lacking(format!("no unrest can be made here: {refusal}")))
            }
            other => Ok(other?),
        }
    }

    /// Ends it, and tells what came of it.
    pub(super) fn stop_unrest(&mut self) -> Result<Unrest, Stop> {
        self.steps.push(Step::Shell("kill $unrest".to_owned()));
        Ok(self.arena.stop_unrest()?)
    }

    /// The state of the host, of every container, and the files written.
    pub fn snapshot(&mut self) -> Result<Snapshot, Stop> {
        self.look(SnapshotScope::usual())
    }

    /// As [`Case::snapshot`], with the sysctls under `net/` too.
    pub fn snapshot_with_sysctls(&mut self) -> Result<Snapshot, Stop> {
        self.look(SnapshotScope::all())
    }

    fn look(&mut self, scope: SnapshotScope) -> Result<Snapshot, Stop> {
        let snapshot = self.arena.snapshot(scope)?;
        self.steps.push(Step::State(snapshot.number));
        Ok(snapshot)
    }

    // ---- executing the plugin

    /// An execution of the operation with the parameters and request configuration that a runtime would give.
    pub fn call(&self, operation: Operation, attachment: &Attachment) -> Call {
        self.call_without_request(operation, attachment).document(&self.request(operation, attachment))
    }

    /// The request configuration that a runtime would give.
    pub(crate) fn request(&self, operation: Operation, attachment: &Attachment) -> Value {
        match operation {
            Operation::Add | Operation::Del | Operation::Check => {
                Value::Object(attachment.request(operation))
            }
            Operation::Gc => {
                let mut request = attachment.plugin.clone();
                request.insert("cni.dev/valid-attachments".to_owned(), json!([]));
                Value::Object(request)
            }
            Operation::Status => Value::Object(attachment.plugin.clone()),
            Operation::Version => json!({ "cniVersion": self.version.as_str() }),
        }
    }

    /// An execution of the operation with the parameters that a runtime would give, and nothing on stdin.
    pub(crate) fn call_without_request(&self, operation: Operation, attachment: &Attachment) -> Call {
        let mut environment = BTreeMap::new();
        let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
        set("CNI_COMMAND", operation.as_str().to_owned());
        let path: Vec<String> = self.subject.cni_path.iter().map(|dir| dir.display().to_string()).collect();
        if operation != Operation::Version {
            set("CNI_PATH", path.join(":"));
            set("PATH", SEARCH_PATH.to_owned());
        }
        if operation.is_attachment() {
            set("CNI_CONTAINERID", attachment.container_id.clone());
            set("CNI_NETNS", attachment.netns.display().to_string());
            set("CNI_IFNAME", attachment.ifname.clone());
            if let Some(args) = &attachment.args {
                set("CNI_ARGS", args.clone());
            }
        }
        Call {
            label: operation.as_str().to_owned(),
            environment,
            stdin: Stdin::Empty,
            arguments: Vec::new(),
            directory: PathBuf::from("/"),
            program: None,
            shell: None,
            killed_after: None,
        }
    }

    /// Executes the plugin.
    pub fn run(&mut self, call: Call) -> Result<Answer, Stop> {
        let invocation = self.invocation(&call);
        self.steps
            .push(Step::Execute { label: call.label.clone(), invocation: Box::new(invocation.clone()) });
        let execution = self.arena.execute(&invocation)?;
        Ok(self.record(call.label, invocation, execution))
    }

    /// Executes the plugin, and gives it no longer than this: an execution that takes longer is no fault of its own.
    pub(super) fn run_for(&mut self, call: Call, patience: Duration) -> Result<Answer, Stop> {
        let invocation = self.invocation(&call).timeout(patience.min(self.subject.timeout));
        self.steps
            .push(Step::Execute { label: call.label.clone(), invocation: Box::new(invocation.clone()) });
        let execution = self.arena.execute(&invocation)?;
        let hangs = self.hangs;
        let answer = self.record(call.label, invocation, execution);
        self.hangs = hangs;
        Ok(answer)
    }

    /// Executes several at the same moment; answers in the order of the calls.
    pub fn run_together(&mut self, calls: Vec<Call>) -> Result<Vec<Answer>, Stop> {
        let invocations: Vec<Invocation> = calls.iter().map(|call| self.invocation(call)).collect();
        self.steps.push(Step::Together(
            calls.iter().map(|call| call.label.clone()).zip(invocations.iter().cloned()).collect(),
        ));
        let executions = self.arena.execute_all(&invocations)?;
        let made = calls.into_iter().zip(invocations).zip(executions);
        Ok(made
            .map(|((call, invocation), execution)| self.record(call.label, invocation, execution))
            .collect())
    }

    /// Executes them one after another, faster than one by one: fewer answers than calls when one ran into its deadline.
    /// They are not among [`Case::executions`], and no reproducer shows them.
    pub(crate) fn run_each(&mut self, calls: Vec<Call>) -> Result<Vec<Answer>, Stop> {
        let invocations: Vec<Invocation> = calls.iter().map(|call| self.invocation(call)).collect();
        let executions = self.arena.execute_each(invocations)?;
        let made = calls.into_iter().zip(executions).enumerate();
        Ok(made.map(|(index, (call, execution))| Answer::new(index, call.label, execution)).collect())
    }

    /// Executes the operation as a runtime would.
    pub fn operate(&mut self, operation: Operation, attachment: &Attachment) -> Result<Answer, Stop> {
        let call = self.call(operation, attachment);
        self.run(call)
    }

    /// ADD that must succeed for the check to make sense. Its result is kept in the attachment.
    ///
    /// # Errors
    /// Skips the case when ADD fails: `add.succeeds` reports that.
    pub fn add(&mut self, attachment: &mut Attachment) -> Result<Answer, Stop> {
        let answer = self.operate(Operation::Add, attachment)?;
        self.require_result(&answer)?;
        attachment.result = answer.document().cloned();
        Ok(answer)
    }

    /// Skips the case unless ADD succeeded and printed one object.
    pub(super) fn require_result(&self, answer: &Answer) -> Result<(), Stop> {
        match (answer.succeeded(), answer.document()) {
            (true, Some(Value::Object(_))) => Ok(()),
            _ => Err(Stop::unmet(answer.summary())),
        }
    }

    fn invocation(&self, call: &Call) -> Invocation {
        let plugin = call.program.as_ref().unwrap_or(&self.subject.program);
        let made = match &call.shell {
            Some(script) => Invocation::new(SHELL).arg("-c").arg(script).arg(plugin),
            None => Invocation::new(plugin),
        };
        call.environment
            .iter()
            .fold(made, |made, (name, value)| made.env(name, value))
            .args(&call.arguments)
            .stdin(call.stdin.clone())
            .working_directory(&call.directory)
            .timeout(call.killed_after.unwrap_or(self.subject.timeout))
            .sparing(self.target.map_or(&[], |target| target.leaves_running.as_slice()))
    }

    pub(super) fn record(&mut self, label: String, invocation: Invocation, execution: Execution) -> Answer {
        let hung = matches!(execution.outcome, Outcome::TimedOut { .. });
        self.hangs += usize::from(hung && invocation.timeout == self.subject.timeout);
        let answer = Answer::new(self.executions.len(), label, execution);
        self.executions.push((invocation, answer.clone()));
        answer
    }

    // ---- the end

    /// What was executed, in order.
    pub fn executions(&self) -> &[(Invocation, Answer)] {
        &self.executions
    }

    /// What spies saw of a runtime, in order.
    pub fn spies(&self) -> &[Record] {
        &self.spies
    }

    /// How many executions the case made that ran into their deadline.
    pub fn hangs(&self) -> usize {
        self.hangs
    }

    /// What was stated not to hold, in order.
    pub fn deviations(&self) -> &[Deviation] {
        &self.deviations
    }

    /// Takes others for what was stated: a report of one of them alone.
    pub(crate) fn set_deviations(&mut self, deviations: Vec<Deviation>) {
        self.deviations = deviations;
    }

    /// The remarks.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The differences kept as evidence.
    pub fn kernel_difference(&self) -> &[String] {
        &self.kernel_difference
    }

    /// The level of a requirement in this case's version.
    pub fn level(&self, requirement: &str) -> Option<Level> {
        catalogue::requirement(requirement)?.level_in(self.version)
    }
}

/// A crash in one line, with the first line of what it said.
pub(super) fn crash_summary(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.execution.stderr);
    let line = text.lines().find(|line| line.contains("panic")).or_else(|| text.lines().next()).unwrap_or("");
    format!("{} crashed ({}): {}", answer.label, answer.execution.outcome, line.trim())
}

/// JSON as reports and reproducers show it.
pub fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// The name of the other end of a veth pair that a target asks for.
pub(super) fn peer_of(name: &str) -> String {
    format!("{}-p", name.chars().take(13).collect::<String>())
}

/// Whether somebody listens on the socket of that file name, by the kernel's table of Unix sockets; a file that is no socket
/// of that table counts as listened on. A socket has its file before anybody can connect to it.
fn is_listened_on(table: &str, name: &str) -> bool {
    const ACCEPTS: u32 = 1 << 16;
    const DATAGRAM: &str = "0002";
    let sockets: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, _, _, flags, kind, _, _, path] = words.as_slice() else { return None };
            (path.rsplit('/').next() == Some(name)).then_some((*flags, *kind))
        })
        .collect();
    let listens = |(flags, kind): &(&str, &str)| {
        *kind == DATAGRAM || u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & ACCEPTS != 0)
    };
    sockets.is_empty() || sockets.iter().any(listens)
}

fn substitute(value: &Value, container: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("${container}", container)),
        Value::Array(items) => items.iter().map(|item| substitute(item, container)).collect(),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, item)| (key.clone(), substitute(item, container))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_ready_when_somebody_listens() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 20001 /run/cni/listens.sock
0000000000000000: 00000003 00000000 00000000 0001 03 20004 /run/cni/listens.sock
0000000000000000: 00000002 00000000 00000000 0001 01 20002 /run/cni/bound.sock
0000000000000000: 00000002 00000000 00000000 0002 01 20003 /run/cni/datagrams.sock
0000000000000000: 00000003 00000000 00000000 0001 03 20005
";
        for (name, ready) in
            [("listens.sock", true), ("bound.sock", false), ("datagrams.sock", true), ("a-file", true)]
        {
            assert_eq!(is_listened_on(table, name), ready, "{name}");
        }
    }
}
