//! See `cnitest_fuzz::scenario`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::scenario(bytes));
