//! Numbers and their words.

use std::fmt::Display;

/// A number and its word: `1 slot`, `3 slots`.
pub(crate) fn count(number: impl Display + PartialEq + From<u8>, one: &str, many: &str) -> String {
    let word = if number == 1u8.into() { one } else { many };
    format!("{number} {word}")
}
