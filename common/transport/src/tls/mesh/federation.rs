//! The trust domains of others whose members an identity recognises, and which of their members stand when they change.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};

use rustls_pki_types::CertificateDer;

use super::super::bundles::TrustBundles;
use super::super::spiffe::{SpiffeId, TrustDomain};
use super::super::{TlsError, files};
use super::{MeshIdentity, MeshMaterial};

/// The authorities of a domain.
pub(super) type Authorities = HashSet<CertificateDer<'static>>;

/// The federated domains.
#[derive(Debug, Default)]
pub(super) struct FederatedDomains {
    pub(super) bundles: TrustBundles,
    /// Of documents.
    documents: BTreeMap<TrustDomain, Authorities>,
    /// Of whoever supplies the SVID: it alone says who vouches for these domains.
    supplied: BTreeMap<TrustDomain, Authorities>,
    /// Those in force.
    authorities: BTreeMap<TrustDomain, Authorities>,
    pub(super) since: Arc<DomainsSince>,
    /// How often a domain was added, or lost an authority.
    changes: u64,
}

/// The rule that a document breaks whose domain the supplier of the SVID has other authorities for.
const SUPPLIED: &str = "the SPIFFE agent of this proxy gives other authorities for this domain, and these count: remove the document, or the federation at the agent's server";

/// By domain: the change since which all its authorities have been trusted.
pub(super) type DomainsSince = BTreeMap<TrustDomain, u64>;

/// The change since which a domain is trusted that is not: they are numbered from 1.
const NEVER: u64 = 0;

/// A peer of a federated domain, which stands as long as no authority is withdrawn from its domain.
#[derive(Debug, Clone)]
pub struct FederatedPeer {
    identity: MeshIdentity,
    id: SpiffeId,
    since: u64,
}

impl FederatedPeer {
    /// Whether it still stands: since it proved who it is, its domain is federated, with all authorities of that moment.
    #[must_use]
    pub fn stands(&self) -> bool {
        let material = self.identity.0.material.load();
        material.since.get(&self.id.trust_domain()) == Some(&self.since)
    }

    /// Its SPIFFE id.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }
}

impl MeshIdentity {
    /// Makes these the federated domains around a `swap` of what is served: what is recognised no more is so before the policies
    /// that were written for it are gone, and what is recognised from now on is so after them. Returns the domains that were
    /// left out, as [`Self::federate`].
    ///
    /// # Errors
    /// That of `swap`. Nothing is added then, and what was to be withdrawn stays so.
    pub fn federate_around<E>(
        &self,
        wanted: &BTreeMap<String, String>,
        swap: impl FnOnce() -> Result<(), E>,
    ) -> Result<Vec<TlsError>, E> {
        self.withdraw_domains(wanted);
        swap()?;
        Ok(self.federate(wanted))
    }

    /// Takes from the federated domains what is not in `wanted`: PEM text by domain. Adds nothing, and takes away what cannot be
    /// read. Handshakes count on it from now on, and peers of a domain that loses an authority stand no longer.
    fn withdraw_domains(&self, wanted: &BTreeMap<String, String>) {
        let mut domains = self.domains();
        let kept = domains.documents.iter().filter_map(|(domain, had)| {
            let wanted = wanted.get(domain.as_str()).and_then(|text| read(domain, text).ok())?;
            let kept: Authorities = had.intersection(&wanted).cloned().collect();
            (!kept.is_empty()).then(|| (domain.clone(), kept))
        });
        domains.documents = kept.collect();
        // What was trusted until now can be trusted again.
        let _none = self.set_domains(&mut domains);
    }

    /// Makes these the federated domains: PEM text by domain. One that cannot be used is left out, which is returned; so is the
    /// own domain, about which nobody else is trusted.
    pub fn federate(&self, wanted: &BTreeMap<String, String>) -> Vec<TlsError> {
        let (mut all, mut faults) = (BTreeMap::new(), Vec::new());
        for (name, text) in wanted {
            let wrong = |rule: String| TlsError::Bundle { domain: name.clone(), rule };
            let domain = name.parse::<TrustDomain>().map_err(|error| wrong(error.to_string()));
            let read = domain.and_then(|domain| Ok((read(&domain, text)?, domain)));
            match read {
                Ok((_, domain)) if domain == self.id().trust_domain() => {
                    faults.push(wrong("it is the trust domain of this proxy itself".to_owned()));
                }
                Ok((authorities, domain)) => drop(all.insert(domain, authorities)),
                Err(error) => faults.push(error),
            }
        }
        let mut domains = self.domains();
        // Two sources that differ would leave open which of them removes an authority.
        for (domain, authorities) in &all {
            if domains.supplied.get(domain).is_some_and(|supplied| supplied != authorities) {
                faults.push(TlsError::Bundle {
                    domain: domain.to_string(),
                    rule: SUPPLIED.to_owned(),
                });
            }
        }
        domains.documents = all;
        faults.extend(self.set_domains(&mut domains));
        faults
    }

    /// Makes these the federated domains of whoever supplies the SVID. They have precedence over those of documents. One that cannot
    /// be used is left out, also if a document has it, which is returned; so is the own domain.
    pub(super) fn supply(&self, mut wanted: BTreeMap<TrustDomain, Authorities>) -> Vec<TlsError> {
        let own = self.id().trust_domain();
        wanted.remove(&own);
        let mut domains = self.domains();
        domains.supplied = wanted;
        self.set_domains(&mut domains)
    }

    /// The federated domains, sorted.
    #[must_use]
    pub fn federated(&self) -> Vec<String> {
        self.0.material.load().since.keys().map(ToString::to_string).collect()
    }

    /// A peer with that id of another trust domain; `None`: its domain is the own one. A domain that was withdrawn between the
    /// proof and this question is one of those that do not stand.
    #[must_use]
    pub fn federated_peer(&self, id: &SpiffeId) -> Option<FederatedPeer> {
        let domain = id.trust_domain();
        if domain == self.id().trust_domain() {
            return None;
        }
        let since = self.0.material.load().since.get(&domain).copied().unwrap_or(NEVER);
        Some(FederatedPeer { identity: self.clone(), id: id.clone(), since })
    }

    pub(super) fn domains(&self) -> MutexGuard<'_, FederatedDomains> {
        // Each change replaces a part as a whole.
        self.0.federated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_domains(&self, domains: &mut FederatedDomains) -> Vec<TlsError> {
        let mut wanted = domains.documents.clone();
        wanted.extend(domains.supplied.clone());
        if wanted == domains.authorities {
            return Vec::new();
        }
        let (mut bundles, mut since, mut faults) =
            (TrustBundles::default(), DomainsSince::new(), Vec::new());
        let (mut authorities, mut changes) = (BTreeMap::new(), domains.changes);
        for (domain, wanted) in wanted {
            if let Err(error) = bundles.add(&domain, &wanted) {
                faults.push(error);
                continue;
            }
            let had = domains.authorities.get(&domain).zip(domains.since.get(&domain));
            let first = match had {
                Some((had, first)) if had.is_subset(&wanted) => *first,
                _ => {
                    changes = changes.saturating_add(1);
                    changes
                }
            };
            since.insert(domain.clone(), first);
            authorities.insert(domain, wanted);
        }
        domains.bundles = bundles;
        domains.authorities = authorities;
        domains.since = Arc::new(since);
        domains.changes = changes;
        let now = self.0.material.load_full();
        let next = MeshMaterial {
            certified: Arc::clone(&now.certified),
            id: now.id.clone(),
            facts: Arc::clone(&now.facts),
            own: now.own.clone(),
            bundles: now.own.and(&domains.bundles),
            since: Arc::clone(&domains.since),
        };
        self.0.material.store(Arc::new(next));
        faults
    }
}

fn read(domain: &TrustDomain, text: &str) -> Result<Authorities, TlsError> {
    let found = files::certificates_of(Path::new("the bundle"), text.as_bytes());
    let wrong = |rule| TlsError::Bundle { domain: domain.to_string(), rule };
    Ok(found.map_err(|error| wrong(error.to_string()))?.into_iter().collect())
}

#[cfg(test)]
mod tests;
