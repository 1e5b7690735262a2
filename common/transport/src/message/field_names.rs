//! Names of fields as messages spell them, read once: peers send the same few again and again.
//!
//! A name that the `http` crate does not know is otherwise copied into memory of its own for each message.

use std::cell::RefCell;

use http::HeaderName;
use http::header::InvalidHeaderName;

/// Names that a thread remembers, a power of two. A new name replaces the one at its place, so a peer that invents names
/// makes others parse theirs once more, and no memory grows.
const PLACES: usize = 128;

/// A longer name is read each time.
const OCTETS_MAX: usize = 40;

/// A spelling, and the name it is.
type SpelledName = Option<(Box<[u8]>, HeaderName)>;

thread_local! {
    static KNOWN: RefCell<Vec<SpelledName>> = const { RefCell::new(Vec::new()) };
}

/// The name with that spelling.
///
/// # Errors
/// It is no name of a field.
pub(crate) fn read(spelling: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    if spelling.len() > OCTETS_MAX {
        return HeaderName::from_bytes(spelling);
    }
    KNOWN.with_borrow_mut(|known| {
        if known.is_empty() {
            known.resize(PLACES, None);
        }
        let Some(place) = known.get_mut(place_of(spelling)) else {
            return HeaderName::from_bytes(spelling);
        };
        if let Some((known, name)) = place
            && **known == *spelling
        {
            return Ok(name.clone());
        }
        let name = HeaderName::from_bytes(spelling)?;
        *place = Some((spelling.into(), name.clone()));
        Ok(name)
    })
}

/// By its length and its first and last four octets, in which names of fields differ.
fn place_of(spelling: &[u8]) -> usize {
    let ends = match (spelling.first_chunk(), spelling.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => spelling.iter().fold(0, |all, octet| all << 8 | u64::from(*octet)),
    };
    // Multiplied by 2⁶⁴ divided by the golden ratio, every bit counts in the highest ones.
    let sum = (ends ^ spelling.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(sum.rotate_left(PLACES.ilog2())).unwrap_or(usize::MAX) % PLACES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_the_same_at_its_first_and_later_readings() {
        for spelling in
            ["Host", "host", "HOST", "x-request-id", "X-Request-Id", "x_a", "", "a b", "x\0"]
        {
            for _ in 0..3 {
                let (one, other) =
                    (read(spelling.as_bytes()), HeaderName::from_bytes(spelling.as_bytes()));
                assert_eq!(one.ok(), other.ok(), "{spelling:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_name_is_what_the_http_crate_reads_whatever_was_read_before(
            spellings in prop::collection::vec("[a-cA-C \\-]{0,4}|.{0,60}", 0..200),
        ) {
            for spelling in spellings {
                let octets = spelling.as_bytes();
                prop_assert_eq!(read(octets).ok(), HeaderName::from_bytes(octets).ok());
            }
        }
    }
}
