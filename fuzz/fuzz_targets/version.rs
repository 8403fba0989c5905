//! See `cnitest_fuzz::version`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::version(bytes));
