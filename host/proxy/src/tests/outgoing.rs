//! Requests to an upstream, and bodies that are sent again.

use super::*;
use crate::exchange::{REPLAY_MAX_BYTES, Replay};
use crate::outgoing::{RequestTemplate, WireProperties, request};
use crate::upgrade::Upgrade;
use bytes::Bytes;
use http::header;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use proptest::prelude::*;
use tamis_exchange::{Body, BodyError};
use tamis_upstream::UpstreamRequest;

const PLAIN: WireProperties = WireProperties { secure: false, of_mesh: false, http2: false };
const TLS_HTTP2: WireProperties = WireProperties { secure: true, of_mesh: true, http2: true };

/// The request that an upstream would read.
fn sent(
    exchange: &Exchange,
    template: &RequestTemplate<'_>,
    wire: WireProperties,
    endpoint: &str,
) -> http::Request<Body> {
    let written = match request(exchange, template, wire, endpoint, None).unwrap() {
        UpstreamRequest::Parts(request) => return request,
        UpstreamRequest::Written(request) => String::from_utf8(request.waiting().to_vec()).unwrap(),
    };
    let (head, _) = written.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let line: Vec<_> = lines.next().unwrap().split(' ').collect();
    assert_eq!(line[2], "HTTP/1.1");
    let fields = lines.map(|line| line.split_once(": ").unwrap());
    let request = http::Request::builder().method(line[0]).uri(line[1]);
    let request = fields.fold(request, |request, (name, value)| request.header(name, value));
    request.body(Body::Empty).unwrap()
}

fn outgoing(
    exchange: &Exchange,
    trailers: bool,
    wire: WireProperties,
    endpoint: &str,
) -> http::Request<Body> {
    let body = Replay::new(Body::Empty, 10);
    let template =
        RequestTemplate { upgrade: None, trailers, marks_retries: false, body: &body, host: None };
    sent(exchange, &template, wire, endpoint)
}

#[test]
fn the_target_is_what_the_connection_needs_and_the_host_what_the_client_asked_for() {
    let mut exchange = exchange("/a?b=c");
    exchange.headers.append("x-a", "1".parse().unwrap());
    exchange.headers.append("x-a", "2".parse().unwrap());
    let sent = outgoing(&exchange, false, PLAIN, "10.0.0.1:80");
    assert_eq!(sent.method(), http::Method::POST);
    assert_eq!(sent.uri(), "/a?b=c");
    assert_eq!(sent.headers()[header::HOST], "shop.example");
    let all: Vec<_> = sent.headers().get_all("x-a").iter().collect();
    assert_eq!(all, ["1", "2"], "in their order");
    assert!(!sent.headers().contains_key(header::TE));
    let sent = outgoing(&exchange, true, TLS_HTTP2, "10.0.0.1:80");
    assert_eq!(sent.uri(), "https://shop.example/a?b=c");
    assert_eq!(sent.headers()[header::TE], "trailers");
}

#[test]
fn the_next_proxy_learns_that_this_one_retries_and_nobody_outside_the_mesh_does() {
    let tls = WireProperties { secure: true, of_mesh: true, http2: false };
    for (retries, wire, marked) in [
        (true, TLS_HTTP2, true),
        (true, tls, true),
        (true, PLAIN, false),
        (false, TLS_HTTP2, false),
        (false, PLAIN, false),
    ] {
        let body = Replay::new(Body::Empty, 10);
        let template = RequestTemplate {
            upgrade: None,
            trailers: false,
            marks_retries: retries,
            body: &body,
            host: None,
        };
        let mut exchange = exchange("/");
        for wrote in [false, true] {
            if wrote {
                exchange.headers.insert("x-tamis-retries", "filter".parse().unwrap());
            }
            let sent = sent(&exchange, &template, wire, "10.0.0.1:80");
            let mark = sent.headers().get("x-tamis-retries");
            assert_eq!(mark.map(|mark| mark == "1"), marked.then_some(true), "{retries} {wrote}");
        }
    }
}

#[test]
fn without_an_authority_the_endpoint_stands_in() {
    let mut exchange = exchange("*");
    exchange.authority.clear();
    exchange.method = http::Method::OPTIONS;
    let sent = outgoing(&exchange, false, PLAIN, "10.0.0.1:80");
    assert_eq!(sent.uri(), "*");
    assert_eq!(sent.headers()[header::HOST], "10.0.0.1:80");
    let sent = outgoing(&exchange, false, PLAIN, "unix:/run/app.sock");
    assert_eq!(sent.headers()[header::HOST], "localhost");
    let sent = outgoing(&exchange, false, TLS_HTTP2, "10.0.0.1:80");
    assert_eq!(sent.uri().authority().unwrap(), "10.0.0.1:80");
    assert!(!sent.headers().contains_key(header::HOST), "nobody asked for one");
}

#[test]
fn what_cannot_be_sent_is_the_clients_fault() {
    let exchange = exchange("/a b");
    let body = Replay::new(Body::Empty, 10);
    let template = RequestTemplate {
        upgrade: None,
        trailers: false,
        marks_retries: false,
        body: &body,
        host: None,
    };
    let refusal = request(&exchange, &template, PLAIN, "a:1", None).unwrap_err();
    assert_eq!((refusal.code, refusal.status), ("request.target", 400));
}

#[test]
fn an_empty_body_is_said_where_the_method_expects_one() {
    for (method, said) in [
        ("POST", true),
        ("PUT", true),
        ("PATCH", true),
        ("GET", false),
        ("HEAD", false),
        ("DELETE", false),
        ("OPTIONS", false),
    ] {
        let mut exchange = exchange("/");
        exchange.method = method.parse().unwrap();
        for wire in [PLAIN, TLS_HTTP2] {
            let sent = outgoing(&exchange, false, wire, "a:1");
            let length = sent.headers().get(header::CONTENT_LENGTH);
            assert_eq!(length.map(|length| length == "0"), said.then_some(true), "{method}");
        }
    }
}

/// The client's side of an upgrade, which nothing reads.
fn upgrade(extended: bool) -> Upgrade {
    let client = tamis_transport::PendingTunnel::of(&mut http::Request::default());
    Upgrade {
        protocol: "websocket".parse().unwrap(),
        client,
        extended,
        upstream: None,
        request: None,
    }
}

#[test]
fn a_websocket_of_http2_gets_the_key_that_http1_asks_for() {
    let body = Replay::new(Body::Empty, 10);
    let sent = |extended: bool, key: Option<&str>| {
        let upgrade = upgrade(extended);
        let mut exchange = exchange("/chat");
        if let Some(key) = key {
            exchange.headers.insert(header::SEC_WEBSOCKET_KEY, key.parse().unwrap());
        }
        let template = RequestTemplate {
            upgrade: Some(&upgrade),
            trailers: false,
            marks_retries: false,
            body: &body,
            host: None,
        };
        let sent = sent(&exchange, &template, PLAIN, "a:1");
        assert_eq!(sent.headers()[header::CONNECTION], "upgrade");
        assert_eq!(sent.headers()[header::UPGRADE], "websocket");
        sent.headers().get(header::SEC_WEBSOCKET_KEY).cloned()
    };
    assert_eq!(sent(false, None), None, "not every upgrade is a WebSocket");
    assert_eq!(sent(false, Some("mine")).unwrap(), "mine");
    // RFC 6455 §4.1: 16 bytes in base64.
    assert_eq!(sent(true, None).unwrap().len(), 24);
    assert_eq!(sent(true, Some("mine")).unwrap(), "mine");
}

fn cut(pieces: &[usize]) -> Body {
    let frames = pieces.iter().enumerate();
    let frames: Vec<_> = frames
        .map(|(n, length)| Ok::<_, BodyError>(Frame::data(Bytes::from(vec![n as u8; *length]))))
        .collect();
    Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
}

proptest! {
    #[test]
    fn a_body_is_sent_whole_and_again_if_it_was_kept(
        pieces in prop::collection::vec(0_usize..20_000, 0..8), limit in 0_u64..150_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let wanted: Vec<u8> = pieces
                .iter()
                .enumerate()
                .flat_map(|(n, length)| std::iter::repeat_n(n as u8, *length))
                .collect();
            let replay = Replay::new(cut(&pieces), limit);
            let first = replay.body(None).collect().await;
            if wanted.len() as u64 > limit {
                prop_assert!(first.is_err());
                prop_assert_eq!(replay.refusal().unwrap().status, 413);
                prop_assert!(!replay.is_replayable());
                return Ok(());
            }
            prop_assert_eq!(first.unwrap().to_bytes(), wanted.as_slice());
            prop_assert_eq!(replay.bytes_in(), wanted.len() as u64);
            prop_assert!(replay.has_ended() && replay.refusal().is_none());
            // A short chunk counts as more than it has, for its overhead.
            let kept = pieces.iter().filter(|length| **length > 0).map(|length| (*length).max(128));
            prop_assert_eq!(replay.is_replayable(), kept.sum::<usize>() <= REPLAY_MAX_BYTES);
            if replay.is_replayable() {
                let again = replay.body(None);
                prop_assert_eq!(again.size_hint().exact(), Some(wanted.len() as u64));
                prop_assert_eq!(again.collect().await.unwrap().to_bytes(), wanted.as_slice());
            }
            Ok(())
        })?;
    }
}
