//! What clients accept, media types, settings and responses.

use proptest::prelude::*;
use tamis_sdk::{Config, view::packed};

use super::*;
use accept::Coding::{self, Br, Gzip, Zstd};
use config::{CODINGS, MEDIA_TYPES};
use media::MediaPattern;

fn best(values: &[&str]) -> Option<Coding> {
    AcceptedCodings::read(values.iter().map(|value| value.as_bytes())).best(&CODINGS)
}

#[test]
fn the_coding_is_the_one_that_the_client_likes_best() {
    for (values, coding) in [
        (&[][..], None),
        (&[""], None),
        (&["gzip"], Some(Gzip)),
        (&["GZip"], Some(Gzip)),
        (&["x-gzip"], Some(Gzip)),
        (&["gzip, deflate, br, zstd"], Some(Zstd)),
        (&["gzip", "br"], Some(Br)),
        (&["gzip;q=1.0, br;q=0.8"], Some(Gzip)),
        (&["gzip ; q=0.5 , br;Q=0.501"], Some(Br)),
        (&["*"], Some(Zstd)),
        (&["*;q=0.5, gzip"], Some(Gzip)),
        (&["zstd;q=0, *"], Some(Br)),
        (&["gzip;q=0"], None),
        (&["gzip;q=0.000"], None),
        (&["*;q=0"], None),
        (&["*;q=0, gzip"], Some(Gzip)),
        (&["identity"], None),
        (&["identity;q=0, gzip"], Some(Gzip)),
        (&["identity;q=0"], None),
        (&["identity;q=0, *"], Some(Zstd)),
        (&["identity, gzip;q=0.5"], None),
        (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
        (&["gzip, gzip;q=0"], Some(Gzip)),
        (&["deflate, compress"], None),
        (&["gzip;q=2, br;q=, zstd;q=0.1234"], None),
        (&["gzip;q=1.001"], None),
        (&["gzip;level=9"], None),
        (&["gzip;q=1;x=2"], None),
        (&[";q=1, ,,br"], Some(Br)),
    ] {
        assert_eq!(best(values), coding, "{values:?}");
    }
    let accepted = AcceptedCodings::read([&b"gzip, br"[..]].into_iter());
    assert_eq!(accepted.best(&[Gzip, Br]), Some(Gzip), "the order of the operator");
}

#[test]
fn a_pattern_covers_what_it_says() {
    for (pattern, media, covers) in [
        ("text/*", "text/html", true),
        ("text/*", "text/event-stream", false),
        ("text/event-stream", "text/event-stream", true),
        ("Text/HTML", "text/html", true),
        ("text/html", "text/html2", false),
        ("text/*", "texture/x", false),
        ("*+json", "application/problem+json", true),
        ("*+json", "application/json", false),
        ("*+xml", "image/svg+xml", true),
    ] {
        let pattern = MediaPattern::parse(pattern).unwrap();
        assert_eq!(pattern.covers(media), covers, "{pattern:?} {media}");
    }
    for text in
        ["", "*", "*/*", "text", "text/", "/html", "text/h*", "*json", "*+", "a/b;c=d", "a /b"]
    {
        assert_eq!(MediaPattern::parse(text), None, "{text}");
    }
    assert!(MEDIA_TYPES.iter().all(|text| MediaPattern::parse(text).is_some()));
}

#[test]
fn each_mistake_is_reported_at_its_place() {
    for (config, pointer, part) in [
        (r#"{"codings":[]}"#, "/codings", "at least one"),
        (r#"{"codings":["br","br"]}"#, "/codings/1", "twice"),
        (r#"{"contentTypes":[]}"#, "/contentTypes", "1 to 64"),
        (r#"{"contentTypes":["text/*","*/*"]}"#, "/contentTypes/1", "*+json"),
        (r#"{"minLength":1048577}"#, "/minLength", "1048576"),
    ] {
        let settings: CompressSettings = Config::parse(config).unwrap();
        let errors = CompressRules::check(&settings).unwrap_err();
        assert_eq!(errors[0].pointer, pointer, "{config}: {errors:?}");
        assert!(errors[0].message.contains(part), "{config}: {errors:?}");
    }
}

#[test]
fn the_schema_states_the_defaults() {
    let schema = Compress::SCHEMA;
    let list = |values: &[&str]| {
        let quoted: Vec<String> = values.iter().map(|one| format!("\"{one}\"")).collect();
        format!("\"default\": [{}]", quoted.join(", "))
    };
    assert!(schema.contains(&list(&MEDIA_TYPES)));
    assert!(schema.contains(&list(&CODINGS.map(Coding::as_str))));
    assert!(schema.contains(&format!("\"default\": {}", config::MIN_LENGTH)));
}

/// The decision about a response with these fields.
fn response(status: u16, fields: &[(&str, &str)]) -> Vec<Edit> {
    let (mut compress, interest) = Compress::configure(Config::parse("{}").unwrap()).unwrap();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let mut raw = packed(&interest.reads, &fields);
    raw.status = status;
    match compress.on_response(View::new(&raw, &interest.reads)).verdict {
        response::Verdict::Change(edits) => edits,
        response::Verdict::Pass => Vec::new(),
        other @ response::Verdict::Answer(_) => panic!("{other:?}"),
    }
}

#[test]
fn a_page_of_another_site_learns_no_length_of_what_is_not_for_everybody() {
    for (cache, encodes) in [
        (&[][..], false),
        (&["max-age=60"], false),
        (&["public"], true),
        (&["max-age=60, Immutable"], true),
        (&["s-maxage=1"], true),
        (&["private, immutable"], false),
        (&["immutable", "private"], false),
        (&["public, no-store"], false),
        (&["Private=\"set-cookie\", public"], false),
        (&["s-maxage=1, private"], false),
    ] {
        let mut fields = vec![
            (ACCEPT_ENCODING, "gzip"),
            (FETCH_SITE, "cross-site"),
            ("content-type", "text/html"),
        ];
        fields.extend(cache.iter().map(|value| ("cache-control", *value)));
        let edits = response(200, &fields);
        let encoded = edits
            .iter()
            .any(|edit| matches!(edit, Edit::SetHeader(field) if field.name == ":coding"));
        assert_eq!(encoded, encodes, "{cache:?}");
    }
}

proptest! {
    #[test]
    fn any_octets_are_preferences_or_none(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
        let accepted = AcceptedCodings::read([octets.as_slice()].into_iter());
        if let Some(coding) = accepted.best(&CODINGS) {
            let text = String::from_utf8_lossy(&octets).to_ascii_lowercase();
            prop_assert!(text.contains(coding.as_str()) || text.contains('*'));
        }
    }

    #[test]
    fn what_depends_on_the_client_says_so_whether_it_is_encoded_or_not(
        accept in "(gzip|br|zstd|identity|\\*|x)?(;q=(0|1|0\\.[0-9]))?",
        site in "(cross-site|same-origin|none)?",
        status in 100_u16..600,
        kind in "(text/html|image/png|application/json; charset=utf-8)",
    ) {
        let fields = [
            (ACCEPT_ENCODING, accept.as_str()), (FETCH_SITE, &site), ("content-type", &kind),
        ];
        let edits = response(status, &fields);
        let encodes = edits.iter().any(|edit| matches!(edit, Edit::SetHeader(field) if field.name == ":coding"));
        let varies = edits.iter().any(|edit| matches!(edit, Edit::AddHeader(field) if field.name == "vary"));
        let other = response(status, &[(ACCEPT_ENCODING, "gzip"), ("content-type", &kind)]);
        prop_assert!(varies || !encodes);
        prop_assert_eq!(varies, !other.is_empty(), "as for another client");
    }
}
