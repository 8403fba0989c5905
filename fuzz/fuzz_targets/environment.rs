//! Parameters and CNI_ARGS.
#![no_main]

use cni_spec::Version;
use cni_spec::parameters::{CniArgs, Parameters};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let pairs = text.split('\n').filter_map(|line| line.split_once('='));
    let parameters = Parameters::from_pairs(pairs);
    for version in Version::ALL.iter().copied() {
        let _ = parameters.validate(version);
    }
    if let Ok(args) = CniArgs::parse(text) {
        for (key, value) in args.pairs() {
            assert!(!key.contains(['=', ';']) && !value.contains(';'));
        }
    }
});
