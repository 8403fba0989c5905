//! See `cnitest_fuzz::plugins`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::plugins(bytes));
