//! What a component's configuration may contain, compared between two components.
//!
//! A component gives the JSON Schema of its configuration; whatever the schema says, the filter itself decides in the end.
//! The comparison says where a configuration that was right for one may be wrong for the other.

use crate::output;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// The most settings of a schema that are compared one by one, since a short schema can lead to very many.
const SETTINGS_MAX: usize = 2_000;
/// Settings within settings; beyond, a schema most likely leads back to itself.
const DEPTH_MAX: usize = 16;
/// The most differences that a text shows; JSON has all.
const SHOWN_MAX: usize = 50;
/// The longest line of a difference, in characters: a schema may list very many values.
const LINE_MAX: usize = 300;
/// Keywords that are there for people (JSON Schema, Validation §9).
const WORDS: [&str; 6] = ["title", "description", "examples", "$comment", "$schema", "$id"];

/// A difference of two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum SettingChange {
    /// The second component has a setting more.
    New { setting: String, allowed: String },
    /// The second component lacks a setting.
    Gone { setting: String },
    /// A setting allows other values, or has another default.
    Other { setting: String, before: String, after: String },
    /// What is not said of one setting: conditions among several, or what lies deeper than is compared.
    Rest,
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New { setting, allowed } => write!(f, "+ setting {setting}: {allowed}"),
            Self::Gone { setting } => write!(f, "- setting {setting}"),
            Self::Other { setting, before, after } => {
                write!(f, "~ setting {setting}: {before} -> {after}")
            }
            Self::Rest => f.write_str(
                "~ the schema of its configuration differs in conditions that are not of one setting; `tamis filter inspect \
                 --output json` shows it",
            ),
        }
    }
}

/// A line for each difference. Names are of the components' authors: none makes a second line of it.
pub(super) fn text(changes: &[SettingChange]) -> String {
    let mut text = String::new();
    for change in changes.iter().take(SHOWN_MAX) {
        let line = output::one_line(&change.to_string());
        let cut = line.char_indices().nth(LINE_MAX).map(|(at, _)| format!("{}…", &line[..at]));
        text.push_str(&cut.unwrap_or(line));
        text.push('\n');
    }
    if changes.len() > SHOWN_MAX {
        let more = changes.len() - SHOWN_MAX;
        text.push_str(&format!("and {more} settings more; --output json names them\n"));
    }
    text
}

/// How the second schema differs from the first, by setting.
pub(super) fn compare(before: &Value, after: &Value) -> Vec<SettingChange> {
    let (old, new) = (Settings::of(before), Settings::of(after));
    let names: std::collections::BTreeSet<&String> = old.0.keys().chain(new.0.keys()).collect();
    let mut changes: Vec<SettingChange> = names
        .into_iter()
        .filter_map(|setting| {
            let name = setting.clone();
            match (old.0.get(setting), new.0.get(setting)) {
                (None, Some(allowed)) => {
                    Some(SettingChange::New { setting: name, allowed: allowed.clone() })
                }
                (Some(_), None) => Some(SettingChange::Gone { setting: name }),
                (Some(before), Some(after)) if before != after => Some(SettingChange::Other {
                    setting: name,
                    before: before.clone(),
                    after: after.clone(),
                }),
                _ => None,
            }
        })
        .collect();
    if changes.is_empty() && without_words(before) != without_words(after) {
        changes.push(SettingChange::Rest);
    }
    changes
}

/// Each setting by its path, such as `backoff.base` or `statuses[]`, with what it allows in words.
#[derive(Default)]
struct Settings(BTreeMap<String, String>);

impl Settings {
    fn of(schema: &Value) -> Self {
        let mut settings = Self::default();
        settings.walk(schema, schema, "", 0);
        settings
    }

    /// Adds the settings within one. `root` is where its references lead.
    fn walk(&mut self, root: &Value, schema: &Value, path: &str, depth: usize) {
        let parts = resolved(root, schema);
        if depth > DEPTH_MAX {
            return;
        }
        let required: Vec<&str> = list(parts.get("required")).filter_map(Value::as_str).collect();
        for (name, part) in object(parts.get("properties")) {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let need = if required.contains(&name.as_str()) { "required, " } else { "" };
            self.add(root, part, path, need, depth);
        }
        for (keyword, ending) in [("items", "[]"), ("additionalProperties", ".*")] {
            if let Some(part) = parts.get(keyword).filter(|part| part.is_object()) {
                self.add(root, part, format!("{path}{ending}"), "", depth);
            }
        }
    }

    fn add(&mut self, root: &Value, part: &Value, path: String, need: &str, depth: usize) {
        if self.0.len() >= SETTINGS_MAX {
            return;
        }
        self.0.insert(path.clone(), format!("{need}{}", allowed(&resolved(root, part))));
        self.walk(root, part, &path, depth + 1);
    }
}

/// A schema with what its reference leads to; its own keywords come first.
fn resolved(root: &Value, schema: &Value) -> Map<String, Value> {
    let mut all = Map::new();
    let mut next = Some(schema);
    for _ in 0..DEPTH_MAX {
        let Some(Value::Object(keywords)) = next else { break };
        for (keyword, value) in keywords.iter().filter(|(keyword, _)| *keyword != "$ref") {
            all.entry(keyword.clone()).or_insert_with(|| value.clone());
        }
        let place = keywords.get("$ref").and_then(Value::as_str);
        next = place.and_then(|place| root.pointer(place.strip_prefix('#')?));
    }
    all
}

/// What a setting allows, without its own settings: `integer, minimum 1, default 3`.
fn allowed(schema: &Map<String, Value>) -> String {
    const PARTS: [&str; 4] = ["properties", "required", "$defs", "definitions"];
    let said = schema.iter().filter(|(keyword, value)| {
        let deeper = matches!(keyword.as_str(), "items" | "additionalProperties");
        !(WORDS.contains(&keyword.as_str())
            || PARTS.contains(&keyword.as_str())
            || deeper && value.is_object())
    });
    let mut said: Vec<(&String, &Value)> = said.collect();
    // The type comes first, the rest by name, in whatever order the author wrote them.
    said.sort_by_key(|(keyword, _)| (*keyword != "type", *keyword));
    let words = said.into_iter().map(|(keyword, value)| match (keyword.as_str(), value) {
        ("type", Value::String(name)) => name.clone(),
        ("additionalProperties", Value::Bool(false)) => "no other members".to_owned(),
        (keyword, value) => format!("{keyword} {}", member(keyword, value)),
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "anything".to_owned() } else { words.join(", ") }
}

/// A schema without what is there for people.
fn without_words(schema: &Value) -> Value {
    match schema {
        Value::Object(keywords) => {
            let kept = keywords.iter().filter(|(keyword, _)| !WORDS.contains(&keyword.as_str()));
            kept.map(|(keyword, value)| (keyword.clone(), member(keyword, value))).collect()
        }
        Value::Array(all) => all.iter().map(without_words).collect(),
        other => other.clone(),
    }
}

/// What is behind a keyword, without what is there for people in the schemas within it.
fn member(keyword: &str, value: &Value) -> Value {
    match (keyword, value) {
        ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(named)) => {
            named.iter().map(|(name, schema)| (name.clone(), without_words(schema))).collect()
        }
        ("const" | "default" | "enum", data) => data.clone(),
        (_, schema) => without_words(schema),
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(before: &Value, after: &Value) -> Vec<String> {
        compare(before, after).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_setting_that_is_new_gone_or_other_is_named_with_what_it_allows() {
        let before = json!({
            "title": "Agents", "type": "object", "additionalProperties": false,
            "properties": {
                "blocked": { "type": "array", "items": { "type": "string", "minLength": 1 } },
                "wait": { "$ref": "#/$defs/duration", "default": "1s" },
                "old": { "type": "boolean" },
                "same": { "type": "integer", "minimum": 1, "description": "One." },
            },
            "$defs": { "duration": { "type": "string", "pattern": "^[0-9]+s$" } },
        });
        let after = json!({
            "title": "Agents, again", "type": "object", "additionalProperties": false,
            "required": ["status"],
            "properties": {
                "same": { "description": "Two.", "minimum": 1, "type": "integer" },
                "blocked": { "type": "array", "items": { "type": "string" } },
                "wait": { "$ref": "#/$defs/duration", "default": "1s" },
                "status": { "type": "integer", "maximum": 599, "minimum": 400 },
                "page": { "type": "object", "properties": { "title": { "enum": ["a", "b"] } } },
            },
            "$defs": { "duration": { "type": "string", "pattern": "^[0-9]+(ms|s)$" } },
        });
        let expected = [
            "~ setting blocked[]: string, minLength 1 -> string",
            "- setting old",
            "+ setting page: object",
            "+ setting page.title: enum [\"a\",\"b\"]",
            "+ setting status: required, integer, maximum 599, minimum 400",
            "~ setting wait: string, default \"1s\", pattern \"^[0-9]+s$\" -> string, default \"1s\", pattern \"^[0-9]+(ms|s)$\"",
        ];
        assert_eq!(lines(&before, &after), expected);
        assert!(lines(&after, &after).is_empty());
        assert!(lines(&Value::Null, &Value::Null).is_empty());
    }

    #[test]
    fn what_is_said_of_no_single_setting_is_a_difference_too_and_words_for_people_are_none() {
        let of = |rest: Value| {
            let mut schema = json!({ "properties": { "a": {}, "b": {} } });
            schema.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            schema
        };
        let plain = of(json!({}));
        for (other, same) in [
            (json!({ "title": "T", "description": "D", "examples": [{ "a": 1 }] }), true),
            (json!({ "anyOf": [{ "required": ["a"] }, { "required": ["b"] }] }), false),
            (json!({ "additionalProperties": false }), false),
            (json!({ "type": "object" }), false),
        ] {
            let changes = compare(&plain, &of(other.clone()));
            let expected = if same { vec![] } else { vec![SettingChange::Rest] };
            assert_eq!(changes, expected, "{other}");
        }
        // A setting may have the name of a keyword.
        let titled = json!({ "properties": { "title": { "type": "string" } } });
        assert_eq!(lines(&json!({}), &titled), ["+ setting title: string"]);
    }

    #[test]
    fn no_name_and_no_number_of_settings_makes_more_of_a_text_than_a_line_each() {
        let forged = "a\n+ hook request";
        let many: Map<String, Value> = (0..SHOWN_MAX + 7)
            .map(|at| (format!("p{at}"), json!({ "enum": ["x".repeat(LINE_MAX)] })))
            .chain([(forged.to_owned(), json!({}))])
            .collect();
        let changes = compare(&json!({}), &json!({ "properties": many }));
        let shown = text(&changes);
        assert_eq!(shown.lines().count(), SHOWN_MAX + 1, "{shown}");
        assert!(shown.ends_with("and 8 settings more; --output json names them\n"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= LINE_MAX + 1), "{shown}");
        assert!(!shown.contains("\n+ hook"), "{shown}");
    }

    #[test]
    fn a_schema_that_leads_back_to_itself_or_to_very_many_settings_ends() {
        let back = json!({ "properties": { "a": { "$ref": "#" } } });
        assert!(lines(&json!({}), &back).len() <= DEPTH_MAX + 1);
        let circle = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/a" } } });
        assert_eq!(compare(&json!({}), &circle), [SettingChange::Rest]);
        let properties: Map<String, Value> =
            (0..10).map(|at| (format!("p{at}"), json!({ "$ref": "#" }))).collect();
        let wide = json!({ "properties": properties });
        assert!(lines(&json!({}), &wide).len() <= SETTINGS_MAX);
    }
}
