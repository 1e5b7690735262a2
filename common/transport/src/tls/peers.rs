//! Peers inside the mesh: whether a certificate is a valid X.509 SVID of an accepted trust domain.
//!
//! rustls verifies signatures and chains. The rules of SPIFFE (X509-SVID §3 to §5) come first, so that a
//! refusal names the broken rule, and the chain is verified with the authorities of the trust domain that the
//! certificate names, never with those of another.

use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::bundles::{TrustBundle, TrustBundles};
use super::facts::date;
use super::refusal::PeerRefusal;
use super::spiffe::{SpiffeError, SpiffeId};
use super::verify;

/// What the peer is in the handshake.
#[derive(Debug, Clone, Copy)]
pub(super) enum PeerRole {
    Client,
    Server,
}

/// Verifies the certificate of a peer.
///
/// # Errors
/// [`PeerRefusal`] names the broken rule.
pub(super) fn verify_peer(
    bundles: &TrustBundles,
    role: PeerRole,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<SpiffeId, PeerRefusal> {
    let id = SpiffeId::of_certificate(leaf)?;
    if !id.has_path() {
        return Err(PeerRefusal::NoPath { id });
    }
    check_leaf(leaf, now)?;
    let Some(bundle) = bundles.of(&id.trust_domain()) else {
        let accepted: Vec<&str> = bundles.domains().map(|domain| domain.as_str()).collect();
        return Err(PeerRefusal::ForeignDomain { id, accepted: accepted.join(", ") });
    };
    match verify_chain(bundle, role, leaf, intermediates, now) {
        Ok(()) => Ok(id),
        Err(Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        )) => Err(PeerRefusal::Usage {
            rule: match role {
                PeerRole::Client => "its extended key usage has no clientAuth",
                PeerRole::Server => "its extended key usage has no serverAuth",
            },
        }),
        Err(error) => Err(PeerRefusal::Chain { id, why: error.to_string() }),
    }
}

/// The last second of a certificate that expired at most `grace` ago; `now` for every other.
pub(super) fn within_validity(
    leaf: &CertificateDer<'_>,
    now: UnixTime,
    grace: Duration,
) -> UnixTime {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return now };
    let Ok(until) = u64::try_from(parsed.validity().not_after.timestamp()) else { return now };
    let late = now.as_secs().saturating_sub(until);
    if late > 0 && late <= grace.as_secs() {
        return UnixTime::since_unix_epoch(Duration::from_secs(until));
    }
    now
}

/// Checks the validity and the key usage of a leaf (X509-SVID §4.3).
fn check_leaf(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), PeerRefusal> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| SpiffeError::Malformed)?;
    let validity = parsed.validity();
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > until {
        return Err(PeerRefusal::Expired { at: date(until) });
    }
    if now < from {
        return Err(PeerRefusal::NotYetValid { from: date(from) });
    }
    let usage = parsed.key_usage().map_err(|_| SpiffeError::Malformed)?;
    match usage {
        None => Err(PeerRefusal::Usage { rule: "it has no key usage" }),
        Some(usage) if !usage.value.digital_signature() => {
            Err(PeerRefusal::Usage { rule: "its key usage has no digitalSignature" })
        }
        Some(_) => Ok(()),
    }
}

fn verify_chain(
    bundle: &TrustBundle,
    role: PeerRole,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Error> {
    match role {
        PeerRole::Client => bundle.clients.verify_client_cert(leaf, intermediates, now).map(drop),
        PeerRole::Server => verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &bundle.roots,
            intermediates,
            now,
            verify::provider().signature_verification_algorithms.all,
        ),
    }
}

#[cfg(test)]
mod tests;
