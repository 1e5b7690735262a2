//! What a proxy shows an ACME server while an order is live (RFC 8555 §8.3, RFC 8737), and how its orders go.
//!
//! Kept here because handshakes and requests read it on every worker, without a lock, while one thread orders. Whoever asks
//! for anything but what a live order expects learns nothing.

mod states;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use self::states::OrderState;
use self::states::OrderStates;
use super::shown::{ShownCertificate, ShownChain};
use super::tcp_port::ACME_TLS;
use super::{AskedHandshake, AskedProtocol, ServerTls, TlsError, verify};

/// What the paths of an ACME server's requests begin with (RFC 8555 §8.3).
const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// The orders of a proxy at an ACME server. Cheap to clone: all clones share them.
#[derive(Debug, Clone, Default)]
pub struct CertificateOrders(Arc<Orders>);

#[derive(Debug, Default)]
struct Orders {
    /// What is live; almost always nothing.
    live: ArcSwap<Vec<Arc<Challenge>>>,
    states: OrderStates,
}

#[derive(Debug)]
struct Challenge {
    /// In lower case.
    host: String,
    shown: ShownProof,
}

/// What proves that a host is ours.
#[derive(Debug)]
enum ShownProof {
    /// The answer to a request for this token.
    Answer { token: String, answer: String },
    /// A certificate.
    Handshake(Arc<ServerTls>),
}

/// A challenge that is answered until this is dropped.
#[derive(Debug)]
#[must_use = "a challenge that is dropped is not answered"]
pub struct LiveChallenge {
    orders: CertificateOrders,
    challenge: Arc<Challenge>,
}

impl Drop for LiveChallenge {
    fn drop(&mut self) {
        self.orders.0.live.rcu(|live| {
            let left = live.iter().filter(|one| !Arc::ptr_eq(one, &self.challenge));
            left.cloned().collect::<Vec<_>>()
        });
    }
}

impl CertificateOrders {
    /// Answers requests to a host for that token (`http-01`).
    pub fn answer_requests(&self, host: &str, token: String, answer: String) -> LiveChallenge {
        self.show(host, ShownProof::Answer { token, answer })
    }

    /// Answers handshakes of an ACME server for a host with this certificate, and no other handshake (`tls-alpn-01`).
    ///
    /// # Errors
    /// [`TlsError`]: the certificate or the key cannot be read. Whether they belong together is not checked.
    pub fn answer_handshakes(
        &self,
        host: &str,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<LiveChallenge, TlsError> {
        let tls = ServerTls::for_challenge(certificate, key)?;
        Ok(self.show(host, ShownProof::Handshake(Arc::new(tls))))
    }

    fn show(&self, host: &str, shown: ShownProof) -> LiveChallenge {
        let challenge = Arc::new(Challenge { host: host.to_ascii_lowercase(), shown });
        self.0.live.rcu(|live| {
            let new = std::iter::once(Arc::clone(&challenge));
            live.iter().cloned().chain(new).collect::<Vec<_>>()
        });
        LiveChallenge { orders: self.clone(), challenge }
    }

    /// Whether no challenge is live, as almost always.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.0.live.load().is_empty()
    }

    /// The answer to a request of an ACME server; `None`: no live order expects one at that host and path.
    #[must_use]
    pub fn answer(&self, host: &str, path: &str) -> Option<String> {
        let asked = path.strip_prefix(CHALLENGE_PATH)?;
        self.0.live.load().iter().find_map(|one| match &one.shown {
            ShownProof::Answer { token, answer }
                if token == asked && one.host.eq_ignore_ascii_case(host) =>
            {
                Some(answer.clone())
            }
            ShownProof::Answer { .. } | ShownProof::Handshake(_) => None,
        })
    }

    /// The TLS of a challenge that a handshake asks for; `None`: it asks for something else, or no order is live for that name.
    #[must_use]
    pub fn handshake(&self, asked: &AskedHandshake) -> Option<Arc<ServerTls>> {
        if asked.protocol != AskedProtocol::AcmeChallenge {
            return None;
        }
        let host = asked.server_name.as_deref()?;
        self.0.live.load().iter().find_map(|one| match &one.shown {
            ShownProof::Handshake(tls) if one.host.eq_ignore_ascii_case(host) => {
                Some(Arc::clone(tls))
            }
            ShownProof::Answer { .. } | ShownProof::Handshake(_) => None,
        })
    }

    /// How the orders go.
    #[must_use]
    pub fn states(&self) -> &OrderStates {
        &self.0.states
    }
}

impl ServerTls {
    /// TLS that shows an ACME server its certificate, agrees on `acme-tls/1` alone, and carries nothing.
    fn for_challenge(
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let chain = vec![certificate];
        let shown = ShownChain::new("the challenge".as_ref(), &chain)?;
        let provider = verify::provider();
        let key = provider.key_provider.load_private_key(key).map_err(TlsError::Setup)?;
        // Not checked by the library, to which the extension that ACME asks for is unknown.
        let shows = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shows));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        verify::resume_no_session(&mut config);
        Ok(Self { config: Arc::new(config), shown: ShownCertificate::Chain(shown) })
    }
}

#[cfg(test)]
mod tests;
