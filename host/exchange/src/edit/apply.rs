//! Edits applied, all or none, within the bounds of a head.

use super::{
    Edit, EditError, FIELD_OCTETS, FieldLine, HeadSide, MAX_ATTRIBUTES, MAX_ATTRIBUTES_OCTETS,
    WritableFields, field_octets, is_method_apart, shown,
};
use crate::fields::OddNames;
use crate::{
    ContentCoding, Exchange, HeadBound, PathRules, header_value, normal_authority, normal_path,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// The number of fields of a head, and its size as [`MAX_HEAD_OCTETS`](crate::MAX_HEAD_OCTETS) counts it.
pub fn head_size(headers: &HeaderMap) -> (usize, usize) {
    let octets =
        headers.iter().map(|(name, value)| name.as_str().len().saturating_add(value.len()));
    let start = headers.len().saturating_mul(FIELD_OCTETS);
    (headers.len(), octets.fold(start, usize::saturating_add))
}

/// Applies edits that [`check`](super::check::check) accepted for a filter with these `writes`, all or none. Writing a header
/// also removes every other spelling of its name that others sent.
///
/// # Errors
/// The head would be larger afterwards than the exchange's bound of it ([`HeadBound`]), or the attributes more than
/// [`MAX_ATTRIBUTES`] or [`MAX_ATTRIBUTES_OCTETS`]. A head that was larger before may not grow.
pub fn apply(
    edits: &[Edit],
    writes: &WritableFields,
    exchange: &mut Exchange,
    side: HeadSide,
) -> Result<(), EditError> {
    room_for_attributes(edits, exchange)?;
    let (headers, bound) = match side {
        HeadSide::Request => (&mut exchange.headers, exchange.bounds.request),
        HeadSide::Response => (&mut exchange.response_headers, exchange.bounds.response),
    };
    change_head(edits, writes, headers, bound)?;
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
            Edit::EncodeBody(name) => exchange.coding = ContentCoding::from_name(name),
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
pub(super) fn change_head(
    edits: &[Edit],
    writes: &WritableFields,
    headers: &mut HeaderMap,
    bound: HeadBound,
) -> Result<(), EditError> {
    let (mut more, mut more_octets) = (0_usize, 0_usize);
    for edit in edits {
        if let Edit::SetHeader(field) | Edit::AddHeader(field) = edit {
            more = more.saturating_add(1);
            more_octets = more_octets.saturating_add(field_octets(field));
        }
    }
    let (fields, octets) = head_size(headers);
    if fields.saturating_add(more) <= bound.fields
        && octets.saturating_add(more_octets) <= bound.octets
    {
        return change(edits, writes, headers);
    }
    let mut changed = headers.clone();
    change(edits, writes, &mut changed)?;
    let (fields_then, octets_then) = head_size(&changed);
    let what = format!("a head of {fields_then} fields and {octets_then} bytes");
    let refuse = |rule| Err(EditError { index: edits.len().saturating_sub(1), what, rule });
    if fields_then > fields.max(bound.fields) {
        return refuse(
            "a head may have at most 512 fields after edits, or 64 more than a proxy set to take more of them takes",
        );
    }
    if octets_then > octets.max(bound.octets) {
        return refuse(
            "a head may have at most 128 KiB after edits, or 16 KiB more than a proxy set to take longer ones takes",
        );
    }
    *headers = changed;
    Ok(())
}

fn change(
    edits: &[Edit],
    writes: &WritableFields,
    headers: &mut HeaderMap,
) -> Result<(), EditError> {
    let mut odd = OddNames::of(headers);
    for (index, edit) in edits.iter().enumerate() {
        let refuse = |what: &str, rule| Err(EditError { index, what: shown(what), rule });
        // The map itself has a limit and returns an error there: the head of a client may be close to it.
        let done = match edit {
            Edit::SetHeader(field) => match line(field, writes) {
                Some((name, value)) => {
                    odd.remove_others(headers, name.as_str());
                    odd.note(&name);
                    headers.try_insert(name, value).map(drop)
                }
                None => return refuse(&field.name, "it was not checked"),
            },
            Edit::AddHeader(field) => match line(field, writes) {
                Some((name, value)) => {
                    odd.remove_others(headers, name.as_str());
                    odd.note(&name);
                    headers.try_append(name, value).map(drop)
                }
                None => return refuse(&field.name, "it was not checked"),
            },
            Edit::RemoveHeader(name) => {
                odd.remove_others(headers, name);
                headers.remove(name.as_str());
                Ok(())
            }
            Edit::SetPath(_)
            | Edit::SetAuthority(_)
            | Edit::SetAttribute { .. }
            | Edit::SetStatus(_)
            | Edit::SetMethod(_)
            | Edit::EncodeBody(_) => Ok(()),
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
            more = more.saturating_add(1);
            more_octets = more_octets.saturating_add(name.len()).saturating_add(value.len());
        }
    }
    if more == 0 {
        return Ok(());
    }
    let octets =
        exchange.attributes.iter().map(|(name, value)| name.len().saturating_add(value.len()));
    let octets = octets.fold(more_octets, usize::saturating_add);
    // An attribute that replaces another still counts as one more: the limit holds whatever was there
    // before.
    let count = exchange.attributes.iter().count().saturating_add(more);
    if count > MAX_ATTRIBUTES || octets > MAX_ATTRIBUTES_OCTETS {
        let rule = "an exchange may have at most 128 attributes, of 64 KiB together";
        return Err(EditError { index: 0, what: "attributes".to_owned(), rule });
    }
    Ok(())
}

fn line(field: &FieldLine, writes: &WritableFields) -> Option<(HeaderName, HeaderValue)> {
    let name = writes.header(&field.name)?;
    let value = header_value(&field.value).ok()?;
    Some((name, value))
}
