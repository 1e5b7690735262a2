//! libFuzzer's door to `tamis_fuzz::hooks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tamis_fuzz::hooks(data));
