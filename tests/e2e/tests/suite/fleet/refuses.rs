//! What a router would refuse is refused before it is taken, and each refusal names the place in its owner's document.

use serde_json::Value;
use tamis_e2e::tamis;

use super::plane::{Plane, json, said};

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
        let live = registry.ask(&["check", ".", "--live"]);
        let planned = registry.ask(&["plan", "-f", "."]);
        let applied = registry.ask(&["apply", "-f", "."]);
        for (command, done) in
            [("check", checked), ("check --live", live), ("plan", planned), ("apply", applied)]
        {
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
    let checked = said(&tamis(plane.folder.path(), &["check", "."]));
    assert!(!checked.contains("more.yaml"), "{checked}");
    registry.did(&["check", ".", "--live"]);
    // Beside what is in force a folder may hold a part of the mesh; alone it would lack its backend.
    let part = plane.folder.file("part");
    std::fs::create_dir(&part).unwrap();
    let route = MORE.split_once("---\n").unwrap().1.to_owned() + backend;
    std::fs::write(part.join("more.yaml"), route).unwrap();
    registry.did(&["check", "part", "--live"]);
    std::fs::remove_dir_all(&part).unwrap();
    let there = registry.ask(&["get", "httproute", "mine", "-n", "test"]);
    assert_eq!(there.status.code(), Some(4), "a check changes nothing");
    registry.did(&["plan", "-f", "."]);
    registry.did(&["apply", "-f", ".", "--confirm"]);
}

/// An attachment that stands in for one that cannot be used, as `tamis up` sends it.
const STAND_IN: &str = "\
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: broken, namespace: test, annotations: { tamis.dev/stands-in: 'its phase cannot be read' } }
spec: { targetRefs: [{ kind: Gateway, name: edge }], filter: test/guest, phase: authn, order: 1 }
";

#[test]
fn what_is_wrong_with_documents_in_force_is_counted_by_its_code_and_so_is_what_stands_in() {
    let plane = Plane::new(|_| ());
    let registry = plane.registry("data", &[]);
    registry.ready();
    let counted = || registry.metric("tamis_registry_problems{of=\"documents\"");
    assert_eq!(counted(), Vec::<String>::new(), "nothing is wrong");
    let line = |code: &str, count: usize| {
        format!("tamis_registry_problems{{of=\"documents\",code=\"{code}\"}} {count}")
    };
    plane.folder.write("broken.yaml", STAND_IN);
    registry.did(&["apply", "-f", ".", "--confirm"]);
    assert_eq!(counted(), [line("document.invalid", 1)]);
    let another = STAND_IN.replace("name: broken", "name: another");
    plane.folder.write("another.yaml", &another);
    plane.folder.edit("mesh.yaml", "[{ name: app, port: 80 }]", "[{ name: nobody, port: 80 }]");
    registry.did(&["apply", "-f", ".", "--confirm"]);
    assert_eq!(counted(), [line("document.invalid", 2), line("route.backend", 1)]);
    for file in ["broken.yaml", "another.yaml"] {
        std::fs::remove_file(plane.folder.file(file)).unwrap();
    }
    plane.folder.edit("mesh.yaml", "[{ name: nobody, port: 80 }]", "[{ name: app, port: 80 }]");
    registry.did(&["apply", "-f", ".", "--prune", "--confirm"]);
    assert_eq!(counted(), Vec::<String>::new());
}
