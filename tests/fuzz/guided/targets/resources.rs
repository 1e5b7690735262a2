//! libFuzzer's door to `tamis_fuzz::resources`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tamis_fuzz::resources(data));
