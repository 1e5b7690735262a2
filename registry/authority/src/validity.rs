//! From when until when certificates are valid.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::CertificateParams;
use time::OffsetDateTime;

/// How long an intermediate is valid that is signed where the root's key is, unless somebody decides otherwise.
pub const OFFLINE_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3_600);
/// The shortest lifetime of such an intermediate.
pub const OFFLINE_LIFETIME_MIN: Duration = Duration::from_secs(3_600);
/// The longest lifetime of such an intermediate.
pub const OFFLINE_LIFETIME_MAX: Duration = Duration::from_secs(2 * 365 * 24 * 3_600);

/// How far the clock of a peer may be behind the authority's.
const SKEW: Duration = Duration::from_secs(60);

/// Seconds since the Unix epoch.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A second as RFC 3339 writes it.
pub(crate) fn text(second: u64) -> String {
    let date = date(second);
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second) = (date.hour(), date.minute(), date.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Sets the validity: from a minute before `now` until `until`, in seconds since the Unix epoch.
pub(crate) fn set(params: &mut CertificateParams, now: SystemTime, until: u64) {
    params.not_before = date(seconds(now).saturating_sub(SKEW.as_secs()));
    params.not_after = date(until);
}

/// The second in which a certificate was signed that is valid from `not_before` on, both since the Unix epoch.
#[must_use]
pub fn issued(not_before: i64) -> u64 {
    u64::try_from(not_before).unwrap_or(0).saturating_add(SKEW.as_secs())
}

/// The last moment that certificates are asked about is the year 9999.
fn date(second: u64) -> OffsetDateTime {
    let second = i64::try_from(second).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
