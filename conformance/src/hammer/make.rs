//! Makes scenarios: from the target's configurations, the schemas and a stream of decisions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cni_schemas::generate::{Generator, Random, Source};
use cni_schemas::mutate::environment::mutations;
use cni_schemas::mutate::{Coverage, Mutator, text};
use cni_schemas::{Composed, Kind as Document, PluginSchema, Profile};
use cni_spec::{Operation, Version};
use serde_json::{Map, Value, json};

use super::deck::{Deck, Pile};
use super::harmless::{Asking, Harmless};
use super::scenario::{At, CONTAINERS, Edit, Fault, Origin, Scenario, Step};
use super::{fault, lock};
use crate::checks::NETWORK;
use crate::target::{Configuration, Kind, Target};

/// Keys that a generated configuration does not lend to the target's: they are the runtime's.
const RUNTIMES: [&str; 7] =
    ["cniVersion", "cniVersions", "name", "type", "prevResult", "capabilities", "cni.dev/valid-attachments"];

/// Makes scenarios for one plugin.
#[derive(Debug)]
pub(super) struct Maker {
    configurations: Vec<Configuration>,
    versions: Vec<Version>,
    /// What the plugin says that it supports.
    advertised: Vec<String>,
    target: Option<Target>,
    attaches: bool,
    chained: bool,
    unvaried: Vec<String>,
    interfaces: u8,
    networks: u8,
    /// What changes nothing for this plugin.
    harmless: Pile<Harmless>,
    /// The ways to ask for VERSION.
    askings: Pile<Asking>,
    grammars: Mutex<BTreeMap<Key, Option<Arc<Grammar>>>>,
    /// What can be wrong around the document of a request.
    around: Mutex<BTreeMap<Asked, Arc<Pile<Fault>>>>,
    /// What was played of the choices that are few.
    deck: Deck,
}

/// An operation, a version, and the name of a configuration.
type Asked = (Operation, Version, String);

/// A version, a kind of document, and the type of the IPAM plugin.
type Key = (Version, Document, Option<String>);

/// What generates and breaks one kind of request.
#[derive(Debug)]
struct Rules {
    schema: Composed,
    generator: Generator,
    mutator: Mutator,
    /// The constraints for which the specification fixes an error code.
    coded: Vec<usize>,
}

impl Rules {
    /// The rules of a plugin type's requests; none where the schemas do not fit together. They are made once in the life of
    /// the process: that takes longer than many executions do, and whoever hammers many plugins asks for the same.
    fn of(plugin: Option<&str>, (version, kind, ipam): &Key) -> Option<Arc<Rules>> {
        type Made = BTreeMap<(Option<String>, Key), Option<Arc<Rules>>>;
        static MADE: Mutex<Made> = Mutex::new(BTreeMap::new());
        let key = (plugin.map(str::to_owned), (*version, *kind, ipam.clone()));
        if let Some(made) = lock(&MADE).get(&key) {
            return made.clone();
        }
        let make = || {
            let names = [plugin, ipam.as_deref()].into_iter().flatten();
            let plugins: Vec<PluginSchema> = names.filter_map(PluginSchema::known).collect();
            let schema = Composed::compose(*kind, *version, Profile::Compat, &plugins).ok()?;
            let (generator, mutator) = (schema.generator().ok()?, Mutator::new(&schema).ok()?);
            let coded = schema.constraints().iter().enumerate().filter(|(_, one)| one.code.is_some());
            let coded = coded.map(|(site, _)| site).collect();
            Some(Arc::new(Rules { schema, generator, mutator, coded }))
        };
        let made = make();
        lock(&MADE).entry(key).or_insert(made).clone()
    }
}

/// The rules of one kind of request, and what this run knows of them.
#[derive(Debug)]
struct Grammar {
    rules: Arc<Rules>,
    learnt: Mutex<Learnt>,
}

/// What is known of the constraints of one kind of request.
#[derive(Debug)]
struct Learnt {
    coverage: Coverage,
    /// How often it was tried to break each.
    tries: Vec<u32>,
    /// What broke each of them alone, in some document: the same change does it in most others.
    changes: Vec<Vec<Vec<Edit>>>,
    /// The constraints that have such a change.
    broken: Vec<usize>,
    /// Those of them for which the specification fixes an error code.
    broken_coded: Vec<usize>,
    /// How many constraints were tried since a change came that was not known.
    barren: u32,
}

/// How many changes are remembered for each constraint.
const CHANGES: usize = 16;

/// How many constraints have to be tried in vain before changes that are not known are looked for less often.
const BARREN: u32 = 16;

/// One in so many faults, at least, is a change that was looked for.
const SELDOM: u32 = 8;

impl Learnt {
    fn record(&mut self, site: usize, coded: bool, edits: &[Edit]) {
        self.coverage.record(site);
        let changes = &mut self.changes[site];
        if changes.is_empty() {
            self.broken.push(site);
            if coded {
                self.broken_coded.push(site);
            }
        }
        if changes.len() < CHANGES && !changes.iter().any(|known| known == edits) {
            changes.push(edits.to_vec());
            self.barren = 0;
        }
    }

    /// One in how many faults is to be a change that is not known: all at first, fewer where looking for them yields little.
    fn curiosity(&self) -> u32 {
        (1 + self.barren / BARREN).min(SELDOM)
    }

    /// Of a few constraints with a known change, the one that was broken least, and a change. `coded`: one for which the
    /// specification fixes an error code.
    fn pick(&self, coded: bool, source: &mut dyn Source) -> Option<(usize, Vec<Edit>)> {
        let broken = if coded { &self.broken_coded } else { &self.broken };
        let count = u32::try_from(broken.len()).ok().filter(|count| *count > 0)?;
        let some = (0..3).map(|_| broken[source.below(count) as usize]);
        let site = some.min_by_key(|site| self.coverage.hits(*site))?;
        let changes = &self.changes[site];
        Some((site, changes[source.below(changes.len() as u32) as usize].clone()))
    }
}

impl Maker {
    /// A maker for a plugin that supports `versions`, oldest first, with the configurations that can work here.
    /// `advertised` is what its VERSION names.
    pub(super) fn new(
        versions: &[Version],
        advertised: &[String],
        configurations: &[Configuration],
        target: Option<&Target>,
    ) -> Maker {
        let attaches = target.is_some_and(|target| target.no_attachments.is_none());
        let one_each = target.is_some_and(|target| target.links.iter().any(|link| link.per_container));
        let fixed = target.is_some_and(|target| target.fixed_interface.is_some());
        let several = attaches && !one_each && !fixed;
        let harmless = Harmless::ALL.into_iter().filter(|harmless| match harmless {
            Harmless::NoPath => target.is_some_and(|target| !target.executes_others()),
            // The interface that a chained plugin finds has its name already; one that others make under a longer name of
            // their own may not fit.
            Harmless::LongInterface => !fixed && target.is_some_and(|target| target.kind == Kind::Interface),
            _ => true,
        });
        Maker {
            configurations: configurations.to_vec(),
            versions: versions.to_vec(),
            advertised: advertised.to_vec(),
            target: target.cloned(),
            attaches,
            chained: target.is_some_and(|target| target.kind == Kind::Chained),
            unvaried: target.map(|target| target.unvaried.clone()).unwrap_or_default(),
            interfaces: if several { 2 } else { 1 },
            networks: if several { 2 } else { 1 },
            harmless: Pile::new("harmless", harmless),
            askings: Pile::new("VERSION", Asking::ALL),
            grammars: Mutex::default(),
            around: Mutex::default(),
            deck: Deck::default(),
        }
    }

    /// Whether the plugin makes attachments, as far as is known.
    pub(super) fn attaches(&self) -> bool {
        self.attaches
    }

    /// How many constraints of the schemas in use were broken, and how many there are.
    pub(super) fn coverage(&self) -> (usize, usize) {
        let grammars = lock(&self.grammars);
        grammars.values().flatten().fold((0, 0), |(hit, sites), grammar| {
            let learnt = lock(&grammar.learnt);
            (hit + learnt.coverage.hit(), sites + learnt.coverage.sites())
        })
    }

    /// Whether the configuration of a scenario follows the schemas.
    pub(super) fn is_valid(&self, scenario: &Scenario) -> bool {
        let kind = self.first_request();
        let grammar = self.grammar(scenario, kind);
        grammar.is_none_or(|grammar| {
            grammar.rules.schema.validate(&request(scenario.version, &scenario.plugin, kind)).is_empty()
        })
    }

    /// What a configuration becomes first.
    fn first_request(&self) -> Document {
        if self.chained { Document::RequestAddChained } else { Document::RequestAddFirst }
    }

    /// A scenario.
    pub(super) fn make(&self, source: &mut dyn Source) -> Scenario {
        let newest = self.versions.len() - 1;
        let chosen =
            if source.chance(1, 2) { source.below(self.versions.len() as u32) as usize } else { newest };
        let version = self.versions[chosen];
        // Configurations but the first are made for the newest version.
        let count = if chosen == newest { self.configurations.len() } else { 1 };
        let configuration = &self.configurations[source.below(count as u32) as usize];
        let mut scenario = Scenario {
            version,
            configuration: configuration.name.clone(),
            plugin: configuration.plugin.clone(),
            args: configuration.args.clone(),
            settle: true,
            steps: Vec::new(),
            origin: Origin::Made,
        };
        if source.chance(1, 2) {
            self.vary(&mut scenario, source);
        }
        let length = match source.below(4) {
            // Nothing that lasts can come of requests alone.
            _ if !self.attaches => 1,
            0 | 1 => 1,
            2 => 1 + source.below(4),
            _ => 4 + source.below(8),
        };
        if length == 1 {
            scenario.steps.extend(self.lone(&scenario, source));
        } else {
            let steps: Vec<Step> = (0..length).map(|_| self.step(&scenario, source)).collect();
            scenario.steps = steps;
        }
        scenario
    }

    /// A scenario that another one gives rise to.
    pub(super) fn breed(&self, parent: &Scenario, source: &mut dyn Source) -> Scenario {
        let mut child = Scenario { origin: Origin::Bred, ..parent.clone() };
        // Another request of a configuration like it takes less time than a longer scenario.
        if !self.attaches || child.steps.len() == 1 && source.chance(1, 2) {
            self.vary(&mut child, source);
            child.steps = self.lone(&child, source);
            return child;
        }
        for _ in 0..1 + source.below(3) {
            let place = source.below(child.steps.len().max(1) as u32) as usize;
            match source.below(6) {
                0 => self.vary(&mut child, source),
                1 if child.steps.len() > 1 => drop(child.steps.remove(place)),
                2 if place + 1 < child.steps.len() => child.steps.swap(place, place + 1),
                3 if !child.steps.is_empty() => {
                    let again = child.steps[place].clone();
                    child.steps.insert(place, again);
                }
                4 if !child.steps.is_empty() => child.steps[place] = self.step(&child, source),
                _ => {
                    let step = self.step(&child, source);
                    child.steps.insert(place.min(child.steps.len()), step);
                }
            }
        }
        child.steps.truncate(16);
        child
    }

    /// One execution that stands alone: a faulty request, or an attachment that comes and goes.
    fn lone(&self, scenario: &Scenario, source: &mut dyn Source) -> Vec<Step> {
        let at = At::default();
        if source.chance(1, 16) {
            return (0..2).map(|_| self.ask_version(source)).collect();
        }
        if self.attaches && source.chance(1, 4) {
            let harmless = if source.chance(1, 2) { self.harmless(source) } else { None };
            return vec![Step::Operate { operation: Operation::Add, at, harmless }];
        }
        let operation = self.operation(scenario.version, source);
        let fault = self.fault(scenario, operation, source);
        let mut steps = Vec::new();
        if self.attaches && operation != Operation::Add && source.chance(1, 2) {
            steps.push(Step::Operate { operation: Operation::Add, at, harmless: None });
        }
        steps.push(match fault {
            Some(fault) => Step::Broken { operation, at, fault },
            None => self.ask_version(source),
        });
        steps
    }

    fn harmless(&self, source: &mut dyn Source) -> Option<Harmless> {
        self.deck.deal(&self.harmless, source).copied()
    }

    /// VERSION, asked for in some way.
    fn ask_version(&self, source: &mut dyn Source) -> Step {
        let asking = self.deck.deal(&self.askings, source).copied().unwrap_or_default();
        Step::Version { asking }
    }

    fn operation(&self, version: Version, source: &mut dyn Source) -> Operation {
        let known = [Operation::Add, Operation::Del, Operation::Check, Operation::Gc, Operation::Status];
        let count = match version {
            _ if version >= Version::V1_1_0 => 5,
            _ if version >= Version::V0_4_0 => 3,
            _ => 2,
        };
        if source.chance(1, 2) { Operation::Add } else { known[source.below(count) as usize] }
    }

    fn at(&self, source: &mut dyn Source) -> At {
        At {
            container: source.below(u32::from(CONTAINERS)) as u8,
            interface: u8::from(self.interfaces > 1 && source.chance(1, 8)),
            network: u8::from(self.networks > 1 && source.chance(1, 6)),
        }
    }

    /// A step with a plugin that makes attachments.
    fn step(&self, scenario: &Scenario, source: &mut dyn Source) -> Step {
        let at = self.at(source);
        let version = scenario.version;
        let checks = version >= Version::V0_4_0;
        let collects = version >= Version::V1_1_0;
        match source.below(20) {
            0..=5 => {
                let harmless = if source.chance(1, 6) { self.harmless(source) } else { None };
                Step::Operate { operation: Operation::Add, at, harmless }
            }
            6..=8 => Step::Operate { operation: Operation::Del, at, harmless: None },
            9 if checks => Step::Operate { operation: Operation::Check, at, harmless: None },
            10 => {
                let operation = if source.chance(1, 3) { Operation::Del } else { Operation::Add };
                let all = (0..CONTAINERS).map(|container| At { container, ..at });
                Step::Together { operation, at: all.collect() }
            }
            11 | 12 => {
                let operation = if source.chance(1, 3) { Operation::Del } else { Operation::Add };
                Step::Kill { operation, at, after: 200 << source.below(10) }
            }
            13 if collects => Step::Collect { network: at.network, valid: source.chance(2, 3) },
            14 if collects => Step::Status { network: at.network },
            15 => Step::DeleteNetns { container: at.container },
            16 => Step::RemoveInterface { at },
            17 => self.ask_version(source),
            _ => {
                let operation = self.operation(version, source);
                match self.fault(scenario, operation, source) {
                    Some(fault) => Step::Broken { operation, at, fault },
                    None => Step::Operate { operation: Operation::Add, at, harmless: None },
                }
            }
        }
    }

    /// Lends keys of a generated configuration to that of the scenario, as long as it stays valid.
    fn vary(&self, scenario: &mut Scenario, source: &mut dyn Source) {
        let kind = self.first_request();
        let Some(grammar) = self.grammar(scenario, kind) else { return };
        let size = 3 + source.below(4) as usize;
        let generated = grammar.rules.generator.generate(source, size);
        let Value::Object(generated) = generated else { return };
        let left = |key: &String| RUNTIMES.contains(&key.as_str()) || self.unvaried.contains(key);
        let own: Vec<(&String, &Value)> = generated.iter().filter(|(key, _)| !left(key)).collect();
        for _ in 0..1 + source.below(2) {
            if own.is_empty() {
                return;
            }
            let (key, value) = own[source.below(own.len() as u32) as usize];
            let mut plugin = scenario.plugin.clone();
            match (plugin.get_mut(key), value) {
                // A part of it: what makes the configuration work stays.
                (Some(Value::Object(old)), Value::Object(new)) if source.chance(3, 4) => {
                    let members: Vec<(&String, &Value)> =
                        new.iter().filter(|(key, _)| *key != "type").collect();
                    if members.is_empty() {
                        continue;
                    }
                    let (key, value) = members[source.below(members.len() as u32) as usize];
                    old.insert(key.clone(), value.clone());
                }
                _ => {
                    plugin.insert(key.clone(), value.clone());
                }
            }
            let request = request(scenario.version, &plugin, kind);
            if grammar.rules.schema.validate(&request).is_empty() {
                scenario.plugin = plugin;
            }
        }
    }

    /// Something to be wrong with the request of an operation.
    fn fault(&self, scenario: &Scenario, operation: Operation, source: &mut dyn Source) -> Option<Fault> {
        let around = self.around(scenario, operation);
        // What is wrong around a document is less than what can be wrong in it, and is played first.
        let share = if self.deck.has_new(&around) { 4 } else { 2 };
        if source.chance(1, share)
            && let Some(fault) = self.broken_document(scenario, operation, source)
        {
            return Some(fault);
        }
        let mut fault = self.deck.deal(&around, source)?.clone();
        if let Fault::Text { seed, .. } = &mut fault {
            *seed = u64::from(source.below(1 << 16));
        }
        Some(fault)
    }

    /// Everything that can be wrong around the document of a request: its text, the version that it names, the parameters.
    fn around(&self, scenario: &Scenario, operation: Operation) -> Arc<Pile<Fault>> {
        let version = scenario.version;
        let make = || {
            let text = |kind: text::Kind| Fault::Text { change: kind.as_str().to_owned(), seed: 0 };
            let mut all: Vec<Fault> = text::Kind::ALL.into_iter().map(text).collect();
            all.extend(fault::versions(&self.advertised, &self.versions, operation, version));
            all.extend(mutations(operation, version).into_iter().map(|one| Fault::Environment {
                variable: one.variable.as_str().to_owned(),
                value: one.value,
                requirement: one.requirement.to_owned(),
                code: one.code,
            }));
            if let Some(target) =
                self.target.as_ref().filter(|_| operation == Operation::Add && self.attaches)
            {
                all.extend(fault::parameters(target, scenario.args.as_deref()));
            }
            Arc::new(Pile::new(operation.as_str(), all))
        };
        let key = (operation, version, scenario.configuration.clone());
        Arc::clone(lock(&self.around).entry(key).or_insert_with(make))
    }

    fn broken_document(
        &self,
        scenario: &Scenario,
        operation: Operation,
        source: &mut dyn Source,
    ) -> Option<Fault> {
        let kind = match operation {
            Operation::Add => self.first_request(),
            Operation::Del => Document::RequestDel,
            Operation::Check => Document::RequestCheck,
            Operation::Gc => Document::RequestGc,
            Operation::Status => Document::RequestStatus,
            Operation::Version => return None,
        };
        let grammar = self.grammar(scenario, kind)?;
        let valid = request(scenario.version, &scenario.plugin, kind);
        let sites = grammar.rules.schema.constraints().len() as u32;
        if sites == 0 {
            return None;
        }
        // A plugin's own constraints are many more than those of the protocol.
        let coded = source.chance(1, 2) && !grammar.rules.coded.is_empty();
        let any_site = |source: &mut dyn Source| match grammar.rules.coded.len() as u32 {
            count if coded => grammar.rules.coded[source.below(count) as usize],
            _ => source.below(sites) as usize,
        };
        let curiosity = lock(&grammar.learnt).curiosity();
        if !source.chance(1, curiosity)
            && let Some(fault) = known_change(&grammar, &valid, coded, source)
        {
            return Some(fault);
        }
        // Most constraints speak of keys that this document does not have.
        for _ in 0..24 {
            let few = {
                let mut learnt = lock(&grammar.learnt);
                let some = (0..4).map(|_| any_site(source));
                let few = some.min_by_key(|site| learnt.tries[*site])?;
                learnt.tries[few] += 1;
                learnt.barren = learnt.barren.saturating_add(1);
                few
            };
            let mut random = Random::new(u64::from(source.below(u32::MAX)));
            let Ok(mutation) = grammar.rules.mutator.mutate(&valid, few, &mut random) else { continue };
            let edits = Edit::between(&valid, &mutation.document);
            lock(&grammar.learnt).record(mutation.site, mutation.code.is_some(), &edits);
            return Some(Fault::Document {
                edits,
                requirement: mutation.requirement.map(str::to_owned),
                code: mutation.code,
            });
        }
        None
    }

    fn grammar(&self, scenario: &Scenario, kind: Document) -> Option<Arc<Grammar>> {
        // A type without a schema of its own adds nothing, and there is no end of names.
        let known = |name: &&str| PluginSchema::source(name).is_some();
        let ipam = scenario.plugin.get("ipam").and_then(|ipam| ipam["type"].as_str()).filter(known);
        let ipam = ipam.map(str::to_owned);
        let key = (scenario.version, kind, ipam);
        let mut grammars = lock(&self.grammars);
        let made = grammars.entry(key.clone()).or_insert_with(|| {
            let own = scenario.plugin.get("type").and_then(Value::as_str);
            let rules = Rules::of(own, &key)?;
            let sites = rules.schema.constraints().len();
            Some(Arc::new(Grammar {
                learnt: Mutex::new(Learnt {
                    coverage: rules.mutator.coverage(),
                    tries: vec![0; sites],
                    changes: vec![Vec::new(); sites],
                    broken: Vec::new(),
                    broken_coded: Vec::new(),
                    barren: 0,
                }),
                rules,
            }))
        });
        made.clone()
    }
}

/// A change that has broken a constraint alone before, where it does so in this document too.
fn known_change(grammar: &Grammar, valid: &Value, coded: bool, source: &mut dyn Source) -> Option<Fault> {
    for _ in 0..4 {
        let (site, edits) = lock(&grammar.learnt).pick(coded, source)?;
        let constraint = &grammar.rules.schema.constraints()[site];
        let mut changed = valid.clone();
        edits.iter().for_each(|edit| edit.apply(&mut changed));
        if let [only] = grammar.rules.schema.validate(&changed).as_slice()
            && only.schema_path == constraint.schema_path
            && changed != *valid
        {
            lock(&grammar.learnt).record(site, only.code.is_some(), &edits);
            return Some(Fault::Document {
                edits,
                requirement: only.requirement.map(str::to_owned),
                code: only.code,
            });
        }
    }
    None
}

/// The request that a plugin object becomes, with a prevResult where the operation has one.
fn request(version: Version, plugin: &Map<String, Value>, kind: Document) -> Value {
    let mut request = Map::new();
    request.insert("cniVersion".to_owned(), json!(version.as_str()));
    request.insert("name".to_owned(), json!(NETWORK));
    request.extend(plugin.iter().map(|(key, value)| (key.clone(), value.clone())));
    let carries = match kind {
        Document::RequestAddChained | Document::RequestCheck => true,
        Document::RequestDel => version >= Version::V0_4_0,
        _ => false,
    };
    if carries && version >= Version::V0_3_0 {
        let interface = json!({ "name": "eth0", "sandbox": "/run/netns/c1" });
        let mut ip = json!({ "address": "10.90.1.2/24", "gateway": "10.90.1.1", "interface": 0 });
        if version < Version::V1_0_0 {
            ip["version"] = json!("4");
        }
        let result =
            json!({ "cniVersion": version.as_str(), "interfaces": [interface], "ips": [ip], "dns": {} });
        request.insert("prevResult".to_owned(), result);
    }
    if kind == Document::RequestGc {
        request.insert("cni.dev/valid-attachments".to_owned(), json!([]));
    }
    Value::Object(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::builtin;

    fn maker(name: &str) -> Maker {
        let target = builtin(name).unwrap();
        Maker::new(
            &[Version::V0_3_1, Version::V0_4_0, Version::V1_1_0],
            &["0.3.1", "0.4.0", "1.1.0"].map(str::to_owned),
            &target.configurations,
            Some(&target),
        )
    }

    #[test]
    fn equal_decisions_make_equal_scenarios() {
        for name in ["bridge", "portmap", "host-local"] {
            let (one, other) = (maker(name), maker(name));
            for seed in 0..20 {
                let made = one.make(&mut Random::new(seed));
                assert_eq!(made, other.make(&mut Random::new(seed)), "{name} {seed}");
                let child = one.breed(&made, &mut Random::new(seed));
                assert_eq!(child, other.breed(&made, &mut Random::new(seed)), "{name} {seed}");
            }
        }
    }

    #[test]
    fn configurations_stay_valid_and_requests_are_broken_in_what_the_schema_says() {
        for name in ["bridge", "portmap", "host-local", "tuning"] {
            let maker = maker(name);
            let mut broken = 0;
            for seed in 0..240 {
                let scenario = maker.make(&mut Random::new(seed));
                let kind = maker.first_request();
                let grammar = maker.grammar(&scenario, kind).unwrap();
                let valid = request(scenario.version, &scenario.plugin, kind);
                assert_eq!(grammar.rules.schema.validate(&valid), [], "{name} {seed}");
                for step in &scenario.steps {
                    let Step::Broken { operation: Operation::Add, fault, .. } = step else { continue };
                    let Fault::Document { edits, requirement, .. } = fault else { continue };
                    let mut changed = valid.clone();
                    edits.iter().for_each(|edit| edit.apply(&mut changed));
                    let violations = grammar.rules.schema.validate(&changed);
                    assert_eq!(violations.len(), 1, "{name} {seed}: {changed}");
                    assert_eq!(violations[0].requirement, requirement.as_deref());
                    broken += 1;
                }
            }
            assert!(broken > 5, "{name}: {broken}");
            let (hit, sites) = maker.coverage();
            assert!(hit > 20 && hit <= sites, "{name}: {hit} of {sites}");
        }
    }
}
