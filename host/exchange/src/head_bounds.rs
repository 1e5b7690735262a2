//! How large filters may make a head.

/// Fields of a head after edits ([`HeadBound`]), and of a reply.
pub const MAX_FIELDS: usize = 512;
/// Bytes of a head after edits: names, values and 32 for each field (RFC 9113 §6.5.2).
pub const MAX_HEAD_OCTETS: usize = 128 * 1024;
/// Overhead of a field (RFC 9113 §6.5.2).
pub(crate) const FIELD_OCTETS: usize = 32;

/// How large filters may make the heads of an exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadBounds {
    /// Of the request.
    pub request: HeadBound,
    /// Of the response.
    pub response: HeadBound,
}

/// How large filters may make a head: [`MAX_FIELDS`] and [`MAX_HEAD_OCTETS`] at least, and always more than its receiver
/// takes, so that what a sender wrote is no fault of a filter that adds to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadBound {
    pub(crate) fields: usize,
    pub(crate) octets: usize,
}

/// Fields that filters and the host may add to the largest head that is taken.
const MORE_FIELDS: usize = 64;
/// Bytes that they may add.
const MORE_OCTETS: usize = 16 * 1024;

impl Default for HeadBound {
    fn default() -> Self {
        Self { fields: MAX_FIELDS, octets: MAX_HEAD_OCTETS }
    }
}

impl HeadBound {
    /// The bound of heads of which so many fields, and so many bytes as HTTP/1.1 writes them, are taken.
    pub fn of_received(fields: usize, bytes: usize) -> Self {
        let octets = bytes.saturating_add(fields.saturating_mul(FIELD_OCTETS));
        Self {
            fields: MAX_FIELDS.max(fields.saturating_add(MORE_FIELDS)),
            octets: MAX_HEAD_OCTETS.max(octets.saturating_add(MORE_OCTETS)),
        }
    }
}
