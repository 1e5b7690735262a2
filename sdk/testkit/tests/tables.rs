//! Every expectation passes when it holds, and reports what happened instead when it does not; a bad table
//! names its place.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test may panic"
)]

use std::path::Path;
use std::sync::OnceLock;
use tamis_engine::{CompiledComponent, Engine};
use tamis_testkit::Table;

/// A built-in filter, as built by `cargo xtask filters`.
fn component(name: &str) -> CompiledComponent {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components");
    let path = folder.join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run cargo xtask filters", path.display()));
    ENGINE.get_or_init(|| Engine::new().unwrap()).compile(&bytes, None).unwrap()
}

fn route() -> &'static CompiledComponent {
    static COMPILED: OnceLock<CompiledComponent> = OnceLock::new();
    COMPILED.get_or_init(|| component("route"))
}

fn jwt() -> &'static CompiledComponent {
    static COMPILED: OnceLock<CompiledComponent> = OnceLock::new();
    COMPILED.get_or_init(|| component("jwt"))
}

const ROUTES: &str = "
config:
  routes:
    - name: shop/web
      rules:
        - name: old
          matches: [{ path: { value: /old } }]
          filters:
            - { type: RequestRedirect, requestRedirect: { hostname: new.example, statusCode: 301 } }
        - name: api
          matches: [{ path: { value: /api } }]
          filters:
            - type: URLRewrite
              urlRewrite: { hostname: in.example, path: { type: ReplacePrefixMatch, replacePrefixMatch: /v1 } }
            - type: RequestHeaderModifier
              requestHeaderModifier: { add: [{ name: x-a, value: two }], remove: [x-gone] }
            - type: ResponseHeaderModifier
              responseHeaderModifier: { set: [{ name: server, value: shop }] }
          backendRefs: [{ service: 'shop/api:80' }]
";

/// Differences of the only case of a table.
fn differences(compiled: &CompiledComponent, head: &str, case: &str) -> Vec<String> {
    let table =
        Table::parse("cases.yaml", &format!("{head}\ncases:\n  - {{ name: one, {case} }}\n"));
    let report = table.unwrap().run(compiled);
    assert_eq!(report.cases.len(), 1);
    assert_eq!(report.failed(), usize::from(!report.cases[0].differences.is_empty()));
    report.cases[0].differences.clone()
}

const API: &str = "request: { path: /api/a?b, headers: { x-a: one, x-gone: x } }";
const ANSWERED: &str =
    "request: { path: /api }, response: { status: 201, headers: { server: nginx }, body: hi }";
const OLD: &str = "request: { path: /old/a, authority: shop.example }";
const ELSEWHERE: &str = "request: { path: /elsewhere }";

#[test]
fn each_expectation_can_hold_and_can_fail() {
    let rows = [
        (
            API,
            "forward: { rule: shop/web/api, backend: 'shop/api:80' }",
            "forward: { rule: shop/web/old }",
            "expected the rule `shop/web/old`, got `shop/web/api`",
        ),
        (
            API,
            "forward: { backend: 'shop/api:80' }",
            "forward: { backend: 'shop/pay:80' }",
            "expected the backend `shop/pay:80`, got `shop/api:80`",
        ),
        (API, "request: { path: '/v1/a?b' }", "request: { path: /api/a }", "got \"/v1/a?b\""),
        (
            API,
            "request: { authority: in.example }",
            "request: { authority: shop.example }",
            "got \"in.example\"",
        ),
        (
            API,
            "request: { headers: { x-a: [one, two], x-gone: null } }",
            "request: { headers: { x-a: [one] } }",
            "request header x-a: expected \"one\", got \"one\", \"two\"",
        ),
        (
            API,
            "request: { headers: { x-gone: null } }",
            "request: { headers: { x-gone: x } }",
            "expected \"x\", got none",
        ),
        (
            API,
            "request: { attributes: { nope: null } }",
            "request: { attributes: { nope: a } }",
            "attribute nope: expected \"a\", got none",
        ),
        (API, "request: { body: '' }", "request: { body: a }", "request body: expected \"a\""),
        (
            ANSWERED,
            "response: { status: 201, body: hi }",
            "response: { status: 200 }",
            "response status: expected 200, got 201",
        ),
        (
            ANSWERED,
            "response: { headers: { server: shop } }",
            "response: { headers: { server: nginx } }",
            "got \"shop\"",
        ),
        (
            ANSWERED,
            "forward: {}",
            "answer: { status: 200 }",
            "expected an answer, but the request passed",
        ),
        (
            OLD,
            "answer: { status: 301 }",
            "answer: { status: 302 }",
            "expected the answer 302, got 301",
        ),
        (
            OLD,
            "answer: { headers: { location: 'https://new.example/old/a' } }",
            "answer: { headers: { location: a } }",
            "got \"https://new.example/old/a\"",
        ),
        (
            OLD,
            "answer: { body: '' }",
            "answer: { bodyContains: moved }",
            "expected one that contains \"moved\"",
        ),
        (OLD, "answer: {}", "pass: true", "the filter answered 301"),
        (ELSEWHERE, "unmatched: true", "forward: {}", "expected a rule to match, but none did"),
        (
            API,
            "forward: {}",
            "unmatched: true",
            "expected no rule to match, but `shop/web/api` matched",
        ),
        (
            API,
            "forward: {}",
            "extend: true",
            "expected the router to leave the request to the one that it extends, but `shop/web/api` matched",
        ),
        (
            ELSEWHERE,
            "unmatched: true",
            "extend: true",
            "expected the router to leave the request to the one that it extends, but no rule matched (`unmatched`)",
        ),
        (
            API,
            "forward: {}",
            "fault: trap",
            "expected the fault trap, but every call returned a verdict",
        ),
        (API, "forward: {}", "configure: { contains: a }", "was accepted"),
    ];
    for (case, holds, fails, says) in rows {
        let found = differences(route(), ROUTES, &format!("{case}, expect: {{ {holds} }}"));
        assert!(found.is_empty(), "{case} {holds}: {found:?}");
        let found = differences(route(), ROUTES, &format!("{case}, expect: {{ {fails} }}"));
        assert_eq!(found.len(), 1, "{case} {fails}: {found:?}");
        assert!(found[0].contains(says), "{case} {fails}: {found:?}");
    }
}

#[test]
fn a_reason_is_compared_and_a_refused_configuration_has_a_place() {
    // The public key of RFC 7515, appendix A.3.
    let key = "{ kty: EC, crv: P-256, x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU, y: x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0 }";
    let config = &format!(
        "config: {{ issuers: [{{ issuer: i, audiences: [a], algorithms: [ES256], jwks: {{ inline: {{ keys: [{key}] }} }} }}] }}"
    );
    let missing = "request: {}, expect: { answer: { status: 401 }, reason: jwt.missing }";
    assert_eq!(differences(jwt(), config, missing), Vec::<String>::new());
    let other = missing.replace("jwt.missing", "jwt.expired");
    assert_eq!(
        differences(jwt(), config, &other),
        ["expected the reason jwt.expired, got jwt.missing"]
    );
    let asked = "expect: { forward: {} }";
    let found = differences(jwt(), &format!("{config}\ngrant: {GRANT}"), asked);
    assert_eq!(found, ["the filter answered 401 (reason jwt.missing)", NO_ROUTER]);
    let asked = "expect: { unmatched: true }";
    assert_eq!(differences(jwt(), config, asked)[1], NO_ROUTER.replace("a rule", "no rule"));
    let refused = "config: { issuers: [{ issuer: 7 }] }, expect: { configure: { error: AT } }";
    let whole = differences(jwt(), config, &refused.replace("AT", "/issuers/0/issuer"));
    assert_eq!(whole, Vec::<String>::new());
    let found = differences(jwt(), config, &refused.replace("AT", "/required"));
    assert!(found[0].contains("expected an error at /required, got:"), "{found:?}");
    let found = differences(jwt(), config, "config: { issuers: 7 }, expect: { pass: true }");
    assert!(found[0].contains("refuses its configuration"), "{found:?}");
}

/// The grant that the token filter needs, in the format of documents.
const GRANT: &str = "{ request: { readHeaders: [authorization], writeHeaders: [authorization] }, \
     imports: { clock: {}, crypto: {}, log: {}, kv: {}, http-client: { hosts: [] } }, limits: { time: 50ms } }";
const NO_ROUTER: &str =
    "expected a rule to match, but no router was called: the filter does not export `router`";

#[test]
fn a_filter_without_the_grant_does_not_start() {
    let head = format!("grant: {{ request: {{ readHeaders: [] }} }}\n{ROUTES}");
    let found = differences(route(), &head, "expect: { forward: {} }");
    assert!(found[0].contains("and its Grant does not allow that; to allow it, add "), "{found:?}");
    assert!(found[0].contains("`grant."), "{found:?}");
}

#[test]
fn a_filter_that_no_case_can_call_says_which_hooks_it_has() {
    let found = differences(&component("retry"), "config: {}", "expect: { pass: true }");
    assert!(found[0].contains("it exports only retry"), "{found:?}");
    let found = differences(
        &component("retry"),
        "config: { attempt: 1 }",
        "expect: { configure: { error: /attempt } }",
    );
    assert_eq!(found, Vec::<String>::new());
}

/// Every mistake with its place, its message, and the way out. None of them needs a component.
#[test]
fn a_mistake_in_a_table_is_found_before_a_build_with_its_place_and_the_way_out() {
    let one = |text: &str| format!("cases:\n  - name: a\n    {text}\n");
    let expect = |text: &str| one(&format!("expect: {{ {text} }}"));
    let also = |text: &str| one(&format!("{text}\n    expect: {{ pass: true }}"));
    let rows = [
        // Its shape.
        (expect("passs: true"), 3, "has no field `passs`", "did you mean `pass`?"),
        (expect("answer: { status: many }"), 3, "must be a whole number, found", ""),
        (expect("answer: { statsu: 403 }"), 3, "has no field `statsu`", "did you mean `status`?"),
        (expect("answer: { status: 99 }"), 3, "must be at least 200", ""),
        (expect("request: { headers: { x-a: 1 } }"), 3, "must be text", "put it in quotes"),
        (also("request: { status: 200 }"), 3, "has no field `status`", ""),
        (also("response: { method: GET }"), 3, "has no field `method`", ""),
        (
            expect("answer: 429"),
            3,
            "must be a map, found the number 429",
            "write `answer: { status: 429 }`",
        ),
        (also("request: { scheme: ftp }"), 3, "must be http or https", ""),
        ("cases: [{ expect: {} }]".to_owned(), 1, "lacks `name`", ""),
        ("config: {}".to_owned(), 1, "lacks `cases`", ""),
        ("cases: []".to_owned(), 1, "must not be empty", ""),
        ("cases: [".to_owned(), 1, "not YAML", ""),
        (String::new(), 1, "is empty", ""),
        // The grant is that of a document.
        (
            format!("grant: {{ reads: [a] }}\n{}", expect("pass: true")),
            1,
            "has no field `reads`",
            "",
        ),
        (
            format!(
                "grant: {{ imports: {{ quota: {{ classes: {{ a: {{ perSecond: 1, burst: 1 }} }} }} }} }}\n{}",
                expect("pass: true")
            ),
            1,
            "has no field `perSecond`",
            "",
        ),
        (
            format!("grant: {{ limits: {{ time: 5 }} }}\n{}", expect("pass: true")),
            1,
            "must be a duration",
            "",
        ),
        // Its sense.
        (one("expect: {}"), 3, "an empty `expect` cannot fail", "`pass: true`"),
        (expect("pass: false"), 3, "`pass` must be true or absent", ""),
        (expect("unmatched: false"), 3, "`unmatched` must be true or absent", ""),
        (expect("extend: false"), 3, "`extend` must be true or absent", ""),
        (expect("unmatched: true, extend: true"), 3, "`unmatched` and `extend` cannot both", ""),
        (expect("request: {}"), 3, "it is empty", "name a header"),
        (expect("response: { status: 200 }"), 3, "the step has no `response`", "response: {"),
        (expect("answer: {}, pass: true"), 3, "`answer` and `pass` cannot both", "two cases"),
        (expect("configure: {}, reason: a"), 3, "`configure` and `reason` cannot both", ""),
        (expect("fault: trap, answer: {}"), 3, "`fault` and `answer` cannot both", ""),
        (expect("fault: deadlin"), 3, "`deadlin` is not a fault", "did you mean `deadline`?"),
        (expect("reason: Not This"), 3, "`Not This` is not a reason", "a-z0-9.-"),
        (
            expect("configure: { error: blocked }"),
            3,
            "`blocked` is not a JSON pointer",
            "/issuers/0",
        ),
        (expect("answer: { headers: { X-A: b } }"), 3, "`X-A` is not a header name", "lower case"),
        (also("request: { method: A B }"), 3, "`A B` is not a method", "GET"),
        (also("request: { path: pay }"), 3, "a path must begin with `/`", ""),
        (also("request: { headers: { a b: x } }"), 3, "`a b` is not a header name", ""),
        (also("request: { headers: { a: \"\\n\" } }"), 3, "has a control character", ""),
        (also("request: { headers: { a: null } }"), 3, "header without a value", "leave it out"),
        (also("response: { status: 99 }"), 3, "must be at least 200", ""),
        (
            format!("{0}{1}", expect("pass: true"), "  - { name: a, expect: { pass: true } }"),
            4,
            "an earlier case has this name",
            "",
        ),
    ];
    for (text, line, says, help) in rows {
        let Err(error) = Table::parse("tests/cases.yaml", &text) else {
            panic!("{text} was accepted");
        };
        let problem = &error.problems[0];
        assert!(problem.message.contains(says), "{text}: {problem}");
        assert_eq!(problem.place.line, line, "{text}: {problem}");
        let found = problem.help.as_deref().unwrap_or_default();
        assert!(found.contains(help), "{text}: {problem}; {found}");
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("tests/cases.yaml:{line}:")), "{shown}");
    }
}

#[test]
fn everything_that_is_wrong_with_a_table_is_said_at_once() {
    let text = "cases:\n  - { name: a, expect: {} }\n  - { name: a, expect: { pass: false } }\n";
    let error = Table::parse("cases.yaml", text).unwrap_err();
    let lines: Vec<usize> = error.problems.iter().map(|one| one.place.line).collect();
    assert_eq!(lines, [2, 3, 3]);
}

#[test]
fn a_report_marks_each_case_and_counts() {
    let cases = "cases:
  - { name: goes on, request: { path: /api }, expect: { forward: {} } }
  - { name: is answered, request: { path: /api }, expect: { answer: {} } }";
    let table = Table::parse("cases.yaml", &format!("{ROUTES}\n{cases}")).unwrap();
    let report = table.run(route()).to_string();
    for line in ["cases.yaml", "  ✓ goes on", "  ✗ is answered", "1 of 2 cases failed"] {
        assert!(report.contains(line), "{line} in {report}");
    }
}
