//! The built-in `rate-limit` policy: token buckets in the host (`quota`), one for each value of a key.
//!
//! The Grant sets rates and sizes; the configuration names the classes of the Grant and what a bucket is
//! for ([`key`]). Clients learn what is left from `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers-10; [`fields`]).

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use tamis_sdk::{
    ConfigError, Edit, Filter, Interest, Request, Response, View, exchange_state, quota, reply,
    request, response,
};

pub mod config;
pub mod fields;
pub mod key;
pub mod limit;

use config::{RateLimitRules, RateLimitSettings};
use fields::{POLICY, REMAINING, RateLimitHeader};

/// Key of the value that the hook on requests leaves for the one on responses.
const KEPT: &str = "remaining";

/// The buckets of a host: imports in a component, plain values in tests.
pub trait Buckets {
    /// Takes tokens. Returns those that are left.
    ///
    /// # Errors
    /// The milliseconds until there are enough; `u32::MAX`: there never are.
    fn take(&self, class: &str, key: &str, tokens: u32) -> Result<u32, u32>;
}

/// The buckets of the host.
#[derive(Clone, Copy, Debug)]
pub struct RateLimitHost;

impl Buckets for RateLimitHost {
    fn take(&self, class: &str, key: &str, tokens: u32) -> Result<u32, u32> {
        quota::take(class, key, tokens)
    }
}

/// The policy.
#[derive(Clone, Debug)]
pub struct RateLimit {
    rules: RateLimitRules,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitOutcome {
    /// It passes; the value of `RateLimit`, if a bucket was asked.
    Passes(Option<String>),
    /// A bucket is empty.
    Refused {
        /// The value of `RateLimit`.
        remaining: String,
        /// Seconds to wait; `None`: waiting does not help.
        after: Option<u32>,
    },
}

impl RateLimit {
    /// A policy of checked rules.
    #[must_use]
    pub fn new(rules: RateLimitRules) -> Self {
        Self { rules }
    }

    /// Asks the bucket of each limit, in order, until one is empty. Tokens that were taken before stay
    /// taken: a client that is refused still counts where it was let pass.
    pub fn ask(&self, seen: View<'_>, buckets: &impl Buckets) -> LimitOutcome {
        let mut left = RateLimitHeader::default();
        for limit in &self.rules.limits {
            let Some(key) = key::of(limit, seen) else { continue };
            match buckets.take(&limit.class, &key, limit.tokens) {
                Ok(tokens) => left.passes(&limit.class, tokens / limit.tokens.max(1)),
                Err(wait_ms) => return left.refused(&limit.class, wait_ms),
            }
        }
        LimitOutcome::Passes(left.value())
    }

    fn answer(&self, remaining: String, after: Option<u32>) -> request::Decision {
        let mut answer = reply(429).header(REMAINING, remaining);
        if let Some(policy) = &self.rules.policy {
            answer = answer.header(POLICY, policy.as_str());
        }
        if let Some(seconds) = after {
            answer = answer.header("retry-after", seconds.to_string());
        }
        let answer = answer.text("too many requests\n");
        request::Decision::answer(answer).because("rate-limit.exceeded")
    }
}

impl Filter for RateLimit {
    type Settings = RateLimitSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &RateLimitSettings) -> Result<(), Vec<ConfigError>> {
        RateLimitRules::check(settings).map(drop)
    }

    fn configure(settings: RateLimitSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = RateLimitRules::check(&settings)?;
        for limit in &rules.limits {
            // A class that the Grant does not name is a trap: at load, and not at the first request.
            let _ = RateLimitHost.take(&limit.class, "", 0);
        }
        let interest = Interest::reading(rules.reads().iter().map(String::as_str))
            .writing([REMAINING, POLICY]);
        Ok((Self::new(rules), interest))
    }
}

impl Request for RateLimit {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        match self.ask(seen, &RateLimitHost) {
            LimitOutcome::Refused { remaining, after } => self.answer(remaining, after),
            LimitOutcome::Passes(None) => request::Decision::pass(),
            LimitOutcome::Passes(Some(value)) => {
                // Without room for it, the response lacks the field; the request was counted.
                let _ =
                    exchange_state::write(exchange_state::Scope::Exchange, KEPT, value.as_bytes());
                request::Decision::pass()
            }
        }
    }
}

impl Response for RateLimit {
    fn on_response(&mut self, _: View<'_>) -> response::Decision {
        let Some(value) = exchange_state::read(exchange_state::Scope::Exchange, KEPT) else {
            return response::Decision::pass();
        };
        // Added: an upstream may have limits of its own, and the fields are lists.
        let mut edits = vec![Edit::add(REMAINING, value)];
        edits.extend(self.rules.policy.as_ref().map(|policy| Edit::add(POLICY, policy.as_str())));
        response::Decision::change(edits)
    }
}

tamis_sdk::export_head_policy!(RateLimit);

#[cfg(test)]
mod tests;
