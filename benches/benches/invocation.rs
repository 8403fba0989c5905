//! What the harness adds to an execution: a bare spawn and wait against the same program executed in an arena.

use std::process::{Command, Stdio};

use cnitest::invoke::Invocation;
use criterion::Criterion;

fn execution(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("execution of /bin/true");
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            let mut command = Command::new("/bin/true");
            command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            assert!(command.output().expect("starts").status.success());
        });
    });
    let mut arena = cnitest_benches::arena(None);
    let invocation = Invocation::new("/bin/true");
    group.bench_function("arena", |bencher| {
        bencher.iter(|| assert!(arena.execute(&invocation).expect("arena answers").outcome.success()));
    });
    group.finish();
}

fn start(criterion: &mut Criterion) {
    criterion
        .bench_function("arena start and end", |bencher| bencher.iter(|| drop(cnitest_benches::arena(None))));
}

fn main() {
    cnitest_benches::main(&[execution, start]);
}
