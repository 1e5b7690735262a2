//! What an operator may name: addresses that are fetched, headers that claims become.

use tamis_sdk::credentials::is_token;

/// Such headers, in the spelling of letters, digits and `-`.
const RESERVED: [&str; 12] = [
    "connection",
    "content-length",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header frames or routes a message or states who is asking; a claim must not become one. Another spelling is
/// the same name to a server that turns names into variables.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let plain: String = name.chars().map(fold).collect();
    RESERVED.contains(&plain.as_str())
        || (plain != name && (plain.starts_with("x-forwarded-") || plain == "x-request-id"))
        || plain.starts_with("x-tamis-")
}

/// Whether this is the name of a header (a token of RFC 9110 §5.6.2).
#[must_use]
pub fn is_header_name(name: &str) -> bool {
    is_token(name.as_bytes())
}

/// Whether nobody on the network path reads or alters what is fetched from an address: `https:`, or `http:` to this machine
/// or to a service of the mesh.
#[must_use]
pub fn is_safe_address(url: &str) -> bool {
    let after = |scheme: &str| url.strip_prefix(scheme).filter(|rest| !rest.is_empty());
    if url.chars().any(|c| c.is_control() || c == ' ') {
        return false;
    }
    let Some(rest) = after("http://") else { return after("https://").is_some() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => host,
        _ => authority,
    };
    // The mesh encrypts by itself, and the host calls nobody else under such a name.
    matches!(host, "localhost" | "127.0.0.1" | "[::1]") || host.ends_with(".mesh")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_alone() {
        for url in [
            "https://idp.example/keys",
            "http://127.0.0.1:8080/k",
            "http://[::1]/",
            "http://localhost",
        ] {
            assert!(is_safe_address(url), "{url}");
        }
        for url in [
            "",
            "https://",
            "http://idp",
            "http://127.0.0.1.evil/",
            "http://localhost@evil/",
            "ftp://x",
            "https://a b",
        ] {
            assert!(!is_safe_address(url), "{url}");
        }
    }
}
