//! Changes a filter asks for, checked before any of them applies.

use crate::fields::remove_other_spellings;
use crate::{Exchange, PathRules, Scheme, normal_authority, normal_path};
use http::{HeaderName, HeaderValue};

/// A header line as it crosses the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldLine {
    /// Lower case.
    pub name: String,
    /// Raw octets.
    pub value: Vec<u8>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Replaces every field of that name.
    SetHeader(FieldLine),
    /// Adds a field after those of that name.
    AddHeader(FieldLine),
    /// Removes every field of that name.
    RemoveHeader(String),
    /// Path and query.
    SetPath(String),
    /// Host and port.
    SetAuthority(String),
    /// Seen by filters that come later in this exchange; never sent.
    SetAttribute {
        /// Without `@`.
        name: String,
        /// Any text.
        value: String,
    },
}

/// Which head the edits are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadSide {
    /// Towards the upstream.
    Request,
    /// Towards the client.
    Response,
}

/// Why a list of edits was refused. None of them was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("edit {index} ({what}): {rule}")]
pub struct EditError {
    /// Position in the verdict.
    pub index: usize,
    /// The header, pseudo-header or attribute.
    pub what: String,
    /// The rule it breaks and the way out.
    pub rule: &'static str,
}

/// What a filter may write: its declaration, already bounded by its grant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writes {
    names: Vec<String>,
}

impl Writes {
    /// From `interest.writes`: header names, `:path`, `:authority`, `@attributes`; `*` means any header.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect() }
    }

    /// Any header, path, authority and attribute: for the host's own modules and for tests.
    pub fn everything() -> Self {
        Self::new(["*", ":path", ":authority", "@*"])
    }

    /// The declared names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn covers_header(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name || n == "*")
    }

    fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    fn covers_attribute(&self, name: &str) -> bool {
        self.names
            .iter()
            .any(|n| n == "@*" || n.strip_prefix('@').is_some_and(|declared| declared == name))
    }
}

/// Headers that frame a message or belong to one connection; the host alone writes them
/// (RFC 9110 §7.6.1, RFC 9112 §6).
pub fn is_framing_header(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Checks every edit against the declaration and the rules of HTTP.
///
/// # Errors
/// Names the first edit that is not allowed.
pub fn check(edits: &[Edit], writes: &Writes, side: HeadSide) -> Result<(), EditError> {
    for (index, edit) in edits.iter().enumerate() {
        let refuse = |what: &str, rule| Err(EditError { index, what: what.to_owned(), rule });
        match edit {
            Edit::SetHeader(field) | Edit::AddHeader(field) => {
                if let Some(rule) = header_rule(&field.name, writes) {
                    return refuse(&field.name, rule);
                }
                if HeaderValue::from_bytes(&field.value).is_err() {
                    return refuse(
                        &field.name,
                        "a value holds no CR, LF, NUL or other control character (RFC 9110 §5.5)",
                    );
                }
            }
            Edit::RemoveHeader(name) => {
                if let Some(rule) = header_rule(name, writes) {
                    return refuse(name, rule);
                }
            }
            Edit::SetPath(_) | Edit::SetAuthority(_) if side == HeadSide::Response => {
                return refuse(":path", "a response has no path and no authority");
            }
            Edit::SetPath(path) => {
                if !writes.covers(":path") {
                    return refuse(
                        ":path",
                        "declare `:path` in `interest.writes`, and let `writeHeaders` of the grant name it",
                    );
                }
                if normal_path(path, PathRules::KEEP).is_err() {
                    return refuse(
                        ":path",
                        "starts with `/`, visible ASCII without `#` or `\\`, escapes of two digits, not \
                         of NUL, no dot segment in disguise",
                    );
                }
            }
            Edit::SetAuthority(authority) => {
                if !writes.covers(":authority") {
                    return refuse(
                        ":authority",
                        "declare `:authority` in `interest.writes`, and let `writeHeaders` of the grant name it",
                    );
                }
                if normal_authority(authority, Scheme::Http).is_err() {
                    return refuse(":authority", "is HOST or HOST:PORT without user info");
                }
            }
            Edit::SetAttribute { name, .. } => {
                if !writes.covers_attribute(name) {
                    return refuse(
                        name,
                        "declare `@NAME` in `interest.writes`, and let `writeAttributes` of the grant name it",
                    );
                }
            }
        }
    }
    Ok(())
}

fn header_rule(name: &str, writes: &Writes) -> Option<&'static str> {
    if name.starts_with(':') {
        return Some("a pseudo-header is no header; use set-path or set-authority");
    }
    if HeaderName::from_lowercase(name.as_bytes()).is_err() {
        return Some("a header name is lower case and a token (RFC 9110 §5.1)");
    }
    if is_framing_header(name) {
        return Some("the host owns framing and connection headers (RFC 9110 §7.6.1)");
    }
    if !writes.covers_header(name) {
        return Some(
            "declare the header in `interest.writes`, and let `writeHeaders` of the grant name it",
        );
    }
    None
}

/// Applies edits that [`check`] let pass. An edit that cannot be (because it was not checked) is left out. Whoever writes
/// a header owns its name in every spelling, and what others sent under those goes.
pub fn apply(edits: &[Edit], exchange: &mut Exchange, side: HeadSide) {
    for edit in edits {
        let headers = match side {
            HeadSide::Request => &mut exchange.headers,
            HeadSide::Response => &mut exchange.response_headers,
        };
        match edit {
            Edit::SetHeader(field) => {
                if let Some((name, value)) = line(field) {
                    remove_other_spellings(headers, name.as_str());
                    headers.insert(name, value);
                }
            }
            Edit::AddHeader(field) => {
                if let Some((name, value)) = line(field) {
                    remove_other_spellings(headers, name.as_str());
                    headers.append(name, value);
                }
            }
            Edit::RemoveHeader(name) => {
                remove_other_spellings(headers, name);
                headers.remove(name.as_str());
            }
            Edit::SetPath(path) => {
                if let Ok(path) = normal_path(path, PathRules::KEEP) {
                    exchange.path = path.into_owned();
                }
            }
            Edit::SetAuthority(authority) => {
                if let Ok(authority) = normal_authority(authority, exchange.scheme) {
                    exchange.authority = authority.into_owned();
                }
            }
            Edit::SetAttribute { name, value } => {
                exchange.attributes.set(name.clone(), value.as_str());
            }
        }
    }
}

fn line(field: &FieldLine) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_lowercase(field.name.as_bytes()).ok()?;
    let value = HeaderValue::from_bytes(&field.value).ok()?;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(name: &str, value: &[u8]) -> Edit {
        Edit::SetHeader(FieldLine { name: name.into(), value: value.to_vec() })
    }

    #[test]
    fn framing_pseudo_and_undeclared_headers_are_refused() {
        let any = Writes::everything();
        for name in ["content-length", "transfer-encoding", "host", ":path", "X-Upper", "a b", ""] {
            assert!(check(&[set(name, b"1")], &any, HeadSide::Request).is_err(), "{name}");
        }
        let few = Writes::new(["x-user"]);
        assert!(check(&[set("x-user", b"a")], &few, HeadSide::Request).is_ok());
        assert!(check(&[set("x-other", b"a")], &few, HeadSide::Request).is_err());
        assert!(check(&[Edit::SetPath("/a".into())], &few, HeadSide::Request).is_err());
        assert!(check(&[Edit::SetPath("/a".into())], &any, HeadSide::Response).is_err());
    }

    #[test]
    fn a_bad_edit_names_its_place() {
        let error = check(
            &[set("x-a", b"1"), set("x-b", b"1\r\n")],
            &Writes::everything(),
            HeadSide::Request,
        )
        .unwrap_err();
        assert_eq!((error.index, error.what.as_str()), (1, "x-b"));
    }

    #[test]
    fn a_header_that_is_written_or_removed_leaves_no_other_spelling_behind() {
        let sent = ["x-user", "x_user", "x.user", "x-other"];
        for (edit, left) in [
            (set("x-user", b"me"), &["x-other", "x-user"][..]),
            (
                Edit::AddHeader(FieldLine { name: "x_user".into(), value: b"me".to_vec() }),
                &["x-other", "x_user"],
            ),
            (Edit::RemoveHeader("x-user".into()), &["x-other"]),
        ] {
            for side in [HeadSide::Request, HeadSide::Response] {
                let mut exchange = exchange();
                for name in sent {
                    let value = HeaderValue::from_static("client");
                    exchange.headers.append(name, value.clone());
                    exchange.response_headers.append(name, value);
                }
                apply(std::slice::from_ref(&edit), &mut exchange, side);
                let headers = match side {
                    HeadSide::Request => &exchange.headers,
                    HeadSide::Response => &exchange.response_headers,
                };
                let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
                names.sort_unstable();
                assert_eq!(names, left, "{edit:?}");
            }
        }
    }

    #[test]
    fn a_target_that_a_filter_writes_takes_its_one_form() {
        let mut exchange = exchange();
        let edits =
            [Edit::SetPath("/a/../%61dmin?x".into()), Edit::SetAuthority("In.Ner.:80".into())];
        assert_eq!(check(&edits, &Writes::everything(), HeadSide::Request), Ok(()));
        apply(&edits, &mut exchange, HeadSide::Request);
        assert_eq!((&*exchange.path, &*exchange.authority), ("/admin?x", "in.ner"));
        for bad in ["a", "/a b", "/%zz", "/%00", "/a\\b", "/..;/a", "/..%2fa"] {
            let edit = [Edit::SetPath(bad.into())];
            assert!(check(&edit, &Writes::everything(), HeadSide::Request).is_err(), "{bad}");
        }
        for bad in ["me@a", "a b", "", "a..b", "a:x"] {
            let edit = [Edit::SetAuthority(bad.into())];
            assert!(check(&edit, &Writes::everything(), HeadSide::Request).is_err(), "{bad}");
        }
    }

    fn exchange() -> Exchange {
        Exchange {
            id: 1,
            method: http::Method::GET,
            scheme: Scheme::Http,
            authority: "a".into(),
            path: "/".into(),
            headers: http::HeaderMap::new(),
            status: None,
            response_headers: http::HeaderMap::new(),
            attributes: crate::Attributes::default(),
        }
    }

    proptest! {
        #[test]
        fn what_passes_the_check_is_serialisable(name in "\\PC{0,12}", value in prop::collection::vec(any::<u8>(), 0..24)) {
            let edit = set(&name, &value);
            if check(std::slice::from_ref(&edit), &Writes::everything(), HeadSide::Request).is_ok() {
                prop_assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
                prop_assert!(!name.is_empty() && !is_framing_header(&name));
                prop_assert!(name.bytes().all(|b| !b.is_ascii_uppercase() && b > 0x20 && b != b':'));
            }
        }

        #[test]
        fn a_path_that_passes_cannot_split_a_request_line(path in "\\PC{0,16}") {
            if check(&[Edit::SetPath(path.clone())], &Writes::everything(), HeadSide::Request).is_ok() {
                prop_assert!(path.starts_with('/') && !path.contains([' ', '\r', '\n', '#']));
            }
        }
    }
}
