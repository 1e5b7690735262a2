//! Lints that crates turn on at their root: on sums and casts where octets of strangers are read, and on the length of functions
//! in everything that ships.

use crate::source::{with_filters, workspace};

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
        let parts = text.split("\n\n").filter(|part| part.contains("#![cfg_attr("));
        let attributes: String = parts.collect();
        for lint in LINTS {
            assert!(attributes.contains(&format!("clippy::{lint}")), "{folder} has no {lint}");
        }
    }
}

#[test]
fn no_function_that_ships_is_longer_than_a_reader_can_hold() {
    for folder in with_filters() {
        let roots = ["src/lib.rs", "src/main.rs"].map(|root| workspace().join(&folder).join(root));
        let root = roots.iter().find(|root| root.exists()).unwrap();
        let text = std::fs::read_to_string(root).unwrap();
        let lint = "#![cfg_attr(not(test), warn(clippy::too_many_lines))]";
        assert!(text.lines().any(|line| line == lint), "{folder} lacks {lint}");
    }
    for file in ["clippy.toml", "cli/tamis/clippy.toml"] {
        let text = std::fs::read_to_string(workspace().join(file)).unwrap();
        assert!(text.lines().any(|line| line == "too-many-lines-threshold = 80"), "{file}");
    }
}
