//! From text to documents.

mod recover;

use std::collections::BTreeMap;
use std::sync::Arc;

use recover::Recovery;

use crate::addresses;
use crate::check::{Checker, suggestion};
use crate::kinds::{self, KindSchema, LOCK, PathMatchType, Resource, call_path};
use crate::metadata::{Metadata, default_namespace};
use crate::problem::{Problem, SourcePlace};
use crate::secrets;
use crate::source::SourceText;
use crate::span::TextSpan;
use crate::tree::{self, Value, YamlNode};

const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A checked document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Name of the source it came from.
    pub source: String,
    /// Its name and namespace.
    pub metadata: Metadata,
    /// Its content.
    pub resource: Resource,
    /// Since when it is in force, as counted by whoever stores documents (lower is longer); [`NEW`] when it
    /// is not known to be in force. When documents contradict each other, the one longest in force stays;
    /// an author's own date never decides.
    pub since: u64,
    /// Since when it asks for each of its [`Document::paths`], in the same count; one that lacks is as old as the document.
    /// Nobody takes requests of others by an edit of what is in force for long.
    pub paths_since: BTreeMap<String, u64>,
    pub(crate) stub: Option<UnusableDocument>,
    text: SourceText,
    tree: Arc<YamlNode>,
    /// Lines of its source before `text`.
    lines_before: usize,
}

/// [`Document::since`] of a document that is not known to be in force.
pub const NEW: u64 = u64::MAX;

/// Replaces a document that cannot be used, so that what it should guard stays closed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnusableDocument {
    /// Why the document cannot be used, in words.
    pub(crate) why: String,
    /// What it affects beyond the targets that can be read.
    pub(crate) reach: UnusableReach,
}

/// The scope of a document whose targets cannot all be read, from the narrowest to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum UnusableReach {
    /// Only the targets in it.
    Targets,
    /// Everything in its namespace.
    Namespace,
    /// Everything: its namespace cannot be read, or one of its targets may be the Mesh.
    Everything,
}

/// The result of reading a text.
#[derive(Debug, Clone, Default)]
pub struct ParseResult {
    /// Documents that can be used.
    pub documents: Vec<Document>,
    /// The problems of all other documents.
    pub problems: Vec<Problem>,
    /// Replacements for documents that cannot be used and would leave something open if they were ignored:
    /// attachments and routes. [`fold`](crate::fold()) refuses what they should guard and responds 500 for
    /// what they should route. Use one only where no valid version of the document is known.
    pub stubs: Vec<Document>,
    /// A part could not be read at all, so its content is unknown: a YAML syntax error, something that is no document
    /// of a known kind, or an invalid trust policy, grant or lock, which a wider one would otherwise replace, or TLS policy of backends.
    pub lost: bool,
    /// The kind and the namespace of other documents that cannot be used: without them, only their owner lacks something.
    pub unusable: Vec<(&'static str, String)>,
    /// All documents with a problem of which kind and name can be read, each in the form of `Problem::lacks`: that others
    /// do not find them is a consequence and no mistake of its own.
    pub faulty: Vec<String>,
}

impl Document {
    /// Name of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.resource.kind()
    }

    /// `namespace/name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// Whether this is its `namespace/name`.
    #[must_use]
    pub(crate) fn has_key(&self, key: &str) -> bool {
        let Metadata { name, namespace, .. } = &self.metadata;
        let rest = key.strip_prefix(namespace.as_str()).and_then(|rest| rest.strip_prefix('/'));
        rest == Some(name)
    }

    /// The document as part of a longer source with that many lines before it: places count from the first
    /// line of the source.
    #[must_use]
    pub fn after_lines(self, lines_before: usize) -> Self {
        Self { lines_before, ..self }
    }

    /// Its own text, without what comes before and after it in its source.
    #[must_use]
    pub fn text(&self) -> &str {
        let TextSpan { start, end } = self.tree.span;
        let before = self.text.get(..start).unwrap_or_default();
        let line = before.rfind(['\n', '\r']).map_or(0, |at| at.saturating_add(1));
        // An indented document keeps its first indentation, which is part of its meaning.
        let blank = before.get(line..).is_some_and(|text| text.chars().all(char::is_whitespace));
        self.text.get(if blank { line } else { start }..end).unwrap_or_default()
    }

    /// Line of its source at which the document begins, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.place("", "").line
    }

    /// Whether both have the same content, wherever they are written.
    #[must_use]
    pub fn has_same_content(&self, other: &Self) -> bool {
        self.kind() == other.kind()
            && self.metadata == other.metadata
            && self.resource == other.resource
    }

    /// Whether it replaces a document that cannot be used.
    #[must_use]
    pub fn is_stub(&self) -> bool {
        self.stub.is_some()
    }

    /// It, written as a document in one line that a registry can be sent, if it [stands in](Self::is_stub) for one that
    /// cannot be used and can be written so. [`read`] makes the same of it.
    #[must_use]
    pub fn stand_in(&self) -> Option<String> {
        recover::written(self)
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { metadata: Metadata { name, ..self.metadata }, ..self }
    }

    /// Marks the document as refused: it is not in force, and its targets stay closed.
    #[must_use]
    pub fn refused(self, why: impl Into<String>) -> Self {
        Self {
            stub: Some(UnusableDocument { why: why.into(), reach: UnusableReach::Targets }),
            ..self
        }
    }

    /// The place of the deepest existing part of `pointer`.
    #[must_use]
    pub fn place(&self, pointer: &str, label: &str) -> SourcePlace {
        let place = SourcePlace::new(&self.source, &self.text, self.tree.place(pointer), label);
        SourcePlace { line: place.line.saturating_add(self.lines_before), ..place }
    }

    /// The paths that a route asks for, each with the parents and hosts that it asks there for.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let mut asked: Vec<(PathMatchType, String)> = Vec::new();
        match &self.resource {
            Resource::HTTPRoute(spec) => {
                for rule in &spec.rules {
                    let everything = rule.matches.is_empty().then_some(None);
                    let matches = rule.matches.iter().map(|one| one.path.as_ref());
                    for path in matches.chain(everything) {
                        let kind = path.and_then(|it| it.kind).unwrap_or(PathMatchType::PathPrefix);
                        let value = path.and_then(|it| it.value.as_deref()).unwrap_or("/");
                        asked.push((kind, value.to_owned()));
                    }
                }
            }
            Resource::GRPCRoute(spec) => {
                for rule in &spec.rules {
                    let everything = rule.matches.is_empty().then_some(None);
                    let matches = rule.matches.iter().map(|one| one.method.as_ref());
                    asked.extend(matches.chain(everything).map(call_path));
                }
            }
            _ => {}
        }
        asked.iter().filter_map(|(kind, value)| self.path_key(*kind, value)).collect()
    }

    /// Since when this document has had a match for this path.
    pub(crate) fn path_since(&self, kind: PathMatchType, value: &str) -> u64 {
        let key = self.path_key(kind, value);
        let since = key.and_then(|key| self.paths_since.get(&key));
        since.copied().unwrap_or(self.since)
    }

    /// One text for a path that a route asks its parents for at its hosts; `None`: it is no route. With other
    /// parents or hosts it asks for something else.
    fn path_key(&self, kind: PathMatchType, value: &str) -> Option<String> {
        let (parents, hosts) = match &self.resource {
            Resource::HTTPRoute(spec) => (&spec.parent_refs, &spec.hostnames),
            Resource::GRPCRoute(spec) => (&spec.parent_refs, &spec.hostnames),
            _ => return None,
        };
        Some(serde_json::json!([parents, hosts, kind, value]).to_string())
    }

    /// The document's content, without places.
    pub(crate) fn json(&self) -> serde_json::Value {
        self.tree.to_json()
    }

    /// A problem of this document.
    #[must_use]
    pub fn problem(&self, code: &str, pointer: &str, message: impl Into<String>) -> Problem {
        let span = self.tree.place(pointer);
        let mut problem = Problem::new(code, &self.source, &self.text, span, message);
        problem.place.line = problem.place.line.saturating_add(self.lines_before);
        problem.of = Some(format!("{}/{}", self.kind(), self.key()));
        problem
    }
}

/// Reads all documents of a text. `source_name` is its name in problems.
///
/// At most 4 MiB, 10,000 documents and 64 levels. A document with a problem is left out, the others are
/// kept; after a YAML syntax error the rest of the text is lost.
#[must_use]
pub fn parse(source_name: &str, text: &str) -> (Vec<Document>, Vec<Problem>) {
    let ParseResult { documents, problems, .. } = read(source_name, text);
    (documents, problems)
}

/// As [`parse`], also with replacements for documents that cannot be used.
#[must_use]
pub fn read(source_name: &str, text: &str) -> ParseResult {
    if text.len() > MAX_BYTES {
        let (empty, span) = (SourceText::from(""), TextSpan::default());
        let message = format!("{source_name} is larger than {MAX_BYTES} bytes; split it");
        let problems = vec![Problem::new("yaml.size", source_name, &empty, span, message)];
        return ParseResult { problems, lost: true, ..ParseResult::default() };
    }
    let text = SourceText::from(text);
    if let Some(at) = text.find('\0') {
        // YAML has no such character (1.2.2 §5.1): a parser may take it for the end.
        let span = TextSpan { start: at, end: at.saturating_add(1) };
        let message = format!("{source_name} is not text: it contains a NUL character");
        let problems = vec![Problem::new("yaml.character", source_name, &text, span, message)];
        return ParseResult { problems, lost: true, ..ParseResult::default() };
    }
    let (trees, problems) = tree::read(source_name, &text);
    // A YAML syntax error loses a document of which nothing is known.
    let mut parsed = ParseResult { lost: !problems.is_empty(), ..ParseResult::default() };
    let mut checker = Checker::new(source_name, &text, problems);
    for tree in trees {
        let before = checker.faults();
        let tree = Arc::new(tree);
        match document(&mut checker, &tree) {
            Some(found) => parsed.documents.push(found),
            None => {
                parsed.faulty.extend(recover::identities(&tree));
                let why = checker.after(before).map_or("", |one| one.message.as_str());
                match recover::stub(&tree, why) {
                    Recovery::Lost => parsed.lost = true,
                    Recovery::Nothing => parsed.unusable.extend(recover::named(&tree)),
                    Recovery::Stub(metadata, resource, stub) => parsed.stubs.push(Document {
                        source: source_name.to_owned(),
                        metadata: *metadata,
                        resource: *resource,
                        since: NEW,
                        paths_since: BTreeMap::new(),
                        stub: Some(stub),
                        text: text.clone(),
                        tree,
                        lines_before: 0,
                    }),
                }
            }
        }
    }
    parsed.problems = checker.into_problems();
    parsed
}

fn document(checker: &mut Checker<'_>, tree: &Arc<YamlNode>) -> Option<Document> {
    let kind = kind_of(checker, tree)?;
    let before = checker.faults();
    checker.check(tree, &kind.schema, "");
    if checker.faults() > before {
        return None;
    }
    let mut json = tree.to_json();
    let (metadata, spec) = if kind.kind == LOCK {
        let filters = json.get_mut("filters").map(serde_json::Value::take).unwrap_or_default();
        let name = "filters.lock";
        let metadata = serde_json::json!({ "name": name, "namespace": default_namespace() });
        (metadata, serde_json::json!({ "filters": filters }))
    } else {
        let mut take = |name| json.get_mut(name).map(serde_json::Value::take).unwrap_or_default();
        (take("metadata"), take("spec"))
    };
    let read = serde_json::from_value(metadata)
        .map_err(|error| error.to_string())
        .and_then(|metadata| Ok((metadata, Resource::read(kind.kind, spec)?)));
    match read {
        Ok((_, resource)) if wrong(checker, tree, &resource) => None,
        Ok((metadata, resource)) => Some(Document {
            source: checker.source.to_owned(),
            stub: recover::annotated(&metadata, &resource),
            metadata,
            resource,
            since: NEW,
            paths_since: BTreeMap::new(),
            text: checker.text.clone(),
            tree: Arc::clone(tree),
            lines_before: 0,
        }),
        Err(error) => {
            checker.problem("document.shape", tree.span, format!("{}: {error}", kind.kind));
            None
        }
    }
}

/// Reports what is wrong with a document beyond its schema; returns whether there was anything.
fn wrong(checker: &mut Checker<'_>, tree: &YamlNode, resource: &Resource) -> bool {
    let before = checker.faults();
    for (pointer, secret) in secrets::written(tree) {
        let message = format!("a document, which many can read, contains {}", secret.name());
        let problem = checker.problem("document.secret", tree.place(&pointer), message);
        problem.help = Some(secret.way_out().to_owned());
    }
    for (pointer, text) in addresses::reserved(resource) {
        let message = format!("`{text}` is not the address of a machine");
        let problem = checker.problem("document.virtual-address", tree.place(&pointer), message);
        problem.help = Some(addresses::WAY_OUT.to_owned());
    }
    let hidden = checker.faults() > before;
    let Resource::Rollout(spec) = resource else { return hidden };
    let wrong = spec.wrong();
    for (pointer, message, help) in &wrong {
        let problem = checker.problem("rollout.invalid", tree.place(pointer), message.clone());
        problem.help = Some((*help).to_owned());
    }
    hidden || !wrong.is_empty()
}

/// The kind that a document names; reports problems if there is none.
fn kind_of(checker: &mut Checker<'_>, tree: &YamlNode) -> Option<&'static KindSchema> {
    let apart = "write each document for itself, with a line `---` before it";
    let only = "a folder of documents has no others: move it elsewhere, or remove it";
    let names: Vec<&str> = kinds::all().iter().map(|one| one.kind).collect();
    let Value::Map(entries) = &tree.value else {
        let message = "a document is a map with `apiVersion`, `kind` and what its kind has";
        let help = if matches!(tree.value, Value::List(_)) { apart } else { only };
        checker.problem("document.kind", tree.span, message.to_owned()).help =
            Some(help.to_owned());
        return None;
    };
    let is_list = entries.iter().any(|entry| entry.key == "items");
    let Some(name) = tree.text("kind") else {
        let message = "the document lacks `kind`, the name of its kind as text";
        let help = if is_list { apart } else { only };
        checker.problem("document.kind", tree.span, message.to_owned()).help =
            Some(help.to_owned());
        return None;
    };
    let Some(kind) = kinds::all().iter().find(|one| one.kind == name) else {
        let span = tree.place("/kind");
        let help = match suggestion(name, &names) {
            _ if is_list => apart.to_owned(),
            Some(help) => help,
            None => format!("the kinds are {}; {only}", names.join(", ")),
        };
        checker.problem("document.kind", span, format!("there is no kind `{name}`")).help =
            Some(help);
        return None;
    };
    if tree.text("apiVersion") != Some(kind.api) {
        let span = tree.place("/apiVersion");
        let message = format!("the apiVersion of {name} is `{}`", kind.api);
        checker.problem("document.version", span, message);
        return None;
    }
    Some(kind)
}
