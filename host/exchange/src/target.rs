//! Normalisation of authority and path.
//!
//! Spellings that servers read as the same host or the same path are reduced to one here, and routes,
//! filters, records and the upstream see only that one. Spellings that servers read in different ways are
//! refused. `docs/reference/paths.md` describes this file.

use crate::Scheme;
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// How a listener treats paths that servers read in more than one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathRules {
    /// `//`.
    pub empty_segments: EmptySegmentRule,
    /// `%2F` and `%5C`: a slash and a backslash to servers that decode before they split.
    pub escaped_slashes: AmbiguityRule,
    /// `;`: Java servers cut it off, with everything that follows it in its segment.
    pub parameters: AmbiguityRule,
    /// Which escapes are replaced by the character they stand for.
    pub escapes: Escapes,
}

/// Treatment of empty segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmptySegmentRule {
    /// They are removed, as nginx and Tomcat do.
    #[default]
    Merge,
    /// They stay, as object stores require.
    Keep,
    /// The request is refused.
    Refuse,
}

/// Treatment of a path whose reading depends on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AmbiguityRule {
    /// The request is refused.
    #[default]
    Refuse,
    /// It stays unchanged.
    Keep,
}

/// Which escapes are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escapes {
    /// Those of all characters a segment may contain (RFC 3986 §3.3, `pchar`), except `;`.
    #[default]
    Segment,
    /// Only those of unreserved characters (RFC 3986 §6.2.2.2), for upstreams that distinguish `+` from
    /// `%2B`.
    Unreserved,
}

impl PathRules {
    /// Keeps what is ambiguous: for paths written by filters, which are responsible for them.
    pub const KEEP: Self = Self {
        empty_segments: EmptySegmentRule::Keep,
        escaped_slashes: AmbiguityRule::Keep,
        parameters: AmbiguityRule::Keep,
        escapes: Escapes::Unreserved,
    };
}

/// Octets of path and query at most once they are normalised, whoever wrote them: what a target of the `http` crate can have.
/// Escapes make a path up to three times as long. Filters have no lower limit than clients: else a client would write a path
/// that a filter cannot write back, and the fault would be the filter's.
pub(crate) const MAX_TARGET_OCTETS: usize = 65_534;

/// Why an authority or a path cannot be normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It has characters that a URI cannot have.
    #[error("a path must begin with `/` and be visible ASCII without `#` (RFC 3986 §3.3)")]
    Octets,
    /// `%` without two hexadecimal digits.
    #[error("`%` must be followed by two hexadecimal digits (RFC 3986 §2.1)")]
    Escape,
    /// `%00`, or a control character at the start or end of a segment: patterns that end in `$` overlook a
    /// line break there.
    #[error(
        "the path contains an escaped NUL, or an escaped control character at the start or end of a segment"
    )]
    Control,
    /// UTF-8 in more bytes than needed, which some decoders read as `.` or `/`.
    #[error(
        "the path contains an escaped character in more bytes than UTF-8 uses for it (RFC 3629 §3)"
    )]
    Overlong,
    /// A backslash.
    #[error("a path must not contain a backslash; some servers read it as `/`")]
    Backslash,
    /// `%2F` or `%5C` where they are refused.
    #[error(
        "some servers split a segment at an escaped slash or backslash; `paths.escapedSlashes: Keep` on the listener lets it pass"
    )]
    EscapedSlash,
    /// `;` where it is refused.
    #[error(
        "the path contains `;`, where some servers cut it off; `paths.parameters: Keep` on the listener lets it pass"
    )]
    Parameters,
    /// `//` where it is refused.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `..;` or `..%2F`, which some servers read as `..`.
    #[error("the path contains a disguised dot segment, such as `..;`")]
    DotSegment,
    /// More than 65,534 octets once normalised.
    #[error("path and query must have at most 65,534 octets with all escapes")]
    TooLong,
    /// The authority is not HOST or HOST:PORT.
    #[error("an authority must be HOST or HOST:PORT without user info (RFC 9110 §7.2)")]
    Authority,
}

/// Normalises path and query: escapes decoded or in upper case, no dot segments, no empty segments. The
/// query stays unchanged.
///
/// Borrowed when the input is normalised already, which is nearly always.
///
/// # Errors
/// Servers would read it in different ways, or it is not a path.
pub fn normal_path(path_and_query: &str, rules: PathRules) -> Result<Cow<'_, str>, TargetError> {
    let octets = path_and_query.as_bytes();
    if octets.first() != Some(&b'/')
        || !octets.iter().all(|octet| octet.is_ascii_graphic() && *octet != b'#')
    {
        return Err(TargetError::Octets);
    }
    let end = octets.iter().position(|octet| *octet == b'?').unwrap_or(octets.len());
    let (path, query) = path_and_query.split_at_checked(end).ok_or(TargetError::Octets)?;
    // A request target cannot contain them (RFC 3986 §3.4), and the `http` crate refuses to send them.
    if query.bytes().any(|octet| matches!(octet, b'"' | b'<' | b'>')) {
        return Err(TargetError::Octets);
    }
    let normal = if is_plain(path.as_bytes()) {
        Cow::Borrowed(path_and_query)
    } else {
        let spelled = spell(path.as_bytes(), rules)?;
        let mut out = fold(&spelled, rules)?;
        out.push_str(query);
        Cow::Owned(out)
    };
    if normal.len() > MAX_TARGET_OCTETS { Err(TargetError::TooLong) } else { Ok(normal) }
}

/// Whether it is certainly normalised: nothing in it has a second spelling or reading.
fn is_plain(path: &[u8]) -> bool {
    let mut slash = false;
    for octet in path {
        match octet {
            b'/' | b'.' if slash => return false,
            b'/' => slash = true,
            _ if is_segment_octet(*octet) => slash = false,
            _ => return false,
        }
    }
    true
}

/// RFC 3986 §3.3, `pchar`, without `%`, and without `;`, which servers read in different ways.
fn is_segment_octet(octet: u8) -> bool {
    is_unreserved(octet)
        || matches!(
            octet,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        )
}

/// RFC 3986 §2.3.
fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~')
}

/// Reduces each character to one spelling.
fn spell(path: &[u8], rules: PathRules) -> Result<String, TargetError> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let (octet, after) = escape(after)?;
                rest = after;
                spell_escaped(&mut out, octet, after, rules)?;
            }
            b'\\' => return Err(TargetError::Backslash),
            b';' if rules.parameters == AmbiguityRule::Refuse => {
                return Err(TargetError::Parameters);
            }
            b';' | b'/' => out.push(char::from(first)),
            _ if is_segment_octet(first) => out.push(char::from(first)),
            // A character that a path must not contain unescaped.
            _ => push_escape(&mut out, first),
        }
    }
    Ok(out)
}

fn spell_escaped(
    out: &mut String,
    octet: u8,
    after: &[u8],
    rules: PathRules,
) -> Result<(), TargetError> {
    match octet {
        0 => return Err(TargetError::Control),
        b'/' | b'\\' if rules.escaped_slashes == AmbiguityRule::Refuse => {
            return Err(TargetError::EscapedSlash);
        }
        _ if is_overlong(octet, after) => return Err(TargetError::Overlong),
        _ if is_unreserved(octet) => out.push(char::from(octet)),
        _ if is_segment_octet(octet) && rules.escapes == Escapes::Segment => {
            out.push(char::from(octet));
        }
        _ => push_escape(out, octet),
    }
    Ok(())
}

/// Whether a sequence that begins with this byte is an overlong form in UTF-8, or longer than UTF-8 allows (RFC 3629 §3).
fn is_overlong(octet: u8, after: &[u8]) -> bool {
    let next = after.strip_prefix(b"%").and_then(|after| escape(after).ok());
    let Some((next, _)) = next else { return false };
    match octet {
        0xc0 | 0xc1 | 0xf8..=0xfd => (0x80..0xc0).contains(&next),
        0xe0 => (0x80..0xa0).contains(&next),
        0xf0 => (0x80..0x90).contains(&next),
        _ => false,
    }
}

/// The byte that two digits stand for, and what follows them.
fn escape(after: &[u8]) -> Result<(u8, &[u8]), TargetError> {
    let (digits, rest) = after.split_at_checked(2).ok_or(TargetError::Escape)?;
    let mut octet = 0_u8;
    for digit in digits {
        let value = char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        octet = (octet << 4) | value.ok_or(TargetError::Escape)?;
    }
    Ok((octet, rest))
}

fn push_escape(out: &mut String, octet: u8) {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0').to_ascii_uppercase();
    out.extend(['%', digit(octet >> 4), digit(octet & 0xf)]);
}

/// Removes dot segments (RFC 3986 §5.2.4) and empty segments from a spelled path.
fn fold(path: &str, rules: PathRules) -> Result<String, TargetError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    // `/a/..` is the directory `/`, not the file ``: keep the closing slash.
                    kept.push("");
                }
            }
            "" if !last && rules.empty_segments == EmptySegmentRule::Merge => {}
            "" if !last && rules.empty_segments == EmptySegmentRule::Refuse => {
                return Err(TargetError::EmptySegment);
            }
            _ if is_disguised(segment) => return Err(TargetError::DotSegment),
            _ if is_edged_with_control(segment) => return Err(TargetError::Control),
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// Whether a server that cuts off parameters or splits at escaped slashes finds a dot segment in it.
fn is_disguised(segment: &str) -> bool {
    let parts = segment.split("%2F").flat_map(|part| part.split("%5C"));
    let mut names = parts.map(|part| part.split(';').next().unwrap_or_default());
    names.any(|name| name == "." || name == "..")
}

/// Whether the first or last character of a segment is an escaped control character of ASCII, or another that ends a line
/// (U+0085, U+2028, U+2029): before those `$` matches in Java, as before a line break elsewhere.
fn is_edged_with_control(segment: &str) -> bool {
    let edges = |length: usize| {
        let last = segment.len().checked_sub(length).and_then(|at| segment.get(at..));
        [segment.get(..length), last].into_iter().flatten()
    };
    let begins = |edge: &str, with: &[&str]| with.iter().any(|begin| edge.starts_with(begin));
    edges(3).any(|edge| begins(edge, &["%0", "%1", "%7F"]))
        || edges(6).any(|edge| edge == "%C2%85")
        || edges(9).any(|edge| begins(edge, &["%E2%80%A8", "%E2%80%A9"]))
}

/// Normalises an authority: lower case, no trailing dot, the port as a number and only if the scheme does
/// not imply it (RFC 9110 §4.2.3).
///
/// # Errors
/// It is not HOST or HOST:PORT.
pub fn normal_authority(authority: &str, scheme: Scheme) -> Result<Cow<'_, str>, TargetError> {
    let (host, port) = split_port(authority)?;
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|octet| octet.is_ascii_digit()) => {
            Some(digits.parse::<u16>().map_err(|_| TargetError::Authority)?)
        }
        Some(_) => return Err(TargetError::Authority),
    };
    let implied = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    let port = port.filter(|port| *port != implied);
    let host = match host.strip_prefix('[') {
        Some(inner) => Cow::Owned(normal_address(inner)?),
        None => normal_name(host)?,
    };
    // The usual form: nothing in it has another spelling.
    if let (Some(_), Cow::Borrowed(name)) = (port, &host)
        && authority.get(name.len()..).is_some_and(is_normal_port)
    {
        return Ok(Cow::Borrowed(authority));
    }
    Ok(match port {
        None if host.len() == authority.len() => match host {
            Cow::Borrowed(_) => Cow::Borrowed(authority),
            Cow::Owned(host) => Cow::Owned(host),
        },
        None => Cow::Owned(host.into_owned()),
        Some(port) => {
            let normal = format!("{host}:{port}");
            if normal == authority { Cow::Borrowed(authority) } else { Cow::Owned(normal) }
        }
    })
}

/// Whether the rest after a host is a port as it is written here: without zeros before it.
fn is_normal_port(rest: &str) -> bool {
    rest.strip_prefix(':').is_some_and(|digits| !digits.is_empty() && !digits.starts_with('0'))
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), TargetError> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or(TargetError::Authority)?;
        let (host, rest) =
            authority.split_at_checked(end.saturating_add(1)).ok_or(TargetError::Authority)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(TargetError::Authority),
        };
    }
    Ok(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

fn normal_address(inner: &str) -> Result<String, TargetError> {
    let address = inner.strip_suffix(']').and_then(|text| text.parse::<Ipv6Addr>().ok());
    address.map(|address| format!("[{address}]")).ok_or(TargetError::Authority)
}

/// A name of at most 255 bytes (RFC 1035 §2.3.4) without an empty label.
fn normal_name(host: &str) -> Result<Cow<'_, str>, TargetError> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let known =
        |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~');
    if name.len() > 255 || !name.bytes().all(known) || name.split('.').any(str::is_empty) {
        return Err(TargetError::Authority);
    }
    Ok(if name.bytes().any(|octet| octet.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

#[cfg(test)]
mod tests;
