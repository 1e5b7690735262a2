//! What of a folder a registry is sent: every document that can be used, and in place of one that cannot, and that was never
//! in force, what keeps closed whatever it was to guard.

use super::ports::Ports;
use crate::check::problems;
use crate::named_file;
use crate::output::plain;
use crate::problem_text::render;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tamis_api::SourceText;
use tamis_resources::{Document, ParseResult, Pin, Problem, Resource, ends_document, lines, parse};

/// A problem of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FolderProblem {
    /// On one line, with its place.
    pub(crate) line: String,
    /// With its source text, for people.
    pub(crate) text: String,
}

impl FolderProblem {
    /// A problem without source text.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        let line = plain(&line.into()).into_owned();
        Self { text: line.clone(), line }
    }
}

impl From<&Problem> for FolderProblem {
    fn from(problem: &Problem) -> Self {
        let problem = &problem.printable();
        let place = &problem.place;
        let at = format!("{}:{}:{}", place.source, place.line, place.column);
        Self { line: format!("{at}: {}", problem.message), text: render(problem) }
    }
}

/// The content of a folder.
#[derive(Debug, Default)]
pub(crate) struct FolderDocuments {
    /// The texts of all documents that can be used, without locks. Documents that cannot be used are
    /// replaced by blank lines.
    pub(crate) sources: Vec<SourceText>,
    /// These documents, but for those that stand in for others.
    pub(crate) documents: Vec<Document>,
    /// What is sent in place of documents that cannot be used: their texts are among the sources too.
    pub(crate) stand_ins: Vec<Document>,
    /// Documents that stay as they are in force, by `Kind/namespace/name`: the folder has them, and not as they can be used.
    pub(crate) held: BTreeSet<String>,
    /// The locks.
    pub(crate) locks: Vec<Document>,
    /// Files and folders of which a part could not be used.
    pub(crate) broken: BTreeSet<String>,
    /// Files and folders of which a part cannot be read as documents: what is gone from elsewhere may be in it, and the guard
    /// of what is new.
    pub(crate) unread: BTreeSet<String>,
    /// The problems.
    pub(crate) wrongs: Vec<FolderProblem>,
}

impl FolderDocuments {
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

/// Which documents in force came from which file: `Kind/namespace/name` to the file's name.
pub(crate) type DocumentSources = BTreeMap<String, String>;

/// The texts of the documents in force, by `Kind/namespace/name`, as they were sent.
pub(crate) type DocumentTexts = BTreeMap<String, String>;

/// Reads a folder. What is wrong in it takes nothing out that is in force, and keeps back what may open more than that does
/// while a part cannot be read: that part may hold its guard. Nothing else is kept back.
pub(crate) fn gather(
    folder: &Path,
    ports: Ports,
    known: &DocumentSources,
    texts: &DocumentTexts,
) -> Result<FolderDocuments> {
    let read = ports.read(folder)?;
    let mut gathered = FolderDocuments::default();
    for file in &read.unreadable {
        gathered.broken.insert(file.path.clone());
        gathered.unread.insert(file.path.clone());
        gathered.wrongs.push(FolderProblem::new(file.to_string()));
    }
    gathered.wrongs.extend(read.unread.iter().map(|file| FolderProblem::new(file.to_string())));
    for problem in &read.problems {
        gathered.broken.insert(problem.place.source.clone());
        gathered.wrongs.push(problem.into());
    }
    let names = read.documents.iter().map(|one| &one.source);
    let names = names.chain(read.problems.iter().map(|one| &one.place.source));
    let names: BTreeSet<String> = names.cloned().collect();
    let mut files = Vec::new();
    for name in names {
        let path = folder.join(&name);
        let text = named_file::text(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        files.push(File::new(&name, ports.moved(&name, &text)?));
    }
    let lost = files.iter().filter(|file| file.is_lost()).map(|file| file.name.clone());
    gathered.unread.extend(lost);
    let unread = gathered.unread.iter().cloned().collect::<Vec<_>>().join(", ");
    let sender = Sender { names: DocumentNames::of(&files), known, texts, unread };
    for file in &files {
        sender.file(&mut gathered, file);
    }
    let told: BTreeSet<String> = gathered.wrongs.iter().map(|one| one.line.clone()).collect();
    let all = gathered.documents.iter().chain(&gathered.stand_ins).chain(&gathered.locks);
    let all: Vec<Document> = all.cloned().collect();
    let found = problems(&all, folder);
    let found = found.iter().map(FolderProblem::from).filter(|one| !told.contains(&one.line));
    gathered.wrongs.extend(found);
    Ok(gathered)
}

/// A file of the folder.
struct File {
    name: String,
    text: String,
    /// Its documents; `None` when it is not sound as a whole.
    whole: Option<Vec<Document>>,
    /// Its parts, each read by itself, when it is not sound as a whole or has something in it that is not sent as it is.
    parts: Vec<(Part, ParseResult)>,
}

impl File {
    fn new(name: &str, text: String) -> Self {
        let (documents, problems) = parse(name, &text);
        let read = |part: Part| {
            let parsed = tamis_resources::read(name, &part.text);
            (part, parsed)
        };
        let parts = parts(&text).into_iter().map(read).collect();
        Self { name: name.to_owned(), whole: problems.is_empty().then_some(documents), text, parts }
    }

    /// Whether a part of it cannot be read as documents.
    fn is_lost(&self) -> bool {
        self.whole.is_none() && self.parts.iter().any(|(_, parsed)| parsed.lost)
    }

    fn documents(&self) -> impl Iterator<Item = &Document> {
        let parts = self.parts.iter().filter(|_| self.whole.is_none());
        let parts = parts.flat_map(|(_, parsed)| &parsed.documents);
        let all = self.whole.iter().flatten().chain(parts);
        all.filter(|one| !matches!(one.resource, Resource::FiltersLock(_)) && !one.is_stub())
    }
}

/// Every file, once for each document of that name in it.
struct DocumentNames(BTreeMap<String, Vec<String>>);

/// What is done with a document that can be used.
#[derive(Debug, PartialEq, Eq)]
enum DocumentUse {
    /// It is sent.
    Sent,
    /// Another document has its name: the document of that file is in force, or neither if it is unknown which one is.
    Double { first: String, stays: bool },
}

impl DocumentNames {
    fn of(files: &[File]) -> Self {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in files {
            for document in file.documents() {
                names.entry(key(document)).or_default().push(file.name.clone());
            }
        }
        Self(names)
    }

    /// Of documents with one name the one in force stays, wherever the others stand; when none is, none counts.
    fn fate(&self, key: &str, file: &str, known: &DocumentSources) -> DocumentUse {
        let all = self.0.get(key).map(Vec::as_slice).unwrap_or_default();
        let stays = known.get(key);
        let in_it = |file: &String| all.iter().filter(|one| *one == file).count();
        match stays {
            _ if all.len() < 2 => DocumentUse::Sent,
            Some(stays) if stays == file && in_it(stays) == 1 => DocumentUse::Sent,
            Some(stays) => DocumentUse::Double { first: stays.clone(), stays: true },
            None => {
                let other = all.iter().find(|one| *one != file).or(all.first());
                DocumentUse::Double { first: other.cloned().unwrap_or_default(), stays: false }
            }
        }
    }
}

/// Decides what is sent of the files of a folder.
struct Sender<'a> {
    names: DocumentNames,
    known: &'a DocumentSources,
    texts: &'a DocumentTexts,
    /// What cannot be read of the folder, in words; empty if all can be.
    unread: String,
}

impl Sender<'_> {
    fn file(&self, gathered: &mut FolderDocuments, file: &File) {
        let plain = |one: &Document| {
            !matches!(one.resource, Resource::FiltersLock(_))
                && !one.is_stub()
                && self.names.fate(&key(one), &file.name, self.known) == DocumentUse::Sent
                && !self.waits(one)
        };
        if let Some(documents) = file.whole.as_ref().filter(|all| all.iter().all(plain)) {
            gathered.documents.extend(documents.iter().cloned());
            let (source, text) = (file.name.clone(), file.text.clone());
            gathered.sources.push(SourceText { source, text });
            return;
        }
        let before = gathered.documents.len() + gathered.stand_ins.len();
        let parts = file.parts.iter();
        let text: String =
            parts.map(|(part, parsed)| self.part(gathered, &file.name, part, parsed)).collect();
        if gathered.documents.len() + gathered.stand_ins.len() > before {
            gathered.sources.push(SourceText { source: file.name.clone(), text });
        }
    }

    /// A part of a file as it is sent: itself, what stands in for it, or as many blank lines.
    fn part(
        &self,
        gathered: &mut FolderDocuments,
        name: &str,
        part: &Part,
        parsed: &ParseResult,
    ) -> String {
        if let Some(problem) = parsed.problems.first() {
            // The problem was reported already, unless the file was sound a moment ago, or only the whole of it is sound.
            if gathered.broken.insert(name.to_owned()) {
                let message = &problem.message;
                let line = part.line + problem.place.line.saturating_sub(1);
                gathered.wrongs.push(FolderProblem::new(format!("{name}:{line}: {message}")));
            }
        }
        match (parsed.documents.as_slice(), parsed.stubs.as_slice()) {
            // The part has only comments, or nothing that could be replaced.
            ([], []) if parsed.problems.is_empty() => part.text.clone(),
            ([], []) => part.blank(),
            ([one], []) if parsed.problems.is_empty() => self.document(gathered, name, part, one),
            ([], [stub]) => self.stand_in(gathered, part, stub.clone()),
            (documents, stubs) => {
                // The parser found the end of a document where no line marks it, so each document gets a text of its own.
                let own = |one: &Document| Part {
                    line: part.line,
                    text: format!("---\n{}\n", one.text()),
                };
                let sent =
                    documents.iter().map(|one| self.document(gathered, name, &own(one), one));
                let mut text: String = sent.collect();
                let stubs = stubs
                    .iter()
                    .map(|one| self.stand_in(gathered, &Part::dashes(part.line), one.clone()));
                text.extend(stubs);
                text
            }
        }
    }

    /// A document that can be used, as it is sent.
    fn document(
        &self,
        gathered: &mut FolderDocuments,
        name: &str,
        part: &Part,
        document: &Document,
    ) -> String {
        if matches!(document.resource, Resource::FiltersLock(_)) {
            gathered.locks.push(document.clone());
            return part.blank();
        }
        if document.is_stub() {
            return self.stand_in(gathered, part, document.clone());
        }
        let key = key(document);
        match self.names.fate(&key, name, self.known) {
            DocumentUse::Sent if self.waits(document) => {
                let (line, unread) = (part.line, &self.unread);
                gathered.wrongs.push(FolderProblem::new(format!(
                    "{name}:{line}: {key} waits until {unread} can be read, which may hold its guard"
                )));
                gathered.held.insert(key);
                part.blank()
            }
            DocumentUse::Sent => {
                gathered.documents.push(document.clone());
                part.text.clone()
            }
            DocumentUse::Double { first, stays } => {
                let line = part.line;
                let then = if stays {
                    format!("the one of {first} stays in force")
                } else {
                    format!("the other is in {first}, and neither counts")
                };
                gathered.broken.insert(name.to_owned());
                gathered.wrongs.push(FolderProblem::new(format!(
                    "{name}:{line}: {key} exists twice; {then}; keep one of them"
                )));
                gathered.held.insert(key.clone());
                if document.kind() != "FilterAttachment" {
                    return part.blank();
                }
                let at = gathered.stand_ins.len();
                let other = format!("{}-twice-{at}", document.metadata.name);
                let why = format!("{key} is there twice");
                self.stand_in(gathered, part, document.clone().named(other).refused(why))
            }
        }
    }

    /// Whether a document may open more than its version in force, while a guard may be in what cannot be read.
    fn waits(&self, document: &Document) -> bool {
        if self.unread.is_empty() {
            return false;
        }
        let text = self.texts.get(&key(document));
        let before = text.and_then(|text| parse(&document.source, text).0.pop());
        document.opens_more(before.as_ref())
    }

    /// The text sent in place of a document that cannot be used; its version in force stays.
    fn stand_in(&self, gathered: &mut FolderDocuments, part: &Part, stub: Document) -> String {
        let own = key(&stub);
        if self.names.0.contains_key(&own) || self.known.contains_key(&own) {
            gathered.held.insert(own);
            return part.blank();
        }
        // Two documents that cannot be read have no names by which they differ.
        let there = |all: &[Document], own: &str| all.iter().any(|one| key(one) == own);
        let stub = if there(&gathered.stand_ins, &own) {
            let at = gathered.stand_ins.len();
            let other = format!("{}-{at}", stub.metadata.name);
            stub.named(other)
        } else {
            stub
        };
        let text = stub.stand_in().filter(|_| !there(&gathered.stand_ins, &key(&stub)));
        let Some(text) = text else { return part.blank() };
        gathered.stand_ins.push(stub);
        part.with(&text)
    }
}

/// `Kind/namespace/name`, the key of a document in a registry.
pub(crate) fn key(document: &Document) -> String {
    format!("{}/{}", document.kind(), document.key())
}

/// The text of one document, with the line that begins it.
struct Part {
    /// Number of the document's first line in its file, from 1.
    line: usize,
    text: String,
}

impl Part {
    /// A part that is nothing but the line that begins it.
    fn dashes(line: usize) -> Self {
        Self { line, text: "---\n".to_owned() }
    }

    /// The same number of empty lines, so that places in later documents stay right.
    fn blank(&self) -> String {
        self.with("")
    }

    /// The same with one line of YAML at its beginning.
    fn with(&self, yaml: &str) -> String {
        let lines = lines(&self.text).enumerate();
        let line = |(index, line)| match index {
            0 if ends_document(line) => format!("--- {yaml}\n"),
            0 => format!("{yaml}\n"),
            _ => "\n".to_owned(),
        };
        lines.map(line).collect()
    }
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = vec![Part { line: 1, text: String::new() }];
    for (index, line) in lines(text).enumerate() {
        if ends_document(line) {
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
