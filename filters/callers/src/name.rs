//! The name of an accepted caller: who receives it.

use tamis_sdk::{Attribute, Edit};

/// Bytes of the name of a header.
const MAX_HEADER_OCTETS: usize = 64;
/// Headers of the host, by their beginnings.
const HOST: [&str; 5] =
    ["x-forwarded-", "x-tamis-", "x-original-url", "x-rewrite-url", "x-request-id"];

/// Whether a header, in lower case, is for such a name: one that begins with `x-`, and none of the host.
#[must_use]
pub fn may_carry(header: &str) -> bool {
    is_plain(header)
        && header.starts_with("x-")
        && !HOST.iter().any(|beginning| header.starts_with(beginning))
}

/// Whether a name of a header is letters, digits and `-`, at most 64: names of other characters have look-alikes.
#[must_use]
pub fn is_plain(header: &str) -> bool {
    (1..=MAX_HEADER_OCTETS).contains(&header.len())
        && header.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

/// What an accepted name changes: the attribute of later filters, and the header of the upstream. Without a name (`None`) the
/// header is removed, so that no client writes it.
#[must_use]
pub fn known_as(attribute: &str, header: Option<&str>, name: Option<&str>) -> Vec<Edit> {
    let mut edits = Vec::new();
    if let Some(name) = name {
        let (attribute, value) = (attribute.to_owned(), name.to_owned());
        edits.push(Edit::SetAttribute(Attribute { name: attribute, value }));
    }
    if let Some(header) = header {
        edits.push(match name {
            Some(name) => Edit::set(header, name),
            None => Edit::remove(header),
        });
    }
    edits
}
