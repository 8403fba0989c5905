//! Executes operations side by side in one arena, and notes what comes of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use cni_spec::Operation;
use cni_spec::error::CniError;
use cni_spec::result::AddResult;
use cnitest_reports::churn::{Duplicates, Failure};
use serde_json::Value;

use super::plan::{Container, Plan, namespace};
use super::spy::{self, Note};
use super::tally::Tally;
use super::{ChurnError, MEMORY_ROUNDS, Taken, Watched};
use crate::arena::{Arena, ArenaError, Snapshot};
use crate::invoke::{Execution, Invocation};
use crate::runtime::policy::{Policy as _, Standard};
use crate::suite::evidence;

/// Kinds of failure that are told apart; more are counted with the last.
const KINDS: usize = 50;
/// Examples of duplicate addresses that are kept.
const EXAMPLES: usize = 10;

/// An operation that has ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) container: Container,
    pub(super) operation: Operation,
    pub(super) succeeded: bool,
    /// All executions together.
    pub(super) wall: Duration,
    /// Their CPU time.
    pub(super) cpu: Duration,
}

/// An operation under way.
#[derive(Debug)]
struct Under {
    container: Container,
    operation: Operation,
    /// The plugins still to be executed, the next one last.
    rest: Vec<usize>,
    /// The plugin that is executed.
    plugin: usize,
    invocation: Invocation,
    previous: Option<Value>,
    /// How long it waited to begin.
    waited: Option<Duration>,
    wall: Duration,
    cpu: Duration,
}

/// Executes operations in an arena.
pub(super) struct Driver<'a> {
    pub(super) arena: Arena,
    plan: &'a Plan,
    under: HashMap<u64, Under>,
    starts: Vec<(u64, Invocation)>,
    next: u64,
    containers: u64,
    /// Slots whose namespaces snapshots show.
    namespaces: BTreeSet<usize>,
    /// Slots whose namespaces are bare.
    bare: BTreeSet<usize>,
    holders: HashMap<(usize, IpAddr), String>,
    failures: BTreeMap<(Operation, usize, String), Failure>,
    pub(super) duplicates: Duplicates,
    pub(super) tally: Tally,
    watched: Watched,
    pub(super) most_at_once: usize,
}

impl<'a> Driver<'a> {
    pub(super) fn start(plan: &'a Plan) -> Result<Driver<'a>, ChurnError> {
        Ok(Driver {
            arena: Arena::start(&plan.arena())?,
            plan,
            under: HashMap::new(),
            starts: Vec::new(),
            next: 0,
            containers: 0,
            namespaces: BTreeSet::new(),
            bare: BTreeSet::new(),
            holders: HashMap::new(),
            failures: BTreeMap::new(),
            duplicates: Duplicates::default(),
            tally: Tally::default(),
            watched: Watched::default(),
            most_at_once: 0,
        })
    }

    pub(super) fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// A container that has not been there before, in a namespace of its own.
    pub(super) fn container(&mut self, slot: usize, net: usize) -> Result<Container, ChurnError> {
        if !self.namespaces.contains(&slot) && !self.bare.contains(&slot) {
            self.make(slot)?;
        }
        self.containers += 1;
        // As long as those of real runtimes, which matters to names that plugins make of it.
        Ok(Container { id: format!("churn{:059}", self.containers), net, slot, result: None })
    }

    /// Makes the namespace of a slot. Those beyond what is looked at are bare, and take no descriptors.
    fn make(&mut self, slot: usize) -> Result<(), ChurnError> {
        if self.namespaces.len() < super::leaks::CONTAINERS {
            self.arena.create_netns(&namespace(slot))?;
            self.namespaces.insert(slot);
        } else {
            self.arena.create_bare_netns(&namespace(slot))?;
            self.bare.insert(slot);
        }
        Ok(())
    }

    /// Gives a slot a fresh namespace: what a failed DEL left in the old one would be in the way of the next container.
    pub(super) fn renew(&mut self, slot: usize) -> Result<(), ChurnError> {
        if self.namespaces.remove(&slot) | self.bare.remove(&slot) {
            self.arena.delete_netns(&namespace(slot))?;
            self.make(slot)?;
        }
        Ok(())
    }

    /// What is there, see [`super::leaks::look`].
    pub(super) fn look(&mut self) -> Result<Snapshot, ChurnError> {
        Ok(super::leaks::look(&mut self.arena, &self.namespaces)?)
    }

    /// How many operations are under way.
    pub(super) fn busy(&self) -> usize {
        self.under.len()
    }

    /// Begins an operation. `due` is when it should have begun, where that counts.
    pub(super) fn begin(
        &mut self,
        container: Container,
        operation: Operation,
        due: Option<Instant>,
    ) -> Result<(), ChurnError> {
        if operation == Operation::Del {
            self.release(&container);
        }
        let mut rest = self.plan.order(container.net, operation);
        rest.reverse();
        let Some(plugin) = rest.pop() else { return Ok(()) };
        let invocation = self.invocation(&container, operation, plugin, None)?;
        let waited = due.map(|due| Instant::now().saturating_duration_since(due));
        self.launch(Under {
            container,
            operation,
            rest,
            plugin,
            invocation,
            previous: None,
            waited,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
        });
        self.most_at_once = self.most_at_once.max(self.under.len());
        Ok(())
    }

    /// Waits until something has ended, at most `patience`; the operations that are over.
    pub(super) fn pump(&mut self, patience: Duration) -> Result<Vec<Done>, ChurnError> {
        let starts = std::mem::take(&mut self.starts);
        let mut done = Vec::new();
        for (number, execution) in self.arena.advance(starts, patience)? {
            let Some(under) = self.under.remove(&number) else { continue };
            done.extend(self.ended(under, &execution)?);
        }
        Ok(done)
    }

    /// Plays one operation to its end, with nothing else going on.
    pub(super) fn play(&mut self, container: Container, operation: Operation) -> Result<Done, ChurnError> {
        self.begin(container, operation, None)?;
        loop {
            if let Some(done) = self.pump(Duration::from_secs(1))?.pop() {
                return Ok(done);
            }
        }
    }

    /// Adds one container and deletes it again; nothing where either failed.
    pub(super) fn pair(&mut self, slot: usize, net: usize) -> Result<Option<(Done, Done)>, ChurnError> {
        let container = self.container(slot, net)?;
        let added = self.play(container, Operation::Add)?;
        let mut deleted = self.play(added.container.clone(), Operation::Del)?;
        if !deleted.succeeded {
            deleted = self.play(deleted.container, Operation::Del)?;
            if !deleted.succeeded {
                self.renew(slot)?;
            }
            return Ok(None);
        }
        Ok(added.succeeded.then_some((added, deleted)))
    }

    /// How many executions failed.
    pub(super) fn failed(&self) -> u64 {
        self.failures.values().map(|failure| failure.count).sum()
    }

    /// What failed, the most frequent first.
    pub(super) fn failures(&self) -> Vec<Failure> {
        let mut all: Vec<Failure> = self.failures.values().cloned().collect();
        all.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        all
    }

    /// Takes over what another one saw fail.
    pub(super) fn adopt(&mut self, other: &Driver<'_>) {
        for (key, failure) in &other.failures {
            let known = self.failures.entry(key.clone());
            known.and_modify(|known| known.count += failure.count).or_insert_with(|| failure.clone());
        }
    }

    /// Attaches a container so often while spies stand before plugins. Answers what they noted.
    pub(super) fn spied(&mut self, watched: Watched, rounds: usize) -> Result<Vec<Note>, ChurnError> {
        self.watched = watched;
        for _ in 0..rounds {
            self.pair(0, 0)?;
        }
        self.watched = Watched::Nobody;
        let notes = match self.arena.read_file(spy::notes()) {
            Ok(text) => spy::read(&text),
            // A configuration can name a plugin that nobody executes.
            Err(ArenaError::Refused(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        self.arena.remove_path(spy::notes())?;
        Ok(notes)
    }

    /// The most memory that each plugin takes for each operation, those that others execute among them.
    pub(super) fn memory(&mut self) -> Result<Taken, ChurnError> {
        let mut taken = Taken::new();
        for note in self.spied(Watched::Memory, MEMORY_ROUNDS)? {
            let most = taken.entry((note.plugin, note.operation)).or_default();
            *most = most.max(note.memory);
        }
        Ok(taken)
    }

    fn invocation(
        &self,
        container: &Container,
        operation: Operation,
        plugin: usize,
        previous: Option<&Value>,
    ) -> Result<Invocation, ChurnError> {
        self.plan.invocation(container, operation, plugin, previous, self.watched)
    }

    fn launch(&mut self, under: Under) {
        self.next += 1;
        self.starts.push((self.next, under.invocation.clone()));
        self.under.insert(self.next, under);
    }

    /// Takes note of an execution, and goes on to the next plugin or ends the operation.
    fn ended(&mut self, mut under: Under, execution: &Execution) -> Result<Option<Done>, ChurnError> {
        let cpu = execution.user_cpu + execution.system_cpu;
        under.wall += execution.wall;
        under.cpu += cpu;
        let net = &self.plan.nets[under.container.net];
        let index = net.indices[under.plugin];
        let problem = match (execution.outcome.success(), under.operation) {
            (false, _) => Some(problem(execution)),
            (true, Operation::Add) => match Standard.read_result(&execution.stdout, net.known) {
                Ok(result) => {
                    under.previous = Some(result);
                    None
                }
                Err(reason) => Some(format!("no result: {reason}")),
            },
            (true, _) => None,
        };
        self.tally.execution(index, under.operation, execution, problem.is_none());
        if let Some(problem) = problem {
            self.fail(&under, index, &problem, execution);
            return Ok(Some(self.over(under, false)));
        }
        let Some(plugin) = under.rest.pop() else { return Ok(Some(self.over(under, true))) };
        let previous = under.previous.as_ref().filter(|_| under.operation == Operation::Add);
        under.invocation = self.invocation(&under.container, under.operation, plugin, previous)?;
        under.plugin = plugin;
        self.launch(under);
        Ok(None)
    }

    fn over(&mut self, mut under: Under, succeeded: bool) -> Done {
        if succeeded && under.operation == Operation::Add {
            under.container.result = under.previous.take();
            self.claim(&under.container);
        }
        self.tally.operation(under.operation, under.wall, under.cpu, under.waited, succeeded);
        Done {
            container: under.container,
            operation: under.operation,
            succeeded,
            wall: under.wall,
            cpu: under.cpu,
        }
    }

    fn addresses(&self, container: &Container) -> Vec<IpAddr> {
        let known = self.plan.nets[container.net].known;
        let result = container.result.as_ref().and_then(|value| AddResult::parse(value, known).ok());
        result.map(|result| result.ips.iter().map(|ip| ip.address.addr()).collect()).unwrap_or_default()
    }

    /// Notes whose the addresses are.
    fn claim(&mut self, container: &Container) {
        for address in self.addresses(container) {
            let holder = self.holders.insert((container.net, address), container.id.clone());
            let Some(holder) = holder.filter(|holder| *holder != container.id) else { continue };
            self.duplicates.count += 1;
            if self.duplicates.examples.len() < EXAMPLES {
                let text = format!("{address} went to {} while {holder} had it", container.id);
                self.duplicates.examples.push(text);
            }
        }
    }

    fn release(&mut self, container: &Container) {
        for address in self.addresses(container) {
            let key = (container.net, address);
            if self.holders.get(&key).is_some_and(|holder| *holder == container.id) {
                self.holders.remove(&key);
            }
        }
    }

    fn fail(&mut self, under: &Under, index: usize, problem: &str, execution: &Execution) {
        let what = generic(problem, &under.container.id);
        let mut key = (under.operation, index, what);
        if !self.failures.contains_key(&key) && self.failures.len() >= KINDS {
            key.2 = "other failures".to_owned();
        }
        let failure = self.failures.entry(key.clone()).or_insert_with(|| Failure {
            operation: under.operation.to_string(),
            plugin: self.plan.plugins[index].clone(),
            what: key.2,
            count: 0,
            first: evidence(under.operation.as_str(), &under.invocation, execution),
        });
        failure.count += 1;
    }
}

/// Why an execution failed: its error, or how it ended.
fn problem(execution: &Execution) -> String {
    let printed = serde_json::from_slice::<Value>(&execution.stdout).ok();
    match printed.and_then(|value| CniError::parse(&value).ok()) {
        Some(error) => match error.details.as_deref().filter(|details| !details.is_empty()) {
            Some(details) => format!("code {}: {}: {details}", error.code, error.msg),
            None => format!("code {}: {}", error.code, error.msg),
        },
        None => execution.outcome.to_string(),
    }
}

/// A text without what differs from one attachment to the next: `#` stands for words with a digit in them, but for short
/// numbers in words.
pub(super) fn generic(text: &str, id: &str) -> String {
    let text = if id.is_empty() { text.to_owned() } else { text.replace(id, "#") };
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    let flush = |taken: &mut String, out: &mut String| {
        // What ends a clause belongs to no address.
        let word = taken.trim_end_matches(['.', ':']);
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let hexadecimal = word.len() >= 6 && word.chars().all(|c| c.is_ascii_hexdigit());
        // `IPv4`, `eth0` and a code stay what they are.
        if digits >= 4 || hexadecimal || (digits > 0 && word.contains(['.', ':'])) {
            out.push('#');
        } else {
            out.push_str(word);
        }
        out.push_str(&taken[word.len()..]);
        taken.clear();
    };
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | ':') {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::generic;

    #[test]
    fn kinds_of_failure_do_not_differ_by_attachment() {
        for (text, kind) in [
            ("code 11: 10.64.3.2/16 is taken by c1", "code 11: #/# is taken by c1"),
            (
                "code 999: IPv4 of eth0, chain CNI-abcdef0123456789: busy",
                "code 999: IPv4 of eth0, chain CNI-#: busy",
            ),
            ("+ host link veth12ab34cd (veth)", "+ host link # (veth)"),
            ("exit status 1", "exit status 1"),
        ] {
            assert_eq!(generic(text, "c9").replace("/16", "/#"), kind);
        }
        assert_eq!(generic("a c9 b", "c9"), "a # b");
    }
}
