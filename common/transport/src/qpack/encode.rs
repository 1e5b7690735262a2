//! Writes a field section (RFC 9204 §4.5): fields of the static table by their index, all others as they are.

use super::static_table::{self, Known};
use super::{FIELD_OVERHEAD, integer};

/// A section with these fields.
pub(crate) fn encode<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    // Nothing of the dynamic table is required.
    let mut out = Vec::with_capacity(FIELD_OVERHEAD.saturating_mul(16));
    out.extend([0, 0]);
    for (name, value) in fields {
        match static_table::find(name, value) {
            Some(Known::Field(index)) => integer::put(&mut out, 0xc0, 6, usize::from(index)),
            Some(Known::Name(index)) => {
                integer::put(&mut out, 0x50, 4, usize::from(index));
                string(&mut out, value);
            }
            None => {
                integer::put(&mut out, 0x20, 3, name.len());
                out.extend_from_slice(name.as_bytes());
                string(&mut out, value);
            }
        }
    }
    out
}

fn string(out: &mut Vec<u8>, value: &[u8]) {
    integer::put(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_table_take_an_octet_or_two() {
        let section = encode([(":status", &b"200"[..]), ("date", b"now"), ("x-a", b"")]);
        let expected =
            [&[0, 0, 0xc0 | 25, 0x50 | 6, 3][..], b"now", &[0x20 | 3], b"x-a", &[0]].concat();
        assert_eq!(section, expected);
    }
}
