//! One pass over a folder: sends what the registry does not have yet.

use super::{FolderProblems, PlannedDocuments, lock};
use crate::change::files;
use crate::named_file;
use crate::output::{self, Output, one_line};
use crate::up::admission::client;
use crate::up::gather::{
    DocumentSources, DocumentTexts, FolderDocuments, FolderProblem, gather, key,
};
use crate::up::ports::Ports;
use crate::up::registry::EmbeddedRegistry;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tamis_api::ApplyRequest;
use tamis_client::{Artifact, Client, ClientError, Overwrite};
use tamis_node::{ArtifactStore, DocumentPlaces, causes};
use tamis_trust::{Digest, Manifest, bundle_lines};
use tokio::runtime::Runtime;

/// The pins of the lock as last sent, in the registry's folder.
const SENT: &str = "lock.json";

/// The file of each document in force, in the registry's folder.
const KNOWN: &str = "known.json";

/// What a registry has of its folder, as it is kept for the next start.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct FeedRecord {
    /// The documents in force, each with its file.
    pub(super) documents: DocumentSources,
    /// Their texts: while a part of the folder cannot be read, what opens no more than these do is sent.
    pub(super) texts: DocumentTexts,
    /// What stands in for documents that cannot be used, by `Kind/namespace/name`.
    pub(super) stand_ins: BTreeSet<String>,
}

/// Octets of such a record at most: it has the texts of all documents of a folder.
const RECORD_MAX: u64 = 256 << 20;

/// What a registry held of its folder at the end of its last run. Damaged state counts as unknown, so that nothing is removed because of it.
pub(super) fn kept(registry: &Path) -> FeedRecord {
    let text = named_file::up_to(registry.join(KNOWN), RECORD_MAX).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// The result of a pass.
#[derive(Default)]
pub(super) struct PassResult {
    /// The revision with the changed documents.
    revision: Option<u64>,
    pushed: Vec<String>,
    pub(super) pinned: Vec<String>,
    pub(super) unpinned: Vec<String>,
    pub(super) wrongs: Vec<FolderProblem>,
}

impl PassResult {
    fn is_nothing(&self) -> bool {
        self.revision.is_none()
            && [&self.pushed, &self.pinned, &self.unpinned].iter().all(|list| list.is_empty())
    }
}

/// A client that remembers what it sent.
pub(super) struct Feeder {
    folder: PathBuf,
    ports: Ports,
    store: PathBuf,
    pub(super) sent: PathBuf,
    client: Client,
    runtime: Runtime,
    output: Output,
    wrongs: FolderProblems,
    pub(super) stopped: bool,
    /// Whether a question of this pass failed for a reason that may be gone a moment later.
    again: Cell<bool>,
    /// What the documents in force plan, for whoever starts proxies.
    pub(super) planned: Arc<Mutex<Option<PlannedDocuments>>>,
    /// What was applied last; `None`: nothing, or what is in force is unknown.
    pub(super) applied: Option<ApplyRequest>,
    /// What the registry has of the folder.
    kept: FeedRecord,
    /// Artifacts, with their signatures, that the registry has.
    there: HashSet<(Digest, Digest)>,
    /// The digest of each pin of the lock as it was sent, by service and filter.
    pub(super) pins: BTreeMap<String, String>,
}

impl Feeder {
    pub(super) fn new(
        folder: &Path,
        ports: Ports,
        store: &Path,
        registry: &EmbeddedRegistry,
        wrongs: FolderProblems,
        output: Output,
    ) -> Result<Self> {
        let sent = registry.folder.join(SENT);
        // A damaged file counts as a missing one: the whole lock is sent.
        let pins = named_file::up_to(&sent, RECORD_MAX)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        Ok(Self {
            folder: folder.to_owned(),
            ports,
            store: store.to_owned(),
            sent,
            client: client(&registry.url, &registry.token)?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            output,
            wrongs,
            stopped: false,
            again: Cell::new(false),
            planned: Arc::default(),
            applied: None,
            kept: kept(&registry.folder),
            there: HashSet::new(),
            pins: pins.unwrap_or_default(),
        })
    }

    pub(super) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T, String> {
        self.question(question).map_err(|error| shown_error(&error))
    }

    pub(super) fn question<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let answer = self.runtime.block_on(question(&self.client));
        if answer.as_ref().is_err_and(ClientError::is_transient) {
            self.again.set(true);
        }
        answer
    }

    /// Sends what the registry does not have yet. Whether another pass is due although nothing changes.
    pub(super) fn pass(&mut self) -> bool {
        if self.stopped {
            return false;
        }
        self.again.set(false);
        let mut done = PassResult::default();
        match gather(&self.folder, self.ports, &self.kept.documents, &self.kept.texts) {
            Ok(gathered) => self.send(&gathered, &mut done),
            Err(error) => done.wrongs.push(FolderProblem::new(one_line(&causes(error.as_ref())))),
        }
        self.report(done);
        self.again.get()
    }

    fn send(&mut self, gathered: &FolderDocuments, done: &mut PassResult) {
        done.wrongs.extend(gathered.wrongs.iter().cloned());
        self.push(gathered, done);
        // Pins before documents: what a new document attaches must exist. The first time documents go before pins, since
        // documents name the trusted keys. A pin that was refused before may have waited for those.
        let first = self.applied.is_none();
        let mut refused = if first { Vec::new() } else { self.pin(gathered, done) };
        let changed = self.apply(gathered, done);
        if first || (changed && !refused.is_empty()) {
            refused = self.pin(gathered, done);
        }
        done.wrongs.append(&mut refused);
        self.unpin(gathered, done);
    }

    /// Applies the documents; true when something was sent.
    fn apply(&mut self, gathered: &FolderDocuments, done: &mut PassResult) -> bool {
        if gathered.documents.is_empty() {
            let folder = self.folder.display();
            done.wrongs.push(FolderProblem::new(format!(
                "{folder} has no documents; the previous ones stay"
            )));
            return false;
        }
        let here: DocumentSources =
            gathered.documents.iter().map(|one| (key(one), one.source.clone())).collect();
        let stand_ins: BTreeSet<String> = gathered.stand_ins.iter().map(key).collect();
        let known = &self.kept.documents;
        // What is gone may have moved into a file that cannot be read.
        let gone = known.iter().filter(|(key, file)| {
            gathered.unread.is_empty()
                && !here.contains_key(*key)
                && !gathered.held.contains(*key)
                && !gathered.is_broken(file)
        });
        // What stood in for a document that is mended or gone has nothing more to close.
        let past = self.kept.stand_ins.difference(&stand_ins);
        let past = past.filter(|key| !here.contains_key(*key));
        let removed: Vec<String> = gone.map(|(key, _)| key).chain(past).cloned().collect();
        let files = match files(&DocumentPlaces::folder(&self.folder), &gathered.documents) {
            Ok(files) => files,
            Err(error) => {
                done.wrongs.push(FolderProblem::new(one_line(&causes(error.as_ref()))));
                return false;
            }
        };
        // While a file is broken, documents of unknown origin stay: they may be in that file.
        let prune = gathered.broken.is_empty();
        let sources = gathered.sources.clone();
        let request = ApplyRequest { sources, files, removed, prune, confirm: true };
        if self.applied.as_ref() == Some(&request) {
            return false;
        }
        match self.question(async |client| client.apply(&request).await) {
            Ok(applied) => {
                let diff = applied.diff;
                let same = diff.documents_changed.is_empty() && diff.documents_removed.is_empty();
                done.revision = (!same).then_some(applied.revision);
                if prune {
                    self.kept.documents.clear();
                }
                self.kept.documents.retain(|key, _| !request.removed.contains(key));
                self.kept.documents.extend(here);
                let texts = gathered.documents.iter().map(|one| (key(one), one.text().to_owned()));
                self.kept.texts.extend(texts);
                self.kept.texts.retain(|key, _| self.kept.documents.contains_key(key));
                self.kept.stand_ins = stand_ins;
                self.keep_known(done);
                self.applied = Some(request);
                let (documents, whole) = (gathered.documents.clone(), gathered.broken.is_empty());
                *lock(&self.planned) = Some(PlannedDocuments { documents, whole });
                true
            }
            Err(error) => {
                // It is then unknown whether the documents are in force, even if the folder returns to what was sent before.
                if error.is_transient() {
                    self.applied = None;
                }
                let why = shown_error(&error);
                done.wrongs
                    .push(FolderProblem::new(format!("the documents are not applied: {why}")));
                false
            }
        }
    }

    /// Stores the file of each document in force, for the next start.
    fn keep_known(&self, done: &mut PassResult) {
        let kept = serde_json::to_vec(&self.kept).map_err(std::io::Error::other);
        let kept =
            kept.and_then(|bytes| tamis_private::put(&self.sent.with_file_name(KNOWN), &bytes));
        if let Err(error) = kept {
            let line = format!(
                "the list of documents and their files cannot be stored for a restart: {error}"
            );
            done.wrongs.push(FolderProblem::new(line));
        }
    }

    /// Reads every artifact in the store, and pushes those that the lock pins.
    fn push(&mut self, gathered: &FolderDocuments, done: &mut PassResult) {
        let pinned: BTreeSet<&str> = gathered.pins().map(|(_, pin)| pin.digest.as_str()).collect();
        let index: BTreeMap<PathBuf, String> = ArtifactStore::new(vec![self.store.clone()])
            .index()
            .into_iter()
            .flat_map(|(digest, paths)| paths.into_iter().map(move |path| (path, digest.clone())))
            .collect();
        for (path, digest) in index {
            if let Err(why) = self.artifact(&path, pinned.contains(digest.as_str()), done) {
                let line = format!(
                    "{}: {why}; it is not sent, and what runs keeps running",
                    path.display()
                );
                done.wrongs.push(FolderProblem::new(line));
            }
        }
    }

    fn artifact(&mut self, path: &Path, pinned: bool, done: &mut PassResult) -> Result<(), String> {
        let read = tamis_node::StoredArtifact::read(path)?;
        let manifest = Manifest::parse(&read.manifest).map_err(|error| error.to_string())?;
        manifest
            .check(&read.component)
            .map_err(|error| format!("it does not match its manifest ({error})"))?;
        let stamp = (manifest.digest(), Digest::of(&read.bundles));
        if !pinned || self.there.contains(&stamp) {
            return Ok(());
        }
        let bundles: Vec<Vec<u8>> =
            bundle_lines(&read.bundles).into_iter().map(<[u8]>::to_vec).collect();
        if bundles.is_empty() {
            return Err("it has no signature; sign it with `tamis filter sign`".to_owned());
        }
        let artifact = Artifact { manifest: read.manifest, component: read.component, bundles };
        let name = manifest.name().to_string();
        if !self.ask(async |client| client.has(&name, &artifact).await)? {
            self.ask(async |client| client.push(&name, &artifact, Overwrite::Allowed).await)?;
            done.pushed.push(format!("{name} {}", manifest.version()));
        }
        self.there.insert(stamp);
        Ok(())
    }

    fn report(&self, done: PassResult) {
        let nothing = done.is_nothing();
        let lines: Vec<String> = done.wrongs.iter().map(|one| one.line.clone()).collect();
        let mended = !self.wrongs.lines().iter().all(|line| lines.contains(line));
        let news = self.wrongs.replace(done.wrongs);
        if self.output == Output::Text {
            news.iter().for_each(|one| output::drawn_note(&one.text));
            return;
        }
        if !(nothing && news.is_empty() && !mended) {
            let value = json!({
                "event": "sent", "revision": done.revision, "pushed": done.pushed,
                "pinned": done.pinned, "unpinned": done.unpinned, "wrong": lines,
            });
            output::event(self.output, &value, String::new);
        }
    }
}

/// An error on one line.
pub(super) fn shown_error(error: &ClientError) -> String {
    one_line(&causes(error))
}
