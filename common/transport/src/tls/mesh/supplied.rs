//! An identity whose SVID, key and authorities all come from a SPIFFE agent, in DER.

use std::collections::BTreeMap;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::super::TlsError;
use super::super::bundles::TrustBundles;
use super::super::spiffe::{SpiffeId, TrustDomain};
use super::{MeshIdentity, MeshMaterial, SvidSource};

/// What a SPIFFE agent sends for one identity.
pub struct SuppliedSvid {
    /// The id that the SVID must have.
    pub id: SpiffeId,
    /// The SVID, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// The authorities of its trust domain: 1 to 16.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Those of other trust domains.
    pub federated: BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>,
}

impl SuppliedSvid {
    fn material(
        self,
        now: UnixTime,
    ) -> Result<(MeshMaterial, BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>), TlsError> {
        let bundles = TrustBundles::of_domain(&self.id.trust_domain(), self.authorities)?;
        let material = MeshMaterial::of(self.chain, self.key, bundles, now)?;
        if material.id != self.id {
            return Err(TlsError::OtherName {
                path: super::PLACE.into(),
                names: material.id.to_string(),
                wanted: self.id.to_string(),
            });
        }
        Ok((material, self.federated))
    }
}

impl MeshIdentity {
    /// The identity of an SVID that an agent sent, and the federated domains that cannot be used.
    ///
    /// # Errors
    /// [`TlsError::Svid`] when peers with the same authorities would refuse it at `now`, [`TlsError::OtherName`] when it is for
    /// another id, [`TlsError::Bundle`] when the authorities of its domain cannot be used, [`TlsError::Setup`] when its key belongs
    /// to another.
    pub fn supplied(svid: SuppliedSvid, now: UnixTime) -> Result<(Self, Vec<TlsError>), TlsError> {
        let (material, federated) = svid.material(now)?;
        let identity = Self::with(material, SvidSource::Agent);
        let faults = identity.supply_authorities(federated);
        Ok((identity, faults))
    }

    /// Replaces the SVID, the authorities of its domain and those of others by what the agent sent, for new handshakes. Peers of a
    /// federated domain that loses an authority stand no longer. Returns the federated domains that cannot be used.
    ///
    /// # Errors
    /// As for [`Self::supplied`]; everything stays then as it was.
    pub fn replace_supplied(
        &self,
        svid: SuppliedSvid,
        now: UnixTime,
    ) -> Result<Vec<TlsError>, TlsError> {
        let (material, federated) = svid.material(now)?;
        // An agent that is reached again sends what it sent before.
        let is_same = material.certified.cert == self.0.material.load().certified.cert;
        self.take(material)?;
        let faults = self.supply_authorities(federated);
        if is_same {
            self.0.renewals.recovered();
        } else {
            self.0.renewals.succeeded(Duration::from_secs(now.as_secs()));
        }
        Ok(faults)
    }

    fn supply_authorities(
        &self,
        federated: BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>,
    ) -> Vec<TlsError> {
        let sets = federated.into_iter().map(|(domain, all)| (domain, all.into_iter().collect()));
        self.supply(sets.collect())
    }
}

#[cfg(test)]
mod tests;
