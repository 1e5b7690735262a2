//! Ownership of fields.
//!
//! A server that turns field names into variables (RFC 3875 §4.1.18: CGI, WSGI, PHP, Rack) reads `x_user`
//! as `x-user`. So names that differ only in characters other than letters and digits are one name here,
//! and have one owner: the host, a filter that declares to write it, or the sender of the message. A
//! trailer is owned like the header of that name.

use crate::{TRAILER, Writes};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

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
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "www-authenticate",
];
/// The same, by prefix.
const NO_TRAILER_PREFIXES: &[&str] = &["access-control-", "if-", "sec-"];

/// Trailers of gRPC, which are part of its protocol ("gRPC over HTTP/2", Responses).
const GRPC: &[&str] = &["grpc-message", "grpc-status", "grpc-status-details-bin"];

/// The fields that the filters of a chain write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// Names as declared.
    names: Vec<Box<str>>,
    /// One of the names has a character that is not a letter, a digit or `-`.
    odd: bool,
    /// A filter declares every header.
    all: bool,
}

impl Owners {
    /// The owners that the filters' declarations result in.
    pub fn of<'a>(writes: impl IntoIterator<Item = &'a Writes>) -> Self {
        let mut owners = Self::default();
        for name in writes.into_iter().flat_map(Writes::names) {
            match name.as_str() {
                "*" => owners.all = true,
                name if name.starts_with(['@', ':']) || name.starts_with(TRAILER) => {}
                name => owners.names.push(name.into()),
            }
        }
        owners.names.sort_unstable();
        owners.names.dedup();
        owners.odd = owners.names.iter().any(|name| is_odd(name));
        owners
    }

    /// Removes fields of a received head whose names are another spelling of an owned name.
    ///
    /// Looks at each name once; a name of letters, digits and `-` only is never another spelling of such a
    /// name.
    pub fn remove_look_alikes(&self, headers: &mut HeaderMap) {
        let doubtful = |name: &HeaderName| self.odd || is_odd(name.as_str());
        if !headers.keys().any(doubtful) {
            return;
        }
        let alike: Vec<HeaderName> =
            headers.keys().filter(|name| self.is_look_alike(name.as_str())).cloned().collect();
        for name in alike {
            headers.remove(name);
        }
    }

    fn is_look_alike(&self, name: &str) -> bool {
        let declared = || self.names.iter().map(|declared| &**declared);
        if declared().any(|declared| declared == name) {
            return false;
        }
        is_host_look_alike(name) || declared().any(|declared| is_same_name(declared, name))
    }

    /// Removes trailers that have an owner or must not follow a body. Returns whether any are left.
    pub fn clean_trailers(&self, trailers: &mut HeaderMap) -> bool {
        let owned: Vec<HeaderName> =
            trailers.keys().filter(|name| self.owns_trailer(name.as_str())).cloned().collect();
        for name in owned {
            trailers.remove(name);
        }
        !trailers.is_empty()
    }

    /// Reduces `trailer` of a head to the trailers that may pass, or removes it when there are none. A
    /// sender of HTTP/1.1 announces them before the body (RFC 9110 §6.6.2).
    pub fn clean_trailer_names(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(header::TRAILER) {
            return;
        }
        let lines = headers.get_all(header::TRAILER).iter().filter_map(|line| line.to_str().ok());
        let names = lines.flat_map(|line| line.split(',')).map(str::trim);
        let mut kept = String::new();
        for name in names.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()) {
            if !self.owns_trailer(name.as_str()) {
                kept.push_str(if kept.is_empty() { "" } else { ", " });
                kept.push_str(name.as_str());
            }
        }
        headers.remove(header::TRAILER);
        if let (false, Ok(kept)) = (kept.is_empty(), HeaderValue::try_from(kept)) {
            headers.insert(header::TRAILER, kept);
        }
    }

    fn owns_trailer(&self, name: &str) -> bool {
        let declared = self.names.iter().any(|declared| is_same_name(declared, name));
        let all = self.all && !GRPC.contains(&name);
        declared || all || !may_follow_a_body(name)
    }
}

/// Whether a field may be a trailer: the host does not write it, and it neither routes, authenticates nor
/// describes a message (RFC 9110 §6.5.1).
pub(crate) fn may_follow_a_body(name: &str) -> bool {
    !is_host_field(name) && !is_of(name, NO_TRAILERS, NO_TRAILER_PREFIXES)
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

fn is_odd(name: &str) -> bool {
    !name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[&str]) -> HeaderMap {
        let value = HeaderValue::from_static("1");
        names.iter().map(|name| (name.parse().unwrap(), value.clone())).collect()
    }

    fn left(map: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn another_spelling_of_an_owned_name_goes_and_what_nobody_owns_stays() {
        let owners = Owners::of(&[Writes::new(["x-user", "x_team", ":path", "@mark"])]);
        let mut head = map(&[
            "x-user",
            "x_user",
            "x.user",
            "x_team",
            "x-team",
            "x_forwarded_for",
            "x-forwarded_host",
            "x_forwarded_proto",
            "x-forwarded-for",
            "trace_parent",
            "traceparent",
            "x_request_id",
            "content_length",
            "transfer_encoding",
            "http2_settings",
            "x_tamis_reason",
            "x-mine",
            "x_mine",
            "user_agent",
        ]);
        owners.remove_look_alikes(&mut head);
        assert_eq!(
            left(&head),
            [
                "trace_parent",
                "traceparent",
                "user_agent",
                "x-forwarded-for",
                "x-mine",
                "x-user",
                "x_mine",
                "x_team"
            ]
        );
    }

    #[test]
    fn a_head_names_the_trailers_that_pass_and_no_others() {
        let owners = Owners::of(&[Writes::new(["x-user"])]);
        for (named, kept) in [
            (&["X-Sum, x_user", "Cookie,x-b"][..], Some("x-sum, x-b")),
            (&["x-user"], None),
            (&["a b"], None),
            (&[], None),
        ] {
            let mut head = HeaderMap::new();
            for line in named {
                head.append(header::TRAILER, line.parse().unwrap());
            }
            owners.clean_trailer_names(&mut head);
            let left: Vec<_> = head.get_all(header::TRAILER).iter().collect();
            assert_eq!(left, kept.into_iter().collect::<Vec<_>>(), "{named:?}");
        }
    }

    #[test]
    fn a_trailer_is_owned_like_the_same_field_in_the_head() {
        let owners = Owners::of(&[Writes::new(["x-user"])]);
        let owned = [
            "x-user",
            "x_user",
            "authorization",
            "cookie",
            "set-cookie",
            "host",
            "content-length",
            "transfer-encoding",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded-client-cert",
            "forwarded",
            "via",
            "traceparent",
            "tracestate",
            "x-request-id",
            "x-tamis-reason",
            "content-type",
            "te",
            "trailer",
            "upgrade",
            "connection",
            "if-match",
            "www-authenticate",
            "access-control-allow-origin",
            "strict-transport-security",
            "x-original-url",
        ];
        for name in owned {
            let mut trailers = map(&[name, "x-sum"]);
            assert!(owners.clean_trailers(&mut trailers));
            assert_eq!(left(&trailers), ["x-sum"], "{name}");
            assert!(!owners.clean_trailers(&mut map(&[name])), "{name}");
        }
        let mut grpc = map(&["grpc-status", "grpc-message", "x-cost"]);
        Owners::default().clean_trailers(&mut grpc);
        assert_eq!(left(&grpc), ["grpc-message", "grpc-status", "x-cost"]);
        Owners::of(&[Writes::everything()]).clean_trailers(&mut grpc);
        assert_eq!(left(&grpc), ["grpc-message", "grpc-status"], "a filter may write all others");
    }
}
