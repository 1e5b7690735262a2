//! Names that mark a secret, in any notation.

/// Words that name a secret, alone or among others: `clientSecret`, `x-api-token`, `db_password`.
const SECRET_WORDS: [&str; 18] = [
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
    "otp",
    "totp",
];
/// Ends of words that name a secret where no case and no sign separates words: `PGPASSWORD`, `dbpass`.
const SECRET_ENDS: [&str; 8] =
    ["password", "passwd", "passphrase", "passcode", "secret", "token", "credentials", "pass"];
/// Words with such an end that name none.
const NO_SECRETS: [&str; 7] =
    ["bypass", "compass", "encompass", "overpass", "surpass", "trespass", "underpass"];
/// Pairs of words that name a secret.
const SECRET_PAIRS: [(&str, &str); 15] = [
    ("api", "key"),
    ("private", "key"),
    ("secret", "key"),
    ("shared", "key"),
    ("signing", "key"),
    ("access", "key"),
    ("encryption", "key"),
    ("hmac", "key"),
    ("account", "key"),
    ("master", "key"),
    ("session", "key"),
    ("storage", "key"),
    ("license", "key"),
    ("deploy", "key"),
    ("basic", "auth"),
];
/// Last words of names that describe where a secret is or how it is used, not the secret itself.
pub(super) const ABOUT: [&str; 15] = [
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
    "type",
    "endpoint",
    "lifetime",
];

/// Whether a name marks a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    // `tokenUrl`, `secretName`, `password_file`: the place of a secret, not the secret.
    if words.len() > 1 && words.last().is_some_and(|last| ABOUT.contains(&last.as_str())) {
        return false;
    }
    // `password2` is another one.
    let plain: Vec<&str> =
        words.iter().map(|word| word.trim_end_matches(|one: char| one.is_ascii_digit())).collect();
    let has = |wanted: &str| plain.contains(&wanted);
    let ends = |word: &&str| {
        SECRET_ENDS.iter().any(|end| word.ends_with(end)) && !NO_SECRETS.contains(word)
    };
    let pair = |(one, other): &(&str, &str)| {
        words
            .windows(2)
            .any(|two| matches!(two, [a, b] if a == one && b.trim_end_matches('s') == *other))
    };
    let joined = words.concat();
    SECRET_WORDS.iter().any(|word| has(word))
        || SECRET_PAIRS.iter().any(pair)
        || SECRET_PAIRS
            .iter()
            .any(|(one, other)| joined.trim_end_matches('s').ends_with(&format!("{one}{other}")))
        || plain.iter().any(ends)
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
