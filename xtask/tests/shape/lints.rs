//! The crates that read octets of strangers turn the lints on sums and casts on.

use crate::source::workspace;

/// Where octets of strangers are read.
const READERS: [&str; 9] = [
    "common/transport",
    "common/resources",
    "common/trust",
    "common/tuf",
    "common/sync",
    "host/engine",
    "host/exchange",
    "registry/journal",
    "registry/oci",
];

const LINTS: [&str; 4] =
    ["arithmetic_side_effects", "cast_possible_truncation", "cast_possible_wrap", "cast_sign_loss"];

#[test]
fn where_octets_of_strangers_are_read_no_sum_wraps_and_no_cast_loses_a_part() {
    for folder in READERS {
        let root = workspace().join(folder).join("src/lib.rs");
        let text = std::fs::read_to_string(&root).unwrap();
        let attributes =
            text.split("\n\n").find(|part| part.contains("#![cfg_attr(")).unwrap_or("");
        for lint in LINTS {
            assert!(attributes.contains(&format!("clippy::{lint}")), "{folder} has no {lint}");
        }
    }
}
