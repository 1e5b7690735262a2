//! What a browser keeps: nobody reads or changes it, and it fits.

use super::*;
use crate::cookies::{CookieNames, Cookies, PresentedSession};
use crate::seal::{Purpose, Sealer};

fn sealer(host: &Host, secrets: &[&str], context: &str) -> Sealer {
    let secrets: Vec<String> = secrets.iter().map(|name| (*name).to_owned()).collect();
    let mut sealer = Sealer::new(&secrets, context.to_owned());
    sealer.look(host).unwrap();
    sealer
}

#[test]
fn a_text_opens_as_it_was_sealed_and_in_no_other_way() {
    let scene = scene();
    let host = &scene.host;
    let own = sealer(host, &["new", "old"], "here");
    let sealed = own.seal(Purpose::OidcSession, b"text", host).unwrap();
    assert_ne!(
        own.seal(Purpose::OidcSession, b"text", host).unwrap(),
        sealed,
        "a nonce is used once"
    );
    for (what, by, purpose, opens) in [
        ("as it was sealed", &own, Purpose::OidcSession, true),
        ("for another purpose", &own, Purpose::Login, false),
        ("elsewhere", &sealer(host, &["new"], "there"), Purpose::OidcSession, false),
        ("with the other secret", &sealer(host, &["old"], "here"), Purpose::OidcSession, false),
        (
            "with a newer secret before",
            &sealer(host, &["old", "new"], "here"),
            Purpose::OidcSession,
            true,
        ),
        (
            "without asking for secrets",
            &Sealer::new(&["new".to_owned()], "here".to_owned()),
            Purpose::OidcSession,
            false,
        ),
    ] {
        assert_eq!(by.open(purpose, &sealed), opens.then(|| b"text".to_vec()), "{what}");
    }
    for at in 0..sealed.len() {
        let mut other = sealed.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        // The last character has unused bits, of which only zeros are accepted.
        assert_eq!(own.open(Purpose::OidcSession, &other), None, "{at}");
        assert_eq!(own.open(Purpose::OidcSession, &sealed[..at]), None, "{at}");
    }
    for text in ["", ".", "AAAA", &"A".repeat(20_000), &format!("{sealed}="), &format!("{sealed}A")]
    {
        assert_eq!(own.open(Purpose::OidcSession, text), None, "{text:.40}");
    }
}

#[test]
fn a_secret_is_replaced_without_ending_sessions() {
    let mut scene = scene();
    let session = scene.log_in(&json!({}));
    let with = |session: &str| asked("/").with("cookie", session);
    // A new value takes the place of the one that sealed, which the other name has from now on.
    let sealed_with = scene.host.reveal("new").unwrap();
    for (name, value) in [("new", vec![77; 32]), ("old", sealed_with)] {
        scene.host.secrets.borrow_mut().insert(name.to_owned(), value);
    }
    scene.wait_s(1);
    assert_eq!(scene.reason(&with(&session)), "passes");
    let later = scene.log_in(&json!({}));
    scene.host.secrets.borrow_mut().remove("old");
    scene.wait_s(1);
    assert_eq!(scene.reason(&with(&session)), "oidc.login");
    assert_eq!(scene.reason(&with(&later)), "passes");
    assert!(scene.host.lines.borrow().iter().any(|line| line.contains("no secret old")));
    scene.host.secrets.borrow_mut().remove("new");
    scene.wait_s(1);
    let seen = scene.answer(&with(&later));
    assert_eq!((seen.status, seen.reason.as_str()), (503, "oidc.no-key"));
}

#[test]
fn a_session_of_another_provider_client_or_site_is_none_here() {
    let mut one = scene();
    let session = one.log_in(&json!({}));
    for (name, value) in [
        ("issuer", "https://other.example"),
        ("clientId", "other"),
        ("redirectUrl", "https://other.example/back"),
    ] {
        let mut changed = settings();
        changed[name] = value.into();
        let mut other = scene_of(&changed);
        let script = asked("/").with("cookie", &session).with("sec-fetch-mode", "cors");
        assert_eq!(other.reason(&script), "oidc.session-invalid", "{name}");
    }
}

#[test]
fn a_large_session_has_several_cookies_and_a_larger_one_is_refused() {
    for (length, pieces) in [(100, Some(1)), (4_000, Some(2)), (7_000, Some(3)), (9_000, None)] {
        let mut scene = scene();
        let (sent, back) = scene.begun("/");
        let mut claims = scene.claims(&parameter(&sent.location, "nonce"));
        claims["email"] = "e".repeat(length).into();
        claims["groups"] = Value::Null;
        // An ID token that does not fit is not kept.
        claims["padding"] = "p".repeat(11_000 - length).into();
        scene.answers(&claims, &json!({}));
        let done = scene.answer(&back);
        let Some(pieces) = pieces else {
            assert_eq!((done.status, done.reason.as_str()), (500, "oidc.session-too-large"));
            continue;
        };
        assert_eq!(done.cookies.len(), pieces + 1, "{length}");
        assert!(done.cookies.iter().all(|line| line.len() <= 4096), "{length}");
        let kept: Vec<&str> =
            done.cookies[..pieces].iter().map(|it| it.split(';').next().unwrap()).collect();
        let mut with = |kept: &[&str]| scene.reason(&asked("/").with("cookie", kept.join("; ")));
        assert_eq!(with(&kept), "passes", "{length}");
        for left_out in 0..pieces {
            let mut broken = kept.clone();
            broken.remove(left_out);
            assert_eq!(with(&broken), "oidc.login", "{length} without {left_out}");
            let mut twice = kept.clone();
            twice.push(kept[left_out]);
            assert_eq!(with(&twice), "oidc.login", "{length} with {left_out} twice");
        }
        let (edits, _) =
            scene.pass(&asked("/").with("cookie", format!("a=b; {}", kept.join("; "))));
        assert_eq!(edits[0], Edit::set("cookie", "a=b"), "the upstream receives no piece");
        // A shorter session removes the pieces that it does not use.
        let (sent, back) = scene.begun("/");
        scene.answers(&scene.claims(&parameter(&sent.location, "nonce")), &json!({}));
        let done = scene.answer(&back.with("cookie", kept.join("; ")));
        let removed = done.cookies.iter().filter(|line| line.contains("=; Max-Age=0;"));
        assert_eq!(removed.count(), pieces, "{length}");
    }
}

#[test]
fn cookies_are_found_by_their_whole_names() {
    let names = CookieNames::new("oidc", true);
    let reads = ["cookie".to_owned()];
    for (fields, session, others) in [
        (&["__Host-oidc=1.abc"][..], PresentedSession::Whole("abc".into()), Some("")),
        (&["a=1; __Host-oidc=1.abc;b=2"], PresentedSession::Whole("abc".into()), Some("a=1; b=2")),
        (
            &["a=1", "__Host-oidc=2.ab; c", "__Host-oidc-1=cd"],
            PresentedSession::Whole("abcd".into()),
            Some("a=1; c"),
        ),
        (&["__Host-oidc-login-x=1; a=1"], PresentedSession::None, Some("a=1")),
        (&["oidc=1.abc; __Host-oidcx=1; x__Host-oidc=2"], PresentedSession::None, None),
        (&["__Host-oidc-3=1; __host-oidc=1.a"], PresentedSession::None, None),
        (&[""], PresentedSession::None, None),
        (&[], PresentedSession::None, None),
        (&["__Host-oidc=1.a; __Host-oidc=1.a"], PresentedSession::Broken, Some("")),
        (&["__Host-oidc"], PresentedSession::Broken, Some("")),
        (&["__Host-oidc=abc"], PresentedSession::Broken, Some("")),
        (&["__Host-oidc=0.abc"], PresentedSession::Broken, Some("")),
        (&["__Host-oidc=4.abc"], PresentedSession::Broken, Some("")),
        (&["__Host-oidc=+1.abc"], PresentedSession::Whole("abc".into()), Some("")),
        (&["__Host-oidc=2.abc"], PresentedSession::Broken, Some("")),
        (&["__Host-oidc-1=abc"], PresentedSession::None, Some("")),
    ] {
        let fields: Vec<(&str, &[u8])> =
            fields.iter().map(|value| ("cookie", value.as_bytes())).collect();
        let raw = packed(&reads, &fields);
        let present = Cookies::of(View::new(&raw, &reads));
        let rest = names.others(&present).map(|rest| String::from_utf8(rest).unwrap());
        assert_eq!((names.session(&present), rest.as_deref()), (session, others), "{fields:?}");
    }
}

#[test]
fn without_tls_a_name_has_no_prefix_and_the_cookie_is_not_secure() {
    let names = CookieNames::new("oidc", false);
    assert_eq!(names.login("a"), "oidc-login-a");
    assert_eq!(names.set("oidc", "v", 5), "oidc=v; Max-Age=5; Path=/; HttpOnly; SameSite=Lax");
}
