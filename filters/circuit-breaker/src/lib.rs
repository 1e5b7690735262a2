//! The built-in circuit breaker: opens a circuit on consecutive failures, on a share of failures or on a
//! share of slow responses.
//!
//! Stateless: the host passes the window and the circuit, and enforces the result.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use serde::Deserialize;
use tamis_sdk::circuit_breaker::{Circuit, Window};
use tamis_sdk::{CircuitBreaker, ConfigError, Filter, GatewayDuration, Interest};

/// When circuits open and close.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct CircuitBreakerSettings {
    /// Number of consecutive failures that opens the circuit; 0: never.
    pub consecutive_failures: u32,
    /// Share of failures and timeouts that opens it, above 0 and at most 1.
    pub failure_ratio: f64,
    /// Share of slow responses that opens it, above 0 and at most 1. The service's policy defines what is
    /// slow.
    pub slow_ratio: f64,
    /// Requests in the window before a share counts.
    pub minimum_requests: u32,
    /// Refused: the host keeps the window, and its span is `statsWindow` of the service's `UpstreamPolicy`.
    pub window: Option<GatewayDuration>,
    /// How long it stays open the first time; doubled for each failed probe.
    pub open_for: GatewayDuration,
    /// The longest time it stays open.
    pub max_open_for: GatewayDuration,
    /// Requests let through as probes, all of which must succeed.
    pub probes: u32,
}

impl Default for CircuitBreakerSettings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_ratio: 0.5,
            slow_ratio: 1.0,
            minimum_requests: 20,
            window: None,
            open_for: GatewayDuration::from_millis(5_000),
            max_open_for: GatewayDuration::from_millis(60_000),
            probes: 3,
        }
    }
}

/// The policy.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: CircuitBreakerSettings,
}

impl Breaker {
    /// A policy from settings that passed [`Filter::check`].
    #[must_use]
    pub fn new(settings: CircuitBreakerSettings) -> Self {
        Self { settings }
    }

    /// The next state of the circuit.
    ///
    /// `now` carries the remaining time: `open(0)` has expired. The window of a half-open circuit contains
    /// its probes only, except `consecutive-failures`, which counts on until a success.
    #[must_use]
    pub fn next(&self, seen: &Window, now: Circuit) -> Circuit {
        match now {
            Circuit::Closed if self.trips(seen) => Circuit::Open(self.open_ms(seen)),
            Circuit::Closed => Circuit::Closed,
            Circuit::Open(0) => Circuit::HalfOpen(self.settings.probes),
            Circuit::Open(left_ms) => Circuit::Open(left_ms),
            Circuit::HalfOpen(_) if bad(seen) > 0 => Circuit::Open(self.open_ms(seen)),
            Circuit::HalfOpen(_) if seen.successes >= self.settings.probes => Circuit::Closed,
            Circuit::HalfOpen(left) => Circuit::HalfOpen(left),
        }
    }

    fn trips(&self, seen: &Window) -> bool {
        let settings = &self.settings;
        let all = u64::from(seen.successes) + bad(seen);
        let share = |part: u64, ratio: f64| part > 0 && part as f64 >= ratio * all as f64;
        let in_a_row = settings.consecutive_failures > 0
            && seen.consecutive_failures >= settings.consecutive_failures;
        in_a_row
            || (all >= u64::from(settings.minimum_requests)
                && (share(bad(seen), settings.failure_ratio)
                    || share(u64::from(seen.slow), settings.slow_ratio)))
    }

    /// Doubled for each consecutive failure beyond those that opened the circuit: they were probes.
    fn open_ms(&self, seen: &Window) -> u32 {
        let beyond = seen.consecutive_failures.saturating_sub(self.settings.consecutive_failures);
        let factor = 1_u32.checked_shl(beyond).unwrap_or(u32::MAX);
        let wanted = self.settings.open_for.millis().saturating_mul(factor);
        wanted.min(self.settings.max_open_for.millis())
    }
}

/// Failures and timeouts; the contract counts them separately.
fn bad(seen: &Window) -> u64 {
    u64::from(seen.failures) + u64::from(seen.timeouts)
}

impl Filter for Breaker {
    type Settings = CircuitBreakerSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &CircuitBreakerSettings) -> Result<(), Vec<ConfigError>> {
        let ratio = |ratio: f64| ratio > 0.0 && ratio <= 1.0;
        let rules = [
            (
                ratio(settings.failure_ratio),
                "/failureRatio",
                "a share must be above 0 and at most 1",
            ),
            (ratio(settings.slow_ratio), "/slowRatio", "a share must be above 0 and at most 1"),
            (
                settings.probes > 0,
                "/probes",
                "at least 1: a circuit closes only after successful probes",
            ),
            (
                settings.window.is_none(),
                "/window",
                "the host keeps the window; write `statsWindow` in the UpstreamPolicy of the service",
            ),
            (settings.open_for.millis() > 0, "/openFor", "must be longer than 0"),
            (
                settings.max_open_for >= settings.open_for,
                "/maxOpenFor",
                "must be at least as long as openFor",
            ),
        ];
        let errors: Vec<ConfigError> = rules
            .into_iter()
            .filter(|(holds, ..)| !holds)
            .map(|(_, pointer, message)| ConfigError::at(pointer, message))
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn configure(settings: CircuitBreakerSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let interest = Interest::reading([]);
        Ok((Self::new(settings), interest))
    }
}

impl CircuitBreaker for Breaker {
    fn evaluate(&mut self, _: u32, _: Option<u32>, seen: Window, now: Circuit) -> Circuit {
        self.next(&seen, now)
    }
}

tamis_sdk::export_breaker!(Breaker);

#[cfg(test)]
mod tests;
