//! The built-in `cors` policy: which pages of other origins may call a service and read its responses
//! (Fetch §3.2, "CORS protocol"), with the settings of the Gateway API's CORS filter.
//!
//! A preflight is answered here and never reaches the upstream. Every other request passes: a browser asks
//! what its page may read, and the response says so. The fields of the protocol belong to this filter; what
//! an upstream writes there is replaced.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use tamis_sdk::{
    ConfigError, Edit, Filter, Interest, Method, Reply, Request, Response, Responses, View, reply,
    request, response,
};

pub mod config;
pub mod origin;

use config::{AllowedNames, CorsRules, CorsSettings};
use origin::Origin;

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
const EXPOSE_HEADERS: &str = "access-control-expose-headers";
const REQUEST_METHOD: &str = "access-control-request-method";
const REQUEST_HEADERS: &str = "access-control-request-headers";

/// Bytes of names that a preflight asks for and an answer repeats.
const MAX_ASKED_OCTETS: usize = 4096;

/// The policy.
#[derive(Clone, Debug)]
pub struct Cors {
    rules: CorsRules,
}

impl Cors {
    /// A policy of checked rules.
    #[must_use]
    pub fn new(rules: CorsRules) -> Self {
        Self { rules }
    }

    /// The value of `access-control-allow-origin` for a request. `None`: its origin is not allowed.
    fn allowed<'a>(&self, fields: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
        let octets = only(fields)?;
        if self.rules.is_same_for_all() {
            return Some(b"*");
        }
        let origin = Origin::parse(octets)?;
        self.rules.allows(&origin).then_some(octets)
    }

    fn preflight(&self, seen: View<'_>) -> request::Decision {
        let Some(origin) = self.allowed(seen.headers("origin")) else {
            let answer = reply(403).header("vary", "origin").text("this origin is not allowed\n");
            return request::Decision::answer(answer).because("cors.origin-not-allowed");
        };
        let mut answer = reply(204).header(ALLOW_ORIGIN, origin);
        if self.rules.credentials {
            answer = answer.header(ALLOW_CREDENTIALS, "true");
        }
        let asked = |name| only(seen.headers(name)).filter(|asked| is_list(asked));
        answer = listed(
            answer,
            "access-control-allow-methods",
            &self.rules.methods,
            asked(REQUEST_METHOD),
        );
        answer = listed(
            answer,
            "access-control-allow-headers",
            &self.rules.headers,
            asked(REQUEST_HEADERS),
        );
        answer = answer.header("access-control-max-age", self.rules.max_age.to_string()).header(
            "vary",
            "origin, access-control-request-method, access-control-request-headers",
        );
        request::Decision::answer(answer).because("cors.preflight")
    }
}

/// Adds a field with the names that are allowed; with [`AllowedNames::Asked`], those that the preflight asks for.
fn listed(answer: Reply, name: &str, allowed: &AllowedNames, asked: Option<&[u8]>) -> Reply {
    match (allowed, asked) {
        (AllowedNames::Names(names), _) if names.is_empty() => answer,
        (AllowedNames::Names(names), _) => answer.header(name, names.as_str()),
        (AllowedNames::Every, _) => answer.header(name, "*"),
        (AllowedNames::Asked, Some(asked)) => answer.header(name, asked),
        (AllowedNames::Asked, None) => answer,
    }
}

/// A list of tokens that may be repeated in an answer.
fn is_list(octets: &[u8]) -> bool {
    let listed = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(octet);
    !octets.is_empty() && octets.len() <= MAX_ASKED_OCTETS && octets.iter().all(listed)
}

/// The value of a field that occurs once. Of two values, nobody knows which one a browser wrote.
fn only<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let first = fields.next()?;
    fields.next().is_none().then_some(first)
}

impl Filter for Cors {
    type Settings = CorsSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &CorsSettings) -> Result<(), Vec<ConfigError>> {
        CorsRules::check(settings).map(drop)
    }

    fn configure(settings: CorsSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = CorsRules::check(&settings)?;
        let interest = Interest::reading([
            "origin",
            "request:origin",
            REQUEST_METHOD,
            REQUEST_HEADERS,
            "vary",
        ])
        .writing([ALLOW_ORIGIN, ALLOW_CREDENTIALS, EXPOSE_HEADERS, "vary"])
        .seeing(Responses::All);
        Ok((Self::new(rules), interest))
    }
}

impl Request for Cors {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        let preflight = seen.method() == Method::Options
            && seen.header("origin").is_some()
            && seen.header(REQUEST_METHOD).is_some();
        if preflight { self.preflight(seen) } else { request::Decision::pass() }
    }
}

impl Response for Cors {
    fn on_response(&mut self, seen: View<'_>) -> response::Decision {
        let mut edits = match self.allowed(seen.headers("request:origin")) {
            Some(origin) => self.granted(origin),
            None => [ALLOW_ORIGIN, ALLOW_CREDENTIALS, EXPOSE_HEADERS].map(Edit::remove).to_vec(),
        };
        // `vary` is added without an origin too: a cache must not give that response to a page of another origin.
        if !self.rules.is_same_for_all() && !varies(seen) {
            edits.push(Edit::add("vary", "origin"));
        }
        response::Decision::change(edits)
    }
}

impl Cors {
    fn granted(&self, origin: &[u8]) -> Vec<Edit> {
        let or_remove = |name: &'static str, value: Option<&str>| match value {
            Some(value) => Edit::set(name, value),
            None => Edit::remove(name),
        };
        let credentials = self.rules.credentials.then_some("true");
        let exposed = Some(self.rules.exposed.as_str()).filter(|names| !names.is_empty());
        vec![
            Edit::set(ALLOW_ORIGIN, origin),
            or_remove(ALLOW_CREDENTIALS, credentials),
            or_remove(EXPOSE_HEADERS, exposed),
        ]
    }
}

/// Whether the response already says that it depends on the origin.
fn varies(seen: View<'_>) -> bool {
    let names = seen.headers("vary").flat_map(|value| value.split(|octet| *octet == b','));
    names.map(<[u8]>::trim_ascii).any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
}

tamis_sdk::export_head_policy!(Cors);

#[cfg(test)]
mod tests;
