//! What a filter would refuse is refused before it is taken, and each refusal names the place in the document of its owner.

use std::fs;
use std::process::Output;

use serde_json::Value;
use tamis_e2e::tamis;

use super::plane::{Plane, Registry, json, said};

/// A good document first: places count from the beginning of the file.
const MORE: &str = "\
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: other, namespace: test }
spec: { ports: [{ port: 80, protocol: http }], endpoints: [{ address: 127.0.0.1:9 }] }
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: mine, namespace: test }
spec:
  parentRefs: [{ kind: Gateway, name: edge }]
  hostnames: [bad.example]
  rules:
    - name: good
      backendRefs: [{ name: app, port: 80 }]
    - name: bad
";

/// Whether an answer names that line of that file, as an object with a place or in words.
fn names(value: &Value, file: &str, line: usize) -> bool {
    match value {
        Value::String(text) => text.contains(&format!("{file}:{line}:")),
        Value::Array(items) => items.iter().any(|one| names(one, file, line)),
        Value::Object(map) => {
            (map.get("source").is_some_and(|one| *one == file)
                && map.get("line").is_some_and(|one| *one == line))
                || map.values().any(|one| names(one, file, line))
        }
        _ => false,
    }
}

#[test]
fn check_plan_and_apply_name_the_place_of_what_the_router_refuses_in_its_own_document() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &[]);
    registry.ready();
    let backend = "      backendRefs: [{ name: app, port: 80 }]\n";
    let rows = [
        ("no absolute path", "      matches: [{ path: { value: foo } }]\n", backend),
        (
            "an expression",
            "      matches: [{ path: { type: RegularExpression, value: '/a(' } }]\n",
            backend,
        ),
        (
            "a look-ahead",
            "      matches: [{ path: { type: RegularExpression, value: '/(?!x).*' } }]\n",
            backend,
        ),
        (
            "a header's expression",
            "      matches: [{ headers: [{ name: a, type: RegularExpression, value: '(' }] }]\n",
            backend,
        ),
        (
            "a query's expression",
            "      matches: [{ queryParams: [{ name: a, type: RegularExpression, value: '(' }] }]\n",
            backend,
        ),
        (
            "a status",
            "      filters: [{ type: RequestRedirect, requestRedirect: { statusCode: 200 } }]\n",
            "",
        ),
        (
            "a scheme",
            "      filters: [{ type: RequestRedirect, requestRedirect: { scheme: ftp } }]\n",
            "",
        ),
        ("an empty filter", "      filters: [{ type: RequestHeaderModifier }]\n", backend),
        (
            "a redirect of a backend",
            "      backendRefs: [{ name: app, port: 80, filters: [{ type: RequestRedirect, requestRedirect: {} }] }]\n",
            "",
        ),
    ];
    for (name, culprit, more) in rows {
        let text = format!("{MORE}{culprit}{more}");
        plane.folder.write("more.yaml", &text);
        // The line of the culprit, or that of its rule.
        let line = text.lines().position(|line| line == culprit.trim_end()).unwrap() + 1;
        let checked = tamis(plane.folder.path(), &["check", ".", "--output", "json"]);
        let planned = registry.ask(&["plan", "-f", "."]);
        let applied = registry.ask(&["apply", "-f", "."]);
        let live = registry.ask(&["check", ".", "--live"]);
        let all =
            [("check", checked), ("check --live", live), ("plan", planned), ("apply", applied)];
        for (command, done) in all {
            assert!(!done.status.success(), "{name}, {command}: {}", said(&done));
            let value = json(&done);
            let there = [line, line - 1].iter().any(|line| names(&value, "more.yaml", *line));
            assert!(there, "{name}, {command} names no line {line}: {}", said(&done));
            assert!(!said(&done).contains("/routes/"), "{name}, {command}: {}", said(&done));
        }
        let there = registry.ask(&["get", "httproute", "mine", "-n", "test"]);
        assert_eq!(there.status.code(), Some(4), "{name}: nothing was taken");
    }
    plane.folder.write("more.yaml", &format!("{MORE}{backend}"));
    assert!(tamis(plane.folder.path(), &["check", "."]).status.success());
    registry.did(&["check", ".", "--live"]);
    registry.did(&["plan", "-f", "."]);
    registry.did(&["apply", "-f", ".", "--confirm"]);
}

/// The digest of the guest that is pinned.
fn pinned(registry: &Registry) -> String {
    let pins = registry.did(&["pins"]);
    let items = pins["items"].as_array().or(pins.as_array()).unwrap().clone();
    let guest = items.into_iter().find(|one| one["filter"] == "test/guest").unwrap();
    guest["digest"].as_str().unwrap().to_owned()
}

fn refuses(what: &str, done: &Output) {
    let words = said(done);
    assert!(!done.status.success(), "{what}: {words}");
    assert!(words.contains("filter.configure"), "{what}: {words}");
    assert!(words.contains("refuses"), "{what}: {words}");
}

#[test]
fn a_pair_of_version_and_configuration_is_asked_of_the_filter_before_it_is_taken() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &[]);
    let first = registry.ready();
    // A version that takes another configuration: any other filter under the guest's name.
    let store = fs::read_dir(plane.folder.file(".tamis/store")).unwrap();
    let mut files = store.map(|entry| entry.unwrap().path().display().to_string());
    let retry = files.find(|path| path.contains("/tamis-retry-") && path.ends_with(".wasm"));
    let second = registry.release_of(&retry.unwrap(), "test/guest", 2, "local-dev");

    refuses("pin", &registry.ask(&["pin", "*", "test/guest@2.0.0", "--confirm"]));
    refuses("pin, dry", &registry.ask(&["pin", "*", "test/guest@2.0.0", "--dry-run"]));
    let start = ["rollout", "start", "r", "test/guest@2.0.0", "--service", "*"];
    refuses("rollout", &registry.ask(&start));
    refuses("rollout, dry", &registry.ask(&[&start[..], &["--dry-run"]].concat()));
    assert_eq!(pinned(&registry), first);

    // The configuration that only the second takes: an apply is refused until somebody agrees to what it leaves out.
    let guest = plane.folder.read("guest.yaml");
    let config = "{ do: edit, reads: [\":path\"], writes: [x-path] }";
    assert!(guest.contains(config), "{guest}");
    plane.folder.edit("guest.yaml", config, "{ attempts: 2 }");
    for command in ["plan", "apply"] {
        refuses(command, &registry.ask(&[command, "-f", "."]));
    }
    registry.did(&["apply", "-f", ".", "--confirm"]);
    registry.did(&["pin", "*", "test/guest@2.0.0", "--confirm"]);
    assert_eq!(pinned(&registry), second);

    refuses("rollback", &registry.ask(&["rollback", "*", "test/guest", "--confirm"]));
    let older = ["pin", "*", "test/guest@1.0.0", "--allow-older", "--confirm"];
    refuses("older pin", &registry.ask(&older));
    assert_eq!(pinned(&registry), second, "nothing was taken");
}
