//! A part of a source.

/// Bytes of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TextSpan {
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}
