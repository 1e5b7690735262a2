//! A response written by a filter, and its check.

use crate::edit::{
    FieldLine, MAX_FIELDS, MAX_RESPONSE_HEAD_OCTETS, field_octets, name_rule, shown,
};
use http::HeaderValue;

/// A response written by a filter. The host owns framing headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// In order.
    pub headers: Vec<FieldLine>,
    /// Complete.
    pub body: Vec<u8>,
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
        assert_eq!(
            check_reply(&reply(204, "content-length", b"0")),
            Ok(()),
            "the host writes its own"
        );
    }
}
