use super::*;
use proptest::prelude::*;

const DEFAULT: PathRules = PathRules {
    empty_segments: EmptySegmentRule::Merge,
    escaped_slashes: AmbiguityRule::Refuse,
    parameters: AmbiguityRule::Refuse,
    escapes: Escapes::Segment,
};

#[test]
fn a_path_has_one_spelling() {
    for (from, to) in [
        ("/", "/"),
        ("/a/b?c=%zz;//..", "/a/b?c=%zz;//.."),
        // Unreserved characters and others that a segment may contain.
        ("/%61dmin", "/admin"),
        ("/%41%2d%2E%5f%7e", "/A-._~"),
        ("/users/%40me%3a%21%24%26%27%28%29%2a%2b%2c%3d", "/users/@me:!$&'()*+,="),
        // Escapes that stay, in upper case, and characters that a path must not contain unescaped.
        ("/%e2%82%ac%20%25%3b%3f%23", "/%E2%82%AC%20%25%3B%3F%23"),
        ("/\"<>[]^`{|}", "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D"),
        ("/%2561dmin", "/%2561dmin"),
        ("/path-%09-uri/a%0d%0ab", "/path-%09-uri/a%0D%0Ab"),
        ("/a%e2%80%a8b/caf%c3%a9%c2%a0", "/a%E2%80%A8b/caf%C3%A9%C2%A0"),
        // The first and last characters of each length of UTF-8, and Latin-1, which is none.
        ("/%c2%80%df%bf%e0%a0%80%ef%bf%bf", "/%C2%80%DF%BF%E0%A0%80%EF%BF%BF"),
        ("/%f0%90%80%80%f4%8f%bf%bf", "/%F0%90%80%80%F4%8F%BF%BF"),
        ("/caf%e9/%c0/%e0/%f0", "/caf%E9/%C0/%E0/%F0"),
        // Dot segments in each spelling.
        ("/a/b/c/./../../g", "/a/g"),
        ("/a/..", "/"),
        ("/..", "/"),
        ("/a/%2e%2E/b?x=/../y", "/b?x=/../y"),
        ("/a/.%2e/..", "/"),
        ("/a/.", "/a/"),
        ("/...", "/..."),
        ("/.a/..b", "/.a/..b"),
        // Empty segments.
        ("//admin", "/admin"),
        ("/a//b///c//", "/a/b/c/"),
        ("/a//../b", "/b"),
        ("//", "/"),
        ("///../..//", "/"),
    ] {
        assert_eq!(normal_path(from, DEFAULT).as_deref(), Ok(to), "{from}");
    }
}

#[test]
fn a_path_with_two_readings_is_refused() {
    use TargetError as E;
    for (path, error) in [
        ("", E::Octets),
        ("a", E::Octets),
        ("*", E::Octets),
        ("/a b", E::Octets),
        ("/a\tb", E::Octets),
        ("/a#b", E::Octets),
        ("/é", E::Octets),
        ("/a?é", E::Octets),
        ("/a?<b>", E::Octets),
        ("/a?\"", E::Octets),
        ("/%", E::Escape),
        ("/%4", E::Escape),
        ("/%zz", E::Escape),
        ("/%%41", E::Escape),
        ("/%u0061", E::Escape),
        ("/%+1", E::Escape),
        ("/%00", E::Control),
        ("/a%00b", E::Control),
        ("/admin%0a", E::Control),
        ("/admin%0D%0A/b", E::Control),
        ("/%09admin", E::Control),
        ("/%7f", E::Control),
        ("/a/%1f/b", E::Control),
        ("/admin%e2%80%a8", E::Control),
        ("/admin%E2%80%A9/b", E::Control),
        ("/%E2%80%A8admin", E::Control),
        ("/admin%c2%85", E::Control),
        ("/a/%C2%85/b", E::Control),
        ("/%c0%ae%c0%ae/", E::Overlong),
        ("/%c1%9c", E::Overlong),
        ("/%e0%80%ae%e0%80%ae/", E::Overlong),
        ("/%E0%9F%BF", E::Overlong),
        ("/%f0%80%80%af", E::Overlong),
        ("/%F0%8f%bf%bf", E::Overlong),
        ("/%f8%80%80%80%ae", E::Overlong),
        ("/%fc%80%80%80%80%ae", E::Overlong),
        ("/a\\b", E::Backslash),
        ("/a%2fb", E::EscapedSlash),
        ("/a%5Cb", E::EscapedSlash),
        ("/a;b", E::Parameters),
        ("/..;/admin", E::Parameters),
    ] {
        assert_eq!(normal_path(path, DEFAULT), Err(error), "{path}");
    }
}

#[test]
fn a_setting_lets_pass_what_one_kind_of_upstream_needs_and_no_disguise() {
    let slashes = PathRules { escaped_slashes: AmbiguityRule::Keep, ..DEFAULT };
    assert_eq!(normal_path("/@a%2fb", slashes).as_deref(), Ok("/@a%2Fb"));
    assert_eq!(normal_path("/a%5cb", slashes).as_deref(), Ok("/a%5Cb"));
    for path in ["/..%2fadmin", "/a/%2e%2e%5cb", "/b%2f..", "/%2f./a", "/x%2f%2e%2e%2fy"] {
        assert_eq!(normal_path(path, slashes), Err(TargetError::DotSegment), "{path}");
    }
    let parameters = PathRules { parameters: AmbiguityRule::Keep, ..DEFAULT };
    assert_eq!(normal_path("/a;v=1/b", parameters).as_deref(), Ok("/a;v=1/b"));
    assert_eq!(normal_path("/a%3bb", parameters).as_deref(), Ok("/a%3Bb"));
    for path in ["/..;/admin", "/a/.;x", "/%2e%2e;a=b/c"] {
        assert_eq!(normal_path(path, parameters), Err(TargetError::DotSegment), "{path}");
    }
    let keep = PathRules { empty_segments: EmptySegmentRule::Keep, ..DEFAULT };
    assert_eq!(normal_path("/a//b//", keep).as_deref(), Ok("/a//b//"));
    let refuse = PathRules { empty_segments: EmptySegmentRule::Refuse, ..DEFAULT };
    assert_eq!(normal_path("/a//b", refuse), Err(TargetError::EmptySegment));
    assert_eq!(normal_path("/a/", refuse).as_deref(), Ok("/a/"));
    let unreserved = PathRules { escapes: Escapes::Unreserved, ..DEFAULT };
    assert_eq!(normal_path("/%61+%2b", unreserved).as_deref(), Ok("/a+%2B"));
}

#[test]
fn an_authority_has_one_spelling() {
    for (from, scheme, to) in [
        ("a.example", Scheme::Http, "a.example"),
        ("A.Example", Scheme::Http, "a.example"),
        ("a.example.", Scheme::Http, "a.example"),
        ("a.example:", Scheme::Http, "a.example"),
        ("a.example:80", Scheme::Http, "a.example"),
        ("a.example.:80", Scheme::Http, "a.example"),
        ("a.example:0080", Scheme::Http, "a.example"),
        ("a.example:443", Scheme::Http, "a.example:443"),
        ("a.example:443", Scheme::Https, "a.example"),
        ("a.example.:8443", Scheme::Https, "a.example:8443"),
        ("a.example:08443", Scheme::Https, "a.example:8443"),
        ("a_b", Scheme::Http, "a_b"),
        ("[::1]", Scheme::Http, "[::1]"),
        ("[0:0::1]:80", Scheme::Http, "[::1]"),
        ("[2001:DB8::1]:81", Scheme::Http, "[2001:db8::1]:81"),
    ] {
        assert_eq!(normal_authority(from, scheme).as_deref(), Ok(to), "{from}");
    }
}

#[test]
fn what_is_no_authority_is_refused() {
    let long = "a".repeat(256);
    for authority in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a..",
        "me@a",
        "a@b:80",
        "a b",
        "a/b",
        "a:x",
        "a:+80",
        "a:65536",
        "a:80:80",
        "a%2eb",
        "é",
        "[::1",
        "[nine]",
        "[::1]x",
        "[fe80::1%25eth0]",
        "::1",
        ":80",
        &long,
    ] {
        let normal = normal_authority(authority, Scheme::Http);
        assert_eq!(normal, Err(TargetError::Authority), "{authority}");
    }
}

/// Reads a path as nginx does (`ngx_http_parse_complex_uri`, `merge_slashes on`): decoded, slashes merged,
/// dot segments removed.
fn decoded(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut octets = path.split('?').next().unwrap().bytes();
    while let Some(octet) = octets.next() {
        let digits = (octet == b'%').then(|| [octets.next().unwrap(), octets.next().unwrap()]);
        out.push(digits.map_or(octet, |digits| {
            u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
        }));
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    let parts: Vec<&[u8]> = out.split(|octet| *octet == b'/').skip(1).collect();
    for (at, part) in parts.iter().enumerate() {
        let last = at + 1 == parts.len();
        match *part {
            b"" if !last => continue,
            b"." => {}
            b".." => drop(kept.pop()),
            part => {
                kept.push(part);
                continue;
            }
        }
        if last {
            kept.push(b"");
        }
    }
    let mut joined: Vec<u8> = kept.iter().flat_map(|part| [b"/", *part].concat()).collect();
    if joined.is_empty() {
        joined.push(b'/');
    }
    joined
}

#[test]
fn a_path_that_no_request_carries_is_refused_before_anything_matches_it() {
    // Octet, how many of it are sent, and how many each of them has in the one form.
    for (octet, sent, each) in [("a", 65_533, 1), ("{", 21_844, 3), ("%7b", 21_844, 3)] {
        let path = |count: usize| format!("/{}", octet.repeat(count));
        let longest = path(sent);
        let normal = normal_path(&longest, PathRules::KEEP).unwrap();
        assert_eq!(normal.len(), 1 + sent * each, "{octet}");
        assert!(http::uri::PathAndQuery::try_from(&*normal).is_ok(), "{octet}");
        let longer = path(sent + 1);
        assert_eq!(normal_path(&longer, PathRules::KEEP), Err(TargetError::TooLong), "{octet}");
    }
    let query = format!("/?{}", "a".repeat(65_533));
    assert_eq!(normal_path(&query, DEFAULT), Err(TargetError::TooLong));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn a_normal_path_stays_as_it_is_under_every_rule(path in "/([a./%;+@{]|%2[05eEfFbB]|%41|%7[bB]|\\.\\.){0,12}(\\?[a/.%]{0,4})?") {
        for escaped_slashes in [AmbiguityRule::Refuse, AmbiguityRule::Keep] {
            for empty_segments in [EmptySegmentRule::Merge, EmptySegmentRule::Keep, EmptySegmentRule::Refuse] {
                for escapes in [Escapes::Segment, Escapes::Unreserved] {
                    for parameters in [AmbiguityRule::Refuse, AmbiguityRule::Keep] {
                        let rules = PathRules { empty_segments, escaped_slashes, parameters, escapes };
                        let Ok(once) = normal_path(&path, rules) else { continue };
                        let again = normal_path(&once, rules);
                        prop_assert_eq!(again.as_deref(), Ok(&*once));
                        prop_assert!(http::uri::PathAndQuery::try_from(&*once).is_ok());
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_matched_is_what_a_server_that_decodes_reads(path in "/([a./]|%2[0eE]|%41|@|%40|%7[bB]|\\.\\.){0,12}") {
        let normal = normal_path(&path, DEFAULT).unwrap();
        prop_assert_eq!(decoded(&normal), decoded(&path));
        // Paths that nginx reads as the same also match the same.
        let respelled: String =
            decoded(&path).iter().map(|o| if *o == b'/' { "/".into() } else { format!("%{o:02x}") }).collect();
        let respelled = normal_path(&respelled, DEFAULT).unwrap();
        prop_assert_eq!(respelled, normal);
    }

    #[test]
    fn a_normal_authority_stays_as_it_is(authority in "[aA.:0-9\\[\\]@_-]{0,12}") {
        for scheme in [Scheme::Http, Scheme::Https] {
            let Ok(once) = normal_authority(&authority, scheme) else { continue };
            let again = normal_authority(&once, scheme);
            prop_assert_eq!(again.as_deref(), Ok(&*once));
            prop_assert!(http::uri::Authority::try_from(&*once).is_ok());
        }
    }
}
