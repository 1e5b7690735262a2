//! Names of fields: which are the same name, and which the host owns.
//!
//! A server that turns field names into variables (RFC 3875 §4.1.18: CGI, WSGI, PHP, Rack) reads `x_user`
//! as `x-user`. So names that differ only in characters other than letters and digits are one name here,
//! and have one owner.

use http::header::{HeaderMap, HeaderName};
use std::collections::HashMap;

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

/// Names under which other gateways pass on where a request came from, what its client proved with a certificate (RFC 9440 §4: who
/// writes `client-cert` removes that of others), and what it asked for at first. Their services believe them. Of `proxy` the environment of a CGI program makes `HTTP_PROXY`, by which many libraries leave.
const ORIGINS: &[&str] = &[
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded-for",
    "proxy",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-appengine-user-ip",
    "x-arr-clientcert",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-cert",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-original-forwarded-for",
    "x-original-host",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
];
/// Names of Envoy: the client's address, its original path and method, and how often to try again. Names of ingress-nginx and HAProxy:
/// what the certificate of the client says, and whether it was verified.
const ORIGIN_PREFIXES: &[&str] = &["ssl-client-", "x-envoy-", "x-ssl-client-"];

/// The octets with which a name of [`ORIGINS`] or [`ORIGIN_PREFIXES`] begins: every request is searched for these names, and
/// most of its own have another beginning.
const ORIGIN_BEGINNINGS: &[u8] = b"cfpstwx";

/// Whether a field states where a request came from, or its original path, in the words of another gateway, in any spelling.
pub fn is_origin_field(name: &str) -> bool {
    let first = name.bytes().next().map(fold);
    first.is_some_and(|first| ORIGIN_BEGINNINGS.contains(&first))
        && is_of(name, ORIGINS, ORIGIN_PREFIXES)
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
    one.len() == other.len() && one.bytes().map(fold).eq(other.bytes().map(fold))
}

/// The names of a head that have a character other than letters, digits and `-`: they alone make that a name has several
/// spellings. However many names and edits there are, each is looked at a few times only.
#[derive(Debug, Default)]
pub(crate) struct OddNames {
    /// By their spelling with `-`.
    known: HashMap<String, Vec<HeaderName>>,
    /// Names that were looked at.
    #[cfg(test)]
    looked: usize,
}

impl OddNames {
    /// The odd names in a head.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        headers.keys().for_each(|name| all.note(name));
        all
    }

    /// Notes a name that the head has from now on.
    pub(crate) fn note(&mut self, name: &HeaderName) {
        self.look();
        if is_odd(name.as_str()) {
            let alike = self.known.entry(folded(name.as_str())).or_default();
            // After `remove_others` at most one name is left, and it is this one.
            if alike.last() != Some(name) {
                alike.push(name.clone());
            }
        }
    }

    /// Removes the fields of the head that are another spelling of `name`.
    pub(crate) fn remove_others(&mut self, headers: &mut HeaderMap, name: &str) {
        let is_odd = is_odd(name);
        self.look();
        if self.known.is_empty() && !is_odd {
            return;
        }
        let plain = folded(name);
        if is_odd {
            headers.remove(plain.as_str());
        }
        let Some(alike) = self.known.get_mut(&plain) else { return };
        let mut itself = None;
        for one in std::mem::take(alike) {
            #[cfg(test)]
            {
                self.looked += 1;
            }
            if one == *name {
                itself = Some(one);
            } else {
                headers.remove(one);
            }
        }
        alike.extend(itself);
    }

    fn look(&mut self) {
        #[cfg(test)]
        {
            self.looked += 1;
        }
    }
}

/// The spelling of a name in which every character that is neither a letter nor a digit is `-`.
fn folded(name: &str) -> String {
    name.bytes().map(|octet| char::from(fold(octet))).collect()
}

fn fold(octet: u8) -> u8 {
    if octet.is_ascii_alphanumeric() { octet.to_ascii_lowercase() } else { b'-' }
}

/// Whether a name has a character that is not a letter, a digit or `-`.
#[inline]
pub fn is_odd(name: &str) -> bool {
    #[expect(clippy::indexing_slicing, reason = "an octet is always within 256")]
    let plain = name.bytes().all(|octet| PLAIN[usize::from(octet)]);
    !plain
}

/// Letters, digits and `-`, by octet: every name of every head is looked at.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0_u8;
    while octet < 128 {
        #[expect(clippy::indexing_slicing, reason = "an octet is always within 256")]
        {
            table[octet as usize] = octet.is_ascii_alphanumeric() || octet == b'-';
        }
        octet += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    /// The same by the meaning of the words: every name is compared with every other.
    fn remove_by_comparing(headers: &mut HeaderMap, name: &str) {
        let other = |known: &&HeaderName| **known != *name && is_same_name(known.as_str(), name);
        while let Some(alike) = headers.keys().find(other).cloned() {
            headers.remove(alike);
        }
    }

    fn name(text: &str) -> HeaderName {
        text.parse().unwrap()
    }

    #[test]
    fn every_origin_is_one_in_every_spelling() {
        for origin in ORIGINS.iter().chain(ORIGIN_PREFIXES) {
            for spelt in [(*origin).to_owned(), origin.to_uppercase(), origin.replace('-', "_")] {
                assert!(is_origin_field(&spelt), "{spelt}");
            }
        }
        for other in ["", "-", "accept", "cookie", "x-request-id", "forwarded", "true", "x-envo"] {
            assert!(!is_origin_field(other), "{other}");
        }
    }

    fn head<'a>(names: impl IntoIterator<Item = &'a str>) -> HeaderMap {
        let value = HeaderValue::from_static("a");
        names.into_iter().map(|one| (name(one), value.clone())).collect()
    }

    proptest! {
        #[test]
        fn other_spellings_are_those_that_a_comparison_finds(
            before in prop::collection::vec("[ab][-_.][ab][-_.]?", 0..12),
            edits in prop::collection::vec(("[ab][-_.][ab][-_.]?", any::<bool>()), 0..12),
        ) {
            let mut headers = head(before.iter().map(String::as_str));
            let mut compared = headers.clone();
            let mut odd = OddNames::of(&headers);
            for (text, removes) in edits {
                odd.remove_others(&mut headers, &text);
                remove_by_comparing(&mut compared, &text);
                if removes {
                    headers.remove(text.as_str());
                    compared.remove(text.as_str());
                } else {
                    headers.append(name(&text), HeaderValue::from_static("b"));
                    compared.append(name(&text), HeaderValue::from_static("b"));
                    odd.note(&name(&text));
                }
                prop_assert_eq!(&headers, &compared);
            }
        }
    }

    #[test]
    fn the_names_that_are_looked_at_are_as_many_as_names_and_edits() {
        const EDITS: usize = 1_024;
        let plain = |at: usize| format!("x-name-{at}");
        let odd = |at: usize| format!("x_name_{at}");
        // As many spellings of one name as there are names.
        let spelt = |at: usize| {
            (0..12).map(|bit| if at >> bit & 1 == 0 { "a-" } else { "a_" }).collect::<String>()
        };
        type Naming<'a> = &'a dyn Fn(usize) -> String;
        let rows: [(&str, Naming<'_>, Naming<'_>); 6] = [
            ("plain, plain", &plain, &plain),
            ("plain, odd", &plain, &odd),
            ("odd, plain", &odd, &plain),
            ("odd, odd", &odd, &odd),
            ("spellings of one name, one of them", &spelt, &|_| spelt(3)),
            ("spellings of one name, each", &spelt, &spelt),
        ];
        for (what, before, edited) in rows {
            for names in [0, 100, 1_000] {
                let before: Vec<String> = (0..names).map(before).collect();
                let mut headers = head(before.iter().map(String::as_str));
                let mut all = OddNames::of(&headers);
                for at in 0..EDITS {
                    let edited = edited(at);
                    all.remove_others(&mut headers, &edited);
                    headers.insert(name(&edited), HeaderValue::from_static("b"));
                    all.note(&name(&edited));
                }
                let most = names + 4 * EDITS;
                assert!(all.looked <= most, "{what}, {names}: {} of {most}", all.looked);
            }
        }
    }
}
