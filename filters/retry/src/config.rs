//! The configuration: one policy, and overrides for single rules.

use std::collections::HashMap;

use serde::Deserialize;
use tamis_sdk::config::step;
use tamis_sdk::retry::Cause;
use tamis_sdk::{ConfigError, GatewayDuration};

/// What the operator writes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RetrySettings {
    /// Attempts in total, including the first. Default 3.
    pub attempts: Option<u32>,
    /// Failures that are retried. Default: connect-failure, refused-stream, reset, status.
    pub retry_on: Option<Vec<RetryCondition>>,
    /// HTTP statuses that count as failure. Default 502, 503, 504.
    pub statuses: Option<Vec<u16>>,
    /// gRPC codes that count as failure. Default 14 (unavailable).
    pub grpc_statuses: Option<Vec<u32>>,
    /// How long to wait.
    pub backoff: Option<RetryBackoff>,
    /// Also retry requests that may have taken effect. Default no.
    pub non_idempotent: Option<bool>,
    /// Wait as long as the upstream's `retry-after` asks; if that is longer than [`RetryBackoff::max`], pass the
    /// response on instead. Default yes.
    pub honor_retry_after: Option<bool>,
    /// Overrides for rules, by `namespace/route/rule`.
    pub rules: HashMap<String, Override>,
}

/// Overrides of one rule; fields that are absent keep the values of the policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Override {
    /// See [`RetrySettings::attempts`].
    pub attempts: Option<u32>,
    /// See [`RetrySettings::retry_on`].
    pub retry_on: Option<Vec<RetryCondition>>,
    /// See [`RetrySettings::statuses`].
    pub statuses: Option<Vec<u16>>,
    /// See [`RetrySettings::grpc_statuses`].
    pub grpc_statuses: Option<Vec<u32>>,
    /// See [`RetrySettings::backoff`].
    pub backoff: Option<RetryBackoff>,
    /// See [`RetrySettings::non_idempotent`].
    pub non_idempotent: Option<bool>,
    /// See [`RetrySettings::honor_retry_after`].
    pub honor_retry_after: Option<bool>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryCondition {
    /// No connection: nothing was sent.
    ConnectFailure,
    /// The upstream reported that it has not processed the request.
    RefusedStream,
    /// The connection or stream broke.
    Reset,
    /// The attempt exceeded its timeout.
    Timeout,
    /// A response with a failing status.
    Status,
}

impl RetryCondition {
    /// The condition that a cause of failure belongs to; `None`: a failure that is never retried.
    #[must_use]
    pub fn of(cause: Cause) -> Option<Self> {
        match cause {
            Cause::ConnectFailure => Some(Self::ConnectFailure),
            Cause::RefusedStream => Some(Self::RefusedStream),
            Cause::Reset => Some(Self::Reset),
            Cause::Timeout => Some(Self::Timeout),
            Cause::Status => Some(Self::Status),
            Cause::Other => None,
        }
    }
}

/// Waits double from `base` up to `max`; the actual wait is a random part of each.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryBackoff {
    /// Before the second attempt.
    #[serde(default = "base")]
    pub base: GatewayDuration,
    /// The longest wait, including what an upstream asks for.
    #[serde(default = "max")]
    pub max: GatewayDuration,
}

fn base() -> GatewayDuration {
    GatewayDuration::from_millis(25)
}

fn max() -> GatewayDuration {
    GatewayDuration::from_millis(250)
}

/// The settings that apply to one rule.
#[derive(Clone, Debug)]
pub struct RuleRetryPolicy {
    /// Attempts in total.
    pub attempts: u32,
    /// Failures that are retried.
    pub retry_on: Vec<RetryCondition>,
    /// HTTP statuses that count as failure.
    pub statuses: Vec<u16>,
    /// gRPC codes that count as failure.
    pub grpc_statuses: Vec<u32>,
    /// How long to wait.
    pub backoff: RetryBackoff,
    /// Whether requests that may have taken effect are retried.
    pub non_idempotent: bool,
    /// Whether `retry-after` is respected.
    pub honor_retry_after: bool,
}

impl Default for RuleRetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            retry_on: vec![
                RetryCondition::ConnectFailure,
                RetryCondition::RefusedStream,
                RetryCondition::Reset,
                RetryCondition::Status,
            ],
            statuses: vec![502, 503, 504],
            grpc_statuses: vec![14],
            backoff: RetryBackoff { base: base(), max: max() },
            non_idempotent: false,
            honor_retry_after: true,
        }
    }
}

impl RuleRetryPolicy {
    /// This policy with the overrides of a rule.
    #[must_use]
    pub fn with(&self, rule: &Override) -> Self {
        let or = |own: &Option<Vec<RetryCondition>>| {
            own.clone().unwrap_or_else(|| self.retry_on.clone())
        };
        Self {
            attempts: rule.attempts.unwrap_or(self.attempts),
            retry_on: or(&rule.retry_on),
            statuses: rule.statuses.clone().unwrap_or_else(|| self.statuses.clone()),
            grpc_statuses: rule.grpc_statuses.clone().unwrap_or_else(|| self.grpc_statuses.clone()),
            backoff: rule.backoff.unwrap_or(self.backoff),
            non_idempotent: rule.non_idempotent.unwrap_or(self.non_idempotent),
            honor_retry_after: rule.honor_retry_after.unwrap_or(self.honor_retry_after),
        }
    }

    fn errors(&self, pointer: &str) -> impl Iterator<Item = ConfigError> {
        let rules = [
            (self.attempts > 0, "/attempts", "at least 1: the first attempt counts"),
            (
                self.backoff.max >= self.backoff.base,
                "/backoff/max",
                "must be at least as long as base",
            ),
            (
                self.statuses.iter().all(|status| (100..600).contains(status)),
                "/statuses",
                "a status must be from 100 to 599",
            ),
        ];
        rules
            .into_iter()
            .filter(|(holds, ..)| !holds)
            .map(move |(_, field, message)| ConfigError::at(format!("{pointer}{field}"), message))
    }
}

impl RetrySettings {
    /// The policy of rules without overrides, and the policies of the others.
    #[must_use]
    pub fn policies(&self) -> (RuleRetryPolicy, HashMap<String, RuleRetryPolicy>) {
        let shared = RuleRetryPolicy::default().with(&Override {
            attempts: self.attempts,
            retry_on: self.retry_on.clone(),
            statuses: self.statuses.clone(),
            grpc_statuses: self.grpc_statuses.clone(),
            backoff: self.backoff,
            non_idempotent: self.non_idempotent,
            honor_retry_after: self.honor_retry_after,
        });
        let rules = self.rules.iter().map(|(name, rule)| (name.clone(), shared.with(rule)));
        let rules = rules.collect();
        (shared, rules)
    }

    /// Errors that the types cannot express.
    #[must_use]
    pub fn errors(&self) -> Vec<ConfigError> {
        let (shared, rules) = self.policies();
        let mut errors: Vec<ConfigError> = shared.errors("").collect();
        if errors.is_empty() {
            for (name, policy) in &rules {
                errors.extend(policy.errors(&format!("/rules/{}", step(name))));
            }
        }
        errors
    }
}
