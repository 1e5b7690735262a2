//! Members that servers read alike although they are spelled in another way: of `cookie` and of credentials.
//!
//! RFC 6265 §5.4 says how a client writes a cookie, and no document says how a server reads what no client writes. Here is what
//! common ones take: `http.cookies` of Python (and Django), the package `cookie` of npm, PHP.

/// Members of a header that policies look at, in all their readings: each evaluation of a policy costs as much as there are.
pub(crate) const MAX_MEMBERS: usize = 256;

/// Whether a header has a scheme in any case before its credentials (RFC 9110 §11.1, §11.4).
pub(crate) fn is_credentials(name: &str) -> bool {
    matches!(name, "authorization" | "proxy-authorization")
}

/// The further spellings of a member, other than it is written.
pub(crate) fn spellings(name: &str, member: &[u8]) -> Vec<Vec<u8>> {
    let member = member.trim_ascii();
    let mut all = match name {
        "cookie" => of_cookie(member),
        _ if is_credentials(name) => vec![credentials(member)],
        _ => Vec::new(),
    };
    all.retain(|one| one != member);
    all.dedup();
    all
}

/// Credentials with their scheme in small letters and one blank behind it.
pub(crate) fn credentials(member: &[u8]) -> Vec<u8> {
    let end = member.iter().position(u8::is_ascii_whitespace).unwrap_or(member.len());
    let (scheme, rest) = member.split_at(end);
    let mut all = scheme.to_ascii_lowercase();
    let rest = rest.trim_ascii();
    if !rest.is_empty() {
        all.push(b' ');
        all.extend_from_slice(rest);
    }
    all
}

/// A cookie without blanks at its `=`, each part of it where a blank or a comma separates, and both without escapes.
fn of_cookie(member: &[u8]) -> Vec<Vec<u8>> {
    let is_plain =
        |octet: &u8| !octet.is_ascii_whitespace() && !matches!(octet, b',' | b'%' | b'"' | b'\\');
    if member.iter().all(is_plain) {
        return Vec::new();
    }
    let whole = tight(member);
    let separates = |octet: &u8| octet.is_ascii_whitespace() || *octet == b',';
    let parts = whole.split(separates).filter(|part| !part.is_empty());
    let mut all = Vec::new();
    for one in std::iter::once(whole.as_slice()).chain(parts).take(MAX_MEMBERS) {
        let bare = unescaped(one);
        all.extend([one.to_vec(), percent_decoded(one), percent_decoded(&bare), bare]);
    }
    all
}

/// Without the blanks around each `=`.
fn tight(member: &[u8]) -> Vec<u8> {
    let mut parts = member.split(|octet| *octet == b'=').map(<[u8]>::trim_ascii);
    let mut all = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        all.push(b'=');
        all.extend_from_slice(part);
    }
    all
}

/// A cookie whose value is a quoted string, without its quotes and escapes; `\\ooo` is an octet in octal.
fn unescaped(cookie: &[u8]) -> Vec<u8> {
    let at = cookie.iter().position(|octet| *octet == b'=').map_or(0, |at| at.saturating_add(1));
    let (name, value) = cookie.split_at(at);
    let Some(inside) = value.strip_prefix(b"\"") else { return cookie.to_vec() };
    let mut inside = inside.strip_suffix(b"\"").unwrap_or(inside);
    let mut all = name.to_vec();
    loop {
        inside = match inside {
            [] => return all,
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                all.push((a & 3) << 6 | (b & 7) << 3 | (c & 7));
                rest
            }
            [b'\\', one, rest @ ..] | [one, rest @ ..] => {
                all.push(*one);
                rest
            }
        };
    }
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let (mut all, mut rest) = (Vec::new(), text);
    while let [one, after @ ..] = rest {
        rest = after;
        let decoded = match rest {
            [high, low, ..] if *one == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match decoded {
            Some((high, low)) => {
                all.push(high << 4 | low);
                rest = rest.get(2..).unwrap_or_default();
            }
            None => all.push(*one),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, member: &str) -> Vec<String> {
        let all = spellings(name, member.as_bytes());
        all.into_iter().map(|one| String::from_utf8(one).unwrap()).collect()
    }

    #[test]
    fn what_a_server_may_read_as_a_cookie_is_one_of_its_spellings() {
        for member in [
            "admin =1",
            "admin= 1",
            "admin\t=1",
            "admin\t =\t 1",
            "admin=\"1\"",
            "admin=\"\\061\"",
            "admin=\"\\1\"",
            "admin=%31",
            "admin=\"%31\"",
            "%61dmin=1",
            "a=b, admin=1",
            "a=b,admin=1",
            "a=b admin=1",
            "a admin = 1",
        ] {
            let all = found("cookie", member);
            assert!(all.contains(&"admin=1".to_owned()), "{member}: {all:?}");
        }
        for member in ["admin=1", "notadmin=1", "a=admin", "session=abc.def-ghi=="] {
            assert!(found("cookie", member).is_empty(), "{member}");
        }
        // What is no escape stays as it is.
        for member in ["a=%", "a=%3", "a=%zz", "a=\"\\4\"", "a=\"", "a=\"\\\""] {
            assert!(!found("cookie", member).contains(&"admin=1".to_owned()), "{member}");
        }
    }

    #[test]
    fn a_scheme_is_one_in_any_case_and_with_any_blanks_behind_it() {
        for member in ["Bearer bad", "bearer bad", "BEARER bad", "Bearer  bad", "Bearer \t bad"] {
            assert_eq!(credentials(member.as_bytes()), b"bearer bad", "{member}");
        }
        assert!(found("authorization", "bearer bad").is_empty());
        assert_eq!(found("proxy-authorization", "Basic Zm9v"), ["basic Zm9v"]);
        assert_eq!(found("authorization", "Token"), ["token"]);
        assert!(found("x-user", "Bearer bad").is_empty());
    }

    #[test]
    fn a_long_cookie_costs_no_more_than_policies_look_at() {
        let long = "a=b,".repeat(10_000);
        assert!(spellings("cookie", long.as_bytes()).len() <= MAX_MEMBERS * 4);
    }
}
