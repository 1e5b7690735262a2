//! Sends a folder to its registry, at the start and after every change: documents, artifacts, pins.
//!
//! It is a client like any other. What cannot be sent is reported and changes nothing that runs; the next
//! change tries again, and so does the next second if the registry did not answer. A pin is sent when the lock
//! changes it, not when somebody changed it in the registry: a rollback stays.

use super::gather::FolderProblem;
use super::ports::Ports;
use super::registry::EmbeddedRegistry;
use crate::output::Output;
use anyhow::{Context as _, Result, bail};
use feeder::Feeder;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;
use tamis_node::{DocumentPlaces, Watch};
use tamis_resources::{Document, Problem, stray_guards};

mod feeder;
mod pins;

/// Folders in `.tamis` that are written while the mesh runs, and that are not sent to a registry.
const OWN: [&str; 4] = ["registry", "state", "access", "cache"];
/// How long a pass waits that is made again because the registry had no answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Keeps a registry in step with its folder, until it is dropped.
pub(crate) struct FolderFeed {
    feeder: Arc<Mutex<Feeder>>,
    watch: Option<Watch>,
    wrongs: FolderProblems,
    planned: Arc<Mutex<Option<PlannedDocuments>>>,
}

/// What the documents in force plan.
#[derive(Clone)]
pub(crate) struct PlannedDocuments {
    /// These documents, but for those that stay as they were since they cannot be used as they are now.
    pub(crate) documents: Vec<Document>,
    /// Whether all of the folder could be used: what is missing then is gone.
    pub(crate) whole: bool,
}

impl FolderFeed {
    /// Sends everything once, then every change.
    pub(crate) fn start(
        folder: &Path,
        ports: Ports,
        store: &Path,
        registry: &EmbeddedRegistry,
        output: Output,
    ) -> Result<Self> {
        let wrongs = FolderProblems::default();
        let feeder = Feeder::new(folder, ports, store, registry, wrongs.clone(), output)?;
        let planned = Arc::clone(&feeder.planned);
        let feeder = Arc::new(Mutex::new(feeder));
        let (said, hear) = mpsc::channel();
        let feeding = Arc::clone(&feeder);
        let changed = move || {
            loop {
                let again = {
                    let mut feeder = lock(&feeding);
                    let again = feeder.pass();
                    // The caller waits for the first pass only.
                    let _ = said.send(feeder.applied.is_some());
                    again
                };
                if !again {
                    return;
                }
                std::thread::sleep(AGAIN);
            }
        };
        let matters = |path: &Path| !is_own(path);
        let watch = Watch::folders(&[folder.to_owned()], matters, changed)?;
        let feeding = Self { feeder, watch: Some(watch), wrongs, planned };
        let in_force = hear.recv().context("the registry received nothing")?;
        if !in_force {
            bail!("the documents are not in force: {}", feeding.wrongs.lines().join("; "));
        }
        Ok(feeding)
    }

    /// What the documents in force plan, if that may have changed since somebody asked.
    pub(crate) fn planned(&self) -> Option<PlannedDocuments> {
        lock(&self.planned).take()
    }

    /// The current problems of the folder.
    pub(crate) fn wrongs(&self) -> &FolderProblems {
        &self.wrongs
    }
}

impl Drop for FolderFeed {
    fn drop(&mut self) {
        drop(self.watch.take());
        // Waits for the pass in progress; the next one does not start.
        lock(&self.feeder).stopped = true;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking pass did not record is sent again.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the folder may be served: everything in it that may guard something can be read, at least so far that what it
/// was to guard can be closed, or was in force before; and no guard stands in a namespace where it guards nothing.
///
/// # Errors
/// Names what cannot be read or may guard nothing, and why.
pub(crate) fn ready(folder: &Path, registry: &EmbeddedRegistry) -> Result<()> {
    let read = DocumentPlaces::folder(folder).read()?;
    let known = feeder::kept(&registry.folder).documents;
    let is_known = |one: &str| known.values().any(|file| Path::new(file).starts_with(one));
    let unreadable = read.unreadable.iter().map(|one| one.path.as_str());
    let files = read.lost.iter().map(String::as_str).chain(unreadable);
    let unknown: Vec<String> = files.filter(|one| !is_known(one)).map(str::to_owned).collect();
    if !unknown.is_empty() {
        let why = read.unreadable.iter().map(ToString::to_string);
        let why: Vec<String> = why.chain(read.problems.iter().map(Problem::in_one_line)).collect();
        bail!(
            "{} cannot be read, so it is unknown what it guards; correct or remove it: {}",
            unknown.join(", "),
            why.join("; ")
        );
    }
    let all: Vec<Document> = read.documents.into_iter().chain(read.stubs).collect();
    let strays = stray_guards(&all, &read.unusable, |_| true);
    if !strays.is_empty() {
        bail!(
            "a document that guards is in a namespace that has nothing to guard: {}",
            lines(&strays)
        );
    }
    Ok(())
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::in_one_line).collect::<Vec<_>>().join("; ")
}

/// Whether a path is one that is written while the mesh runs.
fn is_own(path: &Path) -> bool {
    let parts: Vec<&str> = path.components().filter_map(|part| part.as_os_str().to_str()).collect();
    parts.windows(2).any(|pair| matches!(pair, [".tamis", name] if OWN.contains(name)))
}

/// The current problems. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct FolderProblems(Arc<Mutex<Vec<FolderProblem>>>);

impl FolderProblems {
    /// The problems, one line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        lock(&self.0).iter().map(|one| one.line.clone()).collect()
    }

    /// Replaces the problems, and returns those that are new.
    fn replace(&self, now: Vec<FolderProblem>) -> Vec<FolderProblem> {
        let mut before = lock(&self.0);
        let new = now.iter().filter(|one| !before.contains(one)).cloned().collect();
        *before = now;
        new
    }
}

#[cfg(test)]
mod tests;
