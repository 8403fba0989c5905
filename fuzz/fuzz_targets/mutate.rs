//! See `cnitest_fuzz::mutate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::mutate(bytes));
