//! Routers of authors: one that lacks a rule that something is attached to is refused before it serves, and one that
//! extends another decides only what it names.

use tamis_e2e::{Backend, eventually, request, root, tamis};

use super::plane::{EDGE, Plane, said};
use crate::guests;

/// A second version of the service, the canary router that sends testers there, and a filter on a rule of the routes.
const DOCUMENTS: &str = "\
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: next, namespace: test }
spec: { ports: [{ port: 80, protocol: http }], endpoints: [{ address: @NEXT@ }] }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: canary, namespace: acme }
spec: { world: route-policy }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: canary, namespace: test }
spec:
  targetRefs: [{ kind: Gateway, name: edge }]
  filter: acme/canary
  phase: traffic
  order: 5
  extend: true
  config: { path: /cart, canary: 'test/next:80', permille: 0 }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: hsts, namespace: acme }
spec: { world: head-policy }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: hsts, namespace: test }
spec:
  targetRefs: [{ kind: HTTPRoute, name: all, sectionName: all }]
  filter: acme/hsts
  phase: transform
  order: 5
  config: { maxAgeSeconds: 60 }
---
";

#[test]
fn a_router_without_the_rules_that_filters_are_attached_to_is_refused_and_one_that_extends_serves()
{
    let next = Backend::start();
    let examples = ["canary", "hsts"];
    let plane = Plane::new(|folder| {
        let grants = examples.map(|name| {
            let file = root().join(format!("examples/filters/{name}/grant.yaml"));
            std::fs::read_to_string(file).unwrap()
        });
        let documents = DOCUMENTS.replace("@NEXT@", &next.address.to_string());
        folder.write("own.yaml", &(documents + &grants.join("---\n")));
    });
    let registry = plane.registry("data", &[]);
    registry.ready();
    for name in examples {
        let component = root().join(format!("target/example-components/{name}.wasm"));
        guests::sign_as(&plane.folder, &component, &format!("acme/{name}"), "1.0.0");
        registry.did(&["filter", "push", &format!(".tamis/store/acme-{name}-1.0.0.wasm")]);
        registry.did(&["pin", "*", &format!("acme/{name}@1.0.0"), "--confirm"]);
    }
    guests::sign(&plane.folder, "1.0.0");
    let check = || tamis(plane.folder.path(), &["check", "."]);
    assert!(check().status.success(), "{}", said(&check()));

    // With the roles exchanged the router lacks every rule of the routes: the filter on one of them would never be called.
    let kept = ["own.yaml", "attachments.yaml"].map(|name| (name, plane.folder.read(name)));
    plane.folder.edit("own.yaml", "  extend: true\n", "");
    let built_in = "filter: tamis/route, phase: traffic, order: 10";
    plane.folder.edit("attachments.yaml", built_in, &format!("{built_in}, extend: true"));
    let live = registry.ask(&["check", ".", "--live"]);
    let applied = registry.ask(&["apply", "-f", "."]);
    for (command, done) in [("check", check()), ("check --live", live), ("apply", applied)] {
        let said = said(&done);
        assert!(!done.status.success(), "{command}: {said}");
        // A problem of a document has its place in the place of its code.
        assert!(said.contains("router.rules") || said.contains("own.yaml:"), "{command}: {said}");
        assert!(said.contains("but not `test/all/all`"), "{command}: {said}");
    }
    kept.iter().for_each(|(name, text)| plane.folder.write(name, text));

    // As it extends the built-in router, nothing is lost.
    registry.did(&["apply", "-f", ".", "--confirm"]);
    plane.relay.to(&[&registry.proxies]);
    let _gateway = plane.again();
    let ask = |path: &str, choice: &str| {
        request(&plane.folder.http, "GET", path, &[("x-canary", choice)], b"")
    };
    registry.slot(EDGE, "test/canary", "serves", |one| one["state"] == "serving");
    eventually("the gateway serves", || (ask("/", "never").status == 200).then_some(()));
    for (path, choice, canary) in [
        ("/cart", "always", true),
        ("/cart/7", "always", true),
        ("/cart", "never", false),
        ("/cart", "", false),
        ("/other", "always", false),
    ] {
        let before = next.count();
        let reply = ask(path, choice);
        assert_eq!(reply.status, 200, "{path} {choice}");
        assert_eq!(next.count() > before, canary, "{path} {choice}");
        let marked = reply.header("strict-transport-security").is_some();
        assert_eq!(marked, !canary, "{path} {choice}: the filter of a rule follows its rule");
    }
}
