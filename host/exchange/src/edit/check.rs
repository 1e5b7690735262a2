//! The check of edits against the declaration of their filter and the rules of HTTP.

use super::{
    Edit, EditError, HeadSide, MAX_EDITS, WritableFields, is_framing_header, is_host_attribute,
    is_method_apart, shown,
};
use crate::fields::{is_host_field, is_host_look_alike, is_same_name};
use crate::method::misspelt_method;
use crate::target::MAX_TARGET_OCTETS;
use crate::{ContentCoding, PathRules, Scheme, normal_authority, normal_path};
use http::Method;
use std::borrow::Cow;

/// Bytes of a header's name in an edit or a reply.
const MAX_NAME_OCTETS: usize = 256;
/// Bytes of an authority that a filter sets: a host name (RFC 1035 §2.3.4) and a port.
const MAX_AUTHORITY_OCTETS: usize = 260;
/// Bytes of a method that a filter sets.
const MAX_METHOD_OCTETS: usize = 32;
/// Bytes of an attribute's name that a filter sets.
const MAX_ATTRIBUTE_NAME_OCTETS: usize = 128;

/// Checks every edit against the declaration and the rules of HTTP.
///
/// # Errors
/// Names the first edit that is not allowed.
pub fn check(edits: &[Edit], writes: &WritableFields, side: HeadSide) -> Result<(), EditError> {
    let writes = writes.of(side);
    if edits.len() > MAX_EDITS {
        let what = format!("{} edits", edits.len());
        return Err(EditError {
            index: MAX_EDITS,
            what,
            rule: "a verdict may have at most 1,024 edits",
        });
    }
    for (index, edit) in edits.iter().enumerate() {
        if let Some((what, rule)) = fault(edit, writes, side) {
            return Err(EditError { index, what: shown(&what), rule });
        }
    }
    Ok(())
}

/// The field that an edit must not change, and the rule that forbids it; `None`: the edit is allowed.
fn fault<'a>(
    edit: &'a Edit,
    writes: &WritableFields,
    side: HeadSide,
) -> Option<(Cow<'a, str>, &'static str)> {
    let (what, rule) = match edit {
        Edit::SetHeader(field) | Edit::AddHeader(field) => {
            (field.name.as_str(), field_rule(&field.name, &field.value, writes))
        }
        Edit::RemoveHeader(name) => (name.as_str(), header_rule(name, writes)),
        Edit::SetPath(_) | Edit::SetAuthority(_) if side == HeadSide::Response => {
            (":path", Some("only requests have a path and an authority"))
        }
        Edit::SetPath(path) => (":path", path_rule(path, writes)),
        Edit::SetAuthority(authority) => (":authority", authority_rule(authority, writes)),
        Edit::SetStatus(status) => (":status", status_rule(*status, writes, side)),
        Edit::SetMethod(method) => (":method", method_rule(method, writes, side)),
        Edit::EncodeBody(name) => (":coding", coding_rule(name, writes, side)),
        Edit::SetAttribute { name, .. } => return attribute_fault(name, writes),
    };
    rule.map(|rule| (what.into(), rule))
}

fn field_rule(name: &str, value: &[u8], writes: &WritableFields) -> Option<&'static str> {
    written_name_rule(name).or_else(|| header_rule(name, writes)).or_else(|| {
        (!is_field_value(value)).then_some(
            "a value must not contain CR, LF, NUL or other control characters (RFC 9110 §5.5)",
        )
    })
}

fn path_rule(path: &str, writes: &WritableFields) -> Option<&'static str> {
    if !writes.covers(":path") {
        return Some(
            "add `\":path\"` to `interest.writes`, which `configure` returns; if it is there already, add it to `writeHeaders` of this half (request or response) of its Grant",
        );
    }
    if path.len() > MAX_TARGET_OCTETS {
        return Some("a path may have at most 65,534 bytes");
    }
    normal_path(path, PathRules::KEEP).is_err().then_some(
        "a path must start with `/` and be visible ASCII without `#` and `\\`; `%` needs two hexadecimal digits, `%00` and disguised dot segments are not allowed; at most 65,534 octets with its escapes",
    )
}

fn authority_rule(authority: &str, writes: &WritableFields) -> Option<&'static str> {
    if !writes.covers(":authority") {
        return Some(
            "add `\":authority\"` to `interest.writes`, which `configure` returns; if it is there already, add it to `writeHeaders` of this half (request or response) of its Grant",
        );
    }
    if authority.len() > MAX_AUTHORITY_OCTETS {
        return Some("an authority may have at most 260 bytes");
    }
    let wrong = normal_authority(authority, Scheme::Http).is_err();
    wrong.then_some("an authority must be HOST or HOST:PORT without user info")
}

fn attribute_fault<'a>(
    name: &'a str,
    writes: &WritableFields,
) -> Option<(Cow<'a, str>, &'static str)> {
    if name.len() > MAX_ATTRIBUTE_NAME_OCTETS {
        return Some((name.into(), "the name of an attribute may have at most 128 bytes"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    if name.is_empty() || !name.bytes().all(plain) {
        let escaped = name.escape_debug().to_string();
        let rule = "the name of an attribute is letters, digits, `.`, `_`, `-` and `/`";
        return Some((escaped.into(), rule));
    }
    if is_host_attribute(name) {
        return Some((name.into(), "only the host may set it; choose another attribute"));
    }
    let rule = "add it with `@` before its name to `interest.writes`, which `configure` returns; if it is there already, add it to `writeAttributes` of this half (request or response) of its Grant";
    (!writes.covers_attribute(name)).then_some((name.into(), rule))
}

/// A response keeps its body when its status changes, so its new status must be one that has a body
/// (RFC 9110 §6.4.1).
fn status_rule(status: u16, writes: &WritableFields, side: HeadSide) -> Option<&'static str> {
    if side == HeadSide::Request {
        return Some("only responses have a status");
    }
    if !writes.covers(":status") {
        return Some(
            "add `\":status\"` to `interest.writes`, which `configure` returns; if it is there already, add it to `writeHeaders` of this half (request or response) of its Grant",
        );
    }
    if !(200..=599).contains(&status) || matches!(status, 204 | 205 | 304) {
        return Some("a status must be between 200 and 599, and not 204, 205 or 304");
    }
    None
}

fn method_rule(method: &str, writes: &WritableFields, side: HeadSide) -> Option<&'static str> {
    if side == HeadSide::Response {
        return Some("only requests have a method");
    }
    if !writes.covers(":method") {
        return Some(
            "add `\":method\"` to `interest.writes`, which `configure` returns; if it is there already, add it to `writeHeaders` of this half (request or response) of its Grant",
        );
    }
    if method.len() > MAX_METHOD_OCTETS {
        return Some("a method may have at most 32 bytes");
    }
    match Method::from_bytes(method.as_bytes()) {
        Ok(method) if misspelt_method(&method).is_some() => {
            Some("a method that servers know is written in capitals, as they know it")
        }
        Ok(method) if !is_method_apart(&method) => None,
        _ => Some("a method must be a token, and not CONNECT, HEAD or TRACE"),
    }
}

fn coding_rule(name: &str, writes: &WritableFields, side: HeadSide) -> Option<&'static str> {
    if side == HeadSide::Request {
        return Some("only the body of a response is encoded");
    }
    if !writes.covers(":coding") {
        return Some(
            "add `\":coding\"` to `interest.writes`, which `configure` returns; if it is there already, add it to `writeHeaders` of this half (request or response) of its Grant",
        );
    }
    ContentCoding::from_name(name).is_none().then_some("a coding must be gzip, br or zstd")
}

fn header_rule(name: &str, writes: &WritableFields) -> Option<&'static str> {
    if let Some(rule) = name_rule(name) {
        return Some(rule);
    }
    if is_framing_header(name) {
        return Some("the host owns framing and connection headers (RFC 9110 §7.6.1)");
    }
    if !writes.covers_header(name) {
        return Some(if is_host_field(name) {
            "the host writes this header, so `*` does not cover it: add its name to `interest.writes`, where `configure` returns it, and to `writeHeaders` of its Grant"
        } else {
            "add the header to `interest.writes`, which `configure` returns; if it is there already, add it to `writeHeaders` of this half (request or response) of its Grant"
        });
    }
    None
}

/// The rule that the name of a header breaks, whoever writes it.
pub(crate) fn name_rule(name: &str) -> Option<&'static str> {
    if name.starts_with(':') {
        return Some(
            "pseudo-headers cannot be set as headers; use set-path, set-authority, set-method or set-status; `:coding` alone is set so, in a hook on responses of contract 0.2",
        );
    }
    if name.len() > MAX_NAME_OCTETS {
        return Some("a header name may have at most 256 bytes");
    }
    if !is_lower_case_token(name) {
        return Some("a header name must be a token in lower case (RFC 9110 §5.1)");
    }
    if is_reason_header(name) {
        return Some("only the host may write headers that begin with `x-tamis-`");
    }
    None
}

/// The rule that the name of a header breaks that a filter writes, in an edit or a reply. Removing another spelling of the
/// host's name is no fault: the host removes it too.
pub(crate) fn written_name_rule(name: &str) -> Option<&'static str> {
    name_rule(name).or_else(|| {
        is_host_look_alike(name).then_some(
            "it is another spelling of a header that the host writes, and some servers read it as that one (RFC 3875 §4.1.18)",
        )
    })
}

/// The name as it may be written, if upper case is all that is wrong with it.
pub(crate) fn in_lower_case(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    (lower != name && is_lower_case_token(&lower)).then_some(lower)
}

/// Whether a name is a token (RFC 9110 §5.6.2) without upper case.
fn is_lower_case_token(name: &str) -> bool {
    let is_known = |octet: u8| {
        octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&octet)
    };
    !name.is_empty() && name.bytes().all(is_known)
}

/// Whether a value can be sent: visible characters, spaces, tabs, and octets beyond ASCII (RFC 9110 §5.5).
fn is_field_value(value: &[u8]) -> bool {
    value.iter().all(|octet| *octet == b'\t' || (*octet >= b' ' && *octet != 0x7f))
}

/// Headers in which the host reports its own decisions, `x-tamis-…`. No grant covers them.
fn is_reason_header(name: &str) -> bool {
    const PREFIX: &str = "x-tamis-";
    name.get(..PREFIX.len()).is_some_and(|start| is_same_name(PREFIX, start))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn what_a_check_lets_pass_can_be_sent() {
        for octet in 0..=u8::MAX {
            let value = [b'a', octet, b'a'];
            assert_eq!(is_field_value(&value), HeaderValue::from_bytes(&value).is_ok(), "{octet}");
            let Ok(name) = str::from_utf8(&[octet]).map(|octet| format!("x{octet}")) else {
                continue;
            };
            // The `http` crate also takes a quotation mark, which is no part of a token.
            let sent = octet != b'"' && HeaderName::from_lowercase(name.as_bytes()).is_ok();
            assert_eq!(is_lower_case_token(&name), sent, "{octet}");
        }
        assert!(!is_lower_case_token("") && is_field_value(b""));
    }
}
