//! Checks a YAML tree against a JSON Schema, and reports all errors at once, each with its place.
//!
//! Implements the part of JSON Schema that the schemas of this crate's kinds use.

use serde_json::Value as Json;

use crate::format;
use crate::problem::{MAX_PROBLEMS, Problem};
use crate::source::SourceText;
use crate::span::TextSpan;
use crate::tree::{Value, YamlEntry, YamlNode};

/// The state of a check.
pub(crate) struct Checker<'a> {
    /// Name of the source.
    pub(crate) source: &'a str,
    /// Its text.
    pub(crate) text: &'a SourceText,
    /// The first [`MAX_PROBLEMS`] that were found.
    problems: Vec<Problem>,
    /// Number of all that were found.
    faults: usize,
    /// The latest that is not kept.
    beyond: Option<Problem>,
}

impl<'a> Checker<'a> {
    /// A check of a source, of which these problems are known already.
    pub(crate) fn new(source: &'a str, text: &'a SourceText, problems: Vec<Problem>) -> Self {
        Self { source, text, faults: problems.len(), problems, beyond: None }
    }
}

impl Checker<'_> {
    pub(crate) fn problem(&mut self, code: &str, span: TextSpan, message: String) -> &mut Problem {
        self.faults = self.faults.saturating_add(1);
        if self.problems.len() >= MAX_PROBLEMS {
            let unplaced = TextSpan::default();
            return self.beyond.insert(Problem::new(
                code,
                self.source,
                self.text,
                unplaced,
                message,
            ));
        }
        self.problems.push(Problem::new(code, self.source, self.text, span, message));
        let last = self.problems.len().saturating_sub(1);
        #[expect(clippy::indexing_slicing, reason = "it was pushed one line above")]
        &mut self.problems[last]
    }

    /// Number of all problems that were found, the ones that are not kept included.
    pub(crate) fn faults(&self) -> usize {
        self.faults
    }

    /// The first problem after that many.
    pub(crate) fn after(&self, faults: usize) -> Option<&Problem> {
        self.problems.get(faults)
    }

    /// What was found.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Checks `node`, which is at `path` (in notation for people: `spec.ports[0]`).
    pub(crate) fn check(&mut self, node: &YamlNode, schema: &Json, path: &str) {
        if let Some(alternatives) = list(schema, "oneOf").or_else(|| list(schema, "anyOf")) {
            return self.alternatives(node, alternatives, path);
        }
        let types = types(schema);
        if !types.is_empty() && !types.iter().any(|name| is(node, name)) {
            let format = schema.get("format").and_then(Json::as_str).unwrap_or_default();
            let message =
                format!("{path} must be {}, found {}", or(&expected(&types, format)), found(node));
            let quote = types.contains(&"string")
                && matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_));
            let number = match &node.value {
                Value::Int(number) => Some(number.to_string()),
                Value::Float(number) => Some(number.to_string()),
                _ => None,
            };
            let problem = self.problem("field.type", node.span, message);
            problem.help = match (number, format::unit(format)) {
                // With quotes it would still be wrong: the unit is missing.
                (Some(number), Some(unit)) => {
                    Some(format!("write it with its unit, like {number}s or {number}{unit}"))
                }
                _ if quote => Some("put it in quotes".to_owned()),
                _ => example(node, schema, path),
            };
            return;
        }
        let allowed = choices(schema);
        if !allowed.is_empty() {
            return self.choice(node, &allowed, path);
        }
        match &node.value {
            Value::Text(text) => self.text(node, text, schema, path),
            Value::Int(number) => {
                #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^53")]
                self.number(node, *number as f64, schema, path);
            }
            Value::Float(number) => self.number(node, *number, schema, path),
            Value::List(items) => self.list(node, items, schema, path),
            Value::Map(entries) => self.map(node, entries, schema, path),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn alternatives(&mut self, node: &YamlNode, alternatives: &[Json], path: &str) {
        let allowed: Vec<&str> = alternatives.iter().flat_map(choices).collect();
        let may_be_null = alternatives.iter().any(|one| types(one).contains(&"null"));
        if may_be_null && node.value == Value::Null {
            return;
        }
        if !allowed.is_empty() {
            return self.choice(node, &allowed, path);
        }
        let real = || alternatives.iter().filter(|one| types(one) != ["null"]);
        let fitting = real().find(|one| types(one).iter().any(|name| is(node, name)));
        if let Some(one) = fitting.or_else(|| real().next()) {
            self.check(node, one, path);
        }
    }

    fn choice(&mut self, node: &YamlNode, allowed: &[&str], path: &str) {
        let Value::Text(text) = &node.value else {
            let message = format!("{path} must be {}, found {}", one_of(allowed), found(node));
            self.problem("field.type", node.span, message);
            return;
        };
        if !allowed.contains(&text.as_str()) {
            let message = format!("{path} must be {}, found `{text}`", one_of(allowed));
            let help = suggestion(text, allowed);
            self.problem("field.choice", node.span, message).help = help;
        }
    }

    fn text(&mut self, node: &YamlNode, text: &str, schema: &Json, path: &str) {
        let format = schema.get("format").and_then(Json::as_str).unwrap_or_default();
        if !format::accepts(format, text) {
            let message = format!("{path} cannot be `{text}`");
            self.problem("field.format", node.span, message).help =
                Some(format::rule(format).to_owned());
        }
        let least = schema.get("minLength").and_then(Json::as_u64).unwrap_or(0);
        if least > 0 && text.is_empty() {
            self.problem("field.empty", node.span, format!("{path} must not be empty"));
        }
    }

    fn number(&mut self, node: &YamlNode, value: f64, schema: &Json, path: &str) {
        let bound = |name| schema.get(name).and_then(Json::as_f64);
        if let Some(least) = bound("minimum").filter(|least| value < *least) {
            self.problem("field.range", node.span, format!("{path} must be at least {least}"));
        }
        if let Some(most) = bound("maximum").filter(|most| value > *most) {
            self.problem("field.range", node.span, format!("{path} must be at most {most}"));
        }
    }

    fn list(&mut self, node: &YamlNode, items: &[YamlNode], schema: &Json, path: &str) {
        let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if items.is_empty() && least > 0 {
            self.problem("field.empty", node.span, format!("{path} must not be empty"));
        }
        let most = schema.get("maxItems").and_then(Json::as_u64);
        if let Some(most) = most.filter(|most| u64::try_from(items.len()).is_ok_and(|n| n > *most))
        {
            let message = format!("{path} has {} items; at most {most} are allowed", items.len());
            self.problem("field.range", node.span, message);
        }
        if let Some(schema) = schema.get("items") {
            for (at, item) in items.iter().enumerate() {
                self.check(item, schema, &format!("{path}[{at}]"));
            }
        }
    }

    fn map(&mut self, node: &YamlNode, entries: &[YamlEntry], schema: &Json, path: &str) {
        let properties = schema.get("properties").and_then(Json::as_object);
        let rest = schema.get("additionalProperties");
        for entry in entries {
            let place =
                if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            match (properties.and_then(|known| known.get(&entry.key)), rest) {
                (Some(schema), _) if empty(entry) && has_type(schema) => {
                    self.nothing(entry, schema, &place);
                }
                (None, Some(schema)) if empty(entry) && has_type(schema) && !nullable(schema) => {
                    self.nothing(entry, schema, &place);
                }
                (Some(schema), _) => self.check(&entry.value, schema, &place),
                (None, Some(Json::Bool(false))) => self.unknown(entry, properties, path),
                (None, Some(schema)) => self.check(&entry.value, schema, &place),
                (None, None) => {}
            }
        }
        for name in list(schema, "required").unwrap_or_default().iter().filter_map(Json::as_str) {
            if !entries.iter().any(|entry| entry.key == name) {
                let message = format!("{} lacks `{name}`", of(path));
                let form = properties.and_then(|known| known.get(name)).and_then(form);
                self.problem("field.missing", node.span, message).help = form;
            }
        }
    }

    /// A known field with nothing behind it is refused if its content has a type, also where the field may be absent: it
    /// would count as absent, and what a template did not fill in, such as a `clientCa`, would protect nothing.
    fn nothing(&mut self, entry: &YamlEntry, schema: &Json, path: &str) {
        let message = format!("{path} must be {}, and has no value", one_of(&wanted(schema)));
        let help = format!("write its value, or remove `{}` to have its default", entry.key);
        self.problem("field.type", entry.span, message).help = Some(help);
    }

    fn unknown(
        &mut self,
        entry: &YamlEntry,
        known: Option<&serde_json::Map<String, Json>>,
        path: &str,
    ) {
        let known: Vec<&str> =
            known.into_iter().flat_map(|map| map.keys()).map(String::as_str).collect();
        let help = suggestion(&entry.key, &known).unwrap_or_else(|| {
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("the fields here are {}", known.join(", "))
        });
        let message = format!("{} has no field `{}`", of(path), entry.key);
        self.problem("field.unknown", entry.span, message).help = Some(help);
    }
}

/// How a value of this schema is written, if it has a format of its own.
fn form(schema: &Json) -> Option<String> {
    let format = alternatives(schema).iter().find_map(|one| one.get("format"))?.as_str()?;
    let rule = format::rule(format);
    rule.starts_with("write ").then(|| rule.to_owned())
}

/// The most similar known word, as a question.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> Option<String> {
    let word: String = word.chars().take(64).collect();
    let score = |one: &str| strsim::jaro_winkler(&word.to_lowercase(), &one.to_lowercase());
    let best = known.iter().map(|one| (score(one), *one)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then(|| format!("did you mean `{}`?", best.1))
}

fn of(path: &str) -> &str {
    if path.is_empty() { "the document" } else { path }
}

fn list<'a>(schema: &'a Json, name: &str) -> Option<&'a [Json]> {
    schema.get(name)?.as_array().map(Vec::as_slice)
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The alternatives of a schema, or it alone.
fn alternatives(schema: &Json) -> &[Json] {
    let all = list(schema, "oneOf").or_else(|| list(schema, "anyOf"));
    all.unwrap_or_else(|| std::slice::from_ref(schema))
}

fn empty(entry: &YamlEntry) -> bool {
    entry.value.value == Value::Null
}

fn nullable(schema: &Json) -> bool {
    alternatives(schema).iter().any(|one| types(one).contains(&"null"))
}

/// Whether a schema says of which type a value is; that of free JSON does not.
fn has_type(schema: &Json) -> bool {
    alternatives(schema).iter().any(|one| !types(one).is_empty() || !choices(one).is_empty())
}

/// What a value may be, in words.
fn wanted(schema: &Json) -> Vec<&str> {
    let all = alternatives(schema);
    let words: Vec<&str> = all.iter().flat_map(choices).collect();
    if !words.is_empty() {
        return words;
    }
    let types = all.iter().flat_map(types).filter(|one| *one != "null");
    types.map(named).collect()
}

fn choices(schema: &Json) -> Vec<&str> {
    let one = schema.get("const").into_iter();
    one.chain(list(schema, "enum").unwrap_or_default())
        .chain(list(schema, "oneOf").unwrap_or_default().iter().filter_map(|one| one.get("const")))
        .filter_map(Json::as_str)
        .collect()
}

fn is(node: &YamlNode, name: &str) -> bool {
    match name {
        "null" => node.value == Value::Null,
        "boolean" => matches!(node.value, Value::Bool(_)),
        "integer" => matches!(node.value, Value::Int(_)),
        "number" => matches!(node.value, Value::Int(_) | Value::Float(_)),
        "string" => matches!(node.value, Value::Text(_)),
        "array" => matches!(node.value, Value::List(_)),
        "object" => matches!(node.value, Value::Map(_)),
        _ => true,
    }
}

fn named(name: &str) -> &str {
    match name {
        "null" => "nothing",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "array" => "a list",
        _ => "a map",
    }
}

fn found(node: &YamlNode) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Int(value) => format!("the number {value}"),
        Value::Float(value) => format!("the number {value}"),
        Value::Text(text) => format!("the text `{}`", text.chars().take(60).collect::<String>()),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}

fn or(words: &[&str]) -> String {
    words.join(" or ")
}

/// Choices of which a reader takes one.
fn one_of(words: &[&str]) -> String {
    if words.len() > 2 { format!("one of {}", words.join(", ")) } else { or(words) }
}

/// What a value of these types and that format is, in words. That it may also be absent is no rule for what was written.
fn expected<'a>(types: &[&'a str], format: &str) -> Vec<&'a str> {
    let real = types.iter().copied().filter(|one| *one != "null");
    let words: Vec<&str> = real
        .map(|one| match format::name(format) {
            Some(name) if one == "string" => name,
            _ => named(one),
        })
        .collect();
    if words.is_empty() { vec![named("null")] } else { words }
}

/// A map with the value that stands in its place, where one of its fields takes such a value.
fn example(node: &YamlNode, schema: &Json, path: &str) -> Option<String> {
    let value = match &node.value {
        Value::Int(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Text(text) if text.len() <= 40 => format!("{text:?}"),
        _ => return None,
    };
    let takes = |one: &Json| {
        choices(one).is_empty() && types(one).iter().any(|name| *name != "null" && is(node, name))
    };
    let fields = schema.get("properties")?.as_object()?.iter();
    let mut fitting = fields.filter(|(_, field)| alternatives(field).iter().any(takes));
    let (field, _) = fitting.next()?;
    let name = path.rsplit(['.', ']']).next().filter(|name| !name.is_empty());
    let map = format!("{{ {field}: {value} }}");
    Some(name.map_or_else(|| format!("write `{map}`"), |name| format!("write `{name}: {map}`")))
}

#[cfg(test)]
mod tests;
