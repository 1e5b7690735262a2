//! Retries a 429 once, after the wait that the service names in `retry-after`, if that wait is short. Everything else
//! is final.

use tamis_sdk::retry::{Decision, Failure, Verdict};
use tamis_sdk::{ConfigError, Filter, Interest, Retry, View, log_panics};

/// What the operator writes.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RetryAfterSettings {
    /// Longest wait; a client is better told at once than kept longer.
    longest_ms: u32,
}

/// The filter.
#[derive(Debug)]
pub struct RetryAfter(RetryAfterSettings);

impl Filter for RetryAfter {
    type Settings = RetryAfterSettings;
    const SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": { "longestMs": { "type": "integer", "minimum": 1 } },
        "required": ["longestMs"],
        "additionalProperties": false
    }"#;

    fn configure(settings: RetryAfterSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        log_panics();
        Ok((Self(settings), Interest::reading([])))
    }
}

impl Retry for RetryAfter {
    fn failing_statuses(&self) -> (Vec<u16>, Vec<u32>) {
        (vec![429], Vec::new())
    }

    fn on_failure(&mut self, failure: Failure, _: View<'_>) -> Decision {
        let give_up = |reason| Decision::from(Verdict::GiveUp).because(reason);
        if failure.status != 429 || failure.attempt > 1 || !failure.replayable {
            return give_up("retry-after.final");
        }
        match failure.retry_after_ms {
            // A 429 was not processed (RFC 6585 §4), so a POST may be sent again too.
            Some(wait) if wait <= self.0.longest_ms => {
                Decision::from(Verdict::Again(wait)).because("retry-after.waited")
            }
            Some(_) => give_up("retry-after.too-long"),
            None => give_up("retry-after.no-time-named"),
        }
    }
}

tamis_sdk::export_retry!(RetryAfter);
