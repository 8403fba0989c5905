//! Reference plugins that are killed at any moment of ADD and DEL: DEL removes what is left, every time.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use cni_schemas::generate::{Random, Source as _};
use cni_spec::{Operation, Version};
use cnitest::hammer::scenario::{At, CONTAINERS, Scenario, Step};
use cnitest::hammer::{Hammer, HammerError, Options};
use cnitest::suite::{self, Suite, subject};
use cnitest::target::{Configuration, Requires, Target};
use globset::GlobSet;

/// How many kills each plugin survives here. `CNITEST_KILLS` asks for more.
const KILLS: usize = 12;

/// What a kill waits for at most, in microseconds: between the two, it adapts to how long the plugin takes.
const SHORTEST: u32 = 500;
const LONGEST: u32 = 100_000;

/// Scenarios after which a plugin that was never killed in time is given up.
const PATIENCE: usize = 400;

fn hammer() -> Hammer {
    let suite = suite::Options {
        only: GlobSet::empty(),
        skip: GlobSet::empty(),
        versions: Vec::new(),
        sought: &[],
        strict: true,
        upgrade_from: Vec::new(),
        seed: 1,
        jobs: 1,
        timeout: Duration::from_secs(20),
        executable: PathBuf::from(env!("CARGO_BIN_EXE_cnitest")),
        recorded: Default::default(),
    };
    let how =
        Options { time: None, cases: Some(1), shard: (0, 1), corpus: None, feedback: false, first: false };
    Hammer::new(Suite::new(suite), how)
}

/// In each container: an ADD that is killed, DEL, an ADD, a DEL that is killed, DEL. Each kill comes within `limit`
/// microseconds.
fn scenario(configuration: &Configuration, random: &mut Random, limit: u32) -> Scenario {
    let mut steps = Vec::new();
    for container in 0..CONTAINERS {
        let at = At { container, ..At::default() };
        let plainly = |operation| Step::Operate { operation, at, harmless: None };
        let mut killed =
            |operation| Step::Kill { operation, at, after: u64::from(100 + random.below(limit)) };
        steps.extend([
            killed(Operation::Add),
            plainly(Operation::Del),
            plainly(Operation::Add),
            killed(Operation::Del),
            plainly(Operation::Del),
        ]);
    }
    Scenario {
        origin: Default::default(),
        version: Version::V1_1_0,
        configuration: configuration.name.clone(),
        plugin: configuration.plugin.clone(),
        args: configuration.args.clone(),
        settle: true,
        steps,
    }
}

/// What a configuration needs of the features that the kernel was found to lack, as reports name them.
fn missing(target: &Target, configuration: &Configuration, features: &[String]) -> String {
    let of = |requires: &Requires| -> Vec<String> {
        let links = requires.links.iter().map(|kind| format!("link kind {kind}"));
        links.chain(requires.kernel.iter().map(|feature| feature.describe().to_owned())).collect()
    };
    let mut needed = [of(&target.requires), of(&configuration.requires)].concat();
    needed.retain(|feature| features.contains(feature));
    needed.join(", ")
}

/// Kills a plugin so often, and expects that DEL removes what that left.
fn kill(name: &str, kills: usize) {
    let found = subject::find(&[PathBuf::from(name)]).expect("a bundled plugin").remove(0);
    let Some(target) = subject::target(&found).filter(|target| target.no_attachments.is_none()) else {
        eprintln!("{name} is left out: it makes no attachments by itself");
        return;
    };
    let (hammer, mut random) = (hammer(), Random::new(0x0020_2611_2617));
    let (mut killed, mut limit) = (0, 10_000);
    let mut configurations: VecDeque<&Configuration> = target.configurations.iter().collect();
    for _ in 0..PATIENCE.max(kills) {
        // One after another.
        let Some(configuration) = configurations.pop_front() else {
            eprintln!("{name} is left out: this kernel lacks what each of its configurations must have");
            return;
        };
        let scenario = scenario(configuration, &mut random, limit);
        let outcome = match hammer.replay(&found, Some(&target), &scenario) {
            Ok(outcome) => outcome,
            Err(HammerError::Unstartable(reason)) => {
                eprintln!("{name} is left out: {reason}");
                return;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let seen: Vec<&str> =
            outcome.run.results.iter().filter_map(|result| result.reason.as_deref()).collect();
        assert!(outcome.findings.is_empty(), "{name}, after {killed} kills: {seen:?} in {scenario:?}");
        assert_eq!(outcome.run.summary.error, 0, "{name}: {seen:?}");
        if outcome.attached == 0 {
            let missing = missing(&target, configuration, &outcome.run.environment.missing_features);
            assert!(!missing.is_empty(), "{name}: no ADD of {:?} succeeds", configuration.name);
            eprintln!("{name}: {:?} is left out: this kernel lacks {missing}", configuration.name);
            continue;
        }
        configurations.push_back(configuration);
        killed += outcome.killed;
        if killed >= kills {
            println!("{name}: killed {killed} times");
            return;
        }
        // About half of the kills come before the end.
        limit = match outcome.killed {
            0..=2 => limit * 3 / 4,
            3 => limit,
            _ => limit * 4 / 3,
        }
        .clamp(SHORTEST, LONGEST);
    }
    panic!("{name} was killed {killed} times only");
}

/// A test for each plugin, so that they wait for the kernel side by side.
macro_rules! killed_at_any_moment_leave_nothing_after_del {
    ($($test:ident: $name:literal,)*) => {
        const KILLED: &[&str] = &[$($name),*];
        $(
            #[test]
            fn $test() {
                kill($name, kills());
            }
        )*
    };
}

killed_at_any_moment_leave_nothing_after_del! {
    bandwidth: "bandwidth",
    bridge: "bridge",
    debug: "debug",
    dummy: "dummy",
    firewall: "firewall",
    host_device: "host-device",
    host_local: "host-local",
    ipvlan: "ipvlan",
    loopback: "loopback",
    macvlan: "macvlan",
    meta: "meta",
    portmap: "portmap",
    ptp: "ptp",
    sbr: "sbr",
    r#static: "static",
    tap: "tap",
    tuning: "tuning",
    vlan: "vlan",
    vrf: "vrf",
}

#[test]
fn every_reference_plugin_is_killed() {
    let mut names: Vec<&str> = cni_plugins::NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(KILLED, names);
}

fn kills() -> usize {
    let asked = std::env::var_os("CNITEST_KILLS");
    asked.as_deref().and_then(OsStr::to_str).map_or(KILLS, |text| text.parse().expect("a number"))
}
