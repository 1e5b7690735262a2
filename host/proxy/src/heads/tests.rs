use super::fields::{add_via, one_length, remove_hop_by_hop};
use super::forwarded::forwarded;
use super::request::{join_cookies, take_retry_mark, takes_trailers};
use crate::connection::Connection;
use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use tamis_exchange::{ForwardedField, TrustedProxies};
use tamis_resources::plan::TrafficDirection;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

#[test]
fn fields_named_by_connection_go_and_protected_ones_stay() {
    let mut map = headers(&[
        ("connection", "close, X-Mine , authorization, x-forwarded-for"),
        ("x-mine", "1"),
        ("authorization", "Bearer a"),
        ("x-forwarded-for", "1.2.3.4"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("accept", "*/*"),
    ]);
    remove_hop_by_hop(&mut map);
    let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["accept", "authorization", "x-forwarded-for"]);
}

#[test]
fn a_length_said_twice_is_said_once_and_two_lengths_are_refused() {
    let length_of = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_LENGTH, value.parse().unwrap());
        }
        let length = one_length(&mut headers);
        (length.ok(), headers.get_all(header::CONTENT_LENGTH).iter().count())
    };
    assert_eq!(length_of(&[]), (Some(None), 0));
    assert_eq!(length_of(&["2"]), (Some(Some(2)), 1));
    assert_eq!(length_of(&["2", "2"]), (Some(Some(2)), 1));
    assert_eq!(length_of(&["007"]), (Some(Some(7)), 1));
    assert_eq!(length_of(&["0"]), (Some(Some(0)), 1));
    for values in [&["2", "3"][..], &["2, 2"], &["+2"], &[""], &["2", "02"], &["x"]] {
        assert_eq!(length_of(values).0, None, "{values:?}");
    }
}

#[test]
fn the_mark_of_a_caller_that_retries_is_believed_of_the_mesh_alone() {
    let mut member = connection("10.0.0.1:5");
    member.peer_identity = Some("spiffe://shop.example/ns/shop/service/a".into());
    let stranger = connection("10.0.0.1:5");
    for (peer, direction, believed) in [
        (&member, TrafficDirection::Inbound, true),
        (&stranger, TrafficDirection::Inbound, false),
        (&member, TrafficDirection::Gateway, false),
        (&member, TrafficDirection::Outbound, false),
        (&stranger, TrafficDirection::Gateway, false),
        (&stranger, TrafficDirection::Outbound, false),
    ] {
        let mut map = headers(&[("x-tamis-retries", "1"), ("accept", "*/*")]);
        assert_eq!(take_retry_mark(&mut map, peer, direction), believed, "{direction:?}");
        assert_eq!(map.len(), 1, "it goes no further: {direction:?}");
        assert!(!take_retry_mark(&mut map, peer, direction), "nobody said so: {direction:?}");
    }
}

#[test]
fn crumbs_of_a_cookie_become_one_field() {
    let mut map = headers(&[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("cookie", "c")]);
    join_cookies(&mut map);
    let all: Vec<_> = map.get_all("cookie").iter().collect();
    assert_eq!(all, ["a=1; b=2; c"]);
    let mut one = headers(&[("cookie", "a=1")]);
    join_cookies(&mut one);
    assert_eq!(one["cookie"], "a=1");
}

#[test]
fn a_gateway_takes_no_word_for_where_a_request_came_from_or_of_what_path_it_is() {
    let claims = [
        ("x-forwarded-port", "1"),
        ("x-forwarded-client-cert", "Hash=a"),
        ("x-forwarded-prefix", "/admin"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-tamis-mine", "0"),
        ("x-real-ip", "10.0.0.1"),
        ("x.real-ip", "10.0.0.1"),
        ("x_real_ip", "10.0.0.1"),
        ("true-client-ip", "10.0.0.1"),
        ("cf-connecting-ip", "10.0.0.1"),
        ("fastly-client-ip", "10.0.0.1"),
        ("x-client-ip", "10.0.0.1"),
        ("x-cluster-client-ip", "10.0.0.1"),
        ("client-ip", "10.0.0.1"),
        ("client_ip", "10.0.0.1"),
        ("fly-client-ip", "10.0.0.1"),
        ("forwarded-for", "10.0.0.1"),
        ("proxy", "http://evil.example/"),
        ("x-azure-clientip", "10.0.0.1"),
        ("x-azure-socketip", "10.0.0.1"),
        ("x-forwarded", "for=10.0.0.1"),
        ("x-original-forwarded-for", "10.0.0.1"),
        ("x-original-host", "admin.example"),
        ("x-originating-ip", "10.0.0.1"),
        ("x-remote-addr", "10.0.0.1"),
        ("x-remote-ip", "10.0.0.1"),
        ("x-envoy-external-address", "10.0.0.1"),
        ("x-envoy-original-path", "/admin"),
        ("x_envoy-max-retries", "100"),
        ("client-cert", ":AAA=:"),
        ("client_cert_chain", ":AAA=:"),
        ("ssl-client-verify", "SUCCESS"),
        ("x-ssl-client-dn", "CN=admin"),
        ("x_ssl_client_cert", "a"),
        ("x-arr-clientcert", "a"),
        ("x-client-cert", "a"),
        ("cf-connecting-ipv6", "::1"),
        ("wl-proxy-client-ip", "10.0.0.1"),
        ("proxy-client-ip", "10.0.0.1"),
        ("x-appengine-user-ip", "10.0.0.1"),
        ("x-proxyuser-ip", "10.0.0.1"),
    ];
    for (name, value) in claims {
        for (direction, stays) in
            [(TrafficDirection::Gateway, false), (TrafficDirection::Outbound, true)]
        {
            let mut map = headers(&[("x-mine", "1"), (name, value)]);
            forward(&mut map, "10.0.0.1:5", direction);
            assert_eq!(map.get(name).is_some_and(|it| it == value), stays, "{name}");
            assert_eq!(map["x-mine"], "1");
        }
    }
}

fn connection(peer: &str) -> Connection {
    let local = tamis_transport::Address::Unix("test".into());
    let sender = peer.parse().ok();
    let identity = tamis_transport::PeerIdentity {
        spiffe_id: None,
        alpn: None,
        sni: None,
        tls_version: "TLSv1.3",
    };
    let identity = Some(identity);
    Connection::new(1, "in", &tamis_transport::ConnectionInfo { sender, local, identity })
}

fn forward(map: &mut HeaderMap, peer: &str, direction: TrafficDirection) {
    let mut connection = connection(peer);
    if direction == TrafficDirection::Inbound {
        connection.peer_identity = Some("spiffe://shop.example/ns/shop/service/a".into());
    }
    forward_of(map, &connection, direction);
}

fn forward_of(map: &mut HeaderMap, connection: &Connection, direction: TrafficDirection) {
    let host = Some(HeaderValue::from_static("shop.example"));
    forwarded(map, connection, direction, host, None);
}

#[test]
fn a_sidecar_believes_a_caller_in_plain_text_no_more_than_a_gateway_does() {
    let claims = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "other.example"),
        ("x-forwarded-client-cert", "URI=spiffe://shop.example/ns/shop/service/a"),
        ("forwarded", "for=6.6.6.6"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-tamis-peer", "spiffe://shop.example/ns/shop/service/a"),
        ("x-real-ip", "6.6.6.6"),
        ("accept", "*/*"),
    ];
    let local = tamis_transport::Address::Unix("test".into());
    let info = tamis_transport::ConnectionInfo {
        sender: "10.0.0.1:5".parse().ok(),
        local,
        identity: None,
    };
    let plain = Connection::new(1, "inbound", &info);
    let (mut map, mut at_gateway) = (headers(&claims), headers(&claims));
    forward_of(&mut map, &plain, TrafficDirection::Inbound);
    forward_of(&mut at_gateway, &plain, TrafficDirection::Gateway);
    assert_eq!(map, at_gateway);
    assert_eq!(map["x-forwarded-for"], "10.0.0.1");
    assert_eq!(map["x-forwarded-proto"], "http");
    assert_eq!(map["accept"], "*/*");
    let text = format!("{map:?}");
    for forged in ["6.6.6.6", "/admin", "spiffe:", "other.example"] {
        assert!(!text.contains(forged), "{forged}: {text}");
    }
}

#[test]
fn a_gateway_believes_nothing_and_a_sidecar_adds() {
    let said = [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6")];
    let mut map = headers(&said);
    forward(&mut map, "[2001:db8::1]:5", TrafficDirection::Gateway);
    assert_eq!(map["x-forwarded-for"], "2001:db8::1");
    assert_eq!(map["forwarded"], "for=\"[2001:db8::1]\";proto=https");
    assert_eq!(map["x-forwarded-proto"], "https");
    assert_eq!(map["x-forwarded-host"], "shop.example");
    let mut map = headers(&said);
    forward(&mut map, "10.0.0.1:5", TrafficDirection::Inbound);
    assert_eq!(map["x-forwarded-for"], "6.6.6.6, 10.0.0.1");
    assert_eq!(map["forwarded"], "for=6.6.6.6, for=10.0.0.1");
    let mut map = headers(&said);
    forward(&mut map, "unix", TrafficDirection::Outbound);
    assert_eq!(map, headers(&said));
    let mut map = HeaderMap::new();
    forward(&mut map, "unix", TrafficDirection::Gateway);
    assert_eq!(
        (&map["x-forwarded-for"], &map["forwarded"]),
        (&HeaderValue::from_static("unix"), &HeaderValue::from_static("for=_unix;proto=https"),)
    );
}

#[test]
fn the_chain_of_trusted_proxies_goes_on_from_the_client() {
    let trusted = ["10.0.0.0/24".to_owned()];
    let trusted = TrustedProxies::new(ForwardedField::XForwardedFor, Some(&trusted), None).unwrap();
    let mut map = headers(&[
        ("x-forwarded-for", "6.6.6.6, 2001:db8::1, 10.0.0.2"),
        ("forwarded", "for=6.6.6.6"),
        ("x-forwarded-proto", "gopher"),
    ]);
    let chain = trusted.chain(&map, "10.0.0.1".parse().unwrap()).unwrap();
    let (peer, host) = (connection("10.0.0.1:5"), Some(HeaderValue::from_static("a.example")));
    forwarded(&mut map, &peer, TrafficDirection::Gateway, host, Some(&chain));
    assert_eq!(map["x-forwarded-for"], "2001:db8::1, 10.0.0.2, 10.0.0.1");
    assert_eq!(map["forwarded"], "for=\"[2001:db8::1]\", for=10.0.0.2, for=10.0.0.1;proto=https");
    assert_eq!(map["x-forwarded-proto"], "https");
}

#[test]
fn trailers_are_taken_wherever_the_list_says_so() {
    for (te, taken) in [
        ("trailers", true),
        ("trailers, deflate;q=0.5", true),
        ("deflate, Trailers", true),
        ("gzip", false),
        ("xtrailers", false),
    ] {
        let headers = HeaderMap::from_iter([(header::TE, te.parse().unwrap())]);
        assert_eq!(takes_trailers(&headers), taken, "{te}");
    }
}

const NAMES: [&str; 14] = [
    "x-a",
    "x-b",
    "accept",
    "cookie",
    "authorization",
    "forwarded",
    "via",
    "x-forwarded-for",
    "te",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "http2-settings",
];

fn fields() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let field = (prop::sample::select(NAMES.as_slice()), "[a-z0-9=;]{1,8}");
    prop::collection::vec(field, 0..20)
}

fn map_of(fields: &[(&'static str, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    map
}

proptest! {
    #[test]
    fn what_belongs_to_one_connection_goes_and_the_rest_stays_in_order(
        fields in fields(),
        named in prop::collection::vec(prop::sample::select(NAMES.as_slice()), 0..4),
        separator in prop::sample::select([",", " , ", ",,", ",\t"].as_slice()),
    ) {
        let mut map = map_of(&fields);
        if !named.is_empty() {
            map.append(header::CONNECTION, named.join(separator).to_uppercase().parse().unwrap());
        }
        remove_hop_by_hop(&mut map);
        let always = &NAMES[8..];
        let protected = &NAMES[3..8];
        let goes = |name: &str| {
            always.contains(&name) || (named.contains(&name) && !protected.contains(&name))
        };
        let mut kept = map_of(&fields);
        for name in NAMES.iter().filter(|name| goes(name)) {
            kept.remove(*name);
        }
        prop_assert_eq!(map, kept);
    }

    #[test]
    fn every_hop_adds_one_element_at_the_end(
        fields in fields(), hops in 1_usize..5, ip in any::<std::net::IpAddr>(),
    ) {
        let mut map = map_of(&fields);
        let before = |map: &HeaderMap, name: &str| -> Vec<String> {
            let values = map.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned());
            values.collect()
        };
        let (via_before, for_before) = (before(&map, "via"), before(&map, "x-forwarded-for"));
        let peer = std::net::SocketAddr::new(ip, 1).to_string();
        for _ in 0..hops {
            add_via(&mut map, Version::HTTP_11);
            forward(&mut map, &peer, TrafficDirection::Inbound);
        }
        let joined = |mut list: Vec<String>, element: &str| {
            list.extend(std::iter::repeat_n(element.to_owned(), hops));
            vec![list.join(", ")]
        };
        prop_assert_eq!(before(&map, "via"), joined(via_before, "1.1 tamis"));
        prop_assert_eq!(before(&map, "x-forwarded-for"), joined(for_before, &ip.to_string()));
        forward(&mut map, &peer, TrafficDirection::Gateway);
        prop_assert_eq!(before(&map, "x-forwarded-for"), vec![ip.to_string()]);
        prop_assert_eq!(before(&map, "forwarded").len(), 1);
    }
}
