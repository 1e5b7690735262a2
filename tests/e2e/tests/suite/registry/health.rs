//! What a registry tells those who watch it.

use super::{Registry, token};
use tamis_e2e::{Postgres, Relay, eventually};
use tempfile::TempDir;

#[test]
fn a_registry_tells_that_it_lives_whether_it_is_ready_and_its_numbers_to_whoever_may_see_them() {
    let folder = TempDir::new().unwrap();
    let admin = token(folder.path(), &[], "root", "*", &["pull", "push", "operate", "observe"]);
    let observer = token(folder.path(), &[], "watch", "*", &["observe"]);
    let pusher = token(folder.path(), &[], "ci", "acme/*", &["pull", "push"]);
    let registry = Registry::start(folder.path(), &[]);
    for (path, body) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        for caller in
            [registry.anonymous(), registry.caller("tamis_guessed"), registry.caller(&pusher)]
        {
            let reply = caller.get(path);
            assert_eq!((reply.status, reply.body.as_str()), (200, body), "{path}");
            let head = caller.send("HEAD", path, &[], b"");
            assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        }
        assert_eq!(registry.anonymous().send("POST", path, &[], b"").status, 405, "{path}");
    }
    for (caller, status) in [
        (registry.anonymous(), 401),
        (registry.caller("tamis_guessed"), 401),
        (registry.caller(&pusher), 403),
        (registry.caller(&observer), 200),
        (registry.caller(&admin), 200),
    ] {
        assert_eq!(caller.get("/metrics").status, status);
    }
    let numbers = || {
        let reply = registry.caller(&observer).get("/metrics");
        assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
        reply.body
    };
    let text = numbers();
    for (name, kind) in [
        ("tamis_registry_build_info", "gauge"),
        ("tamis_registry_revision", "gauge"),
        ("tamis_registry_proxies", "gauge"),
        ("tamis_registry_proxies_connected", "gauge"),
        ("tamis_registry_proxies_behind", "gauge"),
        ("tamis_registry_slots", "gauge"),
        ("tamis_registry_problems", "gauge"),
        ("tamis_registry_time_seconds", "gauge"),
    ] {
        assert_eq!(text.matches(&format!("# TYPE {name} {kind}\n")).count(), 1, "{name}: {text}");
        assert_eq!(text.matches(&format!("# HELP {name} ")).count(), 1, "{name}: {text}");
    }
    for state in
        ["serving", "pending", "kept-last-good", "refused", "drift", "unassigned", "disconnected"]
    {
        let line = format!("tamis_registry_slots{{state=\"{state}\"}} 0\n");
        assert!(text.contains(&line), "{line}: {text}");
    }
    let number = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse::<u64>().unwrap()
    };
    assert_eq!(
        (number(&text, "tamis_registry_proxies"), number(&text, "tamis_registry_revision") > 0),
        (0, true)
    );
    // They follow what is written: a proxy that a document declares, and what is wrong with it.
    let edge = serde_json::json!({ "sources": [{ "source": "edge.yaml", "text": GATEWAY }], "confirm": true });
    let applied = registry.caller(&admin).send(
        "POST",
        "/v1/apply",
        &[("content-type", "application/json")],
        edge.to_string().as_bytes(),
    );
    assert_eq!(applied.status, 200, "{}", applied.body);
    let later = numbers();
    assert_eq!(number(&later, "tamis_registry_proxies"), 1);
    assert_eq!(number(&later, "tamis_registry_proxies_connected"), 0);
    assert!(number(&later, "tamis_registry_revision") > number(&text, "tamis_registry_revision"));
    let wrong = "tamis_registry_problems{of=\"documents\",code=\"route.backend\"} 1\n";
    assert!(later.contains(wrong), "{later}");
    registry.stop();
}

const GATEWAY: &str = "\
kind: Gateway
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: edge, namespace: test }
spec:
  addresses: [{ type: IPAddress, value: 127.0.0.1 }]
  listeners: [{ name: http, port: 8080, protocol: HTTP }]
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: all, namespace: test }
spec:
  parentRefs: [{ kind: Gateway, name: edge }]
  rules: [{ backendRefs: [{ name: gone, port: 80 }] }]
";

#[test]
fn a_registry_whose_database_stands_still_says_soon_that_it_is_not_ready() {
    let (folder, postgres, relay) = (TempDir::new().unwrap(), Postgres::shared(), Relay::start());
    let url = postgres.database();
    let (user, place) = url.split_once('@').unwrap();
    let (address, database) = place.split_once('/').unwrap();
    relay.to(&[address]);
    let through = format!("{user}@{}/{database}", relay.address());
    let registry = Registry::start(folder.path(), &["--database-url", &through]);
    let ready = || {
        let reply = registry.anonymous().get("/readyz");
        (reply.status, reply.body)
    };
    assert_eq!(ready(), (200, "ready\n".to_owned()));
    relay.hold(true);
    // It answers, well before it takes the connection for lost; many askers at once wait no longer than one.
    for _ in 0..2 {
        let asked: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(ready)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for one in asked {
            assert_eq!(one, (503, "the journal does not respond\n".to_owned()));
        }
    }
    relay.hold(false);
    eventually("it is ready again", || (ready().0 == 200).then_some(()));
}
