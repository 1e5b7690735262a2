//! Sends a folder to its registry, again after every change: documents, artifacts, pins.
//!
//! It is a client like any other. What cannot be sent is told and leaves what runs as it is; the next change tries again.
//! A pin is sent when the lock changes it, and not when somebody changed it in the registry: a rollback stays.

use super::gather::Wrong;
use super::member::Member;
use super::ports::Ports;
use super::registry::Embedded;
use crate::output::Output;
use anyhow::{Context as _, Result, bail};
use feeder::Feeder;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use tamis_node::{Source, Watch};

mod feeder;
mod pins;

/// Folders in `.tamis` that are written while everything runs, and that say nothing to a registry.
const OWN: [&str; 4] = ["registry", "state", "access", "cache"];
/// Keeps a registry as its folder is, until it is dropped.
pub(crate) struct Feeding {
    feeder: Arc<Mutex<Feeder>>,
    watch: Option<Watch>,
    wrongs: Wrongs,
}

impl Feeding {
    /// Sends everything once, and from then on what changes.
    pub(crate) fn start(
        folder: &Path,
        ports: Ports,
        members: &[Member],
        store: &Path,
        registry: &Embedded,
        output: Output,
    ) -> Result<Self> {
        let wrongs = Wrongs::default();
        let feeder = Feeder::new(folder, ports, store, registry, wrongs.clone(), output)?;
        let feeder = feeder.running(members);
        let feeder = Arc::new(Mutex::new(feeder));
        let (said, hear) = mpsc::channel();
        let feeding = Arc::clone(&feeder);
        let changed = move || {
            let mut feeder = lock(&feeding);
            feeder.pass();
            // Only the first is waited for.
            let _ = said.send(feeder.applied.is_some());
        };
        let matters = |path: &Path| !is_own(path);
        let watch = Watch::folders(&[folder.to_owned()], matters, changed)?;
        let feeding = Self { feeder, watch: Some(watch), wrongs };
        let in_force = hear.recv().context("the registry was sent nothing")?;
        if !in_force {
            bail!("the documents are not in force: {}", feeding.wrongs.lines().join("; "));
        }
        Ok(feeding)
    }

    /// What is wrong in the folder now.
    pub(crate) fn wrongs(&self) -> &Wrongs {
        &self.wrongs
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        drop(self.watch.take());
        // Waits for what is under way; what was still to come is not begun.
        lock(&self.feeder).stopped = true;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a pass that panicked did not note is sent again.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the folder may be served: everything in it that may guard something can be read, or was in force before.
///
/// # Errors
/// Names what cannot be read, with what is wrong with it.
pub(crate) fn ready(folder: &Path, registry: &Embedded) -> Result<()> {
    let read = Source::folder(folder).read()?;
    let known = feeder::known(&registry.folder);
    let is_known = |one: &str| known.values().any(|file| Path::new(file).starts_with(one));
    let unreadable = read.unreadable.iter().map(|one| one.path.as_str());
    let files = read.lost.iter().map(String::as_str).chain(unreadable);
    let mut unknown: Vec<String> = files.filter(|one| !is_known(one)).map(str::to_owned).collect();
    let guards = read.stubs.iter().filter(|one| one.kind() == "FilterAttachment");
    let guards = guards.filter(|one| !known.contains_key(&super::gather::key(one)));
    unknown.extend(guards.map(|one| format!("{}:{}", one.source, one.line())));
    if unknown.is_empty() {
        return Ok(());
    }
    let why: Vec<String> = read.problems.iter().map(|one| Wrong::from(one).line).collect();
    bail!(
        "{} cannot be used, and what is guarded by it is not known; mend or remove it: {}",
        unknown.join(", "),
        why.join("; ")
    );
}

/// Whether a path is of what is written while everything runs.
fn is_own(path: &Path) -> bool {
    let parts: Vec<&str> = path.components().filter_map(|part| part.as_os_str().to_str()).collect();
    parts.windows(2).any(|pair| matches!(pair, [".tamis", name] if OWN.contains(name)))
}

/// What is wrong now. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Wrongs(Arc<Mutex<Vec<Wrong>>>);

impl Wrongs {
    /// Each in one line.
    pub(crate) fn lines(&self) -> Vec<String> {
        lock(&self.0).iter().map(|one| one.line.clone()).collect()
    }

    /// Puts them in place of those before, and says which are new.
    fn replace(&self, now: Vec<Wrong>) -> Vec<Wrong> {
        let mut before = lock(&self.0);
        let new = now.iter().filter(|one| !before.contains(one)).cloned().collect();
        *before = now;
        new
    }
}

#[cfg(test)]
mod tests;
