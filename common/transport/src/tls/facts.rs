//! The facts of a certificate, and whether it may replace the one in use.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::TlsError;

/// The names and the validity of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The leaf's alternative names, sorted: DNS names in lower case, IP addresses, URIs.
    pub names: Vec<String>,
    /// The first second at which all certificates of the chain are valid, since the Unix epoch.
    pub not_before: i64,
    /// The last second at which all of them are valid, since the Unix epoch.
    pub not_after: i64,
}

/// Conditions for a certificate before it is put into use.
#[derive(Debug, Clone, Copy, Default)]
pub struct CertificateNeeds<'a> {
    /// It must be valid at this moment.
    pub now: Option<SystemTime>,
    /// It must have this name, such as a SPIFFE id; `None`: any name.
    pub name: Option<&'a str>,
    /// It must be signed by one of these authorities, which its peers trust; `None`: any.
    pub authority: Option<&'a Path>,
    /// The certificate in use: the new one must share a name with it.
    pub before: Option<&'a CertificateFacts>,
}

impl CertificateFacts {
    /// The facts of the certificates in a PEM file, leaf first.
    ///
    /// # Errors
    /// [`TlsError`] names the file and the way out.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        let chain = super::files::certificates(path)?;
        let unreadable = || TlsError::Pem { path: path.to_owned(), wanted: "certificate" };
        Self::of(&chain).ok_or_else(unreadable)
    }

    /// The facts of the certificates in a PEM text, leaf first.
    ///
    /// # Errors
    /// [`TlsError::Pem`].
    pub fn of_pem(text: &[u8]) -> Result<Self, TlsError> {
        let place = Path::new("the text");
        let chain = super::files::certificates_of(place, text)?;
        let unreadable = || TlsError::Pem { path: place.to_owned(), wanted: "certificate" };
        Self::of(&chain).ok_or_else(unreadable)
    }

    /// Those of a certificate for a host that is not there yet.
    pub(super) fn awaited(host: &str) -> Self {
        Self { names: vec![host.to_owned()], not_before: 0, not_after: 0 }
    }

    /// The facts of a chain, leaf first; `None` when it cannot be read.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let mut facts: Option<Self> = None;
        for certificate in chain {
            let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
            let (from, until) =
                (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
            match &mut facts {
                None => {
                    facts =
                        Some(Self { names: names(&parsed), not_before: from, not_after: until });
                }
                Some(facts) => {
                    facts.not_before = facts.not_before.max(from);
                    facts.not_after = facts.not_after.min(until);
                }
            }
        }
        facts
    }

    /// Checks all conditions except the signature.
    ///
    /// # Errors
    /// [`TlsError::Expired`], [`TlsError::NotYet`], [`TlsError::OtherName`], each with the file's `path`.
    pub fn check(&self, path: &Path, needs: &CertificateNeeds<'_>) -> Result<(), TlsError> {
        let path = || path.to_owned();
        if let Some(now) = needs.now {
            let now = seconds(now);
            if now > self.not_after {
                return Err(TlsError::Expired { path: path(), at: self.expiry() });
            }
            if now < self.not_before {
                return Err(TlsError::NotYet { path: path(), from: date(self.not_before) });
            }
        }
        let other = |wanted: &str| TlsError::OtherName {
            path: path(),
            names: self.names.join(", "),
            wanted: wanted.to_owned(),
        };
        if let Some(name) = needs.name
            && !self.names.iter().any(|one| one == name)
        {
            return Err(other(name));
        }
        let before = needs.before.map(|before| before.names.as_slice()).unwrap_or_default();
        let same = before.iter().any(|name| self.names.contains(name));
        if same || before.is_empty() { Ok(()) } else { Err(other(&before.join(", "))) }
    }

    /// When it expires, like `2027-02-26T07:30:00Z`.
    #[must_use]
    pub fn expiry(&self) -> String {
        date(self.not_after)
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A second as RFC 3339 writes it.
#[cfg_attr(
    not(test),
    expect(
        clippy::arithmetic_side_effects,
        reason = "days and years of 64 bits of seconds are far from the limits of i64"
    )
)]
pub(super) fn date(second: i64) -> String {
    let (days, rest) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    // Howard Hinnant, "chrono-compatible low-level date algorithms": days since 1970-01-01 to year, month and day.
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let alternative = leaf.subject_alternative_name().ok().flatten();
    let all = alternative.map(|extension| extension.value.general_names.as_slice());
    let mut names: Vec<String> = all.unwrap_or_default().iter().filter_map(name).collect();
    names.sort();
    names.dedup();
    names
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        GeneralName::IPAddress(octets) => {
            if let Ok(four) = <[u8; 4]>::try_from(*octets) {
                return Some(std::net::Ipv4Addr::from(four).to_string());
            }
            let sixteen = <[u8; 16]>::try_from(*octets).ok()?;
            Some(std::net::Ipv6Addr::from(sixteen).to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_as_dates() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(date(second), text);
        }
    }
}
