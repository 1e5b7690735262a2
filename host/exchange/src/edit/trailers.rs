//! Edits of trailers, checked and applied.

use super::apply::change_head;
use super::{Edit, EditError, HeadSide, MAX_EDITS, WritableFields, name_rule, shown};
use crate::HeadBound;
use crate::fields::may_follow_a_body;
use http::{HeaderMap, HeaderValue};

/// Changes the trailers of a side as a verdict asks, all edits or none.
///
/// # Errors
/// Names the first edit that is not allowed: it is not about a field, the field may not follow a body, or the
/// filter does not declare to write that trailer; or the trailers would be longer than a head may be.
pub fn change_trailers(
    edits: &[Edit],
    writes: &WritableFields,
    side: HeadSide,
    trailers: &mut HeaderMap,
) -> Result<(), EditError> {
    let writes = writes.of(side);
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
            | Edit::SetMethod(_)
            | Edit::EncodeBody(_) => {
                let rule = "only fields follow a body: set, add or remove a trailer";
                return Err(EditError { index, what: "a trailer".to_owned(), rule });
            }
        };
        if let Some(rule) = trailer_rule(name, value, writes) {
            return Err(EditError { index, what: shown(name), rule });
        }
    }
    change_head(edits, writes, trailers, HeadBound::default())
}

fn trailer_rule(name: &str, value: &[u8], writes: &WritableFields) -> Option<&'static str> {
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
            "add it with `trailer:` before its name to `interest.writes`, which `configure` returns; if it is there already, add it to `writeTrailers` of this half (request or response) of its Grant",
        );
    }
    if HeaderValue::from_bytes(value).is_err() {
        return Some(
            "a value must not contain CR, LF, NUL or other control characters (RFC 9110 §5.5)",
        );
    }
    None
}
