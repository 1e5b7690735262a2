//! Changes that a filter requests; all are checked before any of them applies.

use crate::fields::{is_host_field, is_same_name, may_follow_a_body, remove_other_spellings};
use crate::{Exchange, PathRules, Reply, Scheme, TRAILER, normal_authority, normal_path};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// Edits of one verdict.
const MAX_EDITS: usize = 1_024;
/// Fields of a head after edits, and of a reply.
pub const MAX_FIELDS: usize = 512;
/// Bytes of a head after edits: names, values and 32 for each field (RFC 9113 §6.5.2).
pub const MAX_HEAD_OCTETS: usize = 128 * 1024;
/// Bytes of a response's head as a client receives it, whoever wrote it: an upstream, an upstream and filters,
/// or a filter alone, in its reply.
pub const MAX_RESPONSE_HEAD_OCTETS: usize = 64 * 1024;
/// Bytes of a header's name in an edit or a reply.
const MAX_NAME_OCTETS: usize = 256;
/// Bytes of a path that a filter sets.
const MAX_PATH_OCTETS: usize = 32 * 1024;
/// Bytes of an authority that a filter sets: a host name (RFC 1035 §2.3.4) and a port.
const MAX_AUTHORITY_OCTETS: usize = 260;
/// Bytes of a method that a filter sets.
const MAX_METHOD_OCTETS: usize = 32;
/// Bytes of an attribute's name that a filter sets.
const MAX_ATTRIBUTE_NAME_OCTETS: usize = 128;
/// Bytes of all attributes of an exchange, names and values, once filters set some.
pub const MAX_ATTRIBUTES_OCTETS: usize = 64 * 1024;
/// Attributes of an exchange, once filters set some.
pub const MAX_ATTRIBUTES: usize = 128;
/// Overhead of a field (RFC 9113 §6.5.2).
const FIELD_OCTETS: usize = 32;

/// A header line as it crosses the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldLine {
    /// Lower case.
    pub name: String,
    /// Raw bytes.
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
    /// Seen by later filters of this exchange; never sent.
    SetAttribute {
        /// Without `@`.
        name: String,
        /// Any text.
        value: String,
    },
    /// Of the response.
    SetStatus(u16),
    /// Of the request.
    SetMethod(String),
}

/// The head that the edits are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadSide {
    /// Towards the upstream.
    Request,
    /// Towards the client.
    Response,
}

/// Why a list of edits was refused. None of the edits was applied.
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

/// What a filter may write: its declaration, already limited by its grant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writes {
    names: Vec<String>,
}

impl Writes {
    /// From `interest.writes`: header names, `:path`, `:authority`, `:method`, `:status`, `@attributes`, `trailer:NAME`; `*` means any
    /// header that is not the host's ([`crate::is_host_field`]), `@*` any attribute that is not the host's
    /// ([`is_host_attribute`]).
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect() }
    }

    /// Any header, path, authority and attribute: for the host's own modules and for tests.
    pub fn everything() -> Self {
        Self::new(["*", ":path", ":authority", ":method", ":status", "@*", "trailer:*"])
    }

    /// The declared names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn covers_header(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name || (n == "*" && !is_host_field(name)))
    }

    fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    fn covers_trailer(&self, name: &str) -> bool {
        self.trailers().any(|declared| declared == name || declared == "*")
    }

    /// The trailers that may be written, without their prefix; `*` means any.
    pub fn trailers(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|name| name.strip_prefix(TRAILER))
    }

    fn covers_attribute(&self, name: &str) -> bool {
        self.names
            .iter()
            .any(|n| n == "@*" || n.strip_prefix('@').is_some_and(|declared| declared == name))
    }
}

/// The header of a router's reply that states its reason; the host takes it out of the reply.
pub const ROUTER_REASON: &str = "x-tamis-reason";

/// Headers in which the host reports its own decisions, `x-tamis-…`. No grant covers them.
fn is_reason_header(name: &str) -> bool {
    const PREFIX: &str = "x-tamis-";
    name.get(..PREFIX.len()).is_some_and(|start| is_same_name(PREFIX, start))
}

/// Attributes that the host sets: the peer's identity and address, the connection, the rule that matched.
/// No filter writes them, whatever its grant allows, so records and rules may rely on them.
pub fn is_host_attribute(name: &str) -> bool {
    const OWNED: [&str; 9] = [
        "peer.",
        "source.",
        "tls.",
        "listener.",
        "route.",
        "upstream.",
        // None is stated yet; what filters set there today would be taken for the host's tomorrow.
        "connection.",
        "destination.",
        "tamis.",
    ];
    let begins = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    OWNED.iter().any(|prefix| begins(prefix))
}

/// Headers that frame a message or belong to one connection; only the host writes them (RFC 9110 §7.6.1,
/// RFC 9112 §6).
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
    if edits.len() > MAX_EDITS {
        let what = format!("{} edits", edits.len());
        return Err(EditError {
            index: MAX_EDITS,
            what,
            rule: "a verdict may have at most 1,024 edits",
        });
    }
    for (index, edit) in edits.iter().enumerate() {
        let refuse = |what: &str, rule| Err(EditError { index, what: shown(what), rule });
        match edit {
            Edit::SetHeader(field) | Edit::AddHeader(field) => {
                if let Some(rule) = header_rule(&field.name, writes) {
                    return refuse(&field.name, rule);
                }
                if HeaderValue::from_bytes(&field.value).is_err() {
                    return refuse(
                        &field.name,
                        "a value must not contain CR, LF, NUL or other control characters (RFC 9110 §5.5)",
                    );
                }
            }
            Edit::RemoveHeader(name) => {
                if let Some(rule) = header_rule(name, writes) {
                    return refuse(name, rule);
                }
            }
            Edit::SetPath(_) | Edit::SetAuthority(_) if side == HeadSide::Response => {
                return refuse(":path", "only requests have a path and an authority");
            }
            Edit::SetPath(path) => {
                if !writes.covers(":path") {
                    return refuse(
                        ":path",
                        "declare `:path` in `interest.writes`, and let `writeHeaders` of the grant name it",
                    );
                }
                if path.len() > MAX_PATH_OCTETS {
                    return refuse(":path", "a path may have at most 32 KiB");
                }
                if normal_path(path, PathRules::KEEP).is_err() {
                    return refuse(
                        ":path",
                        "a path must start with `/` and be visible ASCII without `#` and `\\`; `%` needs two hexadecimal digits, `%00` and disguised dot segments are not allowed; at most 65,534 octets with its escapes",
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
                if authority.len() > MAX_AUTHORITY_OCTETS {
                    return refuse(":authority", "an authority may have at most 260 bytes");
                }
                if normal_authority(authority, Scheme::Http).is_err() {
                    return refuse(
                        ":authority",
                        "an authority must be HOST or HOST:PORT without user info",
                    );
                }
            }
            Edit::SetStatus(status) => {
                if let Some(rule) = status_rule(*status, writes, side) {
                    return refuse(":status", rule);
                }
            }
            Edit::SetMethod(method) => {
                if let Some(rule) = method_rule(method, writes, side) {
                    return refuse(":method", rule);
                }
            }
            Edit::SetAttribute { name, .. } => {
                if name.len() > MAX_ATTRIBUTE_NAME_OCTETS {
                    return refuse(name, "the name of an attribute may have at most 128 bytes");
                }
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
                if name.is_empty() || !name.bytes().all(plain) {
                    return refuse(
                        &name.escape_debug().to_string(),
                        "the name of an attribute is letters, digits, `.`, `_`, `-` and `/`",
                    );
                }
                if is_host_attribute(name) {
                    return refuse(name, "only the host may set it; choose another attribute");
                }
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

/// Changes trailers as a verdict asks, all edits or none.
///
/// # Errors
/// Names the first edit that is not allowed: it is not about a field, the field may not follow a body, or the
/// filter does not declare to write that trailer; or the trailers would be longer than a head may be.
pub fn change_trailers(
    edits: &[Edit],
    writes: &Writes,
    trailers: &mut HeaderMap,
) -> Result<(), EditError> {
    if edits.len() > MAX_EDITS {
        let what = format!("{} edits", edits.len());
        let rule = "a verdict may have at most 1,024 edits";
        return Err(EditError { index: MAX_EDITS, what, rule });
    }
    for (index, edit) in edits.iter().enumerate() {
        let (name, value) = match edit {
            Edit::SetHeader(field) | Edit::AddHeader(field) => {
                (field.name.as_str(), field.value.as_slice())
            }
            Edit::RemoveHeader(name) => (name.as_str(), &b""[..]),
            Edit::SetPath(_)
            | Edit::SetAuthority(_)
            | Edit::SetAttribute { .. }
            | Edit::SetStatus(_)
            | Edit::SetMethod(_) => {
                let rule = "only fields follow a body: set, add or remove a trailer";
                return Err(EditError { index, what: "a trailer".to_owned(), rule });
            }
        };
        if let Some(rule) = trailer_rule(name, value, writes) {
            return Err(EditError { index, what: shown(name), rule });
        }
    }
    change_head(edits, trailers)
}

fn trailer_rule(name: &str, value: &[u8], writes: &Writes) -> Option<&'static str> {
    if let Some(rule) = name_rule(name) {
        return Some(rule);
    }
    if !may_follow_a_body(name) {
        return Some(
            "it routes, authenticates or describes a message, so it cannot be a trailer (RFC 9110 §6.5.1)",
        );
    }
    if !writes.covers_trailer(name) {
        return Some(
            "declare `trailer:NAME` in `interest.writes`, and let `writeTrailers` of the grant name it",
        );
    }
    if HeaderValue::from_bytes(value).is_err() {
        return Some(
            "a value must not contain CR, LF, NUL or other control characters (RFC 9110 §5.5)",
        );
    }
    None
}

/// A response keeps its body when its status changes, so its new status must be one that has a body
/// (RFC 9110 §6.4.1).
fn status_rule(status: u16, writes: &Writes, side: HeadSide) -> Option<&'static str> {
    if side == HeadSide::Request {
        return Some("only responses have a status");
    }
    if !writes.covers(":status") {
        return Some(
            "declare `:status` in `interest.writes`, and let `writeHeaders` of the grant name it",
        );
    }
    if !(200..=599).contains(&status) || matches!(status, 204 | 205 | 304) {
        return Some("a status must be between 200 and 599, and not 204, 205 or 304");
    }
    None
}

/// Methods whose requests or responses end in another way than those of others (RFC 9110 §9.3.2, §9.3.6,
/// §9.3.8).
fn is_method_apart(method: &Method) -> bool {
    matches!(*method, Method::CONNECT | Method::HEAD | Method::TRACE)
}

fn method_rule(method: &str, writes: &Writes, side: HeadSide) -> Option<&'static str> {
    if side == HeadSide::Response {
        return Some("only requests have a method");
    }
    if !writes.covers(":method") {
        return Some(
            "declare `:method` in `interest.writes`, and let `writeHeaders` of the grant name it",
        );
    }
    if method.len() > MAX_METHOD_OCTETS {
        return Some("a method may have at most 32 bytes");
    }
    match Method::from_bytes(method.as_bytes()) {
        Ok(method) if !is_method_apart(&method) => None,
        _ => Some("a method must be a token, and not CONNECT, HEAD or TRACE"),
    }
}

/// At most as much of a name as a person reads.
fn shown(what: &str) -> String {
    what.get(..what.floor_char_boundary(80)).unwrap_or(what).to_owned()
}

fn header_rule(name: &str, writes: &Writes) -> Option<&'static str> {
    if let Some(rule) = name_rule(name) {
        return Some(rule);
    }
    if is_framing_header(name) {
        return Some("the host owns framing and connection headers (RFC 9110 §7.6.1)");
    }
    if !writes.covers_header(name) {
        return Some(if is_host_field(name) {
            "the host writes this header, so `*` does not cover it: name it in `interest.writes` and in `writeHeaders`"
        } else {
            "declare the header in `interest.writes`, and let `writeHeaders` of the grant name it"
        });
    }
    None
}

fn name_rule(name: &str) -> Option<&'static str> {
    if name.starts_with(':') {
        return Some(
            "pseudo-headers cannot be set as headers; use set-path, set-authority, set-method or set-status",
        );
    }
    if name.len() > MAX_NAME_OCTETS {
        return Some("a header name may have at most 256 bytes");
    }
    if HeaderName::from_lowercase(name.as_bytes()).is_err() {
        return Some("a header name must be a token in lower case (RFC 9110 §5.1)");
    }
    if is_reason_header(name) {
        return Some("only the host may write headers that begin with `x-tamis-`");
    }
    None
}

/// Checks a filter's reply before it is sent: a reply that cannot be sent would otherwise fail without an
/// explanation.
///
/// # Errors
/// Names what is wrong with it. Framing headers are not an error: the host drops them and writes its own.
pub fn check_reply(reply: &Reply) -> Result<(), String> {
    if !(200..=599).contains(&reply.status) {
        return Err(format!("the status {} of a reply is not between 200 and 599", reply.status));
    }
    if reply.headers.len() > MAX_FIELDS {
        return Err(format!("a reply may have at most {MAX_FIELDS} headers"));
    }
    let mut octets = 0_usize;
    for field in &reply.headers {
        let name = shown(&field.name);
        if let Some(rule) = name_rule(&field.name) {
            return Err(format!("the header `{}` of a reply: {rule}", name.escape_debug()));
        }
        if HeaderValue::from_bytes(&field.value).is_err() {
            return Err(format!(
                "the header `{name}` of a reply: a value must not contain CR, LF, NUL or other control characters (RFC 9110 §5.5)"
            ));
        }
        octets = octets.saturating_add(field_octets(field));
    }
    if octets > MAX_RESPONSE_HEAD_OCTETS {
        return Err(format!(
            "the headers of a reply may have at most {MAX_RESPONSE_HEAD_OCTETS} bytes"
        ));
    }
    Ok(())
}

fn field_octets(field: &FieldLine) -> usize {
    field.name.len().saturating_add(field.value.len()).saturating_add(FIELD_OCTETS)
}

/// The number of fields of a head, and its size as [`MAX_HEAD_OCTETS`] counts it.
pub fn head_size(headers: &HeaderMap) -> (usize, usize) {
    let octets = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    (headers.len(), octets.fold(0, usize::saturating_add) + headers.len() * FIELD_OCTETS)
}

/// Applies edits that [`check`] accepted, all or none. Writing a header also removes every other spelling
/// of its name that others sent.
///
/// # Errors
/// The head would have more than [`MAX_FIELDS`] fields or [`MAX_HEAD_OCTETS`] bytes afterwards, or the
/// attributes more than [`MAX_ATTRIBUTES`] or [`MAX_ATTRIBUTES_OCTETS`]. A head that was larger before may
/// not grow.
pub fn apply(edits: &[Edit], exchange: &mut Exchange, side: HeadSide) -> Result<(), EditError> {
    room_for_attributes(edits, exchange)?;
    let headers = match side {
        HeadSide::Request => &mut exchange.headers,
        HeadSide::Response => &mut exchange.response_headers,
    };
    change_head(edits, headers)?;
    for edit in edits {
        match edit {
            Edit::SetHeader(_) | Edit::AddHeader(_) | Edit::RemoveHeader(_) => {}
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
            Edit::SetStatus(status) => {
                if let Ok(status) = StatusCode::from_u16(*status) {
                    exchange.status = Some(status);
                }
            }
            Edit::SetMethod(method) => {
                if let Ok(method) = Method::from_bytes(method.as_bytes())
                    && !is_method_apart(&exchange.method)
                {
                    exchange.method = method;
                }
            }
        }
    }
    Ok(())
}

/// Changes a head in place if it cannot become too large, otherwise changes a copy and checks its size.
fn change_head(edits: &[Edit], headers: &mut HeaderMap) -> Result<(), EditError> {
    let (mut more, mut more_octets) = (0_usize, 0_usize);
    for edit in edits {
        if let Edit::SetHeader(field) | Edit::AddHeader(field) = edit {
            more += 1;
            more_octets = more_octets.saturating_add(field_octets(field));
        }
    }
    let (fields, octets) = head_size(headers);
    if fields + more <= MAX_FIELDS && octets.saturating_add(more_octets) <= MAX_HEAD_OCTETS {
        return change(edits, headers);
    }
    let mut changed = headers.clone();
    change(edits, &mut changed)?;
    let (fields_then, octets_then) = head_size(&changed);
    let what = format!("a head of {fields_then} fields and {octets_then} bytes");
    let refuse = |rule| Err(EditError { index: edits.len().saturating_sub(1), what, rule });
    if fields_then > fields.max(MAX_FIELDS) {
        return refuse("a head may have at most 512 fields after edits");
    }
    if octets_then > octets.max(MAX_HEAD_OCTETS) {
        return refuse("a head may have at most 128 KiB after edits");
    }
    *headers = changed;
    Ok(())
}

fn change(edits: &[Edit], headers: &mut HeaderMap) -> Result<(), EditError> {
    for (index, edit) in edits.iter().enumerate() {
        let refuse = |what: &str, rule| Err(EditError { index, what: shown(what), rule });
        // The map itself has a limit and returns an error there: the head of a client may be close to it.
        let done = match edit {
            Edit::SetHeader(field) => match line(field) {
                Some((name, value)) => {
                    remove_other_spellings(headers, name.as_str());
                    headers.try_insert(name, value).map(drop)
                }
                None => return refuse(&field.name, "it was not checked"),
            },
            Edit::AddHeader(field) => match line(field) {
                Some((name, value)) => {
                    remove_other_spellings(headers, name.as_str());
                    headers.try_append(name, value).map(drop)
                }
                None => return refuse(&field.name, "it was not checked"),
            },
            Edit::RemoveHeader(name) => {
                remove_other_spellings(headers, name);
                headers.remove(name.as_str());
                Ok(())
            }
            Edit::SetPath(_)
            | Edit::SetAuthority(_)
            | Edit::SetAttribute { .. }
            | Edit::SetStatus(_)
            | Edit::SetMethod(_) => Ok(()),
        };
        if done.is_err() {
            return refuse("a header", "the head has no room for more fields");
        }
    }
    Ok(())
}

fn room_for_attributes(edits: &[Edit], exchange: &Exchange) -> Result<(), EditError> {
    let (mut more, mut more_octets) = (0_usize, 0_usize);
    for edit in edits {
        if let Edit::SetAttribute { name, value } = edit {
            more += 1;
            more_octets = more_octets.saturating_add(name.len()).saturating_add(value.len());
        }
    }
    if more == 0 {
        return Ok(());
    }
    let octets = exchange.attributes.iter().map(|(name, value)| name.len() + value.len());
    let octets = octets.fold(more_octets, usize::saturating_add);
    // An attribute that replaces another still counts as one more: the limit holds whatever was there
    // before.
    if exchange.attributes.iter().count() + more > MAX_ATTRIBUTES || octets > MAX_ATTRIBUTES_OCTETS
    {
        let rule = "an exchange may have at most 128 attributes, of 64 KiB together";
        return Err(EditError { index: 0, what: "attributes".to_owned(), rule });
    }
    Ok(())
}

fn line(field: &FieldLine) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_lowercase(field.name.as_bytes()).ok()?;
    let value = HeaderValue::from_bytes(&field.value).ok()?;
    Some((name, value))
}

#[cfg(test)]
mod tests;
