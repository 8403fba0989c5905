//! Validation of any document as anything.
#![no_main]

use cni_schemas::{Kind, Profile, infer, validate};
use cni_spec::Version;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let Ok(value) = serde_json::from_slice(rest) else { return };
    let kind = Kind::ALL[usize::from(*first) % Kind::ALL.len()];
    for version in Version::ALL.iter().copied() {
        for profile in [Profile::Compat, Profile::Strict] {
            let _ = validate(kind, version, profile, &value);
        }
    }
    let _ = infer(&value);
});
