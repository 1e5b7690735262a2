//! libFuzzer's door to `tamis_fuzzed::apply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tamis_fuzzed::apply(data));
