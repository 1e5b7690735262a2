//! Sessions that go on, end at the provider, or end here.

use super::*;
use crate::host::KeyWriteResult;

/// Tokens that live for five minutes.
fn renewable() -> Value {
    json!({ "refresh_token": "first", "expires_in": 300 })
}

fn with(session: &str) -> Asked {
    asked("/").with("cookie", session).with("sec-fetch-mode", "cors")
}

#[test]
fn a_session_is_confirmed_before_its_tokens_end_by_one_request() {
    let mut scene = scene();
    let old = scene.log_in(&renewable());
    scene.host.posts.take();
    scene.wait_s(239);
    assert_eq!(scene.pass(&with(&old)).1, Vec::<String>::new());
    assert!(scene.host.posts.borrow().is_empty(), "nothing is due");

    scene.wait_s(1);
    let mut claims = scene.claims("unused");
    claims.as_object_mut().unwrap().remove("nonce");
    claims["email"] = "new@shop.example".into();
    scene.answers(&claims, &json!({ "refresh_token": "second", "expires_in": 300 }));
    let (edits, lines) = scene.pass(&with(&old));
    let new = cookie(&lines);
    assert!(lines[0].contains("; Max-Age=28560; "), "the end stays where it was: {lines:?}");
    assert!(format!("{edits:?}").contains("new@shop.example"), "{edits:?}");
    let posts = scene.host.posts.take();
    assert_eq!(posts[0].form, "grant_type=refresh_token&refresh_token=first&client_id=shop");

    // Further requests with the cookie of before receive the same session, and nobody asks.
    let (edits, lines) = scene.pass(&with(&old));
    assert!(format!("{edits:?}").contains("new@shop.example"));
    assert!(lines[0].starts_with("__Host-oidc=1."));
    assert_eq!(scene.pass(&with(&new)).1, Vec::<String>::new());
    assert!(scene.host.posts.borrow().is_empty());

    scene.wait_s(240);
    scene.answers(&claims, &json!({ "expires_in": 300, "id_token": null }));
    let (_, lines) = scene.pass(&with(&new));
    let posts = scene.host.posts.take();
    assert!(posts[0].form.contains("refresh_token=second"), "{posts:?}");
    // Without another refresh token the one before stays; without an ID token the claims do.
    scene.wait_s(240);
    let (edits, _) = scene.pass(&with(&cookie(&lines)));
    assert!(format!("{edits:?}").contains("new@shop.example"));
    assert!(scene.host.posts.take()[0].form.contains("refresh_token=second"));
}

#[test]
fn a_request_while_another_renews_passes_as_long_as_the_tokens_hold() {
    for (waited_s, status, reason) in
        [(240, 0, "passes"), (299, 0, "passes"), (300, 503, "oidc.renewing")]
    {
        let mut scene = scene();
        let session = scene.log_in(&renewable());
        scene.host.posts.take();
        scene.wait_s(waited_s);
        // The other one took the turn and waits.
        let turn: Vec<String> = {
            *scene.host.answer.borrow_mut() = Err("slow".to_owned());
            let _ = scene.decide(&with(&session));
            scene
                .host
                .stored
                .borrow()
                .keys()
                .filter(|key| key.starts_with("turn:"))
                .cloned()
                .collect()
        };
        assert_eq!((turn.len(), scene.host.posts.take().len()), (1, 1));
        assert_eq!(scene.reason(&with(&session)), reason, "{waited_s}");
        assert!(scene.host.posts.borrow().is_empty(), "{waited_s}: nobody else asks");
        if status != 0 {
            let page = asked("/").with("cookie", &session);
            let decided = scene.decide(&page);
            assert!(format!("{decided:?}").contains("refresh"), "a page loads again by itself");
        }
    }
}

#[test]
fn what_the_provider_says_about_a_session_counts() {
    let other = |scene: &Scene| {
        let mut claims = scene.claims("unused");
        claims.as_object_mut().unwrap().remove("nonce");
        claims["sub"] = "mallory".into();
        scene.answers(&claims, &json!({}));
    };
    let nonce = |scene: &Scene| scene.answers(&scene.claims("another"), &json!({}));
    let says = |status: u16, error: &'static str| {
        move |scene: &Scene| {
            *scene.host.answer.borrow_mut() = Ok((status, json!({ "error": error })));
        }
    };
    let silent = |scene: &Scene| *scene.host.answer.borrow_mut() = Err("no connection".into());
    type Case<'a> = (&'a str, &'a dyn Fn(&Scene), &'a str, &'a str);
    let cases: [Case<'_>; 6] = [
        ("it refuses", &says(400, "invalid_grant"), "oidc.session-ended", "oidc.session-ended"),
        ("another person", &other, "oidc.session-ended", "oidc.session-ended"),
        ("another login", &nonce, "oidc.session-ended", "oidc.session-ended"),
        (
            "it knows the client no more",
            &says(401, "invalid_client"),
            "passes",
            "oidc.provider-unavailable",
        ),
        ("it fails", &says(500, "server_error"), "passes", "oidc.provider-unavailable"),
        ("it is silent", &silent, "passes", "oidc.provider-unavailable"),
    ];
    for (what, provider, early, late) in cases {
        let mut scene = scene();
        let session = scene.log_in(&renewable());
        scene.wait_s(240);
        provider(&scene);
        assert_eq!(scene.reason(&with(&session)), early, "{what}");
        scene.wait_s(70);
        assert_eq!(scene.reason(&with(&session)), late, "{what}");
        assert!(!scene.host.lines.borrow().join(" ").contains("first"), "a line quotes the token");
    }
}

#[test]
fn a_provider_in_trouble_is_asked_once_in_a_while_and_not_by_each_request() {
    let mut scene = scene();
    let session = scene.log_in(&renewable());
    scene.host.posts.take();
    *scene.host.answer.borrow_mut() = Err("no connection".to_owned());
    scene.wait_s(240);
    for _ in 0..50 {
        assert_eq!(scene.reason(&with(&session)), "passes");
    }
    assert_eq!(scene.host.posts.take().len(), 1);
    scene.wait_s(10);
    assert_eq!(scene.reason(&with(&session)), "passes");
    assert_eq!(scene.host.posts.take().len(), 1);
    // Tokens that end at once do not make every request ask.
    let mut scene = super::scene();
    let session = scene.log_in(&json!({ "refresh_token": "first", "expires_in": 0 }));
    scene.host.posts.take();
    for _ in 0..50 {
        assert_eq!(scene.reason(&with(&session)), "passes");
    }
    assert!(scene.host.posts.borrow().is_empty());
}

#[test]
fn a_logout_ends_the_session_here_for_each_copy_and_at_the_provider() {
    let mut scene = scene();
    let session = scene.log_in(&json!({}));
    let other = scene.log_in(&json!({}));
    let form = asked("/logout").by(Method::Post).with("origin", "https://shop.example");
    let seen = scene.answer(&form.clone().with("cookie", &session));
    assert_eq!((seen.status, seen.reason.as_str()), (303, "oidc.logout"));
    assert!(seen.location.starts_with("https://idp.example/logout?a=b&client_id=shop&"));
    assert_eq!(parameter(&seen.location, "post_logout_redirect_uri"), "https://shop.example/bye");
    assert_eq!(parameter(&seen.location, "id_token_hint").split('.').count(), 3);
    assert_eq!(seen.cookies, ["__Host-oidc=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax"]);
    assert_eq!(scene.reason(&with(&session)), "oidc.session-ended");
    assert_eq!(scene.reason(&with(&other)), "passes");
    scene.wait_s(7 * 3600);
    assert_eq!(scene.reason(&with(&session)), "oidc.session-ended");
    // Without a session there is nothing to end at the provider.
    let seen = scene.answer(&form.clone());
    assert_eq!((seen.location.as_str(), seen.cookies.len()), ("https://shop.example/bye", 0));
}

#[test]
fn a_logout_while_the_provider_is_asked_counts_whatever_it_answers() {
    type Answer = fn(&Scene);
    fn renewed(scene: &Scene) {
        let mut claims = scene.claims("unused");
        claims.as_object_mut().unwrap().remove("nonce");
        scene.answers(&claims, &json!({ "refresh_token": "next", "expires_in": 300 }));
    }
    fn without_token(scene: &Scene) {
        scene.answers(&scene.claims("unused"), &json!({ "expires_in": 300, "id_token": null }));
    }
    fn refused(scene: &Scene) {
        *scene.host.answer.borrow_mut() = Ok((400, json!({ "error": "invalid_grant" })));
    }
    fn silent(scene: &Scene) {
        *scene.host.answer.borrow_mut() = Err("no connection".to_owned());
    }
    let answers: [(&str, Answer); 4] = [
        ("renewed", renewed),
        ("renewed, without an ID token", without_token),
        ("refused", refused),
        ("no answer", silent),
    ];
    for (what, answer) in answers {
        // The store knows nothing of the session yet, or an earlier renewal of it; and has room for the end alone, or more.
        for (renewals, room) in [(0, true), (1, true), (0, false), (1, false)] {
            let case = format!("{what}, after {renewals} renewals, room: {room}");
            let mut scene = scene();
            let mut session = scene.log_in(&renewable());
            scene.wait_s(240);
            for _ in 0..renewals {
                // These tokens are due again while the store still has what they renewed.
                let more = json!({ "id_token": null, "refresh_token": "next", "expires_in": 120 });
                scene.answers(&scene.claims("unused"), &more);
                session = cookie(&scene.pass(&with(&session)).1);
                scene.wait_s(110);
            }
            answer(&scene);
            if !room {
                // The turn and the end.
                scene.host.entries.set(scene.host.stored.borrow().len() + 2);
            }
            let form = asked("/logout").by(Method::Post).with("origin", "https://shop.example");
            let form = form.with("cookie", &session);
            let mut worker = scene.worker();
            *scene.host.meanwhile.borrow_mut() = Some(Box::new(move |host| {
                assert_eq!(worker(host, &form).decision.reason.as_deref(), Some("oidc.logout"));
            }));
            let decided = scene.decide(&with(&session));
            assert!(scene.host.meanwhile.take().is_none(), "{case}: the provider was not asked");
            let reason = decided.decision.reason.clone().unwrap_or_default();
            assert_eq!(reason, "oidc.session-ended", "{case}");
            assert!(decided.cookies.is_empty() && !format!("{decided:?}").contains("__Host-oidc="));
            for waited_s in [0, 130, 3600] {
                scene.wait_s(waited_s);
                assert_eq!(scene.reason(&with(&session)), "oidc.session-ended", "{case}");
            }
        }
    }
}

#[test]
fn a_renewed_session_is_shared_whatever_was_written_and_forgotten_meanwhile() {
    let mut scene = scene();
    let first = scene.log_in(&json!({ "refresh_token": "first", "expires_in": 300 }));
    scene.wait_s(240);
    scene.answers(
        &scene.claims("unused"),
        &json!({ "id_token": null, "refresh_token": "second", "expires_in": 20 }),
    );
    let second = cookie(&scene.pass(&with(&first)).1);
    scene.wait_s(15);
    scene.host.posts.take();
    scene.answers(
        &scene.claims("unused"),
        &json!({ "id_token": null, "refresh_token": "third", "expires_in": 300 }),
    );
    // What the store had of the session is over when the provider answers, and so is the turn: another request has it.
    *scene.host.meanwhile.borrow_mut() = Some(Box::new(|host| {
        host.now_ms.set(host.now_ms.get() + 130_000);
        let turn =
            host.stored.borrow().keys().find(|key| key.starts_with("turn:")).cloned().unwrap();
        assert!(matches!(host.claim(&turn, 60_000), KeyWriteResult::First(_)));
    }));
    let third = cookie(&scene.pass(&with(&second)).1);
    assert_eq!(scene.host.posts.take().len(), 1);
    for older in [&first, &second] {
        assert_eq!(scene.pass(&with(older)).1.len(), 1, "it receives the renewed one");
    }
    assert_eq!(scene.pass(&with(&third)).1, Vec::<String>::new());
    let kept = scene.host.stored.borrow().keys().any(|key| key.starts_with("turn:"));
    assert!(kept, "the turn of the other request is its own");
    assert!(scene.host.posts.take().is_empty());
}

#[test]
fn what_cannot_be_remembered_is_refused_and_done_as_soon_as_there_is_room() {
    let mut scene = scene();
    let refused = |seen: &Seen| {
        assert_eq!((seen.status, seen.reason.as_str()), (503, "oidc.no-room"), "{seen:?}");
        // The browser has what it had, so that it may come back.
        assert!(seen.cookies.is_empty() && seen.location.is_empty(), "{seen:?}");
    };
    let (sent, back) = scene.begun("/");
    scene.answers(&scene.claims(&parameter(&sent.location, "nonce")), &renewable());
    scene.host.room.set(false);
    refused(&scene.answer(&back));
    assert!(scene.host.posts.borrow().is_empty(), "the code is not used");
    scene.host.room.set(true);
    let done = scene.answer(&back);
    assert_eq!(done.reason, "oidc.logged-in");
    let session = cookie(&done.cookies);

    let form = asked("/logout").by(Method::Post).with("origin", "https://shop.example");
    let form = form.with("cookie", &session);
    scene.host.room.set(false);
    refused(&scene.answer(&form));
    assert_eq!(scene.reason(&with(&session)), "passes", "it has not ended");

    // Nobody renews who cannot say so, and the session lasts for as long as its tokens.
    scene.host.posts.take();
    scene.wait_s(240);
    for _ in 0..3 {
        assert_eq!(scene.reason(&with(&session)), "passes");
    }
    scene.wait_s(60);
    assert_eq!(scene.reason(&with(&session)), "oidc.no-room");
    assert!(scene.host.posts.borrow().is_empty(), "nobody asked");

    scene.host.room.set(true);
    assert_eq!(scene.answer(&form).reason, "oidc.logout");
    assert_eq!(scene.reason(&with(&session)), "oidc.session-ended");
}

#[test]
fn a_renewed_session_that_has_no_room_is_asked_for_by_no_second_request_at_once() {
    let mut scene = scene();
    let session = scene.log_in(&renewable());
    scene.host.posts.take();
    scene.wait_s(240);
    let mut claims = scene.claims("unused");
    claims.as_object_mut().unwrap().remove("nonce");
    scene.answers(&claims, &renewable());
    // The turn is the last entry that fits.
    scene.host.entries.set(scene.host.stored.borrow().len() + 1);
    let (_, lines) = scene.pass(&with(&session));
    assert!(lines[0].starts_with("__Host-oidc=1."));
    for _ in 0..10 {
        assert_eq!(scene.reason(&with(&session)), "passes");
    }
    assert_eq!(scene.host.posts.take().len(), 1);
}

#[test]
fn no_cache_may_keep_a_response_with_a_session() {
    let lines = [&b"a=1; Path=/"[..], b"b=2; Path=/"];
    assert_eq!(
        crate::cookies::with_cookies(lines.into_iter()),
        [
            Edit::add("set-cookie", "a=1; Path=/"),
            Edit::add("set-cookie", "b=2; Path=/"),
            Edit::add("cache-control", "private"),
            Edit::remove("cdn-cache-control"),
            Edit::remove("surrogate-control"),
        ]
    );
}
