//! The shortest scenario that still shows a finding.

use cni_spec::Version;
use serde_json::{Map, Value};

use super::harmless::Asking;
use super::scenario::{At, Edit, Fault, Scenario, Step, step_to};

/// Scenarios tried at most for one finding.
const TRIES: usize = 240;

/// Makes a scenario smaller as long as `show` answers what it shows: a finding's result, a difference. `own` is the plugin
/// object of the configuration that it began as, `newest` the version that a report speaks of best.
pub(super) fn minimise<R>(
    scenario: Scenario,
    result: R,
    own: Option<&Map<String, Value>>,
    newest: Version,
    show: &mut dyn FnMut(&Scenario) -> Option<R>,
    is_cancelled: &dyn Fn() -> bool,
) -> (Scenario, R) {
    let mut best = (scenario, result);
    let mut tries = 0;
    loop {
        let before = best.0.clone();
        for pass in [drop_steps, simplify_steps, simplify_configuration, simplify_values, settle_version] {
            let mut index = 0;
            // Each acceptance changes what comes next, so the list is made anew and gone on with from the same place.
            while let Some(candidate) = pass(&best.0, own, newest, index) {
                if tries >= TRIES || is_cancelled() {
                    return best;
                }
                index += 1;
                if candidate == best.0 {
                    continue;
                }
                // What the moment decides is played several times for each try.
                tries += if candidate.depends_on_time() { 3 } else { 1 };
                if let Some(result) = show(&candidate) {
                    best = (candidate, result);
                    index -= 1;
                }
            }
        }
        if best.0 == before {
            return best;
        }
    }
}

/// Makes a scenario one of the newest version if that shows it too.
pub(super) fn settle<R>(
    scenario: Scenario,
    result: R,
    own: Option<&Map<String, Value>>,
    newest: Version,
    show: &mut dyn FnMut(&Scenario) -> Option<R>,
) -> (Scenario, R) {
    let newer = settle_version(&scenario, own, newest, 0).filter(|newer| *newer != scenario);
    match newer.and_then(|newer| show(&newer).map(|result| (newer, result))) {
        Some(shown) => shown,
        None => (scenario, result),
    }
}

/// The candidate of that index: fewer steps, the later ones first.
fn drop_steps(
    scenario: &Scenario,
    _: Option<&Map<String, Value>>,
    _: Version,
    index: usize,
) -> Option<Scenario> {
    let count = scenario.steps.len();
    let mut smaller = scenario.clone();
    if index == 0 && count > 3 {
        smaller.steps.truncate(count / 2);
    } else if index == 1 && count > 3 {
        smaller.steps.drain(..count / 2);
    } else {
        let place = count.checked_sub(1 + if count > 3 { index - 2 } else { index })?;
        smaller.steps.remove(place);
    }
    (!smaller.steps.is_empty()).then_some(smaller)
}

/// The candidate of that index: one container, one interface, one network, nobody there before, one edit.
fn simplify_steps(
    scenario: &Scenario,
    _: Option<&Map<String, Value>>,
    _: Version,
    index: usize,
) -> Option<Scenario> {
    let maps: [fn(At) -> At; 4] = [
        |_| At::default(),
        |at| At { network: 0, ..at },
        |at| At { interface: 0, ..at },
        |at| At { container: at.container.min(1), ..at },
    ];
    let mut smaller = scenario.clone();
    if let Some(map) = maps.get(index) {
        smaller.steps = smaller.steps.iter().map(|step| step.moved(map)).collect();
        return Some(smaller);
    }
    if index == maps.len() {
        smaller.settle = false;
        return Some(smaller);
    }
    let mut rest = index - maps.len() - 1;
    for step in &mut smaller.steps {
        let parts = match step {
            Step::Together { at, .. } if at.len() > 2 => at.len(),
            Step::Broken { fault: Fault::Document { edits, .. }, .. } if edits.len() > 1 => edits.len(),
            Step::Operate { harmless: Some(_), .. } => 1,
            Step::Version { asking } if !asking.is_plain() => 1,
            _ => 0,
        };
        if rest >= parts {
            rest -= parts;
            continue;
        }
        match step {
            Step::Operate { harmless, .. } => *harmless = None,
            Step::Version { asking } => *asking = Asking::Plainly,
            Step::Together { at, .. } => drop(at.remove(rest)),
            Step::Broken { fault: Fault::Document { edits, .. }, .. } => drop(edits.remove(rest)),
            _ => {}
        }
        return Some(smaller);
    }
    None
}

/// The candidate of that index: the configuration that it began as, one key of that again, one key less.
fn simplify_configuration(
    scenario: &Scenario,
    own: Option<&Map<String, Value>>,
    _: Version,
    index: usize,
) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let own = own?;
    if index == 0 {
        smaller.plugin = own.clone();
        return Some(smaller);
    }
    let mut rest = index - 1;
    let differing: Vec<&String> = scenario
        .plugin
        .iter()
        .filter(|(key, value)| own.get(*key) != Some(value))
        .map(|(key, _)| key)
        .collect();
    if let Some(key) = differing.get(rest) {
        match own.get(*key) {
            Some(value) => drop(smaller.plugin.insert((*key).clone(), value.clone())),
            None => drop(smaller.plugin.shift_remove(*key)),
        }
        return Some(smaller);
    }
    rest -= differing.len();
    let others: Vec<String> = scenario.plugin.keys().filter(|key| *key != "type").cloned().collect();
    let key = others.get(rest)?;
    smaller.plugin.shift_remove(key);
    Some(smaller)
}

/// The candidate of that index: one member or item less, somewhere within the values of the configuration, the outer ones
/// first.
fn simplify_values(
    scenario: &Scenario,
    _: Option<&Map<String, Value>>,
    _: Version,
    index: usize,
) -> Option<Scenario> {
    let mut level: Vec<String> = scenario.plugin.keys().map(|key| step_to(key)).collect();
    let mut whole = Value::Object(scenario.plugin.clone());
    let mut inner: Vec<String> = Vec::new();
    while !level.is_empty() {
        level = level
            .iter()
            .flat_map(|place| match whole.pointer(place) {
                Some(Value::Object(members)) => {
                    members.keys().map(|key| format!("{place}{}", step_to(key))).collect()
                }
                Some(Value::Array(items)) => (0..items.len()).map(|item| format!("{place}/{item}")).collect(),
                _ => Vec::new(),
            })
            .collect();
        inner.extend(level.iter().cloned());
    }
    Edit { at: inner.get(index)?.clone(), value: None }.apply(&mut whole);
    let Value::Object(plugin) = whole else { return None };
    Some(Scenario { plugin, ..scenario.clone() })
}

/// The newest version.
fn settle_version(
    scenario: &Scenario,
    _: Option<&Map<String, Value>>,
    newest: Version,
    index: usize,
) -> Option<Scenario> {
    (index == 0).then(|| Scenario { version: newest, ..scenario.clone() })
}

#[cfg(test)]
mod tests {
    use cni_spec::Operation;
    use cnitest_reports::model::CaseResult;
    use serde_json::json;

    use super::*;
    use crate::suite::Planned;
    use crate::target::Configuration;

    fn a_result() -> CaseResult {
        let configuration = Configuration::bare("x");
        let check = &crate::hammer::CHECK;
        Planned { check, configuration: &configuration, version: Version::V1_1_0, variant: "" }
            .result(cnitest_reports::model::Verdict::Fail)
    }

    #[test]
    fn what_a_finding_does_not_need_goes_away() {
        let at = |container, interface| At { container, interface, network: 1 };
        let add = |container, interface| Step::Operate {
            operation: Operation::Add,
            at: at(container, interface),
            harmless: None,
        };
        let own = json!({"type": "bridge", "bridge": "b0", "mtu": 1400}).as_object().cloned().unwrap();
        let mut plugin = own.clone();
        plugin.insert("vlan".to_owned(), json!(7));
        plugin.insert("mtu".to_owned(), json!(68));
        let scenario = Scenario {
            origin: Default::default(),
            version: Version::V0_4_0,
            configuration: "x".to_owned(),
            plugin,
            args: None,
            settle: true,
            steps: vec![
                add(0, 0),
                Step::Version { asking: Asking::Plainly },
                add(1, 1),
                Step::Status { network: 0 },
                add(2, 0),
                Step::Version { asking: Asking::Plainly },
            ],
        };
        // Two ADDs in different containers and the odd MTU are what it takes.
        let mut tries = 0;
        let mut show = |one: &Scenario| {
            tries += 1;
            let containers: std::collections::BTreeSet<u8> =
                one.steps.iter().flat_map(Step::attachments).map(|at| at.container).collect();
            (containers.len() >= 2 && one.plugin.get("mtu") == Some(&json!(68))).then(a_result)
        };
        let first = show(&scenario).unwrap();
        let (small, _) = minimise(scenario, first, Some(&own), Version::V1_1_0, &mut show, &|| false);
        assert_eq!(small.steps.len(), 2, "{small:?}");
        assert!(
            small.steps.iter().flat_map(Step::attachments).all(|at| at.interface == 0 && at.network == 0)
        );
        assert_eq!(Value::Object(small.plugin), json!({"type": "bridge", "mtu": 68}));
        assert_eq!(small.version, Version::V1_1_0);
        assert!(tries <= TRIES + 1, "{tries}");
    }

    #[test]
    fn values_within_values_go_away_too() {
        let plugin = json!({"type": "host-local", "ipam": {"a/b": 1, "routes": [{"dst": "::/0", "mtu": 9}, {"dst": "::/1"}]}});
        let scenario = Scenario {
            origin: Default::default(),
            version: Version::V1_1_0,
            configuration: "x".to_owned(),
            plugin: plugin.as_object().cloned().unwrap(),
            args: None,
            settle: true,
            steps: vec![Step::Version { asking: Asking::Plainly }],
        };
        let holds = |one: &Scenario| {
            let routes = one.plugin.get("ipam")?.get("routes")?.as_array()?;
            routes.iter().any(|route| route["dst"] == "::/0").then_some(())
        };
        let (small, ()) = minimise(scenario, (), None, Version::V1_1_0, &mut |one| holds(one), &|| false);
        assert_eq!(
            Value::Object(small.plugin),
            json!({"type": "host-local", "ipam": {"routes": [{"dst": "::/0"}]}})
        );
    }

    #[test]
    fn what_cannot_be_made_smaller_stays() {
        let scenario = Scenario {
            origin: Default::default(),
            version: Version::V1_1_0,
            configuration: "x".to_owned(),
            plugin: Map::new(),
            args: None,
            settle: true,
            steps: vec![Step::Version { asking: Asking::Plainly }],
        };
        let result = a_result();
        let (small, _) =
            minimise(scenario.clone(), result, None, Version::V1_1_0, &mut |_| None::<CaseResult>, &|| false);
        assert_eq!(small, scenario);
    }
}
