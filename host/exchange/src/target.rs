//! Authority and path of a request in their one form.
//!
//! Whatever two servers read as the same host or the same path has one spelling here, and routes, filters, records and
//! the upstream see that spelling and no other. What they would read in two ways is refused. `docs/reference/paths.md`
//! is this file in prose.

use crate::Scheme;
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// What a listener does with paths that servers read in more than one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathRules {
    /// `//`.
    pub empty_segments: EmptySegments,
    /// `%2F` and `%5C`: a slash and a backslash to servers that decode before they split.
    pub escaped_slashes: Ambiguous,
    /// `;`: servers of the Java world cut it off, with all that follows it in its segment.
    pub parameters: Ambiguous,
    /// Which escapes are written as the character they stand for.
    pub escapes: Escapes,
}

/// What becomes of segments without a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmptySegments {
    /// They are left out, as nginx and Tomcat do.
    #[default]
    Merge,
    /// They stay, as object stores want.
    Keep,
    /// The request is refused.
    Refuse,
}

/// What becomes of a path whose reading depends on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ambiguous {
    /// The request is refused.
    #[default]
    Refuse,
    /// It stays as it is written.
    Keep,
}

/// Which escapes are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escapes {
    /// Those of all characters a segment may hold (RFC 3986 §3.3, `pchar`), but `;`.
    #[default]
    Segment,
    /// Those of unreserved characters alone (RFC 3986 §6.2.2.2), for upstreams that tell `+` and `%2B` apart.
    Unreserved,
}

impl PathRules {
    /// Keeps what is ambiguous: for paths of filters, which answer for what they write.
    pub const KEEP: Self = Self {
        empty_segments: EmptySegments::Keep,
        escaped_slashes: Ambiguous::Keep,
        parameters: Ambiguous::Keep,
        escapes: Escapes::Unreserved,
    };
}

/// Why an authority or a path has no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It has octets that no URI has.
    #[error("a path begins with `/` and is visible ASCII without `#` (RFC 3986 §3.3)")]
    Octets,
    /// `%` without two hexadecimal digits.
    #[error("`%` is followed by two hexadecimal digits (RFC 3986 §2.1)")]
    Escape,
    /// `%00`, or a control character at an end of a segment: patterns that end in `$` overlook a line break there.
    #[error("the path escapes NUL, or has an escaped control character at an end of a segment")]
    Control,
    /// UTF-8 in more octets than needed, which some decoders take for `.` or `/`.
    #[error("the path escapes a character in more octets than UTF-8 has for it (RFC 3629 §3)")]
    Overlong,
    /// A backslash.
    #[error("a path has no backslash; servers read it as `/`")]
    Backslash,
    /// `%2F` or `%5C` where they are refused.
    #[error(
        "an escaped slash or backslash splits a segment on some servers; `paths.escapedSlashes: Keep` lets it pass"
    )]
    EscapedSlash,
    /// `;` where it is refused.
    #[error("some servers cut off `;` and what follows; `paths.parameters: Keep` lets it pass")]
    Parameters,
    /// `//` where it is refused.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `..;` or `..%2F`, which some servers read as `..`.
    #[error("the path has a dot segment in disguise")]
    DotSegment,
    /// No HOST or HOST:PORT.
    #[error("an authority is HOST or HOST:PORT without user info (RFC 9110 §7.2)")]
    Authority,
}

/// The one form of path and query: escapes decoded or in upper case, no dot segments, no empty ones. The query stays as
/// it is.
///
/// Borrowed when it has that form already, which is nearly always.
///
/// # Errors
/// Where servers read it in two ways, and where it is no path at all.
pub fn normal_path(path_and_query: &str, rules: PathRules) -> Result<Cow<'_, str>, TargetError> {
    let octets = path_and_query.as_bytes();
    if octets.first() != Some(&b'/')
        || !octets.iter().all(|octet| octet.is_ascii_graphic() && *octet != b'#')
    {
        return Err(TargetError::Octets);
    }
    let end = octets.iter().position(|octet| *octet == b'?').unwrap_or(octets.len());
    let (path, query) = path_and_query.split_at_checked(end).ok_or(TargetError::Octets)?;
    // No request target holds them (RFC 3986 §3.4), and the `http` crate sends none with them.
    if query.bytes().any(|octet| matches!(octet, b'"' | b'<' | b'>')) {
        return Err(TargetError::Octets);
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path_and_query));
    }
    let spelled = spell(path.as_bytes(), rules)?;
    let mut out = fold(&spelled, rules)?;
    out.push_str(query);
    Ok(Cow::Owned(out))
}

/// Whether nothing in it has a second spelling or reading.
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

/// RFC 3986 §3.3, `pchar`, without `%` and without `;`, which has a reading of its own.
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

/// Each character in its one spelling.
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
            b';' if rules.parameters == Ambiguous::Refuse => return Err(TargetError::Parameters),
            b';' | b'/' => out.push(char::from(first)),
            _ if is_segment_octet(first) => out.push(char::from(first)),
            // What a path may not hold as it is.
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
        b'/' | b'\\' if rules.escaped_slashes == Ambiguous::Refuse => {
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

/// Whether a character begins with that octet that UTF-8 has fewer octets for, or that has more than UTF-8 knows
/// (RFC 3629 §3).
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

/// The octet that two digits stand for, and what follows them.
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

/// Leaves dot segments (RFC 3986 §5.2.4) and empty ones out of a spelled path.
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
            "" if !last && rules.empty_segments == EmptySegments::Merge => {}
            "" if !last && rules.empty_segments == EmptySegments::Refuse => {
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

/// Whether a server that cuts parameters off or splits at escaped slashes finds a dot segment in it.
fn is_disguised(segment: &str) -> bool {
    let parts = segment.split("%2F").flat_map(|part| part.split("%5C"));
    let mut names = parts.map(|part| part.split(';').next().unwrap_or_default());
    names.any(|name| name == "." || name == "..")
}

/// Whether the first or last character of a segment is an escaped control character.
fn is_edged_with_control(segment: &str) -> bool {
    let control = |escape: Option<&str>| {
        escape.is_some_and(|escape| {
            escape.starts_with("%0") || escape.starts_with("%1") || escape == "%7F"
        })
    };
    control(segment.get(..3))
        || control(segment.len().checked_sub(3).and_then(|at| segment.get(at..)))
}

/// The one form of an authority: lower case, no closing dot, the port as a number and only where it is not the one that
/// the scheme implies (RFC 9110 §4.2.3).
///
/// # Errors
/// When it is no HOST or HOST:PORT.
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

/// A name of at most 255 octets (RFC 1035 §2.3.4) with no empty label.
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
