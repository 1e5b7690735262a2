//! Ownership of fields: the host, a filter that declares to write it, or the sender of the message. A trailer
//! is owned like the header of that name.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tamis_exchange::{
    ReadableFields, Selector, TRAILER, WritableFields, is_host_look_alike, is_odd, is_same_name,
    may_follow_a_body, trim_values,
};

/// Trailers of gRPC, which are part of its protocol ("gRPC over HTTP/2", Responses).
const GRPC: &[&str] = &["grpc-message", "grpc-status", "grpc-status-details-bin"];

/// The fields that the filters of a chain write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// Names as declared, one spelling of each.
    names: Vec<Box<str>>,
    /// One of the names has a character that is not a letter, a digit or `-`.
    odd: bool,
    /// A filter declares every header.
    all: bool,
    /// Names that filters read in heads, each in all its declared spellings.
    read: Vec<Box<str>>,
    /// Of these, names of which a filter sees no trailers.
    of_heads: Vec<Box<str>>,
}

impl Owners {
    /// The owners that the filters' declarations result in.
    ///
    /// Names that differ only in characters other than letters and digits are one name, and its filters write it
    /// together: the spelling of letters, digits and `-` is the one that a sender may use, or else the first in the order
    /// of the alphabet. Another spelling of a name of the host is the host's, whoever declares it.
    pub fn of<'a>(writes: impl IntoIterator<Item = &'a WritableFields>) -> Self {
        let mut owners = Self::default();
        for name in writes.into_iter().flat_map(WritableFields::names) {
            match name.as_str() {
                "*" => owners.all = true,
                name if name.starts_with(['@', ':']) || name.starts_with(TRAILER) => {}
                name if is_host_look_alike(name) => {}
                name => owners.names.push(name.into()),
            }
        }
        owners.names.sort_unstable_by(|one, other| (is_odd(one), one).cmp(&(is_odd(other), other)));
        owners.names.dedup();
        let mut spelled: Vec<Box<str>> = Vec::with_capacity(owners.names.len());
        for name in owners.names.drain(..) {
            if !is_odd(&name) || !spelled.iter().any(|known| is_same_name(known, &name)) {
                spelled.push(name);
            }
        }
        owners.names = spelled;
        owners.odd = owners.names.iter().any(|name| is_odd(name));
        owners
    }

    /// And the names that filters read. They belong to the sender, in the spelling that a filter declares: a policy about
    /// `x-team` that does not see `x_team` decides about another value than the server reads.
    #[must_use]
    pub fn and_read<'a>(mut self, reads: impl IntoIterator<Item = &'a ReadableFields>) -> Self {
        for filter in reads {
            let sees_trailer = |name: &HeaderName| {
                filter.selectors().iter().any(|selector| match selector {
                    Selector::Trailer(trailer) => trailer == name,
                    selector => *selector == Selector::AllTrailers,
                })
            };
            for selector in filter.selectors() {
                let (Selector::Header(name) | Selector::RequestHeader(name)) = selector else {
                    continue;
                };
                self.read.push(name.as_str().into());
                if !sees_trailer(name) {
                    self.of_heads.push(name.as_str().into());
                }
            }
        }
        self.read.sort_unstable();
        self.read.dedup();
        self.odd |= self.read.iter().any(|name| is_odd(name));
        self
    }

    /// Removes fields of a received head whose names are another spelling of a name that a filter owns or reads.
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
        let names = |names: &[Box<str>]| names.iter().any(|known| is_same_name(known, name));
        let is_in = |names: &[Box<str>]| names.iter().any(|known| **known == *name);
        // What one filter writes, another may read in a second spelling, which a sender may not use.
        if is_in(&self.names) {
            return false;
        }
        is_host_look_alike(name) || names(&self.names) || names(&self.read) && !is_in(&self.read)
    }

    /// Removes trailers that have an owner, that a filter reads in heads alone or that must not follow a body, and blanks at the ends of their values. Returns
    /// whether any are left.
    pub fn clean_trailers(&self, trailers: &mut HeaderMap) -> bool {
        let owned: Vec<HeaderName> =
            trailers.keys().filter(|name| self.owns_trailer(name.as_str())).cloned().collect();
        for name in owned {
            trailers.remove(name);
        }
        trim_values(trailers);
        !trailers.is_empty()
    }

    /// Removes fields of an interim response that a filter declares to write: no hook sees them there.
    pub fn clean_interim(&self, headers: &mut HeaderMap) {
        let owned: Vec<HeaderName> =
            headers.keys().filter(|name| self.is_declared(name.as_str())).cloned().collect();
        for name in owned {
            headers.remove(name);
        }
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
        let is_written = self.is_declared(name) && !self.is_grpc_of_all(name);
        is_written || self.is_read_in_heads(name) || !may_follow_a_body(name)
    }

    /// Whether a filter decides by the field of a head, in any spelling, and does not see the trailer: some servers merge
    /// trailers into the head (CVE-2013-5704). A status of gRPC is in the head when there is no body, and its trailer stays.
    fn is_read_in_heads(&self, name: &str) -> bool {
        self.of_heads.iter().any(|read| is_same_name(read, name)) && !GRPC.contains(&name)
    }

    /// Whether a filter declares to write the field, in any spelling.
    fn is_declared(&self, name: &str) -> bool {
        self.all || self.names.iter().any(|declared| is_same_name(declared, name))
    }

    /// Whether only `*` declares the field, which does not cover trailers of gRPC.
    fn is_grpc_of_all(&self, name: &str) -> bool {
        GRPC.contains(&name) && !self.names.iter().any(|declared| is_same_name(declared, name))
    }
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
        let owners = Owners::of(&[WritableFields::new(["x-user", "x_team", ":path", "@mark"])]);
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
    fn what_a_filter_reads_arrives_in_the_spelling_that_it_declares_or_not_at_all() {
        let sent = ["x-team", "x_team", "x.team", "x-other", "x_other"];
        // What filters read, what they write, what is left.
        for (read, written, kept) in [
            (&["x-team"][..], &[][..], &["x-other", "x-team", "x_other"][..]),
            (&["x_team"], &[], &["x-other", "x_other", "x_team"]),
            (&["request:x-team"], &[], &["x-other", "x-team", "x_other"]),
            (&["x-team", "x_team"], &[], &["x-other", "x-team", "x_other", "x_team"]),
            // The spelling of whoever writes it counts.
            (&["x_team"], &["x-team"], &["x-other", "x-team", "x_other"]),
            (&["x_team"], &["x_team"], &["x-other", "x_other", "x_team"]),
            (&["x-team", "x-other"], &[], &["x-other", "x-team"]),
            (
                &["*", ":path", "@a", "trailer:x-team"],
                &[],
                &["x-other", "x-team", "x.team", "x_other", "x_team"],
            ),
        ] {
            let reads = ReadableFields::parse(read).unwrap();
            let writes = WritableFields::new(written.iter().copied());
            let mut head = map(&sent);
            Owners::of(&[writes]).and_read([&reads]).remove_look_alikes(&mut head);
            assert_eq!(left(&head), kept, "read {read:?}, written {written:?}");
        }
    }

    #[test]
    fn names_that_are_one_to_a_server_have_one_spelling_whoever_declares_them() {
        let sent = ["x-user", "x_user", "x.user", "X_USER", "x-other"];
        for (declared, kept) in [
            (&["x-user"][..], &["x-other", "x-user"][..]),
            (&["x_user"], &["x-other", "x_user"]),
            (&["x-user", "x_user"], &["x-other", "x-user"]),
            (&["x_user", "x-user"], &["x-other", "x-user"]),
            (&["x.user", "x_user"], &["x-other", "x.user"]),
            (&["x_user", "x.user", "x-user"], &["x-other", "x-user"]),
            (&["*", "x-user", "x_user"], &["x-other", "x-user"]),
        ] {
            // By two filters, and by one.
            let apart = declared.iter().map(|name| WritableFields::new([*name]));
            let apart = Owners::of(&apart.collect::<Vec<_>>());
            let together = Owners::of(&[WritableFields::new(declared.iter().copied())]);
            assert_eq!(apart, together, "{declared:?}");
            let mut head: HeaderMap = sent
                .iter()
                .map(|name| (name.parse().unwrap(), HeaderValue::from_static("root")))
                .collect();
            apart.remove_look_alikes(&mut head);
            assert_eq!(left(&head), kept, "{declared:?}");
        }
    }

    #[test]
    fn a_declaration_takes_no_spelling_of_a_name_from_the_host() {
        let odd = [
            "x_forwarded_for",
            "x-forwarded_host",
            "content_length",
            "transfer_encoding",
            "x_request_id",
            "x_original_url",
            "x_tamis_reason",
        ];
        let owners = Owners::of(&[WritableFields::new(odd)]);
        let mut head = map(&odd);
        owners.remove_look_alikes(&mut head);
        assert_eq!(left(&head), [""; 0]);
        let owners = Owners::of(&[WritableFields::new(["x-forwarded-for"])]);
        let mut head = map(&["x-forwarded-for", "x_forwarded_for"]);
        owners.remove_look_alikes(&mut head);
        assert_eq!(left(&head), ["x-forwarded-for"]);
    }

    #[test]
    fn a_head_names_the_trailers_that_pass_and_no_others() {
        let owners = Owners::of(&[WritableFields::new(["x-user"])]);
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
    fn no_trailer_has_the_name_of_a_field_by_which_a_filter_decides() {
        for (read, sent, stays) in [
            (&["x-internal"][..], "x-internal", false),
            (&["x-internal"], "x_internal", false),
            (&["x_internal"], "x-internal", false),
            (&["request:x-internal"], "x-internal", false),
            (&["x-other"], "x-internal", true),
            (&["*", ":path", "@a"], "x-internal", true),
            // A filter that sees the trailer, too, decides by it.
            (&["x-internal", "trailer:x-internal"], "x-internal", true),
            (&["x-internal", "trailer:*"], "x-internal", true),
            (&["trailer:x-internal"], "x-internal", true),
            (&["grpc-status"], "grpc-status", true),
        ] {
            let reads = ReadableFields::parse(read).unwrap();
            // Another filter that sees all trailers protects nobody.
            let logger = ReadableFields::parse(&["trailer:*"]).unwrap();
            let owners = Owners::default().and_read([&reads, &logger]);
            let mut trailers = map(&[sent, "x-sum"]);
            owners.clean_trailers(&mut trailers);
            assert_eq!(trailers.contains_key(sent), stays, "read {read:?}, sent {sent}");
            let mut head = HeaderMap::new();
            head.append(header::TRAILER, sent.parse().unwrap());
            owners.clean_trailer_names(&mut head);
            assert_eq!(head.contains_key(header::TRAILER), stays, "announced {sent}");
        }
    }

    #[test]
    fn a_trailer_is_owned_like_the_same_field_in_the_head() {
        let owners = Owners::of(&[WritableFields::new(["x-user"])]);
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
            "x-real-ip",
            "x_real_ip",
            "true-client-ip",
            "cf-connecting-ip",
            "x-envoy-external-address",
            "origin",
            "referer",
            "x-http-method-override",
        ];
        for name in owned {
            let mut trailers = map(&[name, "x-sum"]);
            assert!(owners.clean_trailers(&mut trailers));
            assert_eq!(left(&trailers), ["x-sum"], "{name}");
            assert!(!owners.clean_trailers(&mut map(&[name])), "{name}");
        }
        let mut blank =
            HeaderMap::from_iter([(HeaderName::from_static("x-sum"), " a ".parse().unwrap())]);
        assert!(owners.clean_trailers(&mut blank) && blank["x-sum"] == "a");
        let mut grpc = map(&["grpc-status", "grpc-message", "x-cost"]);
        Owners::default().clean_trailers(&mut grpc);
        assert_eq!(left(&grpc), ["grpc-message", "grpc-status", "x-cost"]);
        Owners::of(&[WritableFields::everything()]).clean_trailers(&mut grpc);
        assert_eq!(left(&grpc), ["grpc-message", "grpc-status"], "a filter may write all others");
    }
}
