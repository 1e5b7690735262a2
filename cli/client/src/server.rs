//! The address of a registry.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// The address of a registry: `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:/absolute/path`.
///
/// The default port is 80 or 443. There is no path: all APIs are at the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Over TCP.
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether connections use TLS.
        tls: bool,
    },
    /// Over a unix socket, without TLS.
    Unix(PathBuf),
}

/// A text that is not the address of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{text}` is not the address of a registry: write http://127.0.0.1:5000, https://HOST:PORT or unix:/absolute/path"
)]
pub struct ServerAddressError {
    text: String,
}

impl Server {
    /// The value of the `Host` field (RFC 9110 §7.2).
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Whether connections use TLS.
    pub(crate) fn tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }
}

impl FromStr for Server {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        let refuse = || ServerAddressError { text: text.chars().take(300).collect() };
        if let Some(path) = text.strip_prefix("unix:") {
            let sound = path.starts_with('/') && !path.contains('\0');
            return sound.then(|| Self::Unix(PathBuf::from(path))).ok_or_else(refuse);
        }
        let uri: http::Uri = text.parse().map_err(|_| refuse())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse()),
        };
        let authority = uri.authority().ok_or_else(refuse)?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        // A password in an address would end up in shell histories and logs.
        if !bare || authority.as_str().contains('@') {
            return Err(refuse());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let said = authority.as_str().trim_end_matches(|one: char| one.is_ascii_digit());
        let port = match (authority.port_u16(), said.ends_with(':')) {
            (Some(port), _) => port,
            (None, true) => return Err(refuse()),
            (None, false) => {
                if tls {
                    443
                } else {
                    80
                }
            }
        };
        if host.is_empty() || port == 0 {
            return Err(refuse());
        }
        Ok(Self::Tcp { host: host.to_owned(), port, tls })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { tls, .. } => {
                write!(f, "{}://{}", if *tls { "https" } else { "http" }, self.authority())
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_their_ports() {
        for (text, written) in [
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
            ("https://registry.example", "https://registry.example:443"),
            ("http://localhost", "http://localhost:80"),
            ("https://[::1]:7", "https://[::1]:7"),
            ("https://[::1]", "https://[::1]:443"),
            ("unix:/run/tamis.sock", "unix:/run/tamis.sock"),
        ] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_way_out() {
        for text in [
            "",
            "127.0.0.1:5000",
            "localhost:5000",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://me:secret@a",
            "unix:relative",
            "unix:",
            "http://a:99999",
            "http://a:",
            "http://a:0",
        ] {
            let error = text.parse::<Server>().unwrap_err();
            assert!(error.to_string().contains("http://127.0.0.1:5000"), "{text}");
        }
    }
}
