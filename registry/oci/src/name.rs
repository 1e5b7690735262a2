//! Names: of repositories, and the tags within them (OCI Distribution 1.1, "Pulling manifests").

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tamis_journal::BlobDigest;
use thiserror::Error;

/// Longest repository name in bytes: with a host before it, many clients accept at most 255.
pub const MAX_REPOSITORY_BYTES: usize = 255;
/// The longest tag, in bytes.
pub const MAX_TAG_BYTES: usize = 128;

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not a repository name.
    #[error(
        "{0:?} is not the name of a repository: parts joined by '/', each of lower-case letters and digits joined by '.', '_', \
         '__' or dashes, at most 255 bytes in all"
    )]
    Repository(String),
    /// Not a tag.
    #[error(
        "{0:?} is not a tag: a letter, digit or '_', then letters, digits, '.', '_' and '-', at most 128 bytes in all"
    )]
    Tag(String),
}

/// The name of a repository, such as `acme/limits/burst`. A clone is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(Arc<str>);

impl Repository {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Repository {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() <= MAX_REPOSITORY_BYTES && text.split('/').all(is_component) {
            return Ok(Self(text.into()));
        }
        Err(NameError::Repository(shown(text)))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = text.starts_with(alphanumeric) && text.ends_with(alphanumeric);
    ends && text
        .split(alphanumeric)
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-'))
}

/// A tag.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names a version, `1.2.3` or `v1.2.3`, which never changes once pushed.
    #[must_use]
    pub fn is_version(&self) -> bool {
        let text = self.0.strip_prefix('v').unwrap_or(&self.0);
        text.parse::<tamis_trust::Version>().is_ok()
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let first = text.bytes().next().is_some_and(word);
        let rest = text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
        if first && rest && text.len() <= MAX_TAG_BYTES {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError::Tag(shown(text)))
    }
}

/// How a manifest is requested. A digest has a colon, a tag has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By tag.
    Tag(Tag),
    /// By digest.
    Digest(BlobDigest),
}

macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

text!(Repository);
text!(Tag);

fn shown(text: &str) -> String {
    text.chars().take(MAX_REPOSITORY_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_names_of_the_specification_are_repositories() {
        for good in ["a", "acme/limits", "a.b_c__d---e/f0/0", &"a".repeat(255)] {
            assert_eq!(good.parse::<Repository>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a..b",
            "a___b",
            "a._b",
            "-a",
            "a-",
            "a.",
            "_a",
            "a-.b",
            "a b",
            "a/../b",
            "ä",
            "a:b",
            "a%2fb",
            &"a".repeat(256),
        ] {
            assert!(bad.parse::<Repository>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_tags_of_the_specification_are_tags() {
        for good in ["latest", "_x", "1.2.3-rc.1", "A.b-C_", &"a".repeat(128)] {
            assert_eq!(good.parse::<Tag>().unwrap().as_str(), good);
        }
        for bad in ["", ".a", "-a", "a:b", "a/b", "a b", "1.0+x", "ä", &"a".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_are_told_from_other_tags() {
        let version = |text: &str| text.parse::<Tag>().unwrap().is_version();
        assert!(["1.2.3", "v1.2.3", "0.1.0-rc.1"].into_iter().all(version));
        assert!(!["latest", "1.2", "1", "v1", "sha256-0", "vv1.2.3"].into_iter().any(version));
    }

    proptest! {
        #[test]
        fn every_name_of_the_grammar_is_taken(
            text in r"[a-z0-9]{1,3}((\.|_|__|-{1,3})[a-z0-9]{1,3}){0,3}(/[a-z0-9]{1,3}((\.|_|__|-{1,3})[a-z0-9]{1,3}){0,3}){0,3}"
        ) {
            let name: Repository = text.parse().unwrap();
            prop_assert_eq!(name.as_str(), text);
        }

        #[test]
        fn no_name_that_is_taken_leads_out_of_its_place(text in "[a-b._/~%A-]{0,8}") {
            if text.parse::<Repository>().is_ok() {
                let bad = ["..", "//", "~", "%", "A", "/.", "./"];
                prop_assert!(bad.iter().all(|bad| !text.contains(bad)), "{}", text);
                prop_assert!(!text.starts_with('/') && !text.ends_with('/'));
            }
        }
    }
}
