//! Texts to documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{Checker, suggestion};
use crate::kinds::{self, KindSchema, LOCK, Resource};
use crate::problem::{Place, Problem};
use crate::tree::{self, Node, Span};

const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A checked document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Name of the source it came from.
    pub source: String,
    /// Its name and namespace.
    pub metadata: Metadata,
    /// What it says.
    pub resource: Resource,
    text: Arc<str>,
    tree: Arc<Node>,
    /// Lines of its source before `text`.
    lines_before: usize,
}

/// `metadata` of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metadata {
    /// Unique within kind and namespace.
    #[schemars(extend("format" = "resource-name"))]
    pub name: String,
    /// `default` when not said.
    #[serde(default = "default_namespace")]
    #[schemars(extend("format" = "resource-name"))]
    pub namespace: String,
    /// For people and tools.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For people and tools.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339 in UTC; the older route wins a tie, one without comes last.
    pub creation_timestamp: Option<String>,
}

fn default_namespace() -> String {
    "default".to_owned()
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

    /// The document as a part of a longer source that has so many lines before it: places count from the first line of the
    /// source.
    #[must_use]
    pub fn after_lines(self, lines_before: usize) -> Self {
        Self { lines_before, ..self }
    }

    /// Line of its source that the document begins with, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.place("", "").line
    }

    /// The place of the deepest part of `pointer` that is written.
    #[must_use]
    pub fn place(&self, pointer: &str, label: &str) -> Place {
        let place = Place::new(&self.source, &self.text, self.tree.place(pointer), label);
        Place { line: place.line.saturating_add(self.lines_before), ..place }
    }

    /// A problem of this document.
    pub(crate) fn problem(&self, code: &str, pointer: &str, message: impl Into<String>) -> Problem {
        let span = self.tree.place(pointer);
        let mut problem = Problem::new(code, &self.source, &self.text, span, message);
        problem.place.line = problem.place.line.saturating_add(self.lines_before);
        problem
    }
}

/// Reads all documents of a text. `source_name` is what problems call it.
///
/// At most 4 MiB, 10,000 documents and 64 levels. A document with a problem is left out, the others stay; after an
/// error of YAML itself the rest of the text is lost.
#[must_use]
pub fn parse(source_name: &str, text: &str) -> (Vec<Document>, Vec<Problem>) {
    if text.len() > MAX_BYTES {
        let (empty, span) = (Arc::from(""), Span::default());
        let message = format!("{source_name} is larger than {MAX_BYTES} bytes; split it");
        return (vec![], vec![Problem::new("yaml.size", source_name, &empty, span, message)]);
    }
    let text: Arc<str> = Arc::from(text);
    let (trees, problems) = tree::read(source_name, &text);
    let mut checker = Checker { source: source_name, text: &text, problems };
    let documents = trees.into_iter().filter_map(|tree| document(&mut checker, tree)).collect();
    (documents, checker.problems)
}

fn document(checker: &mut Checker<'_>, tree: Node) -> Option<Document> {
    let kind = kind_of(checker, &tree)?;
    let before = checker.problems.len();
    checker.check(&tree, &kind.schema, "");
    if checker.problems.len() > before {
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
        Ok((_, resource)) if wrong(checker, &tree, &resource) => None,
        Ok((metadata, resource)) => Some(Document {
            source: checker.source.to_owned(),
            metadata,
            resource,
            text: Arc::clone(checker.text),
            tree: Arc::new(tree),
            lines_before: 0,
        }),
        Err(error) => {
            checker.problem("document.shape", tree.span, format!("{}: {error}", kind.kind));
            None
        }
    }
}

/// Notes what is wrong with a document beyond its schema; whether there was anything.
fn wrong(checker: &mut Checker<'_>, tree: &Node, resource: &Resource) -> bool {
    let Resource::Rollout(spec) = resource else { return false };
    let wrong = spec.wrong();
    for (pointer, message, help) in &wrong {
        let problem = checker.problem("rollout.invalid", tree.place(pointer), message.clone());
        problem.help = Some((*help).to_owned());
    }
    !wrong.is_empty()
}

/// The kind a document says it is of; problems otherwise.
fn kind_of(checker: &mut Checker<'_>, tree: &Node) -> Option<&'static KindSchema> {
    let Some(name) = tree.text("kind") else {
        checker.problem("document.kind", tree.span, "the document lacks `kind`".to_owned());
        return None;
    };
    let names: Vec<&str> = kinds::all().iter().map(|one| one.kind).collect();
    let Some(kind) = kinds::all().iter().find(|one| one.kind == name) else {
        let span = tree.place("/kind");
        let help = suggestion(name, &names)
            .unwrap_or_else(|| format!("the kinds are {}", names.join(", ")));
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
