//! The built-in policies in the engine. These tests run when `cargo xtask filters` has built the
//! components.

use crate::guests::{built_in, given, view};
use tamis_exchange::{
    Cause, Choice, Circuit, Failure, KeptFields, NONE, NameKind, Outcome, ROUTER_REASON,
    RetryVerdict, Summary, Window,
};

const ROUTES: &str = r#"{"routes":[{"name":"shop/pay","kind":"HTTPRoute","hostnames":["shop.example"],
  "rules":[{"matches":[{"path":{"type":"PathPrefix","value":"/pay"}}],
            "backendRefs":[{"service":"shop/pay:80","weight":1}]}]}]}"#;

#[test]
fn route_chooses_a_backend_by_path_and_host() {
    let compiled = built_in("route");
    let filter = given().filter(&compiled, ROUTES).unwrap();
    assert_eq!(filter.backends(), ["shop/pay:80"]);
    let mut instance = filter.instantiate().unwrap();
    let choice = instance.on_route(&view(filter.reads(), 1, "/pay/1")).unwrap();
    assert!(matches!(choice, Choice::Forward(selection) if selection.backend == 0));
    assert_eq!(instance.on_route(&view(filter.reads(), 1, "/x")).unwrap(), Choice::Unmatched);
}

#[test]
fn a_rule_without_a_backend_is_an_answer_with_its_reason_and_no_fault_of_the_router() {
    let compiled = built_in("route");
    let given = given();
    let config = ROUTES.replace(r#"{"service":"shop/pay:80","weight":1}"#, "");
    let filter = given.filter(&compiled, &config).unwrap();
    let mut instance = filter.instantiate().unwrap();
    // More often than a breaker would stand for.
    for id in 1..=20 {
        let choice = instance.on_route(&view(filter.reads(), id, "/pay")).unwrap();
        let Choice::Answer(reply) = choice else { panic!("{choice:?}") };
        assert_eq!(reply.status, 500);
        let reasons = reply.headers.iter().filter(|field| field.name == ROUTER_REASON);
        let reasons: Vec<_> = reasons.map(|field| field.value.as_slice()).collect();
        assert_eq!(reasons, [b"route.no-backend"]);
    }
    assert_eq!(given.state.statistics().hooks[0].faults, 0);
}

#[test]
fn retry_asks_for_another_attempt_within_the_budget() {
    let compiled = built_in("retry");
    let config = r#"{"attempts":3,"retryOn":["connect-failure","status"],"statuses":[503]}"#;
    let filter = given().filter(&compiled, config).unwrap();
    assert_eq!(filter.failing_statuses().0, [503]);
    let mut instance = filter.instantiate().unwrap();
    let mut failure = Failure {
        rule: 0,
        attempt: 1,
        cause: Cause::ConnectFailure,
        status: 0,
        grpc_status: None,
        elapsed_ms: 1,
        remaining_ms: 0,
        idempotent: true,
        replayable: true,
        retry_after_ms: None,
        budget_left: 1,
    };
    let seen = view(filter.reads(), 1, "/");
    let decision = instance.on_failure(&failure, &seen).unwrap();
    assert_ne!(decision.verdict, RetryVerdict::GiveUp);
    failure.attempt = 3;
    assert_eq!(instance.on_failure(&failure, &seen).unwrap().verdict, RetryVerdict::GiveUp);
}

#[test]
fn the_breaker_opens_after_consecutive_failures() {
    let compiled = built_in("circuit-breaker");
    let filter = given().filter(&compiled, r#"{"consecutiveFailures":5,"openFor":"5s"}"#).unwrap();
    let mut instance = filter.instantiate().unwrap();
    let mut window = Window { span_ms: 10_000, successes: 30, ..Window::default() };
    let circuit = instance.evaluate(0, None, &window, Circuit::Closed).unwrap();
    assert_eq!(circuit, Circuit::Closed);
    (window.failures, window.consecutive_failures) = (5, 5);
    let circuit = instance.evaluate(0, None, &window, Circuit::Closed).unwrap();
    assert!(matches!(circuit, Circuit::Open(_)), "{circuit:?}");
}

#[test]
fn telemetry_turns_summaries_into_metrics() {
    let compiled = built_in("telemetry");
    let given = given();
    let filter = given.filter(&compiled, r#"{"buckets_ms":[1,2.5,100]}"#).unwrap();
    let mut instance = filter.instantiate().unwrap();
    instance.on_names(NameKind::Rule, 0, &["shop/pay/0".into()]).unwrap();
    let summary = Summary {
        exchange: 1,
        start_unix_us: 1,
        duration_us: 2_000,
        upstream_us: 1_000,
        status: 200,
        grpc_status: u16::MAX,
        outcome: Outcome::RETRIED,
        attempts: 2,
        bytes_in: 1,
        bytes_out: 100,
        rule: 0,
        upstream: NONE,
        endpoint: NONE,
        peer: NONE,
        reason: NONE,
    };
    instance.on_exchanges(&[summary; 3], &KeptFields::default()).unwrap();
    let text = given.metrics.render();
    assert!(text.contains("shop/pay/0"), "{text}");
    // The bounds come from its configuration; it declares them in `configure`.
    let bucket = |bound: &str| {
        let of = |line: &&str| {
            line.contains("tamis_request_duration_ms_bucket")
                && line.contains(&format!("le=\"{bound}\""))
        };
        text.lines().find(of).and_then(|line| line.rsplit(' ').next()).unwrap_or("none").to_owned()
    };
    let counted = ["1", "2.5", "100", "+Inf", "0.0005"].map(bucket);
    assert_eq!(counted, ["0", "3", "3", "3", "none"], "{text}");
}
