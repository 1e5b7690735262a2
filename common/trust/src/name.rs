//! Names and versions of filters.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::TrustError;

/// `NAMESPACE/NAME`: two or more components of the OCI repository grammar, at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let ok = text.len() <= 255 && text.contains('/') && text.split('/').all(is_component);
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(TrustError::Name(text.chars().take(80).collect()))
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, the OCI distribution specification's path component.
pub(crate) fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().next_back().is_some_and(alphanumeric);
    ends && text
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-'))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A semantic version without build metadata, ordered by SemVer 2.0.0 §11.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    release: [u64; 3],
    /// Dot-separated identifiers; empty for a release.
    prerelease: Vec<Identifier>,
}

/// Numeric identifiers sort before alphanumeric ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Text(String),
}

impl FromStr for Version {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        parse_version(text).ok_or_else(|| TrustError::Version(text.chars().take(80).collect()))
    }
}

fn parse_version(text: &str) -> Option<Version> {
    if text.len() > 128 {
        return None;
    }
    let (release, prerelease) = match text.split_once('-') {
        Some((release, prerelease)) => (release, Some(prerelease)),
        None => (text, None),
    };
    let mut parts = release.split('.').map(number);
    let release = [parts.next()??, parts.next()??, parts.next()??];
    if parts.next().is_some() {
        return None;
    }
    let prerelease = match prerelease {
        Some(list) => list.split('.').map(identifier).collect::<Option<Vec<_>>>()?,
        None => Vec::new(),
    };
    Some(Version { release, prerelease })
}

/// Decimal without a leading zero.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if digits && canonical { text.parse().ok() } else { None }
}

fn identifier(text: &str) -> Option<Identifier> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(text).map(Identifier::Number);
    }
    let legal = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    legal.then(|| Identifier::Text(text.to_owned()))
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.release.cmp(&other.release).then_with(|| {
            match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => self.prerelease.cmp(&other.prerelease),
            }
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.release;
        write!(f, "{major}.{minor}.{patch}")?;
        for (at, identifier) in self.prerelease.iter().enumerate() {
            f.write_str(if at == 0 { "-" } else { "." })?;
            match identifier {
                Identifier::Number(number) => write!(f, "{number}")?,
                Identifier::Text(text) => f.write_str(text)?,
            }
        }
        Ok(())
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}
as_text!(Name);
as_text!(Version);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_repository_grammar() {
        for good in ["acme/retry", "a/b/c", "a.b/c_d", "a__b/c--d", "0/1"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "acme",
            "acme/",
            "/a",
            "Acme/x",
            "a/../b",
            "a/.b",
            "a/b-",
            "a..b/c",
            "a/é",
            "a/b c",
            &format!("a/{}", "b".repeat(254)),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_order_as_semver_says() {
        let order = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.10",
            "1.2.0",
            "10.0.0",
        ];
        let parsed: Vec<Version> = order.iter().map(|text| text.parse().unwrap()).collect();
        assert!(parsed.is_sorted());
        for (version, text) in parsed.iter().zip(order) {
            assert_eq!(version.to_string(), text);
        }
        for bad in
            ["1.0", "1.0.0+x", "01.0.0", "1.0.0-", "1.0.0-01", "v1.0.0", "1.0.0.0", "1.0.0-a..b"]
        {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
