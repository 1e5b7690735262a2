//! A moment: RFC 3339 in UTC in text, seconds since the Unix epoch in memory.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::TrustError;

const DAY: u64 = 86_400;

/// Seconds since the Unix epoch, written `2027-01-31T00:00:00Z`. No fractions, no other offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl FromStr for Timestamp {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        parse(text).ok_or_else(|| TrustError::Time(text.chars().take(40).collect()))
    }
}

#[cfg_attr(not(test), expect(clippy::arithmetic_side_effects, reason = "years have four digits"))]
fn parse(text: &str) -> Option<Timestamp> {
    let shape = text.len() == 20
        && text.bytes().zip(b"dddd-dd-ddTdd:dd:ddZ").all(|(is, wanted)| match wanted {
            b'd' => is.is_ascii_digit(),
            other => is == *other,
        });
    if !shape {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let sane = year >= 1970 && (1..=12).contains(&month) && day >= 1 && hour < 24;
    if !sane || minute > 59 || second > 59 || day > days_in(year, month) {
        return None;
    }
    let years: u64 = (1970..year).map(days_in_year).sum();
    let months: u64 = (1..month).map(|month| days_in(year, month)).sum();
    Some(Timestamp((years + months + day - 1) * DAY + hour * 3600 + minute * 60 + second))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

fn days_in_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Timestamp {
    /// Moments after the year 9999 are written as plain seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut days, time) = (self.0 / DAY, self.0 % DAY);
        if days > 2_932_896 {
            return write!(f, "{} s", self.0);
        }
        let mut year = 1970;
        while days >= days_in_year(year) {
            days = days.saturating_sub(days_in_year(year));
            year = u64::saturating_add(year, 1);
        }
        let mut month = 1;
        while days >= days_in(year, month) {
            days = days.saturating_sub(days_in(year, month));
            month = u64::saturating_add(month, 1);
        }
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        let day = days.saturating_add(1);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A duration as the Gateway API writes it (GEP-2257): one to four of `NUMBER(h|m|s|ms)`, up to five digits
/// each, such as `24h` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

fn span(text: &str) -> Option<Span> {
    let (mut rest, mut total, mut parts) = (text, Duration::ZERO, 0_u8);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| (1..=5).contains(end))?;
        let (digits, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let number: u64 = digits.parse().ok()?;
        let part = match unit {
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        total = total.checked_add(part)?;
        parts = parts.checked_add(1)?;
        rest = tail;
    }
    (1..=4).contains(&parts).then_some(Span(total))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        span(&text).ok_or_else(|| de::Error::custom("write a duration such as 250ms, 10s or 1h30m"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_gateway_api() {
        for (text, ms) in
            [("0s", 0), ("24h", 86_400_000), ("1h30m", 5_400_000), ("1m1s1ms", 61_001)]
        {
            assert_eq!(span(text), Some(Span(Duration::from_millis(ms))), "{text}");
        }
        for text in ["", "1", "1d", "100000s", "1.5s", "-1s", "s", "1s1s1s1s1s", "é"] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn known_moments_are_right_both_ways() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-23T21:00:00Z", 1_795_467_600),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(seconds)));
            assert_eq!(Timestamp(seconds).to_string(), text);
        }
        assert_eq!(Timestamp(u64::MAX).to_string(), format!("{} s", u64::MAX));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for bad in [
            "2027-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-01-01T24:00:00Z",
            "2027-01-01",
            "2027-01-01T00:00:00+01:00",
            "2027-01-01t00:00:00z",
            "",
            "1969-12-31T00:00:00Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}
