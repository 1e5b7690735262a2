//! The report on built-in filters, and on files that are not components.

use super::*;
use crate::builtin;
use crate::filter::artifact;
use std::path::Path;
use tempfile::TempDir;

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for builtin in builtin::all().unwrap() {
        let name = builtin.name.replace("tamis/", "");
        std::fs::write(folder.path().join(format!("{name}.wasm")), builtin.component).unwrap();
    }
    folder
}

fn arguments(component: &Path, config: &str) -> Arguments {
    Arguments {
        component: component.to_owned(),
        config: Some(config.to_owned()),
        grant: None,
        json: false,
    }
}

#[test]
fn a_component_tells_its_hooks_imports_and_what_it_declares() {
    let folder = folder();
    let path = folder.path().join("jwt.wasm");
    let config = r#"{"issuers":[{"issuer":"https://idp","audiences":["a"],"algorithms":["ES256"],"jwks":{"url":"https://idp/keys"}}]}"#;
    let (value, inspection) = inspect(&arguments(&path, config)).unwrap();
    assert_eq!(value["hooks"], json!(["request", "tick"]));
    let imports = value["imports"].as_array().unwrap();
    assert!(imports.contains(&json!("crypto")) && imports.contains(&json!("http-client")));
    assert_eq!(value["declared"]["requestBody"], "none");
    assert!(value["declared"]["reads"].as_array().unwrap().contains(&json!("authorization")));
    assert!(value["declared"]["configSchema"].is_object());
    assert_eq!(value["artifact"], Value::Null);
    let text = text(&value, &inspection);
    assert!(
        text.contains("\nreads      authorization")
            && text.contains("no manifest; `tamis filter sign`"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.len() < 200));
}

#[test]
fn a_grant_shows_its_rates_and_who_shares_them() {
    let folder = folder();
    let component = folder.path().join("rate-limit.wasm");
    let config = r#"{"limits":[{"class":"per-key"}]}"#;
    let path = folder.path().join("grant.yaml");
    let classes = "classes: { per-key: { rate: 10/s, burst: 20 } }";
    for (imports, rows, error) in [
        (
            format!("quota: {{ {classes} }}"),
            vec!["quota      scope proxy; per-key 10.0/s burst 20\n"],
            false,
        ),
        (
            format!("quota: {{ scope: proxy, {classes} }}, counters: {{ scope: proxy, keys: 5 }}"),
            vec![
                "quota      scope proxy; per-key 10.0/s burst 20\n",
                "counters   scope proxy; at most 5 counters\n",
            ],
            false,
        ),
        (
            format!("quota: {{ scope: service, {classes} }}"),
            vec![
                "quota      scope service; ",
                "`imports.quota.scope: service`",
                "write `scope: proxy`",
            ],
            true,
        ),
        (
            format!("quota: {{ scope: fleet, {classes} }}"),
            vec![
                "quota      scope fleet; ",
                "`imports.quota.scope: fleet`",
                "write `scope: proxy`",
            ],
            true,
        ),
        (
            format!("quota: {{ {classes} }}, counters: {{ scope: fleet }}"),
            vec!["`imports.counters.scope: fleet`", "write `scope: proxy`"],
            true,
        ),
    ] {
        let grant = format!(
            "kind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: a }}\n\
             spec: {{ filter: tamis/rate-limit, request: {{ attributes: ['*'] }}, response: {{ writeHeaders: ['*'] }}, imports: {{ exchange-state: {{}}, {imports} }} }}\n"
        );
        std::fs::write(&path, grant).unwrap();
        let asked = Arguments { grant: Some(path.clone()), ..arguments(&component, config) };
        let (value, inspection) = inspect(&asked).unwrap();
        let text = text(&value, &inspection);
        assert_eq!(value.pointer("/declared/error").is_some(), error, "{imports}: {text}");
        for row in rows {
            assert!(text.contains(row), "{imports}: {row}: {text}");
        }
    }
    // Without a Grant there is none to show.
    let (value, inspection) = inspect(&arguments(&component, config)).unwrap();
    assert!(value["grant"].is_null() && !text(&value, &inspection).contains("\nquota"));
}

#[test]
fn a_configuration_it_refuses_leaves_the_rest_to_be_told() {
    let folder = folder();
    let path = folder.path().join("route.wasm");
    let (value, inspection) = inspect(&arguments(&path, r#"{"routes":[{"rutes":[]}]}"#)).unwrap();
    assert!(value["declared"]["error"].as_str().unwrap().contains("rutes"));
    assert_eq!(value["hooks"], json!(["router"]));
    assert!(text(&value, &inspection).contains("declares   unknown, because"));
}

#[test]
fn a_signed_component_tells_its_name_and_whether_it_is_the_one_that_was_signed() {
    let folder = folder();
    let path = folder.path().join("retry.wasm");
    let octets = std::fs::read(&path).unwrap();
    let manifest = artifact::manifest(&octets, "acme/retry", "2.0.0").unwrap();
    let key = tamis_trust::PrivateKey::generate().unwrap();
    artifact::write(&path, &octets, &manifest, &[&key, &key]).unwrap();
    let (value, inspection) = inspect(&arguments(&path, "{}")).unwrap();
    assert_eq!(value["artifact"]["digest"], Digest::of(&manifest).to_string());
    assert_eq!(
        (&value["artifact"]["matches"], &value["artifact"]["signatures"]),
        (&json!(true), &json!(2))
    );
    assert!(text(&value, &inspection).contains("name       acme/retry 2.0.0"));

    // Another component in its place: a filter, but not the signed one.
    std::fs::copy(folder.path().join("telemetry.wasm"), &path).unwrap();
    let (value, inspection) = inspect(&arguments(&path, "{}")).unwrap();
    assert_eq!(value["artifact"]["matches"], json!(false));
    assert!(text(&value, &inspection).contains("does NOT match its manifest"));
    std::fs::write(artifact::beside(&path, ".manifest.json"), "{").unwrap();
    let (value, _) = inspect(&arguments(&path, "{}")).unwrap();
    assert!(value["artifact"]["error"].is_string());
}

#[test]
fn what_is_no_component_is_an_error_that_names_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.wasm");
    let said = |config: &str| format!("{:#}", inspect(&arguments(&path, config)).err().unwrap());
    assert!(said("{}").contains("x.wasm cannot be read"), "{}", said("{}"));
    // A module is WebAssembly but not a component.
    for octets in
        [&b"hello"[..], b"", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0", b"\0asm\x0d\0\x01\0\xff"]
    {
        std::fs::write(&path, octets).unwrap();
        assert!(said("{}").contains("x.wasm: not a filter"), "{}", said("{}"));
    }
    assert!(said("{").starts_with("--config is not JSON"), "{}", said("{"));
}
