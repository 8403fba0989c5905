//! Error objects: what parses prints to something that parses to the same.
#![no_main]

use cni_spec::error::CniError;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = serde_json::from_slice(bytes) else { return };
    let Ok(error) = CniError::parse(&value) else { return };
    let again = CniError::parse(&error.to_value()).expect("what we print parses");
    assert_eq!(again.to_value(), error.to_value());
});
