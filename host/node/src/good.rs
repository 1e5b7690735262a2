//! The last good version of every document, and since when each is in force. It outlives the process.
//!
//! While a part of a folder cannot be read, the documents in that part stay in force as they were, also
//! over a restart. If its previous content is unknown, it might contain a guard: the proxy does not start. While any part
//! cannot be read, a proxy serves nothing new, and guards no less: the part may hold the guard of what is new.

use crate::documents::{Documents, octets};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use tamis_resources::{Document, NEW, NodeName, ResourceStatus};
use tamis_trust::Digest;

/// Largest file in bytes that is read.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Changed since it came into force, in the same file.
const CHANGED: u64 = 1;
/// Changed, and in another file.
const MOVED: u64 = 2;

/// Kind and `namespace/name`.
type Id = (String, String);

/// The last good version of the documents of a folder.
pub(crate) struct LastGoodDocuments {
    /// The file that outlives the process; `None`: nothing is stored.
    file: Option<PathBuf>,
    documents: BTreeMap<String, Vec<Document>>,
    /// Files of which not everything is known.
    partly: BTreeSet<String>,
    /// The content and the file of each document in force.
    held: BTreeMap<Id, HeldDocument>,
    written: Option<Digest>,
}

/// The documents to serve.
pub(crate) struct CompletedDocuments {
    pub(crate) documents: Vec<Document>,
    /// The files and folders that cannot be read and whose content nobody knows.
    pub(crate) unknown: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct HeldDocument {
    source: String,
    digest: String,
}

/// The form on disk.
#[derive(Default, Serialize, Deserialize)]
struct GoodFile {
    /// Documents by file: the line on which each begins, and its text.
    files: BTreeMap<String, Vec<(usize, String)>>,
    /// Files of which not everything is known.
    #[serde(default)]
    partly: BTreeSet<String>,
    /// Documents by kind and `namespace/name`, each with its version in force.
    held: Vec<(String, String, HeldDocument)>,
}

impl LastGoodDocuments {
    /// The last good documents when the proxy of that name ended, if it stored them below `root`. A file
    /// that others may have written is not trusted; the second value reports it.
    pub(crate) fn open(root: &Path, node: &NodeName) -> (Self, Option<String>) {
        let folder = root.join(".tamis").join("last-good");
        let file = folder.join(format!("{}.json", file_name(node)));
        let none = |file| Self {
            file: Some(file),
            documents: BTreeMap::new(),
            partly: BTreeSet::new(),
            held: BTreeMap::new(),
            written: None,
        };
        // Earlier releases wrote what is two proxies now under one name. It has the documents of the same folder.
        let former = folder.join(format!("{}.json", node.to_string().replace([':', '/'], "-")));
        let stored = if file.exists() { &file } else { &former };
        if !stored.exists() {
            return (none(file), None);
        }
        match own(stored).and_then(|()| read(stored)) {
            Ok(kept) => {
                let mut good = none(file);
                good.held =
                    kept.held.into_iter().map(|(kind, key, it)| ((kind, key), it)).collect();
                good.partly = kept.partly;
                for (file, texts) in kept.files {
                    let (documents, whole) = restored(&file, texts);
                    if !whole {
                        good.partly.insert(file.clone());
                    }
                    good.documents.insert(file, documents);
                }
                (good, None)
            }
            Err(why) => {
                let note = format!("{}: {why}; it is not used, remove it", stored.display());
                (none(file), Some(note))
            }
        }
    }

    /// The documents to serve: those that were read, the last good form of those that cannot be, and replacements for
    /// those that never were valid.
    ///
    /// # Errors
    /// At a `cold` start, what cannot be read and nobody knows. Later, everything that ran stays instead.
    pub(crate) fn complete(
        &self,
        read: Documents,
        cold: bool,
        notes: &mut Vec<String>,
    ) -> Result<CompletedDocuments, Vec<String>> {
        let Documents { mut documents, problems, unreadable, stubs, lost, empty, .. } = read;
        // Somebody writes them, or could not: whoever wants them out of force removes the file.
        let emptied = |file: &&String| self.documents.get(*file).is_some_and(|was| !was.is_empty());
        let emptied: Vec<&str> = empty.iter().filter(emptied).map(String::as_str).collect();
        notes.extend(emptied.iter().map(|file| {
            format!("{file}: it has no document any more: write them, or remove the file")
        }));
        let mut broken: BTreeSet<&str> =
            problems.iter().map(|it| it.place.source.as_str()).collect();
        broken.extend(unreadable.iter().map(|one| one.path.as_str()));
        broken.extend(emptied.iter().copied());
        // Files in a folder that cannot be read count as broken.
        let within = |file: &str, one: &str| Path::new(file).starts_with(one);
        let known = |one: &str| {
            let mut files = self.documents.keys().filter(|file| within(file, one)).peekable();
            files.peek().is_some() && files.all(|file| !self.partly.contains(file))
        };
        let unreadable_now = unreadable.iter().map(|one| one.path.as_str());
        let unread = lost.iter().map(String::as_str).chain(unreadable_now).chain(emptied);
        let unread: Vec<&str> = unread.collect();
        let unknown: Vec<String> =
            unread.iter().filter(|one| !known(one)).map(|one| (*one).to_owned()).collect();
        if cold && !unknown.is_empty() {
            return Err(unknown);
        }
        let mut waiting: BTreeSet<Id> = BTreeSet::new();
        if !unread.is_empty() {
            let good = self.documents.values().flatten();
            let before: BTreeMap<Id, &Document> = good.map(|one| (id(one), one)).collect();
            let opens = |one: &mut Document| one.opens_more(before.get(&id(one)).copied());
            for document in documents.extract_if(.., opens) {
                notes.push(format!(
                    "{}: {} {} waits until {} can be read, which may hold its guard",
                    document.source,
                    document.kind(),
                    document.key(),
                    unread.join(", ")
                ));
                waiting.insert(id(&document));
            }
        }
        let mut there: BTreeSet<Id> = documents.iter().map(id).collect();
        for (file, good) in &self.documents {
            // A missing document may be in the part that cannot be read, wherever it was before.
            let may_miss = !unread.is_empty() || broken.iter().any(|one| within(file, one));
            let stays = |one: &&Document| {
                !there.contains(&id(one)) && (may_miss || waiting.contains(&id(one)))
            };
            for document in good.iter().filter(stays) {
                notes.push(format!(
                    "{file}: {} {} stays in its previous version",
                    document.kind(),
                    document.key()
                ));
                documents.push(document.clone());
            }
        }
        there.extend(documents.iter().map(id));
        documents.extend(stubs.into_iter().filter(|one| !there.contains(&id(one))));
        for document in &mut documents {
            document.since = self.since(document);
        }
        documents.sort_by_cached_key(|one| (one.kind(), one.key(), one.source.clone(), one.line()));
        Ok(CompletedDocuments { documents, unknown })
    }

    fn since(&self, document: &Document) -> u64 {
        match self.held.get(&id(document)) {
            None => NEW,
            Some(held) if held.digest == content_digest(document) => 0,
            Some(held) if held.source == document.source => CHANGED,
            Some(_) => MOVED,
        }
    }

    /// Records documents as good, and the accepted ones as in force.
    pub(crate) fn keep(
        &mut self,
        completed: &CompletedDocuments,
        statuses: &[ResourceStatus],
        notes: &mut Vec<String>,
    ) {
        let CompletedDocuments { documents, unknown } = completed;
        self.documents.clear();
        self.partly = unknown.iter().cloned().collect();
        let mut counts: BTreeMap<Id, usize> = BTreeMap::new();
        for document in documents.iter().filter(|one| !one.is_stub()) {
            *counts.entry(id(document)).or_default() += 1;
            let all = self.documents.entry(document.source.clone()).or_default();
            all.push(document.clone());
        }
        let refused: BTreeSet<Id> = statuses
            .iter()
            .filter(|one| one.conditions.iter().any(|it| it.kind == "Accepted" && !it.status))
            .map(|one| (one.kind.clone(), format!("{}/{}", one.namespace, one.name)))
            .collect();
        self.held.retain(|id, _| counts.contains_key(id));
        for document in documents.iter().filter(|one| !one.is_stub()) {
            let id = id(document);
            // For several with one name, and for refused ones, what was in force before is kept.
            if counts.get(&id) == Some(&1) && !refused.contains(&id) {
                let held = HeldDocument {
                    source: document.source.clone(),
                    digest: content_digest(document),
                };
                self.held.insert(id, held);
            }
        }
        if let Err(error) = self.write() {
            notes.push(format!("the last good documents cannot be stored for a restart: {error}"));
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let texts = |all: &Vec<Document>| {
            all.iter().map(|one| (one.line(), one.text().to_owned())).collect::<Vec<_>>()
        };
        let kept = GoodFile {
            partly: self.partly.clone(),
            files: self.documents.iter().map(|(file, all)| (file.clone(), texts(all))).collect(),
            held: self
                .held
                .iter()
                .map(|((kind, key), it)| (kind.clone(), key.clone(), it.clone()))
                .collect(),
        };
        let bytes = serde_json::to_vec(&kept)?;
        let digest = Digest::of(&bytes);
        if self.written == Some(digest) && file.exists() {
            return Ok(());
        }
        private(file, &bytes)?;
        self.written = Some(digest);
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.documents.keys().map(String::as_str)
    }
}

/// A name for files, another for each proxy: `gateway-NAMESPACE-NAME`, or `gateway-NAMESPACE~NAME` where a `-` in the
/// namespace would leave its end open. No name has a `~`.
pub(crate) fn file_name(node: &NodeName) -> String {
    let (kind, key, end) = match node {
        NodeName::Gateway { key } => ("gateway", key, String::new()),
        NodeName::Sidecar { key, index } => ("sidecar", key, format!("-{index}")),
    };
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    let joint = if namespace.contains('-') { '~' } else { '-' };
    format!("{kind}-{namespace}{joint}{name}{end}")
}

fn id(document: &Document) -> Id {
    (document.kind().to_owned(), document.key())
}

fn content_digest(document: &Document) -> String {
    Digest::of(document.text().trim().as_bytes()).hex()
}

/// Documents from their texts, on their original lines, and whether each text still is a document: what another release
/// accepted, this one may refuse.
fn restored(file: &str, texts: Vec<(usize, String)>) -> (Vec<Document>, bool) {
    let (mut documents, mut whole) = (Vec::new(), true);
    for (line, text) in texts {
        let before = "\n".repeat(line.saturating_sub(1).min(1_000_000));
        let found = tamis_resources::read(file, &format!("{before}{text}"));
        whole &= found.problems.is_empty() && found.documents.len() == 1;
        documents.extend(found.documents);
    }
    (documents, whole)
}

fn read(file: &Path) -> Result<GoodFile, String> {
    serde_json::from_slice(&octets(file, MAX_BYTES)?).map_err(|error| error.to_string())
}

/// Checks that only this user may write a file and its folder, and read the file.
fn own(file: &Path) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    let me = fs::metadata("/proc/self").map_err(said)?.uid();
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    for (path, others) in [(file, 0o077), (folder, 0o022)] {
        let about = fs::symlink_metadata(path).map_err(said)?;
        let rule = if about.file_type().is_symlink() {
            "it is a symbolic link"
        } else if about.uid() != me {
            "it belongs to another user"
        } else if about.mode() & others != 0 {
            "others may read or write it"
        } else {
            continue;
        };
        return Err(format!("{}: {rule}", path.display()));
    }
    Ok(())
}

/// Writes to a temporary file and renames it: a crash leaves the old file or the new one. Readable by this
/// user only.
fn private(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    // The documents may lie in a folder of somebody else, who could have put a link here to where this user may write.
    tamis_private::folder(folder)?;
    tamis_private::put(file, bytes)
}

#[cfg(test)]
mod tests;
