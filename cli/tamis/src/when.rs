//! Moments: how people write them, and how programs read them.

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;
use tamis_ambient::Clock;
use tamis_resources::Millis;
use tamis_trust::Timestamp;

/// Now, in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    Clock::system().unix_ms()
}

/// A moment as RFC 3339 in UTC, to the second.
pub(crate) fn rfc3339(ms: u64) -> String {
    Timestamp(ms / 1_000).to_string()
}

/// The age of a moment in its largest unit: `3m ago`; `in 2h` for one in the future.
pub(crate) fn ago(now_ms: u64, then_ms: u64) -> String {
    let seconds = now_ms.abs_diff(then_ms) / 1_000;
    if seconds == 0 {
        return "just now".to_owned();
    }
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let unit = units.into_iter().find(|(size, _)| seconds >= *size);
    let (size, name) = unit.unwrap_or((1, "s"));
    let amount = seconds / size;
    if then_ms > now_ms { format!("in {amount}{name}") } else { format!("{amount}{name} ago") }
}

/// A day in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// A moment as people write it: `now`, `today` or `yesterday` (their beginning), a day (2027-01-31), a
/// moment of RFC 3339 in UTC, or an age (`10m`, `1h30m`).
pub(crate) fn moment(text: &str, now_ms: u64) -> Result<u64> {
    if text == "now" {
        return Ok(now_ms);
    }
    if let Some((from_ms, _)) = day(text, now_ms) {
        return Ok(from_ms);
    }
    if let Ok(Timestamp(seconds)) = text.parse() {
        return Ok(seconds.saturating_mul(1_000));
    }
    match Millis::parse(text) {
        Some(Millis(before)) => Ok(now_ms.saturating_sub(before)),
        None => bail!(
            "`{text}` is not a moment: write 2027-01-31T12:00:00Z, 2027-01-31, an age (10m, 1h30m), yesterday, today or now"
        ),
    }
}

/// The first and the last moment of a day in UTC: `today`, `yesterday`, 2027-01-31; `None` if the text is
/// not a day.
pub(crate) fn day(text: &str, now_ms: u64) -> Option<(u64, u64)> {
    let midnight = now_ms - now_ms % DAY_MS;
    let from_ms = match text {
        "today" => midnight,
        "yesterday" => midnight.saturating_sub(DAY_MS),
        text if text.len() == 10 => {
            let Timestamp(seconds) = format!("{text}T00:00:00Z").parse().ok()?;
            seconds.saturating_mul(1_000)
        }
        _ => return None,
    };
    Some((from_ms, from_ms.saturating_add(DAY_MS - 1)))
}

/// Fields whose names look like moments but are durations.
const DURATIONS: [&str; 3] = ["bakeMs", "addedP99Ms", "maxAddedP99Ms"];

/// A value as JSON in which every moment, such as `timeMs`, also appears as RFC 3339: `time`.
pub(crate) fn dated<T: Serialize>(value: &T) -> Value {
    let mut value = serde_json::to_value(value).unwrap_or_default();
    date(&mut value);
    value
}

fn date(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(date),
        Value::Object(fields) => {
            let mut more = Vec::new();
            for (name, field) in fields.iter_mut() {
                let moment =
                    name.strip_suffix("Ms").filter(|_| !DURATIONS.contains(&name.as_str()));
                match (moment, field.as_u64()) {
                    (Some(short), Some(ms)) => more.push((short.to_owned(), rfc3339(ms))),
                    _ => date(field),
                }
            }
            fields.extend(more.into_iter().map(|(name, text)| (name, Value::from(text))));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let now = 10 * 86_400_000;
        for (then, told) in [
            (now, "just now"),
            (now - 999, "just now"),
            (now - 59_000, "59s ago"),
            (now - 200_000, "3m ago"),
            (now - 7_300_000, "2h ago"),
            (now - 3 * 86_400_000, "3d ago"),
            (now + 7_300_000, "in 2h"),
        ] {
            assert_eq!(ago(now, then), told);
        }
    }

    #[test]
    fn moments_are_read_in_the_ways_people_write_them() {
        let now = 1_800_000_000_000;
        assert_eq!(moment("now", now).unwrap(), now);
        assert_eq!(moment("1h30m", now).unwrap(), now - 5_400_000);
        assert_eq!(moment("1970-01-01T00:01:00Z", now).unwrap(), 60_000);
        let midnight = 1_799_971_200_000;
        for (text, wanted) in
            [("today", midnight), ("yesterday", midnight - DAY_MS), ("1970-01-02", DAY_MS)]
        {
            assert_eq!(moment(text, now).unwrap(), wanted, "{text}");
            assert_eq!(day(text, now), Some((wanted, wanted + DAY_MS - 1)), "{text}");
        }
        assert_eq!(day("now", now), None);
        for bad in ["", "tomorrow", "10", "2027-13-31", "2027-1-31"] {
            assert!(moment(bad, now).unwrap_err().to_string().contains("1h30m"), "{bad}");
        }
    }

    #[test]
    fn json_has_every_moment_in_rfc_3339_as_well_and_no_duration() {
        let value = json!({ "a": [{ "timeMs": 60_000 }], "bakeMs": 7, "untilMs": null });
        let dated = dated(&value);
        assert_eq!(dated["a"][0]["time"], "1970-01-01T00:01:00Z");
        assert_eq!(dated["a"][0]["timeMs"], 60_000);
        assert!(dated.get("bake").is_none() && dated.get("until").is_none());
    }
}
