//! Requests, origins and settings.

use proptest::prelude::*;
use tamis_sdk::{Config, view::packed};

use super::*;

fn refusal(method: Method, fields: &[(&str, &str)]) -> Option<&'static str> {
    let settings = Config::parse(r#"{"trustedOrigins":["https://partner.example"]}"#).unwrap();
    let (csrf, interest) = Csrf::configure(settings).unwrap();
    let mut all = vec![(":authority", &b"shop.example"[..])];
    all.extend(fields.iter().map(|(name, value)| (*name, value.as_bytes())));
    let mut raw = packed(&interest.reads, &all);
    raw.method = method;
    csrf.refusal(View::new(&raw, &interest.reads))
}

/// The table of Go's `CrossOriginProtection` (`csrf_test.go`), for its fields.
#[test]
fn what_browsers_say_decides_as_in_go() {
    for (site, origin, expected) in [
        (Some("same-origin"), None, None),
        (Some("none"), None, None),
        (Some("cross-site"), None, Some("csrf.cross-site")),
        (Some("same-site"), None, Some("csrf.cross-site")),
        (None, None, None),
        (None, Some("https://shop.example"), None),
        (None, Some("https://attacker.example"), Some("csrf.cross-origin")),
        (None, Some("null"), Some("csrf.cross-origin")),
        // Fetch Metadata goes before the origin.
        (Some("same-origin"), Some("https://attacker.example"), None),
        (Some("cross-site"), Some("https://shop.example"), Some("csrf.cross-site")),
        (Some("cross-site"), Some("https://partner.example"), None),
        (Some("same-site"), Some("https://PARTNER.example"), None),
        (Some("cross-site"), Some("https://partner.example.evil"), Some("csrf.cross-site")),
        (None, Some("https://partner.example"), None),
        (None, Some("http://partner.example"), Some("csrf.cross-origin")),
        // Hostile and unknown values.
        (Some(""), None, Some("csrf.cross-site")),
        (Some("Same-Origin"), None, Some("csrf.cross-site")),
        (Some("same-origin, cross-site"), None, Some("csrf.cross-site")),
        (None, Some(""), Some("csrf.cross-origin")),
        (None, Some("https://shop.example:443"), None),
        (None, Some("https://shop.example:8443"), Some("csrf.cross-origin")),
        (None, Some("https://shop.example@evil.example"), Some("csrf.cross-origin")),
        (None, Some("https://evil.example/shop.example"), Some("csrf.cross-origin")),
        (None, Some("shop.example"), Some("csrf.cross-origin")),
        (None, Some("file://shop.example"), Some("csrf.cross-origin")),
    ] {
        let fields: Vec<_> = site
            .map(|site| (SITE, site))
            .into_iter()
            .chain(origin.map(|origin| ("origin", origin)))
            .collect();
        for method in [
            Method::Post,
            Method::Put,
            Method::Delete,
            Method::Patch,
            Method::Connect,
            Method::Other,
            Method::Trace,
        ] {
            assert_eq!(refusal(method, &fields), expected, "{method:?} {fields:?}");
        }
        for method in [Method::Get, Method::Head, Method::Options] {
            assert_eq!(refusal(method, &fields), None, "{method:?} {fields:?}");
        }
    }
}

#[test]
fn a_websocket_changes_something() {
    let key = (WEBSOCKET, "dGhlIHNhbXBsZSBub25jZQ==");
    for (origin, expected) in
        [("https://shop.example", None), ("https://evil.example", Some("csrf.cross-origin"))]
    {
        assert_eq!(refusal(Method::Get, &[key, ("origin", origin)]), expected);
    }
}

#[test]
fn of_a_field_that_occurs_twice_nothing_is_believed() {
    for fields in [
        [(SITE, "same-origin"), (SITE, "cross-site")],
        [(SITE, "same-origin"), (SITE, "same-origin")],
        [("origin", "https://shop.example"), ("origin", "https://evil.example")],
    ] {
        assert_eq!(refusal(Method::Post, &fields), Some("csrf.ambiguous"), "{fields:?}");
    }
}

#[test]
fn each_mistake_is_reported_at_its_place() {
    for text in [
        "*",
        "null",
        "shop.example",
        "https://",
        "https://a/",
        "https://*.a",
        "ftp://a",
        "https://:1",
    ] {
        let config = format!(r#"{{"trustedOrigins":["https://a","{text}"]}}"#);
        let errors = CsrfRules::check(&Config::parse(&config).unwrap()).unwrap_err();
        assert_eq!(errors[0].pointer, "/trustedOrigins/1", "{text}");
        assert!(errors[0].message.contains("http(s)://HOST[:PORT]"), "{text}");
    }
    let many = vec!["\"https://a\""; 65].join(",");
    let settings = Config::parse(&format!(r#"{{"trustedOrigins":[{many}]}}"#)).unwrap();
    assert_eq!(CsrfRules::check(&settings).unwrap_err()[0].pointer, "/trustedOrigins");
}

proptest! {
    #[test]
    fn no_octets_are_the_own_origin_but_its_spellings(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
        prop_assert!(!origin::is_of(&octets, b"shop.example"));
    }

    #[test]
    fn an_origin_with_more_at_either_end_is_another(before in "[a-z./@:]{0,6}", after in "[a-z./@:]{0,6}") {
        let text = format!("https://{before}shop.example{after}");
        let own = origin::is_of(text.as_bytes(), b"shop.example");
        prop_assert_eq!(own, before.is_empty() && after.is_empty(), "{}", text);
    }
}
