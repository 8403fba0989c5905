//! Network configurations: what parses prints to something that parses to the same.
#![no_main]

use cni_spec::config::NetworkList;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = serde_json::from_slice(bytes) else { return };
    let Ok(list) = NetworkList::parse(&value) else { return };
    let printed = list.to_value();
    let again = NetworkList::parse(&printed).expect("what we print parses");
    assert_eq!(again.to_value(), printed);
});
