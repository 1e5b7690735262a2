//! The storage of a registry.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tamis_ambient::Clock;
use tamis_journal::{Blobs, Journal, causes, private_folder};
use tamis_oci::{Limits, Store};

use crate::ServerError;

/// Time limit for an object store at the start.
const PROBE: Duration = Duration::from_secs(15);

/// Where the journal and the blobs are.
#[derive(Debug, Clone)]
pub struct Storage {
    pub(crate) folder: PathBuf,
    database: Option<String>,
    blobs: Option<(String, Vec<(String, String)>)>,
}

impl Storage {
    /// Both in a folder, which is created if necessary.
    #[must_use]
    pub fn folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), database: None, blobs: None }
    }

    /// Whether a registry was started there before. A database counts as one, since it has to be asked first.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.database.is_some() || Journal::is_in(&self.folder)
    }

    /// The journal in a PostgreSQL database instead, which any number of replicas may share.
    #[must_use]
    pub fn with_database(mut self, url: Option<String>) -> Self {
        self.database = url;
        self
    }

    /// The blobs in an object store instead: its `s3://BUCKET/PREFIX` and its options, named as in `object_store`.
    #[must_use]
    pub fn with_objects(mut self, objects: Option<(String, Vec<(String, String)>)>) -> Self {
        self.blobs = objects;
        self
    }

    /// Errors of an object store at the first push would come too late: the registry would already have
    /// reported that it serves.
    async fn probe(&self, blobs: &Blobs) -> Result<(), ServerError> {
        let Some((url, _)) = &self.blobs else { return Ok(()) };
        let failed = |why: String| ServerError::Objects { url: url.clone(), why };
        match tokio::time::timeout(PROBE, blobs.probe()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(causes(&error))),
            Err(_) => Err(failed(format!("it did not answer within {} seconds", PROBE.as_secs()))),
        }
    }

    /// Whether the blobs are in the folder of this process, which other replicas may not see.
    pub(crate) fn has_own_blobs(&self) -> bool {
        self.blobs.is_none()
    }

    /// Opens both, checks the journal from its first entry on, and applies it.
    ///
    /// A journal that was tampered with is not served, since it decides what runs.
    ///
    /// # Errors
    /// [`ServerError::Journal`], [`ServerError::Blobs`], [`ServerError::Store`].
    pub async fn open(&self, limits: Limits) -> Result<Store, ServerError> {
        private_folder(&self.folder)
            .map_err(|source| ServerError::Folder { path: self.folder.clone(), source })?;
        let journal = match &self.database {
            Some(url) => Journal::postgres(url).await,
            None => Journal::sqlite(&self.folder).await,
        };
        let journal = journal.map_err(ServerError::Journal)?;
        journal.check().await.map_err(ServerError::Journal)?;
        let blobs = match &self.blobs {
            Some((url, options)) => Blobs::objects(url, options.iter().cloned()).await,
            None => Blobs::files(&self.folder).await,
        };
        let blobs = blobs.map_err(ServerError::Blobs)?;
        self.probe(&blobs).await?;
        Ok(Store::open(journal, blobs, limits, Clock::system()).await?)
    }
}
