//! See `cnitest_fuzz::generate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::generate(bytes));
