//! The storages that the promises are kept on, each fresh for one test.

use tamis_journal::{Blobs, Journal};
use tempfile::TempDir;

/// A journal, blobs, and what must live as long as they do.
pub(crate) struct Store {
    pub(crate) journal: Journal,
    pub(crate) blobs: Blobs,
    _folder: TempDir,
}

/// SQLite and files.
pub(crate) async fn embedded() -> Store {
    let folder = TempDir::new().unwrap();
    Store {
        journal: Journal::sqlite(folder.path()).await.unwrap(),
        blobs: Blobs::files(folder.path()).await.unwrap(),
        _folder: folder,
    }
}

/// One test for each promise and storage: `embedded::NAME`.
macro_rules! on_every_store {
    ($($promise:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(crate::store::embedded().await).await;
            })+
        }
    };
}
pub(crate) use on_every_store;
