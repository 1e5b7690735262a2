//! Names that mark a secret, in any notation.

/// Words that name a secret, alone or among others: `clientSecret`, `x-api-token`, `db_password`.
const SECRET_WORDS: [&str; 16] = [
    "secret",
    "secrets",
    "password",
    "passwd",
    "pass",
    "passphrase",
    "passcode",
    "pwd",
    "psk",
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
/// Last words of names that describe where a secret is or how it is used, not the secret itself.
pub(super) const ABOUT: [&str; 12] = [
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

/// Whether a name marks a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
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
pub(super) fn words(name: &str) -> Vec<String> {
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
