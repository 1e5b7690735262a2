//! Follows what changes on disk, and reloads when documents, artifacts or certificates do.

use crate::{Node, NodeError, Reload};
use notify::{RecursiveMode, Watcher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Changes that come closer together than this are one change: editors write, rename and touch.
const QUIET: Duration = Duration::from_millis(30);
/// A stream of changes is acted on after this long all the same.
const PATIENCE: Duration = Duration::from_millis(500);

/// Follows folders until it is dropped.
pub struct Watch {
    _watcher: notify::RecommendedWatcher,
}

impl Watch {
    /// Follows `folders` and reloads `node` after a change; `told` hears of every reload.
    ///
    /// # Errors
    /// When the system cannot watch, or a folder is not there.
    pub fn start(
        node: Arc<Node>,
        folders: &[PathBuf],
        told: impl Fn(&Reload) + Send + 'static,
    ) -> Result<Self, NodeError> {
        let mut first = true;
        let concerns = node.concerns();
        let changed = move || {
            let before = node.proxy().status();
            let reload = node.reload();
            // A change after the node read its documents and before the watch began was seen by neither.
            let news = reload.changed || *before != *node.proxy().status();
            if !std::mem::take(&mut first) || news {
                told(&reload);
            }
        };
        Self::folders(folders, concerns, changed)
    }

    /// Follows `folders` and calls `changed`, on a thread of its own: once at the start, and after every change of a path
    /// that `matters`.
    ///
    /// # Errors
    /// When the system cannot watch, or a folder is not there.
    pub fn folders(
        folders: &[PathBuf],
        matters: impl Fn(&Path) -> bool + Send + 'static,
        mut changed: impl FnMut() + Send + 'static,
    ) -> Result<Self, NodeError> {
        let (send, receive) = channel();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // What names no path, such as changes that were lost, may be about any.
                let matters = event.as_ref().map_or(true, |event| {
                    let any = event.paths.is_empty() || event.paths.iter().any(|it| matters(it));
                    any && !event.kind.is_access()
                });
                if matters {
                    // Nobody listens any more when the watch ends.
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
