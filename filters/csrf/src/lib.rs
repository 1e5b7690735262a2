//! The built-in `csrf` policy: refuses requests that a page of another site makes a browser send with the
//! person's own credentials.
//!
//! It needs no token and no state: browsers say where a request comes from (`sec-fetch-site`, Fetch Metadata;
//! before that, `origin`). The rules are those of `CrossOriginProtection` in Go 1.25, with two additions: a
//! WebSocket counts as a request that changes something, and of a field that occurs twice nothing is believed.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use tamis_sdk::{ConfigError, Filter, Interest, Method, Request, View, reply, request};

pub mod config;
pub mod origin;

use config::{CsrfRules, CsrfSettings};

const SITE: &str = "sec-fetch-site";
/// Every handshake of a WebSocket over HTTP/1.1 has it (RFC 6455 §4.1), and the host adds it to one over HTTP/2.
const WEBSOCKET: &str = "sec-websocket-key";

/// The policy.
#[derive(Clone, Debug)]
pub struct Csrf {
    rules: CsrfRules,
}

impl Csrf {
    /// A policy of checked rules.
    #[must_use]
    pub fn new(rules: CsrfRules) -> Self {
        Self { rules }
    }

    /// The reason to refuse a request. `None`: it may pass.
    #[must_use]
    pub fn refusal(&self, seen: View<'_>) -> Option<&'static str> {
        if is_safe(seen) {
            return None;
        }
        let (site, origin) = match (once(seen, SITE), once(seen, "origin")) {
            (FieldOccurrence::Twice, _) | (_, FieldOccurrence::Twice) => {
                return Some("csrf.ambiguous");
            }
            (site, origin) => (site.value(), origin.value()),
        };
        match (site, origin) {
            (Some(b"same-origin" | b"none"), _) => None,
            (_, Some(origin)) if self.rules.trusts(origin) => None,
            (Some(_), _) => Some("csrf.cross-site"),
            // No browser of today, and one of yesterday would name its origin.
            (None, None) => None,
            (None, Some(origin)) => {
                let own = seen.header(":authority").is_some_and(|own| origin::is_of(origin, own));
                if own { None } else { Some("csrf.cross-origin") }
            }
        }
    }
}

/// Methods that change nothing (RFC 9110 §9.2.1), as Go lists them, unless they open a WebSocket: browsers
/// let every page do that.
fn is_safe(seen: View<'_>) -> bool {
    matches!(seen.method(), Method::Get | Method::Head | Method::Options)
        && seen.header(WEBSOCKET).is_none()
}

/// Occurrences of a field that has one value.
#[derive(Clone, Copy)]
enum FieldOccurrence<'a> {
    Absent,
    Value(&'a [u8]),
    Twice,
}

impl<'a> FieldOccurrence<'a> {
    fn value(self) -> Option<&'a [u8]> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Twice => None,
        }
    }
}

fn once<'a>(seen: View<'a>, name: &str) -> FieldOccurrence<'a> {
    let mut values = seen.headers(name);
    match (values.next(), values.next()) {
        (None, _) => FieldOccurrence::Absent,
        (Some(value), None) => FieldOccurrence::Value(value),
        (Some(_), Some(_)) => FieldOccurrence::Twice,
    }
}

impl Filter for Csrf {
    type Settings = CsrfSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &CsrfSettings) -> Result<(), Vec<ConfigError>> {
        CsrfRules::check(settings).map(drop)
    }

    fn configure(settings: CsrfSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = CsrfRules::check(&settings)?;
        Ok((Self::new(rules), Interest::reading([SITE, "origin", WEBSOCKET, ":authority"])))
    }
}

impl Request for Csrf {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        match self.refusal(seen) {
            None => request::Decision::pass(),
            Some(reason) => {
                let answer = reply(403).text("this request comes from a page of another site\n");
                request::Decision::answer(answer).because(reason)
            }
        }
    }
}

tamis_sdk::export_authorizer!(Csrf);

#[cfg(test)]
mod tests;
