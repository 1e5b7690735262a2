//! Resource documents on arbitrary text: parsing ends, and never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = tamis_resources::parse("fuzz.yaml", text);
    }
});
