//! The root of a trust domain, with its key.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, GeneralSubtree,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SerialNumber,
};
use tamis_ambient::Random;
use tamis_transport::{CertificateFacts, TrustDomain};

use crate::AuthorityError;
use crate::files;
use crate::intermediate::IntermediateAuthority;
use crate::lineage::{SvidLineage, positive};
use crate::pem::parts;
use crate::validity;

/// How long a root is valid.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// How long an intermediate is valid.
const INTERMEDIATE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The root of a trust domain, with its key. Whoever has it can be anybody in the mesh: it may be kept on
/// another machine, and is needed only to sign an intermediate.
pub struct RootAuthority {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

impl RootAuthority {
    /// Makes a root for ten years.
    ///
    /// # Errors
    /// [`AuthorityError::Sign`] or [`AuthorityError::Random`].
    pub fn generate(
        domain: &TrustDomain,
        random: Random,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let mut params = authority_params(domain, "root", random)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        validity::set(&mut params, now, validity::seconds(now + LIFETIME));
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let text = key.serialize_pem();
        Ok(Self { certificate, key: text, issuer: Issuer::new(params, key) })
    }

    /// Reads a root and its key, PEM text of both.
    ///
    /// # Errors
    /// [`AuthorityError::Sign`] when one of them cannot be read.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let pair = KeyPair::from_pem(key)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, pair)?;
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), issuer })
    }

    /// The certificate in PEM, which everybody may know.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The key in PEM, a secret.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Signs a new intermediate with a new key, valid for 30 days.
    ///
    /// # Errors
    /// [`AuthorityError::Sign`] or [`AuthorityError::Random`].
    pub fn intermediate(
        &self,
        domain: &TrustDomain,
        random: Random,
        now: SystemTime,
    ) -> Result<IntermediateAuthority, AuthorityError> {
        let key = KeyPair::generate()?;
        let terms = (INTERMEDIATE_LIFETIME, random, now);
        let certificate = self.sign_intermediate(&key, domain, terms)?;
        IntermediateAuthority::from_pem(&certificate, &key.serialize_pem())
    }

    /// The certificate of an intermediate with that key, in PEM.
    pub(crate) fn sign_intermediate(
        &self,
        key: &impl PublicKeyData,
        domain: &TrustDomain,
        (lifetime, random, now): (Duration, Random, SystemTime),
    ) -> Result<String, AuthorityError> {
        let mut params = authority_params(domain, "intermediate", random)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        params.name_constraints = Some(constraints());
        validity::set(&mut params, now, validity::seconds(now + lifetime));
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }

    /// The trust domain that its certificate names; `None`: it names none, or something else.
    #[must_use]
    pub fn domain(&self) -> Option<TrustDomain> {
        let facts = CertificateFacts::of_pem(self.certificate.as_bytes()).ok()?;
        let [name] = facts.names.as_slice() else { return None };
        name.strip_prefix("spiffe://")?.parse().ok()
    }

    /// Reads a file with the certificate and the key of a root.
    ///
    /// # Errors
    /// [`AuthorityError::Broken`].
    pub fn read(path: &Path) -> Result<Self, AuthorityError> {
        Self::of_text(path, &files::read(path)?.unwrap_or_default())
    }

    /// Reads the text of that file, a certificate and its key.
    pub(crate) fn of_text(path: &Path, text: &str) -> Result<Self, AuthorityError> {
        let broken = |rule: String| AuthorityError::Broken { path: path.to_owned(), rule };
        let (certificate, key) =
            parts(text).ok_or_else(|| broken("it has no certificate".into()))?;
        let certificate = format!("{certificate}\n");
        Self::from_pem(&certificate, key).map_err(|error| broken(error.to_string()))
    }
}

/// A certificate that signs others: its only name is that of the trust domain (X509-SVID §3.2).
fn authority_params(
    domain: &TrustDomain,
    what: &str,
    random: Random,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{domain}").try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial(random, None)?);
    // Two authorities of one domain need two names: chains are built by name.
    let octets: [u8; 4] = random.octets()?;
    let mut name = DistinguishedName::new();
    let number = u32::from_be_bytes(octets);
    name.push(DnType::OrganizationName, domain.as_str());
    name.push(DnType::CommonName, format!("{what} {number:08x}"));
    params.distinguished_name = name;
    Ok(params)
}

/// A serial number that nobody can guess (RFC 5280 §4.1.2.2): 126 random bits, or 64 behind the lineage of an SVID.
pub(crate) fn serial(
    random: Random,
    lineage: Option<SvidLineage>,
) -> Result<SerialNumber, AuthorityError> {
    let mut octets: [u8; 16] = positive(random.octets()?);
    let first = lineage.iter().flat_map(|lineage| &lineage.0);
    octets.iter_mut().zip(first).for_each(|(octet, of_lineage)| *octet = *of_lineage);
    Ok(SerialNumber::from_slice(&octets))
}

/// What an intermediate vouches for: ids of its trust domain, and so no DNS name and no address. A constraint on URIs would say
/// which domain; no verifier of ours reads one, so each chain with it would be refused, and they look at the domain themselves.
fn constraints() -> NameConstraints {
    NameConstraints {
        permitted_subtrees: Vec::new(),
        excluded_subtrees: vec![
            GeneralSubtree::DnsName(String::new()),
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    }
}
