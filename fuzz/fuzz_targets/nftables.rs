//! See `cnitest_fuzz::nftables`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::nftables(bytes));
