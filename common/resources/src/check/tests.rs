//! A field with nothing behind it, for every field of every kind.

use serde_json::{Map, Value as Json, json};

use super::{alternatives, choices, has_type, types};

/// A field of a document: the kind, its place in words and as a JSON pointer, and whether its content has a type.
struct Field {
    kind: &'static str,
    place: String,
    pointer: String,
    typed: bool,
}

/// The alternative with the most below it.
fn fullest(schema: &Json) -> &Json {
    let all = alternatives(schema);
    let is_map = |one: &&Json| types(one).contains(&"object");
    all.iter().find(is_map).or_else(|| all.iter().find(|one| types(one) != ["null"])).unwrap()
}

/// A value that has every field of a schema.
fn sample(schema: &Json) -> Json {
    let schema = fullest(schema);
    if let Some(choice) = choices(schema).first() {
        return json!(choice);
    }
    match types(schema).into_iter().find(|one| *one != "null") {
        Some("object") => {
            let known = schema["properties"].as_object().into_iter().flatten();
            let mut all: Map<String, Json> =
                known.map(|(name, of)| (name.clone(), sample(of))).collect();
            if schema["additionalProperties"].is_object() {
                all.insert("any".to_owned(), sample(&schema["additionalProperties"]));
            }
            Json::Object(all)
        }
        Some("array") => json!([sample(&schema["items"])]),
        Some("boolean") => json!(true),
        Some("integer" | "number") => json!(1),
        _ => json!("a"),
    }
}

fn fields(kind: &'static str, schema: &Json, place: &str, pointer: &str, all: &mut Vec<Field>) {
    let schema = fullest(schema);
    if schema["items"].is_object() {
        fields(kind, &schema["items"], &format!("{place}[0]"), &format!("{pointer}/0"), all);
    }
    let any = ("any".to_owned(), schema["additionalProperties"].clone());
    let any = any.1.is_object().then_some(any);
    let known = schema["properties"].as_object().cloned().unwrap_or_default();
    for (name, schema) in known.into_iter().chain(any) {
        let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
        let pointer = format!("{pointer}/{name}");
        fields(kind, &schema, &place, &pointer, all);
        all.push(Field { kind, place, pointer, typed: has_type(&schema) });
    }
}

#[test]
fn nothing_behind_any_field_of_any_kind_is_refused_at_its_place_with_a_way_out() {
    let (mut refused, mut free) = (0, Vec::new());
    for (kind, schema) in crate::schemas() {
        let mut all = Vec::new();
        fields(kind, &schema, "", "", &mut all);
        for Field { kind, place, pointer, typed } in all {
            if !typed {
                free.push(format!("{kind} {place}"));
                continue;
            }
            let mut document = sample(&schema);
            *document.pointer_mut(&pointer).unwrap() = Json::Null;
            for nothing in ["null", "", "~"] {
                let text = document.to_string().replacen("null", nothing, 1);
                let problems = crate::parse("a.yaml", &text).1;
                let of_kind = ["kind", "apiVersion"].contains(&place.as_str());
                let is_it = |one: &crate::Problem| {
                    let says = one.message.starts_with(&format!("{place} must be "))
                        && one.message.ends_with(", and has no value");
                    of_kind || (says && one.code == "field.type" && one.help.is_some())
                };
                assert!(problems.iter().any(is_it), "{kind} {place}: {text}: {problems:#?}");
                refused += 1;
            }
        }
    }
    free.sort();
    assert_eq!(free, ["Filter spec.configSchema", "FilterAttachment spec.config"]);
    assert!(refused > 600, "{refused} fields");
}
