//! Grants in files, and the names of their fields in messages of the engine and the commands.

use super::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tamis_engine::{EngineError, GrantField, GrantPlace, Imports, Inspection, check_imports};
use tamis_resources::{narrowed, schemas};
use tempfile::TempDir;

const TWO: &str = "kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a }\n\
    spec: { filter: acme/a, imports: { quota: { classes: { per-key: { rate: 1/s, burst: 2 } } } } }\n---\n\
    kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: b }\nspec: { filter: acme/b }\n";

#[test]
fn the_grant_of_a_file_is_the_only_one_or_that_of_the_filter() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("grants.yaml");
    let read = |text: &str, filter| {
        std::fs::write(&path, text).unwrap();
        read(&path, filter).map_err(|error| format!("{error:#}"))
    };
    let one = TWO.split("---\n").next().unwrap();
    let quota = |grant: Grant| grant.imports.quota.unwrap().classes["per-key"].burst;
    assert_eq!(read(one, None).map(quota), Ok(2));
    assert_eq!(read(TWO, Some("acme/a")).map(quota), Ok(2));
    for (text, filter, says) in [
        (TWO, None, "contains Grants for acme/a, acme/b"),
        (TWO, Some("acme/c"), "contains no Grant for acme/c; it has Grants for acme/a, acme/b"),
        (one, Some("acme/c"), "contains no Grant for acme/c"),
        (
            "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a }\nspec: { ports: [{ port: 80 }], endpoints: [] }\n",
            None,
            "",
        ),
        (
            "kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: a }\nspec: { filter: acme/a, reads: [b] }\n",
            None,
            "grants.yaml:4",
        ),
        ("kind: [\n", None, "not YAML"),
    ] {
        let said = read(text, filter).unwrap_err();
        assert!(said.contains(says) && said.contains("grants.yaml"), "{text}: {said}");
    }
    std::fs::remove_file(&path).unwrap();
    let said = format!("{:#}", super::read(&path, None).unwrap_err());
    assert!(said.contains("cannot be read"), "{said}");
}

/// Paths of all fields of a Grant's `spec`, as `imports.quota.classes`; `*` for names that people choose.
fn fields() -> BTreeSet<String> {
    fn walk(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        let some = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        for one in some {
            walk(one, path, found);
        }
        for (name, field) in
            schema.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            found.insert(path.clone());
            walk(field, &path, found);
        }
        if let Some(rest) = schema.get("additionalProperties").filter(|rest| rest.is_object()) {
            walk(rest, &format!("{path}.*"), found);
        }
        if let Some(items) = schema.get("items") {
            walk(items, path, found);
        }
    }
    let (_, schema) = schemas().into_iter().find(|one| one.0 == "Grant").unwrap();
    let mut found = BTreeSet::new();
    walk(schema.pointer("/properties/spec").unwrap(), "", &mut found);
    found
}

#[test]
fn every_field_in_the_table_of_names_is_one_of_a_grant() {
    let fields = fields();
    for field in GrantField::ALL {
        assert!(fields.contains(field.path()), "a Grant has no field {field}");
    }
}

#[test]
fn every_setting_of_the_engine_can_be_written_in_a_grant() {
    // Fields that documents call otherwise, because their value carries its unit.
    let named = |name: &str| match name {
        "timeoutMs" => "timeout".to_owned(),
        other => other.to_owned(),
    };
    let fields = fields();
    let imports = serde_json::to_value(Imports::everything()).unwrap();
    for (import, settings) in imports.as_object().unwrap() {
        for setting in settings.as_object().unwrap().keys() {
            let path = format!("imports.{import}.{}", named(setting));
            assert!(fields.contains(&path), "the engine has {path}, a Grant does not");
        }
    }
}

#[test]
fn settings_that_a_grant_leaves_out_narrow_as_the_defaults_of_the_engine() {
    let engine = |spec: &GrantSpec| -> Grant {
        serde_json::from_value(serde_json::to_value(grant_plan(spec)).unwrap()).unwrap()
    };
    // Every capability without a setting, and with the highest that can be written.
    let (_, schema) = schemas().into_iter().find(|one| one.0 == "Grant").unwrap();
    let imports = schema.pointer("/properties/spec/properties/imports/properties").unwrap();
    let (mut empty, mut most) = (serde_json::Map::new(), serde_json::Map::new());
    for (name, settings) in imports.as_object().unwrap() {
        let settings = settings["anyOf"].as_array().map_or(settings, |all| &all[0]);
        let (mut least, mut high) = (serde_json::Map::new(), serde_json::Map::new());
        for (field, form) in settings["properties"].as_object().into_iter().flatten() {
            let words = form.to_string();
            // Authorities are the same in both grants, or there is no host.
            if field == "ca" {
                continue;
            }
            let value = match field.as_str() {
                "hosts" | "names" => serde_json::json!(["a"]),
                "services" => serde_json::json!(["a/b"]),
                "hooks" => {
                    serde_json::json!(["router", "request-body", "response", "response-body"])
                }
                "cache" => {
                    serde_json::json!({ "ttl": "999h", "headers": ["a"], "entries": u32::MAX, "totalBytes": u32::MAX })
                }
                "classes" => serde_json::json!({ "a": { "rate": "1/s", "burst": 1 } }),
                // The scope that allows most: many buckets, and sums over many proxies.
                "scope" if name == "quota" => serde_json::json!("proxy"),
                "scope" => serde_json::json!("fleet"),
                _ if words.contains("gateway-duration") => serde_json::json!("999h"),
                _ if words.contains("boolean") => serde_json::json!(true),
                _ => serde_json::json!(u32::MAX),
            };
            if matches!(field.as_str(), "hosts" | "names" | "services" | "classes") {
                least.insert(field.clone(), value.clone());
            }
            high.insert(field.clone(), value);
        }
        empty.insert(name.clone(), least.into());
        most.insert(name.clone(), high.into());
    }
    let spec = |imports: serde_json::Map<String, Value>, limits: Value| -> GrantSpec {
        let spec = serde_json::json!({ "filter": "acme/x", "imports": imports, "limits": limits });
        serde_json::from_value(spec).unwrap()
    };
    let high = serde_json::json!({ "time": "999h", "configure": "999h", "memory": u64::MAX, "body": u64::MAX });
    let (empty, most) = (spec(empty, serde_json::json!({})), spec(most, high));
    assert_ne!(engine(&most), engine(&empty));
    assert_eq!(engine(&narrowed(&empty, &most)), engine(&empty));
    assert_eq!(engine(&narrowed(&most, &empty)), engine(&empty));
}

#[test]
fn a_star_that_is_narrowed_covers_no_header_of_the_host() {
    let grant = |names: &[&str]| -> GrantSpec {
        let spec = serde_json::json!({ "filter": "acme/x", "request": { "writeHeaders": names } });
        serde_json::from_value(spec).unwrap()
    };
    for name in [
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "max-forwards",
        "proxy-connection",
        "te",
        "trailer",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-original-url",
        "x-request-id",
        "x-rewrite-url",
        "x-forwarded-for",
        "x-tamis-reason",
        "X_Forwarded_Host",
        "x-user",
        "authorization",
        "x-forwardedx",
    ] {
        let plan = grant_plan(&narrowed(&grant(&["*"]), &grant(&[name])));
        let of_the_host = tamis_exchange::is_host_field(&name.to_ascii_lowercase());
        assert_eq!(plan.writes.is_empty(), of_the_host, "{name}: {:?}", plan.writes);
    }
}

#[test]
fn the_grant_that_a_refusal_prints_can_be_written_as_it_stands() {
    let imports = serde_json::to_value(Imports::everything()).unwrap();
    for import in imports.as_object().unwrap().keys() {
        let inspection = Inspection {
            contract: tamis_engine::Contract::NEWEST,
            hooks: vec![],
            imports: vec![import.clone()],
            wasi: vec![],
            others: vec![],
            size: 0,
        };
        let refused = check_imports("acme/a", &inspection, &Grant::default()).unwrap_err();
        let text = EngineError::from(refused).grant_remedy(GrantPlace::Document).unwrap();
        let entry = text.strip_prefix("to allow it, add `").unwrap();
        let (entry, _) = entry.split_once("` under `spec.imports` of the Grant of acme/a").unwrap();
        let yaml = format!(
            "kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: a }}\nspec:\n  filter: acme/a\n  imports:\n    {entry}\n",
        );
        let (documents, problems) = parse("printed", &yaml);
        assert!(problems.is_empty() && documents.len() == 1, "{yaml}: {problems:?}");
    }
}

/// Sources with messages that name fields of a grant.
const SPEAKING: [&str; 4] =
    ["../../host/engine/src", "../../host/exchange/src", "../../host/node/src", "src"];

/// Words in backticks that appear in messages about a grant and are not fields of it.
const OTHERS: [&str; 16] = [
    "kind",
    "tick",
    "on-request",
    "request-body",
    "response",
    "response-body",
    "router",
    "interest.writes",
    "interest.reads",
    "grant.limits",
    "spec",
    "validate",
    "configure",
    "http",
    "replace",
    "trailer",
];

#[test]
fn every_field_of_a_grant_that_a_message_names_is_one() {
    let fields = fields();
    let known = |word: &str| {
        let word = word.split(':').next().unwrap_or_default();
        fields.contains(word)
            || fields.iter().any(|path| path.ends_with(&format!(".{word}")))
            || OTHERS.contains(&word)
    };
    let mut read = 0;
    for folder in SPEAKING {
        for path in sources(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)) {
            let text = std::fs::read_to_string(&path).unwrap();
            for literal in literals(&text).filter(|literal| literal.contains("grant")) {
                for word in quoted(literal).filter(|word| is_field_like(word)) {
                    read += 1;
                    assert!(
                        known(word),
                        "{}: `{word}` is no field of a Grant: {literal}",
                        path.display()
                    );
                }
            }
        }
    }
    assert!(read > 5, "the messages were not found");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") && !name.contains("test") {
            found.push(path);
        }
    }
    found
}

/// String literals of a source, without its tests and comments.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2))
}

fn quoted(literal: &str) -> impl Iterator<Item = &str> {
    literal.split('`').skip(1).step_by(2)
}

/// A word that a reader would take for a field: neither a placeholder nor a command.
fn is_field_like(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
    word.len() > 2
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| plain(c) || c == ' ')
        && word.split(' ').count() <= 2
        && !word.starts_with("tamis")
}
