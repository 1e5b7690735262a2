//! Texts with a grammar: durations, sizes, rates, names and addresses.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration of the Gateway API (GEP-2257), like `1m30s` or `250ms`; in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// A size in memory, like `8MiB` or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A rate, like `100/m`, or a number per second; stored per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(pub f64);

impl Millis {
    /// Reads up to four of `NUMBER(h|m|s|ms)`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mut rest, mut total, mut parts) = (text, 0u64, 0);
        while !rest.is_empty() {
            let end =
                rest.find(|c: char| !c.is_ascii_digit()).filter(|end| (1..=5).contains(end))?;
            let (digits, tail) = rest.split_at(end);
            let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let scale = match unit {
                "h" => 3_600_000,
                "m" => 60_000,
                "s" => 1_000,
                "ms" => 1,
                _ => return None,
            };
            total = total.checked_add(digits.parse::<u64>().ok()?.checked_mul(scale)?)?;
            parts = u8::checked_add(parts, 1)?;
            rest = tail;
        }
        (1..=4).contains(&parts).then_some(Self(total))
    }
}

/// The shortest notation; at most 99,999 hours can be written.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.0 / 1000, self.0 % 1000);
        let parts =
            [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s"), (ms, "ms")];
        for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, "{number}{unit}")?;
        }
        if self.0 == 0 { f.write_str("0s") } else { Ok(()) }
    }
}

impl Bytes {
    /// Reads `NUMBER` with `KiB`, `MiB`, `GiB` or no unit.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1u64 << 30)];
        let found = units.iter().find_map(|(unit, by)| Some((text.strip_suffix(unit)?, *by)));
        let (digits, scale) = found.unwrap_or((text, 1));
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().ok()?.checked_mul(scale).map(Self)).flatten()
    }
}

impl Rate {
    /// Reads `NUMBER/s`, `NUMBER/m` or `NUMBER/h`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (digits, unit) = text.split_once('/')?;
        let seconds = match unit {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u32>().ok()).flatten().map(|n| Self(f64::from(n) / seconds))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DurationText {
    Number(u64),
    Text(String),
}

macro_rules! written {
    ($name:ident, $format:literal, $types:expr, $from_number:expr, $out:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let from_number: fn(u64) -> Option<Self> = $from_number;
                let read = match DurationText::deserialize(deserializer)? {
                    DurationText::Number(number) => from_number(number),
                    DurationText::Text(text) => Self::parse(&text),
                };
                read.ok_or_else(|| de::Error::custom(rule($format)))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let out: fn(&Self, S) -> Result<S::Ok, S::Error> = $out;
                out(self, serializer)
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $types, "format": $format })
            }
        }
    };
}
written!(Millis, "gateway-duration", "string", |_| None, |it, to| to
    .serialize_str(&it.to_string()));
written!(Bytes, "bytes", ["string", "integer"], |n| Some(Bytes(n)), |it, to| to
    .serialize_u64(it.0));
written!(
    Rate,
    "rate",
    ["string", "integer"],
    |n| u32::try_from(n).ok().map(|n| Rate(n.into())),
    |it, to| { to.serialize_str(&format!("{}/h", (it.0 * 3600.0).round())) }
);

/// The rule of a format in words.
pub(crate) fn rule(format: &str) -> &'static str {
    match format {
        "gateway-duration" => "write a duration such as 250ms, 10s or 1h30m",
        "bytes" => "write a size such as 512KiB, 8MiB or a number of bytes",
        "rate" => "write a rate such as 10/s, 100/m, 5000/h, or a number per second",
        "resource-name" => "a name has lower-case letters, digits, `-` and `.`, at most 253",
        "spiffe-id" => "write an identity such as spiffe://trust.domain/path",
        "host-port" => "write an address such as 127.0.0.1:8080",
        "endpoint" => "write an endpoint such as 127.0.0.1:9001, host.name:9001 or unix:/path",
        "filter-name" => "write the filter as namespace/name",
        "service-name" => "write the service as namespace/name",
        "pinned-service" => {
            "write the service as namespace/name, or `*` for all that have no pin of their own"
        }
        "digest" => "a digest is sha256: and 64 lower-case hex digits",
        "acme-directory" => {
            "write the URL of a directory, such as https://acme.example/directory: https, a name or an IP address, and printable ASCII without user, query or fragment"
        }
        "hostname" => "write a hostname such as shop.example or *.shop.example, without port",
        "server-name" => {
            "write a server name such as shop.example or *.shop.example, without port; no client asks for an IP address by it (RFC 6066 §3)"
        }
        _ => "see the schema",
    }
}

/// What a text of that format is called.
pub(crate) fn name(format: &str) -> Option<&'static str> {
    match format {
        "gateway-duration" => Some("a duration"),
        "bytes" => Some("a size"),
        "rate" => Some("a rate"),
        _ => None,
    }
}

/// The unit that was most likely left out of a text of that format.
pub(crate) fn unit(format: &str) -> Option<&'static str> {
    (format == "gateway-duration").then_some("ms")
}

/// Whether `text` has that format; unknown formats accept every text.
pub(crate) fn accepts(format: &str, text: &str) -> bool {
    match format {
        "gateway-duration" => Millis::parse(text).is_some(),
        "bytes" => Bytes::parse(text).is_some(),
        "rate" => Rate::parse(text).is_some(),
        "resource-name" => is_name(text),
        "spiffe-id" => text.strip_prefix("spiffe://").is_some_and(|rest| {
            let (domain, path) = rest.split_once('/').unwrap_or((rest, "x"));
            text.len() <= MAX_SPIFFE_ID && is_name(domain) && path.split('/').all(is_segment)
        }),
        "host-port" => text.parse::<std::net::SocketAddr>().is_ok(),
        "endpoint" => endpoint(text),
        "filter-name" | "service-name" => {
            text.split_once('/').is_some_and(|(ns, name)| is_name(ns) && is_name(name))
        }
        "pinned-service" => text == "*" || accepts("service-name", text),
        "digest" => text.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        }),
        "acme-directory" => is_directory(text),
        "hostname" => is_name(text.strip_prefix("*.").unwrap_or(text)),
        "server-name" => accepts("hostname", text) && text.parse::<std::net::IpAddr>().is_err(),
        _ => true,
    }
}

fn endpoint(text: &str) -> bool {
    if let Some(path) = text.strip_prefix("unix:") {
        return path.len() > 1;
    }
    let dns = text.rsplit_once(':').is_some_and(|(host, port)| {
        is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    dns || text.parse::<std::net::SocketAddr>().is_ok()
}

/// Longest SPIFFE id in bytes (SPIFFE-ID §2.3).
const MAX_SPIFFE_ID: usize = 2048;

/// Whether a SPIFFE id may have such a segment in its path (SPIFFE-ID §2.2). An id that no certificate can carry would
/// match nobody, or somebody else at whoever decodes it.
fn is_segment(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !matches!(text, "" | "." | "..") && text.bytes().all(inner)
}

/// Whether a text is the URL of an ACME directory: one that everybody reads in the same way.
fn is_directory(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let bracketed = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let is_host = |host: &str| is_host(host) || bracketed(host);
    let with_port = authority.rsplit_once(':').is_some_and(|(host, port)| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        is_host(host) && digits && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\\\"<>^`{|}".contains(&byte);
    (is_host(authority) || with_port) && path.bytes().all(plain)
}

/// Whether a text is a name of DNS or an IPv4 address in the one form that has one reading: resolvers take `127.1`, `0x7f.1` and
/// `2130706433` for addresses too, and no name of a host ends in a number (RFC 1123 §2.1, WHATWG URL "ends in a number").
fn is_host(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x");
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    text.parse::<std::net::Ipv4Addr>().is_ok() || (is_name(text) && !is_number)
}

fn is_name(text: &str) -> bool {
    let inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    (1..=253).contains(&text.len())
        && text.bytes().all(inner)
        && !text
            .split('.')
            .any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_those_that_a_certificate_can_carry() {
        let long = format!("spiffe://a.b/{}", "c".repeat(2_048));
        for (text, fits) in [
            ("spiffe://shop.example", true),
            ("spiffe://shop.example/ns/shop/service/A_b-c.d", true),
            ("spiffe://shop.example/", false),
            ("spiffe://shop.example/ns//x", false),
            ("spiffe://shop.example/ns/./x", false),
            ("spiffe://shop.example/ns/acme/../beta", false),
            ("spiffe://shop.example/ns/acme/%2e%2e/beta", false),
            ("spiffe://shop.example/ns/acme?x", false),
            ("spiffe://shop.example/ns/acme#x", false),
            ("spiffe://shop.example/ns/a b", false),
            ("spiffe://shop.example/ns/\u{e9}", false),
            ("spiffe://shop.example:1/x", false),
            ("spiffe://Shop.example/x", false),
            ("https://shop.example/x", false),
            (&long, false),
        ] {
            assert_eq!(accepts("spiffe-id", text), fits, "{text}");
        }
    }

    #[test]
    fn a_directory_is_a_url_that_everybody_reads_in_the_same_way() {
        for (text, fits) in [
            ("https://acme.example/directory", true),
            ("https://acme.example:14000/dir", true),
            ("https://127.0.0.1:14000/dir", true),
            ("https://[::1]:14000/dir", true),
            ("https://acme.example", true),
            ("https://acme.0x.example", true),
            ("https://127.1:14000/dir", false),
            ("https://2130706433/dir", false),
            ("https://0x7f000001/dir", false),
            ("https://0x7f.0.0.0x1/dir", false),
            ("https://0177.0.0.1/dir", false),
            ("https://127.0.0.1.:14000/dir", false),
            ("http://acme.example/directory", false),
            ("https://user@acme.example/directory", false),
            ("https://acme.example:0/directory", false),
            ("https://acme.example:+1/directory", false),
            ("https://acme.example:65536/directory", false),
            ("https://acme.example/directory?a=b", false),
            ("https://acme.example/directory#a", false),
            ("https://acme.example/a b", false),
            ("https://acme.example\\@evil.example/", false),
            ("https://ACME.example/", false),
            ("https:///directory", false),
            ("acme.example/directory", false),
        ] {
            assert_eq!(accepts("acme-directory", text), fits, "{text}");
        }
    }

    #[test]
    fn an_endpoint_is_a_name_or_an_address_that_everybody_reads_in_the_same_way() {
        for (text, fits) in [
            ("127.0.0.1:80", true),
            ("[::1]:80", true),
            ("a.example:80", true),
            ("a1:80", true),
            ("1a:80", true),
            ("unix:/run/a", true),
            ("127.1:80", false),
            ("127.0.1:80", false),
            ("0177.0.0.1:80", false),
            ("2130706433:80", false),
            ("0x7f000001:80", false),
            ("0x7f.1:80", false),
            ("a.example.1:80", false),
            ("a.example:0", false),
            ("unix:", false),
        ] {
            assert_eq!(accepts("endpoint", text), fits, "{text}");
        }
    }

    #[test]
    fn durations_are_those_of_the_gateway_api() {
        for (text, ms) in [("0s", 0), ("250ms", 250), ("1h30m", 5_400_000), ("1m1s1ms", 61_001)] {
            assert_eq!(Millis::parse(text), Some(Millis(ms)), "{text}");
            assert_eq!(Millis(ms).to_string(), text);
        }
        for text in ["", "1", "1d", "100000s", "1.5s", "-1s", "s", "1s1s1s1s1s"] {
            assert_eq!(Millis::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_and_rates_need_a_known_unit() {
        assert_eq!(Bytes::parse("8MiB"), Some(Bytes(8 << 20)));
        assert_eq!(Bytes::parse("8MB"), None);
        assert_eq!(Rate::parse("60/m"), Some(Rate(1.0)));
        assert_eq!(Rate::parse("60/d"), None);
    }

    #[test]
    fn endpoints_are_sockets_names_or_paths() {
        for good in ["127.0.0.1:1", "[::1]:80", "a.b:80", "unix:/tmp/a"] {
            assert!(accepts("endpoint", good), "{good}");
        }
        for bad in ["127.0.0.1", "a:b:80", "unix:", "a.b:0", "a.b:99999"] {
            assert!(!accepts("endpoint", bad), "{bad}");
        }
    }
}
