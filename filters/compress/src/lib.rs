//! The built-in `compress` policy: whether a response is encoded on its way to the client, and with which coding.
//!
//! The filter decides from the head of the response and from what the client accepts; the host encodes the octets, behind
//! all filters, and writes the head of the encoded body.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use tamis_sdk::{ConfigError, Edit, Filter, Interest, Response, View, response};

pub mod accept;
pub mod config;
pub mod media;

use accept::AcceptedCodings;
use config::{CompressRules, CompressSettings, CrossSiteRule};
use media::media_type;

const ACCEPT_ENCODING: &str = "request:accept-encoding";
const IF_NONE_MATCH: &str = "request:if-none-match";
const FETCH_SITE: &str = "request:sec-fetch-site";

/// The policy.
#[derive(Clone, Debug)]
pub struct Compress {
    rules: CompressRules,
}

impl Compress {
    /// A policy of checked rules.
    #[must_use]
    pub fn new(rules: CompressRules) -> Self {
        Self { rules }
    }

    /// Whether a response is one that is encoded for a client that wants it.
    fn is_eligible(&self, seen: View<'_>) -> bool {
        let has_own_end = matches!(seen.status(), 0..=199 | 204 | 205 | 206 | 304);
        let encoded = |value: &[u8]| !value.trim_ascii().eq_ignore_ascii_case(b"identity");
        !has_own_end
            && seen.header("content-range").is_none()
            && !seen.headers("content-encoding").any(encoded)
            && !lists(seen, "cache-control", &["no-transform"])
            && self.is_long_enough(seen)
            && self.is_of_kind(seen)
    }

    fn is_long_enough(&self, seen: View<'_>) -> bool {
        let length = seen.text("content-length").and_then(|length| length.parse::<u64>().ok());
        length.is_none_or(|length| length >= self.rules.min_length)
    }

    fn is_of_kind(&self, seen: View<'_>) -> bool {
        let media = only(seen.headers("content-type")).and_then(media_type);
        media.is_some_and(|media| self.rules.media.iter().any(|pattern| pattern.covers(&media)))
    }

    /// Whether the page of another site that asks could learn a secret from the length of an encoded response (BREACH).
    fn is_secret_at_risk(&self, seen: View<'_>) -> bool {
        let other = |site: &[u8]| site == b"cross-site" || site == b"same-site";
        self.rules.cross_site == CrossSiteRule::Public
            && seen.headers(FETCH_SITE).any(other)
            && !is_for_everybody(seen)
    }

    /// The head of a 304 to a client that has an encoded body: the validator is the weak one that came with that.
    fn not_modified(&self, seen: View<'_>, accepted: AcceptedCodings) -> Vec<Edit> {
        let tag = only(seen.headers("etag")).filter(|tag| tag.starts_with(b"\""));
        let Some(tag) = tag.filter(|_| accepted.best(&self.rules.codings).is_some()) else {
            return Vec::new();
        };
        let weak = [b"W/", tag].concat();
        let mut known = seen.headers(IF_NONE_MATCH).flat_map(|tags| tags.split(|o| *o == b','));
        let has_it = known.any(|one| one.trim_ascii() == weak.as_slice());
        if !has_it {
            return Vec::new();
        }
        let mut edits = vec![Edit::set("etag", weak)];
        edits.extend(varied(seen));
        edits
    }
}

/// Whether a response states that everybody may have it. One that also says the opposite does not: `private, immutable` is what
/// servers write for a page of one user that never changes.
fn is_for_everybody(seen: View<'_>) -> bool {
    lists(seen, "cache-control", &["public", "s-maxage", "immutable"])
        && !lists(seen, "cache-control", &["private", "no-store"])
}

/// Names the field that the response depends on, unless it does already.
fn varied(seen: View<'_>) -> Option<Edit> {
    let is_named = lists(seen, "vary", &["*", "accept-encoding"]);
    (!is_named).then(|| Edit::add("vary", "accept-encoding"))
}

/// Whether one of the comma-separated values of a field is one of these words, or one of them with an argument.
fn lists(seen: View<'_>, name: &str, words: &[&str]) -> bool {
    let entries = seen.headers(name).flat_map(|value| value.split(|octet| *octet == b','));
    let mut names = entries.filter_map(|entry| entry.split(|octet| *octet == b'=').next());
    names.any(|name| {
        words.iter().any(|word| name.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    })
}

/// The value of a field that occurs once. Of two values, nobody knows which one a client reads.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

impl Filter for Compress {
    type Settings = CompressSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &CompressSettings) -> Result<(), Vec<ConfigError>> {
        CompressRules::check(settings).map(drop)
    }

    fn configure(settings: CompressSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = CompressRules::check(&settings)?;
        let interest = Interest::reading([
            ACCEPT_ENCODING,
            IF_NONE_MATCH,
            FETCH_SITE,
            "content-type",
            "content-length",
            "content-encoding",
            "content-range",
            "cache-control",
            "etag",
            "vary",
        ])
        .writing(["etag", "vary", ":coding"])
        .seeing(rules.responses);
        Ok((Self::new(rules), interest))
    }
}

impl Response for Compress {
    fn on_response(&mut self, seen: View<'_>) -> response::Decision {
        let accepted = AcceptedCodings::read(seen.headers(ACCEPT_ENCODING));
        if seen.status() == 304 {
            return response::Decision::change(self.not_modified(seen, accepted));
        }
        if !self.is_eligible(seen) {
            return response::Decision::pass();
        }
        // Also where it stays as it is: a cache must not give that response to everybody.
        let mut edits: Vec<Edit> = varied(seen).into_iter().collect();
        let coding = accepted.best(&self.rules.codings);
        if let Some(coding) = coding.filter(|_| !self.is_secret_at_risk(seen)) {
            edits.push(Edit::encode(coding.as_str()));
        }
        response::Decision::change(edits)
    }
}

tamis_sdk::export!(Compress: response);

#[cfg(test)]
mod tests;
