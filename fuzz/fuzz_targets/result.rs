//! See `cnitest_fuzz::result`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::result(bytes));
