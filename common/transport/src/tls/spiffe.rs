//! SPIFFE ids and the certificates that carry them (SPIFFE-ID §2, X509-SVID §2–§4).

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const SCHEME: &str = "spiffe://";
const MAX_ID: usize = 2048;
const MAX_DOMAIN: usize = 255;

/// `spiffe://trust-domain/path`, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(String);

/// A SPIFFE trust domain such as `shop.example`, checked: at most 255 lower-case letters, digits, dots, dashes
/// and underscores (SPIFFE-ID §2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(String);

/// Why a text or a certificate is not a SPIFFE identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpiffeError {
    /// The text breaks the syntax.
    #[error(
        "`{text}` is not a SPIFFE id: write `spiffe://trust-domain/path` without query, port, `.` or empty segments"
    )]
    Syntax {
        /// What was given.
        text: String,
    },
    /// The text breaks the syntax of trust domains.
    #[error(
        "`{text}` is not a trust domain: write 1 to 255 lower-case letters, digits, dots, dashes and underscores"
    )]
    Domain {
        /// What was given.
        text: String,
    },
    /// The certificate cannot be read.
    #[error("the certificate is malformed")]
    Malformed,
    /// The certificate has no URI among its alternative names, or more than one.
    #[error("the certificate has {found} URI names: a SPIFFE identity has exactly one")]
    Names {
        /// How many it has.
        found: usize,
    },
    /// The certificate may sign others.
    #[error("the certificate is an authority's: a SPIFFE identity is a leaf")]
    Authority,
}

impl SpiffeId {
    /// The text, beginning with `spiffe://`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> TrustDomain {
        let (domain, _) = self.parts();
        TrustDomain(domain.to_owned())
    }

    /// Whether it names a member of its trust domain, not the domain itself.
    #[must_use]
    pub fn has_path(&self) -> bool {
        self.parts().1.is_some()
    }

    fn parts(&self) -> (&str, Option<&str>) {
        let rest = self.0.strip_prefix(SCHEME).unwrap_or_default();
        rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)))
    }

    /// The identity in a leaf certificate, whose chain the caller verifies.
    ///
    /// # Errors
    /// [`SpiffeError`] names the broken rule.
    pub fn of_certificate(leaf: &CertificateDer<'_>) -> Result<Self, SpiffeError> {
        let (rest, parsed) = X509Certificate::from_der(leaf).map_err(|_| SpiffeError::Malformed)?;
        if !rest.is_empty() {
            return Err(SpiffeError::Malformed);
        }
        let usage = parsed.key_usage().map_err(|_| SpiffeError::Malformed)?;
        let signs =
            usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
        if signs || parsed.is_ca() {
            return Err(SpiffeError::Authority);
        }
        let names = parsed.subject_alternative_name().map_err(|_| SpiffeError::Malformed)?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
            .collect();
        match uris.as_slice() {
            [uri] => uri.parse(),
            others => Err(SpiffeError::Names { found: others.len() }),
        }
    }
}

/// The URIs among the names of a certificate; none of one that cannot be read.
pub(super) fn uris(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(names) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
        .collect()
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        if is_spiffe_id(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SpiffeError::Syntax { text: text.chars().take(256).collect() })
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_spiffe_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(SCHEME).filter(|_| text.len() <= MAX_ID) else {
        return false;
    };
    let (domain, path) = match rest.split_once('/') {
        Some((domain, path)) => (domain, Some(path)),
        None => (rest, None),
    };
    let in_segment = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(in_segment);
    is_trust_domain(domain) && path.is_none_or(|path| path.split('/').all(segment))
}

fn is_trust_domain(text: &str) -> bool {
    let known =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= MAX_DOMAIN && text.bytes().all(known)
}

impl TrustDomain {
    /// The text, without a scheme.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        if is_trust_domain(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SpiffeError::Domain { text: text.chars().take(256).collect() })
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_by_the_letter() {
        for good in ["spiffe://shop", "spiffe://shop.example/ns/shop/pay", "spiffe://a_b/C.d-e"] {
            assert!(good.parse::<SpiffeId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "spiffe://",
            "spiffe:///x",
            "SPIFFE://shop/x",
            "https://shop/x",
            "spiffe://Shop/x",
            "spiffe://shop/",
            "spiffe://shop//x",
            "spiffe://shop/../x",
            "spiffe://shop/./x",
            "spiffe://shop/%2e%2e",
            "spiffe://shop:80/x",
            "spiffe://u@shop/x",
            "spiffe://shop/x?y",
            "spiffe://shop/x#y",
            "spiffe://shop/x y",
            "spiffe://shöp/x",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }
    #[test]
    fn an_id_knows_its_trust_domain_and_whether_it_names_a_member() {
        for (id, domain, member) in [
            ("spiffe://shop", "shop", false),
            ("spiffe://shop.example/ns/shop", "shop.example", true),
        ] {
            let id: SpiffeId = id.parse().unwrap();
            assert_eq!(id.trust_domain().as_str(), domain);
            assert_eq!(id.has_path(), member, "{id}");
        }
        let long = "a".repeat(MAX_DOMAIN + 1);
        for bad in ["", "Shop", "shop/x", "shop:80", "spiffe://shop", "sh%6fp", long.as_str()] {
            assert!(bad.parse::<TrustDomain>().is_err(), "{bad}");
        }
        let long = format!("spiffe://shop/{}", "a".repeat(MAX_ID));
        assert!(long.parse::<SpiffeId>().is_err());
    }
}
