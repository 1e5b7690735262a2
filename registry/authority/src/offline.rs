//! A root whose key stays on another machine: the registry asks for an intermediate, somebody signs it there, and the registry
//! takes it.
//!
//! The key of the intermediate is made where the registry is and never leaves it; only its request and its certificate travel.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, KeyPair, SanType,
};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use tamis_ambient::Random;
use tamis_transport::TrustDomain;

use crate::files::{self, Readers};
use crate::intermediate::IntermediateAuthority;
use crate::pem::certificates;
use crate::request::read_request;
use crate::root::RootAuthority;
use crate::validity::{OFFLINE_LIFETIME_MAX, OFFLINE_LIFETIME_MIN};
use crate::{AuthorityError, CertificateAuthority};

/// The key of an intermediate that is asked for, until its certificate comes.
const NEXT: &str = "next.key";

impl CertificateAuthority {
    /// A request for the certificate of the next intermediate, PKCS#10 in PEM. Its key is made in the folder and never returned;
    /// while no certificate came for it, later requests are for the same key.
    ///
    /// # Errors
    /// [`AuthorityError`]: the folder is of another trust domain, or cannot be written.
    pub fn request(folder: &Path, domain: &TrustDomain) -> Result<String, AuthorityError> {
        files::folder(folder)?;
        if let Some(bundle) = files::read(&folder.join("bundle.pem"))? {
            of_domain(folder, domain, &bundle)?;
        }
        let place = folder.join(NEXT);
        let key = match files::read(&place)? {
            Some(text) => KeyPair::from_pem(&text).map_err(|error| AuthorityError::Broken {
                path: place.clone(),
                rule: error.to_string(),
            })?,
            None => {
                let key = KeyPair::generate()?;
                files::write(&place, &key.serialize_pem(), Readers::Owner)?;
                key
            }
        };
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{domain}").try_into()?)];
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, domain.as_str());
        params.distinguished_name = name;
        Ok(params.serialize_request(&key)?.pem()?)
    }

    /// Takes the certificate of the intermediate that was asked for, PEM text, with the root that signed it, if members do not
    /// trust that yet. A folder without an authority has one afterwards, and signs with the intermediate; in another one the
    /// previous intermediate is replaced, and what it signed stays valid.
    ///
    /// # Errors
    /// [`AuthorityError::Import`] names the rule that the certificate breaks; nothing changes then.
    pub fn install(
        folder: &Path,
        domain: &TrustDomain,
        (certificate, root): (&str, Option<&str>),
        random: Random,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let import = |rule: &str| AuthorityError::Import { rule: rule.to_owned() };
        let place = folder.join(NEXT);
        let key = files::read(&place)?.ok_or_else(|| {
            import("nothing was asked for here: make a request first, and have that signed")
        })?;
        let intermediate = IntermediateAuthority::from_pem(certificate, &key)?;
        intermediate.check(domain, now).map_err(|rule| AuthorityError::Import { rule })?;
        let made = match files::read(&folder.join("bundle.pem"))? {
            None => {
                let root = root.ok_or_else(|| {
                    import("this folder trusts no root yet: give the root's certificate, too")
                })?;
                Self::import(folder, domain, root, intermediate, random, now)?
            }
            Some(bundle) => {
                let known: Vec<String> = certificates(&bundle).collect();
                if root.is_some_and(|root| certificates(root).any(|one| !known.contains(&one))) {
                    return Err(import(
                        "members do not trust its root yet: `tamis identity authority trust` it, and install this once they have renewed their identities",
                    ));
                }
                let mut authority = Self::open(folder, domain, random, now)?;
                authority.import_intermediate(intermediate, now)?;
                authority
            }
        };
        files::remove(&place)?;
        Ok(made)
    }
}

impl CertificateAuthority {
    /// Has members of the authority of a folder trust one more root, PEM text: nothing is signed with it yet.
    ///
    /// # Errors
    /// [`AuthorityError`]: the root is of another trust domain or not valid at `now`, or the folder has no authority.
    pub fn trust(
        folder: &Path,
        domain: &TrustDomain,
        root: &str,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        let import = |rule: String| AuthorityError::Import { rule };
        let facts = tamis_transport::CertificateFacts::of_pem(root.as_bytes());
        let facts = facts.map_err(|error| import(error.to_string()))?;
        if facts.names != [format!("spiffe://{domain}")] {
            return Err(import(format!(
                "it is of {}, not of spiffe://{domain}",
                facts.names.join(", ")
            )));
        }
        if u64::try_from(facts.not_after).unwrap_or(0) <= crate::validity::seconds(now) {
            return Err(import(format!("it expired at {}", facts.expiry())));
        }
        if !folder.join("bundle.pem").exists() {
            return Err(import(
                "this folder has no authority yet: install an intermediate".to_owned(),
            ));
        }
        Self::open(folder, domain, Random::system(), now)?.accept_root(root)
    }
}

/// Checks that the authority of a folder is of that domain.
fn of_domain(folder: &Path, domain: &TrustDomain, bundle: &str) -> Result<(), AuthorityError> {
    let facts = tamis_transport::CertificateFacts::of_pem(bundle.as_bytes());
    let found = facts.map(|facts| facts.names.join(", ")).unwrap_or_default();
    if found.is_empty() || found == format!("spiffe://{domain}") {
        return Ok(());
    }
    let (folder, wanted) = (folder.to_owned(), domain.clone());
    Err(AuthorityError::OtherDomain { folder, found, wanted })
}

impl RootAuthority {
    /// Signs the certificate of an intermediate that a registry asked for; `request` is PKCS#10 in PEM. It may sign leaves alone
    /// (path length 0), is of this root's trust domain, and vouches for no DNS name and no IP address.
    ///
    /// # Errors
    /// [`AuthorityError`]: the lifetime is out of bounds or longer than the root's, or the request is malformed, not signed by
    /// its own key, or of another trust domain.
    pub fn sign(
        &self,
        request: &str,
        domain: &TrustDomain,
        (lifetime, random, now): (Duration, Random, SystemTime),
    ) -> Result<String, AuthorityError> {
        if !(OFFLINE_LIFETIME_MIN..=OFFLINE_LIFETIME_MAX).contains(&lifetime) {
            return Err(AuthorityError::IntermediateLifetime {
                asked: lifetime.as_secs(),
                min: OFFLINE_LIFETIME_MIN.as_secs(),
                max: OFFLINE_LIFETIME_MAX.as_secs(),
            });
        }
        let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes());
        let der = der.map_err(|_| AuthorityError::Request { rule: "it is not PKCS#10 in PEM" })?;
        let asked: CertificateSigningRequestParams = read_request(&der)?;
        let own = SanType::URI(format!("spiffe://{domain}").try_into()?);
        if asked.params.subject_alt_names != [own] {
            let rule = "it is not of the trust domain of this root: its only name must be spiffe:// and that domain";
            return Err(AuthorityError::Request { rule });
        }
        self.sign_intermediate(&asked.public_key, domain, (lifetime, random, now))
    }
}

#[cfg(test)]
mod tests;
