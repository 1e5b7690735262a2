//! Questions, answers, settings.

use std::cell::RefCell;

use proptest::prelude::*;
use tamis_sdk::http_client::{Incoming, Outgoing};
use tamis_sdk::{Config, Edit, Field, view::packed};

use super::*;

/// A service with one answer, which keeps the question.
struct Service {
    answer: Result<Incoming, String>,
    asked: RefCell<Option<Outgoing>>,
}

impl CheckService for Service {
    fn send(&self, outgoing: &Outgoing) -> Result<Incoming, String> {
        *self.asked.borrow_mut() = Some(outgoing.clone());
        self.answer.clone()
    }
}

fn service(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Service {
    let field = |(name, value): &(&str, &str)| Field {
        name: (*name).to_owned(),
        value: value.as_bytes().to_vec(),
    };
    let headers = headers.iter().map(field).collect();
    Service {
        answer: Ok(Incoming { status, headers, body: body.to_vec() }),
        asked: RefCell::default(),
    }
}

const CONFIG: &str = r#"{"url":"https://authz:8443/check/","upstreamHeaders":["X-User"]}"#;

fn asked(service: &Service, fields: &[(&str, &str)]) -> CheckOutcome {
    let rules = ExtAuthzRules::check(&Config::parse(CONFIG).unwrap()).unwrap();
    let reads = rules.interest().reads;
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let raw = packed(&reads, &fields);
    check::check(&rules, View::new(&raw, &reads), service)
}

#[test]
fn the_service_is_told_what_is_configured_and_who_asks() {
    let service = service(200, &[], b"");
    asked(
        &service,
        &[
            (":path", "/pay?a=1"),
            (":authority", "shop.example"),
            (":scheme", "https"),
            ("@source.address", "192.0.2.1"),
            ("authorization", "Bearer a"),
            ("cookie", "secret"),
            ("x-forwarded-for", "6.6.6.6"),
        ],
    );
    let question = service.asked.borrow().clone().unwrap();
    assert_eq!((&*question.method, &*question.url), ("GET", "https://authz:8443/check/pay?a=1"));
    assert_eq!((question.timeout_ms, question.body.len()), (200, 0));
    let told: Vec<_> = question
        .headers
        .iter()
        .map(|field| format!("{}: {}", field.name, String::from_utf8_lossy(&field.value)))
        .collect();
    assert_eq!(
        told,
        [
            "authorization: Bearer a",
            "x-forwarded-host: shop.example",
            "x-forwarded-proto: https",
            "x-forwarded-for: 192.0.2.1",
        ]
    );
}

#[test]
fn nobody_is_asked_about_a_field_of_which_an_application_may_read_another_line() {
    let rules = |names: &str| {
        let config = CONFIG.replacen('{', &format!(r#"{{"requestHeaders":[{names}],"#), 1);
        ExtAuthzRules::check(&Config::parse(&config).unwrap()).unwrap()
    };
    for (asked, lines, refused) in [
        (r#""authorization""#, &["authorization", "authorization"][..], Some("authorization")),
        (r#""authorization""#, &["authorization"], None),
        (r#""authorization""#, &["x-tenant", "x-tenant"], None),
        (r#""X-Tenant", "cookie""#, &["cookie", "x-tenant", "x-tenant"], Some("x-tenant")),
        (r#""accept", "prefer""#, &["accept", "accept", "prefer", "prefer"], None),
        (r#""origin""#, &["origin", "origin"], Some("origin")),
    ] {
        let (rules, service) = (rules(asked), service(200, &[], b""));
        let reads = rules.interest().reads;
        let fields: Vec<_> = lines.iter().map(|name| (*name, b"a".as_slice())).collect();
        let raw = packed(&reads, &fields);
        let outcome = check::check(&rules, View::new(&raw, &reads), &service);
        let ambiguous = match &outcome {
            CheckOutcome::Ambiguous(name) => Some(name.as_str()),
            _ => None,
        };
        assert_eq!(ambiguous, refused, "{asked}");
        assert_eq!(service.asked.borrow().is_none(), refused.is_some(), "{asked}");
    }
}

#[test]
fn a_field_for_the_upstream_comes_from_the_service_or_from_nobody() {
    for (headers, added) in [(&[("x-user", "ann"), ("x-admin", "1")][..], &["ann"][..]), (&[], &[])]
    {
        for status in [200, 204, 299] {
            let CheckOutcome::Passes(edits) = asked(&service(status, headers, b""), &[]) else {
                panic!()
            };
            assert!(matches!(&edits[0], Edit::RemoveHeader(name) if name == "x-user"));
            let found: Vec<_> = edits[1..]
                .iter()
                .map(|edit| match edit {
                    Edit::AddHeader(field) => String::from_utf8(field.value.clone()).unwrap(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(found, added);
        }
    }
}

#[test]
fn a_refusal_is_passed_on_with_the_fields_that_clients_may_see() {
    let headers = [("location", "/login"), ("set-cookie", "a=1"), ("server", "x")];
    for status in [302, 401, 403, 404, 429] {
        let CheckOutcome::Refused(reply) = asked(&service(status, &headers, b"no"), &[]) else {
            panic!()
        };
        assert_eq!((reply.status, &reply.body[..]), (status, &b"no"[..]));
        let names: Vec<_> = reply.headers.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["location"]);
    }
    let long = vec![b'a'; 64 * 1024 + 1];
    let CheckOutcome::Refused(reply) = asked(&service(403, &[], &long), &[]) else { panic!() };
    assert!(reply.body.is_empty(), "a long body is left out");
}

#[test]
fn whatever_is_no_answer_refuses() {
    let broken = Service { answer: Err("no answer in time".to_owned()), asked: RefCell::default() };
    let services: Vec<_> = [0, 100, 101, 199, 304, 500, 503, 599, 600, 999]
        .map(|status| service(status, &[], b""))
        .into();
    for service in services.iter().chain([&broken]) {
        let CheckOutcome::Unavailable(why, reply) = asked(service, &[]) else { panic!() };
        assert_eq!(reply.status, 503, "{why}");
        assert!(
            !String::from_utf8_lossy(&reply.body).contains("answer"),
            "the client learns nothing"
        );
    }
}

#[test]
fn each_mistake_is_reported_at_its_place() {
    for (members, pointer) in [
        (r#""url":"authz""#, "/url"),
        (r#""url":"ftp://authz""#, "/url"),
        (r#""url":"https://""#, "/url"),
        (r#""url":"https:///a""#, "/url"),
        (r#""url":"https://a?b""#, "/url"),
        (r#""url":"https://u@a""#, "/url"),
        (r#""url":"https://a\n""#, "/url"),
        (r#""url":"https://a","timeout":"0s""#, "/timeout"),
        (r#""url":"https://a","timeout":"11s""#, "/timeout"),
        (r#""url":"https://a","requestHeaders":["host"]"#, "/requestHeaders/0"),
        (r#""url":"https://a","requestHeaders":["a","A"]"#, "/requestHeaders/1"),
        (r#""url":"https://a","upstreamHeaders":["*"]"#, "/upstreamHeaders/0"),
        (r#""url":"https://a","upstreamHeaders":["X_Forwarded_For"]"#, "/upstreamHeaders/0"),
        (r#""url":"https://a","clientHeaders":["Content-Length"]"#, "/clientHeaders/0"),
    ] {
        let errors =
            ExtAuthzRules::check(&Config::parse(&format!("{{{members}}}")).unwrap()).unwrap_err();
        assert_eq!(errors[0].pointer, pointer, "{members}: {errors:?}");
    }
}

proptest! {
    #[test]
    fn only_a_status_of_2xx_lets_a_request_pass(status in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 0..20)) {
        let passes = matches!(asked(&service(status, &[("x-user", "ann")], &body), &[]), CheckOutcome::Passes(_));
        prop_assert_eq!(passes, (200..300).contains(&status));
    }

    #[test]
    fn any_text_is_an_address_or_refused(text in "(https?://)?[!-~]{0,30}") {
        let settings = serde_json::json!({ "url": text }).to_string();
        if let Ok(rules) = ExtAuthzRules::check(&Config::parse(&settings).unwrap()) {
            prop_assert!(rules.url.starts_with("http") && !rules.url.contains(['?', '#', '@']));
        }
    }
}
