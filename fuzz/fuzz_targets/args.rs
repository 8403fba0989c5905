//! See `cnitest_fuzz::args`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::args(bytes));
