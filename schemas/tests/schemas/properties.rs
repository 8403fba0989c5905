//! Properties that hold for any document.

use std::sync::LazyLock;

use cni_schemas::generate::{CNI_FORMATS, Format};
use cni_schemas::{Kind, Profile, common_source, infer, schema, validate};
use cni_spec::Version;
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use crate::fixtures::load;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Keys that mean something to CNI, so that random documents reach beyond the root.
const KEYS: [&str; 24] = [
    "cniVersion",
    "cniVersions",
    "name",
    "type",
    "plugins",
    "prevResult",
    "ips",
    "ip",
    "ip4",
    "interfaces",
    "interface",
    "address",
    "routes",
    "dst",
    "dns",
    "ipam",
    "runtimeConfig",
    "portMappings",
    "args",
    "cni",
    "code",
    "cni.dev/valid-attachments",
    "ifname",
    "",
];

fn document() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "-?[1-9][0-9]{0,40}([.][0-9]{1,40})?([eE][+-]?[0-9]{1,4})?"
            .prop_map(|text| serde_json::from_str(&text).expect("a JSON number")),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        any::<String>().prop_map(Value::from),
        select(vec!["1.1.0", "0.3.1", "10.0.0.1/8", "::1", "4", "a/b"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let key = prop_oneof![4 => select(KEYS.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn kind_and_version() -> impl Strategy<Value = (Kind, Version)> {
    (select(Kind::ALL.to_vec()), select(Version::ALL.to_vec()))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_document_gets_a_verdict((kind, version) in kind_and_version(), document in document()) {
        let _ = infer(&document);
        let compat = validate(kind, version, Profile::Compat, &document);
        let strict = validate(kind, version, Profile::Strict, &document);
        prop_assert_eq!(compat.is_ok(), kind.defined_in(version));
        prop_assert_eq!(&compat, &validate(kind, version, Profile::Compat, &document));
        if let (Ok(compat), Ok(strict)) = (compat, strict) {
            prop_assert!(!strict.is_empty() || compat.is_empty(), "strict accepts what compat rejects");
            for violation in compat.iter().chain(&strict) {
                prop_assert!(violation.requirement.is_some(), "{:?}", violation);
                prop_assert!(!violation.message.contains('\n'), "{:?}", violation);
            }
        }
    }

    /// Validators that assert no formats rely on the pattern beside them.
    #[test]
    fn a_format_implies_the_pattern_beside_it(
        v4 in any::<[u8; 4]>(), v6 in any::<[u16; 8]>(), length in 0..=140u8,
        octets in prop::collection::vec(any::<u8>(), 5..21),
        semver in "[0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}(-[0-9a-zA-Z.-]{1,8})?([+][0-9a-zA-Z.-]{1,8})?",
    ) {
        let v4 = std::net::Ipv4Addr::from(v4).to_string();
        let v6 = std::net::Ipv6Addr::from(v6).to_string();
        let mac = octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":");
        let (cidr4, cidr6) = (format!("{v4}/{length}"), format!("{v6}/{length}"));
        for text in [v4, v6, mac, cidr4, cidr6, semver] {
            for (Format { name: format, holds, .. }, pattern, validator) in &*PATTERNS {
                let matches = validator.is_valid(&json!(text));
                prop_assert!(matches || !holds(&text), "{} is {} but not {}", text, format, pattern);
            }
        }
    }
}

/// Each format with a pattern that stands beside it.
static PATTERNS: LazyLock<Vec<(&Format, String, Validator)>> = LazyLock::new(|| {
    let compiled = |format: &'static Format| {
        patterns(format.name).into_iter().map(move |pattern| {
            let validator = jsonschema::validator_for(&json!({ "pattern": pattern })).expect("a schema");
            (format, pattern, validator)
        })
    };
    CNI_FORMATS.iter().flat_map(compiled).collect()
});

/// The patterns that stand beside `format` in the newest and the oldest version.
fn patterns(format: &str) -> Vec<String> {
    fn collect(value: &Value, format: &str, found: &mut Vec<String>) {
        if value["format"] == format {
            found.extend(value["pattern"].as_str().map(str::to_owned));
        }
        match value {
            Value::Object(members) => members.values().for_each(|member| collect(member, format, found)),
            Value::Array(items) => items.iter().for_each(|item| collect(item, format, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for version in [Version::V0_1_0, Version::LATEST] {
        let common = serde_json::from_str(common_source(version)).expect("JSON");
        collect(&common, format, &mut found);
    }
    assert!(!found.is_empty(), "{format} stands beside no pattern");
    found.sort();
    found.dedup();
    found
}

/// The self-contained schemas accept what we accept, in a validator without our formats.
#[test]
fn plain_schemas_agree_on_the_fixtures() {
    for fixture in load("accept") {
        for profile in Profile::ALL {
            let plain = schema(fixture.kind, fixture.version, profile).expect("defined");
            let accepts = jsonschema::draft202012::new(&plain).expect("a schema").is_valid(&fixture.value);
            let ours = fixture.violations(profile, &fixture.value).is_empty();
            assert!(accepts || !ours, "{} {profile}", fixture.name);
        }
    }
}

/// Numbers are judged by value, whatever their size and spelling.
#[test]
fn numbers() {
    let judge = |mtu: &str| {
        let text = format!(r#"{{"interfaces": [{{"name": "eth0", "mtu": {mtu}}}]}}"#);
        let document = serde_json::from_str(&text).expect("JSON");
        let violations =
            validate(Kind::ResultAdd, Version::V1_1_0, Profile::Compat, &document).expect("defined");
        violations.into_iter().map(|violation| violation.keyword).collect::<Vec<_>>()
    };
    assert_eq!(judge("1500"), Vec::<&str>::new());
    assert_eq!(judge("1500.0"), Vec::<&str>::new());
    assert_eq!(judge("15e2"), Vec::<&str>::new());
    assert_eq!(judge("123456789012345678901234567890"), Vec::<&str>::new());
    assert_eq!(judge("-123456789012345678901234567890"), ["minimum"]);
    assert_eq!(judge("-1"), ["minimum"]);
    assert_eq!(judge("1500.5"), ["type"]);
    assert_eq!(judge("\"1500\""), ["type"]);
}
