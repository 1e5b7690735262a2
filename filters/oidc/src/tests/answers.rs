//! What the provider sends: tokens, ID tokens, metadata.

use super::*;
use crate::endpoints::Endpoints;

#[test]
fn an_id_token_holds_or_is_refused_with_the_rule_that_it_breaks() {
    let now = NOW;
    let cases = [
        (json!({}), "oidc.logged-in"),
        (json!({ "aud": ["shop"] }), "oidc.logged-in"),
        (json!({ "aud": ["shop", "other"], "azp": "shop" }), "oidc.logged-in"),
        (json!({ "exp": now - 59, "iat": now - 300 }), "oidc.logged-in"),
        (json!({ "iat": now + 59 }), "oidc.logged-in"),
        (json!({ "groups": { "deep": 1 } }), "oidc.logged-in"),
        (json!({ "iss": "https://idp.example/" }), "oidc.id-token-issuer"),
        (json!({ "iss": ["https://idp.example"] }), "oidc.id-token-issuer"),
        (json!({ "iss": null }), "oidc.id-token-issuer"),
        (json!({ "aud": "shop2" }), "oidc.id-token-audience"),
        (json!({ "aud": ["shop", "other"] }), "oidc.id-token-audience"),
        (json!({ "aud": "shop", "azp": "other" }), "oidc.id-token-audience"),
        (json!({ "aud": [] }), "oidc.id-token-audience"),
        (json!({ "exp": now - 60 }), "oidc.id-token-time"),
        (json!({ "exp": null }), "oidc.id-token-malformed"),
        (json!({ "exp": "tomorrow" }), "oidc.id-token-malformed"),
        (json!({ "iat": null }), "oidc.id-token-malformed"),
        (json!({ "iat": now + 62 }), "oidc.id-token-time"),
        (json!({ "nbf": now + 62 }), "oidc.id-token-time"),
        (json!({ "nonce": "another" }), "oidc.id-token-nonce"),
        (json!({ "nonce": null }), "oidc.id-token-nonce"),
        (json!({ "sub": "" }), "oidc.id-token-subject"),
        (json!({ "sub": 5 }), "oidc.id-token-subject"),
        (json!({ "sub": "a".repeat(256) }), "oidc.id-token-subject"),
        (json!({ "groups": "a\r\nx-admin: 1" }), "oidc.id-token-malformed"),
    ];
    for (change, reason) in cases {
        let mut scene = scene();
        let (sent, back) = scene.begun("/");
        let mut claims = scene.claims(&parameter(&sent.location, "nonce"));
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            }
        }
        scene.answers(&claims, &json!({}));
        assert_eq!(scene.answer(&back).reason, reason, "{change}");
    }
}

#[test]
fn a_signature_is_that_of_the_provider_with_an_allowed_algorithm() {
    for (what, head, altered, reason) in [
        ("right", json!({ "alg": "ES256", "kid": "one" }), false, "oidc.logged-in"),
        ("without a key's name", json!({ "alg": "ES256" }), false, "oidc.logged-in"),
        ("altered", json!({ "alg": "ES256", "kid": "one" }), true, "oidc.id-token-signature"),
        ("unsigned", json!({ "alg": "none" }), false, "oidc.id-token-algorithm"),
        (
            "another algorithm",
            json!({ "alg": "ES384", "kid": "one" }),
            false,
            "oidc.id-token-algorithm",
        ),
        (
            "signed with the public key",
            json!({ "alg": "HS256", "kid": "one" }),
            false,
            "oidc.id-token-algorithm",
        ),
        ("another key", json!({ "alg": "ES256", "kid": "two" }), false, "oidc.id-token-key"),
        (
            "a key of its own",
            json!({ "alg": "ES256", "kid": "two", "jwk": {} }),
            false,
            "oidc.id-token-key",
        ),
        (
            "an extension",
            json!({ "alg": "ES256", "crit": ["exp"] }),
            false,
            "oidc.id-token-malformed",
        ),
    ] {
        let mut scene = scene();
        let (sent, back) = scene.begun("/");
        let claims = scene.claims(&parameter(&sent.location, "nonce"));
        scene.answers(&claims, &json!({}));
        let mut token = scene.sign(&head, &claims);
        if altered {
            let mut other = claims.clone();
            other["sub"] = "root".into();
            let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
            parts[1] = URL_SAFE_NO_PAD.encode(other.to_string());
            token = parts.join(".");
        }
        scene.answers(&claims, &json!({ "id_token": token }));
        assert_eq!(scene.answer(&back).reason, reason, "{what}");
    }
}

#[test]
fn a_key_that_is_new_is_fetched_for_the_login_that_needs_it_and_not_for_each() {
    let mut scene = scene();
    let new = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let keys = json!({ "keys": [jwk(&new, "new")] });
    scene.key = new;
    let log_in = |scene: &mut Scene| {
        let (sent, back) = scene.begun("/");
        let claims = scene.claims(&parameter(&sent.location, "nonce"));
        let token = scene.sign(&json!({ "alg": "ES256", "kid": "new" }), &claims);
        scene.answers(&claims, &json!({ "id_token": token }));
        scene.answer(&back).reason
    };
    // The keys were fetched a moment ago.
    scene.host.served.borrow_mut().insert("https://idp.example/keys".to_owned(), keys);
    assert_eq!(log_in(&mut scene), "oidc.id-token-key");
    scene.wait_s(10);
    assert_eq!(log_in(&mut scene), "oidc.logged-in");
}

#[test]
fn an_answer_of_the_token_endpoint_is_tokens_or_a_refusal_or_no_answer() {
    let bearer = || json!({ "token_type": "bearer", "access_token": "a" });
    let with = |name: &str, value: Value| {
        let mut body = bearer();
        body[name] = value;
        body
    };
    for (status, body, reason) in [
        (400, json!({ "error": "invalid_grant" }), "oidc.code-refused"),
        (403, json!({ "error": "invalid_grant" }), "oidc.code-refused"),
        (500, json!({ "error": "invalid_grant" }), "oidc.provider-unavailable"),
        (400, json!({ "error": "invalid_client" }), "oidc.provider-unavailable"),
        (401, json!({ "error": "invalid_client" }), "oidc.provider-unavailable"),
        (400, json!("no object"), "oidc.provider-unavailable"),
        (400, json!({ "error": 1 }), "oidc.provider-unavailable"),
        (302, bearer(), "oidc.provider-unavailable"),
        (201, bearer(), "oidc.provider-unavailable"),
        (200, json!([]), "oidc.provider-unavailable"),
        (200, json!({ "id_token": "a" }), "oidc.provider-unavailable"),
        (200, with("token_type", json!("mac")), "oidc.provider-unavailable"),
        (200, with("expires_in", json!("soon")), "oidc.provider-unavailable"),
        (200, with("expires_in", json!(-1)), "oidc.provider-unavailable"),
        (200, with("refresh_token", json!(1)), "oidc.provider-unavailable"),
        (200, with("id_token", json!("")), "oidc.provider-unavailable"),
        (200, with("id_token", json!("a".repeat(16 * 1024 + 1))), "oidc.provider-unavailable"),
        (200, bearer(), "oidc.id-token-malformed"),
        (200, with("id_token", json!("a.b.c")), "oidc.id-token-malformed"),
    ] {
        let mut scene = scene();
        let (_, back) = scene.begun("/");
        *scene.host.answer.borrow_mut() = Ok((status, body.clone()));
        let seen = scene.answer(&back);
        assert_eq!(seen.reason, reason, "{status} {body}");
        // The login is used up: its cookie goes.
        assert!(seen.cookies.len() == 1 && seen.cookies[0].contains("=; Max-Age=0;"), "{seen:?}");
        let told = scene.host.lines.borrow().join("\n");
        assert!(!told.contains("abc"), "a line quotes the code: {told}");
    }
    let mut scene = scene();
    let (_, back) = scene.begun("/");
    assert_eq!(scene.answer(&back).reason, "oidc.provider-unavailable");
    let (sent, _) = scene.begun("/");
    let path = format!("/back?error=access_denied&state={}", parameter(&sent.location, "state"));
    let denied = scene.answer(&asked(&path).with("cookie", cookie(&sent.cookies)));
    assert_eq!((denied.status, denied.reason.as_str()), (403, "oidc.provider-refused"));
}

#[test]
fn metadata_is_that_of_the_issuer_and_leads_nowhere_in_clear_text() {
    let parse = |value: &Value| Endpoints::parse(value.to_string().as_bytes(), ISSUER);
    let good = parse(&metadata()).unwrap();
    assert_eq!((good.token.as_str(), good.names_issuer), ("https://idp.example/token", false));
    for (name, value) in [
        ("issuer", json!("https://idp.example/")),
        ("issuer", json!("https://evil.example")),
        ("issuer", Value::Null),
        ("authorization_endpoint", json!("http://idp.example/login")),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("authorization_endpoint", json!("https://idp.example/a\r\nb: c")),
        ("authorization_endpoint", json!("https://idp.example/#a")),
        ("token_endpoint", json!("http://idp.example/token")),
        ("token_endpoint", Value::Null),
        ("jwks_uri", json!(["https://idp.example/keys"])),
        ("jwks_uri", json!("file:///etc/keys")),
        ("end_session_endpoint", json!("http://idp.example/logout")),
    ] {
        let mut changed = metadata();
        changed[name] = value.clone();
        assert!(parse(&changed).is_err(), "{name} {value}");
    }
    let twice = format!(r#"{{"issuer":"{ISSUER}","issuer":"{ISSUER}"}}"#);
    assert!(Endpoints::parse(twice.as_bytes(), ISSUER).is_err());
}

#[test]
fn a_provider_that_is_not_known_yet_is_no_fault_of_the_browser() {
    let mut scene = scene();
    scene.host.stored.borrow_mut().clear();
    scene.wait_s(2);
    assert_eq!(scene.reason(&asked("/")), "oidc.no-provider");
    // Metadata that is bad is reported, and does not replace what was good.
    let place = format!("{ISSUER}/.well-known/openid-configuration");
    let mut bad = metadata();
    bad["issuer"] = "https://evil.example".into();
    scene.host.served.borrow_mut().insert(place.clone(), bad.clone());
    scene.tick();
    assert!(scene.host.lines.borrow()[0].contains("letter by letter"), "{:?}", scene.host.lines);
    scene.host.served.borrow_mut().insert(place.clone(), metadata());
    scene.wait_s(2);
    scene.tick();
    assert_eq!(scene.reason(&asked("/")), "oidc.login");
    scene.host.served.borrow_mut().insert(place, bad);
    scene.wait_s(301);
    scene.tick();
    assert_eq!(scene.reason(&asked("/")), "oidc.login");
}

#[test]
fn endpoints_of_the_configuration_need_no_metadata() {
    let mut settings = settings();
    settings["endpoints"] = json!({
        "authorization": "https://idp.example/other?tenant=a", "token": "https://idp.example/t",
        "jwks": "https://idp.example/keys",
    });
    settings["authorizationParameters"] = json!({ "prompt": "login" });
    let mut scene = scene_of(&settings);
    let place = format!("{ISSUER}/.well-known/openid-configuration");
    assert!(scene.host.read(&format!("jwks:{place}")).is_none());
    let (sent, back) = scene.begun("/");
    assert!(sent.location.starts_with("https://idp.example/other?tenant=a&response_type=code"));
    assert_eq!(parameter(&sent.location, "prompt"), "login");
    scene.answers(&scene.claims(&parameter(&sent.location, "nonce")), &json!({}));
    assert_eq!(scene.answer(&back).reason, "oidc.logged-in");
}
