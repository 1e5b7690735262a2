//! The built-in `ext-authz` policy: asks a service whether a request may pass, with the check of Envoy's
//! `ext_authz` filter, over HTTP or gRPC ([`grpc`]).
//!
//! The check over HTTP has the method and the path of the request and the headers that are configured, and no body. A
//! status of 2xx lets the request pass; any other below 500 is the answer for the client; everything else,
//! silence included, refuses ([`check`]). It never fails open.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use tamis_sdk::{ConfigError, Filter, Interest, Request, View, http_client, log, reply, request};

pub mod check;
pub mod config;
pub mod grpc;
mod messages;
mod size;

use check::{CheckOutcome, CheckService};
use config::{ExtAuthzRules, ExtAuthzSettings};

/// The policy.
#[derive(Clone, Debug)]
pub struct ExtAuthz {
    rules: ExtAuthzRules,
}

/// The host's client.
#[derive(Clone, Copy, Debug)]
struct Host;

impl CheckService for Host {
    fn send(&self, outgoing: &http_client::Outgoing) -> Result<http_client::Incoming, String> {
        http_client::send(outgoing).map_err(|failure| match failure {
            http_client::Failure::Denied(why) => format!("the grant does not allow it: {why}"),
            http_client::Failure::Connect(why) => format!("no connection: {why}"),
            http_client::Failure::Timeout => "no answer in time".to_owned(),
            http_client::Failure::TooLarge => "the answer is too large".to_owned(),
            http_client::Failure::Exhausted => "the grant allows no more checks for now".to_owned(),
        })
    }
}

impl Filter for ExtAuthz {
    type Settings = ExtAuthzSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &ExtAuthzSettings) -> Result<(), Vec<ConfigError>> {
        ExtAuthzRules::check(settings).map(drop)
    }

    fn configure(settings: ExtAuthzSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = ExtAuthzRules::check(&settings)?;
        let interest = rules.interest();
        Ok((Self { rules }, interest))
    }
}

impl Request for ExtAuthz {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        match check::check(&self.rules, seen, &Host) {
            CheckOutcome::Passes(edits) => request::Decision::change(edits),
            CheckOutcome::Refused(reply) => {
                request::Decision::answer(reply).because("ext-authz.denied")
            }
            CheckOutcome::Ambiguous(name) => {
                let text = format!("the request has more than one {name}\n");
                request::Decision::answer(reply(400).text(text)).because("ext-authz.ambiguous")
            }
            CheckOutcome::Unreadable(name) => {
                let text = format!("the {name} of the request is no text\n");
                request::Decision::answer(reply(400).text(text)).because("ext-authz.unreadable")
            }
            CheckOutcome::Unavailable(why, reply) => {
                log::write(log::Level::Warn, &format!("the check failed: {why}"));
                request::Decision::answer(reply).because("ext-authz.unavailable")
            }
        }
    }
}

tamis_sdk::export_authorizer!(ExtAuthz);

#[cfg(test)]
mod tests;
