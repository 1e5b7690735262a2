//! Durations in the format of the Gateway API (GEP-2257): `1h`, `5m`, `1m30s`, `250ms`.

use std::fmt;
use std::time::Duration;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

/// A duration in a configuration, in the format of GEP-2257.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GatewayDuration(pub Duration);

impl GatewayDuration {
    /// Milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Whole milliseconds, at most `u32::MAX` (49 days).
    #[must_use]
    pub fn millis(self) -> u32 {
        u32::try_from(self.0.as_millis()).unwrap_or(u32::MAX)
    }
}

impl<'de> Deserialize<'de> for GatewayDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(DurationVisitor)
    }
}

/// A visitor rather than `String` first: so the parser knows the place of a wrong duration.
struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = GatewayDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"1m30s\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<GatewayDuration, E> {
        parse(text).map(GatewayDuration).map_err(E::custom)
    }
}

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationError(String);

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a duration; write up to four numbers of at most five digits, each with h, m, s or ms: \"1m30s\"",
            self.0
        )
    }
}

impl std::error::Error for DurationError {}

/// Parses `^([0-9]{1,5}(h|m|s|ms)){1,4}$` (GEP-2257).
///
/// # Errors
/// The text does not match, or is empty.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let refused = || DurationError(text.to_owned());
    let mut rest = text;
    let mut total = Duration::ZERO;
    for part in 0.. {
        if rest.is_empty() && part > 0 {
            break;
        }
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if part == 4 || !(1..=5).contains(&digits) {
            return Err(refused());
        }
        let (number, unit) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refused())?;
        let (millis, after) = unit_of(unit).ok_or_else(refused)?;
        total += Duration::from_millis(number * millis);
        rest = after;
    }
    Ok(total)
}

/// Milliseconds of the unit at the start, and the text after it.
fn unit_of(text: &str) -> Option<(u64, &str)> {
    // `ms` before `m`: `5ms` is not five minutes and a stray `s`.
    [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
        .into_iter()
        .find_map(|(unit, millis)| Some((millis, text.strip_prefix(unit)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gep_2257_allows_is_read() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1h1m1s1ms", 3_661_001),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "5", "s", "1.5s", "-1s", "123456s", "1d", "1h1h1h1h1h", " 1s", "1s ", "1µs"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
