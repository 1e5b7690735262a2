//! Names of fields: which are the same name, and which the host owns.
//!
//! A server that turns field names into variables (RFC 3875 §4.1.18: CGI, WSGI, PHP, Rack) reads `x_user`
//! as `x-user`. So names that differ only in characters other than letters and digits are one name here,
//! and have one owner.

use http::header::{HeaderMap, HeaderName};

/// Fields that only the host writes, or that belong to one connection.
const HOST: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-connection",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-original-url",
    "x-request-id",
    "x-rewrite-url",
];

/// Prefixes of the host's names.
const HOST_PREFIXES: &[&str] = &["x-forwarded-", "x-tamis-"];

/// Fields that must not follow a body, in addition to the host's: they route, authenticate, describe the
/// body or state what may be done with it (RFC 9110 §6.5.1).
const NO_TRAILERS: &[&str] = &[
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "cookie",
    "location",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "www-authenticate",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];
/// The same, by prefix.
const NO_TRAILER_PREFIXES: &[&str] = &["access-control-", "if-", "sec-"];

/// Names under which other gateways pass on where a request came from. Their services believe them.
const ORIGINS: &[&str] = &[
    "cf-connecting-ip",
    "fastly-client-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-real-ip",
];
/// Names of Envoy: the client's address, its original path and method, and how often to try again.
const ORIGIN_PREFIXES: &[&str] = &["x-envoy-"];

/// Whether a field states where a request came from, or its original path, in the words of another gateway, in any spelling.
pub fn is_origin_field(name: &str) -> bool {
    is_of(name, ORIGINS, ORIGIN_PREFIXES)
}

/// Whether a field may be a trailer: the host does not write it, it neither routes, authenticates nor describes a message
/// (RFC 9110 §6.5.1), and it states no origin.
pub fn may_follow_a_body(name: &str) -> bool {
    let is_of_heads = is_host_field(name) || is_origin_field(name);
    !is_of_heads && !is_of(name, NO_TRAILERS, NO_TRAILER_PREFIXES)
}

/// Whether the host writes that field, in any spelling.
pub fn is_host_field(name: &str) -> bool {
    is_of(name, HOST, HOST_PREFIXES)
}

/// Whether a name is another spelling of one that the host writes.
pub fn is_host_look_alike(name: &str) -> bool {
    is_odd(name) && is_host_field(name) && !is_spelled_as_the_host_does(name)
}

fn is_spelled_as_the_host_does(name: &str) -> bool {
    let prefixed = HOST_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    HOST.contains(&name) || (prefixed && !is_odd(name))
}

fn is_of(name: &str, names: &[&str], prefixes: &[&str]) -> bool {
    let begins = |prefix: &&str| {
        name.get(..prefix.len()).is_some_and(|beginning| is_same_name(beginning, prefix))
    };
    names.iter().any(|known| is_same_name(known, name)) || prefixes.iter().any(begins)
}

/// Whether two names are one to a server that turns names into variables.
pub fn is_same_name(one: &str, other: &str) -> bool {
    let fold = |octet: u8| match octet.is_ascii_alphanumeric() {
        true => octet.to_ascii_lowercase(),
        false => b'-',
    };
    one.len() == other.len() && one.bytes().map(fold).eq(other.bytes().map(fold))
}

/// Removes the fields of a head that are another spelling of `name`.
pub(crate) fn remove_other_spellings(headers: &mut HeaderMap, name: &str) {
    let other = |known: &HeaderName| {
        known.as_str().len() == name.len() && *known != *name && is_same_name(known.as_str(), name)
    };
    while let Some(alike) = headers.keys().find(|known| other(known)).cloned() {
        headers.remove(alike);
    }
}

/// Whether a name has a character that is not a letter, a digit or `-`.
#[inline]
pub fn is_odd(name: &str) -> bool {
    !name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}
