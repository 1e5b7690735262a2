//! Watches the disk, and reloads when documents, artifacts or certificates change.

use crate::{Node, NodeError, Reload};
use notify::{RecursiveMode, Watcher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Changes at shorter intervals than this count as one: editors write, rename and touch.
const QUIET: Duration = Duration::from_millis(30);
/// A continuous series of changes triggers a reload after this long.
const PATIENCE: Duration = Duration::from_millis(500);

/// Watches folders until it is dropped.
pub struct Watch {
    _watcher: notify::RecommendedWatcher,
}

impl Watch {
    /// Watches `folders` and reloads `node` after a change; `on_reload` receives the result of every reload.
    ///
    /// # Errors
    /// The system cannot watch, or a folder does not exist.
    pub fn start(
        node: Arc<Node>,
        folders: &[PathBuf],
        on_reload: impl Fn(&Reload) + Send + 'static,
    ) -> Result<Self, NodeError> {
        let mut first = true;
        let concerns = node.concerns();
        let changed = move || {
            let before = node.proxy().status();
            let reload = node.reload();
            // A change after the node read its documents and before the watch began would be missed by
            // both.
            let news = reload.changed || *before != *node.proxy().status();
            if !std::mem::take(&mut first) || news {
                on_reload(&reload);
            }
        };
        Self::folders(folders, concerns, changed)
    }

    /// Watches `folders` and calls `changed`, on a thread of its own: once at the start, and after every
    /// change of a path that `matters`.
    ///
    /// # Errors
    /// The system cannot watch, or a folder does not exist.
    pub fn folders(
        folders: &[PathBuf],
        matters: impl Fn(&Path) -> bool + Send + 'static,
        mut changed: impl FnMut() + Send + 'static,
    ) -> Result<Self, NodeError> {
        let (send, receive) = channel();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // An event without a path, such as one about lost events, may be about any path.
                let matters = event.as_ref().map_or(true, |event| {
                    // First, since the question may read files, which are accesses, too.
                    !event.kind.is_access()
                        && (event.paths.is_empty() || event.paths.iter().any(|it| matters(it)))
                });
                if matters {
                    // When the watch ends, the receiver is gone.
                    let _ = send.send(());
                }
            })?;
        for folder in folders {
            watcher.watch(folder, RecursiveMode::Recursive)?;
        }
        let run = move || {
            changed();
            while receive.recv().is_ok() {
                let mut waited = Duration::ZERO;
                while waited < PATIENCE {
                    match receive.recv_timeout(QUIET) {
                        Ok(()) => waited += QUIET,
                        Err(RecvTimeoutError::Timeout) => break,
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
                changed();
            }
        };
        std::thread::Builder::new()
            .name("tamis-watch".to_owned())
            .spawn(run)
            .map_err(NodeError::Thread)?;
        Ok(Self { _watcher: watcher })
    }
}

#[cfg(test)]
mod tests;
