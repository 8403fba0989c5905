//! Generated documents are valid, and shrink to simple ones.

use cni_schemas::generate::{CNI_FORMATS, GenerateError, Generator, Random, Recorder, Replay};
use cni_schemas::{Composed, Kind, PluginSchema, Profile};
use cni_spec::Version;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

/// Every schema alone, and each plugin's joined with requests of the newest and the oldest version.
pub(crate) fn all() -> Vec<(String, Composed)> {
    let mut all = Vec::new();
    for version in Version::ALL {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.defined_in(version)) {
            for profile in Profile::ALL {
                let composed = Composed::base(kind, version, profile).expect("defined");
                all.push((format!("{version} {kind} {profile}"), composed));
            }
        }
        for name in PluginSchema::names() {
            let plugin = [PluginSchema::known(name).expect("known")];
            let composed = Composed::compose(Kind::RequestAddFirst, version, Profile::Compat, &plugin);
            all.push((format!("{version} {name}"), composed.expect("composes")));
        }
    }
    all
}

#[test]
fn a_hundred_thousand_documents_are_valid() {
    let all = all();
    let each = 100_000usize.div_ceil(all.len());
    let mut count = 0;
    for (name, composed) in &all {
        let generator = composed.generator().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut random = Random::new(count as u64);
        let mut different = std::collections::HashSet::new();
        for index in 0..each {
            let document = generator.generate(&mut random, index % 9);
            assert_eq!(composed.validate(&document), [], "{name}: {document}");
            different.insert(document.to_string());
            count += 1;
        }
        let simplest = generator.simplest();
        assert_eq!(composed.validate(&simplest), [], "{name}: {simplest}");
        assert!(different.len() > 2, "{name}: {different:?}");
    }
    assert!(count >= 100_000, "{count}");
}

#[test]
fn decisions_repeat_a_document() {
    let composed = Composed::base(Kind::ResultAdd, Version::V1_1_0, Profile::Compat).expect("defined");
    let generator = composed.generator().expect("understood");
    let mut random = Random::new(1);
    for _ in 0..100 {
        let mut recorder = Recorder::new(&mut random);
        let document = generator.generate(&mut recorder, 8);
        assert_eq!(generator.generate(&mut Replay::new(&recorder.decisions), 8), document);
    }
}

/// Whatever fails shrinks to little more than what makes it fail, and every step on the way is valid.
#[test]
fn shrinking_stays_valid_and_ends_simple() {
    let composed = Composed::base(Kind::ResultAdd, Version::V1_1_0, Profile::Compat).expect("defined");
    let strategy = composed.generator().expect("understood").strategy(8);
    let config = Config { rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let fails = |document: &Value| document["routes"].as_array().is_some_and(|routes| !routes.is_empty());
    let mut shrunk = 0;
    for _ in 0..200 {
        let mut tree = strategy.new_tree(&mut runner).expect("a document");
        if !fails(&tree.current()) {
            continue;
        }
        while tree.simplify() {
            assert_eq!(composed.validate(&tree.current()), []);
            if !fails(&tree.current()) {
                assert!(tree.complicate());
                assert!(fails(&tree.current()));
            }
        }
        let document = tree.current();
        assert!(fails(&document));
        assert!(document.to_string().len() < 160, "{document}");
        shrunk += 1;
    }
    assert!(shrunk > 20, "{shrunk}");
}

#[test]
fn what_is_not_understood_is_said() {
    let error = |schema: Value| Generator::new(&schema, &CNI_FORMATS).expect_err("refused");
    let unknown = error(json!({"type": "object", "unevaluatedProperties": false}));
    assert_eq!(
        unknown,
        GenerateError::Keyword { keyword: "unevaluatedProperties".to_owned(), opposite: false }
    );
    assert_eq!(
        error(json!({"format": "hostname", "type": "string"})),
        GenerateError::Format("hostname".to_owned())
    );
    assert_eq!(error(json!({"type": "string", "not": {}})), GenerateError::Unsatisfiable);
    assert_eq!(error(json!({"$ref": "urn:elsewhere"})), GenerateError::Reference("urn:elsewhere".to_owned()));
    let endless = json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#/$defs/node"}}}}
    });
    assert_eq!(error(endless), GenerateError::Unsatisfiable);
}

/// A schema may refer to itself where there is a way out.
#[test]
fn recursion_ends() {
    let schema = json!({
        "$ref": "#/$defs/tree",
        "$defs": {"tree": {
            "type": "object",
            "required": ["children"],
            "additionalProperties": false,
            "properties": {"children": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/tree"}}}
        }}
    });
    let generator = Generator::new(&schema, &CNI_FORMATS).expect("understood");
    let mut random = Random::new(1);
    for _ in 0..500 {
        assert!(jsonschema::is_valid(&schema, &generator.generate(&mut random, 4)));
    }
}
