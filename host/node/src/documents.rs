//! Reads documents from folders and files.

use crate::NodeError;
use std::path::{Path, PathBuf};
use tamis_resources::{Document, Problem, parse};

/// Where documents come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Paths named in documents are relative to it.
    pub root: PathBuf,
    /// Folders (all `*.yaml` and `*.yml` in them, hidden ones left out) and single files.
    pub paths: Vec<PathBuf>,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Documents {
    /// Those that parse.
    pub documents: Vec<Document>,
    /// What is wrong with the others.
    pub problems: Vec<Problem>,
    /// Files that could not be read, and why.
    pub unreadable: Vec<String>,
}

/// A longer document is none that a person wrote.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Folders in folders.
const MAX_DEPTH: usize = 8;

impl Source {
    /// A folder and what `tamis up` generates in it.
    pub fn folder(root: &Path) -> Self {
        Self { root: root.to_owned(), paths: vec![root.to_owned(), root.join(".tamis")] }
    }

    /// Reads everything; a file that cannot be read or parsed never blocks another.
    ///
    /// # Errors
    /// When the root is no folder.
    pub fn read(&self) -> Result<Documents, NodeError> {
        if let Err(source) = std::fs::read_dir(&self.root) {
            return Err(NodeError::Read { path: self.root.clone(), source });
        }
        let mut files = Vec::new();
        for path in &self.paths {
            if path.is_dir() {
                collect(path, 0, &mut files);
            } else if path.exists() {
                files.push(path.clone());
            }
        }
        files.sort();
        files.dedup();
        let mut read = Documents::default();
        for file in files {
            let name = file.strip_prefix(&self.root).unwrap_or(&file).display().to_string();
            match text(&file) {
                Ok(text) => {
                    let (documents, problems) = parse(&name, &text);
                    read.documents.extend(documents);
                    read.problems.extend(problems);
                }
                Err(error) => read.unreadable.push(format!("{name}: {error}")),
            }
        }
        Ok(read)
    }

    /// Reads a file that a document names.
    pub(crate) fn file(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.path(name);
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The path a document means.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

fn text(file: &Path) -> Result<String, String> {
    let length = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if length > MAX_BYTES {
        return Err(format!("{length} bytes are too many; split it below {MAX_BYTES}"));
    }
    std::fs::read_to_string(file).map_err(|error| error.to_string())
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if depth < MAX_DEPTH {
                collect(&path, depth + 1, files);
            }
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.push(path);
        }
    }
}
