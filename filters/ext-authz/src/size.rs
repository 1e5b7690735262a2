//! The bound of the fields that an answer of the service may bring.

/// Bytes of the fields that are taken from an answer, as [`fits`] counts them: with the longest head of a client they are within the
/// host's bound of a head after edits (128 KiB), beyond which a verdict is a fault of this filter.
pub(crate) const MAX_FIELDS_OCTETS: usize = 32 * 1024;
/// Bytes that a field counts in addition to its name and its value, as the host counts it.
const FIELD_OCTETS: usize = 32;

/// Counts a field of an answer. Whether there is room for it.
pub(crate) fn fits(octets: &mut usize, name: &str, value: &[u8]) -> bool {
    *octets = octets.saturating_add(FIELD_OCTETS + name.len()).saturating_add(value.len());
    *octets <= MAX_FIELDS_OCTETS
}
