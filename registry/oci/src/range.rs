//! Ranges: of a blob that is read (RFC 9110 §14.1.2) and of a chunk that is written.

use std::ops::Range;

/// What a `Range` field requests of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestedRange {
    /// The whole blob: no field, another unit, several ranges, or an invalid value, all of which a server
    /// may ignore (RFC 9110 §14.2).
    Whole,
    /// These bytes; not empty, within the blob.
    Part(Range<u64>),
    /// No byte of the blob.
    Unsatisfiable,
}

/// What `field` requests of a blob of `size` bytes.
pub(crate) fn asked(field: Option<&str>, size: u64) -> RequestedRange {
    let Some(set) = field.and_then(|field| field.trim().strip_prefix("bytes=")) else {
        return RequestedRange::Whole;
    };
    let Some((first, last)) = set.trim().split_once('-') else { return RequestedRange::Whole };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last && first < size => {
            RequestedRange::Part(first..last.saturating_add(1).min(size))
        }
        // The registry specification requires 416 where RFC 9110 would let a server ignore `500-0`.
        (Some(_), Some(_)) => RequestedRange::Unsatisfiable,
        (Some(first), None) if last.is_empty() => {
            if first < size {
                RequestedRange::Part(first..size)
            } else {
                RequestedRange::Unsatisfiable
            }
        }
        (None, Some(length)) if first.is_empty() => match length.min(size) {
            0 => RequestedRange::Unsatisfiable,
            length => RequestedRange::Part(size.saturating_sub(length)..size),
        },
        _ => RequestedRange::Whole,
    }
}

/// First and last byte in a chunk's `Content-Range`, such as `0-1023`. `None` when it does not have that
/// form.
pub(crate) fn chunk(field: &str) -> Option<(u64, u64)> {
    let field = field.trim();
    // Some clients write it as RFC 9110 does for responses, `bytes 0-1023/*`.
    let field = field.strip_prefix("bytes ").unwrap_or(field);
    let field = field.split_once('/').map_or(field, |(range, _)| range);
    let (first, last) = field.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

/// Digits only: what Rust reads as a number may begin with a sign.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number beyond 64 bits is beyond the end of any blob.
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_range_is_answered_and_everything_else_is_the_whole() {
        for (field, want) in [
            ("bytes=0-0", RequestedRange::Part(0..1)),
            ("bytes=2-", RequestedRange::Part(2..10)),
            ("bytes=-3", RequestedRange::Part(7..10)),
            ("bytes=-99", RequestedRange::Part(0..10)),
            ("bytes=8-99", RequestedRange::Part(8..10)),
            ("bytes=8-99999999999999999999999", RequestedRange::Part(8..10)),
            ("bytes=10-", RequestedRange::Unsatisfiable),
            ("bytes=10-12", RequestedRange::Unsatisfiable),
            ("bytes=5-0", RequestedRange::Unsatisfiable),
            ("bytes=-0", RequestedRange::Unsatisfiable),
            ("bytes=0-1,3-4", RequestedRange::Whole),
            ("bytes=-", RequestedRange::Whole),
            ("bytes=+1-2", RequestedRange::Whole),
            ("lines=0-1", RequestedRange::Whole),
            ("0-1", RequestedRange::Whole),
        ] {
            assert_eq!(asked(Some(field), 10), want, "{field}");
        }
        assert_eq!(asked(None, 10), RequestedRange::Whole);
        assert_eq!(asked(Some("bytes=-5"), 0), RequestedRange::Unsatisfiable);
    }

    #[test]
    fn chunks_say_first_and_last() {
        assert_eq!(chunk("0-1023"), Some((0, 1023)));
        assert_eq!(chunk("bytes 5-6/*"), Some((5, 6)));
        for bad in ["", "-", "5", "6-5", "a-b", "-1-2", "0-", "+1-2"] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_outside(field in "bytes=[0-9,-]{0,12}", size in 0_u64..2000) {
            if let RequestedRange::Part(part) = asked(Some(&field), size) {
                prop_assert!(part.start < part.end && part.end <= size);
            }
        }
    }
}
