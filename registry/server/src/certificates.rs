//! The registry's own certificates: renewed files are taken while it serves.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tamis_transport::{CertificateNeeds, ServerTls, TlsError};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);

/// The files that a listener's TLS is made of.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The chain in PEM, leaf first.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
    /// The authorities of clients in PEM; none: clients show no certificate.
    pub client_ca: Option<PathBuf>,
}

/// TLS as it is now. Cheap to clone, all clones are the same.
#[derive(Clone)]
pub(crate) struct Tls(Rc<RefCell<ServerTls>>);

impl TlsFiles {
    /// Reads them.
    ///
    /// # Errors
    /// When one cannot be read, or the certificate expired or does not count yet.
    pub fn read(&self) -> Result<ServerTls, TlsError> {
        self.read_after(None)
    }

    fn read_after(&self, before: Option<&ServerTls>) -> Result<ServerTls, TlsError> {
        let tls = ServerTls::from_files(&self.certificate, &self.key, self.client_ca.as_deref())?;
        let (now, before) = (Some(SystemTime::now()), before.map(ServerTls::facts));
        tls.check(&self.certificate, &CertificateNeeds { now, before, ..Default::default() })?;
        Ok(tls)
    }

    fn look(&self) -> Vec<Option<(u64, u64, i64, i64)>> {
        let look = |path: &Path| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.ino(), about.len(), about.mtime_nsec(), about.ctime()))
        };
        let paths = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        paths.into_iter().flatten().map(|path| look(path)).collect()
    }
}

impl Tls {
    pub(crate) fn new(tls: ServerTls) -> Self {
        Self(Rc::new(RefCell::new(tls)))
    }

    /// What a new connection is shown.
    pub(crate) fn now(&self) -> ServerTls {
        self.0.borrow().clone()
    }

    /// Takes renewed files that work, until it is dropped; those that do not are told, and what is shown stays.
    pub(crate) async fn renew(self, files: TlsFiles) {
        let mut looked = files.look();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = files.look();
            if now == looked {
                continue;
            }
            looked = now;
            let certificate = files.certificate.display();
            let read = files.read_after(Some(&self.now()));
            match read {
                Ok(tls) => {
                    let expires = tls.facts().expiry();
                    tracing::warn!(%certificate, expires, "a renewed certificate is shown from now on");
                    self.0.replace(tls);
                }
                Err(error) => {
                    tracing::warn!(%error, "the certificate before stays in use");
                }
            }
        }
    }
}
