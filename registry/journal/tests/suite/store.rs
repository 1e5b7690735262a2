//! The storages on which the promises are tested, each new for one test.

use std::sync::Arc;

use tamis_harness::{Objects, Postgres};
use tamis_journal::{Blobs, Journal};
use tempfile::TempDir;

use crate::objects;

/// A journal, blobs, and what must live as long as they do.
pub(crate) struct Store {
    pub(crate) journal: Journal,
    pub(crate) blobs: Blobs,
    _folder: Option<TempDir>,
    _services: Option<(Arc<Postgres>, Objects)>,
}

/// SQLite and files.
pub(crate) async fn embedded() -> Store {
    let folder = TempDir::new().unwrap();
    Store {
        journal: Journal::sqlite(folder.path()).await.unwrap(),
        blobs: Blobs::files(folder.path()).await.unwrap(),
        _folder: Some(folder),
        _services: None,
    }
}

/// PostgreSQL and an object store.
pub(crate) async fn shared() -> Store {
    let (server, objects) = (Postgres::shared(), Objects::start());
    Store {
        journal: Journal::postgres(&server.database()).await.unwrap(),
        blobs: objects::bucket(&objects).await,
        _folder: None,
        _services: Some((server, objects)),
    }
}

/// One test for each promise and storage: `embedded::NAME` and `shared::NAME`.
macro_rules! on_every_store {
    ($($promise:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(crate::store::embedded().await).await;
            })+
        }
        mod shared {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(crate::store::shared().await).await;
            })+
        }
    };
}
pub(crate) use on_every_store;
