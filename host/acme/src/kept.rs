//! Certificates that are kept: for each host one file, with the key before its chain, for its owner alone.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use tamis_transport::{CertificateFacts, ServerTls};

use crate::AcmeError;

/// Largest file of a certificate in bytes.
const FILE_MAX: u64 = 256 * 1024;
/// Most certificates of a chain.
const CHAIN_MAX: usize = 10;

/// The folder of the certificates of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCertificates {
    folder: PathBuf,
}

impl KeptCertificates {
    /// The certificates in a folder, which need not exist.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The file of a host, in PEM: the key and the chain, leaf first. A host has at most 200 letters, digits, `-` and `.`.
    #[must_use]
    pub fn file(&self, host: &str) -> PathBuf {
        self.folder.join(format!("{host}.pem"))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Creates the folder, or closes it to others.
    ///
    /// # Errors
    /// [`AcmeError::Kept`].
    pub(crate) fn prepare(&self) -> Result<(), AcmeError> {
        let failed = |source| AcmeError::Kept { path: self.folder.clone(), source };
        tamis_private::folder(&self.folder).map_err(failed)
    }

    /// The facts of the certificate of a host; `None`: there is none that can be read.
    pub(crate) fn facts(&self, host: &str) -> Option<CertificateFacts> {
        let file = tamis_private::open_existing(&self.file(host)).ok()?;
        let mut text = Vec::new();
        file.take(FILE_MAX).read_to_end(&mut text).ok()?;
        let facts = CertificateFacts::of_pem(&text).ok()?;
        facts.names.iter().any(|name| name == host).then_some(facts)
    }

    /// Puts a new certificate in the place of the old one, if it would work: its chain is one, its key belongs to it, and it is
    /// for the host and valid now.
    ///
    /// # Errors
    /// [`AcmeError`]; then the old one stays.
    pub(crate) fn put(
        &self,
        host: &str,
        key: &str,
        chain: &str,
        now: std::time::SystemTime,
    ) -> Result<CertificateFacts, AcmeError> {
        check_chain(chain)?;
        let (text, path) = (format!("{key}{chain}"), self.file(host));
        let place = "the certificate in its answer".as_ref();
        let facts = ServerTls::try_pem(&text, place, host, now).map_err(AcmeError::Certificate)?;
        let failed = |source| AcmeError::Kept { path: path.clone(), source };
        tamis_private::put(&path, text.as_bytes()).map_err(failed)?;
        Ok(facts)
    }
}

/// Checks that a text of the server has certificates and nothing else that counts: its key is not ours.
fn check_chain(chain: &str) -> Result<(), AcmeError> {
    let wrong = |why: &str| Err(AcmeError::Answer(format!("its chain {why}")));
    let (parts, certificates) = (
        chain.matches("-----BEGIN ").count(),
        chain.matches("-----BEGIN CERTIFICATE-----").count(),
    );
    if certificates == 0 || parts != certificates {
        return wrong("has something other than certificates");
    }
    if certificates > CHAIN_MAX || u64::try_from(chain.len()).is_ok_and(|len| len > FILE_MAX / 2) {
        return wrong("is too long");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, SystemTime};
    use tempfile::TempDir;

    struct Signed {
        key: String,
        chain: String,
    }

    fn signed(host: &str, days: u64) -> Signed {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(60)).into();
        params.not_after = (now + Duration::from_secs(days * 86_400)).into();
        let chain = params.self_signed(&key).unwrap().pem();
        Signed { key: key.serialize_pem(), chain }
    }

    #[test]
    fn a_certificate_that_would_not_work_replaces_none() {
        let root = TempDir::new().unwrap();
        let kept = KeptCertificates::new(root.path().join("acme"));
        kept.prepare().unwrap();
        let (now, good) = (SystemTime::now(), signed("pay.example", 1));
        assert_eq!(kept.facts("pay.example"), None);
        kept.put("pay.example", &good.key, &good.chain, now).unwrap();
        let before = std::fs::read(kept.file("pay.example")).unwrap();
        let other = signed("other.example", 1);
        let later = now + Duration::from_secs(2 * 86_400);
        let long = good.chain.repeat(11);
        let with_key = format!("{}{}", good.chain, other.key);
        for (key, chain, at, what) in [
            (&good.key, &other.chain, now, "another host and key"),
            (&other.key, &good.chain, now, "another key"),
            (&good.key, &good.chain, later, "expired"),
            (&good.key, &String::new(), now, "nothing"),
            (&good.key, &"-----BEGIN CERTIFICATE-----\n!\n".to_owned(), now, "no certificate"),
            (&good.key, &long, now, "a long chain"),
            (&good.key, &with_key, now, "a key of its own"),
        ] {
            assert!(kept.put("pay.example", key, chain, at).is_err(), "{what}");
            assert_eq!(std::fs::read(kept.file("pay.example")).unwrap(), before, "{what}");
        }
        assert!(kept.facts("pay.example").is_some());
        let mode = std::fs::metadata(kept.file("pay.example")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mode = std::fs::metadata(kept.folder()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
