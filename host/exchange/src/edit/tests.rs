//! Limits, ownership and form of the changes that filters request.

use super::*;
use crate::{Exchange, HeadBound, HeadBounds, MAX_FIELDS, MAX_HEAD_OCTETS, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

fn set(name: &str, value: &[u8]) -> Edit {
    Edit::SetHeader(FieldLine { name: name.into(), value: value.to_vec() })
}

#[test]
fn framing_pseudo_and_undeclared_headers_are_refused() {
    let any = WritableFields::everything();
    for name in ["content-length", "transfer-encoding", "host", ":path", "X-Upper", "a b", ""] {
        assert!(check(&[set(name, b"1")], &any, HeadSide::Request).is_err(), "{name}");
    }
    let few = WritableFields::new(["x-user"]);
    assert!(check(&[set("x-user", b"a")], &few, HeadSide::Request).is_ok());
    assert!(check(&[set("x-other", b"a")], &few, HeadSide::Request).is_err());
    assert!(check(&[Edit::SetPath("/a".into())], &few, HeadSide::Request).is_err());
    assert!(check(&[Edit::SetPath("/a".into())], &any, HeadSide::Response).is_err());
}

#[test]
fn no_filter_writes_another_spelling_of_a_header_of_the_host() {
    for name in ["content_length", "x_forwarded_for", "x-request_id", "keep_alive", "trans_fer"] {
        let declared = WritableFields::new([name]);
        let field = FieldLine { name: name.into(), value: b"1".to_vec() };
        for edit in [Edit::SetHeader(field.clone()), Edit::AddHeader(field)] {
            for side in [HeadSide::Request, HeadSide::Response] {
                let fine = check(std::slice::from_ref(&edit), &declared, side).is_ok();
                assert_eq!(fine, name == "trans_fer", "{edit:?}");
            }
        }
        let removed = [Edit::RemoveHeader(name.into())];
        assert!(check(&removed, &declared, HeadSide::Request).is_ok(), "{name}");
    }
}

#[test]
fn a_bad_edit_names_its_place() {
    let error = check(
        &[set("x-a", b"1"), set("x-b", b"1\r\n")],
        &WritableFields::everything(),
        HeadSide::Request,
    )
    .unwrap_err();
    assert_eq!((error.index, error.what.as_str()), (1, "x-b"));
}

#[test]
fn a_header_that_is_written_or_removed_leaves_no_other_spelling_behind() {
    let sent = ["x-user", "x_user", "x.user", "x-other"];
    for (edit, left) in [
        (set("x-user", b"me"), &["x-other", "x-user"][..]),
        (
            Edit::AddHeader(FieldLine { name: "x_user".into(), value: b"me".to_vec() }),
            &["x-other", "x_user"],
        ),
        (Edit::RemoveHeader("x-user".into()), &["x-other"]),
    ] {
        for side in [HeadSide::Request, HeadSide::Response] {
            let mut exchange = exchange(0, 0);
            for name in sent {
                let value = HeaderValue::from_static("client");
                exchange.headers.append(name, value.clone());
                exchange.response_headers.append(name, value);
            }
            let writes = WritableFields::new(["x-user"]);
            apply(std::slice::from_ref(&edit), &writes, &mut exchange, side).unwrap();
            let headers = match side {
                HeadSide::Request => &exchange.headers,
                HeadSide::Response => &exchange.response_headers,
            };
            let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, left, "{edit:?}");
        }
    }
}

#[test]
fn a_target_that_a_filter_writes_takes_its_one_form() {
    let mut exchange = exchange(0, 0);
    let edits = [Edit::SetPath("/a/../%61dmin?x".into()), Edit::SetAuthority("In.Ner.:80".into())];
    assert_eq!(check(&edits, &WritableFields::everything(), HeadSide::Request), Ok(()));
    apply(&edits, &WritableFields::everything(), &mut exchange, HeadSide::Request).unwrap();
    assert_eq!((&*exchange.path, &*exchange.authority), ("/admin?x", "in.ner"));
    for bad in ["a", "/a b", "/%zz", "/%00", "/a\\b", "/..;/a", "/..%2fa"] {
        let edit = [Edit::SetPath(bad.into())];
        assert!(check(&edit, &WritableFields::everything(), HeadSide::Request).is_err(), "{bad}");
    }
    for bad in ["me@a", "a b", "", "a..b", "a:x"] {
        let edit = [Edit::SetAuthority(bad.into())];
        assert!(check(&edit, &WritableFields::everything(), HeadSide::Request).is_err(), "{bad}");
    }
}

#[test]
fn a_status_is_one_that_has_a_body_and_a_method_one_that_ends_as_others_do() {
    let any = WritableFields::everything();
    for (edit, side, fine) in [
        (Edit::SetStatus(200), HeadSide::Response, true),
        (Edit::SetStatus(599), HeadSide::Response, true),
        (Edit::SetStatus(101), HeadSide::Response, false),
        (Edit::SetStatus(600), HeadSide::Response, false),
        (Edit::SetStatus(204), HeadSide::Response, false),
        (Edit::SetStatus(205), HeadSide::Response, false),
        (Edit::SetStatus(304), HeadSide::Response, false),
        (Edit::SetStatus(200), HeadSide::Request, false),
        (Edit::EncodeBody("br".into()), HeadSide::Response, true),
        (Edit::EncodeBody("br".into()), HeadSide::Request, false),
        (Edit::EncodeBody("BR".into()), HeadSide::Response, false),
        (Edit::EncodeBody("deflate".into()), HeadSide::Response, false),
        (Edit::EncodeBody("identity".into()), HeadSide::Response, false),
        (Edit::EncodeBody(String::new()), HeadSide::Response, false),
        (Edit::SetMethod("PUT".into()), HeadSide::Request, true),
        (Edit::SetMethod("PURGE".into()), HeadSide::Request, true),
        (Edit::SetMethod("PUT".into()), HeadSide::Response, false),
        (Edit::SetMethod("HEAD".into()), HeadSide::Request, false),
        (Edit::SetMethod("CONNECT".into()), HeadSide::Request, false),
        (Edit::SetMethod("TRACE".into()), HeadSide::Request, false),
        (Edit::SetMethod("connect".into()), HeadSide::Request, false),
        (Edit::SetMethod("Head".into()), HeadSide::Request, false),
        (Edit::SetMethod("post".into()), HeadSide::Request, false),
        (Edit::SetMethod("purge".into()), HeadSide::Request, true),
        (Edit::SetMethod("A B".into()), HeadSide::Request, false),
        (Edit::SetMethod("A\r\nB".into()), HeadSide::Request, false),
        (Edit::SetMethod(String::new()), HeadSide::Request, false),
        (Edit::SetMethod("A".repeat(33)), HeadSide::Request, false),
    ] {
        let edit = [edit];
        assert_eq!(check(&edit, &any, side).is_ok(), fine, "{edit:?}");
        for few in [WritableFields::new(["*", "@*"]), WritableFields::default()] {
            assert!(check(&edit, &few, side).is_err(), "undeclared: {edit:?}");
        }
    }
}

#[test]
fn a_request_that_ends_in_its_own_way_keeps_its_method() {
    for (method, then) in [
        (Method::GET, "PUT"),
        (Method::POST, "PUT"),
        (Method::HEAD, "HEAD"),
        (Method::CONNECT, "CONNECT"),
        (Method::TRACE, "TRACE"),
    ] {
        let mut exchange = Exchange { method, ..exchange(0, 0) };
        let edits = [Edit::SetMethod("PUT".into())];
        apply(&edits, &WritableFields::everything(), &mut exchange, HeadSide::Request).unwrap();
        assert_eq!(exchange.method.as_str(), then);
    }
}

fn exchange(fields: usize, octets: usize) -> Exchange {
    let mut headers = HeaderMap::new();
    for n in 0..fields {
        let name = HeaderName::try_from(format!("x-client-{n}")).unwrap();
        headers.append(name, HeaderValue::from_bytes(&vec![b'a'; octets]).unwrap());
    }
    Exchange {
        id: 1,
        method: Method::GET,
        scheme: Scheme::Http,
        authority: "a.example".into(),
        path: "/".into(),
        headers,
        status: None,
        response_headers: HeaderMap::new(),
        attributes: crate::Attributes::default(),
        bounds: HeadBounds::default(),
        coding: None,
    }
}

fn add(name: impl Into<String>, octets: usize) -> Edit {
    Edit::AddHeader(FieldLine { name: name.into(), value: vec![b'a'; octets] })
}

fn tried(edits: &[Edit], exchange: &mut Exchange) -> Result<(), EditError> {
    let writes = WritableFields::everything();
    check(edits, &writes, HeadSide::Request)?;
    apply(edits, &writes, exchange, HeadSide::Request)
}

#[test]
fn no_number_and_no_size_of_edits_panics_or_passes_the_bound() {
    let names = |count: usize| (0..count).map(|n| add(format!("x-{n}"), 1)).collect::<Vec<_>>();
    let attribute = |name: String, octets| Edit::SetAttribute { name, value: "a".repeat(octets) };
    for (what, edits, passes) in [
        ("as many as there may be", names(MAX_FIELDS - 1), true),
        ("one more", names(MAX_FIELDS + 1), false),
        ("25,000 names", names(25_000), false),
        ("40,000 names", names(40_000), false),
        ("40,000 of one name", vec![add("x-a", 1); 40_000], false),
        ("10 MiB in one value", vec![add("x-a", 10 << 20)], false),
        ("128 KiB in parts", (0..400).map(|n| add(format!("x-{n}"), 400)).collect(), false),
        ("a name of 363 KB", vec![add("a".repeat(363_000), 1)], false),
        ("a name of 256", vec![add("a".repeat(256), 1)], true),
        ("a name of 257", vec![add("a".repeat(257), 1)], false),
        ("a path of 10 MiB", vec![Edit::SetPath(format!("/{}", "a".repeat(10 << 20)))], false),
        ("an authority of 70 KB", vec![Edit::SetAuthority("a".repeat(70_000))], false),
        ("an attribute of 1 MiB", vec![attribute("a".into(), 1 << 20)], false),
        ("a long name of an attribute", vec![attribute("a".repeat(129), 1)], false),
        ("1,000 attributes", (0..1_000).map(|n| attribute(format!("a{n}"), 1)).collect(), false),
        ("100 attributes", (0..100).map(|n| attribute(format!("a{n}"), 1)).collect(), true),
        ("30,000 removals", vec![Edit::RemoveHeader("x-a".into()); 30_000], false),
    ] {
        let mut exchange = exchange(1, 1);
        assert_eq!(tried(&edits, &mut exchange).is_ok(), passes, "{what}");
        let (fields, octets) = head_size(&exchange.headers);
        assert!(fields <= MAX_FIELDS && octets <= MAX_HEAD_OCTETS, "{what}");
        if !passes {
            assert_eq!((fields, exchange.path.as_str()), (1, "/"), "{what}: none is applied");
        }
    }
}

#[test]
fn a_head_that_came_larger_may_change_and_not_grow() {
    let mut large = exchange(600, 300);
    assert!(tried(&[add("x-a", 1)], &mut large).is_err());
    assert!(tried(&[set("x-client-1", b"b")], &mut large).is_ok());
    let swapped = [Edit::RemoveHeader("x-client-2".into()), add("x-a", 10)];
    assert!(tried(&swapped, &mut large).is_ok());
    assert_eq!(large.headers.len(), 600);
}

#[test]
fn filters_may_add_to_the_largest_head_that_the_proxy_takes() {
    for (fields, bytes) in
        [(100, 64 << 10), (512, 128 << 10), (1_000, 64 << 10), (1_000, 1 << 20), (1, 1 << 20)]
    {
        // As HTTP/1.1 writes a field: its name and value, a colon, a blank and the end of the line.
        let value = bytes / fields - "x-client-999: \r\n".len();
        for side in [HeadSide::Request, HeadSide::Response] {
            let mut full = exchange(fields, value);
            full.response_headers = full.headers.clone();
            let bound = HeadBound::of_received(fields, bytes);
            full.bounds = HeadBounds { request: bound, response: bound };
            let writes = WritableFields::everything();
            let few: Vec<_> = (0..10).map(|n| add(format!("x-{n}"), 1_000)).collect();
            assert_eq!(apply(&few, &writes, &mut full, side), Ok(()), "{fields} {bytes} {side:?}");
            let more: Vec<_> = (0..MAX_FIELDS).map(|n| add(format!("y-{n}"), 1_000)).collect();
            assert!(apply(&more, &writes, &mut full, side).is_err(), "{fields} {bytes} {side:?}");
        }
    }
}

#[test]
fn filters_one_after_the_other_stay_within_the_bound_of_one() {
    let mut exchange = exchange(1, 1);
    let refused =
        (0..1_000).filter(|n| tried(&[add(format!("x-{n}"), 200)], &mut exchange).is_err());
    assert!(refused.count() > 400);
    let (fields, octets) = head_size(&exchange.headers);
    assert!(fields <= MAX_FIELDS && octets <= MAX_HEAD_OCTETS);
}

#[test]
fn what_the_host_says_of_peer_and_way_is_covered_by_no_star() {
    let any = WritableFields::everything();
    for name in [
        "x-forwarded-for",
        "x_forwarded_for",
        "x-forwarded_proto",
        "x-forwarded-host",
        "forwarded",
        "via",
        "x-forwarded-client-cert",
        "x-tamis-reason",
        "x_tamis_reason",
    ] {
        assert!(check(&[set(name, b"6.6.6.6")], &any, HeadSide::Request).is_err(), "{name}");
        let removal = [Edit::RemoveHeader(name.into())];
        assert!(check(&removal, &any, HeadSide::Request).is_err(), "{name}");
        let named = WritableFields::new([name]);
        let may = check(&[set(name, b"6.6.6.6")], &named, HeadSide::Request).is_ok();
        assert_eq!(may, !name.contains('_') && name != "x-tamis-reason", "{name}");
    }
    for name in ["peer.spiffe-id", "source.address", "tls.sni", "listener.name", "route.name"] {
        let edit = [Edit::SetAttribute { name: name.into(), value: "x".into() }];
        let named = WritableFields::new([format!("@{name}")]);
        assert!(check(&edit, &any, HeadSide::Request).is_err(), "{name}");
        assert!(check(&edit, &named, HeadSide::Request).is_err(), "{name}: not even by name");
    }
    let own = [Edit::SetAttribute { name: "auth.subject".into(), value: "x".into() }];
    assert!(check(&own, &any, HeadSide::Request).is_ok());
}

proptest! {
    #[test]
    fn what_passes_the_check_is_serialisable(name in "\\PC{0,12}", value in prop::collection::vec(any::<u8>(), 0..24)) {
        let edit = set(&name, &value);
        if check(std::slice::from_ref(&edit), &WritableFields::everything(), HeadSide::Request).is_ok() {
            prop_assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
            prop_assert!(!name.is_empty() && !is_framing_header(&name));
            prop_assert!(name.bytes().all(|b| !b.is_ascii_uppercase() && b > 0x20 && b != b':'));
        }
    }

    #[test]
    fn a_path_that_passes_cannot_split_a_request_line(path in "\\PC{0,16}") {
        if check(&[Edit::SetPath(path.clone())], &WritableFields::everything(), HeadSide::Request).is_ok() {
            prop_assert!(path.starts_with('/') && !path.contains([' ', '\r', '\n', '#']));
        }
    }
}

#[test]
fn trailers_change_where_they_are_declared_and_may_follow_a_body() {
    let writes =
        || WritableFields::new(["trailer:x-sum", "trailer:via", "trailer:set-cookie", "x-head"]);
    let add = |name: &str| Edit::AddHeader(FieldLine { name: name.into(), value: b"2".to_vec() });
    let remove = |name: &str| Edit::RemoveHeader(name.into());
    for (edits, writes, left) in [
        (vec![set("x-sum", b"2")], writes(), Ok("x-sum: 2, grpc-status: 0, ")),
        (vec![add("x-sum")], writes(), Ok("x-sum: 1, x-sum: 2, grpc-status: 0, ")),
        (vec![remove("x-sum")], writes(), Ok("grpc-status: 0, ")),
        (
            vec![set("grpc-status", b"7")],
            WritableFields::everything(),
            Ok("x-sum: 1, grpc-status: 7, "),
        ),
        (vec![set("grpc-status", b"7")], writes(), Err("interest.writes")),
        (vec![set("x-head", b"7")], writes(), Err("interest.writes")),
        (vec![set("via", b"7")], writes(), Err("routes")),
        (vec![set("set-cookie", b"a")], WritableFields::everything(), Err("routes")),
        (vec![set("content-length", b"1")], WritableFields::everything(), Err("routes")),
        (vec![set("X-Sum", b"1")], WritableFields::everything(), Err("lower case")),
        (vec![set("trailer:x-sum", b"1")], WritableFields::everything(), Err("lower case")),
        (vec![set("x-sum", b"1\r\n")], writes(), Err("CR")),
        (
            vec![remove("x-sum"), Edit::SetStatus(200)],
            WritableFields::everything(),
            Err("only fields"),
        ),
        (vec![set("x-sum", b"2"), set("x-no", b"2")], writes(), Err("interest.writes")),
    ] {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let before = trailers.clone();
        match (change_trailers(&edits, &writes, HeadSide::Response, &mut trailers), left) {
            (Ok(()), Ok(left)) => {
                let shown = trailers.iter().map(|(n, v)| format!("{n}: {}, ", v.to_str().unwrap()));
                assert_eq!(shown.collect::<String>(), left, "{edits:?}");
            }
            (Err(error), Err(rule)) => {
                assert!(error.rule.contains(rule), "{edits:?}: {error}");
                assert_eq!(trailers, before, "all or none");
            }
            (done, _) => panic!("{edits:?}: {done:?}"),
        }
    }
}
