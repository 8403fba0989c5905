//! The same scenarios on two plugins: what differs.
//!
//! A difference breaks nothing by itself. What the hammer judged on each side tells which of the two, if any, does what
//! the specification asks for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use cnitest_reports::model::{
    Against, CaseResult, Difference, DifferenceKind, ExecutionEvidence, Release, Run, Side, SkipCause,
    Verdict,
};

use super::scenario::{Scenario, Step};
use super::trace::{OWN_CODE, Part, Trace};
use super::{CHECK, Event, FINDINGS, Hammer, HammerError, Ready, Swing, lock, minimise};
use crate::arena::{Arena, PLUGIN_DIR};
use crate::suite::Planned;
use crate::suite::subject::{self, Found};
use crate::target::{Configuration, Target};

/// How often in a row a difference must show again: two programs differ each time or not at all, chance does not.
const AGAIN: usize = 3;

/// A difference, with all that shows it.
#[derive(Debug, Clone)]
pub struct Differing {
    /// As reports show it.
    pub difference: Difference,
    /// The smallest scenario that shows it.
    pub scenario: Scenario,
    /// What the first plugin was asked and answered.
    pub first: Shown,
    /// What the second one was.
    pub second: Shown,
}

/// One side of a difference, in full.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What was executed.
    pub executions: Vec<ExecutionEvidence>,
    /// A script that does the same without cnitest.
    pub script: String,
}

/// What a comparison came to.
#[derive(Debug)]
pub struct Compared {
    /// As reports show it.
    pub run: Run,
    /// The differences, in the order of their operations and kinds.
    pub differences: Vec<Differing>,
}

impl Hammer {
    /// Plays the same scenarios on two plugins. `found` gives the name, the target and the configurations of both.
    ///
    /// Plugins that they delegate to are the bundled ones on both sides: a difference is a plugin's own.
    ///
    /// # Errors
    /// When no arena can be made, or one of the plugins does not start.
    pub fn compare(
        &self,
        found: &Found,
        other: &Found,
        target: Option<&Target>,
        on_event: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Compared, HammerError> {
        let other = Found { name: found.name.clone(), ..other.clone() };
        let duel = self.duel(found, &other, target)?;
        let (first, second) = (&duel.first, &duel.second);
        let swing = Swing::new(self, first, target, on_event)?;
        let clash = Clash { swing: &swing, second, seen: Mutex::default(), differences: Mutex::default() };
        clash.play(duel.arenas);
        let mut differences = clash.differences.into_inner().unwrap_or_default();
        differences.sort_by_key(|one| {
            let difference = &one.difference;
            (difference.operation.clone(), difference.kind, difference.how.clone())
        });
        let problems = lock(&swing.problems).clone();
        let mut tally = swing.tally();
        tally.against = Some(against(&other, second, &differences));
        let mut run = first.report(&self.suite, &[], vec![unjudged(first)], tally.cases);
        run.results.extend(problems);
        run.fuzz = Some(tally);
        run.finish();
        Ok(Compared { run, differences })
    }

    /// Plays one scenario on two plugins and tells how they differ.
    ///
    /// # Errors
    /// As [`Hammer::compare`].
    pub fn replay_against(
        &self,
        found: &Found,
        other: &Found,
        target: Option<&Target>,
        scenario: &Scenario,
    ) -> Result<Compared, HammerError> {
        let other = Found { name: found.name.clone(), ..other.clone() };
        let duel = self.duel(found, &other, target)?;
        let (first, second) = (&duel.first, &duel.second);
        let swing = Swing::new(self, first, target, &|_| ())?;
        let clash = Clash { swing: &swing, second, seen: Mutex::default(), differences: Mutex::default() };
        let mut slots = duel.arenas.map(Some);
        let differences: Vec<Differing> =
            clash.contest(scenario, &mut slots).iter().map(|bout| bout.differing(scenario)).collect();
        let problems = lock(&swing.problems).clone();
        let mut tally = swing.tally();
        tally.cases = 1;
        tally.against = Some(against(&other, second, &differences));
        let mut run = first.report(&self.suite, &[], vec![unjudged(first)], 1);
        run.results.extend(problems);
        run.fuzz = Some(tally);
        run.finish();
        Ok(Compared { run, differences })
    }

    fn duel<'a>(
        &self,
        found: &'a Found,
        other: &'a Found,
        target: Option<&'a Target>,
    ) -> Result<Duel<'a>, HammerError> {
        let (mut first, arena) = self.prepare(found, target)?;
        let (mut second, other_arena) = self.prepare(other, target)?;
        for ready in [&mut first, &mut second] {
            ready
                .probe
                .subject
                .cni_path
                .sort_by_key(|folder| folder.as_path() != std::path::Path::new(PLUGIN_DIR));
        }
        let shared = second.probe.subject.versions.clone();
        first.probe.subject.versions.retain(|version| shared.contains(version));
        let Some(newest) = first.probe.subject.versions.last().copied() else {
            let reason = "the two plugins support no version of the specification in common".to_owned();
            return Err(HammerError::Unstartable(reason));
        };
        (first.newest, second.newest) = (newest, newest);
        let names: BTreeSet<String> =
            second.probe.configurations.iter().map(|configuration| configuration.name.clone()).collect();
        first.probe.configurations.retain(|configuration| names.contains(&configuration.name));
        if first.probe.configurations.is_empty() {
            let reason = "no configuration of the target works with both plugins".to_owned();
            return Err(HammerError::Unstartable(reason));
        }
        Ok(Duel { first, second, arenas: [arena, other_arena] })
    }
}

/// Two plugins that can be compared.
struct Duel<'a> {
    first: Ready<'a>,
    second: Ready<'a>,
    arenas: [Arena; 2],
}

fn against(other: &Found, second: &Ready<'_>, differences: &[Differing]) -> Against {
    Against {
        plugin: Release {
            path: other.program.display().to_string(),
            sha256: subject::digest(&other.host_path).unwrap_or_default(),
            supported_versions: second.probe.subject.advertised.clone(),
        },
        differences: differences.iter().map(|one| one.difference.clone()).collect(),
    }
}

/// The result of a comparison: whether the plugin is conformant was not asked.
fn unjudged(ready: &Ready<'_>) -> CaseResult {
    let configuration = Configuration::bare(&ready.found.name);
    let planned =
        Planned { check: &CHECK, configuration: &configuration, version: ready.newest, variant: "" };
    CaseResult {
        reason: Some(
            "two plugins were compared, and neither was judged: `cnitest fuzz` without --against does"
                .to_owned(),
        ),
        skip_cause: Some(SkipCause::NotApplicable),
        case: "comparison".to_owned(),
        ..planned.result(Verdict::Skip)
    }
}

/// What can be compared of a scenario: what chance decides is left out. Where a plugin that is killed has got to, and which
/// of several at the same moment comes first, is chance.
fn comparable(scenario: &Scenario) -> Scenario {
    let steps = scenario.steps.iter().flat_map(|step| match step {
        Step::Kill { .. } => Vec::new(),
        Step::Together { operation, at } => {
            at.iter().map(|at| Step::Operate { operation: *operation, at: *at, harmless: None }).collect()
        }
        other => vec![other.clone()],
    });
    Scenario { steps: steps.collect(), ..scenario.clone() }
}

/// One point in which two traces differ.
#[derive(Debug, Clone, PartialEq)]
struct Apart {
    operation: String,
    kind: DifferenceKind,
    step: String,
    /// What tells it from other differences, a text for each fact; the first of them names the difference.
    causes: Vec<String>,
    first: Vec<String>,
    second: Vec<String>,
}

/// How two traces of one scenario differ, up to where they part ways: what comes after that follows from it.
fn compare(first: &Trace, second: &Trace) -> Vec<Apart> {
    let mut all = Vec::new();
    let mut known: BTreeSet<(bool, &String)> = BTreeSet::new();
    for (one, other) in first.parts.iter().zip(&second.parts) {
        for (a, b) in one.answers.iter().zip(&other.answers) {
            if a.label != b.label {
                return all;
            }
            let apart = |kind, causes: Vec<String>, first, second| Apart {
                operation: a.operation.clone(),
                kind,
                step: a.label.clone(),
                causes,
                first,
                second,
            };
            let what = asked_for(&a.label);
            let said = || (vec![a.summary.clone()], vec![b.summary.clone()]);
            if a.ending != b.ending {
                let (x, y) = said();
                let cause = format!("{what}: {} / {}", a.ending.as_str(), b.ending.as_str());
                all.push(apart(DifferenceKind::Status, vec![cause], x, y));
                return all;
            }
            if a.code != b.code {
                let (x, y) = said();
                let code = |code: &Option<String>| code.clone().unwrap_or_default();
                // Whose code is its own says it of every mistake: which key it is in matters where the specification
                // knows both codes.
                let own = [&a.code, &b.code].iter().any(|code| code.as_deref() == Some(OWN_CODE));
                let what = if own { &a.operation } else { &what };
                let cause = format!("{what}: code {} / {}", code(&a.code), code(&b.code));
                all.push(apart(DifferenceKind::Code, vec![cause], x, y));
            }
            let places: BTreeSet<&String> = a.result.keys().chain(b.result.keys()).collect();
            let differing: Vec<&String> =
                places.into_iter().filter(|place| a.result.get(*place) != b.result.get(*place)).collect();
            if !differing.is_empty() {
                let causes = differing.iter().map(|place| {
                    let how = match (a.result.contains_key(*place), b.result.contains_key(*place)) {
                        (true, false) => "only the first has",
                        (false, true) => "only the second has",
                        _ => "another value of",
                    };
                    format!("{how} {}", without_values(place))
                });
                let lines = |result: &std::collections::BTreeMap<String, String>| -> Vec<String> {
                    let has = |place: &&String| result.get(*place).map(|value| format!("{place}: {value}"));
                    differing.iter().filter_map(has).collect()
                };
                let causes: Vec<String> = causes.collect();
                all.push(apart(DifferenceKind::Result, causes, lines(&a.result), lines(&b.result)));
            }
        }
        if one.answers.len() != other.answers.len() {
            return all;
        }
        let lines: BTreeSet<(bool, &String)> = one
            .state
            .difference(&other.state)
            .map(|line| (true, line))
            .chain(other.state.difference(&one.state).map(|line| (false, line)))
            .collect();
        // What differed before this step is not its doing.
        let fresh: Vec<(bool, &String)> = lines
            .difference(&known)
            .copied()
            .filter(|(_, line)| !follows_from_a_link(line, one, other))
            .collect();
        if !fresh.is_empty() {
            let of = |side: bool| -> Vec<String> {
                fresh.iter().filter(|(first, _)| *first == side).map(|(_, line)| (*line).clone()).collect()
            };
            let cause = |(first, line): &(bool, &String)| {
                let which = if *first { "the first" } else { "the second" };
                format!("only {which} has {}", without_values(line))
            };
            let last = one.answers.last();
            all.push(Apart {
                operation: last
                    .map_or("what happens beside the plugin".to_owned(), |told| told.operation.clone()),
                kind: DifferenceKind::State,
                step: last.map_or("a step without the plugin".to_owned(), |told| told.label.clone()),
                causes: fresh.iter().map(cause).collect(),
                first: of(true),
                second: of(false),
            });
        }
        known = lines;
    }
    all
}

/// Whether a line tells of a setting of a link that only one side has: the link is what differs.
fn follows_from_a_link(line: &str, one: &Part, other: &Part) -> bool {
    let Some((place, setting)) = line.split_once(" sysctl ") else { return false };
    let Some(link) = setting.split('/').nth(3).filter(|_| setting.split('/').count() > 4) else {
        return false;
    };
    let begin = format!("{place} link {link} ");
    let has = |part: &Part| part.state.iter().any(|line| line.starts_with(&begin));
    has(one) != has(other)
}

/// What an execution was for, without names, numbers and the values of what is wrong with it.
fn asked_for(label: &str) -> String {
    let label = label.split(" = ").next().unwrap_or(label);
    let label = label.split('=').next().unwrap_or(label);
    match label.split_once(" of ") {
        Some((operation, _)) => operation.to_owned(),
        None => without_values(label),
    }
}

/// A line with numbers and addresses replaced: what it says, whatever the attachment.
fn without_values(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let address = word.split('/').next().unwrap_or(word);
        if address.parse::<std::net::IpAddr>().is_ok() || is_hexadecimal(word) {
            return "…".to_owned();
        }
        let mut told = String::new();
        let mut before = String::new();
        for c in word.chars() {
            // ipv4 and ipv6 are no numbers.
            if !c.is_ascii_digit() || before.ends_with("ipv") {
                told.push(c);
            } else if !told.ends_with('#') {
                told.push('#');
            }
            before.push(c);
        }
        told
    });
    words.collect::<Vec<String>>().join(" ")
}

/// Whether a word is a hardware address, or the handle of a queue: hexadecimal digits with colons.
fn is_hexadecimal(word: &str) -> bool {
    word.contains(':')
        && word.contains(|c: char| c.is_ascii_digit())
        && word.chars().all(|c| matches!(c, ':' | '0'..='9' | 'a'..='f'))
}

/// Both sides of a scenario, and one point in which they differ.
struct Bout {
    apart: Apart,
    scenario_version: String,
    breaks: [Vec<String>; 2],
    shown: [Shown; 2],
}

impl Bout {
    fn differing(&self, scenario: &Scenario) -> Differing {
        let [first, second] = self.breaks.clone();
        let apart = &self.apart;
        Differing {
            difference: Difference {
                operation: apart.operation.clone(),
                kind: apart.kind,
                how: apart.causes.first().cloned().unwrap_or_default(),
                step: apart.step.clone(),
                spec_version: self.scenario_version.clone(),
                configuration: scenario.configuration.clone(),
                first: Side { observed: apart.first.clone(), breaks: first },
                second: Side { observed: apart.second.clone(), breaks: second },
                known: None,
            },
            scenario: scenario.clone(),
            first: self.shown[0].clone(),
            second: self.shown[1].clone(),
        }
    }
}

type Key = (String, DifferenceKind, String);

impl Apart {
    fn keys(&self) -> impl Iterator<Item = Key> {
        self.causes.iter().map(|cause| (self.operation.clone(), self.kind, cause.clone()))
    }
}

/// One comparison.
struct Clash<'a> {
    swing: &'a Swing<'a>,
    second: &'a Ready<'a>,
    seen: Mutex<BTreeSet<Key>>,
    differences: Mutex<Vec<Differing>>,
}

impl Clash<'_> {
    fn play(&self, arenas: [Arena; 2]) {
        let jobs = self.swing.hammer.suite.options().jobs.max(1);
        let worker = |mut slots: [Option<Arena>; 2]| {
            while let Some(scenario) = self.swing.next_scenario() {
                self.try_out(&comparable(&scenario), &mut slots);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..jobs {
                scope.spawn(|| worker([None, None]));
            }
            worker(arenas.map(Some));
        });
    }

    fn try_out(&self, scenario: &Scenario, slots: &mut [Option<Arena>; 2]) {
        let swing = self.swing;
        let bouts = if scenario.steps.is_empty() { Vec::new() } else { self.contest(scenario, slots) };
        swing.cases.fetch_add(1, Ordering::Relaxed);
        for bout in bouts {
            let fresh: Vec<Key> = {
                let mut seen = lock(&self.seen);
                bout.apart.keys().filter(|key| seen.insert(key.clone())).collect()
            };
            if let Some(key) = fresh.first()
                && lock(&self.differences).len() < FINDINGS
            {
                self.found(key, bout, scenario, slots);
            }
        }
        swing.tell();
    }

    /// Plays a scenario on both.
    fn contest(&self, scenario: &Scenario, slots: &mut [Option<Arena>; 2]) -> Vec<Bout> {
        let swing = self.swing;
        let [slot, other_slot] = slots;
        let mut traces = [Trace::default(), Trace::default()];
        let [first, second] = &mut traces;
        let played = [
            swing.ready.play(scenario, slot, Some(first)),
            self.second.play(scenario, other_slot, Some(second)),
        ];
        let mut breaks = [Vec::new(), Vec::new()];
        let (mut first_new, mut executions, mut new) = (None, 0, 0);
        for (played, breaks) in played.into_iter().zip(&mut breaks) {
            swing.executions.fetch_add(played.executions, Ordering::Relaxed);
            let undecided = played.problem.is_some();
            swing.problem(played.problem);
            if undecided {
                return Vec::new();
            }
            let judged = played.found.iter().filter(|(_, result)| result.verdict != Verdict::Pass);
            let all: BTreeSet<String> = judged.map(|(cause, _)| cause.requirement.to_owned()).collect();
            *breaks = all.into_iter().collect();
            let (first, more) = swing.count(played.shown.behaviour);
            (first_new, executions, new) = (first_new.or(first), executions + played.executions, new + more);
        }
        if first_new.is_some() {
            swing.corpus.keep(scenario, first_new);
        }
        swing.sources.learn(scenario.origin, executions, new);
        // What both break does not tell them apart.
        let both: Vec<String> = breaks[0].iter().filter(|id| breaks[1].contains(id)).cloned().collect();
        breaks.iter_mut().for_each(|side| side.retain(|id| !both.contains(id)));
        let [first, second] = traces;
        let all = compare(&first, &second);
        let shown = [first, second].map(|trace| Shown { executions: trace.executions, script: trace.script });
        all.into_iter()
            .map(|apart| Bout {
                apart,
                scenario_version: scenario.version.to_string(),
                breaks: breaks.clone(),
                shown: shown.clone(),
            })
            .collect()
    }

    fn found(&self, key: &Key, bout: Bout, scenario: &Scenario, slots: &mut [Option<Arena>; 2]) {
        let swing = self.swing;
        let mut show = |candidate: &Scenario| -> Option<Bout> {
            self.contest(candidate, slots).into_iter().find(|bout| bout.apart.keys().any(|one| one == *key))
        };
        if (0..AGAIN).any(|_| show(scenario).is_none()) {
            return;
        }
        let configurations = &swing.ready.probe.configurations;
        let own = configurations.iter().find(|one| one.name == scenario.configuration);
        let (scenario, mut bout) = minimise::minimise(
            scenario.clone(),
            bout,
            own.map(|one| &one.plugin),
            swing.ready.newest,
            &mut show,
            &|| swing.hammer.cancelled.load(Ordering::Relaxed),
        );
        // The cause that was followed leads; in the small scenario others may come before it.
        bout.apart.causes.sort_by_key(|cause| *cause != key.2);
        lock(&self.seen).extend(bout.apart.keys());
        let differing = bout.differing(&scenario);
        (swing.on_event)(Event::Differs(&differing.difference));
        lock(&self.differences).push(differing);
    }
}

/// Markdown ready to be pasted: what differs, and what both sides were asked and answered.
pub fn markdown(run: &Run, differing: &Differing) -> String {
    let difference = &differing.difference;
    let mut out = String::new();
    let _ = writeln!(out, "## {}: {} {}\n", run.subject.name, difference.operation, difference.kind);
    let _ = writeln!(
        out,
        "{}. CNI {}, {}. A difference breaks no requirement by itself.\n",
        difference.how, difference.spec_version, difference.step
    );
    let other = run.fuzz.as_ref().and_then(|tally| tally.against.as_ref()).map(|against| &against.plugin);
    let sides = [
        (
            "first",
            run.subject.path.as_str(),
            run.subject.sha256.as_str(),
            &difference.first,
            &differing.first,
        ),
        (
            "second",
            other.map_or("", |one| one.path.as_str()),
            other.map_or("", |one| one.sha256.as_str()),
            &difference.second,
            &differing.second,
        ),
    ];
    for (which, path, sha256, side, shown) in sides {
        let _ = writeln!(out, "### The {which}: {path}\n\nSHA-256 {sha256}.\n");
        if !side.breaks.is_empty() {
            let _ = writeln!(out, "It alone breaks here: {}.\n", side.breaks.join(", "));
        }
        let lines = if side.observed.is_empty() { "(nothing)".to_owned() } else { side.observed.join("\n") };
        let _ = writeln!(out, "```\n{lines}\n```\n");
        if let Some(last) = shown.executions.iter().rfind(|one| one.label == difference.step) {
            let _ = writeln!(
                out,
                "{}: {}\n\nstdin:\n\n```json\n{}\n```\n\nstdout:\n\n```json\n{}\n```\n",
                last.label,
                last.exit,
                last.stdin.trim_end(),
                last.stdout.trim_end()
            );
        }
    }
    let _ = writeln!(
        out,
        "Found by cnitest {} with seed {}, kernel {} ({}).",
        run.tool.version, run.seed, run.environment.kernel, run.environment.privilege
    );
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::hammer::trace::{Ending, Told};

    fn told(label: &str, ending: Ending, code: Option<&str>, result: &[(&str, &str)]) -> Told {
        let result: BTreeMap<String, String> =
            result.iter().map(|(place, value)| ((*place).to_owned(), (*value).to_owned())).collect();
        Told {
            operation: label.split(' ').next().unwrap().to_owned(),
            label: label.to_owned(),
            ending,
            code: code.map(str::to_owned),
            result,
            summary: format!("{label} ends"),
        }
    }

    fn part(answers: Vec<Told>, state: &[&str]) -> Part {
        Part { answers, state: state.iter().map(|line| (*line).to_owned()).collect() }
    }

    fn trace(parts: Vec<Part>) -> Trace {
        let mut trace = Trace::default();
        trace.parts = parts;
        trace
    }

    #[test]
    fn a_difference_is_told_once_and_at_the_step_that_makes_it() {
        let add = |n: u32| told(&format!("ADD of eth0 of c{n}"), Ending::Succeeds, None, &[]);
        let one = trace(vec![part(vec![add(1)], &["a", "x"]), part(vec![add(2)], &["a", "b", "x"])]);
        let other = trace(vec![part(vec![add(1)], &["a"]), part(vec![add(2)], &["a"])]);
        let all = compare(&one, &other);
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!((all[0].first.as_slice(), all[0].second.len()), (["x".to_owned()].as_slice(), 0));
        assert_eq!(all[1].first, ["b"]);
        assert_eq!(all[1].step, "ADD of eth0 of c2");
        assert!(compare(&one, &one).is_empty());
    }

    #[test]
    fn settings_of_a_link_that_one_side_lacks_follow_from_it() {
        let line = "host sysctl net/ipv4/conf/br0/forwarding 1";
        let with = part(Vec::new(), &["host link br0 mtu 1500", line]);
        let without = part(Vec::new(), &[]);
        assert!(follows_from_a_link(line, &with, &without));
        assert!(!follows_from_a_link(line, &with, &part(Vec::new(), &["host link br0 mtu 1500"])));
        assert!(!follows_from_a_link("host sysctl net/ipv4/ip_forward 1", &with, &without));
    }

    #[test]
    fn what_comes_after_plugins_part_ways_is_not_compared() {
        let good = told("ADD of eth0 of c1", Ending::Succeeds, None, &[]);
        let bad = told("ADD of eth0 of c1", Ending::Fails, Some("7"), &[]);
        let later = part(vec![], &["left"]);
        let one = trace(vec![part(vec![good], &["x"]), later]);
        let other = trace(vec![part(vec![bad], &[]), part(vec![], &[])]);
        let all = compare(&one, &other);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0].kind, DifferenceKind::Status);
        assert_eq!(all[0].causes, ["ADD: succeeds / fails"]);
    }

    #[test]
    fn results_and_codes_are_told_apart_by_place() {
        let one = trace(vec![part(
            vec![
                told(
                    "ADD of eth0 of c1",
                    Ending::Succeeds,
                    None,
                    &[("ips[0].gateway", "10.1.0.1"), ("v", "1")],
                ),
                told("DEL with /ipam/x = 3", Ending::Fails, Some("4"), &[]),
            ],
            &[],
        )]);
        let other = trace(vec![part(
            vec![
                told("ADD of eth0 of c1", Ending::Succeeds, None, &[("v", "2")]),
                told("DEL with /ipam/x = 3", Ending::Fails, Some("7"), &[]),
            ],
            &[],
        )]);
        let all = compare(&one, &other);
        assert_eq!(all[0].causes, ["only the first has ips[#].gateway", "another value of v"]);
        assert_eq!(all[1].causes, ["DEL with /ipam/x: code 4 / 7"]);
    }

    #[test]
    fn attachments_and_numbers_do_not_tell_differences_apart() {
        assert_eq!(
            without_values("container c1 route 10.1.0.0/16 via 10.1.0.1 dev eth0 mtu 1400"),
            without_values("container c2 route fd00::/64 via fd00::1 dev eth1 mtu 9000")
        );
        assert_ne!(without_values("net/ipv4/x 1"), without_values("net/ipv6/x 1"));
        assert_eq!(
            without_values("host qdisc tbf dev p1 parent root handle 2db3: rate 5"),
            without_values("host qdisc tbf dev p1 parent root handle b1e: rate 64")
        );
        assert_eq!(without_values("link eth0 address c2:11:22:33:44:55"), "link eth# address …");
    }

    #[test]
    fn chance_is_not_compared() {
        use super::super::scenario::At;
        use cni_spec::{Operation, Version};
        let at = At::default();
        let scenario = Scenario {
            origin: Default::default(),
            version: Version::V1_1_0,
            configuration: "x".to_owned(),
            plugin: serde_json::Map::new(),
            args: None,
            settle: true,
            steps: vec![
                Step::Kill { operation: Operation::Add, at, after: 200 },
                Step::Together { operation: Operation::Add, at: vec![at, At { container: 1, ..at }] },
                Step::Version { asking: crate::hammer::harmless::Asking::Plainly },
            ],
        };
        let steps = comparable(&scenario).steps;
        assert_eq!(steps.len(), 3, "{steps:?}");
        assert!(matches!(steps[1], Step::Operate { at: At { container: 1, .. }, .. }));
    }
}
