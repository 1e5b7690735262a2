//! libFuzzer's door to `tamis_fuzz::target`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tamis_fuzz::target(data));
