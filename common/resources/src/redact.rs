//! Removes secrets from what is shown to people and programs.
//!
//! The author of a filter defines its configuration, so no list of names covers all secrets. Secrets are
//! recognised by their nature: private members of keys (RFC 7517), private keys and tokens by their form,
//! values of fields named as secrets in any notation, credentials in addresses, and text that looks random.
//! The replacement states the length of the hidden text, so that an empty value differs from a wrong one.

use serde_json::{Map, Value};

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
/// Words that name a secret, alone or among others: `clientSecret`, `x-api-token`, `db_password`.
const SECRET_WORDS: [&str; 14] = [
    "secret",
    "secrets",
    "password",
    "passwd",
    "pass",
    "passphrase",
    "pwd",
    "token",
    "tokens",
    "credential",
    "credentials",
    "authorization",
    "cookie",
    "bearer",
];
/// Pairs of words that name a secret.
const SECRET_PAIRS: [(&str, &str); 8] = [
    ("api", "key"),
    ("private", "key"),
    ("secret", "key"),
    ("shared", "key"),
    ("signing", "key"),
    ("access", "key"),
    ("encryption", "key"),
    ("hmac", "key"),
];
/// Members that say which key it is and what it is for (RFC 7517 §4).
const LABELS: [&str; 10] =
    ["kty", "use", "key_ops", "alg", "kid", "x5u", "x5c", "x5t", "x5t#S256", "name"];
/// Types of keys with public members (RFC 7518, 8037) …
const WITH_PUBLIC: [&str; 3] = ["RSA", "EC", "OKP"];
/// … and these members; all others of a key are private.
const PUBLIC: [&str; 5] = ["n", "e", "crv", "x", "y"];
/// Last words of names that describe where a secret is or how it is used, not the secret itself.
const ABOUT: [&str; 12] = [
    "file",
    "name",
    "header",
    "url",
    "uri",
    "path",
    "ref",
    "reference",
    "required",
    "audience",
    "issuer",
    "ttl",
];

fn walk(value: &mut Value, taken: &mut Vec<String>) {
    match value {
        Value::Object(members) => object(members, taken),
        Value::Array(list) => list.iter_mut().for_each(|one| walk(one, taken)),
        Value::String(text) => string(text, taken),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn object(members: &mut Map<String, Value>, taken: &mut Vec<String>) {
    let is_key = is_key(members);
    let kind = members.get("kty").and_then(Value::as_str);
    let has_public = kind.is_some_and(|kind| WITH_PUBLIC.contains(&kind));
    let is_shown = |name: &str| LABELS.contains(&name) || (has_public && PUBLIC.contains(&name));
    // `{ name: authorization, value: … }`: one member names the secret, another contains it.
    let named = ["name", "header", "key", "field"]
        .iter()
        .any(|member| members.get(*member).and_then(Value::as_str).is_some_and(is_secret_name));
    for (name, value) in members.iter_mut() {
        let private = if is_key {
            !is_shown(name)
        } else {
            is_secret_name(name)
                || (named && matches!(name.as_str(), "value" | "values" | "content" | "text"))
        };
        if private {
            hide(value, taken);
        } else if !is_key {
            walk(value, taken);
        }
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
    // The text may be JSON itself, such as a key set.
    if text.trim_start().starts_with(['{', '['])
        && let Ok(mut inner) = serde_json::from_str::<Value>(text)
    {
        let before = taken.len();
        walk(&mut inner, taken);
        if taken.len() > before {
            *text = inner.to_string();
        }
        return;
    }
    if is_private_pem(text) || is_token(text) || has_credential(text) || is_random(text) {
        return take(text, taken);
    }
    address(text, taken);
}

fn is_private_pem(text: &str) -> bool {
    let begins = text.split("-----BEGIN ").skip(1);
    begins.into_iter().any(|rest| {
        let label = rest.split("-----").next().unwrap_or_default();
        label.contains("PRIVATE") || label.contains("SECRET")
    })
}

/// A JSON web token: three or five parts in base64url, the first of which is an object (RFC 7515 §3.1, 7516
/// §3.1).
fn is_token(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let code =
        |part: &&str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    text.starts_with("eyJ") && matches!(parts.len(), 3 | 5) && parts.iter().all(code)
}

/// `Bearer …`, `Basic …`: a value of `Authorization` (RFC 9110 §11.6.2).
fn has_credential(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(' ') else { return false };
    let known = ["bearer", "basic", "digest", "negotiate", "apikey", "token"];
    known.iter().any(|one| scheme.eq_ignore_ascii_case(one))
        && !rest.trim().is_empty()
        && !rest.trim().contains(' ')
}

/// Long text without words: upper case, lower case and digits mixed, or long hexadecimal. Digests have a
/// prefix, by which they are recognised.
fn is_random(text: &str) -> bool {
    let (mut seen, mut before, mut turns) = ([0_usize; 3], None, 0_usize);
    for b in text.bytes() {
        let kind = match b {
            b'A'..=b'Z' => 0,
            b'a'..=b'z' => 1,
            b'0'..=b'9' => 2,
            b'-' | b'_' | b'+' | b'/' | b'=' => continue,
            _ => return false,
        };
        let turned = before.replace(kind).is_some_and(|before| before != kind);
        turns = turns.saturating_add(usize::from(turned));
        if let Some(count) = seen.get_mut(kind) {
            *count = count.saturating_add(1);
        }
    }
    let hexadecimal = text.len() >= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    // Words are runs of one kind of character; in random text two of three characters differ in kind from
    // the previous one.
    let mixed = text.len() >= 20
        && seen.iter().all(|count| *count > 0)
        && turns.saturating_mul(3) >= text.len();
    hexadecimal || mixed
}

/// Credentials in an address: `https://user:password@host`, `?token=…`.
fn address(text: &mut String, taken: &mut Vec<String>) {
    let Some((scheme, rest)) = text.split_once("://") else { return };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let mut shown = text.clone();
    if let Some((user, _)) = authority.rsplit_once('@') {
        let secret = user.split_once(':').map_or(user, |(_, password)| password).to_owned();
        if !secret.is_empty() {
            shown = shown.replacen(
                &format!("{scheme}://{user}@"),
                &format!("{scheme}://(redacted)@"),
                1,
            );
            taken.push(secret);
        }
    }
    if let Some((_, query)) = text.split_once('?') {
        for pair in query.split('#').next().unwrap_or_default().split('&') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let secret =
                is_secret_name(name) || name.eq_ignore_ascii_case("sig") || is_random(value);
            if secret && !value.is_empty() {
                shown = shown.replacen(pair, &format!("{name}=(redacted)"), 1);
                taken.push(value.to_owned());
            }
        }
    }
    *text = shown;
}

/// Whether a name marks a secret.
fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    // `tokenUrl`, `secretName`, `password_file`: the place of a secret, not the secret.
    if words.len() > 1 && words.last().is_some_and(|last| ABOUT.contains(&last.as_str())) {
        return false;
    }
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    let pair = |(one, other): &(&str, &str)| {
        words
            .windows(2)
            .any(|two| matches!(two, [a, b] if a == one && b.trim_end_matches('s') == *other))
    };
    let joined = words.concat();
    SECRET_WORDS.iter().any(|word| has(word))
        || SECRET_PAIRS.iter().any(pair)
        || SECRET_PAIRS.iter().any(|(one, other)| joined == format!("{one}{other}"))
}

/// The words of a name, in lower case: `clientSecret`, `client-secret`, `CLIENT_SECRET` and `X.Client.Secret` have the same
/// last two.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for one in name.chars() {
        let begins = one.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit());
        if !one.is_alphanumeric() || begins {
            words.push(String::new());
        }
        if one.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(one.to_lowercase());
        }
        before = one;
    }
    words.retain(|word| !word.is_empty());
    words
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
            assert!(again.iter().all(|one| one.contains("redacted")), "{again:?}");
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
