//! Removes secrets from what is shown to people and programs.
//!
//! The author of a filter defines its configuration, so no list of names covers all secrets. Secrets are
//! recognised by their nature: private members of keys (RFC 7517), private keys and tokens by their form,
//! values of fields named as secrets in any notation, credentials in addresses, hashes of passwords, and text that looks
//! random. The names of members are texts too.
//! The replacement states the length of the hidden text, so that an empty value differs from a wrong one.

mod name;
mod pairs;
mod text;

use serde_json::{Map, Value};

use name::{ABOUT, is_secret_name, words};

/// Removes the secrets from a value, and returns them: a caller that shows text which may quote one removes
/// it with [`without`].
pub fn redact(value: &mut Value) -> Vec<String> {
    let mut taken = Vec::new();
    walk(value, &mut taken);
    taken.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    taken.dedup();
    taken
}

/// A text without any of these secrets. Short ones stay: they would match parts of ordinary words.
#[must_use]
pub fn without(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= QUOTED_MIN) {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), "(redacted)");
        }
    }
    text
}

/// Shorter secrets are not searched for in text.
const QUOTED_MIN: usize = 6;
/// Last words of members that name what another member contains …
const NAMING: [&str; 5] = ["name", "header", "key", "field", "k"];
/// … and of those that contain it.
const CONTAINING: [&str; 8] =
    ["value", "values", "val", "v", "content", "contents", "text", "data"];
/// Members that say which key it is and what it is for (RFC 7517 §4).
const LABELS: [&str; 10] =
    ["kty", "use", "key_ops", "alg", "kid", "x5u", "x5c", "x5t", "x5t#S256", "name"];
/// Types of keys with public members (RFC 7518, 8037) …
const WITH_PUBLIC: [&str; 3] = ["RSA", "EC", "OKP"];
/// … and these members; all others of a key are private.
const PUBLIC: [&str; 5] = ["n", "e", "crv", "x", "y"];
fn walk(value: &mut Value, taken: &mut Vec<String>) {
    match value {
        Value::Object(members) => object(members, taken),
        Value::Array(list) => list.iter_mut().for_each(|one| member(one, taken)),
        Value::String(text) => string(text, taken),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A member of a list. In a list of pairs, such as `[["authorization", "…"]]`, each names its own value.
fn member(value: &mut Value, taken: &mut Vec<String>) {
    if let Value::Array(pair) = value
        && let [Value::String(name), content] = pair.as_mut_slice()
        && is_secret_name(name)
    {
        hide(content, taken);
    } else {
        walk(value, taken);
    }
}

fn object(members: &mut Map<String, Value>, taken: &mut Vec<String>) {
    let is_key = is_key(members);
    let kind = members.get("kty").and_then(Value::as_str);
    let has_public = kind.is_some_and(|kind| WITH_PUBLIC.contains(&kind));
    let is_shown = |name: &str| LABELS.contains(&name) || (has_public && PUBLIC.contains(&name));
    // `{ name: authorization, value: … }`: one member names the secret, another contains it.
    let ends_with = |name: &str, last: &[&str]| {
        words(name).last().is_some_and(|it| last.contains(&it.as_str()))
    };
    let named = members.iter().any(|(member, value)| {
        ends_with(member, &NAMING) && value.as_str().is_some_and(is_secret_name)
    });
    for (name, value) in members.iter_mut() {
        let private = if is_key {
            !is_shown(name)
        } else {
            is_secret_name(name) || (named && ends_with(name, &CONTAINING))
        };
        if private {
            hide(value, taken);
        } else if !is_key {
            walk(value, taken);
        }
    }
    names(members, taken);
}

/// Hides secrets in the names of members: a map may have addresses, tokens or pairs as its names.
fn names(members: &mut Map<String, Value>, taken: &mut Vec<String>) {
    let is_changed = |name: &String| {
        let mut secrets = Vec::new();
        text::hide_parts(&mut name.clone(), &mut secrets);
        !secrets.is_empty()
    };
    if !members.keys().any(is_changed) {
        return;
    }
    for (mut name, value) in std::mem::take(members) {
        text::hide_parts(&mut name, taken);
        // Of two that look alike now, none is lost.
        while members.contains_key(&name) {
            name.push('\'');
        }
        members.insert(name, value);
    }
}

/// Whether members are those of a key (RFC 7517), also of one that is written wrong: it is as secret.
fn is_key(members: &Map<String, Value>) -> bool {
    let has_kind = members.keys().any(|name| name.eq_ignore_ascii_case("kty"));
    let is_text = |name: &str| members.get(name).is_some_and(Value::is_string);
    let is_labelled =
        ["alg", "kid", "crv", "key_ops"].iter().any(|name| members.contains_key(*name));
    has_kind || (is_labelled && (is_text("k") || is_text("d")))
}

/// Hides everything in the place of a secret. Numbers are codes and booleans are settings, so they stay.
fn hide(value: &mut Value, taken: &mut Vec<String>) {
    match value {
        Value::String(text) => take(text, taken),
        Value::Number(number) => {
            let mut text = number.to_string();
            take(&mut text, taken);
            *value = Value::String(text);
        }
        Value::Array(list) => list.iter_mut().for_each(|one| hide(one, taken)),
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                if ABOUT.contains(&name.as_str()) { walk(value, taken) } else { hide(value, taken) }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn take(text: &mut String, taken: &mut Vec<String>) {
    if text.is_empty() {
        return;
    }
    let shown = format!("(redacted, {} characters)", text.chars().count());
    taken.push(std::mem::replace(text, shown));
}

fn string(text: &mut String, taken: &mut Vec<String>) {
    // The text may be JSON itself, such as a key set, or a string of JSON that contains one.
    if text.trim_start().starts_with(['{', '[', '"'])
        && let Ok(mut inner) = serde_json::from_str::<Value>(text)
    {
        let before = taken.len();
        walk(&mut inner, taken);
        if taken.len() > before {
            *text = inner.to_string();
        }
        return;
    }
    if text::is_secret(text) { take(text, taken) } else { text::hide_parts(text, taken) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECRET: &str = "aGVsbG8gd29ybGQgMTIz";

    #[test]
    fn no_secret_is_shown_wherever_and_however_it_is_written() {
        let pem = "-----BEGIN EC PRIVATE KEY-----\nQUJD\n-----END EC PRIVATE KEY-----\n";
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
        let rows = [
            json!({ "jwks": { "keys": [{ "kty": "oct", "alg": "HS256", "k": "short" }] } }),
            json!({ "jwks": { "keys": [{ "kty": "oct", "kid": "a", "k": SECRET }] } }),
            json!({ "keys": [{ "kty": "RSA", "n": "n", "e": "AQAB", "d": SECRET, "p": SECRET, "dq": SECRET }] }),
            json!({ "keys": [{ "kty": "EC", "x": "x", "y": "y", "d": "dd" }] }),
            json!({ "keys": [{ "kty": "XYZ", "unheardOf": "private" }] }),
            // Keys that are written wrong.
            json!({ "keys": [{ "alg": "HS256", "k": "short" }] }),
            json!({ "keys": [{ "KTY": "oct", "k": "short" }] }),
            json!({ "keys": [{ "kty": 1, "k": "short" }] }),
            json!({ "keys": [{ "kty": "oct", "x": "short" }] }),
            json!({ "keys": [{ "crv": "Ed25519", "d": "short" }] }),
            json!({ "jwks": json!({ "keys": [{ "kty": "oct", "k": SECRET }] }).to_string() }),
            json!({ "deep": [[{ "er": { "clientSecret": "s" } }]] }),
            json!({ "client_secret": "s" }),
            json!({ "CLIENT-SECRET": "s" }),
            json!({ "password": "s" }),
            json!({ "dbPassword": 1234 }),
            json!({ "apiKey": "s" }),
            json!({ "api-keys": ["s", "t"] }),
            json!({ "APIKEY": "s" }),
            json!({ "tokens": { "alice": "s", "bob": ["t"] } }),
            json!({ "headers": [{ "name": "Authorization", "value": "s" }] }),
            json!({ "headers": [{ "name": "x-api-key", "value": "s" }] }),
            json!({ "headers": { "authorization": "s" } }),
            json!({ "headers": { "x-whatever": "Bearer s" } }),
            json!({ "tls": { "whatever": pem } }),
            json!({ "whatever": jwt }),
            json!({ "whatever": SECRET }),
            json!({ "whatever": "0123456789abcdef0123456789abcdef" }),
            json!({ "url": "https://user:s3cret@host.example/path" }),
            json!({ "url": "https://host.example/path?access_token=s3cret&b=c" }),
            json!({ "credentials": { "user": "u", "word": "w" } }),
            // Among other words, in lists, without a scheme, and with what an address should encode.
            json!({ "urls": "redis://a:first-pw@h1,redis://b:second-pw@h2" }),
            json!({ "urls": "redis://a:first,pw@h1 amqp://b:second;pw@h2" }),
            json!({ "url": "https://svc:SE/CRET@host" }),
            json!({ "url": "https://only-a-token@host/path" }),
            json!({ "url": "svc:s3cret@host:5432/db" }),
            json!({ "url": "/p?access_token=s3cret" }),
            json!({ "url": "/p?a=b#access_token=s3cret" }),
            json!({ "url": "https://h/p?key=s3cret&x=y" }),
            json!({ "line": "Authorization: Bearer s3cret" }),
            json!({ "lines": "accept: a/b\nx-api-key: s3cret\n" }),
            json!({ "line": "Digest username=\"u\", response=\"s3cret\"" }),
            json!({ "line": "send Bearer s3cret with each request" }),
            json!({ "dsn": "host=db user=u password=s3cret" }),
            json!({ "dsn": "Server=db;Password='s3cret';User=u" }),
            json!({ "line": format!("the key is {SECRET}") }),
            json!({ "pairs": [["authorization", "s3cret"], ["accept", "a/b"]] }),
            json!({ "header": { "headerName": "authorization", "value": "s3cret" } }),
            json!({ "header": { "name": "Authorization", "val": "s3cret" } }),
            json!({ "header": { "field_name": "cookie", "headerValue": "s3cret" } }),
            json!({ "psk": "s3cret" }),
            // Keys as text that is no JSON, and as JSON in JSON.
            json!({ "jwks": "{\"keys\":[{\"kty\":\"oct\",\"k\":\"short\"},]}" }),
            json!({ "jwks": "keys:\n  - kty: oct\n    k: short\n" }),
            json!({ "jwks": json!(json!({ "kty": "oct", "k": "short" }).to_string()).to_string() }),
            // In command lines, sentences, other notations, and connection strings.
            json!({ "line": "curl -u admin:s3cret https://h/p" }),
            json!({ "line": "curl -H 'X-Api-Key: s3cret' https://h" }),
            json!({ "line": "run --password s3cret --user u" }),
            json!({ "line": "send Basic dTpwYXNz with each request" }),
            json!({ "text": "{'password': 's3cret'}" }),
            json!({ "text": "{\"a\":1, \"password\": \"s3cret\",}" }),
            json!({ "text": "a: b, password: s3cret" }),
            json!({ "text": "password = s3cret" }),
            json!({ "text": "x; password := `s3cret`" }),
            json!({ "text": "x, 'password' => 's3cret'" }),
            json!({ "text": "<a><password>s3cret</password></a>" }),
            json!({ "text": "AccountName=a;AccountKey=s3cret;EndpointSuffix=core" }),
            json!({ "text": "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=s3cret" }),
            json!({ "text": "User ID=sa; Password = s3cret; Initial Catalog=db" }),
            json!({ "url": "https://h/p;password=s3cret" }),
            json!({ "url": "//u:s3cret@h/p" }),
            json!({ "url": "https://h/p?X-Amz-Signature=s3cret&x=y" }),
            json!({ "url": format!("https://hooks.example/services/{SECRET}") }),
            json!({ "line": "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=s3cret" }),
            // Hashes of passwords, and keys in other forms.
            json!({ "users": ["alice:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"] }),
            json!({ "user": "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub" }),
            json!({ "user": "{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=" }),
            json!({ "user": "SCRAM-SHA-256$4096:W22ZaJ0SNY7s$WG5d8oPm3OtcP:wfPLwcE6nTWh" }),
            json!({ "key": "AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQS3290GQ" }),
            json!({ "key": "PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\nAAAA" }),
            json!({ "key": "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/5\n" }),
            json!({ "set": "eyJrdHkiOiJvY3QiLCJrIjoic2hvcnQifQ==" }),
            json!({ "set": "data:application/json;base64,eyJrdHkiOiJvY3QiLCJrIjoic2hvcnQifQ==" }),
            // Names without anything that separates their words, and with a number.
            json!({ "PGPASSWORD": "s3cret" }),
            json!({ "userpassword": "s3cret" }),
            json!({ "dbpass": "s3cret" }),
            json!({ "apikeys": ["s3cret"] }),
            json!({ "password2": "s3cret" }),
            json!({ "otp": "123456" }),
            json!({ "basicAuth": "u:s3cret" }),
            json!({ "env": [{ "k": "password", "v": "s3cret" }] }),
            // Names that are secrets themselves.
            json!({ "https://u:s3cret@h/": { "weight": 1 } }),
            json!({ "to": { "password=s3cret": true } }),
            json!({ (jwt): "alice" }),
            json!({ "wrapped": "aGVsbG8gd29y\nbGQgMTIzaGVs\nbG8gd29ybGQx\n" }),
            json!(pem),
        ];
        for row in rows {
            let mut shown = row.clone();
            let taken = redact(&mut shown);
            assert!(!taken.is_empty(), "{row}");
            let text = shown.to_string();
            assert!(text.contains("redacted"), "{text}");
            for secret in &taken {
                let quoted = Value::String(secret.clone()).to_string();
                assert!(!text.contains(&quoted), "{secret}: {text}");
                assert!(secret.len() < 6 || !text.contains(secret), "{secret}: {text}");
            }
            let again = redact(&mut shown.clone());
            assert!(again.iter().all(|one| one.contains("redacted")), "{again:?}: {shown}");
        }
    }

    #[test]
    fn what_an_operator_needs_stays_readable() {
        let row = json!({
            "required": true,
            "forward": false,
            "clockSkew": "30s",
            "issuers": [{
                "issuer": "https://idp.shop.example",
                "audiences": ["shop"],
                "algorithms": ["ES256"],
                "jwks": { "keys": [{ "kty": "EC", "crv": "P-256", "kid": "sample", "x": SECRET, "y": SECRET }] },
                "claimsToHeaders": [{ "claim": "sub", "header": "x-user" }],
            }],
            "tokenUrl": "https://idp.shop.example/token",
            "secretName": "db",
            "passwordFile": "/run/secrets/db",
            "key": [{ "header": "x-user" }],
            "identity": "spiffe://shop.example/ns/shop/service/payments",
            "path": "/Orders/2024/January/ReportsForEverybody",
            "reads": ["authorization", "cookie", "x-api-key"],
            "statuses": [502, 503],
            "backoff": { "base": "25ms" },
            "public": "-----BEGIN PUBLIC KEY-----\nQUJD\n-----END PUBLIC KEY-----\n",
            "filter": "tamis/circuit-breaker",
            "mail": "mailto:somebody@shop.example",
            "who": "somebody@shop.example",
            "package": "https://packages.example:8080/@scope/name?page=2#top",
            "pair": ["authorization", "cookie"],
            "sentence": "a bucket of tokens, refilled: ten a second; see https://shop.example/limits",
            "grantType": "urn:ietf:params:oauth:token-type:jwt",
            "challenge": "Basic realm=\"back office\"",
            "words": "Basic usage of tokens; bypass=true; if x > y",
            "tokenType": "Bearer",
            "jwksUri": "https://idp.example/realms/Shop2/protocol/openid-connect/certs",
            "tenant": "https://login.example/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
            "template": "{shard}/${secret}/{user}",
            "query": "SELECT name FROM users WHERE id = 1",
            "lines": "allow: a\ndeny: b\n",
            "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        });
        let mut shown = row.clone();
        assert_eq!(redact(&mut shown), Vec::<String>::new());
        assert_eq!(shown, row);
    }

    #[test]
    fn text_that_quotes_a_secret_does_so_no_more() {
        let secrets = redact(&mut json!({ "secret": "correct horse", "password": "a" }));
        let text = "the key `correct horse` is too short for a HS256 key";
        assert_eq!(without(text, &secrets), "the key `(redacted)` is too short for a HS256 key");
    }
}
