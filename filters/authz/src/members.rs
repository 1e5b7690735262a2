//! The members of the lists in a header, in each way in which a server may read them.

use std::borrow::Cow;

use crate::spellings::{MAX_MEMBERS, credentials, is_credentials, spellings};

/// Octets that are blanks in Latin-1, which some servers read fields as.
const LATIN_BLANKS: [u8; 2] = [0x85, 0xa0];

/// The separator of a header: that of cookies is `;` (RFC 6265 §4.2.1), that of lists `,` (RFC 9110 §5.6.1).
fn separator(name: &str) -> u8 {
    if name == "cookie" { b';' } else { b',' }
}

/// What is not UTF-8 equals no text of a rule, and still is a value.
pub(crate) fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or("\u{fffd}")
}

/// The members of all lines of a header. Says if there are more than policies look at.
///
/// A member may be a quoted string (RFC 9110 §5.6.4), and not every server reads it as one. So a line with quotes has the
/// members of both readings: a rule under `deny` then holds for one of them, and a rule under `allow` for none. So do the
/// spellings of one cookie or of credentials.
pub(crate) fn members<'a>(
    name: &str,
    lines: impl Iterator<Item = &'a [u8]>,
    crowded: &mut bool,
) -> Vec<Cow<'a, str>> {
    let by = separator(name);
    let mut all = Vec::new();
    let mut add = |member: Cow<'a, str>| {
        let fits = all.len() < MAX_MEMBERS;
        if fits {
            all.push(member);
        }
        *crowded |= !fits;
        fits
    };
    for line in lines {
        let mut pieces = line.split(|octet| *octet == by);
        if !pieces.all(|piece| add(text(piece.trim_ascii()).into())) {
            break;
        }
        let further = line.split(|octet| *octet == by).flat_map(|piece| spellings(name, piece));
        let owned = |octets: Vec<u8>| Cow::Owned(text(&octets).to_owned());
        if !further.map(owned).all(&mut add) {
            break;
        }
        if line.iter().any(|octet| matches!(octet, b'"' | b'\\') || LATIN_BLANKS.contains(octet)) {
            let stripped = line.split(|octet| *octet == by).map(strip);
            let unquoted = unquoted(line, by);
            if !stripped.chain(unquoted).map(owned).all(&mut add) {
                break;
            }
        }
    }
    all
}

/// The members of a value of a rule under `deny`, without the blanks around them, in the spelling that [`members`] has in any
/// case.
pub(crate) fn listed(name: &str, value: &str) -> Vec<String> {
    let members = value.split(char::from(separator(name)));
    let bare = members.map(|member| member.trim_matches([' ', '\t']));
    bare.map(|one| {
        if is_credentials(name) {
            text(&credentials(one.as_bytes())).to_owned()
        } else {
            one.to_owned()
        }
    })
    .collect()
}

/// A member without the quotes and blanks around it, and without escapes.
fn strip(member: &[u8]) -> Vec<u8> {
    let around =
        |octet: &u8| octet.is_ascii_whitespace() || *octet == b'"' || LATIN_BLANKS.contains(octet);
    let from = member.iter().position(|octet| !around(octet)).unwrap_or(member.len());
    let to =
        member.iter().rposition(|octet| !around(octet)).map_or(from, |at| at.saturating_add(1));
    let inside = member.get(from..to).unwrap_or_default();
    inside.iter().copied().filter(|octet| *octet != b'\\').collect()
}

/// The members of a line whose quoted strings may contain the separator.
fn unquoted(line: &[u8], by: u8) -> Vec<Vec<u8>> {
    let (mut all, mut member, mut quoted) = (Vec::new(), Vec::new(), false);
    let mut octets = line.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => quoted = !quoted,
            b'\\' if quoted => member.extend(octets.next()),
            _ if octet == by && !quoted => all.push(std::mem::take(&mut member)),
            _ => member.push(octet),
        }
    }
    all.push(member);
    all.iter().map(|member| member.trim_ascii().to_vec()).collect()
}
