//! See `cnitest_fuzz::iptables`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cnitest_fuzz::iptables(bytes));
