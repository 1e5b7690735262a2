//! A client and its options.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use tamis_transport::{ClientTls, OwnCertificate};

use crate::{ClientError, Server};

/// How to reach a registry.
#[derive(Clone)]
pub struct ClientOptions {
    /// Where it is.
    pub server: Server,
    /// The token; `None` gives the rights of callers without a token.
    pub token: Option<String>,
    /// PEM file with the authorities that may have issued the registry's certificate; needed for `https`.
    pub ca: Option<PathBuf>,
    /// Our own certificate, for registries that ask for one.
    pub own: Option<OwnFiles>,
    /// Time limit of a request including the connection; 60 seconds. Transfers of components may take five
    /// times as long.
    pub timeout: Duration,
}

/// A certificate chain and its key, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The leaf's key.
    pub key: PathBuf,
}

impl ClientOptions {
    /// A registry, without token and certificates.
    #[must_use]
    pub fn new(server: Server) -> Self {
        Self { server, token: None, ca: None, own: None, timeout: Duration::from_secs(60) }
    }
}

/// Talks to one registry. Cheap to keep: it holds no connection.
pub struct Client {
    pub(crate) server: Server,
    pub(crate) bearer: Option<HeaderValue>,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) timeout: Duration,
}

impl Client {
    /// Reads the files that the options name. Opens no connection.
    ///
    /// # Errors
    /// [`ClientError::NoAuthority`], [`ClientError::NoTls`], [`ClientError::Tls`], [`ClientError::Token`].
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let ClientOptions { server, token, ca, own, timeout } = options;
        let tls = match (&server, ca) {
            (Server::Tcp { host, tls: true, .. }, Some(ca)) => {
                let own = own.as_ref();
                let own =
                    own.map(|OwnFiles { certificate, key }| OwnCertificate { certificate, key });
                let tls = ClientTls::from_files(own, &ca, None, host)?;
                Some(tls.with_alpn(&[b"http/1.1"]))
            }
            (Server::Tcp { tls: true, .. }, None) => {
                return Err(ClientError::NoAuthority { server });
            }
            (_, None) if own.is_none() => None,
            _ => return Err(ClientError::NoTls { server }),
        };
        let bearer = token.as_deref().map(bearer).transpose()?;
        Ok(Self { server, bearer, tls, timeout })
    }

    /// Where the registry is.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }
}

/// `Bearer TOKEN` (RFC 6750 §2.1), marked as sensitive so that logs never show it.
fn bearer(token: &str) -> Result<HeaderValue, ClientError> {
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ClientError::Token);
    }
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| ClientError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(server: &str, change: impl FnOnce(&mut ClientOptions)) -> String {
        let mut options = ClientOptions::new(server.parse().unwrap());
        change(&mut options);
        Client::new(options).err().unwrap().to_string()
    }

    #[test]
    fn tls_wants_to_know_whom_to_believe_and_clear_text_wants_no_certificates() {
        assert!(refused("https://a", |_| ()).contains("authority"));
        assert!(refused("http://a", |it| it.ca = Some("ca.pem".into())).contains("https://"));
        let own = OwnFiles { certificate: "c.pem".into(), key: "k.pem".into() };
        assert!(refused("unix:/a", |it| it.own = Some(own)).contains("https://"));
        assert!(refused("https://a", |it| it.ca = Some("/no/ca.pem".into())).contains("ca.pem"));
    }

    #[test]
    fn a_token_is_one_word() {
        for bad in ["", " ", "a b", "a\nb", "ä"] {
            assert!(refused("http://a", |it| it.token = Some(bad.into())).contains("token"));
        }
        let options = ClientOptions {
            token: Some("abc\n".into()),
            ..ClientOptions::new("http://a".parse().unwrap())
        };
        assert!(Client::new(options).unwrap().bearer.unwrap().is_sensitive());
    }
}
