//! One request and, later, its response.

use http::{HeaderMap, StatusCode};
use std::borrow::Cow;
use std::sync::Arc;

/// How the client spoke to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Clear text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Named values that are no headers: `peer.spiffe-id`, `source.address`, `route.name` …
///
/// Names carry no `@` here; in `interest.reads` they do. Few and short-lived, so a list beats a map. Values are shared:
/// most are the same for all exchanges of a connection.
#[derive(Debug, Clone, Default)]
pub struct Attributes(Vec<(Cow<'static, str>, Arc<str>)>);

impl Attributes {
    /// The value of `name`.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_ref())
    }

    /// Sets `name`, replacing an earlier value.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Arc<str>>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some(slot) => slot.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// All of them in the order they were first set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))
    }
}

/// One request and its response: heads and facts, no bodies.
///
/// Invariants: `path` starts with `/` (or is `*` for OPTIONS, or the authority for CONNECT) and has no dot
/// segments; `headers` hold no hop-by-hop field and no `host`.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Never reused within a proxy's life.
    pub id: u64,
    /// As received.
    pub method: http::Method,
    /// Of the client's connection.
    pub scheme: Scheme,
    /// Host and port the client asked for; empty when it named none.
    pub authority: String,
    /// Path and query, normalised (RFC 3986 §5.2.4).
    pub path: String,
    /// Request headers, end-to-end ones only.
    pub headers: HeaderMap,
    /// 0 while there is no response.
    pub status: Option<StatusCode>,
    /// Response headers, end-to-end ones only.
    pub response_headers: HeaderMap,
    /// Facts and what filters said.
    pub attributes: Attributes,
}

/// Removes dot segments of the path part of `path_and_query` (RFC 3986 §5.2.4), including their
/// percent-encoded spelling (`%2e`), and leaves the query as it is.
///
/// Borrowed when there is nothing to remove, which is nearly always.
pub fn normalise_path(path_and_query: &str) -> Cow<'_, str> {
    let (path, query) = match path_and_query.find('?') {
        Some(at) => path_and_query.split_at(at),
        None => (path_and_query, ""),
    };
    if !path.starts_with('/') || !path.split('/').any(is_dot_segment) {
        return Cow::Borrowed(path_and_query);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match dots(segment) {
            Some(1) => {}
            Some(_) => {
                kept.pop();
            }
            None => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            // `/a/..` is the directory `/`, not the file ``: keep the closing slash.
            kept.push("");
        }
    }
    let mut out = String::with_capacity(path_and_query.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    out.push_str(query);
    Cow::Owned(out)
}

fn is_dot_segment(segment: &str) -> bool {
    dots(segment).is_some()
}

/// 1 for `.`, 2 for `..`, in any spelling.
fn dots(segment: &str) -> Option<usize> {
    if segment.is_empty() || segment.len() > 6 {
        return None;
    }
    let mut rest = segment;
    let mut count = 0;
    while !rest.is_empty() {
        rest = match rest.strip_prefix('.') {
            Some(after) => after,
            None => match rest.get(..3) {
                Some(encoded) if encoded.eq_ignore_ascii_case("%2e") => rest.get(3..)?,
                _ => return None,
            },
        };
        count += 1;
    }
    (count <= 2).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dot_segments_are_removed_as_rfc_3986_says() {
        for (from, to) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/a/..", "/"),
            ("/..", "/"),
            ("/a/%2e%2E/b?x=/../y", "/b?x=/../y"),
            ("/a/.%2e/..", "/"),
            ("/a//b", "/a//b"),
            ("/...", "/..."),
            ("*", "*"),
            ("/a/.", "/a/"),
        ] {
            assert_eq!(normalise_path(from), to, "{from}");
        }
    }

    proptest! {
        #[test]
        fn a_normalised_path_has_no_dot_segment_and_is_stable(path in "/[a./%2eE?]{0,40}") {
            let once = normalise_path(&path).into_owned();
            prop_assert!(once.starts_with('/'));
            let bare = once.split('?').next().unwrap();
            prop_assert!(!bare.split('/').any(is_dot_segment));
            prop_assert_eq!(normalise_path(&once), once.as_str());
        }
    }
}
