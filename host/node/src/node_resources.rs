//! What the nodes of a process share.

use crate::NodeError;
use crate::code::Code;
use std::sync::Arc;
use tamis_ambient::{Clock, Random};
use tamis_engine::{Cache, CacheFolders, Engine};

/// Resources that the nodes of a process share.
#[derive(Clone)]
pub struct NodeResources {
    pub(crate) engine: Engine,
    pub(crate) cache: Option<Arc<Cache>>,
    pub(crate) code: Code,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
}

impl NodeResources {
    /// An engine, with compiled code cached if folders for it are given. What expires is judged by `clock`; tries to
    /// reach a director are spread by `random`.
    ///
    /// # Errors
    /// The engine cannot run here, or the cache cannot be opened.
    pub fn new(
        cache: Option<CacheFolders<'_>>,
        clock: Clock,
        random: Random,
    ) -> Result<Self, NodeError> {
        let open = |folders: CacheFolders<'_>| {
            let path = folders.code.to_owned();
            Cache::open(folders).map_err(|source| NodeError::Cache { path, source })
        };
        let cache = cache.map(open).transpose()?.map(Arc::new);
        Ok(Self { engine: Engine::new()?, cache, code: Code::default(), clock, random })
    }
}
