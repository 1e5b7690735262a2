//! A response written by a filter, and its check.

use crate::edit::{
    FieldLine, MAX_RESPONSE_HEAD_OCTETS, field_octets, in_lower_case, is_framing_header, shown,
    written_name_rule,
};
use crate::head_bounds::MAX_FIELDS;
use http::HeaderValue;

/// A response written by a filter. The host frames it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// In order.
    pub headers: Vec<FieldLine>,
    /// Complete.
    pub body: Vec<u8>,
}

/// Checks a filter's reply before it is sent. A reply that cannot be sent as it is would otherwise reach the client as
/// another one, without an explanation.
///
/// # Errors
/// Names what is wrong with it, and the rule.
pub fn check_reply(reply: &Reply) -> Result<(), String> {
    let status = reply.status;
    if !(200..=599).contains(&status) {
        return Err(format!("the status {status} of its reply is not between 200 and 599"));
    }
    if has_no_body(status) && !reply.body.is_empty() {
        let octets = reply.body.len();
        return Err(format!(
            "a reply of status {status} has no body, and this one has {octets} bytes: leave them out, or choose another status (RFC 9110 §15.3.5, §15.3.6, §15.4.5)"
        ));
    }
    if reply.headers.len() > MAX_FIELDS {
        return Err(format!("a reply may have at most {MAX_FIELDS} headers"));
    }
    let mut octets = 0_usize;
    for field in &reply.headers {
        if let Some(rule) = field_rule(field, reply.body.len()) {
            let name = shown(&field.name);
            let way = way_out(field, rule).unwrap_or_default();
            return Err(format!("the header `{}` of its reply: {rule}{way}", name.escape_debug()));
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

/// What of a header is wrong, where the rule alone leaves that open.
fn way_out(field: &FieldLine, rule: &str) -> Option<String> {
    if field.name.len() <= MAX_WRITTEN_OCTETS
        && let Some(lower) = in_lower_case(&field.name)
    {
        return Some(format!(": write `{lower}`"));
    }
    if rule != VALUE_RULE {
        return None;
    }
    let controls = |octet: &u8| *octet != b'\t' && (*octet < b' ' || *octet == 0x7f);
    let at = field.value.iter().position(controls)?;
    let octet = char::from(*field.value.get(at)?);
    Some(format!("; this one has `{}` at byte {at}, counted from 0", octet.escape_debug()))
}

/// Bytes of a header's name up to which it is repeated in its right form.
const MAX_WRITTEN_OCTETS: usize = 80;

/// Whether a response of that status ends with its head, or must not have a body (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
fn has_no_body(status: u16) -> bool {
    matches!(status, 204 | 205 | 304)
}

/// The rule that a header of a reply with a body of that length breaks.
fn field_rule(field: &FieldLine, body: usize) -> Option<&'static str> {
    if let Some(rule) = written_name_rule(&field.name) {
        return Some(rule);
    }
    if field.name == "content-length" {
        // What the host writes is the same then.
        return (field.value != body.to_string().as_bytes())
            .then_some("it is not the length of the body, which the host writes: leave it out");
    }
    if is_framing_header(&field.name) {
        return Some(
            "the host owns framing and connection headers (RFC 9110 §7.6.1): leave it out",
        );
    }
    if HeaderValue::from_bytes(&field.value).is_err() {
        return Some(VALUE_RULE);
    }
    None
}

const VALUE_RULE: &str =
    "a value must not contain CR, LF, NUL or other control characters (RFC 9110 §5.5)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_could_not_be_sent_says_why() {
        let reply = |status, name: &str, value: &[u8]| Reply {
            status,
            headers: vec![FieldLine { name: name.into(), value: value.to_vec() }],
            body: Vec::new(),
        };
        for (what, reply, part) in [
            ("99", reply(99, "a", b""), "between 200 and 599"),
            ("101", reply(101, "a", b""), "between 200 and 599"),
            ("600", reply(600, "a", b""), "between 200 and 599"),
            ("0", reply(0, "a", b""), "between 200 and 599"),
            ("upper case", reply(200, "X-A", b""), "lower case"),
            ("a break", reply(200, "x-a", b"1\r\nset-cookie: a"), "RFC 9110 §5.5"),
            ("a pseudo-header", reply(200, ":path", b"/"), "pseudo-header"),
            ("the host's reason", reply(200, "x-tamis-reason", b"a"), "x-tamis-"),
            ("a long name", reply(200, &"a".repeat(300), b""), "256 bytes"),
            ("a long value", reply(200, "a", &vec![b'a'; 200_000]), "65536 bytes"),
            ("a value too long by one", reply(200, "a", &vec![b'a'; 65_536 - 32]), "65536 bytes"),
        ] {
            let said = check_reply(&reply).unwrap_err();
            assert!(said.contains(part), "{what}: {said}");
        }
        let mut many = reply(200, "a", b"");
        many.headers = vec![many.headers[0].clone(); 30_000];
        assert!(check_reply(&many).is_err());
    }

    #[test]
    fn a_reply_is_sent_as_it_is_or_not_at_all() {
        for status in 200..=599 {
            for body in [&b""[..], b"x"] {
                let reply = Reply { status, headers: Vec::new(), body: body.to_vec() };
                let fine = body.is_empty() || ![204, 205, 304].contains(&status);
                assert_eq!(check_reply(&reply).is_ok(), fine, "{status} {body:?}");
            }
        }
        let of = |name: &str, value: &str, body: &[u8]| {
            let headers = vec![FieldLine { name: name.into(), value: value.into() }];
            check_reply(&Reply { status: 200, headers, body: body.to_vec() })
        };
        for (name, value, part) in [
            ("content-length", "1", "the length of the body"),
            ("content-length", "02", "the length of the body"),
            ("content-length", "+2", "the length of the body"),
            ("content-length", "2, 2", "the length of the body"),
            ("content-length", "", "the length of the body"),
            ("transfer-encoding", "chunked", "framing"),
            ("transfer-encoding", "identity", "framing"),
            ("connection", "close", "framing"),
            ("keep-alive", "timeout=5", "framing"),
            ("proxy-connection", "close", "framing"),
            ("upgrade", "h2c", "framing"),
            ("te", "trailers", "framing"),
            ("trailer", "x-sum", "framing"),
            ("host", "a", "framing"),
            ("http2-settings", "", "framing"),
            ("content_length", "2", "another spelling"),
            ("content.length", "2", "another spelling"),
            ("transfer_encoding", "chunked", "another spelling"),
            ("keep_alive", "5", "another spelling"),
            ("x_request_id", "a", "another spelling"),
            ("x_forwarded_for", "a", "another spelling"),
            ("x_tamis_reason", "a", "x-tamis-"),
        ] {
            let said = of(name, value, b"ok").unwrap_err();
            assert!(said.contains(part), "{name}: {value}: {said}");
        }
        assert_eq!(of("content-length", "2", b"ok"), Ok(()));
        assert_eq!(of("content-length", "0", b""), Ok(()));
        let twice = FieldLine { name: "content-length".into(), value: b"2".to_vec() };
        let reply = Reply { status: 200, headers: vec![twice; 2], body: b"ok".to_vec() };
        assert_eq!(check_reply(&reply), Ok(()), "the host writes it once");
    }
}
