//! Tables that cannot be met, each refused at its place.

use crate::Table;

#[test]
fn a_table_that_cannot_be_met_is_refused_at_its_place_with_the_way_out() {
    let pass = "expect: { pass: true }";
    for (case, line, says, help) in [
        ("- name: a", 2, "the case has no `expect`", "pass: true"),
        ("- { name: a, expect: {} }", 2, "an empty `expect` cannot fail", "pass: true"),
        ("- { name: a, wait: 1s }", 2, "the case has no `expect`", ""),
        ("- name: a\n  steps:\n  - request: { path: / }", 4, "the step has no `expect`", ""),
        ("- name: a\n  steps: []", 3, "must not be empty", ""),
        (
            "- name: a\n  steps: [{ expect: { pass: true } }]\n  tick: {}",
            1,
            "write `tick` in a step",
            "cases.md",
        ),
        (
            "- name: a\n  steps:\n  - expect: { configure: { error: / } }",
            4,
            "configured once",
            "a case of its own",
        ),
        ("- { name: a, wait: 5, expect: { pass: true } }", 2, "must be a duration", "its unit"),
        ("- { name: a, times: 0, expect: { pass: true } }", 2, "at least 1", ""),
        (
            "- name: a\n  tick: {}\n  hedge: {}\n  expect: { tick: {} }",
            3,
            "at most one event, and this one has `hedge` and `tick`",
            "`steps: [{ hedge: … }, { tick: … }]`",
        ),
        (
            "- name: a\n  response: { status: 200 }\n  tick: {}\n  expect: { tick: {} }",
            3,
            "a step with the event `tick` has no `response`",
            "`steps: [{ tick: … }, { response: … }]`",
        ),
        (
            "- { name: a, expect: { retry: { verdict: give-up } } }",
            2,
            "the step has no `retry`",
            "write the event",
        ),
        (
            "- { name: a, retry: {}, expect: { retry: { verdict: gve-up } } }",
            2,
            "found `gve-up`",
            "did you mean `give-up`?",
        ),
        ("- { name: a, expect: { response: { status: 200 } } }", 2, "no `response`", "status: 200"),
        (
            "- { name: a, given: { time: noon }, expect: { pass: true } }",
            2,
            "`noon` is not a time",
            "2026-01-01T00:00:00Z",
        ),
        (
            "- { name: a, given: { http: [{ url: a }] }, expect: { pass: true } }",
            2,
            "`a` is not a URL",
            "https://",
        ),
        (
            "- name: a\n  given: { http: [{ url: 'https://a/', status: 200, failure: timeout }] }\n  expect: { pass: true }",
            3,
            "cannot also have a status",
            "two answers",
        ),
        (
            "- { name: a, expect: { fault: { kind: trp, contains: x } } }",
            2,
            "`trp` is not a fault",
            "did you mean `trap`?",
        ),
        (
            "- { name: a, expect: { fault: trap, kv: { a: b } } }",
            2,
            "`fault` and `kv` cannot both be",
            "two cases",
        ),
        (
            &format!("- {{ name: a, {pass} }}\n- {{ name: a, {pass} }}"),
            3,
            "an earlier case has this name",
            "",
        ),
    ] {
        let error = Table::parse("t.yaml", &format!("cases:\n{case}\n")).unwrap_err();
        let found = error.problems.iter().find(|one| one.message.contains(says));
        let Some(found) = found else { panic!("{case}: {error}") };
        assert_eq!(found.place.line, line, "{case}: {error}");
        assert!(found.help.as_deref().unwrap_or_default().contains(help), "{case}: {error}");
    }
}

#[test]
fn every_event_and_expectation_of_the_reference_is_read() {
    let table = Table::parse(
        "t.yaml",
        "
given: { time: 2026-02-01T00:00:00Z, kv: { a: b }, secrets: { db: x }, http: [{ url: 'https://a/' }] }
cases:
- name: steps
  steps:
  - { wait: 1s }
  - { times: 5, request: { path: / }, expect: { pass: true, http: [], spans: [], records: [] } }
- { name: retry, request: { method: PUT }, retry: { status: 429, retryAfter: 2s }, expect: { retry: { verdict: again, after: 2s } } }
- { name: hedge, hedge: { p95: 1ms }, expect: { hedge: { after: 1ms } } }
- { name: circuit, circuitBreaker: { circuit: { state: open, for: 1s } }, expect: { circuit: { state: half-open, probes: 1 } } }
- { name: balancer, balancer: { endpoints: [{ weight: 1 }] }, expect: { weights: [1] } }
- { name: telemetry, telemetry: { exchanges: [{ outcome: [retried] }] }, expect: { metrics: { a_total: 1, 'b{c=\"d\"}': 0.5 } } }
- { name: connection, connection: { attributes: { source.address: 192.0.2.1 } }, expect: { connection: { verdict: tunnel, backend: 'a/b:1' } } }
- { name: tick, tick: {}, expect: { tick: { next: 1m }, kv: { a: null } } }
- { name: finished, finished: { outcome: [client-gone], status: 0 }, expect: { pass: true } }
- { name: local, response: { by: host, status: 503 }, expect: { response: { status: 503 } } }
- { name: fault, expect: { fault: { kind: bad-answer, contains: status } } }
",
    );
    assert_eq!(table.map(|table| table.cases.len()).map_err(|error| error.to_string()), Ok(11));
}
