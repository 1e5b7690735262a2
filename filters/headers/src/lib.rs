//! The built-in `headers` policy: sets, adds and removes fields of the heads of requests and responses.
//!
//! [`config`] checks what the operator writes: a field that the host owns is refused there, before any
//! exchange. A value may name attributes of the host ([`template`]), which no client can choose.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use tamis_sdk::{ConfigError, Edit, Filter, Interest, Request, Response, View, request, response};

pub mod config;
pub mod template;

use config::{HeaderChange, HeaderRules, HeadersSettings};

/// The policy.
#[derive(Clone, Debug)]
pub struct Headers {
    rules: HeaderRules,
}

impl Headers {
    /// A policy of checked rules.
    #[must_use]
    pub fn new(rules: HeaderRules) -> Self {
        Self { rules }
    }
}

impl Filter for Headers {
    type Settings = HeadersSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &HeadersSettings) -> Result<(), Vec<ConfigError>> {
        HeaderRules::check(settings).map(drop)
    }

    fn configure(settings: HeadersSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = HeaderRules::check(&settings)?;
        let interest = rules.interest();
        Ok((Self::new(rules), interest))
    }
}

impl Request for Headers {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        request::Decision::change(edits(&self.rules.request, seen))
    }
}

impl Response for Headers {
    fn on_response(&mut self, seen: View<'_>) -> response::Decision {
        response::Decision::change(edits(&self.rules.response, seen))
    }
}

/// The edits of one head. A field whose value names an absent attribute is removed rather than set: what
/// the sender wrote there must not pass for the host's word.
fn edits(changes: &[HeaderChange], seen: View<'_>) -> Vec<Edit> {
    changes
        .iter()
        .filter_map(|change| match change {
            HeaderChange::Set(name, value) => Some(match value.text(seen) {
                Some(text) => Edit::set(name.as_str(), text),
                None => Edit::remove(name.as_str()),
            }),
            HeaderChange::Add(name, value) => {
                value.text(seen).map(|text| Edit::add(name.as_str(), text))
            }
            HeaderChange::Remove(name) => Some(Edit::remove(name.as_str())),
        })
        .collect()
}

tamis_sdk::export_head_policy!(Headers);

#[cfg(test)]
mod tests;
