//! Documents generated and validated in a second; see `benches/compare-hypothesis`.

use std::time::{Duration, Instant};

use cni_schemas::generate::Random;
use cni_schemas::{Composed, Kind, Profile, schema_text};
use cni_spec::Version;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, kind, rest @ ..] = arguments.as_slice() else {
        return Err("schema KIND or rate KIND SECONDS".into());
    };
    let kind: Kind = kind.parse()?;
    if what == "schema" {
        print!("{}", schema_text(kind, Version::V1_1_0, Profile::Compat)?);
        return Ok(());
    }
    let limit = Duration::from_secs_f64(rest.first().ok_or("SECONDS is missing")?.parse()?);
    let composed = Composed::base(kind, Version::V1_1_0, Profile::Compat)?;
    let generator = composed.generator()?;
    let (mut random, mut count, start) = (Random::new(1), 0u64, Instant::now());
    while start.elapsed() < limit {
        assert!(composed.validate(&generator.generate(&mut random, 6)).is_empty());
        count += 1;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    let bytes: usize = (0..1000).map(|_| generator.generate(&mut random, 6).to_string().len()).sum();
    println!("{rate:.0} {}", bytes / 1000);
    Ok(())
}
