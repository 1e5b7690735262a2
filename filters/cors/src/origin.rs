//! Origins as browsers write them (RFC 6454 §6.2), and patterns of them.

use std::fmt;

/// An origin: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    /// `None`: the default of the scheme.
    port: Option<u16>,
}

/// Bytes of a host name (RFC 1035 §2.3.4).
const MAX_HOST_OCTETS: usize = 253;

impl Origin {
    /// Parses `SCHEME://HOST[:PORT]`; the default port of a scheme is the same as none. `None` for
    /// anything else, `null` included: every sandboxed page has that origin.
    #[must_use]
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let (scheme, rest) = std::str::from_utf8(octets).ok()?.split_once("://")?;
        let word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(word) {
            return None;
        }
        let (host, port) = host_and_port(rest)?;
        let scheme = scheme.to_ascii_lowercase();
        let port = port.filter(|port| Some(*port) != default_port(&scheme));
        Some(Self { host: host.to_ascii_lowercase(), port, scheme })
    }
}

/// Splits and checks: a name, an IPv4 address, or an IPv6 address in brackets.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(after) = text.strip_prefix('[') {
        let (address, rest) = after.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        let host = text.get(..address.len().checked_add(2)?)?;
        return Some((host, port_of(rest)?));
    }
    let end = text.find(':').unwrap_or(text.len());
    let (host, rest) = text.split_at(end);
    let named = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let whole = !host.is_empty()
        && host.len() <= MAX_HOST_OCTETS
        && host.chars().all(named)
        && host.split('.').all(|label| !label.is_empty());
    if whole { Some((host, port_of(rest)?)) } else { None }
}

/// The port after a host: nothing, or `:` and digits. `None`: it is neither.
fn port_of(text: &str) -> Option<Option<u16>> {
    let Some(digits) = text.strip_prefix(':') else { return text.is_empty().then_some(None) };
    let digit = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    if digit { digits.parse().ok().map(Some) } else { None }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// Origins that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// `*`: every origin.
    Every,
    /// One origin.
    One(Origin),
    /// `SCHEME://*.HOST[:PORT]`: all below a host, at any depth, and not the host itself. The host here
    /// begins with its dot.
    Below(Origin),
}

/// A text that is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatternError;

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write `*`, SCHEME://HOST[:PORT] or SCHEME://*.HOST[:PORT], such as https://*.shop.example; no path")
    }
}

impl std::error::Error for PatternError {}

impl OriginPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// The text has none of the three forms.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Every);
        }
        let parsed = match text.split_once("://*.") {
            Some((scheme, rest)) => Origin::parse(format!("{scheme}://{rest}").as_bytes())
                .filter(|origin| !origin.host.starts_with('['))
                .map(|origin| Self::Below(Origin { host: format!(".{}", origin.host), ..origin })),
            None => Origin::parse(text.as_bytes()).map(Self::One),
        };
        parsed.ok_or(PatternError)
    }

    /// Whether it contains an origin.
    #[must_use]
    pub fn contains(&self, origin: &Origin) -> bool {
        match self {
            Self::Every => true,
            Self::One(one) => one == origin,
            Self::Below(end) => {
                let below =
                    origin.host.strip_suffix(&end.host).is_some_and(|label| !label.is_empty());
                below && (&origin.scheme, origin.port) == (&end.scheme, end.port)
            }
        }
    }
}
