use proptest::prelude::*;

use super::*;
use crate::config::RetryBackoff;
use tamis_sdk::GatewayDuration;

fn failure(cause: Cause) -> Failure {
    Failure {
        rule: 0,
        attempt: 1,
        cause,
        status: if cause == Cause::Status { 503 } else { 0 },
        grpc_status: None,
        elapsed_ms: 1,
        remaining_ms: 0,
        idempotent: true,
        replayable: true,
        retry_after_ms: None,
        budget_left: 10,
    }
}

fn reason(failure: &Failure) -> String {
    decide(&RuleRetryPolicy::default(), failure, 7).reason.unwrap()
}

#[test]
fn a_failure_is_given_up_for_the_first_reason_that_holds() {
    let status = failure(Cause::Status);
    for (failure, expected) in [
        (Failure { status: 500, ..status }, "retry.not-configured"),
        (failure(Cause::Other), "retry.not-configured"),
        (failure(Cause::Timeout), "retry.not-configured"),
        (Failure { attempt: 3, ..status }, "retry.attempts-spent"),
        (Failure { idempotent: false, ..status }, "retry.not-idempotent"),
        (Failure { replayable: false, ..status }, "retry.not-replayable"),
        (Failure { budget_left: 0, ..status }, "retry.budget-empty"),
        (Failure { retry_after_ms: Some(9), remaining_ms: 9, ..status }, "retry.no-time"),
    ] {
        assert_eq!(reason(&failure), expected);
        assert_eq!(decide(&RuleRetryPolicy::default(), &failure, 7).verdict, Verdict::GiveUp);
    }
}

#[test]
fn what_never_reached_the_upstream_is_safe_to_send_again() {
    for cause in [Cause::ConnectFailure, Cause::RefusedStream] {
        let post = Failure { idempotent: false, ..failure(cause) };
        assert!(matches!(
            decide(&RuleRetryPolicy::default(), &post, 7).verdict,
            Verdict::Elsewhere(_)
        ));
    }
    let post = Failure { idempotent: false, ..failure(Cause::Reset) };
    assert_eq!(reason(&post), "retry.not-idempotent");
    let daring = RuleRetryPolicy { non_idempotent: true, ..RuleRetryPolicy::default() };
    assert!(matches!(decide(&daring, &post, 7).verdict, Verdict::Elsewhere(_)));
}

#[test]
fn a_grpc_code_counts_like_a_status() {
    let unavailable = Failure { status: 200, grpc_status: Some(14), ..failure(Cause::Status) };
    assert_eq!(reason(&unavailable), "retry.status");
    assert_eq!(reason(&Failure { grpc_status: Some(3), ..unavailable }), "retry.not-configured");
}

#[test]
fn the_upstreams_wish_is_followed_unless_told_otherwise() {
    let patient = RuleRetryPolicy {
        backoff: RetryBackoff {
            max: GatewayDuration::from_millis(2_000),
            ..RuleRetryPolicy::default().backoff
        },
        ..RuleRetryPolicy::default()
    };
    let asked = Failure { retry_after_ms: Some(1_000), ..failure(Cause::Status) };
    assert_eq!(decide(&patient, &asked, 7).verdict, Verdict::Again(1_000));
    let deaf = RuleRetryPolicy { honor_retry_after: false, ..RuleRetryPolicy::default() };
    assert_eq!(decide(&deaf, &asked, 7).verdict, Verdict::Elsewhere(7));
}

#[test]
fn no_upstream_makes_a_client_wait_longer_than_the_longest_backoff() {
    for (asked, waits) in [
        (0, true),
        (250, true),
        (251, false),
        (1_000, false),
        (3_600_000, false),
        (u32::MAX, false),
    ] {
        let failure = Failure { retry_after_ms: Some(asked), ..failure(Cause::Status) };
        let decision = decide(&RuleRetryPolicy::default(), &failure, 7);
        if waits {
            assert_eq!(decision.verdict, Verdict::Again(asked));
        } else {
            assert_eq!(decision.verdict, Verdict::GiveUp, "{asked}");
            assert_eq!(decision.reason.as_deref(), Some("retry.after-too-long"));
        }
        let deaf = RuleRetryPolicy { honor_retry_after: false, ..RuleRetryPolicy::default() };
        assert!(matches!(decide(&deaf, &failure, 7).verdict, Verdict::Elsewhere(_)));
    }
}

proptest! {
    #[test]
    fn a_wait_stays_within_bounds(
        attempt in 1..9_u32, random in any::<u64>(), remaining_ms in 0..300_u32,
    ) {
        let policy = RuleRetryPolicy { attempts: 10, ..RuleRetryPolicy::default() };
        let seen = Failure { attempt, remaining_ms, ..failure(Cause::Reset) };
        match decide(&policy, &seen, random).verdict {
            Verdict::Elsewhere(delay) => {
                prop_assert!(delay <= 250 && delay <= 25 << (attempt - 1));
                prop_assert!(remaining_ms == 0 || delay < remaining_ms);
            }
            Verdict::GiveUp => prop_assert!(remaining_ms > 0 && remaining_ms <= 250),
            Verdict::Again(_) => prop_assert!(false, "nobody asked for it"),
        }
    }

    #[test]
    fn no_budget_no_retry(attempt in 0..5_u32, random in any::<u64>()) {
        let seen = Failure { attempt, budget_left: 0, ..failure(Cause::ConnectFailure) };
        prop_assert_eq!(decide(&RuleRetryPolicy::default(), &seen, random).verdict, Verdict::GiveUp);
    }
}
