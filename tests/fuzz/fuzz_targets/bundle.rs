//! libFuzzer's door to `tamis_fuzzed::bundle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tamis_fuzzed::bundle(data));
