//! Results of every version: conversions never panic, and printing is stable.
#![no_main]

use cni_spec::Version;
use cni_spec::result::AddResult;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let version = Version::ALL[usize::from(*first) % Version::ALL.len()];
    let Ok(value) = serde_json::from_slice(rest) else { return };
    let Ok(result) = AddResult::parse(&value, version) else { return };
    for wanted in Version::ALL.iter().copied() {
        let (printed, _) = result.to_version(wanted);
        let Ok(again) = AddResult::parse(&printed, wanted) else { continue };
        assert_eq!(again.to_version(wanted).0, printed);
    }
});
