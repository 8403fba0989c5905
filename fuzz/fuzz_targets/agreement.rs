//! See `cnitest_fuzz::agreement`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::agreement(bytes));
