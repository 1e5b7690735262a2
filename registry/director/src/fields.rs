//! The differences between two values, field by field.

use serde::Serialize;
use serde_json::Value;

/// Most fields reported for one change.
pub const MAX_FIELDS: usize = 50;
/// Most characters of one value.
const MAX_VALUE: usize = 80;

/// A field that is added, removed or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldEffect {
    /// Its path: `spec.rules[0].backendRefs[payments].weight`.
    pub field: String,
    /// Its value before, as JSON of at most 80 characters; `None`: the field is new.
    pub before: Option<String>,
    /// Its value after; `None`: the field is removed.
    pub after: Option<String>,
}

/// The fields in which two values differ, in order; at most [`MAX_FIELDS`]. `null` counts as absent.
#[must_use]
pub fn fields(before: &Value, after: &Value) -> Vec<FieldEffect> {
    let mut all = Vec::new();
    compare("", before, after, &mut all);
    all
}

fn compare(at: &str, before: &Value, after: &Value, all: &mut Vec<FieldEffect>) {
    if before == after || all.len() >= MAX_FIELDS {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                let value = |of: &'_ serde_json::Map<String, Value>| of.get(name).cloned();
                compare(&at, &value(old).unwrap_or_default(), &value(new).unwrap_or_default(), all);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for (name, before, after) in items(old, new) {
                compare(&format!("{at}[{name}]"), &before, &after, all);
            }
        }
        _ => all.push(FieldEffect {
            field: at.to_owned(),
            before: shown(before),
            after: shown(after),
        }),
    }
}

/// The items of two lists, paired: by their names if every item has a unique one, else by position.
fn items(old: &[Value], new: &[Value]) -> Vec<(String, Value, Value)> {
    let (Some(old_names), Some(new_names)) = (names(old), names(new)) else {
        let most = old.len().max(new.len());
        let item = |of: &[Value], at: usize| of.get(at).cloned().unwrap_or_default();
        return (0..most).map(|at| (at.to_string(), item(old, at), item(new, at))).collect();
    };
    let find = |names: &[&str], of: &[Value], name: &str| {
        let at = names.iter().position(|one| *one == name);
        at.and_then(|at| of.get(at)).cloned().unwrap_or_default()
    };
    let mut all: Vec<&str> = old_names.clone();
    all.extend(new_names.iter().filter(|name| !old_names.contains(name)));
    all.into_iter()
        .map(|name| (name.to_owned(), find(&old_names, old, name), find(&new_names, new, name)))
        .collect()
}

/// The names of items; `None` unless each has a unique one.
fn names(items: &[Value]) -> Option<Vec<&str>> {
    let names: Option<Vec<&str>> =
        items.iter().map(|item| item.get("name").and_then(Value::as_str)).collect();
    let mut sorted = names.clone()?;
    sorted.sort_unstable();
    sorted.dedup();
    names.filter(|names| names.len() == sorted.len())
}

fn shown(value: &Value) -> Option<String> {
    if value.is_null() {
        return None;
    }
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let plain = |one: char| if one.is_control() { ' ' } else { one };
    let cut: String = text.chars().map(plain).take(MAX_VALUE).collect();
    Some(if text.chars().count() > MAX_VALUE { cut + "…" } else { cut })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_told_by_the_fields_that_differ_old_and_new() {
        let rows = [
            (json!({ "a": 1 }), json!({ "a": 1 }), vec![]),
            (json!({ "a": { "b": 1 } }), json!({ "a": { "b": 2 } }), vec!["a.b 1 2"]),
            (json!({ "a": 1 }), json!({ "b": "x" }), vec!["a 1 -", "b - x"]),
            (json!({ "a": null }), json!({}), vec![]),
            (json!({ "a": [1, 2] }), json!({ "a": [1, 3, 4] }), vec!["a[1] 2 3", "a[2] - 4"]),
            (
                json!({ "backends": [{ "name": "v1", "weight": 90 }, { "name": "v2", "weight": 10 }] }),
                json!({ "backends": [{ "name": "v2", "weight": 50 }, { "name": "v1", "weight": 50 }] }),
                vec!["backends[v1].weight 90 50", "backends[v2].weight 10 50"],
            ),
            (
                json!({ "backends": [{ "name": "a" }, { "name": "a" }] }),
                json!({ "backends": [{ "name": "a" }] }),
                vec![r#"backends[1] {"name":"a"} -"#],
            ),
            (json!({ "a": [] }), json!({ "a": {} }), vec!["a [] {}"]),
        ];
        for (before, after, wanted) in rows {
            let told = fields(&before, &after).into_iter().map(|one| {
                let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
                format!("{} {} {}", one.field, text(one.before), text(one.after))
            });
            assert_eq!(told.collect::<Vec<_>>(), wanted, "{before} {after}");
        }
    }

    #[test]
    fn what_is_told_has_an_end() {
        let many = |value: u64| json!((0..10_000).map(|at| value + at).collect::<Vec<_>>());
        assert_eq!(fields(&many(0), &many(1)).len(), MAX_FIELDS);
        let long = fields(&json!({ "a": "é".repeat(10_000) }), &json!({ "a": "b\u{1b}c" }));
        assert_eq!(long[0].before.as_ref().unwrap().chars().count(), MAX_VALUE + 1);
        assert_eq!(long[0].after.as_deref(), Some("b c"));
    }
}
