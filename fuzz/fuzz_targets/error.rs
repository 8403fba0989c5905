//! See `cnitest_fuzz::error`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::error(bytes));
