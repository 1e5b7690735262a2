//! Secrets inside a text, found by their form: an address with credentials, a line of a header, a pair `password=…`, a token,
//! a hash of a password.

use std::ops::Range;

use super::name::{is_secret_name, words};
use super::pairs;

/// What stands in the place of a part of a text.
const HIDDEN: &str = "(redacted)";
/// Schemes of `Authorization` (RFC 9110 §11.6.2) whose credentials are one word.
const ONE_WORD: [&str; 5] = ["bearer", "basic", "negotiate", "apikey", "token"];
/// Names of parameters of an address that are a secret there, and elsewhere need not be …
const PARAMETERS: [&str; 2] = ["key", "code"];
/// … and last words of such names: `X-Amz-Signature`.
const SIGNATURES: [&str; 2] = ["sig", "signature"];
/// How hashes of passwords begin (crypt(5), PHC, RFC 5803), and keys of `age`. Who has such a hash can try passwords.
const PREFIXES: [&str; 16] = [
    "$1$",
    "$2a$",
    "$2b$",
    "$2x$",
    "$2y$",
    "$5$",
    "$6$",
    "$7$",
    "$y$",
    "$apr1$",
    "$argon2",
    "$scrypt$",
    "$pbkdf2",
    "SCRAM-SHA-",
    "AGE-SECRET-KEY-",
    "AGE-PLUGIN-",
];
/// Schemes of RFC 2307 whose values are hashes of passwords, without the digits of their length: `{SSHA512}…`.
const HASHES: [&str; 6] = ["SHA", "SSHA", "MD", "SMD", "CRYPT", "PBKDF"];
/// Schemes of addresses of people: what is before `@` is their name.
const PEOPLE: [&str; 5] = ["mailto", "sip", "sips", "xmpp", "acct"];

/// Whether a text as a whole is a secret.
pub(super) fn is_secret(text: &str) -> bool {
    is_private_pem(text)
        || is_token(text)
        || is_encoded(text)
        || has_credential(text)
        || is_random(text)
        || is_wrapped(text)
        || is_broken_key(text)
}

/// Hides the parts of a text that are secrets, and adds them to `taken`.
pub(super) fn hide_parts(text: &mut String, taken: &mut Vec<String>) {
    let mut parts = Vec::new();
    let mut begins = 0;
    for line in text.split_inclusive('\n') {
        of_line(line, begins, &mut parts);
        begins = begins.saturating_add(line.len());
    }
    // What is hidden already stays as it is.
    parts.retain(|part: &Range<usize>| {
        let secret = text.get(part.clone()).unwrap_or_default();
        !secret.is_empty() && !HIDDEN.contains(secret)
    });
    parts.sort_by_key(|part| part.start);
    let (mut shown, mut at) = (String::new(), 0);
    for part in merged(parts) {
        let (Some(before), Some(secret)) = (text.get(at..part.start), text.get(part.clone()))
        else {
            continue;
        };
        shown.push_str(before);
        shown.push_str(HIDDEN);
        taken.push(secret.to_owned());
        at = part.end;
    }
    shown.push_str(text.get(at..).unwrap_or_default());
    *text = shown;
}

/// Ranges sorted by their begin, those that overlap as one.
fn merged(parts: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for part in parts {
        match all.last_mut().filter(|last| part.start < last.end) {
            Some(last) => last.end = last.end.max(part.end),
            None => all.push(part),
        }
    }
    all
}

/// The secrets of a line that begins at `begins`.
fn of_line(line: &str, begins: usize, parts: &mut Vec<Range<usize>>) {
    let mut add = |part: &str| {
        let start = part.as_ptr().addr().saturating_sub(line.as_ptr().addr());
        let start = begins.saturating_add(start);
        parts.push(start..start.saturating_add(part.len()));
    };
    // A field of a message: `x-api-key: …` (RFC 9110 §5.1).
    if let Some((name, value)) = line.split_once(':') {
        let (name, value) = (name.trim(), value.trim());
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if is_name && !value.starts_with("//") && is_secret_name(name) {
            return add(unquoted(value));
        }
    }
    pairs::of_line(line, &mut add);
    let mut before = "";
    for word in line.split_whitespace() {
        let plain = unquoted(word);
        if follows(before, plain) || is_token(plain) || is_random(plain) || is_encoded(plain) {
            add(plain);
        } else if let Some(hash) = hash(word) {
            add(hash);
        } else if let Some(user) = argument(before, plain) {
            add(user);
        } else {
            addresses(word).for_each(|part| of_word(part, &mut add));
        }
        before = plain;
    }
}

/// Whether a word is a secret because of the one before it: `Bearer …`, `--password …`.
fn follows(before: &str, word: &str) -> bool {
    if before.eq_ignore_ascii_case("bearer") {
        return true;
    }
    // `Basic authentication` and `Basic realm="…"` are none.
    let code = word.trim_end_matches('=');
    let is_code = code.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_".contains(&b));
    let is_mixed = word.bytes().skip(1).any(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let is_coded = is_code && (is_mixed || code.len() < word.len());
    let scheme = ONE_WORD.iter().any(|one| before.eq_ignore_ascii_case(one));
    let option = before.strip_prefix("--").filter(|name| !name.contains('='));
    (scheme && is_coded) || option.is_some_and(is_secret_name)
}

/// The password of `-u name:password`.
fn argument<'a>(before: &str, word: &'a str) -> Option<&'a str> {
    let (_, password) =
        word.split_once(':').filter(|_| matches!(before, "-u" | "--user" | "--proxy-user"))?;
    Some(password)
}

/// The part of a word that is the hash of a password, to its end.
fn hash(word: &str) -> Option<&str> {
    let begins = PREFIXES.iter().filter_map(|one| word.find(one));
    let coded = word.find('{').filter(|at| {
        let scheme = word.get(at.saturating_add(1)..).and_then(|rest| rest.split_once('}'));
        scheme.is_some_and(|(scheme, hash)| {
            let scheme = scheme.split('-').next().unwrap_or_default().to_ascii_uppercase();
            let scheme = scheme.trim_end_matches(|one: char| one.is_ascii_digit());
            !hash.is_empty() && HASHES.contains(&scheme)
        })
    });
    word.get(begins.chain(coded).min()?..)
}

/// The parts of a word: addresses in a list, or what commas and semicolons separate.
fn addresses(word: &str) -> impl Iterator<Item = &str> {
    let has_scheme = word.contains("://");
    let mut rest = Some(word);
    std::iter::from_fn(move || {
        let now = rest?;
        let ends = now.match_indices([',', ';']).map(|(at, _)| at).find(|at| {
            // A password may contain them, so in addresses only those count that another address follows.
            let next = now.get(at.saturating_add(1)..).unwrap_or_default();
            !has_scheme || scheme(next).is_some()
        });
        match ends {
            Some(at) => {
                rest = now.get(at.saturating_add(1)..);
                now.get(..at)
            }
            None => rest.take(),
        }
    })
}

/// The scheme of an address, and what follows `://`.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = !scheme.is_empty()
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    is_scheme.then_some((scheme, rest))
}

/// The secrets of a word: of an address (`https://user:password@host`, `?token=…`), or of a pair `name=value`.
fn of_word<'a>(word: &'a str, add: &mut impl FnMut(&'a str)) {
    let word = unquoted(word);
    let (path, query) = match word.find(['?', '#']) {
        Some(at) => word.split_at(at),
        None => (word, ""),
    };
    if let Some(credential) = credential(path) {
        add(credential);
    }
    if let Some((_, rest)) = scheme(path) {
        rest.split('/').skip(1).filter(|segment| is_random(segment)).for_each(&mut *add);
    }
    let pairs = query.split(['?', '#', '&']);
    let plain = path.split('&').filter(|_| scheme(path).is_none());
    for (pair, of_address) in pairs.map(|pair| (pair, true)).chain(plain.map(|pair| (pair, false)))
    {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let last = || words(name).pop().unwrap_or_default();
        let known = of_address && PARAMETERS.iter().any(|one| name.eq_ignore_ascii_case(one));
        if known
            || SIGNATURES.contains(&last().as_str())
            || is_secret_name(name)
            || is_random(value)
        {
            add(unquoted(value));
        }
    }
}

/// The password of an address, or its user where it has none; with or without a scheme.
fn credential(path: &str) -> Option<&str> {
    // Without a scheme, `//` begins an authority too (RFC 3986 §4.2).
    let relative = || path.strip_prefix("//").map(|rest| (rest, true));
    let absolute = scheme(path).map(|(_, rest)| (rest, true));
    let (rest, has_scheme) = absolute.or_else(relative).unwrap_or((path, false));
    let authority = rest.split('/').next().unwrap_or_default();
    let user = if authority.contains('@') {
        authority.rsplit_once('@')?.0
    } else {
        // A password may contain `/` where it is not encoded as it should be; `host:8080/@name` is none.
        let (user, _) = rest.rsplit_once('@')?;
        let first = authority.split_once(':')?.1;
        if !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        user
    };
    match user.split_once(':') {
        Some((name, _)) if !has_scheme && PEOPLE.contains(&name) => None,
        Some((_, password)) => Some(password),
        None if has_scheme => Some(user),
        None => None,
    }
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(|c| {
        matches!(c, '"' | '\'' | '`' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>')
    })
    .trim_end_matches([',', ';'])
    .trim_matches(['"', '\''])
}

fn is_private_pem(text: &str) -> bool {
    // RFC 4716 has four dashes and a space.
    let begins = text
        .split("--BEGIN ")
        .chain(text.split("-- BEGIN "))
        .filter(|rest| rest.len() < text.len());
    begins.into_iter().any(|rest| {
        let label = rest.split("--").next().unwrap_or_default();
        label.contains("PRIVATE") || label.contains("SECRET")
    }) || text.starts_with("PuTTY-User-Key-File-")
}

/// An object of JSON, or PEM, in Base64: a token or a key, whatever is in it.
fn is_encoded(text: &str) -> bool {
    let text = text.rsplit_once("base64,").map_or(text, |(_, rest)| rest);
    let code = |b: u8| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b);
    let begins =
        ["eyJ", "eyA", "ewog", "ewoJ", "LS0tLS1CRUdJ"].iter().any(|one| text.starts_with(one));
    begins && text.len() >= 16 && text.bytes().all(code)
}

/// A JSON web token: three or five parts in base64url, the first of which is an object (RFC 7515 §3.1, 7516
/// §3.1).
fn is_token(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let code =
        |part: &&str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    text.starts_with("eyJ") && matches!(parts.len(), 3 | 5) && parts.iter().all(code)
}

/// `Bearer …`, `Basic …`, `Digest a="…", …`: a value of `Authorization` (RFC 9110 §11.6.2).
fn has_credential(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(' ') else { return false };
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("digest") || scheme.starts_with("AWS4-") {
        return rest.contains('=');
    }
    ONE_WORD.iter().any(|one| scheme.eq_ignore_ascii_case(one))
        && !rest.is_empty()
        && !rest.contains(' ')
}

/// A key or a set of keys (RFC 7517) that is no JSON: with a comma too many, or as YAML.
fn is_broken_key(text: &str) -> bool {
    text.contains("kty") && serde_json::from_str::<serde_json::Value>(text).is_err()
}

/// Random text that is broken into lines, as Base64 is.
fn is_wrapped(text: &str) -> bool {
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    lines > 1 && is_random(&text.split_whitespace().collect::<String>())
        // Lines of words are not random either way; each line of Base64 is one word.
        && text.lines().all(|line| line.split_whitespace().count() <= 1)
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
