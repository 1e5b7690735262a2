//! Reads a field section (RFC 9204 §4.5).

use super::{FIELD_OVERHEAD, SectionError, huffman, integer, static_table};
use std::borrow::Cow;

/// A part of a field: of the static table, or as it was sent.
type Part = Cow<'static, [u8]>;

/// Passes each field of a section, in its order, to `each`. All of them may have `most` bytes, of which a field counts 32
/// beside its name and value (RFC 9114 §4.2.2).
///
/// # Errors
/// [`SectionError`], or that of `each`; the fields up to there were passed on.
pub(crate) fn decode<E: From<SectionError>>(
    section: &[u8],
    most: usize,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = section;
    // Required Insert Count, then the base with its sign: with nothing inserted, nothing is required, and no base is less
    // than nothing (RFC 9204 §4.5.1).
    let required = integer::take(&mut rest, 8)?;
    let is_negative = rest.first().is_some_and(|octet| octet & 0x80 != 0);
    integer::take(&mut rest, 7)?;
    if required != 0 || is_negative {
        return Err(SectionError::Broken.into());
    }
    let mut size = 0_usize;
    while let Some(first) = rest.first().copied() {
        let (name, value) = field(&mut rest, first)?;
        let octets = name.len().saturating_add(value.len()).saturating_add(FIELD_OVERHEAD);
        size = size.saturating_add(octets);
        if size > most {
            return Err(SectionError::TooLarge.into());
        }
        each(&name, &value)?;
    }
    Ok(())
}

/// Takes a field line; `first` is its first octet.
fn field(rest: &mut &[u8], first: u8) -> Result<(Part, Part), SectionError> {
    let is_static = |bit: u8| if first & bit != 0 { Ok(()) } else { Err(SectionError::Broken) };
    let of_table = |index: u64| static_table::field(index).ok_or(SectionError::Broken);
    if first & 0x80 != 0 {
        is_static(0x40)?;
        let (name, value) = of_table(integer::take(rest, 6)?)?;
        return Ok((name.as_bytes().into(), value.as_bytes().into()));
    }
    if first & 0x40 != 0 {
        is_static(0x10)?;
        let (name, _) = of_table(integer::take(rest, 4)?)?;
        return Ok((name.as_bytes().into(), string(rest, 7)?));
    }
    if first & 0x20 != 0 {
        return Ok((string(rest, 3)?, string(rest, 7)?));
    }
    // Relative to the base of an empty table.
    Err(SectionError::Broken)
}

/// Takes a string whose length has `bits` in its first octet, after the bit that says whether it is coded.
fn string(rest: &mut &[u8], bits: u32) -> Result<Part, SectionError> {
    let coded = rest.first().is_some_and(|first| first & (1 << bits) != 0);
    let length = usize::try_from(integer::take(rest, bits)?).map_err(|_| SectionError::Broken)?;
    let (octets, after) = rest.split_at_checked(length).ok_or(SectionError::Broken)?;
    *rest = after;
    if coded {
        return huffman::decode(octets).map(Cow::Owned).map_err(|_| SectionError::Broken);
    }
    Ok(Cow::Owned(octets.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qpack::encode;
    use crate::qpack::huffman::testing::encode as coded;
    use proptest::prelude::*;

    fn read(section: &[u8], most: usize) -> Result<Vec<(String, String)>, SectionError> {
        let mut all = Vec::new();
        decode::<SectionError>(section, most, |name, value| {
            let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
            all.push((text(name), text(value)));
            Ok(())
        })?;
        Ok(all)
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_form_of_a_field_line_is_read() {
        // The example of RFC 9204, appendix B.1.
        let example = [&[0, 0, 0x51, 0x0b][..], b"/index.html"].concat();
        assert_eq!(read(&example, 1_000).unwrap(), pairs(&[(":path", "/index.html")]));
        let name = coded(b"x-a");
        let value = coded(b"secret");
        let length = |of: &[u8]| u8::try_from(of.len()).unwrap();
        let section = [
            // `:method: GET`, at 17 of the static table.
            &[0, 0, 0xc0 | 17][..],
            // `:path` with a value as it is, and `user-agent`, at 95, with one that is coded.
            &[0x50 | 1, 2, b'/', b'a'],
            &[0x5f, 95 - 15, 0x80 | length(&value)],
            &value,
            // A name that is coded, never to be indexed, and one as it is.
            &[0x20 | 0x10 | 0x08 | length(&name)],
            &name,
            &[1, b'1', 0x20 | 1, b'b', 0],
        ];
        let fields = [
            (":method", "GET"),
            (":path", "/a"),
            ("user-agent", "secret"),
            ("x-a", "1"),
            ("b", ""),
        ];
        assert_eq!(read(&section.concat(), 1_000).unwrap(), pairs(&fields));
    }

    #[test]
    fn what_refers_to_the_dynamic_table_or_ends_early_is_refused() {
        for section in [
            &[][..],
            &[0],
            // Entries are required.
            &[1, 0, 0xd1],
            // A base below nothing.
            &[0, 0x80, 0xd1],
            // An index of the dynamic table, in all forms.
            &[0, 0, 0x80],
            &[0, 0, 0x40, 0],
            &[0, 0, 0x10],
            &[0, 0, 0x00, 0],
            // Beyond the static table.
            &[0, 0, 0xff, 36],
            &[0, 0, 0x5f, 90, 0],
            // A string that is not there, and one that is no code.
            &[0, 0, 0x51],
            &[0, 0, 0x51, 5, b'a'],
            &[0, 0, 0x51, 0x81, 0xff],
            &[0, 0, 0x27, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(read(section, 1_000), Err(SectionError::Broken), "{section:?}");
        }
    }

    #[test]
    fn the_size_of_all_fields_is_bounded_as_the_standard_counts() {
        let section = [0, 0, 0xd1, 0xd1];
        // `:method` and `GET` with 32.
        assert_eq!(read(&section, 84).unwrap().len(), 2);
        assert_eq!(read(&section, 83), Err(SectionError::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            fields in proptest::collection::vec(("[a-z:-]{1,20}", "[ -~]{0,200}"), 0..20)
        ) {
            let octets = encode(fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
            prop_assert_eq!(read(&octets, usize::MAX).unwrap(), fields);
        }

        #[test]
        fn no_octets_do_more_than_fail(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let section = [&[0, 0][..], &octets].concat();
            let mut size = 0;
            let _read = decode::<SectionError>(&section, 1_000, |name, value| {
                size += name.len() + value.len() + 32;
                Ok(())
            });
            prop_assert!(size <= 1_000);
        }
    }
}
