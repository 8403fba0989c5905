//! See `cnitest_fuzz::namespace`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::namespace(bytes));
