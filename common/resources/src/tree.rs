//! Parses YAML to a tree in which every value knows its place.
//!
//! Anchors, aliases, tags and duplicate keys are refused, and nesting beyond 64 levels.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::problem::{MAX_PROBLEMS, Problem};
use crate::source::SourceText;
use crate::span::TextSpan;

const MAX_DEPTH: usize = 64;
const MAX_DOCUMENTS: usize = 10_000;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct YamlNode {
    /// Where it is written.
    pub span: TextSpan,
    /// The value.
    pub value: Value,
}

/// A YAML value (core schema).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<YamlNode>),
    /// Keys in their order; each once.
    Map(Vec<YamlEntry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct YamlEntry {
    /// The key.
    pub key: String,
    /// Where the key is.
    pub span: TextSpan,
    /// Its value.
    pub value: YamlNode,
}

impl YamlNode {
    /// The entry of that key; `None` also when this is not a map.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&YamlEntry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The text under that key.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.value.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The span of the deepest existing part of `pointer` (`/spec/rules/0`, no escapes).
    #[must_use]
    pub fn place(&self, pointer: &str) -> TextSpan {
        let mut node = self;
        let mut span = self.span;
        for step in pointer.split('/').skip(1) {
            let next = match &node.value {
                Value::List(items) => step.parse().ok().and_then(|at: usize| items.get(at)),
                _ => node.entry(step).map(|entry| &entry.value),
            };
            let Some(next) = next else { break };
            span = match &next.value {
                Value::List(_) | Value::Map(_) => {
                    node.entry(step).map_or(next.span, |entry| entry.span)
                }
                _ => next.span,
            };
            node = next;
        }
        span
    }

    /// The same value, without the places in the text.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
            }
        }
    }
}

/// Reads all documents; those with problems are left out. Empty documents are skipped.
pub(crate) fn read(source: &str, text: &SourceText) -> (Vec<YamlNode>, Vec<Problem>) {
    let mut reader = Reader {
        source,
        text,
        offsets: (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect()),
        open: Vec::new(),
        root: None,
        documents: Vec::new(),
        problems: Vec::new(),
        sound: true,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        match next {
            Ok((event, span)) => {
                let span = reader.span(span.start.index(), span.end.index());
                if !reader.take(event, span) {
                    break;
                }
            }
            Err(error) => {
                let at = error.marker().index();
                let span = reader.span(at, at.saturating_add(1));
                reader.problem("yaml.syntax", span, format!("not YAML: {}", error.info()));
                break;
            }
        }
    }
    (reader.documents, reader.problems)
}

/// A collection whose end has not been read yet.
enum Open {
    List {
        start: usize,
        items: Vec<YamlNode>,
    },
    Map {
        start: usize,
        entries: Vec<YamlEntry>,
        keys: HashSet<String>,
        key: Option<(String, TextSpan)>,
    },
}

struct Reader<'a> {
    source: &'a str,
    text: &'a SourceText,
    /// Byte offset of each character; `None` when all characters are single bytes.
    offsets: Option<Vec<usize>>,
    open: Vec<Open>,
    root: Option<YamlNode>,
    documents: Vec<YamlNode>,
    problems: Vec<Problem>,
    /// Whether the current document has no problem so far.
    sound: bool,
}

impl Reader<'_> {
    fn span(&self, start: usize, end: usize) -> TextSpan {
        let byte = |at: usize| match &self.offsets {
            Some(offsets) => offsets.get(at).copied().unwrap_or(self.text.len()),
            None => at.min(self.text.len()),
        };
        TextSpan { start: byte(start), end: byte(end) }
    }

    fn problem(&mut self, code: &str, span: TextSpan, message: impl Into<String>) {
        self.sound = false;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem::new(code, self.source, self.text, span, message));
        }
    }

    /// Processes one event; `false` when reading cannot continue.
    fn take(&mut self, event: Event<'_>, span: TextSpan) -> bool {
        match event {
            Event::DocumentStart(_) => {
                (self.sound, self.root) = (true, None);
                self.open.clear();
            }
            Event::DocumentEnd => return self.end_document(span),
            Event::Alias(_) => {
                self.problem("yaml.alias", span, "aliases are refused; write the value out");
                self.finish(YamlNode { span, value: Value::Null });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.plain_only(anchor, tag.is_some(), span);
                let value = match style {
                    ScalarStyle::Plain => scalar(&text),
                    _ => Value::Text(text.clone().into_owned()),
                };
                if let Some(Open::Map { key: key @ None, .. }) = self.open.last_mut() {
                    *key = Some((text.into_owned(), span));
                    return self.new_key(span);
                }
                self.finish(YamlNode { span, value });
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain_only(anchor, tag.is_some(), span);
                return self.deeper(Open::List { start: span.start, items: Vec::new() }, span);
            }
            Event::MappingStart(anchor, tag) => {
                self.plain_only(anchor, tag.is_some(), span);
                let (entries, keys) = (Vec::new(), HashSet::new());
                return self
                    .deeper(Open::Map { start: span.start, entries, keys, key: None }, span);
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { start, items }) => {
                    let span = TextSpan { start, end: span.end.max(start) };
                    self.finish(YamlNode { span, value: Value::List(items) });
                }
                Some(Open::Map { start, entries, .. }) => {
                    let span = TextSpan { start, end: span.end.max(start) };
                    self.finish(YamlNode { span, value: Value::Map(entries) });
                }
                None => {}
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
        }
        true
    }

    fn plain_only(&mut self, anchor: usize, tagged: bool, span: TextSpan) {
        if anchor != 0 {
            self.problem("yaml.anchor", span, "anchors are refused; write the value out");
        }
        if tagged {
            self.problem("yaml.tag", span, "tags are refused; write the plain value");
        }
    }

    fn deeper(&mut self, open: Open, span: TextSpan) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.problem("yaml.depth", span, format!("nested deeper than {MAX_DEPTH}"));
            return false;
        }
        self.open.push(open);
        true
    }

    fn new_key(&mut self, span: TextSpan) -> bool {
        let fresh = match self.open.last_mut() {
            Some(Open::Map { keys, key: Some((key, _)), .. }) => keys.insert(key.clone()),
            _ => true,
        };
        if !fresh {
            self.problem("yaml.duplicate-key", span, "this key exists already; keep one");
        }
        true
    }

    /// Puts a finished value in its place.
    fn finish(&mut self, node: YamlNode) {
        let mut bad_key = None;
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some((name, span)) => entries.push(YamlEntry { key: name, span, value: node }),
                None => {
                    bad_key = Some(node.span);
                    *key = Some((String::new(), node.span));
                }
            },
        }
        if let Some(span) = bad_key {
            self.problem("yaml.key", span, "a key must be plain text");
        }
    }

    fn end_document(&mut self, span: TextSpan) -> bool {
        let root = self.root.take();
        if let Some(root) = root.filter(|root| self.sound && root.value != Value::Null) {
            if self.documents.len() >= MAX_DOCUMENTS {
                self.problem(
                    "yaml.documents",
                    span,
                    format!("more than {MAX_DOCUMENTS} documents"),
                );
                return false;
            }
            self.documents.push(root);
        }
        true
    }
}

/// What a plain scalar means in the core schema of YAML 1.2.
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = text.parse()
    {
        return Value::Int(number);
    }
    let numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
    match text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => Value::Float(number),
        _ => Value::Text(text.to_owned()),
    }
}
