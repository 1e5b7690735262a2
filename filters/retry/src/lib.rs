//! The built-in retry policy: retries what is safe to retry, with full-jitter backoff.
//!
//! The host keeps the retry budget; this policy respects it. It is stateless.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use std::collections::HashMap;

use tamis_sdk::retry::{Decision, Failure};
use tamis_sdk::{ConfigError, Filter, Interest, Retry, View, random};

pub mod config;
pub mod decide;

use config::{RetryCondition, RetrySettings, RuleRetryPolicy};

/// The attribute that names the matched rule as `namespace/route/rule`.
const RULE: &str = "@route.name";

/// The policy: one for all rules, and those of rules with overrides.
#[derive(Debug)]
pub struct RetryPolicy {
    shared: RuleRetryPolicy,
    rules: HashMap<String, RuleRetryPolicy>,
}

impl RetryPolicy {
    /// A policy from settings that passed [`Filter::check`].
    #[must_use]
    pub fn new(settings: &RetrySettings) -> Self {
        let (shared, rules) = settings.policies();
        Self { shared, rules }
    }

    /// The policy that applies to an exchange.
    #[must_use]
    pub fn of(&self, seen: View<'_>) -> &RuleRetryPolicy {
        seen.attribute(RULE).and_then(|rule| self.rules.get(rule)).unwrap_or(&self.shared)
    }
}

impl Filter for RetryPolicy {
    type Settings = RetrySettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &RetrySettings) -> Result<(), Vec<ConfigError>> {
        let errors = settings.errors();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn configure(settings: RetrySettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let policy = Self::new(&settings);
        // Without overrides the name of the rule is not needed, and costs nothing.
        let reads = (!policy.rules.is_empty()).then_some(RULE);
        Ok((policy, Interest::reading(reads)))
    }
}

impl Retry for RetryPolicy {
    fn failing_statuses(&self) -> (Vec<u16>, Vec<u32>) {
        let policies = || {
            let all = self.rules.values().chain([&self.shared]);
            all.filter(|policy| policy.retry_on.contains(&RetryCondition::Status))
        };
        let mut statuses: Vec<u16> = policies().flat_map(|p| p.statuses.clone()).collect();
        let mut codes: Vec<u32> = policies().flat_map(|p| p.grpc_statuses.clone()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        codes.sort_unstable();
        codes.dedup();
        (statuses, codes)
    }

    fn on_failure(&mut self, failure: Failure, seen: View<'_>) -> Decision {
        decide::decide(self.of(seen), &failure, random::get_u64())
    }
}

tamis_sdk::export_retry!(RetryPolicy);

#[cfg(test)]
mod tests {
    use tamis_sdk::Config;
    use tamis_sdk::view::packed;

    use super::*;

    const BY_RULE: &str = r#"{"attempts":2,"statuses":[503],"rules":{"a/b/c":{"statuses":[500]}}}"#;

    #[test]
    fn a_rule_takes_what_it_does_not_say_from_the_shared_settings() {
        let (policy, interest) = RetryPolicy::configure(Config::parse(BY_RULE).unwrap()).unwrap();
        assert_eq!(interest.reads, [RULE]);
        assert_eq!(policy.failing_statuses(), (vec![500, 503], vec![14]));
        let of = |name: &[u8]| {
            let raw = packed(&interest.reads, &[(RULE, name)]);
            policy.of(View::new(&raw, &interest.reads)).clone()
        };
        assert_eq!((of(b"a/b/c").attempts, of(b"a/b/c").statuses), (2, vec![500]));
        assert_eq!(of(b"a/b/d").statuses, [503]);
    }

    #[test]
    fn nothing_is_read_without_settings_by_rule() {
        let (policy, interest) = RetryPolicy::configure(RetrySettings::default()).unwrap();
        assert!(interest.reads.is_empty());
        assert_eq!(policy.failing_statuses(), (vec![502, 503, 504], vec![14]));
    }

    #[test]
    fn wrong_settings_are_refused_at_their_place() {
        let settings = Config::parse(r#"{"rules":{"a/b/c":{"attempts":0}}}"#).unwrap();
        let errors = RetryPolicy::check(&settings).unwrap_err();
        assert_eq!(errors[0].pointer, "/rules/a~1b~1c/attempts");
        for (text, pointer) in [
            (r#"{"retryOn":["resets"]}"#, "/retryOn/0"),
            (r#"{"backoff":{"base":"1"}}"#, "/backoff/base"),
            (r#"{"attempt":1}"#, "/attempt"),
        ] {
            let errors = Config::parse::<RetrySettings>(text).unwrap_err();
            assert_eq!(errors[0].pointer, pointer, "{text}: {}", errors[0].message);
        }
    }

    #[test]
    fn the_schema_is_json() {
        let schema: serde_json::Value = serde_json::from_str(RetryPolicy::SCHEMA).unwrap();
        assert_eq!(schema["additionalProperties"], false);
    }
}
