//! The key that a request shows, and the request without it.

use tamis_sdk::View;

use crate::config::ApiKeyRules;

/// Bytes of a key; a longer one is nobody's.
const MAX_KEY_OCTETS: usize = 512;

/// Keys in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresentedKeys {
    /// The request has no key.
    None,
    /// The request has one key.
    One {
        /// Its bytes.
        key: Vec<u8>,
        /// For a key in the query: path and query without it.
        path: Option<String>,
    },
    /// There are several, of which an upstream might believe another one.
    Many,
}

/// Finds the key of a request.
#[must_use]
pub fn find(rules: &ApiKeyRules, seen: View<'_>) -> PresentedKeys {
    let mut headers = seen.headers(&rules.header);
    let header = headers.next();
    if headers.next().is_some() {
        return PresentedKeys::Many;
    }
    let query = match (&rules.query, seen.path()) {
        (Some(name), Some(path)) => in_query(path, name),
        _ => PresentedKeys::None,
    };
    match (header, query) {
        (Some(_), PresentedKeys::One { .. } | PresentedKeys::Many) => PresentedKeys::Many,
        (Some(key), PresentedKeys::None) => {
            PresentedKeys::One { key: bounded(key.to_vec()), path: None }
        }
        (None, query) => query,
    }
}

/// An empty key hashes to that of nobody, as a key of more than [`MAX_KEY_OCTETS`] does.
fn bounded(key: Vec<u8>) -> Vec<u8> {
    if key.len() > MAX_KEY_OCTETS { Vec::new() } else { key }
}

/// The key under `name` in the query of a path. Names are compared after their escapes are resolved, as
/// upstreams do: a key under another spelling would stay in the request.
fn in_query(path: &str, name: &str) -> PresentedKeys {
    let Some((bare, query)) = path.split_once('?') else { return PresentedKeys::None };
    let (mut key, mut kept) = (None, Vec::new());
    for pair in query.split('&') {
        let (left, right) = pair.split_once('=').unwrap_or((pair, ""));
        if unescaped(left) != name.as_bytes() {
            kept.push(pair);
        } else if key.replace(unescaped(right)).is_some() {
            return PresentedKeys::Many;
        }
    }
    let Some(key) = key else { return PresentedKeys::None };
    let path = if kept.is_empty() { bare.to_owned() } else { format!("{bare}?{}", kept.join("&")) };
    PresentedKeys::One { key: bounded(key), path: Some(path) }
}

/// Resolves `%XX` and `+` (the form encoding of HTML); what is no escape stays.
fn unescaped(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let escape = match (first, after) {
            (b'%', [high, low, end @ ..]) => hex(*high).zip(hex(*low)).map(|digits| (digits, end)),
            _ => None,
        };
        match escape {
            Some(((high, low), end)) => {
                octets.push(high << 4 | low);
                rest = end;
            }
            None if *first == b'+' => octets.push(b' '),
            None => octets.push(*first),
        }
    }
    octets
}

fn hex(octet: u8) -> Option<u8> {
    char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
