//! ADD and DEL of each reference plugin, beside the Go plugin of the same type where that is unpacked.

use std::path::Path;

use cni_spec::Version;
use cnitest::arena::{Arena, PLUGIN_DIR};
use cnitest::invoke::{Execution, Invocation};
use cnitest::target::{Kind, builtin};
use criterion::Criterion;
use serde_json::{Map, Value, json};

fn pairs(criterion: &mut Criterion) {
    let go = cnitest_benches::go_plugins();
    for name in cni_plugins::NAMES {
        let Some(target) = builtin(name).filter(|target| target.kind != Kind::Chained) else { continue };
        let mut group = criterion.benchmark_group(format!("ADD and DEL of {name}"));
        group.sample_size(30);
        let folders = [("reference", Some(Path::new(PLUGIN_DIR))), ("Go", go.as_deref())];
        for (whose, folder) in folders.into_iter().filter_map(|(whose, folder)| Some((whose, folder?))) {
            let mut arena = cnitest_benches::arena(go.as_deref());
            let netns = arena.create_netns("c1").expect("namespace");
            let mut request: Map<String, Value> = target.configurations[0].plugin.clone();
            request.insert("cniVersion".to_owned(), json!(Version::V1_0_0.as_str()));
            request.insert("name".to_owned(), json!("bench"));
            let input = Value::Object(request).to_string();
            let call = |command: &str| {
                Invocation::new(folder.join(name))
                    .env("CNI_COMMAND", command)
                    .env("CNI_CONTAINERID", "bench")
                    .env("CNI_NETNS", &netns)
                    .env("CNI_IFNAME", "eth0")
                    .env("CNI_PATH", folder)
                    .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                    .input(input.clone())
            };
            let (add, del) = (call("ADD"), call("DEL"));
            group.bench_function(whose, |bencher| {
                bencher.iter(|| {
                    succeed(&mut arena, &add);
                    succeed(&mut arena, &del);
                });
            });
        }
        group.finish();
    }
}

fn succeed(arena: &mut Arena, invocation: &Invocation) -> Execution {
    let execution = arena.execute(invocation).expect("arena answers");
    assert!(execution.outcome.success(), "{}: {}", execution.outcome, execution.stdout_text());
    execution
}

fn main() {
    cnitest_benches::main(&[pairs]);
}
