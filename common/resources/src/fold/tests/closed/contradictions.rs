//! Documents that contradict each other: neither a name, a file nor a date decides.

use super::*;

/// A document of each kind that contradicts another: its text twice, with the difference.
fn contradictions() -> Vec<(&'static str, String, String, &'static str)> {
    let document = |kind: &str, name: &str, spec: serde_json::Value| {
        let api = match kind {
            "Gateway" | "HTTPRoute" => "gateway.networking.k8s.io/v1",
            _ => "tamis.dev/v1alpha1",
        };
        let (space, name) = name.split_once('/').unwrap();
        let metadata = json!({ "name": name, "namespace": space });
        json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec }).to_string()
    };
    let service = |port: u16| json!({ "ports": [{ "port": port, "protocol": "http" }] });
    let grant = |time: &str| json!({ "filter": "x/y", "limits": { "time": time } });
    let trust = |key: &str| json!({ "namespaces": ["x/*"], "threshold": 1, "keys": [{ "name": key, "publicKey": key }] });
    let policy = |time: &str| json!({ "targetRefs": [{ "kind": "Service", "name": "app" }], "slowCall": time });
    let attach = |order: i32, filter: &str| json!({ "targetRefs": [{ "kind": "Mesh" }], "filter": filter, "phase": "traffic", "order": order });
    let route = |port: u16| {
        json!({ "parentRefs": [{ "name": "edge", "namespace": "f" }], "hostnames": ["a.example"],
                "rules": [{ "matches": [{ "path": { "value": "/x" } }], "filters": [{ "type": "RequestRedirect", "requestRedirect": { "port": port } }] }] })
    };
    vec![
        (
            "one name",
            document("Service", "f/s", service(1)),
            document("Service", "f/s", service(2)),
            "document.duplicate",
        ),
        (
            "one filter",
            document("Grant", "a/g", grant("1s")),
            document("Grant", "b/g", grant("2s")),
            "grant.conflict",
        ),
        (
            "one pattern",
            document("TrustPolicy", "a/t", trust("k")),
            document("TrustPolicy", "b/t", trust("l")),
            "trust.conflict",
        ),
        (
            "one service",
            document("UpstreamPolicy", "f/p", policy("1s")),
            document("UpstreamPolicy", "f/q", policy("2s")),
            "policy.conflict",
        ),
        (
            "one order",
            document("FilterAttachment", "f/i", attach(5, "x/y")),
            document("FilterAttachment", "f/j", attach(5, "x/y")),
            "attachment.tie",
        ),
        (
            "one router",
            document("FilterAttachment", "f/i", attach(5, "tamis/route")),
            document("FilterAttachment", "f/route", attach(10, "tamis/route")),
            "attachment.second",
        ),
        (
            "one request",
            document("HTTPRoute", "g/r", route(1)),
            document("HTTPRoute", "h/r", route(2)),
            "route.conflict",
        ),
    ]
}

#[test]
fn of_what_contradicts_itself_the_one_in_force_stays_and_else_none_counts() {
    for (name, one, other, code) in contradictions() {
        let base = if name == "one router" {
            MESH.replace(
                "order: 10 }\n---\nkind: FiltersLock",
                "order: 99 }\n---\nkind: FiltersLock",
            )
        } else {
            MESH.to_owned()
        };
        let base = if name == "one router" {
            base.replacen(
                "metadata: { name: route, namespace: f }",
                "metadata: { name: rout, namespace: nowhere }",
                1,
            )
        } else {
            base
        };
        let base = if name == "one router" {
            base.replace(
                "filter: tamis/route, phase: traffic",
                "filter: tamis/none, phase: traffic",
            )
        } else {
            base
        };
        let mut plans = Vec::new();
        for since in [(0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX), (0, 0)] {
            for swapped in [false, true] {
                // Another order of files, other names of files.
                let files = if swapped { ["b.yaml", "a.yaml"] } else { ["a.yaml", "b.yaml"] };
                let mut documents = read("mesh.yaml", &base).documents;
                let (mut first, mut second) =
                    (read(files[0], &one).documents, read(files[1], &other).documents);
                first[0].since = since.0;
                second[0].since = since.1;
                if swapped {
                    documents.splice(0..0, second);
                    documents.extend(first);
                } else {
                    documents.extend(first);
                    documents.extend(second);
                }
                let folded = folded(&documents);
                let found: Vec<_> = folded.problems.iter().filter(|one| one.code == code).collect();
                assert!(!found.is_empty(), "{name}: {:#?}", folded.problems);
                assert!(found.iter().all(|one| !one.also.is_empty()), "{name}: both places");
                let wrong = |file: &str| found.iter().any(|one| one.place.source == file);
                let (a, b) = (wrong(files[0]), wrong(files[1]));
                let expected = (since.0 >= since.1, since.1 >= since.0);
                assert_eq!((a, b), expected, "{name} {since:?} swapped {swapped}: {found:#?}");
                plans.push((since, serde_json::to_string(&folded.plan).unwrap()));
            }
        }
        for pair in plans.chunks(2) {
            assert_eq!(pair[0], pair[1], "{name}: files and their order decide nothing");
        }
    }
}

#[test]
fn no_date_that_an_author_writes_decides_between_namespaces() {
    let route = |space: &str, date: &str| {
        format!(
            "\n---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\n\
             metadata: {{ name: r, namespace: {space}{date} }}\nspec:\n  parentRefs: [{{ name: edge, namespace: f }}]\n\
             \x20 hostnames: [a.example]\n  rules: [{{ filters: [{{ type: RequestRedirect, requestRedirect: {{ port: 1 }} }}] }}]\n"
        )
    };
    let old = ", creationTimestamp: '1970-01-01T00:00:00Z'";
    let text = [MESH, &route("mine", ""), &route("thief", old)].concat();
    let mut documents = read("mesh.yaml", &text).documents;
    let at =
        |space: &str| documents.iter().position(|one| one.metadata.namespace == space).unwrap();
    let (mine, thief) = (at("mine"), at("thief"));
    let served = |documents: &[Document]| {
        let plan = folded(documents).plan.unwrap();
        let router = plan.filters.iter().find(|one| one.filter == "tamis/route").unwrap();
        let routes = router.config["routes"].as_array().unwrap().clone();
        let rules = |route: &serde_json::Value| !route["rules"].as_array().unwrap().is_empty();
        let names = routes
            .iter()
            .filter(|route| rules(route))
            .map(|route| route["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(served(&documents), ["contested:"], "nobody has it: it is answered with 500");
    documents[mine].since = 3;
    documents[thief].since = 9;
    assert_eq!(served(&documents), ["mine/r"]);
}
