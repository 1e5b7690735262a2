//! Questions, answers, settings.

use std::cell::RefCell;

use proptest::prelude::*;
use prost::Message as _;
use tamis_sdk::http_client::{Incoming, Outgoing};
use tamis_sdk::{Config, Edit, Field, view::packed};

use super::*;
use messages::{
    CheckRequest, CheckResponse, DeniedResponse, HeaderOption, HeaderText, HttpStatus, OkResponse,
    RpcStatus,
};

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
        (r#""grpc":"authz""#, "/grpc"),
        (r#""grpc":"http://authz/a""#, "/grpc"),
        (r#""grpc":"http://authz?a""#, "/grpc"),
        (r#""grpc":"http://authz","url":"http://authz""#, "/grpc"),
        (r#""timeout":"1s""#, ""),
        (r#""url":"http://authz","removeHeaders":["a"]"#, "/removeHeaders"),
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

const GRPC: &str = r#"{"grpc":"http://authz.security.mesh","requestHeaders":["authorization","accept"],
    "upstreamHeaders":["X-User"],"removeHeaders":["authorization"]}"#;

fn grpc_rules() -> ExtAuthzRules {
    ExtAuthzRules::check(&Config::parse(GRPC).unwrap()).unwrap()
}

fn framed(answer: &CheckResponse) -> Vec<u8> {
    let message = answer.encode_to_vec();
    [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

/// A response of gRPC with these octets and that status in its trailers.
fn grpc_service(octets: &[u8], status: &str) -> Service {
    service(200, &[("content-type", "application/grpc"), ("trailer:grpc-status", status)], octets)
}

fn asked_grpc(service: &Service, fields: &[(&str, &[u8])]) -> CheckOutcome {
    let rules = grpc_rules();
    let reads = rules.interest().reads;
    let raw = packed(&reads, fields);
    check::check(&rules, View::new(&raw, &reads), service)
}

fn option(name: &str, value: &str) -> HeaderOption {
    let header = HeaderText { key: name.into(), value: value.into(), raw_value: Vec::new() };
    HeaderOption { header: Some(header) }
}

fn yes(ok: OkResponse) -> CheckResponse {
    CheckResponse { status: Some(RpcStatus { code: 0 }), ok: Some(ok), ..Default::default() }
}

#[test]
fn a_service_of_grpc_is_told_who_asks_for_what() {
    let service = grpc_service(&framed(&yes(OkResponse::default())), "0");
    let outcome = asked_grpc(
        &service,
        &[
            (":path", b"/pay?a=1"),
            (":authority", b"shop.example"),
            (":scheme", b"https"),
            ("@source.address", b"192.0.2.1"),
            ("@peer.spiffe-id", b"spiffe://a/b"),
            ("@tls.sni", b"shop.example"),
            ("authorization", b"Bearer a"),
            ("accept", b"text/html"),
            ("accept", b"text/plain"),
            ("cookie", b"secret"),
        ],
    );
    assert!(matches!(outcome, CheckOutcome::Passes(_)), "{outcome:?}");
    let question = service.asked.borrow().clone().unwrap();
    let url = "http://authz.security.mesh/envoy.service.auth.v3.Authorization/Check";
    assert_eq!((&*question.method, &*question.url), ("POST", url));
    let length = u32::from_be_bytes(question.body[1..5].try_into().unwrap());
    assert_eq!((question.body[0], length as usize), (0, question.body.len() - 5));
    let asked = CheckRequest::decode(&question.body[5..]).unwrap().attributes.unwrap();
    let source = asked.source.unwrap();
    assert_eq!(source.address.unwrap().socket_address.unwrap().address, "192.0.2.1");
    assert_eq!(source.principal, "spiffe://a/b");
    assert_eq!(asked.tls_session.unwrap().sni, "shop.example");
    let http = asked.request.unwrap().http.unwrap();
    assert_eq!((&*http.method, &*http.path, http.size), ("GET", "/pay?a=1", -1));
    assert_eq!((&*http.host, &*http.scheme), ("shop.example", "https"));
    let headers: Vec<_> = http.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(headers, [("accept", "text/html,text/plain"), ("authorization", "Bearer a")]);
}

#[test]
fn an_answer_changes_what_the_configuration_names_and_nothing_else() {
    let ok = OkResponse {
        headers: vec![option("X-User", "ann")],
        headers_to_remove: vec!["Authorization".into(), "x-user".into()],
        ..Default::default()
    };
    let CheckOutcome::Passes(edits) = asked_grpc(&grpc_service(&framed(&yes(ok)), "0"), &[]) else {
        panic!()
    };
    let [Edit::RemoveHeader(first), Edit::AddHeader(added), Edit::RemoveHeader(last)] = &edits[..]
    else {
        panic!("{edits:?}")
    };
    assert_eq!((&**first, &*added.name, &**last), ("x-user", "x-user", "authorization"));
    for ok in [
        OkResponse { headers: vec![option("x-admin", "1")], ..Default::default() },
        OkResponse { headers_to_remove: vec!["cookie".into()], ..Default::default() },
        OkResponse { response_headers_to_add: vec![option("x-user", "1")], ..Default::default() },
        OkResponse { query_parameters_to_set: vec![vec![10, 1, 97]], ..Default::default() },
        OkResponse { query_parameters_to_remove: vec!["a".into()], ..Default::default() },
        OkResponse { headers: vec![option("x-user", "1"); 65], ..Default::default() },
    ] {
        let outcome = asked_grpc(&grpc_service(&framed(&yes(ok.clone())), "0"), &[]);
        assert!(matches!(outcome, CheckOutcome::Unavailable(..)), "{ok:?} {outcome:?}");
    }
}

#[test]
fn no_answer_makes_a_verdict_that_the_host_takes_for_a_fault() {
    let sets = |values: &[&str]| {
        let headers = values.iter().map(|value| option("x-user", value)).collect();
        yes(OkResponse { headers, ..Default::default() })
    };
    let long = "a".repeat(20_000);
    for (values, passes) in [
        (&["ann"][..], true),
        (&["\u{e4}\tb"], true),
        (&[&long], true),
        (&[""], true),
        (&["a\nx-admin: 1"], false),
        (&["a\r\nx-admin: 1"], false),
        (&["a\0"], false),
        (&["\u{7f}"], false),
        (&["ann", "\u{1b}[2J"], false),
        (&[&long, &long], false),
    ] {
        let outcome = asked_grpc(&grpc_service(&framed(&sets(values)), "0"), &[]);
        let passed = matches!(outcome, CheckOutcome::Passes(_));
        assert_eq!(passed, passes, "{values:?} {outcome:?}");
        assert!(passed || matches!(outcome, CheckOutcome::Unavailable(..)), "{outcome:?}");
    }
    // The same over HTTP, where values are those of fields already; a refusal stays one, with fewer headers.
    let two = [("x-user", &*long), ("x-user", &*long)];
    assert!(matches!(asked(&service(200, &two[..1], b""), &[]), CheckOutcome::Passes(_)));
    assert!(matches!(asked(&service(200, &two, b""), &[]), CheckOutcome::Unavailable(..)));
    let two = [("location", &*long), ("location", &*long)];
    let CheckOutcome::Refused(reply) = asked(&service(401, &two, b""), &[]) else { panic!() };
    assert_eq!(reply.headers.len(), 1);
    let denied =
        DeniedResponse { headers: vec![option("location", &long); 2], ..Default::default() };
    let denied = CheckResponse { denied: Some(denied), ..Default::default() };
    let outcome = asked_grpc(&grpc_service(&framed(&denied), "0"), &[]);
    assert!(
        matches!(&outcome, CheckOutcome::Refused(reply) if reply.headers.len() == 1),
        "{outcome:?}"
    );
}

#[test]
fn a_refusal_over_grpc_stays_one_whatever_is_wrong_with_it() {
    let denied = |code: Option<i32>| DeniedResponse {
        status: code.map(|code| HttpStatus { code }),
        headers: vec![
            option("Location", "/login"),
            option("x-inner", "1"),
            option("location", "a\nb"),
        ],
        body: "no\n".into(),
    };
    for (code, status) in [
        (Some(401), 401),
        (Some(302), 302),
        (Some(503), 503),
        (Some(0), 403),
        (Some(200), 403),
        (Some(304), 403),
        (Some(-1), 403),
        (Some(99_999), 403),
        (None, 403),
    ] {
        for rpc in [Some(RpcStatus { code: 16 }), None] {
            let answer =
                CheckResponse { status: rpc, denied: Some(denied(code)), ..Default::default() };
            let service = grpc_service(&framed(&answer), "0");
            let CheckOutcome::Refused(reply) = asked_grpc(&service, &[]) else {
                panic!("{code:?}")
            };
            assert_eq!((reply.status, reply.body.as_slice()), (status, &b"no\n"[..]), "{code:?}");
            let names: Vec<_> = reply.headers.iter().map(|field| &*field.name).collect();
            assert_eq!(names, ["location"], "{code:?}");
        }
    }
    let bare = CheckResponse { status: Some(RpcStatus { code: 7 }), ..Default::default() };
    let CheckOutcome::Refused(reply) = asked_grpc(&grpc_service(&framed(&bare), "0"), &[]) else {
        panic!()
    };
    assert_eq!(reply.status, 403);
}

#[test]
fn whatever_is_no_answer_over_grpc_refuses() {
    let fine = framed(&yes(OkResponse::default()));
    let status = |code| Some(RpcStatus { code });
    let both = CheckResponse {
        status: status(0),
        denied: Some(DeniedResponse::default()),
        ..Default::default()
    };
    let failed = CheckResponse {
        status: status(0),
        error: Some(DeniedResponse::default()),
        ..Default::default()
    };
    let kind = ("content-type", "application/grpc");
    let ended = ("trailer:grpc-status", "0");
    let mut compressed = fine.clone();
    compressed[0] = 1;
    for (what, service) in [
        ("another status of gRPC", grpc_service(&fine, "14")),
        ("no status", service(200, &[kind], &fine)),
        ("another status of HTTP", service(503, &[kind, ended], &fine)),
        ("another kind", service(200, &[("content-type", "text/html"), ended], &fine)),
        ("no kind", service(200, &[ended], &fine)),
        ("no message", grpc_service(&[], "0")),
        ("half a prefix", grpc_service(&fine[..3], "0")),
        ("half a message", grpc_service(&fine[..fine.len() - 1], "0")),
        ("two messages", grpc_service(&[&fine[..], &fine].concat(), "0")),
        ("a compressed message", grpc_service(&compressed, "0")),
        ("no protobuf", grpc_service(&[0, 0, 0, 0, 1, 0xff], "0")),
        ("neither yes nor no", grpc_service(&framed(&CheckResponse::default()), "0")),
        ("yes and no", grpc_service(&framed(&both), "0")),
        ("a failed check", grpc_service(&framed(&failed), "0")),
        (
            "a kind that begins so",
            service(200, &[("content-type", "application/grpc-web"), ended], &fine),
        ),
        ("an encoded answer", service(200, &[kind, ("content-encoding", "gzip"), ended], &fine)),
        (
            "a fine status, then another",
            service(200, &[kind, ended, ("trailer:grpc-status", "7")], &fine),
        ),
        ("another status in the head", service(200, &[kind, ("grpc-status", "7"), ended], &fine)),
        ("a status in two forms", service(200, &[kind, ended, ("grpc-status", "00")], &fine)),
        ("silence", Service { answer: Err("no answer".into()), asked: RefCell::default() }),
    ] {
        let outcome = asked_grpc(&service, &[]);
        assert!(matches!(outcome, CheckOutcome::Unavailable(..)), "{what}: {outcome:?}");
    }
    let service = grpc_service(&fine, "0");
    let outcome = asked_grpc(&service, &[("authorization", b"\xff")]);
    assert!(matches!(outcome, CheckOutcome::Unreadable(name) if name == "authorization"));
    assert!(service.asked.borrow().is_none());
}

proptest! {
    #[test]
    fn any_octets_over_grpc_are_an_answer_or_refuse(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
        let length = u32::try_from(octets.len()).unwrap().to_be_bytes();
        let body = [&[0], &length[..], &octets].concat();
        let outcome = asked_grpc(&grpc_service(&body, "0"), &[]);
        let says_yes = CheckResponse::decode(octets.as_slice())
            .is_ok_and(|it| it.status.map_or(it.ok.is_some(), |status| status.code == 0));
        prop_assert!(says_yes || !matches!(outcome, CheckOutcome::Passes(_)));
    }

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
