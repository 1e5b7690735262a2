//! Texts that somebody else chose, as they are repeated.

/// Longest text of a server that is repeated, in characters.
pub(crate) const TEXT_MAX: usize = 300;

/// A text that somebody else chose.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).take(TEXT_MAX).collect()
}
