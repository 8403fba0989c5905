//! Documents validated in a second.

use cni_schemas::generate::Random;
use cni_schemas::{Composed, Kind, PluginSchema, Profile, validate};
use cni_spec::Version;
use criterion::{Criterion, Throughput};
use serde_json::json;

fn validation(criterion: &mut Criterion) {
    let result = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            { "name": "cni0", "mac": "02:00:00:00:00:01" },
            { "name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/c1", "mtu": 1500 }
        ],
        "ips": [{ "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1 }],
        "routes": [{ "dst": "0.0.0.0/0" }],
        "dns": { "nameservers": ["10.1.0.1"] }
    });
    let mut group = criterion.benchmark_group("validate an ADD result");
    group.throughput(Throughput::Elements(1));
    for (name, profile) in [("compat", Profile::Compat), ("strict", Profile::Strict)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let violations = validate(Kind::ResultAdd, Version::V1_1_0, profile, &result);
                assert_eq!(violations.expect("defined").len(), 0);
            });
        });
    }
    group.finish();
}

/// Generation, and generation with validation.
fn generation(criterion: &mut Criterion) {
    let bridge = ["bridge", "host-local"].map(|name| PluginSchema::known(name).expect("known"));
    let compose = |kind, plugins: &[PluginSchema]| {
        Composed::compose(kind, Version::V1_1_0, Profile::Compat, plugins).expect("composes")
    };
    let mut group = criterion.benchmark_group("generate");
    group.throughput(Throughput::Elements(1));
    for (name, composed) in [
        ("result-add", compose(Kind::ResultAdd, &[])),
        ("config-list", compose(Kind::ConfigList, &[])),
        ("request-add-first of bridge", compose(Kind::RequestAddFirst, &bridge)),
    ] {
        let generator = composed.generator().expect("understood");
        let mut random = Random::new(1);
        group.bench_function(name, |bencher| bencher.iter(|| generator.generate(&mut random, 6)));
        group.bench_function(format!("{name}, validated"), |bencher| {
            bencher.iter(|| assert!(composed.validate(&generator.generate(&mut random, 6)).is_empty()));
        });
    }
    group.finish();
}

fn main() {
    cnitest_benches::main(&[validation, generation]);
}
