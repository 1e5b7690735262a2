//! The parts of a folder that are sent to a registry: every document that can be used, and no other.

use super::ports::Ports;
use crate::check::{problems, render};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tamis_api::SourceText;
use tamis_resources::{Document, Pin, Problem, Resource, parse};

/// A problem of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// On one line, with its place.
    pub(crate) line: String,
    /// With its source text, for people.
    pub(crate) text: String,
}

impl Wrong {
    /// A problem without source text.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        let line = line.into();
        Self { text: line.clone(), line }
    }
}

impl From<&Problem> for Wrong {
    fn from(problem: &Problem) -> Self {
        let place = &problem.place;
        let at = format!("{}:{}:{}", place.source, place.line, place.column);
        Self { line: format!("{at}: {}", problem.message), text: render(problem) }
    }
}

/// The content of a folder.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// The texts of all documents that can be used, without locks. Documents that cannot be used are
    /// replaced by blank lines.
    pub(crate) sources: Vec<SourceText>,
    /// These documents, parsed.
    pub(crate) documents: Vec<Document>,
    /// The locks.
    pub(crate) locks: Vec<Document>,
    /// Files and folders of which a part could not be used.
    pub(crate) broken: BTreeSet<String>,
    /// The problems.
    pub(crate) wrongs: Vec<Wrong>,
}

impl Gathered {
    /// The pins of the locks, in their order, each with its file.
    pub(crate) fn pins(&self) -> impl Iterator<Item = (&str, &Pin)> {
        let pins = self.locks.iter().filter_map(|lock| match &lock.resource {
            Resource::FiltersLock(spec) => Some((lock.source.as_str(), &spec.filters)),
            _ => None,
        });
        pins.flat_map(|(source, pins)| pins.iter().map(move |pin| (source, pin)))
    }

    /// Whether a part of a file could not be used.
    pub(crate) fn is_broken(&self, file: &str) -> bool {
        self.broken.iter().any(|one| Path::new(file).starts_with(one))
    }
}

/// Reads a folder. A problem in one part never holds back another.
pub(crate) fn gather(folder: &Path, ports: Ports) -> Result<Gathered> {
    let read = ports.read(folder)?;
    let mut gathered = Gathered::default();
    for file in &read.unreadable {
        gathered.broken.insert(file.path.clone());
        gathered.wrongs.push(Wrong::new(file.to_string()));
    }
    for problem in &read.problems {
        gathered.broken.insert(problem.place.source.clone());
        gathered.wrongs.push(problem.into());
    }
    let mut files: BTreeMap<String, Vec<Document>> = BTreeMap::new();
    for problem in &read.problems {
        files.entry(problem.place.source.clone()).or_default();
    }
    for document in read.documents {
        files.entry(document.source.clone()).or_default().push(document);
    }
    let mut seen = BTreeMap::new();
    for (name, documents) in files {
        let path = folder.join(&name);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let text = ports.moved(&name, &text)?;
        gathered.file(&name, &text, documents, &mut seen);
    }
    let told: BTreeSet<String> = gathered.wrongs.iter().map(|one| one.line.clone()).collect();
    let all: Vec<Document> = gathered.documents.iter().chain(&gathered.locks).cloned().collect();
    let found = problems(&all, folder);
    let found = found.iter().map(Wrong::from).filter(|one| !told.contains(&one.line));
    gathered.wrongs.extend(found);
    Ok(gathered)
}

impl Gathered {
    fn file(
        &mut self,
        name: &str,
        text: &str,
        documents: Vec<Document>,
        seen: &mut BTreeMap<String, String>,
    ) {
        let plain = |one: &Document| {
            !matches!(one.resource, Resource::FiltersLock(_)) && !seen.contains_key(&key(one))
        };
        let keys: BTreeSet<String> = documents.iter().map(key).collect();
        let whole = !self.broken.contains(name)
            && documents.iter().all(plain)
            && keys.len() == documents.len();
        if whole {
            seen.extend(keys.into_iter().map(|key| (key, name.to_owned())));
            self.documents.extend(documents);
            self.sources.push(SourceText { source: name.to_owned(), text: text.to_owned() });
            return;
        }
        let before = self.documents.len();
        let parts = parts(text);
        let text: String = parts.iter().map(|part| self.part(name, part, seen)).collect();
        if self.documents.len() > before {
            self.sources.push(SourceText { source: name.to_owned(), text });
        }
    }

    /// A part of a file as it is sent: its text, or as many blank lines.
    fn part(&mut self, name: &str, part: &Part, seen: &mut BTreeMap<String, String>) -> String {
        let (documents, problems) = parse(name, &part.text);
        if let Some(problem) = problems.first() {
            // Already reported, unless the file was sound a moment ago, or only the file as a whole is
            // sound.
            if self.broken.insert(name.to_owned()) {
                let message = &problem.message;
                let line = part.line + problem.place.line.saturating_sub(1);
                self.wrongs.push(Wrong::new(format!("{name}:{line}: {message}")));
            }
            return part.blank();
        }
        for document in documents {
            if matches!(document.resource, Resource::FiltersLock(_)) {
                self.locks.push(document);
                return part.blank();
            }
            let key = key(&document);
            if let Some(first) = seen.get(&key) {
                let line = part.line;
                self.broken.insert(name.to_owned());
                self.wrongs.push(Wrong::new(format!(
                    "{name}:{line}: {key} exists twice, first in {first}; keep one of them"
                )));
                return part.blank();
            }
            seen.insert(key, name.to_owned());
            self.documents.push(document);
        }
        part.text.clone()
    }
}

/// `Kind/namespace/name`, the key of a document in a registry.
pub(crate) fn key(document: &Document) -> String {
    format!("{}/{}", document.kind(), document.key())
}

/// The text of one document, with the line that begins it.
struct Part {
    /// Number of its first line, from 1.
    line: usize,
    text: String,
}

impl Part {
    /// The same number of empty lines, so that places in later documents stay right.
    fn blank(&self) -> String {
        let lines = self.text.split_inclusive('\n').enumerate();
        lines.map(|(index, line)| if index == 0 && ends(line) { "---\n" } else { "\n" }).collect()
    }
}

/// Whether a line ends a document (YAML 1.2.2 §9.1.2): such a line always does, whatever it is inside of.
fn ends(line: &str) -> bool {
    let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = vec![Part { line: 1, text: String::new() }];
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if ends(line) {
            parts.push(Part { line: index + 1, text: String::new() });
        }
        if let Some(part) = parts.last_mut() {
            part.text.push_str(line);
        }
    }
    parts
}

#[cfg(test)]
mod tests;
