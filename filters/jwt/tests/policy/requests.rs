//! Requests: what passes, what is refused and why.

use super::*;

#[test]
fn a_good_token_passes_and_becomes_headers() {
    let mut scene = Scene::new(|_| {});
    let mut claims = claims_with("roles", json!(["a", 2, true, "b c", null]));
    claims["aud"] = json!(["x", "till"]);
    let decision = scene.show(&sign(&claims));
    let edits = vec![
        Edit::set("x-user", "ann"),
        Edit::set("x-roles", "a 2 true"),
        Edit::remove("authorization"),
    ];
    assert_eq!(decision, request::Decision::change(edits));
}

#[test]
fn each_broken_rule_has_its_reason() {
    let mut scene = Scene::new(|_| {});
    let mut expired_without = claims();
    expired_without.as_object_mut().unwrap().remove("exp");
    for (claims, reason) in [
        (claims_with("exp", json!(NOW - 60)), "jwt.expired"),
        (claims_with("exp", json!(NOW as f64 - 59.5)), "passes"),
        (claims_with("exp", json!("soon")), "jwt.malformed"),
        (expired_without, "jwt.malformed"),
        (claims_with("nbf", json!(NOW + 61)), "jwt.not-yet"),
        (claims_with("nbf", json!(NOW + 60)), "passes"),
        (claims_with("iat", json!(NOW + 61)), "jwt.not-yet"),
        (claims_with("iss", json!("https://idp/")), "jwt.wrong-issuer"),
        (claims_with("iss", Value::Null), "jwt.wrong-issuer"),
        (claims_with("aud", json!(["bank"])), "jwt.wrong-audience"),
        (claims_with("aud", Value::Null), "jwt.wrong-audience"),
        (claims_with("sub", json!("a\r\nx-admin: true")), "jwt.malformed"),
    ] {
        assert_eq!(scene.reason(&sign(&claims)), reason, "{claims}");
    }
}

#[test]
fn each_broken_form_has_its_reason() {
    let mut scene = Scene::new(|_| {});
    let payload = claims().to_string();
    let twice = format!(r#"{{"sub":"eve",{}"#, &payload[1..]);
    for (token, reason) in [
        (String::new(), "jwt.malformed"),
        ("a.b.c.d".to_owned(), "jwt.malformed"),
        (format!("{}=", sign(&claims())), "jwt.malformed"),
        (sign_text(r#"{"alg":"HS256"}"#, "[]"), "jwt.malformed"),
        (sign_text(r#"{"alg":"HS256"}"#, &twice), "jwt.malformed"),
        (sign_text(r#"{"alg":"HS256","alg":"HS256"}"#, &payload), "jwt.malformed"),
        (sign_text(r#"{"alg":"HS256","crit":["exp"]}"#, &payload), "jwt.malformed"),
        (sign_text(r#"{"alg":"HS256","b64":true}"#, &payload), "jwt.malformed"),
        (sign_text(r#"{"alg":1}"#, &payload), "jwt.malformed"),
        (sign_text(r#"{"alg":"HS256","kid":1}"#, &payload), "jwt.malformed"),
        (sign_text(r#"{"alg":"NoNe"}"#, &payload), "jwt.alg-none"),
        (sign_text(r#"{"alg":"HS384"}"#, &payload), "jwt.alg-not-allowed"),
        (sign_text(r#"{"alg":"hs256"}"#, &payload), "jwt.alg-not-allowed"),
        (sign_text(r#"{"alg":"HS256"}"#, &payload).replace("ey", "ew"), "jwt.malformed"),
        (format!("{}AA", sign(&claims())), "jwt.malformed"),
    ] {
        assert_eq!(scene.reason(&token), reason, "{token}");
    }
    let other = sign(&claims()).rsplit_once('.').unwrap().0.to_owned();
    assert_eq!(scene.reason(&format!("{other}.{}", "A".repeat(43))), "jwt.bad-signature");
    assert_eq!(scene.policy.remembered(), 0);
}

#[test]
fn a_refusal_is_a_challenge() {
    let mut scene = Scene::new(|_| {});
    let challenge = |decision: request::Decision| match decision.verdict {
        request::Verdict::Answer(reply) => {
            (reply.status, String::from_utf8(reply.headers[0].value.clone()).unwrap())
        }
        _ => panic!("not refused"),
    };
    assert_eq!(challenge(scene.ask(&[])), (401, "Bearer".to_owned()));
    let (status, text) = challenge(scene.show("x"));
    assert_eq!(status, 401);
    assert!(text.starts_with("Bearer error=\"invalid_token\""), "{text}");
}

#[test]
fn two_fields_are_ambiguous() {
    let mut scene = Scene::new(|_| {});
    let good = format!("Bearer {}", sign(&claims()));
    let decision =
        scene.ask(&[("authorization", good.as_bytes()), ("authorization", b"Basic eA==")]);
    assert_eq!(decision.reason.as_deref(), Some("jwt.ambiguous"));
}

#[test]
fn a_client_cannot_bring_its_own_claim_headers() {
    let mut scene = Scene::new(|config| config["required"] = json!(false));
    let spoofed: [(&str, &[u8]); 2] = [("x-user", b"root"), ("x-admin", b"true")];
    let removed = vec![Edit::remove("x-user"), Edit::remove("x-admin")];
    assert_eq!(scene.ask(&spoofed), request::Decision::change(removed));
    let token = format!("bearer  {}", sign(&claims()));
    let fields = [("authorization", token.as_bytes()), spoofed[0], spoofed[1]];
    let expected =
        vec![Edit::set("x-user", "ann"), Edit::remove("x-admin"), Edit::remove("authorization")];
    assert_eq!(scene.ask(&fields), request::Decision::change(expected));
}

#[test]
fn an_optional_token_may_be_absent_and_not_bad() {
    let mut scene = Scene::new(|config| config["required"] = json!(false));
    assert_eq!(scene.ask(&[]), request::Decision::pass());
    assert_eq!(scene.ask(&[("authorization", b"Basic eA==")]), request::Decision::pass());
    assert_eq!(scene.reason("x"), "jwt.malformed");
}

#[test]
fn a_forwarded_token_stays() {
    let mut scene = Scene::new(|config| config["forward"] = json!(true));
    let expected = request::Decision::change(vec![Edit::set("x-user", "ann")]);
    assert_eq!(scene.show(&sign(&claims())), expected);
}

#[test]
fn what_a_server_may_take_for_a_bearer_token_is_no_other_scheme() {
    let mut scene = Scene::new(|config| config["required"] = json!(false));
    let token = sign(&claims());
    for (before, between, reason) in [
        ("", " ", None),
        ("", "   ", None),
        ("", "\t", Some("jwt.malformed")),
        ("", "\u{a0}", Some("jwt.malformed")),
        ("", "\u{85}", Some("jwt.malformed")),
        ("", "\u{3000}", Some("jwt.malformed")),
        ("", ",", Some("jwt.malformed")),
        ("", "\"", Some("jwt.malformed")),
        ("\u{a0}", " ", Some("jwt.malformed")),
        ("\u{85}\t", " ", Some("jwt.malformed")),
    ] {
        for scheme in ["Bearer", "bearer"] {
            let field = format!("{before}{scheme}{between}{token}");
            let decision = scene.ask(&[("authorization", field.as_bytes())]);
            assert_eq!(decision.reason.as_deref(), reason, "{field}");
        }
    }
    for field in ["Bearer", "Bearer\u{a0}"] {
        let decision = scene.ask(&[("authorization", field.as_bytes())]);
        assert_eq!(decision.reason.as_deref(), Some("jwt.malformed"), "{field}");
    }
    for field in [&format!("Bearer-x {token}"), &format!("BearerX{token}"), "Basic eA==", "", "\t"]
    {
        let decision = scene.ask(&[("authorization", field.as_bytes())]);
        assert_eq!(decision, request::Decision::pass(), "{field}");
    }
}
