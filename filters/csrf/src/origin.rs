//! Origins of requests (RFC 6454 §7).

/// Whether a text has the form of an origin that somebody may trust: `http` or `https`, and a host.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    let Some((_, host)) = split(text.as_bytes()) else { return false };
    let named = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(octet);
    !host.is_empty() && host.first() != Some(&b':') && host.iter().all(named)
}

/// Whether an origin is that of an authority, whatever its scheme: in front of a gateway TLS may end, and a
/// page of `http` then looks the same as one of `https`.
#[must_use]
pub fn is_of(origin: &[u8], authority: &[u8]) -> bool {
    let Some((scheme, host)) = split(origin) else { return false };
    let default: &[u8] = if scheme.eq_ignore_ascii_case(b"https") { b":443" } else { b":80" };
    let bare = |host: &'_ [u8]| host.strip_suffix(default).unwrap_or(host).to_ascii_lowercase();
    !host.is_empty() && bare(host) == bare(authority)
}

/// Scheme and host with port of a web page.
fn split(origin: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = origin.windows(3).position(|three| three == b"://")?;
    let (scheme, rest) = origin.split_at_checked(at)?;
    let web = scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"http");
    if web { Some((scheme, rest.get(3..)?)) } else { None }
}
