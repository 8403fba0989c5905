//! Fuzzing without coverage, for toolchains that have no libFuzzer: `blind SECONDS TARGET...` changes the seeds of each target
//! at random, for that long. It finds less than libFuzzer does. What fails is written to `fuzz/artifacts/TARGET`.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cni_schemas::generate::{Random, Source};
use cnitest_fuzz::{TARGETS, Target};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().ok_or("usage: blind SECONDS [TARGET...]")?.parse()?;
    let names: Vec<String> = arguments.collect();
    let chosen = |target: &&Target| names.is_empty() || names.iter().any(|name| name == target.name);
    let mut failed = false;
    // What a target says when it fails is enough.
    for target in TARGETS.iter().filter(chosen) {
        failed |= !fuzz(target, Duration::from_secs(seconds))?;
    }
    Ok(ExitCode::from(u8::from(failed)))
}

fn fuzz(target: &Target, time: Duration) -> Result<bool, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = Vec::new();
    for folder in ["corpus", "regressions"] {
        let Ok(entries) = fs::read_dir(root.join(folder).join(target.name)) else { continue };
        for entry in entries {
            seeds.push(fs::read(entry?.path())?);
        }
    }
    seeds.sort();
    let (mut random, start, mut runs) = (Random::new(1), Instant::now(), 0_u64);
    while start.elapsed() < time {
        let input = changed(&seeds, &mut random);
        runs += 1;
        if std::panic::catch_unwind(|| (target.run)(&input)).is_err() {
            let folder = root.join("artifacts").join(target.name);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("blind-{runs}")), &input)?;
            println!(
                "target {} failed after {runs} executions; its input is in fuzz/artifacts/{0}",
                target.name
            );
            return Ok(false);
        }
    }
    println!("target {}: {runs} executions without coverage, no failure", target.name);
    Ok(true)
}

/// Bytes and words that parsers care about.
const WORDS: [&[u8]; 16] = [
    b"null",
    b"-1",
    b"\"\"",
    b"[]",
    b"{}",
    b"4294967296",
    b"1e99",
    b"\\u0000",
    b"\xff",
    b"\0",
    b"::/0",
    b"0.0.0.0/0",
    b"1.1.0",
    b"0.3.0",
    b"\"ip\":",
    b"\"x\":1,",
];

/// A seed with a few changes.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random, bound: usize| random.below(bound.max(1) as u32) as usize;
    let mut input = seeds[pick(random, seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = pick(random, input.len() + 1);
        let to = (at + pick(random, 9)).min(input.len());
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.below(256) as u8,
            2 => drop(input.drain(at..to)),
            3 => drop(input.splice(at..at, WORDS[pick(random, WORDS.len())].iter().copied())),
            4 => input.truncate(at),
            5 => {
                let other = &seeds[pick(random, seeds.len())];
                let from = pick(random, other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let again = input[at..to].to_vec();
                drop(input.splice(at..at, again));
            }
        }
    }
    input
}
