//! Every expectation passes when it holds, and says what came instead when it does not; a bad table names its place.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test may panic"
)]

use std::path::Path;
use std::sync::OnceLock;
use tamis_engine::{Compiled, Engine};
use tamis_testkit::Table;

/// A built-in filter, as `cargo xtask filters` left it.
fn component(name: &str) -> Compiled {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components");
    let path = folder.join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run cargo xtask filters", path.display()));
    ENGINE.get_or_init(|| Engine::new().unwrap()).compile(&bytes, None).unwrap()
}

fn route() -> &'static Compiled {
    static COMPILED: OnceLock<Compiled> = OnceLock::new();
    COMPILED.get_or_init(|| component("route"))
}

fn jwt() -> &'static Compiled {
    static COMPILED: OnceLock<Compiled> = OnceLock::new();
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

/// What is different in the one case of a table.
fn differences(compiled: &Compiled, head: &str, case: &str) -> Vec<String> {
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
            "came Some(\"shop/web/api\")",
        ),
        (
            API,
            "forward: { backend: 'shop/api:80' }",
            "forward: { backend: 'shop/pay:80' }",
            "came Some(\"shop/api:80\")",
        ),
        (API, "request: { path: '/v1/a?b' }", "request: { path: /api/a }", "came \"/v1/a?b\""),
        (
            API,
            "request: { authority: in.example }",
            "request: { authority: shop.example }",
            "came \"in.example\"",
        ),
        (
            API,
            "request: { headers: { x-a: [one, two], x-gone: null } }",
            "request: { headers: { x-a: [one] } }",
            "came [\"one\", \"two\"]",
        ),
        (
            API,
            "request: { headers: { x-gone: null } }",
            "request: { headers: { x-gone: x } }",
            "came []",
        ),
        (
            API,
            "request: { attributes: { nope: null } }",
            "request: { attributes: { nope: a } }",
            "came None",
        ),
        (API, "request: { body: '' }", "request: { body: a }", "request body: expected \"a\""),
        (
            ANSWERED,
            "response: { status: 201, body: hi }",
            "response: { status: 200 }",
            "came \"201\"",
        ),
        (
            ANSWERED,
            "response: { headers: { server: shop } }",
            "response: { headers: { server: nginx } }",
            "came [\"shop\"]",
        ),
        (
            ANSWERED,
            "forward: {}",
            "answer: { status: 200 }",
            "expected an answer, and the request passed",
        ),
        (
            OLD,
            "answer: { status: 301 }",
            "answer: { status: 302 }",
            "expected the answer 302, came 301",
        ),
        (
            OLD,
            "answer: { headers: { location: 'https://new.example/old/a' } }",
            "answer: { headers: { location: a } }",
            "came [\"https://new.example/old/a\"]",
        ),
        (
            OLD,
            "answer: { body: '' }",
            "answer: { bodyContains: moved }",
            "expected one with \"moved\"",
        ),
        (OLD, "answer: {}", "pass: true", "the filter answered 301"),
        (
            ELSEWHERE,
            "unmatched: true",
            "forward: {}",
            "expected a rule to match, came Some(Unmatched)",
        ),
        (API, "forward: {}", "unmatched: true", "expected no rule to match"),
        (API, "forward: {}", "fault: trap", "expected the fault trap, came None"),
        (API, "forward: {}", "configure: { contains: a }", "was taken"),
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
        ["expected the reason jwt.expired, came jwt.missing"]
    );
    let refused = "config: { issuers: [{ issuer: 7 }] }, expect: { configure: { error: AT } }";
    let whole = differences(jwt(), config, &refused.replace("AT", "/issuers/0/issuer"));
    assert_eq!(whole, Vec::<String>::new());
    let found = differences(jwt(), config, &refused.replace("AT", "/required"));
    assert!(found[0].contains("expected an error at /required, came:"), "{found:?}");
    let found = differences(jwt(), config, "config: { issuers: 7 }, expect: { pass: true }");
    assert!(found[0].starts_with("the filter does not start"), "{found:?}");
}

#[test]
fn a_filter_without_the_grant_does_not_start() {
    let head = format!("grant: {{ reads: [] }}\n{ROUTES}");
    let found = differences(route(), &head, "expect: { forward: {} }");
    assert!(found[0].starts_with("the filter does not start"), "{found:?}");
}

#[test]
fn what_a_case_cannot_mean_is_said() {
    let rows = [
        ("request: { method: 'A B' }", "`A B` is no method"),
        ("request: { scheme: ftp }", "`ftp` is no scheme"),
        ("request: { headers: { 'a b': x } }", "`a b` is no header"),
        ("request: { headers: { a: \"\\n\" } }", "the value of a has a control character"),
        ("request: { path: /api }, response: { status: 99 }", "99 is no status"),
    ];
    for (case, says) in rows {
        let found = differences(route(), ROUTES, &format!("{case}, expect: {{}}"));
        assert!(found.len() == 1 && found[0].contains(says), "{case}: {found:?}");
    }
}

#[test]
fn a_bad_table_names_file_and_place() {
    let rows = [
        ("cases: [{ name: a, expect: { passs: true } }]", "unknown field `passs`"),
        ("cases: [{ expect: {} }]", "missing field `name`"),
        ("cases:\n  - name: a\n    expect: { answer: { status: many } }", "line 3"),
        ("config: {}", "missing field `cases`"),
        ("cases: [", "line 2"),
    ];
    for (text, says) in rows {
        let error = Table::parse("tests/cases.yaml", text).unwrap_err().to_string();
        assert!(error.starts_with("tests/cases.yaml: ") && error.contains(says), "{text}: {error}");
    }
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
