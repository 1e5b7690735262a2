//! Facts of the certificate that a client showed, for whoever decides by more than its id.

use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Facts of the certificate that a client showed. The handshake verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The first common name of its subject; `None`: it has none.
    pub common_name: Option<String>,
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// The first second of its validity, since the Unix epoch.
    pub not_before: i64,
    /// The last second of its validity, since the Unix epoch.
    pub not_after: i64,
}

impl PeerCertificate {
    /// The certificate that the client of a connection showed; `None`: it showed none.
    #[must_use]
    pub fn of<IO>(stream: &TlsStream<IO>) -> Option<Self> {
        let (_, state) = stream.get_ref();
        let leaf = state.peer_certificates()?.first()?;
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        let common_name = parsed.subject().iter_common_name().next();
        let common_name = common_name.and_then(|name| name.as_str().ok()).map(str::to_owned);
        let validity = parsed.validity();
        let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let digits = parsed.raw_serial().iter().map(|octet| format!("{octet:02x}"));
        Some(Self { common_name, serial: digits.collect(), not_before: from, not_after: until })
    }
}
