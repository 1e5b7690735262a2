//! Origins, settings and responses.

use proptest::prelude::*;
use tamis_sdk::{Config, view::packed};

use super::*;
use origin::OriginPattern;

#[test]
fn an_origin_is_a_scheme_a_host_and_a_port() {
    let origin = |text: &str| Origin::parse(text.as_bytes());
    for (one, other) in [
        ("https://shop.example", "https://shop.example:443"),
        ("http://shop.example", "HTTP://Shop.Example:80"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ] {
        assert!(origin(one).is_some(), "{one}");
        assert_eq!(origin(one), origin(other), "{one} {other}");
    }
    for text in [
        "null",
        "",
        "*",
        "shop.example",
        "https://",
        "https:///",
        "https://a/",
        "https://a/.shop.example",
        "https://a?b",
        "https://u@a",
        "https://a:",
        "https://a:x",
        "https://a:+1",
        "https://a:65536",
        "https://a..b",
        "https://.a",
        "https://a b",
        "https://[::1",
        "https://[a]",
        "https://a\\b",
        "1s://a",
        "https://a, https://b",
        "https://a\u{0}",
    ] {
        assert_eq!(origin(text), None, "{text}");
    }
}

#[test]
fn a_wildcard_is_any_number_of_labels_and_not_the_host_itself() {
    for (pattern, text, expected) in [
        ("https://*.shop.example", "https://a.shop.example", true),
        ("https://*.shop.example", "https://a.b.shop.example", true),
        ("https://*.shop.example", "https://A.SHOP.example:443", true),
        ("https://*.shop.example", "https://shop.example", false),
        ("https://*.shop.example", "https://evilshop.example", false),
        ("https://*.shop.example", "https://a.shop.example.evil", false),
        ("https://*.shop.example", "http://a.shop.example", false),
        ("https://*.shop.example", "https://a.shop.example:8443", false),
        ("https://*.shop.example:8443", "https://a.shop.example:8443", true),
        ("https://shop.example", "https://shop.example.", false),
        ("*", "http://anything:1", true),
    ] {
        let origin = Origin::parse(text.as_bytes());
        let contains =
            origin.is_some_and(|origin| OriginPattern::parse(pattern).unwrap().contains(&origin));
        assert_eq!(contains, expected, "{pattern} {text}");
    }
}

#[test]
fn each_mistake_is_reported_at_its_place() {
    for (config, pointer, part) in [
        (r"{}", "/allowOrigins", "name at least one origin"),
        (r#"{"allowOrigins":["https://a","*"]}"#, "/allowOrigins/1", "stands alone"),
        (r#"{"allowOrigins":["null"]}"#, "/allowOrigins/0", "SCHEME://HOST"),
        (r#"{"allowOrigins":["https://a/"]}"#, "/allowOrigins/0", "no path"),
        (r#"{"allowOrigins":["https://*"]}"#, "/allowOrigins/0", "SCHEME"),
        (r#"{"allowOrigins":["https://*.[::1]"]}"#, "/allowOrigins/0", "SCHEME"),
        (r#"{"allowOrigins":["*"],"allowMethods":["*","GET"]}"#, "/allowMethods/0", "stands alone"),
        (r#"{"allowOrigins":["*"],"allowHeaders":["a b"]}"#, "/allowHeaders/0", "not a name"),
        (
            r#"{"allowOrigins":["*"],"allowCredentials":true,"exposeHeaders":["*"]}"#,
            "/exposeHeaders",
            "name the headers",
        ),
        (r#"{"allowOrigins":["*"],"maxAge":86401}"#, "/maxAge", "86400"),
    ] {
        let settings: CorsSettings = Config::parse(config).unwrap();
        let errors = CorsRules::check(&settings).unwrap_err();
        assert_eq!(errors[0].pointer, pointer, "{config}: {errors:?}");
        assert!(errors[0].message.contains(part), "{config}: {errors:?}");
    }
}

/// Fields of the response to a request of these origins, to which an upstream wrote these fields.
fn response(config: &str, origins: &[&str], upstream: &[(&str, &str)]) -> Vec<Edit> {
    let (mut cors, interest) = Cors::configure(Config::parse(config).unwrap()).unwrap();
    let origins = origins.iter().map(|value| ("request:origin", value.as_bytes()));
    let fields: Vec<_> =
        origins.chain(upstream.iter().map(|(name, value)| (*name, value.as_bytes()))).collect();
    let raw = packed(&interest.reads, &fields);
    match cors.on_response(View::new(&raw, &interest.reads)).verdict {
        response::Verdict::Change(edits) => edits,
        other => panic!("{other:?}"),
    }
}

fn sets(edits: &[Edit], name: &str) -> Option<String> {
    edits.iter().find_map(|edit| match edit {
        Edit::SetHeader(field) | Edit::AddHeader(field) if field.name == name => {
            Some(String::from_utf8(field.value.clone()).unwrap())
        }
        _ => None,
    })
}

#[test]
fn a_star_is_never_sent_with_credentials() {
    for config in [
        r#"{"allowOrigins":["*"],"allowCredentials":true,"allowMethods":["*"],"allowHeaders":["*"]}"#,
        r#"{"allowOrigins":["https://*.a.example"],"allowCredentials":true}"#,
    ] {
        let edits = response(config, &["https://b.a.example"], &[]);
        assert_eq!(sets(&edits, ALLOW_ORIGIN).as_deref(), Some("https://b.a.example"));
        assert_eq!(sets(&edits, ALLOW_CREDENTIALS).as_deref(), Some("true"));
        for origin in ["null", "*", "https://b.a.example, https://c"] {
            assert_eq!(sets(&response(config, &[origin], &[]), ALLOW_ORIGIN), None, "{origin}");
        }
    }
}

#[test]
fn a_response_that_depends_on_the_origin_says_so_once() {
    let config = r#"{"allowOrigins":["https://a"]}"#;
    for (upstream, expected) in [
        (&[][..], Some("origin")),
        (&[("vary", "accept")][..], Some("origin")),
        (&[("vary", "accept, Origin")][..], None),
        (&[("vary", "accept"), ("vary", "*")][..], None),
    ] {
        for origins in [&["https://a"][..], &["https://b"], &[]] {
            let edits = response(config, origins, upstream);
            assert_eq!(sets(&edits, "vary").as_deref(), expected, "{origins:?} {upstream:?}");
        }
    }
    let edits = response(r#"{"allowOrigins":["*"]}"#, &["https://a"], &[]);
    assert_eq!((sets(&edits, "vary"), sets(&edits, ALLOW_ORIGIN)), (None, Some("*".to_owned())));
}

#[test]
fn two_origins_are_none() {
    let edits = response(r#"{"allowOrigins":["https://a"]}"#, &["https://a", "https://a"], &[]);
    assert_eq!(sets(&edits, ALLOW_ORIGIN), None);
}

proptest! {
    #[test]
    fn any_octets_are_an_origin_or_none(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Some(origin) = Origin::parse(&octets) {
            prop_assert!(octets.is_ascii());
            prop_assert!(OriginPattern::Every.contains(&origin));
        }
    }

    #[test]
    fn what_is_below_a_host_ends_with_it(host in "[a-z./:@\\[\\]-]{0,24}") {
        let text = format!("https://{host}");
        let below = OriginPattern::parse("https://*.shop.example").unwrap();
        if Origin::parse(text.as_bytes()).is_some_and(|origin| below.contains(&origin)) {
            let name = text.trim_end_matches(":443");
            prop_assert!(name.ends_with(".shop.example"), "{}", text);
        }
    }
}
