//! Watches the disk, and reloads when documents, artifacts or certificates change.

use crate::{Node, NodeError, Reload};
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Changes at shorter intervals than this count as one: editors write, rename and touch.
const QUIET: Duration = Duration::from_millis(30);
/// A continuous series of changes triggers a reload after this long.
const PATIENCE: Duration = Duration::from_millis(500);
/// A file that somebody writes is read when it is closed, or after this long: half of it may lack a guard.
const WRITING: Duration = Duration::from_secs(5);

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
        let written = WrittenFiles::default();
        let noted = written.clone();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.as_ref().is_ok_and(|event| noted.note(event, &matters)) {
                    let _ = send.send(());
                    return;
                }
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
                if !settled(&receive, &written) {
                    return;
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

/// Waits until nothing changes any more and nobody writes; `false`: the watch has ended.
fn settled(receive: &Receiver<()>, written: &WrittenFiles) -> bool {
    let (mut waited, mut busy) = (Duration::ZERO, Duration::ZERO);
    while waited < WRITING && (busy < PATIENCE || written.is_any()) {
        match receive.recv_timeout(QUIET) {
            Ok(()) => busy += QUIET,
            Err(RecvTimeoutError::Timeout) if written.is_any() => {}
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        waited += QUIET;
    }
    written.forget();
    true
}

/// Files that were written to and not closed since.
#[derive(Clone, Default)]
struct WrittenFiles(Arc<Mutex<BTreeSet<PathBuf>>>);

impl WrittenFiles {
    fn files(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        // A set of paths is whole after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an event, and says whether by it a file was closed that somebody wrote.
    fn note(&self, event: &notify::Event, matters: &impl Fn(&Path) -> bool) -> bool {
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                let files = event.paths.iter().filter(|path| matters(path)).cloned();
                self.files().extend(files);
                false
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => {
                let mut files = self.files();
                let closed = event.paths.iter().filter(|path| files.remove(*path)).count() > 0;
                closed && event.kind.is_access()
            }
            _ => false,
        }
    }

    fn is_any(&self) -> bool {
        !self.files().is_empty()
    }

    /// Whoever keeps one open for longer is waited for no more.
    fn forget(&self) {
        self.files().clear();
    }
}

#[cfg(test)]
mod tests;
