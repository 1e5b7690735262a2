//! One request and, later, its response.

use crate::coding::ContentCoding;
use crate::head_bounds::HeadBounds;
use crate::spare::{self, Attribute};
use http::{HeaderMap, StatusCode};
use std::borrow::Cow;
use std::sync::Arc;

/// The scheme that the client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Clear text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Named values that are not headers: `peer.spiffe-id`, `source.address`, `route.name` …
///
/// Names have no `@` here; in `interest.reads` they do. There are few and they live briefly, so a list is
/// faster than a map. Values are shared: most are the same for all exchanges of a connection.
#[derive(Debug, Clone, Default)]
pub struct Attributes(Vec<Attribute>);

impl Attributes {
    /// None yet, in memory that an exchange before [gave back](Exchange::give_back).
    #[must_use]
    pub fn spare() -> Self {
        Self(spare::attributes())
    }

    /// The value of `name`.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_ref())
    }

    /// Sets `name`, replacing an earlier value.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Arc<str>>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some(slot) => slot.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// All of them in the order they were first set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))
    }
}

/// One request and its response: heads and attributes, no bodies.
///
/// Invariants: `path` starts with `/` (or is `*` for OPTIONS) and is normalised
/// ([`normal_path`](crate::normal_path)), `authority` is normalised
/// ([`normal_authority`](crate::normal_authority)); `headers` contain no hop-by-hop field and no `host`.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Never reused within a proxy's life.
    pub id: u64,
    /// As received.
    pub method: http::Method,
    /// Of the client's connection.
    pub scheme: Scheme,
    /// The host and port that the client asked for, normalised; empty when it named none.
    pub authority: String,
    /// Path and query, normalised.
    pub path: String,
    /// Request headers, end-to-end ones only.
    pub headers: HeaderMap,
    /// `None` while there is no response.
    pub status: Option<StatusCode>,
    /// Response headers, end-to-end ones only.
    pub response_headers: HeaderMap,
    /// Values that the host and the filters set.
    pub attributes: Attributes,
    /// How large filters may make its heads.
    pub bounds: HeadBounds,
    /// What a filter wants the body of the response encoded with.
    pub coding: Option<ContentCoding>,
}

impl Exchange {
    /// Gives back the memory of its texts and attributes, which are empty after that, so that the next exchange of this
    /// thread can use it.
    pub fn give_back(&mut self) {
        spare::give_back_text(std::mem::take(&mut self.authority));
        spare::give_back_text(std::mem::take(&mut self.path));
        spare::give_back_attributes(std::mem::take(&mut self.attributes.0));
    }
}
