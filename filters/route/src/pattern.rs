//! Conditions on single values.

use std::borrow::Cow;

use regex_lite::Regex;
use tamis_sdk::ConfigError;

use crate::config::ValueKind;
use crate::literal::Affixes;

/// A value to be equal to, or an expression the whole value must match.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// Equal.
    Exact(String),
    /// Matches; anchored at both ends.
    Expression(Box<Regex>),
}

impl Pattern {
    /// Compiles a condition; `pointer` is its place in the configuration.
    ///
    /// # Errors
    /// The expression is not a regular expression.
    pub fn new(kind: ValueKind, value: &str, pointer: &str) -> Result<Self, ConfigError> {
        match kind {
            ValueKind::Exact => Ok(Self::Exact(value.to_owned())),
            ValueKind::RegularExpression => {
                Ok(Self::Expression(Box::new(expression(value, pointer)?)))
            }
        }
    }

    /// Whether the value satisfies the condition.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => wanted.as_bytes() == value,
            Self::Expression(expression) => {
                std::str::from_utf8(value).is_ok_and(|text| expression.is_match(text))
            }
        }
    }
}

impl Pattern {
    /// How every value begins and ends that satisfies the condition.
    #[must_use]
    pub(crate) fn affixes(&self) -> Affixes {
        match self {
            Self::Exact(wanted) => Affixes { prefix: wanted.clone(), suffix: wanted.clone() },
            Self::Expression(expression) => affixes(expression),
        }
    }

    /// Whether a list satisfies the condition, with any white space around its commas (RFC 9110 §5.6.1).
    #[must_use]
    pub fn matches_as_list(&self, value: &[u8]) -> bool {
        let members = |list: &'_ [u8]| -> Vec<Vec<u8>> {
            list.split(|octet| *octet == b',').map(|member| member.trim_ascii().to_vec()).collect()
        };
        match self {
            Self::Exact(wanted) => {
                value.contains(&b',') && members(wanted.as_bytes()) == members(value)
            }
            Self::Expression(_) => false,
        }
    }
}

/// What makes an expression match a complete text.
const OPEN: &str = "^(?:";
const CLOSE: &str = ")$";

/// An expression that must match a complete text.
///
/// # Errors
/// The text is not a regular expression.
pub fn expression(text: &str, pointer: &str) -> Result<Regex, ConfigError> {
    // Checked without anchors first: `a)(b` is an error although its anchored form would parse.
    Regex::new(text)
        .and_then(|_| Regex::new(&format!("{OPEN}{text}{CLOSE}")))
        .map_err(|error| ConfigError::at(pointer, format!("not a regular expression: {error}")))
}

/// How every text begins and ends that matches an expression made by [`expression`].
pub(crate) fn affixes(expression: &Regex) -> Affixes {
    let anchored = expression.as_str();
    let text = anchored.strip_prefix(OPEN).and_then(|text| text.strip_suffix(CLOSE));
    text.map(Affixes::of).unwrap_or_default()
}

/// Host of an authority: no port, lower case.
#[must_use]
pub fn host_of(authority: &str) -> Cow<'_, str> {
    let host = without_port(authority);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// Host, unchanged; an IPv6 address keeps its brackets.
#[must_use]
pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// First value of a query parameter, percent-decoded.
#[must_use]
pub fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, [u8]>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key).as_ref() == name.as_bytes()).then(|| decoded(value))
    })
}

/// `application/x-www-form-urlencoded`; broken escapes stay unchanged.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, escape(after)) {
            (b'%', Some((octet, after))) => {
                out.push(octet);
                rest = after;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(first),
        }
    }
    Cow::Owned(out)
}

fn escape(after: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = after.split_at_checked(2)?;
    let text = std::str::from_utf8(digits).ok().filter(|t| !t.starts_with('+'))?;
    Some((u8::from_str_radix(text, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_the_host() {
        for (authority, host) in
            [("A.b:80", "a.b"), ("a.b", "a.b"), ("[::1]:8080", "[::1]"), ("[::1]", "[::1]")]
        {
            assert_eq!(host_of(authority), host);
        }
    }

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        assert_eq!(query_value("a=1&b=x%20y+z&b=2", "b").as_deref(), Some(&b"x y z"[..]));
        assert_eq!(query_value("a", "a").as_deref(), Some(&b""[..]));
        assert_eq!(query_value("a=%zz%4", "a").as_deref(), Some(&b"%zz%4"[..]));
        assert_eq!(query_value("a=1", "b"), None);
    }

    #[test]
    fn an_expression_matches_the_whole_value() {
        let pattern = Pattern::new(ValueKind::RegularExpression, "a|b", "/x").unwrap();
        assert!(pattern.matches(b"a") && pattern.matches(b"b") && !pattern.matches(b"ab"));
        let error = Pattern::new(ValueKind::RegularExpression, "a)(b", "/x").unwrap_err();
        assert_eq!(error.pointer, "/x");
    }
}
