//! The hosts of a listener.

/// A host name, or `*.` and a name, which stands for all hosts below it, however deep, and not for the name
/// itself (Gateway API, `Hostname`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// In lower case; for a wildcard with its leading dot.
    name: String,
    wildcard: bool,
}

impl HostPattern {
    /// The pattern of a text; upper and lower case are equal.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        match lower.strip_prefix('*') {
            Some(name) => Self { name: name.to_owned(), wildcard: true },
            None => Self { name: lower, wildcard: false },
        }
    }

    /// Whether a host is one of its hosts. A port after it and a dot at its end do not count; a request or a
    /// handshake without a host has none that could be.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
            _ => host,
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let Some(at) = host.len().checked_sub(self.name.len()) else { return false };
        let Some((before, end)) = host.split_at_checked(at) else { return false };
        let fits = if self.wildcard { !before.is_empty() } else { before.is_empty() };
        fits && end.eq_ignore_ascii_case(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_the_hosts_that_the_gateway_api_gives_it() {
        for (pattern, host, matches) in [
            ("shop.example", "shop.example", true),
            ("Shop.example", "shop.EXAMPLE", true),
            ("shop.example", "shop.example:8443", true),
            ("shop.example", "shop.example.", true),
            ("shop.example", "a.shop.example", false),
            ("shop.example", "ashop.example", false),
            ("shop.example", "hop.example", false),
            ("shop.example", "", false),
            ("*.shop.example", "a.shop.example", true),
            ("*.shop.example", "a.b.shop.example:1", true),
            ("*.shop.example", "A.SHOP.example", true),
            ("*.shop.example", "shop.example", false),
            ("*.shop.example", ".shop.example", false),
            ("*.shop.example", "ashop.example", false),
            ("*.shop.example", "a.shop.example.evil", false),
            ("*.shop.example", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", false),
            ("*.shop.example", "[2001:db8::1]:443", false),
            ("shop.example", "192.0.2.1", false),
        ] {
            assert_eq!(HostPattern::new(pattern).matches(host), matches, "{pattern} {host}");
        }
    }
}
