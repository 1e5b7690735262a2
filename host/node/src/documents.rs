//! Reads documents from folders and files.

mod look;
mod unread;

use crate::NodeError;
use look::{PathContent, look};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tamis_resources::{Document, ParseResult, Problem, printable};

/// The places of documents.
#[derive(Debug, Clone)]
pub struct DocumentPlaces {
    /// Paths named in documents are relative to it.
    pub root: PathBuf,
    /// Folders (all `*.yaml` and `*.yml` in them, in small letters or capitals, except hidden ones) and single files.
    pub paths: Vec<PathBuf>,
    inputs: Arc<Mutex<Inputs>>,
}

/// The paths of the files that were read: of the last read and, while a read is in progress, of the one before.
#[derive(Debug, Default)]
struct Inputs {
    before: BTreeSet<PathBuf>,
    now: BTreeSet<PathBuf>,
}

/// The result of reading.
#[derive(Debug, Default)]
pub struct Documents {
    /// Those that parse.
    pub documents: Vec<Document>,
    /// The problems of the others.
    pub problems: Vec<Problem>,
    /// Files and folders that could not be read.
    pub unreadable: Vec<ReadFailure>,
    /// Replacements for documents that cannot be used, to be used where no valid version is known.
    pub stubs: Vec<Document>,
    /// The kind and the namespace of the documents that cannot be used and have no replacement.
    pub unusable: Vec<(&'static str, String)>,
    /// All documents with a problem of which kind and name can be read: [`ParseResult::faulty`].
    pub faulty: Vec<String>,
    /// Files with a part that could not be read at all.
    pub lost: Vec<String>,
    /// Files without any document, such as those with comments alone.
    pub empty: Vec<String>,
    /// Files that look like documents and are not read because of their names, and the way out.
    pub unread: Vec<ReadFailure>,
}

/// A file or folder that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFailure {
    /// Its path below the root.
    pub path: String,
    /// Why, and the way out.
    pub why: String,
}

impl std::fmt::Display for ReadFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", printable(&self.path), printable(&self.why))
    }
}

/// Largest file in bytes; nobody writes a larger one by hand.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Depth to which folders are read.
const MAX_DEPTH: usize = 8;
/// Entries of all folders together that are looked at.
const MAX_ENTRIES: usize = if cfg!(test) { 5_000 } else { 100_000 };
/// How many files with other names are read, of all folders together: a folder may contain sources as well as documents.
const MAX_OTHERS: usize = 2_000;

impl DocumentPlaces {
    /// A folder and what `tamis up` generates in it.
    pub fn folder(root: &Path) -> Self {
        Self::new(root, vec![root.to_owned(), root.join(".tamis")])
    }

    /// These folders and files.
    #[must_use]
    pub fn new(root: &Path, paths: Vec<PathBuf>) -> Self {
        Self { root: root.to_owned(), paths, inputs: Arc::default() }
    }

    fn inputs(&self) -> MutexGuard<'_, Inputs> {
        // Sets of paths are whole after any panic.
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a change of this path can change what is read: a document, a file that a document names, or a folder.
    ///
    /// A log file in the folder of the documents, such as the log of this process, is not one of these: what a read
    /// writes must not be the reason for the next.
    #[must_use]
    pub fn concerns(&self, path: &Path) -> bool {
        let path = plain(path);
        if is_document(&path) || path.is_dir() {
            return true;
        }
        if self.names_others(&path)
            && unread::may_look_like_document(&path)
            && unread::looks_like_document(&path)
        {
            return true;
        }
        // A removed folder counts if it contained such a file.
        let inputs = self.inputs();
        [&inputs.before, &inputs.now].iter().any(|all| {
            all.range::<Path, _>((Bound::Included(&*path), Bound::Unbounded))
                .next()
                .is_some_and(|input| input.starts_with(&path))
        })
    }

    /// Whether a read looks into files with other names at this path: not where this program writes, whose last good
    /// documents look like documents and change with each read.
    fn names_others(&self, path: &Path) -> bool {
        let root = plain(&self.root);
        let below = path.strip_prefix(&root).unwrap_or(path);
        !below.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'))
    }

    /// Reads everything; a file that cannot be read or parsed never blocks another.
    ///
    /// # Errors
    /// The root is not a folder.
    pub fn read(&self) -> Result<Documents, NodeError> {
        if let Err(source) = std::fs::read_dir(&self.root) {
            return Err(NodeError::Read { path: self.root.clone(), source });
        }
        {
            let mut inputs = self.inputs();
            inputs.before = std::mem::take(&mut inputs.now);
        }
        let mut found = FolderContent::default();
        for path in &self.paths {
            let content = look(path);
            found.check_name(path, &content);
            match content {
                PathContent::Folder => {
                    // What this program writes has no documents under other names.
                    found.names_others = !path.ends_with(".tamis");
                    found.walk(path);
                }
                PathContent::File => found.files.push(path.clone()),
                // `tamis up` has generated nothing here.
                PathContent::Gone => {}
                PathContent::Unreadable(why) => found.unreadable.push((path.clone(), why)),
            }
        }
        found.files.sort();
        found.files.dedup();
        let below =
            |path: &Path| path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        // A broken link is an input too: its removal, or the return of its target, is a change.
        let unreadable = found.unreadable.iter().map(|(path, _)| path);
        self.inputs().now.extend(found.files.iter().chain(unreadable).map(|path| plain(path)));
        let mut read = Documents::default();
        for (folder, why) in found.unreadable {
            read.unreadable.push(ReadFailure { path: below(&folder), why });
        }
        for file in found.others {
            read.unread.push(ReadFailure { path: below(&file), why: unread::WAY_OUT.to_owned() });
            self.inputs().now.insert(plain(&file));
        }
        for file in found.files {
            let name = below(&file);
            match text(&file) {
                // What a full disk or a crash leaves, or somebody who is about to write.
                Ok(text) if is_blank(&text) => {
                    let why = "it is empty: write its documents, or remove it".to_owned();
                    read.unreadable.push(ReadFailure { path: name, why });
                }
                Ok(text) => {
                    let ParseResult { documents, problems, stubs, lost, unusable, faulty } =
                        tamis_resources::read(&name, &text);
                    let nothing = documents.is_empty() && problems.is_empty() && stubs.is_empty();
                    if nothing && unusable.is_empty() && !lost {
                        read.empty.push(name.clone());
                    }
                    read.unusable.extend(unusable);
                    read.faulty.extend(faulty);
                    read.documents.extend(documents);
                    read.problems.extend(problems);
                    read.stubs.extend(stubs);
                    read.lost.extend(lost.then_some(name));
                }
                Err(why) => read.unreadable.push(ReadFailure { path: name, why }),
            }
        }
        Ok(read)
    }

    /// Reads a file that a document names, of at most 16 MiB.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn file(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.path(name);
        octets(&path, MAX_BYTES).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// The path that a name in a document stands for.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        self.inputs().now.insert(plain(&path));
        path
    }
}

/// A whole path without `.` and `..`, as far as its text says: two spellings of a file are one.
pub(crate) fn plain(path: &Path) -> PathBuf {
    // Changes are reported by whole paths, whatever the folder that is watched was called. Without a current folder all
    // paths stay as they are.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

fn is_document(path: &Path) -> bool {
    // In capitals, too: a guard that is not read guards nothing, and nobody would notice.
    path.extension().is_some_and(|ending| {
        ending.eq_ignore_ascii_case("yaml") || ending.eq_ignore_ascii_case("yml")
    })
}

fn is_blank(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim().is_empty()
}

fn text(file: &Path) -> Result<String, String> {
    String::from_utf8(octets(file, MAX_BYTES)?)
        .map_err(|error| format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
}

/// Reads a file of at most `limit` bytes. Anything other than a file (such as a pipe) could keep a reader
/// waiting for ever.
pub(crate) fn octets(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    tamis_private::read_regular(path, limit).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => format!("{error}; split it"),
        _ => error.to_string(),
    })
}

/// The result of walking through folders.
#[derive(Default)]
struct FolderContent {
    files: Vec<PathBuf>,
    unreadable: Vec<(PathBuf, String)>,
    /// Files that look like documents and have other names.
    others: BTreeSet<PathBuf>,
    /// Whether files with other names are looked into, and how many have been.
    names_others: bool,
    looked: usize,
    /// The folders that were read, by device and number. Each is read once, whatever leads to it: a link may lead back.
    folders: BTreeSet<(u64, u64)>,
    /// Links to folders, which are read after the folders themselves, with their depths.
    links: BTreeSet<(PathBuf, usize)>,
    entries: usize,
}

impl FolderContent {
    /// A folder with the name of a document stands where one was: it is what a container runtime makes of a file that is missing.
    /// Its documents are read all the same.
    fn check_name(&mut self, path: &Path, content: &PathContent) {
        if is_document(path) && matches!(content, PathContent::Folder) {
            let why = "it is a folder with the name of a document: put the document back, or rename the folder";
            self.unreadable.push((path.to_owned(), why.to_owned()));
        }
    }

    /// Reads a folder, then the files and folders that links in it lead to.
    fn walk(&mut self, folder: &Path) {
        self.collect(folder, 0);
        while let Some((link, depth)) = self.links.pop_first() {
            self.collect(&link, depth);
        }
    }

    fn collect(&mut self, folder: &Path, depth: usize) {
        if let Ok(about) = std::fs::metadata(folder)
            && !self.folders.insert((about.dev(), about.ino()))
        {
            return;
        }
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.unreadable.push((folder.to_owned(), error.to_string())),
        };
        for entry in entries {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                let why = format!(
                    "there are more than {MAX_ENTRIES} files and folders, which is the limit; move everything that is not a document elsewhere"
                );
                self.links.clear();
                return self.unreadable.push((folder.to_owned(), why));
            }
            match entry {
                Ok(entry) if entry.file_name().to_string_lossy().starts_with('.') => {}
                Ok(entry) => self.take(entry.path(), depth),
                Err(error) => {
                    let why = format!("its entries cannot all be read: {error}");
                    self.unreadable.push((folder.to_owned(), why));
                }
            }
        }
    }

    fn take(&mut self, path: PathBuf, depth: usize) {
        let content = look(&path);
        self.check_name(&path, &content);
        match content {
            PathContent::Folder if depth < MAX_DEPTH && path.is_symlink() => {
                self.links.insert((path, depth + 1));
            }
            PathContent::Folder if depth < MAX_DEPTH => self.collect(&path, depth + 1),
            PathContent::Folder => {
                let why = format!("folders are read to a depth of {MAX_DEPTH}; move it up");
                self.unreadable.push((path, why));
            }
            PathContent::File if is_document(&path) => self.files.push(path),
            PathContent::File if self.names_others && self.looked < MAX_OTHERS => {
                self.looked += 1;
                if unread::looks_like_document(&path) {
                    self.others.insert(path);
                }
            }
            PathContent::File | PathContent::Gone => {}
            PathContent::Unreadable(why) => self.unreadable.push((path, why)),
        }
    }
}

#[cfg(test)]
mod tests;
