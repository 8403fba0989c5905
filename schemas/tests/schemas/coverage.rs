//! Every constraint of every schema can be broken, and breaking it is reported with its path and requirement.
//!
//! The rejected fixtures break many; for the rest, accepted documents are changed at the place that the constraint
//! speaks of, until it is broken.

use std::collections::{BTreeSet, HashMap};

use cni_schemas::{Constraint, Kind, Profile, Violation, constraints};
use cni_spec::Version;
use serde_json::{Map, Value, json};

use crate::fixtures::{Fixture, load};

#[test]
fn each_constraint_is_broken_by_some_document() {
    let (accepted, rejected) = (load("accept"), load("reject"));
    let mut group: HashMap<(Kind, Version), Vec<&Fixture>> = HashMap::new();
    for fixture in &accepted {
        group.entry((fixture.kind, fixture.version)).or_default().push(fixture);
    }
    let (mut missed, mut checked) = (Vec::new(), 0);
    for (&(kind, version), bases) in &group {
        for profile in Profile::ALL {
            let mut hit = BTreeSet::new();
            for fixture in rejected.iter().filter(|f| (f.kind, f.version) == (kind, version)) {
                record(&fixture.violations(profile, &fixture.value["document"]), &mut hit);
            }
            for constraint in constraints(kind, version, profile).expect("defined") {
                checked += 1;
                if !hit.contains(&key(constraint)) && !breakable(constraint, bases, profile) {
                    let place = (&constraint.instance_path, &constraint.property);
                    missed
                        .push(format!("{version}/{kind} {profile} {} at {place:?}", constraint.schema_path));
                }
            }
        }
    }
    missed.sort();
    assert!(checked > 2000, "only {checked} constraints");
    assert!(missed.is_empty(), "{} of {checked} never broken:\n{}", missed.len(), missed.join("\n"));
}

type Key = (String, &'static str, Option<String>, Option<String>, Option<u32>);

fn key(constraint: &Constraint) -> Key {
    let requirement = constraint.requirement.clone();
    (
        constraint.schema_path.clone(),
        constraint.keyword,
        constraint.property.clone(),
        requirement,
        constraint.code,
    )
}

fn record(violations: &[Violation], hit: &mut BTreeSet<Key>) {
    for v in violations {
        let property =
            (v.keyword == "required").then(|| v.message.split('"').nth(1).expect("a quoted name").to_owned());
        hit.insert((v.schema_path.clone(), v.keyword, property, v.requirement.map(str::to_owned), v.code));
    }
}

fn breakable(constraint: &Constraint, bases: &[&Fixture], profile: Profile) -> bool {
    let wanted = key(constraint);
    bases.iter().any(|base| {
        places(&base.value, &constraint.instance_path).into_iter().any(|place| {
            variants(constraint, place.get(&base.value)).into_iter().any(|variant| {
                let mut hit = BTreeSet::new();
                record(&base.violations(profile, &place.set(&base.value, variant)), &mut hit);
                hit.contains(&wanted)
            })
        })
    })
}

/// A place in a document: the keys and indices that lead there.
#[derive(Clone)]
struct Place(Vec<String>);

impl Place {
    fn get<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(document, |value, step| match value {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            value => value.get(step),
        })
    }

    fn set(&self, document: &Value, value: Value) -> Value {
        let mut changed = document.clone();
        let target = self.0.iter().fold(&mut changed, |at, step| match at {
            Value::Array(items) => &mut items[step.parse::<usize>().expect("an index")],
            at => &mut at[step],
        });
        *target = value;
        changed
    }
}

/// The places in `document` that a constraint's instance path speaks of. Its last step need not exist.
fn places(document: &Value, path: &str) -> Vec<Place> {
    let mut found = vec![Place(Vec::new())];
    let mut steps = path.split('/').skip(1).peekable();
    while let Some(step) = steps.next() {
        let last = steps.peek().is_none() || step == "~";
        found = found
            .into_iter()
            .flat_map(|place| {
                let value = place.get(document);
                let next: Vec<String> = match (step, value) {
                    ("*", Some(Value::Array(items))) => {
                        (0..items.len()).map(|index| index.to_string()).collect()
                    }
                    ("*", Some(Value::Object(members))) => members.keys().cloned().collect(),
                    ("~", Some(_)) => vec!["cni.dev/unheard-of".to_owned()],
                    (step, Some(Value::Object(members))) => {
                        let name = step.replace("~1", "/").replace("~0", "~");
                        if last || members.contains_key(&name) { vec![name] } else { vec![] }
                    }
                    _ => vec![],
                };
                next.into_iter().map(move |step| {
                    let mut place = place.clone();
                    place.0.push(step);
                    place
                })
            })
            .collect();
        if step == "~" {
            break;
        }
    }
    found
}

/// Values to put in the place of `old`, one of which should break the constraint.
fn variants(constraint: &Constraint, old: Option<&Value>) -> Vec<Value> {
    let text = [
        "",
        "unheard-of",
        "-a",
        "a/b",
        "..",
        "a:b",
        "10.0.0.1/8",
        "::1/64",
        "10.0.0.1",
        "::1",
        "0123456789abcdef",
    ];
    let mut variants: Vec<Value> = text.map(Value::from).to_vec();
    variants.extend([
        Value::Null,
        json!(true),
        json!(-2),
        json!(-1),
        json!(0),
        json!(1),
        json!(1.5),
        json!(9),
        json!(70000),
        json!(1u64 << 40),
        json!([]),
        json!({}),
    ]);
    match old {
        Some(Value::Object(members)) => {
            variants.extend(members.keys().map(|name| without(members, name)));
            let mut more = members.clone();
            more.insert("unheard-of".to_owned(), Value::Null);
            variants.push(Value::Object(more));
            if let (Some(list), "not") = (members.get("ips"), constraint.keyword) {
                let mut both = members.clone();
                both.insert("ip".to_owned(), list.clone());
                variants.push(Value::Object(both));
            }
        }
        Some(Value::Array(items)) if !items.is_empty() => {
            variants.push(items.iter().chain(&items[..1]).cloned().collect());
        }
        _ => {}
    }
    variants
}

fn without(members: &Map<String, Value>, name: &str) -> Value {
    Value::Object(
        members.iter().filter(|(key, _)| *key != name).map(|(k, v)| (k.clone(), v.clone())).collect(),
    )
}
