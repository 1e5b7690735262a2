//! Which SVID of a message a proxy uses.

use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tamis_transport::{SpiffeId, SuppliedSvid, TrustDomain};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::messages::{AgentSvidEntry, SvidMessage};
use super::{AgentSocket, WorkloadError};

/// Most certificates of a chain.
const CHAIN_MAX: usize = 16;
/// Most authorities of a trust domain that are read; a proxy takes 16.
const AUTHORITIES_MAX: usize = 64;
/// Most ids that a message names.
const IDS_SHOWN: usize = 8;
/// Longest id that a message shows, in characters.
const ID_SHOWN: usize = 256;

/// Which SVID a proxy needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedSvid {
    /// The one with this id: its document says so.
    Id(SpiffeId),
    /// The only one: its document is at a director, which must know first who the proxy is.
    Only,
}

impl WantedSvid {
    fn text(&self) -> String {
        match self {
            Self::Id(id) => format!("one SVID of {id}, the identity of its document"),
            Self::Only => {
                "exactly one SVID, since its director says later which it needs".to_owned()
            }
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Id(_) => {
                "register that id for this proxy at the agent's server, once, or correct `identity` of its document"
            }
            Self::Only => {
                "register one id for this proxy at the agent's server, with selectors that select nothing else"
            }
        }
    }

    /// The SVID of a message, and the federated domains that have no name or are no certificates.
    pub(super) fn choose(
        &self,
        socket: &AgentSocket,
        message: SvidMessage,
    ) -> Result<(SuppliedSvid, Vec<String>), WorkloadError> {
        let wrong = |rule: String| WorkloadError::Message { socket: socket.to_string(), rule };
        let SvidMessage { svids, federated_bundles } = message;
        let ids: Vec<String> = svids.iter().map(|one| shown(&one.spiffe_id)).collect();
        let mut matching = svids.into_iter().filter(|one| match self {
            Self::Id(id) => one.spiffe_id == id.as_str(),
            Self::Only => true,
        });
        let (Some(entry), None) = (matching.next(), matching.next()) else {
            return Err(WorkloadError::Choice {
                socket: socket.to_string(),
                given: given(&ids),
                needed: self.text(),
                remedy: self.remedy(),
            });
        };
        let id: SpiffeId = entry.spiffe_id.parse().map_err(|error| wrong(format!("{error}")))?;
        let AgentSvidEntry { x509_svid, x509_svid_key, bundle, .. } = entry;
        let of = |what: &str, bytes: &[u8], most| {
            certificates(bytes, most).map_err(|rule| wrong(format!("{what} of {id}: {rule}")))
        };
        let chain = of("the SVID", &x509_svid, CHAIN_MAX)?;
        let authorities = of("the bundle", &bundle, AUTHORITIES_MAX)?;
        let (mut federated, mut faults) = (std::collections::BTreeMap::new(), Vec::new());
        for (name, bytes) in &federated_bundles {
            match domain(name).and_then(|it| Ok((it, certificates(bytes, AUTHORITIES_MAX)?))) {
                Ok((domain, all)) => drop(federated.insert(domain, all)),
                Err(rule) => {
                    faults.push(format!("the federated bundle of {}: {rule}", shown(name)));
                }
            }
        }
        let key = PrivatePkcs8KeyDer::from(x509_svid_key).into();
        Ok((SuppliedSvid { id, chain, key, authorities, federated }, faults))
    }
}

/// A trust domain, with or without the scheme of SPIFFE ids.
fn domain(name: &str) -> Result<TrustDomain, String> {
    let name = name.strip_prefix("spiffe://").unwrap_or(name);
    name.parse().map_err(|error| format!("{error}"))
}

/// Certificates in DER, one after the other.
fn certificates(bytes: &[u8], most: usize) -> Result<Vec<CertificateDer<'static>>, String> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while !rest.is_empty() {
        if found.len() >= most {
            return Err(format!("it has more than {most} certificates"));
        }
        let (after, _) = X509Certificate::from_der(rest)
            .map_err(|_| format!("certificate {} is malformed", found.len().saturating_add(1)))?;
        let length = rest.len().saturating_sub(after.len());
        let one = rest.get(..length).unwrap_or_default();
        found.push(CertificateDer::from(one.to_vec()));
        rest = after;
    }
    Ok(found)
}

/// An id that somebody else chose, for a message.
fn shown(id: &str) -> String {
    id.chars().filter(|one| !one.is_control()).take(ID_SHOWN).collect()
}

/// What the agent gives, in words.
fn given(ids: &[String]) -> String {
    let mut text = match ids {
        [] => return "no SVID".to_owned(),
        [_] => "an SVID of ".to_owned(),
        _ => format!("{} SVIDs, of ", ids.len()),
    };
    let named: Vec<&str> = ids.iter().take(IDS_SHOWN).map(String::as_str).collect();
    text.push_str(&named.join(", "));
    if ids.len() > IDS_SHOWN {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests;
