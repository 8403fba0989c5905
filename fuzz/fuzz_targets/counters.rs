//! See `cnitest_fuzz::counters`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::counters(bytes));
