//! See `cnitest_fuzz::schemas`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::schemas(bytes));
