//! Callbacks and logins that nobody began, of others, or twice; addresses that lead elsewhere.

use proptest::prelude::*;

use super::*;
use crate::browser;
use crate::login::return_path;

#[test]
fn a_callback_without_its_login_is_refused_and_the_provider_is_not_asked() {
    let mut scene = scene();
    let (first, back) = scene.begun("/");
    let (second, _) = scene.begun("/");
    let [one, two] = [&first, &second].map(|sent| parameter(&sent.location, "state"));
    let [mine, other] = [&first, &second].map(|sent| cookie(&sent.cookies));
    let (id, secret) = one.split_once('.').unwrap();
    let (_, other_secret) = two.split_once('.').unwrap();
    let session = scene.log_in(&json!({}));
    let sealed = session.split_once('=').unwrap().1.trim_start_matches("1.");
    scene.host.posts.take();
    let back_with =
        |query: &str, cookie: &str| asked(&format!("/back?{query}")).with("cookie", cookie);
    for (what, asked, reason) in [
        ("no cookie", back.clone().without("cookie"), "oidc.login-unknown"),
        (
            "cookie of another login",
            back_with(&format!("code=a&state={one}"), &other),
            "oidc.login-unknown",
        ),
        (
            "state of another login",
            back_with(&format!("code=a&state={two}"), &mine),
            "oidc.login-unknown",
        ),
        (
            "secret of another",
            back_with(&format!("code=a&state={id}.{other_secret}"), &mine),
            "oidc.login-unknown",
        ),
        ("shorter", back_with(&format!("code=a&state={id}."), &mine), "oidc.login-unknown"),
        ("longer", back_with(&format!("code=a&state={one}A"), &mine), "oidc.login-unknown"),
        ("without id", back_with(&format!("code=a&state={secret}"), &mine), "oidc.login-unknown"),
        (
            "odd id",
            back_with(&format!("code=a&state=abcdefg%3D.{secret}"), &mine),
            "oidc.login-unknown",
        ),
        (
            "a session as a login",
            back_with(&format!("code=a&state={one}"), &format!("__Host-oidc-login-{id}={sealed}")),
            "oidc.login-unknown",
        ),
        (
            "the cookie twice",
            back_with(&format!("code=a&state={one}"), &format!("{mine}; {mine}")),
            "oidc.login-unknown",
        ),
        (
            "at another host",
            back.clone().without(":authority").with(":authority", "evil.example"),
            "oidc.wrong-host",
        ),
        ("no state", back_with("code=a", &mine), "oidc.callback-malformed"),
        (
            "state twice",
            back_with(&format!("code=a&state={one}&state={one}"), &mine),
            "oidc.callback-malformed",
        ),
        (
            "code twice",
            back_with(&format!("code=a&code=b&state={one}"), &mine),
            "oidc.callback-malformed",
        ),
        (
            "neither code nor error",
            back_with(&format!("state={one}"), &mine),
            "oidc.callback-malformed",
        ),
        (
            "both",
            back_with(&format!("code=a&error=b&state={one}"), &mine),
            "oidc.callback-malformed",
        ),
        (
            "an empty code",
            back_with(&format!("code=&state={one}"), &mine),
            "oidc.callback-malformed",
        ),
        (
            "a long code",
            back_with(&format!("code={}&state={one}", "a".repeat(4097)), &mine),
            "oidc.callback-malformed",
        ),
        ("nothing", back_with("", &mine), "oidc.callback-malformed"),
        ("another method", back.clone().by(Method::Post), "oidc.callback-malformed"),
        (
            "another issuer",
            back_with(&format!("code=a&state={one}&iss=https%3A%2F%2Fevil.example"), &mine),
            "oidc.callback-issuer",
        ),
        (
            "an issuer with a slash",
            back_with(&format!("code=a&state={one}&iss=https%3A%2F%2Fidp.example%2F"), &mine),
            "oidc.callback-issuer",
        ),
    ] {
        let seen = scene.answer(&asked);
        assert_eq!(seen.reason, reason, "{what}");
        assert!(seen.location.is_empty() && seen.status >= 400, "{what}: {seen:?}");
        assert!(scene.host.posts.borrow().is_empty(), "{what}");
    }
}

#[test]
fn a_login_is_used_once_and_for_ten_minutes() {
    let mut scene = scene();
    let (sent, back) = scene.begun("/");
    scene.answers(&scene.claims(&parameter(&sent.location, "nonce")), &json!({}));
    assert_eq!(scene.answer(&back).reason, "oidc.logged-in");
    // The same request again, and with another code; a browser without a session does not get one.
    for path in ["code=abc", "code=other"] {
        let state = parameter(&sent.location, "state");
        let again =
            asked(&format!("/back?{path}&state={state}")).with("cookie", cookie(&sent.cookies));
        let seen = scene.answer(&again);
        assert_eq!(seen.reason, "oidc.callback-replayed");
        assert!(seen.cookies.iter().all(|line| line.contains("=; Max-Age=0;")), "{seen:?}");
    }
    assert_eq!(scene.host.posts.borrow().len(), 1);
    // With one, going back in the history leads to the site.
    let state = parameter(&sent.location, "state");
    let session = scene.log_in(&json!({}));
    let again = asked(&format!("/back?code=abc&state={state}")).with("cookie", session);
    let seen = scene.answer(&again);
    assert_eq!((seen.status, seen.location.as_str()), (303, "https://shop.example/"));
    assert!(seen.cookies.is_empty(), "{seen:?}");

    for (age_s, reason) in [(600, "oidc.logged-in"), (601, "oidc.login-unknown")] {
        let (sent, back) = scene.begun("/");
        scene.wait_s(age_s);
        scene.answers(&scene.claims(&parameter(&sent.location, "nonce")), &json!({}));
        assert_eq!(scene.answer(&back).reason, reason, "{age_s}");
    }
}

#[test]
fn whoever_has_no_account_leaves_nothing_in_the_store() {
    let refuses = |scene: &Scene| {
        *scene.host.answer.borrow_mut() = Ok((400, json!({ "error": "invalid_grant" })));
    };
    let fails = |scene: &Scene| *scene.host.answer.borrow_mut() = Err("no connection".into());
    type Case<'a> = (&'a str, &'a str, &'a dyn Fn(&Scene), &'a str);
    let cases: [Case<'_>; 4] = [
        ("the person refuses", "error=access_denied", &refuses, "oidc.provider-refused"),
        (
            "another issuer",
            "code=a&iss=https%3A%2F%2Fevil.example",
            &refuses,
            "oidc.callback-issuer",
        ),
        ("an invented code", "code=a", &refuses, "oidc.code-refused"),
        ("nobody answers", "code=a", &fails, "oidc.provider-unavailable"),
    ];
    for (what, query, provider, reason) in cases {
        let mut scene = scene();
        provider(&scene);
        let before = scene.host.stored.borrow().len();
        for _ in 0..20 {
            let (sent, _) = scene.begun("/");
            let path = format!("/back?{query}&state={}", parameter(&sent.location, "state"));
            let seen = scene.answer(&asked(&path).with("cookie", cookie(&sent.cookies)));
            assert_eq!(seen.reason, reason, "{what}");
        }
        assert_eq!(scene.host.stored.borrow().len(), before, "{what}");
    }
}

#[test]
fn a_provider_that_names_itself_must_do_so() {
    for (in_metadata, iss, reason) in [
        (true, None, "oidc.callback-issuer"),
        (true, Some(ISSUER), "oidc.logged-in"),
        (false, None, "oidc.logged-in"),
        (false, Some(ISSUER), "oidc.logged-in"),
        (false, Some("https://idp.example.evil"), "oidc.callback-issuer"),
    ] {
        let mut scene = scene();
        let mut changed = metadata();
        changed["authorization_response_iss_parameter_supported"] = in_metadata.into();
        let place = format!("{ISSUER}/.well-known/openid-configuration");
        scene.host.served.borrow_mut().insert(place, changed);
        scene.wait_s(300);
        scene.tick();
        let (sent, _) = scene.begun("/");
        scene.answers(&scene.claims(&parameter(&sent.location, "nonce")), &json!({}));
        let iss = iss.map(|iss| format!("&iss={iss}")).unwrap_or_default();
        let path = format!("/back?code=a&state={}{iss}", parameter(&sent.location, "state"));
        let back = asked(&path).with("cookie", cookie(&sent.cookies));
        assert_eq!(scene.answer(&back).reason, reason, "{in_metadata} {iss}");
    }
}

#[test]
fn a_login_returns_to_a_page_of_this_site_or_to_its_root() {
    let rules = rules(&settings());
    let long = format!("/{}", "a".repeat(1024));
    for (path, to) in [
        ("/a?b=c", "/a?b=c"),
        ("/%2F%2Fevil.example", "/%2F%2Fevil.example"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\\b", "/"),
        ("\\\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nset-cookie: a=b", "/"),
        ("/\tevil.example", "/"),
        ("/\u{e4}", "/"),
        ("/a b", "/"),
        ("", "/"),
        ("*", "/"),
        (&long, "/"),
        // It would begin again without an end, or end at once.
        ("/back?code=a", "/"),
        ("/logout", "/"),
    ] {
        assert_eq!(return_path(&rules, path), to, "{path}");
    }
    let mut scene = scene();
    let (sent, back) = scene.begun("//evil.example/a");
    scene.answers(&scene.claims(&parameter(&sent.location, "nonce")), &json!({}));
    assert_eq!(scene.answer(&back).location, "https://shop.example/");
}

#[test]
fn only_a_page_that_a_person_opens_leads_to_the_login() {
    let plain = || asked("/a");
    for (what, asked, reason) in [
        ("a page", plain(), "oidc.login"),
        ("a page, by Fetch Metadata", plain().with("sec-fetch-mode", "navigate"), "oidc.login"),
        (
            "a page of a browser that accepts all",
            plain().without("accept").with("accept", "*/*").with("sec-fetch-mode", "navigate"),
            "oidc.login",
        ),
        ("a script", plain().with("sec-fetch-mode", "cors"), "oidc.no-session"),
        ("an image", plain().with("sec-fetch-mode", "no-cors"), "oidc.no-session"),
        (
            "both",
            plain().with("sec-fetch-mode", "navigate").with("sec-fetch-mode", "cors"),
            "oidc.no-session",
        ),
        (
            "an API client",
            plain().without("accept").with("accept", "application/json"),
            "oidc.no-session",
        ),
        ("a client without wishes", plain().without("accept"), "oidc.no-session"),
        (
            "a client that accepts all",
            plain().without("accept").with("accept", "*/*"),
            "oidc.no-session",
        ),
        (
            "a name that begins alike",
            plain().without("accept").with("accept", "text/html5"),
            "oidc.no-session",
        ),
        ("an older script", plain().with("x-requested-with", "XMLHttpRequest"), "oidc.no-session"),
        ("a WebSocket", plain().with("sec-websocket-key", "a"), "oidc.no-session"),
        ("a form", plain().by(Method::Post), "oidc.no-session"),
        ("a preflight", plain().by(Method::Options), "oidc.no-session"),
        (
            "another host",
            plain().without(":authority").with(":authority", "evil.example"),
            "oidc.wrong-host",
        ),
        (
            "another port",
            plain().without(":authority").with(":authority", "shop.example:8443"),
            "oidc.wrong-host",
        ),
        (
            "the usual port",
            plain().without(":authority").with(":authority", "Shop.Example:443"),
            "oidc.login",
        ),
    ] {
        let mut scene = scene();
        let seen = scene.answer(&asked);
        assert_eq!(seen.reason, reason, "{what}");
        assert_eq!(!seen.location.is_empty(), reason == "oidc.login", "{what}");
        assert_eq!(!seen.cookies.is_empty(), reason == "oidc.login", "{what}");
    }
}

#[test]
fn a_session_opens_only_where_the_same_endpoints_vouch_for_the_issuer() {
    let of = |endpoints: &[&str; 3]| {
        let [authorization, token, jwks] =
            endpoints.map(|path| format!("https://idp.example/{path}"));
        let mut settings = settings();
        settings["endpoints"] =
            json!({ "authorization": authorization, "token": token, "jwks": jwks });
        settings
    };
    let mut sites = vec![settings()];
    sites.extend([["a", "t", "keys"], ["b", "t", "keys"], ["a", "u", "keys"]].iter().map(of));
    for (at, own) in sites.iter().enumerate() {
        let mut scene = scene_of(own);
        let session = scene.log_in(&json!({}));
        let page = asked("/").with("cookie", &session);
        scene.pass(&page);
        for (_, other) in sites.iter().enumerate().filter(|(other, _)| *other != at) {
            assert_eq!(scene_of(other).reason(&page), "oidc.login", "{own} {other}");
        }
    }
}

#[test]
fn only_a_page_of_this_site_logs_out() {
    let site = "https://shop.example";
    let plain = || asked("/logout").by(Method::Post);
    for (what, asked, passes) in [
        ("a form", plain().with("origin", site), true),
        (
            "a form, by Fetch Metadata",
            plain().with("origin", site).with("sec-fetch-site", "same-origin"),
            true,
        ),
        ("a link", asked("/logout").with("sec-fetch-site", "same-origin"), true),
        ("a link of another site", asked("/logout").with("sec-fetch-site", "cross-site"), false),
        ("a link of another host", asked("/logout").with("sec-fetch-site", "same-site"), false),
        ("a typed address", asked("/logout").with("sec-fetch-site", "none"), false),
        ("an image", asked("/logout"), false),
        ("a form of another site", plain().with("origin", "https://evil.example"), false),
        ("a form without a site", plain().with("origin", "null"), false),
        ("a longer host", plain().with("origin", "https://shop.example.evil"), false),
        ("clear text", plain().with("origin", "http://shop.example"), false),
        ("two origins", plain().with("origin", site).with("origin", "https://evil.example"), false),
        (
            "a contradiction",
            plain().with("origin", site).with("sec-fetch-site", "cross-site"),
            false,
        ),
        ("nothing said", plain(), false),
        ("another method", asked("/logout").by(Method::Put).with("origin", site), false),
    ] {
        let mut scene = scene();
        let session = scene.log_in(&json!({}));
        let seen = scene.answer(&asked.with("cookie", &session));
        assert_eq!(seen.reason == "oidc.logout", passes, "{what}: {seen:?}");
        let still = scene.reason(&super::asked("/").with("cookie", &session));
        assert_eq!(still == "passes", !passes, "{what}");
    }
}

#[test]
fn logins_that_nobody_finishes_do_not_fill_the_requests_of_a_browser() {
    let mut scene = scene();
    let mut kept: Vec<String> = Vec::new();
    for round in 0..20 {
        let sent = scene.answer(&asked("/").with("cookie", kept.join("; ")));
        for line in &sent.cookies {
            let pair = line.split(';').next().unwrap();
            let name = pair.split('=').next().unwrap();
            kept.retain(|pair| !pair.starts_with(name));
            if !line.contains("Max-Age=0;") {
                kept.push(pair.to_owned());
            }
        }
        assert!(kept.len() <= 5, "{round}: {}", kept.len());
        let last = parameter(&sent.location, "state");
        assert!(kept.iter().any(|pair| pair.contains(last.split('.').next().unwrap())));
    }
}

proptest! {
    #[test]
    fn no_octets_are_a_panic_and_none_are_a_session(
        cookie in proptest::collection::vec(any::<u8>(), 0..200),
        path in "/[ -~]{0,60}",
        own in any::<bool>(),
    ) {
        let mut scene = scene();
        let mut field = if own { b"__Host-oidc=1.".to_vec() } else { Vec::new() };
        field.extend(&cookie);
        for path in [path.clone(), format!("/back?{path}"), format!("/back?code=a&state={path}")] {
            let reason = scene.reason(&asked(&path).with("cookie", &field));
            prop_assert_ne!(reason, "passes");
        }
        let fields = [("accept", cookie.as_slice()), ("origin", &cookie), ("sec-fetch-site", &cookie)];
        let raw = packed(&scene.reads, &fields);
        let seen = View::new(&raw, &scene.reads);
        let _ = browser::navigates(seen);
        prop_assert!(!browser::is_same_origin(seen, "https://shop.example"));
    }
}
