//! The registry's own certificates: renewed files are loaded while it serves.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tamis_ambient::Clock;
use tamis_transport::{CertificateNeeds, ServerTls, TlsError};

/// Interval between two checks of the files.
const LOOK: Duration = Duration::from_secs(2);

/// The files for the TLS configuration of a listener.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The chain in PEM, leaf first.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
    /// The authorities of clients in PEM; `None`: no client certificate is requested.
    pub client_ca: Option<PathBuf>,
}

/// The current TLS configuration. Cheap to clone; all clones share it.
#[derive(Clone)]
pub(crate) struct Tls(Rc<RefCell<ServerTls>>);

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or the certificate has expired or is not valid yet.
    pub fn read(&self) -> Result<ServerTls, TlsError> {
        self.read_after(None)
    }

    fn read_after(&self, before: Option<&ServerTls>) -> Result<ServerTls, TlsError> {
        let tls = ServerTls::from_files(&self.certificate, &self.key, self.client_ca.as_deref())?;
        let (now, before) = (Some(Clock::system().wall()), before.map(ServerTls::facts));
        let before = before.as_deref();
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

    /// The configuration for new connections.
    pub(crate) fn now(&self) -> ServerTls {
        self.0.borrow().clone()
    }

    /// Loads renewed files that work, until it is dropped; files that do not work are reported, and the old
    /// certificate stays in use.
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
                    tracing::warn!(%certificate, expires, "a renewed certificate is in use");
                    self.0.replace(tls);
                }
                Err(error) => {
                    tracing::warn!(%error, "the previous certificate stays in use");
                }
            }
        }
    }
}
