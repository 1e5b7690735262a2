//! Integers that begin in the last bits of an octet (RFC 7541 §5.1, RFC 9204 §4.1.1).

use super::SectionError;

/// Octets after the first one: enough for every length that a section may have.
const MORE_MAX: usize = 5;

/// Takes an integer of which the first octet has the last `bits`.
pub(super) fn take(octets: &mut &[u8], bits: u32) -> Result<u64, SectionError> {
    let (first, mut rest) = octets.split_first().ok_or(SectionError::Broken)?;
    let mask = (1_u64 << bits).saturating_sub(1);
    let mut value = u64::from(*first) & mask;
    if value == mask {
        let mut place = 0_u32;
        loop {
            let (octet, after) = rest.split_first().ok_or(SectionError::Broken)?;
            rest = after;
            let part = u64::from(*octet & 0x7f).checked_shl(place).ok_or(SectionError::Broken)?;
            value = value.checked_add(part).ok_or(SectionError::Broken)?;
            if octet & 0x80 == 0 {
                break;
            }
            place = place.saturating_add(7);
            if place as usize >= MORE_MAX.saturating_mul(7) {
                return Err(SectionError::Broken);
            }
        }
    }
    *octets = rest;
    Ok(value)
}

/// Writes one after the leading bits of its first octet.
pub(super) fn put(out: &mut Vec<u8>, leading: u8, bits: u32, value: usize) {
    let mask = (1_usize << bits).saturating_sub(1);
    let low = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    if value < mask {
        return out.push(leading | low(value));
    }
    out.push(leading | low(mask));
    let mut left = value.saturating_sub(mask);
    while left >= 0x80 {
        out.push(low(left & 0x7f) | 0x80);
        left >>= 7;
    }
    out.push(low(left));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard_are_read_and_written() {
        // RFC 7541, appendix C.1.
        for (value, bits, octets) in
            [(10, 5, &[10][..]), (1337, 5, &[31, 154, 10]), (42, 8, &[42]), (31, 5, &[31, 0])]
        {
            let mut out = Vec::new();
            put(&mut out, 0, bits, value);
            assert_eq!(out, octets);
            let mut rest = octets;
            assert_eq!(take(&mut rest, bits), Ok(value as u64));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn an_integer_without_end_or_beyond_all_lengths_is_refused() {
        for octets in [&[][..], &[31], &[31, 0x80], &[31, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]] {
            assert_eq!(take(&mut &octets[..], 5), Err(SectionError::Broken), "{octets:?}");
        }
    }
}
