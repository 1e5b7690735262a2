//! The decision, as a function of values.

use tamis_sdk::retry::{Cause, Decision, Failure, Verdict};

use crate::config::{RetryCondition, RuleRetryPolicy};

/// Whether and when to retry. `random` is any number, all equally likely.
#[must_use]
pub fn decide(policy: &RuleRetryPolicy, failure: &Failure, random: u64) -> Decision {
    match refusal(policy, failure) {
        Some(reason) => give_up(reason),
        None => wait(policy, failure, random),
    }
}

/// Why the failure is not retried, if so.
fn refusal(policy: &RuleRetryPolicy, failure: &Failure) -> Option<&'static str> {
    let wanted = RetryCondition::of(failure.cause).is_some_and(|on| policy.retry_on.contains(&on));
    if !wanted || !status_counts(policy, failure) {
        return Some("retry.not-configured");
    }
    if failure.attempt >= policy.attempts {
        return Some("retry.attempts-spent");
    }
    // The request had no effect when there was no connection or the upstream refused the stream
    // unprocessed.
    let untouched = matches!(failure.cause, Cause::ConnectFailure | Cause::RefusedStream);
    if !(untouched || failure.idempotent || policy.non_idempotent) {
        return Some("retry.not-idempotent");
    }
    if !failure.replayable {
        return Some("retry.not-replayable");
    }
    (failure.budget_left == 0).then_some("retry.budget-empty")
}

fn status_counts(policy: &RuleRetryPolicy, failure: &Failure) -> bool {
    failure.cause != Cause::Status
        || policy.statuses.contains(&failure.status)
        || failure.grpc_status.is_some_and(|code| policy.grpc_statuses.contains(&code))
}

fn wait(policy: &RuleRetryPolicy, failure: &Failure, random: u64) -> Decision {
    let asked = failure.retry_after_ms.filter(|_| policy.honor_retry_after);
    if asked.is_some_and(|asked| asked > policy.backoff.max.millis()) {
        // An upstream does not determine how long a client waits here: the client gets the response, and
        // with it the time to wait.
        return give_up("retry.after-too-long");
    }
    let delay_ms = asked.unwrap_or_else(|| backoff_ms(policy, failure.attempt, random));
    if failure.remaining_ms > 0 && delay_ms >= failure.remaining_ms {
        return give_up("retry.no-time");
    }
    // An upstream that asks for a pause speaks for the service, so any endpoint will do; otherwise prefer
    // another endpoint.
    let verdict = match asked {
        Some(_) => Verdict::Again(delay_ms),
        None => Verdict::Elsewhere(delay_ms),
    };
    Decision::from(verdict).because(match failure.cause {
        Cause::ConnectFailure => "retry.connect-failure",
        Cause::RefusedStream => "retry.refused-stream",
        Cause::Reset => "retry.reset",
        Cause::Timeout => "retry.timeout",
        Cause::Status => "retry.status",
        Cause::Other => "retry.other",
    })
}

/// Full jitter: anything from zero to the doubled base, so that the retries of many clients do not
/// coincide.
fn backoff_ms(policy: &RuleRetryPolicy, attempt: u32, random: u64) -> u32 {
    let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let longest = policy.backoff.base.millis().saturating_mul(factor);
    let longest = longest.min(policy.backoff.max.millis());
    u32::try_from(random % (u64::from(longest) + 1)).unwrap_or(longest)
}

fn give_up(reason: &str) -> Decision {
    Decision::from(Verdict::GiveUp).because(reason)
}

#[cfg(test)]
mod tests;
