//! Tokens: which requests pass, and what the record states of those that do not.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use tamis_e2e::{eventually, request, up};

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn key(path: &Path) -> EcdsaKeyPair {
    let pkcs8 = std::fs::read(path).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).unwrap()
}

fn token(key: &EcdsaKeyPair, expires: u64) -> String {
    token_with(key, expires, &json!({}))
}

/// A token with more claims.
pub(crate) fn token_with(key: &EcdsaKeyPair, expires: u64, more: &Value) -> String {
    let head = json!({ "alg": "ES256", "kid": "sample" });
    let mut claims = json!({
        "iss": "https://idp.shop.example", "aud": "shop", "sub": "alice", "exp": expires,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    let text = format!("{}.{}", part(&head), part(&claims));
    let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", BASE64URL.encode(signature.as_ref()))
}

#[test]
fn a_valid_token_passes_and_every_other_is_refused_with_its_reason() {
    let shop = crate::shop::shop();
    let _running = up(shop.folder.path(), &[]);
    let issuer = key(&shop.folder.path().join(".tamis/jwks.test-key.p8"));
    let stranger = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let none = {
        let claims = json!({ "iss": "https://idp.shop.example", "aud": "shop", "exp": now() + 60 });
        format!(
            "{}.{}.",
            BASE64URL.encode(r#"{"alg":"none"}"#),
            BASE64URL.encode(claims.to_string())
        )
    };
    let cases = [
        ("/pay?valid", Some(token(&issuer, now() + 3600)), 200, None),
        ("/pay?expired", Some(token(&issuer, now() - 3600)), 401, Some("jwt.expired")),
        ("/pay?stranger", Some(token(&stranger, now() + 3600)), 401, Some("jwt.bad-signature")),
        ("/pay?none", Some(none), 401, Some("jwt.alg-none")),
        ("/pay?missing", None, 401, Some("jwt.missing")),
    ];
    for (path, token, status, reason) in cases {
        let bearer = token.map(|token| format!("Bearer {token}"));
        // Whoever calls does not say who they are.
        let mut headers = vec![("x-user", "root"), ("X_User", "root")];
        headers.extend(bearer.iter().map(|bearer| ("authorization", bearer.as_str())));
        let reply = request(&shop.http, "GET", path, &headers, b"");
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert_eq!(reply.header("x-tamis-reason"), reason, "{path}");
        if status == 200 {
            assert_eq!(reply.json()["user"], "alice", "the service is told who pays");
        }
        let record = eventually("the access record", || {
            let file = shop.folder.path().join(".tamis/access/gateway-shop-edge.jsonl");
            let text = std::fs::read_to_string(file).ok()?;
            text.lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|record| record["path"] == path)
        });
        assert_eq!(record["status"], status);
        if let Some(reason) = reason {
            assert_eq!(record["reason"], reason, "{record}");
        }
    }
    // The guard is of the path, however it is spelt: no spelling reaches what it guards.
    let valid = format!("Bearer {}", token(&issuer, now() + 3600));
    for path in [
        "/pay",
        "/%70ay",
        "/p%61y",
        "/%70%61%79",
        "//pay",
        "/./pay",
        "/x/../pay",
        "/%2e/pay",
        "/pay/",
        "/pay//",
        "/pay/x",
        "/pay?a=/",
        "/%2e%2e/pay",
    ] {
        let reply = request(&shop.http, "GET", path, &[], b"");
        assert_eq!(
            (reply.status, reply.header("x-tamis-reason")),
            (401, Some("jwt.missing")),
            "{path}"
        );
        let reply = request(&shop.http, "GET", path, &[("authorization", &valid)], b"");
        assert_eq!(reply.status, 200, "{path}");
    }
    for path in ["/pay;x", "/pay%2fx", "/x/..%2fpay", "/pay%00", "/..;/pay", "/pay%5c"] {
        assert_eq!(request(&shop.http, "GET", path, &[], b"").status, 400, "{path}");
    }
}
