//! Ways that lead a request back to where it came from.

use tamis_e2e::{Backend, Folder, eventually, get, request};

/// Documents whose routes lead back to the gateway at this address.
fn ways_back(gateway: &str) -> String {
    let service = |name: &str| {
        format!(
            "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: test }}\nspec:\n  \
             ports: [{{ port: 80, protocol: http }}]\n  endpoints: [{{ address: \"{gateway}\" }}]\n---\n"
        )
    };
    let mirror = "{ type: RequestMirror, requestMirror: { backendRef: { name: back, port: 80 } } }";
    let rule = |path: &str, filters: &str, backend: &str| {
        format!(
            "    - matches: [{{ path: {{ type: PathPrefix, value: {path} }} }}]\n      filters: [{filters}]\n      \
             backendRefs: [{{ name: {backend}, port: 80 }}]\n"
        )
    };
    [
        service("back"),
        "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: back, namespace: test }\nspec:\n  \
         parentRefs: [{ kind: Gateway, name: edge }]\n  rules:\n"
            .to_owned(),
        rule("/round", "", "back"),
        rule("/one", mirror, "app"),
        rule("/two", &format!("{mirror}, {mirror}"), "app"),
    ]
    .concat()
}

#[test]
fn a_route_or_a_mirror_that_leads_back_to_its_gateway_ends() {
    let backend = Backend::start();
    let folder = Folder::documents(&[backend.address]);
    folder.write("back.yaml", &ways_back(&folder.http));
    folder.prepare();
    let _gateway = folder.start(&["--workers", "1"]);
    let records = |path: &str| -> usize {
        folder.records().iter().filter(|record| record["path"] == path).count()
    };
    for (path, status, requests) in [
        // The last of them has passed seventeen proxies, one more than it may.
        ("/round", 508, 18),
        // The request, and its copies, of which none is copied again.
        ("/one", 200, 2),
        ("/two", 200, 3),
    ] {
        let reply = get(&folder.http, path);
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        eventually(&format!("all records of {path}"), || (records(path) >= requests).then_some(()));
        // What was served after all of them could only be after one too many.
        assert_eq!(get(&folder.http, "/after").status, 200, "{path}");
        assert_eq!(records(path), requests, "{path}");
    }
    let refused = folder.record("the end of the loop", |one| one["reason"] == "request.loop");
    assert_eq!((&refused["status"], &refused["path"]), (&508.into(), &"/round".into()));
    let copied = backend.count();
    assert_eq!(copied, 2 + 3 + 3, "two ways with copies, and what came after each");

    // Whoever writes `via` gets a refusal, and keeps no request from being copied.
    let forged = ["1.1 tamis"; 17].join(", ");
    assert_eq!(request(&folder.http, "GET", "/one", &[("via", &forged)], b"").status, 508);
    let marked = [("via", "1.1 tamis (copy 00)")];
    assert_eq!(request(&folder.http, "GET", "/one", &marked, b"").status, 200);
    eventually("its copy", || (backend.count() >= copied + 2).then_some(()));
    assert_eq!(records("/two"), 3, "still");
    // No endpoint is to blame for a loop.
    let opened = folder.metric(&["tamis_circuit_opened_total", &folder.http]);
    assert_eq!(opened, Some(0.0));
    assert_eq!(folder.metric(&["tamis_upstream_retries_total{", "test/back"]).unwrap_or(0.0), 0.0);
}
