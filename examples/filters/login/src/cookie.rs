//! Cookies (RFC 6265).

/// The value of a cookie of a request.
pub(crate) fn found<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(one, _)| *one == name).map(|(_, value)| value)
}

/// `set-cookie` for this site alone, out of reach of scripts; 0 seconds removes it.
pub(crate) fn set(name: &str, value: &str, seconds: u64) -> String {
    format!("{name}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Lax")
}

#[cfg(test)]
mod tests {
    use super::found;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        for (header, value) in [
            ("a=1; b=2", Some("2")),
            ("b=2=3", Some("2=3")),
            ("ab=1;b=", Some("")),
            ("ab=1", None),
            ("", None),
        ] {
            assert_eq!(found(header, "b"), value, "{header}");
        }
    }
}
